/* Protobuf to a JSON tree, by type: as Go's JSON of the decoded struct would be, without its nulls and empty structs.
 */
#include "base/clock.h"
#include "schema/pb.h"
#include "schema/schema_internal.h"

#define READ_DEPTH_MAX 100
#define READ_NODES_MAX 500000 /* a message of two bytes becomes a node: bounds what a small body can grow to */

struct read {
	struct arena *a;
	size_t nodes;
	int envelopes; /* one inside the other */
	struct err *e;
};

static int read_message(struct read *r, const struct schema_type *t, struct str bytes, int depth, struct node *n);
static int read_value(
	struct read *r, const struct schema_type *t, const struct pb_field *w, int depth, struct node **ret);
static int read_envelope(struct read *r, struct str bytes, struct node **ret);

static int malformed(struct read *r, const struct schema_type *t)
{
	return err_set(r->e, ERR_BAD_REQUEST, "proto: %s: malformed message", t->name ? schema_short_name(t) : "value");
}

static int wrong_wire(struct read *r, const struct schema_type *t, const struct pb_field *w)
{
	return err_set(r->e, ERR_BAD_REQUEST, "proto: wrong wireType = %d for field %u of %s", (int)w->wire, w->number,
		t->name ? schema_short_name(t) : "value");
}

/* The one field `number` of a small message. */
static bool small_field(struct str bytes, uint32_t number, struct pb_field *ret)
{
	struct pb c = pb_of(bytes);
	struct pb_field f;
	bool found = false;

	while (pb_next(&c, &f)) {
		if (f.number != number)
			continue;
		*ret = f;
		found = true;
	}
	return found && !c.bad;
}

static uint64_t small_int(struct str bytes, uint32_t number)
{
	struct pb_field f;

	return small_field(bytes, number, &f) && f.wire == PB_VARINT ? f.value : 0;
}

static struct str small_bytes(struct str bytes, uint32_t number)
{
	struct pb_field f;

	return small_field(bytes, number, &f) && f.wire == PB_BYTES ? f.bytes : STR_NULL;
}

static struct node *read_time(struct read *r, const struct schema_type *t, struct str bytes)
{
	struct instant at = { (int64_t)small_int(bytes, 1), (int32_t)small_int(bytes, 2) };
	char text[TIME_TEXT_MAX];

	if (!bytes.n || at.s < -62135596800 || at.s > 253402300799 || at.ns < 0 ||
		at.ns > 999999999) /* empty is Go's zero time; years 1 to 9999 */
		return NULL;
	instant_text(at, t->kind == SCHEMA_TIME ? 0 : 6, text);
	return node_c(r->a, text);
}

static struct node *read_int_or_string(struct read *r, struct str bytes)
{
	if (small_int(bytes, 1) == 1)
		return node_str(r->a, small_bytes(bytes, 3));
	return node_int(r->a, (int32_t)small_int(bytes, 2));
}

static int read_json(struct read *r, struct str raw, struct node **ret)
{
	struct doc *d = NULL;
	int rc;

	if (!raw.n) {
		*ret = NULL;
		return 0;
	}
	if (raw.n > 4 && !memcmp(raw.p, "k8s", 4))
		return read_envelope(r, raw, ret);
	rc = doc_parse(raw, &d, r->e);
	if (rc)
		return rc;
	*ret = node_from(r->a, doc_root(d));
	doc_unref(d);
	return 0;
}

static int read_alternative(struct read *r, const struct schema_type *t, struct str bytes, int depth, struct node **ret)
{
	const uint32_t schema_no = t->kind == SCHEMA_OR_BOOL ? 2 : 1;
	struct node *list = NULL;
	struct pb c = pb_of(bytes);
	struct pb_field f;
	int rc;

	*ret = NULL;
	while (pb_next(&c, &f)) {
		struct node *n = NULL;

		if (f.wire == PB_BYTES && f.number == schema_no) {
			rc = read_value(r, t->element, &f, depth + 1, ret);
			if (rc)
				return rc;
		} else if (f.wire == PB_BYTES && f.number == 2) {
			rc = read_value(
				r, t->kind == SCHEMA_OR_LIST ? t->element : schema_tables.string, &f, depth + 1, &n);
			if (rc)
				return rc;
			list = list ? list : node_list(r->a);
			node_add(list, n ? n : node_map(r->a));
		}
	}
	if (c.bad)
		return malformed(r, t);
	if (!*ret)
		*ret = t->kind == SCHEMA_OR_BOOL ? node_bool(r->a, small_int(bytes, 1)) : list;
	return 0;
}

static struct node *read_double(struct read *r, uint64_t u)
{
	double d;

	memcpy(&d, &u, sizeof(d));
	if (d >= -9e15 && d <= 9e15 && d == (double)(int64_t)d)
		return node_int(r->a, (int64_t)d);
	return node_float(r->a, d);
}

static struct node *read_base64(struct read *r, struct str bytes)
{
	auto_free char *text = base64_encode(bytes);

	return node_c(r->a, text);
}

static int read_scalar(struct read *r, const struct schema_type *t, const struct pb_field *w, struct node **ret)
{
	switch (t->kind) {
	case SCHEMA_BOOL:
		*ret = node_bool(r->a, w->value);
		break;
	case SCHEMA_INT32:
		*ret = node_int(r->a, (int32_t)w->value);
		break;
	case SCHEMA_UINT32:
		*ret = node_int(r->a, (uint32_t)w->value);
		break;
	default:
		*ret = node_int(r->a, (int64_t)w->value);
	}
	return w->wire == PB_VARINT ? 0 : wrong_wire(r, t, w);
}

static int read_items(struct read *r, const struct schema_type *t, struct str bytes, int depth, struct node **ret)
{
	struct pb c = pb_of(bytes);
	struct pb_field f;

	*ret = node_list(r->a);
	while (pb_next(&c, &f)) {
		struct node *n = NULL;
		int rc;

		if (f.number != 1)
			continue;
		rc = read_value(r, t->element, &f, depth + 1, &n);
		if (rc)
			return rc;
		if (n)
			node_add(*ret, n);
	}
	return c.bad ? malformed(r, t) : 0;
}

/* One value; *ret NULL: it stands for "not there". */
static int read_value(
	struct read *r, const struct schema_type *t, const struct pb_field *w, int depth, struct node **ret)
{
	char text[TIME_TEXT_MAX];

	if (depth > READ_DEPTH_MAX)
		return err_set(r->e, ERR_BAD_REQUEST, "proto: message is nested too deeply");
	if (++r->nodes > READ_NODES_MAX)
		return err_set(r->e, ERR_TOO_LARGE, "proto: message has too many values");
	if (t->kind == SCHEMA_BOOL || t->kind == SCHEMA_INT32 || t->kind == SCHEMA_INT64 || t->kind == SCHEMA_UINT32)
		return read_scalar(r, t, w, ret);
	if (w->wire != (t->kind == SCHEMA_DOUBLE ? PB_FIXED64 : PB_BYTES))
		return wrong_wire(r, t, w);
	switch (t->kind) {
	case SCHEMA_OBJECT:
		*ret = node_map(r->a);
		return read_message(r, t, w->bytes, depth + 1, *ret);
	case SCHEMA_LIST:
		return read_items(r, t, w->bytes, depth, ret);
	case SCHEMA_STRING:
		*ret = node_str(r->a, w->bytes);
		return 0;
	case SCHEMA_DOUBLE:
		*ret = read_double(r, w->value);
		return 0;
	case SCHEMA_BYTES:
		*ret = read_base64(r, w->bytes);
		return 0;
	case SCHEMA_QUANTITY:
		if (small_bytes(w->bytes, 1).n)
			*ret = node_str(r->a, small_bytes(w->bytes, 1));
		return 0;
	case SCHEMA_INT_OR_STRING:
		*ret = read_int_or_string(r, w->bytes);
		return 0;
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
		*ret = read_time(r, t, w->bytes);
		return 0;
	case SCHEMA_DURATION:
		duration_text((int64_t)small_int(w->bytes, 1), text);
		*ret = node_c(r->a, text);
		return 0;
	case SCHEMA_OR_BOOL:
	case SCHEMA_OR_LIST:
	case SCHEMA_OR_STRINGS:
		return read_alternative(r, t, w->bytes, depth, ret);
	default:
		return read_json(r, small_bytes(w->bytes, 1), ret);
	}
}

static int read_entry(
	struct read *r, const struct schema_type *t, const struct pb_field *w, int depth, struct node *map)
{
	struct pb c = pb_of(w->bytes);
	struct node *value = NULL;
	struct str key = STR_NULL;
	struct pb_field f;
	int rc;

	if (w->wire != PB_BYTES)
		return wrong_wire(r, t, w);
	while (pb_next(&c, &f)) {
		if (f.number == 1 && f.wire == PB_BYTES)
			key = node_text_str(node_str(r->a, f.bytes));
		if (f.number != 2)
			continue;
		rc = read_value(r, t->element, &f, depth + 1, &value);
		if (rc)
			return rc;
	}
	if (c.bad)
		return malformed(r, t);
	if (!value && t->element->kind == SCHEMA_STRING)
		value = node_c(r->a, "");
	if (!value && t->element->kind == SCHEMA_OBJECT)
		value = node_map(r->a);
	if (value)
		node_set(map, key, value);
	return 0;
}

static int read_packed(struct read *r, const struct schema_type *t, struct str bytes, struct node *list)
{
	struct pb c = pb_of(bytes);

	while (c.p < c.end) {
		struct pb_field f = { .wire = PB_VARINT, .value = pb_read_varint(&c) };
		struct node *n = NULL;
		int rc = c.bad ? malformed(r, t) : read_value(r, t, &f, 0, &n);

		if (rc)
			return rc;
		node_add(list, n);
	}
	return 0;
}

static int read_repeated(
	struct read *r, const struct schema_field *f, const struct pb_field *w, int depth, struct node *n)
{
	const struct schema_type *el = f->type->element;
	bool packable = el->kind == SCHEMA_BOOL || el->kind == SCHEMA_INT32 || el->kind == SCHEMA_INT64;
	struct node *list = node_getc(n, f->name), *value = NULL;
	int rc;

	if (!list) {
		list = node_list(r->a);
		node_setc(n, f->name, list);
	}
	if (packable && w->wire == PB_BYTES)
		return read_packed(r, el, w->bytes, list);
	rc = read_value(r, el, w, depth, &value);
	if (rc)
		return rc;
	if (!value && el->kind == SCHEMA_OBJECT)
		value = node_map(r->a);
	if (value)
		node_add(list, value);
	return 0;
}

static int read_known(struct read *r, const struct schema_field *f, const struct pb_field *w, int depth, struct node *n)
{
	struct node *value = NULL, *map;
	int rc;

	if (f->type->kind == SCHEMA_LIST && !f->type->wire_items)
		return read_repeated(r, f, w, depth, n);
	if (f->type->kind == SCHEMA_MAP) {
		map = node_getc(n, f->name);
		if (!map) {
			map = node_map(r->a);
			node_setc(n, f->name, map);
		}
		return read_entry(r, f->type, w, depth, map);
	}
	rc = read_value(r, f->type, w, depth, &value);
	if (!rc && !zero_left_out(f, value))
		node_setc(n, f->name, value);
	return rc;
}

static const struct schema_field *by_number(const struct schema_type *t, uint32_t number)
{
	for (uint32_t i = 0; i < t->n_fields && t->fields[i].number && t->fields[i].number <= number; i++)
		if (t->fields[i].number == number)
			return &t->fields[i];
	return NULL;
}

/* Numbers, words and switches that Go writes even when they are zero. */
static void add_zeros(struct read *r, const struct schema_type *t, struct node *n)
{
	for (uint32_t i = 0; i < t->n_fields && t->fields[i].number; i++) {
		const struct schema_field *f = &t->fields[i];
		struct node *zero =
			schema_is_leaf(f->type) && !node_getc(n, f->name) ? zero_always_there(r->a, f) : NULL;

		if (zero)
			node_setc(n, f->name, zero);
	}
}

static int read_message(struct read *r, const struct schema_type *t, struct str bytes, int depth, struct node *n)
{
	struct pb c = pb_of(bytes);
	struct pb_field w;
	int rc;

	if (depth > READ_DEPTH_MAX)
		return err_set(r->e, ERR_BAD_REQUEST, "proto: message is nested too deeply");
	while (pb_next(&c, &w)) {
		const struct schema_field *f = by_number(t, w.number);

		if (f) {
			rc = read_known(r, f, &w, depth, n);
			if (rc)
				return rc;
			continue;
		}
		for (const struct schema_embed *e = t->embeds; e && e->number; e++) {
			if (e->number != w.number || w.wire != PB_BYTES)
				continue;
			rc = read_message(r, e->type, w.bytes, depth + 1, n);
			if (rc)
				return rc;
		}
	}
	add_zeros(r, t, n);
	return c.bad ? malformed(r, t) : 0;
}

static int read_kind(struct read *r, struct str api_version, struct str kind, struct str raw, struct node **ret)
{
	struct str group, version = str_cut(api_version, '/', &group);
	const struct schema_type *t;
	struct node *n;
	int rc;

	if (!version.p) {
		version = group;
		group = STR_NULL;
	}
	t = schema_builtin(group, version, kind);
	if (!t)
		return err_set(r->e, ERR_BAD_REQUEST, "no kind \"%.*s\" is registered for version \"%.*s\"",
			STR_ARG(kind), STR_ARG(api_version));
	n = node_map(r->a);
	node_setc(n, "apiVersion", node_str(r->a, api_version));
	node_setc(n, "kind", node_str(r->a, kind));
	rc = read_message(r, t, raw, 0, n);
	if (!rc)
		*ret = n;
	return rc;
}

static int read_envelope(struct read *r, struct str bytes, struct node **ret)
{
	struct str meta = STR_NULL, raw = STR_NULL, type = STR_NULL;
	struct pb_field f;
	struct pb c;
	int rc;

	if (bytes.n < 4 || memcmp(bytes.p, "k8s", 4) != 0)
		return err_set(r->e, ERR_BAD_REQUEST,
			"provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
	if (r->envelopes++ > 2)
		return err_set(r->e, ERR_BAD_REQUEST, "proto: message is nested too deeply");
	c = pb_of(str_sub(bytes, 4, bytes.n));
	while (pb_next(&c, &f)) {
		if (f.wire != PB_BYTES)
			continue;
		if (f.number == 1)
			meta = f.bytes;
		else if (f.number == 2)
			raw = f.bytes;
		else if (f.number == 4)
			type = f.bytes;
	}
	if (c.bad)
		return err_set(r->e, ERR_BAD_REQUEST, "proto: Unknown: malformed message");
	rc = str_is(type, "application/json") ? read_json(r, raw, ret) :
						read_kind(r, small_bytes(meta, 1), small_bytes(meta, 2), raw, ret);
	r->envelopes--;
	return rc;
}

int schema_from_protobuf(struct arena *a, struct str bytes, struct node **ret, struct err *e)
{
	struct read r = { .a = a, .e = e };
	struct node *n = NULL;
	int rc = read_envelope(&r, bytes, &n);

	if (!rc && !n)
		return err_set(e, ERR_BAD_REQUEST, "proto: the message is empty");
	if (!rc)
		*ret = n;
	return rc;
}

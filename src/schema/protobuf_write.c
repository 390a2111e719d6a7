/* JSON values to protobuf, by type. What is not in the JSON is not written: readers see the zero value. */
#include "base/clock.h"
#include "schema/pb.h"
#include "schema/schema_internal.h"

static void write_message(const struct schema_type *t, struct val v, struct buf *out);
static void write_field(const struct schema_type *t, uint32_t number, struct val v, struct buf *out);

static void write_time(uint32_t number, struct val v, struct buf *out)
{
	size_t mark = pb_begin(out, number);
	struct instant t;

	if (instant_parse(val_str(v), &t)) {
		pb_int(out, 1, t.s);
		pb_int(out, 2, t.ns);
	}
	pb_end(out, mark);
}

static void write_int_or_string(uint32_t number, struct val v, struct buf *out)
{
	bool text = val_kind(v) == VAL_STR;
	size_t mark = pb_begin(out, number);

	pb_int(out, 1, text);
	pb_int(out, 2, text ? 0 : val_int(v, 0));
	pb_bytes(out, 3, text ? val_str(v) : STR_NULL);
	pb_end(out, mark);
}

/* A message with one bytes field: Quantity, RawExtension, FieldsV1, JSON. */
static void write_wrapped(uint32_t number, struct str s, struct buf *out)
{
	size_t mark = pb_begin(out, number);

	pb_bytes(out, 1, s);
	pb_end(out, mark);
}

static void write_quantity(uint32_t number, struct val v, struct buf *out)
{
	write_wrapped(number, val_kind(v) == VAL_STR ? val_str(v) : val_text(v), out);
}

static void write_alternative(const struct schema_type *t, uint32_t number, struct val v, struct buf *out)
{
	size_t mark = pb_begin(out, number);

	switch (t->kind) {
	case SCHEMA_OR_BOOL:
		pb_int(out, 1, val_kind(v) == VAL_MAP || val_bool(v, false));
		if (val_kind(v) == VAL_MAP)
			write_field(t->element, 2, v, out);
		break;
	case SCHEMA_OR_LIST:
		for (struct val_iter it = val_iter(v); val_kind(v) == VAL_LIST && val_next(&it);)
			write_field(t->element, 2, it.val, out);
		if (val_kind(v) == VAL_MAP)
			write_field(t->element, 1, v, out);
		break;
	default:
		for (struct val_iter it = val_iter(v); val_kind(v) == VAL_LIST && val_next(&it);)
			pb_bytes(out, 2, val_str(it.val));
		if (val_kind(v) == VAL_MAP)
			write_field(t->element, 1, v, out);
	}
	pb_end(out, mark);
}

static void write_map(const struct schema_type *t, uint32_t number, struct val v, struct buf *out)
{
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		size_t mark = pb_begin(out, number);

		pb_bytes(out, 1, it.key);
		write_field(t->element, 2, it.val, out);
		pb_end(out, mark);
	}
}

static void write_list(const struct schema_type *t, uint32_t number, struct val v, struct buf *out)
{
	size_t mark = t->wire_items ? pb_begin(out, number) : 0;

	for (struct val_iter it = val_iter(v); val_next(&it);)
		write_field(t->element, t->wire_items ? 1 : number, it.val, out);
	if (t->wire_items)
		pb_end(out, mark);
}

static void write_double(uint32_t number, double d, struct buf *out)
{
	uint64_t u;
	char bytes[8];

	memcpy(&u, &d, sizeof(u));
	for (size_t i = 0; i < 8; i++)
		bytes[i] = (char)(u >> (8 * i));
	pb_tag(out, number, PB_FIXED64);
	buf_add(out, bytes, 8);
}

static void write_base64(uint32_t number, struct str s, struct buf *out)
{
	auto_buf struct buf raw = BUF_INIT;

	if (!base64_decode(s, &raw))
		pb_bytes(out, number, buf_view(&raw));
}

static void write_duration(uint32_t number, struct str s, struct buf *out)
{
	size_t mark = pb_begin(out, number);
	int64_t ns;

	if (duration_parse(s, &ns))
		pb_int(out, 1, ns);
	pb_end(out, mark);
}

static void write_field(const struct schema_type *t, uint32_t number, struct val v, struct buf *out)
{
	size_t mark;

	switch (t->kind) {
	case SCHEMA_OBJECT:
		mark = pb_begin(out, number);
		write_message(t, v, out);
		pb_end(out, mark);
		return;
	case SCHEMA_LIST:
		write_list(t, number, v, out);
		return;
	case SCHEMA_MAP:
		write_map(t, number, v, out);
		return;
	case SCHEMA_STRING:
		pb_bytes(out, number, val_str(v));
		return;
	case SCHEMA_BOOL:
		pb_int(out, number, val_bool(v, false));
		return;
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
		pb_int(out, number, val_int(v, 0));
		return;
	case SCHEMA_DOUBLE:
		write_double(number, val_float(v, 0), out);
		return;
	case SCHEMA_BYTES:
		write_base64(number, val_str(v), out);
		return;
	case SCHEMA_QUANTITY:
		write_quantity(number, v, out);
		return;
	case SCHEMA_INT_OR_STRING:
		write_int_or_string(number, v, out);
		return;
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
		write_time(number, v, out);
		return;
	case SCHEMA_DURATION:
		write_duration(number, val_str(v), out);
		return;
	case SCHEMA_OR_BOOL:
	case SCHEMA_OR_LIST:
	case SCHEMA_OR_STRINGS:
		write_alternative(t, number, v, out);
		return;
	default: /* RawExtension, FieldsV1, JSON: their JSON text */
		write_wrapped(number, val_text(v), out);
	}
}

#define FIELDS_MAX 96 /* more than any type has; others take the slow way */

static void write_message(const struct schema_type *t, struct val v, struct buf *out)
{
	struct val of[FIELDS_MAX];

	if (val_kind(v) != VAL_MAP)
		return;
	PRE(t->n_fields <= FIELDS_MAX);
	memset(of, 0, t->n_fields * sizeof(of[0]));
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		const struct schema_field *f = schema_field(t, it.key);

		if (f)
			of[f - t->fields] = it.val;
	}
	for (uint32_t i = 0; i < t->n_fields && t->fields[i].number; i++) {
		const struct schema_field *f = &t->fields[i];

		if (val_has(of[i]) && (val_kind(of[i]) != VAL_NULL || f->type->kind == SCHEMA_JSON))
			write_field(f->type, f->number, of[i], out);
	}
	for (const struct schema_embed *e = t->embeds; e && e->number; e++) {
		size_t mark = pb_begin(out, e->number);

		write_message(e->type, v, out);
		pb_end(out, mark);
	}
}

static int finish(struct buf *out, struct err *e)
{
	return out->full ? err_set(e, ERR_TOO_LARGE, "object is too large as protobuf") : 0;
}

int schema_to_protobuf_inner(const struct schema_type *t, struct val v, struct buf *out, struct err *e)
{
	write_message(t, v, out);
	return finish(out, e);
}

int schema_to_protobuf(const struct schema_type *t, struct val v, struct buf *out, struct err *e)
{
	size_t mark;

	buf_add(out, "k8s", 4);
	mark = pb_begin(out, 1);
	pb_bytes(out, 1, val_str(val_get(v, "apiVersion")));
	pb_bytes(out, 2, val_str(val_get(v, "kind")));
	pb_end(out, mark);
	mark = pb_begin(out, 2);
	write_message(t, v, out);
	pb_end(out, mark);
	pb_bytes(out, 3, STR_NULL);
	pb_bytes(out, 4, STR_NULL);
	return finish(out, e);
}

int schema_list_to_protobuf(struct str api_version, struct str kind, const struct schema_type *item_type,
	struct val list_meta, bool (*next)(void *arg, struct val *ret), void *arg, struct buf *out, struct err *e)
{
	const struct schema_type *meta = schema_builtin_by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
	struct val item;
	size_t mark;

	buf_add(out, "k8s", 4);
	mark = pb_begin(out, 1);
	pb_bytes(out, 1, api_version);
	pb_bytes(out, 2, kind);
	pb_end(out, mark);
	mark = pb_begin(out, 2);
	write_field(meta, 1, list_meta, out);
	while (next(arg, &item))
		write_field(item_type, 2, item, out);
	pb_end(out, mark);
	pb_bytes(out, 3, STR_NULL);
	pb_bytes(out, 4, STR_NULL);
	return finish(out, e);
}

void schema_watch_to_protobuf(const char *event, struct str object, struct buf *out)
{
	size_t mark;

	pb_bytes(out, 1, str_c(event));
	mark = pb_begin(out, 2);
	pb_bytes(out, 1, object);
	pb_end(out, mark);
}

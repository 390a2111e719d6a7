/* Random objects of every builtin kind, made from the tables: as protobuf and back they are what they were.
 * KOGGE_SEED=N begins at another seed; a failure tells the seed of its object and both texts. */
#include "base/test.h"
#include "schema/pb.h"
#include "schema/schema_internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define OBJECTS_OF_A_KIND 12
#define DEPTH_MAX 9 /* below it only what has no fields of its own */

struct random {
	uint64_t state;
	struct arena *a;
};

static uint64_t next(struct random *r) /* splitmix64 */
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static size_t below(struct random *r, size_t n)
{
	return (size_t)(next(r) % n);
}

/* ---- values ---------------------------------------------------------------------------------- */

static const char *any_of(struct random *r, const char *const *words, size_t n)
{
	return words[below(r, n)];
}
#define ANY(r, ...) any_of(r, (const char *const[]){ __VA_ARGS__ }, ARRAY_LEN(((const char *const[]){ __VA_ARGS__ })))

static struct node *any_number(struct random *r, int64_t min, int64_t max)
{
	const int64_t edges[] = { 0, 1, -1, 127, 128, 300, min, max, min + 1, max - 1 };
	int64_t i = edges[below(r, ARRAY_LEN(edges))];

	return node_int(r->a, i < min ? min : i);
}

static struct node *any_string(struct random *r)
{
	char letters[300];

	if (below(r, 20) == 0) { /* a length of two bytes */
		memset(letters, 'x', sizeof(letters));
		return node_str(r->a, str_n(letters, 120 + below(r, 180)));
	}
	return node_c(r->a,
		ANY(r, "", "a", "name", "true", "0", "null", "a \"quoted\" \\ line\n\ttab", "\x01", "ä€😀", "k8s", "{}",
			"[1]", "2026-01-02T03:04:05Z", "100m"));
}

static struct node *any_bytes(struct random *r)
{
	char raw[40];
	size_t n = below(r, sizeof(raw));
	char *text;
	struct node *ret;

	for (size_t i = 0; i < n; i++)
		raw[i] = (char)next(r);
	text = base64_encode(str_n(raw, n));
	ret = node_c(r->a, text);
	free(text);
	return ret;
}

static struct node *any_time(struct random *r)
{
	return node_c(r->a,
		ANY(r, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456Z", "2026-01-02T05:04:05.999999999+02:00",
			"1970-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z", "1900-02-28T12:00:00Z",
			"9999-12-31T23:59:59Z"));
}

static struct node *any_micro_time(struct random *r)
{
	return node_c(r->a,
		ANY(r, "2026-01-02T03:04:05.123456Z", "2026-01-02T05:04:05.999999+02:00", "1970-01-01T00:00:00.000000Z",
			"1969-12-31T23:59:59.500000Z", "9999-12-31T23:59:59.999999Z"));
}

static struct node *any_json(struct random *r, int depth)
{
	struct node *n;

	switch (below(r, depth > 3 ? 6 : 8)) {
	case 0:
		return node_null(r->a);
	case 1:
		return node_bool(r->a, below(r, 2));
	case 2:
		return any_number(r, INT64_MIN, INT64_MAX);
	case 3:
		return node_float(r->a, ldexp((double)(int64_t)next(r), (int)below(r, 120) - 90));
	case 4:
	case 5:
		return any_string(r);
	case 6:
		n = node_list(r->a);
		for (size_t i = below(r, 4); i > 0; i--)
			node_add(n, any_json(r, depth + 1));
		return n;
	default:
		n = node_map(r->a);
		for (size_t i = below(r, 4); i > 0; i--)
			node_set(n, node_text_str(any_string(r)), any_json(r, depth + 1));
		return n;
	}
}

/* An object that names no kind: one that does is read as it. */
static struct node *any_raw(struct random *r)
{
	struct node *n = node_map(r->a);

	for (size_t i = below(r, 3); i > 0; i--)
		node_set(n, node_text_str(any_string(r)), any_json(r, 1));
	return n;
}

static struct node *any_value(struct random *r, const struct schema_type *t, int depth);

static struct node *any_object(struct random *r, const struct schema_type *t, int depth)
{
	struct node *n = node_map(r->a);
	size_t share = depth < 3 ? 2 : 3 + (size_t)depth; /* objects stay small: one field in `share` is there */

	for (uint32_t i = 0; i < t->n_fields; i++) {
		const struct schema_field *f = &t->fields[i];

		if (t->is_kind && (!strcmp(f->name, "apiVersion") || !strcmp(f->name, "kind"))) /* the envelope's */
			continue;
		if (below(r, share) == 0 && (depth < DEPTH_MAX || schema_is_leaf(f->type)))
			node_setc(n, f->name, any_value(r, f->type, depth + 1));
	}
	return n;
}

static struct node *any_elements(struct random *r, const struct schema_type *t, int depth)
{
	struct node *n = t->kind == SCHEMA_MAP ? node_map(r->a) : node_list(r->a);
	bool end = depth >= DEPTH_MAX && !schema_is_leaf(t->element);

	for (size_t i = end ? 0 : below(r, 3); i > 0; i--) {
		struct node *value = any_value(r, t->element, depth + 1);

		if (t->kind == SCHEMA_MAP)
			node_set(n, node_text_str(any_string(r)), value);
		else
			node_add(n, value);
	}
	return n;
}

/* No empty list: Go writes null for it, and no schema may have it. */
static struct node *any_alternative(struct random *r, const struct schema_type *t, int depth)
{
	const struct schema_type *of = t->kind == SCHEMA_OR_STRINGS ? schema_tables.string : t->element;
	struct node *list;

	if (t->kind == SCHEMA_OR_BOOL && below(r, 2))
		return node_bool(r->a, below(r, 2));
	if (depth >= DEPTH_MAX)
		return node_map(r->a);
	if (t->kind == SCHEMA_OR_BOOL || below(r, 2))
		return any_object(r, t->element, depth);
	list = node_list(r->a);
	for (size_t i = 1 + below(r, 2); i > 0; i--)
		node_add(list, any_value(r, of, depth + 1));
	return list;
}

static struct node *any_word(struct random *r, const struct schema_type *t)
{
	size_t n = 0;

	while (t->enum_values && t->enum_values[n])
		n++;
	return n && below(r, 4) ? node_c(r->a, t->enum_values[below(r, n)]) : any_string(r);
}

static struct node *any_value(struct random *r, const struct schema_type *t, int depth)
{
	switch (t->kind) {
	case SCHEMA_OBJECT:
		return any_object(r, t, depth);
	case SCHEMA_LIST:
	case SCHEMA_MAP:
		return any_elements(r, t, depth);
	case SCHEMA_STRING:
		return any_word(r, t);
	case SCHEMA_BOOL:
		return node_bool(r->a, below(r, 2));
	case SCHEMA_INT32:
		return any_number(r, INT32_MIN, INT32_MAX);
	case SCHEMA_INT64:
		return any_number(r, INT64_MIN, INT64_MAX);
	case SCHEMA_UINT32:
		return any_number(r, 0, UINT32_MAX);
	case SCHEMA_DOUBLE:
		return below(r, 3) ? node_float(r->a, ldexp((double)(int64_t)next(r), (int)below(r, 200) - 100)) :
				     any_number(r, INT32_MIN, INT32_MAX);
	case SCHEMA_BYTES:
		return any_bytes(r);
	case SCHEMA_QUANTITY:
		return node_c(r->a,
			ANY(r, "0", "1", "100m", "1Gi", "1536Mi", "0.5", "1e3", "1.5Gi", "-3k", "1n",
				"9223372036854775807", "0.0000000001", "12E"));
	case SCHEMA_INT_OR_STRING:
		return below(r, 2) ? any_number(r, INT32_MIN, INT32_MAX) :
				     node_c(r->a, ANY(r, "25%", "http", "", "80"));
	case SCHEMA_TIME:
		return any_time(r);
	case SCHEMA_MICRO_TIME:
		return any_micro_time(r);
	case SCHEMA_DURATION:
		return node_c(r->a, ANY(r, "0s", "1h", "1m30s", "1.5s", "250ms", "-2s", "3us"));
	case SCHEMA_FIELDS_V1:
	case SCHEMA_RAW:
		return any_raw(r);
	case SCHEMA_JSON:
		return any_json(r, 0);
	default:
		return any_alternative(r, t, depth);
	}
}

/* ---- the property ---------------------------------------------------------------------------- */

struct trip {
	const struct schema_kind_entry *kind;
	uint64_t seed;
	struct arena *a;
	struct node *first, *back;
	struct err e;
};

static void told(const struct trip *t, const char *what)
{
	auto_buf struct buf first = BUF_INIT, back = BUF_INIT;

	if (t->first)
		node_write(t->first, &first);
	if (t->back)
		node_write(t->back, &back);
	fprintf(stderr, "first: %.*s\nback:  %.*s\n", STR_ARG(buf_view(&first)),
		STR_ARG(buf_view(&back))); /* cmocka cuts */
	fail_msg("KOGGE_SEED=%llu: %s/%s %s %s: %s", (unsigned long long)t->seed, t->kind->group, t->kind->version,
		t->kind->kind, what, t->e.message);
}

/* A list or map without entries is not there on the wire; only JSON tells it from none, where it is not left out. */
static void without_empty(const struct schema_type *t, struct node *n)
{
	if (schema_is_leaf(t))
		return;
	for (size_t i = node_len(n); i-- > 0;) {
		const struct schema_field *f = t->kind == SCHEMA_OBJECT ? schema_field(t, node_key_at(n, i)) : NULL;
		const struct schema_type *of = f ? f->type : t->element;

		if (f && !schema_is_leaf(of) && of->kind != SCHEMA_OBJECT && !of->wire_items &&
			!node_len(node_at(n, i)))
			node_del(n, node_key_at(n, i));
		else
			without_empty(of, node_at(n, i));
	}
}

/* The form in which the API keeps it. */
static void settle(struct trip *t, struct node *n)
{
	const struct schema_type *type = t->kind->type;

	if (schema_decode(type, t->a, n, NULL, &t->e))
		told(t, "cannot be decoded");
	schema_drop_zeros(type, t->a, n, NULL);
	without_empty(type, n);
	schema_fill_zeros(type, t->a, n, NULL);
}

static void to_wire(struct trip *t, struct buf *out)
{
	auto_(doc_unref) struct doc *d = node_publish(t->first);

	if (schema_to_protobuf(t->kind->type, doc_root(d), out, &t->e))
		told(t, "cannot be written");
}

static void from_wire(struct trip *t, struct str bytes)
{
	if (schema_from_protobuf(t->a, bytes, &t->back, &t->e))
		told(t, "cannot be read");
	settle(t, t->back);
}

static void begin(struct trip *t, const struct schema_kind_entry *kind, uint64_t seed)
{
	struct random r = { seed, arena_new() };

	*t = (struct trip){ .kind = kind, .seed = seed, .a = r.a };
	err_init(&t->e);
	t->first = any_object(&r, kind->type, 0);
	node_setc(t->first, "apiVersion",
		kind->group[0] ? node_strf(t->a, "%s/%s", kind->group, kind->version) : node_c(t->a, kind->version));
	node_setc(t->first, "kind", node_c(t->a, kind->kind));
	settle(t, t->first);
}

static uint64_t first_seed(void)
{
	const char *given = getenv("KOGGE_SEED");

	return given ? strtoull(given, NULL, 10) : 1;
}

/* Tables and discovery are JSON only: none of their fields has a number. */
static bool on_the_wire(const struct schema_type *t)
{
	return t->is_kind && (t->fields[0].number || (t->embeds && t->embeds[0].number));
}

static void each_kind(void (*fn)(struct trip *t))
{
	size_t n;
	const struct schema_kind_entry *kinds = schema_builtin_kinds(&n);

	for (size_t i = 0; i < n; i++) {
		for (uint64_t seed = first_seed(); seed < first_seed() + OBJECTS_OF_A_KIND; seed++) {
			struct trip t;

			if (!on_the_wire(kinds[i].type))
				break;
			begin(&t, &kinds[i], seed);
			fn(&t);
			arena_free(t.a);
		}
	}
}

static void same_again(struct trip *t)
{
	auto_buf struct buf b = BUF_INIT;

	to_wire(t, &b);
	from_wire(t, buf_view(&b));
	if (!node_equal(t->first, t->back))
		told(t, "is another object afterwards");
}

static void every_kind_comes_back(void **state)
{
	(void)state;
	each_kind(same_again);
}

/* Fields of a later version: numbers that no type has, one of each wire type. */
static void with_unknown_fields(struct trip *t)
{
	auto_buf struct buf b = BUF_INIT;
	auto_(doc_unref) struct doc *d = node_publish(t->first);
	size_t mark;

	buf_add(&b, "k8s", 4);
	mark = pb_begin(&b, 1);
	pb_bytes(&b, 1, doc_str(d, "apiVersion"));
	pb_bytes(&b, 2, doc_str(d, "kind"));
	pb_end(&b, mark);
	mark = pb_begin(&b, 2);
	pb_int(&b, 5000, -1);
	pb_bytes(&b, 5001, STR("\xff\xff"));
	schema_to_protobuf_inner(t->kind->type, doc_root(d), &b, &t->e);
	pb_tag(&b, 5002, PB_FIXED64);
	buf_add(&b, "12345678", 8);
	pb_tag(&b, 5003, PB_FIXED32);
	buf_add(&b, "1234", 4);
	pb_end(&b, mark);
	pb_bytes(&b, 99, STR("of the envelope"));
	from_wire(t, buf_view(&b));
	if (!node_equal(t->first, t->back))
		told(t, "is another object with unknown fields beside it");
}

static void unknown_fields_are_passed_over(void **state)
{
	(void)state;
	each_kind(with_unknown_fields);
}

/* Bytes that a client got wrong are refused with a sentence, or are an object like any other. */
static void damaged(struct trip *t)
{
	struct random r = { t->seed, t->a };
	auto_buf struct buf b = BUF_INIT;

	to_wire(t, &b);
	for (int i = 0; i < 20; i++) {
		char *bytes = arena_alloc(t->a, b.n);
		size_t n = below(&r, 4) ? b.n : below(&r, b.n);
		int rc;

		memcpy(bytes, b.p, b.n);
		for (size_t wrong = 1 + below(&r, 3); wrong > 0; wrong--)
			bytes[below(&r, b.n)] = (char)next(&r);
		t->back = NULL;
		err_init(&t->e);
		rc = schema_from_protobuf(t->a, str_n(bytes, n), &t->back, &t->e);
		if (rc && (!t->e.message[0] || t->back))
			told(t, "is refused without a word");
		if (!rc && !t->back)
			told(t, "is nothing");
	}
}

static void damage_is_told(void **state)
{
	(void)state;
	each_kind(damaged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_comes_back),
		cmocka_unit_test(unknown_fields_are_passed_over),
		cmocka_unit_test(damage_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Whatever reads as protobuf writes to protobuf that reads the same. */
#include "schema/schema_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct node *again(struct arena *a, struct node *in, const struct schema_type *t)
{
	auto_(doc_unref) struct doc *d = node_publish(in);
	auto_buf struct buf b = BUF_INIT;
	struct node *out = NULL;
	struct err e;

	err_init(&e);
	PRE(!schema_to_protobuf(t, doc_root(d), &b, &e));
	if (schema_from_protobuf(a, buf_view(&b), &out, &e))
		PANIC("%s", e.message);
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct str version, group, api;
	const struct schema_type *t;
	struct node *first = NULL, *second, *third;
	struct err e;

	err_init(&e);
	if (schema_from_protobuf(a, str_n((const char *)data, n), &first, &e))
		return 0;
	api = node_text_str(node_getc(first, "apiVersion"));
	version = str_cut(api, '/', &group);
	t = version.p ? schema_builtin(group, version, node_text_str(node_getc(first, "kind"))) :
			schema_builtin(STR_NULL, group, node_text_str(node_getc(first, "kind")));
	if (!t || schema_decode(t, a, first, NULL, &e)) /* a list item or an envelope in an envelope may be anything */
		return 0;
	second = again(a, first, t);
	if (schema_decode(t, a, second, NULL, &e))
		PANIC("%s", e.message);
	third = again(a, second, t);
	PRE(node_equal(second, third));
	return 0;
}

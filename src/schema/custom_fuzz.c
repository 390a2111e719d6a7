/* Two JSON texts, a line feed between them: a custom kind's schema, and an object of that kind. */
#include "schema/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void each(void *arg, const char *path)
{
	*(size_t *)arg += strlen(path);
}

static void each_object(void *arg, struct val object, const char *path)
{
	*(size_t *)arg += val_len(object) + strlen(path);
}

static void use(const struct schema_custom *c, struct str object)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct doc *d, *out;
	struct node *node;
	size_t total = 0;
	struct err e;

	err_init(&e);
	if (doc_parse(object, &d, &e))
		return;
	node = node_from(a, doc_root(d));
	if (!schema_decode(schema_custom_type(c), a, node, NULL, &e)) {
		schema_default(schema_custom_type(c), a, node, NULL);
		out = node_publish(node);
		schema_validate(schema_custom_type(c), doc_root(out), "", &e);
		schema_each_embedded(schema_custom_type(c), doc_root(out), "", each_object, &total);
		field_set_node(a, field_set_of(a, schema_custom_type(c), doc_root(out)));
		doc_unref(out);
	}
	doc_unref(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct schema_custom_opts o = { "example.com", "v1", "Any", "AnyList" };
	struct str head, rest = str_cut(str_n((const char *)data, n), '\n', &head);
	struct schema_custom *c = NULL;
	struct doc *d;
	struct err e;
	size_t total = 0;

	err_init(&e);
	if (doc_parse(head, &d, &e))
		return 0;
	schema_structural(doc_root(d), "s", &e);
	schema_check_defaults(doc_root(d), "s", true, each_object, &total, &e);
	schema_unenforced_rules(doc_root(d), each, &total);
	err_init(&e);
	if (!schema_custom_new(doc_root(d), &o, &c, &e))
		use(c, rest);
	schema_custom_free(c);
	doc_unref(d);
	return 0;
}

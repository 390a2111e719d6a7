/* Any JSON as an object of some kind: decoding and defaulting end in a fixed point, validation and field sets do not
 * fall over, an object applied twice is the same. The first byte chooses the kind. */
#include "schema/fieldset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void apply_twice(struct arena *a, const struct schema_type *t, struct val v)
{
	struct managed_write w = { .type = t,
		.api_version = STR("v1"),
		.manager = STR("fuzz"),
		.now = STR("2026-01-01T00:00:00Z"),
		.apply = true };
	auto_(doc_unref) struct doc *one = NULL, *two = NULL;
	struct node *n = NULL;
	struct err e;

	err_init(&e);
	if (managed_apply(a, &w, VAL_NONE, v, &n, &e))
		return;
	one = node_publish(n);
	w.now = STR("2027-01-01T00:00:00Z");
	if (managed_apply(a, &w, doc_root(one), v, &n, &e))
		PANIC("%s", e.message);
	node_del(node_getc(n, "metadata"),
		STR("managedFields")); /* nothing set: nobody is named, then before-first-apply */
	two = node_publish(n);
	n = node_from(a, doc_root(one));
	node_del(node_getc(n, "metadata"), STR("managedFields"));
	one = (doc_unref(one), node_publish(n));
	PRE(val_equal(doc_root(one), doc_root(two)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = NULL, *once = NULL, *twice = NULL;
	const struct schema_kind_entry *k;
	struct node *tree;
	size_t n_kinds;
	struct err e;

	err_init(&e);
	k = schema_builtin_kinds(&n_kinds);
	if (!n || doc_parse_lenient(str_n((const char *)data + 1, n - 1), NULL, NULL, &d, &e))
		return 0;
	k += data[0] % n_kinds;
	tree = node_from(a, doc_root(d));
	if (schema_decode(k->type, a, tree, NULL, &e))
		return 0;
	schema_default(k->type, a, tree, NULL);
	once = node_publish(tree);
	tree = node_from(a, doc_root(once));
	if (schema_decode(k->type, a, tree, NULL, &e))
		PANIC("%s", e.message);
	schema_default(k->type, a, tree, NULL);
	twice = node_publish(tree);
	PRE(val_equal(doc_root(once), doc_root(twice)));
	(void)schema_validate(k->type, doc_root(once), "", &e);
	(void)schema_validate_update(k->type, doc_root(once), doc_root(twice), "", &e);
	(void)field_set_node(a, field_set_of(a, k->type, doc_root(once)));
	apply_twice(a, k->type, doc_root(once));
	return 0;
}

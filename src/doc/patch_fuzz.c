/* Input: a line with the target, then the patch; each of the three patches is applied to it. */
#include "doc/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const void *child(const void *type, struct str key)
{
	return str_is(key, "unknown") ? NULL : type;
}

static struct str merge_key(const void *type, struct str field)
{
	return str_is(field, "l") ? STR("k") : STR("");
}

static bool is_merge(const void *type, struct str field)
{
	return str_is(field, "l") || str_is(field, "p");
}

static void publish(struct node *n)
{
	auto_(doc_unref) struct doc *d = node_publish(n), *again = NULL;

	PRE(doc_parse(doc_text(d), &again, NULL) == 0);
	PRE(val_equal(doc_root(d), doc_root(again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct patch_shape shape = { "", child, merge_key, is_merge, is_merge };
	auto_(doc_unref) struct doc *target = NULL, *patch = NULL;
	auto_(arena_free) struct arena *a = arena_new();
	struct str head, rest = str_cut(str_n((const char *)data, n), '\n', &head);
	struct node *t;
	struct err e;

	err_init(&e);
	if (doc_parse(head, &target, &e) < 0 || doc_parse(rest, &patch, &e) < 0)
		return 0;
	t = node_from(a, doc_root(target));
	if (patch_json(a, &t, doc_root(patch), 4096, &e) == 0)
		publish(t);
	t = node_from(a, doc_root(target));
	patch_merge(a, &t, doc_root(patch));
	publish(t);
	t = node_from(a, doc_root(target));
	if (patch_strategic(a, &t, doc_root(patch), &shape, &e) == 0)
		publish(t);
	return 0;
}

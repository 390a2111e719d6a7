/* Whatever parses has a text that parses to the same, in all three readers, and a tree that publishes to it. */
#include "doc/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void touch_all(struct node *n)
{
	for (size_t i = 0; i < node_len(n); i++)
		touch_all(node_at(n, i));
}

static void check_same(const struct doc *a, const struct doc *b)
{
	PRE(val_equal(doc_root(a), doc_root(b)));
	PRE(val_equal(doc_root(b), doc_root(a)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str s = str_n((const char *)data, n);
	auto_(doc_unref) struct doc *d = NULL, *again = NULL, *stored = NULL, *view = NULL, *built = NULL, *slot = NULL;
	auto_(doc_unref) struct doc *lenient = NULL;
	auto_(arena_free) struct arena *a = arena_new();
	struct node *tree;
	struct err e;

	err_init(&e);
	if (doc_parse_stored(s, &stored, &e) == 0) {
		PRE(doc_parse_stored(doc_text(stored), &again, &e) == 0);
		PRE(str_eq(doc_text(stored), doc_text(again)));
		check_same(stored, again);
		again = doc_unref(again);
	}
	if (doc_parse_lenient(s, NULL, NULL, &lenient, &e) < 0)
		return 0;
	PRE(doc_parse(doc_text(lenient), &again, &e) == 0);
	check_same(lenient, again);
	again = doc_unref(again);
	if (doc_parse(s, &d, &e) < 0)
		return 0;
	check_same(d, stored);
	PRE(doc_parse(doc_text(d), &again, &e) == 0);
	PRE(str_eq(doc_text(d), doc_text(again)) && doc_bytes(d) == doc_bytes(again));
	view = node_publish(node_from(a, doc_root(d)));
	tree = node_from(a, doc_root(d));
	touch_all(tree);
	built = node_publish(tree);
	check_same(d, view);
	check_same(d, built);
	PRE(str_eq(doc_text(view), doc_text(built)) && doc_bytes(view) == doc_bytes(built));
	if (val_kind(doc_root(d)) == VAL_MAP) {
		slot = node_publish_versioned(tree);
		again = doc_unref(again);
		PRE(doc_parse_stored(doc_text(slot), &again, &e) == 0);
		doc_stamp(slot, 42);
		doc_stamp(again, 42);
		PRE(str_eq(doc_text(slot), doc_text(again)) && doc_revision(again) == 42);
	}
	return 0;
}

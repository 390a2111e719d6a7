/* Mutable trees: views, edits, publishing, pictures. */
#include "doc/doc_fixture.h"
#include <stdio.h>

static void assert_str(struct str s, const char *want)
{
	if (!str_is(s, want))
		fail_msg("is \"%.*s\", want \"%s\"", STR_ARG(s), want);
}

/* Published text, and an index that agrees with a fresh parse of it. */
static void assert_published(struct node *n, const char *want)
{
	auto_(doc_unref) struct doc *d = node_publish(n), *fresh = json_doc(want);
	auto_buf struct buf b = BUF_INIT;

	assert_str(doc_text(d), want);
	assert_true(val_equal(doc_root(d), doc_root(fresh)));
	assert_int_equal(doc_bytes(d), doc_bytes(fresh));
	node_write(n, &b);
	assert_int_equal(b.n, strlen(want));
}

static void edits_a_view(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d =
		json_doc("{\"metadata\":{\"name\":\"web\",\"labels\":{\"k\\\"\":\"v\\n\",\"z\":\"2\"}},"
			 "\"spec\":{\"list\":[{\"a\":1},{\"b\":[[],{}]},\"\\t\"],\"n\":5}}");
	struct node *n = node_from(a, doc_root(d));

	d = doc_unref(d); /* the arena holds it */
	assert_published(n,
		"{\"metadata\":{\"name\":\"web\",\"labels\":{\"k\\\"\":\"v\\n\",\"z\":\"2\"}},"
		"\"spec\":{\"list\":[{\"a\":1},{\"b\":[[],{}]},\"\\t\"],\"n\":5}}");
	assert_int_equal(node_len(n), 2);
	assert_str(node_text_str(node_path(n, "metadata.name")), "web");
	node_set_path(n, "metadata.annotations.x/y", node_c(a, "a\"b"));
	node_setc(node_path(n, "spec"), "n", node_int(a, -6));
	assert_true(node_delc(node_path(n, "metadata"), "name"));
	assert_false(node_delc(node_path(n, "metadata"), "name"));
	node_add(node_path(n, "spec.list"), node_float(a, 0.1));
	node_insert(node_path(n, "spec.list"), 0, node_null(a));
	node_remove_at(node_path(n, "spec.list"), 2);
	node_setc(node_at(node_path(n, "spec.list"), 1), "c", node_bool(a, true));
	assert_published(n,
		"{\"metadata\":{\"labels\":{\"k\\\"\":\"v\\n\",\"z\":\"2\"},\"annotations\":{\"x/y\":\"a\\\"b\"}},"
		"\"spec\":{\"list\":[null,{\"a\":1,\"c\":true},\"\\t\",0.1],\"n\":-6}}");
}

static void puts_api_version_and_kind_first(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = json_doc("{\"spec\":{},\"kind\":\"K\",\"apiVersion\":\"v1\"}");

	assert_published(node_from(a, doc_root(d)), "{\"apiVersion\":\"v1\",\"kind\":\"K\",\"spec\":{}}");
	assert_published(node_pack(a, "{x:1, kind:'K'}"), "{\"kind\":\"K\",\"x\":1}");
	assert_published(node_list(a), "[]");
	assert_published(node_c(a, "s"), "\"s\"");
}

static void keeps_room_for_a_revision(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *n =
		node_pack(a, "{kind:'K', metadata:{name:'x', resourceVersion:'7', uid:'u'}, apiVersion:'v1', q:[1]}");
	auto_(doc_unref) struct doc *d = node_publish_versioned(n), *stored = NULL, *later = NULL, *plain = NULL;
	struct err e;

	assert_str(doc_text(d),
		"{\"apiVersion\":\"v1\",\"kind\":\"K\",\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"\""
		"                    ,\"uid\":\"u\"},\"q\":[1]}");
	assert_int_equal(doc_parse_stored(doc_text(d), &stored, &e), 0);
	doc_stamp(d, 12);
	doc_stamp(stored, 12);
	assert_int_equal(doc_revision(d), 12);
	assert_str(doc_text(stored), doc_text(d).p);
	assert_str(doc_uid(d), "u");
	assert_str(doc_str(d, "metadata.resourceVersion"), "12");

	/* a new version of it: the slot moves along, blanks do not pile up */
	n = node_from(a, doc_root(d));
	later = node_publish_versioned(n);
	assert_int_equal(doc_text(later).n, doc_text(d).n);
	doc_stamp(later, 13);
	assert_int_equal(doc_int(later, "q", 1), 1);
	assert_int_equal(doc_revision(later), 13);
	plain = node_publish(node_from(a, doc_root(later)));
	assert_str(doc_text(plain),
		"{\"apiVersion\":\"v1\",\"kind\":\"K\",\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"13\","
		"\"uid\":\"u\"},\"q\":[1]}");
}

static void assert_reads(const struct doc *d)
{
	assert_str(doc_name(d), "a");
	assert_str(val_str(val_get(doc_root(d), "q\"k")), "b\nc");
	assert_int_equal(val_len(doc_get(d, "list")), 4);
	assert_int_equal(val_int(val_at(doc_get(d, "list"), 3), 0), 7);
	assert_str(val_text(doc_get(d, "list")), "[1,[],{\"x\":[true]},7]");
	assert_str(val_str(val_get(doc_get(d, "after"), "k")), "v");
}

/* Documents below 64 KiB have a smaller index: one of them grows beyond by a long text, by a long key, by escapes or by
 * many values, and shrinks again. */
static void small_and_large_documents_read_the_same(void **state)
{
	enum { N = 70000 };
	auto_free char *pad = xmalloc(N);
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *small = json_doc("{\"metadata\":{\"name\":\"a\"},\"q\\\"k\":\"b\\nc\","
						      "\"list\":[1,[],{\"x\":[true]},7],\"after\":{\"k\":\"v\"}}");
	struct node *zeros = node_list(a), *with[4];

	for (int i = 0; i < N / 2; i++)
		node_add(zeros, node_int(a, 0));
	with[0] = node_str(a, str_n(memset(pad, 'x', N), N));
	with[1] = node_map(a);
	node_set(with[1], str_n(pad, 300), node_int(a, 1));
	with[2] = node_str(a, str_n(memset(pad, '\n', N), N));
	with[3] = zeros;
	for (size_t i = 0; i < ARRAY_LEN(with); i++) {
		auto_(doc_unref) struct doc *large = NULL, *again = NULL, *parsed = NULL;
		struct node *n = node_from(a, doc_root(small));

		node_setc(n, "list2", with[i]);
		node_setc(n, "after", node_from(a, doc_get(small, "after")));
		large = node_publish_versioned(n);
		doc_stamp(large, 12);
		assert_reads(large);
		assert_true(node_equal(node_from(a, doc_get(large, "list2")), with[i]));
		assert_int_equal(doc_parse_stored(doc_text(large), &parsed, NULL), 0);
		assert_reads(parsed);
		assert_true(val_equal(doc_root(parsed), doc_root(large)));

		n = node_from(a, doc_root(large));
		node_delc(n, "list2");
		again = node_publish_versioned(n);
		doc_stamp(again, 123456);
		assert_reads(again);
		assert_int_equal(doc_revision(again), 123456);
		assert_str(doc_str(again, "metadata.resourceVersion"), "123456");
		assert_true(doc_bytes(again) < doc_bytes(small) + 100);
	}
}

static void makes_metadata_when_missing(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = node_publish_versioned(node_pack(a, "{metadata:null}"));

	doc_stamp(d, 1);
	assert_str(doc_text(d), "{\"metadata\":{\"resourceVersion\":\"1\"                   }}");
}

static void paints_pictures(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = json_doc("{\"q\":[1]}");

	assert_published(
		node_pack(a,
			"{apiVersion:'v1', 'a/b.c':s, gone:s, S:S, i:i, I:I, t:b, f:f, n:n, v:v, w:v, o:o, p:o,"
			" l:[1, -2.5, 'x y', true, false, [], {}, s]}",
			"str", NULL, STR("slice"), -1, INT64_MAX, 1, 2.5, doc_get(d, "q"), VAL_NONE, node_map(a), NULL,
			NULL),
		"{\"apiVersion\":\"v1\",\"a/"
		"b.c\":\"str\",\"S\":\"slice\",\"i\":-1,\"I\":9223372036854775807,\"t\":true,"
		"\"f\":2.5,\"n\":null,\"v\":[1],\"o\":{},\"l\":[1,-2.5,\"x y\",true,false,[],{}]}");
}

static void large_maps_take_many_edits(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *n = node_map(a);
	char key[32];

	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		node_setc(n, key, node_int(a, i));
	}
	for (int i = 0; i < 2000; i += 2) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_true(node_delc(n, key));
		assert_null(node_getc(n, key));
	}
	node_setc(n, "k4", node_int(a, -4));
	assert_int_equal(node_len(n), 1001);
	assert_int_equal(node_int_of(node_getc(n, "k4"), 0), -4);
	assert_int_equal(node_int_of(node_getc(n, "k1999"), 0), 1999);
	assert_str(node_key_at(n, 0), "k1");
	assert_str(node_key_at(n, 1000), "k4");
	assert_int_equal(node_int_of(node_getc(n, "k1999"), 0), 1999);
	assert_null(node_getc(n, "k2"));
}

static void copies_are_independent(void **state)
{
	auto_(arena_free) struct arena *a = arena_new(), *b = arena_new();
	struct node *n = node_pack(a, "{a:{b:'x'}, l:[1]}"), *c = node_copy(b, n);

	assert_true(node_equal(n, c));
	node_set_path(n, "a.b", node_c(a, "y"));
	assert_false(node_equal(n, c));
	a = arena_free(a);
	assert_published(c, "{\"a\":{\"b\":\"x\"},\"l\":[1]}");
}

static void cleans_bytes_that_are_no_text(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();

	assert_published(node_c(a, "a\xff\xc3(\xe2\x82"), "\"a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void floats_read_back(void **state)
{
	static const double f[] = { 0.1, 1.0 / 3, 1e300, 5e-324, 123456789.125, 1e21, 1e15, -2.5e-7, 0 };
	auto_(arena_free) struct arena *a = arena_new();

	for (size_t i = 0; i < ARRAY_LEN(f); i++) {
		auto_(doc_unref) struct doc *d = node_publish(node_float(a, f[i]));

		assert_true(val_float(doc_root(d), -1) == f[i]);
	}
}

/* Wherever it stands: what must be escaped is found eight bytes at a time. */
static void every_character_reads_back(void **state)
{
	char text[20];

	(void)state;
	for (int c = 1; c < 128; c++) {
		for (size_t at = 0; at < sizeof(text); at++) {
			auto_(arena_free) struct arena *a = arena_new();
			auto_(doc_unref) struct doc *d = NULL, *again = NULL;
			struct str s = str_n(text, sizeof(text));
			struct err e;

			memset(text, 'x', sizeof(text));
			text[at] = (char)c;
			d = node_publish(node_pack(a, "{k:S, v:[S]}", s, str_sub(s, at, 1)));
			err_init(&e);
			assert_int_equal(doc_parse(doc_text(d), &again, &e), 0);
			assert_true(str_eq(doc_str(again, "k"), s));
			assert_true(str_eq(val_str(val_at(doc_get(again, "v"), 0)), str_sub(s, at, 1)));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edits_a_view),
		cmocka_unit_test(puts_api_version_and_kind_first),
		cmocka_unit_test(keeps_room_for_a_revision),
		cmocka_unit_test(small_and_large_documents_read_the_same),
		cmocka_unit_test(makes_metadata_when_missing),
		cmocka_unit_test(paints_pictures),
		cmocka_unit_test(large_maps_take_many_edits),
		cmocka_unit_test(copies_are_independent),
		cmocka_unit_test(cleans_bytes_that_are_no_text),
		cmocka_unit_test(floats_read_back),
		cmocka_unit_test(every_character_reads_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

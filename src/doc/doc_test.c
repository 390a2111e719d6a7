/* Documents: parsing, reading, the slot of the revision. */
#include "doc/doc_fixture.h"

static void assert_str(struct str s, const char *want)
{
	if (!str_is(s, want))
		fail_msg("is \"%.*s\", want \"%s\"", STR_ARG(s), want);
}

static void reads_by_path(void **state)
{
	auto_(doc_unref) struct doc *d =
		json_doc(" { \"metadata\" : { \"name\" : \"web\", \"labels\":{\"a.b/c\":\"x\"} },\n"
			 "\"spec\": {\"replicas\": 3, \"paused\":true, \"ratio\":0.5,"
			 "\"list\":[1,[2,3],{\"name\":\"q\"}], \"none\":null}}");

	assert_str(doc_text(d),
		"{\"metadata\":{\"name\":\"web\",\"labels\":{\"a.b/c\":\"x\"}},\"spec\":{\"replicas\":3,"
		"\"paused\":true,\"ratio\":0.5,\"list\":[1,[2,3],{\"name\":\"q\"}],\"none\":null}}");
	assert_str(doc_str(d, "metadata.name"), "web");
	assert_str(doc_name(d), "web");
	assert_str(doc_ns(d), "");
	assert_str(val_str(val_get(doc_get(d, "metadata.labels"), "a.b/c")), "x");
	assert_int_equal(doc_int(d, "spec.replicas", 0), 3);
	assert_true(doc_bool(d, "spec.paused", false));
	assert_true(val_float(doc_get(d, "spec.ratio"), 0) == 0.5);
	assert_int_equal(val_kind(doc_get(d, "spec.none")), VAL_NULL);
	assert_int_equal(val_kind(doc_get(d, "spec.nothing.at.all")), VAL_MISSING);
	assert_int_equal(doc_int(d, "spec.nothing", 7), 7);
	assert_int_equal(val_len(doc_get(d, "spec.list")), 3);
	assert_int_equal(val_int(val_at(val_at(doc_get(d, "spec.list"), 1), 1), 0), 3);
	assert_false(val_has(val_at(doc_get(d, "spec.list"), 3)));
	assert_str(val_text(doc_get(d, "spec.list")), "[1,[2,3],{\"name\":\"q\"}]");
	assert_str(val_text(val_find(doc_get(d, "spec.list"), "name", STR("q"))), "{\"name\":\"q\"}");
}

static void iterates(void **state)
{
	auto_(doc_unref) struct doc *d = json_doc("{\"a\":{\"x\":[1,2]},\"b\\n\":[],\"c\":\"v\"}");
	static const char *const keys[] = { "a", "b\n", "c" };
	size_t n = 0;

	for (struct val_iter it = val_iter(doc_root(d)); val_next(&it); n++) {
		assert_int_equal(it.i, n);
		assert_str(it.key, keys[n]);
	}
	assert_int_equal(n, 3);
	assert_str(val_text(val_get(doc_root(d), "b\n")), "[]");
	for (struct val_iter it = val_iter(doc_get(d, "c")); val_next(&it);)
		fail();
	for (struct val_iter it = val_iter(VAL_NONE); val_next(&it);)
		fail();
}

static void decodes_strings_and_spells_them_one_way(void **state)
{
	auto_(doc_unref) struct doc *d = json_doc(
		"[\"\\u003ca\\/b\\u003e\",\"l1\\nl2\\u0001\",\"\\ud83d\\ude00\",\"\\ud83dx\",\"\\u0000\",\"é\"]");

	assert_str(val_str(val_at(doc_root(d), 0)), "<a/b>");
	assert_str(val_str(val_at(doc_root(d), 1)), "l1\nl2\x01");
	assert_str(val_str(val_at(doc_root(d), 2)), "\xf0\x9f\x98\x80");
	assert_str(val_str(val_at(doc_root(d), 3)), "\xef\xbf\xbdx");
	assert_int_equal(val_str(val_at(doc_root(d), 4)).n, 1);
	assert_str(
		doc_text(d), "[\"<a/b>\",\"l1\\nl2\\u0001\",\"\xf0\x9f\x98\x80\",\"\xef\xbf\xbdx\",\"\\u0000\",\"é\"]");
}

static void keeps_numbers(void **state)
{
	auto_(doc_unref) struct doc *d = json_doc(
		"[9223372036854775807,-9223372036854775808,9223372036854775808,18446744073709551615,1.0,1e3,-0,1.50]");
	struct val r = doc_root(d);

	assert_true(val_int(val_at(r, 0), 0) == INT64_MAX);
	assert_true(val_int(val_at(r, 1), 0) == INT64_MIN);
	assert_int_equal(val_kind(val_at(r, 1)), VAL_INT);
	assert_int_equal(val_kind(val_at(r, 2)), VAL_FLOAT);
	assert_int_equal(val_int(val_at(r, 2), 5), 5);
	assert_int_equal(val_int(val_at(r, 4), 5), 1);
	assert_int_equal(val_int(val_at(r, 5), 5), 1000);
	assert_str(val_text(val_at(r, 7)), "1.50");
}

static void refuses_what_is_not_json(void **state)
{
	static const char *const bad[] = { "", " ", "{", "[", "[1,]", "{\"a\":1,}", "{\"a\"}", "{a:1}", "01", "-", "1.",
		"1e", ".5", "+1", "nul", "truex", "\"", "\"\\x\"", "\"\\u12g4\"", "\"\\", "\"\\u12", "\"\t\"", "[1 2]",
		"{\"a\":1 \"b\":2}", "{} {}", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
		"\"\xe2\x82\"", "1e999", "[1}", "{]", "\"abc", "{\"a\":}", "{\"a\":1,\"a\":2}", "'a'", "NaN", "[,1]" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct doc *d = NULL;
		struct err e;

		err_init(&e);
		if (doc_parse(str_c(bad[i]), &d, &e) != -ERR_BAD_REQUEST)
			fail_msg("accepted: %s", bad[i]);
		assert_null(d);
	}
}

static void says_where(void **state)
{
	struct doc *d = NULL;
	struct err e;

	doc_parse(STR("{\n  \"a\": [1, x]}"), &d, &e);
	assert_string_equal(e.message, "invalid JSON at line 2 column 12: expected a value");
	doc_parse(STR("{\"spec\":{\"l\":[{},{\"a\":1,\"b\":{},\n\"a\":2}]}}"), &d, &e);
	assert_string_equal(
		e.message, "invalid JSON at line 2 column 1: duplicate key: duplicate field \"spec.l[1].a\"");
}

static void limits_depth(void **state)
{
	char json[2 * (DOC_DEPTH_MAX + 1)];
	struct doc *d = NULL;
	struct err e;

	memset(json, '[', DOC_DEPTH_MAX);
	memset(json + DOC_DEPTH_MAX, ']', DOC_DEPTH_MAX);
	assert_int_equal(doc_parse(str_n(json, 2 * DOC_DEPTH_MAX), &d, &e), 0);
	d = doc_unref(d);
	memset(json, '[', DOC_DEPTH_MAX + 1);
	memset(json + DOC_DEPTH_MAX + 1, ']', DOC_DEPTH_MAX + 1);
	assert_int_equal(doc_parse(str_n(json, sizeof(json)), &d, &e), -ERR_BAD_REQUEST);
}

static void note_dup(void *arg, struct str path)
{
	struct buf *b = arg;

	buf_str(b, path);
	buf_byte(b, ';');
}

static void lenient_takes_the_last(void **state)
{
	auto_(doc_unref) struct doc *d = NULL;
	auto_buf struct buf seen = BUF_INIT;
	struct err e;

	assert_int_equal(
		doc_parse_lenient(
			STR("{\"a\":{\"x\":1},\"s\":[0,{\"k\":1,\"k\":[2],\"k\":3}],\"a\":{\"y\\n\":\"\\n\"}}"),
			note_dup, &seen, &d, &e),
		0);
	assert_str(doc_text(d), "{\"s\":[0,{\"k\":3}],\"a\":{\"y\\n\":\"\\n\"}}");
	assert_str(buf_view(&seen), "s[1].k;s[1].k;a;");
	assert_str(val_str(val_get(doc_get(d, "a"), "y\n")), "\n");
}

static void finds_duplicates_in_large_maps(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	struct doc *d = NULL;
	struct err e;

	buf_c(&b, "{");
	for (int i = 0; i < 100000; i++)
		buf_printf(&b, "\"key-%d\":%d,", i, i);
	buf_c(&b, "\"key-777\":1}");
	assert_int_equal(doc_parse(buf_view(&b), &d, &e), -ERR_BAD_REQUEST);
	assert_non_null(strstr(e.message, "duplicate field \"key-777\""));
	assert_int_equal(doc_parse_lenient(buf_view(&b), NULL, NULL, &d, &e), 0);
	assert_int_equal(val_len(doc_root(d)), 100000);
	assert_int_equal(doc_int(d, "key-777", 0), 1);
	doc_unref(d);
}

static void compares(void **state)
{
	static const struct {
		const char *a, *b;
		bool equal;
	} cases[] = {
		{ "1", "1.0", true },
		{ "{\"a\":1,\"b\":[1,2]}", "{\"b\":[1,2],\"a\":1}", true },
		{ "[1,2]", "[2,1]", false },
		{ "{\"a\":null}", "{}", false },
		{ "\"\\u0061\"", "\"a\"", true },
		{ "true", "false", false },
		{ "null", "null", true },
		{ "\"1\"", "1", false },
		{ "{\"a\":{\"b\":[{\"c\":1},2]}}", "{\"a\":{\"b\":[{\"c\":1e0},2]}}", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_(doc_unref) struct doc *a = json_doc(cases[i].a), *b = json_doc(cases[i].b);

		assert_int_equal(val_equal(doc_root(a), doc_root(b)), cases[i].equal);
		assert_int_equal(val_equal(doc_root(b), doc_root(a)), cases[i].equal);
		if (cases[i].equal)
			assert_true(val_hash(doc_root(a)) == val_hash(doc_root(b)));
	}
}

static void compares_large_maps_in_any_order(void **state)
{
	auto_buf struct buf x = BUF_INIT, y = BUF_INIT;

	for (int i = 0; i < 1000; i++) {
		buf_printf(&x, "%c\"k%d\":%d", i ? ',' : '{', i, i);
		buf_printf(&y, "%c\"k%d\":%d", i ? ',' : '{', 999 - i, 999 - i);
	}
	buf_add(&x, "}", 2);
	buf_add(&y, "}", 2);
	auto_(doc_unref) struct doc *a = json_doc(x.p), *b = json_doc(y.p);

	assert_true(val_equal(doc_root(a), doc_root(b)));
}

static void item_text_has_no_kind(void **state)
{
	static const char *const cases[][2] = {
		{ "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{}}", "\"metadata\":{}}" },
		{ "{\"kind\":\"Pod\",\"a\":1}", "\"a\":1}" },
		{ "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}", "}" },
		{ "{\"a\":1}", "\"a\":1}" },
		{ "{}", "}" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_(doc_unref) struct doc *d = json_doc(cases[i][0]);

		assert_str(doc_item_text(d), cases[i][1]);
	}
}

static void stored_text_keeps_its_slot(void **state)
{
	static const char text[] = "{\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"\""
				   "                    ,\"x\":{\"resourceVersion\":\"\"}},\"z\":\"\\u0041\"}";
	auto_(doc_unref) struct doc *d = NULL, *again = NULL;
	struct err e;

	assert_int_equal(doc_parse_stored(str_c(text), &d, &e), 0);
	assert_str(doc_text(d), text);
	assert_str(doc_str(d, "z"), "A");
	assert_int_equal(doc_revision(d), 0);
	doc_stamp(d, 4711);
	assert_int_equal(doc_revision(d), 4711);
	assert_str(doc_str(d, "metadata.resourceVersion"), "4711");
	assert_int_equal(doc_text(d).n, sizeof(text) - 1);

	assert_int_equal(doc_parse_stored(doc_text(d), &again, &e), 0);
	assert_int_equal(doc_revision(again), 4711);
	doc_stamp(again, INT64_MAX);
	assert_true(doc_revision(again) == INT64_MAX);
	assert_str(doc_str(again, "metadata.resourceVersion"), "9223372036854775807");
	assert_str(doc_str(again, "metadata.name"), "a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_by_path),
		cmocka_unit_test(iterates),
		cmocka_unit_test(decodes_strings_and_spells_them_one_way),
		cmocka_unit_test(keeps_numbers),
		cmocka_unit_test(refuses_what_is_not_json),
		cmocka_unit_test(says_where),
		cmocka_unit_test(limits_depth),
		cmocka_unit_test(lenient_takes_the_last),
		cmocka_unit_test(finds_duplicates_in_large_maps),
		cmocka_unit_test(compares),
		cmocka_unit_test(compares_large_maps_in_any_order),
		cmocka_unit_test(item_text_has_no_kind),
		cmocka_unit_test(stored_text_keeps_its_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* YAML: what Kubernetes' reader makes of scalars, anchors and merges, and what its writer makes of documents. */
#include "base/test.h"
#include "doc/doc.h"

static void becomes_json(void **state)
{
	static const char *const rows[][2] = {
		{ "a: 1\nb: [x, 'y', \"z\\n\"]\n", "{\"a\":1,\"b\":[\"x\",\"y\",\"z\\n\"]}" },
		{ "kind: K\nspec:\n  a: b\napiVersion: v1",
			"{\"apiVersion\":\"v1\",\"kind\":\"K\",\"spec\":{\"a\":\"b\"}}" },
		{ "[y, yes, on, True, n, no, Off, FALSE]", "[true,true,true,true,false,false,false,false]" },
		{ "['yes', \"on\", !!str true, ! 5]", "[\"yes\",\"on\",\"true\",\"5\"]" },
		{ "- ~\n- null\n-\n- ''\n", "[null,null,null,\"\"]" },
		{ "[0x1F, 010, 1_000, 0o7, 0b11, +5, -7, 08]", "[31,8,1000,7,3,5,-7,8]" },
		{ "[1e3, .5, 12e03, 1.0, 99999999999999999999, 1.25]", "[1000,0.5,12000,1,1e+20,1.25]" },
		{ "[2001-01-01, 1:30, 1.2.3, 0x, 1e, -, 0xg, 09x]",
			"[\"2001-01-01\",\"1:30\",\"1.2.3\",\"0x\",\"1e\",\"-\",\"0xg\",\"09x\"]" },
		{ "5: x\n1.5: q\ntrue: z\n'n': w", "{\"5\":\"x\",\"1.5\":\"q\",\"true\":\"z\",\"n\":\"w\"}" },
		{ "t: |\n  l1\n  l2\nf: >-\n  a\n  b\n", "{\"t\":\"l1\\nl2\\n\",\"f\":\"a b\"}" },
		{ "b: !!binary aGk=", "{\"b\":\"hi\"}" },
		{ "a: &x {k: 1}\nb: *x\nc: [*x, *x]", "{\"a\":{\"k\":1},\"b\":{\"k\":1},\"c\":[{\"k\":1},{\"k\":1}]}" },
		{ "a: &x {k: 1, l: 2}\nb:\n  k: 3\n  <<: *x", "{\"a\":{\"k\":1,\"l\":2},\"b\":{\"k\":3,\"l\":2}}" },
		{ "- &x {k: 1}\n- &y {k: 2, m: 3}\n- <<: [*x, *y]", "[{\"k\":1},{\"k\":2,\"m\":3},{\"k\":1,\"m\":3}]" },
		{ "{\"a\":\"\\ud83d\\ude00\"}", "{\"a\":\"\xf0\x9f\x98\x80\"}" },
		{ "{a: 1}", "{\"a\":1}" },
		{ "---\na: 1\n...\n", "{\"a\":1}" },
		{ "", "null" },
		{ "# nothing\n", "null" },
		{ "word", "\"word\"" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(doc_unref) struct doc *d = NULL;
		struct err e;

		err_init(&e);
		if (doc_parse_yaml(str_c(rows[i][0]), NULL, NULL, &d, &e) < 0)
			fail_msg("%s: %s", rows[i][0], e.message);
		if (!str_is(doc_text(d), rows[i][1]))
			fail_msg("%s\nreads as %.*s", rows[i][0], STR_ARG(doc_text(d)));
	}
}

static void refuses(void **state)
{
	static const char *const rows[][2] = {
		{ "a: 1\nb:\n  c: 2\n  c: 3\n", "line 4: key \"c\" already set in map: duplicate field \"b.c\"" },
		{ "a: [1", "line 2" },
		{ "a: *nope", "unknown anchor 'nope' referenced" },
		{ "a: &x [*x]", "unknown anchor 'x' referenced" },
		{ "a: .inf", "infinite" },
		{ "{[a]: b}", "a key has to be" },
		{ "a: 1\n---\nb: 2", "more than one document" },
		{ "<<: 5", "map merge requires" },
		{ "a: !!binary '*'", "invalid base64" },
		{ "\ta: 1", "line 1" },
		{ "a: \"\\xff\xff\"", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct doc *d = NULL;
		struct err e;

		err_init(&e);
		if (doc_parse_yaml(str_c(rows[i][0]), NULL, NULL, &d, &e) != -ERR_BAD_REQUEST)
			fail_msg("accepted %s", rows[i][0]);
		if (!strstr(e.message, rows[i][1]))
			fail_msg("%s: %s", rows[i][0], e.message);
	}
}

static void bounds_aliases(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	struct doc *d = NULL;
	struct err e;

	buf_c(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 12; i++) {
		buf_printf(&b, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			buf_printf(&b, "*a%d,", i - 1);
		buf_c(&b, "]\n");
	}
	assert_int_equal(doc_parse_yaml(buf_view(&b), NULL, NULL, &d, &e), -ERR_BAD_REQUEST);
	assert_non_null(strstr(e.message, "excessive aliasing"));
}

static void note_dup(void *arg, struct str path)
{
	struct buf *b = arg;

	buf_str(b, path);
	buf_byte(b, ';');
}

static void reports_duplicates(void **state)
{
	auto_(doc_unref) struct doc *d = NULL;
	auto_buf struct buf seen = BUF_INIT;
	struct err e;

	assert_int_equal(
		doc_parse_yaml(STR("s:\n  l:\n  - x: 0\n  - {a: 1, a: 2}\nz: 1\nz: 2"), note_dup, &seen, &d, &e), 0);
	assert_true(str_is(buf_view(&seen), "s.l[1].a;z;"));
	assert_true(str_is(doc_text(d), "{\"s\":{\"l\":[{\"x\":0},{\"a\":2}]},\"z\":2}"));
}

static void is_written(void **state)
{
	static const char *const rows[][2] = {
		{ "{\"b\":1,\"a\":{\"y\":[{\"k\":1,\"j\":[]},[2,\"x\"]],\"x\":{}}}",
			"a:\n  x: {}\n  \"y\":\n  - j: []\n    k: 1\n  - - 2\n    - x\nb: 1\n" },
		{ "{\"a\":\"yes\",\"b\":\"1\",\"c\":\"\",\"d\":\"2026-11-28T06:53:56Z\",\"e\":\"1.5\",\"f\":\"null\",\"g\":\"010\",\"h\":\"a: b\"}",
			"a: \"yes\"\nb: \"1\"\nc: \"\"\nd: \"2026-11-28T06:53:56Z\"\ne: \"1.5\"\nf: \"null\"\ng: \"010\"\nh: 'a: b'\n" },
		{ "{\"a\":\"one\\ntwo\\n\",\"b\":\"one\\ntwo\",\"c\":\"\xc3\xbc\",\"d\":null,\"e\":1.5,\"f\":true}",
			"a: |\n  one\n  two\nb: |-\n  one\n  two\nc: \xc3\xbc\nd: null\ne: 1.5\nf: true\n" },
		{ "[]", "[]\n" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(doc_unref) struct doc *d = NULL, *again = NULL;
		auto_buf struct buf b = BUF_INIT;
		struct err e;

		err_init(&e);
		assert_int_equal(doc_parse(str_c(rows[i][0]), &d, &e), 0);
		assert_true(val_write_yaml(doc_root(d), &b));
		if (!str_is(buf_view(&b), rows[i][1]))
			fail_msg("%s\nis written as\n%.*s", rows[i][0], STR_ARG(buf_view(&b)));
		assert_int_equal(doc_parse_yaml(buf_view(&b), NULL, NULL, &again, &e), 0);
		assert_true(val_equal(doc_root(d), doc_root(again)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(becomes_json),
		cmocka_unit_test(is_written),
		cmocka_unit_test(refuses),
		cmocka_unit_test(bounds_aliases),
		cmocka_unit_test(reports_duplicates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

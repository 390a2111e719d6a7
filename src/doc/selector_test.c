/* Label and field selectors. */
#include "doc/doc_fixture.h"

static void matches_text(void **state)
{
	static const struct {
		const char *text, *canonical; /* NULL: refused */
		bool matches;
	} rows[] = {
		{ "", "", true },
		{ "a=b", "a=b", true },
		{ "a==b", "a=b", true },
		{ " a = b , c != x ", "a=b,c!=x", true },
		{ "a=x", "a=x", false },
		{ "none!=x", "none!=x", true },
		{ "a", "a", true },
		{ "!a", "!a", false },
		{ "! none", "!none", true },
		{ "a in (x, b,b)", "a in (b,x)", true },
		{ "a notin (x,b)", "a notin (b,x)", false },
		{ "none notin (x)", "none notin (x)", true },
		{ "none in (x)", "none in (x)", false },
		{ "e=", "e=", true },
		{ "a in ()", "a in ()", false },
		{ "e in (,z)", "e in (,z)", true },
		{ "n>4,n<6", "n>4,n<6", true },
		{ "n>5", "n>5", false },
		{ "x.io/y=1", "x.io/y=1", true },
		{ "z,a=b", "a=b,z", false },
		{ "a=b c", NULL, false },
		{ "=b", NULL, false },
		{ "a=b,", NULL, false },
		{ ",a=b", NULL, false },
		{ "a in b", NULL, false },
		{ "a in (b", NULL, false },
		{ "a in (b c)", NULL, false },
		{ "!a=b", NULL, false },
		{ "-a=b", NULL, false },
		{ "a=b/c", NULL, false },
		{ "X.io/y=1", NULL, false },
		{ "a/b/c=1", NULL, false },
		{ "n>x", NULL, false },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL, false },
	};
	auto_(doc_unref) struct doc *labels =
		json_doc("{\"a\":\"b\",\"c\":\"d\",\"e\":\"\",\"n\":\"5\",\"x.io/y\":\"1\"}");

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		const struct selector *s = NULL;
		struct err e;

		err_init(&e);
		if (selector_parse(a, str_c(rows[i].text), &s, &e) < 0) {
			if (rows[i].canonical)
				fail_msg("%s: %s", rows[i].text, e.message);
			continue;
		}
		if (!rows[i].canonical || !str_is(selector_text(a, s), rows[i].canonical))
			fail_msg("%s reads as %.*s", rows[i].text, STR_ARG(selector_text(a, s)));
		if (selector_matches(s, doc_root(labels)) != rows[i].matches)
			fail_msg("%s: matching is wrong", rows[i].text);
	}
}

static void says_what_it_expected(void **state)
{
	static const char *const rows[][2] = {
		{ "a=b c", "found 'c', expected: ',' or 'end of string'" },
		{ "=b", "found '=', expected: !, identifier, or 'end of string'" },
		{ "a,", "found '', expected: identifier after ','" },
		{ "a,,b", "found ',', expected: identifier after ','" },
		{ "!=b", "found '!=', expected: !, identifier, or 'end of string'" },
		{ "a in b", "unable to parse requirement: found 'b' expected: '('" },
		{ "a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		const struct selector *s;
		struct err e;

		err_init(&e);
		assert_int_equal(selector_parse(a, str_c(rows[i][0]), &s, &e), -ERR_BAD_REQUEST);
		assert_string_equal(e.message, rows[i][1]);
	}
}

static void matches_objects(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d =
		json_doc("{\"empty\":{},\"null\":null,\"s\":{\"matchLabels\":{\"a\":\"b\"},\"matchExpressions\":["
			 "{\"key\":\"c\",\"operator\":\"In\",\"values\":[\"z\",\"d\"]},{\"key\":\"q\",\"operator\":"
			 "\"DoesNotExist\"}]},"
			 "\"bad\":{\"matchExpressions\":[{\"key\":\"c\",\"operator\":\"Has\"}]},"
			 "\"bad2\":{\"matchExpressions\":[{\"key\":\"c\",\"operator\":\"In\",\"values\":[]}]},\"map\":{"
			 "\"a\":\"b\"},"
			 "\"labels\":{\"a\":\"b\",\"c\":\"d\"}}");
	struct val labels = doc_get(d, "labels");
	const struct selector *s;
	struct err e;

	assert_int_equal(selector_of(a, doc_get(d, "s"), &s, &e), 0);
	assert_true(selector_matches(s, labels));
	assert_true(str_is(selector_text(a, s), "a=b,c in (d,z),!q"));
	assert_false(selector_matches(s, VAL_NONE));
	assert_int_equal(selector_of(a, doc_get(d, "empty"), &s, &e), 0);
	assert_true(selector_matches(s, VAL_NONE) && selector_is_everything(s));
	assert_int_equal(selector_of(a, doc_get(d, "null"), &s, &e), 0);
	assert_false(selector_matches(s, labels) || selector_is_everything(s));
	assert_int_equal(selector_of(a, VAL_NONE, &s, &e), 0);
	assert_false(selector_matches(s, labels));
	assert_int_equal(selector_of(a, doc_get(d, "bad"), &s, &e), -ERR_BAD_REQUEST);
	assert_string_equal(e.message, "\"Has\" is not a valid label selector operator");
	assert_int_equal(selector_of(a, doc_get(d, "bad2"), &s, &e), -ERR_BAD_REQUEST);
	assert_int_equal(selector_of_map(a, doc_get(d, "map"), &s, &e), 0);
	assert_true(selector_matches(s, labels));
	assert_int_equal(selector_of_map(a, doc_get(d, "empty"), &s, &e), 0);
	assert_false(selector_matches(s, labels));
}

static void reads_field_selectors(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct field_term *t = NULL;
	struct err e;
	size_t n = 0;

	assert_int_equal(field_selector_parse(
				 a, STR("metadata.name=x,status.phase!=Running, a == b\\,c\\=d\\\\ ,,e="), &t, &n, &e),
		0);
	assert_int_equal(n, 4);
	assert_true(str_is(t[0].field, "metadata.name") && str_is(t[0].value, "x") && t[0].equal);
	assert_true(str_is(t[1].field, "status.phase") && str_is(t[1].value, "Running") && !t[1].equal);
	assert_true(str_is(t[2].field, "a") && str_is(t[2].value, "b,c=d\\") && t[2].equal);
	assert_true(str_is(t[3].field, "e") && str_is(t[3].value, ""));
	assert_int_equal(field_selector_parse(a, STR(""), &t, &n, &e), 0);
	assert_int_equal(n, 0);
	assert_int_equal(field_selector_parse(a, STR("a"), &t, &n, &e), -ERR_BAD_REQUEST);
	assert_string_equal(e.message, "invalid selector: 'a'; can't understand 'a'");
	assert_int_equal(field_selector_parse(a, STR("a=b=c"), &t, &n, &e), -ERR_BAD_REQUEST);
	assert_int_equal(field_selector_parse(a, STR("a=b\\x"), &t, &n, &e), -ERR_BAD_REQUEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_text),
		cmocka_unit_test(says_what_it_expected),
		cmocka_unit_test(matches_objects),
		cmocka_unit_test(reads_field_selectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

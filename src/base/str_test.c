#include "base/test.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"
#include <stdio.h>

static void compares(void **state)
{
	(void)state;
	assert_true(str_cmp(STR("a"), STR("b")) < 0);
	assert_true(str_cmp(STR("a"), STR("ab")) < 0);
	assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
	assert_int_equal(str_cmp(STR_NULL, STR("")), 0);
	assert_true(str_starts(STR("abc"), STR("ab")) && !str_starts(STR("a"), STR("ab")));
	assert_true(str_ends(STR("abc"), STR("bc")) && !str_ends(STR("c"), STR("bc")));
	assert_true(str_starts(STR_NULL, STR_NULL) && str_ends(STR_NULL, STR_NULL));
	assert_true(str_eq_nocase(STR("Content-Type"), STR("content-type")));
	assert_false(str_eq_nocase(STR("["), STR("{"))); /* letters only differ by that bit */
	assert_true(str_has(STR("abcd"), STR("bc")) && str_has(STR(""), STR("")) && !str_has(STR("a"), STR("ab")));
}

static void takes_parts(void **state)
{
	struct str head;

	(void)state;
	assert_true(str_is(str_sub(STR("abc"), 1, 1), "b"));
	assert_true(str_is(str_sub(STR("abc"), 1, 99), "bc"));
	assert_true(str_empty(str_sub(STR("abc"), 9, 1)));
	assert_true(str_is(str_trim(STR(" \t a b\r\n")), "a b"));
	assert_true(str_empty(str_trim(STR("  "))));
	assert_true(str_is(str_cut(STR("a=b=c"), '=', &head), "b=c"));
	assert_true(str_is(head, "a"));
	assert_null(str_cut(STR("abc"), '=', &head).p);
	assert_true(str_is(head, "abc"));
	assert_non_null(str_cut(STR("abc="), '=', &head).p);
}

static void splits(void **state)
{
	static const struct {
		const char *text, *parts;
	} rows[] = { { "", "" }, { "a", "<a>" }, { "a,b", "<a><b>" }, { "a,", "<a><>" }, { ",a", "<><a>" },
		{ ",", "<><>" }, { "a,,b", "<a><><b>" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_buf struct buf b = BUF_INIT;
		auto_free char *got = NULL;

		for (struct str part, rest = str_c(rows[i].text); str_next(&rest, ',', &part);)
			buf_printf(&b, "<%.*s>", STR_ARG(part));
		got = buf_take(&b, NULL);
		assert_string_equal(got, rows[i].parts);
	}
}

static void reads_numbers(void **state)
{
	int64_t i = 7;
	uint64_t u = 7;

	(void)state;
	assert_true(str_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
	assert_true(str_i64(STR("9223372036854775807"), &i) && i == INT64_MAX);
	assert_false(str_i64(STR("9223372036854775808"), &i) || str_i64(STR("-"), &i) || str_i64(STR(""), &i));
	assert_false(str_i64(STR("+1"), &i) || str_i64(STR("1 "), &i) || str_i64(STR("--1"), &i));
	assert_int_equal(i, INT64_MAX); /* unchanged by failure */
	assert_true(str_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
	assert_false(str_u64(STR("18446744073709551616"), &u) || str_u64(STR("-1"), &u));
}

static void hashes_the_same_everywhere(void **state)
{
	(void)state;
	assert_true(str_hash(STR("")) != str_hash(STR("a")));
	assert_true(str_hash(STR("abcdefgh")) != str_hash(STR("abcdefgi")));
	assert_true(str_hash(STR("a\0")) != str_hash(STR("a")));
	assert_int_equal(str_hash(STR("default/web-0")), str_hash(STR("default/web-0")));
}

static void buffer_grows_to_its_ceiling(void **state)
{
	auto_buf struct buf b = { .max = 10 };
	auto_free char *got = NULL;
	size_t n;

	(void)state;
	buf_c(&b, "12345");
	buf_printf(&b, "%d", 678);
	assert_false(b.full);
	buf_c(&b, "too long");
	assert_true(b.full);
	buf_byte(&b, 'x'); /* would fit, but what came before is missing */
	assert_null(buf_reserve(&b, 1));
	got = buf_take(&b, &n);
	assert_string_equal(got, "12345678");
	assert_int_equal(n, 8);
	assert_int_equal(b.n, 0);
	assert_false(b.full);
}

static void buffer_formats_long_text(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	auto_free char *got = NULL;
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	for (int i = 0; i < 100; i++)
		buf_printf(&b, "%s|", text);
	assert_int_equal(b.n, 100 * 1000);
	got = buf_take(&b, NULL);
	assert_int_equal(strlen(got), 100 * 1000);
	free(buf_take(&b, NULL)); /* an empty one gives "" */
}

static void note(void *p)
{
	struct {
		struct buf *b;
		char c;
	} *n = p;

	buf_byte(n->b, n->c);
}

static void arena_ends_holds_in_reverse(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	struct {
		struct buf *b;
		char c;
	} one = { &b, '1' }, two = { &b, '2' };
	auto_(arena_free) struct arena *a = arena_new();

	(void)state;
	arena_hold(a, &one, note);
	arena_hold(a, NULL, note);
	arena_hold(a, &two, note);
	arena_reset(a);
	assert_true(str_is(buf_view(&b), "21"));
	arena_hold(a, &one, note);
	a = arena_free(a);
	assert_true(str_is(buf_view(&b), "211"));
}

static void arena_gives_aligned_memory_of_any_size(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	size_t least = arena_bytes(a);

	(void)state;
	for (int round = 0; round < 3; round++) {
		unsigned char *all[200];

		for (size_t i = 0; i < ARRAY_LEN(all); i++) {
			size_t n = i * i * 3;

			all[i] = arena_zalloc(a, n);
			assert_int_equal((uintptr_t)all[i] % 16, 0);
			for (size_t k = 0; k < n; k++)
				assert_int_equal(all[i][k], 0);
			memset(all[i], (int)i, n);
		}
		for (size_t i = 0; i < ARRAY_LEN(all); i++) {
			for (size_t k = 0; k < i * i * 3; k++)
				assert_int_equal(all[i][k], (unsigned char)i);
		}
		assert_true(arena_bytes(a) > 199 * 199 * 3);
		arena_reset(a);
		assert_int_equal(arena_bytes(a), least);
	}
}

static void arena_copies_text(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	char text[600];

	(void)state;
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	assert_string_equal(arena_printf(a, "%d-%s", 1, "x"), "1-x");
	assert_string_equal(arena_printf(a, "%s", text), text);
	assert_int_equal(arena_strf(a, "%s!", text).n, 600);
	assert_string_equal(arena_cstr(a, str_n("abc", 2)), "ab");
	assert_string_equal(arena_str(a, STR_NULL).p, "");
}

static void joins_what_fits(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	char room[6], hex[8];

	(void)state;
	assert_true(str_is(STR_JOIN(room, STR("ab"), STR_NULL, STR("/"), STR("cde")), "ab/cde"));
	assert_null(STR_JOIN(room, STR("ab"), STR("/"), STR("cdef")).p);
	assert_null(STR_JOIN(room, STR("ab"), STR("/"), STR("cdef"), STR("g")).p);
	assert_string_equal(ARENA_JOIN(a, STR("x"), STR(""), STR("yz")).p, "xyz");
	assert_int_equal(ARENA_JOIN(a, STR_NULL).n, 0);
	assert_ptr_equal(hex_text(hex, "\x00\x9f\xa0", 3), hex + 6);
	assert_memory_equal(hex, "009fa0", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compares),
		cmocka_unit_test(takes_parts),
		cmocka_unit_test(splits),
		cmocka_unit_test(reads_numbers),
		cmocka_unit_test(hashes_the_same_everywhere),
		cmocka_unit_test(buffer_grows_to_its_ceiling),
		cmocka_unit_test(buffer_formats_long_text),
		cmocka_unit_test(arena_ends_holds_in_reverse),
		cmocka_unit_test(arena_gives_aligned_memory_of_any_size),
		cmocka_unit_test(arena_copies_text),
		cmocka_unit_test(joins_what_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

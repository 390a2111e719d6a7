/* Quantities and the small rules. */
#include "doc/doc_fixture.h"

static void canonical_text(void **state)
{
	static const char *const rows[][2] = { { "0", "0" }, { "1", "1" }, { "1000", "1k" }, { "1500", "1500" },
		{ "100m", "100m" }, { "1.5", "1500m" }, { "0.1", "100m" }, { "1000m", "1" }, { "1.5Gi", "1536Mi" },
		{ "1Gi", "1Gi" }, { "1024Mi", "1Gi" }, { "512Ki", "512Ki" }, { "1023", "1023" }, { "1Ki", "1Ki" },
		{ "0.5Ki", "512" }, { "0.3Gi", "322122547200m" }, { "100M", "100M" }, { "1e3", "1e3" },
		{ "1E3", "1e3" }, { "12e4", "120e3" }, { "1e-3", "1e-3" }, { "1E", "1E" }, { "1Ei", "1Ei" },
		{ "-1.5", "-1500m" }, { "+5", "5" }, { ".5", "500m" }, { "5.", "5" }, { "1n", "1n" }, { "0.1n", "1n" },
		{ "-0.1n", "-1n" }, { "1.0000000001", "1000000001n" },
		{ "123456789012345678901", "9223372036854775807" }, { "100E", "9223372036854775807" },
		{ "16Ei", "9223372036854775807" }, { "000001", "1" }, { "1.000", "1" }, { "1e0", "1" },
		{ "3.5u", "3500n" }, { "1G", "1G" }, { "0Ki", "0" }, { "1000Ki", "1000Ki" }, { "-2Ki", "-2Ki" },
		{ "1.1Ki", "1126400m" } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[QUANTITY_TEXT_MAX];
		struct quantity q;

		assert_true(quantity_parse(str_c(rows[i][0]), &q));
		quantity_text(q, text);
		if (strcmp(text, rows[i][1]))
			fail_msg("%s prints as %s, want %s", rows[i][0], text, rows[i][1]);
	}
}

static void refuses(void **state)
{
	static const char *const bad[] = { "", "-", "+", ".", "m", "1 ", " 1", "1mi", "1KI", "1K", "1.2.3", "1e", "1e+",
		"1Kim", "--1", "0x1", "1e1.5", "1e3Ki", "inf" };
	struct quantity q;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (quantity_parse(str_c(bad[i]), &q))
			fail_msg("accepted \"%s\"", bad[i]);
}

static struct quantity q(const char *s)
{
	struct quantity r;

	assert_true(quantity_parse(str_c(s), &r));
	return r;
}

static void computes(void **state)
{
	char text[QUANTITY_TEXT_MAX];

	assert_int_equal(quantity_cmp(q("1"), q("1000m")), 0);
	assert_int_equal(quantity_cmp(q("1Gi"), q("1G")), 1);
	assert_int_equal(quantity_cmp(q("-1"), q("1n")), -1);
	quantity_text(quantity_add(q("100m"), q("1.9")), text);
	assert_string_equal(text, "2");
	quantity_text(quantity_add(q("0"), q("1Gi")), text);
	assert_string_equal(text, "1Gi");
	quantity_text(quantity_sub(q("1Gi"), q("1Mi")), text);
	assert_string_equal(text, "1023Mi");
	quantity_text(quantity_add(q("8E"), q("8E")), text);
	assert_string_equal(text, "9223372036854775807");
	assert_int_equal(quantity_milli(q("1.0001")), 1001);
	assert_int_equal(quantity_milli(q("2")), 2000);
	assert_true(quantity_milli(q("8E")) == INT64_MAX);
	assert_int_equal(quantity_whole(q("1m")), 1);
	assert_int_equal(quantity_whole(q("1Ki")), 1024);
}

static void reads_numbers_and_percents(void **state)
{
	auto_(doc_unref) struct doc *d = json_doc("[2,\"25%\",\"x%\",\"3\",0.5,1e3,\"-10%\"]");
	struct val l = doc_root(d);
	struct quantity r;
	int64_t i = 0;

	assert_true(int_or_percent(val_at(l, 0), 10, true, &i) && i == 2);
	assert_true(int_or_percent(val_at(l, 1), 10, true, &i) && i == 3);
	assert_true(int_or_percent(val_at(l, 1), 10, false, &i) && i == 2);
	assert_true(int_or_percent(val_at(l, 6), 15, false, &i) && i == -2);
	assert_false(int_or_percent(val_at(l, 2), 10, true, &i));
	assert_false(int_or_percent(val_at(l, 3), 10, true, &i));
	assert_false(int_or_percent(VAL_NONE, 10, true, &i));
	assert_true(quantity_of(val_at(l, 4), &r) && quantity_milli(r) == 500);
	assert_true(quantity_of(val_at(l, 5), &r) && quantity_whole(r) == 1000);
	assert_false(quantity_of(VAL_NONE, &r));
}

static void hashes(void **state)
{
	char text[24];

	assert_int_equal(fnv32a(STR("")), 0x811c9dc5);
	assert_int_equal(fnv32a(STR("foobar")), 0xbf9cf968);
	safe_encode(0, text);
	assert_string_equal(text, "4"); /* letter 48 % 27 */
	safe_encode(1234567890, text);
	assert_int_equal(strlen(text), 10);
	assert_int_equal(strspn(text, "bcdfghjklmnpqrstvwxz2456789"), 10);
	safe_encode(UINT64_MAX, text);
	assert_int_equal(strlen(text), 20);
}

static void base64(void **state)
{
	static const char *const rows[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" }, { "\xff\xfe\xfd", "//79" } };
	static const char *const bad[] = { "Z", "Zg", "Zg=", "Zg===", "=",
		"====", "Zm8=Zg==", "Zm9v=", "Z-==", "Zg= =" };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_free char *text = base64_encode(str_c(rows[i][0]));
		auto_buf struct buf b = BUF_INIT;

		assert_string_equal(text, rows[i][1]);
		assert_int_equal(base64_decode(str_c(text), &b), 0);
		assert_true(str_is(buf_view(&b), rows[i][0]));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		auto_buf struct buf b = BUF_INIT;

		if (base64_decode(str_c(bad[i]), &b) == 0)
			fail_msg("accepted %s", bad[i]);
	}
	auto_buf struct buf lines = BUF_INIT;
	assert_int_equal(base64_decode(STR("Zm\r\n9v\n"), &lines), 0);
	assert_true(str_is(buf_view(&lines), "foo"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(canonical_text),
		cmocka_unit_test(refuses),
		cmocka_unit_test(computes),
		cmocka_unit_test(reads_numbers_and_percents),
		cmocka_unit_test(hashes),
		cmocka_unit_test(base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/test.h"

#include "base/clock.h"
#include <stdio.h>
#include <time.h>

static void prints_and_reads_the_wall(void **state)
{
	static const struct {
		const char *in, *out;
		int64_t ns;
	} rows[] = {
		{ "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z", 0 },
		{ "2026-11-23T10:00:00.123456Z", "2026-11-23T10:00:00.123456Z", 1795428000123456000 },
		{ "2026-11-23T12:30:00+02:30", "2026-11-23T10:00:00.000000Z", 1795428000000000000 },
		{ "2024-02-29T23:59:59.999999999Z", "2024-02-29T23:59:59.999999Z", 1709251199999999999 },
		{ "1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000Z", -500000000 },
		{ "2000-03-01T00:00:00-01:00", "2000-03-01T01:00:00.000000Z", 951872400000000000 },
		{ "2026-01-01T00:00:00.1234567891111Z", "2026-01-01T00:00:00.123456Z", 1767225600123456789 },
	};
	char text[TIME_TEXT_MAX];
	struct wall t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(wall_parse(str_c(rows[i].in), &t));
		assert_int_equal(t.ns, rows[i].ns);
		wall_rfc3339_micro(t, text);
		assert_string_equal(text, rows[i].out);
	}
	wall_rfc3339((struct wall){ 1795428000123456000 }, text);
	assert_string_equal(text, "2026-11-23T10:00:00Z");
}

/* Beyond what nanoseconds since 1970 can say, carried over exactly. */
static void instants_reach_over_all_years(void **state)
{
	static const struct {
		const char *text;
		int64_t s;
		int ns;
	} rows[] = { { "0001-01-01T00:00:02.000000000Z", -62135596798, 0 },
		{ "9999-12-31T23:59:59.000000001Z", 253402300799, 1 },
		{ "1969-12-31T23:59:59.500000000Z", -1, 500000000 } };
	char text[TIME_TEXT_MAX];
	struct instant t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(instant_parse(str_c(rows[i].text), &t));
		assert_int_equal(t.s, rows[i].s);
		assert_int_equal(t.ns, rows[i].ns);
		instant_text(t, 9, text);
		assert_string_equal(text, rows[i].text);
	}
}

static void refuses_what_is_no_time(void **state)
{
	static const char *const bad[] = { "", "2026-11-23", "2026-11-23T10:00:00", "2026-11-23 10:00:00Z",
		"2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z",
		"2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.Z",
		"2026-01-01T00:00:00Zx", "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+24:00",
		"2100-02-29T00:00:00Z", "x026-01-01T00:00:00Z", "2026-01-01t00:00:00z" };
	struct wall t = { 42 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(wall_parse(str_c(bad[i]), &t));
	assert_int_equal(t.ns, 42);
	assert_true(wall_parse(STR("9999-12-31T23:59:59Z"), &t)); /* later than we can say: as late as we can */
	assert_int_equal(t.ns, INT64_MAX);
	assert_true(wall_parse(STR("0001-01-01T00:00:00Z"), &t));
	assert_int_equal(t.ns, INT64_MIN);
}

/* Every day of two centuries against the C library. */
static void agrees_with_the_c_library(void **state)
{
	(void)state;
	for (int64_t day = -36500; day < 36500; day++) {
		char want[TIME_TEXT_MAX], got[TIME_TEXT_MAX];
		time_t s = (time_t)(day * 86400 + 3661);
		struct wall t;
		struct tm tm;

		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&s, &tm));
		wall_rfc3339((struct wall){ (int64_t)s * 1000000000 }, got);
		assert_string_equal(got, want);
		assert_true(wall_parse(str_c(got), &t));
		assert_int_equal(t.ns / 1000000000, s);
	}
}

static void tells_ages_as_kubectl(void **state)
{
	static const struct {
		int64_t s;
		const char *text;
	} rows[] = { { -2, "<invalid>" }, { -1, "0s" }, { 0, "0s" }, { 119, "119s" }, { 120, "2m" }, { 121, "2m1s" },
		{ 330, "5m30s" }, { 599, "9m59s" }, { 600, "10m" }, { 659, "10m" }, { 5400, "90m" }, { 10799, "179m" },
		{ 10800, "3h" }, { 12000, "3h20m" }, { 28799, "7h59m" }, { 28800, "8h" }, { 108000, "30h" },
		{ 172799, "47h" }, { 172800, "2d" }, { 273600, "3d4h" }, { 8 * 86400 - 1, "7d23h" },
		{ 8 * 86400, "8d" }, { INT64_C(400) * 86400, "400d" }, { INT64_C(730) * 86400, "2y" },
		{ INT64_C(1115) * 86400, "3y20d" }, { INT64_C(3300) * 86400, "9y" } };
	char text[TIME_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		age_text(rows[i].s, text);
		assert_string_equal(text, rows[i].text);
	}
	age_text(INT64_MAX, text);
}

static void reads_and_prints_durations(void **state)
{
	static const struct {
		const char *in, *out;
		int64_t ns;
	} rows[] = { { "0", "0s", 0 }, { "1h2m3.5s", "1h2m3.5s", 3723500000000 }, { "90s", "1m30s", 90000000000 },
		{ "1.25s", "1.25s", 1250000000 }, { "1.5h", "1h30m0s", 5400000000000 },
		{ "-1.5ms", "-1.5ms", -1500000 }, { "100ms", "100ms", 100000000 }, { "2us", "2\xc2\xb5s", 2000 },
		{ "2\xce\xbcs", "2\xc2\xb5s", 2000 }, { "300ns", "300ns", 300 }, { ".5s", "500ms", 500000000 },
		{ "1.s", "1s", 1000000000 }, { "+5s", "5s", 5000000000 }, { "24h", "24h0m0s", 86400000000000 },
		{ "1.000000001s", "1.000000001s", 1000000001 } };
	static const char *const bad[] = { "", "3", "-", "s", ".s", "1x", "1h2", "1 h", "--1s", "9223372036855s",
		"3000000h" };
	char text[TIME_TEXT_MAX];
	int64_t ns = 42;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(duration_parse(str_c(bad[i]), &ns));
	assert_int_equal(ns, 42);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(duration_parse(str_c(rows[i].in), &ns));
		assert_int_equal(ns, rows[i].ns);
		duration_text(ns, text);
		assert_string_equal(text, rows[i].out);
	}
	duration_text(INT64_MIN, text);
	assert_string_equal(text, "-2562047h47m16.854775808s");
}

static void both_clocks_go_forward(void **state)
{
	struct mono a = mono_now(), b = mono_now();

	(void)state;
	assert_false(mono_before(b, a));
	assert_int_equal(mono_ms_between(a, mono_add_ms(a, 1030)), 1030);
	assert_true(wall_s(wall_now()) > 1600000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prints_and_reads_the_wall),
		cmocka_unit_test(instants_reach_over_all_years),
		cmocka_unit_test(refuses_what_is_no_time),
		cmocka_unit_test(agrees_with_the_c_library),
		cmocka_unit_test(tells_ages_as_kubectl),
		cmocka_unit_test(reads_and_prints_durations),
		cmocka_unit_test(both_clocks_go_forward),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

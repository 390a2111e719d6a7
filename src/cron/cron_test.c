#include "base/clock.h"
#include "base/test.h"
#include "cron/cron.h"
#include <time.h>

static int64_t at(const char *text)
{
	struct wall t;

	if (!wall_parse(str_c(text), &t))
		fail_msg("%s is no time", text);
	return wall_s(t);
}

static const char *text_of(int64_t t)
{
	static char text[TIME_TEXT_MAX];

	wall_rfc3339((struct wall){ t * 1000000000 }, text);
	return text;
}

static struct cron schedule(const char *text)
{
	struct cron c = { 0 };
	struct err e;

	err_init(&e);
	if (cron_parse(str_c(text), &c, &e) < 0)
		fail_msg("%s: %s", text, e.message);
	return c;
}

static struct zone *zone(const char *name)
{
	struct zone *z = NULL;
	struct err e;

	err_init(&e);
	if (zone_load(str_c(name), &z, &e) < 0)
		fail_msg("%s", e.message);
	return z;
}

static void the_next_start(void **state)
{
	static const struct {
		const char *schedule, *zone, *after, *next; /* NULL: never */
	} rows[] = {
		{ "* * * * *", "UTC", "2025-03-01T10:00:00Z", "2025-03-01T10:01:00Z" },
		{ "* * * * *", "UTC", "2025-03-01T10:00:59Z", "2025-03-01T10:01:00Z" },
		{ "*/15 * * * *", "UTC", "2025-03-01T10:45:00Z", "2025-03-01T11:00:00Z" },
		{ "5/20 * * * *", "UTC", "2025-03-01T10:30:00Z", "2025-03-01T10:45:00Z" },
		{ "0 3 * * *", "UTC", "2025-12-31T03:00:00Z", "2026-01-01T03:00:00Z" },
		{ "30 6-16/4 * * 1-5", "UTC", "2025-03-07T14:30:00Z", "2025-03-10T06:30:00Z" },
		{ "0 0 * * sun,WED", "UTC", "2025-03-02T00:00:00Z", "2025-03-05T00:00:00Z" },
		{ "0 0 1 jan *", "UTC", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z" },
		{ "0 0 29 2 *", "UTC", "2025-01-01T00:00:00Z", "2028-02-29T00:00:00Z" },
		{ "0 0 30 2 *", "UTC", "2025-01-01T00:00:00Z", NULL },
		{ ", * * * *", "UTC", "2025-01-01T00:00:00Z", NULL },
		/* a day and a weekday: one of them is enough, unless one is "*" */
		{ "0 0 13 * 5", "UTC", "2025-06-01T00:00:00Z", "2025-06-06T00:00:00Z" },
		{ "0 0 13 * *", "UTC", "2025-06-01T00:00:00Z", "2025-06-13T00:00:00Z" },
		{ "0 0 */1 * 5", "UTC", "2025-06-01T00:00:00Z", "2025-06-06T00:00:00Z" },
		{ "0 0 */2 * 5", "UTC", "2025-06-01T00:00:00Z", "2025-06-03T00:00:00Z" },
		{ "0 0 ? * ?", "UTC", "2025-06-01T00:00:00Z", "2025-06-02T00:00:00Z" },
		{ "@hourly", "UTC", "2025-06-01T00:59:59Z", "2025-06-01T01:00:00Z" },
		{ "@weekly", "UTC", "2025-06-02T00:00:00Z", "2025-06-08T00:00:00Z" },
		{ "@yearly", "UTC", "2025-06-01T00:00:00Z", "2026-01-01T00:00:00Z" },
		{ "@every 1h30m", "UTC", "2025-06-01T00:10:05Z", "2025-06-01T01:40:05Z" },
		{ "@every 1ms", "UTC", "2025-06-01T00:10:05Z", "2025-06-01T00:10:06Z" },
		/* 02:30 is not there on 2025-03-30, and twice on 2025-10-26 */
		{ "30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", "2025-03-31T00:30:00Z" },
		{ "30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z", "2025-10-26T00:30:00Z" },
		{ "30 2 * * *", "Europe/Berlin", "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z" },
		/* long after what the file lists: by the rule at its end */
		{ "0 12 * 7 *", "Europe/Berlin", "2060-06-30T23:00:00Z", "2060-07-01T10:00:00Z" },
		{ "0 12 * 1 *", "Australia/Sydney", "2061-01-01T12:00:00Z", "2061-01-02T01:00:00Z" },
		{ "0 9 * * *", "Asia/Kathmandu", "2025-01-01T00:00:00Z", "2025-01-01T03:15:00Z" },
		{ "0 0 * * *", "America/St_Johns", "2025-07-01T00:00:00Z", "2025-07-01T02:30:00Z" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(zone_free) struct zone *z = zone(rows[i].zone);
		struct cron c = schedule(rows[i].schedule);
		int64_t t = 0;

		if (cron_next(&c, z, at(rows[i].after), &t) != (rows[i].next != NULL) ||
			(rows[i].next && strcmp(text_of(t), rows[i].next)))
			fail_msg("%s in %s after %s: %s", rows[i].schedule, rows[i].zone, rows[i].after, text_of(t));
	}
}

static void the_last_start(void **state)
{
	static const struct {
		const char *schedule, *after, *until, *last; /* NULL: none */
	} rows[] = {
		{ "*/10 * * * *", "2025-03-01T10:00:00Z", "2025-03-01T10:09:59Z", NULL },
		{ "*/10 * * * *", "2025-03-01T10:00:00Z", "2025-03-01T10:10:00Z", "2025-03-01T10:10:00Z" },
		{ "* * * * *", "2020-03-01T10:00:00Z", "2025-03-01T10:10:30Z", "2025-03-01T10:10:00Z" },
		{ "* * * 1 *", "2020-03-01T10:00:00Z", "2024-12-01T00:00:00Z", "2024-01-31T23:59:00Z" },
		{ "@every 7s", "2025-03-01T10:00:00Z", "2025-03-01T10:00:20Z", "2025-03-01T10:00:14Z" },
		{ "@daily", "2025-03-01T10:00:00Z", "2025-03-01T09:00:00Z", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct cron c = schedule(rows[i].schedule);
		int64_t t = 0;

		if (cron_last(&c, NULL, at(rows[i].after), at(rows[i].until), &t) != (rows[i].last != NULL) ||
			(rows[i].last && strcmp(text_of(t), rows[i].last)))
			fail_msg(
				"%s after %s until %s: %s", rows[i].schedule, rows[i].after, rows[i].until, text_of(t));
	}
}

static void what_is_no_schedule(void **state)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
		{ "", "empty spec string" },
		{ "* * * *", "expected exactly 5 fields, found 4: [* * * *]" },
		{ "0 0  * * * *", "expected exactly 5 fields, found 6: [0 0 * * * *]" },
		{ "60 * * * *", "end of range (60) above maximum (59): 60" },
		{ "* 24 * * *", "end of range (24) above maximum (23): 24" },
		{ "* * 0 * *", "beginning of range (0) below minimum (1): 0" },
		{ "* * * * 7", "end of range (7) above maximum (6): 7" },
		{ "5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3" },
		{ "1-2-3 * * * *", "too many hyphens: 1-2-3" },
		{ "1/2/3 * * * *", "too many slashes: 1/2/3" },
		{ "*/0 * * * *", "step of range should be a positive number: */0" },
		{ "*/-1 * * * *", "negative number (-1) not allowed: -1" },
		{ "x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax" },
		{ "-5 * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax" },
		{ "99999999999999999999 * * * *",
			"failed to parse int from 99999999999999999999: strconv.Atoi: "
			"parsing \"99999999999999999999\": value out of range" },
		{ "* * * mon *", "failed to parse int from mon: strconv.Atoi: parsing \"mon\": invalid syntax" },
		{ "@sometimes", "unrecognized descriptor: @sometimes" },
		{ "@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct cron c;
		struct err e;

		err_init(&e);
		assert_int_equal(cron_parse(str_c(rows[i].text), &c, &e), -ERR_INVALID);
		assert_string_equal(e.message, rows[i].message);
	}
}

static void what_is_no_zone(void **state)
{
	static const char *const names[] = { "", "Europe/Atlantis", "../../etc/passwd", "/etc/localtime", "Europe",
		"zone.tab", "a\nb" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct zone *z = NULL;
		struct err e;

		err_init(&e);
		assert_true(zone_load(str_c(names[i]), &z, &e) < 0);
		assert_null(z);
	}
}

/* Our reading of the zone files beside the C library's. */
static void zones_as_the_library_sees_them(void **state)
{
	static const char *const names[] = { "Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
		"Africa/Casablanca", "Asia/Gaza", "Europe/Dublin", "America/Santiago", "Antarctica/Troll", "Asia/Tokyo",
		"Pacific/Apia", "America/Godthab" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_(zone_free) struct zone *z = zone(names[i]);

		setenv("TZ", names[i], 1);
		tzset();
		for (time_t t = 0; t < 4100000000; t += 86399 * 7) {
			int64_t until;
			struct tm tm;

			localtime_r(&t, &tm);
			if (zone_offset(z, t, &until) != tm.tm_gmtoff)
				fail_msg("%s at %s: %ld", names[i], text_of(t), tm.tm_gmtoff);
		}
	}
	unsetenv("TZ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_start),
		cmocka_unit_test(the_last_start),
		cmocka_unit_test(what_is_no_schedule),
		cmocka_unit_test(what_is_no_zone),
		cmocka_unit_test(zones_as_the_library_sees_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

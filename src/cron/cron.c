/* Schedules: the five fields as sets of numbers, and the search for the next instant that fits. */
#include "cron/cron.h"
#include "base/clock.h"
#include <ctype.h>
#include <inttypes.h>
#include <time.h>

#define FIELDS 5
#define DAY_S 86400
#define YEARS_MAX 5
#define TIME_MIN INT64_C(-62135596800) /* years 1 to 9999: beyond, nothing is searched */
#define TIME_MAX INT64_C(253402300799)

/* ---- reading --------------------------------------------------------------------------------- */

struct field {
	int64_t min, max;
	const char *names; /* of its numbers, three letters each, the first is that of names_from */
	int64_t names_from;
};
static const struct field fields[FIELDS] = {
	{ 0, 59, "", 0 },
	{ 0, 23, "", 0 },
	{ 1, 31, "", 0 },
	{ 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec", 1 },
	{ 0, 6, "sunmontuewedthufrisat", 0 },
};

static int read_number(struct str text, int64_t *ret, struct err *e)
{
	bool minus = str_starts(text, STR("-"));
	struct str digits = str_sub(text, minus || str_starts(text, STR("+")), text.n);
	bool is_number = digits.n > 0;

	for (size_t i = 0; i < digits.n; i++)
		is_number &= isdigit((unsigned char)digits.p[i]) != 0;
	if (!is_number || !str_i64(digits, ret))
		return err_set(e, ERR_INVALID, "failed to parse int from %.*s: strconv.Atoi: parsing \"%.*s\": %s",
			STR_ARG(text), STR_ARG(text), is_number ? "value out of range" : "invalid syntax");
	if (minus && *ret)
		return err_set(e, ERR_INVALID, "negative number (-%" PRId64 ") not allowed: %.*s", *ret, STR_ARG(text));
	return 0;
}

static int read_number_or_name(struct str text, const struct field *f, int64_t *ret, struct err *e)
{
	for (size_t i = 0; text.n == 3 && f->names[i]; i += 3) {
		if (!str_eq_nocase(text, str_n(f->names + i, 3)))
			continue;
		*ret = f->names_from + (int64_t)i / 3;
		return 0;
	}
	return read_number(text, ret, e);
}

struct range {
	int64_t from, to, step;
	bool star;
};

static int read_ends(
	struct str text, struct str whole, const struct field *f, struct range *r, bool *single, struct err *e)
{
	struct str low, high = str_cut(text, '-', &low), rest = STR_NULL;

	*single = !high.p;
	if (str_is(low, "*") || str_is(low, "?")) {
		*r = (struct range){ f->min, f->max, 1, true };
		return 0;
	}
	if (read_number_or_name(low, f, &r->from, e) < 0)
		return -e->code;
	r->to = r->from;
	if (*single)
		return 0;
	rest = str_cut(high, '-', &high);
	if (rest.p)
		return err_set(e, ERR_INVALID, "too many hyphens: %.*s", STR_ARG(whole));
	return read_number_or_name(high, f, &r->to, e);
}

static int check_range(const struct range *r, const struct field *f, struct str whole, struct err *e)
{
	if (r->from < f->min)
		return err_set(e, ERR_INVALID, "beginning of range (%" PRId64 ") below minimum (%" PRId64 "): %.*s",
			r->from, f->min, STR_ARG(whole));
	if (r->to > f->max)
		return err_set(e, ERR_INVALID, "end of range (%" PRId64 ") above maximum (%" PRId64 "): %.*s", r->to,
			f->max, STR_ARG(whole));
	if (r->from > r->to)
		return err_set(e, ERR_INVALID,
			"beginning of range (%" PRId64 ") beyond end of range (%" PRId64 "): %.*s", r->from, r->to,
			STR_ARG(whole));
	if (!r->step)
		return err_set(e, ERR_INVALID, "step of range should be a positive number: %.*s", STR_ARG(whole));
	return 0;
}

/* "*", "5", "1-5", and each of them with "/2"; "5/2" goes on to the end. */
static int read_range(struct str text, const struct field *f, struct range *r, struct err *e)
{
	struct str ends, step = str_cut(text, '/', &ends), rest = STR_NULL;
	bool single;

	*r = (struct range){ .step = 1 };
	if (read_ends(ends, text, f, r, &single, e) < 0)
		return -e->code;
	if (!step.p)
		return check_range(r, f, text, e);
	rest = str_cut(step, '/', &step);
	if (rest.p)
		return err_set(e, ERR_INVALID, "too many slashes: %.*s", STR_ARG(text));
	if (read_number(step, &r->step, e) < 0)
		return -e->code;
	r->to = single ? f->max : r->to;
	r->star = r->star && r->step <= 1;
	return check_range(r, f, text, e);
}

static int read_field(struct str text, const struct field *f, uint64_t *ret, bool *star, struct err *e)
{
	struct range r;

	for (struct str part, rest = text; str_next(&rest, ',', &part);) {
		if (!part.n)
			continue;
		if (read_range(part, f, &r, e) < 0)
			return -e->code;
		*star |= r.star;
		for (int64_t i = r.from; i <= r.to; i += MIN(r.step, f->max + 1))
			*ret |= UINT64_C(1) << i;
	}
	return 0;
}

static int read_every(struct str text, struct cron *ret, struct err *e)
{
	struct str duration = str_sub(text, 7, text.n);
	int64_t ns;

	if (!duration_parse(duration, &ns))
		return err_set(e, ERR_INVALID, "failed to parse duration %.*s: time: invalid duration \"%.*s\"",
			STR_ARG(text), STR_ARG(duration));
	*ret = (struct cron){ .every_s = MAX(ns / 1000000000, INT64_C(1)) };
	return 0;
}

static int read_nickname(struct str text, struct cron *ret, struct err *e)
{
	static const struct {
		const char *name, *fields;
	} all[] = {
		{ "@yearly", "0 0 1 1 *" },
		{ "@annually", "0 0 1 1 *" },
		{ "@monthly", "0 0 1 * *" },
		{ "@weekly", "0 0 * * 0" },
		{ "@daily", "0 0 * * *" },
		{ "@midnight", "0 0 * * *" },
		{ "@hourly", "0 * * * *" },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (str_is(text, all[i].name))
			return cron_parse(str_c(all[i].fields), ret, e);
	if (str_starts(text, STR("@every ")))
		return read_every(text, ret, e);
	return err_set(e, ERR_INVALID, "unrecognized descriptor: %.*s", STR_ARG(text));
}

/* Up to max words of a text; their number, and all of them with single blanks in words. */
static size_t split(struct str text, struct str *ret, size_t max, struct buf *words)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n;) {
		size_t from = i;

		while (i < text.n && !isspace((unsigned char)text.p[i]))
			i++;
		if (i > from) {
			if (n < max)
				ret[n] = str_sub(text, from, i - from);
			buf_printf(words, "%s%.*s", n ? " " : "", STR_ARG(str_sub(text, from, i - from)));
			n++;
		}
		i++;
	}
	return n;
}

int cron_parse(struct str text, struct cron *ret, struct err *e)
{
	auto_buf struct buf all = BUF_INIT;
	struct str words[FIELDS];
	uint64_t sets[FIELDS] = { 0 };
	bool star[FIELDS] = { 0 };
	size_t n;

	if (!text.n)
		return err_set(e, ERR_INVALID, "empty spec string");
	if (text.p[0] == '@')
		return read_nickname(text, ret, e);
	n = split(text, words, FIELDS, &all);
	if (n != FIELDS)
		return err_set(e, ERR_INVALID, "expected exactly %d fields, found %zu: [%.*s]", FIELDS, n,
			STR_ARG(buf_view(&all)));
	for (size_t i = 0; i < FIELDS; i++)
		if (read_field(words[i], &fields[i], &sets[i], &star[i], e) < 0)
			return -e->code;
	*ret = (struct cron){ sets[0], sets[1], sets[2], sets[3], sets[4], star[2], star[4], 0 };
	return 0;
}

/* ---- searching ------------------------------------------------------------------------------- */

static bool has(uint64_t set, int i)
{
	return set >> i & 1;
}

static bool day_fits(const struct cron *c, const struct tm *t)
{
	bool day = has(c->day, t->tm_mday), weekday = has(c->weekday, t->tm_wday);

	if (!has(c->month, t->tm_mon + 1))
		return false;
	return c->any_day || c->any_weekday ? day && weekday : day || weekday;
}

/* Seconds of local time until the next moment that may fit; 0: this one fits. */
static int64_t step_s(const struct cron *c, const struct tm *t)
{
	int64_t of_day = t->tm_hour * 3600 + t->tm_min * 60 + t->tm_sec;

	if (!day_fits(c, t))
		return DAY_S - of_day;
	if (!has(c->hour, t->tm_hour))
		return 3600 - of_day % 3600;
	if (t->tm_sec || !has(c->minute, t->tm_min))
		return 60 - of_day % 60;
	return 0;
}

bool cron_next(const struct cron *c, const struct zone *z, int64_t after_s, int64_t *ret_s)
{
	int64_t t = after_s + 1, until, offset, step, end = t + YEARS_MAX * INT64_C(366) * DAY_S;

	if (after_s < TIME_MIN || after_s > TIME_MAX)
		return false;
	if (c->every_s) {
		*ret_s = after_s + MIN(c->every_s, TIME_MAX);
		return true;
	}
	while (t < end) {
		time_t local;
		struct tm tm;

		offset = zone_offset(z, t, &until);
		local = t + offset;
		gmtime_r(&local, &tm);
		step = step_s(c, &tm);
		if (!step) {
			*ret_s = t;
			return true;
		}
		t = MIN(t + step, until);
	}
	return false;
}

bool cron_last(const struct cron *c, const struct zone *z, int64_t after_s, int64_t until_s, int64_t *ret_s)
{
	int64_t low = after_s, high = until_s, middle, t;

	if (!cron_next(c, z, after_s, &t) || t > until_s)
		return false;
	if (c->every_s) {
		*ret_s = after_s + (until_s - after_s) / c->every_s * c->every_s;
		return true;
	}
	/* cron_next() never goes back: the last moment from which it still gives one in time gives the last */
	while (high - low > 1) {
		middle = low + (high - low) / 2;
		if (cron_next(c, z, middle, &t) && t <= until_s)
			low = middle;
		else
			high = middle;
	}
	return cron_next(c, z, low, ret_s);
}

/* Time zones: TZif files (RFC 8536) and the POSIX rule at their end, which holds after the last change that the file
 * lists. */
#include "base/file.h"
#include "cron/cron.h"
#include <ctype.h>
#include <time.h>

#define FOLDER "/usr/share/zoneinfo/"
#define FILE_MAX_BYTES (256 << 10)
#define HEADER_BYTES 44
#define DAY_S 86400

/* When a year's summer time begins or ends, in local time as it is until then. */
struct turn {
	enum { TURN_MONTH, TURN_JULIAN, TURN_DAY } how; /* "M3.5.0", "J60" (never February 29), "59" (counted from 0) */
	int64_t month, week, day, at_s;
};
struct rule {
	int64_t standard, summer; /* seconds east of UTC */
	bool has_summer;
	struct turn begin, end;
};
struct zone {
	size_t n;
	int64_t *at, *offset; /* n changes: from at[i] on, offset[i] */
	int64_t first;        /* before all of them */
	bool has_rule;
	struct rule rule;
};

/* ---- the rule: "CET-1CEST,M3.5.0,M10.5.0/3" -------------------------------------------------- */

struct cursor {
	struct str rest;
	bool bad;
};

static bool eat(struct cursor *c, char what)
{
	if (!c->rest.n || c->rest.p[0] != what)
		return false;
	c->rest = str_sub(c->rest, 1, c->rest.n);
	return true;
}

static int64_t number(struct cursor *c, int64_t least, int64_t most)
{
	int64_t n = 0;
	size_t i = 0;

	for (; i < c->rest.n && i < 4 && isdigit((unsigned char)c->rest.p[i]); i++)
		n = n * 10 + (c->rest.p[i] - '0');
	c->bad |= !i || n < least || n > most;
	c->rest = str_sub(c->rest, i, c->rest.n);
	return n;
}

static void name(struct cursor *c)
{
	size_t i = 0;

	if (eat(c, '<')) {
		while (i < c->rest.n && c->rest.p[i] != '>')
			i++;
		c->rest = str_sub(c->rest, i, c->rest.n);
		c->bad |= !eat(c, '>');
		return;
	}
	while (i < c->rest.n && isalpha((unsigned char)c->rest.p[i]))
		i++;
	c->bad |= i < 3;
	c->rest = str_sub(c->rest, i, c->rest.n);
}

/* "[+-]hh[:mm[:ss]]" as seconds */
static int64_t clock_time(struct cursor *c)
{
	bool minus = eat(c, '-');
	int64_t s;

	if (!minus)
		eat(c, '+');
	s = number(c, 0, 167) * 3600;
	if (eat(c, ':'))
		s += number(c, 0, 59) * 60;
	if (eat(c, ':'))
		s += number(c, 0, 59);
	return minus ? -s : s;
}

static struct turn read_turn(struct cursor *c)
{
	struct turn t = { .how = TURN_DAY, .at_s = 7200 };

	c->bad |= !eat(c, ',');
	if (eat(c, 'M')) {
		t.how = TURN_MONTH;
		t.month = number(c, 1, 12);
		c->bad |= !eat(c, '.');
		t.week = number(c, 1, 5);
		c->bad |= !eat(c, '.');
		t.day = number(c, 0, 6);
	} else if (eat(c, 'J')) {
		t.how = TURN_JULIAN;
		t.day = number(c, 1, 365);
	} else {
		t.day = number(c, 0, 365);
	}
	if (eat(c, '/'))
		t.at_s = clock_time(c);
	return t;
}

static bool read_rule(struct str text, struct rule *r)
{
	struct cursor c = { text, false };

	name(&c);
	r->standard = -clock_time(&c);
	r->has_summer = c.rest.n > 0;
	if (r->has_summer) {
		name(&c);
		r->summer = c.rest.n && c.rest.p[0] != ',' ? -clock_time(&c) : r->standard + 3600;
		r->begin = read_turn(&c);
		r->end = read_turn(&c);
	}
	return !c.bad && !c.rest.n;
}

static int64_t days_before(int64_t year, int64_t month)
{
	struct tm tm = { .tm_year = (int)year - 1900, .tm_mon = (int)month - 1, .tm_mday = 1 };

	return timegm(&tm) / DAY_S;
}

/* Days since 1970 of a turn in a year. */
static int64_t turn_day(const struct turn *t, int64_t year)
{
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	int64_t first = days_before(year, t->how == TURN_MONTH ? t->month : 1), length, day;

	if (t->how == TURN_DAY)
		return first + t->day;
	if (t->how == TURN_JULIAN)
		return first + t->day - 1 + (leap && t->day >= 60);
	length = (t->month == 12 ? days_before(year + 1, 1) : days_before(year, t->month + 1)) - first;
	day = (t->day - (first % 7 + 11) % 7 + 7) % 7 + (t->week - 1) * 7; /* 1970-01-01 was a Thursday */
	return first + (day >= length ? day - 7 : day);
}

static int64_t rule_offset(const struct rule *r, int64_t t, int64_t *until)
{
	time_t local = t + r->standard;
	int64_t offset = r->standard, since = INT64_MIN;
	struct tm tm;

	*until = INT64_MAX;
	if (!r->has_summer)
		return offset;
	gmtime_r(&local, &tm);
	for (int64_t year = tm.tm_year + 1899; year <= tm.tm_year + 1901; year++) {
		int64_t begin = turn_day(&r->begin, year) * DAY_S + r->begin.at_s - r->standard;
		int64_t end = turn_day(&r->end, year) * DAY_S + r->end.at_s - r->summer;

		if (begin <= t && begin > since) {
			since = begin;
			offset = r->summer;
		}
		if (end <= t && end > since) {
			since = end;
			offset = r->standard;
		}
		*until = begin > t ? MIN(*until, begin) : *until;
		*until = end > t ? MIN(*until, end) : *until;
	}
	return offset;
}

/* ---- the file -------------------------------------------------------------------------------- */

struct counts {
	size_t utc, std, leap, time, type, chars;
};

static int64_t big_endian(const char *p, size_t n)
{
	uint64_t v = n == 4 && (p[0] & 0x80) ? UINT64_MAX : 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | (unsigned char)p[i];
	return (int64_t)v;
}

static bool read_header(struct str s, struct counts *c)
{
	size_t *const all[] = { &c->utc, &c->std, &c->leap, &c->time, &c->type, &c->chars };

	if (s.n < HEADER_BYTES || !str_starts(s, STR("TZif")))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		int64_t n = big_endian(s.p + 20 + 4 * i, 4);

		if (n < 0 || n > FILE_MAX_BYTES)
			return false;
		*all[i] = (size_t)n;
	}
	return c->type > 0;
}

static size_t block_bytes(const struct counts *c, size_t time_bytes)
{
	return c->time * (time_bytes + 1) + c->type * 6 + c->chars + c->leap * (time_bytes + 4) + c->std + c->utc;
}

static bool read_block(struct zone *z, struct str s, const struct counts *c, size_t time_bytes)
{
	const char *indexes = s.p + c->time * time_bytes, *types = indexes + c->time;

	z->n = c->time;
	z->at = xcalloc(c->time + 1, sizeof(int64_t));
	z->offset = xcalloc(c->time + 1, sizeof(int64_t));
	z->first = big_endian(types, 4);
	for (size_t i = 0; i < c->time; i++) {
		size_t type = (unsigned char)indexes[i];

		z->at[i] = big_endian(s.p + i * time_bytes, time_bytes);
		if (type >= c->type || (i && z->at[i] <= z->at[i - 1]))
			return false;
		z->offset[i] = big_endian(types + type * 6, 4);
		if (z->offset[i] < -DAY_S * 7 || z->offset[i] > DAY_S * 7)
			return false;
	}
	return z->first >= -DAY_S * 7 && z->first <= DAY_S * 7;
}

/* Files of version 2 and above say everything twice: with 32 bits, and again with 64 and the rule. */
static bool read_file(struct zone *z, struct str s)
{
	struct counts c;
	size_t time_bytes = 4, n;

	if (!read_header(s, &c))
		return false;
	if (s.p[4] >= '2') {
		n = HEADER_BYTES + block_bytes(&c, 4);
		s = n <= s.n ? str_sub(s, n, s.n) : STR_NULL;
		time_bytes = 8;
		if (!read_header(s, &c))
			return false;
	}
	s = str_sub(s, HEADER_BYTES, s.n);
	n = block_bytes(&c, time_bytes);
	if (n > s.n || !read_block(z, s, &c, time_bytes))
		return false;
	s = str_trim(str_sub(s, n, s.n));
	z->has_rule = s.n > 0;
	return !s.n || read_rule(s, &z->rule);
}

int zone_parse(struct str bytes, struct zone **ret, struct err *e)
{
	auto_(zone_free) struct zone *z = xcalloc(1, sizeof(*z));

	if (!read_file(z, bytes))
		return err_set(e, ERR_INVALID, "malformed time zone information");
	*ret = TAKE(z);
	return 0;
}

static bool is_plain(struct str name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!isalnum((unsigned char)name.p[i]) && !memchr("-+/_", name.p[i], 4))
			return false;
	return name.n > 0 && name.n < 100 && name.p[0] != '/';
}

int zone_load(struct str name, struct zone **ret, struct err *e)
{
	auto_buf struct buf bytes = BUF_INIT;
	auto_free char *path = NULL;

	if (str_is(name, "UTC")) {
		*ret = NULL;
		return 0;
	}
	bytes.max = FILE_MAX_BYTES;
	path = xasprintf(FOLDER "%.*s", STR_ARG(name));
	if (!is_plain(name) || file_read(path, &bytes, e) < 0)
		return err_set(e, ERR_NOT_FOUND, "unknown time zone %.*s", STR_ARG(name));
	if (zone_parse(buf_view(&bytes), ret, e) < 0)
		return err_wrap(e, "time zone %.*s", STR_ARG(name));
	return 0;
}

struct zone *zone_free(struct zone *z)
{
	if (!z)
		return NULL;
	free(z->at);
	free(z->offset);
	free(z);
	return NULL;
}

int64_t zone_offset(const struct zone *z, int64_t t, int64_t *until)
{
	size_t low = 0, high = z ? z->n : 0;

	*until = INT64_MAX;
	if (!z)
		return 0;
	while (low < high) { /* how many changes have been */
		size_t middle = low + (high - low) / 2;

		if (z->at[middle] <= t)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == z->n && z->has_rule)
		return rule_offset(&z->rule, t, until);
	if (low < z->n)
		*until = z->at[low];
	return low ? z->offset[low - 1] : z->first;
}

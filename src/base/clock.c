#include "base/clock.h"
#include "base/base_internal.h"
#include <stdio.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

static int64_t read_clock(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

struct mono mono_now(void)
{
	return task_sim_active() ? sim_mono() : (struct mono){ read_clock(CLOCK_MONOTONIC) };
}

struct wall wall_now(void)
{
	return task_sim_active() ? sim_wall() : (struct wall){ read_clock(CLOCK_REALTIME) };
}

/* ---- calendar: proleptic Gregorian, years that begin in March so that the leap day is the last ---- */

struct date {
	int year, month, day;
};

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static int64_t days_of(struct date d)
{
	int64_t y = d.month <= 2 ? d.year - 1 : d.year;
	int64_t era = floor_div(y, 400), of_era = y - era * 400;
	int64_t of_year = (153 * (d.month + (d.month > 2 ? -3 : 9)) + 2) / 5 + d.day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static struct date date_of(int64_t days)
{
	int64_t z = days + 719468, era = floor_div(z, 146097), of_era = z - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100), m = (5 * of_year + 2) / 153;
	struct date d = { .day = (int)(of_year - (153 * m + 2) / 5 + 1), .month = (int)(m < 10 ? m + 3 : m - 9) };

	d.year = (int)(year + era * 400 + (d.month <= 2));
	return d;
}

static int month_days(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

/* v in n digits, and what stands behind them. */
static char *decimals(char *to, int v, int n, char behind)
{
	for (int i = n; i-- > 0; v /= 10)
		to[i] = (char)('0' + v % 10);
	to[n] = behind;
	return to + n + 1;
}

void instant_text(struct instant t, int digits, char ret[TIME_TEXT_MAX])
{
	int64_t days = floor_div(t.s, 86400), of_day = t.s - days * 86400;
	int fraction = t.ns;
	struct date d = date_of(days);
	int year = MAX(MIN(d.year, 9999), 0); /* what RFC 3339 can say */
	char *p = decimals(ret, year, 4, '-');

	p = decimals(p, d.month, 2, '-');
	p = decimals(p, d.day, 2, 'T');
	p = decimals(p, (int)(of_day / 3600), 2, ':');
	p = decimals(p, (int)(of_day / 60 % 60), 2, ':');
	p = decimals(p, (int)(of_day % 60), 2, digits ? '.' : 'Z');
	for (int i = digits; i < 9; i++)
		fraction /= 10;
	if (digits)
		p = decimals(p, fraction, digits, 'Z');
	*p = 0;
}

static void wall_text(struct wall t, int digits, char ret[TIME_TEXT_MAX])
{
	int64_t ns = (t.ns % NS_PER_S + NS_PER_S) % NS_PER_S;

	instant_text((struct instant){ floor_div(t.ns, NS_PER_S), (int)ns }, digits, ret);
}

void wall_rfc3339(struct wall t, char ret[TIME_TEXT_MAX])
{
	wall_text(t, 0, ret);
}

void wall_rfc3339_milli(struct wall t, char ret[TIME_TEXT_MAX])
{
	wall_text(t, 3, ret);
}

void wall_rfc3339_micro(struct wall t, char ret[TIME_TEXT_MAX])
{
	wall_text(t, 6, ret);
}

/* ---- reading: a cursor that remembers that something was wrong ------------------------------- */

struct cursor {
	struct str s;
	bool bad;
};

static char peek(const struct cursor *c)
{
	return c->s.n ? c->s.p[0] : 0;
}

static char next(struct cursor *c)
{
	char ch = peek(c);

	if (c->s.n)
		c->s = str_n(c->s.p + 1, c->s.n - 1);
	else
		c->bad = true;
	return ch;
}

static bool digit(char ch)
{
	return ch >= '0' && ch <= '9';
}

static void expect(struct cursor *c, char ch)
{
	if (next(c) != ch)
		c->bad = true;
}

static int number(struct cursor *c, int digits, int least, int most)
{
	int v = 0;

	for (int i = 0; i < digits; i++) {
		char ch = next(c);

		c->bad |= !digit(ch);
		v = v * 10 + (digit(ch) ? ch - '0' : 0);
	}
	c->bad |= v < least || v > most;
	return v;
}

static int64_t fraction_ns(struct cursor *c)
{
	int64_t ns = 0, unit = NS_PER_S / 10;

	if (peek(c) != '.')
		return 0;
	next(c);
	c->bad |= !digit(peek(c));
	for (; digit(peek(c)); unit /= 10)
		ns += (next(c) - '0') * unit;
	return ns;
}

static int64_t offset_s(struct cursor *c)
{
	char sign = next(c);
	int h, m;

	if (sign == 'Z')
		return 0;
	c->bad |= sign != '+' && sign != '-';
	h = number(c, 2, 0, 23);
	expect(c, ':');
	m = number(c, 2, 0, 59);
	return (h * 3600 + m * 60) * (sign == '-' ? -1 : 1);
}

bool instant_parse(struct str s, struct instant *ret)
{
	struct cursor c = { s, false };
	struct date d;
	int64_t secs, ns;

	d.year = number(&c, 4, 0, 9999);
	expect(&c, '-');
	d.month = number(&c, 2, 1, 12);
	expect(&c, '-');
	d.day = number(&c, 2, 1, c.bad ? 31 : month_days(d.year, d.month));
	expect(&c, 'T');
	secs = number(&c, 2, 0, 23) * 3600;
	expect(&c, ':');
	secs += number(&c, 2, 0, 59) * 60;
	expect(&c, ':');
	secs += number(&c, 2, 0, 59);
	ns = fraction_ns(&c);
	secs -= offset_s(&c);
	if (c.bad || c.s.n)
		return false;
	*ret = (struct instant){ secs + days_of(d) * 86400, (int)ns };
	return true;
}

bool wall_parse(struct str s, struct wall *ret)
{
	struct instant t;
	int64_t ns;

	if (!instant_parse(s, &t))
		return false;
	if (__builtin_mul_overflow(t.s, NS_PER_S, &ns) || __builtin_add_overflow(ns, t.ns, &ns))
		ns = t.s < 0 ? INT64_MIN : INT64_MAX;
	ret->ns = ns;
	return true;
}

/* ---- lengths of time ------------------------------------------------------------------------- */

/* Below `limit` seconds the age shows `unit`, and what is left over in `rest_unit` where that is named. */
static const struct age_row {
	int64_t limit, unit_s;
	const char *unit;
	int64_t rest_s;
	const char *rest_unit;
} age_rows[] = {
	{ 120, 1, "s", 0, NULL },
	{ 600, 60, "m", 1, "s" },
	{ 3 * 3600, 60, "m", 0, NULL },
	{ 8 * 3600, 3600, "h", 60, "m" },
	{ 48 * 3600, 3600, "h", 0, NULL },
	{ INT64_C(8) * 86400, 86400, "d", 3600, "h" },
	{ INT64_C(2) * 365 * 86400, 86400, "d", 0, NULL },
	{ INT64_C(8) * 365 * 86400, INT64_C(365) * 86400, "y", 86400, "d" },
	{ INT64_MAX, INT64_C(365) * 86400, "y", 0, NULL },
};

void age_text(int64_t seconds, char ret[TIME_TEXT_MAX])
{
	const struct age_row *row = age_rows;
	int rest;

	if (seconds < -1) {
		snprintf(ret, TIME_TEXT_MAX, "<invalid>");
		return;
	}
	seconds = MAX(seconds, INT64_C(0));
	while (seconds >= row->limit && row->limit != INT64_MAX)
		row++;
	rest = row->rest_unit ? (int)(seconds % row->unit_s / row->rest_s) : 0; /* below 365 */
	if (rest)
		snprintf(ret, TIME_TEXT_MAX, "%lld%s%d%s", (long long)(seconds / row->unit_s), row->unit, rest,
			row->rest_unit);
	else
		snprintf(ret, TIME_TEXT_MAX, "%lld%s", (long long)(seconds / row->unit_s), row->unit);
}

static const struct {
	struct str name;
	int64_t ns;
} units[] = {
	{ { "ns", 2 }, 1 },
	{ { "us", 2 }, 1000 },
	{ { "\xc2\xb5s", 3 }, 1000 }, /* micro sign */
	{ { "\xce\xbcs", 3 }, 1000 }, /* Greek mu */
	{ { "ms", 2 }, 1000000 },
	{ { "s", 1 }, NS_PER_S },
	{ { "m", 1 }, 60 * NS_PER_S },
	{ { "h", 1 }, 3600 * NS_PER_S },
};

static int64_t unit_ns(struct cursor *c)
{
	size_t n = 0;

	while (n < c->s.n && c->s.p[n] != '.' && !digit(c->s.p[n]))
		n++;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (str_eq(str_n(c->s.p, n), units[i].name)) {
			c->s = str_sub(c->s, n, c->s.n);
			return units[i].ns;
		}
	}
	c->bad = true;
	return 0;
}

/* One term such as "1.5h". */
static int64_t term_ns(struct cursor *c)
{
	int64_t whole = 0, part = 0, scale = 1, unit;
	bool any = false;

	for (; digit(peek(c)); any = true) {
		c->bad |= __builtin_mul_overflow(whole, INT64_C(10), &whole);
		c->bad |= __builtin_add_overflow(whole, (int64_t)(next(c) - '0'), &whole);
	}
	if (peek(c) == '.')
		next(c);
	else if (!any)
		c->bad = true;
	for (; digit(peek(c)); any = true) {
		int ch = next(c) - '0';

		if (scale < INT64_C(100000000000000)) { /* more digits than matter are read and dropped */
			part = part * 10 + ch;
			scale *= 10;
		}
	}
	c->bad |= !any;
	unit = unit_ns(c);
	c->bad |= __builtin_mul_overflow(whole, unit, &whole);
	part = (int64_t)((__int128)part * unit / scale);
	c->bad |= __builtin_add_overflow(whole, part, &whole);
	return whole;
}

bool duration_parse(struct str s, int64_t *ret_ns)
{
	struct cursor c = { s, false };
	bool minus = peek(&c) == '-';
	int64_t sum = 0;

	if (minus || peek(&c) == '+')
		next(&c);
	if (str_is(c.s, "0")) {
		*ret_ns = 0;
		return true;
	}
	do {
		c.bad |= __builtin_add_overflow(sum, term_ns(&c), &sum);
	} while (!c.bad && c.s.n);
	if (c.bad)
		return false;
	*ret_ns = minus ? -sum : sum;
	return true;
}

/* "1.5" without useless zeros. */
static int decimal(char *to, size_t cap, uint64_t v, uint64_t unit, const char *name)
{
	uint64_t part = v % unit;
	int digits = 0, n;

	for (uint64_t u = unit; u > 1; u /= 10)
		digits++;
	for (; part && part % 10 == 0; digits--)
		part /= 10;
	if (part)
		n = snprintf(to, cap, "%llu.%0*llu%s", (unsigned long long)(v / unit), digits, (unsigned long long)part,
			name);
	else
		n = snprintf(to, cap, "%llu%s", (unsigned long long)(v / unit), name);
	return n;
}

void duration_text(int64_t ns, char ret[TIME_TEXT_MAX])
{
	uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	uint64_t minutes = v / (60 * (uint64_t)NS_PER_S);
	int n = 0;

	if (ns < 0)
		ret[n++] = '-';
	if (v == 0) {
		snprintf(ret, TIME_TEXT_MAX, "0s");
	} else if (v < 1000) {
		decimal(ret + n, TIME_TEXT_MAX - (size_t)n, v, 1, "ns");
	} else if (v < 1000000) {
		decimal(ret + n, TIME_TEXT_MAX - (size_t)n, v, 1000, "\xc2\xb5s");
	} else if (v < (uint64_t)NS_PER_S) {
		decimal(ret + n, TIME_TEXT_MAX - (size_t)n, v, 1000000, "ms");
	} else {
		if (minutes >= 60)
			n += snprintf(ret + n, TIME_TEXT_MAX - (size_t)n, "%lluh", (unsigned long long)(minutes / 60));
		if (minutes)
			n += snprintf(ret + n, TIME_TEXT_MAX - (size_t)n, "%llum", (unsigned long long)(minutes % 60));
		decimal(ret + n, TIME_TEXT_MAX - (size_t)n, v % (60 * (uint64_t)NS_PER_S), (uint64_t)NS_PER_S, "s");
	}
}

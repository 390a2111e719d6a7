/* Quantities: "100m", "1.5Gi", "2e3". Everything is computed in billionths with 128 bits: |value| is at most 2^63, so
 * it has at most 28 digits there. */
#include "doc/doc_internal.h"
#include <stdio.h>

typedef __int128 wide;

#define NANO_SCALE (-9)
#define DIGITS_KEPT 20 /* times 2^60 that still fits in 128 bits */

static const struct suffix {
	char text[4];
	int8_t power; /* of 10, or of 1024 for "i" */
	uint8_t format;
} suffixes[] = {
	{ "", 0, QUANTITY_DECIMAL },
	{ "m", -3, QUANTITY_DECIMAL },
	{ "Mi", 2, QUANTITY_BINARY },
	{ "Gi", 3, QUANTITY_BINARY },
	{ "Ki", 1, QUANTITY_BINARY },
	{ "k", 3, QUANTITY_DECIMAL },
	{ "M", 6, QUANTITY_DECIMAL },
	{ "G", 9, QUANTITY_DECIMAL },
	{ "Ti", 4, QUANTITY_BINARY },
	{ "T", 12, QUANTITY_DECIMAL },
	{ "P", 15, QUANTITY_DECIMAL },
	{ "E", 18, QUANTITY_DECIMAL },
	{ "Pi", 5, QUANTITY_BINARY },
	{ "Ei", 6, QUANTITY_BINARY },
	{ "u", -6, QUANTITY_DECIMAL },
	{ "n", -9, QUANTITY_DECIMAL },
};

static wide pow10_wide(int n)
{
	wide w = 1;

	while (n-- > 0)
		w *= 10;
	return w;
}

/* |mantissa| × 10^scale, rounded away from zero to what fits; rest: digits were dropped that were not all zero. */
static struct quantity pack(bool negative, unsigned __int128 m, int scale, bool rest, uint8_t format)
{
	struct quantity q = { .format = format };

	while (m && m % 10 == 0 && !rest && scale < 0) {
		m /= 10;
		scale++;
	}
	while (m && (scale < NANO_SCALE || m > INT64_MAX)) {
		rest |= m % 10 != 0;
		m /= 10;
		scale++;
	}
	if (rest) {
		m++;
		scale = MAX(scale, NANO_SCALE);
	}
	if (!m)
		return q;
	while (m % 10 == 0 && scale < 18) {
		m /= 10;
		scale++;
	}
	if (scale > 18 || m > INT64_MAX || (scale > 0 && (wide)m > INT64_MAX / pow10_wide(scale))) {
		m = INT64_MAX;
		scale = 0;
	}
	q.value = negative ? -(int64_t)m : (int64_t)m;
	q.scale = (int8_t)scale;
	return q;
}

/* Saturates: every quantity that pack() made fits. */
static wide nano(struct quantity q)
{
	return (wide)q.value * pow10_wide(MIN(q.scale, 18) - NANO_SCALE);
}

static struct quantity of_nano(wide n, uint8_t format)
{
	return pack(n < 0, (unsigned __int128)(n < 0 ? -n : n), NANO_SCALE, false, format);
}

struct reading {
	unsigned __int128 m;
	int scale, kept;
	bool rest, any;
};

static void read_digit(struct reading *r, int d, bool fraction)
{
	r->any = true;
	if (r->kept == DIGITS_KEPT) {
		r->rest |= d != 0;
		r->scale += !fraction;
		return;
	}
	r->m = r->m * 10 + (unsigned)d;
	r->kept += r->m != 0;
	r->scale -= fraction;
}

static bool read_exponent(struct str s, int *ret)
{
	int64_t e;

	if (s.n < 2 || (s.p[0] | 0x20) != 'e')
		return false;
	s = str_n(s.p + 1, s.n - 1);
	if (s.p[0] == '+')
		s = str_n(s.p + 1, s.n - 1);
	if (!s.n || (s.p[0] != '-' && (s.p[0] < '0' || s.p[0] > '9')) || !str_i64(s, &e))
		return false;
	*ret = (int)MAX(-1000, MIN(e, 1000));
	return true;
}

static bool read_suffix(struct reading *r, struct str s, uint8_t *ret_format)
{
	int e;

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		const struct suffix *x = &suffixes[i];

		if (!str_is(s, x->text))
			continue;
		*ret_format = x->format;
		if (x->format == QUANTITY_BINARY)
			r->m <<= 10 * x->power;
		else
			r->scale += x->power;
		return true;
	}
	if (!read_exponent(s, &e))
		return false;
	*ret_format = QUANTITY_EXPONENT;
	r->scale += e;
	return true;
}

bool quantity_parse(struct str s, struct quantity *ret)
{
	struct reading r = { 0 };
	bool negative = s.n && s.p[0] == '-', fraction = false;
	uint8_t format;
	size_t i = s.n && (s.p[0] == '-' || s.p[0] == '+');

	if (s.n > (1 << 20)) /* keeps the scale an int */
		return false;
	for (; i < s.n; i++) {
		if (s.p[i] >= '0' && s.p[i] <= '9')
			read_digit(&r, s.p[i] - '0', fraction);
		else if (s.p[i] == '.' && !fraction)
			fraction = true;
		else
			break;
	}
	if (!r.any || !read_suffix(&r, str_n(s.p + i, s.n - i), &format))
		return false;
	*ret = pack(negative, r.m, r.scale, r.rest, format);
	return true;
}

const char *quantity_wrong(struct str s)
{
	size_t i = s.n && (s.p[0] == '-' || s.p[0] == '+'), digits = i, dots = 0;

	for (; i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] == '.' && !dots)); i++)
		dots += s.p[i] == '.';
	bool number = i > digits;
	while (i < s.n && s.p[i] && strchr("eEinumkKMGTP", s.p[i]))
		i++;
	if (i < s.n && (s.p[i] == '-' || s.p[i] == '+'))
		for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9';)
			i++;
	if (i == s.n && s.n && (number || s.p[0] == '-' || s.p[0] == '+'))
		return "unable to parse quantity's suffix";
	return "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
}

bool quantity_of(struct val v, struct quantity *ret)
{
	enum val_kind k = val_kind(v);

	if (k == VAL_STR)
		return quantity_parse(val_str(v), ret);
	return (k == VAL_INT || k == VAL_FLOAT) && quantity_parse(val_text(v), ret);
}

static const char *suffix_for(int power, uint8_t format)
{
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
		if (suffixes[i].power == power && suffixes[i].format == format)
			return suffixes[i].text;
	return "";
}

static void print(char *to, bool negative, unsigned __int128 m, const char *suffix)
{
	char digits[QUANTITY_TEXT_MAX], *p = digits + sizeof(digits) - 1;

	*p = 0;
	do
		*--p = (char)('0' + (int)(m % 10));
	while (m /= 10);
	snprintf(to, QUANTITY_TEXT_MAX, "%s%s%s", negative ? "-" : "", p, suffix);
}

/* Binary only for whole numbers from 1024 on; below, decimals say more. */
static bool print_binary(struct quantity q, char *to)
{
	wide n = nano(q), one = pow10_wide(-NANO_SCALE);
	unsigned __int128 m = (unsigned __int128)(n < 0 ? -n : n);
	int power = 0;

	if (m % (unsigned __int128)one || m < (unsigned __int128)one * 1024)
		return false;
	for (m /= (unsigned __int128)one; m % 1024 == 0 && power < 6; power++)
		m /= 1024;
	print(to, n < 0, m, power ? suffix_for(power, QUANTITY_BINARY) : "");
	return true;
}

void quantity_text(struct quantity q, char ret[QUANTITY_TEXT_MAX])
{
	unsigned __int128 m = q.value < 0 ? 0 - (unsigned __int128)(wide)q.value : (unsigned __int128)q.value;
	char exponent[16];
	int scale = q.scale;

	if (q.format == QUANTITY_BINARY && print_binary(q, ret))
		return;
	for (; m && m % 10 == 0; scale++)
		m /= 10;
	if (!m)
		scale = 0;
	for (; scale % 3 || scale > 18; scale--)
		m *= 10;
	if (q.format == QUANTITY_EXPONENT) {
		snprintf(exponent, sizeof(exponent), "e%d", scale);
		print(ret, q.value < 0, m, scale ? exponent : "");
		return;
	}
	print(ret, q.value < 0, m, suffix_for(scale, QUANTITY_DECIMAL));
}

int quantity_cmp(struct quantity a, struct quantity b)
{
	wide x = nano(a), y = nano(b);

	return x < y ? -1 : x > y;
}

struct quantity quantity_add(struct quantity a, struct quantity b)
{
	return of_nano(nano(a) + nano(b), a.value ? a.format : b.format);
}

struct quantity quantity_sub(struct quantity a, struct quantity b)
{
	return of_nano(nano(a) - nano(b), a.value ? a.format : b.format);
}

static int64_t scaled(struct quantity q, wide unit)
{
	wide n = nano(q), up = n / unit;

	if (n % unit)
		up += n < 0 ? -1 : 1;
	return up > INT64_MAX ? INT64_MAX : up < INT64_MIN ? INT64_MIN : (int64_t)up;
}

int64_t quantity_milli(struct quantity q)
{
	return scaled(q, 1000000);
}

int64_t quantity_whole(struct quantity q)
{
	return scaled(q, 1000000000);
}

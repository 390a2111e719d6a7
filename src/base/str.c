#include "base/str.h"

int str_cmp(struct str a, struct str b)
{
	size_t n = MIN(a.n, b.n);
	int r = n ? memcmp(a.p, b.p, n) : 0;

	if (r)
		return r;
	return (a.n > b.n) - (a.n < b.n);
}

int str_order(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq(str_n(s.p, prefix.n), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
	if (suffix.n == 0)
		return true;
	return s.n >= suffix.n && memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	}
	return true;
}

bool str_has(struct str s, struct str needle)
{
	if (needle.n == 0)
		return true;
	return s.n >= needle.n && memmem(s.p, s.n, needle.p, needle.n) != NULL;
}

struct str str_sub(struct str s, size_t from, size_t n)
{
	if (from >= s.n)
		return (struct str){ s.p ? s.p + s.n : NULL, 0 };
	return (struct str){ s.p + from, MIN(n, s.n - from) };
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct str str_trim(struct str s)
{
	while (s.n && blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

struct str str_cut(struct str s, char sep, struct str *head)
{
	const char *at = s.n ? memchr(s.p, sep, s.n) : NULL;
	size_t n;

	if (!at) {
		*head = s;
		return STR_NULL;
	}
	n = (size_t)(at - s.p);
	*head = (struct str){ s.p, n };
	return (struct str){ at + 1, s.n - n - 1 };
}

/* "a," has two parts and "" has none, yet both end with nothing left: this address marks the last, empty part. */
static const char empty_part[1] = "";

bool str_next(struct str *rest, char sep, struct str *part)
{
	struct str after;

	if (rest->n == 0) {
		if (rest->p != empty_part)
			return false;
		*part = (struct str){ empty_part, 0 };
		*rest = STR_NULL;
		return true;
	}
	after = str_cut(*rest, sep, part);
	if (after.p && after.n == 0)
		after.p = empty_part;
	*rest = after;
	return true;
}

bool str_u64(struct str s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
			return false;
	}
	*ret = v;
	return true;
}

bool str_i64(struct str s, int64_t *ret)
{
	bool minus = s.n > 0 && s.p[0] == '-';
	uint64_t v;

	if (!str_u64(minus ? str_n(s.p + 1, s.n - 1) : s, &v))
		return false;
	if (v > (uint64_t)INT64_MAX + (minus ? 1 : 0))
		return false;
	*ret = minus ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

char *str_dup(struct str s)
{
	return xstrndup(s.p, s.n);
}

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15u;
	h ^= h >> 29;
	return h;
}

/* Eight bytes a step, little-endian whatever the machine is. */
uint64_t str_hash(struct str s)
{
	uint64_t h = 0x2545f4914f6cdd1du ^ s.n;
	size_t i = 0;

	for (; i + 8 <= s.n; i += 8) {
		uint64_t w;

		memcpy(&w, s.p + i, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		w = __builtin_bswap64(w);
#endif
		h = mix(h ^ w);
	}
	for (uint64_t shift = 0; i < s.n; i++, shift += 8)
		h ^= (uint64_t)(unsigned char)s.p[i] << shift;
	return mix(mix(h));
}

struct str str_join(char *room, size_t max, const struct str *parts, size_t n)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		if (parts[i].n > max - used)
			return STR_NULL;
		if (parts[i].n)
			memcpy(room + used, parts[i].p, parts[i].n);
		used += parts[i].n;
	}
	return str_n(room, used);
}

char *hex_text(char *to, const void *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *b = bytes;

	for (size_t i = 0; i < n; i++) {
		*to++ = digits[b[i] >> 4];
		*to++ = digits[b[i] & 15];
	}
	return to;
}

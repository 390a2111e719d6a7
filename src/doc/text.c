/* The lexical level: UTF-8, JSON escapes, numbers as text, hashes of keys. */
#include "doc/doc_internal.h"
#include <math.h>
#include <stdio.h>
#include <sys/random.h>

size_t utf8_step(const unsigned char *s, const unsigned char *end)
{
	size_t left = (size_t)(end - s);
	unsigned char c = s[0], low = 0x80, high = 0xbf;
	size_t n;

	if (c >= 0xc2 && c <= 0xdf)
		n = 2;
	else if (c >= 0xe0 && c <= 0xef)
		n = 3;
	else if (c >= 0xf0 && c <= 0xf4)
		n = 4;
	else
		return 0;
	if (left < n)
		return 0;
	if (c == 0xe0)
		low = 0xa0; /* overlong */
	else if (c == 0xed)
		high = 0x9f; /* surrogates */
	else if (c == 0xf0)
		low = 0x90;
	else if (c == 0xf4)
		high = 0x8f; /* beyond U+10FFFF */
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

bool utf8_valid(struct str s)
{
	const unsigned char *p = (const unsigned char *)(s.n ? s.p : ""), *end = p + s.n;

	while (p < end) {
		size_t n = *p < 0x80 ? 1 : utf8_step(p, end);

		if (!n)
			return false;
		p += n;
	}
	return true;
}

static bool must_escape(unsigned char c)
{
	return c < 0x20 || c == '"' || c == '\\';
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))
#define ANY_BELOW(x, least) (((x)-EACH(least)) & ~(x)&EACH(0x80)) /* of eight bytes; not 0: there is one */

bool json_needs_escape(struct str s)
{
	size_t i = 0;
	uint64_t x;

	for (; i + sizeof(x) <= s.n; i += sizeof(x)) {
		memcpy(&x, s.p + i, sizeof(x));
		if (ANY_BELOW(x, 0x20) | ANY_BELOW(x ^ EACH('"'), 1) | ANY_BELOW(x ^ EACH('\\'), 1))
			return true;
	}
	for (; i < s.n; i++)
		if (must_escape((unsigned char)s.p[i]))
			return true;
	return false;
}

void json_escape(struct build *b, struct str s)
{
	static const char hex[] = "0123456789abcdef";
	static const char brief[32] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r' };
	size_t from = 0;

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (!must_escape(c))
			continue;
		build_bytes(b, s.p + from, i - from);
		from = i + 1;
		if (c >= 0x20)
			build_bytes(b, (char[]){ '\\', (char)c }, 2);
		else if (brief[c])
			build_bytes(b, (char[]){ '\\', brief[c] }, 2);
		else
			build_bytes(b, (char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
	}
	build_bytes(b, s.p + from, s.n - from);
}

static unsigned hex4(const char *p)
{
	unsigned u = 0;

	for (int i = 0; i < 4; i++) {
		unsigned c = (unsigned char)p[i];

		u = u << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return u;
}

static size_t put_utf8(unsigned u, char *to)
{
	if (u < 0x80) {
		to[0] = (char)u;
		return 1;
	}
	if (u < 0x800) {
		to[0] = (char)(0xc0 | u >> 6);
		to[1] = (char)(0x80 | (u & 63));
		return 2;
	}
	if (u < 0x10000) {
		to[0] = (char)(0xe0 | u >> 12);
		to[1] = (char)(0x80 | (u >> 6 & 63));
		to[2] = (char)(0x80 | (u & 63));
		return 3;
	}
	to[0] = (char)(0xf0 | u >> 18);
	to[1] = (char)(0x80 | (u >> 12 & 63));
	to[2] = (char)(0x80 | (u >> 6 & 63));
	to[3] = (char)(0x80 | (u & 63));
	return 4;
}

/* \uXXXX at raw.p[i] (the 'u'): moves *i past it. Half a surrogate pair becomes U+FFFD, as Go's reader does. */
static unsigned unescape_unicode(struct str raw, size_t *i)
{
	unsigned u = hex4(raw.p + *i + 1), low;

	*i += 5;
	if (u < 0xd800 || u > 0xdfff)
		return u;
	if (u > 0xdbff || raw.n - *i < 6 || raw.p[*i] != '\\' || raw.p[*i + 1] != 'u')
		return 0xfffd;
	low = hex4(raw.p + *i + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return 0xfffd;
	*i += 6;
	return 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
}

size_t json_unescape(struct str raw, char *to)
{
	size_t n = 0;

	for (size_t i = 0; i < raw.n;) {
		if (raw.p[i] != '\\') {
			to[n++] = raw.p[i++];
			continue;
		}
		i++;
		switch (raw.p[i]) {
		case 'u':
			n += put_utf8(unescape_unicode(raw, &i), to + n);
			continue;
		case 'b':
			to[n++] = '\b';
			break;
		case 'f':
			to[n++] = '\f';
			break;
		case 'n':
			to[n++] = '\n';
			break;
		case 'r':
			to[n++] = '\r';
			break;
		case 't':
			to[n++] = '\t';
			break;
		default:
			to[n++] = raw.p[i];
		}
		i++;
	}
	return n;
}

struct str int_text(int64_t i, char to[FLOAT_TEXT_MAX])
{
	uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
	char *p = to + FLOAT_TEXT_MAX;

	do
		*--p = (char)('0' + u % 10);
	while (u /= 10);
	if (i < 0)
		*--p = '-';
	return str_n(p, (size_t)(to + FLOAT_TEXT_MAX - p));
}

/* The shortest digits that read back as the same number. Infinite and NaN have no JSON: null. */
struct str float_text(double f, char to[FLOAT_TEXT_MAX])
{
	int n = 0;

	if (!isfinite(f))
		return STR("null");
	if (f == floor(f) && fabs(f) < 0x1p63)
		return int_text((int64_t)f, to);
	for (int digits = 15; digits <= 17; digits++) {
		n = snprintf(to, FLOAT_TEXT_MAX, "%.*g", digits, f);
		if (strtod(to, NULL) == f)
			break;
	}
	return str_n(to, (size_t)n);
}

static uint64_t hash_seed(void)
{
	static atomic_uint_fast64_t seed;
	uint64_t s = atomic_load_explicit(&seed, memory_order_relaxed), none = 0;

	if (s)
		return s;
	if (getrandom(&s, sizeof(s), 0) != (ssize_t)sizeof(s) || !s)
		s = 0x9e3779b97f4a7c15u;
	if (!atomic_compare_exchange_strong(&seed, &none, s))
		s = none;
	return s;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint64_t key_hash(struct str s)
{
	uint64_t h = hash_seed() ^ s.n, w;

	while (s.n >= 8) {
		memcpy(&w, s.p, 8);
		h = fold(h ^ w, 0xd6e8feb86659fd93u);
		s = str_n(s.p + 8, s.n - 8);
	}
	w = 0;
	if (s.n)
		memcpy(&w, s.p, s.n);
	return fold(h ^ w, 0xa0761d6478bd642fu);
}

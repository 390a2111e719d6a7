/* Rules that all engines share, without state. */
#include "store/store_internal.h"
#include <endian.h>
#include <inttypes.h>

int store_check(const struct store_write *w, int64_t current, struct err *e)
{
	if (w->expect_revision == 0 && !w->del)
		return current == 0 ? 0 : err_set(e, ERR_EXISTS, "key \"%.*s\" already exists", STR_ARG(w->key));
	if (current == 0 && (w->del || w->expect_revision > 0))
		return err_set(e, ERR_NOT_FOUND, "key \"%.*s\" does not exist", STR_ARG(w->key));
	if (w->expect_revision != STORE_ANY && w->expect_revision != current)
		return err_set(e, ERR_CONFLICT, "key \"%.*s\" is at revision %" PRId64 ", not %" PRId64,
			STR_ARG(w->key), current, w->expect_revision);
	return 0;
}

struct str store_prefix_end(struct str prefix, char *buf)
{
	size_t n = prefix.n;

	while (n > 0 && (unsigned char)prefix.p[n - 1] == 0xff)
		n--;
	if (n == 0)
		return STR_NULL;
	memcpy(buf, prefix.p, n);
	buf[n - 1] = (char)(buf[n - 1] + 1);
	return str_n(buf, n);
}

/* Multiply-and-fold over words: every bit of the input reaches every bit of the sum. It finds damage, it does not stop
 * an attacker: whoever can write the file can write the sum too. */
static uint64_t fold(uint64_t a, uint64_t b)
{
	__uint128_t m = (__uint128_t)(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xc2b2ae3d27d4eb4fu);

	return (uint64_t)m ^ (uint64_t)(m >> 64) ^ a;
}

uint64_t store_sum(uint64_t seed, struct str bytes)
{
	uint64_t sum = fold(seed, bytes.n), word;
	size_t i = 0;

	for (; i + 8 <= bytes.n; i += 8) {
		memcpy(&word, bytes.p + i, 8);
		sum = fold(sum, le64toh(word));
	}
	word = 0;
	if (i < bytes.n)
		memcpy(&word, bytes.p + i, bytes.n - i);
	return fold(sum, le64toh(word));
}

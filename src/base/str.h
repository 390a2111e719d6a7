/* Byte slices: a pointer and a length, borrowed, not NUL-terminated. */
#pragma once
#include "base/util.h"
#include <string.h>

struct str {
	const char *p;
	size_t n;
};

#define STR(lit) ((struct str){ "" lit, sizeof(lit) - 1 })
#define STR_NULL ((struct str){ NULL, 0 })
/* printf("%.*s", STR_ARG(s)) */
#define STR_ARG(s) (int)(s).n, ((s).p ? (s).p : "")

static inline struct str str_c(const char *s) /* NULL gives an empty slice */
{
	return (struct str){ s, s ? strlen(s) : 0 };
}
static inline struct str str_n(const char *p, size_t n)
{
	return (struct str){ p, n };
}
static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_is(struct str a, const char *b) /* equal to a C string */
{
	size_t n = strlen(b);
	return a.n == n && (n == 0 || memcmp(a.p, b, n) == 0);
}
static inline bool str_empty(struct str s)
{
	return s.n == 0;
}
int str_cmp(struct str a, struct str b);     /* bytes, then length: <0, 0, >0 */
int str_order(const void *a, const void *b); /* of two struct str, for qsort() and bsearch() */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_eq_nocase(struct str a, struct str b);          /* ASCII */
bool str_has(struct str s, struct str needle);           /* substring */
struct str str_sub(struct str s, size_t from, size_t n); /* clamped */
struct str str_trim(struct str s);                       /* blanks at both ends */
/* Splits at the first sep: *head before it, returns the rest; no sep: *head is all, returns STR_NULL. */
struct str str_cut(struct str s, char sep, struct str *head);
/* Iterates over parts: `for (struct str part, rest = s; str_next(&rest, ',', &part);)`. An empty s has no part. */
bool str_next(struct str *rest, char sep, struct str *part);
/* Whole-string decimal; false on anything else or overflow. */
bool str_i64(struct str s, int64_t *ret);
bool str_u64(struct str s, uint64_t *ret);
/* Own: free(). NUL-terminated copy. */
char *str_dup(struct str s);
/* The parts one after the other in room, as printf() would write them, at a tenth of its price: where every request comes
 * by. STR_NULL: they do not fit. */
struct str str_join(char *room, size_t max, const struct str *parts, size_t n);
#define STR_JOIN(room, ...)                                               \
	str_join(room, sizeof(room), (const struct str[]){ __VA_ARGS__ }, \
		ARRAY_LEN(((const struct str[]){ __VA_ARGS__ })))
/* n bytes as 2 * n hexadecimal digits. Returns where they end. */
char *hex_text(char *to, const void *bytes, size_t n);
uint64_t str_hash(struct str s); /* same in every process; not for untrusted-key tables larger than 64 k */

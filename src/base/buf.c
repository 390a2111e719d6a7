#include "base/buf.h"
#include <stdarg.h>
#include <stdio.h>

void buf_fini(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ .max = b->max };
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->full = false;
}

/* One byte more than cap is allocated, so that buf_take() can end the bytes with NUL. */
static bool grow(struct buf *b, size_t need)
{
	size_t max = b->max ? b->max : BUF_MAX_DEFAULT;
	size_t cap = b->cap ? b->cap : 64;

	if (need > max) {
		b->full = true;
		return false;
	}
	while (cap < need)
		cap *= 2;
	cap = MIN(cap, max);
	b->p = xrealloc(b->p, cap + 1, 1);
	b->cap = cap;
	return true;
}

char *buf_reserve(struct buf *b, size_t n)
{
	if (b->full)
		return NULL;
	if (n > SIZE_MAX / 4 || !b->p || b->cap - b->n < n) {
		if (!grow(b, n > SIZE_MAX / 4 ? SIZE_MAX : b->n + n))
			return NULL;
	}
	return b->p + b->n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	char *to;

	if (n == 0)
		return;
	to = buf_reserve(b, n);
	if (!to)
		return;
	memcpy(to, p, n);
	b->n += n;
}

void buf_str(struct buf *b, struct str s)
{
	buf_add(b, s.p, s.n);
}

void buf_c(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_byte(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	char small[256], *to;
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	PRE(n >= 0);
	if ((size_t)n < sizeof(small)) {
		buf_add(b, small, (size_t)n);
	} else if ((to = buf_reserve(b, (size_t)n)) != NULL) {
		vsnprintf(to, (size_t)n + 1, fmt, again); /* its NUL falls on the spare byte */
		b->n += (size_t)n;
	}
	va_end(again);
}

char *buf_take(struct buf *b, size_t *ret_n)
{
	char *p = b->p ? b->p : xmalloc(1);

	p[b->n] = 0;
	if (ret_n)
		*ret_n = b->n;
	*b = (struct buf){ .max = b->max };
	return p;
}

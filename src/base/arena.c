#include "base/base_internal.h"
#include <stdarg.h>
#include <stdio.h>

#define FIRST_BYTES ((size_t)4096)
#define MOST_BYTES ((size_t)64 << 10)
#define ALIGN ((size_t)16)

struct block {
	struct block *older;
	size_t used, cap; /* of data */
	_Alignas(16) unsigned char data[];
};

struct hold {
	struct hold *older;
	void *obj;
	void (*end)(void *obj);
};

struct arena {
	struct block *newest, *first; /* first is never freed before the arena */
	struct block *large;
	struct hold *holds; /* newest first; they live in the arena itself */
	size_t bytes;
};

static struct block *block_new(struct arena *a, size_t cap)
{
	struct block *b = block_take(sizeof(*b) + cap);

	b->older = NULL;
	b->used = 0;
	b->cap = cap;
	a->bytes += cap;
	return b;
}

static void block_free(struct block *b)
{
	block_give(b, sizeof(*b) + b->cap);
}

struct arena *arena_new_of(size_t first_bytes)
{
	struct arena *a = xcalloc(1, sizeof(*a));

	a->first = a->newest = block_new(a, first_bytes - sizeof(struct block));
	return a;
}

struct arena *arena_new(void)
{
	return arena_new_of(FIRST_BYTES);
}

void arena_reset(struct arena *a)
{
	while (a->holds) {
		struct hold *h = a->holds;

		a->holds = h->older;
		h->end(h->obj);
	}
	while (a->newest != a->first) {
		struct block *b = a->newest;

		a->newest = b->older;
		block_free(b);
	}
	while (a->large) {
		struct block *b = a->large;

		a->large = b->older;
		block_free(b);
	}
	a->first->used = 0;
	a->bytes = a->first->cap;
}

struct arena *arena_free(struct arena *a)
{
	if (!a)
		return NULL;
	arena_reset(a);
	block_free(a->first);
	free(a);
	return NULL;
}

/* A large piece gets a block of its own, and the newest block's room stays in use. */
static void *alloc_alone(struct arena *a, size_t n)
{
	struct block *b = block_new(a, n);

	b->older = a->large;
	a->large = b;
	return b->data;
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct block *b = a->newest;
	void *p;

	PRE(n <= SIZE_MAX / 2);
	n = n ? (n + ALIGN - 1) & ~(ALIGN - 1) : ALIGN;
	if (b->cap - b->used < n) {
		size_t cap = MIN((b->cap + sizeof(*b)) * 2, MOST_BYTES) - sizeof(*b);

		if (n > cap / 2)
			return alloc_alone(a, n);
		b = block_new(a, cap);
		b->older = a->newest;
		a->newest = b;
	}
	p = b->data + b->used;
	b->used += n;
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	return memset(arena_alloc(a, n), 0, n);
}

void *arena_copy(struct arena *a, const void *p, size_t n, size_t room)
{
	void *copy = arena_alloc(a, room);

	return n ? memcpy(copy, p, n) : copy;
}

char *arena_cstr(struct arena *a, struct str s)
{
	char *copy = arena_alloc(a, s.n + 1);

	if (s.n)
		memcpy(copy, s.p, s.n);
	copy[s.n] = 0;
	return copy;
}

struct str arena_str(struct arena *a, struct str s)
{
	return (struct str){ arena_cstr(a, s), s.n };
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_cstr(a, str_c(s));
}

static PRINTF(2, 0) struct str vformat(struct arena *a, const char *fmt, va_list ap)
{
	char small[256], *text;
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	PRE(n >= 0);
	text = arena_alloc(a, (size_t)n + 1);
	if ((size_t)n < sizeof(small))
		memcpy(text, small, (size_t)n + 1);
	else
		vsnprintf(text, (size_t)n + 1, fmt, again);
	va_end(again);
	return (struct str){ text, (size_t)n };
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	struct str s;
	va_list ap;

	va_start(ap, fmt);
	s = vformat(a, fmt, ap);
	va_end(ap);
	return (char *)s.p;
}

struct str arena_strf(struct arena *a, const char *fmt, ...)
{
	struct str s;
	va_list ap;

	va_start(ap, fmt);
	s = vformat(a, fmt, ap);
	va_end(ap);
	return s;
}

struct str arena_join(struct arena *a, const struct str *parts, size_t n)
{
	size_t all = 0;
	char *p;

	for (size_t i = 0; i < n; i++)
		all += parts[i].n;
	p = arena_alloc(a, all + 1);
	p[all] = 0;
	return str_join(p, all, parts, n);
}

void arena_hold(struct arena *a, void *obj, void (*end)(void *obj))
{
	struct hold *h;

	if (!obj)
		return;
	h = arena_alloc(a, sizeof(*h));
	*h = (struct hold){ a->holds, obj, end };
	a->holds = h;
}

size_t arena_bytes(const struct arena *a)
{
	return a->bytes;
}

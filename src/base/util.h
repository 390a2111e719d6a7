/* Vocabulary used in every file: ownership marks, sizes, allocation that cannot fail.
 *
 * Ownership words, the same everywhere: "own" (you end it), "borrow" (someone else does),
 * "take" (handed over, on failure too), "ref/unref" (shared). Every ending accepts NULL.
 *
 * Memory: small internal allocations abort the process when memory is gone (the supervisor
 * restarts it and nothing acknowledged is lost). What a client can grow is counted by its
 * owner and refused with ERR_TOO_LARGE or ERR_TOO_MANY instead. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h> /* now, and not by some header after us: its MIN and MAX evaluate twice */

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#undef MIN
#undef MAX
#define MIN(a, b)                                  \
	({                                         \
		__typeof__(a) min_a_ = (a);        \
		__typeof__(b) min_b_ = (b);        \
		min_a_ < min_b_ ? min_a_ : min_b_; \
	})
#define MAX(a, b)                                  \
	({                                         \
		__typeof__(a) max_a_ = (a);        \
		__typeof__(b) max_b_ = (b);        \
		max_a_ > max_b_ ? max_a_ : max_b_; \
	})
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define UNUSED __attribute__((unused))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_USE __attribute__((warn_unused_result))

/* AUTO(struct x, x_free) in a header earns `auto_(x_free) struct x *v = NULL;` in functions:
 * the variable is ended however the function returns. TAKE(v) hands it out instead. */
#define AUTO(type, fn)                                \
	UNUSED static inline void fn##_auto(type **p) \
	{                                             \
		(void)fn(*p);                         \
	}
#define auto_(fn) __attribute__((cleanup(fn##_auto)))
UNUSED static inline void free_auto(void *p)
{
	free(*(void **)p);
}
#define auto_free __attribute__((cleanup(free_auto)))
#define TAKE(p)                              \
	({                                   \
		__typeof__(p) take_p_ = (p); \
		(p) = NULL;                  \
		take_p_;                     \
	})

/* A broken promise of our own code ends the process with file and line; never used on input. */
_Noreturn void panic_at(const char *file, int line, const char *fmt, ...) PRINTF(3, 4);
#define PANIC(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
#define PRE(cond) ((cond) ? (void)0 : panic_at(__FILE__, __LINE__, "expected: %s", #cond))

/* Own: end with free(). Never NULL. xcalloc and xrealloc check n * size for overflow. */
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
/* Room for one more behind list[n], of which there are cap: twice as many when it is full, `first` at first. What is
 * added is not cleared. In an arena: ARENA_GROW(). */
#define GROW(list, n, cap, first)                                                                      \
	do {                                                                                           \
		if ((n) == (cap))                                                                      \
			(list) = xrealloc((list), (cap) = (cap) ? (cap)*2 : (first), sizeof(*(list))); \
	} while (0)
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) PRINTF(1, 2);

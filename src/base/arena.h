/* Arenas: memory that vanishes together, and references that are dropped with it.
 *
 * A request, a reconcile or a parse has one; nothing in it is freed by itself. Not thread-safe:
 * an arena belongs to whoever runs the work. */
#pragma once
#include "base/str.h"
#include "base/util.h"

struct arena;
struct arena *arena_new(void);
struct arena *arena_new_of(size_t first_bytes); /* for those that live long and hold little; it grows as any other */
struct arena *arena_free(struct arena *a);      /* runs holds in reverse order; NULL accepted, returns NULL */
AUTO(struct arena, arena_free)
void arena_reset(struct arena *a); /* as free + new, keeps the first block */

void *arena_alloc(struct arena *a, size_t n);  /* 16-byte aligned, not cleared */
void *arena_zalloc(struct arena *a, size_t n); /* cleared */
#define ARENA_NEW(a, type) ((type *)arena_zalloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_zalloc((a), sizeof(type) * (n)))
/* As GROW(), of a list in the arena. */
#define ARENA_GROW(a, list, n, cap, first)                                              \
	do {                                                                            \
		if ((n) == (cap))                                                       \
			(list) = arena_copy((a), (list), sizeof(*(list)) * (n),         \
				sizeof(*(list)) * ((cap) = (cap) ? (cap)*2 : (first))); \
	} while (0)
/* n bytes at the front of room bytes. */
void *arena_copy(struct arena *a, const void *p, size_t n, size_t room);
struct str arena_str(struct arena *a, struct str s); /* copy, NUL-terminated */
char *arena_strdup(struct arena *a, const char *s);
char *arena_cstr(struct arena *a, struct str s); /* copy as C string */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF(2, 3);
struct str arena_strf(struct arena *a, const char *fmt, ...) PRINTF(2, 3);
/* The parts one after the other, NUL-terminated: str_join(). */
struct str arena_join(struct arena *a, const struct str *parts, size_t n);
#define ARENA_JOIN(a, ...) \
	arena_join(a, (const struct str[]){ __VA_ARGS__ }, ARRAY_LEN(((const struct str[]){ __VA_ARGS__ })))

/* Take: end(obj) runs when the arena is reset or freed. */
void arena_hold(struct arena *a, void *obj, void (*end)(void *obj));
size_t arena_bytes(const struct arena *a);

/* Gives back to the system what ended arenas left for the next ones, and the free pages of the heap. It walks the whole
 * heap with its locks held: for processes that are small at rest, at moments that nobody waits for. */
void memory_rest(void);

/* The memory of arenas. What a request allocates is gone a moment later, while the document it made stays: were its
 * blocks freed each time, such documents would settle in the holes and waste the rest of each, a fifth of all memory
 * with 50,000 pods. So blocks wait here for the next arena, and those that nobody needed for a while are freed. */
#include "base/base_internal.h"
#include <malloc.h>
#include <stdatomic.h>

#define LEAST_BYTES ((size_t)2048)
#define SIZES 6                     /* LEAST_BYTES and its doubles */
#define KEPT_MOST ((size_t)8 << 20) /* bytes */
#define SWEEP_EVERY 2048            /* blocks given back between two looks at what nobody needs */

struct spare {
	struct spare *next;
};

static struct {
	atomic_flag busy; /* somebody is here just now: do without, do not wait */
	struct {
		struct spare *first;
		size_t n, least; /* how many; the fewest since the last sweep */
	} of[SIZES];
	size_t bytes;
	unsigned given;
} kept;

static bool enter(void)
{
	return !SANITIZED && !atomic_flag_test_and_set_explicit(&kept.busy, memory_order_acquire);
}

static void leave(void)
{
	atomic_flag_clear_explicit(&kept.busy, memory_order_release);
}

/* SIZES: a size that is not kept. */
static size_t size_of(size_t bytes)
{
	size_t i = 0;

	while (i < SIZES && bytes != LEAST_BYTES << i)
		i++;
	return i;
}

static struct spare *pop(size_t i)
{
	struct spare *s = kept.of[i].first;

	if (!s)
		return NULL;
	kept.of[i].first = s->next;
	kept.of[i].n--;
	kept.of[i].least = MIN(kept.of[i].least, kept.of[i].n);
	kept.bytes -= LEAST_BYTES << i;
	return s;
}

/* What lay there all the time, as a list. */
static struct spare *sweep(void)
{
	struct spare *unused = NULL, *s;

	for (size_t i = 0; i < SIZES; i++) {
		for (size_t n = kept.of[i].least; n > 0; n--) {
			s = pop(i);
			s->next = unused;
			unused = s;
		}
		kept.of[i].least = kept.of[i].n;
	}
	kept.given = 0;
	return unused;
}

void *block_take(size_t bytes)
{
	size_t i = size_of(bytes);
	struct spare *s = NULL;

	if (i < SIZES && enter()) {
		s = pop(i);
		leave();
	}
	return s ? (void *)s : xmalloc(bytes);
}

/* False: there are enough. */
static bool push(size_t i, struct spare *s)
{
	if (kept.bytes + (LEAST_BYTES << i) > KEPT_MOST)
		return false;
	s->next = kept.of[i].first;
	kept.of[i].first = s;
	kept.of[i].n++;
	kept.bytes += LEAST_BYTES << i;
	return true;
}

static void free_all(struct spare *list)
{
	for (struct spare *s; (s = list); free(s))
		list = s->next;
}

void block_give(void *take, size_t bytes)
{
	size_t i = size_of(bytes);
	struct spare *unused = NULL;
	bool done = false;

	if (i < SIZES && enter()) {
		done = push(i, take);
		if (++kept.given >= SWEEP_EVERY)
			unused = sweep();
		leave();
	}
	if (!done)
		free(take);
	free_all(unused);
}

void memory_rest(void)
{
	struct spare *unused[2] = { 0 };

	if (enter()) {
		unused[0] = sweep();
		unused[1] = sweep(); /* nobody came in between */
		leave();
	}
	free_all(unused[0]);
	free_all(unused[1]);
	(void)malloc_trim(0);
}

size_t blocks_bytes(void)
{
	size_t n = 0;

	if (enter()) {
		n = kept.bytes;
		leave();
	}
	return n;
}

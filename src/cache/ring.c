/* The latest changes of one resource, oldest first, numbered without gaps. */
#include "cache/cache_internal.h"

#define RING_FIRST 16

/* What a change keeps alive that the index may have forgotten. */
static int64_t cost(const struct change *ch)
{
	return (int64_t)(sizeof(*ch) + sizeof(*ch->after) + ch->after->n + doc_bytes(ch->after->doc));
}

static void resize(struct ring *r, size_t cap)
{
	struct change *slots = xcalloc(cap, sizeof(*slots));

	for (uint64_t seq = r->first; seq < r->end; seq++)
		slots[seq & (cap - 1)] = *ring_at(r, seq);
	free(r->slots);
	r->slots = slots;
	r->cap = cap;
}

int64_t ring_push(struct ring *r, struct change take)
{
	int64_t n = cost(&take);

	if (r->end - r->first == r->cap)
		resize(r, r->cap ? r->cap * 2 : RING_FIRST);
	r->slots[r->end++ & (r->cap - 1)] = take;
	atomic_fetch_add_explicit(&r->bytes, n, memory_order_relaxed);
	return n;
}

int64_t ring_drop(struct ring *r)
{
	struct change ch = *ring_at(r, r->first);
	int64_t n = cost(&ch);

	r->first++;
	r->floor = ch.revision;
	atomic_fetch_sub_explicit(&r->bytes, n, memory_order_relaxed);
	entry_unref(ch.before);
	entry_unref(ch.after);
	return n;
}

void ring_fit(struct ring *r)
{
	size_t cap = RING_FIRST;

	while (cap < r->end - r->first)
		cap *= 2;
	if (cap < r->cap)
		resize(r, cap);
}

void ring_fini(struct ring *r)
{
	while (r->first < r->end)
		ring_drop(r);
	free(r->slots);
	r->slots = NULL;
	r->cap = 0;
}

uint64_t ring_after(const struct ring *r, int64_t after)
{
	uint64_t lo = r->first, hi = r->end;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (ring_at(r, mid)->revision <= after)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

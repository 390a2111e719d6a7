/* One number of bytes for the rings of all caches: a busy resource may use what the quiet ones do not need. */
#include "cache/cache_internal.h"

#define FORGET_AT_ONCE 64

struct cache_budget *cache_budget_new(int64_t bytes)
{
	struct cache_budget *b = xcalloc(1, sizeof(*b));

	b->max = bytes;
	task_mutex_init(&b->lock);
	return b;
}

struct cache_budget *cache_budget_free(struct cache_budget *b)
{
	if (!b)
		return NULL;
	PRE(!b->first);
	task_mutex_fini(&b->lock);
	free(b);
	return NULL;
}

void budget_join(struct cache_budget *b, struct cache *c)
{
	task_lock(&b->lock);
	c->budget_next = b->first;
	b->first = c;
	task_unlock(&b->lock);
}

void budget_leave(struct cache_budget *b, struct cache *c)
{
	task_lock(&b->lock);
	for (struct cache **at = &b->first; *at; at = &(*at)->budget_next) {
		if (*at == c) {
			*at = c->budget_next;
			break;
		}
	}
	atomic_fetch_sub(&b->used, atomic_load(&c->ring.bytes));
	task_unlock(&b->lock);
}

static struct cache *largest(struct cache_budget *b)
{
	struct cache *best = NULL;
	int64_t bytes, most = 0;

	for (struct cache *c = b->first; c; c = c->budget_next) {
		bytes = atomic_load_explicit(&c->ring.bytes, memory_order_relaxed);
		if (bytes > most) {
			most = bytes;
			best = c;
		}
	}
	return best;
}

void budget_trim(struct cache_budget *b)
{
	struct cache *c;
	bool stuck = false;

	if (atomic_load_explicit(&b->used, memory_order_relaxed) <= b->max)
		return;
	task_lock(&b->lock);
	while (!stuck && atomic_load(&b->used) > b->max && (c = largest(b))) {
		task_lock(&c->lock);
		/* The newest change stays: somebody has just been told of it. */
		stuck = c->ring.end - c->ring.first < 2;
		if (!stuck)
			atomic_fetch_sub(&b->used, ring_drop(&c->ring));
		task_unlock(&c->lock);
	}
	task_unlock(&b->lock);
}

/* Of one cache, under its lock: a few, so that whoever writes or reads it does not wait for all. */
static int64_t forget_some(struct cache *c, int64_t revision)
{
	uint64_t until = MIN(ring_after(&c->ring, revision), c->ring.first + FORGET_AT_ONCE);
	int64_t bytes = 0;

	if (c->ring.first < until)
		until = MIN(until, watches_oldest(c));
	while (c->ring.first < until)
		bytes += ring_drop(&c->ring);
	ring_fit(&c->ring);
	return bytes;
}

int64_t cache_budget_forget(struct cache_budget *b, int64_t revision)
{
	int64_t all = 0, bytes;

	do {
		bytes = 0;
		task_lock(&b->lock);
		for (struct cache *c = b->first; c; c = c->budget_next) {
			task_lock(&c->lock);
			bytes += forget_some(c, revision);
			task_unlock(&c->lock);
		}
		atomic_fetch_sub(&b->used, bytes);
		task_unlock(&b->lock);
		all += bytes;
	} while (bytes);
	return all;
}

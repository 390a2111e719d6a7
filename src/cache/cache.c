/* The cache itself: what stands in the index, how far it is, and who waits for it. */
#include "cache/cache_internal.h"

struct cache *cache_new(const char *name, struct cache_budget *budget)
{
	struct cache *c = xcalloc(1, sizeof(*c));

	c->name = xstrdup(name);
	c->refs = 1;
	c->budget = budget;
	task_mutex_init(&c->lock);
	task_cond_init(&c->changed);
	if (budget)
		budget_join(budget, c);
	return c;
}

void cache_unref_locked(struct cache *c)
{
	bool last = --c->refs == 0;

	task_unlock(&c->lock);
	if (!last)
		return;
	task_cond_fini(&c->changed);
	task_mutex_fini(&c->lock);
	free(c->name);
	free(c);
}

struct cache *cache_free(struct cache *c)
{
	struct cache_watch *list;

	if (!c)
		return NULL;
	if (c->budget)
		budget_leave(c->budget, c);
	task_lock(&c->lock);
	c->ended = true;
	index_fini(&c->index);
	ring_fini(&c->ring);
	task_broadcast(&c->changed);
	list = watches_collect(c, NULL);
	task_unlock(&c->lock);
	watches_notify(c, list);
	task_lock(&c->lock);
	cache_unref_locked(c);
	return NULL;
}

/* ---- the store's side ------------------------------------------------------------------------ */

void cache_fill(struct cache *c, struct str key, struct doc *d, int64_t revision)
{
	struct entry *old;

	task_lock(&c->lock);
	old = index_put(&c->index, entry_new(key, d, revision));
	task_unlock(&c->lock);
	entry_unref(old);
}

void cache_ready(struct cache *c, int64_t revision)
{
	task_lock(&c->lock);
	c->ring.floor = revision;
	atomic_store(&c->revision, revision);
	task_broadcast(&c->changed);
	task_unlock(&c->lock);
}

/* Changes the index and keeps the change. False: a deletion of what is not there. */
static bool record(struct cache *c, struct entry *take, bool deleted)
{
	struct change ch = { .revision = take->revision, .after = take, .deleted = deleted };
	int64_t bytes;

	ch.before = deleted ? index_del(&c->index, entry_key(take)) : index_put(&c->index, entry_ref(take));
	if (deleted && !ch.before) {
		entry_unref(take);
		return false;
	}
	bytes = ring_push(&c->ring, ch);
	if (c->budget)
		atomic_fetch_add(&c->budget->used, bytes);
	return true;
}

void cache_apply(struct cache *c, struct str key, struct doc *d, bool deleted, int64_t revision)
{
	struct entry *t = entry_new(key, d, revision);
	struct cache_watch *list = NULL;

	task_lock(&c->lock);
	if (record(c, t, deleted))
		list = watches_collect(c, &key);
	atomic_store(&c->revision, revision);
	task_unlock(&c->lock);
	watches_notify(c, list);
	if (c->budget)
		budget_trim(c->budget);
}

void cache_advance(struct cache *c, int64_t revision)
{
	if (atomic_load_explicit(&c->revision, memory_order_relaxed) < revision)
		atomic_store(&c->revision, revision);
}

/* ---- readers --------------------------------------------------------------------------------- */

int64_t cache_revision(struct cache *c)
{
	return atomic_load(&c->revision);
}

struct doc *cache_get(struct cache *c, struct str key)
{
	struct entry *t;
	struct doc *d;

	task_lock(&c->lock);
	t = index_get(&c->index, key);
	d = t ? doc_ref(t->doc) : NULL;
	task_unlock(&c->lock);
	return d;
}

size_t cache_len(struct cache *c)
{
	size_t n;

	task_lock(&c->lock);
	n = c->index.len;
	task_unlock(&c->lock);
	return n;
}

struct cache_list cache_list(
	struct cache *c, struct arena *a, struct str prefix, struct str from, size_t max, int64_t *ret_revision)
{
	struct cache_list list = { 0 };
	struct slice *s;
	size_t at;

	task_lock(&c->lock);
	s = index_slice(&c->index, a, prefix, from, max);
	if (ret_revision)
		*ret_revision = cache_revision(c);
	task_unlock(&c->lock);

	at = s->skip;
	list.items = arena_alloc(a, (s->n ? s->n : 1) * sizeof(*list.items));
	list.more = s->more;
	for (size_t i = 0; i < s->chunks_n && list.n < s->n; i++, at = 0) {
		const struct chunk *k = s->chunks[i];

		for (; at < (size_t)k->n && list.n < s->n; at++)
			list.items[list.n++] = (struct cache_entry){ entry_key(k->e[at]), k->e[at]->doc };
	}
	return list;
}

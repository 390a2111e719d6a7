/* Watches: each has a place in the ring and is told when there is something behind it. */
#include "cache/cache_internal.h"
#include <inttypes.h>

static bool wants(const struct cache_watch *w, struct str key)
{
	return str_starts(key, w->prefix);
}

static int expired(int64_t after, const struct cache *c, struct err *e)
{
	return err_set(e, ERR_EXPIRED, "too old resource version: %" PRId64 " (%" PRId64 ")", after, c->ring.floor);
}

int cache_watch(struct cache *c, int64_t after, struct str prefix, cache_notify *notify, void *arg,
	struct cache_watch **ret, struct err *e)
{
	struct cache_watch *w;
	int r = 0;

	task_lock(&c->lock);
	if (c->ended)
		r = err_set(e, ERR_CANCELED, "%s are no longer served", c->name);
	else if (after < c->ring.floor)
		r = expired(after, c, e);
	if (r < 0) {
		task_unlock(&c->lock);
		return r;
	}
	w = xcalloc(1, sizeof(*w));
	w->c = c;
	w->after = after;
	w->seq = ring_after(&c->ring, after);
	w->notify = notify;
	w->arg = arg;
	w->prefix = str_n(str_dup(prefix), prefix.n);
	w->next = c->watches;
	w->link = &c->watches;
	if (w->next)
		w->next->link = &w->next;
	c->watches = w;
	c->refs++;
	task_unlock(&c->lock);
	*ret = w;
	return 0;
}

/* Under the lock. */
static int look(struct cache_watch *w, struct cache_event *ret, int64_t *ret_progress, struct err *e)
{
	struct cache *c = w->c;

	if (c->ended)
		return err_set(e, ERR_CANCELED, "%s are no longer served", c->name);
	if (w->seq < c->ring.first)
		return expired(w->after, c, e);
	for (; w->seq < c->ring.end; w->seq++) {
		const struct change *ch = ring_at(&c->ring, w->seq);

		if (ch->revision <= w->after || !wants(w, entry_key(ch->after)))
			continue;
		w->after = ch->revision;
		w->armed = ++w->seq == c->ring.end;
		*ret = (struct cache_event){
			.revision = ch->revision,
			.deleted = ch->deleted,
			.last = w->armed,
			.before = ch->before ? doc_ref(ch->before->doc) : NULL,
			.after = doc_ref(ch->after->doc),
		};
		return 1;
	}
	w->armed = true;
	if (ret_progress)
		*ret_progress = cache_revision(c);
	return 0;
}

int cache_watch_next(struct cache_watch *w, struct cache_event *ret, int64_t *ret_progress, struct err *e)
{
	int r;

	task_lock(&w->c->lock);
	r = look(w, ret, ret_progress, e);
	task_unlock(&w->c->lock);
	return r;
}

struct cache_watch *watches_collect(struct cache *c, const struct str *key)
{
	struct cache_watch *list = NULL;

	for (struct cache_watch *w = c->watches; w; w = w->next) {
		if (!w->armed)
			continue;
		if (key && !wants(w, *key)) {
			/* It has seen everything up to here: a ring that moves on must not leave it behind. */
			w->seq = c->ring.end;
			continue;
		}
		w->armed = false;
		if (w->notifying) /* cache_free() while a writer is on his way to it */
			continue;
		w->notifying = true;
		w->notify_next = list;
		list = w;
	}
	return list;
}

uint64_t watches_oldest(const struct cache *c)
{
	uint64_t oldest = c->ring.end;

	for (const struct cache_watch *w = c->watches; w; w = w->next)
		if (!w->armed && w->seq >= c->ring.first) /* those that are behind it have lost already */
			oldest = MIN(oldest, w->seq);
	return oldest;
}

void watches_notify(struct cache *c, struct cache_watch *list)
{
	struct cache_watch *w = list, *next;

	if (!list)
		return;
	/* A watch whose turn is over may go at once. The last one stays until the lock is ours: it keeps the cache. */
	for (; (next = w->notify_next); w = next) {
		w->notify(w->arg);
		w->notifying = false;
	}
	w->notify(w->arg);
	task_lock(&c->lock);
	w->notifying = false;
	task_broadcast(&c->changed);
	task_unlock(&c->lock);
}

struct cache_watch *cache_watch_free(struct cache_watch *w)
{
	struct cache *c;

	if (!w)
		return NULL;
	c = w->c;
	task_lock(&c->lock);
	while (w->notifying)
		task_wait(&c->changed, &c->lock);
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	cache_unref_locked(c);
	free((char *)w->prefix.p);
	free(w);
	return NULL;
}

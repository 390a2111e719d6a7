/* Watch cache: the newest documents of one resource in key order, and a ring of their latest changes.
 *
 * Flow:   store ──► cache_apply() ──► readers (GET, LIST) and watchers (HTTP streams, controllers, nodes).
 * Thread: read from any task; cache_apply() belongs to who does the store's work.
 * Memory: one reference to every document it can still show; all rings of a `struct cache_budget` share its bytes, and
 *         keep what is younger than their owner says. A watcher that falls out of the ring gets -ERR_EXPIRED and
 *         nobody else waits for it. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/task.h"
#include "doc/doc.h"

struct cache;
struct cache_budget; /* shared byte budget of event rings */
struct cache_budget *cache_budget_new(int64_t bytes);
struct cache_budget *cache_budget_free(struct cache_budget *b);
/* All rings forget the changes up to this revision, but what an open watch has still to show. Returns their bytes. */
int64_t cache_budget_forget(struct cache_budget *b, int64_t revision);

/* name: for messages, "pods". */
struct cache *cache_new(const char *name, struct cache_budget *budget);
struct cache *cache_free(struct cache *c); /* watchers end with -ERR_CANCELED */
AUTO(struct cache, cache_free)

/* key is "ns/name", or "name" for cluster scope. Filling at start (no events), ascending or not. Takes a reference of
 * its own. */
void cache_fill(struct cache *c, struct str key, struct doc *d, int64_t revision);
/* The initial fill is complete at revision. */
void cache_ready(struct cache *c, int64_t revision);
/* One change. d: the new document, or for a deletion the last state stamped with the deletion's revision. */
void cache_apply(struct cache *c, struct str key, struct doc *d, bool deleted, int64_t revision);
/* The store's revision moved on without a change of this resource (so that reads and bookmarks are current). Cheap: one
 * atomic. */
void cache_advance(struct cache *c, int64_t revision);
int64_t cache_revision(struct cache *c);

/* Own: one reference. NULL: nothing by that key. */
struct doc *cache_get(struct cache *c, struct str key);
size_t cache_len(struct cache *c);
/* A consistent snapshot of the entries with prefix (e.g. "default/"), from the first key >= from, at most max (0: all).
 * The references are held by the arena; *ret_revision is the snapshot's. more: entries that remain after max. */
struct cache_entry {
	struct str key; /* in the arena or the cache's own memory that the arena keeps */
	struct doc *doc;
};
struct cache_list {
	struct cache_entry *items;
	size_t n, more;
};
struct cache_list cache_list(
	struct cache *c, struct arena *a, struct str prefix, struct str from, size_t max, int64_t *ret_revision);

struct cache_watch;
struct cache_event {
	int64_t revision;
	bool deleted;
	bool last;          /* none now after it: as if cache_watch_next() had said so */
	struct doc *before; /* NULL: it is new */
	struct doc *after;  /* the new state; for a deletion its last state with the deletion's revision */
};
/* Events with revision > after. notify(arg) runs (where the store's work is done, no locks held that cache calls need) when events
 * became available after cache_watch_next() had said "none"; keep it short. prefix limits to a namespace ("default/") or one key;
 * empty: all.
 * -ERR_EXPIRED: older than the ring. */
typedef void cache_notify(void *arg);
int cache_watch(struct cache *c, int64_t after, struct str prefix, cache_notify *notify, void *arg,
	struct cache_watch **ret, struct err *e);
/* 1 and *ret (own: references to before and after); 0: none now (*ret_progress: no event up to this revision is
 * outstanding);
 * -ERR_EXPIRED fell behind; -ERR_CANCELED the cache ended. */
int cache_watch_next(struct cache_watch *w, struct cache_event *ret, int64_t *ret_progress, struct err *e);
/* notify() no longer runs when this returns: do not call it from notify(), nor with a lock held that notify() takes. */
struct cache_watch *cache_watch_free(struct cache_watch *w);
AUTO(struct cache_watch, cache_watch_free)

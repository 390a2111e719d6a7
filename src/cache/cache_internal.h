/* What the files of src/cache share.
 *
 *   entry   one state of one key: the document, its revision, the key. Immutable, counted.
 *   index   entries in key order, in chunks that are copied before a change when a reader holds them: a list takes
 *           references to chunks under the lock, not to thousands of documents.
 *   ring    the latest changes, oldest first, each a pair of entries. */
#pragma once
#include "cache/cache.h"
#include <stdatomic.h>

struct entry {
	_Atomic int refs;
	uint32_t n;
	int64_t revision;
	struct doc *doc;
	char key[];
};

struct entry *entry_new(struct str key, struct doc *d, int64_t revision); /* own; a reference to d of its own */
struct entry *entry_ref(struct entry *t);
struct entry *entry_unref(struct entry *t); /* NULL accepted, returns NULL */
static inline struct str entry_key(const struct entry *t)
{
	return str_n(t->key, t->n);
}

/* ---- index.c: the caller holds the cache's lock ---------------------------------------------- */

#define CHUNK_MAX 64
struct chunk {
	_Atomic int refs; /* 1: only the index has it, it may be changed in place */
	int n;
	struct entry *e[CHUNK_MAX];
};

struct index {
	struct chunk **chunks; /* none is empty */
	size_t n, cap, len;
};

void index_fini(struct index *x);
struct entry *index_get(const struct index *x, struct str key); /* borrow; NULL: not there */
struct entry *index_put(struct index *x, struct entry *take);   /* own: what it replaced, or NULL */
struct entry *index_del(struct index *x, struct str key);       /* own: what was there, or NULL */

/* A run of entries that stays as it is: holds its chunks. */
struct slice {
	size_t skip, n, more; /* entries of the first chunk before the run; its length; how many follow it */
	size_t chunks_n;
	struct chunk *chunks[];
};
struct slice *index_slice(const struct index *x, struct arena *a, struct str prefix, struct str from,
	size_t max); /* borrow: the arena's */

/* ---- ring.c: the caller holds the cache's lock ----------------------------------------------- */

struct change {
	int64_t revision;
	struct entry *before, *after;
	bool deleted;
};

struct ring {
	struct change *slots;
	size_t cap;            /* 0 or a power of two */
	uint64_t first, end;   /* sequence numbers: the oldest kept, the next to come */
	int64_t floor;         /* changes with a greater revision are all here */
	_Atomic int64_t bytes; /* read without the lock to find the largest ring */
};

/* Takes both entries. Returns the bytes it is charged. */
int64_t ring_push(struct ring *r, struct change take);
int64_t ring_drop(struct ring *r); /* the oldest; returns its bytes */
void ring_fit(struct ring *r);     /* gives back the room of changes that are gone */
void ring_fini(struct ring *r);
static inline const struct change *ring_at(const struct ring *r, uint64_t seq)
{
	return &r->slots[seq & (r->cap - 1)];
}
/* The first change with a revision > after; r->end: none. */
uint64_t ring_after(const struct ring *r, int64_t after);

/* ---- budget.c -------------------------------------------------------------------------------- */

struct cache_budget {
	struct task_mutex lock; /* taken before a cache's lock, never after */
	struct cache *first;
	int64_t max;
	_Atomic int64_t used;
};
void budget_join(struct cache_budget *b, struct cache *c);
void budget_leave(struct cache_budget *b, struct cache *c);
void budget_trim(struct cache_budget *b); /* while too much is used, the largest ring forgets its oldest change */

/* ---- cache.c --------------------------------------------------------------------------------- */

struct cache {
	char *name;
	struct cache_budget *budget;
	struct cache *budget_next;
	int refs; /* the owner and its watches; under the lock */

	struct task_mutex lock;
	struct task_cond changed; /* a round of notify() ended */
	_Atomic int64_t revision;
	bool ended;
	struct index index;
	struct ring ring;
	struct cache_watch *watches;
};

struct cache_watch {
	struct cache *c;
	struct cache_watch *next, **link; /* of c->watches */
	uint64_t seq;                     /* the next change to look at */
	int64_t after;
	cache_notify *notify;
	void *arg;
	bool armed;             /* had nothing to show: notify when there is */
	_Atomic bool notifying; /* in the list below, outside the lock */
	struct cache_watch *notify_next;
	struct str prefix; /* own */
};

/* Under the lock: the armed watches that want this change, as a list for watches_notify(). NULL key: all. */
struct cache_watch *watches_collect(struct cache *c, const struct str *key);
/* Under the lock: the oldest change that a watch has still to look at; the ring's end: none. */
uint64_t watches_oldest(const struct cache *c);
/* Outside the lock. */
void watches_notify(struct cache *c, struct cache_watch *list);
/* Drops one reference; the last one frees. The caller holds the lock, and no longer afterwards. */
void cache_unref_locked(struct cache *c);

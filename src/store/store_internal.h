/* What the files of src/store share: the engine behind a store, and who calls what.
 *
 *   writers ──► queue ──► one of them, or the store's task: begin, put…, commit ──► stamp, on_event ──► verdicts  (store.c)
 *   readers ──► engine->range() on their own task                                  (memory.c, sqlite_read.c)
 *
 * Everything of an engine but range(), bytes() is called by who does the store's work, one call at a time. Revisions in here are the
 * shown ones; an engine that numbers differently adds its base at its own edge. */
#pragma once
#include "store/store.h"
#include <stdatomic.h>

/* What put() did. */
struct store_done {
	int64_t revision, create_revision;
};

struct range_request {
	struct str prefix, from;
	int64_t revision; /* never 0 */
	bool (*each)(void *arg, const struct store_kv *kv);
	void *arg;
};

/* One stage's durations: noted by one task, read by any. */
struct stage {
	_Atomic int64_t count[STORE_BOUNDS + 1], sum_ns;
};
void stage_note(struct stage *t, int64_t ns);
void stage_read(struct stage *t, struct store_times *ret);

enum sweep {
	SWEEP_DONE, /* nothing is left, or it is tried again after the next compact() */
	SWEEP_MORE,
	SWEEP_LATER, /* what is next is being read into memory: nothing was done */
};

struct store_engine {
	const char *name;
	int (*begin)(void *self, struct err *e);
	/* One write inside begin()…commit(). A refusal changes nothing: conditions are looked at first. *broken: the
	 * whole transaction is good for rollback() only. */
	int (*put)(void *self, const struct store_write *w, struct store_done *ret, bool *broken, struct err *e);
	/* -ERR_FULL: nothing was kept. Whatever else goes wrong leaves the outcome unknown and ends the process. */
	int (*commit)(void *self, struct err *e);
	void (*rollback)(void *self);
	/* compacted: read again once the snapshot stands; a higher one than the request's revision is -ERR_EXPIRED. */
	int (*range)(void *self, const struct range_request *rq, const _Atomic int64_t *compacted, struct err *e);
	int (*replay)(void *self, int64_t after, store_on_event *on_event, void *arg, struct err *e);
	/* Remembers durably that history up to revision may go; sweep() then looks at some rows of it a call, fewer when
	 * they take long. */
	int (*compact)(void *self, int64_t revision, struct err *e);
	enum sweep (*sweep)(void *self, size_t rows);
	/* After a commit, when its writers have been answered: sees to it that the log stays short, without taking time.
	 * alone: one writer, who came alone. False: level() has to. NULL: there is no log. */
	bool (*fold)(void *self, bool alone);
	void (*level)(void *self);                /* folds all of the log, so that the next write begins it anew */
	struct stage *(*checkpoints)(void *self); /* of its own task; NULL: it has none */
	int64_t (*bytes)(void *self);
	void (*close)(void *self);
};

/* Own: the store takes self, also when it fails. */
struct store *store_new(const struct store_engine *engine, void *take_self, int64_t revision, int64_t compacted,
	const char *cluster_uid);

/* The verdict on a write, given the key's current revision (0: it does not exist). */
int store_check(const struct store_write *w, int64_t current, struct err *e);
/* The first key after all those with the prefix; n 0: there is none (empty prefix). buf has room for prefix.n bytes. */
struct str store_prefix_end(struct str prefix, char *buf);
/* 64-bit checksum, the same on every machine. seed chains several pieces. */
uint64_t store_sum(uint64_t seed, struct str bytes);

/* The store: keys, values and one revision that only grows. Durable before it answers.
 *
 * Flow: writers ── store_write() ──► one transaction for all who wait (group commit) ──► on_event(), in revision order
 * ──► the writer's verdict. So a writer is answered after every cache has its write.
 * One at a time does this work: the store's task, or a writer who came alone. It never parses, validates, encrypts or
 * encodes; the value bytes arrive ready.
 *
 * Revisions are what clients see as resourceVersion (engine revision + base; only the store knows the base).
 * Whoever waits on a fiber (base/fiber.h) leaves its thread to others meanwhile.
 * Each write has its own revision and its own verdict. Keys: "resource/namespace/name" in bytes order.
 * Thread: any task may call; on_event runs where the store's work is done, one call at a time: it may lock nothing that a
 * writer holds while it waits. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "base/task.h"

struct store;

struct store_event {
	struct str key;
	int64_t revision;
	int64_t create_revision;
	bool deleted;
	bool more;        /* another event of the same commit follows at once */
	struct str value; /* new value; empty when deleted */
	void *payload;    /* what the writer attached (its document); NULL for events of another process */
};
typedef void store_on_event(void *arg, const struct store_event *ev);

struct store_write {
	struct str key;
	int64_t expect_revision; /* 0: the key must not exist (create); >0: its current revision; STORE_ANY: whatever it is */
	bool del;
	struct str value;
	void *payload; /* borrowed until store_write() returns; passed to on_event */
	/* Called where the store's work is done, when the revision is known, before the COMMIT is acknowledged to anyone: splice it
	 * into payload. May be NULL. */
	void (*stamp)(void *payload, int64_t revision);
};
#define STORE_ANY (-1)

/* 0 and *ret_revision; -ERR_CONFLICT: the key has another revision; -ERR_EXISTS (expect 0); -ERR_NOT_FOUND;
 * -ERR_FULL: no space, rolled back, reads go on; -ERR_CANCELED: closing. */
int store_write(struct store *s, const struct store_write *w, int64_t *ret_revision, struct err *e);

/* A hint from any task: +1, a writer is on its way; -1, it has come (before its store_write()) or will not. Before a
 * commit the store waits for them a moment, as long as they keep coming, so that one fdatasync serves them all. */
void store_coming(struct store *s, int n);

struct store_kv {
	struct str key, value;
	int64_t revision, create_revision;
};
/* Calls each() for every key with the prefix, in order, at `revision` (0: now). each() returns false to end.
 * Slices are borrowed during the call. -ERR_EXPIRED: compacted. ret_revision: the revision that was read. */
int store_range(struct store *s, struct str prefix, struct str from_key, int64_t revision,
	bool (*each)(void *arg, const struct store_kv *kv), void *arg, int64_t *ret_revision, struct err *e);
int64_t store_revision(struct store *s); /* latest committed */
/* Drops history at and below revision (current values stay). */
int store_compact(struct store *s, int64_t revision, struct err *e);
int64_t store_compacted(struct store *s);
/* Begins events: all with revision > after, then live ones. Call once, before the first write, with after = the
 * revision of the initial store_range(). */
int store_watch(struct store *s, int64_t after, store_on_event *on_event, void *arg, struct err *e);

struct store_status {
	int64_t revision, compacted, bytes, commits, writes;
	char engine[16];
	char cluster_uid[40];
};
void store_status(struct store *s, struct store_status *ret);
/* Whether writes come through right now. FULL: the last one found no space, reads go on. HANGS: the one at work has
 * taken more than 10 s, as when a disk does not answer. */
enum store_health { STORE_HEALTHY, STORE_FULL, STORE_HANGS };
enum store_health store_health(struct store *s);

/* What the store is at, each moment one of these; and beside it the checkpoint task. */
#define STORE_STAGES(X)                                                                         \
	X(STORE_WAIT, "wait")             /* nobody wants anything */                           \
	X(STORE_GATHER, "gather")         /* more writers are on their way */                   \
	X(STORE_PUT, "put")               /* a transaction's changes */                         \
	X(STORE_COMMIT, "commit")         /* into the log, fdatasync */                         \
	X(STORE_PUBLISH, "publish")       /* on_event(): caches and watchers */                 \
	X(STORE_ANSWER, "answer")         /* the writers are woken */                           \
	X(STORE_SWEEP, "sweep")           /* a piece of compaction */                           \
	X(STORE_FOLD, "fold")             /* the log into the file, where checkpoints do not */ \
	X(STORE_CHECKPOINT, "checkpoint") /* the checkpoint task: log into file, fsync */
#define STORE_STAGE(id, name) id,
enum store_stage { STORE_STAGES(STORE_STAGE) STORE_STAGES_N };
#undef STORE_STAGE
#define STORE_BOUNDS 12
/* How often a stage took how long: count[i] times at most store_bound_ns(i) and more than the bound before, count[STORE_BOUNDS] times more. */
struct store_times {
	int64_t count[STORE_BOUNDS + 1], sum_ns;
};
int64_t store_bound_ns(size_t i); /* 0.5 ms and its doubles */
const char *store_stage_name(enum store_stage stage);
void store_times(struct store *s, struct store_times ret[STORE_STAGES_N]); /* any task */

struct store *store_close(struct store *s); /* finishes what is queued */
AUTO(struct store, store_close)

struct store_sqlite_opts {
	const char *path;  /* the database file; its folder exists */
	int64_t wal_bytes; /* checkpoint before the log is this long; the log may become three times that; 0: 16 MiB */
	bool existing;     /* a file that is missing or holds nothing is refused; else it becomes an empty store */
};
/* Fails with a sentence that says what is wrong with the file and which way back there is. */
int store_open_sqlite(const struct store_sqlite_opts *o, struct store **ret, struct err *e);
/* Makes an empty store where no file is, or one that holds nothing. A store that is there stays as it is. */
int store_make_sqlite(const char *path, struct err *e);
/* Reads all of a file, in use or not: its structure, each row's checksum, each key's newest revision. *ret_rows counts.
 * Fails with the first damage and the way back. */
int store_check_sqlite(const char *path, int64_t *ret_rows, struct err *e);
/* Calls each() with what the file of a running or stopped store holds: the newest value of each key, or with history
 * every one.
 * Slices are borrowed during the call. */
int store_scan_sqlite(const char *path, bool history, void (*each)(void *arg, struct str key, struct str value),
	void *arg, struct err *e);
/* A whole copy of one moment in a new file, of one that may or may not be in use. Opened in the place of the original it
 * continues above every revision that was ever shown. */
int store_snapshot_sqlite(const char *path, const char *to, struct err *e);
/* Before a file takes the place of another one, which may be missing or damaged: the store that opens it goes on above all
 * that either has shown, or was to go on above. Nobody else may have the file open; one in which this is interrupted is
 * of no use. */
int store_succeed_sqlite(const char *path, const char *old, struct err *e);
/* Takes the lock of a stopped store's file: nobody opens it until the descriptor is closed. ERR_UNAVAILABLE: it is in
 * use. */
int store_lock_sqlite(const char *path, int *ret_fd, struct err *e);
/* For tests and simulations: no durability, works on both task backends. */
int store_open_memory(struct store **ret, struct err *e);

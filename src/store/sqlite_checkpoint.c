/* The task that spares writers the disk: it folds the log into the file, when a commit finds the log half full, and reads
 * what compaction will look at. */
#include "base/log.h"
#include "store/sqlite_internal.h"

#define LOG_MODULE "store"
#define AHEAD_ROWS 4096 /* asked for at a time, when half of them are used up */
#define AHEAD_PIECE 128 /* read between two looks at the log, which would grow meanwhile */

/* A checkpoint that fails leaves the log as it is, and the log holds everything. One exception: after a failed fsync
 * the kernel may have dropped the pages, and the next, "successful" fsync would let SQLite forget the log. */
void sqlite_checkpoint_now(struct sqlite_engine *s, sqlite3 *db)
{
	int in_log, folded, r = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &folded);

	if (r == SQLITE_OK)
		atomic_store_explicit(&s->folded_pages, folded, memory_order_relaxed);
	if (r == SQLITE_OK && folded == in_log)
		sqlite_stand_aside(s, false); /* the next commit begins it anew */
	if (r == SQLITE_OK || r == SQLITE_BUSY || r == SQLITE_LOCKED) {
		atomic_store(&s->checkpoint_failed, false);
		return;
	}
	if (sqlite3_extended_errcode(db) == SQLITE_IOERR_FSYNC)
		sqlite_unknown(s, db, "fsync while checkpointing");
	if (!atomic_exchange(&s->checkpoint_failed, true))
		log_warn("store %s: checkpoint: %s (the log grows until it succeeds)", s->path, sqlite3_errmsg(db));
}

/* Once after the start, at leisure: the structure of the file, not each row (rows are checked as they are read). */
static void quick_check(struct sqlite_engine *s, sqlite3 *db)
{
	sqlite3_stmt *q = NULL;
	struct err e;

	if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &q, NULL) == SQLITE_OK &&
		sqlite3_step(q) == SQLITE_ROW) {
		const char *verdict = (const char *)sqlite3_column_text(q, 0);

		if (verdict && strcmp(verdict, "ok") != 0) {
			err_init(&e);
			sqlite_damaged(s, &e, "%s", verdict);
			log_error("%s", e.message);
		}
	} else if (sqlite3_errcode(db) == SQLITE_CORRUPT) {
		err_init(&e);
		sqlite_fail(s, db, "quick_check", &e);
		log_error("%s", e.message);
	}
	sqlite3_finalize(q);
}

static int stop_asked(void *arg)
{
	struct sqlite_engine *s = arg;
	bool stop;

	task_lock(&s->lock);
	stop = s->stop;
	task_unlock(&s->lock);
	return stop;
}

/* ---- reading ahead of compaction ------------------------------------------------------------- */

void sqlite_ask_ahead(struct sqlite_engine *s)
{
	if (s->ahead_asked >= MIN(s->compacted, s->swept + AHEAD_ROWS / 2))
		return;
	s->ahead_asked = MIN(s->compacted, s->swept + AHEAD_ROWS);
	task_lock(&s->lock);
	s->want_ahead = s->ahead_asked;
	task_unlock(&s->lock);
	task_signal(&s->work);
}

void sqlite_stand_aside(struct sqlite_engine *s, bool aside)
{
	if (atomic_load_explicit(&s->stand_aside, memory_order_relaxed) == aside)
		return;
	task_lock(&s->lock);
	s->stand_aside = aside;
	task_unlock(&s->lock);
	task_signal(&s->work);
}

/* Old rows are often on the disk alone, and who does the store's work would wait for each of them, and make room in memory
 * for what the kernel reads besides: compaction goes no further than this. Returns up to where it is read. */
static int64_t read_ahead(sqlite3_stmt *q, int64_t after, int64_t want)
{
	int64_t to = MIN(after + AHEAD_PIECE, want);

	sqlite3_bind_int64(q, 1, after);
	sqlite3_bind_int64(q, 2, to);
	(void)sqlite3_step(q); /* what cannot be read compaction will tell */
	sqlite3_reset(q);
	return to;
}

/* Rows up to a revision, with those that go because of them. */
static sqlite3_stmt *ahead_query(sqlite3 *db)
{
	sqlite3_stmt *q = NULL;

	(void)sqlite_prepare(db,
		"SELECT count(substr(old.value, -1)) FROM revision new CROSS JOIN revision old "
		"WHERE new.rev>?1 AND new.rev<=?2 AND old.rev=new.prev",
		&q);
	return q;
}

/* ---- the task -------------------------------------------------------------------------------- */

struct work { /* one of them, or both */
	bool checkpoint;
	int64_t ahead; /* read up to here */
};

/* False: the end. */
static bool wait_for_work(struct sqlite_engine *s, int64_t read_to, struct work *ret)
{
	bool stop;

	task_lock(&s->lock);
	while (!s->want_checkpoint && (s->want_ahead <= read_to || s->stand_aside) && !s->stop)
		task_wait(&s->work, &s->lock);
	*ret = (struct work){ s->want_checkpoint, s->stand_aside ? read_to : s->want_ahead };
	s->want_checkpoint = false;
	stop = s->stop;
	task_unlock(&s->lock);
	return !stop;
}

static void timed_checkpoint(struct sqlite_engine *s, sqlite3 *db)
{
	struct mono began = mono_now();

	sqlite_checkpoint_now(s, db);
	stage_note(&s->checkpoints, mono_now().ns - began.ns);
}

static void checkpointer_run(void *arg)
{
	struct sqlite_engine *s = arg;
	sqlite3_stmt *ahead;
	sqlite3 *db = NULL;
	int64_t read_to = 0;
	struct work w;
	struct err e;

	task_patient(); /* no request waits for it */
	err_init(&e);
	if (sqlite_connect(s, false, &db, &e) < 0) {
		log_warn("%s (writers checkpoint by themselves)", e.message);
		atomic_store(&s->read_to, INT64_MAX);
		return;
	}
	sqlite3_progress_handler(db, 1000, stop_asked, s);
	quick_check(s, db);
	sqlite3_progress_handler(db, 0, NULL, NULL);
	sqlite3_exec(db, "PRAGMA synchronous=FULL; PRAGMA query_only=0; PRAGMA cache_size=-64", NULL, NULL, NULL);
	sqlite3_db_release_memory(db);
	ahead = ahead_query(db);
	while (wait_for_work(s, read_to, &w)) {
		if (w.checkpoint)
			timed_checkpoint(s, db);
		if (w.ahead > read_to) {
			read_to = read_ahead(ahead, MAX(read_to, w.ahead - AHEAD_ROWS), w.ahead);
			atomic_store(&s->read_to, read_to);
		}
	}
	sqlite3_finalize(ahead);
	sqlite3_close(db);
}

void sqlite_checkpointer_start(struct sqlite_engine *s)
{
	s->checkpointer = task_spawn("store-checkpt", checkpointer_run, s);
}

void sqlite_checkpointer_stop(struct sqlite_engine *s)
{
	if (!s->checkpointer)
		return;
	task_lock(&s->lock);
	s->stop = true;
	task_broadcast(&s->work);
	task_unlock(&s->lock);
	s->checkpointer = task_join(s->checkpointer);
}

/* The SQLite engine: writing and compaction. All of it by who does the store's work. */
#include "base/log.h"
#include "store/sqlite_internal.h"
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "store"
#define FEW_PAGES 64          /* of the log: folded in a moment */
#define SWEEP_MOST_NS 1000000 /* a piece of compaction, without its commit */

static void bind_bytes(sqlite3_stmt *q, int i, struct str s)
{
	sqlite3_bind_blob64(q, i, s.n ? s.p : "", s.n, SQLITE_STATIC);
}

/* Runs a statement without rows. Returns SQLite's code; the statement can be used again. */
static int run(sqlite3_stmt *q)
{
	int r = sqlite3_step(q);

	sqlite3_reset(q);
	return r == SQLITE_DONE ? SQLITE_OK : r;
}

_Noreturn void sqlite_unknown(const struct sqlite_engine *s, sqlite3 *db, const char *what)
{
	int os = sqlite3_system_errno(db);

	log_error("store %s: %s failed: %s (%d)%s%s. Nobody can tell whether the last writes are on the disk: this "
		  "process ends, and the next "
		  "one starts from what the file holds",
		s->path, what, sqlite3_errmsg(db), sqlite3_extended_errcode(db), os ? ": " : "",
		os ? strerror(os) : "");
	_exit(70);
}

static int sqlite_begin(void *self, struct err *e)
{
	struct sqlite_engine *s = self;

	s->revision = s->committed;
	return run(s->begin) == SQLITE_OK ? 0 : sqlite_fail(s, s->db, "beginning a transaction", e);
}

static void sqlite_rollback(void *self)
{
	struct sqlite_engine *s = self;

	s->revision = s->committed;
	/* Full disks and I/O errors may have rolled back already. */
	if (!sqlite3_get_autocommit(s->db))
		run(s->rollback);
}

/* The key's newest revision; *created 0: it does not exist (now). */
static int find(struct sqlite_engine *s, struct str key, int64_t *rev, int64_t *created)
{
	int r;

	*rev = *created = 0;
	bind_bytes(s->find, 1, key);
	r = sqlite3_step(s->find);
	if (r == SQLITE_ROW) {
		*rev = sqlite3_column_int64(s->find, 0);
		*created = sqlite3_column_int64(s->find, 1);
	}
	sqlite3_reset(s->find);
	return r == SQLITE_ROW || r == SQLITE_DONE ? SQLITE_OK : r;
}

/* Whether a key's newest revision is one of its own. */
static int check_link(struct sqlite_engine *s, struct str key, int64_t rev, int64_t created, struct err *e)
{
	int r;

	sqlite3_bind_int64(s->linked, 1, rev);
	bind_bytes(s->linked, 2, key);
	sqlite3_bind_int64(s->linked, 3, created);
	r = sqlite3_step(s->linked);
	sqlite3_reset(s->linked);
	if (r == SQLITE_ROW)
		return 0;
	return r == SQLITE_DONE ? sqlite_unlinked(s, key, rev, e) : sqlite_fail(s, s->db, "looking for a revision", e);
}

static int add_row(struct sqlite_engine *s, const struct store_write *w, int64_t rev, int64_t created, int64_t prev)
{
	struct str value = w->del ? STR("") : w->value;
	int64_t flags = w->del ? ROW_DELETED : 0;

	sqlite3_bind_int64(s->add, 1, rev);
	sqlite3_bind_int64(s->add, 2, flags);
	sqlite3_bind_int64(s->add, 3, created);
	sqlite3_bind_int64(s->add, 4, prev);
	sqlite3_bind_int64(s->add, 5, (int64_t)sqlite_row_sum(rev, flags, created, prev, w->key, value));
	bind_bytes(s->add, 6, w->key);
	bind_bytes(s->add, 7, value);
	return run(s->add);
}

static int set_current(struct sqlite_engine *s, struct str key, int64_t rev, int64_t created)
{
	bind_bytes(s->set, 1, key);
	sqlite3_bind_int64(s->set, 2, rev);
	sqlite3_bind_int64(s->set, 3, created);
	return run(s->set);
}

static int sqlite_put(void *self, const struct store_write *w, struct store_done *ret, bool *broken, struct err *e)
{
	struct sqlite_engine *s = self;
	int64_t prev, was, rev = s->revision + 1, created;
	int r;

	if (find(s, w->key, &prev, &was) != SQLITE_OK) {
		*broken = true;
		return sqlite_fail(s, s->db, "looking for a key", e);
	}
	/* A writer who knows it has seen it: only what he is to be told, or to follow unseen, costs a second look. */
	if (prev && !(was && w->expect_revision == prev + s->base) && check_link(s, w->key, prev, was, e) < 0)
		return -e->code;
	r = store_check(w, was ? prev + s->base : 0, e);
	if (r < 0)
		return r;
	created = was ? was : rev;
	if (add_row(s, w, rev, created, prev) != SQLITE_OK ||
		set_current(s, w->key, rev, w->del ? 0 : created) != SQLITE_OK) {
		*broken = true;
		return sqlite_fail(s, s->db, "writing", e);
	}
	s->revision = rev;
	*ret = (struct store_done){ rev + s->base, created + s->base };
	return 0;
}

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct sqlite_engine *s = arg;

	s->wal_pages = pages;
	return SQLITE_OK;
}

/* What the file does not have yet. */
static int pages_left(struct sqlite_engine *s)
{
	int folded = atomic_load_explicit(&s->folded_pages, memory_order_relaxed);

	/* More than there are: that was the log before this one. */
	return folded > s->wal_pages ? s->wal_pages : s->wal_pages - folded;
}

/* The checkpoint task folds the log in pieces of a quarter of its limit. From half of the limit on it goes after every
 * commit, until for a moment it is level with the writers: then SQLite begins the log anew. Writers seldom let that be: the
 * log is levelled behind their answers, when little is left. One who writes alone hardly waits for it; a crowd would wait for
 * the file's fsync: its log is levelled only at twice the limit, and with much left only at three times. */
static bool sqlite_fold(void *self, bool alone)
{
	struct sqlite_engine *s = self;
	int most = s->wal_pages_max, left = pages_left(s);
	bool half = s->wal_pages > most / 2;

	sqlite_shown_note(s);
	sqlite_stand_aside(s, s->wal_pages > most && left > 0);
	if (s->wal_pages > 3 * most)
		return false;
	if (alone ? half && left <= FEW_PAGES : s->wal_pages > 2 * most && left <= most / 8)
		return false;
	if (!half && left <= most / 4)
		return true;
	task_lock(&s->lock);
	s->want_checkpoint = true;
	task_signal(&s->work);
	task_unlock(&s->lock);
	return true;
}

static void sqlite_level(void *self)
{
	struct sqlite_engine *s = self;

	sqlite_checkpoint_now(s, s->db);
}

static int sqlite_commit(void *self, struct err *e)
{
	struct sqlite_engine *s = self;
	int r;

	sqlite3_wal_hook(s->db, on_wal, s);
	if (run(s->commit) != SQLITE_OK) {
		r = sqlite_fail(s, s->db, "committing", e);
		if (r != -ERR_FULL)
			sqlite_unknown(s, s->db, "COMMIT");
		sqlite_rollback(s);
		return r;
	}
	s->committed = s->revision;
	return 0;
}

/* ---- compaction ------------------------------------------------------------------------------ */

static int set_meta(struct sqlite_engine *s, const char *name, int64_t value)
{
	sqlite3_bind_text(s->set_meta, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s->set_meta, 2, value);
	return run(s->set_meta);
}

static int sqlite_compact(void *self, int64_t revision, struct err *e)
{
	struct sqlite_engine *s = self;
	int r = sqlite_begin(s, e);

	if (r < 0)
		return r;
	if (set_meta(s, "compacted", revision - s->base) != SQLITE_OK) {
		r = sqlite_fail(s, s->db, "compacting", e);
		sqlite_rollback(s);
		return r;
	}
	r = sqlite_commit(s, e);
	if (r == 0) {
		s->compacted = revision - s->base;
		sqlite_ask_ahead(s);
	}
	return r;
}

static int drop_row(struct sqlite_engine *s, int64_t rev)
{
	sqlite3_bind_int64(s->drop_row, 1, rev);
	return run(s->drop_row);
}

/* Every row at or below `compacted` that has a successor there is history: its successor names it as prev. A deletion
 * goes with what it deleted. */
static int sweep_row(struct sqlite_engine *s, int64_t rev, int64_t flags, int64_t prev, struct str key)
{
	int r = prev ? drop_row(s, prev) : SQLITE_OK;

	if (r != SQLITE_OK || !(flags & ROW_DELETED))
		return r;
	bind_bytes(s->drop_key, 1, key);
	sqlite3_bind_int64(s->drop_key, 2, rev);
	r = run(s->drop_key);
	return r == SQLITE_OK ? drop_row(s, rev) : r;
}

/* Where rows are not in memory a few take long: the next writers wait no longer than that for them. */
static int sweep_window(struct sqlite_engine *s, size_t rows, int64_t to, int64_t *ret_swept)
{
	struct mono end = { mono_now().ns + SWEEP_MOST_NS };
	int r;

	sqlite3_bind_int64(s->window, 1, s->swept);
	sqlite3_bind_int64(s->window, 2, to);
	while ((r = sqlite3_step(s->window)) == SQLITE_ROW) {
		int64_t rev = sqlite3_column_int64(s->window, 0);
		struct str key = { sqlite3_column_blob(s->window, 3), (size_t)sqlite3_column_bytes(s->window, 3) };

		r = sweep_row(s, rev, sqlite3_column_int64(s->window, 1), sqlite3_column_int64(s->window, 2), key);
		if (r != SQLITE_OK)
			break;
		*ret_swept = rev;
		if (--rows == 0 || !mono_before(mono_now(), end))
			break;
	}
	sqlite3_reset(s->window);
	if (r == SQLITE_DONE)
		*ret_swept = to;
	return r == SQLITE_DONE ? SQLITE_OK : r;
}

/* A sweep that a power loss takes back is done again: it needs no fsync of its own. The next write's covers it. */
static void set_durable(struct sqlite_engine *s, bool durable)
{
	sqlite3_exec(s->db, durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
}

static int sweep_once(struct sqlite_engine *s, size_t rows, int64_t to, struct err *e)
{
	int64_t swept = s->swept;
	int r = sqlite_begin(s, e);

	if (r < 0)
		return r;
	if (sweep_window(s, rows, to, &swept) != SQLITE_OK || set_meta(s, "swept", swept) != SQLITE_OK) {
		r = sqlite_fail(s, s->db, "compacting", e);
		sqlite_rollback(s);
		return r;
	}
	r = sqlite_commit(s, e);
	if (r == 0)
		s->swept = swept;
	return r;
}

/* One small transaction, of rows that are in memory. */
static enum sweep sqlite_sweep(void *self, size_t rows)
{
	struct sqlite_engine *s = self;
	int64_t to = MIN(s->compacted, atomic_load_explicit(&s->read_to, memory_order_relaxed));
	struct err e;
	int r;

	if (s->swept >= s->compacted)
		return SWEEP_DONE;
	sqlite_ask_ahead(s);
	if (s->swept >= to)
		return SWEEP_LATER;
	err_init(&e);
	set_durable(s, false);
	r = sweep_once(s, rows, to, &e);
	set_durable(s, true);
	if (r < 0)
		log_warn("%s (compaction is tried again later)", e.message);
	return r == 0 && s->swept < s->compacted ? SWEEP_MORE : SWEEP_DONE;
}

static struct stage *sqlite_checkpoints(void *self)
{
	struct sqlite_engine *s = self;

	return &s->checkpoints;
}

static int64_t sqlite_bytes(void *self)
{
	struct sqlite_engine *s = self;
	auto_free char *wal = xasprintf("%s-wal", s->path);
	struct stat a = { 0 }, b = { 0 };

	(void)stat(s->path, &a);
	(void)stat(wal, &b);
	return (int64_t)a.st_size + (int64_t)b.st_size;
}

static void sqlite_close(void *self)
{
	sqlite_engine_free(self);
}

const struct store_engine sqlite_engine_ops = {
	.name = "sqlite",
	.begin = sqlite_begin,
	.put = sqlite_put,
	.commit = sqlite_commit,
	.rollback = sqlite_rollback,
	.range = sqlite_range,
	.replay = sqlite_replay,
	.compact = sqlite_compact,
	.sweep = sqlite_sweep,
	.fold = sqlite_fold,
	.level = sqlite_level,
	.checkpoints = sqlite_checkpoints,
	.bytes = sqlite_bytes,
	.close = sqlite_close,
};

/* Opening the file: one owner, the right settings, the tables, and clear words when something is wrong with it. */
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "store/sqlite_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define LOG_MODULE "store"
#define PAGE_BYTES 4096

/* ---- errors ---------------------------------------------------------------------------------- */

int sqlite_damaged(const struct sqlite_engine *s, struct err *e, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	for (char *p = what; *p; p++)
		if (*p < ' ' || *p > '~') /* it is of a damaged file, and goes to terminals */
			*p = *p == '\n' ? ' ' : '?';
	return err_set(e, ERR_INTERNAL,
		"the store %s is damaged: %s. The way back: stop Kogge, move %s, %s-wal and %s-shm aside, put the "
		"newest backup of the "
		"file in their place and start again; without a backup, `sqlite3 %s .recover` saves what is readable",
		s->path, what, s->path, s->path, s->path, s->path);
}

int sqlite_unlinked(const struct sqlite_engine *s, struct str key, int64_t rev, struct err *e)
{
	return sqlite_damaged(
		s, e, "key \"%.*s\" and its revision %" PRId64 " do not belong together", STR_ARG(key), rev + s->base);
}

static bool no_room(int os)
{
	return os == ENOSPC || os == EDQUOT || os == EFBIG;
}

/* Why the last failed write to the log failed. What sqlite3_system_errno() tells is errno by the time that SQLite
 * reports: a lock that it tried in between may have changed it. */
static int log_errno(sqlite3 *db)
{
	sqlite3_file *log = NULL;
	int os = 0;

	if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK && log && log->pMethods)
		log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &os);
	return os;
}

static bool is_full(sqlite3 *db, int code)
{
	if (code == SQLITE_FULL)
		return true;
	if (code != SQLITE_IOERR)
		return false;
	return no_room(sqlite3_system_errno(db)) ||
		(sqlite3_extended_errcode(db) == SQLITE_IOERR_WRITE && no_room(log_errno(db)));
}

int sqlite_fail(const struct sqlite_engine *s, sqlite3 *db, const char *what, struct err *e)
{
	int code = sqlite3_errcode(db);
	int os = sqlite3_system_errno(db);

	if (is_full(db, code))
		return err_set(e, ERR_FULL,
			"the store cannot grow, the file system of %s is full: free some space there; nothing was "
			"changed",
			s->path);
	switch (code) {
	case SQLITE_OK:
		return sqlite_damaged(s, e, "%s: a row is missing", what);
	case SQLITE_CORRUPT:
		return sqlite_damaged(s, e, "%s: %s", what, sqlite3_errmsg(db));
	case SQLITE_NOTADB:
		return sqlite_damaged(s, e, "it is not a SQLite database");
	case SQLITE_PERM:
	case SQLITE_AUTH:
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
		return err_set(e, ERR_FORBIDDEN,
			"store %s: %s: %s%s%s; Kogge must be able to read and write the file and its folder", s->path,
			what, sqlite3_errmsg(db), os ? ": " : "", os ? strerror(os) : "");
	case SQLITE_TOOBIG:
		return err_set(e, ERR_TOO_LARGE, "store %s: %s: %s", s->path, what, sqlite3_errmsg(db));
	default:
		return err_set(e, ERR_IO, "store %s: %s: %s (%d)%s%s", s->path, what, sqlite3_errmsg(db),
			sqlite3_extended_errcode(db), os ? ": " : "", os ? strerror(os) : "");
	}
}

/* The first value of a query's first row as text. */
static bool first_is(sqlite3 *db, const char *sql, const char *want)
{
	sqlite3_stmt *q = NULL;
	bool same = false;

	if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) {
		const char *got = (const char *)sqlite3_column_text(q, 0);

		same = got && strcmp(got, want) == 0;
	}
	sqlite3_finalize(q);
	return same;
}

/* ---- connections ----------------------------------------------------------------------------- */

int sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret)
{
	return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) == SQLITE_OK ? 0 : -1;
}

static int set_up(const struct sqlite_engine *s, sqlite3 *db, bool writer, struct err *e)
{
	static const char common[] =
		"PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; PRAGMA trusted_schema=0; PRAGMA cell_size_check=1;";
	/* The log's file is never cut in ordinary work (sqlite_fold() keeps it below three times its limit, and a commit):
	 * writes over blocks that are there are cheaper to sync than new ones, and whose commit cuts it waits for that. */
	auto_free char *for_writer =
		xasprintf("PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			  "PRAGMA cache_size=-1024; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=%" PRId64,
			4 * s->wal_bytes);
	static const char for_reader[] = "PRAGMA cache_size=-256; PRAGMA query_only=1;";

	sqlite3_busy_timeout(db, 5000);
	sqlite3_extended_result_codes(db, 0);
	if (sqlite3_exec(db, common, NULL, NULL, NULL) != SQLITE_OK ||
		sqlite3_exec(db, writer ? for_writer : for_reader, NULL, NULL, NULL) != SQLITE_OK)
		return sqlite_fail(s, db, "opening", e);
	if (writer && !first_is(db, "PRAGMA journal_mode", "wal"))
		return err_set(e, ERR_UNSUPPORTED,
			"store %s: its file system cannot hold a write-ahead log (shared memory and locks are needed): "
			"use a local disk",
			s->path);
	return 0;
}

int sqlite_connect(const struct sqlite_engine *s, bool writer, sqlite3 **ret, struct err *e)
{
	sqlite3 *db = NULL;
	int r;

	if (sqlite3_open_v2(s->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) !=
		SQLITE_OK) {
		r = db ? sqlite_fail(s, db, "opening", e) : err_set(e, ERR_IO, "store %s: out of memory", s->path);
		sqlite3_close(db);
		return r;
	}
	r = set_up(s, db, writer, e);
	if (r < 0) {
		sqlite3_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

/* ---- the file's own facts -------------------------------------------------------------------- */

int sqlite_read_int(sqlite3 *db, const char *sql, int64_t *ret)
{
	sqlite3_stmt *q = NULL;
	int r = -1;

	if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK)
		return -1;
	if (sqlite3_step(q) == SQLITE_ROW) {
		*ret = sqlite3_column_int64(q, 0);
		r = 0;
	}
	sqlite3_finalize(q);
	return r;
}

static const struct {
	const char *name, *sql;
} tables[] = {
	{ "meta", "CREATE TABLE meta(name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID" },
	{ "revision",
		"CREATE TABLE revision(rev INTEGER PRIMARY KEY, flags INTEGER NOT NULL, created INTEGER NOT NULL,"
		" prev INTEGER NOT NULL, sum INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL)" },
	{ "current",
		"CREATE TABLE current(key BLOB PRIMARY KEY, rev INTEGER NOT NULL, created INTEGER NOT NULL) WITHOUT "
		"ROWID" },
};

/* Of what meta says once and for all; what changes with every sweep is left out. */
static int meta_sum(sqlite3 *db, int64_t *ret)
{
	sqlite3_stmt *q = NULL;
	uint64_t sum = SQLITE_STORE_FORMAT;
	int r;

	if (sqlite_prepare(db,
		    "SELECT name || '=' || value FROM meta WHERE name NOT IN ('sum','compacted','swept') ORDER BY name",
		    &q) < 0)
		return -1;
	while ((r = sqlite3_step(q)) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(q, 0);

		sum = store_sum(sum, str_n(text, (size_t)sqlite3_column_bytes(q, 0)));
	}
	sqlite3_finalize(q);
	*ret = (int64_t)sum;
	return r == SQLITE_DONE ? 0 : -1;
}

static int change_meta(sqlite3 *db, const char *sql)
{
	auto_free char *add = NULL;
	int64_t sum;

	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK || meta_sum(db, &sum) < 0)
		return -1;
	add = xasprintf("INSERT OR REPLACE INTO meta VALUES('sum',%" PRId64 "); COMMIT", sum);
	return sqlite3_exec(db, add, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

int sqlite_change_meta(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK ? change_meta(db, sql) : -1;
}

static int create_tables(struct sqlite_engine *s, struct err *e)
{
	auto_buf struct buf sql = BUF_INIT;
	char uid[UUID_TEXT_MAX];
	int fd;

	rand_uuid(uid);
	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		buf_printf(&sql, "%s;", tables[i].sql);
	/* base 1: an empty store shows revision 1, as etcd does, because 0 means "any" to clients. */
	buf_printf(&sql,
		"PRAGMA application_id=%d; INSERT INTO meta VALUES('format',%d),('uid','%s'),('base',1),('compacted',0),"
		"('swept',0)",
		SQLITE_STORE_APP_ID, SQLITE_STORE_FORMAT, uid);
	buf_byte(&sql, 0);
	if (sqlite_change_meta(s->db, sql.p) < 0)
		return sqlite_fail(s, s->db, "making the tables", e);
	/* The names of the new files, too, must survive a power loss. */
	auto_free char *dir = xstrdup(s->path);
	char *slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0) {
		if (fd >= 0)
			close(fd);
		return err_errno(e, errno, "store: fsync %s", dir);
	}
	close(fd);
	return 0;
}

static int check_tables(const struct sqlite_engine *s, sqlite3 *db, struct err *e)
{
	sqlite3_stmt *q = NULL;
	int r = 0;

	if (sqlite_prepare(db, "SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?1 AND tbl_name=?1 AND sql=?2",
		    &q) < 0)
		return sqlite_fail(s, db, "reading the tables", e);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(tables); i++) {
		sqlite3_bind_text(q, 1, tables[i].name, -1, SQLITE_STATIC);
		sqlite3_bind_text(q, 2, tables[i].sql, -1, SQLITE_STATIC);
		if (sqlite3_step(q) != SQLITE_ROW)
			r = sqlite_damaged(s, e, "table %s is not there as it was made", tables[i].name);
		sqlite3_reset(q);
	}
	sqlite3_finalize(q);
	return r;
}

/* A store that was made before there was a sum has none. */
static int check_meta(const struct sqlite_engine *s, sqlite3 *db, struct err *e)
{
	static const char possible[] =
		"SELECT count(*) FROM meta c JOIN meta s WHERE c.name='compacted' AND s.name='swept' AND"
		" s.value BETWEEN 0 AND c.value AND"
		" c.value <= (SELECT coalesce(max(rev),0) FROM revision) + 4294967296 AND NOT EXISTS (SELECT 1 FROM meta WHERE"
		" typeof(name)<>'text' OR typeof(value) <> CASE name WHEN 'uid' THEN 'text' ELSE 'integer' END)";
	int64_t said, sum, fine = 0;

	if (meta_sum(db, &sum) < 0 || sqlite_read_int(db, possible, &fine) < 0)
		return sqlite_fail(s, db, "reading what the store says of itself", e);
	if (sqlite_read_int(db, "SELECT value FROM meta WHERE name='sum'", &said) == 0 && said != sum)
		return sqlite_damaged(s, e, "the checksum of what it says of itself is wrong");
	return fine ? 0 : sqlite_damaged(s, e, "what it says of itself cannot be");
}

int sqlite_recognize(const struct sqlite_engine *s, sqlite3 *db, struct err *e)
{
	int64_t app = 0, format = 0;

	if (sqlite_read_int(db, "PRAGMA application_id", &app) < 0)
		return sqlite_fail(s, db, "reading the file", e);
	if (app != SQLITE_STORE_APP_ID)
		return err_set(e, ERR_INVALID,
			"%s is no store of Kogge's: it is empty, or a SQLite database of another program", s->path);
	if (sqlite_read_int(db, "SELECT value FROM meta WHERE name='format'", &format) == 0 &&
		format > SQLITE_STORE_FORMAT)
		return err_set(e, ERR_UNSUPPORTED,
			"the store %s has format %" PRId64
			" and this Kogge knows up to %d: take the newer version that wrote it",
			s->path, format, SQLITE_STORE_FORMAT);
	if (check_tables(s, db, e) < 0)
		return -e->code;
	return check_meta(s, db, e);
}

int sqlite_read_facts(struct sqlite_engine *s, sqlite3 *db, struct err *e)
{
	sqlite3_stmt *q = NULL;
	int64_t newest = 0;

	if (sqlite_read_int(db, "SELECT value FROM meta WHERE name='base'", &s->base) < 0 ||
		sqlite_read_int(db, "SELECT value FROM meta WHERE name='compacted'", &s->compacted) < 0 ||
		sqlite_read_int(db, "SELECT value FROM meta WHERE name='swept'", &s->swept) < 0 ||
		sqlite_read_int(db, "SELECT coalesce(max(rev),0) FROM revision", &newest) < 0)
		return sqlite_fail(s, db, "reading the revisions", e);
	/* The newest row may be a deletion that compaction took: a revision never comes back. */
	s->committed = s->revision = MAX(newest, s->compacted);
	if (sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE name='uid'", -1, &q, NULL) == SQLITE_OK &&
		sqlite3_step(q) == SQLITE_ROW)
		snprintf(s->uid, sizeof(s->uid), "%s", (const char *)sqlite3_column_text(q, 0));
	sqlite3_finalize(q);
	return 0;
}

/* A backup that takes the place of the file it came from would show revisions a second time. It carries the time it was
 * made: the base moves above whatever the original can have shown since (it cannot write faster than this), and above what
 * was shown in this place, where that is known: clocks go wrong. All history before counts as compacted, so
 * that every old watcher lists anew. */
#define REVISIONS_PER_S_MAX 20000
static int become_the_original(struct sqlite_engine *s, struct err *e)
{
	int64_t made = 0, above = 0, jump;
	auto_free char *sql = NULL;

	if (sqlite_read_int(s->db, "SELECT value FROM meta WHERE name='copied'", &made) < 0)
		return 0;
	(void)sqlite_read_int(s->db, "SELECT value FROM meta WHERE name='above'", &above); /* may be missing */
	jump = 1000000 + MAX(wall_s(wall_now()) - made, 0) * REVISIONS_PER_S_MAX;
	above = MAX(above, s->shown.revision);
	jump = MAX(jump, above + 1 - s->base - s->committed);
	sql = xasprintf("UPDATE meta SET value=value+%" PRId64 " WHERE name='base';"
			"UPDATE meta SET value=%" PRId64
			" WHERE name='compacted'; DELETE FROM meta WHERE name IN ('copied','above')",
		jump, s->committed);
	if (sqlite_change_meta(s->db, sql) < 0)
		return sqlite_fail(s, s->db, "taking over a backup", e);
	s->base += jump;
	s->compacted = s->committed;
	log_info("store %s is a backup: it goes on at revision %" PRId64 ", above all that were ever shown", s->path,
		s->committed + s->base);
	return 0;
}

static int need_tables(struct sqlite_engine *s, struct err *e)
{
	int64_t n = 0;

	if (sqlite_read_int(s->db, "SELECT count(*) FROM sqlite_schema", &n) < 0)
		return sqlite_fail(s, s->db, "reading the file", e);
	return n ? 0 : create_tables(s, e);
}

/* Who was killed may have left what he had not synced, and from here on it is shown. */
static int sync_log(struct sqlite_engine *s, struct err *e)
{
	auto_free char *log = xasprintf("%s-wal", s->path);
	int fd = open(log, O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, errno, "store: open %s", log);
	if (fdatasync(fd) < 0)
		r = err_errno(e, errno, "store: fsync %s", log);
	close(fd);
	return r < 0 ? r : file_sync_name(log, e);
}

static int open_tables(struct sqlite_engine *s, bool existing, struct err *e)
{
	int r = existing ? 0 : need_tables(s, e);

	if (r == 0)
		r = sqlite_recognize(s, s->db, e);
	if (r == 0)
		r = sqlite_read_facts(s, s->db, e);
	if (r == 0)
		r = sqlite_shown_check(s, s->db, e);
	if (r == 0)
		r = sync_log(s, e);
	return r < 0 ? r : become_the_original(s, e);
}

static int prepare_all(struct sqlite_engine *s, struct err *e)
{
	const struct {
		sqlite3_stmt **stmt;
		const char *sql;
	} all[] = {
		{ &s->begin, "BEGIN IMMEDIATE" },
		{ &s->commit, "COMMIT" },
		{ &s->rollback, "ROLLBACK" },
		{ &s->find, "SELECT rev, created FROM current WHERE key=?1" },
		{ &s->linked,
			"SELECT 1 FROM revision WHERE rev=?1 AND key=?2 AND (flags & 1)=(?3=0) AND ?3 IN (0, created)" },
		{ &s->add, "INSERT INTO revision VALUES(?1,?2,?3,?4,?5,?6,?7)" },
		{ &s->set,
			"INSERT INTO current VALUES(?1,?2,?3) ON CONFLICT(key) DO UPDATE SET rev=excluded.rev, "
			"created=excluded.created" },
		{ &s->drop_row, "DELETE FROM revision WHERE rev=?1" },
		{ &s->drop_key, "DELETE FROM current WHERE key=?1 AND rev=?2" },
		{ &s->window, "SELECT rev, flags, prev, key FROM revision WHERE rev>?1 AND rev<=?2 ORDER BY rev" },
		{ &s->set_meta, "UPDATE meta SET value=?2 WHERE name=?1" },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (sqlite_prepare(s->db, all[i].sql, all[i].stmt) < 0)
			return sqlite_fail(s, s->db, "reading the tables", e);
	}
	return 0;
}

/* ---- one owner ------------------------------------------------------------------------------- */

/* Two processes on one file would each believe in their own newest revision. The kernel drops this lock with its
 * owner. */
int store_lock_sqlite(const char *path, int *ret_fd, struct err *e)
{
	auto_free char *name = xasprintf("%s-lock", path);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600), failed;
	char pid[32] = "";
	ssize_t n;

	if (fd < 0)
		return err_errno(e, errno, "store: open %s", name);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		*ret_fd = fd;
		return 0;
	}
	failed = errno;
	n = pread(fd, pid, sizeof(pid) - 1, 0);
	close(fd);
	if (failed != EWOULDBLOCK)
		return err_errno(e, failed, "store: lock %s", name);
	return err_set(e, ERR_UNAVAILABLE,
		"the store %s is in use by another Kogge (process %.*s): stop that one first", path, n > 0 ? (int)n : 7,
		n > 0 ? pid : "unknown");
}

static int lock_file(struct sqlite_engine *s, struct err *e)
{
	char pid[32] = "";
	int n;

	if (store_lock_sqlite(s->path, &s->lock_fd, e) < 0)
		return -e->code;
	n = snprintf(pid, sizeof(pid), "%d", (int)getpid());
	/* The number only serves the message above. */
	if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) < 0)
		log_warn("cannot note the process id in %s-lock: %s", s->path, strerror(errno));
	return 0;
}

/* Private from the first byte on, where it is new. */
static int open_private(const struct sqlite_engine *s, bool existing, struct err *e)
{
	int fd = open(s->path, O_RDWR | O_CLOEXEC | (existing ? 0 : O_CREAT), 0600);

	if (fd < 0)
		return err_errno(e, errno, "store: open %s", s->path);
	close(fd);
	return 0;
}

void sqlite_engine_free(struct sqlite_engine *s)
{
	sqlite3_stmt *all[] = { s->begin, s->commit, s->rollback, s->find, s->linked, s->add, s->set, s->drop_row,
		s->drop_key, s->window, s->set_meta };

	sqlite_checkpointer_stop(s);
	sqlite_readers_close(s);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		sqlite3_finalize(all[i]);
	sqlite3_close(s->db); /* the last one: folds the log into the file */
	if (s->shown_fd >= 0)
		close(s->shown_fd);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	task_cond_fini(&s->work);
	task_mutex_fini(&s->lock);
	free(s->path);
	free(s);
}

static void once(void)
{
	/* Each connection has one user at a time, and nobody reads the allocator's statistics: no global locks. */
	sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

void sqlite_configure(void)
{
	static pthread_once_t configured = PTHREAD_ONCE_INIT;

	pthread_once(&configured, once);
}

static struct sqlite_engine *engine_new(const char *path, int64_t wal_bytes)
{
	struct sqlite_engine *s = xcalloc(1, sizeof(*s));

	sqlite_configure();
	s->path = xstrdup(path);
	s->lock_fd = s->shown_fd = -1;
	s->wal_bytes = wal_bytes ? wal_bytes : 16 << 20;
	s->wal_pages_max = (int)(s->wal_bytes / PAGE_BYTES);
	task_mutex_init(&s->lock);
	task_cond_init(&s->work);
	return s;
}

static int own_file(struct sqlite_engine *s, bool existing, struct err *e)
{
	int r = lock_file(s, e);

	s->shown = sqlite_shown_read(s->path);
	if (r == 0)
		r = open_private(s, existing, e);
	return r == 0 ? sqlite_connect(s, true, &s->db, e) : r;
}

int store_make_sqlite(const char *path, struct err *e)
{
	struct sqlite_engine *s = engine_new(path, 0);
	int r = own_file(s, false, e);

	if (r == 0)
		r = need_tables(s, e);
	sqlite_engine_free(s);
	return r;
}

int store_open_sqlite(const struct store_sqlite_opts *o, struct store **ret, struct err *e)
{
	struct sqlite_engine *s = engine_new(o->path, o->wal_bytes);
	int r = own_file(s, o->existing, e);

	if (r == 0)
		r = open_tables(s, o->existing, e);
	if (r == 0)
		r = prepare_all(s, e);
	if (r < 0) {
		sqlite_engine_free(s);
		return r;
	}
	sqlite_shown_begin(s);
	sqlite_checkpointer_start(s);
	*ret = store_new(&sqlite_engine_ops, s, s->committed + s->base, s->compacted + s->base, s->uid);
	return 0;
}

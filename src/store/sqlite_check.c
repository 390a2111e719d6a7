/* The whole file, read once: `kogge store check`, and copies. */
#include "base/file.h"
#include "store/sqlite_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_ROWS 1000 /* in one statement, so that a scan of a live store holds nothing back */

static int check_structure(const struct sqlite_engine *s, sqlite3 *db, struct err *e)
{
	sqlite3_stmt *q = NULL;
	const char *verdict = NULL;
	int r = 0;

	if (sqlite_prepare(db, "PRAGMA integrity_check(1)", &q) == 0 && sqlite3_step(q) == SQLITE_ROW)
		verdict = (const char *)sqlite3_column_text(q, 0);
	if (!verdict)
		r = sqlite_fail(s, db, "checking", e);
	else if (strcmp(verdict, "ok") != 0)
		r = sqlite_damaged(s, e, "%s", verdict);
	sqlite3_finalize(q);
	return r;
}

/* What is done with every row of a scan. */
struct visit {
	void (*each)(void *arg, struct str key, struct str value); /* NULL: rows are only checked */
	void *arg;
	int64_t rows;
};

/* A page of rows after *last; *ret_n counts. */
static int scan_page(
	const struct sqlite_engine *s, sqlite3_stmt *q, struct visit *v, int64_t *last, int64_t *ret_n, struct err *e)
{
	struct sqlite_row row;
	int step, r = 0;

	*ret_n = 0;
	sqlite3_bind_int64(q, 1, *last);
	sqlite3_bind_int64(q, 2, CHECK_ROWS);
	while (r == 0 && (step = sqlite3_step(q)) == SQLITE_ROW) {
		r = sqlite_row_read(s, q, &row, e);
		if (r == 0 && v->each && !(row.flags & ROW_DELETED))
			v->each(v->arg, row.key, row.value);
		*last = sqlite3_column_int64(q, COL_REV);
		++*ret_n;
	}
	if (r == 0 && step != SQLITE_DONE)
		r = sqlite_fail(s, sqlite3_db_handle(q), "reading", e);
	sqlite3_reset(q);
	return r;
}

static int scan_rows(const struct sqlite_engine *s, sqlite3 *db, bool history, struct visit *v, struct err *e)
{
	static const char all[] =
		"SELECT " SQLITE_ROW_COLUMNS " FROM revision r WHERE r.rev > ?1 ORDER BY r.rev LIMIT ?2";
	static const char newest[] =
		"SELECT " SQLITE_ROW_COLUMNS
		" FROM revision r JOIN current c ON c.key = r.key AND c.rev = r.rev WHERE r.rev > ?1 ORDER BY r.rev LIMIT ?2";
	sqlite3_stmt *q = NULL;
	int64_t n = 0, last = 0;
	int r;

	if (sqlite_prepare(db, history ? all : newest, &q) < 0)
		return sqlite_fail(s, db, "reading", e);
	do {
		r = scan_page(s, q, v, &last, &n, e);
		v->rows += n;
	} while (r == 0 && n == CHECK_ROWS);
	sqlite3_finalize(q);
	return r;
}

static int check_links(const struct sqlite_engine *s, sqlite3 *db, struct err *e)
{
	/* A key whose newest row is missing, belongs to another key, or disagrees on when it was made or whether it was
	 * deleted. */
	static const char sql[] = "SELECT c.key, c.rev FROM current c LEFT JOIN revision r ON r.rev = c.rev"
				  " WHERE r.rev IS NULL OR r.key <> c.key OR (c.created = 0) <> (r.flags & 1)"
				  " OR c.created NOT IN (0, r.created) LIMIT 1";
	sqlite3_stmt *q = NULL;
	int r = 0, step;

	if (sqlite_prepare(db, sql, &q) < 0)
		return sqlite_fail(s, db, "reading", e);
	step = sqlite3_step(q);
	if (step == SQLITE_ROW)
		r = sqlite_unlinked(s, str_n(sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0)),
			sqlite3_column_int64(q, 1), e);
	else if (step != SQLITE_DONE)
		r = sqlite_fail(s, db, "reading", e);
	sqlite3_finalize(q);
	return r;
}

/* A file that may be in use: a connection to read it, and its facts. What a log lacks is no error here. */
static int open_to_read(struct sqlite_engine *s, sqlite3 **ret, struct err *e)
{
	sqlite3 *db = NULL;
	struct err lacks;
	int r;

	sqlite_configure();
	s->shown = sqlite_shown_read(s->path);
	if (access(s->path, R_OK) < 0)
		return err_errno(e, errno, "store %s", s->path);
	r = sqlite_connect(s, false, &db, e);
	if (r < 0)
		return r;
	r = sqlite_recognize(s, db, e);
	if (r == 0)
		r = sqlite_read_facts(s, db, e);
	if (r < 0) {
		sqlite3_close(db);
		return r;
	}
	err_init(&lacks);
	(void)sqlite_shown_check(s, db, &lacks);
	*ret = db;
	return 0;
}

int store_check_sqlite(const char *path, int64_t *ret_rows, struct err *e)
{
	struct sqlite_engine s = { .path = (char *)(uintptr_t)path };
	struct visit v = { 0 };
	sqlite3 *db = NULL;
	int r = open_to_read(&s, &db, e);

	if (r < 0)
		return r;
	r = check_structure(&s, db, e);
	if (r == 0)
		r = scan_rows(&s, db, true, &v, e);
	if (r == 0)
		r = check_links(&s, db, e);
	if (r == 0)
		r = sqlite_shown_check(&s, db, e);
	sqlite3_close(db);
	if (r == 0 && ret_rows)
		*ret_rows = v.rows;
	return r;
}

int store_scan_sqlite(const char *path, bool history, void (*each)(void *arg, struct str key, struct str value),
	void *arg, struct err *e)
{
	struct sqlite_engine s = { .path = (char *)(uintptr_t)path };
	struct visit v = { each, arg, 0 };
	sqlite3 *db = NULL;
	int r = open_to_read(&s, &db, e);

	if (r < 0)
		return r;
	r = scan_rows(&s, db, history, &v, e);
	sqlite3_close(db);
	return r;
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* On a file that has not its last name yet. Without a journal of its own: that of one who was killed would be rolled back
 * into the next file of this name. */
static int execute(const char *path, const char *sql, const char *what, struct err *e)
{
	const struct sqlite_engine s = { .path = (char *)(uintptr_t)path };
	sqlite3 *db = NULL;
	int r = 0;

	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
		sqlite3_exec(db, "PRAGMA journal_mode=MEMORY", NULL, NULL, NULL) != SQLITE_OK ||
		sqlite_change_meta(db, sql) < 0)
		r = sqlite_fail(&s, db, what, e);
	sqlite3_close(db);
	return r;
}

/* Tells a store that opens this file later that it is a copy, and how old (see sqlite_open.c). The copy of one that was not
 * opened is as old as that. */
static int mark_copy(const char *path, struct err *e)
{
	auto_free char *sql = xasprintf("INSERT OR IGNORE INTO meta VALUES('copied',%" PRId64 ")", wall_s(wall_now()));

	return execute(path, sql, "marking the backup", e);
}

/* Or what a copy that nobody has opened yet is to go on above. 0: nothing, or nobody can tell. */
static int64_t newest_shown(const char *path)
{
	struct sqlite_engine s = { .path = (char *)(uintptr_t)path };
	sqlite3 *db = NULL;
	int64_t above = 0;
	struct err e;

	err_init(&e);
	if (open_to_read(&s, &db, &e) < 0)
		return 0;
	(void)sqlite_read_int(db, "SELECT value FROM meta WHERE name='above'", &above); /* may be missing */
	sqlite3_close(db);
	return MAX(s.committed + s.base, above);
}

int store_succeed_sqlite(const char *path, const char *old, struct err *e)
{
	auto_free char *sql = xasprintf("INSERT OR IGNORE INTO meta VALUES('copied',%" PRId64 ");"
					"INSERT INTO meta VALUES('above',%" PRId64 ") ON CONFLICT(name) DO UPDATE "
					"SET value=max(value,excluded.value)",
		wall_s(wall_now()), newest_shown(old));

	sqlite_configure();
	return execute(path, sql, "marking the copy", e);
}

/* Empty, and private from its first byte on. */
static int make_file(const char *path, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(e, errno, "backup to %s", path);
	close(fd);
	return 0;
}

static int sync_file(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;

	if (fd < 0 || fsync(fd) < 0)
		r = err_errno(e, errno, "backup to %s", path);
	if (fd >= 0)
		close(fd);
	return r;
}

/* VACUUM INTO reads one moment; its file has no log and no holes. */
static int copy_moment(const struct sqlite_engine *s, const char *to, struct err *e)
{
	sqlite3_stmt *q = NULL;
	sqlite3 *db = NULL;
	int r = sqlite_connect(s, false, &db, e);

	if (r < 0)
		return r;
	sqlite3_exec(db, "PRAGMA query_only=0", NULL, NULL, NULL);
	if (sqlite_prepare(db, "VACUUM INTO ?1", &q) < 0 ||
		sqlite3_bind_text(q, 1, to, -1, SQLITE_STATIC) != SQLITE_OK || sqlite3_step(q) != SQLITE_DONE)
		r = sqlite_fail(s, db, "backup", e);
	sqlite3_finalize(q);
	sqlite3_close(db);
	return r;
}

/* It has its name when it is whole and on the disk. */
static int back_up(struct sqlite_engine *s, const char *to, struct err *e)
{
	auto_free char *fresh = xasprintf("%s.partial", to);
	int r;

	if (access(to, F_OK) == 0)
		return err_set(e, ERR_EXISTS, "backup: %s exists already", to);
	unlink(fresh); /* of one that was killed */
	r = make_file(fresh, e);
	if (r < 0)
		return r;
	r = copy_moment(s, fresh, e);
	if (r == 0)
		r = mark_copy(fresh, e);
	if (r == 0)
		r = sync_file(fresh, e);
	if (r == 0 && rename(fresh, to) < 0)
		r = err_errno(e, errno, "backup to %s", to);
	if (r == 0)
		return file_sync_name(to, e);
	unlink(fresh);
	return r == -ERR_FULL ? err_set(e, ERR_FULL, "backup to %s: the file system there is full", to) :
				err_wrap(e, "backup to %s", to);
}

int store_snapshot_sqlite(const char *path, const char *to, struct err *e)
{
	struct sqlite_engine s = { .path = (char *)(uintptr_t)path };
	sqlite3 *db = NULL;
	int r = open_to_read(&s, &db, e);

	if (r < 0)
		return r;
	r = back_up(&s, to, e);
	sqlite3_close(db);
	return r;
}

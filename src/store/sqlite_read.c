/* The SQLite engine: reading, on connections of its own. A page is one statement and one snapshot; nothing stays open
 * between pages, so a slow reader holds back neither checkpoints nor compaction. */
#include "store/sqlite_internal.h"
#include <endian.h>
#include <inttypes.h>

#define PAGE_ROWS 256

uint64_t sqlite_row_sum(int64_t rev, int64_t flags, int64_t created, int64_t prev, struct str key, struct str value)
{
	uint64_t numbers[] = { htole64((uint64_t)rev), htole64((uint64_t)flags), htole64((uint64_t)created),
		htole64((uint64_t)prev) };
	uint64_t sum = store_sum(SQLITE_STORE_FORMAT, str_n((const char *)numbers, sizeof(numbers)));

	return store_sum(store_sum(sum, key), value);
}

static struct str column_bytes(sqlite3_stmt *q, int i)
{
	const char *p = sqlite3_column_blob(q, i);

	return str_n(p, (size_t)sqlite3_column_bytes(q, i));
}

/* The sum is over the bytes alone: a flipped bit that makes text of a blob, or an empty blob of a zero, is no other number. */
static bool has_types(sqlite3_stmt *q)
{
	for (int i = COL_REV; i <= COL_VALUE; i++)
		if (sqlite3_column_type(q, i) != (i < COL_KEY ? SQLITE_INTEGER : SQLITE_BLOB))
			return false;
	return true;
}

/* Borrowed until the statement steps on. */
int sqlite_row_read(const struct sqlite_engine *s, sqlite3_stmt *q, struct sqlite_row *ret, struct err *e)
{
	bool typed = has_types(q); /* before the values are asked for, which may change them */
	struct sqlite_row r = {
		.rev = sqlite3_column_int64(q, COL_REV),
		.flags = sqlite3_column_int64(q, COL_FLAGS),
		.created = sqlite3_column_int64(q, COL_CREATED),
		.prev = sqlite3_column_int64(q, COL_PREV),
		.key = column_bytes(q, COL_KEY),
		.value = column_bytes(q, COL_VALUE),
	};

	if (!typed ||
		sqlite_row_sum(r.rev, r.flags, r.created, r.prev, r.key, r.value) !=
			(uint64_t)sqlite3_column_int64(q, COL_SUM))
		return sqlite_damaged(s, e, "the checksum of revision %" PRId64 " (key \"%.*s\") is wrong",
			r.rev + s->base, STR_ARG(r.key));
	*ret = r;
	return 0;
}

/* ---- connections ----------------------------------------------------------------------------- */

static void reader_close(struct reader *r)
{
	sqlite3_finalize(r->page);
	sqlite3_finalize(r->row);
	sqlite3_close(r->db);
	free(r);
}

static int reader_open(struct sqlite_engine *s, struct reader **ret, struct err *e)
{
	/* ORDER BY on the primary key of `current`: no sorting, the first row costs one seek. */
	static const char page[] =
		"SELECT " SQLITE_ROW_COLUMNS ", c.rev, c.key FROM current c LEFT JOIN revision r ON r.rev = c.rev"
		" WHERE c.key >= ?1 AND (?2 IS NULL OR c.key < ?2) ORDER BY c.key LIMIT ?3";
	static const char row[] = "SELECT " SQLITE_ROW_COLUMNS " FROM revision r WHERE r.rev = ?1";
	struct reader *r = xcalloc(1, sizeof(*r));
	int code = sqlite_connect(s, false, &r->db, e);

	if (code < 0) {
		free(r);
		return code;
	}
	if (sqlite_prepare(r->db, page, &r->page) < 0 || sqlite_prepare(r->db, row, &r->row) < 0) {
		code = sqlite_fail(s, r->db, "reading", e);
		reader_close(r);
		return code;
	}
	*ret = r;
	return 0;
}

static int reader_take(struct sqlite_engine *s, struct reader **ret, struct err *e)
{
	struct reader *r;

	task_lock(&s->lock);
	r = s->idle;
	if (r) {
		s->idle = r->next;
		s->idle_n--;
	}
	task_unlock(&s->lock);
	if (!r)
		return reader_open(s, ret, e);
	*ret = r;
	return 0;
}

static void reader_give(struct sqlite_engine *s, struct reader *r)
{
	bool keep;

	sqlite3_reset(r->page);
	sqlite3_reset(r->row);
	sqlite3_clear_bindings(r->page);
	task_lock(&s->lock);
	keep = s->idle_n < READERS_KEPT;
	if (keep) {
		r->next = s->idle;
		s->idle = r;
		s->idle_n++;
	}
	task_unlock(&s->lock);
	if (!keep)
		reader_close(r);
}

void sqlite_readers_close(struct sqlite_engine *s)
{
	while (s->idle) {
		struct reader *r = s->idle;

		s->idle = r->next;
		reader_close(r);
	}
}

/* ---- range ----------------------------------------------------------------------------------- */

struct scan {
	struct sqlite_engine *s;
	struct reader *r;
	const struct range_request *rq;
	const _Atomic int64_t *compacted;
	int64_t revision; /* the file's own number */
	char *last;       /* own: the last key seen */
	size_t last_n;
	bool stop;
};

/* Nothing but a deletion that compaction took can be missing. */
static int no_row(struct scan *c, struct str key, int64_t rev, struct err *e)
{
	if (rev + c->s->base <= *c->compacted)
		return 0;
	return sqlite_damaged(
		c->s, e, "revision %" PRId64 " of key \"%.*s\" is missing", rev + c->s->base, STR_ARG(key));
}

/* The row of this key that was current at the wanted revision, found along prev; 0: there was none. Leaves r->row on
 * it. */
static int row_then(struct scan *c, struct str key, int64_t rev, struct sqlite_row *ret, struct err *e)
{
	int code;

	while (rev > c->revision || rev == 0) {
		if (rev == 0)
			return 0;
		sqlite3_reset(c->r->row);
		sqlite3_bind_int64(c->r->row, 1, rev);
		code = sqlite3_step(c->r->row);
		if (code != SQLITE_ROW)
			return code == SQLITE_DONE ? no_row(c, key, rev, e) : sqlite_fail(c->s, c->r->db, "reading", e);
		rev = sqlite3_column_int64(c->r->row, COL_PREV);
	}
	sqlite3_reset(c->r->row);
	sqlite3_bind_int64(c->r->row, 1, rev);
	code = sqlite3_step(c->r->row);
	if (code != SQLITE_ROW)
		return code == SQLITE_DONE ? no_row(c, key, rev, e) : sqlite_fail(c->s, c->r->db, "reading", e);
	code = sqlite_row_read(c->s, c->r->row, ret, e);
	return code < 0 ? code : 1;
}

static int show(struct scan *c, struct err *e)
{
	int64_t current = sqlite3_column_int64(c->r->page, COL_CURRENT);
	struct str key = column_bytes(c->r->page, COL_CURRENT + 1);
	struct sqlite_row row;
	struct store_kv kv;
	int found = 1;

	if (current > c->revision) {
		found = row_then(c, key, current, &row, e);
		if (found <= 0)
			return found;
	} else {
		if (sqlite3_column_type(c->r->page, COL_REV) == SQLITE_NULL)
			return sqlite_damaged(c->s, e, "revision %" PRId64 " of key \"%.*s\" is missing",
				current + c->s->base, STR_ARG(key));
		found = sqlite_row_read(c->s, c->r->page, &row, e);
		if (found < 0)
			return found;
	}
	if (!str_eq(row.key, key))
		return sqlite_damaged(c->s, e, "revision %" PRId64 " does not belong to key \"%.*s\"",
			row.rev + c->s->base, STR_ARG(key));
	if (row.flags & ROW_DELETED)
		return 0;
	kv = (struct store_kv){ row.key, row.value, row.rev + c->s->base, row.created + c->s->base };
	c->stop = !c->rq->each(c->rq->arg, &kv);
	return 0;
}

static void remember(struct scan *c)
{
	struct str key = column_bytes(c->r->page, COL_CURRENT + 1);

	c->last = xrealloc(c->last, key.n + 1, 1);
	memcpy(c->last, key.p, key.n);
	c->last[key.n] = 0; /* key + NUL is the next possible key */
	c->last_n = key.n;
}

/* *ret_n: rows seen; fewer than PAGE_ROWS: there is nothing more. */
static int page(struct scan *c, struct str from, struct str end, int *ret_n, struct err *e)
{
	sqlite3_stmt *q = c->r->page;
	int code, n = 0;

	sqlite3_reset(q);
	sqlite3_bind_blob64(q, 1, from.n ? from.p : "", from.n, SQLITE_STATIC);
	if (end.n)
		sqlite3_bind_blob64(q, 2, end.p, end.n, SQLITE_STATIC);
	sqlite3_bind_int(q, 3, PAGE_ROWS);
	while ((code = sqlite3_step(q)) == SQLITE_ROW) {
		/* Compaction announces itself before it drops a row: if it has not by now, this snapshot has them all.
		 */
		if (n++ == 0 && *c->compacted - c->s->base > c->revision)
			return err_set(e, ERR_EXPIRED, "the store's history before revision %" PRId64 " is gone",
				(int64_t)*c->compacted);
		code = show(c, e);
		if (code < 0)
			return code;
		if (c->stop)
			break;
		if (n == PAGE_ROWS)
			remember(c);
	}
	if (code != SQLITE_DONE && !c->stop)
		return sqlite_fail(c->s, c->r->db, "reading", e);
	sqlite3_reset(q);
	*ret_n = c->stop ? 0 : n;
	return 0;
}

int sqlite_range(void *self, const struct range_request *rq, const _Atomic int64_t *compacted, struct err *e)
{
	struct sqlite_engine *s = self;
	struct scan c = { .s = s, .rq = rq, .compacted = compacted, .revision = rq->revision - s->base };
	auto_free char *end_buf = xmalloc(rq->prefix.n + 1);
	struct str end = store_prefix_end(rq->prefix, end_buf);
	struct str from = str_cmp(rq->from, rq->prefix) > 0 ? rq->from : rq->prefix;
	int n = 0, code;

	if (*compacted > rq->revision)
		return err_set(
			e, ERR_EXPIRED, "the store's history before revision %" PRId64 " is gone", (int64_t)*compacted);
	code = reader_take(s, &c.r, e);
	if (code < 0)
		return code;
	do {
		code = page(&c, from, end, &n, e);
		from = str_n(c.last, c.last_n + 1);
	} while (code == 0 && n == PAGE_ROWS);
	reader_give(s, c.r);
	free(c.last);
	return code;
}

/* ---- history in order ------------------------------------------------------------------------ */

static int replay_row(struct sqlite_engine *s, sqlite3_stmt *q, store_on_event *on_event, void *arg, struct err *e)
{
	struct sqlite_row row;
	int code = sqlite_row_read(s, q, &row, e);

	if (code < 0)
		return code;
	on_event(arg,
		&(struct store_event){
			.key = row.key,
			.revision = row.rev + s->base,
			.create_revision = row.created + s->base,
			.deleted = row.flags & ROW_DELETED,
			.value = row.value,
		});
	return 0;
}

int sqlite_replay(void *self, int64_t after, store_on_event *on_event, void *arg, struct err *e)
{
	static const char sql[] = "SELECT " SQLITE_ROW_COLUMNS " FROM revision r WHERE r.rev > ?1 ORDER BY r.rev";
	struct sqlite_engine *s = self;
	sqlite3_stmt *q = NULL;
	int code = 0, step = SQLITE_DONE;

	if (sqlite_prepare(s->db, sql, &q) < 0)
		return sqlite_fail(s, s->db, "reading", e);
	sqlite3_bind_int64(q, 1, after - s->base);
	while (code == 0 && (step = sqlite3_step(q)) == SQLITE_ROW)
		code = replay_row(s, q, on_event, arg, e);
	if (code == 0 && step != SQLITE_DONE)
		code = sqlite_fail(s, s->db, "reading", e);
	sqlite3_finalize(q);
	return code;
}

/* The SQLite engine: what its files share.
 *
 * Three tables (format 1):
 *   meta      name → value: format, uid, base, compacted, swept; sum, of the others but the last two
 *   revision  rev → flags, created, prev, sum, key, value      append-only; prev is the key's revision before this one
 *   current   key → rev, created                               created 0: deleted, kept until compaction has passed it
 *
 * A read at revision R walks `current` and, where a key is newer than R, goes back along prev: no second index on
 * history. Numbers in the file are the engine's own, from 1; what others see is that + base. */
#pragma once
#include "store/store_internal.h"
#include <sqlite3.h>

#define SQLITE_STORE_FORMAT 1
#define SQLITE_STORE_APP_ID 0x4b4f4747 /* "KOGG" */
#define READERS_KEPT 2                 /* idle read connections that are kept */

/* What FILE-shown says; revision 0: nothing. */
struct sqlite_shown {
	char uid[40]; /* of the store */
	int64_t revision;
};

struct reader {
	sqlite3 *db;
	sqlite3_stmt *page, *row;
	struct reader *next;
};

struct sqlite_engine {
	char *path;
	int lock_fd;
	int64_t base, wal_bytes;
	char uid[40];
	struct sqlite_shown shown; /* when it was opened; then what is noted */
	int shown_fd;              /* -1: it cannot be written */
	bool shown_failed;         /* said so */

	/* Of who does the store's work. */
	sqlite3 *db;
	sqlite3_stmt *begin, *commit, *rollback, *find, *linked, *add, *set, *drop_row, *drop_key, *window, *set_meta;
	int64_t revision;  /* newest in the open transaction */
	int64_t committed; /* newest kept */
	int64_t compacted, swept;
	int64_t ahead_asked; /* the last want_ahead */
	int wal_pages, wal_pages_max;

	struct task_mutex lock;
	struct reader *idle;
	int idle_n;
	struct task_cond work; /* for the checkpoint task */
	bool want_checkpoint, stop;
	int64_t want_ahead;       /* rows up to this one shall be in memory, for compaction */
	_Atomic bool stand_aside; /* but not now */
	_Atomic int64_t read_to;  /* and are up to this one; INT64_MAX: there is no checkpoint task */
	struct task *checkpointer;
	struct stage checkpoints;       /* how long they took */
	_Atomic int folded_pages;       /* of the log, by the newest checkpoint */
	_Atomic bool checkpoint_failed; /* said so; not again before it succeeded */
};

enum row_flags { ROW_DELETED = 1 };

/* sqlite_open.c */
int sqlite_connect(const struct sqlite_engine *s, bool writer, sqlite3 **ret, struct err *e);
/* 0, or -1 with the reason in db. */
int sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret);
/* -code with a sentence: what failed, why, and for damage the way back. */
int sqlite_fail(const struct sqlite_engine *s, sqlite3 *db, const char *what, struct err *e);
int sqlite_damaged(const struct sqlite_engine *s, struct err *e, const char *fmt, ...) PRINTF(3, 4);
int sqlite_unlinked(const struct sqlite_engine *s, struct str key, int64_t rev, struct err *e);
void sqlite_engine_free(struct sqlite_engine *s);
/* Whether it is a store, of a format that we know, and says of itself what can be. */
int sqlite_recognize(const struct sqlite_engine *s, sqlite3 *db, struct err *e);
int sqlite_read_facts(
	struct sqlite_engine *s, sqlite3 *db, struct err *e);    /* base, uid, and which revisions are there */
int sqlite_read_int(sqlite3 *db, const char *sql, int64_t *ret); /* the first value; -1: none, the reason is in db */
/* Changes rows of meta, and their checksum, in one transaction. 0, or -1 with the reason in db: it is good for closing. */
int sqlite_change_meta(sqlite3 *db, const char *sql);
void sqlite_configure(void); /* once a process, before anything else */

/* sqlite_read.c */
int sqlite_range(void *self, const struct range_request *rq, const _Atomic int64_t *compacted, struct err *e);
int sqlite_replay(void *self, int64_t after, store_on_event *on_event, void *arg, struct err *e);
void sqlite_readers_close(struct sqlite_engine *s);
/* Columns of every query that shows rows of `revision r`. */
#define SQLITE_ROW_COLUMNS "r.rev, r.flags, r.created, r.prev, r.sum, r.key, r.value"
enum { COL_REV, COL_FLAGS, COL_CREATED, COL_PREV, COL_SUM, COL_KEY, COL_VALUE, COL_CURRENT };
struct sqlite_row {
	int64_t rev, flags, created, prev;
	struct str key, value;
};
/* Borrowed until the statement steps on. Fails when the checksum is wrong. */
int sqlite_row_read(const struct sqlite_engine *s, sqlite3_stmt *q, struct sqlite_row *ret, struct err *e);
uint64_t sqlite_row_sum(int64_t rev, int64_t flags, int64_t created, int64_t prev, struct str key, struct str value);

/* sqlite.c */
extern const struct store_engine sqlite_engine_ops;
/* A write that may or may not be on the disk: nobody can tell, so the process ends and starts again from the file. */
_Noreturn void sqlite_unknown(const struct sqlite_engine *s, sqlite3 *db, const char *what);

/* sqlite_shown.c */
struct sqlite_shown sqlite_shown_read(
	const char *path); /* before the store is: who has it open writes this file last */
/* Fails when the store that was read does not have all that was shown; its log is left as it is then. */
int sqlite_shown_check(const struct sqlite_engine *s, sqlite3 *db, struct err *e);
/* For who does the store's work: when all that was found is on the disk; and behind the answers of each commit. */
void sqlite_shown_begin(struct sqlite_engine *s);
void sqlite_shown_note(struct sqlite_engine *s);

/* sqlite_checkpoint.c */
void sqlite_checkpointer_start(struct sqlite_engine *s);
void sqlite_checkpointer_stop(struct sqlite_engine *s);
void sqlite_checkpoint_now(struct sqlite_engine *s, sqlite3 *db);
/* What compaction looks at next is to be read into memory meanwhile. For who does the store's work. */
void sqlite_ask_ahead(struct sqlite_engine *s);
/* Whether nobody reads ahead for now: while somebody reads, a long log cannot begin anew. */
void sqlite_stand_aside(struct sqlite_engine *s, bool aside);

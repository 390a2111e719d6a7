/* What only a file can suffer: kill -9, damage, a full disk, two owners, an old or foreign file. */
#include "base/buf.h"
#include "base/test.h"
#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
	char dir[64], path[96];
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	snprintf(f->dir, sizeof(f->dir), "/tmp/kogge-sqlite-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/state.db", f->dir);
	*state = f;
	return 0;
}

static void remove_store(const struct fixture *f)
{
	static const char *const suffix[] = { "", "-wal", "-shm", "-lock", "-shown" };
	char name[128];

	for (size_t i = 0; i < ARRAY_LEN(suffix); i++) {
		snprintf(name, sizeof(name), "%s%s", f->path, suffix[i]);
		unlink(name);
	}
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	remove_store(f);
	rmdir(f->dir);
	free(f);
	return 0;
}

static int open_at(const char *path, struct store **ret, struct err *e)
{
	err_init(e);
	return store_open_sqlite(&(struct store_sqlite_opts){ .path = path, .wal_bytes = 128 << 10 }, ret, e);
}

static struct store *must_open(const char *path)
{
	struct store *s = NULL;
	struct err e;

	if (open_at(path, &s, &e) < 0)
		fail_msg("%s", e.message);
	return s;
}

static int put(struct store *s, const char *key, struct str value, int64_t *rev, struct err *e)
{
	return store_write(
		s, &(struct store_write){ .key = str_c(key), .value = value, .expect_revision = STORE_ANY }, rev, e);
}

static void everything_is_there_after_closing(void **state)
{
	struct fixture *f = *state;
	struct store_status a, b;
	struct store *s = must_open(f->path);
	int64_t rev;

	assert_int_equal(put(s, "k", STR("1"), &rev, NULL), 0);
	store_status(s, &a);
	store_close(s);
	s = must_open(f->path);
	store_status(s, &b);
	assert_string_equal(a.cluster_uid, b.cluster_uid);
	assert_int_equal(a.revision, b.revision);
	assert_int_equal(put(s, "k", STR("2"), &rev, NULL), 0);
	assert_int_equal(rev, 3);
	store_close(s);
}

static void a_revision_never_comes_back(void **state)
{
	struct fixture *f = *state;
	struct store *s = must_open(f->path);
	int64_t rev;

	put(s, "k", STR("1"), &rev, NULL);
	store_write(s, &(struct store_write){ .key = STR("k"), .del = true, .expect_revision = STORE_ANY }, &rev, NULL);
	assert_int_equal(store_compact(s, rev, NULL), 0); /* takes the deletion, the newest row, too */
	store_close(s);
	s = must_open(f->path);
	assert_int_equal(store_revision(s), rev);
	assert_int_equal(store_compacted(s), rev);
	assert_int_equal(put(s, "k", STR("1"), &rev, NULL), 0);
	assert_int_equal(rev, 4);
	store_close(s);
}

/* ---- kill -9 --------------------------------------------------------------------------------- */

#define WRITERS 6
struct killed_writer {
	struct store *s;
	int id, fd, round;
};

static void write_and_report(void *arg)
{
	struct killed_writer *w = arg;
	char key[32], value[600], line[64];
	int64_t rev;

	memset(value, 'x', sizeof(value));
	for (int i = 0;; i++) {
		int n = snprintf(key, sizeof(key), "r%d/w%d/%d", w->round, w->id, i % 500);

		snprintf(value, sizeof(value), "%d", i);
		if (put(w->s, key, str_n(value, sizeof(value)), &rev, NULL) < 0)
			_exit(3);
		n = snprintf(line, sizeof(line), "%s %d %" PRId64 "\n", key, i, rev);
		if (write(w->fd, line, (size_t)n) != n)
			_exit(4);
		if (i % 50 == 49 && w->id == 0)
			store_compact(w->s, rev - 20, NULL);
	}
}

static _Noreturn void child(const char *path, int fd, int round)
{
	struct killed_writer w[WRITERS];
	struct store *s = NULL;
	struct err e;

	if (open_at(path, &s, &e) < 0)
		_exit(2);
	for (int i = 0; i < WRITERS; i++) {
		w[i] = (struct killed_writer){ .s = s, .id = i, .fd = fd, .round = round };
		task_detach(task_spawn("writer", write_and_report, &w[i]));
	}
	for (;;)
		pause();
}

struct acked {
	char key[32];
	int value;
	int64_t rev;
	bool found;
};
struct acks {
	struct acked a[WRITERS * 500];
	size_t n;
	int64_t newest;
};

static void note_ack(struct acks *acks, const char *line)
{
	struct acked got = { 0 };
	size_t i;

	if (sscanf(line, "%31s %d %" SCNd64, got.key, &got.value, &got.rev) != 3)
		return;
	acks->newest = MAX(acks->newest, got.rev);
	for (i = 0; i < acks->n && strcmp(acks->a[i].key, got.key) != 0; i++)
		;
	if (i == acks->n)
		acks->n++;
	if (acks->a[i].rev < got.rev)
		acks->a[i] = got;
}

static bool check_ack(void *arg, const struct store_kv *kv)
{
	struct acks *acks = arg;
	int value;

	for (size_t i = 0; i < acks->n; i++) {
		if (!str_is(kv->key, acks->a[i].key))
			continue;
		/* A write that was not answered yet may be there as well. */
		assert_true(kv->revision >= acks->a[i].rev);
		value = (int)strtol(kv->value.p, NULL, 10);
		assert_true(kv->revision > acks->a[i].rev || value == acks->a[i].value);
		acks->a[i].found = true;
	}
	return true;
}

static void run_and_kill(const char *path, int round, int64_t kill_after_ms, struct acks *acks)
{
	char line[64];
	int fds[2], status;
	FILE *in;
	pid_t pid;
	struct mono until;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		child(path, fds[1], round);
	}
	close(fds[1]);
	in = fdopen(fds[0], "r");
	until = mono_add_ms(mono_now(), kill_after_ms);
	while (mono_before(mono_now(), until) && fgets(line, sizeof(line), in))
		note_ack(acks, line);
	kill(pid, SIGKILL);
	while (fgets(line, sizeof(line), in)) /* answered before the kill, and on its way to us */
		if (strchr(line, '\n'))
			note_ack(acks, line);
	fclose(in);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void kill_9_loses_nothing_that_was_answered(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 5; round++) {
		struct acks *acks = xcalloc(1, sizeof(*acks));
		char prefix[16];
		struct store *s;

		run_and_kill(f->path, round, 100 + (int64_t)rand_below(300), acks);
		s = must_open(f->path);
		snprintf(prefix, sizeof(prefix), "r%d/", round);
		assert_true(store_revision(s) >= acks->newest);
		assert_int_equal(store_range(s, str_c(prefix), STR(""), 0, check_ack, acks, NULL, NULL), 0);
		for (size_t i = 0; i < acks->n; i++)
			assert_true(acks->a[i].found);
		store_close(s);
		free(acks);
	}
}

/* ---- damage ---------------------------------------------------------------------------------- */

static bool ignore(void *arg, const struct store_kv *kv)
{
	return true;
}

static void fill(struct store *s, int n)
{
	char key[32], value[512];

	memset(value, 'v', sizeof(value));
	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "k/%04d", i);
		assert_int_equal(put(s, key, str_n(value, sizeof(value)), NULL, NULL), 0);
	}
}

static void a_flipped_bit_is_found_and_named(void **state)
{
	struct fixture *f = *state;
	struct store *s = must_open(f->path);
	sqlite3 *db = NULL;
	struct err e;

	fill(s, 20);
	store_close(s);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "UPDATE revision SET value=replace(value,'vvvv','vvwv') WHERE rev=7", NULL,
				 NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	s = must_open(f->path);
	err_init(&e);
	assert_int_equal(store_range(s, STR("k/"), STR(""), 0, ignore, NULL, NULL, &e), -ERR_INTERNAL);
	assert_non_null(strstr(e.message, "the checksum of revision 8 (key \"k/0006\") is wrong"));
	assert_non_null(strstr(e.message, "The way back"));
	store_close(s);
	assert_int_equal(store_check_sqlite(f->path, NULL, &e), -ERR_INTERNAL);
	assert_non_null(strstr(e.message, "revision 8 "));
}

/* The bytes are the same, and so are sums over them. */
static void a_value_of_another_type_is_damage(void **state)
{
	static const char *const damage[] = {
		"UPDATE revision SET value=CAST(value AS TEXT) WHERE rev=7",
		"UPDATE revision SET flags=x'' WHERE rev=7",
		"UPDATE revision SET prev=x'' WHERE rev=7",
		"UPDATE meta SET name=CAST(name AS BLOB) WHERE name='uid'",
		"UPDATE meta SET value=CAST(value AS BLOB) WHERE name='uid'",
		"UPDATE meta SET value=CAST(value AS TEXT) WHERE name='base'",
	};
	struct fixture *f = *state;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
		auto_free char *path = xasprintf("%s/typed-%zu.db", f->dir, i);
		struct store *s = must_open(path);
		sqlite3 *db = NULL;

		fill(s, 20);
		store_close(s);
		err_init(&e);
		assert_int_equal(store_check_sqlite(path, NULL, &e), 0);
		assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
		assert_int_equal(sqlite3_exec(db, damage[i], NULL, NULL, NULL), SQLITE_OK);
		assert_int_equal(sqlite3_changes(db), 1);
		sqlite3_close(db);
		if (store_check_sqlite(path, NULL, &e) != -ERR_INTERNAL)
			fail_msg("nobody sees: %s", damage[i]);
	}
}

static void damage_file(const char *path, const char *sql)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_true(sqlite3_changes(db) > 0);
	sqlite3_close(db);
}

/* Neither for an answer, such as a conflict, nor for what another key's revision would be dropped for later. */
static void a_newest_revision_of_another_key_is_not_believed(void **state)
{
	static const char *const damage[] = { "UPDATE current SET rev=9 WHERE key=CAST('k/0002' AS BLOB)",
		"UPDATE current SET rev=99 WHERE key=CAST('k/0002' AS BLOB)",
		"UPDATE current SET created=0 WHERE key=CAST('k/0002' AS BLOB)",
		"UPDATE current SET created=9 WHERE key=CAST('k/0002' AS BLOB)", "DELETE FROM revision WHERE rev=3" };
	static const int64_t expect[] = { 0, 4, STORE_ANY };
	struct fixture *f = *state;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
		struct store *s = must_open(f->path);

		fill(s, 20);
		store_close(s);
		damage_file(f->path, damage[i]);
		s = must_open(f->path);
		for (size_t j = 0; j < ARRAY_LEN(expect); j++) {
			struct store_write w = { STR("k/0002"), .expect_revision = expect[j], .value = STR("x") };

			if (expect[j] == 4 && i >= 3)
				continue; /* what the writer knows is so */
			err_init(&e);
			if (store_write(s, &w, NULL, &e) != -ERR_INTERNAL)
				fail_msg("%s: expecting %" PRId64 ": %s", damage[i], expect[j], e.message);
			assert_non_null(strstr(e.message, "damaged: key \"k/0002\" and its revision "));
		}
		assert_int_equal(put(s, "k/0003", STR("x"), NULL, &e), 0); /* others are not concerned */
		store_close(s);
		remove_store(f);
	}
}

/* A link of the chain that leads back to it. */
static void an_older_revision_that_is_gone_is_not_taken_for_none(void **state)
{
	struct fixture *f = *state;
	struct store *s = must_open(f->path);
	struct err e;

	for (int i = 0; i < 3; i++)
		fill(s, 1); /* 2, 3 and 4 */
	store_close(s);
	damage_file(f->path, "DELETE FROM revision WHERE rev=2");
	s = must_open(f->path);
	for (int64_t rev = 2; rev < 4; rev++) {
		err_init(&e);
		assert_int_equal(store_range(s, STR("k/"), STR(""), rev, ignore, NULL, NULL, &e), -ERR_INTERNAL);
		assert_non_null(strstr(e.message, "revision 3 of key \"k/0000\" is missing"));
	}
	store_close(s);
}

/* What the file holds, as one number; 0: it cannot be read. */
static uint64_t content(const char *path)
{
	static const char sql[] =
		"SELECT quote(name) || quote(value) FROM (SELECT * FROM meta WHERE name IN ('base','format','uid') ORDER BY name)"
		" UNION ALL SELECT quote(rev)||quote(flags)||quote(created)||quote(prev)||quote(key)||quote(value) FROM revision"
		" UNION ALL SELECT quote(key)||quote(rev)||quote(created) FROM current";
	sqlite3_stmt *q = NULL;
	sqlite3 *db = NULL;
	uint64_t sum = 1;
	int r = SQLITE_ERROR;

	if (sqlite3_open(path, &db) == SQLITE_OK && sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK)
		while ((r = sqlite3_step(q)) == SQLITE_ROW)
			for (const unsigned char *p = sqlite3_column_text(q, 0); *p; p++)
				sum = (sum ^ *p) * 0x100000001b3;
	sqlite3_finalize(q);
	sqlite3_close(db);
	return r == SQLITE_DONE ? sum : 0;
}

static void flip(const char *path, off_t at, int bit)
{
	int fd = open(path, O_RDWR);
	unsigned char byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= (unsigned char)(1 << bit);
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* Pages 1 to 4 hold the tables' words, the store's own facts, and the beginnings of both tables: as often as all the rest. */
static void any_flipped_bit_is_found_or_does_no_harm(void **state)
{
	enum { FLIPS = 400, FIRST_PAGES = 4 * 4096 };
	struct fixture *f = *state;
	struct store *s = must_open(f->path);
	auto_free char *copy = xasprintf("%s/flipped.db", f->dir), *cp = xasprintf("cp %s %s", f->path, copy),
		       *rm = xasprintf("rm -f %s*", copy);
	struct stat st;
	uint64_t good;
	int found = 0;
	struct err e;

	fill(s, 60);
	store_write(s, &(struct store_write){ .key = STR("k/0003"), .del = true, .expect_revision = STORE_ANY }, NULL,
		NULL);
	store_close(s);
	good = content(f->path);
	assert_true(good);
	assert_int_equal(stat(f->path, &st), 0);
	for (int i = 0; i < FLIPS; i++) {
		off_t at = (off_t)rand_below(i % 2 ? (uint64_t)st.st_size : FIRST_PAGES);
		int bit = (int)rand_below(8);

		assert_int_equal(system(cp), 0);
		flip(copy, at, bit);
		err_init(&e);
		if (store_check_sqlite(copy, NULL, &e) < 0) {
			found++;
			for (const char *p = e.message; *p; p++)
				assert_true(*p >= ' ' && *p <= '~');
		} else if (content(copy) != good) {
			fail_msg("bit %d of byte %lld is another one, and nobody sees it", bit, (long long)at);
		}
		assert_int_equal(system(rm), 0);
	}
	assert_true(found > FLIPS / 8);
}

static void no_event(void *arg, const struct store_event *ev)
{
	fail();
}

static void a_backup_is_a_whole_store(void **state)
{
	struct fixture *f = *state;
	struct store *s = must_open(f->path), *t;
	auto_free char *to = xasprintf("%s/backup.db", f->dir), *again = xasprintf("%s/backup.db.again", f->dir);
	auto_free char *cmd = xasprintf("rm -f %s/backup.db*", f->dir);
	int64_t rows = 0;
	struct err e;

	err_init(&e);
	fill(s, 1200);
	assert_int_equal(store_check_sqlite(f->path, &rows, &e), 0); /* while in use */
	assert_int_equal(rows, 1200);
	if (store_snapshot_sqlite(f->path, to, &e) < 0)
		fail_msg("%s", e.message);
	assert_int_equal(store_snapshot_sqlite(f->path, to, &e), -ERR_EXISTS);
	assert_int_equal(store_check_sqlite(to, &rows, &e), 0);
	assert_int_equal(rows, 1200);
	if (store_snapshot_sqlite(to, again, &e) < 0) /* of one that no server has opened yet */
		fail_msg("%s", e.message);
	fill(s, 50); /* the original goes on, and shows newer revisions */
	t = must_open(to);
	assert_true(store_revision(t) > store_revision(s));
	assert_int_equal(store_compacted(t), store_revision(t));
	assert_int_equal(store_watch(t, store_revision(s), no_event, NULL, &e), -ERR_EXPIRED);
	assert_int_equal(store_range(t, STR("k/"), STR(""), 0, ignore, NULL, NULL, &e), 0);
	fill(t, 1);
	int64_t rev = store_revision(t);
	store_close(t);
	t = must_open(to); /* an ordinary store from now on */
	assert_int_equal(store_revision(t), rev);
	store_close(t);
	store_close(s);
	assert_int_equal(system(cmd), 0);
}

/* Clocks go wrong, and a file that was set aside is older than what stood in its place meanwhile. */
static void a_copy_goes_on_above_the_file_whose_place_it_takes(void **state)
{
	struct fixture *f = *state;
	struct store *s = must_open(f->path);
	auto_free char *to = xasprintf("%s/copy.db", f->dir), *cmd = xasprintf("rm -f %s/copy.db*", f->dir);
	int64_t shown;
	sqlite3 *db = NULL;
	struct err e;

	err_init(&e);
	fill(s, 10);
	if (store_snapshot_sqlite(f->path, to, &e) < 0)
		fail_msg("%s", e.message);
	store_close(s);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				 "UPDATE meta SET value=value+500000000 WHERE name='base';"
				 "DELETE FROM meta WHERE name='sum'",
				 NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	s = must_open(f->path);
	shown = store_revision(s);
	if (store_succeed_sqlite(to, f->path, &e) < 0)
		fail_msg("%s", e.message);
	store_close(s);
	s = must_open(to);
	assert_true(store_revision(s) > shown);
	assert_int_equal(store_watch(s, shown, no_event, NULL, &e), -ERR_EXPIRED);
	store_close(s);
	assert_int_equal(system(cmd), 0);
}

static void a_file_of_noise_is_refused_with_the_way_back(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_WRONLY | O_CREAT, 0600);
	char noise[8192];
	struct store *s = NULL;
	struct err e;

	rand_bytes(noise, sizeof(noise));
	assert_int_equal(write(fd, noise, sizeof(noise)), sizeof(noise));
	close(fd);
	assert_int_equal(open_at(f->path, &s, &e), -ERR_INTERNAL);
	assert_non_null(strstr(e.message, "is not a SQLite database"));
	assert_non_null(strstr(e.message, "The way back"));
}

static void a_torn_page_is_an_error_and_not_a_crash(void **state)
{
	struct fixture *f = *state;
	struct store *s = must_open(f->path);
	struct stat st;
	char noise[4096];
	struct err e;
	int fd, r;

	fill(s, 500);
	store_close(s);
	assert_int_equal(stat(f->path, &st), 0);
	rand_bytes(noise, sizeof(noise));
	for (off_t at = 8 * 4096; at + 4096 <= st.st_size; at += 16 * 4096) {
		fd = open(f->path, O_WRONLY);
		assert_int_equal(pwrite(fd, noise, sizeof(noise), at), sizeof(noise));
		close(fd);
	}
	r = open_at(f->path, &s, &e);
	if (r == 0) {
		r = store_range(s, STR("k/"), STR(""), 0, ignore, NULL, NULL, &e);
		store_close(s);
	}
	assert_int_equal(r, -ERR_INTERNAL);
	assert_non_null(strstr(e.message, "damaged"));
}

/* Where the newest record of a write-ahead log ends. SQLite begins a log that is folded in again at its start, so that
 * older frames, with other salts, may follow. Source: "WAL file format" of SQLite's documentation. */
static off_t log_end(const char *path)
{
	uint8_t header[32], frame[24];
	uint32_t page;
	off_t at = sizeof(header);
	int fd = open(path, O_RDONLY);

	assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
	page = (uint32_t)header[8] << 24 | header[9] << 16 | header[10] << 8 | header[11];
	while (pread(fd, frame, sizeof(frame), at) == sizeof(frame) && memcmp(frame + 8, header + 16, 8) == 0)
		at += (off_t)sizeof(frame) + page;
	close(fd);
	return at;
}

/* A log that lost its end gives an earlier, whole state. */
static void a_truncated_log_opens_at_a_whole_transaction(void **state)
{
	struct fixture *f = *state;
	char from[160], to[128], cmd[640];
	struct store *s;
	int64_t rev;

	/* A log so long that nobody folds it in meanwhile. */
	assert_int_equal(
		store_open_sqlite(&(struct store_sqlite_opts){ .path = f->path, .wal_bytes = 64 << 20 }, &s, NULL), 0);
	fill(s, 8);
	rev = store_revision(s);
	/* A copy taken while the store is open: the file and its log, the last 3,000 bytes missing. */
	snprintf(from, sizeof(from), "%s-wal", f->path);
	snprintf(to, sizeof(to), "%s/copy.db", f->dir);
	snprintf(cmd, sizeof(cmd), "cp %s %s && cp %s %s-wal", f->path, to, from, to);
	assert_int_equal(system(cmd), 0);
	store_close(s);
	snprintf(from, sizeof(from), "%s-wal", to);
	assert_int_equal(truncate(from, log_end(from) - 3000), 0);
	s = must_open(to);
	assert_int_equal(store_revision(s), rev - 1);
	assert_int_equal(store_range(s, STR("k/"), STR(""), 0, ignore, NULL, NULL, NULL), 0);
	store_close(s);
	snprintf(cmd, sizeof(cmd), "rm -f %s/copy.db*", f->dir);
	assert_int_equal(system(cmd), 0);
}

/* ---- what was shown and is gone -------------------------------------------------------------- */

/* A store whose log nobody folds in, taken as a kill -9 would leave it; n writes of a transaction each. */
static void killed_store(const struct fixture *f, int n, const char *to)
{
	auto_free char *cmd = xasprintf("for x in '' -wal -shown; do cp %s$x %s$x; done", f->path, to);
	struct store *s = NULL;

	assert_int_equal(store_make_sqlite(f->path, NULL), 0);
	assert_int_equal(
		store_open_sqlite(&(struct store_sqlite_opts){ .path = f->path, .wal_bytes = 64 << 20 }, &s, NULL), 0);
	fill(s, n);
	assert_int_equal(system(cmd), 0);
	store_close(s);
}

static void cut_within_a_frame(const char *log)
{
	assert_int_equal(truncate(log, log_end(log) - 3000), 0);
}

/* Where a transaction ended: a frame's second number is the size of the file then, and 0 elsewhere. */
static void cut_between_transactions(const char *log)
{
	uint8_t size[4] = { 0 };
	off_t at = log_end(log);
	int fd = open(log, O_RDONLY);

	do {
		at -= 4096 + 24;
		assert_int_equal(pread(fd, size, sizeof(size), at - 4096 - 24 + 4), sizeof(size));
	} while (!size[0] && !size[1] && !size[2] && !size[3]);
	close(fd);
	assert_int_equal(truncate(log, at), 0);
}

static void cut_to_nothing(const char *log)
{
	assert_int_equal(truncate(log, 0), 0);
}

static void lose(const char *log)
{
	assert_int_equal(unlink(log), 0);
}

/* Long before the end: nothing that follows counts. */
static void flip_in_the_midst(const char *log)
{
	flip(log, log_end(log) / 2, 3);
}

static off_t size_of(const char *name)
{
	struct stat st;

	return stat(name, &st) < 0 ? 0 : st.st_size;
}

static void acknowledged_writes_that_are_gone_are_noticed(void **state)
{
	static void (*const damage[])(const char *log) = { cut_within_a_frame, cut_between_transactions, cut_to_nothing,
		lose, flip_in_the_midst };
	struct fixture *f = *state;
	auto_free char *db = xasprintf("%s/killed.db", f->dir), *log = xasprintf("%s-wal", db),
		       *keep = xasprintf("cp %s %s.good", log, log), *back = xasprintf("cp %s.good %s", log, log),
		       *rm = xasprintf("rm -f %s*", db);
	struct store *s = NULL;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
		off_t left;

		killed_store(f, 8, db);
		assert_int_equal(system(keep), 0);
		damage[i](log);
		left = size_of(log);
		assert_int_equal(open_at(db, &s, &e), -ERR_INTERNAL);
		assert_non_null(strstr(e.message, "lacks writes that were acknowledged"));
		assert_non_null(strstr(e.message, "killed.db-shown says that 9 was shown"));
		assert_int_equal(store_check_sqlite(db, NULL, &e), -ERR_INTERNAL);
		assert_non_null(strstr(e.message, "lacks writes"));
		assert_int_equal(size_of(log), left);
		assert_int_equal(system(back), 0);
		s = must_open(db);
		assert_int_equal(store_revision(s), 9);
		store_close(s);
		assert_int_equal(system(rm), 0);
		remove_store(f);
	}
}

/* An older file in the place of the newer one, as by cp, is no other case; a copy that was made as such goes on above. */
static void who_goes_on_without_them_goes_on_above(void **state)
{
	struct fixture *f = *state;
	auto_free char *old = xasprintf("%s/old.db", f->dir), *copy = xasprintf("%s/copy.db", f->dir),
		       *cp = xasprintf("cp %s %s", f->path, old), *back = xasprintf("cp %s %s", old, f->path),
		       *mv = xasprintf("mv %s %s", copy, f->path), *rm = xasprintf("rm -f %s* %s*", old, copy);
	struct store *s = must_open(f->path);
	int64_t shown;
	sqlite3 *db = NULL;
	struct err e;

	fill(s, 3);
	store_close(s);
	assert_int_equal(system(cp), 0);
	s = must_open(f->path);
	fill(s, 5);
	shown = store_revision(s);
	store_close(s);
	assert_int_equal(system(back), 0);
	assert_int_equal(open_at(f->path, &s, &e), -ERR_INTERNAL);
	if (store_snapshot_sqlite(f->path, copy, &e) < 0)
		fail_msg("%s", e.message);
	/* A clock that was wrong by years when it was made. */
	assert_int_equal(sqlite3_open(copy, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db, "UPDATE meta SET value=1<<40 WHERE name='copied'; DELETE FROM meta WHERE name='sum'",
			NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(system(mv), 0);
	assert_int_equal(store_check_sqlite(f->path, NULL, &e), 0);
	s = must_open(f->path);
	assert_true(store_revision(s) > shown);
	assert_int_equal(store_watch(s, shown, no_event, NULL, &e), -ERR_EXPIRED);
	store_close(s);
	store_close(must_open(f->path)); /* an ordinary store from now on */
	assert_int_equal(system(rm), 0);
}

/* It is of another store, or not whole, or cannot be written: no store is refused for that, and no write. */
static void a_file_that_says_nothing_of_what_was_shown(void **state)
{
	static const char *const spoil[] = { "rm", "truncate -s 0", "truncate -s 40", "sed -i 's/ 0/ 1/'",
		"sed -i s/^......../00000000/", "rm $1; mkdir" };
	struct fixture *f = *state;
	auto_free char *shown = xasprintf("%s-shown", f->path), *rm = xasprintf("rm -r %s", shown);
	struct store *s = must_open(f->path);
	struct err e;

	store_close(s);
	for (size_t i = 0; i < ARRAY_LEN(spoil); i++) {
		auto_free char *cmd = xasprintf("set %s; %s %s", shown, spoil[i], shown);

		assert_int_equal(system(cmd), 0);
		err_init(&e);
		if (store_check_sqlite(f->path, NULL, &e) < 0)
			fail_msg("%s: %s", spoil[i], e.message);
		s = must_open(f->path);
		fill(s, 3);
		store_close(s);
	}
	assert_int_equal(system(rm), 0);
}

static void a_newer_format_and_a_foreign_file_are_refused(void **state)
{
	struct fixture *f = *state;
	struct store *s = must_open(f->path);
	sqlite3 *db = NULL;
	struct err e;

	store_close(s);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	sqlite3_exec(db, "UPDATE meta SET value=99 WHERE name='format'", NULL, NULL, NULL);
	assert_int_equal(open_at(f->path, &s, &e), -ERR_UNSUPPORTED);
	assert_int_equal(store_check_sqlite(f->path, NULL, &e), -ERR_UNSUPPORTED);
	sqlite3_exec(db, "PRAGMA application_id=1", NULL, NULL, NULL);
	sqlite3_close(db);
	assert_int_equal(open_at(f->path, &s, &e), -ERR_INVALID);
	assert_int_equal(store_check_sqlite(f->path, NULL, &e), -ERR_INVALID);
}

static void a_second_owner_is_refused(void **state)
{
	struct fixture *f = *state;
	struct store *s = must_open(f->path), *t = NULL;
	struct err e;

	assert_int_equal(open_at(f->path, &t, &e), -ERR_UNAVAILABLE);
	assert_non_null(strstr(e.message, "in use by another Kogge (process "));
	store_close(s);
}

/* ---- no space -------------------------------------------------------------------------------- */

/* A file size limit stands for a full disk: write(2) fails in the same place. */
static int in_a_full_disk(const char *path)
{
	struct rlimit small = { 400 << 10, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	struct store *s = NULL;
	char key[32], value[8192];
	struct err e;
	int64_t rev, before;
	int n = 0, i, r = 0;

	signal(SIGXFSZ, SIG_IGN);
	memset(value, 'v', sizeof(value));
	if (open_at(path, &s, &e) < 0)
		return 2;
	if (setrlimit(RLIMIT_FSIZE, &small) < 0)
		return 3;
	for (i = 0; i < 500 && r == 0; i++) {
		snprintf(key, sizeof(key), "k/%04d", i);
		r = put(s, key, str_n(value, sizeof(value)), &rev, &e);
	}
	if (r != -ERR_FULL || !strstr(e.message, "free some space"))
		return 4;
	if (store_health(s) != STORE_FULL)
		return 8;
	before = store_revision(s);
	if (store_range(s, STR("k/"), STR(""), 0, ignore, &n, NULL, &e) < 0)
		return 5;
	if (setrlimit(RLIMIT_FSIZE, &none) < 0)
		return 6;
	if (put(s, key, str_n(value, sizeof(value)), &rev, &e) < 0 || rev != before + 1)
		return 7;
	if (store_health(s) != STORE_HEALTHY)
		return 9;
	store_close(s);
	return 0;
}

static void a_full_disk_refuses_writes_and_goes_on_reading(void **state)
{
	struct fixture *f = *state;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(in_a_full_disk(f->path));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int back_up_without_room(const char *path, const char *to)
{
	auto_free char *partial = xasprintf("%s.partial", to);
	struct rlimit small = { 40 << 10, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	struct store *s = NULL;
	struct err e;

	signal(SIGXFSZ, SIG_IGN);
	if (open_at(path, &s, &e) < 0)
		return 2;
	fill(s, 500);
	if (setrlimit(RLIMIT_FSIZE, &small) < 0)
		return 3;
	if (store_snapshot_sqlite(path, to, &e) != -ERR_FULL || !strstr(e.message, to) || strstr(e.message, path))
		return 4;
	if (access(to, F_OK) == 0 || access(partial, F_OK) == 0)
		return 5;
	if (setrlimit(RLIMIT_FSIZE, &none) < 0)
		return 6;
	if (store_snapshot_sqlite(path, to, &e) < 0 || store_check_sqlite(to, NULL, &e) < 0)
		return 7;
	store_close(s);
	return 0;
}

static void a_backup_without_room_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	auto_free char *to = xasprintf("%s/backup.db", f->dir), *cmd = xasprintf("rm -f %s*", to);
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(back_up_without_room(f->path, to));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(system(cmd), 0);
}

static void the_log_stays_near_its_limit(void **state)
{
	struct fixture *f = *state;
	struct store *s = must_open(f->path);
	char wal[128];
	struct stat st;

	fill(s, 1500);
	snprintf(wal, sizeof(wal), "%s-wal", f->path);
	assert_int_equal(stat(wal, &st), 0);
	/* 24 MiB went through it. It may pass its limit while a checkpoint waits for a slow disk. */
	assert_true(st.st_size < 4 << 20);
	store_close(s);
	assert_int_equal(stat(wal, &st), -1); /* folded in */
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(kill_9_loses_nothing_that_was_answered), /* forks: before this process has threads */
		TEST(a_full_disk_refuses_writes_and_goes_on_reading),
		TEST(a_backup_without_room_leaves_nothing),
		TEST(everything_is_there_after_closing),
		TEST(a_revision_never_comes_back),
		TEST(a_flipped_bit_is_found_and_named),
		TEST(any_flipped_bit_is_found_or_does_no_harm),
		TEST(a_value_of_another_type_is_damage),
		TEST(a_newest_revision_of_another_key_is_not_believed),
		TEST(an_older_revision_that_is_gone_is_not_taken_for_none),
		TEST(a_backup_is_a_whole_store),
		TEST(a_copy_goes_on_above_the_file_whose_place_it_takes),
		TEST(a_file_of_noise_is_refused_with_the_way_back),
		TEST(a_torn_page_is_an_error_and_not_a_crash),
		TEST(a_truncated_log_opens_at_a_whole_transaction),
		TEST(acknowledged_writes_that_are_gone_are_noticed),
		TEST(who_goes_on_without_them_goes_on_above),
		TEST(a_file_that_says_nothing_of_what_was_shown),
		TEST(a_newer_format_and_a_foreign_file_are_refused),
		TEST(a_second_owner_is_refused),
		TEST(the_log_stays_near_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

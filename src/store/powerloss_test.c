/* Power loss: the disk writes down everything SQLite does to its files and their names while writers work. Afterwards the power
 * is cut at every sync of that record and at other points: what was synced is there; of what was not, some is, some is not, some
 * is torn, and a file may have lost its name. Each time the store must open, hold every write that had been answered by then,
 * and be what it was at one revision; with whatever FILE-shown can hold, which nobody syncs. */
#include "base/task.h"
#include "base/test.h"
#include "store/disk_fixture.h"
#include "store/store.h"
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the record ------------------------------------------------------------------------------ */

enum act {
	ACT_NAME, /* a file is made */
	ACT_GONE, /* and its name removed */
	ACT_WRITE,
	ACT_TRUNCATE,
	ACT_SYNC,
	ACT_SYNC_NAMES, /* of the folder that all are in */
};

#define SHOWN_MAX 96
struct action {
	enum act act;
	enum disk_file file;
	sqlite3_int64 at;
	int n;
	size_t covers; /* of a sync: what was done before this one, when it began */
	unsigned char *bytes;
	char shown[SHOWN_MAX]; /* what FILE-shown held just before */
	size_t shown_n;
};

static struct {
	pthread_mutex_t lock;
	struct action *v;
	size_t n, cap;
	char shown_name[64], log_name[64];
} tape = { .lock = PTHREAD_MUTEX_INITIALIZER };

static size_t read_shown(char *to)
{
	int fd = open(tape.shown_name, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, to, SHOWN_MAX);

	if (fd >= 0)
		close(fd);
	return n > 0 ? (size_t)n : 0;
}

static void tape_add(struct action a, const void *bytes)
{
	if (bytes) {
		a.bytes = xmalloc((size_t)a.n);
		memcpy(a.bytes, bytes, (size_t)a.n);
	}
	pthread_mutex_lock(&tape.lock);
	GROW(tape.v, tape.n, tape.cap, 1024);
	a.shown_n = read_shown(a.shown);
	tape.v[tape.n++] = a;
	pthread_mutex_unlock(&tape.lock);
}

static size_t tape_len(void)
{
	size_t n;

	pthread_mutex_lock(&tape.lock);
	n = tape.n;
	pthread_mutex_unlock(&tape.lock);
	return n;
}

/* ---- the disk -------------------------------------------------------------------------------- */

static int64_t sync_ms; /* what a sync takes; nothing needs to reach this machine's disk: only the record counts */
static bool recording;
static _Thread_local bool of_sqlite; /* a sync that on_sync() sees to */

static int on_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	int r = disk_real(f)->xWrite(f, p, n, at);

	if (recording)
		tape_add((struct action){ .act = ACT_WRITE, .file = disk_file(f), .at = at, .n = n }, p);
	return r;
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	int r = disk_real(f)->xTruncate(f, size);

	if (recording)
		tape_add((struct action){ .act = ACT_TRUNCATE, .file = disk_file(f), .at = size }, NULL);
	return r;
}

/* What comes while it is under way it may miss. */
static int on_sync(sqlite3_file *f, int flags)
{
	size_t covers = tape_len();
	int r;

	of_sqlite = true;
	r = disk_real(f)->xSync(f, flags);
	of_sqlite = false;
	if (!recording)
		return r;
	task_sleep_ms(sync_ms);
	tape_add((struct action){ .act = ACT_SYNC, .file = disk_file(f), .covers = covers }, NULL);
	return r;
}

/* In the place of the C library's: of interest are folders, which SQLite and the store sync by themselves, and the log, which the
 * store does once. What SQLite syncs is seen by on_sync(). */
static int sync_others(int fd)
{
	size_t covers = tape_len();
	struct stat st, log;

	if (!recording || fstat(fd, &st) < 0)
		return 0;
	if (S_ISDIR(st.st_mode))
		tape_add((struct action){ .act = ACT_SYNC_NAMES, .covers = covers }, NULL);
	else if (!of_sqlite && stat(tape.log_name, &log) == 0 && log.st_ino == st.st_ino)
		tape_add((struct action){ .act = ACT_SYNC, .file = DISK_LOG, .covers = covers }, NULL);
	return 0;
}

int fsync(int fd)
{
	return sync_others(fd);
}

int fdatasync(int fd)
{
	return sync_others(fd);
}

static void on_open(const char *name, enum disk_file kind)
{
	if (recording && access(name, F_OK) < 0)
		tape_add((struct action){ .act = ACT_NAME, .file = kind }, NULL);
}

static bool has_ending(const char *name, const char *ending)
{
	return str_ends(str_c(name), str_c(ending));
}

/* On record before it is done, and with it the sync of the folder. */
static int on_delete(sqlite3_vfs *v, const char *name, int sync_folder)
{
	bool log = has_ending(name, "-wal"), journal = has_ending(name, "-journal");

	if (recording && (log || journal) && access(name, F_OK) == 0)
		tape_add((struct action){ .act = ACT_GONE, .file = log ? DISK_LOG : DISK_JOURNAL }, NULL);
	return disk.system->xDelete(disk.system, name, sync_folder);
}

/* No promise of the disk's is used: neither atomic sectors nor safe appends. */
static int on_traits(sqlite3_file *f)
{
	return 0;
}

static void record_methods(sqlite3_io_methods *m)
{
	m->xWrite = on_write;
	m->xTruncate = on_truncate;
	m->xSync = on_sync;
	m->xDeviceCharacteristics = on_traits;
}

/* ---- the load -------------------------------------------------------------------------------- */

#define WRITERS 4
#define WRITES 60
#define SLOTS 20 /* keys of a writer */
struct answered {
	int64_t rev;
	size_t at; /* length of the record when the answer came */
	int value;
	size_t n; /* bytes of it */
};

struct writer {
	struct store *s;
	int id;
	struct task *t;
	struct answered a[WRITES];
};

static void write_on(void *arg)
{
	struct writer *w = arg;
	char key[32], value[700];
	struct err e;

	memset(value, '.', sizeof(value));
	for (int i = 0; i < WRITES; i++) {
		snprintf(key, sizeof(key), "w%d/%d", w->id, i % SLOTS);
		snprintf(value, sizeof(value), "%d", i);
		struct store_write put = {
			.key = str_c(key), .value = str_n(value, 100 + rand_below(600)), .expect_revision = STORE_ANY
		};

		/* cmocka's assertions jump, which no other thread but the test's own may do */
		err_init(&e);
		if (store_write(w->s, &put, &w->a[i].rev, &e) < 0)
			PANIC("writer %d, write %d: %s", w->id, i, e.message);
		w->a[i].at = tape_len();
		w->a[i].value = i;
		w->a[i].n = put.value.n;
		if (w->id == 0 && i % 15 == 14)
			store_compact(w->s, w->a[i].rev, NULL);
	}
}

/* ---- the cut --------------------------------------------------------------------------------- */

#define SECTOR ((size_t)512)

struct image {
	unsigned char *p;
	size_t n, cap;
};

static void image_room(struct image *m, size_t n)
{
	if (n > m->cap) {
		m->p = xrealloc(m->p, n * 2, 1);
		m->cap = n * 2;
	}
	if (n > m->n) {
		memset(m->p + m->n, 0, n - m->n);
		m->n = n;
	}
}

static void image_apply(struct image *m, const struct action *a, size_t n)
{
	if (a->act == ACT_TRUNCATE) {
		image_room(m, (size_t)a->at);
		m->n = (size_t)a->at;
		return;
	}
	image_room(m, (size_t)a->at + n);
	memcpy(m->p + a->at, a->bytes, n);
}

/* Sectors reach the disk one by one, in any order: all, those up to somewhere, or just some. */
static void image_tear(struct image *m, const struct action *a)
{
	uint64_t how = rand_below(4);
	size_t up_to = how == 2 ? (size_t)rand_below((uint64_t)a->n) : (size_t)a->n;

	for (size_t at = 0; at < (size_t)a->n; at += SECTOR) {
		struct action sector = *a;

		sector.at += (sqlite3_int64)at;
		sector.bytes = a->bytes + at;
		if (at < up_to && (how != 3 || rand_below(2)))
			image_apply(m, &sector, MIN((size_t)a->n - at, SECTOR));
	}
}

/* One file among those that had a name in turn: what was done from its making to its end. */
struct life {
	size_t from, to;
};

/* What was done before this is safe, by the syncs of a kind within a part of the record. */
static size_t synced_to(enum act act, enum disk_file file, struct life part)
{
	size_t covers = part.from;

	for (size_t i = part.from; i < part.to; i++)
		if (tape.v[i].act == act && (act == ACT_SYNC_NAMES || tape.v[i].file == file))
			covers = MAX(covers, tape.v[i].covers);
	return covers;
}

/* The file that bears a name when the power goes after k actions: what was done to names and not synced is lost from some
 * moment on. false: none does. */
static bool find_file(enum disk_file file, size_t k, struct life *ret)
{
	size_t safe = synced_to(ACT_SYNC_NAMES, file, (struct life){ 0, k });
	size_t kept = rand_below(2) ? k : safe + (size_t)rand_below(k - safe + 1);
	bool is_there = false;

	for (size_t i = 0; i < kept; i++) {
		if (tape.v[i].file != file || (tape.v[i].act != ACT_NAME && tape.v[i].act != ACT_GONE))
			continue;
		is_there = tape.v[i].act == ACT_NAME;
		ret->from = i;
	}
	for (ret->to = ret->from; ret->to < k; ret->to++)
		if (tape.v[ret->to].act == ACT_GONE && tape.v[ret->to].file == file)
			break;
	return is_there;
}

/* What the disk holds of `file` when the power goes after k actions; false: it has no such file. */
static bool cut(enum disk_file file, size_t k, struct image *ret)
{
	uint64_t luck = rand_below(3); /* nothing, all, or some of what was not synced */
	struct life life = { 0 };
	size_t synced;

	if (!find_file(file, k, &life))
		return false;
	synced = synced_to(ACT_SYNC, file, life);
	for (size_t i = life.from; i < life.to; i++) {
		const struct action *a = &tape.v[i];

		if (a->file != file || (a->act != ACT_WRITE && a->act != ACT_TRUNCATE))
			continue;
		if (i >= synced && (luck == 0 || (luck == 2 && rand_below(2))))
			continue;
		if (i >= synced && luck == 2 && a->act == ACT_WRITE)
			image_tear(ret, a);
		else
			image_apply(ret, a, (size_t)a->n);
	}
	return true;
}

static void save_cut(const char *path, enum disk_file file, size_t k)
{
	struct image m = { 0 };
	FILE *f;

	if (!cut(file, k, &m))
		return;
	f = fopen(path, "w");
	assert_non_null(f);
	if (m.n)
		assert_int_equal(fwrite(m.p, 1, m.n, f), m.n);
	fclose(f);
	free(m.p);
}

/* It is not there, or as old as anything, or as new as can be. */
static void save_shown(const char *path, size_t k)
{
	size_t i = rand_below(2) ? k : (size_t)rand_below(k + 1);
	FILE *f;

	if (i == tape.n || rand_below(8) == 0)
		return;
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(tape.v[i].shown, 1, tape.v[i].shown_n, f), tape.v[i].shown_n);
	fclose(f);
}

struct expected {
	const struct writer *w;
	int writers;
	int64_t revision;
	int found;
};

/* The newest write of this key up to a revision. */
static const struct answered *newest(const struct writer *w, int slot, int64_t revision)
{
	const struct answered *best = NULL;

	for (int i = slot; i < WRITES; i += SLOTS)
		if (w->a[i].rev <= revision)
			best = &w->a[i];
	return best;
}

static bool compare(void *arg, const struct store_kv *kv)
{
	struct expected *x = arg;
	const struct answered *a;
	char key[32]; /* the slices end without a NUL */
	int id, slot;

	snprintf(key, sizeof(key), "%.*s", STR_ARG(kv->key));
	assert_int_equal(sscanf(key, "w%d/%d", &id, &slot), 2);
	assert_true(id < x->writers);
	a = newest(&x->w[id], slot, x->revision);
	assert_non_null(a);
	assert_int_equal(kv->revision, a->rev);
	assert_int_equal(strtol(kv->value.p, NULL, 10), a->value);
	assert_int_equal(kv->value.n, a->n);
	x->found++;
	return true;
}

/* At every revision stands what was written up to it: no more, no less, nothing else. */
static void check_revision(struct store *s, const struct writer *w, int writers, int64_t revision)
{
	struct expected x = { w, writers, revision, 0 };
	int want = 0;
	struct err e;

	err_init(&e);
	if (store_range(s, STR(""), STR(""), revision, compare, &x, NULL, &e) < 0)
		fail_msg("%s", e.message);
	for (int id = 0; id < writers; id++)
		for (int slot = 0; slot < SLOTS; slot++)
			want += newest(&w[id], slot, revision) != NULL;
	assert_int_equal(x.found, want);
}

static int64_t newest_answered(const struct writer *w, int writers, size_t k)
{
	int64_t rev = 0;

	for (int id = 0; id < writers; id++)
		for (int i = 0; i < WRITES; i++)
			if (w[id].a[i].at <= k)
				rev = MAX(rev, w[id].a[i].rev);
	return rev;
}

static void check_cut(const char *dir, const struct writer *w, int writers, size_t k)
{
	static const char *const endings[] = { "", "-wal", "-journal", "-shm", "-lock",
		"-shown" }; /* the first are of DISK_FILES */
	auto_free char *db = xasprintf("%s/cut.db", dir), *shown = xasprintf("%s-shown", db);
	struct store *s = NULL;
	int64_t oldest;
	struct err e;

	err_init(&e);
	for (int i = 0; i < DISK_FILES; i++) {
		auto_free char *name = xasprintf("%s%s", db, endings[i]);

		save_cut(name, (enum disk_file)i, k);
	}
	save_shown(shown, k);
	if (store_open_sqlite(&(struct store_sqlite_opts){ .path = db }, &s, &e) < 0)
		fail_msg("cut after %zu of %zu: %s", k, tape.n, e.message);
	assert_true(store_revision(s) >= newest_answered(w, writers, k));
	check_revision(s, w, writers, store_revision(s));
	oldest = MAX(store_compacted(s), (int64_t)1);
	check_revision(s, w, writers, oldest + (int64_t)rand_below((uint64_t)(store_revision(s) - oldest + 1)));
	store_close(s);
	if (store_check_sqlite(db, NULL, &e) < 0)
		fail_msg("cut after %zu of %zu: %s", k, tape.n, e.message);
	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		auto_free char *name = xasprintf("%s%s", db, endings[i]);

		unlink(name);
	}
}

/* ---- the tests ------------------------------------------------------------------------------- */

/* A store whose files are on record, from before they are there, and what its own tasks open, too. */
static struct store *record(const char *dir, int64_t wal_bytes)
{
	auto_free char *db = xasprintf("%s/state.db", dir);
	struct store *s = NULL;

	recording = true;
	snprintf(tape.shown_name, sizeof(tape.shown_name), "%s-shown", db);
	snprintf(tape.log_name, sizeof(tape.log_name), "%s-wal", db);
	tape_add((struct action){ .act = ACT_NAME, .file = DISK_DATABASE }, NULL);
	assert_int_equal(store_make_sqlite(db, NULL), 0); /* as a server's first start does */
	assert_int_equal(
		store_open_sqlite(&(struct store_sqlite_opts){ .path = db, .wal_bytes = wal_bytes }, &s, NULL), 0);
	return s;
}

/* The store's own tasks may write until here. From now on nobody adds to the record. */
static void end_record(struct store *s)
{
	store_close(s);
	recording = false;
}

static void erase(const char *dir)
{
	auto_free char *rm = xasprintf("rm -r %s", dir);

	for (size_t i = 0; i < tape.n; i++)
		free(tape.v[i].bytes);
	free(tape.v);
	tape.v = NULL;
	tape.n = tape.cap = 0;
	assert_int_equal(system(rm), 0);
}

/* Logs that began anew: what makes a checkpoint's order of syncs count. */
static int logs_begun(void)
{
	int n = 0;

	for (size_t i = 0; i < tape.n; i++)
		n += tape.v[i].act == ACT_WRITE && tape.v[i].file == DISK_LOG && tape.v[i].at == 0;
	return n;
}

/* Just before each sync is done, when most is at stake, and just after it; what has been written at any other moment is a
 * part of what has been written then. */
static void cut_everywhere(const char *dir, const struct writer *w, int writers)
{
	for (size_t i = 0; i < tape.n; i++) {
		if (tape.v[i].act != ACT_SYNC && tape.v[i].act != ACT_SYNC_NAMES)
			continue;
		check_cut(dir, w, writers, i);
		check_cut(dir, w, writers, i);
		check_cut(dir, w, writers, i + 1);
	}
	for (int i = 0; i < 150; i++)
		check_cut(dir, w, writers, (size_t)rand_below(tape.n + 1));
}

static void lose_power_beside(int writers)
{
	char dir[] = "/tmp/kogge-power-XXXXXX";
	struct writer w[WRITERS];
	struct store *s;

	assert_non_null(mkdtemp(dir));
	s = record(dir, 200 << 10);
	for (int i = 0; i < writers; i++) {
		w[i] = (struct writer){ .s = s, .id = i };
		w[i].t = task_spawn("writer", write_on, &w[i]);
	}
	for (int i = 0; i < writers; i++)
		task_join(w[i].t);
	end_record(s);
	assert_true(logs_begun() > 2);
	cut_everywhere(dir, w, writers);
	erase(dir);
}

static void no_answered_write_is_lost_by_power_loss(void **state)
{
	lose_power_beside(WRITERS);
}

/* He does the store's work himself, and the log is levelled behind his answers. */
static void nor_one_of_a_lone_writer(void **state)
{
	lose_power_beside(1);
}

/* A file that somebody wrote who was killed before he synced it. */
static void tape_file(const char *from, enum disk_file file)
{
	char bytes[256 << 10];
	int fd = open(from, O_RDONLY);
	ssize_t n = read(fd, bytes, sizeof(bytes));

	assert_true(n > 0 && (size_t)n < sizeof(bytes));
	close(fd);
	tape_add((struct action){ .act = ACT_NAME, .file = file }, NULL);
	tape_add((struct action){ .act = ACT_WRITE, .file = file, .n = (int)n }, bytes);
}

static int64_t revision_after_cut(const char *dir, size_t k)
{
	auto_free char *db = xasprintf("%s/cut.db", dir), *log = xasprintf("%s-wal", db), *rm = xasprintf("rm %s*", db);
	struct store *s = NULL;
	int64_t revision;

	save_cut(db, DISK_DATABASE, k);
	save_cut(log, DISK_LOG, k);
	assert_int_equal(store_open_sqlite(&(struct store_sqlite_opts){ .path = db }, &s, NULL), 0);
	revision = store_revision(s);
	store_close(s);
	assert_int_equal(system(rm), 0);
	return revision;
}

/* Whoever reads it may keep to it. */
static void what_a_start_finds_and_shows_is_not_lost_either(void **state)
{
	char dir[] = "/tmp/kogge-power-XXXXXX";
	struct store_write put = { .key = STR("k"), .value = STR("v"), .expect_revision = STORE_ANY };
	struct store *s = NULL;

	assert_non_null(mkdtemp(dir));
	auto_free char *db = xasprintf("%s/state.db", dir), *killed = xasprintf("%s/killed.db", dir),
		       *cp = xasprintf("cp %s %s; cp %s-wal %s-wal", killed, db, killed, db);
	snprintf(tape.log_name, sizeof(tape.log_name), "%s-wal", db);
	assert_int_equal(store_make_sqlite(killed, NULL), 0);
	assert_int_equal(store_open_sqlite(&(struct store_sqlite_opts){ .path = killed }, &s, NULL), 0);
	assert_int_equal(store_write(s, &put, NULL, NULL), 0);
	assert_int_equal(system(cp), 0);
	store_close(s);
	tape_file(db, DISK_DATABASE);
	tape_add((struct action){ .act = ACT_SYNC, .file = DISK_DATABASE, .covers = tape_len() }, NULL);
	tape_add((struct action){ .act = ACT_SYNC_NAMES, .covers = tape_len() }, NULL);
	tape_file(tape.log_name, DISK_LOG);
	recording = true;
	assert_int_equal(store_open_sqlite(&(struct store_sqlite_opts){ .path = db }, &s, NULL), 0);
	recording = false;
	for (int i = 0; i < 30; i++)
		assert_int_equal(revision_after_cut(dir, tape_len()), store_revision(s));
	store_close(s);
	erase(dir);
}

/* On a disk that takes its time the checkpoint task is never level with him: the log would grow to twice its limit, and be
 * folded after every other commit. */
static void a_lone_writer_syncs_little_more_than_once_a_write(void **state)
{
	enum { LIMIT = 4 << 20, LONE_WRITES = 1000 };
	char dir[] = "/tmp/kogge-power-XXXXXX", value[600] = { 0 };
	struct store_write put = { .value = str_n(value, sizeof(value)) };
	sqlite3_int64 log_bytes = 0;
	struct store *s;
	size_t opened;
	int syncs = 0;

	assert_non_null(mkdtemp(dir));
	sync_ms = 1;
	s = record(dir, LIMIT);
	opened = tape_len();
	for (int i = 0; i < LONE_WRITES; i++) {
		auto_free char *key = xasprintf("k/%04d", i);

		put.key = str_c(key);
		assert_int_equal(store_write(s, &put, NULL, NULL), 0);
	}
	end_record(s);
	sync_ms = 0;
	for (size_t i = opened; i < tape.n; i++) {
		const struct action *a = &tape.v[i];

		syncs += a->act == ACT_SYNC;
		if (a->file == DISK_LOG && a->act == ACT_WRITE)
			log_bytes = MAX(log_bytes, a->at + a->n);
	}
	erase(dir);
	assert_true(syncs <= LONE_WRITES * 11 / 10);
	assert_true(log_bytes <= LIMIT);
}

static int begin(void **state)
{
	disk_begin(record_methods);
	disk.opening = on_open;
	disk.vfs.xDelete = on_delete;
	return 0;
}

static int end(void **state)
{
	disk_end();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_answered_write_is_lost_by_power_loss),
		cmocka_unit_test(nor_one_of_a_lone_writer),
		cmocka_unit_test(what_a_start_finds_and_shows_is_not_lost_either),
		cmocka_unit_test(a_lone_writer_syncs_little_more_than_once_a_write),
	};

	return cmocka_run_group_tests(tests, begin, end);
}

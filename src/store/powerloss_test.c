/* Power loss: the disk writes down everything SQLite does to its files while writers work. Afterwards the power is cut at
 * many points of that record: what was synced is there; of what was not, some is, some is not, some is torn. Each time
 * the store must open and hold every write that had been answered by then. */
#include "base/task.h"
#include "store/disk_fixture.h"
#include "store/store.h"
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h> /* wants the two above */

/* ---- the record ------------------------------------------------------------------------------ */

enum act { ACT_WRITE, ACT_TRUNCATE, ACT_SYNC };

struct action {
	enum act act;
	enum disk_file file;
	sqlite3_int64 at;
	int n;
	unsigned char *bytes;
};

static struct {
	pthread_mutex_t lock;
	struct action *v;
	size_t n, cap;
} tape = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void tape_add(struct action a, const void *bytes)
{
	if (bytes) {
		a.bytes = xmalloc((size_t)a.n);
		memcpy(a.bytes, bytes, (size_t)a.n);
	}
	pthread_mutex_lock(&tape.lock);
	GROW(tape.v, tape.n, tape.cap, 1024);
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

static int on_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	int r = disk_real(f)->xWrite(f, p, n, at);

	tape_add((struct action){ .act = ACT_WRITE, .file = disk_file(f), .at = at, .n = n }, p);
	return r;
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	int r = disk_real(f)->xTruncate(f, size);

	tape_add((struct action){ .act = ACT_TRUNCATE, .file = disk_file(f), .at = size }, NULL);
	return r;
}

static int on_sync(sqlite3_file *f, int flags)
{
	task_sleep_ms(sync_ms);
	tape_add((struct action){ .act = ACT_SYNC, .file = disk_file(f) }, NULL);
	return SQLITE_OK;
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
struct answered {
	int64_t rev;
	size_t at; /* length of the record when the answer came */
	int value;
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
		snprintf(key, sizeof(key), "w%d/%d", w->id, i % 20);
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
		if (w->id == 0 && i % 15 == 14)
			store_compact(w->s, w->a[i].rev, NULL);
	}
}

/* ---- the cut --------------------------------------------------------------------------------- */

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

/* What the disk holds of `file` when the power goes after k actions. */
static struct image cut(enum disk_file file, size_t k)
{
	struct image m = { 0 };
	size_t synced = 0, n;
	uint64_t luck = rand_below(3); /* nothing, all, or some of what was not synced */

	for (size_t i = 0; i < k; i++) {
		if (tape.v[i].file == file && tape.v[i].act == ACT_SYNC)
			synced = i;
	}
	for (size_t i = 0; i < k; i++) {
		const struct action *a = &tape.v[i];

		if (a->file != file || a->act == ACT_SYNC)
			continue;
		n = (size_t)a->n;
		if (i > synced && (luck == 0 || (luck == 2 && rand_below(2))))
			continue;
		if (i > synced && luck == 2 && n > 512 && rand_below(4) == 0)
			n = 512 * (size_t)rand_below(n / 512);
		image_apply(&m, a, n);
	}
	return m;
}

static void save(const char *path, struct image m)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	if (m.n)
		assert_int_equal(fwrite(m.p, 1, m.n, f), m.n);
	fclose(f);
	free(m.p);
}

struct expected {
	const struct writer *w;
	int writers;
	size_t k;
	int found;
};

/* The newest answered write of this key. */
static const struct answered *newest(const struct writer *w, int slot, size_t k)
{
	const struct answered *best = NULL;

	for (int i = slot; i < WRITES; i += 20) {
		if (w->a[i].at <= k)
			best = &w->a[i];
	}
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
	a = newest(&x->w[id], slot, x->k);
	if (a) {
		assert_true(kv->revision >= a->rev);
		assert_true(kv->revision > a->rev || strtol(kv->value.p, NULL, 10) == a->value);
		x->found++;
	}
	return true;
}

static void check_cut(const char *dir, const struct writer *w, int writers, size_t k)
{
	auto_free char *db = xasprintf("%s/cut.db", dir), *wal = xasprintf("%s/cut.db-wal", dir),
		       *rm = xasprintf("rm -f %s/cut.db*", dir);
	struct expected x = { w, writers, k, 0 };
	struct store *s = NULL;
	int want = 0;
	struct err e;

	err_init(&e);
	save(db, cut(DISK_DATABASE, k));
	save(wal, cut(DISK_LOG, k));
	if (store_open_sqlite(&(struct store_sqlite_opts){ .path = db }, &s, &e) < 0)
		fail_msg("cut after %zu of %zu: %s", k, tape.n, e.message);
	if (store_range(s, STR(""), STR(""), 0, compare, &x, NULL, &e) < 0)
		fail_msg("cut after %zu of %zu: %s", k, tape.n, e.message);
	for (int id = 0; id < writers; id++) {
		for (int slot = 0; slot < 20; slot++)
			want += newest(&w[id], slot, k) != NULL;
	}
	assert_int_equal(x.found, want);
	store_close(s);
	if (store_check_sqlite(db, NULL, &e) < 0)
		fail_msg("cut after %zu of %zu: %s", k, tape.n, e.message);
	assert_int_equal(system(rm), 0);
}

/* ---- the tests ------------------------------------------------------------------------------- */

/* A store whose files are on record, also those that its own tasks open. */
static struct store *record(const char *dir, int64_t wal_bytes)
{
	auto_free char *db = xasprintf("%s/state.db", dir);
	struct store *s = NULL;

	disk_begin(record_methods);
	assert_int_equal(
		store_open_sqlite(&(struct store_sqlite_opts){ .path = db, .wal_bytes = wal_bytes }, &s, NULL), 0);
	return s;
}

/* The store's own tasks may write until here. From now on nobody adds to the record. */
static void end_record(struct store *s)
{
	store_close(s);
	disk_end();
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

static void lose_power_beside(int writers)
{
	char dir[] = "/tmp/kogge-power-XXXXXX";
	struct writer w[WRITERS];
	struct store *s;
	size_t opened, end;

	assert_non_null(mkdtemp(dir));
	s = record(dir, 200 << 10);
	opened = tape_len();
	for (int i = 0; i < writers; i++) {
		w[i] = (struct writer){ .s = s, .id = i };
		w[i].t = task_spawn("writer", write_on, &w[i]);
	}
	for (int i = 0; i < writers; i++)
		task_join(w[i].t);
	end = tape_len();
	end_record(s);
	for (int i = 0; i < 150; i++)
		check_cut(dir, w, writers, opened + (size_t)rand_below(end - opened + 1));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_answered_write_is_lost_by_power_loss),
		cmocka_unit_test(nor_one_of_a_lone_writer),
		cmocka_unit_test(a_lone_writer_syncs_little_more_than_once_a_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

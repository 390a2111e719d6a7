/* Compaction beside a slow disk, under virtual time: a page that is on the disk alone takes a millisecond to be read, and a
 * sync 20. What the store's stages took, and who waited for pages, is the same in every run. */
#include "base/test.h"
#include "store/disk_fixture.h"
#include "store/store.h"
#include <stdio.h>
#include <unistd.h>

/* ---- the disk -------------------------------------------------------------------------------- */

enum { PAGE_BYTES = 4096, PAGES = 8192, READ_MS = 1 };

static struct {
	int64_t there_ns[PAGES];    /* since when a page of the database is in memory; 0: it is on the disk alone */
	sqlite3_file *of_the_store; /* the first that is opened: through it the store's work is done */
	int waits, other_waits;     /* for pages: of the store's work, of all else */
	sqlite3_int64 log_bytes;    /* the most since forget() */
	int64_t sync_ms;
	bool short_lived; /* pages are gone again as soon as they are read */
} memory;

static int64_t *page_at(sqlite3_int64 at)
{
	size_t page = (size_t)at / PAGE_BYTES;

	if (page >= PAGES)
		PANIC("the test's database has %zu pages", page);
	return &memory.there_ns[page];
}

static int on_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	int64_t now = mono_now().ns;

	if (disk_file(f) == DISK_DATABASE) {
		int64_t *there = page_at(at);

		if (!*there || memory.short_lived)
			*there = now + READ_MS * 1000000;
		if (*there > now) { /* also where another one began to read it */
			++*(f == memory.of_the_store ? &memory.waits : &memory.other_waits);
			task_sleep_ms(READ_MS);
		}
	}
	return disk_real(f)->xRead(f, p, n, at);
}

static int on_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	if (disk_file(f) == DISK_DATABASE)
		*page_at(at) = mono_now().ns;
	else
		memory.log_bytes = MAX(memory.log_bytes, at + n);
	return disk_real(f)->xWrite(f, p, n, at);
}

static int on_sync(sqlite3_file *f, int flags)
{
	if (memory.sync_ms)
		task_sleep_ms(memory.sync_ms);
	return SQLITE_OK;
}

static int on_lock(sqlite3_file *f, int level)
{
	if (!memory.of_the_store)
		memory.of_the_store = f;
	return disk_real(f)->xLock(f, level);
}

static void slow_methods(sqlite3_io_methods *m)
{
	m->xRead = on_read;
	m->xWrite = on_write;
	m->xSync = on_sync;
	m->xLock = on_lock;
}

/* From now on the database is on the disk alone, and what happened before does not count. */
static void forget(void)
{
	memset(memory.there_ns, 0, sizeof(memory.there_ns));
	memory.waits = memory.other_waits = 0;
	memory.log_bytes = 0;
}

/* ---- what the store does --------------------------------------------------------------------- */

enum { LOG_LIMIT = 128 << 10 };

struct story {
	int keys, value_bytes; /* each written twice: the first of them is what compaction drops */
	int writes;            /* one after the other, beside compaction */
	int64_t sync_ms;
	bool short_lived;
	char dir[32], path[64];
	struct store_times times[STORE_STAGES_N]; /* since compaction began */
	int64_t rows_left;
};

static void put(struct store *s, const char *prefix, int i, size_t bytes)
{
	char key[32], value[4096] = "";
	struct err e;

	err_init(&e);
	snprintf(key, sizeof(key), "%s/%04d", prefix, i);
	if (store_write(s,
		    &(struct store_write){
			    .key = str_c(key), .value = str_n(value, bytes), .expect_revision = STORE_ANY },
		    NULL, &e) < 0)
		PANIC("%s", e.message);
}

static void subtract(struct store_times *t, const struct store_times *before)
{
	t->sum_ns -= before->sum_ns;
	for (size_t i = 0; i < ARRAY_LEN(t->count); i++)
		t->count[i] -= before->count[i];
}

static void compact_beside_writes(void *arg)
{
	struct story *y = arg;
	struct store_times before[STORE_STAGES_N];
	struct store *s = NULL;
	struct err e;

	err_init(&e);
	if (store_open_sqlite(&(struct store_sqlite_opts){ .path = y->path, .wal_bytes = LOG_LIMIT }, &s, &e) < 0)
		PANIC("%s", e.message);
	for (int i = 0; i < 2 * y->keys; i++)
		put(s, "k", i % y->keys, (size_t)y->value_bytes);
	task_sleep_ms(1000); /* the log is in the file */
	forget();
	memory.short_lived = y->short_lived;
	store_times(s, before);
	store_compact(s, store_revision(s), &e);
	for (int i = 0; i < y->writes; i++)
		put(s, "new", i, (size_t)y->value_bytes);
	task_sleep_ms(100000);
	store_times(s, y->times);
	memory.short_lived = false;
	for (int i = 0; i < STORE_STAGES_N; i++)
		subtract(&y->times[i], &before[i]);
	store_close(s);
	if (store_check_sqlite(y->path, &y->rows_left, &e) < 0)
		PANIC("%s", e.message);
}

static void play(struct story *y)
{
	auto_free char *erase = NULL;

	memset(&memory, 0, sizeof(memory));
	snprintf(y->dir, sizeof(y->dir), "/tmp/kogge-compact-XXXXXX");
	assert_non_null(mkdtemp(y->dir));
	snprintf(y->path, sizeof(y->path), "%s/state.db", y->dir);
	memory.sync_ms = y->sync_ms;
	disk_begin(slow_methods);
	task_sim_run(1, 10000000, compact_beside_writes, y);
	disk_end();
	erase = xasprintf("rm -r %s", y->dir);
	assert_int_equal(system(erase), 0);
	assert_int_equal(y->rows_left, y->keys + y->writes); /* compaction came to its end */
}

/* How often the stage took more than that. */
static int64_t longer_than_ms(const struct story *y, enum store_stage stage, int64_t ms)
{
	const struct store_times *t = &y->times[stage];
	int64_t n = t->count[STORE_BOUNDS];

	for (size_t i = STORE_BOUNDS; i-- > 0 && store_bound_ns(i) > ms * 1000000;)
		n += t->count[i];
	return n;
}

/* ---- the tests ------------------------------------------------------------------------------- */

/* What was read ahead is gone again, and each row has a page of its own: no piece has a second row. */
static void a_piece_ends_with_the_row_that_took_a_millisecond(void **state)
{
	struct story y = { .keys = 600, .value_bytes = 3000, .short_lived = true };

	play(&y);
	assert_true(memory.waits >= y.keys);
	assert_int_equal(longer_than_ms(&y, STORE_SWEEP, 4), 0);
}

/* While writers wait for their syncs. */
static void what_it_looks_at_is_read_before(void **state)
{
	struct story y = { .keys = 5000, .value_bytes = 150, .writes = 500, .sync_ms = 20 };

	play(&y);
	assert_true(memory.other_waits > 300);
	assert_true(memory.waits < memory.other_waits / 10);
}

/* While somebody reads the log cannot begin anew. */
static void reading_ahead_leaves_the_log_short(void **state)
{
	struct story y = { .keys = 2000, .value_bytes = 3000, .writes = 500, .sync_ms = 20 };

	play(&y);
	assert_true(memory.log_bytes < 2 << 20);
	assert_true(memory.waits < 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_piece_ends_with_the_row_that_took_a_millisecond),
		cmocka_unit_test(what_it_looks_at_is_read_before),
		cmocka_unit_test(reading_ahead_leaves_the_log_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

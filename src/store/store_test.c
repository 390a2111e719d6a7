/* Each case runs against every engine: they promise the same. */
#include "base/buf.h"
#include "base/test.h"
#include "store/store_internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define STR_(s) str_c(s)

struct fixture {
	const char *engine;
	char dir[64], path[96];
	struct store *s;
};

static void must_open(struct fixture *f)
{
	struct err e;

	err_init(&e);
	if (!strcmp(f->engine, "memory")) {
		assert_int_equal(store_open_memory(&f->s, &e), 0);
		return;
	}
	if (store_open_sqlite(&(struct store_sqlite_opts){ .path = f->path, .wal_bytes = 256 << 10 }, &f->s, &e) < 0)
		fail_msg("%s", e.message);
}

static int set_up(void **state, const char *engine)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->engine = engine;
	snprintf(f->dir, sizeof(f->dir), "/tmp/kogge-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/state.db", f->dir);
	must_open(f);
	*state = f;
	return 0;
}

static int set_up_memory(void **state)
{
	return set_up(state, "memory");
}

static int set_up_sqlite(void **state)
{
	return set_up(state, "sqlite");
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	static const char *const suffix[] = { "", "-wal", "-shm", "-lock" };
	char name[128];

	store_close(f->s);
	for (size_t i = 0; i < ARRAY_LEN(suffix); i++) {
		snprintf(name, sizeof(name), "%s%s", f->path, suffix[i]);
		unlink(name);
	}
	rmdir(f->dir);
	free(f);
	return 0;
}

static int put(struct store *s, const char *key, const char *value, int64_t expect, int64_t *rev)
{
	struct store_write w = { .key = STR_(key), .value = STR_(value), .expect_revision = expect };

	return store_write(s, &w, rev, NULL);
}

static int del(struct store *s, const char *key, int64_t expect, int64_t *rev)
{
	struct store_write w = { .key = STR_(key), .del = true, .expect_revision = expect };

	return store_write(s, &w, rev, NULL);
}

static bool note(void *arg, const struct store_kv *kv)
{
	buf_printf(arg, "%.*s=%.*s@%" PRId64 "/%" PRId64 " ", STR_ARG(kv->key), STR_ARG(kv->value), kv->revision,
		kv->create_revision);
	return true;
}

#define assert_range(s, prefix, from, rev, want)                                             \
	do {                                                                                 \
		auto_buf struct buf b_ = BUF_INIT;                                           \
		struct err e_;                                                               \
		err_init(&e_);                                                               \
		if (store_range(s, STR_(prefix), STR_(from), rev, note, &b_, NULL, &e_) < 0) \
			fail_msg("%s", e_.message);                                          \
		buf_byte(&b_, 0);                                                            \
		assert_string_equal(b_.p, want);                                             \
	} while (0)

static void an_empty_store_is_at_revision_1(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;
	int64_t rev = 0;

	assert_int_equal(store_revision(s), 1);
	assert_int_equal(store_range(s, STR(""), STR(""), 0, note, NULL, &rev, NULL), 0);
	assert_int_equal(rev, 1);
}

static void each_write_has_its_revision_and_verdict(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;
	int64_t rev = 0;

	assert_int_equal(put(s, "pods/a/x", "1", 0, &rev), 0);
	assert_int_equal(rev, 2);
	assert_int_equal(put(s, "pods/a/x", "2", 0, &rev), -ERR_EXISTS);
	assert_int_equal(put(s, "pods/a/x", "2", 7, &rev), -ERR_CONFLICT);
	assert_int_equal(put(s, "pods/a/y", "2", 7, &rev), -ERR_NOT_FOUND);
	assert_int_equal(del(s, "pods/a/y", STORE_ANY, &rev), -ERR_NOT_FOUND);
	assert_int_equal(rev, 2); /* changes on success only */
	assert_int_equal(put(s, "pods/a/x", "2", 2, &rev), 0);
	assert_int_equal(rev, 3);
	assert_int_equal(put(s, "pods/a/y", "new", STORE_ANY, &rev), 0);
	assert_range(s, "pods/", "", 0, "pods/a/x=2@3/2 pods/a/y=new@4/4 ");
	assert_int_equal(del(s, "pods/a/x", 2, &rev), -ERR_CONFLICT);
	assert_int_equal(del(s, "pods/a/x", 3, &rev), 0);
	assert_int_equal(rev, 5);
	assert_int_equal(put(s, "pods/a/x", "again", 0, &rev), 0);
	assert_range(s, "pods/a/x", "", 0, "pods/a/x=again@6/6 ");
	assert_int_equal(store_revision(s), 6);
}

static void refusals_say_what_is_wrong(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;
	struct err e;

	err_init(&e);
	put(s, "pods/a/x", "1", 0, NULL);
	assert_int_equal(
		store_write(s, &(struct store_write){ .key = STR("pods/a/x"), .expect_revision = 9 }, NULL, &e),
		-ERR_CONFLICT);
	assert_string_equal(e.message, "key \"pods/a/x\" is at revision 2, not 9");
	assert_int_equal(e.code, ERR_CONFLICT);
	assert_int_equal(store_range(s, STR(""), STR(""), 99, note, NULL, NULL, &e), -ERR_TIMEOUT);
}

static void a_range_is_ordered_and_bounded(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;

	put(s, "b/2", "v", 0, NULL);
	put(s, "a/1", "v", 0, NULL);
	put(s, "b/1", "v", 0, NULL);
	put(s, "b", "v", 0, NULL);
	put(s, "c/1", "v", 0, NULL);
	assert_range(s, "b/", "", 0, "b/1=v@4/4 b/2=v@2/2 ");
	assert_range(s, "b/", "b/1\x01", 0, "b/2=v@2/2 ");
	assert_range(s, "", "b/2", 0, "b/2=v@2/2 c/1=v@6/6 ");
	assert_range(s, "d", "", 0, "");
}

static void an_old_revision_can_be_read_until_it_is_compacted(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;

	put(s, "k", "1", 0, NULL);     /* 2 */
	put(s, "l", "1", 0, NULL);     /* 3 */
	put(s, "k", "2", 2, NULL);     /* 4 */
	del(s, "l", 3, NULL);          /* 5 */
	put(s, "k", "3", 4, NULL);     /* 6 */
	put(s, "l", "again", 0, NULL); /* 7 */
	assert_range(s, "", "", 1, "");
	assert_range(s, "", "", 3, "k=1@2/2 l=1@3/3 ");
	assert_range(s, "", "", 4, "k=2@4/2 l=1@3/3 ");
	assert_range(s, "", "", 5, "k=2@4/2 ");
	assert_range(s, "", "", 7, "k=3@6/2 l=again@7/7 ");
	assert_int_equal(store_compact(s, 5, NULL), 0);
	put(s, "z", "1", 0, NULL); /* lets the store's task pass by the sweep */
	assert_int_equal(store_compacted(s), 5);
	assert_int_equal(store_range(s, STR(""), STR(""), 4, note, NULL, NULL, NULL), -ERR_EXPIRED);
	assert_range(s, "", "", 5, "k=2@4/2 ");
	assert_range(s, "", "", 6, "k=3@6/2 ");
	assert_range(s, "", "", 0, "k=3@6/2 l=again@7/7 z=1@8/8 ");
	assert_int_equal(store_compact(s, 99, NULL), -ERR_BAD_REQUEST);
	assert_int_equal(store_compact(s, 3, NULL), 0); /* long gone */
}

/* ---- events ---------------------------------------------------------------------------------- */

struct seen {
	struct store *s;
	struct buf b;
	int64_t last;
	int stamped, events;
};

static void on_event(void *arg, const struct store_event *ev)
{
	struct seen *n = arg;

	assert_true(ev->revision > n->last);
	n->last = ev->revision;
	n->events++;
	if (ev->payload)
		assert_int_equal(*(int64_t *)ev->payload, ev->revision); /* stamped before it is shown */
	buf_printf(&n->b, "%.*s%s%.*s@%" PRId64 " ", STR_ARG(ev->key), ev->deleted ? "-" : "=", STR_ARG(ev->value),
		ev->revision);
}

static void stamp(void *payload, int64_t revision)
{
	*(int64_t *)payload = revision;
}

static void events_begin_after_a_revision_and_come_before_the_verdict(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;
	struct seen n = { .b = BUF_INIT };
	int64_t stamped = 0;

	put(s, "a", "1", 0, NULL);
	put(s, "a", "2", 2, NULL);
	put(s, "b", "1", 0, NULL);
	assert_int_equal(store_watch(s, 2, on_event, &n, NULL), 0);
	assert_int_equal(n.events, 2);
	assert_int_equal(store_write(s,
				 &(struct store_write){
					 .key = STR("c"), .value = STR("x"), .payload = &stamped, .stamp = stamp },
				 NULL, NULL),
		0);
	assert_int_equal(stamped, 5);
	assert_int_equal(n.events, 3);
	del(s, "b", STORE_ANY, NULL);
	put(s, "b", "no", 4, NULL);
	buf_byte(&n.b, 0);
	assert_string_equal(n.b.p, "a=2@3 b=1@4 c=x@5 b-@6 ");
	buf_fini(&n.b);
}

static void note_task(void *arg, const struct store_event *ev)
{
	*(pthread_t *)arg = pthread_self();
}

/* Once the store's task has found that there is nothing to compact. When others are on their way, it is its work again. */
static void who_writes_alone_does_the_work_himself(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;
	pthread_t on = { 0 };
	char key[16];
	int n = 0;

	assert_int_equal(store_watch(s, 1, note_task, &on, NULL), 0);
	do {
		snprintf(key, sizeof(key), "k%d", n++);
		assert_int_equal(put(s, key, "1", 0, NULL), 0);
	} while (!pthread_equal(on, pthread_self()));
	store_coming(s, 1);
	assert_int_equal(put(s, "others", "1", 0, NULL), 0);
	assert_false(pthread_equal(on, pthread_self()));
	store_coming(s, -1);
	assert_int_equal(put(s, "alone", "1", 0, NULL), 0);
	assert_int_equal(store_revision(s), n + 3);
}

struct writer {
	struct store *s;
	int id, ok, lost;
	struct task *t;
};

static void write_many(void *arg)
{
	struct writer *w = arg;
	char key[32];
	int64_t rev;

	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "w/%d/%03d", w->id, i);
		assert_int_equal(put(w->s, key, "value", 0, &rev), 0);
		w->ok += put(w->s, "shared", key, STORE_ANY, &rev) == 0;
		w->lost += put(w->s, "shared", key, 1, &rev) == -ERR_CONFLICT;
	}
}

static bool count(void *arg, const struct store_kv *kv)
{
	(*(int *)arg)++;
	return true;
}

static void many_writers_share_transactions(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;
	struct seen n = { .b = BUF_INIT };
	struct writer w[16];
	struct store_status st;
	int found = 0;

	assert_int_equal(store_watch(s, store_revision(s), on_event, &n, NULL), 0);
	for (int i = 0; i < 16; i++) {
		w[i] = (struct writer){ .s = s, .id = i };
		w[i].t = task_spawn("writer", write_many, &w[i]);
	}
	for (int i = 0; i < 16; i++) {
		task_join(w[i].t);
		assert_int_equal(w[i].ok, 100);
		assert_int_equal(w[i].lost, 100);
	}
	store_status(s, &st);
	assert_int_equal(st.writes, 3200);
	assert_int_equal(st.revision, 3201);
	assert_int_equal(n.events, 3200);
	assert_true(st.commits <= st.writes);
	assert_int_equal(store_range(s, STR("w/"), STR(""), 0, count, &found, NULL, NULL), 0);
	assert_int_equal(found, 1600); /* several pages */
	assert_int_equal(store_compact(s, store_revision(s), NULL), 0);
	found = 0;
	assert_int_equal(store_range(s, STR("w/"), STR(""), 0, count, &found, NULL, NULL), 0);
	assert_int_equal(found, 1600);
	buf_fini(&n.b);
}

/* A reader in the middle of a range sees one revision, whatever writers do between its pages. */
static bool disturb(void *arg, const struct store_kv *kv)
{
	struct seen *n = arg;

	if (n->events++ == 0) {
		assert_int_equal(put(n->s, "p/0500", "changed", STORE_ANY, NULL), 0);
		assert_int_equal(put(n->s, "p/0500x", "new", 0, NULL), 0);
		assert_int_equal(del(n->s, "p/0501", STORE_ANY, NULL), 0);
	}
	assert_string_equal(str_eq(kv->value, STR("v")) ? "v" : "another", "v");
	return true;
}

static void a_range_shows_one_moment(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;
	struct seen n = { .s = s };
	char key[32];

	for (int i = 0; i < 600; i++) {
		snprintf(key, sizeof(key), "p/%04d", i);
		assert_int_equal(put(s, key, "v", 0, NULL), 0);
	}
	assert_int_equal(store_range(s, STR("p/"), STR(""), 0, disturb, &n, NULL, NULL), 0);
	assert_int_equal(n.events, 600);
}

static int64_t times_at(const struct store_times *t)
{
	int64_t n = 0;

	for (size_t i = 0; i <= STORE_BOUNDS; i++)
		n += t->count[i];
	return n;
}

static void a_commit_is_counted_at_each_of_its_stages(void **state)
{
	struct store *s = ((struct fixture *)*state)->s;
	struct store_times before[STORE_STAGES_N], after[STORE_STAGES_N];

	store_times(s, before);
	for (int i = 0; i < 5; i++)
		assert_int_equal(put(s, "p/x", "v", STORE_ANY, NULL), 0);
	assert_int_equal(put(s, "p/x", "v", 0, NULL), -ERR_EXISTS); /* no commit */
	store_times(s, after);
	assert_int_equal(times_at(&after[STORE_PUT]) - times_at(&before[STORE_PUT]), 6);
	assert_int_equal(times_at(&after[STORE_COMMIT]) - times_at(&before[STORE_COMMIT]), 5);
	assert_int_equal(times_at(&after[STORE_PUBLISH]) - times_at(&before[STORE_PUBLISH]), 5);
	assert_true(after[STORE_PUT].sum_ns > before[STORE_PUT].sum_ns);
	assert_true(store_bound_ns(1) == 2 * store_bound_ns(0));
	assert_string_equal(store_stage_name(STORE_CHECKPOINT), "checkpoint");
}

/* ---- in the simulator ------------------------------------------------------------------------ */

static void simulated(void *arg)
{
	struct fixture f = { .engine = "memory" };
	void *state = &f;

	must_open(&f);
	many_writers_share_transactions(&state);
	store_close(f.s);
}

static void the_memory_engine_runs_in_a_simulation(void **state)
{
	uint64_t first = task_sim_run(7, 60000, simulated, NULL);

	assert_true(first == task_sim_run(7, 60000, simulated, NULL));
}

static void slow_event(void *arg, const struct store_event *ev)
{
	task_sleep_ms(15000);
}

static void write_one(void *arg)
{
	assert_int_equal(put(arg, "a", "1", 0, NULL), 0);
}

static void slow(void *arg)
{
	struct store *s;

	assert_int_equal(store_open_memory(&s, NULL), 0);
	assert_int_equal(store_watch(s, store_revision(s), slow_event, NULL, NULL), 0);
	struct task *t = task_spawn("writer", write_one, s);
	task_sleep_ms(9000);
	assert_int_equal(store_health(s), STORE_HEALTHY);
	task_sleep_ms(2000);
	assert_int_equal(store_health(s), STORE_HANGS);
	task_join(t);
	assert_int_equal(store_health(s), STORE_HEALTHY);
	store_close(s);
}

static void a_write_that_hangs_is_told(void **state)
{
	task_sim_run(1, 60000, slow, NULL);
}

/* ---- compaction of what is on the disk ------------------------------------------------------- */

struct reads { /* an engine that has nothing but history, and that not in memory yet */
	bool in_memory;
	int sweeps;
};

static enum sweep reads_sweep(void *self, size_t rows)
{
	struct reads *r = self;

	(void)rows;
	r->sweeps++;
	return r->in_memory ? SWEEP_DONE : SWEEP_LATER;
}

static void reads_close(void *self)
{
	(void)self;
}

static void sweep_later(void *arg)
{
	static const struct store_engine engine = { .name = "reads", .sweep = reads_sweep, .close = reads_close };
	struct reads reads = { 0 };
	struct store *s = store_new(&engine, &reads, 1, 1, "uid");

	(void)arg;
	task_sleep_ms(200);
	assert_in_range(reads.sweeps, 90, 110); /* with time between them */
	reads.in_memory = true;
	task_sleep_ms(9);
	reads.sweeps = 0;
	task_sleep_ms(1000);
	assert_int_equal(reads.sweeps, 0);
	store_close(s);
}

static void compaction_comes_back_for_what_is_read_into_memory(void **state)
{
	(void)state;
	task_sim_run(1, 60000, sweep_later, NULL);
}

#define EACH(test)                                                     \
	{ "memory: " #test, test, set_up_memory, tear_down, NULL },    \
	{                                                              \
		"sqlite: " #test, test, set_up_sqlite, tear_down, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(an_empty_store_is_at_revision_1),
		EACH(each_write_has_its_revision_and_verdict),
		EACH(refusals_say_what_is_wrong),
		EACH(a_range_is_ordered_and_bounded),
		EACH(an_old_revision_can_be_read_until_it_is_compacted),
		EACH(events_begin_after_a_revision_and_come_before_the_verdict),
		EACH(who_writes_alone_does_the_work_himself),
		EACH(many_writers_share_transactions),
		EACH(a_range_shows_one_moment),
		EACH(a_commit_is_counted_at_each_of_its_stages),
		cmocka_unit_test(the_memory_engine_runs_in_a_simulation),
		cmocka_unit_test(a_write_that_hangs_is_told),
		cmocka_unit_test(compaction_comes_back_for_what_is_read_into_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

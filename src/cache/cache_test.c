#include "base/buf.h"
#include "base/test.h"
#include "cache/cache.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

static struct doc *object(const char *name, int64_t rev)
{
	struct arena *a = arena_new();
	struct doc *d = node_publish(node_pack(
		a, "{kind:'Pod', metadata:{name:s, resourceVersion:s}}", name, arena_printf(a, "%" PRId64, rev)));

	arena_free(a);
	return d;
}

static void apply(struct cache *c, const char *key, bool deleted, int64_t rev)
{
	struct doc *d = object(key, rev);

	cache_apply(c, str_c(key), d, deleted, rev);
	doc_unref(d);
}

static void fill(struct cache *c, const char *key, int64_t rev)
{
	struct doc *d = object(key, rev);

	cache_fill(c, str_c(key), d, rev);
	doc_unref(d);
}

static const char *show(struct arena *a, struct cache *c, const char *prefix, const char *from, size_t max)
{
	int64_t rev;
	struct cache_list l = cache_list(c, a, str_c(prefix), str_c(from), max, &rev);
	struct buf b = BUF_INIT;
	char *text;

	for (size_t i = 0; i < l.n; i++)
		buf_printf(&b, "%.*s:%" PRId64 " ", STR_ARG(l.items[i].key), doc_revision(l.items[i].doc));
	buf_printf(&b, "+%zu@%" PRId64, l.more, rev);
	text = arena_cstr(a, buf_view(&b));
	buf_fini(&b);
	return text;
}

static void shows_what_was_applied(void **state)
{
	auto_(cache_free) struct cache *c = cache_new("pods", NULL);
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = NULL;

	fill(c, "b/y", 2);
	fill(c, "a/x", 3);
	cache_ready(c, 5);
	assert_string_equal(show(a, c, "", "", 0), "a/x:3 b/y:2 +0@5");
	apply(c, "a/x", false, 6);
	apply(c, "b/a", false, 7);
	apply(c, "b/y", true, 8);
	assert_string_equal(show(a, c, "", "", 0), "a/x:6 b/a:7 +0@8");
	d = cache_get(c, STR("b/a"));
	assert_int_equal(doc_revision(d), 7);
	assert_null(cache_get(c, STR("b/y")));
	assert_int_equal(cache_len(c), 2);
}

static void lists_by_prefix_and_page(void **state)
{
	auto_(cache_free) struct cache *c = cache_new("pods", NULL);
	auto_(arena_free) struct arena *a = arena_new();
	static const char *const keys[] = { "a/1", "a/2", "a/3", "a0", "b/1", "a", "a-b/1" };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		fill(c, keys[i], (int64_t)i);
	cache_ready(c, 9);
	assert_string_equal(show(a, c, "a/", "", 0), "a/1:0 a/2:1 a/3:2 +0@9");
	assert_string_equal(show(a, c, "a/", "", 2), "a/1:0 a/2:1 +1@9");
	assert_string_equal(show(a, c, "a/", "a/2\x01", 2), "a/3:2 +0@9");
	assert_string_equal(show(a, c, "", "a0", 1), "a0:3 +1@9");
	assert_string_equal(show(a, c, "c/", "", 0), "+0@9");
	assert_string_equal(show(a, c, "A/", "", 0), "+0@9");
}

/* The index against a plain sorted array, through many random changes, with old lists held open. */
static void agrees_with_a_simple_model(void **state)
{
	auto_(cache_free) struct cache *c = cache_new("pods", NULL);
	auto_(arena_free) struct arena *a = arena_new();
	static int64_t model[2000];
	struct cache_list held = { 0 };
	char key[16];
	int64_t held_rev = 0;
	size_t n;

	memset(model, 0, sizeof(model));
	cache_ready(c, 1);
	for (int64_t rev = 2; rev < 20000; rev++) {
		size_t k = (size_t)rand_below(ARRAY_LEN(model));
		bool grow = rev < 8000;
		bool del = model[k] && rand_below(10) < (grow ? 2 : 8);

		snprintf(key, sizeof(key), "ns/%04zu", k);
		apply(c, key, del, rev);
		model[k] = del ? 0 : rev;
		if (rev == 9000)
			held = cache_list(c, a, STR(""), STR(""), 0, &held_rev);
		if (rev % 997)
			continue;
		auto_(arena_free) struct arena *b = arena_new();
		struct cache_list l = cache_list(c, b, STR("ns/"), STR(""), 0, NULL);
		n = 0;
		for (size_t i = 0; i < ARRAY_LEN(model); i++) {
			if (!model[i])
				continue;
			snprintf(key, sizeof(key), "ns/%04zu", i);
			assert_true(str_is(l.items[n].key, key));
			assert_int_equal(doc_revision(l.items[n].doc), model[i]);
			n++;
		}
		assert_int_equal(l.n, n);
		assert_int_equal(cache_len(c), n);
	}
	assert_int_equal(held_rev, 9000);
	for (size_t i = 0; i < held.n; i++)
		assert_true(doc_revision(held.items[i].doc) <= 9000);
}

/* ---- watches --------------------------------------------------------------------------------- */

static void bell(void *arg)
{
	(*(int *)arg)++;
}

#define assert_event(w, rev_, before_, deleted_)                                      \
	do {                                                                          \
		struct cache_event ev_;                                               \
		assert_int_equal(cache_watch_next(w, &ev_, NULL, NULL), 1);           \
		assert_int_equal(ev_.revision, rev_);                                 \
		assert_int_equal(ev_.before ? doc_revision(ev_.before) : 0, before_); \
		assert_int_equal(ev_.deleted, deleted_);                              \
		assert_int_equal(doc_revision(ev_.after), rev_);                      \
		doc_unref(ev_.before);                                                \
		doc_unref(ev_.after);                                                 \
	} while (0)
#define assert_none(w, progress_)                                          \
	do {                                                               \
		struct cache_event ev_;                                    \
		int64_t p_ = 0;                                            \
		assert_int_equal(cache_watch_next(w, &ev_, &p_, NULL), 0); \
		assert_int_equal(p_, progress_);                           \
	} while (0)

static void a_watch_sees_each_change_once(void **state)
{
	auto_(cache_free) struct cache *c = cache_new("pods", NULL);
	auto_(cache_watch_free) struct cache_watch *w = NULL, *mid = NULL, *one = NULL;
	int rung = 0, one_rung = 0;

	fill(c, "a/x", 2);
	cache_ready(c, 3);
	assert_int_equal(cache_watch(c, 3, STR(""), bell, &rung, &w, NULL), 0);
	assert_int_equal(cache_watch(c, 3, STR("b/"), bell, &one_rung, &one, NULL), 0);
	assert_none(w, 3);
	assert_none(one, 3);
	apply(c, "a/x", false, 4);
	assert_int_equal(rung, 1);
	apply(c, "b/y", false, 5);
	assert_int_equal(rung, 1); /* once, until it has looked */
	assert_int_equal(one_rung, 1);
	cache_advance(c, 7);
	assert_event(w, 4, 2, false);
	assert_event(w, 5, 0, false);
	assert_none(w, 7);
	apply(c, "a/x", true, 8);
	assert_int_equal(rung, 2);
	assert_event(w, 8, 4, true);
	assert_event(one, 5, 0, false);
	assert_none(one, 8);
	assert_int_equal(cache_watch(c, 4, STR(""), bell, &rung, &mid, NULL), 0);
	assert_event(mid, 5, 0, false);
	assert_event(mid, 8, 4, true);
	assert_none(mid, 8);
}

/* The last event arms the bell. */
static void the_last_event_arms_the_bell(void **state)
{
	auto_(cache_free) struct cache *c = cache_new("pods", NULL);
	struct cache_watch *w[4], *other;
	struct cache_event ev;
	int told = 0, rung = 0;

	cache_ready(c, 1);
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		assert_int_equal(cache_watch(c, 1, STR(""), bell, &told, &w[i], NULL), 0);
	assert_int_equal(cache_watch(c, 1, STR(""), bell, &rung, &other, NULL), 0);
	apply(c, "a/x", false, 2);
	apply(c, "a/y", false, 3);
	assert_int_equal(told, 0); /* nobody has looked yet */
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		for (int64_t rev = 2; rev <= 3; rev++) {
			assert_int_equal(cache_watch_next(w[i], &ev, NULL, NULL), 1);
			assert_int_equal(ev.last, rev == 3);
			doc_unref(ev.before);
			doc_unref(ev.after);
		}
	apply(c, "a/x", false, 4);
	assert_int_equal(told, 4);
	assert_int_equal(rung, 0);
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		cache_watch_free(w[i]);
	cache_watch_free(other);
}

static void too_old_is_told_and_disturbs_nobody(void **state)
{
	struct cache_budget *b = cache_budget_new(4000);
	struct cache *c = cache_new("pods", b), *quiet = cache_new("nodes", b);
	struct cache_watch *slow, *quick, *narrow, *of_quiet;
	struct cache_event ev;
	struct err e;
	int n = 0;

	err_init(&e);
	cache_ready(c, 10);
	cache_ready(quiet, 10);
	assert_int_equal(cache_watch(c, 9, STR(""), bell, &n, &slow, &e), -ERR_EXPIRED);
	assert_string_equal(e.message, "too old resource version: 9 (10)");
	apply(quiet, "n", false, 11);
	assert_int_equal(cache_watch(c, 10, STR(""), bell, &n, &slow, NULL), 0);
	assert_int_equal(cache_watch(c, 10, STR(""), bell, &n, &quick, NULL), 0);
	assert_int_equal(cache_watch(c, 10, STR("other/"), bell, &n, &narrow, NULL), 0);
	assert_none(narrow, 10);
	for (int64_t rev = 12; rev < 200; rev++) {
		apply(c, "a/x", false, rev);
		assert_event(quick, rev, rev == 12 ? 0 : rev - 1, false);
	}
	assert_int_equal(cache_watch_next(slow, &ev, NULL, &e), -ERR_EXPIRED);
	assert_none(narrow, 199); /* nothing for it was lost */
	apply(c, "other/y", false, 200);
	assert_event(narrow, 200, 0, false);
	assert_int_equal(cache_watch(quiet, 10, STR(""), bell, &n, &of_quiet, NULL), 0); /* the busy ring paid */
	assert_event(of_quiet, 11, 0, false);
	cache_watch_free(slow);
	cache_watch_free(quick);
	cache_watch_free(of_quiet);
	cache_free(c);
	assert_int_equal(cache_watch_next(narrow, &ev, NULL, NULL), -ERR_CANCELED);
	cache_watch_free(narrow);
	cache_free(quiet);
	cache_budget_free(b);
}

static void old_changes_are_forgotten_but_what_is_still_to_be_shown(void **state)
{
	struct cache_budget *b = cache_budget_new(1 << 20);
	struct cache *c = cache_new("pods", b), *other = cache_new("nodes", b);
	struct cache_watch *slow, *again;
	struct cache_event ev;
	struct err e;
	int n = 0;

	err_init(&e);
	cache_ready(c, 10);
	cache_ready(other, 10);
	assert_int_equal(cache_watch(c, 10, STR(""), bell, &n, &slow, NULL), 0);
	for (int64_t rev = 11; rev <= 300; rev++)
		apply(c, "a/x", false, rev);
	apply(other, "n", false, 301);
	assert_int_equal(cache_budget_forget(b, 290), 0);
	assert_event(slow, 11, 0, false);
	assert_true(cache_budget_forget(b, 290) > 0); /* that one alone */
	assert_int_equal(cache_watch(c, 10, STR(""), bell, &n, &again, &e), -ERR_EXPIRED);
	for (int64_t rev = 12; rev <= 300; rev++)
		assert_event(slow, rev, rev - 1, false);
	assert_none(slow, 300);

	assert_true(cache_budget_forget(b, 290) > 0);
	assert_int_equal(cache_watch(c, 289, STR(""), bell, &n, &again, &e), -ERR_EXPIRED);
	assert_int_equal(
		cache_watch(c, 290, STR(""), bell, &n, &again, NULL), 0); /* whoever has seen it misses nothing */
	assert_event(again, 291, 290, false);
	cache_watch_free(again);
	assert_true(cache_budget_forget(b, 301) > 0);
	assert_int_equal(cache_budget_forget(b, 301), 0);
	assert_none(slow, 300);
	apply(c, "a/x", true, 302);
	assert_event(slow, 302, 300, true);
	assert_int_equal(cache_watch_next(slow, &ev, NULL, &e), 0);
	cache_watch_free(slow);
	cache_free(c);
	cache_free(other);
	cache_budget_free(b);
}

/* ---- many tasks ------------------------------------------------------------------------------ */

struct crowd {
	struct cache *c;
	_Atomic bool done;
	_Atomic int seen;
};

struct watcher {
	struct crowd *crowd;
	struct task_mutex lock;
	struct task_cond wake;
	bool rung;
	struct task *t;
	int64_t last;
};

static void wake_watcher(void *arg)
{
	struct watcher *w = arg;

	task_lock(&w->lock);
	w->rung = true;
	task_signal(&w->wake);
	task_unlock(&w->lock);
}

#define CHANGES 3000
static void watch_all(void *arg)
{
	struct watcher *w = arg;
	struct cache_watch *cw;
	struct cache_event ev;

	assert_int_equal(cache_watch(w->crowd->c, 1, STR(""), wake_watcher, w, &cw, NULL), 0);
	w->last = 1;
	while (w->last < CHANGES + 1) {
		int r = cache_watch_next(cw, &ev, NULL, NULL);

		assert_true(r >= 0);
		if (r == 1) {
			assert_int_equal(ev.revision, w->last + 1); /* none is lost, none comes twice */
			w->last = ev.revision;
			doc_unref(ev.before);
			doc_unref(ev.after);
			continue;
		}
		task_lock(&w->lock);
		while (!w->rung)
			task_wait(&w->wake, &w->lock);
		w->rung = false;
		task_unlock(&w->lock);
	}
	cache_watch_free(cw);
}

static void read_all(void *arg)
{
	struct crowd *k = arg;

	while (!atomic_load(&k->done)) {
		auto_(arena_free) struct arena *a = arena_new();
		int64_t rev;
		struct cache_list l = cache_list(k->c, a, STR(""), STR(""), 0, &rev);

		for (size_t i = 0; i < l.n; i++) {
			assert_true(doc_revision(l.items[i].doc) <= rev);
			assert_true(i == 0 || str_cmp(l.items[i - 1].key, l.items[i].key) < 0);
		}
		doc_unref(cache_get(k->c, STR("ns/0007")));
		task_sleep_ms(1);
	}
}

static void a_crowd_reads_and_watches(void **state)
{
	struct cache_budget *b = cache_budget_new(64 << 20);
	struct crowd k = { .c = cache_new("pods", b) };
	struct task *readers[2];
	struct watcher w[4] = { 0 };
	char key[16];

	cache_ready(k.c, 1);
	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		w[i].crowd = &k;
		task_mutex_init(&w[i].lock);
		task_cond_init(&w[i].wake);
		w[i].t = task_spawn("watcher", watch_all, &w[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(readers); i++)
		readers[i] = task_spawn("reader", read_all, &k);
	for (int64_t rev = 2; rev <= CHANGES + 1; rev++) {
		snprintf(key, sizeof(key), "ns/%04d", (int)rand_below(300));
		apply(k.c, key, false, rev);
		if (rev % 16 == 0)
			task_yield();
	}
	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		task_join(w[i].t);
		task_cond_fini(&w[i].wake);
		task_mutex_fini(&w[i].lock);
	}
	atomic_store(&k.done, true);
	for (size_t i = 0; i < ARRAY_LEN(readers); i++)
		task_join(readers[i]);
	cache_free(k.c);
	cache_budget_free(b);
}

static void simulated(void *arg)
{
	a_crowd_reads_and_watches(NULL);
}

static void a_crowd_in_a_simulation(void **state)
{
	uint64_t first = task_sim_run(3, 600000, simulated, NULL);

	assert_true(first == task_sim_run(3, 600000, simulated, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_what_was_applied),
		cmocka_unit_test(lists_by_prefix_and_page),
		cmocka_unit_test(agrees_with_a_simple_model),
		cmocka_unit_test(a_watch_sees_each_change_once),
		cmocka_unit_test(the_last_event_arms_the_bell),
		cmocka_unit_test(too_old_is_told_and_disturbs_nobody),
		cmocka_unit_test(old_changes_are_forgotten_but_what_is_still_to_be_shown),
		cmocka_unit_test(a_crowd_reads_and_watches),
		cmocka_unit_test(a_crowd_in_a_simulation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/test.h"

#include "base/queue.h"

static void assert_pop(struct queue *q, const char *want)
{
	auto_free char *key = NULL;

	assert_true(queue_pop(q, &key));
	assert_string_equal(key, want);
}

/* In virtual time a test knows to the millisecond when a key comes. */
static void waits_double(void *arg)
{
	static const int wait_ms[] = { 5, 10, 20, 40, 60, 60 };
	auto_(queue_free) struct queue *q = queue_new((struct queue_opts){ .most_ms = 60 });
	struct str key = STR("default/web");

	(void)arg;
	queue_add(q, key);
	assert_pop(q, "default/web");
	for (size_t i = 0; i < ARRAY_LEN(wait_ms); i++) {
		struct mono from = mono_now();

		assert_int_equal(queue_failures(q, key), i);
		queue_retry(q, key);
		queue_done(q, key);
		assert_int_equal(queue_len(q), 0);
		assert_pop(q, "default/web");
		assert_int_equal(mono_ms_between(from, mono_now()), wait_ms[i]);
	}
	queue_forget(q, key);
	assert_int_equal(queue_failures(q, key), 0);
	queue_done(q, key);
}

static void waits_twice_as_long_after_each_failure(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++)
		task_sim_run(seed, 10000, waits_double, NULL);
}

static void keeps_order(void *arg)
{
	auto_(queue_free) struct queue *q = queue_new((struct queue_opts){ 0 });
	char *key;

	(void)arg;
	queue_add(q, STR("a"));
	queue_add(q, STR("b"));
	queue_add(q, STR("a")); /* one visit */
	assert_int_equal(queue_len(q), 2);
	assert_pop(q, "a");
	queue_add(q, STR("a")); /* worked on: once more, afterwards */
	queue_add(q, STR("a"));
	assert_int_equal(queue_len(q), 1);
	assert_pop(q, "b");
	queue_done(q, STR("a"));
	assert_pop(q, "a");
	queue_done(q, STR("a"));
	queue_done(q, STR("b"));
	assert_int_equal(queue_len(q), 0);
	queue_add(q, STR("c"));
	queue_add_after(q, STR("d"), 1000000);
	queue_stop(q);
	queue_add(q, STR("e"));
	assert_pop(q, "c"); /* what is ready is still handed out; what waits or comes later is not */
	queue_retry(q, STR("c"));
	queue_done(q, STR("c"));
	assert_false(queue_pop(q, &key));
}

static void one_visit_at_a_time(void **state)
{
	(void)state;
	keeps_order(NULL);
	for (uint64_t seed = 0; seed < 50; seed++)
		task_sim_run(seed, 10000, keeps_order, NULL);
}

static void comes_after(void *arg)
{
	auto_(queue_free) struct queue *q = queue_new((struct queue_opts){ 0 });
	struct mono from = mono_now();

	(void)arg;
	queue_add_after(q, STR("late"), 300);
	queue_add_after(q, STR("early"), 500);
	queue_add_after(q, STR("early"), 100); /* the earliest of several wins */
	queue_add_after(q, STR("early"), 200);
	queue_add_after(q, STR("soon"), 900);
	queue_add(q, STR("soon")); /* now, and not once more later */
	assert_pop(q, "soon");
	assert_int_equal(mono_ms_between(from, mono_now()), 0);
	queue_done(q, STR("soon"));
	assert_pop(q, "early");
	assert_int_equal(mono_ms_between(from, mono_now()), 100);
	queue_add_after(q, STR("early"), 50); /* its time comes while it is worked on */
	task_sleep_ms(60);
	queue_done(q, STR("early"));
	assert_pop(q, "early");
	assert_int_equal(mono_ms_between(from, mono_now()), 160);
	queue_done(q, STR("early"));
	assert_pop(q, "late");
	assert_int_equal(mono_ms_between(from, mono_now()), 300);
	queue_done(q, STR("late"));
	queue_add_after(q, STR("end"), 1000);
	assert_pop(q, "end");
	assert_int_equal(mono_ms_between(from, mono_now()), 1300);
	queue_done(q, STR("end"));
}

/* Many times, some of them moved forward: keys come in the order of time. */
static void comes_in_order(void *arg)
{
	enum { N = 200 };
	auto_(queue_free) struct queue *q = queue_new((struct queue_opts){ 0 });
	struct mono from = mono_now();
	int64_t due[N];

	(void)arg;
	for (int i = 0; i < 2 * N; i++) {
		int64_t ms = 1 + (int64_t)rand_below(1000);
		auto_free char *key = xasprintf("%d", i % N);

		due[i % N] = i < N ? ms : MIN(ms, due[i % N]);
		queue_add_after(q, str_c(key), ms);
	}
	for (int i = 0; i < N; i++) {
		auto_free char *key = NULL;
		int64_t n = 0;

		assert_true(queue_pop(q, &key));
		assert_true(str_i64(str_c(key), &n));
		assert_int_equal(mono_ms_between(from, mono_now()), due[n]);
		queue_done(q, str_c(key));
	}
}

static void comes_at_its_time(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		task_sim_run(seed, 10000, comes_after, NULL);
		task_sim_run(seed, 10000, comes_in_order, NULL);
	}
}

/* ---- several workers, several keys ----------------------------------------------------------- */

enum { KEYS = 10, VISITS = 20, WORKERS = 4 };

struct shop {
	struct queue *q;
	struct task_mutex lock;
	bool busy[KEYS];
	int visits[KEYS];
};

static void work(void *arg)
{
	struct shop *s = arg;
	char *key;

	while (queue_pop(s->q, &key)) {
		struct str k = str_c(key);
		int i = key[0] - '0';

		task_lock(&s->lock);
		assert_false(s->busy[i]); /* nobody else has it */
		s->busy[i] = true;
		task_unlock(&s->lock);
		if (rand_below(3) == 0)
			task_sleep_ms((int64_t)rand_below(3));
		task_lock(&s->lock);
		s->busy[i] = false;
		if (++s->visits[i] < VISITS) {
			if (i % 2)
				queue_retry(s->q, k);
			else
				queue_add(s->q, k);
		} else {
			queue_forget(s->q, k);
		}
		task_unlock(&s->lock);
		queue_done(s->q, k);
		free(key);
	}
}

static void run_shop(void *arg)
{
	struct shop s = { .q = queue_new((struct queue_opts){ .first_ms = 1, .most_ms = 4 }) };
	struct task *workers[WORKERS];
	bool done = false;

	(void)arg;
	task_mutex_init(&s.lock);
	for (int i = 0; i < WORKERS; i++)
		workers[i] = task_spawn("worker", work, &s);
	for (int i = 0; i < KEYS; i++) {
		const char key[2] = { (char)('0' + i), 0 };

		queue_add(s.q, str_c(key));
	}
	while (!done) {
		task_sleep_ms(1);
		task_lock(&s.lock);
		done = true;
		for (int i = 0; i < KEYS; i++)
			done &= s.visits[i] >= VISITS;
		task_unlock(&s.lock);
	}
	queue_stop(s.q);
	for (int i = 0; i < WORKERS; i++)
		task_join(workers[i]);
	for (int i = 0; i < KEYS; i++)
		assert_int_equal(s.visits[i], VISITS);
	task_mutex_fini(&s.lock);
	queue_free(s.q);
}

static void workers_never_share_a_key(void **state)
{
	(void)state;
	run_shop(NULL);
	for (uint64_t seed = 0; seed < 100; seed++)
		task_sim_run(seed, 100000, run_shop, NULL);
}

/* Two workers sleep, one of them until a key's time. When that one is taken for other work, the other must watch. */
struct pair {
	struct queue *q;
	struct task_mutex lock;
	int taken;
};

static void hold_long(void *arg)
{
	struct pair *p = arg;
	char *key;

	while (queue_pop(p->q, &key)) {
		task_lock(&p->lock);
		p->taken++;
		task_unlock(&p->lock);
		task_sleep_ms(1000);
		queue_done(p->q, str_c(key));
		free(key);
	}
}

static void two_sleepers(void *arg)
{
	struct pair p = { .q = queue_new((struct queue_opts){ 0 }) };
	struct task *a, *b;

	(void)arg;
	task_mutex_init(&p.lock);
	a = task_spawn("a", hold_long, &p);
	b = task_spawn("b", hold_long, &p);
	task_sleep_ms(10);
	queue_add_after(p.q, STR("later"), 20); /* one of the two now knows of this time */
	task_sleep_ms(10);
	queue_add(p.q, STR("now"));
	task_sleep_ms(11);
	assert_int_equal(p.taken, 2);
	queue_stop(p.q);
	task_join(a);
	task_join(b);
	task_mutex_fini(&p.lock);
	queue_free(p.q);
}

static void a_sleeper_takes_over_the_watch(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++)
		task_sim_run(seed, 10000, two_sleepers, NULL);
}

/* ---- queue_work() ---------------------------------------------------------------------------- */

struct visits {
	struct queue *q;
	char seen[64]; /* first letters */
	int64_t at_ms[64];
	int n;
	struct mono from;
};

/* "later" asks for one more visit, twice; "slow" takes its time. */
static void note_visit(void *arg, struct str key)
{
	struct visits *v = arg;

	v->at_ms[v->n] = mono_ms_between(v->from, mono_now());
	v->seen[v->n++] = key.n ? key.p[0] : '.';
	if (str_is(key, "later") && v->n < 4)
		queue_add_after(v->q, key, 100);
	if (str_is(key, "slow"))
		task_sleep_ms(1000);
}

static void visitor(void *arg)
{
	struct visits *v = arg;

	queue_work(v->q, note_visit, v);
}

static void visit_until_stopped(void *arg)
{
	struct visits v = { .q = queue_new((struct queue_opts){ 0 }), .from = mono_now() };
	struct task *t;

	(void)arg;
	queue_add(v.q, STR("")); /* the empty key is one like any other */
	queue_add(v.q, STR("later"));
	t = task_spawn("visitor", visitor, &v);
	task_sleep_ms(500);
	assert_string_equal(v.seen, ".lll");
	assert_int_equal(v.at_ms[3], 200);
	queue_add(v.q, STR("slow"));
	task_sleep_ms(100);
	queue_add(v.q, STR("unvisited"));
	queue_add(v.q, STR("slow"));
	queue_add_after(v.q, STR("waiting"), 100);
	queue_stop(v.q);
	task_join(t);
	assert_string_equal(v.seen, ".llls"); /* what was ready is left */
	assert_int_equal(mono_ms_between(v.from, mono_now()), 1500);
	queue_free(v.q);
}

static void a_worker_visits_until_it_is_stopped(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++)
		task_sim_run(seed, 10000, visit_until_stopped, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_twice_as_long_after_each_failure),
		cmocka_unit_test(one_visit_at_a_time),
		cmocka_unit_test(comes_at_its_time),
		cmocka_unit_test(workers_never_share_a_key),
		cmocka_unit_test(a_sleeper_takes_over_the_watch),
		cmocka_unit_test(a_worker_visits_until_it_is_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

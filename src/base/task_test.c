#include "base/test.h"

#include "base/task.h"
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define HASH_OF_SEED_42 UINT64_C(0xd440c8ecd6d64759)

/* A scenario is one function, run on threads and then as a simulation under many seeds. */
static void on_both(void (*scenario)(void *arg))
{
	scenario(NULL);
	for (uint64_t seed = 0; seed < 200; seed++)
		task_sim_run(seed, 3600000, scenario, NULL);
}

/* ---- counting under a lock ------------------------------------------------------------------- */

struct counter {
	struct task_mutex lock;
	struct task_cond changed;
	int n;
	bool sloppy;
};

static void count_up(void *arg)
{
	struct counter *c = arg;

	for (int i = 0; i < 50; i++) {
		task_lock(&c->lock);
		int n = c->n;

		if (c->sloppy) { /* the bug that the simulator is for */
			task_unlock(&c->lock);
			task_lock(&c->lock);
		}
		c->n = n + 1;
		task_broadcast(&c->changed);
		task_unlock(&c->lock);
	}
}

static int count_with_four(bool sloppy)
{
	struct counter c = { .sloppy = sloppy };
	struct task *tasks[4];

	task_mutex_init(&c.lock);
	task_cond_init(&c.changed);
	for (size_t i = 0; i < ARRAY_LEN(tasks); i++)
		tasks[i] = task_spawn("counter", count_up, &c);
	if (!sloppy) {
		task_lock(&c.lock);
		while (c.n < 200)
			task_wait(&c.changed, &c.lock);
		task_unlock(&c.lock);
	}
	for (size_t i = 0; i < ARRAY_LEN(tasks); i++)
		task_join(tasks[i]);
	task_cond_fini(&c.changed);
	task_mutex_fini(&c.lock);
	return c.n;
}

static void counts_well(void *arg)
{
	(void)arg;
	assert_int_equal(count_with_four(false), 200);
}

static void locks_exclude(void **state)
{
	(void)state;
	on_both(counts_well);
}

static void counts_sloppily(void *arg)
{
	*(int *)arg = count_with_four(true);
}

static void the_simulator_finds_a_race(void **state)
{
	int wrong = 0, n;

	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		task_sim_run(seed, 1000, counts_sloppily, &n);
		wrong += n != 200;
	}
	assert_true(wrong >= 9);
}

/* ---- waiting for a time ---------------------------------------------------------------------- */

static void times_out(void *arg)
{
	struct counter c = { 0 };
	struct mono from = mono_now();
	int64_t ms;

	(void)arg;
	task_mutex_init(&c.lock);
	task_cond_init(&c.changed);
	task_lock(&c.lock);
	while (task_wait_until(&c.changed, &c.lock, mono_add_ms(from, 20)))
		;
	ms = mono_ms_between(from, mono_now());
	assert_true(task_sim_active() ? ms == 20 : ms >= 20);
	assert_false(task_wait_until(&c.changed, &c.lock, from)); /* long past */
	task_unlock(&c.lock);
	task_cond_fini(&c.changed);
	task_mutex_fini(&c.lock);
	task_sleep_ms(5);
	ms = mono_ms_between(from, mono_now());
	assert_true(task_sim_active() ? ms == 25 : ms >= 25);
	task_sleep_ms(0);
	task_sleep_ms(-1);
	task_yield();
}

static void waits_end_with_their_time(void **state)
{
	(void)state;
	on_both(times_out);
}

/* ---- stop ------------------------------------------------------------------------------------ */

static void raise_soon(void *arg)
{
	task_sleep_ms(10);
	stop_raise(arg);
}

static void sleeps_until_stopped(void *arg)
{
	auto_(stop_free) struct stop *s = stop_new();
	struct mono from = mono_now();
	struct task *t;

	(void)arg;
	assert_true(stop_sleep_ms(s, 1));
	assert_false(stop_raised(s));
	t = task_spawn("raiser", raise_soon, s);
	assert_false(stop_sleep_ms(s, 1000000));
	assert_true(stop_raised(s));
	assert_false(stop_sleep_ms(s, 1000000));
	assert_true(mono_ms_between(from, mono_now()) < 100000);
	task_join(t);
}

static void stop_ends_sleep(void **state)
{
	(void)state;
	on_both(sleeps_until_stopped);
}

/* ---- detached tasks -------------------------------------------------------------------------- */

struct flag {
	struct task_mutex lock;
	struct task_cond changed;
	bool up;
};

static void put_up(void *arg)
{
	struct flag *f = arg;

	task_lock(&f->lock);
	f->up = true;
	task_signal(&f->changed);
	task_unlock(&f->lock);
}

static void detaches(void *arg)
{
	static struct flag f = { .lock = TASK_MUTEX_INIT };

	(void)arg;
	f.up = false;
	task_cond_init(&f.changed);
	task_detach(task_spawn("a name that is much too long", put_up, &f));
	task_lock(&f.lock);
	while (!f.up)
		task_wait(&f.changed, &f.lock);
	task_unlock(&f.lock);
	task_join(NULL);
	task_detach(NULL);
}

static void detached_tasks_end_alone(void **state)
{
	(void)state;
	on_both(detaches);
}

/* ---- randomness ------------------------------------------------------------------------------ */

static void draws(void *arg)
{
	char a[UUID_TEXT_MAX], b[UUID_TEXT_MAX];
	int seen[6] = { 0 };

	(void)arg;
	rand_uuid(a);
	rand_uuid(b);
	assert_int_equal(strlen(a), 36);
	assert_int_equal(a[14], '4');
	assert_non_null(strchr("89ab", a[19]));
	assert_string_not_equal(a, b);
	assert_true(rand_u64() != rand_u64());
	for (int i = 0; i < 600; i++)
		seen[rand_below(6)]++;
	for (int i = 0; i < 6; i++)
		assert_true(seen[i] > 40);
	assert_int_equal(rand_below(1), 0);
}

static void randomness_is_spread(void **state)
{
	(void)state;
	on_both(draws);
}

/* ---- the trace ------------------------------------------------------------------------------- */

/* A bit of everything: locks, signals, times, ends, what tasks draw and say. */
static void bustle(void *arg)
{
	(void)arg;
	for (int round = 0; round < 3; round++) {
		counts_well(NULL);
		task_sleep_ms((int64_t)rand_below(1000));
		task_trace("round %d drew %llu at %lld", round, (unsigned long long)rand_below(1000000),
			(long long)wall_s(wall_now()));
	}
	sleeps_until_stopped(NULL);
}

/* The number is the contract: the same in every process, at every optimisation, with and without sanitizers.
 * It changes when the simulator's order changes, and then nothing but the number needs to change here. */
static void trace_hash_is_the_same_everywhere(void **state)
{
	uint64_t first = task_sim_run(42, 3600000, bustle, NULL);

	(void)state;
	assert_int_equal(first, task_sim_run(42, 3600000, bustle, NULL));
	assert_int_not_equal(first, task_sim_run(43, 3600000, bustle, NULL));
	if (first != HASH_OF_SEED_42)
		fail_msg("trace hash of seed 42 is 0x%llx", (unsigned long long)first);
}

static void say(void *arg)
{
	task_trace("%s", (const char *)arg);
}

static void what_is_said_counts(void **state)
{
	(void)state;
	assert_int_not_equal(task_sim_run(1, 10, say, (void *)"a"), task_sim_run(1, 10, say, (void *)"b"));
	assert_false(task_sim_active());
	task_trace("outside a simulation: nothing");
}

/* ---- ends of a simulation -------------------------------------------------------------------- */

static void sleep_long(void *arg)
{
	for (int i = 0; i < 100; i++) {
		task_sleep_ms(1000);
		++*(int *)arg;
	}
}

static void the_limit_of_time_ends_it(void **state)
{
	int seconds = 0;

	(void)state;
	task_sim_run(1, 5500, sleep_long, &seconds);
	assert_int_equal(seconds, 5);
	seconds = 0;
	task_sim_run(1, 1000000, sleep_long, &seconds);
	assert_int_equal(seconds, 100);
}

static struct task_mutex fork_a = TASK_MUTEX_INIT, fork_b = TASK_MUTEX_INIT;

static void b_then_a(void *arg)
{
	(void)arg;
	task_lock(&fork_b);
	task_sleep_ms(1);
	task_lock(&fork_a);
}

static void a_then_b(void *arg)
{
	struct task *t = task_spawn("philosopher", b_then_a, NULL);

	(void)arg;
	task_lock(&fork_a);
	task_sleep_ms(1);
	task_lock(&fork_b);
	task_join(t);
}

static void lock_twice(void *arg)
{
	(void)arg;
	task_lock(&fork_a);
	task_lock(&fork_a);
}

static void run_forever(void *arg)
{
	(void)arg;
	for (;;)
		task_yield();
}

/* What a simulation says when it ends its process. */
static void dying_words(void (*main_of)(void *arg), char *ret, size_t cap)
{
	int ends[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(ends[1], STDERR_FILENO);
		task_sim_run(7, 1000, main_of, NULL);
		_exit(0);
	}
	close(ends[1]);
	while (n < cap - 1 && (got = read(ends[0], ret + n, cap - 1 - n)) > 0)
		n += (size_t)got;
	ret[n] = 0;
	close(ends[0]);
	waitpid(pid, &status, 0);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void reports_deadlock_by_name(void **state)
{
	char words[4096];

	(void)state;
	dying_words(a_then_b, words, sizeof(words));
	assert_non_null(strstr(words, "deadlock at 1 virtual ms, seed 7"));
	assert_non_null(strstr(words, "#1 main: waits for a lock held by #2 philosopher"));
	assert_non_null(strstr(words, "#2 philosopher: waits for a lock held by #1 main"));
	dying_words(lock_twice, words, sizeof(words));
	assert_non_null(strstr(words, "task main locks a mutex that it holds"));
	dying_words(run_forever, words, sizeof(words));
	assert_non_null(strstr(words, "livelock"));
}

/* ---- who goes first -------------------------------------------------------------------------- */

static int my_nice(void)
{
	return getpriority(PRIO_PROCESS, (id_t)gettid());
}

static void be_patient(void *arg)
{
	task_patient();
	*(int *)arg = my_nice();
}

static void a_patient_task_lets_others_go_first(void **state)
{
	int before = my_nice(), its = before;

	(void)state;
	task_join(task_spawn("patient", be_patient, &its));
	assert_int_equal(its, MIN(before + 10, 19));
	assert_int_equal(my_nice(), before); /* it alone */
}

/* ---- many ------------------------------------------------------------------------------------ */

static void nap(void *arg)
{
	task_sleep_ms((int64_t)rand_below(100));
	*(bool *)arg = true;
}

static void many(void *arg)
{
	enum { N = 500 };
	bool done[N] = { false };
	struct task *t[N];

	(void)arg;
	for (int i = 0; i < N; i++)
		t[i] = task_spawn("napper", nap, &done[i]);
	for (int i = 0; i < N; i++)
		task_join(t[i]);
	for (int i = 0; i < N; i++)
		assert_true(done[i]);
}

static void carries_many_tasks(void **state)
{
	(void)state;
	many(NULL);
	for (uint64_t seed = 0; seed < 3; seed++)
		task_sim_run(seed, 1000000, many, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(locks_exclude),
		cmocka_unit_test(the_simulator_finds_a_race),
		cmocka_unit_test(waits_end_with_their_time),
		cmocka_unit_test(stop_ends_sleep),
		cmocka_unit_test(detached_tasks_end_alone),
		cmocka_unit_test(randomness_is_spread),
		cmocka_unit_test(trace_hash_is_the_same_everywhere),
		cmocka_unit_test(what_is_said_counts),
		cmocka_unit_test(the_limit_of_time_ends_it),
		cmocka_unit_test(reports_deadlock_by_name),
		cmocka_unit_test(a_patient_task_lets_others_go_first),
		cmocka_unit_test(carries_many_tasks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

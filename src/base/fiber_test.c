#include "base/test.h"

#include "base/fiber.h"
#include "base/task.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Fibers that ask an answerer again and again, on the threads of one pool. */
#define FIBERS 40
#define ROUNDS 50

struct pool {
	struct task_mutex lock;
	struct task_cond changed;
	struct asker *ready, *asked;
	int left;
};

struct asker {
	struct fiber fiber;
	struct pool *pool;
	struct asker *next;
	int question, answer, sum;
};

static void ready(struct fiber *f)
{
	struct asker *a = container_of(f, struct asker, fiber);

	task_lock(&a->pool->lock);
	a->next = a->pool->ready;
	a->pool->ready = a;
	task_broadcast(&a->pool->changed);
	task_unlock(&a->pool->lock);
}

static void ask(void *arg)
{
	struct asker *a = arg;

	task_lock(&a->pool->lock);
	a->next = a->pool->asked;
	a->pool->asked = a;
	task_broadcast(&a->pool->changed);
	task_unlock(&a->pool->lock);
}

static void ask_often(void *arg)
{
	struct asker *a = arg;

	for (int i = 0; i < ROUNDS; i++) {
		char kept[200]; /* what is on the stack stays there */

		memset(kept, i, sizeof(kept));
		a->question = i;
		fiber_park(ask, a);
		assert_ptr_equal(fiber_current(), &a->fiber);
		assert_int_equal(kept[sizeof(kept) - 1], i);
		a->sum += a->answer;
	}
}

static struct asker *take(struct pool *p, struct asker **list)
{
	struct asker *a;

	task_lock(&p->lock);
	while (!*list && p->left)
		task_wait(&p->changed, &p->lock);
	a = *list;
	if (a)
		*list = a->next;
	task_unlock(&p->lock);
	return a;
}

static void run_them(void *arg)
{
	struct pool *p = arg;
	struct context home;
	struct asker *a;

	context_home(&home);
	while ((a = take(p, &p->ready))) {
		bool parked = fiber_run(&a->fiber, &home);

		assert_null(fiber_current());
		if (parked) {
			fiber_let_go(&a->fiber);
			continue;
		}
		task_lock(&p->lock);
		p->left--;
		task_broadcast(&p->changed);
		task_unlock(&p->lock);
	}
	context_fini(&home);
}

static void answer(void *arg)
{
	struct pool *p = arg;
	struct asker *a;

	while ((a = take(p, &p->asked))) {
		a->answer = a->question * 2;
		fiber_wake(&a->fiber);
	}
}

static void goes_on_on_any_thread(void **state)
{
	struct asker *a = xcalloc(FIBERS, sizeof(*a));
	struct pool p = { .lock = TASK_MUTEX_INIT };
	struct task *t[5];

	task_cond_init(&p.changed);
	for (int again = 0; again < 2; again++) {
		p.left = FIBERS;
		for (int i = 0; i < FIBERS; i++) {
			a[i].fiber.ready = ready;
			a[i].pool = &p;
			a[i].sum = 0;
			fiber_begin(&a[i].fiber, ask_often, &a[i]);
			ready(&a[i].fiber);
		}
		for (size_t i = 0; i < ARRAY_LEN(t); i++)
			t[i] = task_spawn("fiber", i < 3 ? run_them : answer, &p);
		for (size_t i = 0; i < ARRAY_LEN(t); i++)
			task_join(t[i]);
		for (int i = 0; i < FIBERS; i++)
			assert_int_equal(a[i].sum, ROUNDS * (ROUNDS - 1));
	}
	for (int i = 0; i < FIBERS; i++)
		fiber_fini(&a[i].fiber);
	task_cond_fini(&p.changed);
	free(a);
}

static void note(void *arg)
{
	*(bool *)arg = fiber_current() == NULL;
}

static void park_with_a_lock(void *arg)
{
	struct task_mutex *m = arg;

	task_lock(m);
	fiber_park(note, NULL);
}

static void nobody_parks_with_a_lock(void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct task_mutex m = TASK_MUTEX_INIT;
		struct fiber f = { 0 };
		struct context home;

		signal(SIGABRT, SIG_DFL);
		context_home(&home);
		fiber_begin(&f, park_with_a_lock, &m);
		fiber_run(&f, &home);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void run_one(void *arg)
{
	struct fiber f = { 0 };
	struct context home;

	context_home(&home);
	fiber_begin(&f, note, arg);
	assert_false(fiber_run(&f, &home));
	fiber_fini(&f);
	context_fini(&home);
}

static void runs_to_its_end_in_a_simulation(void **state)
{
	bool alone = false;

	task_sim_run(1, 1000, run_one, &alone);
	assert_true(alone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_on_on_any_thread),
		cmocka_unit_test(nobody_parks_with_a_lock),
		cmocka_unit_test(runs_to_its_end_in_a_simulation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/test.h"

#include "base/crew.h"
#include "base/fiber.h"

#define JOBS 500
#define AT_ONCE 40

/* Answers whoever asks only when as many ask as may be at work, so it ends only if a job leaves its task to others. */
struct oracle {
	struct task_mutex lock;
	struct task_cond asked;
	struct fiber *askers[AT_ONCE];
	int n, most, left, dropped;
};

static void ask(void *arg)
{
	struct oracle *o = arg;

	task_lock(&o->lock);
	o->n++;
	task_signal(&o->asked);
	task_unlock(&o->lock);
}

static void work(void *arg, void *job)
{
	struct oracle *o = arg;
	int *n = job;

	task_lock(&o->lock);
	for (int i = 0; i < AT_ONCE; i++)
		if (!o->askers[i]) {
			o->askers[i] = fiber_current();
			break;
		}
	task_unlock(&o->lock);
	fiber_park(ask, o);
	++*n;
}

static void drop(void *arg, void *job)
{
	struct oracle *o = arg;

	(void)job;
	task_lock(&o->lock);
	o->dropped++;
	task_signal(&o->asked);
	task_unlock(&o->lock);
}

static void answer(void *arg)
{
	struct oracle *o = arg;

	while (o->left > 0) {
		struct fiber *all[AT_ONCE] = { 0 };

		task_lock(&o->lock);
		while (o->n < (o->left < AT_ONCE ? o->left : AT_ONCE))
			task_wait(&o->asked, &o->lock);
		o->most = o->n > o->most ? o->n : o->most;
		memcpy(all, o->askers, sizeof(all));
		memset((void *)o->askers, 0, sizeof(o->askers));
		o->left -= o->n;
		o->n = 0;
		task_unlock(&o->lock);
		for (int i = 0; i < AT_ONCE; i++)
			if (all[i])
				fiber_wake(all[i]);
	}
}

static void many_jobs_wait_at_a_time_on_few_tasks(void **state)
{
	struct oracle o = { .lock = TASK_MUTEX_INIT, .left = JOBS };
	struct crew *c = crew_new(&(struct crew_opts){
		.name = "crew", .work = work, .drop = drop, .arg = &o, .tasks_max = 2, .jobs_max = AT_ONCE });
	int done[JOBS] = { 0 };
	struct task *t;

	task_cond_init(&o.asked);
	t = task_spawn("oracle", answer, &o);
	for (int i = 0; i < JOBS; i++)
		crew_add(c, &done[i]);
	task_join(t);
	crew_free(c);
	assert_int_equal(o.most, AT_ONCE);
	assert_int_equal(o.dropped, 0);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(done[i], 1);
	task_cond_fini(&o.asked);
}

static void stop(void *crew)
{
	crew_stop(crew, (struct mono){ 0 });
}

static void what_nobody_began_is_dropped(void **state)
{
	struct oracle o = { .lock = TASK_MUTEX_INIT, .left = AT_ONCE };
	struct crew *c = crew_new(&(struct crew_opts){
		.name = "crew", .work = work, .drop = drop, .arg = &o, .tasks_max = 2, .jobs_max = AT_ONCE });
	int done[JOBS] = { 0 }, sum = 0;
	struct task *t;

	task_cond_init(&o.asked);
	for (int i = 0; i < JOBS; i++)
		crew_add(c, &done[i]);
	task_lock(&o.lock);
	while (o.n < AT_ONCE)
		task_wait(&o.asked, &o.lock);
	t = task_spawn("stop", stop, c);
	while (o.dropped < JOBS - AT_ONCE)
		task_wait(&o.asked, &o.lock);
	task_unlock(&o.lock);
	answer(&o);
	task_join(t);
	crew_add(c, &done[0]);
	crew_free(c);
	for (int i = 0; i < JOBS; i++)
		sum += done[i];
	assert_int_equal(sum, AT_ONCE);
	assert_int_equal(o.dropped, JOBS - AT_ONCE + 1);
	task_cond_fini(&o.asked);
}

/* In a simulation a job keeps its task: as many are at work as there are tasks. */
struct sim {
	int at_work, most, done;
};

static void sleep_a_while(void *arg, void *job)
{
	struct sim *s = arg;

	(void)job;
	s->at_work++;
	s->most = s->at_work > s->most ? s->at_work : s->most;
	task_sleep_ms(10);
	s->at_work--;
	s->done++;
}

static void sim_drop(void *arg, void *job)
{
	(void)arg;
	(void)job;
	fail();
}

static void sim_main(void *arg)
{
	struct crew *c = crew_new(&(struct crew_opts){
		.name = "crew", .work = sleep_a_while, .drop = sim_drop, .arg = arg, .tasks_max = 3, .jobs_max = 10 });

	for (int i = 0; i < 30; i++)
		crew_add(c, c);
	crew_stop(c, MONO_NEVER);
	crew_free(c);
}

static void runs_in_a_simulation(void **state)
{
	struct sim s = { 0 };

	task_sim_run(7, 60000, sim_main, &s);
	assert_int_equal(s.done, 30);
	assert_int_equal(s.most, 3);
}

/* A queue of its own: three places, last come, first served. */
struct pile {
	struct task_mutex lock;
	struct task_cond news;
	int jobs[3], n;
	int order[3], done, refused;
	bool begun, go;
};

static void *pile_put(void *arg, void *job)
{
	struct pile *p = arg;

	if (p->n == 3)
		return job;
	p->jobs[p->n++] = *(int *)job;
	return NULL;
}

static void *pile_next(void *arg)
{
	struct pile *p = arg;

	return &p->jobs[--p->n];
}

static void pile_work(void *arg, void *job)
{
	struct pile *p = arg;
	int n = *(int *)job;

	task_lock(&p->lock);
	p->begun = true;
	task_signal(&p->news);
	while (!p->go)
		task_wait(&p->news, &p->lock);
	if (n)
		p->order[p->done++] = n;
	task_unlock(&p->lock);
}

static void pile_drop(void *arg, void *job)
{
	struct pile *p = arg;

	p->refused = *(int *)job;
}

static void a_queue_may_have_its_own_order_and_refuse(void **state)
{
	struct pile p = { .lock = TASK_MUTEX_INIT };
	struct crew *c = crew_new(&(struct crew_opts){ .name = "crew",
		.work = pile_work,
		.drop = pile_drop,
		.put = pile_put,
		.next = pile_next,
		.arg = &p,
		.tasks_max = 1,
		.jobs_max = 1 });
	int numbers[] = { 0, 1, 2, 3, 4 };

	task_cond_init(&p.news);
	crew_add(c, &numbers[0]);
	task_lock(&p.lock);
	while (!p.begun)
		task_wait(&p.news, &p.lock);
	task_unlock(&p.lock);
	for (int i = 1; i < 5; i++)
		crew_add(c, &numbers[i]);
	assert_int_equal(p.refused, 4);
	task_lock(&p.lock);
	p.go = true;
	task_broadcast(&p.news);
	task_unlock(&p.lock);
	crew_stop(c, MONO_NEVER);
	crew_free(c);
	assert_int_equal(p.done, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(p.order[i], 3 - i);
	task_cond_fini(&p.news);
}

/* One task. The first job goes away until the second has begun in its place, and found that no second one may go. */
struct trip {
	struct crew *crew;
	struct task_mutex lock;
	struct task_cond news;
	int began, tried, left;
};

static void travel(void *arg, void *job)
{
	struct trip *t = arg;
	bool first, left;

	(void)job;
	task_lock(&t->lock);
	first = !t->began++;
	task_unlock(&t->lock);
	left = crew_leave(t->crew, 1);
	task_lock(&t->lock);
	t->left += left;
	t->tried += !first;
	task_signal(&t->news);
	while (first && !t->tried)
		task_wait(&t->news, &t->lock);
	task_unlock(&t->lock);
	if (left)
		crew_return(t->crew);
}

static void who_is_away_leaves_its_place_to_another(void **state)
{
	struct trip t = { .lock = TASK_MUTEX_INIT };

	task_cond_init(&t.news);
	t.crew = crew_new(&(struct crew_opts){
		.name = "crew", .work = travel, .drop = sim_drop, .arg = &t, .tasks_max = 1, .jobs_max = 10 });
	crew_add(t.crew, &t);
	crew_add(t.crew, &t);
	crew_stop(t.crew, MONO_NEVER);
	crew_free(t.crew);
	assert_int_equal(t.began, 2);
	assert_int_equal(t.left, 1);
	task_cond_fini(&t.news);
}

struct errand {
	struct fiber *fiber;
	pid_t before, then, after; /* not pthread_self(), which compilers believe to be the same after a wait, too */
	bool leisure;
};
struct errands {
	struct task_mutex lock;
	struct task_cond news;
	bool go;
	struct errand job[2];
};

static void on_the_way(void *arg)
{
	struct errand *j = arg;

	j->leisure = crew_at_leisure();
	j->then = gettid();
	fiber_wake(j->fiber);
	task_sleep_ms(20); /* another task that had been called would have taken it up by then */
}

static void run_errand(void *arg, void *job)
{
	struct errands *r = arg;
	struct errand *j = job;

	task_lock(&r->lock);
	while (!r->go)
		task_wait(&r->news, &r->lock);
	task_unlock(&r->lock);
	j->fiber = fiber_current();
	j->before = gettid();
	fiber_park(on_the_way, j);
	j->after = gettid();
}

/* The first of two jobs parks while the other one is queued, that one when there is nothing else to do. */
static void a_task_is_at_leisure_when_nobody_else_wants_it(void **state)
{
	struct errands r = { .lock = TASK_MUTEX_INIT };
	struct crew *c = crew_new(&(struct crew_opts){
		.name = "crew", .work = run_errand, .drop = sim_drop, .arg = &r, .tasks_max = 1, .jobs_max = 10 });

	task_cond_init(&r.news);
	crew_add(c, &r.job[0]);
	crew_add(c, &r.job[1]);
	task_lock(&r.lock);
	r.go = true;
	task_broadcast(&r.news);
	task_unlock(&r.lock);
	crew_stop(c, MONO_NEVER);
	crew_free(c);
	assert_false(r.job[0].leisure);
	assert_true(r.job[1].leisure);
	assert_false(crew_at_leisure());
	task_cond_fini(&r.news);
}

/* Nobody else is called for it, though there may be two tasks. */
static void a_task_takes_the_job_up_again_that_it_woke(void **state)
{
	struct errands r = { .lock = TASK_MUTEX_INIT, .go = true };
	struct crew *c = crew_new(&(struct crew_opts){
		.name = "crew", .work = run_errand, .drop = sim_drop, .arg = &r, .tasks_max = 2, .jobs_max = 10 });

	crew_add(c, &r.job[0]);
	crew_stop(c, MONO_NEVER);
	crew_free(c);
	assert_true(r.job[0].leisure);
	assert_int_equal(r.job[0].before, r.job[0].then);
	assert_int_equal(r.job[0].then, r.job[0].after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_jobs_wait_at_a_time_on_few_tasks),
		cmocka_unit_test(what_nobody_began_is_dropped),
		cmocka_unit_test(runs_in_a_simulation),
		cmocka_unit_test(a_queue_may_have_its_own_order_and_refuse),
		cmocka_unit_test(who_is_away_leaves_its_place_to_another),
		cmocka_unit_test(a_task_is_at_leisure_when_nobody_else_wants_it),
		cmocka_unit_test(a_task_takes_the_job_up_again_that_it_woke),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/crew.h"
#include "base/fiber.h"

#define IDLE_MS 30000 /* then the stacks of ended fibers go */

struct job {
	void *job;
	struct job *next;
};

struct hand { /* a job that was begun */
	struct fiber fiber;
	struct crew *crew;
	void *job;
	struct hand *next;
};

struct crew {
	struct crew_opts o;
	struct task_mutex lock;
	struct task_cond news;
	struct job *first, **last;
	struct hand *ready, **ready_end; /* their answer has come */
	struct hand *spare;              /* ended: their stacks are used again */
	size_t running, idle, n_tasks;
	bool waking; /* a task is on its way */
	struct task **tasks;
	bool stopping;
	struct mono until; /* stopping: what is queued is begun until then */
};

/* ---- under the lock -------------------------------------------------------------------------- */

static bool has_work(const struct crew *c)
{
	return c->ready || (c->first && c->running < c->o.jobs_max);
}

static void run(void *arg);

/* One at a time: who comes finds what arrived meanwhile, and calls the next when there is more to do. */
static void call(struct crew *c)
{
	if (!has_work(c) || c->waking)
		return;
	c->waking = c->idle || (!c->stopping && c->n_tasks < c->o.tasks_max);
	if (c->idle)
		task_signal(&c->news);
	else if (c->waking)
		c->tasks[c->n_tasks++] = task_spawn(c->o.name, run, c);
}

static void ready(struct fiber *f)
{
	struct hand *h = container_of(f, struct hand, fiber);
	struct crew *c = h->crew;

	task_lock(&c->lock);
	h->next = NULL;
	*c->ready_end = h;
	c->ready_end = &h->next;
	call(c);
	task_unlock(&c->lock);
}

static void work(void *arg)
{
	struct hand *h = arg;

	h->crew->o.work(h->crew->o.arg, h->job);
}

static struct hand *begin(struct crew *c)
{
	struct job *j = c->first;
	struct hand *h = c->spare;

	if (h)
		c->spare = h->next;
	else
		h = xcalloc(1, sizeof(*h));
	c->first = j->next;
	if (!c->first)
		c->last = &c->first;
	h->crew = c;
	h->job = j->job;
	h->fiber.ready = ready;
	fiber_begin(&h->fiber, work, h);
	c->running++;
	free(j);
	return h;
}

static struct hand *take(struct crew *c)
{
	struct hand *h = c->ready;

	if (!h)
		return has_work(c) ? begin(c) : NULL;
	c->ready = h->next;
	if (!c->ready)
		c->ready_end = &c->ready;
	return h;
}

static void drop_spare(struct crew *c)
{
	while (c->spare) {
		struct hand *h = c->spare;

		c->spare = h->next;
		fiber_fini(&h->fiber);
		free(h);
	}
}

/* What is queued, when nobody is to begin it any more. */
static struct job *overdue(struct crew *c)
{
	struct job *j = NULL;

	if (c->stopping && c->first && !mono_before(mono_now(), c->until)) {
		j = TAKE(c->first);
		c->last = &c->first;
	}
	return j;
}

static void wait_for_news(struct crew *c)
{
	bool woken = true;

	c->idle++;
	if (c->spare && !c->running)
		woken = task_wait_until(&c->news, &c->lock, mono_add_ms(mono_now(), IDLE_MS));
	else
		task_wait(&c->news, &c->lock);
	c->idle--;
	c->waking = false;
	if (!woken && !c->running)
		drop_spare(c);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static void drop(struct crew *c, struct job *list)
{
	for (struct job *next; list; list = next) {
		next = list->next;
		c->o.drop(c->o.arg, list->job);
		free(list);
	}
}

static void go_on(struct crew *c, struct hand *h, struct context *home)
{
	if (fiber_run(&h->fiber, home)) {
		fiber_let_go(&h->fiber); /* it may be elsewhere by now */
		task_lock(&c->lock);
		return;
	}
	task_lock(&c->lock);
	c->running--;
	h->next = c->spare;
	c->spare = h;
	if (c->stopping)
		task_broadcast(&c->news);
}

static void run(void *arg)
{
	struct crew *c = arg;
	struct context home;

	context_home(&home);
	task_lock(&c->lock);
	c->waking = false;
	for (;;) {
		struct job *late = overdue(c);
		struct hand *h = take(c);

		if (h)
			call(c);
		else if (!late && c->stopping && !c->running)
			break;
		if (!h && !late) {
			wait_for_news(c);
			continue;
		}
		task_unlock(&c->lock);
		drop(c, late);
		if (h)
			go_on(c, h, &home);
		else
			task_lock(&c->lock);
	}
	task_unlock(&c->lock);
	context_fini(&home);
}

/* ---- owners ---------------------------------------------------------------------------------- */

struct crew *crew_new(const struct crew_opts *o)
{
	struct crew *c = xcalloc(1, sizeof(*c));

	c->o = *o;
	c->tasks = xcalloc(o->tasks_max, sizeof(struct task *));
	c->last = &c->first;
	c->ready_end = &c->ready;
	task_mutex_init(&c->lock);
	task_cond_init(&c->news);
	return c;
}

void crew_add(struct crew *c, void *job)
{
	struct job *j = xcalloc(1, sizeof(*j));
	bool refused;

	j->job = job;
	task_lock(&c->lock);
	refused = c->stopping;
	if (!refused) {
		*c->last = j;
		c->last = &j->next;
		call(c);
	}
	task_unlock(&c->lock);
	if (refused)
		drop(c, j);
}

void crew_stop(struct crew *c, struct mono until)
{
	task_lock(&c->lock);
	if (!c->stopping)
		c->until = until;
	c->stopping = true;
	task_broadcast(&c->news);
	task_unlock(&c->lock);
	for (size_t i = 0; i < c->n_tasks; i++) /* none is made any more: what is queued has a task already */
		c->tasks[i] = task_join(c->tasks[i]);
}

struct crew *crew_free(struct crew *c)
{
	if (!c)
		return NULL;
	crew_stop(c, mono_now());
	drop_spare(c);
	free(c->tasks);
	task_cond_fini(&c->news);
	task_mutex_fini(&c->lock);
	free(c);
	return NULL;
}

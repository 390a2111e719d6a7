#include "base/crew.h"
#include "base/fiber.h"

#define IDLE_MS 30000 /* then a task ends, and the stacks of ended fibers go */

struct job { /* in the queue of a crew that has none of its own */
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
	struct task_cond gone; /* what crew_stop() waits for */
	struct job *first, **last;
	struct hand *ready, **ready_end; /* their answer has come */
	struct hand *spare;              /* ended: their stacks are used again */
	size_t queued, running, idle, n_tasks;
	size_t away; /* tasks whose job waits elsewhere: they are not among n_tasks */
	bool waking; /* a task is on its way */
	bool stopping;
};

/* ---- first come, first served ---------------------------------------------------------------- */

static bool fifo_put(void *arg, void *job)
{
	struct crew *c = arg;
	struct job *j = xcalloc(1, sizeof(*j));

	j->job = job;
	*c->last = j;
	c->last = &j->next;
	return true;
}

static void *fifo_next(void *arg)
{
	struct crew *c = arg;
	struct job *j = c->first;
	void *job = j->job;

	c->first = j->next;
	if (!c->first)
		c->last = &c->first;
	free(j);
	return job;
}

static bool put(struct crew *c, void *job)
{
	bool ok = c->o.put ? c->o.put(c->o.arg, job) : fifo_put(c, job);

	c->queued += ok;
	return ok;
}

static void *next(struct crew *c)
{
	c->queued--;
	return c->o.next ? c->o.next(c->o.arg) : fifo_next(c);
}

/* ---- under the lock -------------------------------------------------------------------------- */

static bool has_work(const struct crew *c)
{
	return c->ready || (c->queued && c->running < c->o.jobs_max);
}

static void run(void *arg);

/* One at a time: who comes finds what arrived meanwhile, and calls the next when there is more to do. */
static void call(struct crew *c)
{
	if (!has_work(c) || c->waking)
		return;
	if (c->idle) {
		c->waking = true;
		task_signal(&c->news);
	} else if (c->n_tasks < c->o.tasks_max) {
		c->waking = true;
		c->n_tasks++;
		task_detach(task_spawn(c->o.name, run, c));
	}
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
	struct hand *h = c->spare;

	if (h)
		c->spare = h->next;
	else
		h = xcalloc(1, sizeof(*h));
	h->crew = c;
	h->job = next(c);
	h->fiber.ready = ready;
	fiber_begin(&h->fiber, work, h);
	c->running++;
	return h;
}

/* What to do next: those that go on, then new ones. */
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

/* ---- tasks ----------------------------------------------------------------------------------- */

static void go_on(struct crew *c, struct hand *h, struct context *home)
{
	bool parked = fiber_run(&h->fiber, home);

	if (parked && c->o.parked)
		c->o.parked(c->o.arg, h->job);
	if (parked)
		fiber_let_go(&h->fiber); /* it may be elsewhere by now */
	task_lock(&c->lock);
	if (parked)
		return;
	c->running--;
	h->next = c->spare;
	c->spare = h;
}

/* False: nothing came for long. */
static bool wait_for_news(struct crew *c)
{
	bool woken;

	c->idle++;
	woken = task_wait_until(&c->news, &c->lock, mono_add_ms(mono_now(), IDLE_MS));
	c->idle--;
	c->waking = false;
	return woken || has_work(c);
}

static void run(void *arg)
{
	struct crew *c = arg;
	struct context home;

	context_home(&home);
	task_lock(&c->lock);
	c->waking = false;
	while (c->n_tasks <= c->o.tasks_max) { /* more: it came back, and another one has its place */
		struct hand *h = take(c);

		if (h) {
			call(c);
			task_unlock(&c->lock);
			go_on(c, h, &home);
		} else if (c->stopping || !wait_for_news(c)) {
			break;
		}
	}
	c->n_tasks--;
	call(c); /* the signal may have been for the one that goes */
	if (!c->running)
		drop_spare(c);
	task_broadcast(&c->gone);
	task_unlock(&c->lock);
	context_fini(&home);
}

/* ---- owners ---------------------------------------------------------------------------------- */

struct crew *crew_new(const struct crew_opts *o)
{
	struct crew *c = xcalloc(1, sizeof(*c));

	c->o = *o;
	c->last = &c->first;
	c->ready_end = &c->ready;
	task_mutex_init(&c->lock);
	task_cond_init(&c->news);
	task_cond_init(&c->gone);
	return c;
}

void crew_add(struct crew *c, void *job)
{
	bool taken;

	task_lock(&c->lock);
	taken = !c->stopping && put(c, job);
	if (taken)
		call(c);
	task_unlock(&c->lock);
	if (!taken)
		c->o.drop(c->o.arg, job);
}

bool crew_leave(struct crew *c, size_t max)
{
	bool ok;

	task_lock(&c->lock);
	ok = c->away < max;
	if (ok) {
		c->away++;
		c->n_tasks--;
		call(c);
	}
	task_unlock(&c->lock);
	return ok;
}

void crew_return(struct crew *c)
{
	task_lock(&c->lock);
	c->away--;
	c->n_tasks++;
	task_unlock(&c->lock);
}

void crew_stop(struct crew *c, struct mono until)
{
	task_lock(&c->lock);
	c->stopping = true;
	task_broadcast(&c->news);
	while (c->queued && mono_before(mono_now(), until))
		task_wait_until(&c->gone, &c->lock, until);
	while (c->queued) {
		void *job = next(c);

		task_unlock(&c->lock);
		c->o.drop(c->o.arg, job);
		task_lock(&c->lock);
	}
	while (c->n_tasks || c->away || c->running)
		task_wait(&c->gone, &c->lock);
	task_unlock(&c->lock);
}

struct crew *crew_free(struct crew *c)
{
	if (!c)
		return NULL;
	crew_stop(c, mono_now());
	drop_spare(c);
	task_cond_fini(&c->gone);
	task_cond_fini(&c->news);
	task_mutex_fini(&c->lock);
	free(c);
	return NULL;
}

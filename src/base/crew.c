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

struct seat { /* a task's; it lives as long as the crew */
	struct task_cond news;
	bool called;
	struct seat *below;
};

struct crew {
	struct crew_opts o;
	struct task_mutex lock;
	struct task_cond gone; /* what crew_stop() waits for */
	struct job *first, **last;
	struct hand *ready, **ready_end; /* their answer has come */
	struct hand *spare;              /* ended: their stacks are used again */
	struct seat *free_seats;
	struct seat *idle; /* who sat down last is called first: its memory is warm, and the others may go */
	size_t queued, running, n_tasks;
	size_t away; /* tasks whose job waits elsewhere: they are not among n_tasks */
	bool waking; /* a task is on its way */
	bool stopping;
};

/* ---- first come, first served ---------------------------------------------------------------- */

static void *fifo_put(void *arg, void *job)
{
	struct crew *c = arg;
	struct job *j = xcalloc(1, sizeof(*j));

	j->job = job;
	*c->last = j;
	c->last = &j->next;
	return NULL;
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

/* The crew that this thread comes back to when what a parked job had left to do is done. */
static _Thread_local struct crew *back_soon;

static void *put(struct crew *c, void *job)
{
	void *dropped = c->o.put ? c->o.put(c->o.arg, job) : fifo_put(c, job);

	c->queued += !dropped;
	return dropped;
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

/* One at a time: who comes finds what arrived meanwhile, and calls the next when there is more to do. Returns whom to
 * rouse, after the unlock: who wakes must not find the door locked. NULL: nobody. */
static struct seat *call(struct crew *c)
{
	struct seat *s = c->idle;

	if (!has_work(c) || c->waking)
		return NULL;
	if (s) {
		c->idle = s->below;
		c->waking = s->called = true;
		return s;
	}
	if (c->n_tasks < c->o.tasks_max) {
		c->waking = true;
		c->n_tasks++;
		task_detach(task_spawn(c->o.name, run, c));
	}
	return NULL;
}

static void rouse(struct seat *s)
{
	if (s)
		task_signal(&s->news);
}

static void ready(struct fiber *f)
{
	struct hand *h = container_of(f, struct hand, fiber);
	struct crew *c = h->crew;

	task_lock(&c->lock);
	h->next = NULL;
	*c->ready_end = h;
	c->ready_end = &h->next;
	if (back_soon != c)
		rouse(call(c)); /* not later: the crew may be gone with its last job */
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
	if (parked) {
		back_soon = c;
		fiber_let_go(&h->fiber); /* it may be elsewhere by now */
		back_soon = NULL;
	}
	task_lock(&c->lock);
	if (parked)
		return;
	c->running--;
	h->next = c->spare;
	c->spare = h;
}

static struct seat *seat_take(struct crew *c)
{
	struct seat *s = c->free_seats;

	if (s) {
		c->free_seats = s->below;
		return s;
	}
	s = xcalloc(1, sizeof(*s));
	task_cond_init(&s->news);
	return s;
}

static void seat_give(struct crew *c, struct seat *s)
{
	s->below = c->free_seats;
	c->free_seats = s;
}

static void stand_up(struct crew *c, const struct seat *s)
{
	struct seat **at = &c->idle;

	while (*at != s)
		at = &(*at)->below;
	*at = s->below;
}

/* False: nothing came for long. */
static bool wait_for_news(struct crew *c, struct seat *s)
{
	struct mono until = mono_add_ms(mono_now(), IDLE_MS);

	s->called = false;
	s->below = c->idle;
	c->idle = s;
	while (!s->called && !c->stopping && task_wait_until(&s->news, &c->lock, until))
		;
	if (s->called)
		c->waking = false;
	else
		stand_up(c, s);
	return s->called || has_work(c);
}

static void run(void *arg)
{
	struct crew *c = arg;
	struct context home;
	struct seat *seat;

	context_home(&home);
	task_lock(&c->lock);
	c->waking = false;
	seat = seat_take(c);
	while (c->n_tasks <= c->o.tasks_max) { /* more: it came back, and another one has its place */
		struct hand *h = take(c);

		if (h) {
			struct seat *next = call(c);

			task_unlock(&c->lock);
			rouse(next);
			go_on(c, h, &home);
		} else if (c->stopping || !wait_for_news(c, seat)) {
			break;
		}
	}
	c->n_tasks--;
	seat_give(c, seat);
	rouse(call(c)); /* the signal may have been for the one that goes */
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
	task_cond_init(&c->gone);
	return c;
}

void crew_add(struct crew *c, void *job)
{
	struct seat *s;
	void *dropped;

	task_lock(&c->lock);
	dropped = c->stopping ? job : put(c, job);
	s = call(c);
	task_unlock(&c->lock);
	rouse(s);
	if (dropped)
		c->o.drop(c->o.arg, dropped);
}

bool crew_leave(struct crew *c, size_t max)
{
	struct seat *s = NULL;
	bool ok;

	task_lock(&c->lock);
	ok = c->away < max;
	if (ok) {
		c->away++;
		c->n_tasks--;
		s = call(c);
	}
	task_unlock(&c->lock);
	rouse(s);
	return ok;
}

void crew_return(struct crew *c)
{
	task_lock(&c->lock);
	c->away--;
	c->n_tasks++;
	task_unlock(&c->lock);
}

bool crew_at_leisure(void)
{
	struct crew *c = back_soon;
	bool none;

	if (!c)
		return false;
	task_lock(&c->lock);
	none = !has_work(c);
	task_unlock(&c->lock);
	return none;
}

void crew_stop(struct crew *c, struct mono until)
{
	task_lock(&c->lock);
	c->stopping = true;
	for (struct seat *s = c->idle; s; s = s->below)
		task_signal(&s->news);
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
	for (struct seat *s; (s = c->free_seats); free(s)) {
		c->free_seats = s->below;
		task_cond_fini(&s->news);
	}
	task_cond_fini(&c->gone);
	task_mutex_fini(&c->lock);
	free(c);
	return NULL;
}

/* Lanes: who writes waits in one of three queues, each with threads of its own, fair between users.
 *
 * A lane holds one FIFO per user and takes from the users in turn, so one busy client costs the others one request
 * each.
 * Threads are started when there is work and end when there was none for a while. Each request runs as a fiber: while
 * it waits for the store its thread takes the next one, so a few threads fill a whole group commit. A request that
 * waits for another server (a webhook) keeps its thread, and gives its place away until it is back: a separate, bounded
 * lane without a queue. */
#include "api/api_internal.h"
#include "base/fiber.h"
#include <stdio.h>
#define LOG_MODULE "api"

#define IDLE_MS 30000
#define AWAY_MAX 32 /* requests of one lane that may wait for other servers at a time */
#define RUNNING_MAX \
	128 /* requests of one lane that were begun, most of them waiting for the store: what fits into its next commits */

struct user_queue {
	struct str user; /* borrowed from its first request's copy below */
	char *name;
	struct rq *first, **end;
	struct user_queue *next; /* ring of users that wait */
};

/* A request that was begun. */
struct run {
	struct fiber fiber;
	struct lane_state *lane;
	struct rq *rq;
	bool coming; /* the store was told of it */
	struct run *next;
};

struct lane_state {
	struct lanes *all;
	const char *name;
	struct task_cond wake;
	struct user_queue *turn, **turn_end; /* users with waiting requests, whose turn is next first */
	struct map *users;
	size_t waiting;
	int threads, idle, threads_max;
	bool waking;                    /* one of them is on its way: it calls the next when there is more to do */
	struct run *ready, **ready_end; /* the store has answered them */
	size_t ready_n, running;
	int away; /* threads whose request waits for another server: they hold no place of the lane */
};

struct lanes {
	struct api *api;
	struct task_mutex lock;
	struct task_cond gone; /* a thread ended */
	struct lane_state lane[LANE_N];
	struct run *spare; /* ended: their stacks are used again */
	bool stop;
};

static void user_end(void *value)
{
	struct user_queue *u = value;

	if (!u)
		return;
	free(u->name);
	free(u);
}

struct lanes *lanes_new(struct api *api)
{
	static const char *const names[] = { "api-exempt", "api-control", "api-write" };
	struct lanes *l = xcalloc(1, sizeof(*l));

	l->api = api;
	task_mutex_init(&l->lock);
	task_cond_init(&l->gone);
	for (int i = 0; i < LANE_N; i++) {
		struct lane_state *s = &l->lane[i];
		s->all = l;
		s->name = names[i];
		s->users = map_new(user_end);
		s->turn_end = &s->turn;
		s->ready_end = &s->ready;
		s->threads_max = api->opts.lane_threads;
		task_cond_init(&s->wake);
	}
	return l;
}

static struct rq *take_rq(struct lane_state *s)
{
	struct user_queue *u = s->turn;

	if (!u)
		return NULL;
	struct rq *rq = u->first;
	u->first = rq->next;
	s->turn = u->next;
	if (!s->turn)
		s->turn_end = &s->turn;
	u->next = NULL;
	if (u->first) { /* more from this user: back to the end of the ring */
		*s->turn_end = u;
		s->turn_end = &u->next;
	} else {
		map_del(s->users, u->user);
	}
	s->waiting--;
	return rq;
}

/* ---- requests that were begun; all under the lock -------------------------------------------- */

static void run_ready(struct fiber *f);

static void run_main(void *arg)
{
	struct run *r = arg;

	r->rq->on_lane = true;
	r->rq->run(r->rq);
}

static struct run *run_begin(struct lane_state *s, struct rq *rq)
{
	struct run *r = s->all->spare;

	if (r)
		s->all->spare = r->next;
	else
		r = xcalloc(1, sizeof(*r));
	r->fiber.ready = run_ready;
	r->lane = s;
	r->rq = rq;
	r->coming = true;
	fiber_begin(&r->fiber, run_main, r);
	s->running++;
	return r;
}

/* It writes now, or will not for a while. */
static void came(struct run *r)
{
	if (r->coming)
		store_coming(r->lane->all->api->opts.store, -1);
	r->coming = false;
}

static void run_end(struct run *r)
{
	struct lanes *l = r->lane->all;

	r->lane->running--;
	r->next = l->spare;
	l->spare = r;
}

static void spare_free(struct lanes *l)
{
	while (l->spare) {
		struct run *r = l->spare;

		l->spare = r->next;
		fiber_fini(&r->fiber);
		free(r);
	}
}

/* What to do next: those that go on, then new ones. */
static struct run *take(struct lane_state *s)
{
	struct run *r = s->ready;

	if (!r)
		return s->turn && s->running < RUNNING_MAX ? run_begin(s, take_rq(s)) : NULL;
	s->ready = r->next;
	if (!s->ready)
		s->ready_end = &s->ready;
	s->ready_n--;
	return r;
}

static bool has_work(const struct lane_state *s)
{
	return s->ready || (s->turn && s->running < RUNNING_MAX);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void lane_thread(void *arg);

/* Under the lock. One at a time: who comes finds the work that arrived meanwhile, and calls the next. */
static void call_thread(struct lane_state *s)
{
	if (!has_work(s) || s->waking)
		return;
	s->waking = s->idle > 0 || s->threads < s->threads_max;
	if (s->idle > 0) {
		task_signal(&s->wake);
	} else if (s->threads < s->threads_max) {
		s->threads++;
		task_detach(task_spawn(s->name, lane_thread, s));
	}
}

static void lane_thread(void *arg)
{
	struct lane_state *s = arg;
	struct lanes *l = s->all;
	struct context home;

	context_home(&home);
	task_lock(&l->lock);
	s->waking = false;
	for (;;) {
		struct run *r = s->threads > s->threads_max ? NULL : take(s);
		if (r) {
			call_thread(s);
			task_unlock(&l->lock);
			bool parked = fiber_run(&r->fiber, &home);
			came(r);
			if (parked)
				fiber_let_go(&r->fiber);
			task_lock(&l->lock);
			if (!parked)
				run_end(r);
			continue;
		}
		if (l->stop || s->threads > s->threads_max)
			break; /* came back from away, and another has its place */
		s->idle++;
		bool woken = task_wait_until(&s->wake, &l->lock, mono_add_ms(mono_now(), IDLE_MS));
		s->idle--;
		s->waking = false;
		if (!woken && !has_work(s))
			break;
	}
	s->threads--;
	call_thread(s); /* the signal may have been for the one that goes */
	if (!s->running)
		spare_free(l);
	task_broadcast(&l->gone);
	task_unlock(&l->lock);
	context_fini(&home);
}

static void run_ready(struct fiber *f)
{
	struct run *r = container_of(f, struct run, fiber);
	struct lane_state *s = r->lane;
	struct lanes *l = s->all;

	task_lock(&l->lock);
	r->next = NULL;
	*s->ready_end = r;
	s->ready_end = &r->next;
	s->ready_n++;
	call_thread(s);
	task_unlock(&l->lock);
}

static bool put(struct lane_state *s, struct rq *rq)
{
	if (s->waiting >= (size_t)s->all->api->opts.lane_queue_max)
		return false;
	struct user_queue *u = map_get(s->users, rq->id.user);
	if (!u) {
		u = xcalloc(1, sizeof(*u));
		u->name = str_dup(rq->id.user);
		u->user = str_c(u->name);
		u->end = &u->first;
		map_put(s->users, u->user, u);
		*s->turn_end = u;
		s->turn_end = &u->next;
	}
	if (!u->first)
		u->end = &u->first;
	rq->next = NULL;
	*u->end = rq;
	u->end = &rq->next;
	s->waiting++;
	return true;
}

int lanes_leave(struct lanes *l, struct rq *rq, struct err *e)
{
	bool ok = true;

	if (!rq || !rq->on_lane)
		return 0;
	struct lane_state *s = &l->lane[rq->lane];
	struct fiber *f = fiber_current();
	if (f)
		came(container_of(f, struct run, fiber)); /* nobody waits for it */
	task_lock(&l->lock);
	if (s->away >= AWAY_MAX)
		ok = false;
	if (ok) {
		s->away++;
		s->threads--;
		call_thread(s);
	}
	task_unlock(&l->lock);
	if (ok)
		return 0;
	err_set(e, ERR_TOO_MANY, "too many requests are waiting for webhooks, please try again later");
	e->retry_after_s = 1;
	return -ERR_TOO_MANY;
}

void lanes_return(struct lanes *l, struct rq *rq)
{
	if (!rq || !rq->on_lane)
		return;
	task_lock(&l->lock);
	l->lane[rq->lane].away--;
	l->lane[rq->lane].threads++;
	task_broadcast(&l->gone);
	task_unlock(&l->lock);
}

void lanes_submit(struct lanes *l, struct rq *rq)
{
	struct lane_state *s = &l->lane[rq->lane];
	struct err e;

	task_lock(&l->lock);
	bool ok = !l->stop && put(s, rq);
	if (ok) {
		store_coming(l->api->opts.store, 1);
		call_thread(s);
	}
	task_unlock(&l->lock);
	if (ok)
		return;
	err_init(&e);
	err_set(&e, ERR_TOO_MANY, "too many requests are waiting, please try again later");
	e.retry_after_s = 1;
	reply_error(rq, &e);
}

void lanes_stop(struct lanes *l)
{
	task_lock(&l->lock);
	l->stop = true;
	for (int i = 0; i < LANE_N; i++)
		task_broadcast(&l->lane[i].wake);
	for (int i = 0; i < LANE_N; i++)
		while (l->lane[i].threads || l->lane[i].away || l->lane[i].running)
			task_wait(&l->gone, &l->lock);
	task_unlock(&l->lock);
}

void lanes_free(struct lanes *l)
{
	if (!l)
		return;
	for (int i = 0; i < LANE_N; i++) {
		map_free(l->lane[i].users);
		task_cond_fini(&l->lane[i].wake);
	}
	spare_free(l);
	task_cond_fini(&l->gone);
	task_mutex_fini(&l->lock);
	free(l);
}

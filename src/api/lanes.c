/* Lanes: who writes waits in one of three queues, each with threads of its own, fair between users.
 *
 * A lane holds one FIFO per user and takes from the users in turn, so one busy client costs the others one request each.
 * Threads are started when there is work and end when there was none for a while. A thread whose request waits for another
 * server (a webhook) gives its place away until it is back: a separate, bounded lane without a queue. */
#include "api/api_internal.h"
#include <stdio.h>
#define LOG_MODULE "api"

#define IDLE_MS 30000
#define AWAY_MAX 32 /* requests of one lane that may wait for other servers at a time */

struct user_queue {
	struct str user; /* borrowed from its first request's copy below */
	char *name;
	struct rq *first, **end;
	struct user_queue *next; /* ring of users that wait */
};

struct lane_state {
	struct lanes *all;
	const char *name;
	struct task_cond wake;
	struct user_queue *turn, **turn_end; /* users with waiting requests, whose turn is next first */
	struct map *users;
	size_t waiting;
	int threads, idle, threads_max;
	int away; /* threads whose request waits for another server: they hold no place of the lane */
};

struct lanes {
	struct api *api;
	struct task_mutex lock;
	struct task_cond gone; /* a thread ended */
	struct lane_state lane[LANE_N];
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
		s->threads_max = api->opts.lane_threads;
		task_cond_init(&s->wake);
	}
	return l;
}

static struct rq *take(struct lane_state *s)
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

static void lane_thread(void *arg)
{
	struct lane_state *s = arg;
	struct lanes *l = s->all;

	task_lock(&l->lock);
	for (;;) {
		struct rq *rq = s->threads > s->threads_max ? NULL : take(s);
		if (rq) {
			rq->on_lane = true;
			task_unlock(&l->lock);
			rq->run(rq);
			task_lock(&l->lock);
			continue;
		}
		if (l->stop || s->threads > s->threads_max)
			break; /* came back from away, and another has its place */
		s->idle++;
		bool woken = task_wait_until(&s->wake, &l->lock, mono_add_ms(mono_now(), IDLE_MS));
		s->idle--;
		if (!woken && !s->turn)
			break;
	}
	s->threads--;
	if (s->waiting) /* the signal may have been for the one that goes */
		task_signal(&s->wake);
	task_broadcast(&l->gone);
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

/* Under the lock. Own: task_detach(); NULL: enough threads are there. */
static struct task *need_thread(struct lane_state *s)
{
	if (s->idle >= (int)MIN(s->waiting, (size_t)64) || s->threads >= s->threads_max)
		return NULL;
	s->threads++;
	return task_spawn(s->name, lane_thread, s);
}

int lanes_leave(struct lanes *l, struct rq *rq, struct err *e)
{
	struct task *started = NULL;
	bool ok = true;

	if (!rq || !rq->on_lane)
		return 0;
	struct lane_state *s = &l->lane[rq->lane];
	task_lock(&l->lock);
	if (s->away >= AWAY_MAX)
		ok = false;
	if (ok) {
		s->away++;
		s->threads--;
		started = need_thread(s);
	}
	task_unlock(&l->lock);
	if (started)
		task_detach(started);
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
	struct task *started = NULL;
	struct err e;

	task_lock(&l->lock);
	bool ok = !l->stop && put(s, rq);
	if (ok && !(started = need_thread(s)))
		task_signal(&s->wake);
	task_unlock(&l->lock);
	if (started)
		task_detach(started);
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
		while (l->lane[i].threads || l->lane[i].away)
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
	task_cond_fini(&l->gone);
	task_mutex_fini(&l->lock);
	free(l);
}

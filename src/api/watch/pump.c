/* Who visits the watches, where and when. */
#include "api/watch/watch.h"
#define LOG_MODULE "api"

#define VISITS 512 /* watches at a time */
#define NEWS 64    /* followers at a time */

static void pump_on_loop(void *arg);

/* Under all->lock. */
static void queue(struct watch *w)
{
	struct pump *p = w->pump;

	if (w->queued)
		return;
	w->queued = true;
	w->next_ready = NULL;
	*p->ready_end = w;
	p->ready_end = &w->next_ready;
}

/* Under all->lock. True: it has to be sent for, after the unlock: who wakes must not find the door locked. */
static bool call(struct pump *p)
{
	if ((!p->ready && !p->news) || p->called)
		return false;
	if (!p->loop) {
		if (p->all->asleep)
			task_signal(&p->all->wake);
		return false;
	}
	return p->called = true;
}

static void send_for(struct pump *p)
{
	net_loop_post(p->loop, pump_on_loop, p);
}

void watch_push(struct watch *w)
{
	struct watches *all = w->all;
	struct pump *p = w->pump;
	bool sleeps;

	task_lock(&all->lock);
	queue(w);
	sleeps = call(p);
	task_unlock(&all->lock);
	if (sleeps)
		send_for(p);
}

void follower_push(struct follower *f)
{
	struct pump *p = f->pump;
	bool sleeps = false;

	task_lock(&p->all->lock);
	if (!f->queued) {
		f->queued = true;
		f->next_queued = p->news;
		p->news = f;
		sleeps = call(p);
	}
	task_unlock(&p->all->lock);
	if (sleeps)
		send_for(p);
}

/* ---- the pump -------------------------------------------------------------------------------- */

/* Under all->lock. */
static void unlink_watch(struct watches *all, struct watch *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		all->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	all->n--;
}

/* Under all->lock. */
static size_t pop_ready(struct pump *p, struct watch *ret[VISITS])
{
	size_t n = 0;

	for (; p->ready && n < VISITS; n++) {
		ret[n] = p->ready;
		p->ready = ret[n]->next_ready;
		ret[n]->queued = false;
	}
	if (!p->ready)
		p->ready_end = &p->ready;
	return n;
}

/* Under all->lock. One by one, as each may be queued again as soon as it has told. */
static bool tell_news(struct pump *p)
{
	int n = 0;

	for (; p->news && n < NEWS; n++) {
		struct follower *f = p->news;

		p->news = f->next_queued;
		f->queued = false;
		task_unlock(&p->all->lock);
		follower_tell(f);
		task_lock(&p->all->lock);
	}
	return n;
}

static void visit_all(struct watch *const *v, size_t n)
{
	struct mono now = mono_now();

	for (size_t i = 0; i < n; i++)
		v[i]->gone = watch_visit(v[i], now);
	for (size_t i = 0; i < n; i++)
		if (v[i]->gone)
			watch_part(v[i]);
}

/* Under all->lock: the clock looks at it when its time has come. */
static void wind(struct watch *w, struct mono at)
{
	struct watches *all = w->all;

	w->due = at;
	if (!mono_before(at, all->next_timer))
		return;
	all->next_timer = at;
	if (all->asleep)
		task_signal(&all->wake);
}

/* Under all->lock: frees those that are gone, unless they are queued again; for the others, when they are due. */
static void settle(struct watches *all, struct watch *const *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct watch *w = v[i];

		if (w->gone && !w->queued) {
			unlink_watch(all, w);
			task_unlock(&all->lock);
			watch_free(w);
			task_lock(&all->lock);
		} else if (w->gone || w->ended) {
			w->due = MONO_NEVER;
		} else if (!atomic_load(&w->over)) {
			wind(w, watch_due(w));
		}
	}
}

/* Under all->lock. False: there was nothing to do. */
static bool work(struct pump *p)
{
	struct watch *v[VISITS];
	bool told = tell_news(p);
	size_t n = pop_ready(p, v);

	if (n) {
		task_unlock(&p->all->lock);
		visit_all(v, n);
		task_lock(&p->all->lock);
		settle(p->all, v, n);
	}
	if (!p->ready && !p->news)
		event_latest_fini(&p->latest);
	return told || n;
}

/* What is left after so many has its turn after the sockets had theirs. */
static void pump_on_loop(void *arg)
{
	struct pump *p = arg;
	struct watches *all = p->all;

	task_lock(&all->lock);
	work(p);
	p->called = false;
	if (call(p))
		send_for(p);
	if (all->stop && !all->n)
		task_signal(&all->wake);
	task_unlock(&all->lock);
}

/* ---- the task -------------------------------------------------------------------------------- */

/* Under all->lock: queues every watch whose time has come, and finds the next time. Its visit says when it is due again. */
static void queue_due(struct watches *all, struct mono now)
{
	all->next_timer = MONO_NEVER;
	for (struct watch *w = all->first; w; w = w->next) {
		if (!mono_before(now, w->due)) {
			w->due = MONO_NEVER;
			queue(w);
		} else if (mono_before(w->due, all->next_timer)) {
			all->next_timer = w->due;
		}
	}
	for (struct pump *p = all->loops; p; p = p->next)
		if (call(p))
			send_for(p);
}

/* Under all->lock: the last watch is gone, and no loop is on its way to look for one. */
static bool is_over(const struct watches *all)
{
	for (const struct pump *p = all->loops; p; p = p->next)
		if (p->called)
			return false;
	return all->stop && !all->n;
}

static void run(void *arg)
{
	struct watches *all = arg;

	task_lock(&all->lock);
	while (!is_over(all)) {
		struct mono now = mono_now();

		if (!mono_before(now, all->next_timer))
			queue_due(all, now);
		if (work(&all->own))
			continue;
		all->asleep = true;
		task_wait_until(&all->wake, &all->lock, all->next_timer);
		all->asleep = false;
	}
	task_unlock(&all->lock);
}

/* ---- owners ---------------------------------------------------------------------------------- */

static void pump_init(struct pump *p, struct watches *all, struct net_loop *loop)
{
	p->all = all;
	p->loop = loop;
	p->ready_end = &p->ready;
}

/* Under all->lock. */
static struct pump *pump_of(struct watches *all, struct rq *rq)
{
	struct net_loop *loop = rq->http && all == rq->api->watches ? http_loop_of(rq->http) : NULL;
	struct pump *p = loop ? all->loops : &all->own;

	while (p && p->loop != loop)
		p = p->next;
	if (p)
		return p;
	p = xcalloc(1, sizeof(*p));
	pump_init(p, all, loop);
	p->next = all->loops;
	return all->loops = p;
}

void watches_link(struct watches *all, struct watch *w)
{
	task_lock(&all->lock);
	w->next = all->first;
	if (w->next)
		w->next->prev = w;
	all->first = w;
	all->n++;
	w->pump = pump_of(all, w->rq);
	w->form.latest = &w->pump->latest;
	task_unlock(&all->lock);
}

struct watches *watches_new(struct api *api)
{
	struct watches *all = xcalloc(1, sizeof(*all));

	all->api = api;
	task_mutex_init(&all->lock);
	task_cond_init(&all->wake);
	pump_init(&all->own, all, NULL);
	all->next_timer = MONO_NEVER;
	all->task = task_spawn("api-watch", run, all);
	return all;
}

size_t watches_len(struct watches *all)
{
	task_lock(&all->lock);
	size_t n = all->n;
	task_unlock(&all->lock);
	return n;
}

/* Under all->lock. */
static void end_now(struct watch *w)
{
	atomic_store(&w->over, true);
	wind(w, (struct mono){ 0 });
}

/* Ends every stream; the pumps go on until the last was closed. */
void watches_stop(struct watches *all)
{
	task_lock(&all->lock);
	all->stop = true;
	for (struct watch *w = all->first; w; w = w->next)
		end_now(w);
	task_signal(&all->wake);
	task_unlock(&all->lock);
}

void watches_end_of(struct watches *all, const struct resource *r)
{
	task_lock(&all->lock);
	for (struct watch *w = all->first; w; w = w->next)
		if (w->rq->res == r)
			end_now(w);
	task_unlock(&all->lock);
}

void watches_free(struct watches *all)
{
	if (!all)
		return;
	watches_stop(all);
	task_join(all->task);
	for (struct pump *p; (p = all->loops); free(p))
		all->loops = p->next;
	task_mutex_fini(&all->lock);
	task_cond_fini(&all->wake);
	free(all);
}

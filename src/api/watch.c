/* WATCH: one pump task moves events from the caches to the streams.
 *
 *     store task ── notify ──► ready list ──► pump task: cache_watch_next() → bytes (watch_event.c) → stream
 *     loop ── writable, closed ──┘               └─ also bookmarks and time-outs
 *
 * A watch is freed by the pump task alone, after its stream was closed. w->lock covers the stream handle: closed()
 * takes it, so nobody writes to a stream that is gone. Order of locks: w->lock, then all->lock. */
#include "api/custom.h"
#include "api/watch_event.h"
#include <stdatomic.h>
#include <stdio.h>
#define LOG_MODULE "api"

#define BOOKMARK_MS 60000
#define BATCH 64   /* events a write */
#define VISITS 512 /* watches at a time, for which the loops are woken once */

struct watch {
	struct watches *all;
	struct rq *rq; /* own */
	struct event_form form;
	struct filter filter;
	struct cache_watch *events;
	void *stream;
	struct task_mutex lock;
	bool closed, ended, queued, gone, bookmarks, final_bookmark;
	struct mono bookmark_at, end_at;
	int64_t progress;
	struct cache_list initial; /* to be sent from initial_at on, in initial_arena */
	size_t initial_at;
	struct arena *initial_arena;
	bool initial_end;
	atomic_bool full; /* the stream took no more: writable() is waited for */
	bool expired;     /* the ring no longer has what was asked for */
	struct watch *next_ready, *prev, *next;
};

struct watches {
	struct api *api;
	struct task_mutex lock;
	struct task_cond wake;
	struct task *pump;
	struct watch *first, *ready, **ready_end;
	size_t n;
	struct mono next_timer;
	bool stop, asleep;
	struct event_latest latest;
};

/* Under all->lock. */
static void queue(struct watch *w)
{
	struct watches *all = w->all;

	if (w->queued)
		return;
	w->queued = true;
	w->next_ready = NULL;
	*all->ready_end = w;
	all->ready_end = &w->next_ready;
}

static void push_ready(struct watch *w)
{
	struct watches *all = w->all;

	task_lock(&all->lock);
	queue(w);
	if (all->asleep)
		task_signal(&all->wake);
	task_unlock(&all->lock);
}

/* The pump wakes when all are queued that want an event: it would only get in the way of this. */
static void notify(void *arg, bool more)
{
	struct watch *w = arg;

	if (!more) {
		push_ready(w);
		return;
	}
	task_lock(&w->all->lock);
	queue(w);
	task_unlock(&w->all->lock);
}

/* Another pump's, which another notify() may not wake. */
static void notify_slow(void *arg, bool more)
{
	push_ready(arg);
}

/* Comes whenever all was sent, and mostly nothing was held back. */
static void stream_writable(void *arg)
{
	struct watch *w = arg;

	if (atomic_exchange(&w->full, false))
		push_ready(w);
}

static void stream_closed(void *arg)
{
	struct watch *w = arg;

	/* Queued before the pump can see `closed`: it then leaves the watch to that visit. */
	task_lock(&w->lock);
	w->closed = true;
	w->stream = NULL;
	push_ready(w);
	task_unlock(&w->lock);
}

static const struct http_stream_ops stream_ops = { stream_writable, stream_closed };

static void out_write(struct watch *w, struct net_piece *p, size_t n)
{
	if (w->rq->http)
		http_stream_write(w->stream, p, n);
	else
		w->rq->sink->write(w->stream, p, n);
}

static size_t out_unsent(struct watch *w)
{
	return w->rq->http ? http_stream_unsent(w->stream) : w->rq->sink->unsent(w->stream);
}

/* Under w->lock. closed() follows on the loop. */
static void out_end(struct watch *w)
{
	if (w->ended || w->closed)
		return;
	w->ended = true;
	if (w->rq->http)
		http_stream_end(w->stream);
	else
		w->rq->sink->end(w->stream);
}

/* ---- what is to be written -------------------------------------------------------------------- */

struct batch {
	struct net_piece p[BATCH * EVENT_PIECES];
	size_t n;
};

static void batch_flush(struct watch *w, struct batch *b)
{
	if (!b->n)
		return;
	if (!w->closed && !w->ended) {
		out_write(w, b->p, b->n);
	} else {
		for (size_t i = 0; i < b->n; i++)
			if (b->p[i].end)
				b->p[i].end(b->p[i].owner);
	}
	b->n = 0;
}

/* Before an event is added. */
static void batch_room(struct watch *w, struct batch *b)
{
	if (b->n + EVENT_PIECES > ARRAY_LEN(b->p))
		batch_flush(w, b);
}

/* ---- the pump -------------------------------------------------------------------------------- */

/* Before all of the initial list is sent it would say too much. */
static void bookmark(struct watch *w, struct batch *b)
{
	if (w->initial_arena)
		return;
	batch_room(w, b);
	b->n += event_bookmark(&w->form, w->progress, false, b->p + b->n);
}

static void timers(struct watch *w, struct batch *b, struct mono now)
{
	if (!mono_before(now, w->end_at)) {
		batch_flush(w, b);
		out_end(w);
		return;
	}
	if (w->bookmarks && !mono_before(now, w->bookmark_at)) {
		bookmark(w, b);
		w->bookmark_at = mono_add_ms(now, BOOKMARK_MS);
	}
	if (w->bookmarks && !w->final_bookmark && mono_ms_between(now, w->end_at) <= 2000) {
		w->final_bookmark = true;
		bookmark(w, b);
	}
}

/* False: nothing may be written now; the stream says when. */
static bool has_room(struct watch *w)
{
	if (out_unsent(w) < HTTP_STREAM_HIGH)
		return true;
	atomic_store(&w->full, true);
	return out_unsent(w) < HTTP_STREAM_HIGH && atomic_exchange(&w->full, false); /* it drained before it was told */
}

/* As much of it as there is room for; then initial_arena is NULL. */
static void send_initial(struct watch *w, struct batch *b)
{
	struct cache_list *cl = &w->initial;

	while (w->initial_at < cl->n && has_room(w)) {
		for (size_t end = MIN(cl->n, w->initial_at + BATCH); w->initial_at < end; w->initial_at++) {
			struct doc *d = doc_as_served(w->rq->a, w->rq->res, doc_ref(cl->items[w->initial_at].doc));
			batch_room(w, b);
			if (filter_is_all(&w->filter) || filter_matches(&w->filter, d))
				b->n += event_added(&w->form, doc_ref(d), b->p + b->n);
			doc_unref(d);
		}
		batch_flush(w, b);
	}
	if (w->initial_at < cl->n)
		return;
	if (w->initial_end)
		b->n += event_bookmark(&w->form, w->progress, true, b->p + b->n);
	batch_flush(w, b);
	w->initial_arena = arena_free(w->initial_arena);
}

/* Under w->lock. */
static void pump_events(struct watch *w, struct batch *b)
{
	struct err e;
	int rc = w->expired ? -ERR_EXPIRED : 0;

	err_init(&e);
	struct cache_event ev = { 0 };
	while (rc >= 0 && !ev.last && !w->closed && !w->ended && has_room(w)) {
		int64_t progress = 0;
		rc = cache_watch_next(w->events, &ev, &progress, &e);
		if (rc <= 0) {
			if (rc == 0 && progress > w->progress)
				w->progress = progress;
			break;
		}
		w->progress = ev.revision;
		batch_room(w, b);
		b->n += event_change(&w->form, &w->filter, &ev, b->p + b->n);
	}
	if (rc >= 0)
		return;
	if (rc == -ERR_EXPIRED) {
		err_set(&e, ERR_EXPIRED, "The resourceVersion for the provided watch is too old.");
		batch_room(w, b);
		b->n += event_error(&w->form, &e, b->p + b->n);
	}
	batch_flush(w, b);
	out_end(w);
}

static void watch_unlink(struct watches *all, struct watch *w)
{
	task_lock(&all->lock);
	if (w->prev)
		w->prev->next = w->next;
	else
		all->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	all->n--;
	task_unlock(&all->lock);
}

static void watch_free(struct watch *w)
{
	watch_unlink(w->all, w);
	arena_free(w->initial_arena);
	rq_done(w->rq, 200);
	task_mutex_fini(&w->lock);
	rq_free(w->rq);
}

/* True: its stream is closed. */
static bool visit(struct watch *w, struct mono now)
{
	struct batch b;
	bool closed;

	b.n = 0;
	task_lock(&w->lock);
	if (!w->closed && !w->ended) {
		if (w->initial_arena)
			send_initial(w, &b);
		if (!w->initial_arena)
			pump_events(w, &b);
		if (!w->closed && !w->ended)
			timers(w, &b, now);
		batch_flush(w, &b);
	}
	closed = w->closed;
	task_unlock(&w->lock);
	return closed;
}

/* No long list to send and nobody to wait for: the loops may be told of it together with others. */
static bool is_short(const struct watch *w)
{
	return !w->initial_arena && w->all == w->rq->api->watches;
}

/* Under all->lock. */
static size_t pop_ready(struct watches *all, struct watch *ret[VISITS])
{
	size_t n = 0;

	for (; all->ready && n < VISITS; n++) {
		ret[n] = all->ready;
		all->ready = ret[n]->next_ready;
		ret[n]->queued = false;
	}
	if (!all->ready)
		all->ready_end = &all->ready;
	return n;
}

static struct mono due(const struct watch *w)
{
	struct mono t = w->end_at;

	if (w->bookmarks && !w->final_bookmark && mono_before(mono_add_ms(t, -2000), t))
		t = mono_add_ms(t, -2000);
	if (w->bookmarks && mono_before(w->bookmark_at, t))
		t = w->bookmark_at;
	return t;
}

/* Under all->lock: queues every watch whose time has come, and finds the next time. */
static void queue_due(struct watches *all, struct mono now)
{
	all->next_timer = MONO_NEVER;
	for (struct watch *w = all->first; w; w = w->next) {
		struct mono t = due(w);
		if (w->ended)
			continue;
		if (!mono_before(now, t) && !w->queued) {
			queue(w);
		} else if (mono_before(t, all->next_timer)) {
			all->next_timer = t;
		}
	}
}

static void visit_all(struct watch *const *v, size_t n)
{
	struct mono now = mono_now();
	bool together = false;

	for (size_t i = 0; i < n; i++) {
		if (is_short(v[i]) != together) {
			together = !together;
			(together ? net_batch_begin : net_batch_end)();
		}
		v[i]->gone = visit(v[i], now);
	}
	if (together)
		net_batch_end();
	for (size_t i = 0; i < n; i++)
		if (v[i]->gone)
			v[i]->events = cache_watch_free(v[i]->events); /* no notify() from here on */
}

/* Under all->lock: frees those that are gone, unless they are queued again; for the others, when they are due. */
static void settle(struct watches *all, struct watch *const *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct watch *w = v[i];

		if (w->gone && !w->queued) {
			task_unlock(&all->lock);
			watch_free(w);
			task_lock(&all->lock);
		} else if (!w->gone && !w->ended && mono_before(due(w), all->next_timer)) {
			all->next_timer = due(w);
		}
	}
}

static void pump(void *arg)
{
	struct watches *all = arg;
	struct watch *v[VISITS];

	task_lock(&all->lock);
	for (;;) {
		struct mono now = mono_now();
		if (!mono_before(now, all->next_timer))
			queue_due(all, now);
		size_t n = pop_ready(all, v);
		if (!n)
			event_latest_fini(&all->latest);
		if (!n && all->stop && !all->n)
			break;
		if (!n) {
			all->asleep = true;
			task_wait_until(&all->wake, &all->lock, all->next_timer);
			all->asleep = false;
			continue;
		}
		task_unlock(&all->lock);
		visit_all(v, n);
		task_lock(&all->lock);
		settle(all, v, n);
	}
	task_unlock(&all->lock);
}

/* ---- making one ------------------------------------------------------------------------------ */

struct watch_query {
	int64_t since;
	bool initial, initial_end;
	int64_t timeout_ms;
};

static int query_read(struct rq *rq, struct watch *w, struct watch_query *q, struct err *e)
{
	struct str rv = rq_param(rq, "resourceVersion");
	struct str send = rq_param(rq, "sendInitialEvents");
	int64_t s;

	if (check_list_options(rq, true, e) < 0)
		return -e->code;
	if (check_revision(rq, rv, &q->since, e) < 0)
		return -e->code;
	bool want = rq_param_bool(rq, "sendInitialEvents");
	q->initial = send.p ? want : !rv.n || str_is(rv, "0");
	q->initial_end = send.p && want;
	w->bookmarks = rq_param_bool(rq, "allowWatchBookmarks");
	q->timeout_ms = 1800000 + (int64_t)rand_below(1800000);
	if (query_number(rq, "timeoutSeconds", &s, e) < 0)
		return -e->code;
	if (s > 0)
		q->timeout_ms = MIN(s, (int64_t)86400) * 1000;
	return filter_parse(rq, rq_param(rq, "labelSelector"), rq_param(rq, "fieldSelector"), &w->filter, e);
}

static struct str watch_prefix(struct rq *rq, const struct filter *f)
{
	struct str name = filter_name(f);

	if (!rq->res->def.namespaced)
		return name.p ? name : STR("");
	if (!rq->ns.n)
		return STR("");
	return arena_strf(rq->a, "%.*s/%.*s", STR_ARG(rq->ns), STR_ARG(name));
}

static void start_stream(struct rq *rq, struct watch *w)
{
	struct http_header h[48];
	size_t n = reply_headers(rq, media_type(rq->media, true), h, 40);

	rq->status = 200;
	audit_started(rq->api->audit, rq);
	if (rq->http)
		w->stream = http_reply_stream(rq->http, 200, h, n, &stream_ops, w);
	else
		w->stream = rq->sink->stream(rq->sink_arg, 200, h, n, &stream_ops, w);
}

static void link_watch(struct watches *all, struct watch *w)
{
	task_lock(&all->lock);
	w->next = all->first;
	if (w->next)
		w->next->prev = w;
	all->first = w;
	all->n++;
	task_unlock(&all->lock);
}

void read_watch(struct rq *rq)
{
	bool slow = rq->res->custom && rq->res->custom->webhook;
	struct watches *all = slow ? rq->api->slow_watches : rq->api->watches;
	struct watch *w = ARENA_NEW(rq->a, struct watch);
	struct watch_query q = { 0 };
	struct err e;

	err_init(&e);
	if (rq_stopping(rq->api))
		err_set(&e, ERR_UNAVAILABLE, "the server is shutting down");
	if (e.code || query_read(rq, w, &q, &e) < 0) {
		reply_error(rq, &e);
		return;
	}
	w->all = all;
	w->rq = rq;
	w->form = (struct event_form){ .rq = rq, .latest = &all->latest };
	task_mutex_init(&w->lock);
	struct cache *c = rq->res->stored->cache;
	struct str prefix = watch_prefix(rq, &w->filter);
	if (q.initial) {
		w->initial_arena = arena_new();
		w->initial = cache_list(c, w->initial_arena, prefix, STR_NULL, 0, &q.since);
		w->initial_end = q.initial_end;
	}
	w->progress = q.since;
	struct mono now = mono_now();
	w->end_at = mono_add_ms(now, q.timeout_ms);
	w->bookmark_at = mono_add_ms(now, BOOKMARK_MS + (int64_t)rand_below(5000));
	w->queued = true; /* notify() waits until the initial events are out */
	int rc = cache_watch(c, q.since, prefix, slow ? notify_slow : notify, w, &w->events, &e);
	if (rc < 0 && rc != -ERR_EXPIRED) {
		arena_free(w->initial_arena);
		task_mutex_fini(&w->lock);
		reply_error(rq, &e);
		return;
	}
	if (rc < 0)
		w->expired = true;
	rq->body = STR_NULL;
	link_watch(all, w);
	if (__atomic_load_n(&rq->res->removed, __ATOMIC_ACQUIRE)) /* between the look-up and here */
		w->end_at = mono_now();
	start_stream(rq, w);
	task_lock(&all->lock);
	w->queued = false;
	task_unlock(&all->lock);
	push_ready(w);
}

struct watches *watches_new(struct api *api)
{
	struct watches *all = xcalloc(1, sizeof(*all));

	all->api = api;
	task_mutex_init(&all->lock);
	task_cond_init(&all->wake);
	all->ready_end = &all->ready;
	all->next_timer = MONO_NEVER;
	all->pump = task_spawn("api-watch", pump, all);
	return all;
}

size_t watches_len(struct watches *all)
{
	task_lock(&all->lock);
	size_t n = all->n;
	task_unlock(&all->lock);
	return n;
}

/* Ends every stream; the pump goes on until the last was closed. */
void watches_stop(struct watches *all)
{
	task_lock(&all->lock);
	all->stop = true;
	for (struct watch *w = all->first; w; w = w->next)
		w->end_at = mono_now();
	all->next_timer = mono_now();
	task_signal(&all->wake);
	task_unlock(&all->lock);
}

void watches_end_of(struct watches *all, const struct resource *r)
{
	task_lock(&all->lock);
	for (struct watch *w = all->first; w; w = w->next)
		if (w->rq->res == r)
			w->end_at = mono_now();
	all->next_timer = mono_now();
	task_signal(&all->wake);
	task_unlock(&all->lock);
}

void watches_free(struct watches *all)
{
	if (!all)
		return;
	watches_stop(all);
	task_join(all->pump);
	task_mutex_fini(&all->lock);
	task_cond_fini(&all->wake);
	free(all);
}

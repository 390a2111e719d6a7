/* One watch: what it asked for, and what is written to its stream. */
#include "api/watch/watch.h"
#include "api/custom/custom.h"
#include <stdio.h>
#define LOG_MODULE "api"

#define BOOKMARK_MS 60000
#define BATCH 64 /* events a write */

/* For one that did not join. */
void watch_notify(void *arg)
{
	watch_push(arg);
}

/* Comes whenever all was sent, and mostly nothing was held back. */
static void stream_writable(void *arg)
{
	struct watch *w = arg;

	if (atomic_exchange(&w->full, false))
		watch_push(w);
}

static void stream_closed(void *arg)
{
	struct watch *w = arg;

	/* Queued before the pump can see `closed`: it then leaves the watch to that visit. */
	task_lock(&w->lock);
	w->closed = true;
	w->stream = NULL;
	watch_push(w);
	task_unlock(&w->lock);
}

static const struct http_stream_ops stream_ops = { stream_writable, stream_closed };

void watch_write(struct watch *w, struct net_piece *p, size_t n)
{
	w->out->write(w->stream, p, n);
}

static size_t out_unsent(struct watch *w)
{
	return w->out->unsent(w->stream);
}

void watch_end(struct watch *w)
{
	if (w->ended || w->closed)
		return;
	w->ended = true;
	w->out->end(w->stream);
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
		watch_write(w, b->p, b->n);
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

/* ---- a visit --------------------------------------------------------------------------------- */

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
	if (atomic_load(&w->over) || !mono_before(now, w->end_at)) {
		batch_flush(w, b);
		watch_end(w);
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
bool watch_has_room(struct watch *w)
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

	while (w->initial_at < cl->n && watch_has_room(w)) {
		for (size_t end = MIN(cl->n, w->initial_at + BATCH); w->initial_at < end; w->initial_at++) {
			batch_room(w, b);
			b->n += event_added(&w->form, &w->filter, cl->items[w->initial_at].doc, b->p + b->n);
			if (w->form.failed)
				break;
		}
		batch_flush(w, b);
		if (w->form.failed) {
			watch_end(w);
			return;
		}
	}
	if (w->initial_at < cl->n)
		return;
	if (w->initial_end)
		b->n += event_bookmark(&w->form, w->progress, true, b->p + b->n);
	batch_flush(w, b);
	w->initial_arena = arena_free(w->initial_arena);
}

/* Under w->lock. True: it has seen all. */
static bool pump_events(struct watch *w, struct batch *b)
{
	struct err e;
	int rc = w->broken;
	bool all = false;

	err_init(&e);
	struct cache_event ev = { 0 };
	while (rc >= 0 && !ev.last && !w->closed && !w->ended && watch_has_room(w)) {
		int64_t progress = 0;
		rc = cache_watch_next(w->events, &ev, &progress, &e);
		all = rc == 0 || ev.last;
		if (rc <= 0) {
			if (rc == 0 && progress > w->progress)
				w->progress = progress;
			break;
		}
		w->progress = ev.revision;
		batch_room(w, b);
		b->n += event_change(&w->form, &w->filter, &ev, b->p + b->n);
		if (w->form.failed) {
			batch_flush(w, b);
			watch_end(w);
			return false;
		}
	}
	if (rc >= 0)
		return all;
	if (rc == -ERR_EXPIRED) {
		if (w->broken)
			err_set(&e, ERR_EXPIRED, "%s",
				w->why ? w->why : "The resourceVersion for the provided watch is too old.");
		batch_room(w, b);
		b->n += event_error(&w->form, &e, b->p + b->n);
	}
	batch_flush(w, b);
	watch_end(w);
	return false;
}

/* True: its stream is closed. */
bool watch_visit(struct watch *w, struct mono now)
{
	struct batch b;
	bool closed, joins = false;

	b.n = 0;
	watch_catch_up(w);
	task_lock(&w->lock);
	if (!w->closed && !w->ended) {
		if (w->initial_arena)
			send_initial(w, &b);
		if (!w->initial_arena && !w->follower)
			joins = pump_events(w, &b);
		if (!w->closed && !w->ended)
			timers(w, &b, now);
		batch_flush(w, &b);
	}
	closed = w->closed;
	joins &= !closed && !w->ended;
	task_unlock(&w->lock);
	if (joins)
		watch_join(w);
	return closed;
}

struct mono watch_due(const struct watch *w)
{
	struct mono t = w->end_at;

	if (w->bookmarks && !w->final_bookmark && mono_before(mono_add_ms(t, -2000), t))
		t = mono_add_ms(t, -2000);
	if (w->bookmarks && mono_before(w->bookmark_at, t))
		t = w->bookmark_at;
	return t;
}

void watch_free(struct watch *w)
{
	arena_free(w->initial_arena);
	rq_done(w->rq, w->rq->status);
	task_mutex_fini(&w->lock);
	rq_free(w->rq);
}

/* ---- making one ------------------------------------------------------------------------------ */

struct watch_query {
	int64_t since;
	bool initial, initial_end;
	int64_t timeout_ms;
};

/* A watch of one name, as of /watch/…/NAME, was authorized as that name: it tells of no other. */
static int one_name(struct rq *rq, struct filter *f, struct err *e)
{
	if (!rq->name.n || str_eq(filter_name(f), rq->name))
		return 0;
	if (f->n_fields)
		return err_set(e, ERR_BAD_REQUEST, "fieldSelector metadata.name doesn't match requested name");
	f->fields = ARENA_NEW(rq->a, struct field_term);
	*f->fields = (struct field_term){ STR("metadata.name"), rq->name, true };
	f->n_fields = 1;
	return 0;
}

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
	w->bookmarks = rq_param_bool(rq, "allowWatchBookmarks");
	q->initial_end = send.p && want && w->bookmarks;
	q->timeout_ms = 1800000 + (int64_t)rand_below(1800000);
	if (query_number(rq, "timeoutSeconds", &s, e) < 0)
		return -e->code;
	if (s > 0)
		q->timeout_ms = MIN(s, (int64_t)86400) * 1000;
	if (filter_parse(rq, rq_param(rq, "labelSelector"), rq_param(rq, "fieldSelector"), &w->filter, e) < 0)
		return -e->code;
	return one_name(rq, &w->filter, e);
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

static void *http_begin(void *arg, int status, const struct http_header *headers, size_t n_headers,
	const struct http_stream_ops *ops, void *ops_arg)
{
	return http_reply_stream(arg, status, headers, n_headers, ops, ops_arg);
}

static void http_write(void *stream, const struct net_piece *pieces, size_t n)
{
	http_stream_write(stream, pieces, n);
}

static size_t http_unsent(void *stream)
{
	return http_stream_unsent(stream);
}

static void http_end(void *stream)
{
	http_stream_end(stream);
}

static const struct api_sink http_out = {
	.stream = http_begin, .write = http_write, .unsent = http_unsent, .end = http_end
};

static int choose_out(struct rq *rq, struct watch *w, struct err *e)
{
	rq->status = 200;
	w->out = rq->http ? &http_out : rq->sink;
	w->out_arg = rq->http ? (void *)rq->http : rq->sink_arg;
	if (!socket_asked(rq))
		return 0;
	rq->status = 101;
	w->out = &socket_out;
	return socket_new(rq, &w->out_arg, e);
}

static void start_stream(struct rq *rq, struct watch *w)
{
	struct http_header h[48];
	size_t n = reply_headers(rq, media_type(rq->media, true), h, 40);

	rq_started(rq);
	w->stream = w->out->stream(w->out_arg, rq->status, h, n, &stream_ops, w);
}

/* Or as many watches as there are places would leave none for who wants to end one. */
static void no_room(struct err *e)
{
	err_set(e, ERR_TOO_MANY, "too many connections are open, please try again later");
	e->retry_after_s = 1;
}

void read_watch(struct rq *rq)
{
	bool slow = rq->res->custom && rq->res->custom->webhook;
	struct watches *all = slow ? slow_watches_of(rq->api->slow_watches, rq->res) : rq->api->watches;
	struct watch *w = ARENA_NEW(rq->a, struct watch);
	struct watch_query q = { 0 };
	struct err e;

	err_init(&e);
	if (rq_stopping(rq->api))
		err_set(&e, ERR_UNAVAILABLE, "the server is shutting down");
	else if (rq->http && http_crowded(rq->http))
		no_room(&e);
	if (e.code || query_read(rq, w, &q, &e) < 0 || choose_out(rq, w, &e) < 0) {
		reply_error(rq, &e);
		return;
	}
	w->all = all;
	w->rq = rq;
	w->form = (struct event_form){ .rq = rq };
	w->due = MONO_NEVER;
	task_mutex_init(&w->lock);
	struct cache *c = rq->res->stored->cache;
	struct str prefix = watch_prefix(rq, &w->filter);
	if (q.initial) {
		w->initial_arena = arena_new();
		w->initial = cache_list(c, w->initial_arena, prefix, STR_NULL, 0, &q.since);
		w->initial_end = q.initial_end;
	} else if (!q.since) { /* nothing of what there is: from now on */
		q.since = cache_revision(c);
	}
	w->progress = q.since;
	struct mono now = mono_now();
	w->end_at = mono_add_ms(now, q.timeout_ms);
	w->bookmark_at = mono_add_ms(now, BOOKMARK_MS + (int64_t)rand_below(5000));
	w->queued = true; /* watch_notify() waits until the initial events are out */
	w->prefix = prefix;
	int rc = cache_watch(c, q.since, prefix, watch_notify, w, &w->events, &e);
	if (rc < 0 && rc != -ERR_EXPIRED) {
		if (w->out == &socket_out)
			socket_drop(w->out_arg);
		arena_free(w->initial_arena);
		task_mutex_fini(&w->lock);
		reply_error(rq, &e);
		return;
	}
	w->broken = rc;
	w->why = rc < 0 ? rq_f(rq, "%s", e.message) : NULL;
	rq->body = STR_NULL;
	watches_link(all, w);
	if (__atomic_load_n(&rq->res->removed, __ATOMIC_ACQUIRE)) /* between the look-up and here */
		w->over = true;
	start_stream(rq, w);
	task_lock(&all->lock);
	w->queued = false;
	task_unlock(&all->lock);
	watch_push(w);
}

/* The task behind an informer: list, then watch, then again.
 *
 *          ┌────────────────────── 410, or the stream says so ──────────────────────┐
 *          ▼                                                                        │
 *        list ──► differences to the view ──► handlers ──► watch from the list's revision
 *          ▲                                                 │        ▲             │
 *          └── error: back off, again                        └────────┘ ended: from the last revision seen
 *
 * A revision counts as seen when its handlers have run, so that nothing is lost however a stream ends. */
#include "base/log.h"
#include "base/map.h"
#include "base/queue.h"
#include "client/informer_internal.h"
#include <inttypes.h>
#include <stdio.h>

#define LOG_MODULE "informer"
#define BACKOFF_FIRST_MS 200
#define BACKOFF_MOST_MS 30000
#define SILENCE_MS (15 * 60 * 1000) /* a stream without even a bookmark for this long is opened anew */

struct handler {
	informer_handler *run;
	void *arg;
};

struct informer {
	struct client *client;
	struct informer_opts o; /* strings are ours */
	struct handler *handlers;
	size_t handlers_n;
	struct task *task; /* NULL: not started, or a loop's */
	struct stop *stop;
	char key[24]; /* in its loop */
	bool started;

	struct task_mutex lock;
	struct task_cond synced_cond;
	struct view view;
	bool synced, stopping;
	struct client_stream *stream; /* to be interrupted by informer_free() */
	_Atomic int64_t revision;

	/* The task only. */
	char from[24]; /* where the next watch begins; "" : a list is due */
	int64_t backoff_ms;
	struct mono resync, opened, heard;
};

/* ---- handlers -------------------------------------------------------------------------------- */

static void tell(struct informer *i, struct doc *before, struct doc *after)
{
	for (size_t h = 0; h < i->handlers_n; h++)
		i->handlers[h].run(i->handlers[h].arg, before, after);
}

static void saw(struct informer *i, int64_t revision)
{
	if (revision > atomic_load(&i->revision))
		atomic_store(&i->revision, revision);
}

/* A name that came back with another uid is another object: its handlers see one end and one begin. */
static void upsert(struct informer *i, struct doc *d)
{
	auto_(doc_unref) struct doc *before = NULL, *keep = doc_ref(d);
	struct item *t;

	task_lock(&i->lock);
	t = view_find(&i->view, doc_ns(d), doc_name(d));
	if (t && doc_revision(t->doc) == doc_revision(d) && str_eq(doc_uid(t->doc), doc_uid(d))) {
		task_unlock(&i->lock);
		return;
	}
	if (t && !str_eq(doc_uid(t->doc), doc_uid(d))) {
		before = view_remove(&i->view, doc_ns(d), doc_name(d));
		task_unlock(&i->lock);
		tell(i, before, NULL);
		before = doc_unref(before);
		task_lock(&i->lock);
	}
	before = view_set(&i->view, d);
	task_unlock(&i->lock);
	tell(i, before, keep);
}

static void forget(struct informer *i, struct str ns, struct str name)
{
	auto_(doc_unref) struct doc *before = NULL;

	task_lock(&i->lock);
	before = view_remove(&i->view, ns, name);
	task_unlock(&i->lock);
	if (before)
		tell(i, before, NULL);
}

/* ---- list ------------------------------------------------------------------------------------ */

struct docs {
	struct doc **v;
	size_t n, cap;
};

static void docs_add(void *arg, struct doc *take)
{
	struct docs *l = arg;

	if (l->n == l->cap)
		l->v = xrealloc(l->v, l->cap = l->cap ? l->cap * 2 : 64, sizeof(struct doc *));
	l->v[l->n++] = take;
}

static void docs_fini(struct docs *l)
{
	for (size_t i = 0; i < l->n; i++)
		doc_unref(l->v[i]);
	free(l->v);
}

static struct docs snapshot(struct informer *i)
{
	struct docs l = { 0 };

	task_lock(&i->lock);
	for (size_t k = 0; k < i->view.all.n; k++)
		docs_add(&l, doc_ref(i->view.all.v[k]->doc));
	task_unlock(&i->lock);
	return l;
}

static char *listed_key(struct doc *d)
{
	return xasprintf("%.*s/%.*s", STR_ARG(doc_ns(d)), STR_ARG(doc_name(d)));
}

/* What the view has and the list has not was deleted while nobody watched. */
static void forget_missing(struct informer *i, const struct docs *list)
{
	struct docs have = snapshot(i);
	struct map *names = map_new(NULL);

	for (size_t k = 0; k < list->n && have.n; k++) {
		auto_free char *key = listed_key(list->v[k]);

		map_put(names, str_c(key), list->v[k]);
	}
	for (size_t k = 0; k < have.n; k++) {
		auto_free char *key = listed_key(have.v[k]);

		if (!map_get(names, str_c(key)))
			forget(i, doc_ns(have.v[k]), doc_name(have.v[k]));
	}
	map_free(names);
	docs_fini(&have);
}

static struct client_request request(const struct informer *i)
{
	return (struct client_request){
		.res = i->o.res,
		.ns = i->o.ns,
		.label_selector = i->o.label_selector,
		.field_selector = i->o.field_selector,
	};
}

static int list_all(struct informer *i, struct err *e)
{
	struct client_request rq = request(i);
	struct docs list = { 0 };
	char rev[24] = "";
	int64_t number;
	int r = client_list(i->client, &rq, docs_add, &list, rev, e);

	if (r < 0) {
		docs_fini(&list);
		return r;
	}
	forget_missing(i, &list);
	for (size_t k = 0; k < list.n && !stop_raised(i->stop); k++)
		upsert(i, list.v[k]);
	docs_fini(&list);
	snprintf(i->from, sizeof(i->from), "%s", rev[0] ? rev : "0");
	if (str_i64(str_c(rev), &number))
		saw(i, number);
	task_lock(&i->lock);
	i->synced = true;
	task_broadcast(&i->synced_cond);
	task_unlock(&i->lock);
	return 0;
}

/* ---- watch ----------------------------------------------------------------------------------- */

static bool set_stream(struct informer *i, struct client_stream *s)
{
	bool go_on;

	task_lock(&i->lock);
	i->stream = s;
	go_on = !i->stopping;
	task_unlock(&i->lock);
	return go_on;
}

static int error_event(struct doc *status, struct err *e)
{
	struct str message = doc_str(status, "message");
	enum err_code code = err_from_http((int)doc_int(status, "code", 500), doc_str(status, "reason"));

	return err_set(e, code, "%.*s", STR_ARG(message));
}

static int take_event(struct informer *i, const struct client_event *ev, struct err *e)
{
	int64_t rev;

	if (ev->type == EVENT_ERROR)
		return error_event(ev->object, e);
	rev = doc_revision(ev->object);
	if (ev->type == EVENT_ADDED || ev->type == EVENT_MODIFIED)
		upsert(i, ev->object);
	else if (ev->type == EVENT_DELETED)
		forget(i, doc_ns(ev->object), doc_name(ev->object));
	if (rev > 0) {
		snprintf(i->from, sizeof(i->from), "%" PRId64, rev);
		saw(i, rev);
	}
	i->backoff_ms = 0;
	return 0;
}

static void resync(struct informer *i)
{
	struct docs all = snapshot(i);

	for (size_t k = 0; k < all.n && !stop_raised(i->stop); k++)
		tell(i, all.v[k], all.v[k]);
	docs_fini(&all);
	i->resync = mono_add_ms(mono_now(), i->o.resync_ms);
}

/* How long next() may wait: for the resync, or until silence is suspicious. */
static int64_t patience(const struct informer *i)
{
	int64_t ms;

	if (!i->o.resync_ms)
		return SILENCE_MS;
	ms = mono_ms_between(mono_now(), i->resync) + 1;
	return MAX(MIN(ms, SILENCE_MS), 1);
}

static int follow(struct informer *i, struct client_stream *s, struct err *e)
{
	struct client_event ev;
	int64_t wait_ms;
	int r;

	for (;;) {
		wait_ms = patience(i);
		err_init(e);
		r = client_next(i->client, s, wait_ms, &ev, e);
		if (r == 0) {
			r = take_event(i, &ev, e);
			doc_unref(ev.object);
		} else if (r == -ERR_TIMEOUT && wait_ms < SILENCE_MS) {
			r = 0;
		}
		if (r < 0 || stop_raised(i->stop))
			return r;
		if (i->o.resync_ms && !mono_before(mono_now(), i->resync))
			resync(i);
	}
}

static struct client_request watch_request(const struct informer *i)
{
	struct client_request rq = request(i);

	rq.resource_version = str_c(i->from);
	rq.bookmarks = true;
	rq.timeout_s = 300 + (int64_t)rand_below(300);
	return rq;
}

static int watch_once(struct informer *i, struct err *e)
{
	struct client_request rq = watch_request(i);
	struct client_stream *s = NULL;
	int r;

	r = client_watch(i->client, &rq, &s, e);
	if (r < 0)
		return r;
	if (set_stream(i, s))
		r = follow(i, s, e);
	set_stream(i, NULL);
	client_close(i->client, s);
	return r;
}

/* ---- the task -------------------------------------------------------------------------------- */

/* How long to wait after a failure. */
static int64_t back_off(struct informer *i, const struct err *e)
{
	int64_t ms = i->backoff_ms ? MIN(i->backoff_ms * 2, BACKOFF_MOST_MS) : BACKOFF_FIRST_MS;

	i->backoff_ms = ms;
	if (e->retry_after_s > 0)
		ms = MAX(ms, (int64_t)e->retry_after_s * 1000);
	return ms / 2 + (int64_t)rand_below((uint64_t)ms);
}

/* How long to wait. A server that ends a stream in good order (its time was up) is asked again at once; one that ends
 * them all is not. */
static int64_t after_watch(struct informer *i, int r, const struct err *e)
{
	bool lasted = mono_ms_between(i->opened, mono_now()) > 5000;

	if (r == -ERR_EXPIRED) {
		log_debug("%s: relisting: %s", i->o.res.resource, e->message);
		i->from[0] = 0;
		if (!i->backoff_ms) {
			i->backoff_ms = BACKOFF_FIRST_MS; /* the first time without waiting */
			return 0;
		}
	} else if (lasted) {
		i->backoff_ms = 0;
		return 0;
	}
	return back_off(i, e);
}

/* How long to wait. */
static int64_t after_list(struct informer *i, int r, const struct err *e)
{
	if (r >= 0)
		return 0;
	if (i->backoff_ms >= 1000)
		log_warn("%s (again later)", e->message);
	return back_off(i, e);
}

static void informer_run(void *arg)
{
	struct informer *i = arg;
	int64_t wait_ms;
	struct err e;

	i->resync = mono_add_ms(mono_now(), i->o.resync_ms);
	while (!stop_raised(i->stop)) {
		err_init(&e);
		i->opened = mono_now();
		wait_ms = i->from[0] ? after_watch(i, watch_once(i, &e), &e) : after_list(i, list_all(i, &e), &e);
		if (wait_ms)
			stop_sleep_ms(i->stop, wait_ms);
	}
}

/* ---- many informers, one task ---------------------------------------------------------------- */

struct informer_loop {
	struct queue *due; /* keys of informers whose stream has news, or whose time has come */
	struct task *task;
	struct task_mutex lock;
	struct task_cond left;
	struct map *members; /* key → informer, borrow */
	uint64_t keys;
	struct informer *at; /* the one that is worked on */
};

static void has_news(void *arg)
{
	struct informer *i = arg;

	queue_add(i->o.loop->due, str_c(i->key));
}

static int open_stream(struct informer *i, struct err *e)
{
	struct client_request rq = watch_request(i);
	int r = client_watch(i->client, &rq, &i->stream, e);

	i->opened = i->heard = mono_now();
	return r < 0 ? r : client_notify(i->client, i->stream, has_news, i, e);
}

/* 0: that was all for now. */
static int drain(struct informer *i, struct err *e)
{
	struct client_event ev;
	int r = 0;

	while (r == 0 && !stop_raised(i->stop)) {
		r = client_next(i->client, i->stream, 0, &ev, e);
		if (r < 0)
			break;
		i->heard = mono_now();
		r = take_event(i, &ev, e);
		doc_unref(ev.object);
	}
	return r == -ERR_TIMEOUT && mono_ms_between(i->heard, mono_now()) < SILENCE_MS ? 0 : r;
}

/* As far as it goes without waiting for news; when to come back at the latest. */
static int64_t step(struct informer *i)
{
	struct err e;
	int r = 0;

	err_init(&e);
	if (!i->from[0] && (r = list_all(i, &e)) < 0)
		return after_list(i, r, &e);
	if (!i->stream)
		r = open_stream(i, &e);
	if (r >= 0 && i->stream)
		r = drain(i, &e);
	if (r < 0) {
		client_close(i->client, TAKE(i->stream));
		return after_watch(i, r, &e);
	}
	if (i->o.resync_ms && !mono_before(mono_now(), i->resync))
		resync(i);
	return patience(i);
}

static void loop_run(void *arg)
{
	struct informer_loop *l = arg;
	char *key;

	while (queue_pop(l->due, &key)) {
		task_lock(&l->lock);
		l->at = map_get(l->members, str_c(key));
		task_unlock(&l->lock);
		if (l->at)
			queue_add_after(l->due, str_c(key), step(l->at));
		task_lock(&l->lock);
		l->at = NULL;
		task_broadcast(&l->left);
		task_unlock(&l->lock);
		queue_done(l->due, str_c(key));
		free(key);
	}
}

static void join_loop(struct informer_loop *l, struct informer *i)
{
	i->resync = mono_add_ms(mono_now(), i->o.resync_ms);
	task_lock(&l->lock);
	snprintf(i->key, sizeof(i->key), "%" PRIu64, ++l->keys);
	map_put(l->members, str_c(i->key), i);
	task_unlock(&l->lock);
	queue_add(l->due, str_c(i->key));
}

static void leave_loop(struct informer_loop *l, struct informer *i)
{
	task_lock(&l->lock);
	map_take(l->members, str_c(i->key));
	while (l->at == i)
		task_wait(&l->left, &l->lock);
	task_unlock(&l->lock);
	client_close(i->client, TAKE(i->stream));
}

struct informer_loop *informer_loop_new(void)
{
	struct informer_loop *l = xcalloc(1, sizeof(*l));

	task_mutex_init(&l->lock);
	task_cond_init(&l->left);
	l->due = queue_new((struct queue_opts){ 0 });
	l->members = map_new(NULL);
	l->task = task_spawn("informers", loop_run, l);
	return l;
}

struct informer_loop *informer_loop_free(struct informer_loop *l)
{
	if (!l)
		return NULL;
	PRE(!map_len(l->members));
	queue_stop(l->due);
	task_join(l->task);
	queue_free(l->due);
	map_free(l->members);
	task_cond_fini(&l->left);
	task_mutex_fini(&l->lock);
	free(l);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct str own_str(struct str s)
{
	return s.n ? str_n(str_dup(s), s.n) : STR_NULL;
}

struct informer *informer_new(struct client *c, struct informer_opts o)
{
	struct informer *i = xcalloc(1, sizeof(*i));

	i->client = c;
	i->o = o;
	i->o.ns = own_str(o.ns);
	i->o.label_selector = own_str(o.label_selector);
	i->o.field_selector = own_str(o.field_selector);
	i->stop = stop_new();
	task_mutex_init(&i->lock);
	task_cond_init(&i->synced_cond);
	view_init(&i->view);
	return i;
}

void informer_stop(struct informer *i)
{
	stop_raise(i->stop);
	task_lock(&i->lock);
	i->stopping = true;
	if (i->stream && !i->o.loop)
		client_interrupt(i->client, i->stream);
	task_broadcast(&i->synced_cond);
	task_unlock(&i->lock);
	if (i->started && i->o.loop)
		leave_loop(i->o.loop, i);
	else
		i->task = task_join(i->task);
}

struct informer *informer_free(struct informer *i)
{
	if (!i)
		return NULL;
	informer_stop(i);
	view_fini(&i->view);
	task_cond_fini(&i->synced_cond);
	task_mutex_fini(&i->lock);
	stop_free(i->stop);
	free(i->handlers);
	free((char *)i->o.ns.p);
	free((char *)i->o.label_selector.p);
	free((char *)i->o.field_selector.p);
	free(i);
	return NULL;
}

void informer_on(struct informer *i, informer_handler *h, void *arg)
{
	PRE(!i->started);
	i->handlers = xrealloc(i->handlers, i->handlers_n + 1, sizeof(*i->handlers));
	i->handlers[i->handlers_n++] = (struct handler){ h, arg };
}

void informer_index(struct informer *i, const char *name,
	void (*key_of)(struct doc *d, void (*add)(void *arg, struct str key), void *arg))
{
	PRE(!i->started);
	for (size_t k = 0; k < i->view.indexes_n; k++) {
		if (!strcmp(i->view.indexes[k].name, name))
			return; /* shared informers: two controllers may want the same one */
	}
	view_add_index(&i->view, name, key_of);
}

void informer_start(struct informer *i)
{
	if (i->started)
		return;
	i->started = true;
	if (i->o.loop)
		join_loop(i->o.loop, i);
	else
		i->task = task_spawn("informer", informer_run, i);
}

bool informer_synced(struct informer *i)
{
	bool synced;

	task_lock(&i->lock);
	synced = i->synced;
	task_unlock(&i->lock);
	return synced;
}

bool informer_wait_synced(struct informer *i, int64_t timeout_ms)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms);
	bool synced, in_time = true;

	task_lock(&i->lock);
	while (!(synced = i->synced) && !i->stopping && in_time)
		in_time = task_wait_until(&i->synced_cond, &i->lock, until);
	task_unlock(&i->lock);
	return synced;
}

/* ---- readers --------------------------------------------------------------------------------- */

struct doc *informer_get(struct informer *i, struct str ns, struct str name)
{
	struct item *t;
	struct doc *d;

	task_lock(&i->lock);
	t = view_find(&i->view, ns, name);
	d = t ? doc_ref(t->doc) : NULL;
	task_unlock(&i->lock);
	return d;
}

static void held_end(void *obj)
{
	struct informer_list *l = obj;

	for (size_t k = 0; k < l->n; k++)
		doc_unref(l->items[k]);
}

struct informer_list informer_list(struct informer *i, struct arena *a, const char *index, struct str key)
{
	struct informer_list *l = ARENA_NEW(a, struct informer_list);
	const struct bucket *b;

	task_lock(&i->lock);
	b = view_bucket(&i->view, index, key);
	if (b && b->n) {
		l->items = arena_alloc(a, b->n * sizeof(*l->items));
		for (; l->n < b->n; l->n++)
			l->items[l->n] = doc_ref(b->v[l->n]->doc);
	}
	task_unlock(&i->lock);
	if (l->n)
		arena_hold(a, l, held_end);
	return *l;
}

size_t informer_len(struct informer *i)
{
	size_t n;

	task_lock(&i->lock);
	n = i->view.all.n;
	task_unlock(&i->lock);
	return n;
}

int64_t informer_revision(struct informer *i)
{
	return atomic_load(&i->revision);
}

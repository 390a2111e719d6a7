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
#include "client/informer_internal.h"
#include <inttypes.h>
#include <stdio.h>

#define LOG_MODULE "informer"
#define BACKOFF_FIRST_MS 200
#define BACKOFF_MOST_MS 30000

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

	GROW(l->v, l->n, l->cap, 64);
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

int informer_list_all(struct informer *i, struct err *e)
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

int informer_take(struct informer *i, const struct client_event *ev, struct err *e)
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

void informer_resync(struct informer *i)
{
	struct docs all = snapshot(i);

	for (size_t k = 0; k < all.n && !stop_raised(i->stop); k++)
		tell(i, all.v[k], all.v[k]);
	docs_fini(&all);
	i->resync = mono_add_ms(mono_now(), i->o.resync_ms);
}

int64_t informer_patience(const struct informer *i)
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
		wait_ms = informer_patience(i);
		err_init(e);
		r = client_next(i->client, s, wait_ms, &ev, e);
		if (r == 0) {
			r = informer_take(i, &ev, e);
			doc_unref(ev.object);
		} else if (r == -ERR_TIMEOUT && wait_ms < SILENCE_MS) {
			r = 0;
		}
		if (r < 0 || stop_raised(i->stop))
			return r;
		if (i->o.resync_ms && !mono_before(mono_now(), i->resync))
			informer_resync(i);
	}
}

struct client_request informer_watch_request(const struct informer *i)
{
	struct client_request rq = request(i);

	rq.resource_version = str_c(i->from);
	rq.bookmarks = true;
	rq.timeout_s = 300 + (int64_t)rand_below(300);
	return rq;
}

static int watch_once(struct informer *i, struct err *e)
{
	struct client_request rq = informer_watch_request(i);
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

/* A server that ends a stream in good order (its time was up) is asked again at once; one that ends them all is not. */
int64_t informer_after_watch(struct informer *i, int r, const struct err *e)
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

int64_t informer_after_list(struct informer *i, int r, const struct err *e)
{
	if (r >= 0)
		return 0;
	if (i->backoff_ms >= 1000)
		log_warn("%s (again later)", e->message);
	return back_off(i, e);
}

void informer_run(void *arg)
{
	struct informer *i = arg;
	int64_t wait_ms;
	struct err e;

	i->resync = mono_add_ms(mono_now(), i->o.resync_ms);
	while (!stop_raised(i->stop)) {
		err_init(&e);
		i->opened = mono_now();
		wait_ms = i->from[0] ? informer_after_watch(i, watch_once(i, &e), &e) :
				       informer_after_list(i, informer_list_all(i, &e), &e);
		if (wait_ms)
			stop_sleep_ms(i->stop, wait_ms);
	}
}

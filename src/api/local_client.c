/* The client without sockets: requests enter at authorization and documents pass through as they are. Those for another
 * server's kinds go to it. */
#include "api/aggregate/aggregate.h"
#include <stdio.h>
#define LOG_MODULE "api"

struct local {
	struct api *api;
	struct arena *a;
	struct identity id;
	char *name;
};

struct client_stream {
	struct api *api;
	struct arena *a;
	struct rq *rq;
	struct aggregate_client *other; /* own: the watch is another server's; and its stream there */
	struct client_stream *theirs;
	struct filter filter;
	struct cache_watch *events;
	struct cache_list initial;
	size_t next_initial;
	struct task_mutex lock;
	struct task_cond wake;
	bool ready, closed;
	void (*on_news)(void *arg); /* client_notify() */
	void *arg;
};

static enum verb verb_of(enum client_verb v)
{
	static const enum verb map[] = { V_GET, V_LIST, V_CREATE, V_UPDATE, V_PATCH, V_DELETE, V_DELETE_COLLECTION,
		V_WATCH };

	return map[v];
}

static void add_param(struct rq *rq, const char *key, struct str value)
{
	if (!value.n)
		return;
	rq->params[rq->n_params].key = str_c(key);
	rq->params[rq->n_params++].value = value;
}

/* *ret_other, where the kind is another server's, is own; else NULL. */
static int begin(struct local *l, const struct client_request *c, struct rq **ret, struct aggregate_client **ret_other,
	struct err *e)
{
	struct aggregate to;

	struct rq *rq = rq_new(l->api);

	rq->local = true;
	rq->lane = LANE_CONTROLLERS;
	rq->method = STR("LOCAL");
	rq->id = l->id;
	rq->user_agent = str_c(l->name);
	rq->field_manager = c->field_manager ? str_c(c->field_manager) : str_c(l->name);
	rq->field_validation = VALIDATE_IGNORE;
	rq->verb = verb_of(c->verb);
	rq->verb_text = str_c(verb_name(rq->verb));
	rq->resource_request = true;
	rq->group = str_c(c->res.group);
	rq->version = str_c(c->res.version);
	rq->resource_name = str_c(c->res.resource);
	rq->ns = arena_str(rq->a, c->ns);
	rq->name = arena_str(rq->a, c->name);
	rq->sub = str_c(c->sub);
	rq->patch = c->patch;
	rq->force = c->force;
	rq->body_doc = c->body ? doc_ref(c->body) : NULL;
	rq->params = ARENA_ARRAY(rq->a, struct param, 4);
	add_param(rq, "labelSelector", c->label_selector);
	add_param(rq, "fieldSelector", c->field_selector);
	rq->path = ARENA_JOIN(rq->a, str_c(c->res.group[0] ? "/apis/" : "/api"), rq->group, STR("/"), rq->version,
		str_c(c->ns.n ? "/namespaces/" : ""), c->ns, STR("/"), rq->resource_name);
	if (!rq->name.n && c->body && rq->verb == V_UPDATE)
		rq->name = arena_str(rq->a, doc_name(c->body));
	rq->res = api_resource(l->api, rq->group, rq->version, rq->resource_name);
	resource_hold(rq->res);
	int rc = route_authorize(rq, e);
	*ret_other = NULL;
	if (rc >= 0 && !rq->res && aggregates_find(l->api, rq->a, rq->group, rq->version, &to))
		rc = aggregate_client_new(l->api, &to, &rq->id, ret_other, e);
	else if (rc >= 0 && !rq->res)
		rc = err_set(e, ERR_NOT_FOUND, "the server could not find the requested resource");
	if (rc >= 0 && rq->sub.n && rq->res) {
		rq->subres = resource_sub(rq->res, rq->sub);
		if (!rq->subres)
			rc = err_set(e, ERR_NOT_FOUND, "the server could not find the requested resource");
	}
	if (rc < 0) {
		rq_done(rq, err_http((enum err_code)e->code));
		rq_free(rq);
		return rc;
	}
	*ret = rq;
	return 0;
}

static void finish(struct rq *rq, struct aggregate_client *other, int rc, int status, const struct err *e)
{
	aggregate_client_free(other);
	rq_done(rq, rc < 0 ? err_http((enum err_code)e->code) : status);
	rq_free(rq);
}

static int get_computed(struct rq *rq, struct doc **ret, struct err *e)
{
	struct doc **docs;
	size_t n;
	int rc = computed_collect(rq, rq->name, NULL, &docs, &n, e);

	if (rc >= 0)
		*ret = doc_ref(docs[0]);
	return rc;
}

static int get(struct rq *rq, struct doc **ret, struct err *e)
{
	if (rq->subres && rq->subres->kind && !strcmp(rq->subres->kind, "Scale"))
		return scale_get(rq, ret, e);
	if (rq->res->def.compute)
		return get_computed(rq, ret, e);
	if (!rq->res->stored->cache)
		return err_set(e, ERR_METHOD, "the server does not allow this method on the requested resource");
	return write_live(rq, ret, e);
}

static int local_call(void *self, const struct client_request *c, struct doc **ret, struct err *e)
{
	struct outcome out = { .status = 200 };
	struct aggregate_client *other;
	struct local *l = self;
	struct rq *rq;
	int rc;

	if (!c->res.resource[0])
		return aggregate_discover(l->api, &l->id, str_c(c->res.group), str_c(c->res.version), ret, e);
	if ((rc = begin(l, c, &rq, &other, e)) < 0)
		return rc;
	if (other)
		rc = aggregate_client_call(other, c, &out.doc, e);
	else if (rq->verb == V_GET)
		rc = get(rq, &out.doc, e);
	else if (rq_stopping(rq->api))
		rc = err_set(e, ERR_CANCELED, "the server is shutting down");
	else
		rc = write_run(rq, &out, e);
	if (rc < 0 || !ret)
		doc_unref(out.doc);
	else
		*ret = out.doc;
	finish(rq, other, rc, out.status, e);
	return rc < 0 ? rc : 0;
}

static int local_list(void *self, const struct client_request *c, void (*each)(void *arg, struct doc *take), void *arg,
	char ret_rev[24], struct err *e)
{
	struct doc **docs;
	struct filter f;
	int64_t rev = 0;
	size_t n = 0;
	struct aggregate_client *other;
	struct rq *rq;
	int rc = begin(self, c, &rq, &other, e);

	if (rc < 0)
		return rc;
	if (other) {
		rc = aggregate_client_list(other, c, each, arg, ret_rev, e);
		finish(rq, other, rc, 200, e);
		return rc;
	}
	bool computed = rq->res->def.compute;
	if (!rq->res->stored->cache && !computed)
		rc = err_set(e, ERR_METHOD, "the server does not allow this method on the requested resource");
	if (rc >= 0 && (rc = filter_parse(rq, c->label_selector, c->field_selector, &f, e)) >= 0 &&
		(rc = computed ? computed_collect(rq, STR_NULL, &f, &docs, &n, e) :
				 list_collect(rq, &f, &docs, &n, &rev, e)) >= 0) {
		for (size_t i = 0; i < n; i++)
			each(arg, doc_ref(docs[i]));
		if (ret_rev)
			snprintf(ret_rev, 24, "%lld", (long long)rev);
	}
	finish(rq, NULL, rc, 200, e);
	return rc < 0 ? rc : 0;
}

/* ---- watch ----------------------------------------------------------------------------------- */

static void notify(void *arg)
{
	struct client_stream *s = arg;

	task_lock(&s->lock);
	s->ready = true;
	task_broadcast(&s->wake);
	void (*on_news)(void *arg) = s->on_news;
	task_unlock(&s->lock);
	if (on_news)
		on_news(s->arg);
}

static struct str prefix_of(struct rq *rq, const struct filter *f)
{
	struct str name = filter_name(f);

	if (!rq->res->def.namespaced)
		return name.p ? name : STR("");
	return rq->ns.n ? arena_strf(rq->a, "%.*s/%.*s", STR_ARG(rq->ns), STR_ARG(name)) : STR("");
}

static struct client_stream *stream_free(struct client_stream *s)
{
	if (s->theirs)
		client_close(aggregate_client_of(s->other), s->theirs);
	cache_watch_free(s->events);
	task_mutex_fini(&s->lock);
	task_cond_fini(&s->wake);
	finish(s->rq, s->other, 0, 200, NULL);
	arena_free(s->a);
	return NULL;
}

static int local_watch(void *self, const struct client_request *c, struct client_stream **ret, struct err *e)
{
	struct arena *a;
	struct client_stream *s;
	int64_t since = 0;
	uint64_t u = 0;
	struct aggregate_client *other;
	struct rq *rq;
	int rc = begin(self, c, &rq, &other, e);

	if (rc < 0)
		return rc;
	a = arena_new();
	s = ARENA_NEW(a, struct client_stream);
	s->other = other;
	s->a = a;
	s->rq = rq;
	s->api = rq->api;
	task_mutex_init(&s->lock);
	task_cond_init(&s->wake);
	if (other) {
		if ((rc = client_watch(aggregate_client_of(other), c, &s->theirs, e)) < 0)
			stream_free(s);
		else
			*ret = s;
		return rc;
	}
	struct cache *cache = rq->res->stored->cache;
	if (c->resource_version.n && !str_u64(c->resource_version, &u))
		rc = err_set(
			e, ERR_BAD_REQUEST, "resourceVersion \"%.*s\" is not a number", STR_ARG(c->resource_version));
	else if (!cache)
		rc = err_set(e, ERR_METHOD, "the server does not allow this method on the requested resource");
	else
		rc = filter_parse(
			rq, arena_str(rq->a, c->label_selector), arena_str(rq->a, c->field_selector), &s->filter, e);
	since = (int64_t)u;
	if (rc >= 0) {
		struct str prefix = prefix_of(rq, &s->filter);
		if (!since)
			s->initial = cache_list(cache, a, prefix, STR_NULL, 0, &since);
		rc = cache_watch(cache, since, prefix, notify, s, &s->events, e);
	}
	/* Parameters were borrowed for this call only. */
	rq->n_params = 0;
	if (rc < 0) {
		stream_free(s);
		return rc;
	}
	s->ready = true;
	*ret = s;
	return 0;
}

static bool matches(struct client_stream *s, struct doc *d)
{
	return d && (filter_is_all(&s->filter) || filter_matches(&s->filter, d));
}

/* 1: an event for this watcher. */
static int translate(struct client_stream *s, struct cache_event *ev, struct client_event *ret)
{
	struct resource *r = s->rq->res;
	struct doc *before = ev->before ? doc_as_served(s->a, r, ev->before) : NULL;
	struct doc *after = ev->after ? doc_as_served(s->a, r, ev->after) : NULL;
	bool was = matches(s, before), is = !ev->deleted && matches(s, after);
	int found = 1;

	if (ev->deleted && after && (was || (!before && matches(s, after)))) {
		ret->type = EVENT_DELETED;
		ret->object = doc_ref(after);
	} else if (is) {
		ret->type = was ? EVENT_MODIFIED : EVENT_ADDED;
		ret->object = doc_ref(after);
	} else if (was) {
		struct arena *a = arena_new();
		ret->type = EVENT_DELETED;
		ret->object = node_publish_versioned(node_from(a, doc_root(before)));
		doc_stamp(ret->object, ev->revision);
		arena_free(a);
	} else {
		found = 0;
	}
	doc_unref(before);
	doc_unref(after);
	return found;
}

static int next_now(struct client_stream *s, struct client_event *ret, struct err *e)
{
	while (s->next_initial < s->initial.n) {
		struct doc *d = doc_as_served(s->a, s->rq->res, doc_ref(s->initial.items[s->next_initial++].doc));
		if (matches(s, d)) {
			ret->type = EVENT_ADDED;
			ret->object = d;
			return 1;
		}
		doc_unref(d);
	}
	for (;;) {
		struct cache_event ev;
		int64_t progress;
		int rc = cache_watch_next(s->events, &ev, &progress, e);
		if (rc <= 0)
			return rc;
		if (translate(s, &ev, ret))
			return 1;
	}
}

static int next_locked(struct client_stream *s, struct mono until, struct client_event *ret, struct err *e)
{
	for (;;) {
		if (s->closed)
			return err_set(e, ERR_CANCELED, "the watch was closed");
		if (__atomic_load_n(&s->rq->res->removed, __ATOMIC_ACQUIRE))
			return err_set(e, ERR_EXPIRED, "%s is defined anew", s->rq->res->group_resource);
		s->ready = false;
		task_unlock(&s->lock);
		int rc = next_now(s, ret, e);
		task_lock(&s->lock);
		if (rc)
			return rc < 0 ? rc : 0;
		while (!s->ready && !s->closed)
			if (!task_wait_until(&s->wake, &s->lock, until))
				return s->closed ? err_set(e, ERR_CANCELED, "the watch was closed") :
						   err_set(e, ERR_TIMEOUT, "no event came in time");
	}
}

static int local_next(struct client_stream *s, int64_t timeout_ms, struct client_event *ret, struct err *e)
{
	if (s->other)
		return client_next(aggregate_client_of(s->other), s->theirs, timeout_ms, ret, e);
	struct mono until = timeout_ms < 0 ? MONO_NEVER : mono_add_ms(mono_now(), timeout_ms);

	task_lock(&s->lock);
	int rc = next_locked(s, until, ret, e);
	task_unlock(&s->lock);
	return rc;
}

static void local_interrupt(struct client_stream *s)
{
	if (s->other) {
		client_interrupt(aggregate_client_of(s->other), s->theirs);
		return;
	}
	task_lock(&s->lock);
	s->closed = true;
	task_broadcast(&s->wake);
	task_unlock(&s->lock);
}

static void local_notify(struct client_stream *s, void (*ready)(void *arg), void *arg)
{
	if (s->other) {
		client_notify(aggregate_client_of(s->other), s->theirs, ready, arg, NULL);
		return;
	}
	task_lock(&s->lock);
	s->arg = arg;
	s->on_news = ready;
	task_unlock(&s->lock);
	ready(arg);
}

static void local_close(struct client_stream *s)
{
	stream_free(s);
}

static void local_free(void *self)
{
	struct local *l = self;

	arena_free(l->a);
}

static const struct client_ops local_ops = { local_call, local_list, local_watch, local_next, local_interrupt,
	local_close, local_free, local_notify };

struct client *api_local_client(struct api *api, const char *user, const char *const *groups, const char *name)
{
	struct arena *a = arena_new();
	struct local *l = ARENA_NEW(a, struct local);
	size_t n = 0;

	while (groups && groups[n])
		n++;
	struct str *list = ARENA_ARRAY(a, struct str, n + 1);
	for (size_t i = 0; i < n; i++)
		list[i] = str_c(arena_strdup(a, groups[i]));
	list[n] = STR("system:authenticated");
	l->a = a;
	l->api = api;
	l->id.user = str_c(arena_strdup(a, user));
	l->id.groups = list;
	l->id.n_groups = n + 1;
	l->name = arena_strdup(a, name);
	return client_new(&local_ops, l, name);
}

/* ---- writes of the server itself ------------------------------------------------------------- */

int api_write(struct api *api, enum verb verb, const char *group, const char *resource, struct str ns, struct str name,
	struct doc *body, struct doc **ret, struct err *e)
{
	return api_write_sub(api, verb, group, resource, NULL, ns, name, body, ret, e);
}

int api_write_sub(struct api *api, enum verb verb, const char *group, const char *resource, const char *sub,
	struct str ns, struct str name, struct doc *body, struct doc **ret, struct err *e)
{
	static const struct str masters[] = { { "system:masters", 14 }, { "system:authenticated", 20 } };
	struct outcome out = { 0 };
	struct rq *rq = rq_new(api);

	rq->local = true;
	rq->id = (struct identity){ .user = STR("system:apiserver"), .groups = masters, .n_groups = 2 };
	rq->method = STR("LOCAL");
	rq->path = STR("/");
	rq->user_agent = rq->field_manager = STR("kogge");
	rq->field_validation = VALIDATE_IGNORE;
	rq->verb = verb;
	rq->verb_text = str_c(verb_name(verb));
	rq->decision = "allow";
	rq->resource_request = true;
	rq->res = api_resource_any(api, group, resource);
	PRE(rq->res);
	resource_hold(rq->res);
	rq->group = str_c(group);
	rq->version = str_c(rq->res->def.version);
	rq->resource_name = str_c(resource);
	rq->ns = ns;
	rq->name = name;
	rq->sub = str_c(sub);
	rq->subres = sub ? resource_sub(rq->res, rq->sub) : NULL;
	rq->body_doc = body ? doc_ref(body) : NULL;
	int rc = write_run(rq, &out, e);
	if (rc >= 0 && ret)
		*ret = out.doc;
	else
		doc_unref(out.doc);
	finish(rq, NULL, rc, out.status, e);
	return rc < 0 ? rc : 0;
}

/* /healthz, /livez and /readyz: named checks, each told when asked with ?verbose, or by /readyz/NAME; and the same for parts of
 * the control plane as ComponentStatuses. */
#include "api/api_internal.h"
#include <stdio.h>
#define LOG_MODULE "api"

#define CHECKS_MAX 32

enum where {
	IN_LIVE = 1,      /* /livez and /healthz */
	IN_READY = 2,     /* /readyz */
	IN_COMPONENTS = 4 /* kubectl get componentstatuses */
};

struct check {
	const char *name;
	unsigned where;
	const char *(*run)(void *arg);
	void *arg;
	const char *note;   /* told, and nothing else */
	const char *logged; /* atomic: why it failed last */
};

struct health {
	struct api *api;
	struct check checks[CHECKS_MAX];
	size_t n;
};

static const char *always(void *arg)
{
	(void)arg;
	return NULL;
}

static const char *check_ready(void *arg)
{
	struct api *api = arg;

	return __atomic_load_n(&api->ready, __ATOMIC_ACQUIRE) ? NULL : "starting";
}

static const char *check_shutdown(void *arg)
{
	return rq_stopping(arg) ? "shutting down" : NULL;
}

static const char *check_store(void *arg)
{
	struct api *api = arg;

	return store_health(api->opts.store) == STORE_HANGS ? "the disk has kept a write waiting for over ten seconds" :
							      NULL;
}

static const char *check_writes(void *arg)
{
	struct api *api = arg;

	return store_health(api->opts.store) == STORE_FULL ? "the disk is full: reads go on, writes are refused" :
							     check_store(arg);
}

static void add(struct api *api, const struct check *check)
{
	struct health *h = api->health;

	task_lock(&api->lock);
	if (h->n < CHECKS_MAX) {
		h->checks[h->n] = *check;
		h->checks[h->n++].name = arena_strdup(api->arena, check->name);
	}
	task_unlock(&api->lock);
}

void api_health_add(struct api *api, const char *name, bool live, const char *(*check)(void *arg), void *arg)
{
	add(api, &(struct check){ name, IN_READY | (live ? IN_LIVE : 0), check, arg, NULL });
}

void api_health_note(struct api *api, const char *name, const char *text)
{
	add(api, &(struct check){ name, IN_READY, always, NULL, text });
}

void api_component_add(struct api *api, const char *name, const char *(*check)(void *arg), void *arg)
{
	add(api, &(struct check){ name, IN_COMPONENTS, check ? check : always, arg, NULL });
}

struct health *health_new(struct api *api)
{
	struct health *h = xcalloc(1, sizeof(*h));

	h->api = api;
	api->health = h;
	api_health_add(api, "ping", true, always, NULL);
	api_health_add(api, "log", true, always, NULL);
	api_health_add(api, "etcd", true, check_store, api);
	api_health_add(api, "poststarthook/rbac/bootstrap-roles", true, check_ready, api);
	api_health_add(api, "informer-sync", false, check_ready, api);
	api_health_add(api, "shutdown", false, check_shutdown, api);
	api_component_add(api, "etcd-0", check_writes, api);
	return h;
}

void health_free(struct health *h)
{
	free(h);
}

/* NULL: it is fine. A reason is logged once, as long as it stays the same. */
static const char *judge(struct check *c)
{
	const char *why = c->run(c->arg);

	if (__atomic_exchange_n(&c->logged, why, __ATOMIC_RELAXED) != why && why)
		log_info("the check %s fails: %s", c->name, why);
	return why;
}

static bool excluded(struct rq *rq, const char *name)
{
	for (size_t i = 0; i < rq->n_params; i++)
		if (str_is(rq->params[i].key, "exclude") && str_is(rq->params[i].value, name))
			return true;
	return false;
}

/* Why one fails is for those who may ask for it alone: this is told to anybody. */
static void answer_all(struct rq *rq, const char *which, unsigned where)
{
	struct health *h = rq->api->health;
	struct buf b = BUF_INIT;
	bool bad = false, verbose = rq_param(rq, "verbose").p != NULL;

	for (size_t i = 0; i < h->n; i++) {
		struct check *c = &h->checks[i];
		if (!(c->where & where))
			continue;
		bool fails = !excluded(rq, c->name) && judge(c);
		bad |= fails;
		if (excluded(rq, c->name))
			buf_printf(&b, "[+]%s excluded: ok\n", c->name);
		else if (c->note)
			buf_printf(&b, "[!]%s %s\n", c->name, c->note);
		else if (fails)
			buf_printf(&b, "[-]%s failed: reason withheld\n", c->name);
		else
			buf_printf(&b, "[+]%s ok\n", c->name);
	}
	buf_printf(&b, "%s check %s\n", which, bad ? "failed" : "passed");
	if (!bad && !verbose) {
		buf_fini(&b);
		reply_text(rq, 200, "text/plain; charset=utf-8", "ok");
		return;
	}
	reply_buf(rq, bad ? 500 : 200, "text/plain; charset=utf-8", &b);
}

static bool answer_one(struct rq *rq, struct str name, unsigned where)
{
	struct health *h = rq->api->health;

	for (size_t i = 0; i < h->n; i++) {
		if (!(h->checks[i].where & where) || !str_is(name, h->checks[i].name))
			continue;
		const char *why = judge(&h->checks[i]);
		reply_text(rq, why ? 500 : 200, "text/plain; charset=utf-8",
			why ? rq_f(rq, "internal server error: %s\n", why) : "ok");
		return true;
	}
	return false;
}

bool health_answer(struct rq *rq)
{
	static const char *const paths[] = { "/healthz", "/livez", "/readyz" };

	if (str_is(rq->path, "/metrics")) {
		metrics_answer(rq);
		return true;
	}
	for (size_t i = 0; i < 3; i++) {
		size_t n = strlen(paths[i]);
		if (!str_starts(rq->path, str_c(paths[i])))
			continue;
		struct str rest = str_sub(rq->path, n, rq->path.n);
		unsigned where = i == 2 ? IN_READY : IN_LIVE;
		if (!rest.n) {
			answer_all(rq, paths[i] + 1, where);
			return true;
		}
		if (rest.p[0] == '/')
			return answer_one(rq, str_sub(rest, 1, rest.n), where);
	}
	return false;
}

static void component(struct rq *rq, const struct check *c, struct doc **ret)
{
	const char *why = c->run(c->arg);

	*ret = node_publish(node_pack(rq->a,
		"{kind:'ComponentStatus', apiVersion:'v1', metadata:{name:s}, "
		"conditions:[{type:'Healthy', status:s, message:s}]}",
		c->name, why ? "False" : "True", why ? why : "ok"));
	doc_hold(rq->a, *ret);
}

int health_components(struct rq *rq, struct str name, struct doc ***ret, size_t *ret_n, struct err *e)
{
	struct health *h = rq->api->health;
	size_t n = 0;

	*ret = ARENA_ARRAY(rq->a, struct doc *, CHECKS_MAX);
	for (size_t i = 0; i < h->n; i++)
		if (h->checks[i].where == IN_COMPONENTS && (!name.n || str_is(name, h->checks[i].name)))
			component(rq, &h->checks[i], &(*ret)[n++]);
	*ret_n = n;
	return name.n && !n ? write_not_found(rq, name, e) : 0;
}

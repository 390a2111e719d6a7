/* /healthz, /livez, /readyz and /metrics' little sister: named checks, each told when asked with ?verbose. */
#include "api/api_internal.h"
#include <stdio.h>
#define LOG_MODULE "api"

#define CHECKS_MAX 32

struct check {
	const char *name;
	bool live;
	const char *(*run)(void *arg);
	void *arg;
	const char *note; /* told, and nothing else */
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

void api_health_add(struct api *api, const char *name, bool live, const char *(*check)(void *arg), void *arg)
{
	struct health *h = api->health;

	task_lock(&api->lock);
	if (h->n < CHECKS_MAX)
		h->checks[h->n++] = (struct check){ arena_strdup(api->arena, name), live, check, arg, NULL };
	task_unlock(&api->lock);
}

void api_health_note(struct api *api, const char *name, const char *text)
{
	api_health_add(api, name, false, always, NULL);
	task_lock(&api->lock);
	api->health->checks[api->health->n - 1].note = text;
	task_unlock(&api->lock);
}

struct health *health_new(struct api *api)
{
	struct health *h = xcalloc(1, sizeof(*h));

	h->api = api;
	api->health = h;
	api_health_add(api, "ping", true, always, NULL);
	api_health_add(api, "log", true, always, NULL);
	api_health_add(api, "etcd", true, always, NULL);
	api_health_add(api, "poststarthook/rbac/bootstrap-roles", true, check_ready, api);
	api_health_add(api, "informer-sync", false, check_ready, api);
	api_health_add(api, "shutdown", false, check_shutdown, api);
	return h;
}

void health_free(struct health *h)
{
	free(h);
}

static bool excluded(struct rq *rq, const char *name)
{
	for (size_t i = 0; i < rq->n_params; i++)
		if (str_is(rq->params[i].key, "exclude") && str_is(rq->params[i].value, name))
			return true;
	return false;
}

static void answer_all(struct rq *rq, const char *which, bool ready)
{
	struct health *h = rq->api->health;
	struct buf b = BUF_INIT;
	bool bad = false, verbose = rq_param(rq, "verbose").p != NULL;

	for (size_t i = 0; i < h->n; i++) {
		struct check *c = &h->checks[i];
		if (!ready && !c->live)
			continue;
		const char *why = excluded(rq, c->name) ? NULL : c->run(c->arg);
		bad |= why != NULL;
		if (excluded(rq, c->name))
			buf_printf(&b, "[+]%s excluded: ok\n", c->name);
		else if (c->note)
			buf_printf(&b, "[!]%s %s\n", c->name, c->note);
		else if (why)
			buf_printf(&b, "[-]%s failed: %s\n", c->name, why);
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

static bool answer_one(struct rq *rq, struct str name)
{
	struct health *h = rq->api->health;

	for (size_t i = 0; i < h->n; i++) {
		if (!str_is(name, h->checks[i].name))
			continue;
		const char *why = h->checks[i].run(h->checks[i].arg);
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
		if (!rest.n || str_is(rest, "/")) {
			answer_all(rq, paths[i] + 1, i == 2);
			return true;
		}
		if (rest.p[0] == '/')
			return answer_one(rq, str_sub(rest, 1, rest.n));
	}
	return false;
}

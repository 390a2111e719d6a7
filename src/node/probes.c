/* Probes and lifecycle hooks. A timer queue hands each due probe to a short-lived task: no thread waits per probe, none
 * blocks another. */
#include "node/node_internal.h"
#include "node/probe_net.h"
#include <errno.h>
#include <stdio.h>

#define LOG_MODULE "node"
#define EARLY_FIRST_MS 100 /* until a network probe first succeeds it is asked more often than its period */

enum probe_kind { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS };
static const char *const kind_names[] = { "Startup", "Liveness", "Readiness" };
static const char *const kind_fields[] = { "startupProbe", "livenessProbe", "readinessProbe" };

struct probe {
	char *key, *uid, *container, *id, *ip;
	enum probe_kind kind;
	struct doc *d; /* its specification */
	int64_t period_ms, timeout_ms;
	int fails_max, wins_min;
	int fails, wins;
	bool ever, exec, running, dead, seen;
	int64_t early_ms;
	struct mono counted; /* last time a failure counted */
};

struct probes {
	struct node_agent *n;
	struct task_mutex lock;
	struct map *all; /* key → probe */
	struct queue *due;
	struct task *dispatcher;
};

static struct probe *probe_free(struct probe *b)
{
	if (!b)
		return NULL;
	doc_unref(b->d);
	free(b->key);
	free(b->uid);
	free(b->container);
	free(b->id);
	free(b->ip);
	free(b);
	return NULL;
}

/* ---- one run --------------------------------------------------------------------------------- */

static int port_of(struct val v, struct val container)
{
	struct str name = val_str(v);
	int64_t n;

	if (val_kind(v) == VAL_INT)
		return (int)val_int(v, 0);
	if (str_i64(name, &n))
		return (int)n;
	return (int)val_int(val_get(val_find(val_get(container, "ports"), "name", name), "containerPort"), 0);
}

static int run_exec(struct node_agent *n, struct val exec, const char *id, int64_t timeout_ms, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_reply Cri__ExecSyncReply *reply = NULL;
	char **cmd = NULL;
	size_t n_cmd = 0;
	int r;

	for (struct val_iter it = val_iter(val_get(exec, "command")); val_next(&it);)
		cri_push(a, &cmd, &n_cmd, arena_cstr(a, val_str(it.val)));
	r = cri_exec_sync(&n->cri, id, cmd, n_cmd, (timeout_ms + 999) / 1000, &reply, e);
	if (r < 0)
		return r;
	if (reply->exit_code == 0)
		return 0;
	struct str out = str_trim(reply->out.len ? str_n((char *)reply->out.data, MIN(reply->out.len, (size_t)512)) :
						   str_n((char *)reply->err.data, MIN(reply->err.len, (size_t)512)));
	return err_set(e, ERR_INTERNAL, "command exited with %d: %.*s", reply->exit_code, STR_ARG(out));
}

static int run_http(struct val http, struct val container, const char *ip, int64_t timeout_ms, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct probe_http p = { .timeout_ms = timeout_ms };
	struct str host = val_str(val_get(http, "host")), path = val_str(val_get(http, "path"));
	auto_buf struct buf headers = BUF_INIT;

	p.host = str_empty(host) ? ip : arena_cstr(a, host);
	p.port = port_of(val_get(http, "port"), container);
	p.path = str_empty(path) ? "/" : arena_cstr(a, path);
	p.tls = val_is(val_get(http, "scheme"), "HTTPS");
	for (struct val_iter it = val_iter(val_get(http, "httpHeaders")); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name")), value = val_str(val_get(it.val, "value"));
		if (memchr(name.p ? name.p : "", '\n', name.n) || memchr(value.p ? value.p : "", '\n', value.n))
			continue;
		if (str_eq_nocase(name, STR("host")))
			p.host_header = arena_cstr(a, value);
		else
			buf_printf(&headers, "%.*s: %.*s\r\n", STR_ARG(name), STR_ARG(value));
	}
	p.headers = arena_cstr(a, buf_view(&headers));
	return probe_http(&p, e);
}

static int run_grpc(struct node_agent *n, struct val g, const char *ip, int64_t timeout_ms, struct err *e)
{
	bool v6 = strchr(ip, ':') != NULL;
	auto_free char *target = xasprintf(
		"http://%s%s%s:%lld", v6 ? "[" : "", ip, v6 ? "]" : "", (long long)val_int(val_get(g, "port"), 0));
	auto_(grpc_free) struct grpc *c = NULL;
	struct str service = val_str(val_get(g, "service"));
	auto_buf struct buf rq = BUF_INIT, out = BUF_INIT;
	int r = grpc_new(n->loop, target, NULL, &c, e);

	if (r < 0)
		return r;
	if (service.n && service.n < 128) { /* HealthCheckRequest{service=1} */
		buf_byte(&rq, 0x0a);
		buf_byte(&rq, (char)service.n);
		buf_str(&rq, service);
	}
	r = grpc_call(c, "/grpc.health.v1.Health/Check", NULL, 0, buf_view(&rq), timeout_ms, &out, e);
	if (r < 0)
		return r;
	if (out.n == 2 && out.p[0] == 0x08 && out.p[1] == 0x01) /* SERVING */
		return 0;
	return err_set(e, ERR_UNAVAILABLE, "service \"%.*s\" is not SERVING", STR_ARG(service));
}

/* 0: good. 1: good, and e says what is odd. */
static int run_handler(struct node_agent *n, struct val h, struct val container, const char *id, const char *ip,
	int64_t timeout_ms, struct err *e)
{
	struct val v;

	if (val_has(v = val_get(h, "exec")))
		return run_exec(n, v, id, timeout_ms, e);
	if (val_has(v = val_get(h, "httpGet")))
		return run_http(v, container, ip, timeout_ms, e);
	if (val_has(v = val_get(h, "tcpSocket"))) {
		auto_free char *host = str_dup(val_str(val_get(v, "host")));
		return probe_tcp(*host ? host : ip, port_of(val_get(v, "port"), container), timeout_ms, e);
	}
	if (val_has(v = val_get(h, "grpc")))
		return run_grpc(n, v, ip, timeout_ms, e);
	return 0;
}

/* ---- results --------------------------------------------------------------------------------- */

static void tell(struct probes *s, struct probe *b, bool ok, bool *ret_changed)
{
	auto_(pod_unref) struct pod *p = pod_ref_uid(s->n, str_c(b->uid));
	struct container *c = p ? pod_container(p, str_c(b->container)) : NULL;

	*ret_changed = false;
	if (!c)
		return;
	task_lock(&s->n->lock);
	if (b->kind == PROBE_STARTUP && ok) {
		*ret_changed = !c->started;
		c->started = true;
		c->ready = !c->has_readiness;
	} else if (b->kind == PROBE_READINESS) {
		*ret_changed = c->ready != ok;
		c->ready = ok;
	} else if (!ok) {
		*ret_changed = !c->kill_id || strcmp(c->kill_id, b->id) != 0;
		free(c->kill_id);
		c->kill_id = xstrdup(b->id);
	}
	task_unlock(&s->n->lock);
	if (*ret_changed)
		node_wake_pod(p);
}

static void warn(struct probes *s, const struct probe *b, const char *why)
{
	auto_(pod_unref) struct pod *p = pod_ref_uid(s->n, str_c(b->uid));

	if (p)
		node_event(p, str_c(b->container), "Warning", "ProbeWarning", "%s probe warning: %s",
			kind_names[b->kind], why);
}

/* Counts, and says after how many milliseconds the probe runs again; 0: never. */
static int64_t judge(struct probes *s, struct probe *b, bool ok, const char *why)
{
	bool changed,
		counts = !mono_before(mono_now(), mono_add_ms(b->counted, b->period_ms - 50)) || b->counted.ns == 0;

	if (ok) {
		b->fails = 0;
		b->ever = true;
		if (++b->wins < b->wins_min)
			return b->period_ms;
		tell(s, b, true, &changed);
		return b->kind == PROBE_STARTUP ? 0 : b->period_ms;
	}
	b->wins = 0;
	if (counts) {
		auto_(pod_unref) struct pod *p = pod_ref_uid(s->n, str_c(b->uid));
		b->counted = mono_now();
		b->fails++;
		if (p && (b->ever || b->kind != PROBE_READINESS || b->fails > 1))
			node_event(p, str_c(b->container), "Warning", "Unhealthy", "%s probe failed: %s",
				kind_names[b->kind], why);
	}
	if (b->fails >= b->fails_max)
		tell(s, b, false, &changed);
	if (b->ever || b->exec || b->kind == PROBE_LIVENESS)
		return b->period_ms;
	b->early_ms = b->early_ms ? b->early_ms * 2 : EARLY_FIRST_MS;
	return MIN(b->early_ms, b->period_ms);
}

struct run {
	struct probes *s;
	struct probe *b;
};

static void run_task(void *arg)
{
	struct run *run = arg;
	struct probes *s = run->s;
	struct node_agent *n = s->n;
	struct probe *b = run->b;
	struct val container = pod_container_spec(b->d, str_c(b->container));
	struct err e;
	int64_t next;

	free(run);
	err_init(&e);
	int r = run_handler(n, val_get(container, kind_fields[b->kind]), container, b->id, b->ip, b->timeout_ms, &e);
	task_lock(&s->lock);
	b->running = false;
	bool dead = b->dead;
	task_unlock(&s->lock);
	if (r > 0 && !dead)
		warn(s, b, e.message);
	next = dead ? 0 : judge(s, b, r >= 0, e.message);
	task_lock(&s->lock);
	dead = b->dead;
	if (!dead && next)
		queue_add_after(s->due, str_c(b->key), next);
	task_unlock(&s->lock);
	if (dead)
		probe_free(b);
	node_task_end(n);
}

static void dispatch(void *arg)
{
	struct probes *s = arg;
	char *key;

	while (queue_pop(s->due, &key)) {
		struct probe *b;
		task_lock(&s->lock);
		b = map_get(s->all, str_c(key));
		if (b && b->running)
			b = NULL;
		if (b)
			b->running = true;
		task_unlock(&s->lock);
		if (b) {
			struct run *run = xcalloc(1, sizeof(*run));
			*run = (struct run){ s, b };
			if (!node_task(s->n, "probe", run_task, run))
				free(run);
		}
		queue_done(s->due, str_c(key));
		free(key);
	}
}

/* ---- coming and going ------------------------------------------------------------------------ */

static void drop(struct probes *s, struct probe *b) /* locked */
{
	(void)map_take(s->all, str_c(b->key));
	if (b->running)
		b->dead = true; /* its task ends it */
	else
		probe_free(b);
}

static void need(struct probes *s, struct pod *p, struct doc *d, struct container *c, enum probe_kind kind)
{
	struct val spec = val_get(pod_container_spec(d, str_c(c->name)), kind_fields[kind]);
	auto_free char *key = xasprintf("%s/%d/%s", p->uid, kind, c->now.id);
	struct probe *b = map_get(s->all, str_c(key));
	int64_t delay, since;

	if (b) {
		b->seen = true;
		return;
	}
	b = xcalloc(1, sizeof(*b));
	*b = (struct probe){ .key = TAKE(key),
		.uid = xstrdup(p->uid),
		.container = xstrdup(c->name),
		.id = xstrdup(c->now.id),
		.ip = xstrdup(p->n_ips ? p->ips[0] : "127.0.0.1"),
		.kind = kind,
		.d = doc_ref(d),
		.seen = true };
	b->period_ms = MAX(val_int(val_get(spec, "periodSeconds"), 10), (int64_t)1) * 1000;
	b->timeout_ms = MAX(val_int(val_get(spec, "timeoutSeconds"), 1), (int64_t)1) * 1000;
	b->fails_max = (int)val_int(val_get(spec, "failureThreshold"), 3);
	b->wins_min = (int)val_int(val_get(spec, "successThreshold"), 1);
	b->exec = val_has(val_get(spec, "exec"));
	b->ever = kind == PROBE_READINESS && c->ready;
	map_put(s->all, str_c(b->key), b);
	delay = val_int(val_get(spec, "initialDelaySeconds"), 0) * 1000;
	since = (wall_now().ns - c->now.started_ns) / 1000000;
	since = MAX(since, (int64_t)0);
	queue_add_after(s->due, str_c(b->key), MAX(delay - since, (int64_t)1));
}

void probes_sync(struct pod *p, struct doc *d)
{
	struct probes *s = p->n->probes;
	bool any = p->probes_on;
	struct str key;
	void *value;

	for (size_t i = 0; i < p->n_containers; i++)
		any |= p->containers[i]->has_startup || p->containers[i]->has_liveness ||
			p->containers[i]->has_readiness;
	if (!any || !s)
		return;
	p->probes_on = true;
	task_lock(&s->lock);
	for (size_t i = 0; i < p->n_containers; i++) {
		struct container *c = p->containers[i];
		bool started;
		if (!c->now.id || c->now.state != INST_RUNNING)
			continue;
		task_lock(&p->n->lock);
		started = c->started;
		task_unlock(&p->n->lock);
		if (c->has_startup && !started)
			need(s, p, d, c, PROBE_STARTUP);
		if (c->has_liveness && started && !p->deleting_seen)
			need(s, p, d, c, PROBE_LIVENESS);
		if (c->has_readiness && started)
			need(s, p, d, c, PROBE_READINESS);
	}
	for (size_t i = 0; map_next(s->all, &i, &key, &value);) {
		struct probe *b = value;
		if (strcmp(b->uid, p->uid) != 0)
			continue;
		if (!b->seen)
			drop(s, b);
		else
			b->seen = false;
	}
	task_unlock(&s->lock);
}

void probes_drop(struct pod *p)
{
	struct probes *s = p->n->probes;
	struct str key;
	void *value;

	if (!p->probes_on || !s)
		return;
	task_lock(&s->lock);
	for (size_t i = 0; map_next(s->all, &i, &key, &value);) {
		struct probe *b = value;
		if (strcmp(b->uid, p->uid) == 0)
			drop(s, b);
	}
	task_unlock(&s->lock);
}

struct probes *probes_new(struct node_agent *n)
{
	struct probes *s = xcalloc(1, sizeof(*s));

	s->n = n;
	task_mutex_init(&s->lock);
	s->all = map_new(NULL);
	s->due = queue_new((struct queue_opts){ 0 });
	s->dispatcher = task_spawn("probes", dispatch, s);
	return s;
}

/* After every other task of the node has ended. */
struct probes *probes_free(struct probes *s)
{
	struct str key;
	void *value;

	if (!s)
		return NULL;
	queue_stop(s->due);
	task_join(s->dispatcher);
	for (size_t i = 0; map_next(s->all, &i, &key, &value);)
		probe_free(value);
	map_free(s->all);
	queue_free(s->due);
	task_mutex_fini(&s->lock);
	free(s);
	return NULL;
}

/* ---- hooks ----------------------------------------------------------------------------------- */

int hook_run(struct pod *p, struct doc *d, struct val handler, const char *container_id, struct str container,
	int64_t timeout_ms, struct err *e)
{
	struct val spec = pod_container_spec(d, container), sleep = val_get(handler, "sleep");
	int64_t ms = timeout_ms ? timeout_ms : 120000;
	auto_free char *ip = NULL;

	if (val_has(sleep)) {
		(void)stop_sleep_ms(p->n->stop, MIN(val_int(val_get(sleep, "seconds"), 0) * 1000, ms));
		return 0;
	}
	task_lock(&p->n->lock);
	ip = xstrdup(p->n_ips ? p->ips[0] : "127.0.0.1");
	task_unlock(&p->n->lock);
	return MIN(run_handler(p->n, handler, spec, container_id, ip, ms, e), 0);
}

/* The node's HTTPS server (port 10250): logs, exec, attach, port-forward and facts.
 * Certificates of the API server and of administrators open everything; who else comes with a certificate or a token may
 * do what roles give him on nodes/metrics, nodes/stats, nodes/proxy and so on (server_auth.h). */
#include "node/node_internal.h"
#include "node/server_auth.h"
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>

#define LOG_MODULE "node"
#define PARTS_MAX 8

struct node_server {
	struct node_agent *n;
	struct tls *tls;
	struct http_server *http;
	struct net_loop *loop;
};

/* ---- paths and queries ----------------------------------------------------------------------- */

static struct str decode(struct str s, struct arena *a, bool plus)
{
	char *t = arena_alloc(a, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '%' && i + 2 < s.n && isxdigit((unsigned char)s.p[i + 1]) &&
			isxdigit((unsigned char)s.p[i + 2])) {
			char hex[3] = { s.p[i + 1], s.p[i + 2], 0 };
			t[n++] = (char)strtol(hex, NULL, 16);
			i += 2;
		} else {
			t[n++] = plus && s.p[i] == '+' ? ' ' : s.p[i];
		}
	}
	t[n] = 0;
	return str_n(t, n);
}

bool query_true(struct str v)
{
	return str_is(v, "1") || str_is(v, "t") || str_is(v, "T") || str_is(v, "true") || str_is(v, "True") ||
		str_is(v, "TRUE");
}

struct str query_get(struct str query, const char *key, struct arena *a)
{
	for (struct str part, rest = query; str_next(&rest, '&', &part);) {
		struct str k, v = str_cut(part, '=', &k);
		if (str_is(decode(k, a, true), key))
			return decode(v.p ? v : STR(""), a, true);
	}
	return STR_NULL;
}

size_t query_all(struct str query, const char *key, struct arena *a, char ***ret)
{
	size_t n = 0;

	*ret = NULL;
	for (struct str part, rest = query; str_next(&rest, '&', &part);) {
		struct str k, v = str_cut(part, '=', &k);
		if (str_is(decode(k, a, true), key))
			cri_push(a, ret, &n, arena_cstr(a, decode(v, a, true)));
	}
	return n;
}

static bool query_bool(struct str query, const char *key, const char *other, struct arena *a)
{
	struct str v = query_get(query, key, a);

	if (!v.p && other)
		v = query_get(query, other, a);
	return query_true(v);
}

static int64_t query_int(struct str query, const char *key, struct arena *a, int64_t otherwise)
{
	int64_t v;

	return str_i64(query_get(query, key, a), &v) ? v : otherwise;
}

struct ask { /* one request, on its way through a task */
	struct node_agent *node;
	struct http_request *rq;
	struct arena *a;
	struct str parts[PARTS_MAX];
	size_t n;
	struct str query;
	struct server_want want;
	int place; /* while it asks the API */
};

static void ask_free(struct ask *k)
{
	arena_free(k->a);
	free(k);
}

static void fail(struct http_request *rq, int status, const char *fmt, ...) PRINTF(3, 4);
static void fail(struct http_request *rq, int status, const char *fmt, ...)
{
	char text[1200];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	http_reply_text(rq, status, "text/plain; charset=utf-8", str_c(text));
}

/* ---- logs ------------------------------------------------------------------------------------ */

/* Own. The newest log file of a container, or the one before; NULL: there is none. */
static char *log_path(struct pod *p, struct str container, bool previous)
{
	auto_free char *logs = pod_log_dir(p), *dir = xasprintf("%s/%.*s", logs, STR_ARG(container));
	long best = -1, second = -1;
	DIR *d = opendir(dir);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		char *end;
		long v = strtol(entry->d_name, &end, 10);
		if (end == entry->d_name || strcmp(end, ".log") != 0)
			continue;
		if (v > best) {
			second = best;
			best = v;
		} else if (v > second) {
			second = v;
		}
	}
	if (d)
		(void)closedir(d);
	if (previous)
		best = second;
	return best < 0 ? NULL : xasprintf("%s/%ld.log", dir, best);
}

static bool log_options(struct ask *k, struct log_opts *o)
{
	struct str since = query_get(k->query, "sinceTime", k->a), stream = query_get(k->query, "stream", k->a);
	int64_t seconds = query_int(k->query, "sinceSeconds", k->a, 0);
	struct wall t;

	*o = (struct log_opts){
		.follow = query_bool(k->query, "follow", NULL, k->a),
		.timestamps = query_bool(k->query, "timestamps", NULL, k->a),
		.tail = query_int(k->query, "tailLines", k->a, -1),
		.limit = query_int(k->query, "limitBytes", k->a, -1),
		.stream = str_eq_nocase(stream, STR("stdout")) ? 1 :
			str_eq_nocase(stream, STR("stderr"))   ? 2 :
								 0,
	};
	if (seconds > 0)
		o->since_ns = wall_now().ns - seconds * 1000000000;
	if (!str_empty(since)) {
		if (!wall_parse(since, &t))
			return false;
		o->since_ns = t.ns;
	}
	return true;
}

/* Why a container has no log yet, as its status tells. */
static struct str why_it_waits(struct doc *d, struct str container)
{
	static const enum container_kind kinds[] = { KIND_MAIN, KIND_INIT, KIND_EPHEMERAL };
	struct str reason = STR_NULL;

	for (size_t i = 0; i < ARRAY_LEN(kinds) && !reason.n; i++)
		reason = val_str(val_path(val_find(doc_get(d, container_list(kinds[i], true)), "name", container),
			"state.waiting.reason"));
	if (str_is(reason, "ErrImagePull"))
		return STR("image can't be pulled");
	if (str_is(reason, "ImagePullBackOff"))
		return STR("trying and failing to pull image");
	return reason.n ? reason : STR("ContainerCreating");
}

static void serve_logs(struct ask *k)
{
	auto_(pod_unref) struct pod *p = pod_find(k->node, k->parts[1], k->parts[2]);
	auto_(doc_unref) struct doc *d = p ? pod_doc(p) : NULL;
	bool previous = query_bool(k->query, "previous", NULL, k->a);
	struct str container = k->parts[3];
	struct log_opts o;

	if (!p || !d) {
		fail(k->rq, 404, "pod \"%.*s/%.*s\" does not exist", STR_ARG(k->parts[1]), STR_ARG(k->parts[2]));
		return;
	}
	if (!val_has(pod_container_spec(d, container))) {
		fail(k->rq, 404, "container \"%.*s\" in pod \"%s\" does not exist", STR_ARG(container), p->name);
		return;
	}
	if (!log_options(k, &o)) {
		fail(k->rq, 400, "sinceTime is not a time");
		return;
	}
	auto_free char *path = log_path(p, container, previous);
	if (!path && previous)
		fail(k->rq, 400, "previous terminated container \"%.*s\" in pod \"%s\" not found", STR_ARG(container),
			p->name);
	else if (!path)
		fail(k->rq, 400, "container \"%.*s\" in pod \"%s\" is waiting to start: %.*s", STR_ARG(container),
			p->name, STR_ARG(why_it_waits(d, container)));
	else
		logs_serve(k->node, k->rq, p, container, path, o);
}

/* ---- exec, attach, port-forward -------------------------------------------------------------- */

static char *running_container(struct node_agent *n, struct pod *p, struct str name)
{
	auto_reply Cri__ListContainersReply *l = NULL;
	char *id = NULL;
	struct err e;

	err_init(&e);
	if (cri_list_containers(&n->cri, p->uid, &l, &e) < 0)
		return NULL;
	for (size_t i = 0; i < l->n_containers; i++) {
		const char *label = cri_map_get(l->containers[i]->labels, l->containers[i]->n_labels, LABEL_CONTAINER);
		if (!label || !str_is(name, label) || l->containers[i]->state != CONTAINER_RUNNING)
			continue;
		free(id);
		id = xstrdup(l->containers[i]->id);
	}
	return id;
}

static char *ready_sandbox(struct node_agent *n, struct pod *p)
{
	auto_reply Cri__ListSandboxReply *l = NULL;
	struct err e;

	err_init(&e);
	if (cri_list_sandboxes(&n->cri, p->uid, &l, &e) < 0)
		return NULL;
	for (size_t i = 0; i < l->n_items; i++)
		if (l->items[i]->state == SANDBOX_READY)
			return xstrdup(l->items[i]->id);
	return NULL;
}

static int exec_url(struct ask *k, const char *id, bool attach, char **ret, struct err *e)
{
	struct node_agent *n = k->node;
	bool in = query_bool(k->query, "input", "stdin", k->a), out = query_bool(k->query, "output", "stdout", k->a);
	bool err = query_bool(k->query, "error", "stderr", k->a), tty = query_bool(k->query, "tty", NULL, k->a);
	Cri__ExecRequest x = CRI__EXEC_REQUEST__INIT;
	Cri__AttachRequest at = CRI__ATTACH_REQUEST__INIT;

	if (attach) {
		at.id = (char *)id;
		at.in = in;
		at.out = out;
		at.err = err && !tty;
		at.tty = tty;
		return cri_attach(&n->cri, &at, ret, e);
	}
	x.id = (char *)id;
	x.n_cmd = query_all(k->query, "command", k->a, &x.cmd);
	x.in = in;
	x.out = out;
	x.err = err && !tty;
	x.tty = tty;
	if (!x.n_cmd)
		return err_set(e, ERR_BAD_REQUEST, "you must specify at least 1 command");
	if (in && out && err && !tty)
		exec_expected(n, id);
	return cri_exec(&n->cri, &x, ret, e);
}

static void serve_stream(struct ask *k)
{
	auto_(pod_unref) struct pod *p = pod_find(k->node, k->parts[1], k->parts[2]);
	bool forward = str_is(k->parts[0], "portForward"), attach = str_is(k->parts[0], "attach");
	auto_free char *id = NULL, *url = NULL;
	struct err e;
	int r;

	err_init(&e);
	if (!p) {
		fail(k->rq, 404, "pod \"%.*s/%.*s\" does not exist", STR_ARG(k->parts[1]), STR_ARG(k->parts[2]));
		return;
	}
	id = forward ? ready_sandbox(k->node, p) : running_container(k->node, p, k->parts[3]);
	if (!id && forward) {
		fail(k->rq, 400, "pod \"%s\" is not running", p->name);
		return;
	}
	if (!id) {
		fail(k->rq, 404, "container \"%.*s\" of pod \"%s\" is not running", STR_ARG(k->parts[3]), p->name);
		return;
	}
	r = forward ? cri_port_forward(&k->node->cri, id, &url, &e) : exec_url(k, id, attach, &url, &e);
	if (r < 0) {
		fail(k->rq, err_http(-r), "%s", e.message);
		return;
	}
	streams_serve(k->node, k->rq, url, forward ? "portforward" : "exec");
}

/* ---- facts ----------------------------------------------------------------------------------- */

static void reply_json(struct http_request *rq, struct node *t)
{
	auto_buf struct buf b = BUF_INIT;

	node_write(t, &b);
	http_reply_text(rq, 200, "application/json", buf_view(&b));
}

static void serve_pods(struct ask *k)
{
	struct node_agent *n = k->node;
	struct node *items = node_list(k->a);
	struct str key;
	void *value;

	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);)
		if (!((struct pod *)value)->gone)
			node_add(items, node_from(k->a, doc_root(((struct pod *)value)->doc)));
	task_unlock(&n->lock);
	reply_json(k->rq, node_pack(k->a, "{kind:'PodList', apiVersion:'v1', metadata:{}, items:o}", items));
}

static bool collect(struct ask *k, struct stats *ret)
{
	struct err e;

	err_init(&e);
	if (stats_collect(k->node, k->a, ret, &e) == 0)
		return true;
	fail(k->rq, 503, "%s", e.message);
	return false;
}

static void serve_stats(struct ask *k)
{
	struct stats s;

	if (!str_is(k->parts[1], "summary"))
		fail(k->rq, 404, "404 page not found");
	else if (collect(k, &s))
		reply_json(k->rq, stats_summary(k->node, &s, k->a));
}

static void serve_metrics(struct ask *k)
{
	auto_buf struct buf b = BUF_INIT;
	struct stats s;

	if (k->n > 1 && !str_is(k->parts[1], "resource") && !str_is(k->parts[1], "cadvisor")) {
		fail(k->rq, 404, "404 page not found");
		return;
	}
	if (!collect(k, &s))
		return;
	if (k->n == 1)
		stats_metrics(k->node, &s, &b);
	else if (str_is(k->parts[1], "resource"))
		stats_resource(&s, &b);
	else
		stats_cadvisor(k->node, &s, &b);
	http_reply_text(k->rq, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(&b));
}

static void serve_health(struct ask *k)
{
	http_reply_text(k->rq, 200, "text/plain", STR("ok"));
}

/* ---- routing --------------------------------------------------------------------------------- */

static const struct route {
	const char *first;
	size_t parts; /* exact; 0: any */
	void (*serve)(struct ask *k);
} routes[] = {
	{ "healthz", 1, serve_health },
	{ "pods", 1, serve_pods },
	{ "stats", 2, serve_stats },
	{ "metrics", 1, serve_metrics },
	{ "metrics", 2, serve_metrics },
	{ "containerLogs", 4, serve_logs },
	{ "exec", 4, serve_stream },
	{ "exec", 5, serve_stream }, /* with the pod's uid before the container */
	{ "attach", 4, serve_stream },
	{ "attach", 5, serve_stream },
	{ "portForward", 3, serve_stream },
	{ "portForward", 4, serve_stream },
};

static const struct route *route_of(struct ask *k)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (k->n == routes[i].parts && str_is(k->parts[0], routes[i].first))
			return &routes[i];
	return NULL;
}

static void serve(struct ask *k)
{
	const struct route *r = route_of(k);

	for (size_t i = 1; i < k->n; i++) { /* names become file names */
		if (str_is(k->parts[i], "..") || memchr(k->parts[i].p, '/', k->parts[i].n)) {
			fail(k->rq, 400, "malformed path");
			return;
		}
	}
	if (!r) {
		fail(k->rq, 404, "404 page not found");
		return;
	}
	if (k->n == 5)
		k->parts[3] = k->parts[4];
	r->serve(k);
}

static void serve_task(void *arg)
{
	struct ask *k = arg;
	struct node_agent *n = k->node;

	serve(k);
	ask_free(k);
	node_task_end(n);
}

/* ---- who may --------------------------------------------------------------------------------- */

static enum verdict judge(struct ask *k, bool ask, struct str *ret_user)
{
	struct server_asker who = { http_peer(k->rq), http_header(k->rq, "authorization") };

	return server_auth(k->node->auth, &who, &k->want, ask, mono_now(), k->a, ret_user);
}

static void refuse(struct ask *k, enum verdict v, struct str user)
{
	if (v == VERDICT_UNAUTHORIZED)
		fail(k->rq, 401, "Unauthorized");
	else
		fail(k->rq, v == VERDICT_FORBIDDEN ? 403 : 500,
			"%s (user=%.*s, verb=%s, resource=nodes, subresource=%s)",
			v == VERDICT_FORBIDDEN ? "Forbidden" : "Authorization error", STR_ARG(user), k->want.verb,
			k->want.subs[0]);
}

static void question_task(void *arg)
{
	struct ask *k = arg;
	struct node_agent *n = k->node;
	struct str user = STR_NULL;
	enum verdict v = judge(k, true, &user);

	server_auth_answered(n->auth, k->place);
	if (v == VERDICT_ALLOWED)
		serve(k);
	else
		refuse(k, v, user);
	ask_free(k);
	node_task_end(n);
}

/* Takes k. */
static bool start(struct ask *k, const char *name, void (*run)(void *arg))
{
	if (node_task(k->node, name, run, k))
		return true;
	fail(k->rq, 503, "this node agent is stopping");
	ask_free(k);
	return false;
}

/* Takes k. */
static void start_question(struct ask *k)
{
	static const struct http_header later = { STR("retry-after"), STR("1") };
	struct server_auth *auth = k->node->auth;
	int place = server_auth_may_ask(auth, http_peer(k->rq)->address);

	k->place = place;
	if (place < 0) {
		http_reply(k->rq, 429, &later, 1, NULL, 0);
		ask_free(k);
	} else if (!start(k, "who-asks", question_task)) {
		server_auth_answered(auth, place);
	}
}

static void handle(void *arg, struct http_request *rq)
{
	struct node_server *s = arg;
	struct ask *k = xcalloc(1, sizeof(*k));
	struct str path = http_path(rq), user = STR_NULL;
	enum verdict v;

	k->node = s->n;
	k->rq = rq;
	k->a = arena_new();
	k->query = arena_str(k->a, http_query(rq));
	for (struct str part, rest = str_sub(path, 1, path.n); str_next(&rest, '/', &part) && k->n < PARTS_MAX;)
		if (!str_empty(part))
			k->parts[k->n++] = decode(part, k->a, false);
	if (k->n == 1 && str_is(k->parts[0], "healthz")) {
		serve_health(k);
		ask_free(k);
		return;
	}
	k->want = server_want(http_method(rq), k->parts[0]);
	v = judge(k, false, &user);
	if (v == VERDICT_ALLOWED) {
		(void)start(k, "request", serve_task);
	} else if (v == VERDICT_UNKNOWN) {
		start_question(k);
	} else {
		refuse(k, v, user);
		ask_free(k);
	}
}

int node_server_new(struct node_agent *n, struct node_server **ret, struct err *e)
{
	struct node_server *s = xcalloc(1, sizeof(*s));
	struct tls_opts t = { .cert_file = n->o.tls_cert_file,
		.key_file = n->o.tls_key_file,
		.ca_file = n->o.tls_ca_file,
		.server = true };
	struct http_server_opts o = { .address = n->o.address,
		.port = n->o.port ? n->o.port : NODE_PORT,
		.loops = &s->loop,
		.n_loops = 1,
		.connections_max = 1000,
		.handle = handle,
		.arg = s };
	int r;

	s->n = n;
	s->loop = n->loop;
	r = tls_new(&t, &s->tls, e);
	if (r == 0) {
		o.tls = s->tls;
		r = http_server_new(&o, &s->http, e);
	}
	if (r < 0) {
		(void)node_server_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int node_server_port(const struct node_server *s)
{
	return http_server_port(s->http);
}

struct node_server *node_server_free(struct node_server *s)
{
	if (!s)
		return NULL;
	s->http = http_server_free(s->http);
	s->tls = tls_free(s->tls);
	free(s);
	return NULL;
}

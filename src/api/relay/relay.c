/* Sub-resources that are streams: authorized here, served by the pod's node.
 *
 *     client ── log ──► task: GET /containerLogs/… on the node ──► HTTP stream
 *     client ── exec, attach, portforward ──► upgrade to the node ──101──► upgrade of the client, then both are spliced
 *     client ── proxy ──► task: the same request to the pod, service or node
 *
 * The node answers to the control process's client certificate and shows one of the cluster's CA. */
#include "api/relay/relay.h"
#include <stdio.h>
#define LOG_MODULE "relay"

struct relays *relays_new(struct api *api)
{
	struct relays *r = xcalloc(1, sizeof(*r));

	r->api = api;
	r->answers = places_new((size_t)api->opts.streams_max);
	r->upgrades = places_new((size_t)api->opts.streams_max);
	task_mutex_init(&r->lock);
	task_cond_init(&r->gone);
	r->clients = map_new(NULL);
	return r;
}

void relays_free(struct relays *r)
{
	struct str key;
	void *value;

	if (!r)
		return;
	task_lock(&r->lock);
	while (r->tasks)
		task_wait(&r->gone, &r->lock);
	task_unlock(&r->lock);
	for (size_t i = 0; map_next(r->clients, &i, &key, &value);)
		http_client_free(value);
	map_free(r->clients);
	places_free(r->answers);
	places_free(r->upgrades);
	tls_free(r->tls);
	tls_free(r->tls_any);
	task_mutex_fini(&r->lock);
	task_cond_fini(&r->gone);
	free(r);
}

static int take(struct rq *rq, struct places *of, struct place **ret, struct err *e)
{
	size_t held;

	if (place_take(of, rq->id.user, ret, &held))
		return 0;
	if (held)
		err_set(e, ERR_TOO_MANY,
			"user \"%.*s\" has %zu streams open, which is their share; please close some, or try again later",
			STR_ARG(rq->id.user), held);
	else
		err_set(e, ERR_TOO_MANY, "too many streams are open, please try again later");
	e->retry_after_s = 1;
	return -ERR_TOO_MANY;
}

int relay_place(struct rq *rq, struct place **ret, struct err *e)
{
	return take(rq, rq->api->relays->upgrades, ret, e);
}

int relay_begin(struct rq *rq, void (*run)(void *arg), void *arg, struct place **ret, struct err *e)
{
	struct relays *r = rq->api->relays;

	if (take(rq, r->answers, ret, e) < 0)
		return -e->code;
	task_lock(&r->lock);
	bool stopping = rq_stopping(r->api);
	r->tasks += !stopping;
	task_unlock(&r->lock);
	if (stopping) {
		place_leave(*ret);
		return err_set(e, ERR_UNAVAILABLE, "the server is stopping");
	}
	task_detach(task_spawn("api-relay", run, arg));
	return 0;
}

void relay_end(struct relays *r, struct place *taken)
{
	place_leave(taken);
	task_lock(&r->lock);
	r->tasks--;
	task_broadcast(&r->gone);
	task_unlock(&r->lock);
}

/* Under the lock. */
static int need_tls(struct relays *r, struct err *e)
{
	const struct api_opts *o = &r->api->opts;
	auto_free char *ca = o->node_ca_file ? xstrdup(o->node_ca_file) :
					       xasprintf("%s/%s.crt", o->pki_dir ? o->pki_dir : "", o->ca_name);

	if (!r->tls_any && tls_new(&(struct tls_opts){ .insecure = true }, &r->tls_any, e) < 0)
		return -e->code;
	if (r->tls)
		return 0;
	return tls_new(
		&(struct tls_opts){ .cert_file = o->node_cert_file, .key_file = o->node_key_file, .ca_file = ca },
		&r->tls, e);
}

int relay_client(
	struct relays *r, const char *scheme, struct str host, int64_t port, struct http_client **ret, struct err *e)
{
	const struct api_opts *o = &r->api->opts;
	bool v6 = str_has(host, STR(":")), node = !strcmp(scheme, "node");
	char url[400];
	int rc = 0;

	if (!o->loop || !o->node_cert_file)
		return err_set(e, ERR_UNAVAILABLE, "this server is not set up to reach nodes");
	snprintf(url, sizeof(url), "%s://%s%.*s%s:%lld", node ? "https" : scheme, v6 ? "[" : "", STR_ARG(host),
		v6 ? "]" : "", (long long)port);
	char key[420];
	snprintf(key, sizeof(key), "%s %s", scheme, url);
	task_lock(&r->lock);
	struct http_client *c = map_get(r->clients, str_c(key));
	if (!c && (rc = need_tls(r, e)) >= 0) {
		struct http_client_opts co = { .url = url,
			.loop = o->loop,
			.connect_ms = 10000,
			.user_agent = "kogge",
			.http1_only = true,
			.tls = node                    ? r->tls :
				strcmp(scheme, "http") ? r->tls_any :
							 NULL };
		if ((rc = http_client_new(&co, &c, e)) >= 0)
			map_put(r->clients, str_c(key), c);
	}
	task_unlock(&r->lock);
	*ret = c;
	return rc;
}

/* ---- finding the node and the container ------------------------------------------------------ */

int relay_node_at(
	struct rq *rq, struct str name, struct str scheme, struct str port, struct http_client **ret, struct err *e)
{
	auto_(doc_unref) struct doc *node = api_get(rq->api, "", "nodes", STR_NULL, name);
	int64_t asked;

	if (!node)
		return err_set(e, ERR_NOT_FOUND, "nodes \"%.*s\" not found", STR_ARG(name));
	struct val list = doc_get(node, "status.addresses");
	struct str host = val_str(val_get(val_find(list, "type", STR("InternalIP")), "address"));
	if (!host.n)
		host = val_str(val_get(val_find(list, "type", STR("Hostname")), "address"));
	int64_t own = doc_int(node, "status.daemonEndpoints.kubeletEndpoint.Port", 10250);
	if (!host.n)
		return err_set(e, ERR_UNAVAILABLE, "node \"%.*s\" has not told its address yet", STR_ARG(name));
	if (!port.n || (str_i64(port, &asked) && asked == own))
		return relay_client(rq->api->relays, "node", host, own, ret, e);
	if (!str_i64(port, &asked))
		return err_set(e, ERR_BAD_REQUEST, "invalid node request \"%.*s\"", STR_ARG(rq->name));
	if (relay_check_address(host, e) < 0)
		return -e->code;
	return relay_client(rq->api->relays, str_is(scheme, "https") ? "https" : "http", host, asked, ret, e);
}

int relay_node(struct rq *rq, struct str name, struct http_client **ret, struct err *e)
{
	return relay_node_at(rq, name, STR_NULL, STR_NULL, ret, e);
}

static bool has_container(struct doc *pod, struct str name)
{
	static const char *const lists[] = { "spec.containers", "spec.initContainers", "spec.ephemeralContainers" };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (val_has(val_find(doc_get(pod, lists[i]), "name", name)))
			return true;
	return false;
}

static int choose_container(struct rq *rq, struct doc *pod, struct str *ret, struct err *e)
{
	struct str name = rq_param(rq, "container");
	struct val list = doc_get(pod, "spec.containers");
	struct buf b = BUF_INIT;

	if (!name.n && val_len(list) == 1)
		name = val_str(val_get(val_at(list, 0), "name"));
	if (!name.n) {
		for (size_t i = 0; i < val_len(list); i++)
			buf_printf(&b, "%s%.*s", i ? " " : "", STR_ARG(val_str(val_get(val_at(list, i), "name"))));
		err_set(e, ERR_BAD_REQUEST, "a container name must be specified for pod %.*s, choose one of: [%.*s]",
			STR_ARG(rq->name), (int)b.n, b.p);
		buf_fini(&b);
		return -ERR_BAD_REQUEST;
	}
	if (!has_container(pod, name))
		return err_set(e, ERR_BAD_REQUEST, "container %.*s is not valid for pod %.*s", STR_ARG(name),
			STR_ARG(rq->name));
	*ret = arena_str(rq->a, name);
	return 0;
}

/* The node's path for a pod's stream, and the client for its node. */
static int pod_target(
	struct rq *rq, const char *what, bool container, struct str *path, struct http_client **client, struct err *e)
{
	struct doc *pod = api_get(rq->api, "", "pods", rq->ns, rq->name);
	struct str c = STR_NULL;
	int rc = 0;

	if (!pod)
		return write_not_found(rq, rq->name, e);
	if (container)
		rc = choose_container(rq, pod, &c, e);
	if (rc >= 0 && !doc_str(pod, "spec.nodeName").n)
		rc = err_set(e, ERR_BAD_REQUEST, "pod %.*s does not have a host assigned", STR_ARG(rq->name));
	if (rc >= 0)
		rc = relay_node(rq, doc_str(pod, "spec.nodeName"), client, e);
	doc_unref(pod);
	*path = arena_strf(rq->a, "/%s/%.*s/%.*s%s%.*s%s%.*s", what, STR_ARG(rq->ns), STR_ARG(rq->name),
		container ? "/" : "", STR_ARG(c), rq->query.n ? "?" : "", STR_ARG(rq->query));
	return rc;
}

/* ---- logs: an HTTP stream -------------------------------------------------------------------- */

/* Nothing is said yet, which is no failure: as upstream. */
static bool has_no_node(struct rq *rq)
{
	auto_(doc_unref) struct doc *pod = api_get(rq->api, "", "pods", rq->ns, rq->name);
	struct str c;
	struct err e;

	err_init(&e);
	return pod && !doc_str(pod, "spec.nodeName").n && choose_container(rq, pod, &c, &e) >= 0;
}

static void log_start(struct rq *rq)
{
	struct http_client *client;
	struct str path;
	struct err e;

	err_init(&e);
	if (has_no_node(rq))
		reply_bytes(rq, 204, NULL, NULL, 0, STR_NULL);
	else if (pod_target(rq, "containerLogs", true, &path, &client, &e) < 0)
		reply_error(rq, &e);
	else
		relay_answer(rq, &(struct relay_call){ .client = client, .path = path, .content_type = "text/plain" });
}

/* ---- exec, attach, port-forward: two upgrades ------------------------------------------------ */

struct upgrade {
	struct relay_call c;
	struct rq *rq;
	struct place *place;
};

static void answered(struct upgrade *u)
{
	if (u->c.over)
		u->c.over(u->c.arg);
}

static void splice_over(void *place)
{
	place_leave(place);
}

/* The other side's refusal. */
static void not_upgraded(struct rq *rq, int status, struct str text)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (str_starts(text, STR("{")) && doc_parse(text, &d, &e) == 0)
		err_set(&e, err_from_http(status, doc_str(d, "reason")), "%.*s", STR_ARG(doc_str(d, "message")));
	else
		err_set(&e, status >= 400 ? err_from_http(status, STR_NULL) : ERR_INTERNAL, "%.*s",
			STR_ARG(text.n ? text : STR("the upgrade was not accepted")));
	reply_error(rq, &e);
}

static void upgraded(
	void *arg, struct net_pipe *p, int status, const struct http_header *headers, size_t n, struct str body)
{
	struct upgrade *u = arg;
	struct place *place = u->place;
	struct rq *rq = u->rq;

	answered(u); /* the pipe has a connection of its own */
	if (status != 101) {
		place_leave(place);
		not_upgraded(rq, status, str_trim(body));
		return;
	}
	struct http_request *http = rq->http;
	rq_done(rq, 101);
	net_splice(http_upgrade(http, headers, n, NULL, NULL), p, splice_over, place);
	rq_free(rq);
}

static void upgrade_failed(void *arg, const struct err *e)
{
	struct upgrade *u = arg;
	struct err copy;

	answered(u);
	place_leave(u->place);
	err_copy(&copy, e);
	if (copy.code == ERR_IO)
		copy.code = ERR_UNAVAILABLE;
	err_wrap(&copy, "error dialing backend");
	reply_error(u->rq, &copy);
}

static const struct http_upgraded on_upgraded = { upgraded, upgrade_failed };

static bool passes(struct str name)
{
	return str_is(name, "connection") || str_is(name, "upgrade") || str_starts(name, STR("sec-websocket-")) ||
		str_starts(name, STR("x-stream-protocol")) || str_is(name, "origin");
}

struct str relay_without_token(struct rq *rq, struct str protocols)
{
	struct buf b = BUF_INIT;

	for (struct str part, rest = protocols; str_next(&rest, ',', &part);) {
		part = str_trim(part);
		if (!str_starts(part, STR("base64url.bearer.authorization.k8s.io.")))
			buf_printf(&b, "%s%.*s", b.n ? ", " : "", STR_ARG(part));
	}
	struct str s = arena_str(rq->a, buf_view(&b));
	buf_fini(&b);
	return s;
}

void relay_upgrade(struct rq *rq, const struct relay_call *c)
{
	const struct http_header *all;
	size_t n_all = http_headers(rq->http, &all), n = 0;
	struct http_header *h = ARENA_ARRAY(rq->a, struct http_header, n_all + c->n_headers + 1);
	struct upgrade *u = ARENA_NEW(rq->a, struct upgrade);
	struct err e;

	err_init(&e);
	u->c = *c;
	u->rq = rq;
	if (relay_place(rq, &u->place, &e) < 0) {
		answered(u);
		reply_error(rq, &e);
		return;
	}
	for (size_t i = 0; i < n_all; i++) {
		if (!passes(all[i].name))
			continue;
		h[n] = all[i];
		if (str_is(all[i].name, "sec-websocket-protocol"))
			h[n].value = relay_without_token(rq, all[i].value);
		n++;
	}
	for (size_t i = 0; i < c->n_headers; i++)
		if (!passes(c->headers[i].name))
			h[n++] = c->headers[i];
	http_client_upgrade(c->client, arena_cstr(rq->a, rq->method), c->path, h, n, &on_upgraded, NULL, u);
}

static void stream_start(struct rq *rq, const char *what, bool container)
{
	struct http_client *client;
	struct str path;
	struct err e;

	err_init(&e);
	if (!rq_header(rq, "upgrade").n)
		err_set(&e, ERR_BAD_REQUEST, "Upgrade request required");
	else if (http_version(rq->http) != 1)
		err_set(&e, ERR_BAD_REQUEST, "this stream needs HTTP/1.1");
	if (e.code || pod_target(rq, what, container, &path, &client, &e) < 0) {
		reply_error(rq, &e);
		return;
	}
	relay_upgrade(rq, &(struct relay_call){ .client = client, .path = path });
}

void relay_start(struct rq *rq)
{
	struct err e;

	err_init(&e);
	if (!rq->http || !rq->api->opts.loop) {
		err_set(&e, ERR_UNSUPPORTED, "streams need a server with sockets");
		reply_error(rq, &e);
	} else if (str_is(rq->sub, "log") && rq_header(rq, "upgrade").n) {
		stream_start(rq, "containerLogs", true); /* over a WebSocket */
	} else if (str_is(rq->sub, "log")) {
		log_start(rq);
	} else if (str_is(rq->sub, "exec")) {
		stream_start(rq, "exec", true);
	} else if (str_is(rq->sub, "attach")) {
		stream_start(rq, "attach", true);
	} else if (str_is(rq->sub, "portforward")) {
		stream_start(rq, "portForward", false);
	} else {
		relay_proxy(rq);
	}
}

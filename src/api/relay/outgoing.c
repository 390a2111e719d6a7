#include "api/relay/outgoing.h"
#include "api/relay/relay.h"
#include <stdio.h>
#define LOG_MODULE "outgoing"

#define LINKS_MAX 128
#define ANSWER_MAX ((size_t)3 << 20)
#define CONNECT_MS 5000
#define WAITING_MAX 24 /* of the 32 of a lane that may wait: a server that hangs leaves room for calls of others */

struct outgoing_link {
	struct http_client *client;
	char *key;
	int users;
	int waiting;   /* requests that hold a lane's place for waiting: see WAITING_MAX */
	bool unlinked; /* out of the map: its last user ends it */
};

struct outgoing {
	struct task_mutex lock;
	struct map *links; /* key → struct outgoing_link, in the order of their making */
	bool stopped;
};

static void link_end(struct outgoing_link *l)
{
	http_client_free(l->client);
	free(l->key);
	free(l);
}

struct outgoing *outgoing_new(void)
{
	struct outgoing *o = xcalloc(1, sizeof(*o));

	task_mutex_init(&o->lock);
	o->links = map_new(NULL);
	return o;
}

void outgoing_stop(struct outgoing *o)
{
	struct str key;
	void *value;

	task_lock(&o->lock);
	o->stopped = true;
	for (size_t i = 0; map_next(o->links, &i, &key, &value);)
		http_client_close(((struct outgoing_link *)value)->client);
	task_unlock(&o->lock);
}

void outgoing_free(struct outgoing *o)
{
	struct str key;
	void *value;

	if (!o)
		return;
	for (size_t i = 0; map_next(o->links, &i, &key, &value);)
		link_end(value);
	map_free(o->links);
	task_mutex_fini(&o->lock);
	free(o);
}

/* ---- targets --------------------------------------------------------------------------------- */

int outgoing_target_of(struct arena *a, struct val config, struct outgoing_target *ret, struct err *e)
{
	struct val service = val_get(config, "service");
	struct str ca = val_str(val_get(config, "caBundle"));
	struct outgoing_target t = {
		.url = arena_str(a, val_str(val_get(config, "url"))),
		.ns = arena_str(a, val_str(val_get(service, "namespace"))),
		.name = arena_str(a, val_str(val_get(service, "name"))),
		.path = arena_str(a, val_str(val_get(service, "path"))),
		.port = val_int(val_get(service, "port"), 443),
	};

	if (ca.n) {
		auto_buf struct buf pem = BUF_INIT;
		if (base64_decode(ca, &pem) < 0)
			return err_set(e, ERR_INVALID, "caBundle is not base64");
		t.ca_pem = arena_str(a, buf_view(&pem));
	}
	if (!t.url.n && !t.name.n)
		return err_set(e, ERR_INVALID, "webhook configuration must have either service or URL");
	*ret = t;
	return 0;
}

/* "https://host:port" and the path behind it. */
static struct str url_split(struct str url, struct str *path)
{
	size_t i = str_starts(url, STR("https://")) ? 8 : 0;

	while (i < url.n && url.p[i] != '/' && url.p[i] != '?')
		i++;
	*path = str_sub(url, i, url.n);
	return str_sub(url, 0, i);
}

struct str outgoing_url(struct arena *a, const struct outgoing_target *t)
{
	if (t->url.n)
		return t->url;
	return arena_strf(a, "https://%.*s.%.*s.svc:%lld%s%.*s", STR_ARG(t->name), STR_ARG(t->ns),
		(long long)(t->port ? t->port : 443), str_starts(t->path, STR("/")) || !t->path.n ? "" : "/",
		STR_ARG(t->path));
}

/* Where to connect, and the name that the certificate must have. */
static int resolve(struct api *api, struct arena *a, const struct outgoing_target *t, struct str *url,
	struct str *server_name, struct err *e)
{
	struct str path, host = STR_NULL;
	int64_t port = t->port ? t->port : 443;

	*server_name = STR_NULL;
	if (t->url.n) {
		*url = url_split(t->url, &path);
		return 0;
	}
	int rc = relay_service(api, a, t->ns, t->name, arena_strf(a, "%lld", (long long)port), false, &host, &port, e);
	if (rc < 0)
		return rc;
	bool v6 = str_has(host, STR(":"));
	*url = arena_strf(a, "https://%s%.*s%s:%lld", v6 ? "[" : "", STR_ARG(host), v6 ? "]" : "", (long long)port);
	*server_name = arena_strf(a, "%.*s.%.*s.svc", STR_ARG(t->name), STR_ARG(t->ns));
	return 0;
}

/* ---- links ----------------------------------------------------------------------------------- */

/* Under the lock: room for one more. Those in use stay for their users. */
static void evict(struct outgoing *o)
{
	struct str key;
	void *value;

	for (size_t i = 0; map_len(o->links) >= LINKS_MAX && map_next(o->links, &i, &key, &value);) {
		struct outgoing_link *l = value;

		map_del(o->links, key);
		if (l->users)
			l->unlinked = true;
		else
			link_end(l);
	}
}

static int link_new(struct api *api, const struct outgoing_target *t, const char *url, const char *server_name,
	struct outgoing_link **ret, struct err *e)
{
	auto_(tls_free) struct tls *tls = NULL;
	struct http_client *client;
	int rc;

	if (!api->opts.loop)
		return err_set(e, ERR_UNAVAILABLE, "this server is not set up to call others");
	rc = tls_new(&(struct tls_opts){ .ca_pem = t->ca_pem,
			     .cert_file = t->cert_file,
			     .key_file = t->key_file,
			     .insecure = t->insecure },
		&tls, e);
	if (rc < 0)
		return rc;
	struct http_client_opts co = { .url = url,
		.tls = tls,
		.server_name = server_name,
		.loop = api->opts.loop,
		.connect_ms = CONNECT_MS,
		.user_agent = "kube-apiserver-admission" };
	if ((rc = http_client_new(&co, &client, e)) < 0)
		return rc;
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->client = client;
	return 0;
}

int outgoing_acquire(struct api *api, const struct outgoing_target *t, struct outgoing_link **ret, struct err *e)
{
	struct outgoing *o = api->outgoing;
	auto_(arena_free) struct arena *a = arena_new();
	struct str url, server_name;
	struct outgoing_link *l;
	int rc = resolve(api, a, t, &url, &server_name, e);

	if (rc < 0)
		return rc;
	/* The bundle belongs to the key: who changes it must not be served by a connection that an older one allowed.
	 */
	struct str key = arena_strf(a, "%.*s %.*s %d %s %llx.%zu", STR_ARG(url), STR_ARG(server_name), t->insecure,
		t->cert_file ? t->cert_file : "", (unsigned long long)str_hash(t->ca_pem), t->ca_pem.n);
	task_lock(&o->lock);
	l = o->stopped ? NULL : map_get(o->links, key);
	if (o->stopped)
		rc = err_set(e, ERR_UNAVAILABLE, "the server is shutting down");
	else if (!l &&
		(rc = link_new(api, t, arena_cstr(a, url), server_name.n ? arena_cstr(a, server_name) : NULL, &l, e)) >=
			0) {
		evict(o);
		l->key = str_dup(key);
		map_put(o->links, key, l);
	}
	if (rc >= 0)
		l->users++;
	task_unlock(&o->lock);
	if (rc >= 0)
		*ret = l;
	return rc;
}

struct http_client *outgoing_client(struct outgoing_link *l)
{
	return l->client;
}

void outgoing_release(struct api *api, struct outgoing_link *l)
{
	struct outgoing *o = api->outgoing;

	task_lock(&o->lock);
	bool over = --l->users == 0 && l->unlinked;
	task_unlock(&o->lock);
	if (over)
		link_end(l);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static struct str full_path(struct arena *a, const struct outgoing_target *t, struct str path_query)
{
	struct str base = t->path;

	if (t->url.n)
		url_split(t->url, &base);
	bool slash = str_starts(base, STR("/")), lone = !path_query.n || path_query.p[0] == '?';
	return arena_strf(a, "%s%.*s%.*s", slash || (!base.n && !lone) ? "" : "/", STR_ARG(base), STR_ARG(path_query));
}

/* false: too many wait for this server already. */
static bool enter(struct outgoing *o, struct outgoing_link *l)
{
	task_lock(&o->lock);
	bool ok = l->waiting < WAITING_MAX;
	l->waiting += ok;
	task_unlock(&o->lock);
	return ok;
}

static void leave(struct outgoing *o, struct outgoing_link *l)
{
	task_lock(&o->lock);
	l->waiting--;
	task_unlock(&o->lock);
}

static int call(struct api *api, struct rq *rq, struct outgoing_link *l, struct str path,
	const struct outgoing_request *q, struct http_reply *ret, struct err *e)
{
	int rc;

	if (q->for_write && !enter(api->outgoing, l)) {
		err_set(e, ERR_TOO_MANY, "too many requests are waiting for this webhook, please try again later");
		e->retry_after_s = 1;
		return -ERR_TOO_MANY;
	}
	if ((rc = lanes_leave(rq, e)) >= 0) {
		rc = http_call(l->client, q->method, path, q->headers, q->n_headers, q->body,
			q->answer_max ? q->answer_max : ANSWER_MAX, q->timeout_ms, ret, e);
		lanes_return(rq);
	}
	if (q->for_write)
		leave(api->outgoing, l);
	return rc;
}

int outgoing_call(struct api *api, struct rq *rq, const struct outgoing_target *t, const struct outgoing_request *q,
	struct http_reply *ret, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct outgoing_link *l;
	int rc = outgoing_acquire(api, t, &l, e);

	if (rc < 0)
		return rc;
	rc = call(api, rq, l, full_path(a, t, q->path_query), q, ret, e);
	outgoing_release(api, l);
	return rc;
}

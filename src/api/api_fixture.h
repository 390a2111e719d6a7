/* For tests: the server core over a memory store, without sockets, and calls to it. */
#pragma once
#include "api/api_internal.h"
#include "base/test.h"
#include <stdio.h>

/* ---- a sink that keeps what it gets ---------------------------------------------------------- */

struct answer {
	struct task_mutex lock;
	struct task_cond wake;
	int status;
	struct buf body;
	char warning[2048]; /* all of them */
	char content_type[128], etag[300], location[400], cache_control[64];
	bool done, stream, ended;
	bool full; /* the stream's reader takes nothing */
	const struct http_stream_ops *ops;
	void *ops_arg;
	struct answer *next_open;
};

static void keep_headers(struct answer *a, const struct http_header *h, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (str_is(h[i].name, "warning"))
			snprintf(a->warning + strlen(a->warning), sizeof(a->warning) - strlen(a->warning), "%.*s\n",
				STR_ARG(h[i].value));
		if (str_is(h[i].name, "content-type"))
			snprintf(a->content_type, sizeof(a->content_type), "%.*s", STR_ARG(h[i].value));
		if (str_is(h[i].name, "location"))
			snprintf(a->location, sizeof(a->location), "%.*s", STR_ARG(h[i].value));
		if (str_is(h[i].name, "cache-control"))
			snprintf(a->cache_control, sizeof(a->cache_control), "%.*s", STR_ARG(h[i].value));
		if (str_is(h[i].name, "etag"))
			snprintf(a->etag, sizeof(a->etag), "%.*s", STR_ARG(h[i].value));
	}
}

static void keep_pieces(struct answer *a, const struct net_piece *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_str(&a->body, p[i].bytes);
	for (size_t i = 0; i < n; i++) {
		struct net_piece q = p[i]; /* the last one's end frees the array */
		if (q.end && i + 1 < n)
			q.end(q.owner);
	}
	if (n && p[n - 1].end)
		p[n - 1].end(p[n - 1].owner);
}

static void sink_reply(
	void *arg, int status, const struct http_header *h, size_t n_h, const struct net_piece *p, size_t n)
{
	struct answer *a = arg;

	task_lock(&a->lock);
	a->status = status;
	keep_headers(a, h, n_h);
	keep_pieces(a, p, n);
	a->done = true;
	task_broadcast(&a->wake);
	task_unlock(&a->lock);
}

static void *sink_stream(void *arg, int status, const struct http_header *h, size_t n_h,
	const struct http_stream_ops *ops, void *ops_arg)
{
	struct answer *a = arg;

	task_lock(&a->lock);
	a->status = status;
	keep_headers(a, h, n_h);
	a->done = a->stream = true;
	a->ops = ops;
	a->ops_arg = ops_arg;
	task_broadcast(&a->wake);
	task_unlock(&a->lock);
	return a;
}

static void sink_write(void *stream, const struct net_piece *p, size_t n)
{
	struct answer *a = stream;

	task_lock(&a->lock);
	keep_pieces(a, p, n);
	task_broadcast(&a->wake);
	task_unlock(&a->lock);
}

static size_t sink_unsent(void *stream)
{
	struct answer *a = stream;

	task_lock(&a->lock);
	bool full = a->full;
	task_unlock(&a->lock);
	return full ? HTTP_STREAM_HIGH : 0;
}

static void sink_end(void *stream)
{
	struct answer *a = stream;

	task_lock(&a->lock);
	a->ended = true;
	task_broadcast(&a->wake);
	task_unlock(&a->lock);
}

static const struct api_sink sink = { sink_reply, sink_stream, sink_write, sink_unsent, sink_end, sink_end };

/* ---- a server and calls ---------------------------------------------------------------------- */

struct fixture {
	struct store *store;
	struct api *api;
	struct answer *last;
	struct answer *open; /* streams that nobody closed yet */
	struct doc *doc;     /* of the last answer */
	const char *if_none_match;
	const struct identity *as; /* NULL: the administrator */
};

static inline bool body_has(struct fixture *f, const char *part)
{
	return str_has(buf_view(&f->last->body), str_c(part));
}

static struct answer *answer_new(void)
{
	struct answer *a = xcalloc(1, sizeof(*a));

	task_mutex_init(&a->lock);
	task_cond_init(&a->wake);
	a->body = BUF_INIT;
	return a;
}

static void answer_free(struct answer *a)
{
	if (!a)
		return;
	buf_fini(&a->body);
	task_mutex_fini(&a->lock);
	task_cond_fini(&a->wake);
	free(a);
}

static const struct str master_groups[] = { { "system:masters", 14 }, { "system:authenticated", 20 } };
static const struct identity master = { .user = { "admin", 5 }, .groups = master_groups, .n_groups = 2 };

static inline struct answer *start(
	struct fixture *f, const char *method, const char *url, const char *type, const char *accept, const char *body)
{
	struct answer *a = answer_new();
	struct str path, query = str_cut(str_c(url), '?', &path);
	struct http_header h[] = { { STR("Content-Type"), str_c(type ? type : "application/json") },
		{ STR("Accept"), str_c(accept ? accept : "application/json") }, { STR("User-Agent"), STR("test/1") },
		{ STR("If-None-Match"), str_c(f->if_none_match) } };
	struct api_call c = { .method = str_c(method),
		.path = path,
		.query = query,
		.headers = h,
		.n_headers = f->if_none_match ? 4 : 3,
		.body = str_c(body),
		.identity = f->as ? f->as : &master,
		.sink = &sink,
		.sink_arg = a };

	api_call(f->api, &c);
	task_lock(&a->lock);
	while (!a->done)
		task_wait(&a->wake, &a->lock);
	task_unlock(&a->lock);
	if (a->stream) {
		a->next_open = f->open;
		f->open = a;
	}
	return a;
}

/* What start() gave as a stream: its client goes. */
static inline void stream_close(struct fixture *f, struct answer *a)
{
	struct answer **at = &f->open;

	while (*at != a)
		at = &(*at)->next_open;
	*at = a->next_open;
	a->ops->closed(a->ops_arg);
	task_sleep_ms(20);
	answer_free(a);
}

static inline int call_as(
	struct fixture *f, const char *method, const char *url, const char *type, const char *accept, const char *body)
{
	struct err e;

	answer_free(f->last);
	f->doc = doc_unref(f->doc);
	f->last = start(f, method, url, type, accept, body);
	err_init(&e);
	if (f->last->body.n && f->last->body.p[0] == '{')
		doc_parse(buf_view(&f->last->body), &f->doc, &e);
	return f->last->status;
}

static inline int call(struct fixture *f, const char *method, const char *url, const char *body)
{
	return call_as(f, method, url, NULL, NULL, body);
}

static inline char *get(struct fixture *f, const char *path)
{
	static char text[4][2048];
	static int turn;
	struct val v = f->doc ? doc_get(f->doc, path) : VAL_NONE;
	struct str s = val_kind(v) == VAL_STR ? val_str(v) : val_has(v) ? val_text(v) : STR("");

	turn = (turn + 1) % 4;
	snprintf(text[turn], sizeof(text[turn]), "%.*s", STR_ARG(s));
	return text[turn];
}

static void show(struct fixture *f)
{
	print_message("%d %.*s\n", f->last->status, (int)f->last->body.n, f->last->body.p);
}

#define expect(f, want, ...)                     \
	do {                                     \
		int status_ = (__VA_ARGS__);     \
		if (status_ != (want))           \
			show(f);                 \
		assert_int_equal(status_, want); \
	} while (0)

/* What the user "owner" may: rules as JSON, in a namespace, or with NULL everywhere. */
static inline void owner_may(struct fixture *f, const char *ns, const char *rules)
{
	auto_free char *at = xasprintf(
		"/apis/rbac.authorization.k8s.io/v1/%s%s%s", ns ? "namespaces/" : "", ns ? ns : "", ns ? "/" : "");
	auto_free char *roles = xasprintf("%s%s", at, ns ? "roles" : "clusterroles");
	auto_free char *bindings = xasprintf("%s%s", at, ns ? "rolebindings" : "clusterrolebindings");
	auto_free char *role = xasprintf("{\"metadata\":{\"name\":\"owner\"},\"rules\":[%s]}", rules);
	auto_free char *binding = xasprintf(
		"{\"metadata\":{\"name\":\"owner\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\","
		"\"kind\":\"%s\",\"name\":\"owner\"},\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\","
		"\"kind\":\"User\",\"name\":\"owner\"}]}",
		ns ? "Role" : "ClusterRole");

	expect(f, 201, call(f, "POST", roles, role));
	expect(f, 201, call(f, "POST", bindings, binding));
}

static inline int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct api_opts o = { .own_node = "own" };
	struct err e;

	err_init(&e);
	if (store_open_memory(&f->store, &e) < 0)
		fail_msg("%s", e.message);
	o.store = f->store;
	if (api_new(&o, &f->api, &e) < 0)
		fail_msg("%s", e.message);
	*state = f;
	call(f, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	while (f->open) /* an assertion failed beside them: they would keep the API from ending */
		stream_close(f, f->open);
	answer_free(f->last);
	doc_unref(f->doc);
	api_stop(f->api);
	store_close(f->store);
	api_free(f->api);
	free(f);
	return 0;
}

#define CM "/api/v1/namespaces/default/configmaps"
#define PODS "/api/v1/namespaces/default/pods"

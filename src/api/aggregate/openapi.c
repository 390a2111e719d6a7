/* What other servers say of their kinds in OpenAPI: one task asks them, so that a slow one keeps the checks of aggregate.c
 * from nobody.
 *
 *     aggregates_changed … ─► a server answers, or says other kinds ─► GET /openapi/v2, /openapi/v3 ─► tidied, kept packed
 *     GET /openapi/v2 of ours ─► ours and theirs in one document; /openapi/v3 names theirs, and proxy.c passes them on
 *
 * What a server said last stays while it does not answer. ETags keep what has not changed from being sent again. */
#include "api/aggregate/aggregate.h"
#include "base/queue.h"

#define LOG_MODULE "aggregate"
#define ASK_MS 60000
#define ANSWER_MS 5000
#define DOCUMENT_MAX ((size_t)4 << 20) /* as it comes */
#define INDEX_MAX ((size_t)256 << 10)
#define ALL_MAX ((size_t)16 << 20) /* tidied, of all servers together; what is more is left out */
#define ROUND STR("")              /* the queue's only key */

struct said {
	struct arena *a;
	struct str gz, etag; /* version 2; gz empty: it has none */
	struct str v3_url;   /* empty: it has none */
	size_t plain_n;      /* gz unpacked */
	struct doc *list;    /* own: its kinds when it was asked */
	const char *trouble; /* why it did not say all; "": it did */
	struct mono next;
};
struct aggregate_openapi {
	struct api *api;
	struct task_mutex lock;
	struct map *said; /* "version.group" → struct said; replaced as a whole */
	struct queue *due;
	struct task *task;
};

static void said_end(void *value)
{
	struct said *s = value;

	if (!s)
		return;
	doc_unref(s->list);
	arena_free(s->a);
}

static struct str name_of(struct arena *a, const struct aggregate *x)
{
	return arena_strf(a, "%s.%s", x->version, x->group);
}

/* ---- for others ------------------------------------------------------------------------------ */

static struct doc *unpacked(const struct said *s)
{
	auto_buf struct buf b = { .max = ALL_MAX };
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	return gunzip_bytes(s->gz, &b) && doc_parse(buf_view(&b), &d, &e) == 0 ? d : NULL;
}

size_t aggregates_openapi(struct api *api, struct arena *a, struct val **ret)
{
	struct aggregate_openapi *g = api->aggregate_openapi;
	struct str key;
	void *value;
	size_t n = 0, bytes = 0;

	task_lock(&g->lock);
	struct val *out = ARENA_ARRAY(a, struct val, map_len(g->said) + 1);
	for (size_t i = 0; map_next(g->said, &i, &key, &value);) {
		const struct said *s = value;
		struct doc *d = s->gz.n && bytes + s->plain_n <= ALL_MAX ? unpacked(s) : NULL;

		if (!d)
			continue;
		bytes += s->plain_n;
		doc_hold(a, d);
		out[n++] = doc_root(d);
	}
	task_unlock(&g->lock);
	*ret = out;
	return n;
}

struct str aggregates_openapi_url(struct api *api, struct arena *a, const struct aggregate *x)
{
	struct aggregate_openapi *g = api->aggregate_openapi;

	task_lock(&g->lock);
	const struct said *s = map_get(g->said, name_of(a, x));
	struct str url = s && s->v3_url.n ? arena_str(a, s->v3_url) : STR_NULL;
	task_unlock(&g->lock);
	return url;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static int get(struct aggregate_openapi *g, const struct aggregate *x, const char *path, struct str etag, size_t max,
	struct http_reply *r, struct err *e)
{
	struct http_header h[4] = { { STR("accept"), STR("application/json") },
		{ STR("x-remote-user"), STR("system:kube-aggregator") },
		{ STR("x-remote-group"), STR("system:masters") }, { STR("if-none-match"), etag } };
	struct outgoing_request q = { .method = "GET",
		.path_query = str_c(path),
		.headers = h,
		.n_headers = etag.n ? 4 : 3,
		.answer_max = max,
		.timeout_ms = ANSWER_MS };

	return outgoing_call(g->api, NULL, &x->target, &q, r, e);
}

static struct str header_of(const struct http_reply *r, const char *name)
{
	for (size_t i = 0; i < r->n_headers; i++)
		if (str_is(r->headers[i].name, name))
			return r->headers[i].value;
	return STR_NULL;
}

/* Its document as it is kept. */
static int keep(struct said *s, const struct aggregate *x, const struct http_reply *r, struct err *e)
{
	auto_buf struct buf tidy = { .max = DOCUMENT_MAX }, gz = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;

	if (doc_parse_lenient(buf_view(&r->body), NULL, NULL, &d, e) < 0)
		return -e->code;
	int rc = openapi_tidy(doc_root(d), x->group, x->version, &tidy);
	if (rc == -ERR_NOT_FOUND)
		return 0;
	if (rc < 0 || !gzip_bytes(buf_view(&tidy), &gz, 6))
		return err_set(e, ERR_TOO_LARGE, "it is too large");
	s->gz = arena_str(s->a, buf_view(&gz));
	s->plain_n = tidy.n;
	s->etag = arena_str(s->a, header_of(r, "etag"));
	return 0;
}

static void keep_former(struct said *s, const struct said *was)
{
	if (!was)
		return;
	s->gz = arena_str(s->a, was->gz);
	s->etag = arena_str(s->a, was->etag);
	s->plain_n = was->plain_n;
}

static int ask_v2(
	struct aggregate_openapi *g, const struct aggregate *x, const struct said *was, struct said *s, struct err *e)
{
	struct http_reply r = { 0 };
	int rc = get(g, x, "/openapi/v2", was ? was->etag : STR_NULL, DOCUMENT_MAX, &r, e);

	if (rc < 0)
		return rc;
	if (r.status == 304)
		keep_former(s, was);
	else if (r.status == 200)
		rc = keep(s, x, &r, e);
	else if (r.status != 404)
		rc = err_set(e, ERR_UNAVAILABLE, "bad status from it: %d", r.status);
	http_reply_fini(&r);
	return rc;
}

/* Where its index says that the group version is described. */
static struct str url_in(struct arena *a, const struct aggregate *x, struct val index)
{
	struct val at = val_get_str(val_get(index, "paths"), arena_strf(a, "apis/%s/%s", x->group, x->version));
	struct str path = arena_strf(a, "/openapi/v3/apis/%s/%s", x->group, x->version), head,
		   url = val_str(val_get(at, "serverRelativeURL"));

	str_cut(url, '?', &head);
	if (!val_has(at))
		return STR_NULL;
	return str_eq(head, path) && url.n < 1024 ? arena_str(a, url) : path;
}

static int ask_v3(struct aggregate_openapi *g, const struct aggregate *x, struct said *s, struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct http_reply r = { 0 };
	int rc = get(g, x, "/openapi/v3", STR_NULL, INDEX_MAX, &r, e);

	if (rc < 0)
		return rc;
	if (r.status == 200 && (rc = doc_parse(buf_view(&r.body), &d, e)) == 0)
		s->v3_url = url_in(s->a, x, doc_root(d));
	else if (r.status != 200 && r.status != 404)
		rc = err_set(e, ERR_UNAVAILABLE, "bad status from it: %d", r.status);
	http_reply_fini(&r);
	return rc;
}

/* Own: what it says now, or said last. */
static struct said *ask(struct aggregate_openapi *g, const struct aggregate *x, const struct said *was)
{
	struct arena *a = arena_new();
	struct said *s = ARENA_NEW(a, struct said);
	struct err e;

	s->a = a;
	s->list = doc_ref(x->list);
	s->next = mono_add_ms(mono_now(), ASK_MS);
	s->trouble = "";
	err_init(&e);
	if (ask_v2(g, x, was, s, &e) < 0) {
		s->trouble = arena_printf(a, "its OpenAPI document: %s", e.message);
		keep_former(s, was);
	}
	err_init(&e);
	if (ask_v3(g, x, s, &e) < 0) {
		s->trouble = arena_printf(a, "its OpenAPI index: %s", e.message);
		s->v3_url = was ? arena_str(a, was->v3_url) : STR_NULL;
	}
	if (s->trouble[0] && !rq_stopping(g->api) &&
		(!was || strcmp(s->trouble, was->trouble) != 0)) /* it is asked each minute, and told of once */
		log_warn("apiservice %s.%s: %s", x->version, x->group, s->trouble);
	return s;
}

/* ---- the task -------------------------------------------------------------------------------- */

static bool is_due(const struct said *s, const struct aggregate *x)
{
	return !s || s->list != x->list || !mono_before(mono_now(), s->next);
}

/* When it is to be asked again, if nothing changes before. */
static struct mono look(struct aggregate_openapi *g, struct arena *a, const struct aggregate *x)
{
	struct str name = name_of(a, x);

	if (!x->available || !x->list)
		return MONO_NEVER;
	/* Only this task changes the map: what it finds there stays. */
	task_lock(&g->lock);
	const struct said *was = map_get(g->said, name);
	task_unlock(&g->lock);
	if (!is_due(was, x))
		return was->next;
	struct said *s = ask(g, x, was);
	struct mono next = s->next;
	bool same = was ? str_eq(s->gz, was->gz) && str_eq(s->v3_url, was->v3_url) : !s->gz.n && !s->v3_url.n;
	task_lock(&g->lock);
	map_put(g->said, name, s);
	task_unlock(&g->lock);
	if (!same)
		__atomic_add_fetch(&g->api->table_version, 1, __ATOMIC_RELEASE);
	return next;
}

static void forget_others(struct aggregate_openapi *g, struct arena *a, const struct aggregate *all, size_t n)
{
	auto_(map_free) struct map *there = map_new(NULL);
	struct str key;
	void *value;

	for (size_t i = 0; i < n; i++)
		map_put(there, name_of(a, &all[i]), g);
	task_lock(&g->lock);
	bool forgot = false;
	for (size_t i = 0; map_next(g->said, &i, &key, &value);)
		forgot |= !map_get(there, key) && map_del(g->said, key);
	task_unlock(&g->lock);
	if (forgot)
		__atomic_add_fetch(&g->api->table_version, 1, __ATOMIC_RELEASE);
}

static void visit(void *arg, struct str round)
{
	struct aggregate_openapi *g = arg;
	auto_(arena_free) struct arena *a = arena_new();
	struct mono until = MONO_NEVER;
	size_t n;
	struct aggregate *all = aggregates_list(g->api, a, &n);

	for (size_t i = 0; i < n; i++) {
		struct mono next = look(g, a, &all[i]);

		if (mono_before(next, until))
			until = next;
	}
	forget_others(g, a, all, n);
	if (mono_before(until, MONO_NEVER))
		queue_add_after(g->due, round, MAX(1, mono_ms_between(mono_now(), until)));
}

static void run(void *arg)
{
	struct aggregate_openapi *g = arg;

	queue_work(g->due, visit, g);
}

struct aggregate_openapi *aggregate_openapi_new(struct api *api)
{
	struct aggregate_openapi *g = xcalloc(1, sizeof(*g));

	g->api = api;
	task_mutex_init(&g->lock);
	g->due = queue_new((struct queue_opts){ 0 });
	g->said = map_new(said_end);
	return g;
}

void aggregate_openapi_start(struct aggregate_openapi *g)
{
	g->task = task_spawn("api-openapi", run, g);
}

void aggregate_openapi_stop(struct aggregate_openapi *g)
{
	queue_stop(g->due);
	g->task = task_join(g->task);
}

void aggregate_openapi_free(struct aggregate_openapi *g)
{
	if (!g)
		return;
	aggregate_openapi_stop(g);
	map_free(g->said);
	task_mutex_fini(&g->lock);
	queue_free(g->due);
	free(g);
}

void aggregate_openapi_stir(struct aggregate_openapi *g)
{
	queue_add(g->due, ROUND);
}

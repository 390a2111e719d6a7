/* How fast a scheduler binds pods to nodes that nobody runs, as a watch sees it. */
#include "load.h"
#include "pods.h"

#include <stdio.h>

#define APPS 100
#define SILENCE_MS 30000
#define STEP_MS 1000

static void post(struct bench *b, const char *path, struct buf *body)
{
	request(b, "POST", path, buf_view(body), 201);
}

static int number(const struct worker *w)
{
	return (int)(w->n * w->b->clients + w->id);
}

static void create_node(struct worker *w)
{
	auto_buf struct buf body = BUF_INIT;

	node_text(&body, number(w));
	post(w->b, "/api/v1/nodes", &body);
}

void mode_nodes(struct bench *b)
{
	b->count = b->nodes;
	create_many(b, create_node);
	printf("{\"mode\":\"nodes\",\"n\":%" PRId64 ",\"pss_mib\":%.1f}\n", b->nodes,
		(double)of_pids(b, pss_bytes_of) / 1048576);
}

static void create_pod(struct worker *w)
{
	auto_free char *path = xasprintf("/api/v1/namespaces/%s/pods", w->b->ns);
	auto_buf struct buf body = BUF_INIT;
	int i = number(w);

	pod_text(&body, w->b->kind, w->b->ns, i, i % APPS);
	post(w->b, path, &body);
}

void mode_pods(struct bench *b)
{
	struct mono began = mono_now();
	double s;

	create_many(b, create_pod);
	s = (double)(mono_now().ns - began.ns) / 1e9;
	printf("{\"mode\":\"pods\",\"n\":%" PRId64 ",\"s\":%.2f,\"per_s\":%.0f,\"pss_mib\":%.1f}\n", b->count, s,
		(double)b->count / s, (double)of_pids(b, pss_bytes_of) / 1048576);
}

/* ---- watching -------------------------------------------------------------------------------- */

struct seen {
	int64_t bound;               /* by events */
	int64_t first, last, gap_ns; /* when bindings came */
	int64_t cpu_us;              /* at the first one */
};

static void see_line(struct bench *b, struct seen *s, struct str line, int64_t now)
{
	if (str_starts(line, STR("{\"type\":\"ERROR\"")))
		die("the watch fell behind", NULL);
	if (!str_has(line, STR("\"nodeName\":\"")))
		return;
	if (s->bound++ == 0) {
		s->first = now;
		s->cpu_us = of_pids(b, cpu_us_of);
	} else if (now - s->last > s->gap_ns) {
		s->gap_ns = now - s->last;
	}
	s->last = now;
}

/* Takes whole lines off the front. */
static void see_lines(struct bench *b, struct seen *s, struct buf *in)
{
	int64_t now = mono_now().ns;
	size_t at = 0;
	const char *end;

	while ((end = memchr(in->p + at, '\n', in->n - at))) {
		see_line(b, s, str_n(in->p + at, (size_t)(end - in->p) - at), now);
		at = (size_t)(end - in->p) + 1;
	}
	memmove(in->p, in->p + at, in->n - at);
	in->n -= at;
}

static struct doc *list_one(struct bench *b, const char *selector)
{
	auto_free char *path = xasprintf("/api/v1/namespaces/%s/pods?limit=1%s", b->ns, selector);
	struct http_reply reply;
	struct http_header h[3];
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (http_call(b->http, "GET", str_c(path), h, headers(b, h), STR_NULL, (size_t)1 << 20, 30000, &reply, &e) <
			0 ||
		doc_parse(buf_view(&reply.body), &d, &e) < 0)
		die(path, &e);
	http_reply_fini(&reply);
	return d;
}

static bool all_bound(struct bench *b)
{
	auto_(doc_unref) struct doc *d = list_one(b, "&fieldSelector=spec.nodeName%3D");

	return !val_len(doc_get(d, "items"));
}

/* Pods that had a node before the watch began are not seen: then it ends when nothing comes and none is left. */
static void see_all(struct bench *b, struct http_download *d, struct seen *s)
{
	auto_buf struct buf in = BUF_INIT;
	int64_t silent_ms = 0;
	struct err e;

	while (s->bound < b->count) {
		err_init(&e);
		int rc = http_download_read(d, &in, STEP_MS, &e);

		silent_ms = rc == -ERR_TIMEOUT ? silent_ms + STEP_MS : 0;
		if (silent_ms && !b->kind && all_bound(b))
			return;
		if (rc < 1 && (rc != -ERR_TIMEOUT || silent_ms > SILENCE_MS)) {
			fprintf(stderr, "load: %" PRId64 " of %" PRId64 " pods were bound\n", s->bound, b->count);
			die("bindings", &e);
		}
		see_lines(b, s, &in);
	}
}

static void create_pods(void *arg)
{
	create_many(arg, create_pod);
}

/* From the version of now on: a watch that first lists 50,000 pods is too late for what happens meanwhile. */
static struct http_download *watch(struct bench *b, struct http_client *c)
{
	auto_(doc_unref) struct doc *now = list_one(b, "");
	auto_free char *path = xasprintf("/api/v1/namespaces/%s/pods?watch=1&resourceVersion=%.*s&timeoutSeconds=3600",
		b->ns, STR_ARG(doc_str(now, "metadata.resourceVersion")));
	struct http_download *d = NULL;
	struct http_header h[3];
	struct err e;
	int status;

	err_init(&e);
	if (http_open(c, "GET", str_c(path), h, headers(b, h), STR_NULL, 30000, &status, &d, &e) < 0 || status != 200)
		die("a watch", &e);
	return d;
}

void mode_bindings(struct bench *b)
{
	struct http_client *c = connect_to(b);
	struct http_download *d = watch(b, c);
	struct seen s = { 0 };
	struct task *creating = NULL;
	struct mono began = mono_now();
	int64_t cpu;

	if (b->kind) {
		creating = task_spawn("create", create_pods, b);
		s.cpu_us = of_pids(b, cpu_us_of);
	}
	see_all(b, d, &s);
	cpu = of_pids(b, cpu_us_of) - s.cpu_us;
	task_join(creating);
	printf("{\"mode\":\"bindings\",\"n\":%" PRId64 ",\"per_s\":%.0f,\"since_begin_s\":%.2f,\"gap_ms\":%.1f,"
	       "\"cpu_us_each\":%.1f,\"pss_mib\":%.1f}\n",
		s.bound, (double)(s.bound - 1) * 1e9 / (double)(s.last - s.first), (double)(s.last - began.ns) / 1e9,
		(double)s.gap_ns / 1e6, (double)cpu / (double)s.bound, (double)of_pids(b, pss_bytes_of) / 1048576);
	http_download_free(d);
	http_client_free(c);
}

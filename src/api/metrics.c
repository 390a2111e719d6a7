/* /metrics: counts and latencies of requests under the names that dashboards know. */
#include "api/api_internal.h"
#include <stdio.h>
#define LOG_MODULE "api"

static const double bounds[] = { 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15,
	20, 30, 45, 60 };
#define PRODUCERS_MAX 16

struct series {
	uint64_t count;
	double sum;
	uint64_t bucket[ARRAY_LEN(bounds)];
};

struct metrics {
	struct task_mutex lock;
	struct map *totals;    /* labels with code → count */
	struct map *durations; /* labels without → series */
	struct {
		void (*write)(void *arg, struct buf *out);
		void *arg;
	} more[PRODUCERS_MAX];
	size_t n_more;
};

struct metrics *metrics_new(void)
{
	struct metrics *m = xcalloc(1, sizeof(*m));

	task_mutex_init(&m->lock);
	m->totals = map_new(free);
	m->durations = map_new(free);
	return m;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	map_free(m->totals);
	map_free(m->durations);
	task_mutex_fini(&m->lock);
	free(m);
}

void api_metrics_add(struct api *api, void (*write)(void *arg, struct buf *out), void *arg)
{
	struct metrics *m = api->metrics;

	task_lock(&m->lock);
	if (m->n_more < PRODUCERS_MAX) {
		m->more[m->n_more].write = write;
		m->more[m->n_more++].arg = arg;
	}
	task_unlock(&m->lock);
}

static void *need(struct map *m, struct str key, size_t size)
{
	void *v = map_get(m, key);

	if (!v) {
		v = xcalloc(1, size);
		map_put(m, key, v);
	}
	return v;
}

void metrics_record(struct metrics *m, const struct rq *rq, int status)
{
	static const char *const http_verbs[] = { "", "GET", "LIST", "WATCH", "POST", "PUT", "PATCH", "DELETE",
		"DELETECOLLECTION", "CONNECT" };
	char labels[512], with_code[560];
	const char *scope = !rq->resource_request ? "" : rq->name.n ? "resource" : rq->ns.n ? "namespace" : "cluster";
	double s = (double)(mono_now().ns - rq->began.ns) / 1e9;

	if (!rq->res && rq->resource_request)
		return; /* names that a client invents are no labels */
	snprintf(labels, sizeof(labels),
		"component=\"apiserver\",dry_run=\"\",group=\"%s\",resource=\"%s\",scope=\"%s\",subresource=\"%.*s\",verb=\"%s\",version=\"%s\"",
		rq->res ? rq->res->def.group : "", rq->res ? rq->res->def.resource : "", scope,
		rq->subres ? (int)rq->sub.n : 0, rq->subres ? rq->sub.p : "", rq->res ? http_verbs[rq->verb] : "GET",
		rq->res ? rq->res->def.version : "");
	snprintf(with_code, sizeof(with_code), "code=\"%d\",%s", status, labels);
	task_lock(&m->lock);
	++*(uint64_t *)need(m->totals, str_c(with_code), sizeof(uint64_t));
	if (rq->verb != V_WATCH && !(rq->subres && rq->subres->relay)) {
		struct series *d = need(m->durations, str_c(labels), sizeof(*d));
		d->count++;
		d->sum += s;
		for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
			d->bucket[i] += s <= bounds[i];
	}
	task_unlock(&m->lock);
}

static void write_requests(struct metrics *m, struct buf *b)
{
	struct str key;
	void *value;

	buf_c(b, "# HELP apiserver_request_total Requests answered.\n# TYPE apiserver_request_total counter\n");
	for (size_t i = 0; map_next(m->totals, &i, &key, &value);)
		buf_printf(b, "apiserver_request_total{%.*s} %llu\n", STR_ARG(key),
			(unsigned long long)*(uint64_t *)value);
	buf_c(b,
		"# HELP apiserver_request_duration_seconds Time until the answer.\n# TYPE apiserver_request_duration_seconds histogram\n");
	for (size_t i = 0; map_next(m->durations, &i, &key, &value);) {
		struct series *d = value;
		for (size_t k = 0; k < ARRAY_LEN(bounds); k++)
			buf_printf(b, "apiserver_request_duration_seconds_bucket{%.*s,le=\"%g\"} %llu\n", STR_ARG(key),
				bounds[k], (unsigned long long)d->bucket[k]);
		buf_printf(b, "apiserver_request_duration_seconds_bucket{%.*s,le=\"+Inf\"} %llu\n", STR_ARG(key),
			(unsigned long long)d->count);
		buf_printf(b, "apiserver_request_duration_seconds_sum{%.*s} %g\n", STR_ARG(key), d->sum);
		buf_printf(b, "apiserver_request_duration_seconds_count{%.*s} %llu\n", STR_ARG(key),
			(unsigned long long)d->count);
	}
}

static void write_objects(struct rq *rq, struct buf *b)
{
	size_t n;
	struct resource **rows = api_resources(rq->api, rq->a, &n);

	buf_c(b, "# HELP apiserver_storage_objects Objects stored.\n# TYPE apiserver_storage_objects gauge\n");
	for (size_t i = 0; i < n; i++)
		if (rows[i]->cache)
			buf_printf(b, "apiserver_storage_objects{resource=\"%s\"} %zu\n", rows[i]->group_resource,
				cache_len(rows[i]->cache));
	buf_printf(b,
		"# TYPE apiserver_longrunning_requests gauge\napiserver_longrunning_requests{verb=\"WATCH\"} %zu\n",
		watches_len(rq->api->watches));
}

void metrics_answer(struct rq *rq)
{
	struct metrics *m = rq->api->metrics;
	struct buf b = BUF_INIT;

	task_lock(&m->lock);
	write_requests(m, &b);
	size_t n = m->n_more;
	task_unlock(&m->lock);
	write_objects(rq, &b);
	for (size_t i = 0; i < n; i++)
		m->more[i].write(m->more[i].arg, &b);
	reply_buf(rq, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

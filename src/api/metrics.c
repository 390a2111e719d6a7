/* /metrics: counts and latencies of requests and of webhooks, under the names that dashboards know. */
#include "api/api_internal.h"
#include <stdatomic.h>
#include <stdio.h>
#define LOG_MODULE "api"

static const double of_requests[] = { 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10,
	15, 20, 30, 45, 60 };
static const double of_webhooks[] = { 0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25 };
#define BOUNDS_MAX ARRAY_LEN(of_requests)
#define PRODUCERS_MAX 16

static const struct {
	const char *name, *help;
	const double *bounds; /* NULL: a counter, else a histogram */
	size_t n_bounds;
} families[METRICS_N] = {
	[METRIC_REQUESTS] = { "apiserver_request_total", "Requests answered." },
	[METRIC_REQUEST_SECONDS] = { "apiserver_request_duration_seconds", "Time until the answer.", of_requests,
		ARRAY_LEN(of_requests) },
	[METRIC_WEBHOOK_SECONDS] = { "apiserver_admission_webhook_admission_duration_seconds",
		"Time that an admission webhook took.", of_webhooks, ARRAY_LEN(of_webhooks) },
	[METRIC_WEBHOOK_REJECTIONS] = { "apiserver_admission_webhook_rejection_count",
		"Requests that an admission webhook, or its failure, refused." },
	[METRIC_WEBHOOK_FAIL_OPEN] = { "apiserver_admission_webhook_fail_open_count",
		"Requests that passed because a webhook that failed may be ignored." },
};

struct series {
	uint64_t count;
	double sum;
	uint64_t bucket[BOUNDS_MAX];
};

struct metrics {
	struct task_mutex lock;
	struct map *families[METRICS_N]; /* labels → a count, or a series */
	struct {
		void (*write)(void *arg, struct buf *out);
		void *arg;
	} more[PRODUCERS_MAX];
	size_t n_more;
	_Atomic int64_t inflight[2]; /* readOnly, mutating */
};

struct metrics *metrics_new(void)
{
	struct metrics *m = xcalloc(1, sizeof(*m));

	task_mutex_init(&m->lock);
	for (size_t i = 0; i < METRICS_N; i++)
		m->families[i] = map_new(free);
	return m;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < METRICS_N; i++)
		map_free(m->families[i]);
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

void metrics_count(struct metrics *m, enum metric family, const char *labels)
{
	task_lock(&m->lock);
	++*(uint64_t *)need(m->families[family], str_c(labels), sizeof(uint64_t));
	task_unlock(&m->lock);
}

void metrics_observe(struct metrics *m, enum metric family, const char *labels, double seconds)
{
	struct series *d;

	task_lock(&m->lock);
	d = need(m->families[family], str_c(labels), sizeof(*d));
	d->count++;
	d->sum += seconds;
	for (size_t i = 0; i < families[family].n_bounds; i++)
		d->bucket[i] += seconds <= families[family].bounds[i];
	task_unlock(&m->lock);
}

static bool is_long(const struct rq *rq)
{
	return rq->verb == V_WATCH || (rq->subres && rq->subres->relay);
}

void metrics_began(struct metrics *m, struct rq *rq)
{
	if (is_long(rq))
		return;
	rq->inflight = rq->verb == V_GET || rq->verb == V_LIST ? INFLIGHT_READ_ONLY : INFLIGHT_MUTATING;
	m->inflight[rq->inflight == INFLIGHT_MUTATING]++;
}

void metrics_ended(struct metrics *m, const struct rq *rq)
{
	if (rq->inflight)
		m->inflight[rq->inflight == INFLIGHT_MUTATING]--;
}

void metrics_record(struct metrics *m, const struct rq *rq, int status)
{
	static const char *const http_verbs[] = { "", "GET", "LIST", "WATCH", "POST", "PUT", "PATCH", "DELETE",
		"DELETECOLLECTION", "CONNECT" };
	char labels[512], with_code[560];
	const char *scope = !rq->resource_request ? "" : rq->name.n ? "resource" : rq->ns.n ? "namespace" : "cluster";

	if (!rq->res && rq->resource_request)
		return; /* names that a client invents are no labels */
	snprintf(labels, sizeof(labels),
		"component=\"apiserver\",dry_run=\"\",group=\"%s\",resource=\"%s\",scope=\"%s\",subresource=\"%.*s\",verb=\"%s\",version=\"%s\"",
		rq->res ? rq->res->def.group : "", rq->res ? rq->res->def.resource : "", scope,
		rq->subres ? (int)rq->sub.n : 0, rq->subres ? rq->sub.p : "", rq->res ? http_verbs[rq->verb] : "GET",
		rq->res ? rq->res->def.version : "");
	snprintf(with_code, sizeof(with_code), "code=\"%d\",%s", status, labels);
	metrics_count(m, METRIC_REQUESTS, with_code);
	if (!is_long(rq))
		metrics_observe(m, METRIC_REQUEST_SECONDS, labels, (double)(mono_now().ns - rq->began.ns) / 1e9);
}

static void write_series(
	const char *name, struct str labels, const struct series *d, const double *bounds, size_t n, struct buf *b)
{
	for (size_t k = 0; k < n; k++)
		buf_printf(b, "%s_bucket{%.*s,le=\"%g\"} %llu\n", name, STR_ARG(labels), bounds[k],
			(unsigned long long)d->bucket[k]);
	buf_printf(b, "%s_bucket{%.*s,le=\"+Inf\"} %llu\n", name, STR_ARG(labels), (unsigned long long)d->count);
	buf_printf(b, "%s_sum{%.*s} %g\n", name, STR_ARG(labels), d->sum);
	buf_printf(b, "%s_count{%.*s} %llu\n", name, STR_ARG(labels), (unsigned long long)d->count);
}

static void write_family(struct metrics *m, enum metric family, struct buf *b)
{
	const char *name = families[family].name;
	const double *bounds = families[family].bounds;
	struct str key;
	void *value;

	buf_printf(
		b, "# HELP %s %s\n# TYPE %s %s\n", name, families[family].help, name, bounds ? "histogram" : "counter");
	for (size_t i = 0; map_next(m->families[family], &i, &key, &value);)
		if (bounds)
			write_series(name, key, value, bounds, families[family].n_bounds, b);
		else
			buf_printf(b, "%s{%.*s} %llu\n", name, STR_ARG(key), (unsigned long long)*(uint64_t *)value);
}

static void write_inflight(struct metrics *m, struct buf *b)
{
	buf_printf(b,
		"# HELP apiserver_current_inflight_requests Requests that are not answered yet.\n"
		"# TYPE apiserver_current_inflight_requests gauge\n"
		"apiserver_current_inflight_requests{request_kind=\"mutating\"} %lld\n"
		"apiserver_current_inflight_requests{request_kind=\"readOnly\"} %lld\n",
		(long long)m->inflight[1], (long long)m->inflight[0]);
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

static void write_store(struct rq *rq, struct buf *b)
{
	static const char name[] = "kogge_store_stage_duration_seconds";
	struct store_times times[STORE_STAGES_N];

	store_times(rq->api->opts.store, times);
	buf_printf(b, "# HELP %s Time that the store spent at a stage of its work.\n# TYPE %s histogram\n", name, name);
	for (int i = 0; i < STORE_STAGES_N; i++) {
		const char *stage = store_stage_name((enum store_stage)i);
		int64_t n = 0;

		for (size_t k = 0; k < STORE_BOUNDS; k++)
			buf_printf(b, "%s_bucket{stage=\"%s\",le=\"%g\"} %lld\n", name, stage,
				(double)store_bound_ns(k) / 1e9, (long long)(n += times[i].count[k]));
		n += times[i].count[STORE_BOUNDS];
		buf_printf(b, "%s_bucket{stage=\"%s\",le=\"+Inf\"} %lld\n", name, stage, (long long)n);
		buf_printf(b, "%s_sum{stage=\"%s\"} %g\n", name, stage, (double)times[i].sum_ns / 1e9);
		buf_printf(b, "%s_count{stage=\"%s\"} %lld\n", name, stage, (long long)n);
	}
}

void metrics_answer(struct rq *rq)
{
	struct metrics *m = rq->api->metrics;
	struct buf b = BUF_INIT;

	task_lock(&m->lock);
	for (size_t i = 0; i < METRICS_N; i++)
		write_family(m, (enum metric)i, &b);
	size_t n = m->n_more;
	task_unlock(&m->lock);
	write_inflight(m, &b);
	write_objects(rq, &b);
	write_store(rq, &b);
	for (size_t i = 0; i < n; i++)
		m->more[i].write(m->more[i].arg, &b);
	reply_buf(rq, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

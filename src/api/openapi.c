/* OpenAPI documents: made when first asked for, on a lane's thread, and kept compressed. */
#include "api/aggregate/aggregate.h"
#include "api/custom/custom.h"
#include <stdio.h>
#define LOG_MODULE "api"

struct openapi_cache {
	struct task_mutex lock;
	struct map *docs; /* "v2", "v2.pb", "apps/v1" → struct kept */
};

struct kept {
	int64_t table_version;
	struct buf gz;
};

static void kept_end(void *value)
{
	struct kept *k = value;

	if (!k)
		return;
	buf_fini(&k->gz);
	free(k);
}

static struct openapi_cache *cache_of(struct api *api)
{
	task_lock(&api->lock);
	if (!api->openapi) {
		api->openapi = xcalloc(1, sizeof(*api->openapi));
		task_mutex_init(&api->openapi->lock);
		api->openapi->docs = map_new(kept_end);
	}
	task_unlock(&api->lock);
	return api->openapi;
}

void openapi_free(struct openapi_cache *o)
{
	if (!o)
		return;
	map_free(o->docs);
	task_mutex_fini(&o->lock);
	free(o);
}

static const char *const *verb_list(struct rq *rq, unsigned verbs)
{
	const char **list = ARENA_ARRAY(rq->a, const char *, 12);
	size_t n = 0;

	for (enum verb v = V_GET; v <= V_DELETE_COLLECTION; v++)
		if (verbs & VERB_BIT(v))
			list[n++] = verb_name(v);
	return list;
}

/* Those that this server serves. */
static struct resource **own_rows(struct rq *rq, size_t *ret_n)
{
	struct resource **rows = api_resources(rq->api, rq->a, ret_n);
	struct aggregate other;
	size_t n = 0;

	for (size_t i = 0; i < *ret_n; i++)
		if (!aggregates_find(rq->api, rq->a, str_c(rows[i]->def.group), str_c(rows[i]->def.version), &other))
			rows[n++] = rows[i];
	*ret_n = n;
	return rows;
}

static struct openapi_resource *collect(struct rq *rq, size_t *ret_n)
{
	size_t rows_n, n = 0;
	struct resource **rows = own_rows(rq, &rows_n);
	struct openapi_resource *out = ARENA_ARRAY(rq->a, struct openapi_resource, rows_n * 2);

	for (size_t i = 0; i < rows_n; i++) {
		const struct resource_def *d = &rows[i]->def;
		const struct subresource *st = resource_sub(rows[i], STR("status"));
		out[n] = (struct openapi_resource){ .group = d->group,
			.version = d->version,
			.resource = d->resource,
			.singular = d->singular,
			.kind = d->kind,
			.namespaced = d->namespaced,
			.verbs = verb_list(rq, d->verbs),
			.type = rows[i]->type };
		if (rows[i]->custom) {
			out[n].list_type = schema_custom_list_type(rows[i]->custom->schema);
			struct doc *crd = custom_crd(rows[i]->custom);
			doc_hold(rq->a, crd);
			out[n].schema = crd ? custom_schema(rows[i]->custom, crd) : VAL_NONE;
		}
		n++;
		if (!st)
			continue;
		out[n] = out[n - 1];
		out[n].sub = "status";
		out[n++].verbs = verb_list(rq, st->verbs);
	}
	*ret_n = n;
	return out;
}

static const char server_version[] = "v1.34.0+kogge" KOGGE_VERSION;

static bool generate(struct rq *rq, struct str name, struct buf *out)
{
	size_t n;
	struct openapi_resource *r = collect(rq, &n);

	if (str_is(name, "v2") || str_is(name, "v2.pb")) {
		struct openapi_source s = { .r = r, .n = n, .server_version = server_version };
		struct val *others;

		s.n_others = aggregates_openapi(rq->api, rq->a, &others);
		s.others = others;
		return (str_is(name, "v2") ? openapi_v2_json : openapi_v2_protobuf)(&s, out) >= 0;
	}
	struct str group, version = str_cut(name, '/', &group);
	char g[256], v[64];
	snprintf(g, sizeof(g), "%.*s", STR_ARG(group));
	snprintf(v, sizeof(v), "%.*s", STR_ARG(version));
	return openapi_v3_json(r, n, g, v, server_version, out) >= 0;
}

/* Own (arena): the compressed document, made now when it is not there. */
static bool document(struct rq *rq, struct str name, struct str *gz)
{
	struct openapi_cache *c = cache_of(rq->api);
	int64_t version = __atomic_load_n(&rq->api->table_version, __ATOMIC_ACQUIRE);
	struct buf plain = { .max = (size_t)64 << 20 };

	task_lock(&c->lock);
	struct kept *k = map_get(c->docs, name);
	if (k && k->table_version == version)
		*gz = arena_str(rq->a, buf_view(&k->gz));
	task_unlock(&c->lock);
	if (gz->n)
		return true;
	struct kept *made = xcalloc(1, sizeof(*made));
	made->gz = BUF_INIT;
	made->table_version = version;
	bool ok = generate(rq, name, &plain) && gzip_bytes(buf_view(&plain), &made->gz, 6);
	buf_fini(&plain);
	if (!ok) {
		kept_end(made);
		return false;
	}
	/* The bound for compression is the plain size: keep what is used. */
	made->gz.p = xrealloc(made->gz.p, made->gz.n + 1, 1);
	made->gz.cap = made->gz.n + 1;
	*gz = arena_str(rq->a, buf_view(&made->gz));
	task_lock(&c->lock);
	map_put(c->docs, name, made);
	task_unlock(&c->lock);
	return true;
}

static void send(struct rq *rq, struct str gz, const char *type)
{
	bool gzip = str_has(rq_header(rq, "accept-encoding"), STR("gzip"));
	struct http_header h[4];
	struct str body = gz;
	size_t n = 0;
	char etag[40];

	snprintf(etag, sizeof(etag), "\"%016llX\"", (unsigned long long)str_hash(gz));
	h[n++] = (struct http_header){ STR("etag"), arena_str(rq->a, str_c(etag)) };
	h[n++] = (struct http_header){ STR("vary"), STR("Accept-Encoding, Accept") };
	if (reply_not_modified(rq, h, n))
		return;
	if (gzip) {
		h[n++] = (struct http_header){ STR("content-encoding"), STR("gzip") };
	} else {
		struct buf plain = BUF_INIT;
		gunzip_bytes(gz, &plain);
		arena_hold(rq->a, plain.p, free);
		body = buf_view(&plain);
	}
	/* Already compressed: reply_bytes() would do it again for a large body. */
	rq->gzip = gzip;
	reply_bytes(rq, 200, type, h, n, body);
}

static void run(struct rq *rq)
{
	struct str gz = STR_NULL, name = rq->sub_path;
	struct err e;

	err_init(&e);
	if (!document(rq, name, &gz)) {
		err_set(&e, ERR_INTERNAL, "the OpenAPI document \"%.*s\" could not be made", STR_ARG(name));
		reply_error(rq, &e);
		return;
	}
	if (str_is(name, "v2.pb"))
		send(rq, gz, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
	else
		send(rq, gz, "application/json");
}

static void index_others(struct rq *rq, bool *any, struct buf *b)
{
	size_t n;
	struct aggregate *others = aggregates_list(rq->api, rq->a, &n);

	for (size_t i = 0; i < n; i++) {
		struct str url = aggregates_openapi_url(rq->api, rq->a, &others[i]);

		if (!url.n)
			continue;
		buf_printf(b, "%s\"apis/%s/%s\":{\"serverRelativeURL\":", *any ? "," : "", others[i].group,
			others[i].version);
		buf_json(b, url);
		buf_byte(b, '}');
		*any = true;
	}
}

static void index_v3(struct rq *rq)
{
	size_t n;
	struct resource **rows = own_rows(rq, &n);
	struct buf b = BUF_INIT;
	int64_t version = __atomic_load_n(&rq->api->table_version, __ATOMIC_ACQUIRE);
	bool more = false;

	buf_c(&b, "{\"paths\":{");
	for (size_t i = 0; i < n; i++) {
		const char *av = rows[i]->api_version, *prefix = rows[i]->def.group[0] ? "apis" : "api";
		bool seen = false;
		for (size_t k = 0; k < i; k++)
			seen |= !strcmp(rows[k]->api_version, av);
		if (seen)
			continue;
		uint64_t hash = str_hash(str_c(av)) ^ str_hash(str_c(server_version)) ^ (uint64_t)version;
		buf_printf(&b, "%s\"%s/%s\":{\"serverRelativeURL\":\"/openapi/v3/%s/%s?hash=%016llX\"}",
			more ? "," : "", prefix, av, prefix, av, (unsigned long long)hash);
		more = true;
	}
	index_others(rq, &more, &b);
	buf_c(&b, "}}");
	reply_buf(rq, 200, "application/json", &b);
}

static bool served(struct rq *rq, struct str group, struct str version)
{
	size_t n;
	struct resource **rows = api_resources(rq->api, rq->a, &n);

	for (size_t i = 0; i < n; i++)
		if (str_is(group, rows[i]->def.group) && str_is(version, rows[i]->def.version))
			return true;
	return false;
}

static void later(struct rq *rq, struct str name)
{
	rq->sub_path = name;
	rq->lane = LANE_EXEMPT;
	rq->run = run;
	lanes_submit(rq->api->lanes, rq);
}

bool openapi_answer(struct rq *rq)
{
	struct str p = rq->path;

	if (str_is(p, "/openapi/v2")) {
		later(rq, str_has(rq->accept, STR("protobuf")) ? STR("v2.pb") : STR("v2"));
		return true;
	}
	if (str_is(p, "/openapi/v3") || str_is(p, "/openapi/v3/")) {
		index_v3(rq);
		return true;
	}
	if (!str_starts(p, STR("/openapi/v3/api")))
		return false;
	struct str rest = str_sub(p, 12, p.n), head, group = STR("");
	struct str version = str_cut(rest, '/', &head);
	if (str_is(head, "apis"))
		version = str_cut(version, '/', &group);
	if (!served(rq, group, version))
		return false;
	later(rq, arena_strf(rq->a, "%.*s/%.*s", STR_ARG(group), STR_ARG(version)));
	return true;
}

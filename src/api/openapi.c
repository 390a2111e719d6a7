/* OpenAPI documents: made when first asked for, on a lane's thread, and kept compressed.
 *
 * The index of version 3 names each document with a hash of it: who asks with that hash may keep the answer for good. So the
 * index needs all of them, and those stay of which nothing has changed. */
#include "api/aggregate/aggregate.h"
#include "api/custom/custom.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <zlib.h>
#define LOG_MODULE "api"

struct openapi_cache {
	struct task_mutex lock;
	struct map *docs; /* "v2", "v2.pb", "apps/v1" → struct kept */
};

struct kept {
	atomic_uint refs; /* the cache's, and of answers */
	char *from, *etag;
	struct buf gz;
	size_t plain_n;
};

static void kept_unref(void *value)
{
	struct kept *k = value;

	if (!k || atomic_fetch_sub(&k->refs, 1) != 1)
		return;
	buf_fini(&k->gz);
	free(k->from);
	free(k->etag);
	free(k);
}

static struct openapi_cache *cache_of(struct api *api)
{
	task_lock(&api->lock);
	if (!api->openapi) {
		api->openapi = xcalloc(1, sizeof(*api->openapi));
		task_mutex_init(&api->openapi->lock);
		api->openapi->docs = map_new(kept_unref);
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

/* Those that a document tells of: "apps/v1" of its own, "v2" of all. */
static struct resource **rows_of(struct rq *rq, struct str name, size_t *ret_n)
{
	struct str group, version = str_cut(name, '/', &group);
	struct resource **rows = own_rows(rq, ret_n);
	size_t n = 0;

	for (size_t i = 0; i < *ret_n; i++)
		if (!version.p || (str_is(group, rows[i]->def.group) && str_is(version, rows[i]->def.version)))
			rows[n++] = rows[i];
	*ret_n = n;
	return rows;
}

static struct openapi_resource *collect(struct rq *rq, struct str name, size_t *ret_n)
{
	size_t rows_n, n = 0;
	struct resource **rows = rows_of(rq, name, &rows_n);
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
	struct openapi_resource *r = collect(rq, name, &n);

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

/* Another text where a document would be another. */
static struct str made_from(struct rq *rq, struct str name)
{
	struct buf b = BUF_INIT;
	size_t n;

	if (!str_has(name, STR("/")))
		return str_c(rq_f(rq, "%" PRId64, __atomic_load_n(&rq->api->table_version, __ATOMIC_ACQUIRE)));
	struct resource **rows = rows_of(rq, name, &n);
	for (size_t i = 0; i < n; i++) {
		auto_(doc_unref) struct doc *crd = rows[i]->custom ? custom_crd(rows[i]->custom) : NULL;
		buf_printf(&b, "%s", rows[i]->def.resource);
		if (crd)
			buf_printf(&b, " %.*s %" PRId64, STR_ARG(doc_uid(crd)),
				val_int(doc_get(crd, "metadata.generation"), 0));
		buf_byte(&b, '\n');
	}
	arena_hold(rq->a, b.p, free);
	return buf_view(&b);
}

static bool make(struct rq *rq, struct str name, struct kept *k)
{
	struct buf plain = { .max = (size_t)64 << 20 };
	bool ok = generate(rq, name, &plain) && gzip_bytes(buf_view(&plain), &k->gz, 6);

	k->plain_n = plain.n;
	if (ok)
		k->etag = str_dup(reply_etag(rq, buf_view(&plain)));
	buf_fini(&plain);
	return ok;
}

/* As long as the request lasts. */
static const struct kept *hold(struct rq *rq, struct kept *k)
{
	atomic_fetch_add(&k->refs, 1);
	arena_hold(rq->a, k, kept_unref);
	return k;
}

static const struct kept *find(struct rq *rq, struct str name, struct str from)
{
	struct openapi_cache *c = cache_of(rq->api);

	task_lock(&c->lock);
	struct kept *k = map_get(c->docs, name);
	const struct kept *found = k && str_is(from, k->from) ? hold(rq, k) : NULL;
	task_unlock(&c->lock);
	return found;
}

/* Made now when it is not there. NULL: that failed. */
static const struct kept *document(struct rq *rq, struct str name)
{
	struct openapi_cache *c = cache_of(rq->api);
	struct str from = made_from(rq, name);
	const struct kept *found = find(rq, name, from);

	if (found)
		return found;
	struct kept *made = xcalloc(1, sizeof(*made));
	atomic_store(&made->refs, 1);
	made->gz = BUF_INIT;
	made->from = str_dup(from);
	if (!make(rq, name, made)) {
		kept_unref(made);
		return NULL;
	}
	/* The bound for compression is the plain size: keep what is used. */
	made->gz.p = xrealloc(made->gz.p, made->gz.n + 1, 1);
	made->gz.cap = made->gz.n + 1;
	found = hold(rq, made);
	task_lock(&c->lock);
	map_put(c->docs, name, made);
	task_unlock(&c->lock);
	return found;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* The plain text is made while it is sent: it has megabytes, and a client may leave it unread. */
struct unpacking {
	struct rq *rq;
	z_stream z;
	unsigned char block[8192];
};

static struct str unpack_next(void *owner)
{
	struct unpacking *u = owner;

	u->z.next_out = u->block;
	u->z.avail_out = sizeof(u->block);
	inflate(&u->z, Z_NO_FLUSH);
	return str_n((const char *)u->block, sizeof(u->block) - u->z.avail_out);
}

static void unpack_end(void *owner)
{
	rq_free(((struct unpacking *)owner)->rq);
}

static void inflate_end(void *z)
{
	inflateEnd(z);
}

static void send(struct rq *rq, const struct kept *k, const char *type)
{
	struct http_header h[4];
	size_t n = 0;

	h[n++] = (struct http_header){ STR("etag"), str_c(k->etag) };
	h[n++] = (struct http_header){ STR("vary"), STR("Accept-Encoding, Accept") };
	if (reply_not_modified(rq, h, n))
		return;
	if (str_has(rq_header(rq, "accept-encoding"), STR("gzip"))) {
		h[n++] = (struct http_header){ STR("content-encoding"), STR("gzip") };
		rq->gzip = true; /* it is: reply_bytes() would do it again for a large body */
		reply_bytes(rq, 200, type, h, n, buf_view(&k->gz));
		return;
	}
	struct unpacking *u = ARENA_NEW(rq->a, struct unpacking);
	u->rq = rq;
	u->z.next_in = (unsigned char *)k->gz.p;
	u->z.avail_in = (unsigned)k->gz.n;
	if (inflateInit2(&u->z, 15 + 16) != Z_OK)
		PANIC("no memory to unpack an OpenAPI document");
	arena_hold(rq->a, &u->z, inflate_end);
	reply_source(rq, type, h, n,
		&(struct net_source){ .n = k->plain_n, .next = unpack_next, .end = unpack_end, .owner = u });
}

/* Its tag without quotes. */
static struct str hash_of(const struct kept *k)
{
	return str_n(k->etag + 1, strlen(k->etag) - 2);
}

/* The place of a document in this state: whoever asks there may keep it. */
static struct str place_of(struct rq *rq, struct str path, const struct kept *k)
{
	return arena_strf(rq->a, "%.*s?hash=%.*s", STR_ARG(path), STR_ARG(hash_of(k)));
}

static void moved(struct rq *rq, struct str to)
{
	struct http_header h[] = { { STR("location"), to } };
	struct str text = arena_strf(rq->a, "<a href=\"%.*s\">Moved Permanently</a>.\n\n", STR_ARG(to));

	reply_bytes(rq, 301, "text/html; charset=utf-8", h, 1, text);
}

static const struct kept *document_or_error(struct rq *rq, struct str name)
{
	const struct kept *k = document(rq, name);
	struct err e;

	if (k)
		return k;
	err_init(&e);
	err_set(&e, ERR_INTERNAL, "the OpenAPI document \"%.*s\" could not be made", STR_ARG(name));
	reply_error(rq, &e);
	return NULL;
}

static void run_v2(struct rq *rq)
{
	const struct kept *k = document_or_error(rq, rq->sub_path);

	if (k)
		send(rq, k,
			str_is(rq->sub_path, "v2.pb") ? "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" :
							"application/json");
}

static void run_v3(struct rq *rq)
{
	struct str hash = rq_param(rq, "hash");

	if (!accepts(rq, "application/json")) {
		reply_bytes(rq, 406, NULL, NULL, 0, STR_NULL);
		return;
	}
	const struct kept *k = document_or_error(rq, rq->sub_path);
	if (!k)
		return;
	rq->immutable = str_eq(hash, hash_of(k));
	if (hash.n && !rq->immutable)
		moved(rq, place_of(rq, rq->path, k));
	else
		send(rq, k, "application/json");
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

static void run_index(struct rq *rq)
{
	size_t n;
	struct resource **rows = own_rows(rq, &n);
	struct buf b = BUF_INIT;
	bool more = false;

	buf_c(&b, "{\"paths\":{");
	for (size_t i = 0; i < n; i++) {
		const struct resource_def *def = &rows[i]->def;
		bool seen = false;
		for (size_t k = 0; k < i; k++)
			seen |= !strcmp(rows[k]->api_version, rows[i]->api_version);
		const struct kept *doc =
			seen ? NULL : document(rq, arena_strf(rq->a, "%s/%s", def->group, def->version));
		if (!doc)
			continue;
		struct str name = arena_strf(rq->a, "%s/%s", def->group[0] ? "apis" : "api", rows[i]->api_version);
		buf_printf(&b, "%s\"%.*s\":{\"serverRelativeURL\":", more ? "," : "", STR_ARG(name));
		buf_json(&b, place_of(rq, arena_strf(rq->a, "/openapi/v3/%.*s", STR_ARG(name)), doc));
		buf_byte(&b, '}');
		more = true;
	}
	index_others(rq, &more, &b);
	buf_c(&b, "}}");
	struct http_header etag = { STR("etag"), reply_etag(rq, buf_view(&b)) };
	arena_hold(rq->a, b.p, free);
	if (!reply_not_modified(rq, &etag, 1))
		reply_bytes(rq, 200, "application/json", &etag, 1, buf_view(&b));
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

static void later(struct rq *rq, struct str name, void (*run)(struct rq *rq))
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
		later(rq, str_has(rq->accept, STR("protobuf")) ? STR("v2.pb") : STR("v2"), run_v2);
		return true;
	}
	if (str_is(p, "/openapi/v3") || str_is(p, "/openapi/v3/")) {
		later(rq, STR_NULL, run_index);
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
	later(rq, arena_strf(rq->a, "%.*s/%.*s", STR_ARG(group), STR_ARG(version)), run_v3);
	return true;
}

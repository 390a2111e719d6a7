/* Discovery: which groups, versions and resources are served; the old lists and the aggregated document. */
#include "api/aggregate/aggregate.h"
#include "api/auth/auth.h"
#include "api_commit.h"
#include <inttypes.h>
#include <stdio.h>
#define LOG_MODULE "api"

struct table {
	struct resource **rows;
	size_t n;
	struct aggregate *others; /* served by other servers */
	size_t n_others;
};

static bool is_other(const struct table *t, const char *group, const char *version)
{
	for (size_t i = 0; i < t->n_others; i++)
		if (!strcmp(t->others[i].group, group) && !strcmp(t->others[i].version, version))
			return true;
	return false;
}

static bool has_group(const struct table *t, const char *group)
{
	for (size_t i = 0; i < t->n; i++)
		if (!strcmp(t->rows[i]->def.group, group))
			return true;
	return false;
}

/* v2 before v1 before v1beta2 before v1alpha1 before what is no such name. */
static int64_t version_rank(const char *version)
{
	int64_t major = 0, minor = 0;
	char stage[6] = "";
	int used = 0, n;

	if (sscanf(version, "v%6" SCNd64 "%n", &major, &used) != 1 || !major)
		return 0;
	if (!version[used])
		return 3000000000 + major * 1000;
	n = sscanf(version + used, "%5[a-z]%3" SCNd64, stage, &minor);
	if (n != 2 || (strcmp(stage, "beta") != 0 && strcmp(stage, "alpha") != 0))
		return 0;
	return (strcmp(stage, "beta") ? 1000000000 : 2000000000) + major * 1000 + minor;
}

/* < 0: version a comes before b. */
static int version_order(const char *a, const char *b)
{
	int64_t x = version_rank(a), y = version_rank(b);

	return x != y ? (x < y ? 1 : -1) : strcmp(a, b);
}

static int row_order(const void *a, const void *b)
{
	const struct resource_def *x = &(*(struct resource *const *)a)->def, *y = &(*(struct resource *const *)b)->def;
	int by_group = strcmp(x->group, y->group), by_version = version_order(x->version, y->version);

	return by_group ? by_group : by_version ? by_version : strcmp(x->resource, y->resource);
}

static int other_order(const void *a, const void *b)
{
	const struct aggregate *x = a, *y = b;
	int by_group = strcmp(x->group, y->group);

	return by_group ? by_group : version_order(x->version, y->version);
}

/* Clients take the first of two kinds with the same name: so builtin ones stand in front, in their order, and the others by
 * name, whichever came first or changed last. */
static void order(struct table *t)
{
	struct resource **custom = t->rows;

	while (custom < t->rows + t->n && !(*custom)->custom)
		custom++;
	qsort(custom, (size_t)(t->rows + t->n - custom), sizeof(*custom), row_order);
	if (t->n_others)
		qsort(t->others, t->n_others, sizeof(*t->others), other_order);
}

/* The first of a group that only other servers serve. */
static bool first_of_others(const struct table *t, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (!strcmp(t->others[k].group, t->others[i].group))
			return false;
	return !has_group(t, t->others[i].group);
}

static struct table table_of(struct rq *rq)
{
	struct table t;

	size_t n;

	t.others = aggregates_list(rq->api, rq->a, &t.n_others);
	t.rows = api_resources(rq->api, rq->a, &n);
	t.n = 0;
	for (size_t i = 0; i < n; i++)
		if (!is_other(&t, t.rows[i]->def.group, t.rows[i]->def.version))
			t.rows[t.n++] = t.rows[i];
	order(&t);
	return t;
}

static void verbs_json(unsigned verbs, struct buf *b)
{
	static const enum verb order[] = { V_CREATE, V_DELETE, V_DELETE_COLLECTION, V_GET, V_LIST, V_PATCH, V_UPDATE,
		V_WATCH };
	bool first = true;

	buf_byte(b, '[');
	if (verbs & VERB_BIT(V_CONNECT)) {
		buf_c(b, "\"create\",\"get\"");
		first = false;
	}
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		if (!(verbs & VERB_BIT(order[i])))
			continue;
		buf_printf(b, "%s\"%s\"", first ? "" : ",", verb_name(order[i]));
		first = false;
	}
	buf_byte(b, ']');
}

static void list_json(const char *key, const char *const *list, struct buf *b)
{
	if (!list)
		return;
	buf_printf(b, ",\"%s\":[", key);
	for (size_t i = 0; list[i]; i++)
		buf_printf(b, "%s\"%s\"", i ? "," : "", list[i]);
	buf_byte(b, ']');
}

static bool first_of_group(const struct table *t, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (!strcmp(t->rows[k]->def.group, t->rows[i]->def.group))
			return false;
	return true;
}

static bool first_of_version(const struct table *t, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (!strcmp(t->rows[k]->api_version, t->rows[i]->api_version))
			return false;
	return true;
}

static void other_versions(const struct table *t, const char *group, bool more, struct buf *b)
{
	for (size_t i = 0; i < t->n_others; i++) {
		const struct aggregate *o = &t->others[i];

		if (strcmp(o->group, group) != 0)
			continue;
		buf_printf(b, "%s{\"groupVersion\":\"%s/%s\",\"version\":\"%s\"}", more ? "," : "", group, o->version,
			o->version);
		more = true;
	}
}

static void other_group_json(const struct table *t, const struct aggregate *o, bool with_kind, struct buf *b)
{
	buf_c(b, with_kind ? "{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\"," : "{");
	buf_printf(b, "\"name\":\"%s\",\"versions\":[", o->group);
	other_versions(t, o->group, false, b);
	buf_printf(b, "],\"preferredVersion\":{\"groupVersion\":\"%s/%s\",\"version\":\"%s\"}}", o->group, o->version,
		o->version);
}

static void group_json(const struct table *t, size_t first, bool with_kind, struct buf *b)
{
	const char *group = t->rows[first]->def.group;
	bool more = false;

	buf_c(b, with_kind ? "{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\"," : "{");
	buf_printf(b, "\"name\":\"%s\",\"versions\":[", group);
	for (size_t i = first; i < t->n; i++) {
		const struct resource *r = t->rows[i];
		if (strcmp(r->def.group, group) || !first_of_version(t, i))
			continue;
		buf_printf(b, "%s{\"groupVersion\":\"%s\",\"version\":\"%s\"}", more ? "," : "", r->api_version,
			r->def.version);
		more = true;
	}
	other_versions(t, group, more, b);
	buf_printf(b, "],\"preferredVersion\":{\"groupVersion\":\"%s\",\"version\":\"%s\"}}",
		t->rows[first]->api_version, t->rows[first]->def.version);
}

static void answer(struct rq *rq, struct buf *b)
{
	reply_buf(rq, 200, "application/json", b);
}

static void groups(struct rq *rq)
{
	struct table t = table_of(rq);
	struct buf b = BUF_INIT;
	bool more = false;

	buf_c(&b, "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[");
	for (size_t i = 0; i < t.n; i++) {
		if (!t.rows[i]->def.group[0] || !first_of_group(&t, i))
			continue;
		if (more)
			buf_byte(&b, ',');
		more = true;
		group_json(&t, i, false, &b);
	}
	for (size_t i = 0; i < t.n_others; i++)
		if (first_of_others(&t, i)) {
			buf_c(&b, more ? "," : "");
			more = true;
			other_group_json(&t, &t.others[i], false, &b);
		}
	buf_c(&b, "]}");
	answer(rq, &b);
}

static bool one_group(struct rq *rq, struct str group)
{
	struct table t = table_of(rq);
	struct buf b = BUF_INIT;

	for (size_t i = 0; group.n && i < t.n; i++)
		if (str_is(group, t.rows[i]->def.group)) {
			group_json(&t, i, true, &b);
			answer(rq, &b);
			return true;
		}
	for (size_t i = 0; i < t.n_others; i++)
		if (str_is(group, t.others[i].group)) {
			other_group_json(&t, &t.others[i], true, &b);
			answer(rq, &b);
			return true;
		}
	return false;
}

static void resource_json(const struct resource *r, struct buf *b)
{
	const struct resource_def *d = &r->def;

	buf_printf(b,
		"{\"name\":\"%s\",\"singularName\":\"%s\",\"namespaced\":%s,\"kind\":\"%s\",\"verbs\":", d->resource,
		d->singular, d->namespaced ? "true" : "false", d->kind);
	verbs_json(d->verbs, b);
	list_json("shortNames", d->short_names, b);
	list_json("categories", d->categories, b);
	if (r->stored->cache)
		buf_printf(b, ",\"storageVersionHash\":\"%s\"", r->stored->storage_hash);
	buf_byte(b, '}');
	for (const struct subresource *s = d->subs; s && s->name; s++) {
		buf_printf(b, ",{\"name\":\"%s/%s\",\"singularName\":\"\",\"namespaced\":%s,", d->resource, s->name,
			d->namespaced ? "true" : "false");
		if (s->kind && s->group[0])
			buf_printf(b, "\"group\":\"%s\",\"version\":\"%s\",", s->group, s->version);
		buf_printf(b, "\"kind\":\"%s\",\"verbs\":", s->kind ? s->kind : d->kind);
		verbs_json(s->verbs, b);
		buf_byte(b, '}');
	}
}

static bool resource_list(struct rq *rq, struct str group, struct str version)
{
	struct table t = table_of(rq);
	struct buf b = BUF_INIT;
	bool more = false;

	for (size_t i = 0; i < t.n; i++) {
		const struct resource *r = t.rows[i];
		if (!str_is(group, r->def.group) || !str_is(version, r->def.version))
			continue;
		if (!more)
			buf_printf(&b,
				"{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":\"%s\",\"resources\":[",
				r->api_version);
		else
			buf_byte(&b, ',');
		more = true;
		resource_json(r, &b);
	}
	if (!more)
		return false;
	buf_c(&b, "]}");
	answer(rq, &b);
	return true;
}

/* ---- the aggregated document ----------------------------------------------------------------- */

static void kind_json(const char *group, const char *version, const char *kind, struct buf *b)
{
	buf_printf(b, "\"responseKind\":{\"group\":\"%s\",\"version\":\"%s\",\"kind\":\"%s\"}", group, version, kind);
}

static void aggregated_resource(const struct resource *r, struct buf *b)
{
	const struct resource_def *d = &r->def;

	buf_printf(b, "{\"resource\":\"%s\",", d->resource);
	kind_json(d->group, d->version, d->kind, b);
	buf_printf(b,
		",\"scope\":\"%s\",\"singularResource\":\"%s\",\"verbs\":", d->namespaced ? "Namespaced" : "Cluster",
		d->singular);
	verbs_json(d->verbs, b);
	list_json("shortNames", d->short_names, b);
	list_json("categories", d->categories, b);
	for (const struct subresource *s = d->subs; s && s->name; s++) {
		buf_printf(b, "%s{\"subresource\":\"%s\",", s == d->subs ? ",\"subresources\":[" : ",", s->name);
		if (s->kind)
			kind_json(s->group, s->version, s->kind, b);
		else
			kind_json(d->group, d->version, d->kind, b);
		buf_c(b, ",\"verbs\":");
		verbs_json(s->verbs, b);
		buf_byte(b, '}');
	}
	if (d->subs && d->subs[0].name)
		buf_byte(b, ']');
	buf_byte(b, '}');
}

static void aggregated_version(const struct table *t, size_t first, struct buf *b)
{
	bool more = false;

	buf_printf(b, "{\"version\":\"%s\",\"resources\":[", t->rows[first]->def.version);
	for (size_t i = first; i < t->n; i++) {
		if (strcmp(t->rows[i]->api_version, t->rows[first]->api_version))
			continue;
		if (more)
			buf_byte(b, ',');
		more = true;
		aggregated_resource(t->rows[i], b);
	}
	buf_c(b, "],\"freshness\":\"Current\"}");
}

/* ---- what other servers said of theirs ------------------------------------------------------- */

static void strings(const char *key, struct val list, struct buf *b)
{
	if (val_len(list))
		buf_printf(b, ",\"%s\":%.*s", key, STR_ARG(val_text(list)));
}

static void response_kind(const struct aggregate *o, struct val r, struct buf *b)
{
	struct str group = val_str(val_get(r, "group")), version = val_str(val_get(r, "version"));

	buf_printf(b, "\"responseKind\":{\"group\":\"%.*s\",\"version\":\"%.*s\",\"kind\":\"%.*s\"}",
		STR_ARG(version.n ? group : str_c(o->group)), STR_ARG(version.n ? version : str_c(o->version)),
		STR_ARG(val_str(val_get(r, "kind"))));
}

static void other_subs(const struct aggregate *o, struct val all, struct str resource, struct buf *b)
{
	bool any = false;

	for (struct val_iter it = val_iter(all); val_next(&it);) {
		struct str head, sub = str_cut(val_str(val_get(it.val, "name")), '/', &head);

		if (!sub.n || !str_eq(head, resource))
			continue;
		buf_printf(b, "%s{\"subresource\":\"%.*s\",", any ? "," : ",\"subresources\":[", STR_ARG(sub));
		any = true;
		response_kind(o, it.val, b);
		strings("verbs", val_get(it.val, "verbs"), b);
		buf_byte(b, '}');
	}
	if (any)
		buf_byte(b, ']');
}

static void other_resources(const struct aggregate *o, struct buf *b)
{
	struct val all = o->list ? doc_get(o->list, "resources") : VAL_NONE;
	bool any = false;

	for (struct val_iter it = val_iter(all); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name"));

		if (str_has(name, STR("/")))
			continue;
		buf_printf(b, "%s{\"resource\":\"%.*s\",", any ? "," : "", STR_ARG(name));
		any = true;
		response_kind(o, it.val, b);
		buf_printf(b, ",\"scope\":\"%s\",\"singularResource\":\"%.*s\"",
			val_bool(val_get(it.val, "namespaced"), false) ? "Namespaced" : "Cluster",
			STR_ARG(val_str(val_get(it.val, "singularName"))));
		strings("verbs", val_get(it.val, "verbs"), b);
		strings("shortNames", val_get(it.val, "shortNames"), b);
		strings("categories", val_get(it.val, "categories"), b);
		other_subs(o, all, name, b);
		buf_byte(b, '}');
	}
}

static void aggregated_others(const struct table *t, const char *group, bool more, struct buf *b)
{
	for (size_t i = 0; i < t->n_others; i++) {
		const struct aggregate *o = &t->others[i];

		if (strcmp(o->group, group) != 0)
			continue;
		buf_printf(b, "%s{\"version\":\"%s\",\"resources\":[", more ? "," : "", o->version);
		more = true;
		other_resources(o, b);
		buf_printf(b, "],\"freshness\":\"%s\"}", o->available ? "Current" : "Stale");
	}
}

static void aggregated_group(const struct table *t, size_t first, struct buf *b)
{
	const char *group = t->rows[first]->def.group;
	bool more = false;

	if (group[0])
		buf_printf(b, "{\"metadata\":{\"name\":\"%s\",\"creationTimestamp\":null},\"versions\":[", group);
	else
		buf_c(b, "{\"metadata\":{\"creationTimestamp\":null},\"versions\":[");
	for (size_t i = first; i < t->n; i++) {
		if (strcmp(t->rows[i]->def.group, group) || !first_of_version(t, i))
			continue;
		if (more)
			buf_byte(b, ',');
		more = true;
		aggregated_version(t, i, b);
	}
	aggregated_others(t, group, more, b);
	buf_c(b, "]}");
}

static void aggregated(struct rq *rq, bool core)
{
	struct table t = table_of(rq);
	struct buf b = BUF_INIT;
	bool more = false;

	buf_c(&b,
		"{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/v2\",\"metadata\":{},\"items\":[");
	for (size_t i = 0; i < t.n; i++) {
		if ((t.rows[i]->def.group[0] != 0) == core || !first_of_group(&t, i))
			continue;
		if (more)
			buf_byte(&b, ',');
		more = true;
		aggregated_group(&t, i, &b);
	}
	for (size_t i = 0; !core && i < t.n_others; i++)
		if (first_of_others(&t, i)) {
			buf_printf(&b, "%s{\"metadata\":{\"name\":\"%s\",\"creationTimestamp\":null},\"versions\":[",
				more ? "," : "", t.others[i].group);
			more = true;
			aggregated_others(&t, t.others[i].group, false, &b);
			buf_c(&b, "]}");
		}
	buf_c(&b, "]}");
	struct http_header extra[] = { { STR("etag"), reply_etag(rq, buf_view(&b)) }, { STR("vary"), STR("Accept") } };
	const char *type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
	if (reply_not_modified(rq, extra, 2)) {
		buf_fini(&b);
		return;
	}
	arena_hold(rq->a, b.p, free);
	reply_bytes(rq, 200, type, extra, 2, buf_view(&b));
}

static void core_versions(struct rq *rq)
{
	const char *address = rq->api->opts.advertise_address ? rq->api->opts.advertise_address : "127.0.0.1";
	struct buf b = BUF_INIT;

	buf_c(&b,
		"{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/0\",\"serverAddress\":");
	buf_json(
		&b, str_c(rq_f(rq, strchr(address, ':') ? "[%s]:%d" : "%s:%d", address, rq->api->opts.advertise_port)));
	buf_c(&b, "}]}");
	answer(rq, &b);
}

static void version(struct rq *rq)
{
	struct buf b = BUF_INIT;

	buf_printf(&b,
		"{\"major\":\"1\",\"minor\":\"34\",\"emulationMajor\":\"1\",\"emulationMinor\":\"34\",\"minCompatibilityMajor\":\"1\","
		"\"minCompatibilityMinor\":\"33\",\"gitVersion\":\"v1.34.0+kogge%s\",\"gitCommit\":\"" KOGGE_COMMIT
		"\",\"gitTreeState\":\"clean\","
		"\"buildDate\":\"2026-01-01T00:00:00Z\",\"goVersion\":\"go0 (C)\",\"compiler\":\"gcc\",\"platform\":\"linux/"
#if defined(__x86_64__)
		"amd64"
#elif defined(__aarch64__)
		"arm64"
#else
		"unknown"
#endif
		"\"}",
		KOGGE_VERSION);
	answer(rq, &b);
}

static void openid(struct rq *rq, bool jwks)
{
	struct buf b = BUF_INIT;
	struct err e;

	err_init(&e);
	if (token_openid(rq->api, jwks, &b)) {
		reply_buf(rq, 200, jwks ? "application/jwk-set+json" : "application/json", &b);
		return;
	}
	err_set(&e, ERR_NOT_FOUND, "this server issues no tokens");
	reply_error(rq, &e);
}

static int path_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void discovery_index(struct rq *rq, int status)
{
	static const char *const fixed[] = { "/.well-known/openid-configuration", "/api", "/api/v1", "/apis",
		"/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz",
		"/version" };
	struct table t = table_of(rq);
	char **paths = ARENA_ARRAY(rq->a, char *, ARRAY_LEN(fixed) + 2 * t.n);
	struct buf b = BUF_INIT;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		paths[n++] = rq_f(rq, "%s", fixed[i]);
	for (size_t i = 0; i < t.n; i++) {
		const struct resource_def *def = &t.rows[i]->def;
		if (!def->group[0])
			continue;
		paths[n++] = rq_f(rq, "/apis/%s", def->group);
		paths[n++] = rq_f(rq, "/apis/%s/%s", def->group, def->version);
	}
	qsort(paths, n, sizeof(*paths), path_order);
	for (size_t i = 0; i < n; i++) {
		if (i && !strcmp(paths[i], paths[i - 1]))
			continue;
		buf_c(&b, i ? "," : "{\"paths\":[");
		buf_json(&b, str_c(paths[i]));
	}
	buf_c(&b, "]}");
	reply_buf(rq, status, "application/json", &b);
}

bool discovery_answer(struct rq *rq)
{
	struct str p = rq->path, seg[4] = { { 0 } }, part;
	struct err e;
	size_t n = 0;

	for (struct str rest = p; str_next(&rest, '/', &part);)
		if (part.n && n++ < 3)
			seg[n - 1] = part;
	err_init(&e);
	if (str_has(p, STR("//")))
		return false;
	if (!n) {
		discovery_index(rq, 200);
		return true;
	}
	if (n == 1 && str_is(seg[0], "version")) {
		version(rq);
		return true;
	}
	if (str_is(p, "/.well-known/openid-configuration") || str_is(p, "/openid/v1/jwks")) {
		openid(rq, str_is(p, "/openid/v1/jwks"));
		return true;
	}
	bool core = str_is(seg[0], "api"), named = str_is(seg[0], "apis");
	if (n > 3 || (!core && !named))
		return false;
	if (negotiate(rq, n == 1, &e) < 0) {
		reply_error(rq, &e);
		return true;
	}
	if (n == 1 && rq->render == RENDER_DISCOVERY)
		aggregated(rq, core);
	else if (n == 1 && core)
		core_versions(rq);
	else if (n == 1)
		groups(rq);
	else if (core)
		return n == 2 && resource_list(rq, STR(""), seg[1]);
	else if (n == 2)
		return one_group(rq, seg[1]);
	else
		return resource_list(rq, seg[1], seg[2]);
	return true;
}

/* Making and ending the server, and the entry for requests without a socket. */
#include "api/aggregate/aggregate.h"
#include "api/audit/audit.h"
#include "api/auth/auth.h"
#include "api/custom/custom.h"
#include "api/relay/relay.h"
#include <stdio.h>
#define LOG_MODULE "api"

static const char *own(struct api *api, const char *s, const char *otherwise)
{
	return s ? arena_strdup(api->arena, s) : otherwise;
}

static void own_opts(struct api *api, const struct api_opts *o)
{
	struct api_opts *p = &api->opts;

	*p = *o;
	p->service_cidrs = own(api, o->service_cidrs, "10.96.0.0/12");
	p->cluster_domain = own(api, o->cluster_domain, "cluster.local");
	p->advertise_address = own(api, o->advertise_address, NULL);
	p->own_node = own(api, o->own_node, NULL);
	p->pki_dir = own(api, o->pki_dir, NULL);
	p->ca_name = own(api, o->ca_name, "ca");
	p->node_cert_file = own(api, o->node_cert_file, NULL);
	p->node_key_file = own(api, o->node_key_file, NULL);
	p->node_ca_file = own(api, o->node_ca_file, NULL);
	p->issuer = own(api, o->issuer, "https://kubernetes.default.svc");
	p->audit_path = own(api, o->audit_path, NULL);
	p->audit_policy = own(api, o->audit_policy, NULL);
	if (!p->node_port_first) {
		p->node_port_first = 30000;
		p->node_port_last = 32767;
	}
	if (!p->advertise_port)
		p->advertise_port = 6443;
	if (!p->audit_bytes_max)
		p->audit_bytes_max = (int64_t)64 << 20;
	if (!p->lane_threads)
		p->lane_threads = 4;
	if (!p->lane_queue_max)
		p->lane_queue_max = 400;
	if (!p->streams_max)
		p->streams_max = 256;
	if (!p->compact_every_s)
		p->compact_every_s = 300;
	if (!p->ring_bytes)
		p->ring_bytes = (int64_t)16 << 20;
}

static int load_all(struct api *api, struct err *e)
{
	struct arena *a = arena_new();
	size_t n;
	struct resource **rows = api_resources(api, a, &n);
	int rc = 0;

	for (size_t i = 0; i < n && rc >= 0; i++)
		if (rows[i]->cache)
			rc = events_load(api, rows[i], e);
	arena_free(a);
	return rc;
}

static int start(struct api *api, struct err *e)
{
	int64_t rev = store_revision(api->opts.store);
	struct store_status st;
	int rc;

	if ((rc = resource_table_fill(api, e)) < 0)
		return rc;
	if ((rc = load_all(api, e)) < 0)
		return rc;
	api->crds = crds_new(api);
	api->aggregates = aggregates_new(api);
	api->aggregate_openapi = aggregate_openapi_new(api);
	store_status(api->opts.store, &st);
	snprintf(api->cluster_uid, sizeof(api->cluster_uid), "%s", st.cluster_uid);
	api->ipalloc = ipalloc_new(api, e);
	if (!api->ipalloc)
		return -ERR_INTERNAL;
	api->node_pods = node_pods_new(api_cache(api, "", "pods"));
	if ((rc = auth_new(api, e)) < 0)
		return rc;
	if ((rc = store_watch(api->opts.store, rev, events_on, api, e)) < 0)
		return rc;
	if ((rc = api_bootstrap(api, e)) < 0)
		return rc;
	crds_start(api->crds);
	aggregates_start(api->aggregates);
	api->upkeep = upkeep_start(api);
	__atomic_store_n(&api->ready, true, __ATOMIC_RELEASE);
	return 0;
}

void api_kinds_changed(struct api *api)
{
	if (api->aggregates) /* else aggregates_start() will look */
		aggregates_served(api->aggregates);
}

int api_new(const struct api_opts *o, struct api **ret, struct err *e)
{
	struct arena *a = arena_new();
	struct api *api = ARENA_NEW(a, struct api);

	PRE(o->store);
	api->arena = a;
	task_mutex_init(&api->lock);
	own_opts(api, o);
	api->budget = cache_budget_new(api->opts.ring_bytes);
	api->metrics = metrics_new();
	api->health = health_new(api);
	api->audit = audit_new(&api->opts, e);
	if (!api->audit)
		goto failed;
	api->watches = watches_new(api);
	api->slow_watches = slow_watches_new(api);
	api->lanes = lanes_new(api);
	api->relays = relays_new(api);
	api->outgoing = outgoing_new();
	api->patience = patience_new();
	if (start(api, e) < 0)
		goto failed;
	*ret = api;
	return 0;
failed:
	api_free(api);
	return -e->code;
}

void api_stop(struct api *api)
{
	__atomic_store_n(&api->stopping, true, __ATOMIC_RELEASE);
	if (api->outgoing) /* first: those that end below may wait for others' answers */
		outgoing_stop(api->outgoing);
	if (api->watches)
		watches_stop(api->watches);
	if (api->slow_watches)
		slow_watches_stop(api->slow_watches);
	if (api->crds)
		crds_stop(api->crds);
	if (api->aggregates)
		aggregates_stop(api->aggregates);
	if (api->aggregate_openapi)
		aggregate_openapi_stop(api->aggregate_openapi);
	api->upkeep = upkeep_free(api->upkeep);
	if (api->lanes)
		lanes_stop(api->lanes);
}

struct api *api_free(struct api *api)
{
	if (!api)
		return NULL;
	api_stop(api);
	watches_free(api->watches);
	slow_watches_free(api->slow_watches);
	crds_free(api->crds);
	aggregates_free(api->aggregates);
	aggregate_openapi_free(api->aggregate_openapi);
	lanes_free(api->lanes);
	relays_free(api->relays);
	outgoing_free(api->outgoing);
	patience_free(api->patience);
	auth_free(api);
	ipalloc_free(api->ipalloc);
	node_pods_free(api->node_pods);
	openapi_free(api->openapi);
	resource_table_free(api);
	health_free(api->health);
	metrics_free(api->metrics);
	audit_free(api->audit);
	cache_budget_free(api->budget);
	task_mutex_fini(&api->lock);
	arena_free(api->arena);
	return NULL;
}

static struct str lower(struct arena *a, struct str s)
{
	char *p = arena_cstr(a, s);

	for (size_t i = 0; i < s.n; i++)
		if (p[i] >= 'A' && p[i] <= 'Z')
			p[i] = (char)(p[i] + 32);
	return str_n(p, s.n);
}

static struct identity copy_of(struct arena *a, const struct identity *id)
{
	struct identity to = *id, *real;
	struct str *groups = ARENA_ARRAY(a, struct str, id->n_groups + 1);
	struct identity_extra *x = ARENA_ARRAY(a, struct identity_extra, id->n_extra + 1);

	to.user = arena_str(a, id->user);
	to.uid = arena_str(a, id->uid);
	to.groups = groups;
	to.extra = x;
	for (size_t i = 0; i < id->n_groups; i++)
		groups[i] = arena_str(a, id->groups[i]);
	for (size_t i = 0; i < id->n_extra; i++)
		x[i] = (struct identity_extra){ arena_str(a, id->extra[i].key), arena_str(a, id->extra[i].value) };
	if (id->real) {
		real = ARENA_NEW(a, struct identity);
		*real = copy_of(a, id->real);
		to.real = real;
	}
	return to;
}

static struct identity caller_of(struct arena *a, const struct identity *id)
{
	static const struct str unauthenticated[] = { { "system:unauthenticated", 22 } };
	static const struct identity anonymous = {
		.user = { "system:anonymous", 16 }, .groups = unauthenticated, .n_groups = 1
	};

	return id ? copy_of(a, id) : anonymous;
}

void api_call(struct api *api, const struct api_call *c)
{
	struct rq *rq = rq_new(api);
	struct http_header *h = ARENA_ARRAY(rq->a, struct http_header, c->n_headers + 1);
	struct authz_attrs refused = { 0 };
	struct err e;

	err_init(&e);
	for (size_t i = 0; i < c->n_headers; i++) {
		h[i].name = lower(rq->a, c->headers[i].name);
		h[i].value = arena_str(rq->a, c->headers[i].value);
	}
	rq->headers = h;
	rq->n_headers = c->n_headers;
	rq->method = arena_str(rq->a, c->method);
	rq->path = arena_str(rq->a, c->path);
	rq->query = arena_str(rq->a, c->query);
	rq->body = arena_str(rq->a, c->body);
	rq->content_type = rq_header(rq, "content-type");
	rq->accept = rq_header(rq, "accept");
	rq->user_agent = rq_header(rq, "user-agent");
	rq->sink = c->sink;
	rq->sink_arg = c->sink_arg;
	rq->id = caller_of(rq->a, c->identity);
	if (authn_impersonate(api, rq->headers, rq->n_headers, rq->a, &rq->id, &refused, &e) < 0)
		route_refuse(rq, &refused, &e);
	else
		route(rq);
}

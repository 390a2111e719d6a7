/* The group versions that this server serves itself, as APIServices: whoever lists them sees all that the cluster serves.
 *
 * Builtin ones are made at the start where they are missing (bootstrap.c; label "onstart"), those of custom kinds come and
 * go with their kinds (aggregate.c's task; label "true"). One without the label is somebody's own and is left alone.
 * Source: the autoregister and crdregistration controllers of Kubernetes, and its table of priorities. */
#include "api/aggregate/aggregate.h"
#include "api/custom/custom.h"

#define LOG_MODULE "aggregate"
#define GROUP "apiregistration.k8s.io"
#define RESOURCE "apiservices"
#define MANAGED "kube-aggregator.kubernetes.io/automanaged"
#define CUSTOM_GROUP_PRIORITY 1000
#define CUSTOM_VERSION_PRIORITY 100
#define VERSION_PRIORITY 15

static const struct priority {
	const char *group;
	int priority;
} builtin[] = {
	{ "", 18000 },
	{ "apps", 17800 },
	{ "events.k8s.io", 17750 },
	{ "authentication.k8s.io", 17700 },
	{ "authorization.k8s.io", 17600 },
	{ "autoscaling", 17500 },
	{ "batch", 17400 },
	{ "certificates.k8s.io", 17300 },
	{ "networking.k8s.io", 17200 },
	{ "policy", 17100 },
	{ "rbac.authorization.k8s.io", 17000 },
	{ "storage.k8s.io", 16800 },
	{ "apiextensions.k8s.io", 16700 },
	{ "admissionregistration.k8s.io", 16700 },
	{ "scheduling.k8s.io", 16600 },
	{ "coordination.k8s.io", 16500 },
	{ "node.k8s.io", 16300 },
	{ "discovery.k8s.io", 16200 },
	{ "resource.k8s.io", 16200 },
	{ "flowcontrol.apiserver.k8s.io", 16100 },
};

static int version_priority(const struct resource_def *def)
{
	if (!def->group[0])
		return 1;
	if (!strcmp(def->group, "autoscaling") && !strcmp(def->version, "v2"))
		return 30;
	return !strcmp(def->group, "flowcontrol.apiserver.k8s.io") ? 21 : VERSION_PRIORITY;
}

/* 0: has no APIService, so that whoever brings metrics.k8s.io finds its name free. */
static int group_priority(const struct resource *r)
{
	if (r->custom)
		return CUSTOM_GROUP_PRIORITY;
	for (size_t i = 0; i < ARRAY_LEN(builtin); i++)
		if (!strcmp(builtin[i].group, r->def.group))
			return builtin[i].priority;
	return 0;
}

static struct str name_of(struct arena *a, const struct resource *r)
{
	return arena_strf(a, "%s.%s", r->def.version, r->def.group);
}

static struct node *object_of(struct arena *a, const struct resource *r)
{
	return node_pack(a,
		"{apiVersion:'" GROUP "/v1', kind:'APIService', metadata:{name:S, labels:{'" MANAGED "':s}}, "
		"spec:{group:s, groupPriorityMinimum:i, version:s, versionPriority:i}}",
		name_of(a, r), r->custom ? "true" : "onstart", r->def.group, group_priority(r), r->def.version,
		r->custom ? CUSTOM_VERSION_PRIORITY : version_priority(&r->def));
}

/* name → a row of each group version that has an APIService. Own. */
static struct map *served(struct api *api, struct arena *a)
{
	struct map *m = map_new(NULL);
	size_t n;
	struct resource **rows = api_resources(api, a, &n);

	for (size_t i = 0; i < n; i++)
		if (group_priority(rows[i]) && (!rows[i]->custom || rows[i]->custom->served))
			map_put(m, name_of(a, rows[i]), rows[i]);
	return m;
}

void aggregates_builtin(struct api *api, struct arena *a, void (*each)(void *arg, struct node *object), void *arg)
{
	auto_(map_free) struct map *rows = served(api, a);
	struct str name;
	void *row;

	for (size_t i = 0; map_next(rows, &i, &name, &row);)
		if (!((struct resource *)row)->custom)
			each(arg, object_of(a, row));
}

static void change(struct api *api, enum verb verb, struct str name, struct node *object)
{
	auto_(doc_unref) struct doc *d = object ? node_publish(object) : NULL;
	struct err e;

	err_init(&e);
	if (api_write(api, verb, GROUP, RESOURCE, STR_NULL, name, d, NULL, &e) < 0 && e.code != ERR_EXISTS &&
		e.code != ERR_NOT_FOUND && e.code != ERR_CONFLICT)
		log_warn("apiservice \"%.*s\" of this server's own: %s", STR_ARG(name), e.message);
}

/* One that is there and labelled as ours, as it ought to be. row NULL: nothing serves it. */
static void mend(struct api *api, struct arena *a, struct doc *d, struct resource *row)
{
	if (!row) {
		change(api, V_DELETE, doc_name(d), NULL);
	} else if (row->custom) {
		struct node *fresh = node_from(a, doc_root(d)), *spec = node_getc(object_of(a, row), "spec");

		if (node_equal(node_getc(fresh, "spec"), spec))
			return;
		node_setc(fresh, "spec", spec);
		change(api, V_UPDATE, doc_name(d), fresh);
	}
}

void aggregates_mend_local(struct api *api)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(map_free) struct map *missing = served(api, a);
	int64_t rev;
	struct cache_list all = cache_list(api_cache(api, GROUP, RESOURCE), a, STR_NULL, STR_NULL, 0, &rev);
	struct str name;
	void *row;

	for (size_t i = 0; i < all.n; i++) {
		struct doc *d = all.items[i].doc;
		struct str how = val_str(val_get(doc_get(d, "metadata.labels"), MANAGED));

		row = map_take(missing, doc_name(d));
		if (str_is(how, "true") || str_is(how, "onstart"))
			mend(api, a, d, row);
	}
	for (size_t i = 0; map_next(missing, &i, &name, &row);)
		if (((struct resource *)row)->custom)
			change(api, V_CREATE, name, object_of(a, row));
}

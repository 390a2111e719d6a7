/* What happens to the cluster, in chapters: apps are deployed; rolled over in calm weather, where availability must
 * hold; a storm of crashes, silent nodes and changes; calm again, and everything must come right; and the namespace
 * goes. */
#include "sim.h"
#include <stdio.h>

#define CALM_MS 120000  /* time to come right without faults */
#define STORM_MS 900000 /* pods of a silent node are evicted after 5 minutes */

struct app {
	char name[16];
	int64_t replicas, surge, unavailable, cpu_milli, version;
	const char *more; /* of the container, of the pod */
	const char *pod_more;
};

static int64_t between(int64_t least, int64_t most)
{
	return least + (int64_t)rand_below((uint64_t)(most - least + 1));
}

/* ---- kubectl's part -------------------------------------------------------------------------- */

void sim_create(struct world *w, struct gvr r, struct str ns, struct doc *take)
{
	struct err e;

	err_init(&e);
	if (client_create(w->admin, r, ns, take, NULL, &e) < 0)
		fail(w, "create %s %.*s: %s", r.resource, STR_ARG(doc_name(take)), e.message);
	doc_unref(take);
}

static void deploy(struct world *w, struct app *a)
{
	const char *n = a->name;

	sim_create(w, res_deployments, NS,
		yaml("{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s}, spec: {replicas: %lld, selector: {matchLabels: {app: %s}}, "
		     "strategy: {rollingUpdate: {maxSurge: %lld, maxUnavailable: %lld}}, template: {metadata: {labels: {app: %s}}, spec: {%s "
		     "containers: [{name: c, image: 'app:%lld', %s resources: {requests: {cpu: %lldm, memory: 64Mi}}}]}}}}",
			n, (long long)a->replicas, n, (long long)a->surge, (long long)a->unavailable, n, a->pod_more,
			(long long)a->version, a->more, (long long)a->cpu_milli));
	sim_create(w, res_services, NS,
		yaml("{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {selector: {app: %s}, ports: [{port: 80, targetPort: 8080}]}}",
			n, n));
}

void sim_patch(struct world *w, struct gvr r, const char *name, struct doc *take)
{
	struct err e;

	err_init(&e);
	if (client_patch(w->admin, r, NS, str_c(name), NULL, PATCH_STRATEGIC, take, NULL, &e) < 0)
		fail(w, "patch %s: %s", name, e.message);
	doc_unref(take);
}

static void patch_app(struct world *w, struct app *a, struct doc *take)
{
	sim_patch(w, res_deployments, a->name, take);
}

static void new_version(struct world *w, struct app *a)
{
	a->version++;
	task_trace("%s: version %lld", a->name, (long long)a->version);
	patch_app(w, a,
		yaml("{spec: {template: {spec: {containers: [{name: c, image: 'app:%lld'}]}}}}",
			(long long)a->version));
}

static void scale(struct world *w, struct app *a, int64_t to)
{
	a->replicas = to;
	task_trace("%s: %lld replicas", a->name, (long long)to);
	patch_app(w, a, yaml("{spec: {replicas: %lld}}", (long long)to));
}

/* ---- what is --------------------------------------------------------------------------------- */

bool pods_are_right(struct world *w, const char *app, int64_t replicas, int64_t version, char why[200])
{
	auto_(arena_free) struct arena *ar = arena_new();
	struct informer_list all = informer_list(checker_pods(w->checker), ar, NULL, STR_NULL);
	int64_t right = 0, others = 0;
	struct str waits = STR_NULL;
	char image[32];

	snprintf(image, sizeof(image), "app:%lld", (long long)version);
	for (size_t i = 0; i < all.n; i++) {
		struct doc *p = all.items[i];
		struct val ready = val_find(doc_get(p, "status.conditions"), "type", STR("Ready"));

		if (!val_is(val_get(doc_get(p, "metadata.labels"), "app"), app) ||
			str_is(doc_str(p, "status.phase"), "Failed"))
			continue;
		if (!doc_str(p, "metadata.deletionTimestamp").n && val_is(val_get(ready, "status"), "True") &&
			val_is(val_get(val_at(doc_get(p, "spec.containers"), 0), "image"), image))
			right++;
		else
			others++;
		if (!doc_str(p, "spec.nodeName").n)
			waits = val_str(val_get(
				val_find(doc_get(p, "status.conditions"), "type", STR("PodScheduled")), "message"));
	}
	snprintf(why, 200, "%lld of %lld pods are right, %lld others are there; %.*s", (long long)right,
		(long long)replicas, (long long)others, STR_ARG(waits));
	return right == replicas && !others;
}

static bool status_is_right(struct world *w, const struct app *a, char why[200])
{
	auto_(doc_unref) struct doc *d = NULL;
	int64_t available, updated, all;
	struct err e;

	err_init(&e);
	if (client_get(w->admin, res_deployments, NS, str_c(a->name), &d, &e) < 0) {
		snprintf(why, 200, "%.150s", e.message);
		return false;
	}
	available = doc_int(d, "status.availableReplicas", 0);
	updated = doc_int(d, "status.updatedReplicas", 0);
	all = doc_int(d, "status.replicas", 0);
	snprintf(why, 200, "status says %lld available, %lld updated, %lld in all, of %lld", (long long)available,
		(long long)updated, (long long)all, (long long)a->replicas);
	return available == a->replicas && updated == a->replicas && all == a->replicas &&
		!doc_int(d, "status.unavailableReplicas", 0) &&
		doc_int(d, "status.observedGeneration", 0) == doc_int(d, "metadata.generation", 0);
}

struct names {
	struct arena *a;
	struct map *set;
	size_t ready; /* addresses that slices call ready, with repeats */
};

static void take_slice(void *arg, struct doc *take)
{
	struct names *n = arg;

	for (struct val_iter it = val_iter(doc_get(take, "endpoints")); val_next(&it);) {
		if (!val_bool(val_path(it.val, "conditions.ready"), true))
			continue;
		n->ready++;
		map_put(n->set, val_str(val_at(val_get(it.val, "addresses"), 0)), n);
	}
	doc_unref(take);
}

/* Its slices hold the addresses of its ready pods, each once, and nothing else. */
static bool slices_are_right(struct world *w, const struct app *a, char why[200])
{
	auto_(arena_free) struct arena *ar = arena_new();
	struct informer_list all = informer_list(checker_pods(w->checker), ar, NULL, STR_NULL);
	struct names n = { ar, map_new(NULL), 0 };
	struct str selector = arena_strf(ar, "kubernetes.io/service-name=%s", a->name);
	size_t ready = 0, missing = 0;
	char revision[24];
	struct err e;

	err_init(&e);
	client_list(w->admin,
		&(struct client_request){ .res = res_endpointslices, .ns = NS, .label_selector = selector }, take_slice,
		&n, revision, &e);
	for (size_t i = 0; i < all.n; i++) {
		struct doc *p = all.items[i];

		if (!val_is(val_get(doc_get(p, "metadata.labels"), "app"), a->name) ||
			doc_str(p, "metadata.deletionTimestamp").n ||
			!val_is(val_get(val_find(doc_get(p, "status.conditions"), "type", STR("Ready")), "status"),
				"True"))
			continue;
		ready++;
		missing += !map_get(n.set, doc_str(p, "status.podIP"));
	}
	snprintf(why, 200, "its slices hold %zu ready addresses for %zu ready pods, %zu are missing", n.ready, ready,
		missing);
	map_free(n.set);
	return n.ready == ready && !missing;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static bool app_is_right(struct world *w, const struct app *a, char why[200])
{
	return pods_are_right(w, a->name, a->replicas, a->version, why) && status_is_right(w, a, why) &&
		slices_are_right(w, a, why);
}

static void wait_right(struct world *w, struct app *apps, size_t n, int64_t ms, const char *when)
{
	struct mono until = mono_add_ms(mono_now(), ms);
	char why[200] = "";

	for (size_t i = 0; i < n && !failed(w);) {
		if (app_is_right(w, &apps[i], why)) {
			i++;
			continue;
		}
		if (!mono_before(mono_now(), until))
			fail(w, "%s: %s is not right after %lld s: %s", when, apps[i].name, (long long)(ms / 1000),
				why);
		task_sleep_ms(200);
		i = 0;
	}
}

/* ---- chapters -------------------------------------------------------------------------------- */

static void make_apps(struct world *w, struct app *apps, size_t *n)
{
	static const char *const more[] = { "", "", "ports: [{containerPort: 8080, hostPort: 8080}],", "" };
	static const char *const pod_more[] = { "", "nodeSelector: {topology.kubernetes.io/zone: z1},", "",
		"affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: "
		"{matchLabels: {app: app4}}}]}}," };

	*n = APPS_MAX;
	for (size_t i = 0; i < *n; i++) {
		struct app *a = &apps[i];
		bool one_a_node = i >= 2;

		*a = (struct app){ .replicas = one_a_node ? between(1, (int64_t)w->n_nodes - 1) : between(2, 8),
			.surge = between(0, 2),
			.cpu_milli = between(1, 6) * 50,
			.version = 1,
			.more = more[i],
			.pod_more = pod_more[i] };
		a->unavailable = a->surge && !one_a_node ? between(0, 2) : between(1, 2);
		snprintf(a->name, sizeof(a->name), "app%u", (unsigned)i + 1);
	}
}

static void calm_rules(struct world *w, const struct app *a)
{
	checker_rule(w->checker,
		(struct rule){ a->name, MAX(a->replicas - a->unavailable, (int64_t)0), a->replicas + a->surge });
}

static void no_rules(struct world *w, const struct app *apps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		checker_rule(w->checker, (struct rule){ apps[i].name, -1, 0 });
}

/* Several versions at once, some before the last one is complete. */
static void calm_rollouts(struct world *w, struct app *apps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		calm_rules(w, &apps[i]);
	sets_rules(w, true);
	for (int round = 0; round < 3 && !failed(w); round++) {
		for (size_t i = 0; i < n; i++) {
			if (!rand_below(4))
				continue;
			new_version(w, &apps[i]);
			task_sleep_ms(between(0, 3000));
		}
		sets_new_version(w);
		if (rand_below(2))
			wait_right(w, apps, n, CALM_MS, "rollout");
	}
	wait_right(w, apps, n, CALM_MS, "rollouts");
	sets_wait_right(w, CALM_MS, "rollouts");
	sets_rules(w, false);
	no_rules(w, apps, n);
}

static void calm_scaling(struct world *w, struct app *apps, size_t n)
{
	for (int round = 0; round < 3 && !failed(w); round++) {
		for (size_t i = 0; i < n; i++)
			scale(w, &apps[i], i >= 2 ? between(0, (int64_t)w->n_nodes) : between(0, 8));
		sets_scale(w, between(0, 4));
		task_sleep_ms(between(0, 2000));
	}
	wait_right(w, apps, n, CALM_MS, "scaling");
	sets_wait_right(w, CALM_MS, "scaling");
}

/* Whatever is asked to go, one pod at most is missing. */
static void calm_evictions(struct world *w, struct app *apps, size_t n)
{
	scale(w, &apps[0], between(2, 6));
	wait_right(w, apps, 1, CALM_MS, "before evictions");
	checker_rule(w->checker, (struct rule){ apps[0].name, apps[0].replicas - 1, 0 });
	budgets_evict(w, apps[0].name);
	wait_right(w, apps, n, CALM_MS, "evictions");
	no_rules(w, apps, n);
}

static void one_blow(struct world *w, struct app *apps, size_t n)
{
	struct sim_node *node = w->nodes[rand_below(w->n_nodes)];
	struct app *a = &apps[rand_below(n)];

	switch (rand_below(8)) {
	case 0:
		sim_node_silence(node, between(1000, 500000));
		break;
	case 1:
		sim_node_crash_pod(node, true);
		break;
	case 2:
	case 3:
		sim_node_crash_pod(node, false);
		break;
	case 4:
		new_version(w, a);
		break;
	case 5:
		sets_new_version(w);
		break;
	case 6:
		sets_scale(w, between(0, 4));
		break;
	default:
		scale(w, a, between(1, (int64_t)w->n_nodes - 1));
		break;
	}
}

static void storm(struct world *w, struct app *apps, size_t n)
{
	int blows = (int)between(5, 25);

	for (int i = 0; i < blows && !failed(w); i++) {
		one_blow(w, apps, n);
		task_sleep_ms(between(0, 20000));
	}
	task_trace("the storm is over");
	wait_right(w, apps, n, STORM_MS, "after the storm");
	sets_wait_right(w, STORM_MS, "after the storm");
	ticks_wait_right(w, STORM_MS, "after the storm");
}

/* Pods may be right while a node is still away: until all are back, and their taints gone. */
static void wait_all_nodes(struct world *w)
{
	int64_t ms = 0;

	for (size_t i = 0; i < w->n_nodes; i++)
		ms = MAX(ms, sim_node_silent_ms(w->nodes[i]));
	task_sleep_ms(ms + 10000);
}

/* A pod a node that only fits when the others make room: they must be looked at again as soon as pods go. All old pods
 * may go at once:
 * with fewer, a new pod could wait for a node that an old one holds, for ever, and rightly. */
static void full_house(struct world *w, struct app *apps, size_t n)
{
	struct app big = apps[0];

	big.replicas = (int64_t)w->n_nodes;
	big.version++;
	patch_app(w, &big,
		yaml("{spec: {replicas: %lld, strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 100%%}}, template: {spec: {containers: "
		     "[{name: c, image: 'app:%lld', resources: {requests: {cpu: 3900m}}}]}}}}",
			(long long)big.replicas, (long long)big.version));
	task_sleep_ms(between(1000, 20000));
	for (size_t i = 1; i < n; i++)
		scale(w, &apps[i], 0);
	wait_right(w, &big, 1, CALM_MS, "full house");
	wait_right(w, apps + 1, n - 1, CALM_MS, "full house");
}

static bool namespace_is_gone(struct world *w)
{
	struct err e;

	err_init(&e);
	return client_get(w->admin, res_namespaces, STR_NULL, NS, NULL, &e) < 0 && e.code == ERR_NOT_FOUND;
}

static void delete_namespace(struct world *w)
{
	struct mono until = mono_add_ms(mono_now(), CALM_MS);
	struct err e;

	err_init(&e);
	if (client_delete(w->admin, res_namespaces, STR_NULL, NS, (struct client_delete){ .grace_s = -1 }, &e) < 0)
		fail(w, "delete namespace: %s", e.message);
	while (!namespace_is_gone(w) && !failed(w)) {
		if (!mono_before(mono_now(), until))
			fail(w, "the namespace is still there after %d s", CALM_MS / 1000);
		task_sleep_ms(500);
	}
	task_sleep_ms(1000);
	if (informer_len(checker_pods(w->checker)))
		fail(w, "the namespace is gone, %zu pods are left", informer_len(checker_pods(w->checker)));
}

void story(struct world *w)
{
	struct app apps[APPS_MAX];
	size_t n;

	sim_create(w, res_namespaces, STR_NULL, yaml("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"));
	make_apps(w, apps, &n);
	for (size_t i = 0; i < n; i++)
		deploy(w, &apps[i]);
	sets_create(w);
	ticks_create(w);
	wait_right(w, apps, n, CALM_MS, "deploy");
	sets_wait_right(w, CALM_MS, "deploy");
	if (!failed(w))
		calm_rollouts(w, apps, n);
	if (!failed(w))
		calm_scaling(w, apps, n);
	if (!failed(w))
		calm_evictions(w, apps, n);
	if (!failed(w))
		storm(w, apps, n);
	if (!failed(w)) {
		wait_all_nodes(w);
		full_house(w, apps, n);
	}
	if (!failed(w))
		delete_namespace(w);
}

/* A node that pretends: pods become Ready a little after they were bound and end a little after they were told to. */
#include "sim.h"
#include <stdio.h>

#define LEASE_MS 10000

struct pod_state {
	struct mono due; /* of the next step */
	bool starting, running, stopping, restarting, ending;
};
struct sim_node {
	struct world *w;
	char name[16];
	int number, addresses;
	struct client *client;
	struct informer *pods;
	struct queue *queue; /* "namespace/name" */
	struct map *states;  /* uid → pod_state; the worker's own */
	struct task *worker, *lease;
	struct stop *stop;
	struct mono silent_until;
	int crash, kill; /* pods to restart, to fail for good: taken by the worker */
};

const char *sim_node_name(const struct sim_node *n)
{
	return n->name;
}

int64_t sim_node_silent_ms(const struct sim_node *n)
{
	return MAX(mono_ms_between(mono_now(), n->silent_until), (int64_t)0);
}

/* ---- the node itself ------------------------------------------------------------------------- */

static void patch(
	struct sim_node *n, struct gvr r, struct str ns, struct str name, const char *sub, struct doc *take_body)
{
	struct err e;

	err_init(&e);
	if (client_patch(n->client, r, ns, name, sub, PATCH_STRATEGIC, take_body, NULL, &e) < 0 &&
		e.code != ERR_NOT_FOUND && e.code != ERR_CONFLICT && e.code != ERR_CANCELED &&
		e.code != ERR_UNAVAILABLE)
		fail(n->w, "%s: patch %s %.*s: %s", n->name, r.resource, STR_ARG(name), e.message);
	doc_unref(take_body);
}

static void say_ready(struct sim_node *n)
{
	char now[TIME_TEXT_MAX];

	wall_rfc3339(wall_now(), now);
	patch(n, res_nodes, STR_NULL, str_c(n->name), "status",
		yaml("{status: {conditions: [{type: Ready, status: 'True', reason: KubeletReady, message: ok, lastHeartbeatTime: '%s', "
		     "lastTransitionTime: '%s'}, {type: MemoryPressure, status: 'False', reason: Fine, message: ok, lastHeartbeatTime: '%s', "
		     "lastTransitionTime: '%s'}]}}",
			now, now, now, now));
}

static void register_node(struct sim_node *n)
{
	auto_(doc_unref) struct doc *node =
		yaml("{apiVersion: v1, kind: Node, metadata: {name: %s, labels: {kubernetes.io/hostname: %s, "
		     "topology.kubernetes.io/zone: z%d}}, status: {capacity: {cpu: 4, memory: 8Gi, pods: 30}, "
		     "allocatable: {cpu: 4, memory: 8Gi, pods: 30}}}",
			n->name, n->name, n->number % 2);
	auto_(doc_unref) struct doc *lease = yaml(
		"{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: %s, namespace: kube-node-lease}, "
		"spec: {holderIdentity: %s, leaseDurationSeconds: 40}}",
		n->name, n->name);
	struct err e;

	err_init(&e);
	if (client_create(n->client, res_nodes, STR_NULL, node, NULL, &e) < 0)
		fail(n->w, "%s: register: %s", n->name, e.message);
	if (client_create(n->client, res_leases, STR("kube-node-lease"), lease, NULL, &e) < 0)
		fail(n->w, "%s: lease: %s", n->name, e.message);
	say_ready(n);
}

static void renew(void *arg)
{
	struct sim_node *n = arg;
	char now[TIME_TEXT_MAX];

	register_node(n);
	while (stop_sleep_ms(n->stop, LEASE_MS)) {
		int64_t silent = sim_node_silent_ms(n);

		if (silent && !stop_sleep_ms(n->stop, silent))
			return;
		wall_rfc3339_micro(wall_now(), now);
		patch(n, res_leases, STR("kube-node-lease"), str_c(n->name), NULL,
			yaml("{spec: {renewTime: '%s'}}", now));
		if (silent)
			say_ready(n);
	}
}

/* ---- pods ------------------------------------------------------------------------------------ */

static void write_pod(struct sim_node *n, struct doc *pod, const char *phase, bool ready)
{
	char now[TIME_TEXT_MAX];
	struct str ip = doc_str(pod, "status.podIP");
	char fresh[32];

	wall_rfc3339(wall_now(), now);
	snprintf(fresh, sizeof(fresh), "10.%d.%d.%d", n->number, n->addresses / 250, n->addresses % 250 + 1);
	if (!ip.n) {
		n->addresses++;
		ip = str_c(fresh);
	}
	patch(n, res_pods, doc_ns(pod), doc_name(pod), "status",
		yaml("{metadata: {uid: %.*s}, status: {phase: %s, podIP: %.*s, podIPs: [{ip: %.*s}], startTime: '%s', conditions: [{type: Ready, status: '%s', "
		     "lastTransitionTime: '%s'}, {type: Initialized, status: 'True', lastTransitionTime: '%s'}]}}",
			STR_ARG(doc_uid(pod)), phase, STR_ARG(ip), STR_ARG(ip), now, ready ? "True" : "False", now,
			now));
}

static void stop_pod(struct sim_node *n, struct doc *pod)
{
	struct err e;

	err_init(&e);
	if (client_delete(n->client, res_pods, doc_ns(pod), doc_name(pod),
		    (struct client_delete){ .uid = doc_uid(pod), .grace_s = 0 }, &e) < 0 &&
		e.code != ERR_NOT_FOUND && e.code != ERR_CONFLICT && e.code != ERR_CANCELED &&
		e.code != ERR_UNAVAILABLE)
		fail(n->w, "%s: end of pod %.*s: %s", n->name, STR_ARG(doc_name(pod)), e.message);
}

/* Begins a step, or says whether its time has come. */
static bool step(struct sim_node *n, struct str key, struct pod_state *s, bool *flag, int64_t most_ms)
{
	if (!*flag) {
		*flag = true;
		s->due = mono_add_ms(mono_now(), 50 + (int64_t)rand_below((uint64_t)most_ms));
	}
	if (!mono_before(mono_now(), s->due))
		return true;
	queue_add_after(n->queue, key, mono_ms_between(mono_now(), s->due) + 1);
	return false;
}

static void run_pod(struct sim_node *n, struct str key, struct doc *pod, struct pod_state *s)
{
	struct str phase = doc_str(pod, "status.phase");

	if (doc_str(pod, "metadata.deletionTimestamp").n) {
		if (step(n, key, s, &s->stopping, 3000))
			stop_pod(n, pod);
		return;
	}
	if (str_is(phase, "Failed") || str_is(phase, "Succeeded"))
		return;
	if (n->kill > 0 && s->running) {
		n->kill--;
		write_pod(n, pod, "Failed", false);
		return;
	}
	if (n->crash > 0 && s->running && !s->restarting) {
		n->crash--;
		s->starting = s->running = false;
		write_pod(n, pod, "Running", false);
	}
	if (!s->running && step(n, key, s, &s->starting, 2000)) {
		s->running = true;
		write_pod(n, pod, "Running", true);
	}
	if (s->running && !str_is(doc_str(pod, "spec.restartPolicy"), "Always") && step(n, key, s, &s->ending, 5000))
		write_pod(n, pod, "Succeeded", false);
}

static struct pod_state *state_of(struct sim_node *n, struct doc *pod)
{
	struct pod_state *s = map_get(n->states, doc_uid(pod));

	if (!s) {
		s = xcalloc(1, sizeof(*s));
		map_put(n->states, doc_uid(pod), s);
	}
	return s;
}

static bool silent(struct sim_node *n, struct str key)
{
	int64_t ms = sim_node_silent_ms(n);

	if (ms)
		queue_add_after(n->queue, key, ms + 1);
	return ms > 0;
}

/* After a silence others may have called its pods not ready. */
static void repair(struct sim_node *n, struct doc *pod, struct pod_state *s)
{
	struct val ready = val_find(doc_get(pod, "status.conditions"), "type", STR("Ready"));

	if (s->running && str_is(doc_str(pod, "status.phase"), "Running") &&
		val_is(val_get(ready, "status"), "False") && val_is(val_get(ready, "reason"), "NodeNotReady") &&
		!doc_str(pod, "metadata.deletionTimestamp").n)
		write_pod(n, pod, "Running", true);
}

static void work(void *arg)
{
	struct sim_node *n = arg;
	char *key;

	while (queue_pop(n->queue, &key)) {
		struct str ns, name = str_cut(str_c(key), '/', &ns);
		auto_(doc_unref) struct doc *pod = silent(n, str_c(key)) ? NULL : informer_get(n->pods, ns, name);

		if (pod) {
			struct pod_state *s = state_of(n, pod);

			repair(n, pod, s);
			run_pod(n, str_c(key), pod, s);
		}
		queue_done(n->queue, str_c(key));
		free(key);
	}
}

static void on_pod(void *arg, struct doc *before, struct doc *after)
{
	struct sim_node *n = arg;
	char key[300];

	(void)before;
	if (!after)
		return;
	snprintf(key, sizeof(key), "%.*s/%.*s", STR_ARG(doc_ns(after)), STR_ARG(doc_name(after)));
	queue_add(n->queue, str_c(key));
}

/* ---- mischief -------------------------------------------------------------------------------- */

void sim_node_silence(struct sim_node *n, int64_t ms)
{
	task_trace("%s falls silent for %lld ms", n->name, (long long)ms);
	if (ms > sim_node_silent_ms(n))
		n->silent_until = mono_add_ms(mono_now(), ms);
}

static void look_at_all(struct sim_node *n)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list all = informer_list(n->pods, a, NULL, STR_NULL);

	for (size_t i = 0; i < all.n; i++)
		on_pod(n, NULL, all.items[i]);
}

void sim_node_crash_pod(struct sim_node *n, bool for_good)
{
	task_trace("%s: a pod crashes", n->name);
	n->kill += for_good;
	n->crash += !for_good;
	look_at_all(n);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct sim_node *sim_node_new(struct world *w, int number)
{
	static const char *const groups[] = { "system:nodes", NULL };
	struct sim_node *n = xcalloc(1, sizeof(*n));
	char user[40], field[40];

	n->w = w;
	n->number = number;
	snprintf(n->name, sizeof(n->name), "node%d", number);
	snprintf(user, sizeof(user), "system:node:%s", n->name);
	snprintf(field, sizeof(field), "spec.nodeName=%s", n->name);
	n->client = api_local_client(w->api, user, groups, n->name);
	n->queue = queue_new((struct queue_opts){ 0 });
	n->states = map_new(free);
	n->stop = stop_new();
	n->pods = informer_new(n->client, (struct informer_opts){ .res = res_pods, .field_selector = str_c(field) });
	informer_on(n->pods, on_pod, n);
	informer_start(n->pods);
	n->worker = task_spawn(n->name, work, n);
	n->lease = task_spawn("lease", renew, n);
	return n;
}

struct sim_node *sim_node_free(struct sim_node *n)
{
	if (!n)
		return NULL;
	stop_raise(n->stop);
	queue_stop(n->queue);
	task_join(n->worker);
	task_join(n->lease);
	informer_free(n->pods);
	queue_free(n->queue);
	map_free(n->states);
	stop_free(n->stop);
	client_free(n->client);
	free(n);
	return NULL;
}

/* A StatefulSet and a DaemonSet beside the story's Deployments: a pod at a time, whatever happens to the others. */
#include "sim.h"
#include <stdio.h>

#define TEMPLATE                                                                                                                       \
	"selector: {matchLabels: {app: %s}}, template: {metadata: {labels: {app: %s}}, spec: {containers: [{name: c, image: 'app:1', " \
	"resources: {requests: {cpu: 10m, memory: 64Mi}}}]}}"

void sets_create(struct world *w)
{
	w->db_parallel = rand_below(2);
	w->db = 2 + (int64_t)rand_below(3);
	w->db_version = w->agent_version = 1;
	sim_create(w, res_statefulsets, NS,
		yaml("{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}, spec: {replicas: %lld, serviceName: db, podManagementPolicy: %s, " TEMPLATE
		     "}}",
			(long long)w->db, w->db_parallel ? "Parallel" : "OrderedReady", "db", "db"));
	sim_create(w, res_daemonsets, NS,
		yaml("{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: agent}, spec: {" TEMPLATE "}}", "agent",
			"agent"));
}

/* A Parallel set does not wait, before it replaces its highest pod, for another that an update under way has just
 * replaced: upstream's does not either. */
void sets_rules(struct world *w, bool on)
{
	checker_rule(w->checker, (struct rule){ "db", on && !w->db_parallel ? w->db - 1 : -1, on ? w->db : 0 });
	checker_rule(
		w->checker, (struct rule){ "agent", on ? (int64_t)w->n_nodes - 1 : -1, on ? (int64_t)w->n_nodes : 0 });
}

void sets_new_version(struct world *w)
{
	bool db = rand_below(2);
	int64_t *version = db ? &w->db_version : &w->agent_version;

	*version = 1 + (int64_t)rand_below((uint64_t)*version + 1); /* the next, or one of before */
	task_trace("%s: version %lld", db ? "db" : "agent", (long long)*version);
	sim_patch(w, db ? res_statefulsets : res_daemonsets, db ? "db" : "agent",
		yaml("{spec: {template: {spec: {containers: [{name: c, image: 'app:%lld'}]}}}}", (long long)*version));
}

void sets_scale(struct world *w, int64_t to)
{
	w->db = to;
	task_trace("db: %lld replicas", (long long)to);
	sim_patch(w, res_statefulsets, "db", yaml("{spec: {replicas: %lld}}", (long long)to));
}

/* The pods are db-0 … db-N, and the status speaks of them. */
static bool db_is_right(struct world *w, char why[200])
{
	auto_(doc_unref) struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (!pods_are_right(w, "db", w->db, w->db_version, why))
		return false;
	for (int64_t i = 0; i < w->db; i++) {
		auto_(doc_unref) struct doc *pod = NULL;
		char name[24];

		snprintf(name, sizeof(name), "db-%lld", (long long)i);
		snprintf(why, 200, "there is no %s", name);
		pod = informer_get(checker_pods(w->checker), NS, str_c(name));
		if (!pod)
			return false;
	}
	client_get(w->admin, res_statefulsets, NS, STR("db"), &d, &e);
	snprintf(why, 200, "status: %lld ready, %lld updated, %lld current",
		(long long)doc_int(d, "status.readyReplicas", 0), (long long)doc_int(d, "status.updatedReplicas", 0),
		(long long)doc_int(d, "status.currentReplicas", 0));
	return doc_int(d, "status.readyReplicas", 0) == w->db && doc_int(d, "status.updatedReplicas", 0) == w->db &&
		doc_int(d, "status.currentReplicas", 0) == w->db &&
		str_eq(doc_str(d, "status.currentRevision"), doc_str(d, "status.updateRevision"));
}

static bool agent_is_right(struct world *w, char why[200])
{
	auto_(doc_unref) struct doc *d = NULL;
	int64_t n = (int64_t)w->n_nodes;
	struct err e;

	err_init(&e);
	if (!pods_are_right(w, "agent", n, w->agent_version, why))
		return false;
	client_get(w->admin, res_daemonsets, NS, STR("agent"), &d, &e);
	snprintf(why, 200, "status: %lld of %lld ready, %lld updated, %lld misplaced",
		(long long)doc_int(d, "status.numberReady", 0),
		(long long)doc_int(d, "status.desiredNumberScheduled", 0),
		(long long)doc_int(d, "status.updatedNumberScheduled", 0),
		(long long)doc_int(d, "status.numberMisscheduled", 0));
	return doc_int(d, "status.numberReady", 0) == n && doc_int(d, "status.desiredNumberScheduled", 0) == n &&
		doc_int(d, "status.updatedNumberScheduled", 0) == n && !doc_int(d, "status.numberMisscheduled", 0);
}

void sets_wait_right(struct world *w, int64_t ms, const char *when)
{
	struct mono until = mono_add_ms(mono_now(), ms);
	char why[200] = "";

	while (!failed(w) && (!db_is_right(w, why) || !agent_is_right(w, why))) {
		if (!mono_before(mono_now(), until))
			fail(w, "%s: sets are not right after %lld s: %s", when, (long long)(ms / 1000), why);
		task_sleep_ms(200);
	}
}

/* A cluster under virtual time: the real API server, store (in memory), caches, controllers and scheduler; nodes that
 * only pretend to run pods; a checker that sees every change of a pod; and a story that a seed makes up.
 *
 *     story ── kubectl's part ──► API ◄── controllers, scheduler
 *                                  ▲ ▲
 *               nodes (crash, fall silent) checker (every pod event, in revision order)
 *
 * Everything happens between task_sim_run() and its return: the same seed gives the same story, to the last switch. */
#pragma once
#include "api/api.h"
#include "base/map.h"
#include "base/queue.h"
#include "controllers/controllers.h"
#include "scheduler/scheduler.h"

#define NODES_MAX 6
#define APPS_MAX 4
#define NS STR("shop")

/* What must hold for an app while it is on. */
struct rule {
	const char *app;
	int64_t least_available; /* -1: not asked */
	int64_t most;            /* pods that are not going away; 0: not asked */
};

struct world {
	uint64_t seed;
	struct store *store;
	struct api *api;
	struct client *admin, *shared, *scheduler_client;
	struct informers *informers;
	struct controllers *controllers;
	struct scheduler *scheduler;
	struct sim_node *nodes[NODES_MAX];
	size_t n_nodes;
	struct checker *checker;
	bool db_parallel;
	int64_t db, db_version, agent_version; /* sets.c: pods of the StatefulSet, and what they should run */
	int64_t events;                        /* of pods, seen by the checker */
	char failure[1024];                    /* the first; empty: all is well */
};
/* Keeps the first sentence; the story ends at its next step. */
void fail(struct world *w, const char *fmt, ...) PRINTF(2, 3);
bool failed(const struct world *w);

/* cluster.c */
void cluster_start(struct world *w);
void cluster_stop(struct world *w);

/* node.c: registers, renews its lease, "starts" and "stops" the pods bound to it. */
struct sim_node *sim_node_new(struct world *w, int number);
struct sim_node *sim_node_free(struct sim_node *n);
const char *sim_node_name(const struct sim_node *n);
/* The node does and says nothing for so long; its pods run on. */
int64_t sim_node_silent_ms(const struct sim_node *n); /* how long it still is; 0: it speaks */
void sim_node_silence(struct sim_node *n, int64_t ms);
/* One of its running pods, chosen by chance, fails: for good (the pod's phase), or its container restarts. */
void sim_node_crash_pod(struct sim_node *n, bool for_good);

/* checker.c */
struct checker *checker_new(struct world *w);
struct checker *checker_free(struct checker *c);
void checker_rule(struct checker *c, struct rule r); /* replaces the app's */
struct informer *checker_pods(struct checker *c);

/* story.c */
void story(struct world *w);
void sim_create(struct world *w, struct gvr r, struct str ns, struct doc *take);
void sim_patch(struct world *w, struct gvr r, const char *name, struct doc *take); /* strategic, in NS */
/* So many pods of the app are ready, run this version, and no others are there. */
bool pods_are_right(struct world *w, const char *app, int64_t replicas, int64_t version, char why[200]);

/* sets.c: the StatefulSet db and the DaemonSet agent. */
void sets_create(struct world *w);
void sets_rules(struct world *w, bool on);
void sets_new_version(struct world *w); /* of one of them, or back to an old one */
void sets_scale(struct world *w, int64_t to);
void sets_wait_right(struct world *w, int64_t ms, const char *when);

/* budgets.c: pods of the app are asked to go, again and again; its PodDisruptionBudget lets one be missing. */
void budgets_evict(struct world *w, const char *app);

/* ticks.c: the CronJob tick. */
void ticks_create(struct world *w);
void ticks_wait_right(struct world *w, int64_t ms, const char *when); /* a Job of it succeeds from now on */

/* Documents in a hurry. Own: doc_unref(). */
struct doc *yaml(const char *fmt, ...) PRINTF(1, 2);

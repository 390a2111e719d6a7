/* Writers: what has been decided is written to the API beside the decisions, many at a time, so that a store that
 * commits in groups has groups to commit. */
#pragma once
#include "scheduler/scheduler_internal.h"

struct writers;
/* failed() runs on a writer's task: the pod with this uid, or a volume for it, was not bound. */
struct writers *writers_new(
	struct client *c, const char *name, const char *host, void (*failed)(void *arg, struct str uid), void *arg);
/* Ends what is being written; what waits is dropped. */
void writers_stop(struct writers *w);
struct writers *writers_free(struct writers *w);

/* So much waits to be written that nothing more should be decided for the moment. */
bool writers_behind(struct writers *w);
void writers_bind(struct writers *w, struct doc *pod, struct str node);
/* The pod is to go to the node once its claims are bound: tells who binds them, and who makes volumes. */
void writers_volumes(struct writers *w, struct doc *pod, struct str node, const struct volume_plan *plan);
/* Says in the pod's status and in an event why it has no node. nominated: node that is being made free, empty: none;
 * victims are deleted. */
void writers_report(struct writers *w, struct doc *pod, const char *message, struct str nominated,
	struct pod_info **victims, size_t n_victims);

/* The scheduler: gives every pending pod a node.
 *
 *     pods, nodes ──informers──► snapshot (kept up to date by deltas) ──► filter ──► score ──► bind (API)
 *                    pending pods wait in a queue by priority; those that found no node wait for an event that could
 *                    help
 *
 * Filters and scores are rows of a table of plugins. Decisions are pure functions over the snapshot.
 * Thread: tasks of base/task.h, so that all of it runs in a simulation. */
#pragma once
#include "client/client.h"
#include "client/informer.h"

struct scheduler_opts {
	struct client *client;       /* borrowed; system:kube-scheduler */
	struct informers *informers; /* borrowed, not started yet */
	const char *name;            /* of pods' spec.schedulerName; NULL: "default-scheduler" */
	const char *host;            /* source of events */
};
struct scheduler;
struct scheduler *scheduler_new(const struct scheduler_opts *o);
void scheduler_start(struct scheduler *s);
void scheduler_stop(struct scheduler *s);
struct scheduler *scheduler_free(struct scheduler *s);
AUTO(struct scheduler, scheduler_free)
void scheduler_metrics(struct scheduler *s, struct buf *out);

/* A crew: jobs in a queue, each worked on as a fiber (fiber.h) by a few tasks that are made when needed. A job that
 * waits for the store leaves its task to the next one, so that one commit of the store holds many of them.
 *
 * In a simulation, and where a job waits in another way, the job keeps its task: then tasks_max of them run at a
 * time. */
#pragma once
#include "base/task.h"

struct crew;
struct crew_opts {
	const char *name;                   /* of the tasks */
	void (*work)(void *arg, void *job); /* takes the job */
	void (*drop)(void *arg, void *job); /* takes a job that nobody began */
	void *arg;
	size_t tasks_max, jobs_max; /* jobs_max: begun and not yet done */
};
struct crew *crew_new(const struct crew_opts *o);
/* Any task. Takes the job; after crew_stop() it is dropped. */
void crew_add(struct crew *c, void *job);
/* Waits for what was begun, and until then for what is queued; the rest is dropped. */
void crew_stop(struct crew *c, struct mono until);
struct crew *crew_free(struct crew *c); /* stops it now; NULL accepted */
AUTO(struct crew, crew_free)

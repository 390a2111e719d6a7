/* A crew: jobs, each worked on as a fiber (fiber.h) by a few tasks. A job that waits for the store leaves its task to
 * the next one, so that one commit of the store holds many of them.
 *
 *     crew_add ─► put ─ ─ ─► next ─► work ──► done          tasks come when there is work and end when there was none
 *                  (queue)            │  ▲                  for a while; the stacks of ended fibers are used again
 *                               fiber_park, parked
 *
 * A job that waits in another way keeps its task; crew_leave() lets another one take its place meanwhile. In a
 * simulation every job keeps its task. */
#pragma once
#include "base/task.h"

struct crew;
struct crew_opts {
	const char *name;                   /* of the tasks */
	void (*work)(void *arg, void *job); /* takes the job */
	void (*parked)(
		void *arg, void *job);      /* NULL: nothing to do. It waits, and does not go on before this returns */
	void (*drop)(void *arg, void *job); /* takes a job that nobody began */
	/* The queue, under the crew's lock. NULL: first come, first served. */
	void *(*put)(void *arg, void *job); /* whom to drop: the job or a queued one, as there is no room; NULL */
	void *(*next)(void *arg);           /* called only while a job is queued */
	void *arg;
	size_t tasks_max, jobs_max; /* jobs_max: begun and not yet done */
};
struct crew *crew_new(const struct crew_opts *o);
/* Any task. Takes the job; what put() has no room for, and any job after crew_stop(), is dropped before this returns. */
void crew_add(struct crew *c, void *job);
/* Around a wait of a job that keeps its task. False: max jobs are away already. */
bool crew_leave(struct crew *c, size_t max);
void crew_return(struct crew *c);
/* For what runs when a job has parked (fiber_park()'s then): whether this thread is a crew's whose other jobs want nothing of
 * it. Then it may do the work that the job waits for, and take the job up again itself. */
bool crew_at_leisure(void);
/* Begins what is queued, until then; the rest is dropped. Waits for what was begun. */
void crew_stop(struct crew *c, struct mono until);
struct crew *crew_free(struct crew *c); /* stops it now; NULL accepted */
AUTO(struct crew, crew_free)

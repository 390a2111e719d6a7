/* Which controller ended the control process. Supervisor and control share a page of memory:
 *
 *     control      a thread notes whose work it does; when it fails, a signal handler names that controller
 *     supervisor   three ends within a minute: the controllers so named are held off from the next start on
 *
 * Held off until the server is started again or told to read its files again (SIGHUP): the API comes first. */
#pragma once
#include "base/clock.h"

#define HELD_MAX 8

struct crashes;
struct crashes *crashes_new(void); /* before the first fork; lives as long as the process */

/* The supervisor: after an end that was not asked for, with waitpid()'s status. True: one more is held off from now on.
 */
bool crashes_ended(struct crashes *c, int status, struct mono now);
void crashes_forget(struct crashes *c);

/* Control. KOGGE_DEBUG_CRASH=NAME in the environment makes that controller abort the process at its first work (for
 * tests). */
void crashes_watch(struct crashes *c);
void crashes_working(void *crashes, const char *name); /* of the calling thread; NULL: done */

/* Both: how many are held off, and the names, NULL-terminated. */
size_t crashes_held(const struct crashes *c, const char *ret[HELD_MAX + 1]);

/* How fast a processor is at a moment: short pieces of work that are always the same, of arithmetic and of memory, timed.
 *
 *   arithmetic  a chain of multiplications in registers: slow when the machine below us has taken the processor, or slowed it
 *   near        a walk over 64 pages that are always in use: slow besides when caches are crowded (a few times), or when the
 *               machine below us makes pages anew that it took away from under us (a hundred times)
 *   far         a walk over 32 of 32,768 pages, each of which is in use twice a second: slow also when the machine below us
 *               does so with memory that is less in use, or when its memory is
 *
 * Thread: one notes its samples, of one processor; they are read when it has ended. */
#pragma once
#include "base/clock.h"
#include <stddef.h>

#define PACE_WORKS(X) X(PACE_ARITHMETIC, "arithmetic") X(PACE_NEAR, "near") X(PACE_FAR, "far")
#define PACE_WORK(id, name) id,
enum pace_work { PACE_WORKS(PACE_WORK) PACE_WORKS_N };
#undef PACE_WORK

struct pace_sample {
	int64_t at; /* as the caller counts */
	int64_t ns[PACE_WORKS_N];
};
struct pace;

struct pace *pace_new(size_t samples_max); /* own: end it with pace_free() */
void pace_note(struct pace *p, int64_t at);
struct pace *pace_free(struct pace *p); /* NULL accepted */

/* Of the samples of n processors, the time of each piece of work for itself. */
struct pace_sample pace_rank(struct pace *const *p, size_t n, double part); /* 0.5: the median; 1: the longest */
struct pace_sample pace_mean(struct pace *const *p, size_t n, int64_t from, int64_t to); /* zeros: there are none */

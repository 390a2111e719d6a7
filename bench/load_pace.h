/* How fast a processor is at a moment: a short piece of work that is always the same, of arithmetic and of memory, timed.
 *
 *   arithmetic  a chain of multiplications in registers: slow when the machine below us has taken the processor, or slowed it
 *   memory      a walk over 64 pages that are there: slow besides when caches are crowded (a few times), or when the machine
 *               below us makes pages anew that it took away from under us (a hundred times)
 *
 * Thread: one notes its samples, of one processor; they are read when it has ended. */
#pragma once
#include "base/clock.h"
#include <stddef.h>

struct pace_sample {
	int64_t at; /* as the caller counts */
	int64_t arithmetic_ns, memory_ns;
};
struct pace;

struct pace *pace_new(size_t samples_max); /* own: end it with pace_free() */
void pace_note(struct pace *p, int64_t at);
struct pace *pace_free(struct pace *p); /* NULL accepted */

/* Of the samples of n processors, their two times each for itself. */
struct pace_sample pace_rank(struct pace *const *p, size_t n, double part); /* 0.5: the median; 1: the longest */
struct pace_sample pace_mean(struct pace *const *p, size_t n, int64_t from, int64_t to); /* zeros: there are none */

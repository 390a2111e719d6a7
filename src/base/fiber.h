/* Fibers on threads: straight-line code that leaves its thread to others while it waits for one answer.
 *
 *     a thread     fiber_run(f) ──► f runs, until it ends or parks ──► fiber_let_go(f), the thread does something else
 *     whoever has  fiber_wake(f) ──► f->ready(f), on his thread: the owner lets some thread call fiber_run(f) again
 *     the answer
 *
 * A fiber goes on on any thread: no lock (this is checked) and no thread-local may be held across fiber_park(). In a simulation, where
 * every task is a fiber of its own already, fiber_run() runs it to its end and fiber_current() is NULL. */
#pragma once
#include "base/context.h"

struct fiber {
	void (*run)(void *arg);
	void (*ready)(struct fiber *f);
	void *arg;
	/* fiber.c's own */
	char *stack;
	struct context context, *home;
	void (*then)(void *arg);
	void *then_arg;
	bool began, ended;
};

/* Before the first fiber_run(), and to use an ended one again: it keeps its stack. */
void fiber_begin(struct fiber *f, void (*run)(void *arg), void *arg);
void fiber_fini(struct fiber *f);
/* home: context_home() of this thread. False: it ended. True: it is parked, and waits for fiber_let_go(). */
bool fiber_run(struct fiber *f, struct context *home);
void fiber_let_go(struct fiber *f); /* it may run again elsewhere by the time this returns */
/* The one that runs this code; NULL: none. */
struct fiber *fiber_current(void);
/* Leaves the thread; then(arg) runs when the fiber can be woken. Returns once somebody has called fiber_wake(). */
void fiber_park(void (*then)(void *arg), void *arg);
void fiber_wake(struct fiber *f);

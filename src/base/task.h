/* Tasks: threads with small stacks, in straight-line code, and the only ways for them to wait.
 *
 * Two backends, chosen by where a call runs: ordinary threads; or, inside task_sim_run(), fibers on one thread
 * under virtual time whose order depends on nothing but a seed. Code that may be simulated (api, cache, client's
 * local side, controllers, scheduler, store/memory.c) waits only through this header: no mutex, thread-local or
 * blocking call of a library spans a wait. Mutexes are short, never recursive.
 *
 * Everything here is callable from any task; from a foreign thread (libuv loop) too, on the thread backend. */
#pragma once
#include "base/clock.h"
#include "base/util.h"
#include <pthread.h>

struct task;
/* name: shown by the debugger and in crash reports, 15 bytes kept. Stack 256 KiB with a guard page.
 * Own: end with task_join(). */
struct task *task_spawn(const char *name, void (*run)(void *arg), void *arg);
struct task *task_join(struct task *t); /* waits for its end; NULL accepted, returns NULL */
void task_detach(struct task *t);
void task_sleep_ms(int64_t ms);
void task_yield(void);
/* Nobody waits for what this thread does: from now on it has a processor when the others of the process leave it one, and a
 * tenth of one when they do not. No-op in a simulation. */
void task_patient(void);

struct task_wait_list { /* fibers that wait, oldest first; used by the simulator only */
	struct task *first, *last;
};

struct task_mutex {
	pthread_mutex_t real;
	struct task_wait_list sim;
	struct task *sim_owner;
};
void task_mutex_init(struct task_mutex *m);
void task_mutex_fini(struct task_mutex *m);
void task_lock(struct task_mutex *m);
void task_unlock(struct task_mutex *m);
#define TASK_MUTEX_INIT                           \
	{                                         \
		.real = PTHREAD_MUTEX_INITIALIZER \
	}

struct task_cond {
	pthread_cond_t real;
	struct task_wait_list sim;
};
void task_cond_init(struct task_cond *c); /* waits on the monotonic clock */
void task_cond_fini(struct task_cond *c);
/* Both may return early, with nobody's signal, as pthread's do (the simulation does so on purpose): wait in a loop. */
void task_wait(struct task_cond *c, struct task_mutex *m);
/* false: the time came first. MONO_NEVER waits for ever. */
bool task_wait_until(struct task_cond *c, struct task_mutex *m, struct mono until);
void task_signal(struct task_cond *c);
void task_broadcast(struct task_cond *c);

/* One bit "stop", shared by all tasks of a part: sleeping on it returns at once when it is raised. */
struct stop;
struct stop *stop_new(void);
struct stop *stop_free(struct stop *s);
AUTO(struct stop, stop_free)
void stop_raise(struct stop *s);
bool stop_raised(struct stop *s);
bool stop_sleep_ms(struct stop *s, int64_t ms); /* false: stopped */

/* Randomness: the kernel's on threads, the seed's in a simulation. */
void rand_bytes(void *p, size_t n);
uint64_t rand_u64(void);
uint64_t rand_below(uint64_t n); /* n > 0 */
#define UUID_TEXT_MAX 37
void rand_uuid(char ret[UUID_TEXT_MAX]); /* version 4, lower case */

/* Runs main(arg) and every task it spawns as fibers under virtual time, until all have ended or max_virtual_ms passed.
 * Returns a hash of the trace: every switch, spawn, wake and task_trace() line. Same seed, same hash, in any process.
 * Ends the process with a report when all fibers wait and no time is pending (a deadlock), or when they run on and on
 * while no time passes (a livelock). Tasks that max_virtual_ms cuts off are not run again: what they own leaks.
 * Mono starts at 1 s, wall at 2026-01-01T00:00:00Z. KOGGE_SIM_TRACE=1 in the environment prints the trace to stderr. */
uint64_t task_sim_run(uint64_t seed, int64_t max_virtual_ms, void (*main)(void *arg), void *arg);
bool task_sim_active(void);
/* Puts an observation into the trace (the simulation's own log, hashed). No-op on threads. */
void task_trace(const char *fmt, ...) PRINTF(1, 2);

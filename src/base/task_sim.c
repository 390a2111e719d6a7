/* The simulator behind base/task.h: every task is a fiber on one thread, time is virtual, and what runs next is
 * chosen by a generator that starts from the seed.
 *
 *      runnable ──chosen──► running ──waits──► on a list, until a time, or both ──woken──► runnable
 *
 * When nobody can run, time jumps to the earliest that somebody waits for; when nobody waits for a time either, that is a
 * deadlock. The trace is hashed, never stored: names, numbers and virtual times, no address. */
#include "base/base_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define FIBERS_ARE_TOLD 1
#else
#define FIBERS_ARE_TOLD 0
#endif

#define STACK_BYTES ((size_t)256 << 10)
#define WALL_START_NS 1767225600000000000LL /* 2026-01-01 */
#define NEVER INT64_MAX

enum state { RUNNABLE, WAITING, ENDED };

struct task {
	struct task *next;	    /* of all, in order of birth */
	struct task *next_waiting;  /* on a wait list */
	struct task_wait_list *on;  /* the list it waits on, NULL: only for a time */
	int64_t until_ns;	    /* WAITING: NEVER or a time */
	bool woken;		    /* the last wait ended by a wake, not by time */
	enum state state;
	bool detached;
	unsigned id;
	char name[24];
	void (*run)(void *arg);
	void *arg;
	ucontext_t context;
	char *stack;
	struct task_wait_list joiners;
	void *fake_stack; /* AddressSanitizer's */
};

struct sim {
	uint64_t random, hash;
	int64_t now_ns, end_ns;
	struct task *tasks, *last, *running;
	unsigned n_tasks, n_runnable;
	ucontext_t home;
	void *home_fake_stack;
	const void *home_stack;
	size_t home_stack_bytes;
};

static __thread struct sim *current;

bool sim_active(void)
{
	return current != NULL;
}

int64_t sim_mono_ns(void)
{
	return current->now_ns;
}

int64_t sim_wall_ns(void)
{
	return WALL_START_NS + current->now_ns;
}

/* splitmix64 */
uint64_t sim_rand(void)
{
	uint64_t z = current->random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static void trace(const void *p, size_t n)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < n; i++)
		current->hash = (current->hash ^ b[i]) * 0x100000001b3ULL;
}

static void trace_number(uint64_t n)
{
	trace(&n, sizeof(n));
}

void task_trace(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!current)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	trace_number((uint64_t)current->now_ns);
	trace(text, strlen(text));
}

/* ---- switching ---------------------------------------------------------------------------------------------------- */

static void enter_home(struct task *from)
{
#if FIBERS_ARE_TOLD
	__sanitizer_start_switch_fiber(from->state == ENDED ? NULL : &from->fake_stack, current->home_stack, current->home_stack_bytes);
#endif
	swapcontext(&from->context, &current->home);
#if FIBERS_ARE_TOLD
	__sanitizer_finish_switch_fiber(from->fake_stack, &current->home_stack, &current->home_stack_bytes);
#endif
}

static void enter(struct task *t)
{
	current->running = t;
	trace_number(t->id);
#if FIBERS_ARE_TOLD
	__sanitizer_start_switch_fiber(&current->home_fake_stack, t->stack, STACK_BYTES);
#endif
	swapcontext(&current->home, &t->context);
#if FIBERS_ARE_TOLD
	__sanitizer_finish_switch_fiber(current->home_fake_stack, NULL, NULL);
#endif
	current->running = NULL;
}

static void list_add(struct task_wait_list *l, struct task *t)
{
	t->next_waiting = NULL;
	if (l->last)
		l->last->next_waiting = t;
	else
		l->first = t;
	l->last = t;
}

static void list_remove(struct task_wait_list *l, struct task *t)
{
	struct task *before = NULL;

	for (struct task *i = l->first; i && i != t; i = i->next_waiting)
		before = i;
	if (before)
		before->next_waiting = t->next_waiting;
	else
		l->first = t->next_waiting;
	if (l->last == t)
		l->last = before;
}

static void make_runnable(struct task *t, bool woken)
{
	if (t->on)
		list_remove(t->on, t);
	t->on = NULL;
	t->woken = woken;
	t->state = RUNNABLE;
	current->n_runnable++;
}

/* The running task leaves; true when it was woken, false when its time came. */
static bool wait_on(struct task_wait_list *l, int64_t until_ns)
{
	struct task *t = current->running;

	t->on = l;
	t->until_ns = until_ns;
	t->state = WAITING;
	current->n_runnable--;
	if (l)
		list_add(l, t);
	enter_home(t);
	return t->woken;
}

static bool wake_first(struct task_wait_list *l)
{
	if (!l->first)
		return false;
	make_runnable(l->first, true);
	return true;
}

/* ---- tasks -------------------------------------------------------------------------------------------------------- */

static void task_free(struct task *t)
{
	munmap(t->stack - getpagesize(), STACK_BYTES + (size_t)getpagesize());
	free(t);
}

static void unlink_task(struct task *t)
{
	struct task *before = NULL;

	for (struct task *i = current->tasks; i != t; i = i->next)
		before = i;
	if (before)
		before->next = t->next;
	else
		current->tasks = t->next;
	if (current->last == t)
		current->last = before;
}

static void fiber_main(void)
{
	struct task *t = current->running;

#if FIBERS_ARE_TOLD
	__sanitizer_finish_switch_fiber(NULL, &current->home_stack, &current->home_stack_bytes);
#endif
	t->run(t->arg);
	while (wake_first(&t->joiners)) {
	}
	t->state = ENDED;
	current->n_runnable--;
	enter_home(t);
}

struct task *sim_spawn(const char *name, void (*run)(void *arg), void *arg)
{
	size_t page = (size_t)getpagesize();
	struct task *t = xcalloc(1, sizeof(*t));
	char *memory = mmap(NULL, STACK_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) < 0)
		PANIC("no memory for a fiber's stack");
	t->stack = memory + page;
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->run = run;
	t->arg = arg;
	t->id = ++current->n_tasks;
	t->state = RUNNABLE;
	current->n_runnable++;
	getcontext(&t->context);
	t->context.uc_stack.ss_sp = t->stack;
	t->context.uc_stack.ss_size = STACK_BYTES;
	t->context.uc_link = NULL;
	makecontext(&t->context, fiber_main, 0);
	if (current->last)
		current->last->next = t;
	else
		current->tasks = t;
	current->last = t;
	trace(t->name, strlen(t->name));
	return t;
}

void sim_join(struct task *t)
{
	while (t->state != ENDED)
		wait_on(&t->joiners, NEVER);
	unlink_task(t);
	task_free(t);
}

void sim_detach(struct task *t)
{
	t->detached = true;
}

void sim_sleep_ms(int64_t ms)
{
	wait_on(NULL, current->now_ns + MAX(ms, (int64_t)0) * 1000000);
}

void sim_yield(void)
{
	enter_home(current->running);
}

/* ---- mutex and condition ------------------------------------------------------------------------------------------ */

/* Other threads would run in between now and then: so do other fibers. */
static void maybe_preempt(void)
{
	if (sim_rand() % 4 == 0)
		sim_yield();
}

static void acquire(struct task_mutex *m)
{
	PRE(m->sim_owner != current->running);
	while (m->sim_owner)
		wait_on(&m->sim, NEVER);
	m->sim_owner = current->running;
}

void sim_lock(struct task_mutex *m)
{
	maybe_preempt();
	acquire(m);
}

static void release(struct task_mutex *m)
{
	PRE(m->sim_owner == current->running);
	m->sim_owner = NULL;
	wake_first(&m->sim);
}

void sim_unlock(struct task_mutex *m)
{
	release(m);
	maybe_preempt();
}

bool sim_wait_until(struct task_cond *c, struct task_mutex *m, struct mono until)
{
	bool woken;

	if (until.ns <= current->now_ns) {
		release(m);
		sim_yield();
		acquire(m);
		return false;
	}
	release(m);
	woken = wait_on(&c->sim, until.ns);
	acquire(m);
	return woken;
}

void sim_wake(struct task_cond *c, bool all)
{
	while (wake_first(&c->sim) && all) {
	}
}

/* ---- the run ------------------------------------------------------------------------------------------------------ */

static void wake_due(struct sim *s)
{
	for (struct task *t = s->tasks; t; t = t->next)
		if (t->state == WAITING && t->until_ns <= s->now_ns)
			make_runnable(t, false);
}

/* false: nobody waits for a time. */
static bool jump(struct sim *s)
{
	int64_t next = NEVER;

	for (struct task *t = s->tasks; t; t = t->next)
		if (t->state == WAITING)
			next = MIN(next, t->until_ns);
	if (next == NEVER)
		return false;
	s->now_ns = MAX(s->now_ns, next);
	trace_number((uint64_t)s->now_ns);
	wake_due(s);
	return true;
}

static struct task *choose(struct sim *s)
{
	uint64_t n = sim_rand() % s->n_runnable;

	for (struct task *t = s->tasks; t; t = t->next)
		if (t->state == RUNNABLE && n-- == 0)
			return t;
	return NULL;
}

static void report_deadlock(struct sim *s)
{
	fprintf(stderr, "deadlock at %lld virtual ms; these tasks wait for each other:\n", (long long)(s->now_ns / 1000000));
	for (struct task *t = s->tasks; t; t = t->next)
		if (t->state == WAITING)
			fprintf(stderr, "  %u %s\n", t->id, t->name);
	PANIC("deadlock in the simulation");
}

static bool all_ended(const struct sim *s)
{
	for (const struct task *t = s->tasks; t; t = t->next)
		if (t->state != ENDED)
			return false;
	return true;
}

static void forget_ended(struct sim *s)
{
	for (struct task *t = s->tasks, *next; t; t = next) {
		next = t->next;
		if (t->state == ENDED && t->detached) {
			unlink_task(t);
			task_free(t);
		}
	}
}

static void run(struct sim *s)
{
	while (!all_ended(s) && s->now_ns <= s->end_ns) {
		struct task *t;

		if (!s->n_runnable && !jump(s))
			report_deadlock(s);
		if (s->now_ns > s->end_ns)
			break;
		t = choose(s);
		/* work takes time: a loop that never waits still ends */
		s->now_ns += 1000;
		enter(t);
		if (t->state == ENDED && t->detached)
			forget_ended(s);
		wake_due(s);
	}
}

uint64_t task_sim_run(uint64_t seed, int64_t max_virtual_ms, void (*main)(void *arg), void *arg)
{
	struct sim s = { .random = seed, .hash = 0xcbf29ce484222325ULL, .end_ns = max_virtual_ms * 1000000 };
	struct task *t, *next;

	PRE(!current);
	current = &s;
	sim_detach(sim_spawn("main", main, arg));
	run(&s);
	trace_number((uint64_t)s.now_ns);
	for (t = s.tasks; t; t = next) {
		next = t->next;
		task_free(t);
	}
	current = NULL;
	return s.hash;
}

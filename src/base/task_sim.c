/* The simulator: every task a fiber, all on one OS thread, under a clock that only moves when nobody can run.
 *
 *	          ┌────────────── runnable ◄── wake: signal, unlock, join, its time ──┐
 *	          ▼ (the seed picks one)                                              │
 *	    one fiber runs until it waits, yields, or a lock, unlock ───────► waits in a list, a timer, or both
 *	    or signal preempts it (the seed decides)
 *
 * Order comes from the seed, from spawn numbers and from lists; never from addresses, hashes or real time. So the
 * trace (every spawn, switch, wake, step of the clock and task_trace() line) has the same hash in every process. */
#include "base/base_internal.h"
#include "base/buf.h"
#include "base/context.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define START_MONO_NS INT64_C(1000000000)
#define START_WALL_NS (INT64_C(1767225600) * 1000000000) /* 2026-01-01T00:00:00Z */
#define SWITCHES_AN_INSTANT_MAX 5000000
#define PREEMPT_ONE_IN 4
#define SPURIOUS_ONE_IN 32

enum fiber_state { FIBER_RUNNABLE, FIBER_LOCK, FIBER_COND, FIBER_SLEEP, FIBER_JOIN, FIBER_ENDED };

struct fiber {
	struct task task;
	uint64_t id;
	enum fiber_state state;
	bool detached, timed_out;
	struct fiber *older, *newer;     /* all fibers, in the order of their birth */
	struct fiber *next_waiting;      /* in `waits_in` */
	struct task_wait_list *waits_in; /* a mutex's, a condition's or a fiber's joiners */
	const struct task_mutex *wants;  /* FIBER_LOCK */
	const struct fiber *joins;       /* FIBER_JOIN */
	struct task_wait_list joiners;
	struct heap_node timer;
	char *stack;
	struct context context;
};

struct sim {
	uint64_t seed, order_rng, user_rng, hash, switches, ids, timer_seq;
	int64_t now_ns, until_ns;
	struct fiber *running, *oldest, *newest;
	struct fiber **runnable;
	size_t runnable_n, runnable_cap;
	struct heap timers;
	char **stacks; /* of ended fibers, for the next ones */
	size_t stacks_n, stacks_cap;
	struct context context; /* the loop's */
	bool show;
};

static _Thread_local struct sim *current;

bool task_sim_active(void)
{
	return current != NULL;
}

static struct fiber *fiber_of(struct task *t)
{
	return container_of(t, struct fiber, task);
}

/* ---- chance and trace ------------------------------------------------------------------------ */

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool one_in(struct sim *s, uint64_t n)
{
	return draw(&s->order_rng) % n == 0;
}

void sim_rand(void *p, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = draw(&current->user_rng);

		for (size_t k = i; k < n && k < i + 8; k++, v >>= 8)
			((unsigned char *)p)[k] = (unsigned char)v;
	}
}

static void trace_number(struct sim *s, uint64_t v)
{
	s->hash = (s->hash ^ v) * 0x9e3779b97f4a7c15u;
	s->hash ^= s->hash >> 29;
}

/* One event of the trace: the hash always, the line to stderr when KOGGE_SIM_TRACE is set. */
static void trace(struct sim *s, const char *what, const struct fiber *f, const char *text)
{
	trace_number(s, str_hash(str_c(what)));
	trace_number(s, f ? f->id : 0);
	trace_number(s, (uint64_t)s->now_ns);
	trace_number(s, str_hash(str_c(text)));
	if (s->show)
		fprintf(stderr, "sim %lld.%06lld ms: %s #%llu %s %s\n", (long long)(s->now_ns / 1000000),
			(long long)(s->now_ns % 1000000), what, (unsigned long long)(f ? f->id : 0),
			f ? f->task.name : "", text);
}

void task_trace(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (!current)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	trace(current, "trace", current->running, text);
}

const char *sim_name(void)
{
	return current->running ? current->running->task.name : "simulator";
}

struct mono sim_mono(void)
{
	return (struct mono){ current->now_ns };
}

struct wall sim_wall(void)
{
	return (struct wall){ START_WALL_NS + current->now_ns - START_MONO_NS };
}

/* ---- switching ------------------------------------------------------------------------------- */

static void to_fiber(struct sim *s, struct fiber *f)
{
	s->running = f;
	context_switch(&s->context, &f->context, false);
	s->running = NULL;
}

static void to_loop(struct sim *s)
{
	struct fiber *f = s->running;
	int saved = errno;

	context_switch(&f->context, &s->context, f->state == FIBER_ENDED);
	errno = saved;
}

static void make_runnable(struct sim *s, struct fiber *f)
{
	f->state = FIBER_RUNNABLE;
	GROW(s->runnable, s->runnable_n, s->runnable_cap, 16);
	s->runnable[s->runnable_n++] = f;
}

static void list_add(struct task_wait_list *l, struct fiber *f)
{
	f->waits_in = l;
	f->next_waiting = NULL;
	if (l->last)
		fiber_of(l->last)->next_waiting = f;
	else
		l->first = &f->task;
	l->last = &f->task;
}

static void list_remove(struct fiber *f)
{
	struct task_wait_list *l = f->waits_in;
	struct fiber *before = NULL;

	if (!l)
		return;
	for (struct fiber *at = fiber_of(l->first); at != f; at = at->next_waiting)
		before = at;
	if (before)
		before->next_waiting = f->next_waiting;
	else
		l->first = f->next_waiting ? &f->next_waiting->task : NULL;
	if (l->last == &f->task)
		l->last = before ? &before->task : NULL;
	f->waits_in = NULL;
	f->next_waiting = NULL;
}

static void wake(struct sim *s, struct fiber *f, const char *why)
{
	list_remove(f);
	heap_remove(&s->timers, &f->timer);
	trace(s, "wake", f, why);
	make_runnable(s, f);
}

static void wake_first(struct sim *s, struct task_wait_list *l, const char *why)
{
	if (l->first)
		wake(s, fiber_of(l->first), why);
}

static void wake_all(struct sim *s, struct task_wait_list *l, const char *why)
{
	while (l->first)
		wake_first(s, l, why);
}

/* The running fiber gives up the thread until someone wakes it. */
static void block(struct sim *s, enum fiber_state state)
{
	s->running->state = state;
	to_loop(s);
}

static void set_timer(struct sim *s, struct fiber *f, int64_t at_ns)
{
	f->timed_out = false;
	f->timer.at = at_ns;
	f->timer.seq = s->timer_seq++;
	heap_add(&s->timers, &f->timer);
}

void sim_yield(void)
{
	make_runnable(current, current->running);
	to_loop(current);
}

static void maybe_preempt(struct sim *s)
{
	if (one_in(s, PREEMPT_ONE_IN))
		sim_yield();
}

/* ---- fibers ---------------------------------------------------------------------------------- */

static void fiber_stack(struct sim *s, struct fiber *f)
{
	if (s->stacks_n) {
		f->stack = s->stacks[--s->stacks_n];
		stack_reuse(f->stack);
	} else {
		f->stack = stack_new();
	}
}

static void fiber_stack_release(struct sim *s, struct fiber *f)
{
	if (!f->stack)
		return;
	context_fini(&f->context);
	GROW(s->stacks, s->stacks_n, s->stacks_cap, 16);
	s->stacks[s->stacks_n++] = TAKE(f->stack);
}

static void fiber_free(struct sim *s, struct fiber *f)
{
	if (f->older)
		f->older->newer = f->newer;
	else
		s->oldest = f->newer;
	if (f->newer)
		f->newer->older = f->older;
	else
		s->newest = f->older;
	fiber_stack_release(s, f);
	free(f);
}

static void fiber_main(void)
{
	struct sim *s = current;
	struct fiber *f = s->running;

	context_entered();
	f->task.run(f->task.arg);
	trace(s, "end", f, "");
	wake_all(s, &f->joiners, "join");
	f->state = FIBER_ENDED;
	to_loop(s);
	PANIC("an ended fiber ran on");
}

struct task *sim_spawn(const char *name, void (*run)(void *arg), void *arg)
{
	struct sim *s = current;
	struct fiber *f = xcalloc(1, sizeof(*f));

	task_init(&f->task, name, run, arg);
	f->id = ++s->ids;
	fiber_stack(s, f);
	context_init(&f->context, f->stack, fiber_main);
	f->older = s->newest;
	if (s->newest)
		s->newest->newer = f;
	else
		s->oldest = f;
	s->newest = f;
	trace(s, "spawn", f, name);
	make_runnable(s, f);
	return &f->task;
}

void sim_join(struct task *t)
{
	struct sim *s = current;
	struct fiber *f = fiber_of(t);

	PRE(f != s->running);
	while (f->state != FIBER_ENDED) {
		list_add(&f->joiners, s->running);
		s->running->joins = f;
		block(s, FIBER_JOIN);
	}
	fiber_free(s, f);
}

void sim_detach(struct task *t)
{
	struct fiber *f = fiber_of(t);

	if (f->state == FIBER_ENDED)
		fiber_free(current, f);
	else
		f->detached = true;
}

void sim_sleep_ms(int64_t ms)
{
	struct sim *s = current;

	if (ms <= 0) {
		sim_yield();
		return;
	}
	set_timer(s, s->running, mono_add_ms(sim_mono(), ms).ns);
	block(s, FIBER_SLEEP);
}

/* ---- locks and conditions -------------------------------------------------------------------- */

static void acquire(struct sim *s, struct task_mutex *m)
{
	if (m->sim_owner == &s->running->task)
		PANIC("simulation: task %s locks a mutex that it holds", s->running->task.name);
	while (m->sim_owner) { /* whoever comes first gets it: a woken fiber may find it taken again */
		list_add(&m->sim, s->running);
		s->running->wants = m;
		block(s, FIBER_LOCK);
	}
	m->sim_owner = &s->running->task;
}

static void release(struct sim *s, struct task_mutex *m)
{
	if (m->sim_owner != &s->running->task)
		PANIC("simulation: task %s unlocks a mutex that it does not hold", s->running->task.name);
	m->sim_owner = NULL;
	wake_first(s, &m->sim, "lock");
}

void sim_lock(struct task_mutex *m)
{
	maybe_preempt(current);
	acquire(current, m);
}

void sim_unlock(struct task_mutex *m)
{
	release(current, m);
	maybe_preempt(current);
}

bool sim_wait_until(struct task_cond *c, struct task_mutex *m, struct mono until)
{
	struct sim *s = current;
	struct fiber *f = s->running;

	f->timed_out = false;
	if (until.ns <= s->now_ns) {
		release(s, m);
		sim_yield();
		f->timed_out = true;
	} else if (one_in(s, SPURIOUS_ONE_IN)) { /* as threads may: waiting without a loop is a bug to find here */
		release(s, m);
		sim_yield();
	} else {
		list_add(&c->sim, f);
		if (until.ns != INT64_MAX)
			set_timer(s, f, until.ns);
		release(s, m);
		block(s, FIBER_COND);
	}
	bool in_time = !f->timed_out;
	acquire(s, m);
	return in_time;
}

/* Whoever the seed names: threads promise no order, so nothing may need one. */
void sim_signal(struct task_cond *c)
{
	struct sim *s = current;
	struct fiber *chosen = NULL;
	uint64_t n = 0;

	for (struct task *at = c->sim.first; at;) {
		struct fiber *f = fiber_of(at);

		if (++n == 1 || one_in(s, n))
			chosen = f;
		at = f->next_waiting ? &f->next_waiting->task : NULL;
	}
	if (chosen)
		wake(s, chosen, "signal");
	maybe_preempt(s); /* mostly with the mutex held: others meet it taken */
}

void sim_broadcast(struct task_cond *c)
{
	wake_all(current, &c->sim, "broadcast");
	maybe_preempt(current);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void describe(struct buf *b, const struct fiber *f)
{
	const struct fiber *other;

	buf_printf(b, "  #%llu %s: ", (unsigned long long)f->id, f->task.name);
	switch (f->state) {
	case FIBER_LOCK:
		other = f->wants->sim_owner ? container_of(f->wants->sim_owner, struct fiber, task) : NULL;
		if (other)
			buf_printf(b, "waits for a lock held by #%llu %s\n", (unsigned long long)other->id,
				other->task.name);
		else
			buf_c(b, "waits for a lock\n");
		break;
	case FIBER_JOIN:
		buf_printf(b, "waits for the end of #%llu %s\n", (unsigned long long)f->joins->id, f->joins->task.name);
		break;
	case FIBER_COND:
		buf_c(b, "waits for a signal that nobody will send\n");
		break;
	case FIBER_SLEEP:
		buf_c(b, "sleeps\n");
		break;
	case FIBER_RUNNABLE:
		buf_c(b, "runs\n");
		break;
	case FIBER_ENDED:
		buf_c(b, "has ended, not joined\n");
		break;
	}
}

static _Noreturn void give_up(struct sim *s, const char *why)
{
	auto_buf struct buf b = BUF_INIT;

	for (const struct fiber *f = s->oldest; f; f = f->newer)
		describe(&b, f);
	PANIC("simulation: %s at %lld virtual ms, seed %llu\n%.*s", why,
		(long long)((s->now_ns - START_MONO_NS) / 1000000), (unsigned long long)s->seed, STR_ARG(buf_view(&b)));
}

static bool any_waits(const struct sim *s)
{
	for (const struct fiber *f = s->oldest; f; f = f->newer) {
		if (f->state != FIBER_ENDED)
			return true;
	}
	return false;
}

/* Nobody can run: the clock jumps to the next timer, and all that are due wake. false: the run is over. */
static bool step_clock(struct sim *s)
{
	struct heap_node *next = heap_first(&s->timers);

	if (!next) {
		if (any_waits(s))
			give_up(s, "deadlock");
		return false;
	}
	if (next->at > s->until_ns) {
		s->now_ns = s->until_ns;
		trace(s, "limit", NULL, "");
		return false;
	}
	s->now_ns = next->at;
	s->switches = 0;
	for (; (next = heap_first(&s->timers)) != NULL && next->at <= s->now_ns;) {
		struct fiber *f = container_of(next, struct fiber, timer);

		f->timed_out = true;
		wake(s, f, "time");
	}
	return true;
}

static struct fiber *pick(struct sim *s)
{
	size_t i = s->runnable_n > 1 ? (size_t)(draw(&s->order_rng) % s->runnable_n) : 0;
	struct fiber *f = s->runnable[i];

	s->runnable[i] = s->runnable[--s->runnable_n];
	return f;
}

static void loop(struct sim *s)
{
	for (;;) {
		struct fiber *f;

		if (s->runnable_n == 0 && !step_clock(s))
			return;
		if (++s->switches > SWITCHES_AN_INSTANT_MAX)
			give_up(s, "livelock: the clock cannot move, tasks run on and on");
		f = pick(s);
		trace(s, "switch", f, "");
		to_fiber(s, f);
		if (f->state != FIBER_ENDED)
			continue;
		if (f->detached)
			fiber_free(s, f);
		else
			fiber_stack_release(s, f);
	}
}

static void sim_fini(struct sim *s)
{
	while (s->oldest)
		fiber_free(s, s->oldest);
	while (s->stacks_n)
		stack_free(s->stacks[--s->stacks_n]);
	free(s->stacks);
	free(s->runnable);
	context_fini(&s->context);
	heap_fini(&s->timers);
}

uint64_t task_sim_run(uint64_t seed, int64_t max_virtual_ms, void (*main)(void *arg), void *arg)
{
	struct sim s = { .seed = seed, .order_rng = seed, .now_ns = START_MONO_NS };

	PRE(!current);
	s.user_rng = draw(&s.order_rng); /* two streams: what tasks draw does not shift whom the seed picks */
	s.until_ns = mono_add_ms((struct mono){ s.now_ns }, max_virtual_ms).ns;
	s.show = getenv("KOGGE_SIM_TRACE") != NULL;
	context_home(&s.context);
	current = &s;
	sim_detach(sim_spawn("main", main, arg));
	loop(&s);
	sim_fini(&s);
	current = NULL;
	return s.hash;
}

#include "base/fiber.h"
#include "base/base_internal.h"

static _Thread_local struct fiber *running;

/* Never inlined: code that parked may go on on another thread, where `running` has another address. */
__attribute__((noinline)) static void set_running(struct fiber *f)
{
	running = f;
}

__attribute__((noinline)) struct fiber *fiber_current(void)
{
	return running;
}

static void entry(void)
{
	struct fiber *f = fiber_current();

	context_entered();
	f->run(f->arg);
	f->ended = true;
	context_switch(&f->context, f->home, true);
	PANIC("an ended fiber ran on");
}

void fiber_begin(struct fiber *f, void (*run)(void *arg), void *arg)
{
	PRE(!f->began || f->ended);
	f->run = run;
	f->arg = arg;
	f->began = f->ended = false;
}

void fiber_fini(struct fiber *f)
{
	PRE(!f->began || f->ended);
	if (f->stack)
		stack_free(f->stack);
	f->stack = NULL;
}

static void prepare(struct fiber *f)
{
	f->began = true;
	if (f->stack)
		stack_reuse(f->stack);
	else
		f->stack = stack_new();
	context_init(&f->context, f->stack, entry);
}

bool fiber_run(struct fiber *f, struct context *home)
{
	if (task_sim_active()) {
		f->run(f->arg);
		return false;
	}
	if (!f->began)
		prepare(f);
	f->home = home;
	set_running(f);
	context_switch(home, &f->context, false);
	set_running(NULL);
	if (f->ended) {
		context_fini(&f->context);
		return false;
	}
	return true;
}

void fiber_let_go(struct fiber *f)
{
	f->then(f->then_arg);
}

void fiber_park(void (*then)(void *arg), void *arg)
{
	struct fiber *f = fiber_current();

	PRE(task_locks_held() == 0); /* it would be another thread that unlocks */
	f->then = then;
	f->then_arg = arg;
	context_switch(&f->context, f->home, false);
}

void fiber_wake(struct fiber *f)
{
	f->ready(f);
}

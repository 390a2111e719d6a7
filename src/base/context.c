#include "base/context.h"
#include "base/base_internal.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* -DKOGGE_PORTABLE_SWITCH tests the way of other machines on this one. */
#if defined(__x86_64__) && !defined(KOGGE_PORTABLE_SWITCH)
#define HAVE_EXCHANGE 1
#else
#include <ucontext.h>
#endif

#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef HAVE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define STACK_BYTES (SANITIZED ? TASK_STACK_BYTES * 8 : TASK_STACK_BYTES) /* frames grow under a sanitizer */

/* ---- stacks ---------------------------------------------------------------------------------- */

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

char *stack_new(void)
{
	size_t page = page_bytes();
	char *p = mmap(
		NULL, STACK_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || mprotect(p, page, PROT_NONE) < 0)
		PANIC("no memory for a fiber's stack: %s", strerror(errno));
	return p + page;
}

/* The last frames of an ended fiber never returned: ASan still guards them. */
void stack_reuse(char *stack)
{
#ifdef HAVE_ASAN
	__asan_unpoison_memory_region(stack, STACK_BYTES);
#else
	(void)stack;
#endif
}

void stack_free(char *stack)
{
	size_t page = page_bytes();

	stack_reuse(stack);
	munmap(stack - page, STACK_BYTES + page);
}

/* ---- the machine's part ---------------------------------------------------------------------- */

#ifdef HAVE_EXCHANGE

/* Saves what a call must keep, exchanges the stacks, and returns into the other's call. A hand-written switch is some
 * twenty times faster than swapcontext(), which asks the kernel for the signal mask (and ASan, for all of the stack).
 */
__attribute__((naked, noinline)) static void exchange(void **save_sp, void *to_sp)
{
	__asm__ volatile("pushq %rbp\n\t"
			 "pushq %rbx\n\t"
			 "pushq %r12\n\t"
			 "pushq %r13\n\t"
			 "pushq %r14\n\t"
			 "pushq %r15\n\t"
			 "movq %rsp, (%rdi)\n\t"
			 "movq %rsi, %rsp\n\t"
			 "popq %r15\n\t"
			 "popq %r14\n\t"
			 "popq %r13\n\t"
			 "popq %r12\n\t"
			 "popq %rbx\n\t"
			 "popq %rbp\n\t"
			 "ret");
}

static void machine_home(struct context *c)
{
	(void)c;
}

/* As exchange() would have left it: six registers, entry as the place to return to, and no caller above. */
static void machine_init(struct context *c, char *stack, void (*entry)(void))
{
	void **sp = (void **)(void *)(stack + STACK_BYTES);

	*--sp = NULL;
	*--sp = (void *)entry;
	for (int i = 0; i < 6; i++)
		*--sp = NULL;
	c->sp = sp;
}

static void machine_fini(struct context *c)
{
	(void)c;
}

static void machine_switch(struct context *from, struct context *to)
{
	exchange(&from->sp, to->sp);
}

#else

static void machine_home(struct context *c)
{
	c->machine = xcalloc(1, sizeof(ucontext_t));
}

static void machine_init(struct context *c, char *stack, void (*entry)(void))
{
	ucontext_t *u = xcalloc(1, sizeof(*u));

	PRE(getcontext(u) == 0);
	u->uc_stack.ss_sp = stack;
	u->uc_stack.ss_size = STACK_BYTES;
	makecontext(u, entry, 0);
	c->machine = u;
}

static void machine_fini(struct context *c)
{
	free(c->machine);
}

static void machine_switch(struct context *from, struct context *to)
{
	PRE(swapcontext(from->machine, to->machine) == 0);
}

#endif

/* ---- and the sanitizers' --------------------------------------------------------------------- */

void context_home(struct context *c)
{
	*c = (struct context){ 0 };
	machine_home(c);
#ifdef HAVE_ASAN
	pthread_attr_t attr;
	void *stack;

	PRE(pthread_getattr_np(pthread_self(), &attr) == 0 &&
		pthread_attr_getstack(&attr, &stack, &c->stack_bytes) == 0);
	pthread_attr_destroy(&attr);
	c->stack = stack;
#endif
#ifdef HAVE_TSAN
	c->shadow = __tsan_get_current_fiber();
#endif
}

void context_init(struct context *c, char *stack, void (*entry)(void))
{
	*c = (struct context){ .stack = stack, .stack_bytes = STACK_BYTES };
	machine_init(c, stack, entry);
#ifdef HAVE_TSAN
	c->shadow = __tsan_create_fiber(0);
#endif
}

void context_fini(struct context *c)
{
#ifdef HAVE_TSAN
	if (c->stack && c->shadow) /* not a thread's own */
		__tsan_destroy_fiber(c->shadow);
#endif
	machine_fini(c);
	*c = (struct context){ 0 };
}

void context_switch(struct context *from, struct context *to, bool last)
{
	(void)last;
#ifdef HAVE_ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->stack, to->stack_bytes);
#endif
#ifdef HAVE_TSAN
	__tsan_switch_to_fiber(to->shadow, 0);
#endif
	machine_switch(from, to);
#ifdef HAVE_ASAN
	__sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

void context_entered(void)
{
#ifdef HAVE_ASAN
	__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
}

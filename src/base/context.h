/* Switching between stacks, for fibers (fiber.h) and the simulator. Sanitizers are told of every switch. */
#pragma once
#include "base/util.h"

struct context {
	void *sp;          /* where it stands, while another runs */
	const void *stack; /* lowest byte; the thread's own is known under ASan only, which asks for it */
	size_t stack_bytes;
	void *fake_stack, *shadow; /* ASan's, TSan's */
	void *machine;             /* a ucontext_t where we have no assembly */
};

/* The thread's own stack: begin on that thread, end with context_fini(). */
void context_home(struct context *c);
/* entry() starts at the first switch to c; it calls context_entered() first, and never returns. */
void context_init(struct context *c, char *stack, void (*entry)(void));
void context_fini(struct context *c);
/* last: from will never run again. */
void context_switch(struct context *from, struct context *to, bool last);
void context_entered(void);

/* Own: end with stack_free(). A guard page lies below it. */
char *stack_new(void);
void stack_free(char *stack);
void stack_reuse(char *stack); /* before context_init() on a stack whose fiber has ended */

/* Switching between stacks on one thread, for the simulator. Sanitizers are told of every switch. */
#pragma once
#include "base/util.h"

struct context {
	void *sp;	      /* where it stands, while another runs */
	const void *stack;    /* lowest byte; of the thread's own stack: known after the first switch away */
	size_t stack_bytes;
	void *fake_stack, *shadow; /* ASan's, TSan's */
	void *machine;	      /* a ucontext_t where we have no assembly */
};

/* The thread's own stack. */
void context_home(struct context *c);
/* entry() starts at the first switch to c; it calls context_entered() first, and never returns. */
void context_init(struct context *c, char *stack, void (*entry)(void));
void context_fini(struct context *c);
/* last: from will never run again. */
void context_switch(struct context *from, struct context *to, bool last);
void context_entered(struct context *from);

/* Own: end with stack_free(). A guard page lies below it. */
char *stack_new(void);
void stack_free(char *stack);
void stack_reuse(char *stack); /* before context_init() on a stack whose fiber has ended */

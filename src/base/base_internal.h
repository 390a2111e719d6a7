/* What the files of base/ share. */
#pragma once
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define HAVE_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define HAVE_TSAN 1
#endif
#if defined(HAVE_ASAN) || defined(HAVE_TSAN)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Blocks of arenas: powers of two from 2 KiB to 64 KiB are kept for the next one, others come and go. */
void *block_take(size_t bytes);
void block_give(void *take, size_t bytes);
size_t blocks_bytes(void); /* kept now; for tests */

unsigned task_locks_held(void); /* by this thread; 0 in a simulation */

/* Cuts text that filled cap bytes to "..." at a character's start; returns its length. */
size_t text_cut(char *text, size_t cap);
void wall_rfc3339_milli(struct wall t, char ret[TIME_TEXT_MAX]);

struct log_line {
	size_t n;
	bool full; /* what comes after is dropped, so that no half of an escape stays */
	char text[8192 + 1024];
};
void log_format(struct log_line *l, enum log_level level, const char *module, const char *message);

/* A binary heap of nodes that live in their owners: earliest `at` first, `seq` among equals, so its order never
 * depends on addresses. */
struct heap_node {
	int64_t at;
	uint64_t seq;
	size_t pos; /* 1-based; 0: in no heap */
};
struct heap {
	struct heap_node **nodes;
	size_t n, cap;
};
void heap_fini(struct heap *h);
void heap_add(struct heap *h, struct heap_node *node);
void heap_remove(struct heap *h, struct heap_node *node); /* nothing when it is not in */
static inline struct heap_node *heap_first(const struct heap *h)
{
	return h->n ? h->nodes[0] : NULL;
}

#define TASK_NAME_MAX 16
#define TASK_STACK_BYTES ((size_t)256 << 10)
struct task {
	char name[TASK_NAME_MAX];
	void (*run)(void *arg);
	void *arg;
};
void task_current_name(char ret[TASK_NAME_MAX]);
void task_init(struct task *t, const char *name, void (*run)(void *arg), void *arg);

/* The two backends, one function a primitive; task.c chooses. */
struct task *thread_spawn(const char *name, void (*run)(void *arg), void *arg);
void thread_join(struct task *t);
void thread_detach(struct task *t);
void thread_sleep_ms(int64_t ms);
bool thread_wait_until(struct task_cond *c, struct task_mutex *m, struct mono until);
void thread_rand(void *p, size_t n);
void thread_patient(void);

struct task *sim_spawn(const char *name, void (*run)(void *arg), void *arg);
void sim_join(struct task *t);
void sim_detach(struct task *t);
void sim_sleep_ms(int64_t ms);
void sim_yield(void);
void sim_lock(struct task_mutex *m);
void sim_unlock(struct task_mutex *m);
bool sim_wait_until(struct task_cond *c, struct task_mutex *m, struct mono until);
void sim_signal(struct task_cond *c);
void sim_broadcast(struct task_cond *c);
const char *sim_name(void); /* of the running fiber */
void sim_rand(void *p, size_t n);
struct mono sim_mono(void);
struct wall sim_wall(void);

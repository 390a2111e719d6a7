#include "cmd/crashes.h"

#include "base/task.h"
#include "base/util.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME_MAX_LEN 48
#define SLOTS 64
#define ENDS 3
#define WITHIN_MS 60000

struct end {
	struct mono at;
	char name[NAME_MAX_LEN]; /* empty: no controller's doing */
};
struct crashes {
	struct {
		pid_t tid; /* 0: free */
		char name[NAME_MAX_LEN];
	} slots[SLOTS];
	char failed[NAME_MAX_LEN]; /* by the signal handler */
	struct end ends[ENDS];     /* the newest first */
	char held[HELD_MAX][NAME_MAX_LEN];
	size_t n_held;
};

static struct crashes *watched; /* by the signal handler, which gets no argument */

struct crashes *crashes_new(void)
{
	struct crashes *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (c == MAP_FAILED)
		PANIC("no memory");
	for (size_t i = 0; i < ENDS; i++)
		c->ends[i].at = MONO_NEVER;
	return c;
}

/* ---- supervisor ------------------------------------------------------------------------------ */

/* A thread whose stack is used up cannot run a handler: then it was the only one at work, or nobody knows. */
static const char *only_worker(const struct crashes *c)
{
	const char *found = "";

	for (size_t i = 0; i < SLOTS; i++) {
		if (!c->slots[i].tid)
			continue;
		if (*found)
			return "";
		found = c->slots[i].name;
	}
	return found;
}

static bool hold_off(struct crashes *c, const char *name)
{
	for (size_t i = 0; i < c->n_held; i++)
		if (!strcmp(c->held[i], name))
			return false;
	if (!*name || c->n_held == HELD_MAX)
		return false;
	snprintf(c->held[c->n_held++], NAME_MAX_LEN, "%s", name);
	return true;
}

bool crashes_ended(struct crashes *c, int status, struct mono now)
{
	const struct end *oldest = &c->ends[ENDS - 1];
	const char *name = c->failed;
	bool more = false;

	if (!*name && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
		name = only_worker(c);
	memmove(&c->ends[1], &c->ends[0], sizeof(c->ends) - sizeof(c->ends[0]));
	c->ends[0].at = now;
	snprintf(c->ends[0].name, NAME_MAX_LEN, "%s", name);
	if (oldest->at.ns == MONO_NEVER.ns || mono_ms_between(oldest->at, now) > WITHIN_MS)
		return false;
	for (size_t i = 0; i < ENDS; i++)
		more |= hold_off(c, c->ends[i].name);
	return more;
}

void crashes_forget(struct crashes *c)
{
	c->n_held = 0;
	for (size_t i = 0; i < ENDS; i++)
		c->ends[i].at = MONO_NEVER;
}

size_t crashes_held(const struct crashes *c, const char *ret[HELD_MAX + 1])
{
	for (size_t i = 0; i < c->n_held; i++)
		ret[i] = c->held[i];
	ret[c->n_held] = NULL;
	return c->n_held;
}

/* ---- control --------------------------------------------------------------------------------- */

static void on_failure(int number)
{
	pid_t self = gettid();

	for (size_t i = 0; i < SLOTS; i++)
		if (watched->slots[i].tid == self)
			memcpy(watched->failed, watched->slots[i].name, NAME_MAX_LEN);
	raise(number); /* SA_RESETHAND: the default, which ends the process */
}

void crashes_watch(struct crashes *c)
{
	static const int numbers[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
	struct sigaction a = { .sa_handler = on_failure, .sa_flags = SA_RESETHAND | SA_NODEFER };

	memset(c->slots, 0, sizeof(c->slots)); /* of the process before */
	memset(c->failed, 0, sizeof(c->failed));
	watched = c;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		sigaction(numbers[i], &a, NULL);
}

static void begin(struct crashes *c, pid_t self, const char *name)
{
	const char *planted = getenv("KOGGE_DEBUG_CRASH");

	for (size_t i = 0; i < SLOTS; i++) {
		pid_t nobody = 0;

		if (!__atomic_compare_exchange_n(
			    &c->slots[i].tid, &nobody, self, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		snprintf(c->slots[i].name, NAME_MAX_LEN, "%s", name);
		break;
	}
	if (planted && !strcmp(planted, name))
		abort();
}

void crashes_working(void *crashes, const char *name)
{
	struct crashes *c = crashes;
	pid_t self = gettid();

	if (name) {
		begin(c, self, name);
		return;
	}
	for (size_t i = 0; i < SLOTS; i++)
		if (__atomic_load_n(&c->slots[i].tid, __ATOMIC_RELAXED) == self)
			__atomic_store_n(&c->slots[i].tid, 0, __ATOMIC_RELEASE);
}

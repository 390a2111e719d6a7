#include "base/base_internal.h"
#include <errno.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define PATIENT_NICE 10

struct thread {
	struct task task;
	pthread_t id; /* used by the holder of the handle only: the thread may run before it is written */
	int refs;     /* the handle and the running thread */
};

static void unref(struct thread *t)
{
	if (__atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(t);
}

static void *run(void *arg)
{
	struct thread *t = arg;

	pthread_setname_np(pthread_self(), t->task.name);
	t->task.run(t->task.arg);
	unref(t);
	return NULL;
}

static size_t stack_bytes(void)
{
	return SANITIZED ? TASK_STACK_BYTES * 8 : TASK_STACK_BYTES; /* frames grow under a sanitizer */
}

struct task *thread_spawn(const char *name, void (*fn)(void *arg), void *arg)
{
	struct thread *t = xcalloc(1, sizeof(*t));
	pthread_attr_t attr;
	int r;

	task_init(&t->task, name, fn, arg);
	t->refs = 2;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, stack_bytes());
	r = pthread_create(&t->id, &attr, run, t);
	pthread_attr_destroy(&attr);
	if (r)
		PANIC("cannot start thread %s: %s", name, strerror(r));
	return &t->task;
}

void thread_join(struct task *task)
{
	struct thread *t = container_of(task, struct thread, task);
	int r = pthread_join(t->id, NULL);

	if (r)
		PANIC("cannot join thread %s: %s", t->task.name, strerror(r));
	unref(t);
}

void thread_detach(struct task *task)
{
	struct thread *t = container_of(task, struct thread, task);

	pthread_detach(t->id);
	unref(t);
}

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
}

void thread_sleep_ms(int64_t ms)
{
	struct timespec until = timespec_of(mono_add_ms(mono_now(), ms).ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

bool thread_wait_until(struct task_cond *c, struct task_mutex *m, struct mono until)
{
	struct timespec t;

	if (until.ns == INT64_MAX) {
		pthread_cond_wait(&c->real, &m->real);
		return true;
	}
	t = timespec_of(MAX(until.ns, INT64_C(0)));
	return pthread_cond_timedwait(&c->real, &m->real, &t) != ETIMEDOUT;
}

/* Each thread of Linux has its own. */
void thread_patient(void)
{
	(void)!nice(PATIENT_NICE);
}

void thread_rand(void *p, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = getrandom((char *)p + got, n - got, 0);

		if (r < 0 && errno != EINTR)
			PANIC("getrandom: %s", strerror(errno));
		if (r > 0)
			got += (size_t)r;
	}
}

#include "base/task.h"
#include "base/base_internal.h"
#include <sched.h>
#include <stdio.h>

void task_init(struct task *t, const char *name, void (*run)(void *arg), void *arg)
{
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->run = run;
	t->arg = arg;
}

void task_current_name(char ret[TASK_NAME_MAX])
{
	if (task_sim_active())
		snprintf(ret, TASK_NAME_MAX, "%s", sim_name());
	else if (pthread_getname_np(pthread_self(), ret, TASK_NAME_MAX))
		snprintf(ret, TASK_NAME_MAX, "?");
}

struct task *task_spawn(const char *name, void (*run)(void *arg), void *arg)
{
	return task_sim_active() ? sim_spawn(name, run, arg) : thread_spawn(name, run, arg);
}

struct task *task_join(struct task *t)
{
	if (!t)
		return NULL;
	if (task_sim_active())
		sim_join(t);
	else
		thread_join(t);
	return NULL;
}

void task_detach(struct task *t)
{
	if (!t)
		return;
	if (task_sim_active())
		sim_detach(t);
	else
		thread_detach(t);
}

void task_sleep_ms(int64_t ms)
{
	if (task_sim_active())
		sim_sleep_ms(ms);
	else if (ms > 0)
		thread_sleep_ms(ms);
}

void task_yield(void)
{
	if (task_sim_active())
		sim_yield();
	else
		sched_yield();
}

void task_mutex_init(struct task_mutex *m)
{
	*m = (struct task_mutex){ 0 };
	pthread_mutex_init(&m->real, NULL);
}

void task_mutex_fini(struct task_mutex *m)
{
	PRE(!m->sim.first && !m->sim_owner);
	pthread_mutex_destroy(&m->real);
}

static _Thread_local unsigned locks_held;

unsigned task_locks_held(void)
{
	return locks_held;
}

void task_lock(struct task_mutex *m)
{
	if (task_sim_active()) {
		sim_lock(m);
		return;
	}
	pthread_mutex_lock(&m->real);
	locks_held++;
}

void task_unlock(struct task_mutex *m)
{
	if (task_sim_active()) {
		sim_unlock(m);
		return;
	}
	locks_held--;
	pthread_mutex_unlock(&m->real);
}

void task_cond_init(struct task_cond *c)
{
	pthread_condattr_t attr;

	*c = (struct task_cond){ 0 };
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->real, &attr);
	pthread_condattr_destroy(&attr);
}

void task_cond_fini(struct task_cond *c)
{
	PRE(!c->sim.first);
	pthread_cond_destroy(&c->real);
}

void task_wait(struct task_cond *c, struct task_mutex *m)
{
	task_wait_until(c, m, MONO_NEVER);
}

bool task_wait_until(struct task_cond *c, struct task_mutex *m, struct mono until)
{
	return task_sim_active() ? sim_wait_until(c, m, until) : thread_wait_until(c, m, until);
}

void task_signal(struct task_cond *c)
{
	if (task_sim_active())
		sim_signal(c);
	else
		pthread_cond_signal(&c->real);
}

void task_broadcast(struct task_cond *c)
{
	if (task_sim_active())
		sim_broadcast(c);
	else
		pthread_cond_broadcast(&c->real);
}

/* ---- stop: one bit that sleepers watch ------------------------------------------------------- */

struct stop {
	struct task_mutex lock;
	struct task_cond changed;
	bool raised;
};

struct stop *stop_new(void)
{
	struct stop *s = xcalloc(1, sizeof(*s));

	task_mutex_init(&s->lock);
	task_cond_init(&s->changed);
	return s;
}

struct stop *stop_free(struct stop *s)
{
	if (!s)
		return NULL;
	task_cond_fini(&s->changed);
	task_mutex_fini(&s->lock);
	free(s);
	return NULL;
}

void stop_raise(struct stop *s)
{
	task_lock(&s->lock);
	s->raised = true;
	task_broadcast(&s->changed);
	task_unlock(&s->lock);
}

bool stop_raised(struct stop *s)
{
	bool raised;

	task_lock(&s->lock);
	raised = s->raised;
	task_unlock(&s->lock);
	return raised;
}

bool stop_sleep_ms(struct stop *s, int64_t ms)
{
	struct mono until = mono_add_ms(mono_now(), ms);
	bool raised;

	task_lock(&s->lock);
	while (!s->raised && task_wait_until(&s->changed, &s->lock, until))
		;
	raised = s->raised;
	task_unlock(&s->lock);
	return !raised;
}

void task_patient(void)
{
	if (!task_sim_active())
		thread_patient();
}

/* ---- randomness ------------------------------------------------------------------------------ */

void rand_bytes(void *p, size_t n)
{
	if (task_sim_active())
		sim_rand(p, n);
	else
		thread_rand(p, n);
}

uint64_t rand_u64(void)
{
	uint64_t v;

	rand_bytes(&v, sizeof(v));
	return v;
}

/* Values above the last whole multiple of n would favour small results: they are drawn again. */
uint64_t rand_below(uint64_t n)
{
	uint64_t least, v;

	PRE(n > 0);
	least = (0 - n) % n;
	do {
		v = rand_u64();
	} while (v < least);
	return v % n;
}

void rand_uuid(char ret[UUID_TEXT_MAX])
{
	static const unsigned char parts[] = { 4, 2, 2, 2, 6 };
	unsigned char b[16];
	char *p = ret;

	rand_bytes(b, sizeof(b));
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	for (size_t i = 0, part = 0; part < ARRAY_LEN(parts); i += parts[part++]) {
		if (i)
			*p++ = '-';
		p = hex_text(p, b + i, parts[part]);
	}
	*p = 0;
}

#include "node/pod_decide.h"

static void add(struct decision *d, enum action_kind kind, size_t container)
{
	if (d->n < ACTIONS_MAX)
		d->actions[d->n++] = (struct action){ kind, container };
}

static void wake_by(struct decision *d, struct mono t)
{
	if (mono_before(t, d->wake))
		d->wake = t;
}

static bool wants_restart(const struct decide_container *c)
{
	if (c->restart == RESTART_ALWAYS)
		return true;
	return c->restart == RESTART_ON_FAILURE && c->exit_code != 0;
}

/* A container that is not running and should be: start it, or note when it may. */
static void start_when_due(struct decision *d, const struct decide_pod *p, size_t i, struct mono now)
{
	const struct decide_container *c = &p->containers[i];

	if (c->stopping)
		return;
	if (mono_before(now, c->not_before)) {
		wake_by(d, c->not_before);
		return;
	}
	if (!c->blocked)
		add(d, ACT_START, i);
}

static bool runs(const struct decide_container *c)
{
	return c->state == INST_RUNNING;
}

/* Stops containers in order: main and init at once, then sidecars from the last to the first. true: nothing runs. */
static bool stop_all(struct decision *d, const struct decide_pod *p)
{
	bool quiet = true;

	for (size_t i = 0; i < p->n; i++) {
		if (p->containers[i].kind == KIND_SIDECAR || !runs(&p->containers[i]))
			continue;
		quiet = false;
		add(d, ACT_STOP, i);
	}
	for (size_t i = p->n; quiet && i-- > 0;) {
		if (p->containers[i].kind != KIND_SIDECAR || !runs(&p->containers[i]))
			continue;
		quiet = false;
		add(d, ACT_STOP, i);
	}
	if (p->any_running_elsewhere) {
		add(d, ACT_STOP_OLD, 0);
		quiet = false;
	}
	return quiet;
}

static void decide_end(struct decision *d, const struct decide_pod *p)
{
	if (p->withdraw_wait)
		return; /* the caller polls and is woken */
	if (!stop_all(d, p))
		return;
	if (p->sandbox == SANDBOX_UP) {
		add(d, ACT_STOP_SANDBOX, 0);
		return;
	}
	if (p->deleting)
		add(d, ACT_CLEAN, 0);
}

/* Main containers have been started in this sandbox: init containers ran, even if the runtime has forgotten them. */
static bool main_seen(const struct decide_pod *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->containers[i].kind == KIND_MAIN && p->containers[i].state != INST_NONE)
			return true;
	return false;
}

/* All main containers ended and none will be started again: by their policy, or because the pod goes. */
static enum pod_verdict verdict_of(const struct decide_pod *p)
{
	bool failed = false;
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++) {
		const struct decide_container *c = &p->containers[i];
		if (c->kind != KIND_MAIN)
			continue;
		n++;
		if (c->state != INST_EXITED || (wants_restart(c) && !p->deleting))
			return POD_GOES_ON;
		failed |= c->exit_code != 0;
	}
	if (!n)
		return POD_GOES_ON;
	return failed ? POD_FAILED : POD_SUCCEEDED;
}

/* What is told of it: no phase is final while a sidecar still runs. */
static enum pod_verdict verdict_to_tell(const struct decide_pod *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->containers[i].kind == KIND_SIDECAR && runs(&p->containers[i]))
			return POD_GOES_ON;
	return verdict_of(p);
}

/* One container that must be running or has to come to its end. true: whoever waits for it may go on. */
static bool step_init(struct decision *d, const struct decide_pod *p, size_t i, bool skip_done, struct mono now)
{
	const struct decide_container *c = &p->containers[i];

	if (runs(c)) {
		if (c->must_restart && !c->stopping)
			add(d, ACT_RESTART_KILL, i);
		return c->kind == KIND_SIDECAR && c->started;
	}
	if (c->kind == KIND_SIDECAR) {
		start_when_due(d, p, i, now);
		return skip_done;
	}
	if (skip_done || (c->state == INST_EXITED && c->exit_code == 0))
		return true;
	if (c->state == INST_EXITED && c->restart == RESTART_NEVER) {
		d->verdict = POD_FAILED;
		return false;
	}
	start_when_due(d, p, i, now);
	return false;
}

static void step_main(struct decision *d, const struct decide_pod *p, size_t i, struct mono now)
{
	const struct decide_container *c = &p->containers[i];

	if (runs(c)) {
		if (c->must_restart && !c->stopping)
			add(d, ACT_RESTART_KILL, i);
		return;
	}
	if (c->state == INST_EXITED && !wants_restart(c))
		return;
	start_when_due(d, p, i, now);
}

/* Containers for debugging run beside whatever state the others are in, once. */
static void step_ephemeral(struct decision *d, const struct decide_pod *p, struct mono now)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->containers[i].kind == KIND_EPHEMERAL &&
			(p->containers[i].state == INST_NONE || p->containers[i].state == INST_CREATED))
			start_when_due(d, p, i, now);
}

static void decide_run(struct decision *d, const struct decide_pod *p, struct mono now)
{
	bool seen = main_seen(p);

	step_ephemeral(d, p, now);
	d->initialized = true;
	for (size_t i = 0; i < p->n; i++) {
		if (p->containers[i].kind == KIND_MAIN)
			break;
		if (!step_init(d, p, i, seen, now) && !seen) {
			d->initialized = false;
			return; /* the next waits for this one */
		}
	}
	for (size_t i = 0; i < p->n; i++)
		if (p->containers[i].kind == KIND_MAIN)
			step_main(d, p, i, now);
}

void pod_decide(const struct decide_pod *p, struct mono now, struct decision *ret)
{
	*ret = (struct decision){ .wake = MONO_NEVER };
	if (p->deleting || p->failed || p->suspended || p->was_terminal) {
		ret->initialized = main_seen(p);
		decide_end(ret, p);
		ret->verdict = p->failed ? POD_FAILED : verdict_to_tell(p);
		return;
	}
	if (!p->ready_to_start)
		return;
	if (verdict_of(p) != POD_GOES_ON) { /* ended by itself: also when the sandbox is already gone */
		ret->verdict = verdict_to_tell(p);
		ret->initialized = true;
		decide_end(ret, p);
		return;
	}
	if (p->sandbox != SANDBOX_UP) {
		if (p->any_running_elsewhere) {
			add(ret, ACT_STOP_OLD, 0);
			return;
		}
		if (mono_before(now, p->sandbox_not_before))
			wake_by(ret, p->sandbox_not_before);
		else
			add(ret, ACT_SANDBOX, 0);
		return;
	}
	if (p->any_running_elsewhere)
		add(ret, ACT_STOP_OLD, 0);
	decide_run(ret, p, now);
	if (ret->verdict == POD_FAILED) { /* an init container failed for good */
		ret->n = 0;
		decide_end(ret, p);
	}
}

int64_t pod_backoff_next(int64_t current_ms, int64_t ran_ms)
{
	if (current_ms == 0 || ran_ms >= BACKOFF_RESET_MS)
		return BACKOFF_FIRST_MS;
	return MIN(current_ms * 2, (int64_t)BACKOFF_MOST_MS);
}

/* One pod, one worker at a time: observe, decide, tell, act, until nothing is left to do now. */
#include "node/node_internal.h"
#include <stdio.h>

#define LOG_MODULE "node"
#define WITHDRAW_MOST_MS 2000
#define WITHDRAW_LOOK_MS 20
#define DRAIN_MS 150
#define LAG_FIRST_MS 4
#define LAG_MOST_MS 2000

struct val pod_container_spec(const struct doc *d, struct str name)
{
	static const char *const lists[] = { "spec.containers", "spec.initContainers", "spec.ephemeralContainers" };
	struct val v = VAL_NONE;

	for (size_t i = 0; i < ARRAY_LEN(lists) && !val_has(v); i++)
		v = val_find(doc_get(d, lists[i]), "name", name);
	return v;
}

const char *container_list(enum container_kind k, bool status)
{
	if (k == KIND_MAIN)
		return status ? "status.containerStatuses" : "spec.containers";
	if (k == KIND_EPHEMERAL)
		return status ? "status.ephemeralContainerStatuses" : "spec.ephemeralContainers";
	return status ? "status.initContainerStatuses" : "spec.initContainers";
}

struct container *pod_container(struct pod *p, struct str name)
{
	size_t n = __atomic_load_n(&p->n_containers, __ATOMIC_ACQUIRE);

	for (size_t i = 0; i < n; i++)
		if (str_is(name, p->containers[i]->name))
			return p->containers[i];
	return NULL;
}

int64_t pod_grace_s(const struct doc *d, bool gone)
{
	int64_t own = doc_int(d, "spec.terminationGracePeriodSeconds", 30);

	if (own < 0) /* upstream takes it, and gives one second */
		own = 1;
	if (gone)
		return MIN(own, (int64_t)1);
	return doc_int(d, "metadata.deletionGracePeriodSeconds", own);
}

static enum restart_policy policy_of(struct str s)
{
	if (str_is(s, "Never"))
		return RESTART_NEVER;
	return str_is(s, "OnFailure") ? RESTART_ON_FAILURE : RESTART_ALWAYS;
}

static struct container *build_one(struct val spec, enum container_kind kind, enum restart_policy pod_policy)
{
	struct val own = val_get(spec, "restartPolicy");
	struct container *c = xcalloc(1, sizeof(*c));

	c->name = str_dup(val_str(val_get(spec, "name")));
	c->kind = kind == KIND_INIT && val_is(own, "Always") ? KIND_SIDECAR : kind;
	c->restart = kind == KIND_EPHEMERAL ? RESTART_NEVER : val_has(own) ? policy_of(val_str(own)) : pod_policy;
	if (c->kind == KIND_INIT && c->restart == RESTART_ALWAYS)
		c->restart = RESTART_ON_FAILURE; /* until it succeeds */
	if (c->kind == KIND_INIT)
		return c; /* no probes */
	if (kind != KIND_EPHEMERAL) {
		c->has_startup = val_has(val_get(spec, "startupProbe"));
		c->has_liveness = val_has(val_get(spec, "livenessProbe"));
		c->has_readiness = val_has(val_get(spec, "readinessProbe"));
	}
	c->started = !c->has_startup;
	c->ready = !c->has_readiness && !c->has_startup;
	return c;
}

static void build_list(struct pod *p, struct val list, enum container_kind kind, enum restart_policy policy)
{
	for (struct val_iter it = val_iter(list); val_next(&it) && p->n_containers < POD_CONTAINERS_MAX;) {
		if (kind == KIND_EPHEMERAL && pod_container(p, val_str(val_get(it.val, "name"))))
			continue;
		p->containers[p->n_containers] = build_one(it.val, kind, policy);
		__atomic_store_n(&p->n_containers, p->n_containers + 1, __ATOMIC_RELEASE);
	}
}

void pod_build_containers(struct pod *p, struct val spec)
{
	enum restart_policy policy = policy_of(val_str(val_get(spec, "restartPolicy")));

	if (!p->n_containers) {
		build_list(p, val_get(spec, "initContainers"), KIND_INIT, policy);
		build_list(p, val_get(spec, "containers"), KIND_MAIN, policy);
	}
	build_list(p, val_get(spec, "ephemeralContainers"), KIND_EPHEMERAL, policy);
}

/* Containers that ran before this process looked: probes begin anew, but what was ready stays ready until a probe says
 * otherwise. */
static void adopt(struct pod *p, struct doc *d)
{
	for (size_t i = 0; i < p->n_containers; i++) {
		struct container *c = p->containers[i];
		struct val s = val_find(doc_get(d, container_list(c->kind, true)), "name", str_c(c->name));
		auto_free char *want = c->now.id ? xasprintf("containerd://%s", c->now.id) : NULL;

		if (!want || c->now.state != INST_RUNNING || !val_is(val_get(s, "containerID"), want))
			continue;
		c->started = c->started || val_bool(val_get(s, "started"), false);
		c->ready = c->ready || (c->started && val_bool(val_get(s, "ready"), false));
	}
}

/* ---- the view -------------------------------------------------------------------------------- */

static bool spec_changed(struct doc *d, const struct container *c)
{
	struct val spec = pod_container_spec(d, str_c(c->name));
	auto_free char *text = xasprintf("%s\n%.*s", c->name, STR_ARG(val_str(val_get(spec, "image"))));
	char hash[16];

	(void)snprintf(hash, sizeof(hash), "%08x", fnv32a(str_c(text)));
	return c->now.hash && *c->now.hash && strcmp(hash, c->now.hash) != 0;
}

static bool ran_before(struct doc *d, const struct container *c)
{
	struct val s = val_find(doc_get(d, container_list(c->kind, true)), "name", str_c(c->name));

	return !c->now.id && (c->last.id || !str_empty(val_str(val_get(s, "containerID"))));
}

static void view_container(struct pod *p, struct doc *d, struct container *c, struct decide_container *v)
{
	*v = (struct decide_container){ .kind = c->kind,
		.restart = c->restart,
		.state = c->now.id ? c->now.state : INST_NONE,
		.exit_code = c->now.exit_code,
		.not_before = c->not_before };
	/* Done in a sandbox that died since: it is not done again. */
	if (!c->now.id && c->last.id && c->last.state == INST_EXITED && c->last.exit_code == 0 &&
		c->restart != RESTART_ALWAYS && c->kind == KIND_MAIN) {
		v->state = INST_EXITED;
		v->exit_code = 0;
	}
	if (c->kind == KIND_EPHEMERAL &&
		ran_before(d, c)) /* in a sandbox that died since, or forgotten by the runtime */
		v->state = INST_EXITED;
	c->stop_for_restart =
		v->state == INST_RUNNING && c->kind != KIND_EPHEMERAL && (c->resize_restart || spec_changed(d, c));
	task_lock(&p->n->lock);
	v->stopping = c->stopping;
	v->started = v->state == INST_RUNNING && c->started;
	v->must_restart = c->stop_for_restart || (c->kill_id && c->now.id && strcmp(c->kill_id, c->now.id) == 0);
	v->blocked = c->image == IMAGE_BUSY;
	if (c->image == IMAGE_FAILED && mono_before(v->not_before, c->image_retry))
		v->not_before = c->image_retry;
	task_unlock(&p->n->lock);
}

/* No new connections come; those that came just before get a moment for their answers. A pod without labels is behind
 * no service. */
static bool drained(struct pod *p, struct doc *d, struct str ip)
{
	struct mono now = mono_now();

	if (!p->absent && !p->n->o.endpoints_withdrawn(p->n->o.endpoints_arg, str_c(p->uid), ip))
		return mono_ms_between(p->deleting_since, now) >= WITHDRAW_MOST_MS;
	if (!p->absent)
		p->absent_since = now;
	p->absent = true;
	return !val_len(doc_get(d, "metadata.labels")) || mono_ms_between(p->absent_since, now) >= DRAIN_MS;
}

static bool withdraw_wait(struct pod *p, struct doc *d)
{
	struct node_agent *n = p->n;
	struct str ip = p->n_ips ? str_c(p->ips[0]) : STR_NULL;
	bool running = false;

	if (p->withdrawn || !n->o.endpoints_withdrawn)
		return false;
	for (size_t i = 0; i < p->n_containers; i++)
		running |= p->containers[i]->now.id && p->containers[i]->now.state == INST_RUNNING;
	p->withdrawn = !running || p->gone || pod_grace_s(d, p->gone) == 0 || drained(p, d, ip);
	return !p->withdrawn;
}

static bool deadline_passed(struct pod *p, struct doc *d, struct mono *ret_wake)
{
	int64_t seconds = doc_int(d, "spec.activeDeadlineSeconds", 0), left;

	if (!seconds || !p->start_ns)
		return false;
	left = p->start_ns / 1000000 + seconds * 1000 - wall_now().ns / 1000000;
	if (left <= 0)
		return true;
	*ret_wake = mono_add_ms(mono_now(), left);
	return false;
}

/* Somebody else on this node wants the pod to go. */
static void take_verdict(struct pod *p, struct doc *d, struct decide_pod *v)
{
	bool may_fail = !p->fail_reason && !v->deleting && !v->was_terminal, ends;
	char *message;

	task_lock(&p->n->lock);
	message = may_fail && p->evicted ? xstrdup(p->evicted) : NULL;
	ends = p->shutdown;
	v->suspended = ends || (p->n->shutting_down && !p->sandbox);
	task_unlock(&p->n->lock);
	if (message) {
		p->fail_reason = xstrdup("Evicted");
		p->fail_message = message;
		node_event(p, STR_NULL, "Warning", "Evicted", "%s", message);
	} else if (may_fail && ends && policy_of(doc_str(d, "spec.restartPolicy")) == RESTART_NEVER) {
		p->fail_reason = xstrdup(SHUTDOWN_REASON);
		p->fail_message = xstrdup(SHUTDOWN_MESSAGE);
	}
}

/* Nothing is left to do before the machine goes. */
static void note_shutdown(struct pod *p, const struct decide_pod *v, const struct decision *dec)
{
	task_lock(&p->n->lock);
	p->shutdown_done = p->shutdown && v->suspended && !dec->n && !v->withdraw_wait;
	task_unlock(&p->n->lock);
}

static void view_pod(
	struct pod *p, struct doc *d, struct decide_pod *v, struct decide_container *list, struct mono *wake)
{
	*v = (struct decide_pod){
		.deleting = p->gone || val_has(doc_get(d, "metadata.deletionTimestamp")),
		.was_terminal = pod_is_over(d),
		.ready_to_start = !p->refused && !mono_before(mono_now(), p->volumes_retry),
		.sandbox = !p->sandbox ? SANDBOX_MISSING :
			p->sandbox_up  ? SANDBOX_UP :
					 SANDBOX_DOWN,
		.sandboxes_left = p->sandboxes_left,
		.any_running_elsewhere = p->any_running_elsewhere,
		.sandbox_not_before = p->sandbox_not_before,
		.containers = list,
		.n = p->n_containers,
	};
	if (!p->fail_reason && !v->deleting && !v->was_terminal && deadline_passed(p, d, wake)) {
		p->fail_reason = xstrdup("DeadlineExceeded");
		p->fail_message = xstrdup("Pod was active on the node longer than the specified deadline");
		node_event(p, STR_NULL, "Normal", "DeadlineExceeded", "%s", p->fail_message);
	}
	take_verdict(p, d, v);
	v->failed = p->fail_reason != NULL;
	for (size_t i = 0; i < p->n_containers; i++) {
		struct mono t = image_back_off(p, d, p->containers[i]);
		view_container(p, d, p->containers[i], &list[i]);
		*wake = mono_before(t, *wake) ? t : *wake;
	}
	if (v->deleting && !p->deleting_seen) {
		p->deleting_seen = true;
		p->deleting_since = mono_now();
	}
	v->withdraw_wait = v->deleting && withdraw_wait(p, d);
	if (v->withdraw_wait)
		*wake = mono_add_ms(mono_now(), WITHDRAW_LOOK_MS);
	if (!p->refused && !v->ready_to_start)
		*wake = p->volumes_retry;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* Once, before anything of it runs. */
static void admit(struct pod *p, struct doc *d)
{
	const char *reason;
	char *why;

	if (p->refused || pod_is_over(d))
		return;
	if (p->sandboxes_left || pod_admit(p->n, d, &reason, &why)) {
		task_lock(&p->n->lock);
		p->admitted = true;
		task_unlock(&p->n->lock);
		return;
	}
	log_warn("pod %s/%s is not started: %s", p->ns, p->name, why);
	if (reason) {
		node_event(p, STR_NULL, "Warning", reason, "%s", why);
		p->fail_reason = xstrdup(reason);
		p->fail_message = why;
		return;
	}
	node_event(p, STR_NULL, "Warning", "FailedValidation",
		"This node cannot honour the pod and does not start it: %s", why);
	p->refused = true;
	p->refused_why = why;
	for (size_t i = 0; i < p->n_containers; i++) {
		p->containers[i]->wait_reason = xstrdup("CreateContainerConfigError");
		p->containers[i]->wait_message = xstrdup(why);
	}
}

static void first_look(struct pod *p, struct doc *d)
{
	struct wall start;

	pod_build_containers(p, doc_get(d, "spec"));
	if (!p->start_ns)
		p->start_ns = wall_parse(doc_str(d, "status.startTime"), &start) ?
			start.ns :
			wall_now().ns / 1000000000 * 1000000000;
}

static void keep_volumes(struct pod *p, struct doc *d, struct mono *wake)
{
	struct err e;
	bool dirty;

	if (!p->volumes_ready)
		return;
	task_lock(&p->n->lock);
	dirty = p->volumes_dirty;
	p->volumes_dirty = false;
	task_unlock(&p->n->lock);
	if (!p->volumes_loaded || dirty || (p->token_renew_ns && wall_now().ns >= p->token_renew_ns)) {
		err_init(&e);
		if (volumes_refresh(p, d, &e) < 0) {
			log_warn("pod %s/%s: %s; trying again in 10 s", p->ns, p->name, e.message);
			int64_t again = wall_now().ns + 10 * (int64_t)1000000000;
			p->token_renew_ns = p->token_renew_ns ? MIN(p->token_renew_ns, again) : again;
		}
	}
	if (p->token_renew_ns) {
		struct mono t =
			mono_add_ms(mono_now(), MAX((p->token_renew_ns - wall_now().ns) / 1000000, (int64_t)1000));
		if (mono_before(t, *wake))
			*wake = t;
	}
}

/* Running containers found at start mean that an earlier process made the volumes. */
static void adopt_volumes(struct pod *p, struct doc *d)
{
	if (p->volumes_ready || !p->sandbox)
		return;
	for (size_t i = 0; i < p->n_containers; i++) {
		if (!p->containers[i]->now.id)
			continue;
		p->volumes_ready = true;
		objects_watch(p->n->objects, p, d);
		return;
	}
}

static void setup_late_volumes(struct pod *p, struct doc *d)
{
	struct err e;

	err_init(&e);
	if (volumes_setup(p, d, &e) == 0) {
		p->volumes_ready = true;
		return;
	}
	p->volumes_retry = mono_add_ms(mono_now(), 2000);
	node_event(p, STR_NULL, "Warning", "FailedMount", "%s", e.message);
}

static bool restarts(const struct container *c)
{
	return c->restart == RESTART_ALWAYS || (c->restart == RESTART_ON_FAILURE && c->now.exit_code != 0);
}

/* Ends that are new since the last look: the wait before the next start. */
static void note_ends(struct pod *p)
{
	for (size_t i = 0; i < p->n_containers; i++) {
		struct container *c = p->containers[i];
		int64_t ran_ms, ago_ms;
		struct mono now = mono_now();

		if (!c->now.id || c->now.state != INST_EXITED ||
			(c->ended_seen && strcmp(c->ended_seen, c->now.id) == 0))
			continue;
		free(c->ended_seen);
		c->ended_seen = xstrdup(c->now.id);
		ran_ms = c->now.started_ns ? MAX((c->now.finished_ns - c->now.started_ns) / 1000000, (int64_t)0) : 0;
		ago_ms = MAX((wall_now().ns - c->now.finished_ns) / 1000000, (int64_t)0);
		if (ran_ms >= BACKOFF_RESET_MS)
			c->backoff_ms = 0;
		c->not_before = mono_add_ms(now, MAX(c->backoff_ms - ago_ms, (int64_t)0));
		c->crash_loop = c->backoff_ms > 0 && mono_before(now, c->not_before) && restarts(c);
		if (c->crash_loop) {
			free(c->wait_reason);
			free(c->wait_message);
			c->wait_reason = xstrdup("CrashLoopBackOff");
			c->wait_message = xasprintf("back-off %llds restarting failed container=%s pod=%s_%s(%s)",
				(long long)(c->backoff_ms / 1000), c->name, p->name, p->ns, p->uid);
			node_event(p, str_c(c->name), "Warning", "BackOff",
				"Back-off restarting failed container %s in pod %s_%s(%s)", c->name, p->name, p->ns,
				p->uid);
		}
		c->backoff_ms = pod_backoff_next(c->backoff_ms, ran_ms);
	}
}

static bool is_background(enum action_kind k)
{
	return k == ACT_STOP || k == ACT_RESTART_KILL;
}

/* The runtime reports an end a little before its own lists show it: look again soon, a few times. */
static void follow_exit(struct pod *p, struct mono *wake)
{
	struct mono t = MONO_NEVER;

	task_lock(&p->n->lock);
	for (size_t i = 0; p->exit_seen && i < p->n_containers; i++) {
		struct container *c = p->containers[i];
		if (!c->now.id || strcmp(c->now.id, p->exit_seen) != 0 || c->now.state != INST_RUNNING ||
			p->recheck_ms > LAG_MOST_MS)
			continue;
		p->recheck_ms = p->recheck_ms ? p->recheck_ms * 2 : LAG_FIRST_MS;
		t = mono_add_ms(mono_now(), p->recheck_ms);
	}
	if (t.ns == MONO_NEVER.ns) {
		free(p->exit_seen);
		p->exit_seen = NULL;
		p->recheck_ms = 0;
	}
	task_unlock(&p->n->lock);
	if (mono_before(t, *wake))
		*wake = t;
}

/* No container starts before the network keeps to the pod's policies, so that no packet slips through. */
static bool policies_applied(struct pod *p, struct doc *d)
{
	const struct node_opts *o = &p->n->o;

	if (!o->policies_applied || !p->n_ips || pod_host_network(doc_get(d, "spec")))
		return true;
	if (o->policies_applied(o->policies_arg, d, (const char *const *)p->ips, p->n_ips))
		return true;
	log_warn("pod %s/%s: its network policies are not in the kernel yet; its containers wait", p->ns, p->name);
	node_event(p, STR_NULL, "Warning", "NetworkNotReady",
		"The pod's NetworkPolicies are not in the kernel yet; its containers wait for them");
	return false;
}

/* One round. true: look again at once. */
static bool round_of(struct pod *p, struct doc *d)
{
	struct decide_container list[POD_CONTAINERS_MAX];
	struct decision dec;
	struct decide_pod v;
	struct mono wake = MONO_NEVER;
	struct err e;
	bool first = !p->observed, again = false;

	err_init(&e);
	first_look(p, d);
	if (pod_observe(p, &e) < 0) {
		log_warn("%s; trying again in 1 s", e.message);
		node_wake_pod_at(p, mono_add_ms(mono_now(), 1000));
		return false;
	}
	if (first) {
		adopt(p, d);
		admit(p, d);
		adopt_volumes(p, d);
	}
	note_ends(p);
	follow_exit(p, &wake);
	if (!p->deleting_seen && !p->fail_reason)
		pod_resize(p, d, &wake);
	view_pod(p, d, &v, list, &wake);
	if (!v.deleting)
		keep_volumes(p, d, &wake);
	pod_decide(&v, mono_now(), &dec);
	status_submit(p, status_build(p, d, &dec), false);
	note_shutdown(p, &v, &dec);
	probes_sync(p, d);
	for (size_t i = 0; i < dec.n; i++) {
		if (dec.actions[i].kind == ACT_START && !p->volumes_ready) {
			setup_late_volumes(p, d);
			again |= p->volumes_ready;
			wake = mono_before(wake, p->volumes_retry) ? wake : p->volumes_retry;
			break;
		}
		if (dec.actions[i].kind == ACT_START && !policies_applied(p, d)) {
			wake = mono_now();
			break;
		}
		again |= pod_act(p, d, &dec, &dec.actions[i]) && !is_background(dec.actions[i].kind);
		if (p->closed)
			return false;
	}
	if (mono_before(dec.wake, wake))
		wake = dec.wake;
	if (mono_before(mono_now(), p->recheck) && mono_before(p->recheck, wake))
		wake = p->recheck;
	if (!again && wake.ns != MONO_NEVER.ns)
		node_wake_pod_at(p, wake);
	return again;
}

void pod_work(struct pod *p)
{
	bool again = true;

	while (again && !stop_raised(p->n->stop)) {
		auto_(doc_unref) struct doc *d = pod_doc(p);
		again = d && !p->closed && round_of(p, d);
	}
}

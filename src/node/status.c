/* What the API is told about a pod: built from what was observed and decided, written at once and only when it
 * changed. */
#include "node/node_internal.h"
#include <stdio.h>

#define LOG_MODULE "node"
#define GENERATION_WAIT_MS 200

static struct node *time_node(struct arena *a, int64_t ns)
{
	char text[TIME_TEXT_MAX];

	if (ns <= 0)
		return node_null(a);
	wall_rfc3339((struct wall){ ns }, text);
	return node_c(a, text);
}

static struct node *terminated(struct arena *a, const struct instance *i)
{
	struct node *t = node_map(a);

	node_setc(t, "exitCode", node_int(a, i->exit_code));
	node_setc(t, "reason", node_c(a, i->reason && *i->reason ? i->reason : i->exit_code ? "Error" : "Completed"));
	if (i->message && *i->message)
		node_setc(t, "message", node_c(a, i->message));
	node_setc(t, "startedAt", time_node(a, i->started_ns));
	node_setc(t, "finishedAt", time_node(a, i->finished_ns));
	node_setc(t, "containerID", node_strf(a, "containerd://%s", i->id));
	return t;
}

static struct node *waiting(struct arena *a, const char *reason, const char *message)
{
	struct node *w = node_map(a);

	node_setc(w, "reason", node_c(a, reason));
	if (message && *message)
		node_setc(w, "message", node_c(a, message));
	return w;
}

static bool shuts_down(struct pod *p)
{
	task_lock(&p->n->lock);
	bool is = p->shutdown;
	task_unlock(&p->n->lock);
	return is;
}

static bool pod_ending(struct pod *p, struct doc *d)
{
	return p->gone || shuts_down(p) || p->fail_reason || val_has(doc_get(d, "metadata.deletionTimestamp"));
}

static struct node *state_of(struct pod *p, struct doc *d, struct container *c, const struct decision *dec,
	struct arena *a, bool *ret_waiting)
{
	struct node *state = node_map(a);
	const char *reason = c->wait_reason, *message = c->wait_message;

	*ret_waiting = false;
	if (c->now.id && c->now.state == INST_RUNNING) {
		struct node *run = node_map(a);
		node_setc(run, "startedAt", time_node(a, c->now.started_ns));
		node_setc(state, "running", run);
		return state;
	}
	task_lock(&p->n->lock);
	if (c->image == IMAGE_FAILED && c->image_reason) {
		reason = c->image_reason;
		message = c->image_error ? arena_strdup(a, c->image_error) : NULL;
	}
	task_unlock(&p->n->lock);
	if (c->now.id && c->now.state == INST_EXITED && (!reason || dec->verdict != POD_GOES_ON || pod_ending(p, d))) {
		node_setc(state, "terminated", terminated(a, &c->now));
		return state;
	}
	if (!c->now.id && c->last.id && c->last.state == INST_EXITED &&
		(dec->verdict != POD_GOES_ON || pod_ending(p, d))) {
		node_setc(state, "terminated", terminated(a, &c->last));
		return state;
	}
	if (!reason)
		reason = c->kind != KIND_EPHEMERAL && val_len(doc_get(d, "spec.initContainers")) ? "PodInitializing" :
												   "ContainerCreating";
	node_setc(state, "waiting", waiting(a, reason, message));
	*ret_waiting = true;
	return state;
}

/* What was told of it last, be it that the API has not heard it yet. */
static struct val told_state(struct pod *p, struct doc *d, const struct container *c)
{
	const char *list = container_list(c->kind, true);
	struct val s = VAL_NONE;

	if (p->last_status)
		s = val_find(doc_get(p->last_status, list), "name", str_c(c->name));
	return val_get(val_has(s) ? s : val_find(doc_get(d, list), "name", str_c(c->name)), "state");
}

/* The API lets a container that ended for good not be told as waiting or running. Where it runs again after all, as init
 * containers do in a new sandbox, it stays told as it ended. */
static bool ended_for_good(struct doc *d, const struct container *c, struct val ended)
{
	struct str policy = doc_str(d, "spec.restartPolicy");

	if (!val_has(ended) || c->kind == KIND_SIDECAR)
		return false;
	return c->kind == KIND_EPHEMERAL || str_is(policy, "Never") ||
		(str_is(policy, "OnFailure") && !val_int(val_get(ended, "exitCode"), 0));
}

static bool container_ready(struct container *c)
{
	if (!c->now.id)
		return false;
	if (c->kind == KIND_EPHEMERAL)
		return false;
	if (c->kind == KIND_INIT)
		return c->now.state == INST_EXITED && c->now.exit_code == 0;
	return c->now.state == INST_RUNNING && c->started && c->ready;
}

static struct node *container_status(
	struct pod *p, struct doc *d, struct container *c, const struct decision *dec, struct arena *a)
{
	struct node *s = node_map(a), *last = node_map(a);
	struct val spec = pod_container_spec(d, str_c(c->name));
	const struct instance *shown = c->now.id ? &c->now : &c->last;
	bool is_waiting, ready;
	struct node *state = state_of(p, d, c, dec, a, &is_waiting);
	struct val told = told_state(p, d, c);

	if (!node_getc(state, "terminated") && ended_for_good(d, c, val_get(told, "terminated"))) {
		state = node_from(a, told);
		is_waiting = false;
	}
	task_lock(&p->n->lock);
	ready = container_ready(c);
	bool started = c->now.id && c->now.state == INST_RUNNING && c->started;
	task_unlock(&p->n->lock);
	node_setc(s, "name", node_c(a, c->name));
	node_setc(s, "state", state);
	if (c->now.id && c->now.state == INST_EXITED && is_waiting)
		node_setc(last, "terminated", terminated(a, &c->now));
	else if (c->last.id && c->last.state == INST_EXITED && !node_getc(state, "terminated"))
		node_setc(last, "terminated", terminated(a, &c->last));
	else if (c->now.id && c->last.id && c->last.state == INST_EXITED)
		node_setc(last, "terminated", terminated(a, &c->last));
	node_setc(s, "lastState", last);
	node_setc(s, "ready", node_bool(a, ready));
	node_setc(s, "restartCount",
		node_int(a,
			shown->id ? shown->restarts :
				    val_int(val_get(val_find(doc_get(d, container_list(c->kind, true)), "name",
							    str_c(c->name)),
						    "restartCount"),
					    0)));
	node_setc(s, "image",
		shown->image && *shown->image ? node_c(a, shown->image) : node_str(a, val_str(val_get(spec, "image"))));
	node_setc(s, "imageID", node_c(a, shown->image_ref ? shown->image_ref : ""));
	if (shown->id)
		node_setc(s, "containerID", node_strf(a, "containerd://%s", shown->id));
	node_setc(s, "started", node_bool(a, started));
	if (resize_status(c, a))
		node_setc(s, "resources", resize_status(c, a));
	if (val_len(val_path(spec, "resources.requests")))
		node_setc(s, "allocatedResources", node_from(a, val_path(spec, "resources.requests")));
	return s;
}

/* ---- conditions ------------------------------------------------------------------------------ */

struct conds {
	struct arena *a;
	struct pod *p;
	struct doc *d;
	struct node *list;
	char now[TIME_TEXT_MAX];
};

static void condition(struct conds *k, const char *type, bool ok, const char *reason, const char *message)
{
	const char *status = ok ? "True" : "False";
	struct val old = VAL_NONE;
	struct node *c = node_map(k->a);

	if (k->p->last_status)
		old = val_find(doc_get(k->p->last_status, "status.conditions"), "type", str_c(type));
	if (!val_has(old))
		old = val_find(doc_get(k->d, "status.conditions"), "type", str_c(type));
	node_setc(c, "type", node_c(k->a, type));
	node_setc(c, "status", node_c(k->a, status));
	node_setc(c, "lastProbeTime", node_null(k->a));
	if (val_is(val_get(old, "status"), status) && !str_empty(val_str(val_get(old, "lastTransitionTime"))))
		node_setc(c, "lastTransitionTime", node_str(k->a, val_str(val_get(old, "lastTransitionTime"))));
	else
		node_setc(c, "lastTransitionTime", node_c(k->a, k->now));
	node_setc(c, "reason", reason ? node_c(k->a, reason) : node_null(k->a));
	node_setc(c, "message", message ? node_c(k->a, message) : node_null(k->a));
	node_add(k->list, c);
}

static void name_list(struct buf *b, const char *name)
{
	buf_printf(b, "%s%s", b->n ? " " : "", name);
}

static bool gates_open(struct doc *d)
{
	for (struct val_iter it = val_iter(doc_get(d, "spec.readinessGates")); val_next(&it);) {
		struct val c =
			val_find(doc_get(d, "status.conditions"), "type", val_str(val_get(it.val, "conditionType")));
		if (!val_is(val_get(c, "status"), "True"))
			return false;
	}
	return true;
}

/* Those of a change of resources go when it is done. */
static void resize_conditions(struct conds *k)
{
	static const char *const types[] = { "PodResizePending", "PodResizeInProgress" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		bool is = k->p->resize_condition && strcmp(k->p->resize_condition, types[i]) == 0;
		if (is)
			condition(k, types[i], true, k->p->resize_reason, k->p->resize_message);
		else if (val_has(val_find(doc_get(k->d, "status.conditions"), "type", str_c(types[i]))))
			node_add(k->list, node_pack(k->a, "{'$patch':'delete', type:s}", types[i]));
	}
}

static void conditions(struct conds *k, const struct decision *dec, const char *phase)
{
	struct pod *p = k->p;
	auto_buf struct buf unready = BUF_INIT, incomplete = BUF_INIT;
	bool over = strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0, gates = gates_open(k->d);
	const char *over_why = strcmp(phase, "Succeeded") == 0 ? "PodCompleted" : "PodFailed";
	const char *text = NULL;
	bool ready;

	task_lock(&p->n->lock);
	for (size_t i = 0; i < p->n_containers; i++) {
		struct container *c = p->containers[i];
		if (c->kind != KIND_INIT && c->kind != KIND_EPHEMERAL && !container_ready(c))
			name_list(&unready, c->name);
		if (c->kind == KIND_INIT && !container_ready(c))
			name_list(&incomplete, c->name);
		if (c->kind == KIND_SIDECAR && !(c->now.id && c->now.state == INST_RUNNING && c->started))
			name_list(&incomplete, c->name);
	}
	task_unlock(&p->n->lock);
	condition(k, "PodReadyToStartContainers", p->sandbox_up && p->n_ips, NULL, NULL);
	if (dec->initialized || !incomplete.n || strcmp(phase, "Succeeded") == 0)
		condition(k, "Initialized", true, strcmp(phase, "Succeeded") == 0 ? "PodCompleted" : NULL, NULL);
	else
		condition(k, "Initialized", false, "ContainersNotInitialized",
			arena_printf(
				k->a, "containers with incomplete status: [%.*s]", STR_ARG(buf_view(&incomplete))));
	resize_conditions(k);
	if (p->fail_reason && (strcmp(p->fail_reason, "Evicted") == 0 || strcmp(p->fail_reason, SHUTDOWN_REASON) == 0))
		condition(k, "DisruptionTarget", true, "TerminationByKubelet", p->fail_message);
	ready = !over && unready.n == 0 && p->n_containers;
	if (unready.n && !over)
		text = arena_printf(k->a, "containers with unready status: [%.*s]", STR_ARG(buf_view(&unready)));
	if (ready && gates)
		condition(k, "Ready", true, NULL, NULL);
	else if (ready)
		condition(k, "Ready", false, "ReadinessGatesNotReady", "a readiness gate of the pod is not \"True\"");
	else
		condition(k, "Ready", false, over ? over_why : "ContainersNotReady", text);
	condition(k, "ContainersReady", ready, ready ? NULL : over ? over_why : "ContainersNotReady", text);
	/* the scheduler's to say; for pods that came here without one it is said here, and then on */
	if (!val_has(val_find(doc_get(k->d, "status.conditions"), "type", STR("PodScheduled"))) ||
		(p->last_status &&
			val_has(val_find(doc_get(p->last_status, "status.conditions"), "type", STR("PodScheduled")))))
		condition(k, "PodScheduled", true, NULL, NULL);
}

static const char *phase_of(struct pod *p, struct doc *d, const struct decision *dec)
{
	struct str had = doc_str(d, "status.phase");
	bool any = false, all_begun = true;

	if (str_is(had, "Failed"))
		return "Failed";
	if (str_is(had, "Succeeded"))
		return "Succeeded";
	if (p->fail_reason || dec->verdict == POD_FAILED)
		return "Failed";
	if (dec->verdict == POD_SUCCEEDED)
		return "Succeeded";
	for (size_t i = 0; i < p->n_containers; i++) {
		struct container *c = p->containers[i];
		if (c->kind != KIND_MAIN)
			continue;
		any |= c->now.id || c->last.id;
		if (!(c->now.id && c->now.state != INST_CREATED) && !c->last.id)
			all_begun = false;
	}
	return any && all_begun ? "Running" : "Pending";
}

/* All there are: an address from before a restart of the machine would stay beside the new one. */
static struct node *ip_list(struct arena *a, char *const *ips, size_t n)
{
	struct node *list = node_list(a);

	for (size_t i = 0; i < n; i++)
		node_add(list, node_pack(a, "{ip:s}", ips[i]));
	node_add(list, node_pack(a, "{'$patch':'replace'}"));
	return list;
}

static void addresses(struct pod *p, struct doc *d, struct node *st, struct arena *a, bool over)
{
	const struct node_opts *o = &p->n->o;

	if (o->n_node_ips) {
		node_setc(st, "hostIP", node_c(a, o->node_ips[0]));
		node_setc(st, "hostIPs", ip_list(a, (char *const *)o->node_ips, o->n_node_ips));
	}
	if (p->n_ips && (p->sandbox_up || over)) {
		node_setc(st, "podIP", node_c(a, p->ips[0]));
		node_setc(st, "podIPs", ip_list(a, p->ips, p->n_ips));
	}
	(void)d;
}

struct doc *status_build(struct pod *p, struct doc *d, const struct decision *dec)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *st = node_map(a), *lists[4] = { node_list(a), node_list(a), node_list(a), node_list(a) };
	struct conds k = { .a = a, .p = p, .d = d, .list = node_list(a) };
	const char *phase = phase_of(p, d, dec);
	int64_t generation = doc_int(d, "metadata.generation", 0);

	wall_rfc3339(wall_now(), k.now);
	for (size_t i = 0; i < p->n_containers; i++) {
		enum container_kind kind = p->containers[i]->kind;
		node_add(lists[kind == KIND_SIDECAR ? KIND_INIT : kind],
			container_status(p, d, p->containers[i], dec, a));
	}
	conditions(&k, dec, phase);
	if (generation)
		node_setc(st, "observedGeneration", node_int(a, generation));
	node_setc(st, "phase", node_c(a, phase));
	node_setc(st, "conditions", k.list);
	if (p->fail_reason) {
		node_setc(st, "reason", node_c(a, p->fail_reason));
		node_setc(st, "message", node_c(a, p->fail_message));
	} else if (shuts_down(p)) {
		node_setc(st, "reason", node_c(a, SHUTDOWN_REASON));
		node_setc(st, "message", node_c(a, SHUTDOWN_MESSAGE));
	} else if (str_is(doc_str(d, "status.reason"), SHUTDOWN_REASON) &&
		strcmp(phase, "Failed") != 0) { /* back again */
		node_setc(st, "reason", node_null(a));
		node_setc(st, "message", node_null(a));
	}
	addresses(p, d, st, a, true);
	node_setc(st, "startTime", time_node(a, p->start_ns));
	if (node_len(lists[KIND_INIT]))
		node_setc(st, "initContainerStatuses", lists[KIND_INIT]);
	node_setc(st, "containerStatuses", lists[KIND_MAIN]);
	if (node_len(lists[KIND_EPHEMERAL]))
		node_setc(st, "ephemeralContainerStatuses", lists[KIND_EPHEMERAL]);
	node_setc(st, "qosClass", node_c(a, pod_qos(doc_get(d, "spec"))));
	return node_publish(node_pack(a, "{metadata:{uid:s}, status:o}", p->uid, st));
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Nothing but that a change of the specification was seen: that can wait for what follows from it. */
static bool only_generation(struct doc *before, struct doc *after)
{
	struct val a = doc_get(before, "status"), b = doc_get(after, "status");

	for (struct val_iter it = val_iter(b); val_next(&it);)
		if (!str_is(it.key, "observedGeneration") && !val_equal(it.val, val_get_str(a, it.key)))
			return false;
	return val_len(a) == val_len(b);
}

void status_submit(struct pod *p, struct doc *take_status, bool then_delete)
{
	bool same = p->last_status && val_equal(doc_root(p->last_status), doc_root(take_status));

	if (p->gone || (same && !then_delete)) {
		doc_unref(take_status);
		return;
	}
	bool may_wait = !then_delete && p->last_status && only_generation(p->last_status, take_status);
	doc_unref(p->last_status);
	p->last_status = doc_ref(take_status);
	task_lock(&p->n->lock);
	doc_unref(p->write.want);
	p->write.want = same ? NULL : take_status;
	p->write.then_delete |= then_delete;
	task_unlock(&p->n->lock);
	if (same)
		doc_unref(take_status);
	if (may_wait)
		queue_add_after(p->n->writes, str_c(p->uid), GENERATION_WAIT_MS);
	else
		queue_add(p->n->writes, str_c(p->uid));
}

static int write_one(struct node_agent *n, struct pod *p, struct err *e)
{
	struct doc *want;
	bool del, gone;
	int r = 0;

	task_lock(&n->lock);
	want = TAKE(p->write.want);
	del = p->write.then_delete;
	gone = p->gone;
	task_unlock(&n->lock);
	if (gone) {
		doc_unref(want);
		return 0;
	}
	if (want)
		r = client_patch(
			n->client, res_pods, str_c(p->ns), str_c(p->name), "status", PATCH_STRATEGIC, want, NULL, e);
	if (r == -ERR_NOT_FOUND || r == -ERR_CONFLICT) { /* gone, or another of the same name: the watch will tell */
		doc_unref(want);
		return 0;
	}
	if (r < 0) {
		task_lock(&n->lock);
		if (!p->write.want)
			p->write.want = TAKE(want);
		task_unlock(&n->lock);
		doc_unref(want);
		return r;
	}
	doc_unref(want);
	if (del) {
		r = client_delete(n->client, res_pods, str_c(p->ns), str_c(p->name),
			(struct client_delete){ .uid = str_c(p->uid), .grace_s = 0 }, e);
		if (r == -ERR_NOT_FOUND || r == -ERR_CONFLICT)
			r = 0;
	}
	return r;
}

void status_writer(void *node)
{
	struct node_agent *n = node;
	char *uid;
	struct err e;

	while (queue_pop(n->writes, &uid)) {
		auto_(pod_unref) struct pod *p = pod_ref_uid(n, str_c(uid));
		err_init(&e);
		if (p && write_one(n, p, &e) < 0) {
			log_warn("pod %s/%s: status is not written: %s; trying again", p->ns, p->name, e.message);
			queue_retry(n->writes, str_c(uid));
		} else {
			queue_forget(n->writes, str_c(uid));
		}
		queue_done(n->writes, str_c(uid));
		free(uid);
	}
}

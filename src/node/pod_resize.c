/* Resources of running containers that change in place: pods/resize wrote the specification, the node makes it so.
 *
 *   fits this node? ── no ──► PodResizePending (Infeasible, Deferred)
 *        │ yes
 *   pod's control group grows ─► containers, or their restart where resizePolicy asks for it ─► pod's control group
 * shrinks */
#include "node/node_internal.h"
#include <stdio.h>

#define LOG_MODULE "node"
#define RETRY_MS 10000

static struct str wanted_of(struct doc *d, const struct container *c)
{
	return val_text(val_get(pod_container_spec(d, str_c(c->name)), "resources"));
}

void resize_started(struct container *c, struct doc *d)
{
	free(c->resources);
	c->resources = str_dup(wanted_of(d, c));
}

/* A container of a process before us: what its status said it has. */
static void adopt(struct container *c, struct doc *d)
{
	struct val s = val_find(doc_get(d, container_list(c->kind, true)), "name", str_c(c->name));
	struct val has = val_get(s, "resources");

	if (!c->resources)
		c->resources = str_dup(val_has(has) ? val_text(has) : wanted_of(d, c));
}

static struct doc *parse(const char *text)
{
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	return *text && doc_parse(str_c(text), &d, &e) == 0 ? d : NULL;
}

static bool changed(const struct container *c, struct doc *d)
{
	auto_(doc_unref) struct doc *has = parse(c->resources);
	struct val wanted = val_get(pod_container_spec(d, str_c(c->name)), "resources");

	return !(has ? val_equal(doc_root(has), wanted) : !val_len(wanted));
}

static bool differs(struct val a, struct val b, const char *kind)
{
	return !val_equal(val_path(a, kind), val_path(b, kind));
}

/* resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}] */
static bool wants_restart(const struct container *c, struct doc *d)
{
	auto_(doc_unref) struct doc *has = parse(c->resources);
	struct val spec = pod_container_spec(d, str_c(c->name)), wanted = val_get(spec, "resources"),
		   had = has ? doc_root(has) : VAL_NONE;

	for (struct val_iter it = val_iter(val_get(spec, "resizePolicy")); val_next(&it);) {
		bool cpu = val_is(val_get(it.val, "resourceName"), "cpu");
		if (!val_is(val_get(it.val, "restartPolicy"), "RestartContainer"))
			continue;
		if (differs(had, wanted, cpu ? "requests.cpu" : "requests.memory") ||
			differs(had, wanted, cpu ? "limits.cpu" : "limits.memory"))
			return true;
	}
	return false;
}

/* ---- whether it fits ------------------------------------------------------------------------- */

static void others(struct pod *p, struct resources *sum)
{
	struct node_agent *n = p->n;
	struct str key;
	void *value;

	*sum = (struct resources){ 0 };
	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);) {
		struct pod *o = value;
		struct resources r;
		bool a, b;
		if (o == p || o->gone || pod_is_over(o->doc))
			continue;
		resources_of_pod(doc_get(o->doc, "spec"), &r, &a, &b);
		sum->cpu_request_milli += r.cpu_request_milli;
		sum->mem_request += r.mem_request;
	}
	task_unlock(&n->lock);
}

static const char *unfit(struct pod *p, struct doc *d)
{
	int64_t cpu = allocatable_cpu_milli(p->n), memory = allocatable_memory_bytes(p->n);
	struct resources want, rest;
	bool a, b;

	resources_of_pod(doc_get(d, "spec"), &want, &a, &b);
	if (want.cpu_request_milli > cpu || want.mem_request > memory)
		return "Infeasible";
	others(p, &rest);
	return want.cpu_request_milli + rest.cpu_request_milli > cpu || want.mem_request + rest.mem_request > memory ?
		"Deferred" :
		NULL;
}

/* ---- doing it -------------------------------------------------------------------------------- */

static int resize_one(struct pod *p, struct doc *d, struct container *c, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct val spec = pod_container_spec(d, str_c(c->name));
	int r;

	if (wants_restart(c, d)) {
		c->resize_restart = true; /* the new instance is made with them */
		return 0;
	}
	r = cri_update_container(&p->n->cri, c->now.id, resources_cri(p->n, doc_get(d, "spec"), spec, a), e);
	if (r < 0)
		return err_wrap(e, "container %s", c->name);
	resize_started(c, d);
	node_event(p, str_c(c->name), "Normal", "Resized", "Container %s has its new resources", c->name);
	return 0;
}

static void say(struct pod *p, const char *condition, const char *reason, const char *message)
{
	free(p->resize_message);
	p->resize_condition = condition;
	p->resize_reason = reason;
	p->resize_message = message ? xstrdup(message) : NULL;
}

void pod_resize(struct pod *p, struct doc *d, struct mono *wake)
{
	struct container *due[POD_CONTAINERS_MAX];
	struct mono later = mono_add_ms(mono_now(), RETRY_MS);
	const char *reason;
	struct err e;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < p->n_containers; i++) {
		struct container *c = p->containers[i];
		if (!c->now.id || c->now.state != INST_RUNNING || c->kind == KIND_EPHEMERAL)
			continue;
		adopt(c, d);
		if (changed(c, d))
			due[n++] = c;
	}
	say(p, NULL, NULL, NULL);
	if (!n)
		return;
	reason = unfit(p, d);
	if (reason) {
		say(p, "PodResizePending", reason, "Node didn't have enough capacity for what the pod asks for now");
		*wake = mono_before(later, *wake) ? later : *wake;
		return;
	}
	err_init(&e);
	(void)cgroup_pod_make(p, doc_get(d, "spec"), &e); /* grows; what cannot shrink yet stays */
	for (size_t i = 0; i < n && r == 0; i++)
		r = resize_one(p, d, due[i], &e);
	if (r < 0) {
		log_warn("pod %s/%s: resize: %s; trying again in 10 s", p->ns, p->name, e.message);
		say(p, "PodResizeInProgress", "Error", e.message);
		*wake = mono_before(later, *wake) ? later : *wake;
		return;
	}
	(void)cgroup_pod_make(p, doc_get(d, "spec"), &e);
}

/* What the container really has; NULL: nothing to tell. */
struct node *resize_status(struct container *c, struct arena *a)
{
	auto_(doc_unref) struct doc *has = c->resources ? parse(c->resources) : NULL;

	return has && val_len(doc_root(has)) ? node_from(a, doc_root(has)) : NULL;
}

/* What the runtime has of a pod, and the pod's memory brought in line with it. */
#include "node/node_internal.h"

#define LOG_MODULE "node"
#define START_ERROR_CODE 128 /* containerd's, of a container that did not come to run */

void instance_fini(struct instance *i)
{
	free(i->id);
	free(i->hash);
	free(i->reason);
	free(i->message);
	free(i->image);
	free(i->image_ref);
	free(i->sandbox);
	free(i->log_path);
	*i = (struct instance){ 0 };
}

bool instance_never_ran(const struct instance *i)
{
	return i->id && i->state == INST_EXITED && i->exit_code == START_ERROR_CODE && !i->started_ns &&
		str_is(str_c(i->reason), "StartError");
}

static enum instance_state state_of(int32_t cri_state)
{
	switch (cri_state) {
	case CONTAINER_CREATED:
		return INST_CREATED;
	case CONTAINER_RUNNING:
		return INST_RUNNING;
	default:
		return INST_EXITED;
	}
}

void pod_own_id(struct pod *p, const char *id)
{
	task_lock(&p->n->lock);
	if (!map_get(p->n->by_container, str_c(id)))
		map_put(p->n->by_container, str_c(id), xstrdup(p->uid));
	task_unlock(&p->n->lock);
}

static char *message_of_end(struct pod *p, const char *name, const Cri__ContainerStatus *s, struct val spec)
{
	auto_free char *rel = xasprintf("containers/%s/%u", name, s->metadata ? s->metadata->attempt : 0),
		       *path = pod_dir(p, rel);
	char *text = log_tail(path, 4096, SIZE_MAX);

	if (text && *text)
		return text;
	free(text);
	if (val_is(val_get(spec, "terminationMessagePolicy"), "FallbackToLogsOnError") && s->exit_code != 0) {
		text = log_tail(s->log_path, 2048, 80);
		if (text && *text)
			return text;
		free(text);
	}
	return xstrdup(s->message ? s->message : "");
}

static int instance_load(
	struct pod *p, struct container *c, const Cri__Container *k, struct doc *d, struct instance *ret, struct err *e)
{
	auto_reply Cri__ContainerStatusReply *reply = NULL;
	Cri__ContainerStatus *s;
	const char *note;
	int64_t restarts;
	int r = cri_container_status(&p->n->cri, k->id, &reply, e);

	if (r < 0)
		return r;
	s = reply->status;
	*ret = (struct instance){
		.id = xstrdup(s->id),
		.state = state_of(s->state),
		.attempt = k->metadata ? k->metadata->attempt : 0,
		.created_ns = s->created_at,
		.started_ns = s->started_at,
		.finished_ns = s->finished_at,
		.exit_code = s->exit_code,
		.reason = xstrdup(s->reason ? s->reason : ""),
		.image = xstrdup(s->image ? s->image->image : ""),
		.image_ref = xstrdup(s->image_ref ? s->image_ref : ""),
		.sandbox = xstrdup(k->pod_sandbox_id),
		.log_path = xstrdup(s->log_path ? s->log_path : ""),
	};
	if (s->state == CONTAINER_UNKNOWN && ret->exit_code == 0)
		ret->exit_code = 137; /* lost while nobody looked: that is no success */
	note = cri_map_get(k->annotations, k->n_annotations, NOTE_HASH);
	ret->hash = xstrdup(note ? note : "");
	note = cri_map_get(k->annotations, k->n_annotations, NOTE_RESTARTS);
	ret->restarts = note && str_i64(str_c(note), &restarts) ? (int)restarts : (int)ret->attempt;
	ret->message = ret->state == INST_EXITED ?
		message_of_end(p, c->name, s, pod_container_spec(d, str_c(c->name))) :
		xstrdup("");
	pod_own_id(p, ret->id);
	return 0;
}

static struct container *container_of_entry(struct pod *p, const Cri__Container *k)
{
	const char *name = cri_map_get(k->labels, k->n_labels, LABEL_CONTAINER);

	return name ? pod_container(p, str_c(name)) : NULL;
}

/* The newest two of a container, of any sandbox. */
static void newest_two(struct pod *p, struct container *c, Cri__ListContainersReply *l, Cri__Container **first,
	Cri__Container **second)
{
	*first = *second = NULL;
	for (size_t i = 0; i < l->n_containers; i++) {
		Cri__Container *k = l->containers[i];
		if (container_of_entry(p, k) != c)
			continue;
		if (!*first || k->created_at > (*first)->created_at) {
			*second = *first;
			*first = k;
		} else if (!*second || k->created_at > (*second)->created_at) {
			*second = k;
		}
	}
}

static bool same_instance(const struct instance *i, const Cri__Container *k)
{
	return i->id && k && strcmp(i->id, k->id) == 0 && i->state == state_of(k->state);
}

/* It goes, and another is made. */
static int remove_cut_off(struct pod *p, const struct container *c, const char *id, struct err *e)
{
	int r = cri_remove_container(&p->n->cri, id, e);

	if (r < 0 && r != -ERR_NOT_FOUND)
		return err_wrap(e, "container %s, whose start was cut off, cannot be removed", c->name);
	err_init(e);
	log_info("pod %s/%s: container %s is made again: its start was cut off", p->ns, p->name, c->name);
	task_lock(&p->n->lock);
	map_del(p->n->by_container, str_c(id));
	task_unlock(&p->n->lock);
	return 0;
}

static int refresh(
	struct pod *p, struct container *c, struct instance *slot, Cri__Container *k, struct doc *d, struct err *e)
{
	struct instance fresh;
	int r;

	if (!k) {
		instance_fini(slot);
		return 0;
	}
	if (same_instance(slot, k))
		return 0;
	r = instance_load(p, c, k, d, &fresh, e);
	if (r == -ERR_NOT_FOUND) {
		instance_fini(slot);
		return 0;
	}
	if (r < 0)
		return r;
	instance_fini(slot);
	if (instance_never_ran(&fresh) && !pod_is_over(d) &&
		!(c->start_error_id && strcmp(c->start_error_id, fresh.id) == 0)) {
		r = remove_cut_off(p, c, fresh.id, e);
		instance_fini(&fresh);
		return r;
	}
	*slot = fresh;
	if (slot->state == INST_EXITED)
		logs_pod_changed(p->n->logs, p->uid);
	return 0;
}

static int observe_container(
	struct pod *p, struct container *c, Cri__ListContainersReply *l, struct doc *d, struct err *e)
{
	Cri__Container *first, *second;
	bool current;
	int r;

	newest_two(p, c, l, &first, &second);
	current = first && p->sandbox && strcmp(first->pod_sandbox_id, p->sandbox) == 0;
	if (first && !current) { /* of a sandbox that is gone or dead: history */
		second = first;
		first = NULL;
	}
	if (second && c->now.id && strcmp(second->id, c->now.id) == 0) { /* it has been followed by another */
		instance_fini(&c->last);
		c->last = c->now;
		c->now = (struct instance){ 0 };
	}
	r = refresh(p, c, &c->now, first, d, e);
	if (r == 0)
		r = refresh(p, c, &c->last, second, d, e);
	if (r < 0)
		return r;
	if (first)
		c->restarts = MAX(c->restarts, c->now.restarts);
	if (second)
		c->restarts = MAX(c->restarts, c->last.restarts);
	return 0;
}

static int observe_sandbox(struct pod *p, struct err *e)
{
	auto_reply Cri__ListSandboxReply *l = NULL;
	auto_reply Cri__SandboxStatusReply *s = NULL;
	Cri__Sandbox *newest = NULL;
	int r = cri_list_sandboxes(&p->n->cri, p->uid, &l, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < l->n_items; i++)
		if (!newest || l->items[i]->created_at > newest->created_at)
			newest = l->items[i];
	p->sandboxes_left = l->n_items > 0;
	if (!newest) {
		free(p->sandbox);
		p->sandbox = NULL;
		p->sandbox_up = false;
		return 0;
	}
	if (newest->metadata)
		p->sandbox_attempt = newest->metadata->attempt;
	bool same = p->sandbox && strcmp(p->sandbox, newest->id) == 0 && p->sandbox_up && p->n_ips;
	p->sandbox_up = newest->state == SANDBOX_READY;
	if (!p->sandbox || strcmp(p->sandbox, newest->id) != 0) {
		free(p->sandbox);
		p->sandbox = xstrdup(newest->id);
		pod_own_id(p, newest->id);
	}
	if (same || !p->sandbox_up)
		return 0;
	r = cri_sandbox_status(&p->n->cri, p->sandbox, &s, e);
	if (r < 0)
		return r;
	task_lock(&p->n->lock); /* streams and probes read the addresses */
	for (size_t i = 0; i < p->n_ips; i++)
		free(p->ips[i]);
	p->n_ips = 0;
	if (s->status->network && *s->status->network->ip) {
		p->ips = xrealloc(p->ips, s->status->network->n_additional_ips + 1, sizeof(*p->ips));
		p->ips[p->n_ips++] = xstrdup(s->status->network->ip);
		for (size_t i = 0; i < s->status->network->n_additional_ips; i++)
			p->ips[p->n_ips++] = xstrdup(s->status->network->additional_ips[i]->ip);
	} else if (p->n->o.n_node_ips) { /* host network */
		p->ips = xrealloc(p->ips, p->n->o.n_node_ips, sizeof(*p->ips));
		for (size_t i = 0; i < p->n->o.n_node_ips; i++)
			p->ips[p->n_ips++] = xstrdup(p->n->o.node_ips[i]);
	}
	task_unlock(&p->n->lock);
	return 0;
}

int pod_observe(struct pod *p, struct err *e)
{
	auto_reply Cri__ListContainersReply *l = NULL;
	auto_(doc_unref) struct doc *d = pod_doc(p);
	int r = observe_sandbox(p, e);

	if (r < 0)
		return err_wrap(e, "pod %s/%s: what runs cannot be read", p->ns, p->name);
	r = cri_list_containers(&p->n->cri, p->uid, &l, e);
	if (r < 0)
		return err_wrap(e, "pod %s/%s: what runs cannot be read", p->ns, p->name);
	for (size_t i = 0; r == 0 && i < p->n_containers; i++)
		r = observe_container(p, p->containers[i], l, d, e);
	p->any_running_elsewhere = false;
	for (size_t i = 0; i < l->n_containers; i++) {
		Cri__Container *k = l->containers[i];
		bool old = !p->sandbox || strcmp(k->pod_sandbox_id, p->sandbox) != 0 || !container_of_entry(p, k);
		if (old && k->state == CONTAINER_RUNNING)
			p->any_running_elsewhere = true;
	}
	p->observed = r == 0;
	return r;
}

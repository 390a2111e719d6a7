/* Carrying out what pod_decide() says. Short steps run on the pod's worker; what may take long (pulling, stopping,
 * hooks) runs on a task of its own, which wakes the worker when it is done. */
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define ORPHAN_GRACE_S 1
#define EVICTED_GRACE_S 1 /* the node has no time */
#define STOP_LEAST_S 2    /* what is left for SIGTERM when preStop used the whole grace */
#define SANDBOX_RETRY_FIRST_MS 1000
#define SANDBOX_RETRY_MOST_MS 60000

static void set_str(char **to, const char *text)
{
	free(*to);
	*to = text ? xstrdup(text) : NULL;
}

/* ---- sandbox --------------------------------------------------------------------------------- */

struct volume_job {
	struct pod *p;
	struct doc *d;
	struct err e;
	int result;
};

static void volume_task(void *arg)
{
	struct volume_job *j = arg;

	j->result = volumes_setup(j->p, j->d, &j->e);
}

static int try_volumes_result(struct pod *p, struct volume_job *j)
{
	if (j->result == 0) {
		p->volumes_ready = true;
		return 0;
	}
	log_warn("pod %s/%s: %s; trying again in %d s", p->ns, p->name, j->e.message, 2);
	node_event(p, STR_NULL, "Warning", "FailedMount", "%s", j->e.message);
	p->volumes_retry = mono_add_ms(mono_now(), 2000);
	return j->result;
}

static void sandbox_failed(struct pod *p, const struct err *e)
{
	p->sandbox_backoff_ms = p->sandbox_backoff_ms ? MIN(p->sandbox_backoff_ms * 2, (int64_t)SANDBOX_RETRY_MOST_MS) :
							SANDBOX_RETRY_FIRST_MS;
	p->sandbox_not_before = mono_add_ms(mono_now(), p->sandbox_backoff_ms);
	log_warn("pod %s/%s: sandbox: %s; trying again in %lld s", p->ns, p->name, e->message,
		(long long)(p->sandbox_backoff_ms / 1000));
	node_event(p, STR_NULL, "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: %s", e->message);
}

static int runtime_handler(struct pod *p, struct doc *d, struct arena *a, const char **ret, struct err *e)
{
	struct str name = doc_str(d, "spec.runtimeClassName");
	auto_(doc_unref) struct doc *rc = NULL;
	int r;

	*ret = "";
	if (str_empty(name))
		return 0;
	r = client_get(p->n->client, res_runtimeclasses, STR_NULL, name, &rc, e);
	if (r < 0)
		return err_wrap(e, "RuntimeClass %.*s", STR_ARG(name));
	*ret = arena_cstr(a, doc_str(rc, "handler"));
	return 0;
}

/* The network of the sandbox takes most of the time: volumes are made meanwhile. */
static void make_sandbox(struct pod *p, struct doc *d)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_free char *logs = pod_log_dir(p), *id = NULL;
	struct volume_job *job = NULL;
	struct task *t = NULL;
	const char *handler;
	struct err e;
	int r;

	err_init(&e);
	p->sandbox_attempt = p->sandbox ? p->sandbox_attempt + 1 : 0;
	if (!p->volumes_ready) {
		job = xcalloc(1, sizeof(*job));
		job->p = p;
		job->d = d;
		t = task_spawn("volumes", volume_task, job);
	}
	r = mkdirs(logs, 0755, &e);
	if (r == 0)
		r = cgroup_pod_make(p, doc_get(d, "spec"), &e);
	if (r == 0)
		r = runtime_handler(p, d, a, &handler, &e);
	if (r == 0)
		r = cri_run_sandbox(&p->n->cri, pod_sandbox_config(p, d, a), handler, &id, &e);
	if (r == 0)
		image_unpacked(p->n, "pause");
	if (t) {
		task_join(t);
		(void)try_volumes_result(p, job);
		free(job);
	}
	if (r < 0) {
		sandbox_failed(p, &e);
		return;
	}
	p->sandbox_backoff_ms = 0;
}

/* What the runtime did not do; instead of trying again at once. */
static bool look_in_a_second(struct pod *p)
{
	p->recheck_ms = 0;
	p->recheck = mono_add_ms(mono_now(), 1000);
	return false;
}

static bool stop_sandbox(struct pod *p)
{
	struct err e;

	err_init(&e);
	if (cri_stop_sandbox(&p->n->cri, p->sandbox, &e) < 0) {
		log_warn("pod %s/%s: stop sandbox: %s; trying again in 1 s", p->ns, p->name, e.message);
		return look_in_a_second(p);
	}
	p->sandbox_up = false;
	return true;
}

/* ---- starting -------------------------------------------------------------------------------- */

static void start_failed(struct pod *p, struct container *c, const char *reason, struct err *e)
{
	c->backoff_ms = pod_backoff_next(c->backoff_ms, 0);
	if (strcmp(reason, "CreateContainerConfigError") == 0)
		c->not_before = mono_add_ms(mono_now(), 2000); /* an object that appears helps at once */
	else
		c->not_before = mono_add_ms(mono_now(), c->backoff_ms);
	c->crash_loop = false;
	if (!c->wait_reason || strcmp(c->wait_reason, reason) != 0 || !c->wait_message ||
		strcmp(c->wait_message, e->message) != 0) {
		log_warn("pod %s/%s: container %s: %s", p->ns, p->name, c->name, e->message);
		node_event(p, str_c(c->name), "Warning", "Failed", "Error: %s", e->message);
	}
	set_str(&c->wait_reason, reason);
	set_str(&c->wait_message, e->message);
}

static void remove_history(struct pod *p, struct container *c)
{
	struct err e;

	if (!c->last.id || !c->now.id || c->now.state != INST_EXITED)
		return;
	err_init(&e); /* the one before becomes the one before the last: nobody can ask for it */
	if (cri_remove_container(&p->n->cri, c->last.id, &e) < 0)
		return;
	if (c->last.log_path && *c->last.log_path)
		(void)unlink(c->last.log_path);
	task_lock(&p->n->lock);
	map_del(p->n->by_container, str_c(c->last.id));
	task_unlock(&p->n->lock);
	instance_fini(&c->last);
}

static int restarts_before(struct pod *p, struct container *c, struct doc *d)
{
	struct val s = val_find(doc_get(d, container_list(c->kind, true)), "name", str_c(c->name));

	(void)p;
	if (c->now.id || c->last.id)
		return MAX(c->now.id ? c->now.restarts : 0, c->last.id ? c->last.restarts : 0) + 1;
	if (!str_empty(val_str(val_get(s, "containerID")))) /* the runtime has lost it; it did run */
		return (int)val_int(val_get(s, "restartCount"), 0) + 1;
	return 0;
}

struct hook_job {
	struct pod *p;
	struct doc *d;
	struct container *c;
	char *id;
};

static void post_start_task(void *arg)
{
	struct hook_job *j = arg;
	struct pod *p = j->p;
	struct node_agent *n = p->n;
	struct val spec = pod_container_spec(j->d, str_c(j->c->name));
	struct err e;

	err_init(&e);
	int r = hook_run(p, j->d, val_path(spec, "lifecycle.postStart"), j->id, str_c(j->c->name), 0, &e);
	task_lock(&n->lock);
	if (r < 0) {
		set_str(&j->c->kill_id, j->id);
		set_str(&j->c->hook_failed, e.message);
	}
	task_unlock(&n->lock);
	if (r < 0)
		node_event(
			p, str_c(j->c->name), "Warning", "FailedPostStartHook", "PostStartHook failed: %s", e.message);
	node_wake_pod(p);
	doc_unref(j->d);
	free(j->id);
	free(j);
	pod_unref(p);
	node_task_end(n);
}

static void run_post_start(struct pod *p, struct doc *d, struct container *c, const char *id)
{
	struct hook_job *j = xcalloc(1, sizeof(*j));

	*j = (struct hook_job){ .p = pod_ref(p), .d = doc_ref(d), .c = c, .id = xstrdup(id) };
	if (node_task(p->n, "post-start", post_start_task, j))
		return;
	doc_unref(j->d);
	free(j->id);
	free(j);
	pod_unref(p);
}

static int create(struct pod *p, struct doc *d, struct container *c, struct val spec, char **ret_id,
	const char **reason, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_reply Cri__ImageStatusReply *image = NULL;
	auto_free char *ref = image_normalize(val_str(val_get(spec, "image")));
	Cri__ContainerConfig *config;
	int r;

	*reason = "CreateContainerError";
	r = cri_image_status(&p->n->cri, c->image_id ? c->image_id : ref, &image, e);
	if (r < 0)
		return r;
	c->restarts = restarts_before(p, c, d);
	r = pod_container_config(
		p, d, c, spec, image->image ? image->image->id : ref, image->image, a, &config, reason, e);
	if (r < 0)
		return r;
	auto_free char *logs = pod_log_dir(p), *dir = xasprintf("%s/%s", logs, c->name);
	r = mkdirs(dir, 0755, e);
	if (r < 0)
		return r;
	*reason = "CreateContainerError";
	r = cri_create_container(&p->n->cri, p->sandbox, config, pod_sandbox_config(p, d, a), ret_id, e);
	if (r == 0)
		image_unpacked(p->n, config->image->image);
	return r;
}

static void link_log(struct pod *p, struct container *c, const char *id)
{
	const char *dir = p->n->o.container_log_dir;
	auto_free char *logs = pod_log_dir(p), *target = xasprintf("%s/%s/%d.log", logs, c->name, c->restarts),
		       *link = NULL;

	if (!dir || !*dir)
		return;
	link = xasprintf("%s/%s_%s_%s-%s.log", dir, p->name, p->ns, c->name, id);
	if (symlink(target, link) < 0 && errno != EEXIST)
		log_debug("pod %s/%s: link %s: %s", p->ns, p->name, link, strerror(errno));
}

/* The runtime has tried and says so; otherwise nobody knows what became of it. */
static bool is_verdict(const struct err *e)
{
	return e->code != ERR_UNAVAILABLE && e->code != ERR_TIMEOUT && e->code != ERR_CANCELED && e->code != ERR_IO;
}

static void start(struct pod *p, struct doc *d, struct container *c)
{
	struct val spec = pod_container_spec(d, str_c(c->name));
	auto_free char *id = NULL;
	const char *reason = "RunContainerError";
	bool found = c->now.id &&
		c->now.state == INST_CREATED; /* by a process before us that did not come to start it, or was cut off */
	struct err e;
	int r = 0;

	err_init(&e);
	if (found) {
		id = xstrdup(c->now.id);
	} else {
		image_ensure(p, d, c, spec);
		if (c->image != IMAGE_READY)
			return;
		r = create(p, d, c, spec, &id, &reason, &e);
		if (r == 0) {
			pod_own_id(p, id); /* before it can end */
			remove_history(p, c);
			node_event(p, str_c(c->name), "Normal", "Created", "Created container: %s", c->name);
			reason = "RunContainerError";
		}
	}
	if (r == 0)
		r = cri_start_container(&p->n->cri, id, &e);
	if (r < 0) {
		if (id && !found && is_verdict(&e)) {
			set_str(&c->start_error_id, id); /* it stays: its end is looked at as any other */
		} else if (id) {
			struct err ignored;
			err_init(&ignored);
			(void)cri_remove_container(&p->n->cri, id, &ignored);
		}
		start_failed(p, c, reason, &e);
		return;
	}
	link_log(p, c, id);
	resize_started(c, d);
	c->resize_restart = false;
	node_event(p, str_c(c->name), "Normal", "Started", "Started container %s", c->name);
	set_str(&c->wait_reason, NULL);
	set_str(&c->wait_message, NULL);
	task_lock(&p->n->lock);
	c->image = IMAGE_UNKNOWN; /* looked at again before the next start */
	c->started = !c->has_startup;
	c->ready = !c->has_readiness && !c->has_startup;
	set_str(&c->kill_id, NULL);
	set_str(&c->hook_failed, NULL);
	task_unlock(&p->n->lock);
	if (val_has(val_path(spec, "lifecycle.postStart")))
		run_post_start(p, d, c, id);
}

/* ---- stopping -------------------------------------------------------------------------------- */

struct stop_job {
	struct pod *p;
	struct doc *d;
	struct container *c;
	char *id;
	int64_t grace_s;
	bool pre_stop;
};

static void stop_task(void *arg)
{
	struct stop_job *j = arg;
	struct pod *p = j->p;
	struct node_agent *n = p->n;
	struct val hook = val_path(pod_container_spec(j->d, str_c(j->c->name)), "lifecycle.preStop");
	int64_t left = j->grace_s;
	struct err e;

	err_init(&e);
	if (j->pre_stop && val_has(hook) && left > 0) {
		struct mono began = mono_now();
		if (hook_run(p, j->d, hook, j->id, str_c(j->c->name), left * 1000, &e) < 0)
			node_event(p, str_c(j->c->name), "Warning", "FailedPreStopHook", "PreStopHook failed: %s",
				e.message);
		left = MAX(left - mono_ms_between(began, mono_now()) / 1000, (int64_t)STOP_LEAST_S);
	}
	err_init(&e);
	int r = cri_stop_container(&n->cri, j->id, left, &e);
	if (r < 0 && r != -ERR_NOT_FOUND)
		log_warn("pod %s/%s: stop container %s: %s", p->ns, p->name, j->c->name, e.message);
	task_lock(&n->lock);
	j->c->stopping = false;
	task_unlock(&n->lock);
	if (r < 0)
		node_wake_pod_at(p, mono_add_ms(mono_now(), 500));
	else
		node_wake_pod(p);
	doc_unref(j->d);
	free(j->id);
	free(j);
	pod_unref(p);
	node_task_end(n);
}

static void stop_one(struct pod *p, struct doc *d, struct container *c, int64_t grace_s, const char *why)
{
	struct mono by = mono_add_ms(mono_now(), grace_s * 1000);
	struct stop_job *j;
	bool again;

	task_lock(&p->n->lock);
	again = c->stopping;
	if (again && mono_ms_between(by, c->stop_by) < 1500) {
		task_unlock(&p->n->lock);
		return; /* the running stop is as quick */
	}
	c->stopping = true;
	c->stop_by = by;
	task_unlock(&p->n->lock);
	if (!again)
		node_event(p, str_c(c->name), "Normal", "Killing", "%s", why);
	j = xcalloc(1, sizeof(*j));
	*j = (struct stop_job){ .p = pod_ref(p),
		.d = doc_ref(d),
		.c = c,
		.id = xstrdup(c->now.id),
		.grace_s = grace_s,
		.pre_stop = !again };
	if (node_task(p->n, "stop", stop_task, j))
		return;
	doc_unref(j->d);
	free(j->id);
	free(j);
	pod_unref(p);
}

/* Sidecars come last and get what the others left of the grace. */
static int64_t end_grace(struct pod *p, struct doc *d, struct container *c)
{
	bool evicted = p->fail_reason && strcmp(p->fail_reason, "Evicted") == 0;
	int64_t grace = evicted ? EVICTED_GRACE_S : pod_grace_s(d, p->gone),
		used = p->deleting_seen ? mono_ms_between(p->deleting_since, mono_now()) / 1000 : 0;

	task_lock(&p->n->lock);
	if (p->shutdown)
		grace = MIN(grace, p->shutdown_grace_s);
	task_unlock(&p->n->lock);
	if (c->kind != KIND_SIDECAR || grace == 0)
		return grace;
	return MAX(grace - used, (int64_t)1);
}

static int64_t restart_grace(struct pod *p, struct doc *d, struct container *c)
{
	struct val probe =
		val_get(pod_container_spec(d, str_c(c->name)), c->started ? "livenessProbe" : "startupProbe");

	(void)p;
	return val_int(
		val_get(probe, "terminationGracePeriodSeconds"), doc_int(d, "spec.terminationGracePeriodSeconds", 30));
}

static void restart_kill(struct pod *p, struct doc *d, struct container *c)
{
	auto_free char *why = NULL;

	if (c->stop_for_restart)
		why = xasprintf("Container %s %s, will be restarted", c->name,
			c->resize_restart ? "resize requires restart" : "definition changed");
	else if (c->hook_failed)
		why = xasprintf("Container %s failed its postStart hook, will be restarted", c->name);
	else
		why = xasprintf("Container %s failed %s probe, will be restarted", c->name,
			c->started ? "liveness" : "startup");
	stop_one(p, d, c, restart_grace(p, d, c), why);
}

/* What the specification does not name any more, or an older sandbox holds. */
static void stop_old(struct pod *p)
{
	auto_reply Cri__ListContainersReply *l = NULL;
	struct err e;

	err_init(&e);
	if (cri_list_containers(&p->n->cri, p->uid, &l, &e) < 0)
		return;
	for (size_t i = 0; i < l->n_containers; i++) {
		Cri__Container *k = l->containers[i];
		const char *name = cri_map_get(k->labels, k->n_labels, LABEL_CONTAINER);
		bool current = p->sandbox && strcmp(k->pod_sandbox_id, p->sandbox) == 0 && name &&
			pod_container(p, str_c(name));
		if (current || k->state != CONTAINER_RUNNING)
			continue;
		if (cri_stop_container(&p->n->cri, k->id, ORPHAN_GRACE_S, &e) < 0)
			log_warn("pod %s/%s: stop container %s: %s", p->ns, p->name, k->id, e.message);
	}
}

/* ---- the end --------------------------------------------------------------------------------- */

/* By where they lead: what the runtime has forgotten is no longer in p->containers. */
static void drop_log_links(struct pod *p)
{
	const char *dir = p->n->o.container_log_dir;
	auto_free char *logs = pod_log_dir(p), *prefix = xasprintf("%s/", logs);
	DIR *d = dir && *dir ? opendir(dir) : NULL;
	char target[4096];

	for (struct dirent *f; d && (f = readdir(d));) {
		ssize_t n = readlinkat(dirfd(d), f->d_name, target, sizeof(target));

		if (n > 0 && str_starts(str_n(target, (size_t)n), str_c(prefix)) &&
			unlinkat(dirfd(d), f->d_name, 0) < 0)
			log_debug("cannot remove %s/%s: %s", dir, f->d_name, strerror(errno));
	}
	if (d)
		closedir(d);
}

void pod_logs_remove(struct pod *p)
{
	auto_free char *logs = pod_log_dir(p);

	drop_log_links(p);
	remove_tree(logs);
}

/* false: the runtime did not do it all. */
static bool clean_runtime(struct pod *p)
{
	auto_reply Cri__ListSandboxReply *l = NULL;
	struct err e;

	err_init(&e);
	if (cri_list_sandboxes(&p->n->cri, p->uid, &l, &e) < 0)
		return false;
	for (size_t i = 0; i < l->n_items; i++) {
		if ((l->items[i]->state == SANDBOX_READY && cri_stop_sandbox(&p->n->cri, l->items[i]->id, &e) < 0) ||
			cri_remove_sandbox(&p->n->cri, l->items[i]->id, &e) < 0) {
			log_warn("pod %s/%s: remove sandbox: %s; trying again in 1 s", p->ns, p->name, e.message);
			return false;
		}
	}
	return true;
}

static bool clean(struct pod *p, struct doc *d, const struct decision *dec)
{
	probes_drop(p);
	objects_forget(p->n->objects, p);
	volumes_teardown(p->n, p->uid);
	if (!p->gone)
		status_submit(p, status_build(p, d, dec), true);
	if (!clean_runtime(p))
		return look_in_a_second(p);
	logs_pod_changed(p->n->logs, p->uid);
	cgroup_pod_remove(p);
	pod_logs_remove(p);
	p->closed = true;
	return true;
}

bool pod_act(struct pod *p, struct doc *d, const struct decision *dec, const struct action *a)
{
	struct container *c = a->container < p->n_containers ? p->containers[a->container] : NULL;

	switch (a->kind) {
	case ACT_SANDBOX:
		make_sandbox(p, d);
		break;
	case ACT_START:
		start(p, d, c);
		break;
	case ACT_RESTART_KILL:
		restart_kill(p, d, c);
		break;
	case ACT_STOP: {
		auto_free char *why = xasprintf("Stopping container %s", c->name);
		stop_one(p, d, c, end_grace(p, d, c), why);
		break;
	}
	case ACT_STOP_OLD:
		stop_old(p);
		break;
	case ACT_STOP_SANDBOX:
		return stop_sandbox(p);
	case ACT_CLEAN:
		return clean(p, d, dec);
	}
	return true;
}

/* The agent's frame: options, the table of pods, the dispatcher that gives each pod one worker at a time, start and
 * stop. */
#include "node/logind.h"
#include "node/node_internal.h"
#include "node/server_auth.h"
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define STOP_WAIT_MS 500
#define ADOPT_PAUSE_MS 500
#define PURGE_TRIES 100
#define PURGE_PAUSE_MS 100
#define WRITERS 2

const char *node_log_dir(const struct node_agent *n)
{
	return n->o.log_dir;
}

/* ---- pods: references ------------------------------------------------------------------------ */

static void container_free(struct container *c)
{
	free(c->name);
	instance_fini(&c->now);
	instance_fini(&c->last);
	free(c->wait_reason);
	free(c->wait_message);
	free(c->ended_seen);
	free(c->start_error_id);
	free(c->image_id);
	free(c->image_error);
	free(c->kill_id);
	free(c->hook_failed);
	free(c->resources);
	free(c);
}

static void pod_free(struct pod *p)
{
	for (size_t i = 0; i < p->n_containers; i++)
		container_free(p->containers[i]);
	for (size_t i = 0; i < p->n_ips; i++)
		free(p->ips[i]);
	free(p->ips);
	doc_unref(p->doc);
	doc_unref(p->write.want);
	doc_unref(p->last_status);
	map_free(p->tokens);
	free(p->sandbox);
	free(p->exit_seen);
	free(p->evicted);
	free(p->resize_message);
	free(p->refused_why);
	free(p->fail_reason);
	free(p->fail_message);
	free(p->uid);
	free(p->ns);
	free(p->name);
	free(p);
}

struct pod *pod_ref(struct pod *p)
{
	task_lock(&p->n->lock);
	p->refs++;
	task_unlock(&p->n->lock);
	return p;
}

struct pod *pod_unref(struct pod *p)
{
	bool last;

	if (!p)
		return NULL;
	struct node_agent *n = p->n;
	task_lock(&n->lock);
	last = --p->refs == 0;
	task_unlock(&n->lock);
	if (last)
		pod_free(p);
	return NULL;
}

struct pod *pod_ref_uid(struct node_agent *n, struct str uid)
{
	struct pod *p;

	task_lock(&n->lock);
	p = map_get(n->pods, uid);
	if (p)
		p->refs++;
	task_unlock(&n->lock);
	return p;
}

struct pod *pod_find(struct node_agent *n, struct str ns, struct str name)
{
	struct pod *found = NULL;
	struct str key;
	void *value;

	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);) {
		struct pod *p = value;
		if (str_is(ns, p->ns) && str_is(name, p->name) && (!found || !p->gone))
			found = p;
	}
	if (found)
		found->refs++;
	task_unlock(&n->lock);
	return found;
}

struct doc *pod_doc(struct pod *p)
{
	struct doc *d;

	task_lock(&p->n->lock);
	d = p->doc ? doc_ref(p->doc) : NULL;
	task_unlock(&p->n->lock);
	return d;
}

bool pod_is_over(const struct doc *d)
{
	struct str phase = doc_str(d, "status.phase");

	return str_is(phase, "Failed") || str_is(phase, "Succeeded");
}

static struct pod *pod_add(struct node_agent *n, struct doc *d) /* locked */
{
	struct pod *p = xcalloc(1, sizeof(*p));

	p->n = n;
	p->refs = 1; /* the table's */
	p->uid = str_dup(doc_uid(d));
	p->ns = str_dup(doc_ns(d));
	p->name = str_dup(doc_name(d));
	p->doc = doc_ref(d);
	map_put(n->pods, str_c(p->uid), p);
	return p;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

bool node_task(struct node_agent *n, const char *name, void (*run)(void *arg), void *arg)
{
	bool ok;

	task_lock(&n->lock);
	ok = !n->stopping;
	if (ok)
		n->workers++;
	task_unlock(&n->lock);
	if (ok)
		task_detach(task_spawn(name, run, arg));
	return ok;
}

void node_task_end(struct node_agent *n)
{
	task_lock(&n->lock);
	n->workers--;
	task_broadcast(&n->idle);
	task_unlock(&n->lock);
}

void node_wake_pod(struct pod *p)
{
	queue_add(p->n->wake, str_c(p->uid));
}

void node_wake_pod_at(struct pod *p, struct mono t)
{
	int64_t ms = (t.ns - mono_now().ns + 999999) / 1000000;

	if (ms <= 0)
		queue_add(p->n->wake, str_c(p->uid));
	else
		queue_add_after(p->n->wake, str_c(p->uid), ms);
}

static void forget(struct pod *p)
{
	struct node_agent *n = p->n;
	struct str key;
	void *value;
	bool drop;

	task_lock(&n->lock);
	drop = p->gone && p->closed && map_get(n->pods, str_c(p->uid)) == p;
	if (drop) {
		(void)map_take(n->pods, str_c(p->uid));
		for (size_t i = 0; map_next(n->by_container, &i, &key, &value);)
			if (strcmp(value, p->uid) == 0)
				map_del(n->by_container, key);
	}
	task_unlock(&n->lock);
	if (drop)
		pod_unref(p); /* the table's */
}

static void worker(void *arg)
{
	struct pod *p = arg;
	struct node_agent *n = p->n;
	bool more = true;

	while (more) {
		pod_work(p);
		task_lock(&n->lock);
		more = p->again && !n->stopping;
		p->again = false;
		p->active = more;
		task_unlock(&n->lock);
	}
	forget(p);
	pod_unref(p);
	node_task_end(n);
}

static void dispatch(struct node_agent *n)
{
	char *uid;

	task_lock(&n->lock);
	while (!n->prepared && !stop_raised(n->stop))
		task_wait(&n->may_start, &n->lock);
	task_unlock(&n->lock);
	while (queue_pop(n->wake, &uid)) {
		struct pod *p;
		task_lock(&n->lock);
		p = map_get(n->pods, str_c(uid));
		if (p && p->active) {
			p->again = true;
			p = NULL;
		}
		if (p) {
			p->active = true;
			p->refs++;
		}
		task_unlock(&n->lock);
		if (p && !node_task(n, "pod", worker, p))
			pod_unref(p);
		queue_done(n->wake, str_c(uid));
		free(uid);
	}
}

/* ---- what the API says ----------------------------------------------------------------------- */

static bool follows_metadata(struct doc *d)
{
	for (struct val_iter it = val_iter(doc_get(d, "spec.volumes")); val_next(&it);) {
		if (val_has(val_get(it.val, "downwardAPI")))
			return true;
		for (struct val_iter s = val_iter(val_path(it.val, "projected.sources")); val_next(&s);)
			if (val_has(val_get(s.val, "downwardAPI")))
				return true;
	}
	return false;
}

static void on_pod(void *arg, struct doc *before, struct doc *after)
{
	struct node_agent *n = arg;
	struct doc *d = after ? after : before;
	struct pod *p;
	bool same = false;

	task_lock(&n->lock);
	p = map_get(n->pods, doc_uid(d));
	if (!p && after)
		p = pod_add(n, d);
	if (p && after) {
		if (before && follows_metadata(d) &&
			(!val_equal(doc_get(before, "metadata.labels"), doc_get(after, "metadata.labels")) ||
				!val_equal(doc_get(before, "metadata.annotations"),
					doc_get(after, "metadata.annotations"))))
			p->volumes_dirty = true;
		/* our own status writes come back as events: nothing to do then */
		same = before && p->doc != after && val_equal(doc_get(before, "spec"), doc_get(after, "spec")) &&
			val_equal(doc_get(before, "metadata.deletionTimestamp"),
				doc_get(after, "metadata.deletionTimestamp")) &&
			val_equal(doc_get(before, "metadata.deletionGracePeriodSeconds"),
				doc_get(after, "metadata.deletionGracePeriodSeconds")) &&
			!p->volumes_dirty && !val_len(doc_get(after, "spec.readinessGates"));
		doc_unref(p->doc);
		p->doc = doc_ref(after);
	} else if (p) {
		p->gone = true;
	}
	if (p && !same)
		queue_add(n->wake, str_c(p->uid));
	task_unlock(&n->lock);
	if (!after)
		static_pods_changed(n, before);
}

/* A pod that the API does not know; its worker takes away what it left. */
void node_pod_gone(struct node_agent *n, struct doc *d)
{
	struct str uid = doc_str(d, "metadata.uid");

	task_lock(&n->lock);
	if (!map_get(n->pods, uid)) {
		pod_add(n, d)->gone = true;
		queue_add(n->wake, uid);
	}
	task_unlock(&n->lock);
}

/* ---- options --------------------------------------------------------------------------------- */

static const char *copy(struct node_agent *n, const char *s, const char *otherwise)
{
	return s ? arena_strdup(n->arena, s) : otherwise;
}

static const char *const *dup_list(struct node_agent *n, const char *const *list, size_t len)
{
	const char **all = ARENA_ARRAY(n->arena, const char *, len + 1);

	for (size_t i = 0; i < len; i++)
		all[i] = arena_strdup(n->arena, list[i]);
	return all;
}

static struct node_agent *node_alloc(const struct node_opts *o)
{
	struct node_agent *n = xcalloc(1, sizeof(*n));
	struct sysinfo si;

	n->arena = arena_new();
	n->o = *o;
	n->o.node_name = copy(n, o->node_name, "");
	n->o.data_dir = copy(n, o->data_dir, NULL);
	n->o.cri_socket = copy(n, o->cri_socket, NULL);
	n->o.log_dir = copy(n, o->log_dir, "/var/log/pods");
	n->o.container_log_dir = copy(n, o->container_log_dir, "/var/log/containers");
	n->o.cgroup_root = copy(n, o->cgroup_root, "");
	n->o.cluster_domain = copy(n, o->cluster_domain, "cluster.local");
	n->o.tls_cert_file = copy(n, o->tls_cert_file, NULL);
	n->o.tls_key_file = copy(n, o->tls_key_file, NULL);
	n->o.tls_ca_file = copy(n, o->tls_ca_file, NULL);
	n->o.address = copy(n, o->address, "0.0.0.0");
	n->o.pause_image = copy(n, o->pause_image, NODE_PAUSE_IMAGE);
	n->o.images_dir = copy(n, o->images_dir, NULL);
	n->o.static_dir = copy(n, o->static_dir, NULL);
	n->o.registries_file = copy(n, o->registries_file, NULL);
	n->o.registry_dir = copy(n, o->registry_dir, NULL);
	n->o.pod_cidrs = dup_list(n, o->pod_cidrs, o->n_pod_cidrs);
	n->o.node_ips = dup_list(n, o->node_ips, o->n_node_ips);
	n->o.cluster_dns = dup_list(n, o->cluster_dns, o->n_cluster_dns);
	n->o.labels = dup_list(n, o->labels, o->n_labels);
	n->o.max_pods = o->max_pods ? o->max_pods : 110;
	n->client = o->client;
	n->stop = stop_new();
	task_mutex_init(&n->lock);
	task_cond_init(&n->idle);
	task_cond_init(&n->status_changed);
	task_cond_init(&n->may_start);
	n->pods = map_new(NULL);
	n->by_container = map_new(free);
	n->pulls = map_new(NULL);
	n->samples = map_new(free);
	n->images_wake = dir_watch_fd();
	n->static_wake = dir_watch_fd();
	n->shutdown_wake = dir_watch_fd();
	exec_holds_init(n);
	n->images_used = map_new(free);
	n->images_synced = map_new(NULL);
	task_mutex_init(&n->stats_lock);
	n->wake = queue_new((struct queue_opts){ 0 });
	n->writes = queue_new((struct queue_opts){ .first_ms = 50, .most_ms = 10000 });
	n->cgroup_version = cgroup_detect();
	n->cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (sysinfo(&si) == 0)
		n->mem_bytes = (int64_t)si.totalram * si.mem_unit;
	return n;
}

int node_new(const struct node_opts *o, struct node_agent **ret, struct err *e)
{
	if (!o->client || !o->node_name || !o->data_dir || !o->cri_socket)
		return err_set(e, ERR_INVALID,
			"the node agent needs a client, a node name, a data directory and the runtime's socket");
	if (!o->pods || !o->services)
		return err_set(e, ERR_INVALID, "the node agent needs informers of its pods and of Services");
	if (!o->n_node_ips)
		return err_set(e, ERR_INVALID, "the node agent needs an address of this node");
	struct threshold t[SIGNALS] = { 0 };
	if (o->eviction_hard && pressure_thresholds(str_c(o->eviction_hard), t, e) < 0)
		return err_wrap(e, "--eviction-hard");
	struct reserved r = { 0 };
	if (o->system_reserved && reserved_parse(str_c(o->system_reserved), &r, e) < 0)
		return err_wrap(e, "--system-reserved");
	*ret = node_alloc(o);
	(*ret)->reserved = r;
	memcpy((*ret)->thresholds, t, sizeof(t));
	informer_on(o->pods, on_pod, *ret);
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void load_pause(struct node_agent *n)
{
	struct err e;

	for (int i = 0; i < 50 && !stop_raised(n->stop); i++) {
		err_init(&e);
		if (image_pause_load(&n->cri, n->o.pause_image, &e) == 0)
			return;
		if (!stop_sleep_ms(n->stop, 100))
			return;
	}
	log_warn("the pause image is not loaded: %s", e.message);
}

static int begin(struct node_agent *n, struct err *e)
{
	auto_free char *pods_dir = xasprintf("%s/pods", n->o.data_dir);
	int r = mkdirs(pods_dir, 0755, e);

	if (r < 0)
		return r;
	if ((r = mounts_share(pods_dir, e)) < 0)
		return r;
	if ((r = mkdirs(n->o.log_dir, 0755, e)) < 0)
		return r;
	if (*n->o.container_log_dir && (r = mkdirs(n->o.container_log_dir, 0755, e)) < 0)
		return r;
	n->loop = net_loop_new("node-io");
	r = cri_open(n->o.cri_socket, n->loop, "k8s.io", &n->cri, e);
	if (r < 0)
		return r;
	n->logs = logs_new(n);
	n->registries = registries_new(n->o.registries_file, n->o.registry_dir);
	if (n->o.tls_cert_file) {
		n->auth = server_auth_new(n->client, n->o.node_name);
		r = node_server_new(n, &n->server, e);
		if (r < 0)
			return r;
	}
	n->events = recorder_new(n->client, "kubelet", n->o.node_name);
	n->objects = objects_new(n);
	n->local_paths = n->o.volumes_dir ? local_paths_new(n) : NULL;
	n->probes = probes_new(n);
	return 0;
}

static void may_start(struct node_agent *n)
{
	task_lock(&n->lock);
	n->prepared = true;
	task_broadcast(&n->may_start);
	task_unlock(&n->lock);
}

static void adopt_task(void *arg)
{
	struct node_agent *n = arg;

	load_pause(n);
	(void)images_dir_run(n);
	(void)informer_wait_synced(n->o.services, 10000);
	may_start(n);
	while (!stop_raised(n->stop) && !informer_wait_synced(n->o.pods, 1000))
		;
	while (!stop_raised(n->stop) && leftovers_remove(n) < 0)
		(void)stop_sleep_ms(n->stop, ADOPT_PAUSE_MS);
	task_lock(&n->lock);
	n->adopted = true;
	task_unlock(&n->lock);
	static_pods_run(n);
	node_task_end(n);
}

static void wait_workers(struct node_agent *n)
{
	struct mono until = mono_add_ms(mono_now(), STOP_WAIT_MS);

	task_lock(&n->lock);
	n->stopping = true;
	while (n->workers > 0 && task_wait_until(&n->idle, &n->lock, until))
		;
	task_unlock(&n->lock);
}

int node_run(struct node_agent *n, struct err *e)
{
	struct task *writers[WRITERS];
	int r = begin(n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < WRITERS; i++)
		writers[i] = task_spawn("pod-status", status_writer, n);
	(void)node_task(n, "events", events_run, n);
	if (n->o.registry_dir && n->exec_notify >= 0)
		(void)node_task(n, "exec-hold", exec_holds_run, n);
	(void)node_task(n, "node-status", node_status_run, n);
	if (n->local_paths)
		local_paths_run(n->local_paths);
	(void)node_task(n, "adopt", adopt_task, n);
	(void)node_task(n, "logs", logs_rotate_run, n);
	(void)node_task(n, "pressure", pressure_run, n);
	if (n->o.shutdown_grace_s && logind_is_here())
		(void)node_task(n, "shutdown", shutdown_run, n);
	dispatch(n);
	queue_stop(n->writes);
	objects_stop(n->objects);
	local_paths_stop(n->local_paths);
	logs_stop(n->logs);
	for (size_t i = 0; i < WRITERS; i++)
		task_join(writers[i]);
	wait_workers(n);
	return 0;
}

void node_stop(struct node_agent *n)
{
	struct grpc_stream *s;

	stop_raise(n->stop);
	task_lock(&n->lock);
	s = n->event_stream;
	if (s)
		grpc_cancel(s);
	task_broadcast(&n->status_changed);
	task_broadcast(&n->may_start);
	task_unlock(&n->lock);
	dir_watch_wake(n->images_wake);
	dir_watch_wake(n->static_wake);
	dir_watch_wake(n->shutdown_wake);
	dir_watch_wake(n->exec_wake);
	queue_stop(n->wake);
}

int node_port(const struct node_agent *n)
{
	return n->server ? node_server_port(n->server) : 0;
}

struct node_agent *node_free(struct node_agent *n)
{
	struct str key;
	void *value;

	if (!n)
		return NULL;
	n->server = node_server_free(n->server);
	if (n->workers > 0)
		return NULL; /* a call into the runtime still waits: the process ends now, and with it the rest */
	n->auth = server_auth_free(n->auth);
	n->probes = probes_free(n->probes);
	n->objects = objects_free(n->objects);
	n->local_paths = local_paths_free(n->local_paths);
	n->events = recorder_free(n->events);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);)
		pod_free(value);
	map_free(n->pods);
	map_free(n->by_container);
	map_free(n->pulls);
	map_free(n->samples);
	(void)close(n->images_wake);
	(void)close(n->static_wake);
	(void)close(n->shutdown_wake);
	exec_holds_fini(n);
	map_free(n->images_used);
	map_free(n->images_synced);
	task_mutex_fini(&n->stats_lock);
	queue_free(n->wake);
	queue_free(n->writes);
	cri_close(&n->cri);
	n->loop = net_loop_free(n->loop);
	n->logs = logs_free(n->logs);
	n->registries = registries_free(n->registries);
	doc_unref(n->node_doc);
	doc_unref(n->node_ref);
	free(n->runtime_why);
	free(n->runtime_version);
	stop_free(n->stop);
	task_cond_fini(&n->status_changed);
	task_cond_fini(&n->may_start);
	task_cond_fini(&n->idle);
	task_mutex_fini(&n->lock);
	arena_free(n->arena);
	free(n);
	return NULL;
}

/* ---- the end of everything ------------------------------------------------------------------- */

static void purge_sandboxes(struct node_agent *n)
{
	auto_reply Cri__ListSandboxReply *l = NULL;
	struct err e;

	err_init(&e);
	/* a containerd that was started for this very purge still reads what its predecessor left */
	for (int tries = 0; cri_list_sandboxes(&n->cri, NULL, &l, &e) < 0; tries++) {
		if (tries == PURGE_TRIES) {
			log_warn("pods cannot be listed: %s", e.message);
			return;
		}
		err_init(&e);
		task_sleep_ms(PURGE_PAUSE_MS);
	}
	for (size_t i = 0; i < l->n_items; i++) {
		Cri__Sandbox *s = l->items[i];
		struct pod p = { .n = n, .uid = (char *)cri_map_get(s->labels, s->n_labels, LABEL_POD_UID) };
		if (cri_stop_sandbox(&n->cri, s->id, &e) < 0 || cri_remove_sandbox(&n->cri, s->id, &e) < 0)
			log_warn("sandbox %s: %s", s->id, e.message);
		if (!p.uid || !s->metadata)
			continue;
		p.ns = s->metadata->namespace_;
		p.name = s->metadata->name;
		volumes_teardown(n, p.uid);
		cgroup_pod_remove(&p);
		auto_free char *logs = pod_log_dir(&p);
		remove_tree(logs);
	}
}

int node_purge(const struct node_opts *o, struct err *e)
{
	struct node_agent *n = node_alloc(o);
	int r;

	n->loop = net_loop_new("purge-io");
	r = cri_open(n->o.cri_socket, n->loop, "k8s.io", &n->cri, e);
	if (r == 0)
		purge_sandboxes(n);
	auto_free char *pods = xasprintf("%s/pods", n->o.data_dir);
	volumes_teardown(n, ""); /* whatever else is mounted below */
	(void)rmdir(pods);
	cgroup_remove_all(n);
	(void)node_free(n);
	return r;
}

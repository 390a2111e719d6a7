/* What pods left that the API does not know any more: they went while this process, or the runtime, was not there to
 * see it. Looked for at the start, when the runtime comes back, and each minute.
 *
 *   containers without a sandbox   ─► removed     made by a call whose caller had died
 *   sandboxes of unknown pods      ─► a pod that is gone: its worker takes everything away
 *   shims that the runtime forgot  ─► ended
 *   leases of the runtime before   ─► ended       they keep snapshots for a day
 *   folders and control groups     ─► removed
 *
 * What is on this machine is listed before the table of pods is asked: a pod is in the table before anything of it is
 * made. */
#include "node/content.h"
#include "node/node_internal.h"
#include <dirent.h>
#include <sys/stat.h>

#define LOG_MODULE "node"

static bool is_known(struct node_agent *n, const char *uid)
{
	task_lock(&n->lock);
	bool known = map_get(n->pods, str_c(uid)) != NULL;
	task_unlock(&n->lock);
	return known;
}

/* ---- in the runtime -------------------------------------------------------------------------- */

static void adopt(struct node_agent *n, Cri__Sandbox *s, struct arena *a)
{
	const char *uid = cri_map_get(s->labels, s->n_labels, LABEL_POD_UID);

	if (!s->metadata || !uid || is_known(n, uid))
		return;
	auto_(doc_unref) struct doc *d = node_publish(node_pack(a,
		"{apiVersion:'v1', kind:'Pod', metadata:{name:s, namespace:s, uid:s}, spec:{containers:[]}}",
		s->metadata->name, s->metadata->namespace_, uid));
	log_info("pod %s/%s is not in the API any more: it is taken away", s->metadata->namespace_, s->metadata->name);
	node_pod_gone(n, d);
}

static bool has_sandbox(Cri__ListSandboxReply *l, const char *id)
{
	for (size_t i = 0; i < l->n_items; i++)
		if (strcmp(l->items[i]->id, id) == 0)
			return true;
	return false;
}

static void end_shims(struct node_agent *n, Cri__ListContainersReply *containers, Cri__ListSandboxReply *sandboxes)
{
	auto_(map_free) struct map *known = map_new(NULL);

	for (size_t i = 0; i < containers->n_containers; i++)
		map_put(known, str_c(containers->containers[i]->id), n);
	for (size_t i = 0; i < sandboxes->n_items; i++)
		map_put(known, str_c(sandboxes->items[i]->id), n);
	shims_end_unknown(n, known);
}

/* A runtime makes its socket when it starts: what leased anything before that died with its predecessor. */
static void end_leases(struct node_agent *n)
{
	struct stat st;
	struct err e;
	size_t ended = 0;

	err_init(&e);
	if (stat(n->o.cri_socket, &st) < 0)
		return;
	struct wall start = { st.st_mtim.tv_sec * (int64_t)1000000000 + st.st_mtim.tv_nsec };
	if (content_end_old(&n->cri, start, &ended, &e) < 0)
		log_warn("leases of a runtime that died are not ended: %s", e.message);
	else if (ended)
		log_info("%zu leases of a runtime that died are ended", ended);
}

static int look_at_runtime(struct node_agent *n)
{
	auto_reply Cri__ListContainersReply *containers = NULL;
	auto_reply Cri__ListSandboxReply *sandboxes = NULL;
	auto_(arena_free) struct arena *a = arena_new();
	struct err e;
	int r;

	err_init(&e);
	if ((r = cri_list_containers(&n->cri, NULL, &containers, &e)) < 0 ||
		(r = cri_list_sandboxes(&n->cri, NULL, &sandboxes, &e)) < 0)
		return r;
	for (size_t i = 0; i < sandboxes->n_items; i++)
		adopt(n, sandboxes->items[i], a);
	for (size_t i = 0; i < containers->n_containers; i++) {
		Cri__Container *k = containers->containers[i];
		if (has_sandbox(sandboxes, k->pod_sandbox_id))
			continue;
		log_info("container %s has no sandbox any more: it is removed", k->id);
		if (cri_remove_container(&n->cri, k->id, &e) < 0)
			log_warn("container %s: %s", k->id, e.message);
	}
	if (n->o.registry_dir) { /* the runtime is our own */
		end_shims(n, containers, sandboxes);
		end_leases(n);
	}
	return 0;
}

/* ---- on the disk ----------------------------------------------------------------------------- */

static void remove_of(struct node_agent *n, char *ns, char *name, char *uid)
{
	struct pod p = { .n = n, .ns = ns, .name = name, .uid = uid };

	if (!*uid || is_known(n, uid))
		return;
	log_info("what pod %s left is removed", uid);
	volumes_teardown(n, uid);
	cgroup_pod_remove(&p);
	if (*name)
		pod_logs_remove(&p);
}

static void remove_by_uid(void *node, const char *uid)
{
	auto_free char *own = xstrdup(uid);

	remove_of(node, (char *)"", (char *)"", own);
}

/* Logs are in NAMESPACE_NAME_UID, none of which has an underscore. */
static void remove_by_logs(struct node_agent *n, const char *folder)
{
	auto_free char *text = xstrdup(folder);
	char *name = strchr(text, '_'), *uid = name ? strchr(name + 1, '_') : NULL;

	if (!uid)
		return;
	*name++ = *uid++ = '\0';
	remove_of(n, text, name, uid);
}

static void look_at_folder(struct node_agent *n, const char *dir, bool logs)
{
	DIR *d = opendir(dir);

	for (struct dirent *entry; d && (entry = readdir(d));) {
		if (entry->d_name[0] == '.')
			continue;
		if (logs)
			remove_by_logs(n, entry->d_name);
		else
			remove_by_uid(n, entry->d_name);
	}
	if (d)
		(void)closedir(d);
}

int leftovers_remove(struct node_agent *n)
{
	auto_free char *pods = xasprintf("%s/pods", n->o.data_dir);
	int r = look_at_runtime(n);

	if (r < 0)
		return r;
	look_at_folder(n, pods, false);
	look_at_folder(n, node_log_dir(n), true);
	cgroup_pods_each(n, remove_by_uid, n);
	return 0;
}

static void look_task(void *arg)
{
	struct node_agent *n = arg;

	(void)leftovers_remove(n);
	task_lock(&n->lock);
	n->looking = false;
	task_unlock(&n->lock);
	node_task_end(n);
}

void leftovers_look(struct node_agent *n)
{
	task_lock(&n->lock);
	bool now = n->adopted && !n->looking;
	n->looking |= now;
	task_unlock(&n->lock);
	if (now && !node_task(n, "leftovers", look_task, n)) {
		task_lock(&n->lock);
		n->looking = false;
		task_unlock(&n->lock);
	}
}

/* Volumes of the class local-path: folders below volumes_dir, one a PersistentVolume, named as it.
 *
 *     first mount        ──► folder, then the finalizer: the PersistentVolume says that there is data
 *     PersistentVolume deleted, policy Delete, no pod here uses it ──► folder removed, then the finalizer
 *
 * The folder's name is the volume's, which is one path element; what its spec says must agree. volumes_dir is root's
 * alone. */
#include "claims/claims.h"
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define PROTECTION "kubernetes.io/pv-protection"
#define IN_USE_MS 2000

bool local_path_is(const struct doc *volume)
{
	return str_is(claim_note(volume, CLAIM_PROVISIONED_BY), LOCAL_PATH_PROVISIONER);
}

static bool has_finalizer(const struct doc *volume, const char *name)
{
	for (struct val_iter it = val_iter(doc_get(volume, "metadata.finalizers")); val_next(&it);)
		if (val_is(it.val, name))
			return true;
	return false;
}

static int set_finalizer(struct node_agent *n, const struct doc *volume, bool on, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *patch = NULL;
	struct node *list = node_list(a);

	for (struct val_iter it = val_iter(doc_get(volume, "metadata.finalizers")); val_next(&it);)
		if (!val_is(it.val, LOCAL_PATH_FINALIZER))
			node_add(list, node_from(a, it.val));
	if (on)
		node_add(list, node_c(a, LOCAL_PATH_FINALIZER));
	patch = node_publish(node_pack(a, "{metadata:{uid:S, resourceVersion:S, finalizers:o}}", doc_uid(volume),
		doc_str(volume, "metadata.resourceVersion"), list));
	return client_patch(
		n->client, res_persistentvolumes, STR_NULL, doc_name(volume), NULL, PATCH_MERGE, patch, NULL, e);
}

/* Own. NULL: its spec names another place, such as one below a data folder that has moved. */
static char *folder_of(struct node_agent *n, const struct doc *volume)
{
	auto_free char *path =
		n->o.volumes_dir ? xasprintf("%s/%.*s", n->o.volumes_dir, STR_ARG(doc_name(volume))) : NULL;

	if (!path || memchr(doc_name(volume).p, '/', doc_name(volume).n) ||
		!str_is(doc_str(volume, "spec.local.path"), path))
		return NULL;
	return TAKE(path);
}

int local_path_make(struct node_agent *n, const struct doc *volume, struct err *e)
{
	auto_free char *path = folder_of(n, volume);
	struct stat st;

	if (!path)
		return err_set(e, ERR_INVALID,
			"PersistentVolume \"%.*s\": %.*s is not where this node keeps volumes (%s)",
			STR_ARG(doc_name(volume)), STR_ARG(doc_str(volume, "spec.local.path")),
			n->o.volumes_dir ? n->o.volumes_dir : "nowhere");
	if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return has_finalizer(volume, LOCAL_PATH_FINALIZER) ? 0 : set_finalizer(n, volume, true, e);
	if (has_finalizer(volume, LOCAL_PATH_FINALIZER))
		return err_set(e, ERR_NOT_FOUND,
			"PersistentVolume \"%.*s\": its data is gone: there is no folder %s on this node",
			STR_ARG(doc_name(volume)), path);
	if (mkdirs(n->o.volumes_dir, 0700, e) < 0)
		return -e->code;
	if (mkdir(path, 0777) < 0 || chmod(path, 0777) < 0) /* whatever user a pod runs as */
		return err_errno(e, errno, "make volume %s", path);
	return set_finalizer(n, volume, true, e);
}

/* ---- the end of a volume --------------------------------------------------------------------- */

static bool pod_uses(const char *links, const char *path)
{
	char target[PATH_MAX];
	DIR *d = opendir(links);
	bool found = false;

	for (struct dirent *f; d && !found && (f = readdir(d));) {
		ssize_t n = readlinkat(dirfd(d), f->d_name, target, sizeof(target));

		found = n > 0 && str_is(str_n(target, (size_t)n), path);
	}
	if (d)
		(void)closedir(d);
	return found;
}

/* Also by a pod that the API has forgotten: its containers may still run. */
static bool is_used(struct node_agent *n, const char *path)
{
	auto_free char *pods = xasprintf("%s/pods", n->o.data_dir);
	DIR *d = opendir(pods);
	bool found = false;

	for (struct dirent *pod; d && !found && (pod = readdir(d));) {
		auto_free char *links = xasprintf("%s/%s/" CLAIM_LINKS, pods, pod->d_name);

		found = pod->d_name[0] != '.' && pod_uses(links, path);
	}
	if (d)
		(void)closedir(d);
	return found;
}

static int remove_data(struct node_agent *n, struct doc *volume, bool *ret_later, struct err *e)
{
	auto_free char *path = folder_of(n, volume);

	if (!path)
		return err_set(e, ERR_INVALID,
			"%.*s is not where this node keeps volumes: remove what is there, then the "
			"finalizer " LOCAL_PATH_FINALIZER,
			STR_ARG(doc_str(volume, "spec.local.path")));
	*ret_later = is_used(n, path);
	if (*ret_later)
		return 0;
	remove_tree(path);
	if (access(path, F_OK) == 0)
		return err_set(e, ERR_IO, "%s cannot be removed: something is mounted in it, or is protected", path);
	log_info("volume %.*s: its data is removed", STR_ARG(doc_name(volume)));
	return 0;
}

static void visit(void *arg, struct str name)
{
	struct local_paths *l = arg;
	struct node_agent *n = l->n;
	auto_(doc_unref) struct doc *volume = informer_get(l->volumes, STR_NULL, name);
	bool later = false;
	struct err e;

	err_init(&e);
	if (!volume || !val_has(doc_get(volume, "metadata.deletionTimestamp")) ||
		!has_finalizer(volume, LOCAL_PATH_FINALIZER) || has_finalizer(volume, PROTECTION))
		return;
	if (str_is(doc_str(volume, "spec.persistentVolumeReclaimPolicy"), "Delete") &&
		remove_data(n, volume, &later, &e) < 0) {
		log_warn("volume %.*s: %s", STR_ARG(name), e.message);
		recorder_event(n->events, volume, "Warning", "VolumeFailedDelete", "%s", e.message);
		queue_retry(l->due, name);
		return;
	}
	if (later) {
		queue_add_after(l->due, name, IN_USE_MS);
		return;
	}
	if (set_finalizer(n, volume, false, &e) < 0 && e.code != ERR_NOT_FOUND) {
		log_debug("volume %.*s: %s", STR_ARG(name), e.message);
		queue_retry(l->due, name);
		return;
	}
	queue_forget(l->due, name);
}

static void on_volume(void *arg, struct doc *before, struct doc *after)
{
	struct local_paths *l = arg;

	(void)before;
	if (after)
		queue_add(l->due, doc_name(after));
}

static void run(void *arg)
{
	struct local_paths *l = arg;

	queue_work(l->due, visit, l);
	node_task_end(l->n);
}

struct local_paths *local_paths_new(struct node_agent *n)
{
	struct local_paths *l = xcalloc(1, sizeof(*l));
	auto_free char *mine = xasprintf(LOCAL_PATH_NODE_LABEL "=%s", n->o.node_name);

	l->n = n;
	l->due = queue_new((struct queue_opts){ .first_ms = 1000, .most_ms = 300000 });
	l->volumes = informer_new(
		n->client, (struct informer_opts){ .res = res_persistentvolumes, .label_selector = str_c(mine) });
	informer_on(l->volumes, on_volume, l);
	return l;
}

void local_paths_run(struct local_paths *l)
{
	informer_start(l->volumes);
	(void)node_task(l->n, "volumes", run, l);
}

void local_paths_stop(struct local_paths *l)
{
	if (l)
		queue_stop(l->due);
}

struct local_paths *local_paths_free(struct local_paths *l)
{
	if (!l)
		return NULL;
	informer_free(l->volumes);
	queue_free(l->due);
	free(l);
	return NULL;
}

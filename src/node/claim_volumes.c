/* Volumes of a pod that claims stand for: the claim says the PersistentVolume, and that a place on this machine.
 *
 * The place is kept as a link at data_dir/pods/UID/volumes/kubernetes.io~local-volume/NAME, so that a restart of this
 * process still knows it. Nothing is mounted there: whatever goes wrong when the pod's directory is taken away, the
 * data is not below it. */
#include "claims/claims.h"
#include "node/node_internal.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

bool volume_is_claim(struct val volume)
{
	return val_has(val_get(volume, "persistentVolumeClaim")) || val_has(val_get(volume, "ephemeral"));
}

static char *link_of(const struct pod *p, struct val volume)
{
	auto_free char *rel = xasprintf(CLAIM_LINKS "/%.*s", STR_ARG(val_str(val_get(volume, "name"))));

	return pod_dir(p, rel);
}

char *claim_volume_path(const struct pod *p, struct val volume)
{
	auto_free char *link = link_of(p, volume);
	char target[PATH_MAX];
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	return n > 0 ? xstrndup(target, (size_t)n) : NULL;
}

/* ---- from the claim to the volume ------------------------------------------------------------ */

static int find_volume(struct pod *p, struct doc *d, struct str name, struct doc **ret, struct err *e)
{
	auto_(doc_unref) struct doc *claim = NULL, *volume = NULL;
	struct str is;

	if (client_get(p->n->client, res_persistentvolumeclaims, doc_ns(d), name, &claim, e) < 0)
		return err_wrap(e, "claim %.*s", STR_ARG(name));
	is = doc_str(claim, "spec.volumeName");
	if (!claim_is_bound(claim))
		return err_set(
			e, ERR_UNAVAILABLE, "PersistentVolumeClaim \"%.*s\" is not bound to a volume", STR_ARG(name));
	if (client_get(p->n->client, res_persistentvolumes, STR_NULL, is, &volume, e) < 0)
		return err_wrap(e, "volume %.*s of claim %.*s", STR_ARG(is), STR_ARG(name));
	if (!volume_is_for(volume, claim))
		return err_set(e, ERR_CONFLICT, "PersistentVolume \"%.*s\" belongs to another claim than \"%.*s\"",
			STR_ARG(is), STR_ARG(name));
	*ret = TAKE(volume);
	return 0;
}

static int check_reach(struct pod *p, struct doc *volume, struct err *e)
{
	auto_(doc_unref) struct doc *node = NULL;
	struct str name = str_c(p->n->o.node_name);

	if (!val_has(doc_get(volume, "spec.nodeAffinity.required")))
		return 0;
	if (client_get(p->n->client, res_nodes, STR_NULL, name, &node, e) < 0)
		return err_wrap(e, "node %s", p->n->o.node_name);
	if (!volume_reaches(volume, doc_get(node, "metadata.labels"), name))
		return err_set(e, ERR_INVALID,
			"MountVolume.NodeAffinity check failed for volume \"%.*s\": no matching NodeSelectorTerms",
			STR_ARG(doc_name(volume)));
	return 0;
}

/* ---- from the volume to a place -------------------------------------------------------------- */

static int check_local(struct doc *volume, const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_errno(e, errno, "PersistentVolume \"%.*s\": %s", STR_ARG(doc_name(volume)), path);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_UNSUPPORTED,
			"PersistentVolume \"%.*s\": %s is not a directory: local volumes that are devices are not "
			"supported",
			STR_ARG(doc_name(volume)), path);
	return 0;
}

static int check_supported(struct doc *volume, struct err *e)
{
	static const char *const others[] = { "capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy",
		"storageClassName", "volumeMode", "nodeAffinity", "volumeAttributesClassName", "mountOptions", NULL };

	if (str_is(doc_str(volume, "spec.volumeMode"), "Block"))
		return err_set(e, ERR_UNSUPPORTED,
			"PersistentVolume \"%.*s\" has volumeMode Block, which is not supported",
			STR_ARG(doc_name(volume)));
	for (struct val_iter it = val_iter(doc_get(volume, "spec")); val_next(&it);) {
		bool is_source = !str_is(it.key, "hostPath") && !str_is(it.key, "local");

		for (size_t i = 0; others[i]; i++)
			is_source &= !str_is(it.key, others[i]);
		if (is_source)
			return err_set(e, ERR_UNSUPPORTED,
				"PersistentVolume \"%.*s\" is of type %.*s, which is not supported: hostPath and local "
				"are",
				STR_ARG(doc_name(volume)), STR_ARG(it.key));
	}
	return 0;
}

static int prepare(struct pod *p, struct doc *d, struct doc *volume, const char **ret, struct arena *a, struct err *e)
{
	struct val policy = doc_get(d, "spec.securityContext.fsGroupChangePolicy"),
		   group = doc_get(d, "spec.securityContext.fsGroup");
	struct val local = doc_get(volume, "spec.local");

	if (check_supported(volume, e) < 0 || check_reach(p, volume, e) < 0)
		return -e->code;
	if (!val_has(local)) {
		*ret = arena_cstr(a, doc_str(volume, "spec.hostPath.path"));
		return check_host_path(doc_get(volume, "spec"), e);
	}
	*ret = arena_cstr(a, val_str(val_get(local, "path")));
	if ((local_path_is(volume) && local_path_make(p->n, volume, e) < 0) || check_local(volume, *ret, e) < 0)
		return -e->code;
	return val_kind(group) == VAL_INT ?
		tree_set_group(*ret, val_int(group, 0), val_is(policy, "OnRootMismatch"), e) :
		0;
}

static int keep(struct pod *p, struct val volume, const char *path, struct err *e)
{
	auto_free char *link = link_of(p, volume), *dir = pod_dir(p, CLAIM_LINKS);

	if (mkdirs(dir, 0755, e) < 0)
		return -e->code;
	(void)unlink(link);
	return symlink(path, link) < 0 ? err_errno(e, errno, "make link %s", link) : 0;
}

int claim_volume_setup(struct pod *p, struct doc *d, struct val volume, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *v = NULL;
	const char *path = NULL;

	if (find_volume(p, d, claim_of_volume(a, d, volume), &v, e) < 0 || prepare(p, d, v, &path, a, e) < 0 ||
		keep(p, volume, path, e) < 0)
		return err_wrap(
			e, "MountVolume.SetUp failed for volume \"%.*s\"", STR_ARG(val_str(val_get(volume, "name"))));
	return 0;
}

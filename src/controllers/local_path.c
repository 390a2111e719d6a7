/* local-path-provisioner: a folder of the node where the first pod goes, for claims whose class says
 * kogge.io/local-path.
 *
 *     claim, told its node by the scheduler ──► PersistentVolume of type local, tied to that node
 *     node ──► makes the folder when the first pod mounts it; the finalizer says that there is data
 *     volume Released, policy Delete ──► the PersistentVolume is deleted ──► node ──► removes folder and finalizer
 *
 * Nodes say in an annotation below which folder they make volumes; one that says nothing has none. */
#include "claims/claims.h"
#include "controllers/controllers_internal.h"

#define LOG_MODULE "local-path"
#define INDEX_NODE "local-path-node"

static bool is_ours(const struct doc *volume)
{
	return str_is(claim_note(volume, CLAIM_PROVISIONED_BY), LOCAL_PATH_PROVISIONER);
}

/* ---- a claim gets its volume ----------------------------------------------------------------- */

/* Why the claim cannot have a folder, or NULL. */
static const char *refusal(struct arena *a, const struct doc *claim, const struct doc *class)
{
	if (!claim_note(claim, CLAIM_SELECTED_NODE).n)
		return "its volumes live on one node each: the class needs volumeBindingMode WaitForFirstConsumer, so "
		       "that a pod chooses the node";
	for (struct val_iter it = val_iter(doc_get(claim, "spec.accessModes")); val_next(&it);)
		if (!val_is(it.val, "ReadWriteOnce") && !val_is(it.val, "ReadWriteOncePod"))
			return arena_printf(a,
				"access mode %.*s is not supported: a folder of one node is ReadWriteOnce or "
				"ReadWriteOncePod",
				STR_ARG(val_str(it.val)));
	if (str_is(doc_str(claim, "spec.volumeMode"), "Block"))
		return "volumeMode Block is not supported";
	if (val_has(doc_get(claim, "spec.selector")))
		return "spec.selector is not supported for volumes that are made";
	if (val_has(doc_get(claim, "spec.dataSource")) || val_has(doc_get(claim, "spec.dataSourceRef")))
		return "spec.dataSource is not supported";
	if (val_len(doc_get(class, "parameters")))
		return "the class has parameters; none is known";
	if (val_len(doc_get(class, "mountOptions")))
		return "the class has mountOptions, which a folder cannot honour";
	return NULL;
}

static struct node *volume_for(
	struct arena *a, const struct doc *claim, const struct doc *class, const struct doc *node, const char *name)
{
	struct node *meta = node_pack(a,
		"{name:s, labels:{'" LOCAL_PATH_NODE_LABEL "':S}, annotations:{'" CLAIM_PROVISIONED_BY
		"':'" LOCAL_PATH_PROVISIONER "'}}",
		name, doc_name(node));
	struct node *reach = node_pack(a,
		"{required:{nodeSelectorTerms:[{matchExpressions:[{key:'kubernetes.io/hostname', operator:'In', "
		"values:[v]}]}]}}",
		val_get(doc_get(node, "metadata.labels"), "kubernetes.io/hostname"));
	struct node *ref = node_pack(a,
		"{kind:'PersistentVolumeClaim', apiVersion:'v1', namespace:S, name:S, uid:S, resourceVersion:S}",
		doc_ns(claim), doc_name(claim), doc_uid(claim), doc_str(claim, "metadata.resourceVersion"));
	struct str policy = doc_str(class, "reclaimPolicy");

	return node_pack(a,
		"{apiVersion:'v1', kind:'PersistentVolume', metadata:o, spec:{capacity:{storage:v}, accessModes:v, "
		"claimRef:o, "
		"persistentVolumeReclaimPolicy:S, storageClassName:S, volumeMode:'Filesystem', local:{path:o}, "
		"nodeAffinity:o}}",
		meta, val_get(doc_get(claim, "spec.resources.requests"), "storage"), doc_get(claim, "spec.accessModes"),
		ref, policy.n ? policy : STR("Delete"), doc_name(class),
		node_strf(a, "%.*s/%s", STR_ARG(claim_note(node, LOCAL_PATH_FOLDER)), name), reach);
}

static void say_failed(struct ctl *c, struct doc *claim, struct doc *class, const char *why)
{
	recorder_event(c->recorder, claim, "Warning", "ProvisioningFailed",
		"failed to provision volume with StorageClass \"%.*s\": %s", STR_ARG(doc_name(class)), why);
}

static int make_volume(struct ctl *c, struct arena *a, struct doc *claim, struct doc *class, struct err *e)
{
	struct str node_name = claim_note(claim, CLAIM_SELECTED_NODE);
	auto_(doc_unref) struct doc *node = informer_get(ctl_informer(c, res_nodes), STR_NULL, node_name), *body = NULL;
	const char *name = arena_printf(a, "pvc-%.*s", STR_ARG(doc_uid(claim)));

	if (!node)
		return 0; /* the scheduler chooses another */
	if (!claim_note(node, LOCAL_PATH_FOLDER).n) {
		say_failed(c, claim, class,
			arena_printf(a, "node \"%.*s\" has no folder for volumes", STR_ARG(node_name)));
		return 0;
	}
	body = node_publish(volume_for(a, claim, class, node, name));
	if (client_create(c->client, res_persistentvolumes, STR_NULL, body, NULL, e) < 0) {
		if (e->code != ERR_EXISTS) {
			if (e->code != ERR_CANCELED)
				say_failed(c, claim, class, e->message);
			return err_wrap(e, "create volume %s", name);
		}
		err_init(e);
		return 0;
	}
	recorder_event(
		c->recorder, claim, "Normal", "ProvisioningSucceeded", "Successfully provisioned volume %s", name);
	return 0;
}

static int sync_claim(struct ctl *c, struct arena *a, struct str ns, struct str name, struct err *e)
{
	auto_(doc_unref) struct doc *claim = informer_get(ctl_informer(c, res_persistentvolumeclaims), ns, name),
				    *class = NULL;
	const char *why;

	if (!claim || is_deleting(claim) || doc_str(claim, "spec.volumeName").n ||
		!str_is(claim_note(claim, CLAIM_PROVISIONER), LOCAL_PATH_PROVISIONER))
		return 0;
	class = informer_get(ctl_informer(c, res_storageclasses), STR_NULL, claim_class(claim));
	if (!class || !str_is(doc_str(class, "provisioner"), LOCAL_PATH_PROVISIONER))
		return 0;
	why = refusal(a, claim, class);
	if (!why)
		return make_volume(c, a, claim, class, e);
	say_failed(c, claim, class, why);
	return 0;
}

/* ---- a volume goes --------------------------------------------------------------------------- */

/* Nobody will ever remove what lies on a node that is gone. */
static int give_up_data(struct ctl *c, struct arena *a, struct doc *volume, struct err *e)
{
	struct str node_name = val_str(val_get(doc_get(volume, "metadata.labels"), LOCAL_PATH_NODE_LABEL));
	auto_(doc_unref) struct doc *node = NULL;
	struct node *list = node_list(a);
	bool has = false;

	for (struct val_iter it = val_iter(doc_get(volume, "metadata.finalizers")); val_next(&it);) {
		if (val_is(it.val, LOCAL_PATH_FINALIZER))
			has = true;
		else
			node_add(list, node_from(a, it.val));
	}
	if (!has || client_get(c->client, res_nodes, STR_NULL, node_name, &node, e) >= 0)
		return 0;
	if (e->code != ERR_NOT_FOUND)
		return err_wrap(e, "get node %.*s", STR_ARG(node_name));
	err_init(e);
	recorder_event(c->recorder, volume, "Warning", "VolumeDataAbandoned",
		"node \"%.*s\" is gone: what was in %.*s there is not removed", STR_ARG(node_name),
		STR_ARG(doc_str(volume, "spec.local.path")));
	return merge_patch(c, res_persistentvolumes, volume, NULL,
		node_pack(a, "{metadata:{uid:S, resourceVersion:S, finalizers:o}}", doc_uid(volume),
			doc_str(volume, "metadata.resourceVersion"), list),
		NULL, e);
}

static int sync_volume(struct ctl *c, struct arena *a, struct str name, struct err *e)
{
	auto_(doc_unref) struct doc *volume = informer_get(ctl_informer(c, res_persistentvolumes), STR_NULL, name);

	if (!volume || !is_ours(volume))
		return 0;
	if (is_deleting(volume))
		return give_up_data(c, a, volume, e);
	if (!str_is(doc_str(volume, "status.phase"), "Released") ||
		!str_is(doc_str(volume, "spec.persistentVolumeReclaimPolicy"), "Delete"))
		return 0;
	if (client_delete(c->client, res_persistentvolumes, STR_NULL, name,
		    (struct client_delete){ .uid = doc_uid(volume),
			    .resource_version = doc_str(volume, "metadata.resourceVersion"),
			    .grace_s = -1 },
		    e) < 0 &&
		e->code != ERR_NOT_FOUND)
		return err_wrap(e, "delete volume");
	err_init(e);
	return 0;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;

	key_split(key, &ns, &name);
	return ns.n ? sync_claim(c, a, ns, name, e) : sync_volume(c, a, name, e);
}

/* ---- who is looked at when something changes ------------------------------------------------- */

static void key_node(struct ctl *c, struct doc *before, struct doc *after)
{
	struct doc *d = after ? after : before;
	auto_(arena_free) struct arena *a = NULL;
	struct informer_list claims, volumes;

	if (before && after && str_eq(claim_note(before, LOCAL_PATH_FOLDER), claim_note(after, LOCAL_PATH_FOLDER)))
		return;
	a = arena_new();
	claims = informer_list(ctl_informer(c, res_persistentvolumeclaims), a, INDEX_NODE, doc_name(d));
	volumes = informer_list(ctl_informer(c, res_persistentvolumes), a, INDEX_NODE, doc_name(d));
	for (size_t i = 0; i < claims.n; i++)
		ctl_add_doc(c, claims.items[i]);
	for (size_t i = 0; !after && i < volumes.n; i++)
		ctl_add_doc(c, volumes.items[i]);
}

static void index_claim(struct doc *claim, void (*add)(void *arg, struct str key), void *arg)
{
	struct str node = claim_note(claim, CLAIM_SELECTED_NODE);

	if (node.n && !doc_str(claim, "spec.volumeName").n)
		add(arg, node);
}

static void index_volume(struct doc *volume, void (*add)(void *arg, struct str key), void *arg)
{
	struct str node = val_str(val_get(doc_get(volume, "metadata.labels"), LOCAL_PATH_NODE_LABEL));

	if (node.n)
		add(arg, node);
}

static void add_indexes(struct ctl *c)
{
	informer_index(ctl_informer(c, res_persistentvolumeclaims), INDEX_NODE, index_claim);
	informer_index(ctl_informer(c, res_persistentvolumes), INDEX_NODE, index_volume);
}

const struct controller local_path_controller = {
	.name = "local-path-provisioner",
	.help = "makes volumes that are folders of nodes",
	.watches = { { &res_persistentvolumeclaims, key_self }, { &res_persistentvolumes, key_self },
		{ &res_nodes, key_node }, { &res_storageclasses, NULL } },
	.reconcile = reconcile,
	.indexes = add_indexes,
};

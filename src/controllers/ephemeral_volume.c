/* ephemeral-volume-controller: the claims of pods' generic ephemeral volumes. Each is named POD-VOLUME and the pod owns
 * it, so that the garbage collector takes it away with the pod. One of this name that the pod does not own is left
 * alone, and the pod waits. */
#include "claims/claims.h"
#include "controllers/controllers_internal.h"

static struct node *claim_for(struct arena *a, const struct doc *pod, struct val template, struct str name)
{
	return node_pack(a,
		"{apiVersion:'v1', kind:'PersistentVolumeClaim', metadata:{name:S, namespace:S, labels:v, "
		"annotations:v, ownerReferences:[o]}, spec:v}",
		name, doc_ns(pod), val_path(template, "metadata.labels"), val_path(template, "metadata.annotations"),
		owner_reference(a, pod), val_get(template, "spec"));
}

static int need_claim(struct ctl *c, struct arena *a, struct doc *pod, struct val volume, struct err *e)
{
	struct str name = claim_of_volume(a, pod, volume);
	auto_(doc_unref) struct doc *have = informer_get(
					    ctl_informer(c, res_persistentvolumeclaims), doc_ns(pod), name),
				    *body = NULL;

	if (have && !controlled_by(have, doc_uid(pod)))
		recorder_event(c->recorder, pod, "Warning", "FailedCreate",
			"PersistentVolumeClaim %.*s exists and is not this pod's: volume %.*s waits until it is gone",
			STR_ARG(name), STR_ARG(val_str(val_get(volume, "name"))));
	if (have)
		return 0;
	body = node_publish(claim_for(a, pod, val_path(volume, "ephemeral.volumeClaimTemplate"), name));
	if (client_create(c->client, res_persistentvolumeclaims, doc_ns(pod), body, NULL, e) >= 0)
		return 0;
	if (e->code == ERR_EXISTS || namespace_ends(e)) {
		err_init(e);
		return 0;
	}
	if (e->code != ERR_CANCELED)
		recorder_event(c->recorder, pod, "Warning", "FailedCreate",
			"Error creating PersistentVolumeClaim %.*s: %s", STR_ARG(name), e->message);
	return err_wrap(e, "create claim %.*s", STR_ARG(name));
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	auto_(doc_unref) struct doc *pod = NULL;

	key_split(key, &ns, &name);
	pod = informer_get(ctl_informer(c, res_pods), ns, name);
	if (!pod || !pod_active(pod))
		return 0;
	for (struct val_iter it = val_iter(doc_get(pod, "spec.volumes")); val_next(&it);)
		if (val_has(val_get(it.val, "ephemeral")) && need_claim(c, a, pod, it.val, e) < 0)
			return -e->code;
	return 0;
}

static void key_pod(struct ctl *c, struct doc *before, struct doc *after)
{
	if (before || !after)
		return; /* volumes of a pod do not change */
	for (struct val_iter it = val_iter(doc_get(after, "spec.volumes")); val_next(&it);) {
		if (!val_has(val_get(it.val, "ephemeral")))
			continue;
		ctl_add_doc(c, after);
		return;
	}
}

/* A claim that is gone may have stood in the way of a pod of its name, or was a pod's own. */
static void key_claim(struct ctl *c, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = NULL;
	struct informer_list pods;

	if (after)
		return;
	a = arena_new();
	pods = informer_list(ctl_informer(c, res_pods), a, "ns", doc_ns(before));
	for (size_t i = 0; i < pods.n; i++)
		if (str_starts(doc_name(before), doc_name(pods.items[i])))
			ctl_add_doc(c, pods.items[i]);
}

const struct controller ephemeral_volume_controller = {
	.name = "ephemeral-volume-controller",
	.help = "makes the claims of pods' ephemeral volumes",
	.watches = { { &res_pods, key_pod }, { &res_persistentvolumeclaims, key_claim } },
	.reconcile = reconcile,
};

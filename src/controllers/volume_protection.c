/* pvc-protection and pv-protection: a claim in use by a pod, and a volume in use by a claim, stay until they are not.
 * A finalizer holds them; the API sets it when they are made, and these set it where it is missing and take it away. */
#include "claims/claims.h"
#include "controllers/controllers_internal.h"

#define CLAIM_FINALIZER "kubernetes.io/pvc-protection"
#define VOLUME_FINALIZER "kubernetes.io/pv-protection"

static bool has_finalizer(const struct doc *d, const char *name)
{
	for (struct val_iter it = val_iter(doc_get(d, "metadata.finalizers")); val_next(&it);)
		if (val_is(it.val, name))
			return true;
	return false;
}

static int set_finalizer(
	struct ctl *c, struct arena *a, struct gvr r, struct doc *d, const char *name, bool on, struct err *e)
{
	struct node *list = node_list(a);

	for (struct val_iter it = val_iter(doc_get(d, "metadata.finalizers")); val_next(&it);)
		if (!val_is(it.val, name))
			node_add(list, node_from(a, it.val));
	if (on)
		node_add(list, node_c(a, name));
	if (merge_patch(c, r, d, NULL,
		    node_pack(a, "{metadata:{uid:S, resourceVersion:S, finalizers:o}}", doc_uid(d),
			    doc_str(d, "metadata.resourceVersion"), list),
		    NULL, e) < 0 &&
		e->code != ERR_NOT_FOUND)
		return err_wrap(e, "finalizer %s", name);
	err_init(e);
	return 0;
}

/* ---- claims ---------------------------------------------------------------------------------- */

static bool uses(struct arena *a, const struct doc *pod, const struct doc *claim)
{
	if (pod_ended(pod) || !doc_str(pod, "spec.nodeName").n)
		return false;
	for (struct val_iter it = val_iter(doc_get(pod, "spec.volumes")); val_next(&it);)
		if (str_eq(claim_of_volume(a, pod, it.val), doc_name(claim)))
			return true;
	return false;
}

struct search {
	struct arena *a;
	struct doc *claim;
	bool found;
};

static void look_at(void *arg, struct doc *take)
{
	struct search *s = arg;

	s->found |= uses(s->a, take, s->claim);
	doc_unref(take);
}

/* Asked of the API: a pod that the informer has not seen yet may have been bound. */
static int is_used(struct ctl *c, struct arena *a, struct doc *claim, bool *ret, struct err *e)
{
	struct search s = { a, claim, false };
	char revision[24];

	if (client_list(c->client, &(struct client_request){ .verb = VERB_LIST, .res = res_pods, .ns = doc_ns(claim) },
		    look_at, &s, revision, e) < 0)
		return err_wrap(e, "list pods");
	*ret = s.found;
	return 0;
}

static int protect_claim(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	auto_(doc_unref) struct doc *claim = NULL;
	bool used = true;

	key_split(key, &ns, &name);
	claim = informer_get(ctl_informer(c, res_persistentvolumeclaims), ns, name);
	if (!claim)
		return 0;
	if (!is_deleting(claim))
		return has_finalizer(claim, CLAIM_FINALIZER) ?
			0 :
			set_finalizer(c, a, res_persistentvolumeclaims, claim, CLAIM_FINALIZER, true, e);
	if (!has_finalizer(claim, CLAIM_FINALIZER))
		return 0;
	if (is_used(c, a, claim, &used, e) < 0)
		return -e->code;
	return used ? 0 : set_finalizer(c, a, res_persistentvolumeclaims, claim, CLAIM_FINALIZER, false, e);
}

/* A pod that ended or is gone lets go of its claims. */
static void key_pod(struct ctl *c, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = NULL;

	if (!before || (after && !pod_ended(after)))
		return;
	a = arena_new();
	for (struct val_iter it = val_iter(doc_get(before, "spec.volumes")); val_next(&it);) {
		struct str name = claim_of_volume(a, before, it.val);

		if (name.n)
			ctl_add(c, arena_strf(a, "%.*s/%.*s", STR_ARG(doc_ns(before)), STR_ARG(name)));
	}
}

/* ---- volumes --------------------------------------------------------------------------------- */

static int protect_volume(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	auto_(doc_unref) struct doc *volume = informer_get(ctl_informer(c, res_persistentvolumes), STR_NULL, key);

	if (!volume)
		return 0;
	if (!is_deleting(volume))
		return has_finalizer(volume, VOLUME_FINALIZER) ?
			0 :
			set_finalizer(c, a, res_persistentvolumes, volume, VOLUME_FINALIZER, true, e);
	if (!has_finalizer(volume, VOLUME_FINALIZER) || str_is(doc_str(volume, "status.phase"), "Bound"))
		return 0;
	return set_finalizer(c, a, res_persistentvolumes, volume, VOLUME_FINALIZER, false, e);
}

const struct controller pvc_protection_controller = {
	.name = "pvc-protection-controller",
	.help = "keeps claims that pods use",
	.handles = "/persistentvolumeclaims",
	.watches = { { &res_persistentvolumeclaims, key_self }, { &res_pods, key_pod } },
	.reconcile = protect_claim,
};

const struct controller pv_protection_controller = {
	.name = "pv-protection-controller",
	.help = "keeps volumes that claims use",
	.handles = "/persistentvolumes",
	.watches = { { &res_persistentvolumes, key_self } },
	.reconcile = protect_volume,
};

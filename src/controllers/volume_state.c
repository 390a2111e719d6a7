/* What becomes of a volume: who may have it, and what happens when its claim is gone. */
#include "controllers/volume_binder.h"

int live_object(struct ctl *c, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e)
{
	if (client_get(c->client, r, ns, name, ret, e) >= 0)
		return 0;
	if (e->code != ERR_NOT_FOUND)
		return err_wrap(e, "get %s %.*s", r.resource, STR_ARG(name));
	err_init(e);
	return 0;
}

int patch_known(struct ctl *c, struct arena *a, struct gvr r, struct doc **d, const char *sub, struct node *patch,
	struct err *e)
{
	struct doc *now = NULL;

	node_set_path(patch, "metadata.resourceVersion", node_str(a, doc_str(*d, "metadata.resourceVersion")));
	node_set_path(patch, "metadata.uid", node_str(a, doc_uid(*d)));
	if (merge_patch(c, r, *d, sub, patch, &now, e) < 0)
		return -e->code;
	doc_unref(*d);
	*d = now;
	return 0;
}

int volume_phase(
	struct ctl *c, struct arena *a, struct doc **volume, const char *phase, const char *message, struct err *e)
{
	bool same = str_is(doc_str(*volume, "status.phase"), phase);

	if (same && str_is(doc_str(*volume, "status.message"), message ? message : ""))
		return 0;
	return patch_known(c, a, res_persistentvolumes, volume, "status",
		node_pack(a, "{status:{phase:s, message:o, lastPhaseTransitionTime:s}}", phase,
			message ? node_c(a, message) : node_null(a), same ? NULL : now_text(a)),
		e);
}

/* ---- the claim is gone ----------------------------------------------------------------------- */

static int fail_volume(
	struct ctl *c, struct arena *a, struct doc **volume, const char *reason, const char *message, struct err *e)
{
	if (str_is(doc_str(*volume, "status.phase"), "Failed"))
		return 0;
	recorder_event(c->recorder, *volume, "Warning", reason, "%s", message);
	return volume_phase(c, a, volume, "Failed", message, e);
}

/* Only whoever made a volume knows how to delete what is in it. */
static int reclaim(struct ctl *c, struct arena *a, struct doc **volume, struct err *e)
{
	struct str policy = doc_str(*volume, "spec.persistentVolumeReclaimPolicy");

	if (str_is(policy, "Recycle"))
		return fail_volume(c, a, volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!", e);
	if (!str_is(policy, "Delete") || claim_note(*volume, CLAIM_PROVISIONED_BY).n)
		return 0;
	return fail_volume(c, a, volume, "VolumeFailedDelete",
		arena_printf(a,
			"error getting deleter volume plugin for volume \"%.*s\": no deletable volume plugin matched",
			STR_ARG(doc_name(*volume))),
		e);
}

static int release(struct ctl *c, struct arena *a, struct doc **volume, struct err *e)
{
	struct str phase = doc_str(*volume, "status.phase");

	if (!str_is(phase, "Released") && !str_is(phase, "Failed") &&
		volume_phase(c, a, volume, "Released", NULL, e) < 0)
		return -e->code;
	return reclaim(c, a, volume, e);
}

/* The claim has another volume: this one is free again, or kept for the name that a person wrote into it. */
static int unbind(struct ctl *c, struct arena *a, struct doc **volume, struct err *e)
{
	bool by_us = claim_note(*volume, CLAIM_BOUND_BY_CONTROLLER).n > 0;
	struct node *patch = by_us ?
		node_pack(a, "{metadata:{annotations:{'" CLAIM_BOUND_BY_CONTROLLER "':n}}, spec:{claimRef:n}}") :
		node_pack(a, "{spec:{claimRef:{uid:n, resourceVersion:n}}}");

	if (patch_known(c, a, res_persistentvolumes, volume, NULL, patch, e) < 0)
		return err_wrap(e, "let go of the claim");
	return volume_phase(c, a, volume, "Available", NULL, e);
}

/* ---- the look at a volume -------------------------------------------------------------------- */

static int sync_claimed(struct ctl *c, struct arena *a, struct doc **volume, struct err *e)
{
	struct str ns = doc_str(*volume, "spec.claimRef.namespace"), name = doc_str(*volume, "spec.claimRef.name"),
		   theirs;
	auto_(doc_unref) struct doc *claim = NULL;

	if (live_object(c, res_persistentvolumeclaims, ns, name, &claim, e) < 0)
		return -e->code;
	if (!claim || !str_eq(doc_uid(claim), doc_str(*volume, "spec.claimRef.uid")))
		return release(c, a, volume, e);
	theirs = doc_str(claim, "spec.volumeName");
	if (!theirs.n) {
		ctl_add_doc(c, claim); /* it will find what is kept for it */
		return 0;
	}
	if (str_eq(theirs, doc_name(*volume)))
		return volume_phase(c, a, volume, "Bound", NULL, e);
	if (claim_note(*volume, CLAIM_PROVISIONED_BY).n &&
		str_is(doc_str(*volume, "spec.persistentVolumeReclaimPolicy"), "Delete"))
		return release(c, a, volume, e); /* made for this claim, which took another */
	return unbind(c, a, volume, e);
}

int sync_volume(struct ctl *c, struct arena *a, struct str name, struct err *e)
{
	struct doc *volume = NULL;
	int r;

	if (live_object(c, res_persistentvolumes, STR_NULL, name, &volume, e) < 0)
		return -e->code;
	if (!volume)
		return 0;
	if (doc_str(volume, "spec.claimRef.uid").n)
		r = sync_claimed(c, a, &volume, e);
	else
		r = volume_phase(c, a, &volume, "Available", NULL, e);
	doc_unref(volume);
	return r;
}

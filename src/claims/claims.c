#include "claims/claims.h"

struct str claim_note(const struct doc *d, const char *annotation)
{
	return val_str(val_get(doc_get(d, "metadata.annotations"), annotation));
}

struct str claim_class(const struct doc *d)
{
	struct str beta = claim_note(d, CLAIM_CLASS_BETA);

	return beta.n ? beta : doc_str(d, "spec.storageClassName");
}

bool claim_is_bound(const struct doc *claim)
{
	return doc_str(claim, "spec.volumeName").n && claim_note(claim, CLAIM_BIND_COMPLETED).n;
}

bool class_waits(const struct doc *class)
{
	return class && str_is(doc_str(class, "volumeBindingMode"), "WaitForFirstConsumer");
}

bool volume_is_for(const struct doc *volume, const struct doc *claim)
{
	struct val ref = doc_get(volume, "spec.claimRef");
	struct str uid = val_str(val_get(ref, "uid"));

	return val_has(ref) && str_eq(val_str(val_get(ref, "namespace")), doc_ns(claim)) &&
		str_eq(val_str(val_get(ref, "name")), doc_name(claim)) && (!uid.n || str_eq(uid, doc_uid(claim)));
}

bool volume_reaches(const struct doc *volume, struct val labels, struct str node)
{
	struct val required = doc_get(volume, "spec.nodeAffinity.required");

	if (!val_has(required))
		return true;
	for (struct val_iter it = val_iter(val_get(required, "nodeSelectorTerms")); val_next(&it);)
		if (affinity_term_met(it.val, labels, node))
			return true;
	return false;
}

/* ---- what fits ------------------------------------------------------------------------------- */

static struct quantity size_of(struct val v)
{
	struct quantity q;

	return quantity_of(v, &q) ? q : (struct quantity){ 0 };
}

static struct str mode_of(const struct doc *d)
{
	struct str mode = doc_str(d, "spec.volumeMode");

	return mode.n ? mode : STR("Filesystem");
}

static bool has_mode(struct val modes, struct val wanted)
{
	for (struct val_iter it = val_iter(modes); val_next(&it);)
		if (val_equal(it.val, wanted))
			return true;
	return false;
}

static bool has_modes(const struct doc *volume, const struct doc *claim)
{
	for (struct val_iter it = val_iter(doc_get(claim, "spec.accessModes")); val_next(&it);)
		if (!has_mode(doc_get(volume, "spec.accessModes"), it.val))
			return false;
	return true;
}

static bool is_large_enough(const struct doc *volume, const struct doc *claim)
{
	return quantity_cmp(size_of(doc_get(volume, "spec.capacity.storage")),
		       size_of(doc_get(claim, "spec.resources.requests.storage"))) >= 0;
}

const char *volume_misfit(const struct doc *volume, const struct doc *claim)
{
	if (!is_large_enough(volume, claim))
		return "requested PV is too small";
	if (!str_eq(claim_class(volume), claim_class(claim)))
		return "storageClassName does not match";
	if (!str_eq(doc_str(volume, "spec.volumeAttributesClassName"),
		    doc_str(claim, "spec.volumeAttributesClassName")))
		return "volumeAttributesClassName does not match";
	if (!str_eq(mode_of(volume), mode_of(claim)))
		return "incompatible volumeMode";
	if (!has_modes(volume, claim))
		return "incompatible accessMode";
	return NULL;
}

static bool is_free(const struct doc *volume)
{
	return !val_has(doc_get(volume, "spec.claimRef")) && str_is(doc_str(volume, "status.phase"), "Available") &&
		!val_has(doc_get(volume, "metadata.deletionTimestamp"));
}

static bool is_smaller(const struct doc *x, const struct doc *y)
{
	return quantity_cmp(
		       size_of(doc_get(x, "spec.capacity.storage")), size_of(doc_get(y, "spec.capacity.storage"))) < 0;
}

/* Made for the claim by a person: its class and labels do not count, as upstream. */
static bool was_made_for(const struct doc *volume, const struct doc *claim)
{
	return volume_is_for(volume, claim) && !val_has(doc_get(volume, "metadata.deletionTimestamp")) &&
		is_large_enough(volume, claim) && str_eq(mode_of(volume), mode_of(claim)) && has_modes(volume, claim);
}

struct doc *claim_best_volume(const struct claim_search *s, const struct doc *claim, struct arena *a)
{
	struct val labels = doc_get(claim, "spec.selector");
	const struct selector *selector = NULL;
	struct doc *best = NULL;
	struct err e;

	err_init(&e);
	if (val_has(labels) && selector_of(a, labels, &selector, &e) < 0)
		return NULL;
	for (size_t i = 0; i < s->n; i++) {
		struct doc *v = s->volumes[i];

		if (s->node.n && !volume_reaches(v, s->labels, s->node))
			continue;
		if (was_made_for(v, claim))
			return v;
		if (!s->any || !is_free(v) || volume_misfit(v, claim) || (best && !is_smaller(v, best)))
			continue;
		if ((selector && !selector_matches(selector, doc_get(v, "metadata.labels"))) ||
			(s->taken && s->taken(s->arg, v)))
			continue;
		best = v;
	}
	return best;
}

struct str claim_of_volume(struct arena *a, const struct doc *pod, struct val volume)
{
	if (val_has(val_get(volume, "ephemeral")))
		return arena_strf(a, "%.*s-%.*s", STR_ARG(doc_name(pod)), STR_ARG(val_str(val_get(volume, "name"))));
	return val_str(val_path(volume, "persistentVolumeClaim.claimName"));
}

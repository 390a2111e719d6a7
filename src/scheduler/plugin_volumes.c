/* Plugins that look at the claims of a pod: VolumeRestrictions, VolumeZone and VolumeBinding.
 *
 * A claim that is bound ties the pod to nodes that its volume reaches. One whose class waits for its first pod is bound
 * for the node that is chosen: to a volume that is there and reaches it, or to one that is made there. All others must
 * be bound before. */
#include "claims/claims.h"
#include "scheduler/scheduler_internal.h"

#define NO_PROVISIONER "kubernetes.io/no-provisioner"

struct need {
	struct doc *claim;
	struct doc *volume;      /* bound to it; NULL: the claim waits */
	struct doc *class;       /* of a claim that waits */
	struct doc **candidates; /* volumes that might be bound to it */
	size_t n;
};
struct needs {
	struct need *items;
	size_t n;
};

static struct doc *find_claim(struct cycle *c, struct str name)
{
	return map_get(c->s->claims, arena_strf(c->a, "%.*s/%.*s", STR_ARG(doc_ns(c->pod->doc)), STR_ARG(name)));
}

static struct val pod_volumes(const struct pod_info *p)
{
	return doc_get(p->doc, "spec.volumes");
}

/* ---- VolumeRestrictions: ReadWriteOncePod ---------------------------------------------------- */

static bool is_for_one_pod(const struct doc *claim)
{
	for (struct val_iter it = val_iter(doc_get(claim, "spec.accessModes")); val_next(&it);)
		if (val_is(it.val, "ReadWriteOncePod"))
			return true;
	return false;
}

static bool is_used(struct cycle *c, struct str claim)
{
	void *value;

	for (size_t i = 0; map_next(c->s->pods, &i, NULL, &value);) {
		const struct pod_info *p = value;

		if (!p->node || !str_eq(doc_ns(p->doc), doc_ns(c->pod->doc)) ||
			str_eq(doc_uid(p->doc), doc_uid(c->pod->doc)))
			continue;
		for (struct val_iter it = val_iter(pod_volumes(p)); val_next(&it);)
			if (str_eq(claim_of_volume(c->a, p->doc, it.val), claim))
				return true;
	}
	return false;
}

/* false: no claim of the pod is another pod's alone, so every node passes. */
bool volume_restrictions_prepare(struct cycle *c)
{
	for (struct val_iter it = val_iter(pod_volumes(c->pod)); val_next(&it);) {
		struct str name = claim_of_volume(c->a, c->pod->doc, it.val);
		struct doc *claim = name.n ? find_claim(c, name) : NULL;

		if (claim && is_for_one_pod(claim) && is_used(c, name))
			return true;
	}
	return false;
}

enum verdict volume_restrictions_filter(struct cycle *c, const struct node_info *n)
{
	(void)n;
	cycle_reason(c, "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode");
	return NO_ROOM;
}

/* ---- VolumeZone: labels of bound volumes ----------------------------------------------------- */

static const char *const zone_labels[][2] = { /* now, before */
	{ "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone" },
	{ "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region" }
};

struct zone {
	size_t label;
	struct str values; /* one of "a__b" */
};
struct zones {
	struct zone *items;
	size_t n;
};

static void add_zones(struct zones *all, const struct doc *volume)
{
	for (size_t l = 0; l < ARRAY_LEN(zone_labels); l++)
		for (size_t age = 0; age < 2; age++) {
			struct str values = val_str(val_get(doc_get(volume, "metadata.labels"), zone_labels[l][age]));

			if (values.n)
				all->items[all->n++] = (struct zone){ l, values };
		}
}

bool volume_zone_prepare(struct cycle *c)
{
	struct val volumes = pod_volumes(c->pod);
	struct zones *all = ARENA_NEW(c->a, struct zones);

	*all = (struct zones){ .items = ARENA_ARRAY(c->a, struct zone, 4 * val_len(volumes) + 1) };
	for (struct val_iter it = val_iter(volumes); val_next(&it);) {
		struct str name = claim_of_volume(c->a, c->pod->doc, it.val);
		struct doc *claim = name.n ? find_claim(c, name) : NULL;
		struct doc *volume = claim ? map_get(c->s->volumes, doc_str(claim, "spec.volumeName")) : NULL;

		if (volume)
			add_zones(all, volume);
	}
	CYCLE_STATE(c) = all;
	return all->n > 0;
}

static struct str zone_of(const struct node_info *n, size_t label)
{
	struct val now = val_get(node_labels(n), zone_labels[label][0]);

	return val_str(val_has(now) ? now : val_get(node_labels(n), zone_labels[label][1]));
}

static bool is_one_of(struct str values, struct str v)
{
	for (size_t at = 0, end; at <= values.n; at = end + 2) {
		for (end = at; end < values.n && !str_is(str_sub(values, end, 2), "__");)
			end++;
		if (str_eq(str_sub(values, at, end - at), v))
			return true;
	}
	return false;
}

/* A node without any zone takes every volume: such a cluster has no zones. */
enum verdict volume_zone_filter(struct cycle *c, const struct node_info *n)
{
	const struct zones *all = CYCLE_STATE(c);

	if (!zone_of(n, 0).n && !zone_of(n, 1).n)
		return FITS;
	for (size_t i = 0; i < all->n; i++)
		if (!is_one_of(all->items[i].values, zone_of(n, all->items[i].label))) {
			cycle_reason(c, "node(s) had no available volume zone");
			return NEVER;
		}
	return FITS;
}

/* ---- VolumeBinding: what the pod needs ------------------------------------------------------- */

/* Free volumes of the class, and those that are kept for the claim. */
static void find_candidates(struct cycle *c, struct need *need)
{
	size_t n = map_len(c->s->volumes);
	void *value;

	need->candidates = ARENA_ARRAY(c->a, struct doc *, n + 1);
	for (size_t i = 0; map_next(c->s->volumes, &i, NULL, &value);) {
		struct doc *v = value;

		if (volume_is_for(v, need->claim) ||
			(!val_has(doc_get(v, "spec.claimRef")) && str_eq(claim_class(v), claim_class(need->claim))))
			need->candidates[need->n++] = v;
	}
}

/* Why no node can be chosen for a pod with this claim, or NULL. */
static const char *wrong_with(struct cycle *c, const struct doc *claim, struct str name, bool ephemeral)
{
	if (!claim)
		return ephemeral ? arena_printf(c->a,
					   "waiting for ephemeral volume controller to create the "
					   "persistentvolumeclaim \"%.*s\"",
					   STR_ARG(name)) :
				   arena_printf(c->a, "persistentvolumeclaim \"%.*s\" not found", STR_ARG(name));
	if (str_is(doc_str(claim, "status.phase"), "Lost"))
		return arena_printf(c->a,
			"persistentvolumeclaim \"%.*s\" bound to non-existent persistentvolume \"%.*s\"", STR_ARG(name),
			STR_ARG(doc_str(claim, "spec.volumeName")));
	if (val_has(doc_get(claim, "metadata.deletionTimestamp")))
		return arena_printf(c->a, "persistentvolumeclaim \"%.*s\" is being deleted", STR_ARG(name));
	if (ephemeral &&
		!str_eq(val_str(val_get(val_at(doc_get(claim, "metadata.ownerReferences"), 0), "uid")),
			doc_uid(c->pod->doc)))
		return arena_printf(c->a, "PVC \"%.*s/%.*s\" was not created for pod \"%.*s/%.*s\" (pod is not owner)",
			STR_ARG(doc_ns(claim)), STR_ARG(name), STR_ARG(doc_ns(claim)), STR_ARG(doc_name(c->pod->doc)));
	return NULL;
}

static void add_need(struct cycle *c, struct needs *all, struct doc *claim)
{
	struct need need = { .claim = claim, .class = map_get(c->s->classes, claim_class(claim)) };

	if (claim_is_bound(claim)) {
		need.volume = map_get(c->s->volumes, doc_str(claim, "spec.volumeName"));
		if (!need.volume)
			c->whole = arena_printf(c->a, "persistentvolume \"%.*s\" not found",
				STR_ARG(doc_str(claim, "spec.volumeName")));
	} else if (doc_str(claim, "spec.volumeName").n || !class_waits(need.class)) {
		c->whole = "pod has unbound immediate PersistentVolumeClaims";
	} else {
		find_candidates(c, &need);
	}
	all->items[all->n++] = need;
}

bool volumes_prepare(struct cycle *c)
{
	struct needs *all = ARENA_NEW(c->a, struct needs);

	*all = (struct needs){ .items = ARENA_ARRAY(c->a, struct need, val_len(pod_volumes(c->pod)) + 1) };
	for (struct val_iter it = val_iter(pod_volumes(c->pod)); !c->whole && val_next(&it);) {
		struct str name = claim_of_volume(c->a, c->pod->doc, it.val);
		struct doc *claim;

		if (!name.n)
			continue;
		claim = find_claim(c, name);
		c->whole = wrong_with(c, claim, name, val_has(val_get(it.val, "ephemeral")));
		if (!c->whole)
			add_need(c, all, claim);
	}
	CYCLE_STATE(c) = all;
	return all->n || c->whole;
}

/* ---- VolumeBinding: one node ----------------------------------------------------------------- */

struct chosen { /* of one pod: no volume serves two of its claims */
	struct doc **volumes;
	size_t n;
};

static bool is_chosen(void *arg, const struct doc *volume)
{
	const struct chosen *k = arg;

	for (size_t i = 0; i < k->n; i++)
		if (k->volumes[i] == volume)
			return true;
	return false;
}

static bool topology_term_met(struct val term, struct val labels)
{
	for (struct val_iter it = val_iter(val_get(term, "matchLabelExpressions")); val_next(&it);) {
		struct str have = val_str(val_get_str(labels, val_str(val_get(it.val, "key"))));
		bool found = false;

		for (struct val_iter v = val_iter(val_get(it.val, "values")); val_next(&v);)
			found |= have.n && str_eq(val_str(v.val), have);
		if (!found)
			return false;
	}
	return true;
}

static bool can_be_made(const struct doc *class, const struct node_info *n)
{
	struct val terms = doc_get(class, "allowedTopologies");

	if (str_is(doc_str(class, "provisioner"), NO_PROVISIONER))
		return false;
	for (struct val_iter it = val_iter(terms); val_next(&it);)
		if (topology_term_met(it.val, node_labels(n)))
			return true;
	return !val_len(terms);
}

/* The volume that a claim that waits would get on the node; NULL: one that is made there, or (*ret_no) none. */
static struct doc *volume_there(
	struct cycle *c, const struct need *need, const struct node_info *n, struct chosen *k, bool *ret_no)
{
	struct str selected = claim_note(need->claim, CLAIM_SELECTED_NODE);
	struct claim_search s = { .volumes = need->candidates,
		.n = need->n,
		.any = true,
		.labels = node_labels(n),
		.node = n->name,
		.taken = is_chosen,
		.arg = k };
	struct doc *v;

	if (selected.n && map_get(c->s->nodes, selected)) { /* it is being made */
		*ret_no = !str_eq(selected, n->name);
		return NULL;
	}
	v = claim_best_volume(&s, need->claim, c->a);
	if (v)
		k->volumes[k->n++] = v;
	*ret_no = !v && !can_be_made(need->class, n);
	return v;
}

enum verdict volumes_filter(struct cycle *c, const struct node_info *n)
{
	const struct needs *all = CYCLE_STATE(c);
	struct chosen k = { ARENA_ARRAY(c->a, struct doc *, all->n + 1), 0 };
	bool no = false;

	for (size_t i = 0; i < all->n; i++) {
		const struct need *need = &all->items[i];

		if (need->volume) {
			if (volume_reaches(need->volume, node_labels(n), n->name))
				continue;
			cycle_reason(c, "node(s) didn't match PersistentVolume's node affinity");
			return NEVER;
		}
		(void)volume_there(c, need, n, &k, &no);
		if (!no)
			continue;
		cycle_reason(c, "node(s) didn't find available persistent volumes to bind");
		return NEVER;
	}
	return FITS;
}

struct volume_plan volumes_plan(struct cycle *c, const struct node_info *n)
{
	const struct needs *all = NULL;
	struct volume_plan plan = { 0 };
	struct chosen k;
	bool no = false;

	for (size_t i = 0; i < c->n_filters; i++)
		if (plugins[c->filters[i]].filter == volumes_filter) {
			all = c->state[c->filters[i]];
			plan.plugin = 1u << c->filters[i];
		}
	if (!all)
		return plan;
	k = (struct chosen){ ARENA_ARRAY(c->a, struct doc *, all->n + 1), 0 };
	plan.writes = ARENA_ARRAY(c->a, struct volume_write, all->n + 1);
	for (size_t i = 0; i < all->n; i++) {
		const struct need *need = &all->items[i];
		struct doc *v = need->volume ? NULL : volume_there(c, need, n, &k, &no);

		if (need->volume)
			continue;
		plan.waits = true;
		/* who is written already only waits for the binding controller or the provisioner */
		if (v ? !val_has(doc_get(v, "spec.claimRef")) :
			!str_eq(claim_note(need->claim, CLAIM_SELECTED_NODE), n->name))
			plan.writes[plan.n++] = (struct volume_write){ need->claim, v };
	}
	return plan;
}

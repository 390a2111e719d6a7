/* persistent-volume-binder: claims get volumes. Source of the semantics: the Kubernetes documentation, "Persistent
 * Volumes". */
#include "controllers/volume_binder.h"

#include <stdio.h>

#define NO_PROVISIONER "kubernetes.io/no-provisioner"

/* ---- writes ---------------------------------------------------------------------------------- */

static int claim_phase(
	struct ctl *c, struct arena *a, struct doc **claim, const char *phase, struct doc *volume, struct err *e)
{
	struct val modes = volume ? doc_get(volume, "spec.accessModes") : VAL_NONE,
		   size = volume ? doc_get(volume, "spec.capacity") : VAL_NONE;
	struct node *patch;

	if (str_is(doc_str(*claim, "status.phase"), phase) && val_equal(doc_get(*claim, "status.accessModes"), modes) &&
		val_equal(val_get(doc_get(*claim, "status.capacity"), "storage"), val_get(size, "storage")))
		return 0;
	patch = node_pack(a, "{status:{phase:s, accessModes:o, capacity:o}}", phase,
		val_has(modes) ? node_from(a, modes) : node_null(a),
		val_has(size) ? node_pack(a, "{storage:v}", val_get(size, "storage")) : node_null(a));
	return patch_known(c, a, res_persistentvolumeclaims, claim, "status", patch, e);
}

static int lost(
	struct ctl *c, struct arena *a, struct doc **claim, const char *reason, const char *message, struct err *e)
{
	if (!str_is(doc_str(*claim, "status.phase"), "Lost"))
		recorder_event(c->recorder, *claim, "Warning", reason, "%s", message);
	return claim_phase(c, a, claim, "Lost", NULL, e);
}

static int claim_volume(struct ctl *c, struct arena *a, struct doc **claim, struct doc **volume, struct err *e)
{
	bool kept = val_has(doc_get(*volume, "spec.claimRef")); /* for this name, by a person or a provisioner */
	struct node *patch;

	if (kept && doc_str(*volume, "spec.claimRef.uid").n)
		return 0;
	patch = node_pack(a,
		"{metadata:{annotations:o}, spec:{claimRef:{kind:'PersistentVolumeClaim', apiVersion:'v1', "
		"namespace:S, name:S, uid:S, resourceVersion:S}}}",
		kept ? NULL : node_pack(a, "{'" CLAIM_BOUND_BY_CONTROLLER "':'yes'}"), doc_ns(*claim), doc_name(*claim),
		doc_uid(*claim), doc_str(*claim, "metadata.resourceVersion"));
	return patch_known(c, a, res_persistentvolumes, volume, NULL, patch, e);
}

static int name_volume(struct ctl *c, struct arena *a, struct doc **claim, struct doc *volume, struct err *e)
{
	bool asked = doc_str(*claim, "spec.volumeName").n > 0;
	struct node *notes = node_pack(a, "{'" CLAIM_BIND_COMPLETED "':'yes'}");

	if (asked && claim_note(*claim, CLAIM_BIND_COMPLETED).n)
		return 0;
	if (!asked)
		node_setc(notes, CLAIM_BOUND_BY_CONTROLLER, node_c(a, "yes"));
	return patch_known(c, a, res_persistentvolumeclaims, claim, NULL,
		node_pack(a, "{metadata:{annotations:o}, spec:{volumeName:S}}", notes, doc_name(volume)), e);
}

static int bind(struct ctl *c, struct arena *a, struct doc **claim, struct doc **volume, struct err *e)
{
	if (claim_volume(c, a, claim, volume, e) < 0 || volume_phase(c, a, volume, "Bound", NULL, e) < 0 ||
		name_volume(c, a, claim, *volume, e) < 0 || claim_phase(c, a, claim, "Bound", *volume, e) < 0)
		return err_wrap(e, "bind volume %.*s", STR_ARG(doc_name(*volume)));
	return 0;
}

/* ---- a claim that has no volume -------------------------------------------------------------- */

/* The version that the API has: another look may have taken it. NULL without error: nothing fits. Own. */
static int find_volume(struct ctl *c, struct arena *a, struct doc *claim, bool any, struct doc **ret, struct err *e)
{
	struct informer *all = ctl_informer(c, res_persistentvolumes);
	struct informer_list kept = informer_list(all, a, INDEX_CLAIM, key_of(a, claim)),
			     free = informer_list(all, a, INDEX_FREE, claim_class(claim));
	struct claim_search s = { .volumes = kept.items, .n = kept.n };
	struct doc *best = claim_best_volume(&s, claim, a);

	if (!best && any) {
		s = (struct claim_search){ .volumes = free.items, .n = free.n, .any = true };
		best = claim_best_volume(&s, claim, a);
	}
	return best ? live_object(c, res_persistentvolumes, STR_NULL, doc_name(best), ret, e) : 0;
}

/* Who makes volumes of the class is told of the claim by an annotation. */
static int ask_provisioner(struct ctl *c, struct arena *a, struct doc **claim, struct doc *class, struct err *e)
{
	struct str who = doc_str(class, "provisioner");

	if (str_is(who, NO_PROVISIONER)) {
		recorder_event(c->recorder, *claim, "Warning", "ProvisioningFailed",
			"no volume plugin matched name: " NO_PROVISIONER);
		return 0;
	}
	if (!str_eq(claim_note(*claim, CLAIM_PROVISIONER), who) &&
		patch_known(c, a, res_persistentvolumeclaims, claim, NULL,
			node_pack(a,
				"{metadata:{annotations:{'" CLAIM_PROVISIONER "':S, '" CLAIM_PROVISIONER_BETA "':S}}}",
				who, who),
			e) < 0)
		return err_wrap(e, "ask provisioner %.*s", STR_ARG(who));
	recorder_event(c->recorder, *claim, "Normal", "ExternalProvisioning",
		"Waiting for a volume to be created either by the external provisioner '%.*s' or manually by the "
		"system administrator. If volume creation "
		"is delayed, please verify that the provisioner is running and correctly registered.",
		STR_ARG(who));
	return 0;
}

/* The names of pods that wait for the claim and have no node, "a, b"; empty: none. */
static const char *waiting_pods(struct ctl *c, struct arena *a, struct doc *claim)
{
	struct informer_list pods = informer_list(ctl_informer(c, res_pods), a, "ns", doc_ns(claim));
	const char *names = "";

	for (size_t i = 0; i < pods.n; i++) {
		struct doc *pod = pods.items[i];

		if (doc_str(pod, "spec.nodeName").n || !pod_active(pod))
			continue;
		for (struct val_iter it = val_iter(doc_get(pod, "spec.volumes")); val_next(&it);)
			if (str_eq(claim_of_volume(a, pod, it.val), doc_name(claim)))
				names = arena_printf(a, "%s%s%.*s", names, *names ? ", " : "", STR_ARG(doc_name(pod)));
	}
	return names;
}

static void say_it_waits(struct ctl *c, struct arena *a, struct doc *claim)
{
	const char *pods = waiting_pods(c, a, claim);

	if (*pods)
		recorder_event(c->recorder, claim, "Normal", "WaitForPodScheduled",
			"waiting for pod%s %s to be scheduled", strchr(pods, ',') ? "s" : "", pods);
	else
		recorder_event(c->recorder, claim, "Normal", "WaitForFirstConsumer",
			"waiting for first consumer to be created before binding");
}

static int no_volume(struct ctl *c, struct arena *a, struct doc **claim, struct doc *class, struct err *e)
{
	struct str name = claim_class(*claim);

	if (class_waits(class) && !claim_note(*claim, CLAIM_SELECTED_NODE).n)
		say_it_waits(c, a, *claim);
	else if (!name.n)
		recorder_event(c->recorder, *claim, "Normal", "FailedBinding",
			"no persistent volumes available for this claim and no storage class is set");
	else if (!class)
		recorder_event(c->recorder, *claim, "Warning", "ProvisioningFailed",
			"storageclass.storage.k8s.io \"%.*s\" not found", STR_ARG(name));
	else if (ask_provisioner(c, a, claim, class, e) < 0)
		return -e->code;
	return claim_phase(c, a, claim, "Pending", NULL, e);
}

static int sync_free_claim(struct ctl *c, struct arena *a, struct doc **claim, struct err *e)
{
	struct str class_name = claim_class(*claim);
	auto_(doc_unref) struct doc *class =
		class_name.n ? informer_get(ctl_informer(c, res_storageclasses), STR_NULL, class_name) : NULL;
	struct doc *volume = NULL;
	int r;

	if (is_deleting(*claim))
		return 0;
	if (find_volume(c, a, *claim, !class_waits(class), &volume, e) < 0)
		return -e->code;
	if (volume && val_has(doc_get(volume, "spec.claimRef")) && !volume_is_for(volume, *claim))
		r = err_set(e, ERR_CONFLICT, "volume %.*s was taken by another claim", STR_ARG(doc_name(volume)));
	else
		r = volume ? bind(c, a, claim, &volume, e) : no_volume(c, a, claim, class, e);
	doc_unref(volume);
	return r;
}

/* ---- a claim that names its volume ----------------------------------------------------------- */

static int sync_asking_claim(struct ctl *c, struct arena *a, struct doc **claim, struct doc **volume, struct err *e)
{
	struct doc *v = *volume;
	const char *why;

	if (!v)
		return claim_phase(c, a, claim, "Pending", NULL, e);
	if (val_has(doc_get(v, "spec.claimRef"))) {
		if (volume_is_for(v, *claim))
			return bind(c, a, claim, volume, e);
		recorder_event(c->recorder, *claim, "Warning", "FailedBinding",
			"volume \"%.*s\" already bound to a different claim.", STR_ARG(doc_name(v)));
		return claim_phase(c, a, claim, "Pending", NULL, e);
	}
	why = volume_misfit(v, *claim);
	if (!why)
		return bind(c, a, claim, volume, e);
	recorder_event(c->recorder, *claim, "Warning", "VolumeMismatch", "Cannot bind to requested volume \"%.*s\": %s",
		STR_ARG(doc_name(v)), why);
	return claim_phase(c, a, claim, "Pending", NULL, e);
}

static int sync_bound_claim(struct ctl *c, struct arena *a, struct doc **claim, struct doc **volume, struct err *e)
{
	if (!doc_str(*claim, "spec.volumeName").n)
		return lost(c, a, claim, "ClaimLost",
			"Bound claim has lost reference to PersistentVolume. Data on the volume is lost!", e);
	if (!*volume)
		return lost(c, a, claim, "ClaimLost",
			"Bound claim has lost its PersistentVolume. Data on the volume is lost!", e);
	if (!val_has(doc_get(*volume, "spec.claimRef")) || volume_is_for(*volume, *claim))
		return bind(c, a, claim, volume, e);
	return lost(c, a, claim, "ClaimMisbound",
		"Two claims are bound to the same volume, this one is bound incorrectly", e);
}

static int sync_claim(struct ctl *c, struct arena *a, struct str ns, struct str name, struct err *e)
{
	struct doc *claim = NULL, *volume = NULL;
	struct str wanted;
	int r = live_object(c, res_persistentvolumeclaims, ns, name, &claim, e);

	if (r < 0 || !claim)
		return r;
	wanted = doc_str(claim, "spec.volumeName");
	if (wanted.n)
		r = live_object(c, res_persistentvolumes, STR_NULL, wanted, &volume, e);
	if (r >= 0 && claim_note(claim, CLAIM_BIND_COMPLETED).n)
		r = sync_bound_claim(c, a, &claim, &volume, e);
	else if (r >= 0)
		r = wanted.n ? sync_asking_claim(c, a, &claim, &volume, e) : sync_free_claim(c, a, &claim, e);
	doc_unref(volume);
	doc_unref(claim);
	return r;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;

	key_split(key, &ns, &name);
	return ns.n ? sync_claim(c, a, ns, name, e) : sync_volume(c, a, name, e);
}

/* ---- who is looked at when something changes ------------------------------------------------- */

static void add_claim(struct ctl *c, struct str ns, struct str name)
{
	char room[KEY_ROOM];

	ctl_add(c, key_join(room, ns, name));
}

static void add_waiting(struct ctl *c, struct str class)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list claims =
		informer_list(ctl_informer(c, res_persistentvolumeclaims), a, INDEX_WAITING, class);

	for (size_t i = 0; i < claims.n; i++)
		ctl_add_doc(c, claims.items[i]);
}

static void key_claim(struct ctl *c, struct doc *before, struct doc *after)
{
	struct doc *d = after ? after : before;
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list volumes =
		informer_list(ctl_informer(c, res_persistentvolumes), a, INDEX_CLAIM, key_of(a, d));

	if (after)
		ctl_add_doc(c, d);
	for (size_t i = 0; i < volumes.n; i++)
		ctl_add_doc(c, volumes.items[i]);
}

static void key_volume(struct ctl *c, struct doc *before, struct doc *after)
{
	struct doc *d = after ? after : before;
	auto_(arena_free) struct arena *a = arena_new();
	struct val ref = doc_get(d, "spec.claimRef");
	struct informer_list named =
		informer_list(ctl_informer(c, res_persistentvolumeclaims), a, "volume", doc_name(d));

	if (after)
		ctl_add_doc(c, d);
	if (val_has(ref))
		add_claim(c, val_str(val_get(ref, "namespace")), val_str(val_get(ref, "name")));
	else if (after)
		add_waiting(c, claim_class(d));
	for (size_t i = 0; i < named.n; i++)
		ctl_add_doc(c, named.items[i]);
}

static void key_class(struct ctl *c, struct doc *before, struct doc *after)
{
	add_waiting(c, doc_name(after ? after : before));
}

/* A pod says in its claims' events that they wait for it. */
static void key_pod(struct ctl *c, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = NULL;

	if (before || !after || doc_str(after, "spec.nodeName").n)
		return;
	a = arena_new();
	for (struct val_iter it = val_iter(doc_get(after, "spec.volumes")); val_next(&it);) {
		struct str name = claim_of_volume(a, after, it.val);

		if (name.n)
			add_claim(c, doc_ns(after), name);
	}
}

static void index_waiting(struct doc *claim, void (*add)(void *arg, struct str key), void *arg)
{
	if (!doc_str(claim, "spec.volumeName").n)
		add(arg, claim_class(claim));
}

static void index_named(struct doc *claim, void (*add)(void *arg, struct str key), void *arg)
{
	struct str name = doc_str(claim, "spec.volumeName");

	if (name.n)
		add(arg, name);
}

static void index_claim(struct doc *volume, void (*add)(void *arg, struct str key), void *arg)
{
	struct val ref = doc_get(volume, "spec.claimRef");
	char room[KEY_ROOM];

	if (val_has(ref))
		add(arg, key_join(room, val_str(val_get(ref, "namespace")), val_str(val_get(ref, "name"))));
}

static void index_free(struct doc *volume, void (*add)(void *arg, struct str key), void *arg)
{
	if (!val_has(doc_get(volume, "spec.claimRef")))
		add(arg, claim_class(volume));
}

static void add_indexes(struct ctl *c)
{
	struct informer *claims = ctl_informer(c, res_persistentvolumeclaims),
			*volumes = ctl_informer(c, res_persistentvolumes);

	informer_index(claims, INDEX_WAITING, index_waiting);
	informer_index(claims, "volume", index_named);
	informer_index(volumes, INDEX_CLAIM, index_claim);
	informer_index(volumes, INDEX_FREE, index_free);
}

const struct controller volume_binder_controller = {
	.name = "persistent-volume-binder",
	.help = "binds claims to volumes that fit, and says what became of volumes whose claim is gone",
	.watches = { { &res_persistentvolumeclaims, key_claim }, { &res_persistentvolumes, key_volume },
		{ &res_storageclasses, key_class }, { &res_pods, key_pod } },
	.reconcile = reconcile,
	.indexes = add_indexes,
};

/* generic-garbage-collector: deletes what nobody owns any more.
 *
 *     an owner goes ──► its dependents (index by uid) ──► each: does another owner still stand? no: delete it
 *     finalizer foregroundDeletion: dependents first, then the owner;  finalizer orphan: dependents are let go first
 *
 * Source of the semantics: the Kubernetes documentation, "Garbage Collection". */
#include "controllers/controllers_internal.h"

#define LOG_MODULE "garbage"
#define FOREGROUND "foregroundDeletion"
#define ORPHAN "orphan"

struct known_kind {
	struct gvr res;
	const char *kind;
	bool cluster;
};
/* Builtin kinds that own or are owned. */
static const struct known_kind kinds[] = {
	{ { "", "v1", "pods" }, "Pod", false },
	{ { "apps", "v1", "replicasets" }, "ReplicaSet", false },
	{ { "apps", "v1", "deployments" }, "Deployment", false },
	{ { "apps", "v1", "statefulsets" }, "StatefulSet", false },
	{ { "apps", "v1", "daemonsets" }, "DaemonSet", false },
	{ { "apps", "v1", "controllerrevisions" }, "ControllerRevision", false },
	{ { "batch", "v1", "jobs" }, "Job", false },
	{ { "batch", "v1", "cronjobs" }, "CronJob", false },
	{ { "", "v1", "replicationcontrollers" }, "ReplicationController", false },
	{ { "", "v1", "services" }, "Service", false },
	{ { "", "v1", "endpoints" }, "Endpoints", false },
	{ { "discovery.k8s.io", "v1", "endpointslices" }, "EndpointSlice", false },
	{ { "", "v1", "configmaps" }, "ConfigMap", false },
	{ { "", "v1", "secrets" }, "Secret", false },
	{ { "", "v1", "serviceaccounts" }, "ServiceAccount", false },
	{ { "", "v1", "persistentvolumeclaims" }, "PersistentVolumeClaim", false },
	{ { "policy", "v1", "poddisruptionbudgets" }, "PodDisruptionBudget", false },
	{ { "coordination.k8s.io", "v1", "leases" }, "Lease", false },
	{ { "", "v1", "nodes" }, "Node", true },
	{ { "", "v1", "namespaces" }, "Namespace", true },
};

struct subscription {
	struct ctl *c;
	size_t kind;
};
struct garbage {
	struct subscription subs[ARRAY_LEN(kinds)];
};

/* ---- keys: "number/namespace/name" ---------------------------------------------------------------------------------------- */

static void add_key(struct ctl *c, size_t kind, const struct doc *d)
{
	auto_(arena_free) struct arena *a = arena_new();

	ctl_add(c, arena_strf(a, "%zu/%.*s/%.*s", kind, STR_ARG(doc_ns(d)), STR_ARG(doc_name(d))));
}

static void index_all_owners(struct doc *d, void (*add)(void *arg, struct str key), void *arg)
{
	for (struct val_iter it = val_iter(doc_get(d, "metadata.ownerReferences")); val_next(&it);)
		add(arg, val_str(val_get(it.val, "uid")));
}

static void add_dependents(struct ctl *c, struct str uid)
{
	auto_(arena_free) struct arena *a = arena_new();

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct informer_list l = informer_list(ctl_informer(c, kinds[k].res), a, "owners", uid);

		for (size_t i = 0; i < l.n; i++)
			add_key(c, k, l.items[i]);
	}
}

static const struct known_kind *kind_of(struct val ref)
{
	struct str version, api = val_str(val_get(ref, "apiVersion")), group;

	version = str_cut(api, '/', &group);
	if (!version.p) {
		version = group;
		group = STR_NULL;
	}
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		if (str_is(group, kinds[k].res.group) && val_is(val_get(ref, "kind"), kinds[k].kind))
			return &kinds[k];
	return NULL;
}

static bool has_finalizer(const struct doc *d, const char *name)
{
	for (struct val_iter it = val_iter(doc_get(d, "metadata.finalizers")); val_next(&it);)
		if (val_is(it.val, name))
			return true;
	return false;
}

/* Owners that wait for this one to go are looked at again. */
static void add_owners(struct ctl *c, const struct doc *d)
{
	for (struct val_iter it = val_iter(doc_get(d, "metadata.ownerReferences")); val_next(&it);) {
		const struct known_kind *k = kind_of(it.val);
		auto_(doc_unref) struct doc *owner = NULL;

		if (!k)
			continue;
		owner = informer_get(ctl_informer(c, k->res), k->cluster ? STR_NULL : doc_ns(d), val_str(val_get(it.val, "name")));
		if (owner && is_deleting(owner))
			add_key(c, (size_t)(k - kinds), owner);
	}
}

static void on_change(void *arg, struct doc *before, struct doc *after)
{
	struct subscription *s = arg;
	bool refs_changed = after && (!before || !val_equal(doc_get(before, "metadata.ownerReferences"), doc_get(after, "metadata.ownerReferences")));

	if (!after) {
		add_dependents(s->c, doc_uid(before));
		add_owners(s->c, before);
		return;
	}
	if (before && !str_eq(doc_uid(before), doc_uid(after)))
		add_dependents(s->c, doc_uid(before));
	if (refs_changed && val_len(doc_get(after, "metadata.ownerReferences")))
		add_key(s->c, s->kind, after);
	if (is_deleting(after) && val_len(doc_get(after, "metadata.finalizers")))
		add_key(s->c, s->kind, after);
}

static void *state_new(struct ctl *c)
{
	struct garbage *g = xcalloc(1, sizeof(*g));

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct informer *i = ctl_informer(c, kinds[k].res);

		g->subs[k] = (struct subscription){ c, k };
		informer_on(i, on_change, &g->subs[k]);
		informer_index(i, "owners", index_all_owners);
	}
	return g;
}

/* ---- dependents ------------------------------------------------------------------------------------------------------------- */

enum standing { STANDS, GONE, WAITS_FOR_US };

static int standing_of(struct ctl *c, struct doc *d, struct val ref, enum standing *ret, struct err *e)
{
	const struct known_kind *k = kind_of(ref);
	struct str uid = val_str(val_get(ref, "uid")), name = val_str(val_get(ref, "name")), ns;
	auto_(doc_unref) struct doc *owner = NULL;

	*ret = STANDS;
	if (!k) /* of a kind that we do not watch: better kept than lost */
		return 0;
	ns = k->cluster ? STR_NULL : doc_ns(d);
	owner = informer_get(ctl_informer(c, k->res), ns, name);
	if (!owner || !str_eq(doc_uid(owner), uid)) {
		owner = doc_unref(owner);
		/* the informer may be behind: ask the server before anything is deleted */
		if (client_get(c->client, k->res, ns, name, &owner, e) < 0 && e->code != ERR_NOT_FOUND)
			return -e->code;
		err_init(e);
	}
	if (!owner || !str_eq(doc_uid(owner), uid))
		*ret = GONE;
	else if (is_deleting(owner) && has_finalizer(owner, FOREGROUND) && val_bool(val_get(ref, "blockOwnerDeletion"), false))
		*ret = WAITS_FOR_US;
	return 0;
}

static int drop_references(struct ctl *c, struct arena *a, struct gvr r, struct doc *d, struct node *kept, struct err *e)
{
	struct node *patch = node_pack(a, "{metadata:{uid:S, resourceVersion:S, ownerReferences:o}}", doc_uid(d), doc_str(d, "metadata.resourceVersion"), kept);

	if (merge_patch(c, r, d, NULL, patch, NULL, e) < 0 && e->code != ERR_NOT_FOUND)
		return err_wrap(e, "drop owners that are gone");
	err_init(e);
	return 0;
}

static int delete_dependent(struct ctl *c, struct gvr r, struct doc *d, bool foreground, struct err *e)
{
	const char *how = has_finalizer(d, ORPHAN) ? "Orphan" : foreground || has_finalizer(d, FOREGROUND) ? "Foreground" : "Background";
	struct client_delete o = { .uid = doc_uid(d), .grace_s = -1, .propagation = how };

	if (client_delete(c->client, r, doc_ns(d), doc_name(d), o, e) < 0 && e->code != ERR_NOT_FOUND && e->code != ERR_CONFLICT)
		return err_wrap(e, "delete");
	err_init(e);
	return 0;
}

static bool has_dependents(struct ctl *c, struct arena *a, struct str uid)
{
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		if (informer_list(ctl_informer(c, kinds[k].res), a, "owners", uid).n)
			return true;
	return false;
}

static int check_owners(struct ctl *c, struct arena *a, struct gvr r, struct doc *d, struct err *e)
{
	struct val refs = doc_get(d, "metadata.ownerReferences");
	struct node *kept = node_list(a);
	bool waits = false;

	for (struct val_iter it = val_iter(refs); val_next(&it);) {
		enum standing s;

		if (standing_of(c, d, it.val, &s, e) < 0)
			return err_wrap(e, "look for owner %.*s", STR_ARG(val_str(val_get(it.val, "name"))));
		if (s == STANDS)
			node_add(kept, node_from(a, it.val));
		waits |= s == WAITS_FOR_US;
	}
	if (node_len(kept) == val_len(refs))
		return 0;
	if (node_len(kept))
		return drop_references(c, a, r, d, kept, e);
	return delete_dependent(c, r, d, waits && has_dependents(c, a, doc_uid(d)), e);
}

/* ---- owners that are going ---------------------------------------------------------------------------------------------------- */

static int remove_finalizer(struct ctl *c, struct arena *a, struct gvr r, struct doc *d, const char *name, struct err *e)
{
	struct node *kept = node_list(a), *patch;

	for (struct val_iter it = val_iter(doc_get(d, "metadata.finalizers")); val_next(&it);)
		if (!val_is(it.val, name))
			node_add(kept, node_from(a, it.val));
	patch = node_pack(a, "{metadata:{uid:S, resourceVersion:S, finalizers:o}}", doc_uid(d), doc_str(d, "metadata.resourceVersion"), kept);
	if (merge_patch(c, r, d, NULL, patch, NULL, e) < 0 && e->code != ERR_NOT_FOUND)
		return err_wrap(e, "remove finalizer %s", name);
	err_init(e);
	return 0;
}

static bool blocks(struct doc *dependent, struct str owner_uid)
{
	for (struct val_iter it = val_iter(doc_get(dependent, "metadata.ownerReferences")); val_next(&it);)
		if (str_eq(val_str(val_get(it.val, "uid")), owner_uid) && val_bool(val_get(it.val, "blockOwnerDeletion"), false))
			return true;
	return false;
}

static int go_last(struct ctl *c, struct arena *a, struct gvr r, struct doc *owner, struct err *e)
{
	bool wait = false;

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct informer_list l = informer_list(ctl_informer(c, kinds[k].res), a, "owners", doc_uid(owner));

		for (size_t i = 0; i < l.n; i++) {
			wait |= blocks(l.items[i], doc_uid(owner));
			if (!is_deleting(l.items[i]))
				add_key(c, k, l.items[i]);
		}
	}
	return wait ? 0 : remove_finalizer(c, a, r, owner, FOREGROUND, e);
}

static int let_go(struct ctl *c, struct arena *a, struct gvr r, struct doc *owner, struct err *e)
{
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct informer_list l = informer_list(ctl_informer(c, kinds[k].res), a, "owners", doc_uid(owner));

		for (size_t i = 0; i < l.n; i++) {
			struct node *kept = node_list(a);

			for (struct val_iter it = val_iter(doc_get(l.items[i], "metadata.ownerReferences")); val_next(&it);)
				if (!str_eq(val_str(val_get(it.val, "uid")), doc_uid(owner)))
					node_add(kept, node_from(a, it.val));
			if (drop_references(c, a, kinds[k].res, l.items[i], kept, e) < 0)
				return -e->code;
		}
	}
	return remove_finalizer(c, a, r, owner, ORPHAN, e);
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str number, ns, name = str_cut(str_cut(key, '/', &number), '/', &ns);
	uint64_t k;
	auto_(doc_unref) struct doc *d = NULL;

	if (!str_u64(number, &k) || k >= ARRAY_LEN(kinds))
		return 0;
	d = informer_get(ctl_informer(c, kinds[k].res), ns, name);
	if (!d)
		return 0;
	if (is_deleting(d) && has_finalizer(d, ORPHAN))
		return let_go(c, a, kinds[k].res, d, e);
	if (is_deleting(d) && has_finalizer(d, FOREGROUND))
		return go_last(c, a, kinds[k].res, d, e);
	if (is_deleting(d))
		return 0;
	return check_owners(c, a, kinds[k].res, d, e);
}

const struct controller garbage_collector = {
	.name = "generic-garbage-collector",
	.help = "deletes what nobody owns any more",
	.reconcile = reconcile,
	.state_new = state_new,
	.state_free = free,
};

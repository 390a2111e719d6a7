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
/* Builtin kinds, all but Events: whoever brings an operator has Roles and Ingresses that are owned. These have informers anyway. */
static const struct known_kind kinds_shared[] = {
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
	{ { "", "v1", "resourcequotas" }, "ResourceQuota", false },
	{ { "policy", "v1", "poddisruptionbudgets" }, "PodDisruptionBudget", false },
	{ { "autoscaling", "v2", "horizontalpodautoscalers" }, "HorizontalPodAutoscaler", false },
	{ { "coordination.k8s.io", "v1", "leases" }, "Lease", false },
	{ { "", "v1", "nodes" }, "Node", true },
	{ { "", "v1", "namespaces" }, "Namespace", true },
	{ { "", "v1", "persistentvolumes" }, "PersistentVolume", true },
	{ { "storage.k8s.io", "v1", "storageclasses" }, "StorageClass", true },
	{ { "certificates.k8s.io", "v1", "certificatesigningrequests" }, "CertificateSigningRequest", true },
	{ { "apiextensions.k8s.io", "v1", "customresourcedefinitions" }, "CustomResourceDefinition", true },
	{ { "apiregistration.k8s.io", "v1", "apiservices" }, "APIService", true },
	{ { "rbac.authorization.k8s.io", "v1", "clusterroles" }, "ClusterRole", true },
};
/* These have one task together: they seldom change. */
static const struct known_kind kinds_quiet[] = {
	{ { "", "v1", "podtemplates" }, "PodTemplate", false },
	{ { "", "v1", "limitranges" }, "LimitRange", false },
	{ { "networking.k8s.io", "v1", "ingresses" }, "Ingress", false },
	{ { "networking.k8s.io", "v1", "networkpolicies" }, "NetworkPolicy", false },
	{ { "rbac.authorization.k8s.io", "v1", "roles" }, "Role", false },
	{ { "rbac.authorization.k8s.io", "v1", "rolebindings" }, "RoleBinding", false },
	{ { "rbac.authorization.k8s.io", "v1", "clusterrolebindings" }, "ClusterRoleBinding", true },
	{ { "storage.k8s.io", "v1", "csistoragecapacities" }, "CSIStorageCapacity", false },
	{ { "resource.k8s.io", "v1", "resourceclaims" }, "ResourceClaim", false },
	{ { "resource.k8s.io", "v1", "resourceclaimtemplates" }, "ResourceClaimTemplate", false },
	{ { "resource.k8s.io", "v1", "resourceslices" }, "ResourceSlice", true },
	{ { "resource.k8s.io", "v1", "deviceclasses" }, "DeviceClass", true },
	{ { "networking.k8s.io", "v1", "ingressclasses" }, "IngressClass", true },
	{ { "networking.k8s.io", "v1", "ipaddresses" }, "IPAddress", true },
	{ { "networking.k8s.io", "v1", "servicecidrs" }, "ServiceCIDR", true },
	{ { "storage.k8s.io", "v1", "volumeattributesclasses" }, "VolumeAttributesClass", true },
	{ { "storage.k8s.io", "v1", "volumeattachments" }, "VolumeAttachment", true },
	{ { "storage.k8s.io", "v1", "csidrivers" }, "CSIDriver", true },
	{ { "storage.k8s.io", "v1", "csinodes" }, "CSINode", true },
	{ { "scheduling.k8s.io", "v1", "priorityclasses" }, "PriorityClass", true },
	{ { "node.k8s.io", "v1", "runtimeclasses" }, "RuntimeClass", true },
	{ { "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations" }, "MutatingWebhookConfiguration",
		true },
	{ { "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations" }, "ValidatingWebhookConfiguration",
		true },
	{ { "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies" }, "ValidatingAdmissionPolicy", true },
	{ { "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings" },
		"ValidatingAdmissionPolicyBinding", true },
	{ { "flowcontrol.apiserver.k8s.io", "v1", "flowschemas" }, "FlowSchema", true },
	{ { "flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations" }, "PriorityLevelConfiguration", true },
};
#define N_BUILTIN (ARRAY_LEN(kinds_shared) + ARRAY_LEN(kinds_quiet))

#define ASK_MS 30000     /* another server, for its kinds */
#define ASK_SOON_MS 2000 /* one that did not answer */

/* A kind that is followed. Builtin ones are always; custom ones come and go with their definition, those of other servers
 * with what they say, and an informer of theirs ends when nobody looks at it any more. */
struct row {
	struct ctl *c;
	struct known_kind k;
	struct informer *i;
	size_t number;   /* in keys */
	int refs;        /* atomic; of those that come and go */
	struct arena *a; /* of one that comes and goes, else NULL */
	bool own;        /* the informer ends with the row */
	bool other;      /* another server's */
};
struct garbage {
	struct task_mutex lock;
	struct row **rows; /* NULL: the kind is gone */
	size_t n;
	struct informer_loop *loop; /* of custom kinds, and of quiet ones */
	struct informer_loop
		*other_loop; /* of other servers, that keep nobody waiting but each other; NULL: there was none */
};

static void row_unref(void *arg)
{
	struct row *r = arg;

	if (!r || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (r->own)
		informer_free(r->i);
	arena_free(r->a);
	free(r);
}

static struct row *row_ref(struct row *r)
{
	if (r)
		__atomic_add_fetch(&r->refs, 1, __ATOMIC_ACQ_REL);
	return r;
}

/* The rows as they are now; the arena holds them. */
static struct row **rows_of(struct ctl *c, struct arena *a, size_t *ret_n)
{
	struct garbage *g = c->state;
	struct row **rows;
	size_t n = 0;

	task_lock(&g->lock);
	rows = ARENA_ARRAY(a, struct row *, g->n + 1);
	for (size_t i = 0; i < g->n; i++)
		if (g->rows[i])
			rows[n++] = row_ref(g->rows[i]);
	task_unlock(&g->lock);
	for (size_t i = 0; i < n; i++)
		arena_hold(a, rows[i], row_unref);
	*ret_n = n;
	return rows;
}

/* ---- keys: "number/namespace/name" ----------------------------------------------------------- */

static void add_key(const struct row *r, const struct doc *d)
{
	auto_(arena_free) struct arena *a = arena_new();

	ctl_add(r->c, arena_strf(a, "%zu/%.*s/%.*s", r->number, STR_ARG(doc_ns(d)), STR_ARG(doc_name(d))));
}

static void index_all_owners(struct doc *d, void (*add)(void *arg, struct str key), void *arg)
{
	for (struct val_iter it = val_iter(doc_get(d, "metadata.ownerReferences")); val_next(&it);)
		add(arg, val_str(val_get(it.val, "uid")));
}

static void add_dependents(struct ctl *c, struct str uid)
{
	auto_(arena_free) struct arena *a = arena_new();
	size_t n;
	struct row **rows = rows_of(c, a, &n);

	for (size_t k = 0; k < n; k++) {
		struct informer_list l = informer_list(rows[k]->i, a, "owners", uid);

		for (size_t i = 0; i < l.n; i++)
			add_key(rows[k], l.items[i]);
	}
}

/* NULL: not followed. */
static struct row *kind_of(struct ctl *c, struct arena *a, struct val ref)
{
	struct str version, api = val_str(val_get(ref, "apiVersion")), group;
	size_t n;

	version = str_cut(api, '/', &group);
	if (!version.p) {
		version = group;
		group = STR_NULL;
	}
	struct row **rows = rows_of(c, a, &n);
	for (size_t k = 0; k < n; k++)
		if (str_is(group, rows[k]->k.res.group) && val_is(val_get(ref, "kind"), rows[k]->k.kind))
			return rows[k];
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
	auto_(arena_free) struct arena *a = arena_new();

	for (struct val_iter it = val_iter(doc_get(d, "metadata.ownerReferences")); val_next(&it);) {
		struct row *r = kind_of(c, a, it.val);
		auto_(doc_unref) struct doc *owner = NULL;

		if (!r)
			continue;
		owner = informer_get(r->i, r->k.cluster ? STR_NULL : doc_ns(d), val_str(val_get(it.val, "name")));
		if (owner && is_deleting(owner))
			add_key(r, owner);
	}
}

static void on_change(void *arg, struct doc *before, struct doc *after)
{
	struct row *s = arg;
	bool refs_changed = after &&
		(!before ||
			!val_equal(doc_get(before, "metadata.ownerReferences"),
				doc_get(after, "metadata.ownerReferences")));

	if (!after) {
		add_dependents(s->c, doc_uid(before));
		add_owners(s->c, before);
		return;
	}
	if (before && !str_eq(doc_uid(before), doc_uid(after)))
		add_dependents(s->c, doc_uid(before));
	if (refs_changed && before)
		add_owners(s->c, before); /* one of them may not have to wait any longer */
	if (refs_changed && val_len(doc_get(after, "metadata.ownerReferences")))
		add_key(s, after);
	if (is_deleting(after) && val_len(doc_get(after, "metadata.finalizers")))
		add_key(s, after);
}

/* Under the lock, or before anything runs. Takes one reference. */
static void add_row(struct garbage *g, struct row *r)
{
	size_t i = 0;

	while (i < g->n && g->rows[i])
		i++;
	if (i < N_BUILTIN || i == g->n) { /* numbers of custom kinds are used again */
		g->rows = xrealloc(g->rows, g->n + 1, sizeof(struct row *));
		i = g->n++;
	}
	r->refs = 1;
	r->number = i;
	g->rows[i] = r;
	informer_on(r->i, on_change, r);
	informer_index(r->i, "owners", index_all_owners);
}

/* ---- custom kinds: "crd//NAME" in the queue -------------------------------------------------- */

static void definition_changed(void *arg, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = arena_new();

	ctl_add(arg, arena_strf(a, "crd//%.*s", STR_ARG(doc_name(after ? after : before))));
}

/* "api//NAME" in the queue */
static void service_changed(void *arg, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = arena_new();

	ctl_add(arg, arena_strf(a, "api//%.*s", STR_ARG(doc_name(after ? after : before))));
}

static void add_builtin(struct ctl *c, struct garbage *g, struct known_kind k, bool shared)
{
	struct row *r = xcalloc(1, sizeof(*r));

	r->c = c;
	r->k = k;
	r->own = !shared;
	r->i = shared ? ctl_informer(c, k.res) :
			informer_new(c->client, (struct informer_opts){ .res = k.res, .loop = g->loop });
	add_row(g, r);
}

static void *state_new(struct ctl *c)
{
	struct garbage *g = xcalloc(1, sizeof(*g));

	c->state = g; /* handlers may run before this returns */
	task_mutex_init(&g->lock);
	g->loop = informer_loop_new();
	for (size_t k = 0; k < ARRAY_LEN(kinds_shared); k++)
		add_builtin(c, g, kinds_shared[k], true);
	for (size_t k = 0; k < ARRAY_LEN(kinds_quiet); k++)
		add_builtin(c, g, kinds_quiet[k], false);
	informer_on(ctl_informer(c, res_customresourcedefinitions), definition_changed, c);
	informer_on(ctl_informer(c, res_apiservices), service_changed, c);
	for (size_t k = 0; k < g->n; k++)
		if (g->rows[k]->own)
			informer_start(g->rows[k]->i);
	return g;
}

static void state_free(void *state)
{
	struct garbage *g = state;

	for (size_t i = 0; i < g->n; i++) /* handlers of one look at others */
		if (g->rows[i] && g->rows[i]->own)
			informer_stop(g->rows[i]->i);
	for (size_t i = 0; i < g->n; i++)
		row_unref(g->rows[i]);
	informer_loop_free(g->loop);
	informer_loop_free(g->other_loop);
	free(g->rows);
	task_mutex_fini(&g->lock);
	free(g);
}

static struct row *custom_row_new(struct ctl *c, struct doc *crd)
{
	struct garbage *g = c->state;
	struct arena *a = arena_new();
	struct row *r = xcalloc(1, sizeof(*r));

	r->c = c;
	r->a = a;
	r->own = true;
	if (!defined_resource(a, crd, &r->k.res)) {
		arena_free(a);
		free(r);
		return NULL;
	}
	r->k.kind = arena_cstr(a, doc_str(crd, "status.acceptedNames.kind"));
	r->k.cluster = val_is(doc_get(crd, "spec.scope"), "Cluster");
	r->i = informer_new(c->client, (struct informer_opts){ .res = r->k.res, .loop = g->loop });
	return r;
}

/* Takes the row of a definition out; own. NULL: there is none, or (keep) it fits. */
static struct row *custom_row_take(struct garbage *g, struct str crd_name, const struct row *keep)
{
	struct row *found = NULL;

	for (size_t i = N_BUILTIN; i < g->n && !found; i++) {
		struct row *r = g->rows[i];
		struct str plural, group = str_cut(crd_name, '.', &plural);

		if (!r || r->other || !str_is(group, r->k.res.group) || !str_is(plural, r->k.res.resource))
			continue;
		found = r;
		if (!keep || !gvr_eq(r->k.res, keep->k.res) || strcmp(r->k.kind, keep->k.kind) != 0)
			g->rows[i] = NULL;
	}
	return found;
}

/* What it still shows went with the definition, and nobody told. */
static void row_gone(struct ctl *c, struct row *r)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list l;

	informer_stop(r->i); /* whoever lets go of it last may be one of its handlers */
	l = informer_list(r->i, a, NULL, STR_NULL);
	for (size_t i = 0; i < l.n; i++)
		add_dependents(c, doc_uid(l.items[i]));
	row_unref(r);
}

static void follow(struct ctl *c, struct str name)
{
	auto_(doc_unref) struct doc *crd = informer_get(ctl_informer(c, res_customresourcedefinitions), STR_NULL, name);
	struct row *now = crd ? custom_row_new(c, crd) : NULL, *was;
	struct garbage *g = c->state;
	bool same;

	task_lock(&g->lock);
	was = custom_row_take(g, name, now);
	same = was && now && was->number < g->n && g->rows[was->number] == was;
	if (now && !same)
		add_row(g, now);
	task_unlock(&g->lock);
	if (same) {
		now->refs = 1;
		row_unref(now);
		return;
	}
	if (now)
		informer_start(now->i);
	if (was)
		row_gone(c, was);
}

/* ---- kinds of other servers ------------------------------------------------------------------ */

/* Under the lock: whether somebody follows the resource, in any version. */
static bool is_followed(const struct garbage *g, struct gvr r)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->rows[i] && !strcmp(g->rows[i]->k.res.group, r.group) &&
			!strcmp(g->rows[i]->k.res.resource, r.resource))
			return true;
	return false;
}

static bool has_verb(struct val verbs, const char *verb)
{
	for (struct val_iter it = val_iter(verbs); val_next(&it);)
		if (val_is(it.val, verb))
			return true;
	return false;
}

/* What can be followed and deleted. */
static bool is_collected(struct val kind)
{
	struct val verbs = val_get(kind, "verbs");

	return !str_has(val_str(val_get(kind, "name")), STR("/")) && has_verb(verbs, "list") &&
		has_verb(verbs, "watch") && has_verb(verbs, "delete");
}

static void follow_kind(struct ctl *c, const char *group, const char *version, struct val kind)
{
	struct garbage *g = c->state;
	struct arena *a = arena_new();
	struct row *r = xcalloc(1, sizeof(*r));

	*r = (struct row){ .c = c, .a = a, .own = true, .other = true };
	r->k.res = (struct gvr){ arena_strdup(a, group), arena_strdup(a, version),
		arena_cstr(a, val_str(val_get(kind, "name"))) };
	r->k.kind = arena_cstr(a, val_str(val_get(kind, "kind")));
	r->k.cluster = !val_bool(val_get(kind, "namespaced"), false);
	task_lock(&g->lock);
	bool new = !is_followed(g, r->k.res);
	if (new) {
		if (!g->other_loop)
			g->other_loop = informer_loop_new();
		r->i = informer_new(c->client, (struct informer_opts){ .res = r->k.res, .loop = g->other_loop });
		add_row(g, r);
	}
	task_unlock(&g->lock);
	if (new) {
		informer_start(r->i);
	} else {
		arena_free(a);
		free(r);
	}
}

static bool is_among(struct val kinds, const struct row *r)
{
	for (struct val_iter it = val_iter(kinds); val_next(&it);)
		if (val_is(val_get(it.val, "name"), r->k.res.resource))
			return is_collected(it.val) && val_is(val_get(it.val, "kind"), r->k.kind);
	return false;
}

/* Own: one that the group version has no more. What depended on its objects stays: nobody knows whether they are gone. */
static struct row *take_other(struct garbage *g, struct str name, struct val kinds)
{
	struct row *found = NULL;

	task_lock(&g->lock);
	for (size_t i = N_BUILTIN; i < g->n && !found; i++) {
		struct row *r = g->rows[i];
		struct str version, group = str_cut(name, '.', &version);

		if (!r || !r->other || !str_is(group, r->k.res.group) || !str_is(version, r->k.res.version) ||
			is_among(kinds, r))
			continue;
		found = r;
		g->rows[i] = NULL;
	}
	task_unlock(&g->lock);
	return found;
}

static void follow_server(struct ctl *c, struct arena *a, struct str name)
{
	auto_(doc_unref) struct doc *service = informer_get(ctl_informer(c, res_apiservices), STR_NULL, name),
				    *said = NULL;
	bool there = service && val_has(doc_get(service, "spec.service"));
	const char *group = there ? arena_cstr(a, doc_str(service, "spec.group")) : "",
		   *version = there ? arena_cstr(a, doc_str(service, "spec.version")) : "";
	struct row *gone;
	struct err e;

	err_init(&e);
	bool answered = !there || client_discover(c->client, group, version, &said, &e) >= 0;
	if (there)
		ctl_add_after(c, arena_strf(a, "api//%.*s", STR_ARG(name)), answered ? ASK_MS : ASK_SOON_MS);
	if (!answered)
		return;
	struct val kinds = said ? doc_get(said, "resources") : VAL_NONE;
	while ((gone = take_other(c->state, name, kinds))) {
		informer_stop(gone->i);
		row_unref(gone);
	}
	for (struct val_iter it = val_iter(kinds); val_next(&it);)
		if (is_collected(it.val))
			follow_kind(c, group, version, it.val);
}

/* ---- dependents ------------------------------------------------------------------------------ */

enum standing { STANDS, GONE, WAITS_FOR_US };

static void tell_namespace(struct ctl *c, struct doc *d, struct val ref)
{
	recorder_event(c->recorder, d, "Warning", "OwnerRefInvalidNamespace",
		"ownerRef [%.*s/%.*s, namespace: %.*s, name: %.*s, uid: %.*s] does not exist in namespace \"%.*s\"",
		STR_ARG(val_str(val_get(ref, "apiVersion"))), STR_ARG(val_str(val_get(ref, "kind"))),
		STR_ARG(doc_ns(d)), STR_ARG(val_str(val_get(ref, "name"))), STR_ARG(val_str(val_get(ref, "uid"))),
		STR_ARG(doc_ns(d)));
}

static int standing_of(struct ctl *c, struct doc *d, struct val ref, enum standing *ret, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct row *r = kind_of(c, a, ref);
	struct str uid = val_str(val_get(ref, "uid")), name = val_str(val_get(ref, "name")), ns;
	auto_(doc_unref) struct doc *owner = NULL, *said = NULL;

	*ret = STANDS;
	if (!r) /* of a kind that we do not watch: better kept than lost */
		return 0;
	if (!r->k.cluster && !doc_ns(d).n) { /* in which namespace? A mistake, for which nothing is deleted */
		tell_namespace(c, d, ref);
		return 0;
	}
	ns = r->k.cluster ? STR_NULL : doc_ns(d);
	owner = informer_get(r->i, ns, name);
	if (!owner || !str_eq(doc_uid(owner), uid)) {
		owner = doc_unref(owner);
		/* the informer may be behind: ask the server before anything is deleted */
		if (client_get(c->client, r->k.res, ns, name, &owner, e) < 0 && e->code != ERR_NOT_FOUND)
			return -e->code;
		/* also what a server says that does not serve the kind, or not any more */
		if (e->code && r->other && client_discover(c->client, r->k.res.group, r->k.res.version, &said, e) < 0)
			return -e->code;
		err_init(e);
	}
	if (!owner || !str_eq(doc_uid(owner), uid))
		*ret = GONE;
	else if (is_deleting(owner) && has_finalizer(owner, FOREGROUND) &&
		val_bool(val_get(ref, "blockOwnerDeletion"), false))
		*ret = WAITS_FOR_US;
	return 0;
}

static int drop_references(
	struct ctl *c, struct arena *a, struct gvr r, struct doc *d, struct node *kept, struct err *e)
{
	struct node *patch = node_pack(a, "{metadata:{uid:S, resourceVersion:S, ownerReferences:o}}", doc_uid(d),
		doc_str(d, "metadata.resourceVersion"), kept);

	if (merge_patch(c, r, d, NULL, patch, NULL, e) < 0 && e->code != ERR_NOT_FOUND)
		return err_wrap(e, "drop owners that are gone");
	err_init(e);
	return 0;
}

static int delete_dependent(struct ctl *c, struct gvr r, struct doc *d, bool foreground, struct err *e)
{
	const char *how = has_finalizer(d, ORPHAN)         ? "Orphan" :
		foreground || has_finalizer(d, FOREGROUND) ? "Foreground" :
							     "Background";
	struct client_delete o = { .uid = doc_uid(d), .grace_s = -1, .propagation = how };

	if (client_delete(c->client, r, doc_ns(d), doc_name(d), o, e) < 0 && e->code != ERR_NOT_FOUND &&
		e->code != ERR_CONFLICT)
		return err_wrap(e, "delete");
	err_init(e);
	return 0;
}

struct dependents {
	size_t n, deleting; /* deleting: those that wait for their own dependents */
};

static struct dependents dependents_of(struct ctl *c, struct arena *a, struct str uid)
{
	struct dependents d = { 0 };
	size_t n;
	struct row **rows = rows_of(c, a, &n);

	for (size_t k = 0; k < n; k++) {
		struct informer_list l = informer_list(rows[k]->i, a, "owners", uid);

		d.n += l.n;
		for (size_t i = 0; i < l.n; i++)
			d.deleting += is_deleting(l.items[i]) && has_finalizer(l.items[i], FOREGROUND);
	}
	return d;
}

/* A circle: its owner waits for it, and it would wait for one that waits itself. So it lets its owners go first. */
static int unblock_owners(struct ctl *c, struct arena *a, struct gvr r, struct doc *d, struct err *e)
{
	struct node *refs = node_list(a);

	for (struct val_iter it = val_iter(doc_get(d, "metadata.ownerReferences")); val_next(&it);) {
		struct node *ref = node_from(a, it.val);

		node_setc(ref, "blockOwnerDeletion", node_bool(a, false));
		node_add(refs, ref);
	}
	return drop_references(c, a, r, d, refs, e);
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
	struct dependents own = waits ? dependents_of(c, a, doc_uid(d)) : (struct dependents){ 0 };
	if (own.deleting && unblock_owners(c, a, r, d, e) < 0)
		return -e->code;
	return delete_dependent(c, r, d, own.n > 0, e);
}

/* ---- owners that are going ------------------------------------------------------------------- */

static int remove_finalizer(
	struct ctl *c, struct arena *a, struct gvr r, struct doc *d, const char *name, struct err *e)
{
	struct node *kept = node_list(a), *patch;

	for (struct val_iter it = val_iter(doc_get(d, "metadata.finalizers")); val_next(&it);)
		if (!val_is(it.val, name))
			node_add(kept, node_from(a, it.val));
	patch = node_pack(a, "{metadata:{uid:S, resourceVersion:S, finalizers:o}}", doc_uid(d),
		doc_str(d, "metadata.resourceVersion"), kept);
	if (merge_patch(c, r, d, NULL, patch, NULL, e) < 0 && e->code != ERR_NOT_FOUND)
		return err_wrap(e, "remove finalizer %s", name);
	err_init(e);
	return 0;
}

static bool blocks(struct doc *dependent, struct str owner_uid)
{
	for (struct val_iter it = val_iter(doc_get(dependent, "metadata.ownerReferences")); val_next(&it);)
		if (str_eq(val_str(val_get(it.val, "uid")), owner_uid) &&
			val_bool(val_get(it.val, "blockOwnerDeletion"), false))
			return true;
	return false;
}

static int go_last(struct ctl *c, struct arena *a, struct gvr r, struct doc *owner, struct err *e)
{
	size_t n;
	struct row **rows = rows_of(c, a, &n);
	bool wait = false;

	for (size_t k = 0; k < n; k++) {
		struct informer_list l = informer_list(rows[k]->i, a, "owners", doc_uid(owner));

		for (size_t i = 0; i < l.n; i++) {
			wait |= blocks(l.items[i], doc_uid(owner));
			if (!is_deleting(l.items[i]))
				add_key(rows[k], l.items[i]);
		}
	}
	return wait ? 0 : remove_finalizer(c, a, r, owner, FOREGROUND, e);
}

static int let_go(struct ctl *c, struct arena *a, struct gvr r, struct doc *owner, struct err *e)
{
	size_t n;
	struct row **rows = rows_of(c, a, &n);

	for (size_t k = 0; k < n; k++) {
		struct informer_list l = informer_list(rows[k]->i, a, "owners", doc_uid(owner));

		for (size_t i = 0; i < l.n; i++) {
			struct node *kept = node_list(a);

			for (struct val_iter it = val_iter(doc_get(l.items[i], "metadata.ownerReferences"));
				val_next(&it);)
				if (!str_eq(val_str(val_get(it.val, "uid")), doc_uid(owner)))
					node_add(kept, node_from(a, it.val));
			if (drop_references(c, a, rows[k]->k.res, l.items[i], kept, e) < 0)
				return -e->code;
		}
	}
	return remove_finalizer(c, a, r, owner, ORPHAN, e);
}

static struct row *row_by_number(struct ctl *c, struct arena *a, struct str number)
{
	struct garbage *g = c->state;
	struct row *r = NULL;
	uint64_t k;

	if (!str_u64(number, &k))
		return NULL;
	task_lock(&g->lock);
	if (k < g->n)
		r = row_ref(g->rows[k]);
	task_unlock(&g->lock);
	if (r)
		arena_hold(a, r, row_unref);
	return r;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str number, ns, name = str_cut(str_cut(key, '/', &number), '/', &ns);
	struct row *r = row_by_number(c, a, number);
	auto_(doc_unref) struct doc *d = NULL;

	if (str_is(number, "crd"))
		follow(c, name);
	if (str_is(number, "api"))
		follow_server(c, a, name);
	if (!r)
		return 0;
	d = informer_get(r->i, ns, name);
	if (!d)
		return 0;
	if (is_deleting(d) && has_finalizer(d, ORPHAN))
		return let_go(c, a, r->k.res, d, e);
	if (is_deleting(d) && has_finalizer(d, FOREGROUND))
		return go_last(c, a, r->k.res, d, e);
	if (is_deleting(d))
		return 0;
	return check_owners(c, a, r->k.res, d, e);
}

const struct controller garbage_collector = {
	.name = "generic-garbage-collector",
	.help = "deletes what nobody owns any more",
	.reconcile = reconcile,
	.state_new = state_new,
	.state_free = state_free,
};

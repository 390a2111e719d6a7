/* What a node may do: its own Node and Lease, the pods bound to it, and what these pods refer to.
 * Sources: the Kubernetes documentation, "Using Node Authorization" and "NodeRestriction". */
#include "api/auth/auth.h"
#include "claims/claims.h"

#define NODE_USER STR("system:node:")

struct str identity_node(const struct identity *id)
{
	if (!str_starts(id->user, NODE_USER) || !identity_in_group(id, "system:nodes"))
		return STR_NULL;
	return str_sub(id->user, NODE_USER.n, id->user.n);
}

struct node_rule {
	const char *group, *resources, *verbs;
};

/* Needs no look at the object; narrower questions (secrets, pods …) are answered below. */
static const struct node_rule node_rules[] = {
	{ "", "services namespaces endpoints", "get list watch" },
	{ "", "nodes", "create" },
	{ "", "nodes nodes/status", "update patch" },
	{ "", "pods", "create" },
	{ "", "events", "create update patch" },
	{ "events.k8s.io", "events", "create update patch" },
	{ "discovery.k8s.io", "endpointslices", "get list watch" },
	{ "networking.k8s.io", "networkpolicies", "get list watch" },
	{ "node.k8s.io", "runtimeclasses", "get list watch" },
	{ "storage.k8s.io", "csidrivers", "get list watch" },
	{ "storage.k8s.io", "csinodes", "create update patch delete" },
	{ "certificates.k8s.io", "certificatesigningrequests", "create get list watch" },
	{ "authentication.k8s.io", "tokenreviews", "create" },
	{ "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews", "create" },
};

static bool has_word(const char *words, struct str word)
{
	for (struct str part, rest = str_c(words); str_next(&rest, ' ', &part);)
		if (str_eq(part, word))
			return true;
	return false;
}

static bool rule_list_allows(const struct authz_attrs *at)
{
	char full[160];
	size_t n = at->resource.n + (at->sub.n ? 1 + at->sub.n : 0);

	if (n >= sizeof(full))
		return false;
	memcpy(full, at->resource.p, at->resource.n);
	if (at->sub.n) {
		full[at->resource.n] = '/';
		memcpy(full + at->resource.n + 1, at->sub.p, at->sub.n);
	}
	for (size_t i = 0; i < ARRAY_LEN(node_rules); i++)
		if (str_is(at->group, node_rules[i].group) && has_word(node_rules[i].resources, str_n(full, n)) &&
			has_word(node_rules[i].verbs, at->verb))
			return true;
	return false;
}

/* Its own, by name; and what is attached to it. Of other nodes, and what runs there, it learns nothing. */
static bool is_its_own(struct api *api, struct str node, const struct authz_attrs *at)
{
	auto_(doc_unref) struct doc *d = NULL;
	bool storage = str_is(at->group, "storage.k8s.io");

	if (at->sub.n || !at->name.n)
		return false;
	if (!at->group.n && str_is(at->resource, "nodes"))
		return has_word("get list watch", at->verb) && str_eq(at->name, node);
	if (!storage || !str_is(at->verb, "get"))
		return false;
	if (str_is(at->resource, "csinodes"))
		return str_eq(at->name, node);
	d = str_is(at->resource, "volumeattachments") ?
		api_get(api, "storage.k8s.io", "volumeattachments", STR_NULL, at->name) :
		NULL;
	return d && str_eq(doc_str(d, "spec.nodeName"), node);
}

static bool is_local_path_of(const struct doc *volume, struct str node)
{
	return str_eq(val_str(val_get(doc_get(volume, "metadata.labels"), LOCAL_PATH_NODE_LABEL)), node);
}

/* Folders that it made for claims: it follows them, and says in their finalizer what it has. */
static bool local_paths_allowed(struct api *api, struct str node, const struct authz_attrs *at)
{
	auto_(arena_free) struct arena *a = NULL;
	auto_(doc_unref) struct doc *volume = NULL;

	if (at->sub.n || !str_is(at->resource, "persistentvolumes"))
		return false;
	if (has_word("list watch", at->verb)) {
		a = arena_new();
		return str_eq(at->label_selector, arena_strf(a, LOCAL_PATH_NODE_LABEL "=%.*s", STR_ARG(node)));
	}
	if (!at->name.n || !has_word("get patch", at->verb))
		return false;
	volume = api_get(api, "", "persistentvolumes", STR_NULL, at->name);
	return volume && is_local_path_of(volume, node);
}

static bool volumes_allowed(struct api *api, struct str node, const struct authz_attrs *at)
{
	struct str ns = at->ns, claim = at->name;
	auto_(doc_unref) struct doc *volume = NULL;

	if (!at->name.n)
		return false;
	if (str_is(at->resource, "persistentvolumes")) {
		volume = api_get(api, "", "persistentvolumes", STR_NULL, at->name);
		if (!volume || !str_is(at->verb, "get") || at->sub.n)
			return false;
		ns = doc_str(volume, "spec.claimRef.namespace");
		claim = doc_str(volume, "spec.claimRef.name");
	} else if (!has_word(str_is(at->sub, "status") ? "get update patch" : "get", at->verb) ||
		(at->sub.n && !str_is(at->sub, "status"))) {
		return false;
	}
	return node_pods_refer(api->node_pods, node, REFERENT_CLAIM, ns, claim);
}

static bool is_bound_here(struct api *api, struct str node, struct str ns, struct str name)
{
	auto_(doc_unref) struct doc *pod = api_get(api, "", "pods", ns, name);

	return pod && str_eq(doc_str(pod, "spec.nodeName"), node);
}

/* Read as the list itself will read it: a comma may be escaped. */
static bool selects_this_node(struct str field_selector, struct str node)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct field_term *terms;
	struct err e;
	size_t n;

	err_init(&e);
	if (field_selector_parse(a, field_selector, &terms, &n, &e) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (terms[i].equal && str_is(terms[i].field, "spec.nodeName") && str_eq(terms[i].value, node))
			return true;
	return false;
}

static bool pods_allowed(struct api *api, struct str node, const struct authz_attrs *at)
{
	const char *verbs = !at->sub.n      ? "get delete" :
		str_is(at->sub, "status")   ? "get update patch" :
		str_is(at->sub, "eviction") ? "create" :
					      "";

	if (str_is(at->verb, "list") || str_is(at->verb, "watch"))
		return !at->sub.n &&
			(selects_this_node(at->field_selector, node) ||
				(at->name.n && is_bound_here(api, node, at->ns, at->name)));
	return has_word(verbs, at->verb) && at->name.n && is_bound_here(api, node, at->ns, at->name);
}

bool node_allowed(struct api *api, struct str node, const struct authz_attrs *at)
{
	bool reads = has_word("get list watch", at->verb);

	if (!at->resource_request)
		return false;
	if (str_is(at->group, "coordination.k8s.io") && str_is(at->resource, "leases"))
		return str_is(at->ns, "kube-node-lease") && (str_is(at->verb, "create") || str_eq(at->name, node));
	if (!at->group.n && (str_is(at->resource, "secrets") || str_is(at->resource, "configmaps"))) {
		enum referent kind = str_is(at->resource, "secrets") ? REFERENT_SECRET : REFERENT_CONFIGMAP;

		if (kind == REFERENT_CONFIGMAP && str_is(at->ns, "kube-system") && str_is(at->name, "kube-dns"))
			return reads; /* where cluster DNS, a part of the node, asks */
		return reads && node_pods_refer(api->node_pods, node, kind, at->ns, at->name);
	}
	if (!at->group.n &&
		(str_is(at->resource, "persistentvolumeclaims") || str_is(at->resource, "persistentvolumes")))
		return volumes_allowed(api, node, at) || local_paths_allowed(api, node, at);
	if (!at->group.n && str_is(at->resource, "serviceaccounts"))
		return str_is(at->sub, "token") && str_is(at->verb, "create") &&
			node_pods_refer(api->node_pods, node, REFERENT_SERVICE_ACCOUNT, at->ns, at->name);
	if (!at->group.n && str_is(at->resource, "pods") && (at->sub.n || !str_is(at->verb, "create")))
		return pods_allowed(api, node, at);
	return rule_list_allows(at) || is_its_own(api, node, at);
}

/* ---- NodeRestriction ------------------------------------------------------------------------- */

static int forbidden(struct rq *rq, struct err *e, const char *what)
{
	return err_set(e, ERR_FORBIDDEN, "%s \"%.*s\" is forbidden: %s",
		rq->res->group_resource[0] ? rq->res->group_resource : rq->res->def.resource, STR_ARG(rq->name), what);
}

static bool below(struct str domain, const char *of)
{
	size_t n = strlen(of);

	return str_is(domain, of) ||
		(domain.n > n && str_is(str_sub(domain, domain.n - n, domain.n), of) &&
			domain.p[domain.n - n - 1] == '.');
}

/* Labels that would let a node draw to itself what is meant for others. */
static bool is_for_others(struct str label)
{
	static const char *const own[] = { "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch",
		"beta.kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type",
		"topology.kubernetes.io/zone", "topology.kubernetes.io/region",
		"failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region" };
	struct str domain, rest = str_cut(label, '/', &domain);

	if (!rest.p || !(below(domain, "kubernetes.io") || below(domain, "k8s.io")))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (str_is(label, own[i]))
			return false;
	return !below(domain, "kubelet.kubernetes.io") && !below(domain, "node.kubernetes.io");
}

const char *node_given_label(const struct api *api, struct str name)
{
	return api->opts.own_node && str_is(name, api->opts.own_node) ? "node-role.kubernetes.io/control-plane" : NULL;
}

/* A label of a, for others, that b does not have; empty: there is none. `but` is nobody's business; or NULL. */
static struct str other_label(struct val a, struct val b, const char *but)
{
	for (struct val_iter it = val_iter(a); val_next(&it);)
		if (is_for_others(it.key) && !(but && str_is(it.key, but)) &&
			!val_equal(it.val, val_get_str(b, it.key)))
			return it.key;
	return STR_NULL;
}

static int restrict_node(struct rq *rq, struct str node, struct val object, struct val old, struct err *e)
{
	struct val is = val_get(object, "metadata"), was = val_get(old, "metadata"), labels = val_get(is, "labels");
	struct str name = val_str(val_get(val_has(object) ? is : was, "name")), label;

	if (!str_eq(name, node))
		return forbidden(rq, e, "a node may change only itself");
	if (!val_has(object))
		return 0;
	label = other_label(labels, val_get(was, "labels"), val_has(old) ? NULL : node_given_label(rq->api, name));
	if (!label.n)
		label = other_label(val_get(was, "labels"), labels, NULL);
	if (label.n)
		return forbidden(rq, e, rq_f(rq, "a node may not set its label %.*s", STR_ARG(label)));
	if (!val_has(old))
		return 0;
	if (!val_equal(val_path(object, "spec.taints"), val_path(old, "spec.taints")))
		return forbidden(rq, e, "a node may not change its taints");
	if (!val_equal(val_get(is, "ownerReferences"), val_get(was, "ownerReferences")))
		return forbidden(rq, e, "a node may not change its ownerReferences");
	return 0;
}

static bool is_owned_by(struct rq *rq, struct val owners, struct str node)
{
	auto_(doc_unref) struct doc *d = api_get(rq->api, "", "nodes", STR_NULL, node);
	struct val o = val_at(owners, 0);

	return d && val_len(owners) == 1 && val_is(val_get(o, "apiVersion"), "v1") &&
		val_is(val_get(o, "kind"), "Node") && str_eq(val_str(val_get(o, "name")), node) &&
		str_eq(val_str(val_get(o, "uid")), doc_uid(d)) && val_bool(val_get(o, "controller"), false) &&
		!val_bool(val_get(o, "blockOwnerDeletion"), false);
}

/* It would read what it makes its pod refer to. */
static int restrict_new_pod(struct rq *rq, struct str node, struct val pod, struct err *e)
{
	if (!val_has(val_get(val_path(pod, "metadata.annotations"), "kubernetes.io/config.mirror")))
		return forbidden(rq, e, "a node may create only mirror pods");
	if (!is_owned_by(rq, val_path(pod, "metadata.ownerReferences"), node))
		return forbidden(rq, e, "a node may create only pods that it owns alone, as their controller");
	if (node_pods_refers_to_any(pod))
		return forbidden(rq, e,
			"a node may not create pods that refer to service accounts, secrets, configmaps or claims");
	return 0;
}

static int restrict_pod(struct rq *rq, struct str node, struct val object, struct val old, struct err *e)
{
	struct val pod = val_has(old) ? old : object;

	if (!str_eq(val_str(val_path(pod, "spec.nodeName")), node))
		return forbidden(rq, e, "a node may change only pods that are bound to it");
	if (!val_has(old))
		return restrict_new_pod(rq, node, object, e);
	if (!val_has(object))
		return 0;
	if (!str_is(rq->sub, "status"))
		return forbidden(rq, e, "a node may change only the status of its pods");
	if (!val_equal(val_path(object, "metadata.labels"), val_path(old, "metadata.labels")))
		return forbidden(rq, e, "a node may not change labels through the status");
	return 0;
}

bool auth_same_but(struct val a, struct val b, const char *names)
{
	for (struct val_iter it = val_iter(a); val_next(&it);)
		if (!has_word(names, it.key) && !val_equal(it.val, val_get_str(b, it.key)))
			return false;
	for (struct val_iter it = val_iter(b); val_next(&it);)
		if (!has_word(names, it.key) && !val_has(val_get_str(a, it.key)))
			return false;
	return true;
}

static bool keeps_finalizers(struct val a, struct val b)
{
	for (struct val_iter it = val_iter(a); val_next(&it);) {
		bool found = val_is(it.val, LOCAL_PATH_FINALIZER);

		for (struct val_iter other = val_iter(b); !found && val_next(&other);)
			found = val_equal(it.val, other.val);
		if (!found)
			return false;
	}
	return true;
}

static int restrict_volume(struct rq *rq, struct val object, struct val old, struct err *e)
{
	struct val was = val_path(old, "metadata.finalizers"), is = val_path(object, "metadata.finalizers");

	if (val_has(object) && val_has(old) && auth_same_but(object, old, "metadata") &&
		auth_same_but(val_get(object, "metadata"), val_get(old, "metadata"),
			"finalizers managedFields resourceVersion") &&
		keeps_finalizers(was, is) && keeps_finalizers(is, was))
		return 0;
	return forbidden(rq, e, "a node may change only the finalizer " LOCAL_PATH_FINALIZER " of its volumes");
}

/* Its size, and how it grows: no labels, finalizers or owners by way of the status. */
static int restrict_claim(struct rq *rq, struct val object, struct val old, struct err *e)
{
	if (val_has(object) && val_has(old) && auth_same_but(object, old, "metadata status") &&
		auth_same_but(val_get(object, "metadata"), val_get(old, "metadata"), "managedFields resourceVersion") &&
		auth_same_but(val_get(object, "status"), val_get(old, "status"),
			"capacity conditions allocatedResources allocatedResourceStatuses"))
		return 0;
	return forbidden(rq, e, "a node may change only capacity and conditions of its claims");
}

int authz_node_restriction(struct rq *rq, struct val object, struct val old, struct err *e)
{
	struct str node = identity_node(&rq->id);
	const char *resource = rq->res->def.resource;

	if (!node.n || rq->api->opts.no_authz)
		return 0;
	if (!rq->group.n && !strcmp(resource, "nodes"))
		return restrict_node(rq, node, object, old, e);
	if (!rq->group.n && !strcmp(resource, "pods") && !str_is(rq->sub, "eviction"))
		return restrict_pod(rq, node, object, old, e);
	if (!rq->group.n && !strcmp(resource, "persistentvolumes"))
		return restrict_volume(rq, object, old, e);
	if (!rq->group.n && !strcmp(resource, "persistentvolumeclaims"))
		return restrict_claim(rq, object, old, e);
	if (!strcmp(resource, "certificatesigningrequests") && !val_has(old) && !csr_fits_node(rq, object, node))
		return forbidden(rq, e, rq_f(rq, "can only create a node CSR with CN=system:node:%.*s", STR_ARG(node)));
	if ((!strcmp(resource, "leases") || !strcmp(resource, "csinodes")) &&
		!str_eq(val_str(val_path(val_has(object) ? object : old, "metadata.name")), node))
		return forbidden(rq, e, "a node may change only what has its own name");
	return 0;
}

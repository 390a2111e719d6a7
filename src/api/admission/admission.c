/* Admission: what the cluster decides about an object, in the order in which write.c asks.
 * Changes, before the kind's own rules: NamespaceLifecycle, LimitRanger, ServiceAccount, Priority,
 * DefaultTolerationSeconds, the plugins of admit_defaults.c. The object may have no name yet; messages use rq->name.
 * Writer, still before them: NodeRestriction, role escalation.
 * Checks, of an object that is right: LimitRanger, PodSecurity, the plugins of strategy_csr.c, PersistentVolumeClaimResize; then webhooks and
 * ResourceQuota. */
#include "api/auth/auth.h"
#include <stdio.h>
#define LOG_MODULE "api"

#define TOKEN_PATH "/var/run/secrets/kubernetes.io/serviceaccount"

int admit_forbid(struct rq *rq, struct str name, struct err *e, const char *why)
{
	return err_set(e, ERR_FORBIDDEN, "%s \"%.*s\" is forbidden: %s", rq->res->group_resource, STR_ARG(name), why);
}

/* ---- NamespaceLifecycle ---------------------------------------------------------------------- */

static int namespace_lifecycle(struct rq *rq, struct err *e)
{
	struct doc *ns;

	if (!rq->res->def.namespaced || !strcmp(rq->res->def.group, "authorization.k8s.io"))
		return 0; /* whoever asks what he may do hears nothing of namespaces */
	ns = api_get(rq->api, "", "namespaces", STR_NULL, rq->ns);
	if (!ns) {
		status_about(rq, "", "namespaces", rq->ns);
		return err_set(e, ERR_NOT_FOUND, "namespaces \"%.*s\" not found", STR_ARG(rq->ns));
	}
	bool ending = val_has(doc_get(ns, "metadata.deletionTimestamp"));
	doc_unref(ns);
	/* What tells that a namespace ends must still be written. */
	if (!ending || !strcmp(rq->res->def.resource, "events"))
		return 0;
	err_set(e, ERR_FORBIDDEN,
		"%s \"%.*s\" is forbidden: unable to create new content in namespace %.*s because it is being terminated",
		rq->res->group_resource, STR_ARG(rq->name), STR_ARG(rq->ns));
	err_cause(
		e, "NamespaceTerminating", "metadata.namespace", "namespace %.*s is being terminated", STR_ARG(rq->ns));
	return -ERR_FORBIDDEN;
}

int admit_action(struct rq *rq, struct err *e)
{
	return namespace_lifecycle(rq, e);
}

static bool immortal(struct str name)
{
	return str_is(name, "default") || str_is(name, "kube-system") || str_is(name, "kube-public") ||
		str_is(name, "kube-node-lease");
}

/* ---- ServiceAccount -------------------------------------------------------------------------- */

static bool mounts_token(struct node *container)
{
	struct node *mounts = node_getc(container, "volumeMounts");

	for (size_t i = 0; i < node_len(mounts); i++)
		if (str_is(node_text_str(node_getc(node_at(mounts, i), "mountPath")), TOKEN_PATH))
			return true;
	return false;
}

static bool mount_in(struct rq *rq, struct node *spec, const char *list, const char *volume)
{
	struct node *containers = node_getc(spec, list);
	bool used = false;

	for (size_t i = 0; i < node_len(containers); i++) {
		struct node *c = node_at(containers, i);
		if (mounts_token(c))
			continue;
		node_add(node_need_list(c, "volumeMounts"),
			node_pack(rq->a, "{name:s, readOnly:true, mountPath:s}", volume, TOKEN_PATH));
		used = true;
	}
	return used;
}

static void inject_token(struct rq *rq, struct node *spec)
{
	static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
	struct node *volumes = node_getc(spec, "volumes");
	const char *name = NULL;

	for (size_t i = 0; i < node_len(volumes); i++) {
		struct str n = node_text_str(node_getc(node_at(volumes, i), "name"));
		if (str_starts(n, STR("kube-api-access-")))
			name = arena_cstr(rq->a, n);
	}
	bool found = name != NULL;
	if (!found) {
		char suffix[6] = "";
		for (int i = 0; i < 5; i++)
			suffix[i] = alphabet[rand_below(sizeof(alphabet) - 1)];
		name = rq_f(rq, "kube-api-access-%s", suffix);
	}
	bool used = mount_in(rq, spec, "initContainers", name);
	used |= mount_in(rq, spec, "containers", name);
	if (found || !used)
		return;
	node_add(node_need_list(spec, "volumes"),
		node_pack(rq->a,
			"{name:s, projected:{sources:["
			"{serviceAccountToken:{expirationSeconds:3607, path:'token'}},"
			"{configMap:{name:'kube-root-ca.crt', items:[{key:'ca.crt', path:'ca.crt'}]}},"
			"{downwardAPI:{items:[{path:'namespace', fieldRef:{apiVersion:'v1', fieldPath:'metadata.namespace'}}]}}"
			"], defaultMode:420}}",
			name));
}

static int service_account(struct rq *rq, struct node *pod, struct err *e)
{
	struct node *spec = node_need_map(pod, "spec");
	struct node *notes = node_path(pod, "metadata.annotations");
	struct str name = node_text_str(node_getc(spec, "serviceAccountName"));
	struct str old_name = node_text_str(node_getc(spec, "serviceAccount"));

	if (node_getc(notes, "kubernetes.io/config.mirror")) {
		if (name.n)
			return err_set(e, ERR_FORBIDDEN,
				"pods \"%.*s\" is forbidden: a mirror pod may not reference service accounts",
				STR_ARG(rq->name));
		return 0;
	}
	if (!name.n)
		name = old_name.n ? old_name : STR("default");
	node_setc(spec, "serviceAccountName", node_str(rq->a, name));
	node_setc(spec, "serviceAccount", node_str(rq->a, name));
	struct doc *sa = api_get(rq->api, "", "serviceaccounts", rq->ns, name);
	if (!sa)
		return err_set(e, ERR_FORBIDDEN,
			"pods \"%.*s\" is forbidden: error looking up service account %.*s/%.*s: serviceaccount \"%.*s\" not found",
			STR_ARG(rq->name), STR_ARG(rq->ns), STR_ARG(name), STR_ARG(name));
	bool wanted = node_bool_of(
		node_getc(spec, "automountServiceAccountToken"), doc_bool(sa, "automountServiceAccountToken", true));
	struct val secrets = doc_get(sa, "imagePullSecrets");
	if (!node_len(node_getc(spec, "imagePullSecrets")) && val_len(secrets))
		node_setc(spec, "imagePullSecrets", node_from(rq->a, secrets));
	if (wanted)
		inject_token(rq, spec);
	int rc = admit_secrets(rq, spec, sa, e);
	doc_unref(sa);
	return rc;
}

/* ---- Priority -------------------------------------------------------------------------------- */

static struct doc *default_priority_class(struct rq *rq)
{
	struct cache *c = api_cache(rq->api, "scheduling.k8s.io", "priorityclasses");
	int64_t rev;
	struct doc *best = NULL;
	struct cache_list l = cache_list(c, rq->a, STR(""), STR_NULL, 0, &rev);

	for (size_t i = 0; i < l.n; i++)
		if (doc_bool(l.items[i].doc, "globalDefault", false) &&
			(!best || doc_int(l.items[i].doc, "value", 0) < doc_int(best, "value", 0)))
			best = l.items[i].doc;
	return best ? doc_ref(best) : NULL;
}

static int priority(struct rq *rq, struct node *pod, struct err *e)
{
	struct node *spec = node_need_map(pod, "spec");
	struct str name = node_text_str(node_getc(spec, "priorityClassName"));
	struct node *given = node_getc(spec, "priority");
	struct doc *pc = name.n ? api_get(rq->api, "scheduling.k8s.io", "priorityclasses", STR_NULL, name) :
				  default_priority_class(rq);

	if (name.n && !pc)
		return err_set(e, ERR_FORBIDDEN,
			"pods \"%.*s\" is forbidden: no PriorityClass with name %.*s was found", STR_ARG(rq->name),
			STR_ARG(name));
	int64_t value = pc ? doc_int(pc, "value", 0) : 0;
	struct str preempt = pc ? doc_str(pc, "preemptionPolicy") : STR_NULL,
		   said = node_text_str(node_getc(spec, "preemptionPolicy"));
	int rc = 0;

	if (!preempt.n)
		preempt = STR("PreemptLowerPriority");
	if (given && node_int_of(given, 0) != value) {
		rc = err_set(e, ERR_FORBIDDEN,
			"pods \"%.*s\" is forbidden: the integer value of priority (%lld) must not be provided in pod spec; priority admission controller computed %lld from the given PriorityClass name",
			STR_ARG(rq->name), (long long)node_int_of(given, 0), (long long)value);
	} else if (said.n && !str_eq(said, preempt)) {
		rc = err_set(e, ERR_FORBIDDEN,
			"pods \"%.*s\" is forbidden: the string value of PreemptionPolicy (%.*s) must not be provided in pod spec; priority admission controller computed %.*s from the given PriorityClass name",
			STR_ARG(rq->name), STR_ARG(said), STR_ARG(preempt));
	} else {
		if (pc && !name.n)
			node_setc(spec, "priorityClassName", node_str(rq->a, doc_name(pc)));
		node_setc(spec, "priority", node_int(rq->a, value));
		node_setc(spec, "preemptionPolicy", node_str(rq->a, preempt));
	}
	doc_unref(pc);
	return rc;
}

/* Of two defaults nobody could say which counts. */
static int one_default(struct rq *rq, struct val class, struct val old, struct err *e)
{
	auto_(doc_unref) struct doc *has =
		val_bool(val_get(class, "globalDefault"), false) ? default_priority_class(rq) : NULL;

	if (!has || str_eq(doc_name(has), val_str(val_path(class, "metadata.name"))))
		return 0;
	return admit_forbid(rq, rq->name, e,
		rq_f(rq, "PriorityClass %.*s is already marked as default. Only one default can exist",
			STR_ARG(doc_name(has))));
}

/* What was computed at the pod's creation is not for its writers to repeat. */
static void keep_priority(struct rq *rq, struct node *pod, struct val old)
{
	static const char *const fields[] = { "priority", "preemptionPolicy" };
	struct node *spec = node_need_map(pod, "spec");

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		struct val was = val_get(val_get(old, "spec"), fields[i]);

		if (val_has(was) && !node_getc(spec, fields[i]))
			node_setc(spec, fields[i], node_from(rq->a, was));
	}
}

/* ---- DefaultTolerationSeconds ---------------------------------------------------------------- */

static bool tolerates(struct node *list, const char *key)
{
	for (size_t i = 0; i < node_len(list); i++) {
		struct node *t = node_at(list, i);
		struct str k = node_text_str(node_getc(t, "key")), effect = node_text_str(node_getc(t, "effect"));
		if ((str_is(k, key) || !k.n) && (!effect.n || str_is(effect, "NoExecute")))
			return true;
	}
	return false;
}

static void default_tolerations(struct rq *rq, struct node *pod)
{
	static const char *const keys[] = { "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable" };
	struct node *spec = node_need_map(pod, "spec");

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (!tolerates(node_getc(spec, "tolerations"), keys[i]))
			node_add(node_need_list(spec, "tolerations"),
				node_pack(rq->a,
					"{key:s, operator:'Exists', effect:'NoExecute', tolerationSeconds:300}",
					keys[i]));
}

static int admit_pod(struct rq *rq, struct node *pod, struct err *e)
{
	int rc;

	admit_limits_default(rq, pod);
	rc = service_account(rq, pod, e);
	if (rc >= 0)
		rc = priority(rq, pod, e);
	if (rc >= 0)
		default_tolerations(rq, pod);
	return rc;
}

/* ---- the chain ------------------------------------------------------------------------------- */

int admit_mutate(struct rq *rq, struct node *object, struct val old, struct err *e)
{
	bool create = !val_has(old), pods = !strcmp(rq->res->def.resource, "pods") && !rq->res->def.group[0];
	int rc = 0;

	if (create && (rc = namespace_lifecycle(rq, e)) < 0)
		return rc;
	if (create && pods)
		rc = admit_pod(rq, object, e);
	if (!create && pods && !rq->sub.n) {
		keep_priority(rq, object, old);
		default_tolerations(rq, object); /* they may not be taken away */
	}
	return rc < 0 || !create ? rc : admit_defaults(rq, object, e);
}

int admit_writer(struct rq *rq, struct val object, struct val old, struct err *e)
{
	int rc;

	if (rq->api->opts.no_authz)
		return 0;
	rc = authz_node_restriction(rq, object, old, e);
	if (rc >= 0 && !strcmp(rq->res->def.group, "rbac.authorization.k8s.io"))
		rc = authz_check_grant(rq, object, old, e);
	return rc;
}

static const struct {
	const char *group, *resource;
	int (*check)(struct rq *rq, struct val object, struct val old, struct err *e);
} checks[] = {
	{ "", "namespaces", podsecurity_namespace },
	{ "", "persistentvolumeclaims", admit_claim_size },
	{ "certificates.k8s.io", "certificatesigningrequests", csr_admit },
	{ "scheduling.k8s.io", "priorityclasses", one_default },
};

int admit_check(struct rq *rq, struct val object, struct val old, struct err *e)
{
	const struct resource_def *def = &rq->res->def;
	int rc = admit_limits_check(rq, object, old, e);

	if (rc >= 0)
		rc = podsecurity_check(rq, object, old, e);
	for (size_t i = 0; rc >= 0 && i < ARRAY_LEN(checks); i++)
		if (!strcmp(def->group, checks[i].group) && !strcmp(def->resource, checks[i].resource))
			rc = checks[i].check(rq, object, old, e);
	return rc;
}

int admit_delete(struct rq *rq, struct val old, struct err *e)
{
	struct str name = val_str(val_path(old, "metadata.name"));

	if (!strcmp(rq->res->def.resource, "namespaces") && immortal(name))
		return err_set(e, ERR_FORBIDDEN, "namespaces \"%.*s\" is forbidden: this namespace may not be deleted",
			STR_ARG(name));
	if (rq->api->opts.no_authz)
		return 0;
	return authz_node_restriction(rq, VAL_NONE, old, e);
}

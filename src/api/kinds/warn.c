/* What a write is warned of although it is accepted: what is deprecated, and what does not do what it seems to. The
 * sentences are upstream's (pkg/api/pod/warnings.go, pkg/api/node/util.go, pkg/api/service/warnings.go). */
#include "api/api_internal.h"
#define LOG_MODULE "api"

struct word {
	const char *key, *why;
};

/* A pod, or the template of one. */
struct pod {
	struct val spec, meta;
	const char *prefix; /* of all its paths: "" or "spec.template." */
	const char *at;     /* path of the spec */
};

static const struct word old_labels[] = {
	{ "beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead" },
	{ "beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead" },
	{ "failure-domain.beta.kubernetes.io/region",
		"deprecated since v1.17; use \"topology.kubernetes.io/region\" instead" },
	{ "failure-domain.beta.kubernetes.io/zone",
		"deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead" },
	{ "beta.kubernetes.io/instance-type",
		"deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead" },
	{ NULL },
};

static const struct word old_annotations[] = {
	{ "scheduler.alpha.kubernetes.io/critical-pod",
		"non-functional in v1.16+; use the \"priorityClassName\" field instead" },
	{ "security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead" },
	{ "security.alpha.kubernetes.io/unsafe-sysctls",
		"non-functional in v1.11+; use the \"sysctls\" field instead" },
	{ NULL },
};

static const struct word old_volumes[] = {
	{ "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+" },
	{ "gitRepo", "deprecated in v1.11" },
	{ "scaleIO", "deprecated in v1.16, non-functional in v1.22+" },
	{ "flocker", "deprecated in v1.22, non-functional in v1.25+" },
	{ "storageos", "deprecated in v1.22, non-functional in v1.25+" },
	{ "quobyte", "deprecated in v1.22, non-functional in v1.25+" },
	{ "glusterfs", "deprecated in v1.25, non-functional in v1.26+" },
	{ "cephfs", "deprecated in v1.28, non-functional in v1.31+" },
	{ "rbd", "deprecated in v1.28, non-functional in v1.31+" },
	{ NULL },
};

static const char *why_old(const struct word *words, struct str key)
{
	for (; words->key; words++)
		if (str_is(key, words->key))
			return words->why;
	return NULL;
}

/* ---- where a pod may run --------------------------------------------------------------------- */

static void node_selector_term(struct rq *rq, struct val term, const char *at)
{
	for (struct val_iter it = val_iter(val_get(term, "matchExpressions")); val_next(&it);) {
		struct str key = val_str(val_get(it.val, "key"));
		const char *why = why_old(old_labels, key);

		if (why)
			rq_warn(rq, "%s.matchExpressions[%zu].key: %.*s is %s", at, it.i, STR_ARG(key), why);
	}
}

static void placement(struct rq *rq, const struct pod *p)
{
	static const char required[] = "requiredDuringSchedulingIgnoredDuringExecution",
			  preferred[] = "preferredDuringSchedulingIgnoredDuringExecution";
	struct val spec = p->spec, affinity = val_path(spec, "affinity.nodeAffinity");
	const char *at = p->at, *why;

	for (struct val_iter it = val_iter(val_get(spec, "nodeSelector")); val_next(&it);)
		if ((why = why_old(old_labels, it.key)))
			rq_warn(rq, "%s.nodeSelector[%.*s]: %s", at, STR_ARG(it.key), why);
	for (struct val_iter it = val_iter(val_get(val_get(affinity, required), "nodeSelectorTerms")); val_next(&it);)
		node_selector_term(
			rq, it.val, rq_f(rq, "%s.affinity.nodeAffinity.%s.nodeSelectorTerms[%zu]", at, required, it.i));
	for (struct val_iter it = val_iter(val_get(affinity, preferred)); val_next(&it);)
		node_selector_term(rq, val_get(it.val, "preference"),
			rq_f(rq, "%s.affinity.nodeAffinity.%s[%zu].preference", at, preferred, it.i));
	for (struct val_iter it = val_iter(val_get(spec, "topologySpreadConstraints")); val_next(&it);) {
		struct str key = val_str(val_get(it.val, "topologyKey"));
		char *path = rq_f(rq, "%s.topologySpreadConstraints[%zu]", at, it.i);

		if ((why = why_old(old_labels, key)))
			rq_warn(rq, "%s.topologyKey: %.*s is %s", path, STR_ARG(key), why);
		if (!val_has(val_get(it.val, "labelSelector")))
			rq_warn(rq, "%s.labelSelector: a null labelSelector results in matching no pod", path);
	}
}

/* ---- containers ------------------------------------------------------------------------------ */

static void whole_bytes(struct rq *rq, struct val amounts, const char *at)
{
	static const char *const bytes[] = { "memory", "ephemeral-storage" };

	for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
		struct val v = val_get(amounts, bytes[i]);
		char text[QUANTITY_TEXT_MAX];
		struct quantity q;

		if (!quantity_of(v, &q) || quantity_milli(q) % 1000 == 0)
			continue;
		quantity_text(q, text);
		rq_warn(rq, "%s[%s]: fractional byte value \"%s\" is invalid, must be an integer", at, bytes[i], text);
	}
}

/* A later variable of the same name is fine when it adds to the earlier one: X=$(X):more. */
static void environment(struct rq *rq, struct val env, const char *at)
{
	for (struct val_iter it = val_iter(env); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name")), value = val_str(val_get(it.val, "value"));
		struct str before = str_c(rq_f(rq, "$(%.*s)", STR_ARG(name)));
		bool again = false;

		for (size_t k = 0; k < it.i && !again; k++)
			again = str_eq(name, val_str(val_get(val_at(env, k), "name")));
		if (again &&
			(val_has(val_get(it.val, "valueFrom")) || str_eq(value, before) || !str_has(value, before)))
			rq_warn(rq,
				"%s.env[%zu]: hides previous definition of \"%.*s\", which may be dropped when using apply",
				at, it.i, STR_ARG(name));
	}
}

/* The field took the annotation's place. */
static void seccomp(struct rq *rq, struct val holder, const char *key, const struct pod *p)
{
	if (!val_has(val_path(holder, "securityContext.seccompProfile")) &&
		val_has(val_get(val_get(p->meta, "annotations"), key)))
		rq_warn(rq,
			"%smetadata.annotations[%s]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
			p->prefix, key);
}

static void container(struct rq *rq, struct val c, const char *at, const struct pod *p)
{
	whole_bytes(rq, val_path(c, "resources.limits"), rq_f(rq, "%s.resources.limits", at));
	whole_bytes(rq, val_path(c, "resources.requests"), rq_f(rq, "%s.resources.requests", at));
	environment(rq, val_get(c, "env"), at);
	seccomp(rq, c,
		rq_f(rq, "container.seccomp.security.alpha.kubernetes.io/%.*s", STR_ARG(val_str(val_get(c, "name")))),
		p);
}

struct port {
	struct val v;
	const char *at;
};

static bool same(struct val x, struct val y, const char *field)
{
	return val_equal(val_get(x, field), val_get(y, field));
}

static void port(struct rq *rq, struct port p, const struct port *others, size_t n)
{
	int64_t host = val_int(val_get(p.v, "hostPort"), 0);

	for (size_t i = 0; i < n; i++) {
		struct val o = others[i].v;
		int64_t its = val_int(val_get(o, "hostPort"), 0);

		if (!same(p.v, o, "containerPort") || !same(p.v, o, "protocol"))
			continue;
		if (host == its && str_eq(val_str(val_get(p.v, "hostIP")), val_str(val_get(o, "hostIP"))))
			rq_warn(rq, "%s: duplicate port definition with %s", p.at, others[i].at);
		else if (!host || !its)
			rq_warn(rq, "%s: overlapping port definition with %s", p.at, others[i].at);
	}
}

static void containers(struct rq *rq, const struct pod *p)
{
	static const char *const lists[] = { "initContainers", "containers" };
	struct port ports[64]; /* who has more is not warned of the rest */
	size_t n = 0;

	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		for (struct val_iter it = val_iter(val_get(p->spec, lists[l])); val_next(&it);) {
			char *path = rq_f(rq, "%s.%s[%zu]", p->at, lists[l], it.i);

			container(rq, it.val, path, p);
			for (struct val_iter pt = val_iter(val_get(it.val, "ports"));
				val_next(&pt) && n < ARRAY_LEN(ports);) {
				ports[n] = (struct port){ pt.val, rq_f(rq, "%s.ports[%zu]", path, pt.i) };
				port(rq, ports[n], ports, n);
				n++;
			}
		}
	}
}

/* ---- pods ------------------------------------------------------------------------------------ */

static void twice(struct rq *rq, struct val list, const char *at, const char *key)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		for (size_t k = 0; k < it.i; k++)
			if (same(it.val, val_at(list, k), key)) {
				rq_warn(rq, "%s[%zu].%s: duplicate %s \"%.*s\"", at, it.i, key, key,
					STR_ARG(val_str(val_get(it.val, key))));
				break;
			}
}

static void volumes(struct rq *rq, const struct pod *p)
{
	const char *why;

	for (struct val_iter it = val_iter(val_get(p->spec, "volumes")); val_next(&it);)
		for (struct val_iter v = val_iter(it.val); val_next(&v);)
			if ((why = why_old(old_volumes, v.key)))
				rq_warn(rq, "%s.volumes[%zu].%.*s: %s", p->at, it.i, STR_ARG(v.key), why);
}

static void pod(struct rq *rq, struct val object, const char *prefix)
{
	struct pod p = { val_get(object, "spec"), val_get(object, "metadata"), prefix, rq_f(rq, "%sspec", prefix) };
	struct val secrets = val_get(p.spec, "imagePullSecrets");
	const char *why;

	placement(rq, &p);
	for (struct val_iter it = val_iter(val_get(p.meta, "annotations")); val_next(&it);)
		if ((why = why_old(old_annotations, it.key)))
			rq_warn(rq, "%smetadata.annotations[%.*s]: %s", prefix, STR_ARG(it.key), why);
	volumes(rq, &p);
	twice(rq, val_get(p.spec, "hostAliases"), rq_f(rq, "%s.hostAliases", p.at), "ip");
	twice(rq, secrets, rq_f(rq, "%s.imagePullSecrets", p.at), "name");
	for (struct val_iter it = val_iter(secrets); val_next(&it);)
		if (!val_str(val_get(it.val, "name")).n)
			rq_warn(rq, "%s.imagePullSecrets[%zu].name: invalid empty name \"\"", p.at, it.i);
	whole_bytes(rq, val_get(p.spec, "overhead"), rq_f(rq, "%s.overhead", p.at));
	seccomp(rq, p.spec, "seccomp.security.alpha.kubernetes.io/pod", &p);
	containers(rq, &p);
}

/* Pods are changed by programs: only who makes one is warned. */
void warn_pod(struct rq *rq, struct val o, struct val old)
{
	if (!val_has(old))
		pod(rq, o, "");
}

static void template(struct rq *rq, struct val o, struct val old, const char *path)
{
	struct val now = val_path(o, path);

	if (!val_has(old) || !val_equal(now, val_path(old, path)))
		pod(rq, now, rq_f(rq, "%s.", path));
}

void warn_workload(struct rq *rq, struct val o, struct val old)
{
	template(rq, o, old, "spec.template");
}

void warn_cronjob(struct rq *rq, struct val o, struct val old)
{
	template(rq, o, old, "spec.jobTemplate.spec.template");
}

/* ---- services -------------------------------------------------------------------------------- */

void warn_service(struct rq *rq, struct val o, struct val old)
{
	static const char why[] = "is ignored when spec.clusterIP is \"None\"";
	struct val spec = val_get(o, "spec");

	if (!val_is(val_get(spec, "clusterIP"), "None"))
		return;
	if (val_str(val_get(spec, "loadBalancerIP")).n)
		rq_warn(rq, "spec.loadBalancerIP %s", why);
	if (val_len(val_get(spec, "externalIPs")))
		rq_warn(rq, "spec.externalIPs %s", why);
	if (val_is(val_get(spec, "sessionAffinity"), "ClientIP"))
		rq_warn(rq, "spec.SessionAffinity %s", why);
}

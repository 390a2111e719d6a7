/* PodSecurity: the levels baseline and restricted, asked for by labels of the namespace, as enforce, warn and audit.
 * Whatever version a label pins, the newest rules hold; its text is shown as it was given. */
#include "api/admission/podsecurity.h"
#include <stdio.h>
#define LOG_MODULE "api"

#define LABEL "pod-security.kubernetes.io/"
#define PODS_LOOKED_AT 3000

static const char *const level_names[] = { "privileged", "baseline", "restricted" };

/* ---- labels ---------------------------------------------------------------------------------- */

struct policy_label {
	enum level level;
	struct str version;
};

static bool level_of(struct str s, enum level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
		if (str_is(s, level_names[i])) {
			*ret = (enum level)i;
			return true;
		}
	return false;
}

static bool version_fine(struct str v)
{
	struct str major, minor;
	int64_t n;

	if (str_is(v, "latest"))
		return true;
	if (!str_starts(v, STR("v1.")))
		return false;
	minor = str_cut(v, '.', &major);
	return str_i64(minor, &n) && n >= 0;
}

/* An unknown level counts as restricted: nothing opens by a typing mistake. */
static struct policy_label label_of(struct val labels, const char *mode)
{
	char key[80];
	struct policy_label p = { PRIVILEGED, STR("latest") };

	snprintf(key, sizeof(key), LABEL "%s", mode);
	struct val v = val_get(labels, key);
	if (val_has(v) && !level_of(val_str(v), &p.level))
		p.level = RESTRICTED;
	snprintf(key, sizeof(key), LABEL "%s-version", mode);
	v = val_get(labels, key);
	if (version_fine(val_str(v)))
		p.version = val_str(v);
	return p;
}

/* ---- pods and templates ---------------------------------------------------------------------- */

static const struct {
	const char *group, *resource, *template;
} templates[] = {
	{ "", "podtemplates", "template" },
	{ "", "replicationcontrollers", "spec.template" },
	{ "apps", "replicasets", "spec.template" },
	{ "apps", "deployments", "spec.template" },
	{ "apps", "statefulsets", "spec.template" },
	{ "apps", "daemonsets", "spec.template" },
	{ "batch", "jobs", "spec.template" },
	{ "batch", "cronjobs", "spec.jobTemplate.spec.template" },
};

static int judge(struct rq *rq, struct val labels, struct val pod, bool enforce, struct err *e)
{
	struct policy_label p = label_of(labels, "enforce"), audit = label_of(labels, "audit"),
			    warn = label_of(labels, "warn");
	struct val spec = val_get(pod, "spec"), notes = val_path(pod, "metadata.annotations");
	struct str bad = STR_NULL;

	if (enforce) {
		rq_annotate(rq, STR(LABEL "enforce-policy"),
			arena_strf(rq->a, "%s:%.*s", level_names[p.level], STR_ARG(p.version)));
		bad = p.level ? podsecurity_violations(rq, p.level, spec, notes) : STR_NULL;
	}
	if (bad.n)
		err_set(e, ERR_FORBIDDEN, "%s \"%.*s\" is forbidden: violates PodSecurity \"%s:%.*s\": %.*s",
			rq->res->group_resource, STR_ARG(val_str(val_path(pod, "metadata.name"))), level_names[p.level],
			STR_ARG(p.version), STR_ARG(bad));
	struct str noted = audit.level ? podsecurity_violations(rq, audit.level, spec, notes) : STR_NULL;
	if (noted.n)
		rq_annotate(rq, STR(LABEL "audit-violations"),
			arena_strf(rq->a, "would violate PodSecurity \"%s:%.*s\": %.*s", level_names[audit.level],
				STR_ARG(audit.version), STR_ARG(noted)));
	struct str said = warn.level && !bad.n ? podsecurity_violations(rq, warn.level, spec, notes) : STR_NULL;
	if (said.n)
		rq_warn(rq, "would violate PodSecurity \"%s:%.*s\": %.*s", level_names[warn.level],
			STR_ARG(warn.version), STR_ARG(said));
	return bad.n ? -ERR_FORBIDDEN : 0;
}

/* Most updates of a pod change nothing that the rules look at. */
static bool pod_matters(struct rq *rq, struct val pod, struct val old)
{
	static const char *const lists[] = { "containers", "initContainers", "ephemeralContainers" };

	if (!val_has(old))
		return !rq->sub.n;
	if (rq->sub.n && !str_is(rq->sub, "ephemeralcontainers"))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (!val_equal(val_get(val_get(pod, "spec"), lists[i]), val_get(val_get(old, "spec"), lists[i])))
			return true;
	return !val_equal(val_path(pod, "metadata.annotations"), val_path(old, "metadata.annotations"));
}

static bool any_label(struct val labels)
{
	for (struct val_iter it = val_iter(labels); val_next(&it);)
		if (str_starts(it.key, STR(LABEL)))
			return true;
	return false;
}

int podsecurity_check(struct rq *rq, struct val object, struct val old, struct err *e)
{
	const struct resource_def *def = &rq->res->def;
	bool pod = !def->group[0] && !strcmp(def->resource, "pods");
	struct val template = VAL_NONE;
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(templates) && !pod && !rq->sub.n; i++)
		if (!strcmp(def->group, templates[i].group) && !strcmp(def->resource, templates[i].resource))
			template = val_path(object, templates[i].template);
	if (pod ? !pod_matters(rq, object, old) : !val_has(template))
		return 0;
	auto_(doc_unref) struct doc *ns = api_get(rq->api, "", "namespaces", STR_NULL, rq->ns);
	struct val labels = ns ? doc_get(ns, "metadata.labels") : VAL_NONE;
	if (any_label(labels))
		rc = judge(rq, labels, pod ? object : template, pod, e);
	return rc;
}

/* ---- namespaces ------------------------------------------------------------------------------ */

void podsecurity_labels(struct rq *rq, struct val labels, struct err *e)
{
	static const char *const modes[] = { "enforce", "audit", "warn" };

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		struct val v = val_get(labels, rq_f(rq, LABEL "%s", modes[i]));
		enum level ignored;
		if (val_has(v) && !level_of(val_str(v), &ignored))
			v_invalid(e, rq_f(rq, "metadata.labels[" LABEL "%s]", modes[i]), v,
				"must be one of privileged, baseline, restricted");
		v = val_get(labels, rq_f(rq, LABEL "%s-version", modes[i]));
		if (val_has(v) && !version_fine(val_str(v)))
			v_invalid(e, rq_f(rq, "metadata.labels[" LABEL "%s-version]", modes[i]), v,
				"must be \"latest\" or \"v1.x\"");
	}
}

/* Pods that break the same rules: the first of them, and how many. */
struct alike {
	struct str reasons, first;
	size_t n;
};

static void note_pod(struct alike *groups, size_t *n_groups, struct str reasons, struct str pod)
{
	size_t i = 0;

	while (i < *n_groups && !str_eq(groups[i].reasons, reasons))
		i++;
	if (i == *n_groups)
		groups[(*n_groups)++] = (struct alike){ reasons, pod, 0 };
	groups[i].n++;
}

static int by_pod(const void *a, const void *b)
{
	return str_cmp(((const struct alike *)a)->first, ((const struct alike *)b)->first);
}

static void warn_alike(struct rq *rq, const struct alike *g)
{
	const char *more = g->n == 1 ? "" :
		g->n == 2            ? " (and 1 other pod)" :
				       rq_f(rq, " (and %zu other pods)", g->n - 1);

	rq_warn(rq, "%.*s%s: %.*s", STR_ARG(g->first), more, STR_ARG(g->reasons));
}

/* Who tightens a namespace hears which pods in it would not be let in any more. */
int podsecurity_namespace(struct rq *rq, struct val ns, struct val old, struct err *e)
{
	struct policy_label p = label_of(val_path(ns, "metadata.labels"), "enforce"),
			    was = label_of(val_path(old, "metadata.labels"), "enforce");
	struct cache *pods = api_cache(rq->api, "", "pods");
	size_t n_groups = 0;
	int64_t rev;

	if (rq->sub.n || p.level <= was.level)
		return 0;
	struct cache_list l =
		cache_list(pods, rq->a, arena_strf(rq->a, "%.*s/", STR_ARG(rq->name)), STR_NULL, PODS_LOOKED_AT, &rev);
	struct alike *groups = ARENA_ARRAY(rq->a, struct alike, l.n + 1);
	for (size_t i = 0; i < l.n; i++) {
		struct str bad = podsecurity_reasons(
			rq, p.level, doc_get(l.items[i].doc, "spec"), doc_get(l.items[i].doc, "metadata.annotations"));

		if (bad.n)
			note_pod(groups, &n_groups, bad, doc_name(l.items[i].doc));
	}
	if (n_groups)
		rq_warn(rq, "existing pods in namespace \"%.*s\" violate the new PodSecurity enforce level \"%s:%.*s\"",
			STR_ARG(rq->name), level_names[p.level], STR_ARG(p.version));
	qsort(groups, n_groups, sizeof(*groups), by_pod);
	for (size_t i = 0; i < n_groups; i++)
		warn_alike(rq, &groups[i]);
	return 0;
}

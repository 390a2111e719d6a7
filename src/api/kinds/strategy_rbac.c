/* Roles and bindings on their way in. Who may write them is auth/rbac.c's. */
#include "api/api_internal.h"

#define RBAC "rbac.authorization.k8s.io"

static void rule_validate(struct rq *rq, struct val rule, bool namespaced, const char *at, struct err *e)
{
	struct val urls = val_get(rule, "nonResourceURLs");

	if (val_len(urls)) {
		if (namespaced)
			v_invalid(e, rq_f(rq, "%s.nonResourceURLs", at), urls,
				"namespaced rules cannot apply to non-resource URLs");
		if (val_len(val_get(rule, "apiGroups")) || val_len(val_get(rule, "resources")) ||
			val_len(val_get(rule, "resourceNames")))
			v_invalid(e, rq_f(rq, "%s.nonResourceURLs", at), urls,
				"rules cannot apply to both regular resources and non-resource URLs");
		return;
	}
	if (!val_len(val_get(rule, "apiGroups")))
		v_required(e, rq_f(rq, "%s.apiGroups", at), "resource rules must supply at least one api group");
	if (!val_len(val_get(rule, "resources")))
		v_required(e, rq_f(rq, "%s.resources", at), "resource rules must supply at least one resource");
}

/* Upstream reads it twice, and says both. */
static void selector_validate(struct rq *rq, struct val selector, const char *at, struct err *e)
{
	uint16_t before = e->causes_len;

	validate_label_selector(rq, selector, at, e);
	if (e->causes_len != before)
		v_invalid_str(e, at, STR("null"), "invalid label selector.");
}

static void role_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val aggregation = val_get(o, "aggregationRule"),
		   selectors = val_get(aggregation, "clusterRoleSelectors");

	(void)old;
	for (struct val_iter it = val_iter(val_get(o, "rules")); val_next(&it);)
		rule_validate(rq, it.val, rq->res->def.namespaced, rq_f(rq, "rules[%zu]", it.i), e);
	if (val_has(aggregation) && !val_len(selectors))
		v_required(e, "aggregationRule.clusterRoleSelectors",
			"at least one clusterRoleSelector required if aggregationRule is non-nil");
	for (struct val_iter it = val_iter(selectors); val_next(&it);)
		selector_validate(rq, it.val, rq_f(rq, "aggregationRule.clusterRoleSelectors[%zu]", it.i), e);
}

static void role_ref_validate(struct rq *rq, struct val ref, struct err *e)
{
	static const char *const groups[] = { RBAC, NULL }, *const cluster[] = { "ClusterRole", NULL },
				 *const any[] = { "Role", "ClusterRole", NULL };
	const char *const *kinds = rq->res->def.namespaced ? any : cluster;
	struct str group = val_str(val_get(ref, "apiGroup")), kind = val_str(val_get(ref, "kind")),
		   name = val_str(val_get(ref, "name"));

	if (!str_is(group, RBAC))
		v_unsupported(e, "roleRef.apiGroup", group, groups);
	if (!is_one_of(kinds, kind))
		v_unsupported(e, "roleRef.kind", kind, kinds);
	if (name.n)
		validate_name(e, "roleRef.name", name, NAME_PATH);
}

static void subject_validate(struct rq *rq, struct val subject, const char *at, struct err *e)
{
	static const char *const groups[] = { RBAC, NULL }, *const none[] = { "", NULL },
				 *const kinds[] = { "ServiceAccount", "User", "Group", NULL };
	struct str group = val_str(val_get(subject, "apiGroup")), name = val_str(val_get(subject, "name"));
	struct val kind = val_get(subject, "kind");

	if (val_is(kind, "ServiceAccount")) {
		if (name.n)
			validate_name(e, rq_f(rq, "%s.name", at), name, NAME_SUBDOMAIN);
		if (group.n)
			v_unsupported(e, rq_f(rq, "%s.apiGroup", at), group, none);
		if (!rq->res->def.namespaced && !val_str(val_get(subject, "namespace")).n)
			v_required(e, rq_f(rq, "%s.namespace", at), "");
	} else if (val_is(kind, "User") || val_is(kind, "Group")) {
		if (!str_is(group, RBAC))
			v_unsupported(e, rq_f(rq, "%s.apiGroup", at), group, groups);
	} else {
		v_unsupported(e, rq_f(rq, "%s.kind", at), val_str(kind), kinds);
	}
}

static void binding_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val role = val_get(o, "roleRef");

	role_ref_validate(rq, role, e);
	for (struct val_iter it = val_iter(val_get(o, "subjects")); val_next(&it);)
		subject_validate(rq, it.val, rq_f(rq, "subjects[%zu]", it.i), e);
	if (val_has(old) && !val_equal(role, val_get(old, "roleRef")))
		v_invalid(e, "roleRef", role, "cannot change roleRef");
}

const struct strategy strategy_role = { .validate = role_validate, .create_on_update = true };
const struct strategy strategy_binding = { .validate = binding_validate, .create_on_update = true };

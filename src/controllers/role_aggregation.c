/* clusterrole-aggregation-controller: a ClusterRole with an aggregationRule has the rules of all that its selectors fit, so that
 * whoever brings a kind can say who views and edits it by the label of a role of his own.
 *
 * Source of the semantics: the Kubernetes documentation, "Using RBAC Authorization", aggregated ClusterRoles. */
#include "controllers/controllers_internal.h"

#define GATHERS "gathers" /* index: roles with an aggregationRule, all below one key */

struct rules {
	struct val *rule;
	size_t n;
};

static void add_new(struct rules *out, struct val rules)
{
	for (struct val_iter it = val_iter(rules); val_next(&it);) {
		size_t i = 0;

		while (i < out->n && !val_equal(out->rule[i], it.val))
			i++;
		if (i == out->n)
			out->rule[out->n++] = it.val;
	}
}

static size_t rules_in(struct informer_list roles)
{
	size_t n = 0;

	for (size_t i = 0; i < roles.n; i++)
		n += val_len(doc_get(roles.items[i], "rules"));
	return n;
}

/* In the order of the selectors, and of the roles' names; each rule once. */
static int gather(struct arena *a, struct doc *role, struct informer_list roles, struct rules *ret, struct err *e)
{
	*ret = (struct rules){ ARENA_ARRAY(a, struct val, rules_in(roles)), 0 };
	for (struct val_iter it = val_iter(doc_get(role, "aggregationRule.clusterRoleSelectors")); val_next(&it);) {
		const struct selector *s;

		if (selector_of(a, it.val, &s, e) < 0)
			return err_wrap(e, "aggregationRule");
		for (size_t i = 0; i < roles.n; i++) {
			struct doc *part = roles.items[i];

			if (!str_eq(doc_name(part), doc_name(role)) &&
				selector_matches(s, doc_get(part, "metadata.labels")))
				add_new(ret, doc_get(part, "rules"));
		}
	}
	return 0;
}

static bool has_these(struct val rules, const struct rules *wanted)
{
	size_t i = 0;

	for (struct val_iter it = val_iter(rules); val_next(&it); i++)
		if (i == wanted->n || !val_equal(it.val, wanted->rule[i]))
			return false;
	return i == wanted->n;
}

static int need_rules(struct ctl *c, struct arena *a, struct str name, struct err *e)
{
	struct informer *i = ctl_informer(c, res_clusterroles);
	auto_(doc_unref) struct doc *role = informer_get(i, STR_NULL, name);
	struct node *list = node_list(a);
	struct rules rules;

	if (!role || is_deleting(role) || !val_has(doc_get(role, "aggregationRule")))
		return 0;
	if (gather(a, role, informer_list(i, a, NULL, STR_NULL), &rules, e) < 0)
		return -e->code;
	if (has_these(doc_get(role, "rules"), &rules))
		return 0;
	for (size_t n = 0; n < rules.n; n++)
		node_add(list, node_from(a, rules.rule[n]));
	return merge_patch(c, res_clusterroles, role, NULL,
		node_pack(a, "{metadata:{uid:S, resourceVersion:S}, rules:o}", doc_uid(role),
			doc_str(role, "metadata.resourceVersion"), list),
		NULL, e);
}

static void index_gathering(struct doc *d, void (*add)(void *arg, struct str key), void *arg)
{
	if (val_has(doc_get(d, "aggregationRule")))
		add(arg, STR(GATHERS));
}

static void add_index(struct ctl *c)
{
	informer_index(ctl_informer(c, res_clusterroles), GATHERS, index_gathering);
}

/* Any of them may gather what changed, or have gathered it. */
static void key_gathering(struct ctl *c, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list roles = informer_list(ctl_informer(c, res_clusterroles), a, GATHERS, STR(GATHERS));

	(void)before, (void)after;
	for (size_t i = 0; i < roles.n; i++)
		ctl_add(c, doc_name(roles.items[i]));
}

const struct controller role_aggregation_controller = {
	.name = "clusterrole-aggregation-controller",
	.help = "gives ClusterRoles the rules of those that they gather",
	.handles = "rbac.authorization.k8s.io/clusterroles",
	.watches = { { &res_clusterroles, key_gathering } },
	.indexes = add_index,
	.reconcile = need_rules,
};

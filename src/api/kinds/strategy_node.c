/* Nodes on their way in. */
#include "api/auth/auth.h"

/* podCIDR is the first of podCIDRs, and counts where they differ. */
static void settle_cidrs(struct rq *rq, struct node *o)
{
	struct node *spec = node_getc(o, "spec"), *list = node_getc(spec, "podCIDRs");
	struct str one = node_text_str(node_getc(spec, "podCIDR")), first = node_text_str(node_at(list, 0));

	if (one.n && !str_eq(one, first))
		node_setc(spec, "podCIDRs", node_pack(rq->a, "[S]", one));
	else if (first.n && !one.n)
		node_setc(spec, "podCIDR", node_str(rq->a, first));
}

/* Once: who takes the label away has the last word. */
static void give_label(struct rq *rq, struct node *o)
{
	const char *label = node_given_label(rq->api, node_text_str(node_path(o, "metadata.name")));

	if (label)
		node_setc(node_need_map(o, "metadata.labels"), label, node_c(rq->a, ""));
}

static int prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)e;
	if (!val_has(old))
		give_label(rq, o);
	if (!val_has(old) && !node_getc(o, "status"))
		node_setc(o, "status", node_map(rq->a));
	settle_cidrs(rq, o);
	return 0;
}

/* Upstream has taints in metadata, as far as paths are concerned. */
static void taint_validate(struct rq *rq, struct val taints, size_t i, struct err *e)
{
	static const char *const effects[] = { "NoSchedule", "PreferNoSchedule", "NoExecute", NULL };
	struct val t = val_at(taints, i);
	struct str effect = val_str(val_get(t, "effect"));
	char *at = rq_f(rq, "metadata.taints[%zu]", i);

	validate_qualified(e, rq_f(rq, "%s.key", at), val_str(val_get(t, "key")));
	validate_label_value(e, rq_f(rq, "%s.value", at), val_str(val_get(t, "value")));
	if (!effect.n)
		v_required(e, rq_f(rq, "%s.effect", at), "");
	else if (!is_one_of(effects, effect))
		v_unsupported(e, rq_f(rq, "%s.effect", at), effect, effects);
	for (size_t k = 0; k < i; k++)
		if (val_equal(val_get(t, "key"), val_get(val_at(taints, k), "key")) &&
			val_equal(val_get(t, "effect"), val_get(val_at(taints, k), "effect"))) {
			err_cause(e, "FieldValueDuplicate", at,
				"Duplicate value: %.*s: taints must be unique by key and effect pair",
				STR_ARG(val_text(t)));
			break;
		}
}

static void cidrs_validate(struct rq *rq, struct val cidrs, struct err *e)
{
	size_t v6 = 0, n = val_len(cidrs);

	for (struct val_iter it = val_iter(cidrs); val_next(&it);) {
		validate_cidr(e, rq_f(rq, "spec.podCIDRs[%zu]", it.i), val_str(it.val));
		v6 += str_has(val_str(it.val), STR(":"));
	}
	if (v6 > 1 || n - v6 > 1)
		v_invalid(e, "spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family");
}

/* A node gets its networks and its provider's name once; else only taints and unschedulable change. */
static void changes_validate(struct val spec, struct val was, struct err *e)
{
	static const char *const once[][3] = {
		{ "podCIDRs", "spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid" },
		{ "providerID", "spec.providerID", "node updates may not change providerID except from \"\" to valid" }
	};
	static const char *const fixed[] = { "podCIDR", "podCIDRs", "providerID", "externalID", "configSource" };
	bool same = true;

	for (size_t i = 0; i < ARRAY_LEN(once); i++) {
		struct val before = val_get(was, once[i][0]);

		if ((val_str(before).n || val_len(before)) && !val_equal(before, val_get(spec, once[i][0])))
			v_forbidden(e, once[i][1], once[i][2]);
	}
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		struct val before = val_get(was, fixed[i]);
		bool given = val_str(before).n || val_len(before) || i > 2;

		same &= !given || val_equal(before, val_get(spec, fixed[i]));
	}
	if (!same)
		v_forbidden(e, "[]", "node updates may only change labels, taints, or capacity");
}

static bool whole_resource(struct str name)
{
	static const char *const counted[] = { "pods", "services", "replicationcontrollers", "resourcequotas",
		"secrets", "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
		NULL };

	return is_one_of(counted, name) || resource_extended(name);
}

static void amounts_validate(struct rq *rq, struct val o, const char *field, struct err *e)
{
	for (struct val_iter it = val_iter(val_get(val_get(o, "status"), field)); val_next(&it);) {
		char *at = rq_f(rq, "status.%s.%.*s", field, STR_ARG(it.key));
		struct quantity q;

		if (!quantity_of(it.val, &q))
			continue;
		if (q.value < 0)
			v_invalid(e, at, it.val, "must be greater than or equal to 0");
		if (whole_resource(it.key) && quantity_milli(q) % 1000)
			v_invalid(e, at, it.val, "must be an integer");
	}
}

static void validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), taints = val_get(spec, "taints");

	amounts_validate(rq, o, "capacity", e);
	amounts_validate(rq, o, "allocatable", e);
	if (val_has(old))
		validate_differ(rq, val_path(o, "status.addresses"), "status.addresses", e);
	if (rq->sub.n)
		return;
	for (size_t i = 0; i < val_len(taints); i++)
		taint_validate(rq, taints, i, e);
	cidrs_validate(rq, val_get(spec, "podCIDRs"), e);
	if (val_has(old))
		changes_validate(spec, val_get(old, "spec"), e);
}

const struct strategy strategy_node = { .create_status = true, .prepare = prepare, .validate = validate };

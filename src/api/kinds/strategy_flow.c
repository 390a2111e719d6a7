/* FlowSchemas and PriorityLevelConfigurations on their way in. Rules and sentences are upstream's
 * (apis/flowcontrol/validation). */
#include "api/api_internal.h"
#include <math.h>

#define QUEUES_MAX 10000000
#define HASH_BITS_MAX 60

/* ---- what both have -------------------------------------------------------------------------- */

static void status_validate(struct rq *rq, struct val o, struct err *e)
{
	struct val list = val_path(o, "status.conditions");

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str type = val_str(val_get(it.val, "type"));
		char *at = rq_f(rq, "status.conditions[%zu].type", it.i);

		if (type.n && val_find(list, "type", type).at != it.val.at)
			v_duplicate(e, at, type);
		if (!type.n)
			v_required(e, at, "must not be empty");
	}
}

static bool has_all(struct val list)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (val_is(it.val, "*"))
			return true;
	return false;
}

/* ---- rules of a FlowSchema ------------------------------------------------------------------- */

static void account_validate(struct rq *rq, struct val account, const char *at, struct err *e)
{
	struct str name = val_str(val_get(account, "name")), ns = val_str(val_get(account, "namespace"));

	if (!name.n)
		v_required(e, rq_f(rq, "%s.name", at), "");
	else if (!str_is(name, "*"))
		validate_name(e, rq_f(rq, "%s.name", at), name, NAME_SUBDOMAIN);
	if (ns.n)
		validate_name(e, rq_f(rq, "%s.namespace", at), ns, NAME_LABEL);
	else
		v_required(e, rq_f(rq, "%s.namespace", at), "must specify namespace for service account");
}

/* Of its kind, and of no other. */
static void subject_validate(struct rq *rq, struct val subject, const char *at, struct err *e)
{
	static const char *const kinds[][2] = { { "ServiceAccount", "serviceAccount" }, { "User", "user" },
		{ "Group", "group" } };
	static const char *const known[] = { "Group", "ServiceAccount", "User", NULL };

	if (!val_str(val_get(subject, "kind")).n) { /* another word is told of by the schema */
		v_unsupported(e, rq_f(rq, "%s.kind", at), STR(""), known);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const char *kind = kinds[i][0], *field = kinds[i][1];
		struct val v = val_get(subject, field);
		char *here = rq_f(rq, "%s.%s", at, field);

		if (!val_is(val_get(subject, "kind"), kind)) {
			if (val_has(v))
				v_forbidden(e, here,
					rq_f(rq, "%s is forbidden when subject kind is not '%s'", field, kind));
		} else if (!val_has(v)) {
			v_required(e, here, rq_f(rq, "%s is required when subject kind is '%s'", field, kind));
		} else if (i == 0) {
			account_validate(rq, v, here, e);
		} else if (!val_str(val_get(v, "name")).n) {
			v_required(e, rq_f(rq, "%s.name", here), "");
		}
	}
}

static void verbs_validate(struct rq *rq, struct val verbs, const char *at, struct err *e)
{
	static const char *const known[] = { "create", "delete", "deletecollection", "get", "list", "patch", "proxy",
		"update", "watch", NULL };
	char *here = rq_f(rq, "%s.verbs", at);
	bool all_known = true;

	for (struct val_iter it = val_iter(verbs); val_next(&it);)
		all_known &= is_one_of(known, val_str(it.val));
	if (!val_len(verbs))
		v_required(e, here, "verbs must contain at least one value");
	else if (has_all(verbs) && val_len(verbs) > 1)
		v_invalid(e, here, verbs, "if '*' is present, must not specify other verbs");
	else if (!has_all(verbs) && !all_known)
		v_unsupported_val(e, here, verbs, known);
}

/* One or more, or all alone. */
static void some_or_all(
	struct val list, const char *here, const char *none, const char *what, struct rq *rq, struct err *e)
{
	if (!val_len(list))
		v_required(e, here, none);
	else if (has_all(list) && val_len(list) > 1)
		v_invalid(e, here, list, rq_f(rq, "if '*' is present, must not specify other %s", what));
}

static const char *url_wrong(struct str url)
{
	struct str before, behind = str_cut(url, '*', &before);

	if (!url.n)
		return "must not be empty";
	if (str_is(url, "/"))
		return NULL;
	if (url.p[0] != '/')
		return "must start with slash";
	if (str_has(url, STR(" ")))
		return "must not contain white-space";
	if (str_has(url, STR("//")))
		return "must not contain double slash";
	if (before.n < url.n && (behind.n || before.p[before.n - 1] != '/'))
		return "wildcard can only do suffix matching";
	return NULL;
}

static void urls_validate(struct rq *rq, struct val rule, const char *at, struct err *e)
{
	struct val urls = val_get(rule, "nonResourceURLs");
	char *here = rq_f(rq, "%s.nonResourceURLs", at);

	verbs_validate(rq, val_get(rule, "verbs"), at, e);
	some_or_all(urls, here, "nonResourceURLs must contain at least one value", "non-resource URLs", rq, e);
	for (struct val_iter it = val_iter(urls); !has_all(urls) && val_next(&it);)
		if (url_wrong(val_str(it.val)))
			v_invalid(e, rq_f(rq, "%s[%zu]", here, it.i), it.val, url_wrong(val_str(it.val)));
}

static void namespaces_validate(struct rq *rq, struct val rule, const char *here, struct err *e)
{
	struct val list = val_get(rule, "namespaces");

	if (val_len(list) || !val_bool(val_get(rule, "clusterScope"), false))
		some_or_all(list, here, "resource rules that are not cluster scoped must supply at least one namespace",
			"namespaces", rq, e);
	for (struct val_iter it = val_iter(list); !has_all(list) && val_next(&it);) {
		const char *why = name_wrong(val_str(it.val), NAME_LABEL, false);

		if (why)
			v_invalid(e, rq_f(rq, "%s[%zu]", here, it.i), it.val,
				rq_f(rq, "each member of this list must be '*' or a DNS-1123 label; %s", why));
	}
}

static void resources_validate(struct rq *rq, struct val rule, const char *at, struct err *e)
{
	verbs_validate(rq, val_get(rule, "verbs"), at, e);
	some_or_all(val_get(rule, "apiGroups"), rq_f(rq, "%s.apiGroups", at),
		"resource rules must supply at least one api group", "api groups", rq, e);
	some_or_all(val_get(rule, "resources"), rq_f(rq, "%s.resources", at),
		"resource rules must supply at least one resource", "resources", rq, e);
	namespaces_validate(rq, rule, rq_f(rq, "%s.namespaces", at), e);
}

static void rule_validate(struct rq *rq, struct val rule, const char *at, struct err *e)
{
	struct val subjects = val_get(rule, "subjects"), resources = val_get(rule, "resourceRules"),
		   urls = val_get(rule, "nonResourceRules");

	if (!val_len(subjects))
		v_required(e, rq_f(rq, "%s.subjects", at), "subjects must contain at least one value");
	for (struct val_iter it = val_iter(subjects); val_next(&it);)
		subject_validate(rq, it.val, rq_f(rq, "%s.subjects[%zu]", at, it.i), e);
	if (!val_len(resources) && !val_len(urls))
		v_required(e, at, "at least one of resourceRules and nonResourceRules has to be non-empty");
	for (struct val_iter it = val_iter(resources); val_next(&it);)
		resources_validate(rq, it.val, rq_f(rq, "%s.resourceRules[%zu]", at, it.i), e);
	for (struct val_iter it = val_iter(urls); val_next(&it);)
		urls_validate(rq, it.val, rq_f(rq, "%s.nonResourceRules[%zu]", at, it.i), e);
}

static void schema_rules_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char name_at[] = "spec.priorityLevelConfiguration.name", order_at[] = "spec.matchingPrecedence";
	struct str level = val_str(val_path(o, name_at));
	struct val order = val_path(o, order_at);

	(void)old;
	if (rq->sub.n) {
		status_validate(rq, o, e);
		return;
	}
	if (val_int(order, 0) <= 0)
		v_invalid(e, order_at, order, "must be a positive value");
	if (val_int(order, 0) > 10000)
		v_invalid(e, order_at, order, "must not be greater than 10000");
	if (val_int(order, 0) == 1 && !val_is(val_path(o, "metadata.name"), "exempt"))
		v_invalid(e, order_at, order, "only the schema named 'exempt' may have matchingPrecedence 1");
	if (level.n)
		validate_name(e, name_at, level, NAME_SUBDOMAIN);
	else
		v_required(e, name_at, "must reference a priority level");
	for (struct val_iter it = val_iter(val_path(o, "spec.rules")); val_next(&it);)
		rule_validate(rq, it.val, rq_f(rq, "spec.rules[%zu]", it.i), e);
}

/* ---- a PriorityLevelConfiguration ------------------------------------------------------------ */

static void positive(struct rq *rq, struct val parent, const char *at, const char *field, struct err *e)
{
	if (val_int(val_get(parent, field), 0) <= 0)
		v_invalid(e, rq_f(rq, "%s.%s", at, field), val_get(parent, field), "must be positive");
}

static void queuing_validate(struct rq *rq, struct val q, const char *at, struct err *e)
{
	struct val hand = val_get(q, "handSize");
	int64_t queues = val_int(val_get(q, "queues"), 0), hands = val_int(hand, 0);
	char *hand_at = rq_f(rq, "%s.handSize", at);

	positive(rq, q, at, "queueLengthLimit", e);
	positive(rq, q, at, "queues", e);
	if (queues > QUEUES_MAX)
		v_invalid(e, rq_f(rq, "%s.queues", at), val_get(q, "queues"),
			rq_f(rq, "must not be greater than %d", QUEUES_MAX));
	positive(rq, q, at, "handSize", e);
	if (hands > queues)
		v_invalid(e, hand_at, hand, rq_f(rq, "should not be greater than queues (%lld)", (long long)queues));
	else if (hands > 0 && ceil(log2((double)queues) * (double)hands) > HASH_BITS_MAX)
		v_invalid(e, hand_at, hand,
			rq_f(rq,
				"required entropy bits of deckSize %lld and handSize %lld should not be greater than %d",
				(long long)queues, (long long)hands, HASH_BITS_MAX));
}

static void response_validate(struct rq *rq, struct val response, const char *at, struct err *e)
{
	static const char *const known[] = { "Queue", "Reject", NULL };
	struct str type = val_str(val_get(response, "type"));
	struct val queuing = val_get(response, "queuing");
	char *here = rq_f(rq, "%s.queuing", at);

	if (str_is(type, "Reject") && val_has(queuing))
		v_forbidden(e, here, "must be nil if limited.limitResponse.type is not Limited");
	else if (str_is(type, "Queue") && !val_has(queuing))
		v_required(e, here, "must not be empty if limited.limitResponse.type is Limited");
	else if (str_is(type, "Queue"))
		queuing_validate(rq, queuing, here, e);
	else if (!type.n) /* another word is told of by the schema */
		v_unsupported(e, rq_f(rq, "%s.type", at), type, known);
}

static void shares_validate(struct rq *rq, struct val level, const char *at, struct err *e)
{
	struct val shares = val_get(level, "nominalConcurrencyShares");

	if (val_int(shares, 0) < 0)
		v_invalid(e, rq_f(rq, "%s.nominalConcurrencyShares", at), shares, "must be a non-negative integer");
}

static void lent_validate(struct rq *rq, struct val level, const char *at, struct err *e)
{
	struct val lent = val_get(level, "lendablePercent");

	if (val_int(lent, 0) < 0 || val_int(lent, 0) > 100)
		v_invalid(e, rq_f(rq, "%s.lendablePercent", at), lent, "must be between 0 and 100, inclusive");
}

static void limited_validate(struct rq *rq, struct val limited, struct err *e)
{
	static const char at[] = "spec.limited";
	struct val borrows = val_get(limited, "borrowingLimitPercent");

	if (!val_has(limited)) {
		v_required(e, at, "must not be empty when type is Limited");
		return;
	}
	shares_validate(rq, limited, at, e);
	response_validate(rq, val_get(limited, "limitResponse"), "spec.limited.limitResponse", e);
	lent_validate(rq, limited, at, e);
	if (val_int(borrows, 0) < 0)
		v_invalid(e, "spec.limited.borrowingLimitPercent", borrows,
			"if specified, must be a non-negative integer");
}

static void level_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const known[] = { "Exempt", "Limited", NULL };
	struct val type = val_path(o, "spec.type"), limited = val_path(o, "spec.limited"),
		   exempt = val_path(o, "spec.exempt");
	bool free = val_is(type, "Exempt");

	(void)old;
	if (rq->sub.n) {
		status_validate(rq, o, e);
		return;
	}
	if (val_is(val_path(o, "metadata.name"), "exempt") != free)
		v_invalid_str(e, "spec.type", val_str(type), "type must be 'Exempt' if and only if name is 'exempt'");
	if (free) {
		if (val_has(limited))
			v_forbidden(e, "spec.limited", "must be nil if the type is not Limited");
		shares_validate(rq, exempt, "spec.exempt", e);
		lent_validate(rq, exempt, "spec.exempt", e);
	} else if (val_is(type, "Limited")) {
		limited_validate(rq, limited, e);
	} else if (!val_str(type).n) {
		v_unsupported(e, "spec.type", val_str(type), known);
	}
}

const struct strategy strategy_flowschema = { .validate = schema_rules_validate };
const struct strategy strategy_prioritylevel = { .validate = level_validate };

/* ValidatingAdmissionPolicies and their bindings: what they must say, but for the rules themselves, which are CEL. */
#include "api/kinds/kinds.h"
#include <ctype.h>
#define LOG_MODULE "api"

#define SPEC "spec."
#define ANNOTATIONS_MAX 20
#define VALUE_MAX 5120
#define CONDITIONS_MAX 64

static bool blank(struct val v)
{
	return !str_trim(val_str(v)).n;
}

static bool has_newline(struct str s)
{
	return str_has(s, STR("\n")) || str_has(s, STR("\r"));
}

static bool stands_before(struct val list, size_t i, const char *key)
{
	for (size_t k = 0; k < i; k++)
		if (val_equal(val_get(val_at(list, k), key), val_get(val_at(list, i), key)))
			return true;
	return false;
}

/* ---- which writes it is about ---------------------------------------------------------------- */

static void check_rules(struct rq *rq, struct val rules, const char *path, struct err *e)
{
	for (struct val_iter it = val_iter(rules); val_next(&it);) {
		char *at = rq_f(rq, "%s[%zu]", path, it.i);
		struct val names = val_get(it.val, "resourceNames");

		for (struct val_iter n = val_iter(names); val_next(&n);)
			for (size_t k = 0; k < n.i; k++)
				if (val_equal(val_at(names, k), n.val)) {
					v_duplicate(e, rq_f(rq, "%s.resourceNames[%zu]", at, n.i), val_str(n.val));
					break;
				}
		validate_webhook_rule(rq, it.val, at, e);
	}
}

static void check_match(struct rq *rq, struct val match, const char *path, struct err *e)
{
	static const char *const selectors[] = { "namespaceSelector", "objectSelector" },
				 *const rules[] = { "resourceRules", "excludeResourceRules" };

	for (size_t i = 0; i < ARRAY_LEN(selectors); i++)
		validate_label_selector(rq, val_get(match, selectors[i]), rq_f(rq, "%s.%s", path, selectors[i]), e);
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		check_rules(rq, val_get(match, rules[i]), rq_f(rq, "%s.%s", path, rules[i]), e);
}

void validate_match_conditions(struct rq *rq, struct val list, const char *path, struct err *e)
{
	if (val_len(list) > CONDITIONS_MAX)
		err_cause(e, "FieldValueTooMany", path, "Too many: %zu: must have at most %d items", val_len(list),
			CONDITIONS_MAX);
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		char *name_at = rq_f(rq, "%s[%zu].name", path, it.i);
		struct str name = val_str(val_get(it.val, "name"));

		if (blank(val_get(it.val, "expression")))
			v_required(e, rq_f(rq, "%s[%zu].expression", path, it.i), "");
		if (!name.n)
			v_required(e, name_at, "");
		else
			validate_qualified(e, name_at, name);
		if (name.n && stands_before(list, it.i, "name"))
			v_duplicate(e, name_at, name);
	}
}

/* ---- the policy ------------------------------------------------------------------------------ */

static void check_kind(struct rq *rq, struct val kind, struct err *e)
{
	static const char at[] = SPEC "paramKind.apiVersion", kind_at[] = SPEC "paramKind.kind";
	struct str api = val_str(val_get(kind, "apiVersion")), name = val_str(val_get(kind, "kind")), group,
		   version = str_cut(api, '/', &group);
	char *lower = arena_cstr(rq->a, name);
	const char *wrong;

	for (char *p = lower; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (!version.p) {
		version = group;
		group = STR("");
	}
	if (!api.n) {
		v_required(e, at, "");
	} else if (str_has(version, STR("/"))) {
		v_invalid_str(e, at, api, rq_f(rq, "unexpected GroupVersion string: %.*s", STR_ARG(api)));
	} else {
		if (group.n)
			validate_name(e, at, group, NAME_SUBDOMAIN);
		if (version.n)
			validate_name(e, at, version, NAME_LABEL_1035);
		else
			v_invalid_str(e, at, api, "version must be specified");
	}
	if (!name.n)
		v_required(e, kind_at, "");
	else if ((wrong = name_wrong(str_c(lower), NAME_LABEL_1035, false)))
		v_invalid_str(e, kind_at, name, rq_f(rq, "may have mixed case, but should otherwise match: %s", wrong));
}

static bool is_identifier(struct str s)
{
	static const char *const reserved[] = { "true", "false", "null", "in", "as", "break", "const", "continue",
		"else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var",
		"void", "while", NULL };

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] != '_' && !isalpha((unsigned char)s.p[i]) && (!i || !isdigit((unsigned char)s.p[i])))
			return false;
	return !is_one_of(reserved, s);
}

static void check_variable(struct rq *rq, struct val variable, size_t i, struct err *e)
{
	struct val name = val_get(variable, "name");
	char *at = rq_f(rq, SPEC "variables[%zu]", i);

	if (blank(name))
		v_required(e, rq_f(rq, "%s.name", at), "name is not specified");
	else if (!is_identifier(val_str(name)))
		v_invalid(e, rq_f(rq, "%s.name", at), name, "name is not a valid CEL identifier");
	if (blank(val_get(variable, "expression")))
		v_required(e, rq_f(rq, "%s.expression", at), "expression is not specified");
}

static void check_validation(struct rq *rq, struct val rule, size_t i, struct err *e)
{
	static const char *const reasons[] = { "Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized", NULL };
	struct val message = val_get(rule, "message"), made = val_get(rule, "messageExpression"),
		   reason = val_get(rule, "reason");
	char *at = rq_f(rq, SPEC "validations[%zu]", i);

	if (blank(val_get(rule, "expression")))
		v_required(e, rq_f(rq, "%s.expression", at), "expression is not specified");
	if (val_str(made).n && blank(made))
		v_invalid(e, rq_f(rq, "%s.messageExpression", at), made, "must be non-empty if specified");
	if (val_str(message).n && blank(message))
		v_invalid(e, rq_f(rq, "%s.message", at), message, "message must be non-empty if specified");
	else if (has_newline(str_trim(val_str(message))))
		v_invalid(e, rq_f(rq, "%s.message", at), message, "message must not contain line breaks");
	if (val_has(reason) && !is_one_of(reasons, val_str(reason)))
		v_unsupported(e, rq_f(rq, "%s.reason", at), val_str(reason), reasons);
}

static void check_annotations(struct rq *rq, struct val list, struct str policy, struct err *e)
{
	if (val_len(list) > ANNOTATIONS_MAX)
		v_invalid(e, SPEC "auditAnnotations", list,
			rq_f(rq, "must not have more than %d auditAnnotations", ANNOTATIONS_MAX));
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		char *key_at = rq_f(rq, SPEC "auditAnnotations[%zu].key", it.i),
		     *value_at = rq_f(rq, SPEC "auditAnnotations[%zu].valueExpression", it.i);
		struct str key = val_str(val_get(it.val, "key"));
		struct val value = val_get(it.val, "valueExpression");

		validate_qualified(e, key_at, arena_strf(rq->a, "%.*s/%.*s", STR_ARG(policy), STR_ARG(key)));
		if (blank(value))
			v_required(e, value_at, "valueExpression is not specified");
		else if (str_trim(val_str(value)).n > VALUE_MAX)
			v_required(e, value_at, rq_f(rq, "must not exceed %d bytes in length", VALUE_MAX));
		if (stands_before(list, it.i, "key"))
			v_duplicate(e, key_at, key);
	}
}

static void policy_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char one[] = "validations or auditAnnotations must contain at least one item";
	struct val spec = val_get(o, "spec"), match = val_get(spec, "matchConstraints"),
		   rules = val_get(spec, "validations"), notes = val_get(spec, "auditAnnotations");

	(void)old;
	if (rq->sub.n)
		return;
	if (val_has(val_get(spec, "paramKind")))
		check_kind(rq, val_get(spec, "paramKind"), e);
	if (!val_has(match))
		v_required(e, SPEC "matchConstraints", "");
	else if (!val_len(val_get(match, "resourceRules")))
		v_required(e, SPEC "matchConstraints.resourceRules", "");
	check_match(rq, match, SPEC "matchConstraints", e);
	validate_match_conditions(rq, val_get(spec, "matchConditions"), SPEC "matchConditions", e);
	for (struct val_iter it = val_iter(val_get(spec, "variables")); val_next(&it);)
		check_variable(rq, it.val, it.i, e);
	if (!val_len(rules) && !val_len(notes)) {
		v_required(e, SPEC "validations", one);
		v_required(e, SPEC "auditAnnotations", one);
	}
	for (struct val_iter it = val_iter(rules); val_next(&it);)
		check_validation(rq, it.val, it.i, e);
	check_annotations(rq, notes, val_str(val_path(o, "metadata.name")), e);
}

/* ---- the binding ----------------------------------------------------------------------------- */

static void check_ref(struct rq *rq, struct val ref, struct err *e)
{
	static const char at[] = SPEC "paramRef", both[] = "name and selector are mutually exclusive";
	bool named = val_str(val_get(ref, "name")).n > 0, selects = val_has(val_get(ref, "selector"));

	validate_label_selector(rq, val_get(ref, "selector"), SPEC "paramRef.selector", e);
	if (named && selects) {
		v_forbidden(e, SPEC "paramRef.name", both);
		v_forbidden(e, SPEC "paramRef.selector", both);
	}
	if (!named && !selects)
		v_required(e, at, "one of name or selector must be specified");
	if (!val_str(val_get(ref, "parameterNotFoundAction")).n)
		v_required(e, SPEC "paramRef.parameterNotFoundAction", "");
}

static bool acts(struct val actions, const char *word)
{
	for (struct val_iter it = val_iter(actions); val_next(&it);)
		if (val_is(it.val, word))
			return true;
	return false;
}

static void binding_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char at[] = SPEC "validationActions";
	struct val spec = val_get(o, "spec"), actions = val_get(spec, "validationActions");
	struct str policy = val_str(val_get(spec, "policyName"));

	(void)old;
	if (policy.n)
		validate_name(e, SPEC "policyName", policy, NAME_SUBDOMAIN);
	else
		v_required(e, SPEC "policyName", "");
	if (val_has(val_get(spec, "paramRef")))
		check_ref(rq, val_get(spec, "paramRef"), e);
	check_match(rq, val_get(spec, "matchResources"), SPEC "matchResouces", e); /* as upstream spells it */
	if (acts(actions, "Deny") && acts(actions, "Warn"))
		v_invalid(e, at, actions,
			"must not contain both Deny and Warn (repeating the same validation failure information in the "
			"API response and headers serves no purpose)");
	if (!val_len(actions))
		v_required(e, at, "at least one validation action is required");
}

const struct strategy strategy_policy = { .validate = policy_validate };
const struct strategy strategy_policy_binding = { .validate = binding_validate };

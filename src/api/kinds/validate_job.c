/* What a Job may say about failure, success and indexes. Rules and sentences are upstream's (apis/batch/validation). */
#include "api/api_internal.h"

#define RULES_MAX 20
#define EXIT_CODES_MAX 255
#define CONDITIONS_MAX 20
#define INDEXES_MAX 100000
#define MANY_COMPLETIONS 100000
#define OF_MANY_MAX 10000
#define MANAGED_BY_MAX 63
#define INDEXES_TEXT_MAX ((size_t)64 * 1024)

static void invalid(struct err *e, const char *at, const char *why)
{
	err_cause(e, "FieldValueInvalid", at, "Invalid value: %s", why); /* the value is too large to be told */
}

/* ---- which pods may fail --------------------------------------------------------------------- */

static void exit_codes(struct rq *rq, struct val codes, struct val pod, const char *at, struct err *e)
{
	struct val values = val_get(codes, "values"), name = val_get(codes, "containerName");
	bool in = val_is(val_get(codes, "operator"), "In"), ordered = true;
	char *values_at = rq_f(rq, "%s.values", at);

	if (!val_str(val_get(codes, "operator")).n)
		v_required(e, rq_f(rq, "%s.operator", at), "valid values: [\"In\" \"NotIn\"]");
	if (val_has(name) && !val_has(val_find(val_get(pod, "containers"), "name", val_str(name))) &&
		!val_has(val_find(val_get(pod, "initContainers"), "name", val_str(name))))
		v_invalid(e, rq_f(rq, "%s.containerName", at), name,
			"must be one of the container or initContainer names in the pod template");
	if (!val_len(values))
		v_invalid(e, values_at, values, "at least one value is required");
	else if (val_len(values) > EXIT_CODES_MAX)
		v_too_many(e, values_at, val_len(values), EXIT_CODES_MAX);
	for (size_t i = 0; i < val_len(values); i++) {
		int64_t code = val_int(val_at(values, i), 0);
		char *here = rq_f(rq, "%s[%zu]", values_at, i);
		bool again = false;

		for (size_t k = 0; k < i; k++)
			again |= val_int(val_at(values, k), 0) == code;
		if (in && !code)
			v_invalid(e, here, val_at(values, i), "must not be 0 for the In operator");
		if (again)
			err_cause(e, "FieldValueDuplicate", here, "Duplicate value: %lld", (long long)code);
		ordered &= !i || val_int(val_at(values, i - 1), 0) <= code;
	}
	if (!ordered)
		v_invalid(e, values_at, values, "must be ordered");
}

static void conditions(struct rq *rq, struct val list, const char *at, struct err *e)
{
	static const char *const known[] = { "False", "True", "Unknown", NULL };

	if (val_len(list) > CONDITIONS_MAX)
		v_too_many(e, at, val_len(list), CONDITIONS_MAX);
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str status = val_str(val_get(it.val, "status"));
		char *status_at = rq_f(rq, "%s[%zu].status", at, it.i);

		validate_qualified(e, rq_f(rq, "%s[%zu].type", at, it.i), val_str(val_get(it.val, "type")));
		if (!is_one_of(known, status))
			v_unsupported(e, status_at, status, known);
	}
}

static void failure_rule(struct rq *rq, struct val spec, struct val rule, const char *at, struct err *e)
{
	struct val codes = val_get(rule, "onExitCodes"), list = val_get(rule, "onPodConditions"),
		   action = val_get(rule, "action");

	if (!val_str(action).n)
		v_required(
			e, rq_f(rq, "%s.action", at), "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]");
	else if (val_is(action, "FailIndex") && !val_has(val_get(spec, "backoffLimitPerIndex")))
		v_invalid(e, rq_f(rq, "%s.action", at), action, "requires the backoffLimitPerIndex to be set");
	if (val_has(codes))
		exit_codes(rq, codes, val_path(spec, "template.spec"), rq_f(rq, "%s.onExitCodes", at), e);
	conditions(rq, list, rq_f(rq, "%s.onPodConditions", at), e);
	if (val_has(codes) && val_len(list))
		invalid(e, at, "specifying both OnExitCodes and OnPodConditions is not supported");
	if (!val_has(codes) && !val_len(list))
		invalid(e, at, "specifying one of OnExitCodes and OnPodConditions is required");
}

static void failure_policy(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	static const char *const only[] = { "Failed", NULL };
	struct val policy = val_get(spec, "podFailurePolicy"), rules = val_get(policy, "rules"),
		   replace = val_get(spec, "podReplacementPolicy"),
		   restart = val_path(spec, "template.spec.restartPolicy");
	char *at = rq_f(rq, "%s.podFailurePolicy.rules", path);

	if (!val_has(policy))
		return;
	if (val_len(rules) > RULES_MAX)
		v_too_many(e, at, val_len(rules), RULES_MAX);
	for (struct val_iter it = val_iter(rules); val_next(&it);)
		failure_rule(rq, spec, it.val, rq_f(rq, "%s[%zu]", at, it.i), e);
	if (val_is(replace, "TerminatingOrFailed"))
		v_unsupported(e, rq_f(rq, "%s.podReplacementPolicy", path), val_str(replace), only);
	if (val_is(restart, "OnFailure"))
		v_invalid(e, rq_f(rq, "%s.template.spec.restartPolicy", path), restart,
			"only \"Never\" is supported when podFailurePolicy is specified");
}

/* ---- when it has succeeded ------------------------------------------------------------------- */

static const char *read_index(struct rq *rq, struct str text, int64_t completions, int64_t *ret)
{
	auto_buf struct buf b = BUF_INIT;

	buf_go_quoted(&b, text);
	if (!str_i64(text, ret))
		return rq_f(rq, "cannot convert string to integer for index: %.*s", (int)b.n, b.p);
	return *ret >= completions ? rq_f(rq, "too large index: %.*s", (int)b.n, b.p) : NULL;
}

const char *job_indexes_read(struct rq *rq, struct str text, int64_t completions, int64_t *ret)
{
	int64_t last = -1;
	bool any = false;

	*ret = 0;
	for (struct str part, rest = text; text.n && rest.p;) {
		int64_t from, to;
		const char *why;

		rest = str_cut(rest, ',', &part);
		struct str first, second = str_cut(part, '-', &first);
		if (str_has(second, STR("-")))
			return rq_f(rq,
				"the fragment \"%.*s\" violates the requirement that an index interval can have at most two parts separated by '-'",
				STR_ARG(part));
		if ((why = read_index(rq, first, completions, &from)))
			return why;
		to = from;
		if (second.p && (why = read_index(rq, second, completions, &to)))
			return why;
		if ((second.p && from >= to) || (any && last >= from))
			return rq_f(rq, "non-increasing order, previous: %lld, current: %lld",
				(long long)(any && last >= from ? last : from),
				(long long)(any && last >= from ? from : to));
		*ret += to - from + 1;
		last = to;
		any = true;
	}
	return NULL;
}

struct interval {
	int64_t from, to;
};

/* The next one of the text that is any; false: there is none. */
static bool next_interval(struct str *rest, struct interval *ret)
{
	for (struct str part; rest->p;) {
		struct str first, second;

		*rest = str_cut(*rest, ',', &part);
		second = str_cut(part, '-', &first);
		if (!str_i64(first, &ret->from))
			continue;
		ret->to = ret->from;
		if (!second.p || str_i64(second, &ret->to))
			return true;
	}
	return false;
}

bool job_indexes_overlap(struct str a, struct str b, int64_t *ret)
{
	struct interval x, y;
	bool any_x = a.n && next_interval(&a, &x), any_y = b.n && next_interval(&b, &y);

	while (any_x && any_y) {
		if (x.from <= y.to && y.from <= x.to) {
			*ret = MAX(x.from, y.from);
			return true;
		}
		if (x.from <= y.from)
			any_x = next_interval(&a, &x);
		else
			any_y = next_interval(&b, &y);
	}
	return false;
}

static void success_rule(struct rq *rq, struct val rule, int64_t completions, const char *at, struct err *e)
{
	struct val indexes = val_get(rule, "succeededIndexes"), count = val_get(rule, "succeededCount");
	char *indexes_at = rq_f(rq, "%s.succeededIndexes", at), *count_at = rq_f(rq, "%s.succeededCount", at);
	int64_t n = val_int(count, 0), total = 0;
	const char *why;

	if (!val_has(indexes) && !val_has(count))
		v_required(e, at, "at least one of succeededCount or succeededIndexes must be specified");
	if (val_str(indexes).n > INDEXES_TEXT_MAX)
		v_too_long(e, indexes_at, INDEXES_TEXT_MAX);
	else if ((why = job_indexes_read(rq, val_str(indexes), completions, &total)))
		v_invalid(e, indexes_at, indexes, rq_f(rq, "error parsing succeededIndexes: %s", why));
	validate_nonnegative(rq, rule, at, "succeededCount", e);
	if (n > completions)
		v_invalid(e, count_at, count,
			rq_f(rq, "must be less than or equal to %lld (the number of specified completions)",
				(long long)completions));
	if (val_has(indexes) && n > total)
		v_invalid(e, count_at, count,
			rq_f(rq,
				"must be less than or equal to %lld (the number of indexes in the specified succeededIndexes field)",
				(long long)total));
}

static void success_policy(struct rq *rq, struct val spec, bool indexed, const char *path, struct err *e)
{
	struct val policy = val_get(spec, "successPolicy"), rules = val_get(policy, "rules");
	char *at = rq_f(rq, "%s.successPolicy.rules", path);

	if (!val_has(policy))
		return;
	if (!indexed) {
		v_invalid(e, rq_f(rq, "%s.successPolicy", path), policy, "requires indexed completion mode");
		return;
	}
	if (!val_len(rules))
		v_required(e, at, "at least one rules must be specified when the successPolicy is specified");
	if (val_len(rules) > RULES_MAX)
		v_too_many(e, at, val_len(rules), RULES_MAX);
	for (struct val_iter it = val_iter(rules); val_next(&it);)
		success_rule(rq, it.val, val_int(val_get(spec, "completions"), 0), rq_f(rq, "%s[%zu]", at, it.i), e);
}

/* ---- indexes --------------------------------------------------------------------------------- */

static void at_most(struct rq *rq, struct val spec, const char *path, const char *field, int64_t max, const char *when,
	struct err *e)
{
	struct val v = val_get(spec, field);

	if (val_int(v, 0) > max)
		v_invalid(e, rq_f(rq, "%s.%s", path, field), v,
			rq_f(rq, "must be less than or equal to %lld%s", (long long)max, when));
}

static void indexed_spec(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	static const char many[] = " when completions are above 100000 and used with backoff limit per index";
	struct val completions = val_get(spec, "completions"), failed = val_get(spec, "maxFailedIndexes");

	if (!val_has(completions))
		v_required(e, rq_f(rq, "%s.completions", path), "when completion mode is Indexed");
	at_most(rq, spec, path, "parallelism", INDEXES_MAX, " when completion mode is Indexed", e);
	if (val_has(completions) && val_int(failed, 0) > val_int(completions, 0))
		v_invalid(
			e, rq_f(rq, "%s.maxFailedIndexes", path), failed, "must be less than or equal to completions");
	at_most(rq, spec, path, "maxFailedIndexes", INDEXES_MAX, "", e);
	if (val_int(completions, 0) <= MANY_COMPLETIONS || !val_has(val_get(spec, "backoffLimitPerIndex")))
		return;
	if (!val_has(failed))
		v_required(
			e, rq_f(rq, "%s.maxFailedIndexes", path), "must be specified when completions is above 100000");
	at_most(rq, spec, path, "parallelism", OF_MANY_MAX, many, e);
	at_most(rq, spec, path, "maxFailedIndexes", OF_MANY_MAX, many, e);
}

static void unindexed_spec(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	static const char *const fields[] = { "backoffLimitPerIndex", "maxFailedIndexes" };

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (val_has(val_get(spec, fields[i])))
			v_invalid(e, rq_f(rq, "%s.%s", path, fields[i]), val_get(spec, fields[i]),
				"requires indexed completion mode");
}

static bool is_http_path(struct str s)
{
	static const char others[] = "/-._~%!$&'()*+,;=:";

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (!letter && (!c || !strchr(others, c)))
			return false;
	}
	return true;
}

static void managed_by(struct val by, const char *at, struct err *e)
{
	struct str domain, path = str_cut(val_str(by), '/', &domain);

	if (!val_has(by))
		return;
	if (!val_str(by).n) {
		v_required(e, at, "");
		return;
	}
	if (!domain.n || !path.n) {
		v_invalid(e, at, by, "must be a domain-prefixed path (such as \"acme.io/foo\")");
	} else {
		validate_name(e, at, domain, NAME_SUBDOMAIN);
		if (!is_http_path(path))
			v_invalid_str(e, at, path,
				"Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')");
	}
	if (val_str(by).n > MANAGED_BY_MAX)
		v_too_long(e, at, MANAGED_BY_MAX);
}

void validate_job_spec(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	bool indexed = val_is(val_get(spec, "completionMode"), "Indexed");

	if (val_has(val_get(spec, "maxFailedIndexes")) && !val_has(val_get(spec, "backoffLimitPerIndex")))
		v_required(e, rq_f(rq, "%s.backoffLimitPerIndex", path), "when maxFailedIndexes is specified");
	managed_by(val_get(spec, "managedBy"), rq_f(rq, "%s.managedBy", path), e);
	if (indexed)
		indexed_spec(rq, spec, path, e);
	else
		unindexed_spec(rq, spec, path, e);
	failure_policy(rq, spec, path, e);
	success_policy(rq, spec, indexed, path, e);
}

/* ---- what may change ------------------------------------------------------------------------- */

/* A Job that waits may still be told where its pods run. */
static void forget_scheduling(struct node *template)
{
	static const char *const of_meta[] = { "annotations", "labels" };
	static const char *const of_spec[] = { "nodeSelector", "tolerations", "schedulingGates" };
	struct node *spec = node_getc(template, "spec"), *affinity = node_getc(spec, "affinity");

	for (size_t i = 0; i < ARRAY_LEN(of_meta); i++)
		node_delc(node_need_map(template, "metadata"), of_meta[i]);
	for (size_t i = 0; spec && i < ARRAY_LEN(of_spec); i++)
		node_delc(spec, of_spec[i]);
	if (affinity)
		node_delc(affinity, "nodeAffinity");
	if (affinity && !node_len(affinity))
		node_delc(spec, "affinity");
}

static bool same_but_scheduling(struct rq *rq, struct val template, struct val was)
{
	struct node *a = node_from(rq->a, template), *b = node_from(rq->a, was);

	if (node_kind(a) != VAL_MAP || node_kind(b) != VAL_MAP)
		return false;
	forget_scheduling(a);
	forget_scheduling(b);
	return node_equal(a, b);
}

void validate_job_changes(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const fixed[] = { "spec.completionMode", "spec.podFailurePolicy",
		"spec.backoffLimitPerIndex", "spec.managedBy", "spec.successPolicy" };
	struct val spec = val_get(o, "spec"), was = val_get(old, "spec"), template = val_get(spec, "template");
	bool waits = val_bool(val_get(was, "suspend"), false) && !val_has(val_path(old, "status.startTime"));

	/* declared, too: told here, before the template */
	validate_immutable(e, "spec.selector", val_get(spec, "selector"), val_get(was, "selector"));
	if (!waits || !same_but_scheduling(rq, template, val_get(was, "template")))
		validate_immutable(e, "spec.template", template, val_get(was, "template"));
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		validate_immutable(e, fixed[i], val_path(o, fixed[i]), val_path(old, fixed[i]));
}

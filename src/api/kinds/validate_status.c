/* What controllers say of how far they are: no count is negative, and no part is more than the whole. Rules and sentences
 * are upstream's (apis/apps/validation, apis/core/validation, apimachinery's of conditions). */
#include "api/api_internal.h"
#include <ctype.h>

#define REASON_MAX 1024
#define MESSAGE_MAX (32 * 1024)

static const struct counted {
	const char *kind;
	const char *counts[9]; /* none is negative */
	const char *parts[5];  /* of `replicas` */
	const char *ready;     /* available ones are ready; how the sentence calls those. NULL: it says nothing of it */
} kinds[] = {
	{ "Deployment",
		{ "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
			"unavailableReplicas", "collisionCount" },
		{ "updatedReplicas", "readyReplicas", "availableReplicas" }, "readyReplicas" },
	{ "ReplicaSet",
		{ "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration" },
		{ "fullyLabeledReplicas", "readyReplicas", "availableReplicas" }, "readyReplicas" },
	{ "ReplicationController",
		{ "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration" },
		{ "fullyLabeledReplicas", "readyReplicas", "availableReplicas" }, "readyReplicas" },
	{ "StatefulSet",
		{ "replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas",
			"observedGeneration", "collisionCount" },
		{ "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas" },
		"status.readyReplicas" },
	{ "DaemonSet",
		{ "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
			"observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable",
			"collisionCount" } },
	{ "PodDisruptionBudget", { "disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods" } },
	{ "HorizontalPodAutoscaler", { "currentReplicas", "desiredReplicas" } },
};

static int64_t count(struct val status, const char *field)
{
	return val_int(val_get(status, field), 0);
}

static void at_most(struct rq *rq, struct val status, const char *field, int64_t most, const char *of, struct err *e)
{
	if (count(status, field) > most)
		err_cause(e, "FieldValueInvalid", rq_f(rq, "status.%s", field),
			"Invalid value: %lld: cannot be greater than %s", (long long)count(status, field), of);
}

static void counted_validate(struct rq *rq, const struct counted *k, struct val status, struct val was, struct err *e)
{
	struct val collisions = val_get(status, "collisionCount"), before = val_get(was, "collisionCount");

	for (size_t i = 0; i < ARRAY_LEN(k->counts) && k->counts[i]; i++)
		validate_nonnegative(rq, status, "status", k->counts[i], e);
	for (size_t i = 0; i < ARRAY_LEN(k->parts) && k->parts[i]; i++)
		at_most(rq, status, k->parts[i], count(status, "replicas"), "status.replicas", e);
	if (k->ready)
		at_most(rq, status, "availableReplicas", count(status, "readyReplicas"), k->ready, e);
	if (val_has(before) && (!val_has(collisions) || val_int(collisions, 0) < val_int(before, 0)))
		err_cause(e, "FieldValueInvalid", "status.collisionCount", "Invalid value: %lld: cannot be decremented",
			(long long)val_int(collisions, 0));
}

void validate_counted_status(struct rq *rq, struct val o, struct val old, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (val_is(val_get(o, "kind"), kinds[i].kind))
			counted_validate(rq, &kinds[i], val_get(o, "status"), val_get(old, "status"), e);
}

/* ---- conditions ------------------------------------------------------------------------------ */

static bool reason_shaped(struct str s)
{
	bool right = s.n && isalpha((unsigned char)s.p[0]);

	for (size_t i = 1; i < s.n; i++) {
		char c = s.p[i];

		right &= isalnum((unsigned char)c) || c == '_' || (i + 1 < s.n && (c == ',' || c == ':'));
	}
	return right;
}

static void reason_validate(struct str reason, const char *at, struct err *e)
{
	if (!reason.n) {
		v_required(e, at, "must be set");
		return;
	}
	if (!reason_shaped(reason))
		v_invalid_str(e, at, reason,
			"a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')");
	if (reason.n > REASON_MAX)
		v_too_long(e, at, REASON_MAX);
}

static void condition_validate(struct rq *rq, struct val c, const char *at, struct err *e)
{
	static const char *const statuses[] = { "False", "True", "Unknown", NULL };
	struct val generation = val_get(c, "observedGeneration");

	validate_qualified(e, rq_f(rq, "%s.type", at), val_str(val_get(c, "type")));
	if (!is_one_of(statuses, val_str(val_get(c, "status"))))
		v_unsupported(e, rq_f(rq, "%s.status", at), val_str(val_get(c, "status")), statuses);
	if (val_int(generation, 0) < 0)
		v_invalid(
			e, rq_f(rq, "%s.observedGeneration", at), generation, "must be greater than or equal to zero");
	if (!val_str(val_get(c, "lastTransitionTime")).n)
		v_required(e, rq_f(rq, "%s.lastTransitionTime", at), "must be set");
	reason_validate(val_str(val_get(c, "reason")), rq_f(rq, "%s.reason", at), e);
	if (val_str(val_get(c, "message")).n > MESSAGE_MAX)
		v_too_long(e, rq_f(rq, "%s.message", at), MESSAGE_MAX);
}

void validate_conditions(struct rq *rq, struct val list, const char *path, struct err *e)
{
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str type = val_str(val_get(it.val, "type"));
		char *at = rq_f(rq, "%s[%zu]", path, it.i);

		if (type.n && val_find(list, "type", type).at != it.val.at)
			v_duplicate(e, rq_f(rq, "%s.type", at), type);
		condition_validate(rq, it.val, at, e);
	}
}

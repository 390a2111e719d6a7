/* What controllers say of how far they are: no count is negative, and no part is more than the whole. Rules and sentences
 * are upstream's (apis/apps/validation, apis/core/validation). */
#include "api/api_internal.h"

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

void validate_workload_status(struct rq *rq, struct val o, struct val old, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (val_is(val_get(o, "kind"), kinds[i].kind))
			counted_validate(rq, &kinds[i], val_get(o, "status"), val_get(old, "status"), e);
}

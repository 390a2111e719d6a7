/* What the files of the Job controller share: job.c acts, job_decide.c only thinks. */
#pragma once
#include "controllers/controllers_internal.h"

#define JOB_FINALIZER "batch.kubernetes.io/job-tracking"
#define JOB_INDEX "batch.kubernetes.io/job-completion-index"
#define JOB_INDEX_FAILURES "batch.kubernetes.io/job-index-failure-count"
#define JOB_NONE (-1)

/* ---- sets of indexes: "0,2-5" ---------------------------------------------------------------- */

struct index_set {
	bool *has; /* n of them, in the arena */
	int64_t n, count;
};
struct index_set index_set_new(struct arena *a, int64_t n);
/* Adds what the text names; indexes beyond n are left out. */
void index_set_read(struct index_set *s, struct str text);
void index_set_add(struct index_set *s, int64_t i);
struct str index_set_text(struct arena *a, const struct index_set *s);
static inline bool index_set_has(const struct index_set *s, int64_t i)
{
	return i >= 0 && i < s->n && s->has[i];
}

/* ---- pods ------------------------------------------------------------------------------------ */

int64_t job_pod_index(const struct doc *pod); /* JOB_NONE: it has none */
bool job_pod_tracked(const struct doc *pod);  /* the finalizer is there: it has not been counted for good */
enum pod_fate { FATE_ACTIVE, FATE_TERMINATING, FATE_SUCCEEDED, FATE_FAILED };
/* count_terminating: a pod that goes counts as failed at once (no podFailurePolicy, podReplacementPolicy
 * TerminatingOrFailed). */
enum pod_fate job_pod_fate(const struct doc *pod, bool count_terminating);

/* spec.podFailurePolicy for a failed pod. *message is in the arena, for POLICY_FAIL_JOB. */
enum policy { POLICY_COUNT, POLICY_IGNORE, POLICY_FAIL_JOB, POLICY_FAIL_INDEX };
enum policy job_policy(struct arena *a, const struct doc *job, const struct doc *pod, const char **message);

/* spec.successPolicy: NULL, or the message of the rule that holds. */
const char *job_success_rule(struct arena *a, const struct doc *job, const struct index_set *completed);

/* When a pod that ended did so: the last of its containers, or when it stopped being ready, or its deletion; 0:
 * unknown. Nanoseconds. */
int64_t job_pod_end_ns(const struct doc *pod);
/* How long a new pod waits after so many failures in a row. */
int64_t job_backoff_ms(int64_t failures);

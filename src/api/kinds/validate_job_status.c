/* What whoever runs a Job may say of it: it ends once, and what was counted stays counted. Rules and sentences are
 * upstream's (apis/batch/validation); most of them look only where something changes, so that a status which is wrong
 * already can still be written. */
#include "api/api_internal.h"

#define CONDITIONS "status.conditions"

struct job {
	struct val spec, status;
	bool complete, failed, finished, fails, succeeds; /* the last two: decided, and its pods end yet */
};

struct change {
	struct rq *rq;
	struct job was, is;
	struct err *e;
};

static bool is_true(struct val status, const char *type)
{
	for (struct val_iter it = val_iter(val_get(status, "conditions")); val_next(&it);)
		if (val_is(val_get(it.val, "type"), type) && val_is(val_get(it.val, "status"), "True"))
			return true;
	return false;
}

static struct job job_of(struct val o)
{
	struct val status = val_get(o, "status");
	struct job j = { .spec = val_get(o, "spec"),
		.status = status,
		.complete = is_true(status, "Complete"),
		.failed = is_true(status, "Failed"),
		.fails = is_true(status, "FailureTarget"),
		.succeeds = is_true(status, "SuccessCriteriaMet") };

	j.finished = j.complete || j.failed;
	return j;
}

static struct val now(const struct change *c, const char *field)
{
	return val_get(c->is.status, field);
}

static bool changes(const struct change *c, const char *field)
{
	struct val a = now(c, field), b = val_get(c->was.status, field);

	return (val_has(a) || val_has(b)) && !val_equal(a, b);
}

static bool counts_change(const struct change *c, const char *field)
{
	return val_int(now(c, field), 0) != val_int(val_get(c->was.status, field), 0);
}

static void conditions_wrong(const struct change *c, bool wrong, const char *why)
{
	if (wrong)
		err_cause(c->e, "FieldValueInvalid", CONDITIONS, "Invalid value: %s", why);
}

static void field_wrong(const struct change *c, bool wrong, const char *field, const char *why)
{
	if (wrong)
		v_invalid(c->e, rq_f(c->rq, "status.%s", field), now(c, field), why);
}

static void field_missing(const struct change *c, bool wrong, const char *field, const char *why)
{
	if (wrong)
		v_required(c->e, rq_f(c->rq, "status.%s", field), why);
}

/* ---- numbers and pods ------------------------------------------------------------------------ */

static bool listed_before(struct val list, size_t n, struct str uid)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(val_str(val_at(list, i)), uid))
			return true;
	return false;
}

/* Each uid stands once in both lists together. */
static void uncounted(const struct change *c)
{
	struct val ok = val_path(c->is.status, "uncountedTerminatedPods.succeeded"),
		   bad = val_path(c->is.status, "uncountedTerminatedPods.failed");

	for (int k = 0; k < 2; k++) {
		struct val list = k ? bad : ok;

		for (size_t i = 0; i < val_len(list); i++) {
			struct str uid = val_str(val_at(list, i));
			char *at = rq_f(c->rq, "status.uncountedTerminatedPods.%s[%zu]", k ? "failed" : "succeeded", i);

			if (!uid.n)
				v_invalid_str(c->e, at, uid, "must not be empty");
			else if (listed_before(list, i, uid) || (k && listed_before(ok, val_len(ok), uid)))
				v_duplicate(c->e, at, uid);
		}
	}
}

static bool any_uncounted(const struct change *c)
{
	return val_len(val_path(c->is.status, "uncountedTerminatedPods.succeeded")) ||
		val_len(val_path(c->is.status, "uncountedTerminatedPods.failed"));
}

static void numbers(const struct change *c)
{
	static const char *const fields[] = { "active", "succeeded", "failed", "ready", "terminating" };

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		validate_nonnegative(c->rq, c->is.status, "status", fields[i], c->e);
	uncounted(c);
}

/* ---- how it ends ----------------------------------------------------------------------------- */

static void verdicts(const struct change *c)
{
	const struct job *is = &c->is, *was = &c->was;
	bool completes = is->complete != was->complete, fails = is->failed != was->failed,
	     timed = completes || changes(c, "completionTime");
	struct val start = now(c, "startTime"), end = now(c, "completionTime");

	conditions_wrong(c, (completes || fails) && is->complete && is->failed,
		"cannot set Complete=True and Failed=true conditions");
	conditions_wrong(c, (completes || is->fails != was->fails) && is->complete && is->fails,
		"cannot set Complete=True and FailureTarget=true conditions");
	field_wrong(c, timed && val_has(end) && !is->complete, "completionTime",
		"cannot set completionTime when there is no Complete=True condition");
	field_missing(c, timed && !val_has(end) && is->complete, "completionTime",
		"completionTime is required for Complete jobs");
	field_wrong(c,
		(changes(c, "startTime") || changes(c, "completionTime")) && val_has(start) && val_has(end) &&
			str_cmp(val_str(end), val_str(start)) < 0,
		"completionTime", "completionTime cannot be set before startTime");
	conditions_wrong(c, (fails || is->fails != was->fails) && is->failed && !is->fails,
		"cannot set Failed=True condition without the FailureTarget=true condition");
	conditions_wrong(c, (completes || is->succeeds != was->succeeds) && is->complete && !is->succeeds,
		"cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
}

static void finished(const struct change *c)
{
	bool ends = c->is.finished != c->was.finished, over = c->is.finished;

	field_wrong(c, (ends || counts_change(c, "active")) && over && val_int(now(c, "active"), 0) > 0, "active",
		"active>0 is invalid for finished job");
	field_missing(c, (ends || changes(c, "startTime")) && over && !val_has(now(c, "startTime")), "startTime",
		"startTime is required for finished job");
	field_wrong(c, (ends || changes(c, "uncountedTerminatedPods")) && over && any_uncounted(c),
		"uncountedTerminatedPods", "uncountedTerminatedPods needs to be empty for finished job");
}

static void pods(const struct change *c)
{
	bool ends = c->is.finished != c->was.finished;
	struct val ready = now(c, "ready");

	field_wrong(c, (ends || changes(c, "terminating")) && c->is.finished && val_int(now(c, "terminating"), 0) > 0,
		"terminating", "terminating>0 is invalid for finished job");
	field_wrong(c,
		(changes(c, "ready") || counts_change(c, "active")) && val_has(ready) &&
			val_int(ready, 0) > val_int(now(c, "active"), 0),
		"ready", "cannot set more ready pods than active");
}

static void success(const struct change *c)
{
	const struct job *is = &c->is;

	conditions_wrong(
		c, is->succeeds && is->failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
	conditions_wrong(
		c, is->succeeds && is->fails, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
	conditions_wrong(c, val_has(val_get(is->spec, "successPolicy")) && !is->succeeds && is->complete,
		"cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
}

/* ---- indexes --------------------------------------------------------------------------------- */

static void index_text(const struct change *c, const char *field)
{
	int64_t ignored;
	const char *why = job_indexes_read(
		c->rq, val_str(now(c, field)), val_int(val_get(c->is.spec, "completions"), 0), &ignored);

	if (why)
		field_wrong(c, true, field, rq_f(c->rq, "error parsing %s: %s", field, why));
}

static void indexes(const struct change *c)
{
	struct val spec = c->is.spec, done = now(c, "completedIndexes"), lost = now(c, "failedIndexes");
	bool counted = val_has(val_get(spec, "completions")),
	     per_index = val_has(val_get(spec, "backoffLimitPerIndex")),
	     done_new = !str_eq(val_str(done), val_str(val_get(c->was.status, "completedIndexes"))),
	     lost_new = changes(c, "failedIndexes");
	int64_t both;

	if (done_new && counted)
		index_text(c, "completedIndexes");
	if (lost_new && counted && per_index && val_has(lost))
		index_text(c, "failedIndexes");
	field_wrong(c, done_new && val_str(done).n && !val_is(val_get(spec, "completionMode"), "Indexed"),
		"completedIndexes", "cannot set non-empty completedIndexes when non-indexed completion mode");
	field_wrong(c, lost_new && val_has(lost) && !per_index, "failedIndexes",
		"cannot set non-null failedIndexes when backoffLimitPerIndex is null");
	if ((done_new || lost_new) && counted && job_indexes_overlap(val_str(done), val_str(lost), &both))
		field_wrong(c, true, "failedIndexes",
			rq_f(c->rq, "failedIndexes and completedIndexes overlap at index: %lld", (long long)both));
}

/* ---- what may not be taken back -------------------------------------------------------------- */

static void stays(const struct change *c)
{
	static const char *const final[] = { "Failed", "Complete", "FailureTarget" };
	const struct job *is = &c->is, *was = &c->was;
	struct val start = val_get(was->status, "startTime"), end = val_get(was->status, "completionTime");
	bool elastic = val_is(val_get(is->spec, "completionMode"), "Indexed") &&
		val_equal(val_get(is->spec, "completions"), val_get(is->spec, "parallelism"));

	for (size_t i = 0; i < ARRAY_LEN(final); i++)
		conditions_wrong(c, is_true(was->status, final[i]) && !is_true(is->status, final[i]),
			rq_f(c->rq, "cannot disable the terminal %s=True condition", final[i]));
	field_wrong(c, val_int(now(c, "failed"), 0) < val_int(val_get(was->status, "failed"), 0), "failed",
		"cannot decrease the failed counter");
	field_wrong(c, !elastic && val_int(now(c, "succeeded"), 0) < val_int(val_get(was->status, "succeeded"), 0),
		"succeeded", "cannot decrease the succeeded counter");
	field_wrong(c, val_has(end) && val_has(now(c, "completionTime")) && changes(c, "completionTime"),
		"completionTime", "completionTime cannot be mutated");
	field_missing(c, val_has(start) && changes(c, "startTime") && !val_bool(val_get(is->spec, "suspend"), false),
		"startTime", "startTime cannot be removed for unsuspended job");
	conditions_wrong(c, was->succeeds && !is->succeeds, "cannot disable the SuccessCriteriaMet=True condition");
	conditions_wrong(c, was->complete && !was->succeeds && is->succeeds,
		"cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions");
}

void validate_job_status(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct change c = { rq, job_of(old), job_of(o), e };

	numbers(&c);
	verdicts(&c);
	finished(&c);
	indexes(&c);
	pods(&c);
	success(&c);
	stays(&c);
}

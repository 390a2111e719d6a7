/* The thinking of the Job controller: nothing here writes or waits. */
#include "controllers/job.h"

#include <inttypes.h>

#define BACKOFF_FIRST_MS 10000
#define BACKOFF_MOST_MS 600000

/* ---- sets of indexes ------------------------------------------------------------------------- */

struct index_set index_set_new(struct arena *a, int64_t n)
{
	return (struct index_set){ .has = ARENA_ARRAY(a, bool, (size_t)MAX(n, (int64_t)0) + 1),
		.n = MAX(n, (int64_t)0) };
}

void index_set_add(struct index_set *s, int64_t i)
{
	if (i < 0 || i >= s->n || s->has[i])
		return;
	s->has[i] = true;
	s->count++;
}

void index_set_read(struct index_set *s, struct str text)
{
	for (struct str part; str_next(&text, ',', &part);) {
		struct str first, last = str_cut(part, '-', &first);
		int64_t from, to;

		if (!str_i64(first, &from) || (last.p && !str_i64(last, &to)))
			continue;
		to = last.p ? MIN(to, s->n - 1) : from;
		for (int64_t i = from; i <= to; i++)
			index_set_add(s, i);
	}
}

struct str index_set_text(struct arena *a, const struct index_set *s)
{
	auto_buf struct buf b = BUF_INIT;

	for (int64_t i = 0; i < s->n; i++) {
		int64_t from = i;

		if (!s->has[i])
			continue;
		while (i + 1 < s->n && s->has[i + 1])
			i++;
		buf_printf(&b, "%s%" PRId64, b.n ? "," : "", from);
		if (i > from)
			buf_printf(&b, "%c%" PRId64, i == from + 1 ? ',' : '-', i);
	}
	return arena_str(a, buf_view(&b));
}

/* ---- pods ------------------------------------------------------------------------------------ */

int64_t job_pod_index(const struct doc *pod)
{
	int64_t i;

	return str_i64(val_str(val_get(doc_get(pod, "metadata.annotations"), JOB_INDEX)), &i) && i >= 0 ? i : JOB_NONE;
}

bool job_pod_tracked(const struct doc *pod)
{
	for (struct val_iter it = val_iter(doc_get(pod, "metadata.finalizers")); val_next(&it);)
		if (val_is(it.val, JOB_FINALIZER))
			return true;
	return false;
}

enum pod_fate job_pod_fate(const struct doc *pod, bool count_terminating)
{
	struct str phase = doc_str(pod, "status.phase");

	if (str_is(phase, "Succeeded"))
		return FATE_SUCCEEDED;
	if (str_is(phase, "Failed"))
		return FATE_FAILED;
	if (!is_deleting(pod))
		return FATE_ACTIVE;
	return count_terminating ? FATE_FAILED : FATE_TERMINATING;
}

int64_t job_pod_end_ns(const struct doc *pod)
{
	struct wall t;
	int64_t last = 0;

	for (struct val_iter it = val_iter(doc_get(pod, "status.containerStatuses")); val_next(&it);)
		if (wall_parse(val_str(val_path(it.val, "state.terminated.finishedAt")), &t))
			last = MAX(last, t.ns);
	if (!last && wall_parse(val_str(val_get(condition_of(doc_root(pod), "Ready"), "lastTransitionTime")), &t))
		last = t.ns;
	if (!last && wall_parse(doc_str(pod, "metadata.deletionTimestamp"), &t))
		last = t.ns;
	return last;
}

int64_t job_backoff_ms(int64_t failures)
{
	int64_t ms = BACKOFF_FIRST_MS;

	if (failures <= 0)
		return 0;
	for (int64_t i = 1; i < failures && ms < BACKOFF_MOST_MS; i++)
		ms *= 2;
	return MIN(ms, (int64_t)BACKOFF_MOST_MS);
}

/* ---- podFailurePolicy ------------------------------------------------------------------------ */

/* The container's exit code that the rule means, or JOB_NONE. */
static int64_t exit_code_for(struct val rule, struct val statuses, struct str *container)
{
	struct str only = val_str(val_get(rule, "containerName"));
	bool in = val_is(val_get(rule, "operator"), "In");

	for (struct val_iter it = val_iter(statuses); val_next(&it);) {
		struct val ended = val_path(it.val, "state.terminated");
		int64_t code = val_int(val_get(ended, "exitCode"), 0);
		bool listed = false;

		if (!val_has(ended) || !code || (only.n && !str_eq(only, val_str(val_get(it.val, "name")))))
			continue;
		for (struct val_iter v = val_iter(val_get(rule, "values")); val_next(&v);)
			listed |= val_int(v.val, -1) == code;
		if (listed == in) {
			*container = val_str(val_get(it.val, "name"));
			return code;
		}
	}
	return JOB_NONE;
}

static bool condition_met(struct val patterns, const struct doc *pod, struct str *type)
{
	for (struct val_iter it = val_iter(patterns); val_next(&it);) {
		struct val have = val_find(doc_get(pod, "status.conditions"), "type", val_str(val_get(it.val, "type")));
		struct str want = val_str(val_get(it.val, "status"));

		if (val_has(have) && str_eq(val_str(val_get(have, "status")), want.n ? want : STR("True"))) {
			*type = val_str(val_get(it.val, "type"));
			return true;
		}
	}
	return false;
}

static bool rule_holds(struct arena *a, struct val rule, size_t number, const struct doc *pod, const char **message)
{
	struct val codes = val_get(rule, "onExitCodes");
	struct str what = STR_NULL;
	int64_t code;

	if (val_has(codes)) {
		code = exit_code_for(codes, doc_get(pod, "status.containerStatuses"), &what);
		if (code == JOB_NONE)
			code = exit_code_for(codes, doc_get(pod, "status.initContainerStatuses"), &what);
		*message = arena_printf(a,
			"Container %.*s for pod %.*s/%.*s failed with exit code %" PRId64
			" matching %.*s rule at index %zu",
			STR_ARG(what), STR_ARG(doc_ns(pod)), STR_ARG(doc_name(pod)), code,
			STR_ARG(val_str(val_get(rule, "action"))), number);
		return code != JOB_NONE;
	}
	if (!condition_met(val_get(rule, "onPodConditions"), pod, &what))
		return false;
	*message = arena_printf(a, "Pod %.*s/%.*s has condition %.*s matching %.*s rule at index %zu",
		STR_ARG(doc_ns(pod)), STR_ARG(doc_name(pod)), STR_ARG(what), STR_ARG(val_str(val_get(rule, "action"))),
		number);
	return true;
}

enum policy job_policy(struct arena *a, const struct doc *job, const struct doc *pod, const char **message)
{
	for (struct val_iter it = val_iter(doc_get(job, "spec.podFailurePolicy.rules")); val_next(&it);) {
		struct str action = val_str(val_get(it.val, "action"));

		if (!rule_holds(a, it.val, it.i, pod, message))
			continue;
		return str_is(action, "FailJob")    ? POLICY_FAIL_JOB :
			str_is(action, "Ignore")    ? POLICY_IGNORE :
			str_is(action, "FailIndex") ? POLICY_FAIL_INDEX :
						      POLICY_COUNT;
	}
	return POLICY_COUNT;
}

/* ---- successPolicy --------------------------------------------------------------------------- */

const char *job_success_rule(struct arena *a, const struct doc *job, const struct index_set *completed)
{
	for (struct val_iter it = val_iter(doc_get(job, "spec.successPolicy.rules")); val_next(&it);) {
		struct str named = val_str(val_get(it.val, "succeededIndexes"));
		struct index_set wanted = index_set_new(a, completed->n);
		int64_t needed, have = 0;

		if (named.n)
			index_set_read(&wanted, named);
		for (int64_t i = 0; i < completed->n; i++)
			have += completed->has[i] && (!named.n || wanted.has[i]);
		needed = val_int(val_get(it.val, "succeededCount"), named.n ? wanted.count : completed->n);
		if (have >= needed)
			return arena_printf(a, "Matched rules at index %zu", it.i);
	}
	return NULL;
}

/* job: pods that run to their end, counted exactly.
 *
 *   A pod is counted once, for good, in four steps that survive a crash between any two:
 *     it ends, and still has the finalizer     its uid is written to status.uncountedTerminatedPods (or its index to
 *                                              completedIndexes)
 *     the finalizer is taken away              only of pods whose uid or index the status holds
 *     it has no finalizer any more             the uid leaves the status and the counter grows, in one write
 *   The Job is read from the API before each look, and its status is written against that version: nothing is counted
 *   on old facts.
 *
 * How it ends: first SuccessCriteriaMet or FailureTarget is written and the other pods go, then, when none is left,
 * Complete or Failed.
 * Source of the semantics: the Kubernetes documentation, "Jobs". */
#include "controllers/job.h"

#include <inttypes.h>
#include <stdio.h>

#define LOG_MODULE "controllers"
#define BURST 500
#define DEFAULT_BACKOFF_LIMIT 6

struct work {
	struct ctl *c;
	struct arena *a;
	struct doc *job;
	struct str key;
	struct informer_list pods;
	bool indexed, count_terminating, suspended;
	int64_t parallelism, completions, backoff_limit, per_index; /* JOB_NONE: not given */
	/* counted so far, with what the status calls uncounted */
	int64_t succeeded, failed, active, terminating, ready, tracked;
	struct index_set done, lost; /* completed and failed indexes */
	struct index_set running;
	struct node *uncounted_ok, *uncounted_bad; /* uids */
	struct node *conditions;
	const char *fail_reason, *fail_message, *success_reason, *success_message;
	struct doc **release; /* pods whose finalizer may go once the status is written */
	size_t n_release;
	int64_t next_ms;
	struct wall last_failure, last_success;
};

static struct val old_status(const struct work *w, const char *field)
{
	return val_get(doc_get(w->job, "status"), field);
}

static bool has_condition(struct work *w, const char *type)
{
	return val_is(val_get(condition_of(doc_root(w->job), type), "status"), "True");
}

static bool is_finished(const struct doc *job)
{
	return val_is(val_get(condition_of(doc_root(job), "Complete"), "status"), "True") ||
		val_is(val_get(condition_of(doc_root(job), "Failed"), "status"), "True");
}

/* ---- counting -------------------------------------------------------------------------------- */

static bool lists_uid(struct val list, struct str uid)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (str_eq(val_str(it.val), uid))
			return true;
	return false;
}

/* uids of the status whose pods have no finalizer any more become a number; the others stay. */
static void settle(struct work *w, struct val uids, int64_t *counter, struct node *left)
{
	for (struct val_iter it = val_iter(uids); val_next(&it);) {
		bool tracked = false;

		for (size_t i = 0; i < w->pods.n && !tracked; i++)
			tracked =
				str_eq(doc_uid(w->pods.items[i]), val_str(it.val)) && job_pod_tracked(w->pods.items[i]);
		if (tracked)
			node_add(left, node_from(w->a, it.val));
		else
			++*counter;
	}
}

/* How often its index has failed, with this failed pod. */
static int64_t failure_number(const struct doc *pod)
{
	int64_t n = 0;

	str_i64(val_str(val_get(doc_get(pod, "metadata.annotations"), JOB_INDEX_FAILURES)), &n);
	return n + 1;
}

static int64_t failures_of_index(struct work *w, int64_t index)
{
	int64_t most = 0;

	for (size_t i = 0; i < w->pods.n; i++) {
		struct doc *p = w->pods.items[i];

		if (job_pod_index(p) == index && job_pod_fate(p, w->count_terminating) == FATE_FAILED)
			most = MAX(most, failure_number(p));
	}
	return most;
}

static void note_failure(struct work *w, struct doc *pod)
{
	const char *message = NULL;
	enum policy policy = job_policy(w->a, w->job, pod, &message);
	int64_t index = job_pod_index(pod);

	w->last_failure.ns = MAX(w->last_failure.ns, job_pod_end_ns(pod));
	if (policy == POLICY_FAIL_JOB && !w->fail_reason) {
		w->fail_reason = "PodFailurePolicy";
		w->fail_message = message;
	}
	if (w->per_index != JOB_NONE &&
		(policy == POLICY_FAIL_INDEX || (policy == POLICY_COUNT && failures_of_index(w, index) > w->per_index)))
		index_set_add(&w->lost, index);
	if (!job_pod_tracked(pod) ||
		lists_uid(val_path(doc_get(w->job, "status"), "uncountedTerminatedPods.failed"), doc_uid(pod)))
		return;
	if (policy != POLICY_IGNORE)
		node_add(w->uncounted_bad, node_str(w->a, doc_uid(pod)));
}

static void note_success(struct work *w, struct doc *pod)
{
	w->last_success.ns = MAX(w->last_success.ns, job_pod_end_ns(pod));
	if (w->indexed) {
		if (job_pod_tracked(pod))
			index_set_add(&w->done, job_pod_index(pod));
		return;
	}
	if (job_pod_tracked(pod) &&
		!lists_uid(val_path(doc_get(w->job, "status"), "uncountedTerminatedPods.succeeded"), doc_uid(pod)))
		node_add(w->uncounted_ok, node_str(w->a, doc_uid(pod)));
}

static void take_stock_of(struct work *w, struct doc *pod)
{
	enum pod_fate fate = job_pod_fate(pod, w->count_terminating);

	w->terminating += is_deleting(pod) && !pod_ended(pod);
	w->tracked += job_pod_tracked(pod) && (pod_ended(pod) || is_deleting(pod));
	switch (fate) {
	case FATE_ACTIVE:
		w->active++;
		w->ready += pod_ready(pod);
		index_set_add(&w->running, job_pod_index(pod));
		return;
	case FATE_TERMINATING:
		index_set_add(&w->running, job_pod_index(pod));
		return;
	case FATE_FAILED:
		note_failure(w, pod);
		break;
	case FATE_SUCCEEDED:
		note_success(w, pod);
		break;
	}
	if (job_pod_tracked(pod))
		w->release[w->n_release++] = pod;
}

static void take_stock(struct work *w)
{
	struct val uncounted = old_status(w, "uncountedTerminatedPods");
	int64_t size = w->indexed ? w->completions : 0;

	w->done = index_set_new(w->a, size);
	w->lost = index_set_new(w->a, size);
	w->running = index_set_new(w->a, size);
	index_set_read(&w->done, val_str(old_status(w, "completedIndexes")));
	index_set_read(&w->lost, val_str(old_status(w, "failedIndexes")));
	w->succeeded = val_int(old_status(w, "succeeded"), 0);
	w->failed = val_int(old_status(w, "failed"), 0);
	w->uncounted_ok = node_list(w->a);
	w->uncounted_bad = node_list(w->a);
	w->release = ARENA_ARRAY(w->a, struct doc *, w->pods.n + 1);
	settle(w, val_get(uncounted, "succeeded"), &w->succeeded, w->uncounted_ok);
	settle(w, val_get(uncounted, "failed"), &w->failed, w->uncounted_bad);
	for (size_t i = 0; i < w->pods.n; i++)
		take_stock_of(w, w->pods.items[i]);
	if (w->indexed)
		w->succeeded = w->done.count;
}

static int64_t all_succeeded(const struct work *w)
{
	return w->succeeded + (int64_t)node_len(w->uncounted_ok);
}

static int64_t all_failed(const struct work *w)
{
	return w->failed + (int64_t)node_len(w->uncounted_bad);
}

/* ---- how it ends ----------------------------------------------------------------------------- */

static void fails(struct work *w, const char *reason, const char *message)
{
	if (w->fail_reason)
		return;
	w->fail_reason = reason;
	w->fail_message = message;
}

/* With OnFailure the pods live on and their containers' restarts are what counts. */
static int64_t restarts(struct work *w)
{
	int64_t n = 0;

	if (!str_is(doc_str(w->job, "spec.template.spec.restartPolicy"), "OnFailure"))
		return 0;
	for (size_t i = 0; i < w->pods.n; i++) {
		if (job_pod_fate(w->pods.items[i], w->count_terminating) != FATE_ACTIVE)
			continue;
		for (struct val_iter it = val_iter(doc_get(w->pods.items[i], "status.initContainerStatuses"));
			val_next(&it);)
			n += val_int(val_get(it.val, "restartCount"), 0);
		for (struct val_iter it = val_iter(doc_get(w->pods.items[i], "status.containerStatuses"));
			val_next(&it);)
			n += val_int(val_get(it.val, "restartCount"), 0);
	}
	return n;
}

static void come_back(struct work *w, int64_t ms)
{
	w->next_ms = w->next_ms ? MIN(w->next_ms, ms) : ms;
}

static void check_deadline(struct work *w)
{
	int64_t seconds = doc_int(w->job, "spec.activeDeadlineSeconds", 0), left;
	struct wall since;

	if (!seconds || w->suspended || !wall_parse(doc_str(w->job, "status.startTime"), &since))
		return;
	left = seconds * 1000 - (wall_now().ns - since.ns) / 1000000;
	if (left <= 0)
		fails(w, "DeadlineExceeded", "Job was active longer than specified deadline");
	else
		come_back(w, left);
}

static void check_failure(struct work *w)
{
	struct val most = doc_get(w->job, "spec.maxFailedIndexes");
	int64_t again = restarts(w);

	check_deadline(w);
	if (all_failed(w) > w->backoff_limit || (again && again >= w->backoff_limit))
		fails(w, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
	if (w->per_index == JOB_NONE)
		return;
	if (val_has(most) && w->lost.count > val_int(most, 0))
		fails(w, "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes");
	else if (w->lost.count && w->lost.count + w->done.count >= w->completions)
		fails(w, "FailedIndexes", "Job has failed indexes");
}

static void check_success(struct work *w)
{
	const char *rule = w->indexed ? job_success_rule(w->a, w->job, &w->done) : NULL;
	bool complete = w->completions != JOB_NONE ? all_succeeded(w) >= w->completions :
						     all_succeeded(w) > 0 && !w->active && !w->terminating;

	if (w->fail_reason || (!rule && !complete))
		return;
	w->success_reason = rule ? "SuccessPolicy" : "CompletionsReached";
	w->success_message = rule ? rule : "Reached expected number of succeeded pods";
}

static void recall(struct work *w, const char *type, const char **reason, const char **message)
{
	struct val c = condition_of(doc_root(w->job), type);

	*reason = arena_cstr(w->a, val_str(val_get(c, "reason")));
	*message = arena_cstr(w->a, val_str(val_get(c, "message")));
}

/* A verdict that was written stays. */
static void decide(struct work *w)
{
	if (has_condition(w, "FailureTarget")) {
		recall(w, "FailureTarget", &w->fail_reason, &w->fail_message);
		return;
	}
	w->fail_reason = has_condition(w, "SuccessCriteriaMet") ? NULL : w->fail_reason;
	if (has_condition(w, "SuccessCriteriaMet")) {
		recall(w, "SuccessCriteriaMet", &w->success_reason, &w->success_message);
		return;
	}
	check_failure(w);
	check_success(w);
}

/* ---- pods come and go ------------------------------------------------------------------------ */

static int delete_active(struct work *w, int64_t n, struct err *e)
{
	/* those that are not ready first, then the youngest */
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = w->pods.n; i-- > 0 && n > 0;) {
			struct doc *p = w->pods.items[i];

			if (job_pod_fate(p, false) != FATE_ACTIVE || pod_ready(p) != (pass == 1))
				continue;
			if (delete_pod(w->c, w->a, w->job, w->key, p, e) < 0)
				return -e->code;
			w->active--;
			w->terminating++;
			n--;
		}
	}
	return 0;
}

static struct node *template_of(struct work *w, int64_t index)
{
	struct node *template = node_copy(w->a, node_from(w->a, doc_get(w->job, "spec.template"))), *annotations,
		    *containers;

	node_add(node_need_list(template, "metadata.finalizers"), node_c(w->a, JOB_FINALIZER));
	if (index == JOB_NONE)
		return template;
	annotations = node_need_map(template, "metadata.annotations");
	node_setc(annotations, JOB_INDEX, node_strf(w->a, "%" PRId64, index));
	if (w->per_index != JOB_NONE)
		node_setc(annotations, JOB_INDEX_FAILURES, node_strf(w->a, "%" PRId64, failures_of_index(w, index)));
	node_setc(node_need_map(template, "spec"), "hostname",
		node_strf(w->a, "%.*s-%" PRId64, STR_ARG(doc_name(w->job)), index));
	for (int list = 0; list < 2; list++) {
		containers = node_path(template, list ? "spec.initContainers" : "spec.containers");
		for (size_t i = 0; i < node_len(containers); i++)
			node_add(node_need_list(node_at(containers, i), "env"),
				node_pack(w->a,
					"{name:'JOB_COMPLETION_INDEX', valueFrom:{fieldRef:{apiVersion:'v1', fieldPath:s}}}",
					"metadata.labels['" JOB_INDEX "']"));
	}
	return template;
}

static int create_one(struct work *w, int64_t index, struct err *e)
{
	auto_(doc_unref) struct doc *template = node_publish(template_of(w, index)), *made = NULL;
	struct node *labels = node_map(w->a);
	char *prefix = NULL;

	if (index != JOB_NONE) {
		node_setc(labels, JOB_INDEX, node_strf(w->a, "%" PRId64, index));
		prefix = arena_printf(w->a, "%.*s-%" PRId64 "-", STR_ARG(doc_name(w->job)), index);
	}
	if (create_pod(w->c, w->a, w->job, doc_root(template), labels, prefix, &made, e) < 0)
		return -e->code;
	ctl_wrote(w->c, w->key, made);
	w->active++;
	return 0;
}

/* The lowest index from there on that is neither done, lost nor running; JOB_NONE: there is none. */
static int64_t next_index(struct work *w, int64_t from)
{
	for (int64_t i = from; i < w->completions; i++)
		if (!w->done.has[i] && !w->lost.has[i] && !w->running.has[i])
			return i;
	return JOB_NONE;
}

static int create_some(struct work *w, int64_t n, struct err *e)
{
	int64_t index = JOB_NONE;

	for (int64_t k = 0; k < MIN(n, (int64_t)BURST); k++) {
		index = w->indexed ? next_index(w, index + 1) : JOB_NONE;

		if (w->indexed && index == JOB_NONE)
			return 0;
		if (create_one(w, index, e) < 0)
			return -e->code;
		index_set_add(&w->running, index);
	}
	return 0;
}

/* A second active pod of one index, or one of an index that is done, has nothing to do. */
static int delete_doubles(struct work *w, struct err *e)
{
	struct index_set seen = index_set_new(w->a, w->completions);

	for (size_t i = 0; w->indexed && i < w->pods.n; i++) {
		struct doc *p = w->pods.items[i];
		int64_t index = job_pod_index(p);

		if (job_pod_fate(p, false) != FATE_ACTIVE)
			continue;
		if (index != JOB_NONE && index < w->completions && !index_set_has(&seen, index) &&
			!index_set_has(&w->done, index) && !index_set_has(&w->lost, index)) {
			index_set_add(&seen, index);
			continue;
		}
		if (delete_pod(w->c, w->a, w->job, w->key, p, e) < 0)
			return -e->code;
		w->active--;
		w->terminating++;
	}
	return 0;
}

static int64_t wanted_active(const struct work *w)
{
	if (w->completions == JOB_NONE)
		return all_succeeded(w) ? w->active : w->parallelism;
	return MIN(w->parallelism, w->completions - all_succeeded(w) - w->lost.count);
}

/* Since the last success: a job that gets on does not wait longer and longer. */
static int64_t failures_in_row(const struct work *w)
{
	int64_t n = 0;

	for (size_t i = 0; i < w->pods.n; i++)
		n += job_pod_fate(w->pods.items[i], w->count_terminating) == FATE_FAILED &&
			job_pod_end_ns(w->pods.items[i]) > w->last_success.ns;
	return n;
}

static int64_t wait_after(int64_t failures, int64_t last_ns)
{
	return MAX(job_backoff_ms(failures) - (wall_now().ns - last_ns) / 1000000, (int64_t)0);
}

/* After failures new pods wait, longer each time. 0: they may come. */
static int64_t pause_ms(const struct work *w)
{
	if (w->per_index != JOB_NONE || !w->last_failure.ns)
		return 0;
	return wait_after(failures_in_row(w), w->last_failure.ns);
}

/* With a limit for each index, each waits for itself. */
static void hold_indexes(struct work *w)
{
	for (size_t i = 0; w->per_index != JOB_NONE && i < w->pods.n; i++) {
		struct doc *p = w->pods.items[i];
		int64_t index = job_pod_index(p), wait;

		if (job_pod_fate(p, w->count_terminating) != FATE_FAILED || index == JOB_NONE ||
			index >= w->completions || w->done.has[index] || w->lost.has[index])
			continue;
		wait = wait_after(failure_number(p), job_pod_end_ns(p));
		if (wait > 0) {
			index_set_add(&w->running, index);
			come_back(w, wait);
		}
	}
}

static int manage(struct work *w, struct err *e)
{
	int64_t wanted, missing, wait;

	if (w->fail_reason || w->success_reason || w->suspended)
		return delete_active(w, w->active, e);
	if (delete_doubles(w, e) < 0)
		return -e->code;
	wanted = MAX(wanted_active(w), (int64_t)0);
	if (w->active > wanted)
		return delete_active(w, w->active - wanted, e);
	missing = wanted - w->active - (w->count_terminating ? 0 : w->terminating);
	wait = missing > 0 ? pause_ms(w) : 0;
	if (wait > 0) {
		come_back(w, wait);
		return 0;
	}
	hold_indexes(w);
	return create_some(w, missing, e);
}

/* ---- status ---------------------------------------------------------------------------------- */

static void probe_condition(
	struct work *w, const char *type, const char *status, const char *reason, const char *message)
{
	if (set_condition(w->a, w->conditions, type, status, reason, message, false))
		for (size_t i = 0; i < node_len(w->conditions); i++)
			if (str_is(node_text_str(node_getc(node_at(w->conditions, i), "type")), type))
				node_setc(node_at(w->conditions, i), "lastProbeTime", node_c(w->a, now_text(w->a)));
}

static void verdict_conditions(struct work *w, struct node *status)
{
	bool all_gone = !w->active && !w->terminating && !w->tracked && !node_len(w->uncounted_ok) &&
		!node_len(w->uncounted_bad);

	if (w->success_reason) {
		probe_condition(w, "SuccessCriteriaMet", "True", w->success_reason, w->success_message);
		if (!all_gone)
			return;
		probe_condition(w, "Complete", "True", w->success_reason, w->success_message);
		node_setc(status, "completionTime", node_c(w->a, now_text(w->a)));
		recorder_event(w->c->recorder, w->job, "Normal", "Completed", "Job completed");
		return;
	}
	if (!w->fail_reason)
		return;
	probe_condition(w, "FailureTarget", "True", w->fail_reason, w->fail_message);
	if (!all_gone)
		return;
	probe_condition(w, "Failed", "True", w->fail_reason, w->fail_message);
	recorder_event(w->c->recorder, w->job, "Warning", w->fail_reason, "%s", w->fail_message);
}

static void suspend_condition(struct work *w, struct node *status)
{
	bool was = has_condition(w, "Suspended");

	if (w->suspended && !was) {
		probe_condition(w, "Suspended", "True", "JobSuspended", "Job suspended");
		recorder_event(w->c->recorder, w->job, "Normal", "Suspended", "Job suspended");
	}
	if (!w->suspended && was) {
		probe_condition(w, "Suspended", "False", "JobResumed", "Job resumed");
		recorder_event(w->c->recorder, w->job, "Normal", "Resumed", "Job resumed");
	}
	if (w->suspended)
		return;
	if (val_has(old_status(w, "startTime")) && !was)
		node_setc(status, "startTime", node_from(w->a, old_status(w, "startTime")));
	else
		node_setc(status, "startTime", node_c(w->a, now_text(w->a)));
}

static void count_in(struct work *w, struct node *status, const char *field, int64_t n)
{
	if (n > 0)
		node_setc(status, field, node_int(w->a, n));
}

static struct node *new_status(struct work *w)
{
	struct node *status = node_map(w->a), *uncounted = node_map(w->a);

	w->conditions = node_list(w->a);
	for (struct val_iter it = val_iter(old_status(w, "conditions")); val_next(&it);)
		node_add(w->conditions, node_copy(w->a, node_from(w->a, it.val)));
	suspend_condition(w, status);
	verdict_conditions(w, status);
	count_in(w, status, "active", w->active);
	count_in(w, status, "succeeded", w->succeeded);
	count_in(w, status, "failed", w->failed);
	node_setc(status, "ready", node_int(w->a, w->ready));
	node_setc(status, "terminating", node_int(w->a, w->terminating));
	if (node_len(w->uncounted_ok))
		node_setc(uncounted, "succeeded", w->uncounted_ok);
	if (node_len(w->uncounted_bad))
		node_setc(uncounted, "failed", w->uncounted_bad);
	node_setc(status, "uncountedTerminatedPods", uncounted);
	if (w->done.count)
		node_setc(status, "completedIndexes", node_str(w->a, index_set_text(w->a, &w->done)));
	if (w->per_index != JOB_NONE)
		node_setc(status, "failedIndexes", node_str(w->a, index_set_text(w->a, &w->lost)));
	if (node_len(w->conditions))
		node_setc(status, "conditions", w->conditions);
	return status;
}

/* ---- finalizers ------------------------------------------------------------------------------ */

static int set_tracked(struct ctl *c, struct arena *a, struct str key, struct doc *pod, bool on, struct err *e)
{
	struct node *list = node_list(a);
	auto_(doc_unref) struct doc *answer = NULL;

	for (struct val_iter it = val_iter(doc_get(pod, "metadata.finalizers")); val_next(&it);)
		if (!val_is(it.val, JOB_FINALIZER))
			node_add(list, node_from(a, it.val));
	if (on)
		node_add(list, node_c(a, JOB_FINALIZER));
	if (merge_patch(c, res_pods, pod, NULL,
		    node_pack(a, "{metadata:{uid:S, resourceVersion:S, finalizers:o}}", doc_uid(pod),
			    doc_str(pod, "metadata.resourceVersion"), list),
		    &answer, e) < 0) {
		if (e->code == ERR_NOT_FOUND || e->code == ERR_CONFLICT) { /* its event brings us back */
			err_init(e);
			return 0;
		}
		return err_wrap(e, "finalizer of pod %.*s", STR_ARG(doc_name(pod)));
	}
	ctl_wrote(c, key, answer);
	return 0;
}

static int release_counted(struct work *w, struct err *e)
{
	for (size_t i = 0; i < w->n_release; i++)
		if (set_tracked(w->c, w->a, w->key, w->release[i], false, e) < 0)
			return -e->code;
	return 0;
}

/* Pods that came to the Job from elsewhere are tracked from then on. */
static int track_adopted(struct work *w, struct err *e)
{
	for (size_t i = 0; i < w->pods.n; i++)
		if (pod_active(w->pods.items[i]) && !job_pod_tracked(w->pods.items[i]) &&
			set_tracked(w->c, w->a, w->key, w->pods.items[i], true, e) < 0)
			return -e->code;
	return 0;
}

/* Whether nobody will count a tracked pod: its Job is gone or another one, or it does not fit the Job's selector any
 * more and claim() lets it go, or it was let go and has lost its labels. selector: the Job's, NULL without one. */
static bool is_left(struct doc *pod, struct str name, struct doc *job, const struct selector *selector)
{
	struct val ref = controller_ref(pod), labels = doc_get(pod, "metadata.labels");
	struct str label = val_str(val_get(labels, "batch.kubernetes.io/job-name"));

	if (!val_has(ref))
		return str_eq(label, name) || !label.n;
	if (!val_is(val_get(ref, "kind"), "Job") || !str_eq(val_str(val_get(ref, "name")), name))
		return false;
	return !job || !controlled_by(pod, doc_uid(job)) ||
		(!is_deleting(pod) && !is_deleting(job) && !selector_matches(selector, labels));
}

static int release_left(
	struct ctl *c, struct arena *a, struct str key, struct str ns, struct str name, struct doc *job, struct err *e)
{
	struct informer_list all = informer_list(ctl_informer(c, res_pods), a, "ns", ns);
	const struct selector *selector = NULL;

	if (job && selector_of(a, doc_get(job, "spec.selector"), &selector, e) < 0)
		return -e->code;
	for (size_t i = 0; i < all.n; i++)
		if (job_pod_tracked(all.items[i]) && is_left(all.items[i], name, job, selector) &&
			set_tracked(c, a, key, all.items[i], false, e) < 0)
			return -e->code;
	return 0;
}

/* ---- reconcile ------------------------------------------------------------------------------- */

static void read_spec(struct work *w)
{
	struct val completions = doc_get(w->job, "spec.completions"),
		   per_index = doc_get(w->job, "spec.backoffLimitPerIndex");
	struct str replacement = doc_str(w->job, "spec.podReplacementPolicy");

	w->indexed = str_is(doc_str(w->job, "spec.completionMode"), "Indexed");
	w->suspended = doc_bool(w->job, "spec.suspend", false);
	w->parallelism = doc_int(w->job, "spec.parallelism", 1);
	w->completions = val_kind(completions) == VAL_INT ? val_int(completions, 0) : JOB_NONE;
	w->per_index = val_kind(per_index) == VAL_INT ? val_int(per_index, 0) : JOB_NONE;
	w->backoff_limit =
		doc_int(w->job, "spec.backoffLimit", w->per_index == JOB_NONE ? DEFAULT_BACKOFF_LIMIT : INT32_MAX);
	w->count_terminating = !val_has(doc_get(w->job, "spec.podFailurePolicy")) && !str_is(replacement, "Failed");
}

static int sync_job(struct work *w, struct err *e)
{
	struct err failed;
	struct node *status;

	read_spec(w);
	if (track_adopted(w, e) < 0)
		return -e->code;
	take_stock(w);
	decide(w);
	err_init(&failed);
	if (!is_deleting(w->job))
		manage(w, &failed);
	status = new_status(w);
	if (write_status(w->c, w->a, res_jobs, w->job, status, e) < 0 || release_counted(w, e) < 0)
		return -e->code;
	if (w->next_ms)
		ctl_add_after(w->c, w->key, w->next_ms);
	if (!failed.code || namespace_ends(&failed))
		return 0;
	err_copy(e, &failed);
	return -failed.code;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	struct work w = { .c = c, .a = a, .key = key };
	auto_(doc_unref) struct doc *job = NULL;

	key_split(key, &ns, &name);
	if (!ctl_caught_up(c, key, ctl_informer(c, res_pods)))
		return 0;
	/* the newest, not the informer's: counters must not be written from an older status */
	if (client_get(c->client, res_jobs, ns, name, &job, e) < 0 && e->code != ERR_NOT_FOUND)
		return -e->code;
	err_init(e);
	if (release_left(c, a, key, ns, name, job, e) < 0 || !job)
		return -e->code;
	w.job = job;
	w.pods = claim(c, a, job, doc_get(job, "spec.selector"), res_pods, e);
	if (e->code)
		return -e->code;
	if (is_finished(job)) {
		for (size_t i = 0; i < w.pods.n; i++)
			if (job_pod_tracked(w.pods.items[i]) && set_tracked(c, a, key, w.pods.items[i], false, e) < 0)
				return -e->code;
		return 0;
	}
	return sync_job(&w, e);
}

const struct controller job_controller = {
	.name = "job-controller",
	.help = "runs the pods of a Job to their end and counts them exactly",
	.handles = "batch/jobs",
	.watches = { { &res_jobs, key_self }, { &res_pods, key_controller } },
	.reconcile = reconcile,
};

/* ---- ttl ------------------------------------------------------------------------------------- */

static int expire(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	auto_(doc_unref) struct doc *job = NULL;
	struct val ttl, done;
	struct wall since;
	int64_t left;

	key_split(key, &ns, &name);
	job = informer_get(ctl_informer(c, res_jobs), ns, name);
	ttl = job ? doc_get(job, "spec.ttlSecondsAfterFinished") : VAL_NONE;
	if (val_kind(ttl) != VAL_INT || !is_finished(job) || is_deleting(job))
		return 0;
	done = condition_of(doc_root(job), "Complete");
	done = val_is(val_get(done, "status"), "True") ? done : condition_of(doc_root(job), "Failed");
	if (!wall_parse(val_str(val_get(done, "lastTransitionTime")), &since))
		return 0;
	left = val_int(ttl, 0) * 1000 - (wall_now().ns - since.ns) / 1000000;
	if (left > 0) {
		ctl_add_after(c, key, left);
		return 0;
	}
	if (client_delete(c->client, res_jobs, ns, name,
		    (struct client_delete){ .uid = doc_uid(job),
			    .resource_version = doc_str(job, "metadata.resourceVersion"),
			    .grace_s = -1,
			    .propagation = "Foreground" },
		    e) < 0 &&
		e->code != ERR_NOT_FOUND && e->code != ERR_CONFLICT)
		return -e->code;
	err_init(e);
	return 0;
}

const struct controller ttl_controller = {
	.name = "ttl-after-finished-controller",
	.help = "deletes Jobs some time after their end",
	.watches = { { &res_jobs, key_self } },
	.reconcile = expire,
};

/* cronjob: a Job for each start that a schedule names.
 *
 *   status.active        Jobs of ours that have not ended; a start makes one more
 *   lastScheduleTime     the start that was last made a Job of: later ones are due
 *
 * A Job's name ends with the minute of its start, so a start that was made a Job of just before a crash is found again
 * and not made twice. The CronJob is read from the API before each look, and its status is written against that
 * version. Source of the semantics: the Kubernetes documentation, "CronJob". */
#include "controllers/controllers_internal.h"
#include "cron/cron.h"
#include <inttypes.h>
#include <time.h>

#define LOG_MODULE "controllers"
#define SCHEDULED_AT "batch.kubernetes.io/cronjob-scheduled-timestamp"
#define MISSED_MANY 100
#define LOOK_AGAIN_MS (10 * 60 * 1000) /* the wall clock may jump */
#define NEVER INT64_MIN

struct work {
	struct ctl *c;
	struct arena *a;
	struct doc *cj;
	struct str key;
	struct informer_list jobs; /* that it controls */
	struct node *status, *active;
	struct cron schedule;
	struct zone *zone;
	struct wall now;
};

static void event(struct work *w, const char *type, const char *reason, const char *message)
{
	recorder_event(w->c->recorder, w->cj, type, reason, "%s", message);
}

/* ---- the Jobs it has ------------------------------------------------------------------------- */

/* "Complete", "Failed", or NULL: it runs. */
static const char *end_of(const struct doc *job)
{
	static const char *const ends[] = { "Complete", "Failed" };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (val_is(val_get(condition_of(doc_root(job), ends[i]), "status"), "True"))
			return ends[i];
	return NULL;
}

/* Its place in status.active; as long as that: it is not there. */
static size_t place_of(struct work *w, const char *field, struct str value)
{
	size_t i = 0;

	while (i < node_len(w->active) && !str_eq(node_text_str(node_getc(node_at(w->active, i), field)), value))
		i++;
	return i;
}

static bool drop_active(struct work *w, struct str uid)
{
	size_t i = place_of(w, "uid", uid);

	if (i == node_len(w->active))
		return false;
	node_remove_at(w->active, i);
	return true;
}

static void note_success(struct work *w, const struct doc *job)
{
	struct wall done, known;

	if (!wall_parse(doc_str(job, "status.completionTime"), &done))
		return;
	if (!wall_parse(node_text_str(node_getc(w->status, "lastSuccessfulTime")), &known) || done.ns > known.ns)
		node_setc(w->status, "lastSuccessfulTime", node_str(w->a, doc_str(job, "status.completionTime")));
}

static void look_at_job(struct work *w, struct doc *job)
{
	const char *end = end_of(job);
	struct str name = doc_name(job);

	if (!end) {
		if (place_of(w, "uid", doc_uid(job)) == node_len(w->active))
			recorder_event(w->c->recorder, w->cj, "Warning", "UnexpectedJob",
				"Saw a job that the controller did not create or forgot: %.*s", STR_ARG(name));
		return;
	}
	if (drop_active(w, doc_uid(job)))
		recorder_event(w->c->recorder, w->cj, "Normal", "SawCompletedJob",
			"Saw completed job: %.*s, condition: %s", STR_ARG(name), end);
	if (!strcmp(end, "Complete"))
		note_success(w, job);
}

/* Active ones that the informer does not have: asked of the server, it may be behind. */
static int look_for_missing(struct work *w, struct err *e)
{
	for (size_t i = node_len(w->active); i-- > 0;) {
		struct str name = node_text_str(node_getc(node_at(w->active, i), "name"));
		struct str uid = node_text_str(node_getc(node_at(w->active, i), "uid"));
		auto_(doc_unref) struct doc *job = informer_get(ctl_informer(w->c, res_jobs), doc_ns(w->cj), name);

		if (!job && client_get(w->c->client, res_jobs, doc_ns(w->cj), name, &job, e) < 0 &&
			e->code != ERR_NOT_FOUND)
			return err_wrap(e, "job %.*s", STR_ARG(name));
		err_init(e);
		if (job && str_eq(doc_uid(job), uid))
			continue;
		recorder_event(
			w->c->recorder, w->cj, "Normal", "MissingJob", "Active job went missing: %.*s", STR_ARG(name));
		node_remove_at(w->active, i);
	}
	return 0;
}

static int delete_job(struct work *w, struct str name, struct str uid, struct err *e)
{
	struct client_delete o = { .uid = uid, .grace_s = -1, .propagation = "Background" };

	if (client_delete(w->c->client, res_jobs, doc_ns(w->cj), name, o, e) < 0 && e->code != ERR_NOT_FOUND &&
		e->code != ERR_CONFLICT) {
		recorder_event(w->c->recorder, w->cj, "Warning", "FailedDelete", "Deleted job: %s", e->message);
		return err_wrap(e, "delete job %.*s", STR_ARG(name));
	}
	err_init(e);
	recorder_event(w->c->recorder, w->cj, "Normal", "SuccessfulDelete", "Deleted job %.*s", STR_ARG(name));
	drop_active(w, uid);
	return 0;
}

static int by_start(const void *x, const void *y)
{
	const struct doc *a = *(struct doc *const *)x, *b = *(struct doc *const *)y;
	struct str at_a = doc_str(a, "status.startTime"), at_b = doc_str(b, "status.startTime");

	if (!at_a.n != !at_b.n)
		return at_a.n ? -1 : 1;
	return str_eq(at_a, at_b) ? str_cmp(doc_name(a), doc_name(b)) : str_cmp(at_a, at_b);
}

/* Of the Jobs that ended so, the oldest beyond the limit go. */
static int trim_history(struct work *w, const char *end, const char *limit_path, struct err *e)
{
	struct doc **ended = ARENA_ARRAY(w->a, struct doc *, w->jobs.n + 1);
	int64_t limit = doc_int(w->cj, limit_path, INT64_MAX);
	size_t n = 0;

	for (size_t i = 0; i < w->jobs.n; i++) {
		const char *how = end_of(w->jobs.items[i]);

		if (how && !strcmp(how, end) && !is_deleting(w->jobs.items[i]))
			ended[n++] = w->jobs.items[i];
	}
	if (n)
		qsort(ended, n, sizeof(*ended), by_start);
	for (size_t i = 0; (int64_t)(n - i) > limit; i++)
		if (delete_job(w, doc_name(ended[i]), doc_uid(ended[i]), e) < 0)
			return -e->code;
	return 0;
}

/* ---- new schedules --------------------------------------------------------------------------- */

/* When schedules were changed while we ran: what the new one names before that is not made up for. */
struct changes {
	struct task_mutex lock;
	struct map *at_s; /* key → int64_t */
};

static void *changes_new(struct ctl *c)
{
	struct changes *s = xcalloc(1, sizeof(*s));

	(void)c;
	task_mutex_init(&s->lock);
	s->at_s = map_new(free);
	return s;
}

static void changes_free(void *state)
{
	struct changes *s = state;

	map_free(s->at_s);
	task_mutex_fini(&s->lock);
	free(s);
}

static int64_t changed_s(struct work *w)
{
	struct changes *s = w->c->state;
	int64_t *at, ret = NEVER;

	task_lock(&s->lock);
	at = map_get(s->at_s, w->key);
	ret = at ? *at : ret;
	task_unlock(&s->lock);
	return ret;
}

static bool same_schedule(struct doc *before, struct doc *after)
{
	return str_eq(doc_str(before, "spec.schedule"), doc_str(after, "spec.schedule")) &&
		str_eq(doc_str(before, "spec.timeZone"), doc_str(after, "spec.timeZone"));
}

static void key_cronjob(struct ctl *c, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct changes *s = c->state;
	int64_t *at = NULL;

	if (before && after && !same_schedule(before, after)) {
		at = xmalloc(sizeof(*at));
		*at = wall_s(wall_now());
	}
	task_lock(&s->lock);
	if (!before || !after)
		map_del(s->at_s, key_of(a, after ? after : before));
	if (at)
		map_put(s->at_s, key_of(a, after), at);
	task_unlock(&s->lock);
	key_self(c, before, after);
}

/* ---- when ------------------------------------------------------------------------------------ */

/* From when on starts count: the last that was made a Job of, or the beginning of the CronJob or its schedule. */
static int64_t base_s(struct work *w)
{
	struct wall t = w->now;

	if (!wall_parse(doc_str(w->cj, "status.lastScheduleTime"), &t))
		wall_parse(doc_str(w->cj, "metadata.creationTimestamp"), &t);
	return MAX(wall_s(t), changed_s(w));
}

static void warn_of_many(struct work *w, int64_t since_s, int64_t now_s)
{
	int64_t t = since_s;
	int n = 0;

	while (n <= MISSED_MANY && cron_next(&w->schedule, w->zone, t, &t) && t <= now_s)
		n++;
	if (n > MISSED_MANY)
		event(w, "Warning", "TooManyMissedTimes",
			"too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock "
			"skew");
}

/* The start that is due: the last one that has passed. NEVER: none is. */
static int64_t due_s(struct work *w, int64_t now_s)
{
	int64_t base = base_s(w), deadline = doc_int(w->cj, "spec.startingDeadlineSeconds", -1), t;
	char text[64];
	struct tm tm;

	if (!cron_last(&w->schedule, w->zone, base, now_s, &t))
		return NEVER;
	if (deadline >= 0 && now_s - t > deadline) {
		gmtime_r(&(time_t){ t }, &tm);
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S +0000", &tm);
		recorder_event(w->c->recorder, w->cj, "Warning", "MissSchedule",
			"Missed scheduled time to start a job: %s", text);
		return NEVER;
	}
	warn_of_many(w, deadline >= 0 ? MAX(base, now_s - deadline) : base, now_s);
	return t;
}

static void come_back(struct work *w, int64_t now_s)
{
	int64_t t = base_s(w), ms;

	cron_last(&w->schedule, w->zone, t, now_s, &t);
	if (!cron_next(&w->schedule, w->zone, t, &t))
		return;
	ms = t * 1000 - w->now.ns / 1000000 + 1;
	ctl_add_after(w->c, w->key, MIN(ms, (int64_t)LOOK_AGAIN_MS));
}

/* ---- a Job for a start ----------------------------------------------------------------------- */

/* "2025-06-01T02:00:00+02:00", by the clock of the CronJob's zone */
static const char *local_text(struct work *w, int64_t t)
{
	int64_t until, offset = zone_offset(w->zone, t, &until), minutes = (offset < 0 ? -offset : offset) / 60;
	char text[TIME_TEXT_MAX];

	wall_rfc3339((struct wall){ (t + (w->zone ? offset : 0)) * 1000000000 }, text);
	if (!offset)
		return arena_strdup(w->a, text);
	return arena_printf(w->a, "%.*s%c%02" PRId64 ":%02" PRId64, (int)strlen(text) - 1, text, offset < 0 ? '-' : '+',
		minutes / 60, minutes % 60);
}

static struct str name_for(struct work *w, int64_t start_s)
{
	return arena_strf(w->a, "%.*s-%" PRId64, STR_ARG(doc_name(w->cj)), start_s / 60);
}

static struct doc *job_for(struct work *w, int64_t start_s)
{
	struct val template = doc_get(w->cj, "spec.jobTemplate"), labels = val_path(template, "metadata.labels");
	struct node *annotations = node_map(w->a);

	for (struct val_iter it = val_iter(val_path(template, "metadata.annotations")); val_next(&it);)
		node_set(annotations, it.key, node_from(w->a, it.val));
	node_setc(annotations, SCHEDULED_AT, node_c(w->a, local_text(w, start_s)));
	return node_publish(node_pack(w->a,
		"{apiVersion:'batch/v1', kind:'Job', metadata:{name:S, namespace:S, labels:v, annotations:o, "
		"ownerReferences:[o]}, spec:v}",
		name_for(w, start_s), doc_ns(w->cj), labels, annotations, owner_reference(w->a, w->cj),
		val_get(template, "spec")));
}

/* Made, or found: made before a crash, and not yet in our status. NULL in *ret: somebody else has the name. */
static int make_job(struct work *w, int64_t start_s, struct doc **ret, struct err *e)
{
	auto_(doc_unref) struct doc *body = job_for(w, start_s), *job = NULL;

	if (client_create(w->c->client, res_jobs, doc_ns(w->cj), body, &job, e) >= 0) {
		ctl_wrote(w->c, w->key, job);
		recorder_event(w->c->recorder, w->cj, "Normal", "SuccessfulCreate", "Created job %.*s",
			STR_ARG(doc_name(job)));
		*ret = TAKE(job);
		return 0;
	}
	if (e->code != ERR_EXISTS) {
		if (e->code != ERR_CANCELED && !namespace_ends(e))
			recorder_event(
				w->c->recorder, w->cj, "Warning", "FailedCreate", "Error creating job: %s", e->message);
		return err_wrap(e, "create job");
	}
	err_init(e);
	if (client_get(w->c->client, res_jobs, doc_ns(w->cj), doc_name(body), &job, e) < 0)
		return err_wrap(e, "job %.*s is there and cannot be read", STR_ARG(doc_name(body)));
	if (controlled_by(job, doc_uid(w->cj)))
		*ret = TAKE(job);
	return 0;
}

static int replace_active(struct work *w, struct err *e)
{
	while (node_len(w->active)) {
		struct node *ref = node_at(w->active, 0);

		if (delete_job(w, node_text_str(node_getc(ref, "name")), node_text_str(node_getc(ref, "uid")), e) < 0)
			return -e->code;
	}
	return 0;
}

static int start_job(struct work *w, int64_t start_s, struct err *e)
{
	struct str policy = doc_str(w->cj, "spec.concurrencyPolicy");
	auto_(doc_unref) struct doc *job = NULL;
	char text[TIME_TEXT_MAX];

	if (place_of(w, "name", name_for(w, start_s)) < node_len(w->active))
		return 0;
	if (str_is(policy, "Forbid") && node_len(w->active)) {
		event(w, "Normal", "JobAlreadyActive",
			"Not starting job because prior execution is running and concurrency policy is Forbid");
		return 0;
	}
	if (str_is(policy, "Replace") && replace_active(w, e) < 0)
		return -e->code;
	if (make_job(w, start_s, &job, e) < 0 || !job)
		return -e->code;
	if (!end_of(job))
		node_add(w->active,
			node_pack(w->a,
				"{kind:'Job', namespace:S, name:S, uid:S, apiVersion:'batch/v1', resourceVersion:S}",
				doc_ns(job), doc_name(job), doc_uid(job), doc_str(job, "metadata.resourceVersion")));
	wall_rfc3339((struct wall){ start_s * 1000000000 }, text);
	node_setc(w->status, "lastScheduleTime", node_c(w->a, text));
	return 0;
}

/* ---- reconcile ------------------------------------------------------------------------------- */

/* false: an event says why nothing will start. */
static bool read_schedule(struct work *w)
{
	struct str schedule = doc_str(w->cj, "spec.schedule"), zone = doc_str(w->cj, "spec.timeZone");
	struct err e;

	err_init(&e);
	if (zone.n && zone_load(zone, &w->zone, &e) < 0) {
		recorder_event(w->c->recorder, w->cj, "Warning", "UnknownTimeZone", "invalid timeZone: \"%.*s\": %s",
			STR_ARG(zone), e.message);
		return false;
	}
	if (cron_parse(schedule, &w->schedule, &e) < 0) {
		recorder_event(w->c->recorder, w->cj, "Warning", "UnparseableSchedule",
			"unparseable schedule: \"%.*s\" : %s", STR_ARG(schedule), e.message);
		return false;
	}
	if (cron_next(&w->schedule, w->zone, wall_s(w->now), &(int64_t){ 0 }))
		return true;
	recorder_event(w->c->recorder, w->cj, "Warning", "InvalidSchedule",
		"invalid schedule: %.*s : it names no time within five years", STR_ARG(schedule));
	return false;
}

static int start_what_is_due(struct work *w, struct err *e)
{
	int64_t now_s = wall_s(w->now), start_s;
	int r = 0;

	if (is_deleting(w->cj) || doc_bool(w->cj, "spec.suspend", false) || !read_schedule(w))
		return 0;
	start_s = due_s(w, now_s);
	if (start_s != NEVER)
		r = start_job(w, start_s, e);
	come_back(w, now_s);
	return r;
}

static int look(struct work *w, struct err *e)
{
	for (size_t i = 0; i < w->jobs.n; i++)
		look_at_job(w, w->jobs.items[i]);
	if (look_for_missing(w, e) < 0 || trim_history(w, "Complete", "spec.successfulJobsHistoryLimit", e) < 0 ||
		trim_history(w, "Failed", "spec.failedJobsHistoryLimit", e) < 0)
		return -e->code;
	return start_what_is_due(w, e);
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	struct work w = { .c = c, .a = a, .key = key, .now = wall_now() };
	auto_(doc_unref) struct doc *cj = NULL;
	struct err failed;

	key_split(key, &ns, &name);
	if (!ctl_caught_up(c, key, ctl_informer(c, res_jobs)))
		return 0;
	if (client_get(c->client, res_cronjobs, ns, name, &cj, e) < 0) {
		if (e->code != ERR_NOT_FOUND)
			return -e->code;
		err_init(e);
		return 0;
	}
	w.cj = cj;
	w.jobs = informer_list(ctl_informer(c, res_jobs), a, "owner", doc_uid(cj));
	w.status = val_has(doc_get(cj, "status")) ? node_copy(a, node_from(a, doc_get(cj, "status"))) : node_map(a);
	w.active = node_need_list(w.status, "active");
	err_init(&failed);
	look(&w, &failed);
	zone_free(w.zone);
	if (!node_len(w.active))
		node_delc(w.status, "active");
	if (write_status(c, a, res_cronjobs, cj, w.status, e) < 0)
		return -e->code;
	err_copy(e, &failed);
	return -failed.code;
}

const struct controller cronjob_controller = {
	.name = "cronjob-controller",
	.help = "makes Jobs by the clock",
	.handles = "batch/cronjobs",
	.watches = { { &res_cronjobs, key_cronjob }, { &res_jobs, key_controller } },
	.reconcile = reconcile,
	.state_new = changes_new,
	.state_free = changes_free,
};

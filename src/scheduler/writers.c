#include "scheduler/writers.h"
#include "base/crew.h"
#include "base/log.h"
#include "claims/claims.h"

#include <stdatomic.h>

#define LOG_MODULE "scheduler"
#define TASKS_MAX 4
#define WRITES_MAX 128 /* at a time: what fits into the next commit */
#define REPORT_TRIES 3
#define JOBS_BEHIND 1024                 /* that have not been begun or are under way: who decides waits for them … */
#define EVENTS_BEHIND (RECORDER_MAX / 4) /* … and for Events, so that none is dropped */

struct job {
	struct doc *pod;      /* ref */
	char *node;           /* bind to it; report: nominated, may be NULL */
	char *message;        /* NULL: bind */
	struct doc **victims; /* refs */
	size_t n_victims;
	struct volume_write *writes; /* refs */
	size_t n_writes;
};
struct writers {
	struct client *client;
	struct recorder *recorder;
	void (*failed)(void *arg, struct str uid);
	void *arg;
	struct crew *crew;
	atomic_size_t jobs;
};

static void job_free(struct writers *w, struct job *j)
{
	atomic_fetch_sub(&w->jobs, 1);
	for (size_t i = 0; i < j->n_victims; i++)
		doc_unref(j->victims[i]);
	free(j->victims);
	for (size_t i = 0; i < j->n_writes; i++) {
		doc_unref(j->writes[i].claim);
		doc_unref(j->writes[i].volume);
	}
	free(j->writes);
	doc_unref(j->pod);
	free(j->node);
	free(j->message);
	free(j);
}

/* ---- bind ------------------------------------------------------------------------------------ */

static void bind(struct writers *w, struct job *j, struct arena *a)
{
	auto_(doc_unref) struct doc *body = NULL;
	struct client_request rq = {
		.verb = VERB_CREATE, .res = res_pods, .ns = doc_ns(j->pod), .name = doc_name(j->pod), .sub = "binding"
	};
	struct err e;

	err_init(&e);
	body = node_publish(node_pack(a,
		"{apiVersion:'v1', kind:'Binding', metadata:{name:S, namespace:S, uid:S}, target:{kind:'Node', name:s}}",
		rq.name, rq.ns, doc_uid(j->pod), j->node));
	rq.body = body;
	if (client_call(w->client, &rq, NULL, &e) >= 0) {
		recorder_event(w->recorder, j->pod, "Normal", "Scheduled", "Successfully assigned %.*s/%.*s to %s",
			STR_ARG(rq.ns), STR_ARG(rq.name), j->node);
		return;
	}
	w->failed(w->arg, doc_uid(j->pod));
	if (e.code == ERR_NOT_FOUND || e.code == ERR_CONFLICT ||
		e.code == ERR_CANCELED) { /* deleted, or bound by another */
		log_debug("pod %.*s/%.*s: bind to %s: %s", STR_ARG(rq.ns), STR_ARG(rq.name), j->node, e.message);
		return;
	}
	log_warn("pod %.*s/%.*s: bind to %s: %s; it will be tried again", STR_ARG(rq.ns), STR_ARG(rq.name), j->node,
		e.message);
	recorder_event(w->recorder, j->pod, "Warning", "FailedScheduling", "running Bind plugin \"DefaultBinder\": %s",
		e.message);
}

/* ---- volumes --------------------------------------------------------------------------------- */

/* Each against the version that was decided on: whoever was faster keeps what he has. */
static int write_volume(
	struct writers *w, const struct job *j, const struct volume_write *v, struct arena *a, struct err *e)
{
	struct doc *about = v->volume ? v->volume : v->claim;
	auto_(doc_unref) struct doc *patch = NULL;
	struct node *n;

	if (v->volume)
		n = node_pack(a,
			"{metadata:{annotations:{'" CLAIM_BOUND_BY_CONTROLLER
			"':'yes'}}, spec:{claimRef:{kind:'PersistentVolumeClaim', "
			"apiVersion:'v1', namespace:S, name:S, uid:S, resourceVersion:S}}}",
			doc_ns(v->claim), doc_name(v->claim), doc_uid(v->claim),
			doc_str(v->claim, "metadata.resourceVersion"));
	else
		n = node_pack(a, "{metadata:{annotations:{'" CLAIM_SELECTED_NODE "':s}}}", j->node);
	node_set_path(n, "metadata.resourceVersion", node_str(a, doc_str(about, "metadata.resourceVersion")));
	patch = node_publish(n);
	return client_patch(w->client, v->volume ? res_persistentvolumes : res_persistentvolumeclaims, doc_ns(about),
		doc_name(about), NULL, PATCH_MERGE, patch, NULL, e);
}

static void write_volumes(struct writers *w, struct job *j, struct arena *a)
{
	struct err e;

	for (size_t i = 0; i < j->n_writes; i++) {
		err_init(&e);
		if (write_volume(w, j, &j->writes[i], a, &e) >= 0)
			continue;
		w->failed(w->arg, doc_uid(j->pod));
		log_debug("pod %.*s/%.*s: claim %.*s on %s: %s", STR_ARG(doc_ns(j->pod)), STR_ARG(doc_name(j->pod)),
			STR_ARG(doc_name(j->writes[i].claim)), j->node, e.message);
		if (e.code != ERR_CONFLICT && e.code != ERR_NOT_FOUND && e.code != ERR_CANCELED)
			recorder_event(w->recorder, j->pod, "Warning", "FailedScheduling",
				"running PreBind plugin \"VolumeBinding\": %s", e.message);
		return;
	}
}

/* ---- report ---------------------------------------------------------------------------------- */

static bool says_so_already(const struct doc *pod, const struct job *j)
{
	struct val c = val_find(doc_get(pod, "status.conditions"), "type", STR("PodScheduled"));

	return val_is(val_get(c, "status"), "False") && val_is(val_get(c, "reason"), "Unschedulable") &&
		val_is(val_get(c, "message"), j->message) &&
		(!j->node || str_is(doc_str(pod, "status.nominatedNodeName"), j->node));
}

static struct doc *report_patch(struct arena *a, const struct doc *pod, const struct job *j)
{
	struct val old = val_find(doc_get(pod, "status.conditions"), "type", STR("PodScheduled"));
	char now[TIME_TEXT_MAX];
	struct str since;

	wall_rfc3339(wall_now(), now);
	since = val_is(val_get(old, "status"), "False") ? val_str(val_get(old, "lastTransitionTime")) : str_c(now);
	return node_publish(node_pack(a,
		"{metadata:{uid:S, resourceVersion:S}, status:{nominatedNodeName:s, conditions:[{type:'PodScheduled', status:'False', reason:'Unschedulable',"
		" message:s, lastProbeTime:n, lastTransitionTime:S, observedGeneration:o}]}}",
		doc_uid(pod), doc_str(pod, "metadata.resourceVersion"), j->node, j->message,
		since.n ? since : str_c(now), NULL));
}

/* The version makes sure that no pod that has been bound meanwhile is called unscheduled. */
static int write_report(struct writers *w, const struct job *j, struct arena *a, struct err *e)
{
	auto_(doc_unref) struct doc *pod = doc_ref(j->pod);

	for (int tries = 0; tries < REPORT_TRIES; tries++) {
		auto_(doc_unref) struct doc *patch = NULL, *newer = NULL;

		if (says_so_already(pod, j))
			return 0;
		patch = report_patch(a, pod, j);
		err_init(e);
		if (client_patch(w->client, res_pods, doc_ns(pod), doc_name(pod), "status", PATCH_STRATEGIC, patch,
			    NULL, e) >= 0)
			return 0;
		if (e->code != ERR_CONFLICT)
			break;
		err_init(e);
		if (client_get(w->client, res_pods, doc_ns(pod), doc_name(pod), &newer, e) < 0)
			break;
		if (!str_eq(doc_uid(newer), doc_uid(pod)) || doc_str(newer, "spec.nodeName").n)
			return 0;
		doc_unref(pod);
		pod = TAKE(newer);
	}
	return e->code == ERR_NOT_FOUND ? 0 : -e->code;
}

static void delete_victims(struct writers *w, const struct job *j)
{
	for (size_t i = 0; i < j->n_victims; i++) {
		struct doc *v = j->victims[i];
		struct err e;

		err_init(&e);
		recorder_event(w->recorder, v, "Normal", "Preempted", "Preempted by pod %.*s on node %s",
			STR_ARG(doc_uid(j->pod)), j->node);
		if (client_delete(w->client, res_pods, doc_ns(v), doc_name(v),
			    (struct client_delete){ .uid = doc_uid(v), .grace_s = -1 }, &e) < 0 &&
			e.code != ERR_NOT_FOUND && e.code != ERR_CONFLICT)
			log_warn("pod %.*s/%.*s: delete to make room: %s", STR_ARG(doc_ns(v)), STR_ARG(doc_name(v)),
				e.message);
	}
}

static void report(struct writers *w, struct job *j, struct arena *a)
{
	struct err e;

	err_init(&e);
	if (write_report(w, j, a, &e) < 0)
		log_warn("pod %.*s/%.*s: cannot say why it has no node: %s", STR_ARG(doc_ns(j->pod)),
			STR_ARG(doc_name(j->pod)), e.message);
	recorder_event(w->recorder, j->pod, "Warning", "FailedScheduling", "%s", j->message);
	delete_victims(w, j);
}

/* ---- the crew -------------------------------------------------------------------------------- */

static void work(void *arg, void *job)
{
	struct writers *w = arg;
	struct job *j = job;
	auto_(arena_free) struct arena *a = arena_new();

	if (j->message)
		report(w, j, a);
	else if (j->n_writes)
		write_volumes(w, j, a);
	else
		bind(w, j, a);
	job_free(w, j);
}

static void drop(void *arg, void *job)
{
	job_free(arg, job);
}

static void add(struct writers *w, struct job *take)
{
	atomic_fetch_add(&w->jobs, 1);
	crew_add(w->crew, take);
}

bool writers_behind(struct writers *w)
{
	return atomic_load(&w->jobs) >= JOBS_BEHIND || recorder_waiting(w->recorder) >= EVENTS_BEHIND;
}

void writers_bind(struct writers *w, struct doc *pod, struct str node)
{
	struct job *j = xcalloc(1, sizeof(*j));

	j->pod = doc_ref(pod);
	j->node = str_dup(node);
	add(w, j);
}

void writers_volumes(struct writers *w, struct doc *pod, struct str node, const struct volume_plan *plan)
{
	struct job *j;

	if (!plan->n)
		return;
	j = xcalloc(1, sizeof(*j));
	j->pod = doc_ref(pod);
	j->node = str_dup(node);
	j->writes = xcalloc(plan->n, sizeof(*j->writes));
	for (; j->n_writes < plan->n; j->n_writes++) {
		const struct volume_write *v = &plan->writes[j->n_writes];

		j->writes[j->n_writes] =
			(struct volume_write){ doc_ref(v->claim), v->volume ? doc_ref(v->volume) : NULL };
	}
	add(w, j);
}

void writers_report(struct writers *w, struct doc *pod, const char *message, struct str nominated,
	struct pod_info **victims, size_t n_victims)
{
	struct job *j = xcalloc(1, sizeof(*j));

	j->pod = doc_ref(pod);
	j->message = xstrdup(message);
	j->node = nominated.n ? str_dup(nominated) : NULL;
	j->victims = n_victims ? xcalloc(n_victims, sizeof(struct doc *)) : NULL;
	for (size_t i = 0; i < n_victims; i++)
		j->victims[j->n_victims++] = doc_ref(victims[i]->doc);
	add(w, j);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct writers *writers_new(
	struct client *c, const char *name, const char *host, void (*failed)(void *arg, struct str uid), void *arg)
{
	struct writers *w = xcalloc(1, sizeof(*w));

	w->client = c;
	w->recorder = recorder_new(c, name, host);
	w->failed = failed;
	w->arg = arg;
	w->crew = crew_new(&(struct crew_opts){
		.name = "bind", .work = work, .drop = drop, .arg = w, .tasks_max = TASKS_MAX, .jobs_max = WRITES_MAX });
	return w;
}

void writers_stop(struct writers *w)
{
	crew_stop(w->crew, mono_now());
}

struct writers *writers_free(struct writers *w)
{
	if (!w)
		return NULL;
	crew_free(w->crew);
	recorder_free(w->recorder);
	free(w);
	return NULL;
}

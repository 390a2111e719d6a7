/* A CronJob in the story: each minute a Job of one pod that ends by itself, never two at once. */
#include "sim.h"
#include <stdio.h>

void ticks_create(struct world *w)
{
	sim_create(w, res_cronjobs, NS,
		yaml("{apiVersion: batch/v1, kind: CronJob, metadata: {name: tick}, spec: {schedule: '* * * * *', "
		     "concurrencyPolicy: Forbid, jobTemplate: {spec: "
		     "{template: {metadata: {labels: {app: tick}}, spec: {restartPolicy: Never, containers: [{name: c, "
		     "image: 'app:1'}]}}}}}}"));
	checker_rule(w->checker, (struct rule){ "tick", -1, 1 });
}

struct ends {
	int64_t kept, running;
};

static void take_job(void *arg, struct doc *take)
{
	struct ends *n = arg;
	bool complete = val_is(
		val_get(val_find(doc_get(take, "status.conditions"), "type", STR("Complete")), "status"), "True");
	bool bad =
		val_is(val_get(val_find(doc_get(take, "status.conditions"), "type", STR("Failed")), "status"), "True");

	n->kept += complete;
	n->running += !complete && !bad;
	doc_unref(take);
}

/* A Job has succeeded since, at most one runs and no more are kept than the history has room for. */
static bool ticks_are_right(struct world *w, struct wall since, char why[200])
{
	auto_(doc_unref) struct doc *d = NULL;
	struct ends n = { 0 };
	struct wall last = { 0 };
	char revision[24];
	struct err e;

	err_init(&e);
	client_list(w->admin, &(struct client_request){ .verb = VERB_LIST, .res = res_jobs, .ns = NS }, take_job, &n,
		revision, &e);
	client_get(w->admin, res_cronjobs, NS, STR("tick"), &d, &e);
	wall_parse(doc_str(d, "status.lastSuccessfulTime"), &last);
	snprintf(why, 200, "last success %.*s, %lld kept, %lld run, %zu active",
		STR_ARG(doc_str(d, "status.lastSuccessfulTime")), (long long)n.kept, (long long)n.running,
		val_len(doc_get(d, "status.active")));
	return last.ns > since.ns && n.kept <= 3 && n.running <= 1 &&
		(int64_t)val_len(doc_get(d, "status.active")) == n.running;
}

void ticks_wait_right(struct world *w, int64_t ms, const char *when)
{
	struct mono until = mono_add_ms(mono_now(), ms);
	struct wall since = wall_now();
	char why[200] = "";

	while (!failed(w) && !ticks_are_right(w, since, why)) {
		if (!mono_before(mono_now(), until))
			fail(w, "%s: the CronJob is not right after %lld s: %s", when, (long long)(ms / 1000), why);
		task_sleep_ms(200);
	}
}

/* The Pod row: kubectl users read more from STATUS than from any other cell. */
#include "api/kinds/cells.h"
#include <stdio.h>

const struct column columns_pod[] = {
	{ "Ready", "string", "", 0, "Containers that are ready, of all." },
	{ "Status", "string", "", 0, "The pod's state in one word." },
	{ "Restarts", "string", "", 0, "How often containers were restarted, and when last." },
	{ "Age", "string", "", 0, "Time since it was created." },
	{ "IP", "string", "", 1, "Its address." },
	{ "Node", "string", "", 1, "Where it runs." },
	{ "Nominated Node", "string", "", 1, "Where it will run once others have left." },
	{ "Readiness Gates", "string", "", 1, "Conditions that must hold for it to be ready." },
	{},
};

struct tally {
	int64_t restarts, restarts_sidecar, ready, total;
	struct str last, last_sidecar; /* newest end of a restarted container */
	char reason[256];
};

static void later(struct str *a, struct str b)
{
	if (b.n && str_cmp(b, *a) > 0)
		*a = b;
}

static bool is_sidecar(struct val c)
{
	return val_is(val_get(c, "restartPolicy"), "Always");
}

static void say(struct tally *t, const char *prefix, struct str s)
{
	snprintf(t->reason, sizeof(t->reason), "%s%.*s", prefix, STR_ARG(s));
}

static void say_end(struct tally *t, const char *prefix, struct val ended)
{
	int64_t signal = val_int(val_get(ended, "signal"), 0), code = val_int(val_get(ended, "exitCode"), 0);
	struct str reason = val_str(val_get(ended, "reason"));

	if (reason.n)
		say(t, prefix, reason);
	else if (signal)
		snprintf(t->reason, sizeof(t->reason), "%sSignal:%lld", prefix, (long long)signal);
	else
		snprintf(t->reason, sizeof(t->reason), "%sExitCode:%lld", prefix, (long long)code);
}

/* true: initialization is still going on, the reason is set. */
static bool init_containers(struct tally *t, struct val pod)
{
	struct val specs = val_path(pod, "spec.initContainers"), list = val_path(pod, "status.initContainerStatuses");

	for (size_t i = 0; i < val_len(specs); i++)
		t->total += is_sidecar(val_at(specs, i));
	for (size_t i = 0; i < val_len(list); i++) {
		struct val s = val_at(list, i), ended = val_path(s, "state.terminated"),
			   waiting = val_path(s, "state.waiting");
		struct val spec = val_find(specs, "name", val_str(val_get(s, "name")));
		t->restarts += val_int(val_get(s, "restartCount"), 0);
		later(&t->last, val_str(val_path(s, "lastState.terminated.finishedAt")));
		if (is_sidecar(spec)) {
			t->restarts_sidecar += val_int(val_get(s, "restartCount"), 0);
			later(&t->last_sidecar, val_str(val_path(s, "lastState.terminated.finishedAt")));
		}
		if (val_has(ended) && !val_int(val_get(ended, "exitCode"), 0))
			continue;
		if (is_sidecar(spec) && val_bool(val_get(s, "started"), false)) {
			t->ready += val_bool(val_get(s, "ready"), false);
			continue;
		}
		struct str why = val_str(val_get(waiting, "reason"));
		if (val_has(ended))
			say_end(t, "Init:", ended);
		else if (why.n && !str_is(why, "PodInitializing"))
			say(t, "Init:", why);
		else
			snprintf(t->reason, sizeof(t->reason), "Init:%zu/%zu", i, val_len(specs));
		return true;
	}
	return false;
}

static bool condition_true(struct val pod, const char *type)
{
	return val_is(val_get(val_find(val_path(pod, "status.conditions"), "type", str_c(type)), "status"), "True");
}

static void main_containers(struct tally *t, struct val pod)
{
	struct val list = val_path(pod, "status.containerStatuses");
	bool running = false;

	t->restarts = t->restarts_sidecar;
	t->last = t->last_sidecar;
	for (size_t i = val_len(list); i-- > 0;) {
		struct val s = val_at(list, i), ended = val_path(s, "state.terminated");
		struct str waiting = val_str(val_path(s, "state.waiting.reason"));
		bool ready = val_bool(val_get(s, "ready"), false);
		t->restarts += val_int(val_get(s, "restartCount"), 0);
		later(&t->last, val_str(val_path(s, "lastState.terminated.finishedAt")));
		if (waiting.n) {
			say(t, "", waiting);
		} else if (val_has(ended)) {
			say_end(t, "", ended);
		} else if (ready && val_has(val_path(s, "state.running"))) {
			running = true;
			t->ready++;
		}
	}
	if (!strcmp(t->reason, "Completed") && running)
		snprintf(t->reason, sizeof(t->reason), "%s", condition_true(pod, "Ready") ? "Running" : "NotReady");
}

static void pod_tally(struct tally *t, struct val pod)
{
	struct str reason = val_str(val_path(pod, "status.reason"));
	struct val scheduled = val_find(val_path(pod, "status.conditions"), "type", STR("PodScheduled"));

	memset(t, 0, sizeof(*t));
	t->total = (int64_t)val_len(val_path(pod, "spec.containers"));
	say(t, "", reason.n ? reason : val_str(val_path(pod, "status.phase")));
	if (val_is(val_get(scheduled, "reason"), "SchedulingGated"))
		say(t, "", STR("SchedulingGated"));
	bool initializing = init_containers(t, pod);
	if (!initializing || condition_true(pod, "Initialized"))
		main_containers(t, pod);
	if (!val_has(val_path(pod, "metadata.deletionTimestamp")))
		return;
	struct str phase = val_str(val_path(pod, "status.phase"));
	if (str_is(reason, "NodeLost"))
		say(t, "", STR("Unknown"));
	else if (!str_is(phase, "Failed") && !str_is(phase, "Succeeded"))
		say(t, "", STR("Terminating"));
}

static void gates(struct cells *c, struct val pod)
{
	struct val list = val_path(pod, "spec.readinessGates");
	size_t yes = 0;

	for (size_t i = 0; i < val_len(list); i++) {
		char type[256];
		snprintf(type, sizeof(type), "%.*s", STR_ARG(val_str(val_get(val_at(list, i), "conditionType"))));
		yes += condition_true(pod, type);
	}
	if (val_len(list))
		cell_f(c, "%zu/%zu", yes, val_len(list));
	else
		cell_c(c, "<none>");
}

void cells_pod(struct cells *c, struct val pod)
{
	struct tally t;
	struct wall last;
	char age[TIME_TEXT_MAX];

	pod_tally(&t, pod);
	cell_f(c, "%lld/%lld", (long long)t.ready, (long long)t.total);
	cell_c(c, t.reason);
	if (t.restarts && wall_parse(t.last, &last)) {
		age_text(c->now_s - wall_s(last), age);
		cell_f(c, "%lld (%s ago)", (long long)t.restarts, age);
	} else {
		cell_f(c, "%lld", (long long)t.restarts);
	}
	cell_created(c);
	struct val ip = val_path(pod, "status.podIP");
	if (val_len(val_path(pod, "status.podIPs")))
		ip = val_get(val_at(val_path(pod, "status.podIPs"), 0), "ip");
	cell_val(c, ip);
	cell_val(c, val_path(pod, "spec.nodeName"));
	cell_val(c, val_path(pod, "status.nominatedNodeName"));
	gates(c, pod);
}

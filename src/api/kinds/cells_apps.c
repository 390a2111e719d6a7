/* Rows of the kinds that make pods. */
#include "api/kinds/cells.h"
#include <stdio.h>

#define CONTAINERS                                                                   \
	{                                                                            \
		"Containers", "string", "", 1, "Names of the template's containers." \
	}
#define IMAGES                                                                    \
	{                                                                         \
		"Images", "string", "", 1, "Images of the template's containers." \
	}
#define SELECTOR                                                        \
	{                                                               \
		"Selector", "string", "", 1, "Which pods belong to it." \
	}
#define STRING(name, help)                  \
	{                                   \
		name, "string", "", 0, help \
	}
#define INT(name, help)                      \
	{                                    \
		name, "integer", "", 0, help \
	}

const struct column columns_deployment[] = { STRING("Ready", "Pods that are ready, of those wished."),
	STRING("Up-to-date", "Pods of the newest template."),
	STRING("Available", "Pods that have been ready long enough."), AGE, CONTAINERS, IMAGES, SELECTOR, {} };
const struct column columns_statefulset[] = { STRING("Ready", "Pods that are ready, of those wished."), AGE, CONTAINERS,
	IMAGES, {} };
const struct column columns_replicaset[] = { INT("Desired", "Pods wished."), INT("Current", "Pods that exist."),
	INT("Ready", "Pods that are ready."), AGE, CONTAINERS, IMAGES, SELECTOR, {} };
const struct column columns_daemonset[] = { INT("Desired", "Nodes that should have one."),
	INT("Current", "Nodes that have one."), INT("Ready", "Nodes whose pod is ready."),
	INT("Up-to-date", "Pods of the newest template."), INT("Available", "Pods that have been ready long enough."),
	STRING("Node Selector", "Labels that a node must have."), AGE, CONTAINERS, IMAGES, SELECTOR, {} };
const struct column columns_job[] = { STRING("Status", "How far it is."),
	STRING("Completions", "Pods that succeeded, of those wished."), STRING("Duration", "How long it ran."), AGE,
	CONTAINERS, IMAGES, SELECTOR, {} };
const struct column columns_cronjob[] = { STRING("Schedule", "When it runs."),
	STRING("Timezone", "Whose clock that is."), { "Suspend", "boolean", "", 0, "Whether it is held." },
	INT("Active", "Jobs that run now."), STRING("Last Schedule", "Time since its last job."), AGE, CONTAINERS,
	IMAGES, SELECTOR, {} };
const struct column columns_controllerrevision[] = { STRING("Controller", "Whose history it is."),
	INT("Revision", "Its number."), AGE, {} };
const struct column columns_podtemplate[] = { STRING("Containers", "Names of the containers."),
	STRING("Images", "Their images."), STRING("Pod Labels", "Labels of the pods."), {} };

static void containers(struct cells *c, struct val template)
{
	struct val list = val_path(template, "spec.containers");
	static const char *const keys[] = { "name", "image" };

	for (size_t k = 0; k < 2; k++) {
		struct buf b = BUF_INIT;
		for (size_t i = 0; i < val_len(list); i++)
			buf_printf(&b, "%s%.*s", i ? "," : "", STR_ARG(val_str(val_get(val_at(list, i), keys[k]))));
		cell_str(c, buf_view(&b));
		buf_fini(&b);
	}
}

static void labels(struct cells *c, struct val map)
{
	struct buf b = BUF_INIT;

	for (struct val_iter it = val_iter(map); val_next(&it);)
		buf_printf(&b, "%s%.*s=%.*s", b.n ? "," : "", STR_ARG(it.key), STR_ARG(val_str(it.val)));
	cell_str(c, b.n ? buf_view(&b) : STR("<none>"));
	buf_fini(&b);
}

static void selector(struct cells *c, struct val sel)
{
	const struct selector *s;
	struct err e;

	err_init(&e);
	if (!val_has(sel))
		cell_c(c, "<none>");
	else if (!val_has(val_get(sel, "matchLabels")) && !val_has(val_get(sel, "matchExpressions")))
		labels(c, sel);
	else if (selector_of(c->a, sel, &s, &e) >= 0)
		cell_str(c, selector_text(c->a, s));
	else
		cell_c(c, "<error>");
}

static int64_t num(struct val o, const char *path)
{
	return val_int(val_path(o, path), 0);
}

void cells_deployment(struct cells *c, struct val o)
{
	cell_f(c, "%lld/%lld", (long long)num(o, "status.readyReplicas"), (long long)num(o, "spec.replicas"));
	cell_int(c, num(o, "status.updatedReplicas"));
	cell_int(c, num(o, "status.availableReplicas"));
	cell_created(c);
	containers(c, val_path(o, "spec.template"));
	selector(c, val_path(o, "spec.selector"));
}

void cells_statefulset(struct cells *c, struct val o)
{
	cell_f(c, "%lld/%lld", (long long)num(o, "status.readyReplicas"), (long long)num(o, "spec.replicas"));
	cell_created(c);
	containers(c, val_path(o, "spec.template"));
}

void cells_replicaset(struct cells *c, struct val o)
{
	cell_int(c, num(o, "spec.replicas"));
	cell_int(c, num(o, "status.replicas"));
	cell_int(c, num(o, "status.readyReplicas"));
	cell_created(c);
	containers(c, val_path(o, "spec.template"));
	selector(c, val_path(o, "spec.selector"));
}

void cells_daemonset(struct cells *c, struct val o)
{
	cell_int(c, num(o, "status.desiredNumberScheduled"));
	cell_int(c, num(o, "status.currentNumberScheduled"));
	cell_int(c, num(o, "status.numberReady"));
	cell_int(c, num(o, "status.updatedNumberScheduled"));
	cell_int(c, num(o, "status.numberAvailable"));
	labels(c, val_path(o, "spec.template.spec.nodeSelector"));
	cell_created(c);
	containers(c, val_path(o, "spec.template"));
	selector(c, val_path(o, "spec.selector"));
}

static bool condition(struct val o, const char *type)
{
	return val_is(val_get(val_find(val_path(o, "status.conditions"), "type", str_c(type)), "status"), "True");
}

void cells_job(struct cells *c, struct val o)
{
	struct val wanted = val_path(o, "spec.completions");
	struct wall from, to;
	char text[TIME_TEXT_MAX];
	int64_t done = num(o, "status.succeeded"), parallel = num(o, "spec.parallelism");

	if (condition(o, "Complete"))
		cell_c(c, "Complete");
	else if (condition(o, "Failed"))
		cell_c(c, "Failed");
	else if (val_has(val_path(o, "metadata.deletionTimestamp")))
		cell_c(c, "Terminating");
	else if (condition(o, "Suspended"))
		cell_c(c, "Suspended");
	else if (condition(o, "FailureTarget"))
		cell_c(c, "FailureTarget");
	else
		cell_c(c, condition(o, "SuccessCriteriaMet") ? "SuccessCriteriaMet" : "Running");
	if (val_has(wanted))
		cell_f(c, "%lld/%lld", (long long)done, (long long)val_int(wanted, 0));
	else if (parallel > 1)
		cell_f(c, "%lld/1 of %lld", (long long)done, (long long)parallel);
	else
		cell_f(c, "%lld/1", (long long)done);
	if (!wall_parse(val_str(val_path(o, "status.startTime")), &from)) {
		cell_c(c, "");
	} else {
		if (!wall_parse(val_str(val_path(o, "status.completionTime")), &to))
			to.ns = c->now_s * 1000000000;
		age_text(wall_s(to) - wall_s(from), text);
		cell_c(c, text);
	}
	cell_created(c);
	containers(c, val_path(o, "spec.template"));
	selector(c, val_path(o, "spec.selector"));
}

void cells_cronjob(struct cells *c, struct val o)
{
	struct val last = val_path(o, "status.lastScheduleTime");

	cell_val(c, val_path(o, "spec.schedule"));
	cell_val(c, val_path(o, "spec.timeZone"));
	cell_c(c, val_bool(val_path(o, "spec.suspend"), false) ? "True" : "False");
	cell_int(c, (int64_t)val_len(val_path(o, "status.active")));
	if (val_has(last))
		cell_age(c, last);
	else
		cell_c(c, "<none>");
	cell_created(c);
	containers(c, val_path(o, "spec.jobTemplate.spec.template"));
	selector(c, val_path(o, "spec.jobTemplate.spec.selector"));
}

void cells_controllerrevision(struct cells *c, struct val o)
{
	struct val owners = val_path(o, "metadata.ownerReferences"), owner = VAL_NONE;

	for (struct val_iter it = val_iter(owners); val_next(&it);)
		if (val_bool(val_get(it.val, "controller"), false))
			owner = it.val;
	if (val_has(owner)) {
		struct str version = val_str(val_get(owner, "apiVersion")), group = { 0 };
		struct str rest = str_cut(version, '/', &group);
		struct buf b = BUF_INIT;
		struct str kind = val_str(val_get(owner, "kind"));
		for (size_t i = 0; i < kind.n; i++)
			buf_byte(&b, (char)(kind.p[i] | 0x20));
		buf_printf(&b, "%s%.*s/%.*s", rest.p ? "." : "", rest.p ? (int)group.n : 0, group.p ? group.p : "",
			STR_ARG(val_str(val_get(owner, "name"))));
		cell_str(c, buf_view(&b));
		buf_fini(&b);
	} else {
		cell_c(c, "<none>");
	}
	cell_int(c, num(o, "revision"));
	cell_created(c);
}

void cells_podtemplate(struct cells *c, struct val o)
{
	containers(c, val_get(o, "template"));
	labels(c, val_path(o, "template.metadata.labels"));
}

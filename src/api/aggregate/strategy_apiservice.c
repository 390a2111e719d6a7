/* APIServices on their way in, and their columns. */
#include "api/aggregate/aggregate.h"
#include "api/custom/custom.h"
#include "api/kinds/cells.h"
#define LOG_MODULE "aggregate"

const struct column columns_apiservice[] = { { "Service", "string", "", 0, "The service that serves it, or Local." },
	{ "Available", "string", "", 0, "Whether it answers." },
	{ "Age", "string", "", 0, "Time since it was created." }, {} };

void cells_apiservice(struct cells *c, struct val o)
{
	struct val s = val_path(o, "spec.service"),
		   cond = val_find(val_path(o, "status.conditions"), "type", STR("Available"));
	struct str value = val_str(val_get(cond, "status"));

	if (val_has(s))
		cell_f(c, "%.*s/%.*s", STR_ARG(val_str(val_get(s, "namespace"))), STR_ARG(val_str(val_get(s, "name"))));
	else
		cell_c(c, "Local");
	if (str_is(value, "True"))
		cell_str(c, value);
	else
		cell_f(c, "%.*s (%.*s)", STR_ARG(value.n ? value : STR("Unknown")),
			STR_ARG(val_str(val_get(cond, "reason"))));
	cell_created(c);
}

/* A local one is available from the start; the task of aggregate.c looks at the others. */
static int prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)e;
	if (!val_has(old) && !node_getc(node_getc(o, "spec"), "service"))
		crd_condition(rq->a, node_need_map(o, "status"), "Available", "True", "Local", LOCAL_IS_AVAILABLE);
	return 0;
}

static void check_priority(struct err *e, const char *path, struct val v, int64_t max, const char *why)
{
	if (val_int(v, 0) <= 0 || val_int(v, 0) > max)
		v_invalid(e, path, v, why);
}

static void conditions_validate(struct rq *rq, struct val list, struct err *e)
{
	static const char *const known[] = { "True", "False", "Unknown", NULL };

	for (size_t i = 0; i < val_len(list); i++) {
		struct str status = val_str(val_get(val_at(list, i), "status"));

		if (!is_one_of(known, status))
			v_unsupported(e, rq_f(rq, "status.conditions[%zu].status", i), status, known);
	}
}

static void validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), service = val_get(spec, "service"),
		   insecure = val_get(spec, "insecureSkipTLSVerify");
	struct str version = val_str(val_get(spec, "version")), group = val_str(val_get(spec, "group"));
	struct str want = arena_strf(rq->a, "%.*s.%.*s", STR_ARG(version), STR_ARG(group));
	int64_t port = val_int(val_get(service, "port"), 443);
	bool bundle = val_str(val_get(spec, "caBundle")).n > 0;

	(void)old;
	if (rq->sub.n) {
		conditions_validate(rq, val_path(o, "status.conditions"), e);
		return;
	}
	if (!str_eq(want, val_str(val_path(o, "metadata.name"))))
		v_invalid_str(e, "metadata.name", val_str(val_path(o, "metadata.name")),
			rq_f(rq, "must be `spec.version+\".\"+spec.group`: \"%.*s\"", STR_ARG(want)));
	if (group.n)
		validate_name(e, "spec.group", group, NAME_SUBDOMAIN);
	else if (!str_is(version, "v1"))
		v_required(e, "spec.group", "only v1 may have an empty group and it better be legacy kube");
	validate_name(e, "spec.version", version, NAME_LABEL_1035);
	check_priority(e, "spec.groupPriorityMinimum", val_get(spec, "groupPriorityMinimum"), 20000,
		"must be positive and less than 20000");
	check_priority(e, "spec.versionPriority", val_get(spec, "versionPriority"), 1000,
		"must be positive and less than 1000");
	if (!val_has(service)) {
		if (bundle)
			v_invalid(e, "spec.caBundle", val_get(spec, "caBundle"),
				"local APIServices may not have a caBundle");
		if (val_bool(insecure, false))
			v_invalid(e, "spec.insecureSkipTLSVerify", insecure,
				"local APIServices may not have insecureSkipTLSVerify");
		return;
	}
	if (!val_str(val_get(service, "namespace")).n)
		v_required(e, "spec.service.namespace", "");
	if (!val_str(val_get(service, "name")).n)
		v_required(e, "spec.service.name", "");
	if (port < 1 || port > 65535)
		v_invalid(e, "spec.service.port", val_get(service, "port"),
			"port is not valid: must be between 1 and 65535, inclusive");
	if (val_bool(insecure, false) && bundle)
		v_invalid(e, "spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present");
}

const struct strategy strategy_apiservice = { .prepare = prepare, .validate = validate };

/* What nodes and others may say of a Pod. Rules and sentences are upstream's (ValidatePodStatusUpdate in
 * apis/core/validation). */
#include "api/api_internal.h"

struct status_change {
	struct rq *rq;
	struct val spec, is, was; /* the specification, which no status changes; the status now and before */
	struct err *e;
};

static void conditions(const struct status_change *c)
{
	static const char *const well_known[] = { "PodScheduled", "Ready", "Initialized", NULL };

	for (struct val_iter it = val_iter(val_get(c->is, "conditions")); val_next(&it);) {
		struct val generation = val_get(it.val, "observedGeneration");
		struct str type = val_str(val_get(it.val, "type"));

		if (val_int(generation, 0) < 0)
			v_invalid(c->e, rq_f(c->rq, "status.conditions[%zu].observedGeneration", it.i), generation,
				"must be a non-negative integer");
		if (!is_one_of(well_known, type))
			validate_qualified(c->e, rq_f(c->rq, "status.conditions[%zu].Type", it.i), type);
	}
}

static void words(const struct status_change *c)
{
	struct val room = val_get(c->is, "nominatedNodeName"), generation = val_get(c->is, "observedGeneration");

	if (val_str(room).n && !val_equal(room, val_get(c->was, "nominatedNodeName")))
		validate_name(c->e, "status.nominatedNodeName", val_str(room), NAME_SUBDOMAIN);
	if (val_int(generation, 0) < 0)
		v_invalid(c->e, "status.observedGeneration", generation, "must be a non-negative integer");
	validate_immutable(c->e, "status.qosClass", val_get(c->is, "qosClass"), val_get(c->was, "qosClass"));
}

/* ---- containers ------------------------------------------------------------------------------ */

static bool may_restart(struct val spec, struct val status, const char *list)
{
	struct val of = val_find(val_get(spec, "initContainers"), "name", val_str(val_get(status, "name")));
	struct str policy = val_str(val_get(spec, "restartPolicy"));

	if (!strcmp(list, "ephemeralContainerStatuses"))
		return false;
	if (!strcmp(list, "initContainerStatuses") && val_is(val_get(of, "restartPolicy"), "Always"))
		return true;
	return str_is(policy, "OnFailure") ? val_int(val_path(status, "state.terminated.exitCode"), 0) != 0 :
					     !str_is(policy, "Never");
}

/* Paths count as before the change. */
static void transitions(const struct status_change *c, const char *list)
{
	for (struct val_iter old = val_iter(val_get(c->was, list)); val_next(&old);) {
		if (!val_has(val_path(old.val, "state.terminated")) || may_restart(c->spec, old.val, list))
			continue;
		for (struct val_iter it = val_iter(val_get(c->is, list)); val_next(&it);)
			if (val_equal(val_get(it.val, "name"), val_get(old.val, "name")) &&
				!val_has(val_path(it.val, "state.terminated")))
				v_forbidden(c->e, rq_f(c->rq, "status.%s[%zu].state", list, old.i),
					"may not be transitioned to non-terminated state");
	}
}

static void id_validate(const struct status_change *c, struct val id, const char *at)
{
	if (val_int(id, 0) < 0 || val_int(id, 0) > INT32_MAX)
		v_invalid(c->e, at, id, "must be between 0 and 2147483647, inclusive");
}

static void users(const struct status_change *c, const char *list)
{
	bool windows = val_is(val_path(c->spec, "os.name"), "windows");

	for (struct val_iter it = val_iter(val_get(c->is, list)); val_next(&it);) {
		struct val user = val_path(it.val, "user.linux");
		char *at = rq_f(c->rq, "status.%s[%zu].user.linux", list, it.i);

		if (!val_has(user))
			continue;
		if (windows) {
			v_forbidden(c->e, at, "cannot be set for a windows pod");
			continue;
		}
		id_validate(c, val_get(user, "uid"), rq_f(c->rq, "%s.uid", at));
		id_validate(c, val_get(user, "gid"), rq_f(c->rq, "%s.gid", at));
		for (struct val_iter g = val_iter(val_get(user, "supplementalGroups")); val_next(&g);)
			id_validate(c, g.val, rq_f(c->rq, "%s.supplementalGroups[%zu]", at, g.i));
	}
}

/* ---- claims and addresses -------------------------------------------------------------------- */

static void claims(const struct status_change *c)
{
	struct val list = val_get(c->is, "resourceClaimStatuses");

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name"));
		struct val claim = val_get(it.val, "resourceClaimName");
		char *at = rq_f(c->rq, "status.resourceClaimStatuses[%zu].name", it.i);

		if (!val_has(val_find(val_get(c->spec, "resourceClaims"), "name", name)))
			v_invalid_str(c->e, at, name, "must match the name of an entry in `spec.resourceClaims`");
		if (val_find(list, "name", name).at != it.val.at)
			v_duplicate(c->e, at, name);
		if (val_has(claim))
			validate_name(c->e, at, val_str(claim), NAME_SUBDOMAIN);
	}
}

static bool is_ip(struct str ip)
{
	struct err none;

	err_init(&none);
	return validate_ip(&none, "", ip);
}

/* One of each family. What was wrong before may stay. */
static void addresses(const struct status_change *c, const char *field)
{
	struct val list = val_get(c->is, field), were = val_get(c->was, field);
	size_t n[2] = { 0, 0 };

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str ip = val_str(val_get(it.val, "ip"));

		if (!val_has(val_find(were, "ip", ip)))
			validate_ip(c->e, rq_f(c->rq, "status.%s[%zu]", field, it.i), ip);
		if (is_ip(ip))
			n[str_has(ip, STR(":"))]++;
	}
	if (val_len(list) > 1 && (n[0] != 1 || n[1] != 1))
		v_invalid(c->e, rq_f(c->rq, "status.%s", field), list,
			"may specify no more than one IP for each IP family");
}

static void host_address(const struct status_change *c)
{
	struct val first = val_get(val_at(val_get(c->is, "hostIPs"), 0), "ip");

	if (val_len(val_get(c->is, "hostIPs")) && !str_eq(val_str(first), val_str(val_get(c->is, "hostIP"))))
		v_invalid_str(c->e, "status.hostIPs[0].ip", val_str(first), "must be equal to `hostIP`");
}

void validate_pod_status(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const lists[] = { "containerStatuses", "initContainerStatuses",
		"ephemeralContainerStatuses" };
	struct status_change c = { rq, val_get(old, "spec"), val_get(o, "status"), val_get(old, "status"), e };

	conditions(&c);
	words(&c);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		transitions(&c, lists[i]);
	claims(&c);
	addresses(&c, "podIPs");
	host_address(&c);
	addresses(&c, "hostIPs");
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		users(&c, lists[i]);
}

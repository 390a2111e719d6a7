/* From an apiVersion and a kind, as references give them, to the resource. */
#include "controllers/controllers_internal.h"

static bool is_of(struct str api_version, struct gvr r)
{
	struct str group, version = str_cut(api_version, '/', &group);

	return version.p ? str_is(group, r.group) : !*r.group;
}

static bool custom_kind(struct ctl *c, struct arena *a, struct str api_version, struct str kind, struct gvr *ret)
{
	struct informer_list all = informer_list(ctl_informer(c, res_customresourcedefinitions), a, NULL, STR_NULL);
	struct str group, version = str_cut(api_version, '/', &group);

	for (size_t i = 0; version.p && i < all.n; i++) {
		if (!str_eq(doc_str(all.items[i], "spec.group"), group) ||
			!str_eq(doc_str(all.items[i], "spec.names.kind"), kind) ||
			!defined_resource(a, all.items[i], ret))
			continue;
		ret->version = arena_cstr(a, version);
		return true;
	}
	return false;
}

bool scaled_resource(struct ctl *c, struct arena *a, struct str api_version, struct str kind, struct gvr *ret)
{
	static const struct {
		const char *kind;
		const struct gvr *res;
	} builtin[] = {
		{ "Deployment", &res_deployments },
		{ "ReplicaSet", &res_replicasets },
		{ "StatefulSet", &res_statefulsets },
		{ "ReplicationController", &res_replicationcontrollers },
	};

	for (size_t i = 0; i < ARRAY_LEN(builtin); i++) {
		if (!str_is(kind, builtin[i].kind) || !is_of(api_version, *builtin[i].res))
			continue;
		*ret = *builtin[i].res;
		return true;
	}
	return custom_kind(c, a, api_version, kind, ret);
}

/* Paths and operations of resources. */
#include "schema/openapi.h"
#include <ctype.h>
#include <stdio.h>

struct action {
	const char *verb;   /* in the table of resources */
	const char *method; /* of HTTP */
	const char *action; /* x-kubernetes-action */
	const char *id;     /* how operation ids begin */
	enum oa_path path;
	const char *query; /* "name:type …" */
};
#define WRITE "dryRun:string fieldManager:string fieldValidation:string"
#define SELECT                                                                                            \
	"continue:string fieldSelector:string labelSelector:string limit:integer resourceVersion:string " \
	"resourceVersionMatch:string sendInitialEvents:boolean timeoutSeconds:integer"
#define DELETE                                                                                               \
	"dryRun:string gracePeriodSeconds:integer ignoreStoreReadErrorWithClusterBreakingPotential:boolean " \
	"orphanDependents:boolean propagationPolicy:string"
static const struct action actions[] = {
	{ "list", "get", "list", "list", OA_COLLECTION, SELECT " allowWatchBookmarks:boolean watch:boolean" },
	{ "create", "post", "post", "create", OA_COLLECTION, WRITE },
	{ "deletecollection", "delete", "deletecollection", "deleteCollection", OA_COLLECTION, DELETE " " SELECT },
	{ "get", "get", "get", "read", OA_ITEM, "" },
	{ "update", "put", "put", "replace", OA_ITEM, WRITE },
	{ "patch", "patch", "patch", "patch", OA_ITEM, WRITE " force:boolean" },
	{ "delete", "delete", "delete", "delete", OA_ITEM, DELETE },
};
static const struct action sub_create = { "create", "post", "post", "create", OA_ITEM, WRITE };
static const struct action list_all = { "list", "get", "list", "list", OA_ALL,
	SELECT " allowWatchBookmarks:boolean watch:boolean" };

static bool is_method(const struct action *act, const char *method)
{
	return !strcmp(act->method, method);
}

static bool has_verb(const struct openapi_resource *r, const char *verb)
{
	for (size_t i = 0; r->verbs && r->verbs[i]; i++)
		if (!strcmp(r->verbs[i], verb))
			return true;
	return false;
}

bool oa_path_name(const struct openapi_resource *r, enum oa_path p, char *ret, size_t cap)
{
	char base[256];

	if (!r->type || (r->sub && p != OA_ITEM) || (p == OA_ALL && (!r->namespaced || !has_verb(r, "list"))))
		return false;
	if (r->group[0])
		snprintf(base, sizeof(base), "/apis/%s/%s", r->group, r->version);
	else
		snprintf(base, sizeof(base), "/api/%s", r->version);
	snprintf(ret, cap, "%s%s/%s%s%s%s", base, r->namespaced && p != OA_ALL ? "/namespaces/{namespace}" : "",
		r->resource, p == OA_ITEM ? "/{name}" : "", r->sub ? "/" : "", r->sub ? r->sub : "");
	return true;
}

/* ---- parameters ------------------------------------------------------------------------------ */

static void parameter(const struct oa *o, const char *in, struct str name, struct str type, bool *any, struct buf *b)
{
	if (*any)
		buf_byte(b, ',');
	*any = true;
	buf_printf(
		b, "{\"name\":\"%.*s\",\"in\":\"%s\",%s", STR_ARG(name), in, in[0] == 'p' ? "\"required\":true," : "");
	buf_printf(b,
		o->v3 ? "\"schema\":{\"type\":\"%.*s\",\"uniqueItems\":true}}" :
			"\"type\":\"%.*s\",\"uniqueItems\":true}",
		STR_ARG(type));
}

static void query_parameters(const struct oa *o, const char *query, bool *any, struct buf *b)
{
	for (struct str one, rest = str_c(query); str_next(&rest, ' ', &one);) {
		struct str name, type = str_cut(one, ':', &name);

		parameter(o, "query", name, type, any, b);
	}
}

static void path_parameters(const struct oa *o, const struct openapi_resource *r, enum oa_path p, struct buf *b)
{
	bool any = false;

	buf_c(b, "\"parameters\":[");
	if (p == OA_ITEM)
		parameter(o, "path", STR("name"), STR("string"), &any, b);
	if (r->namespaced && p != OA_ALL)
		parameter(o, "path", STR("namespace"), STR("string"), &any, b);
	parameter(o, "query", STR("pretty"), STR("string"), &any, b);
	buf_byte(b, ']');
}

/* ---- operations ------------------------------------------------------------------------------ */

/* "rbac.authorization.k8s.io" -> "RbacAuthorization", "" -> "Core" */
static void camel_group(const char *group, struct buf *b)
{
	struct str g = str_c(group[0] ? group : "core");
	bool up = true;

	if (str_ends(g, STR(".k8s.io")))
		g.n -= 7;
	for (size_t i = 0; i < g.n; i++) {
		if (g.p[i] == '.' || g.p[i] == '-') {
			up = true;
			continue;
		}
		buf_byte(b, up ? (char)toupper((unsigned char)g.p[i]) : g.p[i]);
		up = false;
	}
}

static void capitalized(const char *s, struct buf *b)
{
	if (s[0])
		buf_byte(b, (char)toupper((unsigned char)s[0]));
	if (s[0])
		buf_c(b, s + 1);
}

static void operation_id(const struct openapi_resource *r, const struct action *act, enum oa_path p, struct buf *b)
{
	buf_printf(b, "\"operationId\":\"%s", act->id);
	camel_group(r->group, b);
	capitalized(r->version, b);
	if (!strcmp(act->verb, "deletecollection"))
		buf_c(b, "Collection");
	if (r->namespaced && p != OA_ALL)
		buf_c(b, "Namespaced");
	buf_c(b, r->kind);
	if (r->sub)
		capitalized(r->sub, b);
	if (p == OA_ALL)
		buf_c(b, "ForAllNamespaces");
	buf_c(b, "\",\"tags\":[\"");
	buf_printf(b, "%s_%s\"]", r->group[0] ? r->group : "core", r->version);
}

static void kind_of(const struct openapi_resource *r, struct buf *b)
{
	const struct schema_kind_entry *k;
	size_t n;

	k = schema_builtin_kinds(&n);
	for (size_t i = 0; i < n && r->sub; i++) /* a subresource may have a kind of another group: Scale, Eviction */
		if (k[i].type == r->type) {
			buf_printf(b, "{\"group\":\"%s\",\"version\":\"%s\",\"kind\":\"%s\"}", k[i].group, k[i].version,
				k[i].kind);
			return;
		}
	buf_printf(b, "{\"group\":\"%s\",\"version\":\"%s\",\"kind\":\"%s\"}", r->group, r->version, r->kind);
}

static void ref_or_object(const struct oa *o, const struct schema_type *t, struct buf *b)
{
	buf_byte(b, '{');
	if (t && t->name)
		oa_reference(o, t, b);
	else
		buf_c(b, "\"type\":\"object\"");
	buf_byte(b, '}');
}

#define META "io.k8s.apimachinery.pkg.apis.meta.v1."

static const struct schema_type *body_type(const struct openapi_resource *r, const struct action *act)
{
	if (is_method(act, "post") || is_method(act, "put"))
		return r->type;
	if (is_method(act, "delete"))
		return schema_builtin_by_name(META "DeleteOptions");
	return NULL;
}

static const struct schema_type *answer_type(const struct openapi_resource *r, const struct action *act)
{
	if (!strcmp(act->action, "list"))
		return oa_list_type(r);
	if (is_method(act, "delete"))
		return schema_builtin_by_name(META "Status");
	return r->type;
}

static const char *const patch_media[] = { "application/json-patch+json", "application/merge-patch+json",
	"application/strategic-merge-patch+json", "application/apply-patch+yaml", NULL };
/* Strategic merge needs what only builtin kinds say; kubectl looks here before it chooses. */
static const char *const custom_patch_media[] = { "application/json-patch+json", "application/merge-patch+json",
	"application/apply-patch+yaml", NULL };
static const char *const custom_media[] = { "application/json", "application/yaml", NULL };
static const char *const any_media[] = { "*/*", NULL };
static const char *const answer_media[] = { "application/json", "application/yaml",
	"application/vnd.kubernetes.protobuf", NULL };

static const char *const *body_media(const struct openapi_resource *r, const struct action *act)
{
	if (is_method(act, "patch"))
		return r->type->custom ? custom_patch_media : patch_media;
	return any_media;
}

static const char *const *answers_of(const struct openapi_resource *r)
{
	return r->type->custom ? custom_media : answer_media;
}

static void body_v2(
	const struct oa *o, const struct openapi_resource *r, const struct action *act, bool *any, struct buf *b)
{
	const struct schema_type *t = body_type(r, act);
	bool patch = is_method(act, "patch");

	if (!t && !patch)
		return;
	buf_printf(b, "%s{\"name\":\"body\",\"in\":\"body\",%s\"schema\":", *any ? "," : "",
		is_method(act, "delete") ? "" : "\"required\":true,");
	*any = true;
	ref_or_object(o, t, b);
	buf_byte(b, '}');
}

static void answers_v2(const struct oa *o, const struct openapi_resource *r, const struct action *act, struct buf *b)
{
	buf_c(b, ",\"responses\":{\"200\":{\"description\":\"OK\",\"schema\":");
	ref_or_object(o, answer_type(r, act), b);
	buf_c(b, "},");
	if (is_method(act, "post") || is_method(act, "put") || is_method(act, "patch")) {
		buf_c(b, "\"201\":{\"description\":\"Created\",\"schema\":");
		ref_or_object(o, answer_type(r, act), b);
		buf_c(b, "},");
	}
	buf_c(b, "\"401\":{\"description\":\"Unauthorized\"}}");
}

static void media_v3(const struct oa *o, const struct schema_type *t, const char *const *types, struct buf *b)
{
	buf_c(b, "\"content\":{");
	for (size_t i = 0; types[i]; i++) {
		buf_printf(b, "%s\"%s\":{\"schema\":", i ? "," : "", types[i]);
		ref_or_object(o, t, b);
		buf_byte(b, '}');
	}
	buf_byte(b, '}');
}

static void body_v3(const struct oa *o, const struct openapi_resource *r, const struct action *act, struct buf *b)
{
	if (!is_method(act, "patch") && !body_type(r, act))
		return;
	buf_printf(b, ",\"requestBody\":{%s", is_method(act, "delete") ? "" : "\"required\":true,");
	media_v3(o, body_type(r, act), body_media(r, act), b);
	buf_byte(b, '}');
}

static void answers_v3(const struct oa *o, const struct openapi_resource *r, const struct action *act, struct buf *b)
{
	buf_c(b, ",\"responses\":{\"200\":{\"description\":\"OK\",");
	media_v3(o, answer_type(r, act), answers_of(r), b);
	buf_c(b, "},\"401\":{\"description\":\"Unauthorized\"}}");
}

static void words(const char *name, const char *const *list, struct buf *b)
{
	buf_printf(b, "%s[", name);
	for (size_t i = 0; list[i]; i++)
		buf_printf(b, "%s\"%s\"", i ? "," : "", list[i]);
	buf_byte(b, ']');
}

static void operation(
	const struct oa *o, const struct openapi_resource *r, const struct action *act, enum oa_path p, struct buf *b)
{
	bool any = false;

	buf_printf(b, "\"%s\":{", act->method);
	operation_id(r, act, p, b);
	if (!o->v3) {
		buf_c(b, ",\"schemes\":[\"https\"]");
		words(",\"consumes\":", body_media(r, act), b);
		words(",\"produces\":", answers_of(r), b);
	}
	buf_c(b, ",\"parameters\":[");
	query_parameters(o, act->query, &any, b);
	if (!o->v3)
		body_v2(o, r, act, &any, b);
	buf_byte(b, ']');
	if (o->v3) {
		body_v3(o, r, act, b);
		answers_v3(o, r, act, b);
	} else {
		answers_v2(o, r, act, b);
	}
	buf_printf(b, ",\"x-kubernetes-action\":\"%s\",\"x-kubernetes-group-version-kind\":", act->action);
	kind_of(r, b);
	buf_c(b, "},");
}

void oa_path_item(const struct oa *o, const struct openapi_resource *r, enum oa_path p, struct buf *b)
{
	buf_byte(b, '{');
	if (p == OA_ALL)
		operation(o, r, &list_all, p, b);
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (actions[i].path == p && has_verb(r, actions[i].verb))
			operation(o, r, &actions[i], p, b);
	if (r->sub && has_verb(r, "create"))
		operation(o, r, &sub_create, p, b);
	path_parameters(o, r, p, b);
	buf_byte(b, '}');
}

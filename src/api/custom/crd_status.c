/* Names and conditions of a CustomResourceDefinition. Source of the rules: the Kubernetes documentation of
 * apiextensions.k8s.io/v1, and what upstream's naming controller answers. */
#include "api/custom/custom.h"

#define LOG_MODULE "crd"
#define APPROVAL_URL "see https://github.com/kubernetes/enhancements/pull/1111"

void crd_condition(struct arena *a, struct node *status, const char *type, const char *value, const char *reason,
	const char *message)
{
	struct node *list = node_need_list(status, "conditions"), *c = NULL;
	char now[TIME_TEXT_MAX];

	for (size_t i = 0; i < node_len(list) && !c; i++)
		if (str_is(node_text_str(node_getc(node_at(list, i), "type")), type))
			c = node_at(list, i);
	if (!c) {
		c = node_pack(a, "{type:s}", type);
		node_add(list, c);
	}
	if (!str_is(node_text_str(node_getc(c, "status")), value)) {
		wall_rfc3339(wall_now(), now);
		node_setc(c, "status", node_c(a, value));
		node_setc(c, "lastTransitionTime", node_c(a, now));
	}
	node_setc(c, "reason", node_c(a, reason));
	node_setc(c, "message", node_c(a, message));
}

/* ---- names ----------------------------------------------------------------------------------- */

struct names {
	struct map *resources, *kinds; /* in use by other definitions of the group */
};

static void use(struct map *m, struct val v)
{
	static char used;

	if (val_str(v).n)
		map_put(m, val_str(v), &used);
}

static void names_of_group(struct api *api, struct arena *a, struct doc *crd, struct names *ret)
{
	int64_t rev;
	struct cache_list all = cache_list(
		api_cache(api, "apiextensions.k8s.io", "customresourcedefinitions"), a, STR_NULL, STR_NULL, 0, &rev);

	ret->resources = map_new(NULL);
	ret->kinds = map_new(NULL);
	for (size_t i = 0; i < all.n; i++) {
		struct doc *d = all.items[i].doc;
		struct val n = doc_get(d, "status.acceptedNames");

		if (str_eq(doc_name(d), doc_name(crd)) || !str_eq(doc_str(d, "spec.group"), doc_str(crd, "spec.group")))
			continue;
		use(ret->resources, val_get(n, "plural"));
		use(ret->resources, val_get(n, "singular"));
		for (struct val_iter it = val_iter(val_get(n, "shortNames")); val_next(&it);)
			use(ret->resources, it.val);
		use(ret->kinds, val_get(n, "kind"));
		use(ret->kinds, val_get(n, "listKind"));
	}
}

struct conflict {
	const char *reason, *message;
};

/* One name: taken over into `accepted` when it is free. */
static void name_check(struct arena *a, struct val want, struct node *accepted, const char *field, struct map *used,
	const char *reason, struct conflict *c)
{
	struct str name = val_str(val_get(want, field));

	if (str_eq(name, node_text_str(node_getc(accepted, field))) || !map_get(used, name)) {
		if (name.n)
			node_setc(accepted, field, node_str(a, name));
		else
			node_delc(accepted, field);
		return;
	}
	c->reason = reason;
	c->message = arena_printf(a, "\"%.*s\" is already in use", STR_ARG(name));
}

static void short_names_check(
	struct arena *a, struct val want, struct node *accepted, struct map *used, struct conflict *c)
{
	struct val list = val_get(want, "shortNames");
	struct node *had = node_getc(accepted, "shortNames");
	bool taken = false;

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		bool own = false;

		for (size_t i = 0; i < node_len(had); i++)
			own |= str_eq(node_text_str(node_at(had, i)), val_str(it.val));
		if (own || !map_get(used, val_str(it.val)))
			continue;
		taken = true;
		c->reason = "ShortNamesConflict";
		c->message = arena_printf(a, "\"%.*s\" is already in use", STR_ARG(val_str(it.val)));
	}
	if (!taken && val_len(list))
		node_setc(accepted, "shortNames", node_from(a, list));
	else if (!taken)
		node_delc(accepted, "shortNames");
}

static struct conflict accept_names(struct api *api, struct arena *a, struct doc *crd, struct node *accepted)
{
	struct val want = doc_get(crd, "spec.names"), categories = val_get(want, "categories");
	struct conflict c = { NULL, NULL };
	struct names used;

	names_of_group(api, a, crd, &used);
	name_check(a, want, accepted, "plural", used.resources, "PluralConflict", &c);
	name_check(a, want, accepted, "singular", used.resources, "SingularConflict", &c);
	short_names_check(a, want, accepted, used.resources, &c);
	name_check(a, want, accepted, "kind", used.kinds, "KindConflict", &c);
	name_check(a, want, accepted, "listKind", used.kinds, "ListKindConflict", &c);
	if (val_len(categories))
		node_setc(accepted, "categories", node_from(a, categories));
	else
		node_delc(accepted, "categories");
	map_free(used.resources);
	map_free(used.kinds);
	return c;
}

/* ---- approval of groups that are Kubernetes' own --------------------------------------------- */

bool crd_is_protected(struct str group)
{
	return str_is(group, "k8s.io") || str_is(group, "kubernetes.io") || str_ends(group, STR(".k8s.io")) ||
		str_ends(group, STR(".kubernetes.io"));
}

enum crd_approval crd_approval(struct val crd, const char **ret_why)
{
	static const char *const why[] = {
		[CRD_APPROVAL_MISSING] =
			"protected groups must have approval annotation \"" CRD_APPROVED "\", " APPROVAL_URL,
		[CRD_APPROVAL_INVALID] = "protected groups must have approval annotation \"" CRD_APPROVED
					 "\" with either a URL or a reason starting with \"unapproved\", " APPROVAL_URL,
		[CRD_APPROVAL_BYPASSED] = "not approved",
		[CRD_APPROVED_BY] = "approved in",
	};
	struct str text = val_str(val_get(val_path(crd, "metadata.annotations"), CRD_APPROVED));
	enum crd_approval ret = CRD_APPROVAL_INVALID;

	if (!text.n)
		ret = CRD_APPROVAL_MISSING;
	else if (str_starts(text, STR("unapproved")))
		ret = CRD_APPROVAL_BYPASSED;
	else if (str_starts(text, STR("https://")) || str_starts(text, STR("http://")))
		ret = CRD_APPROVED_BY;
	if (ret_why)
		*ret_why = why[ret];
	return ret;
}

static void approval(struct arena *a, struct doc *crd, struct node *status)
{
	static const char *const reasons[] = { [CRD_APPROVAL_MISSING] = "MissingAnnotation",
		[CRD_APPROVAL_INVALID] = "InvalidAnnotation",
		[CRD_APPROVAL_BYPASSED] = "UnapprovedAnnotation",
		[CRD_APPROVED_BY] = "ApprovedAnnotation" };
	struct str text = val_str(val_get(doc_get(crd, "metadata.annotations"), CRD_APPROVED));
	const char *why;
	enum crd_approval now = crd_approval(doc_root(crd), &why);

	if (!crd_is_protected(doc_str(crd, "spec.group")))
		return;
	if (now == CRD_APPROVAL_BYPASSED)
		why = arena_printf(a, "%s: \"%.*s\"", why, STR_ARG(text));
	else if (now == CRD_APPROVED_BY)
		why = arena_printf(a, "%s %.*s", why, STR_ARG(text));
	crd_condition(a, status, "KubernetesAPIApprovalPolicyConformant", now == CRD_APPROVED_BY ? "True" : "False",
		reasons[now], why);
}

struct node *crd_status(struct api *api, struct arena *a, struct doc *crd, bool *accepted)
{
	struct node *status = node_copy(a, node_from(a, doc_get(crd, "status")));
	struct node *names;

	if (node_kind(status) != VAL_MAP)
		status = node_map(a);
	names = node_need_map(status, "acceptedNames");
	approval(a, crd, status);
	struct conflict c = accept_names(api, a, crd, names);
	*accepted = !c.reason;
	if (c.reason)
		crd_condition(a, status, "NamesAccepted", "False", c.reason, c.message);
	else
		crd_condition(a, status, "NamesAccepted", "True", "NoConflicts", "no conflicts found");
	return status;
}

#include "api/admission/webhook.h"
#define LOG_MODULE "webhook"

size_t webhook_list(struct rq *rq, bool mutating, struct hook **ret)
{
	struct cache *c = api_cache(rq->api, "admissionregistration.k8s.io",
		mutating ? "mutatingwebhookconfigurations" : "validatingwebhookconfigurations");
	int64_t rev;
	size_t n = 0;

	if (!c || !cache_len(c))
		return 0;
	struct cache_list l = cache_list(c, rq->a, STR(""), STR_NULL, 0, &rev);
	for (size_t i = 0; i < l.n; i++)
		n += val_len(doc_get(l.items[i].doc, "webhooks"));
	*ret = ARENA_ARRAY(rq->a, struct hook, n + 1);
	n = 0;
	for (size_t i = 0; i < l.n; i++) {
		doc_hold(rq->a, doc_ref(l.items[i].doc));
		for (struct val_iter it = val_iter(doc_get(l.items[i].doc, "webhooks")); val_next(&it);)
			(*ret)[n++] = (struct hook){
				.def = it.val, .name = val_str(val_get(it.val, "name")), .mutating = mutating
			};
	}
	return n;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static bool listed(struct val list, struct str s)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (str_is(val_str(it.val), "*") || str_eq(val_str(it.val), s))
			return true;
	return false;
}

static bool resource_listed(struct val list, const struct resource *r, struct str sub)
{
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str res, s = str_cut(val_str(it.val), '/', &res);

		if ((str_is(res, "*") || str_is(res, r->def.resource)) && (str_is(s, "*") || str_eq(s, sub)))
			return true;
	}
	return false;
}

static bool scope_fits(const struct rq *rq, struct str scope)
{
	if (!scope.n || str_is(scope, "*"))
		return true;
	return str_is(scope, "Namespaced") == (rq->res->def.namespaced && rq->ns.n);
}

static bool rules_match(const struct review *r, struct val rules, const struct resource *as)
{
	for (struct val_iter it = val_iter(rules); val_next(&it);)
		if (scope_fits(r->rq, val_str(val_get(it.val, "scope"))) &&
			listed(val_get(it.val, "operations"), str_c(r->operation)) &&
			listed(val_get(it.val, "apiGroups"), str_c(as->def.group)) &&
			listed(val_get(it.val, "apiVersions"), str_c(as->def.version)) &&
			resource_listed(val_get(it.val, "resources"), as, r->rq->sub))
			return true;
	return false;
}

/* The form that the rules name: the request's own, or with matchPolicy Equivalent another of the same stored resource.
 */
static const struct resource *form_wanted(const struct review *r, const struct hook *h)
{
	struct rq *rq = r->rq;
	struct val rules = val_get(h->def, "rules");
	size_t n;

	if (rules_match(r, rules, rq->res))
		return rq->res;
	if (val_is(val_get(h->def, "matchPolicy"), "Exact") || (rq->subres && rq->subres->kind) || rq->res->def.create)
		return NULL;
	struct resource **rows = api_resources(rq->api, rq->a, &n);
	for (size_t i = 0; i < n; i++)
		if (rows[i] != rq->res && rows[i]->stored == rq->res->stored && rules_match(r, rules, rows[i]))
			return rows[i];
	return NULL;
}

/* ---- selectors ------------------------------------------------------------------------------- */

static struct val labels_of(struct rq *rq, struct node *object)
{
	struct node *labels = node_path(object, "metadata.labels");
	struct doc *d =
		node_publish(node_pack(rq->a, "{labels:o}", labels ? node_copy(rq->a, labels) : node_map(rq->a)));

	doc_hold(rq->a, d);
	return doc_get(d, "labels");
}

static int namespace_fits(const struct review *r, struct val selector, bool *ret, struct err *e)
{
	struct rq *rq = r->rq;
	bool is_ns = !rq->res->def.group[0] && !strcmp(rq->res->def.resource, "namespaces");
	struct str ns = is_ns ? rq->name : rq->ns;
	const struct selector *s;

	*ret = true;
	if (!val_len(selector) || (!is_ns && !rq->res->def.namespaced))
		return 0;
	if (selector_of(rq->a, selector, &s, e) < 0)
		return -e->code;
	if (is_ns && !rq->sub.n && r->object) {
		*ret = selector_matches(s, labels_of(rq, r->object));
		return 0;
	}
	auto_(doc_unref) struct doc *d = api_get(rq->api, "", "namespaces", STR_NULL, ns);
	if (!d)
		return err_set(e, ERR_NOT_FOUND, "namespaces \"%.*s\" not found", STR_ARG(ns));
	*ret = selector_matches(s, doc_get(d, "metadata.labels"));
	return 0;
}

static int object_fits(const struct review *r, struct val selector, bool *ret, struct err *e)
{
	struct node *const objects[] = { r->object, r->old };
	const struct selector *s;

	*ret = true;
	if (!val_len(selector))
		return 0;
	if (selector_of(r->rq->a, selector, &s, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ARRAY_LEN(objects); i++)
		if (node_getc(objects[i], "metadata") && selector_matches(s, labels_of(r->rq, objects[i])))
			return 0;
	*ret = false;
	return 0;
}

int webhook_matches(const struct review *r, struct hook *h, bool *ret, struct err *e)
{
	*ret = false;
	h->as = form_wanted(r, h);
	if (!h->as)
		return 0;
	int rc = namespace_fits(r, val_get(h->def, "namespaceSelector"), ret, e);
	if (rc >= 0 && *ret)
		rc = object_fits(r, val_get(h->def, "objectSelector"), ret, e);
	return rc;
}

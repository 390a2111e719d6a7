/* What the condition Available of an APIService says: whether its Service is there, and what its server answers. */
#include "api/aggregate/aggregate.h"
#include "api/custom/custom.h"

#define LOG_MODULE "aggregate"
#define GROUP "apiregistration.k8s.io"
#define RESOURCE "apiservices"

static struct verdict missing(
	struct arena *a, const char *reason, const char *before, const struct outgoing_target *t, const char *after)
{
	return (struct verdict){ "False", reason,
		arena_printf(a, "%sservice/%.*s in \"%.*s\" %s", before, STR_ARG(t->name), STR_ARG(t->ns), after) };
}

struct verdict aggregate_failed(struct arena *a, const struct aggregate *x, const char *why)
{
	struct str url = outgoing_url(a, &x->target);

	return (struct verdict){ "False", "FailedDiscoveryCheck",
		arena_printf(a, "failing or missing response from %.*s/apis/%s/%s: %s", STR_ARG(url), x->group,
			x->version, why) };
}

struct verdict aggregate_answered(struct arena *a, struct aggregate *x, const struct http_reply *r)
{
	struct doc *list;
	struct err e;

	err_init(&e);
	if (r->status == 200 && doc_parse(buf_view(&r->body), &list, &e) == 0) {
		x->list = list;
		doc_hold(a, list);
	}
	if (r->status < 200 || r->status >= 300)
		return aggregate_failed(a, x, arena_printf(a, "bad status from it: %d", r->status));
	return (struct verdict){ "True", "Passed", "all checks passed" };
}

bool aggregate_is_there(struct api *api, struct arena *a, const struct aggregate *x, struct verdict *ret)
{
	const struct outgoing_target *t = &x->target;
	auto_(doc_unref) struct doc *svc = api_get(api, "", "services", t->ns, t->name),
				    *ep = api_get(api, "", "endpoints", t->ns, t->name);
	bool port = false, ready = false;

	for (struct val_iter it = val_iter(svc ? doc_get(svc, "spec.ports") : VAL_NONE); val_next(&it);)
		port |= val_int(val_get(it.val, "port"), 0) == t->port;
	for (struct val_iter it = val_iter(ep ? doc_get(ep, "subsets") : VAL_NONE); val_next(&it);)
		ready |= val_len(val_get(it.val, "addresses")) > 0;
	if (!svc)
		*ret = missing(a, "ServiceNotFound", "", t, "is not present");
	else if (!port)
		*ret = missing(a, "ServicePortError", "", t, "is not listening on the port that is asked for");
	else if (!ready && !val_is(doc_get(svc, "spec.type"), "ExternalName"))
		*ret = missing(a, "MissingEndpoints", "endpoints for ", t, "have no addresses");
	else
		return true;
	return false;
}

void aggregate_tell(struct api *api, struct doc *d, struct verdict v)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *n = node_from(a, doc_root(d)), *status = node_need_map(n, "status");
	auto_(doc_unref) struct doc *body = NULL;
	struct err e;

	crd_condition(a, status, "Available", v.value, v.reason, v.message);
	if (node_equal(status, node_from(a, doc_get(d, "status"))))
		return;
	body = node_publish(n);
	err_init(&e);
	if (api_write_sub(api, V_UPDATE, GROUP, RESOURCE, "status", STR_NULL, doc_name(d), body, NULL, &e) < 0 &&
		e.code != ERR_NOT_FOUND && e.code != ERR_CONFLICT)
		log_warn("apiservice %.*s: status is not written: %s", STR_ARG(doc_name(d)), e.message);
}

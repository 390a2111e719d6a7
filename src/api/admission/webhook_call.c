#include "api/admission/webhook.h"
#include "api/auth/auth.h"
#include <stdio.h>
#define LOG_MODULE "webhook"

/* ---- there ----------------------------------------------------------------------------------- */

int webhook_forms(const struct review *r, struct hook *h, struct err *e)
{
	int rc = node_served(r->rq, r->object, r->rq->res, h->as, &h->object, e);

	if (rc >= 0)
		rc = node_served(r->rq, r->old, r->rq->res, h->as, &h->old, e);
	if (rc >= 0 || e->code == ERR_TOO_MANY)
		return rc;
	err_wrap(e, "Internal error occurred");
	e->code = ERR_INTERNAL;
	return -ERR_INTERNAL;
}

static struct node *kind_of(struct arena *a, const struct rq *rq, const struct resource *as)
{
	const struct subresource *s = rq->subres;

	if (s && s->kind)
		return node_pack(a, "{group:s, version:s, kind:s}", s->group, s->version, s->kind);
	return node_pack(a, "{group:s, version:s, kind:s}", as->def.group, as->def.version, as->def.kind);
}

static struct node *resource_of(struct arena *a, const struct resource *as)
{
	return node_pack(a, "{group:s, version:s, resource:s}", as->def.group, as->def.version, as->def.resource);
}

static struct node *options_of(struct arena *a, const struct review *r)
{
	const struct rq *rq = r->rq;
	const char *kind = !strcmp(r->operation, "CREATE") ? "CreateOptions" :
		!strcmp(r->operation, "UPDATE")            ? "UpdateOptions" :
							     "DeleteOptions";

	if (!strcmp(r->operation, "CONNECT"))
		return NULL;
	if (rq->delete_options)
		return node_copy(a, rq->delete_options);
	struct str validation = rq_param(rq, "fieldValidation");
	return node_pack(a, "{kind:s, apiVersion:'meta.k8s.io/v1', dryRun:o, fieldManager:S, fieldValidation:S}", kind,
		rq->dry_run ? node_pack(a, "['All']") : NULL, rq->field_manager.n ? rq->field_manager : STR_NULL,
		validation.n ? validation : STR_NULL);
}

static const char *review_version(const struct hook *h)
{
	for (struct val_iter it = val_iter(val_get(h->def, "admissionReviewVersions")); val_next(&it);) {
		if (val_is(it.val, "v1"))
			return "v1";
		if (val_is(it.val, "v1beta1"))
			return "v1beta1";
	}
	return NULL;
}

static struct node *or_null(struct arena *a, struct node *n)
{
	return n ? n : node_null(a);
}

struct str webhook_request(struct arena *a, const struct review *r, const struct hook *h, const char *uid)
{
	struct rq *rq = r->rq;
	auto_buf struct buf b = BUF_INIT;
	const char *version = review_version(h);
	bool is_ns = !rq->res->def.group[0] && !strcmp(rq->res->def.resource, "namespaces");
	struct str sub = rq->sub.n ? rq->sub : STR_NULL;
	bool is_new = rq->verb == V_CREATE && !rq->sub.n; /* it may have no name yet */
	struct str name = is_new ? node_text_str(node_path(r->object, "metadata.name")) : rq->name;
	struct str ns = is_ns ? name : rq->ns;
	struct node *q = node_pack(a,
		"{uid:s, kind:o, resource:o, subResource:S, requestKind:o, requestResource:o, requestSubResource:S, "
		"name:S, namespace:S, operation:s, userInfo:o, object:o, oldObject:o, dryRun:b, options:o}",
		uid, kind_of(a, rq, h->as), resource_of(a, h->as), sub, kind_of(a, rq, rq->res),
		resource_of(a, rq->res), sub, name.n ? name : STR_NULL, ns.n ? ns : STR_NULL, r->operation,
		identity_node_tree(a, &rq->id), or_null(a, h->object), or_null(a, h->old), (int)rq->dry_run,
		or_null(a, options_of(a, r)));

	node_write(node_pack(a, "{kind:'AdmissionReview', apiVersion:o, request:o}",
			   node_strf(a, "admission.k8s.io/%s", version ? version : "v1"), q),
		&b);
	return arena_str(a, buf_view(&b));
}

/* ---- and back -------------------------------------------------------------------------------- */

static int check_response(const struct hook *h, const char *uid, struct doc *d, struct err *e)
{
	const char *version = review_version(h);
	struct str has_version = doc_str(d, "apiVersion"), has_kind = doc_str(d, "kind"),
		   has_uid = doc_str(d, "response.uid");
	bool patch = doc_str(d, "response.patch").n > 0, type = val_has(doc_get(d, "response.patchType"));

	if (val_kind(doc_get(d, "response")) != VAL_MAP)
		return err_set(e, ERR_INTERNAL, "webhook response was absent");
	if (!strcmp(version, "v1beta1"))
		return 0;
	if (!str_eq(has_uid, str_c(uid)))
		return err_set(e, ERR_INTERNAL, "expected response.uid=\"%s\", got \"%.*s\"", uid, STR_ARG(has_uid));
	if (!str_is(has_version, "admission.k8s.io/v1") || !str_is(has_kind, "AdmissionReview"))
		return err_set(e, ERR_INTERNAL,
			"expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got %.*s, Kind=%.*s",
			STR_ARG(has_version), STR_ARG(has_kind));
	if (!h->mutating && (patch || type))
		return err_set(e, ERR_INTERNAL, "validating webhook may not return response.%s",
			patch ? "patch" : "patchType");
	if (patch && !type)
		return err_set(e, ERR_INTERNAL, "webhook returned response.patch but not response.patchType");
	if (!patch && type)
		return err_set(e, ERR_INTERNAL, "webhook returned response.patchType but not response.patch");
	if (patch && !val_is(doc_get(d, "response.patchType"), "JSONPatch"))
		return err_set(
			e, ERR_INTERNAL, "unsupported patch type \"%.*s\"", STR_ARG(doc_str(d, "response.patchType")));
	return 0;
}

/* -ERR_TOO_MANY is about us, everything else about the webhook. */
static int exchange(struct api *api, struct rq *rq, const struct hook *h, struct str body, const char *uid,
	struct doc **ret, struct err *e)
{
	static const struct http_header json[] = { { { "content-type", 12 }, { "application/json", 16 } },
		{ { "accept", 6 }, { "application/json", 16 } } };
	auto_(arena_free) struct arena *a = arena_new();
	struct outgoing_target t;
	struct http_reply reply = { 0 };
	int64_t seconds = val_int(val_get(h->def, "timeoutSeconds"), 10);
	struct outgoing_request q = { .method = "POST",
		.headers = json,
		.n_headers = ARRAY_LEN(json),
		.body = body,
		.timeout_ms = seconds * 1000,
		.for_write = true,
		.path_query = arena_strf(a, "?timeout=%llds", (long long)seconds) };
	struct doc *d = NULL;

	if (!review_version(h))
		return err_set(e, ERR_INTERNAL, "webhook does not accept known AdmissionReview versions (v1, v1beta1)");
	if (outgoing_target_of(a, val_get(h->def, "clientConfig"), &t, e) < 0)
		return -e->code;
	if (outgoing_call(api, rq, &t, &q, &reply, e) < 0) {
		if (e->code == ERR_TOO_MANY)
			return -e->code;
		if (e->code == ERR_TIMEOUT)
			err_set(e, ERR_TIMEOUT, "context deadline exceeded");
		return err_wrap(e, "failed to call webhook: Post \"%.*s%.*s\"", STR_ARG(outgoing_url(a, &t)),
			STR_ARG(q.path_query));
	}
	if (reply.status < 200 || reply.status > 299)
		err_set(e, ERR_INTERNAL, "failed to call webhook: the server answered with HTTP status %d",
			reply.status);
	else if (doc_parse(buf_view(&reply.body), &d, e) < 0)
		err_wrap(e, "failed to call webhook: the answer is not JSON");
	http_reply_fini(&reply);
	if (!e->code && check_response(h, uid, d, e) < 0)
		d = doc_unref(d);
	*ret = d;
	return e->code ? -e->code : 0;
}

static void refusal(const struct hook *h, struct doc *d, struct verdict *v)
{
	struct str message = doc_str(d, "response.status.message"), reason = doc_str(d, "response.status.reason");
	int64_t code = doc_int(d, "response.status.code", 0);

	v->deny_code = code < 400 || code > 599 ? 400 : (int)code;
	snprintf(v->deny_reason, sizeof(v->deny_reason), "%.*s", (int)MIN(reason.n, sizeof(v->deny_reason) - 1),
		reason.p ? reason.p : "");
	if (!message.n)
		message = reason;
	err_set(&v->e, err_from_http(v->deny_code, reason), "admission webhook \"%.*s\" denied the request%s%.*s",
		STR_ARG(h->name), message.n ? ": " : " without explanation", STR_ARG(message));
}

void webhook_call(struct api *api, struct rq *rq, const struct hook *h, struct str body, const char *uid, bool dry_run,
	struct verdict *v)
{
	struct val effects = val_get(h->def, "sideEffects");

	memset(v, 0, sizeof(*v));
	err_init(&v->e);
	if (dry_run && !val_is(effects, "None") && !val_is(effects, "NoneOnDryRun")) {
		err_set(&v->e, ERR_BAD_REQUEST, "admission webhook \"%.*s\" does not support dry run",
			STR_ARG(h->name));
		return;
	}
	struct mono began = mono_now();
	int rc = exchange(api, rq, h, body, uid, &v->response, &v->e);

	v->took_s = (double)(mono_now().ns - began.ns) / 1e9;
	if (rc < 0) {
		v->uncalled = v->e.code != ERR_TOO_MANY;
		return;
	}
	if (!doc_bool(v->response, "response.allowed", false))
		refusal(h, v->response, v);
}

static void record(struct rq *rq, const struct hook *h, const char *operation, const struct verdict *v, bool rejected)
{
	const char *type = h->mutating ? "admit" : "validating";
	struct metrics *m = rq->api->metrics;
	char labels[400];

	(void)snprintf(labels, sizeof(labels), "name=\"%.*s\",operation=\"%s\",rejected=\"%s\",type=\"%s\"",
		STR_ARG(h->name), operation, rejected ? "true" : "false", type);
	metrics_observe(m, METRIC_WEBHOOK_SECONDS, labels, v->took_s);
	if (rejected) {
		(void)snprintf(labels, sizeof(labels),
			"error_type=\"%s\",name=\"%.*s\",operation=\"%s\",rejection_code=\"%d\",type=\"%s\"",
			v->uncalled ? "calling_webhook_error" : "no_error", STR_ARG(h->name), operation,
			v->uncalled ? 0 : v->deny_code, type);
		metrics_count(m, METRIC_WEBHOOK_REJECTIONS, labels);
	} else if (v->uncalled) {
		(void)snprintf(labels, sizeof(labels), "name=\"%.*s\",type=\"%s\"", STR_ARG(h->name), type);
		metrics_count(m, METRIC_WEBHOOK_FAIL_OPEN, labels);
	}
}

/* Whom it refused reads there which fields were wrong, as with refusals of our own. */
static struct str details_of(struct rq *rq, const struct doc *response)
{
	struct val details = doc_get(response, "response.status.details");
	auto_buf struct buf b = BUF_INIT;
	struct node *status;
	struct err ignored;

	err_init(&ignored);
	if (val_kind(details) != VAL_MAP)
		return STR_NULL;
	status = node_pack(rq->a, "{details:o}", node_from(rq->a, details));
	if (schema_decode(schema_builtin(STR(""), STR("v1"), STR("Status")), rq->a, status, NULL, &ignored) < 0)
		return STR_NULL;
	node_write(node_getc(status, "details"), &b);
	return arena_str(rq->a, buf_view(&b));
}

int webhook_settle(struct rq *rq, const struct hook *h, const char *operation, struct verdict *v, struct err *e)
{
	bool ignored = v->uncalled && val_is(val_get(h->def, "failurePolicy"), "Ignore");

	record(rq, h, operation, v, v->e.code && !ignored);
	if (v->response) {
		for (struct val_iter it = val_iter(doc_get(v->response, "response.warnings")); val_next(&it);)
			rq_warn(rq, "%.*s", STR_ARG(val_str(it.val)));
		for (struct val_iter it = val_iter(doc_get(v->response, "response.auditAnnotations")); val_next(&it);)
			rq_annotate(
				rq, arena_strf(rq->a, "%.*s/%.*s", STR_ARG(h->name), STR_ARG(it.key)), val_str(it.val));
	}
	if (!v->e.code)
		return 0;
	if (ignored) {
		log_warn("webhook \"%.*s\" could not be called, its failurePolicy lets the request pass: %s",
			STR_ARG(h->name), v->e.message);
		return 0;
	}
	if (v->uncalled)
		return err_set(e, ERR_INTERNAL, "Internal error occurred: failed calling webhook \"%.*s\": %s",
			STR_ARG(h->name), v->e.message);
	err_copy(e, &v->e);
	rq->deny_code = v->deny_code;
	rq->deny_reason = v->deny_code ? arena_strdup(rq->a, v->deny_reason) : NULL;
	rq->deny_details = v->deny_code ? details_of(rq, v->response) : STR_NULL;
	return -e->code;
}

/* Objects of custom kinds in another version: under another apiVersion, or as a webhook makes them. */
#include "api/custom/custom.h"
#include "api/relay/outgoing.h"
#include <stdarg.h>
#include <stdio.h>

#define LOG_MODULE "crd"
#define WEBHOOK_MS 30000
#define API_GROUP "apiextensions.k8s.io"

/* n in the form of row res: unknown fields go. Whether defaults come: as upstream, only those of the version that is
 * stored fill in what is read; those of another are for what its clients send. */
static int shape(struct arena *a, const struct resource *res, struct node *n, bool defaults, struct err *e)
{
	static const struct schema_report lenient = { .drop_wrong = true };

	node_setc(n, "apiVersion", node_c(a, res->api_version));
	if (schema_decode(res->type, a, n, &lenient, e) < 0)
		return err_wrap(e, "%s in %s", res->def.kind, res->api_version);
	if (defaults)
		schema_default(res->type, a, n, NULL);
	return 0;
}

/* ---- the webhook ----------------------------------------------------------------------------- */

/* One question to the webhook: objects (n) in the form that they have, wanted in that of row res. */
struct question {
	const struct custom *c;
	const struct resource *res;
	struct arena *a;
	const struct val *objects;
	size_t n;
	const char *version; /* of the ConversionReview */
	char uid[UUID_TEXT_MAX];
};

/* "conversion webhook for stable.example.com/v1, Kind=CronTab failed: " and why */
static int failed(const struct question *q, struct err *e, const char *fmt, ...) PRINTF(3, 4);
static int failed(const struct question *q, struct err *e, const char *fmt, ...)
{
	char why[ERR_MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set(e, ERR_INTERNAL, "conversion webhook for %.*s, Kind=%s %s",
		STR_ARG(val_str(val_get(q->objects[0], "apiVersion"))), q->c->def.kind, why);
}

/* The first of the versions it reads that we write. */
static const char *review_version(struct val hook)
{
	for (struct val_iter it = val_iter(val_get(hook, "conversionReviewVersions")); val_next(&it);)
		if (val_is(it.val, "v1beta1"))
			return "v1beta1";
		else if (val_is(it.val, "v1"))
			break;
	return "v1";
}

static struct doc *question_doc(const struct question *q)
{
	struct node *list = node_list(q->a);

	for (size_t i = 0; i < q->n; i++)
		node_add(list, node_from(q->a, q->objects[i]));
	return node_publish(node_pack(q->a,
		"{kind:'ConversionReview', apiVersion:o, request:{uid:s, desiredAPIVersion:s, objects:o}}",
		node_strf(q->a, API_GROUP "/%s", q->version), q->uid, q->res->api_version, list));
}

static int ask(struct rq *rq, struct question *q, struct doc **ret, struct err *e)
{
	auto_(doc_unref) struct doc *crd = custom_crd(q->c), *body = NULL;
	struct val hook = crd ? doc_get(crd, "spec.conversion.webhook") : VAL_NONE;
	const struct http_header h[] = { { STR("content-type"), STR("application/json") },
		{ STR("accept"), STR("application/json") } };
	struct outgoing_request r = { .method = "POST",
		.path_query = STR("?timeout=30s"),
		.headers = h,
		.n_headers = 2,
		.answer_max = (size_t)32 << 20,
		.timeout_ms = WEBHOOK_MS };
	struct outgoing_target t;
	struct http_reply answer = { 0 };
	int rc;

	q->version = review_version(hook);
	body = question_doc(q);
	r.body = doc_text(body);
	if ((rc = outgoing_target_of(q->a, val_get(hook, "clientConfig"), &t, e)) < 0 ||
		(rc = outgoing_call(q->c->api, rq, &t, &r, &answer, e)) < 0)
		return err_wrap(e, "conversion webhook for %.*s, Kind=%s failed: Post \"%.*s?timeout=30s\"",
			STR_ARG(val_str(val_get(q->objects[0], "apiVersion"))), q->c->def.kind,
			STR_ARG(outgoing_url(q->a, &t)));
	if (answer.status != 200)
		rc = failed(q, e, "failed: the server answered %d", answer.status);
	else if ((rc = doc_parse(buf_view(&answer.body), ret, e)) < 0)
		rc = failed(q, e, "failed: its answer is not JSON");
	http_reply_fini(&answer);
	return rc;
}

static int check_answer(const struct question *q, struct doc *answer, struct err *e)
{
	struct val response = doc_get(answer, "response"), result = val_get(response, "result");
	struct str version = doc_str(answer, "apiVersion"), kind = doc_str(answer, "kind"),
		   message = val_str(val_get(result, "message"));
	bool v1 = !strcmp(q->version, "v1");
	size_t n = val_len(val_get(response, "convertedObjects"));

	if (v1 && (!str_is(version, API_GROUP "/v1") || !str_is(kind, "ConversionReview")))
		return failed(q, e,
			"failed: expected webhook response of " API_GROUP "/v1, Kind=ConversionReview, got %.*s, "
			"Kind=%.*s",
			STR_ARG(version), STR_ARG(kind));
	if (val_kind(response) != VAL_MAP)
		return failed(q, e, "failed: no response provided");
	if (v1 && !val_is(val_get(response, "uid"), q->uid))
		return failed(q, e, "failed: expected response.uid=\"%s\", got \"%.*s\"", q->uid,
			STR_ARG(val_str(val_get(response, "uid"))));
	if (!val_is(val_get(result, "status"), "Success") && message.n)
		return failed(q, e, "failed: %.*s", STR_ARG(message));
	if (!val_is(val_get(result, "status"), "Success"))
		return failed(q, e, "failed: response.result.status was '%.*s', not 'Success'",
			STR_ARG(val_str(val_get(result, "status"))));
	return n == q->n ? 0 : failed(q, e, "returned %zu objects, expected %zu", n, q->n);
}

/* What a converted object must keep of the one that was sent; the rest of its metadata is put back. */
static const char *changed_identity(struct arena *a, struct val was, struct val now)
{
	static const char *const fixed[][2] = { { "name", "name" }, { "namespace", "namespace" }, { "uid", "UID" } };
	struct val m = val_get(now, "metadata"), old = val_get(was, "metadata");

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		struct str x = val_str(val_get(old, fixed[i][0])), y = val_str(val_get(m, fixed[i][0]));

		if (!str_eq(x, y))
			return arena_printf(
				a, "must have the same %s: %.*s != %.*s", fixed[i][1], STR_ARG(x), STR_ARG(y));
	}
	return NULL;
}

static const char *wrong_form(const struct question *q, struct val now)
{
	struct str version = val_str(val_get(now, "apiVersion")), kind = val_str(val_get(now, "kind"));

	if (!str_is(version, q->res->api_version))
		return arena_printf(q->a, "invalid groupVersion (expected %s, received %.*s)", q->res->api_version,
			STR_ARG(version));
	if (!str_is(kind, q->res->def.kind))
		return arena_printf(q->a, "invalid kind (expected %s, received %.*s)", q->res->def.kind, STR_ARG(kind));
	return NULL;
}

static int check_converted(const struct question *q, size_t i, struct val now, struct err *e)
{
	const char *form = wrong_form(q, now), *changed = form ? form : changed_identity(q->a, q->objects[i], now);
	bool one = q->n == 1;

	if (changed && one)
		return failed(q, e, "returned invalid object%s: %s", form ? " at index 0" : "", changed);
	if (changed)
		return failed(q, e, "returned invalid converted object at index %zu: %s", i, changed);
	if (val_kind(val_get(now, "metadata")) != VAL_MAP)
		return failed(q, e, "returned invalid metadata%s: missing metadata in converted object",
			one ? "" : arena_printf(q->a, " in object at index %zu", i));
	return 0;
}

/* Metadata is the server's; of the webhook's only labels and annotations count. */
static struct node *with_metadata(struct arena *a, struct val was, struct val now)
{
	static const char *const free_fields[] = { "labels", "annotations" };
	struct node *n = node_from(a, now), *meta = node_copy(a, node_from(a, val_get(was, "metadata")));

	for (size_t i = 0; i < ARRAY_LEN(free_fields); i++) {
		struct val v = val_path(val_get(now, "metadata"), free_fields[i]);

		if (val_has(v))
			node_setc(meta, free_fields[i], node_from(a, v));
		else
			node_delc(meta, free_fields[i]);
	}
	node_setc(n, "metadata", meta);
	return n;
}

/* objects: a list; *ret: as many trees in the form of res, in a. */
static int by_webhook(struct rq *rq, const struct resource *res, struct arena *a, const struct val *objects, size_t n,
	struct node **ret, struct err *e)
{
	struct question q = { .c = res->custom, .res = res, .a = a, .objects = objects, .n = n };
	struct doc *answer = NULL;
	int rc;

	rand_uuid(q.uid);
	if ((rc = ask(rq, &q, &answer, e)) < 0)
		return rc;
	doc_hold(a, answer);
	rc = check_answer(&q, answer, e);
	for (size_t i = 0; i < n && rc >= 0; i++) {
		struct val now = val_at(doc_get(answer, "response.convertedObjects"), i);

		if ((rc = check_converted(&q, i, now, e)) < 0)
			break;
		ret[i] = with_metadata(a, objects[i], now);
		rc = shape(a, res, ret[i], res->stored == res, e);
	}
	return rc;
}

/* ---- one object, and many -------------------------------------------------------------------- */

static int convert(
	struct rq *rq, const struct resource *res, struct arena *a, struct val v, struct node **ret, struct err *e)
{
	if (res->custom->webhook)
		return by_webhook(rq, res, a, &v, 1, ret, e);
	*ret = node_from(a, v);
	return shape(a, res, *ret, res->stored == res, e);
}

static bool in_form(const struct resource *res, const struct doc *d)
{
	return val_is(doc_get(d, "apiVersion"), res->api_version);
}

static struct doc *published(struct node *n, const struct doc *like)
{
	struct doc *d = node_publish_versioned(n);

	doc_stamp(d, doc_revision(like));
	return d;
}

int custom_as_served(struct rq *rq, const struct resource *res, struct doc *take_d, struct doc **ret, struct err *e)
{
	struct node *n = NULL;

	if (in_form(res, take_d)) {
		*ret = take_d;
		return 0;
	}
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = take_d;
	int rc = convert(rq, res, a, doc_root(d), &n, e);
	if (rc >= 0)
		*ret = published(n, d);
	return rc;
}

int custom_list_as_served(struct rq *rq, struct doc **docs, size_t n, struct err *e)
{
	const struct resource *res = rq->res;
	struct val *in = ARENA_ARRAY(rq->a, struct val, n + 1);
	size_t *where = ARENA_ARRAY(rq->a, size_t, n + 1), m = 0;
	struct node **out = ARENA_ARRAY(rq->a, struct node *, n + 1);
	int rc = 0;

	for (size_t i = 0; i < n; i++)
		if (!in_form(res, docs[i])) {
			where[m] = i;
			in[m++] = doc_root(docs[i]);
		}
	if (m && res->custom->webhook)
		rc = by_webhook(rq, res, rq->a, in, m, out, e);
	for (size_t i = 0; i < m && rc >= 0; i++) {
		if (!out[i])
			rc = convert(rq, res, rq->a, in[i], &out[i], e);
		if (rc < 0)
			break;
		docs[where[i]] = published(out[i], docs[where[i]]);
		doc_hold(rq->a, docs[where[i]]);
	}
	return rc;
}

int custom_as(struct rq *rq, struct node *object, const struct resource *to, struct node **ret, struct err *e)
{
	struct doc *d;
	struct val v;

	if (!to->custom->webhook) {
		*ret = node_copy(rq->a, object);
		node_setc(*ret, "apiVersion", node_c(rq->a, to->api_version));
		return 0;
	}
	d = node_publish(object);
	doc_hold(rq->a, d);
	v = doc_root(d);
	return by_webhook(rq, to, rq->a, &v, 1, ret, e);
}

int custom_as_stored(struct rq *rq, struct node *object, struct node **ret, struct err *e)
{
	const struct resource *to = rq->res->stored;
	struct doc *d;

	if (to == rq->res) {
		*ret = object;
		return 0;
	}
	d = node_publish(object);
	doc_hold(rq->a, d);
	return convert(rq, to, rq->a, doc_root(d), ret, e);
}

int custom_loaded(const struct resource *stored, struct doc **d, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *n = node_from(a, doc_root(*d));
	struct doc *now;
	int rc;

	if (stored->custom->webhook && !in_form(stored, *d))
		return 0; /* when somebody asks */
	if ((rc = shape(a, stored, n, in_form(stored, *d), e)) < 0)
		return rc;
	now = published(n, *d);
	doc_unref(*d);
	*d = now;
	return 0;
}

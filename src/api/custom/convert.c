/* Objects of custom kinds in another version: under another apiVersion, or as a webhook makes them. */
#include "api/custom/custom.h"
#include "api/relay/outgoing.h"

#define LOG_MODULE "crd"
#define WEBHOOK_MS 30000

/* n in the form of row res: unknown fields go, defaults come. */
static int shape(struct arena *a, const struct resource *res, struct node *n, struct err *e)
{
	node_setc(n, "apiVersion", node_c(a, res->api_version));
	if (schema_decode(res->type, a, n, NULL, e) < 0)
		return err_wrap(e, "%s in %s", res->def.kind, res->api_version);
	schema_default(res->type, a, n, NULL);
	return 0;
}

/* ---- the webhook ----------------------------------------------------------------------------- */

static int failed(const struct custom *c, struct val from, const char *why, struct err *e)
{
	return err_set(e, ERR_INTERNAL, "conversion webhook for %.*s, Kind=%s failed: %s", STR_ARG(val_str(from)),
		c->def.kind, why);
}

static struct doc *question(struct arena *a, const struct resource *res, struct node *objects, const char *uid)
{
	return node_publish(node_pack(a,
		"{kind:'ConversionReview', apiVersion:'apiextensions.k8s.io/v1', request:{uid:s, desiredAPIVersion:s, "
		"objects:o}}",
		uid, res->api_version, objects));
}

static int ask(struct rq *rq, const struct custom *c, struct arena *a, struct doc *q, struct doc **ret, struct err *e)
{
	auto_(doc_unref) struct doc *crd = custom_crd(c);
	struct val hook = crd ? doc_get(crd, "spec.conversion.webhook") : VAL_NONE;
	const struct http_header h[] = { { STR("content-type"), STR("application/json") },
		{ STR("accept"), STR("application/json") } };
	struct outgoing_request r = { .method = "POST",
		.headers = h,
		.n_headers = 2,
		.body = doc_text(q),
		.answer_max = (size_t)32 << 20,
		.timeout_ms = WEBHOOK_MS };
	struct outgoing_target t;
	struct http_reply answer = { 0 };
	int rc;

	if ((rc = outgoing_target_of(a, val_get(hook, "clientConfig"), &t, e)) < 0 ||
		(rc = outgoing_call(c->api, rq, &t, &r, &answer, e)) < 0)
		return err_wrap(e, "conversion webhook for %s failed: Post \"%.*s?timeout=30s\"", c->def.kind,
			STR_ARG(outgoing_url(a, &t)));
	if (answer.status != 200)
		rc = err_set(e, ERR_INTERNAL, "conversion webhook for %s failed: the server answered %d", c->def.kind,
			answer.status);
	else if ((rc = doc_parse(buf_view(&answer.body), ret, e)) < 0)
		err_wrap(e, "conversion webhook for %s failed: its answer", c->def.kind);
	http_reply_fini(&answer);
	return rc;
}

/* A converted object may change nothing of its identity, and labels and annotations only of its metadata. */
static int check_converted(
	const struct custom *c, const struct resource *res, struct val was, struct val now, struct err *e)
{
	static const char *const fixed[] = { "name", "namespace", "uid", "resourceVersion", "creationTimestamp",
		"deletionTimestamp" };
	struct val from = val_get(was, "apiVersion"), m = val_get(now, "metadata"), old = val_get(was, "metadata");

	if (!val_is(val_get(now, "apiVersion"), res->api_version))
		return failed(c, from, "invalid groupVersion of a converted object", e);
	if (!val_is(val_get(now, "kind"), res->def.kind))
		return failed(c, from, "invalid kind of a converted object", e);
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		struct val x = val_get(old, fixed[i]), y = val_get(m, fixed[i]);

		if ((val_has(x) || val_has(y)) && !val_equal(x, y) && strcmp(fixed[i], "resourceVersion") != 0)
			return failed(c, from,
				"a converted object has other metadata than labels and annotations changed", e);
	}
	return 0;
}

static int check_answer(
	const struct custom *c, struct doc *answer, const char *uid, struct val from, size_t n, struct err *e)
{
	struct val result = doc_get(answer, "response.result");
	struct str message = val_str(val_get(result, "message"));

	if (!val_is(doc_get(answer, "response.uid"), uid))
		return failed(c, from, "expected response.uid to be the request's", e);
	if (!val_is(val_get(result, "status"), "Success"))
		return err_set(e, ERR_INTERNAL, "conversion webhook for %.*s, Kind=%s failed: %.*s",
			STR_ARG(val_str(from)), c->def.kind,
			STR_ARG(message.n ? message : STR("the webhook gave no reason")));
	if (val_len(doc_get(answer, "response.convertedObjects")) != n)
		return failed(c, from, "the webhook returned another number of objects than it was sent", e);
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
	const struct custom *c = res->custom;
	struct node *list = node_list(a);
	struct doc *q, *answer = NULL;
	char uid[UUID_TEXT_MAX];
	int rc;

	rand_uuid(uid);
	for (size_t i = 0; i < n; i++)
		node_add(list, node_from(a, objects[i]));
	q = question(a, res, list, uid);
	rc = ask(rq, c, a, q, &answer, e);
	doc_unref(q);
	if (rc < 0)
		return rc;
	doc_hold(a, answer);
	if ((rc = check_answer(c, answer, uid, val_get(objects[0], "apiVersion"), n, e)) < 0)
		return rc;
	for (size_t i = 0; i < n && rc >= 0; i++) {
		struct val now = val_at(doc_get(answer, "response.convertedObjects"), i);

		if ((rc = check_converted(c, res, objects[i], now, e)) < 0)
			break;
		ret[i] = with_metadata(a, objects[i], now);
		rc = shape(a, res, ret[i], e);
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
	return shape(a, res, *ret, e);
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
	if ((rc = shape(a, stored, n, e)) < 0)
		return rc;
	now = published(n, *d);
	doc_unref(*d);
	*d = now;
	return 0;
}

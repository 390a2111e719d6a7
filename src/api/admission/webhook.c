#include "api/admission/webhook.h"
#include "api/relay/relay.h"
#define LOG_MODULE "webhook"

#define COPY_MAX ((size_t)3 << 20)

static bool exempt(const struct rq *rq)
{
	/* Nobody may lock himself out, and what the server writes at its start waits for nobody. */
	return !strcmp(rq->res->def.group, "admissionregistration.k8s.io") ||
		!__atomic_load_n(&rq->api->ready, __ATOMIC_ACQUIRE);
}

static const char *operation_of(const struct rq *rq, struct val old)
{
	if (rq->verb == V_DELETE || rq->verb == V_DELETE_COLLECTION)
		return "DELETE";
	return val_has(old) ? "UPDATE" : "CREATE";
}

/* ---- mutating -------------------------------------------------------------------------------- */

static int apply_patch(const struct review *r, const struct hook *h, struct doc *response, struct node **object,
	bool *changed, struct err *e)
{
	struct rq *rq = r->rq;
	auto_buf struct buf text = BUF_INIT;
	auto_(doc_unref) struct doc *patch = NULL;
	const struct schema_type *type = rq->subres && rq->subres->kind ?
		schema_builtin(str_c(rq->subres->group), str_c(rq->subres->version), str_c(rq->subres->kind)) :
		rq->res->type;
	struct str encoded = doc_str(response, "response.patch");
	int rc;

	if (!encoded.n)
		return 0;
	if (base64_decode(encoded, &text) < 0 || doc_parse(buf_view(&text), &patch, e) < 0)
		return err_set(e, ERR_INTERNAL,
			"Internal error occurred: webhook \"%.*s\" returned a patch that is not JSON",
			STR_ARG(h->name));
	if (!val_len(doc_root(patch)))
		return 0;
	if (!*object)
		return err_set(e, ERR_INTERNAL,
			"Internal error occurred: admission webhook \"%.*s\" attempted to modify the object, which is "
			"not supported for this operation",
			STR_ARG(h->name));
	struct node *n = node_copy(rq->a, h->object);
	if ((rc = patch_json(rq->a, &n, doc_root(patch), COPY_MAX, e)) < 0) {
		err_wrap(e, "Internal error occurred: webhook \"%.*s\": its patch does not apply", STR_ARG(h->name));
		e->code = ERR_INTERNAL;
		return -ERR_INTERNAL;
	}
	if ((rc = node_served(rq, n, h->as, rq->res, &n, e)) < 0)
		return rc;
	if ((rc = decode_node(rq, type, n, false, e)) < 0) {
		e->code = ERR_INTERNAL;
		return err_wrap(e, "Internal error occurred: webhook \"%.*s\": after its patch the object is malformed",
			STR_ARG(h->name));
	}
	schema_default(type, rq->a, n, NULL);
	*changed = !node_equal(n, *object);
	*object = n;
	return 0;
}

static int ask_one(struct review *r, struct hook *h, bool *changed, struct err *e)
{
	char uid[UUID_TEXT_MAX];
	struct verdict v;
	int rc = webhook_forms(r, h, e);

	if (rc < 0)
		return rc;
	rand_uuid(uid);
	webhook_call(r->rq->api, r->rq, h, webhook_request(r->rq->a, r, h, uid), uid, r->rq->dry_run, &v);
	rc = webhook_settle(r->rq, h, r->operation, &v, e);
	if (rc >= 0 && v.response && !v.e.code)
		rc = apply_patch(r, h, v.response, &r->object, changed, e);
	doc_unref(v.response);
	return rc;
}

/* One pass. again: only those that others' changes made worth another call. */
static int mutate_round(struct review *r, struct hook *hooks, size_t n, bool again, bool *any, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		struct hook *h = &hooks[i];
		bool fits, changed = false;
		int rc;

		if (again && !h->again)
			continue;
		if ((rc = webhook_matches(r, h, &fits, e)) < 0)
			return rc;
		if (!fits)
			continue;
		if ((rc = ask_one(r, h, &changed, e)) < 0)
			return rc;
		for (size_t k = 0; changed && k < i; k++)
			hooks[k].again = hooks[k].called;
		*any |= changed;
		h->called = val_is(val_get(h->def, "reinvocationPolicy"), "IfNeeded");
	}
	return 0;
}

int webhook_mutate(struct rq *rq, struct node **object, struct val old, bool *changed, struct err *e)
{
	struct hook *hooks = NULL;
	size_t n = exempt(rq) ? 0 : webhook_list(rq, true, &hooks);
	struct review r = { rq, operation_of(rq, old), *object, val_has(old) && n ? node_from(rq->a, old) : NULL };
	bool any = false, more = false;
	int rc;

	*changed = false;
	if (!n)
		return 0;
	rc = mutate_round(&r, hooks, n, false, &any, e);
	if (rc >= 0 && any && r.object && !rq->subres) {
		/* What the server itself adds is decided again for the changed object, and then whoever wants to see
		 * that. */
		struct node *before = node_copy(rq->a, r.object);
		rc = admit_mutate(rq, r.object, old, e);
		if (rc >= 0 && !node_equal(before, r.object))
			for (size_t i = 0; i < n; i++)
				hooks[i].again = hooks[i].called;
	}
	if (rc >= 0 && any)
		rc = mutate_round(&r, hooks, n, true, &more, e);
	if (rc < 0)
		return rc;
	*object = r.object;
	*changed = any;
	return 0;
}

/* ---- validating ------------------------------------------------------------------------------ */

struct question {
	struct api *api;
	struct hook *hook;
	struct str body;
	char uid[UUID_TEXT_MAX];
	bool dry_run;
	struct verdict v;
	struct task *task;
};

static void ask(void *arg)
{
	struct question *q = arg;

	webhook_call(q->api, NULL, q->hook, q->body, q->uid, q->dry_run, &q->v);
}

/* Side by side: the slowest decides how long it takes. The first refusal, in the order of the hooks, is the answer. */
static int ask_all(struct review *r, struct question *q, size_t n, struct err *e)
{
	int rc = lanes_leave(r->rq, e);

	if (rc < 0)
		return rc;
	for (size_t i = 1; i < n; i++)
		q[i].task = task_spawn("api-webhook", ask, &q[i]);
	ask(&q[0]);
	for (size_t i = 1; i < n; i++)
		task_join(q[i].task);
	lanes_return(r->rq);
	for (size_t i = 0; i < n; i++) {
		if (rc >= 0)
			rc = webhook_settle(r->rq, q[i].hook, r->operation, &q[i].v, e);
		doc_unref(q[i].v.response);
	}
	return rc;
}

static int validate_all(struct review *r, struct err *e)
{
	struct rq *rq = r->rq;
	struct hook *hooks = NULL;
	size_t n = webhook_list(rq, false, &hooks), n_q = 0;
	struct question *q = ARENA_ARRAY(rq->a, struct question, n + 1);

	for (size_t i = 0; i < n; i++) {
		bool fits;
		int rc = webhook_matches(r, &hooks[i], &fits, e);

		if (rc >= 0 && fits)
			rc = webhook_forms(r, &hooks[i], e);
		if (rc < 0)
			return rc;
		if (!fits)
			continue;
		q[n_q] = (struct question){ .api = rq->api, .hook = &hooks[i], .dry_run = rq->dry_run };
		rand_uuid(q[n_q].uid);
		q[n_q].body = webhook_request(rq->a, r, &hooks[i], q[n_q].uid);
		n_q++;
	}
	return n_q ? ask_all(r, q, n_q, e) : 0;
}

static bool any_validating(struct rq *rq)
{
	return !exempt(rq) &&
		cache_len(api_cache(rq->api, "admissionregistration.k8s.io", "validatingwebhookconfigurations")) > 0;
}

int webhook_validate(struct rq *rq, struct val object, struct val old, struct err *e)
{
	if (!any_validating(rq))
		return 0;
	struct review r = { rq, operation_of(rq, old), val_has(object) ? node_from(rq->a, object) : NULL,
		val_has(old) ? node_from(rq->a, old) : NULL };
	return validate_all(&r, e);
}

int webhook_action(struct rq *rq, struct node **body, struct err *e)
{
	bool changed;
	int rc = webhook_mutate(rq, body, VAL_NONE, &changed, e);

	if (rc < 0 || !any_validating(rq))
		return rc;
	struct review r = { rq, "CREATE", *body, NULL };
	return validate_all(&r, e);
}

int webhook_delete(struct rq *rq, struct doc *stored, struct err *e)
{
	bool ignored = false,
	     mutating =
		     cache_len(api_cache(rq->api, "admissionregistration.k8s.io", "mutatingwebhookconfigurations")) > 0;
	struct hook *hooks = NULL;
	int rc = 0;

	if (exempt(rq) || (!mutating && !any_validating(rq)))
		return 0;
	auto_(doc_unref) struct doc *d = doc_as_served(rq->a, rq->res, doc_ref(stored));
	struct review r = { rq, "DELETE", NULL, node_from(rq->a, doc_root(d)) };
	size_t n = webhook_list(rq, true, &hooks);
	if (n)
		rc = mutate_round(&r, hooks, n, false, &ignored, e);
	return rc < 0 ? rc : validate_all(&r, e);
}

/* ---- connect: exec, attach, port-forward, proxy ---------------------------------------------- */

static struct node *connect_options(struct rq *rq)
{
	const struct subresource *s = rq->subres;
	struct node *o = node_pack(rq->a, "{kind:s, apiVersion:s}", s->kind, s->version);

	for (size_t i = 0; i < rq->n_params; i++) {
		struct param *p = &rq->params[i];
		struct node *v = str_is(p->value, "true") || str_is(p->value, "1") ? node_bool(rq->a, true) :
			str_is(p->value, "false") || str_is(p->value, "0")         ? node_bool(rq->a, false) :
										     node_str(rq->a, p->value);
		if (str_is(p->key, "command"))
			node_add(node_need_list(o, "command"), node_str(rq->a, p->value));
		else if (!node_get(o, p->key)) /* the first counts, as for whoever serves it */
			node_set(o, p->key, v);
	}
	return o;
}

bool webhook_on_connect(struct rq *rq)
{
	struct review r = { rq, "CONNECT", NULL, NULL };

	if (!rq->subres->kind || exempt(rq))
		return false;
	for (int mutating = 0; mutating < 2; mutating++) {
		struct hook *hooks = NULL;
		size_t n = webhook_list(rq, mutating, &hooks);
		for (size_t i = 0; i < n; i++) {
			struct err e;
			bool fits;
			err_init(&e);
			if (webhook_matches(&r, &hooks[i], &fits, &e) < 0 || fits)
				return true;
		}
	}
	return false;
}

void webhook_connect(struct rq *rq)
{
	struct review r = { rq, "CONNECT", connect_options(rq), NULL };
	struct hook *hooks = NULL;
	bool ignored = false;
	struct err e;

	err_init(&e);
	size_t n = webhook_list(rq, true, &hooks);
	if ((n && mutate_round(&r, hooks, n, false, &ignored, &e) < 0) || validate_all(&r, &e) < 0)
		reply_error(rq, &e);
	else
		relay_start(rq);
}

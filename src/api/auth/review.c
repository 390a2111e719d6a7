/* Reviews: questions about tokens and permissions, answered from the same code that decides about requests. */
#include "api/auth/auth.h"

static struct str text_at(struct node *n, const char *path)
{
	return node_text_str(node_path(n, path));
}

/* ---- who am I, whose token is this ----------------------------------------------------------- */

int review_self(struct rq *rq, struct node **body, struct err *e)
{
	(void)e;
	node_setc(*body, "status", node_pack(rq->a, "{userInfo:o}", identity_node_tree(rq->a, &rq->id)));
	return 0;
}

/* A bootstrap token is for the API alone. */
static int bootstrap_identity(struct rq *rq, struct str token, struct val audiences, struct identity *id, struct err *e)
{
	bool meant = !val_len(audiences);

	for (struct val_iter it = val_iter(audiences); val_next(&it);)
		meant |= val_is(it.val, rq->api->auth->issuer);
	return meant ? bootstrap_token_identity(rq->api, rq->a, token, id, e) :
		       err_set(e, ERR_UNAUTHORIZED, "the token is for another audience");
}

int review_token(struct rq *rq, struct node **body, struct err *e)
{
	struct str token = text_at(*body, "spec.token");
	struct node *audiences = node_path(*body, "spec.audiences"), *answered;
	auto_(doc_unref) struct doc *wanted =
		audiences ? node_publish(node_pack(rq->a, "{a:o}", node_copy(rq->a, audiences))) : NULL;
	struct val list = wanted ? doc_get(wanted, "a") : VAL_NONE;
	struct identity id = { 0 };
	bool bootstrap = token.n == 23 && token.p[6] == '.';
	int known;

	if (!token.n)
		return err_set(e, ERR_BAD_REQUEST, "token is required for TokenReview in authentication");
	known = bootstrap ? bootstrap_identity(rq, token, list, &id, e) :
			    token_identity(rq->api, rq->a, token, &list, &id, e);
	if (known < 0) {
		node_setc(*body, "status", node_pack(rq->a, "{authenticated:b, error:s}", 0, e->message));
		err_init(e);
		return 0;
	}
	answered = token_audiences(rq->api, rq->a, token, bootstrap ? VAL_NONE : list);
	node_setc(*body, "status",
		node_pack(
			rq->a, "{authenticated:b, user:o, audiences:o}", 1, identity_node_tree(rq->a, &id), answered));
	return 0;
}

/* ---- may I, may he --------------------------------------------------------------------------- */

static bool has_any(struct str s, const char *chars)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] && strchr(chars, s.p[i]))
			return true;
	return false;
}

/* One value that must, or must not, be. What it does not say is left out, so that the selector allows no more by it. */
static void requirement_text(struct node *r, struct buf *out)
{
	struct str key = node_text_str(node_getc(r, "key")), op = node_text_str(node_getc(r, "operator"));
	struct node *values = node_getc(r, "values");
	struct str value = node_text_str(node_at(values, 0));
	bool in = str_is(op, "In");

	if (node_len(values) != 1 || !(in || str_is(op, "NotIn")) || has_any(key, ",=!\\") || has_any(value, ",=\\"))
		return;
	buf_printf(out, "%s%.*s%s%.*s", out->n ? "," : "", STR_ARG(key), in ? "=" : "!=", STR_ARG(value));
}

/* {requirements: [{key, operator, values: [x]}]} or {rawSelector} as the text that authz reads. */
static struct str selector_text_of(struct rq *rq, struct node *selector)
{
	auto_buf struct buf text = BUF_INIT;
	struct node *requirements = node_getc(selector, "requirements");

	if (!requirements)
		return node_text_str(node_getc(selector, "rawSelector"));
	for (size_t i = 0; i < node_len(requirements); i++)
		requirement_text(node_at(requirements, i), &text);
	return arena_str(rq->a, buf_view(&text));
}

static int attributes_of(struct rq *rq, struct node *spec, struct authz_attrs *ret, struct err *e)
{
	struct node *res = node_getc(spec, "resourceAttributes"), *other = node_getc(spec, "nonResourceAttributes");

	if (other) {
		*ret = (struct authz_attrs){ .verb = text_at(other, "verb"), .path = text_at(other, "path") };
		return 0;
	}
	*ret = (struct authz_attrs){ .resource_request = true,
		.verb = text_at(res, "verb"),
		.group = text_at(res, "group"),
		.version = text_at(res, "version"),
		.resource = text_at(res, "resource"),
		.sub = text_at(res, "subresource"),
		.ns = text_at(res, "namespace"),
		.name = text_at(res, "name") };
	ret->field_selector = selector_text_of(rq, node_getc(res, "fieldSelector"));
	ret->label_selector = selector_text_of(rq, node_getc(res, "labelSelector"));
	return 0;
}

static void check_selector(struct rq *rq, struct node *res, const char *which, struct err *e)
{
	struct node *selector = node_getc(res, which), *requirements = node_getc(selector, "requirements");
	struct str raw = text_at(selector, "rawSelector");
	const char *at = rq_f(rq, "spec.resourceAttributes.%s", which);

	if (!selector)
		return;
	if (raw.n && node_len(requirements))
		v_invalid_str(
			e, rq_f(rq, "%s.rawSelector", at), raw, "may not specified at the same time as requirements");
	if (!raw.n && !node_len(requirements))
		v_required(e, rq_f(rq, "%s.requirements", at),
			rq_f(rq, "when %s is specified, requirements or rawSelector is required", at));
}

/* The words of the reviews' own checks; upstream names no kind. subject: a user or group must be given. */
static int check_spec(struct rq *rq, struct node *spec, bool subject, struct err *e)
{
	struct node *res = node_getc(spec, "resourceAttributes"), *other = node_getc(spec, "nonResourceAttributes");

	if (res && other)
		err_cause(e, "FieldValueInvalid", "spec.nonResourceAttributes",
			"Invalid value: {\"Path\":\"%.*s\",\"Verb\":\"%.*s\"}: cannot be specified in combination with "
			"resourceAttributes",
			STR_ARG(text_at(other, "path")), STR_ARG(text_at(other, "verb")));
	if (!res && !other)
		err_cause(e, "FieldValueInvalid", "spec.resourceAttributes",
			"Invalid value: \"null\": exactly one of nonResourceAttributes or resourceAttributes must be "
			"specified");
	check_selector(rq, res, "fieldSelector", e);
	check_selector(rq, res, "labelSelector", e);
	if (subject && !text_at(spec, "user").n && !node_len(node_getc(spec, "groups")))
		err_cause(e, "FieldValueInvalid", "spec.user",
			"Invalid value: \"\": at least one of user or group must be specified");
	return validate_finish_as(rq, "authorization.k8s.io", "", STR_NULL, e);
}

static int answer(struct rq *rq, struct node *body, const struct identity *id, struct err *e)
{
	struct authz_attrs at;
	char reason[512];
	bool allowed;

	if (attributes_of(rq, node_getc(body, "spec"), &at, e) < 0)
		return -e->code;
	allowed = authz_allowed(rq->api, id, &at, reason, sizeof(reason));
	node_setc(body, "status", node_pack(rq->a, "{allowed:b, reason:s}", allowed, reason[0] ? reason : NULL));
	return 0;
}

int review_self_access(struct rq *rq, struct node **body, struct err *e)
{
	return check_spec(rq, node_getc(*body, "spec"), false, e) < 0 ? -ERR_INVALID : answer(rq, *body, &rq->id, e);
}

static int identity_of(struct rq *rq, struct node *spec, struct identity *ret, struct err *e)
{
	struct node *groups = node_getc(spec, "groups");
	struct identity id = { .user = text_at(spec, "user"), .uid = text_at(spec, "uid") };

	for (size_t i = 0; i < node_len(groups); i++)
		identity_add_group(rq->a, &id, node_text_str(node_at(groups, i)));
	*ret = id;
	return 0;
}

int review_access(struct rq *rq, struct node **body, struct err *e)
{
	struct identity id;

	if (check_spec(rq, node_getc(*body, "spec"), true, e) < 0 ||
		identity_of(rq, node_getc(*body, "spec"), &id, e) < 0)
		return -e->code;
	return answer(rq, *body, &id, e);
}

int review_local_access(struct rq *rq, struct node **body, struct err *e)
{
	struct str ns = text_at(*body, "spec.resourceAttributes.namespace");

	if (!node_path(*body, "spec.resourceAttributes"))
		return err_set(e, ERR_INVALID,
			"spec.nonResourceAttributes: Invalid value: disallowed on this kind of request");
	if (!str_eq(ns, rq->ns))
		return err_set(e, ERR_BAD_REQUEST, "spec.resourceAttributes.namespace must match namespace: %.*s",
			STR_ARG(rq->ns));
	return review_access(rq, body, e);
}

/* ---- everything I may ------------------------------------------------------------------------ */

struct rule_lists {
	struct arena *a;
	struct node *resource, *other;
};

static bool collect(void *arg, struct val rule, const char *why)
{
	struct rule_lists *l = arg;

	(void)why;
	if (val_len(val_get(rule, "nonResourceURLs")))
		node_add(l->other,
			node_pack(l->a, "{verbs:o, nonResourceURLs:o}", node_from(l->a, val_get(rule, "verbs")),
				node_from(l->a, val_get(rule, "nonResourceURLs"))));
	else
		node_add(l->resource, node_copy(l->a, node_from(l->a, rule)));
	return false;
}

int review_self_rules(struct rq *rq, struct node **body, struct err *e)
{
	struct rule_lists l = { rq->a, node_list(rq->a), node_list(rq->a) };

	if (!text_at(*body, "spec.namespace").n)
		return err_set(e, ERR_BAD_REQUEST, "no namespace on request");
	policy_rules(rq->api, &rq->id, text_at(*body, "spec.namespace"), collect, &l);
	if (identity_in_group(&rq->id, "system:masters")) {
		node_add(l.resource, node_pack(rq->a, "{verbs:['*'], apiGroups:['*'], resources:['*']}"));
		node_add(l.other, node_pack(rq->a, "{verbs:['*'], nonResourceURLs:['*']}"));
	}
	node_setc(*body, "status",
		node_pack(rq->a, "{resourceRules:o, nonResourceRules:o, incomplete:b}", l.resource, l.other, 0));
	return 0;
}

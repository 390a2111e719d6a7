#include "api/audit/audit.h"
#include "api/auth/auth.h"
#include "base/file.h"
#include <stdio.h>
#define LOG_MODULE "audit"

const char *const audit_levels[] = { "", "None", "Metadata", "Request", "RequestResponse" };
const char *const audit_stages[] = { "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic" };

struct audit_policy {
	struct doc *doc;
};

/* ---- reading --------------------------------------------------------------------------------- */

static int word_of(struct val v, const char *const *words, size_t from, size_t n)
{
	for (size_t i = from; i < n; i++)
		if (val_is(v, words[i]))
			return (int)i;
	return -1;
}

static int check_stages(struct val list, const char *where, struct err *e)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (word_of(it.val, audit_stages, 0, STAGE_N) < 0)
			return err_set(e, ERR_INVALID, "%s.omitStages[%zu]: Unsupported value: %.*s", where, it.i,
				STR_ARG(val_text(it.val)));
	return 0;
}

static int check_rule(struct val rule, size_t i, struct err *e)
{
	static const char *const known[] = { "level", "users", "userGroups", "verbs", "resources", "namespaces",
		"nonResourceURLs", "omitStages", "omitManagedFields" };
	char where[32];

	snprintf(where, sizeof(where), "rules[%zu]", i);
	for (struct val_iter it = val_iter(rule); val_next(&it);) {
		bool fine = false;
		for (size_t k = 0; k < ARRAY_LEN(known); k++)
			fine |= str_is(it.key, known[k]);
		if (!fine)
			return err_set(e, ERR_INVALID, "%s: unknown field \"%.*s\"", where, STR_ARG(it.key));
	}
	if (word_of(val_get(rule, "level"), audit_levels, AUDIT_NONE, ARRAY_LEN(audit_levels)) < 0)
		return err_set(e, ERR_INVALID, "%s.level: must be None, Metadata, Request or RequestResponse", where);
	if (val_len(val_get(rule, "nonResourceURLs")) &&
		(val_len(val_get(rule, "resources")) || val_len(val_get(rule, "namespaces"))))
		return err_set(e, ERR_INVALID,
			"%s.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs",
			where);
	for (struct val_iter it = val_iter(val_get(rule, "nonResourceURLs")); val_next(&it);) {
		struct str url = val_str(it.val);
		if (!str_is(url, "*") && !str_starts(url, STR("/")))
			return err_set(e, ERR_INVALID, "%s.nonResourceURLs[%zu]: must start with '/'", where, it.i);
	}
	return check_stages(val_get(rule, "omitStages"), where, e);
}

int audit_policy_parse(struct str yaml, struct audit_policy **ret, struct err *e)
{
	struct doc *d = NULL;
	int rc = doc_parse_yaml(yaml, NULL, NULL, &d, e);

	if (rc < 0)
		return rc;
	struct val rules = doc_get(d, "rules");
	if (!str_is(doc_str(d, "kind"), "Policy") || !str_is(doc_str(d, "apiVersion"), "audit.k8s.io/v1"))
		rc = err_set(e, ERR_INVALID, "expected kind Policy of audit.k8s.io/v1");
	else if (!val_len(rules))
		rc = err_set(e, ERR_INVALID, "loaded illegal policy with 0 rules");
	else
		rc = check_stages(doc_get(d, "omitStages"), "policy", e);
	for (size_t i = 0; i < val_len(rules) && rc >= 0; i++)
		rc = check_rule(val_at(rules, i), i, e);
	if (rc < 0) {
		doc_unref(d);
		return rc;
	}
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->doc = d;
	return 0;
}

int audit_policy_read(const char *path, struct audit_policy **ret, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;

	if (file_read(path, &text, e) < 0)
		return -e->code;
	return audit_policy_parse(buf_view(&text), ret, e) < 0 ? err_wrap(e, "audit policy %s", path) : 0;
}

void audit_policy_free(struct audit_policy *p)
{
	if (!p)
		return;
	doc_unref(p->doc);
	free(p);
}

/* ---- deciding -------------------------------------------------------------------------------- */

static bool has(struct val list, struct str s)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (str_eq(val_str(it.val), s))
			return true;
	return false;
}

static bool resource_fits(struct str want, const struct rq *rq)
{
	struct str res, sub = str_cut(want, '/', &res);

	if (str_is(want, "*"))
		return true;
	if (!sub.p)
		return !rq->sub.n && str_eq(res, rq->resource_name);
	if (str_is(sub, "*"))
		return str_eq(res, rq->resource_name);
	return str_eq(sub, rq->sub) && (str_is(res, "*") || str_eq(res, rq->resource_name));
}

static bool group_fits(struct val group, const struct rq *rq)
{
	struct val names = val_get(group, "resourceNames"), list = val_get(group, "resources");

	if (!str_eq(val_str(val_get(group, "group")), rq->group))
		return false;
	if (!val_len(list))
		return true;
	if (val_len(names) && !has(names, rq->name))
		return false;
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (resource_fits(val_str(it.val), rq))
			return true;
	return false;
}

static bool object_fits(struct val rule, const struct rq *rq)
{
	struct val spaces = val_get(rule, "namespaces"), groups = val_get(rule, "resources");

	if (!rq->resource_request || (val_len(spaces) && !has(spaces, rq->ns)))
		return false;
	if (!val_len(groups))
		return true;
	for (struct val_iter it = val_iter(groups); val_next(&it);)
		if (group_fits(it.val, rq))
			return true;
	return false;
}

static bool path_fits(struct val urls, const struct rq *rq)
{
	if (rq->resource_request)
		return false;
	for (struct val_iter it = val_iter(urls); val_next(&it);) {
		struct str url = val_str(it.val);
		bool open = str_ends(url, STR("*"));
		if (open ? str_starts(rq->path, str_sub(url, 0, url.n - 1)) : str_eq(rq->path, url))
			return true;
	}
	return false;
}

static bool rule_fits(struct val rule, const struct rq *rq)
{
	struct val users = val_get(rule, "users"), groups = val_get(rule, "userGroups"), verbs = val_get(rule, "verbs");
	const struct identity *id = rq->id.real ? rq->id.real : &rq->id; /* nobody hides behind whom he impersonates */
	bool member = !val_len(groups);

	for (size_t i = 0; i < id->n_groups && !member; i++)
		member = has(groups, id->groups[i]);
	if (!member || (val_len(users) && !has(users, id->user)) || (val_len(verbs) && !has(verbs, rq->verb_text)))
		return false;
	if (val_len(val_get(rule, "namespaces")) || val_len(val_get(rule, "resources")))
		return object_fits(rule, rq);
	return val_len(val_get(rule, "nonResourceURLs")) ? path_fits(val_get(rule, "nonResourceURLs"), rq) : true;
}

static unsigned omitted(struct val list)
{
	unsigned bits = 0;

	for (struct val_iter it = val_iter(list); val_next(&it);)
		bits |= 1u << word_of(it.val, audit_stages, 0, STAGE_N);
	return bits;
}

struct audit_decision audit_decide(const struct audit_policy *p, const struct rq *rq)
{
	struct audit_decision d = { AUDIT_METADATA, 1u << STAGE_RECEIVED | 1u << STAGE_STARTED, false };

	if (!p)
		return d;
	d = (struct audit_decision){ AUDIT_NONE, omitted(doc_get(p->doc, "omitStages")),
		doc_bool(p->doc, "omitManagedFields", false) };
	for (struct val_iter it = val_iter(doc_get(p->doc, "rules")); val_next(&it);) {
		if (!rule_fits(it.val, rq))
			continue;
		d.level = (enum audit_level)word_of(
			val_get(it.val, "level"), audit_levels, AUDIT_NONE, ARRAY_LEN(audit_levels));
		d.omit |= omitted(val_get(it.val, "omitStages"));
		d.omit_managed = val_bool(val_get(it.val, "omitManagedFields"), d.omit_managed);
		break;
	}
	return d;
}

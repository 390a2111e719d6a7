/* GET of one object, and what lists and watches share: filters, other served forms. */
#include "api/custom/custom.h"
#include <stdio.h>
#define LOG_MODULE "api"

struct str cache_key(struct arena *a, const struct resource *r, struct str ns, struct str name)
{
	return r->def.namespaced ? ARENA_JOIN(a, ns, STR("/"), name) : name;
}

struct doc *doc_as_served(struct arena *a, const struct resource *res, struct doc *take_d)
{
	if (res->custom) {
		struct doc *ret, *keep = doc_ref(take_d);
		struct err e;

		err_init(&e);
		if (custom_as_served(NULL, res, take_d, &ret, &e) < 0) {
			log_warn("%s: shown as it is stored: %s", res->group_resource, e.message);
			return keep;
		}
		doc_unref(keep);
		return ret;
	}
	if (res->stored == res || !res->def.from_stored)
		return take_d;
	struct arena *tmp = arena_new();
	struct node *n = node_from(tmp, doc_root(take_d));
	(void)a;
	res->def.from_stored(tmp, n);
	struct doc *d = node_publish(n);
	arena_free(tmp);
	doc_unref(take_d);
	return d;
}

int doc_served(struct rq *rq, struct doc *take_d, struct doc **ret, struct err *e)
{
	if (rq->res->custom)
		return custom_as_served(rq, rq->res, take_d, ret, e);
	*ret = doc_as_served(rq->a, rq->res, take_d);
	return 0;
}

int node_served(struct rq *rq, struct node *n, const struct resource *from, const struct resource *to,
	struct node **ret, struct err *e)
{
	*ret = n;
	if (from == to || !n)
		return 0;
	if (to->custom)
		return custom_as(rq, n, to, ret, e);
	*ret = node_copy(rq->a, n);
	if (from->stored != from && from->def.to_stored)
		from->def.to_stored(rq->a, *ret);
	if (to->stored != to && to->def.from_stored)
		to->def.from_stored(rq->a, *ret);
	return 0;
}

int check_revision(struct rq *rq, struct str rv, int64_t *ret, struct err *e)
{
	uint64_t u = 0;
	int64_t now = cache_revision(rq->res->stored->cache);

	*ret = 0;
	if (!rv.n)
		return 0;
	if (!str_u64(rv, &u) || u > INT64_MAX)
		return err_set(
			e, ERR_BAD_REQUEST, "Invalid value: \"%.*s\": resourceVersion must be a number", STR_ARG(rv));
	*ret = (int64_t)u;
	if (*ret > now)
		now = store_revision(rq->api->opts.store);
	if (*ret <= now)
		return 0;
	err_set(e, ERR_TIMEOUT, "Timeout: Too large resource version: %lld, current: %lld", (long long)*ret,
		(long long)now);
	err_cause(e, "ResourceVersionTooLarge", "", "Too large resource version");
	e->retry_after_s = 1;
	return -ERR_TIMEOUT;
}

int write_not_found(struct rq *rq, struct str name, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;

	buf_go_quoted(&b, name);
	return err_set(e, ERR_NOT_FOUND, "%s %.*s not found", rq->res->group_resource, (int)b.n, b.p);
}

void read_get(struct rq *rq)
{
	struct err e;
	int64_t rv;
	struct doc *d = NULL;

	err_init(&e);
	if (rq->subres && rq->subres->kind && !strcmp(rq->subres->kind, "Scale")) {
		if (scale_get(rq, &d, &e) < 0)
			reply_error(rq, &e);
		else
			reply_doc_as(rq, 200, d, schema_builtin(STR("autoscaling"), STR("v1"), STR("Scale")));
		return;
	}
	if (check_revision(rq, rq_param(rq, "resourceVersion"), &rv, &e) < 0) {
		reply_error(rq, &e);
		return;
	}
	d = cache_get(rq->res->stored->cache, cache_key(rq->a, rq->res, rq->ns, rq->name));
	if (!d) {
		write_not_found(rq, rq->name, &e);
		reply_error(rq, &e);
		return;
	}
	if (doc_served(rq, d, &d, &e) < 0)
		reply_error(rq, &e);
	else
		reply_doc(rq, 200, d);
}

/* ---- filters --------------------------------------------------------------------------------- */

static bool field_known(const struct resource *r, struct str field)
{
	if (str_is(field, "metadata.name") || str_is(field, "metadata.namespace"))
		return true;
	for (const char *const *f = r->def.field_selectors; f && *f; f++)
		if (str_is(field, *f))
			return true;
	return false;
}

static int field_unknown(const struct resource *r, struct str field, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;

	if (r->def.field_selectors)
		return err_set(e, ERR_BAD_REQUEST, "field label not supported: %.*s", STR_ARG(field));
	buf_go_quoted(&b, field);
	return err_set(e, ERR_BAD_REQUEST,
		"%.*s is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
		STR_ARG(buf_view(&b)));
}

int filter_parse(struct rq *rq, struct str label_selector, struct str field_selector, struct filter *ret, struct err *e)
{
	memset(ret, 0, sizeof(*ret));
	ret->res = rq->res;
	if (label_selector.n) {
		if (selector_parse(rq->a, label_selector, &ret->labels, e) < 0)
			return -e->code;
		if (selector_is_everything(ret->labels))
			ret->labels = NULL;
	}
	if (!field_selector.n)
		return 0;
	if (field_selector_parse(rq->a, field_selector, &ret->fields, &ret->n_fields, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ret->n_fields; i++)
		if (!field_known(rq->res, ret->fields[i].field))
			return field_unknown(rq->res, ret->fields[i].field, e);
	return 0;
}

struct str filter_name(const struct filter *f)
{
	for (size_t i = 0; i < f->n_fields; i++)
		if (f->fields[i].equal && str_is(f->fields[i].field, "metadata.name"))
			return f->fields[i].value;
	return STR_NULL;
}

static bool field_text_is(struct val v, struct str want)
{
	switch (val_kind(v)) {
	case VAL_STR:
		return str_eq(val_str(v), want);
	case VAL_BOOL:
	case VAL_INT:
		return str_eq(val_text(v), want);
	default:
		return !want.n;
	}
}

/* Values that upstream computes: absent booleans are "false", counts "0". */
static bool term_holds(const struct filter *f, struct val root, const struct field_term *t)
{
	char text[256];
	char path[128];

	if (f->res->def.field_value && f->res->def.field_value(root, t->field, text, sizeof(text)))
		return str_is(t->value, text);
	if (str_is(t->field, "name"))
		return str_eq(val_str(val_path(root, "metadata.name")), t->value);
	if (str_is(t->field, "status.podIPs")) {
		for (struct val_iter it = val_iter(val_path(root, "status.podIPs")); val_next(&it);)
			if (str_eq(val_str(val_get(it.val, "ip")), t->value))
				return true;
		return !t->value.n && !val_len(val_path(root, "status.podIPs"));
	}
	if (t->field.n >= sizeof(path))
		return false;
	memcpy(path, t->field.p, t->field.n);
	path[t->field.n] = 0;
	struct val v = val_path(root, path);
	if (!val_has(v) && (str_is(t->field, "spec.unschedulable") || str_is(t->field, "spec.hostNetwork")))
		return str_is(t->value, "false");
	if (!val_has(v) && (str_is(t->field, "status.replicas") || str_is(t->field, "status.successful")))
		return str_is(t->value, "0");
	if (str_is(t->field, "status.successful"))
		v = val_path(root, "status.succeeded");
	return field_text_is(v, t->value);
}

bool filter_matches(const struct filter *f, const struct doc *d)
{
	if (f->labels && !selector_matches(f->labels, doc_get(d, "metadata.labels")))
		return false;
	for (size_t i = 0; i < f->n_fields; i++)
		if (term_holds(f, doc_root(d), &f->fields[i]) != f->fields[i].equal)
			return false;
	return true;
}

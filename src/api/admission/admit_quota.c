/* ResourceQuota: the last word before an object is stored. Each quota's status.used grows first, in a write of its own
 * that compares the revision, so two creates at a time cannot both take the last place; a create that then fails gives
 * back. */
#include "api/api_internal.h"
#include "quota/quota.h"
#define LOG_MODULE "api"

#define TRIES 100

static bool measured(const struct rq *rq, bool create)
{
	static const char *const changing[] = { "services", "persistentvolumeclaims" };

	if (!rq->res->def.namespaced || rq->res->def.create)
		return false;
	if (create)
		return !rq->sub.n;
	if (rq->res->def.group[0])
		return false;
	if (str_is(rq->sub, "resize"))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(changing); i++)
		if (!rq->sub.n && !strcmp(rq->res->def.resource, changing[i]))
			return true;
	return false;
}

/* What the write adds to the namespace's use; nothing negative: what becomes free is counted by the controller. */
static void growth(struct rq *rq, struct val object, struct val old, struct quota_list *ret)
{
	const struct resource_def *def = &rq->res->stored->def;
	struct quota_list before = QUOTA_LIST(rq->a), now = QUOTA_LIST(rq->a);
	int64_t now_s = wall_s(wall_now());

	quota_usage(def->group, def->resource, object, now_s, &now);
	if (val_has(old))
		quota_usage(def->group, def->resource, old, now_s, &before);
	for (size_t i = 0; i < now.n; i++) {
		const struct quantity *was = quota_get(&before, now.items[i].name);
		struct quantity q = was ? quantity_sub(now.items[i].q, *was) : now.items[i].q;
		if (q.value > 0)
			quota_set(ret, now.items[i].name, q);
	}
}

static int forbid(struct rq *rq, struct val object, struct err *e, const char *why)
{
	return err_set(e, ERR_FORBIDDEN, "%s \"%.*s\" is forbidden: %s", rq->res->stored->group_resource,
		STR_ARG(val_str(val_path(object, "metadata.name"))), why);
}

/* Of hard: what is about objects of this resource. */
static void counted(struct rq *rq, struct doc *quota, struct quota_list *ret)
{
	const struct resource_def *def = &rq->res->stored->def;
	struct quota_list hard = QUOTA_LIST(rq->a);

	quota_read(&hard, doc_get(quota, "status.hard"));
	for (size_t i = 0; i < hard.n; i++)
		if (quota_counts(hard.items[i].name, def->group, def->resource))
			quota_set(ret, hard.items[i].name, hard.items[i].q);
}

static void names(struct rq *rq, const struct quota_list *l, struct buf *out)
{
	(void)rq;
	for (size_t i = 0; i < l->n; i++)
		buf_printf(out, "%s%.*s", i ? "," : "", STR_ARG(l->items[i].name));
}

/* used grows by what of delta hard names. ret_used: the new status.used; *ret_changed: whether it differs. */
static int add_up(struct rq *rq, struct doc *quota, const struct quota_list *hard, const struct quota_list *delta,
	struct val object, struct quota_list *ret_used, bool *ret_changed, struct err *e)
{
	struct quota_list asked = QUOTA_LIST(rq->a), was = QUOTA_LIST(rq->a), limit = QUOTA_LIST(rq->a);

	quota_read(ret_used, doc_get(quota, "status.used"));
	for (size_t i = 0; i < delta->n; i++) {
		struct quota_amount d = delta->items[i];
		const struct quantity *top = quota_get(hard, d.name), *used = quota_get(ret_used, d.name);
		if (!top)
			continue;
		struct quantity before = *used;
		quota_add(ret_used, d.name, d.q);
		*ret_changed = true;
		if (quantity_cmp(*quota_get(ret_used, d.name), *top) <= 0)
			continue;
		quota_set(&asked, d.name, d.q);
		quota_set(&was, d.name, before);
		quota_set(&limit, d.name, *top);
	}
	if (!asked.n)
		return 0;
	return forbid(rq, object, e,
		arena_printf(rq->a, "exceeded quota: %.*s, requested: %.*s, used: %.*s, limited: %.*s",
			STR_ARG(doc_name(quota)), STR_ARG(quota_text(rq->a, &asked)), STR_ARG(quota_text(rq->a, &was)),
			STR_ARG(quota_text(rq->a, &limit))));
}

static int check_stated(
	struct rq *rq, struct doc *quota, const struct quota_list *hard, struct val object, struct err *e)
{
	struct quota_list used = QUOTA_LIST(rq->a);
	auto_buf struct buf b = BUF_INIT;
	bool pods = !rq->res->def.group[0] && !strcmp(rq->res->def.resource, "pods");

	if (pods) {
		struct str unsaid = quota_unsaid(rq->a, hard, object);
		if (unsaid.n)
			return forbid(rq, object, e,
				arena_printf(rq->a, "failed quota: %.*s: must specify %.*s", STR_ARG(doc_name(quota)),
					STR_ARG(unsaid)));
	}
	quota_read(&used, doc_get(quota, "status.used"));
	for (size_t i = 0; i < hard->n; i++) {
		if (quota_get(&used, hard->items[i].name))
			continue;
		names(rq, hard, &b);
		return forbid(rq, object, e,
			arena_printf(rq->a, "status unknown for quota: %.*s, resources: %.*s", STR_ARG(doc_name(quota)),
				(int)b.n, b.p));
	}
	return 0;
}

static int store_used(struct rq *rq, struct doc *quota, const struct quota_list *used, struct err *e)
{
	struct resource *r = api_resource_any(rq->api, "", "resourcequotas");
	auto_buf struct buf sealed = BUF_INIT;
	struct node *n = node_from(rq->a, doc_root(quota));
	int64_t rev;

	node_set_path(n, "status.used", quota_node(rq->a, used));
	auto_(doc_unref) struct doc *d = node_publish_versioned(n);
	struct str key =
		arena_strf(rq->a, "%s%.*s/%.*s", r->key_prefix, STR_ARG(doc_ns(quota)), STR_ARG(doc_name(quota)));
	struct store_write w = store_write_of(rq->api, r, key, d, doc_revision(quota), &sealed);
	return store_write(rq->api->opts.store, &w, &rev, e);
}

/* 0: charged, or nothing to charge. sign: *ret_charged says whether something must be given back. */
static int charge(struct rq *rq, struct str key, const struct quota_list *delta, struct val object, bool only_check,
	bool *ret_charged, struct err *e)
{
	struct cache *c = api_cache(rq->api, "", "resourcequotas");
	const struct resource_def *def = &rq->res->stored->def;

	for (int i = 0; i < TRIES; i++) {
		auto_(doc_unref) struct doc *quota = cache_get(c, key);
		struct quota_list hard = QUOTA_LIST(rq->a), used = QUOTA_LIST(rq->a);
		bool changed = false;
		int rc;

		err_init(e);
		if (!quota || !quota_selects(doc_root(quota), def->group, def->resource, object))
			return 0;
		counted(rq, quota, &hard);
		if (!hard.n)
			return 0;
		if ((rc = check_stated(rq, quota, &hard, object, e)) < 0 ||
			(rc = add_up(rq, quota, &hard, delta, object, &used, &changed, e)) < 0)
			return rc;
		if (!changed || only_check)
			return 0;
		rc = store_used(rq, quota, &used, e);
		*ret_charged = rc >= 0;
		if (rc != -ERR_CONFLICT && rc != -ERR_NOT_FOUND)
			return rc;
		task_sleep_ms(1 + (int64_t)rand_below((uint64_t)MIN(i + 1, 10)));
	}
	return err_set(e, ERR_CONFLICT,
		"Operation cannot be fulfilled on resourcequotas \"%.*s\": it changes too often, please try again",
		STR_ARG(key));
}

struct quota_charge {
	struct str key;
	struct quota_list delta;
	struct quota_charge *next;
};

static void give_back(struct rq *rq, const struct quota_charge *charge)
{
	struct cache *c = api_cache(rq->api, "", "resourcequotas");
	int rc = -ERR_CONFLICT;

	for (int i = 0; i < TRIES && rc == -ERR_CONFLICT; i++) {
		auto_(doc_unref) struct doc *quota = cache_get(c, charge->key);
		struct quota_list used = QUOTA_LIST(rq->a);
		struct err e;

		err_init(&e);
		if (!quota)
			return;
		quota_read(&used, doc_get(quota, "status.used"));
		for (size_t k = 0; k < charge->delta.n; k++) {
			const struct quantity *has = quota_get(&used, charge->delta.items[k].name);
			struct quantity q = has ? quantity_sub(*has, charge->delta.items[k].q) : (struct quantity){ 0 };
			if (has)
				quota_set(&used, charge->delta.items[k].name, q.value < 0 ? (struct quantity){ 0 } : q);
		}
		rc = store_used(rq, quota, &used, &e);
	}
}

void admit_quota_undo(struct rq *rq)
{
	for (struct quota_charge *q = rq->charges; q; q = q->next)
		give_back(rq, q);
	rq->charges = NULL;
}

int admit_quota(struct rq *rq, struct val object, struct val old, bool charges, struct err *e)
{
	struct cache *c = api_cache(rq->api, "", "resourcequotas");
	struct quota_list delta = QUOTA_LIST(rq->a);
	int64_t rev;
	int rc = 0;

	if (!cache_len(c) || !measured(rq, !val_has(old)))
		return 0;
	struct cache_list l = cache_list(c, rq->a, arena_strf(rq->a, "%.*s/", STR_ARG(rq->ns)), STR_NULL, 0, &rev);
	if (!l.n)
		return 0;
	growth(rq, object, old, &delta);
	for (size_t i = 0; i < l.n && rc >= 0 && delta.n; i++) {
		struct quota_charge *q = ARENA_NEW(rq->a, struct quota_charge);
		bool charged = false;

		rc = charge(rq, l.items[i].key, &delta, object, rq->dry_run || !charges, &charged, e);
		if (!charged)
			continue;
		*q = (struct quota_charge){ arena_str(rq->a, l.items[i].key), delta, rq->charges };
		rq->charges = q;
	}
	if (rc < 0)
		admit_quota_undo(rq);
	return rc;
}

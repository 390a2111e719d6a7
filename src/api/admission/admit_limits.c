/* LimitRanger: what a namespace's LimitRanges add to new pods, and what they refuse of pods and claims. */
#include "api/api_internal.h"
#include "quota/quota.h"
#define LOG_MODULE "api"

static struct cache_list limit_ranges(struct rq *rq)
{
	struct cache *c = api_cache(rq->api, "", "limitranges");
	int64_t rev;

	if (!rq->ns.n || !cache_len(c))
		return (struct cache_list){ 0 };
	return cache_list(c, rq->a, arena_strf(rq->a, "%.*s/", STR_ARG(rq->ns)), STR_NULL, 0, &rev);
}

/* ---- defaults -------------------------------------------------------------------------------- */

/* Adds what the container lacks; appends "cpu, memory limit for container web" to notes. */
static void fill(struct rq *rq, struct node *container, const char *what, const char *word, const char *sort,
	struct val defaults, struct buf *notes)
{
	struct str *added = ARENA_ARRAY(rq->a, struct str, val_len(defaults) + 1);
	size_t n = 0;

	for (struct val_iter it = val_iter(defaults); val_next(&it);) {
		struct node *list = node_need_map(node_need_map(container, "resources"), what);
		if (node_get(list, it.key))
			continue;
		node_set(list, arena_str(rq->a, it.key), node_str(rq->a, val_str(it.val)));
		added[n++] = arena_str(rq->a, it.key);
	}
	if (!n)
		return;
	qsort(added, n, sizeof(*added), str_order);
	buf_c(notes, notes->n ? "; " : "LimitRanger plugin set: ");
	for (size_t i = 0; i < n; i++)
		buf_printf(notes, "%s%.*s", i ? ", " : "", STR_ARG(added[i]));
	buf_printf(notes, " %s for %s %.*s", word, sort, STR_ARG(node_text_str(node_getc(container, "name"))));
}

static void fill_all(struct rq *rq, struct node *pod, struct val limit, struct buf *notes)
{
	static const char *const lists[][2] = { { "spec.containers", "container" },
		{ "spec.initContainers", "init container" } };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct node *list = node_path(pod, lists[i][0]);
		for (size_t k = 0; k < node_len(list); k++) {
			fill(rq, node_at(list, k), "requests", "request", lists[i][1], val_get(limit, "defaultRequest"),
				notes);
			fill(rq, node_at(list, k), "limits", "limit", lists[i][1], val_get(limit, "default"), notes);
		}
	}
}

void admit_limits_default(struct rq *rq, struct node *pod)
{
	struct cache_list l = limit_ranges(rq);

	for (size_t i = 0; i < l.n; i++) {
		auto_buf struct buf notes = BUF_INIT;
		for (struct val_iter it = val_iter(doc_get(l.items[i].doc, "spec.limits")); val_next(&it);)
			if (val_is(val_get(it.val, "type"), "Container"))
				fill_all(rq, pod, it.val, &notes);
		if (notes.n)
			node_setc(node_need_map(pod, "metadata.annotations"), "kubernetes.io/limit-ranger",
				node_str(rq->a, buf_view(&notes)));
	}
}

/* ---- checks ---------------------------------------------------------------------------------- */

struct check {
	struct rq *rq;
	struct str type; /* Container, Pod, PersistentVolumeClaim */
	const struct quota_list *requests, *limits;
	const char **wrong; /* sentences */
	size_t n_wrong, cap_wrong;
};

/* Said once, however many containers it is true of. */
static void wrong(struct check *c, const char *sentence)
{
	for (size_t i = 0; i < c->n_wrong; i++)
		if (!strcmp(c->wrong[i], sentence))
			return;
	ARENA_GROW(c->rq->a, c->wrong, c->n_wrong, c->cap_wrong, 8);
	c->wrong[c->n_wrong++] = sentence;
}

static const char *text(struct check *c, struct quantity q)
{
	char t[QUANTITY_TEXT_MAX];

	quantity_text(q, t);
	return arena_strdup(c->rq->a, t);
}

static void check_min(struct check *c, struct str name, struct quantity min)
{
	const struct quantity *request = quota_get(c->requests, name), *limit = quota_get(c->limits, name);
	const char *head =
		rq_f(c->rq, "minimum %.*s usage per %.*s is %s", STR_ARG(name), STR_ARG(c->type), text(c, min));

	if (!request)
		wrong(c, rq_f(c->rq, "%s.  No request is specified", head));
	else if (quantity_cmp(*request, min) < 0)
		wrong(c, rq_f(c->rq, "%s, but request is %s", head, text(c, *request)));
	else if (limit && quantity_cmp(*limit, min) < 0)
		wrong(c, rq_f(c->rq, "%s, but limit is %s", head, text(c, *limit)));
}

/* Claims have no limits: there the request counts. */
static void check_max(struct check *c, struct str name, struct quantity max)
{
	bool claim = str_is(c->type, "PersistentVolumeClaim");
	const struct quantity *request = quota_get(c->requests, name), *limit = quota_get(c->limits, name);
	const char *head =
		rq_f(c->rq, "maximum %.*s usage per %.*s is %s", STR_ARG(name), STR_ARG(c->type), text(c, max));

	if (claim ? !request : !limit)
		wrong(c, rq_f(c->rq, "%s.  No %s is specified", head, claim ? "request" : "limit"));
	else if (!claim && quantity_cmp(*limit, max) > 0)
		wrong(c, rq_f(c->rq, "%s, but limit is %s", head, text(c, *limit)));
	else if (request && quantity_cmp(*request, max) > 0)
		wrong(c, rq_f(c->rq, "%s, but request is %s", head, text(c, *request)));
}

static void check_ratio(struct check *c, struct str name, struct quantity max)
{
	const struct quantity *request = quota_get(c->requests, name), *limit = quota_get(c->limits, name);
	const char *head = rq_f(
		c->rq, "%.*s max limit to request ratio per %.*s is %s", STR_ARG(name), STR_ARG(c->type), text(c, max));

	if (!request || !request->value) {
		wrong(c, rq_f(c->rq, "%s, but no request is specified or request is 0", head));
	} else if (!limit || !limit->value) {
		wrong(c, rq_f(c->rq, "%s, but no limit is specified or limit is 0", head));
	} else {
		double ratio = (double)quantity_milli(*limit) / (double)quantity_milli(*request);
		if (ratio * 1000 > (double)quantity_milli(max))
			wrong(c, rq_f(c->rq, "%s, but provided ratio is %f", head, ratio));
	}
}

static void check_limit(struct check *c, struct val limit)
{
	static const struct {
		const char *field;
		void (*check)(struct check *c, struct str name, struct quantity q);
	} rules[] = { { "min", check_min }, { "max", check_max }, { "maxLimitRequestRatio", check_ratio } };

	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		struct quota_list sorted = QUOTA_LIST(c->rq->a);
		quota_read(&sorted, val_get(limit, rules[i].field));
		for (size_t k = 0; k < sorted.n; k++)
			rules[i].check(c, sorted.items[k].name, sorted.items[k].q);
	}
}

static void check_resources(struct check *c, struct val limit, struct val resources)
{
	struct quota_list requests = QUOTA_LIST(c->rq->a), limits = QUOTA_LIST(c->rq->a);

	quota_read(&requests, val_get(resources, "requests"));
	quota_read(&limits, val_get(resources, "limits"));
	c->requests = &requests;
	c->limits = &limits;
	check_limit(c, limit);
}

static void check_pod(struct check *c, struct val limit, struct val pod)
{
	static const char *const lists[] = { "spec.containers", "spec.initContainers" };
	struct quota_list requests = QUOTA_LIST(c->rq->a), limits = QUOTA_LIST(c->rq->a);

	if (str_is(c->type, "Container")) {
		for (size_t i = 0; i < ARRAY_LEN(lists); i++)
			for (struct val_iter it = val_iter(val_path(pod, lists[i])); val_next(&it);)
				check_resources(c, limit, val_get(it.val, "resources"));
	} else if (str_is(c->type, "Pod")) {
		quota_pod_resources(pod, &requests, &limits);
		c->requests = &requests;
		c->limits = &limits;
		check_limit(c, limit);
	}
}

static int check_object(struct rq *rq, struct val object, bool claim, struct doc *range, struct err *e)
{
	struct check c = { .rq = rq };
	auto_buf struct buf all = BUF_INIT;

	for (struct val_iter it = val_iter(doc_get(range, "spec.limits")); val_next(&it);) {
		c.type = val_str(val_get(it.val, "type"));
		if (!claim)
			check_pod(&c, it.val, object);
		else if (str_is(c.type, "PersistentVolumeClaim"))
			check_resources(&c, it.val, val_path(object, "spec.resources"));
	}
	if (!c.n_wrong)
		return 0;
	for (size_t i = 0; i < c.n_wrong; i++)
		buf_printf(&all, "%s%s", i ? ", " : "", c.wrong[i]);
	return err_set(e, ERR_FORBIDDEN, "%s \"%.*s\" is forbidden: %s%.*s%s", rq->res->group_resource,
		STR_ARG(val_str(val_path(object, "metadata.name"))), c.n_wrong > 1 ? "[" : "", (int)all.n, all.p,
		c.n_wrong > 1 ? "]" : "");
}

int admit_limits_check(struct rq *rq, struct val object, struct val old, struct err *e)
{
	bool core = !rq->res->def.group[0],
	     claim = core && !rq->sub.n && !strcmp(rq->res->def.resource, "persistentvolumeclaims"),
	     pod = core && !strcmp(rq->res->def.resource, "pods"),
	     sized = str_is(rq->sub, "resize") || (!rq->sub.n && !val_has(old));

	if (!claim && !(pod && sized))
		return 0;
	struct cache_list l = limit_ranges(rq);
	for (size_t i = 0; i < l.n; i++) {
		int rc = check_object(rq, object, claim, l.items[i].doc, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* resourcequota: counts what a namespace uses of each ResourceQuota. Admission only ever adds; what is deleted or ends
 * is found here: of common kinds by watches that always are, of others by watches from when a quota first names them. */
#include "controllers/controllers_internal.h"
#include "quota/quota.h"

#define UNSTORED_MS 30 /* from a request's admission to its object in the store */
#define RECOUNT_MS 60000

struct count {
	struct arena *a;
	struct doc *quota;
	struct quota_list hard, used;
	struct gvr res;
	int64_t now_s;
};

static bool is_about(const struct count *n, struct gvr r)
{
	for (size_t i = 0; i < n->hard.n; i++)
		if (quota_counts(n->hard.items[i].name, r.group, r.resource))
			return true;
	return false;
}

static void add_object(void *arg, struct doc *take)
{
	struct count *n = arg;
	struct quota_list usage = QUOTA_LIST(n->a);

	doc_hold(n->a, take);
	if (!quota_selects(doc_root(n->quota), n->res.group, n->res.resource, doc_root(take)))
		return;
	quota_usage(n->res.group, n->res.resource, doc_root(take), n->now_s, &usage);
	for (size_t i = 0; i < usage.n; i++)
		if (quota_get(&n->hard, usage.items[i].name))
			quota_add(&n->used, usage.items[i].name, usage.items[i].q);
}

/* ---- kinds that a quota names and nobody watches --------------------------------------------- */

struct followed {
	struct arena *a;
	struct gvr res; /* in a */
	struct informer *i;
	struct followed *next;
};
struct follow {
	struct task_mutex lock;
	struct followed *first;
	struct informer_loop *loop;
};

static void *state_new(struct ctl *c)
{
	struct follow *f = xcalloc(1, sizeof(*f));

	(void)c;
	task_mutex_init(&f->lock);
	f->loop = informer_loop_new();
	return f;
}

static void followed_free(struct followed *k)
{
	informer_free(k->i);
	arena_free(k->a);
	free(k);
}

static void state_free(void *state)
{
	struct follow *f = state;

	while (f->first) {
		struct followed *k = f->first;

		f->first = k->next;
		followed_free(k);
	}
	informer_loop_free(f->loop);
	task_mutex_fini(&f->lock);
	free(f);
}

static void key_usage(struct ctl *c, struct doc *before, struct doc *after);

static void on_change(void *arg, struct doc *before, struct doc *after)
{
	key_usage(arg, before, after);
}

static bool is_watched(const struct ctl *c, struct gvr r)
{
	const struct controller_watch *w = c->def->watches;

	for (size_t i = 0; i < ARRAY_LEN(c->def->watches) && w[i].res; i++)
		if (gvr_eq(*w[i].res, r))
			return true;
	return false;
}

static void follow(struct ctl *c, struct gvr r)
{
	struct follow *f = c->state;
	struct followed *k;

	if (is_watched(c, r))
		return;
	task_lock(&f->lock);
	for (k = f->first; k && !gvr_eq(k->res, r); k = k->next)
		;
	if (!k) {
		k = xcalloc(1, sizeof(*k));
		k->a = arena_new();
		k->res = (struct gvr){ arena_cstr(k->a, str_c(r.group)), arena_cstr(k->a, str_c(r.version)),
			arena_cstr(k->a, str_c(r.resource)) };
		k->i = informer_new(c->client, (struct informer_opts){ .res = k->res, .loop = f->loop });
		informer_on(k->i, on_change, c);
		informer_start(k->i);
		k->next = f->first;
		f->first = k;
	}
	task_unlock(&f->lock);
}

/* Custom kinds whose definition went, or serves another version now. */
static void forget_gone(struct ctl *c, struct arena *a)
{
	struct informer_list kinds = informer_list(ctl_informer(c, res_customresourcedefinitions), a, NULL, STR_NULL);
	struct follow *f = c->state;
	struct followed *gone = NULL;

	task_lock(&f->lock);
	for (struct followed **at = &f->first; *at;) {
		struct followed *k = *at;
		bool stands = false;
		struct gvr r;

		for (size_t i = 0; namespaced_resources[i] && !stands; i++)
			stands = gvr_eq(k->res, *namespaced_resources[i]);
		for (size_t i = 0; i < kinds.n && !stands; i++)
			stands = defined_resource(a, kinds.items[i], &r) && gvr_eq(k->res, r);
		if (stands) {
			at = &k->next;
			continue;
		}
		*at = k->next;
		k->next = gone;
		gone = k;
	}
	task_unlock(&f->lock);
	for (struct followed *next; gone; gone = next) {
		next = gone->next;
		followed_free(gone);
	}
}

/* ---- counting -------------------------------------------------------------------------------- */

static int count_kind(struct ctl *c, struct count *n, struct gvr r, struct err *e)
{
	struct client_request list = { .verb = VERB_LIST, .res = r, .ns = doc_ns(n->quota) };
	char revision[24];

	if (!is_about(n, r))
		return 0;
	follow(c, r);
	n->res = r;
	if (client_list(c->client, &list, add_object, n, revision, e) < 0)
		return e->code == ERR_NOT_FOUND ? 0 : err_wrap(e, "list %s", r.resource);
	return 0;
}

static int count_all(struct ctl *c, struct count *n, struct err *e)
{
	struct informer_list kinds =
		informer_list(ctl_informer(c, res_customresourcedefinitions), n->a, NULL, STR_NULL);
	struct gvr r;

	for (size_t i = 0; namespaced_resources[i]; i++)
		if (count_kind(c, n, *namespaced_resources[i], e) < 0)
			return -e->code;
	for (size_t i = 0; i < kinds.n; i++)
		if (defined_resource(n->a, kinds.items[i], &r) && count_kind(c, n, r, e) < 0)
			return -e->code;
	return 0;
}

static int count_fresh(struct ctl *c, struct count *n, struct err *e)
{
	n->used = QUOTA_LIST(n->a);
	for (size_t i = 0; i < n->hard.n; i++)
		quota_set(&n->used, n->hard.items[i].name, (struct quantity){ 0 });
	return count_all(c, n, e);
}

/* Less than admission says: true for good, or an object that it has just counted is not stored yet. */
static bool is_less(const struct count *n)
{
	struct quota_list said = QUOTA_LIST(n->a);

	quota_read(&said, doc_get(n->quota, "status.used"));
	for (size_t i = 0; i < n->used.n; i++) {
		const struct quantity *q = quota_get(&said, n->used.items[i].name);

		if (q && quantity_cmp(n->used.items[i].q, *q) < 0)
			return true;
	}
	return false;
}

static int recount(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	auto_(doc_unref) struct doc *quota = NULL;
	struct count n = { .a = a, .hard = QUOTA_LIST(a), .used = QUOTA_LIST(a), .now_s = wall_s(wall_now()) };

	key_split(key, &ns, &name);
	/* the newest: admission writes this status as well, and its revision guards ours */
	if (client_get(c->client, res_resourcequotas, ns, name, &quota, e) < 0) {
		if (e->code != ERR_NOT_FOUND)
			return -e->code;
		err_init(e);
		return 0;
	}
	n.quota = quota;
	quota_read(&n.hard, doc_get(quota, "spec.hard"));
	if (count_fresh(c, &n, e) < 0)
		return -e->code;
	if (is_less(&n)) {
		task_sleep_ms(UNSTORED_MS);
		if (count_fresh(c, &n, e) < 0)
			return -e->code;
	}
	return write_status(c, a, res_resourcequotas, quota,
		node_pack(a, "{hard:v, used:o}", doc_get(quota, "spec.hard"), quota_node(a, &n.used)), e);
}

static void add_quotas_of(struct ctl *c, struct str ns)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list all = informer_list(ctl_informer(c, res_resourcequotas), a, NULL, STR_NULL);

	for (size_t i = 0; i < all.n; i++)
		if (!ns.n || str_eq(doc_ns(all.items[i]), ns))
			ctl_add_doc(c, all.items[i]);
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	if (key.n)
		return recount(c, a, key, e);
	forget_gone(c, a);
	add_quotas_of(c, STR_NULL);
	return 0;
}

/* What admission did not see: an end, or less than before. */
static void key_usage(struct ctl *c, struct doc *before, struct doc *after)
{
	if (before && after && val_equal(doc_get(before, "spec"), doc_get(after, "spec")) &&
		pod_ended(before) == pod_ended(after) && is_deleting(before) == is_deleting(after))
		return;
	if (informer_len(ctl_informer(c, res_resourcequotas)))
		add_quotas_of(c, doc_ns(after ? after : before));
}

const struct controller resourcequota_controller = {
	.name = "resourcequota-controller",
	.help = "counts what namespaces use of their quotas",
	.handles = "/resourcequotas",
	.watches = { { &res_resourcequotas, key_self }, { &res_pods, key_usage }, { &res_services, key_usage },
		{ &res_persistentvolumeclaims, key_usage }, { &res_secrets, key_usage }, { &res_configmaps, key_usage },
		{ &res_replicationcontrollers, key_usage }, { &res_replicasets, key_usage },
		{ &res_deployments, key_usage }, { &res_statefulsets, key_usage }, { &res_jobs, key_usage },
		{ &res_customresourcedefinitions, NULL } },
	.reconcile = reconcile,
	.every_ms = RECOUNT_MS,
	.state_new = state_new,
	.state_free = state_free,
};

/* deployment: keeps the ReplicaSets of a Deployment at its template and count.
 *
 *      template ──hash──► the new ReplicaSet ── scaled up ──┐   at most maxSurge more, at most maxUnavailable fewer
 *                         the old ones       ── scaled down ┘   than spec.replicas at any time
 *
 * Source of the semantics: the Kubernetes documentation, "Deployments". */
#include "controllers/deployment.h"

#define REVISION "deployment.kubernetes.io/revision"
#define REVISION_HISTORY "deployment.kubernetes.io/revision-history"
#define DESIRED "deployment.kubernetes.io/desired-replicas"
#define MAX_REPLICAS "deployment.kubernetes.io/max-replicas"
#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define HASH_LABEL "pod-template-hash"
#define HASH_TRIES 20

/* ---- facts ----------------------------------------------------------------------------------- */

static int64_t annotation_number(const struct doc *d, const char *key)
{
	int64_t n = 0;

	str_i64(val_str(val_get(doc_get(d, "metadata.annotations"), key)), &n);
	return n;
}

static struct node *template_without_hash(struct arena *a, struct val template)
{
	struct node *n = node_copy(a, node_from(a, template)), *labels = node_path(n, "metadata.labels");

	if (labels)
		node_delc(labels, HASH_LABEL);
	return n;
}

static bool same_template(struct arena *a, struct val x, struct val y)
{
	return node_equal(template_without_hash(a, x), template_without_hash(a, y));
}

static void template_hash(struct arena *a, struct val template, int64_t collisions, char ret[24])
{
	auto_buf struct buf text = BUF_INIT;

	node_write(template_without_hash(a, template), &text);
	if (collisions)
		buf_printf(&text, "/%lld", (long long)collisions);
	safe_encode(fnv32a(buf_view(&text)), ret);
}

static int by_creation(const void *x, const void *y)
{
	struct doc *const *a = x, *const *b = y;
	int c = str_cmp(doc_str(*a, "metadata.creationTimestamp"), doc_str(*b, "metadata.creationTimestamp"));

	return c ? c : str_cmp(doc_name(*a), doc_name(*b));
}

/* Splits the sets into the new one (the oldest with the template) and the others. */
static void sort_sets(struct arena *a, struct doc *d, struct informer_list all, struct rollout *r)
{
	struct val template = doc_get(d, "spec.template");

	qsort(all.items, all.n, sizeof(*all.items), by_creation);
	r->old = ARENA_ARRAY(a, struct doc *, all.n + 1);
	for (size_t i = 0; i < all.n; i++) {
		if (!r->new_set && same_template(a, doc_get(all.items[i], "spec.template"), template))
			r->new_set = all.items[i];
		else
			r->old[r->n_old++] = all.items[i];
	}
	r->all = all;
}

static int64_t sum(const struct informer_list *sets, const char *path, int64_t otherwise)
{
	int64_t n = 0;

	for (size_t i = 0; i < sets->n; i++)
		n += doc_int(sets->items[i], path, otherwise);
	return n;
}

/* ---- writes to ReplicaSets ------------------------------------------------------------------- */

static struct node *copied_annotations(struct arena *a, struct doc *d)
{
	static const char *const own[] = { LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED, MAX_REPLICAS };
	struct node *out = node_map(a);

	for (struct val_iter it = val_iter(doc_get(d, "metadata.annotations")); val_next(&it);) {
		bool skip = false;

		for (size_t i = 0; i < ARRAY_LEN(own); i++)
			skip |= str_is(it.key, own[i]);
		if (!skip)
			node_set(out, it.key, node_from(a, it.val));
	}
	return out;
}

static void size_annotations(struct arena *a, struct node *annotations, const struct rollout *r)
{
	node_setc(annotations, DESIRED, node_strf(a, "%lld", (long long)r->wanted));
	node_setc(annotations, MAX_REPLICAS, node_strf(a, "%lld", (long long)(r->wanted + r->surge)));
}

/* A set with another count, and the annotations that proportional scaling reads. *set is replaced by the answer. */
static int scale_set(struct rollout *r, struct doc **set, int64_t to, struct err *e)
{
	int64_t from = doc_int(*set, "spec.replicas", 1);
	struct node *annotations = node_map(r->a), *patch;
	auto_(doc_unref) struct doc *answer = NULL;
	bool annotated = annotation_number(*set, DESIRED) == r->wanted &&
		annotation_number(*set, MAX_REPLICAS) == r->wanted + r->surge;

	if (from == to && annotated)
		return 0;
	size_annotations(r->a, annotations, r);
	patch = node_pack(r->a, "{metadata:{uid:S, annotations:o}, spec:{replicas:I}}", doc_uid(*set), annotations, to);
	if (merge_patch(r->c, res_replicasets, *set, NULL, patch, &answer, e) < 0)
		return err_wrap(e, "scale %.*s", STR_ARG(doc_name(*set)));
	if (from != to)
		recorder_event(r->c->recorder, r->d, "Normal", "ScalingReplicaSet",
			"Scaled %s replica set %.*s from %lld to %lld", to > from ? "up" : "down",
			STR_ARG(doc_name(*set)), (long long)from, (long long)to);
	ctl_wrote(r->c, r->key, answer);
	doc_hold(r->a, answer);
	*set = TAKE(answer);
	return 0;
}

static int64_t highest_revision(const struct rollout *r)
{
	int64_t n = 0;

	for (size_t i = 0; i < r->n_old; i++)
		n = MAX(n, annotation_number(r->old[i], REVISION));
	return n;
}

static struct node *revised_annotations(struct rollout *r, int64_t revision)
{
	struct node *annotations = copied_annotations(r->a, r->d);
	struct val old = r->new_set ? val_get(doc_get(r->new_set, "metadata.annotations"), REVISION) : VAL_NONE;
	struct val history =
		r->new_set ? val_get(doc_get(r->new_set, "metadata.annotations"), REVISION_HISTORY) : VAL_NONE;
	int64_t before = 0;

	node_setc(annotations, REVISION, node_strf(r->a, "%lld", (long long)revision));
	if (str_i64(val_str(old), &before) && before != revision)
		node_setc(annotations, REVISION_HISTORY,
			node_strf(r->a, "%.*s%s%lld", STR_ARG(val_str(history)), val_str(history).n ? "," : "",
				(long long)before));
	return annotations;
}

/* An old template that is wished again becomes the newest revision. */
static int revise_new_set(struct rollout *r, struct err *e)
{
	int64_t has = annotation_number(r->new_set, REVISION), revision = MAX(has, highest_revision(r) + 1);
	struct node *annotations = revised_annotations(r, revision), *spec = NULL;
	auto_(doc_unref) struct doc *answer = NULL;
	bool same = has == revision && doc_int(r->new_set, "spec.minReadySeconds", 0) == r->min_ready;

	for (size_t i = 0; same && i < node_len(annotations); i++)
		same = str_eq(
			val_str(val_get_str(doc_get(r->new_set, "metadata.annotations"), node_key_at(annotations, i))),
			node_text_str(node_get(annotations, node_key_at(annotations, i))));
	if (same)
		return 0;
	spec = node_pack(r->a, "{minReadySeconds:I}", r->min_ready);
	if (merge_patch(r->c, res_replicasets, r->new_set, NULL,
		    node_pack(r->a, "{metadata:{annotations:o}, spec:o}", annotations, spec), &answer, e) < 0)
		return err_wrap(e, "revision of %.*s", STR_ARG(doc_name(r->new_set)));
	ctl_wrote(r->c, r->key, answer);
	doc_hold(r->a, answer);
	r->new_set = TAKE(answer);
	return 0;
}

static struct node *new_set_object(struct rollout *r, const char *hash)
{
	struct node *template = node_copy(r->a, node_from(r->a, doc_get(r->d, "spec.template")));
	struct node *selector = node_copy(r->a, node_from(r->a, doc_get(r->d, "spec.selector"))), *annotations, *labels;

	node_setc(node_need_map(template, "metadata.labels"), HASH_LABEL, node_c(r->a, hash));
	node_setc(node_need_map(selector, "matchLabels"), HASH_LABEL, node_c(r->a, hash));
	labels = node_copy(r->a, node_path(template, "metadata.labels"));
	annotations = revised_annotations(r, highest_revision(r) + 1);
	size_annotations(r->a, annotations, r);
	return node_pack(r->a,
		"{apiVersion:'apps/v1', kind:'ReplicaSet', metadata:{name:o, namespace:S, labels:o, annotations:o, ownerReferences:[o]}, "
		"spec:{replicas:I, minReadySeconds:I, selector:o, template:o}}",
		node_strf(r->a, "%.*s-%s", STR_ARG(doc_name(r->d)), hash), doc_ns(r->d), labels, annotations,
		owner_reference(r->a, r->d), rollout_new_count(r, 0), r->min_ready, selector, template);
}

static int bump_collisions(struct rollout *r, struct err *e)
{
	struct node *status = val_has(doc_get(r->d, "status")) ?
		node_copy(r->a, node_from(r->a, doc_get(r->d, "status"))) :
		node_map(r->a);

	node_setc(status, "collisionCount", node_int(r->a, doc_int(r->d, "status.collisionCount", 0) + 1));
	if (write_status(r->c, r->a, res_deployments, r->d, status, e) < 0)
		return -e->code;
	return err_set(e, ERR_CONFLICT, "the name of the new ReplicaSet is taken by another template; trying the next");
}

static int create_new_set(struct rollout *r, struct err *e)
{
	auto_(doc_unref) struct doc *body = NULL, *made = NULL;
	char hash[24];

	template_hash(r->a, doc_get(r->d, "spec.template"), doc_int(r->d, "status.collisionCount", 0), hash);
	body = node_publish(new_set_object(r, hash));
	if (client_create(r->c->client, res_replicasets, doc_ns(r->d), body, &made, e) < 0) {
		if (e->code != ERR_EXISTS)
			return err_wrap(e, "create ReplicaSet");
		err_init(e);
		if (client_get(r->c->client, res_replicasets, doc_ns(r->d), doc_name(body), &made, e) < 0)
			return -e->code;
		if (!controlled_by(made, doc_uid(r->d)) ||
			!same_template(r->a, doc_get(made, "spec.template"), doc_get(r->d, "spec.template")))
			return bump_collisions(r, e);
	} else if (doc_int(made, "spec.replicas", 0)) {
		recorder_event(r->c->recorder, r->d, "Normal", "ScalingReplicaSet",
			"Scaled up replica set %.*s from 0 to %lld", STR_ARG(doc_name(made)),
			(long long)doc_int(made, "spec.replicas", 0));
	}
	ctl_wrote(r->c, r->key, made);
	doc_hold(r->a, made);
	r->new_set = TAKE(made);
	r->all.items[r->all.n++] = r->new_set; /* claim() leaves room for one more */
	return 0;
}

static int need_new_set(struct rollout *r, struct err *e)
{
	return r->new_set ? revise_new_set(r, e) : create_new_set(r, e);
}

/* ---- the strategies -------------------------------------------------------------------------- */

/* Its pods that serve, as far as we can know: status lags behind a count that we have just made smaller. */
static int64_t available_in(struct doc *set)
{
	return MIN(doc_int(set, "status.availableReplicas", 0), doc_int(set, "spec.replicas", 1));
}

/* Old pods that never became ready go first, then healthy ones as far as availability allows. */
static int scale_down_old(struct rollout *r, struct err *e)
{
	int64_t running = sum(&r->all, "spec.replicas", 1), least = r->wanted - r->unavailable;
	int64_t new_wished = doc_int(r->new_set, "spec.replicas", 1),
		new_unavailable = new_wished - available_in(r->new_set);
	int64_t may_go = running - least - new_unavailable, available, healthy;

	if (may_go <= 0)
		return 0;
	for (size_t i = 0; i < r->n_old && may_go > 0; i++) {
		int64_t has = doc_int(r->old[i], "spec.replicas", 1), n = MIN(may_go, has - available_in(r->old[i]));

		if (n <= 0)
			continue;
		if (scale_set(r, &r->old[i], has - n, e) < 0)
			return -e->code;
		may_go -= n;
	}
	available = available_in(r->new_set);
	for (size_t i = 0; i < r->n_old; i++)
		available += available_in(r->old[i]);
	healthy = MIN(may_go, available - least);
	for (size_t i = 0; i < r->n_old && healthy > 0; i++) {
		int64_t has = doc_int(r->old[i], "spec.replicas", 1), n = MIN(healthy, has);

		if (n <= 0)
			continue;
		if (scale_set(r, &r->old[i], has - n, e) < 0)
			return -e->code;
		healthy -= n;
	}
	return 0;
}

static int roll_over(struct rollout *r, struct err *e)
{
	if (need_new_set(r, e) < 0 ||
		scale_set(r, &r->new_set, rollout_new_count(r, doc_int(r->new_set, "spec.replicas", 1)), e) < 0)
		return -e->code;
	return scale_down_old(r, e);
}

static int recreate(struct rollout *r, struct err *e)
{
	bool old_run = false;

	for (size_t i = 0; i < r->n_old; i++) {
		if (doc_int(r->old[i], "spec.replicas", 1) && scale_set(r, &r->old[i], 0, e) < 0)
			return -e->code;
		old_run |= informer_list(ctl_informer(r->c, res_pods), r->a, "owner", doc_uid(r->old[i])).n > 0;
	}
	if (old_run)
		return 0; /* their pods' ends bring us back */
	if (need_new_set(r, e) < 0)
		return -e->code;
	return scale_set(r, &r->new_set, r->wanted, e);
}

/* Paused, or only the count has changed: every set with pods grows or shrinks in proportion. */
static int scale_in_proportion(struct rollout *r, struct err *e)
{
	int64_t all = sum(&r->all, "spec.replicas", 1), most = r->wanted ? r->wanted + (r->rolling ? r->surge : 0) : 0,
		to_add = most - all, added = 0;
	struct doc **active = ARENA_ARRAY(r->a, struct doc *, r->all.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < r->all.n; i++)
		if (doc_int(r->all.items[i], "spec.replicas", 1) > 0)
			active[n++] = r->all.items[i];
	if (n <= 1) {
		struct doc *only = n ? active[0] : r->new_set ? r->new_set : r->n_old ? r->old[r->n_old - 1] : NULL;

		return only ? scale_set(r, &only, r->wanted, e) : 0;
	}
	for (size_t i = 0; i < n; i++) {
		int64_t has = doc_int(active[i], "spec.replicas", 1),
			share = rollout_share(has, annotation_number(active[i], MAX_REPLICAS), most, to_add, added);

		added += share;
		/* what rounding left over goes to the first */
		if (i == n - 1 && added != to_add) {
			int64_t first = doc_int(active[0], "spec.replicas", 1) + (to_add - added);

			if (scale_set(r, &active[0], MAX(first, (int64_t)0), e) < 0)
				return -e->code;
		}
		if (scale_set(r, &active[i], MAX(has + share, (int64_t)0), e) < 0)
			return -e->code;
	}
	return 0;
}

/* ---- afterwards ------------------------------------------------------------------------------ */

/* Old sets without pods, the oldest first, until the history is short enough. */
static int clean_history(struct rollout *r, struct err *e)
{
	int64_t keep = doc_int(r->d, "spec.revisionHistoryLimit", 10), idle = (int64_t)r->n_old;

	for (size_t i = 0; i < r->n_old && idle > keep; i++, idle--) {
		struct doc *set = r->old[i];
		struct client_delete o = { .uid = doc_uid(set), .grace_s = -1 };

		if (doc_int(set, "status.replicas", 0) || doc_int(set, "spec.replicas", 1) || is_deleting(set) ||
			doc_int(set, "metadata.generation", 0) > doc_int(set, "status.observedGeneration", 0))
			continue;
		if (client_delete(r->c->client, res_replicasets, doc_ns(set), doc_name(set), o, e) < 0 &&
			e->code != ERR_NOT_FOUND)
			return err_wrap(e, "delete old ReplicaSet %.*s", STR_ARG(doc_name(set)));
		err_init(e);
	}
	return 0;
}

/* With the status: else the annotation would count as a generation. */
static int annotate_revision(struct rollout *r, struct err *e)
{
	struct val has = r->new_set ? val_get(doc_get(r->new_set, "metadata.annotations"), REVISION) : VAL_NONE;
	struct node *whole = node_from(r->a, doc_root(r->d));
	auto_(doc_unref) struct doc *body = NULL, *answer = NULL;

	if (!val_has(has) || str_eq(val_str(has), val_str(val_get(doc_get(r->d, "metadata.annotations"), REVISION))))
		return 0;
	node_setc(node_need_map(whole, "metadata.annotations"), REVISION, node_str(r->a, val_str(has)));
	body = node_publish(whole);
	if (client_update_sub(r->c->client, res_deployments, "status", body, &answer, e) < 0)
		return err_wrap(e, "write revision");
	doc_hold(r->a, doc_ref(answer));
	r->d = answer;
	return 0;
}

static int finish(struct rollout *r, struct err *e)
{
	int64_t next_ms = 0;
	struct node *status;

	if (annotate_revision(r, e) < 0)
		return -e->code;
	status = rollout_status(r, &next_ms);
	if (next_ms)
		ctl_add_after(r->c, r->key, next_ms);
	if (write_status(r->c, r->a, res_deployments, r->d, status, e) < 0)
		return -e->code;
	return rollout_complete(r, status) ? clean_history(r, e) : 0;
}

static void read_strategy(struct rollout *r)
{
	struct val rolling = doc_get(r->d, "spec.strategy.rollingUpdate");

	r->wanted = doc_int(r->d, "spec.replicas", 1);
	r->min_ready = doc_int(r->d, "spec.minReadySeconds", 0);
	r->paused = doc_bool(r->d, "spec.paused", false);
	r->rolling = !str_is(doc_str(r->d, "spec.strategy.type"), "Recreate");
	r->surge = r->unavailable = 0;
	if (!r->rolling)
		return;
	if (!int_or_percent(val_get(rolling, "maxSurge"), r->wanted, true, &r->surge))
		int_or_percent_text("25%", r->wanted, true, &r->surge);
	if (!int_or_percent(val_get(rolling, "maxUnavailable"), r->wanted, false, &r->unavailable))
		int_or_percent_text("25%", r->wanted, false, &r->unavailable);
	if (!r->surge && !r->unavailable)
		r->unavailable = 1; /* otherwise nothing could ever move */
	r->unavailable = MIN(r->unavailable, r->wanted);
}

/* The count changed since the sets were last written. */
static bool only_scaled(const struct rollout *r)
{
	for (size_t i = 0; i < r->all.n; i++)
		if (doc_int(r->all.items[i], "spec.replicas", 1) > 0 &&
			val_has(val_get(doc_get(r->all.items[i], "metadata.annotations"), DESIRED)) &&
			annotation_number(r->all.items[i], DESIRED) != r->wanted)
			return true;
	return false;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	struct rollout r = { .c = c, .a = a, .key = key };
	struct informer_list sets;
	int done;

	key_split(key, &ns, &name);
	r.d = informer_get(ctl_informer(c, res_deployments), ns, name);
	if (!r.d)
		return 0;
	doc_hold(a, r.d);
	if (!ctl_caught_up(c, key, ctl_informer(c, res_replicasets)))
		return 0;
	sets = claim(c, a, r.d, doc_get(r.d, "spec.selector"), res_replicasets, e);
	if (e->code)
		return -e->code;
	read_strategy(&r);
	sort_sets(a, r.d, sets, &r);
	if (is_deleting(r.d))
		return finish(&r, e);
	if (r.paused || only_scaled(&r))
		done = scale_in_proportion(&r, e);
	else
		done = r.rolling ? roll_over(&r, e) : recreate(&r, e);
	if (done < 0)
		return done;
	return finish(&r, e);
}

/* The end of a pod lets Recreate go on. */
static void key_of_pod(struct ctl *c, struct doc *before, struct doc *after)
{
	struct val ref = before && !after ? controller_ref(before) : VAL_NONE;
	auto_(doc_unref) struct doc *set = NULL;

	if (!val_is(val_get(ref, "kind"), "ReplicaSet"))
		return;
	set = informer_get(ctl_informer(c, res_replicasets), doc_ns(before), val_str(val_get(ref, "name")));
	if (set)
		key_controller(c, NULL, set);
}

const struct controller deployment_controller = {
	.name = "deployment-controller",
	.help = "keeps the ReplicaSets of a Deployment at its template and count",
	.handles = "apps/deployments",
	.watches = { { &res_deployments, key_self }, { &res_replicasets, key_controller }, { &res_pods, key_of_pod } },
	.reconcile = reconcile,
};

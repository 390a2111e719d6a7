/* daemonset: one pod on every node that its template's selector, affinity and tolerations allow.
 *
 *      node ── may run, has none ──► a pod bound to it by node affinity (the scheduler does the rest)
 *           ── may not go on ──► its pods go
 *      old template ──► at most maxUnavailable pods fewer, or maxSurge more, at any time
 *
 * Source of the semantics: the Kubernetes documentation, "DaemonSet". */
#include "controllers/history.h"

#define BURST 250
#define FIRST_WAIT_MS 1000 /* between two failed pods of a node that are taken away; doubled each time */
#define MOST_WAIT_MS (15 * 60 * 1000)
#define WAITS_MAX 1000

struct place { /* a node and what of the set is there; pods that go are not counted */
	struct doc *node;
	bool should_run, may_go_on;
	struct doc *new_pod, *old_pod; /* the one to keep of each template; NULL: none */
	bool new_available, old_available, going;
};
struct daemon {
	struct ctl *c;
	struct arena *a;
	struct doc *set;
	struct str key, hash;
	struct node *template; /* with the tolerations that every daemon has */
	struct doc *published; /* the same */
	struct revisions revisions;
	struct place *places;
	size_t n_places, created;
	struct informer_list pods;
	int64_t min_ready, next_ms;
};

/* ---- where ----------------------------------------------------------------------------------- */

static struct node *template_of(struct arena *a, struct doc *set)
{
	static const struct {
		const char *key, *effect;
		bool host_network;
	} always[] = {
		{ "node.kubernetes.io/not-ready", "NoExecute", false },
		{ "node.kubernetes.io/unreachable", "NoExecute", false },
		{ "node.kubernetes.io/disk-pressure", "NoSchedule", false },
		{ "node.kubernetes.io/memory-pressure", "NoSchedule", false },
		{ "node.kubernetes.io/pid-pressure", "NoSchedule", false },
		{ "node.kubernetes.io/unschedulable", "NoSchedule", false },
		{ "node.kubernetes.io/network-unavailable", "NoSchedule", true },
	};
	struct node *template = node_copy(a, node_from(a, doc_get(set, "spec.template"))),
		    *list = node_need_list(template, "spec.tolerations");

	for (size_t i = 0; i < ARRAY_LEN(always); i++)
		if (!always[i].host_network || doc_bool(set, "spec.template.spec.hostNetwork", false))
			node_add(list,
				node_pack(a, "{key:s, operator:'Exists', effect:s}", always[i].key, always[i].effect));
	return template;
}

static bool tolerated(struct val spec, struct val taint)
{
	for (struct val_iter it = val_iter(val_get(spec, "tolerations")); val_next(&it);)
		if (toleration_covers(it.val, val_str(val_get(taint, "key")), val_str(val_get(taint, "value")),
			    val_str(val_get(taint, "effect"))))
			return true;
	return false;
}

static void judge(struct val spec, struct place *p)
{
	struct str fixed = val_str(val_get(spec, "nodeName"));
	bool fits = (!fixed.n || str_eq(fixed, doc_name(p->node))) &&
		affinity_required_met(spec, doc_get(p->node, "metadata.labels"), doc_name(p->node));

	p->should_run = p->may_go_on = fits;
	for (struct val_iter it = val_iter(doc_get(p->node, "spec.taints")); val_next(&it);) {
		if (val_is(val_get(it.val, "effect"), "PreferNoSchedule") || tolerated(spec, it.val))
			continue;
		p->should_run = false;
		p->may_go_on &= !val_is(val_get(it.val, "effect"), "NoExecute");
	}
}

/* Where a pod is, or is meant to be. */
static struct str node_of(const struct doc *pod)
{
	struct val terms = doc_get(
		pod, "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
	struct str bound = doc_str(pod, "spec.nodeName");

	return bound.n ? bound :
			 val_str(val_at(val_get(val_at(val_get(val_at(terms, 0), "matchFields"), 0), "values"), 0));
}

static struct place *place_of(struct daemon *d, const struct doc *pod)
{
	struct str name = node_of(pod);

	for (size_t i = 0; i < d->n_places; i++)
		if (str_eq(doc_name(d->places[i].node), name))
			return &d->places[i];
	return NULL;
}

/* ---- what is there --------------------------------------------------------------------------- */

static bool is_available(struct daemon *d, struct doc *pod)
{
	int64_t wait_ms;
	bool ok = pod_available(pod, d->min_ready, &wait_ms);

	if (wait_ms)
		d->next_ms = d->next_ms ? MIN(d->next_ms, wait_ms) : wait_ms;
	return ok;
}

static bool is_new(const struct daemon *d, const struct doc *pod)
{
	return str_eq(val_str(val_get(doc_get(pod, "metadata.labels"), REVISION_LABEL)), d->hash);
}

static int remove_pod(struct daemon *d, struct doc *pod, struct err *e)
{
	return delete_pod(d->c, d->a, d->set, d->key, pod, e);
}

/* ---- pods that failed: a node that refuses them would otherwise see one a moment ------------- */

struct wait {
	struct mono since;
	int64_t ms;
};
struct failures {
	struct task_mutex lock;
	struct map *waits; /* "uid/generation/node" → struct wait */
};

static void *failures_new(struct ctl *c)
{
	struct failures *f = xcalloc(1, sizeof(*f));

	(void)c;
	task_mutex_init(&f->lock);
	f->waits = map_new(free);
	return f;
}

static void failures_free(void *p)
{
	struct failures *f = p;

	map_free(f->waits);
	task_mutex_fini(&f->lock);
	free(f);
}

static bool is_over(const struct wait *w)
{
	return mono_ms_between(w->since, mono_now()) > 2 * MOST_WAIT_MS;
}

static struct wait *wait_of(struct failures *f, struct str key)
{
	struct wait *w = map_get(f->waits, key);
	struct str old;
	void *value;

	if (w)
		return w;
	for (size_t i = 0; map_len(f->waits) >= WAITS_MAX && map_next(f->waits, &i, &old, &value);)
		if (is_over(value))
			map_del(f->waits, old);
	w = xcalloc(1, sizeof(*w));
	map_put(f->waits, key, w);
	return w;
}

/* 0: one may be taken away now, and the next has to wait longer. */
static int64_t wait_ms(struct daemon *d, struct place *p)
{
	struct failures *f = d->c->state;
	struct str key = arena_strf(d->a, "%.*s/%lld/%.*s", STR_ARG(doc_uid(d->set)),
		(long long)doc_int(d->set, "metadata.generation", 0), STR_ARG(doc_name(p->node)));
	struct wait *w;
	int64_t left;

	task_lock(&f->lock);
	w = wait_of(f, key);
	left = w->ms ? w->ms - mono_ms_between(w->since, mono_now()) : 0;
	if (left <= 0)
		*w = (struct wait){ mono_now(),
			w->ms && !is_over(w) ? MIN(2 * w->ms, (int64_t)MOST_WAIT_MS) : FIRST_WAIT_MS };
	task_unlock(&f->lock);
	return MAX(left, (int64_t)0);
}

static int retry_failed(struct daemon *d, struct place *p, struct doc *pod, struct err *e)
{
	int64_t left = wait_ms(d, p);

	p->going = true;
	if (left) {
		d->next_ms = d->next_ms ? MIN(d->next_ms, left) : left;
		return 0;
	}
	recorder_event(d->c->recorder, d->set, "Warning", "FailedDaemonPod",
		"Found failed daemon pod %.*s/%.*s on node %.*s, will try to kill it", STR_ARG(doc_ns(pod)),
		STR_ARG(doc_name(pod)), STR_ARG(doc_name(p->node)));
	return remove_pod(d, pod, e);
}

/* ---- one of each template a node ------------------------------------------------------------- */

/* Of two pods of one template on one node the older stays. */
static int take_in(struct daemon *d, struct place *p, struct doc *pod, struct err *e)
{
	struct doc **slot = is_new(d, pod) ? &p->new_pod : &p->old_pod, *surplus = NULL;

	if (is_deleting(pod)) {
		p->going = true;
		return 0;
	}
	if (pod_ended(pod))
		return retry_failed(d, p, pod, e);
	if (*slot) {
		bool younger = str_cmp(doc_str(*slot, "metadata.creationTimestamp"),
				       doc_str(pod, "metadata.creationTimestamp")) <= 0;

		surplus = younger ? pod : *slot;
	}
	if (surplus != pod)
		*slot = pod;
	return surplus ? remove_pod(d, surplus, e) : 0;
}

/* Its node went before it was bound: nobody else takes it away. */
static int forget(struct daemon *d, struct doc *pod, struct err *e)
{
	return is_deleting(pod) || doc_str(pod, "spec.nodeName").n ? 0 : remove_pod(d, pod, e);
}

static int look(struct daemon *d, struct err *e)
{
	struct informer_list nodes = informer_list(ctl_informer(d->c, res_nodes), d->a, NULL, STR_NULL);

	d->places = ARENA_ARRAY(d->a, struct place, nodes.n + 1);
	d->n_places = nodes.n;
	for (size_t i = 0; i < nodes.n; i++) {
		d->places[i].node = nodes.items[i];
		judge(doc_get(d->published, "spec"), &d->places[i]);
	}
	for (size_t i = 0; i < d->pods.n; i++) {
		struct place *p = place_of(d, d->pods.items[i]);

		if ((p ? take_in(d, p, d->pods.items[i], e) : forget(d, d->pods.items[i], e)) < 0)
			return -e->code;
	}
	for (size_t i = 0; i < d->n_places; i++) {
		struct place *p = &d->places[i];

		p->new_available = p->new_pod && is_available(d, p->new_pod);
		p->old_available = p->old_pod && is_available(d, p->old_pod);
	}
	return 0;
}

/* ---- writes ---------------------------------------------------------------------------------- */

static int create_on(struct daemon *d, struct place *p, struct err *e)
{
	struct node *template = node_copy(d->a, d->template), *labels = node_map(d->a);
	auto_(doc_unref) struct doc *published = NULL, *made = NULL;

	if (d->created >= BURST) {
		d->next_ms = 1;
		return 0;
	}
	node_setc(node_need_map(template, "spec.affinity.nodeAffinity"),
		"requiredDuringSchedulingIgnoredDuringExecution",
		node_pack(d->a,
			"{nodeSelectorTerms:[{matchFields:[{key:'metadata.name', operator:'In', values:[S]}]}]}",
			doc_name(p->node)));
	node_setc(labels, REVISION_LABEL, node_str(d->a, d->hash));
	published = node_publish(template);
	if (create_pod(d->c, d->a, d->set, doc_root(published), labels, NULL, &made, e) < 0)
		return -e->code;
	ctl_wrote(d->c, d->key, made);
	d->created++;
	return 0;
}

static int remove_both(struct daemon *d, struct place *p, struct err *e)
{
	if (p->new_pod && remove_pod(d, p->new_pod, e) < 0)
		return -e->code;
	return p->old_pod ? remove_pod(d, p->old_pod, e) : 0;
}

static int fill(struct daemon *d, struct err *e)
{
	for (size_t i = 0; i < d->n_places; i++) {
		struct place *p = &d->places[i];
		int rc = 0;

		if (!p->may_go_on)
			rc = remove_both(d, p, e);
		else if (p->should_run && !p->new_pod && !p->old_pod && !p->going)
			rc = create_on(d, p, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Without surge: old pods that serve nobody go at once, others as far as maxUnavailable allows. */
static int replace(struct daemon *d, int64_t may_miss, struct err *e)
{
	for (size_t i = 0; i < d->n_places; i++) {
		struct place *p = &d->places[i];

		may_miss -= p->should_run && !p->new_available && !(p->old_available && !p->new_pod);
	}
	for (size_t i = 0; i < d->n_places; i++) {
		struct place *p = &d->places[i];

		if (!p->should_run || !p->old_pod)
			continue;
		if (p->new_pod || !p->old_available || may_miss > 0) {
			may_miss -= p->old_available && !p->new_pod;
			if (remove_pod(d, p->old_pod, e) < 0)
				return -e->code;
		}
	}
	return 0;
}

/* With surge: the new pod comes first, the old one goes when it serves. */
static int overlap(struct daemon *d, int64_t may_add, struct err *e)
{
	for (size_t i = 0; i < d->n_places; i++)
		may_add -= d->places[i].old_pod && d->places[i].new_pod;
	for (size_t i = 0; i < d->n_places; i++) {
		struct place *p = &d->places[i];
		int rc = 0;

		if (!p->should_run || !p->old_pod)
			continue;
		if (p->new_available)
			rc = remove_pod(d, p->old_pod, e);
		else if (!p->new_pod && (!p->old_available || may_add-- > 0))
			rc = create_on(d, p, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int roll(struct daemon *d, struct err *e)
{
	struct val rolling = doc_get(d->set, "spec.updateStrategy.rollingUpdate");
	int64_t wanted = 0, surge = 0, unavailable = 1;

	if (str_is(doc_str(d->set, "spec.updateStrategy.type"), "OnDelete"))
		return 0;
	for (size_t i = 0; i < d->n_places; i++)
		wanted += d->places[i].should_run;
	int_or_percent(val_get(rolling, "maxSurge"), wanted, true, &surge);
	if (surge)
		return overlap(d, surge, e);
	int_or_percent(val_get(rolling, "maxUnavailable"), wanted, true, &unavailable);
	return replace(d, MAX(unavailable, (int64_t)1), e);
}

/* ---- status ---------------------------------------------------------------------------------- */

static int finish(struct daemon *d, struct err *e)
{
	int64_t desired = 0, current = 0, misplaced = 0, ready = 0, updated = 0, available = 0;
	struct node *status;

	for (size_t i = 0; i < d->n_places; i++) {
		struct place *p = &d->places[i];
		struct doc *best = p->new_pod && (p->new_available || !p->old_available) ? p->new_pod : p->old_pod;

		desired += p->should_run;
		misplaced += !p->should_run && best;
		if (!p->should_run || !best)
			continue;
		current++;
		ready += pod_ready(best);
		updated += best == p->new_pod;
		available += best == p->new_pod ? p->new_available : p->old_available;
	}
	status = node_pack(d->a,
		"{currentNumberScheduled:I, desiredNumberScheduled:I, numberMisscheduled:I, numberReady:I, observedGeneration:I}",
		current, desired, misplaced, ready, doc_int(d->set, "metadata.generation", 0));
	if (updated)
		node_setc(status, "updatedNumberScheduled", node_int(d->a, updated));
	if (available)
		node_setc(status, "numberAvailable", node_int(d->a, available));
	if (desired - available > 0)
		node_setc(status, "numberUnavailable", node_int(d->a, desired - available));
	if (d->revisions.collisions)
		node_setc(status, "collisionCount", node_int(d->a, d->revisions.collisions));
	if (val_has(doc_get(d->set, "status.conditions")))
		node_setc(status, "conditions", node_from(d->a, doc_get(d->set, "status.conditions")));
	return write_status(d->c, d->a, res_daemonsets, d->set, status, e);
}

static bool is_live(void *arg, struct doc *revision)
{
	struct daemon *d = arg;
	struct str hash = val_str(val_get(doc_get(revision, "metadata.labels"), REVISION_LABEL));

	for (size_t i = 0; i < d->pods.n; i++)
		if (str_eq(val_str(val_get(doc_get(d->pods.items[i], "metadata.labels"), REVISION_LABEL)), hash))
			return true;
	return false;
}

static int act(struct daemon *d, struct err *e)
{
	if (look(d, e) < 0)
		return -e->code;
	if (fill(d, e) < 0)
		return -e->code;
	return roll(d, e);
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	struct daemon d = { .c = c, .a = a, .key = key };
	struct err failed;

	key_split(key, &ns, &name);
	d.set = informer_get(ctl_informer(c, res_daemonsets), ns, name);
	if (!d.set)
		return 0;
	doc_hold(a, d.set);
	if (!ctl_caught_up(c, key, ctl_informer(c, res_pods)))
		return 0;
	d.pods = claim(c, a, d.set, doc_get(d.set, "spec.selector"), res_pods, e);
	if (!e->code && is_deleting(d.set)) /* its history may be gone already, and must not be made again */
		return 0;
	if (e->code || revisions_sync(c, a, d.set, &d.revisions, e) < 0)
		return -e->code;
	d.hash = val_str(val_get(doc_get(d.revisions.update, "metadata.labels"), REVISION_LABEL));
	d.min_ready = doc_int(d.set, "spec.minReadySeconds", 0);
	d.template = template_of(a, d.set);
	d.published = node_publish(d.template);
	doc_hold(a, d.published);
	err_init(&failed);
	act(&d, &failed);
	if (finish(&d, e) < 0 || revisions_trim(c, d.set, &d.revisions, is_live, &d, e) < 0)
		return -e->code;
	if (d.next_ms)
		ctl_add_after(c, key, d.next_ms);
	if (!failed.code || namespace_ends(&failed))
		return 0;
	err_copy(e, &failed);
	return -failed.code;
}

/* A node that comes, goes, or changes what decides where daemons run. */
static void key_node(struct ctl *c, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = NULL;
	struct informer_list all;

	if (before && after && val_equal(doc_get(before, "metadata.labels"), doc_get(after, "metadata.labels")) &&
		val_equal(doc_get(before, "spec.taints"), doc_get(after, "spec.taints")))
		return;
	a = arena_new();
	all = informer_list(ctl_informer(c, res_daemonsets), a, NULL, STR_NULL);
	for (size_t i = 0; i < all.n; i++)
		ctl_add_doc(c, all.items[i]);
}

const struct controller daemonset_controller = {
	.name = "daemon-set-controller",
	.help = "keeps a pod on every node that may run it",
	.handles = "apps/daemonsets",
	.watches = { { &res_daemonsets, key_self }, { &res_pods, key_claimed },
		{ &res_controllerrevisions, key_claimed }, { &res_nodes, key_node } },
	.reconcile = reconcile,
	.state_new = failures_new,
	.state_free = failures_free,
};

/* The task that decides. Informers and writers send it messages; it owns the snapshot and the pending pods alone. */
#include "base/log.h"
#include "scheduler/scheduler_internal.h"
#include "scheduler/writers.h"

#include <stdio.h>

#define LOG_MODULE "scheduler"
#define SYNC_STEP_MS 500
#define BEHIND_MS 1 /* a pause for the writers */
#define NO_WAIT ((struct mono){ 0 })

struct message {
	struct message *next;
	enum { ABOUT_POD, ABOUT_NODE, ABOUT_NAMESPACE, ABOUT_CLAIM, ABOUT_VOLUME, ABOUT_CLASS, NOT_BOUND } about;
	struct doc *before, *after; /* refs */
	char *uid;                  /* NOT_BOUND */
};
struct counters { /* atomic; nanoseconds */
	int64_t scheduled, unschedulable, failed, spent_ns;
	int64_t pending[PENDING_STATES];
};
struct scheduler {
	struct client *client;
	char *name;
	struct informer *pods, *nodes, *namespaces, *claims, *volumes, *classes;
	struct writers *writers;
	struct task *task;
	struct counters counters;

	struct task_mutex lock;
	struct task_cond news;
	struct message *first, **last;
	bool stopping;

	/* The task's own. */
	struct snapshot snapshot;
	struct waiting waiting;
};

/* ---- messages -------------------------------------------------------------------------------- */

static void send(struct scheduler *s, struct message m)
{
	struct message *copy = xmalloc(sizeof(m));

	*copy = m;
	task_lock(&s->lock);
	*s->last = copy;
	s->last = &copy->next;
	task_signal(&s->news);
	task_unlock(&s->lock);
}

static struct doc *ref(struct doc *d)
{
	return d ? doc_ref(d) : NULL;
}

static void on_pod(void *arg, struct doc *before, struct doc *after)
{
	send(arg, (struct message){ .about = ABOUT_POD, .before = ref(before), .after = ref(after) });
}

static void on_node(void *arg, struct doc *before, struct doc *after)
{
	send(arg, (struct message){ .about = ABOUT_NODE, .before = ref(before), .after = ref(after) });
}

static void on_namespace(void *arg, struct doc *before, struct doc *after)
{
	send(arg, (struct message){ .about = ABOUT_NAMESPACE, .before = ref(before), .after = ref(after) });
}

static void on_claim(void *arg, struct doc *before, struct doc *after)
{
	send(arg, (struct message){ .about = ABOUT_CLAIM, .before = ref(before), .after = ref(after) });
}

static void on_volume(void *arg, struct doc *before, struct doc *after)
{
	send(arg, (struct message){ .about = ABOUT_VOLUME, .before = ref(before), .after = ref(after) });
}

static void on_class(void *arg, struct doc *before, struct doc *after)
{
	send(arg, (struct message){ .about = ABOUT_CLASS, .before = ref(before), .after = ref(after) });
}

static void on_not_bound(void *arg, struct str uid)
{
	send(arg, (struct message){ .about = NOT_BOUND, .uid = str_dup(uid) });
}

static void message_free(struct message *m)
{
	doc_unref(m->before);
	doc_unref(m->after);
	free(m->uid);
	free(m);
}

/* ---- what messages change -------------------------------------------------------------------- */

static bool differ(const struct doc *a, const struct doc *b, const char *path)
{
	return !val_equal(doc_get(a, path), doc_get(b, path));
}

static bool has_node(const struct doc *pod)
{
	return pod && doc_str(pod, "spec.nodeName").n && !pod_is_ended(pod);
}

static bool is_ours(const struct scheduler *s, const struct doc *pod)
{
	struct str name = doc_str(pod, "spec.schedulerName");

	return str_is(name.n ? name : STR("default-scheduler"), s->name);
}

static unsigned pod_happenings(const struct doc *before, const struct doc *after)
{
	bool was = has_node(before), is = has_node(after);
	unsigned what = 0;

	if (was != is)
		return was ? POD_GONE : POD_PLACED;
	if (!is)
		return 0;
	if (differ(before, after, "metadata.labels") || pod_is_deleting(before) != pod_is_deleting(after))
		what |= POD_LABELS;
	if (differ(before, after, "spec"))
		what |= POD_GONE; /* it may need less now */
	return what;
}

static void pod_changed(struct scheduler *s, struct doc *before, struct doc *after)
{
	struct str uid = doc_uid(after ? after : before);
	unsigned what = pod_happenings(before, after);

	if (has_node(after)) {
		waiting_forget(&s->waiting, uid);
		snapshot_pod(&s->snapshot, after, doc_str(after, "spec.nodeName"));
	} else if (!after || pod_is_ended(after) || pod_is_deleting(after) || doc_str(after, "spec.nodeName").n) {
		const struct pod_info *known = snapshot_find_pod(&s->snapshot, uid);

		waiting_forget(&s->waiting, uid);
		if (known && known->assumed)
			what |= POD_GONE;
		snapshot_forget_pod(&s->snapshot, uid);
	} else if (is_ours(s, after)) {
		waiting_put(&s->waiting, after);
	}
	if (what)
		waiting_happened(&s->waiting, what, mono_now());
}

static void node_changed(struct scheduler *s, struct doc *before, struct doc *after)
{
	unsigned what = before ? 0 : NODE_ADDED;

	snapshot_node(&s->snapshot, doc_name(after ? after : before), after);
	if (before && after) {
		what |= differ(before, after, "metadata.labels") ? NODE_LABELS : 0;
		what |= differ(before, after, "spec") ? NODE_TAINTS : 0;
		what |= differ(before, after, "status.allocatable") ? NODE_ROOM : 0;
	}
	if (what)
		waiting_happened(&s->waiting, what, mono_now());
}

static void namespace_changed(struct scheduler *s, struct doc *before, struct doc *after)
{
	snapshot_namespace(&s->snapshot, doc_name(after ? after : before), after);
	if (after && (!before || differ(before, after, "metadata.labels")))
		waiting_happened(&s->waiting, POD_LABELS, mono_now());
}

static void storage_changed(struct scheduler *s, struct map *m, struct doc *before, struct doc *after)
{
	struct doc *d = after ? after : before;
	char room[600];
	int n = snprintf(
		room, sizeof(room), "%.*s%s%.*s", STR_ARG(doc_ns(d)), doc_ns(d).n ? "/" : "", STR_ARG(doc_name(d)));

	snapshot_doc(m, str_n(room, MIN((size_t)n, sizeof(room) - 1)), after);
	waiting_happened(&s->waiting, VOLUMES, mono_now());
}

static void not_bound(struct scheduler *s, struct str uid)
{
	struct pod_info *known = snapshot_find_pod(&s->snapshot, uid);
	struct pending *p = waiting_find(&s->waiting, uid);

	__atomic_add_fetch(&s->counters.failed, 1, __ATOMIC_RELAXED);
	if (known && known->assumed) {
		snapshot_forget_pod(&s->snapshot, uid);
		waiting_happened(&s->waiting, POD_GONE, mono_now());
	}
	if (p && (p->state == PENDING_OUT || (p->state == PENDING_PARKED && p->for_volumes)))
		waiting_retry(&s->waiting, p, mono_now());
}

static void apply(struct scheduler *s, struct message *m)
{
	switch (m->about) {
	case ABOUT_POD:
		pod_changed(s, m->before, m->after);
		break;
	case ABOUT_NODE:
		node_changed(s, m->before, m->after);
		break;
	case ABOUT_NAMESPACE:
		namespace_changed(s, m->before, m->after);
		break;
	case ABOUT_CLAIM:
		storage_changed(s, s->snapshot.claims, m->before, m->after);
		break;
	case ABOUT_VOLUME:
		storage_changed(s, s->snapshot.volumes, m->before, m->after);
		break;
	case ABOUT_CLASS:
		storage_changed(s, s->snapshot.classes, m->before, m->after);
		break;
	case NOT_BOUND:
		not_bound(s, str_c(m->uid));
		break;
	}
}

static void apply_all(struct scheduler *s, struct message *m)
{
	for (struct message *next; m; m = next) {
		next = m->next;
		apply(s, m);
		message_free(m);
	}
}

/* ---- one pod --------------------------------------------------------------------------------- */

struct guests { /* pods that room is being made for: they count where they will be */
	struct pod_info **v;
	size_t n;
};

static struct guests invite(struct scheduler *s, struct arena *a, const struct pending *but)
{
	struct guests g = { 0 };
	void *value;

	if (!s->waiting.nominated)
		return g;
	g.v = ARENA_ARRAY(a, struct pod_info *, s->waiting.nominated);
	for (size_t i = 0; map_next(s->waiting.by_uid, &i, NULL, &value);) {
		struct pending *p = value;
		struct node_info *n = p->nominated ? map_get(s->snapshot.nodes, str_c(p->nominated)) : NULL;

		if (p == but || !n || p->priority < but->priority || snapshot_find_pod(&s->snapshot, doc_uid(p->pod)))
			continue;
		g.v[g.n] = pod_info_new(p->pod);
		node_put(&s->snapshot, n, g.v[g.n++]);
	}
	return g;
}

static void see_off(struct scheduler *s, struct guests g)
{
	for (size_t i = 0; i < g.n; i++) {
		node_take(&s->snapshot, g.v[i]);
		pod_info_free(g.v[i]);
	}
}

static struct node_info *choose(struct scheduler *s, struct cycle *c, struct pending *p)
{
	struct guests g = invite(s, c->a, p);
	struct node_info *n = p->nominated ? map_get(s->snapshot.nodes, str_c(p->nominated)) : NULL;

	cycle_begin(c, &s->snapshot, c->a, c->pod);
	c->quiet = true; /* the node that room was made on, before all others */
	if (!n || !n->doc || cycle_filter(c, n) != FITS) {
		c->quiet = false;
		c->failed = 0;
		n = cycle_choose(c);
	}
	see_off(s, g);
	return n;
}

struct docs {
	struct arena *a;
	struct doc **v;
	size_t n, cap;
};

static void add_doc(void *arg, struct doc *take)
{
	struct docs *l = arg;

	arena_hold(l->a, take, doc_end);
	ARENA_GROW(l->a, l->v, l->n, l->cap, 8);
	l->v[l->n++] = take;
}

/* Budgets are asked for when somebody is to be pushed out: seldom enough to keep no informer. */
static struct preemption make_room(struct scheduler *s, struct cycle *c)
{
	struct docs budgets = { .a = c->a };
	char revision[24];
	struct err e;

	if (!s->snapshot.n)
		return (struct preemption){ .why_not = "" };
	if (str_is(doc_str(c->pod->doc, "spec.preemptionPolicy"), "Never"))
		return (struct preemption){ .why_not = "not eligible due to preemptionPolicy=Never." };
	if (!may_preempt(c))
		return (struct preemption){ .why_not = "not eligible due to terminating pod on the nominated node." };
	err_init(&e);
	if (c->pod->priority > 0 &&
		client_list(s->client, &(struct client_request){ .res = res_poddisruptionbudgets }, add_doc, &budgets,
			revision, &e) < 0)
		log_debug("disruption budgets: %s", e.message);
	return preempt(c, &(struct informer_list){ budgets.v, budgets.n });
}

static void no_node(struct scheduler *s, struct cycle *c, struct pending *p)
{
	const char *message = cycle_message(c);
	struct preemption way = make_room(s, c);

	__atomic_add_fetch(&s->counters.unschedulable, 1, __ATOMIC_RELAXED);
	if (p->for_volumes) { /* where they were to be bound is no good any more */
		waiting_nominate(&s->waiting, p, STR_NULL);
		p->for_volumes = false;
	}
	if (way.node)
		waiting_nominate(&s->waiting, p, way.node->name);
	else if (*way.why_not)
		message = arena_printf(c->a, "%s preemption: %s", message, way.why_not);
	writers_report(s->writers, p->pod, message, way.node ? way.node->name : STR_NULL, way.victims, way.n_victims);
	waiting_park(&s->waiting, p, c->failed, mono_now());
}

/* The pod keeps its place on the node, as one that room is being made for, and is looked at again when a claim
 * changes. */
static void wait_for_volumes(
	struct scheduler *s, struct pending *p, struct node_info *n, const struct volume_plan *plan)
{
	waiting_nominate(&s->waiting, p, n->name);
	p->for_volumes = true;
	writers_volumes(s->writers, p->pod, n->name, plan);
	waiting_park(&s->waiting, p, plan->plugin, mono_now());
}

static void schedule(struct scheduler *s, struct pending *p, struct arena *a)
{
	auto_(pod_info_free) struct pod_info *pod = pod_info_new(p->pod);
	struct cycle c = { .a = a, .pod = pod };
	struct mono began = mono_now();
	struct node_info *n = choose(s, &c, p);
	struct volume_plan plan = { 0 };

	if (n)
		plan = volumes_plan(&c, n);
	if (plan.waits) {
		wait_for_volumes(s, p, n, &plan);
	} else if (n) {
		snapshot_assume(&s->snapshot, TAKE(pod), n);
		writers_bind(s->writers, p->pod, n->name);
		__atomic_add_fetch(&s->counters.scheduled, 1, __ATOMIC_RELAXED);
	} else {
		no_node(s, &c, p);
	}
	__atomic_add_fetch(&s->counters.spent_ns, mono_now().ns - began.ns, __ATOMIC_RELAXED);
}

/* ---- the task -------------------------------------------------------------------------------- */

static void publish_counts(struct scheduler *s)
{
	const struct waiting *w = &s->waiting;
	const int64_t counts[PENDING_STATES] = { [PENDING_ACTIVE] = (int64_t)w->active.n,
		[PENDING_BACKOFF] = (int64_t)w->backoff.n,
		[PENDING_PARKED] = (int64_t)w->parked.n,
		[PENDING_GATED] = (int64_t)w->gated };

	for (size_t i = 0; i < PENDING_STATES; i++)
		__atomic_store_n(&s->counters.pending[i], counts[i], __ATOMIC_RELAXED);
}

/* Applies what has arrived; when there is nothing, waits until then. false: stopped. */
static bool catch_up(struct scheduler *s, struct mono until)
{
	struct message *news;
	bool go_on, in_time = true;

	task_lock(&s->lock);
	while (until.ns && !s->first && !s->stopping && in_time)
		in_time = task_wait_until(&s->news, &s->lock, until);
	news = TAKE(s->first);
	s->last = &s->first;
	go_on = !s->stopping;
	task_unlock(&s->lock);
	apply_all(s, news);
	return go_on;
}

static bool wait_synced(struct scheduler *s)
{
	struct informer *all[] = { s->namespaces, s->nodes, s->classes, s->volumes, s->claims, s->pods };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		while (!informer_wait_synced(all[i], SYNC_STEP_MS))
			if (!catch_up(s, NO_WAIT))
				return false;
	return true;
}

static void run(void *arg)
{
	struct scheduler *s = arg;
	auto_(arena_free) struct arena *a = arena_new();
	struct mono until = NO_WAIT;

	if (!wait_synced(s))
		return;
	while (catch_up(s, until)) {
		bool behind = writers_behind(s->writers);
		struct pending *p = behind ? NULL : waiting_pop(&s->waiting, mono_now());

		if (p)
			schedule(s, p, a);
		else
			publish_counts(s);
		until = p ? NO_WAIT : behind ? mono_add_ms(mono_now(), BEHIND_MS) : waiting_next(&s->waiting);
		arena_reset(a);
	}
}

/* ---- life ------------------------------------------------------------------------------------ */

struct scheduler *scheduler_new(const struct scheduler_opts *o)
{
	struct scheduler *s = xcalloc(1, sizeof(*s));

	s->client = o->client;
	s->name = xstrdup(o->name ? o->name : "default-scheduler");
	task_mutex_init(&s->lock);
	task_cond_init(&s->news);
	s->last = &s->first;
	snapshot_init(&s->snapshot);
	waiting_init(&s->waiting);
	s->writers = writers_new(s->client, s->name, o->host, on_not_bound, s);
	s->pods = informers_need(o->informers, res_pods);
	s->nodes = informers_need(o->informers, res_nodes);
	s->namespaces = informers_need(o->informers, res_namespaces);
	s->claims = informers_need(o->informers, res_persistentvolumeclaims);
	s->volumes = informers_need(o->informers, res_persistentvolumes);
	s->classes = informers_need(o->informers, res_storageclasses);
	informer_on(s->claims, on_claim, s);
	informer_on(s->volumes, on_volume, s);
	informer_on(s->classes, on_class, s);
	informer_on(s->pods, on_pod, s);
	informer_on(s->nodes, on_node, s);
	informer_on(s->namespaces, on_namespace, s);
	return s;
}

void scheduler_start(struct scheduler *s)
{
	if (!s->task)
		s->task = task_spawn("scheduler", run, s);
}

void scheduler_stop(struct scheduler *s)
{
	task_lock(&s->lock);
	s->stopping = true;
	task_signal(&s->news);
	task_unlock(&s->lock);
	s->task = task_join(s->task);
	writers_stop(s->writers);
}

struct scheduler *scheduler_free(struct scheduler *s)
{
	if (!s)
		return NULL;
	scheduler_stop(s);
	writers_free(s->writers);
	for (struct message *m = s->first, *next; m; m = next) {
		next = m->next;
		message_free(m);
	}
	waiting_fini(&s->waiting);
	snapshot_fini(&s->snapshot);
	task_cond_fini(&s->news);
	task_mutex_fini(&s->lock);
	free(s->name);
	free(s);
	return NULL;
}

void scheduler_metrics(struct scheduler *s, struct buf *out)
{
	static const char *const queues[PENDING_STATES] = { "active", "backoff", "unschedulable", "gated", NULL };
	const struct {
		const char *result;
		const int64_t *n;
	} results[] = { { "scheduled", &s->counters.scheduled }, { "unschedulable", &s->counters.unschedulable },
		{ "error", &s->counters.failed } };
	int64_t all = 0;

	buf_c(out,
		"# HELP scheduler_schedule_attempts_total Decisions about pods, by result.\n# TYPE scheduler_schedule_attempts_total counter\n");
	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		int64_t n = __atomic_load_n(results[i].n, __ATOMIC_RELAXED);

		all += i < 2 ? n : 0;
		buf_printf(out, "scheduler_schedule_attempts_total{profile=\"%s\",result=\"%s\"} %lld\n", s->name,
			results[i].result, (long long)n);
	}
	buf_c(out,
		"# HELP scheduler_pending_pods Pods without a node, by what they wait for.\n# TYPE scheduler_pending_pods gauge\n");
	for (size_t i = 0; i < PENDING_STATES && queues[i]; i++)
		buf_printf(out, "scheduler_pending_pods{queue=\"%s\"} %lld\n", queues[i],
			(long long)__atomic_load_n(&s->counters.pending[i], __ATOMIC_RELAXED));
	buf_c(out,
		"# HELP scheduler_scheduling_algorithm_duration_seconds Time that decisions took.\n"
		"# TYPE scheduler_scheduling_algorithm_duration_seconds summary\n");
	buf_printf(out,
		"scheduler_scheduling_algorithm_duration_seconds_sum %.6f\nscheduler_scheduling_algorithm_duration_seconds_count %lld\n",
		(double)__atomic_load_n(&s->counters.spent_ns, __ATOMIC_RELAXED) / 1e9, (long long)all);
}

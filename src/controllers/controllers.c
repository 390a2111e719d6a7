/* The inventory, and the queue and workers that all controllers share. */
#include "controllers/controllers_internal.h"

#include <stdio.h>

#define LOG_MODULE "controllers"
#define WORKERS 4
#define KEY_SEPARATOR '|' /* in the shared queue: "number|key" */
#define SYNC_MS 60000

extern const struct controller deployment_controller, replicaset_controller, endpoints_controller,
	endpointslice_controller, namespace_controller, serviceaccount_controller, root_ca_controller,
	garbage_collector, node_lifecycle_controller, pod_gc_controller, event_ttl_controller, token_controller,
	replicationcontroller_controller, statefulset_controller, daemonset_controller, job_controller, ttl_controller,
	resourcequota_controller, cronjob_controller, volume_binder_controller, pvc_protection_controller,
	pv_protection_controller, disruption_controller, autoscale_controller, local_path_controller,
	ephemeral_volume_controller, certificate_controller, token_cleaner_controller, load_balancer_controller,
	role_aggregation_controller;

static const struct controller *const inventory[] = {
	&deployment_controller,
	&replicaset_controller,
	&endpoints_controller,
	&endpointslice_controller,
	&namespace_controller,
	&serviceaccount_controller,
	&root_ca_controller,
	&garbage_collector,
	&node_lifecycle_controller,
	&pod_gc_controller,
	&event_ttl_controller,
	&token_controller,
	&replicationcontroller_controller,
	&statefulset_controller,
	&daemonset_controller,
	&job_controller,
	&ttl_controller,
	&resourcequota_controller,
	&cronjob_controller,
	&volume_binder_controller,
	&pvc_protection_controller,
	&pv_protection_controller,
	&disruption_controller,
	&autoscale_controller,
	&local_path_controller,
	&ephemeral_volume_controller,
	&certificate_controller,
	&token_cleaner_controller,
	&load_balancer_controller,
	&role_aggregation_controller,
};

#define WATCHES_MAX ARRAY_LEN(((struct controller *)0)->watches)

struct subscription {
	struct ctl *c;
	void (*keys)(struct ctl *c, struct doc *before, struct doc *after);
};
struct controllers {
	struct controllers_opts opts;
	struct ctl ctls[ARRAY_LEN(inventory)];
	struct subscription subscriptions[ARRAY_LEN(inventory)][WATCHES_MAX];
	struct queue *queue;
	struct task *workers[16], *starter, *ticker;
	int n_workers;
	struct stop *stop;
};

static bool among(const char *const *names, const char *name)
{
	for (size_t i = 0; names && names[i]; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

const char *controllers_handles(size_t i, const char *const *hold_off)
{
	size_t n = 0;

	for (size_t at = 0; at < ARRAY_LEN(inventory); at++)
		if (inventory[at]->handles && !among(hold_off, inventory[at]->name) && n++ == i)
			return inventory[at]->handles;
	return NULL;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static struct str shared_key(struct ctl *c, struct str key, char *room, size_t max)
{
	int n = snprintf(room, max, "%zu%c%.*s", (size_t)(c - c->all->ctls), KEY_SEPARATOR, STR_ARG(key));

	return str_n(room, MIN((size_t)n, max - 1));
}

void ctl_add(struct ctl *c, struct str key)
{
	char room[640];

	queue_add(c->all->queue, shared_key(c, key, room, sizeof(room)));
}

void ctl_add_after(struct ctl *c, struct str key, int64_t ms)
{
	char room[640];

	queue_add_after(c->all->queue, shared_key(c, key, room, sizeof(room)), ms);
}

void ctl_add_doc(struct ctl *c, const struct doc *d)
{
	char room[KEY_ROOM];

	ctl_add(c, key_join(room, doc_ns(d), doc_name(d)));
}

struct str key_of(struct arena *a, const struct doc *d)
{
	struct str ns = doc_ns(d);

	return arena_strf(a, "%.*s%s%.*s", STR_ARG(ns), ns.n ? "/" : "", STR_ARG(doc_name(d)));
}

struct str key_join(char room[KEY_ROOM], struct str ns, struct str name)
{
	int n = snprintf(room, KEY_ROOM, "%.*s%s%.*s", STR_ARG(ns), ns.n ? "/" : "", STR_ARG(name));

	return str_n(room, MIN((size_t)n, (size_t)KEY_ROOM - 1));
}

void key_split(struct str key, struct str *ns, struct str *name)
{
	struct str head, rest = str_cut(key, '/', &head);

	*ns = rest.p ? head : STR_NULL;
	*name = rest.p ? rest : head;
}

void key_self(struct ctl *c, struct doc *before, struct doc *after)
{
	ctl_add_doc(c, after ? after : before);
}

static void add_controller_of(struct ctl *c, struct doc *d)
{
	struct val ref = d ? controller_ref(d) : VAL_NONE;
	char room[KEY_ROOM];

	if (val_has(ref))
		ctl_add(c, key_join(room, doc_ns(d), val_str(val_get(ref, "name"))));
}

void key_controller(struct ctl *c, struct doc *before, struct doc *after)
{
	add_controller_of(c, after);
	if (before &&
		(!after ||
			!val_equal(doc_get(before, "metadata.ownerReferences"),
				doc_get(after, "metadata.ownerReferences"))))
		add_controller_of(c, before);
}

struct informer *ctl_informer(struct ctl *c, struct gvr r)
{
	return informers_need(c->opts->informers, r);
}

/* ---- own writes ------------------------------------------------------------------------------ */

void ctl_wrote(struct ctl *c, struct str key, const struct doc *answer)
{
	int64_t *revision;

	if (!answer || !doc_revision(answer))
		return;
	task_lock(&c->lock);
	revision = map_get(c->wrote, key);
	if (!revision) {
		revision = xcalloc(1, sizeof(*revision));
		map_put(c->wrote, key, revision);
	}
	*revision = MAX(*revision, doc_revision(answer));
	task_unlock(&c->lock);
}

bool ctl_caught_up(struct ctl *c, struct str key, struct informer *i)
{
	int64_t *revision;
	bool there;

	task_lock(&c->lock);
	revision = map_get(c->wrote, key);
	there = !revision || informer_revision(i) >= *revision;
	if (there)
		map_del(c->wrote, key);
	task_unlock(&c->lock);
	if (!there)
		ctl_add_after(c, key, 5);
	return there;
}

/* ---- workers --------------------------------------------------------------------------------- */

static void tell_working(struct ctl *c, const char *name)
{
	if (c->opts->working)
		c->opts->working(c->opts->working_arg, name);
}

static void work_on(struct controllers *all, struct ctl *c, struct str shared, struct str key, struct arena *a)
{
	struct err e;

	int r;

	err_init(&e);
	__atomic_add_fetch(&c->runs, 1, __ATOMIC_RELAXED);
	tell_working(c, c->def->name);
	r = c->def->reconcile(c, a, key, &e);
	tell_working(c, NULL);
	if (r >= 0) {
		queue_forget(all->queue, shared);
		return;
	}
	__atomic_add_fetch(&c->failures, 1, __ATOMIC_RELAXED);
	queue_retry(all->queue, shared);
	/* a conflict only means that somebody was faster */
	if (e.code == ERR_CONFLICT || e.code == ERR_CANCELED)
		log_debug("%s %.*s: %s", c->def->name, STR_ARG(key), e.message);
	else
		log_warn("%s %.*s: %s; try %d", c->def->name, STR_ARG(key), e.message,
			queue_failures(all->queue, shared));
}

static void worker(void *arg)
{
	struct controllers *all = arg;
	auto_(arena_free) struct arena *a = arena_new();
	char *shared;

	while (queue_pop(all->queue, &shared)) {
		struct str number, key = str_cut(str_c(shared), KEY_SEPARATOR, &number);
		uint64_t n;

		if (str_u64(number, &n) && n < ARRAY_LEN(inventory))
			work_on(all, &all->ctls[n], str_c(shared), key, a);
		queue_done(all->queue, str_c(shared));
		free(shared);
		arena_reset(a);
	}
}

/* Periodic controllers: the shortest period ticks, each is added when its own has passed. */
static void tick(void *arg)
{
	struct controllers *all = arg;
	struct mono due[ARRAY_LEN(inventory)];

	for (size_t i = 0; i < ARRAY_LEN(inventory); i++)
		due[i] = mono_now();
	for (;;) {
		struct mono now = mono_now(), next = mono_add_ms(now, 600000);

		for (size_t i = 0; i < ARRAY_LEN(inventory); i++) {
			if (!inventory[i]->every_ms || !all->ctls[i].client)
				continue;
			if (!mono_before(now, due[i])) {
				ctl_add(&all->ctls[i], STR(""));
				due[i] = mono_add_ms(now, inventory[i]->every_ms);
			}
			next.ns = MIN(next.ns, due[i].ns);
		}
		if (!stop_sleep_ms(all->stop, mono_ms_between(now, next) + 1))
			return;
	}
}

static void start(void *arg)
{
	struct controllers *all = arg;

	while (!informers_wait_synced(all->opts.informers, SYNC_MS)) {
		if (stop_raised(all->stop))
			return;
		log_warn("still waiting for the first lists");
	}
	if (stop_raised(all->stop))
		return;
	for (int i = 0; i < all->n_workers; i++)
		all->workers[i] = task_spawn("controller", worker, all);
	all->ticker = task_spawn("controller-tick", tick, all);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_event(void *arg, struct doc *before, struct doc *after)
{
	struct subscription *s = arg;

	if (!s->keys)
		return;
	tell_working(s->c, s->c->def->name);
	s->keys(s->c, before, after);
	tell_working(s->c, NULL);
}

static void subscribe(struct ctl *c, struct subscription *room)
{
	for (size_t w = 0; w < WATCHES_MAX && c->def->watches[w].res; w++) {
		struct informer *i = ctl_informer(c, *c->def->watches[w].res);

		room[w] = (struct subscription){ c, c->def->watches[w].keys };
		if (room[w].keys)
			informer_on(i, on_event, &room[w]);
	}
}

/* Indexes that several controllers read. */
static void index_shared(struct informers *s)
{
	const struct gvr by_owner[] = { res_pods, res_replicasets, res_endpointslices, res_controllerrevisions,
		res_jobs };
	const struct gvr by_ns[] = { res_pods, res_replicasets, res_replicationcontrollers, res_statefulsets,
		res_daemonsets, res_controllerrevisions, res_services, res_secrets, res_poddisruptionbudgets };

	for (size_t i = 0; i < ARRAY_LEN(by_owner); i++)
		informer_index(informers_need(s, by_owner[i]), "owner", informer_index_owner_uid);
	for (size_t i = 0; i < ARRAY_LEN(by_ns); i++)
		informer_index(informers_need(s, by_ns[i]), "ns", informer_index_ns);
	informer_index(informers_need(s, res_pods), "node", informer_index_node_name);
}

struct controllers *controllers_new(const struct controllers_opts *o)
{
	struct controllers *all = xcalloc(1, sizeof(*all));

	all->opts = *o;
	all->n_workers = MIN(o->workers ? o->workers : WORKERS, (int)ARRAY_LEN(all->workers));
	all->queue = queue_new((struct queue_opts){ .first_ms = 5, .most_ms = 60000 });
	all->stop = stop_new();
	for (size_t i = 0; i < ARRAY_LEN(inventory); i++) {
		struct ctl *c = &all->ctls[i];

		c->def = inventory[i];
		c->all = all;
		c->opts = &all->opts;
		if (among(o->unwanted, c->def->name))
			continue;
		if (among(o->hold_off, c->def->name)) {
			log_error("%s is held off: it ended the process several times in a minute", c->def->name);
			continue;
		}
		task_mutex_init(&c->lock);
		c->wrote = map_new(free);
		c->client = o->client_for(o->arg, c->def->name);
		c->recorder = recorder_new(c->client, c->def->name, o->host);
		if (c->def->indexes)
			c->def->indexes(c);
		if (c->def->state_new)
			c->state = c->def->state_new(c);
		subscribe(c, all->subscriptions[i]);
	}
	index_shared(o->informers);
	return all;
}

void controllers_start(struct controllers *all)
{
	all->starter = task_spawn("controllers", start, all);
}

void controllers_stop(struct controllers *all)
{
	stop_raise(all->stop);
	queue_stop(all->queue);
	all->starter = task_join(all->starter);
	all->ticker = task_join(all->ticker);
	for (int i = 0; i < all->n_workers; i++)
		all->workers[i] = task_join(all->workers[i]);
}

struct controllers *controllers_free(struct controllers *all)
{
	if (!all)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(inventory); i++) {
		struct ctl *c = &all->ctls[i];

		if (!c->client)
			continue;
		if (c->def->state_free)
			c->def->state_free(c->state);
		recorder_free(c->recorder);
		client_free(c->client);
		map_free(c->wrote);
		task_mutex_fini(&c->lock);
	}
	queue_free(all->queue);
	stop_free(all->stop);
	free(all);
	return NULL;
}

void controllers_metrics(struct controllers *all, struct buf *out)
{
	buf_c(out, "# TYPE workqueue_depth gauge\n");
	buf_printf(out, "workqueue_depth{name=\"controllers\"} %zu\n", queue_len(all->queue));
	buf_c(out, "# TYPE workqueue_work_duration_seconds_count counter\n# TYPE workqueue_retries_total counter\n");
	for (size_t i = 0; i < ARRAY_LEN(inventory); i++) {
		struct ctl *c = &all->ctls[i];

		buf_printf(out, "workqueue_adds_total{name=\"%s\"} %lld\nworkqueue_retries_total{name=\"%s\"} %lld\n",
			c->def->name, (long long)__atomic_load_n(&c->runs, __ATOMIC_RELAXED), c->def->name,
			(long long)__atomic_load_n(&c->failures, __ATOMIC_RELAXED));
	}
}

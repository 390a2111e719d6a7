/* Sees every change of every pod in revision order and keeps its own, simple books. */
#include "sim.h"
#include <stdio.h>

struct account { /* of one bound pod */
	char node[32], app[32];
	int64_t cpu_milli, memory, host_port;
};
struct checker {
	struct world *w;
	struct informer *pods;
	struct map *bound; /* uid → account */
	struct rule rules[APPS_MAX + 3];
	size_t n_rules;
};

static bool is_ended(const struct doc *pod)
{
	return str_is(doc_str(pod, "status.phase"), "Failed") || str_is(doc_str(pod, "status.phase"), "Succeeded");
}

static bool is_ready(const struct doc *pod)
{
	return val_is(val_get(val_find(doc_get(pod, "status.conditions"), "type", STR("Ready")), "status"), "True");
}

static bool is_deleting(const struct doc *pod)
{
	return doc_str(pod, "metadata.deletionTimestamp").n > 0;
}

/* ---- every pod stands on a node that fits ---------------------------------------------------- */

static struct account account_of(const struct doc *pod)
{
	struct account a = { 0 };
	struct val container = val_at(doc_get(pod, "spec.containers"), 0);
	struct quantity q;

	snprintf(a.node, sizeof(a.node), "%.*s", STR_ARG(doc_str(pod, "spec.nodeName")));
	snprintf(a.app, sizeof(a.app), "%.*s", STR_ARG(val_str(val_get(doc_get(pod, "metadata.labels"), "app"))));
	if (quantity_of(val_path(container, "resources.requests.cpu"), &q))
		a.cpu_milli = quantity_milli(q);
	if (quantity_of(val_path(container, "resources.requests.memory"), &q))
		a.memory = quantity_whole(q);
	a.host_port = val_int(val_get(val_at(val_get(container, "ports"), 0), "hostPort"), 0);
	return a;
}

static void check_node(struct checker *c, const struct doc *pod, const struct account *mine)
{
	struct account sum = *mine;
	int64_t pods = 1;
	void *value;

	for (size_t i = 0; map_next(c->bound, &i, NULL, &value);) {
		const struct account *a = value;

		if (strcmp(a->node, mine->node))
			continue;
		sum.cpu_milli += a->cpu_milli;
		sum.memory += a->memory;
		pods++;
		if (mine->host_port && a->host_port == mine->host_port)
			fail(c->w, "pod %.*s: host port %lld of %s is taken", STR_ARG(doc_name(pod)),
				(long long)mine->host_port, mine->node);
		if (val_has(doc_get(pod, "spec.affinity.podAntiAffinity")) && !strcmp(a->app, mine->app))
			fail(c->w, "pod %.*s: another of %s is on %s", STR_ARG(doc_name(pod)), mine->app, mine->node);
	}
	if (sum.cpu_milli > 4000 || sum.memory > (INT64_C(8) << 30) || pods > 30)
		fail(c->w, "pod %.*s does not fit on %s: %lldm cpu of 4000m, %lld bytes, %lld pods",
			STR_ARG(doc_name(pod)), mine->node, (long long)sum.cpu_milli, (long long)sum.memory,
			(long long)pods);
}

static void keep_books(struct checker *c, struct doc *before, struct doc *after)
{
	struct str uid = doc_uid(after ? after : before);
	struct account *known = map_get(c->bound, uid);
	struct account a;

	if (!after || is_ended(after)) {
		map_del(c->bound, uid);
		return;
	}
	if (known || !doc_str(after, "spec.nodeName").n)
		return;
	a = account_of(after);
	check_node(c, after, &a);
	known = xmalloc(sizeof(a));
	*known = a;
	map_put(c->bound, uid, known);
}

/* ---- availability and surge ------------------------------------------------------------------ */

/* Pods that their ReplicaSet has given up already and not yet deleted: two sets act side by side, so for a moment a new
 * pod may stand beside such an old one. The promise is about what the sets are told. */
struct surplus {
	struct informer_list *pods;
	int64_t n;
};

static void add_surplus(void *arg, struct doc *take)
{
	struct surplus *s = arg;
	int64_t has = 0;

	for (size_t i = 0; i < s->pods->n; i++) {
		const struct doc *p = s->pods->items[i];

		has += !is_ended(p) && !is_deleting(p) &&
			str_eq(val_str(val_get(val_at(doc_get(p, "metadata.ownerReferences"), 0), "uid")),
				doc_uid(take));
	}
	s->n += MAX(has - doc_int(take, "spec.replicas", 1), (int64_t)0);
	doc_unref(take);
}

static int64_t given_up(struct checker *c, struct informer_list *pods, const char *app)
{
	struct surplus s = { pods, 0 };
	char selector[64], revision[24];
	struct err e;

	err_init(&e);
	snprintf(selector, sizeof(selector), "app=%s", app);
	client_list(c->w->admin, &(struct client_request){ .res = res_replicasets, .label_selector = str_c(selector) },
		add_surplus, &s, revision, &e);
	return s.n;
}

static void check_rule(struct checker *c, const struct rule *r)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list all = informer_list(c->pods, a, NULL, STR_NULL);
	int64_t active = 0, available = 0;

	for (size_t i = 0; i < all.n; i++) {
		if (!val_is(val_get(doc_get(all.items[i], "metadata.labels"), "app"), r->app) ||
			is_ended(all.items[i]) || is_deleting(all.items[i]))
			continue;
		active++;
		available += is_ready(all.items[i]);
	}
	if (r->least_available >= 0 && available < r->least_available)
		fail(c->w, "%s: %lld pods are available, at least %lld must be", r->app, (long long)available,
			(long long)r->least_available);
	if (r->most && active > r->most)
		active -= given_up(c, &all, r->app);
	if (r->most && active > r->most)
		fail(c->w, "%s: %lld pods, at most %lld may be", r->app, (long long)active, (long long)r->most);
}

static void on_pod(void *arg, struct doc *before, struct doc *after)
{
	struct checker *c = arg;
	struct doc *d = after ? after : before;
	struct str app = val_str(val_get(doc_get(d, "metadata.labels"), "app"));

	c->w->events++;
	task_trace("pod %.*s rv %lld %.*s %.*s%s", STR_ARG(doc_name(d)), (long long)doc_revision(d),
		STR_ARG(doc_str(d, "status.phase")), STR_ARG(doc_str(d, "spec.nodeName")),
		!after                     ? " gone" :
			is_deleting(after) ? " going" :
			is_ready(after)    ? " ready" :
					     "");
	keep_books(c, before, after);
	for (size_t i = 0; i < c->n_rules; i++)
		if (str_is(app, c->rules[i].app))
			check_rule(c, &c->rules[i]);
}

void checker_rule(struct checker *c, struct rule r)
{
	for (size_t i = 0; i < c->n_rules; i++) {
		if (!strcmp(c->rules[i].app, r.app)) {
			c->rules[i] = r;
			return;
		}
	}
	PRE(c->n_rules < ARRAY_LEN(c->rules));
	c->rules[c->n_rules++] = r;
}

struct informer *checker_pods(struct checker *c)
{
	return c->pods;
}

struct checker *checker_new(struct world *w)
{
	struct checker *c = xcalloc(1, sizeof(*c));

	c->w = w;
	c->bound = map_new(free);
	c->pods = informer_new(w->admin, (struct informer_opts){ .res = res_pods });
	informer_on(c->pods, on_pod, c);
	informer_start(c->pods);
	informer_wait_synced(c->pods, 10000);
	return c;
}

struct checker *checker_free(struct checker *c)
{
	if (!c)
		return NULL;
	informer_free(c->pods);
	map_free(c->bound);
	free(c);
	return NULL;
}

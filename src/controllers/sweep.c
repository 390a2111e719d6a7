/* pod-garbage-collector and event-ttl: what nobody will end otherwise. */
#include "controllers/controllers_internal.h"

#define ENDED_PODS_MAX 12500
#define EVENT_TTL_S 3600
#define SWEEP_MS 20000
#define EVENT_SWEEP_MS 300000

static int remove_pod(struct ctl *c, struct doc *pod, struct err *e)
{
	struct client_delete o = { .uid = doc_uid(pod), .grace_s = 0 };

	if (client_delete(c->client, res_pods, doc_ns(pod), doc_name(pod), o, e) < 0 && e->code != ERR_NOT_FOUND &&
		e->code != ERR_CONFLICT)
		return err_wrap(e, "remove pod %.*s/%.*s", STR_ARG(doc_ns(pod)), STR_ARG(doc_name(pod)));
	err_init(e);
	return 0;
}

/* Bound to a node that is no more: asked of the server, the informer may be behind. */
static bool node_is_gone(struct ctl *c, struct str name)
{
	auto_(doc_unref) struct doc *node = informer_get(ctl_informer(c, res_nodes), STR_NULL, name), *live = NULL;
	struct err e;

	err_init(&e);
	return !node && client_get(c->client, res_nodes, STR_NULL, name, &live, &e) == -ERR_NOT_FOUND;
}

static bool is_stranded(struct ctl *c, struct doc *pod)
{
	struct str node = doc_str(pod, "spec.nodeName");

	if (!node.n)
		return is_deleting(pod);
	return node_is_gone(c, node);
}

static int by_age(const void *x, const void *y)
{
	return str_cmp(doc_str(*(struct doc *const *)x, "metadata.creationTimestamp"),
		doc_str(*(struct doc *const *)y, "metadata.creationTimestamp"));
}

static int sweep_pods(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct informer_list pods = informer_list(ctl_informer(c, res_pods), a, NULL, STR_NULL);
	struct doc **ended = ARENA_ARRAY(a, struct doc *, pods.n + 1);
	size_t n = 0;

	(void)key;
	for (size_t i = 0; i < pods.n; i++) {
		if (is_stranded(c, pods.items[i]) && remove_pod(c, pods.items[i], e) < 0)
			return -e->code;
		if (pod_ended(pods.items[i]))
			ended[n++] = pods.items[i];
	}
	if (n <= ENDED_PODS_MAX)
		return 0;
	qsort(ended, n, sizeof(*ended), by_age);
	for (size_t i = 0; i < n - ENDED_PODS_MAX; i++)
		if (remove_pod(c, ended[i], e) < 0)
			return -e->code;
	return 0;
}

/* A node that goes leaves its pods behind. */
static void key_node_gone(struct ctl *c, struct doc *before, struct doc *after)
{
	(void)before;
	if (!after)
		ctl_add(c, STR(""));
}

const struct controller pod_gc_controller = {
	.name = "pod-garbage-collector",
	.help = "removes pods of nodes that are gone, and ended pods beyond a number",
	.handles = "/pods",
	.watches = { { &res_pods, NULL }, { &res_nodes, key_node_gone } },
	.reconcile = sweep_pods,
	.every_ms = SWEEP_MS,
};

/* ---- events ---------------------------------------------------------------------------------- */

struct old_events {
	struct arena *a;
	struct doc **items;
	size_t n, room;
	int64_t before_s;
};

static int64_t last_seen_s(const struct doc *event)
{
	static const char *const paths[] = { "series.lastObservedTime", "lastTimestamp", "eventTime",
		"metadata.creationTimestamp" };
	struct wall t;

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (wall_parse(doc_str(event, paths[i]), &t))
			return wall_s(t);
	return INT64_MAX;
}

static void keep_old(void *arg, struct doc *take)
{
	struct old_events *old = arg;

	if (last_seen_s(take) >= old->before_s) {
		doc_unref(take);
		return;
	}
	ARENA_GROW(old->a, old->items, old->n, old->room, 64);
	doc_hold(old->a, take);
	old->items[old->n++] = take;
}

static int sweep_events(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct old_events old = { .a = a, .before_s = wall_s(wall_now()) - EVENT_TTL_S };
	struct client_request list = { .verb = VERB_LIST, .res = res_events };
	char revision[24];

	(void)key;
	if (client_list(c->client, &list, keep_old, &old, revision, e) < 0)
		return err_wrap(e, "list events");
	for (size_t i = 0; i < old.n; i++) {
		struct client_delete o = { .uid = doc_uid(old.items[i]), .grace_s = -1 };

		if (client_delete(c->client, res_events, doc_ns(old.items[i]), doc_name(old.items[i]), o, e) < 0 &&
			e->code != ERR_NOT_FOUND && e->code != ERR_CONFLICT)
			return -e->code;
		err_init(e);
	}
	return 0;
}

const struct controller event_ttl_controller = {
	.name = "event-ttl-controller",
	.help = "removes Events an hour after they were last seen",
	.handles = "/events",
	.reconcile = sweep_events,
	.every_ms = EVENT_SWEEP_MS,
};

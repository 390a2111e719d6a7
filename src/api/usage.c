/* metrics.k8s.io: what nodes and pods use, asked of the nodes when somebody asks. Nothing is stored.
 *
 *     kubectl top, autoscalers ──► compute on a task ──► GET /stats/summary of each node, several at a time ──► objects
 */
#include "api/relay/relay.h"
#include <stdio.h>
#define LOG_MODULE "usage"

#define ASK_MS 8000
#define ASKERS_MAX 8
#define SUMMARY_MAX ((size_t)32 << 20)
#define WINDOW "10s"

struct ask {
	struct rq *rq;
	struct str *nodes;
	struct doc **answers; /* own; NULL: the node did not answer */
	size_t n, next;
	struct task_mutex lock;
};

static int ask_node(struct rq *rq, struct str node, struct doc **ret, struct err *e)
{
	struct http_client *client;
	struct http_reply reply = { 0 };
	int r = relay_node(rq, node, &client, e);

	if (r == 0)
		r = http_call(client, "GET", STR("/stats/summary?only_cpu_and_memory=true"), NULL, 0, STR_NULL,
			SUMMARY_MAX, ASK_MS, &reply, e);
	if (r < 0)
		return r;
	r = reply.status == 200 ? doc_parse(buf_view(&reply.body), ret, e) :
				  err_set(e, ERR_UNAVAILABLE, "it answers with status %d", reply.status);
	http_reply_fini(&reply);
	return r;
}

static void asker(void *arg)
{
	struct ask *k = arg;
	struct err e;

	for (;;) {
		task_lock(&k->lock);
		size_t i = k->next++;
		task_unlock(&k->lock);
		if (i >= k->n)
			return;
		err_init(&e);
		if (ask_node(k->rq, k->nodes[i], &k->answers[i], &e) < 0)
			log_debug("node %.*s: %s", STR_ARG(k->nodes[i]), e.message);
	}
}

static void ask_all(struct ask *k)
{
	struct task *tasks[ASKERS_MAX];
	size_t n = MIN(k->n, (size_t)ASKERS_MAX);

	k->answers = ARENA_ARRAY(k->rq->a, struct doc *, k->n + 1);
	memset(k->answers, 0, sizeof(struct doc *) * (k->n + 1));
	task_mutex_init(&k->lock);
	for (size_t i = 0; i < n; i++)
		tasks[i] = task_spawn("usage", asker, k);
	for (size_t i = 0; i < n; i++)
		task_join(tasks[i]);
	task_mutex_fini(&k->lock);
	for (size_t i = 0; i < k->n; i++)
		if (k->answers[i])
			doc_hold(k->rq->a, k->answers[i]);
}

/* All nodes, or one. */
static void nodes_of(struct rq *rq, struct str only, struct ask *k)
{
	struct cache_list all = { 0 };
	int64_t rev;

	*k = (struct ask){ .rq = rq };
	if (!only.n)
		all = cache_list(api_cache(rq->api, "", "nodes"), rq->a, STR(""), STR_NULL, 0, &rev);
	k->nodes = ARENA_ARRAY(rq->a, struct str, all.n + 1);
	for (size_t i = 0; i < all.n; i++)
		k->nodes[k->n++] = doc_name(all.items[i].doc);
	if (only.n)
		k->nodes[k->n++] = only;
	ask_all(k);
}

static struct node *amounts(struct arena *a, struct val of)
{
	return node_pack(a, "{cpu:o, memory:o}",
		node_strf(a, "%lldn", (long long)val_int(val_path(of, "cpu.usageNanoCores"), 0)),
		node_strf(a, "%lldKi", (long long)val_int(val_path(of, "memory.workingSetBytes"), 0) / 1024));
}

static struct node *metadata(struct rq *rq, struct doc *about, struct str now)
{
	struct node *m = node_pack(rq->a, "{name:S, creationTimestamp:S}", doc_name(about), now);

	if (doc_ns(about).n)
		node_setc(m, "namespace", node_str(rq->a, doc_ns(about)));
	if (val_len(doc_get(about, "metadata.labels")))
		node_setc(m, "labels", node_from(rq->a, doc_get(about, "metadata.labels")));
	return m;
}

static void add(struct rq *rq, struct doc **list, size_t *n, struct node *object)
{
	struct doc *d = node_publish(object);

	doc_hold(rq->a, d);
	list[(*n)++] = d;
}

int usage_nodes(struct rq *rq, struct str name, struct doc ***ret, size_t *ret_n, struct err *e)
{
	struct doc *one = name.n ? api_get(rq->api, "", "nodes", STR_NULL, name) : NULL;
	struct ask k;

	doc_unref(one);
	if (name.n && !one)
		return write_not_found(rq, name, e);
	nodes_of(rq, name, &k);
	*ret = ARENA_ARRAY(rq->a, struct doc *, k.n + 1);
	*ret_n = 0;
	for (size_t i = 0; i < k.n; i++) {
		struct doc *node = k.answers[i] ? api_get(rq->api, "", "nodes", STR_NULL, k.nodes[i]) : NULL;
		struct val of = node ? doc_get(k.answers[i], "node") : VAL_NONE;
		struct str now = val_str(val_path(of, "cpu.time"));
		if (!node)
			continue;
		doc_hold(rq->a, node);
		add(rq, *ret, ret_n,
			node_pack(rq->a,
				"{kind:'NodeMetrics', apiVersion:'metrics.k8s.io/v1beta1', metadata:o, timestamp:S, "
				"window:'" WINDOW "', usage:o}",
				metadata(rq, node, now), now, amounts(rq->a, of)));
	}
	return name.n && !*ret_n ?
		err_set(e, ERR_UNAVAILABLE, "node \"%.*s\" does not tell what it uses", STR_ARG(name)) :
		0;
}

static struct node *containers_of(struct rq *rq, struct val pod)
{
	struct node *list = node_list(rq->a);

	for (struct val_iter it = val_iter(val_get(pod, "containers")); val_next(&it);)
		node_add(list,
			node_pack(
				rq->a, "{name:S, usage:o}", val_str(val_get(it.val, "name")), amounts(rq->a, it.val)));
	return list;
}

/* A pod that has just begun, or ended, has no figures yet, or any more. */
static void add_pod(struct rq *rq, struct val pod, struct doc **list, size_t *n)
{
	struct str ns = val_str(val_path(pod, "podRef.namespace")), now = val_str(val_path(pod, "cpu.time"));
	struct doc *d = api_get(rq->api, "", "pods", ns, val_str(val_path(pod, "podRef.name")));

	if (!d)
		return;
	doc_hold(rq->a, d);
	if (!str_eq(doc_uid(d), val_str(val_path(pod, "podRef.uid"))) || !val_len(val_get(pod, "containers")))
		return;
	add(rq, list, n,
		node_pack(rq->a,
			"{kind:'PodMetrics', apiVersion:'metrics.k8s.io/v1beta1', metadata:o, timestamp:S, "
			"window:'" WINDOW "', containers:o}",
			metadata(rq, d, now), now, containers_of(rq, pod)));
}

static bool wanted(struct rq *rq, struct str name, struct val pod)
{
	if (rq->ns.n && !str_eq(rq->ns, val_str(val_path(pod, "podRef.namespace"))))
		return false;
	return !name.n || str_eq(name, val_str(val_path(pod, "podRef.name")));
}

int usage_pods(struct rq *rq, struct str name, struct doc ***ret, size_t *ret_n, struct err *e)
{
	struct doc *one = name.n ? api_get(rq->api, "", "pods", rq->ns, name) : NULL;
	struct str node = STR_NULL;
	size_t room = 0;
	struct ask k;

	if (one) {
		doc_hold(rq->a, one);
		node = doc_str(one, "spec.nodeName");
	}
	if (name.n && !node.n)
		return write_not_found(rq, name, e);
	nodes_of(rq, node, &k);
	for (size_t i = 0; i < k.n; i++)
		room += k.answers[i] ? val_len(doc_get(k.answers[i], "pods")) : 0;
	*ret = ARENA_ARRAY(rq->a, struct doc *, room + 1);
	*ret_n = 0;
	for (size_t i = 0; i < k.n; i++)
		for (struct val_iter it = val_iter(k.answers[i] ? doc_get(k.answers[i], "pods") : VAL_NONE);
			val_next(&it);)
			if (wanted(rq, name, it.val))
				add_pod(rq, it.val, *ret, ret_n);
	return name.n && !*ret_n ? write_not_found(rq, name, e) : 0;
}

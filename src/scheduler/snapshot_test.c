/* What is kept by deltas (classes, siblings, opinions, counts of taints) says what a fresh look at the same objects says. */
#include "base/test.h"
#include "scheduler/scheduler_internal.h"
#include <stdio.h>

#define NODES 6
#define PODS 24
#define KEYS 6 /* more topologies than a node has room for by itself */
#define STEPS 3000

struct world {
	uint64_t seed;
	struct doc *nodes[NODES], *pods[PODS]; /* NULL: not there */
};

static unsigned pick(struct world *w, unsigned n)
{
	w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(w->seed >> 33) % n;
}

static struct doc *yaml(struct buf *text)
{
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse_yaml(buf_view(text), NULL, NULL, &d, &e) < 0)
		fail_msg("%s\n%.*s", e.message, STR_ARG(buf_view(text)));
	return d;
}

static struct doc *node(struct world *w, unsigned i)
{
	static const char *const specs[] = { "", "", "", "unschedulable: true",
		"taints: [{key: k, effect: NoSchedule}]", "taints: [{key: k, effect: PreferNoSchedule}]" };
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b, "{metadata: {name: n%u, labels: {zone: z%u, kubernetes.io/hostname: n%u", i, pick(w, 3), i);
	for (unsigned k = 0; k < KEYS; k++)
		buf_printf(&b, ", k%u: v%u", k, pick(w, 3));
	buf_printf(&b, "}}, spec: {%s}, status: {allocatable: {cpu: %u, memory: 8Gi, pods: 20, x.io/gpu: 2}}}",
		specs[pick(w, ARRAY_LEN(specs))], 1 + pick(w, 4));
	return yaml(&b);
}

/* i < PODS: one that is on a node, by its number; PODS: one that waits. */
static struct doc *pod(struct world *w, unsigned i)
{
	static const char term[] = "requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: k%u, "
				   "labelSelector: {matchLabels: {app: a%u}}}]}}, ";
	static const char *const limits[] = { "cpu: 100m", "cpu: 100m", "cpu: 900m, memory: 1Gi", "x.io/gpu: 1", "" };
	const char *kinds[] = { "", "", "podAffinity", "podAntiAffinity" }, *kind = kinds[pick(w, ARRAY_LEN(kinds))];
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b, "{metadata: {name: p%u, uid: p%u, namespace: ns%u, labels: {app: a%u}, ", i, i, i % 4 / 3,
		pick(w, 2));
	buf_printf(&b, "ownerReferences: [{uid: r%u, controller: true}]%s}, spec: {", pick(w, 3),
		pick(w, 8) ? "" : ", deletionTimestamp: 2026-01-01T00:00:00Z");
	if (*kind) {
		buf_printf(&b, "affinity: {%s: {", kind);
		buf_printf(&b, term, pick(w, KEYS), pick(w, 2));
	}
	if (!pick(w, 6))
		buf_c(&b,
			"topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, "
			"labelSelector: {matchLabels: {app: a1}}}], ");
	if (i < PODS)
		buf_printf(&b, "nodeName: n%u, ", pick(w, NODES));
	buf_printf(&b, "containers: [{name: c, ports: [%s], resources: {requests: {%s}}}]}}",
		pick(w, 6) ? "" : "{hostPort: 80}", limits[pick(w, ARRAY_LEN(limits))]);
	return yaml(&b);
}

/* A version that differs in one thing, which decisions ask for or not. */
static struct doc *newer(struct world *w, const struct doc *d)
{
	static const struct {
		const char *path, *value;
	} things[] = { { "status.podIP", "10.0.0.1" }, { "status.podIP", "10.0.0.2" },
		{ "metadata.deletionTimestamp", "2026-01-01T00:00:00Z" }, { "metadata.labels.app", "a0" },
		{ "metadata.labels.app", "a1" }, { "spec.nodeName", "n1" }, { "spec.overhead.cpu", "500m" } };
	auto_(arena_free) struct arena *a = arena_new();
	struct node *n = node_from(a, doc_root(d));
	size_t i = pick(w, ARRAY_LEN(things));

	node_set_path(n, things[i].path, node_c(a, things[i].value));
	return node_publish(n);
}

static void put_pod(struct snapshot *s, struct doc *d)
{
	snapshot_pod(s, d, doc_str(d, "spec.nodeName"));
}

static void step(struct world *w, struct snapshot *s)
{
	unsigned i = pick(w, PODS), n = pick(w, NODES);
	char name[16];

	snprintf(name, sizeof(name), "n%u", n);
	if (!pick(w, 8)) {
		doc_unref(w->nodes[n]);
		w->nodes[n] = pick(w, 4) ? node(w, n) : NULL;
		snapshot_node(s, str_c(name), w->nodes[n]);
	} else if (w->pods[i] && !pick(w, 3)) {
		snapshot_forget_pod(s, doc_uid(w->pods[i]));
		w->pods[i] = doc_unref(w->pods[i]);
	} else if (w->pods[i] && pick(w, 2)) {
		struct doc *d = newer(w, w->pods[i]);

		doc_unref(w->pods[i]);
		put_pod(s, w->pods[i] = d);
	} else {
		doc_unref(w->pods[i]);
		put_pod(s, w->pods[i] = pod(w, i));
	}
}

static void look_afresh(const struct world *w, struct snapshot *s)
{
	snapshot_init(s);
	for (size_t i = 0; i < NODES; i++)
		if (w->nodes[i])
			snapshot_node(s, doc_name(w->nodes[i]), w->nodes[i]);
	for (size_t i = 0; i < PODS; i++)
		if (w->pods[i])
			put_pod(s, w->pods[i]);
}

struct answer { /* by node */
	enum verdict verdict[NODES];
	int64_t scores[NODES][PLUGINS_MAX];
};

static void score(struct cycle *c, struct candidates *k, const unsigned *which, struct answer *ret)
{
	for (c->plugin = 0; c->plugin < plugins_n; c->plugin++) {
		const struct plugin *p = &plugins[c->plugin];

		if (!k->n || !p->score || (p->prepare_score && !p->prepare_score(c, k)))
			continue;
		for (size_t i = 0; i < k->n; i++)
			k->scores[i] = p->score(c, k->nodes[i]);
		if (p->normalize)
			p->normalize(c, k);
		for (size_t i = 0; i < k->n; i++)
			ret->scores[which[i]][c->plugin] = k->scores[i];
	}
}

static void ask(const struct world *w, struct snapshot *s, struct doc *waits, struct answer *ret)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(pod_info_free) struct pod_info *pod = pod_info_new(waits);
	struct node_info *nodes[NODES];
	int64_t scores[NODES];
	unsigned which[NODES];
	struct candidates k = { nodes, scores, 0 };
	struct cycle c;

	memset(ret, 0, sizeof(*ret));
	cycle_begin(&c, s, a, pod);
	for (unsigned i = 0; i < NODES; i++) {
		struct node_info *n = w->nodes[i] ? map_get(s->nodes, doc_name(w->nodes[i])) : NULL;

		if (!n || (ret->verdict[i] = cycle_filter(&c, n)) != FITS)
			continue;
		which[k.n] = i;
		nodes[k.n++] = n;
	}
	score(&c, &k, which, ret);
}

static void deltas_say_what_a_fresh_look_says(void **state)
{
	struct world w = { .seed = 7 };
	struct snapshot kept;

	(void)state;
	snapshot_init(&kept);
	for (int i = 0; i < STEPS; i++) {
		auto_(doc_unref) struct doc *waits = pod(&w, PODS);
		struct answer by_deltas, afresh;
		struct snapshot fresh;

		step(&w, &kept);
		look_afresh(&w, &fresh);
		for (int again = 0; again < 2; again++) { /* the second time, of opinions */
			ask(&w, &kept, waits, &by_deltas);
			ask(&w, &fresh, waits, &afresh);
			assert_memory_equal(&by_deltas, &afresh, sizeof(afresh));
		}
		snapshot_fini(&fresh);
	}
	snapshot_fini(&kept);
	for (size_t i = 0; i < NODES; i++)
		doc_unref(w.nodes[i]);
	for (size_t i = 0; i < PODS; i++)
		doc_unref(w.pods[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deltas_say_what_a_fresh_look_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

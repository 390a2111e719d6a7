/* Decisions without a cluster: nodes, pods that are placed, a pod, and where it must go or why it cannot. */
#include "doc/doc_fixture.h"
#include "scheduler/scheduler_internal.h"
#include <stdio.h>

/* One node: name, then labels and more as YAML flow. */
#define NODE(name, labels, more)                                                                     \
	"{metadata: {name: " name ", labels: {kubernetes.io/hostname: " name ", " labels "}}, " more \
	" status: {allocatable: {cpu: 4, memory: 8Gi, ephemeral-storage: 10Gi, pods: 10, x.io/gpu: 2}}}"
#define PLACED(uid, node, labels, spec)                                                                              \
	"{metadata: {name: " uid ", uid: " uid ", namespace: default, labels: {" labels "}}, spec: {nodeName: " node \
	", " spec "}}"
#define POD(labels, spec) \
	"{metadata: {name: new, uid: new, namespace: default, labels: {" labels "}}, spec: {" spec "}}"
#define CPU(n) "containers: [{name: c, resources: {requests: {cpu: " n "}}}]"
#define PLAIN "containers: [{name: c}]"

static const char two[] = "[" NODE("a", "zone: z1", "") "," NODE("b", "zone: z2", "") "]";
static const char one[] = "[" NODE("a", "zone: z1", "") "]";
static const char big_small[] = "[{metadata: {name: a}, status: {allocatable: {cpu: 4, memory: 8Gi, pods: 1}}},"
				"{metadata: {name: b}, status: {allocatable: {cpu: 1, memory: 1Gi, pods: 10}}}]";

struct row {
	const char *what, *nodes, *placed, *pod;
	const char *node, *message; /* one of them */
};

static struct doc *copy(struct arena *a, struct val v)
{
	return node_publish(node_from(a, v));
}

static void fill(struct snapshot *s, struct arena *a, const char *nodes, const char *placed)
{
	auto_(doc_unref) struct doc *n = yaml_doc(nodes), *p = yaml_doc(placed ? placed : "[]");
	auto_(doc_unref) struct doc *ns = yaml_doc("{metadata: {name: other, labels: {team: x}}}");

	snapshot_namespace(s, STR("other"), ns);
	for (struct val_iter it = val_iter(doc_root(n)); val_next(&it);) {
		auto_(doc_unref) struct doc *d = copy(a, it.val);

		snapshot_node(s, doc_name(d), d);
	}
	for (struct val_iter it = val_iter(doc_root(p)); val_next(&it);) {
		auto_(doc_unref) struct doc *d = copy(a, it.val);

		snapshot_pod(s, d, doc_str(d, "spec.nodeName"));
	}
}

static void check(const struct row *r)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = yaml_doc(r->pod);
	auto_(pod_info_free) struct pod_info *pod = pod_info_new(d);
	struct snapshot s;
	struct cycle c;
	struct node_info *n;
	const char *message;

	snapshot_init(&s);
	fill(&s, a, r->nodes, r->placed);
	cycle_begin(&c, &s, a, pod);
	n = cycle_choose(&c);
	message = cycle_message(&c);
	if (r->node && (!n || !str_is(n->name, r->node)))
		fail_msg("%s: wanted node %s, got %s (%s)", r->what, r->node, n ? n->text : "none", message);
	if (r->message && (n || strcmp(message, r->message)))
		fail_msg("%s: wanted \"%s\", got %s \"%s\"", r->what, r->message, n ? n->text : "no node", message);
	snapshot_fini(&s);
}

static void check_all(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check(&rows[i]);
}
#define NODE_AFFINITY "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: ["
#define NO_MATCH "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."

static void nodes_by_name_taint_and_label(void **state)
{
	static const struct row rows[] = {
		{ "no nodes", "[]", NULL, POD("", PLAIN), NULL, "no nodes available to schedule pods" },
		{ "named node", two, NULL, POD("", "nodeName: b, " PLAIN), "b", NULL },
		{ "named node is not there", one, NULL, POD("", "nodeName: x, " PLAIN), NULL,
			"0/1 nodes are available: 1 node(s) didn't match the requested node name." },
		{ "cordoned", "[" NODE("a", "", "spec: {unschedulable: true},") "]", NULL, POD("", PLAIN), NULL,
			"0/1 nodes are available: 1 node(s) were unschedulable." },
		{ "cordoned, tolerated", "[" NODE("a", "", "spec: {unschedulable: true},") "]", NULL,
			POD("", "tolerations: [{key: node.kubernetes.io/unschedulable, operator: Exists}], " PLAIN),
			"a", NULL },
		{ "taint", "[" NODE("a", "", "spec: {taints: [{key: k, value: v, effect: NoSchedule}]},") "]", NULL,
			POD("", PLAIN), NULL, "0/1 nodes are available: 1 node(s) had untolerated taint {k: v}." },
		{ "taint, another value tolerated",
			"[" NODE("a", "", "spec: {taints: [{key: k, value: v, effect: NoExecute}]},") "]", NULL,
			POD("", "tolerations: [{key: k, value: w}], " PLAIN), NULL,
			"0/1 nodes are available: 1 node(s) had untolerated taint {k: v}." },
		{ "taint, tolerated by value",
			"[" NODE("a", "", "spec: {taints: [{key: k, value: v, effect: NoExecute}]},") "]", NULL,
			POD("", "tolerations: [{key: k, value: v}], " PLAIN), "a", NULL },
		{ "taint, another effect tolerated",
			"[" NODE("a", "", "spec: {taints: [{key: k, effect: NoExecute}]},") "]", NULL,
			POD("", "tolerations: [{key: k, operator: Exists, effect: NoSchedule}], " PLAIN), NULL,
			"0/1 nodes are available: 1 node(s) had untolerated taint {k: }." },
		{ "all taints tolerated", "[" NODE("a", "", "spec: {taints: [{key: k, effect: NoExecute}]},") "]", NULL,
			POD("", "tolerations: [{operator: Exists}], " PLAIN), "a", NULL },
		{ "soft taint keeps away",
			"[" NODE("a", "", "spec: {taints: [{key: k, effect: PreferNoSchedule}]},") "," NODE(
				"b", "", "") "]",
			NULL, POD("", PLAIN), "b", NULL },
		{ "nodeSelector", two, NULL, POD("", "nodeSelector: {zone: z2}, " PLAIN), "b", NULL },
		{ "nodeSelector without match", two, NULL, POD("", "nodeSelector: {zone: z3}, " PLAIN), NULL,
			NO_MATCH },
		{ "In", two, NULL,
			POD("",
				NODE_AFFINITY
				"{matchExpressions: [{key: zone, operator: In, values: [z2, z3]}]}]}}}, " PLAIN),
			"b", NULL },
		{ "NotIn", two, NULL,
			POD("",
				NODE_AFFINITY
				"{matchExpressions: [{key: zone, operator: NotIn, values: [z1]}]}]}}}, " PLAIN),
			"b", NULL },
		{ "Exists", "[" NODE("a", "", "") "," NODE("b", "ssd: yes1", "") "]", NULL,
			POD("", NODE_AFFINITY "{matchExpressions: [{key: ssd, operator: Exists}]}]}}}, " PLAIN), "b",
			NULL },
		{ "DoesNotExist", "[" NODE("a", "ssd: yes1", "") "," NODE("b", "", "") "]", NULL,
			POD("", NODE_AFFINITY "{matchExpressions: [{key: ssd, operator: DoesNotExist}]}]}}}, " PLAIN),
			"b", NULL },
		{ "Gt", "[" NODE("a", "gen: '3'", "") "," NODE("b", "gen: '4'", "") "]", NULL,
			POD("",
				NODE_AFFINITY
				"{matchExpressions: [{key: gen, operator: Gt, values: ['3']}]}]}}}, " PLAIN),
			"b", NULL },
		{ "Lt", "[" NODE("a", "gen: '3'", "") "," NODE("b", "gen: '4'", "") "]", NULL,
			POD("",
				NODE_AFFINITY
				"{matchExpressions: [{key: gen, operator: Lt, values: ['4']}]}]}}}, " PLAIN),
			"a", NULL },
		{ "matchFields", two, NULL,
			POD("",
				NODE_AFFINITY
				"{matchFields: [{key: metadata.name, operator: In, values: [b]}]}]}}}, " PLAIN),
			"b", NULL },
		{ "terms are alternatives", two, NULL,
			POD("",
				NODE_AFFINITY
				"{matchExpressions: [{key: zone, operator: In, values: [z9]}]}, {matchExpressions: [{key: zone, operator: In, "
				"values: [z2]}]}]}}}, " PLAIN),
			"b", NULL },
		{ "an empty term matches nothing", two, NULL, POD("", NODE_AFFINITY "{}]}}}, " PLAIN), NULL, NO_MATCH },
		{ "preferred", two, NULL,
			POD("",
				"affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: "
				"[{key: zone, operator: In, values: [z1]}]}}, {weight: 9, preference: {matchExpressions: [{key: zone, operator: In, values: "
				"[z2]}]}}]}}, " PLAIN),
			"b", NULL },
	};

	(void)state;
	check_all(rows, ARRAY_LEN(rows));
}

static void ports_and_resources(void **state)
{
#define PORT(port, more) "containers: [{name: c, ports: [{containerPort: 80, hostPort: " port ", " more "}]}]"
#define NO_PORT "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
	static const struct row rows[] = {
		{ "port taken", one, "[" PLACED("p", "a", "", PORT("80", "")) "]", POD("", PORT("80", "")), NULL,
			NO_PORT },
		{ "port taken, other node", two, "[" PLACED("p", "a", "", PORT("80", "")) "]", POD("", PORT("80", "")),
			"b", NULL },
		{ "another protocol", one, "[" PLACED("p", "a", "", PORT("80", "")) "]",
			POD("", PORT("80", "protocol: UDP")), "a", NULL },
		{ "another address", one, "[" PLACED("p", "a", "", PORT("80", "hostIP: 10.0.0.1")) "]",
			POD("", PORT("80", "hostIP: 10.0.0.2")), "a", NULL },
		{ "any address", one, "[" PLACED("p", "a", "", PORT("80", "hostIP: 10.0.0.1")) "]",
			POD("", PORT("80", "")), NULL, NO_PORT },
		{ "cpu fits exactly", one, "[" PLACED("p", "a", "", CPU("3")) "]", POD("", CPU("1")), "a", NULL },
		{ "cpu", one, "[" PLACED("p", "a", "", CPU("3")) "]", POD("", CPU("1001m")), NULL,
			"0/1 nodes are available: 1 Insufficient cpu." },
		{ "cpu and memory", one, NULL,
			POD("", "containers: [{name: c, resources: {requests: {cpu: 5, memory: 9Gi}}}]"), NULL,
			"0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory." },
		{ "storage", one, NULL,
			POD("", "containers: [{name: c, resources: {requests: {ephemeral-storage: 11Gi}}}]"), NULL,
			"0/1 nodes are available: 1 Insufficient ephemeral-storage." },
		{ "extended resource", one,
			"[" PLACED("p", "a", "", "containers: [{name: c, resources: {requests: {x.io/gpu: 1}}}]") "]",
			POD("", "containers: [{name: c, resources: {requests: {x.io/gpu: 2}}}]"), NULL,
			"0/1 nodes are available: 1 Insufficient x.io/gpu." },
		{ "extended resource fits", one, NULL,
			POD("", "containers: [{name: c, resources: {requests: {x.io/gpu: 2}}}]"), "a", NULL },
		{ "number of pods", big_small, "[" PLACED("p", "a", "", PLAIN) "]", POD("", CPU("2")), NULL,
			"0/2 nodes are available: 1 Insufficient cpu, 1 Too many pods." },
		{ "largest init container counts", one, NULL,
			POD("", "initContainers: [{name: i, resources: {requests: {cpu: 5}}}], " CPU("1")), NULL,
			"0/1 nodes are available: 1 Insufficient cpu." },
		{ "init containers run one by one", one, NULL,
			POD("",
				"initContainers: [{name: i, resources: {requests: {cpu: 3}}}, {name: j, resources: {requests: {cpu: 3}}}], " CPU(
					"2")),
			"a", NULL },
		{ "sidecars run beside all", one, NULL,
			POD("",
				"initContainers: [{name: i, restartPolicy: Always, resources: {requests: {cpu: 3}}}], " CPU(
					"2")),
			NULL, "0/1 nodes are available: 1 Insufficient cpu." },
		{ "a sidecar counts for init containers after it", one, NULL,
			POD("",
				"initContainers: [{name: i, restartPolicy: Always, resources: {requests: {cpu: 2}}}, {name: j, resources: {requests: {cpu: "
				"3}}}], " PLAIN),
			NULL, "0/1 nodes are available: 1 Insufficient cpu." },
		{ "overhead", one, NULL, POD("", "overhead: {cpu: 1}, " CPU("3500m")), NULL,
			"0/1 nodes are available: 1 Insufficient cpu." },
		{ "resources of the pod as a whole", one, NULL, POD("", "resources: {requests: {cpu: 5}}, " CPU("1")),
			NULL, "0/1 nodes are available: 1 Insufficient cpu." },
		{ "least used node", two, "[" PLACED("p", "a", "", CPU("2")) "]", POD("", CPU("1")), "b", NULL },
		{ "balance of cpu and memory", /* a has a little more free, b is even */
			"[{metadata: {name: a}, status: {allocatable: {cpu: 4, memory: 8Gi, pods: 9}}}, {metadata: {name: b}, status: {allocatable: {cpu: "
			"5334m, memory: 5334Mi, pods: 9}}}]",
			NULL, POD("", "containers: [{name: c, resources: {requests: {cpu: 2, memory: 2Gi}}}]"), "b",
			NULL },
	};

	(void)state;
	check_all(rows, ARRAY_LEN(rows));
}

#define TERM(key, label) "{topologyKey: " key ", labelSelector: {matchLabels: {app: " label "}}}"
#define NEAR(term) "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [" term "]}}, "
#define FAR(term) "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [" term "]}}, "
#define LIKES(term)                                                                                                      \
	"affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 10, podAffinityTerm: " term \
	"}]}}, "
#define SHUNS(term)                                                                                                          \
	"affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 10, podAffinityTerm: " term \
	"}]}}, "

static void affinity_between_pods(void **state)
{
	static const char elsewhere[] =
		"[{metadata: {name: p, uid: p, namespace: other, labels: {app: web}}, spec: {nodeName: b, " PLAIN "}}]";
	static const struct row rows[] = {
		{ "near", two, "[" PLACED("p", "b", "app: web", PLAIN) "]", POD("", NEAR(TERM("zone", "web")) PLAIN),
			"b", NULL },
		{ "near nobody", two, "[" PLACED("p", "b", "app: db", PLAIN) "]",
			POD("", NEAR(TERM("zone", "web")) PLAIN), NULL,
			"0/2 nodes are available: 2 node(s) didn't match pod affinity rules." },
		{ "the first of its group", one, NULL, POD("app: web", NEAR(TERM("zone", "web")) PLAIN), "a", NULL },
		{ "the first of its group needs the label", one, NULL, POD("app: web", NEAR(TERM("rack", "web")) PLAIN),
			NULL, "0/1 nodes are available: 1 node(s) didn't match pod affinity rules." },
		{ "another namespace", two, elsewhere, POD("", NEAR(TERM("zone", "web")) PLAIN), NULL,
			"0/2 nodes are available: 2 node(s) didn't match pod affinity rules." },
		{ "namespace by name", two, elsewhere,
			POD("",
				NEAR("{topologyKey: zone, namespaces: [other], labelSelector: {matchLabels: {app: web}}}")
					PLAIN),
			"b", NULL },
		{ "namespace by label", two, elsewhere,
			POD("",
				NEAR("{topologyKey: zone, namespaceSelector: {matchLabels: {team: x}}, labelSelector: {matchLabels: {app: web}}}")
					PLAIN),
			"b", NULL },
		{ "all namespaces", two, elsewhere,
			POD("",
				NEAR("{topologyKey: zone, namespaceSelector: {}, labelSelector: {matchLabels: {app: web}}}")
					PLAIN),
			"b", NULL },
		{ "far", two, "[" PLACED("p", "a", "app: web", PLAIN) "]", POD("", FAR(TERM("zone", "web")) PLAIN), "b",
			NULL },
		{ "nowhere far", one, "[" PLACED("p", "a", "app: web", PLAIN) "]",
			POD("", FAR(TERM("zone", "web")) PLAIN), NULL,
			"0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules." },
		{ "far from what lacks the label", one, "[" PLACED("p", "a", "app: web", PLAIN) "]",
			POD("", FAR(TERM("rack", "web")) PLAIN), "a", NULL },
		{ "the one that is there wants to be far", one,
			"[" PLACED("p", "a", "", FAR(TERM("zone", "web")) PLAIN) "]", POD("app: web", PLAIN), NULL,
			"0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules." },
		{ "the one that is there wants others to be far", one,
			"[" PLACED("p", "a", "", FAR(TERM("zone", "db")) PLAIN) "]", POD("app: web", PLAIN), "a",
			NULL },
		{ "likes", two, "[" PLACED("p", "b", "app: web", PLAIN) "]", POD("", LIKES(TERM("zone", "web")) PLAIN),
			"b", NULL },
		{ "shuns", two, "[" PLACED("p", "a", "app: web", PLAIN) "," PLACED("q", "b", "app: db", CPU("1")) "]",
			POD("", SHUNS(TERM("zone", "web")) PLAIN), "b", NULL },
		{ "is liked", two, "[" PLACED("p", "b", "", LIKES(TERM("zone", "web")) PLAIN) "]",
			POD("app: web", PLAIN), "b", NULL },
		{ "is shunned", two,
			"[" PLACED("p", "a", "", SHUNS(TERM("zone", "web")) PLAIN) "," PLACED(
				"q", "b", "", CPU("1")) "]",
			POD("app: web", PLAIN), "b", NULL },
		{ "matchLabelKeys", two,
			"[" PLACED("p", "a", "app: web, hash: one", PLAIN) "," PLACED(
				"q", "b", "app: web, hash: two", PLAIN) "]",
			POD("app: web, hash: two",
				NEAR("{topologyKey: zone, matchLabelKeys: [hash], labelSelector: {matchLabels: {app: web}}}")
					PLAIN),
			"b", NULL },
		{ "mismatchLabelKeys", two,
			"[" PLACED("p", "a", "app: web, hash: two", PLAIN) "," PLACED(
				"q", "b", "app: web, hash: one", PLAIN) "]",
			POD("app: web, hash: two",
				NEAR("{topologyKey: zone, mismatchLabelKeys: [hash], labelSelector: {matchLabels: {app: web}}}")
					PLAIN),
			"b", NULL },
	};

	(void)state;
	check_all(rows, ARRAY_LEN(rows));
}

#define SPREAD(key, when, more)                                                                   \
	"topologySpreadConstraints: [{maxSkew: 1, topologyKey: " key ", whenUnsatisfiable: " when \
	", labelSelector: {matchLabels: {app: web}}, " more "}], "
#define UNEVEN "node(s) didn't match pod topology spread constraints"

static void spread(void **state)
{
	static const char uneven[] =
		"[" PLACED("p", "a", "app: web", PLAIN) "," PLACED("q", "b", "app: db", CPU("3")) "]";
	static const char tainted[] = "[" NODE("a", "zone: z1", "") "," NODE(
		"b", "zone: z2", "spec: {taints: [{key: k, effect: NoSchedule}]},") "]";
	static const struct row rows[] = {
		{ "hard", two, uneven, POD("app: web", SPREAD("zone", "DoNotSchedule", "") PLAIN), "b", NULL },
		{ "hard, others do not count", two, uneven, POD("app: db", SPREAD("zone", "DoNotSchedule", "") PLAIN),
			"a", NULL },
		{ "a tainted domain counts", tainted, "[" PLACED("p", "a", "app: web", PLAIN) "]",
			POD("app: web", SPREAD("zone", "DoNotSchedule", "") PLAIN), NULL,
			"0/2 nodes are available: 1 " UNEVEN ", 1 node(s) had untolerated taint {k: }." },
		{ "a tainted domain does not count", tainted, "[" PLACED("p", "a", "app: web", PLAIN) "]",
			POD("app: web", SPREAD("zone", "DoNotSchedule", "nodeTaintsPolicy: Honor") PLAIN), "a", NULL },
		{ "domains that the pod cannot use do not count", two, "[" PLACED("p", "a", "app: web", PLAIN) "]",
			POD("app: web", "nodeSelector: {zone: z1}, " SPREAD("zone", "DoNotSchedule", "") PLAIN), "a",
			NULL },
		{ "or do", two, "[" PLACED("p", "a", "app: web", PLAIN) "]",
			POD("app: web",
				"nodeSelector: {zone: z1}, " SPREAD(
					"zone", "DoNotSchedule", "nodeAffinityPolicy: Ignore") PLAIN),
			NULL,
			"0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 " UNEVEN "." },
		{ "a node without the label", one, NULL, POD("app: web", SPREAD("rack", "DoNotSchedule", "") PLAIN),
			NULL, "0/1 nodes are available: 1 " UNEVEN " (missing required label)." },
		{ "too few domains", two,
			"[" PLACED("p", "a", "app: web", PLAIN) "," PLACED("q", "b", "app: web", PLAIN) "]",
			POD("app: web", SPREAD("zone", "DoNotSchedule", "minDomains: 3") PLAIN), NULL,
			"0/2 nodes are available: 2 " UNEVEN "." },
		{ "enough domains", two,
			"[" PLACED("p", "a", "app: web", PLAIN) "," PLACED("q", "b", "app: web", CPU("1")) "]",
			POD("app: web", SPREAD("zone", "DoNotSchedule", "minDomains: 2") PLAIN), "a", NULL },
		{ "soft", two, uneven, POD("app: web", SPREAD("zone", "ScheduleAnyway", "") PLAIN), "b", NULL },
		{ "soft, nothing else", one, "[" PLACED("p", "a", "app: web", PLAIN) "]",
			POD("app: web", SPREAD("zone", "ScheduleAnyway", "") PLAIN), "a", NULL },
		{ "a controller's pods spread without asking", two,
			"[{metadata: {name: p, uid: p, namespace: default, ownerReferences: [{uid: rs, controller: true}]}, spec: {nodeName: a, " PLAIN
			"}},"
			"{metadata: {name: q, uid: q, namespace: default}, spec: {nodeName: b, " PLAIN "}}]",
			"{metadata: {name: new, uid: new, namespace: default, ownerReferences: [{uid: rs, controller: true}]}, spec: {" PLAIN
			"}}",
			"b", NULL },
		{ "matchLabelKeys", two,
			"[" PLACED("p", "a", "app: web, hash: two", PLAIN) "," PLACED(
				"q", "b", "app: web, hash: one", PLAIN) "]",
			POD("app: web, hash: two", SPREAD("zone", "DoNotSchedule", "matchLabelKeys: [hash]") PLAIN),
			"b", NULL },
	};

	(void)state;
	check_all(rows, ARRAY_LEN(rows));
}

static void images(void **state)
{
#define WITH_IMAGE(name, image) \
	"{metadata: {name: " name "}, status: {allocatable: {cpu: 4, memory: 8Gi, pods: 9}, images: [" image "]}}"
	static const struct row rows[] = {
		{ "has the image",
			"[" WITH_IMAGE("a", "") "," WITH_IMAGE("b", "{names: [x/y:1], sizeBytes: 900000000}") "]", NULL,
			POD("", "containers: [{name: c, image: 'x/y:1'}]"), "b", NULL },
		{ "has the latest image",
			"[" WITH_IMAGE("a", "") "," WITH_IMAGE("b", "{names: [x/y:latest], sizeBytes: 900000000}") "]",
			NULL, POD("", "containers: [{name: c, image: x/y}]"), "b", NULL },
	};

	(void)state;
	check_all(rows, ARRAY_LEN(rows));
}

/* ---- preemption ------------------------------------------------------------------------------ */

#define PRIO(uid, node, priority, cpu, more)                                                                           \
	"{metadata: {name: " uid ", uid: " uid ", namespace: default, labels: {app: " uid "}}, spec: {nodeName: " node \
	", priority: " priority ", " CPU(cpu) "}, status: {" more "}}"

struct preempt_row {
	const char *what, *placed, *pod, *budgets, *node, *victims; /* node NULL: none */
};

static void check_preemption(const struct preempt_row *r)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = yaml_doc(r->pod), *b = yaml_doc(r->budgets ? r->budgets : "{}");
	auto_(pod_info_free) struct pod_info *pod = pod_info_new(d);
	auto_buf struct buf names = BUF_INIT;
	struct informer_list budgets = { &b, r->budgets != NULL };
	struct snapshot s;
	struct preemption p;
	struct cycle c;
	int64_t used;

	snapshot_init(&s);
	fill(&s, a, two, r->placed);
	used = s.list[0]->used[RES_CPU] + s.list[1]->used[RES_CPU];
	cycle_begin(&c, &s, a, pod);
	assert_null(cycle_choose(&c));
	p = preempt(&c, &budgets);
	for (size_t i = 0; i < p.n_victims; i++)
		buf_printf(&names, "%s%.*s", i ? "," : "", STR_ARG(doc_name(p.victims[i]->doc)));
	if (!p.node != !r->node ||
		(p.node && (!str_is(p.node->name, r->node) || !str_is(buf_view(&names), r->victims))))
		fail_msg("%s: wanted %s on %s, got %.*s on %s", r->what, r->victims, r->node, STR_ARG(buf_view(&names)),
			p.node ? p.node->text : "none");
	assert_int_equal(s.list[0]->used[RES_CPU] + s.list[1]->used[RES_CPU], used); /* all are back */
	snapshot_fini(&s);
}

static void pushes_out_the_least(void **state)
{
	static const struct preempt_row rows[] = {
		{ "lower priority", "[" PRIO("p", "a", "5", "4", "") "," PRIO("q", "b", "1", "4", "") "]",
			POD("", "priority: 9, " CPU("1")), NULL, "b", "q" },
		{ "nobody is lower", "[" PRIO("p", "a", "9", "4", "") "," PRIO("q", "b", "9", "4", "") "]",
			POD("", "priority: 9, " CPU("1")), NULL, NULL, "" },
		{ "only as many as needed",
			"[" PRIO("p", "a", "9", "4", "") "," PRIO("q", "b", "1", "3", "") "," PRIO(
				"r", "b", "2", "1", "") "]",
			POD("", "priority: 9, " CPU("1")), NULL, "b", "q" },
		{ "fewer victims",
			"[" PRIO("p", "a", "1", "4", "") "," PRIO("q", "b", "1", "2", "") "," PRIO(
				"r", "b", "1", "2", "") "]",
			POD("", "priority: 9, " CPU("4")), NULL, "a", "p" },
		{ "a budget protects", "[" PRIO("p", "a", "1", "4", "") "," PRIO("q", "b", "2", "4", "") "]",
			POD("", "priority: 9, " CPU("4")),
			"{metadata: {name: b, namespace: default}, spec: {selector: {matchLabels: {app: p}}}, status: {disruptionsAllowed: 0}}",
			"b", "q" },
		{ "the one that started last",
			"[" PRIO("p", "a", "1", "4", "startTime: '2026-01-01T00:00:00Z'") "," PRIO(
				"q", "b", "1", "4", "startTime: '2026-01-02T00:00:00Z'") "]",
			POD("", "priority: 9, " CPU("4")), NULL, "b", "q" },
		{ "no use", "[" PRIO("p", "a", "1", "4", "") "," PRIO("q", "b", "1", "4", "") "]",
			POD("", "priority: 9, " CPU("5")), NULL, NULL, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check_preemption(&rows[i]);
}

/* ---- what the snapshot counts ---------------------------------------------------------------- */

static void snapshot_counts(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct snapshot s;
	struct node_info *n;

	(void)state;
	snapshot_init(&s);
	fill(&s, a, two, "[" PLACED("p", "a", "", CPU("1")) "," PLACED("q", "c", "", CPU("1")) "]");
	assert_int_equal(s.n, 2);
	n = map_get(s.nodes, STR("c")); /* a node nobody has seen yet keeps its pods */
	assert_non_null(n);
	assert_int_equal(n->used[RES_CPU], 1000);
	snapshot_forget_pod(&s, STR("q"));
	assert_null(map_get(s.nodes, STR("c")));
	snapshot_node(&s, STR("a"), NULL);
	assert_int_equal(s.n, 1);
	assert_non_null(map_get(s.nodes, STR("a")));
	snapshot_forget_pod(&s, STR("p"));
	assert_null(map_get(s.nodes, STR("a")));
	snapshot_fini(&s);
}

/* ---- classes --------------------------------------------------------------------------------- */

static const char *node_for(struct snapshot *s, const char *text)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = yaml_doc(text);
	auto_(pod_info_free) struct pod_info *pod = pod_info_new(d);
	struct node_info *n;
	struct cycle c;

	cycle_begin(&c, s, a, pod);
	n = cycle_choose(&c);
	return n ? n->text : "none";
}

#define LABEL(label) NEAR("{labelSelector: {matchLabels: {" label "}}, topologyKey: kubernetes.io/hostname}") PLAIN

/* As a StatefulSet's: each has a label that no other has. */
static void place_many(struct snapshot *s, int n)
{
	for (int i = 0; i < n; i++) {
		auto_free char *text = xasprintf(
			"{metadata: {name: p%d, uid: p%d, namespace: default, labels: {app: x, own: p%d}}, spec: {nodeName: %s, " PLAIN
			"}}",
			i, i, i, i % 2 ? "b" : "a");
		auto_(doc_unref) struct doc *d = yaml_doc(text);

		snapshot_pod(s, d, doc_str(d, "spec.nodeName"));
	}
}

static void pods_differ_in_labels_that_somebody_asks_for(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct snapshot s;

	(void)state;
	snapshot_init(&s);
	fill(&s, a, two, NULL);
	place_many(&s, 10);
	assert_int_equal(map_len(s.classes_of_pods), 1);
	assert_string_equal(node_for(&s, POD("", LABEL("app: x"))), "a");
	assert_int_equal(map_len(s.classes_of_pods), 1);
	assert_string_equal(node_for(&s, POD("", LABEL("own: p7"))), "b");
	assert_int_equal(map_len(s.classes_of_pods), 10);
	assert_string_equal(node_for(&s, POD("", LABEL("own: p8"))), "a");
	assert_string_equal(node_for(&s, POD("", LABEL("own: p10"))), "none");
	snapshot_forget_pod(&s, STR("p8"));
	assert_int_equal(map_len(s.classes_of_pods), 9);
	assert_string_equal(node_for(&s, POD("", LABEL("own: p8"))), "none");
	snapshot_fini(&s);
}

static void constraints_ask_too(void **state)
{
	static const char other[] =
		"topologySpreadConstraints: [{maxSkew: 1, whenUnsatisfiable: DoNotSchedule, "
		"topologyKey: zone, labelSelector: {matchExpressions: [{key: own, operator: In, values: [p1, p3]}]}}], " PLAIN,
			  mine[] = "topologySpreadConstraints: [{maxSkew: 1, whenUnsatisfiable: DoNotSchedule, "
				   "topologyKey: zone, labelSelector: {}, matchLabelKeys: [own]}], " PLAIN;
	auto_(arena_free) struct arena *a = arena_new();
	auto_free char *by_expression = xasprintf(POD("own: p1", "%s"), other),
		       *by_key = xasprintf(POD("own: p2", "%s"), mine);
	struct snapshot s;

	(void)state;
	for (int i = 0; i < 2; i++) {
		snapshot_init(&s);
		fill(&s, a, two, NULL);
		place_many(&s, 6);
		assert_string_equal(node_for(&s, i ? by_key : by_expression), i ? "b" : "a");
		snapshot_fini(&s);
	}
}

/* matchLabelKeys of a placed pod's term is about that pod's own value: such pods are not alike. */
static void own_values_in_terms_make_classes(void **state)
{
	static const char far[] =
		FAR("{labelSelector: {}, matchLabelKeys: [own], topologyKey: kubernetes.io/hostname}") PLAIN;
	auto_(arena_free) struct arena *a = arena_new();
	auto_free char *placed =
		xasprintf("[" PLACED("p", "a", "own: p", "%s") "," PLACED("q", "b", "own: q", "%s") "]", far, far);
	struct snapshot s;

	(void)state;
	snapshot_init(&s);
	fill(&s, a, two, placed);
	assert_int_equal(map_len(s.classes_of_pods), 2);
	assert_string_equal(node_for(&s, POD("own: p", PLAIN)), "b");
	assert_string_equal(node_for(&s, POD("own: q", PLAIN)), "a");
	snapshot_fini(&s);
}

/* Pods that ask for more label names than are told apart. No node fits them. */
static void ask_many_names(struct snapshot *s)
{
	for (int i = 0; i < 100; i++) {
		auto_free char *text = xasprintf(POD("", LABEL("name-%d: x")), i);

		assert_string_equal(node_for(s, text), "none");
	}
}

static void many_names_make_every_label_count(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct snapshot s;

	(void)state;
	snapshot_init(&s);
	fill(&s, a, two, NULL);
	place_many(&s, 10);
	ask_many_names(&s);
	assert_true(s.all_asked);
	assert_int_equal(map_len(s.classes_of_pods), 10);
	assert_string_equal(node_for(&s, POD("", LABEL("own: p7"))), "b");
	snapshot_fini(&s);
}

static void forget(struct snapshot *s, int minutes)
{
	snapshot_tidy_labels(s, mono_add_ms(s->asked_until, (int64_t)minutes * 60000));
}

/* A pod that asked once does not slow down all decisions after it. */
static void names_that_nobody_asks_for_are_forgotten(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct snapshot s;

	(void)state;
	snapshot_init(&s);
	fill(&s, a, two, NULL);
	place_many(&s, 10);
	ask_many_names(&s);
	assert_true(s.all_asked);
	forget(&s, -1); /* not yet */
	assert_true(s.all_asked);
	forget(&s, 0);
	assert_false(s.all_asked);
	assert_int_equal(map_len(s.classes_of_pods), 1);
	assert_string_equal(node_for(&s, POD("", LABEL("own: p7"))), "b");
	assert_int_equal(map_len(s.classes_of_pods), 10);
	forget(&s, 0); /* asked for lately */
	assert_int_equal(map_len(s.asked), 1);
	assert_int_equal(map_len(s.classes_of_pods), 10);
	forget(&s, 0);
	assert_int_equal(map_len(s.asked), 0);
	assert_int_equal(map_len(s.classes_of_pods), 1);
	assert_string_equal(node_for(&s, POD("", LABEL("own: p7"))), "b");
	snapshot_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_by_name_taint_and_label),
		cmocka_unit_test(ports_and_resources),
		cmocka_unit_test(affinity_between_pods),
		cmocka_unit_test(spread),
		cmocka_unit_test(images),
		cmocka_unit_test(pushes_out_the_least),
		cmocka_unit_test(snapshot_counts),
		cmocka_unit_test(pods_differ_in_labels_that_somebody_asks_for),
		cmocka_unit_test(constraints_ask_too),
		cmocka_unit_test(own_values_in_terms_make_classes),
		cmocka_unit_test(many_names_make_every_label_count),
		cmocka_unit_test(names_that_nobody_asks_for_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

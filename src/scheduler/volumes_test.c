/* Where pods with claims go, why not, and what is written first. */
#include "doc/doc_fixture.h"
#include "scheduler/scheduler_internal.h"
#include <stdio.h>

#define TO(node)                                                                                                     \
	"nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: host, operator: In, values: [" node \
	"]}]}]}}"
#define BOUND(volume)                                                                                       \
	"{metadata: {name: c, namespace: d, annotations: {pv.kubernetes.io/bind-completed: 'yes'}}, spec: " \
	"{volumeName: " volume "}}"
#define WAITS(class, more)                               \
	"{metadata: {name: c, namespace: d, uid: u" more \
	"}, spec: {storageClassName: " class ", resources: {requests: {storage: 1Gi}}}}"
#define SELECTED(node) ", annotations: {volume.kubernetes.io/selected-node: " node "}"
#define USES_C "volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]"
#define ONE_POD                                                                                             \
	"{metadata: {name: c, namespace: d, annotations: {pv.kubernetes.io/bind-completed: 'yes'}}, spec: " \
	"{volumeName: any, accessModes: [ReadWriteOncePod]}}"

#define ZONE "topology.kubernetes.io/zone"
#define ZONE_BEFORE "failure-domain.beta.kubernetes.io/zone"

static const char nodes[] =
	"[{metadata: {name: a, labels: {host: a, " ZONE
	": z1}}, status: {allocatable: {pods: 9}}}, {metadata: {name: b, labels: {host: b, " ZONE_BEFORE
	": z2}}, status: {allocatable: {pods: 9}}}]";
static const char volumes[] =
	"[{metadata: {name: any}}, {metadata: {name: z1, labels: {" ZONE ": z1}}}, {metadata: {name: z2, labels: {" ZONE
	": z0__z2}}}, {metadata: {name: z2-before, labels: {" ZONE_BEFORE
	": z2}}}, {metadata: {name: z3, labels: {" ZONE ": z12__z}}},"
	"{metadata: {name: r, labels: {topology.kubernetes.io/region: r}}}, {metadata: {name: onb}, spec: {" TO(
		"b") "}},"
		     "{metadata: {name: free-b}, status: {phase: Available}, spec: {storageClassName: static, capacity: "
		     "{storage: 2Gi}, " TO("b") "}}]";
static const char classes[] = "[{metadata: {name: static}, provisioner: kubernetes.io/no-provisioner, "
			      "volumeBindingMode: WaitForFirstConsumer},"
			      "{metadata: {name: made}, provisioner: x, volumeBindingMode: WaitForFirstConsumer},"
			      "{metadata: {name: made-on-b}, provisioner: x, volumeBindingMode: WaitForFirstConsumer, "
			      "allowedTopologies: [{matchLabelExpressions: [{key: host, values: [b]}]}]},"
			      "{metadata: {name: now}, provisioner: x}]";

static const struct row {
	const char *what, *claim, *pod, *placed;
	const char *node, *plan; /* plan: "claim=volume", "claim" when one is made there, "waits" when nothing is to be
				    written; "": ready */
	const char *message;
} rows[] = {
	{ "no claim", NULL, "", NULL, "a", "", NULL },
	{ "missing", NULL, USES_C, NULL, NULL, NULL,
		"0/2 nodes are available: persistentvolumeclaim \"c\" not found." },
	{ "bound, everywhere", BOUND("any"), USES_C, NULL, "a", "", NULL },
	{ "bound, on b", BOUND("onb"), USES_C, NULL, "b", "", NULL },
	{ "bound, in the zone of a", BOUND("z1"), USES_C, NULL, "a", "", NULL },
	{ "bound, in two zones, one is b's", BOUND("z2"), USES_C, NULL, "b", "", NULL },
	{ "bound, its zone by the older label", BOUND("z2-before"), USES_C, NULL, "b", "", NULL },
	{ "bound, in another zone", BOUND("z3"), USES_C, NULL, NULL, NULL,
		"0/2 nodes are available: 2 node(s) had no available volume zone." },
	{ "bound, in a region that no node tells of", BOUND("r"), USES_C, NULL, NULL, NULL,
		"0/2 nodes are available: 2 node(s) had no available volume zone." },
	{ "bound to nothing", BOUND("gone"), USES_C, NULL, NULL, NULL,
		"0/2 nodes are available: persistentvolume \"gone\" not found." },
	{ "bound, on b, the pod wants a", BOUND("onb"), "nodeSelector: {host: a}, " USES_C, NULL, NULL, NULL,
		"0/2 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity, 1 node(s) didn't "
		"match Pod's node affinity/selector." },
	{ "immediate", WAITS("now", ""), USES_C, NULL, NULL, NULL,
		"0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims." },
	{ "no class", WAITS("''", ""), USES_C, NULL, NULL, NULL,
		"0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims." },
	{ "a volume is on b", WAITS("static", ""), USES_C, NULL, "b", "c=free-b", NULL },
	{ "a volume is on b, the pod wants a", WAITS("static", ""), "nodeSelector: {host: a}, " USES_C, NULL, NULL,
		NULL,
		"0/2 nodes are available: 1 node(s) didn't find available persistent volumes to bind, 1 node(s) didn't "
		"match Pod's node affinity/selector." },
	{ "one is made", WAITS("made", ""), USES_C, NULL, "a", "c", NULL },
	{ "one can be made on b", WAITS("made-on-b", ""), USES_C, NULL, "b", "c", NULL },
	{ "one is being made on b", WAITS("made", SELECTED("b")), USES_C, NULL, "b", "waits", NULL },
	{ "one was to be made on a node that is gone", WAITS("made", SELECTED("x")), USES_C, NULL, "a", "c", NULL },
	{ "deleted", "{metadata: {name: c, namespace: d, deletionTimestamp: '2026-01-01T00:00:00Z'}}", USES_C, NULL,
		NULL, NULL, "0/2 nodes are available: persistentvolumeclaim \"c\" is being deleted." },
	{ "lost", "{metadata: {name: c, namespace: d}, spec: {volumeName: v}, status: {phase: Lost}}", USES_C, NULL,
		NULL, NULL,
		"0/2 nodes are available: persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"v\"." },
	{ "ephemeral, not made yet", NULL, "volumes: [{name: v, ephemeral: {}}]", NULL, NULL, NULL,
		"0/2 nodes are available: waiting for ephemeral volume controller to create the persistentvolumeclaim "
		"\"new-v\"." },
	{ "for one pod, free", ONE_POD, USES_C, NULL, "a", "", NULL },
	{ "for one pod, taken", ONE_POD, USES_C,
		"{metadata: {name: p, uid: p, namespace: d}, spec: {nodeName: b, " USES_C "}}", NULL, NULL,
		"0/2 nodes are available: 2 node has pod using PersistentVolumeClaim with the same name and "
		"ReadWriteOncePod access mode." },
	{ "for one pod, of another namespace", ONE_POD, USES_C,
		"{metadata: {name: p, uid: p, namespace: e}, spec: {nodeName: b, " USES_C "}}", "a", "", NULL },
};

static void put_all(struct snapshot *s, struct map *m, struct arena *a, const char *list)
{
	auto_(doc_unref) struct doc *all = yaml_doc(list);

	for (struct val_iter it = val_iter(doc_root(all)); val_next(&it);) {
		auto_(doc_unref) struct doc *d = node_publish(node_from(a, it.val));

		if (m)
			snapshot_doc(m, doc_name(d), d);
		else
			snapshot_node(s, doc_name(d), d);
	}
}

static void fill(struct snapshot *s, struct arena *a, const struct row *r)
{
	auto_(doc_unref) struct doc *claim = r->claim ? yaml_doc(r->claim) : NULL,
				    *placed = r->placed ? yaml_doc(r->placed) : NULL;

	snapshot_init(s);
	put_all(s, NULL, a, nodes);
	put_all(s, s->volumes, a, volumes);
	put_all(s, s->classes, a, classes);
	if (claim)
		snapshot_doc(s->claims, STR("d/c"), claim);
	if (placed)
		snapshot_pod(s, placed, doc_str(placed, "spec.nodeName"));
}

static const char *plan_text(struct arena *a, const struct volume_plan *p)
{
	const char *text = p->waits && !p->n ? "waits" : "";

	for (size_t i = 0; i < p->n; i++)
		text = arena_printf(a, "%s%.*s%s%.*s", text, STR_ARG(doc_name(p->writes[i].claim)),
			p->writes[i].volume ? "=" : "",
			STR_ARG(p->writes[i].volume ? doc_name(p->writes[i].volume) : STR_NULL));
	return text;
}

static void check(const struct row *r)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_free char *text =
		xasprintf("{metadata: {name: new, uid: new, namespace: d}, spec: {%s%scontainers: [{name: c}]}}",
			r->pod, *r->pod ? ", " : "");
	auto_(doc_unref) struct doc *d = yaml_doc(text);
	auto_(pod_info_free) struct pod_info *pod = pod_info_new(d);
	struct volume_plan plan;
	struct node_info *n;
	struct snapshot s;
	struct cycle c;

	fill(&s, a, r);
	cycle_begin(&c, &s, a, pod);
	n = cycle_choose(&c);
	if (r->node && (!n || !str_is(n->name, r->node)))
		fail_msg("%s: wanted node %s, got %s (%s)", r->what, r->node, n ? n->text : "none", cycle_message(&c));
	if (r->message && (n || strcmp(cycle_message(&c), r->message)))
		fail_msg("%s: wanted \"%s\", got %s \"%s\"", r->what, r->message, n ? n->text : "no node",
			cycle_message(&c));
	if (n) {
		plan = volumes_plan(&c, n);
		if (strcmp(plan_text(a, &plan), r->plan))
			fail_msg("%s: wanted to write \"%s\", got \"%s\"", r->what, r->plan, plan_text(a, &plan));
	}
	snapshot_fini(&s);
}

static void pods_with_claims(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check(&rows[i]);
}

static void no_volume_serves_two_claims(void **state)
{
	static const struct row two = { .claim = WAITS("static", ""), .pod = "" };
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *other =
		yaml_doc("{metadata: {name: e, namespace: d, uid: w}, spec: "
			 "{storageClassName: static, resources: {requests: {storage: 1Gi}}}}");
	auto_(doc_unref) struct doc *d =
		yaml_doc("{metadata: {name: new, uid: new, namespace: d}, spec: {volumes: [{name: v, "
			 "persistentVolumeClaim: {claimName: c}}, "
			 "{name: w, persistentVolumeClaim: {claimName: e}}], containers: [{name: c}]}}");
	auto_(pod_info_free) struct pod_info *pod = pod_info_new(d);
	struct snapshot s;
	struct cycle c;

	(void)state;
	fill(&s, a, &two);
	snapshot_doc(s.claims, STR("d/e"), other);
	cycle_begin(&c, &s, a, pod);
	assert_null(cycle_choose(&c));
	assert_string_equal(cycle_message(&c),
		"0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.");
	snapshot_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(pods_with_claims),
		cmocka_unit_test(no_volume_serves_two_claims) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* How many decisions a second the scheduler makes, in this process alone: a snapshot of NODES nodes, PODS pods one
 * after the other, each put where the scheduler chose. No API and no store: what a binding costs there is `load`'s to
 * measure.
 *
 *     build/release/bench/scheduler [--nodes 5000] [--pods 50000] [--apps 100]
 *
 * Every pod belongs to a ReplicaSet, so that it spreads over nodes and zones by itself. plain: requests of CPU and
 * memory, as most pods have. spread: DoNotSchedule and ScheduleAnyway over zones and nodes. near: required affinity to
 * pods of the same app in a zone. far: required anti-affinity to pods of the same app on a node. both: the two
 * together, with preferred ones. */
#include "scheduler/scheduler_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ZONES 10

static int64_t cpu_ns(void) /* of this process: others may use the machine, too */
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static struct doc *parse(struct buf *text)
{
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse(buf_view(text), &d, &e) < 0) {
		fprintf(stderr, "%s\n%.*s\n", e.message, STR_ARG(buf_view(text)));
		exit(1);
	}
	return d;
}

static void add_nodes(struct snapshot *s, int n)
{
	for (int i = 0; i < n; i++) {
		auto_buf struct buf b = BUF_INIT;
		auto_(doc_unref) struct doc *d = NULL;

		buf_printf(&b,
			"{\"metadata\":{\"name\":\"node-%d\",\"labels\":{\"kubernetes.io/hostname\":\"node-%d\",\"kubernetes.io/os\":\"linux\","
			"\"topology.kubernetes.io/zone\":\"zone-%d\"}},\"status\":{\"allocatable\":{\"cpu\":\"32\",\"memory\":\"128Gi\",\"pods\":\"110\"}}}",
			i, i, i % ZONES);
		d = parse(&b);
		snapshot_node(s, doc_name(d), d);
	}
}

#define SELECT "\"labelSelector\":{\"matchLabels\":{\"app\":\"app-%d\"}}"
#define ZONE "\"topologyKey\":\"topology.kubernetes.io/zone\""
#define HOST "\"topologyKey\":\"kubernetes.io/hostname\""

static void constraints(struct buf *b, const char *how, int app)
{
	if (!strcmp(how, "spread"))
		buf_printf(b,
			"\"topologySpreadConstraints\":[{\"maxSkew\":1,\"whenUnsatisfiable\":\"DoNotSchedule\"," ZONE
			"," SELECT "},{\"maxSkew\":1,\"whenUnsatisfiable\":\"ScheduleAnyway\"," HOST "," SELECT "}],",
			app, app);
	if (!strcmp(how, "near"))
		buf_printf(b,
			"\"affinity\":{\"podAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{" ZONE
			"," SELECT "}]}},",
			app);
	if (!strcmp(how, "far"))
		buf_printf(b,
			"\"affinity\":{\"podAntiAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{" HOST
			"," SELECT "}]}},",
			app);
	if (!strcmp(how, "both"))
		buf_printf(b,
			"\"affinity\":{\"podAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{" ZONE
			"," SELECT
			"}],\"preferredDuringSchedulingIgnoredDuringExecution\":[{\"weight\":10,\"podAffinityTerm\":{" ZONE
			"," SELECT
			"}}]},\"podAntiAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{" HOST
			"," SELECT
			"}],\"preferredDuringSchedulingIgnoredDuringExecution\":[{\"weight\":5,\"podAffinityTerm\":{" ZONE
			"," SELECT "}}]}},",
			app, app, app, (app + 1) % 7);
}

static struct doc *pod(const char *how, int i, int app)
{
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b,
		"{\"metadata\":{\"name\":\"pod-%d\",\"namespace\":\"default\",\"uid\":\"u%d\",\"labels\":{\"app\":\"app-%d\"},\"ownerReferences\":[{\"kind\":"
		"\"ReplicaSet\",\"name\":\"app-%d\",\"uid\":\"r%d\",\"controller\":true}]},\"spec\":{",
		i, i, app, app, app);
	constraints(&b, how, app);
	buf_printf(&b,
		"\"containers\":[{\"name\":\"c\",\"image\":\"registry/app-%d:1\",\"resources\":{\"requests\":{\"cpu\":\"100m\",\"memory\":\"200Mi\"}}}]}}",
		app);
	return parse(&b);
}

static void measure(const char *how, int nodes, int pods, int apps)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct doc **docs = xcalloc((size_t)pods, sizeof(struct doc *));
	struct snapshot s;
	int placed = 0;
	int64_t began, slowest = 0;

	snapshot_init(&s);
	add_nodes(&s, nodes);
	for (int i = 0; i < pods; i++)
		docs[i] = pod(how, i, i % apps);
	began = cpu_ns();
	for (int i = 0; i < pods; i++) {
		int64_t start = cpu_ns();
		struct pod_info *p = pod_info_new(docs[i]);
		struct cycle c;

		cycle_begin(&c, &s, a, p);
		struct node_info *n = cycle_choose(&c);
		if (n)
			snapshot_pod(&s, docs[i], n->name, true);
		placed += n != NULL;
		pod_info_free(p);
		arena_reset(a);
		slowest = MAX(slowest, cpu_ns() - start);
		if (cpu_ns() - began > INT64_C(60000000000)) {
			pods = i + 1;
			break;
		}
	}
	double took = (double)(cpu_ns() - began) / 1e9;
	printf("%-7s %d nodes, %d pods, %d apps: %d placed in %.2f s of CPU: %.0f/s, slowest %.2f ms\n", how, nodes,
		pods, apps, placed, took, placed / took, (double)slowest / 1e6);
	fflush(stdout);
	for (int i = 0; i < pods; i++)
		doc_unref(docs[i]);
	free(docs);
	snapshot_fini(&s);
}

static int option(int argc, char **argv, const char *name, int otherwise)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return (int)strtol(argv[i + 1], NULL, 10);
	return otherwise;
}

int main(int argc, char **argv)
{
	static const char *const all[] = { "plain", "spread", "near", "far", "both" };
	int nodes = option(argc, argv, "--nodes", 5000), pods = option(argc, argv, "--pods", 50000),
	    apps = option(argc, argv, "--apps", 100);

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		measure(all[i], nodes, pods, apps);
	return 0;
}

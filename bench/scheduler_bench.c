/* How many decisions a second the scheduler makes, in this process alone: a snapshot of NODES nodes, PODS pods one
 * after the other, each put where the scheduler chose. No API and no store: what a binding costs there is `load`'s to
 * measure.
 *
 *     build/release/bench/scheduler [--nodes 5000] [--pods 50000] [--apps 100] [plain]
 */
#include "pods.h"
#include "scheduler/scheduler_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

		node_text(&b, i);
		d = parse(&b);
		snapshot_node(s, doc_name(d), d);
	}
}

static struct doc *pod(const char *kind, int i, int app)
{
	auto_buf struct buf b = BUF_INIT;

	pod_text(&b, kind, "default", i, app);
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
		placed += n != NULL;
		if (n)
			snapshot_assume(&s, TAKE(p), n);
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
	static const char *const all[] = { "plain", "spread", "near", "far", "both", "own" };
	int nodes = option(argc, argv, "--nodes", 5000), pods = option(argc, argv, "--pods", 50000),
	    apps = option(argc, argv, "--apps", 100);

	const char *only = argc % 2 ? NULL : argv[argc - 1];

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (!only || !strcmp(only, all[i]))
			measure(all[i], nodes, pods, apps);
	return 0;
}

/* What an update costs in CPU where it changes nothing, and where it changes a label: the pod of corpus/pod.json, in a
 * memory store and without sockets.
 *
 *     build/release/bench/write bench/corpus/pod.json [COUNT]
 */
#include "ask.h"
#include "store/store.h"
#include <stdio.h>
#include <stdlib.h>

#define POD "/api/v1/namespaces/default/pods/bench"

static void call(struct api *api, const char *method, const char *path, const char *type, struct str body, int want)
{
	static const struct str groups[] = { { "system:masters", 14 } };
	struct identity id = { .user = STR("admin"), .groups = groups, .n_groups = 1 };
	struct http_header h = { STR("content-type"), str_c(type) };
	struct api_call c = { .method = str_c(method),
		.path = str_c(path),
		.headers = &h,
		.n_headers = 1,
		.body = body,
		.identity = &id };
	int status = ask(api, &c);

	if (status != want) {
		fprintf(stderr, "%s %s: %d\n", method, path, status);
		exit(1);
	}
}

/* The pod as its owner would send it, with one label of ours. */
static struct str pod_text(struct arena *a, struct doc *pod, const char *label)
{
	static const char *const of_spec[] = { "priority", "priorityClassName", "preemptionPolicy", "runtimeClassName",
		"nodeName" };
	struct node *n = node_copy(a, node_from(a, doc_root(pod)));
	auto_buf struct buf b = BUF_INIT;

	node_setc(n, "metadata", node_pack(a, "{name:'bench', labels:{bench:s}}", label));
	node_delc(n, "status");
	for (size_t i = 0; i < ARRAY_LEN(of_spec); i++)
		node_delc(node_getc(n, "spec"), of_spec[i]);
	node_set_path(n, "spec.serviceAccountName", node_c(a, "default"));
	node_set_path(n, "spec.serviceAccount", node_c(a, "default"));
	node_set_path(n, "spec.automountServiceAccountToken", node_bool(a, false));
	node_write(n, &b);
	return arena_str(a, buf_view(&b));
}

static void measure(struct api *api, const char *method, const char *type, const struct str body[2], int n)
{
	for (int changes = 0; changes < 2; changes++) {
		call(api, method, POD, type, body[0], 200);
		int64_t began = cpu_ns();
		for (int i = 1; i <= n; i++)
			call(api, method, POD, type, body[changes ? i % 2 : 0], 200);
		printf("%s that changes %s: %.1f us CPU each\n", method, changes ? "a label" : "nothing",
			(double)(cpu_ns() - began) / n / 1e3);
	}
}

int main(int argc, char **argv)
{
	const struct str patches[2] = { STR("{\"metadata\":{\"labels\":{\"bench\":\"a\"}}}"),
		STR("{\"metadata\":{\"labels\":{\"bench\":\"b\"}}}") };
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *pod = NULL;
	static char text[100000];
	FILE *in = argc > 1 ? fopen(argv[1], "r") : NULL;
	int n = argc > 2 ? atoi(argv[2]) : 3000;
	struct store *s;
	struct api *api;
	struct err e;

	err_init(&e);
	if (!in || n < 1 || doc_parse(str_n(text, fread(text, 1, sizeof(text), in)), &pod, &e) < 0)
		return 2;
	fclose(in);
	struct api_opts o = { 0 };
	if (store_open_memory(&s, &e) < 0)
		return 1;
	o.store = s;
	if (api_new(&o, &api, &e) < 0)
		return 1;
	struct str puts[2] = { pod_text(a, pod, "a"), pod_text(a, pod, "b") };
	call(api, "POST", "/api/v1/namespaces/default/serviceaccounts", "application/json",
		STR("{\"metadata\":{\"name\":\"default\"}}"), 201);
	call(api, "POST", "/api/v1/namespaces/default/pods", "application/json", puts[0], 201);
	measure(api, "PUT", "application/json", puts, n);
	measure(api, "PATCH", "application/merge-patch+json", patches, n);
	api_stop(api);
	store_close(s);
	api_free(api);
	return 0;
}

/* What a GET of a Secret costs when a node asks: PODS pods of one namespace, PER_NODE on each node, one Secret each, in
 * a memory store and without sockets. Each node reads the Secrets of its own pods.
 *
 *     build/release/bench/node_authz [PODS] [PER_NODE]
 */
#include "ask.h"
#include "store/store.h"
#include <stdio.h>
#include <stdlib.h>

static void put(struct store *s, const char *key, const char *value)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *plain = NULL, *d = NULL;
	struct store_write w = { .key = str_c(key), .expect_revision = STORE_ANY };
	int64_t revision;
	struct err e;

	err_init(&e);
	PRE(doc_parse(str_c(value), &plain, &e) == 0);
	d = node_publish_versioned(node_from(a, doc_root(plain)));
	w.value = doc_text(d);
	if (store_write(s, &w, &revision, &e) < 0) {
		fprintf(stderr, "%s\n", e.message);
		exit(1);
	}
}

static void fill(struct store *s, int pods, int per_node)
{
	for (int i = 0; i < pods; i++) {
		auto_free char *pod_key = xasprintf("pods/default/p-%d", i);
		auto_free char *key = xasprintf("secrets/default/s-%d", i);
		auto_free char *pod = xasprintf(
			"{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"p-%d\",\"namespace\":\"default\"},"
			"\"spec\":{\"nodeName\":\"node-%d\",\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"env\":[{"
			"\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"2\"}],\"envFrom\":[{\"secretRef\":{"
			"\"name\":\"s-%d\"}}]}],\"serviceAccountName\":\"default\",\"volumes\":[{\"name\":\"v\",\"emptyDir\":"
			"{}},{\"name\":\"c\",\"configMap\":{\"name\":\"c-%d\"}}]},\"status\":{\"phase\":\"Running\"}}",
			i, i / per_node, i, i);
		auto_free char *secret = xasprintf(
			"{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"s-%d\",\"namespace\":"
			"\"default\"},\"data\":{\"k\":\"dmFsdWU=\"},\"type\":\"Opaque\"}",
			i);

		put(s, pod_key, pod);
		put(s, key, secret);
	}
}

static int get(struct api *api, int pod, int per_node)
{
	static const struct str groups[] = { { "system:nodes", 12 }, { "system:authenticated", 20 } };
	auto_free char *user = xasprintf("system:node:node-%d", pod / per_node);
	auto_free char *path = xasprintf("/api/v1/namespaces/default/secrets/s-%d", pod);
	struct identity id = { .user = str_c(user), .groups = groups, .n_groups = 2 };
	struct api_call c = { .method = STR("GET"), .path = str_c(path), .identity = &id };

	return ask(api, &c);
}

static void measure(struct api *api, const char *what, int gets, int pods, int per_node)
{
	int64_t began = cpu_ns();
	int ok = 0;

	for (int i = 0; i < gets; i++)
		ok += get(api, (int)((int64_t)i * 7919 % pods), per_node) == 200;
	printf("%s: %d of %d answered, %.1f us CPU each\n", what, ok, gets, (double)(cpu_ns() - began) / gets / 1e3);
}

int main(int argc, char **argv)
{
	int pods = argc > 1 ? atoi(argv[1]) : 10000, per_node = argc > 2 ? atoi(argv[2]) : 10;
	struct store *s;
	struct api *api;
	struct err e;

	if (pods < 1 || per_node < 1)
		return 2;
	err_init(&e);
	if (store_open_memory(&s, &e) < 0)
		return 1;
	fill(s, pods, per_node);
	struct api_opts o = { .store = s };
	if (api_new(&o, &api, &e) < 0) {
		fprintf(stderr, "%s\n", e.message);
		return 1;
	}
	printf("%d pods in one namespace, %d a node\n", pods, per_node);
	measure(api, "first", 200, pods, per_node);
	measure(api, "then", 2000, pods, per_node);
	api_stop(api);
	store_close(s);
	api_free(api);
	return 0;
}

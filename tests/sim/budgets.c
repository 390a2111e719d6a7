/* Evictions in the story, as kubectl drain makes them: refused ones are tried again. */
#include "sim.h"
#include <stdio.h>

#define EVICTIONS 20

static void evict(struct world *w, struct doc *pod, int *refused)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *body = node_publish(
		node_pack(a, "{apiVersion:'policy/v1', kind:'Eviction', metadata:{name:S}}", doc_name(pod)));
	struct client_request rq = {
		.verb = VERB_CREATE, .res = res_pods, .ns = NS, .name = doc_name(pod), .sub = "eviction", .body = body
	};
	struct err e;

	err_init(&e);
	if (client_call(w->admin, &rq, NULL, &e) >= 0 || e.code == ERR_NOT_FOUND)
		return;
	*refused += e.code == ERR_TOO_MANY;
	if (e.code != ERR_TOO_MANY)
		fail(w, "evict %.*s: %s", STR_ARG(doc_name(pod)), e.message);
}

static struct doc *any_pod_of(struct world *w, struct arena *a, const char *app)
{
	struct informer_list all = informer_list(checker_pods(w->checker), a, NULL, STR_NULL);
	struct doc **mine = ARENA_ARRAY(a, struct doc *, all.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < all.n; i++)
		if (val_is(val_get(doc_get(all.items[i], "metadata.labels"), "app"), app))
			mine[n++] = all.items[i];
	return n ? mine[rand_below(n)] : NULL;
}

void budgets_evict(struct world *w, const char *app)
{
	int refused = 0;

	sim_create(w, res_poddisruptionbudgets, NS,
		yaml("{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: %s}, spec: {maxUnavailable: "
		     "1, "
		     "selector: {matchLabels: {app: %s}}}}",
			app, app));
	for (int i = 0; i < EVICTIONS && !failed(w); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		struct doc *pod = any_pod_of(w, a, app);

		if (pod)
			evict(w, pod, &refused);
		task_sleep_ms((int64_t)rand_below(1500));
	}
	task_trace("%d evictions were refused", refused);
}

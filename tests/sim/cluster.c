/* The control plane as src/cmd/control.c puts it together, without sockets, over the memory store. */
#include "sim.h"
#include <stdarg.h>
#include <stdio.h>

static struct client *client_for(void *arg, const char *name)
{
	static const char *const groups[] = { "system:serviceaccounts", "system:serviceaccounts:kube-system", NULL };
	struct world *w = arg;
	auto_free char *user = xasprintf("system:serviceaccount:kube-system:%s", name);

	return api_local_client(w->api, user, groups, name);
}

void fail(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failure[0])
		return;
	va_start(ap, fmt);
	vsnprintf(w->failure, sizeof(w->failure), fmt, ap);
	va_end(ap);
	task_trace("failure: %s", w->failure);
}

bool failed(const struct world *w)
{
	return w->failure[0] != 0;
}

struct doc *yaml(const char *fmt, ...)
{
	char text[4096];
	struct doc *d = NULL;
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_init(&e);
	if (doc_parse_yaml(str_c(text), NULL, NULL, &d, &e) < 0)
		PANIC("%s in %s", e.message, text);
	return d;
}

void cluster_start(struct world *w)
{
	static const char *const masters[] = { "system:masters", NULL }, *const none[] = { NULL };
	struct api_opts api = { 0 };
	struct controllers_opts co = {
		.client_for = client_for, .arg = w, .ca_pem = STR("a certificate"), .host = "sim"
	};
	struct err e;

	err_init(&e);
	if (store_open_memory(&w->store, &e) < 0)
		PANIC("store: %s", e.message);
	api.store = w->store;
	if (api_new(&api, &w->api, &e) < 0)
		PANIC("api: %s", e.message);
	w->admin = api_local_client(w->api, "admin", masters, "story");
	w->shared = api_local_client(w->api, "system:kube-controller-manager", none, "shared-informers");
	w->scheduler_client = api_local_client(w->api, "system:kube-scheduler", none, "default-scheduler");
	w->checker = checker_new(w);
	w->informers = informers_new(w->shared);
	co.informers = w->informers;
	w->controllers = controllers_new(&co);
	w->scheduler = scheduler_new(
		&(struct scheduler_opts){ .client = w->scheduler_client, .informers = w->informers, .host = "sim" });
	informers_start(w->informers);
	controllers_start(w->controllers);
	scheduler_start(w->scheduler);
	for (size_t i = 0; i < w->n_nodes; i++)
		w->nodes[i] = sim_node_new(w, (int)i + 1);
}

void cluster_stop(struct world *w)
{
	for (size_t i = 0; i < w->n_nodes; i++)
		sim_node_free(w->nodes[i]);
	api_stop(w->api);
	scheduler_stop(w->scheduler);
	controllers_stop(w->controllers);
	informers_free(w->informers);
	scheduler_free(w->scheduler);
	controllers_free(w->controllers);
	checker_free(w->checker);
	client_free(w->scheduler_client);
	client_free(w->shared);
	client_free(w->admin);
	store_close(w->store);
	api_free(w->api);
}

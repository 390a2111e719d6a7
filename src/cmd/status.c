/* status: one screen about the cluster, from what the API says. */
#include "base/file.h"
#include "client/client.h"
#include "cmd/cmd.h"

#include <stdio.h>
#include <unistd.h>

struct counts {
	struct arena *a;
	int64_t pods, running, not_ready, nodes, nodes_ready;
	struct node *troubles, *node_list;
	struct buf held_off; /* names, a line each */
};

static struct val condition(struct doc *d, const char *type)
{
	return val_find(doc_get(d, "status.conditions"), "type", str_c(type));
}

/* The first container that waits for a reason that a person can act on. */
static struct str waiting_reason(struct doc *pod)
{
	static const char *const lists[] = { "status.initContainerStatuses", "status.containerStatuses" };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (struct val_iter it = val_iter(doc_get(pod, lists[i])); val_next(&it);)
			if (val_has(val_path(it.val, "state.waiting.reason")))
				return val_str(val_path(it.val, "state.waiting.reason"));
	return val_str(val_get(condition(pod, "PodScheduled"), "message"));
}

static void on_pod(void *arg, struct doc *take)
{
	struct counts *n = arg;
	struct str phase = doc_str(take, "status.phase");
	bool ended = str_is(phase, "Succeeded"), ready = val_is(val_get(condition(take, "Ready"), "status"), "True");

	n->pods++;
	n->running += str_is(phase, "Running");
	if (!ended && !ready) {
		n->not_ready++;
		node_add(n->troubles,
			node_pack(n->a, "{kind:'pod', namespace:S, name:S, state:S, reason:S}", doc_ns(take),
				doc_name(take), phase, waiting_reason(take)));
	}
	doc_unref(take);
}

static void on_node(void *arg, struct doc *take)
{
	struct counts *n = arg;
	bool ready = val_is(val_get(condition(take, "Ready"), "status"), "True");

	n->nodes++;
	n->nodes_ready += ready;
	node_add(n->node_list,
		node_pack(n->a, "{name:S, ready:b, zone:S, version:S, reason:S}", doc_name(take), ready,
			val_str(val_get(doc_get(take, "metadata.labels"), "topology.kubernetes.io/zone")),
			doc_str(take, "status.nodeInfo.kubeletVersion"),
			val_str(val_get(condition(take, "Ready"), "message"))));
	doc_unref(take);
}

static int gather(struct client *c, struct counts *n, struct err *e)
{
	struct client_request pods = { .verb = VERB_LIST, .res = res_pods },
			      nodes = { .verb = VERB_LIST, .res = res_nodes };
	char revision[24];

	if (client_list(c, &nodes, on_node, n, revision, e) < 0)
		return err_wrap(e, "list nodes");
	return client_list(c, &pods, on_pod, n, revision, e) < 0 ? err_wrap(e, "list pods") : 0;
}

static const char *text(struct arena *a, struct node *n, const char *key)
{
	return arena_cstr(a, node_text_str(node_getc(n, key)));
}

static void print_screen(const struct counts *n)
{
	printf("server   ready\nnodes    %lld of %lld ready\npods     %lld, %lld running, %lld not ready\n",
		(long long)n->nodes_ready, (long long)n->nodes, (long long)n->pods, (long long)n->running,
		(long long)n->not_ready);
	for (struct str name, rest = buf_view(&n->held_off); str_next(&rest, '\n', &name);)
		if (name.n)
			printf("held off %.*s: it ended the control process three times within a minute; restart Kogge to try it again\n",
				STR_ARG(name));
	printf("survives no failure of this machine: one server, one store (data is durable on its disk)\n");
	for (size_t i = 0; i < node_len(n->node_list); i++) {
		struct node *one = node_at(n->node_list, i);
		bool ready = node_bool_of(node_getc(one, "ready"), false);

		printf("\nnode %s  %s  %s%s%s\n", text(n->a, one, "name"), ready ? "Ready" : "NotReady",
			text(n->a, one, "version"), ready ? "" : "\n  ", ready ? "" : text(n->a, one, "reason"));
	}
	for (size_t i = 0; i < node_len(n->troubles); i++) {
		struct node *one = node_at(n->troubles, i);

		printf("%spod %s/%s  %s  %s\n", i ? "" : "\n", text(n->a, one, "namespace"), text(n->a, one, "name"),
			text(n->a, one, "state"), text(n->a, one, "reason"));
	}
}

static void print_json(const struct counts *n)
{
	auto_buf struct buf out = BUF_INIT;
	struct node *held = node_list(n->a);

	for (struct str name, rest = buf_view(&n->held_off); str_next(&rest, '\n', &name);)
		if (name.n)
			node_add(held, node_str(n->a, name));
	node_write(
		node_pack(n->a,
			"{server:{ready:true, heldOff:o}, nodes:o, pods:{total:I, running:I, notReady:I}, troubles:o}",
			held, n->node_list, n->pods, n->running, n->not_ready, n->troubles),
		&out);
	printf("%.*s\n", (int)out.n, out.p);
}

int cmd_status(struct arena *a, const struct settings *s)
{
	const char *path = s->kubeconfig[0] ? s->kubeconfig : arena_printf(a, "%s/admin.kubeconfig", s->data_dir);
	struct counts n = { .a = a, .troubles = node_list(a), .node_list = node_list(a), .held_off = BUF_INIT };
	auto_(client_free) struct client *c = NULL;
	bool held;
	struct err e;

	err_init(&e);
	if (access(path, R_OK) < 0)
		return fail(
			"%s cannot be read: is a server running on this machine, and are you root? (--kubeconfig names another file)",
			path);
	if (client_kubeconfig(path, "kogge-status", &c, &e) < 0 || gather(c, &n, &e) < 0)
		return fail("%s", e.message);
	(void)file_read(arena_printf(a, "%s/held-off", s->data_dir), &n.held_off, &e); /* usually not there */
	if (!strcmp(s->output, "json"))
		print_json(&n);
	else
		print_screen(&n);
	held = n.held_off.n > 0;
	buf_fini(&n.held_off);
	return n.nodes_ready < n.nodes || n.not_ready || held ? 3 : 0;
}

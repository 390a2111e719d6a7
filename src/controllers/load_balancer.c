/* service-controller: addresses of Services of type LoadBalancer. Where no machine outside balances, the nodes' own
 * addresses do: the service proxy of each takes connections to the Service's ports there.
 *
 *   nodes that are ready and not excluded ─► without those where the port is taken ─► status.loadBalancer.ingress
 *
 * A port is taken by another such Service, by a hostPort of a pod, or by a program of the machine (hostports/); who has
 * it keeps it, of two Services that want it the older gets it. A Service that finds no node says why in an Event. One with a class is somebody
 * else's. Source: Kubernetes' documentation, "Service", type LoadBalancer. */
#include "controllers/controllers_internal.h"
#include "hostports/hostports.h"

#include <stdio.h>

#define LOG_MODULE "controllers"
#define EXCLUDED "node.kubernetes.io/exclude-from-external-load-balancers"
#define SERVICE_OF_SLICE "kubernetes.io/service-name"
#define INDEX_BALANCED "balanced"     /* Services that get an address here, all under one key */
#define INDEX_HOST_PORTS "host-ports" /* pods that hold some, by node */
#define INDEX_SERVICE "service"       /* slices by "namespace/name" of their Service */

struct work {
	struct ctl *c;
	struct arena *a;
	struct doc *service;
	struct informer_list services, slices; /* all that are balanced; this one's endpoints */
	char why[600];                         /* what stands in the way, as far as it was looked for */
};

static bool is_balanced(const struct doc *service)
{
	return service && !is_deleting(service) && str_is(doc_str(service, "spec.type"), "LoadBalancer") &&
		!val_has(doc_get(service, "spec.loadBalancerClass"));
}

static bool has_ingress(const struct doc *service)
{
	return val_len(doc_get(service, "status.loadBalancer.ingress")) > 0;
}

/* ---- nodes ------------------------------------------------------------------------------------ */

static bool takes_part(const struct doc *node)
{
	return !is_deleting(node) && val_is(val_get(condition_of(doc_root(node), "Ready"), "status"), "True") &&
		!val_has(val_get(doc_get(node, "metadata.labels"), EXCLUDED));
}

/* externalTrafficPolicy Local: only nodes that have a ready endpoint answer. */
static bool answers(struct work *w, const struct doc *node)
{
	if (!str_is(doc_str(w->service, "spec.externalTrafficPolicy"), "Local"))
		return true;
	for (size_t i = 0; i < w->slices.n; i++)
		for (struct val_iter it = val_iter(doc_get(w->slices.items[i], "endpoints")); val_next(&it);)
			if (str_eq(val_str(val_get(it.val, "nodeName")), doc_name(node)) &&
				val_bool(val_path(it.val, "conditions.ready"), true))
				return true;
	return false;
}

static bool is_ipv6(struct str ip)
{
	return str_has(ip, STR(":"));
}

static bool wants(const struct doc *service, struct str ip)
{
	struct str asked = doc_str(service, "spec.loadBalancerIP");

	if (asked.n && !str_eq(asked, ip))
		return false;
	for (struct val_iter it = val_iter(doc_get(service, "spec.ipFamilies")); val_next(&it);)
		if (val_is(it.val, is_ipv6(ip) ? "IPv6" : "IPv4"))
			return true;
	return false;
}

/* The node's addresses of one type that the Service may have. */
static size_t addresses(struct work *w, const struct doc *node, const char *type, struct str *ret)
{
	size_t n = 0;

	for (struct val_iter it = val_iter(doc_get(node, "status.addresses")); val_next(&it);)
		if (val_is(val_get(it.val, "type"), type) && wants(w->service, val_str(val_get(it.val, "address"))))
			ret[n++] = val_str(val_get(it.val, "address"));
	return n;
}

/* ---- whose port it is --------------------------------------------------------------------------- */

static bool has_address(const struct doc *service, struct str ip)
{
	for (struct val_iter it = val_iter(doc_get(service, "status.loadBalancer.ingress")); val_next(&it);)
		if (str_eq(val_str(val_get(it.val, "ip")), ip))
			return true;
	return false;
}

static bool has_port(const struct doc *service, struct str proto, int64_t port)
{
	for (struct val_iter it = val_iter(doc_get(service, "spec.ports")); val_next(&it);)
		if (val_int(val_get(it.val, "port"), 0) == port && str_eq(val_str(val_get(it.val, "protocol")), proto))
			return true;
	return false;
}

/* Who has the address goes before who wants it, then who is older. */
static bool goes_before(const struct doc *a, const struct doc *b, struct str ip)
{
	struct str since_a = doc_str(a, "metadata.creationTimestamp"),
		   since_b = doc_str(b, "metadata.creationTimestamp");

	if (has_address(a, ip) != has_address(b, ip))
		return has_address(a, ip);
	if (!str_eq(since_a, since_b))
		return str_cmp(since_a, since_b) < 0;
	return str_cmp(doc_uid(a), doc_uid(b)) < 0;
}

static bool taken_by_service(struct work *w, struct str ip, struct str proto, int64_t port)
{
	for (size_t i = 0; i < w->services.n; i++) {
		struct doc *other = w->services.items[i];

		if (!is_balanced(other) || str_eq(doc_uid(other), doc_uid(w->service)) ||
			!has_port(other, proto, port) || !(has_address(other, ip) || wants(other, ip)) ||
			!goes_before(other, w->service, ip))
			continue;
		(void)snprintf(w->why, sizeof(w->why), "%.*s:%lld/%.*s is the address of Service %.*s/%.*s",
			STR_ARG(ip), (long long)port, STR_ARG(proto), STR_ARG(doc_ns(other)), STR_ARG(doc_name(other)));
		return true;
	}
	return false;
}

static bool pod_has_host_port(const struct doc *pod, struct str proto, int64_t port)
{
	for (struct val_iter c = val_iter(doc_get(pod, "spec.containers")); val_next(&c);)
		for (struct val_iter it = val_iter(val_get(c.val, "ports")); val_next(&it);)
			if (val_int(val_get(it.val, "hostPort"), 0) == port &&
				str_eq(val_str(val_get(it.val, "protocol")), proto))
				return true;
	return false;
}

static bool taken_by_pod(struct work *w, const struct doc *node, struct str proto, int64_t port)
{
	struct informer_list pods = informer_list(ctl_informer(w->c, res_pods), w->a, INDEX_HOST_PORTS, doc_name(node));

	for (size_t i = 0; i < pods.n; i++) {
		struct doc *pod = pods.items[i];

		if (!pod_has_host_port(pod, proto, port))
			continue;
		(void)snprintf(w->why, sizeof(w->why), "port %lld/%.*s of node %.*s is a hostPort of pod %.*s/%.*s",
			(long long)port, STR_ARG(proto), STR_ARG(doc_name(node)), STR_ARG(doc_ns(pod)),
			STR_ARG(doc_name(pod)));
		return true;
	}
	return false;
}

static bool taken_by_program(struct work *w, const struct doc *node, struct str proto, int64_t port)
{
	struct str note = val_str(val_get(doc_get(node, "metadata.annotations"), HOST_PORTS_NOTE));

	if (!hostports_has(note, proto, port))
		return false;
	(void)snprintf(w->why, sizeof(w->why),
		"a program of node %.*s listens on port %lld/%.*s (`ss -lnp sport = :%lld` there names it)",
		STR_ARG(doc_name(node)), (long long)port, STR_ARG(proto), (long long)port);
	return true;
}

/* Its own endpoints are on the host network there and listen on this very port: then it is theirs. */
static bool own_endpoints_listen(struct work *w, struct str ip, struct str proto, int64_t port)
{
	for (size_t i = 0; i < w->slices.n; i++) {
		bool same_port = false, same_ip = false;

		for (struct val_iter it = val_iter(doc_get(w->slices.items[i], "ports")); val_next(&it);)
			same_port |= val_int(val_get(it.val, "port"), 0) == port &&
				str_eq(val_str(val_get(it.val, "protocol")), proto);
		for (struct val_iter it = val_iter(doc_get(w->slices.items[i], "endpoints")); val_next(&it);)
			for (struct val_iter at = val_iter(val_get(it.val, "addresses")); val_next(&at);)
				same_ip |= str_eq(val_str(at.val), ip);
		if (same_port && same_ip)
			return true;
	}
	return false;
}

static bool is_free(struct work *w, const struct doc *node, struct str ip)
{
	for (struct val_iter it = val_iter(doc_get(w->service, "spec.ports")); val_next(&it);) {
		struct str proto = val_str(val_get(it.val, "protocol"));
		int64_t port = val_int(val_get(it.val, "port"), 0);

		if (taken_by_service(w, ip, proto, port))
			return false;
		if (!has_address(w->service, ip) && !own_endpoints_listen(w, ip, proto, port) &&
			(taken_by_pod(w, node, proto, port) || taken_by_program(w, node, proto, port)))
			return false;
	}
	return true;
}

/* ---- reconcile ---------------------------------------------------------------------------------- */

static void add_node(struct work *w, const struct doc *node, struct node *ingress)
{
	struct str *list = ARENA_ARRAY(w->a, struct str, val_len(doc_get(node, "status.addresses")) + 1);
	size_t n;

	if (!takes_part(node) || !answers(w, node))
		return;
	n = addresses(w, node, "ExternalIP", list);
	if (!n)
		n = addresses(w, node, "InternalIP", list);
	for (size_t i = 0; i < n; i++)
		if (is_free(w, node, list[i]))
			node_add(ingress, node_pack(w->a, "{ip:S, ipMode:'VIP'}", list[i]));
}

static struct node *ingress_of(struct work *w)
{
	struct informer_list nodes = informer_list(ctl_informer(w->c, res_nodes), w->a, NULL, STR_NULL);
	struct node *ingress = node_list(w->a);
	struct str asked = doc_str(w->service, "spec.loadBalancerIP");

	for (size_t i = 0; i < nodes.n; i++)
		add_node(w, nodes.items[i], ingress);
	if (node_len(ingress) || *w->why)
		return ingress;
	if (asked.n)
		(void)snprintf(w->why, sizeof(w->why), "spec.loadBalancerIP %.*s is no address of a ready node",
			STR_ARG(asked));
	else if (str_is(doc_str(w->service, "spec.externalTrafficPolicy"), "Local"))
		(void)snprintf(w->why, sizeof(w->why),
			"no ready node has a ready endpoint, as externalTrafficPolicy Local wants");
	else
		(void)snprintf(w->why, sizeof(w->why), "no node is ready and has an address of its families");
	return ingress;
}

static int write_ingress(struct work *w, struct node *ingress, struct err *e)
{
	struct node *status = node_from(w->a, doc_get(w->service, "status"));

	if (!status)
		status = node_map(w->a);
	node_setc(status, "loadBalancer", node_len(ingress) ? node_pack(w->a, "{ingress:o}", ingress) : node_map(w->a));
	return write_status(w->c, w->a, res_services, w->service, status, e);
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	auto_(doc_unref) struct doc *service = NULL;
	struct work w = { .c = c, .a = a };
	struct str ns, name;

	key_split(key, &ns, &name);
	service = w.service = informer_get(ctl_informer(c, res_services), ns, name);
	if (service && !str_is(doc_str(service, "spec.type"), "LoadBalancer") && has_ingress(service))
		return write_ingress(&w, node_list(a), e); /* it was one */
	if (!is_balanced(service))
		return 0;
	w.services = informer_list(ctl_informer(c, res_services), a, INDEX_BALANCED, STR(INDEX_BALANCED));
	w.slices = informer_list(ctl_informer(c, res_endpointslices), a, INDEX_SERVICE, key);
	struct node *ingress = ingress_of(&w);
	if (write_ingress(&w, ingress, e) < 0)
		return -e->code;
	if (!node_len(ingress))
		recorder_event(c->recorder, service, "Warning", "SyncLoadBalancerFailed",
			"No address: %s. Another port, a free node or --without loadbalancer (with a balancer of your own) helps",
			w.why);
	else if (!has_ingress(service))
		recorder_event(c->recorder, service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer");
	return 0;
}

/* ---- who must look again -------------------------------------------------------------------------- */

static void add_all(struct ctl *c)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list all = informer_list(ctl_informer(c, res_services), a, INDEX_BALANCED, STR(INDEX_BALANCED));

	for (size_t i = 0; i < all.n; i++)
		ctl_add_doc(c, all.items[i]);
}

/* A Service that lets go of an address makes room for others. */
static void key_balanced(struct ctl *c, struct doc *before, struct doc *after)
{
	if (after && (is_balanced(after) || has_ingress(after)))
		ctl_add_doc(c, after);
	if (is_balanced(before) &&
		(!is_balanced(after) || !val_equal(doc_get(before, "spec.ports"), doc_get(after, "spec.ports")) ||
			!val_equal(doc_get(before, "status.loadBalancer"), doc_get(after, "status.loadBalancer"))))
		add_all(c);
}

static bool same_for_balancing(struct doc *before, struct doc *after)
{
	return takes_part(before) == takes_part(after) &&
		val_equal(doc_get(before, "status.addresses"), doc_get(after, "status.addresses")) &&
		val_equal(val_get(doc_get(before, "metadata.annotations"), HOST_PORTS_NOTE),
			val_get(doc_get(after, "metadata.annotations"), HOST_PORTS_NOTE));
}

static void key_of_node(struct ctl *c, struct doc *before, struct doc *after)
{
	if (!before || !after || !same_for_balancing(before, after))
		add_all(c);
}

static bool holds_host_ports(struct doc *pod)
{
	if (!pod || pod_ended(pod) || !doc_str(pod, "spec.nodeName").n)
		return false;
	for (struct val_iter c = val_iter(doc_get(pod, "spec.containers")); val_next(&c);)
		for (struct val_iter it = val_iter(val_get(c.val, "ports")); val_next(&it);)
			if (val_int(val_get(it.val, "hostPort"), 0))
				return true;
	return false;
}

static void key_of_pod(struct ctl *c, struct doc *before, struct doc *after)
{
	if (holds_host_ports(before) != holds_host_ports(after))
		add_all(c);
}

static void key_of_slice(struct ctl *c, struct doc *before, struct doc *after)
{
	struct doc *slice = after ? after : before;
	struct str name = val_str(val_get(doc_get(slice, "metadata.labels"), SERVICE_OF_SLICE));
	auto_(doc_unref) struct doc *service = informer_get(ctl_informer(c, res_services), doc_ns(slice), name);

	if (is_balanced(service))
		ctl_add_doc(c, service);
}

/* ---- indexes --------------------------------------------------------------------------------------- */

static void index_balanced(struct doc *service, void (*add)(void *arg, struct str key), void *arg)
{
	if (is_balanced(service))
		add(arg, STR(INDEX_BALANCED));
}

static void index_host_ports(struct doc *pod, void (*add)(void *arg, struct str key), void *arg)
{
	if (holds_host_ports(pod))
		add(arg, doc_str(pod, "spec.nodeName"));
}

static void index_service(struct doc *slice, void (*add)(void *arg, struct str key), void *arg)
{
	struct str name = val_str(val_get(doc_get(slice, "metadata.labels"), SERVICE_OF_SLICE));
	char room[KEY_ROOM];

	if (name.n)
		add(arg, key_join(room, doc_ns(slice), name));
}

static void add_indexes(struct ctl *c)
{
	informer_index(ctl_informer(c, res_services), INDEX_BALANCED, index_balanced);
	informer_index(ctl_informer(c, res_pods), INDEX_HOST_PORTS, index_host_ports);
	informer_index(ctl_informer(c, res_endpointslices), INDEX_SERVICE, index_service);
}

const struct controller load_balancer_controller = {
	.name = "service-controller",
	.help = "gives Services of type LoadBalancer the nodes' addresses",
	.watches = { { &res_services, key_balanced }, { &res_nodes, key_of_node }, { &res_pods, key_of_pod },
		{ &res_endpointslices, key_of_slice } },
	.reconcile = reconcile,
	.indexes = add_indexes,
};

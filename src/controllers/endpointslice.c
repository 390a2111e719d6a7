/* endpointslice: the EndpointSlices of a Service, at most a hundred endpoints each. */
#include "controllers/endpoints.h"

#define MOST_ENDPOINTS 100
#define MANAGED_BY "endpointslice.kubernetes.io/managed-by"
#define US "endpointslice-controller.k8s.io"
#define SERVICE_NAME "kubernetes.io/service-name"

/* A wished slice: endpoints of one family with the same ports. */
struct slice {
	struct str key;
	const char *family;
	struct node *ports, *endpoints;
	struct doc *stored; /* the slice that becomes it, or NULL */
};
struct slices {
	struct slice *items;
	size_t n;
};

static struct node *zone_of(struct ctl *c, struct arena *a, struct str node)
{
	auto_(doc_unref) struct doc *d = node.n ? informer_get(ctl_informer(c, res_nodes), STR_NULL, node) : NULL;
	struct str zone = d ? val_str(val_get(doc_get(d, "metadata.labels"), "topology.kubernetes.io/zone")) : STR_NULL;

	return zone.n ? node_str(a, zone) : NULL;
}

static struct node *endpoint(struct ctl *c, struct arena *a, const struct doc *service, const struct endpoint *ep)
{
	struct str node = doc_str(ep->pod, "spec.nodeName"), host = endpoint_hostname(service, ep->pod);

	return node_pack(a,
		"{addresses:[S], conditions:{ready:b, serving:b, terminating:b}, hostname:S, targetRef:o, nodeName:S, zone:o}",
		ep->ip, ep->ready, ep->serving, ep->terminating, host.n ? host : STR_NULL, endpoint_target(a, ep->pod),
		node.n ? node : STR_NULL, zone_of(c, a, node));
}

static struct slice *slice_for(
	struct arena *a, struct slices *all, const char *family, struct str key, struct node *ports)
{
	for (size_t i = 0; i < all->n; i++)
		if (str_eq(all->items[i].key, key) && !strcmp(all->items[i].family, family) &&
			node_len(all->items[i].endpoints) < MOST_ENDPOINTS)
			return &all->items[i];
	all->items[all->n] = (struct slice){ key, family, ports, node_list(a), NULL };
	return &all->items[all->n++];
}

static void add_family(struct ctl *c, struct arena *a, struct doc *service, const char *family, struct slices *all)
{
	struct endpoint_list list = endpoints_of(c, a, service, family);

	all->items =
		memcpy(ARENA_ARRAY(a, struct slice, all->n + list.n + 1), all->items, all->n * sizeof(*all->items));
	for (size_t i = 0; i < list.n; i++) {
		struct str key;
		struct node *ports = endpoint_ports(a, service, list.items[i].pod, true, &key);
		struct slice *s;

		if (!node_len(ports) && val_len(doc_get(service, "spec.ports")))
			continue;
		s = slice_for(a, all, family, key, ports);
		node_add(s->endpoints, endpoint(c, a, service, &list.items[i]));
	}
}

static struct slices wished(struct ctl *c, struct arena *a, struct doc *service)
{
	struct slices all = { ARENA_ARRAY(a, struct slice, 1), 0 };
	struct val families = doc_get(service, "spec.ipFamilies");

	if (!val_len(families))
		add_family(c, a, service, "IPv4", &all);
	for (struct val_iter it = val_iter(families); val_next(&it);)
		add_family(c, a, service, val_is(it.val, "IPv6") ? "IPv6" : "IPv4", &all);
	if (!all.n) { /* an empty one says that the service is known */
		all.items[0] = (struct slice){ STR_NULL, val_is(val_at(families, 0), "IPv6") ? "IPv6" : "IPv4",
			node_list(a), node_list(a), NULL };
		all.n = 1;
	}
	return all;
}

static bool ours(const struct doc *slice, struct doc *service)
{
	struct val labels = doc_get(slice, "metadata.labels");

	return val_is(val_get(labels, MANAGED_BY), US) &&
		str_eq(val_str(val_get(labels, SERVICE_NAME)), doc_name(service)) && !is_deleting(slice);
}

/* Stored slices are given to wished ones: the same ports first, so that a change of one endpoint is one small
 * update. */
static void match(struct arena *a, struct slices *want, struct informer_list have, struct doc *service, bool *used)
{
	for (int round = 0; round < 2; round++)
		for (size_t w = 0; w < want->n; w++)
			for (size_t i = 0; i < have.n && !want->items[w].stored; i++) {
				struct doc *d = have.items[i];

				if (used[i] || !ours(d, service) ||
					!str_is(doc_str(d, "addressType"), want->items[w].family))
					continue;
				if (round == 0 && !node_equal(node_from(a, doc_get(d, "ports")), want->items[w].ports))
					continue;
				want->items[w].stored = d;
				used[i] = true;
			}
}

static int write_slice(
	struct ctl *c, struct arena *a, struct str key, struct doc *service, struct slice *s, struct err *e)
{
	struct node *labels = service_labels(a, service), *meta;
	auto_(doc_unref) struct doc *body = NULL, *made = NULL;

	node_setc(labels, SERVICE_NAME, node_str(a, doc_name(service)));
	node_setc(labels, MANAGED_BY, node_c(a, US));
	if (s->stored && node_equal(node_from(a, doc_get(s->stored, "endpoints")), s->endpoints) &&
		node_equal(node_from(a, doc_get(s->stored, "ports")), s->ports) &&
		node_equal(node_from(a, doc_get(s->stored, "metadata.labels")), labels))
		return 0;
	meta = node_pack(a, "{namespace:S, labels:o, ownerReferences:[o]}", doc_ns(service), labels,
		owner_reference(a, service));
	if (s->stored) {
		node_setc(meta, "name", node_str(a, doc_name(s->stored)));
		node_setc(meta, "resourceVersion", node_str(a, doc_str(s->stored, "metadata.resourceVersion")));
	} else {
		node_setc(meta, "generateName", node_strf(a, "%.*s-", STR_ARG(doc_name(service))));
	}
	body = node_publish(node_pack(a,
		"{apiVersion:'discovery.k8s.io/v1', kind:'EndpointSlice', metadata:o, addressType:s, endpoints:o, ports:o}",
		meta, s->family, s->endpoints, s->ports));
	if ((s->stored ? client_update(c->client, res_endpointslices, body, &made, e) :
			 client_create(c->client, res_endpointslices, doc_ns(service), body, &made, e)) < 0)
		return err_wrap(e, "write EndpointSlice");
	ctl_wrote(c, key, made);
	return 0;
}

static int remove_slice(struct ctl *c, struct doc *d, struct err *e)
{
	if (client_delete(c->client, res_endpointslices, doc_ns(d), doc_name(d),
		    (struct client_delete){ .uid = doc_uid(d), .grace_s = -1 }, e) < 0 &&
		e->code != ERR_NOT_FOUND)
		return err_wrap(e, "delete EndpointSlice %.*s", STR_ARG(doc_name(d)));
	err_init(e);
	return 0;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	auto_(doc_unref) struct doc *service = NULL;
	struct informer_list have;
	struct slices want;
	bool *used;

	key_split(key, &ns, &name);
	service = informer_get(ctl_informer(c, res_services), ns, name);
	if (!service || !service_has_endpoints(service) ||
		is_deleting(service)) /* the garbage collector takes the slices of a deleted one */
		return 0;
	if (!ctl_caught_up(c, key, ctl_informer(c, res_endpointslices)))
		return 0;
	have = informer_list(ctl_informer(c, res_endpointslices), a, "owner", doc_uid(service));
	used = ARENA_ARRAY(a, bool, have.n + 1);
	want = wished(c, a, service);
	match(a, &want, have, service, used);
	for (size_t i = 0; i < want.n; i++)
		if (write_slice(c, a, key, service, &want.items[i], e) < 0)
			return -e->code;
	for (size_t i = 0; i < have.n; i++)
		if (!used[i] && ours(have.items[i], service) && remove_slice(c, have.items[i], e) < 0)
			return -e->code;
	return 0;
}

const struct controller endpointslice_controller = {
	.name = "endpointslice-controller",
	.help = "keeps the EndpointSlices of Services",
	.handles = "/services",
	.watches = { { &res_services, key_self }, { &res_pods, key_services_of_pod },
		{ &res_endpointslices, key_controller }, { &res_nodes, NULL } },
	.reconcile = reconcile,
};

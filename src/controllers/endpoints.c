/* endpoint: the Endpoints object of a Service, for readers that know no slices. */
#include "controllers/endpoints.h"

#define MOST_ADDRESSES 1000
#define LAST_CHANGE "endpoints.kubernetes.io/last-change-trigger-time"
#define OVER_CAPACITY "endpoints.kubernetes.io/over-capacity"

/* Pods with the same ports share a subset. */
struct subset {
	struct str key;
	struct node *ports, *ready, *not_ready;
};

static struct subset *subset_for(struct arena *a, struct subset *all, size_t *n, struct str key, struct node *ports)
{
	for (size_t i = 0; i < *n; i++)
		if (str_eq(all[i].key, key))
			return &all[i];
	all[*n] = (struct subset){ key, ports, node_list(a), node_list(a) };
	return &all[(*n)++];
}

static struct node *address(struct arena *a, const struct doc *service, const struct endpoint *ep)
{
	struct str node = doc_str(ep->pod, "spec.nodeName"), host = endpoint_hostname(service, ep->pod);

	return node_pack(a, "{ip:S, hostname:S, nodeName:S, targetRef:o}", ep->ip, host.n ? host : STR_NULL,
		node.n ? node : STR_NULL, endpoint_target(a, ep->pod));
}

static struct node *subsets(struct arena *a, const struct doc *service, struct endpoint_list list, bool *over)
{
	struct subset *all = ARENA_ARRAY(a, struct subset, list.n + 1);
	struct node *out = node_list(a);
	size_t n = 0, shown = 0;

	for (size_t i = 0; i < list.n; i++) {
		struct endpoint *ep = &list.items[i];
		struct str key;
		struct node *ports = endpoint_ports(a, service, ep->pod, false, &key);
		struct subset *s;

		if (ep->terminating && !ep->ready)
			continue;
		if (!node_len(ports) && val_len(doc_get(service, "spec.ports")))
			continue;
		if (++shown > MOST_ADDRESSES) {
			*over = true;
			break;
		}
		s = subset_for(a, all, &n, key, ports);
		node_add(ep->ready ? s->ready : s->not_ready, address(a, service, ep));
	}
	for (size_t i = 0; i < n; i++)
		node_add(out,
			node_pack(a, "{addresses:o, notReadyAddresses:o, ports:o}",
				node_len(all[i].ready) ? all[i].ready : NULL,
				node_len(all[i].not_ready) ? all[i].not_ready : NULL,
				node_len(all[i].ports) ? all[i].ports : NULL));
	return out;
}

static int remove_endpoints(struct ctl *c, struct str ns, struct str name, struct err *e)
{
	auto_(doc_unref) struct doc *old = informer_get(ctl_informer(c, res_endpoints), ns, name);

	/* those that a person wrote for a service without selector are not ours */
	if (!old || !val_has(val_get(doc_get(old, "metadata.labels"), "endpoints.kubernetes.io/managed-by")))
		return 0;
	if (client_delete(c->client, res_endpoints, ns, name,
		    (struct client_delete){ .uid = doc_uid(old), .grace_s = -1 }, e) < 0 &&
		e->code != ERR_NOT_FOUND)
		return -e->code;
	err_init(e);
	return 0;
}

static const char *family_of(const struct doc *service)
{
	return val_is(val_at(doc_get(service, "spec.ipFamilies"), 0), "IPv6") ? "IPv6" : "IPv4";
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	auto_(doc_unref) struct doc *service = NULL, *old = NULL, *body = NULL, *made = NULL;
	struct node *list, *labels, *object, *annotations;
	bool over = false;

	key_split(key, &ns, &name);
	service = informer_get(ctl_informer(c, res_services), ns, name);
	if (!service)
		return remove_endpoints(c, ns, name, e);
	if (!service_has_endpoints(service) || is_deleting(service) ||
		!ctl_caught_up(c, key, ctl_informer(c, res_endpoints)))
		return 0;
	list = subsets(a, service, endpoints_of(c, a, service, family_of(service)), &over);
	labels = service_labels(a, service);
	node_setc(labels, "endpoints.kubernetes.io/managed-by", node_c(a, "endpoint-controller"));
	old = informer_get(ctl_informer(c, res_endpoints), ns, name);
	if (old && node_equal(node_from(a, doc_get(old, "subsets")), node_len(list) ? list : NULL) &&
		node_equal(node_from(a, doc_get(old, "metadata.labels")), labels))
		return 0;
	annotations = node_map(a);
	node_setc(annotations, LAST_CHANGE, node_c(a, now_text(a)));
	if (over)
		node_setc(annotations, OVER_CAPACITY, node_c(a, "truncated"));
	object = node_pack(a,
		"{apiVersion:'v1', kind:'Endpoints', metadata:{name:S, namespace:S, labels:o, annotations:o, resourceVersion:S}, subsets:o}",
		name, ns, labels, annotations, old ? doc_str(old, "metadata.resourceVersion") : STR_NULL,
		node_len(list) ? list : NULL);
	body = node_publish(object);
	if ((old ? client_update(c->client, res_endpoints, body, &made, e) :
		   client_create(c->client, res_endpoints, ns, body, &made, e)) < 0)
		return err_wrap(e, "write Endpoints");
	ctl_wrote(c, key, made);
	return 0;
}

const struct controller endpoints_controller = {
	.name = "endpoint-controller",
	.help = "keeps the Endpoints of Services",
	.handles = "/endpoints",
	.watches = { { &res_services, key_self }, { &res_pods, key_services_of_pod }, { &res_endpoints, key_self } },
	.reconcile = reconcile,
};

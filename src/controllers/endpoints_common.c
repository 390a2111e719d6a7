#include "controllers/endpoints.h"

static struct str address_of(const struct doc *pod, const char *family)
{
	bool six = !strcmp(family, "IPv6");

	for (struct val_iter it = val_iter(doc_get(pod, "status.podIPs")); val_next(&it);) {
		struct str ip = val_str(val_get(it.val, "ip"));

		if (ip.n && str_has(ip, STR(":")) == six)
			return ip;
	}
	return STR_NULL;
}

bool service_has_endpoints(const struct doc *service)
{
	return val_len(doc_get(service, "spec.selector")) && !str_is(doc_str(service, "spec.type"), "ExternalName");
}

struct endpoint_list endpoints_of(struct ctl *c, struct arena *a, struct doc *service, const char *family)
{
	struct informer_list pods = informer_list(ctl_informer(c, res_pods), a, "ns", doc_ns(service));
	struct endpoint_list out = { ARENA_ARRAY(a, struct endpoint, pods.n + 1), 0 };
	bool publish_all = doc_bool(service, "spec.publishNotReadyAddresses", false);
	const struct selector *s;
	struct err e;

	err_init(&e);
	if (selector_of_map(a, doc_get(service, "spec.selector"), &s, &e) < 0)
		return out;
	for (size_t i = 0; i < pods.n; i++) {
		struct doc *pod = pods.items[i];
		struct str ip = address_of(pod, family);
		bool deleting = is_deleting(pod), ready = pod_ready(pod);

		if (!ip.n || !selector_matches(s, doc_get(pod, "metadata.labels")) || pod_ended(pod))
			continue;
		out.items[out.n++] = (struct endpoint){ pod, ip, publish_all || (ready && !deleting), ready, deleting };
	}
	return out;
}

static int64_t named_port(const struct doc *pod, struct str name, struct str protocol)
{
	static const char *const lists[] = { "spec.containers", "spec.initContainers" };

	for (size_t l = 0; l < ARRAY_LEN(lists); l++)
		for (struct val_iter ct = val_iter(doc_get(pod, lists[l])); val_next(&ct);)
			for (struct val_iter p = val_iter(val_get(ct.val, "ports")); val_next(&p);) {
				struct str has = val_str(val_get(p.val, "protocol"));

				if (str_eq(val_str(val_get(p.val, "name")), name) &&
					str_eq(has.n ? has : STR("TCP"), protocol))
					return val_int(val_get(p.val, "containerPort"), 0);
			}
	return 0;
}

int64_t target_port(struct val service_port, const struct doc *pod)
{
	struct val target = val_get(service_port, "targetPort");
	struct str protocol = val_str(val_get(service_port, "protocol"));

	if (val_kind(target) == VAL_STR)
		return named_port(pod, val_str(target), protocol.n ? protocol : STR("TCP"));
	return val_int(target, 0) ? val_int(target, 0) : val_int(val_get(service_port, "port"), 0);
}

struct node *endpoint_target(struct arena *a, const struct doc *pod)
{
	return node_pack(a, "{kind:'Pod', namespace:S, name:S, uid:S}", doc_ns(pod), doc_name(pod), doc_uid(pod));
}

struct str endpoint_hostname(const struct doc *service, const struct doc *pod)
{
	struct str subdomain = doc_str(pod, "spec.subdomain");

	return subdomain.n && str_eq(subdomain, doc_name(service)) ? doc_str(pod, "spec.hostname") : STR_NULL;
}

static struct str optional(struct str s)
{
	return s.n ? s : STR_NULL;
}

struct node *endpoint_ports(
	struct arena *a, const struct doc *service, const struct doc *pod, bool slice, struct str *key)
{
	struct node *ports = node_list(a);
	auto_buf struct buf text = BUF_INIT;

	for (struct val_iter it = val_iter(doc_get(service, "spec.ports")); val_next(&it);) {
		int64_t port = target_port(it.val, pod);
		struct str name = val_str(val_get(it.val, "name")), protocol = val_str(val_get(it.val, "protocol"));

		if (!port)
			continue;
		buf_printf(&text, "%.*s:%lld/%.*s,", STR_ARG(name), (long long)port, STR_ARG(protocol));
		node_add(ports,
			node_pack(a, "{name:S, port:I, protocol:S, appProtocol:S}",
				slice ? (name.p ? name : STR("")) : optional(name), port,
				protocol.n ? protocol : STR("TCP"), optional(val_str(val_get(it.val, "appProtocol")))));
	}
	*key = arena_str(a, buf_view(&text));
	return ports;
}

struct node *service_labels(struct arena *a, const struct doc *service)
{
	struct node *labels = node_map(a);

	for (struct val_iter it = val_iter(doc_get(service, "metadata.labels")); val_next(&it);)
		if (!str_is(it.key, "service.kubernetes.io/headless"))
			node_set(labels, it.key, node_from(a, it.val));
	if (str_is(doc_str(service, "spec.clusterIP"), "None"))
		node_setc(labels, "service.kubernetes.io/headless", node_c(a, ""));
	return labels;
}

/* What an endpoint shows of a pod; other changes need no look at the services. */
static bool matters(struct doc *x, struct doc *y)
{
	static const char *const paths[] = { "metadata.labels", "metadata.deletionTimestamp", "status.podIPs",
		"status.phase", "spec.nodeName" };

	if (!x || !y || pod_ready(x) != pod_ready(y))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (!val_equal(doc_get(x, paths[i]), doc_get(y, paths[i])))
			return true;
	return false;
}

static void add_selecting(struct ctl *c, struct arena *a, struct informer_list services, struct doc *pod)
{
	struct err e;

	err_init(&e);
	for (size_t i = 0; pod && i < services.n; i++) {
		const struct selector *s;

		if (service_has_endpoints(services.items[i]) &&
			selector_of_map(a, doc_get(services.items[i], "spec.selector"), &s, &e) >= 0 &&
			selector_matches(s, doc_get(pod, "metadata.labels")))
			ctl_add_doc(c, services.items[i]);
	}
}

void key_services_of_pod(struct ctl *c, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = NULL;
	struct informer_list services;

	if (!matters(before, after))
		return;
	a = arena_new();
	services = informer_list(ctl_informer(c, res_services), a, "ns", doc_ns(after ? after : before));
	add_selecting(c, a, services, after);
	if (before && (!after || !val_equal(doc_get(before, "metadata.labels"), doc_get(after, "metadata.labels"))))
		add_selecting(c, a, services, before);
}

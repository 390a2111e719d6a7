#define LOG_MODULE "network"
#include "network/network.h"
#include "base/log.h"
#include "client/informer.h"
#include "network/dns.h"
#include "network/firewalls.h"
#include "network/host.h"
#include "network/ipam.h"
#include "network/proxy.h"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)1 << 20) /* libnftables keeps netlink buffers on its stack */
#define SYNC_LOOK_MS 500
#define FORWARD_NAMESPACE "kube-system"
#define FORWARD_NAME "kube-dns" /* as kube-dns called it: what people have and know */

struct network {
	struct arena *arena; /* holds every text below */
	struct names names;
	const char *data_dir, *resolv_conf;
	struct str node_name, domain;
	struct ip node_ips[NETWORK_IPS_MAX], dns_ips[2];
	size_t n_node_ips;
	struct cidr pods_cidr[2], cluster[2], service_cidr[2];
	bool no_proxy, no_dns;

	struct services *services;
	struct informer *service_informer, *slice_informer, *pod_informer, *policy_informer, *namespace_informer;
	struct informer *forward_informer; /* of the one ConfigMap that says where DNS asks */
	struct recorder *recorder;
	struct proxy *proxy;
	struct dns *dns;
	struct stop *stop;
	pthread_t thread;
	bool running;
	bool synced; /* DNS may speak for the cluster; written once, read by the DNS thread (atomically) */
};

/* ---- settings -------------------------------------------------------------------------------- */

static int read_ips(
	const char *const *texts, size_t max, const char *what, struct ip *ret, size_t *ret_n, struct err *e)
{
	size_t n = 0;

	for (size_t i = 0; i < max && texts[i]; i++) {
		if (!ip_parse(str_c(texts[i]), &ret[n++]))
			return err_set(e, ERR_INVALID, "%s \"%s\" is not an IP address", what, texts[i]);
	}
	*ret_n = n;
	return 0;
}

static int read_cidrs(const char *const *texts, const char *what, struct cidr ret[2], struct err *e)
{
	for (size_t i = 0; i < NETWORK_CIDRS_MAX && texts[i]; i++) {
		if (!cidr_parse(str_c(texts[i]), &ret[i]))
			return err_set(
				e, ERR_INVALID, "%s \"%s\" is not a prefix such as 10.244.0.0/24", what, texts[i]);
	}
	return 0;
}

static int read_opts(struct network *n, const struct network_opts *o, struct err *e)
{
	static const char *const default_dns[NETWORK_CIDRS_MAX] = { "10.96.0.10" };
	struct arena *a = n->arena;
	size_t ignored;

	if (!o->data_dir || o->data_dir[0] != '/' || !o->node_name)
		return err_set(e, ERR_INVALID, "the network needs a node name and an absolute data directory");
	names_of(str_c(o->instance), &n->names);
	n->data_dir = arena_strdup(a, o->data_dir);
	n->resolv_conf = o->resolv_conf ? arena_strdup(a, o->resolv_conf) : NULL;
	n->node_name = arena_str(a, str_c(o->node_name));
	n->domain = arena_str(a, o->domain ? str_c(o->domain) : STR("cluster.local"));
	n->no_proxy = o->no_proxy;
	n->no_dns = o->no_dns;
	if (read_ips(o->node_ips, NETWORK_IPS_MAX, "node address", n->node_ips, &n->n_node_ips, e) < 0 ||
		read_ips(o->dns_ips[0] ? o->dns_ips : default_dns, 2, "cluster DNS address", n->dns_ips, &ignored, e) <
			0 ||
		read_cidrs(o->pod_cidrs, "pod CIDR", n->pods_cidr, e) < 0 ||
		read_cidrs(o->cluster_cidrs[0] ? o->cluster_cidrs : o->pod_cidrs, "cluster CIDR", n->cluster, e) < 0 ||
		read_cidrs(o->service_cidrs, "service CIDR", n->service_cidr, e) < 0)
		return -e->code;
	return 0;
}

/* ---- what informers tell --------------------------------------------------------------------- */

static void on_service(void *arg, struct doc *before, struct doc *after)
{
	services_put(((struct network *)arg)->services, before, after);
}

static void on_slice(void *arg, struct doc *before, struct doc *after)
{
	services_put_slice(((struct network *)arg)->services, before, after);
}

static bool has_host_port(struct doc *pod)
{
	static const char *const lists[] = { "spec.initContainers", "spec.containers" };

	for (size_t i = 0; pod && i < ARRAY_LEN(lists); i++) {
		for (struct val_iter c = val_iter(doc_get(pod, lists[i])); val_next(&c);) {
			for (struct val_iter p = val_iter(val_get(c.val, "ports")); val_next(&p);) {
				if (val_int(val_get(p.val, "hostPort"), 0) > 0)
					return true;
			}
		}
	}
	return false;
}

static void on_policy(void *arg, struct doc *before, struct doc *after)
{
	struct network *n = arg;

	if (!before || !after || doc_int(before, "metadata.generation", 0) != doc_int(after, "metadata.generation", 0))
		services_touch(n->services, PROXY_POLICIES);
}

static void on_namespace(void *arg, struct doc *before, struct doc *after)
{
	struct network *n = arg;

	if (after && !(before && val_equal(doc_get(before, "metadata.labels"), doc_get(after, "metadata.labels"))) &&
		informer_len(n->policy_informer))
		services_touch(n->services, PROXY_POLICIES);
}

/* What cannot be read changes nothing: the last good one stays. */
static void on_forward(void *arg, struct doc *before, struct doc *after)
{
	struct network *n = arg;
	struct forward *f = NULL;
	struct err e;

	err_init(&e);
	if (before && after && val_equal(doc_get(before, "data"), doc_get(after, "data")))
		return;
	if (after && forward_parse(doc_get(after, "data"), n->domain, n->dns_ips, &f, &e) < 0) {
		log_error("ConfigMap " FORWARD_NAMESPACE "/" FORWARD_NAME ": %s; cluster DNS goes on as before",
			e.message);
		recorder_event(n->recorder, after, "Warning", "InvalidDNSConfig", "%s; cluster DNS goes on as before",
			e.message);
		return;
	}
	dns_forward(n->dns, f);
	log_info("cluster DNS asks %s",
		after ? "as ConfigMap " FORWARD_NAMESPACE "/" FORWARD_NAME " says" : "the host's own servers");
}

static void on_pod(void *arg, struct doc *before, struct doc *after)
{
	struct network *n = arg;
	struct doc *pod = after ? after : before;
	char key[400];

	if (n->no_proxy)
		return;
	if (!after)
		proxy_pod_gone(n->proxy, before);
	else if (!has_host_port(pod) && !informer_len(n->policy_informer))
		return; /* a first policy visits all pods by itself */
	int len = snprintf(key, sizeof(key), "p/%.*s/%.*s", STR_ARG(doc_ns(pod)), STR_ARG(doc_name(pod)));
	services_touch(n->services, str_n(key, MIN((size_t)len, sizeof(key) - 1)));
}

/* ---- life ------------------------------------------------------------------------------------ */

static void make_informers(struct network *n, const struct network_opts *o)
{
	n->service_informer = o->services;
	n->pod_informer = o->pods;
	n->slice_informer = informer_new(o->client, (struct informer_opts){ .res = res_endpointslices });
	informer_on(n->service_informer, on_service, n);
	informer_on(n->slice_informer, on_slice, n);
	informer_on(n->pod_informer, on_pod, n);
	n->policy_informer = informer_new(o->client, (struct informer_opts){ .res = res_networkpolicies });
	n->namespace_informer = informer_new(o->client, (struct informer_opts){ .res = res_namespaces });
	informer_on(n->policy_informer, on_policy, n);
	informer_on(n->namespace_informer, on_namespace, n);
	if (n->no_dns)
		return;
	n->forward_informer = informer_new(o->client,
		(struct informer_opts){ .res = res_configmaps,
			.ns = STR(FORWARD_NAMESPACE),
			.field_selector = STR("metadata.name=" FORWARD_NAME) });
	informer_on(n->forward_informer, on_forward, n);
	n->recorder = recorder_new(o->client, "kogge-dns", arena_cstr(n->arena, n->node_name));
}

int network_new(const struct network_opts *o, struct network **ret, struct err *e)
{
	struct network *n = xcalloc(1, sizeof(*n));

	n->arena = arena_new();
	n->services = services_new();
	if (read_opts(n, o, e) < 0) {
		network_free(n);
		return -e->code;
	}
	make_informers(n, o);
	*ret = n;
	return 0;
}

static bool has_v6(const struct network *n)
{
	return n->pods_cidr[0].ip.family == 6 || n->pods_cidr[1].ip.family == 6;
}

/* A machine that forwards ignores router advertisements unless told otherwise, and would lose its default route. */
static void keep_advertised_routes(void *arg, const struct link *l)
{
	struct network *n = arg;
	char value[8], path[64];

	snprintf(path, sizeof(path), "ipv6/conf/%s/accept_ra", l->name);
	if (sysctl_read(value, sizeof(value), "%s", path) && strcmp(value, "1") == 0 && strcmp(l->name, "lo") != 0 &&
		strncmp(l->name, n->names.pod_links, strlen(n->names.pod_links)) != 0)
		host_sysctl(n->data_dir, path, "2");
}

static void forward_v6(struct network *n)
{
	struct rtnl r = { 0 };
	struct err ignored;

	err_init(&ignored);
	if (rtnl_open(&r, &ignored) == 0)
		rtnl_links(&r, keep_advertised_routes, n, &ignored);
	rtnl_close(&r);
	host_sysctl(n->data_dir, "ipv6/conf/all/forwarding", "1");
}

static int set_up_host(struct network *n, struct err *e)
{
	static const struct ip none[2];
	struct ipam ipam;
	char addresses[4096];

	snprintf(addresses, sizeof(addresses), "%s/addresses", n->data_dir);
	if (ipam_open(&ipam, addresses, e) < 0) /* makes the directories */
		return -e->code;
	ipam_close(&ipam);
	if (!host_sysctl(n->data_dir, "ipv4/ip_forward", "1"))
		return err_set(e, ERR_FORBIDDEN,
			"cannot switch on net.ipv4.ip_forward: the network needs root (CAP_NET_ADMIN)");
	host_sysctl(n->data_dir, "ipv4/conf/all/send_redirects", "0");
	if (has_v6(n))
		forward_v6(n);
	return host_service_link(
		&n->names, n->no_dns ? none : n->dns_ips, n->service_cidr, n->node_ips, n->n_node_ips, e);
}

static int start_dns(struct network *n, struct err *e)
{
	struct dns_opts o = { .resolv_conf = n->resolv_conf };

	o.zone = (struct dns_zone){ .services = n->services, .domain = n->domain, .ready = &n->synced };
	memcpy(o.zone.server, n->dns_ips, sizeof(o.zone.server));
	memcpy(&o.zone.nets[0], n->service_cidr, sizeof(n->service_cidr));
	memcpy(&o.zone.nets[2], n->cluster, sizeof(n->cluster));
	return dns_start(&o, &n->dns, e);
}

static int make_proxy(struct network *n, struct err *e)
{
	struct proxy_opts o = { .services = n->services,
		.pods = n->pod_informer,
		.policies = n->policy_informer,
		.namespaces = n->namespace_informer,
		.node = { .name = n->node_name } };

	o.nft = (struct nft_opts){ .table = n->names.table, .pod_links = n->names.pod_links, .no_proxy = n->no_proxy };
	memcpy(o.nft.pods, n->pods_cidr, sizeof(o.nft.pods));
	memcpy(o.nft.cluster, n->cluster, sizeof(o.nft.cluster));
	memcpy(o.nft.services, n->service_cidr, sizeof(o.nft.services));
	if (!n->no_dns)
		memcpy(o.node.dns, n->dns_ips, sizeof(o.node.dns));
	if (proxy_new(&o, &n->proxy, e) < 0)
		return -e->code;
	return proxy_begin(n->proxy, e);
}

static bool wait_synced(struct network *n)
{
	struct informer *all[] = { n->service_informer, n->slice_informer, n->pod_informer, n->policy_informer,
		n->namespace_informer };

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		while (!informer_wait_synced(all[i], SYNC_LOOK_MS)) {
			if (!stop_sleep_ms(n->stop, 10))
				return false;
		}
	}
	return !stop_raised(n->stop);
}

static void *run(void *arg)
{
	struct network *n = arg;

	if (!wait_synced(n))
		return NULL;
	__atomic_store_n(&n->synced, true, __ATOMIC_RELEASE);
	if (!n->no_proxy)
		proxy_run(n->proxy, n->stop);
	return NULL;
}

static int start_thread(struct network *n, struct err *e)
{
	pthread_attr_t attr;

	n->stop = stop_new();
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	int rc = pthread_create(&n->thread, &attr, run, n);
	pthread_attr_destroy(&attr);
	if (rc)
		return err_errno(e, rc, "start the network's thread");
	pthread_setname_np(n->thread, "network");
	n->running = true;
	return 0;
}

int network_start(struct network *n, struct err *e)
{
	if (set_up_host(n, e) < 0)
		return err_wrap(e, "pod network");
	if (make_proxy(n, e) < 0)
		return err_wrap(e, "service proxy");
	if (!n->no_dns && start_dns(n, e) < 0)
		return -e->code;
	if (start_thread(n, e) < 0)
		return -e->code;
	informer_start(n->slice_informer);
	informer_start(n->policy_informer);
	informer_start(n->namespace_informer);
	if (n->forward_informer)
		informer_start(n->forward_informer);
	return 0;
}

void network_stop(struct network *n)
{
	if (n->running) {
		stop_raise(n->stop);
		services_wake(n->services);
		pthread_join(n->thread, NULL);
		n->running = false;
	}
	n->forward_informer = informer_free(n->forward_informer);
	n->recorder = recorder_free(n->recorder);
	n->dns = dns_stop(n->dns);
	n->slice_informer = informer_free(n->slice_informer);
	n->policy_informer = informer_free(n->policy_informer);
	n->namespace_informer = informer_free(n->namespace_informer);
}

struct network *network_free(struct network *n)
{
	if (!n)
		return NULL;
	network_stop(n);
	proxy_free(n->proxy);
	stop_free(n->stop);
	services_free(n->services);
	arena_free(n->arena);
	free(n);
	return NULL;
}

bool network_wait_ready(struct network *n, int64_t timeout_ms)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms);

	if (!n->no_proxy)
		return n->proxy && proxy_wait_ready(n->proxy, until);
	while (!__atomic_load_n(&n->synced, __ATOMIC_ACQUIRE)) {
		if (!mono_before(mono_now(), until))
			return false;
		task_sleep_ms(10);
	}
	return true;
}

bool network_endpoint_wait_absent(struct network *n, struct str ip, int64_t timeout_ms)
{
	struct ip a;

	if (n->no_proxy || !n->proxy || !ip_parse(ip, &a))
		return true;
	return proxy_wait_absent(n->proxy, a, mono_add_ms(mono_now(), timeout_ms));
}

bool network_endpoint_absent(struct network *n, struct str ip)
{
	return network_endpoint_wait_absent(n, ip, 0);
}

bool network_policies_wait(struct network *n, struct doc *pod, const char *const *ips, size_t n_ips, int64_t timeout_ms)
{
	struct ip list[NETWORK_IPS_MAX];
	size_t k = 0;

	if (n->no_proxy || !n->proxy || (informer_synced(n->policy_informer) && !informer_len(n->policy_informer)))
		return true;
	for (size_t i = 0; i < n_ips && k < NETWORK_IPS_MAX; i++)
		k += ip_parse(str_c(ips[i]), &list[k]);
	return proxy_wait_pod(n->proxy, pod, list, k, mono_add_ms(mono_now(), timeout_ms));
}

int network_firewalls(const struct network_opts *o, void (*each)(void *arg, const char *what), void *arg, struct err *e)
{
	struct names names;
	struct firewalls f = { 0 };

	names_of(str_c(o->instance), &names);
	f.pod_links = names.pod_links;
	for (size_t i = 0; i < ARRAY_LEN(f.pods) && o->pod_cidrs[i]; i++)
		if (!cidr_parse(str_c(o->pod_cidrs[i]), &f.pods[i]))
			return err_set(e, ERR_INVALID, "\"%s\" is no range of addresses", o->pod_cidrs[i]);
	return firewalls_look(&f, false, each, arg, e);
}

int network_purge(const struct network_opts *o, struct err *e)
{
	struct names names;
	struct err one;
	int rc = 0;

	names_of(str_c(o->instance), &names);
	firewalls_purge(names.pod_links);
	for (int step = 0; step < 3; step++) {
		err_init(&one);
		int this = 0;

		if (step == 0)
			this = nft_purge(names.table, &one);
		else if (step == 1)
			this = host_links_purge(&names, &one);
		else if (o->data_dir) {
			host_sysctls_restore(o->data_dir);
			this = host_files_purge(o->data_dir, &one);
		}
		if (this < 0 && rc == 0) {
			err_copy(e, &one);
			rc = this;
		}
	}
	return rc;
}

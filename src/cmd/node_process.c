/* The node process: the node agent and the node's network, a remote client of the API like any other. */
#include "base/log.h"
#include "cmd/process.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "node"

struct node_process {
	const struct settings *s;
	const struct layout *l;
	struct arena *a;
	struct client *client;
	struct informer *pods, *services; /* followed once, for the agent and the network */
	struct network *network;
	struct node_agent *agent;
	sigset_t ends;
	int ready_fd;
};

static void wait_for_end(void *arg)
{
	struct node_process *p = arg;
	int signal_number;

	sigwait(&p->ends, &signal_number);
	end_soon();
	node_stop(p->agent);
}

static bool withdrawn(void *arg, struct str uid, struct str ip)
{
	struct node_process *p = arg;

	(void)uid;
	return network_endpoint_absent(p->network, ip);
}

#define POLICIES_WAIT_MS 2000

static bool policies_applied(void *arg, struct doc *pod, const char *const *ips, size_t n)
{
	struct node_process *p = arg;

	return network_policies_wait(p->network, pod, ips, n, POLICIES_WAIT_MS);
}

void node_network_opts(struct arena *a, const struct settings *s, const struct layout *l, struct network_opts *ret)
{
	*ret = (struct network_opts){
		.instance = l->default_instance ? NULL : s->instance,
		.node_name = l->node_name,
		.node_ips = { l->ip.node[0], l->ip.node[1] },
		.pod_cidrs = { l->ip.pods[0], l->ip.pods[1] },
		.cluster_cidrs = { l->ip.pods[0], l->ip.pods[1] },
		.service_cidrs = { l->ip.services[0], l->ip.services[1] },
		.dns_ips = { l->ip.dns[0], l->ip.dns[1] },
		.domain = s->cluster_domain,
		.data_dir = arena_printf(a, "%s/network", l->node),
		.no_proxy = settings_without(s, "proxy"),
		.no_dns = settings_without(s, "dns"),
	};
}

static size_t count(const char *const of[FAMILIES_MAX])
{
	return of[1] ? 2 : 1;
}

void node_agent_opts(struct arena *a, const struct settings *s, const struct layout *l, struct node_opts *ret)
{
	*ret = (struct node_opts){
		.node_name = l->node_name,
		.node_ips = l->ip.node,
		.n_node_ips = count(l->ip.node),
		.address = l->ip.has_v6 ? "::" : NULL,
		.data_dir = l->node,
		.volumes_dir = arena_printf(a, "%s/volumes", l->data),
		.cri_socket = l->containerd_socket,
		.log_dir = l->pod_logs,
		.container_log_dir = l->container_logs,
		.cgroup_root = l->default_instance ? "" : arena_printf(a, "/%s", l->cgroup),
		.cluster_dns = l->ip.dns,
		.n_cluster_dns = settings_without(s, "dns") ? 0 : count(l->ip.dns),
		.cluster_domain = s->cluster_domain,
		.tls_cert_file = arena_printf(a, "%s/server.crt", l->node_pki),
		.tls_key_file = arena_printf(a, "%s/server.key", l->node_pki),
		.tls_ca_file = arena_printf(a, "%s/ca.crt", l->node_pki),
		.port = (int)s->node_port,
		.images_dir = l->images,
		.static_dir = l->manifests,
		.registries_file = s->registries,
		.eviction_hard = s->eviction_hard,
		.system_reserved = s->system_reserved,
		.shutdown_grace_s = s->shutdown_grace_s,
		.shutdown_grace_critical_s = s->shutdown_grace_critical_s,
		.registry_dir = l->own_containerd ? arena_printf(a, "%s/certs.d", l->containerd) : NULL,
		.pod_cidrs = l->ip.pods,
		.n_pod_cidrs = count(l->ip.pods),
	};
}

/* ---- CNI: containerd finds our configuration, and our binary under the names it calls -------- */

static int make_dir(const char *path, struct err *e)
{
	return mkdir(path, 0755) < 0 && errno != EEXIST ? err_errno(e, errno, "make folder %s", path) : 0;
}

static int link_binary(struct arena *a, const struct layout *l, const char *name, struct err *e)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *path = arena_printf(a, "%s/bin/%s", l->cni, name);

	if (n < 0)
		return err_errno(e, errno, "find the kogge program");
	self[n] = 0;
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, errno, "replace %s", path);
	return symlink(self, path) < 0 ? err_errno(e, errno, "link %s", path) : 0;
}

static int install_cni(struct node_process *p, const struct network_opts *o, struct err *e)
{
	const char *conf = arena_printf(p->a, "%s/conf", p->l->cni), *bin = arena_printf(p->a, "%s/bin", p->l->cni);
	const char *path = arena_printf(p->a, "%s/10-kogge.conflist", conf);
	auto_buf struct buf text = BUF_INIT;
	FILE *f;

	if (make_dir(conf, e) < 0 || make_dir(bin, e) < 0)
		return -e->code;
	if (link_binary(p->a, p->l, "kogge", e) < 0 || link_binary(p->a, p->l, "loopback", e) < 0)
		return -e->code;
	network_cni_conflist(&text, o, "kogge");
	f = fopen(path, "we");
	if (!f)
		return err_errno(e, errno, "write %s", path);
	fwrite(text.p, 1, text.n, f);
	return fclose(f) ? err_errno(e, errno, "write %s", path) : 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void make_informers(struct node_process *p)
{
	p->pods = informer_new(p->client,
		(struct informer_opts){
			.res = res_pods, .field_selector = arena_strf(p->a, "spec.nodeName=%s", p->l->node_name) });
	p->services = informer_new(p->client, (struct informer_opts){ .res = res_services });
}

static int start_all(struct node_process *p, struct err *e)
{
	struct client_remote_opts remote = {
		.server = p->l->server_url,
		.ca_file = arena_printf(p->a, "%s/ca.crt", p->l->node_pki),
		.cert_file = arena_printf(p->a, "%s/client.crt", p->l->node_pki),
		.key_file = arena_printf(p->a, "%s/client.key", p->l->node_pki),
		.name = "kogge-node",
	};
	struct network_opts net;
	struct node_opts node;

	node_network_opts(p->a, p->s, p->l, &net);
	node_agent_opts(p->a, p->s, p->l, &node);
	if (p->l->own_containerd && !settings_without(p->s, "cni") && install_cni(p, &net, e) < 0)
		return -e->code;
	if (client_remote(&remote, &p->client, e) < 0)
		return -e->code;
	make_informers(p);
	net.client = node.client = p->client;
	net.pods = node.pods = p->pods;
	net.services = node.services = p->services;
	if (network_new(&net, &p->network, e) < 0 || network_start(p->network, e) < 0)
		return err_wrap(e, "network");
	if (!net.no_proxy) {
		node.endpoints_withdrawn = withdrawn;
		node.policies_applied = policies_applied;
		node.endpoints_arg = node.policies_arg = p;
	}
	if (node_new(&node, &p->agent, e) < 0)
		return -e->code;
	informer_start(p->services);
	informer_start(p->pods);
	return 0;
}

int node_main(const struct settings *s, const struct layout *l, int ready_fd)
{
	struct node_process p = { .s = s, .l = l, .a = arena_new(), .ready_fd = ready_fd };
	struct task *ender;
	struct err e;
	int failed;

	err_init(&e);
	process_begin("node", s);
	block_end_signals(&p.ends);
	if (start_all(&p, &e) < 0) {
		log_error("%s", e.message);
		_exit(1);
	}
	say_ready(ready_fd);
	ender = task_spawn("end", wait_for_end, &p);
	failed = node_run(p.agent, &e);
	if (failed < 0) {
		log_error("%s", e.message);
		_exit(1); /* containers go on; the supervisor starts another node process */
	}
	task_join(ender);
	informer_stop(p.pods);
	informer_stop(p.services);
	network_stop(p.network);
	node_free(p.agent);
	network_free(p.network);
	informer_free(p.pods);
	informer_free(p.services);
	client_free(p.client);
	arena_free(p.a);
	return 0;
}

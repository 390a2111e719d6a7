/* The CNI plugin: one short process per call, no daemon needed, so pods keep their network while Kogge restarts.
 *
 *	host                                         pod
 *	kp-1a2b3c4d  10.244.0.1/32  ◄── veth ──►  eth0  10.244.0.5/32
 *	route 10.244.0.5/32 dev kp-1a2b3c4d          route 10.244.0.1/32 dev eth0, default via 10.244.0.1
 *
 * Sources: CNI specification 0.3.x, 0.4.0, 1.0.0, 1.1.0. */
#include "base/log.h"
#include "doc/doc.h"
#include "network/ipam.h"
#include "network/link.h"
#include "network/names.h"
#include "network/network.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#define INPUT_MAX ((size_t)1 << 20)

/* Error codes of the specification. */
enum {
	CNI_VERSION = 1,
	CNI_UNKNOWN_CONTAINER = 3,
	CNI_ENVIRONMENT = 4,
	CNI_IO = 5,
	CNI_DECODE = 6,
	CNI_CONFIG = 7,
	CNI_LATER = 11,
	CNI_OURS = 100,
};

static const char *const versions[] = { "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0" };

struct call {
	struct arena *arena;
	struct doc *input;
	struct str version;
	const char *command, *container, *netns, *ifname;
	struct names names;
	struct cidr cidrs[NETWORK_CIDRS_MAX];
	size_t n;
	const char *addresses; /* directory */
	unsigned mtu;
	int code; /* of the specification, when something failed */
};

struct attached {
	struct ip ips[NETWORK_CIDRS_MAX], gateways[NETWORK_CIDRS_MAX];
	size_t n;
	char host_name[IFNAMSIZ];
	uint8_t host_mac[6], mac[6];
};

static int bad(struct call *c, struct err *e, int code)
{
	c->code = code;
	return -e->code;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void print(struct node *n)
{
	auto_buf struct buf out = BUF_INIT;

	node_write(n, &out);
	buf_byte(&out, '\n');
	fwrite(out.p, 1, out.n, stdout);
	fflush(stdout);
}

static void answer_error(struct call *c, const struct err *e)
{
	const char *version = str_empty(c->version) ? "1.0.0" : arena_cstr(c->arena, c->version);

	print(node_pack(c->arena, "{cniVersion:s, code:i, msg:s}", version, c->code ? c->code : CNI_OURS, e->message));
}

static struct node *mac_node(struct call *c, const uint8_t m[6])
{
	return node_strf(c->arena, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static void answer_attached(struct call *c, const struct attached *at)
{
	struct arena *a = c->arena;
	struct node *ips = node_list(a), *routes = node_list(a);
	bool versioned = c->version.p[0] == '0';

	for (size_t i = 0; i < at->n; i++) {
		char address[IP_TEXT_MAX], gateway[IP_TEXT_MAX];

		cidr_text(cidr_host(at->ips[i]), address);
		ip_text(at->gateways[i], gateway);
		node_add(ips,
			node_pack(a, "{version:s, interface:1, address:s, gateway:s}",
				!versioned                     ? NULL :
					at->ips[i].family == 4 ? "4" :
								 "6",
				address, gateway));
		node_add(routes, node_pack(a, "{dst:s, gw:s}", at->ips[i].family == 4 ? "0.0.0.0/0" : "::/0", gateway));
	}
	print(node_pack(a,
		"{cniVersion:S, interfaces:[{name:s, mac:o}, {name:s, mac:o, sandbox:s}], ips:o, routes:o, dns:{}}",
		c->version, at->host_name, mac_node(c, at->host_mac), c->ifname, mac_node(c, at->mac), c->netns, ips,
		routes));
}

/* ---- ADD ------------------------------------------------------------------------------------- */

static int open_netns(struct call *c, int *ret, struct err *e)
{
	*ret = open(c->netns, O_RDONLY | O_CLOEXEC);
	if (*ret >= 0)
		return 0;
	err_errno(e, errno, "open the network namespace %s of container %s", c->netns, c->container);
	return bad(c, e, CNI_UNKNOWN_CONTAINER);
}

static int enter(struct call *c, int netns, struct err *e)
{
	if (setns(netns, CLONE_NEWNET) == 0)
		return 0;
	return err_errno(e, errno, "enter the network namespace %s", c->netns);
}

static int host_side(struct call *c, struct rtnl *host, struct attached *at, struct err *e)
{
	struct link l;

	if (rtnl_link(host, at->host_name, &l, e) < 0)
		return -e->code;
	memcpy(at->host_mac, l.mac, sizeof(l.mac));
	/* A NodePort on 127.0.0.1 reaches the pod; the nft table drops what the pod itself sends to 127.0.0.0/8. */
	sysctl_write("1", "ipv4/conf/%s/route_localnet", l.name);
	sysctl_write("0", "ipv4/conf/%s/send_redirects", l.name); /* a pod that reaches itself is no routing mistake */
	sysctl_write("0", "ipv6/conf/%s/accept_ra", l.name);
	sysctl_write("0", "ipv6/conf/%s/accept_dad", l.name); /* no second of silence: nobody else is on this link */
	if (rtnl_up(host, l.index, e) < 0)
		return -e->code;
	for (size_t i = 0; i < at->n; i++) {
		struct route t = {
			.to = cidr_host(at->ips[i]), .from = at->gateways[i], .index = l.index, .link_scope = true
		};

		if (rtnl_address(host, l.index, cidr_host(at->gateways[i]), e) < 0 || rtnl_route(host, t, e) < 0)
			return -e->code;
	}
	return 0;
}

static int pod_side(struct call *c, struct rtnl *pod, struct attached *at, struct err *e)
{
	struct link l, lo;

	if (rtnl_link(pod, "lo", &lo, e) < 0 || rtnl_up(pod, lo.index, e) < 0 || rtnl_link(pod, c->ifname, &l, e) < 0)
		return -e->code;
	memcpy(at->mac, l.mac, sizeof(l.mac));
	sysctl_write("0", "ipv6/conf/%s/accept_ra", l.name);
	sysctl_write("0", "ipv6/conf/%s/accept_dad", l.name);
	if (rtnl_up(pod, l.index, e) < 0)
		return -e->code;
	for (size_t i = 0; i < at->n; i++) {
		struct ip gw = at->gateways[i];
		struct route to_gateway = { .to = cidr_host(gw), .index = l.index, .link_scope = true };
		struct route all = { .to = { { .family = gw.family }, 0 }, .via = gw, .index = l.index };

		if (rtnl_address(pod, l.index, cidr_host(at->ips[i]), e) < 0 || rtnl_route(pod, to_gateway, e) < 0 ||
			rtnl_route(pod, all, e) < 0)
			return -e->code;
	}
	return 0;
}

static int take_addresses(struct call *c, struct attached *at, struct err *e)
{
	struct ipam ipam;

	if (ipam_open(&ipam, c->addresses, e) < 0)
		return bad(c, e, CNI_IO);
	/* A second ADD without a DEL between them starts anew. */
	ipam_release(&ipam, c->container, c->ifname);
	int rc = 0;
	for (size_t i = 0; i < c->n && rc == 0; i++) {
		rc = ipam_take(&ipam, c->cidrs[i], c->container, c->ifname, &at->ips[i], e);
		at->gateways[i] = ip_plus(c->cidrs[i].ip, 1);
		at->n = i + 1;
	}
	if (rc < 0)
		ipam_release(&ipam, c->container, c->ifname);
	ipam_close(&ipam);
	return rc < 0 ? bad(c, e, e->code == ERR_FULL ? CNI_LATER : CNI_IO) : 0;
}

static void release(struct call *c)
{
	struct ipam ipam;
	struct err ignored;

	err_init(&ignored);
	if (ipam_open(&ipam, c->addresses, &ignored) < 0)
		return;
	ipam_release(&ipam, c->container, str_empty(str_c(c->ifname)) ? NULL : c->ifname);
	ipam_close(&ipam);
}

static int make_pair(struct call *c, struct rtnl *host, const char *name, int netns, struct err *e)
{
	unsigned mtu = c->mtu ? c->mtu : rtnl_uplink_mtu(host);
	struct err ignored;

	if (rtnl_add_veth(host, name, c->ifname, netns, mtu, e) == 0)
		return 0;
	if (e->code != ERR_EXISTS)
		return -e->code;
	/* Left over from a call that died half-way. */
	err_init(&ignored);
	rtnl_del(host, name, &ignored);
	return rtnl_add_veth(host, name, c->ifname, netns, mtu, e);
}

static int attach(struct call *c, struct rtnl *host, int netns, struct attached *at, struct err *e)
{
	struct rtnl pod = { 0 };
	struct err ignored;

	if (make_pair(c, host, at->host_name, netns, e) < 0)
		return -e->code;
	int rc = host_side(c, host, at, e);
	if (rc == 0)
		rc = enter(c, netns, e);
	if (rc == 0)
		rc = rtnl_open(&pod, e);
	if (rc == 0)
		rc = pod_side(c, &pod, at, e);
	rtnl_close(&pod);
	err_init(&ignored);
	if (rc < 0)
		rtnl_del(host, at->host_name, &ignored);
	return rc;
}

static int cmd_add(struct call *c, struct err *e)
{
	struct attached at = { 0 };
	struct rtnl host = { 0 };
	int netns;

	if (open_netns(c, &netns, e) < 0)
		return -e->code;
	names_pod_link(&c->names, c->container, c->ifname, at.host_name);
	int rc = rtnl_open(&host, e);
	if (rc == 0)
		rc = take_addresses(c, &at, e);
	if (rc == 0) {
		rc = attach(c, &host, netns, &at, e);
		if (rc < 0)
			release(c);
	}
	rtnl_close(&host);
	close(netns);
	if (rc == 0)
		answer_attached(c, &at);
	return rc;
}

/* ---- DEL, CHECK, GC -------------------------------------------------------------------------- */

/* Succeeds when nothing is left, also when there was nothing. The namespace may be gone already. */
static int cmd_del(struct call *c, struct err *e)
{
	struct rtnl host = { 0 };
	char name[IFNAMSIZ];

	if (rtnl_open(&host, e) < 0)
		return -e->code;
	names_pod_link(&c->names, c->container, c->ifname, name);
	int rc = rtnl_del(&host, name, e);
	rtnl_close(&host);
	if (rc < 0 && e->code != ERR_NOT_FOUND)
		return rc;
	release(c);
	return 0;
}

static int cmd_check(struct call *c, struct err *e)
{
	struct ip held[NETWORK_CIDRS_MAX];
	struct ipam ipam;
	struct rtnl host = { 0 }, pod = { 0 };
	struct link l;
	char name[IFNAMSIZ];
	int netns;

	if (open_netns(c, &netns, e) < 0)
		return -e->code;
	if (ipam_open(&ipam, c->addresses, e) < 0) {
		close(netns);
		return bad(c, e, CNI_IO);
	}
	size_t n = ipam_held(&ipam, c->container, c->ifname, held, ARRAY_LEN(held));
	ipam_close(&ipam);
	names_pod_link(&c->names, c->container, c->ifname, name);
	int rc = rtnl_open(&host, e);
	if (rc == 0)
		rc = rtnl_link(&host, name, &l, e);
	if (rc == 0)
		rc = enter(c, netns, e);
	if (rc == 0)
		rc = rtnl_open(&pod, e);
	if (rc == 0)
		rc = rtnl_link(&pod, c->ifname, &l, e);
	if (rc == 0 && n < c->n)
		rc = err_set(e, ERR_NOT_FOUND, "container %s holds %zu of %zu addresses", c->container, n, c->n);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (!rtnl_has_address(&pod, l.index, held[i]))
			rc = err_set(
				e, ERR_NOT_FOUND, "%s of container %s has lost its address", c->ifname, c->container);
	}
	rtnl_close(&pod);
	rtnl_close(&host);
	close(netns);
	return rc;
}

static bool is_valid_attachment(void *arg, const char *container, const char *ifname)
{
	struct call *c = arg;
	struct val list = val_get(doc_root(c->input), "cni.dev/valid-attachments");

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		if (val_is(val_get(it.val, "containerID"), container) && val_is(val_get(it.val, "ifname"), ifname))
			return true;
	}
	return false;
}

struct stray {
	struct call *call;
	struct rtnl *host;
};

/* Addresses first: a link goes with its address's container. */
static bool keep_or_unlink(void *arg, const char *container, const char *ifname)
{
	struct stray *s = arg;
	char name[IFNAMSIZ];
	struct err ignored;

	if (is_valid_attachment(s->call, container, ifname))
		return true;
	err_init(&ignored);
	names_pod_link(&s->call->names, container, ifname, name);
	rtnl_del(s->host, name, &ignored);
	return false;
}

static int cmd_gc(struct call *c, struct err *e)
{
	struct rtnl host = { 0 };
	struct stray s = { c, &host };
	struct ipam ipam;

	/* Without the list nothing can be called unused. */
	if (val_kind(val_get(doc_root(c->input), "cni.dev/valid-attachments")) != VAL_LIST)
		return 0;
	if (rtnl_open(&host, e) < 0)
		return -e->code;
	int rc = ipam_open(&ipam, c->addresses, e);
	if (rc == 0) {
		ipam_gc(&ipam, keep_or_unlink, &s);
		ipam_close(&ipam);
	}
	rtnl_close(&host);
	return rc < 0 ? bad(c, e, CNI_IO) : 0;
}

static int cmd_status(struct call *c, struct err *e)
{
	return 0;
}

/* ---- loopback -------------------------------------------------------------------------------- */

/* The plugin type "loopback", which containerd runs beside ours for every pod. */
static int loopback_add(struct call *c, struct err *e)
{
	struct rtnl pod = { 0 };
	struct link lo;
	int netns;

	if (open_netns(c, &netns, e) < 0)
		return -e->code;
	int rc = enter(c, netns, e);
	close(netns);
	if (rc == 0)
		rc = rtnl_open(&pod, e);
	if (rc == 0)
		rc = rtnl_link(&pod, "lo", &lo, e);
	if (rc == 0)
		rc = rtnl_up(&pod, lo.index, e);
	rtnl_close(&pod);
	if (rc < 0)
		return rc;
	bool versioned = c->version.p[0] == '0';
	print(node_pack(c->arena,
		"{cniVersion:S, interfaces:[{name:'lo', mac:'00:00:00:00:00:00', sandbox:s}], "
		"ips:[{version:s, interface:0, address:'127.0.0.1/8'}], dns:{}}",
		c->version, c->netns, versioned ? "4" : NULL));
	return 0;
}

/* ---- one call -------------------------------------------------------------------------------- */

static int cmd_version(struct call *c)
{
	struct node *list = node_list(c->arena);

	for (size_t i = 0; i < ARRAY_LEN(versions); i++)
		node_add(list, node_c(c->arena, versions[i]));
	print(node_pack(c->arena, "{cniVersion:'1.1.0', supportedVersions:o}", list));
	return 0;
}

static int read_input(struct call *c, struct err *e)
{
	auto_buf struct buf in = { .max = INPUT_MAX };

	for (;;) {
		char *room = buf_reserve(&in, 4096);
		ssize_t n = room ? read(STDIN_FILENO, room, 4096) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_errno(e, errno, "read the network configuration from stdin");
			return bad(c, e, CNI_IO);
		}
		if (n == 0)
			break;
		in.n += (size_t)n;
	}
	if (doc_parse(buf_view(&in), &c->input, e) < 0) {
		err_wrap(e, "network configuration on stdin");
		return bad(c, e, CNI_DECODE);
	}
	doc_hold(c->arena, c->input);
	c->version = doc_str(c->input, "cniVersion");
	return 0;
}

static int check_version(struct call *c, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		if (str_is(c->version, versions[i]))
			return 0;
	}
	err_set(e, ERR_UNSUPPORTED, "cniVersion \"%.*s\" is not one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0",
		STR_ARG(c->version));
	c->version = STR_NULL;
	return bad(c, e, CNI_VERSION);
}

static int read_config(struct call *c, struct err *e)
{
	struct val root = doc_root(c->input);
	struct str dir = val_str(val_get(root, "dataDir"));

	names_of(val_str(val_get(root, "instance")), &c->names);
	c->mtu = (unsigned)MAX(val_int(val_get(root, "mtu"), 0), 0);
	for (struct val_iter it = val_iter(val_get(root, "podCIDRs")); val_next(&it) && c->n < ARRAY_LEN(c->cidrs);) {
		if (!cidr_parse(val_str(it.val), &c->cidrs[c->n++])) {
			err_set(e, ERR_INVALID, "podCIDRs: \"%.*s\" is not a prefix such as 10.244.0.0/24",
				STR_ARG(val_str(it.val)));
			return bad(c, e, CNI_CONFIG);
		}
	}
	if (c->n == 0 || str_empty(dir) || dir.p[0] != '/') {
		err_set(e, ERR_INVALID, "the network configuration needs podCIDRs and an absolute dataDir");
		return bad(c, e, CNI_CONFIG);
	}
	c->addresses = arena_printf(c->arena, "%.*s/addresses", STR_ARG(dir));
	return 0;
}

static const char *env(const char *name)
{
	const char *v = getenv(name);

	return v ? v : "";
}

static int read_environment(struct call *c, bool needs_netns, struct err *e)
{
	c->container = env("CNI_CONTAINERID");
	c->netns = env("CNI_NETNS");
	c->ifname = env("CNI_IFNAME");
	size_t n = strlen(c->ifname);
	/* Both end up in files: a line break would forge another owner. */
	bool ok = c->container[0] && strlen(c->container) < 128 && n > 0 && n < IFNAMSIZ &&
		!strpbrk(c->container, "/\n \t") && !strpbrk(c->ifname, "/:\n \t") && strcmp(c->ifname, ".") != 0 &&
		strcmp(c->ifname, "..") != 0;
	if (ok && (c->netns[0] || !needs_netns))
		return 0;
	err_set(e, ERR_INVALID, "CNI_%s needs valid CNI_CONTAINERID, CNI_IFNAME%s", c->command,
		needs_netns ? " and CNI_NETNS" : "");
	return bad(c, e, CNI_ENVIRONMENT);
}

static const struct command {
	const char *name;
	int (*run)(struct call *c, struct err *e);
	int (*loopback)(struct call *c, struct err *e); /* NULL: nothing to do, succeeds */
	bool container, netns;                          /* what the environment must name */
} commands[] = {
	{ "ADD", cmd_add, loopback_add, true, true },
	{ "DEL", cmd_del, NULL, true, false },
	{ "CHECK", cmd_check, NULL, true, true },
	{ "GC", cmd_gc, NULL, false, false },
	{ "STATUS", cmd_status, NULL, false, false },
};

static int run(struct call *c, struct err *e)
{
	const struct command *cmd = NULL;

	c->command = env("CNI_COMMAND");
	if (strcmp(c->command, "VERSION") == 0)
		return cmd_version(c);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, c->command) == 0)
			cmd = &commands[i];
	}
	if (!cmd) {
		err_set(e, ERR_INVALID, "CNI_COMMAND \"%s\" is not one of ADD, DEL, CHECK, GC, STATUS, VERSION",
			c->command);
		return bad(c, e, CNI_ENVIRONMENT);
	}
	if (read_input(c, e) < 0 || check_version(c, e) < 0)
		return -e->code;
	if (cmd->container && read_environment(c, cmd->netns, e) < 0)
		return -e->code;
	if (str_is(doc_str(c->input, "type"), "loopback"))
		return cmd->loopback ? cmd->loopback(c, e) : 0;
	if (read_config(c, e) < 0)
		return -e->code;
	return cmd->run(c, e);
}

int network_cni_main(void)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct call c = { .arena = a };
	struct err e;

	err_init(&e);
	if (run(&c, &e) == 0)
		return 0;
	answer_error(&c, &e);
	return 1;
}

void network_cni_conflist(struct buf *out, const struct network_opts *o, const char *plugin_type)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *cidrs = node_list(a);

	for (size_t i = 0; i < NETWORK_CIDRS_MAX && o->pod_cidrs[i]; i++)
		node_add(cidrs, node_c(a, o->pod_cidrs[i]));
	node_write(node_pack(a,
			   "{cniVersion:'1.0.0', name:s, plugins:[{type:s, instance:s, podCIDRs:o, dataDir:s, mtu:i}]}",
			   o->instance ? o->instance : "kogge", plugin_type, o->instance ? o->instance : "kogge", cidrs,
			   o->data_dir, (int)o->mtu),
		out);
	buf_byte(out, '\n');
}

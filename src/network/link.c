#include "network/link.h"
#include "network/netlink.h"
#include <errno.h>
#include <fcntl.h>

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX 1024 /* requests are small; answers use the socket's own size */

int rtnl_open(struct rtnl *r, struct err *e)
{
	r->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!r->nl)
		return err_errno(e, errno, "open a netlink socket");
	if (mnl_socket_bind(r->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		int saved = errno;

		rtnl_close(r);
		return err_errno(e, saved, "bind a netlink socket");
	}
	r->port = mnl_socket_get_portid(r->nl);
	return 0;
}

void rtnl_close(struct rtnl *r)
{
	if (r->nl)
		mnl_socket_close(r->nl);
	r->nl = NULL;
}

static struct nlmsghdr *begin(struct rtnl *r, char *buf, unsigned type, unsigned flags)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	h->nlmsg_type = (uint16_t)type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = ++r->seq;
	return h;
}

/* A list that changed while it was read ends early with EINTR: its rest must not be taken for the next answer. */
static void drop_rest(struct rtnl *r, char *answer)
{
	while (recv(mnl_socket_get_fd(r->nl), answer, NETLINK_ANSWER_MAX, MSG_DONTWAIT) > 0)
		;
}

/* Sends and runs cb over the answer. 0 or an errno. */
static int talk(struct rtnl *r, struct nlmsghdr *h, mnl_cb_t cb, void *arg)
{
	auto_free char *answer = xmalloc(NETLINK_ANSWER_MAX);

	drop_rest(r, answer);
	if (mnl_socket_sendto(r->nl, h, h->nlmsg_len) < 0)
		return errno;
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(r->nl, answer, NETLINK_ANSWER_MAX);
		if (n < 0)
			return errno;
		int rc = mnl_cb_run(answer, (size_t)n, h->nlmsg_seq, r->port, cb, arg);
		if (rc < 0)
			return errno;
		if (rc == MNL_CB_STOP)
			return 0;
	}
}

static int fail(struct err *e, int errnum, const char *what, const char *about)
{
	if (errnum == EEXIST)
		return err_set(e, ERR_EXISTS, "%s %s: it is already there", what, about);
	if (errnum == ENODEV)
		return err_set(e, ERR_NOT_FOUND, "%s %s: no such link", what, about);
	if (errnum == EOPNOTSUPP)
		return err_set(e, ERR_UNSUPPORTED, "%s %s: this kernel cannot do it", what, about);
	return err_errno(e, errnum, "%s %s", what, about);
}

/* ---- links ----------------------------------------------------------------------------------- */

struct link_visit {
	void (*each)(void *arg, const struct link *l);
	void *arg;
};

static int on_link(const struct nlmsghdr *h, void *arg)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
	struct link_visit *v = arg;
	struct link l = { .index = m->ifi_index, .flags = m->ifi_flags };
	struct nlattr *a;

	if (h->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	attr_for_each(a, h, sizeof(*m))
	{
		if (mnl_attr_get_type(a) == IFLA_IFNAME)
			snprintf(l.name, sizeof(l.name), "%s", mnl_attr_get_str(a));
		else if (mnl_attr_get_type(a) == IFLA_MTU)
			l.mtu = mnl_attr_get_u32(a);
		else if (mnl_attr_get_type(a) == IFLA_ADDRESS && mnl_attr_get_payload_len(a) == sizeof(l.mac))
			memcpy(l.mac, mnl_attr_get_payload(a), sizeof(l.mac));
	}
	v->each(v->arg, &l);
	return MNL_CB_OK;
}

static void keep_link(void *arg, const struct link *l)
{
	*(struct link *)arg = *l;
}

int rtnl_link(struct rtnl *r, const char *name, struct link *ret, struct err *e)
{
	char buf[MESSAGE_MAX];
	struct link found = { 0 };
	struct link_visit v = { keep_link, &found };
	struct nlmsghdr *h = begin(r, buf, RTM_GETLINK, NLM_F_ACK);

	mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	int rc = talk(r, h, on_link, &v);
	if (rc || !found.index)
		return fail(e, rc ? rc : ENODEV, "look up link", name);
	*ret = found;
	return 0;
}

int rtnl_links(struct rtnl *r, void (*each)(void *arg, const struct link *l), void *arg, struct err *e)
{
	char buf[MESSAGE_MAX];
	struct link_visit v = { each, arg };
	struct nlmsghdr *h = begin(r, buf, RTM_GETLINK, NLM_F_DUMP);

	mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	int rc = talk(r, h, on_link, &v);
	return rc ? fail(e, rc, "list", "links") : 0;
}

int rtnl_add(struct rtnl *r, const char *name, const char *kind, struct err *e)
{
	char buf[MESSAGE_MAX];
	struct nlmsghdr *h = begin(r, buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);

	mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_str(h, IFLA_INFO_KIND, kind);
	mnl_attr_nest_end(h, info);
	int rc = talk(r, h, NULL, NULL);
	return rc ? fail(e, rc, "add link", name) : 0;
}

int rtnl_add_veth(struct rtnl *r, const char *name, const char *peer, int netns_fd, unsigned mtu, struct err *e)
{
	char buf[MESSAGE_MAX];
	struct nlmsghdr *h = begin(r, buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);

	mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	mnl_attr_put_u32(h, IFLA_MTU, mtu);
	struct nlattr *info = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_str(h, IFLA_INFO_KIND, "veth");
	struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
	struct nlattr *end = mnl_attr_nest_start(h, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(h, IFLA_IFNAME, peer);
	mnl_attr_put_u32(h, IFLA_MTU, mtu);
	mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	mnl_attr_nest_end(h, end);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, info);
	int rc = talk(r, h, NULL, NULL);
	return rc ? fail(e, rc, "add the veth pair", name) : 0;
}

int rtnl_del(struct rtnl *r, const char *name, struct err *e)
{
	char buf[MESSAGE_MAX];
	struct nlmsghdr *h = begin(r, buf, RTM_DELLINK, NLM_F_ACK);

	mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	int rc = talk(r, h, NULL, NULL);
	return rc ? fail(e, rc, "delete link", name) : 0;
}

int rtnl_up(struct rtnl *r, int index, struct err *e)
{
	char buf[MESSAGE_MAX], about[24];
	struct nlmsghdr *h = begin(r, buf, RTM_NEWLINK, NLM_F_ACK);
	struct ifinfomsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	m->ifi_index = index;
	m->ifi_change = m->ifi_flags = IFF_UP;
	snprintf(about, sizeof(about), "%d", index);
	int rc = talk(r, h, NULL, NULL);
	return rc ? fail(e, rc, "bring up link", about) : 0;
}

/* ---- addresses and routes -------------------------------------------------------------------- */

static uint8_t af(struct ip a)
{
	return a.family == 4 ? AF_INET : AF_INET6;
}

int rtnl_address(struct rtnl *r, int index, struct cidr c, struct err *e)
{
	char buf[MESSAGE_MAX], about[IP_TEXT_MAX];
	struct nlmsghdr *h = begin(r, buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	m->ifa_family = af(c.ip);
	m->ifa_prefixlen = c.bits;
	m->ifa_index = (uint32_t)index;
	if (c.ip.family == 6)
		m->ifa_flags = IFA_F_NODAD;
	mnl_attr_put(h, IFA_LOCAL, ip_len(c.ip), c.ip.b);
	mnl_attr_put(h, IFA_ADDRESS, ip_len(c.ip), c.ip.b);
	cidr_text(c, about);
	int rc = talk(r, h, NULL, NULL);
	return rc && rc != EEXIST ? fail(e, rc, "add address", about) : 0;
}

int rtnl_route(struct rtnl *r, struct route t, struct err *e)
{
	char buf[MESSAGE_MAX], about[IP_TEXT_MAX];
	struct nlmsghdr *h = begin(r, buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	m->rtm_family = af(t.to.ip);
	m->rtm_dst_len = t.to.bits;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = t.link_scope ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	if (t.to.bits)
		mnl_attr_put(h, RTA_DST, ip_len(t.to.ip), t.to.ip.b);
	if (t.via.family)
		mnl_attr_put(h, RTA_GATEWAY, ip_len(t.via), t.via.b);
	if (t.from.family)
		mnl_attr_put(h, RTA_PREFSRC, ip_len(t.from), t.from.b);
	mnl_attr_put_u32(h, RTA_OIF, (uint32_t)t.index);
	cidr_text(t.to, about);
	int rc = talk(r, h, NULL, NULL);
	return rc ? fail(e, rc, "add the route to", about) : 0;
}

struct address_search {
	int index;
	struct ip a;
	bool found;
};

static int on_address(const struct nlmsghdr *h, void *arg)
{
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
	struct address_search *s = arg;
	struct nlattr *a;

	if ((int)m->ifa_index != s->index || m->ifa_family != af(s->a))
		return MNL_CB_OK;
	attr_for_each(a, h, sizeof(*m))
	{
		unsigned type = mnl_attr_get_type(a);

		if ((type == IFA_LOCAL || type == IFA_ADDRESS) && mnl_attr_get_payload_len(a) == ip_len(s->a) &&
			memcmp(mnl_attr_get_payload(a), s->a.b, ip_len(s->a)) == 0)
			s->found = true;
	}
	return MNL_CB_OK;
}

bool rtnl_has_address(struct rtnl *r, int index, struct ip a)
{
	char buf[MESSAGE_MAX];
	struct address_search s = { index, a, false };
	struct nlmsghdr *h = begin(r, buf, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

	m->ifa_family = af(a);
	return talk(r, h, on_address, &s) == 0 && s.found;
}

static int on_default_route(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	struct nlattr *a;

	if (m->rtm_dst_len || m->rtm_table != RT_TABLE_MAIN || m->rtm_type != RTN_UNICAST || *(uint32_t *)arg)
		return MNL_CB_OK;
	attr_for_each(a, h, sizeof(*m))
	{
		if (mnl_attr_get_type(a) == RTA_OIF)
			*(uint32_t *)arg = mnl_attr_get_u32(a);
	}
	return MNL_CB_OK;
}

struct mtu_search {
	uint32_t index;
	unsigned mtu;
};

static void keep_mtu(void *arg, const struct link *l)
{
	struct mtu_search *s = arg;

	if ((uint32_t)l->index == s->index)
		s->mtu = l->mtu;
}

unsigned rtnl_uplink_mtu(struct rtnl *r)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct mtu_search s = { 0, 0 };
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(families) && !s.index; i++) {
		char buf[MESSAGE_MAX];
		struct nlmsghdr *h = begin(r, buf, RTM_GETROUTE, NLM_F_DUMP);
		struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));

		m->rtm_family = families[i];
		talk(r, h, on_default_route, &s.index);
	}
	err_init(&e);
	if (s.index)
		rtnl_links(r, keep_mtu, &s, &e);
	return s.mtu >= 1280 ? s.mtu : 1500;
}

/* ---- sysctls --------------------------------------------------------------------------------- */

static int sysctl_open(int flags, const char *path_fmt, va_list ap)
{
	char path[256];
	int n = snprintf(path, sizeof(path), "/proc/sys/net/");

	vsnprintf(path + n, sizeof(path) - (size_t)n, path_fmt, ap);
	return open(path, flags | O_CLOEXEC);
}

bool sysctl_write(const char *value, const char *path_fmt, ...)
{
	va_list ap;

	va_start(ap, path_fmt);
	int fd = sysctl_open(O_WRONLY, path_fmt, ap);
	va_end(ap);
	if (fd < 0)
		return false;
	bool ok = write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	close(fd);
	return ok;
}

bool sysctl_read(char *ret, size_t n, const char *path_fmt, ...)
{
	va_list ap;

	va_start(ap, path_fmt);
	int fd = sysctl_open(O_RDONLY, path_fmt, ap);
	va_end(ap);
	if (fd < 0)
		return false;
	ssize_t got = read(fd, ret, n - 1);
	close(fd);
	if (got < 0)
		return false;
	ret[got] = 0;
	ret[strcspn(ret, "\n")] = 0;
	return true;
}

#include "network/conntrack.h"
#include "network/netlink.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

struct conntrack {
	struct mnl_socket *nl; /* NULL: not needed yet, or failed */
};

/* For each list that the kernel filters it looks at every entry: for more frontends than this, one list of all of UDP
 * costs less. */
#define FILTERED_MAX 4

/* Where clients send to. */
struct frontend {
	uint8_t family;
	struct ip ip; /* family 0: any address (node ports) */
	uint16_t port;
};

struct stale {
	struct frontend at;
	bool endpoint; /* entries translated to the next two; else those that were not translated */
	struct ip ip;
	uint16_t port;
};

struct tuple {
	struct ip src, dst;
	uint16_t src_port, dst_port;
	uint8_t proto;
};

struct sweep {
	struct stale *list;
	size_t n;
	struct frontend frontends[FILTERED_MAX]; /* of the list, each once */
	size_t n_frontends;                      /* FILTERED_MAX + 1: there were more */
	char *deletions;                         /* netlink messages, one after the other */
	size_t used, cap;
};

static bool stale_of(const struct change *c, struct stale *ret)
{
	bool endpoint = map_has_endpoints(c->e.map) && c->op == CHANGE_DELETE;
	bool frontend = element_maps[c->e.map].gives == GIVES_PICK && c->op == CHANGE_ADD;
	bool on_address = element_maps[c->e.map].key[0] == 'a';
	struct str key = c->e.key, val = c->e.val;
	struct stale s = { .endpoint = endpoint, .at.family = c->e.family };
	char proto = c->e.proto;

	if (!endpoint && !frontend)
		return false;
	s.at.ip = on_address ? fields_take_ip(&key, c->e.family) : IP_NONE;
	if (frontend)
		proto = fields_take_proto(&key);
	s.at.port = (uint16_t)fields_take_port(&key);
	if (endpoint) {
		s.ip = fields_take_ip(&val, c->e.family);
		s.port = (uint16_t)fields_take_port(&val);
	}
	*ret = s;
	return proto == 'u';
}

/* The key of an endpoint without its number, which is the last field. */
static struct str without_number(struct str key)
{
	return str_sub(key, 0, key.n - sizeof(uint32_t));
}

/* The endpoint has another number now: its frontend still uses it. */
static bool only_moved(const struct change *c, const struct change *changes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct element *e = &changes[i].e;

		if (changes[i].op == CHANGE_ADD && e->map == c->e.map && e->proto == c->e.proto &&
			e->family == c->e.family && str_eq(e->val, c->e.val) &&
			str_eq(without_number(e->key), without_number(c->e.key)))
			return true;
	}
	return false;
}

static void read_ip(const struct nlattr *a, struct ip *ret)
{
	size_t n = mnl_attr_get_payload_len(a);

	if (n != 4 && n != 16)
		return;
	ret->family = n == 4 ? 4 : 6;
	memcpy(ret->b, mnl_attr_get_payload(a), n);
}

static struct tuple read_tuple(const struct nlattr *nest)
{
	struct tuple t = { 0 };
	struct nlattr *a, *b;

	attr_for_each_nested(a, nest)
	{
		attr_for_each_nested(b, a)
		{
			unsigned type = mnl_attr_get_type(b);

			if (mnl_attr_get_type(a) == CTA_TUPLE_IP) {
				if (type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC)
					read_ip(b, &t.src);
				else if (type == CTA_IP_V4_DST || type == CTA_IP_V6_DST)
					read_ip(b, &t.dst);
			} else if (mnl_attr_get_type(a) == CTA_TUPLE_PROTO) {
				if (type == CTA_PROTO_NUM)
					t.proto = mnl_attr_get_u8(b);
				else if (type == CTA_PROTO_SRC_PORT)
					t.src_port = ntohs(mnl_attr_get_u16(b));
				else if (type == CTA_PROTO_DST_PORT)
					t.dst_port = ntohs(mnl_attr_get_u16(b));
			}
		}
	}
	return t;
}

static bool is_stale(const struct sweep *s, const struct tuple *orig, const struct tuple *reply, bool translated)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct stale *x = &s->list[i];

		if (x->at.port != orig->dst_port || x->endpoint != translated || x->at.family != orig->dst.family ||
			(x->at.ip.family && !ip_eq(x->at.ip, orig->dst)))
			continue;
		if (!x->endpoint || (x->port == reply->src_port && ip_eq(x->ip, reply->src)))
			return true;
	}
	return false;
}

static void queue_deletion(struct sweep *s, const struct nlmsghdr *entry, const struct nlattr *orig)
{
	const struct nfgenmsg *from = mnl_nlmsg_get_payload(entry);

	if (s->cap - s->used < 1024)
		s->deletions = xrealloc(s->deletions, s->cap = s->cap * 2 + 4096, 1);
	struct nlmsghdr *h = mnl_nlmsg_put_header(s->deletions + s->used);
	h->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE;
	h->nlmsg_flags = NLM_F_REQUEST;
	struct nfgenmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->nfgen_family = from->nfgen_family;
	m->version = NFNETLINK_V0;
	mnl_attr_put(h, CTA_TUPLE_ORIG | NLA_F_NESTED, mnl_attr_get_payload_len(orig), mnl_attr_get_payload(orig));
	s->used += NLMSG_ALIGN(h->nlmsg_len);
}

static int on_entry(const struct nlmsghdr *h, void *arg)
{
	struct sweep *s = arg;
	struct nlattr *a, *orig_at = NULL;
	struct tuple orig = { 0 }, reply = { 0 };
	uint32_t status = 0;

	attr_for_each(a, h, sizeof(struct nfgenmsg))
	{
		switch (mnl_attr_get_type(a)) {
		case CTA_TUPLE_ORIG:
			orig = read_tuple(a);
			orig_at = a;
			break;
		case CTA_TUPLE_REPLY:
			reply = read_tuple(a);
			break;
		case CTA_STATUS:
			status = ntohl(mnl_attr_get_u32(a));
			break;
		}
	}
	if (orig_at && orig.proto == IPPROTO_UDP && is_stale(s, &orig, &reply, status & IPS_DST_NAT))
		queue_deletion(s, h, orig_at);
	return MNL_CB_OK;
}

/* ---- lists of tracked connections ------------------------------------------------------------ */

/* What of a tuple a filter compares: bits of CTA_FILTER_ORIG_FLAGS, for which the kernel's headers have no names. */
enum { MATCH_DST = 2, MATCH_PROTO = 8, MATCH_DST_PORT = 32 };

/* The kernel leaves out what does not match. One that is older than 5.8 knows no filters and lists everything, which
 * on_entry() bears. at NULL: all of UDP, of the message's family. */
static void put_filter(struct nlmsghdr *h, const struct frontend *at)
{
	uint32_t flags = MATCH_PROTO;
	struct nlattr *nest, *tuple = mnl_attr_nest_start(h, CTA_TUPLE_ORIG);

	if (at && at->ip.family) {
		nest = mnl_attr_nest_start(h, CTA_TUPLE_IP);
		mnl_attr_put(h, at->family == 4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, ip_len(at->ip), at->ip.b);
		mnl_attr_nest_end(h, nest);
		flags |= MATCH_DST;
	}
	nest = mnl_attr_nest_start(h, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(h, CTA_PROTO_NUM, IPPROTO_UDP);
	if (at) {
		mnl_attr_put_u16(h, CTA_PROTO_DST_PORT, htons(at->port));
		flags |= MATCH_DST_PORT;
	}
	mnl_attr_nest_end(h, nest);
	mnl_attr_nest_end(h, tuple);
	nest = mnl_attr_nest_start(h, CTA_FILTER);
	mnl_attr_put_u32(h, CTA_FILTER_ORIG_FLAGS, flags);
	mnl_attr_nest_end(h, nest);
}

static int list(struct mnl_socket *nl, uint8_t family, const struct frontend *only, struct sweep *s, struct err *e)
{
	auto_free char *answer = xmalloc(NETLINK_ANSWER_MAX);
	char buf[256];
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	h->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	struct nfgenmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->nfgen_family = family == 4 ? AF_INET : AF_INET6;
	m->version = NFNETLINK_V0;
	put_filter(h, only);
	if (mnl_socket_sendto(nl, h, h->nlmsg_len) < 0)
		return err_errno(e, errno, "list tracked connections");
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nl, answer, NETLINK_ANSWER_MAX);
		if (n < 0)
			return err_errno(e, errno, "list tracked connections");
		int rc = mnl_cb_run(answer, (size_t)n, 0, mnl_socket_get_portid(nl), on_entry, s);
		if (rc < 0)
			return err_errno(e, errno, "list tracked connections");
		if (rc == MNL_CB_STOP)
			return 0;
	}
}

static void delete_queued(struct mnl_socket *nl, struct sweep *s)
{
	char answer[1024];

	for (size_t at = 0; at < s->used;) {
		struct nlmsghdr *h = (struct nlmsghdr *)(s->deletions + at);

		mnl_socket_sendto(nl, h, h->nlmsg_len);
		at += NLMSG_ALIGN(h->nlmsg_len);
	}
	/* An entry that has just ended is no error; that it could not be deleted is nothing to tell the next sweep. */
	while (recv(mnl_socket_get_fd(nl), answer, sizeof(answer), MSG_DONTWAIT) > 0)
		;
}

/* Both families: a filter needs one. */
static int list_all(struct mnl_socket *nl, struct sweep *s, struct err *e)
{
	return list(nl, 4, NULL, s, e) < 0 || list(nl, 6, NULL, s, e) < 0 ? -e->code : 0;
}

static int sweep(struct mnl_socket *nl, struct sweep *s, struct err *e)
{
	bool filtered = s->n_frontends <= FILTERED_MAX;
	int rc = filtered ? 0 : list_all(nl, s, e);

	for (size_t i = 0; filtered && i < s->n_frontends && rc == 0; i++)
		rc = list(nl, s->frontends[i].family, &s->frontends[i], s, e);
	if (rc == 0)
		delete_queued(nl, s);
	return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

struct conntrack *conntrack_new(void)
{
	return xcalloc(1, sizeof(struct conntrack));
}

static void hang_up(struct conntrack *c)
{
	if (c->nl)
		mnl_socket_close(c->nl);
	c->nl = NULL;
}

struct conntrack *conntrack_free(struct conntrack *c)
{
	if (!c)
		return NULL;
	hang_up(c);
	free(c);
	return NULL;
}

static int connect_once(struct conntrack *c, struct err *e)
{
	if (c->nl)
		return 0;
	c->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (c->nl && mnl_socket_bind(c->nl, 0, MNL_SOCKET_AUTOPID) == 0)
		return 0;
	return err_errno(e, errno, "open a netlink socket for connection tracking");
}

static void add_frontend(struct sweep *s, struct frontend at)
{
	for (size_t i = 0; i < s->n_frontends && i < FILTERED_MAX; i++) {
		const struct frontend *old = &s->frontends[i];

		if (old->family == at.family && old->port == at.port && ip_eq(old->ip, at.ip))
			return;
	}
	if (s->n_frontends < FILTERED_MAX)
		s->frontends[s->n_frontends] = at;
	s->n_frontends = MIN(s->n_frontends + 1, (size_t)FILTERED_MAX + 1);
}

static void add_stale(struct sweep *s, struct stale x)
{
	add_frontend(s, x.at);
	if ((s->n & (s->n - 1)) == 0)
		s->list = xrealloc(s->list, s->n ? s->n * 2 : 1, sizeof(*s->list));
	s->list[s->n++] = x;
}

int conntrack_follow(struct conntrack *c, const struct change *changes, size_t n, struct err *e)
{
	struct sweep s = { 0 };
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		struct stale x;

		if (!stale_of(&changes[i], &x) || (x.endpoint && only_moved(&changes[i], changes, n)))
			continue;
		add_stale(&s, x);
	}
	if (s.n && (connect_once(c, e) < 0 || sweep(c->nl, &s, e) < 0)) {
		rc = -e->code;
		hang_up(c);
	}
	free(s.deletions);
	free(s.list);
	return rc;
}

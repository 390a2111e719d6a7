#include "network/transaction.h"
#include "base/buf.h"
#include "network/netlink.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#define BATCH_MAX ((size_t)512 << 20) /* several million elements */
#define LIST_MAX 60000                /* bytes of the elements of one message; a list's length has 16 bits */
#define MESSAGE_MAX ((size_t)LIST_MAX + 1024)

/* Elements of one set, begin to end in the batch's order. */
struct message {
	size_t at; /* in the batch's bytes */
	size_t first;
};

struct batch {
	const char *table;
	const struct change **order; /* as they are sent: deletions first, elements of one set together */
	size_t n;
	struct buf bytes;
	struct message *messages; /* by sequence number, from FIRST_SEQ on */
	size_t n_messages, cap;
};
#define BEGIN_SEQ 1
#define FIRST_SEQ 2

/* ---- order ----------------------------------------------------------------------------------- */

/* Below GROUPS; the same for changes of one set, and of all picks of one kind. */
static unsigned group_of(const struct change *c)
{
	const char *proto = c->e.proto ? strchr(PROTOS, c->e.proto) : NULL;
	unsigned set = (c->e.map * 2u + (c->e.family == 6)) * 4 + (proto ? (unsigned)(proto - PROTOS) + 1 : 0);

	return c->op == CHANGE_ADD ? MAPS * 8 + set : set;
}
#define GROUPS (2 * MAPS * 8)

static bool one_per_pick(const struct change *c)
{
	return element_maps[c->e.map].gives == GIVES_PICK;
}

/* One message may carry both. */
static bool same_set(const struct change *a, const struct change *b)
{
	return group_of(a) == group_of(b) && (!one_per_pick(a) || str_eq(a->e.val, b->e.val));
}

static int by_pick(const void *a, const void *b)
{
	return str_cmp((*(const struct change *const *)a)->e.val, (*(const struct change *const *)b)->e.val);
}

static const struct change **in_order(struct arena *a, const struct change *changes, size_t n)
{
	const struct change **order = ARENA_ARRAY(a, const struct change *, n + 1);
	size_t ends[GROUPS + 1] = { 0 };

	for (size_t i = 0; i < n; i++)
		ends[group_of(&changes[i]) + 1]++;
	for (size_t g = 1; g <= GROUPS; g++)
		ends[g] += ends[g - 1];
	for (size_t i = 0; i < n; i++)
		order[ends[group_of(&changes[i])]++] = &changes[i];
	for (size_t g = 0, at = 0; g < GROUPS; at = ends[g++]) {
		if (ends[g] > at && one_per_pick(order[at]))
			qsort(order + at, ends[g] - at, sizeof(*order), by_pick);
	}
	return order;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Begins a message at the end of the batch, where there is room for `room` bytes of it. */
static struct nlmsghdr *begin_message(struct batch *b, size_t room, int type, int flags, size_t seq)
{
	char *at = buf_reserve(&b->bytes, room);

	if (!at)
		return NULL;
	struct nlmsghdr *h = mnl_nlmsg_put_header(at);
	h->nlmsg_type = (uint16_t)type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	h->nlmsg_seq = (uint32_t)seq;
	struct nfgenmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->nfgen_family = NFPROTO_INET;
	m->version = NFNETLINK_V0;
	return h;
}

static void end_message(struct batch *b, const struct nlmsghdr *h)
{
	b->bytes.n += NLMSG_ALIGN(h->nlmsg_len);
}

static void add_edge(struct batch *b, int type, size_t seq)
{
	struct nlmsghdr *h = begin_message(b, 64, type, 0, seq);

	if (!h)
		return;
	struct nfgenmsg *m = mnl_nlmsg_get_payload(h);
	m->nfgen_family = AF_UNSPEC;
	m->res_id = htons(NFNL_SUBSYS_NFTABLES);
	end_message(b, h);
}

static void put_value(struct nlmsghdr *h, uint16_t type, struct str bytes)
{
	struct nlattr *nest = mnl_attr_nest_start(h, type);

	mnl_attr_put(h, NFTA_DATA_VALUE, bytes.n, bytes.p);
	mnl_attr_nest_end(h, nest);
}

static void put_verdict(struct nlmsghdr *h, struct str chain)
{
	struct nlattr *nest = mnl_attr_nest_start(h, NFTA_SET_ELEM_DATA);
	struct nlattr *verdict = mnl_attr_nest_start(h, NFTA_DATA_VERDICT);

	mnl_attr_put_u32(h, NFTA_VERDICT_CODE, htonl((uint32_t)NFT_GOTO));
	mnl_attr_put(h, NFTA_VERDICT_CHAIN, chain.n, chain.p);
	mnl_attr_nest_end(h, verdict);
	mnl_attr_nest_end(h, nest);
}

static void put_key(struct nlmsghdr *h, const struct element *e)
{
	const char *fields = element_maps[e->map].key;

	if (strchr(fields, 'r')) {
		put_value(h, NFTA_SET_ELEM_KEY, str_sub(e->key, 0, e->key.n / 2));
		put_value(h, NFTA_SET_ELEM_KEY_END, str_sub(e->key, e->key.n / 2, e->key.n));
		return;
	}
	/* A port alone is no concatenation, and not padded. */
	put_value(h, NFTA_SET_ELEM_KEY, str_sub(e->key, 0, strcmp(fields, "d") == 0 ? sizeof(uint16_t) : e->key.n));
}

static void put_element(struct nlmsghdr *h, const struct change *c)
{
	struct nlattr *nest = mnl_attr_nest_start(h, NFTA_LIST_ELEM);

	put_key(h, &c->e);
	if (c->op == CHANGE_ADD && element_maps[c->e.map].gives == GIVES_VERDICT)
		put_verdict(h, c->e.val);
	else if (c->op == CHANGE_ADD && element_maps[c->e.map].gives == GIVES_ENDPOINT)
		put_value(h, NFTA_SET_ELEM_DATA, c->e.val);
	mnl_attr_nest_end(h, nest);
}

/* One message with the elements from `first` on that fit and are of the same set. Returns the next one. */
static size_t add_message(struct batch *b, size_t first)
{
	const struct change *like = b->order[first];
	int type = NFNL_SUBSYS_NFTABLES << 8 | (like->op == CHANGE_ADD ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM);
	struct nlmsghdr *h = begin_message(
		b, MESSAGE_MAX, type, like->op == CHANGE_ADD ? NLM_F_CREATE : 0, FIRST_SEQ + b->n_messages);
	char set[MAP_NAME_MAX];
	size_t i = first;

	if (!h)
		return b->n;
	GROW(b->messages, b->n_messages, b->cap, 4);
	b->messages[b->n_messages++] = (struct message){ b->bytes.n, first };
	element_map_name(&like->e, set);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, b->table);
	mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, set);
	struct nlattr *list = mnl_attr_nest_start(h, NFTA_SET_ELEM_LIST_ELEMENTS);
	for (; i < b->n && h->nlmsg_len < LIST_MAX && same_set(b->order[i], like); i++)
		put_element(h, b->order[i]);
	mnl_attr_nest_end(h, list);
	end_message(b, h);
	return i;
}

/* ---- what the kernel says -------------------------------------------------------------------- */

struct refusal {
	int error; /* errno; 0: none */
	uint32_t seq, offset;
};

static int refused(struct err *e, const struct batch *b, int error)
{
	return err_errno(e, error, "nftables refused %zu changes on table inet %s", b->n, b->table);
}

/* The element that lies `offset` bytes behind the beginning of its message; the first one if none does. */
static const struct change *element_at(const struct batch *b, const struct message *m, size_t offset)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)(b->bytes.p + m->at);
	const struct nlattr *a, *elem;
	size_t i = m->first, found = m->first;

	attr_for_each(a, h, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) != NFTA_SET_ELEM_LIST_ELEMENTS)
			continue;
		attr_for_each_nested(elem, a)
		{
			if ((size_t)((const char *)elem - (const char *)h) <= offset)
				found = i;
			i++;
		}
	}
	return b->order[found];
}

static int tell(struct err *e, const struct batch *b, const struct refusal *r)
{
	auto_(arena_free) struct arena *a = arena_new();
	char set[MAP_NAME_MAX];

	if (r->seq < FIRST_SEQ || r->seq - FIRST_SEQ >= b->n_messages)
		return refused(e, b, r->error);
	const struct change *c = element_at(b, &b->messages[r->seq - FIRST_SEQ], r->offset);
	element_map_name(&c->e, set);
	return err_errno(e, r->error, "nftables refused to %s %.*s in %s of table inet %s",
		c->op == CHANGE_ADD ? "add" : "delete", STR_ARG(element_text(a, &c->e)), set, b->table);
}

static void read_refusal(const struct nlmsghdr *h, struct refusal *r)
{
	const struct nlmsgerr *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *a;

	if (h->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(h) < sizeof(*m) || !m->error || r->error)
		return;
	*r = (struct refusal){ -m->error, m->msg.nlmsg_seq, 0 };
	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	attr_for_each(a, h, sizeof(*m))
	{
		if (mnl_attr_get_type(a) == NLMSGERR_ATTR_OFFS && mnl_attr_validate(a, MNL_TYPE_U32) == 0)
			r->offset = mnl_attr_get_u32(a);
	}
}

/* A transaction is done or refused when sendto() returns; without a complaint it is done. */
static struct refusal refusal_of(struct mnl_socket *nl)
{
	auto_free char *answer = xmalloc(NETLINK_ANSWER_MAX);
	struct refusal r = { 0 };
	ssize_t got;

	while ((got = recv(mnl_socket_get_fd(nl), answer, NETLINK_ANSWER_MAX, MSG_DONTWAIT)) > 0 || errno == ENOBUFS ||
		errno == EINTR) {
		int left = (int)got;

		if (got < 0 && errno == ENOBUFS && !r.error)
			r.error = ENOBUFS; /* more complaints than fit */
		for (struct nlmsghdr *h = (struct nlmsghdr *)answer; got > 0 && mnl_nlmsg_ok(h, left);
			h = mnl_nlmsg_next(h, &left))
			read_refusal(h, &r);
	}
	return r;
}

/* ---- applying -------------------------------------------------------------------------------- */

int transaction_socket(struct mnl_socket **ret, struct err *e)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int one = 1;

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		int saved = errno;

		if (nl)
			mnl_socket_close(nl);
		return err_errno(e, saved, "open a netlink socket for nftables");
	}
	/* Complaints come without what they complain of, and say where in it the fault is. */
	mnl_socket_setsockopt(nl, NETLINK_CAP_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(nl, NETLINK_EXT_ACK, &one, sizeof(one));
	*ret = nl;
	return 0;
}

static int submit(struct mnl_socket *nl, const struct batch *b, struct err *e)
{
	int room = (int)MIN(b->bytes.n + 4096, (size_t)INT32_MAX / 2);

	/* The kernel takes a transaction in one piece. */
	setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	if (mnl_socket_sendto(nl, b->bytes.p, b->bytes.n) < 0)
		return err_errno(e, errno, "send %zu changes to nftables", b->n);
	struct refusal r = refusal_of(nl);
	return r.error ? tell(e, b, &r) : 0;
}

int transaction_apply(struct mnl_socket *nl, const char *table, const struct change *changes, size_t n, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct batch b = { .table = table, .order = in_order(a, changes, n), .n = n, .bytes = { .max = BATCH_MAX } };
	int rc;

	if (n == 0)
		return 0;
	add_edge(&b, NFNL_MSG_BATCH_BEGIN, BEGIN_SEQ);
	for (size_t i = 0; i < n;)
		i = add_message(&b, i);
	add_edge(&b, NFNL_MSG_BATCH_END, FIRST_SEQ + b.n_messages);
	if (b.bytes.full)
		rc = err_set(e, ERR_TOO_LARGE, "%zu changes are more than one nftables transaction can be", n);
	else
		rc = submit(nl, &b, e);
	buf_fini(&b.bytes);
	free(b.messages);
	return rc;
}

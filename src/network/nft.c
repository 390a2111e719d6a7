#include "network/nft.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "network/netlink.h"
#include "network/transaction.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>
#include <stdio.h>

#define TEXT_MAX ((size_t)64 << 20)

/* The table has two names in turn: a new one is made beside the old one, which goes when the new one awakes. */
#define NAME_MAX_BYTES 96
struct nft {
	struct nft_opts o; /* table: the name of the one that is awake, or was last */
	char names[2][NAME_MAX_BYTES];
	struct map *picks;      /* name → struct pick, all that the table has or needs */
	struct map *chains;     /* name → rules, likewise */
	struct buf pending;     /* text of picks and chains that it does not have yet */
	struct buf after;       /* what goes once the elements are changed */
	struct nft_ctx *reader; /* of text; NULL: see nft_rest() */
	struct mnl_socket *nl;
	unsigned seq;
};

static void name_tables(const char *table, char ret[2][NAME_MAX_BYTES])
{
	snprintf(ret[0], NAME_MAX_BYTES, "%.80s", table);
	snprintf(ret[1], NAME_MAX_BYTES, "%.80s.2", table);
}

static bool awake(struct nft *n, const char *table);

int nft_new(const struct nft_opts *o, struct nft **ret, struct err *e)
{
	struct nft *n = xcalloc(1, sizeof(*n));

	n->o = *o;
	name_tables(o->table, n->names);
	n->pending = (struct buf){ .max = TEXT_MAX };
	n->after = (struct buf){ .max = TEXT_MAX };
	n->picks = map_new(free);
	n->chains = map_new(free);
	if (transaction_socket(&n->nl, e) < 0) {
		nft_free(n);
		return -e->code;
	}
	n->o.table = n->names[awake(n, n->names[1])];
	*ret = n;
	return 0;
}

struct nft *nft_free(struct nft *n)
{
	if (!n)
		return NULL;
	nft_rest(n);
	if (n->nl)
		mnl_socket_close(n->nl);
	map_free(n->picks);
	map_free(n->chains);
	buf_fini(&n->pending);
	buf_fini(&n->after);
	free(n);
	return NULL;
}

void nft_need_picks(struct nft *n, const struct pick *picks, size_t n_picks)
{
	for (size_t i = 0; i < n_picks; i++) {
		char name[PICK_NAME_MAX];

		pick_name(picks[i], name);
		if (map_get(n->picks, str_c(name)))
			continue;
		struct pick *copy = xmalloc(sizeof(*copy));
		*copy = picks[i];
		map_put(n->picks, str_c(name), copy);
		ruleset_pick(&n->pending, &n->o, picks[i]);
	}
}

void nft_need_chain(struct nft *n, const char *name, const char *rules)
{
	map_put(n->chains, str_c(name), xstrdup(rules));
	ruleset_chain(&n->pending, &n->o, name, rules);
}

void nft_drop_chain(struct nft *n, const char *name)
{
	if (map_del(n->chains, str_c(name)))
		buf_printf(&n->after, "delete chain inet %s %s\n", n->o.table, name);
}

static int need_reader(struct nft *n, struct err *e)
{
	if (n->reader)
		return 0;
	n->reader = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!n->reader)
		return err_set(e, ERR_UNSUPPORTED, "libnftables cannot start");
	nft_ctx_buffer_output(n->reader);
	return 0;
}

void nft_rest(struct nft *n)
{
	if (!n->reader)
		return;
	nft_ctx_free(n->reader);
	n->reader = NULL;
	memory_rest(); /* other memory lies behind it by now */
}

static int run_text(struct nft *n, const char *text, struct err *e)
{
	if (need_reader(n, e) < 0)
		return -e->code;
	nft_ctx_buffer_error(n->reader); /* what an earlier text was told goes */
	if (nft_run_cmd_from_buffer(n->reader, text) == 0)
		return 0;
	const char *why = nft_ctx_get_error_buffer(n->reader);
	return err_set(e, ERR_IO, "nftables refused a transaction on table inet %s: %.800s", n->o.table,
		why ? why : "no reason given");
}

/* One transaction of text, which is used up. */
static int run(struct nft *n, struct buf *text, struct err *e)
{
	if (text->n == 0)
		return 0;
	buf_byte(text, 0);
	if (text->full)
		return err_set(e, ERR_TOO_LARGE, "the nft transaction is larger than %zu MiB", TEXT_MAX >> 20);
	int rc = run_text(n, text->p, e);
	buf_reset(text);
	return rc;
}

int nft_apply(struct nft *n, const struct change *changes, size_t n_changes, struct err *e)
{
	if (run(n, &n->pending, e) < 0 || transaction_apply(n->nl, n->o.table, changes, n_changes, e) < 0 ||
		run(n, &n->after, e) < 0)
		return -e->code;
	return 0;
}

/* Asleep: its base chains see no packet. */
static int make_table(struct nft *n, const struct nft_opts *o, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_buf struct buf text = { .max = TEXT_MAX };
	struct str key;
	void *value;

	ruleset_table(&text, o);
	for (size_t i = 0; map_next(n->picks, &i, &key, &value);)
		ruleset_pick(&text, o, *(struct pick *)value);
	for (size_t i = 0; map_next(n->chains, &i, &key, &value);)
		ruleset_chain(&text, o, arena_cstr(a, key), value);
	return run(n, &text, e);
}

int nft_rebuild(struct nft *n, const struct change *all, size_t n_changes, struct err *e)
{
	unsigned next = awake(n, n->names[0]);
	auto_buf struct buf text = BUF_INIT;
	struct nft_opts o = n->o;

	buf_reset(&n->pending);
	buf_reset(&n->after);
	o.table = n->names[next];
	if (make_table(n, &o, e) < 0 || transaction_apply(n->nl, o.table, all, n_changes, e) < 0)
		return -e->code;
	buf_printf(&text, "add table inet %s\nadd table inet %s\ndelete table inet %s\n", o.table, n->names[!next],
		n->names[!next]);
	if (run(n, &text, e) < 0)
		return -e->code;
	n->o.table = o.table;
	return 0;
}

static int read_flags(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a;

	attr_for_each(a, h, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) == NFTA_TABLE_FLAGS)
			*(uint32_t *)arg = ntohl(mnl_attr_get_u32(a));
	}
	return MNL_CB_OK;
}

/* When the kernel does not say: true, so that nothing is made anew. */
static bool awake(struct nft *n, const char *table)
{
	char buf[512];
	auto_free char *answer = xmalloc(NETLINK_ANSWER_MAX);
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	uint32_t flags = 0;

	h->nlmsg_type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETTABLE;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	h->nlmsg_seq = ++n->seq;
	struct nfgenmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->nfgen_family = NFPROTO_INET;
	m->version = NFNETLINK_V0;
	mnl_attr_put_strz(h, NFTA_TABLE_NAME, table);
	if (mnl_socket_sendto(n->nl, h, h->nlmsg_len) < 0)
		return true;
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(n->nl, answer, NETLINK_ANSWER_MAX);
		if (got < 0)
			return true;
		int rc = mnl_cb_run(answer, (size_t)got, n->seq, mnl_socket_get_portid(n->nl), read_flags, &flags);
		if (rc < 0)
			return errno != ENOENT;
		if (rc == MNL_CB_STOP)
			return !(flags & NFT_TABLE_F_DORMANT);
	}
}

bool nft_present(struct nft *n)
{
	return awake(n, n->o.table);
}

int nft_purge(const char *table, struct err *e)
{
	struct nft_opts o = { .table = table };
	auto_(nft_free) struct nft *n = NULL;
	auto_buf struct buf text = BUF_INIT;

	if (nft_new(&o, &n, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ARRAY_LEN(n->names); i++)
		buf_printf(&text, "add table inet %s\ndelete table inet %s\n", n->names[i], n->names[i]);
	return run(n, &text, e);
}

#include "network/nft.h"
#include "base/map.h"
#include "network/netlink.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>
#include <stdio.h>

static const char PROTOS[] = "tus";
#define TEXT_MAX ((size_t)512 << 20) /* several million elements */

/* ---- text ------------------------------------------------------------------------------------ */

static const char *ip_word(unsigned family)
{
	return family == 4 ? "ip" : "ip6";
}

static bool by_address(char kind)
{
	return kind == 'c' || kind == 'x';
}

/* What a frontend of this kind is found by. */
static const char *key_of(char kind, unsigned family)
{
	if (!by_address(kind))
		return "meta l4proto . th dport";
	return family == 4 ? "ip daddr . meta l4proto . th dport" : "ip6 daddr . meta l4proto . th dport";
}

static const char *proto_word(char proto)
{
	return proto == 't' ? "tcp" : proto == 'u' ? "udp" : "sctp";
}

/* The same in a map that exists per protocol. */
static void split_key(char ret[64], char kind, unsigned family, char proto)
{
	snprintf(ret, 64, "%s%s%s dport", by_address(kind) ? ip_word(family) : "", by_address(kind) ? " daddr . " : "",
		proto_word(proto));
}

static void split_maps_text(struct buf *out, unsigned f, char proto)
{
	const char *w = ip_word(f), *p = proto_word(proto);
	char key[64];

	for (const char *k = FRONTEND_KINDS; *k; k++) {
		split_key(key, *k, f, proto);
		buf_printf(out, "\tmap ep_%c%u%c { typeof %s . numgen random mod 65536 : %s daddr . %s dport; }\n", *k,
			f, proto, key, w, p);
	}
	for (const char *k = "cn"; *k; k++) {
		split_key(key, *k, f, proto);
		buf_printf(out, "\tmap host_%c%u%c { typeof %s : %s daddr . %s dport; }\n", *k, f, proto, key, w, p);
	}
}

static void maps_text(struct buf *out, unsigned f)
{
	for (const char *k = FRONTEND_KINDS; *k; k++)
		buf_printf(out, "\tmap svc_%c%u { typeof %s : verdict; }\n", *k, f, key_of(*k, f));
	for (const char *k = "cn"; *k; k++)
		buf_printf(out, "\tmap none_%c%u { typeof %s : verdict; }\n", *k, f, key_of(*k, f));
	for (const char *p = PROTOS; *p; p++)
		split_maps_text(out, f, *p);
	buf_printf(out, "\tset hairpin%u { typeof %s saddr . %s daddr; }\n", f, ip_word(f), ip_word(f));
	buf_printf(out, "\tset remote%u { typeof %s daddr . meta l4proto . th dport; }\n", f, ip_word(f));
	buf_printf(out, "\tset guarded%u { typeof %s; }\n", f, key_of('c', f));
	buf_printf(out, "\tset allowed%u { typeof %s . %s saddr; flags interval; }\n", f, key_of('c', f), ip_word(f));
}

static void policy_maps_text(struct buf *out, unsigned f)
{
	const char *w = ip_word(f);

	buf_printf(out,
		"\tmap iso_in%u { typeof %s daddr : verdict; }\n\tmap iso_out%u { typeof %s saddr : verdict; }\n", f, w,
		f, w);
	buf_printf(out, "\tset peer%u { typeof %s saddr . numgen random mod 65536; }\n", f, w);
	buf_printf(
		out, "\tset named%u { typeof %s daddr . meta l4proto . th dport . numgen random mod 65536; }\n", f, w);
}

/* NetworkPolicies. Every packet of who began a connection is judged, not only the first: a policy ends what it forbids.
 * What the node itself sends to its pods, and they to it, is no forwarded traffic and passes: so do probes and DNS. A
 * pod always reaches itself, which shows here only when it does through a service. */
static void policy_text(struct buf *out)
{
	static const struct {
		const char *name, *field;
		int priority;
	} sides[] = { { "out", "saddr", -9 }, { "in", "daddr", -8 } };

	policy_maps_text(out, 4);
	policy_maps_text(out, 6);
	for (size_t i = 0; i < ARRAY_LEN(sides); i++)
		buf_printf(out,
			"\tchain policy_%s {\n\t\ttype filter hook forward priority %d; policy accept;\n"
			"\t\tct direction reply accept\n\t\tct state related accept\n"
			"\t\tip saddr . ip daddr @hairpin4 accept\n\t\tip6 saddr . ip6 daddr @hairpin6 accept\n"
			"\t\tip %s vmap @iso_%s4\n\t\tip6 %s vmap @iso_%s6\n\t}\n",
			sides[i].name, sides[i].priority, sides[i].field, sides[i].name, sides[i].field, sides[i].name);
}

/* " ip saddr { a, b }" for the prefixes of one family; false when there is none. */
static bool prefixes(struct buf *out, const char *what, const struct cidr c[2], unsigned family)
{
	const char *sep = "";

	if (c[0].ip.family != family && c[1].ip.family != family)
		return false;
	buf_printf(out, "%s %s { ", ip_word(family), what);
	for (size_t i = 0; i < 2; i++) {
		char text[IP_TEXT_MAX];

		if (c[i].ip.family != family)
			continue;
		cidr_text(c[i], text);
		buf_printf(out, "%s%s", sep, text);
		sep = ", ";
	}
	buf_c(out, " } ");
	return true;
}

static void host_ports_text(struct buf *out, char kind)
{
	for (unsigned f = 4; f <= 6; f += 2) {
		for (const char *p = PROTOS; *p; p++) {
			char key[64];

			split_key(key, kind, f, *p);
			buf_printf(out, "\t\tdnat %s to %s map @host_%c%u%c\n", ip_word(f), key, kind, f, *p);
		}
	}
}

static void lookups_text(struct buf *out)
{
	/* Who comes from outside meets the local endpoints of externalTrafficPolicy Local first. */
	buf_c(out,
		"\tchain outside {\n"
		"\t\tip daddr . meta l4proto . th dport vmap @svc_x4\n"
		"\t\tip6 daddr . meta l4proto . th dport vmap @svc_x6\n"
		"\t\tfib daddr type != local return\n"
		"\t\tmeta nfproto ipv4 meta l4proto . th dport vmap @svc_y4\n"
		"\t\tmeta nfproto ipv6 meta l4proto . th dport vmap @svc_y6\n"
		"\t}\n"
		"\tchain guard {\n"
		"\t\tip daddr . meta l4proto . th dport . ip saddr @allowed4 return\n"
		"\t\tip6 daddr . meta l4proto . th dport . ip6 saddr @allowed6 return\n"
		"\t\tdrop\n"
		"\t}\n"
		"\tchain services {\n"
		"\t\tip daddr . meta l4proto . th dport vmap @svc_c4\n"
		"\t\tip6 daddr . meta l4proto . th dport vmap @svc_c6\n"
		"\t\tfib daddr type != local return\n");
	host_ports_text(out, 'c');
	host_ports_text(out, 'n');
	buf_c(out,
		"\t\tmeta nfproto ipv4 meta l4proto . th dport vmap @svc_n4\n"
		"\t\tmeta nfproto ipv6 meta l4proto . th dport vmap @svc_n6\n"
		"\t}\n"
		"\tchain refuse {\n"
		"\t\tmeta l4proto tcp reject with tcp reset\n"
		"\t\treject with icmpx type port-unreachable\n"
		"\t}\n"
		"\tchain nobody {\n"
		"\t\tip daddr . meta l4proto . th dport vmap @none_c4\n"
		"\t\tip6 daddr . meta l4proto . th dport vmap @none_c6\n"
		"\t\tfib daddr type != local return\n"
		"\t\tmeta nfproto ipv4 meta l4proto . th dport vmap @none_n4\n"
		"\t\tmeta nfproto ipv6 meta l4proto . th dport vmap @none_n6\n"
		"\t}\n");
}

static void nat_text(struct buf *out, const struct nft_opts *o)
{
	buf_printf(out,
		"\tchain nat_prerouting {\n\t\ttype nat hook prerouting priority -100; policy accept;\n"
		"\t\tip daddr . meta l4proto . th dport @guarded4 jump guard\n"
		"\t\tip6 daddr . meta l4proto . th dport @guarded6 jump guard\n"
		"\t\tiifname != \"%s*\" jump outside\n\t\tjump services\n\t}\n"
		"\tchain nat_output {\n\t\ttype nat hook output priority -100; policy accept;\n\t\tjump services\n\t}\n",
		o->pod_links);
	buf_c(out,
		"\tchain filter_input {\n\t\ttype filter hook input priority -10; policy accept;\n"
		"\t\tct state new jump nobody\n\t}\n");
	static const char *const hooks[] = { "forward", "output" };
	for (size_t i = 0; i < ARRAY_LEN(hooks); i++) {
		buf_printf(out,
			"\tchain filter_%s {\n\t\ttype filter hook %s priority -10; policy accept;\n\t\tct state new jump nobody\n",
			hooks[i], hooks[i]);
		/* A service address or port that nobody has: refused here instead of sent to the default gateway. */
		for (unsigned f = 4; f <= 6; f += 2) {
			buf_c(out, "\t\t");
			if (prefixes(out, "daddr", o->services, f))
				buf_c(out, "ct state new fib daddr type != local goto refuse");
			buf_c(out, "\n");
		}
		buf_c(out, "\t}\n");
	}
}

static void masquerade_text(struct buf *out, const struct nft_opts *o)
{
	buf_c(out, "\tchain nat_postrouting {\n\t\ttype nat hook postrouting priority 100; policy accept;\n");
	if (!o->no_proxy) {
		/* A pod that reaches itself through a service must not see its own address as the sender. */
		buf_c(out,
			"\t\tct status dnat ip saddr . ip daddr @hairpin4 masquerade\n"
			"\t\tct status dnat ip6 saddr . ip6 daddr @hairpin6 masquerade\n");
		buf_printf(out, "\t\toifname \"%s*\" ip saddr 127.0.0.0/8 masquerade\n", o->pod_links);
		/* Answers of endpoints elsewhere must come back through this node. */
		for (unsigned f = 4; f <= 6; f += 2)
			buf_printf(out,
				"\t\tiifname != \"%s*\" oifname != \"%s*\" ct status dnat %s daddr . meta l4proto . th dport @remote%u masquerade\n",
				o->pod_links, o->pod_links, ip_word(f), f);
	}
	for (unsigned f = 4; f <= 6; f += 2) {
		buf_c(out, "\t\t");
		if (prefixes(out, "saddr", o->pods, f)) {
			prefixes(out, "daddr !=", o->cluster, f);
			buf_printf(out, "oifname != \"%s*\" oifname != \"lo\" masquerade", o->pod_links);
		}
		buf_c(out, "\n");
	}
	buf_c(out, "\t}\n");
}

void nft_table_text(struct buf *out, const struct nft_opts *o)
{
	buf_printf(out, "add table inet %s\ndelete table inet %s\ntable inet %s {\n", o->table, o->table, o->table);
	if (!o->no_proxy) {
		maps_text(out, 4);
		maps_text(out, 6);
		lookups_text(out);
		nat_text(out, o);
		policy_text(out);
	}
	/* The pods' links have route_localnet (node ports on 127.0.0.1); nothing a pod sends may use it. Nor may it
	 * send under an address that is not its own: policies know pods by their addresses. */
	buf_printf(out,
		"\tchain raw_prerouting {\n\t\ttype filter hook prerouting priority -300; policy accept;\n"
		"\t\tiifname != \"%s*\" return\n"
		"\t\tip daddr 127.0.0.0/8 drop\n"
		"\t\tmeta nfproto ipv4 fib saddr . iif oif missing drop\n"
		"\t\tip6 saddr != :: fib saddr . iif oif missing drop\n\t}\n",
		o->pod_links);
	masquerade_text(out, o);
	buf_c(out, "}\n");
}

/* Client affinity without a chain per service: set aff_K_I holds (frontend, client) for endpoint number I of any
 * service;
 * the a-chain asks the sets in turn, else it draws a number; chain s-I notes the choice and goes there. */
static void sticky_text(struct buf *out, const struct nft_opts *o, struct pick p, uint32_t i)
{
	const char *t = o->table, *w = ip_word(p.family);
	char key[64], set[32], chain[PICK_NAME_MAX];

	split_key(key, p.kind, p.family, p.proto);
	snprintf(set, sizeof(set), "aff_%c%u%c_%u", p.kind, p.family, p.proto, i);
	snprintf(chain, sizeof(chain), "s%c%u%c-%u-%u", p.kind, p.family, p.proto, i, p.affinity_s);
	buf_printf(out, "add set inet %s %s { typeof %s . %s saddr; size 65535; flags dynamic,timeout; }\n", t, set,
		key, w);
	buf_printf(out, "add chain inet %s %s\nflush chain inet %s %s\n", t, chain, t, chain);
	buf_printf(out, "add rule inet %s %s update @%s { %s . %s saddr timeout %us }\n", t, chain, set, key, w,
		p.affinity_s);
	buf_printf(out, "add rule inet %s %s dnat %s to %s . numgen inc mod 1 offset %u map @ep_%c%u%c\n", t, chain, w,
		key, i, p.kind, p.family, p.proto);
}

static void affinity_text(struct buf *out, const struct nft_opts *o, struct pick p)
{
	char name[PICK_NAME_MAX], key[64];

	for (uint32_t i = 0; i < p.n; i++)
		sticky_text(out, o, p, i);
	pick_name(p, name);
	split_key(key, p.kind, p.family, p.proto);
	buf_printf(out, "add chain inet %s %s\nflush chain inet %s %s\n", o->table, name, o->table, name);
	for (uint32_t i = 0; i < p.n; i++)
		buf_printf(out, "add rule inet %s %s %s . %s saddr @aff_%c%u%c_%u goto s%c%u%c-%u-%u\n", o->table, name,
			key, ip_word(p.family), p.kind, p.family, p.proto, i, p.kind, p.family, p.proto, i,
			p.affinity_s);
	buf_printf(out, "add rule inet %s %s numgen random mod %u vmap { ", o->table, name, p.n);
	for (uint32_t i = 0; i < p.n; i++)
		buf_printf(
			out, "%s%u : goto s%c%u%c-%u-%u", i ? ", " : "", i, p.kind, p.family, p.proto, i, p.affinity_s);
	buf_c(out, " }\n");
}

void nft_pick_text(struct buf *out, const struct nft_opts *o, struct pick p)
{
	char name[PICK_NAME_MAX], key[64];

	if (p.affinity_s) {
		affinity_text(out, o, p);
		return;
	}
	pick_name(p, name);
	split_key(key, p.kind, p.family, p.proto);
	buf_printf(out, "add chain inet %s %s\nflush chain inet %s %s\n", o->table, name, o->table, name);
	/* The second rule is for a packet that meets two generations of the table: the chain of the old, the map of the
	 * new. */
	for (uint32_t n = p.n;; n = 1) {
		buf_printf(out, "add rule inet %s %s dnat %s to %s . numgen random mod %u map @ep_%c%u%c\n", o->table,
			name, ip_word(p.family), key, n, p.kind, p.family, p.proto);
		if (n == 1)
			break;
	}
}

void nft_chain_text(struct buf *out, const struct nft_opts *o, const char *name, const char *rules)
{
	buf_printf(out, "add chain inet %s %s\nflush chain inet %s %s\n", o->table, name, o->table, name);
	for (struct str line, rest = str_c(rules); str_next(&rest, '\n', &line);) {
		if (line.n)
			buf_printf(out, "add rule inet %s %s %.*s\n", o->table, name, STR_ARG(line));
	}
}

static void group_text(
	struct buf *out, const struct nft_opts *o, const struct change *changes, size_t n, const struct change *like)
{
	char proto[2] = { like->e.proto, 0 };
	const char *sep = " ";

	buf_printf(out, "%s element inet %s %s%u%s {", like->op == CHANGE_ADD ? "add" : "delete", o->table,
		element_map_names[like->e.map], like->e.family, proto);
	for (size_t i = 0; i < n; i++) {
		const struct element *e = &changes[i].e;

		if (changes[i].op != like->op || e->map != like->e.map || e->family != like->e.family ||
			e->proto != like->e.proto)
			continue;
		buf_c(out, sep);
		buf_str(out, e->key);
		if (like->op == CHANGE_ADD && e->val.n) {
			buf_c(out, " : ");
			buf_str(out, e->val);
		}
		sep = ", ";
	}
	buf_c(out, " }\n");
}

/* Deletions first; changes to one map are one command. */
void nft_changes_text(struct buf *out, const struct nft_opts *o, const struct change *changes, size_t n)
{
	bool seen[2][MAPS][2][4] = { 0 };

	for (int add = 0; add <= 1; add++) {
		for (size_t i = 0; i < n; i++) {
			const struct element *e = &changes[i].e;
			const char *at = e->proto ? strchr(PROTOS, e->proto) : NULL;
			bool *done = &seen[add][e->map][e->family == 6][at ? at - PROTOS + 1 : 0];

			if ((changes[i].op == CHANGE_ADD) != add || *done)
				continue;
			*done = true;
			group_text(out, o, changes, n, &changes[i]);
		}
	}
}

/* ---- applying -------------------------------------------------------------------------------- */

struct nft {
	struct nft_opts o;
	struct nft_ctx *ctx;
	struct map *picks;  /* name → struct pick, all that the table has or needs */
	struct map *chains; /* name → rules, likewise */
	struct buf pending; /* text of picks and chains that it does not have yet */
	struct buf after;   /* what goes once the elements are changed */
	struct mnl_socket *probe;
	unsigned seq;
};

int nft_new(const struct nft_opts *o, struct nft **ret, struct err *e)
{
	struct nft *n = xcalloc(1, sizeof(*n));

	n->o = *o;
	n->pending = (struct buf){ .max = TEXT_MAX };
	n->after = (struct buf){ .max = TEXT_MAX };
	n->picks = map_new(free);
	n->chains = map_new(free);
	n->ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!n->ctx) {
		nft_free(n);
		return err_set(e, ERR_UNSUPPORTED, "libnftables cannot start");
	}
	nft_ctx_buffer_error(n->ctx);
	nft_ctx_buffer_output(n->ctx);
	n->probe = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!n->probe || mnl_socket_bind(n->probe, 0, MNL_SOCKET_AUTOPID) < 0) {
		int saved = errno;

		nft_free(n);
		return err_errno(e, saved, "open a netlink socket for nftables");
	}
	*ret = n;
	return 0;
}

struct nft *nft_free(struct nft *n)
{
	if (!n)
		return NULL;
	if (n->ctx)
		nft_ctx_free(n->ctx);
	if (n->probe)
		mnl_socket_close(n->probe);
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
		nft_pick_text(&n->pending, &n->o, picks[i]);
	}
}

void nft_need_chain(struct nft *n, const char *name, const char *rules)
{
	map_put(n->chains, str_c(name), xstrdup(rules));
	nft_chain_text(&n->pending, &n->o, name, rules);
}

void nft_drop_chain(struct nft *n, const char *name)
{
	if (map_del(n->chains, str_c(name)))
		buf_printf(&n->after, "delete chain inet %s %s\n", n->o.table, name);
}

static int run(struct nft *n, struct buf *text, struct err *e)
{
	buf_byte(text, 0);
	if (text->full)
		return err_set(e, ERR_TOO_LARGE, "the nft transaction is larger than %zu MiB", TEXT_MAX >> 20);
	if (nft_run_cmd_from_buffer(n->ctx, text->p) == 0) {
		nft_ctx_get_output_buffer(n->ctx);
		return 0;
	}
	const char *why = nft_ctx_get_error_buffer(n->ctx);
	return err_set(e, ERR_IO, "nftables refused a transaction on table inet %s: %.800s", n->o.table,
		why ? why : "no reason given");
}

int nft_apply(struct nft *n, const struct change *changes, size_t n_changes, struct err *e)
{
	auto_buf struct buf text = { .max = TEXT_MAX };

	buf_str(&text, buf_view(&n->pending));
	buf_reset(&n->pending);
	nft_changes_text(&text, &n->o, changes, n_changes);
	buf_str(&text, buf_view(&n->after));
	buf_reset(&n->after);
	if (text.n == 0)
		return 0;
	return run(n, &text, e);
}

int nft_rebuild(struct nft *n, const struct change *all, size_t n_changes, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_buf struct buf text = { .max = TEXT_MAX };
	struct str key;
	void *value;

	nft_table_text(&text, &n->o);
	for (size_t i = 0; map_next(n->picks, &i, &key, &value);)
		nft_pick_text(&text, &n->o, *(struct pick *)value);
	for (size_t i = 0; map_next(n->chains, &i, &key, &value);)
		nft_chain_text(&text, &n->o, arena_cstr(a, key), value);
	buf_reset(&n->pending);
	buf_reset(&n->after);
	nft_changes_text(&text, &n->o, all, n_changes);
	return run(n, &text, e);
}

bool nft_present(struct nft *n)
{
	char buf[512];
	auto_free char *answer = xmalloc(NETLINK_ANSWER_MAX);
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	h->nlmsg_type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETTABLE;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	h->nlmsg_seq = ++n->seq;
	struct nfgenmsg *m = mnl_nlmsg_put_extra_header(h, sizeof(*m));
	m->nfgen_family = NFPROTO_INET;
	m->version = NFNETLINK_V0;
	mnl_attr_put_strz(h, NFTA_TABLE_NAME, n->o.table);
	if (mnl_socket_sendto(n->probe, h, h->nlmsg_len) < 0)
		return true; /* unknown: leave it alone */
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(n->probe, answer, NETLINK_ANSWER_MAX);
		if (got < 0)
			return true;
		int rc = mnl_cb_run(answer, (size_t)got, n->seq, mnl_socket_get_portid(n->probe), NULL, NULL);
		if (rc < 0)
			return errno != ENOENT;
		if (rc == MNL_CB_STOP)
			return true;
	}
}

int nft_purge(const char *table, struct err *e)
{
	struct nft_opts o = { .table = table };
	auto_(nft_free) struct nft *n = NULL;
	auto_buf struct buf text = BUF_INIT;

	if (nft_new(&o, &n, e) < 0)
		return -e->code;
	buf_printf(&text, "add table inet %s\ndelete table inet %s\n", table, table);
	return run(n, &text, e);
}

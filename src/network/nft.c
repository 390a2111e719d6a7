#include "network/nft.h"
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
		buf_printf(out, "\tset drop_%c%u { typeof %s; }\n", *k, f, key_of(*k, f));
	for (const char *k = "cn"; *k; k++)
		buf_printf(out, "\tset refuse_%c%u { typeof %s; }\n", *k, f, key_of(*k, f));
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

/* The chains that ask pick after pick whether it has the frontend: pick_text() gives them a rule for each. */
static void find_text(struct buf *out)
{
	for (const char *k = FRONTEND_KINDS; *k; k++)
		buf_printf(out, "\tchain find_%c4 {\n\t}\n\tchain find_%c6 {\n\t}\n", *k, *k);
}

#define FIND(kind) "\t\tmeta nfproto vmap { ipv4 : jump find_" kind "4, ipv6 : jump find_" kind "6 }\n"

/* While a packet asks, a transaction may move its frontend to a pick that it has asked already. So what would find
 * nobody asks again. */
static void services_text(struct buf *out, const struct nft_opts *o)
{
	buf_c(out, "\tchain services {\n" FIND("c"));
	for (unsigned f = 4; f <= 6; f += 2) {
		buf_c(out, "\t\t");
		if (prefixes(out, "daddr", o->services, f))
			buf_printf(out, "jump find_c%u", f);
		buf_c(out, "\n");
	}
	buf_c(out, "\t\tfib daddr type != local return\n");
	host_ports_text(out, 'c');
	host_ports_text(out, 'n');
	buf_c(out, FIND("n") FIND("n") "\t}\n");
}

static void lookups_text(struct buf *out, const struct nft_opts *o)
{
	find_text(out);
	services_text(out, o);
	/* Who comes from outside meets the local endpoints of externalTrafficPolicy Local first. */
	buf_c(out,
		"\tchain outside {\n"
		"\t\tip daddr . meta l4proto . th dport @drop_x4 drop\n"
		"\t\tip6 daddr . meta l4proto . th dport @drop_x6 drop\n" FIND(
			"x") "\t\tfib daddr type != local return\n"
			     "\t\tmeta nfproto ipv4 meta l4proto . th dport @drop_y4 drop\n"
			     "\t\tmeta nfproto ipv6 meta l4proto . th dport @drop_y6 drop\n" FIND(
				     "y") "\t}\n"
					  "\tchain guard {\n"
					  "\t\tip daddr . meta l4proto . th dport . ip saddr @allowed4 return\n"
					  "\t\tip6 daddr . meta l4proto . th dport . ip6 saddr @allowed6 return\n"
					  "\t\tdrop\n"
					  "\t}\n"
					  "\tchain refuse {\n"
					  "\t\tmeta l4proto tcp reject with tcp reset\n"
					  "\t\treject with icmpx type port-unreachable\n"
					  "\t}\n"
					  "\tchain nobody {\n"
					  "\t\tip daddr . meta l4proto . th dport @refuse_c4 goto refuse\n"
					  "\t\tip6 daddr . meta l4proto . th dport @refuse_c6 goto refuse\n"
					  "\t\tip daddr . meta l4proto . th dport @drop_c4 drop\n"
					  "\t\tip6 daddr . meta l4proto . th dport @drop_c6 drop\n"
					  "\t\tfib daddr type != local return\n"
					  "\t\tmeta nfproto ipv4 meta l4proto . th dport @refuse_n4 goto refuse\n"
					  "\t\tmeta nfproto ipv6 meta l4proto . th dport @refuse_n6 goto refuse\n"
					  "\t\tmeta nfproto ipv4 meta l4proto . th dport @drop_n4 drop\n"
					  "\t\tmeta nfproto ipv6 meta l4proto . th dport @drop_n6 drop\n"
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

/* Without elements, asleep, replacing one of that name. */
static void table_text(struct buf *out, const struct nft_opts *o)
{
	buf_printf(out, "add table inet %s\ndelete table inet %s\ntable inet %s {\n\tflags dormant\n", o->table,
		o->table, o->table);
	if (!o->no_proxy) {
		maps_text(out, 4);
		maps_text(out, 6);
		lookups_text(out, o);
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

	for (uint32_t i = 0; i < p.slots; i++)
		sticky_text(out, o, p, i);
	pick_name(p, name);
	split_key(key, p.kind, p.family, p.proto);
	for (uint32_t i = 0; i < p.slots; i++)
		buf_printf(out, "add rule inet %s %s %s . %s saddr @aff_%c%u%c_%u goto s%c%u%c-%u-%u\n", o->table, name,
			key, ip_word(p.family), p.kind, p.family, p.proto, i, p.kind, p.family, p.proto, i,
			p.affinity_s);
	buf_printf(out, "add rule inet %s %s numgen random mod %u vmap { ", o->table, name, p.slots);
	for (uint32_t i = 0; i < p.slots; i++)
		buf_printf(
			out, "%s%u : goto s%c%u%c-%u-%u", i ? ", " : "", i, p.kind, p.family, p.proto, i, p.affinity_s);
	buf_c(out, " }\n");
}

/* A draw beyond the endpoints that there are is drawn again; after so many (for one of 256 connections at the worst) one
 * among half the slots, which all have endpoints. */
#define DRAWS 8

static void draw_text(struct buf *out, const struct nft_opts *o, struct pick p, uint32_t slots)
{
	char name[PICK_NAME_MAX], key[64];

	pick_name(p, name);
	split_key(key, p.kind, p.family, p.proto);
	buf_printf(out, "add rule inet %s %s dnat %s to %s . numgen random mod %u map @ep_%c%u%c\n", o->table, name,
		ip_word(p.family), key, slots, p.kind, p.family, p.proto);
}

static void draws_text(struct buf *out, const struct nft_opts *o, struct pick p)
{
	for (int i = 0; i < (p.slots > 2 ? DRAWS : 1); i++)
		draw_text(out, o, p, p.slots);
	if (p.slots > 2)
		draw_text(out, o, p, p.slots / 2);
	/* For a packet that meets two generations of the table: the set of the old, the map of the new. */
	if (p.slots > 1)
		draw_text(out, o, p, 1);
}

/* The set of a pick's frontends, the chain (and the sets and chains it needs) that chooses one of their endpoints, and
 * the rule that leads there. */
static void pick_text(struct buf *out, const struct nft_opts *o, struct pick p)
{
	const char *t = o->table, *key = key_of(p.kind, p.family);
	char name[PICK_NAME_MAX];

	pick_name(p, name);
	buf_printf(out, "add set inet %s %s { typeof %s; }\nadd chain inet %s %s\nflush chain inet %s %s\n", t, name,
		key, t, name, t, name);
	if (p.affinity_s)
		affinity_text(out, o, p);
	else
		draws_text(out, o, p);
	buf_printf(out, "add rule inet %s find_%c%u meta l4proto %s %s @%s goto %s\n", t, p.kind, p.family,
		proto_word(p.proto), key, name, name);
}

static void chain_text(struct buf *out, const struct nft_opts *o, const char *name, const char *rules)
{
	buf_printf(out, "add chain inet %s %s\nflush chain inet %s %s\n", o->table, name, o->table, name);
	for (struct str line, rest = str_c(rules); str_next(&rest, '\n', &line);) {
		if (line.n)
			buf_printf(out, "add rule inet %s %s %.*s\n", o->table, name, STR_ARG(line));
	}
}

/* ---- applying -------------------------------------------------------------------------------- */

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
		pick_text(&n->pending, &n->o, picks[i]);
	}
}

void nft_need_chain(struct nft *n, const char *name, const char *rules)
{
	map_put(n->chains, str_c(name), xstrdup(rules));
	chain_text(&n->pending, &n->o, name, rules);
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
	if (n->reader)
		nft_ctx_free(n->reader);
	n->reader = NULL;
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

	table_text(&text, o);
	for (size_t i = 0; map_next(n->picks, &i, &key, &value);)
		pick_text(&text, o, *(struct pick *)value);
	for (size_t i = 0; map_next(n->chains, &i, &key, &value);)
		chain_text(&text, o, arena_cstr(a, key), value);
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

#include "network/ruleset.h"
#include <stdio.h>

/* ---- words ----------------------------------------------------------------------------------- */

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

/* ---- sets and maps --------------------------------------------------------------------------- */

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
	buf_printf(out, "\tset external%u { typeof %s daddr; }\n", f, ip_word(f));
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

/* ---- chains ---------------------------------------------------------------------------------- */

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

/* The chains that ask pick after pick whether it has the frontend: ruleset_pick() gives them a rule for each. */
static void find_text(struct buf *out)
{
	for (const char *k = FRONTEND_KINDS; *k; k++)
		buf_printf(out, "\tchain find_%c4 {\n\t}\n\tchain find_%c6 {\n\t}\n", *k, *k);
}

#define FIND(kind) "\t\tmeta nfproto vmap { ipv4 : jump find_" kind "4, ipv6 : jump find_" kind "6 }\n"
#define FIND_EXTERNAL(kind)                             \
	"\t\tip daddr @external4 jump find_" kind "4\n" \
	"\t\tip6 daddr @external6 jump find_" kind "6\n"

/* While a packet asks, a transaction may move its frontend to a pick that it has asked already. So what is to an address
 * of a Service and would find nobody asks again; what goes elsewhere need not. */
static void services_text(struct buf *out, const struct nft_opts *o)
{
	buf_c(out, "\tchain services {\n" FIND("c"));
	for (unsigned f = 4; f <= 6; f += 2) {
		buf_c(out, "\t\t");
		if (prefixes(out, "daddr", o->services, f))
			buf_printf(out, "jump find_c%u", f);
		buf_c(out, "\n");
	}
	buf_c(out, FIND_EXTERNAL("c") "\t\tfib daddr type != local return\n");
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
		"\t\tip6 daddr . meta l4proto . th dport @drop_x6 drop\n" FIND("x") FIND_EXTERNAL(
			"x") "\t\tfib daddr type != local return\n"
			     "\t\tmeta nfproto ipv4 meta l4proto . th dport @drop_y4 drop\n"
			     "\t\tmeta nfproto ipv6 meta l4proto . th dport @drop_y6 drop\n" FIND("y")
				     FIND("y") "\t}\n"
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

void ruleset_table(struct buf *out, const struct nft_opts *o)
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

/* ---- picks and chains of policies ------------------------------------------------------------ */

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

static void draw_text(struct buf *out, const struct nft_opts *o, struct pick p, const char *chain, uint32_t slots)
{
	char key[64];

	split_key(key, p.kind, p.family, p.proto);
	buf_printf(out, "add rule inet %s %s dnat %s to %s . numgen random mod %u map @ep_%c%u%c\n", o->table, chain,
		ip_word(p.family), key, slots, p.kind, p.family, p.proto);
}

/* For each rule on a map the kernel walks all that is in it, so that one rule is drawn by again and again. */
static void redraws_text(struct buf *out, const struct nft_opts *o, struct pick p, const char *pick)
{
	char again[PICK_NAME_MAX + 8];

	snprintf(again, sizeof(again), "%s-again", pick);
	buf_printf(out, "add chain inet %s %s\nflush chain inet %s %s\n", o->table, again, o->table, again);
	draw_text(out, o, p, again, p.slots);
	for (int i = 0; i < DRAWS; i++)
		buf_printf(out, "add rule inet %s %s jump %s\n", o->table, pick, again);
	draw_text(out, o, p, pick, p.slots / 2);
}

static void draws_text(struct buf *out, const struct nft_opts *o, struct pick p)
{
	char name[PICK_NAME_MAX];

	pick_name(p, name);
	if (p.slots > 2)
		redraws_text(out, o, p, name);
	else
		draw_text(out, o, p, name, p.slots);
	/* For a packet that meets two generations of the table: the set of the old, the map of the new. */
	if (p.slots > 1)
		draw_text(out, o, p, name, 1);
}

void ruleset_pick(struct buf *out, const struct nft_opts *o, struct pick p)
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

void ruleset_chain(struct buf *out, const struct nft_opts *o, const char *name, const char *rules)
{
	buf_printf(out, "add chain inet %s %s\nflush chain inet %s %s\n", o->table, name, o->table, name);
	for (struct str line, rest = str_c(rules); str_next(&rest, '\n', &line);) {
		if (line.n)
			buf_printf(out, "add rule inet %s %s %.*s\n", o->table, name, STR_ARG(line));
	}
}

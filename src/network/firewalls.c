#include "network/firewalls.h"
#include "base/buf.h"

#include <nftables/libnftables.h>
#include <stdio.h>

#define ALLOWED_IN 1  /* what pods send */
#define ALLOWED_OUT 2 /* what pods get */
#define DOCKER_CHAIN "DOCKER-USER"

/* ---- one rule ----------------------------------------------------------------------------------- */

static bool has(struct val statement, const char *key)
{
	return val_has(val_get(statement, key));
}

/* {"drop": null} */
static bool is_verdict(struct val statement, const char *verdict)
{
	return val_kind(val_get(statement, verdict)) != VAL_MISSING;
}

/* Lets packets on: accepts them, or sends them to a chain that its writer made for them. */
static bool lets_pass(struct val rule)
{
	for (struct val_iter it = val_iter(val_get(rule, "expr")); val_next(&it);)
		if (is_verdict(it.val, "accept") || has(it.val, "jump") || has(it.val, "goto"))
			return true;
	return false;
}

static bool holds_pods(const struct firewalls *f, struct val right)
{
	struct val prefix = val_get(right, "prefix");
	char text[300];
	struct cidr c;

	(void)snprintf(text, sizeof(text), "%.*s/%lld", STR_ARG(val_str(val_get(prefix, "addr"))),
		(long long)val_int(val_get(prefix, "len"), 0));
	if (!val_has(prefix) || !cidr_parse(str_c(text), &c))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(f->pods); i++)
		if (f->pods[i].ip.family == c.ip.family && c.bits <= f->pods[i].bits && cidr_has(c, f->pods[i].ip))
			return true;
	return false;
}

/* Which way a match of links or addresses lets pods' packets go: ALLOWED_IN, ALLOWED_OUT, 0. */
static int names_pods(const struct firewalls *f, struct val match)
{
	struct val right = val_get(match, "right");
	struct str meta = val_str(val_path(match, "left.meta.key")),
		   field = val_str(val_path(match, "left.payload.field"));

	if (!val_is(val_get(match, "op"), "=="))
		return 0;
	if (str_is(meta, "iifname") || str_is(meta, "oifname"))
		return !str_starts(val_str(right), str_c(f->pod_links)) ? 0 :
			str_is(meta, "iifname")                         ? ALLOWED_IN :
									  ALLOWED_OUT;
	if (str_is(field, "saddr") || str_is(field, "daddr"))
		return !holds_pods(f, right) ? 0 : str_is(field, "saddr") ? ALLOWED_IN : ALLOWED_OUT;
	return 0;
}

static int allowed_by(const struct firewalls *f, struct val rule)
{
	int ways = 0;

	if (!lets_pass(rule))
		return 0;
	for (struct val_iter it = val_iter(val_get(rule, "expr")); val_next(&it);)
		ways |= names_pods(f, val_get(it.val, "match"));
	return ways;
}

/* Drops or refuses whatever reaches it. */
static bool drops_all(struct val rule)
{
	bool drops = false;

	for (struct val_iter it = val_iter(val_get(rule, "expr")); val_next(&it);) {
		if (has(it.val, "match") || (has(it.val, "xt") && !val_is(val_path(it.val, "xt.type"), "target")))
			return false;
		drops |= is_verdict(it.val, "drop") || is_verdict(it.val, "reject") ||
			val_is(val_path(it.val, "xt.name"), "REJECT");
	}
	return drops;
}

/* ---- one table ---------------------------------------------------------------------------------- */

struct table {
	struct str family, name;
	bool ufw, firewalld;
	bool docker; /* the chain that is looked at leads to DOCKER-USER */
};

static struct table read_table(struct val list)
{
	struct table t = { 0 };

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str name = val_str(val_path(it.val, "chain.name"));

		if (val_has(val_get(it.val, "table"))) {
			t.family = val_str(val_path(it.val, "table.family"));
			t.name = val_str(val_path(it.val, "table.name"));
			t.firewalld = str_is(t.name, "firewalld");
		}
		t.ufw |= str_starts(name, STR("ufw-"));
	}
	return t;
}

/* Where packets of one base chain come to. Chains beyond those that fit are overlooked. */
struct reach {
	struct str chains[256];
	size_t n;
	int allowed; /* ways that some rule there lets pods' packets go */
};

static bool reaches(const struct reach *r, struct str chain)
{
	for (size_t i = 0; i < r->n; i++)
		if (str_eq(r->chains[i], chain))
			return true;
	return false;
}

static void reach_add(struct reach *r, struct str chain)
{
	if (chain.n && r->n < ARRAY_LEN(r->chains) && !reaches(r, chain))
		r->chains[r->n++] = chain;
}

/* Rules that only another hook comes to say nothing: who accepts pods in FORWARD may still drop them in INPUT. */
static void reach_from(const struct firewalls *f, struct val list, struct str base, struct reach *r)
{
	r->n = 0;
	r->allowed = 0;
	reach_add(r, base);
	for (size_t i = 0; i < r->n; i++)
		for (struct val_iter it = val_iter(list); val_next(&it);) {
			struct val rule = val_get(it.val, "rule");

			if (!val_has(rule) || !str_eq(val_str(val_get(rule, "chain")), r->chains[i]))
				continue;
			r->allowed |= allowed_by(f, rule);
			for (struct val_iter s = val_iter(val_get(rule, "expr")); val_next(&s);) {
				reach_add(r, val_str(val_path(s.val, "jump.target")));
				reach_add(r, val_str(val_path(s.val, "goto.target")));
			}
		}
}

static bool chain_drops(struct val list, struct val chain)
{
	struct val last = VAL_NONE;

	if (val_is(val_get(chain, "policy"), "drop"))
		return true;
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (val_equal(val_path(it.val, "rule.chain"), val_get(chain, "name")))
			last = val_get(it.val, "rule");
	return val_has(last) && drops_all(last);
}

static const char *pods_text(const struct firewalls *f, bool six, char room[IP_TEXT_MAX])
{
	for (size_t i = 0; i < ARRAY_LEN(f->pods); i++)
		if (f->pods[i].ip.family == (six ? 6 : 4)) {
			cidr_text(f->pods[i], room);
			return room;
		}
	return "";
}

/* What a person types. */
static void help(const struct firewalls *f, const struct table *t, struct str chain, bool input, struct buf *out)
{
	bool six = str_is(t->family, "ip6"), iptables = str_is(t->name, "filter") && !str_is(t->family, "inet");
	const char *program = six ? "ip6tables" : "iptables", *on = t->docker ? DOCKER_CHAIN : NULL;
	char room[IP_TEXT_MAX];
	const char *pods = pods_text(f, six, room);

	if (t->ufw)
		buf_printf(out, input ? "ufw allow from %s" : "ufw route allow from %s && ufw route allow to %s", pods,
			pods);
	else if (t->firewalld)
		buf_printf(
			out, "firewall-cmd --permanent --zone=trusted --add-source=%s && firewall-cmd --reload", pods);
	else if (iptables)
		buf_printf(out, "%s -I %.*s -i %s+ -j ACCEPT%s", program, on ? (int)strlen(on) : (int)chain.n,
			on ? on : chain.p, f->pod_links, input ? "" : ", and the same with -o");
	else
		buf_printf(out, "nft insert rule %.*s %.*s %.*s iifname \"%s*\" accept%s", STR_ARG(t->family),
			STR_ARG(t->name), STR_ARG(chain), f->pod_links, input ? "" : ", and the same with oifname");
}

static void say(const struct firewalls *f, const struct table *t, struct str chain, bool input,
	void (*each)(void *arg, const char *what), void *arg)
{
	const char *who = t->docker ? "Docker" : t->ufw ? "ufw" : t->firewalld ? "firewalld" : "a firewall";
	auto_buf struct buf text = BUF_INIT;

	buf_printf(&text, "%s drops %s (chain %.*s of nft table %.*s %.*s): ", who,
		input ? "what pods send to this machine, DNS and the API among it" : "what pods send and get",
		STR_ARG(chain), STR_ARG(t->family), STR_ARG(t->name));
	help(f, t, chain, input, &text);
	buf_byte(&text, 0);
	each(arg, text.p);
}

static bool concerns_pods(const struct firewalls *f, struct str family)
{
	char room[IP_TEXT_MAX];

	return str_is(family, "inet") || (str_is(family, "ip") && *pods_text(f, false, room)) ||
		(str_is(family, "ip6") && *pods_text(f, true, room));
}

void firewalls_judge(const struct firewalls *f, struct val table, void (*each)(void *arg, const char *what),
	void (*docker)(void *arg, const char *family), void *arg)
{
	struct val list = val_get(table, "nftables");
	struct table t = read_table(list);
	struct reach r;

	if (!concerns_pods(f, t.family))
		return;
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct val chain = val_get(it.val, "chain");
		struct str hook = val_str(val_get(chain, "hook")), name = val_str(val_get(chain, "name"));
		bool input = str_is(hook, "input");
		/* firewalld knows zones by their sources only; what goes to them it accepts by connection state */
		int needed = input || t.firewalld ? ALLOWED_IN : ALLOWED_IN | ALLOWED_OUT;

		if ((!input && !str_is(hook, "forward")) || !val_is(val_get(chain, "type"), "filter") ||
			!chain_drops(list, chain))
			continue;
		reach_from(f, list, name, &r);
		if ((r.allowed & needed) == needed)
			continue;
		t.docker = !input && reaches(&r, STR(DOCKER_CHAIN));
		if (t.docker && docker)
			docker(arg, str_is(t.family, "ip6") ? "ip6" : "ip");
		else
			say(f, &t, name, input, each, arg);
	}
}

/* ---- the kernel --------------------------------------------------------------------------------- */

static struct nft_ctx *open_nft(unsigned flags)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);

	if (!ctx)
		return NULL;
	nft_ctx_output_set_flags(ctx, flags);
	nft_ctx_buffer_output(ctx);
	nft_ctx_buffer_error(ctx);
	return ctx;
}

static int ask(struct nft_ctx *ctx, const char *command, struct doc **ret, struct err *e)
{
	if (nft_run_cmd_from_buffer(ctx, command) < 0)
		return err_set(e, ERR_IO, "nft %s: %.300s", command, nft_ctx_get_error_buffer(ctx));
	return doc_parse(str_c(nft_ctx_get_output_buffer(ctx)), ret, e);
}

struct look {
	const struct firewalls *f;
	void (*each)(void *arg, const char *what);
	void *arg;
};

static void pass_on(void *arg, const char *what)
{
	struct look *l = arg;

	l->each(l->arg, what);
}

static void add_to_docker(void *arg, const char *family)
{
	struct look *l = arg;
	const char *links = l->f->pod_links;
	struct nft_ctx *ctx = open_nft(0);
	auto_buf struct buf text = BUF_INIT;

	buf_printf(&text,
		"insert rule %s filter " DOCKER_CHAIN " iifname \"%s*\" counter accept\n"
		"insert rule %s filter " DOCKER_CHAIN " oifname \"%s*\" counter accept\n",
		family, links, family, links);
	buf_byte(&text, 0);
	bool done = ctx && nft_run_cmd_from_buffer(ctx, text.p) == 0;
	buf_reset(&text);
	buf_printf(&text, "Docker dropped what pods send and get (chain FORWARD of nft table %s filter): %s", family,
		done ? "they are accepted in its chain " DOCKER_CHAIN " now" :
		       "its chain " DOCKER_CHAIN " could not be changed");
	buf_byte(&text, 0);
	l->each(l->arg, text.p);
	if (ctx)
		nft_ctx_free(ctx);
}

int firewalls_look(
	const struct firewalls *f, bool mend, void (*each)(void *arg, const char *what), void *arg, struct err *e)
{
	struct look l = { f, each, arg };
	struct nft_ctx *ctx = open_nft(NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_TERSE);
	auto_(doc_unref) struct doc *tables = NULL;
	int r = ctx ? ask(ctx, "list tables", &tables, e) : err_set(e, ERR_UNSUPPORTED, "libnftables cannot start");

	for (struct val_iter it = val_iter(r < 0 ? VAL_NONE : doc_get(tables, "nftables")); val_next(&it);) {
		struct str family = val_str(val_path(it.val, "table.family")),
			   name = val_str(val_path(it.val, "table.name"));
		auto_(doc_unref) struct doc *table = NULL;
		struct err gone; /* a table may go meanwhile */
		char command[400];

		if (!name.n || str_starts(name, STR("kogge")))
			continue;
		err_init(&gone);
		(void)snprintf(command, sizeof(command), "list table %.*s %.*s", STR_ARG(family), STR_ARG(name));
		if (ask(ctx, command, &table, &gone) == 0)
			firewalls_judge(f, doc_root(table), pass_on, mend ? add_to_docker : NULL, &l);
	}
	if (ctx)
		nft_ctx_free(ctx);
	return r;
}

void firewalls_purge(const char *pod_links)
{
	static const char *const families[] = { "ip", "ip6" };
	auto_free char *wanted = xasprintf("%s*", pod_links);

	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct nft_ctx *ctx = open_nft(NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_TERSE | NFT_CTX_OUTPUT_HANDLE);
		auto_(doc_unref) struct doc *chain = NULL;
		char command[120];
		struct err e;

		err_init(&e);
		(void)snprintf(command, sizeof(command), "list chain %s filter " DOCKER_CHAIN, families[i]);
		if (ctx && ask(ctx, command, &chain, &e) == 0)
			for (struct val_iter it = val_iter(doc_get(chain, "nftables")); val_next(&it);) {
				struct val rule = val_get(it.val, "rule");

				if (!val_is(val_path(val_at(val_get(rule, "expr"), 0), "match.right"), wanted))
					continue;
				(void)snprintf(command, sizeof(command),
					"delete rule %s filter " DOCKER_CHAIN " handle %lld", families[i],
					(long long)val_int(val_get(rule, "handle"), 0));
				(void)nft_run_cmd_from_buffer(ctx, command);
			}
		if (ctx)
			nft_ctx_free(ctx);
	}
}

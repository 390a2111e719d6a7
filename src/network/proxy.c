#define LOG_MODULE "proxy"
#include "network/proxy.h"
#include "base/log.h"
#include "base/map.h"
#include "client/informer.h"
#include "network/conntrack.h"
#include "network/firewalls.h"
#include "network/network.h"
#include "network/policy.h"
#include <stdio.h>

#define LOOK_MS 5000       /* how soon a table that somebody flushed is noticed */
#define FIREWALLS_MS 30000 /* how soon another program's rules are */
#define RETRY_FIRST_MS 500
#define RETRY_MOST_MS 30000

/* Endpoint numbers of a service's last compilation, in one block. */
struct order {
	struct compiled c; /* only placed */
};

/* A pod whose containers wait for its policies, or did: its addresses are known here before the API knows them. */
struct starting {
	struct doc *pod;
	struct ip ips[NETWORK_IPS_MAX];
	size_t n;
	enum { ASKED, COMPILED, APPLIED } state;
};

struct proxy {
	struct proxy_opts o;
	struct nft *nft;
	struct ledger *ledger;
	struct conntrack *conntrack;
	struct policies *policies;
	struct map *orders; /* key → order */
	bool whole;         /* the next transaction replaces the table */
	int64_t retry_ms;
	struct map *firewalls; /* sentence → nothing: what was said about them */
	struct mono firewalls_due;
	int64_t slow_ms; /* KOGGE_DEBUG_SLOW_NETWORK_MS, for tests of who waits for us: each change takes so long */

	struct task_mutex lock;
	struct task_cond applied;
	struct map *addresses; /* in the kernel: address bytes → how many elements */
	struct map *starting;  /* key of a pod → starting */
	bool ready;
};

static void starting_free(void *s)
{
	doc_unref(((struct starting *)s)->pod);
	free(s);
}

int proxy_new(const struct proxy_opts *o, struct proxy **ret, struct err *e)
{
	struct proxy *p = xcalloc(1, sizeof(*p));

	p->o = *o;
	p->whole = true;
	if (getenv("KOGGE_DEBUG_SLOW_NETWORK_MS"))
		(void)str_i64(str_c(getenv("KOGGE_DEBUG_SLOW_NETWORK_MS")), &p->slow_ms);
	task_mutex_init(&p->lock);
	task_cond_init(&p->applied);
	p->ledger = ledger_new();
	p->conntrack = conntrack_new();
	p->orders = map_new(free);
	p->firewalls = map_new(NULL);
	p->addresses = map_new(NULL);
	p->starting = map_new(starting_free);
	p->policies = policies_new();
	if (nft_new(&o->nft, &p->nft, e) < 0) {
		proxy_free(p);
		return -e->code;
	}
	*ret = p;
	return 0;
}

struct proxy *proxy_free(struct proxy *p)
{
	if (!p)
		return NULL;
	nft_free(p->nft);
	ledger_free(p->ledger);
	conntrack_free(p->conntrack);
	map_free(p->firewalls);
	map_free(p->orders);
	map_free(p->addresses);
	map_free(p->starting);
	policies_free(p->policies);
	task_cond_fini(&p->applied);
	task_mutex_fini(&p->lock);
	free(p);
	return NULL;
}

int proxy_begin(struct proxy *p, struct err *e)
{
	if (nft_present(p->nft))
		return 0;
	if (nft_rebuild(p->nft, NULL, 0, e) < 0)
		return -e->code;
	p->whole = false; /* it is ours and empty: the first round only adds */
	return 0;
}

/* ---- compiling ------------------------------------------------------------------------------- */

static size_t order_bytes(const struct compiled *c)
{
	size_t n = sizeof(struct order) + c->n_placed * sizeof(struct placed);

	for (size_t i = 0; i < c->n_placed; i++) {
		n += c->placed[i].group.n + c->placed[i].n * sizeof(struct str);
		for (size_t k = 0; k < c->placed[i].n; k++)
			n += c->placed[i].endpoints[k].n;
	}
	return n;
}

static struct str keep_text(char **at, struct str s)
{
	char *to = *at;

	memcpy(to, s.p, s.n);
	*at += s.n;
	return str_n(to, s.n);
}

/* Structs first, then the texts, so that everything is aligned. */
static struct order *order_of(const struct compiled *c)
{
	struct order *o = xcalloc(1, order_bytes(c));
	struct placed *placed = (struct placed *)(o + 1);
	struct str *lists = (struct str *)(placed + c->n_placed);
	char *texts;
	size_t total = 0;

	for (size_t i = 0; i < c->n_placed; i++)
		total += c->placed[i].n;
	texts = (char *)(lists + total);
	for (size_t i = 0; i < c->n_placed; i++) {
		placed[i] = (struct placed){ keep_text(&texts, c->placed[i].group), lists, c->placed[i].n };
		for (size_t k = 0; k < c->placed[i].n; k++)
			*lists++ = keep_text(&texts, c->placed[i].endpoints[k]);
	}
	o->c.placed = placed;
	o->c.n_placed = c->n_placed;
	return o;
}

static void visit_service(struct proxy *p, struct str key)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct order *before = map_get(p->orders, key);
	struct compiled c = { 0 };
	struct service s;

	if (!services_get(p->o.services, a, key, &s)) {
		ledger_set(p->ledger, key, NULL, 0);
		map_del(p->orders, key);
		return;
	}
	struct val *slices = ARENA_ARRAY(a, struct val, s.n + 1);
	for (size_t i = 0; i < s.n; i++)
		slices[i] = doc_root(s.slices[i]);
	compile_service(a, &p->o.node, doc_root(s.service), slices, s.n, before ? &before->c : NULL, &c);
	nft_need_picks(p->nft, c.picks, c.n_picks);
	ledger_set(p->ledger, key, c.elements, c.n);
	map_put(p->orders, key, order_of(&c));
}

static size_t ips_of_status(struct doc *pod, struct ip ret[NETWORK_IPS_MAX])
{
	size_t n = 0;

	for (struct val_iter it = val_iter(doc_get(pod, "status.podIPs")); n < NETWORK_IPS_MAX && val_next(&it);)
		n += ip_parse(val_str(val_get(it.val, "ip")), &ret[n]);
	return n;
}

/* Its addresses: as the node said, else as the API says. *pod is replaced when only the node knows it yet. */
static size_t ips_of(struct proxy *p, struct str key, struct doc **pod, struct ip ret[NETWORK_IPS_MAX])
{
	size_t n = 0;

	task_lock(&p->lock);
	struct starting *s = map_get(p->starting, key);
	if (s && *pod && !str_eq(doc_uid(s->pod), doc_uid(*pod)))
		s = NULL; /* another pod had this name */
	if (s) {
		if (!*pod)
			*pod = doc_ref(s->pod);
		memcpy(ret, s->ips, sizeof(s->ips));
		n = s->n;
		s->state = s->state == ASKED ? COMPILED : s->state;
	}
	task_unlock(&p->lock);
	return n || !*pod ? n : ips_of_status(*pod, ret);
}

static void policies_of_pod(struct proxy *p, struct arena *a, struct str key, struct doc *pod, const struct ip *ips,
	size_t n, struct compiled *ret)
{
	auto_(doc_unref) struct doc *ns = p->o.namespaces ? informer_get(p->o.namespaces, STR_NULL, doc_ns(pod)) : NULL;

	policies_compile(
		p->policies, a, key, doc_root(pod), ips, n, ns ? doc_get(ns, "metadata.labels") : VAL_NONE, ret);
}

/* key: "p/namespace/name" */
static void visit_pod(struct proxy *p, struct str key)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct str ns, name = str_cut(str_sub(key, 2, key.n), '/', &ns);
	auto_(doc_unref) struct doc *pod = p->o.pods ? informer_get(p->o.pods, ns, name) : NULL;
	struct ip ips[NETWORK_IPS_MAX];
	size_t n = ips_of(p, key, &pod, ips);
	struct compiled c = { 0 };

	if (pod) {
		compile_pod(a, doc_root(pod), &c);
		policies_of_pod(p, a, key, pod, ips, n, &c);
	} else {
		policies_forget(p->policies, key);
	}
	ledger_set(p->ledger, key, c.elements, c.n);
}

static struct str pod_key(struct arena *a, struct doc *pod)
{
	return arena_strf(a, "p/%.*s/%.*s", STR_ARG(doc_ns(pod)), STR_ARG(doc_name(pod)));
}

static void visit_starting(struct proxy *p, struct arena *a)
{
	struct str key;
	void *value;

	task_lock(&p->lock);
	struct str *keys = ARENA_ARRAY(a, struct str, map_len(p->starting) + 1);
	size_t n = 0;
	for (size_t i = 0; map_next(p->starting, &i, &key, &value);)
		keys[n++] = arena_str(a, key);
	task_unlock(&p->lock);
	for (size_t i = 0; i < n; i++)
		visit_pod(p, keys[i]);
}

static void visit_policies(struct proxy *p)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list policies = informer_list(p->o.policies, a, NULL, STR_NULL),
			     pods = informer_list(p->o.pods, a, NULL, STR_NULL);

	policies_set(p->policies, policies.items, policies.n);
	for (size_t i = 0; i < pods.n; i++)
		visit_pod(p, pod_key(a, pods.items[i]));
	visit_starting(p, a);
}

static void visit(struct proxy *p, struct str key)
{
	if (str_eq(key, PROXY_POLICIES))
		visit_policies(p);
	else if (key.p[0] == 's')
		visit_service(p, key);
	else
		visit_pod(p, key);
}

/* ---- applying -------------------------------------------------------------------------------- */

static bool address_of(const struct change *c, struct ip *ret)
{
	struct str val = c->e.val;

	if (!map_has_endpoints(c->e.map))
		return false;
	*ret = fields_take_ip(&val, c->e.family);
	return true;
}

static void count_address(struct proxy *p, const struct change *c)
{
	struct ip ip;

	if (!address_of(c, &ip))
		return;
	struct str key = str_n((const char *)&ip, sizeof(ip));
	intptr_t n = (intptr_t)map_get(p->addresses, key) + (c->op == CHANGE_ADD ? 1 : -1);
	if (n > 0)
		map_put(p->addresses, key, (void *)n);
	else
		map_del(p->addresses, key);
}

/* Chains of policies that the table gets, and loses when the elements that lead to them are gone. */
static void move_chains(struct proxy *p, struct arena *a)
{
	struct policy_chain *more;
	const char *const *old;
	size_t n = policies_new_chains(p->policies, a, &more);

	for (size_t i = 0; i < n; i++)
		nft_need_chain(p->nft, more[i].name, more[i].rules);
	n = policies_old_chains(p->policies, a, &old);
	for (size_t i = 0; i < n; i++)
		nft_drop_chain(p->nft, old[i]);
}

static void starting_applied(struct proxy *p)
{
	struct str key;
	void *value;

	for (size_t i = 0; map_next(p->starting, &i, &key, &value);) {
		struct starting *s = value;

		s->state = s->state == COMPILED ? APPLIED : s->state;
	}
}

static void publish(struct proxy *p, const struct change *changes, size_t n, bool whole)
{
	task_lock(&p->lock);
	if (whole)
		map_clear(p->addresses);
	for (size_t i = 0; i < n; i++)
		count_address(p, &changes[i]);
	starting_applied(p);
	p->ready = true;
	task_broadcast(&p->applied);
	task_unlock(&p->lock);
}

static int apply(struct proxy *p, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct change *changes;
	bool whole = p->whole, first = !p->ready;

	if (whole)
		ledger_forget(p->ledger);
	size_t n = ledger_changes(p->ledger, a, &changes);
	move_chains(p, a);
	if (p->slow_ms && n)
		task_sleep_ms(p->slow_ms);
	if ((n || whole) && (whole ? nft_rebuild : nft_apply)(p->nft, changes, n, e) < 0) {
		p->whole = true; /* from here on only a new table is sure to be right */
		return -e->code;
	}
	p->whole = false;
	publish(p, changes, n, whole);
	struct err ignored;
	err_init(&ignored);
	if (n && !whole && !first && conntrack_follow(p->conntrack, changes, n, &ignored) < 0)
		log_warn("UDP clients may go on talking to endpoints that left: %s", ignored.message);
	return 0;
}

/* Deltas first; when one is refused, the whole table, again and again with a pause that grows. Returns when to look
 * again. */
static struct mono bring_up_to_date(struct proxy *p)
{
	struct err e;

	err_init(&e);
	if (!p->whole && !nft_present(p->nft)) {
		log_warn("table inet %s is gone: somebody flushed it, it is made again", p->o.nft.table);
		p->whole = true;
	}
	bool delta = !p->whole;
	int rc = apply(p, &e);
	if (rc < 0 && delta) {
		log_warn("%s; the table is made anew", e.message);
		rc = apply(p, &e);
	}
	if (rc == 0) {
		p->retry_ms = 0;
		return mono_add_ms(mono_now(), LOOK_MS);
	}
	p->retry_ms = p->retry_ms ? MIN(p->retry_ms * 2, RETRY_MOST_MS) : RETRY_FIRST_MS;
	log_error("services are not up to date: %s; next try in %lld ms", e.message, (long long)p->retry_ms);
	return mono_add_ms(mono_now(), p->retry_ms);
}

/* Each finding once. */
static void found(void *arg, const char *what)
{
	struct proxy *p = arg;
	struct str key = str_c(what);

	if (!map_get(p->firewalls, key))
		log_warn("%s", what);
	map_put(p->firewalls, key, p);
}

static void look_at_firewalls(struct proxy *p)
{
	struct firewalls f = { .pod_links = p->o.nft.pod_links };
	struct err e;

	if (mono_before(mono_now(), p->firewalls_due))
		return;
	p->firewalls_due = mono_add_ms(mono_now(), FIREWALLS_MS);
	memcpy(f.pods, p->o.nft.pods, sizeof(f.pods));
	err_init(&e);
	if (firewalls_look(&f, true, found, p, &e) < 0)
		log_debug("other firewalls cannot be looked at: %s", e.message);
}

void proxy_run(struct proxy *p, struct stop *stop)
{
	struct mono until = { 0 };

	while (!stop_raised(stop)) {
		auto_(arena_free) struct arena *a = arena_new();
		struct str *keys;
		size_t n = services_wait(p->o.services, a, until, &keys);

		for (size_t i = 0; i < n; i++)
			visit(p, keys[i]);
		if (n == 0)
			nft_rest(p->nft);
		until = bring_up_to_date(p);
		look_at_firewalls(p);
	}
}

/* ---- questions ------------------------------------------------------------------------------- */

bool proxy_wait_ready(struct proxy *p, struct mono until)
{
	task_lock(&p->lock);
	while (!p->ready && task_wait_until(&p->applied, &p->lock, until))
		;
	bool ready = p->ready;
	task_unlock(&p->lock);
	return ready;
}

bool proxy_wait_absent(struct proxy *p, struct ip ip, struct mono until)
{
	struct str key = str_n((const char *)&ip, sizeof(ip));
	bool absent;

	task_lock(&p->lock);
	while (!(absent = !map_get(p->addresses, key)) && task_wait_until(&p->applied, &p->lock, until))
		;
	absent = !map_get(p->addresses, key);
	task_unlock(&p->lock);
	return absent;
}

static bool same_start(const struct starting *s, struct doc *pod, const struct ip *ips, size_t n)
{
	return str_eq(doc_uid(s->pod), doc_uid(pod)) && s->n == n && memcmp(s->ips, ips, n * sizeof(*ips)) == 0;
}

bool proxy_wait_pod(struct proxy *p, struct doc *pod, const struct ip *ips, size_t n, struct mono until)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct str key = pod_key(a, pod);

	n = MIN(n, (size_t)NETWORK_IPS_MAX);
	task_lock(&p->lock);
	struct starting *s = map_get(p->starting, key);
	if (!s || !same_start(s, pod, ips, n)) {
		s = xcalloc(1, sizeof(*s));
		s->pod = doc_ref(pod);
		s->n = n;
		memcpy(s->ips, ips, n * sizeof(*ips));
		map_put(p->starting, key, s);
		services_touch(p->o.services, key);
	}
	while ((s = map_get(p->starting, key)) && s->state != APPLIED && task_wait_until(&p->applied, &p->lock, until))
		;
	s = map_get(p->starting, key);
	bool done = !s || s->state == APPLIED;
	task_unlock(&p->lock);
	return done;
}

void proxy_pod_gone(struct proxy *p, struct doc *pod)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct str key = pod_key(a, pod);

	task_lock(&p->lock);
	struct starting *s = map_get(p->starting, key);
	if (s && str_eq(doc_uid(s->pod), doc_uid(pod))) {
		map_del(p->starting, key);
		task_broadcast(&p->applied);
	}
	task_unlock(&p->lock);
}

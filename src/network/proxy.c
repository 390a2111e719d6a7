#define LOG_MODULE "proxy"
#include "network/proxy.h"
#include "base/log.h"
#include "base/map.h"
#include "client/informer.h"
#include "network/conntrack.h"

#define LOOK_MS 5000	  /* how soon a table that somebody flushed is noticed */
#define RETRY_FIRST_MS 500
#define RETRY_MOST_MS 30000

/* Endpoint numbers of a service's last compilation, in one block. */
struct order {
	struct compiled c; /* only placed */
};

struct proxy {
	struct proxy_opts o;
	struct nft *nft;
	struct ledger *ledger;
	struct map *orders; /* key → order */
	bool whole;	    /* the next transaction replaces the table */
	int64_t retry_ms;

	struct task_mutex lock;
	struct task_cond applied;
	struct map *addresses; /* in the kernel: address bytes → how many elements */
	bool ready;
};

int proxy_new(const struct proxy_opts *o, struct proxy **ret, struct err *e)
{
	struct proxy *p = xcalloc(1, sizeof(*p));

	p->o = *o;
	p->whole = true;
	task_mutex_init(&p->lock);
	task_cond_init(&p->applied);
	p->ledger = ledger_new();
	p->orders = map_new(free);
	p->addresses = map_new(NULL);
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
	map_free(p->orders);
	map_free(p->addresses);
	task_cond_fini(&p->applied);
	task_mutex_fini(&p->lock);
	free(p);
	return NULL;
}

int proxy_begin(struct proxy *p, struct err *e)
{
	return nft_present(p->nft) ? 0 : nft_rebuild(p->nft, NULL, 0, e);
}

/* ---- compiling ---------------------------------------------------------------------------------------------------------- */

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

/* key: "p/namespace/name" */
static void visit_pod(struct proxy *p, struct str key)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct str ns, name = str_cut(str_sub(key, 2, key.n), '/', &ns);
	auto_(doc_unref) struct doc *pod = p->o.pods ? informer_get(p->o.pods, ns, name) : NULL;
	struct compiled c = { 0 };

	if (pod)
		compile_pod(a, doc_root(pod), &c);
	ledger_set(p->ledger, key, c.elements, c.n);
}

/* ---- applying ------------------------------------------------------------------------------------------------------------ */

static bool address_of(const struct change *c, struct ip *ret)
{
	struct str text = c->e.val;
	const char *at;

	if (!map_has_endpoints(c->e.map) || !(at = memchr(text.p, ' ', text.n)))
		return false;
	return ip_parse(str_n(text.p, (size_t)(at - text.p)), ret);
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

static void publish(struct proxy *p, const struct change *changes, size_t n, bool whole)
{
	task_lock(&p->lock);
	if (whole)
		map_clear(p->addresses);
	for (size_t i = 0; i < n; i++)
		count_address(p, &changes[i]);
	p->ready = true;
	task_broadcast(&p->applied);
	task_unlock(&p->lock);
}

static int apply(struct proxy *p, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct change *changes;
	bool whole = p->whole;

	if (whole)
		ledger_forget(p->ledger);
	size_t n = ledger_changes(p->ledger, a, &changes);
	if (n == 0 && !whole)
		return 0;
	if ((whole ? nft_rebuild : nft_apply)(p->nft, changes, n, e) < 0) {
		p->whole = true; /* from here on only a new table is sure to be right */
		return -e->code;
	}
	p->whole = false;
	publish(p, changes, n, whole);
	struct err ignored;
	err_init(&ignored);
	if (!whole && conntrack_follow(changes, n, &ignored) < 0)
		log_warn("UDP clients may go on talking to endpoints that left: %s", ignored.message);
	return 0;
}

/* Deltas first; when one is refused, the whole table, again and again with a pause that grows. Returns when to look again. */
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

void proxy_run(struct proxy *p, struct stop *stop)
{
	struct mono until = { 0 };

	while (!stop_raised(stop)) {
		auto_(arena_free) struct arena *a = arena_new();
		struct str *keys;
		size_t n = services_wait(p->o.services, a, until, &keys);

		for (size_t i = 0; i < n; i++)
			(keys[i].p[0] == 's' ? visit_service : visit_pod)(p, keys[i]);
		until = bring_up_to_date(p);
	}
}

/* ---- questions ------------------------------------------------------------------------------------------------------------ */

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

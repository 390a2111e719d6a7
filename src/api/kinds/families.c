/* Which IP families a Service has: what its writer asks, what it had, and what the cluster offers. Rules and sentences
 * are upstream's (registry/core/service/storage/alloc.go, apis/core/validation). */
#include "api/api_internal.h"
#include <arpa/inet.h>
#include <stdio.h>
#define LOG_MODULE "api"

#define POLICY "spec.ipFamilyPolicy"
#define IPS "spec.clusterIPs"

struct choice {
	struct rq *rq;
	struct node *spec, *families, *ips; /* the lists are there, perhaps empty */
	struct val was;                     /* the old spec, or none */
	struct str policy;
	const char *offered[2]; /* by the cluster, the default first */
	int n_offered;
};

static struct str text_at(struct node *list, size_t i)
{
	return i < node_len(list) ? node_text_str(node_at(list, i)) : STR_NULL;
}

/* NULL: no address. */
static const char *family_of(struct str ip)
{
	unsigned char bytes[16];
	char text[64];

	if (ip.n >= sizeof(text))
		return NULL;
	snprintf(text, sizeof(text), "%.*s", STR_ARG(ip));
	return inet_pton(AF_INET, text, bytes) == 1 ? "IPv4" : inet_pton(AF_INET6, text, bytes) == 1 ? "IPv6" : NULL;
}

static bool is_offered(const struct choice *c, struct str family)
{
	for (int i = 0; i < c->n_offered; i++)
		if (str_is(family, c->offered[i]))
			return true;
	return false;
}

static bool is_same(const struct choice *c, struct node *now, const char *key)
{
	struct val was = val_get(c->was, key);

	return val_has(was) && node_equal(now, node_from(c->rq->a, was));
}

/* Fewer than there were. None at all says nothing. */
static bool is_reduced(const struct choice *c, struct node *now, const char *key)
{
	return node_len(now) && node_len(now) < val_len(val_get(c->was, key));
}

/* A Service that prefers two families is not changed by a cluster that got or lost one. */
static bool is_settled(const struct choice *c)
{
	struct val policy = val_get(c->was, "ipFamilyPolicy");

	return str_eq(val_str(val_get(c->was, "type")), node_text_str(node_getc(c->spec, "type"))) &&
		str_is(c->policy, "PreferDualStack") && (!val_has(policy) || val_is(policy, "PreferDualStack")) &&
		is_same(c, c->ips, "clusterIPs") && is_same(c, c->families, "ipFamilies");
}

static bool is_headless(const struct choice *c)
{
	return str_is(text_at(c->ips, 0), "None");
}

/* ---- what is asked makes sense in itself ----------------------------------------------------- */

static void check_ips(struct choice *c, struct err *e)
{
	struct str first = node_text_str(node_getc(c->spec, "clusterIP"));
	size_t n = node_len(c->ips);
	struct val value = rq_val(c->rq, c->ips);
	const char *a = family_of(text_at(c->ips, 0)), *b = family_of(text_at(c->ips, 1));

	if (n && !first.n)
		v_invalid(e, IPS, value, "must be empty when `clusterIP` is not specified");
	else if (n && !str_eq(first, text_at(c->ips, 0)))
		v_invalid(e, IPS, value, "first value must match `clusterIP`");
	if (n > 1 && (is_headless(c) || str_is(text_at(c->ips, 1), "None")))
		v_invalid(e, IPS, value, "'None' must be the first and only value");
	if (n > 2)
		v_invalid(e, IPS, value, "may only hold up to 2 values");
	if (n > 1 && a && b && !strcmp(a, b))
		v_invalid(e, IPS, value, "may specify no more than one IP for each IP family");
}

static void check_families(struct choice *c, struct err *e)
{
	for (size_t i = 1; i < node_len(c->families); i++)
		for (size_t k = 0; k < i; k++)
			if (str_eq(text_at(c->families, i), text_at(c->families, k))) {
				v_duplicate(e, rq_f(c->rq, "spec.ipFamilies[%zu]", i), text_at(c->families, i));
				break;
			}
}

/* ---- one family or two ----------------------------------------------------------------------- */

static void keep_first(struct node *list)
{
	while (node_len(list) > 1)
		node_remove_at(list, node_len(list) - 1);
}

/* SingleStack alone says that the second is given back; whoever drops the second has to say so. */
static void downgrade(struct choice *c, struct err *e)
{
	if (str_is(c->policy, "SingleStack")) {
		if (is_same(c, c->ips, "clusterIPs"))
			keep_first(c->ips);
		if (is_same(c, c->families, "ipFamilies"))
			keep_first(c->families);
		return;
	}
	if (is_reduced(c, c->ips, "clusterIPs"))
		v_invalid_str(e, POLICY, c->policy, "must be 'SingleStack' to release the secondary cluster IP");
	if (is_reduced(c, c->families, "ipFamilies"))
		v_invalid_str(e, POLICY, c->policy, "must be 'SingleStack' to release the secondary IP family");
}

static void check_single(struct choice *c, struct err *e)
{
	static const char words[] = "must be 'RequireDualStack' or 'PreferDualStack' when multiple %s are specified";

	if (!str_is(c->policy, "SingleStack"))
		return;
	if (node_len(c->ips) == 2)
		v_invalid_str(e, POLICY, c->policy, rq_f(c->rq, words, "cluster IPs"));
	if (node_len(c->families) == 2)
		v_invalid_str(e, POLICY, c->policy, rq_f(c->rq, words, "IP families"));
}

/* The families that the addresses are of, where the writer named only these. A bad address is told when it is taken. */
static void infer(struct choice *c, struct err *e)
{
	for (size_t i = node_len(c->families); i < node_len(c->ips) && !is_headless(c); i++) {
		const char *family = family_of(text_at(c->ips, i));

		if (!family)
			return;
		if (!is_offered(c, str_c(family)))
			v_invalid(e, rq_f(c->rq, IPS "[%zu]", i), rq_val(c->rq, c->ips),
				rq_f(c->rq, "%s is not configured on this cluster", family));
		else
			node_add(c->families, node_c(c->rq->a, family));
	}
}

static void add_other(struct choice *c)
{
	bool six = str_is(text_at(c->families, 0), "IPv4");

	if (node_len(c->families) == 1 && !str_is(c->policy, "SingleStack"))
		node_add(c->families, node_c(c->rq->a, six ? "IPv6" : "IPv4"));
}

static void check_offer(struct choice *c, struct err *e)
{
	if (str_is(c->policy, "RequireDualStack") && c->n_offered < 2)
		v_invalid_str(e, POLICY, c->policy, "this cluster is not configured for dual-stack services");
	for (size_t i = 0; i < node_len(c->families); i++)
		if (!is_offered(c, text_at(c->families, i)))
			v_invalid_str(e, rq_f(c->rq, "spec.ipFamilies[%zu]", i), text_at(c->families, i),
				"not configured on this cluster");
}

/* What the writer left open is as it was; endpoints without a selector are somebody's own, of any family. */
static void choose_policy(struct choice *c, bool selectorless)
{
	c->policy = node_text_str(node_getc(c->spec, "ipFamilyPolicy"));
	if (!c->policy.n)
		c->policy = val_str(val_get(c->was, "ipFamilyPolicy"));
	if (!c->policy.n)
		c->policy = selectorless ? STR("RequireDualStack") : STR("SingleStack");
	node_setc(c->spec, "ipFamilyPolicy", node_str(c->rq->a, c->policy));
}

static int finish(struct choice *c, struct str name, struct err *e)
{
	return validate_finish(c->rq, name, e) ? -ERR_INVALID : 0;
}

int families_choose(struct rq *rq, struct node *svc, struct val old, struct err *e)
{
	struct node *spec = node_getc(svc, "spec");
	struct str name = node_text_str(node_path(svc, "metadata.name"));
	struct choice c = { .rq = rq, .spec = spec, .was = val_get(old, "spec") };
	bool selectorless;
	int rc;

	c.families = node_need_list(spec, "ipFamilies");
	c.ips = node_need_list(spec, "clusterIPs");
	c.n_offered = ipalloc_families(rq->api->ipalloc, c.offered);
	c.policy = node_text_str(node_getc(spec, "ipFamilyPolicy"));
	if (is_settled(&c))
		return 0;
	selectorless = is_headless(&c) && !node_len(node_getc(spec, "selector"));
	choose_policy(&c, selectorless);
	check_ips(&c, e);
	check_families(&c, e);
	if ((rc = finish(&c, name, e)) < 0)
		return rc;
	downgrade(&c, e);
	check_single(&c, e);
	infer(&c, e);
	if (!selectorless)
		check_offer(&c, e);
	if ((rc = finish(&c, name, e)) < 0)
		return rc;
	if (!node_len(c.families))
		node_add(c.families, node_c(rq->a, c.offered[0]));
	if (selectorless || c.n_offered == 2)
		add_other(&c);
	return 0;
}

/* ---- what an update may not change ----------------------------------------------------------- */

static bool is_at(struct val list, struct val other, size_t i)
{
	return val_equal(val_at(list, i), val_at(other, i));
}

void families_validate_update(struct rq *rq, struct val spec, struct val was, struct err *e)
{
	struct val ips = val_get(spec, "clusterIPs"), old_ips = val_get(was, "clusterIPs"),
		   families = val_get(spec, "ipFamilies"), old_families = val_get(was, "ipFamilies");
	bool headless = val_is(val_at(ips, 0), "None"), was_headless = val_is(val_at(old_ips, 0), "None");
	size_t n = MIN(val_len(ips), val_len(old_ips)), n_families = MIN(val_len(families), val_len(old_families));

	if (val_is(val_get(spec, "type"), "ExternalName") || val_is(val_get(was, "type"), "ExternalName"))
		return;
	for (size_t i = 0; i < n; i++)
		if (!is_at(ips, old_ips, i))
			v_invalid(e, rq_f(rq, IPS "[%zu]", i), ips, "may not change once set");
	if (headless || was_headless)
		return; /* any family may follow another */
	for (size_t i = 0; i < n_families; i++)
		if (!is_at(families, old_families, i))
			v_invalid(e, "spec.ipFamilies[0]", families, "may not change once set");
}

/* PodTopologySpread: pods of a kind spread evenly over the values of a node label. */
#include "scheduler/scheduler_internal.h"

#define NO_DOMAIN (-1)

struct constraint {
	struct str key;
	const struct selector *selector; /* NULL: whoever has the same controller */
	struct label_pairs pairs;
	int64_t max_skew, min_domains;
	bool honor_affinity, honor_taints, self;
	size_t topology;
	int32_t *domains; /* by value of the label: pods, NO_DOMAIN: no node of it counts */
	int64_t least;    /* pods of the emptiest domain */
	int64_t weight;   /* of its score, in thousandths */
};
struct constraints {
	struct constraint *items;
	size_t n;
	bool implied;   /* not asked for: nodes without the label count too */
	bool picky;     /* the pod has a node selector or affinity */
	bool *excluded; /* by candidate: lacks a label */
};

static bool selects(const struct constraint *k, struct val labels)
{
	return selector_matches(k->selector, labels) && label_pairs_match(k->pairs, labels);
}

static bool counts_class(const struct pod_class *class, struct str ns)
{
	return !class->deleting && str_eq(class->ns, ns);
}

static void add_constraint(struct cycle *c, struct constraints *all, struct constraint k)
{
	k.topology = snapshot_topology(c->s, k.key);
	k.domains = arena_alloc(c->a, (c->s->topologies[k.topology].n + 1) * sizeof(*k.domains));
	memset(k.domains, 0xff, c->s->topologies[k.topology].n * sizeof(*k.domains)); /* NO_DOMAIN each */
	k.self = !pod_is_deleting(c->pod->doc) && (!k.selector || selects(&k, doc_get(c->pod->doc, "metadata.labels")));
	all->items[all->n++] = k;
}

static struct constraints *constraints_of(struct cycle *c, const char *when)
{
	struct val list = doc_get(c->pod->doc, "spec.topologySpreadConstraints");
	struct constraints *all = ARENA_NEW(c->a, struct constraints);
	struct err e;

	all->items = ARENA_ARRAY(c->a, struct constraint, val_len(list) + 2);
	all->picky = is_picky(c->pod->doc);
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct constraint k = {
			.key = val_str(val_get(it.val, "topologyKey")),
			.pairs = label_pairs_of(c->a, it.val, c->pod->doc),
			.max_skew = val_int(val_get(it.val, "maxSkew"), 1),
			.min_domains = val_int(val_get(it.val, "minDomains"), 1),
			.honor_affinity = !val_is(val_get(it.val, "nodeAffinityPolicy"), "Ignore"),
			.honor_taints = val_is(val_get(it.val, "nodeTaintsPolicy"), "Honor"),
		};

		err_init(&e);
		if (val_is(val_get(it.val, "whenUnsatisfiable"), when) &&
			selector_of(c->a, val_get(it.val, "labelSelector"), &k.selector, &e) >= 0)
			add_constraint(c, all, k);
	}
	return all;
}

/* A pod that says nothing spreads over zones and nodes among those of its controller. */
static void imply(struct cycle *c, struct constraints *all)
{
	if (val_len(doc_get(c->pod->doc, "spec.topologySpreadConstraints")) || !pod_controller_uid(c->pod->doc).n)
		return;
	all->implied = true;
	add_constraint(c, all,
		(struct constraint){ .key = STR("kubernetes.io/hostname"), .max_skew = 3, .honor_affinity = true });
	add_constraint(c, all,
		(struct constraint){
			.key = STR("topology.kubernetes.io/zone"), .max_skew = 5, .honor_affinity = true });
}

static bool has_key(const struct constraint *k, const struct node_info *n)
{
	return n->places[k->topology] != NO_PLACE;
}

static bool has_all_keys(const struct constraints *all, const struct node_info *n)
{
	for (size_t i = 0; i < all->n; i++)
		if (!has_key(&all->items[i], n))
			return false;
	return true;
}

static bool eligible(
	struct cycle *c, const struct constraints *all, const struct constraint *k, const struct node_info *n)
{
	if (k->honor_affinity && all->picky && !node_wanted(c->pod->doc, n))
		return false;
	return !k->honor_taints || !val_has(taint_against(c->pod->doc, n));
}

static int32_t *domain_at(struct constraint *k, const struct node_info *n)
{
	return &k->domains[n->places[k->topology]];
}

static void add_class(struct cycle *c, struct constraints *all, struct constraint *k, const struct pod_class *class)
{
	for (size_t i = 0; i < class->n; i++) {
		struct node_info *n = class->nodes[i].node;

		if (n->doc && has_key(k, n) && (all->implied || has_all_keys(all, n)) &&
			*domain_at(k, n) != NO_DOMAIN && eligible(c, all, k, n))
			*domain_at(k, n) += (int32_t) class->nodes[i].pods;
	}
}

/* Pods that count, in the domains that are there. */
static void add_pods(struct cycle *c, struct constraints *all, struct constraint *k)
{
	struct str ns = doc_ns(c->pod->doc);
	struct pod_class *class = k->selector ? NULL : map_get(c->s->siblings, pod_controller_uid(c->pod->doc));
	void *value;

	for (; class; class = class->sibling)
		if (counts_class(class, ns))
			add_class(c, all, k, class);
	for (size_t i = 0; k->selector && map_next(c->s->classes_of_pods, &i, NULL, &value);) {
		class = value;
		if (counts_class(class, ns) && selects(k, class->labels))
			add_class(c, all, k, class);
	}
}

/* ---- filter ---------------------------------------------------------------------------------- */

static void find_least(struct cycle *c, struct constraint *k)
{
	int64_t domains = 0;

	k->least = INT64_MAX;
	for (size_t i = 0; i < c->s->topologies[k->topology].n; i++) {
		if (k->domains[i] == NO_DOMAIN)
			continue;
		domains++;
		k->least = MIN(k->least, (int64_t)k->domains[i]);
	}
	if (!domains || domains < k->min_domains)
		k->least = 0;
}

bool spread_prepare(struct cycle *c)
{
	struct constraints *all;

	if (!val_len(doc_get(c->pod->doc, "spec.topologySpreadConstraints")))
		return false;
	all = constraints_of(c, "DoNotSchedule");
	CYCLE_STATE(c) = all;
	for (size_t i = 0; all->n && i < c->s->n; i++) {
		struct node_info *n = c->s->list[i];

		for (size_t k = 0; has_all_keys(all, n) && k < all->n; k++)
			if (eligible(c, all, &all->items[k], n))
				*domain_at(&all->items[k], n) = 0;
	}
	for (size_t k = 0; k < all->n; k++) {
		add_pods(c, all, &all->items[k]);
		find_least(c, &all->items[k]);
	}
	return all->n > 0;
}

enum verdict spread_filter(struct cycle *c, const struct node_info *n)
{
	struct constraints *all = CYCLE_STATE(c);

	for (size_t i = 0; i < all->n; i++) {
		struct constraint *k = &all->items[i];
		int64_t pods;

		if (!has_key(k, n)) {
			cycle_reason(
				c, "node(s) didn't match pod topology spread constraints (missing required label)");
			return NEVER;
		}
		pods = *domain_at(k, n);
		if (MAX(pods, (int64_t)0) + k->self - k->least <= k->max_skew)
			continue;
		cycle_reason(c, "node(s) didn't match pod topology spread constraints");
		return NO_ROOM;
	}
	return FITS;
}

/* ---- score ----------------------------------------------------------------------------------- */

/* ln(n) in thousandths, by whole bits and a straight line between: no floating point, the same everywhere. */
static int64_t ln_thousandths(int64_t n)
{
	int64_t bits = 63 - __builtin_clzll((uint64_t)n), part = (n - (INT64_C(1) << bits)) * 1000 >> bits;

	return (bits * 1000 + part) * 693 / 1000;
}

/* More domains make smaller differences between them: the weight evens that out. */
static void count_candidates(struct constraints *all, const struct candidates *candidates)
{
	for (size_t t = 0; t < all->n; t++) {
		struct constraint *k = &all->items[t];
		int64_t domains = 0;

		for (size_t i = 0; i < candidates->n; i++) {
			struct node_info *n = candidates->nodes[i];
			if (!has_key(k, n) || (!all->implied && !has_all_keys(all, n)))
				continue;
			domains += *domain_at(k, n) == NO_DOMAIN;
			*domain_at(k, n) = 0;
		}
		k->weight = ln_thousandths(domains + 2);
	}
}

bool spread_prepare_score(struct cycle *c, const struct candidates *k)
{
	struct constraints *all = constraints_of(c, "ScheduleAnyway");

	imply(c, all);
	CYCLE_SCORE(c) = all;
	if (!all->n)
		return false;
	count_candidates(all, k);
	for (size_t t = 0; t < all->n; t++)
		add_pods(c, all, &all->items[t]);
	return true;
}

/* Fewer is better; turned round below. */
int64_t spread_score(struct cycle *c, const struct node_info *n)
{
	struct constraints *all = CYCLE_SCORE(c);
	int64_t sum = 0;

	if (!all->implied && !has_all_keys(all, n))
		return -1;
	for (size_t t = 0; t < all->n; t++) {
		struct constraint *k = &all->items[t];

		if (has_key(k, n) && *domain_at(k, n) != NO_DOMAIN)
			sum += *domain_at(k, n) * k->weight + (k->max_skew - 1) * 1000;
	}
	return sum / 100;
}

void spread_normalize(struct cycle *c, struct candidates *k)
{
	int64_t least = INT64_MAX, most = 0;

	(void)c;
	for (size_t i = 0; i < k->n; i++) {
		if (k->scores[i] < 0)
			continue;
		least = MIN(least, k->scores[i]);
		most = MAX(most, k->scores[i]);
	}
	for (size_t i = 0; i < k->n; i++)
		k->scores[i] = k->scores[i] < 0 ? 0 :
			most                    ? SCORE_MAX * (most + least - k->scores[i]) / most :
						  SCORE_MAX;
}

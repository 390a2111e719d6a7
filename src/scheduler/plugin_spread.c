/* PodTopologySpread: pods of a kind spread evenly over the values of a node label. */
#include "scheduler/scheduler_internal.h"

struct domain {
	int64_t pods;
};
struct constraint {
	struct str key;
	const struct selector *selector; /* NULL: whoever has the same controller */
	struct label_pairs pairs;
	int64_t max_skew, min_domains;
	bool honor_affinity, honor_taints, self;
	struct map *domains; /* value → struct domain in the arena */
	int64_t least;	     /* pods of the emptiest domain */
	int64_t weight;	     /* of its score, in thousandths */
};
struct constraints {
	struct constraint *items;
	size_t n;
	bool implied;	/* not asked for: nodes without the label count too */
	bool *excluded; /* by candidate: lacks a label */
};

static void map_end(void *m)
{
	map_free(m);
}

static struct str controller_uid(const struct doc *d)
{
	for (struct val_iter it = val_iter(doc_get(d, "metadata.ownerReferences")); val_next(&it);)
		if (val_bool(val_get(it.val, "controller"), false))
			return val_str(val_get(it.val, "uid"));
	return STR_NULL;
}

static bool counts_pod(const struct constraint *k, const struct doc *pod, const struct doc *other)
{
	struct val labels = doc_get(other, "metadata.labels");

	if (!str_eq(doc_ns(pod), doc_ns(other)) || pod_is_deleting(other))
		return false;
	if (!k->selector)
		return str_eq(controller_uid(pod), controller_uid(other));
	return selector_matches(k->selector, labels) && label_pairs_match(k->pairs, labels);
}

static void add_constraint(struct cycle *c, struct constraints *all, struct constraint k)
{
	k.domains = map_new(NULL);
	arena_hold(c->a, k.domains, map_end);
	k.self = counts_pod(&k, c->pod->doc, c->pod->doc);
	all->items[all->n++] = k;
}

static struct constraints *constraints_of(struct cycle *c, const char *when)
{
	struct val list = doc_get(c->pod->doc, "spec.topologySpreadConstraints");
	struct constraints *all = ARENA_NEW(c->a, struct constraints);
	struct err e;

	all->items = ARENA_ARRAY(c->a, struct constraint, val_len(list) + 2);
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
		if (val_is(val_get(it.val, "whenUnsatisfiable"), when) && selector_of(c->a, val_get(it.val, "labelSelector"), &k.selector, &e) >= 0)
			add_constraint(c, all, k);
	}
	return all;
}

/* A pod that says nothing spreads over zones and nodes among those of its controller. */
static void imply(struct cycle *c, struct constraints *all)
{
	if (val_len(doc_get(c->pod->doc, "spec.topologySpreadConstraints")) || !controller_uid(c->pod->doc).n)
		return;
	all->implied = true;
	add_constraint(c, all, (struct constraint){ .key = STR("kubernetes.io/hostname"), .max_skew = 3, .honor_affinity = true });
	add_constraint(c, all, (struct constraint){ .key = STR("topology.kubernetes.io/zone"), .max_skew = 5, .honor_affinity = true });
}

static bool has_all_keys(const struct constraints *all, const struct node_info *n)
{
	for (size_t i = 0; i < all->n; i++)
		if (!val_has(val_get_str(node_labels(n), all->items[i].key)))
			return false;
	return true;
}

static bool eligible(struct cycle *c, const struct constraint *k, const struct node_info *n)
{
	if (k->honor_affinity && !node_wanted(c->pod->doc, n))
		return false;
	return !k->honor_taints || !val_has(taint_against(c->pod->doc, n));
}

static int64_t pods_that_count(struct cycle *c, const struct constraint *k, const struct node_info *n)
{
	int64_t sum = 0;

	for (size_t i = 0; i < n->n_pods; i++)
		sum += counts_pod(k, c->pod->doc, n->pods[i]->doc);
	return sum;
}

static struct domain *domain_at(struct constraint *k, const struct node_info *n)
{
	return map_get(k->domains, val_str(val_get_str(node_labels(n), k->key)));
}

static struct domain *domain_need(struct cycle *c, struct constraint *k, const struct node_info *n)
{
	struct str value = val_str(val_get_str(node_labels(n), k->key));
	struct domain *d = map_get(k->domains, value);

	if (!d) {
		d = ARENA_NEW(c->a, struct domain);
		map_put(k->domains, value, d);
	}
	return d;
}

/* ---- filter ------------------------------------------------------------------------------------------------------------- */

static void find_least(struct constraint *k)
{
	void *d;

	k->least = map_len(k->domains) ? INT64_MAX : 0;
	for (size_t i = 0; map_next(k->domains, &i, NULL, &d);)
		k->least = MIN(k->least, ((struct domain *)d)->pods);
	if ((int64_t)map_len(k->domains) < k->min_domains)
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

		if (!has_all_keys(all, n))
			continue;
		for (size_t k = 0; k < all->n; k++)
			if (eligible(c, &all->items[k], n))
				domain_need(c, &all->items[k], n)->pods += pods_that_count(c, &all->items[k], n);
	}
	for (size_t k = 0; k < all->n; k++)
		find_least(&all->items[k]);
	return all->n > 0;
}

enum verdict spread_filter(struct cycle *c, const struct node_info *n)
{
	struct constraints *all = CYCLE_STATE(c);

	for (size_t i = 0; i < all->n; i++) {
		struct constraint *k = &all->items[i];
		struct domain *d;

		if (!val_has(val_get_str(node_labels(n), k->key))) {
			cycle_reason(c, "node(s) didn't match pod topology spread constraints (missing required label)");
			return NEVER;
		}
		d = domain_at(k, n);
		if ((d ? d->pods : 0) + k->self - k->least <= k->max_skew)
			continue;
		cycle_reason(c, "node(s) didn't match pod topology spread constraints");
		return NO_ROOM;
	}
	return FITS;
}

/* ---- score ----------------------------------------------------------------------------------------------------------------- */

/* ln(n) in thousandths, by whole bits and a straight line between: no floating point, the same everywhere. */
static int64_t ln_thousandths(int64_t n)
{
	int64_t bits = 63 - __builtin_clzll((uint64_t)n), part = (n - (INT64_C(1) << bits)) * 1000 >> bits;

	return (bits * 1000 + part) * 693 / 1000;
}

/* More domains make smaller differences between them: the weight evens that out. */
static void count_candidates(struct cycle *c, struct constraints *all, const struct candidates *k)
{
	for (size_t i = 0; i < k->n; i++) {
		if (!all->implied && !has_all_keys(all, k->nodes[i]))
			continue;
		for (size_t t = 0; t < all->n; t++)
			if (val_has(val_get_str(node_labels(k->nodes[i]), all->items[t].key)))
				domain_need(c, &all->items[t], k->nodes[i]);
	}
	for (size_t t = 0; t < all->n; t++)
		all->items[t].weight = ln_thousandths((int64_t)map_len(all->items[t].domains) + 2);
}

bool spread_prepare_score(struct cycle *c, const struct candidates *k)
{
	struct constraints *all = constraints_of(c, "ScheduleAnyway");

	imply(c, all);
	CYCLE_SCORE(c) = all;
	if (!all->n)
		return false;
	count_candidates(c, all, k);
	for (size_t i = 0; i < c->s->n; i++) {
		struct node_info *n = c->s->list[i];

		if (!all->implied && !has_all_keys(all, n))
			continue;
		for (size_t t = 0; t < all->n; t++) {
			struct domain *d = domain_at(&all->items[t], n);

			if (d && eligible(c, &all->items[t], n) && val_has(val_get_str(node_labels(n), all->items[t].key)))
				d->pods += pods_that_count(c, &all->items[t], n);
		}
	}
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
		struct domain *d = val_has(val_get_str(node_labels(n), k->key)) ? domain_at(k, n) : NULL;

		if (d)
			sum += d->pods * k->weight + (k->max_skew - 1) * 1000;
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
		k->scores[i] = k->scores[i] < 0 ? 0 : most ? SCORE_MAX * (most + least - k->scores[i]) / most : SCORE_MAX;
}

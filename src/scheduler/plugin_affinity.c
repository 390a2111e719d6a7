/* InterPodAffinity: pods that want to be near others, or far from them. "Near" is having the same value of a node label.
 *
 * Once a pod, all pods that matter are counted by (label, value); a node is then asked by its own values. */
#include "scheduler/scheduler_internal.h"

#define HARD_WEIGHT 1 /* what a required term of a placed pod adds to the score */

/* ---- counting by topology ---------------------------------------------------------------------------------------------- */

struct counts {
	struct map *by_place; /* label NUL value → int64_t in the arena */
};

static void counts_end(void *m)
{
	map_free(m);
}

static struct counts counts_new(struct cycle *c)
{
	struct counts n = { map_new(NULL) };

	arena_hold(c->a, n.by_place, counts_end);
	return n;
}

static struct str place_key(struct cycle *c, struct str label, struct str value)
{
	char *p = arena_alloc(c->a, label.n + value.n + 1);

	memcpy(p, label.p, label.n);
	p[label.n] = 0;
	if (value.n)
		memcpy(p + label.n + 1, value.p, value.n);
	return str_n(p, label.n + value.n + 1);
}

static void count(struct cycle *c, struct counts *n, struct str label, const struct node_info *node, int64_t by)
{
	struct val value = val_get_str(node_labels(node), label);
	struct str key;
	int64_t *at;

	if (!node->doc || !val_has(value))
		return;
	key = place_key(c, label, val_str(value));
	at = map_get(n->by_place, key);
	if (!at) {
		at = ARENA_NEW(c->a, int64_t);
		map_put(n->by_place, key, at);
	}
	*at += by;
}

static int64_t count_at(struct cycle *c, const struct counts *n, struct str label, struct val value)
{
	int64_t *at = map_get(n->by_place, place_key(c, label, val_str(value)));

	return at ? *at : 0;
}

/* ---- terms ---------------------------------------------------------------------------------------------------------------- */

static bool term_wants_ns(struct snapshot *s, const struct affinity_term *t, struct str ns)
{
	struct doc *d;

	for (size_t i = 0; i < t->n_names; i++)
		if (str_eq(t->names[i], ns))
			return true;
	if (!t->namespaces)
		return false;
	if (selector_is_everything(t->namespaces))
		return true;
	d = map_get(s->namespaces, ns);
	return d && selector_matches(t->namespaces, doc_get(d, "metadata.labels"));
}

static bool term_wants(struct snapshot *s, const struct affinity_term *t, const struct doc *pod)
{
	struct val labels = doc_get(pod, "metadata.labels");

	return selector_matches(t->labels, labels) && label_pairs_match(t->pairs, labels) && term_wants_ns(s, t, doc_ns(pod));
}

static bool all_want(struct snapshot *s, const struct affinity_terms *terms, const struct doc *pod)
{
	for (size_t i = 0; i < terms->n; i++)
		if (!term_wants(s, &terms->items[i], pod))
			return false;
	return terms->n > 0;
}

/* ---- filter ----------------------------------------------------------------------------------------------------------------- */

struct affinity {
	struct counts near, far, refused; /* refused: by pods that are there */
	bool any_near, any_refused;
};

static void count_wanted(struct cycle *c, struct affinity *f)
{
	const struct pod_terms *mine = c->pod->terms;

	for (size_t i = 0; i < c->s->n; i++) {
		struct node_info *node = c->s->list[i];

		for (size_t k = 0; k < node->n_pods; k++) {
			const struct doc *other = node->pods[k]->doc;

			if (all_want(c->s, &mine->required, other)) {
				f->any_near = true;
				for (size_t t = 0; t < mine->required.n; t++)
					count(c, &f->near, mine->required.items[t].topology_key, node, 1);
			}
			for (size_t t = 0; t < mine->anti_required.n; t++)
				if (term_wants(c->s, &mine->anti_required.items[t], other))
					count(c, &f->far, mine->anti_required.items[t].topology_key, node, 1);
		}
	}
}

static void count_refused(struct cycle *c, struct affinity *f)
{
	for (struct pod_info *p = c->s->with_terms; p; p = p->newer) {
		for (size_t t = 0; t < p->terms->anti_required.n; t++) {
			const struct affinity_term *term = &p->terms->anti_required.items[t];

			if (!term_wants(c->s, term, c->pod->doc))
				continue;
			f->any_refused = true;
			count(c, &f->refused, term->topology_key, p->node, 1);
		}
	}
}

bool affinity_prepare(struct cycle *c)
{
	const struct pod_terms *mine = c->pod->terms;
	bool wants = mine && (mine->required.n || mine->anti_required.n);
	struct affinity *f;

	if (!wants && !c->s->with_terms)
		return false;
	f = ARENA_NEW(c->a, struct affinity);
	f->near = counts_new(c);
	f->far = counts_new(c);
	f->refused = counts_new(c);
	if (wants)
		count_wanted(c, f);
	count_refused(c, f);
	CYCLE_STATE(c) = f;
	return wants || f->any_refused;
}

/* The first of a group that wants to be near itself may go anywhere that has the labels. */
static bool near_enough(struct cycle *c, struct affinity *f, const struct node_info *n)
{
	const struct affinity_terms *terms = &c->pod->terms->required;
	bool all = true;

	for (size_t i = 0; i < terms->n; i++) {
		struct val value = val_get_str(node_labels(n), terms->items[i].topology_key);

		if (!val_has(value))
			return false;
		all &= count_at(c, &f->near, terms->items[i].topology_key, value) > 0;
	}
	return all || (!f->any_near && all_want(c->s, terms, c->pod->doc));
}

static bool far_enough(struct cycle *c, struct affinity *f, const struct node_info *n)
{
	const struct affinity_terms *terms = &c->pod->terms->anti_required;

	for (size_t i = 0; i < terms->n; i++) {
		struct val value = val_get_str(node_labels(n), terms->items[i].topology_key);

		if (val_has(value) && count_at(c, &f->far, terms->items[i].topology_key, value) > 0)
			return false;
	}
	return true;
}

static bool is_refused(struct cycle *c, struct affinity *f, const struct node_info *n)
{
	if (!f->any_refused)
		return false;
	for (struct val_iter it = val_iter(node_labels(n)); val_next(&it);)
		if (count_at(c, &f->refused, it.key, it.val) > 0)
			return true;
	return false;
}

enum verdict affinity_filter(struct cycle *c, const struct node_info *n)
{
	struct affinity *f = CYCLE_STATE(c);

	if (c->pod->terms && c->pod->terms->required.n && !near_enough(c, f, n)) {
		cycle_reason(c, "node(s) didn't match pod affinity rules");
		return NEVER;
	}
	if (c->pod->terms && !far_enough(c, f, n)) {
		cycle_reason(c, "node(s) didn't match pod anti-affinity rules");
		return NO_ROOM;
	}
	if (is_refused(c, f, n)) {
		cycle_reason(c, "node(s) didn't satisfy existing pods anti-affinity rules");
		return NO_ROOM;
	}
	return FITS;
}

/* ---- score --------------------------------------------------------------------------------------------------------------------- */

static void weigh(struct cycle *c, struct counts *n, const struct affinity_terms *terms, const struct doc *wanted, const struct node_info *node,
	int64_t sign, int64_t weight)
{
	for (size_t i = 0; i < terms->n; i++)
		if (term_wants(c->s, &terms->items[i], wanted))
			count(c, n, terms->items[i].topology_key, node, sign * (weight ? weight : terms->items[i].weight));
}

static bool prefers(const struct pod_terms *t)
{
	return t && (t->preferred.n || t->anti_preferred.n);
}

bool affinity_prepare_score(struct cycle *c, const struct candidates *k)
{
	const struct pod_terms *mine = c->pod->terms;
	struct counts *n = ARENA_NEW(c->a, struct counts);

	(void)k;
	*n = counts_new(c);
	CYCLE_SCORE(c) = n;
	for (size_t i = 0; prefers(mine) && i < c->s->n; i++) {
		struct node_info *node = c->s->list[i];

		for (size_t p = 0; p < node->n_pods; p++) {
			weigh(c, n, &mine->preferred, node->pods[p]->doc, node, 1, 0);
			weigh(c, n, &mine->anti_preferred, node->pods[p]->doc, node, -1, 0);
		}
	}
	for (struct pod_info *p = c->s->with_terms; p; p = p->newer) {
		weigh(c, n, &p->terms->required, c->pod->doc, p->node, 1, HARD_WEIGHT);
		weigh(c, n, &p->terms->preferred, c->pod->doc, p->node, 1, 0);
		weigh(c, n, &p->terms->anti_preferred, c->pod->doc, p->node, -1, 0);
	}
	return map_len(n->by_place) > 0;
}

int64_t affinity_score(struct cycle *c, const struct node_info *n)
{
	struct counts *counts = CYCLE_SCORE(c);
	int64_t sum = 0;

	for (struct val_iter it = val_iter(node_labels(n)); val_next(&it);)
		sum += count_at(c, counts, it.key, it.val);
	return sum;
}

void affinity_normalize(struct cycle *c, struct candidates *k)
{
	int64_t least = INT64_MAX, most = INT64_MIN;

	(void)c;
	for (size_t i = 0; i < k->n; i++) {
		least = MIN(least, k->scores[i]);
		most = MAX(most, k->scores[i]);
	}
	for (size_t i = 0; i < k->n; i++)
		k->scores[i] = most > least ? SCORE_MAX * (k->scores[i] - least) / (most - least) : 0;
}

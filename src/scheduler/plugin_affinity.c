/* InterPodAffinity: pods that want to be near others, or far from them. "Near" is having the same value of a node
 * label.
 *
 * Once a pod, all pods that matter are counted by the values of the labels, class by class; a node is then asked by its
 * own values. */
#include "scheduler/scheduler_internal.h"

#define HARD_WEIGHT 1 /* what a required term of a placed pod adds to the score */

/* ---- counting by topology -------------------------------------------------------------------- */

struct count { /* of one topology: by value */
	size_t topology;
	int64_t *at;
};
struct counts {
	struct count *items;
	size_t n, cap;
};

static struct count *count_of(struct cycle *c, struct counts *n, struct str key)
{
	size_t topology = snapshot_topology(c->s, key);

	for (size_t i = 0; i < n->n; i++)
		if (n->items[i].topology == topology)
			return &n->items[i];
	ARENA_GROW(c->a, n->items, n->n, n->cap, 4);
	n->items[n->n] = (struct count){ topology, ARENA_ARRAY(c->a, int64_t, c->s->topologies[topology].n + 1) };
	return &n->items[n->n++];
}

static int64_t count_at(const struct count *n, const struct node_info *node)
{
	int32_t place = node->places[n->topology];

	return place == NO_PLACE ? 0 : n->at[place];
}

/* All pods of the class, where they are. */
static void count_class(struct cycle *c, struct counts *n, struct str key, const struct pod_class *k, int64_t by)
{
	struct count *count = count_of(c, n, key);

	for (size_t i = 0; i < k->n; i++) {
		int32_t place = k->nodes[i].node->doc ? k->nodes[i].node->places[count->topology] : NO_PLACE;
		if (place != NO_PLACE)
			count->at[place] += by * k->nodes[i].pods;
	}
}

static bool is_anywhere(const struct pod_class *k)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->nodes[i].node->doc)
			return true;
	return false;
}

/* ---- terms ----------------------------------------------------------------------------------- */

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

/* A pod as terms ask for it. */
struct other {
	struct val labels;
	struct str ns;
};

static struct other other_pod(const struct doc *pod)
{
	return (struct other){ doc_get(pod, "metadata.labels"), doc_ns(pod) };
}

static struct other any_of(const struct pod_class *k)
{
	return (struct other){ k->labels, k->ns };
}

static bool term_wants(struct snapshot *s, const struct affinity_term *t, struct other o)
{
	return selector_matches(t->labels, o.labels) && label_pairs_match(t->pairs, o.labels) &&
		term_wants_ns(s, t, o.ns);
}

static bool all_want(struct snapshot *s, const struct affinity_terms *terms, struct other o)
{
	for (size_t i = 0; i < terms->n; i++)
		if (!term_wants(s, &terms->items[i], o))
			return false;
	return terms->n > 0;
}

/* ---- filter ---------------------------------------------------------------------------------- */

struct affinity {
	struct counts near, far, refused; /* refused: by pods that are there */
	bool any_near;
};

static void count_wanted(struct cycle *c, struct affinity *f)
{
	const struct pod_terms *mine = c->terms;
	void *value;

	for (size_t i = 0; map_next(c->s->classes_of_pods, &i, NULL, &value);) {
		struct pod_class *k = value;

		if (all_want(c->s, &mine->required, any_of(k)) && is_anywhere(k)) {
			f->any_near = true;
			for (size_t t = 0; t < mine->required.n; t++)
				count_class(c, &f->near, mine->required.items[t].topology_key, k, 1);
		}
		for (size_t t = 0; t < mine->anti_required.n; t++)
			if (term_wants(c->s, &mine->anti_required.items[t], any_of(k)))
				count_class(c, &f->far, mine->anti_required.items[t].topology_key, k, 1);
	}
}

static void count_refused(struct cycle *c, struct affinity *f)
{
	struct other pod = other_pod(c->pod->doc);

	for (size_t i = 0; i < c->s->n_with_terms; i++) {
		const struct pod_class *k = c->s->with_terms[i];

		for (size_t t = 0; t < k->terms->anti_required.n; t++)
			if (term_wants(c->s, &k->terms->anti_required.items[t], pod))
				count_class(c, &f->refused, k->terms->anti_required.items[t].topology_key, k, 1);
	}
}

bool affinity_prepare(struct cycle *c)
{
	const struct pod_terms *mine = c->terms;
	bool wants = mine && (mine->required.n || mine->anti_required.n);
	struct affinity *f = ARENA_NEW(c->a, struct affinity);

	if (wants)
		count_wanted(c, f);
	count_refused(c, f);
	/* so that a node can be asked by the terms' keys, whoever is there */
	for (size_t t = 0; wants && t < mine->required.n; t++)
		(void)count_of(c, &f->near, mine->required.items[t].topology_key);
	CYCLE_STATE(c) = f;
	return wants || f->refused.n;
}

/* The first of a group that wants to be near itself may go anywhere that has the labels. */
static bool near_enough(struct cycle *c, struct affinity *f, const struct node_info *n)
{
	bool all = true;

	for (size_t i = 0; i < f->near.n; i++) {
		if (n->places[f->near.items[i].topology] == NO_PLACE)
			return false;
		all &= count_at(&f->near.items[i], n) > 0;
	}
	return all || (!f->any_near && all_want(c->s, &c->terms->required, other_pod(c->pod->doc)));
}

static bool is_there(const struct counts *counts, const struct node_info *n)
{
	for (size_t i = 0; i < counts->n; i++)
		if (count_at(&counts->items[i], n) > 0)
			return true;
	return false;
}

enum verdict affinity_filter(struct cycle *c, const struct node_info *n)
{
	struct affinity *f = CYCLE_STATE(c);

	if (c->terms && c->terms->required.n && !near_enough(c, f, n)) {
		cycle_reason(c, "node(s) didn't match pod affinity rules");
		return NEVER;
	}
	if (is_there(&f->far, n)) {
		cycle_reason(c, "node(s) didn't match pod anti-affinity rules");
		return NO_ROOM;
	}
	if (is_there(&f->refused, n)) {
		cycle_reason(c, "node(s) didn't satisfy existing pods anti-affinity rules");
		return NO_ROOM;
	}
	return FITS;
}

/* ---- score ----------------------------------------------------------------------------------- */

/* Pods of the class pull the pod to where they are, or push it away: by their own terms or by the pod's. */
static void weigh(struct cycle *c, struct counts *n, const struct affinity_terms *terms, struct other wanted,
	const struct pod_class *k, int64_t sign, int64_t weight)
{
	for (size_t i = 0; i < terms->n; i++)
		if (term_wants(c->s, &terms->items[i], wanted))
			count_class(c, n, terms->items[i].topology_key, k,
				sign * (weight ? weight : terms->items[i].weight));
}

static bool prefers(const struct pod_terms *t)
{
	return t && (t->preferred.n || t->anti_preferred.n);
}

bool affinity_prepare_score(struct cycle *c, const struct candidates *candidates)
{
	const struct pod_terms *mine = c->terms;
	struct counts *n = ARENA_NEW(c->a, struct counts);
	struct other pod = other_pod(c->pod->doc);
	void *value;

	(void)candidates;
	CYCLE_SCORE(c) = n;
	for (size_t i = 0; prefers(mine) && map_next(c->s->classes_of_pods, &i, NULL, &value);) {
		weigh(c, n, &mine->preferred, any_of(value), value, 1, 0);
		weigh(c, n, &mine->anti_preferred, any_of(value), value, -1, 0);
	}
	for (size_t i = 0; i < c->s->n_with_terms; i++) {
		const struct pod_class *k = c->s->with_terms[i];

		weigh(c, n, &k->terms->required, pod, k, 1, HARD_WEIGHT);
		weigh(c, n, &k->terms->preferred, pod, k, 1, 0);
		weigh(c, n, &k->terms->anti_preferred, pod, k, -1, 0);
	}
	return n->n > 0;
}

int64_t affinity_score(struct cycle *c, const struct node_info *n)
{
	struct counts *counts = CYCLE_SCORE(c);
	int64_t sum = 0;

	for (size_t i = 0; i < counts->n; i++)
		sum += count_at(&counts->items[i], n);
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

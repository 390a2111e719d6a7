/* Preemption: which pods of lower priority would have to go so that a pod fits. Only asked when no node fits as it
 * is. */
#include "scheduler/scheduler_internal.h"

#include <limits.h>

#define CANDIDATES_MAX 100 /* nodes that are tried in full */

struct candidate {
	struct node_info *node;
	struct pod_info **victims;
	size_t n;
	int64_t violations, top, sum; /* budgets violated; highest priority and sum of priorities */
	struct str youngest;          /* start of the first victim of the highest priority: RFC 3339 sorts as text */
};
struct budget {
	const struct selector *selector;
	struct str ns;
	int64_t allowed;
};
struct budgets {
	struct budget *items;
	size_t n;
};

static bool is_leaving_below(const struct node_info *n, int32_t priority)
{
	for (size_t i = 0; i < n->n_pods; i++)
		if (n->pods[i]->priority < priority && pod_is_deleting(n->pods[i]->doc))
			return true;
	return false;
}

/* Not twice: while victims of an earlier round are on their way, there is nothing to add. */
bool may_preempt(struct cycle *c)
{
	struct str nominated = doc_str(c->pod->doc, "status.nominatedNodeName");
	struct node_info *n = nominated.n ? map_get(c->s->nodes, nominated) : NULL;

	if (str_is(doc_str(c->pod->doc, "spec.preemptionPolicy"), "Never"))
		return false;
	return !n || !is_leaving_below(n, c->pod->priority);
}

/* ---- budgets --------------------------------------------------------------------------------- */

static struct budgets read_budgets(struct arena *a, const struct informer_list *docs)
{
	struct budgets out = { ARENA_ARRAY(a, struct budget, docs->n + 1), 0 };

	for (size_t i = 0; i < docs->n; i++) {
		struct budget b = { .ns = doc_ns(docs->items[i]),
			.allowed = doc_int(docs->items[i], "status.disruptionsAllowed", 0) };
		struct err e;

		err_init(&e);
		if (selector_of(a, doc_get(docs->items[i], "spec.selector"), &b.selector, &e) >= 0)
			out.items[out.n++] = b;
	}
	return out;
}

static bool violates(struct budgets *b, const struct doc *pod)
{
	bool bad = false;

	for (size_t i = 0; i < b->n; i++)
		if (str_eq(b->items[i].ns, doc_ns(pod)) &&
			selector_matches(b->items[i].selector, doc_get(pod, "metadata.labels")))
			bad |= b->items[i].allowed-- <= 0;
	return bad;
}

/* ---- one node -------------------------------------------------------------------------------- */

static struct str started(const struct pod_info *p)
{
	struct str s = doc_str(p->doc, "status.startTime");

	return s.n ? s : doc_str(p->doc, "metadata.creationTimestamp");
}

/* The most important first: higher priority, then running for longer. */
static int by_importance(const void *x, const void *y)
{
	const struct pod_info *a = *(struct pod_info *const *)x, *b = *(struct pod_info *const *)y;
	int by_start;

	if (a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	by_start = str_cmp(started(a), started(b));
	return by_start ? by_start : str_cmp(doc_uid(a->doc), doc_uid(b->doc));
}

/* Counts change when pods go, so the cycle is made anew. */
static bool fits_now(struct cycle *c, struct node_info *n)
{
	struct cycle again;

	cycle_begin(&again, c->s, c->a, c->pod);
	again.quiet = true;
	return cycle_filter(&again, n) == FITS;
}

static size_t take_lower(struct cycle *c, struct node_info *n, struct pod_info **taken)
{
	size_t k = 0;

	for (size_t i = 0; i < n->n_pods; i++)
		if (n->pods[i]->priority < c->pod->priority)
			taken[k++] = n->pods[i];
	for (size_t i = 0; i < k; i++)
		node_take(c->s, taken[i]);
	qsort(taken, k, sizeof(*taken), by_importance);
	return k;
}

static void note_victim(struct candidate *out, struct pod_info *p, bool violation)
{
	if (!out->n || p->priority > out->top) {
		out->top = p->priority;
		out->youngest = started(p);
	}
	out->sum += (int64_t)p->priority - INT_MIN; /* so that fewer of negative priority are better, too */
	out->violations += violation;
	out->victims[out->n++] = p;
}

/* All that may go are taken away; then each comes back if there is still room, those that a budget protects first. */
static bool try_node(struct cycle *c, struct node_info *n, struct budgets budgets, struct candidate *out)
{
	struct pod_info **taken = ARENA_ARRAY(c->a, struct pod_info *, n->n_pods + 1);
	size_t k = take_lower(c, n, taken);
	bool *bad = ARENA_ARRAY(c->a, bool, k + 1), helps = k && fits_now(c, n);
	struct budgets left = { ARENA_ARRAY(c->a, struct budget, budgets.n + 1), budgets.n };

	memcpy(left.items, budgets.items, budgets.n * sizeof(*left.items));
	*out = (struct candidate){ .node = n, .victims = ARENA_ARRAY(c->a, struct pod_info *, k + 1) };
	for (size_t i = 0; i < k; i++)
		bad[i] = violates(&left, taken[i]->doc);
	for (int protected = 1; protected >= 0; protected --) {
		for (size_t i = 0; i < k; i++) {
			if (bad[i] != protected)
				continue;
			node_put(c->s, n, taken[i]);
			if (!helps || fits_now(c, n))
				continue;
			node_take(c->s, taken[i]);
			note_victim(out, taken[i], bad[i]);
		}
	}
	for (size_t i = 0; i < out->n; i++)
		node_put(c->s, n, out->victims[i]);
	return helps && out->n;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool better(const struct candidate *a, const struct candidate *b)
{
	if (a->violations != b->violations)
		return a->violations < b->violations;
	if (a->top != b->top)
		return a->top < b->top;
	if (a->sum != b->sum)
		return a->sum < b->sum;
	if (a->n != b->n)
		return a->n < b->n;
	return str_cmp(a->youngest, b->youngest) > 0;
}

static const char *why_not(struct cycle *c, int64_t no_victims, int64_t no_help)
{
	const char *first = no_victims ?
		arena_printf(c->a, "%lld No preemption victims found for incoming pod", (long long)no_victims) :
		"";
	const char *second =
		no_help ? arena_printf(c->a, "%lld Preemption is not helpful for scheduling", (long long)no_help) : "";

	return arena_printf(
		c->a, "0/%zu nodes are available: %s%s%s.", c->s->n, first, *first && *second ? ", " : "", second);
}

struct preemption preempt(struct cycle *c, const struct informer_list *budgets)
{
	struct budgets all = read_budgets(c->a, budgets);
	struct candidate best = { 0 }, k;
	int64_t no_help = 0, no_victims = 0;
	size_t tried = 0;
	struct cycle look;

	cycle_begin(&look, c->s, c->a, c->pod);
	look.quiet = true;
	for (size_t i = 0; i < c->s->n && tried < CANDIDATES_MAX; i++) {
		struct node_info *n = c->s->list[(c->s->next + i) % c->s->n];

		if (cycle_filter(&look, n) == NEVER) {
			no_help++;
			continue;
		}
		if (!try_node(c, n, all, &k)) {
			no_victims++;
			continue;
		}
		tried++;
		if (!best.node || better(&k, &best))
			best = k;
	}
	return (struct preemption){ best.node, best.victims, best.n, best.node ? "" : why_not(c, no_victims, no_help) };
}

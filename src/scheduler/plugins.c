/* The table of plugins, and one walk through it. */
#include "scheduler/scheduler_internal.h"

#include <stdio.h>

#define SEARCH_ALL_MAX 100 /* of more fitting nodes only a part is looked at */
#define SEARCH_PERCENT_LEAST 5
#define FETCH_AHEAD ((size_t)6) /* nodes */

/* Filters run in this order and stop at the first that says no. */
const struct plugin plugins[] = {
	{ .name = "NodeUnschedulable",
		.prepare = unschedulable_prepare,
		.filter = unschedulable_filter,
		.helps = NODE_ADDED | NODE_TAINTS },
	{ .name = "NodeName", .prepare = node_name_prepare, .filter = node_name_filter, .helps = NODE_ADDED },
	{ .name = "TaintToleration",
		.prepare = taints_prepare,
		.filter = taints_filter,
		.prepare_score = taints_prepare_score,
		.score = taints_score,
		.normalize = scores_down,
		.weight = 3,
		.helps = NODE_ADDED | NODE_TAINTS },
	{ .name = "NodeAffinity",
		.prepare = node_affinity_prepare,
		.filter = node_affinity_filter,
		.prepare_score = node_affinity_prepare_score,
		.score = node_affinity_score,
		.normalize = scores_up,
		.weight = 2,
		.helps = NODE_ADDED | NODE_LABELS },
	{ .name = "NodePorts", .prepare = ports_prepare, .filter = ports_filter, .helps = NODE_ADDED | POD_GONE },
	{ .name = "NodeResourcesFit",
		.prepare = fit_prepare,
		.filter = fit_filter,
		.score = fit_score,
		.weight = 1,
		.helps = NODE_ADDED | NODE_ROOM | POD_GONE },
	{ .name = "NodeResourcesBalancedAllocation",
		.prepare_score = balance_prepare_score,
		.score = balance_score,
		.weight = 1 },
	{ .name = "VolumeRestrictions",
		.prepare = volume_restrictions_prepare,
		.filter = volume_restrictions_filter,
		.helps = POD_GONE | VOLUMES },
	{ .name = "VolumeBinding",
		.prepare = volumes_prepare,
		.filter = volumes_filter,
		.helps = NODE_ADDED | NODE_LABELS | VOLUMES },
	{ .name = "VolumeZone",
		.prepare = volume_zone_prepare,
		.filter = volume_zone_filter,
		.helps = NODE_ADDED | NODE_LABELS | VOLUMES },
	{ .name = "PodTopologySpread",
		.prepare = spread_prepare,
		.filter = spread_filter,
		.prepare_score = spread_prepare_score,
		.score = spread_score,
		.normalize = spread_normalize,
		.weight = 2,
		.helps = NODE_ADDED | NODE_LABELS | NODE_TAINTS | POD_GONE | POD_PLACED | POD_LABELS },
	{ .name = "InterPodAffinity",
		.prepare = affinity_prepare,
		.filter = affinity_filter,
		.prepare_score = affinity_prepare_score,
		.score = affinity_score,
		.normalize = affinity_normalize,
		.weight = 2,
		.helps = NODE_ADDED | NODE_LABELS | POD_GONE | POD_PLACED | POD_LABELS },
	{ .name = "ImageLocality", .prepare_score = images_prepare_score, .score = images_score, .weight = 1 },
};
const size_t plugins_n = ARRAY_LEN(plugins);
_Static_assert(ARRAY_LEN(plugins) <= PLUGINS_MAX, "a cycle has room for each plugin's state");

unsigned happenings_that_help(unsigned failed)
{
	unsigned helps = 0;

	for (size_t i = 0; i < plugins_n; i++)
		if (failed & 1u << i)
			helps |= plugins[i].helps;
	return helps;
}

/* ---- filters --------------------------------------------------------------------------------- */

void cycle_begin(struct cycle *c, struct snapshot *s, struct arena *a, const struct pod_info *pod)
{
	*c = (struct cycle){ .s = s, .a = a, .pod = pod };
	snapshot_tidy_topologies(s);
	snapshot_tidy_labels(s, mono_now());
	snapshot_ask_labels(s, pod->doc);
	c->terms = pod_terms_new(a, pod->doc);
	for (c->plugin = 0; c->plugin < plugins_n; c->plugin++) {
		const struct plugin *p = &plugins[c->plugin];

		if (p->filter && (!p->prepare || p->prepare(c)))
			c->filters[c->n_filters++] = (unsigned char)c->plugin;
		if (!c->whole)
			continue;
		c->failed |= 1u << c->plugin;
		return;
	}
}

enum verdict cycle_filter(struct cycle *c, const struct node_info *n)
{
	if (c->whole)
		return NEVER;
	for (size_t i = 0; i < c->n_filters; i++) {
		c->plugin = c->filters[i];
		enum verdict v = plugins[c->plugin].filter(c, n);

		if (v == FITS)
			continue;
		c->failed |= 1u << c->plugin;
		return v;
	}
	return FITS;
}

void cycle_reason(struct cycle *c, const char *text)
{
	if (c->quiet)
		return;
	for (size_t i = 0; i < c->n_reasons; i++) {
		if (c->reasons[i].text == text || !strcmp(c->reasons[i].text, text)) {
			c->reasons[i].nodes++;
			return;
		}
	}
	if (c->n_reasons < ARRAY_LEN(c->reasons))
		c->reasons[c->n_reasons++] = (struct reason){ text, 1 };
}

static int by_text(const void *x, const void *y)
{
	return strcmp(*(char *const *)x, *(char *const *)y);
}

const char *cycle_message(struct cycle *c)
{
	const char *parts[ARRAY_LEN(c->reasons)];
	auto_buf struct buf b = BUF_INIT;

	if (!c->s->n)
		return "no nodes available to schedule pods";
	if (c->whole)
		return arena_printf(c->a, "0/%zu nodes are available: %s.", c->s->n, c->whole);
	for (size_t i = 0; i < c->n_reasons; i++)
		parts[i] = arena_printf(c->a, "%lld %s", (long long)c->reasons[i].nodes, c->reasons[i].text);
	qsort(parts, c->n_reasons, sizeof(*parts), by_text);
	buf_printf(&b, "0/%zu nodes are available", c->s->n);
	for (size_t i = 0; i < c->n_reasons; i++)
		buf_printf(&b, "%s%s", i ? ", " : ": ", parts[i]);
	buf_byte(&b, '.');
	return arena_cstr(c->a, buf_view(&b));
}

/* ---- scores ---------------------------------------------------------------------------------- */

static int64_t highest(const struct candidates *k)
{
	int64_t most = 0;

	for (size_t i = 0; i < k->n; i++)
		most = MAX(most, k->scores[i]);
	return most;
}

void scores_up(struct cycle *c, struct candidates *k)
{
	int64_t most = highest(k);

	(void)c;
	for (size_t i = 0; i < k->n; i++)
		k->scores[i] = most ? k->scores[i] * SCORE_MAX / most : 0;
}

void scores_down(struct cycle *c, struct candidates *k)
{
	scores_up(c, k);
	for (size_t i = 0; i < k->n; i++)
		k->scores[i] = SCORE_MAX - k->scores[i];
}

static void add_scores(struct cycle *c, struct candidates *k, int64_t *total)
{
	const struct plugin *p = &plugins[c->plugin];

	if (!p->score || (p->prepare_score && !p->prepare_score(c, k)))
		return;
	for (size_t i = 0; i < k->n; i++)
		k->scores[i] = p->score(c, k->nodes[i]);
	if (p->normalize)
		p->normalize(c, k);
	for (size_t i = 0; i < k->n; i++)
		total[i] += k->scores[i] * p->weight;
}

/* The first of the best: where the search begins moves on with each pod, so equals take turns. */
static struct node_info *best(struct cycle *c, struct candidates *k)
{
	int64_t *total = ARENA_ARRAY(c->a, int64_t, k->n);
	size_t at = 0;

	k->scores = arena_alloc(c->a, k->n * sizeof(*k->scores));
	for (c->plugin = 0; c->plugin < plugins_n; c->plugin++)
		add_scores(c, k, total);
	for (size_t i = 1; i < k->n; i++)
		if (total[i] > total[at])
			at = i;
	return k->nodes[at];
}

static size_t enough(size_t nodes)
{
	size_t percent = nodes / 125 >= 50 - SEARCH_PERCENT_LEAST ? SEARCH_PERCENT_LEAST : 50 - nodes / 125;

	return nodes < SEARCH_ALL_MAX ? nodes : MAX(nodes * percent / 100, (size_t)SEARCH_ALL_MAX);
}

/* Thousands of nodes do not fit into the processor's cache: most of a filter's time was waiting for them. */
static void fetch_soon(const struct node_info *n)
{
	__builtin_prefetch(n);
}

/* i < 2 * s->n: a division a node would take as long as its filters. */
static size_t in_turn(const struct snapshot *s, size_t i)
{
	return i < s->n ? i : i - s->n;
}

struct node_info *cycle_choose(struct cycle *c)
{
	struct snapshot *s = c->s;
	size_t wanted = enough(s->n), looked = 0, first = s->n ? s->next % s->n : 0, ahead = MIN(FETCH_AHEAD, s->n);
	struct candidates k = { .nodes = arena_alloc(c->a, (wanted + 1) * sizeof(*k.nodes)) };

	for (; looked < s->n && k.n < wanted; looked++) {
		struct node_info *n = s->list[in_turn(s, first + looked)];

		fetch_soon(s->list[in_turn(s, in_turn(s, first + looked) + ahead)]);
		if (cycle_filter(c, n) == FITS)
			k.nodes[k.n++] = n;
	}
	if (s->n)
		s->next = (s->next + (wanted < s->n ? looked : 1)) % s->n;
	return !k.n ? NULL : k.n == 1 ? k.nodes[0] : best(c, &k);
}

/* Plugins that look at the node alone: its name, taints, labels, ports and images. */
#include "scheduler/scheduler_internal.h"

#define UNSCHEDULABLE "node.kubernetes.io/unschedulable"

/* ---- NodeName, NodeUnschedulable, TaintToleration -------------------------------------------- */

bool node_name_prepare(struct cycle *c)
{
	return doc_str(c->pod->doc, "spec.nodeName").n > 0;
}

enum verdict node_name_filter(struct cycle *c, const struct node_info *n)
{
	if (str_eq(doc_str(c->pod->doc, "spec.nodeName"), n->name))
		return FITS;
	cycle_reason(c, "node(s) didn't match the requested node name");
	return NEVER;
}

static bool any_tolerates(const struct doc *pod, struct str key, struct str value, struct str effect)
{
	for (struct val_iter it = val_iter(doc_get(pod, "spec.tolerations")); val_next(&it);)
		if (toleration_covers(it.val, key, value, effect))
			return true;
	return false;
}

bool unschedulable_prepare(struct cycle *c)
{
	return c->s->n_unschedulable > 0;
}

enum verdict unschedulable_filter(struct cycle *c, const struct node_info *n)
{
	if (!n->unschedulable || any_tolerates(c->pod->doc, STR(UNSCHEDULABLE), STR(""), STR("NoSchedule")))
		return FITS;
	cycle_reason(c, "node(s) were unschedulable");
	return NEVER;
}

bool taint_tolerated(const struct doc *pod, struct val taint)
{
	return any_tolerates(pod, val_str(val_get(taint, "key")), val_str(val_get(taint, "value")),
		val_str(val_get(taint, "effect")));
}

struct val taint_against(const struct doc *pod, const struct node_info *n)
{
	if (!val_has(n->taints))
		return VAL_NONE;
	for (struct val_iter it = val_iter(n->taints); val_next(&it);)
		if (!val_is(val_get(it.val, "effect"), "PreferNoSchedule") && !taint_tolerated(pod, it.val))
			return it.val;
	return VAL_NONE;
}

bool taints_prepare(struct cycle *c)
{
	return c->s->n_tainted > 0;
}

enum verdict taints_filter(struct cycle *c, const struct node_info *n)
{
	struct val taint = taint_against(c->pod->doc, n);

	if (!val_has(taint))
		return FITS;
	if (!c->quiet)
		cycle_reason(c,
			arena_printf(c->a, "node(s) had untolerated taint {%.*s: %.*s}",
				STR_ARG(val_str(val_get(taint, "key"))), STR_ARG(val_str(val_get(taint, "value")))));
	return NEVER;
}

bool taints_prepare_score(struct cycle *c, const struct candidates *k)
{
	for (size_t i = 0; c->s->n_tainted && i < k->n; i++)
		if (k->nodes[i]->prefers_away)
			return true;
	return false;
}

int64_t taints_score(struct cycle *c, const struct node_info *n)
{
	int64_t against = 0;

	for (struct val_iter it = val_iter(n->taints); val_next(&it);)
		against +=
			val_is(val_get(it.val, "effect"), "PreferNoSchedule") && !taint_tolerated(c->pod->doc, it.val);
	return against;
}

/* ---- NodeAffinity ---------------------------------------------------------------------------- */

bool node_wanted(const struct doc *pod, const struct node_info *n)
{
	return affinity_required_met(doc_get(pod, "spec"), node_labels(n), n->name);
}

bool is_picky(const struct doc *pod)
{
	return val_len(doc_get(pod, "spec.nodeSelector")) || val_len(doc_get(pod, "spec.affinity.nodeAffinity"));
}

bool node_affinity_prepare(struct cycle *c)
{
	return is_picky(c->pod->doc);
}

enum verdict node_affinity_filter(struct cycle *c, const struct node_info *n)
{
	if (node_wanted(c->pod->doc, n))
		return FITS;
	cycle_reason(c, "node(s) didn't match Pod's node affinity/selector");
	return NEVER;
}

static struct val preferred(struct cycle *c)
{
	return doc_get(c->pod->doc, "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution");
}

bool node_affinity_prepare_score(struct cycle *c, const struct candidates *k)
{
	(void)k;
	return val_len(preferred(c)) > 0;
}

int64_t node_affinity_score(struct cycle *c, const struct node_info *n)
{
	int64_t sum = 0;

	for (struct val_iter it = val_iter(preferred(c)); val_next(&it);)
		if (affinity_term_met(val_get(it.val, "preference"), node_labels(n), n->name))
			sum += val_int(val_get(it.val, "weight"), 0);
	return sum;
}

/* ---- NodePorts ------------------------------------------------------------------------------- */

bool ports_prepare(struct cycle *c)
{
	return c->pod->n_ports > 0;
}

static bool is_any(struct str ip)
{
	return str_is(ip, "0.0.0.0") || str_is(ip, "::");
}

static bool ports_clash(const struct host_port *a, const struct host_port *b)
{
	return a->port == b->port && str_eq(a->protocol, b->protocol) &&
		(is_any(a->ip) || is_any(b->ip) || str_eq(a->ip, b->ip));
}

static bool pods_clash(const struct pod_info *a, const struct pod_info *b)
{
	for (size_t i = 0; i < a->n_ports; i++)
		for (size_t k = 0; k < b->n_ports; k++)
			if (ports_clash(&a->ports[i], &b->ports[k]))
				return true;
	return false;
}

enum verdict ports_filter(struct cycle *c, const struct node_info *n)
{
	for (size_t i = 0; i < n->n_pods; i++) {
		if (!n->pods[i]->n_ports || !pods_clash(c->pod, n->pods[i]))
			continue;
		cycle_reason(c, "node(s) didn't have free ports for the requested pod ports");
		return NO_ROOM;
	}
	return FITS;
}

/* ---- ImageLocality --------------------------------------------------------------------------- */

#define IMAGE_LEAST ((int64_t)23 << 20)
#define IMAGE_MOST ((int64_t)1000 << 20)

struct wanted_image {
	struct str name, with_tag;
	int64_t nodes; /* that have it */
};
struct wanted_images {
	struct wanted_image *items;
	size_t n, containers;
};

static int64_t image_bytes(const struct node_info *n, const struct wanted_image *w)
{
	for (struct val_iter it = val_iter(doc_get(n->doc, "status.images")); val_next(&it);)
		for (struct val_iter name = val_iter(val_get(it.val, "names")); val_next(&name);)
			if (str_eq(val_str(name.val), w->name) || str_eq(val_str(name.val), w->with_tag))
				return val_int(val_get(it.val, "sizeBytes"), 0);
	return 0;
}

static bool has_tag(struct str image)
{
	for (size_t i = image.n; i-- > 0 && image.p[i] != '/';)
		if (image.p[i] == ':' || image.p[i] == '@')
			return true;
	return false;
}

static void want_images(struct cycle *c, struct wanted_images *w, struct val containers)
{
	for (struct val_iter it = val_iter(containers); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "image"));

		w->containers++;
		w->items[w->n++] = (struct wanted_image){ name,
			has_tag(name) ? name : arena_strf(c->a, "%.*s:latest", STR_ARG(name)), 0 };
	}
}

bool images_prepare_score(struct cycle *c, const struct candidates *k)
{
	struct val containers = doc_get(c->pod->doc, "spec.containers"),
		   init = doc_get(c->pod->doc, "spec.initContainers");
	struct wanted_images *w = ARENA_NEW(c->a, struct wanted_images);
	int64_t found = 0;

	(void)k;
	w->items = ARENA_ARRAY(c->a, struct wanted_image, val_len(containers) + val_len(init) + 1);
	want_images(c, w, init);
	want_images(c, w, containers);
	for (size_t i = 0; i < w->n; i++) {
		w->items[i].nodes = snapshot_image_nodes(c->s, w->items[i].name);
		if (!w->items[i].nodes)
			w->items[i].nodes = snapshot_image_nodes(c->s, w->items[i].with_tag);
		found += w->items[i].nodes;
	}
	CYCLE_SCORE(c) = w;
	return found > 0;
}

/* An image that few nodes have counts less: else one node would draw all pods. */
int64_t images_score(struct cycle *c, const struct node_info *n)
{
	struct wanted_images *w = CYCLE_SCORE(c);
	int64_t sum = 0, most = IMAGE_MOST * (int64_t)w->containers;

	for (size_t i = 0; i < w->n; i++)
		if (w->items[i].nodes)
			sum += image_bytes(n, &w->items[i]) / (int64_t)c->s->n * w->items[i].nodes;
	sum = MAX(MIN(sum, most), IMAGE_LEAST);
	return most > IMAGE_LEAST ? SCORE_MAX * (sum - IMAGE_LEAST) / (most - IMAGE_LEAST) : 0;
}

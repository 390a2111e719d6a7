/* The cluster as decisions see it, kept by deltas. */
#include "scheduler/scheduler_internal.h"

static void pod_end(void *p)
{
	pod_info_free(p);
}

static void node_end(void *p)
{
	struct node_info *n = p;

	doc_unref(n->doc);
	if (n->places != n->few)
		free(n->places);
	free(n->pods);
	free(n);
}

void snapshot_init(struct snapshot *s)
{
	*s = (struct snapshot){ .nodes = map_new(node_end),
		.pods = map_new(pod_end),
		.namespaces = map_new(doc_end),
		.images = map_new(NULL),
		.classes_of_pods = map_new(class_end),
		.siblings = map_new(NULL),
		.asked = map_new(free),
		.claims = map_new(doc_end),
		.volumes = map_new(doc_end),
		.classes = map_new(doc_end) };
}

void snapshot_fini(struct snapshot *s)
{
	map_free(s->pods);
	map_free(s->classes_of_pods);
	map_free(s->siblings);
	free(s->with_terms);
	map_free(s->asked);
	snapshot_forget_topologies(s);
	free(s->topologies);
	map_free(s->images);
	map_free(s->nodes);
	map_free(s->namespaces);
	map_free(s->claims);
	map_free(s->volumes);
	map_free(s->classes);
	free(s->list);
	free(s->opinions);
}

void snapshot_namespace(struct snapshot *s, struct str name, struct doc *ns)
{
	snapshot_doc(s->namespaces, name, ns);
}

void snapshot_doc(struct map *m, struct str key, struct doc *d)
{
	if (d)
		map_put(m, key, doc_ref(d));
	else
		map_del(m, key);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static struct node_info *node_need(struct snapshot *s, struct str name)
{
	struct node_info *n = map_get(s->nodes, name);

	if (n)
		return n;
	n = xcalloc(1, sizeof(*n) + name.n + 1);
	memcpy(n->text, name.p, name.n);
	n->name = str_n(n->text, name.n);
	n->places = n->few;
	n->cap_places = PLACES_FEW;
	map_put(s->nodes, name, n);
	return n;
}

static int64_t whole(struct val v)
{
	struct quantity q;

	return quantity_of(v, &q) ? quantity_whole(q) : 0;
}

/* By how many nodes have each image: seldom asked for, it must not cost a walk through all nodes. */
static void count_images(struct snapshot *s, const struct doc *node, intptr_t by)
{
	for (struct val_iter it = val_iter(doc_get(node, "status.images")); val_next(&it);)
		for (struct val_iter name = val_iter(val_get(it.val, "names")); val_next(&name);) {
			struct str key = val_str(name.val);
			intptr_t n = (intptr_t)map_get(s->images, key) + by;
			if (n > 0)
				map_put(s->images, key,
					(void *)n); /* NOLINT(performance-no-int-to-ptr): a number, never followed */
			else
				map_del(s->images, key);
		}
}

int64_t snapshot_image_nodes(struct snapshot *s, struct str name)
{
	return (intptr_t)map_get(s->images, name);
}

static void read_taints(struct node_info *n)
{
	n->taints = doc_get(n->doc, "spec.taints");
	n->prefers_away = false;
	for (struct val_iter it = val_iter(n->taints); val_next(&it);)
		n->prefers_away |= val_is(val_get(it.val, "effect"), "PreferNoSchedule");
	if (!val_len(n->taints))
		n->taints = VAL_NONE;
}

static void read_node(struct node_info *n)
{
	struct val room = doc_get(n->doc, "status.allocatable");
	struct quantity cpu;

	n->allocatable[RES_CPU] = quantity_of(val_get(room, "cpu"), &cpu) ? quantity_milli(cpu) : 0;
	n->allocatable[RES_MEMORY] = whole(val_get(room, "memory"));
	n->allocatable[RES_EPHEMERAL] = whole(val_get(room, "ephemeral-storage"));
	n->allocatable[RES_PODS] = whole(val_get(room, "pods"));
	n->labels = doc_get(n->doc, "metadata.labels");
	n->unschedulable = doc_bool(n->doc, "spec.unschedulable", false);
	read_taints(n);
}

static void forget_opinion(struct snapshot *s, const struct node_info *n)
{
	if (n->doc)
		s->opinions[n->at].demand = 0;
}

static void list_add(struct snapshot *s, struct node_info *n)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 16;
		s->list = xrealloc(s->list, s->cap, sizeof(*s->list));
		s->opinions = xrealloc(s->opinions, s->cap, sizeof(*s->opinions));
	}
	n->at = s->n;
	s->list[s->n++] = n;
}

static void list_remove(struct snapshot *s, struct node_info *n)
{
	s->list[n->at] = s->list[--s->n];
	s->list[n->at]->at = n->at;
	forget_opinion(s, s->list[n->at]);
}

static void drop_if_unused(struct snapshot *s, struct node_info *n)
{
	if (!n->doc && !n->n_pods)
		map_del(s->nodes, n->name);
}

static void count_kept_away(struct snapshot *s, const struct node_info *n, int by)
{
	if (!n->doc)
		return;
	s->n_unschedulable += n->unschedulable ? by : 0;
	s->n_tainted += val_has(n->taints) ? by : 0;
}

void snapshot_node(struct snapshot *s, struct str name, struct doc *node)
{
	struct node_info *n = node ? node_need(s, name) : map_get(s->nodes, name);

	if (!n)
		return;
	count_kept_away(s, n, -1);
	if (node && !n->doc)
		list_add(s, n);
	if (!node && n->doc)
		list_remove(s, n);
	count_images(s, node, 1);
	count_images(s, n->doc, -1);
	doc_unref(n->doc);
	n->doc = node ? doc_ref(node) : NULL;
	n->labels = n->taints = VAL_NONE;
	if (node) {
		read_node(n);
		forget_opinion(s, n);
		count_kept_away(s, n, 1);
		snapshot_place(s, n);
	} else {
		drop_if_unused(s, n);
	}
}

/* What of an extended resource the node has, and what its pods take. */
int64_t node_extra(const struct node_info *n, struct str name, int64_t *ret_used)
{
	*ret_used = 0;
	for (size_t i = 0; i < n->n_pods; i++)
		*ret_used += pod_request(n->pods[i], name);
	return whole(val_get_str(doc_get(n->doc, "status.allocatable"), name));
}

/* ---- pods ------------------------------------------------------------------------------------ */

static void account(struct snapshot *s, struct node_info *n, const struct pod_info *p, int64_t sign)
{
	forget_opinion(s, n);
	for (int i = 0; i < RES_FIXED; i++)
		n->used[i] += sign * p->requests[i];
	for (int i = 0; i < 2; i++)
		n->scored[i] += sign * p->scored[i];
}

void node_put(struct snapshot *s, struct node_info *n, struct pod_info *p)
{
	GROW(n->pods, n->n_pods, n->cap, 8);
	n->pods[n->n_pods++] = p;
	p->node = n;
	account(s, n, p, 1);
	class_put(s, n, p);
}

void node_take(struct snapshot *s, struct pod_info *p)
{
	struct node_info *n = p->node;

	for (size_t i = 0; i < n->n_pods; i++) {
		if (n->pods[i] == p) {
			n->pods[i] = n->pods[--n->n_pods];
			break;
		}
	}
	account(s, n, p, -1);
	class_take(s, n, p);
	p->node = NULL;
}

struct pod_info *snapshot_find_pod(struct snapshot *s, struct str uid)
{
	return map_get(s->pods, uid);
}

void snapshot_forget_pod(struct snapshot *s, struct str uid)
{
	struct pod_info *p = map_take(s->pods, uid);
	struct node_info *n;

	if (!p)
		return;
	n = p->node;
	node_take(s, p);
	pod_info_free(p);
	drop_if_unused(s, n);
}

static void put(struct snapshot *s, struct pod_info *take, struct node_info *n)
{
	node_put(s, n, take);
	map_put(s->pods, doc_uid(take->doc), take);
}

void snapshot_pod(struct snapshot *s, struct doc *pod, struct str node)
{
	struct pod_info *p = snapshot_find_pod(s, doc_uid(pod));

	if (p && str_eq(p->node->name, node) && pod_info_renew(p, pod)) {
		p->assumed = false;
		return;
	}
	snapshot_forget_pod(s, doc_uid(pod));
	put(s, pod_info_new(pod), node_need(s, node));
}

void snapshot_assume(struct snapshot *s, struct pod_info *take, struct node_info *n)
{
	snapshot_forget_pod(s, doc_uid(take->doc));
	take->assumed = true;
	put(s, take, n);
}

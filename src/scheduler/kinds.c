/* What keeps decisions short when there are many pods and nodes: pods that are alike to others' rules are one class,
 * counted by node; values of node labels that rules ask for are small numbers, so that counting by them is an array.
 *
 *     class     namespace, labels, inter-pod affinity, controller, deleting ─► {node: how many}
 *     topology  a label's name ─► each node's value as a number, -1: it has none */
#include "scheduler/scheduler_internal.h"

#define TOPOLOGIES_MAX 64
#define VALUES_SPARE 1024

/* ---- topologies ------------------------------------------------------------------------------ */

static void place_node(struct topology *t, size_t at, struct node_info *n)
{
	struct val value = val_get_str(node_labels(n), str_c(t->key));
	uintptr_t id;

	n->places[at] = NO_PLACE;
	if (!val_has(value))
		return;
	id = (uintptr_t)map_get(t->ids, val_str(value));
	if (!id) {
		id = ++t->n;
		map_put(t->ids, val_str(value),
			(void *)id); /* NOLINT(performance-no-int-to-ptr): a number, never followed */
	}
	n->places[at] = (int32_t)(id - 1);
}

static void room_for_places(struct snapshot *s, struct node_info *n)
{
	if (n->cap_places < s->n_topologies)
		n->places = xrealloc(n->places, n->cap_places = s->n_topologies + 4, sizeof(*n->places));
}

void snapshot_place(struct snapshot *s, struct node_info *n)
{
	room_for_places(s, n);
	for (size_t i = 0; i < s->n_topologies; i++)
		place_node(&s->topologies[i], i, n);
}

size_t snapshot_topology(struct snapshot *s, struct str key)
{
	struct topology *t;

	for (size_t i = 0; i < s->n_topologies; i++)
		if (str_is(key, s->topologies[i].key))
			return i;
	s->topologies = xrealloc(s->topologies, s->n_topologies + 1, sizeof(*s->topologies));
	t = &s->topologies[s->n_topologies++];
	*t = (struct topology){ .key = str_dup(key), .ids = map_new(NULL) };
	for (size_t i = 0; i < s->n; i++) {
		room_for_places(s, s->list[i]);
		place_node(t, s->n_topologies - 1, s->list[i]);
	}
	return s->n_topologies - 1;
}

void snapshot_forget_topologies(struct snapshot *s)
{
	for (size_t i = 0; i < s->n_topologies; i++) {
		free(s->topologies[i].key);
		map_free(s->topologies[i].ids);
	}
	s->n_topologies = 0;
}

/* Keys that nobody asks for any more and values that are gone would stay for ever. */
void snapshot_tidy_topologies(struct snapshot *s)
{
	bool full = s->n_topologies > TOPOLOGIES_MAX;

	for (size_t i = 0; i < s->n_topologies; i++)
		full |= s->topologies[i].n > 2 * s->n + VALUES_SPARE;
	if (full)
		snapshot_forget_topologies(s);
}

/* ---- classes --------------------------------------------------------------------------------- */

static void add_part(struct buf *b, struct str text)
{
	buf_str(b, text);
	buf_byte(b, '\0');
}

static void class_key(const struct doc *pod, struct buf *key)
{
	add_part(key, doc_ns(pod));
	add_part(key, val_text(doc_get(pod, "metadata.labels")));
	add_part(key, val_text(doc_get(pod, "spec.affinity.podAffinity")));
	add_part(key, val_text(doc_get(pod, "spec.affinity.podAntiAffinity")));
	add_part(key, pod_controller_uid(pod));
	buf_byte(key, pod_is_deleting(pod) ? 'd' : '-');
}

static struct pod_class *class_need(struct snapshot *s, struct pod_info *p)
{
	auto_buf struct buf key = BUF_INIT;
	struct pod_class *k;

	class_key(p->doc, &key);
	k = map_get(s->classes_of_pods, buf_view(&key));
	if (k)
		return k;
	k = xcalloc(1, sizeof(*k));
	k->key = str_dup(buf_view(&key));
	k->key_len = key.n;
	k->doc = doc_ref(p->doc);
	k->labels = doc_get(p->doc, "metadata.labels");
	k->ns = doc_ns(p->doc);
	k->controller = pod_controller_uid(p->doc);
	k->deleting = pod_is_deleting(p->doc);
	k->terms = pod_terms_new(p->doc);
	map_put(s->classes_of_pods, buf_view(&key), k);
	return k;
}

void class_end(void *class)
{
	struct pod_class *k = class;

	if (k->terms)
		arena_free(k->terms->a);
	doc_unref(k->doc);
	free(k->nodes);
	free(k->key);
	free(k);
}

static struct class_node *class_at(struct pod_class *k, const struct node_info *n)
{
	for (size_t i = k->n; i-- > 0;) /* the newest are asked for most */
		if (k->nodes[i].node == n)
			return &k->nodes[i];
	return NULL;
}

void class_put(struct snapshot *s, struct node_info *n, struct pod_info *p)
{
	struct pod_class *k = class_need(s, p);
	struct class_node *at = class_at(k, n);

	p->class = k;
	if (at) {
		at->pods++;
		return;
	}
	if (k->n == k->cap)
		k->nodes = xrealloc(k->nodes, k->cap = k->cap ? k->cap * 2 : 2, sizeof(*k->nodes));
	k->nodes[k->n++] = (struct class_node){ n, 1 };
}

void class_take(struct snapshot *s, struct node_info *n, struct pod_info *p)
{
	struct pod_class *k = TAKE(p->class);
	struct class_node *at = class_at(k, n);

	if (--at->pods)
		return;
	*at = k->nodes[--k->n];
	if (!k->n)
		map_del(s->classes_of_pods, str_n(k->key, k->key_len));
}

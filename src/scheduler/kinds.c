/* What keeps decisions short when there are many pods and nodes: pods that are alike to others' rules are one class,
 * counted by node; values of node labels that rules ask for are small numbers, so that counting by them is an array.
 *
 *     class     namespace, labels that some selector asked for, inter-pod affinity, controller, deleting
 *               ─► {node: how many}
 *     topology  a label's name ─► each node's value as a number, -1: it has none */
#include "scheduler/scheduler_internal.h"

#define TOPOLOGIES_MAX 64
#define VALUES_SPARE 1024
#define ASKED_MAX 64    /* names of labels; then all count */
#define ASKED_MS 600000 /* a name that nobody asked for in one such time is forgotten at the end of the next */

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
	bool few = n->places == n->few;

	if (n->cap_places >= s->n_topologies)
		return;
	n->cap_places = s->n_topologies + PLACES_FEW;
	n->places = xrealloc(few ? NULL : n->places, n->cap_places, sizeof(*n->places));
	if (few)
		memcpy(n->places, n->few, sizeof(n->few));
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

/* Whether each() says yes to a term of podAffinity or podAntiAffinity; all are asked. */
static bool any_term(struct val affinity, bool (*each)(struct snapshot *s, struct val term), struct snapshot *s)
{
	bool any = false;

	for (struct val_iter it = val_iter(val_get(affinity, "requiredDuringSchedulingIgnoredDuringExecution"));
		val_next(&it);)
		any |= each(s, it.val);
	for (struct val_iter it = val_iter(val_get(affinity, "preferredDuringSchedulingIgnoredDuringExecution"));
		val_next(&it);)
		any |= each(s, val_get(it.val, "podAffinityTerm"));
	return any;
}

static bool is_about_itself(struct snapshot *s, struct val term)
{
	(void)s;
	return val_len(val_get(term, "matchLabelKeys")) || val_len(val_get(term, "mismatchLabelKeys"));
}

/* A label that every pod has for itself, as those of StatefulSets and Jobs, makes no class as long as nobody asks. */
static void add_labels(struct buf *key, struct snapshot *s, const struct doc *pod, struct val with, struct val against)
{
	struct val labels = doc_get(pod, "metadata.labels");

	if (s->all_asked || any_term(with, is_about_itself, s) || any_term(against, is_about_itself, s)) {
		add_part(key, val_text(labels));
		return;
	}
	for (struct val_iter it = val_iter(map_len(s->asked) ? labels : VAL_NONE); val_next(&it);) {
		if (!map_get(s->asked, it.key))
			continue;
		add_part(key, it.key);
		add_part(key, val_str(it.val));
	}
	add_part(key, STR(""));
}

static void class_key(struct snapshot *s, const struct doc *pod, struct buf *key)
{
	struct val with = doc_get(pod, "spec.affinity.podAffinity"),
		   against = doc_get(pod, "spec.affinity.podAntiAffinity");

	add_part(key, doc_ns(pod));
	add_labels(key, s, pod, with, against);
	add_part(key, val_text(with));
	add_part(key, val_text(against));
	add_part(key, pod_controller_uid(pod));
	buf_byte(key, pod_is_deleting(pod) ? 'd' : '-');
}

/* What most decisions ask for needs no walk through all classes: those of one controller, and those with terms. */
static void enlist(struct snapshot *s, struct pod_class *k)
{
	if (k->controller.n) {
		k->sibling = map_get(s->siblings, k->controller);
		map_put(s->siblings, k->controller, k);
	}
	if (!k->terms)
		return;
	GROW(s->with_terms, s->n_with_terms, s->cap_with_terms, 16);
	k->at = s->n_with_terms;
	s->with_terms[s->n_with_terms++] = k;
}

static void leave_siblings(struct snapshot *s, const struct pod_class *k)
{
	struct pod_class *before = map_get(s->siblings, k->controller);

	if (before != k) {
		while (before->sibling != k)
			before = before->sibling;
		before->sibling = k->sibling;
	} else if (k->sibling) {
		map_put(s->siblings, k->controller, k->sibling);
	} else {
		map_del(s->siblings, k->controller);
	}
}

static void delist(struct snapshot *s, const struct pod_class *k)
{
	if (k->controller.n)
		leave_siblings(s, k);
	if (!k->terms)
		return;
	s->with_terms[k->at] = s->with_terms[--s->n_with_terms];
	s->with_terms[k->at]->at = k->at;
}

static struct pod_class *class_need(struct snapshot *s, struct pod_info *p)
{
	auto_(arena_free) struct arena *a = NULL;
	auto_buf struct buf key = BUF_INIT;
	struct pod_class *k;

	class_key(s, p->doc, &key);
	k = map_get(s->classes_of_pods, buf_view(&key));
	if (k)
		return k;
	a = arena_new();
	k = xcalloc(1, sizeof(*k));
	k->key = str_dup(buf_view(&key));
	k->key_len = key.n;
	k->doc = doc_ref(p->doc);
	k->labels = doc_get(p->doc, "metadata.labels");
	k->ns = doc_ns(p->doc);
	k->controller = pod_controller_uid(p->doc);
	k->deleting = pod_is_deleting(p->doc);
	k->terms = pod_terms_new(a, p->doc);
	k->a = k->terms ? TAKE(a) : NULL;
	map_put(s->classes_of_pods, buf_view(&key), k);
	enlist(s, k);
	return k;
}

void class_end(void *class)
{
	struct pod_class *k = class;

	arena_free(k->a);
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
	GROW(k->nodes, k->n, k->cap, 2);
	k->nodes[k->n++] = (struct class_node){ n, 1 };
}

void class_take(struct snapshot *s, struct node_info *n, struct pod_info *p)
{
	struct pod_class *k = TAKE(p->class);
	struct class_node *at = class_at(k, n);

	if (--at->pods)
		return;
	*at = k->nodes[--k->n];
	if (k->n)
		return;
	delist(s, k);
	map_del(s->classes_of_pods, str_n(k->key, k->key_len));
}

/* ---- labels that selectors ask for ----------------------------------------------------------- */

/* true: it is new. */
static bool ask(struct snapshot *s, struct str key)
{
	struct asked *known = s->all_asked ? NULL : map_get(s->asked, key);

	if (known)
		known->lately = true;
	if (known || s->all_asked)
		return false;
	if (map_len(s->asked) == ASKED_MAX) {
		s->all_asked = true;
		return true;
	}
	known = xmalloc(sizeof(*known));
	*known = (struct asked){ .lately = true };
	map_put(s->asked, key, known);
	return true;
}

static bool ask_all(struct snapshot *s, struct val names)
{
	bool news = false;

	for (struct val_iter it = val_iter(names); val_next(&it);)
		news |= ask(s, val_str(it.val));
	return news;
}

/* A term of affinity or a constraint of spreading. */
static bool ask_term(struct snapshot *s, struct val term)
{
	bool news = false;

	for (struct val_iter it = val_iter(val_path(term, "labelSelector.matchLabels")); val_next(&it);)
		news |= ask(s, it.key);
	for (struct val_iter it = val_iter(val_path(term, "labelSelector.matchExpressions")); val_next(&it);)
		news |= ask(s, val_str(val_get(it.val, "key")));
	news |= ask_all(s, val_get(term, "matchLabelKeys"));
	return ask_all(s, val_get(term, "mismatchLabelKeys")) || news;
}

static void classify_anew(struct snapshot *s)
{
	void *value;

	map_clear(s->classes_of_pods);
	map_clear(s->siblings);
	s->n_with_terms = 0;
	for (size_t i = 0; map_next(s->nodes, &i, NULL, &value);) {
		struct node_info *n = value;

		for (size_t k = 0; k < n->n_pods; k++)
			class_put(s, n, n->pods[k]);
	}
}

/* Forgets those that were not asked for lately; of too many, all. True: there were some. */
static bool forget_asked(struct snapshot *s)
{
	bool any = s->all_asked;
	struct str key;
	void *value;

	if (s->all_asked)
		map_clear(s->asked);
	s->all_asked = false;
	for (size_t i = 0; map_next(s->asked, &i, &key, &value);) {
		struct asked *name = value;

		if (name->lately) {
			name->lately = false;
			continue;
		}
		map_del(s->asked, key);
		any = true;
	}
	return any;
}

void snapshot_tidy_labels(struct snapshot *s, struct mono now)
{
	if (mono_before(now, s->asked_until))
		return;
	s->asked_until = mono_add_ms(now, ASKED_MS);
	if (forget_asked(s))
		classify_anew(s);
}

void snapshot_ask_labels(struct snapshot *s, const struct doc *pod)
{
	bool news = any_term(doc_get(pod, "spec.affinity.podAffinity"), ask_term, s);

	news |= any_term(doc_get(pod, "spec.affinity.podAntiAffinity"), ask_term, s);
	for (struct val_iter it = val_iter(doc_get(pod, "spec.topologySpreadConstraints")); val_next(&it);)
		news |= ask_term(s, it.val);
	if (news)
		classify_anew(s);
}

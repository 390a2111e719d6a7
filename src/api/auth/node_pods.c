/* Which pods are bound to which node, and what they refer to: what the node authorizer asks for each read of a node.
 *
 *     store ──► events_on() ──► node_pods_event() ──► node ─► its pods, each with a filter of what it refers to
 *     a node reads a Secret ──► node_pods_refer() ──► filters say which pods to look at: nearly always one or none
 *
 * A filter has two bits for each thing that the pod refers to. It is made when somebody first asks, and stays while the
 * pod's spec does. Memory: 16 bytes a pod; the documents are those that the cache holds. */
#include "api/auth/auth.h"
#include <stdio.h>

struct bound_pod {
	struct doc *doc; /* ref */
	uint64_t filter; /* 0: not made yet */
};

struct node_entry {
	struct bound_pod *pods;
	size_t n, cap;
};

struct node_pods {
	struct task_mutex lock;
	struct map *nodes; /* name → node_entry */
};

/* ---- what a pod refers to -------------------------------------------------------------------- */

/* Returns true to end the walk. */
typedef bool on_referent(void *arg, enum referent kind, struct str name);

static bool walk_container(struct val container, on_referent *each, void *arg)
{
	for (struct val_iter it = val_iter(val_get(container, "env")); val_next(&it);) {
		struct val from = val_get(it.val, "valueFrom");

		if (each(arg, REFERENT_SECRET, val_str(val_path(from, "secretKeyRef.name"))) ||
			each(arg, REFERENT_CONFIGMAP, val_str(val_path(from, "configMapKeyRef.name"))))
			return true;
	}
	for (struct val_iter it = val_iter(val_get(container, "envFrom")); val_next(&it);)
		if (each(arg, REFERENT_SECRET, val_str(val_path(it.val, "secretRef.name"))) ||
			each(arg, REFERENT_CONFIGMAP, val_str(val_path(it.val, "configMapRef.name"))))
			return true;
	return false;
}

/* The claim of a generic ephemeral volume is named POD-VOLUME. */
static bool walk_ephemeral(struct val volume, struct str pod, on_referent *each, void *arg)
{
	char claim[512];
	int n;

	if (!val_has(val_get(volume, "ephemeral")))
		return false;
	n = snprintf(claim, sizeof(claim), "%.*s-%.*s", STR_ARG(pod), STR_ARG(val_str(val_get(volume, "name"))));
	return (size_t)n < sizeof(claim) && each(arg, REFERENT_CLAIM, str_n(claim, (size_t)n));
}

static bool walk_volume(struct val volume, struct str pod, on_referent *each, void *arg)
{
	if (each(arg, REFERENT_SECRET, val_str(val_path(volume, "secret.secretName"))) ||
		each(arg, REFERENT_CONFIGMAP, val_str(val_path(volume, "configMap.name"))) ||
		each(arg, REFERENT_CLAIM, val_str(val_path(volume, "persistentVolumeClaim.claimName"))) ||
		walk_ephemeral(volume, pod, each, arg))
		return true;
	for (struct val_iter it = val_iter(val_path(volume, "projected.sources")); val_next(&it);)
		if (each(arg, REFERENT_SECRET, val_str(val_path(it.val, "secret.name"))) ||
			each(arg, REFERENT_CONFIGMAP, val_str(val_path(it.val, "configMap.name"))))
			return true;
	return false;
}

/* Calls each() for everything that the pod refers to, with an empty name where it does not. True: it ended the walk. */
static bool walk_pod(struct val pod, on_referent *each, void *arg)
{
	static const char *const lists[] = { "containers", "initContainers", "ephemeralContainers" };
	struct val spec = val_get(pod, "spec");
	struct str name = val_str(val_path(pod, "metadata.name"));

	if (each(arg, REFERENT_SERVICE_ACCOUNT, val_str(val_get(spec, "serviceAccountName"))) ||
		each(arg, REFERENT_CONFIGMAP, STR("kube-root-ca.crt"))) /* every pod's projected volume has it */
		return true;
	for (struct val_iter it = val_iter(val_get(spec, "imagePullSecrets")); val_next(&it);)
		if (each(arg, REFERENT_SECRET, val_str(val_get(it.val, "name"))))
			return true;
	for (struct val_iter it = val_iter(val_get(spec, "volumes")); val_next(&it);)
		if (walk_volume(it.val, name, each, arg))
			return true;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (struct val_iter it = val_iter(val_get(spec, lists[i])); val_next(&it);)
			if (walk_container(it.val, each, arg))
				return true;
	return false;
}

/* Every pod may have the one that everybody may read. */
static bool is_any(void *arg, enum referent kind, struct str name)
{
	(void)arg;
	return name.n && !(kind == REFERENT_CONFIGMAP && str_is(name, "kube-root-ca.crt"));
}

bool node_pods_refers_to_any(struct val pod)
{
	return walk_pod(pod, is_any, NULL);
}

/* ---- filters --------------------------------------------------------------------------------- */

static uint64_t filter_bits(enum referent kind, struct str ns, struct str name)
{
	uint64_t h = (str_hash(ns) * 31 + str_hash(name) + kind) * 0x9E3779B97F4A7C15u;

	return (uint64_t)1 << (h >> 58) | (uint64_t)1 << (h >> 52 & 63);
}

struct filter_room {
	struct str ns;
	uint64_t filter;
};

static bool add_to_filter(void *arg, enum referent kind, struct str name)
{
	struct filter_room *r = arg;

	if (name.n)
		r->filter |= filter_bits(kind, r->ns, name);
	return false;
}

static uint64_t filter_of(const struct doc *pod)
{
	struct filter_room r = { doc_ns(pod), 0 };

	walk_pod(doc_root(pod), add_to_filter, &r);
	return r.filter;
}

/* ---- keeping it ------------------------------------------------------------------------------ */

static void entry_end(void *value)
{
	struct node_entry *n = value;

	for (size_t i = 0; i < n->n; i++)
		doc_unref(n->pods[i].doc);
	free(n->pods);
	free(n);
}

static struct bound_pod *find(struct node_entry *n, const struct doc *pod)
{
	for (size_t i = 0; n && i < n->n; i++)
		if (n->pods[i].doc == pod)
			return &n->pods[i];
	return NULL;
}

static void add(struct node_pods *p, struct str node, struct doc *pod)
{
	struct node_entry *n = map_get(p->nodes, node);

	if (!n)
		map_put(p->nodes, node, n = xcalloc(1, sizeof(*n)));
	GROW(n->pods, n->n, n->cap, 4);
	n->pods[n->n++] = (struct bound_pod){ doc_ref(pod), 0 };
}

static void drop(struct node_pods *p, struct str node, struct node_entry *n, struct bound_pod *b)
{
	doc_unref(b->doc);
	*b = n->pods[--n->n];
	if (!n->n)
		map_del(p->nodes, node);
}

static void renew(struct bound_pod *b, struct doc *pod)
{
	if (!str_eq(val_text(doc_get(b->doc, "spec")), val_text(doc_get(pod, "spec"))))
		b->filter = 0;
	doc_unref(b->doc);
	b->doc = doc_ref(pod);
}

static struct str node_of(const struct doc *pod)
{
	return pod ? doc_str(pod, "spec.nodeName") : STR_NULL;
}

void node_pods_event(struct node_pods *p, struct doc *before, struct doc *after)
{
	struct str was = node_of(before), is = node_of(after);
	struct node_entry *n;
	struct bound_pod *b;

	if (!was.n && !is.n)
		return;
	task_lock(&p->lock);
	n = was.n ? map_get(p->nodes, was) : NULL;
	b = find(n, before);
	if (b && str_eq(was, is)) {
		renew(b, after);
	} else {
		if (b)
			drop(p, was, n, b);
		if (is.n)
			add(p, is, after);
	}
	task_unlock(&p->lock);
}

struct node_pods *node_pods_new(struct cache *pods)
{
	struct node_pods *p = xcalloc(1, sizeof(*p));
	auto_(arena_free) struct arena *a = arena_new();
	struct cache_list all = cache_list(pods, a, STR_NULL, STR_NULL, 0, NULL);

	task_mutex_init(&p->lock);
	p->nodes = map_new(entry_end);
	for (size_t i = 0; i < all.n; i++)
		node_pods_event(p, NULL, all.items[i].doc);
	return p;
}

struct node_pods *node_pods_free(struct node_pods *p)
{
	if (!p)
		return NULL;
	map_free(p->nodes);
	task_mutex_fini(&p->lock);
	free(p);
	return NULL;
}

/* ---- asking ---------------------------------------------------------------------------------- */

struct wanted {
	enum referent kind;
	struct str name;
};

static bool is_wanted(void *arg, enum referent kind, struct str name)
{
	const struct wanted *w = arg;

	return kind == w->kind && str_eq(name, w->name);
}

bool node_pods_refer(struct node_pods *p, struct str node, enum referent kind, struct str ns, struct str name)
{
	uint64_t bits = filter_bits(kind, ns, name);
	struct wanted w = { kind, name };
	struct node_entry *n;
	bool found = false;

	if (!ns.n || !name.n)
		return false;
	task_lock(&p->lock);
	n = map_get(p->nodes, node);
	for (size_t i = 0; n && i < n->n && !found; i++) {
		struct bound_pod *b = &n->pods[i];

		if (!b->filter)
			b->filter = filter_of(b->doc);
		found = (b->filter & bits) == bits && str_eq(doc_ns(b->doc), ns) &&
			walk_pod(doc_root(b->doc), is_wanted, &w);
	}
	task_unlock(&p->lock);
	return found;
}

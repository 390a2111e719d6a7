/* What a pod asks for, read once from its document. */
#include "scheduler/scheduler_internal.h"

#define ASSUMED_CPU 100
#define ASSUMED_MEMORY ((int64_t)200 << 20)
#define EXTRAS_MAX 64

bool pod_is_ended(const struct doc *pod)
{
	struct str phase = doc_str(pod, "status.phase");

	return str_is(phase, "Succeeded") || str_is(phase, "Failed");
}

bool pod_is_deleting(const struct doc *pod)
{
	return doc_str(pod, "metadata.deletionTimestamp").n > 0;
}

/* ---- resources ------------------------------------------------------------------------------- */

struct amounts {
	int64_t fixed[RES_FIXED];
	struct extra extras[EXTRAS_MAX];
	size_t n_extras;
};

static int fixed_of(struct str name)
{
	static const char *const names[] = { "cpu", "memory", "ephemeral-storage", "pods" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_is(name, names[i]))
			return (int)i;
	return -1;
}

static int64_t *place_of(struct amounts *m, struct str name)
{
	int i = fixed_of(name);

	if (i >= 0)
		return &m->fixed[i];
	for (size_t k = 0; k < m->n_extras; k++)
		if (str_eq(m->extras[k].name, name))
			return &m->extras[k].v;
	if (m->n_extras == EXTRAS_MAX)
		return NULL;
	m->extras[m->n_extras] = (struct extra){ name, 0 };
	return &m->extras[m->n_extras++].v;
}

static int64_t capped_add(int64_t a, int64_t b)
{
	int64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static int64_t amount(struct str name, struct val v)
{
	struct quantity q;

	if (!quantity_of(v, &q) || q.value < 0)
		return 0;
	return str_is(name, "cpu") ? quantity_milli(q) : quantity_whole(q);
}

static void add(struct amounts *m, struct val requests)
{
	for (struct val_iter it = val_iter(requests); val_next(&it);) {
		int64_t *place = place_of(m, it.key);

		if (place)
			*place = capped_add(*place, amount(it.key, it.val));
	}
}

static void raise_to(struct amounts *m, const struct amounts *other)
{
	for (int i = 0; i < RES_FIXED; i++)
		m->fixed[i] = MAX(m->fixed[i], other->fixed[i]);
	for (size_t i = 0; i < other->n_extras; i++) {
		int64_t *place = place_of(m, other->extras[i].name);

		if (place)
			*place = MAX(*place, other->extras[i].v);
	}
}

static bool is_sidecar(struct val container)
{
	return val_is(val_get(container, "restartPolicy"), "Always");
}

/* Init containers run one after the other beside the sidecars that were started before them; then everything else
 * runs beside all sidecars. The pod needs the most of these. */
static void sum_containers(const struct doc *pod, struct amounts *sum)
{
	struct amounts sidecars = { 0 }, most = { 0 };

	for (struct val_iter it = val_iter(doc_get(pod, "spec.initContainers")); val_next(&it);) {
		struct val requests = val_path(it.val, "resources.requests");
		struct amounts with = sidecars;

		add(&with, requests);
		raise_to(&most, &with);
		if (is_sidecar(it.val))
			sidecars = with;
	}
	*sum = sidecars;
	for (struct val_iter it = val_iter(doc_get(pod, "spec.containers")); val_next(&it);)
		add(sum, val_path(it.val, "resources.requests"));
	raise_to(sum, &most);
}

/* resources of the pod as a whole stand above those of its containers. */
static void whole_pod(const struct doc *pod, struct amounts *sum)
{
	for (struct val_iter it = val_iter(doc_get(pod, "spec.resources.requests")); val_next(&it);) {
		int64_t *place = place_of(sum, it.key);

		if (place)
			*place = amount(it.key, it.val);
	}
}

/* For scores, each container that requests nothing counts as a little. */
static int64_t scored(const struct doc *pod, const char *name, int64_t otherwise)
{
	int64_t all = 0, overhead = amount(str_c(name), val_get(doc_get(pod, "spec.overhead"), name));

	for (struct val_iter it = val_iter(doc_get(pod, "spec.containers")); val_next(&it);) {
		struct val v = val_get(val_path(it.val, "resources.requests"), name);

		all = capped_add(all, val_has(v) ? amount(str_c(name), v) : otherwise);
	}
	return capped_add(all, overhead);
}

static void read_requests(struct pod_info *p)
{
	struct amounts sum = { 0 };
	size_t n = 0;

	sum_containers(p->doc, &sum);
	whole_pod(p->doc, &sum);
	add(&sum, doc_get(p->doc, "spec.overhead"));
	memcpy(p->requests, sum.fixed, sizeof(p->requests));
	p->requests[RES_PODS] = 1;
	p->scored[RES_CPU] = MAX(p->requests[RES_CPU], scored(p->doc, "cpu", ASSUMED_CPU));
	p->scored[RES_MEMORY] = MAX(p->requests[RES_MEMORY], scored(p->doc, "memory", ASSUMED_MEMORY));
	for (size_t i = 0; i < sum.n_extras; i++)
		n += sum.extras[i].v > 0;
	p->extras = n ? xcalloc(n, sizeof(*p->extras)) : NULL;
	for (size_t i = 0; i < sum.n_extras; i++)
		if (sum.extras[i].v > 0)
			p->extras[p->n_extras++] = sum.extras[i];
}

int64_t pod_request(const struct pod_info *p, struct str extra)
{
	for (size_t i = 0; i < p->n_extras; i++)
		if (str_eq(p->extras[i].name, extra))
			return p->extras[i].v;
	return 0;
}

/* ---- ports ----------------------------------------------------------------------------------- */

static void add_ports(struct pod_info *p, struct val container)
{
	for (struct val_iter it = val_iter(val_get(container, "ports")); val_next(&it);) {
		int64_t port = val_int(val_get(it.val, "hostPort"), 0);
		struct str ip = val_str(val_get(it.val, "hostIP")), protocol = val_str(val_get(it.val, "protocol"));

		if (port <= 0 || p->n_ports == UINT16_MAX)
			continue;
		p->ports = xrealloc(p->ports, p->n_ports + 1u, sizeof(*p->ports));
		p->ports[p->n_ports++] =
			(struct host_port){ ip.n ? ip : STR("0.0.0.0"), protocol.n ? protocol : STR("TCP"), port };
	}
}

static void read_ports(struct pod_info *p)
{
	for (struct val_iter it = val_iter(doc_get(p->doc, "spec.containers")); val_next(&it);)
		add_ports(p, it.val);
	for (struct val_iter it = val_iter(doc_get(p->doc, "spec.initContainers")); val_next(&it);)
		if (is_sidecar(it.val))
			add_ports(p, it.val);
}

/* ---- affinity between pods ------------------------------------------------------------------- */

static void add_pairs(struct label_pairs *out, struct val keys, struct val labels, bool equal)
{
	for (struct val_iter it = val_iter(keys); val_next(&it);) {
		struct val v = val_get_str(labels, val_str(it.val));

		if (val_has(v))
			out->items[out->n++] = (struct label_pair){ val_str(it.val), val_str(v), equal };
	}
}

struct label_pairs label_pairs_of(struct arena *a, struct val term, const struct doc *pod)
{
	struct val same = val_get(term, "matchLabelKeys"), other = val_get(term, "mismatchLabelKeys");
	struct label_pairs out = { 0 };

	if (!val_len(same) && !val_len(other))
		return out;
	out.items = ARENA_ARRAY(a, struct label_pair, val_len(same) + val_len(other));
	add_pairs(&out, same, doc_get(pod, "metadata.labels"), true);
	add_pairs(&out, other, doc_get(pod, "metadata.labels"), false);
	return out;
}

bool label_pairs_match(struct label_pairs pairs, struct val labels)
{
	for (size_t i = 0; i < pairs.n; i++) {
		struct val v = val_get_str(labels, pairs.items[i].key);

		if ((val_has(v) && str_eq(val_str(v), pairs.items[i].value)) != pairs.items[i].equal)
			return false;
	}
	return true;
}

static struct affinity_term term_of(struct arena *a, const struct doc *pod, struct val v, int64_t weight)
{
	struct affinity_term t = {
		.topology_key = val_str(val_get(v, "topologyKey")), .weight = weight, .pairs = label_pairs_of(a, v, pod)
	};
	struct val names = val_get(v, "namespaces"), by_label = val_get(v, "namespaceSelector");
	struct err e;

	err_init(&e);
	selector_of(a, val_get(v, "labelSelector"), &t.labels, &e);
	if (val_kind(by_label) == VAL_MAP)
		selector_of(a, by_label, &t.namespaces, &e);
	t.names = ARENA_ARRAY(a, struct str, val_len(names) + 1);
	for (struct val_iter it = val_iter(names); val_next(&it);)
		t.names[t.n_names++] = val_str(it.val);
	if (!t.n_names && !t.namespaces)
		t.names[t.n_names++] = doc_ns(pod);
	return t;
}

static struct affinity_terms terms_of(struct arena *a, const struct doc *pod, struct val list, bool weighted)
{
	struct affinity_terms out = { ARENA_ARRAY(a, struct affinity_term, val_len(list) + 1), 0 };

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct affinity_term t = weighted ?
			term_of(a, pod, val_get(it.val, "podAffinityTerm"), val_int(val_get(it.val, "weight"), 0)) :
			term_of(a, pod, it.val, 0);

		if (t.labels)
			out.items[out.n++] = t;
	}
	return out;
}

struct pod_terms *pod_terms_new(struct arena *a, const struct doc *pod)
{
	static const char required[] = "requiredDuringSchedulingIgnoredDuringExecution",
			  preferred[] = "preferredDuringSchedulingIgnoredDuringExecution";
	struct val with = doc_get(pod, "spec.affinity.podAffinity"),
		   against = doc_get(pod, "spec.affinity.podAntiAffinity");
	struct pod_terms *t;

	if (!val_len(with) && !val_len(against))
		return NULL;
	t = ARENA_NEW(a, struct pod_terms);
	t->required = terms_of(a, pod, val_get(with, required), false);
	t->preferred = terms_of(a, pod, val_get(with, preferred), true);
	t->anti_required = terms_of(a, pod, val_get(against, required), false);
	t->anti_preferred = terms_of(a, pod, val_get(against, preferred), true);
	return t;
}

struct str pod_controller_uid(const struct doc *pod)
{
	for (struct val_iter it = val_iter(doc_get(pod, "metadata.ownerReferences")); val_next(&it);)
		if (val_bool(val_get(it.val, "controller"), false))
			return val_str(val_get(it.val, "uid"));
	return STR_NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct pod_info *pod_info_new(struct doc *pod)
{
	struct pod_info *p = xcalloc(1, sizeof(*p));

	p->doc = doc_ref(pod);
	p->priority = (int32_t)doc_int(pod, "spec.priority", 0);
	read_requests(p);
	read_ports(p);
	return p;
}

struct pod_info *pod_info_free(struct pod_info *p)
{
	if (!p)
		return NULL;
	free(p->extras);
	free(p->ports);
	doc_unref(p->doc);
	free(p);
	return NULL;
}

/* Version by version a pod's spec gets a node's name, and seldom anything else. */
static bool same_but_node_name(struct val a, struct val b)
{
	struct val_iter i = val_iter(a), k = val_iter(b);
	bool more, other;

	do {
		while ((more = val_next(&i)) && str_is(i.key, "nodeName"))
			;
		while ((other = val_next(&k)) && str_is(k.key, "nodeName"))
			;
	} while (more && other && str_eq(i.key, k.key) && val_equal(i.val, k.val));
	return !more && !other;
}

bool pod_info_renew(struct pod_info *p, struct doc *pod)
{
	if (p->n_extras || p->n_ports) /* they point into the old one */
		return false;
	if (pod_is_deleting(p->doc) != pod_is_deleting(pod) ||
		!val_equal(doc_get(p->doc, "metadata.labels"), doc_get(pod, "metadata.labels")) ||
		!val_equal(doc_get(p->doc, "metadata.ownerReferences"), doc_get(pod, "metadata.ownerReferences")) ||
		!same_but_node_name(doc_get(p->doc, "spec"), doc_get(pod, "spec")))
		return false;
	doc_unref(p->doc);
	p->doc = doc_ref(pod);
	return true;
}

/* Small admission plugins: default classes of claims and ingresses, what a RuntimeClass adds to pods, which are found by the
 * table at the end; and whether a claim may grow. */
#include "api/admission/admission.h"
#define LOG_MODULE "api"

/* The object of a class resource that is marked as the default; of several the newest, then the first by name. Own. */
static struct doc *default_class(struct rq *rq, const char *group, const char *resource, const char *note)
{
	struct cache *c = api_cache(rq->api, group, resource);
	struct doc *best = NULL;
	int64_t rev;
	struct cache_list l = cache_list(c, rq->a, STR(""), STR_NULL, 0, &rev);

	for (size_t i = 0; i < l.n; i++) {
		struct doc *d = l.items[i].doc;
		if (!val_is(val_get(doc_get(d, "metadata.annotations"), note), "true"))
			continue;
		if (!best ||
			str_cmp(doc_str(d, "metadata.creationTimestamp"), doc_str(best, "metadata.creationTimestamp")) >
				0)
			best = d;
	}
	return best ? doc_ref(best) : NULL;
}

static int storage_class(struct rq *rq, struct node *claim, struct err *e)
{
	struct node *notes = node_path(claim, "metadata.annotations");

	(void)e;
	if (node_path(claim, "spec.storageClassName") || node_getc(notes, "volume.beta.kubernetes.io/storage-class"))
		return 0;
	auto_(doc_unref) struct doc *d =
		default_class(rq, "storage.k8s.io", "storageclasses", "storageclass.kubernetes.io/is-default-class");
	if (d)
		node_set_path(claim, "spec.storageClassName", node_str(rq->a, doc_name(d)));
	return 0;
}

static int ingress_class(struct rq *rq, struct node *ingress, struct err *e)
{
	struct node *notes = node_path(ingress, "metadata.annotations");

	(void)e;
	if (node_path(ingress, "spec.ingressClassName") || node_getc(notes, "kubernetes.io/ingress.class"))
		return 0;
	auto_(doc_unref) struct doc *d =
		default_class(rq, "networking.k8s.io", "ingressclasses", "ingressclass.kubernetes.io/is-default-class");
	if (d)
		node_set_path(ingress, "spec.ingressClassName", node_str(rq->a, doc_name(d)));
	return 0;
}

/* ---- RuntimeClass ---------------------------------------------------------------------------- */

static int add_selector(struct rq *rq, struct node *pod, struct doc *class, struct err *e)
{
	for (struct val_iter it = val_iter(doc_get(class, "scheduling.nodeSelector")); val_next(&it);) {
		struct node *has = node_get(node_path(pod, "spec.nodeSelector"), it.key);
		if (has && !str_eq(node_text_str(has), val_str(it.val)))
			return admit_forbid(rq, rq->name, e,
				"conflict: runtimeClass.scheduling.nodeSelector and pod.spec.nodeSelector differ");
		node_set(node_need_map(pod, "spec.nodeSelector"), arena_str(rq->a, it.key),
			node_str(rq->a, val_str(it.val)));
	}
	return 0;
}

static void add_tolerations(struct rq *rq, struct node *pod, struct doc *class)
{
	for (struct val_iter it = val_iter(doc_get(class, "scheduling.tolerations")); val_next(&it);) {
		struct node *list = node_need_list(pod, "spec.tolerations"), *more = node_from(rq->a, it.val);
		bool there = false;
		for (size_t i = 0; i < node_len(list); i++)
			there |= node_equal(node_at(list, i), more);
		if (!there)
			node_add(list, more);
	}
}

static int runtime_class(struct rq *rq, struct node *pod, struct err *e)
{
	struct str want = node_text_str(node_path(pod, "spec.runtimeClassName"));
	struct node *given = node_path(pod, "spec.overhead");
	auto_(doc_unref) struct doc *class =
		want.n ? api_get(rq->api, "node.k8s.io", "runtimeclasses", STR_NULL, want) : NULL;

	if (want.n && !class)
		return admit_forbid(rq, rq->name, e,
			arena_printf(rq->a, "pod rejected: RuntimeClass \"%.*s\" not found", STR_ARG(want)));
	struct val overhead = class ? doc_get(class, "overhead.podFixed") : VAL_NONE;
	if (node_len(given) && (!class || !node_equal(given, node_from(rq->a, overhead))))
		return admit_forbid(rq, rq->name, e,
			class ? "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead" :
				"pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
	if (!class)
		return 0;
	if (val_len(overhead))
		node_set_path(pod, "spec.overhead", node_from(rq->a, overhead));
	add_tolerations(rq, pod, class);
	return add_selector(rq, pod, class, e);
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct {
	const char *group, *resource;
	int (*create)(struct rq *rq, struct node *object, struct err *e);
} plugins[] = {
	{ "", "persistentvolumeclaims", storage_class },
	{ "", "pods", runtime_class },
	{ "networking.k8s.io", "ingresses", ingress_class },
};

int admit_defaults(struct rq *rq, struct node *object, struct err *e)
{
	const struct resource_def *def = &rq->res->def;

	for (size_t i = 0; i < ARRAY_LEN(plugins); i++)
		if (!strcmp(def->group, plugins[i].group) && !strcmp(def->resource, plugins[i].resource))
			return plugins[i].create(rq, object, e);
	return 0;
}

/* ---- PersistentVolumeClaimResize ------------------------------------------------------------- */

static struct str class_of_claim(struct val claim)
{
	struct val noted = val_get(val_path(claim, "metadata.annotations"), "volume.beta.kubernetes.io/storage-class");

	return val_has(noted) ? val_str(noted) : val_str(val_path(claim, "spec.storageClassName"));
}

int admit_claim_size(struct rq *rq, struct val claim, struct val old, struct err *e)
{
	static const char size[] = "spec.resources.requests.storage";
	struct str class = class_of_claim(claim);
	struct quantity now, was;

	if (rq->sub.n || !val_has(old) || !quantity_of(val_path(claim, size), &now) ||
		!quantity_of(val_path(old, size), &was) || quantity_cmp(now, was) <= 0)
		return 0;
	auto_(doc_unref) struct doc *d =
		class.n ? api_get(rq->api, "storage.k8s.io", "storageclasses", STR_NULL, class) : NULL;
	if (d && doc_bool(d, "allowVolumeExpansion", false))
		return 0;
	return admit_forbid(rq, rq->name, e,
		"only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize");
}

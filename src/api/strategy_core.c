/* Namespaces, nodes, secrets, configmaps, volumes, leases, events, RBAC: the small rules of each. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

static int namespace_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	struct node *spec;

	(void)e;
	if (!val_has(old)) {
		node_setc(o, "status", node_pack(rq->a, "{phase:'Active'}"));
		spec = node_need_map(o, "spec");
		if (!node_len(node_getc(spec, "finalizers")))
			node_setc(spec, "finalizers", node_pack(rq->a, "['kubernetes']"));
		return 0;
	}
	if (!str_is(rq->sub, "finalize")) { /* spec.finalizers only change through their sub-resource */
		struct val f = val_path(old, "spec.finalizers");
		spec = node_need_map(o, "spec");
		if (val_has(f))
			node_setc(spec, "finalizers", node_from(rq->a, f));
		else
			node_delc(spec, "finalizers");
	}
	return 0;
}

static int node_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)e;
	if (!val_has(old) && !node_getc(o, "status"))
		node_setc(o, "status", node_map(rq->a));
	return 0;
}

static void node_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val taints = val_path(o, "spec.taints");

	if (rq->sub.n)
		return;
	for (size_t i = 0; i < val_len(taints); i++) {
		struct val t = val_at(taints, i);
		validate_qualified(e, rq_f(rq, "spec.taints[%zu].key", i), val_str(val_get(t, "key")));
		for (size_t k = 0; k < i; k++)
			if (val_equal(val_get(t, "key"), val_get(val_at(taints, k), "key")) &&
				val_equal(val_get(t, "effect"), val_get(val_at(taints, k), "effect")))
				v_duplicate(e, rq_f(rq, "spec.taints[%zu]", i), val_str(val_get(t, "key")));
	}
	struct val was = val_path(old, "spec.podCIDR");
	if (val_has(old) && val_str(was).n)
		validate_immutable(e, "spec.podCIDR", val_path(o, "spec.podCIDR"), was);
}

/* stringData is written as data, base64, and never read back. */
static int secret_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	struct node *plain = node_getc(o, "stringData");

	(void)old;
	(void)e;
	for (size_t i = 0; i < node_len(plain); i++) {
		struct str k = node_key_at(plain, i);
		char *text = base64_encode(node_text_str(node_get(plain, k)));
		node_set(node_need_map(o, "data"), k, node_c(rq->a, text));
		free(text);
	}
	node_delc(o, "stringData");
	if (!node_text_str(node_getc(o, "type")).n)
		node_setc(o, "type", node_c(rq->a, "Opaque"));
	return 0;
}

static size_t check_keys(struct rq *rq, struct val data, const char *path, struct err *e)
{
	size_t bytes = 0;

	for (struct val_iter it = val_iter(data); val_next(&it);) {
		validate_data_key(e, rq_f(rq, "%s[%.*s]", path, STR_ARG(it.key)), it.key);
		bytes += val_str(it.val).n;
	}
	return bytes;
}

static void check_frozen(struct rq *rq, struct val o, struct val old, const char *const *keys, struct err *e)
{
	if (!val_has(old) || !val_bool(val_get(old, "immutable"), false))
		return;
	if (!val_bool(val_get(o, "immutable"), false))
		v_forbidden(e, "immutable", "field is immutable when `immutable` is set");
	for (; *keys; keys++)
		if ((val_has(val_get(o, *keys)) || val_has(val_get(old, *keys))) &&
			!val_equal(val_get(o, *keys), val_get(old, *keys)))
			v_forbidden(e, *keys, "field is immutable when `immutable` is set");
	(void)rq;
}

static void require_key(struct rq *rq, struct val o, const char *key, struct err *e)
{
	if (!val_has(val_get(val_get(o, "data"), key)))
		v_required(e, rq_f(rq, "data[%s]", key), "");
}

static void secret_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const keys[] = { "data", NULL };
	struct str type = val_str(val_get(o, "type"));

	if (check_keys(rq, val_get(o, "data"), "data", e) > (size_t)1400 * 1024)
		v_too_long(e, "data", 1024 * 1024);
	check_frozen(rq, o, old, keys, e);
	if (str_is(type, "kubernetes.io/tls")) {
		require_key(rq, o, "tls.crt", e);
		require_key(rq, o, "tls.key", e);
	} else if (str_is(type, "kubernetes.io/dockerconfigjson")) {
		require_key(rq, o, ".dockerconfigjson", e);
	} else if (str_is(type, "kubernetes.io/ssh-auth")) {
		require_key(rq, o, "ssh-privatekey", e);
	}
}

static void configmap_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const keys[] = { "data", "binaryData", NULL };
	size_t bytes = check_keys(rq, val_get(o, "data"), "data", e);

	bytes += check_keys(rq, val_get(o, "binaryData"), "binaryData", e) * 3 / 4;
	for (struct val_iter it = val_iter(val_get(o, "data")); val_next(&it);)
		if (val_has(val_get_str(val_get(o, "binaryData"), it.key)))
			v_invalid_str(e, rq_f(rq, "data[%.*s]", STR_ARG(it.key)), it.key,
				"duplicate of key present in binaryData");
	if (bytes > 1024 * 1024)
		v_too_long(e, "[]", 1024 * 1024); /* as upstream names an object's root */
	check_frozen(rq, o, old, keys, e);
}

/* Protection is the work of a controller: without one, the object could never go away. */
static void protect(struct rq *rq, struct node *o, const char *finalizer)
{
	struct node *list = node_path(o, "metadata.finalizers");

	for (size_t i = 0; i < node_len(list); i++)
		if (str_is(node_text_str(node_at(list, i)), finalizer))
			return;
	if (__atomic_load_n(&rq->res->stored->controller_present, __ATOMIC_ACQUIRE))
		node_add(node_need_list(o, "metadata.finalizers"), node_c(rq->a, finalizer));
}

static int pvc_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)e;
	if (val_has(old))
		return 0;
	node_setc(o, "status", node_pack(rq->a, "{phase:'Pending'}"));
	protect(rq, o, "kubernetes.io/pvc-protection");
	return 0;
}

static void as_before(struct node *map, struct node *before, const char *key)
{
	if (node_getc(before, key))
		node_setc(map, key, node_getc(before, key));
	else
		node_delc(map, key);
}

/* A claim is what it was made as; it gets its volume and class, and may ask for more once it is bound. */
static void claim_changes(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const later[] = { "volumeName", "storageClassName" };
	struct node *now = node_from(rq->a, val_get(o, "spec")), *was = node_from(rq->a, val_get(old, "spec"));
	bool bound = val_is(val_path(old, "status.phase"), "Bound");
	struct quantity a, b;

	for (size_t i = 0; i < ARRAY_LEN(later); i++)
		if (!node_text_str(node_getc(was, later[i])).n)
			as_before(now, was, later[i]);
	as_before(now, was, "volumeAttributesClassName");
	if (bound && node_path(now, "resources.requests"))
		as_before(node_path(now, "resources.requests"), node_path(was, "resources.requests"), "storage");
	if (!node_equal(now, was))
		v_forbidden(e, "spec",
			"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
	else if (quantity_of(val_path(o, "spec.resources.requests.storage"), &a) &&
		quantity_of(val_path(old, "spec.resources.requests.storage"), &b) && quantity_cmp(a, b) < 0)
		v_forbidden(e, "spec.resources.requests.storage", "field can not be less than previous value");
}

static void pvc_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	if (rq->sub.n)
		return;
	if (!val_has(val_path(o, "spec.resources.requests.storage")))
		v_required(e, "spec.resources[storage]", "");
	if (val_has(old))
		claim_changes(rq, o, old, e);
}

static int pv_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)e;
	if (val_has(old))
		return 0;
	node_setc(o, "status", node_pack(rq->a, "{phase:'Pending'}"));
	protect(rq, o, "kubernetes.io/pv-protection");
	return 0;
}

static void priorityclass_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	int64_t value = val_int(val_get(o, "value"), 0);
	struct str name = val_str(val_path(o, "metadata.name"));

	(void)rq;
	if (value > 1000000000 && !str_starts(name, STR("system-")))
		v_forbidden(e, "value", "maximum allowed value of a user defined priority is 1000000000");
}

static int event_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)rq;
	(void)o;
	(void)old;
	(void)e;
	return 0;
}

static void runtimeclass_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val handler = val_get(o, "handler"), scheduling = val_get(o, "scheduling");

	if (val_str(handler).n)
		validate_name(e, "handler", val_str(handler), NAME_LABEL);
	validate_amounts(rq, val_path(o, "overhead.podFixed"), "overhead.limits", e);
	validate_labels(rq, val_get(scheduling, "nodeSelector"), "scheduling.nodeSelector", e);
	validate_tolerations(rq, scheduling, "scheduling", e);
	(void)old;
}

static void namespace_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	if (!rq->sub.n && !val_equal(val_path(o, "metadata.labels"), val_path(old, "metadata.labels")))
		podsecurity_labels(rq, val_path(o, "metadata.labels"), e);
}

const struct strategy strategy_namespace = { .prepare = namespace_prepare, .validate = namespace_validate };
const struct strategy strategy_node = { .create_status = true, .prepare = node_prepare, .validate = node_validate };
const struct strategy strategy_secret = { .prepare = secret_prepare, .validate = secret_validate };
const struct strategy strategy_configmap = { .validate = configmap_validate };
const struct strategy strategy_sa = { 0 };
const struct strategy strategy_pvc = { .prepare = pvc_prepare, .validate = pvc_validate };
const struct strategy strategy_pv = { .prepare = pv_prepare };
const struct strategy strategy_lease = { .create_on_update = true };
const struct strategy strategy_priorityclass = { .validate = priorityclass_validate };
const struct strategy strategy_runtimeclass = { .validate = runtimeclass_validate };
const struct strategy strategy_event = { .prepare = event_prepare, .create_on_update = true };

/* PersistentVolumes and their claims on their way in. */
#include "api/api_internal.h"

static const char *const access_modes[] = { "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod",
	NULL };

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

static void validate_access_modes(struct rq *rq, struct val spec, const char *at, const char *none, struct err *e)
{
	struct val modes = val_get(spec, "accessModes");
	char *here = rq_f(rq, "%s.accessModes", at);
	size_t alone = 0;

	if (!val_len(modes))
		v_required(e, here, none);
	for (struct val_iter it = val_iter(modes); val_next(&it);) {
		if (!is_one_of(access_modes, val_str(it.val)))
			v_unsupported(e, here, val_str(it.val), access_modes);
		alone += val_is(it.val, "ReadWriteOncePod");
	}
	if (alone && alone < val_len(modes))
		v_forbidden(e, here, "may not use ReadWriteOncePod with other access modes");
}

/* ---- volumes --------------------------------------------------------------------------------- */

static void validate_capacity(struct rq *rq, struct val capacity, const char *at, struct err *e)
{
	static const char *const known[] = { "storage", NULL };
	struct quantity q;

	if (!val_len(capacity))
		v_required(e, at, "");
	if (!val_has(val_get(capacity, "storage")) || val_len(capacity) > 1)
		v_unsupported_val(e, at, capacity, known);
	for (struct val_iter it = val_iter(capacity); val_next(&it);) {
		char *here = rq_f(rq, "%s[%.*s]", at, STR_ARG(it.key));

		if (!quantity_of(it.val, &q) || q.value > 0)
			continue;
		if (q.value < 0)
			err_cause(e, "FieldValueInvalid", here,
				"Invalid value: %lld: must be a valid resource quantity", (long long)quantity_whole(q));
		v_invalid(e, here, it.val, "must be greater than zero");
	}
}

static void validate_volume_affinity(struct rq *rq, struct val spec, const char *at, struct err *e)
{
	struct val affinity = val_get(spec, "nodeAffinity"), required = val_get(affinity, "required");
	char *here = rq_f(rq, "%s.nodeAffinity", at);

	if (val_has(required))
		validate_node_selector(rq, required, rq_f(rq, "%s.required", here), e);
	else if (val_has(affinity))
		v_required(e, rq_f(rq, "%s.required", here), "must specify required node constraints");
}

/* A volume that is part of an attachment has no life of its own. */
static void validate_inline(struct rq *rq, struct val spec, const char *at, struct err *e)
{
	static const char *const fields[] = { "claimRef", "capacity", "storageClassName" };
	struct val reclaim = val_get(spec, "persistentVolumeReclaimPolicy"), mode = val_get(spec, "volumeMode");

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		struct val v = val_get(spec, fields[i]);

		if (val_kind(v) == VAL_STR ? val_str(v).n > 0 : val_len(v) > 0)
			v_forbidden(e, rq_f(rq, "%s.%s", at, fields[i]),
				"may not be specified in the context of inline volumes");
	}
	if (!val_has(val_get(spec, "csi")))
		v_required(e, rq_f(rq, "%s.csi", at), "has to be specified in the context of inline volumes");
	if (val_str(reclaim).n && !val_is(reclaim, "Retain"))
		v_forbidden(e, rq_f(rq, "%s.persistentVolumeReclaimPolicy", at),
			"may only be Retain in the context of inline volumes");
	if (val_str(mode).n && !val_is(mode, "Filesystem"))
		v_forbidden(e, rq_f(rq, "%s.volumeMode", at),
			"may not specify volumeMode other than Filesystem in the context of inline volumes");
}

void validate_volume_spec(struct rq *rq, struct val spec, const char *at, struct err *e)
{
	validate_inline(rq, spec, at, e);
	validate_access_modes(rq, spec, at, "", e);
	validate_volume_affinity(rq, spec, at, e);
	validate_volume_source(rq, spec, at, e);
}

/* "/", "//", "/./" and the like. */
static bool is_root(struct str path)
{
	bool root = str_starts(path, STR("/"));

	for (struct str part, rest = path; str_next(&rest, '/', &part);)
		root &= !part.n || str_is(part, ".");
	return root;
}

static void volume_changes(struct val spec, struct val was, struct err *e)
{
	if (!same_volume_source(spec, was))
		v_forbidden(
			e, "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
	validate_immutable(e, "volumeMode", val_get(spec, "volumeMode"), val_get(was, "volumeMode"));
	if (val_has(val_get(was, "nodeAffinity")))
		validate_immutable(e, "nodeAffinity", val_get(spec, "nodeAffinity"), val_get(was, "nodeAffinity"));
}

static void pv_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), class = val_get(spec, "storageClassName");

	if (rq->sub.n)
		return;
	validate_access_modes(rq, spec, "spec", "", e);
	validate_capacity(rq, val_get(spec, "capacity"), "spec.capacity", e);
	validate_volume_affinity(rq, spec, "spec", e);
	validate_volume_source(rq, spec, "spec", e);
	if (val_has(val_get(spec, "local")) && !val_has(val_get(spec, "nodeAffinity")))
		v_required(e, "spec.nodeAffinity", "Local volume requires node affinity");
	if (val_is(val_get(spec, "persistentVolumeReclaimPolicy"), "Recycle") &&
		is_root(val_str(val_path(spec, "hostPath.path"))))
		v_forbidden(
			e, "spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'");
	if (val_str(class).n)
		validate_name(e, "spec.storageClassName", val_str(class), NAME_SUBDOMAIN);
	if (val_has(old))
		volume_changes(spec, val_get(old, "spec"), e);
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

/* ---- claims ---------------------------------------------------------------------------------- */

/* dataSource knows claims and snapshots only; dataSourceRef, which came later, says the same and more. */
static void settle_source(struct rq *rq, struct node *spec)
{
	struct node *source = node_getc(spec, "dataSource"), *ref = node_getc(spec, "dataSourceRef");
	struct str group = node_text_str(node_getc(source, "apiGroup")),
		   kind = node_text_str(node_getc(source, "kind"));
	bool claim = !group.n && str_is(kind, "PersistentVolumeClaim"),
	     snapshot = str_is(group, "snapshot.storage.k8s.io") && str_is(kind, "VolumeSnapshot");

	if (source && !claim && !snapshot) {
		node_delc(spec, "dataSource");
		source = NULL;
	}
	if (source && !ref)
		node_setc(spec, "dataSourceRef", node_copy(rq->a, source));
	else if (ref && !source && !node_text_str(node_getc(ref, "namespace")).n)
		node_setc(spec, "dataSource", node_copy(rq->a, ref));
}

static int pvc_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)e;
	if (val_has(old))
		return 0;
	node_setc(o, "status", node_pack(rq->a, "{phase:'Pending'}"));
	if (node_getc(o, "spec"))
		settle_source(rq, node_getc(o, "spec"));
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

static struct quantity amount(struct val v) /* none is 0 */
{
	struct quantity q = { .value = 0 };

	(void)quantity_of(v, &q);
	return q;
}

/* Who asks for less than before takes a wish back; what the volume already has stays. */
static void claim_size(struct val o, struct val old, struct err *e)
{
	static const char size[] = "spec.resources.requests.storage";
	struct quantity now = amount(val_path(o, size)), has = amount(val_path(old, "status.capacity.storage"));

	if (quantity_cmp(now, amount(val_path(old, size))) < 0 && quantity_cmp(now, has) <= 0)
		v_forbidden(e, size, "field can not be less than status.capacity");
}

/* A claim is what it was made as; it gets its volume and class, and may ask for more once it is bound. */
static void claim_changes(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct node *now = node_from(rq->a, val_get(o, "spec")), *was = node_from(rq->a, val_get(old, "spec"));
	bool bound = val_is(val_path(old, "status.phase"), "Bound");

	if (!node_text_str(node_getc(was, "volumeName")).n)
		as_before(now, was, "volumeName");
	if (!node_getc(was, "storageClassName")) /* "" is one, and stays */
		as_before(now, was, "storageClassName");
	as_before(now, was, "volumeAttributesClassName");
	if (bound && node_path(now, "resources.requests"))
		as_before(node_path(now, "resources.requests"), node_path(was, "resources.requests"), "storage");
	if (!node_equal(now, was))
		v_forbidden(e, "spec",
			"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
	claim_size(o, old, e);
	validate_immutable(e, "volumeMode", val_path(o, "spec.volumeMode"), val_path(old, "spec.volumeMode"));
}

static void validate_data_source(struct rq *rq, struct val source, const char *at, struct err *e)
{
	static const char *const fields[] = { "name", "kind" };
	struct str group = val_str(val_get(source, "apiGroup"));

	for (size_t i = 0; val_has(source) && i < ARRAY_LEN(fields); i++)
		if (!val_str(val_get(source, fields[i])).n)
			v_required(e, rq_f(rq, "%s.%s", at, fields[i]), "");
	if (group.n)
		validate_name(e, rq_f(rq, "%s.apiGroup", at), group, NAME_SUBDOMAIN);
	else if (val_has(source) && !val_is(val_get(source, "kind"), "PersistentVolumeClaim"))
		v_invalid_str(e, at, val_str(val_get(source, "kind")), "");
}

static void validate_data_sources(struct rq *rq, struct val spec, struct err *e)
{
	struct val source = val_get(spec, "dataSource"), ref = val_get(spec, "dataSourceRef");

	validate_data_source(rq, source, "spec.dataSource", e);
	validate_data_source(rq, ref, "spec.dataSourceRef", e);
	if (!val_has(source) || !val_has(ref))
		return;
	if (val_str(val_get(ref, "namespace")).n)
		v_invalid(e, "spec", source, "may not be specified when dataSourceRef.namespace is specified");
	else if (!val_equal(val_get(source, "kind"), val_get(ref, "kind")) ||
		!val_equal(val_get(source, "name"), val_get(ref, "name")) ||
		!str_eq(val_str(val_get(source, "apiGroup")), val_str(val_get(ref, "apiGroup"))))
		v_invalid(e, "spec", source, "must match dataSourceRef");
}

/* ---- status of a claim ----------------------------------------------------------------------- */

static void amount_validate(struct rq *rq, const char *at, struct val_iter it, struct err *e)
{
	struct quantity q;

	if (!quantity_of(it.val, &q) || q.value >= 0)
		return;
	err_cause(e, "FieldValueInvalid", rq_f(rq, "%s[%.*s]", at, STR_ARG(it.key)),
		"Invalid value: %lld: must be a valid resource quantity", (long long)quantity_whole(q));
}

/* Of Kubernetes' own resources it is storage alone. */
static void storage_validate(struct str name, const char *at, struct err *e)
{
	static const char *const storage[] = { "storage", NULL };

	validate_qualified(e, at, name);
	if (!qualified_wrong(name, 0) && !str_is(name, "storage") && !resource_extended(name))
		v_unsupported(e, at, name, storage);
}

static void claim_status_validate(struct rq *rq, struct val status, struct err *e)
{
	static const char resizes_at[] = "status.allocatedResourceStatus", amounts_at[] = "status.allocatedResources";
	static const char *const resizes[] = { "ControllerResizeInProgress", "ControllerResizeInfeasible",
		"NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending", NULL };
	static const char *const storage[] = { "storage", NULL };

	for (struct val_iter it = val_iter(val_get(status, "capacity")); val_next(&it);)
		amount_validate(rq, "status.capacity", it, e);
	for (struct val_iter it = val_iter(val_get(status, "allocatedResourceStatuses")); val_next(&it);) {
		storage_validate(it.key, resizes_at, e);
		if (!is_one_of(resizes, val_str(it.val)))
			v_unsupported(e, resizes_at, it.key, resizes);
	}
	for (struct val_iter it = val_iter(val_get(status, "allocatedResources")); val_next(&it);) {
		if (!str_is(it.key, "storage"))
			v_unsupported(e, amounts_at, it.key, storage);
		else
			amount_validate(rq, amounts_at, it, e);
	}
}

static void pvc_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), size = val_path(spec, "resources.requests.storage"),
		   class = val_get(spec, "storageClassName");
	struct quantity q;

	if (rq->sub.n) {
		claim_status_validate(rq, val_get(o, "status"), e);
		return;
	}
	validate_access_modes(rq, spec, "spec", "at least 1 access mode is required", e);
	if (val_has(val_get(spec, "selector")))
		validate_label_selector(rq, val_get(spec, "selector"), "spec.selector", e);
	if (!val_has(size))
		v_required(e, "spec.resources[storage]", "");
	else if (quantity_of(size, &q) && q.value <= 0)
		v_invalid(e, "spec.resources[storage]", size, "must be greater than zero");
	if (val_str(class).n)
		validate_name(e, "spec.storageClassName", val_str(class), NAME_SUBDOMAIN);
	validate_data_sources(rq, spec, e);
	if (val_has(old))
		claim_changes(rq, o, old, e);
}

const struct strategy strategy_pv = { .prepare = pv_prepare, .validate = pv_validate };
const struct strategy strategy_pvc = { .prepare = pvc_prepare, .validate = pvc_validate };

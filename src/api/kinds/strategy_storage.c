/* storage.k8s.io on its way in: classes, drivers, the drivers of a node, attachments. */
#include "api/api_internal.h"

#define PARAMETERS_MAX 512
#define PARAMETERS_BYTES_MAX (256 * 1024)
#define NODE_ID_MAX 192

/* ---- classes --------------------------------------------------------------------------------- */

static void parameters_validate(struct val parameters, struct err *e)
{
	size_t bytes = 0;

	if (val_len(parameters) > PARAMETERS_MAX) {
		v_too_long(e, "parameters", PARAMETERS_MAX);
		return;
	}
	for (struct val_iter it = val_iter(parameters); val_next(&it);) {
		if (!it.key.n)
			v_invalid_str(e, "parameters", it.key, "field can not be empty.");
		bytes += it.key.n + val_str(it.val).n;
	}
	if (bytes > PARAMETERS_BYTES_MAX)
		v_too_long(e, "parameters", PARAMETERS_BYTES_MAX);
}

static void values_validate(struct rq *rq, struct val values, const char *at, struct err *e)
{
	if (!val_len(values))
		v_required(e, at, "");
	for (size_t i = 0; i < val_len(values); i++)
		for (size_t k = 0; k < i; k++)
			if (val_equal(val_at(values, i), val_at(values, k))) {
				v_duplicate(e, rq_f(rq, "%s[%zu]", at, i), val_str(val_at(values, i)));
				break;
			}
}

static void topology_validate(struct rq *rq, struct val terms, size_t i, struct err *e)
{
	struct val list = val_get(val_at(terms, i), "matchLabelExpressions");
	char *at = rq_f(rq, "allowedTopologies[%zu].matchLabelExpressions", i);
	bool again = !val_len(list);

	for (size_t n = 0; n < val_len(list); n++) {
		struct val key = val_get(val_at(list, n), "key");
		char *key_at = rq_f(rq, "%s[%zu].key", at, n);

		values_validate(rq, val_get(val_at(list, n), "values"), rq_f(rq, "%s[%zu].values", at, n), e);
		validate_qualified(e, key_at, val_str(key));
		for (size_t k = 0; k < n; k++)
			if (val_equal(key, val_get(val_at(list, k), "key"))) {
				v_duplicate(e, key_at, val_str(key));
				break;
			}
	}
	for (size_t k = 0; k < i; k++)
		again |= val_equal(list, val_get(val_at(terms, k), "matchLabelExpressions"));
	if (again)
		v_duplicate(e, at, STR(""));
}

static void class_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const reclaim[] = { "Delete", "Retain", NULL };
	struct str provisioner = val_str(val_get(o, "provisioner")), policy = val_str(val_get(o, "reclaimPolicy"));
	struct val topologies = val_get(o, "allowedTopologies");

	(void)old;
	if (provisioner.n)
		validate_qualified_as(e, "provisioner", str_c(rq_lower(rq, provisioner)), provisioner);
	parameters_validate(val_get(o, "parameters"), e);
	if (policy.n && !is_one_of(reclaim, policy))
		v_unsupported(e, "reclaimPolicy", policy, reclaim);
	for (size_t i = 0; i < val_len(topologies); i++)
		topology_validate(rq, topologies, i, e);
}

static void attributes_class_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val parameters = val_get(o, "parameters");

	(void)rq;
	(void)old;
	validate_csi_name(e, "driverName", val_str(val_get(o, "driverName")));
	if (!val_len(parameters))
		v_required(e, "parameters", "must contain at least one key/value pair");
	parameters_validate(parameters, e);
}

static void room_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const amounts[] = { "capacity", "maximumVolumeSize" };
	struct quantity q;

	(void)old;
	if (val_has(val_get(o, "nodeTopology")))
		validate_label_selector(rq, val_get(o, "nodeTopology"), "nodeTopology", e);
	validate_name(e, "storageClassName", val_str(val_get(o, "storageClassName")), NAME_SUBDOMAIN);
	for (size_t i = 0; i < ARRAY_LEN(amounts); i++)
		if (quantity_of(val_get(o, amounts[i]), &q) && q.value < 0)
			v_invalid(e, amounts[i], val_get(o, amounts[i]), "must be greater than or equal to 0");
}

/* ---- drivers --------------------------------------------------------------------------------- */

static void driver_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const modes[] = { "Persistent", "Ephemeral", NULL };
	struct val spec = val_get(o, "spec"), was = val_get(old, "spec");

	(void)rq;
	for (struct val_iter it = val_iter(val_get(spec, "volumeLifecycleModes")); val_next(&it);)
		if (!is_one_of(modes, val_str(it.val)))
			v_unsupported(e, "spec.volumeLifecycleModes", val_str(it.val), modes);
	if (!val_has(old))
		return;
	validate_immutable(/* upstream's spelling */
		e, "spec.attachedRequired", val_get(spec, "attachRequired"), val_get(was, "attachRequired"));
	validate_immutable(e, "spec.volumeLifecycleModes", val_get(spec, "volumeLifecycleModes"),
		val_get(was, "volumeLifecycleModes"));
}

static void topology_keys_validate(struct val keys, const char *at, struct err *e)
{
	for (size_t i = 0; i < val_len(keys); i++) {
		struct str key = val_str(val_at(keys, i));

		for (size_t k = 0; k < i; k++)
			if (str_eq(key, val_str(val_at(keys, k))))
				v_duplicate(e, at, key);
		if (!key.n)
			v_required(e, at, "");
		for (size_t n = 0; n < 3; n++) /* each of the sentences, about all the keys */
			if (qualified_wrong(key, n))
				v_invalid(e, at, keys, qualified_wrong(key, n));
	}
}

static void node_driver_validate(struct rq *rq, struct val drivers, size_t i, struct err *e)
{
	struct val d = val_at(drivers, i), id = val_get(d, "nodeID"), count = val_path(d, "allocatable.count");
	char *at = rq_f(rq, "spec.drivers[%zu]", i), *id_at = rq_f(rq, "%s.nodeID", at);

	validate_csi_name(e, rq_f(rq, "%s.name", at), val_str(val_get(d, "name")));
	if (!val_str(id).n)
		v_required(e, id_at, "");
	if (val_str(id).n > NODE_ID_MAX)
		v_invalid(e, id_at, id, rq_f(rq, "must be %d characters or less", NODE_ID_MAX));
	if (val_int(count, 0) < 0)
		v_invalid(e, rq_f(rq, "%s.allocatable.count", at), count, "must be greater than or equal to 0");
	for (size_t k = 0; k < i; k++)
		if (val_equal(val_get(d, "name"), val_get(val_at(drivers, k), "name"))) {
			v_duplicate(e, rq_f(rq, "%s.name", at), val_str(val_get(d, "name")));
			break;
		}
	topology_keys_validate(val_get(d, "topologyKeys"), at, e);
}

static void csinode_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const fixed[] = { "nodeID", "topologyKeys" };
	struct val drivers = val_path(o, "spec.drivers"), were = val_path(old, "spec.drivers");

	for (size_t i = 0; i < val_len(drivers); i++)
		node_driver_validate(rq, drivers, i, e);
	for (struct val_iter it = val_iter(drivers); val_next(&it);) {
		struct val was = val_find(were, "name", val_str(val_get(it.val, "name")));
		bool same = true;

		for (size_t k = 0; val_has(was) && k < ARRAY_LEN(fixed); k++)
			same &= val_equal(val_get(it.val, fixed[k]), val_get(was, fixed[k]));
		if (!same)
			v_invalid(e, "CSINodeDriver", it.val, "field is immutable");
	}
}

/* ---- attachments ----------------------------------------------------------------------------- */

static void attached_validate(struct rq *rq, struct val spec, struct err *e)
{
	static const char one[] = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
	struct val name = val_path(spec, "source.persistentVolumeName"),
		   inlined = val_path(spec, "source.inlineVolumeSpec");

	if (!val_has(name) && !val_has(inlined))
		v_required(e, "spec.source", one);
	else if (val_has(name) && val_has(inlined))
		v_forbidden(e, "spec.source", one);
	else if (val_has(inlined))
		validate_volume_spec(rq, inlined, "spec.source.inlineVolumeSpec", e);
	else if (!val_str(name).n)
		v_required(e, "spec.source.persistentVolumeName", "must specify non empty persistentVolumeName");
}

/* The shape of names is looked at when it is new: what v1 wants beyond its forerunners. */
static void attachment_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), name = val_path(spec, "source.persistentVolumeName");
	struct str attacher = val_str(val_get(spec, "attacher"));

	if (rq->sub.n)
		return;
	if (!val_has(old))
		validate_csi_name(e, "spec.attacher", attacher);
	else if (!attacher.n)
		v_required(e, "spec.attacher", "");
	attached_validate(rq, spec, e);
	validate_name(e, "spec.nodeName", val_str(val_get(spec, "nodeName")), NAME_SUBDOMAIN);
	if (val_has(name) && !val_has(old))
		validate_name(e, "spec.source.persistentVolumeName", val_str(name), NAME_SUBDOMAIN);
}

const struct strategy strategy_storageclass = { .validate = class_validate };
const struct strategy strategy_attributesclass = { .validate = attributes_class_validate };
const struct strategy strategy_csicapacity = { .validate = room_validate };
const struct strategy strategy_csidriver = { .validate = driver_validate };
const struct strategy strategy_csinode = { .validate = csinode_validate };
const struct strategy strategy_attachment = { .validate = attachment_validate };

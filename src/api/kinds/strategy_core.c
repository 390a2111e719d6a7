/* Namespaces, secrets, configmaps, leases, events, priority classes, templates: the small rules of each. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

/* A default, which a name that was made only now did not get. */
static void label_with_name(struct rq *rq, struct node *o)
{
	struct node *labels = node_need_map(o, "metadata.labels");

	if (rq->name.n && !node_getc(labels, "kubernetes.io/metadata.name"))
		node_setc(labels, "kubernetes.io/metadata.name", node_str(rq->a, rq->name));
}

static int namespace_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	struct node *spec;

	(void)e;
	if (!val_has(old)) {
		label_with_name(rq, o);
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

/* stringData is written as data, base64, and never read back. */
static void secret_fold(struct rq *rq, struct node *o)
{
	struct node *plain = node_getc(o, "stringData");

	for (size_t i = 0; i < node_len(plain); i++) {
		struct str k = node_key_at(plain, i);
		char *text = base64_encode(node_text_str(node_get(plain, k)));
		node_set(node_need_map(o, "data"), k, node_c(rq->a, text));
		free(text);
	}
	node_delc(o, "stringData");
}

static int secret_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	(void)old;
	(void)e;
	secret_fold(rq, o); /* a webhook may have added some */
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

/* Of a Secret whose type says what is in it. */
static void require_key(struct rq *rq, struct val o, const char *key, bool filled, struct err *e)
{
	struct val v = val_get(val_get(o, "data"), key);

	if (!val_has(v) || (filled && !val_str(v).n))
		v_required(e, rq_f(rq, "data[%s]", key), "");
}

static void require_json(struct rq *rq, struct val o, const char *key, struct err *e)
{
	struct val v = val_get(val_get(o, "data"), key);
	auto_buf struct buf text = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;
	char *at = rq_f(rq, "data[%s]", key);
	struct err why;

	err_init(&why);
	if (!val_has(v))
		v_required(e, at, "");
	else if (base64_decode(val_str(v), &text) < 0 || doc_parse_lenient(buf_view(&text), NULL, NULL, &d, &why) < 0)
		v_invalid_str(e, at, STR("<secret contents redacted>"), why.message);
	else if (val_kind(doc_root(d)) != VAL_MAP)
		v_invalid_str(e, at, STR("<secret contents redacted>"), "must be a JSON object");
}

static void require_by_type(struct rq *rq, struct val o, struct err *e)
{
	static const char account[] = "kubernetes.io/service-account.name";
	struct str type = val_str(val_get(o, "type"));
	struct val data = val_get(o, "data");

	if (str_is(type, "kubernetes.io/tls")) {
		require_key(rq, o, "tls.crt", false, e);
		require_key(rq, o, "tls.key", false, e);
	} else if (str_is(type, "kubernetes.io/dockercfg")) {
		require_json(rq, o, ".dockercfg", e);
	} else if (str_is(type, "kubernetes.io/dockerconfigjson")) {
		require_json(rq, o, ".dockerconfigjson", e);
	} else if (str_is(type, "kubernetes.io/ssh-auth")) {
		require_key(rq, o, "ssh-privatekey", true, e);
	} else if (str_is(type, "kubernetes.io/basic-auth") && !val_has(val_get(data, "username")) &&
		!val_has(val_get(data, "password"))) {
		require_key(rq, o, "username", false, e);
		require_key(rq, o, "password", false, e);
	} else if (str_is(type, "kubernetes.io/service-account-token") &&
		!val_str(val_get(val_path(o, "metadata.annotations"), account)).n) {
		v_required(e, rq_f(rq, "metadata.annotations[%s]", account), "");
	}
}

static void secret_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const keys[] = { "data", NULL };

	if (check_keys(rq, val_get(o, "data"), "data", e) > (size_t)1400 * 1024)
		v_too_long(e, "data", 1024 * 1024);
	check_frozen(rq, o, old, keys, e);
	require_by_type(rq, o, e);
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

/* The two classes that the system brings, and what they are worth. */
static const char *system_class_wrong(struct rq *rq, struct val o, struct str name)
{
	static const struct {
		const char *name;
		int64_t value;
	} known[] = { { "system-node-critical", 2000001000 }, { "system-cluster-critical", 2000000000 } };

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (!str_is(name, known[i].name))
			continue;
		if (val_int(val_get(o, "value"), 0) != known[i].value)
			return rq_f(
				rq, "value of %s PriorityClass must be %lld", known[i].name, (long long)known[i].value);
		if (val_bool(val_get(o, "globalDefault"), false))
			return rq_f(rq, "globalDefault of %s PriorityClass must be false", known[i].name);
		return NULL;
	}
	return rq_f(rq, "%.*s is not a known system priority class", STR_ARG(name));
}

static void priorityclass_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct str name = val_str(val_path(o, "metadata.name"));
	const char *why;

	if (val_has(old)) /* what may change is fixed by the type */
		return;
	if (!str_starts(name, STR("system-"))) {
		if (val_int(val_get(o, "value"), 0) > 1000000000)
			v_forbidden(e, "value", "maximum allowed value of a user defined priority is 1000000000");
	} else if ((why = system_class_wrong(rq, o, name))) {
		v_forbidden(e, "metadata.name",
			rq_f(rq,
				"priority class names with 'system-' prefix are reserved for system use only. error: %s",
				why));
	}
}

static void template_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	(void)old;
	validate_pod_template(rq, val_get(o, "template"), "template", VAL_NONE, NULL, e);
}

static void runtimeclass_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val handler = val_get(o, "handler"), scheduling = val_get(o, "scheduling");

	validate_name(e, "handler", val_str(handler), NAME_LABEL);
	validate_amounts(rq, val_path(o, "overhead.podFixed"), "overhead.limits", e);
	validate_labels(rq, val_get(scheduling, "nodeSelector"), "scheduling.nodeSelector", e);
	validate_tolerations(rq, scheduling, "scheduling", e);
	validate_differ(rq, val_get(scheduling, "tolerations"), "scheduling.tolerations", e);
	(void)old;
}

/* What its end began with, its phase says. */
/* Of its secrets nothing but their names. */
static int sa_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	struct node *list = node_getc(o, "secrets");

	(void)old;
	(void)e;
	for (size_t i = 0; i < node_len(list); i++) {
		struct str name = node_text_str(node_getc(node_at(list, i), "name"));

		node_assign(node_at(list, i), name.n ? node_pack(rq->a, "{name:S}", name) : node_map(rq->a));
	}
	return 0;
}

static void phase_validate(struct val o, struct err *e)
{
	bool ends = val_has(val_path(o, "metadata.deletionTimestamp"));
	struct str phase = val_str(val_path(o, "status.phase"));

	if (!str_is(phase, ends ? "Terminating" : "Active"))
		v_invalid_str(e, "status.Phase", phase,
			ends ? "may only be 'Terminating' if `deletionTimestamp` is not empty" :
			       "may only be 'Active' if `deletionTimestamp` is empty");
}

static void namespace_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	if (str_is(rq->sub, "status"))
		phase_validate(o, e);
	for (struct val_iter it = val_iter(val_path(o, "spec.finalizers")); val_next(&it);) {
		validate_qualified(e, "spec.finalizers", val_str(it.val));
		if (!str_has(val_str(it.val), STR("/")) && !finalizer_known(val_str(it.val)))
			v_invalid(e, "spec.finalizers", it.val,
				"name is neither a standard finalizer name nor is it fully qualified");
	}
	if (!rq->sub.n && !val_equal(val_path(o, "metadata.labels"), val_path(old, "metadata.labels")))
		podsecurity_labels(rq, val_path(o, "metadata.labels"), e);
}

const struct strategy strategy_namespace = { .prepare = namespace_prepare, .validate = namespace_validate };
const struct strategy strategy_secret = { .fold = secret_fold, .prepare = secret_prepare, .validate = secret_validate };
const struct strategy strategy_configmap = { .validate = configmap_validate };
const struct strategy strategy_sa = { .prepare = sa_prepare };
const struct strategy strategy_lease = { .create_on_update = true };
const struct strategy strategy_priorityclass = { .validate = priorityclass_validate };
const struct strategy strategy_runtimeclass = { .validate = runtimeclass_validate };
const struct strategy strategy_podtemplate = { .validate = template_validate };

/* The environment of a container: services, envFrom, env with references, and $(NAME) expansion. Later names win. */
#include "node/node_internal.h"
#include <ctype.h>

#define LOG_MODULE "node"

static void env_set(struct env_ctx *x, struct env *env, const char *name, char *value)
{
	for (size_t i = 0; i < env->n; i++) {
		if (strcmp(env->v[i].name, name) == 0) {
			env->v[i].value = value;
			return;
		}
	}
	ARENA_GROW(x->a, env->v, env->n, env->cap, 16);
	env->v[env->n++] = (struct env_var){ arena_strdup(x->a, name), value };
}

const char *env_get(const struct env *env, struct str name)
{
	for (size_t i = 0; env && i < env->n; i++)
		if (str_is(name, env->v[i].name))
			return env->v[i].value;
	return NULL;
}

/* $(NAME) becomes its value, $$ becomes $, and what names nothing known stays as it is written. */
char *env_expand(struct arena *a, struct str text, const struct env *env)
{
	auto_buf struct buf out = BUF_INIT;

	for (size_t i = 0; i < text.n;) {
		const char *end, *value;
		if (text.p[i] != '$' || i + 1 == text.n) {
			buf_byte(&out, text.p[i++]);
			continue;
		}
		if (text.p[i + 1] == '$') {
			buf_byte(&out, '$');
			i += 2;
			continue;
		}
		end = text.p[i + 1] == '(' ? memchr(text.p + i, ')', text.n - i) : NULL;
		value = end ? env_get(env, str_n(text.p + i + 2, (size_t)(end - text.p) - i - 2)) : NULL;
		if (value) {
			buf_c(&out, value);
			i = (size_t)(end - text.p) + 1;
		} else if (end) {
			buf_add(&out, text.p + i, (size_t)(end - text.p) + 1 - i);
			i = (size_t)(end - text.p) + 1;
		} else {
			buf_byte(&out, text.p[i++]);
		}
	}
	return arena_cstr(a, buf_view(&out));
}

/* ---- services -------------------------------------------------------------------------------- */

static char *env_name(struct arena *a, struct str s)
{
	char *t = arena_cstr(a, s);

	for (char *c = t; *c; c++)
		*c = *c == '-' || *c == '.' ? '_' : (char)toupper((unsigned char)*c);
	return t;
}

static void add_service(struct env_ctx *x, struct env *env, struct doc *svc)
{
	struct arena *a = x->a;
	char *name = env_name(a, doc_name(svc));
	char *ip = arena_cstr(a, doc_str(svc, "spec.clusterIP"));
	const char *host = strchr(ip, ':') ? arena_printf(a, "[%s]", ip) : ip;
	struct val ports = doc_get(svc, "spec.ports");

	env_set(x, env, arena_printf(a, "%s_SERVICE_HOST", name), ip);
	for (struct val_iter it = val_iter(ports); val_next(&it);) {
		long long port = (long long)val_int(val_get(it.val, "port"), 0);
		struct str proto = val_str(val_get(it.val, "protocol"));
		struct str pname = val_str(val_get(it.val, "name"));
		char *up = env_name(a, str_empty(proto) ? STR("TCP") : proto);
		char *low = arena_strdup(a, up);
		char *text = arena_printf(a, "%lld", port), *url, *base;

		for (char *c = low; *c; c++)
			*c = (char)tolower((unsigned char)*c);
		url = arena_printf(a, "%s://%s:%lld", low, host, port);
		if (it.i == 0) {
			env_set(x, env, arena_printf(a, "%s_SERVICE_PORT", name), text);
			env_set(x, env, arena_printf(a, "%s_PORT", name), url);
		}
		if (!str_empty(pname))
			env_set(x, env, arena_printf(a, "%s_SERVICE_PORT_%s", name, env_name(a, pname)), text);
		base = arena_printf(a, "%s_PORT_%lld_%s", name, port, up);
		env_set(x, env, base, url);
		env_set(x, env, arena_printf(a, "%s_PROTO", base), low);
		env_set(x, env, arena_printf(a, "%s_PORT", base), text);
		env_set(x, env, arena_printf(a, "%s_ADDR", base), ip);
	}
}

static bool has_cluster_ip(struct doc *svc)
{
	struct str ip = doc_str(svc, "spec.clusterIP");

	return !str_empty(ip) && !str_is(ip, "None");
}

static void add_services(struct env_ctx *x, struct env *env)
{
	struct informer_list l = x->services;
	struct str ns = doc_ns(x->pod);
	bool links = doc_bool(x->pod, "spec.enableServiceLinks", true);

	if (x->n && x->n->o.services && !x->fake_services)
		l = informer_list(x->n->o.services, x->a, NULL, STR_NULL);
	for (size_t i = 0; i < l.n; i++) { /* the API's own address is always told */
		if (str_is(doc_name(l.items[i]), "kubernetes") && str_is(doc_ns(l.items[i]), "default") &&
			has_cluster_ip(l.items[i]))
			add_service(x, env, l.items[i]);
	}
	for (size_t i = 0; links && i < l.n; i++)
		if (str_eq(doc_ns(l.items[i]), ns) && has_cluster_ip(l.items[i]))
			add_service(x, env, l.items[i]);
}

/* ---- references ------------------------------------------------------------------------------ */

static char *join_ips(struct env_ctx *x, const char *const *ips, size_t n)
{
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < n; i++)
		buf_printf(&b, "%s%s", i ? "," : "", ips[i]);
	return arena_cstr(x->a, buf_view(&b));
}

/* metadata.annotations['key'] and metadata.labels['key'] */
static bool subscript(struct str path, struct str base, struct str *ret_key)
{
	if (!str_starts(path, base) || path.n < base.n + 4 || path.p[base.n] != '[')
		return false;
	*ret_key = str_n(path.p + base.n + 2, path.n - base.n - 4);
	return true;
}

static char *map_lines(struct arena *a, struct val map)
{
	auto_buf struct buf b = BUF_INIT;

	for (struct val_iter it = val_iter(map); val_next(&it);) {
		struct str v = val_str(it.val);
		buf_printf(&b, "%s%.*s=\"", it.i ? "\n" : "", STR_ARG(it.key));
		for (size_t i = 0; i < v.n; i++) {
			char c = v.p[i];
			if (c == '"' || c == '\\')
				buf_byte(&b, '\\');
			if (c == '\n')
				buf_c(&b, "\\n");
			else if (c == '\t')
				buf_c(&b, "\\t");
			else
				buf_byte(&b, c);
		}
		buf_byte(&b, '"');
	}
	return arena_cstr(a, buf_view(&b));
}

int env_field(struct env_ctx *x, struct val field_ref, char **ret, struct err *e)
{
	struct str path = val_str(val_get(field_ref, "fieldPath")), key;
	struct arena *a = x->a;

	if (str_is(path, "metadata.name") || str_is(path, "metadata.namespace") || str_is(path, "metadata.uid") ||
		str_is(path, "spec.nodeName") || str_is(path, "spec.serviceAccountName"))
		*ret = arena_cstr(a, doc_str(x->pod, arena_cstr(a, path)));
	else if (str_is(path, "metadata.labels") || str_is(path, "metadata.annotations"))
		*ret = map_lines(a, doc_get(x->pod, arena_cstr(a, path)));
	else if (subscript(path, STR("metadata.labels"), &key))
		*ret = arena_cstr(a, val_str(val_get_str(doc_get(x->pod, "metadata.labels"), key)));
	else if (subscript(path, STR("metadata.annotations"), &key))
		*ret = arena_cstr(a, val_str(val_get_str(doc_get(x->pod, "metadata.annotations"), key)));
	else if (str_is(path, "status.podIP"))
		*ret = arena_strdup(a, x->pod_ip ? x->pod_ip : "");
	else if (str_is(path, "status.podIPs"))
		*ret = join_ips(x, x->pod_ips, x->n_pod_ips);
	else if (str_is(path, "status.hostIP"))
		*ret = join_ips(x, x->host_ips, MIN(x->n_host_ips, (size_t)1));
	else if (str_is(path, "status.hostIPs"))
		*ret = join_ips(x, x->host_ips, x->n_host_ips);
	else
		return err_set(e, ERR_INVALID, "fieldPath \"%.*s\" is not one that can be referred to", STR_ARG(path));
	return 0;
}

static int64_t divide_up(int64_t v, int64_t by)
{
	return by > 0 ? (v + by - 1) / by : v;
}

int env_resource(struct env_ctx *x, struct val ref, struct val container, char **ret, struct err *e)
{
	struct str name = val_str(val_get(ref, "containerName"));
	struct str what = val_str(val_get(ref, "resource"));
	struct quantity divisor;
	struct resources r;
	struct val named = container;
	int64_t value;
	bool cpu;

	if (!str_empty(name))
		named = pod_container_spec(x->pod, name);
	if (!val_has(named))
		return err_set(e, ERR_INVALID, "resourceFieldRef names no container (\"%.*s\")", STR_ARG(name));
	resources_of(named, &r);
	cpu = str_is(what, "limits.cpu") || str_is(what, "requests.cpu");
	if (str_is(what, "limits.cpu"))
		value = r.cpu_limit_milli ? r.cpu_limit_milli : x->node_cpu_milli;
	else if (str_is(what, "requests.cpu"))
		value = r.cpu_request_milli;
	else if (str_is(what, "limits.memory"))
		value = r.mem_limit ? r.mem_limit : x->node_mem;
	else if (str_is(what, "requests.memory"))
		value = r.mem_request;
	else if (str_ends(what, STR(".ephemeral-storage")))
		value = 0;
	else
		return err_set(e, ERR_INVALID, "resourceFieldRef: resource \"%.*s\" is not known", STR_ARG(what));
	if (!quantity_of(val_get(ref, "divisor"), &divisor) || divisor.value == 0)
		divisor = (struct quantity){ .value = 1 };
	value = cpu ? divide_up(value, quantity_milli(divisor)) : divide_up(value, quantity_whole(divisor));
	*ret = arena_printf(x->a, "%lld", (long long)value);
	return 0;
}

/* own: one reference; NULL with 0: missing but optional */
static int get_object(struct env_ctx *x, struct gvr r, struct val ref, struct doc **ret, struct err *e)
{
	struct str name = val_str(val_get(ref, "name"));
	bool secret = gvr_eq(r, res_secrets);
	int code = x->object(x->object_arg, r, doc_ns(x->pod), name, ret, e);

	*ret = code < 0 ? NULL : *ret;
	if (code == -ERR_NOT_FOUND && val_bool(val_get(ref, "optional"), false))
		return 0;
	if (code == -ERR_NOT_FOUND)
		return err_set(
			e, ERR_NOT_FOUND, "%s \"%.*s\" not found", secret ? "secret" : "configmap", STR_ARG(name));
	return code;
}

/* Secrets are base64 in the API. The value is cut at a NUL byte, as execve would do. */
static char *object_value(struct arena *a, bool secret, struct val v)
{
	auto_buf struct buf b = BUF_INIT;

	if (!secret)
		return arena_cstr(a, val_str(v));
	if (base64_decode(val_str(v), &b) < 0)
		return arena_strdup(a, "");
	return arena_cstr(a, buf_view(&b));
}

static int env_key(struct env_ctx *x, struct gvr r, struct val ref, char **ret, struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct str key = val_str(val_get(ref, "key"));
	bool secret = gvr_eq(r, res_secrets);
	int code = get_object(x, r, ref, &d, e);

	if (code < 0)
		return code;
	struct val v = d ? val_get_str(doc_get(d, "data"), key) : VAL_NONE;
	if (!val_has(v)) {
		if (val_bool(val_get(ref, "optional"), false))
			return 0;
		return err_set(e, ERR_NOT_FOUND, "couldn't find key %.*s in %s %.*s/%.*s", STR_ARG(key),
			secret ? "Secret" : "ConfigMap", STR_ARG(doc_ns(x->pod)),
			STR_ARG(val_str(val_get(ref, "name"))));
	}
	*ret = object_value(x->a, secret, v);
	return 0;
}

static int add_from(struct env_ctx *x, struct env *env, struct val from, struct err *e)
{
	struct str prefix = val_str(val_get(from, "prefix"));
	bool secret = val_has(val_get(from, "secretRef"));
	auto_(doc_unref) struct doc *d = NULL;
	int r = get_object(
		x, secret ? res_secrets : res_configmaps, val_get(from, secret ? "secretRef" : "configMapRef"), &d, e);

	if (r < 0 || !d)
		return r;
	for (struct val_iter it = val_iter(doc_get(d, "data")); val_next(&it);) {
		char *name = arena_printf(x->a, "%.*s%.*s", STR_ARG(prefix), STR_ARG(it.key));
		env_set(x, env, name, object_value(x->a, secret, it.val));
	}
	return 0;
}

static int value_from(struct env_ctx *x, struct val from, struct val container, char **ret, struct err *e)
{
	struct val v;

	if (val_has(v = val_get(from, "fieldRef")))
		return env_field(x, v, ret, e);
	if (val_has(v = val_get(from, "resourceFieldRef")))
		return env_resource(x, v, container, ret, e);
	if (val_has(v = val_get(from, "configMapKeyRef")))
		return env_key(x, res_configmaps, v, ret, e);
	if (val_has(v = val_get(from, "secretKeyRef")))
		return env_key(x, res_secrets, v, ret, e);
	return err_set(e, ERR_UNSUPPORTED, "env: a valueFrom of this type is not supported");
}

int env_build(struct env_ctx *x, struct val container, struct env *ret, struct err *e)
{
	struct env env = { 0 };
	int r;

	add_services(x, &env);
	for (struct val_iter it = val_iter(val_get(container, "envFrom")); val_next(&it);) {
		r = add_from(x, &env, it.val, e);
		if (r < 0)
			return r;
	}
	for (struct val_iter it = val_iter(val_get(container, "env")); val_next(&it);) {
		struct val from = val_get(it.val, "valueFrom");
		char *name = arena_cstr(x->a, val_str(val_get(it.val, "name"))), *value = NULL;

		if (val_kind(from) == VAL_MAP) {
			r = value_from(x, from, container, &value, e);
			if (r < 0)
				return r;
			if (!value)
				continue; /* optional and missing */
		} else {
			value = env_expand(x->a, val_str(val_get(it.val, "value")), &env);
		}
		env_set(x, &env, name, value);
	}
	*ret = env;
	return 0;
}

static int object_of_node(void *arg, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e)
{
	return objects_get(((struct node_agent *)arg)->objects, r, ns, name, ret, e);
}

void env_ctx_of(struct env_ctx *x, struct pod *p, struct doc *d, struct arena *a)
{
	*x = (struct env_ctx){
		.a = a,
		.n = p->n,
		.pod = d,
		.pod_ip = p->n_ips ? p->ips[0] : "",
		.host_ips = p->n->o.node_ips,
		.n_host_ips = p->n->o.n_node_ips,
		.pod_ips = (const char *const *)p->ips,
		.n_pod_ips = p->n_ips,
		.node_name = p->n->o.node_name,
		.node_cpu_milli = allocatable_cpu_milli(p->n),
		.node_mem = allocatable_memory_bytes(p->n),
		.object = object_of_node,
		.object_arg = p->n,
	};
}

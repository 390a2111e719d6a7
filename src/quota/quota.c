#include "quota/quota.h"
#include <stdio.h>

#define STORAGE_CLASS ".storageclass.storage.k8s.io/"

/* ---- lists ----------------------------------------------------------------------------------- */

static size_t place(const struct quota_list *l, struct str name, bool *found)
{
	size_t i = 0;

	while (i < l->n && str_cmp(l->items[i].name, name) < 0)
		i++;
	*found = i < l->n && str_eq(l->items[i].name, name);
	return i;
}

const struct quantity *quota_get(const struct quota_list *l, struct str name)
{
	bool found;
	size_t i = place(l, name, &found);

	return found ? &l->items[i].q : NULL;
}

void quota_set(struct quota_list *l, struct str name, struct quantity q)
{
	bool found;
	size_t i = place(l, name, &found);

	if (found) {
		l->items[i].q = q;
		return;
	}
	ARENA_GROW(l->a, l->items, l->n, l->cap, 8);
	memmove(l->items + i + 1, l->items + i, (l->n - i) * sizeof(*l->items));
	l->items[i] = (struct quota_amount){ arena_str(l->a, name), q };
	l->n++;
}

void quota_add(struct quota_list *l, struct str name, struct quantity q)
{
	const struct quantity *has = quota_get(l, name);

	quota_set(l, name, has ? quantity_add(*has, q) : q);
}

void quota_add_all(struct quota_list *l, const struct quota_list *more)
{
	for (size_t i = 0; i < more->n; i++)
		quota_add(l, more->items[i].name, more->items[i].q);
}

static void raise_to(struct quota_list *l, const struct quota_list *other)
{
	for (size_t i = 0; i < other->n; i++) {
		const struct quantity *has = quota_get(l, other->items[i].name);

		if (!has || quantity_cmp(*has, other->items[i].q) < 0)
			quota_set(l, other->items[i].name, other->items[i].q);
	}
}

void quota_read(struct quota_list *l, struct val map)
{
	struct quantity q;

	for (struct val_iter it = val_iter(map); val_next(&it);)
		if (quantity_of(it.val, &q))
			quota_set(l, it.key, q);
}

struct node *quota_node(struct arena *a, const struct quota_list *l)
{
	struct node *n = node_map(a);
	char text[QUANTITY_TEXT_MAX];

	for (size_t i = 0; i < l->n; i++) {
		quantity_text(l->items[i].q, text);
		node_set(n, l->items[i].name, node_c(a, text));
	}
	return n;
}

struct str quota_text(struct arena *a, const struct quota_list *l)
{
	auto_buf struct buf b = BUF_INIT;
	char text[QUANTITY_TEXT_MAX];

	for (size_t i = 0; i < l->n; i++) {
		quantity_text(l->items[i].q, text);
		buf_printf(&b, "%s%.*s=%s", i ? "," : "", STR_ARG(l->items[i].name), text);
	}
	return arena_str(a, buf_view(&b));
}

/* ---- pods ------------------------------------------------------------------------------------ */

static void pod_total(struct val pod, const char *what, struct quota_list *ret)
{
	struct val spec = val_get(pod, "spec"), own = val_get(val_get(spec, "resources"), what);
	struct quota_list most = QUOTA_LIST(ret->a), sidecars = QUOTA_LIST(ret->a);

	for (struct val_iter it = val_iter(val_get(spec, "containers")); val_next(&it);) {
		struct quota_list one = QUOTA_LIST(ret->a);
		quota_read(&one, val_get(val_get(it.val, "resources"), what));
		quota_add_all(ret, &one);
	}
	/* Init containers run one after the other beside the sidecars that began before them. */
	for (struct val_iter it = val_iter(val_get(spec, "initContainers")); val_next(&it);) {
		struct quota_list one = QUOTA_LIST(ret->a);
		bool sidecar = val_is(val_get(it.val, "restartPolicy"), "Always");

		quota_read(&one, val_get(val_get(it.val, "resources"), what));
		if (sidecar) {
			quota_add_all(ret, &one);
			quota_add_all(&sidecars, &one);
		} else {
			quota_add_all(&one, &sidecars);
		}
		raise_to(&most, sidecar ? &sidecars : &one);
	}
	raise_to(ret, &most);
	struct quota_list pod_level = QUOTA_LIST(ret->a);
	quota_read(&pod_level, own);
	for (size_t i = 0; i < pod_level.n; i++)
		quota_set(ret, pod_level.items[i].name, pod_level.items[i].q);
	struct quota_list overhead = QUOTA_LIST(ret->a);
	quota_read(&overhead, val_get(spec, "overhead"));
	for (size_t i = 0; i < overhead.n; i++)
		if (!strcmp(what, "requests") || quota_get(ret, overhead.items[i].name))
			quota_add(ret, overhead.items[i].name, overhead.items[i].q);
}

void quota_pod_resources(struct val pod, struct quota_list *requests, struct quota_list *limits)
{
	pod_total(pod, "requests", requests);
	pod_total(pod, "limits", limits);
}

static bool native(struct str name)
{
	return str_is(name, "cpu") || str_is(name, "memory") || str_is(name, "ephemeral-storage");
}

static bool extended(struct str name)
{
	return str_has(name, STR("/")) && !str_has(name, STR("kubernetes.io/")) && !str_starts(name, STR("requests."));
}

static void prefixed(struct quota_list *ret, const char *prefix, struct quota_amount x)
{
	quota_set(ret, arena_strf(ret->a, "%s%.*s", prefix, STR_ARG(x.name)), x.q);
}

/* The names under which requests and limits are counted. */
static void compute_names(const struct quota_list *requests, const struct quota_list *limits, struct quota_list *ret)
{
	for (size_t i = 0; i < requests->n; i++) {
		struct quota_amount x = requests->items[i];
		bool plain = native(x.name) || str_starts(x.name, STR("hugepages-"));

		if (plain)
			quota_set(ret, x.name, x.q);
		if (plain || extended(x.name))
			prefixed(ret, "requests.", x);
	}
	for (size_t i = 0; i < limits->n; i++)
		if (native(limits->items[i].name))
			prefixed(ret, "limits.", limits->items[i]);
}

static bool pod_over(struct val pod, int64_t now_s)
{
	struct val phase = val_path(pod, "status.phase"), deleted = val_path(pod, "metadata.deletionTimestamp");
	struct wall w;

	if (val_is(phase, "Succeeded") || val_is(phase, "Failed"))
		return true;
	if (!val_has(deleted) || !wall_parse(val_str(deleted), &w))
		return false;
	return now_s > wall_s(w) + val_int(val_path(pod, "metadata.deletionGracePeriodSeconds"), 0);
}

static void pod_usage(struct val pod, int64_t now_s, struct quota_list *ret)
{
	struct quota_list requests = QUOTA_LIST(ret->a), limits = QUOTA_LIST(ret->a);

	if (pod_over(pod, now_s))
		return;
	quota_pod_resources(pod, &requests, &limits);
	compute_names(&requests, &limits, ret);
	quota_set(ret, STR("pods"), (struct quantity){ .value = 1 });
}

static bool must_be_said(struct str name)
{
	static const char *const names[] = { "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu",
		"limits.memory" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_is(name, names[i]))
			return true;
	return false;
}

static bool says(struct arena *a, struct val container, struct str name)
{
	struct quota_list requests = QUOTA_LIST(a), limits = QUOTA_LIST(a), names = QUOTA_LIST(a);

	quota_read(&requests, val_path(container, "resources.requests"));
	quota_read(&limits, val_path(container, "resources.limits"));
	compute_names(&requests, &limits, &names);
	return quota_get(&names, name) != NULL;
}

/* The containers that do not say it, by name, each once. */
static struct str silent(struct arena *a, struct val pod, struct str resource)
{
	static const char *const lists[] = { "spec.containers", "spec.initContainers" };
	size_t room = val_len(val_path(pod, lists[0])) + val_len(val_path(pod, lists[1])), n = 0;
	struct str *names = ARENA_ARRAY(a, struct str, room + 1);
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (struct val_iter it = val_iter(val_path(pod, lists[i])); val_next(&it);)
			if (!says(a, it.val, resource))
				names[n++] = val_str(val_get(it.val, "name"));
	qsort(names, n, sizeof(*names), str_order);
	for (size_t i = 0; i < n; i++)
		if (!i || !str_eq(names[i], names[i - 1]))
			buf_printf(&b, "%s%.*s", i ? "," : "", STR_ARG(names[i]));
	return arena_str(a, buf_view(&b));
}

struct str quota_unsaid(struct arena *a, const struct quota_list *hard, struct val pod)
{
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < hard->n; i++) {
		struct str resource = hard->items[i].name,
			   names = must_be_said(resource) ? silent(a, pod, resource) : STR_NULL;

		if (names.n)
			buf_printf(&b, "%s%.*s for: %.*s", b.n ? "; " : "", STR_ARG(resource), STR_ARG(names));
	}
	return arena_str(a, buf_view(&b));
}

/* ---- other kinds ----------------------------------------------------------------------------- */

static void service_usage(struct val svc, struct quota_list *ret)
{
	bool balancer = val_is(val_path(svc, "spec.type"), "LoadBalancer"),
	     node = val_is(val_path(svc, "spec.type"), "NodePort");
	int64_t ports = (int64_t)val_len(val_path(svc, "spec.ports"));

	if (balancer && !val_bool(val_path(svc, "spec.allocateLoadBalancerNodePorts"), true))
		ports = 0;
	quota_set(ret, STR("services"), (struct quantity){ .value = 1 });
	quota_set(ret, STR("services.loadbalancers"), (struct quantity){ .value = balancer });
	quota_set(ret, STR("services.nodeports"), (struct quantity){ .value = balancer || node ? ports : 0 });
}

static void claim_usage(struct val claim, struct quota_list *ret)
{
	struct str class = val_str(val_path(claim, "spec.storageClassName"));
	struct str old =
		val_str(val_get(val_path(claim, "metadata.annotations"), "volume.beta.kubernetes.io/storage-class"));
	struct quantity q;

	class = old.n ? old : class;
	quota_set(ret, STR("persistentvolumeclaims"), (struct quantity){ .value = 1 });
	if (class.n)
		quota_set(ret, arena_strf(ret->a, "%.*s" STORAGE_CLASS "persistentvolumeclaims", STR_ARG(class)),
			(struct quantity){ .value = 1 });
	if (!quantity_of(val_path(claim, "spec.resources.requests.storage"), &q))
		return;
	quota_set(ret, STR("requests.storage"), q);
	if (class.n)
		quota_set(ret, arena_strf(ret->a, "%.*s" STORAGE_CLASS "requests.storage", STR_ARG(class)), q);
}

static const char *const plain_counts[] = { "configmaps", "secrets", "replicationcontrollers", "resourcequotas" };

void quota_usage(const char *group, const char *resource, struct val object, int64_t now_s, struct quota_list *ret)
{
	quota_set(ret, arena_strf(ret->a, "count/%s%s%s", resource, group[0] ? "." : "", group),
		(struct quantity){ .value = 1 });
	if (group[0])
		return;
	if (!strcmp(resource, "pods"))
		pod_usage(object, now_s, ret);
	else if (!strcmp(resource, "services"))
		service_usage(object, ret);
	else if (!strcmp(resource, "persistentvolumeclaims"))
		claim_usage(object, ret);
	for (size_t i = 0; i < ARRAY_LEN(plain_counts); i++)
		if (!strcmp(resource, plain_counts[i]))
			quota_set(ret, str_c(resource), (struct quantity){ .value = 1 });
}

bool quota_counts(struct str name, const char *group, const char *resource)
{
	char count[200];

	snprintf(count, sizeof(count), "count/%s%s%s", resource, group[0] ? "." : "", group);
	if (str_is(name, count))
		return true;
	if (group[0])
		return false;
	if (!strcmp(resource, "services"))
		return str_is(name, "services") || str_starts(name, STR("services."));
	if (!strcmp(resource, "persistentvolumeclaims"))
		return str_is(name, resource) || str_is(name, "requests.storage") || str_has(name, STR(STORAGE_CLASS));
	if (!strcmp(resource, "pods"))
		return str_is(name, "pods") || native(name) || str_starts(name, STR("hugepages-")) ||
			str_starts(name, STR("limits.")) ||
			(str_starts(name, STR("requests.")) && !str_is(name, "requests.storage"));
	for (size_t i = 0; i < ARRAY_LEN(plain_counts); i++)
		if (!strcmp(resource, plain_counts[i]))
			return str_is(name, resource);
	return false;
}

/* ---- scopes ---------------------------------------------------------------------------------- */

static bool best_effort(struct val pod)
{
	struct quota_list requests, limits;
	auto_(arena_free) struct arena *a = arena_new();
	bool ret = true;

	requests = limits = QUOTA_LIST(a);
	quota_pod_resources(pod, &requests, &limits);
	const struct quota_list *both[] = { &requests, &limits };
	for (size_t i = 0; i < ARRAY_LEN(both); i++)
		for (size_t k = 0; k < both[i]->n; k++)
			if ((str_is(both[i]->items[k].name, "cpu") || str_is(both[i]->items[k].name, "memory")) &&
				both[i]->items[k].q.value > 0)
				ret = false;
	return ret;
}

static bool crosses_namespaces(struct val pod)
{
	static const char *const kinds[] = { "podAffinity", "podAntiAffinity" };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct val affinity = val_get(val_path(pod, "spec.affinity"), kinds[i]);
		for (struct val_iter it = val_iter(val_get(affinity, "requiredDuringSchedulingIgnoredDuringExecution"));
			val_next(&it);)
			if (val_len(val_get(it.val, "namespaces")) || val_has(val_get(it.val, "namespaceSelector")))
				return true;
		for (struct val_iter it =
				val_iter(val_get(affinity, "preferredDuringSchedulingIgnoredDuringExecution"));
			val_next(&it);) {
			struct val term = val_get(it.val, "podAffinityTerm");
			if (val_len(val_get(term, "namespaces")) || val_has(val_get(term, "namespaceSelector")))
				return true;
		}
	}
	return false;
}

static bool class_fits(struct str class, struct val term)
{
	struct val op = val_get(term, "operator");
	bool in = false;

	if (val_is(op, "Exists") || !val_has(op))
		return class.n > 0;
	if (val_is(op, "DoesNotExist"))
		return !class.n;
	for (struct val_iter it = val_iter(val_get(term, "values")); val_next(&it);)
		in |= class.n && str_eq(val_str(it.val), class);
	return val_is(op, "In") ? in : !in;
}

static bool scope_fits(struct str scope, struct val term, struct val pod)
{
	bool terminating = val_int(val_path(pod, "spec.activeDeadlineSeconds"), -1) >= 0;

	if (str_is(scope, "Terminating"))
		return terminating;
	if (str_is(scope, "NotTerminating"))
		return !terminating;
	if (str_is(scope, "BestEffort"))
		return best_effort(pod);
	if (str_is(scope, "NotBestEffort"))
		return !best_effort(pod);
	if (str_is(scope, "CrossNamespacePodAffinity"))
		return crosses_namespaces(pod);
	return str_is(scope, "PriorityClass") && class_fits(val_str(val_path(pod, "spec.priorityClassName")), term);
}

bool quota_selects(struct val quota, const char *group, const char *resource, struct val object)
{
	struct val scopes = val_path(quota, "spec.scopes"),
		   terms = val_path(quota, "spec.scopeSelector.matchExpressions");

	if (!val_len(scopes) && !val_len(terms))
		return true;
	if (group[0] || strcmp(resource, "pods"))
		return false; /* only pods have scopes */
	for (struct val_iter it = val_iter(scopes); val_next(&it);)
		if (!scope_fits(val_str(it.val), VAL_NONE, object))
			return false;
	for (struct val_iter it = val_iter(terms); val_next(&it);)
		if (!scope_fits(val_str(val_get(it.val, "scopeName")), it.val, object))
			return false;
	return true;
}

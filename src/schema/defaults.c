/* Defaults that depend on other fields, one small function a kind. */
#include "schema/schema_internal.h"
#include <ctype.h>

struct fill {
	struct arena *a;
	struct node *root, *spec; /* spec may be NULL */
};

static bool has(struct node *n, const char *key)
{
	enum val_kind k = node_kind(node_getc(n, key));

	return k != VAL_MISSING && k != VAL_NULL;
}

static bool is(struct node *n, const char *key, const char *value)
{
	return str_is(node_text_str(node_getc(n, key)), value);
}

static void want_str(struct fill *f, struct node *n, const char *key, const char *value)
{
	if (!node_text_str(node_getc(n, key)).n)
		node_setc(n, key, node_c(f->a, value));
}

static void want_int(struct fill *f, struct node *n, const char *key, int64_t value)
{
	if (!has(n, key))
		node_setc(n, key, node_int(f->a, value));
}

static void want_bool(struct fill *f, struct node *n, const char *key, bool value)
{
	if (!has(n, key))
		node_setc(n, key, node_bool(f->a, value));
}

static void want_map(struct fill *f, struct node *n, const char *key)
{
	if (node_kind(n) == VAL_MAP && !has(n, key))
		node_setc(n, key, node_map(f->a));
}

/* ---- pods ------------------------------------------------------------------------------------ */

/* "latest", named or meant: no digest, and no colon after the last slash or :latest there. */
static bool image_is_latest(struct str image)
{
	const char *slash, *colon;
	struct str last = image;

	if (!image.n)
		return true;
	if (memchr(image.p, '@', image.n))
		return false;
	slash = memrchr(image.p, '/', image.n);
	if (slash)
		last = str_n(slash + 1, (size_t)(image.p + image.n - slash - 1));
	colon = last.n ? memchr(last.p, ':', last.n) : NULL;
	return !colon || str_is(str_n(colon + 1, (size_t)(last.p + last.n - colon - 1)), "latest");
}

static void default_containers(struct fill *f, struct node *list)
{
	for (size_t i = 0; i < node_len(list); i++) {
		struct node *c = node_at(list, i);

		if (node_kind(c) == VAL_MAP)
			want_str(f, c, "imagePullPolicy",
				image_is_latest(node_text_str(node_getc(c, "image"))) ? "Always" : "IfNotPresent");
	}
}

static void default_volumes(struct fill *f, struct node *list)
{
	for (size_t i = 0; i < node_len(list); i++) {
		struct node *v = node_at(list, i);

		if (node_kind(v) == VAL_MAP && node_len(v) == 1 && has(v, "name"))
			node_setc(v, "emptyDir", node_map(f->a));
	}
}

static void default_pod_spec(struct fill *f, struct node *spec)
{
	struct str name = node_text_str(node_getc(spec, "serviceAccountName"));
	struct str old = node_text_str(node_getc(spec, "serviceAccount"));

	if (node_kind(spec) != VAL_MAP)
		return;
	default_containers(f, node_getc(spec, "initContainers"));
	default_containers(f, node_getc(spec, "containers"));
	default_containers(f, node_getc(spec, "ephemeralContainers"));
	default_volumes(f, node_getc(spec, "volumes"));
	if (name.n)
		node_setc(spec, "serviceAccount", node_str(f->a, name));
	else if (old.n)
		node_setc(spec, "serviceAccountName", node_str(f->a, old));
}

static void requests_from_limits(struct fill *f, struct node *containers)
{
	for (size_t i = 0; i < node_len(containers); i++) {
		struct node *res = node_getc(node_at(containers, i), "resources"), *limits = node_getc(res, "limits");

		for (size_t k = 0; k < node_len(limits); k++) {
			struct str key = node_key_at(limits, k);

			want_map(f, res, "requests");
			if (!node_get(node_getc(res, "requests"), key))
				node_set(node_getc(res, "requests"), key, node_copy(f->a, node_at(limits, k)));
		}
	}
}

static void host_ports(struct fill *f, struct node *containers)
{
	for (size_t i = 0; i < node_len(containers); i++) {
		struct node *ports = node_getc(node_at(containers, i), "ports");

		for (size_t k = 0; k < node_len(ports); k++) {
			struct node *p = node_at(ports, k);
			int64_t port = node_int_of(node_getc(p, "containerPort"), 0);

			if (node_kind(p) == VAL_MAP && port && !node_int_of(node_getc(p, "hostPort"), 0))
				node_setc(p, "hostPort", node_int(f->a, port));
		}
	}
}

static void default_pod(struct fill *f)
{
	if (!f->spec)
		return;
	default_pod_spec(f, f->spec);
	requests_from_limits(f, node_getc(f->spec, "containers"));
	requests_from_limits(f, node_getc(f->spec, "initContainers"));
	want_bool(f, f->spec, "enableServiceLinks", true);
	if (!node_bool_of(node_getc(f->spec, "hostNetwork"), false))
		return;
	host_ports(f, node_getc(f->spec, "containers"));
	host_ports(f, node_getc(f->spec, "initContainers"));
}

static void default_template(struct fill *f)
{
	default_pod_spec(f, node_path(f->spec, "template.spec"));
}

static void default_pod_template(struct fill *f)
{
	default_pod_spec(f, node_path(f->root, "template.spec"));
}

/* ---- workloads ------------------------------------------------------------------------------- */

static void default_deployment(struct fill *f)
{
	struct node *strategy = node_getc(f->spec, "strategy");

	default_template(f);
	if (is(strategy, "type", "RollingUpdate"))
		want_map(f, strategy, "rollingUpdate");
}

static void default_daemonset(struct fill *f)
{
	struct node *strategy = node_getc(f->spec, "updateStrategy");

	default_template(f);
	if (is(strategy, "type", "RollingUpdate"))
		want_map(f, strategy, "rollingUpdate");
}

static void default_statefulset(struct fill *f)
{
	struct node *claims = node_getc(f->spec, "volumeClaimTemplates");

	default_daemonset(f);
	for (size_t i = 0; i < node_len(claims); i++) {
		struct node *c = node_at(claims, i);

		if (node_kind(c) != VAL_MAP)
			continue;
		want_str(f, c, "apiVersion", "v1");
		want_str(f, c, "kind", "PersistentVolumeClaim");
	}
}

/* Labels of the object are those of its pods when it names none. */
static void labels_from_template(struct fill *f)
{
	struct node *labels = node_path(f->spec, "template.metadata.labels"), *meta = node_getc(f->root, "metadata");

	if (node_len(labels) && node_kind(meta) == VAL_MAP && !node_len(node_getc(meta, "labels")))
		node_setc(meta, "labels", node_copy(f->a, labels));
}

static void default_replication_controller(struct fill *f)
{
	struct node *labels = node_path(f->spec, "template.metadata.labels");

	default_template(f);
	labels_from_template(f);
	if (node_len(labels) && !node_len(node_getc(f->spec, "selector")))
		node_setc(f->spec, "selector", node_copy(f->a, labels));
}

static void default_job(struct fill *f)
{
	if (!f->spec)
		return;
	default_template(f);
	labels_from_template(f);
	if (!has(f->spec, "completions") && !has(f->spec, "parallelism"))
		want_int(f, f->spec, "completions", 1);
	want_int(f, f->spec, "parallelism", 1);
	want_int(f, f->spec, "backoffLimit", has(f->spec, "backoffLimitPerIndex") ? INT32_MAX : 6);
	want_str(f, f->spec, "completionMode", "NonIndexed");
	want_bool(f, f->spec, "suspend", false);
	want_bool(f, f->spec, "manualSelector", false);
	want_str(f, f->spec, "podReplacementPolicy",
		has(f->spec, "podFailurePolicy") ? "Failed" : "TerminatingOrFailed");
}

static void default_cronjob(struct fill *f)
{
	default_pod_spec(f, node_path(f->spec, "jobTemplate.spec.template.spec"));
}

static void default_scaling_rules(struct fill *f, struct node *behavior, const char *key, bool up)
{
	struct node *rules;

	want_map(f, behavior, key);
	rules = node_getc(behavior, key);
	want_str(f, rules, "selectPolicy", "Max");
	if (up)
		want_int(f, rules, "stabilizationWindowSeconds", 0);
	if (has(rules, "policies"))
		return;
	node_setc(rules, "policies",
		up ? node_pack(f->a,
			     "[{type:'Pods', value:4, periodSeconds:15}, {type:'Percent', value:100, "
			     "periodSeconds:15}]") :
		     node_pack(f->a, "[{type:'Percent', value:100, periodSeconds:15}]"));
}

static void default_hpa_v1(struct fill *f)
{
	if (f->spec)
		want_int(f, f->spec, "targetCPUUtilizationPercentage", 80);
}

static void default_hpa(struct fill *f)
{
	struct node *behavior = node_getc(f->spec, "behavior");

	if (!f->spec)
		return;
	if (!node_len(node_getc(f->spec, "metrics")))
		node_setc(f->spec, "metrics",
			node_pack(f->a,
				"[{type:'Resource', resource:{name:'cpu', target:{type:'Utilization', "
				"averageUtilization:80}}}]"));
	if (node_kind(behavior) != VAL_MAP)
		return;
	default_scaling_rules(f, behavior, "scaleUp", true);
	default_scaling_rules(f, behavior, "scaleDown", false);
}

/* ---- network --------------------------------------------------------------------------------- */

static void default_service_ports(struct fill *f)
{
	struct node *ports = node_getc(f->spec, "ports");

	for (size_t i = 0; i < node_len(ports); i++) {
		struct node *p = node_at(ports, i), *target = node_getc(p, "targetPort");
		bool named = node_kind(target) == VAL_STR && node_text_str(target).n;

		if (node_kind(p) == VAL_MAP && !named && !node_int_of(target, 0) && has(p, "port"))
			node_setc(p, "targetPort", node_copy(f->a, node_getc(p, "port")));
	}
}

static void default_session_affinity(struct fill *f)
{
	struct node *config;

	if (!is(f->spec, "sessionAffinity", "ClientIP")) {
		node_delc(f->spec, "sessionAffinityConfig");
		return;
	}
	want_map(f, f->spec, "sessionAffinityConfig");
	config = node_getc(f->spec, "sessionAffinityConfig");
	want_map(f, config, "clientIP");
	want_int(f, node_getc(config, "clientIP"), "timeoutSeconds", 10800);
}

static void default_service(struct fill *f)
{
	bool balanced = is(f->spec, "type", "LoadBalancer"), node_port = is(f->spec, "type", "NodePort");
	bool cluster_ip = is(f->spec, "type", "ClusterIP");
	struct node *ingress = node_path(f->root, "status.loadBalancer.ingress");

	if (!f->spec)
		return;
	default_service_ports(f);
	default_session_affinity(f);
	if (balanced || node_port || cluster_ip)
		want_str(f, f->spec, "internalTrafficPolicy", "Cluster");
	if (balanced || node_port || (cluster_ip && node_len(node_getc(f->spec, "externalIPs"))))
		want_str(f, f->spec, "externalTrafficPolicy", "Cluster");
	if (balanced)
		want_bool(f, f->spec, "allocateLoadBalancerNodePorts", true);
	for (size_t i = 0; i < node_len(ingress); i++)
		if (has(node_at(ingress, i), "ip"))
			want_str(f, node_at(ingress, i), "ipMode", "VIP");
}

static void default_network_policy(struct fill *f)
{
	struct node *types;

	if (!f->spec || node_len(node_getc(f->spec, "policyTypes")))
		return;
	types = node_list(f->a);
	node_add(types, node_c(f->a, "Ingress"));
	if (node_len(node_getc(f->spec, "egress")))
		node_add(types, node_c(f->a, "Egress"));
	node_setc(f->spec, "policyTypes", types);
}

/* ---- others ---------------------------------------------------------------------------------- */

static void default_namespace(struct fill *f)
{
	struct node *meta = node_getc(f->root, "metadata"), *labels;
	struct str name = node_text_str(node_getc(meta, "name"));

	if (!name.n)
		return;
	want_map(f, meta, "labels");
	labels = node_getc(meta, "labels");
	if (!str_eq(node_text_str(node_getc(labels, "kubernetes.io/metadata.name")), name))
		node_setc(labels, "kubernetes.io/metadata.name", node_str(f->a, name));
}

static void default_node(struct fill *f)
{
	struct node *status = node_getc(f->root, "status");

	if (has(status, "capacity") && !has(status, "allocatable"))
		node_setc(status, "allocatable", node_copy(f->a, node_getc(status, "capacity")));
}

static void fill_keys(struct fill *f, struct node *item, const char *to, const char *from)
{
	struct node *source = node_getc(item, from), *target;

	for (size_t i = 0; i < node_len(source); i++) {
		want_map(f, item, to);
		target = node_getc(item, to);
		if (!node_get(target, node_key_at(source, i)))
			node_set(target, node_key_at(source, i), node_copy(f->a, node_at(source, i)));
	}
}

static void default_limit_range(struct fill *f)
{
	struct node *limits = node_getc(f->spec, "limits");

	for (size_t i = 0; i < node_len(limits); i++) {
		if (!is(node_at(limits, i), "type", "Container"))
			continue;
		fill_keys(f, node_at(limits, i), "default", "max");
		fill_keys(f, node_at(limits, i), "defaultRequest", "default");
		fill_keys(f, node_at(limits, i), "defaultRequest", "min");
	}
}

static void default_subjects(struct fill *f)
{
	struct node *subjects = node_getc(f->root, "subjects");

	for (size_t i = 0; i < node_len(subjects); i++)
		if (is(node_at(subjects, i), "kind", "User") || is(node_at(subjects, i), "kind", "Group"))
			want_str(f, node_at(subjects, i), "apiGroup", "rbac.authorization.k8s.io");
}

static void default_crd(struct fill *f)
{
	struct node *names = node_getc(f->spec, "names");
	struct str kind = node_text_str(node_getc(names, "kind"));
	char *lower;

	if (!kind.n)
		return;
	lower = arena_cstr(f->a, kind);
	for (char *p = lower; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	want_str(f, names, "singular", lower);
	want_str(f, names, "listKind", arena_printf(f->a, "%.*sList", STR_ARG(kind)));
}

static void count_one(struct fill *f, struct node *request)
{
	if (is(request, "allocationMode", "ExactCount") && !node_int_of(node_getc(request, "count"), 0))
		node_setc(request, "count", node_int(f->a, 1));
}

static void default_claim_spec(struct fill *f, struct node *spec)
{
	struct node *requests = node_path(spec, "devices.requests");

	for (size_t i = 0; i < node_len(requests); i++) {
		struct node *first = node_getc(node_at(requests, i), "firstAvailable");

		count_one(f, node_getc(node_at(requests, i), "exactly"));
		for (size_t k = 0; k < node_len(first); k++)
			count_one(f, node_at(first, k));
	}
}

static void default_claim(struct fill *f)
{
	default_claim_spec(f, f->spec);
}

static void default_claim_template(struct fill *f)
{
	default_claim_spec(f, node_getc(f->spec, "spec"));
}

static const struct {
	const char *type;
	void (*fill)(struct fill *f);
} kinds[] = {
	{ "io.k8s.api.core.v1.Pod", default_pod },
	{ "io.k8s.api.core.v1.PodTemplate", default_pod_template },
	{ "io.k8s.api.core.v1.ReplicationController", default_replication_controller },
	{ "io.k8s.api.core.v1.Service", default_service },
	{ "io.k8s.api.core.v1.Namespace", default_namespace },
	{ "io.k8s.api.core.v1.Node", default_node },
	{ "io.k8s.api.core.v1.LimitRange", default_limit_range },
	{ "io.k8s.api.apps.v1.Deployment", default_deployment },
	{ "io.k8s.api.apps.v1.ReplicaSet", default_template },
	{ "io.k8s.api.apps.v1.DaemonSet", default_daemonset },
	{ "io.k8s.api.apps.v1.StatefulSet", default_statefulset },
	{ "io.k8s.api.batch.v1.Job", default_job },
	{ "io.k8s.api.batch.v1.CronJob", default_cronjob },
	{ "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler", default_hpa_v1 },
	{ "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler", default_hpa },
	{ "io.k8s.api.networking.v1.NetworkPolicy", default_network_policy },
	{ "io.k8s.api.rbac.v1.RoleBinding", default_subjects },
	{ "io.k8s.api.rbac.v1.ClusterRoleBinding", default_subjects },
	{ "io.k8s.api.resource.v1.ResourceClaim", default_claim },
	{ "io.k8s.api.resource.v1.ResourceClaimTemplate", default_claim_template },
	{ "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition", default_crd },
};

void schema_default_object(const struct schema_type *t, struct arena *a, struct node *n)
{
	struct fill f = { a, n, node_getc(n, "spec") };
	struct node *absent = NULL;

	if (!t->is_kind || node_kind(n) != VAL_MAP)
		return;
	if (!f.spec && schema_field(t, STR("spec"))) /* no pointer in Go: what is not there has defaults, too */
		f.spec = absent = node_map(a);
	else if (node_kind(f.spec) != VAL_MAP)
		f.spec = NULL;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (!strcmp(kinds[i].type, t->name))
			kinds[i].fill(&f);
	if (node_len(absent))
		node_setc(n, "spec", absent);
}

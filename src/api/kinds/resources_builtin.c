/* The builtin rows: every stable kind of Kubernetes v1.34. */
#include "api/auth/auth.h"
#include "api/kinds/cells.h"

#define NAMES(...)                \
	(const char *const[])     \
	{                         \
		__VA_ARGS__, NULL \
	}
#define ALL NAMES("all")
#define EXTENSIONS NAMES("api-extensions")
#define CELLS(x) .columns = columns_##x, .cells = cells_##x
#define CONNECT VERB_BIT(V_CONNECT)
#define CREATE VERB_BIT(V_CREATE)
#define N .namespaced = true
#define STATUS_ROW                                         \
	{                                                  \
		.name = "status", .verbs = VERBS_GET_WRITE \
	}
#define SCALE_ROW                                                                                                   \
	{                                                                                                           \
		.name = "scale", .group = "autoscaling", .version = "v1", .kind = "Scale", .verbs = VERBS_GET_WRITE \
	}

static const struct subresource subs_status[] = { STATUS_ROW, {} };
static const struct subresource subs_scale[] = { STATUS_ROW, SCALE_ROW, {} };
static const struct subresource subs_namespace[] = {
	STATUS_ROW,
	{ .name = "finalize", .verbs = VERB_BIT(V_UPDATE) },
	{},
};
static const struct subresource subs_node[] = {
	STATUS_ROW,
	{ .name = "proxy", .group = "", .version = "v1", .kind = "NodeProxyOptions", .verbs = CONNECT, .relay = true },
	{},
};
static const struct subresource subs_service[] = {
	STATUS_ROW,
	{ .name = "proxy",
		.group = "",
		.version = "v1",
		.kind = "ServiceProxyOptions",
		.verbs = CONNECT,
		.relay = true },
	{},
};
static const struct subresource subs_pod[] = {
	STATUS_ROW,
	{ .name = "log", .verbs = VERB_BIT(V_GET), .relay = true },
	{ .name = "exec", .group = "", .version = "v1", .kind = "PodExecOptions", .verbs = CONNECT, .relay = true },
	{ .name = "attach", .group = "", .version = "v1", .kind = "PodAttachOptions", .verbs = CONNECT, .relay = true },
	{ .name = "portforward",
		.group = "",
		.version = "v1",
		.kind = "PodPortForwardOptions",
		.verbs = CONNECT,
		.relay = true },
	{ .name = "proxy", .group = "", .version = "v1", .kind = "PodProxyOptions", .verbs = CONNECT, .relay = true },
	{ .name = "binding",
		.group = "",
		.version = "v1",
		.kind = "Binding",
		.verbs = CREATE,
		.create = sub_pod_binding },
	{ .name = "eviction",
		.group = "policy",
		.version = "v1",
		.kind = "Eviction",
		.old_api_version = "policy/v1beta1", /* kubectl drain before 1.22 */
		.verbs = CREATE,
		.create = sub_pod_eviction },
	{ .name = "ephemeralcontainers", .verbs = VERBS_GET_WRITE },
	{ .name = "resize", .verbs = VERBS_GET_WRITE },
	{},
};
static const struct subresource subs_sa[] = {
	{ .name = "token",
		.group = "authentication.k8s.io",
		.version = "v1",
		.kind = "TokenRequest",
		.verbs = CREATE,
		.create = token_create },
	{},
};
static const struct subresource subs_csr[] = {
	STATUS_ROW,
	{ .name = "approval", .verbs = VERBS_GET_WRITE },
	{},
};

static bool event_field(struct val object, struct str field, char *ret, size_t ret_max)
{
	if (!str_is(field, "source") || !ret_max)
		return false;
	struct str s = val_str(val_path(object, "source.component"));
	if (!s.n)
		s = val_str(val_get(object, "reportingComponent"));
	size_t n = MIN(s.n, ret_max - 1);
	if (n)
		memcpy(ret, s.p, n);
	ret[n] = 0;
	return true;
}

/* events.k8s.io/v1 shows the stored core Event under other names. */
static void rename_key(struct node *n, const char *from, const char *to)
{
	struct node *v = node_getc(n, from);

	if (!v)
		return;
	node_delc(n, from);
	node_setc(n, to, v);
}

static void event_from_core(struct arena *a, struct node *o)
{
	(void)a;
	node_setc(o, "apiVersion", node_c(a, "events.k8s.io/v1"));
	rename_key(o, "involvedObject", "regarding");
	rename_key(o, "message", "note");
	rename_key(o, "source", "deprecatedSource");
	rename_key(o, "firstTimestamp", "deprecatedFirstTimestamp");
	rename_key(o, "lastTimestamp", "deprecatedLastTimestamp");
	rename_key(o, "count", "deprecatedCount");
	rename_key(o, "reportingComponent", "reportingController");
}

static void event_to_core(struct arena *a, struct node *o)
{
	node_setc(o, "apiVersion", node_c(a, "v1"));
	rename_key(o, "regarding", "involvedObject");
	rename_key(o, "note", "message");
	rename_key(o, "deprecatedSource", "source");
	rename_key(o, "deprecatedFirstTimestamp", "firstTimestamp");
	rename_key(o, "deprecatedLastTimestamp", "lastTimestamp");
	rename_key(o, "deprecatedCount", "count");
	rename_key(o, "reportingController", "reportingComponent");
}

/* { group, version, plural, singular, Kind } */
#define ROW(g, v, r, s, k) .group = g, .version = v, .resource = r, .singular = s, .kind = k
#define STORED(g, v, r, s, k) ROW(g, v, r, s, k), .verbs = VERBS_ALL

const struct resource_def builtin_resources[] = {
	{ ROW("", "v1", "bindings", "binding", "Binding"), N, .verbs = CREATE, .create = sub_binding },
	{ ROW("", "v1", "componentstatuses", "componentstatus", "ComponentStatus"), .short_names = NAMES("cs"),
		.deprecated = "v1 ComponentStatus is deprecated in v1.19+", CELLS(component),
		.verbs = VERB_BIT(V_GET) | VERB_BIT(V_LIST), .compute = health_components },
	{ STORED("", "v1", "configmaps", "configmap", "ConfigMap"), N, .short_names = NAMES("cm"), CELLS(configmap),
		.strategy = &strategy_configmap },
	{ STORED("", "v1", "endpoints", "endpoints", "Endpoints"), N, .list_kind = "EndpointsList",
		.deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
		.short_names = NAMES("ep"), CELLS(endpoints), .strategy = &strategy_endpoints },
	{ STORED("", "v1", "events", "event", "Event"), N, .short_names = NAMES("ev"), CELLS(event),
		.columns_without_name = true, .names = NAME_PATH, .strategy = &strategy_event,
		.field_selectors = NAMES("involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
			"involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
			"involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"),
		.field_value = event_field },
	{ STORED("", "v1", "limitranges", "limitrange", "LimitRange"), N, .short_names = NAMES("limits"),
		CELLS(created), .strategy = &strategy_limitrange },
	{ ROW("", "v1", "namespaces", "namespace", "Namespace"), .short_names = NAMES("ns"), CELLS(namespace),
		.verbs = VERBS_ALL & ~VERB_BIT(V_DELETE_COLLECTION), .names = NAME_LABEL, .subs = subs_namespace,
		.strategy = &strategy_namespace, .has_controller = true,
		.field_selectors = NAMES("status.phase", "name") },
	{ STORED("", "v1", "nodes", "node", "Node"), .short_names = NAMES("no"), CELLS(node), .subs = subs_node,
		.strategy = &strategy_node, .field_selectors = NAMES("spec.unschedulable") },
	{ STORED("", "v1", "persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim"), N,
		.short_names = NAMES("pvc"), CELLS(pvc), .subs = subs_status, .strategy = &strategy_pvc,
		.has_controller = true, .shows_deleted = true },
	{ STORED("", "v1", "persistentvolumes", "persistentvolume", "PersistentVolume"), .short_names = NAMES("pv"),
		CELLS(pv), .subs = subs_status, .strategy = &strategy_pv, .has_controller = true,
		.shows_deleted = true },
	{ STORED("", "v1", "pods", "pod", "Pod"), N, .short_names = NAMES("po"), .categories = ALL, CELLS(pod),
		.subs = subs_pod, .strategy = &strategy_pod, .generation = true,
		.field_selectors = NAMES("spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
			"spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs",
			"status.nominatedNodeName") },
	{ STORED("", "v1", "podtemplates", "podtemplate", "PodTemplate"), N, CELLS(podtemplate), .generation = true,
		.strategy = &strategy_podtemplate, .shows_deleted = true },
	{ STORED("", "v1", "replicationcontrollers", "replicationcontroller", "ReplicationController"), N,
		.short_names = NAMES("rc"), .categories = ALL, CELLS(replicaset), .subs = subs_scale,
		.strategy = &strategy_rc, .generation = true, .has_controller = true,
		.field_selectors = NAMES("status.replicas"), .orphans = true },
	{ STORED("", "v1", "resourcequotas", "resourcequota", "ResourceQuota"), N, .short_names = NAMES("quota"),
		CELLS(quota), .subs = subs_status, .strategy = &strategy_quota, .has_controller = true,
		.shows_deleted = true },
	{ STORED("", "v1", "secrets", "secret", "Secret"), N, CELLS(secret), .strategy = &strategy_secret,
		.field_selectors = NAMES("type") },
	{ STORED("", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount"), N, .short_names = NAMES("sa"),
		CELLS(sa), .subs = subs_sa, .strategy = &strategy_sa, .shows_deleted = true },
	{ STORED("", "v1", "services", "service", "Service"), N, .short_names = NAMES("svc"), .categories = ALL,
		CELLS(service), .subs = subs_service, .strategy = &strategy_service, .names = NAME_LABEL_1035,
		.field_selectors = NAMES("spec.clusterIP", "spec.type") },

	{ STORED("apps", "v1", "controllerrevisions", "controllerrevision", "ControllerRevision"), N,
		CELLS(controllerrevision), .strategy = &strategy_controllerrevision },
	{ STORED("apps", "v1", "daemonsets", "daemonset", "DaemonSet"), N, .short_names = NAMES("ds"),
		.categories = ALL, CELLS(daemonset), .subs = subs_status, .strategy = &strategy_daemonset,
		.generation = true, .has_controller = true },
	{ STORED("apps", "v1", "deployments", "deployment", "Deployment"), N, .short_names = NAMES("deploy"),
		.categories = ALL, CELLS(deployment), .subs = subs_scale, .strategy = &strategy_deployment,
		.generation = true, .generation_of = "annotations", .has_controller = true },
	{ STORED("apps", "v1", "replicasets", "replicaset", "ReplicaSet"), N, .short_names = NAMES("rs"),
		.categories = ALL, CELLS(replicaset), .subs = subs_scale, .strategy = &strategy_replicaset,
		.generation = true, .has_controller = true, .field_selectors = NAMES("status.replicas") },
	{ STORED("apps", "v1", "statefulsets", "statefulset", "StatefulSet"), N, .short_names = NAMES("sts"),
		.categories = ALL, CELLS(statefulset), .subs = subs_scale, .strategy = &strategy_statefulset,
		.generation = true, .has_controller = true },

	{ STORED("batch", "v1", "cronjobs", "cronjob", "CronJob"), N, .short_names = NAMES("cj"), .categories = ALL,
		CELLS(cronjob), .subs = subs_status, .strategy = &strategy_cronjob, .generation = true,
		.has_controller = true },
	{ STORED("batch", "v1", "jobs", "job", "Job"), N, .categories = ALL, CELLS(job), .subs = subs_status,
		.strategy = &strategy_job, .generation = true, .has_controller = true,
		.field_selectors = NAMES("status.successful"), .orphans = true },

	{ STORED("autoscaling", "v2", "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler"),
		N, .short_names = NAMES("hpa"), .categories = ALL, CELLS(hpa), .subs = subs_status,
		.strategy = &strategy_hpa, .has_controller = true },
	{ STORED("autoscaling", "v1", "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler"),
		N, .short_names = NAMES("hpa"), .categories = ALL, CELLS(hpa), .subs = subs_status,
		.strategy = &strategy_hpa, .has_controller = true,
		.stored_as = "autoscaling/v2/horizontalpodautoscalers", .to_stored = hpa_v2_from_v1,
		.from_stored = hpa_v1_from_v2 },

	{ STORED("networking.k8s.io", "v1", "ingresses", "ingress", "Ingress"), N, .short_names = NAMES("ing"),
		CELLS(ingress), .subs = subs_status, .strategy = &strategy_ingress, .generation = true,
		.has_controller = true },
	{ STORED("networking.k8s.io", "v1", "ingressclasses", "ingressclass", "IngressClass"), CELLS(ingressclass),
		.strategy = &strategy_ingressclass, .generation = true },
	{ STORED("networking.k8s.io", "v1", "networkpolicies", "networkpolicy", "NetworkPolicy"), N,
		.short_names = NAMES("netpol"), CELLS(netpol), .strategy = &strategy_networkpolicy, .generation = true,
		.has_controller = true },
	{ STORED("networking.k8s.io", "v1", "ipaddresses", "ipaddress", "IPAddress"), .short_names = NAMES("ip"),
		.list_kind = "IPAddressList", CELLS(ipaddress), .field_selectors = NAMES("spec.parentRef.name") },
	{ STORED("networking.k8s.io", "v1", "servicecidrs", "servicecidr", "ServiceCIDR"), CELLS(servicecidr),
		.subs = subs_status, .has_controller = true },

	{ STORED("discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice"), N, CELLS(slice),
		.strategy = &strategy_slice, .generation = true, .generation_of = "labels" },
	{ STORED("policy", "v1", "poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget"), N,
		.short_names = NAMES("pdb"), CELLS(pdb), .subs = subs_status, .strategy = &strategy_pdb,
		.generation = true, .has_controller = true, .needs_version = true },

	{ STORED("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "clusterrolebinding", "ClusterRoleBinding"),
		CELLS(rolebinding), .names = NAME_PATH, .strategy = &strategy_binding },
	{ STORED("rbac.authorization.k8s.io", "v1", "clusterroles", "clusterrole", "ClusterRole"), CELLS(created),
		.names = NAME_PATH, .strategy = &strategy_role },
	{ STORED("rbac.authorization.k8s.io", "v1", "rolebindings", "rolebinding", "RoleBinding"), N,
		CELLS(rolebinding), .names = NAME_PATH, .strategy = &strategy_binding },
	{ STORED("rbac.authorization.k8s.io", "v1", "roles", "role", "Role"), N, CELLS(created), .names = NAME_PATH,
		.strategy = &strategy_role },

	{ STORED("storage.k8s.io", "v1", "csidrivers", "csidriver", "CSIDriver"), CELLS(csidriver), .generation = true,
		.strategy = &strategy_csidriver, .shows_deleted = true, .needs_version = true },
	{ STORED("storage.k8s.io", "v1", "csinodes", "csinode", "CSINode"), CELLS(csinode),
		.strategy = &strategy_csinode, .shows_deleted = true, .needs_version = true },
	{ STORED("storage.k8s.io", "v1", "csistoragecapacities", "csistoragecapacity", "CSIStorageCapacity"), N,
		CELLS(csicapacity), .strategy = &strategy_csicapacity, .needs_version = true },
	{ STORED("storage.k8s.io", "v1", "storageclasses", "storageclass", "StorageClass"), .short_names = NAMES("sc"),
		CELLS(storageclass), .strategy = &strategy_storageclass, .columns_without_name = true,
		.shows_deleted = true },
	{ STORED("storage.k8s.io", "v1", "volumeattachments", "volumeattachment", "VolumeAttachment"),
		CELLS(volumeattachment), .strategy = &strategy_attachment, .subs = subs_status, .has_controller = true,
		.shows_deleted = true, .needs_version = true },
	{ STORED("storage.k8s.io", "v1", "volumeattributesclasses", "volumeattributesclass", "VolumeAttributesClass"),
		.short_names = NAMES("vac"), CELLS(vac), .strategy = &strategy_attributesclass, .shows_deleted = true },

	{ STORED("coordination.k8s.io", "v1", "leases", "lease", "Lease"), N, CELLS(lease), .strategy = &strategy_lease,
		.needs_version = true },
	{ STORED("certificates.k8s.io", "v1", "certificatesigningrequests", "certificatesigningrequest",
		  "CertificateSigningRequest"),
		.short_names = NAMES("csr"), CELLS(csr), .subs = subs_csr, .strategy = &strategy_csr,
		.has_controller = true, .field_selectors = NAMES("spec.signerName") },

	{ ROW("authentication.k8s.io", "v1", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview"),
		.verbs = CREATE, .create = review_self },
	{ ROW("authentication.k8s.io", "v1", "tokenreviews", "tokenreview", "TokenReview"), .verbs = CREATE,
		.create = review_token },
	{ ROW("authorization.k8s.io", "v1", "localsubjectaccessreviews", "localsubjectaccessreview",
		  "LocalSubjectAccessReview"),
		N, .verbs = CREATE, .create = review_local_access },
	{ ROW("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "selfsubjectaccessreview",
		  "SelfSubjectAccessReview"),
		.verbs = CREATE, .create = review_self_access },
	{ ROW("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "selfsubjectrulesreview",
		  "SelfSubjectRulesReview"),
		.verbs = CREATE, .create = review_self_rules },
	{ ROW("authorization.k8s.io", "v1", "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview"),
		.verbs = CREATE, .create = review_access },

	{ STORED("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration",
		  "MutatingWebhookConfiguration"),
		.categories = EXTENSIONS, CELLS(webhooks), .generation = true, .strategy = &strategy_webhook,
		.needs_version = true },
	{ STORED("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "validatingadmissionpolicy",
		  "ValidatingAdmissionPolicy"),
		.categories = EXTENSIONS, CELLS(vap), .subs = subs_status, .generation = true, .has_controller = true,
		.needs_version = true, .strategy = &strategy_policy },
	{ STORED("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings",
		  "validatingadmissionpolicybinding", "ValidatingAdmissionPolicyBinding"),
		.categories = EXTENSIONS, CELLS(vapbinding), .generation = true, .has_controller = true,
		.needs_version = true, .strategy = &strategy_policy_binding },
	{ STORED("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations",
		  "validatingwebhookconfiguration", "ValidatingWebhookConfiguration"),
		.categories = EXTENSIONS, CELLS(webhooks), .generation = true, .strategy = &strategy_webhook,
		.needs_version = true },
	{ STORED("apiextensions.k8s.io", "v1", "customresourcedefinitions", "customresourcedefinition",
		  "CustomResourceDefinition"),
		.short_names = NAMES("crd", "crds"), .categories = EXTENSIONS, CELLS(created), .subs = subs_status,
		.generation = true, .has_controller = true, .strategy = &strategy_crd, .needs_version = true },
	{ STORED("apiregistration.k8s.io", "v1", "apiservices", "apiservice", "APIService"), .categories = EXTENSIONS,
		CELLS(apiservice), .subs = subs_status, .has_controller = true, .names = NAME_PATH,
		.strategy = &strategy_apiservice, .needs_version = true },

	{ STORED("events.k8s.io", "v1", "events", "event", "Event"), N, .short_names = NAMES("ev"), CELLS(event_new),
		.columns_without_name = true, .stored_as = "/v1/events", .to_stored = event_to_core,
		.from_stored = event_from_core, .strategy = &strategy_event,
		.field_selectors = NAMES("regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
			"regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath", "reason",
			"reportingController", "type") },
	{ STORED("node.k8s.io", "v1", "runtimeclasses", "runtimeclass", "RuntimeClass"), CELLS(runtimeclass),
		.strategy = &strategy_runtimeclass, .needs_version = true },
	{ ROW("metrics.k8s.io", "v1beta1", "nodes", "", "NodeMetrics"), .verbs = VERB_BIT(V_GET) | VERB_BIT(V_LIST),
		.compute = usage_nodes },
	{ ROW("metrics.k8s.io", "v1beta1", "pods", "", "PodMetrics"), N, .verbs = VERB_BIT(V_GET) | VERB_BIT(V_LIST),
		.compute = usage_pods },
	{ STORED("scheduling.k8s.io", "v1", "priorityclasses", "priorityclass", "PriorityClass"),
		.short_names = NAMES("pc"), CELLS(priorityclass), .strategy = &strategy_priorityclass,
		.generation = true },
	{ STORED("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "flowschema", "FlowSchema"), CELLS(flowschema),
		.strategy = &strategy_flowschema, .subs = subs_status, .generation = true, .has_controller = true },
	{ STORED("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", "prioritylevelconfiguration",
		  "PriorityLevelConfiguration"),
		CELLS(plc), .strategy = &strategy_prioritylevel, .subs = subs_status, .generation = true,
		.has_controller = true },

	{ STORED("resource.k8s.io", "v1", "deviceclasses", "deviceclass", "DeviceClass"), .generation = true,
		.shows_deleted = true },
	{ STORED("resource.k8s.io", "v1", "resourceclaims", "resourceclaim", "ResourceClaim"), N, CELLS(claim),
		.subs = subs_status, .has_controller = true, .shows_deleted = true },
	{ STORED("resource.k8s.io", "v1", "resourceclaimtemplates", "resourceclaimtemplate", "ResourceClaimTemplate"),
		N, .shows_deleted = true },
	{ STORED("resource.k8s.io", "v1", "resourceslices", "resourceslice", "ResourceSlice"), CELLS(slice_dra),
		.generation = true, .field_selectors = NAMES("spec.nodeName", "spec.driver"), .shows_deleted = true },
};
const size_t builtin_resources_n = ARRAY_LEN(builtin_resources);

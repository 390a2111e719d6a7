/* Of several faults of one write, which is told: the order of the write path (write.c). */
#include "api/api_fixture.h"

#define QUOTAS "/api/v1/namespaces/default/resourcequotas"
#define SERVICES "/api/v1/namespaces/default/services"

static void a_bad_object_under_a_taken_name_is_bad_first(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}"));
	expect(f, 422, call(f, "POST", CM, "{\"metadata\":{\"name\":\"a\"},\"data\":{\"b c\":\"\"}}"));
	assert_string_equal(get(f, "details.name"), "a");
	assert_true(body_has(f, "\"field\":\"data[b c]\""));
	expect(f, 409, call(f, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}"));
	expect(f, 409, call(f, "POST", CM "?dryRun=All", "{\"metadata\":{\"name\":\"a\"}}"));
	assert_string_equal(get(f, "message"), "configmaps \"a\" already exists");
}

static void a_version_on_a_new_object_is_told_after_its_faults(void **state)
{
	struct fixture *f = *state;

	expect(f, 422,
		call(f, "POST", CM,
			"{\"metadata\":{\"name\":\"b\",\"resourceVersion\":\"5\"},\"data\":{\"b c\":\"\"}}"));
	expect(f, 400, call(f, "POST", CM, "{\"metadata\":{\"name\":\"b\",\"resourceVersion\":\"5\"}}"));
	expect(f, 404, call(f, "GET", CM "/b", NULL));
}

static void a_taken_name_is_told_to_be_going(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"g\",\"finalizers\":[\"a.b/c\"]}}"));
	expect(f, 200, call(f, "DELETE", CM "/g", NULL));
	expect(f, 409, call(f, "POST", CM, "{\"metadata\":{\"name\":\"g\"}}"));
	assert_string_equal(get(f, "message"), "object is being deleted: configmaps \"g\" already exists");
	assert_string_equal(get(f, "reason"), "AlreadyExists");
}

/* status.hard is the controller's to write: here it is the test. */
static void limit_configmaps(struct fixture *f, int hard, int used)
{
	char body[200];

	expect(f, 201,
		call(f, "POST", QUOTAS, "{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{\"configmaps\":\"1\"}}}"));
	snprintf(body, sizeof(body),
		"{\"metadata\":{\"name\":\"q\"},\"status\":{\"hard\":{\"configmaps\":\"%d\"},\"used\":{\"configmaps\":\"%d\"}}}",
		hard, used);
	expect(f, 200, call(f, "PUT", QUOTAS "/q/status", body));
}

static void quota_refuses_before_the_name_does_and_is_not_charged(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"q\"}}"));
	limit_configmaps(f, 5, 1);
	expect(f, 422, call(f, "POST", CM, "{\"metadata\":{\"name\":\"r\"},\"data\":{\"b c\":\"\"}}"));
	expect(f, 409, call(f, "POST", CM, "{\"metadata\":{\"name\":\"q\"}}"));
	expect(f, 200, call(f, "GET", QUOTAS "/q", NULL));
	assert_string_equal(get(f, "status.used.configmaps"), "1");
	char *untouched = xstrdup(get(f, "metadata.resourceVersion"));
	expect(f, 409, call(f, "POST", CM, "{\"metadata\":{\"name\":\"q\"}}"));
	expect(f, 200, call(f, "GET", QUOTAS "/q", NULL));
	assert_string_equal(get(f, "metadata.resourceVersion"), untouched);
	free(untouched);
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"s\"}}"));
	expect(f, 200, call(f, "GET", QUOTAS "/q", NULL));
	assert_string_equal(get(f, "status.used.configmaps"), "2");

	expect(f, 200, call(f, "DELETE", QUOTAS "/q", NULL));
	limit_configmaps(f, 1, 1);
	expect(f, 403, call(f, "POST", CM, "{\"metadata\":{\"name\":\"q\"}}"));
	assert_true(body_has(f, "exceeded quota: q"));
	expect(f, 422, call(f, "POST", CM, "{\"metadata\":{\"name\":\"q\"},\"data\":{\"b c\":\"\"}}"));
	expect(f, 200, call(f, "DELETE", QUOTAS "/q", NULL));
}

/* What is taken by another would be told instead, had the addresses been asked for first. */
static void a_bad_service_asks_for_no_address(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", SERVICES,
			"{\"metadata\":{\"name\":\"one\"},\"spec\":{\"type\":\"NodePort\",\"clusterIP\":\"10.96.7.7\",\"ports\":[{\"port\":80,\"nodePort\":30777}]}}"));
	expect(f, 422,
		call(f, "POST", SERVICES,
			"{\"metadata\":{\"name\":\"two\"},\"spec\":{\"type\":\"NodePort\",\"clusterIP\":\"10.96.7.7\",\"ports\":[{\"port\":0,\"nodePort\":30777}]}}"));
	assert_false(body_has(f, "allocate"));
	assert_true(body_has(f, "\"field\":\"spec.ports[0].port\""));
	expect(f, 422,
		call(f, "POST", SERVICES,
			"{\"metadata\":{\"name\":\"two\"},\"spec\":{\"clusterIP\":\"10.96.7.7\",\"ports\":[{\"port\":80}]}}"));
	assert_true(body_has(f, "provided IP is already allocated"));
	expect(f, 422,
		call(f, "POST", SERVICES,
			"{\"metadata\":{\"name\":\"one\"},\"spec\":{\"clusterIP\":\"10.96.7.7\",\"ports\":[{\"port\":80}]}}"));
	assert_true(body_has(f, "provided IP is already allocated")); /* and not that the name is */
	expect(f, 409,
		call(f, "POST", SERVICES, "{\"metadata\":{\"name\":\"one\"},\"spec\":{\"ports\":[{\"port\":80}]}}"));
}

/* How many of the Service's ports have one. */
static int node_ports(struct fixture *f)
{
	int n = 0;

	for (struct val_iter it = val_iter(doc_get(f->doc, "spec.ports")); val_next(&it);)
		n += val_has(val_get(it.val, "nodePort"));
	return n;
}

static void a_service_that_changes_its_type_gives_its_ports_up(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", SERVICES,
			"{\"metadata\":{\"name\":\"t\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80,\"nodePort\":30888}]}}"));
	expect(f, 422,
		call_as(f, "PATCH", SERVICES "/t", "application/merge-patch+json", NULL,
			"{\"spec\":{\"type\":\"ClusterIP\",\"ports\":[{\"port\":80,\"nodePort\":30889}]}}"));
	assert_true(body_has(f, "\"field\":\"spec.ports[0].nodePort\""));
	expect(f, 200,
		call_as(f, "PATCH", SERVICES "/t", "application/merge-patch+json", NULL,
			"{\"spec\":{\"type\":\"ClusterIP\"}}"));
	assert_int_equal(node_ports(f), 0);
	expect(f, 201,
		call(f, "POST", SERVICES,
			"{\"metadata\":{\"name\":\"u\"},\"spec\":{\"type\":\"LoadBalancer\",\"allocateLoadBalancerNodePorts\":false,\"ports\":[{\"name\":\"a\",\"port\":80,\"nodePort\":30888},{\"name\":\"b\",\"port\":81}]}}"));
	assert_int_equal(node_ports(f), 1);
	expect(f, 422,
		call(f, "POST", SERVICES,
			"{\"metadata\":{\"name\":\"v\"},\"spec\":{\"type\":\"LoadBalancer\",\"allocateLoadBalancerNodePorts\":false,\"ports\":[{\"port\":80,\"nodePort\":30888}]}}"));
	assert_true(body_has(f, "provided port is already allocated"));
}

static void what_must_name_its_version_does(void **state)
{
	static const char leases[] = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
	struct fixture *f = *state;
	char path[100];

	snprintf(path, sizeof(path), "%s/l", leases);
	expect(f, 201, call(f, "POST", leases, "{\"metadata\":{\"name\":\"l\"}}"));
	expect(f, 422, call(f, "PUT", path, "{\"metadata\":{\"name\":\"l\"}}"));
	assert_string_equal(get(f, "message"),
		"leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update");
	expect(f, 200,
		call_as(f, "PATCH", path, "application/merge-patch+json", NULL,
			"{\"metadata\":{\"labels\":{\"a\":\"b\"}}}"));
}

static void a_name_is_made_after_admission(void **state)
{
	struct fixture *f = *state;
	static const char nobody[] =
		"{\"metadata\":{\"generateName\":\"web-\"},\"spec\":{\"serviceAccountName\":\"nobody\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}";

	expect(f, 403, call(f, "POST", PODS, nobody));
	assert_true(str_starts(str_c(get(f, "message")),
		STR("pods \"web-\" is forbidden: error looking up service account default/nobody")));
	assert_string_equal(get(f, "details.name"), "web-");
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"generateName\":\"web-\"}}"));
	assert_int_equal(strlen(get(f, "metadata.name")), 9);
	expect(f, 201, call(f, "POST", "/api/v1/namespaces", "{\"metadata\":{\"generateName\":\"web-\"}}"));
	struct val label = val_get(doc_get(f->doc, "metadata.labels"), "kubernetes.io/metadata.name");
	assert_true(str_eq(val_str(label), doc_name(f->doc)));
	expect(f, 422, call(f, "POST", CM, "{\"metadata\":{}}"));
	assert_string_equal(get(f, "details.name"), "");
}

#define MERGE "application/merge-patch+json"
#define DEPLOYMENTS "/apis/apps/v1/namespaces/default/deployments"
#define HOOKS "/apis/admissionregistration.k8s.io/v1/"

static void an_old_version_is_told_before_the_rules(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"o\"}}"));
	expect(f, 409,
		call(f, "PUT", CM "/o",
			"{\"metadata\":{\"name\":\"o\",\"resourceVersion\":\"1\"},\"data\":{\"b c\":\"\"}}"));
	expect(f, 409,
		call_as(f, "PATCH", CM "/o", MERGE, NULL,
			"{\"metadata\":{\"resourceVersion\":\"1\"},\"data\":{\"b c\":\"\"}}"));
	expect(f, 200, call_as(f, "PATCH", CM "/o", MERGE, NULL, "{\"metadata\":{\"resourceVersion\":\"0\"}}"));
	expect(f, 422,
		call_as(f, "PATCH", CM "/o", MERGE, NULL, "{\"metadata\":{\"uid\":\"x\"},\"data\":{\"b c\":\"\"}}"));
	assert_true(body_has(f, "\"field\":\"metadata.uid\""));
	assert_true(body_has(f, "\"field\":\"data[b c]\""));
	expect(f, 409,
		call(f, "PUT", CM "/o",
			"{\"metadata\":{\"name\":\"o\",\"uid\":\"x\",\"resourceVersion\":\"1\"},\"data\":{\"b c\":\"\"}}"));
	assert_true(body_has(f, "Precondition failed: UID in precondition: x"));
	expect(f, 400, call(f, "PUT", CM "/missing", "{\"metadata\":{\"name\":\"o\"}}"));
}

static void a_pod_keeps_the_priority_that_it_got(void **state)
{
	static const char pod[] =
		"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"serviceAccountName\":\"default\",\"automountServiceAccountToken\":false%s,\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}";
	char *plain = xasprintf(pod, ""), *other = xasprintf(pod, ",\"priority\":7");
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", PODS, plain));
	assert_string_equal(get(f, "spec.priority"), "0");
	expect(f, 200, call(f, "PUT", PODS "/p", plain));
	assert_string_equal(get(f, "spec.priority"), "0");
	assert_string_equal(get(f, "spec.preemptionPolicy"), "PreemptLowerPriority");
	expect(f, 422, call(f, "PUT", PODS "/p", other));
	free(plain);
	free(other);
}

static void what_makes_an_object_needs_the_right_to(void **state)
{
	static const char *const paths[] = { "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
		"/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings" };
	static const char lease[] = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l?dryRun=All",
			  map[] = CM "/m?fieldManager=f&dryRun=All", apply[] = "application/apply-patch+yaml";
	static const struct identity bob = { .user = { "bob", 3 } };
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", paths[0],
			"{\"metadata\":{\"name\":\"r\"},\"rules\":[{\"apiGroups\":[\"*\"],\"resources\":[\"leases\",\"configmaps\"],\"verbs\":[\"update\",\"patch\"]}]}"));
	expect(f, 201,
		call(f, "POST", paths[1],
			"{\"metadata\":{\"name\":\"r\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"r\"},\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"User\",\"name\":\"bob\"}]}"));
	expect(f, 201, call(f, "PUT", lease, "{\"metadata\":{\"name\":\"l\"}}"));
	f->as = &bob;
	expect(f, 403, call(f, "PUT", lease, "{\"metadata\":{\"name\":\"l\"}}"));
	assert_true(body_has(f, "User \\\"bob\\\" cannot create resource"));
	expect(f, 422, call(f, "PUT", lease, "{\"metadata\":{\"name\":\"l\"},\"spec\":{\"leaseDurationSeconds\":-1}}"));
	expect(f, 403,
		call_as(f, "PATCH", map, apply, NULL,
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"m\"}}"));
	f->as = NULL;
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"m\"}}"));
	f->as = &bob;
	expect(f, 200, call_as(f, "PATCH", map, apply, NULL, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\"}"));
}

/* A hook that nobody answers refuses with a 500. */
static void add_hook(struct fixture *f, const char *kind, const char *name, const char *rule)
{
	char *body = xasprintf(
		"{\"metadata\":{\"name\":\"%s\"},\"webhooks\":[{\"name\":\"%s.example.org\",\"sideEffects\":\"None\","
		"\"admissionReviewVersions\":[\"v1\"],\"clientConfig\":{\"url\":\"https://127.0.0.1:1/\"},"
		"\"rules\":[{\"operations\":[\"UPDATE\"],\"apiGroups\":[\"*\"],\"apiVersions\":[\"*\"],\"resources\":[\"%s\"]}]}]}",
		name, name, rule);
	char *path = xasprintf(HOOKS "%s", kind);

	expect(f, 201, call(f, "POST", path, body));
	free(path);
	free(body);
}

static void hooks_stand_before_and_after_the_version(void **state)
{
	static const char good[] = "{\"data\":{\"a\":\"b\"}}", bad[] = "{\"data\":{\"b c\":\"\"}}",
			  old[] = "{\"metadata\":{\"resourceVersion\":\"1\"}}";
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"o\"}}"));
	add_hook(f, "validatingwebhookconfigurations", "last", "configmaps");
	expect(f, 500, call_as(f, "PATCH", CM "/o", MERGE, NULL, good));
	assert_true(body_has(f, "last.example.org"));
	expect(f, 422, call_as(f, "PATCH", CM "/o", MERGE, NULL, bad));
	expect(f, 409, call_as(f, "PATCH", CM "/o", MERGE, NULL, old));
	add_hook(f, "mutatingwebhookconfigurations", "first", "configmaps");
	expect(f, 500, call_as(f, "PATCH", CM "/o", MERGE, NULL, bad));
	assert_true(body_has(f, "first.example.org"));
	expect(f, 500, call_as(f, "PATCH", CM "/o", MERGE, NULL, old));
	expect(f, 409, call(f, "PUT", CM "/o", "{\"metadata\":{\"name\":\"o\",\"uid\":\"x\"}}"));
}

static void of_a_scale_hooks_see_the_scale(void **state)
{
	static const char more[] = "{\"spec\":{\"replicas\":3}}", old[] = "{\"metadata\":{\"resourceVersion\":\"1\"}}";
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", DEPLOYMENTS,
			"{\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}"));
	expect(f, 409, call_as(f, "PATCH", DEPLOYMENTS "/d/scale", MERGE, NULL, old));
	expect(f, 422,
		call_as(f, "PATCH", DEPLOYMENTS "/d/scale", MERGE, NULL,
			"{\"metadata\":{\"resourceVersion\":\"1\"},\"spec\":{\"replicas\":-1}}"));
	expect(f, 400, call(f, "PUT", DEPLOYMENTS "/d/scale", "{\"metadata\":{\"name\":\"e\"}}"));
	add_hook(f, "validatingwebhookconfigurations", "whole", "deployments");
	expect(f, 200, call_as(f, "PATCH", DEPLOYMENTS "/d/scale", MERGE, NULL, more));
	assert_string_equal(get(f, "spec.replicas"), "3");
	expect(f, 200, call(f, "GET", DEPLOYMENTS "/d", NULL));
	assert_true(body_has(f, "\"subresource\":\"scale\""));
	add_hook(f, "validatingwebhookconfigurations", "scale", "deployments/scale");
	expect(f, 500, call_as(f, "PATCH", DEPLOYMENTS "/d/scale", MERGE, NULL, "{\"spec\":{\"replicas\":4}}"));
	assert_true(body_has(f, "scale.example.org"));
	expect(f, 409, call_as(f, "PATCH", DEPLOYMENTS "/d/scale", MERGE, NULL, old));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_bad_object_under_a_taken_name_is_bad_first, setup, teardown),
		cmocka_unit_test_setup_teardown(a_version_on_a_new_object_is_told_after_its_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(a_taken_name_is_told_to_be_going, setup, teardown),
		cmocka_unit_test_setup_teardown(quota_refuses_before_the_name_does_and_is_not_charged, setup, teardown),
		cmocka_unit_test_setup_teardown(a_bad_service_asks_for_no_address, setup, teardown),
		cmocka_unit_test_setup_teardown(a_service_that_changes_its_type_gives_its_ports_up, setup, teardown),
		cmocka_unit_test_setup_teardown(what_must_name_its_version_does, setup, teardown),
		cmocka_unit_test_setup_teardown(a_name_is_made_after_admission, setup, teardown),
		cmocka_unit_test_setup_teardown(an_old_version_is_told_before_the_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pod_keeps_the_priority_that_it_got, setup, teardown),
		cmocka_unit_test_setup_teardown(what_makes_an_object_needs_the_right_to, setup, teardown),
		cmocka_unit_test_setup_teardown(hooks_stand_before_and_after_the_version, setup, teardown),
		cmocka_unit_test_setup_teardown(of_a_scale_hooks_see_the_scale, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

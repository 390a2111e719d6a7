/* What was authorized is what is done: paths and methods that could mean two things, and what nobody may give himself. */
#include "api/api_fixture.h"
#include "api/auth/auth.h"
#include "api/relay/relay.h"

#define RBAC "/apis/rbac.authorization.k8s.io/v1"

/* ---- paths and methods ----------------------------------------------------------------------- */

static const struct str authenticated[] = { { "system:authenticated", 20 } };
static const struct identity owner = { .user = { "owner", 5 }, .groups = authenticated, .n_groups = 1 };

/* To the next calls, until the administrator is back. */
static void as_owner(struct fixture *f)
{
	f->as = &owner;
}

static void as_admin(struct fixture *f)
{
	f->as = NULL;
}

/* Everything in the namespace default. */
#define OWNS(verbs) "{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[" verbs "]}"

/* 501: it would have been handed on. */
static void nodes_are_in_no_namespace(void **state)
{
	struct fixture *f = *state;

	owner_may(f, "default", OWNS("\"*\""));
	as_owner(f);
	expect(f, 403, call(f, "GET", "/api/v1/nodes/n/proxy/pods", ""));
	expect(f, 404, call(f, "GET", "/api/v1/namespaces/default/nodes/n/proxy/pods", ""));
	expect(f, 404, call(f, "POST", "/api/v1/namespaces/default/nodes/n/proxy/run", ""));
	expect(f, 501, call(f, "GET", PODS "/p/proxy/", ""));
	as_admin(f);
}

static void a_connection_is_got_or_created(void **state)
{
	static const char *const streams[] = { "exec", "attach", "portforward" };
	struct fixture *f = *state;

	owner_may(f, "default", OWNS("\"list\",\"watch\",\"update\",\"patch\",\"delete\",\"deletecollection\""));
	as_owner(f);
	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		auto_free char *path = xasprintf(PODS "/p/%s", streams[i]),
			       *old = xasprintf("/api/v1/watch/namespaces/default/pods/p/%s", streams[i]);

		expect(f, 403, call(f, "GET", path, ""));
		expect(f, 403, call(f, "POST", path, ""));
		expect(f, 405, call(f, "PUT", path, ""));
		expect(f, 405, call(f, "PATCH", path, ""));
		expect(f, 405, call(f, "DELETE", path, ""));
		expect(f, 404, call(f, "GET", old, ""));
	}
	expect(f, 404, call(f, "GET", PODS "//exec?fieldSelector=metadata.name=p", ""));
	expect(f, 501, call(f, "DELETE", PODS "/p/proxy/", ""));
	expect(f, 404, call(f, "GET", "/api/v1/watch/namespaces/default/pods/p/proxy", ""));
	as_admin(f);
}

/* Not as if it stood in its namespace. */
static void a_list_of_one_namespace_is_a_list(void **state)
{
	static const char url[] = "/api/v1/namespaces?fieldSelector=metadata.name=default";
	struct fixture *f = *state;

	owner_may(f, "default", OWNS("\"*\""));
	as_owner(f);
	expect(f, 200, call(f, "GET", "/api/v1/namespaces/default", ""));
	expect(f, 403, call(f, "GET", url, ""));
	as_admin(f);
	expect(f, 200, call(f, "GET", url, ""));
	expect(f, 400, call(f, "GET", "/api/v1/pods?watch=1&resourceVersion=x&fieldSelector=metadata.name=p", ""));
}

/* ---- what nobody may give himself ------------------------------------------------------------ */

#define ROLES RBAC "/clusterroles"
#define REF(kind, name) \
	"\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"" kind "\",\"name\":\"" name "\"}"
#define TO_OWNER "\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"User\",\"name\":\"owner\"}]"

/* May write roles and bindings, everywhere, and read ConfigMaps. */
static void writes_roles(struct fixture *f)
{
	expect(f, 201,
		call(f, "POST", ROLES,
			"{\"metadata\":{\"name\":\"owner\"},\"rules\":[{\"apiGroups\":[\"rbac.authorization.k8s.io\"],"
			"\"resources\":[\"*\"],\"verbs\":[\"get\",\"create\",\"update\",\"patch\",\"delete\"]},"
			"{\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"],\"verbs\":[\"get\"]}]}"));
	expect(f, 201,
		call(f, "POST", RBAC "/clusterrolebindings",
			"{\"metadata\":{\"name\":\"owner\"}," REF("ClusterRole", "owner") "," TO_OWNER "}"));
	expect(f, 201,
		call(f, "POST", ROLES,
			"{\"metadata\":{\"name\":\"strong\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],"
			"\"verbs\":[\"get\"]}]}"));
	expect(f, 201,
		call(f, "POST", ROLES,
			"{\"metadata\":{\"name\":\"gatherer\"},\"aggregationRule\":{\"clusterRoleSelectors\":"
			"[{\"matchLabels\":{\"a\":\"b\"}}]}}"));
}

static void who_gathers_roles_must_have_all(void **state)
{
	struct fixture *f = *state;

	writes_roles(f);
	as_owner(f);
	expect(f, 403,
		call(f, "POST", ROLES,
			"{\"metadata\":{\"name\":\"all\"},\"aggregationRule\":{\"clusterRoleSelectors\":"
			"[{\"matchLabels\":{\"kubernetes.io/bootstrapping\":\"rbac-defaults\"}}]}}"));
	assert_true(body_has(f,
		"clusterroles.rbac.authorization.k8s.io \\\"all\\\" is forbidden: must have cluster-admin privileges to "
		"use the aggregationRule"));
	expect(f, 403,
		call_as(f, "PATCH", ROLES "/gatherer", "application/merge-patch+json", NULL,
			"{\"aggregationRule\":null}"));
	expect(f, 201,
		call(f, "POST", ROLES,
			"{\"metadata\":{\"name\":\"fine\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"],"
			"\"verbs\":[\"get\"]}]}"));
	as_admin(f);
}

/* Its label would give what it holds to whoever has a role that gathers by it. */
static void who_labels_a_role_must_have_it(void **state)
{
	static const char label[] =
		"{\"metadata\":{\"labels\":{\"rbac.authorization.k8s.io/aggregate-to-view\":\"true\"}}}";
	struct fixture *f = *state;

	writes_roles(f);
	as_owner(f);
	expect(f, 403, call_as(f, "PATCH", ROLES "/strong", "application/merge-patch+json", NULL, label));
	expect(f, 200, call_as(f, "PATCH", ROLES "/owner", "application/merge-patch+json", NULL, label));
	expect(f, 200,
		call_as(f, "PATCH", ROLES "/strong", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"finalizers\":[\"a.b/c\"]}}"));
	as_admin(f);
}

static void nobody_binds_to_a_role_to_come(void **state)
{
	struct fixture *f = *state;

	writes_roles(f);
	as_owner(f);
	expect(f, 404,
		call(f, "POST", RBAC "/clusterrolebindings",
			"{\"metadata\":{\"name\":\"early\"}," REF("ClusterRole", "to-come") "," TO_OWNER "}"));
	assert_true(body_has(f, "clusterroles.rbac.authorization.k8s.io \\\"to-come\\\" not found"));
	expect(f, 404,
		call(f, "POST", RBAC "/namespaces/default/rolebindings",
			"{\"metadata\":{\"name\":\"early\"}," REF("Role", "to-come") "," TO_OWNER "}"));
	expect(f, 403,
		call(f, "POST", RBAC "/clusterrolebindings",
			"{\"metadata\":{\"name\":\"strong\"}," REF("ClusterRole", "strong") "," TO_OWNER "}"));
	as_admin(f);
	expect(f, 201,
		call(f, "POST", RBAC "/clusterrolebindings",
			"{\"metadata\":{\"name\":\"early\"}," REF("ClusterRole", "to-come") "," TO_OWNER "}"));
}

/* ---- where a proxied request goes ------------------------------------------------------------ */

#define SERVICES "/api/v1/namespaces/default/services"
#define ENDPOINTS "/api/v1/namespaces/default/endpoints"

static bool reaches(struct fixture *f, const char *service, bool of_pods, const char *want)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct str host = STR_NULL;
	int64_t port = 0;
	struct err e;

	err_init(&e);
	return relay_service(f->api, a, STR("default"), str_c(service), STR("80"), of_pods, &host, &port, &e) == 0 &&
		str_is(host, want);
}

static void endpoints(struct fixture *f, const char *service, const char *address)
{
	auto_free char *svc = xasprintf(
			       "{\"metadata\":{\"name\":\"%s\"},\"spec\":{\"ports\":[{\"port\":80}]}}", service),
		       *ep = xasprintf("{\"metadata\":{\"name\":\"%s\"},\"subsets\":[{\"addresses\":[%s],"
				       "\"ports\":[{\"port\":8080}]}]}",
			       service, address);

	expect(f, 201, call(f, "POST", SERVICES, svc));
	expect(f, 201, call(f, "POST", ENDPOINTS, ep));
}

#define OF_POD(ip, ns) "{\"ip\":\"" ip "\",\"targetRef\":{\"kind\":\"Pod\",\"namespace\":\"" ns "\",\"name\":\"p\"}}"

static void a_service_is_a_way_to_its_pods_alone(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	expect(f, 200,
		call_as(f, "PATCH", PODS "/p/status", "application/merge-patch+json", NULL,
			"{\"status\":{\"podIP\":\"10.1.2.3\",\"podIPs\":[{\"ip\":\"10.1.2.3\"}]}}"));
	expect(f, 201,
		call(f, "POST", SERVICES,
			"{\"metadata\":{\"name\":\"abroad\"},\"spec\":{\"type\":\"ExternalName\","
			"\"externalName\":\"metadata.example.org\",\"ports\":[{\"port\":80}]}}"));
	endpoints(f, "by-hand", "{\"ip\":\"10.9.9.9\"}");
	endpoints(f, "lying", OF_POD("10.9.9.9", "default"));
	endpoints(f, "elsewhere", OF_POD("10.1.2.3", "other"));
	endpoints(f, "good", "{\"ip\":\"10.9.9.9\"}," OF_POD("10.1.2.3", "default"));
	assert_true(reaches(f, "good", true, "10.1.2.3"));
	assert_false(reaches(f, "abroad", true, "metadata.example.org"));
	assert_false(reaches(f, "by-hand", true, "10.9.9.9"));
	assert_false(reaches(f, "lying", true, "10.9.9.9"));
	assert_false(reaches(f, "elsewhere", true, "10.1.2.3"));
	/* webhooks and APIServices are the administrator's, and may be anywhere */
	assert_true(reaches(f, "abroad", false, "metadata.example.org"));
	assert_true(reaches(f, "by-hand", false, "10.9.9.9"));
}

static bool may_go_to(const char *address)
{
	struct err e;

	err_init(&e);
	return relay_check_address(str_c(address), &e) == 0;
}

static void a_pod_is_no_way_to_the_machine_itself(void **state)
{
	static const char *const no[] = { "127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "224.0.0.1",
		"255.255.255.255", "::1", "::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.1.1",
		"localhost", "" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_false(may_go_to(no[i]));
	assert_true(may_go_to("10.1.2.3"));
	assert_true(may_go_to("fd00::1"));
	assert_true(may_go_to("::ffff:10.1.2.3"));
}

/* ---- who is impersonated --------------------------------------------------------------------- */

static void impersonated(struct fixture *f, const char *user, const char *group, const char *groups)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct http_header h[] = { { STR("impersonate-user"), str_c(user) },
		{ STR("impersonate-group"), str_c(group) } };
	struct identity id = master;
	struct authz_attrs refused;
	auto_buf struct buf all = BUF_INIT;
	struct err e;

	err_init(&e);
	assert_int_equal(authn_impersonate(f->api, h, group ? 2 : 1, a, &id, &refused, &e), 0);
	for (size_t i = 0; i < id.n_groups; i++)
		buf_printf(&all, "%s%.*s", i ? " " : "", STR_ARG(id.groups[i]));
	buf_byte(&all, 0);
	assert_string_equal(all.p, groups);
}

static void groups_that_are_named_are_all(void **state)
{
	static const char account[] = "system:serviceaccount:a:b";
	struct fixture *f = *state;

	impersonated(f, "bob", NULL, "system:authenticated");
	impersonated(f, "bob", "x", "x system:authenticated");
	impersonated(f, "bob", "system:unauthenticated", "system:unauthenticated");
	impersonated(f, account, NULL, "system:serviceaccounts system:serviceaccounts:a system:authenticated");
	impersonated(f, account, "x", "x system:authenticated");
	impersonated(f, "system:anonymous", NULL, "system:unauthenticated");
	impersonated(f, "system:anonymous", "system:authenticated", "system:authenticated");
}

static int certificate(const char *cn, int64_t not_after_s, bool rejected)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct http_peer peer = { .cn = str_c(cn), .not_after_s = not_after_s, .rejected = rejected };
	struct identity id = { 0 };
	struct err e;

	err_init(&e);
	return authn_certificate(a, &peer, 1000, &id, &e);
}

/* Connections outlive certificates. */
static void a_certificate_ends_with_its_time(void **state)
{
	(void)state;
	assert_int_equal(certificate("x", 1001, false), 1);
	assert_int_equal(certificate("x", 999, false), -ERR_UNAUTHORIZED);
	assert_int_equal(certificate("", 0, true), -ERR_UNAUTHORIZED);
	assert_int_equal(certificate("", 0, false), 0);
}

/* May node a list all pods, as somebody asks about it who says the selector in parts? */
static void asks_about(struct fixture *f, const char *requirements, const char *want)
{
	auto_free char *body =
		xasprintf("{\"spec\":{\"user\":\"system:node:a\",\"groups\":[\"system:nodes\"],"
			  "\"resourceAttributes\":{\"verb\":\"list\",\"version\":\"v1\",\"resource\":\"pods\","
			  "\"fieldSelector\":{\"requirements\":[%s]}}}}",
			requirements);

	expect(f, 201, call(f, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body));
	assert_string_equal(get(f, "status.allowed"), want);
}

static void a_review_reads_the_operator(void **state)
{
	struct fixture *f = *state;

	asks_about(f, "{\"key\":\"spec.nodeName\",\"operator\":\"In\",\"values\":[\"a\"]}", "true");
	asks_about(f, "{\"key\":\"spec.nodeName\",\"operator\":\"NotIn\",\"values\":[\"a\"]}", "false");
	asks_about(f, "{\"key\":\"spec.nodeName\",\"operator\":\"In\",\"values\":[\"a\",\"b\"]}", "false");
	asks_about(f, "{\"key\":\"x\",\"operator\":\"In\",\"values\":[\"y,spec.nodeName=a\"]}", "false");
	asks_about(f, "{\"key\":\"x=y,spec.nodeName\",\"operator\":\"In\",\"values\":[\"a\"]}", "false");
}

static void refused_review(struct fixture *f, const char *selector, const char *words)
{
	auto_free char *body =
		xasprintf("{\"spec\":{\"user\":\"a\",\"resourceAttributes\":{\"verb\":\"list\",\"resource\":"
			  "\"pods\",\"fieldSelector\":%s}}}",
			selector);

	expect(f, 422, call(f, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body));
	assert_true(body_has(f, words));
}

static void a_review_says_one_thing(void **state)
{
	struct fixture *f = *state;

	refused_review(f, "{}",
		"spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is "
		"specified, requirements or rawSelector is required");
	refused_review(f,
		"{\"rawSelector\":\"a=b\",\"requirements\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"b\"]}]}",
		"may not specified at the same time as requirements");
	expect(f, 400, call(f, "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", "{\"spec\":{}}"));
	assert_true(body_has(f, "no namespace on request"));
}

static int bootstrap(struct fixture *f, const char *groups)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_free char *body =
		xasprintf("{\"metadata\":{\"name\":\"bootstrap-token-abcdef\"},\"type\":"
			  "\"bootstrap.kubernetes.io/token\",\"stringData\":{\"token-id\":\"abcdef\","
			  "\"token-secret\":\"0123456789abcdef\",\"usage-bootstrap-authentication\":\"true\","
			  "\"auth-extra-groups\":\"%s\"}}",
			groups);
	struct identity id = { 0 };
	struct err e;

	err_init(&e);
	expect(f, 201, call(f, "POST", "/api/v1/namespaces/kube-system/secrets", body));
	int rc = bootstrap_token_identity(f->api, a, STR("abcdef.0123456789abcdef"), &id, &e);
	expect(f, 200, call(f, "DELETE", "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef", ""));
	return rc < 0 ? rc : (int)id.n_groups;
}

static void a_bootstrap_token_gives_groups_of_its_kind(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bootstrap(f, ""), 2);
	assert_int_equal(bootstrap(f, "system:bootstrappers:a,system:bootstrappers:b:c-d"), 4);
	assert_int_equal(bootstrap(f, "system:masters"), -ERR_UNAUTHORIZED);
	assert_int_equal(bootstrap(f, "system:bootstrappers:a,system:bootstrappers:"), -ERR_UNAUTHORIZED);
	assert_int_equal(bootstrap(f, "system:bootstrappers:A"), -ERR_UNAUTHORIZED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nodes_are_in_no_namespace, setup, teardown),
		cmocka_unit_test_setup_teardown(a_connection_is_got_or_created, setup, teardown),
		cmocka_unit_test_setup_teardown(a_list_of_one_namespace_is_a_list, setup, teardown),
		cmocka_unit_test_setup_teardown(who_gathers_roles_must_have_all, setup, teardown),
		cmocka_unit_test_setup_teardown(who_labels_a_role_must_have_it, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_binds_to_a_role_to_come, setup, teardown),
		cmocka_unit_test_setup_teardown(a_service_is_a_way_to_its_pods_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(groups_that_are_named_are_all, setup, teardown),
		cmocka_unit_test(a_certificate_ends_with_its_time),
		cmocka_unit_test_setup_teardown(a_review_reads_the_operator, setup, teardown),
		cmocka_unit_test_setup_teardown(a_review_says_one_thing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_bootstrap_token_gives_groups_of_its_kind, setup, teardown),
		cmocka_unit_test(a_pod_is_no_way_to_the_machine_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* How objects begin and end: deletions that come twice, collections, labels and ports that stay, and what admission refuses. */
#include "api/api_fixture.h"

#define SERVICES "/api/v1/namespaces/default/services"
#define SPACES "/api/v1/namespaces"
#define CLASSES "/apis/scheduling.k8s.io/v1/priorityclasses"
#define LIMITS "/api/v1/namespaces/default/limitranges"
#define BUDGETS "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
#define MERGE "application/merge-patch+json"

/* ---- deletion -------------------------------------------------------------------------------- */

static void run_pod(struct fixture *f, const char *name)
{
	char body[300];

	snprintf(body, sizeof(body),
		"{\"metadata\":{\"name\":\"%s\"},\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
		name);
	expect(f, 201, call(f, "POST", PODS, body));
}

static void a_second_deletion_only_shortens(void **state)
{
	struct fixture *f = *state;

	run_pod(f, "p");
	expect(f, 200, call(f, "DELETE", PODS "/p", "{\"gracePeriodSeconds\":600}"));
	char *end = xstrdup(get(f, "metadata.deletionTimestamp")), *generation = xstrdup(get(f, "metadata.generation"));

	/* its own 30 seconds are nobody's wish now */
	expect(f, 200, call(f, "DELETE", PODS "/p", NULL));
	assert_string_equal(get(f, "metadata.deletionGracePeriodSeconds"), "600");
	expect(f, 200,
		call(f, "DELETE", PODS "/p", "{\"gracePeriodSeconds\":700,\"propagationPolicy\":\"Foreground\"}"));
	assert_string_equal(get(f, "metadata.deletionGracePeriodSeconds"), "600");
	assert_string_equal(get(f, "metadata.finalizers"), "");
	assert_string_equal(get(f, "metadata.deletionTimestamp"), end);

	expect(f, 200, call(f, "DELETE", PODS "/p", "{\"gracePeriodSeconds\":100}"));
	assert_string_equal(get(f, "metadata.deletionGracePeriodSeconds"), "100");
	assert_string_equal(get(f, "metadata.generation"), generation);
	struct wall was = { 0 }, is = { 0 };
	assert_true(wall_parse(str_c(end), &was) && wall_parse(str_c(get(f, "metadata.deletionTimestamp")), &is));
	assert_int_equal(wall_s(was) - wall_s(is), 500); /* counted from when it began */
	expect(f, 200, call(f, "DELETE", PODS "/p", "{\"gracePeriodSeconds\":0}"));
	expect(f, 404, call(f, "GET", PODS "/p", NULL));
	free(end);
	free(generation);
}

static void a_negative_time_is_a_second(void **state)
{
	struct fixture *f = *state;

	run_pod(f, "p");
	expect(f, 200, call(f, "DELETE", PODS "/p?gracePeriodSeconds=-1", NULL));
	assert_string_equal(get(f, "metadata.deletionGracePeriodSeconds"), "1");
	run_pod(f, "q");
	expect(f, 200, call(f, "DELETE", PODS "/q", "{\"gracePeriodSeconds\":-5}"));
	assert_string_equal(get(f, "metadata.deletionGracePeriodSeconds"), "1");
}

static size_t listed(struct fixture *f, const char *url)
{
	expect(f, 200, call(f, "GET", url, NULL));
	return val_len(doc_get(f->doc, "items"));
}

static void a_collection_is_deleted_as_far_as_was_asked(void **state)
{
	struct fixture *f = *state;
	char url[600];

	for (int i = 0; i < 4; i++) {
		char body[100];

		snprintf(body, sizeof(body), "{\"metadata\":{\"name\":\"m%d\",\"labels\":{\"a\":\"b\"}}}", i);
		expect(f, 201, call(f, "POST", CM, body));
	}
	expect(f, 200, call(f, "DELETE", CM "?labelSelector=a%3Db&limit=1", NULL));
	assert_int_equal(val_len(doc_get(f->doc, "items")), 1);
	assert_false(val_has(val_get(val_at(doc_get(f->doc, "items"), 0), "kind")));
	assert_string_equal(get(f, "kind"), "ConfigMapList");
	snprintf(url, sizeof(url), CM "?labelSelector=a%%3Db&limit=2&continue=%s", get(f, "metadata.continue"));
	assert_int_equal(listed(f, CM "?labelSelector=a%3Db"), 3);
	expect(f, 200, call(f, "DELETE", url, NULL));
	assert_int_equal(listed(f, CM "?labelSelector=a%3Db"), 1);
	expect(f, 400, call(f, "DELETE", CM "?limit=x", NULL));
	expect(f, 400,
		call(f, "DELETE", CM "?limit=x", "{\"gracePeriodSeconds\":\"y\"}")); /* which are meant comes first */
	assert_true(body_has(f, "limit"));
	expect(f, 200, call(f, "DELETE", CM "?labelSelector=a%3Db&dryRun=All", NULL));
	expect(f, 200, call(f, "GET", CM "/m3", NULL));
	expect(f, 200, call(f, "DELETE", CM "?labelSelector=a%3Db", NULL));
	assert_string_equal(get(f, "metadata.continue"), "");
	expect(f, 404, call(f, "GET", CM "/m3", NULL));
}

/* Who is told that nobody is left behind, and whether it took effect. */
static void a_deletion_that_waits_is_accepted(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"h\",\"finalizers\":[\"a.b/c\"]}}"));
	expect(f, 202, call(f, "DELETE", CM "/h", "{\"orphanDependents\":false}"));
	expect(f, 202, call(f, "DELETE", CM "/h?orphanDependents=false", NULL));
	expect(f, 200, call(f, "DELETE", CM "/h", "{\"propagationPolicy\":\"Background\"}"));
	expect(f, 200, call_as(f, "PATCH", CM "/h", MERGE, NULL, "{\"metadata\":{\"finalizers\":null}}"));
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"h\"}}"));
	expect(f, 200, call(f, "DELETE", CM "/h", "{\"orphanDependents\":false}"));
}

/* Without a body the parameters are the options, preconditions too; beside one they say nothing. */
static void parameters_are_options_where_no_body_is(void **state)
{
	struct fixture *f = *state;
	char url[200];

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"h\",\"finalizers\":[\"a.b/c\"]}}"));
	snprintf(url, sizeof(url), CM "/h?uid=%s", get(f, "metadata.uid"));
	expect(f, 409, call(f, "DELETE", CM "/h?uid=x", NULL));
	assert_true(body_has(f, "the UID in the precondition (x) does not match the UID in record"));
	expect(f, 409, call(f, "DELETE", CM "/h?resourceVersion=1", NULL));
	assert_true(body_has(f, "the ResourceVersion in the precondition (1) does not match"));
	expect(f, 400, call(f, "DELETE", CM "/h?gracePeriodSeconds=x", NULL));
	assert_string_equal(get(f, "message"), "strconv.ParseInt: parsing \"x\": invalid syntax");
	expect(f, 200, call(f, "DELETE", CM "/h?uid=x&gracePeriodSeconds=x&propagationPolicy=x&dryRun=All", "{}"));
	expect(f, 200, call(f, "GET", CM "/h", NULL));
	assert_string_equal(get(f, "metadata.deletionTimestamp"), "");
	expect(f, 200, call(f, "DELETE", url, NULL));
	expect(f, 200, call(f, "GET", CM "/h", NULL));
	assert_string_not_equal(get(f, "metadata.deletionTimestamp"), "");
}

static void events_own_nothing(void **state)
{
	struct fixture *f = *state;

	expect(f, 422,
		call(f, "POST", CM,
			"{\"metadata\":{\"name\":\"o\",\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"e\",\"uid\":\"u\"}]}}"));
	assert_true(body_has(f, "/v1, Kind=Event is disallowed from being an owner"));
	assert_true(body_has(f, "\"field\":\"metadata.ownerReferences\""));
}

/* ---- namespaces ------------------------------------------------------------------------------ */

static bool is_called(struct fixture *f, const char *name)
{
	return val_is(val_get(doc_get(f->doc, "metadata.labels"), "kubernetes.io/metadata.name"), name);
}

static void a_namespace_is_labelled_with_its_name_for_good(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", SPACES,
			"{\"metadata\":{\"name\":\"one\",\"labels\":{\"kubernetes.io/metadata.name\":\"kube-system\"}}}"));
	assert_true(is_called(f, "one"));
	expect(f, 200,
		call_as(f, "PATCH", SPACES "/one", MERGE, NULL,
			"{\"metadata\":{\"labels\":{\"kubernetes.io/metadata.name\":\"kube-system\",\"a\":\"b\"}}}"));
	assert_true(is_called(f, "one"));
	expect(f, 200, call(f, "PUT", SPACES "/one", "{\"metadata\":{\"name\":\"one\"}}"));
	assert_true(is_called(f, "one"));
	expect(f, 200,
		call_as(f, "PATCH", SPACES "/one?fieldManager=m&force=true", "application/apply-patch+yaml", NULL,
			"{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"one\",\"labels\":{\"kubernetes.io/metadata.name\":\"x\"}}}"));
	assert_true(is_called(f, "one"));
	expect(f, 201, call(f, "POST", SPACES, "{\"metadata\":{\"generateName\":\"two-\"}}"));
	assert_true(is_called(f, get(f, "metadata.name")));
}

static void what_ends_gets_nothing_new(void **state)
{
	struct fixture *f = *state;
	static const char pods[] = SPACES "/ends/pods", eviction[] = "{\"metadata\":{\"name\":\"p\"}}";

	expect(f, 201, call(f, "POST", SPACES, "{\"metadata\":{\"name\":\"ends\"}}"));
	expect(f, 201, call(f, "POST", SPACES "/ends/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}"));
	expect(f, 201,
		call(f, "POST", pods,
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	expect(f, 200, call(f, "DELETE", SPACES "/ends", NULL));
	expect(f, 403, call(f, "POST", SPACES "/ends/pods/p/eviction", eviction));
	assert_string_equal(get(f, "message"),
		"pods \"p\" is forbidden: unable to create new content in namespace ends because it is being terminated");
	assert_true(body_has(f, "\"reason\":\"NamespaceTerminating\""));
	expect(f, 403, call(f, "POST", SPACES "/ends/serviceaccounts/default/token", "{\"spec\":{}}"));
	expect(f, 404, call(f, "POST", SPACES "/none/pods/p/eviction", eviction));
	assert_string_equal(get(f, "message"), "namespaces \"none\" not found");
	expect(f, 201,
		call(f, "POST", "/apis/authorization.k8s.io/v1/namespaces/ends/localsubjectaccessreviews",
			"{\"metadata\":{\"namespace\":\"ends\"},\"spec\":{\"user\":\"u\",\"resourceAttributes\":{\"namespace\":\"ends\",\"verb\":\"get\",\"resource\":\"pods\"}}}"));
}

/* ---- Services -------------------------------------------------------------------------------- */

static void a_node_port_belongs_to_a_ports_name(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", SERVICES,
			"{\"metadata\":{\"name\":\"s\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"name\":\"a\",\"port\":80,\"nodePort\":30111},"
			"{\"name\":\"b\",\"port\":81,\"nodePort\":30112}]}}"));
	expect(f, 200,
		call(f, "PUT", SERVICES "/s",
			"{\"metadata\":{\"name\":\"s\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"name\":\"a\",\"port\":8080},"
			"{\"name\":\"b\",\"port\":80}]}}"));
	assert_int_equal(val_int(val_get(val_at(doc_get(f->doc, "spec.ports"), 0), "nodePort"), 0), 30111);
	assert_int_equal(val_int(val_get(val_at(doc_get(f->doc, "spec.ports"), 1), "nodePort"), 0), 30112);
	/* somebody else's already */
	expect(f, 200,
		call(f, "PUT", SERVICES "/s",
			"{\"metadata\":{\"name\":\"s\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"name\":\"a\",\"port\":8080},"
			"{\"name\":\"b\",\"port\":80,\"nodePort\":30111}]}}"));
	assert_int_equal(val_int(val_get(val_at(doc_get(f->doc, "spec.ports"), 1), "nodePort"), 0), 30111);
	assert_int_not_equal(val_int(val_get(val_at(doc_get(f->doc, "spec.ports"), 0), "nodePort"), 0), 30111);
}

static void both_protocols_of_a_port_get_one_number(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++) {
		char body[300];

		snprintf(body, sizeof(body),
			"{\"metadata\":{\"name\":\"dns%d\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"name\":\"t\",\"port\":53},"
			"{\"name\":\"u\",\"port\":53,\"protocol\":\"UDP\"}]}}",
			i);
		expect(f, 201, call(f, "POST", SERVICES, body));
		struct val ports = doc_get(f->doc, "spec.ports");
		assert_true(val_int(val_get(val_at(ports, 0), "nodePort"), 0) > 0);
		assert_true(val_equal(val_get(val_at(ports, 0), "nodePort"), val_get(val_at(ports, 1), "nodePort")));
	}
}

/* The range has 16: the network, its broadcasts, and 14 for Services, of which the server has taken one. */
static void a_small_range_is_given_to_its_end(void **state)
{
	struct api_opts o = { .no_authz = true, .service_cidrs = "10.200.0.0/28" };
	struct fixture f = { 0 };
	struct err e;
	char body[200];

	(void)state;
	err_init(&e);
	assert_int_equal(store_open_memory(&f.store, &e), 0);
	o.store = f.store;
	assert_int_equal(api_new(&o, &f.api, &e), 0);
	for (int i = 0; i < 14; i++) {
		snprintf(body, sizeof(body), "{\"metadata\":{\"name\":\"s%d\"},\"spec\":{\"ports\":[{\"port\":80}]}}",
			i);
		expect(&f, i < 13 ? 201 : 500, call(&f, "POST", SERVICES, body));
		assert_string_not_equal(get(&f, "spec.clusterIP"), "10.200.0.15");
	}
	answer_free(f.last);
	doc_unref(f.doc);
	api_stop(f.api);
	store_close(f.store);
	api_free(f.api);
}

/* ---- admission ------------------------------------------------------------------------------- */

static void there_is_one_default_priority(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", CLASSES,
			"{\"metadata\":{\"name\":\"a\"},\"value\":1,\"globalDefault\":true,\"preemptionPolicy\":\"Never\"}"));
	expect(f, 403, call(f, "POST", CLASSES, "{\"metadata\":{\"name\":\"b\"},\"value\":2,\"globalDefault\":true}"));
	assert_string_equal(get(f, "message"),
		"priorityclasses.scheduling.k8s.io \"b\" is forbidden: PriorityClass a is already marked as default. Only one default can exist");
	expect(f, 201, call(f, "POST", CLASSES, "{\"metadata\":{\"name\":\"b\"},\"value\":2}"));
	expect(f, 403, call_as(f, "PATCH", CLASSES "/b", MERGE, NULL, "{\"globalDefault\":true}"));
	expect(f, 200, call_as(f, "PATCH", CLASSES "/a", MERGE, NULL, "{\"description\":\"x\"}"));

	expect(f, 403,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"preemptionPolicy\":\"PreemptLowerPriority\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	assert_string_equal(get(f, "message"),
		"pods \"p\" is forbidden: the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; "
		"priority admission controller computed Never from the given PriorityClass name");
	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"preemptionPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	expect(f, 200, call(f, "DELETE", CLASSES "/a", NULL));
}

static void a_resize_keeps_to_the_limits(void **state)
{
	struct fixture *f = *state;
	static const char size[] =
		"{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"resources\":{\"requests\":{\"cpu\":\"%s\"},\"limits\":{\"cpu\":\"2\"}}}]}}";
	char body[300];

	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\","
			"\"resources\":{\"requests\":{\"cpu\":\"1\"},\"limits\":{\"cpu\":\"2\"}}}]}}"));
	expect(f, 201,
		call(f, "POST", LIMITS,
			"{\"metadata\":{\"name\":\"l\"},\"spec\":{\"limits\":[{\"type\":\"Container\",\"min\":{\"cpu\":\"500m\"}}]}}"));
	snprintf(body, sizeof(body), size, "100m");
	expect(f, 403, call_as(f, "PATCH", PODS "/p/resize", "application/strategic-merge-patch+json", NULL, body));
	assert_string_equal(get(f, "message"),
		"pods \"p\" is forbidden: minimum cpu usage per Container is 500m, but request is 100m");
	snprintf(body, sizeof(body), size, "600m");
	expect(f, 200, call_as(f, "PATCH", PODS "/p/resize", "application/strategic-merge-patch+json", NULL, body));
}

static void a_limit_that_two_containers_miss_is_told_once(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", LIMITS,
			"{\"metadata\":{\"name\":\"l\"},\"spec\":{\"limits\":[{\"type\":\"Container\",\"min\":{\"memory\":\"1Gi\"}}]}}"));
	expect(f, 403,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"resources\":{\"requests\":{\"memory\":\"1Mi\"}}},{\"name\":\"b\",\"image\":\"i\",\"resources\":{\"requests\":{\"memory\":\"1Mi\"}}}]}}"));
	assert_string_equal(get(f, "message"),
		"pods \"p\" is forbidden: minimum memory usage per Container is 1Gi, but request is 1Mi");
}

static void who_tightens_a_namespace_hears_of_pods_that_are_alike_once(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "p%d", i);
		run_pod(f, name);
	}
	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hostNetwork\":true,\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	expect(f, 200,
		call_as(f, "PATCH", SPACES "/default?dryRun=All", MERGE, NULL,
			"{\"metadata\":{\"labels\":{\"pod-security.kubernetes.io/enforce\":\"restricted\"}}}"));
	assert_non_null(strstr(f->last->warning,
		"existing pods in namespace \\\"default\\\" violate the new PodSecurity enforce level \\\"restricted:latest\\\""));
	assert_non_null(strstr(f->last->warning,
		"p0 (and 2 other pods): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"));
	assert_non_null(strstr(f->last->warning, "q: host namespaces, allowPrivilegeEscalation != false"));
	assert_null(strstr(f->last->warning, "p1"));
	assert_null(strstr(f->last->warning, "hostNetwork=true"));
}

static void an_account_may_bound_the_secrets_of_its_pods(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *spec, *why;
	} bad[] = {
		{ "\"volumes\":[{\"name\":\"v\",\"secret\":{\"secretName\":\"x\"}}],\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]",
			"volume with secret.secretName=\"x\"" },
		{ "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"env\":[{\"name\":\"A\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"x\",\"key\":\"k\"}}}]}]",
			"container c with envVar A referencing secret.secretName=\"x\"" },
		{ "\"imagePullSecrets\":[{\"name\":\"pull\"},{\"name\":\"x\"}],\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]",
			"imagePullSecrets[1].name=\"x\"" },
	};
	char body[600];

	expect(f, 201,
		call(f, "POST", "/api/v1/namespaces/default/serviceaccounts",
			"{\"metadata\":{\"name\":\"s\",\"annotations\":{\"kubernetes.io/enforce-mountable-secrets\":\"true\"}},"
			"\"secrets\":[{\"name\":\"own\"}],\"imagePullSecrets\":[{\"name\":\"pull\"}]}"));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(body, sizeof(body),
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"serviceAccountName\":\"s\",%s}}", bad[i].spec);
		expect(f, 403, call(f, "POST", PODS, body));
		assert_non_null(strstr(get(f, "message"), bad[i].why));
		assert_non_null(strstr(
			get(f, "message"), " is not allowed because service account s does not reference that "));
	}
	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"serviceAccountName\":\"s\",\"volumes\":[{\"name\":\"v\",\"secret\":{\"secretName\":\"own\"}}],"
			"\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	snprintf(body, sizeof(body), "{\"metadata\":{\"name\":\"q\"},\"spec\":{%s}}", bad[0].spec);
	expect(f, 201, call(f, "POST", PODS, body));
}

/* ---- pods ------------------------------------------------------------------------------------ */

static void a_binding_is_of_the_pod_that_it_names(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	expect(f, 400,
		call(f, "POST", PODS "/p/binding",
			"{\"metadata\":{\"name\":\"q\"},\"target\":{\"kind\":\"Node\",\"name\":\"n\"}}"));
	assert_string_equal(get(f, "message"), "name in URL does not match name in Binding object");
	expect(f, 201,
		call(f, "POST", PODS "/p/binding",
			"{\"metadata\":{\"name\":\"p\"},\"target\":{\"kind\":\"Node\",\"name\":\"n\"}}"));
}

/* Status is the controller's to write: here it is the test. */
static void say_of_budget(struct fixture *f, const char *status)
{
	char body[400];

	snprintf(body, sizeof(body),
		"{\"metadata\":{\"name\":\"b\"},\"status\":{\"observedGeneration\":1,\"disruptionsAllowed\":0,%s}}",
		status);
	expect(f, 200, call_as(f, "PATCH", BUDGETS "/b/status", MERGE, NULL, body));
	expect(f, 429, call(f, "POST", PODS "/p/eviction", "{\"metadata\":{\"name\":\"p\"}}"));
}

static const char *cause(struct fixture *f)
{
	static char text[300];
	struct str s = val_str(val_get(val_at(doc_get(f->doc, "details.causes"), 0), "message"));

	snprintf(text, sizeof(text), "%.*s", STR_ARG(s));
	return text;
}

static void a_budget_says_why_it_lets_nobody_go(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"p\",\"labels\":{\"a\":\"b\"}},\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	expect(f, 200,
		call_as(f, "PATCH", PODS "/p/status", MERGE, NULL,
			"{\"status\":{\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}"));
	expect(f, 201,
		call(f, "POST", BUDGETS,
			"{\"metadata\":{\"name\":\"b\"},\"spec\":{\"minAvailable\":1,\"selector\":{\"matchLabels\":{\"a\":\"b\"}}}}"));
	say_of_budget(f,
		"\"currentHealthy\":0,\"desiredHealthy\":0,\"expectedPods\":0,\"conditions\":[{\"type\":\"DisruptionAllowed\",\"status\":\"False\","
		"\"reason\":\"SyncFailed\",\"message\":\"oh\",\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}]");
	assert_string_equal(
		cause(f), "The disruption budget b does not allow evicting pods currently because it failed sync: oh");
	say_of_budget(f, "\"conditions\":null,\"currentHealthy\":1,\"desiredHealthy\":2");
	assert_string_equal(cause(f), "The disruption budget b needs 2 healthy pods and has 1 currently");
	say_of_budget(f, "\"currentHealthy\":3,\"desiredHealthy\":2");
	assert_string_equal(cause(f), "The disruption budget b does not allow evicting pods currently");
}

static void who_is_going_gets_no_new_finalizer(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"g\",\"finalizers\":[\"a.b/c\"]}}"));
	expect(f, 200, call(f, "DELETE", CM "/g", NULL));
	expect(f, 422,
		call_as(f, "PATCH", CM "/g", MERGE, NULL,
			"{\"metadata\":{\"finalizers\":[\"z.b/c\",\"a.b/c\",\"d.b/c\"]}}"));
	assert_string_equal(get(f, "message"),
		"ConfigMap \"g\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being "
		"deleted, found new finalizers []string{\"d.b/c\", \"z.b/c\"}");
	expect(f, 200, call_as(f, "PATCH", CM "/g", MERGE, NULL, "{\"metadata\":{\"finalizers\":null}}"));
	expect(f, 404, call(f, "GET", CM "/g", NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_second_deletion_only_shortens, setup, teardown),
		cmocka_unit_test_setup_teardown(a_negative_time_is_a_second, setup, teardown),
		cmocka_unit_test_setup_teardown(a_collection_is_deleted_as_far_as_was_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(a_deletion_that_waits_is_accepted, setup, teardown),
		cmocka_unit_test_setup_teardown(parameters_are_options_where_no_body_is, setup, teardown),
		cmocka_unit_test_setup_teardown(events_own_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_namespace_is_labelled_with_its_name_for_good, setup, teardown),
		cmocka_unit_test_setup_teardown(a_node_port_belongs_to_a_ports_name, setup, teardown),
		cmocka_unit_test_setup_teardown(both_protocols_of_a_port_get_one_number, setup, teardown),
		cmocka_unit_test_setup_teardown(there_is_one_default_priority, setup, teardown),
		cmocka_unit_test_setup_teardown(a_resize_keeps_to_the_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(
			who_tightens_a_namespace_hears_of_pods_that_are_alike_once, setup, teardown),
		cmocka_unit_test(a_small_range_is_given_to_its_end),
		cmocka_unit_test_setup_teardown(what_ends_gets_nothing_new, setup, teardown),
		cmocka_unit_test_setup_teardown(an_account_may_bound_the_secrets_of_its_pods, setup, teardown),
		cmocka_unit_test_setup_teardown(a_binding_is_of_the_pod_that_it_names, setup, teardown),
		cmocka_unit_test_setup_teardown(a_budget_says_why_it_lets_nobody_go, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_going_gets_no_new_finalizer, setup, teardown),
		cmocka_unit_test_setup_teardown(a_limit_that_two_containers_miss_is_told_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

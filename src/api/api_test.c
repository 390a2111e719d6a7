/* What writers get of the server core. */
#include "api/api_fixture.h"

static void creates_reads_updates_deletes(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", CM,
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\"}}"));
	assert_string_equal(get(f, "metadata.namespace"), "default");
	assert_true(strlen(get(f, "metadata.uid")) == 36);
	char *rv = xstrdup(get(f, "metadata.resourceVersion"));
	expect(f, 200, call(f, "GET", CM "/a", NULL));
	assert_string_equal(get(f, "data.k"), "v");
	assert_string_equal(get(f, "metadata.resourceVersion"), rv);
	expect(f, 409, call(f, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}"));
	assert_string_equal(get(f, "reason"), "AlreadyExists");
	assert_string_equal(get(f, "message"), "configmaps \"a\" already exists");
	char *body = xasprintf("{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"%s\"},\"data\":{\"k\":\"w\"}}", rv);
	expect(f, 200, call(f, "PUT", CM "/a", body));
	expect(f, 409,
		call(f, "PUT", CM "/a",
			"{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"1\"},\"data\":{\"k\":\"x\"}}"));
	assert_string_equal(get(f, "reason"), "Conflict");
	expect(f, 200, call(f, "DELETE", CM "/a", NULL));
	assert_string_equal(get(f, "status"), "Success");
	expect(f, 404, call(f, "GET", CM "/a", NULL));
	assert_string_equal(get(f, "message"), "configmaps \"a\" not found");
	free(rv);
	free(body);
}

static void same_update_writes_nothing(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"same\"},\"data\":{\"k\":\"v\"}}"));
	char *rv = xstrdup(get(f, "metadata.resourceVersion"));
	expect(f, 200, call(f, "PUT", CM "/same", "{\"metadata\":{\"name\":\"same\"},\"data\":{\"k\":\"v\"}}"));
	assert_string_equal(get(f, "metadata.resourceVersion"), rv);
	expect(f, 200,
		call_as(f, "PATCH", CM "/same", "application/merge-patch+json", NULL, "{\"data\":{\"k\":\"v\"}}"));
	assert_string_equal(get(f, "metadata.resourceVersion"), rv);
	free(rv);
}

static const char deployment[] =
	"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":2,\"selector\":{\"matchLabels\":{\"app\":\"web\"}},"
	"\"template\":{\"metadata\":{\"labels\":{\"app\":\"web\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox\"}]}}}}";
#define NETPOL "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
#define NETPOL_JSON(spec)                                                                                                          \
	"{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"generateName\":\"p\"},\"spec\":" spec \
	"}"

static void network_policies_make_sense(void **state)
{
	static const struct {
		int status;
		const char *json, *says;
	} cases[] = {
		{ 201, NETPOL_JSON("{\"podSelector\":{}}"), "" },
		{ 201,
			NETPOL_JSON(
				"{\"podSelector\":{},\"ingress\":[{\"from\":[{\"podSelector\":{}}],\"ports\":[{\"port\":1,\"endPort\":9},{\"port\":\"web\"}]}]}"),
			"" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"ingress\":[{\"from\":[{}]}]}"),
			"spec.ingress[0].from[0]: Required value: must specify a peer" },
		{ 422,
			NETPOL_JSON(
				"{\"podSelector\":{},\"egress\":[{\"to\":[{\"podSelector\":{},\"ipBlock\":{\"cidr\":\"10.0.0.0/8\"}}]}]}"),
			"may not specify both ipBlock and another peer" },
		{ 422,
			NETPOL_JSON(
				"{\"podSelector\":{},\"egress\":[{\"to\":[{\"ipBlock\":{\"cidr\":\"10.0.0.0/8\",\"except\":[\"11.0.0.0/9\"]}}]}]}"),
			"spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \\\"11.0.0.0/9\\\": must be a strict subset of `cidr`" },
		{ 422,
			NETPOL_JSON(
				"{\"podSelector\":{},\"egress\":[{\"to\":[{\"ipBlock\":{\"cidr\":\"10.0.0.0\"}}]}]}"),
			"must be a valid CIDR value" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"egress\":[{\"ports\":[{\"port\":9,\"endPort\":8}]}]}"),
			"must be greater than or equal to `port`" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"egress\":[{\"ports\":[{\"port\":\"web\",\"endPort\":8}]}]}"),
			"when `port` is non-numeric" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"egress\":[{\"ports\":[{\"endPort\":8}]}]}"),
			"when `port` is not specified" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"egress\":[{\"ports\":[{\"port\":0}]}]}"),
			"must be between 1 and 65535" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		expect(f, cases[i].status, call(f, "POST", NETPOL, cases[i].json));
		if (!str_has(buf_view(&f->last->body), str_c(cases[i].says)))
			fail_msg("%s: %.*s", cases[i].json, STR_ARG(buf_view(&f->last->body)));
	}
}

#define MERGE "application/merge-patch+json"
#define SLICES "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
#define DEPLOY "/apis/apps/v1/namespaces/default/deployments"

static void deployment_gets_defaults_and_generation(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", DEPLOY, deployment));
	assert_string_equal(get(f, "spec.strategy.type"), "RollingUpdate");
	assert_string_equal(get(f, "spec.template.spec.restartPolicy"), "Always");
	assert_string_equal(get(f, "metadata.generation"), "1");
	assert_non_null(strstr(f->last->warning, "no controller"));
	expect(f, 200,
		call_as(f, "PATCH", DEPLOY "/web", "application/strategic-merge-patch+json", NULL,
			"{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox:2\"}]}}}}"));
	assert_string_equal(get(f, "metadata.generation"), "2");
	assert_string_equal(get(f, "spec.replicas"), "2");
	expect(f, 200,
		call_as(f, "PATCH", DEPLOY "/web/scale", "application/merge-patch+json", NULL,
			"{\"spec\":{\"replicas\":5}}"));
	assert_string_equal(get(f, "kind"), "Scale");
	assert_string_equal(get(f, "spec.replicas"), "5");
	assert_string_equal(get(f, "status.selector"), "app=web");
	expect(f, 200, call(f, "GET", DEPLOY "/web", NULL));
	assert_string_equal(get(f, "metadata.generation"), "3");
	expect(f, 200,
		call_as(f, "PATCH", DEPLOY "/web/status", "application/merge-patch+json", NULL,
			"{\"status\":{\"replicas\":3},\"spec\":{\"replicas\":9}}"));
	assert_string_equal(get(f, "spec.replicas"), "5");
	assert_string_equal(get(f, "status.replicas"), "3");
	assert_string_equal(get(f, "metadata.generation"), "3");
	expect(f, 422,
		call_as(f, "PATCH", DEPLOY "/web", "application/merge-patch+json", NULL,
			"{\"spec\":{\"selector\":{\"matchLabels\":{\"app\":\"x\"}}}}"));
	assert_non_null(strstr(get(f, "message"), "Deployment.apps \"web\" is invalid"));
	assert_non_null(strstr(get(f, "message"), "field is immutable"));
}

static void whose_a_secret_is_does_not_depend_on_how_it_was_said(void **state)
{
	struct fixture *f = *state;
	static const char secrets[] = "/api/v1/namespaces/default/secrets";

	expect(f, 201, call(f, "POST", secrets, "{\"metadata\":{\"name\":\"s\"},\"stringData\":{\"a\":\"b\"}}"));
	assert_string_equal(get(f, "data.a"), "Yg==");
	assert_true(body_has(f, "\"f:data\":{\".\":{},\"f:a\":{}}"));
	assert_false(body_has(f, "stringData"));
	expect(f, 200,
		call_as(f, "PATCH", "/api/v1/namespaces/default/secrets/s", MERGE, NULL,
			"{\"stringData\":{\"c\":\"d\"}}"));
	assert_true(body_has(f, "\"f:data\":{\".\":{},\"f:a\":{},\"f:c\":{}}"));
	assert_false(body_has(f, "stringData"));
}

static void some_metadata_counts_as_a_generation(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", DEPLOY, deployment));
	expect(f, 200, call_as(f, "PATCH", DEPLOY "/web", MERGE, NULL, "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}"));
	assert_string_equal(get(f, "metadata.generation"), "1");
	expect(f, 200,
		call_as(f, "PATCH", DEPLOY "/web", MERGE, NULL, "{\"metadata\":{\"annotations\":{\"a\":\"b\"}}}"));
	assert_string_equal(get(f, "metadata.generation"), "2");
	expect(f, 200,
		call_as(f, "PATCH", DEPLOY "/web/status", MERGE, NULL,
			"{\"metadata\":{\"annotations\":{\"a\":\"c\"}}}"));
	assert_string_equal(get(f, "metadata.generation"), "2");
	expect(f, 201,
		call(f, "POST", SLICES,
			"{\"metadata\":{\"name\":\"s\"},\"addressType\":\"IPv4\",\"endpoints\":[],\"ports\":[]}"));
	expect(f, 200, call_as(f, "PATCH", SLICES "/s", MERGE, NULL, "{\"metadata\":{\"annotations\":{\"a\":\"b\"}}}"));
	assert_string_equal(get(f, "metadata.generation"), "1");
	expect(f, 200, call_as(f, "PATCH", SLICES "/s", MERGE, NULL, "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}"));
	assert_string_equal(get(f, "metadata.generation"), "2");
}

static void who_applies_a_null_owns_the_field(void **state)
{
	static const char kind[] = "application/apply-patch+yaml",
			  path[] = "/api/v1/namespaces/default/serviceaccounts";
	static const char config[] =
		"{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"n\","
		"\"creationTimestamp\":null},\"automountServiceAccountToken\":null,\"secrets\":null}";
	struct fixture *f = *state;
	char *one = xasprintf("%s/n?fieldManager=one", path), *forced = xasprintf("%s&force=true", one), *version;

	expect(f, 201,
		call(f, "POST", path,
			"{\"metadata\":{\"name\":\"n\"},\"automountServiceAccountToken\":false,\"secrets\":[{\"name\":\"s\"}]}"));
	expect(f, 409, call_as(f, "PATCH", one, kind, NULL, config));
	assert_true(body_has(f, "Apply failed with 1 conflict"));
	assert_true(body_has(f, ".automountServiceAccountToken"));
	expect(f, 200, call_as(f, "PATCH", forced, kind, NULL, config));
	assert_false(val_has(doc_get(f->doc, "automountServiceAccountToken")));
	assert_int_equal(val_len(doc_get(f->doc, "secrets")), 1); /* a null says nothing of what is in a list */
	assert_true(body_has(f, "\"f:automountServiceAccountToken\""));
	version = xasprintf("%.*s", STR_ARG(doc_str(f->doc, "metadata.resourceVersion")));
	expect(f, 200, call_as(f, "PATCH", one, kind, NULL, config));
	assert_true(str_is(doc_str(f->doc, "metadata.resourceVersion"), version));
	free(version);
	expect(f, 201,
		call_as(f, "PATCH", CM "/nulls?fieldManager=one", kind, NULL,
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"nulls\",\"labels\":null,"
			"\"finalizers\":null,\"generateName\":null}}"));
	assert_false(val_has(doc_get(f->doc, "metadata.labels")));
	assert_true(body_has(f, "{\"f:metadata\":{\"f:finalizers\":{},\"f:labels\":{}}}"));
	free(forced);
	free(one);
}

static void apply_takes_and_refuses_fields(void **state)
{
	struct fixture *f = *state;
	static const char config[] = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ssa\ndata:\n  a: '1'\n";

	expect(f, 422, call_as(f, "PATCH", CM "/ssa", "application/apply-patch+yaml", NULL, config));
	expect(f, 201, call_as(f, "PATCH", CM "/ssa?fieldManager=one", "application/apply-patch+yaml", NULL, config));
	assert_string_equal(get(f, "metadata.managedFields"), get(f, "metadata.managedFields"));
	expect(f, 409,
		call_as(f, "PATCH", CM "/ssa?fieldManager=two", "application/apply-patch+yaml", NULL,
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"ssa\"},\"data\":{\"a\":\"2\"}}"));
	assert_non_null(strstr(get(f, "message"), "conflict with \"one\""));
	expect(f, 200,
		call_as(f, "PATCH", CM "/ssa?fieldManager=two&force=true", "application/apply-patch+yaml", NULL,
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"ssa\"},\"data\":{\"a\":\"2\"}}"));
	assert_string_equal(get(f, "data.a"), "2");
	expect(f, 400,
		call_as(f, "PATCH", CM "/ssa?fieldManager=two&fieldValidation=Ignore", "application/apply-patch+yaml",
			NULL,
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"ssa\"},\"daata\":{}}"));
	assert_string_equal(get(f, "reason"), "BadRequest");
	assert_string_equal(get(f, "message"),
		"failed to create typed patch object (/ssa; /v1, Kind=ConfigMap): .daata: field not declared in schema");
}

/* As JSON has it, where an empty list is left out of an object. */
static void an_empty_list_of_managers_forgets_them(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call_as(f, "PATCH", CM "/reset?fieldManager=one", "application/apply-patch+yaml", NULL,
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: reset}, data: {a: '1'}}"));
	expect(f, 200,
		call_as(f, "PATCH", CM "/reset?fieldManager=two", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"managedFields\":[{\"manager\":\"one\",\"operation\":\"Apply\",\"apiVersion\":\"v9\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"f:data\":{\"f:a\":{}}}}]},\"data\":{\"b\":\"1\"}}"));
	assert_int_equal(val_len(doc_get(f->doc, "metadata.managedFields")), 1); /* v1 alone is served */
	assert_true(val_is(val_get(val_at(doc_get(f->doc, "metadata.managedFields"), 0), "manager"), "two"));
	expect(f, 200,
		call_as(f, "PATCH", CM "/reset?fieldManager=two", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"managedFields\":[]},\"data\":{\"b\":\"2\"}}"));
	assert_false(val_has(doc_get(f->doc, "metadata.managedFields")));
	assert_string_equal(get(f, "data.b"), "2");
}

#define APPLY(f, status, name, by, config) \
	expect(f, status,                  \
		call_as(f, "PATCH", CM "/" name "?fieldManager=" by, "application/apply-patch+yaml", NULL, config))

/* An object that is there needs no name in what is applied, and its annotation tells what was sent. */
static void what_is_applied_is_taken_as_it_is(void **state)
{
	struct fixture *f = *state;
	static const char text[] =
		"{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {kubectl.kubernetes.io/last-applied-configuration: x}}}";

	APPLY(f, 400, "bare", "one", text);
	assert_string_equal(get(f, "message"),
		"the name of the object (bare based on URL) was undeterminable: name must be provided");
	APPLY(f, 201, "bare", "one",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: bare, finalizers: [], annotations: {kubectl.kubernetes.io/last-applied-configuration: x}}}");
	APPLY(f, 200, "bare", "kubectl", "{apiVersion: v1, kind: ConfigMap, data: {a: b}}");
	assert_false(body_has(f, "\\\"namespace"));
	APPLY(f, 200, "bare", "kubectl", "{apiVersion: v1, kind: ConfigMap, metadata: {labels: {a: null}}}");
	assert_string_equal(get(f, "metadata.labels"), "{\"a\":\"\"}");
	assert_true(body_has(f, "\\\"labels\\\":{\\\"a\\\":null}"));
	APPLY(f, 409, "bare", "one", "{apiVersion: v1, kind: ConfigMap, metadata: {labels: {a: null}}}"); /* is "" */
}

static void an_applied_scale_is_its_managers(void **state)
{
	static const char scale[] = DEPLOY "/web/scale?fieldManager=pilot", apply[] = "application/apply-patch+yaml",
			  five[] = "{\"apiVersion\":\"autoscaling/v1\",\"kind\":\"Scale\",\"spec\":{\"replicas\":5}}";
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", DEPLOY, deployment));
	expect(f, 422, call_as(f, "PATCH", DEPLOY "/web/scale", apply, NULL, five));
	expect(f, 415, call_as(f, "PATCH", DEPLOY "/web/scale", "text/plain", NULL, five));
	expect(f, 400, call_as(f, "PATCH", scale, apply, NULL, "{\"spec\":{\"replicas\":5}}"));
	expect(f, 400,
		call_as(f, "PATCH", scale, apply, NULL,
			"{\"apiVersion\":\"autoscaling/v1\",\"kind\":\"Scale\",\"spec\":{\"replica\":5}}"));
	assert_true(body_has(f, ".spec.replica: field not declared in schema"));
	expect(f, 409, call_as(f, "PATCH", scale, apply, NULL, five));
	assert_string_equal(get(f, "details.causes"),
		"[{\"reason\":\"FieldManagerConflict\",\"message\":\"conflict with \\\"test\\\" using autoscaling/v1\",\"field\":\".spec.replicas\"}]");
	expect(f, 200, call_as(f, "PATCH", DEPLOY "/web/scale?fieldManager=pilot&force=true", apply, NULL, five));
	assert_string_equal(get(f, "spec.replicas"), "5");
	expect(f, 200, call(f, "GET", DEPLOY "/web", NULL));
	assert_string_equal(get(f, "spec.replicas"), "5");
	struct val first = val_at(doc_get(f->doc, "metadata.managedFields"), 0);
	assert_true(val_is(val_get(first, "manager"), "pilot"));
	assert_true(val_is(val_get(first, "operation"), "Apply"));
	assert_true(val_is(val_get(first, "subresource"), "scale"));
	assert_true(val_is(val_get(first, "apiVersion"), "apps/v1"));
	assert_true(str_is(val_text(val_get(first, "fieldsV1")), "{\"f:spec\":{\"f:replicas\":{}}}"));
	assert_int_equal(val_len(doc_get(f->doc, "metadata.managedFields")), 2);
	expect(f, 200, call_as(f, "PATCH", scale, apply, NULL, five));
}

static void replicas_that_are_nobodys_were_there_before(void **state)
{
	static const char apply
		[] = "application/apply-patch+yaml",
	   five[] = "{\"apiVersion\":\"autoscaling/v1\",\"kind\":\"Scale\",\"spec\":{\"replicas\":5}}",
	   two[] = "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"two\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},"
		   "\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}";
	struct fixture *f = *state;

	expect(f, 201, call_as(f, "PATCH", DEPLOY "/two?fieldManager=one", apply, NULL, two));
	expect(f, 200, call_as(f, "PATCH", DEPLOY "/two/scale", MERGE, NULL, "{\"spec\":{\"replicas\":2}}"));
	expect(f, 200, call(f, "GET", DEPLOY "/two", NULL));
	assert_false(body_has(f, "\"f:replicas\"")); /* an update begins no tracking */
	expect(f, 409, call_as(f, "PATCH", DEPLOY "/two/scale?fieldManager=pilot", apply, NULL, five));
	assert_string_equal(get(f, "message"),
		"Apply failed with 1 conflict: conflict with \"before-first-apply\" with subresource \"scale\" using autoscaling/v1: .spec.replicas");
	expect(f, 200, call_as(f, "PATCH", DEPLOY "/two/scale?fieldManager=pilot&force=true", apply, NULL, five));
	expect(f, 200, call(f, "GET", DEPLOY "/two", NULL));
	assert_true(body_has(f, "\"manager\":\"pilot\""));
	assert_false(body_has(f, "before-first-apply"));
	expect(f, 200,
		call_as(f, "PATCH", DEPLOY "/two/scale?fieldManager=up", MERGE, NULL, "{\"spec\":{\"replicas\":2}}"));
	expect(f, 200, call(f, "GET", DEPLOY "/two", NULL));
	assert_true(body_has(f, "\"manager\":\"up\""));
}

/* As upstream, where the scale is an object like others. */
static void a_scale_that_cannot_be_read_is_invalid(void **state)
{
	static const char json[] = "application/json-patch+json";
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", DEPLOY, deployment));
	expect(f, 422, call_as(f, "PATCH", DEPLOY "/web/scale", MERGE, NULL, "{\"spec\":{\"replicas\":\"x\"}}"));
	assert_true(body_has(f, "\"field\":\"patch\""));
	expect(f, 422, call_as(f, "PATCH", DEPLOY "/web/scale", MERGE, NULL, "{\"kind\":\"Deployment\"}"));
	expect(f, 422,
		call_as(f, "PATCH", DEPLOY "/web/scale", json, NULL,
			"[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":true}]"));
	assert_true(body_has(f, "\"field\":\"patch\""));
	expect(f, 400, call_as(f, "PATCH", DEPLOY "/web/scale", MERGE, NULL, "{"));
}

static void an_object_that_is_missing_is_told_before_the_patch(void **state)
{
	static const char apply[] = "application/apply-patch+yaml",
			  odd[] = "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"status\":{\"x\":1}}";
	struct fixture *f = *state;

	expect(f, 404, call_as(f, "PATCH", DEPLOY "/web/status?fieldManager=m", apply, NULL, odd));
	assert_string_equal(get(f, "details.name"), "web");
	expect(f, 400, call_as(f, "PATCH", DEPLOY "/web?fieldManager=m", apply, NULL, odd)); /* would make it */
	expect(f, 404, call_as(f, "PATCH", DEPLOY "/web", MERGE, NULL, "{"));
	expect(f, 201, call(f, "POST", DEPLOY, deployment));
	expect(f, 400, call_as(f, "PATCH", DEPLOY "/web/status?fieldManager=m", apply, NULL, odd));
	expect(f, 400, call_as(f, "PATCH", DEPLOY "/web", MERGE, NULL, "{"));
}

#define CRDS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

static char *definition(const char *spec)
{
	return xasprintf(
		"{\"metadata\":{\"name\":\"things.example.com\"},\"spec\":{\"group\":\"example.com\",\"scope\":\"Namespaced\",\"names\":{\"plural\":\"things\",\"kind\":\"Thing\"},"
		"\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":true,\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",%s}}}}}]}}",
		spec);
}

static void defaults_say_what_is_declared(void **state)
{
	static const char more[] =
		"\"default\":{\"n\":1,\"l\":[{\"a\":\"x\",\"b\":1}]},\"properties\":{\"n\":{\"type\":\"integer\"},"
		"\"l\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}}}}";
	char *odd = definition(more), *kept;
	char *open = xasprintf("%s,\"x-kubernetes-preserve-unknown-fields\":true", "\"default\":{\"n\":1}");
	struct fixture *f = *state;

	kept = definition(open);
	expect(f, 422, call(f, "POST", CRDS, odd));
	assert_true(body_has(f, "\"field\":\"spec.validation.openAPIV3Schema.properties[spec].default\""));
	assert_true(body_has(f, "must not have unknown fields"));
	expect(f, 201, call(f, "POST", CRDS, kept));
	free(odd);
	free(kept);
	free(open);
}

static void strict_reading_names_the_field(void **state)
{
	struct fixture *f = *state;

	expect(f, 400, call(f, "POST", CM "?fieldValidation=Strict", "{\"metadata\":{\"name\":\"s\"},\"daata\":{}}"));
	assert_non_null(strstr(get(f, "message"), "strict decoding error: unknown field \"daata\""));
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"s\"},\"daata\":{}}"));
	assert_non_null(strstr(f->last->warning, "unknown field \\\"daata\\\""));
	expect(f, 422, call(f, "POST", CM "?fieldValidation=Some", "{\"metadata\":{\"name\":\"t\"}}"));
	assert_non_null(strstr(get(f, "message"), "supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""));
}

/* What autoscaling/v1 cannot say survives a change through it. */
static void an_old_autoscaler_keeps_what_it_cannot_say(void **state)
{
	static const char body[] =
		"{\"metadata\":{\"name\":\"h\"},\"spec\":{\"maxReplicas\":3,\"scaleTargetRef\":{\"kind\":\"Deployment\",\"name\":\"d\"},"
		"\"metrics\":[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":\"Utilization\",\"averageUtilization\":60}}},"
		"{\"type\":\"Resource\",\"resource\":{\"name\":\"memory\",\"target\":{\"type\":\"AverageValue\",\"averageValue\":\"90Mi\"}}},"
		"{\"type\":\"Pods\",\"pods\":{\"metric\":{\"name\":\"m\"},\"target\":{\"type\":\"AverageValue\",\"averageValue\":\"5\"}}}],"
		"\"behavior\":{\"scaleDown\":{\"stabilizationWindowSeconds\":7}}}}";
	static const char v1[] = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
			  v2[] = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
	struct fixture *f = *state;
	char url1[200], url2[200], metrics[2000], behavior[2000];
	auto_(doc_unref) struct doc *want = NULL;
	struct err e;

	err_init(&e);
	snprintf(url1, sizeof(url1), "%s/h", v1);
	snprintf(url2, sizeof(url2), "%s/h", v2);
	expect(f, 201, call(f, "POST", v2, body));
	snprintf(metrics, sizeof(metrics), "%s", get(f, "spec.metrics"));
	snprintf(behavior, sizeof(behavior), "%s", get(f, "spec.behavior"));
	expect(f, 200, call(f, "GET", url1, NULL));
	assert_string_equal(get(f, "spec.targetCPUUtilizationPercentage"), "60");
	assert_false(val_has(doc_get(f->doc, "spec.metrics")));
	assert_non_null(strstr(get(f, "metadata.annotations"), "\\\"targetAverageValue\\\":\\\"90Mi\\\""));
	expect(f, 200,
		call_as(f, "PATCH", url1, "application/merge-patch+json", NULL,
			"{\"spec\":{\"maxReplicas\":5,\"targetCPUUtilizationPercentage\":70}}"));
	expect(f, 200, call(f, "GET", url2, NULL));
	assert_string_equal(get(f, "spec.maxReplicas"), "5");
	assert_string_equal(get(f, "spec.behavior"), behavior);
	assert_false(val_has(doc_get(f->doc, "metadata.annotations")));
	*strstr(metrics, "60") = '7';
	assert_int_equal(doc_parse(str_c(metrics), &want, &e), 0);
	assert_true(val_equal(doc_get(f->doc, "spec.metrics"), doc_root(want)));
}

static const char pod[] =
	"{\"metadata\":{\"generateName\":\"p-\",\"labels\":{\"app\":\"p\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox\"}]}}";
static void pod_is_admitted_bound_and_deleted_with_grace(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", PODS, pod));
	assert_string_equal(get(f, "status.phase"), "Pending");
	assert_string_equal(get(f, "status.qosClass"), "BestEffort");
	assert_string_equal(get(f, "spec.serviceAccountName"), "default");
	assert_non_null(strstr(get(f, "spec.volumes"), "kube-api-access-"));
	assert_non_null(strstr(get(f, "spec.tolerations"), "node.kubernetes.io/unreachable"));
	char *url = xasprintf(PODS "/%s", get(f, "metadata.name"));
	char *bind = xasprintf("%s/binding", url);
	char *body = xasprintf("{\"metadata\":{\"name\":\"%s\"},\"target\":{\"kind\":\"Node\",\"name\":\"n1\"}}",
		get(f, "metadata.name"));
	expect(f, 201, call(f, "POST", bind, body));
	expect(f, 409, call(f, "POST", bind, body));
	expect(f, 200, call(f, "GET", url, NULL));
	assert_string_equal(get(f, "spec.nodeName"), "n1");
	expect(f, 422,
		call_as(f, "PATCH", url, "application/merge-patch+json", NULL, "{\"spec\":{\"nodeName\":\"n3\"}}"));
	expect(f, 200, call(f, "GET", PODS "?fieldSelector=spec.nodeName%3Dn1&labelSelector=app=p", NULL));
	assert_int_equal(val_len(doc_get(f->doc, "items")), 1);
	expect(f, 200, call(f, "GET", PODS "?fieldSelector=spec.nodeName!%3Dn1", NULL));
	assert_int_equal(val_len(doc_get(f->doc, "items")), 0);
	expect(f, 200, call(f, "DELETE", url, NULL));
	assert_string_equal(get(f, "metadata.deletionGracePeriodSeconds"), "30");
	assert_string_equal(get(f, "metadata.generation"), "2");
	expect(f, 200,
		call(f, "DELETE", url, "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}"));
	expect(f, 404, call(f, "GET", url, NULL));
	free(url);
	free(body);
	free(bind);
}

static void invalid_pod_lists_every_cause(void **state)
{
	struct fixture *f = *state;

	expect(f, 422,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"Bad\"},\"spec\":{\"containers\":[{\"name\":\"C\",\"volumeMounts\":[{\"name\":\"x\",\"mountPath\":\"/x\"}]}]}}"));
	assert_string_equal(get(f, "details.kind"), "Pod");
	assert_true(val_len(doc_get(f->doc, "details.causes")) >= 3);
	assert_non_null(strstr(get(f, "message"), "spec.containers[0].image: Required value"));
}

static void service_gets_address_and_gives_it_back(void **state)
{
	struct fixture *f = *state;
	static const char np[] =
		"{\"metadata\":{\"name\":\"s1\"},\"spec\":{\"type\":\"NodePort\",\"clusterIP\":\"10.96.0.77\",\"selector\":{\"a\":\"b\"},\"ports\":[{\"port\":80,\"nodePort\":30080}]}}";

	expect(f, 201, call(f, "POST", "/api/v1/namespaces/default/services", np));
	assert_string_equal(get(f, "spec.clusterIPs"), "[\"10.96.0.77\"]");
	assert_string_equal(get(f, "spec.ipFamilies"), "[\"IPv4\"]");
	expect(f, 422,
		call(f, "POST", "/api/v1/namespaces/default/services",
			"{\"metadata\":{\"name\":\"s2\"},\"spec\":{\"clusterIP\":\"10.96.0.77\",\"ports\":[{\"port\":80}]}}"));
	assert_non_null(strstr(get(f, "message"), "already allocated"));
	expect(f, 201,
		call(f, "POST", "/api/v1/namespaces/default/services",
			"{\"metadata\":{\"name\":\"s3\"},\"spec\":{\"ports\":[{\"port\":80}]}}"));
	assert_non_null(strstr(get(f, "spec.clusterIP"), "10."));
	expect(f, 200, call(f, "DELETE", "/api/v1/namespaces/default/services/s1", NULL));
	expect(f, 201, call(f, "POST", "/api/v1/namespaces/default/services", np));
	expect(f, 201,
		call(f, "POST", "/api/v1/namespaces/default/services",
			"{\"metadata\":{\"name\":\"hl\"},\"spec\":{\"clusterIP\":\"None\",\"selector\":{\"a\":\"b\"},\"ports\":[{\"port\":80}]}}"));
	assert_string_equal(get(f, "spec.clusterIPs"), "[\"None\"]");
}

static void dry_run_leaves_nothing(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM "?dryRun=All", "{\"metadata\":{\"name\":\"dry\"}}"));
	expect(f, 404, call(f, "GET", CM "/dry", NULL));
}

static void finalizers_hold_an_object(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"fin\",\"finalizers\":[\"example.com/x\"]}}"));
	expect(f, 200, call(f, "DELETE", CM "/fin", NULL));
	assert_true(strlen(get(f, "metadata.deletionTimestamp")) > 0);
	expect(f, 422,
		call_as(f, "PATCH", CM "/fin", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"finalizers\":[\"example.com/x\",\"example.com/y\"]}}"));
	expect(f, 200,
		call_as(f, "PATCH", CM "/fin", "application/json-patch+json", NULL,
			"[{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}]"));
	expect(f, 404, call(f, "GET", CM "/fin", NULL));
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"fg\"}}"));
	expect(f, 200, call(f, "DELETE", CM "/fg?propagationPolicy=Foreground", NULL));
	assert_string_equal(get(f, "metadata.finalizers"), "[\"foregroundDeletion\"]");
}

static void namespaces_end_in_two_steps(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", "/api/v1/namespaces", "{\"metadata\":{\"name\":\"gone\"}}"));
	assert_string_equal(get(f, "spec.finalizers"), "[\"kubernetes\"]");
	expect(f, 200, call(f, "DELETE", "/api/v1/namespaces/gone", NULL));
	assert_string_equal(get(f, "status.phase"), "Terminating");
	expect(f, 403, call(f, "POST", "/api/v1/namespaces/gone/configmaps", "{\"metadata\":{\"name\":\"x\"}}"));
	expect(f, 200,
		call(f, "PUT", "/api/v1/namespaces/gone/finalize",
			"{\"metadata\":{\"name\":\"gone\"},\"spec\":{\"finalizers\":[]}}"));
	expect(f, 404, call(f, "GET", "/api/v1/namespaces/gone", NULL));
	expect(f, 404, call(f, "POST", "/api/v1/namespaces/gone/configmaps", "{\"metadata\":{\"name\":\"x\"}}"));
}

static void what_is_accepted_may_be_warned_of(void **state)
{
	struct fixture *f = *state;
	static const char *const warnings[] = {
		"spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \\\"kubernetes.io/os\\\" instead",
		"spec.volumes[0].gitRepo: deprecated in v1.11",
		"spec.hostAliases[1].ip: duplicate ip \\\"10.0.0.1\\\"",
		"spec.containers[0].resources.limits[memory]: fractional byte value \\\"100m\\\" is invalid, must be an integer",
		"spec.containers[0].env[1]: hides previous definition of \\\"A\\\", which may be dropped when using apply",
		"spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
		("metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "
		 "\\\"seccompProfile\\\" field instead"),
		"spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
	};

	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"old\",\"annotations\":{\"seccomp.security.alpha.kubernetes.io/pod\":\"x\"}},"
			"\"spec\":{\"nodeSelector\":{\"beta.kubernetes.io/os\":\"linux\"},"
			"\"volumes\":[{\"name\":\"g\",\"gitRepo\":{\"repository\":\"r\"}}],"
			"\"hostAliases\":[{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.1\"}],"
			"\"topologySpreadConstraints\":[{\"maxSkew\":1,\"topologyKey\":\"z\",\"whenUnsatisfiable\":\"DoNotSchedule\"}],"
			"\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"resources\":{\"limits\":{\"memory\":\"100m\"}},"
			"\"ports\":[{\"containerPort\":80},{\"containerPort\":80,\"hostPort\":80}],"
			"\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"A\",\"value\":\"2\"},{\"name\":\"A\",\"value\":\"$(A)3\"}]}]}}"));
	for (size_t i = 0; i < ARRAY_LEN(warnings); i++)
		if (!strstr(f->last->warning, warnings[i]))
			fail_msg("no \"%s\" in:\n%s", warnings[i], f->last->warning);
	assert_null(strstr(f->last->warning, "env[2]"));
	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"new\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	assert_string_equal(f->last->warning, "");
	expect(f, 200, call(f, "GET", "/api/v1/endpoints", NULL));
	assert_non_null(strstr(f->last->warning, "v1 Endpoints is deprecated in v1.33+"));
}

static void events_are_served_in_both_groups(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", "/api/v1/namespaces/default/events",
			"{\"metadata\":{\"name\":\"e1\"},\"involvedObject\":{\"kind\":\"Pod\",\"name\":\"x\",\"namespace\":\"default\"},\"message\":\"hi\",\"reason\":\"R\",\"type\":\"Normal\"}"));
	expect(f, 200, call(f, "GET", "/apis/events.k8s.io/v1/namespaces/default/events/e1", NULL));
	assert_string_equal(get(f, "note"), "hi");
	assert_string_equal(get(f, "regarding.name"), "x");
	expect(f, 200,
		call(f, "GET", "/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dx",
			NULL));
	assert_int_equal(val_len(doc_get(f->doc, "items")), 1);
}

static void local_client_sees_the_same(void **state)
{
	struct fixture *f = *state;
	struct client *c =
		api_local_client(f->api, "system:kube-test", (const char *const[]){ "system:masters", NULL }, "tester");
	struct client_request w = { .verb = VERB_WATCH, .res = res_configmaps, .ns = STR("default") };
	struct client_stream *s;
	struct client_event ev;
	struct doc *d;
	struct err e;

	err_init(&e);
	assert_int_equal(client_watch(c, &w, &s, &e), 0);
	while (client_next(c, s, 50, &ev, &e) == 0)
		doc_unref(ev.object);
	struct arena *a = arena_new();
	struct doc *body = node_publish(node_pack(a, "{metadata:{name:'lc'}, data:{k:'v'}}"));
	assert_int_equal(client_create(c, res_configmaps, STR("default"), body, &d, &e), 0);
	assert_true(str_is(doc_name(d), "lc"));
	doc_unref(d);
	assert_int_equal(client_next(c, s, 1000, &ev, &e), 0);
	assert_int_equal(ev.type, EVENT_ADDED);
	assert_true(str_is(doc_name(ev.object), "lc"));
	doc_unref(ev.object);
	assert_int_equal(client_create(c, res_configmaps, STR("default"), body, NULL, &e), -ERR_EXISTS);
	assert_int_equal(client_delete(c, res_configmaps, STR("default"), STR("lc"),
				 (struct client_delete){ .grace_s = -1 }, &e),
		0);
	assert_int_equal(client_next(c, s, 1000, &ev, &e), 0);
	assert_int_equal(ev.type, EVENT_DELETED);
	doc_unref(ev.object);
	client_close(c, s);
	client_free(c);
	doc_unref(body);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(creates_reads_updates_deletes, setup, teardown),
		cmocka_unit_test_setup_teardown(same_update_writes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(deployment_gets_defaults_and_generation, setup, teardown),
		cmocka_unit_test_setup_teardown(some_metadata_counts_as_a_generation, setup, teardown),
		cmocka_unit_test_setup_teardown(whose_a_secret_is_does_not_depend_on_how_it_was_said, setup, teardown),
		cmocka_unit_test_setup_teardown(network_policies_make_sense, setup, teardown),
		cmocka_unit_test_setup_teardown(apply_takes_and_refuses_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(who_applies_a_null_owns_the_field, setup, teardown),
		cmocka_unit_test_setup_teardown(replicas_that_are_nobodys_were_there_before, setup, teardown),
		cmocka_unit_test_setup_teardown(a_scale_that_cannot_be_read_is_invalid, setup, teardown),
		cmocka_unit_test_setup_teardown(an_object_that_is_missing_is_told_before_the_patch, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_list_of_managers_forgets_them, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_applied_is_taken_as_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(an_applied_scale_is_its_managers, setup, teardown),
		cmocka_unit_test_setup_teardown(defaults_say_what_is_declared, setup, teardown),
		cmocka_unit_test_setup_teardown(strict_reading_names_the_field, setup, teardown),
		cmocka_unit_test_setup_teardown(an_old_autoscaler_keeps_what_it_cannot_say, setup, teardown),
		cmocka_unit_test_setup_teardown(pod_is_admitted_bound_and_deleted_with_grace, setup, teardown),
		cmocka_unit_test_setup_teardown(invalid_pod_lists_every_cause, setup, teardown),
		cmocka_unit_test_setup_teardown(service_gets_address_and_gives_it_back, setup, teardown),
		cmocka_unit_test_setup_teardown(dry_run_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(finalizers_hold_an_object, setup, teardown),
		cmocka_unit_test_setup_teardown(namespaces_end_in_two_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_accepted_may_be_warned_of, setup, teardown),
		cmocka_unit_test_setup_teardown(events_are_served_in_both_groups, setup, teardown),
		cmocka_unit_test_setup_teardown(local_client_sees_the_same, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

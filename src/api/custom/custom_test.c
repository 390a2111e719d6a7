/* Objects of custom kinds through the API: what is embedded in them, what scale reads. */
#include "api/api_fixture.h"
#include "doc/doc_fixture.h"

#define CRDS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#define BOXES "/apis/example.com/v1/namespaces/default/boxes"
#define MERGE "application/merge-patch+json"

static void define(struct fixture *f, const char *quoted_spec)
{
	auto_free char *crd = quoted(quoted_spec);

	expect(f, 201, call(f, "POST", CRDS, crd));
	for (int i = 0; i < 6000 && call(f, "GET", "/apis/example.com/v1", NULL) != 200; i++)
		task_sleep_ms(10);
}

static const char boxes[] =
	"{'metadata':{'name':'boxes.example.com'},'spec':{'group':'example.com','scope':'Namespaced',"
	"'names':{'plural':'boxes','kind':'Box'},'versions':[{'name':'v1','served':true,'storage':true,"
	"'subresources':{'status':{},'scale':{'specReplicasPath':'.spec.count','statusReplicasPath':'.status.count',"
	"'labelSelectorPath':'.status.selector'}},"
	"'schema':{'openAPIV3Schema':{'type':'object','properties':{"
	"'spec':{'type':'object','x-kubernetes-preserve-unknown-fields':true,'properties':{"
	"'in':{'type':'object','x-kubernetes-embedded-resource':true,'properties':{'size':{'type':'integer'}}},"
	"'map':{'type':'object','additionalProperties':{'type':'array','items':{'type':'object',"
	"'x-kubernetes-embedded-resource':true,'x-kubernetes-preserve-unknown-fields':true}}}}},"
	"'status':{'type':'object','x-kubernetes-preserve-unknown-fields':true}}}}}]}}";

static int make(struct fixture *f, const char *spec)
{
	char *quoted_text = xasprintf("{'metadata':{'name':'a'},'spec':%s}", spec);
	auto_free char *text = quoted(quoted_text);
	int status = call(f, "POST", BOXES "?dryRun=All", text);

	free(quoted_text);
	return status;
}

/* apiVersion, kind and metadata of an embedded object are read like an object's own. */
static void embedded_objects_are_read(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *spec, *says;
	} refused[] = {
		{ "{'in':{'apiVersion':5,'kind':'K'}}", "spec.in.apiVersion: Invalid value: 5: must be a string" },
		{ "{'in':{'apiVersion':'v1','kind':null}}", "spec.in.kind: Invalid value: \"null\": must be a string" },
		{ "{'map':{'x':[{'apiVersion':'v1','kind':'K','metadata':{'labels':{'a':1}}}]}}",
			"spec.map[x][0].metadata: Invalid value: {\"labels\":{\"a\":1}}: json: cannot unmarshal number" },
	};

	define(f, boxes);
	expect(f, 201,
		make(f,
			"{'in':{'apiVersion':'v1','kind':'K','size':1,'odd':2,'metadata':{'name':'n','odd':3,"
			"'labels':{},'creationTimestamp':null}}}"));
	assert_true(
		body_has(f, "\"in\":{\"apiVersion\":\"v1\",\"kind\":\"K\",\"size\":1,\"metadata\":{\"name\":\"n\"}}"));
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		expect(f, 400, make(f, refused[i].spec));
		if (!strstr(get(f, "message"), refused[i].says))
			fail_msg("%s", get(f, "message"));
	}
}

static void embedded_objects_are_checked(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *spec, *says;
	} cases[] = {
		{ "{'in':{'kind':'K'}}", "spec.in.apiVersion: Required value: must not be empty" },
		{ "{'in':{'apiVersion':'v1','kind':''}}", "spec.in.kind: Invalid value: \"\": must not be empty" },
		{ "{'in':{'apiVersion':'a/b/c','kind':'K'}}",
			"spec.in.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c" },
		{ "{'in':{'apiVersion':'v1','kind':'A b'}}",
			"spec.in.kind: Invalid value: \"A b\": may have mixed case, but should otherwise match: a DNS-1035" },
		{ "{'map':{'x':[{'apiVersion':'v1','kind':'K','metadata':{'name':'a/b'}}]}}",
			"spec.map[x][0].metadata.name: Invalid value: \"a/b\": may not contain '/'" },
		{ "{'in':{'apiVersion':'v1','kind':'K','metadata':{'namespace':'A'}}}",
			"spec.in.metadata.namespace: Invalid value: \"A\"" },
		{ "{'in':{'apiVersion':'v1','kind':'K','metadata':{'labels':{'a b':'c'}}}}",
			"spec.in.metadata.labels: Invalid value: \"a b\": name part must consist" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		expect(f, 422, make(f, cases[i].spec));
		if (!strstr(get(f, "message"), cases[i].says))
			fail_msg("%s", get(f, "message"));
	}
	expect(f, 201, make(f, "{'in':{'apiVersion':'example.com/v1','kind':'MixedCase'}}"));
}

/* An apply is judged as it is: 422 and not 400. */
static void an_apply_of_embedded_objects_is_judged(void **state)
{
	struct fixture *f = *state;

	expect(f, 422,
		call_as(f, "PATCH", BOXES "/b?fieldManager=m", "application/apply-patch+yaml", NULL,
			"{\"apiVersion\":\"example.com/v1\",\"kind\":\"Box\",\"metadata\":{\"name\":\"b\"},"
			"\"spec\":{\"in\":{\"apiVersion\":\"v1\",\"kind\":1}}}"));
	assert_non_null(strstr(get(f, "message"), "spec.in.kind: Invalid value: 1: must be a string"));
}

/* A client's null is as if left out, but a null that is applied is a value. */
static void an_applied_null_is_judged(void **state)
{
	static const char apply[] = "application/apply-patch+yaml", path[] = BOXES "/n?fieldManager=m";
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", BOXES, "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"in\":null}}"));
	assert_string_equal(get(f, "spec"), "{}");
	expect(f, 422,
		call_as(f, "PATCH", path, apply, NULL,
			"{\"apiVersion\":\"example.com/v1\",\"kind\":\"Box\",\"spec\":{\"in\":null}}"));
	assert_non_null(strstr(get(f, "message"),
		"spec.in: Invalid value: \"null\": spec.in in body must be of type object: \"null\""));
	expect(f, 200,
		call_as(f, "PATCH", path, apply, NULL,
			"{\"apiVersion\":\"example.com/v1\",\"kind\":\"Box\",\"metadata\":{\"labels\":null}}"));
	assert_false(val_has(doc_get(f->doc, "metadata.labels")));
	assert_true(body_has(f, "{\"f:metadata\":{\"f:labels\":{}}}"));
	expect(f, 200,
		call_as(f, "PATCH", BOXES "/n", MERGE, NULL,
			"{\"metadata\":{\"managedFields\":[],\"annotations\":{\"a\":\"b\"}}}"));
	assert_true(body_has(f, "\"managedFields\":[{"));
	expect(f, 200, call_as(f, "PATCH", BOXES "/n", MERGE, NULL, "{\"metadata\":{\"managedFields\":[{}]}}"));
	assert_false(body_has(f, "\"managedFields\""));
}

static void what_scale_reads_is_a_count(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *spec, *says;
	} cases[] = {
		{ "{'count':-1}", ".spec.count: Invalid value: -1: should be a non-negative integer" },
		{ "{'count':2147483648}",
			".spec.count: Invalid value: 2147483648: should be less than or equal to 2147483647" },
		{ "{'count':'x'}",
			".spec.count: Invalid value: 0: .spec.count accessor error: x is of the type string, expected int64" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		expect(f, 422, make(f, cases[i].spec));
		if (!strstr(get(f, "message"), cases[i].says))
			fail_msg("%s", get(f, "message"));
	}
	expect(f, 201, call(f, "POST", BOXES, "{\"metadata\":{\"name\":\"c\"},\"spec\":{\"count\":2}}"));
	expect(f, 422, call_as(f, "PATCH", BOXES "/c/status", MERGE, NULL, "{\"status\":{\"selector\":7}}"));
	assert_non_null(strstr(get(f, "message"),
		".status.selector: Invalid value: \"\": .status.selector accessor error: 7 is of the type int64, expected string"));
	expect(f, 422, call_as(f, "PATCH", BOXES "/c/scale", MERGE, NULL, "{\"spec\":{\"replicas\":-1}}"));
	assert_non_null(strstr(get(f, "message"), "Box.example.com \"c\" is invalid: .spec.count: Invalid value: -1"));
	expect(f, 200, call_as(f, "PATCH", BOXES "/c/scale", MERGE, NULL, "{\"spec\":{\"replicas\":5}}"));
}

#define DEFINITION(spec_more, version_more)                                                                                     \
	"{'metadata':{'name':'toys.example.com','finalizers':['x']},'spec':{'group':'example.com','scope':'Cluster'," spec_more \
	"'names':{'plural':'toys','kind':'Toy'},'versions':[{'name':'v1','served':true,'storage':true," version_more            \
	"}]}}"
#define SCHEMA(more) "'schema':{'openAPIV3Schema':{'type':'object'," more "}}"

/* What all versions have alike is told as upstream's one field; at the root of a schema stands little beside a status. */
static void definitions_are_told_as_upstream(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *crd, *says; /* NULL: fine */
	} cases[] = {
		{ DEFINITION("", SCHEMA("'properties':{'a':{'type':'string','default':null}}")), NULL },
		{ DEFINITION("", SCHEMA("'properties':{'a':{}}")),
			"is invalid: spec.validation.openAPIV3Schema.properties[a].type: Required value" },
		{ DEFINITION("", SCHEMA("'minProperties':1")), NULL },
		{ DEFINITION("", SCHEMA("'minProperties':1") ",'subresources':{'status':{}}"),
			"spec.validation.openAPIV3Schema: Invalid value: {\"type\":\"object\",\"minProperties\":1}: only [Description" },
		{ DEFINITION("",
			  SCHEMA("'required':[]") ",'subresources':{'status':{},'scale':{'specReplicasPath':'.x',"
						  "'statusReplicasPath':'.status.x'}}"),
			"is invalid: spec.subresources.scale.specReplicasPath: Invalid value: \".x\": should be a json path under .spec" },
		{ DEFINITION("",
			  SCHEMA("'required':[]") ",'additionalPrinterColumns':[{'name':'A','type':'x','jsonPath':'.a'}]"),
			"is invalid: spec.additionalPrinterColumns[0].type: Invalid value: \"x\"" },
		{ DEFINITION("'preserveUnknownFields':true,", SCHEMA("'required':[]")),
			"is invalid: spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-preserve-unknown-fields" },
		{ DEFINITION("",
			  SCHEMA("'properties':{'in':{'type':'object','x-kubernetes-embedded-resource':true,"
				 "'x-kubernetes-preserve-unknown-fields':true,'default':{'kind':'K'}}}")),
			"is invalid: spec.validation.openAPIV3Schema.properties[in].default.apiVersion: Required value: must not be empty" },
		{ DEFINITION("",
			  SCHEMA("'required':[]") "},{'name':'v2','served':true,'storage':true," SCHEMA(
				  "'required':[]")),
			"status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v2" },
		{ DEFINITION("",
			  SCHEMA("'required':[]") "},{'name':'','served':true,'storage':false," SCHEMA(
				  "'required':[]")),
			"spec.versions[1].name: Invalid value: \"\": a DNS-1035 label must consist of" },
		{ DEFINITION("", SCHEMA("'required':[]") ",'deprecationWarning':''"),
			"is invalid: spec.versions[0].deprecationWarning: Invalid value: \"\": can only be set for deprecated versions" },
		{ DEFINITION("", SCHEMA("'required':[]") ",'deprecated':true,'deprecationWarning':'a\\tb'"),
			"is invalid: spec.versions[0].deprecationWarning: Invalid value: \"a\\tb\": must only contain printable UTF-8 "
			"characters; non-printable character found at index 1" },
		{ DEFINITION("",
			  "'schema':{'openAPIV3Schema':{'type':'array','items':{'type':'string'}}},'subresources':{'status':{}}"),
			"spec.validation.openAPIV3Schema.type: Invalid value: \"array\": only \"object\" is allowed as the type" },
		{ DEFINITION("",
			  SCHEMA("'minProperties':1") "},{'name':'v2','served':true,'storage':false,'subresources':{'status':{}}," SCHEMA(
				  "'minProperties':1")),
			"spec.validation.openAPIV3Schema: Invalid value: {\"type\":\"object\",\"minProperties\":1}: only [Description" },
		{ DEFINITION("",
			  SCHEMA("'required':[]") ",'subresources':{'scale':{'specReplicasPath':'.spec.a[0]',"
						  "'statusReplicasPath':'.status.x'}}"),
			NULL },
		{ DEFINITION("'conversion':{'strategy':''},", SCHEMA("'required':[]")),
			"is invalid: spec.conversion.strategy: Required value" },
		{ DEFINITION("",
			  SCHEMA("'properties':{'a':{'type':'string'}}") ",'selectableFields':[{'jsonPath':'.a'},{'jsonPath':'.a'}]"),
			"is invalid: spec.selectableFields[1].jsonPath: Duplicate value: \".a\"" },
	};

	auto_free char *nameless = quoted(
		"{'metadata':{'name':'toys.example.com'},'spec':{'group':'example.com','scope':'Cluster',"
		"'names':{'plural':'toys','kind':'Toy','shortNames':['']},'versions':[{'name':'v1','served':true,"
		"'storage':true," SCHEMA("'required':[]") "}]}}");
	expect(f, 422, call(f, "POST", CRDS "?dryRun=All", nameless));
	assert_true(body_has(f, "spec.names.shortNames[0]: Invalid value"));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *crd = quoted(cases[i].crd);

		expect(f, cases[i].says ? 422 : 201, call(f, "POST", CRDS "?dryRun=All", crd));
		if (cases[i].says && !strstr(get(f, "message"), cases[i].says))
			fail_msg("%s", get(f, "message"));
		assert_false(body_has(f, "default\":null"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(embedded_objects_are_read),
		cmocka_unit_test(embedded_objects_are_checked),
		cmocka_unit_test(an_apply_of_embedded_objects_is_judged),
		cmocka_unit_test(an_applied_null_is_judged),
		cmocka_unit_test(what_scale_reads_is_a_count),
		cmocka_unit_test(definitions_are_told_as_upstream),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

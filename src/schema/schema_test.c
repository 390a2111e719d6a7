/* Lookup, decoding, defaults, validation, protobuf. */
#include "doc/doc_fixture.h"
#include "schema/schema_internal.h"
#include <stdio.h>

struct env {
	struct arena *a;
	struct err e;
	char unknown[512];
};

static int setup(void **state)
{
	struct env *v = calloc(1, sizeof(*v));

	v->a = arena_new();
	err_init(&v->e);
	*state = v;
	return 0;
}

static int teardown(void **state)
{
	struct env *v = *state;

	arena_free(v->a);
	free(v);
	return 0;
}

static struct node *tree(struct env *v, const char *json)
{
	auto_(doc_unref) struct doc *d = quoted_doc(json);

	return node_from(v->a, doc_root(d));
}

static const char *text_of(struct env *v, struct node *n)
{
	struct buf b = BUF_INIT;
	const char *s;

	node_write(n, &b);
	buf_byte(&b, 0);
	s = arena_strdup(v->a, b.p);
	buf_fini(&b);
	for (char *p = (char *)(uintptr_t)s; *p; p++)
		if (*p == '"')
			*p = '\'';
	return s;
}

static const struct schema_type *kind(const char *group, const char *version, const char *name)
{
	const struct schema_type *t = schema_builtin(str_c(group), str_c(version), str_c(name));

	assert_non_null(t);
	return t;
}

static void note_unknown(void *arg, struct str path)
{
	struct env *v = arg;
	size_t n = strlen(v->unknown);

	snprintf(v->unknown + n, sizeof(v->unknown) - n, "%.*s;", STR_ARG(path));
}

static int decode(struct env *v, const struct schema_type *t, struct node *n)
{
	struct schema_report rep = { note_unknown, v };

	return schema_decode(t, v->a, n, &rep, &v->e);
}

/* ---- lookup ---------------------------------------------------------------------------------- */

static void every_kind_and_field_is_found(void **state)
{
	size_t n, fields = 0;
	const struct schema_kind_entry *k = schema_builtin_kinds(&n);

	(void)state;
	assert_true(n > 140);
	for (size_t i = 0; i < n; i++)
		assert_ptr_equal(kind(k[i].group, k[i].version, k[i].kind), k[i].type);
	for (size_t i = 0; i < schema_tables.n_types; i++) {
		const struct schema_type *t = &schema_tables.types[i];

		if (i < schema_tables.n_named)
			assert_ptr_equal(schema_builtin_by_name(t->name), t);
		for (uint32_t f = 0; f < t->n_fields; f++, fields++) {
			assert_ptr_equal(schema_field(t, str_c(t->fields[f].name)), &t->fields[f]);
			assert_true(t->fields[f].name[0] && t->fields[f].help[0]);
			if (t->fields[f].fallback) {
				struct arena *a = arena_new();

				assert_non_null(schema_literal(a, t->fields[f].fallback));
				arena_free(a);
			}
		}
	}
	assert_true(fields > 2400);
	assert_null(schema_builtin(STR("apps"), STR("v1beta1"), STR("Deployment")));
	assert_non_null(schema_builtin(STR("apps"), STR("v1"), STR("DeleteOptions")));
	assert_non_null(schema_builtin(STR(""), STR("v1"), STR("Status")));
	assert_non_null(schema_builtin(STR(""), STR("v1"), STR("PodList")));
	assert_null(schema_field(kind("", "v1", "Pod"), STR("nope")));
}

static void go_types(void **state)
{
	char text[128];

	(void)state;
	schema_go_type(schema_field(schema_builtin_by_name("io.k8s.api.core.v1.PodSpec"), STR("containers"))->type,
		text, sizeof(text));
	assert_string_equal(text, "[]v1.Container");
	schema_go_type(schema_field(schema_builtin_by_name("io.k8s.api.core.v1.PodSpec"), STR("nodeSelector"))->type,
		text, sizeof(text));
	assert_string_equal(text, "map[string]string");
}

/* ---- decode ---------------------------------------------------------------------------------- */

static void decoding_drops_what_nobody_knows(void **state)
{
	struct env *v = *state;
	struct node *n =
		tree(v, "{'kind':'Pod','spec':{'foo':1,'containers':[{'name':'a','bar':{},'image':null}]},'x':[]}");

	assert_int_equal(decode(v, kind("", "v1", "Pod"), n), 0);
	assert_string_equal(text_of(v, n), "{'kind':'Pod','spec':{'containers':[{'name':'a'}]}}");
	assert_string_equal(v->unknown, "spec.foo;spec.containers[0].bar;x;");
}

static void decoding_writes_quantities_and_times_in_one_form(void **state)
{
	struct env *v = *state;
	struct node *n = tree(v,
		"{'metadata':{'creationTimestamp':'2026-01-02T03:04:05.6+01:00'},'spec':{'containers':[{'name':'a',"
		"'resources':{'limits':{'cpu':2,'memory':'1024Mi','x':'1000m'}}}]}}");

	assert_int_equal(decode(v, kind("", "v1", "Pod"), n), 0);
	assert_string_equal(text_of(v, n),
		"{'metadata':{'creationTimestamp':'2026-01-02T02:04:05Z'},'spec':{'containers':[{'name':'a',"
		"'resources':{'limits':{'cpu':'2','memory':'1Gi','x':'1'}}}]}}");
}

static void decoding_refuses_wrong_types(void **state)
{
	static const struct {
		const char *json, *message;
	} cases[] = {
		{ "{'spec':{'containers':'x'}}",
			"json: cannot unmarshal string into Go struct field "
			"PodSpec.spec.containers of type []v1.Container" },
		{ "{'spec':[]}", "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec" },
		{ "{'spec':{'containers':[{'ports':[{'containerPort':'80'}]}]}}",
			"json: cannot unmarshal string into Go struct field "
			"ContainerPort.spec.containers.ports.containerPort of type int32" },
		{ "{'spec':{'priority':1.5}}",
			"json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32" },
		{ "{'spec':{'restartPolicy':1}}",
			"json: cannot unmarshal number into Go struct field "
			"PodSpec.spec.restartPolicy of type v1.RestartPolicy" },
		{ "{'metadata':{'labels':{'a':1}}}",
			"json: cannot unmarshal number into Go struct field "
			"ObjectMeta.metadata.labels of type string" },
		{ "{'spec':{'overhead':{'cpu':'x'}}}",
			"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'" },
	};
	struct env *v = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(decode(v, kind("", "v1", "Pod"), tree(v, cases[i].json)), -ERR_BAD_REQUEST);
		assert_string_equal(v->e.message, cases[i].message);
	}
	assert_int_equal(decode(v, kind("", "v1", "Pod"), tree(v, "{'spec':{'priority':1e3}}")), 0);
}

static void times_in_microseconds_have_six_digits(void **state)
{
#define LAYOUT "\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse "
	static const struct {
		const char *time, *message;
	} cases[] = {
		{ "2026-01-02T03:04:05.123456Z", NULL },
		{ "2026-01-02T03:04:05.123456+01:00", NULL },
		{ "2026-01-02T03:04:05Z", LAYOUT "\"Z\" as \".000000\"" },
		{ "2026-01-02T03:04:05.123Z", LAYOUT "\".123Z\" as \".000000\"" },
		{ "2026-01-02T03:04:05.1234567Z", LAYOUT "\"7Z\" as \"Z07:00\"" },
		{ "x", LAYOUT "\"x\" as \"2006\"" },
	};
	struct env *v = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *lease = xasprintf("{'spec':{'renewTime':'%s'}}", cases[i].time);
		int r = decode(v, kind("coordination.k8s.io", "v1", "Lease"), tree(v, lease));

		free(lease);
		assert_int_equal(r, cases[i].message ? -ERR_BAD_REQUEST : 0);
		if (cases[i].message)
			assert_non_null(strstr(v->e.message, cases[i].message));
		err_init(&v->e);
	}
}

static void decoding_looks_into_json_schemas(void **state)
{
	struct env *v = *state;
	struct node *n = tree(v,
		"{'spec':{'versions':[{'name':'v1','schema':{'openAPIV3Schema':{'type':'object','bogus':1,"
		"'properties':{'a':{'default':null,'additionalProperties':true,'items':{'type':'string','bad':"
		"2}}}}}}]}}");

	assert_int_equal(decode(v, kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), n), 0);
	assert_string_equal(v->unknown,
		"spec.versions[0].schema.openAPIV3Schema.bogus;"
		"spec.versions[0].schema.openAPIV3Schema.properties.a.items.bad;");
}

/* ---- defaults -------------------------------------------------------------------------------- */

static void a_pod_gets_its_defaults(void **state)
{
	struct env *v = *state;
	struct node *n = tree(v,
		"{'kind':'Pod','metadata':{'name':'a'},'spec':{'serviceAccountName':'x','hostNetwork':true,'containers'"
		":"
		"[{'name':'a','image':'r/b','ports':[{'containerPort':80}],'resources':{'limits':{'cpu':'1'}},"
		"'readinessProbe':{'httpGet':{'port':1}}},{'name':'b','image':'h:5/b:1'}],'volumes':[{'name':'v'}]}}");
	struct node *c;

	schema_default(kind("", "v1", "Pod"), v->a, n, NULL);
	n = node_getc(n, "spec");
	c = node_at(node_getc(n, "containers"), 0);
	assert_string_equal(text_of(v, node_getc(c, "imagePullPolicy")), "'Always'");
	assert_string_equal(text_of(v, node_getc(c, "ports")), "[{'containerPort':80,'protocol':'TCP','hostPort':80}]");
	assert_string_equal(text_of(v, node_getc(c, "resources")), "{'limits':{'cpu':'1'},'requests':{'cpu':'1'}}");
	assert_string_equal(text_of(v, node_getc(c, "readinessProbe")),
		"{'httpGet':{'port':1,'path':'/','scheme':'HTTP'},"
		"'timeoutSeconds':1,'periodSeconds':10,'successThreshold':1,'failureThreshold':3}");
	c = node_at(node_getc(n, "containers"), 1);
	assert_string_equal(text_of(v, c),
		"{'name':'b','image':'h:5/b:1','resources':{},'terminationMessagePath':'/dev/termination-log',"
		"'terminationMessagePolicy':'File','imagePullPolicy':'IfNotPresent'}");
	node_delc(n, "containers");
	assert_string_equal(text_of(v, n),
		"{'serviceAccountName':'x','hostNetwork':true,'volumes':[{'name':'v','emptyDir':{}}],"
		"'restartPolicy':'Always','terminationGracePeriodSeconds':30,'dnsPolicy':'ClusterFirst','"
		"securityContext':{},"
		"'schedulerName':'default-scheduler','serviceAccount':'x','enableServiceLinks':true}");
}

/* What a missing template has by default: it is a value of its owner. */
#define TEMPLATE                                                                                                      \
	"'template':{'spec':{'restartPolicy':'Always','terminationGracePeriodSeconds':30,'dnsPolicy':'ClusterFirst'," \
	"'securityContext':{},'schedulerName':'default-scheduler'}}"

/* What an object has as it was in the one it is a change of stays as it is, whatever it lacks. */
static void what_did_not_change_is_left_alone(void **state)
{
	struct env *v = *state;
	const struct schema_type *t = kind("", "v1", "Pod");
	struct node *n;
	struct doc *was;
	struct err e;

	err_init(&e);
	assert_int_equal(
		doc_parse(STR("{\"spec\":{\"nodeName\":\"\",\"containers\":[{\"name\":\"c\"}]},\"status\":{}}"), &was,
			&e),
		0);
	n = node_from(v->a, doc_root(was));
	node_setc(n, "status", node_pack(v->a, "{phase:'', conditions:[{type:'Ready', status:'True'}]}"));
	schema_drop_zeros(t, v->a, n, was);
	schema_default(t, v->a, n, was);
	schema_fill_zeros(t, v->a, n, was);
	assert_string_equal(text_of(v, node_getc(n, "status")), "{'conditions':[{'type':'Ready','status':'True'}]}");
	assert_true(node_path(n, "spec.nodeName") != NULL);
	schema_drop_zeros(t, v->a, n, NULL);
	assert_null(node_path(n, "spec.nodeName"));
	doc_unref(was);
}

/* None has more fields than a check keeps places for. */
static void every_type_is_checked(void **state)
{
	struct err e;
	struct doc *d;

	err_init(&e);
	assert_int_equal(doc_parse(STR("{}"), &d, &e), 0);
	for (size_t i = 0; i < schema_tables.n_types; i++) {
		err_init(&e);
		schema_validate(&schema_tables.types[i], doc_root(d), "", &e);
	}
	doc_unref(d);
}

static void zeros_are_written_as_go_writes_them(void **state)
{
	struct env *v = *state;
	const struct schema_type *t = kind("apps", "v1", "ReplicaSet");
	struct node *n = tree(v,
		"{'metadata':{'name':'x','labels':{}},'spec':{'replicas':0,'minReadySeconds':0,'template':{'spec':"
		"{'hostNetwork':false,'nodeSelector':{},'hostname':'','containers':[{'name':'c','ports':[{}]}]}}}}");

	schema_drop_zeros(t, v->a, n, NULL);
	assert_string_equal(text_of(v, n),
		"{'metadata':{'name':'x'},'spec':{'replicas':0,'template':{'spec':{'containers':"
		"[{'name':'c','ports':[{}]}]}}}}");
	schema_fill_zeros(t, v->a, n, NULL);
	assert_string_equal(text_of(v, node_getc(n, "status")), "{'replicas':0}");
	assert_string_equal(text_of(v, node_path(n, "spec.template")),
		"{'spec':{'containers':[{'name':'c','ports':[{'containerPort':0}],"
		"'resources':{}}]},'metadata':{}}");
}

static void other_kinds_get_theirs(void **state)
{
	static const struct {
		const char *group, *version, *kind, *path, *in, *out;
	} cases[] = {
		{ "apps", "v1", "Deployment", "spec", "{'spec':{}}",
			"{'replicas':1," TEMPLATE ",'strategy':{'type':'RollingUpdate','rollingUpdate':"
			"{'maxUnavailable':'25%','maxSurge':'25%'}},'revisionHistoryLimit':10,'progressDeadlineSeconds'"
			":600}" },
		{ "apps", "v1", "Deployment", "spec.strategy", "{'spec':{'strategy':{'type':'Recreate'}}}",
			"{'type':'Recreate'}" },
		{ "apps", "v1", "StatefulSet", "spec.updateStrategy", "{'spec':{}}",
			"{'type':'RollingUpdate','rollingUpdate':{'partition':0}}" },
		{ "", "v1", "Service", "spec", "{'spec':{'ports':[{'port':80}]}}",
			"{'ports':[{'port':80,'protocol':'TCP','targetPort':80}],"
			"'type':'ClusterIP','sessionAffinity':'None','internalTrafficPolicy':'Cluster'}" },
		{ "", "v1", "Namespace", "metadata", "{'metadata':{'name':'n'}}",
			"{'name':'n','labels':{'kubernetes.io/metadata.name':'n'}}" },
		{ "batch", "v1", "Job", "spec", "{'spec':{}}",
			"{" TEMPLATE ",'completions':1,'parallelism':1,'backoffLimit':6,'completionMode':'NonIndexed',"
			"'suspend':false,'manualSelector':false,'podReplacementPolicy':'TerminatingOrFailed'}" },
		{ "networking.k8s.io", "v1", "NetworkPolicy", "spec", "{'spec':{'egress':[{}]}}",
			"{'egress':[{}],'policyTypes':['Ingress','Egress']}" },
		{ "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "spec", "{'spec':{'names':{'kind':'Foo'}}}",
			"{'names':{'kind':'Foo','singular':'foo','listKind':'FooList'},'conversion':{'strategy':'None'}"
			"}" },
	};
	struct env *v = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct node *n = tree(v, cases[i].in);

		schema_default(kind(cases[i].group, cases[i].version, cases[i].kind), v->a, n, NULL);
		assert_string_equal(text_of(v, node_path(n, cases[i].path)), cases[i].out);
	}
}

/* ---- rules ----------------------------------------------------------------------------------- */

static struct val published(struct env *v, struct node *n)
{
	struct doc *d = node_publish(n);

	doc_hold(v->a, d);
	return doc_root(d);
}

static void broken_objects_are_explained(void **state)
{
	struct env *v = *state;
	const char *reason, *field, *message;
	struct val pod = published(v,
		tree(v,
			"{'spec':{'restartPolicy':'Maybe','containers':[{'name':'a','ports':[{'"
			"containerPort':99999}]},{}]}}"));
	size_t pos = 0;

	assert_int_equal(schema_validate(kind("", "v1", "Pod"), pod, "", &v->e), -ERR_INVALID);
	assert_string_equal(v->e.message,
		"[spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be "
		"between 1 and 65535, inclusive, "
		"spec.containers[1].name: Required value, "
		"spec.restartPolicy: Unsupported value: \"Maybe\": supported values: "
		"\"Always\", \"OnFailure\", \"Never\"]");
	assert_true(err_next_cause(&v->e, &pos, &reason, &field, &message));
	assert_string_equal(reason, "FieldValueInvalid");
	assert_string_equal(field, "spec.containers[0].ports[0].containerPort");
	err_init(&v->e);
	assert_int_equal(schema_validate(kind("apps", "v1", "Deployment"),
				 published(v, tree(v, "{'spec':{'replicas':-1}}")), "", &v->e),
		-ERR_INVALID);
	assert_non_null(strstr(v->e.message, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"));
	assert_non_null(strstr(v->e.message, "spec.selector: Required value"));
}

static void some_fields_stay(void **state)
{
	struct env *v = *state;
	struct val was = published(v, tree(v, "{'spec':{'replicas':1,'selector':{'matchLabels':{'a':'b'}}}}"));
	struct val now = published(v, tree(v, "{'spec':{'replicas':2,'selector':{'matchLabels':{'a':'c'}}}}"));

	assert_int_equal(schema_validate_update(kind("apps", "v1", "Deployment"), was, was, "", &v->e), 0);
	assert_int_equal(schema_validate_update(kind("apps", "v1", "Deployment"), now, was, "", &v->e), -ERR_INVALID);
	assert_string_equal(
		v->e.message, "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable");
}

static void strategic_merge_knows_the_types(void **state)
{
	struct env *v = *state;
	struct node *n = tree(v,
		"{'spec':{'containers':[{'name':'a','image':'1','ports':[{'containerPort':1}]},{'name':'b'}],"
		"'tolerations':[{'key':'x'}]}}");
	struct val p = published(v,
		tree(v, "{'spec':{'containers':[{'name':'a','image':'2'},{'name':'c'}],'tolerations':[{'key':'y'}]}}"));

	if (patch_strategic(v->a, &n, p, schema_patch_shape(kind("", "v1", "Pod")), &v->e))
		fail_msg("%s", v->e.message);
	n = node_getc(n, "spec");
	assert_int_equal(node_len(node_getc(n, "containers")), 3);
	assert_string_equal(text_of(v, node_getc(n, "tolerations")), "[{'key':'y'}]");
}

/* ---- protobuf -------------------------------------------------------------------------------- */

static void round_trip(struct env *v, const char *group, const char *version, const char *name, const char *json)
{
	auto_buf struct buf b = BUF_INIT;
	struct node *n = tree(v, json), *back = NULL;

	if (schema_to_protobuf(kind(group, version, name), published(v, n), &b, &v->e))
		fail_msg("%s", v->e.message);
	if (schema_from_protobuf(v->a, buf_view(&b), &back, &v->e))
		fail_msg("%s", v->e.message);
	if (!node_equal(back, tree(v, json)))
		fail_msg("%s\n%s", json, text_of(v, back));
}

static void protobuf_comes_back(void **state)
{
	struct env *v = *state;

	round_trip(v, "", "v1", "Pod",
		"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a','labels':{'x':'y','z':''},'creationTimestamp':"
		"'2026-01-02T03:04:05Z','managedFields':[{'manager':'m','fieldsV1':{'f:a':{'.':{}}}}]},'spec':{'"
		"containers':[{'name':'a','image':'b',"
		"'env':[{'name':'E','valueFrom':{'configMapKeyRef':{'name':'cm','key':'k'}}}],"
		"'livenessProbe':{'httpGet':{'path':'/"
		"x','port':'http'},'periodSeconds':3},'resources':{'limits':{'cpu':'100m'}}}],'volumes':[{'name':'v',"
		"'configMap':{'name':'c','defaultMode':420}}],'priority':-5,'terminationGracePeriodSeconds':0,'"
		"hostUsers':false,"
		"'securityContext':{'supplementalGroups':[1,2,3]}}}");
	round_trip(v, "", "v1", "Secret",
		"{'apiVersion':'v1','kind':'Secret','data':{'a':'aGVsbG8=','b':''},'type':'Opaque'}");
	round_trip(v, "", "v1", "PodList",
		"{'apiVersion':'v1','kind':'PodList','metadata':{'resourceVersion':'7'},'items':[{'metadata':{'name':'"
		"a'}}]}");
	round_trip(v, "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy",
		"{'apiVersion':'admissionregistration.k8s.io/"
		"v1','kind':'ValidatingAdmissionPolicy','spec':{'matchConstraints':{'resourceRules':"
		"[{'resourceNames':['n'],'operations':['CREATE'],'apiGroups':[''],'apiVersions':['v1'],'resources':['"
		"pods'],'scope':'*'}]}}}");
	round_trip(v, "apiextensions.k8s.io", "v1", "CustomResourceDefinition",
		"{'apiVersion':'apiextensions.k8s.io/"
		"v1','kind':'CustomResourceDefinition','spec':{'group':'g','names':{'plural':'p','kind':'K'},"
		"'scope':'Cluster','versions':[{'name':'v1','served':true,'storage':false,'schema':{'openAPIV3Schema':{"
		"'default':{'a':[1,null]},"
		"'maximum':1.5,'additionalProperties':false,'items':{'type':'string'},'properties':{'x':{'"
		"additionalProperties':{'type':'integer'}}}}}}]}}");
	round_trip(v, "authentication.k8s.io", "v1", "TokenReview",
		"{'apiVersion':'authentication.k8s.io/v1','kind':'TokenReview','spec':{},"
		"'status':{'authenticated':true,'user':{'username':'u','extra':{'k':['a','b']}}}}");
	round_trip(v, "coordination.k8s.io", "v1", "Lease",
		"{'apiVersion':'coordination.k8s.io/v1','kind':'Lease','spec':"
		"{'renewTime':'2026-01-02T03:04:05.123456Z','leaseDurationSeconds':40}}");
}

static void protobuf_bytes_are_upstreams(void **state)
{
	/* {kind: ConfigMap, metadata: {name: a}, data: {k: v}} with the zero values that Go writes */
	static const char bytes[] = "k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12\x19\n\x0f\n\x01"
				    "a\x12\x00\x1a\x00\x22\x00*\x00"
				    "2\x00"
				    "8\x00\x12\x06\n\x01k\x12\x01v\x1a\x00\x22\x00";
	struct env *v = *state;
	struct node *n = NULL;

	if (schema_from_protobuf(v->a, str_n(bytes, sizeof(bytes) - 1), &n, &v->e))
		fail_msg("%s", v->e.message);
	assert_string_equal(
		text_of(v, n), "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'a'},'data':{'k':'v'}}");
	assert_int_equal(schema_from_protobuf(v->a, STR("{}"), &n, &v->e), -ERR_BAD_REQUEST);
	for (size_t cut = 5; cut < sizeof(bytes) - 1; cut++) /* any cut is refused or read, never a crash */
		(void)schema_from_protobuf(v->a, str_n(bytes, cut), &n, &v->e);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_kind_and_field_is_found),
		T(go_types),
		T(decoding_drops_what_nobody_knows),
		T(decoding_writes_quantities_and_times_in_one_form),
		T(decoding_refuses_wrong_types),
		T(times_in_microseconds_have_six_digits),
		T(decoding_looks_into_json_schemas),
		T(a_pod_gets_its_defaults),
		T(other_kinds_get_theirs),
		T(what_did_not_change_is_left_alone),
		T(every_type_is_checked),
		T(zeros_are_written_as_go_writes_them),
		T(broken_objects_are_explained),
		T(some_fields_stay),
		T(strategic_merge_knows_the_types),
		T(protobuf_comes_back),
		T(protobuf_bytes_are_upstreams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

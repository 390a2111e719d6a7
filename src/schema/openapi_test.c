/* OpenAPI documents: well-formed, every reference there, what kubectl looks for. */
#include "base/test.h"
#include "schema/openapi.h"
#include "schema/pb.h"
#include <stdio.h>

static const char *const all[] = { "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
	NULL };
static const char *const status_verbs[] = { "get", "patch", "update", NULL };
static struct openapi_resource rows[200];
static size_t n_rows;
static struct openapi_source ours = { .r = rows, .server_version = "v1.34.0" };

static void add(const char *group, const char *version, const char *resource, const char *kind, const char *sub)
{
	rows[n_rows++] = (struct openapi_resource){ .group = group,
		.version = version,
		.resource = resource,
		.singular = "",
		.kind = kind,
		.sub = sub,
		.namespaced = true,
		.verbs = sub ? status_verbs : all,
		.type = schema_builtin(str_c(group), str_c(version), str_c(kind)) };
}

static int setup(void **state)
{
	(void)state;
	add("", "v1", "pods", "Pod", NULL);
	add("", "v1", "pods", "Pod", "status");
	add("", "v1", "services", "Service", NULL);
	add("apps", "v1", "deployments", "Deployment", NULL);
	add("apps", "v1", "deployments", "Deployment", "status");
	add("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", NULL);
	add("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", NULL);
	ours.n = n_rows;
	return 0;
}

static void check_refs(struct val v, struct val definitions, const char *prefix)
{
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		if (str_is(it.key, "$ref") && val_kind(it.val) == VAL_STR) {
			struct str ref = val_str(it.val);

			assert_true(str_starts(ref, str_c(prefix)));
			if (!val_has(val_get_str(definitions, str_sub(ref, strlen(prefix), ref.n))))
				fail_msg("%.*s", STR_ARG(ref));
		}
		check_refs(it.val, definitions, prefix);
	}
}

static struct doc *parsed(struct buf *b)
{
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse(buf_view(b), &d, &e))
		fail_msg("%s", e.message);
	return d;
}

static void v2_is_whole(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;
	struct val defs, f;

	(void)state;
	assert_int_equal(openapi_v2_json(&ours, &b), 0);
	d = parsed(&b);
	defs = doc_get(d, "definitions");
	check_refs(doc_root(d), defs, "#/definitions/");
	f = val_get(val_get(val_get(defs, "io.k8s.api.core.v1.PodSpec"), "properties"), "containers");
	assert_true(val_is(val_get(f, "x-kubernetes-patch-merge-key"), "name"));
	assert_true(val_is(val_get(f, "x-kubernetes-patch-strategy"), "merge"));
	assert_true(val_is(val_get(f, "x-kubernetes-list-type"), "map"));
	f = val_at(val_get(val_get(defs, "io.k8s.api.apps.v1.Deployment"), "x-kubernetes-group-version-kind"), 0);
	assert_true(val_is(val_get(f, "kind"), "Deployment"));
	f = val_get(val_get(val_get(doc_root(d), "paths"), "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
		"patch");
	assert_true(val_is(val_get(f, "x-kubernetes-action"), "patch"));
	assert_true(val_has(val_find(val_get(f, "parameters"), "name", STR("fieldValidation"))));
}

static void v3_is_whole(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;
	struct val defs;

	(void)state;
	assert_int_equal(openapi_v3_json(rows, n_rows, "apps", "v1", "v1.34.0", &b), 0);
	d = parsed(&b);
	defs = doc_get(d, "components.schemas");
	check_refs(doc_root(d), defs, "#/components/schemas/");
	assert_true(val_has(val_get(defs, "io.k8s.api.apps.v1.DeploymentList")));
	assert_false(val_has(val_get(defs, "io.k8s.api.core.v1.Service")));
	assert_false(val_has(val_get(val_get(doc_root(d), "paths"), "/api/v1/pods")));
}

/* Fields of a message, down the tree where a field looks like a message; counts what it meets. */
static size_t count(struct str bytes, uint32_t number)
{
	struct pb c = pb_of(bytes);
	struct pb_field f;
	size_t n = 0;

	while (pb_next(&c, &f))
		n += f.number == number;
	assert_false(c.bad);
	return n;
}

static void v2_is_a_message(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	struct pb_field f;
	struct pb c;
	struct oa o;

	(void)state;
	assert_int_equal(openapi_v2_protobuf(&ours, &b), 0);
	oa_init(&o, rows, n_rows, false, NULL, NULL);
	c = pb_of(buf_view(&b));
	while (pb_next(&c, &f)) {
		if (f.number == 9)
			assert_int_equal(count(f.bytes, 1), o.n_types);
		if (f.number == 8)
			assert_int_equal(count(f.bytes, 2), 5 * 3 + 2);
	}
	assert_false(c.bad);
	oa_fini(&o);
}

/* ---- other servers ----------------------------------------------------------------------------- */

#define FLUNDERS "/apis/w.example.com/v1/flunders"
#define FLUNDER "com.example.w.v1.Flunder"
#define OBJECT_META "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

/* A document of group version w.example.com/VERSION; inside: of its meta's properties. */
static struct doc *theirs(const char *version, const char *meta_properties)
{
	auto_buf struct buf b = BUF_INIT, tidy = BUF_INIT;
	struct doc *d;

	buf_printf(&b,
		"{\"swagger\":\"2.0\",\"info\":{},\"nonsense\":1,\"paths\":{\"/apis/other.example.com/v1/things\":{},"
		"\"/apis/w.example.com/%s/flunders\":{\"nonsense\":1,\"get\":{\"parameters\":[{\"$ref\":"
		"\"#/parameters/limit\"},{\"$ref\":\"#/parameters/none\"},{\"name\":\"x\",\"in\":\"header\",\"type\":\"string\"}],"
		"\"responses\":{\"200\":{\"description\":\"OK\",\"schema\":{\"$ref\":\"#/definitions/com.example.w.%s.Flunder\"}},"
		"\"odd\":{\"description\":\"OK\"}}},\"post\":{}}},"
		"\"parameters\":{\"limit\":{\"name\":\"limit\",\"in\":\"query\",\"type\":\"integer\"}},"
		"\"definitions\":{\"com.example.w.%s.Flunder\":{\"type\":\"object\",\"nullable\":true,\"properties\":{"
		"\"metadata\":{\"$ref\":\"#/definitions/" OBJECT_META
		"\"},\"list\":{\"type\":\"array\"},\"odd\":{\"type\":[1]},"
		"\"lost\":{\"$ref\":\"#/definitions/nobody\"}},\"x-kubernetes-group-version-kind\":["
		"{\"group\":\"apps\",\"version\":\"v1\",\"kind\":\"Deployment\"},"
		"{\"group\":\"w.example.com\",\"version\":\"%s\",\"kind\":\"Flunder\"}]},"
		"\"" OBJECT_META "\":{\"properties\":{%s}},\"com.example.unused\":{}}}",
		version, version, version, version, meta_properties);
	struct doc *whole = parsed(&b);
	assert_int_equal(openapi_tidy(doc_root(whole), "w.example.com", version, &tidy), 0);
	doc_unref(whole);
	d = parsed(&tidy);
	return d;
}

static void only_what_every_client_takes_passes(void **state)
{
	auto_(doc_unref) struct doc *d = theirs("v1", "\"name\":{\"type\":\"string\"}");
	struct val defs = doc_get(d, "definitions"), flunder = val_get(defs, FLUNDER), path, kinds;

	(void)state;
	check_refs(doc_root(d), defs, "#/definitions/");
	assert_int_equal(val_len(doc_get(d, "paths")), 1);
	assert_int_equal(val_len(defs), 2);
	path = val_get(doc_get(d, "paths"), FLUNDERS);
	assert_int_equal(val_len(path), 1); /* an operation that answers nothing is none */
	assert_int_equal(val_len(val_path(path, "get.parameters")), 1);
	assert_true(val_is(val_get(val_at(val_path(path, "get.parameters"), 0), "name"), "limit"));
	assert_int_equal(val_len(val_path(path, "get.responses")), 1);
	assert_false(val_has(val_get(flunder, "nullable")));
	assert_int_equal(val_len(val_path(flunder, "properties.list")), 0);
	assert_int_equal(val_len(val_path(flunder, "properties.odd")), 0);
	assert_int_equal(val_len(val_path(flunder, "properties.lost")), 0);
	kinds = val_get(flunder, "x-kubernetes-group-version-kind");
	assert_int_equal(val_len(kinds), 1);
	assert_true(val_is(val_get(val_at(kinds, 0), "kind"), "Flunder"));
}

static struct val meta_of(struct val defs, const char *flunder)
{
	return val_get(val_path(val_get(defs, flunder), "properties.metadata"), "$ref");
}

static void definitions_that_clash_are_renamed(void **state)
{
	auto_buf struct buf b = BUF_INIT, pb = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL, *one = theirs("v1", "\"name\":{\"type\":\"string\"}"),
				    *like = theirs("v2", "\"name\":{\"type\":\"string\"}"),
				    *other = theirs("v3", "\"name\":{\"type\":\"integer\"}");
	struct val others[] = { doc_root(one), doc_root(like), doc_root(other) }, defs;
	struct openapi_source s = ours;

	(void)state;
	s.others = others;
	s.n_others = 3;
	assert_int_equal(openapi_v2_json(&s, &b), 0);
	d = parsed(&b);
	defs = doc_get(d, "definitions");
	check_refs(doc_root(d), defs, "#/definitions/");
	assert_true(val_has(val_get(doc_get(d, "paths"), FLUNDERS)));
	assert_true(val_is(meta_of(defs, FLUNDER), "#/definitions/" OBJECT_META "_v2"));
	assert_true(val_is(meta_of(defs, "com.example.w.v2.Flunder"), "#/definitions/" OBJECT_META "_v2"));
	assert_true(val_is(meta_of(defs, "com.example.w.v3.Flunder"), "#/definitions/" OBJECT_META "_v3"));
	assert_true(val_has(val_path(val_get(defs, OBJECT_META), "properties.uid")));
	assert_int_equal(openapi_v2_protobuf(&s, &pb), 0);
	assert_true(str_has(buf_view(&pb), STR(OBJECT_META "_v3")));
	assert_true(str_has(buf_view(&pb), STR(FLUNDERS)));
}

/* The same words, but of something else: a name says one thing. */
static void what_refers_to_something_else_is_something_else(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL, *one = theirs("v1", "\"name\":{\"type\":\"string\"}"),
				    *again = theirs("v1", "\"name\":{\"type\":\"integer\"}");
	struct val others[] = { doc_root(one), doc_root(again) }, defs;
	struct openapi_source s = ours;
	struct err e;

	(void)state;
	err_init(&e);
	s.others = others;
	s.n_others = 2;
	assert_int_equal(openapi_v2_json(&s, &b), 0);
	assert_true(doc_parse_lenient(buf_view(&b), NULL, NULL, &d, &e) == 0); /* the path is there twice */
	defs = doc_get(d, "definitions");
	assert_true(val_is(meta_of(defs, FLUNDER), "#/definitions/" OBJECT_META "_v2"));
	assert_true(val_is(meta_of(defs, FLUNDER "_v2"), "#/definitions/" OBJECT_META "_v3"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_every_client_takes_passes),
		cmocka_unit_test(definitions_that_clash_are_renamed),
		cmocka_unit_test(what_refers_to_something_else_is_something_else),
		cmocka_unit_test(v2_is_whole),
		cmocka_unit_test(v3_is_whole),
		cmocka_unit_test(v2_is_a_message),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

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
	assert_int_equal(openapi_v2_json(rows, n_rows, "v1.34.0", &b), 0);
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
	assert_int_equal(openapi_v2_protobuf(rows, n_rows, "v1.34.0", &b), 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v2_is_whole),
		cmocka_unit_test(v3_is_whole),
		cmocka_unit_test(v2_is_a_message),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

/* What a node may read: what its pods refer to, and nothing of others. */
#include "api/api_fixture.h"
#include "api/auth/auth.h"
#include "doc/doc_fixture.h"

/* ---- through the API ------------------------------------------------------------------------- */

static bool may(struct fixture *f, const char *node, const char *verb, const char *resource, const char *ns,
	const char *name, const char *sub)
{
	static const struct str groups[] = { { "system:nodes", 12 } };
	auto_free char *user = xasprintf("system:node:%s", node);
	struct identity id = { .user = str_c(user), .groups = groups, .n_groups = 1 };
	struct authz_attrs at = { .verb = str_c(verb),
		.resource_request = true,
		.version = STR("v1"),
		.resource = str_c(resource),
		.sub = str_c(sub),
		.ns = str_c(ns),
		.name = str_c(name) };

	return authz_allowed(f->api, &id, &at, NULL, 0);
}

static bool may_get(struct fixture *f, const char *node, const char *resource, const char *name)
{
	return may(f, node, "get", resource, "default", name, "");
}

#define POD                                                                                                            \
	"{\"metadata\":{\"name\":\"web\"},\"spec\":{\"nodeName\":\"a\",\"serviceAccountName\":\"default\","            \
	"\"imagePullSecrets\":[{\"name\":\"pull\"}],"                                                                  \
	"\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"envFrom\":[{\"secretRef\":{\"name\":\"from\"}},"            \
	"{\"configMapRef\":{\"name\":\"cfrom\"}}],\"env\":["                                                           \
	"{\"name\":\"A\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"env\",\"key\":\"k\"}}},"                          \
	"{\"name\":\"B\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"cenv\",\"key\":\"k\"}}}]}],"                   \
	"\"initContainers\":[{\"name\":\"i\",\"image\":\"i\",\"envFrom\":[{\"secretRef\":{\"name\":\"init\"}}]}],"     \
	"\"volumes\":[{\"name\":\"s\",\"secret\":{\"secretName\":\"vol\"}},"                                           \
	"{\"name\":\"m\",\"configMap\":{\"name\":\"cvol\"}},"                                                          \
	"{\"name\":\"p\",\"projected\":{\"sources\":[{\"secret\":{\"name\":\"proj\"}},"                                \
	"{\"configMap\":{\"name\":\"cproj\"}}]}},"                                                                     \
	"{\"name\":\"d\",\"persistentVolumeClaim\":{\"claimName\":\"data\"}},"                                         \
	"{\"name\":\"scratch\",\"ephemeral\":{\"volumeClaimTemplate\":{\"spec\":{\"accessModes\":[\"ReadWriteOnce\"]," \
	"\"resources\":{\"requests\":{\"storage\":\"1Mi\"}}}}}}]}}"

static const struct {
	const char *resource, *name;
} of_web[] = { { "secrets", "pull" }, { "secrets", "from" }, { "secrets", "env" }, { "secrets", "init" },
	{ "secrets", "vol" }, { "secrets", "proj" }, { "configmaps", "cfrom" }, { "configmaps", "cenv" },
	{ "configmaps", "cvol" }, { "configmaps", "cproj" }, { "configmaps", "kube-root-ca.crt" },
	{ "persistentvolumeclaims", "data" }, { "persistentvolumeclaims", "web-scratch" } };

static void reads_what_its_pods_refer_to(void **state)
{
	struct fixture *f = *state;

	assert_false(may_get(f, "a", "secrets", "vol"));
	expect(f, 201, call(f, "POST", PODS, POD));
	for (size_t i = 0; i < ARRAY_LEN(of_web); i++) {
		assert_true(may_get(f, "a", of_web[i].resource, of_web[i].name));
		assert_false(may_get(f, "b", of_web[i].resource, of_web[i].name));
		assert_false(may(f, "a", "get", of_web[i].resource, "kube-public", of_web[i].name, ""));
	}
	assert_true(may(f, "a", "create", "serviceaccounts", "default", "default", "token"));
	assert_false(may(f, "b", "create", "serviceaccounts", "default", "default", "token"));
	assert_false(may_get(f, "a", "serviceaccounts", "default")); /* its tokens are enough */
	assert_false(may_get(f, "a", "secrets", "data"));            /* a claim of that name is no Secret */
	assert_false(may_get(f, "a", "secrets", ""));
	assert_false(may(f, "a", "update", "secrets", "default", "vol", ""));
}

static void follows_changes_of_pods(void **state)
{
	struct fixture *f = *state;

	expect(f, 200,
		call_as(f, "PATCH", PODS "/web/ephemeralcontainers", "application/strategic-merge-patch+json", NULL,
			"{\"spec\":{\"ephemeralContainers\":[{\"name\":\"e\",\"image\":\"i\",\"envFrom\":["
			"{\"secretRef\":{\"name\":\"late\"}}]}]}}"));
	assert_true(may_get(f, "a", "secrets", "late"));
	expect(f, 200,
		call_as(f, "PATCH", PODS "/web/status", "application/merge-patch+json", NULL,
			"{\"status\":{\"phase\":\"Running\"}}"));
	assert_true(may_get(f, "a", "secrets", "late"));
	expect(f, 200, call(f, "DELETE", PODS "/web?gracePeriodSeconds=0", ""));
	for (size_t i = 0; i < ARRAY_LEN(of_web); i++)
		assert_false(may_get(f, "a", of_web[i].resource, of_web[i].name));
}

static void follows_bindings(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"later\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\","
			"\"envFrom\":[{\"secretRef\":{\"name\":\"mine\"}}]}]}}"));
	assert_false(may_get(f, "b", "secrets", "mine"));
	expect(f, 201,
		call(f, "POST", PODS "/later/binding",
			"{\"metadata\":{\"name\":\"later\"},\"target\":{\"name\":\"b\"}}"));
	assert_true(may_get(f, "b", "secrets", "mine"));
	assert_false(may_get(f, "a", "secrets", "mine"));
}

/* ---- what it may write ----------------------------------------------------------------------- */

static const struct str node_groups[] = { { "system:nodes", 12 } };
static const struct identity node_a = { .user = { "system:node:a", 13 }, .groups = node_groups, .n_groups = 1 };

static bool may_list_pods(struct fixture *f, const char *fields)
{
	struct authz_attrs at = { .verb = STR("list"),
		.resource_request = true,
		.version = STR("v1"),
		.resource = STR("pods"),
		.field_selector = str_c(fields) };

	return authz_allowed(f->api, &node_a, &at, NULL, 0);
}

/* As the list reads it, this is everything but one phase. */
static void an_escaped_comma_is_none(void **state)
{
	struct fixture *f = *state;

	assert_true(may_list_pods(f, "spec.nodeName=a"));
	assert_true(may_list_pods(f, "status.phase!=Failed,spec.nodeName==a"));
	assert_false(may_list_pods(f, "status.phase!=x\\,spec.nodeName=a"));
	assert_false(may_list_pods(f, "spec.nodeName!=a"));
	assert_false(may_list_pods(f, "spec.nodeName=b"));
	assert_false(may_list_pods(f, ""));
}

static int patch_as(struct fixture *f, const char *url, const char *body)
{
	int status;

	f->as = &node_a;
	status = call_as(f, "PATCH", url, "application/merge-patch+json", NULL, body);
	f->as = NULL;
	return status;
}

static int create_as(struct fixture *f, const char *url, const char *body)
{
	int status;

	f->as = &node_a;
	status = call(f, "POST", url, body);
	f->as = NULL;
	return status;
}

static int mirror(struct fixture *f, const char *owner, const char *more)
{
	auto_free char *body = xasprintf("{\"metadata\":{\"name\":\"mirror\",\"annotations\":"
					 "{\"kubernetes.io/config.mirror\":\"x\"}%s},\"spec\":{\"nodeName\":\"a\","
					 "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]%s}}",
		owner, more);
	int status = create_as(f, PODS, body);

	if (status == 201)
		expect(f, 200, call(f, "DELETE", PODS "/mirror?gracePeriodSeconds=0", ""));
	return status;
}

/* Otherwise it could read every Secret by making a pod that refers to it. */
static void mirror_pods_refer_to_nothing(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, create_as(f, "/api/v1/nodes", "{\"metadata\":{\"name\":\"a\"}}"));
	auto_free char *owner =
		xasprintf(",\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"name\":\"a\","
			  "\"controller\":true,\"uid\":\"%s\"}]",
			get(f, "metadata.uid"));

	expect(f, 201, mirror(f, owner, ""));
	expect(f, 403, mirror(f, "", ""));
	expect(f, 403, mirror(f, owner, ",\"volumes\":[{\"name\":\"v\",\"secret\":{\"secretName\":\"s\"}}]"));
	expect(f, 403, mirror(f, owner, ",\"volumes\":[{\"name\":\"v\",\"configMap\":{\"name\":\"s\"}}]"));
	expect(f, 403,
		mirror(f, owner, ",\"volumes\":[{\"name\":\"v\",\"persistentVolumeClaim\":{\"claimName\":\"s\"}}]"));
	expect(f, 403,
		mirror(f, owner,
			",\"volumes\":[{\"name\":\"v\",\"projected\":{\"sources\":[{\"secret\":{\"name\":\"s\"}}]}}]"));
	expect(f, 403, mirror(f, owner, ",\"imagePullSecrets\":[{\"name\":\"s\"}]"));
}

static void of_its_pods_it_writes_the_status(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", PODS, POD));
	expect(f, 403, patch_as(f, PODS "/web", "{\"metadata\":{\"labels\":{\"app\":\"db\"}}}"));
	expect(f, 403, patch_as(f, PODS "/web/status", "{\"metadata\":{\"labels\":{\"app\":\"db\"}}}"));
	expect(f, 403, patch_as(f, PODS "/web/ephemeralcontainers", "{}"));
	expect(f, 200, patch_as(f, PODS "/web/status", "{\"status\":{\"message\":\"x\"}}"));
}

static void its_labels_draw_nothing_to_it(void **state)
{
	static const char *const no[] = { "node-role.kubernetes.io/control-plane", "node-restriction.kubernetes.io/x",
		"a.node-restriction.kubernetes.io/x", "kubernetes.io/x", "x.k8s.io/y" },
				 *const yes[] = { "kubernetes.io/hostname", "topology.kubernetes.io/zone",
					 "node.kubernetes.io/instance-type", "x.kubelet.kubernetes.io/y",
					 "example.com/x", "plain", "xkubernetes.io/y" };
	struct fixture *f = *state;

	expect(f, 201, create_as(f, "/api/v1/nodes", "{\"metadata\":{\"name\":\"a\"}}"));
	for (size_t i = 0; i < ARRAY_LEN(no) + ARRAY_LEN(yes); i++) {
		bool ok = i >= ARRAY_LEN(no);
		auto_free char *body =
			xasprintf("{\"metadata\":{\"labels\":{\"%s\":\"v\"}}}", ok ? yes[i - ARRAY_LEN(no)] : no[i]);

		expect(f, ok ? 200 : 403, patch_as(f, "/api/v1/nodes/a", body));
		expect(f, ok ? 200 : 403, patch_as(f, "/api/v1/nodes/a/status", body));
	}
	expect(f, 200,
		call_as(f, "PATCH", "/api/v1/nodes/a", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"labels\":{\"node-restriction.kubernetes.io/x\":\"v\"}}}"));
	expect(f, 403,
		patch_as(f, "/api/v1/nodes/a",
			"{\"metadata\":{\"labels\":{\"node-restriction.kubernetes.io/x\":null}}}"));
	expect(f, 403,
		patch_as(f, "/api/v1/nodes/a",
			"{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"x\","
			"\"uid\":\"u\"}]}}"));
}

static void of_its_claims_it_writes_the_size(void **state)
{
	static const char url[] = "/api/v1/namespaces/default/persistentvolumeclaims",
			  status[] = "/api/v1/namespaces/default/persistentvolumeclaims/data/status";
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", PODS, POD));
	expect(f, 201,
		call(f, "POST", url,
			"{\"metadata\":{\"name\":\"data\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],"
			"\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}"));
	expect(f, 200, patch_as(f, status, "{\"status\":{\"capacity\":{\"storage\":\"2Gi\"}}}"));
	expect(f, 403, patch_as(f, status, "{\"status\":{\"phase\":\"Lost\"}}"));
	expect(f, 403, patch_as(f, status, "{\"metadata\":{\"finalizers\":[\"a.b/c\"]}}"));
	expect(f, 403, patch_as(f, status, "{\"metadata\":{\"annotations\":{\"a\":\"b\"}}}"));
}

static void a_csinode_is_its_nodes(void **state)
{
	static const char url[] = "/apis/storage.k8s.io/v1/csinodes";
	struct fixture *f = *state;

	expect(f, 403, create_as(f, url, "{\"metadata\":{\"name\":\"b\"},\"spec\":{\"drivers\":[]}}"));
	expect(f, 201, create_as(f, url, "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"drivers\":[]}}"));
}

/* ---- many pods, against a table -------------------------------------------------------------- */

#define NODES 9
#define NAMES 61
#define CROWD 2000
#define STEPS 20000

struct model_pod {
	struct doc *doc; /* own; NULL: none of that number */
	int node, secret, map;
};

static struct doc *model_doc(int i, const struct model_pod *m, int version)
{
	auto_free char *text = xasprintf(
		"{\"metadata\":{\"namespace\":\"n%d\",\"name\":\"p%d\"},\"spec\":{%s%d%s\"imagePullSecrets\":[{\"name\":"
		"\"s%d\"}],\"volumes\":[{\"configMap\":{\"name\":\"s%d\"}}]},\"status\":{\"x\":%d}}",
		i % 2, i, m->node < 0 ? "\"x\":" : "\"nodeName\":\"node-", m->node, m->node < 0 ? "," : "\",",
		m->secret, m->map, version);

	return json_doc(text);
}

/* Made, bound, changed in spec or status, deleted. */
static void step(struct node_pods *p, struct model_pod *pods, int version)
{
	int i = rand() % CROWD, what = rand() % 8;
	struct model_pod *m = &pods[i], now = *m;

	if (!m->doc || what == 0)
		now = (struct model_pod){ NULL, rand() % 3 ? rand() % NODES : -1, rand() % NAMES, rand() % NAMES };
	else if (now.node < 0)
		now.node = rand() % NODES;
	else if (what == 1)
		now.map = rand() % NAMES;
	now.doc = m->doc && what == 7 ? NULL : model_doc(i, &now, version);
	node_pods_event(p, m->doc, now.doc);
	doc_unref(m->doc);
	*m = now;
}

static void compare(struct node_pods *p, const struct model_pod *pods)
{
	static bool secret[NODES][2][NAMES], map[NODES][2][NAMES];
	char node[24], ns[8], name[24];

	memset(secret, 0, sizeof(secret));
	memset(map, 0, sizeof(map));
	for (int i = 0; i < CROWD; i++)
		if (pods[i].doc && pods[i].node >= 0)
			secret[pods[i].node][i % 2][pods[i].secret] = map[pods[i].node][i % 2][pods[i].map] = true;
	for (int i = 0; i < NODES * 2 * NAMES; i++) {
		int n = i / 2 / NAMES, s = i / NAMES % 2, k = i % NAMES;

		snprintf(node, sizeof(node), "node-%d", n);
		snprintf(ns, sizeof(ns), "n%d", s);
		snprintf(name, sizeof(name), "s%d", k);
		assert_int_equal(
			node_pods_refer(p, str_c(node), REFERENT_SECRET, str_c(ns), str_c(name)), secret[n][s][k]);
		assert_int_equal(
			node_pods_refer(p, str_c(node), REFERENT_CONFIGMAP, str_c(ns), str_c(name)), map[n][s][k]);
		assert_false(node_pods_refer(p, str_c(node), REFERENT_CLAIM, str_c(ns), str_c(name)));
	}
}

static void agrees_with_a_table_of_many_pods(void **state)
{
	struct model_pod *pods = xcalloc(CROWD, sizeof(*pods));
	struct cache *none = cache_new("pods", NULL);
	struct node_pods *p = node_pods_new(none);

	srand(7);
	for (int i = 1; i <= STEPS; i++) {
		step(p, pods, i);
		if (i % (STEPS / 20) == 0)
			compare(p, pods);
	}
	node_pods_free(p);
	cache_free(none);
	for (int i = 0; i < CROWD; i++)
		doc_unref(pods[i].doc);
	free(pods);
}

static void begins_with_what_the_cache_has(void **state)
{
	struct model_pod m = { NULL, 3, 5, 6 };
	auto_(doc_unref) struct doc *d = model_doc(0, &m, 1);
	struct cache *c = cache_new("pods", NULL);
	struct node_pods *p;

	cache_fill(c, STR("n0/p0"), d, 1);
	cache_ready(c, 1);
	p = node_pods_new(c);
	assert_true(node_pods_refer(p, STR("node-3"), REFERENT_SECRET, STR("n0"), STR("s5")));
	assert_false(node_pods_refer(p, STR("node-3"), REFERENT_SECRET, STR("n0"), STR("s6")));
	node_pods_free(p);
	cache_free(c);
}

static bool may_storage(struct fixture *f, const char *verb, const char *resource, const char *name)
{
	struct identity id = { .user = STR("system:node:a"), .groups = node_groups, .n_groups = 1 };
	struct authz_attrs at = { .verb = str_c(verb),
		.resource_request = true,
		.group = STR("storage.k8s.io"),
		.version = STR("v1"),
		.resource = str_c(resource),
		.name = str_c(name) };

	return authz_allowed(f->api, &id, &at, NULL, 0);
}

#define ATTACHMENTS "/apis/storage.k8s.io/v1/volumeattachments"
#define ATTACHMENT(node)                                                                               \
	"{\"metadata\":{\"name\":\"to-" node "\"},\"spec\":{\"attacher\":\"x.y\",\"nodeName\":\"" node \
	"\",\"source\":{\"persistentVolumeName\":\"v\"}}}"

static void of_other_nodes_it_learns_nothing(void **state)
{
	static const char *const reads[] = { "get", "list", "watch" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
		assert_true(may(f, "a", reads[i], "nodes", "", "a", ""));
		assert_false(may(f, "a", reads[i], "nodes", "", "b", ""));
		assert_false(may(f, "a", reads[i], "nodes", "", "", ""));
		assert_false(may(f, "a", reads[i], "nodes", "", "a", "proxy"));
	}
	assert_true(may_storage(f, "get", "csinodes", "a"));
	assert_false(may_storage(f, "get", "csinodes", "b"));
	assert_false(may_storage(f, "list", "csinodes", ""));
	expect(f, 201, call(f, "POST", ATTACHMENTS, ATTACHMENT("a")));
	expect(f, 201, call(f, "POST", ATTACHMENTS, ATTACHMENT("b")));
	assert_true(may_storage(f, "get", "volumeattachments", "to-a"));
	assert_false(may_storage(f, "get", "volumeattachments", "to-b"));
	assert_false(may_storage(f, "list", "volumeattachments", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_its_pods_refer_to),
		cmocka_unit_test(follows_changes_of_pods),
		cmocka_unit_test(follows_bindings),
		cmocka_unit_test_setup_teardown(an_escaped_comma_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(mirror_pods_refer_to_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(of_its_pods_it_writes_the_status, setup, teardown),
		cmocka_unit_test_setup_teardown(its_labels_draw_nothing_to_it, setup, teardown),
		cmocka_unit_test_setup_teardown(of_its_claims_it_writes_the_size, setup, teardown),
		cmocka_unit_test_setup_teardown(a_csinode_is_its_nodes, setup, teardown),
		cmocka_unit_test_setup_teardown(of_other_nodes_it_learns_nothing, setup, teardown),
		cmocka_unit_test(agrees_with_a_table_of_many_pods),
		cmocka_unit_test(begins_with_what_the_cache_has),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

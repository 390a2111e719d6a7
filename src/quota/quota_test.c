/* What objects use, and which quotas they count against. */
#include "base/test.h"
#include "quota/quota.h"

static struct doc *parse(const char *yaml)
{
	struct doc *d;
	struct err e;

	err_init(&e);
	if (doc_parse_yaml(str_c(yaml), NULL, NULL, &d, &e) < 0)
		fail_msg("%s: %s", yaml, e.message);
	return d;
}

static void uses(const char *resource, const char *yaml, const char *want)
{
	auto_(doc_unref) struct doc *d = parse(yaml);
	auto_(arena_free) struct arena *a = arena_new();
	struct quota_list l = QUOTA_LIST(a);

	quota_usage("", resource, doc_root(d), 1000, &l);
	assert_string_equal(arena_cstr(a, quota_text(a, &l)), want);
}

static void pods_use_what_the_scheduler_counts(void **state)
{
	(void)state;
	uses("pods",
		"{spec: {containers: [{resources: {requests: {cpu: 100m, memory: 1Mi}, limits: {cpu: 1}}}, {resources: "
		"{requests: {cpu: 200m}}}]}}",
		"count/pods=1,cpu=300m,limits.cpu=1,memory=1Mi,pods=1,requests.cpu=300m,requests.memory=1Mi");
	/* The largest init container beside the sidecars before it, against all containers with all sidecars. */
	uses("pods",
		"{spec: {containers: [{resources: {requests: {cpu: 1}}}], initContainers: [{restartPolicy: Always, "
		"resources: {requests: {cpu: 1}}}, {resources: {requests: {cpu: 2}}}]}}",
		"count/pods=1,cpu=3,pods=1,requests.cpu=3");
	uses("pods",
		"{spec: {overhead: {cpu: 1}, containers: [{resources: {requests: {example.com/gpu: 2, cpu: 1}}}]}}",
		"count/pods=1,cpu=2,pods=1,requests.cpu=2,requests.example.com/gpu=2");
	uses("pods", "{spec: {containers: [{resources: {requests: {cpu: 1}}}]}, status: {phase: Succeeded}}",
		"count/pods=1");
}

static void other_kinds_have_their_own(void **state)
{
	(void)state;
	uses("services", "{spec: {type: NodePort, ports: [{port: 1}, {port: 2}]}}",
		"count/services=1,services=1,services.loadbalancers=0,services.nodeports=2");
	uses("persistentvolumeclaims", "{spec: {storageClassName: gold, resources: {requests: {storage: 1Gi}}}}",
		"count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/"
		"persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/"
		"requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi");
	uses("configmaps", "{}", "configmaps=1,count/configmaps=1");
}

static bool selects(const char *quota, const char *pod)
{
	auto_(doc_unref) struct doc *q = parse(quota), *p = parse(pod);

	return quota_selects(doc_root(q), "", "pods", doc_root(p));
}

static void scopes_choose_pods(void **state)
{
	(void)state;
	assert_true(selects("{spec: {scopes: [BestEffort]}}", "{spec: {containers: [{}]}}"));
	assert_false(
		selects("{spec: {scopes: [BestEffort]}}", "{spec: {containers: [{resources: {limits: {cpu: 1}}}]}}"));
	assert_true(selects("{spec: {scopes: [Terminating]}}", "{spec: {activeDeadlineSeconds: 5}}"));
	assert_false(selects("{spec: {scopes: [NotTerminating]}}", "{spec: {activeDeadlineSeconds: 5}}"));
	assert_true(selects("{spec: {scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, "
			    "values: [a, b]}]}}}",
		"{spec: {priorityClassName: b}}"));
	assert_false(selects("{spec: {scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: NotIn, "
			     "values: [b]}]}}}",
		"{spec: {priorityClassName: b}}"));
}

static void cpu_and_memory_must_be_said(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *
		hard = parse("{cpu: 1, limits.memory: 1, pods: 1}"),
	       *pod = parse(
		       "{spec: {containers: [{name: b, resources: {requests: {cpu: 1}}}, {name: c}], initContainers: [{name: a}]}}");
	struct quota_list l = QUOTA_LIST(a);

	(void)state;
	quota_read(&l, doc_root(hard));
	assert_string_equal(
		arena_cstr(a, quota_unsaid(a, &l, doc_root(pod))), "cpu for: a,c; limits.memory for: a,b,c");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pods_use_what_the_scheduler_counts),
		cmocka_unit_test(other_kinds_have_their_own),
		cmocka_unit_test(scopes_choose_pods),
		cmocka_unit_test(cpu_and_memory_must_be_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

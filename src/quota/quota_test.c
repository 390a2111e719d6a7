/* What objects use, and which quotas they count against. */
#include "doc/doc_fixture.h"
#include "quota/quota.h"

static void uses(const char *resource, const char *yaml, const char *want)
{
	auto_(doc_unref) struct doc *d = yaml_doc(yaml);
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
	auto_(doc_unref) struct doc *q = yaml_doc(quota), *p = yaml_doc(pod);

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
		hard = yaml_doc("{cpu: 1, limits.memory: 1, pods: 1}"),
	       *pod = yaml_doc(
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

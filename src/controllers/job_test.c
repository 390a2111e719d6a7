/* The thinking of the Job controller, row by row. */
#include "controllers/job.h"
#include "doc/doc_fixture.h"

static void index_sets_are_written_as_they_are_read(void **state)
{
	static const struct {
		const char *in, *out;
		int64_t n, count;
	} rows[] = {
		{ "", "", 5, 0 },
		{ "0-4", "0-4", 5, 5 },
		{ "3,1", "1,3", 5, 2 },
		{ "0,1", "0,1", 5, 2 },
		{ "0-1,3-9", "0,1,3,4", 5, 4 },
		{ "9", "", 5, 0 },
		{ "x,2,-", "2", 5, 1 },
		{ "0-2,1-3", "0-3", 5, 4 },
	};
	auto_(arena_free) struct arena *a = arena_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct index_set s = index_set_new(a, rows[i].n);

		index_set_read(&s, str_c(rows[i].in));
		assert_int_equal(s.count, rows[i].count);
		assert_true(str_is(index_set_text(a, &s), rows[i].out));
	}
}

static void what_becomes_of_a_pod(void **state)
{
	static const struct {
		const char *pod;
		bool count_terminating;
		enum pod_fate fate;
	} rows[] = {
		{ "{status: {phase: Running}}", true, FATE_ACTIVE },
		{ "{status: {phase: Succeeded}}", true, FATE_SUCCEEDED },
		{ "{status: {phase: Failed}}", false, FATE_FAILED },
		{ "{metadata: {deletionTimestamp: '2020-01-01T00:00:00Z'}, status: {phase: Running}}", true,
			FATE_FAILED },
		{ "{metadata: {deletionTimestamp: '2020-01-01T00:00:00Z'}, status: {phase: Running}}", false,
			FATE_TERMINATING },
		{ "{metadata: {deletionTimestamp: '2020-01-01T00:00:00Z'}, status: {phase: Succeeded}}", true,
			FATE_SUCCEEDED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(doc_unref) struct doc *pod = yaml_doc(rows[i].pod);

		assert_int_equal(job_pod_fate(pod, rows[i].count_terminating), rows[i].fate);
	}
}

static void the_first_rule_that_holds_decides(void **state)
{
	static const struct {
		const char *rules, *pod;
		enum policy policy;
	} rows[] = {
		{ "[]", "{}", POLICY_COUNT },
		{ "[{action: FailJob, onExitCodes: {operator: In, values: [42]}}]",
			"{containerStatuses: [{name: c, state: {terminated: {exitCode: 42}}}]}", POLICY_FAIL_JOB },
		{ "[{action: FailJob, onExitCodes: {operator: In, values: [42]}}]",
			"{containerStatuses: [{name: c, state: {terminated: {exitCode: 1}}}]}", POLICY_COUNT },
		{ "[{action: FailIndex, onExitCodes: {operator: NotIn, values: [42]}}]",
			"{containerStatuses: [{name: c, state: {terminated: {exitCode: 1}}}]}", POLICY_FAIL_INDEX },
		{ "[{action: FailIndex, onExitCodes: {operator: NotIn, values: [42]}}]",
			"{containerStatuses: [{name: c, state: {terminated: {exitCode: 0}}}]}", POLICY_COUNT },
		{ "[{action: FailJob, onExitCodes: {containerName: d, operator: In, values: [1]}}]",
			"{containerStatuses: [{name: c, state: {terminated: {exitCode: 1}}}]}", POLICY_COUNT },
		{ "[{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}, {action: FailJob, onExitCodes: {operator: In, values: [1]}}]",
			"{conditions: [{type: DisruptionTarget, status: 'True'}], containerStatuses: [{name: c, state: {terminated: {exitCode: 1}}}]}",
			POLICY_IGNORE },
		{ "[{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]",
			"{conditions: [{type: DisruptionTarget, status: 'False'}]}", POLICY_COUNT },
	};
	auto_(arena_free) struct arena *a = arena_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(doc_unref) struct doc *job =
			yaml_doc(arena_printf(a, "{spec: {podFailurePolicy: {rules: %s}}}", rows[i].rules));
		auto_(doc_unref) struct doc *pod =
			yaml_doc(arena_printf(a, "{metadata: {name: p, namespace: n}, status: %s}", rows[i].pod));
		const char *message = NULL;

		assert_int_equal(job_policy(a, job, pod, &message), rows[i].policy);
	}
}

static void success_rules(void **state)
{
	static const struct {
		const char *rules, *completed;
		bool met;
	} rows[] = {
		{ "[{succeededIndexes: '0-1'}]", "0", false },
		{ "[{succeededIndexes: '0-1'}]", "0-1,4", true },
		{ "[{succeededCount: 2}]", "3", false },
		{ "[{succeededCount: 2}]", "3,4", true },
		{ "[{succeededIndexes: '0-3', succeededCount: 1}]", "4", false },
		{ "[{succeededIndexes: '0-3', succeededCount: 1}]", "2,4", true },
	};
	auto_(arena_free) struct arena *a = arena_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(doc_unref) struct doc *job =
			yaml_doc(arena_printf(a, "{spec: {successPolicy: {rules: %s}}}", rows[i].rules));
		struct index_set done = index_set_new(a, 5);

		index_set_read(&done, str_c(rows[i].completed));
		assert_int_equal(job_success_rule(a, job, &done) != NULL, rows[i].met);
	}
}

static void waits_twice_as_long_after_each_failure(void **state)
{
	static const int64_t wait_s[] = { 0, 10, 20, 40, 80, 160, 320, 600, 600 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wait_s); i++)
		assert_int_equal(job_backoff_ms((int64_t)i), wait_s[i] * 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index_sets_are_written_as_they_are_read),
		cmocka_unit_test(what_becomes_of_a_pod),
		cmocka_unit_test(the_first_rule_that_holds_decides),
		cmocka_unit_test(success_rules),
		cmocka_unit_test(waits_twice_as_long_after_each_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

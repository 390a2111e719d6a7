/* Rules of Jobs, as in rules_test.c. */
#include "api/kinds/rules_fixture.h"

static void jobs_say_which_failures_count(void **state)
{
	static const struct rule rules[] = {
		{ "'podFailurePolicy':{'rules':[{'action':'FailJob','onExitCodes':{'operator':'In','values':[1,2]}}]}",
			NULL },
		{ "'podFailurePolicy':{'rules':[{'action':'Ignore','onPodConditions':[{'type':'DisruptionTarget'}]}]}",
			NULL },
		{ "'podFailurePolicy':{'rules':[{'onPodConditions':[{'type':'a'}]}]}",
			"spec.podFailurePolicy.rules[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]" },
		{ "'podFailurePolicy':{'rules':[{'action':'Stop','onPodConditions':[{'type':'a'}]}]}",
			"spec.podFailurePolicy.rules[0].action: Unsupported value: \"Stop\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"" },
		{ "'podFailurePolicy':{'rules':[{'action':'FailIndex','onPodConditions':[{'type':'a'}]}]}",
			"spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count'}]}",
			"spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onPodConditions':[{'type':'a'}],'onExitCodes':{'operator':'In','values':[1]}}]}",
			"spec.podFailurePolicy.rules[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onExitCodes':{'operator':'In','values':[0]}}]}",
			"spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onExitCodes':{'operator':'NotIn','values':[0,2,1,2]}}]}",
			"spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,2,1,2]: must be ordered" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onExitCodes':{'operator':'NotIn','values':[0,2,1,2]}}]}",
			"spec.podFailurePolicy.rules[0].onExitCodes.values[3]: Duplicate value: 2" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onExitCodes':{'operator':'In','values':[]}}]}",
			"spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: []: at least one value is required" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onExitCodes':{'operator':'In','values':[1],'containerName':'d'}}]}",
			"spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"d\": must be one of the container or initContainer names in the pod template" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onPodConditions':[{'type':'a b','status':'Maybe'}]}]}",
			"spec.podFailurePolicy.rules[0].onPodConditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onExitCodes':{'operator':'','values':[1]}}]}",
			"spec.podFailurePolicy.rules[0].onExitCodes.operator: Required value: valid values: [\"In\" \"NotIn\"]" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onPodConditions':[{'type':'a b'}]}]}",
			"spec.podFailurePolicy.rules[0].onPodConditions[0].type: Invalid value: \"a b\": name part " QUALIFIED },
		{ "'podFailurePolicy':{'rules':[" TIMES_25("{'action':'Count','onPodConditions':[{'type':'a'}]}") "]}",
			"spec.podFailurePolicy.rules: Too many: 25: must have at most 20 items" },
		{ "'podFailurePolicy':{'rules':[{'action':'Count','onPodConditions':[" TIMES_25("{'type':'a'}") "]}]}",
			"spec.podFailurePolicy.rules[0].onPodConditions: Too many: 25: must have at most 20 items" },
		{ "'podReplacementPolicy':'TerminatingOrFailed','podFailurePolicy':{'rules':[]}",
			"spec.podReplacementPolicy: Unsupported value: \"TerminatingOrFailed\": supported values: \"Failed\"" },
		{ "'podReplacementPolicy':'Never'",
			"spec.podReplacementPolicy: Unsupported value: \"Never\": supported values: \"Failed\", \"TerminatingOrFailed\"" },
	};

	OF_NEW(*state, JOBS, job, rules);
}

static void jobs_say_what_their_indexes_mean(void **state)
{
	static const struct rule rules[] = {
		{ "'completionMode':'Indexed','completions':3,'backoffLimitPerIndex':1,'maxFailedIndexes':2", NULL },
		{ "'completionMode':'Indexed','completions':9,'successPolicy':{'rules':[{'succeededIndexes':'0,2-4','succeededCount':4}]}",
			NULL },
		{ "'completions':3,'backoffLimitPerIndex':1",
			"spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode" },
		{ "'completionMode':'Indexed','completions':3,'maxFailedIndexes':1",
			"spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified" },
		{ "'completionMode':'Indexed','completions':3,'backoffLimitPerIndex':1,'maxFailedIndexes':4",
			"spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions" },
		{ "'completionMode':'Indexed','completions':3,'backoffLimitPerIndex':-1",
			"spec.backoffLimitPerIndex: Invalid value: -1: must be greater than or equal to 0" },
		{ "'completionMode':'Indexed','parallelism':2",
			"spec.completions: Required value: when completion mode is Indexed" },
		{ "'completionMode':'Indexed','completions':1,'parallelism':100001",
			"spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed" },
		{ "'completionMode':'Indexed','completions':200000,'backoffLimitPerIndex':1",
			"spec.maxFailedIndexes: Required value: must be specified when completions is above 100000" },
		{ "'successPolicy':{'rules':[{'succeededCount':1}]}",
			"spec.successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion mode" },
		{ "'completionMode':'Indexed','completions':3,'successPolicy':{'rules':[]}",
			"spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified" },
		{ "'completionMode':'Indexed','completions':3,'successPolicy':{'rules':[{}]}",
			"spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified" },
		{ "'completionMode':'Indexed','completions':3,'successPolicy':{'rules':[{'succeededIndexes':'0-3'}]}",
			"spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"0-3\": error parsing succeededIndexes: too large index: \"3\"" },
		{ "'completionMode':'Indexed','completions':9,'successPolicy':{'rules':[{'succeededIndexes':'2,1'}]}",
			"spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"2,1\": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1" },
		{ "'completionMode':'Indexed','completions':9,'successPolicy':{'rules':[{'succeededIndexes':'1-2-3'}]}",
			"spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"1-2-3\": error parsing succeededIndexes: the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'" },
		{ "'completionMode':'Indexed','completions':9,'successPolicy':{'rules':[{'succeededIndexes':'1,2','succeededCount':3}]}",
			"spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)" },
		{ "'completionMode':'Indexed','completions':3,'successPolicy':{'rules':[{'succeededCount':-1}]}",
			"spec.successPolicy.rules[0].succeededCount: Invalid value: -1: must be greater than or equal to 0" },
		{ "'completionMode':'Indexed','completions':3,'successPolicy':{'rules':[{'succeededCount':4}]}",
			"spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)" },
		{ "'completionMode':'Indexed','completions':3,'successPolicy':{'rules':[" TIMES_25(
			  "{'succeededCount':1}") "]}",
			"spec.successPolicy.rules: Too many: 25: must have at most 20 items" },
		{ "'managedBy':''", "spec.managedBy: Required value" },
		{ "'managedBy':'A/b'", "spec.managedBy: Invalid value: \"A\": " SUBDOMAIN },
		{ "'managedBy':'a.b/"
		  "0123456789012345678901234567890123456789012345678901234567890123'",
			"spec.managedBy: Too long: may not be more than 63 bytes" },
		{ "'managedBy':'me'",
			"spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")" },
		{ "'managedBy':'a.b/c d'",
			"spec.managedBy: Invalid value: \"c d\": Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')" },
	};

	OF_NEW(*state, JOBS, job, rules);
}

static void jobs_that_wait_may_be_told_where_to_run(void **state)
{
	static const struct rule waiting[] = {
		{ "{'spec':{'template':{'spec':{'nodeSelector':{'a':'b'}}}}}", NULL },
		{ "{'spec':{'managedBy':'a.b/c'}}", "spec.managedBy: Invalid value: \"a.b/c\": field is immutable" },
		{ "{'spec':{'podFailurePolicy':{'rules':[]}}}",
			"spec.podFailurePolicy: Invalid value: {\"rules\":[]}: field is immutable" },
	};
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", JOBS, json(job, "'suspend':true")));
	OF_CHANGES(f, JOBS "/j", waiting);
	call_as(f, "PATCH", JOBS "/j?dryRun=All", MERGE, NULL,
		json("@", "{'spec':{'template':{'spec':{'dnsPolicy':'Default'}}}}"));
	assert_int_equal(f->last->status, 422);
	assert_true(body_has(f, "spec.template"));
	call_as(f, "PATCH", JOBS "/j?dryRun=All", MERGE, NULL,
		json("@", "{'spec':{'selector':{'matchLabels':{'a':'b'}}}}"));
	assert_int_equal(f->last->status, 422);
	assert_true(body_has(f, "\\\"a\\\":\\\"b\\\"}}: field is immutable"));
}

#define TRUE_(type) "{'type':'" type "','status':'True'}"
#define START "'startTime':'2026-01-02T03:04:05Z'"
#define END "'completionTime':'2026-01-02T03:05:05Z'"
#define DONE "'conditions':[" TRUE_("SuccessCriteriaMet") "," TRUE_("Complete") "]"
#define LOST "'conditions':[" TRUE_("FailureTarget") "," TRUE_("Failed") "]"

static void who_runs_a_job_says_what_makes_sense(void **state)
{
	static const struct rule begun[] = {
		{ "{'status':{" START "," END "," DONE ",'active':0,'ready':0}}", NULL },
		{ "{'status':{" START "," LOST ",'active':0,'ready':0}}", NULL },
		{ "{'status':{'ready':3}}", "status.ready: Invalid value: 3: cannot set more ready pods than active" },
		{ "{'status':{'terminating':-1}}",
			"status.terminating: Invalid value: -1: must be greater than or equal to 0" },
		{ "{'status':{'uncountedTerminatedPods':{'succeeded':['a'],'failed':['b','a']}}}",
			"status.uncountedTerminatedPods.failed[1]: Duplicate value: \"a\"" },
		{ "{'status':{'uncountedTerminatedPods':{'succeeded':['']}}}",
			"status.uncountedTerminatedPods.succeeded[0]: Invalid value: \"\": must not be empty" },
		{ "{'status':{" END
		  ",'conditions':[" TRUE_("SuccessCriteriaMet") "," TRUE_("Complete") "," TRUE_("Failed") "]}}",
			"status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions" },
		{ "{'status':{" END ",'conditions':[" TRUE_("FailureTarget") "," TRUE_("Complete") "]}}",
			"status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions" },
		{ "{'status':{" END "}}",
			"status.completionTime: Invalid value: \"2026-01-02T03:05:05Z\": cannot set completionTime when there is no Complete=True condition" },
		{ "{'status':{" DONE "}}",
			"status.completionTime: Required value: completionTime is required for Complete jobs" },
		{ "{'status':{'completionTime':'2026-01-02T03:04:04Z'," DONE "}}",
			"status.completionTime: Invalid value: \"2026-01-02T03:04:04Z\": completionTime cannot be set before startTime" },
		{ "{'status':{'conditions':[" TRUE_("Failed") "]}}",
			"status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition" },
		{ "{'status':{" END ",'conditions':[" TRUE_("Complete") "]}}",
			"status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition" },
		{ "{'status':{" END "," DONE "}}",
			"status.active: Invalid value: 2: active>0 is invalid for finished job" },
		{ "{'status':{" LOST ",'startTime':null,'active':0}}",
			"status.startTime: Required value: startTime is required for finished job" },
		{ "{'status':{" LOST ",'active':0,'uncountedTerminatedPods':{'failed':['a']}}}",
			"status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"a\"]}: uncountedTerminatedPods needs to be empty for finished job" },
		{ "{'status':{" LOST ",'terminating':1}}",
			"status.terminating: Invalid value: 1: terminating>0 is invalid for finished job" },
		{ "{'status':{'conditions':[" TRUE_("SuccessCriteriaMet") "," TRUE_("FailureTarget") "]}}",
			"status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions" },
		{ "{'status':{'conditions':[" TRUE_("SuccessCriteriaMet") "," TRUE_("Failed") "]}}",
			"status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions" },
		{ "{'status':{'completedIndexes':'1'}}",
			"status.completedIndexes: Invalid value: \"1\": cannot set non-empty completedIndexes when non-indexed completion mode" },
		{ "{'status':{'failedIndexes':'1'}}",
			"status.failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is null" },
		{ "{'status':{'failed':2}}", "status.failed: Invalid value: 2: cannot decrease the failed counter" },
		{ "{'status':{'succeeded':2}}",
			"status.succeeded: Invalid value: 2: cannot decrease the succeeded counter" },
		{ "{'status':{'startTime':null}}",
			"status.startTime: Required value: startTime cannot be removed for unsuspended job" },
	};
	static const struct rule done[] = {
		{ "{'status':{'completionTime':'2026-01-02T03:06:05Z'}}",
			"status.completionTime: Invalid value: \"2026-01-02T03:06:05Z\": completionTime cannot be mutated" },
		{ "{'status':{'completionTime':null,'conditions':[" TRUE_("SuccessCriteriaMet") "]}}",
			"status.conditions: Invalid value: cannot disable the terminal Complete=True condition" },
		{ "{'status':{'conditions':[" TRUE_("Complete") "]}}",
			"status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition" },
		{ "{'metadata':{'labels':{'a':'b'}}}", NULL },
	};
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", JOBS, json(job, "'completions':5")));
	expect(f, 200,
		call_as(f, "PATCH", JOBS "/j/status", MERGE, NULL,
			json("@", "{'status':{" START ",'active':2,'ready':1,'failed':3,'succeeded':3}}")));
	OF_CHANGES(f, JOBS "/j/status", begun);
	expect(f, 200, call_as(f, "PATCH", JOBS "/j/status", MERGE, NULL, json("@", begun[0].part)));
	OF_CHANGES(f, JOBS "/j/status", done);
}

static void indexes_of_a_job_are_numbers_of_it_and_stand_once(void **state)
{
	static const struct rule rules[] = {
		{ "{'status':{'completedIndexes':'0,2-4','failedIndexes':'1,7'}}", NULL },
		{ "{'status':{'completedIndexes':'9'}}",
			"status.completedIndexes: Invalid value: \"9\": error parsing completedIndexes: too large index: \"9\"" },
		{ "{'status':{'failedIndexes':'3,2'}}",
			"status.failedIndexes: Invalid value: \"3,2\": error parsing failedIndexes: non-increasing order, previous: 3, current: 2" },
		{ "{'status':{'completedIndexes':'0,2-4','failedIndexes':'1,4-7'}}",
			"status.failedIndexes: Invalid value: \"1,4-7\": failedIndexes and completedIndexes overlap at index: 4" },
		{ "{'status':{'succeeded':1}}", NULL }, /* it may be scaled down */
	};
	static const struct rule early[] = {
		{ "{'status':{" START "," END ",'conditions':[" TRUE_("Complete") "]}}",
			"status.conditions: Invalid value: cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True" },
	};
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", JOBS,
			json(job,
				"'completionMode':'Indexed','completions':9,'parallelism':9,'backoffLimitPerIndex':1,"
				"'successPolicy':{'rules':[{'succeededCount':1}]}")));
	expect(f, 200, call_as(f, "PATCH", JOBS "/j/status", MERGE, NULL, json("@", "{'status':{'succeeded':3}}")));
	OF_CHANGES(f, JOBS "/j/status", rules);
	OF_CHANGES(f, JOBS "/j/status", early);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(jobs_say_which_failures_count, setup, teardown),
		cmocka_unit_test_setup_teardown(jobs_say_what_their_indexes_mean, setup, teardown),
		cmocka_unit_test_setup_teardown(jobs_that_wait_may_be_told_where_to_run, setup, teardown),
		cmocka_unit_test_setup_teardown(who_runs_a_job_says_what_makes_sense, setup, teardown),
		cmocka_unit_test_setup_teardown(indexes_of_a_job_are_numbers_of_it_and_stand_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

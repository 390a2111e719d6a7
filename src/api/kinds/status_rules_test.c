/* What may be said in a status, as upstream has it: rows of changes and what is told of them. */
#include "api/kinds/rules_fixture.h"

#define PODS "/api/v1/namespaces/default/pods"
#define NOT_BACK ".state: Forbidden: may not be transitioned to non-terminated state"
#define NO_IP ": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
#define ENDED "'state':{'terminated':{'exitCode':0}}"
#define FAILED "'state':{'terminated':{'exitCode':1}}"
#define RUNS "'state':{'running':{}}"

static void pod_with_policy(struct fixture *f, const char *name, const char *policy)
{
	char *body = xasprintf(
		"{'metadata':{'name':'%s'},'spec':{'restartPolicy':'%s','resourceClaims':[{'name':'gpu','resourceClaimName':'g'}],"
		"'initContainers':[{'name':'i','image':'i'},{'name':'s','image':'i','restartPolicy':'Always'}],"
		"'containers':[{'name':'c','image':'i'},{'name':'d','image':'i'}]}}",
		name, policy);
	char *status = xasprintf(PODS "/%s/status", name);

	expect(f, 201, call(f, "POST", PODS, json("@", body)));
	expect(f, 200,
		call_as(f, "PATCH", status, MERGE, NULL,
			json("@",
				"{'status':{'initContainerStatuses':[{'name':'i'," ENDED "},{'name':'s'," ENDED "}],"
				"'containerStatuses':[{'name':'c'," FAILED "},{'name':'d'," ENDED "}],"
				"'ephemeralContainerStatuses':[{'name':'e'," ENDED "}]}}")));
	free(status);
	free(body);
}

static void a_container_that_ended_for_good_does_not_run_again(void **state)
{
	static const struct rule never[] = {
		{ "{'status':{'containerStatuses':[{'name':'d'," ENDED "},{'name':'c'," ENDED "}]}}", NULL },
		{ "{'status':{'containerStatuses':null}}", NULL },
		{ "{'status':{'containerStatuses':[{'name':'c'," RUNS "}]}}", "status.containerStatuses[0]" NOT_BACK },
		{ "{'status':{'containerStatuses':[{'name':'d','state':{'waiting':{}}}]}}",
			"status.containerStatuses[1]" NOT_BACK },
		{ "{'status':{'initContainerStatuses':[{'name':'i'," RUNS "}]}}",
			"status.initContainerStatuses[0]" NOT_BACK },
		{ "{'status':{'initContainerStatuses':[{'name':'i'," ENDED "},{'name':'s'," RUNS "}]}}", NULL }
	};
	static const struct rule on_failure[] = {
		{ "{'status':{'containerStatuses':[{'name':'c'," RUNS "},{'name':'d'," ENDED "}]}}", NULL },
		{ "{'status':{'containerStatuses':[{'name':'d'," RUNS "}]}}", "status.containerStatuses[1]" NOT_BACK }
	};
	static const struct rule always[] = {
		{ "{'status':{'containerStatuses':[{'name':'c'," RUNS "},{'name':'d'," RUNS "}]}}", NULL },
		{ "{'status':{'initContainerStatuses':[{'name':'i'," RUNS "}]}}", NULL },
		{ "{'status':{'ephemeralContainerStatuses':[{'name':'e'," RUNS "}]}}",
			"status.ephemeralContainerStatuses[0]" NOT_BACK }
	};
	struct fixture *f = *state;

	pod_with_policy(f, "never", "Never");
	OF_CHANGES(f, PODS "/never/status", never);
	pod_with_policy(f, "failure", "OnFailure");
	OF_CHANGES(f, PODS "/failure/status", on_failure);
	pod_with_policy(f, "always", "Always");
	OF_CHANGES(f, PODS "/always/status", always);
}

static void a_pod_is_told_of_in_words_that_it_may_have(void **state)
{
	static const struct rule rules[] = {
		{ "{'status':{'conditions':[{'type':'Ready','status':'True'},{'type':'a.b/c','status':'x'}]}}", NULL },
		{ "{'status':{'conditions':[{'type':'Ready','status':'True'},{'type':'a b','status':'True'}]}}",
			"status.conditions[1].Type: Invalid value: \"a b\": name part " QUALIFIED },
		{ "{'status':{'conditions':[{'type':'Ready','observedGeneration':-1}]}}",
			"status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer" },
		{ "{'status':{'observedGeneration':-1}}",
			"status.observedGeneration: Invalid value: -1: must be a non-negative integer" },
		{ "{'status':{'nominatedNodeName':'a.b'}}", NULL },
		{ "{'status':{'nominatedNodeName':'A'}}",
			"status.nominatedNodeName: Invalid value: \"A\": " SUBDOMAIN },
		{ "{'status':{'qosClass':null}}", NULL },
		{ "{'status':{'qosClass':'Guaranteed'}}",
			"status.qosClass: Invalid value: \"Guaranteed\": field is immutable" },
		{ "{'status':{'resourceClaimStatuses':[{'name':'gpu','resourceClaimName':'g'}]}}", NULL },
		{ "{'status':{'resourceClaimStatuses':[{'name':'cpu'}]}}",
			"status.resourceClaimStatuses[0].name: Invalid value: \"cpu\": must match the name of an entry in `spec.resourceClaims`" },
		{ "{'status':{'resourceClaimStatuses':[{'name':'gpu'},{'name':'gpu'}]}}",
			"status.resourceClaimStatuses[1].name: Duplicate value: \"gpu\"" },
		{ "{'status':{'resourceClaimStatuses':[{'name':'gpu','resourceClaimName':'G'}]}}",
			"status.resourceClaimStatuses[0].name: Invalid value: \"G\": " SUBDOMAIN },
		{ "{'status':{'ephemeralContainerStatuses':[{'name':'e'," ENDED
		  ",'user':{'linux':{'uid':-1,'gid':0}}}]}}",
			"status.ephemeralContainerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive" },
		{ "{'status':{'ephemeralContainerStatuses':[{'name':'e'," ENDED
		  ",'user':{'linux':{'uid':1,'gid':0,'supplementalGroups':[1,2147483648]}}}]}}",
			"status.ephemeralContainerStatuses[0].user.linux.supplementalGroups[1]: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive" }
	};

	pod_with_policy(*state, "p", "Always");
	OF_CHANGES(*state, PODS "/p/status", rules);
}

static void a_pod_has_an_address_of_each_family(void **state)
{
	static const char two[] = ": may specify no more than one IP for each IP family";
	static char of_pods[160], of_hosts[160];
	const struct rule rules[] = { { "{'status':{'podIPs':[{'ip':'10.0.0.1'},{'ip':'fd00::1'}]}}", NULL },
		{ "{'status':{'podIPs':[{'ip':'x'}]}}", "status.podIPs[0]: Invalid value: \"x\"" NO_IP },
		{ "{'status':{'podIP':'x'}}", "status.podIPs[0]: Invalid value: \"x\"" NO_IP },
		{ "{'status':{'podIPs':[{'ip':'10.0.0.1'},{'ip':'10.0.0.2'}]}}", of_pods },
		{ "{'status':{'hostIP':'10.0.0.1','hostIPs':[{'ip':'10.0.0.1'},{'ip':'fd00::1'}]}}", NULL },
		{ "{'status':{'hostIP':'10.0.0.1','hostIPs':[{'ip':'10.0.0.2'}]}}",
			"status.hostIPs[0].ip: Invalid value: \"10.0.0.2\": must be equal to `hostIP`" },
		{ "{'status':{'hostIP':'x','hostIPs':[{'ip':'x'}]}}", "status.hostIPs[0]: Invalid value: \"x\"" NO_IP },
		{ "{'status':{'hostIP':'fd00::1','hostIPs':[{'ip':'fd00::1'},{'ip':'fd00::2'}]}}", of_hosts } };
	struct fixture *f = *state;

	(void)snprintf(of_pods, sizeof(of_pods),
		"status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.2\"}]%s", two);
	(void)snprintf(of_hosts, sizeof(of_hosts),
		"status.hostIPs: Invalid value: [{\"ip\":\"fd00::1\"},{\"ip\":\"fd00::2\"}]%s", two);
	pod_with_policy(f, "p", "Always");
	OF_CHANGES(f, PODS "/p/status", rules);
}

static void expect_addresses(struct fixture *f, const char *patch, const char *one, const char *first, size_t n)
{
	expect(f, 200, call_as(f, "PATCH", PODS "/p/status", MERGE, NULL, json("@", patch)));
	assert_string_equal(get(f, "status.podIP"), one);
	assert_int_equal(val_len(doc_get(f->doc, "status.podIPs")), n);
	assert_true(val_is(val_get(val_at(doc_get(f->doc, "status.podIPs"), 0), "ip"), first));
}

static void the_one_address_is_the_first_of_the_list(void **state)
{
	struct fixture *f = *state;

	pod_with_policy(f, "p", "Always");
	expect_addresses(f, "{'status':{'podIP':'10.0.0.1'}}", "10.0.0.1", "10.0.0.1", 1);
	expect_addresses(f, "{'status':{'podIP':null,'podIPs':[{'ip':'10.0.0.2'},{'ip':'fd00::1'}]}}", "10.0.0.2",
		"10.0.0.2", 2);
	expect_addresses(f, "{'status':{'podIP':'10.0.0.3'}}", "10.0.0.3", "10.0.0.3", 1);
}

static void an_old_writer_takes_no_generation_away(void **state)
{
	struct fixture *f = *state;

	pod_with_policy(f, "p", "Always");
	expect(f, 200,
		call_as(f, "PATCH", PODS "/p/status", MERGE, NULL,
			json("@",
				"{'status':{'observedGeneration':3,'conditions':[{'type':'Ready','status':'True','observedGeneration':3}]}}")));
	expect(f, 200,
		call_as(f, "PATCH", PODS "/p/status", MERGE, NULL,
			json("@",
				"{'status':{'observedGeneration':null,'conditions':[{'type':'Ready','status':'False'}]}}")));
	assert_int_equal(doc_int(f->doc, "status.observedGeneration", 0), 3);
	assert_int_equal(val_int(val_get(val_at(doc_get(f->doc, "status.conditions"), 0), "observedGeneration"), 0), 3);
}

/* ---- other kinds ----------------------------------------------------------------------------- */

#define BUDGETS "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
#define SCALERS "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
#define CLAIMS "/api/v1/namespaces/default/persistentvolumeclaims"
#define NOT_NEGATIVE ": must be greater than or equal to 0"
#define REASON \
	"a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"

static void a_budget_and_its_conditions_are_whole(void **state)
{
	static const struct rule counts[] = { { "{'status':{'disruptionsAllowed':1,'expectedPods':0}}", NULL },
		{ "{'status':{'disruptionsAllowed':-1}}", "status.disruptionsAllowed: Invalid value: -1" NOT_NEGATIVE },
		{ "{'status':{'currentHealthy':-1}}", "status.currentHealthy: Invalid value: -1" NOT_NEGATIVE },
		{ "{'status':{'desiredHealthy':-1}}", "status.desiredHealthy: Invalid value: -1" NOT_NEGATIVE },
		{ "{'status':{'expectedPods':-1}}", "status.expectedPods: Invalid value: -1" NOT_NEGATIVE } };
	static const struct rule conditions[] = {
		{ "'type':'a.b/C','status':'True','reason':'A,b:c_','lastTransitionTime':'2026-01-01T00:00:00Z'",
			NULL },
		{ "'type':'a b'", "status.conditions[0].type: Invalid value: \"a b\": name part " QUALIFIED },
		{ "'type':'C','status':'Maybe'",
			"status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"" },
		{ "'type':'C'", "status.conditions[0].lastTransitionTime: Required value: must be set" },
		{ "'type':'C'", "status.conditions[0].reason: Required value: must be set" },
		{ "'type':'C','reason':'1'", "status.conditions[0].reason: Invalid value: \"1\": " REASON },
		{ "'type':'C','reason':'a:'", "status.conditions[0].reason: Invalid value: \"a:\": " REASON },
		{ "'type':'C','observedGeneration':-1",
			"status.conditions[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero" },
		{ "'type':'C'},{'type':'C'", "status.conditions[1].type: Duplicate value: \"C\"" }
	};
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", BUDGETS, json("@", "{'metadata':{'name':'b'},'spec':{'minAvailable':1}}")));
	OF_CHANGES(f, BUDGETS "/b/status", counts);
	for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
		char *patch = xasprintf("{'status':{'conditions':[{%s}]}}", conditions[i].part);

		of_changes(f, BUDGETS "/b/status", &(struct rule){ patch, conditions[i].says }, 1);
		free(patch);
	}
}

static void an_autoscaler_counts_from_zero(void **state)
{
	static const struct rule rules[] = { { "{'status':{'currentReplicas':1,'desiredReplicas':0}}", NULL },
		{ "{'status':{'currentReplicas':-1}}", "status.currentReplicas: Invalid value: -1" NOT_NEGATIVE },
		{ "{'status':{'desiredReplicas':-1}}", "status.desiredReplicas: Invalid value: -1" NOT_NEGATIVE } };
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", SCALERS,
			json("@",
				"{'metadata':{'name':'h'},'spec':{'maxReplicas':1,'scaleTargetRef':{'kind':'K','name':'n'}}}")));
	OF_CHANGES(f, SCALERS "/h/status", rules);
}

static void a_claim_tells_of_its_storage(void **state)
{
#define RESIZES \
	"supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\""
	static const struct rule rules[] = {
		{ "{'status':{'capacity':{'storage':'1Gi'},'allocatedResources':{'storage':'1Gi'},"
		  "'allocatedResourceStatuses':{'storage':'NodeResizePending','a.b/c':'NodeResizeInProgress'}}}",
			NULL },
		{ "{'status':{'capacity':{'storage':'-1Gi'}}}",
			"status.capacity[storage]: Invalid value: -1073741824: must be a valid resource quantity" },
		{ "{'status':{'allocatedResources':{'storage':'-1'}}}",
			"status.allocatedResources[storage]: Invalid value: -1: must be a valid resource quantity" },
		{ "{'status':{'allocatedResources':{'cpu':'1'}}}",
			"status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"" },
		{ "{'status':{'allocatedResourceStatuses':{'cpu':'NodeResizePending'}}}",
			"status.allocatedResourceStatus: Unsupported value: \"cpu\": supported values: \"storage\"" },
		{ "{'status':{'allocatedResourceStatuses':{'storage':'x'}}}",
			"status.allocatedResourceStatus: Unsupported value: \"storage\": " RESIZES }
	};
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", CLAIMS,
			json("@",
				"{'metadata':{'name':'c'},'spec':{'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1Gi'}}}}")));
	OF_CHANGES(f, CLAIMS "/c/status", rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_container_that_ended_for_good_does_not_run_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pod_is_told_of_in_words_that_it_may_have, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pod_has_an_address_of_each_family, setup, teardown),
		cmocka_unit_test_setup_teardown(the_one_address_is_the_first_of_the_list, setup, teardown),
		cmocka_unit_test_setup_teardown(an_old_writer_takes_no_generation_away, setup, teardown),
		cmocka_unit_test_setup_teardown(a_budget_and_its_conditions_are_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(an_autoscaler_counts_from_zero, setup, teardown),
		cmocka_unit_test_setup_teardown(a_claim_tells_of_its_storage, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What FlowSchemas and PriorityLevelConfigurations may be. */
#include "api/kinds/rules_fixture.h"

#define FLOWS "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
#define LEVELS "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
#define NO_LABEL "each member of this list must be '*' or a DNS-1123 label; " LABEL

static void a_flow_schema_leads_to_a_level(void **state)
{
	static const struct rule rules[] = {
		{ "'priorityLevelConfiguration':{'name':'l'}", NULL },
		{ "'matchingPrecedence':2",
			"spec.priorityLevelConfiguration.name: Required value: must reference a priority level" },
		{ "'priorityLevelConfiguration':{'name':'L'}",
			"spec.priorityLevelConfiguration.name: Invalid value: \"L\": " SUBDOMAIN },
		{ "'matchingPrecedence':-1", "spec.matchingPrecedence: Invalid value: -1: must be a positive value" },
		{ "'matchingPrecedence':10001",
			"spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000" },
		{ "'matchingPrecedence':1",
			"spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1" },
		{ "'rules':[{'subjects':[]}]",
			"spec.rules[0].subjects: Required value: subjects must contain at least one value" },
		{ "'rules':[{}]",
			"spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty" }
	};
	static const struct rule subjects[] = { { "'kind':'User','user':{'name':'*'}", NULL },
		{ "'kind':'ServiceAccount','serviceAccount':{'name':'*','namespace':'n'}", NULL },
		{ "'kind':''",
			"spec.rules[0].subjects[0].kind: Unsupported value: \"\": supported values: \"Group\", \"ServiceAccount\", \"User\"" },
		{ "'kind':'Robot'",
			"spec.rules[0].subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"" },
		{ "'kind':'Group'",
			"spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'" },
		{ "'kind':'User','user':{}", "spec.rules[0].subjects[0].user.name: Required value" },
		{ "'kind':'User','user':{'name':'u'},'group':{'name':'g'}",
			"spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'" },
		{ "'kind':'ServiceAccount','serviceAccount':{'name':'a'}",
			"spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account" },
		{ "'kind':'ServiceAccount','serviceAccount':{'name':'A','namespace':'n'}",
			"spec.rules[0].subjects[0].serviceAccount.name: Invalid value: \"A\": " SUBDOMAIN } };
	static const struct rule urls[] = {
		{ "'verbs':['get'],'nonResourceURLs':['/','/a/*']", NULL },
		{ "'verbs':['*'],'nonResourceURLs':['*']", NULL },
		{ "'verbs':[]",
			"spec.rules[0].nonResourceRules[0].verbs: Required value: verbs must contain at least one value" },
		{ "'verbs':['*','get']",
			"spec.rules[0].nonResourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs" },
		{ "'verbs':['run']",
			"spec.rules[0].nonResourceRules[0].verbs: Unsupported value: [\"run\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"" },
		{ "'verbs':['get']",
			"spec.rules[0].nonResourceRules[0].nonResourceURLs: Required value: nonResourceURLs must contain at least one value" },
		{ "'nonResourceURLs':['a']",
			"spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"a\": must start with slash" },
		{ "'nonResourceURLs':['/a b']",
			"spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"/a b\": must not contain white-space" },
		{ "'nonResourceURLs':['//']",
			"spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"//\": must not contain double slash" },
		{ "'nonResourceURLs':['/a*']",
			"spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"/a*\": wildcard can only do suffix matching" }
	};
	static const struct rule resources[] = {
		{ "'verbs':['get'],'apiGroups':[''],'resources':['pods'],'namespaces':['*']", NULL },
		{ "'verbs':['get'],'apiGroups':[''],'resources':['pods'],'clusterScope':true", NULL },
		{ "'verbs':['get']",
			"spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group" },
		{ "'resources':['*','pods']",
			"spec.rules[0].resourceRules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources" },
		{ "'verbs':['get']",
			"spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace" },
		{ "'namespaces':['A']",
			"spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"A\": " NO_LABEL }
	};

	OF_NEW(*state, FLOWS, "{'metadata':{'name':'f'},'spec':{@}}", rules);
	OF_NEW(*state, FLOWS,
		"{'metadata':{'name':'f'},'spec':{'priorityLevelConfiguration':{'name':'l'},'rules':[{'subjects':[{@}],"
		"'nonResourceRules':[{'verbs':['*'],'nonResourceURLs':['*']}]}]}}",
		subjects);
	OF_NEW(*state, FLOWS,
		"{'metadata':{'name':'f'},'spec':{'priorityLevelConfiguration':{'name':'l'},'rules':[{'subjects':["
		"{'kind':'Group','group':{'name':'g'}}],'nonResourceRules':[{@}]}]}}",
		urls);
	OF_NEW(*state, FLOWS,
		"{'metadata':{'name':'f'},'spec':{'priorityLevelConfiguration':{'name':'l'},'rules':[{'subjects':["
		"{'kind':'Group','group':{'name':'g'}}],'resourceRules':[{@}]}]}}",
		resources);
}

static void a_level_is_limited(void **state)
{
	static const struct rule rules[] = {
		{ "'type':'Limited','limited':{'nominalConcurrencyShares':0,'limitResponse':{'type':'Reject'}}", NULL },
		{ "'type':'Limited','limited':{'limitResponse':{'type':'Queue','queuing':{}}}", NULL },
		{ "'limited':{}", "spec.type: Unsupported value: \"\": supported values: \"Exempt\", \"Limited\"" },
		{ "'type':'Exempt'",
			"spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'" },
		{ "'type':'Exempt','limited':{}", "spec.limited: Forbidden: must be nil if the type is not Limited" },
		{ "'type':'Exempt','exempt':{'lendablePercent':101}",
			"spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive" },
		{ "'type':'Limited'", "spec.limited: Required value: must not be empty when type is Limited" },
		{ "'type':'Limited','limited':{}",
			"spec.limited.limitResponse.type: Unsupported value: \"\": supported values: \"Queue\", \"Reject\"" },
		{ "'type':'Limited','limited':{'nominalConcurrencyShares':-1}",
			"spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer" },
		{ "'type':'Limited','limited':{'borrowingLimitPercent':-1}",
			"spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer" },
		{ "'type':'Limited','limited':{'limitResponse':{'type':'Reject','queuing':{}}}",
			"spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited" },
		{ "'type':'Limited','limited':{'limitResponse':{'type':'Queue'}}",
			"spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited" }
	};
	static const struct rule queuing[] = {
		{ "'queues':128,'handSize':6,'queueLengthLimit':50", NULL },
		{ "'queues':-1", "spec.limited.limitResponse.queuing.queues: Invalid value: -1: must be positive" },
		{ "'queues':10000001",
			"spec.limited.limitResponse.queuing.queues: Invalid value: 10000001: must not be greater than 10000000" },
		{ "'queueLengthLimit':-1",
			"spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive" },
		{ "'handSize':-1", "spec.limited.limitResponse.queuing.handSize: Invalid value: -1: must be positive" },
		{ "'queues':4,'handSize':5",
			"spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)" },
		{ "'queues':128,'handSize':9",
			"spec.limited.limitResponse.queuing.handSize: Invalid value: 9: required entropy bits of deckSize 128 and handSize 9 should not be greater than 60" }
	};
	static const struct rule status[] = { { "{'status':{'conditions':[{'type':'A'}]}}", NULL },
		{ "{'status':{'conditions':[{'status':'True'}]}}",
			"status.conditions[0].type: Required value: must not be empty" },
		{ "{'status':{'conditions':[{'type':'A'},{'type':'A'}]}}",
			"status.conditions[1].type: Duplicate value: \"A\"" } };
	struct fixture *f = *state;

	OF_NEW(f, LEVELS, "{'metadata':{'name':'l'},'spec':{@}}", rules);
	OF_NEW(f, LEVELS,
		"{'metadata':{'name':'l'},'spec':{'type':'Limited','limited':{'limitResponse':{'type':'Queue','queuing':{@}}}}}",
		queuing);
	expect(f, 201,
		call(f, "POST", LEVELS,
			json("@",
				"{'metadata':{'name':'l'},'spec':{'type':'Limited','limited':{'limitResponse':{'type':'Reject'}}}}")));
	OF_CHANGES(f, LEVELS "/l/status", status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_flow_schema_leads_to_a_level, setup, teardown),
		cmocka_unit_test_setup_teardown(a_level_is_limited, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

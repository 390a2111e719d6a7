/* Rules that the real server of the differential test is too old to know, or has no case for. Each row is one object or
 * one change, and a part of what is said of it; facts are of upstream's validation of 1.34. */
#include "api/api_fixture.h"

#define JOBS "/apis/batch/v1/namespaces/default/jobs"
#define EVENTS "/apis/events.k8s.io/v1/namespaces/default/events"
#define OLD_EVENTS "/api/v1/namespaces/default/events"
#define SLICES "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
#define VOLUMES "/api/v1/persistentvolumes"
#define APISERVICES "/apis/apiregistration.k8s.io/v1/apiservices"
#define MERGE "application/merge-patch+json"

/* part stands where whole has its @; ' stands for ", so that the texts can be read. */
static const char *json(const char *whole, const char *part)
{
	static char text[4096];
	struct str head, tail = str_cut(str_c(whole), '@', &head);

	snprintf(text, sizeof(text), "%.*s%s%.*s", STR_ARG(head), part, STR_ARG(tail));
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	return text;
}

struct rule {
	const char *part, *says; /* says NULL: it is right */
};

static bool is_said(struct fixture *f, const char *says)
{
	for (struct val_iter it = val_iter(doc_get(f->doc, "details.causes")); val_next(&it);) {
		char *cause = xasprintf("%.*s: %.*s", STR_ARG(val_str(val_get(it.val, "field"))),
			STR_ARG(val_str(val_get(it.val, "message"))));
		bool same = !strcmp(cause, says);
		free(cause);
		if (same)
			return true;
	}
	return false;
}

static void judge(struct fixture *f, int right, const struct rule *r)
{
	if (!r->says ? f->last->status != right : f->last->status != 422 || !is_said(f, r->says)) {
		print_message("%s\nwanted: %s\n", r->part, r->says ? r->says : "nothing");
		show(f);
		fail();
	}
}

static void of_new(struct fixture *f, const char *path, const char *whole, const struct rule *rules, size_t n)
{
	char *url = xasprintf("%s?dryRun=All", path);

	for (size_t i = 0; i < n; i++) {
		call(f, "POST", url, json(whole, rules[i].part));
		judge(f, 201, &rules[i]);
	}
	free(url);
}

static void of_changes(struct fixture *f, const char *path, const struct rule *rules, size_t n)
{
	char *url = xasprintf("%s?dryRun=All", path);

	for (size_t i = 0; i < n; i++) {
		call_as(f, "PATCH", url, MERGE, NULL, json("@", rules[i].part));
		judge(f, 200, &rules[i]);
	}
	free(url);
}
#define OF_NEW(f, path, whole, rules) of_new(f, path, whole, rules, ARRAY_LEN(rules))
#define OF_CHANGES(f, path, rules) of_changes(f, path, rules, ARRAY_LEN(rules))

static const char job[] = "{'metadata':{'name':'j'},'spec':{@,'template':{'spec':{'restartPolicy':'Never',"
			  "'containers':[{'name':'c','image':'i'}]}}}}";

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
}

static const char event[] =
	"{'metadata':{'name':'e','namespace':'default'},'eventTime':'2026-01-02T03:04:05.000000Z',"
	"'reportingController':'a.b/c','reportingInstance':'i','action':'A','reason':'R','type':'Normal',"
	"'note':'n','regarding':{'kind':'Pod','name':'p','namespace':'default'}@}";

static void events_are_whole_and_stay_what_they_are(void **state)
{
	static const struct rule rules[] = {
		{ "", NULL },
		{ ",'type':'Odd'", "type: Invalid value: \"\": has invalid value: Odd" },
		{ ",'eventTime':null", "eventTime: Required value" },
		{ ",'action':''", "action: Required value" },
		{ ",'reason':''", "reason: Required value" },
		{ ",'reportingInstance':''", "reportingInstance: Required value" },
		{ ",'reportingController':''", "reportingController: Required value" },
		{ ",'deprecatedCount':3", "count: Invalid value: \"\": needs to be unset" },
		{ ",'series':{'count':1,'lastObservedTime':'2026-01-02T03:04:05.000000Z'}",
			"series.count: Invalid value: \"\": should be at least 2" },
	};
	static const struct rule changes[] = {
		{ "{'series':{'count':2,'lastObservedTime':'2026-01-02T03:04:05.000000Z'}}", NULL },
		{ "{'note':'m'}", "message: Invalid value: \"m\": field is immutable" },
		{ "{'reason':'S'}", "reason: Invalid value: \"S\": field is immutable" },
		{ "{'eventTime':'2026-01-02T03:04:06.000000Z'}",
			"eventTime: Invalid value: \"2026-01-02T03:04:06.000000Z\": field is immutable" },
	};
	static const struct rule older[] = { { "{'message':'m','count':7}", NULL } };
	struct fixture *f = *state;

	OF_NEW(f, EVENTS, event, rules);
	expect(f, 201, call(f, "POST", EVENTS, json(event, "")));
	OF_CHANGES(f, EVENTS "/e", changes);
	OF_CHANGES(f, OLD_EVENTS "/e", older);
}

static void hints_are_few_and_differ(void **state)
{
	static const char slice[] =
		"{'metadata':{'name':'s'},'addressType':'IPv4','endpoints':[{'addresses':['10.1.2.3'],'hints':{@}}]}";
	static const struct rule rules[] = {
		{ "'forZones':[{'name':'a'},{'name':'b'}],'forNodes':[{'name':'n'}]", NULL },
		{ "'forZones':[{'name':'a'},{'name':'a'}]",
			"endpoints[0].hints.forZones[1].name: Duplicate value: \"a\"" },
		{ "'forZones':[{'name':'1'},{'name':'2'},{'name':'3'},{'name':'4'},{'name':'5'},{'name':'6'},{'name':'7'},{'name':'8'},{'name':'9'}]",
			"endpoints[0].hints.forZones: Too many: 9: must have at most 8 items" },
	};

	OF_NEW(*state, SLICES, slice, rules);
}

static void volumes_of_providers_say_where_they_are(void **state)
{
	static const char volume[] =
		"{'metadata':{'name':'v'},'spec':{'capacity':{'storage':'1Gi'},'accessModes':['ReadWriteOnce'],@}}";
	static const struct rule rules[] = {
		{ "'awsElasticBlockStore':{'volumeID':'v'}", NULL },
		{ "'awsElasticBlockStore':{'volumeID':''}", "spec.awsElasticBlockStore.volumeID: Required value" },
		{ "'gcePersistentDisk':{'pdName':'p','partition':256}",
			"spec.gcePersistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive" },
		{ "'cephfs':{'monitors':[]}", "spec.cephfs.monitors: Required value" },
		{ "'rbd':{'monitors':['m'],'image':''}", "spec.rbd.image: Required value" },
		{ "'azureDisk':{'diskName':'d','diskURI':'u','kind':'Managed'}",
			"spec.azureDisk.diskURI: Unsupported value: \"u\": supported values: \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"" },
		{ "'azureFile':{'secretName':'s','shareName':''}", "spec.azureFile.shareName: Required value" },
		{ "'flexVolume':{'driver':'d','options':{'a.kubernetes.io/b':'c'}}",
			"spec.flexVolume.options[a.kubernetes.io/b]: Invalid value: \"a.kubernetes.io/b\": kubernetes.io and k8s.io namespaces are reserved" },
		{ "'portworxVolume':{'volumeID':''}", "spec.portworxVolume.volumeID: Required value" },
		{ "'cinder':{'volumeID':'v','secretRef':{'name':'s'}}",
			"spec.cinder.secretRef.namespace: Required value" },
		{ "'storageos':{'volumeName':'a','secretRef':{'name':'s'}}",
			"spec.storageos.secretRef.namespace: Required value" },
		{ "'quobyte':{'registry':'h','volume':'v'}",
			"spec.quobyte.registry: Invalid value: \"h\": must be a host:port pair or multiple pairs separated by commas" },
		{ "'flocker':{}", "spec.flocker: Required value: one of datasetName and datasetUUID is required" },
		{ "'vsphereVolume':{'volumePath':''}", "spec.vsphereVolume.volumePath: Required value" },
		{ "'scaleIO':{'gateway':'g','system':'','volumeName':'v','secretRef':{'name':'s'}}",
			"spec.scaleIO.system: Required value" },
	};

	OF_NEW(*state, VOLUMES, volume, rules);
}

static void an_apiservice_stays_what_its_name_says(void **state)
{
	static const struct rule changes[] = {
		{ "{'spec':{'versionPriority':20}}", NULL },
		{ "{'spec':{'versionPriority':0}}",
			"spec.versionPriority: Invalid value: 0: must be positive and less than 1000" },
	};
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", APISERVICES,
			json("@",
				"{'metadata':{'name':'v1.g.h'},'spec':{'group':'g.h','version':'v1','groupPriorityMinimum':100,'versionPriority':10,"
				"'insecureSkipTLSVerify':true,'service':{'name':'s','namespace':'n'}}}")));
	OF_CHANGES(f, APISERVICES "/v1.g.h", changes);
	call_as(f, "PATCH", APISERVICES "/v1.g.h?dryRun=All", MERGE, NULL, json("@", "{'spec':{'group':'x.y'}}"));
	assert_int_equal(f->last->status, 422);
	assert_true(body_has(f, "metadata.name"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(jobs_say_which_failures_count, setup, teardown),
		cmocka_unit_test_setup_teardown(jobs_say_what_their_indexes_mean, setup, teardown),
		cmocka_unit_test_setup_teardown(jobs_that_wait_may_be_told_where_to_run, setup, teardown),
		cmocka_unit_test_setup_teardown(events_are_whole_and_stay_what_they_are, setup, teardown),
		cmocka_unit_test_setup_teardown(hints_are_few_and_differ, setup, teardown),
		cmocka_unit_test_setup_teardown(volumes_of_providers_say_where_they_are, setup, teardown),
		cmocka_unit_test_setup_teardown(an_apiservice_stays_what_its_name_says, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

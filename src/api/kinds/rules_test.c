/* Rules that the real server of the differential test is too old to know, or has no case for; facts are of upstream's
 * validation of 1.34. Those of Jobs: job_rules_test.c. */
#include "api/kinds/rules_fixture.h"

#define EVENTS "/apis/events.k8s.io/v1/namespaces/default/events"
#define OLD_EVENTS "/api/v1/namespaces/default/events"
#define SLICES "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
#define VOLUMES "/api/v1/persistentvolumes"
#define SERVICES "/api/v1/namespaces/default/services"
#define APISERVICES "/apis/apiregistration.k8s.io/v1/apiservices"

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
		{ ",'reportingController':'a b'", "reportingController: Invalid value: \"a b\": name part " QUALIFIED },
		{ ",'deprecatedCount':3", "count: Invalid value: \"\": needs to be unset" },
		{ ",'series':{'count':1,'lastObservedTime':'2026-01-02T03:04:05.000000Z'}",
			"series.count: Invalid value: \"\": should be at least 2" },
	};
	static const struct rule changes[] = {
		{ "{'series':{'count':2,'lastObservedTime':'2026-01-02T03:04:05.000000Z'}}", NULL },
		{ "{'note':'m'}", NULL },
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
		{ "'forZones':[{'name':'a b'}]",
			"endpoints[0].hints.forZones[0].name: Invalid value: \"a b\": " LABEL_VALUE },
		{ "'forNodes':[{'name':'a'},{'name':'a'}]",
			"endpoints[0].hints.forNodes[1].name: Duplicate value: \"a\"" },
		{ "'forNodes':[" TIMES_5("{'name':'a'}") "," TIMES_5("{'name':'a'}") "]",
			"endpoints[0].hints.forNodes: Too many: 10: must have at most 8 items" },
		{ "'forNodes':[{'name':'A'}]",
			"endpoints[0].hints.forNodes[0].name: Invalid value: \"A\": " SUBDOMAIN },
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

static void services_say_how_they_are_balanced(void **state)
{
	static const char service[] = "{'metadata':{'name':'s'@}}";
	static const struct rule rules[] = {
		{ "},'spec':{'type':'LoadBalancer','loadBalancerClass':'a.b/c','ports':[{'port':80}]", NULL },
		{ "},'spec':{'type':'LoadBalancer','allocateLoadBalancerNodePorts':false,'ports':[{'port':80}]", NULL },
		{ "},'spec':{'type':'LoadBalancer','loadBalancerClass':'a b','ports':[{'port':80}]",
			"spec.loadBalancerClass: Invalid value: \"a b\": name part " QUALIFIED },
		{ "},'spec':{'loadBalancerClass':'a.b/c','ports':[{'port':80}]",
			"spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'" },
		{ "},'spec':{'type':'NodePort','allocateLoadBalancerNodePorts':false,'ports':[{'port':80}]",
			"spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'" },
		{ "},'spec':{'trafficDistribution':'PreferSameNode','ports':[{'port':80}]", NULL },
		{ "},'spec':{'trafficDistribution':'Far','ports':[{'port':80}]",
			"spec.trafficDistribution: Unsupported value: \"Far\": supported values: \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"" },
		{ "},'spec':{'type':'LoadBalancer','loadBalancerSourceRanges':[' 10.0.0.0/8 '],'ports':[{'port':80}]",
			NULL },
		{ "},'spec':{'type':'LoadBalancer','loadBalancerSourceRanges':['x'],'ports':[{'port':80}]",
			"spec.LoadBalancerSourceRanges[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)" },
		{ "},'spec':{'ports':[{'name':'A','port':80}]", "spec.ports[0].name: Invalid value: \"A\": " LABEL },
		{ "},'spec':{'type':'ExternalName','externalName':'A'",
			"spec.externalName: Invalid value: \"A\": " SUBDOMAIN },
		{ "},'spec':{'healthCheckNodePort':30997,'ports':[{'port':80}]",
			"spec.healthCheckNodePort: Invalid value: 30997: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'" },
		{ ",'annotations':{'service.beta.kubernetes.io/load-balancer-source-ranges':'10.0.0.0/8, x'}},'spec':{'type':'LoadBalancer','ports':[{'port':80}]",
			"metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)" },
		{ ",'annotations':{'service.beta.kubernetes.io/load-balancer-source-ranges':'10.0.0.0/8'}},'spec':{'ports':[{'port':80}]",
			"metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Forbidden: may only be used when `type` is 'LoadBalancer'" },
		{ ",'annotations':{'service.kubernetes.io/topology-mode':'Auto','service.kubernetes.io/topology-aware-hints':'auto'}},'spec':{'ports':[{'port':80}]",
			"metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: \"Auto\": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified" },
		{ "},'spec':{'type':'ExternalName','externalName':'a.b','clusterIP':'10.96.1.1'",
			"spec.clusterIPs: Forbidden: may not be set for ExternalName services" },
		{ "},'spec':{'ports':[{'port':80,'appProtocol':'a b'}]",
			"spec.ports[0].appProtocol: Invalid value: \"a b\": name part " QUALIFIED },
		{ "},'spec':{'type':'NodePort','ports':[{'name':'a','port':80,'nodePort':30001},{'name':'b','port':81,'nodePort':30001}]",
			"spec.ports[1].nodePort: Duplicate value: 30001" },
		{ "},'spec':{'ports':[{'name':'a','port':80},{'name':'b','port':80}]",
			"spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}" },
	};

	OF_NEW(*state, SERVICES, service, rules);
}

static void a_balanced_service_keeps_its_class_and_its_health_port(void **state)
{
	static const struct rule changes[] = {
		{ "{'spec':{'loadBalancerClass':'a.b/c'}}", NULL },
		{ "{'spec':{'loadBalancerClass':'a.b/d'}}",
			"spec.loadBalancerClass: Invalid value: \"a.b/d\": may not change once set" },
		{ "{'spec':{'loadBalancerClass':null}}",
			"spec.loadBalancerClass: Invalid value: \"null\": may not change once set" },
		{ "{'spec':{'healthCheckNodePort':30998}}", "spec.healthCheckNodePort: Forbidden: field is immutable" },
		{ "{'spec':{'healthCheckNodePort':null}}", NULL },
		{ "{'spec':{'type':'NodePort'}}", NULL },
		{ "{'spec':{'type':'NodePort','loadBalancerClass':'a.b/d'}}",
			"spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'" },
		{ "{'spec':{'type':'NodePort','allocateLoadBalancerNodePorts':false}}",
			"spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'" },
	};
	static const struct rule becomes[] = { { "{'spec':{'type':'LoadBalancer','loadBalancerClass':'a.b/d'}}",
		NULL } };
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", SERVICES,
			json("@",
				"{'metadata':{'name':'s'},'spec':{'type':'LoadBalancer','loadBalancerClass':'a.b/c','externalTrafficPolicy':'Local','healthCheckNodePort':30999,'ports':[{'port':80}]}}")));
	OF_CHANGES(f, SERVICES "/s", changes);
	expect(f, 200, call_as(f, "PATCH", SERVICES "/s", MERGE, NULL, json("@", "{'spec':{'type':'NodePort'}}")));
	assert_string_equal(get(f, "spec.loadBalancerClass"), "");
	assert_string_equal(get(f, "spec.allocateLoadBalancerNodePorts"), "");
	assert_string_equal(get(f, "spec.healthCheckNodePort"), "");
	OF_CHANGES(f, SERVICES "/s", becomes);
}

static void a_balancer_says_where_it_is(void **state)
{
	static const struct rule inside[] = {
		{ "{'status':{'loadBalancer':{'ingress':[{'ip':'1.2.3.4'}]}}}",
			"status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'" },
	};
	static const struct rule outside[] = {
		{ "{'status':{'loadBalancer':{'ingress':[{'ip':'1.2.3.4'},{'hostname':'a.b'}]}}}", NULL },
		{ "{'status':{'loadBalancer':{'ingress':[{'ip':'x'}]}}}",
			"status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)" },
		{ "{'status':{'loadBalancer':{'ingress':[{'hostname':'1.2.3.4'}]}}}",
			"status.loadBalancer.ingress[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address" },
		{ "{'status':{'loadBalancer':{'ingress':[{'hostname':'A'}]}}}",
			"status.loadBalancer.ingress[0].hostname: Invalid value: \"A\": " SUBDOMAIN },
		{ "{'status':{'loadBalancer':{'ingress':[{'hostname':'a.b','ipMode':'VIP'}]}}}",
			"status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set" },
		{ "{'status':{'loadBalancer':{'ingress':[{'ip':'1.2.3.4','ipMode':'Near'}]}}}",
			"status.loadBalancer.ingress[0].ipMode: Unsupported value: \"Near\": supported values: \"Proxy\", \"VIP\"" },
	};
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", SERVICES, json("@", "{'metadata':{'name':'i'},'spec':{'ports':[{'port':80}]}}")));
	OF_CHANGES(f, SERVICES "/i/status", inside);
	expect(f, 201,
		call(f, "POST", SERVICES,
			json("@", "{'metadata':{'name':'o'},'spec':{'type':'LoadBalancer','ports':[{'port':80}]}}")));
	OF_CHANGES(f, SERVICES "/o/status", outside);
	call_as(f, "PATCH", SERVICES "/o/status", MERGE, NULL, json("@", outside[0].part));
	assert_true(body_has(f, "\"ipMode\":\"VIP\""));
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

#define PODS "/api/v1/namespaces/default/pods"
#define TERMS "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
#define MAY_NOT_CHANGE \
	"Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
#define RESIZED(resources) "{'spec':{'containers':[{'name':'c','resources':" resources "}]}}"

static const char pod[] =
	"{'metadata':{@,'automountServiceAccountToken':false,'tolerations':[{'key':'a','operator':'Exists'}],'containers':[{'name':'c','image':'i'}]}}";

static void a_pod_changes_in_few_ways(void **state)
{
	static const struct rule changes[] = {
		{ "{'spec':{'activeDeadlineSeconds':50}}", NULL },
		{ "{'spec':{'activeDeadlineSeconds':101}}",
			"spec.activeDeadlineSeconds: Invalid value: 101: must be less than or equal to previous value" },
		{ "{'spec':{'activeDeadlineSeconds':null}}",
			"spec.activeDeadlineSeconds: Invalid value: \"null\": must not update from a positive integer to nil value" },
		{ "{'spec':{'terminationGracePeriodSeconds':1}}", "spec: " MAY_NOT_CHANGE },
		{ "{'spec':{'nodeSelector':{'c':'d'}}}", "spec: " MAY_NOT_CHANGE },
		{ "{'spec':{'tolerations':[]}}",
			"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds" },
		{ "{'spec':{'containers':[{'name':'c','image':'j'}]}}", NULL },
	};
	static const struct rule gated[] = {
		{ "{'spec':{'schedulingGates':null}}", NULL },
		{ "{'spec':{'schedulingGates':[{'name':'h'}]}}",
			"spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate" },
		{ "{'spec':{'nodeSelector':{'c':'d'}}}", NULL },
		{ "{'spec':{'nodeSelector':{'a':'d'}}}",
			"spec.nodeSelector: Invalid value: {\"a\":\"d\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)" },
		{ "{'spec':{'affinity':{'nodeAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':{'nodeSelectorTerms':"
		  "[{'matchExpressions':[{'key':'a','operator':'Exists'},{'key':'b','operator':'Exists'}]}]}}}}}",
			NULL },
		{ "{'spec':{'affinity':{'nodeAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':{'nodeSelectorTerms':"
		  "[{'matchExpressions':[{'key':'b','operator':'Exists'}]}]}}}}}",
			TERMS
			"[0]: Invalid value: {\"matchExpressions\":[{\"key\":\"b\",\"operator\":\"Exists\"}]}: only additions are allowed (no mutations or deletions)" },
		{ "{'spec':{'affinity':null}}",
			TERMS
			": Invalid value: null: no additions/deletions to non-empty NodeSelectorTerms list are allowed" },
		{ "{'spec':{'affinity':{'podAntiAffinity':{'preferredDuringSchedulingIgnoredDuringExecution':[]}}}}",
			"spec: " MAY_NOT_CHANGE },
	};
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", PODS, json(pod, "'name':'p'},'spec':{'activeDeadlineSeconds':100")));
	OF_CHANGES(f, PODS "/p", changes);
	expect(f, 422, /* and nothing else is told */
		call_as(f, "PATCH", PODS "/p", MERGE, NULL,
			json("@", "{'spec':{'activeDeadlineSeconds':101,'nodeSelector':{'c':'d'}}}")));
	assert_false(body_has(f, "Forbidden"));
	expect(f, 201,
		call(f, "POST", PODS,
			json(pod,
				"'name':'g'},'spec':{'schedulingGates':[{'name':'g'}],'nodeSelector':{'a':'b'},'affinity':{'nodeAffinity':"
				"{'requiredDuringSchedulingIgnoredDuringExecution':{'nodeSelectorTerms':[{'matchExpressions':[{'key':'a','operator':'Exists'}]}]}}}")));
	OF_CHANGES(f, PODS "/g", gated);
}

static void an_ephemeral_container_is_added_and_stays(void **state)
{
	static const struct rule first[] = {
		{ "{'spec':{'ephemeralContainers':[{'name':'d','image':'i','targetContainerName':'c'}]}}", NULL },
		{ "{'spec':{'ephemeralContainers':[{'name':'c','image':'i'}]}}",
			"spec.ephemeralContainers[0].name: Duplicate value: \"c\"" },
		{ "{'spec':{'ephemeralContainers':[{'name':'d','image':''}]}}",
			"spec.ephemeralContainers[0].image: Required value" },
		{ "{'spec':{'ephemeralContainers':[{'name':'d','image':'i','targetContainerName':'x'}]}}",
			"spec.ephemeralContainers[0].targetContainerName: Not found: \"x\"" },
		{ "{'spec':{'ephemeralContainers':[{'name':'d','image':'i','ports':[{'containerPort':1}]}]}}",
			"spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container" },
		{ "{'spec':{'ephemeralContainers':[{'name':'d','image':'i','resources':{'limits':{'cpu':'1'}}}]}}",
			"spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container" },
		{ "{'spec':{'ephemeralContainers':[{'name':'d','image':'i','livenessProbe':{'exec':{'command':['a']}}}]}}",
			"spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container" },
	};
	static const struct rule later[] = {
		{ "{'spec':{'ephemeralContainers':[{'name':'e','image':'i'},{'name':'d','image':'i','terminationMessagePath':'/dev/termination-log',"
		  "'terminationMessagePolicy':'File','imagePullPolicy':'Always','resources':{}}]}}",
			NULL },
		{ "{'spec':{'ephemeralContainers':[{'name':'d','image':'j'}]}}",
			"spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n" },
		{ "{'spec':{'ephemeralContainers':null}}",
			"spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n" },
	};
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", PODS, json(pod, "'name':'p'},'spec':{'nodeName':'n'")));
	OF_CHANGES(f, PODS "/p/ephemeralcontainers", first);
	expect(f, 200,
		call_as(f, "PATCH", PODS "/p/ephemeralcontainers", MERGE, NULL,
			json("@", "{'spec':{'ephemeralContainers':[{'name':'d','image':'i'}]}}")));
	OF_CHANGES(f, PODS "/p/ephemeralcontainers", later);
}

static void a_resized_pod_keeps_its_class(void **state)
{
	static const struct rule changes[] = {
		{ RESIZED("{'requests':{'cpu':'150m'}}"), NULL },
		{ RESIZED("{'requests':{'cpu':'200m'},'limits':{'memory':'1Mi'}}"),
			"spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing" },
		{ RESIZED("{'limits':null}"),
			"spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed" },
		{ RESIZED("{'requests':{'memory':null}}"),
			"spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed" },
		{ RESIZED("{'requests':{'example.com/x':'1'},'limits':{'example.com/x':'1'}}"),
			"spec: Forbidden: only cpu and memory resources are mutable" },
	};
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", PODS,
			json("@",
				"{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i','resources':{'requests':{'cpu':'100m','memory':'1Mi'},'limits':{'cpu':'200m'}}}]}}")));
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		call_as(f, "PATCH", PODS "/p/resize?dryRun=All", "application/strategic-merge-patch+json", NULL,
			json("@", changes[i].part));
		judge(f, 200, &changes[i]);
	}
}

#define CLAIMS "/api/v1/namespaces/default/persistentvolumeclaims"
#define SIZE(bytes) "{'spec':{'resources':{'requests':{'storage':'" bytes "'}}}}"

static void bound_claim(struct fixture *f, const char *name, const char *class)
{
	char *body = xasprintf(
		"{\"metadata\":{\"name\":\"%s\"},\"spec\":{\"storageClassName\":\"%s\",\"volumeName\":\"v\",\"accessModes\":[\"ReadWriteOnce\"],"
		"\"resources\":{\"requests\":{\"storage\":\"2Gi\"}}}}",
		name, class);
	char *status = xasprintf(CLAIMS "/%s/status", name);

	expect(f, 201, call(f, "POST", CLAIMS, body));
	expect(f, 200,
		call_as(f, "PATCH", status, MERGE, NULL,
			json("@", "{'status':{'phase':'Bound','capacity':{'storage':'1Gi'}}}")));
	free(status);
	free(body);
}

static void a_claim_grows_where_its_class_allows_it(void **state)
{
	static const struct rule changes[] = {
		{ SIZE("3Gi"), NULL },
		{ SIZE("1500Mi"), NULL },
		{ SIZE("1Gi"),
			"spec.resources.requests.storage: Forbidden: field can not be less than status.capacity" },
	};
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", "/apis/storage.k8s.io/v1/storageclasses",
			json("@",
				"{'metadata':{'name':'elastic'},'provisioner':'a.b/c','allowVolumeExpansion':true}")));
	bound_claim(f, "c", "elastic");
	OF_CHANGES(f, CLAIMS "/c", changes);
	bound_claim(f, "d", "stiff");
	expect(f, 403, call_as(f, "PATCH", CLAIMS "/d", MERGE, NULL, json("@", SIZE("3Gi"))));
	assert_true(body_has(f, "the storageclass that provisions the pvc must support resize"));
	expect(f, 200, call_as(f, "PATCH", CLAIMS "/d", MERGE, NULL, json("@", SIZE("1500Mi"))));
}

/* ---- found by tests/differential/mutate.py -------------------------------------------------------------------- */

#define APPS "/apis/apps/v1/namespaces/default/"
#define INGRESSES "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
#define UNITS "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"

static const char workload[] =
	"{'metadata':{'name':'w'},'spec':{'selector':{'matchLabels':{'a':'b'}},'serviceName':'s','template':{'metadata':"
	"{'labels':{'a':'b'}},'spec':{'containers':[{'name':'c','image':'i'}]}}}}";

static void no_part_of_a_workload_is_more_than_the_whole(void **state)
{
	static const struct {
		const char *kind;
		struct rule rules[5];
	} of[] = {
		{ "deployments",
			{ { "{'status':{'replicas':3,'updatedReplicas':2,'readyReplicas':3,'availableReplicas':3,'collisionCount':2}}",
				  NULL },
				{ "{'status':{'unavailableReplicas':-1}}",
					"status.unavailableReplicas: Invalid value: -1: must be greater than or equal to 0" },
				{ "{'status':{'updatedReplicas':1}}",
					"status.updatedReplicas: Invalid value: 1: cannot be greater than status.replicas" },
				{ "{'status':{'replicas':2,'readyReplicas':1,'availableReplicas':2}}",
					"status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas" } } },
		{ "replicasets",
			{ { "{'status':{'replicas':1,'fullyLabeledReplicas':1}}", NULL },
				{ "{'status':{'replicas':-1}}",
					"status.replicas: Invalid value: -1: must be greater than or equal to 0" },
				{ "{'status':{'replicas':1,'fullyLabeledReplicas':2}}",
					"status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas" } } },
		{ "statefulsets",
			{ { "{'status':{'replicas':1,'currentReplicas':1}}", NULL },
				{ "{'status':{'replicas':1,'currentReplicas':2}}",
					"status.currentReplicas: Invalid value: 2: cannot be greater than status.replicas" },
				{ "{'status':{'replicas':1,'availableReplicas':1}}",
					"status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas" } } },
		{ "daemonsets",
			{ { "{'status':{'currentNumberScheduled':1}}", NULL },
				{ "{'status':{'numberMisscheduled':-1}}",
					"status.numberMisscheduled: Invalid value: -1: must be greater than or equal to 0" } } },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		char *all = xasprintf(APPS "%s", of[i].kind), *status = xasprintf("%s/w/status", all);
		size_t n = 0;

		expect(f, 201, call(f, "POST", all, json("@", workload)));
		while (n < ARRAY_LEN(of[i].rules) && of[i].rules[n].part)
			n++;
		of_changes(f, status, of[i].rules, n);
		free(status);
		free(all);
	}
	call_as(f, "PATCH", APPS "deployments/w/status", MERGE, NULL, json("@", "{'status':{'collisionCount':2}}"));
	OF_CHANGES(f, APPS "deployments/w/status",
		((const struct rule[]){ { "{'status':{'collisionCount':1}}",
			"status.collisionCount: Invalid value: 1: cannot be decremented" } }));
}

static void a_status_has_the_words_that_it_may_have(void **state)
{
	static const struct rule phases[] = {
		{ "{'status':{'phase':'Active'}}", NULL },
		{ "{'status':{'phase':'Gone'}}",
			"status.Phase: Invalid value: \"Gone\": may only be 'Active' if `deletionTimestamp` is empty" }
	};
	static const struct rule conditions[] = {
		{ "{'status':{'conditions':[{'type':'Available','status':'Maybe'}]}}",
			"status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \"Unknown\"" }
	};
	static const struct rule nodes[] = {
		{ "{'status':{'capacity':{'cpu':'100m'},'addresses':[{'type':'Hostname','address':'a'}]}}", NULL },
		{ "{'status':{'capacity':{'cpu':'-1'}}}",
			"status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0" },
		{ "{'status':{'allocatable':{'pods':'1500m'}}}",
			"status.allocatable.pods: Invalid value: \"1500m\": must be an integer" },
		{ "{'status':{'addresses':[{'type':'Hostname','address':'a'},{'type':'Hostname','address':'a'}]}}",
			"status.addresses[1]: Duplicate value: {\"type\":\"Hostname\",\"address\":\"a\"}" }
	};
	static const struct rule places[] = {
		{ "{'status':{'loadBalancer':{'ingress':[{'ip':'1.2.3.4'},{'hostname':'a.b'}]}}}", NULL },
		{ "{'status':{'loadBalancer':{'ingress':[{'ip':'x'}]}}}",
			"status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)" },
		{ "{'status':{'loadBalancer':{'ingress':[{'hostname':'1.2.3.4'}]}}}",
			"status.loadBalancer.ingress[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address" },
		{ "{'status':{'loadBalancer':{'ingress':[{'hostname':'A'}]}}}",
			"status.loadBalancer.ingress[0].hostname: Invalid value: \"A\": " SUBDOMAIN }
	};
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", INGRESSES,
			json("@",
				"{'metadata':{'name':'i'},'spec':{'defaultBackend':{'resource':{'kind':'K','name':'n'}}}}")));
	OF_CHANGES(f, INGRESSES "/i/status", places);
	expect(f, 201, call(f, "POST", "/api/v1/namespaces", json("@", "{'metadata':{'name':'n'}}")));
	OF_CHANGES(f, "/api/v1/namespaces/n/status", phases);
	expect(f, 201,
		call(f, "POST", APISERVICES,
			json("@",
				"{'metadata':{'name':'v2.a.b'},'spec':{'group':'a.b','version':'v2',"
				"'groupPriorityMinimum':10,'versionPriority':10}}")));
	OF_CHANGES(f, APISERVICES "/v2.a.b/status", conditions);
	expect(f, 201, call(f, "POST", "/api/v1/nodes", json("@", "{'metadata':{'name':'n'}}")));
	OF_CHANGES(f, "/api/v1/nodes/n/status", nodes);
}

static void a_template_names_what_may_be_there(void **state)
{
	static const struct rule of_spec[] = {
		{ "'priorityClassName':'high','runtimeClassName':'a.b'", NULL },
		{ "'priorityClassName':'a/b'", "template.spec.priorityClassName: Invalid value: \"a/b\": " SUBDOMAIN },
		{ "'runtimeClassName':'A'", "template.spec.runtimeClassName: Invalid value: \"A\": " SUBDOMAIN },
		{ "'hostPID':true,'shareProcessNamespace':true",
			"template.spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled" },
		{ "'tolerations':[{'key':'a','value':'b c'}]",
			"template.spec.tolerations[0].operator: Invalid value: \"b c\": " LABEL_VALUE },
		{ "'volumes':[{'name':'v','downwardAPI':{'items':[{'fieldRef':{'fieldPath':'metadata.name'}}]}}]",
			"template.spec.volumes[0].downwardAPI.path: Required value" },
		{ "'volumes':[{'name':'v','downwardAPI':{'items':[{'path':'p','fieldRef':{'apiVersion':'v2','fieldPath':'metadata.name'}}]}}]",
			"template.spec.volumes[0].downwardAPI.fieldRef.fieldPath: Invalid value: \"metadata.name\": error converting fieldPath: unsupported pod version: v2" },
		{ "'volumes':[{'name':'v','downwardAPI':{'items':[{'path':'p','resourceFieldRef':{'containerName':'c','resource':'limits.cpu','divisor':'1000m'}}]}}]",
			NULL },
		{ "'volumes':[{'name':'v','downwardAPI':{'items':[{'path':'p','resourceFieldRef':{'containerName':'c','resource':'limits.cpu','divisor':'80'}}]}}]",
			"template.spec.volumes[0].downwardAPI.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource" }
	};
	static const struct rule of_container[] = {
		{ "'env':[{'name':'E','valueFrom':{'configMapKeyRef':{'name':'m','key':'k'}}}],'envFrom':[{'secretRef':{'name':'s'}}]",
			NULL },
		{ "'env':[{'name':'E','valueFrom':{'configMapKeyRef':{'name':'*','key':'k'}}}]",
			"template.spec.containers[0].env[0].valueFrom.configMapKeyRef.name: Invalid value: \"*\": " SUBDOMAIN },
		{ "'env':[{'name':'E','valueFrom':{'secretKeyRef':{'key':'k'}}}]",
			"template.spec.containers[0].env[0].valueFrom.secretKeyRef.name: Invalid value: \"\": " SUBDOMAIN },
		{ "'livenessProbe':{'httpGet':{'path':'/','port':80,'httpHeaders':[{'name':'X-A','value':'b c'}]}}",
			NULL },
		{ "'livenessProbe':{'httpGet':{'path':'/','port':80,'httpHeaders':[{'name':'A b','value':'c'}]}}",
			"template.spec.containers[0].livenessProbe.httpGet.httpHeaders: Invalid value: \"A b\": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')" },
		{ "'envFrom':[{'secretRef':{'name':'*'}}]",
			"template.spec.containers[0].envFrom[0].secretRef.name: Invalid value: \"*\": " SUBDOMAIN },
		{ "'env':[{'name':'E','valueFrom':{'resourceFieldRef':{'resource':'requests.memory','divisor':'80'}}}]",
			"template.spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"requests.memory\": only divisor's values " UNITS
			" are supported with the memory resource" },
	};
	static const char templates[] = "/api/v1/namespaces/default/podtemplates";

	OF_NEW(*state, templates,
		"{'metadata':{'name':'t'},'template':{'spec':{@,'containers':[{'name':'c','image':'i'}]}}}", of_spec);
	OF_NEW(*state, templates,
		"{'metadata':{'name':'t'},'template':{'spec':{'containers':[{'name':'c','image':'i',@}]}}}",
		of_container);
}

static void names_are_told_as_what_they_should_be(void **state)
{
	static const struct rule limits[] = {
		{ "'type':'Container','max':{'a.b/c':'1','cpu':'1'}", NULL },
		{ "'type':'Pod','max':{'apples':'1'}",
			"spec.limits[0].max[apples]: Invalid value: \"apples\": must be a standard resource type or fully qualified" },
		{ "'type':'Container','default':{'pods':'1'}",
			"spec.limits[0].default[pods]: Invalid value: \"pods\": must be a standard resource for containers" },
		{ "'type':'PersistentVolumeClaim','min':{'storage':'1','1%':'1'}",
			"spec.limits[0].min[1%]: Invalid value: \"1%\": name part " QUALIFIED },
		{ "'type':'Pod','min':{'cpu':'500m'},'max':{'cpu':'2'},'maxLimitRequestRatio':{'cpu':'4'}", NULL },
		{ "'type':'Pod','min':{'cpu':'500m'},'max':{'cpu':'2'},'maxLimitRequestRatio':{'cpu':'5'}",
			"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"5\": ratio 5 is greater than max/min = 4.000000" }
	};
	static const struct rule backends[] = { { "'kind':'K','name':'n'", NULL },
		{ "'kind':'K'", "spec.defaultBackend.resource.name: Required value: name is required" },
		{ "'name':'n'", "spec.defaultBackend.resource.kind: Required value: kind is required" } };
	static const struct rule classes[] = { { "'handler':'h'", NULL },
		{ "'handler':''", "handler: Invalid value: \"\": " LABEL },
		{ "'handler':'h','scheduling':{'tolerations':[{'key':'k','operator':'Exists'},{'key':'k','operator':'Exists'}]}",
			"scheduling.tolerations[1]: Duplicate value: {\"key\":\"k\",\"operator\":\"Exists\"}" } };
	static const struct rule verbs[] = { { "'apiGroups':[''],'resources':['pods']",
		"rules[0].verbs: Required value: verbs must contain at least one value" } };
	static const struct rule selectors[] = { { "'manualSelector':true,'selector':{'matchLabels':{'a':'b c'}}",
		"spec.selector.matchLabels: Invalid value: \"b c\": " LABEL_VALUE } };

	static const struct rule operations[] = {
		{ "'CREATE'", NULL },
		{ "'CREATE',null",
			"webhooks[0].rules[0].operations[1]: Unsupported value: \"\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"" }
	};

	OF_NEW(*state, "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
		"{'metadata':{'name':'w'},'webhooks':[{'name':'a.b.c','clientConfig':{'url':'https://a'},'sideEffects':'None',"
		"'admissionReviewVersions':['v1'],'rules':[{'apiGroups':[''],'apiVersions':['v1'],'resources':['pods'],"
		"'operations':[@]}]}]}",
		operations);
	call(*state, "POST", APPS "deployments",
		json("@", "{'metadata':{'name':'d'},'spec':{'replicas':9223372036854775808}}"));
	assert_true(body_has(*state,
		"cannot unmarshal number 9223372036854775808 into Go struct field DeploymentSpec.spec.replicas of type int32"));
	OF_NEW(*state, "/api/v1/namespaces/default/limitranges", "{'metadata':{'name':'l'},'spec':{'limits':[{@}]}}",
		limits);
	OF_NEW(*state, INGRESSES, "{'metadata':{'name':'i'},'spec':{'defaultBackend':{'resource':{@}}}}", backends);
	OF_NEW(*state, "/apis/node.k8s.io/v1/runtimeclasses", "{'metadata':{'name':'r'},@}", classes);
	OF_NEW(*state, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
		"{'metadata':{'name':'r'},'rules':[{@}]}", verbs);
	OF_NEW(*state, JOBS, job, selectors);
}

static void what_is_taken_away_is_told_as_what_is_left(void **state)
{
	static const struct rule classes[] = { { "{'spec':{'controller':null}}",
		"spec.controller: Invalid value: \"\": field is immutable" } };
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", "/apis/networking.k8s.io/v1/ingressclasses",
			json("@", "{'metadata':{'name':'i'},'spec':{'controller':'a.b/c'}}")));
	OF_CHANGES(f, "/apis/networking.k8s.io/v1/ingressclasses/i", classes);
}

static void a_template_may_change_its_name(void **state)
{
	static const struct rule changes[] = {
		{ "{'spec':{'template':{'metadata':{'name':'n','namespace':'x','creationTimestamp':'2020-01-01T00:00:00Z'}}}}",
			NULL },
	};
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", APPS "deployments", json("@", workload)));
	OF_CHANGES(f, APPS "deployments/w", changes);
}

static void a_status_brings_the_metadata_that_it_may(void **state)
{
	static const char patch[] =
		"{\"metadata\":{\"labels\":{\"zz\":\"y\"},\"annotations\":{\"zz\":\"y\"},"
		"\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"u\"}]}}";
	static const struct {
		const char *list, *name, *object;
		bool label, annotation, owner;
	} of[] = {
		{ "/api/v1/namespaces/default/resourcequotas", "q", "{'metadata':{'name':'q'},'spec':{}}", true, true,
			true },
		{ APPS "deployments", "w", workload, false, true, true },
		{ "/api/v1/namespaces/default/pods", "p",
			"{'metadata':{'name':'p'},'spec':{'automountServiceAccountToken':false,'containers':[{'name':'c','image':'i'}]}}",
			true, true, false },
		{ APISERVICES, "v2.a.b",
			"{'metadata':{'name':'v2.a.b'},'spec':{'group':'a.b','version':'v2','groupPriorityMinimum':10,'versionPriority':10}}",
			false, false, false },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		char *status = xasprintf("%s/%s/status", of[i].list, of[i].name);

		expect(f, 201, call(f, "POST", of[i].list, json("@", of[i].object)));
		expect(f, 200, call_as(f, "PATCH", status, MERGE, NULL, patch));
		assert_int_equal(val_has(doc_get(f->doc, "metadata.labels.zz")), of[i].label);
		assert_int_equal(val_has(doc_get(f->doc, "metadata.annotations.zz")), of[i].annotation);
		assert_int_equal(val_has(doc_get(f->doc, "metadata.ownerReferences")), of[i].owner);
		free(status);
	}
}

static void no_class_is_a_class(void **state)
{
	static const char immutable[] =
		"spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
	static const struct rule changes[] = { { "{'spec':{'volumeName':'v'}}", NULL },
		{ "{'spec':{'storageClassName':'fast'}}", immutable },
		{ "{'spec':{'storageClassName':null}}", immutable } };
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", CLAIMS,
			json("@",
				"{'metadata':{'name':'c'},'spec':{'accessModes':['ReadWriteOnce'],'storageClassName':'',"
				"'resources':{'requests':{'storage':'1Gi'}}}}")));
	OF_CHANGES(f, CLAIMS "/c", changes);
}

static void what_is_missing_is_told_once(void **state)
{
	struct fixture *f = *state;

	call(f, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
		json("@", "{'metadata':{'name':'r'},'roleRef':{'name':'n'}}"));
	assert_true(body_has(f,
		"is invalid: roleRef.kind: Unsupported value: \\\"\\\": supported values: \\\"Role\\\", \\\"ClusterRole\\\"\""));
	call(f, "POST", INGRESSES,
		json("@",
			"{'metadata':{'name':'i'},'spec':{'rules':[{'http':{'paths':[{'path':'/','backend':"
			"{'resource':{'kind':'K','name':'n'}}}]}}]}}"));
	assert_true(body_has(
		f, "is invalid: spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified\""));
	expect(f, 201,
		call(f, "POST", CLAIMS,
			json("@",
				"{'metadata':{'name':'d'},'spec':{'accessModes':['ReadWriteOnce'],'resources':{'requests':"
				"{'storage':'1Gi'}}}}")));
	OF_CHANGES(f, CLAIMS "/d",
		((const struct rule[]){ { "{'spec':{'resources':null}}",
			"spec.resources.requests.storage: Forbidden: field can not be less than status.capacity" } }));
}

static void a_service_account_names_its_secrets(void **state)
{
	static const char accounts[] = "/api/v1/namespaces/default/serviceaccounts";
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", accounts,
			json("@",
				"{'metadata':{'name':'a'},'secrets':[{'name':'s','namespace':'n','uid':'u'},{'kind':'K'}]}")));
	assert_string_equal(get(f, "secrets"), "[{\"name\":\"s\"},{}]");
}

static void an_attachment_is_looked_at_when_it_is_new(void **state)
{
	static const char attachments[] = "/apis/storage.k8s.io/v1/volumeattachments";
	static const struct rule rules[] = { { "{'metadata':{'labels':{'a':'b'}}}", NULL },
		{ "{'spec':{'attacher':''}}", "spec.attacher: Required value" } };
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", attachments,
			json("@",
				"{'metadata':{'name':'a'},'spec':{'attacher':'a','nodeName':'n','source':{'persistentVolumeName':'v'}}}")));
	OF_CHANGES(f, "/apis/storage.k8s.io/v1/volumeattachments/a", rules);
	call_as(f, "PATCH", "/apis/storage.k8s.io/v1/volumeattachments/a?dryRun=All", MERGE, NULL,
		json("@", "{'spec':{'attacher':''}}"));
	assert_false(body_has(f, "RFC 1123"));
}

static void a_priority_is_looked_at_when_it_is_new(void **state)
{
	static const char classes[] = "/apis/scheduling.k8s.io/v1/priorityclasses";
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", classes, json("@", "{'metadata':{'name':'p'},'value':1}")));
	expect(f, 422,
		call_as(f, "PATCH", "/apis/scheduling.k8s.io/v1/priorityclasses/p", MERGE, NULL,
			json("@", "{'value':2000000000}")));
	assert_false(body_has(f, "maximum allowed value"));
}

static void no_replicas_are_left_out_of_a_scale(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", APPS "deployments", json("@", workload)));
	expect(f, 200,
		call_as(f, "PATCH", APPS "deployments/w/scale", MERGE, NULL, json("@", "{'spec':{'replicas':0}}")));
	assert_string_equal(get(f, "spec"), "{}");
	expect(f, 200,
		call_as(f, "PATCH", APPS "deployments/w/scale", MERGE, NULL, json("@", "{'spec':{'replicas':2}}")));
	assert_string_equal(get(f, "spec"), "{\"replicas\":2}");
}

#define ADMISSION "/apis/admissionregistration.k8s.io/v1/"
#define ONE_ITEM "Required value: validations or auditAnnotations must contain at least one item"

/* What an admission policy says beside its CEL. */
static void a_policy_is_whole(void **state)
{
	static const char policy[] =
		"{'metadata':{'name':'p'},'spec':{'matchConstraints':{'resourceRules':[{'apiGroups':"
		"[''],'apiVersions':['v1'],'operations':['CREATE'],'resources':['pods']}]},"
		"'validations':[{'expression':'true'}]@}}";
	static const char binding[] =
		"{'metadata':{'name':'b'},'spec':{'policyName':'p','validationActions':['Deny']@}}";
	static const struct rule rules[] = {
		{ "", NULL },
		{ ",'validations':[]", "spec.validations: " ONE_ITEM },
		{ ",'validations':[]", "spec.auditAnnotations: " ONE_ITEM },
		{ ",'validations':[],'auditAnnotations':[{'key':'k','valueExpression':'x'}]", NULL },
		{ ",'auditAnnotations':[{'key':'k','valueExpression':' '}]",
			"spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified" },
		{ ",'auditAnnotations':[{'key':'k','valueExpression':'x'},{'key':'k','valueExpression':'x'}]",
			"spec.auditAnnotations[1].key: Duplicate value: \"k\"" },
		{ ",'matchConstraints':null", "spec.matchConstraints: Required value" },
		{ ",'matchConstraints':{}", "spec.matchConstraints.resourceRules: Required value" },
		{ ",'matchConstraints':{'resourceRules':[{'apiGroups':[''],'apiVersions':['v1'],'operations':['CREATE']}]}",
			"spec.matchConstraints.resourceRules[0].resources: Required value" },
		{ ",'validations':[{'expression':' '}]",
			"spec.validations[0].expression: Required value: expression is not specified" },
		{ ",'validations':[{'expression':'x','reason':'Odd'}]",
			"spec.validations[0].reason: Unsupported value: \"Odd\": supported values: \"Forbidden\", "
			"\"Invalid\", \"RequestEntityTooLarge\", \"Unauthorized\"" },
		{ ",'validations':[{'expression':'x','message':'a\\nb'}]",
			"spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks" },
		{ ",'variables':[{'name':'in','expression':'x'}]",
			"spec.variables[0].name: Invalid value: \"in\": name is not a valid CEL identifier" },
		{ ",'paramKind':{'apiVersion':'a/b/c','kind':'K'}",
			"spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c" },
		{ ",'paramKind':{'apiVersion':'v1'}", "spec.paramKind.kind: Required value" },
		{ ",'paramKind':{'apiVersion':'rules.example.com/v1','kind':'ReplicaLimit'}", NULL },
		{ ",'matchConditions':[{'name':'a','expression':''}]",
			"spec.matchConditions[0].expression: Required value" },
	};
	static const struct rule bindings[] = {
		{ "", NULL },
		{ ",'policyName':''", "spec.policyName: Required value" },
		{ ",'validationActions':[]",
			"spec.validationActions: Required value: at least one validation action is required" },
		{ ",'validationActions':['Warn','Deny']",
			"spec.validationActions: Invalid value: [\"Warn\",\"Deny\"]: must not contain both Deny and Warn "
			"(repeating the same validation failure information in the API response and headers serves no "
			"purpose)" },
		{ ",'paramRef':{'parameterNotFoundAction':'Deny'}",
			"spec.paramRef: Required value: one of name or selector must be specified" },
		{ ",'paramRef':{'name':'x'}", "spec.paramRef.parameterNotFoundAction: Required value" },
		{ ",'paramRef':{'name':'x','selector':{},'parameterNotFoundAction':'Deny'}",
			"spec.paramRef.selector: Forbidden: name and selector are mutually exclusive" },
	};

	OF_NEW(*state, ADMISSION "validatingadmissionpolicies", policy, rules);
	OF_NEW(*state, ADMISSION "validatingadmissionpolicybindings", binding, bindings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_policy_is_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(events_are_whole_and_stay_what_they_are, setup, teardown),
		cmocka_unit_test_setup_teardown(hints_are_few_and_differ, setup, teardown),
		cmocka_unit_test_setup_teardown(volumes_of_providers_say_where_they_are, setup, teardown),
		cmocka_unit_test_setup_teardown(services_say_how_they_are_balanced, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_balanced_service_keeps_its_class_and_its_health_port, setup, teardown),
		cmocka_unit_test_setup_teardown(a_balancer_says_where_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(an_apiservice_stays_what_its_name_says, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pod_changes_in_few_ways, setup, teardown),
		cmocka_unit_test_setup_teardown(a_claim_grows_where_its_class_allows_it, setup, teardown),
		cmocka_unit_test_setup_teardown(an_ephemeral_container_is_added_and_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_resized_pod_keeps_its_class, setup, teardown),
		cmocka_unit_test_setup_teardown(no_part_of_a_workload_is_more_than_the_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(a_status_has_the_words_that_it_may_have, setup, teardown),
		cmocka_unit_test_setup_teardown(a_template_names_what_may_be_there, setup, teardown),
		cmocka_unit_test_setup_teardown(names_are_told_as_what_they_should_be, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_taken_away_is_told_as_what_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(a_template_may_change_its_name, setup, teardown),
		cmocka_unit_test_setup_teardown(a_status_brings_the_metadata_that_it_may, setup, teardown),
		cmocka_unit_test_setup_teardown(no_class_is_a_class, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_missing_is_told_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_service_account_names_its_secrets, setup, teardown),
		cmocka_unit_test_setup_teardown(an_attachment_is_looked_at_when_it_is_new, setup, teardown),
		cmocka_unit_test_setup_teardown(a_priority_is_looked_at_when_it_is_new, setup, teardown),
		cmocka_unit_test_setup_teardown(no_replicas_are_left_out_of_a_scale, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

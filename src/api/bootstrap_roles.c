/* The roles and bindings that every cluster has, as a table.
 *
 * A rule is a line "GROUPS RESOURCES VERBS [NAMES]" with commas inside; "core" is the empty group, "url" in place of
 * groups makes RESOURCES paths. Source of the set: the Kubernetes documentation, "Using RBAC Authorization" (default
 * roles). */
#include "api/bootstrap.h"

#define READ "get,list,watch"
#define WRITE "create,delete,deletecollection,patch,update"
#define EVENTS "core,events.k8s.io events create,patch,update\n"

#define VIEWED                                                                                                                  \
	"core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,"           \
	"replicationcontrollers/scale,serviceaccounts,services,services/status " READ "\n"                                      \
	"core bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas," \
	"resourcequotas/status,namespaces " READ "\n"                                                                           \
	"discovery.k8s.io endpointslices " READ "\n"                                                                            \
	"apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,"   \
	"replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status " READ "\n"                   \
	"autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status " READ "\n"                                       \
	"batch cronjobs,cronjobs/status,jobs,jobs/status " READ "\n"                                                            \
	"policy poddisruptionbudgets,poddisruptionbudgets/status " READ "\n"                                                    \
	"networking.k8s.io ingresses,ingresses/status,networkpolicies " READ "\n"                                               \
	"metrics.k8s.io nodes,pods " READ "\n"

#define EDITED                                                                                                                       \
	"core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy " READ "\n"                                   \
	"core serviceaccounts impersonate\n"                                                                                         \
	"core pods,pods/attach,pods/exec,pods/portforward,pods/proxy " WRITE "\n"                                                    \
	"core pods/eviction create\n"                                                                                                \
	"core configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts," \
	"services,services/proxy " WRITE "\n"                                                                                        \
	"core serviceaccounts/token create\n"                                                                                        \
	"apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,"             \
	"statefulsets/scale " WRITE "\n"                                                                                             \
	"autoscaling horizontalpodautoscalers " WRITE "\n"                                                                           \
	"batch cronjobs,jobs " WRITE "\n"                                                                                            \
	"policy poddisruptionbudgets " WRITE "\n"                                                                                    \
	"networking.k8s.io ingresses,networkpolicies " WRITE "\n"                                                                    \
	"coordination.k8s.io leases " WRITE ",get,list,watch\n"

#define ADMINISTERED                                              \
	"authorization.k8s.io localsubjectaccessreviews create\n" \
	"rbac.authorization.k8s.io rolebindings,roles " WRITE ",get,list,watch\n"

const struct boot_role boot_cluster_roles[] = {
	{ "cluster-admin", "* * *\nurl * *\n" },
	{ "system:discovery",
		"url /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/ get\n" },
	{ "system:public-info-viewer", "url /healthz,/livez,/readyz,/version,/version/ get\n" },
	{ "system:monitoring",
		"url /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/* get\n" },
	{ "system:basic-user",
		"authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews create\n"
		"authentication.k8s.io selfsubjectreviews create\n" },
	{ "system:service-account-issuer-discovery",
		"url /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/ get\n" },
	{ "admin", "", "admin" },
	{ "edit", "", "edit", "admin" },
	{ "system:aggregate-to-admin", ADMINISTERED, NULL, "admin" },
	{ "system:aggregate-to-edit", EDITED, NULL, "edit" },
	{ "system:aggregate-to-view", VIEWED, NULL, "view" },
	{ "view", "", "view", "edit" },
	{ "system:heapster", "core events,namespaces,nodes,pods " READ "\napps deployments " READ "\n" },
	/* what a node may do is decided object by object in node_authz.c; the role is there for those who bind it to
	 * others */
	{ "system:node",
		"authentication.k8s.io tokenreviews create\nauthorization.k8s.io localsubjectaccessreviews,subjectaccessreviews create\n"
		"core services " READ "\ncore nodes create,get,list,watch\ncore nodes,nodes/status patch,update\n"
		"core pods " READ
		"\ncore pods create,delete\ncore pods/status patch,update\ncore pods/eviction create\n"
		"core configmaps,secrets " READ "\ncore serviceaccounts/token create\n"
		"coordination.k8s.io leases create,delete,get,patch,update\n" EVENTS },
	{ "system:node-problem-detector", "core nodes get\ncore nodes/status patch\n" EVENTS },
	{ "system:node-proxier",
		"core endpoints,services list,watch\ncore nodes " READ
		"\ndiscovery.k8s.io endpointslices list,watch\n" EVENTS },
	{ "system:node-bootstrapper", "certificates.k8s.io certificatesigningrequests create,get,list,watch\n" },
	{ "system:kubelet-api-admin",
		"core nodes " READ
		"\ncore nodes proxy\ncore nodes/log,nodes/metrics,nodes/proxy,nodes/stats,nodes/healthz,nodes/configz,nodes/pods *\n" },
	{ "system:auth-delegator",
		"authentication.k8s.io tokenreviews create\nauthorization.k8s.io subjectaccessreviews create\n" },
	{ "system:kube-aggregator", "core endpoints,services " READ "\n" },
	{ "system:kube-dns", "core endpoints,services list,watch\n" },
	{ "system:persistent-volume-provisioner",
		"core persistentvolumes create,delete,get,list,watch\ncore persistentvolumeclaims get,list,update,watch\n"
		"storage.k8s.io storageclasses " READ "\ncore events watch\n" EVENTS },
	{ "system:volume-scheduler",
		"core persistentvolumes get,list,patch,update,watch\nstorage.k8s.io storageclasses " READ "\n"
		"core persistentvolumeclaims get,list,patch,update,watch\n" },
	{ "system:kube-scheduler",
		EVENTS "coordination.k8s.io leases create\ncoordination.k8s.io leases get,update kube-scheduler\n"
		       "core nodes,namespaces " READ
		       "\ncore pods delete,get,list,watch\ncore bindings,pods/binding create\n"
		       "core pods/status patch,update\ncore replicationcontrollers,services " READ
		       "\napps replicasets,statefulsets " READ "\n"
		       "policy poddisruptionbudgets " READ "\ncore persistentvolumeclaims,persistentvolumes " READ "\n"
		       "storage.k8s.io csidrivers,csinodes,csistoragecapacities,storageclasses " READ "\n"
		       "scheduling.k8s.io priorityclasses " READ "\n" },
	{ "system:kube-controller-manager",
		EVENTS
		"coordination.k8s.io leases create\ncoordination.k8s.io leases get,update kube-controller-manager\n"
		"core secrets,serviceaccounts create\ncore secrets delete\ncore configmaps,namespaces,secrets,serviceaccounts get\n"
		"core secrets,serviceaccounts update\nauthentication.k8s.io tokenreviews create\n"
		"authorization.k8s.io subjectaccessreviews create\n* * list,watch\ncore serviceaccounts/token create\n" },
	{ "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
		"certificates.k8s.io certificatesigningrequests/nodeclient create\n" },
	{ "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
		"certificates.k8s.io certificatesigningrequests/selfnodeclient create\n" },
	{ "system:certificates.k8s.io:kube-apiserver-client-approver",
		"certificates.k8s.io signers approve kubernetes.io/kube-apiserver-client\n" },
	{ "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
		"certificates.k8s.io signers approve kubernetes.io/kube-apiserver-client-kubelet\n" },
	{ "system:certificates.k8s.io:kubelet-serving-approver",
		"certificates.k8s.io signers approve kubernetes.io/kubelet-serving\n" },
	{ "system:certificates.k8s.io:legacy-unknown-approver",
		"certificates.k8s.io signers approve kubernetes.io/legacy-unknown\n" },

	/* controllers: each under its own ServiceAccount */
	{ "system:controller:namespace-controller",
		"core namespaces delete,get,list,watch\ncore namespaces/finalize,namespaces/status update,patch\n* * delete,deletecollection,get,list\n" },
	{ "system:controller:service-account-controller",
		"core serviceaccounts create," READ "\ncore namespaces " READ "\n" EVENTS },
	{ "system:controller:token-controller",
		"core serviceaccounts patch," READ
		"\ncore serviceaccounts/token create\ncore secrets create,delete,patch," READ "\n" EVENTS },
	{ "system:controller:root-ca-cert-publisher",
		"core configmaps create,update,patch," READ "\ncore namespaces " READ "\n" EVENTS },
	{ "system:controller:replicaset-controller",
		"apps replicasets " READ
		",update,patch\napps replicasets/status update,patch\napps replicasets/finalizers update\n"
		"core pods create,delete,list,watch,get,patch\n" EVENTS },
	{ "system:controller:replication-controller",
		"core replicationcontrollers " READ ",update,patch\ncore replicationcontrollers/status update,patch\n"
		"core replicationcontrollers/finalizers update\ncore pods create,delete,list,watch,get,patch\n" EVENTS },
	{ "system:controller:deployment-controller",
		"apps deployments " READ
		",update,patch\napps deployments/status update,patch\napps deployments/finalizers update\n"
		"apps replicasets create,delete," READ ",patch,update\ncore pods " READ ",update\n" EVENTS },
	{ "system:controller:statefulset-controller",
		"core pods " READ "\napps statefulsets " READ
		",update,patch\napps statefulsets/status update,patch\napps statefulsets/finalizers update\n"
		"core pods create,delete,get,patch,update\napps controllerrevisions create,delete," READ
		",patch,update\n"
		"core persistentvolumeclaims create,get,list,watch,update,patch,delete\n" EVENTS },
	{ "system:controller:daemon-set-controller",
		"apps daemonsets " READ
		",update,patch\napps daemonsets/status update,patch\napps daemonsets/finalizers update\n"
		"core nodes list,watch,get\ncore pods create,delete,list,watch,get,patch\ncore pods/binding create\n"
		"apps controllerrevisions create,delete," READ ",patch,update\n" EVENTS },
	{ "system:controller:job-controller",
		"batch jobs " READ
		",patch,update\nbatch jobs/status update,patch\nbatch jobs/finalizers update\ncore pods create,delete,list,watch,get,patch,update\n" EVENTS },
	{ "system:controller:cronjob-controller",
		"batch cronjobs " READ ",update,patch\nbatch jobs create,delete," READ
		",patch,update\nbatch cronjobs/status update,patch\nbatch cronjobs/finalizers update\n"
		"core pods delete,list\n" EVENTS },
	{ "system:controller:endpoint-controller",
		"core pods,services " READ "\ncore endpoints create,delete," READ
		",update,patch\ncore endpoints/restricted create\n" EVENTS },
	{ "system:controller:endpointslice-controller",
		"core nodes,pods,services " READ "\ncore services/finalizers update\n"
		"discovery.k8s.io endpointslices create,delete," READ ",update,patch\n" EVENTS },
	{ "system:controller:generic-garbage-collector", "* * delete,get,list,patch,update,watch\n" EVENTS },
	{ "system:controller:node-controller",
		"core nodes delete," READ
		",patch,update\ncore nodes/status patch,update\ncore pods/status patch,update\ncore pods delete," READ
		"\n"
		"coordination.k8s.io leases " READ "\n" EVENTS },
	{ "system:controller:event-ttl-controller", "core,events.k8s.io events delete,list\n" },
	{ "system:controller:pod-garbage-collector",
		"core pods delete," READ "\ncore nodes " READ "\ncore pods/status patch,update\n" },
	{ "system:controller:ttl-controller", "core nodes list,patch,update,watch\n" EVENTS },
	{ "system:controller:ttl-after-finished-controller", "batch jobs delete," READ "\n" EVENTS },
	{ "system:controller:disruption-controller",
		"apps deployments,replicasets,statefulsets " READ "\ncore replicationcontrollers " READ
		"\npolicy poddisruptionbudgets " READ "\n"
		"core pods " READ
		"\npolicy poddisruptionbudgets/status update,patch\ncore pods/status patch,update\n* */scale get\n" EVENTS },
	{ "system:controller:resourcequota-controller",
		"* * list,watch\ncore resourcequotas get\ncore resourcequotas/status update,patch\n" EVENTS },
	{ "system:controller:horizontal-pod-autoscaler",
		"autoscaling horizontalpodautoscalers " READ
		"\nautoscaling horizontalpodautoscalers/status update,patch\n* */scale get,update\n"
		"core pods list,watch\nmetrics.k8s.io pods list\n" EVENTS },
	{ "system:controller:persistent-volume-binder",
		"core persistentvolumes create,delete," READ
		",update,patch\ncore persistentvolumes/status update,patch\n"
		"core persistentvolumeclaims " READ ",update,patch\ncore persistentvolumeclaims/status update,patch\n"
		"core pods create,delete," READ "\nstorage.k8s.io storageclasses " READ "\ncore nodes " READ
		"\n" EVENTS },
	{ "system:controller:ephemeral-volume-controller",
		"core pods " READ "\ncore pods/finalizers update\ncore persistentvolumeclaims create," READ
		"\n" EVENTS },
	{ "system:controller:local-path-provisioner",
		"core persistentvolumes create,delete," READ ",update,patch\ncore persistentvolumeclaims " READ
		"\ncore nodes " READ "\n"
		"storage.k8s.io storageclasses " READ "\n" EVENTS },
	{ "system:controller:pv-protection-controller", "core persistentvolumes " READ ",update,patch\n" EVENTS },
	{ "system:controller:pvc-protection-controller",
		"core persistentvolumeclaims " READ ",update,patch\ncore pods " READ "\n" EVENTS },
	{ "system:controller:certificate-controller",
		"certificates.k8s.io certificatesigningrequests delete," READ
		"\ncertificates.k8s.io certificatesigningrequests/approval,certificatesigningrequests/status update,patch\n"
		"certificates.k8s.io signers approve kubernetes.io/kube-apiserver-client-kubelet\n"
		"certificates.k8s.io signers sign kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,"
		"kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown\nauthorization.k8s.io subjectaccessreviews create\n" EVENTS },
	{ "system:controller:clusterrole-aggregation-controller",
		"rbac.authorization.k8s.io clusterroles escalate,get,list,patch,update,watch\n" },
	{ "system:controller:bootstrap-signer", "core secrets " READ "\n" },
	{ "system:controller:attachdetach-controller",
		"core persistentvolumeclaims,persistentvolumes,pods list,watch\ncore nodes " READ
		"\ncore nodes/status patch,update\n"
		"storage.k8s.io volumeattachments create,delete," READ "\nstorage.k8s.io csidrivers,csinodes " READ
		"\n" EVENTS },
	{ "system:controller:endpointslicemirroring-controller",
		"core endpoints,services " READ "\ncore services/finalizers,endpoints/finalizers update\n"
		"discovery.k8s.io endpointslices create,delete,update," READ "\n" EVENTS },
	{ "system:controller:expand-controller",
		"core persistentvolumes patch,update," READ "\ncore persistentvolumeclaims/status patch,update\n"
		"core persistentvolumeclaims " READ "\nstorage.k8s.io storageclasses " READ
		"\ncore endpoints,services,secrets get\n" EVENTS },
	{ "system:controller:route-controller", "core nodes list,watch\ncore nodes/status patch\n" EVENTS },
	{ "system:controller:service-controller",
		"core services " READ "\ncore services/status patch,update\ncore nodes list,watch\n" EVENTS },
	{ "system:controller:token-cleaner", "core secrets delete," READ "\n" EVENTS },
	{ NULL },
};

const struct boot_role boot_roles[] = {
	{ "kube-system/extension-apiserver-authentication-reader",
		"core configmaps " READ " extension-apiserver-authentication\n" },
	{ "kube-system/system::leader-locking-kube-controller-manager",
		"coordination.k8s.io leases get,update,watch kube-controller-manager\n" },
	{ "kube-system/system::leader-locking-kube-scheduler",
		"coordination.k8s.io leases get,update,watch kube-scheduler\n" },
	{ "kube-public/system:controller:bootstrap-signer",
		"core configmaps " READ "\ncore configmaps update cluster-info\n" EVENTS },
	{ NULL },
};

/* Controllers' roles are bound to the ServiceAccount of their name; these are the others. */
const struct boot_binding boot_bindings[] = {
	{ "cluster-admin", "cluster-admin", "Group", "system:masters" },
	{ "system:discovery", "system:discovery", "Group", "system:authenticated" },
	{ "system:basic-user", "system:basic-user", "Group", "system:authenticated" },
	{ "system:public-info-viewer", "system:public-info-viewer", "Group",
		"system:authenticated,system:unauthenticated" },
	{ "system:monitoring", "system:monitoring", "Group", "system:monitoring" },
	{ "system:service-account-issuer-discovery", "system:service-account-issuer-discovery", "Group",
		"system:serviceaccounts" },
	{ "system:node", "system:node", "Group", "" }, /* nobody's: node_authz.c decides */
	{ "system:node-proxier", "system:node-proxier", "User", "system:kube-proxy" },
	{ "system:kube-controller-manager", "system:kube-controller-manager", "User",
		"system:kube-controller-manager" },
	{ "system:kube-scheduler", "system:kube-scheduler", "User", "system:kube-scheduler" },
	{ "system:volume-scheduler", "system:volume-scheduler", "User", "system:kube-scheduler" },
	{ "system:kube-dns", "system:kube-dns", "ServiceAccount", "kube-system:kube-dns" },
	{ "kogge:node-bootstrappers", "system:node-bootstrapper", "Group", "system:bootstrappers" },
	{ "kogge:node-autoapprove-bootstrap", "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
		"Group", "system:bootstrappers" },
	{ "kogge:node-autoapprove-certificate-rotation",
		"system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "Group", "system:nodes" },
	{ NULL },
};

/* The kinds with columns of their own: `columns_X` and `cells_X`, in cells_*.c. */
#pragma once
#include "api/api_internal.h"

/* A column that is always shown, one of -o wide, and the age. */
/* clang-format off */
#define S(name, help) { name, "string", "", 0, help }
#define W(name, help) { name, "string", "", 1, help }
#define AGE S("Age", "Time since it was created.")

#define CELL_KINDS(X) \
	X(pod) X(deployment) X(statefulset) X(replicaset) X(controllerrevision) X(daemonset) X(job) \
	X(cronjob) X(service) X(ingress) X(ingressclass) X(endpoints) X(slice) X(node) X(event) \
	X(event_new) X(namespace) X(secret) X(configmap) X(sa) X(pv) X(pvc) X(hpa) X(pdb) X(netpol) \
	X(quota) X(priorityclass) X(rolebinding) X(created) X(csr) X(lease) X(component) X(podtemplate) \
	X(storageclass) X(vac) X(volumeattachment) X(csidriver) X(csinode) X(csicapacity) X(webhooks) \
	X(vap) X(vapbinding) X(flowschema) X(plc) X(runtimeclass) X(servicecidr) X(ipaddress) X(claim) \
	X(slice_dra) X(componentstatus) X(apiservice)
/* clang-format on */

#define CELL_DECLARE(x)                           \
	extern const struct column columns_##x[]; \
	void cells_##x(struct cells *c, struct val object);
CELL_KINDS(CELL_DECLARE)
#undef CELL_DECLARE

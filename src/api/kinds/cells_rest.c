/* Rows of storage, networking, policy, RBAC and the other groups. */
#include "api/kinds/cells.h"
#include <stdio.h>

#define HPA_METRICS_SHOWN 2

#define COLUMNS(x, ...) const struct column columns_##x[] = { __VA_ARGS__, {} };

COLUMNS(pv, S("Capacity", "Its size."), S("Access Modes", "How it may be mounted."),
	S("Reclaim Policy", "What happens when it is released."), S("Status", "Its state."), S("Claim", "Who has it."),
	S("StorageClass", "Its class."), S("VolumeAttributesClass", "Its attributes."),
	S("Reason", "Why it is in that state."), AGE, W("VolumeMode", "Filesystem or Block."))
COLUMNS(pvc, S("Status", "Its state."), S("Volume", "What it got."), S("Capacity", "How much it got."),
	S("Access Modes", "How it may be mounted."), S("StorageClass", "Its class."),
	S("VolumeAttributesClass", "Its attributes."), AGE, W("VolumeMode", "Filesystem or Block."))
COLUMNS(hpa, S("Reference", "What it scales."), S("Targets", "Now and wished."), S("MinPods", "Fewest."),
	S("MaxPods", "Most."), S("Replicas", "Now."), AGE)
COLUMNS(pdb, S("Min Available", "Pods that must stay."), S("Max Unavailable", "Pods that may be away."),
	{ "Allowed Disruptions", "integer", "", 0, "Pods that may go now." }, AGE)
COLUMNS(netpol, S("Pod-Selector", "Which pods it is for."), AGE)
COLUMNS(quota, S("Request", "Requests used and allowed."), S("Limit", "Limits used and allowed."), AGE)
COLUMNS(priorityclass, { "Value", "integer", "", 0, "Higher goes first." },
	{ "Global-Default", "boolean", "", 0, "For pods that name none." }, AGE,
	S("PreemptionPolicy", "Whether others must leave."))
COLUMNS(rolebinding, S("Role", "What is granted."), AGE, W("Users", "To whom."), W("Groups", "To which groups."),
	W("ServiceAccounts", "To which service accounts."))
COLUMNS(csr, AGE, S("SignerName", "Who should sign."), S("Requestor", "Who asks."),
	S("RequestedDuration", "For how long."), S("Condition", "How far it is."))
COLUMNS(component, S("Status", "Whether it is healthy."), S("Message", "What it says."), S("Error", "What went wrong."))
COLUMNS(lease, S("Holder", "Who has it."), AGE)
COLUMNS(storageclass, { "Name", "string", "name", 0, "Its name, and whether it is the default." },
	S("Provisioner", "Who makes volumes."), S("ReclaimPolicy", "What happens to released volumes."),
	S("VolumeBindingMode", "When volumes are made."),
	{ "AllowVolumeExpansion", "boolean", "", 0, "Whether they may grow." }, AGE)
COLUMNS(vac, S("DriverName", "Whose attributes."), AGE)
COLUMNS(volumeattachment, S("Attacher", "Who attaches."), S("PV", "What."), S("Node", "Where."),
	S("Attached", "Whether it is."), AGE)
COLUMNS(csidriver, S("AttachRequired", "Whether volumes are attached."), S("PodInfoOnMount", "Whether pods are named."),
	S("StorageCapacity", "Whether capacity is published."), S("TokenRequests", "Tokens it wants."),
	S("RequiresRepublish", "Whether mounts are repeated."), S("Modes", "Life cycles."), AGE)
COLUMNS(csinode, { "Drivers", "integer", "", 0, "Number of drivers." }, AGE)
COLUMNS(csicapacity, S("StorageClassName", "For which class."), S("Capacity", "How much is left."))
COLUMNS(webhooks, { "Webhooks", "integer", "", 0, "Number of webhooks." }, AGE)
COLUMNS(vap, { "Validations", "integer", "", 0, "Number of rules." }, S("ParamKind", "Kind of its parameters."), AGE)
COLUMNS(vapbinding, S("PolicyName", "Which policy."), S("ParamRef", "Which parameters."), AGE)
COLUMNS(flowschema, S("PriorityLevel", "Its level."),
	{ "MatchingPrecedence", "integer", "", 0, "Lower is looked at first." },
	S("DistinguisherMethod", "How flows are told apart."), AGE, S("MissingPL", "Whether its level is missing."))
COLUMNS(plc, S("Type", "Limited or Exempt."), S("NominalConcurrencyShares", "Its share."),
	S("Queues", "Number of queues."), S("HandSize", "Queues a flow may use."),
	S("QueueLengthLimit", "Length of a queue."), AGE)
COLUMNS(runtimeclass, S("Handler", "Name of the runtime's handler."), AGE)
COLUMNS(servicecidr, S("CIDRs", "Networks."), AGE)
COLUMNS(ipaddress, S("ParentRef", "Whose address it is."))
COLUMNS(claim, S("State", "How far it is."), AGE)
COLUMNS(slice_dra, S("Node", "Where."), S("Driver", "Whose."), S("Pool", "Which pool."), AGE)
COLUMNS(ingress, S("Class", "Who serves it."), S("Hosts", "Names."), S("Address", "Where."), S("Ports", "Ports."), AGE)
COLUMNS(ingressclass, S("Controller", "Who serves it."), S("Parameters", "Its parameters."), AGE)
COLUMNS(componentstatus, S("Status", "State."), S("Message", "Message."), S("Error", "Error."))

static void modes(struct cells *c, struct val list)
{
	static const char *const names[][2] = { { "ReadWriteOnce", "RWO" }, { "ReadOnlyMany", "ROX" },
		{ "ReadWriteMany", "RWX" }, { "ReadWriteOncePod", "RWOP" } };
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		for (struct val_iter it = val_iter(list); val_next(&it);)
			if (val_is(it.val, names[i][0])) {
				buf_printf(&b, "%s%s", b.n ? "," : "", names[i][1]);
				break;
			}
	cell_str(c, buf_view(&b));
	buf_fini(&b);
}

static struct str text(struct val o, const char *path)
{
	return val_str(val_path(o, path));
}

static void text_or(struct cells *c, struct val o, const char *path, const char *otherwise)
{
	struct str s = text(o, path);

	cell_str(c, s.n ? s : str_c(otherwise));
}

static void yes_no(struct cells *c, struct val v)
{
	cell_c(c, val_bool(v, false) ? "true" : "false");
}

static void json_bool(struct cells *c, struct val v)
{
	if (c->n++)
		buf_byte(c->out, ',');
	buf_c(c->out, val_bool(v, false) ? "true" : "false");
}

void cells_pv(struct cells *c, struct val o)
{
	struct val claim = val_path(o, "spec.claimRef");

	cell_str(c, text(o, "spec.capacity.storage"));
	modes(c, val_path(o, "spec.accessModes"));
	cell_str(c, text(o, "spec.persistentVolumeReclaimPolicy"));
	cell_str(c, val_has(val_path(o, "metadata.deletionTimestamp")) ? STR("Terminating") : text(o, "status.phase"));
	if (val_has(claim))
		cell_f(c, "%.*s/%.*s", STR_ARG(val_str(val_get(claim, "namespace"))),
			STR_ARG(val_str(val_get(claim, "name"))));
	else
		cell_c(c, "");
	cell_str(c, text(o, "spec.storageClassName"));
	text_or(c, o, "spec.volumeAttributesClassName", "<unset>");
	cell_str(c, text(o, "status.reason"));
	cell_created(c);
	text_or(c, o, "spec.volumeMode", "<unset>");
}

void cells_pvc(struct cells *c, struct val o)
{
	bool bound = text(o, "spec.volumeName").n > 0;

	cell_str(c, val_has(val_path(o, "metadata.deletionTimestamp")) ? STR("Terminating") : text(o, "status.phase"));
	cell_str(c, text(o, "spec.volumeName"));
	cell_str(c, bound ? text(o, "status.capacity.storage") : STR(""));
	if (bound)
		modes(c, val_path(o, "status.accessModes"));
	else
		cell_c(c, "");
	cell_str(c, text(o, "spec.storageClassName"));
	text_or(c, o, "spec.volumeAttributesClassName", "<unset>");
	cell_created(c);
	text_or(c, o, "spec.volumeMode", "<unset>");
}

/* What was measured for a metric of spec.metrics: of the same type and name. */
static struct val hpa_current(struct val measured, struct val metric, const char *source)
{
	for (struct val_iter it = val_iter(measured); val_next(&it);)
		if (val_equal(val_get(it.val, "type"), val_get(metric, "type")) &&
			val_equal(val_get(val_get(it.val, source), "name"), val_get(val_get(metric, source), "name")))
			return val_get(val_get(it.val, source), "current");
	return VAL_NONE;
}

/* "cpu: 12%/80%", "memory: 90Mi/100Mi" */
static void hpa_metric(struct buf *b, struct val measured, struct val metric)
{
	const char *source = val_is(val_get(metric, "type"), "ContainerResource") ? "containerResource" : "resource";
	struct val target = val_path(val_get(metric, source), "target"), is = hpa_current(measured, metric, source);
	struct val percent = val_get(target, "averageUtilization"), now = val_get(is, "averageUtilization");

	if (!val_has(target)) {
		buf_c(b, "<unknown>/<unknown>");
		return;
	}
	buf_printf(b, "%.*s: ", STR_ARG(val_str(val_get(val_get(metric, source), "name"))));
	if (val_has(percent) && val_has(now))
		buf_printf(b, "%lld%%/%lld%%", (long long)val_int(now, 0), (long long)val_int(percent, 0));
	else if (val_has(percent))
		buf_printf(b, "<unknown>/%lld%%", (long long)val_int(percent, 0));
	else
		buf_printf(b, "%.*s/%.*s",
			STR_ARG(val_has(is) ? val_str(val_get(is, "averageValue")) : STR("<unknown>")),
			STR_ARG(val_str(val_get(target, "averageValue"))));
}

void cells_hpa(struct cells *c, struct val o)
{
	struct val metrics = val_path(o, "spec.metrics"), now = val_path(o, "status.currentMetrics");
	struct buf b = BUF_INIT;

	cell_f(c, "%.*s/%.*s", STR_ARG(text(o, "spec.scaleTargetRef.kind")),
		STR_ARG(text(o, "spec.scaleTargetRef.name")));
	for (size_t i = 0; i < val_len(metrics) && i < HPA_METRICS_SHOWN; i++) {
		buf_c(&b, i ? ", " : "");
		hpa_metric(&b, now, val_at(metrics, i));
	}
	if (val_len(metrics) > HPA_METRICS_SHOWN)
		buf_printf(&b, " + %zu more...", val_len(metrics) - HPA_METRICS_SHOWN);
	cell_str(c, b.n ? buf_view(&b) : STR("<none>"));
	buf_fini(&b);
	cell_val(c, val_path(o, "spec.minReplicas"));
	cell_int(c, val_int(val_path(o, "spec.maxReplicas"), 0));
	cell_int(c, val_int(val_path(o, "status.currentReplicas"), 0));
	cell_created(c);
}

void cells_pdb(struct cells *c, struct val o)
{
	struct val least = val_path(o, "spec.minAvailable"), most = val_path(o, "spec.maxUnavailable");

	if (val_has(least))
		cell_val(c, least);
	else
		cell_c(c, "N/A");
	if (val_has(most))
		cell_val(c, most);
	else
		cell_c(c, "N/A");
	cell_int(c, val_int(val_path(o, "status.disruptionsAllowed"), 0));
	cell_created(c);
}

void cells_netpol(struct cells *c, struct val o)
{
	const struct selector *s;
	struct err e;
	struct str t = STR_NULL;

	err_init(&e);
	if (selector_of(c->a, val_path(o, "spec.podSelector"), &s, &e) >= 0)
		t = selector_text(c->a, s);
	cell_str(c, t.n ? t : STR("<none>"));
	cell_created(c);
}

void cells_quota(struct cells *c, struct val o)
{
	struct buf b[2] = { BUF_INIT, BUF_INIT };

	for (struct val_iter it = val_iter(val_path(o, "status.hard")); val_next(&it);) {
		struct buf *to = &b[str_starts(it.key, STR("limits"))];
		struct str used = val_str(val_get_str(val_path(o, "status.used"), it.key));
		buf_printf(to, "%s%.*s: %.*s/%.*s", to->n ? ", " : "", STR_ARG(it.key), STR_ARG(used),
			STR_ARG(val_str(it.val)));
	}
	cell_str(c, buf_view(&b[0]));
	cell_str(c, buf_view(&b[1]));
	buf_fini(&b[0]);
	buf_fini(&b[1]);
	cell_created(c);
}

void cells_priorityclass(struct cells *c, struct val o)
{
	cell_int(c, val_int(val_get(o, "value"), 0));
	json_bool(c, val_get(o, "globalDefault"));
	cell_created(c);
	cell_str(c, val_str(val_get(o, "preemptionPolicy")));
}

static void subjects(struct cells *c, struct val o, const char *kind)
{
	struct buf b = BUF_INIT;

	for (struct val_iter it = val_iter(val_get(o, "subjects")); val_next(&it);) {
		struct str ns = val_str(val_get(it.val, "namespace"));
		if (val_is(val_get(it.val, "kind"), kind))
			buf_printf(&b, "%s%.*s%s%.*s", b.n ? ", " : "", STR_ARG(ns), ns.n ? "/" : "",
				STR_ARG(val_str(val_get(it.val, "name"))));
	}
	cell_str(c, buf_view(&b));
	buf_fini(&b);
}

void cells_rolebinding(struct cells *c, struct val o)
{
	cell_f(c, "%.*s/%.*s", STR_ARG(text(o, "roleRef.kind")), STR_ARG(text(o, "roleRef.name")));
	cell_created(c);
	subjects(c, o, "User");
	subjects(c, o, "Group");
	subjects(c, o, "ServiceAccount");
}

void cells_csr(struct cells *c, struct val o)
{
	struct val conditions = val_path(o, "status.conditions"), seconds = val_path(o, "spec.expirationSeconds");
	bool approved = val_has(val_find(conditions, "type", STR("Approved")));
	bool denied = val_has(val_find(conditions, "type", STR("Denied"))),
	     failed = val_has(val_find(conditions, "type", STR("Failed")));
	char age[TIME_TEXT_MAX];

	cell_created(c);
	cell_val(c, val_path(o, "spec.signerName"));
	cell_str(c, text(o, "spec.username"));
	if (val_has(seconds)) {
		age_text(val_int(seconds, 0), age);
		cell_c(c, age);
	} else {
		cell_c(c, "<none>");
	}
	cell_f(c, "%s%s%s",
		denied           ? "Denied" :
			approved ? "Approved" :
				   "Pending",
		failed ? ",Failed" : "", text(o, "status.certificate").n ? ",Issued" : "");
}

void cells_component(struct cells *c, struct val o)
{
	struct val healthy = val_at(val_get(o, "conditions"), 0);

	cell_c(c, val_is(val_get(healthy, "status"), "True") ? "Healthy" : "Unhealthy");
	cell_str(c, text(healthy, "message"));
	cell_str(c, text(healthy, "error"));
}

void cells_lease(struct cells *c, struct val o)
{
	cell_str(c, text(o, "spec.holderIdentity"));
	cell_created(c);
}

void cells_storageclass(struct cells *c, struct val o)
{
	bool is_default = val_is(
		val_get(val_path(o, "metadata.annotations"), "storageclass.kubernetes.io/is-default-class"), "true");

	cell_f(c, "%.*s%s", STR_ARG(text(o, "metadata.name")), is_default ? " (default)" : "");
	cell_str(c, text(o, "provisioner"));
	text_or(c, o, "reclaimPolicy", "Delete");
	text_or(c, o, "volumeBindingMode", "Immediate");
	json_bool(c, val_get(o, "allowVolumeExpansion"));
	cell_created(c);
}

void cells_vac(struct cells *c, struct val o)
{
	cell_str(c, text(o, "driverName"));
	cell_created(c);
}

void cells_volumeattachment(struct cells *c, struct val o)
{
	cell_str(c, text(o, "spec.attacher"));
	cell_str(c, text(o, "spec.source.persistentVolumeName"));
	cell_str(c, text(o, "spec.nodeName"));
	yes_no(c, val_path(o, "status.attached"));
	cell_created(c);
}

void cells_csidriver(struct cells *c, struct val o)
{
	struct val spec = val_get(o, "spec"), list = val_get(spec, "volumeLifecycleModes");
	struct buf b = BUF_INIT;

	cell_c(c, val_bool(val_get(spec, "attachRequired"), true) ? "true" : "false");
	yes_no(c, val_get(spec, "podInfoOnMount"));
	yes_no(c, val_get(spec, "storageCapacity"));
	for (struct val_iter it = val_iter(val_get(spec, "tokenRequests")); val_next(&it);)
		buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(val_str(val_get(it.val, "audience"))));
	cell_str(c, b.n ? buf_view(&b) : STR("<unset>"));
	buf_reset(&b);
	yes_no(c, val_get(spec, "requiresRepublish"));
	for (struct val_iter it = val_iter(list); val_next(&it);)
		buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(val_str(it.val)));
	cell_str(c, b.n ? buf_view(&b) : STR("<none>"));
	buf_fini(&b);
	cell_created(c);
}

void cells_csinode(struct cells *c, struct val o)
{
	cell_int(c, (int64_t)val_len(val_path(o, "spec.drivers")));
	cell_created(c);
}

void cells_csicapacity(struct cells *c, struct val o)
{
	cell_str(c, text(o, "storageClassName"));
	cell_str(c, text(o, "capacity"));
}

void cells_webhooks(struct cells *c, struct val o)
{
	cell_int(c, (int64_t)val_len(val_get(o, "webhooks")));
	cell_created(c);
}

void cells_vap(struct cells *c, struct val o)
{
	struct val kind = val_path(o, "spec.paramKind");

	cell_int(c, (int64_t)val_len(val_path(o, "spec.validations")));
	if (val_has(kind))
		cell_f(c, "%.*s/%.*s", STR_ARG(val_str(val_get(kind, "apiVersion"))),
			STR_ARG(val_str(val_get(kind, "kind"))));
	else
		cell_c(c, "<unset>");
	cell_created(c);
}

void cells_vapbinding(struct cells *c, struct val o)
{
	cell_str(c, text(o, "spec.policyName"));
	text_or(c, o, "spec.paramRef.name", "<unset>");
	cell_created(c);
}

void cells_flowschema(struct cells *c, struct val o)
{
	struct val dangling = val_find(val_path(o, "status.conditions"), "type", STR("Dangling"));

	cell_str(c, text(o, "spec.priorityLevelConfiguration.name"));
	cell_int(c, val_int(val_path(o, "spec.matchingPrecedence"), 1000));
	text_or(c, o, "spec.distinguisherMethod.type", "<none>");
	cell_created(c);
	cell_str(c, val_has(dangling) ? val_str(val_get(dangling, "status")) : STR("?"));
}

void cells_plc(struct cells *c, struct val o)
{
	struct val queuing = val_path(o, "spec.limited.limitResponse.queuing"),
		   shares = val_path(o, "spec.limited.nominalConcurrencyShares");

	cell_str(c, text(o, "spec.type"));
	cell_val(c, shares);
	cell_val(c, val_get(queuing, "queues"));
	cell_val(c, val_get(queuing, "handSize"));
	cell_val(c, val_get(queuing, "queueLengthLimit"));
	cell_created(c);
}

void cells_runtimeclass(struct cells *c, struct val o)
{
	cell_str(c, val_str(val_get(o, "handler")));
	cell_created(c);
}

void cells_servicecidr(struct cells *c, struct val o)
{
	struct buf b = BUF_INIT;

	for (struct val_iter it = val_iter(val_path(o, "spec.cidrs")); val_next(&it);)
		buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(val_str(it.val)));
	cell_str(c, buf_view(&b));
	buf_fini(&b);
	cell_created(c);
}

void cells_ipaddress(struct cells *c, struct val o)
{
	struct val p = val_path(o, "spec.parentRef");

	cell_f(c, "%.*s/%.*s/%.*s", STR_ARG(val_str(val_get(p, "resource"))), STR_ARG(val_str(val_get(p, "namespace"))),
		STR_ARG(val_str(val_get(p, "name"))));
}

void cells_claim(struct cells *c, struct val o)
{
	bool allocated = val_has(val_path(o, "status.allocation")),
	     reserved = val_len(val_path(o, "status.reservedFor")) > 0;

	cell_f(c, "%s%s%s", val_has(val_path(o, "metadata.deletionTimestamp")) ? "deleted," : "",
		allocated ? "allocated" : "pending", reserved ? ",reserved" : "");
	cell_created(c);
}

void cells_slice_dra(struct cells *c, struct val o)
{
	cell_str(c, text(o, "spec.nodeName"));
	cell_str(c, text(o, "spec.driver"));
	cell_str(c, text(o, "spec.pool.name"));
	cell_created(c);
}

#define HOSTS_SHOWN 3

void cells_ingress(struct cells *c, struct val o)
{
	struct buf b = BUF_INIT;
	size_t n = 0;

	text_or(c, o, "spec.ingressClassName", "<none>");
	for (struct val_iter it = val_iter(val_path(o, "spec.rules")); val_next(&it);) {
		struct str host = val_str(val_get(it.val, "host"));
		if (host.n && n++ < HOSTS_SHOWN)
			buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(host));
	}
	if (n > HOSTS_SHOWN)
		buf_printf(&b, " + %zu more...", n - HOSTS_SHOWN);
	cell_str(c, b.n ? buf_view(&b) : STR("*"));
	buf_reset(&b);
	for (struct val_iter it = val_iter(val_path(o, "status.loadBalancer.ingress")); val_next(&it);) {
		struct str ip = val_str(val_get(it.val, "ip"));
		buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(ip.n ? ip : val_str(val_get(it.val, "hostname"))));
	}
	cell_str(c, buf_view(&b));
	buf_fini(&b);
	cell_c(c, val_len(val_path(o, "spec.tls")) ? "80, 443" : "80");
	cell_created(c);
}

void cells_ingressclass(struct cells *c, struct val o)
{
	struct val p = val_path(o, "spec.parameters");
	struct str group = val_str(val_get(p, "apiGroup"));

	cell_str(c, text(o, "spec.controller"));
	if (val_has(p))
		cell_f(c, "%.*s%s%.*s/%.*s", STR_ARG(val_str(val_get(p, "kind"))), group.n ? "." : "", STR_ARG(group),
			STR_ARG(val_str(val_get(p, "name"))));
	else
		cell_c(c, "<none>");
	cell_created(c);
}

void cells_componentstatus(struct cells *c, struct val o)
{
	struct val first = val_at(val_get(o, "conditions"), 0);

	cell_c(c, val_is(val_get(first, "status"), "True") ? "Healthy" : "Unhealthy");
	cell_str(c, val_str(val_get(first, "message")));
	cell_str(c, val_str(val_get(first, "error")));
}

/* Rows of the core kinds besides pods. */
#include "api/kinds/cells.h"
#include <stdio.h>

const struct column columns_service[] = { S("Type", "How it is reached."),
	S("Cluster-IP", "Its address inside the cluster."), S("External-IP", "Its address outside."),
	S("Port(s)", "Its ports."), AGE, W("Selector", "Which pods answer."), {} };
const struct column columns_endpoints[] = { S("Endpoints", "Addresses that answer."), AGE, {} };
const struct column columns_slice[] = { S("AddressType", "IPv4, IPv6 or FQDN."), S("Ports", "Ports."),
	S("Endpoints", "Addresses."), AGE, {} };
const struct column columns_node[] = { S("Status", "Whether it takes pods."), S("Roles", "What it is for."), AGE,
	S("Version", "Version of its agent."), W("Internal-IP", "Address inside."),
	W("External-IP", "Address outside."), W("OS-Image", "Operating system."), W("Kernel-Version", "Kernel."),
	W("Container-Runtime", "Runtime."), {} };
const struct column columns_event[] = { S("Last Seen", "When it last happened."), S("Type", "Normal or Warning."),
	S("Reason", "In one word."), S("Object", "What it is about."), W("Subobject", "Which part."),
	W("Source", "Who says so."), S("Message", "In a sentence."), W("First Seen", "When it first happened."),
	W("Count", "How often."), W("Name", "Name of the event."), {} };
const struct column columns_event_new[] = { S("Last Seen", "When it last happened."), S("Type", "Normal or Warning."),
	S("Reason", "In one word."), S("Object", "What it is about."), W("Subobject", "Which part."),
	W("Source", "Who says so."), S("Message", "In a sentence."), W("First Seen", "When it first happened."),
	W("Count", "How often."), W("Name", "Name of the event."), {} };
const struct column columns_namespace[] = { S("Status", "Active or Terminating."), AGE, {} };
const struct column columns_secret[] = { S("Type", "What it holds."), { "Data", "integer", "", 0, "Number of keys." },
	AGE, {} };
const struct column columns_configmap[] = { { "Data", "integer", "", 0, "Number of keys." }, AGE, {} };
const struct column columns_sa[] = { { "Secrets", "integer", "", 0, "Number of secrets." }, AGE, {} };
const struct column columns_created[] = { S("Created At", "When it was created."), {} };

/* ---- services -------------------------------------------------------------------------------- */

static void external_ip(struct cells *c, struct val o)
{
	struct str type = val_str(val_path(o, "spec.type"));
	struct val ingress = val_path(o, "status.loadBalancer.ingress"), extra = val_path(o, "spec.externalIPs");
	struct buf b = BUF_INIT;

	if (str_is(type, "ExternalName")) {
		cell_val(c, val_path(o, "spec.externalName"));
		return;
	}
	if (str_is(type, "LoadBalancer"))
		for (struct val_iter it = val_iter(ingress); val_next(&it);) {
			struct str ip = val_str(val_get(it.val, "ip"));
			buf_printf(&b, "%s%.*s", b.n ? "," : "",
				STR_ARG(ip.n ? ip : val_str(val_get(it.val, "hostname"))));
		}
	for (struct val_iter it = val_iter(extra); val_next(&it);)
		buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(val_str(it.val)));
	if (b.n)
		cell_str(c, buf_view(&b));
	else
		cell_c(c, str_is(type, "LoadBalancer") ? "<pending>" : "<none>");
	buf_fini(&b);
}

void cells_service(struct cells *c, struct val o)
{
	struct buf b = BUF_INIT;

	cell_val(c, val_path(o, "spec.type"));
	cell_val(c, val_path(o, "spec.clusterIP"));
	external_ip(c, o);
	for (struct val_iter it = val_iter(val_path(o, "spec.ports")); val_next(&it);) {
		int64_t node = val_int(val_get(it.val, "nodePort"), 0);
		struct str proto = val_str(val_get(it.val, "protocol"));
		buf_printf(&b, "%s%lld", b.n ? "," : "", (long long)val_int(val_get(it.val, "port"), 0));
		if (node)
			buf_printf(&b, ":%lld", (long long)node);
		buf_printf(&b, "/%.*s", STR_ARG(proto));
	}
	cell_str(c, b.n ? buf_view(&b) : STR("<none>"));
	buf_fini(&b);
	cell_created(c);
	b = BUF_INIT;
	for (struct val_iter it = val_iter(val_path(o, "spec.selector")); val_next(&it);)
		buf_printf(&b, "%s%.*s=%.*s", b.n ? "," : "", STR_ARG(it.key), STR_ARG(val_str(it.val)));
	cell_str(c, b.n ? buf_view(&b) : STR("<none>"));
	buf_fini(&b);
}

#define ENDPOINTS_SHOWN 3

void cells_endpoints(struct cells *c, struct val o)
{
	struct buf b = BUF_INIT;
	size_t n = 0;

	for (struct val_iter s = val_iter(val_get(o, "subsets")); val_next(&s);) {
		struct val ports = val_get(s.val, "ports");
		for (size_t p = 0; p < MAX(val_len(ports), (size_t)1); p++)
			for (struct val_iter a = val_iter(val_get(s.val, "addresses")); val_next(&a);) {
				struct str ip = val_str(val_get(a.val, "ip"));
				if (n++ >= ENDPOINTS_SHOWN)
					continue;
				bool v6 = str_has(ip, STR(":"));
				buf_printf(&b, "%s%s%.*s%s", b.n ? "," : "", v6 ? "[" : "", STR_ARG(ip), v6 ? "]" : "");
				if (val_len(ports))
					buf_printf(
						&b, ":%lld", (long long)val_int(val_get(val_at(ports, p), "port"), 0));
			}
	}
	if (n > ENDPOINTS_SHOWN)
		buf_printf(&b, " + %zu more...", n - ENDPOINTS_SHOWN);
	cell_str(c, b.n ? buf_view(&b) : STR("<none>"));
	buf_fini(&b);
	cell_created(c);
}

static void some(struct cells *c, struct buf *b, size_t n)
{
	if (n > ENDPOINTS_SHOWN)
		buf_printf(b, " + %zu more...", n - ENDPOINTS_SHOWN);
	cell_str(c, b->n ? buf_view(b) : STR("<unset>"));
	buf_fini(b);
	*b = BUF_INIT;
}

void cells_slice(struct cells *c, struct val o)
{
	struct buf b = BUF_INIT;
	size_t n = 0;

	cell_val(c, val_get(o, "addressType"));
	for (struct val_iter it = val_iter(val_get(o, "ports")); val_next(&it);)
		if (n++ < ENDPOINTS_SHOWN)
			buf_printf(&b, "%s%lld", b.n ? "," : "", (long long)val_int(val_get(it.val, "port"), 0));
	some(c, &b, n);
	n = 0;
	for (struct val_iter it = val_iter(val_get(o, "endpoints")); val_next(&it);)
		for (struct val_iter a = val_iter(val_get(it.val, "addresses")); val_next(&a);)
			if (n++ < ENDPOINTS_SHOWN)
				buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(val_str(a.val)));
	some(c, &b, n);
	cell_created(c);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void roles(struct cells *c, struct val o)
{
	struct buf b = BUF_INIT;
	struct str prefix = STR("node-role.kubernetes.io/");

	for (struct val_iter it = val_iter(val_path(o, "metadata.labels")); val_next(&it);) {
		struct str role = STR_NULL;
		if (str_starts(it.key, prefix))
			role = str_sub(it.key, prefix.n, it.key.n);
		else if (str_is(it.key, "kubernetes.io/role"))
			role = val_str(it.val);
		if (role.n)
			buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(role));
	}
	cell_str(c, b.n ? buf_view(&b) : STR("<none>"));
	buf_fini(&b);
}

static void address(struct cells *c, struct val o, const char *type)
{
	struct val a = val_find(val_path(o, "status.addresses"), "type", str_c(type));

	cell_val(c, val_get(a, "address"));
}

static void info(struct cells *c, struct val o, const char *path)
{
	struct str s = val_str(val_path(o, path));

	cell_str(c, s.n ? s : STR("<unknown>"));
}

void cells_node(struct cells *c, struct val o)
{
	struct val ready = val_find(val_path(o, "status.conditions"), "type", STR("Ready"));
	const char *status = !val_has(ready)             ? "Unknown" :
		val_is(val_get(ready, "status"), "True") ? "Ready" :
							   "NotReady";

	cell_f(c, "%s%s", status, val_bool(val_path(o, "spec.unschedulable"), false) ? ",SchedulingDisabled" : "");
	roles(c, o);
	cell_created(c);
	cell_str(c, val_str(val_path(o, "status.nodeInfo.kubeletVersion")));
	address(c, o, "InternalIP");
	address(c, o, "ExternalIP");
	info(c, o, "status.nodeInfo.osImage");
	info(c, o, "status.nodeInfo.kernelVersion");
	info(c, o, "status.nodeInfo.containerRuntimeVersion");
}

/* ---- events ---------------------------------------------------------------------------------- */

struct event_names {
	const char *about, *message, *source, *first, *last, *count, *reporter;
};

static struct val first_of(struct val a, struct val b, struct val c)
{
	if (val_str(a).n)
		return a;
	return val_str(b).n ? b : c;
}

static void event_cells(struct cells *c, struct val o, const struct event_names *n)
{
	struct val about = val_get(o, n->about), source = val_get(o, n->source), series = val_get(o, "series");
	struct val created = val_path(o, "metadata.creationTimestamp"), event_time = val_get(o, "eventTime");
	struct val first = first_of(val_get(o, n->first), event_time, created);
	struct val last = first_of(val_get(series, "lastObservedTime"), val_get(o, n->last), first);
	struct str kind = val_str(val_get(about, "kind")), message = str_trim(val_str(val_get(o, n->message)));
	struct str component = val_str(val_get(source, "component")), host = val_str(val_get(source, "host"));
	int64_t count = val_int(val_get(series, "count"), val_int(val_get(o, n->count), 1));
	char low[128];
	size_t k = 0;

	for (; k < kind.n && k < sizeof(low) - 1; k++)
		low[k] = (char)(kind.p[k] >= 'A' && kind.p[k] <= 'Z' ? kind.p[k] + 32 : kind.p[k]);
	low[k] = 0;
	cell_age(c, last);
	cell_str(c, val_str(val_get(o, "type")));
	cell_str(c, val_str(val_get(o, "reason")));
	cell_f(c, "%s/%.*s", low, STR_ARG(val_str(val_get(about, "name"))));
	cell_str(c, val_str(val_get(about, "fieldPath")));
	if (!component.n)
		component = val_str(val_get(o, n->reporter));
	cell_f(c, "%.*s%s%.*s", STR_ARG(component), host.n ? ", " : "", STR_ARG(host));
	cell_str(c, message);
	cell_age(c, first);
	cell_int(c, count ? count : 1);
	cell_str(c, val_str(val_path(o, "metadata.name")));
}

void cells_event(struct cells *c, struct val o)
{
	static const struct event_names names = { "involvedObject", "message", "source", "firstTimestamp",
		"lastTimestamp", "count", "reportingComponent" };

	event_cells(c, o, &names);
}

void cells_event_new(struct cells *c, struct val o)
{
	static const struct event_names names = { "regarding", "note", "deprecatedSource", "deprecatedFirstTimestamp",
		"deprecatedLastTimestamp", "deprecatedCount", "reportingController" };

	event_cells(c, o, &names);
}

/* ---- the short ones -------------------------------------------------------------------------- */

void cells_namespace(struct cells *c, struct val o)
{
	cell_str(c, val_str(val_path(o, "status.phase")));
	cell_created(c);
}

void cells_secret(struct cells *c, struct val o)
{
	cell_str(c, val_str(val_get(o, "type")));
	cell_int(c, (int64_t)val_len(val_get(o, "data")));
	cell_created(c);
}

void cells_configmap(struct cells *c, struct val o)
{
	cell_int(c, (int64_t)(val_len(val_get(o, "data")) + val_len(val_get(o, "binaryData"))));
	cell_created(c);
}

void cells_sa(struct cells *c, struct val o)
{
	cell_int(c, (int64_t)val_len(val_get(o, "secrets")));
	cell_created(c);
}

void cells_created(struct cells *c, struct val o)
{
	cell_str(c, val_str(val_path(o, "metadata.creationTimestamp")));
}

/* What this node cannot honour keeps a pod from starting: better no pod than one with less isolation than it asked for.
 * Some findings are for good (the pod fails), others leave it waiting: the pod says why, and an Event does. */
#include "node/node_internal.h"
#include <stdio.h>

#define LOG_MODULE "node"

struct admission {
	struct node_agent *n;
	struct doc *d;
	struct val spec;
	struct arena *a;
};

static const char *const lists[] = { "initContainers", "containers", "ephemeralContainers" };

/* ---- for good -------------------------------------------------------------------------------- */

static const char *other_os(struct admission *m)
{
	struct str os = val_str(val_path(m->spec, "os.name"));

	return str_empty(os) || str_is(os, "linux") ? NULL :
						      "Failed to admit pod as the OS field doesn't match node OS";
}

/* Those that a pod can set for itself without harm to others. */
static const char *const safe_sysctls[] = { "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range",
	"net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem" };

static bool sysctl_safe(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(safe_sysctls); i++)
		if (str_is(name, safe_sysctls[i]))
			return true;
	return false;
}

static const char *sysctls(struct admission *m)
{
	for (struct val_iter it = val_iter(val_path(m->spec, "securityContext.sysctls")); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name"));
		char *plain = arena_cstr(m->a, name);
		for (char *c = plain; *c; c++) /* net/ipv4/… is another way to write it */
			*c = *c == '/' ? '.' : *c;
		if (!sysctl_safe(str_c(plain)))
			return arena_printf(m->a, "forbidden sysctl: \"%s\" not allowlisted", plain);
		if (pod_host_network(m->spec) && strncmp(plain, "net.", 4) == 0)
			return arena_printf(m->a, "forbidden sysctl: \"%s\" not allowed with host net enabled", plain);
		if (val_bool(val_get(m->spec, "hostIPC"), false) && strncmp(plain, "kernel.shm", 10) == 0)
			return arena_printf(m->a, "forbidden sysctl: \"%s\" not allowed with host ipc enabled", plain);
	}
	return NULL;
}

static bool apparmor_on(void)
{
	char c = 'N';
	FILE *f = fopen("/sys/module/apparmor/parameters/enabled", "re");

	if (!f)
		return false;
	if (fread(&c, 1, 1, f) != 1)
		c = 'N';
	(void)fclose(f);
	return c == 'Y';
}

static bool confines(struct val security)
{
	struct str type = val_str(val_path(security, "appArmorProfile.type"));

	return !str_empty(type) && !str_is(type, "Unconfined");
}

static bool wants_apparmor(struct admission *m)
{
	for (struct val_iter it = val_iter(doc_get(m->d, "metadata.annotations"));
		val_next(&it);) /* as it was written before 1.30 */
		if (str_starts(it.key, STR("container.apparmor.security.beta.kubernetes.io/")) &&
			!val_is(it.val, "unconfined"))
			return true;
	if (confines(val_get(m->spec, "securityContext")))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (struct val_iter it = val_iter(val_get(m->spec, lists[i])); val_next(&it);)
			if (confines(val_get(it.val, "securityContext")))
				return true;
	return false;
}

static const char *apparmor(struct admission *m)
{
	return wants_apparmor(m) && !apparmor_on() ? "Cannot enforce AppArmor: AppArmor is not enabled on the host" :
						     NULL;
}

static const char *groups_policy(struct admission *m)
{
	return val_is(val_path(m->spec, "securityContext.supplementalGroupsPolicy"), "Strict") ?
		"SupplementalGroupsPolicy=Strict is not supported by this container runtime" :
		NULL;
}

/* A pod may come here past the scheduler: whoever has the port keeps it. */
static bool ports_clash(struct val a, struct val b)
{
	struct str x = val_str(val_get(a, "hostIP")), y = val_str(val_get(b, "hostIP")), any = STR("0.0.0.0");
	int64_t port = val_int(val_get(a, "hostPort"), 0);

	x = x.n ? x : any;
	y = y.n ? y : any;
	return port && port == val_int(val_get(b, "hostPort"), 0) &&
		val_equal(val_get(a, "protocol"), val_get(b, "protocol")) &&
		(str_eq(x, any) || str_eq(y, any) || str_eq(x, y));
}

static bool specs_clash(struct val a, struct val b)
{
	for (struct val_iter c = val_iter(val_get(a, "containers")); val_next(&c);)
		for (struct val_iter p = val_iter(val_get(c.val, "ports")); val_next(&p);)
			for (struct val_iter d = val_iter(val_get(b, "containers"));
				val_int(val_get(p.val, "hostPort"), 0) && val_next(&d);)
				for (struct val_iter q = val_iter(val_get(d.val, "ports")); val_next(&q);)
					if (ports_clash(p.val, q.val))
						return true;
	return false;
}

static const char *host_ports(struct admission *m)
{
	bool clash = false;
	void *value;

	task_lock(&m->n->lock);
	for (size_t i = 0; !clash && map_next(m->n->pods, &i, NULL, &value);) {
		struct pod *other = value;

		clash = other->admitted && !other->gone && !str_eq(doc_uid(other->doc), doc_uid(m->d)) &&
			!pod_is_over(other->doc) && specs_clash(m->spec, doc_get(other->doc, "spec"));
	}
	task_unlock(&m->n->lock);
	return clash ?
		"Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports" :
		NULL;
}

static const char *pressure(struct admission *m)
{
	bool memory, disk;

	task_lock(&m->n->lock);
	memory = m->n->short_of_memory && strcmp(pod_qos(m->spec), "BestEffort") == 0;
	disk = m->n->short_of_disk;
	task_unlock(&m->n->lock);
	if (!memory && !disk)
		return NULL;
	return memory ? "The node had condition: [MemoryPressure]. " : "The node had condition: [DiskPressure]. ";
}

/* ---- not here, or not yet -------------------------------------------------------------------- */

static const char *host_users(struct admission *m)
{
	return val_bool(val_get(m->spec, "hostUsers"), true) ?
		NULL :
		"spec.hostUsers: user namespaces are not supported by this container runtime";
}

static const char *claims(struct admission *m)
{
	return val_len(val_get(m->spec, "resourceClaims")) ?
		"spec.resourceClaims: dynamic resource allocation is not supported" :
		NULL;
}

static const char *kind_of(struct val volume, struct arena *a)
{
	for (struct val_iter it = val_iter(volume); val_next(&it);)
		if (!str_is(it.key, "name"))
			return arena_cstr(a, it.key);
	return "?";
}

static bool supported(struct val v)
{
	static const char *const kinds[] = { "emptyDir", "hostPath", "configMap", "secret", "projected", "downwardAPI",
		"persistentVolumeClaim", "ephemeral" };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (val_has(val_get(v, kinds[i])))
			return true;
	return val_len(v) == 1; /* only a name: an emptyDir before defaulting */
}

static const char *volumes(struct admission *m)
{
	for (struct val_iter it = val_iter(val_get(m->spec, "volumes")); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name")),
			   medium = val_str(val_path(it.val, "emptyDir.medium"));
		if (!supported(it.val))
			return arena_printf(m->a, "volume \"%.*s\": type %s is not supported", STR_ARG(name),
				kind_of(it.val, m->a));
		if (!str_empty(medium) && !str_is(medium, "Memory"))
			return arena_printf(m->a, "volume \"%.*s\": an emptyDir on medium %.*s is not supported",
				STR_ARG(name), STR_ARG(medium));
	}
	return NULL;
}

static const char *containers(struct admission *m)
{
	size_t total = 0;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		for (struct val_iter it = val_iter(val_get(m->spec, lists[i])); val_next(&it);) {
			struct str name = val_str(val_get(it.val, "name"));
			total++;
			if (val_len(val_get(it.val, "volumeDevices")))
				return arena_printf(m->a,
					"container \"%.*s\": volumeDevices (raw block volumes) are not supported",
					STR_ARG(name));
			if (val_bool(val_path(it.val, "securityContext.windowsOptions.hostProcess"), false))
				return arena_printf(m->a,
					"container \"%.*s\": windowsOptions.hostProcess is for Windows", STR_ARG(name));
		}
	}
	return total > POD_CONTAINERS_MAX ?
		arena_printf(m->a, "%zu containers; at most %d are supported", total, POD_CONTAINERS_MAX) :
		NULL;
}

static const struct check {
	const char *reason; /* NULL: the pod waits */
	const char *(*look)(struct admission *m);
} checks[] = {
	{ "PodOSNotSupported", other_os },
	{ "SysctlForbidden", sysctls },
	{ "AppArmor", apparmor },
	{ "SupplementalGroupsPolicyNotSupported", groups_policy },
	{ "NodePorts", host_ports },
	{ "Evicted", pressure },
	{ NULL, host_users },
	{ NULL, claims },
	{ NULL, volumes },
	{ NULL, containers },
};

bool pod_admit(struct node_agent *n, struct doc *d, const char **ret_reason, char **ret_why)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct admission m = { .n = n, .d = d, .spec = doc_get(d, "spec"), .a = a };

	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		const char *why = checks[i].look(&m);
		if (!why)
			continue;
		*ret_reason = checks[i].reason;
		*ret_why = xstrdup(why);
		return false;
	}
	return true;
}

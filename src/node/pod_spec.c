/* From a pod's document to what the runtime is told: sandbox and container configuration. */
#include "node/node_internal.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define NS_POD 0
#define NS_CONTAINER 1
#define NS_NODE 2
#define NS_TARGET 3
#define HOSTNAME_MAX 63

bool pod_host_network(struct val spec)
{
	return val_bool(val_get(spec, "hostNetwork"), false);
}

char *pod_dir(const struct pod *p, const char *sub)
{
	return xasprintf("%s/pods/%s%s%s", p->n->o.data_dir, p->uid, sub ? "/" : "", sub ? sub : "");
}

char *pod_log_dir(const struct pod *p)
{
	return xasprintf("%s/%s_%s_%s", node_log_dir(p->n), p->ns, p->name, p->uid);
}

/* ---- quality of service: from requests and limits alone -------------------------------------- */

static void qos_one(struct val container, bool *any, bool *guaranteed)
{
	static const char *const kinds[] = { "cpu", "memory" };
	struct val limits = val_path(container, "resources.limits"),
		   requests = val_path(container, "resources.requests");

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct quantity l = { 0 }, r = { 0 };
		bool has_l = quantity_of(val_get(limits, kinds[i]), &l) && l.value;
		bool has_r = quantity_of(val_get(requests, kinds[i]), &r) && r.value;
		*any |= has_l || has_r;
		if (!has_l || (has_r && quantity_cmp(l, r) != 0))
			*guaranteed = false;
	}
}

const char *pod_qos(struct val spec)
{
	bool any = false, guaranteed = true;

	qos_one(spec, &any, &guaranteed); /* given to the pod as a whole: then that decides */
	if (any)
		return guaranteed ? "Guaranteed" : "Burstable";
	guaranteed = true;
	for (struct val_iter it = val_iter(val_get(spec, "initContainers")); val_next(&it);)
		qos_one(it.val, &any, &guaranteed);
	for (struct val_iter it = val_iter(val_get(spec, "containers")); val_next(&it);)
		qos_one(it.val, &any, &guaranteed);
	if (!any)
		return "BestEffort";
	return guaranteed ? "Guaranteed" : "Burstable";
}

/* ---- names and DNS --------------------------------------------------------------------------- */

static void push_str(struct arena *a, char ***list, size_t *n, struct str s)
{
	for (size_t i = 0; i < *n; i++)
		if (str_is(s, (*list)[i]))
			return;
	cri_push(a, list, n, arena_cstr(a, s));
}

/* The host's resolver, for dnsPolicy Default and as the tail of the search list. The first file without loopback
 * addresses. */
static void host_resolver(struct arena *a, Cri__DnsConfig *dns, bool with_servers)
{
	static const char *const files[] = { "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf" };
	char line[1024];

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		FILE *f = fopen(files[i], "re");
		size_t servers = 0, loopback = 0;
		if (!f)
			continue;
		while (fgets(line, sizeof(line), f)) {
			struct str word, rest = str_cut(str_trim(str_c(line)), ' ', &word), part;
			if (str_is(word, "nameserver")) {
				rest = str_trim(rest);
				if (str_starts(rest, STR("127.")) || str_is(rest, "::1")) {
					loopback++;
					continue;
				}
				servers++;
				if (with_servers)
					push_str(a, &dns->servers, &dns->n_servers, rest);
			} else if (str_is(word, "search")) {
				while (str_next(&rest, ' ', &part))
					if (!str_empty(part))
						push_str(a, &dns->searches, &dns->n_searches, part);
			} else if (str_is(word, "options") && with_servers) {
				while (str_next(&rest, ' ', &part))
					if (!str_empty(part))
						push_str(a, &dns->options, &dns->n_options, part);
			}
		}
		(void)fclose(f);
		if (servers || !loopback)
			return;
	}
}

static void cluster_resolver(struct node_agent *n, struct str ns, struct arena *a, Cri__DnsConfig *dns)
{
	const char *domain = n->o.cluster_domain ? n->o.cluster_domain : "cluster.local";

	for (size_t i = 0; i < n->o.n_cluster_dns; i++)
		push_str(a, &dns->servers, &dns->n_servers, str_c(n->o.cluster_dns[i]));
	push_str(a, &dns->searches, &dns->n_searches, arena_strf(a, "%.*s.svc.%s", STR_ARG(ns), domain));
	push_str(a, &dns->searches, &dns->n_searches, arena_strf(a, "svc.%s", domain));
	push_str(a, &dns->searches, &dns->n_searches, str_c(domain));
	host_resolver(a, dns, false);
	push_str(a, &dns->options, &dns->n_options, STR("ndots:5"));
}

/* An option given twice: the later one counts. The list only shrinks, so cri_push() finds room as it expects. */
static void own_option(struct arena *a, Cri__DnsConfig *dns, struct val option)
{
	struct str name = val_str(val_get(option, "name")), head;
	struct val value = val_get(option, "value");
	size_t kept = 0;

	for (size_t i = 0; i < dns->n_options; i++) {
		(void)str_cut(str_c(dns->options[i]), ':', &head);
		if (!str_eq(head, name))
			dns->options[kept++] = dns->options[i];
	}
	dns->n_options = kept;
	push_str(a, &dns->options, &dns->n_options,
		val_has(value) ? arena_strf(a, "%.*s:%.*s", STR_ARG(name), STR_ARG(val_str(value))) : name);
}

void pod_dns(struct node_agent *n, struct val spec, struct str ns, struct arena *a, Cri__DnsConfig *ret)
{
	struct str policy = val_str(val_get(spec, "dnsPolicy"));
	struct val own = val_get(spec, "dnsConfig");
	bool cluster = str_is(policy, "ClusterFirstWithHostNet") ||
		((str_is(policy, "ClusterFirst") || str_empty(policy)) && !pod_host_network(spec));

	if (str_is(policy, "None")) {
		/* only what dnsConfig says */
	} else if (cluster && n->o.n_cluster_dns) {
		cluster_resolver(n, ns, a, ret);
	} else {
		host_resolver(a, ret, true);
	}
	for (struct val_iter it = val_iter(val_get(own, "nameservers")); val_next(&it);)
		push_str(a, &ret->servers, &ret->n_servers, val_str(it.val));
	for (struct val_iter it = val_iter(val_get(own, "searches")); val_next(&it);)
		push_str(a, &ret->searches, &ret->n_searches, val_str(it.val));
	for (struct val_iter it = val_iter(val_get(own, "options")); val_next(&it);)
		own_option(a, ret, it.val);
}

static char *pod_hostname(struct doc *d, struct arena *a)
{
	struct str h = doc_str(d, "spec.hostname");
	char *t = arena_cstr(a, str_empty(h) ? doc_name(d) : h);

	if (strlen(t) > HOSTNAME_MAX) {
		t[HOSTNAME_MAX] = 0;
		for (size_t n = HOSTNAME_MAX; n && !isalnum((unsigned char)t[n - 1]); n--)
			t[n - 1] = 0;
	}
	return t;
}

/* ---- sandbox --------------------------------------------------------------------------------- */

static Cri__NamespaceOption *namespaces_of(struct val spec, struct arena *a)
{
	Cri__NamespaceOption *ns = CRI_NEW(a, Cri__NamespaceOption, cri__namespace_option);

	ns->network = pod_host_network(spec) ? NS_NODE : NS_POD;
	ns->ipc = val_bool(val_get(spec, "hostIPC"), false) ? NS_NODE : NS_POD;
	ns->pid = NS_CONTAINER;
	if (val_bool(val_get(spec, "hostPID"), false))
		ns->pid = NS_NODE;
	else if (val_bool(val_get(spec, "shareProcessNamespace"), false))
		ns->pid = NS_POD;
	return ns;
}

static Cri__Int64Value *int_value(struct arena *a, struct val v)
{
	Cri__Int64Value *i;

	if (!val_has(v) || val_kind(v) == VAL_NULL)
		return NULL;
	i = CRI_NEW(a, Cri__Int64Value, cri__int64_value);
	i->value = val_int(v, 0);
	return i;
}

static Cri__SecurityProfile *profile_of(struct node_agent *n, struct val v, struct arena *a)
{
	Cri__SecurityProfile *p;
	struct str type = val_str(val_get(v, "type")), file = val_str(val_get(v, "localhostProfile"));

	if (str_empty(type))
		return NULL;
	p = CRI_NEW(a, Cri__SecurityProfile, cri__security_profile);
	p->profile_type = str_is(type, "RuntimeDefault") ? 0 : str_is(type, "Localhost") ? 2 : 1;
	if (p->profile_type == 2)
		p->localhost_ref = file.n && file.p[0] == '/' ?
			arena_cstr(a, file) :
			arena_printf(a, "%s/seccomp/%.*s", n->o.data_dir, STR_ARG(file));
	return p;
}

static struct val either(struct val first, struct val second, const char *key)
{
	struct val v = val_get(first, key);

	return val_has(v) && val_kind(v) != VAL_NULL ? v : val_get(second, key);
}

static void add_groups(struct arena *a, struct val pod_security, int64_t **ret, size_t *ret_n)
{
	struct val list = val_get(pod_security, "supplementalGroups"), fs = val_get(pod_security, "fsGroup");
	int64_t *g = ARENA_ARRAY(a, int64_t, val_len(list) + 1);
	size_t n = 0;

	for (struct val_iter it = val_iter(list); val_next(&it);)
		g[n++] = val_int(it.val, 0);
	if (val_has(fs) && val_kind(fs) == VAL_INT)
		g[n++] = val_int(fs, 0);
	*ret = g;
	*ret_n = n;
}

static bool any_privileged(struct val spec)
{
	static const char *const lists[] = { "initContainers", "containers", "ephemeralContainers" };

	for (size_t l = 0; l < ARRAY_LEN(lists); l++)
		for (struct val_iter it = val_iter(val_get(spec, lists[l])); val_next(&it);)
			if (val_bool(val_path(it.val, "securityContext.privileged"), false))
				return true;
	return false;
}

static void sandbox_ports(struct val spec, struct arena *a, Cri__SandboxConfig *s)
{
	if (pod_host_network(spec))
		return;
	for (struct val_iter c = val_iter(val_get(spec, "containers")); val_next(&c);) {
		for (struct val_iter it = val_iter(val_get(c.val, "ports")); val_next(&it);) {
			Cri__PortMapping *m = CRI_NEW(a, Cri__PortMapping, cri__port_mapping);
			struct str proto = val_str(val_get(it.val, "protocol"));
			m->protocol = str_is(proto, "UDP") ? 1 : str_is(proto, "SCTP") ? 2 : 0;
			m->container_port = (int32_t)val_int(val_get(it.val, "containerPort"), 0);
			m->host_port = (int32_t)val_int(val_get(it.val, "hostPort"), 0);
			m->host_ip = arena_cstr(a, val_str(val_get(it.val, "hostIP")));
			cri_push(a, &s->port_mappings, &s->n_port_mappings, m);
		}
	}
}

Cri__SandboxConfig *pod_sandbox_config(struct pod *p, struct doc *d, struct arena *a)
{
	struct val spec = doc_get(d, "spec"), security = val_get(spec, "securityContext");
	Cri__SandboxConfig *s = CRI_NEW(a, Cri__SandboxConfig, cri__sandbox_config);
	Cri__SandboxSecurity *sec = CRI_NEW(a, Cri__SandboxSecurity, cri__sandbox_security);
	auto_free char *logs = pod_log_dir(p), *cgroup = pod_cgroup(p, pod_qos(spec));

	s->metadata = CRI_NEW(a, Cri__SandboxMetadata, cri__sandbox_metadata);
	s->metadata->name = p->name;
	s->metadata->namespace_ = p->ns;
	s->metadata->uid = p->uid;
	s->metadata->attempt = p->sandbox_attempt;
	s->hostname = pod_host_network(spec) ? arena_strdup(a, "") : pod_hostname(d, a);
	s->log_directory = arena_strdup(a, logs);
	s->dns_config = CRI_NEW(a, Cri__DnsConfig, cri__dns_config);
	pod_dns(p->n, spec, doc_ns(d), a, s->dns_config);
	sandbox_ports(spec, a, s);
	for (struct val_iter it = val_iter(doc_get(d, "metadata.labels")); val_next(&it);)
		CRI_ENTRY(a, s->labels, s->n_labels, cri__sandbox_config__labels_entry__init, arena_cstr(a, it.key),
			arena_cstr(a, val_str(it.val)));
	CRI_ENTRY(a, s->labels, s->n_labels, cri__sandbox_config__labels_entry__init, (char *)LABEL_POD_NAME, p->name);
	CRI_ENTRY(a, s->labels, s->n_labels, cri__sandbox_config__labels_entry__init, (char *)LABEL_POD_NS, p->ns);
	CRI_ENTRY(a, s->labels, s->n_labels, cri__sandbox_config__labels_entry__init, (char *)LABEL_POD_UID, p->uid);
	s->lin = CRI_NEW(a, Cri__LinuxSandbox, cri__linux_sandbox);
	s->lin->cgroup_parent = arena_strdup(a, cgroup);
	for (struct val_iter it = val_iter(val_get(security, "sysctls")); val_next(&it);)
		CRI_ENTRY(a, s->lin->sysctls, s->lin->n_sysctls, cri__linux_sandbox__sysctls_entry__init,
			arena_cstr(a, val_str(val_get(it.val, "name"))),
			arena_cstr(a, val_str(val_get(it.val, "value"))));
	s->lin->security_context = sec;
	sec->namespace_options = namespaces_of(spec, a);
	sec->privileged = any_privileged(spec);
	sec->run_as_user = int_value(a, val_get(security, "runAsUser"));
	sec->run_as_group = sec->run_as_user ? int_value(a, val_get(security, "runAsGroup")) : NULL;
	sec->seccomp =
		CRI_NEW(a, Cri__SecurityProfile, cri__security_profile); /* the pause process: runtime's default */
	add_groups(a, security, &sec->supplemental_groups, &sec->n_supplemental_groups);
	return s;
}

/* ---- containers ------------------------------------------------------------------------------ */

static const char *const masked_paths[] = { "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys",
	"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
	"/sys/firmware", "/sys/devices/virtual/powercap" };
static const char *const readonly_paths[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
	"/proc/sysrq-trigger" };

static int check_user(Cri__ContainerSecurity *s, struct val pod_sec, struct val sec, Cri__Image *image, struct err *e)
{
	if (!val_bool(either(sec, pod_sec, "runAsNonRoot"), false))
		return 0;
	if (s->run_as_user)
		return s->run_as_user->value ?
			0 :
			err_set(e, ERR_FORBIDDEN, "container's runAsUser breaks non-root policy");
	if (image && image->username && *image->username)
		return err_set(e, ERR_FORBIDDEN,
			"container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root",
			image->username);
	if (!image || !image->uid || image->uid->value == 0)
		return err_set(e, ERR_FORBIDDEN, "container has runAsNonRoot and image will run as root");
	return 0;
}

/* The image's own user, told to the runtime so that supplemental groups are joined. */
static void user_of_image(struct arena *a, Cri__ContainerSecurity *s, Cri__Image *image)
{
	if (s->run_as_user || !image)
		return;
	if (image->username && *image->username) {
		s->run_as_username = arena_strdup(a, image->username);
	} else if (image->uid) {
		s->run_as_user = CRI_NEW(a, Cri__Int64Value, cri__int64_value);
		s->run_as_user->value = image->uid->value;
	}
}

static int security_of(struct pod *p, struct val spec, struct val container, Cri__Image *image, struct arena *a,
	Cri__ContainerSecurity *s, struct err *e)
{
	struct val pod_sec = val_get(spec, "securityContext"), sec = val_get(container, "securityContext"),
		   caps = val_get(sec, "capabilities");
	int r;

	s->namespace_options = namespaces_of(spec, a);
	s->privileged = val_bool(val_get(sec, "privileged"), false);
	s->readonly_rootfs = val_bool(val_get(sec, "readOnlyRootFilesystem"), false);
	s->no_new_privs = !val_bool(val_get(sec, "allowPrivilegeEscalation"), true);
	s->run_as_user = int_value(a, either(sec, pod_sec, "runAsUser"));
	s->run_as_group = int_value(a, either(sec, pod_sec, "runAsGroup"));
	r = check_user(s, pod_sec, sec, image, e);
	if (r < 0)
		return r;
	user_of_image(a, s, image);
	if (!s->run_as_user && !*s->run_as_username)
		s->run_as_group = NULL; /* the runtime refuses a group without a user */
	add_groups(a, pod_sec, &s->supplemental_groups, &s->n_supplemental_groups);
	if (val_has(caps)) {
		s->capabilities = CRI_NEW(a, Cri__Capability, cri__capability);
		for (struct val_iter it = val_iter(val_get(caps, "add")); val_next(&it);)
			cri_push(a, &s->capabilities->add_capabilities, &s->capabilities->n_add_capabilities,
				arena_cstr(a, val_str(it.val)));
		for (struct val_iter it = val_iter(val_get(caps, "drop")); val_next(&it);)
			cri_push(a, &s->capabilities->drop_capabilities, &s->capabilities->n_drop_capabilities,
				arena_cstr(a, val_str(it.val)));
	}
	s->seccomp = profile_of(p->n, either(sec, pod_sec, "seccompProfile"), a);
	if (!s->seccomp) {
		s->seccomp = CRI_NEW(a, Cri__SecurityProfile, cri__security_profile);
		s->seccomp->profile_type = 1;
	}
	s->apparmor = profile_of(p->n, either(sec, pod_sec, "appArmorProfile"), a);
	struct val selinux = either(sec, pod_sec, "seLinuxOptions");
	if (val_has(selinux)) {
		s->selinux_options = CRI_NEW(a, Cri__SelinuxOption, cri__selinux_option);
		s->selinux_options->user = arena_cstr(a, val_str(val_get(selinux, "user")));
		s->selinux_options->role = arena_cstr(a, val_str(val_get(selinux, "role")));
		s->selinux_options->type = arena_cstr(a, val_str(val_get(selinux, "type")));
		s->selinux_options->level = arena_cstr(a, val_str(val_get(selinux, "level")));
	}
	if (s->privileged || val_is(val_get(sec, "procMount"), "Unmasked"))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(masked_paths); i++)
		cri_push(a, &s->masked_paths, &s->n_masked_paths, (char *)masked_paths[i]);
	for (size_t i = 0; i < ARRAY_LEN(readonly_paths); i++)
		cri_push(a, &s->readonly_paths, &s->n_readonly_paths, (char *)readonly_paths[i]);
	return 0;
}

/* A debugging container may look into the processes of another one. */
static int target_of(struct pod *p, struct val container, struct arena *a, Cri__NamespaceOption *ns, struct err *e)
{
	struct str name = val_str(val_get(container, "targetContainerName"));
	struct container *target = pod_container(p, name);

	if (str_empty(name) || ns->pid != NS_CONTAINER)
		return 0;
	if (!target || !target->now.id || target->now.state != INST_RUNNING)
		return err_set(
			e, ERR_UNAVAILABLE, "targetContainerName: container \"%.*s\" is not running", STR_ARG(name));
	ns->pid = NS_TARGET;
	ns->target_id = arena_strdup(a, target->now.id);
	return 0;
}

static void expand_list(struct arena *a, struct val list, const struct env *env, char ***ret, size_t *ret_n)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		cri_push(a, ret, ret_n, env_expand(a, val_str(it.val), env));
}

static void labels_of(
	struct pod *p, struct container *c, struct doc *d, struct val spec, struct arena *a, Cri__ContainerConfig *k)
{
	struct str path = val_str(val_get(spec, "terminationMessagePath")),
		   policy = val_str(val_get(spec, "terminationMessagePolicy"));

#define LABEL(key, value) \
	CRI_ENTRY(a, k->labels, k->n_labels, cri__container_config__labels_entry__init, (char *)(key), (value))
#define NOTE(key, value)                                                                                              \
	CRI_ENTRY(a, k->annotations, k->n_annotations, cri__container_config__annotations_entry__init, (char *)(key), \
		(value))
	LABEL(LABEL_POD_NAME, p->name);
	LABEL(LABEL_POD_NS, p->ns);
	LABEL(LABEL_POD_UID, p->uid);
	LABEL(LABEL_CONTAINER, c->name);
	NOTE(NOTE_HASH,
		arena_printf(a, "%08x",
			fnv32a(arena_strf(a, "%s\n%.*s", c->name, STR_ARG(val_str(val_get(spec, "image")))))));
	NOTE(NOTE_RESTARTS, arena_printf(a, "%d", c->restarts));
	NOTE(NOTE_TERM_PATH, arena_cstr(a, path));
	NOTE(NOTE_TERM_POLICY, arena_cstr(a, policy));
	NOTE(NOTE_GRACE, arena_printf(a, "%lld", (long long)pod_grace_s(d, false)));
#undef LABEL
#undef NOTE
}

int pod_container_config(struct pod *p, struct doc *d, struct container *c, struct val spec, const char *image_ref,
	Cri__Image *image, struct arena *a, Cri__ContainerConfig **ret, const char **ret_reason, struct err *e)
{
	Cri__ContainerConfig *k = CRI_NEW(a, Cri__ContainerConfig, cri__container_config);
	struct env_ctx x;
	struct env env;
	int r;

	*ret_reason = "CreateContainerConfigError";
	env_ctx_of(&x, p, d, a);
	r = env_build(&x, spec, &env, e);
	if (r < 0)
		return r;
	k->metadata = CRI_NEW(a, Cri__ContainerMetadata, cri__container_metadata);
	k->metadata->name = c->name;
	k->metadata->attempt = (uint32_t)c->restarts;
	k->image = CRI_NEW(a, Cri__ImageSpec, cri__image_spec);
	k->image->image = arena_strdup(a, image_ref);
	expand_list(a, val_get(spec, "command"), &env, &k->command, &k->n_command);
	expand_list(a, val_get(spec, "args"), &env, &k->args, &k->n_args);
	k->working_dir = arena_cstr(a, val_str(val_get(spec, "workingDir")));
	for (size_t i = 0; i < env.n; i++) {
		Cri__KeyValue *kv = CRI_NEW(a, Cri__KeyValue, cri__key_value);
		kv->key = env.v[i].name;
		kv->value = env.v[i].value;
		cri_push(a, &k->envs, &k->n_envs, kv);
	}
	labels_of(p, c, d, spec, a, k);
	k->log_path = arena_printf(a, "%s/%d.log", c->name, c->restarts);
	k->stdin = val_bool(val_get(spec, "stdin"), false);
	k->stdin_once = val_bool(val_get(spec, "stdinOnce"), false);
	k->tty = val_bool(val_get(spec, "tty"), false);
	k->lin = CRI_NEW(a, Cri__LinuxContainer, cri__linux_container);
	k->lin->resources = resources_cri(p->n, doc_get(d, "spec"), spec, a);
	k->lin->security_context = CRI_NEW(a, Cri__ContainerSecurity, cri__container_security);
	r = security_of(p, doc_get(d, "spec"), spec, image, a, k->lin->security_context, e);
	if (r == 0)
		r = target_of(p, spec, a, k->lin->security_context->namespace_options, e);
	if (r < 0)
		return r;
	r = volume_mounts(p, d, spec, &env, a, k, e);
	if (r < 0)
		return r;
	*ret = k;
	return 0;
}

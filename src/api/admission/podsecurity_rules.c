/* The rules of PodSecurity, one function each. They are those of the newest version, whatever version a namespace pins.
 */
#include "api/admission/podsecurity.h"
#define LOG_MODULE "api"

struct look { /* at one pod */
	struct rq *rq;
	struct val spec, notes;
	bool brief;
	struct buf out; /* what is wrong: "reason (detail), …", or without details */
};

/* ---- words ----------------------------------------------------------------------------------- */

struct words { /* quoted, without repetition */
	struct str list[64];
	size_t n;
};

static void word(struct words *w, struct str s)
{
	for (size_t i = 0; i < w->n; i++)
		if (str_eq(w->list[i], s))
			return;
	if (w->n < ARRAY_LEN(w->list))
		w->list[w->n++] = s;
}

static struct str quoted(struct look *l, const struct words *w)
{
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < w->n; i++)
		buf_printf(&b, "%s\"%.*s\"", i ? ", " : "", STR_ARG(w->list[i]));
	return arena_str(l->rq->a, buf_view(&b));
}

/* Values are told in their order; names of containers and volumes in that of the pod. */
static void in_order(struct words *w)
{
	qsort(w->list, w->n, sizeof(*w->list), str_order);
}

static struct str values(struct look *l, struct words *w)
{
	in_order(w);
	return quoted(l, w);
}

/* pod, container "a", pod and containers "a", "b" */
static struct str setters(struct look *l, bool pod, const char *and_or, const struct words *containers)
{
	if (!containers->n)
		return STR("pod");
	return arena_strf(l->rq->a, "%s%s%s %.*s", pod ? "pod " : "", pod ? and_or : "",
		containers->n > 1 ? "containers" : "container", STR_ARG(quoted(l, containers)));
}

static void wrong(struct look *l, const char *reason, const char *detail)
{
	buf_printf(&l->out, "%s%s", l->out.n ? ", " : "", reason);
	if (!l->brief)
		buf_printf(&l->out, " (%s)", detail);
}

#define DETAIL(l, ...) arena_printf((l)->rq->a, __VA_ARGS__)

/* ---- walking containers ---------------------------------------------------------------------- */

struct walk {
	struct val lists[3], c;
	size_t list, i;
};

static struct walk walk_of(struct look *l)
{
	return (struct walk){ .lists = { val_get(l->spec, "initContainers"), val_get(l->spec, "containers"),
				      val_get(l->spec, "ephemeralContainers") } };
}

static bool walk_next(struct walk *w)
{
	while (w->list < 3 && w->i >= val_len(w->lists[w->list])) {
		w->list++;
		w->i = 0;
	}
	if (w->list == 3)
		return false;
	w->c = val_at(w->lists[w->list], w->i++);
	return true;
}

static struct str name_of(struct val c)
{
	return val_str(val_get(c, "name"));
}

static bool one_of(struct str s, const char *const *list)
{
	for (; *list; list++)
		if (str_is(s, *list))
			return true;
	return false;
}

static bool windows(struct look *l)
{
	return val_is(val_path(l->spec, "os.name"), "windows");
}

/* ---- baseline -------------------------------------------------------------------------------- */

static bool apparmor_wrong(struct val context)
{
	struct val type = val_path(context, "appArmorProfile.type");

	return val_has(type) && !val_is(type, "RuntimeDefault") && !val_is(type, "Localhost");
}

static void check_apparmor(struct look *l)
{
	struct words names = { .n = 0 };
	bool pod = apparmor_wrong(val_get(l->spec, "securityContext"));
	auto_buf struct buf notes = BUF_INIT;
	size_t n = 0;

	for (struct walk w = walk_of(l); walk_next(&w);)
		if (apparmor_wrong(val_get(w.c, "securityContext")))
			word(&names, name_of(w.c));
	for (struct val_iter it = val_iter(l->notes); val_next(&it);) {
		struct str v = val_str(it.val);
		if (!str_starts(it.key, STR("container.apparmor.security.beta.kubernetes.io/")) || !v.n ||
			str_is(v, "runtime/default") || str_starts(v, STR("localhost/")))
			continue;
		buf_printf(&notes, "%s%.*s=\"%.*s\"", n++ ? ", " : "", STR_ARG(it.key), STR_ARG(v));
	}
	if (pod || names.n) {
		struct str who = setters(l, pod, "and ", &names);
		wrong(l, n + names.n + pod > 1 ? "forbidden AppArmor profiles" : "forbidden AppArmor profile",
			DETAIL(l, "%.*s must not set AppArmor profile type to \"Unconfined\"%s%.*s", STR_ARG(who),
				n ? ", " : "", (int)notes.n, notes.p ? notes.p : ""));
	} else if (n) {
		wrong(l, n > 1 ? "forbidden AppArmor profiles" : "forbidden AppArmor profile",
			DETAIL(l, "%.*s", (int)notes.n, notes.p));
	}
}

static const char *const default_capabilities[] = { "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL",
	"MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", NULL };
static const char *const bind_service[] = { "NET_BIND_SERVICE", NULL };

/* Sentence about what containers add beyond `allowed`; NULL: nothing. */
static const char *added_capabilities(struct look *l, const char *const *allowed)
{
	struct words names = { .n = 0 }, caps = { .n = 0 };

	for (struct walk w = walk_of(l); walk_next(&w);)
		for (struct val_iter it = val_iter(val_path(w.c, "securityContext.capabilities.add")); val_next(&it);)
			if (!one_of(val_str(it.val), allowed)) {
				word(&names, name_of(w.c));
				word(&caps, val_str(it.val));
			}
	if (!names.n)
		return NULL;
	struct str who = setters(l, false, "", &names);
	return DETAIL(l, "%.*s must not include %.*s in securityContext.capabilities.add", STR_ARG(who),
		STR_ARG(values(l, &caps)));
}

static void check_capabilities_baseline(struct look *l)
{
	const char *added = added_capabilities(l, default_capabilities);

	if (added)
		wrong(l, "non-default capabilities", added);
}

static void check_host_namespaces(struct look *l)
{
	static const char *const fields[] = { "hostNetwork", "hostPID", "hostIPC" };
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (val_bool(val_get(l->spec, fields[i]), false))
			buf_printf(&b, "%s%s=true", b.n ? ", " : "", fields[i]);
	if (b.n)
		wrong(l, "host namespaces", DETAIL(l, "%.*s", (int)b.n, b.p));
}

static void check_host_path(struct look *l)
{
	struct words names = { .n = 0 };

	for (struct val_iter it = val_iter(val_get(l->spec, "volumes")); val_next(&it);)
		if (val_has(val_get(it.val, "hostPath")))
			word(&names, name_of(it.val));
	if (names.n)
		wrong(l, "hostPath volumes",
			DETAIL(l, "volume%s %.*s", names.n > 1 ? "s" : "", STR_ARG(quoted(l, &names))));
}

static void check_host_ports(struct look *l)
{
	struct words names = { .n = 0 }, ports = { .n = 0 };
	auto_buf struct buf b = BUF_INIT;

	for (struct walk w = walk_of(l); walk_next(&w);)
		for (struct val_iter it = val_iter(val_get(w.c, "ports")); val_next(&it);)
			if (val_int(val_get(it.val, "hostPort"), 0)) {
				word(&names, name_of(w.c));
				word(&ports, val_text(val_get(it.val, "hostPort")));
			}
	in_order(&ports);
	for (size_t i = 0; i < ports.n; i++)
		buf_printf(&b, "%s%.*s", i ? ", " : "", STR_ARG(ports.list[i]));
	struct str who = setters(l, false, "", &names);
	if (names.n)
		wrong(l, ports.n > 1 ? "hostPorts" : "hostPort",
			DETAIL(l, "%.*s use%s hostPort%s %.*s", STR_ARG(who), names.n > 1 ? "" : "s",
				ports.n > 1 ? "s" : "", (int)b.n, b.p));
}

static void host_of(struct words *hosts, struct words *names, struct val c, struct val handler)
{
	static const char *const kinds[] = { "httpGet", "tcpSocket" };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct str host = val_str(val_get(val_get(handler, kinds[i]), "host"));
		if (!host.n)
			continue;
		word(hosts, host);
		word(names, name_of(c));
	}
}

static void check_probe_hosts(struct look *l)
{
	static const char *const handlers[] = { "livenessProbe", "readinessProbe", "startupProbe",
		"lifecycle.postStart", "lifecycle.preStop" };
	struct words names = { .n = 0 }, hosts = { .n = 0 };

	for (struct walk w = walk_of(l); walk_next(&w);)
		for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
			host_of(&hosts, &names, w.c, val_path(w.c, handlers[i]));
	in_order(&names);
	struct str who = setters(l, false, "", &names);
	if (names.n)
		wrong(l, "probe or lifecycle host",
			DETAIL(l, "%.*s use%s probe or lifecycle host%s %.*s", STR_ARG(who), names.n > 1 ? "" : "s",
				hosts.n > 1 ? "s" : "", STR_ARG(values(l, &hosts))));
}

/* Containers whose securityContext has field set to true. */
static void true_in(struct look *l, const char *field, struct words *names)
{
	for (struct walk w = walk_of(l); walk_next(&w);)
		if (val_bool(val_path(val_get(w.c, "securityContext"), field), false))
			word(names, name_of(w.c));
}

static void check_privileged(struct look *l)
{
	struct words names = { .n = 0 };

	true_in(l, "privileged", &names);
	struct str who = setters(l, false, "", &names);
	if (names.n)
		wrong(l, "privileged", DETAIL(l, "%.*s must not set securityContext.privileged=true", STR_ARG(who)));
}

static void check_proc_mount(struct look *l)
{
	struct words names = { .n = 0 }, kinds = { .n = 0 };

	for (struct walk w = walk_of(l); walk_next(&w);) {
		struct val v = val_path(w.c, "securityContext.procMount");
		if (!val_has(v) || val_is(v, "Default"))
			continue;
		word(&names, name_of(w.c));
		word(&kinds, val_str(v));
	}
	struct str who = setters(l, false, "", &names);
	if (names.n)
		wrong(l, "procMount",
			DETAIL(l, "%.*s must not set securityContext.procMount to %.*s", STR_ARG(who),
				STR_ARG(values(l, &kinds))));
}

static bool selinux_wrong(struct val context, struct words *types, bool *user, bool *role)
{
	static const char *const allowed[] = { "", "container_t", "container_init_t", "container_kvm_t",
		"container_engine_t", NULL };
	struct val o = val_get(context, "seLinuxOptions");
	struct str type = val_str(val_get(o, "type"));
	bool bad_type = !one_of(type, allowed), has_user = val_str(val_get(o, "user")).n > 0,
	     has_role = val_str(val_get(o, "role")).n > 0;

	if (bad_type)
		word(types, type);
	*user |= has_user;
	*role |= has_role;
	return bad_type || has_user || has_role;
}

static void check_selinux(struct look *l)
{
	struct words names = { .n = 0 }, types = { .n = 0 };
	bool user = false, role = false, pod = selinux_wrong(val_get(l->spec, "securityContext"), &types, &user, &role);

	for (struct walk w = walk_of(l); walk_next(&w);)
		if (selinux_wrong(val_get(w.c, "securityContext"), &types, &user, &role))
			word(&names, name_of(w.c));
	if (!pod && !names.n)
		return;
	struct str who = setters(l, pod, "and ", &names);
	const char *type = types.n ? DETAIL(l, "type%s %.*s", types.n > 1 ? "s" : "", STR_ARG(values(l, &types))) : "";
	wrong(l, "seLinuxOptions",
		DETAIL(l, "%.*s set forbidden securityContext.seLinuxOptions: %s%s%s%s%s", STR_ARG(who), type,
			types.n && (user || role) ? "; " : "", user ? "user may not be set" : "",
			user && role ? "; " : "", role ? "role may not be set" : ""));
}

static bool seccomp_wrong(struct val context, struct words *types)
{
	struct val type = val_path(context, "seccompProfile.type");

	if (!val_has(type) || val_is(type, "RuntimeDefault") || val_is(type, "Localhost"))
		return false;
	word(types, val_str(type));
	return true;
}

/* true: said. */
static bool seccomp_explicit(struct look *l)
{
	struct words names = { .n = 0 }, types = { .n = 0 };
	bool pod = seccomp_wrong(val_get(l->spec, "securityContext"), &types);

	for (struct walk w = walk_of(l); walk_next(&w);)
		if (seccomp_wrong(val_get(w.c, "securityContext"), &types))
			word(&names, name_of(w.c));
	if (!pod && !names.n)
		return false;
	struct str who = setters(l, pod, "and ", &names);
	wrong(l, "seccompProfile",
		DETAIL(l, "%.*s must not set securityContext.seccompProfile.type to %.*s", STR_ARG(who),
			STR_ARG(values(l, &types))));
	return true;
}

static void check_seccomp_baseline(struct look *l)
{
	seccomp_explicit(l);
}

static void check_sysctls(struct look *l)
{
	static const char *const safe[] = { "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range",
		"net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
		"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
		"net.ipv4.tcp_wmem", NULL };
	auto_buf struct buf b = BUF_INIT;

	for (struct val_iter it = val_iter(val_path(l->spec, "securityContext.sysctls")); val_next(&it);)
		if (!one_of(name_of(it.val), safe))
			buf_printf(&b, "%s%.*s", b.n ? ", " : "", STR_ARG(name_of(it.val)));
	if (b.n)
		wrong(l, "forbidden sysctls", DETAIL(l, "%.*s", (int)b.n, b.p));
}

static void check_host_process(struct look *l)
{
	struct words names = { .n = 0 };
	bool pod = val_bool(val_path(l->spec, "securityContext.windowsOptions.hostProcess"), false);

	true_in(l, "windowsOptions.hostProcess", &names);
	struct str who = setters(l, pod, "and ", &names);
	if (pod || names.n)
		wrong(l, "hostProcess",
			DETAIL(l, "%.*s must not set securityContext.windowsOptions.hostProcess=true", STR_ARG(who)));
}

/* ---- restricted ------------------------------------------------------------------------------ */

static void check_escalation(struct look *l)
{
	struct words names = { .n = 0 };

	for (struct walk w = walk_of(l); walk_next(&w);)
		if (val_bool(val_path(w.c, "securityContext.allowPrivilegeEscalation"), true))
			word(&names, name_of(w.c));
	struct str who = setters(l, false, "", &names);
	if (names.n && !windows(l))
		wrong(l, "allowPrivilegeEscalation != false",
			DETAIL(l, "%.*s must set securityContext.allowPrivilegeEscalation=false", STR_ARG(who)));
}

static bool drops_all(struct val c)
{
	for (struct val_iter it = val_iter(val_path(c, "securityContext.capabilities.drop")); val_next(&it);)
		if (val_is(it.val, "ALL"))
			return true;
	return false;
}

static void check_capabilities_restricted(struct look *l)
{
	struct words names = { .n = 0 };
	const char *added = added_capabilities(l, bind_service);

	if (windows(l))
		return;
	for (struct walk w = walk_of(l); walk_next(&w);)
		if (!drops_all(w.c))
			word(&names, name_of(w.c));
	struct str who = setters(l, false, "", &names);
	const char *kept =
		names.n ? DETAIL(l, "%.*s must set securityContext.capabilities.drop=[\"ALL\"]", STR_ARG(who)) : NULL;
	if (kept || added)
		wrong(l, "unrestricted capabilities",
			DETAIL(l, "%s%s%s", kept ? kept : "", kept && added ? "; " : "", added ? added : ""));
}

static void check_volume_types(struct look *l)
{
	static const char *const allowed[] = { "name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral",
		"image", "persistentVolumeClaim", "projected", "secret", NULL };
	struct words names = { .n = 0 }, types = { .n = 0 };

	for (struct val_iter it = val_iter(val_get(l->spec, "volumes")); val_next(&it);)
		for (struct val_iter k = val_iter(it.val); val_next(&k);)
			if (!one_of(k.key, allowed)) {
				word(&names, name_of(it.val));
				word(&types, k.key);
			}
	if (names.n)
		wrong(l, "restricted volume types",
			DETAIL(l, "volume%s %.*s use%s restricted volume type%s %.*s", names.n > 1 ? "s" : "",
				STR_ARG(quoted(l, &names)), names.n > 1 ? "" : "s", types.n > 1 ? "s" : "",
				STR_ARG(values(l, &types))));
}

static void check_non_root(struct look *l)
{
	struct val own = val_path(l->spec, "securityContext.runAsNonRoot");
	struct words bad = { .n = 0 }, silent = { .n = 0 };
	bool pod_bad = val_has(own) && !val_bool(own, true), pod_good = val_bool(own, false);

	for (struct walk w = walk_of(l); walk_next(&w);) {
		struct val v = val_path(w.c, "securityContext.runAsNonRoot");
		if (!val_has(v))
			word(&silent, name_of(w.c));
		else if (!val_bool(v, true))
			word(&bad, name_of(w.c));
	}
	if (pod_bad || bad.n) {
		struct str who = setters(l, pod_bad, "and ", &bad);
		wrong(l, "runAsNonRoot != true",
			DETAIL(l, "%.*s must not set securityContext.runAsNonRoot=false", STR_ARG(who)));
	} else if (!pod_good && silent.n) {
		struct str who = setters(l, true, "or ", &silent);
		wrong(l, "runAsNonRoot != true",
			DETAIL(l, "%.*s must set securityContext.runAsNonRoot=true", STR_ARG(who)));
	}
}

static void check_root_user(struct look *l)
{
	struct words names = { .n = 0 };
	bool pod = val_int(val_path(l->spec, "securityContext.runAsUser"), 1) == 0;

	for (struct walk w = walk_of(l); walk_next(&w);)
		if (val_int(val_path(w.c, "securityContext.runAsUser"), 1) == 0)
			word(&names, name_of(w.c));
	struct str who = setters(l, pod, "and ", &names);
	if (pod || names.n)
		wrong(l, "runAsUser=0", DETAIL(l, "%.*s must not set runAsUser=0", STR_ARG(who)));
}

static void check_seccomp_restricted(struct look *l)
{
	struct words names = { .n = 0 };

	if (windows(l) || seccomp_explicit(l) || val_has(val_path(l->spec, "securityContext.seccompProfile.type")))
		return;
	for (struct walk w = walk_of(l); walk_next(&w);)
		if (!val_has(val_path(w.c, "securityContext.seccompProfile.type")))
			word(&names, name_of(w.c));
	struct str who = setters(l, true, "or ", &names);
	if (names.n)
		wrong(l, "seccompProfile",
			DETAIL(l,
				"%.*s must set securityContext.seccompProfile.type to \"RuntimeDefault\" or "
				"\"Localhost\"",
				STR_ARG(who)));
}

static const struct {
	enum level level;
	bool stricter_above; /* baseline only: restricted has a stricter one of its own */
	void (*check)(struct look *l);
} checks[] = {
	{ BASELINE, false, check_apparmor },
	{ BASELINE, true, check_capabilities_baseline },
	{ BASELINE, false, check_host_namespaces },
	{ BASELINE, true, check_host_path },
	{ BASELINE, false, check_host_ports },
	{ BASELINE, false, check_probe_hosts },
	{ BASELINE, false, check_privileged },
	{ BASELINE, false, check_proc_mount },
	{ BASELINE, false, check_selinux },
	{ BASELINE, true, check_seccomp_baseline },
	{ BASELINE, false, check_sysctls },
	{ BASELINE, false, check_host_process },
	{ RESTRICTED, false, check_escalation },
	{ RESTRICTED, false, check_capabilities_restricted },
	{ RESTRICTED, false, check_volume_types },
	{ RESTRICTED, false, check_non_root },
	{ RESTRICTED, false, check_root_user },
	{ RESTRICTED, false, check_seccomp_restricted },
};

static struct str look_at(struct rq *rq, enum level level, struct val spec, struct val notes, bool brief)
{
	struct look l = { .rq = rq, .spec = spec, .notes = notes, .brief = brief, .out = BUF_INIT };

	for (size_t i = 0; i < ARRAY_LEN(checks); i++)
		if (checks[i].level <= level && !(level == RESTRICTED && checks[i].stricter_above))
			checks[i].check(&l);
	struct str s = arena_str(rq->a, buf_view(&l.out));
	buf_fini(&l.out);
	return s;
}

struct str podsecurity_violations(struct rq *rq, enum level level, struct val spec, struct val notes)
{
	return look_at(rq, level, spec, notes, false);
}

struct str podsecurity_reasons(struct rq *rq, enum level level, struct val spec, struct val notes)
{
	return look_at(rq, level, spec, notes, true);
}

/* Where everything of an instance is and what it is called; its folders, keys and certificates. */
#include "base/buf.h"
#include "base/file.h"
#include "cmd/cmd.h"
#include "doc/doc.h"
#include "pki/pki.h"
#include "seal/seal.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- names and paths ------------------------------------------------------------------------- */

static const char *host_name(struct arena *a)
{
	struct utsname u;
	struct str name;
	char *lower;

	uname(&u);
	str_cut(str_c(u.nodename), '.', &name);
	lower = arena_cstr(a, name.n ? name : STR("node"));
	for (char *p = lower; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 'a' - 'A');
	return lower;
}

static int check_instance(const char *name, struct err *e)
{
	size_t n = strlen(name);

	if (n > 8 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") != n)
		return err_set(e, ERR_INVALID, "--instance %s: up to 8 lower-case letters and digits", name);
	return 0;
}

int layout_of(struct arena *a, const struct settings *s, struct layout *ret, struct err *e)
{
	struct layout l = { .data = s->data_dir };
	const char *dash = s->instance[0] ? "-" : "";
	char *absolute = NULL;

	if (check_instance(s->instance, e) < 0 || addresses_of(a, s, &l.ip, e) < 0)
		return -e->code;
	if (l.data[0] != '/') {
		absolute = realpath(".", NULL);
		l.data = arena_printf(a, "%s/%s", absolute ? absolute : "", s->data_dir);
		free(absolute);
	}
	l.default_instance = !s->instance[0];
	l.own_containerd = !s->cri_socket[0];
	l.control = arena_printf(a, "%s/control", l.data);
	l.control_pki = arena_printf(a, "%s/control/pki", l.data);
	l.store = arena_printf(a, "%s/control/store.db", l.data);
	l.restoring = arena_printf(a, "%s.restoring", l.store);
	l.encryption_config =
		s->encryption_config[0] ? arena_printf(a, "%s/control/pki/encryption.yaml", l.data) : NULL;
	l.sealing_keys = arena_printf(a, "%s/control/pki/sealing.keys", l.data);
	l.recovery_key = arena_printf(a, "%s/recovery-key", l.data);
	l.node = arena_printf(a, "%s/node", l.data);
	l.node_pki = arena_printf(a, "%s/node/pki", l.data);
	l.images = arena_printf(a, "%s/images", l.data);
	l.manifests = arena_printf(a, "%s/manifests", l.data);
	l.containerd = arena_printf(a, "%s/containerd", l.data);
	l.cni = arena_printf(a, "%s/cni", l.data);
	l.pod_logs = arena_printf(a, "%s/logs", l.data);
	l.admin_kubeconfig = arena_printf(a, "%s/admin.kubeconfig", l.data);
	l.supervisor_lock = arena_printf(a, "%s/supervisor.pid", l.data);
	l.container_logs = arena_printf(a, "%s/container-logs", l.data);
	l.links = arena_printf(a, "%s/links", l.data);
	l.held_off = arena_printf(a, "%s/held-off", l.data);
	l.audit = s->audit_log;
	l.run = arena_printf(a, "/run/kogge%s%s", dash, s->instance);
	l.containerd_socket = l.own_containerd ? arena_printf(a, "%s/containerd.sock", l.run) : s->cri_socket;
	l.containerd_pid = arena_printf(a, "%s/containerd.pid", l.run);
	l.containerd_config = arena_printf(a, "%s/config.toml", l.containerd);
	l.server_url = arena_printf(a, "https://127.0.0.1:%lld", (long long)s->port);
	l.node_name = s->node_name[0] ? s->node_name : host_name(a);
	l.cgroup = arena_printf(a, "kogge%s%s", dash, s->instance);
	*ret = l;
	return 0;
}

/* ---- folders --------------------------------------------------------------------------------- */

static int make_dir(const char *path, mode_t mode, uid_t owner, struct err *e)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return err_errno(e, errno, "make folder %s", path);
	if (geteuid() == 0 && (chown(path, owner, owner) < 0 || chmod(path, mode) < 0))
		return err_errno(e, errno, "set owner and mode of %s", path);
	return 0;
}

/* Folders above the data folder, as `mkdir -p` makes them. */
static int make_parents(const char *path, struct err *e)
{
	auto_free char *copy = xstrdup(path);

	for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return err_errno(e, errno, "make folder %s", copy);
		*p = '/';
	}
	return 0;
}

int layout_make(const struct layout *l, const struct settings *s, struct err *e)
{
	uid_t control = geteuid() == 0 ? CONTROL_UID : geteuid();
	const struct {
		const char *path;
		mode_t mode;
		uid_t owner;
		bool node;
	} dirs[] = {
		{ l->data, 0755, 0, false },
		{ l->control, 0700, control, false },
		{ l->control_pki, 0700, control, false },
		{ l->node, 0755, 0, true },
		{ l->node_pki, 0700, 0, true },
		{ l->images, 0755, 0, true },
		{ l->containerd, 0711, 0, true },
		{ l->cni, 0755, 0, true },
		{ l->pod_logs, 0755, 0, true },
		{ l->container_logs, 0755, 0, true },
		{ l->run, 0711, 0, true },
	};

	if (make_parents(l->data, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if ((!dirs[i].node || !s->no_node) && make_dir(dirs[i].path, dirs[i].mode, dirs[i].owner, e) < 0)
			return -e->code;
	return 0;
}

/* ---- the store ------------------------------------------------------------------------------- */

/* What is wrong with it; NULL: nothing that is seen from outside. */
static const char *lacks_store(const struct layout *l)
{
	struct stat st;

	if (stat(l->store, &st) < 0)
		return errno == ENOENT ? "missing" : NULL;
	return st.st_size ? NULL : "empty";
}

/* A file that only a start makes which had its store already; NULL: there is none. */
static const char *trace_of_cluster(const struct layout *l)
{
	const char *const traces[] = { l->sealing_keys, l->recovery_key, l->admin_kubeconfig };

	for (size_t i = 0; i < ARRAY_LEN(traces); i++)
		if (access(traces[i], F_OK) == 0)
			return traces[i];
	return NULL;
}

int layout_check(const struct layout *l, struct err *e)
{
	const char *lack = lacks_store(l), *trace = trace_of_cluster(l);

	if (lack && access(l->restoring, F_OK) == 0)
		return err_set(e, ERR_NOT_FOUND,
			"a restore of %s was cut short: run kogge store restore again (what stood there is %s.before-TIME)",
			l->store, l->store);
	if (!lack || !trace)
		return 0;
	return err_set(e, ERR_NOT_FOUND,
		"the store %s is %s, but %s says that a cluster was here. Was the file moved, is its file system mounted? Put "
		"it back, with %s-wal where there is one; or bring back a snapshot: kogge store restore FILE; or begin with an "
		"empty cluster: kogge reset --data-dir %s takes away what is left of this one, its volumes too",
		l->store, lack, trace, l->store, l->data);
}

int layout_begin(const struct layout *l, struct err *e)
{
	if (layout_check(l, e) < 0)
		return -e->code;
	return trace_of_cluster(l) ? 0 : store_make_sqlite(l->store, e);
}

/* ---- certificates ---------------------------------------------------------------------------- */

/* Everything below the control process's folder belongs to it. */
static void hand_over(const char *dir, const char *const *names)
{
	if (geteuid() != 0)
		return;
	for (; *names; names++) {
		auto_free char *path = xasprintf("%s/%s", dir, *names);

		if (lchown(path, CONTROL_UID, CONTROL_UID) < 0 && errno != ENOENT)
			fprintf(stderr, "kogge: cannot hand %s to the control process: %s\n", path, strerror(errno));
	}
}

/* Also what the administrator put there as root: a backup of the store, a copy of the keys. */
static void hand_over_all(const struct layout *l)
{
	static const char *const store[] = { "store.db", "store.db-wal", "store.db-shm", "store.db-lock",
		"store.db-shown", NULL };
	static const char *const pki[] = { "ca.crt", "ca.key", "front-ca.crt", "front-ca.key", "server.crt",
		"server.key", "node-client.crt", "node-client.key", "front-client.crt", "front-client.key", "sa.key",
		"sa.pub", "sealing.keys", "sealing.keys-lock", "encryption.yaml", NULL };

	hand_over(l->control, store);
	hand_over(l->control_pki, pki);
}

static void note_key(void *arg, struct str key, struct str value)
{
	struct str used = seal_key_of(value);

	if (!str_starts(used, STR("kogge:")))
		return;
	buf_reset(arg);
	buf_str(arg, used);
}

/* New keys would read nothing of what the lost ones wrote. */
static int refuse_lost_keys(const struct layout *l, struct err *e)
{
	auto_buf struct buf used = BUF_INIT;

	if (access(l->sealing_keys, F_OK) == 0 || access(l->store, F_OK) < 0)
		return 0;
	if (store_scan_sqlite(l->store, false, note_key, &used, e) < 0)
		return -e->code;
	if (!used.n)
		return 0;
	return err_set(e, ERR_NOT_FOUND,
		"%s is missing, and %s has values that are encrypted with %.*s. Put the file back from a copy; or, with the "
		"recovery key: kogge store snapshot FILE, then kogge store restore FILE --recovery-key-file KEY",
		l->sealing_keys, l->store, STR_ARG(buf_view(&used)));
}

/* Keys of encryption at rest; the recovery key is written once, for the administrator. */
static int need_sealing_keys(const struct layout *l, const struct settings *s, struct err *e)
{
	bool made;

	if (refuse_lost_keys(l, e) < 0 || seal_keys_make(l->sealing_keys, l->recovery_key, &made, e) < 0)
		return -e->code;
	if (made)
		say(s, "Secrets are encrypted on disk. Restoring a snapshot elsewhere needs the recovery key: move %s to a safe place",
			l->recovery_key);
	return 0;
}

static int admin_kubeconfig(struct arena *a, const struct layout *l, const struct settings *s, struct err *e)
{
	const char *name = s->instance[0] ? arena_printf(a, "kogge-%s", s->instance) : "kogge";
	auto_buf struct buf text = BUF_INIT, ca = BUF_INIT, crt = BUF_INIT, key = BUF_INIT;
	auto_free char *ca64 = NULL, *crt64 = NULL, *key64 = NULL;

	if (file_read(arena_printf(a, "%s/ca.crt", l->control_pki), &ca, e) < 0 ||
		file_read(arena_printf(a, "%s/admin.crt", l->data), &crt, e) < 0 ||
		file_read(arena_printf(a, "%s/admin.key", l->data), &key, e) < 0)
		return -e->code;
	ca64 = base64_encode(buf_view(&ca));
	crt64 = base64_encode(buf_view(&crt));
	key64 = base64_encode(buf_view(&key));
	buf_printf(&text,
		"apiVersion: v1\nkind: Config\nclusters:\n- name: %s\n  cluster:\n    server: %s\n    certificate-authority-data: %s\n"
		"users:\n- name: %s-admin\n  user:\n    client-certificate-data: %s\n    client-key-data: %s\n"
		"contexts:\n- name: %s\n  context:\n    cluster: %s\n    user: %s-admin\ncurrent-context: %s\n",
		name, l->server_url, ca64, name, crt64, key64, name, name, name, name);
	return file_keep(l->admin_kubeconfig, buf_view(&text), 0600, e);
}

static const char *const *server_names(struct arena *a, const struct layout *l, const struct settings *s)
{
	const char *fixed[] = { "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		arena_printf(a, "kubernetes.default.svc.%s", s->cluster_domain), "localhost", "127.0.0.1", "::1",
		l->node_name };
	const char **names = ARENA_ARRAY(a, const char *, ARRAY_LEN(fixed) + 2 * FAMILIES_MAX + strlen(s->tls_san) + 2);
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		names[n++] = fixed[i];
	for (size_t i = 0; i < FAMILIES_MAX && l->ip.api[i]; i++)
		names[n++] = l->ip.api[i];
	for (size_t i = 0; i < FAMILIES_MAX && l->ip.node[i]; i++)
		names[n++] = l->ip.node[i];
	for (struct str part, rest = str_c(s->tls_san); str_next(&rest, ',', &part);)
		if (str_trim(part).n)
			names[n++] = arena_cstr(a, str_trim(part));
	return names;
}

int layout_hand_settings(const struct layout *l, const struct settings *s, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;

	if (!l->encryption_config)
		return 0;
	if (file_read(s->encryption_config, &text, e) < 0)
		return err_wrap(e, "--encryption-provider-config");
	return file_keep(l->encryption_config, buf_view(&text), 0600, e);
}

/* Like pki_leaf(); renewed stays true once it is. */
static int need_leaf(const struct layout *l, const char *ca, const struct pki_leaf *leaf, bool *renewed, struct err *e)
{
	bool this_one = false;
	int r = pki_leaf(l->control_pki, ca, leaf, &this_one, e);

	*renewed |= this_one;
	return r;
}

int layout_certificates(
	struct arena *a, const struct layout *l, const struct settings *s, bool *ret_renewed, struct err *e)
{
	static const char *const masters[] = { "system:masters", NULL }, *const nodes[] = { "system:nodes", NULL };
	const char *const node_names[] = { l->node_name, "127.0.0.1", "localhost", l->ip.node[0], l->ip.node[1], NULL };
	const struct pki_leaf server = {
		.name = "server", .cn = "kube-apiserver", .sans = server_names(a, l, s), .server = true
	};
	/* No group: where a node says that it is, there could be this server itself. */
	const struct pki_leaf node_client = {
		.name = "node-client", .cn = "kube-apiserver-kubelet-client", .client = true
	};
	const struct pki_leaf front = { .name = "front-client", .cn = "front-proxy-client", .client = true };
	const struct pki_leaf admin = {
		.dir = l->data, .name = "admin", .cn = "kubernetes-admin", .orgs = masters, .client = true
	};
	const struct pki_leaf node = { .dir = l->node_pki,
		.name = "client",
		.cn = arena_printf(a, "system:node:%s", l->node_name),
		.orgs = nodes,
		.client = true };
	const struct pki_leaf node_server = {
		.dir = l->node_pki, .name = "server", .cn = node.cn, .orgs = nodes, .sans = node_names, .server = true
	};
	auto_buf struct buf ca = BUF_INIT;
	bool renewed = false;

	if (pki_ca(l->control_pki, "ca", "kogge", e) < 0 ||
		pki_ca(l->control_pki, "front-ca", "kogge front proxy", e) < 0 || layout_hand_settings(l, s, e) < 0 ||
		need_sealing_keys(l, s, e) < 0 || pki_signing_key(l->control_pki, "sa", e) < 0 ||
		need_leaf(l, "ca", &server, &renewed, e) < 0 || need_leaf(l, "ca", &node_client, &renewed, e) < 0 ||
		need_leaf(l, "front-ca", &front, &renewed, e) < 0 || need_leaf(l, "ca", &admin, &renewed, e) < 0)
		return -e->code;
	hand_over_all(l);
	if (admin_kubeconfig(a, l, s, e) < 0)
		return -e->code;
	if (!s->no_node &&
		(need_leaf(l, "ca", &node, &renewed, e) < 0 || need_leaf(l, "ca", &node_server, &renewed, e) < 0 ||
			file_read(arena_printf(a, "%s/ca.crt", l->control_pki), &ca, e) < 0 ||
			file_keep(arena_printf(a, "%s/ca.crt", l->node_pki), buf_view(&ca), 0644, e) < 0))
		return -e->code;
	if (ret_renewed)
		*ret_renewed = renewed;
	return 0;
}

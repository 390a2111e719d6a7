/* What a container sees in its file tree besides its image: volumes, sub-paths of them, /etc/hosts and the termination
 * log. */
#include "node/node_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_MODULE "node"

/* ---- propagation ----------------------------------------------------------------------------- */

/* Whether mounts below dir reach other namespaces, by the line of mountinfo that it is on. */
static bool is_shared(const char *dir)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[8192], at[4096];
	size_t longest = 0;
	bool shared = false;

	while (f && fgets(line, sizeof(line), f)) {
		size_t n = sscanf(line, "%*s %*s %*s %*s %4095s", at) == 1 ? strlen(at) : 0;
		const char *end = strstr(line, " - ");
		if (!n || !end || strncmp(dir, at, n) != 0 || (n > 1 && dir[n] != 0 && dir[n] != '/') || n < longest)
			continue;
		longest = n;
		const char *tag = strstr(line, " shared:");
		shared = tag && tag < end;
	}
	if (f)
		(void)fclose(f);
	return shared;
}

/* Without systemd the root is often private, and mountPropagation could not be honoured: then dir becomes a shared
 * mount by itself. */
int mounts_share(const char *dir, struct err *e)
{
	char real[PATH_MAX]; /* as mountinfo names it */

	if (!realpath(dir, real))
		return err_errno(e, errno, "find %s", dir);
	if (is_shared(real))
		return 0;
	if (mount(dir, dir, NULL, MS_BIND | MS_REC, NULL) < 0 || mount(NULL, dir, NULL, MS_SHARED | MS_REC, NULL) < 0)
		return err_errno(e, errno, "make %s a shared mount", dir);
	return 0;
}

/* ---- sub-paths ------------------------------------------------------------------------------- */

static int open_beneath(int dir, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* Opens sub inside root, makes missing directories; no link leads out of root, at whatever moment it is made. */
static int open_sub(const char *root, const char *sub, struct err *e)
{
	int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;
	struct stat st;

	if (dir < 0)
		return err_errno(e, errno, "open %s", root);
	fd = open_beneath(dir, sub, O_PATH);
	if (fd < 0 && errno == ENOENT && fstat(dir, &st) == 0) {
		int at = dup(dir);
		for (struct str part, rest = str_c(sub); at >= 0 && str_next(&rest, '/', &part);) {
			auto_free char *name = str_dup(part);
			int next;
			if (str_empty(part) || str_is(part, "."))
				continue;
			if (mkdirat(at, name, st.st_mode & 07777) < 0 && errno != EEXIST) {
				(void)close(at);
				at = -1;
				break;
			}
			next = open_beneath(at, name, O_PATH | O_DIRECTORY);
			if (next >= 0 &&
				(fchownat(at, name, (uid_t)-1, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
					fchmodat(at, name, st.st_mode & 07777, 0) < 0)) {
				(void)close(next);
				next = -1;
			}
			(void)close(at);
			at = next;
		}
		fd = at;
	}
	int saved = errno;
	(void)close(dir);
	if (fd < 0 && saved == EXDEV)
		return err_set(e, ERR_INVALID, "subPath %s leads out of its volume", sub);
	if (fd < 0)
		return err_errno(e, saved, "subPath %s of %s", sub, root);
	return fd;
}

/* Binds the opened place to a path of its own: what the runtime mounts later cannot be exchanged behind its back. */
static int bind_sub(struct pod *p, const char *volume_root, struct str volume, struct str container, size_t i,
	const char *sub, struct arena *a, char **ret, struct err *e)
{
	char *rel = arena_printf(a, "volume-subpaths/%.*s/%.*s", STR_ARG(volume), STR_ARG(container));
	auto_free char *dir = pod_dir(p, rel);
	char *target = arena_printf(a, "%s/%zu", dir, i), source[64];
	struct stat st;
	int fd, r;

	for (struct str part, rest = str_c(sub); str_next(&rest, '/', &part);)
		if (str_is(part, ".."))
			return err_set(e, ERR_INVALID, "subPath %s leads out of its volume", sub);
	if (sub[0] == '/')
		return err_set(e, ERR_INVALID, "subPath %s is not relative", sub);
	fd = open_sub(volume_root, sub, e);
	if (fd < 0)
		return fd;
	(void)umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW);
	r = mkdirs(dir, 0755, e);
	if (r == 0 && fstat(fd, &st) < 0)
		r = err_errno(e, errno, "subPath %s", sub);
	if (r == 0 && S_ISDIR(st.st_mode)) {
		r = mkdirs(target, 0755, e);
	} else if (r == 0) {
		int file = open(target, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
		if (file < 0)
			r = err_errno(e, errno, "make %s", target);
		else
			(void)close(file);
	}
	(void)snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
	if (r == 0 && mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		r = err_errno(e, errno, "bind subPath %s", sub);
	(void)close(fd);
	if (r == 0)
		*ret = target;
	return r;
}

static Cri__Mount *push_mount(struct arena *a, Cri__ContainerConfig *into, char *host, char *inside, bool readonly)
{
	Cri__Mount *m = CRI_NEW(a, Cri__Mount, cri__mount);

	m->host_path = host;
	m->container_path = inside;
	m->readonly = readonly;
	cri_push(a, &into->mounts, &into->n_mounts, m);
	return m;
}

static char *host_path_of(struct pod *p, struct val volume, struct arena *a)
{
	static const struct {
		const char *field, *dir;
	} dirs[] = { { "configMap", "configmap" }, { "secret", "secret" }, { "projected", "projected" },
		{ "downwardAPI", "downward-api" } };
	const char *kind = "empty-dir";
	struct val host = val_get(volume, "hostPath");

	if (val_has(host))
		return arena_cstr(a, val_str(val_get(host, "path")));
	if (volume_is_claim(volume)) {
		auto_free char *path = claim_volume_path(p, volume);
		return path ? arena_strdup(a, path) : NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (val_has(val_get(volume, dirs[i].field)))
			kind = dirs[i].dir;
	return arena_printf(a, "%s/pods/%s/volumes/kubernetes.io~%s/%.*s", p->n->o.data_dir, p->uid, kind,
		STR_ARG(val_str(val_get(volume, "name"))));
}

static int one_mount(struct pod *p, struct doc *d, struct val container, struct val m, size_t i, const struct env *env,
	struct arena *a, Cri__ContainerConfig *into, struct err *e)
{
	struct str name = val_str(val_get(m, "name")), mode = val_str(val_get(m, "mountPropagation"));
	struct val volume = val_find(doc_get(d, "spec.volumes"), "name", name), sub = val_get(m, "subPath"),
		   expr = val_get(m, "subPathExpr");
	char *inside = arena_cstr(a, val_str(val_get(m, "mountPath"))), *host, *sub_path = NULL;
	Cri__Mount *mount_made;

	if (!val_has(volume))
		return err_set(e, ERR_INVALID, "volumeMounts: there is no volume \"%.*s\"", STR_ARG(name));
	host = host_path_of(p, volume, a);
	if (!host)
		return err_set(
			e, ERR_UNAVAILABLE, "volumeMounts: the claim of volume \"%.*s\" is not set up", STR_ARG(name));
	if (val_has(expr) && !str_empty(val_str(expr)))
		sub_path = env_expand(a, val_str(expr), env);
	else if (val_has(sub) && !str_empty(val_str(sub)))
		sub_path = arena_cstr(a, val_str(sub));
	if (sub_path) {
		int r = bind_sub(p, host, name, val_str(val_get(container, "name")), i, sub_path, a, &host, e);
		if (r < 0)
			return r;
	}
	if (inside[0] != '/')
		inside = arena_printf(a, "/%s", inside);
	mount_made = push_mount(a, into, host, inside,
		val_bool(val_get(m, "readOnly"), false) ||
			val_bool(val_path(volume, "persistentVolumeClaim.readOnly"), false));
	mount_made->propagation = str_is(mode, "Bidirectional") ? 2 : str_is(mode, "HostToContainer") ? 1 : 0;
	if (val_is(val_get(m, "recursiveReadOnly"), "Enabled"))
		return err_set(e, ERR_UNSUPPORTED,
			"volumeMounts: recursiveReadOnly is not supported by this container runtime");
	return 0;
}

static void hosts_text(struct pod *p, struct doc *d, struct buf *b)
{
	struct str host = doc_str(d, "spec.hostname"), sub = doc_str(d, "spec.subdomain");
	const char *domain = p->n->o.cluster_domain ? p->n->o.cluster_domain : "cluster.local";
	char line[1024];

	if (str_empty(host))
		host = doc_name(d);
	if (pod_host_network(doc_get(d, "spec"))) {
		FILE *f = fopen("/etc/hosts", "re");
		buf_c(b, "# Kubernetes-managed hosts file (host network).\n");
		while (f && fgets(line, sizeof(line), f))
			buf_c(b, line);
		if (f)
			(void)fclose(f);
	} else {
		buf_c(b,
			"# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost "
			"ip6-loopback\n"
			"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-"
			"allrouters\n");
		for (size_t i = 0; i < p->n_ips; i++) {
			if (str_empty(sub))
				buf_printf(b, "%s\t%.*s\n", p->ips[i], STR_ARG(host));
			else
				buf_printf(b, "%s\t%.*s.%.*s.%s.svc.%s\t%.*s\n", p->ips[i], STR_ARG(host), STR_ARG(sub),
					p->ns, domain, STR_ARG(host));
		}
	}
	if (val_len(doc_get(d, "spec.hostAliases")))
		buf_c(b, "\n# Entries added by HostAliases.\n");
	for (struct val_iter it = val_iter(doc_get(d, "spec.hostAliases")); val_next(&it);) {
		buf_str(b, val_str(val_get(it.val, "ip")));
		for (struct val_iter h = val_iter(val_get(it.val, "hostnames")); val_next(&h);)
			buf_printf(b, "\t%.*s", STR_ARG(val_str(h.val)));
		buf_byte(b, '\n');
	}
}

static int write_file(const char *path, struct str text, mode_t mode, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);

	if (fd < 0)
		return err_errno(e, errno, "write %s", path);
	if (fchmod(fd, mode) < 0 || write(fd, text.p, text.n) != (ssize_t)text.n) {
		int r = err_errno(e, errno, "write %s", path);
		(void)close(fd);
		return r;
	}
	(void)close(fd);
	return 0;
}

static bool covers(Cri__ContainerConfig *k, const char *path)
{
	for (size_t i = 0; i < k->n_mounts; i++)
		if (strcmp(k->mounts[i]->container_path, path) == 0)
			return true;
	return false;
}

static int mount_hosts(struct pod *p, struct doc *d, struct arena *a, Cri__ContainerConfig *into, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	auto_free char *path = pod_dir(p, "etc-hosts");
	int r;

	if (covers(into, "/etc/hosts"))
		return 0;
	hosts_text(p, d, &b);
	r = write_file(path, buf_view(&b), 0644, e);
	if (r == 0)
		push_mount(a, into, arena_strdup(a, path), (char *)"/etc/hosts", false);
	return r;
}

static int mount_message(struct pod *p, struct val container, const char *name, uint32_t attempt, struct arena *a,
	Cri__ContainerConfig *into, struct err *e)
{
	struct str inside = val_str(val_get(container, "terminationMessagePath"));
	auto_free char *rel = xasprintf("containers/%s", name), *dir = pod_dir(p, rel);
	char *path = arena_printf(a, "%s/%u", dir, attempt);
	int r = mkdirs(dir, 0750, e);

	if (r == 0)
		r = write_file(path, STR(""), 0666, e);
	if (r == 0)
		push_mount(a, into, path, str_empty(inside) ? (char *)"/dev/termination-log" : arena_cstr(a, inside),
			false);
	return r;
}

int volume_mounts(struct pod *p, struct doc *d, struct val container, const struct env *env, struct arena *a,
	Cri__ContainerConfig *into, struct err *e)
{
	int r;

	for (struct val_iter it = val_iter(val_get(container, "volumeMounts")); val_next(&it);) {
		r = one_mount(p, d, container, it.val, it.i, env, a, into, e);
		if (r < 0)
			return r;
	}
	r = mount_hosts(p, d, a, into, e);
	if (r == 0)
		r = mount_message(p, container, into->metadata->name, into->metadata->attempt, a, into, e);
	return r;
}

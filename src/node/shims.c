/* Shims that nobody asks any more, of our own containerd only, and what else it left when it was killed. containerd 1.6 starts a shim, then has it make tasks;
 * when it is killed meanwhile
 *
 *   before the pod's first task   its successor keeps the shim for ever
 *   while a container is made     the shim waits for a container that nobody knows, also when its pod is taken away
 *
 * A shim works in its bundle: STATE/io.containerd.runtime.v2.task/k8s.io/ID, where runc notes the task's process once
 * it is made. A bundle that is being deleted gets a dot before its name first, and keeps it for ever when nobody goes
 * on. */
#include "base/log.h"
#include "node/node_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define PROCESSES_MAX 65536
#define BEGINNING_S 60 /* a shim has its first task long before */
#define TASKS "io.containerd.runtime.v2.task/k8s.io"
#define SANDBOXES "io.containerd.grpc.v1.cri/sandboxes"
#define NETWORK_NOTES "/var/lib/cni/results" /* of every containerd on the machine */
#define NAMESPACES "io.containerd.grpc.v1.cri/netns"

struct process {
	pid_t pid, parent;
	bool ends;
};

static ssize_t read_proc(pid_t pid, const char *file, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, size - 1);
	close(fd);
	text[MAX(n, (ssize_t)0)] = '\0';
	return n;
}

static pid_t parent_of(pid_t pid)
{
	char text[512], *rest;
	int parent = 0;

	if (read_proc(pid, "stat", text, sizeof(text)) <= 0 || !(rest = strrchr(text, ')')))
		return 0;
	return sscanf(rest + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

/* A shim of this instance's containerd: containerd-shim-… -namespace k8s.io -id ID -address SOCKET. */
static bool is_shim(const char *socket, pid_t pid)
{
	char line[4096], address[256];
	ssize_t n = read_proc(pid, "cmdline", line, sizeof(line));
	int len = snprintf(address, sizeof(address), "-address%c%s", '\0', socket) + 1;

	return n > 0 && strstr(line, "containerd-shim") && memmem(line, (size_t)n, address, (size_t)len);
}

/* Its bundle is gone; or no runtime knows it, it has begun some time ago and nothing runs in it. */
static bool is_abandoned(const char *cwd, const char *bundle, const struct map *known, bool has_children)
{
	auto_free char *config = xasprintf("%s/config.json", cwd);
	const char *id = strrchr(bundle, '/');
	struct stat st;

	if (strstr(bundle, "/.") || strstr(bundle, " (deleted)"))
		return true;
	return known && id && !has_children && !map_get(known, str_c(id + 1)) && stat(config, &st) == 0 &&
		st.st_mtime + BEGINNING_S < time(NULL);
}

static bool matches(pid_t pid, enum node_shims which, const struct map *known, bool has_children)
{
	char cwd[64], task[80], bundle[512];
	ssize_t n;

	snprintf(cwd, sizeof(cwd), "/proc/%d/cwd", (int)pid);
	snprintf(task, sizeof(task), "%s/init.pid", cwd);
	n = readlink(cwd, bundle, sizeof(bundle) - 1);
	bundle[MAX(n, (ssize_t)0)] = '\0';
	return which == NODE_SHIMS_ALL || is_abandoned(cwd, bundle, known, has_children) ||
		(which == NODE_SHIMS_WITHOUT_TASK && access(task, F_OK) != 0);
}

static size_t read_processes(struct process *list)
{
	struct dirent *entry;
	DIR *d = opendir("/proc");
	size_t n = 0;

	while (d && n < PROCESSES_MAX && (entry = readdir(d))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid > 0)
			list[n++] = (struct process){ .pid = pid, .parent = parent_of(pid) };
	}
	if (d)
		closedir(d);
	return n;
}

/* A shim's children: a runc that is still at it would make what nobody waits for. */
static bool add_children(struct process *list, size_t n)
{
	bool more = false;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; !list[i].ends && k < n; k++)
			if (list[k].ends && list[k].pid == list[i].parent)
				more = list[i].ends = true;
	return more;
}

static bool is_parent(const struct process *list, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].parent == pid)
			return true;
	return false;
}

static void end_some(const char *socket, enum node_shims which, const struct map *known)
{
	struct process *list = xcalloc(PROCESSES_MAX, sizeof(*list));
	size_t n = read_processes(list), shims = 0;

	for (size_t i = 0; i < n; i++) {
		list[i].ends = is_shim(socket, list[i].pid) &&
			matches(list[i].pid, which, known, is_parent(list, n, list[i].pid));
		shims += list[i].ends;
	}
	while (shims && add_children(list, n)) {
	}
	for (size_t i = 0; i < n; i++)
		if (list[i].ends)
			kill(list[i].pid, SIGKILL);
	if (shims)
		log_info("%zu shims that nobody asks any more are ended", shims);
	free(list);
}

void node_shims_end(const char *socket, enum node_shims which)
{
	end_some(socket, which, NULL);
}

void shims_end_unknown(struct node_agent *n, const struct map *known)
{
	end_some(n->o.cri_socket, NODE_SHIMS_ABANDONED, known);
}

/* A bundle for which no shim was asked yet cannot be read by containerd, one that was being deleted is not looked
 * at. */
static void remove_unfinished(const char *state, const char *root, const char *id)
{
	auto_free char *bundle = xasprintf("%s/" TASKS "/%s", state, id),
		       *work = xasprintf("%s/" TASKS "/%s", root, id);
	auto_free char *begun = xasprintf("%s/runtime", bundle), *rootfs = xasprintf("%s/rootfs", bundle);

	if (*id != '.' && access(begun, F_OK) == 0)
		return;
	(void)umount2(rootfs, MNT_DETACH | UMOUNT_NOFOLLOW);
	remove_tree(bundle);
	if (*id != '.')
		remove_tree(work);
}

static void remove_bundles(const char *state, const char *root)
{
	auto_free char *tasks = xasprintf("%s/" TASKS, state);
	DIR *d = opendir(tasks);

	for (struct dirent *entry; d && (entry = readdir(d));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			remove_unfinished(state, root, entry->d_name);
	if (d)
		(void)closedir(d);
}

/* ---- network namespaces ---------------------------------------------------------------------- */

static bool lives_in(ino_t ns)
{
	struct dirent *entry;
	DIR *d = opendir("/proc");
	bool found = !d;

	while (!found && (entry = readdir(d))) {
		auto_free char *path = xasprintf("/proc/%s/ns/net", entry->d_name);
		struct stat st;
		found = stat(path, &st) == 0 && st.st_ino == ns;
	}
	if (d)
		(void)closedir(d);
	return found;
}

/* Made for a pod that was not finished: containerd forgets it. */
static void remove_namespaces(const char *state)
{
	auto_free char *dir = xasprintf("%s/" NAMESPACES, state);
	DIR *d = opendir(dir);

	for (struct dirent *entry; d && (entry = readdir(d));) {
		auto_free char *path = xasprintf("%s/%s", dir, entry->d_name);
		struct stat st;
		if (entry->d_name[0] == '.' || stat(path, &st) < 0 || lives_in(st.st_ino))
			continue;
		(void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
		(void)unlink(path);
	}
	if (d)
		(void)closedir(d);
}

/* ---- what network plugins answered ------------------------------------------------------------- */

/* NETWORK-SANDBOX-INTERFACE; neither a sandbox's id nor an interface of ours has a dash. */
static bool is_of_sandbox(const char *root, const char *note)
{
	auto_free char *id = xstrdup(note);
	char *end = strrchr(id, '-'), *begin;

	if (!end)
		return false;
	*end = '\0';
	begin = strrchr(id, '-');
	if (!begin)
		return false;
	auto_free char *sandbox = xasprintf("%s/" SANDBOXES "/%s", root, begin + 1);
	return access(sandbox, F_OK) == 0;
}

/* containerd notes a plugin's answer to give it back when the pod goes. A note that is empty, because the process or the
 * machine ended meanwhile, it refuses to read, and the pod could never go; it needs none. */
static void remove_empty_notes(const char *root)
{
	DIR *d = opendir(NETWORK_NOTES);
	struct stat st;

	for (struct dirent *entry; d && (entry = readdir(d));)
		if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
			!st.st_size && is_of_sandbox(root, entry->d_name))
			(void)unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		(void)closedir(d);
}

void node_runtime_tidy(const char *socket, const char *state, const char *root)
{
	node_shims_end(socket, NODE_SHIMS_WITHOUT_TASK);
	remove_bundles(state, root);
	remove_namespaces(state);
	remove_empty_notes(root);
}

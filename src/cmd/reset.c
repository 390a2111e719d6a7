/* reset: takes away what an instance made: pods, containerd, mounts, links, tables, cgroups, sockets, the data
 * folder. */
#include "base/log.h"
#include "cmd/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "reset"
#define STOP_MS 20000

static void nap_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* The supervisor's pid while its lock is held, 0: none runs. */
static pid_t running(const struct layout *l)
{
	int fd = open(l->supervisor_lock, O_RDWR | O_CLOEXEC), pid = 0;
	char text[24] = "";

	if (fd < 0)
		return 0;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 && read(fd, text, sizeof(text) - 1) > 0)
		pid = (int)strtol(text, NULL, 10);
	close(fd);
	return pid;
}

static int stop_server(const struct settings *s, const struct layout *l, struct err *e)
{
	pid_t pid = running(l);

	if (!pid || pid == getpid())
		return 0;
	if (!s->force)
		return err_set(e, ERR_EXISTS, "a kogge server (pid %d) runs on %s: stop it first, or use --force",
			(int)pid, l->data);
	say(s, "stopping the server (pid %d)", (int)pid);
	kill(pid, SIGTERM);
	for (int waited = 0; waited < STOP_MS; waited += 50) {
		if (!running(l))
			return 0;
		nap_ms(50);
	}
	return err_set(e, ERR_TIMEOUT, "the server (pid %d) does not end within %d s", (int)pid, STOP_MS / 1000);
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}

/* Mounts below the instance's folders, the last mounted first; again until none is left. */
static void unmount_all(const struct layout *l)
{
	for (int round = 0; round < 10; round++) {
		FILE *f = setmntent("/proc/self/mounts", "re");
		auto_(arena_free) struct arena *a = arena_new();
		const char **found = ARENA_ARRAY(a, const char *, 65536);
		struct mntent *m;
		size_t n = 0;

		while (f && (m = getmntent(f)) && n < 65536)
			if (is_below(m->mnt_dir, l->data) || is_below(m->mnt_dir, l->run))
				found[n++] = arena_strdup(a, m->mnt_dir);
		if (f)
			endmntent(f);
		if (!n)
			return;
		while (n-- > 0)
			umount2(found[n], MNT_DETACH);
	}
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)ftw;
	if ((flag == FTW_DP ? rmdir(path) : unlink(path)) < 0 && errno != ENOENT)
		log_warn("cannot remove %s: %s", path, strerror(errno));
	return 0;
}

static void remove_tree(const char *path)
{
	nftw(path, remove_entry, 64, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void purge_pods(struct arena *a, const struct settings *s, const struct layout *l)
{
	struct node_opts node;
	struct err e;
	bool started = false;

	node_agent_opts(a, s, l, &node);
	err_init(&e);
	if (l->own_containerd && !containerd_alive(l) && access(l->containerd_config, F_OK) == 0) {
		/* containers of a containerd that died are taken away by a new one */
		started = containerd_need(l, &e) >= 0;
		for (int i = 0; started && i < 100 && access(l->containerd_socket, F_OK) < 0; i++)
			nap_ms(50);
	}
	if (access(l->containerd_socket, F_OK) < 0)
		return;
	if (node_purge(&node, &e) < 0)
		log_warn("pods: %s", e.message);
}

/* What containerd, runc and their CNI library make outside the folders they are told; others may use them too: only
 * when empty. */
static void remove_shared_folders(void)
{
	static const char *const folders[] = { "/run/containerd/runc/k8s.io", "/run/containerd/runc",
		"/run/containerd/s", "/run/containerd", "/run/netns", "/var/lib/cni/results", "/var/lib/cni/cache",
		"/var/lib/cni" };

	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		rmdir(folders[i]);
}

int reset_instance(struct arena *a, const struct settings *s, const struct layout *l, struct err *e)
{
	struct network_opts net;

	if (geteuid() == 0 && !s->no_node) {
		say(s, "taking away pods");
		purge_pods(a, s, l);
		if (containerd_stop(l, e) < 0)
			return -e->code;
		if (l->own_containerd)
			node_shims_end(l->containerd_socket, NODE_SHIMS_ALL);
		say(s, "taking away links, tables and mounts");
		node_network_opts(a, s, l, &net);
		if (network_purge(&net, e) < 0)
			log_warn("network: %s", e->message);
		err_init(e);
		unmount_all(l);
		if (l->default_instance)
			links_remove(a, "", l);
		remove_tree(l->run);
		if (l->own_containerd)
			remove_shared_folders();
	}
	remove_tree(l->data);
	if (access(l->data, F_OK) == 0)
		return err_set(e, ERR_IO, "%s could not be removed completely", l->data);
	say(s, "%s is gone", l->data);
	return 0;
}

/* A folder that is not ours must not be emptied because of a slip of the finger. */
static bool looks_like_ours(struct arena *a, const struct layout *l)
{
	return access(l->data, F_OK) < 0 || access(l->supervisor_lock, F_OK) == 0 ||
		access(arena_printf(a, "%s/pki", l->control), F_OK) == 0;
}

int cmd_reset(struct arena *a, const struct settings *s)
{
	struct layout l;
	struct err e;

	err_init(&e);
	log_setup("reset", LOG_INFO, false);
	if (s->n_args)
		return fail("kogge reset takes no argument (\"%s\")", s->args[0]), 2;
	if (layout_of(a, s, &l, &e) < 0)
		return fail("%s", e.message);
	if (!looks_like_ours(a, &l))
		return fail("%s is not a data folder of Kogge: nothing was removed", l.data);
	if (stop_server(s, &l, &e) < 0 || reset_instance(a, s, &l, &e) < 0)
		return fail("%s", e.message);
	return 0;
}

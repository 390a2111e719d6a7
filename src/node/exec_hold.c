/* Input of `exec -i` that is not lost. containerd ends a command's stdin as soon as the command closes its stdout or
 * stderr (its issue 13934), so that of `sh -c 'cat > file'` all but the first 192 KiB are cut. While a command with
 * stdin runs, both pipes are held open here for writing:
 * containerd then sees their end when the command has ended.
 *
 *     /tasks/exec-added ─► open STATE/io.containerd.grpc.v1.cri/containers/CONTAINER/io/…/EXEC-stdout and -stderr
 *     /tasks/exit       ─► close
 *
 * Only of our own containerd, whose folders are known. Belongs to the task that reads events. */
#include "node/node_internal.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "node"

struct hold {
	int out, err;
};

static void hold_end(void *hold)
{
	struct hold *h = hold;

	close(h->out);
	close(h->err);
	free(h);
}

static int open_pipe(const char *dir, const char *exec, const char *name)
{
	auto_free char *path = xasprintf("%s/%s-%s", dir, exec, name);

	return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

static struct hold *hold_in(const char *dir, const char *exec)
{
	auto_free char *in = xasprintf("%s/%s-stdin", dir, exec);
	struct hold h, *own;

	if (access(in, F_OK) != 0)
		return NULL; /* of another command, or it reads nothing */
	h.out = open_pipe(dir, exec, "stdout");
	h.err = open_pipe(dir, exec, "stderr");
	if (h.out >= 0 && h.err >= 0) {
		own = xmalloc(sizeof(*own));
		*own = h;
		return own;
	}
	if (h.out >= 0) /* a terminal has one pipe, whose end is the command's */
		close(h.out);
	if (h.err >= 0)
		close(h.err);
	return NULL;
}

/* The pipes of a command that did not come to run are removed, and nobody tells of its end. */
static void drop_removed(struct map *holds)
{
	struct str key;
	void *value;
	struct stat st;

	for (size_t i = 0; map_next(holds, &i, &key, &value);)
		if (fstat(((struct hold *)value)->out, &st) == 0 && st.st_nlink == 0)
			map_del(holds, key);
}

void exec_added(struct node_agent *n, const char *container, const char *exec)
{
	const char *slash = strrchr(n->o.cri_socket, '/');
	auto_free char *io = NULL;
	struct hold *found = NULL;
	DIR *d;

	if (!n->o.registry_dir || !slash) /* not our own runtime */
		return;
	if (!n->exec_holds)
		n->exec_holds = map_new(hold_end);
	drop_removed(n->exec_holds);
	io = xasprintf("%.*s/containerd/io.containerd.grpc.v1.cri/containers/%s/io", (int)(slash - n->o.cri_socket),
		n->o.cri_socket, container);
	d = opendir(io);
	for (struct dirent *entry; d && !found && (entry = readdir(d));) {
		auto_free char *dir = xasprintf("%s/%s", io, entry->d_name);
		if (entry->d_name[0] != '.')
			found = hold_in(dir, exec);
	}
	if (d)
		(void)closedir(d);
	if (found)
		map_put(n->exec_holds, str_c(exec), found);
}

void exec_ended(struct node_agent *n, const char *exec)
{
	if (n->exec_holds)
		map_del(n->exec_holds, str_c(exec));
}

void exec_release_all(struct node_agent *n)
{
	n->exec_holds = map_free(n->exec_holds);
}

/* Input of `exec -i` that is not lost. containerd ends a command's stdin as soon as the command closes its stdout or
 * stderr (its issue 13934), so that of `sh -c 'cat > file'` all but the first 192 KiB are cut. While a command with
 * stdin runs, both pipes are held open here for writing: containerd then sees their end when the command has ended.
 *
 *     exec is asked for ─► watch STATE/io.containerd.grpc.v1.cri/containers/CONTAINER/io
 *     a folder is made  ─► open its EXEC-stdout and EXEC-stderr     the command starts some 20 ms later
 *     /tasks/exit       ─► close
 *
 * Whoever opens them must not be late: a task of its own does, ahead of everybody else on a busy machine. Only of our
 * own containerd, whose folders are known. */
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define PRIORITY (-20)
#define TRIES 30          /* of a millisecond each, until the pipes are in their folder */
#define EXPECTED_MS 60000 /* containerd's own patience for a command that was asked for */

struct hold {
	int out, err;
};

struct watch {
	char *dir;
	int expected;      /* commands that were asked for and have not come, or were not seen to: they may be quick */
	struct mono asked; /* for the last of them */
};

static void hold_end(void *hold)
{
	struct hold *h = hold;

	close(h->out);
	close(h->err);
	free(h);
}

static void watch_end(void *watch)
{
	struct watch *w = watch;

	free(w->dir);
	free(w);
}

/* For writing, whether or not containerd has opened it for reading yet. */
static int open_pipe(const char *dir, const char *name)
{
	auto_free char *path = xasprintf("%s/%s", dir, name);
	int both = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC),
	    fd = both < 0 ? -1 : open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	if (both >= 0)
		close(both);
	return fd;
}

/* The command whose three pipes are there; own. NULL: not yet, or it reads nothing, or has a terminal, which is one
 * pipe whose end is the command's. */
static char *command_in(const char *dir)
{
	DIR *d = opendir(dir);
	char *exec = NULL;
	int pipes = 0;

	for (struct dirent *entry; d && (entry = readdir(d));) {
		struct str name = str_c(entry->d_name);
		if (str_ends(name, STR("-stdin"))) {
			free(exec);
			exec = xstrndup(name.p, name.n - 6);
		}
		pipes += name.p[0] != '.';
	}
	if (d)
		(void)closedir(d);
	if (pipes < 3) {
		free(exec);
		return NULL;
	}
	return exec;
}

/* The pipes of a command that did not come to run are removed, and nobody tells of its end. */
static void drop_removed(struct map *holds) /* locked */
{
	struct str key;
	void *value;
	struct stat st;

	for (size_t i = 0; map_next(holds, &i, &key, &value);)
		if (fstat(((struct hold *)value)->out, &st) == 0 && st.st_nlink == 0)
			map_del(holds, key);
}

static bool hold(struct node_agent *n, const char *dir)
{
	auto_free char *exec = command_in(dir);

	for (int i = 0; !exec && i < TRIES; i++) {
		task_sleep_ms(1);
		exec = command_in(dir);
	}
	if (!exec)
		return false;
	auto_free char *out = xasprintf("%s-stdout", exec), *err = xasprintf("%s-stderr", exec);
	struct hold *h = xmalloc(sizeof(*h));
	*h = (struct hold){ open_pipe(dir, out), open_pipe(dir, err) };
	task_lock(&n->lock);
	drop_removed(n->exec_holds);
	map_put(n->exec_holds, str_c(exec), h);
	task_unlock(&n->lock);
	return true;
}

void exec_expected(struct node_agent *n, const char *container)
{
	const char *slash = strrchr(n->o.cri_socket, '/');
	char key[16];

	if (!n->o.registry_dir || !slash || n->exec_notify < 0) /* not our own runtime */
		return;
	auto_free char *dir = xasprintf("%.*s/containerd/io.containerd.grpc.v1.cri/containers/%s/io",
		(int)(slash - n->o.cri_socket), n->o.cri_socket, container);
	task_lock(&n->lock);
	int wd = inotify_add_watch(n->exec_notify, dir, IN_CREATE | IN_ONLYDIR);
	(void)snprintf(key, sizeof(key), "%d", wd);
	struct watch *w = map_get(n->exec_watches, str_c(key));
	if (wd >= 0 && !w) {
		w = xcalloc(1, sizeof(*w));
		w->dir = TAKE(dir);
		map_put(n->exec_watches, str_c(key), w);
	}
	if (wd >= 0) {
		w->expected++;
		w->asked = mono_now();
	}
	task_unlock(&n->lock);
}

void exec_forget(struct node_agent *n, struct mono now)
{
	struct str key;
	void *value;
	int64_t wd;

	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->exec_watches, &i, &key, &value);) {
		if (mono_ms_between(((struct watch *)value)->asked, now) < EXPECTED_MS)
			continue;
		if (str_i64(key, &wd))
			(void)inotify_rm_watch(n->exec_notify, (int)wd);
		map_del(n->exec_watches, key);
	}
	task_unlock(&n->lock);
}

static void on_change(struct node_agent *n, const struct inotify_event *x)
{
	auto_free char *dir = NULL;
	char key[16];

	(void)snprintf(key, sizeof(key), "%d", x->wd);
	task_lock(&n->lock);
	struct watch *w = map_get(n->exec_watches, str_c(key));
	if (w && x->len && (x->mask & IN_ISDIR))
		dir = xasprintf("%s/%s", w->dir, x->name);
	if (w && (x->mask & IN_IGNORED)) /* the container is gone */
		map_del(n->exec_watches, str_c(key));
	task_unlock(&n->lock);
	if (!dir || !hold(n, dir))
		return;
	task_lock(&n->lock);
	w = map_get(n->exec_watches, str_c(key));
	if (w && --w->expected <= 0) {
		(void)inotify_rm_watch(n->exec_notify, x->wd);
		map_del(n->exec_watches, str_c(key));
	}
	task_unlock(&n->lock);
}

void exec_holds_run(void *agent)
{
	struct node_agent *n = agent;
	struct pollfd fds[] = { { .fd = n->exec_wake, .events = POLLIN }, { .fd = n->exec_notify, .events = POLLIN } };
	_Alignas(struct inotify_event) char events[4096];

	if (setpriority(PRIO_PROCESS, (id_t)gettid(), PRIORITY) < 0)
		log_debug("input of exec is held with ordinary priority: %s", strerror(errno));
	while (!stop_raised(n->stop)) {
		(void)poll(fds, ARRAY_LEN(fds), EXPECTED_MS);
		exec_forget(n, mono_now());
		ssize_t len = read(n->exec_notify, events, sizeof(events));
		for (ssize_t at = 0; at < len;) {
			const struct inotify_event *x = (const void *)(events + at);
			on_change(n, x);
			at += (ssize_t)(sizeof(*x) + x->len);
		}
	}
	node_task_end(n);
}

void exec_ended(struct node_agent *n, const char *exec)
{
	task_lock(&n->lock);
	map_del(n->exec_holds, str_c(exec));
	task_unlock(&n->lock);
}

void exec_release_all(struct node_agent *n)
{
	task_lock(&n->lock);
	map_free(n->exec_holds);
	n->exec_holds = map_new(hold_end);
	task_unlock(&n->lock);
}

void exec_holds_init(struct node_agent *n)
{
	n->exec_holds = map_new(hold_end);
	n->exec_watches = map_new(watch_end);
	n->exec_wake = dir_watch_fd();
	n->exec_notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
}

void exec_holds_fini(struct node_agent *n)
{
	map_free(n->exec_holds);
	map_free(n->exec_watches);
	(void)close(n->exec_wake);
	(void)close(n->exec_notify);
}

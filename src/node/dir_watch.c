/* A folder that is looked at when it changes, when somebody asks, and again soon after a look that was not content. */
#include "node/node_internal.h"
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define CHANGES (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)
#define BLIND_MS 10000 /* no inotify to be had */
#define AGAIN_MS 1000

int dir_watch_fd(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void dir_watch_wake(int fd)
{
	uint64_t one = 1;

	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_warn("a task that watches a folder cannot be woken: %s", strerror(errno));
}

static void drain(int fd)
{
	char bytes[4096];

	while (fd >= 0 && read(fd, bytes, sizeof(bytes)) > 0)
		;
}

void dir_watch(struct node_agent *n, const char *dir, int wake, bool (*look)(void *arg), void *arg)
{
	int in = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct pollfd fds[] = { { .fd = wake, .events = POLLIN }, { .fd = in, .events = POLLIN } };

	if (in < 0 || inotify_add_watch(in, dir, CHANGES) < 0)
		log_warn("folder %s is looked at every 10 s only: inotify: %s", dir, strerror(errno));
	while (!stop_raised(n->stop)) {
		bool content = look(arg);
		(void)poll(fds, ARRAY_LEN(fds), !content ? AGAIN_MS : in < 0 ? BLIND_MS : -1);
		drain(wake);
		drain(in);
	}
	if (in >= 0)
		(void)close(in);
}

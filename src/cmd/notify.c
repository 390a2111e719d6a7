/* What a service manager is told (sd_notify(3)): a datagram to the socket that it names in the environment. */
#include "base/log.h"
#include "cmd/cmd.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOG_MODULE "notify"

int notify_open(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;
	int fd;

	if (!n)
		return -1;
	if (n > sizeof(to.sun_path)) {
		log_warn("the service manager's socket %s has too long a name", path);
		return -1;
	}
	memcpy(to.sun_path, path, n);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (*path == '@')
		to.sun_path[0] = 0; /* a name that is no file */
	if (fd < 0 ||
		connect(fd, (struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0) {
		log_warn("the service manager's socket %s does not open: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	unsetenv("NOTIFY_SOCKET"); /* ours alone: containerd would speak there, too */
	return fd;
}

void notify_tell(int fd, const char *state)
{
	if (fd >= 0 && send(fd, state, strlen(state), MSG_NOSIGNAL) < 0)
		log_warn("the service manager did not hear %s: %s", state, strerror(errno));
}

/* Private files: read whole, written to a new file and renamed, so that a crash leaves the old or the new one. */
#include "pki/pki_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)1 << 20)

char *pki_path(const char *dir, const char *name, const char *ending)
{
	return xasprintf("%s/%s%s", dir, name, ending);
}

bool pki_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static int write_all(int fd, struct str bytes)
{
	while (bytes.n) {
		ssize_t n = write(fd, bytes.p, bytes.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes = str_sub(bytes, (size_t)n, bytes.n);
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int pki_write_file(const char *path, struct str bytes, mode_t mode, struct err *e)
{
	auto_free char *fresh = xasprintf("%s.new", path);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	int failed;

	if (fd < 0)
		return err_errno(e, errno, "write %s", fresh);
	failed = fchmod(fd, mode) < 0 ? -errno : write_all(fd, bytes);
	close(fd);
	if (!failed && rename(fresh, path) < 0)
		failed = -errno;
	if (failed) {
		unlink(fresh);
		return err_errno(e, -failed, "write %s", path);
	}
	return 0;
}

int pki_read_file(const char *path, struct buf *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return err_errno(e, errno, "read %s", path);
	do {
		char *room = buf_reserve(out, 4096);

		n = room && out->n < FILE_MAX ? read(fd, room, 4096) : -1;
		if (n > 0)
			out->n += (size_t)n;
	} while (n > 0);
	close(fd);
	return n < 0 ? err_set(e, ERR_IO, "read %s: too large or unreadable", path) : 0;
}

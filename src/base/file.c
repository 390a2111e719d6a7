#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t read_some(int fd, struct buf *out)
{
	char *room = buf_reserve(out, 4096);
	ssize_t n;

	if (!room)
		return -EFBIG;
	do
		n = read(fd, room, 4096);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		out->n += (size_t)n;
	return n < 0 ? -errno : n;
}

int file_read(const char *path, struct buf *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return err_errno(e, errno, "read %s", path);
	do
		n = read_some(fd, out);
	while (n > 0);
	close(fd);
	if (n == -EFBIG)
		return err_set(e, ERR_TOO_LARGE, "%s is longer than %zu bytes", path, out->max);
	return n < 0 ? err_errno(e, (int)-n, "read %s", path) : 0;
}

int64_t file_number(const char *path, int64_t otherwise)
{
	FILE *f = fopen(path, "re");
	int64_t n = otherwise;

	if (!f)
		return otherwise;
	if (fscanf(f, "%" SCNd64, &n) != 1)
		n = otherwise;
	fclose(f);
	return n;
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

static int keep_owner(const char *path, int fd)
{
	struct stat old;

	if (stat(path, &old) < 0 || old.st_uid == geteuid())
		return 0;
	return fchown(fd, old.st_uid, old.st_gid) < 0 ? -errno : 0;
}

int file_sync_name(const char *path, struct err *e)
{
	auto_free char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');
	int fd, r = 0;

	if (slash)
		slash[slash == dir] = 0;
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		r = err_errno(e, errno, "fsync the folder of %s", path);
	if (fd >= 0)
		close(fd);
	return r;
}

int file_write(const char *path, struct str bytes, mode_t mode, struct err *e)
{
	auto_free char *fresh = xasprintf("%s.new", path);
	int fd, failed;

	unlink(fresh); /* of one that was killed, who may have been root */
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return err_errno(e, errno, "write %s", fresh);
	failed = fchmod(fd, mode) < 0 ? -errno : write_all(fd, bytes);
	if (!failed)
		failed = keep_owner(path, fd);
	close(fd);
	if (!failed && rename(fresh, path) < 0)
		failed = -errno;
	if (failed) {
		unlink(fresh);
		return err_errno(e, -failed, "write %s", path);
	}
	return 0;
}

int file_keep(const char *path, struct str bytes, mode_t mode, struct err *e)
{
	auto_buf struct buf old = BUF_INIT;
	struct err ignored;
	struct stat st;

	err_init(&ignored);
	if (stat(path, &st) == 0 && (st.st_mode & 07777) == mode && file_read(path, &old, &ignored) == 0 &&
		str_eq(buf_view(&old), bytes))
		return 0;
	return file_write(path, bytes, mode, e);
}

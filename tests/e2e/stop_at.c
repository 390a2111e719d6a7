/* For LD_PRELOAD: counts what a program does to files. KILL_AT=N: it is killed just before the Nth; FULL_AT=N: the disk is
 * full from the Nth on (a file can still be made, as long as nothing is in it). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static int number(const char *name)
{
	const char *text = getenv(name);

	return text ? atoi(text) : 0;
}

/* True: there is no room for it. */
static int step(int wants_room)
{
	static int done;
	int n = __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST), full = number("FULL_AT");

	if (n == number("KILL_AT"))
		kill(getpid(), SIGKILL);
	if (!wants_room || !full || n < full)
		return 0;
	errno = ENOSPC;
	return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define STEP(room, ret, name, args, ...)        \
	ret name args                           \
	{                                       \
		if (step(room))                 \
			return -1;              \
		return REAL(name)(__VA_ARGS__); \
	}

STEP(1, ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at), fd, p, n, at)
STEP(1, ssize_t, pwrite64, (int fd, const void *p, size_t n, off64_t at), fd, p, n, at)
STEP(0, int, ftruncate, (int fd, off_t n), fd, n)
STEP(0, int, ftruncate64, (int fd, off64_t n), fd, n)
STEP(0, int, fsync, (int fd), fd)
STEP(0, int, fdatasync, (int fd), fd)
STEP(0, int, unlink, (const char *name), name)
STEP(0, int, rename, (const char *from, const char *to), from, to)
STEP(1, int, link, (const char *from, const char *to), from, to)

ssize_t write(int fd, const void *p, size_t n)
{
	if (fd > 2 && step(1))
		return -1;
	return REAL(write)(fd, p, n);
}

#define OPEN(name)                                    \
	int name(const char *path, int flags, ...)    \
	{                                             \
		mode_t mode = 0;                      \
		va_list ap;                           \
                                                      \
		va_start(ap, flags);                  \
		if (flags & O_CREAT)                  \
			mode = va_arg(ap, mode_t);    \
		va_end(ap);                           \
		if (flags & O_CREAT && step(0))       \
			return -1;                    \
		return REAL(name)(path, flags, mode); \
	}
OPEN(open)
OPEN(open64)

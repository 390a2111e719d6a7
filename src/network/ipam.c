#include "network/ipam.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWNER_MAX 256
#define LAST_4 "last.4"
#define LAST_6 "last.6"

static int make_dirs(const char *dir, struct err *e)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path))
		return err_set(e, ERR_INVALID, "the path %.64s… is too long", dir);
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		mkdir(path, 0755); /* what really fails shows below */
		*p = '/';
	}
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "make the directory %s", dir);
	return 0;
}

int ipam_open(struct ipam *a, const char *dir, struct err *e)
{
	*a = (struct ipam){ 0 };
	if (make_dirs(dir, e) < 0)
		return -e->code;
	a->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a->dir < 0) {
		a->dir = 0;
		return err_errno(e, errno, "open the directory %s", dir);
	}
	a->lock = openat(a->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (a->lock < 0 || flock(a->lock, LOCK_EX) < 0) {
		int saved = errno;

		ipam_close(a);
		return err_errno(e, saved, "lock %s/lock", dir);
	}
	return 0;
}

void ipam_close(struct ipam *a)
{
	if (a->lock > 0)
		close(a->lock);
	if (a->dir > 0)
		close(a->dir);
	*a = (struct ipam){ 0 };
}

static ssize_t read_small(int dir, const char *name, char *ret, size_t n)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -1;
	ssize_t got = read(fd, ret, n - 1);
	close(fd);
	ret[got > 0 ? got : 0] = 0;
	return got;
}

static void write_small(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return; /* only a hint: where the next search begins */
	ssize_t unused UNUSED = write(fd, text, strlen(text));
	close(fd);
}

/* How many addresses may be given: counted from the second one after the network address. */
static uint32_t usable(struct cidr c)
{
	unsigned host = (unsigned)ip_len(c.ip) * 8 - c.bits;

	if (host < 2)
		return 0;
	if (host >= 20)
		return 1u << 20; /* plenty for one node, and the search stays bounded */
	return (1u << host) - 2 - (c.ip.family == 4 ? 1 : 0);
}

static uint32_t offset_in(struct cidr c, struct ip a)
{
	size_t at = ip_len(a) - 4;
	uint32_t x = 0, base = 0;

	for (size_t i = 0; i < 4; i++) {
		x = x << 8 | a.b[at + i];
		base = base << 8 | c.ip.b[at + i];
	}
	return x - base;
}

int ipam_take(struct ipam *a, struct cidr c, const char *container, const char *ifname, struct ip *ret, struct err *e)
{
	const char *hint = c.ip.family == 4 ? LAST_4 : LAST_6;
	char text[IP_TEXT_MAX], owner[OWNER_MAX];
	uint32_t n = usable(c), start = 0;
	struct ip last;

	if (read_small(a->dir, hint, text, sizeof(text)) > 0 && ip_parse(str_c(text), &last) && cidr_has(c, last))
		start = offset_in(c, last) - 1;
	int len = snprintf(owner, sizeof(owner), "%s\n%s\n", container, ifname);
	for (uint32_t i = 0; i < n; i++) {
		struct ip x = ip_plus(c.ip, 2 + (start + i) % n);

		ip_text(x, text);
		int fd = openat(a->dir, text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			return err_errno(e, errno, "note that address %s is taken", text);
		bool ok = write(fd, owner, (size_t)len) == len;
		int saved = errno;
		close(fd);
		if (!ok) {
			unlinkat(a->dir, text, 0);
			return err_errno(e, saved, "note that address %s is taken", text);
		}
		write_small(a->dir, hint, text);
		*ret = x;
		return 0;
	}
	cidr_text(c, text);
	return err_set(e, ERR_FULL, "all %u pod addresses of %s on this node are in use", n, text);
}

/* Calls each() for every address file with its owner. */
static void visit(struct ipam *a,
	bool (*each)(void *arg, const char *name, struct ip ip, char *container, char *ifname), void *arg)
{
	int fd = dup(a->dir);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	rewinddir(d);
	while ((entry = readdir(d))) {
		char owner[OWNER_MAX];
		struct ip ip;

		if (!ip_parse(str_c(entry->d_name), &ip) || read_small(a->dir, entry->d_name, owner, sizeof(owner)) < 0)
			continue;
		char *ifname = strchr(owner, '\n');
		if (ifname) {
			*ifname++ = 0;
			ifname[strcspn(ifname, "\n")] = 0;
		}
		if (each(arg, entry->d_name, ip, owner, ifname ? ifname : owner + strlen(owner)))
			unlinkat(a->dir, entry->d_name, 0);
	}
	closedir(d);
}

struct owner {
	const char *container, *ifname;
	struct ip *ret;
	size_t n, max;
	bool (*keep)(void *arg, const char *container, const char *ifname);
	void *arg;
};

static bool owned(const struct owner *o, const char *container, const char *ifname)
{
	return strcmp(o->container, container) == 0 && (!o->ifname || strcmp(o->ifname, ifname) == 0);
}

static bool drop_owned(void *arg, const char *name, struct ip ip, char *container, char *ifname)
{
	return owned(arg, container, ifname);
}

static bool note_owned(void *arg, const char *name, struct ip ip, char *container, char *ifname)
{
	struct owner *o = arg;

	if (owned(o, container, ifname) && o->n < o->max)
		o->ret[o->n++] = ip;
	return false;
}

static bool drop_unkept(void *arg, const char *name, struct ip ip, char *container, char *ifname)
{
	struct owner *o = arg;

	return !o->keep(o->arg, container, ifname);
}

void ipam_release(struct ipam *a, const char *container, const char *ifname)
{
	struct owner o = { .container = container, .ifname = ifname };

	visit(a, drop_owned, &o);
}

size_t ipam_held(struct ipam *a, const char *container, const char *ifname, struct ip *ret, size_t n)
{
	struct owner o = { .container = container, .ifname = ifname, .ret = ret, .max = n };

	visit(a, note_owned, &o);
	return o.n;
}

void ipam_gc(struct ipam *a, bool (*keep)(void *arg, const char *container, const char *ifname), void *arg)
{
	struct owner o = { .keep = keep, .arg = arg };

	visit(a, drop_unkept, &o);
}

/* Directories whose files change together: the content lives in ..TIMESTAMP, ..data points to it, and each visible name
 * points through ..data. Replacing that one link replaces everything.
 *
 *     volume/..2026_11_23_10_00_00.123456789/a
 *     volume/..data -> ..2026_11_23_10_00_00.123456789
 *     volume/a      -> ..data/a */
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SET_BYTES_MAX ((size_t)4 << 20)
#define SET_FILES_MAX 10000

static bool path_ok(struct str path)
{
	if (str_empty(path) || path.p[0] == '/' || path.n > 4095)
		return false;
	for (struct str part, rest = path; str_next(&rest, '/', &part);)
		if (str_empty(part) || str_is(part, ".") || str_is(part, ".."))
			return false;
	return !str_starts(path, STR(".."));
}

int file_set_add(struct file_set *s, struct str path, struct str bytes, int mode, struct err *e)
{
	return file_set_add_of(s, path, bytes, mode, -1, e);
}

int file_set_add_of(struct file_set *s, struct str path, struct str bytes, int mode, int64_t uid, struct err *e)
{
	size_t total = bytes.n;

	if (!path_ok(path))
		return err_set(e, ERR_INVALID, "\"%.*s\" is not a path inside a volume", STR_ARG(path));
	for (size_t i = 0; i < s->n; i++) {
		total += s->v[i].bytes.n;
		if (str_is(path, s->v[i].path)) { /* a later source wins, as in the API's rules */
			s->v[i].bytes = arena_str(s->a, bytes);
			s->v[i].mode = mode;
			s->v[i].uid = uid;
			return 0;
		}
	}
	if (total > SET_BYTES_MAX || s->n >= SET_FILES_MAX)
		return err_set(e, ERR_TOO_LARGE, "a volume of objects may hold %zu MiB", SET_BYTES_MAX >> 20);
	ARENA_GROW(s->a, s->v, s->n, s->cap, 8);
	s->v[s->n++] = (struct file_entry){ arena_cstr(s->a, path), arena_str(s->a, bytes), mode, uid };
	return 0;
}

int mkdirs(const char *path, unsigned mode, struct err *e)
{
	char full[4096];
	size_t n = strlen(path);

	if (n >= sizeof(full))
		return err_set(e, ERR_INVALID, "path %s is too long", path);
	memcpy(full, path, n + 1);
	for (char *s = full + 1; *s; s++) {
		if (*s != '/')
			continue;
		*s = 0;
		if (mkdir(full, 0755) < 0 && errno != EEXIST)
			return err_errno(e, errno, "make directory %s", full);
		*s = '/';
	}
	if (mkdir(full, mode) < 0 && errno != EEXIST)
		return err_errno(e, errno, "make directory %s", full);
	return 0;
}

static bool file_is(int dir, const struct file_entry *f)
{
	struct stat st;
	int fd = openat(dir, f->path, O_RDONLY | O_CLOEXEC);
	bool same = fd >= 0 && fstat(fd, &st) == 0 && (size_t)st.st_size == f->bytes.n &&
		(st.st_mode & 07777) == (mode_t)f->mode && st.st_uid == (f->uid < 0 ? 0 : (uid_t)f->uid);

	if (same && f->bytes.n) {
		auto_free char *have = xmalloc(f->bytes.n);
		same = read(fd, have, f->bytes.n) == (ssize_t)f->bytes.n && memcmp(have, f->bytes.p, f->bytes.n) == 0;
	}
	if (fd >= 0)
		(void)close(fd);
	return same;
}

static size_t count_files(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	size_t n = 0;
	DIR *d;

	if (fd < 0)
		return 0;
	d = fdopendir(fd);
	while (d && (entry = readdir(d))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		n += entry->d_type == DT_DIR ? count_files(dirfd(d), entry->d_name) : 1;
	}
	if (d)
		(void)closedir(d);
	return n;
}

static bool same_already(int dir, const struct file_set *s)
{
	int data = openat(dir, "..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool same = data >= 0 && count_files(dir, "..data") == s->n;

	for (size_t i = 0; same && i < s->n; i++)
		same = file_is(data, &s->v[i]);
	if (data >= 0)
		(void)close(data);
	return same;
}

static int write_one(int at, const struct file_entry *f, int64_t gid, struct err *e)
{
	char part[4096];
	int fd, r = 0;

	for (const char *s = strchr(f->path, '/'); s; s = strchr(s + 1, '/')) {
		(void)snprintf(part, sizeof(part), "%.*s", (int)(s - f->path), f->path);
		if (mkdirat(at, part, 0755) < 0 && errno != EEXIST)
			return err_errno(e, errno, "make directory %s", part);
	}
	fd = openat(at, f->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, errno, "write %s", f->path);
	for (size_t off = 0; r == 0 && off < f->bytes.n;) {
		ssize_t n = write(fd, f->bytes.p + off, f->bytes.n - off);
		if (n < 0)
			r = err_errno(e, errno, "write %s", f->path);
		else
			off += (size_t)n;
	}
	if (r == 0 && (f->uid >= 0 || gid >= 0) &&
		fchown(fd, f->uid < 0 ? (uid_t)-1 : (uid_t)f->uid, gid < 0 ? (gid_t)-1 : (gid_t)gid) < 0)
		r = err_errno(e, errno, "change the owner of %s", f->path);
	if (r == 0 && fchmod(fd, (mode_t)f->mode) < 0)
		r = err_errno(e, errno, "change the mode of %s", f->path);
	(void)close(fd);
	return r;
}

/* Visible names are the first components of the paths. */
static bool is_visible(const struct file_set *s, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < s->n; i++)
		if (strncmp(s->v[i].path, name, n) == 0 && (s->v[i].path[n] == 0 || s->v[i].path[n] == '/'))
			return true;
	return false;
}

static int link_names(int dir, const struct file_set *s, struct err *e)
{
	char name[256], target[300];

	for (size_t i = 0; i < s->n; i++) {
		struct str head;
		(void)str_cut(str_c(s->v[i].path), '/', &head);
		if (head.n > NAME_MAX)
			return err_set(e, ERR_INVALID, "file name %.*s is too long", STR_ARG(head));
		(void)snprintf(name, sizeof(name), "%.*s", STR_ARG(head));
		(void)snprintf(target, sizeof(target), "..data/%s", name);
		if (symlinkat(target, dir, name) < 0 && errno != EEXIST)
			return err_errno(e, errno, "link %s", name);
	}
	return 0;
}

static void drop_stale(const char *path, const struct file_set *s, const char *keep)
{
	DIR *d = opendir(path);
	struct dirent *entry;

	if (!d)
		return;
	while ((entry = readdir(d))) {
		const char *n = entry->d_name;
		auto_free char *whole = NULL;
		if (strcmp(n, ".") == 0 || strcmp(n, "..") == 0 || strcmp(n, "..data") == 0 || strcmp(n, keep) == 0)
			continue;
		whole = xasprintf("%s/%s", path, n);
		if (strncmp(n, "..", 2) == 0 || !is_visible(s, n))
			remove_tree(whole);
	}
	(void)closedir(d);
}

int files_write(const char *path, const struct file_set *s, int64_t gid, bool *ret_changed, struct err *e)
{
	char stamp[64], day[32];
	struct wall now = wall_now();
	time_t sec = (time_t)wall_s(now);
	struct tm tm;
	int dir, at, r = 0;

	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_errno(e, errno, "open %s", path);
	*ret_changed = !same_already(dir, s);
	if (!*ret_changed) {
		(void)close(dir);
		return 0;
	}
	(void)gmtime_r(&sec, &tm);
	(void)strftime(day, sizeof(day), "%Y_%m_%d_%H_%M_%S", &tm);
	(void)snprintf(stamp, sizeof(stamp), "..%s.%09lld", day, (long long)(now.ns % 1000000000));
	if (mkdirat(dir, stamp, 0755) < 0)
		r = err_errno(e, errno, "make %s/%s", path, stamp);
	at = r == 0 ? openat(dir, stamp, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (at >= 0 && gid >= 0 && fchown(at, (uid_t)-1, (gid_t)gid) < 0)
		r = err_errno(e, errno, "change the group of %s/%s", path, stamp);
	for (size_t i = 0; r == 0 && at >= 0 && i < s->n; i++)
		r = write_one(at, &s->v[i], gid, e);
	if (at >= 0)
		(void)close(at);
	if (r == 0) {
		(void)unlinkat(dir, "..data_tmp", 0);
		if (symlinkat(stamp, dir, "..data_tmp") < 0 || renameat(dir, "..data_tmp", dir, "..data") < 0)
			r = err_errno(e, errno, "switch %s/..data", path);
	}
	if (r == 0)
		r = link_names(dir, s, e);
	if (r == 0)
		drop_stale(path, s, stamp);
	(void)close(dir);
	return r;
}

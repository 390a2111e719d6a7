/* Trees that pods write: walked by root while their files may change, so no link leads out of them, no mount point is
 * crossed, and however deep they are, neither the stack nor the number of open files grows. */
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIFTED ".kogge-lifted-" /* while a tree is removed: what was a directory further down */

static int open_here(int dir, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };

	return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* ---- removal --------------------------------------------------------------------------------- */

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool drop(int dir, const char *name)
{
	return unlinkat(dir, name, 0) == 0 || unlinkat(dir, name, AT_REMOVEDIR) == 0;
}

/* Empties a child of the root: files go, directories that are not empty become children of the root. */
static bool lift(int root, int child, uint64_t *n)
{
	int again = dup(child);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	char name[64];
	bool progress = false;

	if (!d) {
		(void)close(again);
		return false;
	}
	for (struct dirent *entry; (entry = readdir(d));) {
		if (is_dots(entry->d_name))
			continue;
		(void)snprintf(name, sizeof(name), LIFTED "%llu", (unsigned long long)*n);
		if (drop(child, entry->d_name)) {
			progress = true;
		} else if (renameat2(child, entry->d_name, root, name, RENAME_NOREPLACE) == 0) {
			progress = true;
			++*n;
		} else if (errno == EEXIST) {
			++*n;
		}
	}
	(void)closedir(d);
	return progress;
}

static bool one_round(int root, DIR *d, uint64_t *n)
{
	bool progress = false;

	rewinddir(d);
	for (struct dirent *entry; (entry = readdir(d));) {
		int child;

		if (is_dots(entry->d_name))
			continue;
		if (drop(root, entry->d_name)) {
			progress = true;
			continue;
		}
		child = open_here(root, entry->d_name, O_RDONLY | O_DIRECTORY);
		if (child < 0)
			continue; /* a mount point, or it cannot be changed */
		progress |= lift(root, child, n);
		(void)close(child);
		progress |= unlinkat(root, entry->d_name, AT_REMOVEDIR) == 0;
	}
	return progress;
}

/* Not when something is mounted right there. */
static int open_root(const char *path)
{
	const char *slash = strrchr(path, '/');
	auto_free char *parent = slash > path ? xstrndup(path, (size_t)(slash - path)) : xstrdup(slash ? "/" : ".");
	int dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC), root;

	if (dir < 0)
		return -1;
	root = open_here(dir, slash ? slash + 1 : path, O_RDONLY | O_DIRECTORY);
	(void)close(dir);
	return root;
}

void remove_tree(const char *path)
{
	int root = open_root(path);
	int again = root < 0 ? -1 : dup(root);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	uint64_t n = 0;

	while (d && one_round(root, d, &n))
		;
	if (d)
		(void)closedir(d);
	else if (again >= 0)
		(void)close(again);
	if (root >= 0)
		(void)close(root);
	(void)drop(AT_FDCWD, path);
}

/* ---- the group that owns a volume ------------------------------------------------------------ */

static mode_t with_group(mode_t mode)
{
	return S_ISDIR(mode) ? mode | 02770 : mode | 0660;
}

static int set_one(int root, const char *rel, gid_t gid)
{
	int fd = open_here(root, *rel ? rel : ".", O_PATH);
	struct stat st;
	char self[64];
	int r;

	if (fd < 0)
		return errno == ENOENT || errno == ELOOP || errno == EXDEV ? 0 : -errno;
	r = fstat(fd, &st);
	if (r == 0 && st.st_gid != gid)
		r = fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH);
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (r == 0 && (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
		r = chmod(self, with_group(st.st_mode) & 07777);
	r = r < 0 ? -errno : 0;
	(void)close(fd);
	return r;
}

static bool root_is_right(int root, gid_t gid)
{
	struct stat st;

	return fstat(root, &st) == 0 && st.st_gid == gid && (st.st_mode & 02770) == 02770;
}

int tree_set_group(const char *path, int64_t gid, bool only_if_root_differs, struct err *e)
{
	char *const roots[] = { (char *)path, NULL };
	int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code = 0;
	size_t n = strlen(path);
	FTSENT *entry;
	FTS *f;

	if (root < 0)
		return err_errno(e, errno, "open %s", path);
	if (only_if_root_differs && root_is_right(root, (gid_t)gid)) {
		(void)close(root);
		return 0;
	}
	/* the root last: who looks at it alone must not take a walk that was cut short for a whole one */
	f = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR | FTS_COMFOLLOW, NULL);
	while (f && code == 0 && (entry = fts_read(f))) {
		const char *rel = entry->fts_path + n;

		while (*rel == '/')
			rel++;
		if (*rel && entry->fts_info != FTS_DP && entry->fts_info != FTS_SL && entry->fts_info != FTS_SLNONE)
			code = set_one(root, rel, (gid_t)gid);
	}
	if (f)
		(void)fts_close(f);
	if (code == 0)
		code = set_one(root, "", (gid_t)gid);
	(void)close(root);
	return code == 0 ? 0 : err_errno(e, -code, "give %s to group %lld", path, (long long)gid);
}

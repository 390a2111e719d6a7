/* The paths that the ecosystem mounts, served by the default instance: links to where its data is. What is there
 * already stays. What was made is on record, a path a line in the order of making, so that reset takes away that and
 * nothing else. */
#include "base/file.h"
#include "base/log.h"
#include "cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "links"
#define LINKS 6

struct link {
	const char *path, *target;
};

static void links_of(struct arena *a, const char *root, const struct layout *l, struct link ret[LINKS])
{
	const struct link table[LINKS] = {
		{ "/var/lib/kubelet", l->node },
		{ "/var/log/pods", l->pod_logs },
		{ "/var/log/containers", l->container_logs },
		{ "/run/containerd/containerd.sock", l->containerd_socket },
		{ "/etc/cni/net.d", arena_printf(a, "%s/conf", l->cni) },
		{ "/opt/cni/bin", arena_printf(a, "%s/bin", l->cni) },
	};

	for (size_t i = 0; i < LINKS; i++)
		ret[i] = (struct link){ arena_printf(a, "%s%s", root, table[i].path), table[i].target };
}

static void on_record(struct buf *record, const char *path)
{
	buf_printf(record, "%s\n", path);
}

/* Missing folders above a path. */
static int make_parents(struct arena *a, const char *path, struct buf *record, struct err *e)
{
	char *copy = arena_strdup(a, path);

	for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		if (mkdir(copy, 0755) == 0)
			on_record(record, copy);
		else if (errno != EEXIST)
			return err_errno(e, errno, "make folder %s", copy);
		*p = '/';
	}
	return 0;
}

static bool leads_to(const char *path, const char *target)
{
	char there[4096];
	ssize_t n = readlink(path, there, sizeof(there) - 1);

	return n >= 0 && (size_t)n == strlen(target) && !memcmp(there, target, (size_t)n);
}

static int make_link(struct arena *a, struct link link, struct buf *record, struct err *e)
{
	struct stat st;

	if (leads_to(link.path, link.target))
		return 0;
	if (lstat(link.path, &st) == 0) {
		log_warn("%s is another program's and stays as it is: whoever looks there sees that, not Kogge's %s",
			link.path, link.target);
		return 0;
	}
	if (make_parents(a, link.path, record, e) < 0)
		return -e->code;
	if (symlink(link.target, link.path) < 0)
		return err_errno(e, errno, "link %s to %s", link.path, link.target);
	on_record(record, link.path);
	return 0;
}

void links_make(struct arena *a, const char *root, const struct layout *l)
{
	auto_buf struct buf record = BUF_INIT;
	struct link links[LINKS];
	size_t before;
	struct err e;

	err_init(&e);
	(void)file_read(l->links, &record, &e); /* of an earlier start; usually not there at the first */
	before = record.n;
	links_of(a, root, l, links);
	for (size_t i = 0; i < LINKS; i++) {
		err_init(&e);
		if (make_link(a, links[i], &record, &e) < 0)
			log_warn("%s: tools that look there do not find Kogge's %s", e.message, links[i].target);
	}
	err_init(&e);
	if (record.n > before && file_write(l->links, buf_view(&record), 0600, &e) < 0)
		log_warn("%s: kogge reset will not take away its links", e.message);
}

/* A link that somebody has changed since is no longer ours, nor a folder that is not empty. */
static void remove_made(const char *path, const struct link links[LINKS])
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return;
	if (S_ISDIR(st.st_mode)) {
		(void)rmdir(path);
		return;
	}
	for (size_t i = 0; i < LINKS; i++)
		if (!strcmp(links[i].path, path) && leads_to(path, links[i].target) && unlink(path) < 0)
			log_warn("cannot remove %s: %s", path, strerror(errno));
}

void links_remove(struct arena *a, const char *root, const struct layout *l)
{
	auto_buf struct buf record = BUF_INIT;
	struct link links[LINKS];
	struct err e;
	size_t n = 0;

	err_init(&e);
	if (file_read(l->links, &record, &e) < 0)
		return;
	const char **made = ARENA_ARRAY(a, const char *, record.n + 1);
	for (struct str path, rest = buf_view(&record); str_next(&rest, '\n', &path);)
		if (path.n)
			made[n++] = arena_cstr(a, path);
	links_of(a, root, l, links);
	while (n-- > 0) /* the last made first: folders are empty then */
		remove_made(made[n], links);
	unlink(l->links);
}

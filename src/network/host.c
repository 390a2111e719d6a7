#define LOG_MODULE "network"
#include "network/host.h"
#include "base/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define NOTES "sysctls"
#define LINE_MAX_ 256

/* ---- sysctls --------------------------------------------------------------------------------- */

static FILE *open_notes(const char *dir, const char *mode)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/" NOTES, dir);
	return fopen(path, mode);
}

/* A line is "path value". */
static bool is_noted(const char *dir, const char *path)
{
	char line[LINE_MAX_];
	FILE *f = open_notes(dir, "re");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strncmp(line, path, strlen(path)) == 0 && line[strlen(path)] == ' ';
	if (f)
		fclose(f);
	return found;
}

bool host_sysctl(const char *dir, const char *path, const char *value)
{
	char old[64];

	if (!sysctl_read(old, sizeof(old), "%s", path))
		return false;
	if (strcmp(old, value) == 0)
		return true;
	if (!is_noted(dir, path)) {
		FILE *f = open_notes(dir, "ae");
		if (f) {
			fprintf(f, "%s %s\n", path, old);
			fclose(f);
		}
	}
	return sysctl_write(value, "%s", path);
}

void host_sysctls_restore(const char *dir)
{
	char line[LINE_MAX_], path[4096];
	FILE *f = open_notes(dir, "re");

	while (f && fgets(line, sizeof(line), f)) {
		char *value = strchr(line, ' ');
		if (!value || strstr(line, ".."))
			continue;
		*value++ = 0;
		value[strcspn(value, "\n")] = 0;
		sysctl_write(value, "%s", line);
	}
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "%s/" NOTES, dir);
	unlink(path);
}

/* ---- links ----------------------------------------------------------------------------------- */

static int need_link(struct rtnl *r, const char *name, struct link *ret, struct err *e)
{
	struct err other;

	if (rtnl_link(r, name, ret, e) == 0)
		return 0;
	err_init(&other);
	/* A kernel without dummy links has bridges: one without ports holds an address just as well. */
	if (rtnl_add(r, name, "dummy", &other) < 0 && rtnl_add(r, name, "bridge", &other) < 0) {
		err_copy(e, &other);
		return -e->code;
	}
	return rtnl_link(r, name, ret, e);
}

static struct ip of_family(const struct ip *list, size_t n, uint8_t family)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i].family == family)
			return list[i];
	}
	return IP_NONE;
}

int host_service_link(const struct names *names, const struct ip dns[2], const struct cidr services[2],
	const struct ip *from, size_t n_from, struct err *e)
{
	struct rtnl r = { 0 };
	struct link l;
	struct err first;

	if (rtnl_open(&r, e) < 0)
		return -e->code;
	int rc = need_link(&r, names->service_link, &l, e);
	if (rc == 0)
		rc = rtnl_up(&r, l.index, e);
	for (size_t i = 0; i < 2 && rc == 0; i++) {
		if (dns[i].family)
			rc = rtnl_address(&r, l.index, cidr_host(dns[i]), e);
	}
	for (size_t i = 0; i < 2 && rc == 0; i++) {
		struct route t = { .to = services[i], .index = l.index, .link_scope = services[i].ip.family == 4 };

		if (!services[i].ip.family)
			continue;
		t.from = of_family(from, n_from, services[i].ip.family);
		err_init(&first);
		if (rtnl_route(&r, t, &first) == 0)
			continue;
		t.from = IP_NONE; /* not an address of this machine (NAT, a cloud's public address) */
		rc = rtnl_route(&r, t, e);
		if (rc < 0 && services[i].ip.family == 6)
			rc = 0; /* no IPv6 on this machine */
	}
	rtnl_close(&r);
	return rc;
}

struct found {
	const struct names *names;
	char (*list)[IFNAMSIZ];
	size_t n;
};

static void note_ours(void *arg, const struct link *l)
{
	struct found *f = arg;

	if (strcmp(l->name, f->names->service_link) != 0 &&
		strncmp(l->name, f->names->pod_links, strlen(f->names->pod_links)) != 0)
		return;
	f->list = xrealloc(f->list, f->n + 1, IFNAMSIZ);
	memcpy(f->list[f->n++], l->name, IFNAMSIZ);
}

int host_links_purge(const struct names *names, struct err *e)
{
	struct found f = { names, NULL, 0 };
	struct rtnl r = { 0 };
	struct err one;

	if (rtnl_open(&r, e) < 0)
		return -e->code;
	int rc = rtnl_links(&r, note_ours, &f, e);
	for (size_t i = 0; i < f.n; i++) {
		err_init(&one);
		if (rtnl_del(&r, f.list[i], &one) < 0 && one.code != ERR_NOT_FOUND && rc == 0) {
			err_copy(e, &one);
			rc = -one.code;
		}
	}
	free(f.list);
	rtnl_close(&r);
	return rc;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int remove_dir(const char *path, bool everything, struct err *e)
{
	DIR *d = everything ? opendir(path) : NULL;
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(d), entry->d_name, 0);
	}
	if (d)
		closedir(d);
	if (rmdir(path) < 0 && errno != ENOENT && errno != ENOTEMPTY)
		return err_errno(e, errno, "remove the directory %s", path);
	return 0;
}

int host_files_purge(const char *dir, struct err *e)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/addresses", dir);
	if (remove_dir(path, true, e) < 0)
		return -e->code;
	return remove_dir(dir, false, e);
}

#include "base/memory.h"
#include "base/file.h"
#include "base/str.h"
#include "base/util.h"
#include <stdio.h>
#include <unistd.h>

/* v1 writes a number near 2^63 where there is no limit, v2 "max". */
#define NO_LIMIT ((int64_t)1 << 60)

/* 0: none. */
static int64_t limit_in(const char *path)
{
	auto_buf struct buf text = BUF_INIT;
	struct err e;
	int64_t n = 0;

	err_init(&e);
	if (file_read(path, &text, &e) < 0 || !str_i64(str_trim(buf_view(&text)), &n) || n >= NO_LIMIT)
		return 0;
	return n;
}

static int64_t least(int64_t a, int64_t b)
{
	return !a || (b && b < a) ? b : a;
}

/* Of a group and all above it. */
static int64_t limit_up_from(const char *mounted, struct str group, const char *file)
{
	int64_t ret = 0;

	for (;;) {
		auto_free char *path = xasprintf("%s%.*s/%s", mounted, STR_ARG(group), file);

		ret = least(ret, limit_in(path));
		while (group.n && group.p[group.n - 1] != '/')
			group.n--;
		if (!group.n)
			return ret;
		group.n--;
	}
}

/* A line of v2 is "0::/group", one of v1 "4:memory:/group". */
static int64_t limit_of_line(struct str line, const char *mounted)
{
	struct str names, number, group = str_cut(str_cut(line, ':', &number), ':', &names);

	if (str_is(group, "/"))
		group.n = 0;
	if (!names.n)
		return limit_up_from(mounted, group, "memory.max");
	if (!str_is(names, "memory"))
		return 0;
	auto_free char *v1 = xasprintf("%s/memory", mounted);
	return limit_up_from(v1, group, "memory.limit_in_bytes");
}

int64_t memory_limit_of(const char *cgroups_file, const char *mounted)
{
	auto_buf struct buf text = BUF_INIT;
	struct str line, left;
	struct err e;
	int64_t ret = 0;

	err_init(&e);
	if (file_read(cgroups_file, &text, &e) < 0)
		return 0;
	for (left = buf_view(&text); left.n;) {
		left = str_cut(left, '\n', &line);
		ret = least(ret, limit_of_line(line, mounted));
	}
	return ret;
}

int64_t memory_limit(void)
{
	return least(memory_limit_of("/proc/self/cgroup", "/sys/fs/cgroup"),
		(int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
}

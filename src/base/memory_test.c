#include "base/memory.h"
#include "base/test.h"
#include "base/util.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static void put(const char *name, const char *text)
{
	auto_free char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void make(const char *name)
{
	auto_free char *path = xasprintf("%s/%s", dir, name);

	assert_int_equal(mkdir(path, 0755), 0);
}

static int64_t limit(const char *cgroups)
{
	auto_free char *path = xasprintf("%s/cgroup", dir);

	put("cgroup", cgroups);
	return memory_limit_of(path, dir);
}

static void finds_the_least_limit(void **state)
{
	static const char v2[] = "0::/system.slice/kogge.service\n";
	static const char v1[] = "12:pids:/x\n4:memory:/a/b\n1:name=systemd:/\n0::/\n";

	(void)state;
	make("system.slice");
	make("system.slice/kogge.service");
	make("memory");
	make("memory/a");
	make("memory/a/b");
	assert_int_equal(limit(v2), 0); /* no files */
	put("system.slice/kogge.service/memory.max", "max\n");
	assert_int_equal(limit(v2), 0);
	put("system.slice/memory.max", "134217728\n");
	assert_int_equal(limit(v2), 134217728);
	put("system.slice/kogge.service/memory.max", "67108864\n");
	assert_int_equal(limit(v2), 67108864);

	put("memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
	assert_int_equal(limit(v1), 0);
	put("memory/a/memory.limit_in_bytes", "1048576\n");
	assert_int_equal(limit(v1), 1048576);
	assert_int_equal(limit("4:memory:/\n"), 0);
	assert_int_equal(limit("nonsense\n\n:::\n"), 0);
	assert_int_equal(memory_limit_of("/nowhere", dir), 0);
	assert_true(memory_limit() > 1 << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(finds_the_least_limit) };

	snprintf(dir, sizeof(dir), "/tmp/kogge-memory-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	auto_free char *rm = xasprintf("rm -r %s", dir);
	return system(rm) ? 1 : r;
}

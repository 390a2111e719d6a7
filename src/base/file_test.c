#include "base/file.h"
#include "base/test.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/kogge-file-XXXXXX";

static int make_folder(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_folder(void **state)
{
	auto_free char *rm = xasprintf("rm -r %s", dir);

	return system(rm);
}

static void is(const char *path, const char *text)
{
	auto_buf struct buf b = BUF_INIT;

	assert_int_equal(file_read(path, &b, NULL), 0);
	assert_true(str_is(buf_view(&b), text));
}

/* It may be root's where the next one is not, or have a reader. */
static void what_a_killed_writer_left_is_not_written_to(void **state)
{
	auto_free char *path = xasprintf("%s/f", dir), *fresh = xasprintf("%s.new", path),
		       *other = xasprintf("%s/g", dir);
	struct stat st;

	assert_int_equal(file_write(other, STR("old"), 0644, NULL), 0);
	assert_int_equal(link(other, fresh), 0);
	assert_int_equal(file_write(path, STR("new"), 0600, NULL), 0);
	is(path, "new");
	is(other, "old");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(access(fresh, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_a_killed_writer_left_is_not_written_to) };

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

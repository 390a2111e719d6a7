/* Trees that are removed and handed to a group, with what a pod could put in the way. */
#include "base/test.h"
#include "node/node_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[] = "/tmp/kogge-tree-XXXXXX";

static int make_top(void **state)
{
	(void)state;
	memcpy(top + sizeof(top) - 7, "XXXXXX", 6);
	return mkdtemp(top) && chdir(top) == 0 ? 0 : -1;
}

static int end_top(void **state)
{
	(void)state;
	remove_tree(top);
	return access(top, F_OK) == 0; /* nothing may be left */
}

static void make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	(void)close(fd);
}

static void make_deep(const char *root, int depth)
{
	int at = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; i < depth; i++) {
		int next;

		assert_int_equal(mkdirat(at, "down", 0700), 0);
		next = openat(at, "down", O_PATH | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		(void)close(at);
		at = next;
	}
	(void)close(at);
}

static void removes_deep_trees_and_follows_no_link(void **state)
{
	(void)state;
	assert_int_equal(mkdir("out", 0700), 0);
	make_file("out/precious");
	assert_int_equal(mkdir("tree", 0700), 0);
	make_deep("tree", 3000); /* deeper than a stack and open files would allow */
	for (int i = 0; i < 50; i++) {
		auto_free char *name = xasprintf("tree/f%d", i), *dir = xasprintf("tree/d%d", i),
			       *sub = xasprintf("tree/d%d/sub", i), *in = xasprintf("tree/d%d/sub/f", i);

		make_file(name);
		assert_int_equal(mkdir(dir, 0700), 0);
		assert_int_equal(mkdir(sub, 0700), 0);
		make_file(in);
	}
	assert_int_equal(symlink("../out", "tree/link"), 0);
	assert_int_equal(symlink("../../out", "tree/d1/link"), 0);
	remove_tree("tree");
	assert_int_equal(access("tree", F_OK), -1);
	assert_int_equal(access("out/precious", F_OK), 0);

	assert_int_equal(symlink("out", "itself"), 0);
	remove_tree("itself");
	assert_int_equal(access("out/precious", F_OK), 0);
	assert_int_equal(access("itself", F_OK), -1);
}

static void keeps_what_is_mounted(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("mounts are not allowed here\n");
		skip();
	}
	assert_int_equal(mkdir("data", 0700), 0);
	make_file("data/precious");
	assert_int_equal(mkdir("pod", 0700), 0);
	assert_int_equal(mkdir("pod/a", 0700), 0);
	assert_int_equal(mkdir("pod/a/volume", 0700), 0);
	make_file("pod/a/file");
	assert_int_equal(mount("data", "pod/a/volume", NULL, MS_BIND, NULL), 0); /* of the same file system */
	remove_tree("pod");
	assert_int_equal(access("data/precious", F_OK), 0);
	assert_int_equal(access("pod/a/file", F_OK), -1);
	assert_int_equal(access("pod", F_OK), 0);
	for (int i = 0; i < 8; i++) { /* it may have been lifted */
		auto_free char *lifted = xasprintf("pod/.kogge-lifted-%d", i);
		(void)umount2(lifted, MNT_DETACH);
	}
	(void)umount2("pod/a/volume", MNT_DETACH);
	remove_tree("pod");
	assert_int_equal(access("pod", F_OK), -1);
	assert_int_equal(access("data/precious", F_OK), 0);
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void gives_to_a_group(void **state)
{
	struct stat st;
	struct err e;

	(void)state;
	err_init(&e);
	if (geteuid() != 0)
		skip();
	make_file("secret");
	assert_int_equal(mkdir("vol", 0755), 0);
	assert_int_equal(mkdir("vol/dir", 0700), 0);
	make_file("vol/dir/file");
	assert_int_equal(chmod("vol/dir/file", 0400), 0);
	assert_int_equal(symlink("../secret", "vol/link"), 0);
	assert_int_equal(tree_set_group("vol", 2345, false, &e), 0);
	assert_int_equal(mode_of("vol"), 02775);
	assert_int_equal(mode_of("vol/dir"), 02770);
	assert_int_equal(mode_of("vol/dir/file"), 0660);
	assert_int_equal(stat("vol/dir/file", &st), 0);
	assert_int_equal(st.st_gid, 2345);
	assert_int_equal(mode_of("secret"), 0600);
	assert_int_equal(stat("secret", &st), 0);
	assert_int_not_equal(st.st_gid, 2345);

	make_file("vol/late");
	assert_int_equal(tree_set_group("vol", 2345, true, &e), 0);
	assert_int_equal(mode_of("vol/late"), 0600);
	assert_int_equal(tree_set_group("vol", 2346, true, &e), 0);
	assert_int_equal(mode_of("vol/late"), 0660);
	assert_int_equal(tree_set_group("nowhere", 1, false, &e), -ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(removes_deep_trees_and_follows_no_link, make_top, end_top),
		cmocka_unit_test_setup_teardown(gives_to_a_group, make_top, end_top),
		cmocka_unit_test_setup_teardown(keeps_what_is_mounted, make_top, end_top),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Links of the default instance below a root of our own. */
#include "cmd/cmd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h" /* last: cmocka has a macro fail() too */

struct fixture {
	struct arena *a;
	char root[64];
	struct layout l;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->a = arena_new();
	snprintf(f->root, sizeof(f->root), "/tmp/kogge-links-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	f->l = (struct layout){ .node = "/d/node",
		.pod_logs = "/d/logs",
		.container_logs = "/d/container-logs",
		.cni = "/d/cni",
		.containerd_socket = "/r/containerd.sock",
		.links = arena_printf(f->a, "%s/links", f->root) };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int left = rmdir(f->root);

	arena_free(f->a);
	free(f);
	return left; /* something was left: the test fails */
}

static const char *in_root(struct fixture *f, const char *path)
{
	return arena_printf(f->a, "%s%s", f->root, path);
}

static const char *target_of(struct fixture *f, const char *path)
{
	char *there = arena_alloc(f->a, 256);
	ssize_t n = readlink(in_root(f, path), there, 255);

	there[n < 0 ? 0 : n] = 0;
	return there;
}

static void made_and_removed(void **state)
{
	struct fixture *f = *state;

	for (int starts = 0; starts < 2; starts++) { /* the second finds its own */
		links_make(f->a, f->root, &f->l);
		assert_string_equal(target_of(f, "/var/lib/kubelet"), "/d/node");
		assert_string_equal(target_of(f, "/var/log/pods"), "/d/logs");
		assert_string_equal(target_of(f, "/var/log/containers"), "/d/container-logs");
		assert_string_equal(target_of(f, "/run/containerd/containerd.sock"), "/r/containerd.sock");
		assert_string_equal(target_of(f, "/etc/cni/net.d"), "/d/cni/conf");
		assert_string_equal(target_of(f, "/opt/cni/bin"), "/d/cni/bin");
	}
	links_remove(f->a, f->root, &f->l);
}

static void of_others_stays(void **state)
{
	static const char *const dirs[] = { "/run", "/run/containerd", "/opt", "/opt/cni", "/opt/cni/bin" };
	struct fixture *f = *state;
	const char *socket = in_root(f, "/run/containerd/containerd.sock"), *kubelet = in_root(f, "/var/lib/kubelet");

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		assert_int_equal(mkdir(in_root(f, dirs[i]), 0700), 0);
	close(open(socket, O_CREAT | O_WRONLY, 0600));
	links_make(f->a, f->root, &f->l);
	assert_string_equal(target_of(f, "/run/containerd/containerd.sock"), ""); /* no link */
	assert_string_equal(target_of(f, "/opt/cni/bin"), "");
	assert_int_equal(unlink(kubelet), 0); /* somebody puts their own there later */
	assert_int_equal(symlink("/elsewhere", kubelet), 0);
	links_remove(f->a, f->root, &f->l);
	assert_string_equal(target_of(f, "/var/lib/kubelet"), "/elsewhere");
	assert_int_equal(unlink(kubelet), 0);
	assert_int_equal(rmdir(in_root(f, "/var/lib")), 0);
	assert_int_equal(rmdir(in_root(f, "/var")), 0);
	assert_int_equal(unlink(socket), 0);
	for (size_t i = ARRAY_LEN(dirs); i-- > 0;)
		assert_int_equal(rmdir(in_root(f, dirs[i])), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(made_and_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(of_others_stays, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

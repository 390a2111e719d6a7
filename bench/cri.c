/* The floor under every pod start: the same calls to the container runtime that a node agent makes, and nothing else.
 * Prints one JSON object. The network plugin is the runtime's own, so this holds against the agent on the same runtime.
 *
 * usage: cri SOCKET IMAGE COUNT [AT_ONCE]     the image is there already; it runs "sleep 1000" */
#include "node/cri.h"
#include "base/clock.h"
#include "base/task.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define COUNT_MAX 200

struct floor {
	struct cri cri;
	const char *image;
	int64_t count;
	atomic_int next;
	char *sandbox[COUNT_MAX];
	int64_t sandbox_us[COUNT_MAX], create_us[COUNT_MAX], start_us[COUNT_MAX], all_us[COUNT_MAX];
};

static void die(const char *what, const struct err *e)
{
	fprintf(stderr, "cri: %s: %s\n", what, e->message);
	exit(1);
}

static int64_t us_since(struct mono *t)
{
	struct mono now = mono_now();
	int64_t us = (now.ns - t->ns) / 1000;

	*t = now;
	return us;
}

static Cri__SandboxConfig *sandbox_config(struct arena *a, int n)
{
	Cri__SandboxConfig *s = CRI_NEW(a, Cri__SandboxConfig, cri__sandbox_config);

	s->metadata = CRI_NEW(a, Cri__SandboxMetadata, cri__sandbox_metadata);
	s->metadata->name = arena_printf(a, "floor-%d-%d", (int)getpid(), n);
	s->metadata->namespace_ = arena_strdup(a, "floor");
	s->metadata->uid = s->metadata->name;
	s->hostname = s->metadata->name;
	s->lin = CRI_NEW(a, Cri__LinuxSandbox, cri__linux_sandbox);
	s->lin->security_context = CRI_NEW(a, Cri__SandboxSecurity, cri__sandbox_security);
	s->lin->security_context->seccomp = CRI_NEW(a, Cri__SecurityProfile, cri__security_profile);
	return s;
}

static Cri__ContainerConfig *container_config(struct arena *a, const char *image)
{
	Cri__ContainerConfig *c = CRI_NEW(a, Cri__ContainerConfig, cri__container_config);

	c->metadata = CRI_NEW(a, Cri__ContainerMetadata, cri__container_metadata);
	c->metadata->name = arena_strdup(a, "main");
	c->image = CRI_NEW(a, Cri__ImageSpec, cri__image_spec);
	c->image->image = arena_strdup(a, image);
	cri_push(a, &c->command, &c->n_command, arena_strdup(a, "sleep"));
	cri_push(a, &c->command, &c->n_command, arena_strdup(a, "1000"));
	return c;
}

static void start_one(struct floor *f, int n)
{
	auto_(arena_free) struct arena *a = arena_new();
	Cri__SandboxConfig *s = sandbox_config(a, n);
	auto_free char *container = NULL;
	struct mono began = mono_now(), t = began;
	struct err e;

	err_init(&e);
	if (cri_run_sandbox(&f->cri, s, NULL, &f->sandbox[n], &e) < 0)
		die("RunPodSandbox", &e);
	f->sandbox_us[n] = us_since(&t);
	if (cri_create_container(&f->cri, f->sandbox[n], container_config(a, f->image), s, &container, &e) < 0)
		die("CreateContainer", &e);
	f->create_us[n] = us_since(&t);
	if (cri_start_container(&f->cri, container, &e) < 0)
		die("StartContainer", &e);
	f->start_us[n] = us_since(&t);
	f->all_us[n] = (mono_now().ns - began.ns) / 1000;
}

static void start_on(void *arg)
{
	struct floor *f = arg;
	int n;

	while ((n = atomic_fetch_add(&f->next, 1)) < f->count)
		start_one(f, n);
}

static void remove_all(struct floor *f)
{
	struct err e;

	for (int64_t i = 0; i < f->count; i++) {
		err_init(&e);
		if (cri_stop_sandbox(&f->cri, f->sandbox[i], &e) < 0 ||
			cri_remove_sandbox(&f->cri, f->sandbox[i], &e) < 0)
			fprintf(stderr, "cri: sandbox %s stays: %s\n", f->sandbox[i], e.message);
		free(f->sandbox[i]);
	}
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static double median_ms(int64_t *us, int64_t n)
{
	qsort(us, (size_t)n, sizeof(*us), by_size);
	return (double)us[n / 2] / 1e3;
}

int main(int argc, char **argv)
{
	static struct floor f;
	struct net_loop *l = net_loop_new("cri");
	struct task *t[COUNT_MAX];
	int64_t at_once = 1;
	struct mono began;
	struct err e;

	err_init(&e);
	if (argc < 4 || !str_i64(str_c(argv[3]), &f.count) || f.count < 1 || f.count > COUNT_MAX ||
		(argc > 4 && (!str_i64(str_c(argv[4]), &at_once) || at_once < 1 || at_once > COUNT_MAX))) {
		fprintf(stderr, "usage: cri SOCKET IMAGE COUNT [AT_ONCE]\n");
		return 2;
	}
	f.image = argv[2];
	if (cri_open(argv[1], l, "k8s.io", &f.cri, &e) < 0)
		die(argv[1], &e);
	began = mono_now();
	for (int64_t i = 0; i < at_once; i++)
		t[i] = task_spawn("floor", start_on, &f);
	for (int64_t i = 0; i < at_once; i++)
		task_join(t[i]);
	printf("{\"n\":%" PRId64 ",\"at_once\":%" PRId64 ",\"total_s\":%.3f,", f.count, at_once,
		(double)(mono_now().ns - began.ns) / 1e9);
	printf("\"sandbox_ms\":%.1f,\"create_ms\":%.1f,\"start_ms\":%.1f,", median_ms(f.sandbox_us, f.count),
		median_ms(f.create_us, f.count), median_ms(f.start_us, f.count));
	printf("\"median_ms\":%.1f}\n", median_ms(f.all_us, f.count));
	remove_all(&f);
	cri_close(&f.cri);
	net_loop_free(l);
	return 0;
}

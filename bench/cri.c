/* The floor under every pod start: the calls to the container runtime that the node agent makes for a pod, with the very
 * configuration that the agent makes of it, and nothing else. Prints one JSON object.
 *
 * usage: cri SOCKET DIR POD.json COUNT [AT_ONCE [DNS]]
 *     DIR       for volumes and logs; not the agent's, which would take away what it does not know
 *     POD.json  as the API has it, but with emptyDir where volumes come from the API; its image is there already */
#include "base/clock.h"
#include "base/task.h"
#include "node/node_internal.h"
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define COUNT_MAX 200
#define POD_BYTES_MAX 65536

struct one {
	struct pod pod;
	struct doc *doc;
	int64_t sandbox_us, create_us, start_us, all_us;
};

struct floor {
	struct node_agent n;
	struct one *pods;
	int64_t count;
	atomic_int next;
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

/* ---- what is there before the clock starts ----------------------------------------------------- */

static struct doc *read_pod(const char *path)
{
	static char text[POD_BYTES_MAX];
	FILE *f = fopen(path, "re");
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (!f)
		err_errno(&e, errno, "open");
	size_t n = f ? fread(text, 1, sizeof(text), f) : 0;
	if (!f || doc_parse(str_n(text, n), &d, &e) < 0)
		die(path, &e);
	(void)fclose(f);
	return d;
}

static void prepare(struct floor *f, int n, struct doc *template)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *t = node_from(a, doc_root(template));
	struct one *o = &f->pods[n];
	struct err e;

	err_init(&e);
	o->pod.n = &f->n;
	o->pod.name = xasprintf("floor-%d-%d", (int)getpid(), n);
	o->pod.uid = xasprintf("f1000000-0000-4000-8000-%06d%06d", (int)getpid() % 1000000, n);
	o->pod.ns = str_dup(doc_ns(template));
	node_set_path(t, "metadata.name", node_c(a, o->pod.name));
	node_set_path(t, "metadata.uid", node_c(a, o->pod.uid));
	o->doc = node_publish(t);
	pod_build_containers(&o->pod, doc_get(o->doc, "spec"));
	auto_free char *logs = pod_log_dir(&o->pod), *own = xasprintf("%s/%s", logs, o->pod.containers[0]->name);
	if (volumes_setup(&o->pod, o->doc, &e) < 0 || mkdirs(own, 0755, &e) < 0 ||
		cgroup_pod_make(&o->pod, doc_get(o->doc, "spec"), &e) < 0)
		die(o->pod.name, &e);
}

/* ---- the calls --------------------------------------------------------------------------------- */

/* The agent that runs meanwhile looks for pods by their uid, and would take this one away. */
static void hide(Cri__SandboxConfig *s)
{
	for (size_t i = 0; i < s->n_labels; i++)
		if (strcmp(s->labels[i]->key, LABEL_POD_UID) == 0)
			s->labels[i]->key = (char *)"bench.kogge/floor.uid";
}

static void start_one(struct one *o)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_reply Cri__ImageStatusReply *image = NULL;
	auto_free char *id = NULL;
	struct cri *cri = &o->pod.n->cri;
	struct container *c = o->pod.containers[0];
	struct val spec = pod_container_spec(o->doc, str_c(c->name));
	auto_free char *ref = image_normalize(val_str(val_get(spec, "image")));
	Cri__SandboxConfig *s = pod_sandbox_config(&o->pod, o->doc, a);
	Cri__ContainerConfig *config;
	struct mono began = mono_now(), t = began;
	const char *reason;
	struct err e;

	err_init(&e);
	hide(s);
	if (cri_run_sandbox(cri, s, "", &o->pod.sandbox, &e) < 0)
		die("RunPodSandbox", &e);
	o->sandbox_us = us_since(&t);
	if (cri_image_status(cri, ref, &image, &e) < 0 || !image->image)
		die("ImageStatus", &e);
	if (pod_container_config(&o->pod, o->doc, c, spec, image->image->id, image->image, a, &config, &reason, &e) <
			0 ||
		cri_create_container(cri, o->pod.sandbox, config, s, &id, &e) < 0)
		die("CreateContainer", &e);
	o->create_us = us_since(&t);
	if (cri_start_container(cri, id, &e) < 0)
		die("StartContainer", &e);
	o->start_us = us_since(&t);
	o->all_us = (mono_now().ns - began.ns) / 1000;
}

static void start_on(void *arg)
{
	struct floor *f = arg;
	int n;

	while ((n = atomic_fetch_add(&f->next, 1)) < f->count)
		start_one(&f->pods[n]);
}

static void remove_all(struct floor *f)
{
	struct err e;

	for (int64_t i = 0; i < f->count; i++) {
		struct pod *p = &f->pods[i].pod;

		err_init(&e);
		if (cri_stop_sandbox(&f->n.cri, p->sandbox, &e) < 0 ||
			cri_remove_sandbox(&f->n.cri, p->sandbox, &e) < 0)
			fprintf(stderr, "cri: sandbox %s stays: %s\n", p->sandbox, e.message);
		volumes_teardown(&f->n, p->uid);
		pod_logs_remove(p);
	}
	cgroup_remove_all(&f->n);
}

/* ---- told -------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* of: where in struct one it stands */
static double median_ms(struct floor *f, size_t of)
{
	int64_t us[COUNT_MAX];

	for (int64_t i = 0; i < f->count; i++)
		us[i] = *(const int64_t *)((const char *)&f->pods[i] + of);
	qsort(us, (size_t)f->count, sizeof(*us), by_size);
	return (double)us[f->count / 2] / 1e3;
}

static bool number_of(const char *text, int64_t *ret)
{
	return str_i64(str_c(text), ret) && *ret >= 1 && *ret <= COUNT_MAX;
}

int main(int argc, char **argv)
{
	static struct one pods[COUNT_MAX];
	static struct floor f = { .pods = pods };
	static const char *dns[1];
	struct task *t[COUNT_MAX];
	int64_t at_once = 1;
	struct mono began;
	struct err e;

	err_init(&e);
	if (argc < 5 || !number_of(argv[4], &f.count) || (argc > 5 && !number_of(argv[5], &at_once))) {
		fprintf(stderr, "usage: cri SOCKET DIR POD.json COUNT [AT_ONCE [DNS]]\n");
		return 2;
	}
	f.n.o = (struct node_opts){ .data_dir = argv[2],
		.log_dir = arena_printf(arena_new(), "%s/logs", argv[2]),
		.container_log_dir = "",
		.cgroup_root = "/kogge-floor",
		.cluster_dns = dns,
		.n_cluster_dns = argc > 6 };
	dns[0] = argc > 6 ? argv[6] : NULL;
	f.n.cgroup_version = cgroup_detect();
	f.n.cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	f.n.mem_bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
	f.n.pods = map_new(NULL);
	f.n.objects = objects_new(&f.n);
	task_mutex_init(&f.n.lock);
	f.n.loop = net_loop_new("cri");
	if (cri_open(argv[1], f.n.loop, "k8s.io", &f.n.cri, &e) < 0)
		die(argv[1], &e);
	struct doc *template = read_pod(argv[3]);
	for (int i = 0; i < f.count; i++)
		prepare(&f, i, template);
	began = mono_now();
	for (int64_t i = 0; i < at_once; i++)
		t[i] = task_spawn("floor", start_on, &f);
	for (int64_t i = 0; i < at_once; i++)
		task_join(t[i]);
	printf("{\"n\":%" PRId64 ",\"at_once\":%" PRId64 ",\"total_s\":%.3f,", f.count, at_once,
		(double)(mono_now().ns - began.ns) / 1e9);
	printf("\"sandbox_ms\":%.1f,\"create_ms\":%.1f,\"start_ms\":%.1f,",
		median_ms(&f, offsetof(struct one, sandbox_us)), median_ms(&f, offsetof(struct one, create_us)),
		median_ms(&f, offsetof(struct one, start_us)));
	printf("\"median_ms\":%.1f}\n", median_ms(&f, offsetof(struct one, all_us)));
	remove_all(&f);
	return 0;
}

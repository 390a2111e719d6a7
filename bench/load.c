/* Measures a Kubernetes API server from outside, any that a kubeconfig leads to: the same requests over the same HTTP
 * and TLS for all. Prints one JSON object. CPU is utime + stime of the processes in --pids over the measured span.
 *
 * usage: load --kubeconfig FILE [--pids 1,2,3] [--namespace NS] MODE [--OPTION N]…     see `modes` below */
#include "load.h"

#include "base/file.h"
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define CLIENTS_MAX 256
#define SAMPLES_MAX 200000
#define STREAMS_EACH 90 /* of one connection; servers allow 100 or more */

_Noreturn void die(const char *what, const struct err *e)
{
	fprintf(stderr, "load: %s%s%s\n", what, e ? ": " : "", e ? e->message : "");
	exit(1);
}

/* ---- figures --------------------------------------------------------------------------------- */

int64_t cpu_us_of(struct str pid)
{
	auto_free char *path = xasprintf("/proc/%.*s/stat", STR_ARG(pid));
	auto_buf struct buf text = BUF_INIT;
	unsigned long long user = 0, sys = 0;

	if (file_read(path, &text, NULL) < 0)
		die(path, NULL);
	buf_byte(&text, '\0');
	sscanf(strrchr(text.p, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &sys);
	return (int64_t)(user + sys) * 1000000 / sysconf(_SC_CLK_TCK);
}

int64_t pss_bytes_of(struct str pid)
{
	auto_free char *path = xasprintf("/proc/%.*s/smaps_rollup", STR_ARG(pid));
	auto_buf struct buf text = BUF_INIT;
	long long pss = 0, swap = 0;
	const char *at;

	if (file_read(path, &text, NULL) < 0)
		die(path, NULL);
	buf_byte(&text, '\0');
	if ((at = strstr(text.p, "\nPss:")))
		sscanf(at, " Pss: %lld", &pss);
	if ((at = strstr(text.p, "\nSwapPss:")))
		sscanf(at, " SwapPss: %lld", &swap);
	return (pss + swap) * 1024;
}

int64_t of_pids(const struct bench *b, int64_t (*what)(struct str pid))
{
	struct str rest = str_c(b->pids), pid;
	int64_t sum = 0;

	while (rest.n) {
		rest = str_cut(rest, ',', &pid);
		sum += what(pid);
	}
	return sum;
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* ---- requests -------------------------------------------------------------------------------- */

size_t headers(const struct bench *b, struct http_header h[3])
{
	size_t n = 0;

	h[n++] = (struct http_header){ STR("accept"), STR("application/json") };
	h[n++] = (struct http_header){ STR("content-type"), STR("application/json") };
	if (b->bearer)
		h[n++] = (struct http_header){ STR("authorization"),
			str_c(arena_printf(b->a, "Bearer %s", b->config.o.token)) };
	return n;
}

/* The size of the answer's body; ends the program unless the status is the wanted one. */
size_t request(struct bench *b, const char *method, const char *path, struct str body, int want)
{
	struct http_header h[3];
	struct http_reply reply = { 0 };
	struct err e;
	size_t n;

	err_init(&e);
	if (http_call(b->http, method, str_c(path), h, headers(b, h), body, (size_t)1 << 30, 0, &reply, &e) < 0)
		die(path, &e);
	n = reply.body.n;
	if (reply.status != want && want) {
		fprintf(stderr, "load: %s %s: %d %.*s\n", method, path, reply.status, (int)(n < 300 ? n : 300),
			reply.body.p);
		exit(1);
	}
	http_reply_fini(&reply);
	return n;
}

static void create_config_map(struct bench *b, const char *name)
{
	auto_free char *body = xasprintf("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s\"},"
					 "\"data\":{\"payload\":\"%.*s\"}}",
		name, (int)b->filler.n, b->filler.p);

	request(b, "POST", b->path, str_c(body), 201);
}

struct http_client *connect_to(struct bench *b)
{
	struct http_client *c;
	struct err e;

	err_init(&e);
	if (http_client_new(&(struct http_client_opts){ .url = b->url,
				    .tls = b->tls,
				    .server_name = b->config.server_name,
				    .loop = b->loop,
				    .user_agent = "bench" },
		    &c, &e) < 0)
		die(b->url, &e);
	return c;
}

/* ---- many clients at one thing --------------------------------------------------------------- */

static void work_on(void *arg)
{
	struct worker *w = arg;
	struct mono began;

	while (mono_before(began = mono_now(), w->until) && w->n < SAMPLES_MAX && (!w->most || w->n < w->most)) {
		w->once(w);
		w->us[w->n++] = (mono_now().ns - began.ns) / 1000;
	}
}

static int64_t gather(struct worker *w, int64_t clients, int64_t **ret)
{
	int64_t n = 0, *all;

	for (int64_t i = 0; i < clients; i++)
		n += w[i].n;
	all = xcalloc((size_t)n + 1, sizeof(*all));
	n = 0;
	for (int64_t i = 0; i < clients; i++) {
		memcpy(all + n, w[i].us, (size_t)w[i].n * sizeof(*all));
		n += w[i].n;
		free(w[i].us);
	}
	qsort(all, (size_t)n, sizeof(*all), by_size);
	*ret = all;
	return n;
}

/* Every client repeats once() for the given time, or `most` times each. */
static void crowd(struct bench *b, const char *what, void (*once)(struct worker *w), int64_t most)
{
	struct worker *w = xcalloc((size_t)b->clients, sizeof(*w));
	struct mono began = mono_now();
	int64_t cpu = of_pids(b, cpu_us_of), n, *us;
	double s;

	for (int64_t i = 0; i < b->clients; i++) {
		w[i] = (struct worker){
			.b = b, .once = once, .id = i, .most = most, .us = xcalloc(SAMPLES_MAX, sizeof(int64_t))
		};
		w[i].until = mono_add_ms(began, most ? 600000 : b->seconds * 1000);
		w[i].t = task_spawn("client", work_on, &w[i]);
	}
	for (int64_t i = 0; i < b->clients; i++)
		task_join(w[i].t);
	s = (double)(mono_now().ns - began.ns) / 1e9;
	cpu = of_pids(b, cpu_us_of) - cpu;
	n = gather(w, b->clients, &us);
	printf("{\"mode\":\"%s\",\"clients\":%" PRId64 ",\"n\":%" PRId64
	       ",\"per_s\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"most_ms\":%.3f,\"cpu_us_each\":%.2f}\n",
		what, b->clients, n, (double)n / s, (double)us[n / 2] / 1e3, (double)us[n * 99 / 100] / 1e3,
		(double)us[n - 1] / 1e3, n ? (double)cpu / (double)n : 0);
	free(us);
	free(w);
}

static void create_once(struct worker *w)
{
	char name[64];

	snprintf(name, sizeof(name), "c-%s-%d-%d", w->b->run, (int)w->id, (int)w->n);
	create_config_map(w->b, name);
}

static void mode_create(struct bench *b)
{
	crowd(b, "create", create_once, 0);
}

static void get_once(struct worker *w)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/get-%s", w->b->path, w->b->run);
	request(w->b, "GET", path, STR_NULL, 200);
}

static void mode_get(struct bench *b)
{
	char name[64];

	snprintf(name, sizeof(name), "get-%s", b->run);
	create_config_map(b, name);
	crowd(b, "get", get_once, 0);
}

void create_many(struct bench *b, void (*once)(struct worker *w))
{
	int64_t each = b->count / b->clients;
	struct worker *w = xcalloc((size_t)b->clients, sizeof(*w));

	for (int64_t i = 0; i < b->clients; i++) {
		w[i] = (struct worker){
			.b = b, .once = once, .id = i, .most = each, .us = xcalloc((size_t)each, sizeof(int64_t))
		};
		w[i].until = mono_add_ms(mono_now(), 600000);
		w[i].t = task_spawn("client", work_on, &w[i]);
	}
	for (int64_t i = 0; i < b->clients; i++) {
		task_join(w[i].t);
		free(w[i].us);
	}
	free(w);
}

/* --count objects of --size bytes, then --seconds of lists of them all, one after another. */
static void mode_list(struct bench *b)
{
	auto_free char *path = xasprintf("%s%s", b->path, b->cached ? "?resourceVersion=0" : "");
	int64_t us[1000], n = 0, cpu;
	size_t bytes = 0;
	struct mono until;

	create_many(b, create_once);
	cpu = of_pids(b, cpu_us_of);
	until = mono_add_ms(mono_now(), b->seconds * 1000);
	while (n < (int64_t)ARRAY_LEN(us) && mono_before(mono_now(), until)) {
		struct mono began = mono_now();

		bytes = request(b, "GET", path, STR_NULL, 200);
		us[n++] = (mono_now().ns - began.ns) / 1000;
	}
	cpu = of_pids(b, cpu_us_of) - cpu;
	qsort(us, (size_t)n, sizeof(*us), by_size);
	printf("{\"mode\":\"list\",\"n\":%" PRId64
	       ",\"bytes\":%zu,\"p50_ms\":%.2f,\"least_ms\":%.2f,\"cpu_us_each\":%.0f}\n",
		n, bytes, (double)us[n / 2] / 1e3, (double)us[0] / 1e3, (double)cpu / (double)n);
}

/* ---- watches --------------------------------------------------------------------------------- */

struct watcher {
	struct fan *f;
	struct http_download *d;
	struct watcher *next; /* in the list of those with news */
	bool queued;
};

struct fan {
	struct task_mutex lock;
	struct task_cond wake;
	struct watcher *ready, **tail;
	struct watcher *w;
	struct http_client **connections;
	int64_t n;
	bool ending;
	_Atomic int64_t lines, bytes;
	struct task *t;
};

static void has_news(void *arg)
{
	struct watcher *w = arg;
	struct fan *f = w->f;

	task_lock(&f->lock);
	if (!w->queued) {
		w->queued = true;
		w->next = NULL;
		*f->tail = w;
		f->tail = &w->next;
		task_signal(&f->wake);
	}
	task_unlock(&f->lock);
}

static struct watcher *next_with_news(struct fan *f)
{
	struct watcher *w;

	task_lock(&f->lock);
	while (!f->ready && !f->ending)
		task_wait(&f->wake, &f->lock);
	w = f->ready;
	if (w) {
		f->ready = w->next;
		w->queued = false;
		if (!f->ready)
			f->tail = &f->ready;
	}
	task_unlock(&f->lock);
	return w;
}

/* One task reads all streams and counts lines: an event is a line. */
static void drain(void *arg)
{
	struct fan *f = arg;
	struct watcher *w;
	auto_buf struct buf in = BUF_INIT;

	while ((w = next_with_news(f))) {
		struct err e;
		int64_t lines = 0;

		err_init(&e);
		buf_reset(&in);
		if (http_download_read(w->d, &in, 1, &e) < 1) /* 0 would wait for ever */
			continue;
		for (const char *p = in.p; (p = memchr(p, '\n', (size_t)(in.p + in.n - p))); p++)
			lines++;
		f->bytes += (int64_t)in.n;
		f->lines += lines;
	}
}

static void fan_open(struct bench *b, struct fan *f, int64_t n)
{
	auto_free char *path = xasprintf("%s?watch=1&resourceVersion=0&timeoutSeconds=3600", b->path);
	struct http_header h[3];
	struct err e;
	int status;

	*f = (struct fan){ .n = n, .w = xcalloc((size_t)n, sizeof(*f->w)) };
	f->connections = xcalloc((size_t)(n / STREAMS_EACH + 1), sizeof(*f->connections));
	f->tail = &f->ready;
	task_mutex_init(&f->lock);
	task_cond_init(&f->wake);
	f->t = task_spawn("drain", drain, f);
	for (int64_t i = 0; i < n; i++) {
		struct http_client **c = &f->connections[i / STREAMS_EACH];

		err_init(&e);
		if (!*c)
			*c = connect_to(b);
		f->w[i].f = f;
		if (http_open(*c, "GET", str_c(path), h, headers(b, h), STR_NULL, 30000, &status, &f->w[i].d, &e) < 0 ||
			status != 200)
			die("a watch", &e);
		http_download_notify(f->w[i].d, has_news, &f->w[i]);
	}
}

static void fan_close(struct fan *f)
{
	task_lock(&f->lock);
	f->ending = true;
	task_signal(&f->wake);
	task_unlock(&f->lock);
	task_join(f->t);
	for (int64_t i = 0; i < f->n; i++)
		http_download_free(f->w[i].d);
	for (int64_t i = 0; i <= f->n / STREAMS_EACH; i++)
		http_client_free(f->connections[i]);
	free(f->connections);
	free(f->w);
}

/* Until nothing more comes for a while, or `want` lines are there. */
static void settle(struct fan *f, int64_t want, int64_t most_ms)
{
	struct mono until = mono_add_ms(mono_now(), most_ms);

	while (f->lines < want && mono_before(mono_now(), until))
		task_sleep_ms(2);
}

/* --count watchers of one namespace while objects are created at --rate a second. */
static void mode_watch(struct bench *b)
{
	struct fan f;
	struct mono began;
	int64_t cpu, writes = b->rate * b->seconds, lines;
	double s;

	fan_open(b, &f, b->count);
	task_sleep_ms(500); /* objects that were there before */
	f.lines = 0;
	cpu = of_pids(b, cpu_us_of);
	began = mono_now();
	for (int64_t i = 0; i < writes; i++) {
		int64_t wait_ms = i * 1000 / b->rate - mono_ms_between(began, mono_now());
		char name[64];

		if (wait_ms > 0)
			task_sleep_ms(wait_ms);
		snprintf(name, sizeof(name), "w-%s-%d", b->run, (int)i);
		create_config_map(b, name);
	}
	settle(&f, writes * b->count, 20000);
	s = (double)(mono_now().ns - began.ns) / 1e9;
	cpu = of_pids(b, cpu_us_of) - cpu;
	lines = f.lines;
	printf("{\"mode\":\"watch\",\"watchers\":%" PRId64 ",\"writes\":%" PRId64 ",\"delivered\":%" PRId64
	       ",\"lost\":%" PRId64 ",\"per_s\":%.0f,\"cpu_us_each\":%.2f}\n",
		b->count, writes, lines, writes * b->count - lines, (double)lines / s,
		(double)cpu / (double)MAX(lines, 1));
	fan_close(&f);
}

/* --count idle watches: what each costs in memory. */
static void mode_watches(struct bench *b)
{
	int64_t before = of_pids(b, pss_bytes_of), after;
	struct fan f;

	fan_open(b, &f, b->count);
	task_sleep_ms(2000);
	after = of_pids(b, pss_bytes_of);
	create_config_map(b, "last");
	settle(&f, b->count, 20000);
	printf("{\"mode\":\"watches\",\"watches\":%" PRId64 ",\"told\":%" PRId64 ",\"bytes_each\":%" PRId64 "}\n",
		b->count, (int64_t)f.lines, (after - before) / b->count);
	fan_close(&f);
}

/* ---- memory of objects ----------------------------------------------------------------------- */

static const char pod_text[] =
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\",\"labels\":{\"app\":\"web\",\"pod-"
	"template-hash\":\"5d9c7b9f4c\",\"tier\":\"front\"}},"
	"\"spec\":{\"schedulerName\":\"none\",\"containers\":[{\"name\":\"web\",\"image\":\"web:v1\",\"command\":[\"/"
	"bin/server\",\"--port=80\"],\"ports\":[{\"name\":\"http\","
	"\"containerPort\":80}],\"env\":[{\"name\":\"MODE\",\"value\":\"production\"},{\"name\":\"POD_IP\","
	"\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIP\"}}}],"
	"\"resources\":{\"limits\":{\"cpu\":\"500m\",\"memory\":\"128Mi\"},\"requests\":{\"cpu\":\"250m\",\"memory\":"
	"\"64Mi\"}},\"livenessProbe\":{\"httpGet\":{\"path\":\"/healthz\","
	"\"port\":80}}},{\"name\":\"log\",\"image\":\"log:v1\",\"args\":[\"--follow\"],\"volumeMounts\":[{\"name\":"
	"\"data\",\"mountPath\":\"/data\"}]}],"
	"\"volumes\":[{\"name\":\"data\",\"emptyDir\":{}},{\"name\":\"settings\",\"configMap\":{\"name\":\"web\"}}]}}";

static void create_pod(struct worker *w)
{
	char name[64], path[128], body[2048];

	snprintf(name, sizeof(name), "web-5d9c7b9f4c-%d-%d", (int)w->id, (int)w->n);
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods", w->b->ns);
	snprintf(body, sizeof(body), pod_text, name);
	request(w->b, "POST", path, str_c(body), 201);
}

/* --count pods: the server's memory for them against their JSON. */
static void mode_objects(struct bench *b)
{
	auto_free char *path = xasprintf("/api/v1/namespaces/%s/pods?limit=1000", b->ns);
	int64_t before = of_pids(b, pss_bytes_of), after;
	size_t json;

	create_many(b, create_pod);
	task_sleep_ms(3000);
	after = of_pids(b, pss_bytes_of);
	json = request(b, "GET", path, STR_NULL, 200) / (size_t)MIN(b->count, 1000);
	printf("{\"mode\":\"objects\",\"pods\":%" PRId64 ",\"json_bytes_each\":%zu,\"bytes_each\":%" PRId64
	       ",\"ratio\":%.2f}\n",
		b->count, json, (after - before) / b->count,
		(double)(after - before) / (double)b->count / (double)json);
}

/* ---- the program ----------------------------------------------------------------------------- */

static const struct mode {
	const char *name, *help;
	void (*run)(struct bench *b);
} modes[] = {
	{ "create", "durable creates by --clients at once for --seconds, ConfigMaps of --size bytes", mode_create },
	{ "get", "GETs of one of them by --clients at once for --seconds", mode_get },
	{ "list",
		"creates --count objects of --size bytes, then lists them all for --seconds; --cached 1: "
		"resourceVersion=0",
		mode_list },
	{ "watch", "--count watchers, --rate creates a second for --seconds", mode_watch },
	{ "watches", "memory of --count idle watches", mode_watches },
	{ "objects", "memory of --count pods; nobody may run them", mode_objects },
	{ "nodes", "creates --nodes Node objects in ten zones, which nobody runs", mode_nodes },
	{ "pods", "creates --count pods of a --kind by --clients at once: plain, spread, near, far, both or own",
		mode_pods },
	{ "bindings",
		"watches until --count pods of the namespace have a node; --kind: creates them itself, the scheduler at "
		"work",
		mode_bindings },
	{ "gap",
		"longest times without an acknowledged write while --clients replace objects for --seconds; "
		"--probe FILE: the disk's own, beside it; --trace FOLDER: what the kernel did in those of --trace_ms (8) "
		"that the disk does not explain",
		mode_gap },
};

#define AT(field) offsetof(struct bench, field)
static const struct option {
	const char *name;
	size_t at;
	bool number;
} options[] = {
	{ "--pids", AT(pids), false },
	{ "--namespace", AT(ns), false },
	{ "--probe", AT(probe), false },
	{ "--kind", AT(kind), false },
	{ "--trace", AT(trace), false },
	{ "--clients", AT(clients), true },
	{ "--seconds", AT(seconds), true },
	{ "--count", AT(count), true },
	{ "--size", AT(size), true },
	{ "--rate", AT(rate), true },
	{ "--cached", AT(cached), true },
	{ "--nodes", AT(nodes), true },
	{ "--trace_ms", AT(trace_ms), true },
};

static int usage(void)
{
	fprintf(stderr, "usage: load --kubeconfig FILE [--pids 1,2] [--namespace NAME] MODE [--OPTION N]...\n");
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		fprintf(stderr, "  %-8s %s\n", modes[i].name, modes[i].help);
	return 2;
}

static bool set_option(struct bench *b, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		void *at = (char *)b + options[i].at;

		if (strcmp(options[i].name, name) != 0)
			continue;
		if (!options[i].number)
			*(const char **)at = value;
		return !options[i].number || str_i64(str_c(value), at);
	}
	return false;
}

static void start(struct bench *b, const char *kubeconfig)
{
	struct tls_opts tls = { 0 };
	struct err e;
	auto_free char *ns = xasprintf("{\"metadata\":{\"name\":\"%s\"}}", b->ns),
		       *account = xasprintf("/api/v1/namespaces/%s/serviceaccounts", b->ns);

	err_init(&e);
	if (kubeconfig_read(kubeconfig, "bench", b->a, &b->config, &e) < 0)
		die(kubeconfig, &e);
	tls = (struct tls_opts){ b->config.o.cert_file, b->config.o.key_file, b->config.o.ca_file,
		.insecure = b->config.insecure };
	if (tls_new(&tls, &b->tls, &e) < 0)
		die("tls", &e);
	b->bearer = b->config.o.token ? arena_printf(b->a, "Bearer %s", b->config.o.token) : NULL;
	wire_split_url(b->config.o.server, &b->url);
	b->loop = net_loop_new("load");
	b->http = connect_to(b);
	b->path = xasprintf("/api/v1/namespaces/%s/configmaps", b->ns);
	snprintf(b->run, sizeof(b->run), "%" PRIx64, rand_u64() & 0xffffffff);
	b->filler = BUF_INIT;
	for (int64_t i = 0; i < b->size; i++)
		buf_byte(&b->filler, (char)('a' + i % 26));
	request(b, "POST", "/api/v1/namespaces", str_c(ns), 0);
	request(b, "POST", account, STR("{\"metadata\":{\"name\":\"default\"}}"), 0);
}

static void stop(struct bench *b)
{
	http_client_free(b->http);
	net_loop_free(b->loop);
	tls_free(b->tls);
	buf_fini(&b->filler);
	free(b->path);
	free(b->url);
	arena_free(b->a);
}

int main(int argc, char **argv)
{
	struct bench b = { .pids = "",
		.ns = "bench",
		.clients = 16,
		.seconds = 3,
		.count = 5000,
		.size = 100,
		.rate = 200,
		.nodes = 100,
		.trace_ms = 8,
		.a = arena_new() };
	const struct mode *m = NULL;
	const char *kubeconfig = NULL;
	struct rlimit files = { 65536, 65536 };

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--", 2) != 0) {
			for (size_t j = 0; j < ARRAY_LEN(modes); j++)
				m = strcmp(modes[j].name, argv[i]) == 0 ? &modes[j] : m;
		} else if (i + 1 == argc) {
			return usage();
		} else if (strcmp(argv[i], "--kubeconfig") == 0) {
			kubeconfig = argv[++i];
		} else if (set_option(&b, argv[i], argv[i + 1])) {
			i++;
		} else {
			return usage();
		}
	}
	if (!m || !kubeconfig || b.clients < 1 || b.clients > CLIENTS_MAX || b.rate < 1)
		return usage();
	setrlimit(RLIMIT_NOFILE, &files);
	start(&b, kubeconfig);
	m->run(&b);
	stop(&b);
	return 0;
}

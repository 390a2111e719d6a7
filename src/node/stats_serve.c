/* The node's statistics in the forms that people and programs ask for: /stats/summary, and Prometheus text under the
 * names that dashboards know: /metrics, /metrics/resource, /metrics/cadvisor. */
#include "node/node_internal.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOG_MODULE "node"

/* ---- /stats/summary -------------------------------------------------------------------------- */

static struct node *time_of(struct arena *a, int64_t ns)
{
	char text[TIME_TEXT_MAX];

	wall_rfc3339((struct wall){ ns }, text);
	return node_c(a, text);
}

static void put_usage(struct arena *a, struct node *to, const struct usage *u, struct wall at)
{
	struct node *memory = node_pack(a, "{time:o, usageBytes:I, workingSetBytes:I, rssBytes:I}", time_of(a, at.ns),
		u->mem_usage, u->mem_set, u->mem_rss);

	if (u->mem_available)
		node_setc(memory, "availableBytes", node_int(a, u->mem_available));
	node_setc(to, "cpu",
		node_pack(a, "{time:o, usageNanoCores:I, usageCoreNanoSeconds:I}", time_of(a, at.ns), u->nanocores,
			u->cpu_ns));
	node_setc(to, "memory", memory);
}

static struct node *fs_of(struct arena *a, const char *path, struct wall at)
{
	struct statvfs v = { 0 };

	(void)statvfs(path, &v);
	return node_pack(a,
		"{time:o, availableBytes:I, capacityBytes:I, usedBytes:I, inodesFree:I, inodes:I, inodesUsed:I}",
		time_of(a, at.ns), (int64_t)(v.f_bavail * v.f_frsize), (int64_t)(v.f_blocks * v.f_frsize),
		(int64_t)((v.f_blocks - v.f_bfree) * v.f_frsize), (int64_t)v.f_ffree, (int64_t)v.f_files,
		(int64_t)(v.f_files - v.f_ffree));
}

static struct node *pod_summary(struct arena *a, const struct pod_usage *p, struct wall at)
{
	struct node *list = node_list(a), *pod;

	for (size_t i = 0; i < p->n; i++) {
		struct node *c = node_pack(
			a, "{name:s, startTime:o}", p->containers[i]->name, time_of(a, p->containers[i]->started_ns));
		if (!p->containers[i]->there)
			continue;
		put_usage(a, c, &p->containers[i]->usage, at);
		node_add(list, c);
	}
	pod = node_pack(a, "{podRef:{name:s, namespace:s, uid:s}, startTime:o, containers:o}", p->name, p->ns, p->uid,
		time_of(a, p->started_ns), list);
	put_usage(a, pod, &p->usage, at);
	return pod;
}

struct node *stats_summary(struct node_agent *n, const struct stats *s, struct arena *a)
{
	struct node *pods = node_list(a), *node = node_pack(a, "{nodeName:s}", n->o.node_name);

	put_usage(a, node, &s->node, s->at);
	node_setc(node, "fs", fs_of(a, n->o.data_dir, s->at));
	node_setc(node, "runtime", node_pack(a, "{imageFs:o}", fs_of(a, n->o.data_dir, s->at)));
	for (size_t i = 0; i < s->n; i++)
		node_add(pods, pod_summary(a, s->pods[i], s->at));
	return node_pack(a, "{node:o, pods:o}", node, pods);
}

/* ---- Prometheus ------------------------------------------------------------------------------ */

static void head(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void seconds(struct buf *b, int64_t ns)
{
	buf_printf(b, "%lld.%09lld", (long long)(ns / 1000000000), (long long)(ns % 1000000000));
}

enum figure { FIG_CPU, FIG_SET, FIG_USAGE, FIG_RSS, FIG_CACHE, FIG_START };

static void value_of(struct buf *b, enum figure f, const struct usage *u, int64_t started_ns)
{
	if (f == FIG_CPU)
		seconds(b, u->cpu_ns);
	else if (f == FIG_START)
		seconds(b, started_ns);
	else
		buf_printf(b, "%lld",
			(long long)(f == FIG_SET       ? u->mem_set :
					f == FIG_USAGE ? u->mem_usage :
					f == FIG_RSS   ? u->mem_rss :
							 u->mem_cache));
}

static const struct resource_row {
	const char *name, *type, *help;
	enum figure figure;
	enum { OF_CONTAINER, OF_POD, OF_NODE } of;
} resource_rows[] = {
	{ "container_cpu_usage_seconds_total", "counter", "CPU time that the container has used.", FIG_CPU,
		OF_CONTAINER },
	{ "container_memory_working_set_bytes", "gauge", "Memory that the container cannot do without.", FIG_SET,
		OF_CONTAINER },
	{ "container_start_time_seconds", "gauge", "When the container started.", FIG_START, OF_CONTAINER },
	{ "node_cpu_usage_seconds_total", "counter", "CPU time that the node has used.", FIG_CPU, OF_NODE },
	{ "node_memory_working_set_bytes", "gauge", "Memory that the node cannot do without.", FIG_SET, OF_NODE },
	{ "pod_cpu_usage_seconds_total", "counter", "CPU time that the pod has used.", FIG_CPU, OF_POD },
	{ "pod_memory_working_set_bytes", "gauge", "Memory that the pod cannot do without.", FIG_SET, OF_POD },
};

static void resource_pod(struct buf *b, const struct resource_row *row, const struct pod_usage *p, long long ms)
{
	for (size_t i = 0; row->of == OF_CONTAINER && i < p->n; i++) {
		if (!p->containers[i]->there)
			continue;
		buf_printf(b, "%s{container=\"%s\",namespace=\"%s\",pod=\"%s\"} ", row->name, p->containers[i]->name,
			p->ns, p->name);
		value_of(b, row->figure, &p->containers[i]->usage, p->containers[i]->started_ns);
		buf_printf(b, " %lld\n", ms);
	}
	if (row->of != OF_POD)
		return;
	buf_printf(b, "%s{namespace=\"%s\",pod=\"%s\"} ", row->name, p->ns, p->name);
	value_of(b, row->figure, &p->usage, p->started_ns);
	buf_printf(b, " %lld\n", ms);
}

void stats_resource(const struct stats *s, struct buf *b)
{
	long long ms = s->at.ns / 1000000;

	for (size_t i = 0; i < ARRAY_LEN(resource_rows); i++) {
		const struct resource_row *row = &resource_rows[i];
		head(b, row->name, row->type, row->help);
		if (row->of == OF_NODE) {
			buf_printf(b, "%s ", row->name);
			value_of(b, row->figure, &s->node, 0);
			buf_printf(b, " %lld\n", ms);
		}
		for (size_t k = 0; row->of != OF_NODE && k < s->n; k++)
			resource_pod(b, row, s->pods[k], ms);
	}
	head(b, "resource_scrape_error", "gauge",
		"1 if there was an error while getting container metrics, 0 otherwise");
	buf_c(b, "resource_scrape_error 0\n");
}

static const struct {
	const char *name, *type, *help;
	enum figure figure;
} cadvisor_rows[] = {
	{ "container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", FIG_CPU },
	{ "container_memory_cache", "gauge", "Number of bytes of page cache memory.", FIG_CACHE },
	{ "container_memory_rss", "gauge", "Size of RSS in bytes.", FIG_RSS },
	{ "container_memory_usage_bytes", "gauge",
		"Current memory usage in bytes, including all memory regardless of when it was accessed", FIG_USAGE },
	{ "container_memory_working_set_bytes", "gauge", "Current working set in bytes.", FIG_SET },
	{ "container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.",
		FIG_START },
};

static void cadvisor_pod(struct buf *b, size_t row, const struct pod_usage *p, long long ms)
{
	const char *cpu = cadvisor_rows[row].figure == FIG_CPU ? "cpu=\"total\"," : "";

	buf_printf(b, "%s{container=\"\",%sid=\"%s\",image=\"\",name=\"\",namespace=\"%s\",pod=\"%s\"} ",
		cadvisor_rows[row].name, cpu, p->cgroup, p->ns, p->name);
	value_of(b, cadvisor_rows[row].figure, &p->usage, p->started_ns);
	buf_printf(b, " %lld\n", ms);
	for (size_t i = 0; i < p->n; i++) {
		struct container_usage *c = p->containers[i];
		if (!c->there)
			continue;
		buf_printf(b, "%s{container=\"%s\",%sid=\"%s\",image=\"%s\",name=\"%s\",namespace=\"%s\",pod=\"%s\"} ",
			cadvisor_rows[row].name, c->name, cpu, c->cgroup, c->image, c->id, p->ns, p->name);
		value_of(b, cadvisor_rows[row].figure, &c->usage, c->started_ns);
		buf_printf(b, " %lld\n", ms);
	}
}

void stats_cadvisor(struct node_agent *n, const struct stats *s, struct buf *b)
{
	for (size_t i = 0; i < ARRAY_LEN(cadvisor_rows); i++) {
		head(b, cadvisor_rows[i].name, cadvisor_rows[i].type, cadvisor_rows[i].help);
		for (size_t k = 0; k < s->n; k++)
			cadvisor_pod(b, i, s->pods[k], s->at.ns / 1000000);
	}
	head(b, "machine_cpu_cores", "gauge", "Number of logical CPU cores.");
	buf_printf(b, "machine_cpu_cores %d\n", n->cpus);
	head(b, "machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
	buf_printf(b, "machine_memory_bytes %lld\n", (long long)n->mem_bytes);
}

/* ---- this process ---------------------------------------------------------------------------- */

static int open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		(void)closedir(d);
	return MAX(n - 3, 0); /* without ".", ".." and this one */
}

void stats_metrics(struct node_agent *n, const struct stats *s, struct buf *b)
{
	long pages = 0, size = 0;
	struct timespec cpu;
	size_t running = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f && fscanf(f, "%ld %ld", &size, &pages) != 2)
		pages = 0;
	if (f)
		(void)fclose(f);
	for (size_t i = 0; i < s->n; i++)
		running += s->pods[i]->n;
	head(b, "kubelet_node_name", "gauge", "The node's name. The count is always 1.");
	buf_printf(b, "kubelet_node_name{node=\"%s\"} 1\n", n->o.node_name);
	head(b, "kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox");
	buf_printf(b, "kubelet_running_pods %zu\n", s->n);
	head(b, "kubelet_running_containers", "gauge", "Number of containers currently running");
	buf_printf(b, "kubelet_running_containers{container_state=\"running\"} %zu\n", running);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	head(b, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.");
	buf_printf(b, "process_cpu_seconds_total %lld.%02ld\n", (long long)cpu.tv_sec, cpu.tv_nsec / 10000000);
	head(b, "process_open_fds", "gauge", "Number of open file descriptors.");
	buf_printf(b, "process_open_fds %d\n", open_files());
	head(b, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
	buf_printf(b, "process_resident_memory_bytes %lld\n", (long long)pages * sysconf(_SC_PAGESIZE));
}

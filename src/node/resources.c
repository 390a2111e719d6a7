/* Requests and limits → kernel knobs: CPU shares and quota, memory limit, oom score, and the pod's own control
 * group. */
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define CGROUP_ROOT "/sys/fs/cgroup"
#define CPU_PERIOD_US 100000
#define POD_DEPTH 3 /* pod, container and what it made itself */
#define SHARES_MIN 2
#define SHARES_MAX 262144

static int64_t quantity_at(struct val map, const char *key, bool milli)
{
	struct quantity q;

	if (!quantity_of(val_get(map, key), &q))
		return 0;
	return milli ? quantity_milli(q) : quantity_whole(q);
}

void resources_of(struct val container, struct resources *ret)
{
	struct val limits = val_path(container, "resources.limits");
	struct val requests = val_path(container, "resources.requests");

	*ret = (struct resources){
		.cpu_limit_milli = quantity_at(limits, "cpu", true),
		.mem_limit = quantity_at(limits, "memory", false),
		.cpu_request_milli = quantity_at(requests, "cpu", true),
		.mem_request = quantity_at(requests, "memory", false),
	};
	if (!val_has(val_get(requests, "cpu")))
		ret->cpu_request_milli = ret->cpu_limit_milli;
	if (!val_has(val_get(requests, "memory")))
		ret->mem_request = ret->mem_limit;
}

static void sum_into(struct resources *to, const struct resources *r)
{
	to->cpu_request_milli += r->cpu_request_milli;
	to->cpu_limit_milli += r->cpu_limit_milli;
	to->mem_request += r->mem_request;
	to->mem_limit += r->mem_limit;
}

static void most_into(struct resources *to, const struct resources *r)
{
	to->cpu_request_milli = MAX(to->cpu_request_milli, r->cpu_request_milli);
	to->cpu_limit_milli = MAX(to->cpu_limit_milli, r->cpu_limit_milli);
	to->mem_request = MAX(to->mem_request, r->mem_request);
	to->mem_limit = MAX(to->mem_limit, r->mem_limit);
}

/* What the pod itself is given stands above the sum of its containers; its RuntimeClass's overhead comes on top. */
static void own_of_pod(struct val spec, struct resources *sum, bool *all_cpu_limits, bool *all_mem_limits)
{
	struct val own = val_get(spec, "resources"), over = val_get(spec, "overhead");
	int64_t cpu = quantity_at(over, "cpu", true), memory = quantity_at(over, "memory", false);
	struct resources r;

	resources_of(spec, &r);
	if (val_has(val_path(own, "limits.cpu"))) {
		sum->cpu_limit_milli = r.cpu_limit_milli;
		*all_cpu_limits = true;
	}
	if (val_has(val_path(own, "limits.memory"))) {
		sum->mem_limit = r.mem_limit;
		*all_mem_limits = true;
	}
	if (r.cpu_request_milli)
		sum->cpu_request_milli = r.cpu_request_milli;
	if (r.mem_request)
		sum->mem_request = r.mem_request;
	sum->cpu_request_milli += cpu;
	sum->mem_request += memory;
	sum->cpu_limit_milli += sum->cpu_limit_milli ? cpu : 0;
	sum->mem_limit += sum->mem_limit ? memory : 0;
}

/* The larger of: all containers together with sidecars; each init container with the sidecars started before it. */
void resources_of_pod(struct val spec, struct resources *ret, bool *ret_all_cpu_limits, bool *ret_all_mem_limits)
{
	struct resources sum = { 0 }, sidecars = { 0 }, init_most = { 0 };

	*ret_all_cpu_limits = *ret_all_mem_limits = true;
	for (struct val_iter it = val_iter(val_get(spec, "initContainers")); val_next(&it);) {
		struct resources r, with;
		resources_of(it.val, &r);
		*ret_all_cpu_limits &= r.cpu_limit_milli > 0;
		*ret_all_mem_limits &= r.mem_limit > 0;
		if (val_is(val_get(it.val, "restartPolicy"), "Always")) {
			sum_into(&sidecars, &r);
			continue;
		}
		with = sidecars;
		sum_into(&with, &r);
		most_into(&init_most, &with);
	}
	for (struct val_iter it = val_iter(val_get(spec, "containers")); val_next(&it);) {
		struct resources r;
		resources_of(it.val, &r);
		*ret_all_cpu_limits &= r.cpu_limit_milli > 0;
		*ret_all_mem_limits &= r.mem_limit > 0;
		sum_into(&sum, &r);
	}
	sum_into(&sum, &sidecars);
	most_into(&sum, &init_most);
	own_of_pod(spec, &sum, ret_all_cpu_limits, ret_all_mem_limits);
	*ret = sum;
}

int64_t resources_cpu_shares(int64_t milli)
{
	return milli <= 0 ? SHARES_MIN : MIN(MAX(milli * 1024 / 1000, (int64_t)SHARES_MIN), (int64_t)SHARES_MAX);
}

static int64_t cpu_quota(int64_t milli)
{
	return MAX(milli * CPU_PERIOD_US / 1000, (int64_t)1000);
}

/* cgroup v2 counts CPU in weights 1…10000; this is the mapping that container runtimes agree on. */
static int64_t cpu_weight(int64_t shares)
{
	return 1 + ((shares - 2) * 9999) / 262142;
}

/* The smaller its request, the sooner a burstable container is chosen when memory runs out. */
int64_t resources_oom_score_adj(const char *qos, const struct resources *r, int64_t node_mem, bool node_critical)
{
	int64_t adj;

	if (node_critical || strcmp(qos, "Guaranteed") == 0)
		return -997;
	if (strcmp(qos, "BestEffort") == 0)
		return 1000;
	adj = node_mem > 0 ? 1000 - (int64_t)((double)r->mem_request * 1000.0 / (double)node_mem) : 999;
	return MIN(MAX(adj, (int64_t)3), (int64_t)999);
}

/* Without CAP_SYS_RESOURCE a process may not go below its own value: containers keep what they inherit. */
static bool may_lower_oom(void)
{
	static int known; /* 0 unknown, 1 yes, 2 no; the same answer from any thread */
	uint64_t caps = 0;

	if (known)
		return known == 1;
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "CapEff:", 7) == 0)
			caps = strtoull(line + 7, NULL, 16);
	if (f)
		(void)fclose(f);
	known = (caps >> 24) & 1 ? 1 : 2; /* CAP_SYS_RESOURCE */
	return known == 1;
}

Cri__LinuxResources *resources_cri(struct node_agent *n, struct val spec, struct val container, struct arena *a)
{
	Cri__LinuxResources *l = CRI_NEW(a, Cri__LinuxResources, cri__linux_resources);
	struct resources r;
	struct str prio = val_str(val_get(spec, "priorityClassName"));

	resources_of(container, &r);
	l->cpu_shares = resources_cpu_shares(r.cpu_request_milli);
	if (r.cpu_limit_milli) {
		l->cpu_period = CPU_PERIOD_US;
		l->cpu_quota = cpu_quota(r.cpu_limit_milli);
	}
	if (r.mem_limit) {
		l->memory_limit_in_bytes = r.mem_limit;
		if (n->cgroup_version == 2) {
			/* a container that is out of memory ends as a whole */
			CRI_ENTRY(a, l->unified, l->n_unified, cri__linux_resources__unified_entry__init,
				arena_strdup(a, "memory.oom.group"), arena_strdup(a, "1"));
		}
	}
	l->oom_score_adj =
		resources_oom_score_adj(pod_qos(spec), &r, n->mem_bytes, str_is(prio, "system-node-critical"));
	if (l->oom_score_adj < 0 && !may_lower_oom())
		l->oom_score_adj = 0;
	return l;
}

/* ---- control groups -------------------------------------------------------------------------- */

int cgroup_detect(void)
{
	return access(CGROUP_ROOT "/cgroup.controllers", F_OK) == 0 ? 2 : 1;
}

char *pod_cgroup(const struct pod *p, const char *qos)
{
	const char *root = p->n->o.cgroup_root ? p->n->o.cgroup_root : "";

	if (strcmp(qos, "Guaranteed") == 0)
		return xasprintf("%s/kubepods/pod%s", root, p->uid);
	return xasprintf(
		"%s/kubepods/%s/pod%s", root, strcmp(qos, "Burstable") == 0 ? "burstable" : "besteffort", p->uid);
}

static int write_value(const char *dir, const char *file, const char *value)
{
	auto_free char *path = xasprintf("%s/%s", dir, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		r = -errno;
	(void)close(fd);
	return r;
}

static void write_number(const char *dir, const char *file, int64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%lld", (long long)value);
	(void)write_value(dir, file, text);
}

static const char *const v1_controllers[] = { "cpu", "cpuacct", "memory", "pids", "cpuset", "blkio", "freezer",
	"devices", "hugetlb", "net_cls", "net_prio", "perf_event", "systemd", "unified" };

static void limits_v1(const char *path, const struct resources *r, bool cpu_limit, bool mem_limit)
{
	auto_free char *cpu = xasprintf(CGROUP_ROOT "/cpu%s", path);
	auto_free char *mem = xasprintf(CGROUP_ROOT "/memory%s", path);

	if (mkdirs(cpu, 0755, NULL) == 0) {
		write_number(cpu, "cpu.shares", resources_cpu_shares(r->cpu_request_milli));
		if (cpu_limit) {
			write_number(cpu, "cpu.cfs_period_us", CPU_PERIOD_US);
			write_number(cpu, "cpu.cfs_quota_us", cpu_quota(r->cpu_limit_milli));
		}
	}
	if (mkdirs(mem, 0755, NULL) == 0 && mem_limit)
		write_number(mem, "memory.limit_in_bytes", r->mem_limit);
}

/* Makes each level and hands the controllers down. */
static int make_v2(const char *path, struct err *e)
{
	char full[4096];
	int r;

	for (const char *s = path; s; s = strchr(s + 1, '/')) {
		(void)snprintf(full, sizeof(full), CGROUP_ROOT "%.*s", (int)(s - path), path);
		(void)write_value(full, "cgroup.subtree_control", "+cpu +memory +pids");
		(void)write_value(full, "cgroup.subtree_control", "+cpuset +io");
	}
	(void)snprintf(full, sizeof(full), CGROUP_ROOT "%s", path);
	r = mkdirs(full, 0755, e);
	if (r < 0)
		return r;
	for (const char *s = strchr(path + 1, '/'); s; s = strchr(s + 1, '/')) { /* levels that mkdirs just made */
		(void)snprintf(full, sizeof(full), CGROUP_ROOT "%.*s", (int)(s - path), path);
		(void)write_value(full, "cgroup.subtree_control", "+cpu +memory +pids");
	}
	(void)snprintf(full, sizeof(full), CGROUP_ROOT "%s", path);
	(void)write_value(full, "cgroup.subtree_control", "+cpu +memory +pids");
	return 0;
}

static void limits_v2(const char *path, const struct resources *r, bool cpu_limit, bool mem_limit)
{
	auto_free char *dir = xasprintf(CGROUP_ROOT "%s", path);
	char text[64];

	write_number(dir, "cpu.weight", cpu_weight(resources_cpu_shares(r->cpu_request_milli)));
	if (cpu_limit) {
		(void)snprintf(text, sizeof(text), "%lld %d", (long long)cpu_quota(r->cpu_limit_milli), CPU_PERIOD_US);
		(void)write_value(dir, "cpu.max", text);
	}
	if (mem_limit)
		write_number(dir, "memory.max", r->mem_limit);
}

/* What the burstable pods of this node ask for together, without the one that leaves. */
static int64_t burstable_milli(struct node_agent *n, const struct pod *leaving)
{
	int64_t sum = 0;
	struct str key;
	void *value;

	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);) {
		struct pod *p = value;
		struct val spec = doc_get(p->doc, "spec");
		struct resources r;
		bool ignored;

		if (p == leaving || pod_is_over(p->doc) || strcmp(pod_qos(spec), "Burstable") != 0)
			continue;
		resources_of_pod(spec, &r, &ignored, &ignored);
		sum += r.cpu_request_milli;
	}
	task_unlock(&n->lock);
	return sum;
}

static void share_cpu(struct node_agent *n, const char *path, int64_t milli)
{
	auto_free char *dir = xasprintf(CGROUP_ROOT "%s%s", n->cgroup_version == 2 ? "" : "/cpu", path);

	if (n->cgroup_version == 2)
		write_number(dir, "cpu.weight", cpu_weight(resources_cpu_shares(milli)));
	else
		write_number(dir, "cpu.shares", resources_cpu_shares(milli));
}

/* Guaranteed pods stand beside the two classes and share the CPU with them by what each asked for: best-effort pods get
 * what nobody wants. */
static void share_between_classes(struct node_agent *n, const struct pod *leaving)
{
	const char *root = n->o.cgroup_root ? n->o.cgroup_root : "";
	auto_free char *all = xasprintf("%s/kubepods", root), *burstable = xasprintf("%s/burstable", all),
		       *besteffort = xasprintf("%s/besteffort", all);

	share_cpu(n, all, n->cpus * INT64_C(1000));
	share_cpu(n, burstable, burstable_milli(n, leaving));
	share_cpu(n, besteffort, 0);
}

/* All pods together get what is not reserved: short of memory, they lose a process, not the machine. */
static void limit_all(struct node_agent *n)
{
	const char *root = n->o.cgroup_root ? n->o.cgroup_root : "";
	auto_free char *dir = xasprintf(CGROUP_ROOT "%s%s/kubepods", n->cgroup_version == 2 ? "" : "/memory", root);

	if (n->reserved.memory_bytes)
		write_number(dir, n->cgroup_version == 2 ? "memory.max" : "memory.limit_in_bytes",
			n->mem_bytes - n->reserved.memory_bytes);
}

int cgroup_pod_make(struct pod *p, struct val spec, struct err *e)
{
	auto_free char *path = pod_cgroup(p, pod_qos(spec));
	struct resources r;
	bool cpu_limit, mem_limit;
	int ret;

	resources_of_pod(spec, &r, &cpu_limit, &mem_limit);
	if (p->n->cgroup_version == 1) {
		limits_v1(path, &r, cpu_limit, mem_limit);
		share_between_classes(p->n, NULL);
		limit_all(p->n);
		return 0;
	}
	ret = make_v2(path, e);
	if (ret < 0)
		return err_wrap(e, "control group %s", path);
	limits_v2(path, &r, cpu_limit, mem_limit);
	share_between_classes(p->n, NULL);
	limit_all(p->n);
	return 0;
}

/* Control groups are directories of which only empty ones can be removed: the deepest first. */
static void remove_empty(const char *dir, int depth)
{
	struct dirent *entry;
	DIR *d = depth > 0 ? opendir(dir) : NULL;

	while (d && (entry = readdir(d))) {
		if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		auto_free char *path = xasprintf("%s/%s", dir, entry->d_name);
		remove_empty(path, depth - 1);
	}
	if (d)
		(void)closedir(d);
	(void)rmdir(dir);
}

void cgroup_pod_remove(struct pod *p)
{
	static const char *const classes[] = { "Guaranteed", "Burstable", "BestEffort" };

	for (size_t q = 0; q < ARRAY_LEN(classes); q++) {
		auto_free char *path = pod_cgroup(p, classes[q]);
		if (p->n->cgroup_version == 2) {
			auto_free char *dir = xasprintf(CGROUP_ROOT "%s", path);
			remove_empty(dir, POD_DEPTH);
			continue;
		}
		for (size_t i = 0; i < ARRAY_LEN(v1_controllers); i++) {
			auto_free char *dir = xasprintf(CGROUP_ROOT "/%s%s", v1_controllers[i], path);
			remove_empty(dir, POD_DEPTH);
		}
	}
	share_between_classes(p->n, p);
}

/* Folders podUID of the class below root. */
static void each_pod(const char *root, const char *class, void (*each)(void *arg, const char *uid), void *arg)
{
	auto_free char *path = xasprintf("%s/kubepods%s", root, class);
	DIR *d = opendir(path);

	for (struct dirent *entry; d && (entry = readdir(d));)
		if (strncmp(entry->d_name, "pod", 3) == 0)
			each(arg, entry->d_name + 3);
	if (d)
		(void)closedir(d);
}

void cgroup_pods_each(struct node_agent *n, void (*each)(void *arg, const char *uid), void *arg)
{
	static const char *const classes[] = { "", "/burstable", "/besteffort" };
	const char *own = n->o.cgroup_root ? n->o.cgroup_root : "";

	for (size_t q = 0; q < ARRAY_LEN(classes); q++)
		for (size_t i = 0; i < (n->cgroup_version == 2 ? 1 : ARRAY_LEN(v1_controllers)); i++) {
			auto_free char *root = n->cgroup_version == 2 ?
				xasprintf(CGROUP_ROOT "%s", own) :
				xasprintf(CGROUP_ROOT "/%s%s", v1_controllers[i], own);
			each_pod(root, classes[q], each, arg);
		}
}

static void remove_pods(const char *root)
{
	auto_free char *path = xasprintf("%s/kubepods", root);

	remove_empty(path, 5); /* kubepods, class, pod, container and what it made itself */
}

void cgroup_remove_all(struct node_agent *n)
{
	const char *root = n->o.cgroup_root ? n->o.cgroup_root : "";
	auto_free char *v2 = xasprintf(CGROUP_ROOT "%s", root);

	remove_pods(v2);
	if (*root)
		(void)rmdir(v2);
	for (size_t i = 0; i < ARRAY_LEN(v1_controllers); i++) {
		auto_free char *dir = xasprintf(CGROUP_ROOT "/%s%s", v1_controllers[i], root);
		remove_pods(dir);
		if (*root)
			(void)rmdir(dir);
	}
}

/* What pods and the node use: read from their control groups when somebody asks.
 *
 * A rate needs two readings: each reading is kept, and the rate is that since a reading at least RATE_LEAST_MS old. Who
 * asks for the first time waits for a second, short one. */
#include "node/node_internal.h"
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define CGROUPS "/sys/fs/cgroup"
#define RATE_LEAST_MS 5000
#define RATE_FIRST_MS 200

struct sample {
	int64_t cpu_ns, nanocores;
	struct mono at;
	bool rated, used;
};

/* ---- files of numbers ------------------------------------------------------------------------ */

static bool read_text(const char *path, char *to, size_t cap)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return false;
	n = fread(to, 1, cap - 1, f);
	(void)fclose(f);
	to[n] = 0;
	return n > 0;
}

/* "key 123" or "key: 123 kB" of a file's text. */
int64_t stats_field(const char *text, const char *key)
{
	struct str rest = str_c(text), line;

	while (str_next(&rest, '\n', &line)) {
		struct str name, value = str_trim(str_cut(line, ' ', &name));
		int64_t v, unit = str_ends(value, STR(" kB")) ? 1024 : 1;
		if (str_ends(name, STR(":")))
			name.n--;
		if (!str_is(name, key))
			continue;
		(void)str_cut(value, ' ', &value);
		return str_i64(value, &v) ? v * unit : 0;
	}
	return 0;
}

static int64_t number_in(const char *path)
{
	char text[64];
	int64_t v;

	return read_text(path, text, sizeof(text)) && str_i64(str_trim(str_c(text)), &v) ? v : 0;
}

static bool read_v1(const char *cgroup, struct usage *u)
{
	auto_free char *cpu = xasprintf(CGROUPS "/cpuacct%s/cpuacct.usage", cgroup),
		       *memory = xasprintf(CGROUPS "/memory%s/memory.usage_in_bytes", cgroup);
	auto_free char *stat = xasprintf(CGROUPS "/memory%s/memory.stat", cgroup);
	char text[4096];

	u->cpu_ns = number_in(cpu);
	u->mem_usage = number_in(memory);
	if (!read_text(stat, text, sizeof(text)))
		return false;
	u->mem_set = MAX(u->mem_usage - stats_field(text, "total_inactive_file"), (int64_t)0);
	u->mem_rss = stats_field(text, "total_rss");
	u->mem_cache = stats_field(text, "total_cache");
	return true;
}

static bool read_v2(const char *cgroup, struct usage *u)
{
	auto_free char *cpu = xasprintf(CGROUPS "%s/cpu.stat", cgroup),
		       *memory = xasprintf(CGROUPS "%s/memory.current", cgroup);
	auto_free char *stat = xasprintf(CGROUPS "%s/memory.stat", cgroup);
	char text[4096];

	if (!read_text(cpu, text, sizeof(text)))
		return false;
	u->cpu_ns = stats_field(text, "usage_usec") * 1000;
	u->mem_usage = number_in(memory);
	if (!read_text(stat, text, sizeof(text)))
		return false;
	u->mem_set = MAX(u->mem_usage - stats_field(text, "inactive_file"), (int64_t)0);
	u->mem_rss = stats_field(text, "anon");
	u->mem_cache = stats_field(text, "file");
	return true;
}

bool stats_node(struct usage *u)
{
	char text[4096];
	struct str line, word, rest;
	int64_t ticks = 0, v;

	if (!read_text("/proc/stat", text, sizeof(text)))
		return false;
	(void)str_cut(str_c(text), '\n', &line);
	rest = line;
	for (int i = 0; str_next(&rest, ' ', &word);) {
		if (!str_i64(word, &v))
			continue;
		if (i != 3 && i != 4 && i < 8) /* neither idle nor waiting; guests are counted in user */
			ticks += v;
		i++;
	}
	u->cpu_ns = ticks * (1000000000 / sysconf(_SC_CLK_TCK));
	if (!read_text("/proc/meminfo", text, sizeof(text)))
		return false;
	u->mem_usage = stats_field(text, "MemTotal") - stats_field(text, "MemFree");
	u->mem_set = MAX(u->mem_usage - stats_field(text, "Inactive(file)"), (int64_t)0);
	u->mem_rss = stats_field(text, "AnonPages");
	u->mem_cache = stats_field(text, "Cached");
	u->mem_available = stats_field(text, "MemAvailable");
	return true;
}

/* ---- rates ----------------------------------------------------------------------------------- */

/* Under stats_lock. true: there is a rate. */
static bool rate(struct node_agent *n, const char *key, struct usage *u)
{
	struct sample *s = map_get(n->samples, str_c(key));
	struct mono now = mono_now();
	int64_t ms;

	if (!s) {
		s = xcalloc(1, sizeof(*s));
		*s = (struct sample){ .cpu_ns = u->cpu_ns, .at = now, .used = true };
		map_put(n->samples, str_c(key), s);
		return false;
	}
	s->used = true;
	ms = mono_ms_between(s->at, now);
	if (ms >= (s->rated ? RATE_LEAST_MS : RATE_FIRST_MS)) {
		s->nanocores = MAX(u->cpu_ns - s->cpu_ns, (int64_t)0) * 1000 / ms;
		s->cpu_ns = u->cpu_ns;
		s->at = now;
		s->rated = true;
	}
	u->nanocores = s->nanocores;
	return s->rated;
}

static void drop_unused(struct node_agent *n)
{
	struct str key;
	void *value;

	for (size_t i = 0; map_next(n->samples, &i, &key, &value);) {
		struct sample *s = value;
		if (!s->used) {
			map_del(n->samples, key);
			continue;
		}
		s->used = false;
	}
}

/* ---- all of it ------------------------------------------------------------------------------- */

static struct pod_usage *pod_of(struct node_agent *n, struct stats *s, const char *uid, struct arena *a)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->pods[i]->uid, uid) == 0)
			return s->pods[i];
	auto_(pod_unref) struct pod *p = pod_ref_uid(n, str_c(uid));
	auto_(doc_unref) struct doc *d = p ? pod_doc(p) : NULL;
	struct pod_usage *u;
	if (!d)
		return NULL;
	auto_free char *cgroup = pod_cgroup(p, pod_qos(doc_get(d, "spec")));
	u = arena_alloc(a, sizeof(*u));
	*u = (struct pod_usage){ .uid = arena_strdup(a, p->uid),
		.ns = arena_strdup(a, p->ns),
		.name = arena_strdup(a, p->name),
		.cgroup = arena_strdup(a, cgroup),
		.started_ns = p->start_ns };
	cri_push(a, &s->pods, &s->n, u);
	return u;
}

static void add_container(struct node_agent *n, struct stats *s, const Cri__Container *k, struct arena *a)
{
	const char *uid = cri_map_get(k->labels, k->n_labels, LABEL_POD_UID),
		   *name = cri_map_get(k->labels, k->n_labels, LABEL_CONTAINER);
	struct pod_usage *p = k->state == CONTAINER_RUNNING && uid && name ? pod_of(n, s, uid, a) : NULL;
	struct container_usage *c;

	if (!p)
		return;
	c = arena_alloc(a, sizeof(*c));
	*c = (struct container_usage){ .name = arena_strdup(a, name),
		.id = arena_strdup(a, k->id),
		.started_ns = k->created_at,
		.image = arena_strdup(a, k->image ? k->image->image : ""),
		.cgroup = arena_printf(a, "%s/%s", p->cgroup, k->id) };
	cri_push(a, &p->containers, &p->n, c);
}

static bool read_cgroup(struct node_agent *n, const char *cgroup, struct usage *u)
{
	return n->cgroup_version == 2 ? read_v2(cgroup, u) : read_v1(cgroup, u);
}

/* true: every rate is known. */
static bool read_all(struct node_agent *n, struct stats *s)
{
	bool all = stats_node(&s->node) && rate(n, "/", &s->node);

	for (size_t i = 0; i < s->n; i++) {
		struct pod_usage *p = s->pods[i];
		if (read_cgroup(n, p->cgroup, &p->usage))
			all &= rate(n, p->cgroup, &p->usage);
		for (size_t k = 0; k < p->n; k++) {
			struct container_usage *c = p->containers[k];
			c->there = read_cgroup(n, c->cgroup, &c->usage);
			if (c->there)
				all &= rate(n, c->cgroup, &c->usage);
		}
	}
	return all;
}

int stats_collect(struct node_agent *n, struct arena *a, struct stats *ret, struct err *e)
{
	auto_reply Cri__ListContainersReply *l = NULL;
	struct stats s = { .at = wall_now() };
	int r = cri_list_containers(&n->cri, NULL, &l, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < l->n_containers; i++)
		add_container(n, &s, l->containers[i], a);
	task_lock(&n->stats_lock);
	if (!read_all(n, &s)) {
		task_unlock(&n->stats_lock);
		(void)stop_sleep_ms(n->stop, RATE_FIRST_MS + 10);
		task_lock(&n->stats_lock);
		(void)read_all(n, &s);
	}
	drop_unused(n);
	task_unlock(&n->stats_lock);
	*ret = s;
	return 0;
}

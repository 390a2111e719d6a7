/* What pods may have of this node: its capacity, less what is reserved for the system, less what the eviction thresholds
 * keep free. Source: Kubernetes' documentation, "Reserve Compute Resources for System Daemons". */
#include "node/node_internal.h"
#include <stdio.h>
#include <sys/statvfs.h>

/* ---- what is reserved: "cpu=500m,memory=1Gi" -------------------------------------------------- */

static int reserve(struct str part, struct reserved *r, struct err *e)
{
	struct str name, value = str_trim(str_cut(part, '=', &name));
	struct quantity q;

	name = str_trim(name);
	if (!quantity_parse(value, &q) || quantity_cmp(q, (struct quantity){ 0 }) < 0)
		return err_set(e, ERR_INVALID, "%.*s: \"%.*s\" is not an amount", STR_ARG(name), STR_ARG(value));
	if (str_is(name, "cpu"))
		r->cpu_milli = quantity_milli(q);
	else if (str_is(name, "memory"))
		r->memory_bytes = quantity_whole(q);
	else if (str_is(name, "ephemeral-storage"))
		r->disk_bytes = quantity_whole(q);
	else
		return err_set(e, ERR_INVALID, "\"%.*s\" is none of cpu, memory, ephemeral-storage", STR_ARG(name));
	return 0;
}

int reserved_parse(struct str text, struct reserved *ret, struct err *e)
{
	struct reserved r = { 0 };

	for (struct str part, rest = text; str_next(&rest, ',', &part);) {
		int rc = str_empty(str_trim(part)) ? 0 : reserve(part, &r, e);
		if (rc < 0)
			return rc;
	}
	*ret = r;
	return 0;
}

/* ---- what is left ----------------------------------------------------------------------------- */

static int64_t disk_bytes(const struct node_agent *n)
{
	struct statvfs v = { 0 };

	(void)statvfs(n->o.data_dir, &v);
	return (int64_t)(v.f_blocks * v.f_frsize);
}

static int64_t less(int64_t capacity, int64_t reserved, const struct threshold *kept_free)
{
	int64_t rest = capacity - reserved - (kept_free ? threshold_amount(kept_free, capacity) : 0);

	return MAX(rest, (int64_t)0);
}

int64_t allocatable_cpu_milli(const struct node_agent *n)
{
	return less(n->cpus * INT64_C(1000), n->reserved.cpu_milli, NULL);
}

int64_t allocatable_memory_bytes(const struct node_agent *n)
{
	return less(n->mem_bytes, n->reserved.memory_bytes, &n->thresholds[SIGNAL_MEMORY]);
}

/* ---- as the Node's status says it --------------------------------------------------------------- */

static struct node *resources(
	struct node_agent *n, struct arena *a, int64_t cpu_milli, int64_t memory_bytes, int64_t disk)
{
	return node_pack(a,
		"{cpu:o, 'ephemeral-storage':o, 'hugepages-1Gi':'0', 'hugepages-2Mi':'0', memory:o, pods:o}",
		cpu_milli % 1000 ? node_strf(a, "%lldm", (long long)cpu_milli) :
				   node_strf(a, "%lld", (long long)cpu_milli / 1000),
		node_strf(a, "%lldKi", (long long)disk / 1024), node_strf(a, "%lldKi", (long long)memory_bytes / 1024),
		node_strf(a, "%d", n->o.max_pods));
}

struct node *node_capacity(struct node_agent *n, struct arena *a)
{
	return resources(n, a, n->cpus * INT64_C(1000), n->mem_bytes, disk_bytes(n));
}

static bool is_extended(struct str name)
{
	return str_has(name, STR("/")) && !str_has(name, STR("kubernetes.io/"));
}

/* Anybody may add extended resources to a Node's capacity; the node takes them over as allocatable. Source: Kubernetes'
 * documentation, "Advertise Extended Resources for a Node". */
static void extended(struct node_agent *n, struct arena *a, struct node *list)
{
	struct val advertised = n->node_doc ? doc_get(n->node_doc, "status.capacity") : VAL_NONE;
	struct val before = n->node_doc ? doc_get(n->node_doc, "status.allocatable") : VAL_NONE;

	for (struct val_iter it = val_iter(before); val_next(&it);)
		if (is_extended(it.key))
			node_set(list, it.key, node_null(a));
	for (struct val_iter it = val_iter(advertised); val_next(&it);)
		if (is_extended(it.key))
			node_set(list, it.key, node_from(a, it.val));
}

struct node *node_allocatable(struct node_agent *n, struct arena *a)
{
	int64_t disk = less(disk_bytes(n), n->reserved.disk_bytes, &n->thresholds[SIGNAL_DISK]);
	struct node *list = resources(n, a, allocatable_cpu_milli(n), allocatable_memory_bytes(n), disk);

	extended(n, a, list);
	return list;
}

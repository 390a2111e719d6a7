/* Local storage that a pod may use at most: emptyDir.sizeLimit and limits of ephemeral-storage. Pods that have neither
 * cost nothing here; the others are measured with each look at the node's pressure. */
#include "node/node_internal.h"
#include <fts.h>
#include <stdio.h>
#include <sys/stat.h>

#define LOG_MODULE "node"

/* Bytes on the disk below path, without other file systems. A tree that is huge is counted until it is too large
 * anyway. */
int64_t storage_used(const char *path, int64_t enough)
{
	char *const roots[] = { (char *)path, NULL };
	FTS *f = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	int64_t sum = 0;
	FTSENT *entry;

	while (f && sum <= enough && (entry = fts_read(f)))
		if (entry->fts_info != FTS_DP && entry->fts_statp &&
			(S_ISREG(entry->fts_statp->st_mode) || entry->fts_info == FTS_D))
			sum += (int64_t)entry->fts_statp->st_blocks * 512;
	if (f)
		(void)fts_close(f);
	return sum;
}

static int64_t amount(struct val v)
{
	struct quantity q;

	return quantity_of(v, &q) ? quantity_whole(q) : 0;
}

static bool limited(struct doc *d)
{
	for (struct val_iter it = val_iter(doc_get(d, "spec.volumes")); val_next(&it);)
		if (amount(val_path(it.val, "emptyDir.sizeLimit")) > 0)
			return true;
	for (struct val_iter it = val_iter(doc_get(d, "spec.containers")); val_next(&it);)
		if (val_has(val_get(val_path(it.val, "resources.limits"), "ephemeral-storage")))
			return true;
	return false;
}

/* What emptyDirs on the disk use. Own *ret_why: one is too large. Those in memory are limited by their file system. */
static int64_t volumes_use(struct pod *p, struct doc *d, char **ret_why)
{
	int64_t sum = 0;

	for (struct val_iter it = val_iter(doc_get(d, "spec.volumes")); val_next(&it);) {
		struct val e = val_get(it.val, "emptyDir"), limit = val_get(e, "sizeLimit");
		auto_free char *rel = xasprintf("volumes/kubernetes.io~empty-dir/%.*s",
				       STR_ARG(val_str(val_get(it.val, "name")))),
			       *path = pod_dir(p, rel);
		int64_t most = amount(limit), used;
		if (!val_has(e) || val_is(val_get(e, "medium"), "Memory"))
			continue;
		used = storage_used(path, INT64_MAX);
		sum += used;
		if (most > 0 && used > most && !*ret_why)
			*ret_why = xasprintf("Usage of EmptyDir volume \"%.*s\" exceeds the limit \"%.*s\". ",
				STR_ARG(val_str(val_get(it.val, "name"))), STR_ARG(val_str(limit)));
	}
	return sum;
}

static int64_t layer_of(Cri__ListContainerStatsReply *l, const char *uid, struct str container)
{
	for (size_t i = 0; i < l->n_stats; i++) {
		Cri__ContainerAttributes *at = l->stats[i]->attributes;
		const char *of = at ? cri_map_get(at->labels, at->n_labels, LABEL_POD_UID) : NULL;
		const char *name = at ? cri_map_get(at->labels, at->n_labels, LABEL_CONTAINER) : NULL;
		Cri__FilesystemUsage *layer = l->stats[i]->writable_layer;
		if (of && name && strcmp(of, uid) == 0 && str_is(container, name) && layer && layer->used_bytes)
			return (int64_t)layer->used_bytes->value;
	}
	return 0;
}

/* Own; NULL: it keeps to its limits. */
static char *excess(struct pod *p, struct doc *d, Cri__ListContainerStatsReply *layers)
{
	auto_free char *logs = pod_log_dir(p);
	int64_t total = 0, sum;
	bool all = true;
	char *why = NULL;

	sum = volumes_use(p, d, &why);
	for (struct val_iter it = val_iter(doc_get(d, "spec.containers")); val_next(&it) && !why;) {
		struct str name = val_str(val_get(it.val, "name"));
		struct val limit = val_get(val_path(it.val, "resources.limits"), "ephemeral-storage");
		auto_free char *dir = xasprintf("%s/%.*s", logs, STR_ARG(name));
		int64_t used = layer_of(layers, p->uid, name) + storage_used(dir, INT64_MAX);
		sum += used;
		total += amount(limit);
		all &= val_has(limit);
		if (val_has(limit) && used > amount(limit))
			why = xasprintf("Container %.*s exceeded its local ephemeral storage limit \"%.*s\". ",
				STR_ARG(name), STR_ARG(val_str(limit)));
	}
	if (!why && all && total > 0 && sum > total)
		why = xasprintf("Pod ephemeral local storage usage exceeds the total limit of containers %lldKi. ",
			(long long)total / 1024);
	return why;
}

static void check(struct node_agent *n, struct str uid, Cri__ListContainerStatsReply *layers)
{
	auto_(pod_unref) struct pod *p = pod_ref_uid(n, uid);
	auto_(doc_unref) struct doc *d = p ? pod_doc(p) : NULL;
	auto_free char *why = d ? excess(p, d, layers) : NULL;

	if (!why)
		return;
	log_warn("pod %s/%s is evicted: %s", p->ns, p->name, why);
	pod_evict(p, why);
}

void storage_limits_check(struct node_agent *n)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_reply Cri__ListContainerStatsReply *layers = NULL;
	char **uids = NULL;
	size_t count = 0;
	struct str key;
	struct err e;
	void *value;

	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);) {
		struct pod *p = value;
		struct str phase = doc_str(p->doc, "status.phase");
		if (!p->gone && !p->evicted && str_is(phase, "Running") && limited(p->doc))
			cri_push(a, &uids, &count, arena_cstr(a, key));
	}
	task_unlock(&n->lock);
	err_init(&e);
	if (!count || cri_container_stats(&n->cri, &layers, &e) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		check(n, str_c(uids[i]), layers);
}

/* Pods from files: what lies in a folder of this node runs on it.
 *
 *   manifests/web.yaml ─► Pod "web-NODE" in the API, annotated with the file's hash ─► runs like any other
 *
 * A file that changes replaces its pod, one that goes takes it along, a pod that somebody deletes comes back. */
#include "base/file.h"
#include "node/node_internal.h"
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define FILE_MAX ((size_t)1 << 20)
#define NOTE_SOURCE "kubernetes.io/config.source"
#define NOTE_CONFIG_HASH "kubernetes.io/config.hash"

static bool is_manifest(const char *name)
{
	static const char *const ends[] = { ".yaml", ".yml", ".json" };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (name[0] != '.' && str_ends(str_c(name), str_c(ends[i])))
			return true;
	return false;
}

/* The Pod of a manifest as it goes to the API; in a. */
int static_pod_of(struct str text, const char *node_name, struct str node_uid, struct arena *a, struct node **ret,
	char **ret_hash, struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct node *pod, *meta, *notes;
	struct str ns;

	if (doc_parse_yaml(text, NULL, NULL, &d, e) < 0)
		return -e->code;
	if (!str_is(doc_str(d, "kind"), "Pod") || str_empty(doc_name(d)))
		return err_set(e, ERR_INVALID, "it is not a Pod with a name");
	*ret_hash =
		arena_printf(a, "%08x%08x", fnv32a(text), fnv32a(arena_strf(a, "%s/%.*s", node_name, STR_ARG(text))));
	pod = node_from(a, doc_root(d));
	meta = node_getc(pod, "metadata");
	ns = doc_ns(d);
	node_setc(meta, "name", node_strf(a, "%.*s-%s", STR_ARG(doc_name(d)), node_name));
	node_setc(meta, "namespace", node_str(a, str_empty(ns) ? STR("default") : ns));
	node_delc(meta, "uid");
	if (!node_getc(meta, "annotations"))
		node_setc(meta, "annotations", node_map(a));
	notes = node_getc(meta, "annotations");
	node_setc(notes, NOTE_MIRROR, node_c(a, *ret_hash));
	node_setc(notes, NOTE_CONFIG_HASH, node_c(a, *ret_hash));
	node_setc(notes, NOTE_SOURCE, node_c(a, "file"));
	node_setc(meta, "ownerReferences",
		node_pack(a, "[{apiVersion:'v1', kind:'Node', name:s, uid:S, controller:true}]", node_name, node_uid));
	node_set_path(pod, "spec.nodeName", node_c(a, node_name));
	node_delc(pod, "status");
	*ret = pod;
	return 0;
}

static bool ours(const struct doc *d, struct str *ret_hash)
{
	struct val notes = doc_get(d, "metadata.annotations");

	*ret_hash = val_str(val_get(notes, NOTE_CONFIG_HASH));
	return val_is(val_get(notes, NOTE_SOURCE), "file");
}

static int remove_pod(struct node_agent *n, struct doc *d, struct err *e)
{
	int r = client_delete(n->client, res_pods, doc_ns(d), doc_name(d),
		(struct client_delete){ .uid = doc_uid(d), .grace_s = -1 }, e);

	return r == -ERR_NOT_FOUND || r == -ERR_CONFLICT ? 0 : r;
}

/* true: it is as the file wants it. */
static bool need(struct node_agent *n, struct node *pod, const char *hash, struct err *e)
{
	auto_(doc_unref) struct doc *want = node_publish(pod),
				    *have = informer_get(n->o.pods, doc_ns(want), doc_name(want));
	struct str has;

	if (!have)
		return client_create(n->client, res_pods, doc_ns(want), want, NULL, e) == 0;
	if (!ours(have, &has))
		return err_set(e, ERR_EXISTS, "a pod %.*s/%.*s is there that came from elsewhere",
			       STR_ARG(doc_ns(want)), STR_ARG(doc_name(want))) == 0;
	if (str_is(has, hash) && !val_has(doc_get(have, "metadata.deletionTimestamp")))
		return true;
	if (!val_has(doc_get(have, "metadata.deletionTimestamp")))
		(void)remove_pod(n, have, e);
	return false; /* its successor is made when it is gone */
}

struct look {
	struct node_agent *n;
	struct doc *node;
	struct map *wanted; /* "ns/name" → itself */
	bool content;
};

static void look_at(struct look *l, const char *name)
{
	struct node_agent *n = l->n;
	auto_(arena_free) struct arena *a = arena_new();
	auto_free char *path = xasprintf("%s/%s", n->o.static_dir, name);
	auto_buf struct buf text = BUF_INIT;
	struct node *pod;
	struct err e;
	char *hash;

	err_init(&e);
	text.max = FILE_MAX;
	if (file_read(path, &text, &e) < 0 ||
		static_pod_of(buf_view(&text), n->o.node_name, doc_uid(l->node), a, &pod, &hash, &e) < 0) {
		log_error("static pod %s: %s", path, e.message);
		return; /* looked at again when the file changes */
	}
	struct node *meta = node_getc(pod, "metadata");
	map_put(l->wanted,
		arena_strf(a, "%.*s/%.*s", STR_ARG(node_text_str(node_getc(meta, "namespace"))),
			STR_ARG(node_text_str(node_getc(meta, "name")))),
		l);
	if (need(n, pod, hash, &e))
		return;
	l->content = false;
	if (e.code)
		log_warn("static pod %s: %s; trying again", path, e.message);
}

/* Pods whose file is gone. */
static void drop_others(struct look *l)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list all = informer_list(l->n->o.pods, a, NULL, STR_NULL);
	struct str hash;
	struct err e;

	for (size_t i = 0; i < all.n; i++) {
		struct doc *d = all.items[i];
		struct str key = arena_strf(a, "%.*s/%.*s", STR_ARG(doc_ns(d)), STR_ARG(doc_name(d)));
		if (!ours(d, &hash) || map_get(l->wanted, key) || val_has(doc_get(d, "metadata.deletionTimestamp")))
			continue;
		err_init(&e);
		if (remove_pod(l->n, d, &e) < 0) {
			log_warn("static pod %.*s: %s; trying again", STR_ARG(key), e.message);
			l->content = false;
		}
	}
}

static bool look(void *arg)
{
	struct node_agent *n = arg;
	auto_(map_free) struct map *wanted = map_new(NULL);
	auto_(doc_unref) struct doc *node = NULL;
	struct dirent *entry;
	struct err e;
	DIR *d;

	err_init(&e);
	if (!informer_synced(n->o.pods) ||
		client_get(n->client, res_nodes, STR_NULL, str_c(n->o.node_name), &node, &e) < 0)
		return false;
	d = opendir(n->o.static_dir);
	if (!d)
		return false;
	struct look l = { n, node, wanted, true };
	while ((entry = readdir(d)))
		if (is_manifest(entry->d_name))
			look_at(&l, entry->d_name);
	(void)closedir(d);
	drop_others(&l);
	return l.content;
}

static void task(void *arg)
{
	struct node_agent *n = arg;

	dir_watch(n, n->o.static_dir, n->static_wake, look, n);
	node_task_end(n);
}

/* By on_pod(): one of ours has changed or gone. */
void static_pods_changed(struct node_agent *n, const struct doc *d)
{
	struct str hash;

	if (n->o.static_dir && ours(d, &hash))
		dir_watch_wake(n->static_wake);
}

void static_pods_run(struct node_agent *n)
{
	if (!n->o.static_dir)
		return;
	(void)mkdirs(n->o.static_dir, 0700, NULL);
	(void)node_task(n, "static-pods", task, n);
}

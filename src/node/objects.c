/* Config maps and secrets that pods of this node mount: read when needed, watched one by one (a node may see no
 * others).
 *
 *   objects_watch ─► due ─► one task: list, watch ─► ready() ─► due ─► next events ─► pods look at their volumes again
 *
 * All watches share that task: one more object costs a stream of the client's connection, not a thread. */
#include "node/node_internal.h"
#include <stdio.h>

#define LOG_MODULE "node"
#define ALIVE_MS 160000 /* longer than the silence after which a watch is taken for dead */

struct entry {
	struct object_cache *cache;
	char *key; /* "configmaps/ns/name" */
	struct gvr res;
	char *ns, *name;
	/* Under cache->lock: */
	char **uids; /* pods that mount it */
	size_t n;
	int64_t oldest_read; /* the oldest version that a pod read since the last event; ABSENT; NOT_READ */
	/* The task's: */
	struct client_stream *stream;
	int64_t seen; /* newest version that the watch told; ABSENT: there is none */
};
#define NOT_READ (-1)
#define ABSENT 0

struct object_cache {
	struct node_agent *n;
	struct task_mutex lock;
	struct map *entries; /* key → entry */
	struct queue *due;
	bool runs; /* the task was started */
};

static void entry_free(struct entry *t)
{
	client_close(t->cache->n->client, t->stream);
	for (size_t i = 0; i < t->n; i++)
		free(t->uids[i]);
	free(t->uids);
	free(t->ns);
	free(t->name);
	free(t->key);
	free(t);
}

static char *key_of(struct gvr r, struct str ns, struct str name)
{
	return xasprintf("%s/%.*s/%.*s", r.resource, STR_ARG(ns), STR_ARG(name));
}

static int64_t version_of(const struct doc *d)
{
	int64_t v;

	return d && str_i64(doc_str(d, "metadata.resourceVersion"), &v) ? v : ABSENT;
}

/* Always asks the API: a pod that starts must see what was written before it. */
int objects_get(struct object_cache *c, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e)
{
	auto_free char *key = key_of(r, ns, name);
	int code = client_get(c->n->client, r, ns, name, ret, e);
	int64_t version = code == 0 ? version_of(*ret) : ABSENT;
	struct entry *t;

	if (code < 0 && code != -ERR_NOT_FOUND)
		return code;
	task_lock(&c->lock);
	t = map_get(c->entries, str_c(key));
	if (t && (t->oldest_read == NOT_READ || version < t->oldest_read))
		t->oldest_read = version;
	task_unlock(&c->lock);
	return code;
}

/* ---- the task -------------------------------------------------------------------------------- */

static void ready(void *arg)
{
	struct entry *t = arg;

	queue_add(t->cache->due, str_c(t->key));
}

/* The object is at this version now: whoever read another reads again. */
static void tell(struct entry *t, int64_t version)
{
	struct object_cache *c = t->cache;
	struct node_agent *n = c->n;

	t->seen = version;
	task_lock(&c->lock);
	bool news = t->oldest_read != NOT_READ && t->oldest_read != version;
	t->oldest_read = version;
	if (news) {
		task_lock(&n->lock);
		for (size_t i = 0; i < t->n; i++) {
			struct pod *p = map_get(n->pods, str_c(t->uids[i]));
			if (p)
				p->volumes_dirty = true;
		}
		task_unlock(&n->lock);
		for (size_t i = 0; i < t->n; i++)
			queue_add(n->wake, str_c(t->uids[i]));
	}
	task_unlock(&c->lock);
}

struct listed {
	int64_t version;
	bool immutable;
};

static void on_listed(void *arg, struct doc *take)
{
	struct listed *l = arg;

	l->version = version_of(take);
	l->immutable = val_bool(doc_get(take, "immutable"), false);
	doc_unref(take);
}

/* An immutable object can only go, and its pods keep what they have. */
static int open_watch(struct entry *t, struct err *e)
{
	struct client *client = t->cache->n->client;
	auto_free char *field = xasprintf("metadata.name=%s", t->name);
	struct client_request rq = { .res = t->res, .ns = str_c(t->ns), .field_selector = str_c(field) };
	struct listed now = { ABSENT, false };
	char rev[24] = "";
	int r = client_list(client, &rq, on_listed, &now, rev, e);

	if (r < 0)
		return r;
	tell(t, now.version);
	if (now.immutable)
		return 0;
	rq.resource_version = str_c(rev);
	rq.bookmarks = true;
	r = client_watch(client, &rq, &t->stream, e);
	return r < 0 ? r : client_notify(client, t->stream, ready, t, e);
}

static int read_watch(struct entry *t, struct err *e)
{
	struct client_event ev;
	int r;

	while ((r = client_next(t->cache->n->client, t->stream, 0, &ev, e)) == 0) {
		auto_(doc_unref) struct doc *d = ev.object;
		if (ev.type == EVENT_ERROR)
			return err_set(e, ERR_EXPIRED, "%.*s", STR_ARG(doc_str(d, "message")));
		if (ev.type != EVENT_BOOKMARK)
			tell(t, ev.type == EVENT_DELETED ? ABSENT : version_of(d));
	}
	return r == -ERR_TIMEOUT ? 0 : r;
}

static void visit(void *arg, struct str key)
{
	struct object_cache *c = arg;
	struct entry *t;
	struct err e;
	bool unused;
	int r;

	err_init(&e);
	task_lock(&c->lock);
	t = map_get(c->entries, key);
	unused = t && t->n == 0;
	if (unused)
		(void)map_take(c->entries, key);
	task_unlock(&c->lock);
	if (unused)
		entry_free(t);
	if (!t || unused)
		return;
	r = t->stream ? read_watch(t, &e) : open_watch(t, &e);
	if (r == 0) {
		queue_forget(c->due, key);
		if (t->stream)
			queue_add_after(c->due, key, ALIVE_MS);
		return;
	}
	log_debug("watch of %s: %s", t->key, e.message);
	client_close(c->n->client, TAKE(t->stream));
	queue_retry(c->due, key);
}

static void objects_task(void *arg)
{
	struct object_cache *c = arg;

	queue_work(c->due, visit, c);
	node_task_end(c->n);
}

/* ---- coming and going ------------------------------------------------------------------------ */

static bool has_uid(const struct entry *t, const char *uid)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->uids[i], uid) == 0)
			return true;
	return false;
}

static struct entry *entry_new(struct object_cache *c, struct gvr r, struct str ns, struct str name, const char *key)
{
	struct entry *t = xcalloc(1, sizeof(*t));

	*t = (struct entry){ .cache = c,
		.key = xstrdup(key),
		.res = r,
		.ns = str_dup(ns),
		.name = str_dup(name),
		.oldest_read = NOT_READ };
	return t;
}

static void watch_one(struct object_cache *c, struct pod *p, struct gvr r, struct str ns, struct str name)
{
	auto_free char *key = key_of(r, ns, name);
	struct entry *t;
	bool fresh = false;

	if (str_empty(name))
		return;
	task_lock(&c->lock);
	t = map_get(c->entries, str_c(key));
	if (!t) {
		t = entry_new(c, r, ns, name, key);
		map_put(c->entries, str_c(key), t);
		fresh = true;
	}
	if (!has_uid(t, p->uid)) {
		t->uids = xrealloc(t->uids, t->n + 1, sizeof(*t->uids));
		t->uids[t->n++] = xstrdup(p->uid);
	}
	if (!c->runs)
		c->runs = node_task(c->n, "objects", objects_task, c);
	task_unlock(&c->lock);
	if (fresh)
		queue_add(c->due, str_c(key));
}

void objects_watch(struct object_cache *c, struct pod *p, struct doc *d)
{
	struct str ns = doc_ns(d);

	for (struct val_iter it = val_iter(doc_get(d, "spec.volumes")); val_next(&it);) {
		watch_one(c, p, res_configmaps, ns, val_str(val_path(it.val, "configMap.name")));
		watch_one(c, p, res_secrets, ns, val_str(val_path(it.val, "secret.secretName")));
		for (struct val_iter s = val_iter(val_path(it.val, "projected.sources")); val_next(&s);) {
			watch_one(c, p, res_configmaps, ns, val_str(val_path(s.val, "configMap.name")));
			watch_one(c, p, res_secrets, ns, val_str(val_path(s.val, "secret.name")));
		}
	}
}

void objects_forget(struct object_cache *c, struct pod *p)
{
	struct str key;
	void *value;

	task_lock(&c->lock);
	for (size_t i = 0; map_next(c->entries, &i, &key, &value);) {
		struct entry *t = value;
		for (size_t k = 0; k < t->n; k++) {
			if (strcmp(t->uids[k], p->uid) != 0)
				continue;
			free(t->uids[k]);
			t->uids[k] = t->uids[--t->n];
			if (t->n == 0)
				queue_add(c->due, key); /* the task ends it, unless another pod comes first */
			break;
		}
	}
	task_unlock(&c->lock);
}

struct object_cache *objects_new(struct node_agent *n)
{
	struct object_cache *c = xcalloc(1, sizeof(*c));

	c->n = n;
	task_mutex_init(&c->lock);
	c->entries = map_new(NULL);
	c->due = queue_new((struct queue_opts){ .first_ms = 100, .most_ms = 10000 });
	return c;
}

void objects_stop(struct object_cache *c)
{
	if (c)
		queue_stop(c->due);
}

/* After every other task of the node has ended. */
struct object_cache *objects_free(struct object_cache *c)
{
	void *value;
	struct str key;

	if (!c)
		return NULL;
	for (size_t i = 0; map_next(c->entries, &i, &key, &value);)
		entry_free(value);
	map_free(c->entries);
	queue_free(c->due);
	task_mutex_fini(&c->lock);
	free(c);
	return NULL;
}

/* Config maps and secrets that pods of this node mount: read when needed, watched one by one (a node may see no others). */
#include "node/node_internal.h"

#define LOG_MODULE "node"

struct entry {
	struct object_cache *cache;
	struct informer *inf;
	char *key;
	char **uids; /* pods that mount it */
	size_t n;
};

struct object_cache {
	struct node_agent *n;
	struct task_mutex lock;
	struct map *entries; /* "configmaps/ns/name" → entry */
};

static void entry_end(void *arg)
{
	struct entry *t = arg;

	t->inf = informer_free(t->inf);
	for (size_t i = 0; i < t->n; i++)
		free(t->uids[i]);
	free(t->uids);
	free(t->key);
	free(t);
}

struct object_cache *objects_new(struct node_agent *n)
{
	struct object_cache *c = xcalloc(1, sizeof(*c));

	c->n = n;
	task_mutex_init(&c->lock);
	c->entries = map_new(NULL);
	return c;
}

struct object_cache *objects_free(struct object_cache *c)
{
	void *value;
	struct str key;

	if (!c)
		return NULL;
	for (size_t i = 0; map_next(c->entries, &i, &key, &value);)
		entry_end(value);
	map_free(c->entries);
	task_mutex_fini(&c->lock);
	free(c);
	return NULL;
}

static char *key_of(struct gvr r, struct str ns, struct str name)
{
	return xasprintf("%s/%.*s/%.*s", r.resource, STR_ARG(ns), STR_ARG(name));
}

/* Always asks the API: a pod that starts must see what was written before it. */
int objects_get(struct object_cache *c, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e)
{
	return client_get(c->n->client, r, ns, name, ret, e);
}

static void changed(void *arg, struct doc *before, struct doc *after)
{
	struct entry *t = arg;
	struct node_agent *n = t->cache->n;

	if (!before)
		return; /* the first list */
	task_lock(&t->cache->lock);
	task_lock(&n->lock);
	for (size_t i = 0; i < t->n; i++) {
		struct pod *p = map_get(n->pods, str_c(t->uids[i]));
		if (p)
			p->volumes_dirty = true;
	}
	task_unlock(&n->lock);
	for (size_t i = 0; i < t->n; i++)
		queue_add(n->wake, str_c(t->uids[i]));
	task_unlock(&t->cache->lock);
}

static bool has_uid(const struct entry *t, const char *uid)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->uids[i], uid) == 0)
			return true;
	return false;
}

static void watch_one(struct object_cache *c, struct pod *p, struct gvr r, struct str ns, struct str name)
{
	auto_free char *key = key_of(r, ns, name), *field = NULL;
	struct entry *t;
	bool fresh = false;

	if (str_empty(name))
		return;
	task_lock(&c->lock);
	t = map_get(c->entries, str_c(key));
	if (!t) {
		t = xcalloc(1, sizeof(*t));
		t->cache = c;
		t->key = xstrdup(key);
		map_put(c->entries, str_c(key), t);
		fresh = true;
	}
	if (!has_uid(t, p->uid)) {
		t->uids = xrealloc(t->uids, t->n + 1, sizeof(*t->uids));
		t->uids[t->n++] = xstrdup(p->uid);
	}
	if (fresh) {
		field = xasprintf("metadata.name=%.*s", STR_ARG(name));
		t->inf = informer_new(c->n->client, (struct informer_opts){ .res = r, .ns = ns, .field_selector = str_c(field) });
		informer_on(t->inf, changed, t);
		informer_start(t->inf);
	}
	task_unlock(&c->lock);
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
	struct entry *dead[64];
	size_t n_dead = 0;
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
			break;
		}
		if (t->n == 0 && n_dead < ARRAY_LEN(dead)) {
			dead[n_dead++] = t;
			(void)map_take(c->entries, str_c(t->key));
		}
	}
	task_unlock(&c->lock);
	for (size_t i = 0; i < n_dead; i++) /* outside the lock: its handler takes it */
		entry_end(dead[i]);
}

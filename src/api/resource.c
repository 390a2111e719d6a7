/* The run-time table of resources. */
#include "api/api_internal.h"
#include <stdio.h>
#define LOG_MODULE "api"

const char *verb_name(enum verb v)
{
	static const char *const names[] = { "", "get", "list", "watch", "create", "update", "patch", "delete",
		"deletecollection", "connect" };

	return names[v];
}

static struct str row_key(char *buf, size_t max, const char *group, const char *version, const char *resource)
{
	int n = snprintf(buf, max, "%s/%s/%s", group, version, resource);

	return str_n(buf, (size_t)n);
}

struct resource *api_resource(struct api *api, struct str group, struct str version, struct str resource)
{
	char key[400];
	int n = snprintf(key, sizeof(key), "%.*s/%.*s/%.*s", STR_ARG(group), STR_ARG(version), STR_ARG(resource));

	if (n < 0 || (size_t)n >= sizeof(key))
		return NULL;
	task_lock(&api->lock);
	struct resource *r = map_get(api->rows, str_n(key, (size_t)n));
	task_unlock(&api->lock);
	return r;
}

struct resource *api_resource_any(struct api *api, const char *group, const char *resource)
{
	struct resource *found = NULL;
	struct str key;
	void *value;

	task_lock(&api->lock);
	for (size_t i = 0; !found && map_next(api->rows, &i, &key, &value);) {
		struct resource *r = value;
		if (!strcmp(r->def.group, group) && !strcmp(r->def.resource, resource))
			found = r;
	}
	task_unlock(&api->lock);
	return found;
}

struct resource **api_resources(struct api *api, struct arena *a, size_t *ret_n)
{
	struct str key;
	void *value;
	size_t n = 0;

	task_lock(&api->lock);
	struct resource **rows = ARENA_ARRAY(a, struct resource *, map_len(api->rows) + 1);
	for (size_t i = 0; map_next(api->rows, &i, &key, &value);)
		rows[n++] = value;
	task_unlock(&api->lock);
	*ret_n = n;
	return rows;
}

struct cache *api_cache(struct api *api, const char *group, const char *resource)
{
	struct resource *r = api_resource_any(api, group, resource);

	return r ? r->stored->cache : NULL;
}

struct doc *api_get(struct api *api, const char *group, const char *resource, struct str ns, struct str name)
{
	struct cache *c = api_cache(api, group, resource);
	char key[600];
	int n = ns.n ? snprintf(key, sizeof(key), "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) :
		       snprintf(key, sizeof(key), "%.*s", STR_ARG(name));

	if (!c || n < 0 || (size_t)n >= sizeof(key))
		return NULL;
	return cache_get(c, str_n(key, (size_t)n));
}

const struct subresource *resource_sub(const struct resource *r, struct str sub)
{
	for (const struct subresource *s = r->def.subs; s && s->name; s++)
		if (str_is(sub, s->name))
			return s;
	return NULL;
}

struct resource *resource_by_prefix(struct api *api, struct str prefix)
{
	task_lock(&api->lock);
	struct resource *r = map_get(api->prefixes, prefix);
	task_unlock(&api->lock);
	return r;
}

static void resource_end(void *value)
{
	struct resource *r = value;

	if (!r)
		return;
	cache_free(r->cache);
	free(r);
}

static struct resource *resource_make(struct api *api, const struct resource_def *def)
{
	struct resource *r = xcalloc(1, sizeof(*r));
	const char *dot = def->group[0] ? "." : "";

	r->def = *def;
	r->type = def->type ? def->type : schema_builtin(str_c(def->group), str_c(def->version), str_c(def->kind));
	snprintf(r->list_kind, sizeof(r->list_kind), "%s%s", def->list_kind ? def->list_kind : def->kind,
		def->list_kind ? "" : "List");
	snprintf(r->api_version, sizeof(r->api_version), "%s%s%s", def->group, def->group[0] ? "/" : "", def->version);
	snprintf(r->group_resource, sizeof(r->group_resource), "%s%s%s", def->resource, dot, def->group);
	snprintf(r->key_prefix, sizeof(r->key_prefix), "%s%s%s/", def->resource, dot, def->group);
	r->storage_hash = str_hash(str_c(r->key_prefix)) ^ str_hash(str_c(def->kind));
	r->stored = r;
	if (!def->stored_as && !def->create && !def->compute)
		r->cache = cache_new(def->resource, api->budget);
	return r;
}

static int resource_insert(struct api *api, const struct resource_def *def, struct resource **ret, struct err *e)
{
	char key[400];
	struct str k = row_key(key, sizeof(key), def->group, def->version, def->resource);
	struct resource *r = resource_make(api, def);

	if (!r->type) {
		int rc = err_set(e, ERR_INTERNAL, "no schema for %s %s", r->api_version, def->kind);
		resource_end(r);
		return rc;
	}
	task_lock(&api->lock);
	if (map_get(api->rows, k)) {
		task_unlock(&api->lock);
		resource_end(r);
		return err_set(e, ERR_EXISTS, "resource %s is served already", key);
	}
	if (def->stored_as)
		r->stored = map_get(api->rows, str_c(def->stored_as));
	PRE(r->stored);
	map_put(api->rows, k, r);
	if (r->cache)
		map_put(api->prefixes, str_n(r->key_prefix, strlen(r->key_prefix) - 1), r);
	__atomic_add_fetch(&api->table_version, 1, __ATOMIC_RELEASE);
	task_unlock(&api->lock);
	*ret = r;
	return 0;
}

int api_resource_add(struct api *api, const struct resource_def *def, struct err *e)
{
	struct resource *r;
	int rc = resource_insert(api, def, &r, e);

	if (rc < 0)
		return rc;
	return r->cache ? events_load(api, r, e) : 0;
}

void api_resource_remove(struct api *api, const char *group, const char *version, const char *resource)
{
	char key[400];
	struct str k = row_key(key, sizeof(key), group, version, resource);

	task_lock(&api->lock);
	struct resource *r = map_take(api->rows, k);
	if (r) {
		r->removed = true;
		if (r->cache)
			map_take(api->prefixes, str_n(r->key_prefix, strlen(r->key_prefix) - 1));
		/* Requests in flight may still hold the row: it stays allocated until the api ends. */
		char gone[440];
		int n = snprintf(gone, sizeof(gone), "removed/%lld/%s", (long long)api->table_version, key);
		map_put(api->removed_rows, str_n(gone, (size_t)n), r);
		__atomic_add_fetch(&api->table_version, 1, __ATOMIC_RELEASE);
	}
	task_unlock(&api->lock);
}

void api_controller_present(struct api *api, const char *group, const char *resource)
{
	struct resource *r = api_resource_any(api, group, resource);

	if (r)
		__atomic_store_n(&r->controller_present, true, __ATOMIC_RELEASE);
}

int resource_table_fill(struct api *api, struct err *e)
{
	api->rows = map_new(resource_end);
	api->removed_rows = map_new(resource_end);
	api->prefixes = map_new(NULL);
	for (size_t i = 0; i < builtin_resources_n; i++) {
		struct resource *r;
		int rc = resource_insert(api, &builtin_resources[i], &r, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void resource_table_free(struct api *api)
{
	api->prefixes = map_free(api->prefixes);
	api->rows = map_free(api->rows);
	api->removed_rows = map_free(api->removed_rows);
}

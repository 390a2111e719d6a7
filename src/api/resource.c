/* The run-time table of resources. */
#include "api/custom/custom.h"
#include <openssl/sha.h>
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
	char room[400];
	struct str key = STR_JOIN(room, group, STR("/"), version, STR("/"), resource);

	if (!key.p)
		return NULL;
	task_lock(&api->lock);
	struct resource *r = map_get(api->rows, key);
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

struct resource *resource_by_prefix(struct api *api, struct str prefix)
{
	task_lock(&api->lock);
	struct resource *r = map_get(api->prefixes, prefix);
	task_unlock(&api->lock);
	return r;
}

/* Most rows store, and those are found without looking at all of them: a write asks for several. */
struct cache *api_cache(struct api *api, const char *group, const char *resource)
{
	char room[sizeof(((struct resource *)0)->key_prefix)];
	struct str prefix = STR_JOIN(room, str_c(resource), str_c(group[0] ? "." : ""), str_c(group));
	struct resource *r = resource_by_prefix(api, prefix);

	if (!r)
		r = api_resource_any(api, group, resource);
	return r ? r->stored->cache : NULL;
}

struct doc *api_get(struct api *api, const char *group, const char *resource, struct str ns, struct str name)
{
	struct cache *c = api_cache(api, group, resource);
	char room[600];
	struct str key = STR_JOIN(room, ns, str_c(ns.n ? "/" : ""), name);

	return c && key.p ? cache_get(c, key) : NULL;
}

const struct subresource *resource_sub(const struct resource *r, struct str sub)
{
	for (const struct subresource *s = r->def.subs; s && s->name; s++)
		if (str_is(sub, s->name))
			return s;
	return NULL;
}

static void resource_end(void *value)
{
	struct resource *r = value;

	if (!r)
		return;
	events_held_free(r);
	task_mutex_fini(&r->load_lock);
	cache_free(r->cache);
	custom_free(r->custom);
	free(r);
}

/* As upstream: the first eight bytes of SHA-256 of "group/version/Kind". */
static void storage_hash(const struct resource_def *def, char ret[16])
{
	auto_free char *of = xasprintf("%s/%s/%s", def->group, def->version, def->kind), *text = NULL;
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)of, strlen(of), digest);
	text = base64_encode(str_n((const char *)digest, 8));
	(void)snprintf(ret, 16, "%s", text);
}

static struct resource *resource_make(struct api *api, const struct resource_def *def)
{
	struct resource *r = xcalloc(1, sizeof(*r));
	const char *dot = def->group[0] ? "." : "";

	r->def = *def;
	task_mutex_init(&r->load_lock);
	r->held_end = &r->held;
	r->type = def->type ? def->type : schema_builtin(str_c(def->group), str_c(def->version), str_c(def->kind));
	snprintf(r->list_kind, sizeof(r->list_kind), "%s%s", def->list_kind ? def->list_kind : def->kind,
		def->list_kind ? "" : "List");
	snprintf(r->api_version, sizeof(r->api_version), "%s%s%s", def->group, def->group[0] ? "/" : "", def->version);
	snprintf(r->group_resource, sizeof(r->group_resource), "%s%s%s", def->resource, dot, def->group);
	snprintf(r->key_prefix, sizeof(r->key_prefix), "%s%s%s/", def->resource, dot, def->group);
	storage_hash(def, r->storage_hash);
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

/* ---- rows of custom kinds -------------------------------------------------------------------- */

#define GRACE_MS 60000 /* a row that a list of rows may still name */

void resource_hold(struct resource *r)
{
	if (r)
		__atomic_add_fetch(&r->users, 1, __ATOMIC_ACQ_REL);
}

void resource_release(struct resource *r)
{
	if (r)
		__atomic_sub_fetch(&r->users, 1, __ATOMIC_ACQ_REL);
}

/* Under the lock. */
static void set_aside(struct api *api, struct resource *r, bool removed)
{
	char key[64];
	int n = snprintf(key, sizeof(key), "%p/%lld", (void *)r, (long long)api->table_version);

	r->removed = removed;
	r->removed_at = mono_now();
	map_put(api->removed_rows, str_n(key, (size_t)n), r);
}

void resource_reap(struct api *api)
{
	struct mono now = mono_now();
	struct str key;
	void *value;

	task_lock(&api->lock);
	for (int round = 0; round < 2; round++) /* those that are stored elsewhere first */
		for (size_t i = 0; map_next(api->removed_rows, &i, &key, &value);) {
			struct resource *r = value;

			if (r->removed && (r->stored != r || round) && !__atomic_load_n(&r->users, __ATOMIC_ACQUIRE) &&
				mono_ms_between(r->removed_at, now) > GRACE_MS)
				map_del(api->removed_rows, key);
		}
	task_unlock(&api->lock);
}

static void end_rows(struct resource **rows, size_t n)
{
	for (size_t i = n; i-- > 0;)
		resource_end(rows[i]);
}

/* Takes the customs. rows[0] stores. */
static void make_rows(struct api *api, struct custom **take, size_t n, struct resource **rows)
{
	for (size_t i = 0; i < n; i++) {
		struct resource_def def = take[i]->def;

		def.stored_as = i ? "" : NULL; /* no cache of its own */
		rows[i] = resource_make(api, &def);
		rows[i]->def.stored_as = NULL;
		rows[i]->custom = take[i];
		take[i]->api = api;
		rows[i]->stored = rows[0];
	}
}

/* Under the lock: takes the rows of a definition out of the table; *ret_n of them. */
static size_t unlink_rows(struct api *api, const char *group, const char *resource, struct resource **ret, size_t max)
{
	struct str key;
	void *value;
	size_t n = 0;

	for (size_t i = 0; map_next(api->rows, &i, &key, &value);) {
		struct resource *r = value;

		if (!r->custom || strcmp(r->def.group, group) != 0 || strcmp(r->def.resource, resource) != 0 ||
			n == max)
			continue;
		ret[n++] = r;
		map_take(api->rows, key);
		set_aside(api, r, true);
	}
	return n;
}

static bool taken(struct api *api, struct resource **rows, size_t n)
{
	char key[400];

	for (size_t i = 0; i < n; i++) {
		struct resource *r = map_get(api->rows,
			row_key(key, sizeof(key), rows[i]->def.group, rows[i]->def.version, rows[i]->def.resource));

		if (r && !r->custom)
			return true;
	}
	return false;
}

static void link_rows(struct api *api, struct resource **rows, size_t n)
{
	char key[400];

	for (size_t i = 0; i < n; i++)
		if (rows[i]->custom->served)
			map_put(api->rows,
				row_key(key, sizeof(key), rows[i]->def.group, rows[i]->def.version,
					rows[i]->def.resource),
				rows[i]);
		else
			set_aside(api, rows[i], false);
}

/* Events reach the new storing row from here on, and the old one until the swap. */
static int fill(struct api *api, struct resource *r, struct err *e)
{
	struct str prefix = str_n(r->key_prefix, strlen(r->key_prefix) - 1);
	int rc;

	r->loading = true;
	task_lock(&api->lock);
	r->replaces = map_take(api->prefixes, prefix);
	map_put(api->prefixes, prefix, r);
	task_unlock(&api->lock);
	if ((rc = events_load_live(api, r, e)) >= 0)
		return rc;
	task_lock(&api->lock);
	map_take(api->prefixes, prefix);
	if (r->replaces)
		map_put(api->prefixes, prefix, r->replaces);
	set_aside(api, r, true); /* an event may still be on its way to it */
	task_unlock(&api->lock);
	return rc;
}

int resource_swap(
	struct api *api, const char *group, const char *resource, struct custom **take, size_t n, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct resource **rows = ARENA_ARRAY(a, struct resource *, n + 1), *old[64], *hidden = NULL;
	size_t n_old;

	make_rows(api, take, n, rows);
	task_lock(&api->lock);
	bool in_use = taken(api, rows, n);
	task_unlock(&api->lock);
	if (in_use) {
		end_rows(rows, n);
		return err_set(e, ERR_EXISTS, "%s.%s is a builtin resource", resource, group);
	}
	if (n && fill(api, rows[0], e) < 0) {
		end_rows(rows + 1, n - 1);
		return -e->code;
	}
	task_lock(&api->lock);
	n_old = unlink_rows(api, group, resource, old, ARRAY_LEN(old));
	if (n)
		hidden = rows[0]->replaces;
	else if (n_old)
		hidden = map_take(api->prefixes, str_n(old[0]->key_prefix, strlen(old[0]->key_prefix) - 1));
	if (hidden && !hidden->removed) { /* stored, but was not served */
		hidden->removed = true;
		hidden->removed_at = mono_now();
	}
	if (n)
		__atomic_store_n(&rows[0]->replaces, NULL, __ATOMIC_RELEASE);
	link_rows(api, rows, n);
	__atomic_add_fetch(&api->table_version, 1, __ATOMIC_RELEASE);
	task_unlock(&api->lock);
	for (size_t i = 0; i < n_old; i++) {
		watches_end_of(api->watches, old[i]);
		slow_watches_end_of(api->slow_watches, old[i]);
	}
	return 0;
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

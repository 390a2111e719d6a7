/* Between the store and the caches: loading at start, events afterwards, and the writes themselves. */
#include "api/aggregate/aggregate.h"
#include "api/auth/auth.h"
#include "api/custom/custom.h"
#include <stdio.h>
#define LOG_MODULE "api"

int stored_doc(struct api *api, const struct resource *r, const struct store_kv *kv, bool *stale, struct doc **ret,
	struct err *e)
{
	auto_buf struct buf room = BUF_INIT;
	struct str plain = kv->value;
	struct doc *d;

	if (api->opts.seal &&
		seal_open_value(api->opts.seal, str_c(r->group_resource), kv->key, kv->value, &room, &plain, stale, e) <
			0)
		return -e->code;
	if (doc_parse_stored(plain, &d, e) < 0)
		return -e->code;
	if (doc_revision(d) != kv->revision)
		doc_stamp(d, kv->revision);
	*ret = d;
	return 0;
}

struct load {
	struct api *api;
	struct resource *r;
	size_t prefix;
	struct err *e;
	bool failed;
};

static bool load_each(void *arg, const struct store_kv *kv)
{
	struct load *l = arg;
	bool stale = false;
	struct doc *d = NULL;
	struct str key = str_sub(kv->key, l->prefix, kv->key.n);

	if (stored_doc(l->api, l->r, kv, &stale, &d, l->e) < 0) {
		err_wrap(l->e, "%s \"%.*s\": the stored copy is unreadable", l->r->group_resource, STR_ARG(key));
		l->failed = true;
		return false;
	}
	l->r->stale += stale;
	if (l->r->custom && custom_loaded(l->r, &d, l->e) < 0)
		log_warn("%s \"%.*s\": its stored copy does not fit the schema: %s", l->r->group_resource, STR_ARG(key),
			l->e->message);
	cache_fill(l->r->cache, key, d, kv->revision);
	if (kv->revision > l->r->last_event)
		l->r->last_event = kv->revision;
	doc_unref(d);
	return true;
}

int events_load(struct api *api, struct resource *r, struct err *e)
{
	struct load l = { api, r, strlen(r->key_prefix), e, false };
	int64_t rev = 0;
	int rc = store_range(api->opts.store, str_c(r->key_prefix), STR_NULL, 0, load_each, &l, &rev, e);

	if (rc < 0)
		return err_wrap(e, "loading %s", r->group_resource);
	if (l.failed)
		return -e->code;
	cache_ready(r->cache, rev);
	return 0;
}

/* ---- filling a row while the store goes on --------------------------------------------------- */

struct held_event {
	struct held_event *next;
	struct str key;
	char *key_text;
	struct doc *doc; /* NULL: unreadable, or a deletion without its last state */
	int64_t revision;
	bool deleted;
};

static void held_end(struct held_event *h)
{
	doc_unref(h->doc);
	free(h->key_text);
	free(h);
}

void events_held_free(struct resource *r)
{
	for (struct held_event *h = r->held, *next; h; h = next) {
		next = h->next;
		held_end(h);
	}
	r->held = NULL;
	r->held_end = &r->held;
}

/* false: the row is complete, the event goes to its cache. */
static bool hold_event(struct api *api, struct resource *r, struct str key, const struct store_event *ev)
{
	struct held_event *h;
	struct err e;

	task_lock(&r->load_lock);
	if (!r->loading) {
		task_unlock(&r->load_lock);
		return false;
	}
	err_init(&e);
	h = xcalloc(1, sizeof(*h));
	h->key_text = str_dup(key);
	h->key = str_c(h->key_text);
	h->doc = ev->payload ? doc_ref(ev->payload) : NULL;
	if (!h->doc && !ev->deleted)
		stored_doc(api, r, &(struct store_kv){ ev->key, ev->value, ev->revision, ev->create_revision }, NULL,
			&h->doc, &e);
	h->revision = ev->revision;
	h->deleted = ev->deleted;
	*r->held_end = h;
	r->held_end = &h->next;
	task_unlock(&r->load_lock);
	return true;
}

static void replay(struct resource *r, int64_t after)
{
	for (struct held_event *h = r->held; h; h = h->next) {
		struct doc *before = h->revision > after && !h->doc ? cache_get(r->cache, h->key) : NULL;

		if (h->revision > after && (h->doc || before))
			cache_apply(r->cache, h->key, h->doc ? h->doc : before, h->deleted, h->revision);
		doc_unref(before);
	}
	events_held_free(r);
}

int events_load_live(struct api *api, struct resource *r, struct err *e)
{
	struct load l = { api, r, strlen(r->key_prefix), e, false };
	int64_t rev = 0;
	int rc = store_range(api->opts.store, str_c(r->key_prefix), STR_NULL, 0, load_each, &l, &rev, e);

	if (rc >= 0 && l.failed)
		rc = -e->code;
	if (rc < 0)
		return err_wrap(e, "loading %s", r->group_resource);
	task_lock(&r->load_lock);
	cache_ready(r->cache, rev);
	replay(r, rev);
	r->loading = false;
	task_unlock(&r->load_lock);
	return 0;
}

static void advance_all(struct api *api, struct resource *but, int64_t revision)
{
	struct str key;
	void *value;

	task_lock(&api->lock);
	for (size_t i = 0; map_next(api->prefixes, &i, &key, &value);)
		if (value != but && !((struct resource *)value)->loading)
			cache_advance(((struct resource *)value)->cache, revision);
	task_unlock(&api->lock);
}

static void apply(struct api *api, struct resource *r, struct str key, const struct store_event *ev)
{
	struct doc *before = cache_get(r->cache, key);
	struct doc *d = ev->payload ? doc_ref(ev->payload) : NULL;
	struct err e;

	err_init(&e);
	if (!d && !ev->deleted &&
		stored_doc(api, r, &(struct store_kv){ ev->key, ev->value, ev->revision, ev->create_revision }, NULL,
			&d, &e) < 0)
		log_error("%s \"%.*s\": revision %lld is unreadable: %s", r->group_resource, STR_ARG(key),
			(long long)ev->revision, e.message);
	if (!d && ev->deleted && before) {
		struct arena *a = arena_new();
		d = node_publish_versioned(node_from(a, doc_root(before)));
		doc_stamp(d, ev->revision);
		arena_free(a);
	}
	__atomic_store_n(&r->last_event, ev->revision, __ATOMIC_RELEASE);
	if (d) {
		if (!strcmp(r->key_prefix, "services/") && api->ipalloc)
			ipalloc_event(api->ipalloc, before, ev->deleted ? NULL : d);
		else if (!strcmp(r->key_prefix, "pods/"))
			node_pods_event(api->node_pods, before, ev->deleted ? NULL : d);
		cache_apply(r->cache, key, d, ev->deleted, ev->revision);
	}
	doc_unref(d);
	doc_unref(before);
}

void events_on(void *arg, const struct store_event *ev)
{
	struct api *api = arg;
	struct str prefix, key = str_cut(ev->key, '/', &prefix);
	struct resource *r = key.p ? resource_by_prefix(api, prefix) : NULL;

	struct resource *replaced = r ? __atomic_load_n(&r->replaces, __ATOMIC_ACQUIRE) : NULL;
	if (replaced)
		apply(api, replaced, key, ev);
	if (r && !hold_event(api, r, key, ev))
		apply(api, r, key, ev);
	if (r && api->crds && !strcmp(r->key_prefix, "customresourcedefinitions.apiextensions.k8s.io/"))
		crds_changed(api->crds, key);
	if (r && api->aggregates && !strcmp(r->key_prefix, "apiservices.apiregistration.k8s.io/"))
		aggregates_changed(api->aggregates, key);
	/* After the event is in its cache: a list of that cache must not claim a revision whose event it lacks. Once a
	 * commit: its writers are answered afterwards. */
	if (!ev->more)
		advance_all(api, r, ev->revision);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void stamp(void *payload, int64_t revision)
{
	doc_stamp(payload, revision);
}

static struct str store_key(struct rq *rq, struct str ns, struct str name)
{
	const struct resource *r = rq->res->stored;

	if (r->def.namespaced)
		return ARENA_JOIN(rq->a, str_c(r->key_prefix), ns, STR("/"), name);
	return ARENA_JOIN(rq->a, str_c(r->key_prefix), name);
}

int write_exists(struct rq *rq, struct str name, struct err *e)
{
	auto_(doc_unref) struct doc *d = cache_get(rq->res->stored->cache, cache_key(rq->a, rq->res, rq->ns, name));
	bool going = d && val_has(doc_get(d, "metadata.deletionTimestamp"));

	return err_set(e, ERR_EXISTS, "%s%s \"%.*s\" already exists", going ? "object is being deleted: " : "",
		rq->res->group_resource, STR_ARG(name));
}

static int verdict(struct rq *rq, struct str name, int rc, struct err *e)
{
	const char *what = rq->res->group_resource;

	if (rc == -ERR_CONFLICT || (rc == -ERR_NOT_FOUND && rq->verb != V_DELETE))
		return err_set(e, ERR_CONFLICT,
			"Operation cannot be fulfilled on %s \"%.*s\": the object has been modified; please apply your changes to the latest version and try again",
			what, STR_ARG(name));
	if (rc == -ERR_EXISTS)
		return write_exists(rq, name, e);
	if (rc == -ERR_NOT_FOUND)
		return write_not_found(rq, name, e);
	return rc;
}

struct store_write store_write_of(
	struct api *api, const struct resource *r, struct str key, struct doc *d, int64_t expect, struct buf *room)
{
	struct store_write w = {
		.key = key, .expect_revision = expect, .value = doc_text(d), .payload = d, .stamp = stamp
	};

	if (api->opts.seal && seal_covers(api->opts.seal, str_c(r->group_resource))) {
		seal_value(api->opts.seal, str_c(r->group_resource), key, w.value, room);
		w.value = buf_view(room);
	}
	return w;
}

int write_put(struct rq *rq, struct str ns, struct str name, struct doc *d, int64_t expect, struct err *e)
{
	auto_buf struct buf sealed = BUF_INIT;
	struct store_write w;
	int64_t rev;

	if (rq->dry_run) {
		if (expect > 0)
			doc_stamp(d, expect);
		return 0;
	}
	w = store_write_of(rq->api, rq->res->stored, store_key(rq, ns, name), d, expect, &sealed);
	int rc = store_write(rq->api->opts.store, &w, &rev, e);
	return rc < 0 ? verdict(rq, name, rc, e) : 0;
}

int write_del(struct rq *rq, struct str ns, struct str name, struct node *last_state, int64_t expect, struct doc **ret,
	struct err *e)
{
	int64_t rev;
	struct doc *d = node_publish_versioned(last_state);
	struct store_write w = {
		.key = store_key(rq, ns, name),
		.expect_revision = expect,
		.del = true,
		.payload = d,
		.stamp = stamp,
	};
	int rc = 0;

	if (rq->dry_run)
		doc_stamp(d, expect);
	else
		rc = store_write(rq->api->opts.store, &w, &rev, e);
	if (rc < 0) {
		doc_unref(d);
		return verdict(rq, name, rc, e);
	}
	*ret = d;
	return 0;
}

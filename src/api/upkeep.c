/* What the API does for its store when nobody asks: values that were written under another key are written again under
 * the one that counts now, the administrator's copy of the keys is kept true, history that nobody may ask for any
 * more goes, and so does memory that nothing needs. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

#define LOOK_MS 25000          /* at what memory may be given back */
#define FRESH_MS (3 * LOOK_MS) /* changes are kept at least so long for clients that come back, as upstream does */
#define WORTH_BYTES ((int64_t)256 << 10) /* forgotten: worth a walk through the heap */
#define BUSY_WRITES 100                  /* since the last look: no time for that */

struct upkeep {
	struct api *api;
	struct task *task;
	struct stop *stop;
};

/* ---- encryption at rest ---------------------------------------------------------------------- */

struct stale_keys {
	struct api *api;
	struct resource *r;
	struct arena *a;
	struct str *keys; /* without the resource's prefix */
	size_t n, cap;
};

static bool collect_stale(void *arg, const struct store_kv *kv)
{
	struct stale_keys *k = arg;
	auto_buf struct buf room = BUF_INIT;
	struct str plain;
	bool stale = false;
	struct err e;

	err_init(&e);
	if (seal_open_value(k->api->opts.seal, str_c(k->r->group_resource), kv->key, kv->value, &room, &plain, &stale,
		    &e) < 0 ||
		!stale)
		return true;
	GROW(k->keys, k->n, k->cap, 64);
	k->keys[k->n++] = arena_str(k->a, str_sub(kv->key, strlen(k->r->key_prefix), kv->key.n));
	return true;
}

/* The same object under a new revision. A conflict means that somebody wrote it meanwhile, with the right key. */
static bool write_again(struct api *api, struct resource *r, struct str key)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *live = cache_get(r->cache, key), *d = NULL;
	auto_buf struct buf sealed = BUF_INIT;
	struct store_write w;
	struct err e;
	int rc;

	if (!live)
		return true;
	err_init(&e);
	d = node_publish_versioned(node_from(a, doc_root(live)));
	w = store_write_of(
		api, r, arena_strf(a, "%s%.*s", r->key_prefix, STR_ARG(key)), d, doc_revision(live), &sealed);
	rc = store_write(api->opts.store, &w, NULL, &e);
	if (rc < 0 && rc != -ERR_CONFLICT && rc != -ERR_NOT_FOUND)
		log_warn("%s \"%.*s\" is not encrypted anew: %s", r->group_resource, STR_ARG(key), e.message);
	return rc == 0 || rc == -ERR_CONFLICT || rc == -ERR_NOT_FOUND;
}

static void reseal(struct upkeep *u, struct resource *r)
{
	struct stale_keys k = { .api = u->api, .r = r, .a = arena_new() };
	size_t done = 0;
	struct err e;

	err_init(&e);
	if (store_range(u->api->opts.store, str_c(r->key_prefix), STR_NULL, 0, collect_stale, &k, NULL, &e) < 0)
		log_warn("looking for %s to encrypt anew: %s", r->group_resource, e.message);
	for (size_t i = 0; i < k.n && !stop_raised(u->stop); i++)
		done += write_again(u->api, r, k.keys[i]);
	if (k.n)
		log_info("%zu of %zu %s are encrypted anew, under the key that counts now", done, k.n,
			r->group_resource);
	if (done == k.n)
		r->stale = 0;
	free(k.keys);
	arena_free(k.a);
}

static void reseal_all(struct upkeep *u)
{
	auto_(arena_free) struct arena *a = arena_new();
	size_t n;
	struct resource **rows = api_resources(u->api, a, &n);

	for (size_t i = 0; i < n && !stop_raised(u->stop); i++)
		if (rows[i]->cache && rows[i]->stale)
			reseal(u, rows[i]);
}

static bool keep_value(void *arg, const struct store_kv *kv)
{
	buf_str(arg, kv->value);
	return false;
}

/* Under its own key in the store, so that every snapshot has it. */
static void keep_recovery(struct api *api)
{
	auto_buf struct buf have = BUF_INIT, want = BUF_INIT;
	struct store_write w = { .key = STR(SEAL_RECOVERY_KEY), .expect_revision = STORE_ANY };
	struct err e;

	err_init(&e);
	if (store_range(api->opts.store, w.key, STR_NULL, 0, keep_value, &have, NULL, &e) < 0 ||
		seal_recovery_fits(api->opts.seal, buf_view(&have)))
		return;
	seal_recovery_text(api->opts.seal, &want);
	w.value = buf_view(&want);
	if (store_write(api->opts.store, &w, NULL, &e) < 0)
		log_warn("the keys are not in the store for recovery: %s", e.message);
}

static void retire_keys(struct api *api)
{
	auto_(arena_free) struct arena *a = arena_new();
	size_t n;
	struct resource **rows = api_resources(api, a, &n);
	struct err e;

	err_init(&e);
	for (size_t i = 0; i < n; i++)
		if (rows[i]->stale)
			return;
	if (seal_keys_retire(api->opts.seal, &e) < 0)
		log_warn("old encryption keys stay: %s", e.message);
}

/* ---- history --------------------------------------------------------------------------------- */

static void compact(struct api *api, int64_t revision)
{
	struct err e;

	err_init(&e);
	if (store_compact(api->opts.store, revision, &e) < 0)
		log_warn("%s", e.message);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Where the store was at the latest looks, oldest first. */
struct looks {
	int64_t revision[FRESH_MS / LOOK_MS + 1];
	bool owed; /* there is memory to give back */
};

static void looks_init(struct looks *l, int64_t revision)
{
	for (size_t i = 0; i < ARRAY_LEN(l->revision); i++)
		l->revision[i] = revision;
	l->owed = true; /* from the start of the program */
}

/* Changes that were for clients who come back, and what a burst left in the heap, as soon as little is written. */
static void look(struct api *api, struct looks *l)
{
	size_t last = ARRAY_LEN(l->revision) - 1;

	memmove(l->revision, l->revision + 1, last * sizeof(*l->revision));
	l->revision[last] = store_revision(api->opts.store);
	bool busy = l->revision[last] - l->revision[last - 1] >= BUSY_WRITES;
	l->owed |= cache_budget_forget(api->budget, l->revision[0]) >= WORTH_BYTES || busy;
	if (!l->owed || busy)
		return;
	memory_rest();
	l->owed = false;
}

/* ---- the task -------------------------------------------------------------------------------- */

static bool sleep_until(struct upkeep *u, struct mono t)
{
	return stop_sleep_ms(u->stop, MAX(mono_ms_between(mono_now(), t) + 1, 0));
}

static void run(void *arg)
{
	struct upkeep *u = arg;
	int64_t before = store_revision(u->api->opts.store), every_ms = u->api->opts.compact_every_s * 1000;
	struct looks looks;
	int round = 0;

	looks_init(&looks, before);
	if (u->api->opts.seal) {
		keep_recovery(u->api);
		reseal_all(u);
	}
	/* What was there one interval ago goes: continue tokens and watches live at least that long. After two rounds
	 * everything that older keys wrote before this process began is gone, too. */
	struct mono compaction = mono_add_ms(mono_now(), every_ms), next = mono_add_ms(mono_now(), LOOK_MS);
	while (sleep_until(u, mono_before(next, compaction) ? next : compaction)) {
		if (!mono_before(mono_now(), next)) {
			look(u->api, &looks);
			next = mono_add_ms(mono_now(), LOOK_MS);
		}
		if (mono_before(mono_now(), compaction))
			continue;
		if (++round == 2 && u->api->opts.seal)
			retire_keys(u->api);
		compact(u->api, before);
		before = store_revision(u->api->opts.store);
		compaction = mono_add_ms(mono_now(), every_ms);
	}
}

struct upkeep *upkeep_start(struct api *api)
{
	struct upkeep *u = xcalloc(1, sizeof(*u));

	u->api = api;
	u->stop = stop_new();
	u->task = task_spawn("upkeep", run, u);
	return u;
}

struct upkeep *upkeep_free(struct upkeep *u)
{
	if (!u)
		return NULL;
	stop_raise(u->stop);
	task_join(u->task);
	stop_free(u->stop);
	free(u);
	return NULL;
}

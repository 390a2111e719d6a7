/* What the API does for its store when nobody asks: values that were written under another key are written again under
 * the one that counts now, the administrator's copy of the keys is kept true, history that nobody may ask for any
 * more goes, and so does memory that nothing needs. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

#define LOOK_MS 25000          /* at what memory may be given back */
#define FRESH_MS (3 * LOOK_MS) /* changes are kept at least so long for clients that come back, as upstream does */
#define WORTH_BYTES ((int64_t)256 << 10) /* forgotten: worth a walk through the heap */
#define BUSY_WRITES 100                  /* since the last look: no time for that */
#define AGAIN_MS 2000                    /* until what the store refused, which may be full, is tried again */

struct upkeep {
	struct api *api;
	struct task *task;
	struct stop *stop;
	int64_t sealed_at; /* all values at and after this revision are under the keys that count now; 0: not yet */
	bool retired;      /* the others are gone from the key file */
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

/* One value that is refused ends it: where the store is full the others would be, too. */
static bool reseal(struct upkeep *u, struct resource *r)
{
	struct stale_keys k = { .api = u->api, .r = r, .a = arena_new() };
	size_t done = 0;
	struct err e;

	err_init(&e);
	if (store_range(u->api->opts.store, str_c(r->key_prefix), STR_NULL, 0, collect_stale, &k, NULL, &e) < 0)
		log_warn("looking for %s to encrypt anew: %s", r->group_resource, e.message);
	while (done < k.n && !stop_raised(u->stop) && write_again(u->api, r, k.keys[done]))
		done++;
	if (k.n)
		log_info("%zu of %zu %s are encrypted anew, under the key that counts now", done, k.n,
			r->group_resource);
	r->stale = e.code ? r->stale : k.n - done;
	free(k.keys);
	arena_free(k.a);
	return !r->stale;
}

static bool reseal_all(struct upkeep *u)
{
	auto_(arena_free) struct arena *a = arena_new();
	bool all = true;
	size_t n;
	struct resource **rows = api_resources(u->api, a, &n);

	for (size_t i = 0; i < n && all; i++)
		if (rows[i]->cache && rows[i]->stale)
			all = reseal(u, rows[i]);
	return all;
}

static bool keep_value(void *arg, const struct store_kv *kv)
{
	buf_str(arg, kv->value);
	return false;
}

/* Under its own key in the store, so that every snapshot has it. */
static bool keep_recovery(struct api *api)
{
	auto_buf struct buf have = BUF_INIT, want = BUF_INIT;
	struct store_write w = { .key = STR(SEAL_RECOVERY_KEY), .expect_revision = STORE_ANY };
	struct err e;

	err_init(&e);
	if (store_range(api->opts.store, w.key, STR_NULL, 0, keep_value, &have, NULL, &e) == 0) {
		if (seal_recovery_fits(api->opts.seal, buf_view(&have)))
			return true;
		seal_recovery_text(api->opts.seal, &want);
		w.value = buf_view(&want);
		if (store_write(api->opts.store, &w, NULL, &e) == 0)
			return true;
	}
	log_warn("the keys are not in the store for recovery: %s (it is tried again)", e.message);
	return false;
}

/* The copy of the keys first: a snapshot has no value that the recovery key does not open. True: all is done. */
static bool seal_anew(struct upkeep *u)
{
	if (!keep_recovery(u->api) || !reseal_all(u))
		return false;
	u->sealed_at = store_revision(u->api->opts.store);
	return true;
}

/* Once nothing is left, not even in history, that other keys wrote. */
static void retire_keys(struct upkeep *u)
{
	struct err e;

	if (u->retired || !u->sealed_at || store_compacted(u->api->opts.store) < u->sealed_at)
		return;
	err_init(&e);
	u->retired = seal_keys_retire(u->api->opts.seal, &e) == 0;
	if (!u->retired)
		log_warn("old encryption keys stay for now: %s", e.message);
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

static struct mono earliest(struct mono a, struct mono b)
{
	return mono_before(a, b) ? a : b;
}

static bool is_due(struct mono t)
{
	return !mono_before(mono_now(), t);
}

static bool sleep_until(struct upkeep *u, struct mono t)
{
	return is_due(t) ? !stop_raised(u->stop) : stop_sleep_ms(u->stop, mono_ms_between(mono_now(), t) + 1);
}

static void run(void *arg)
{
	struct upkeep *u = arg;
	int64_t before = store_revision(u->api->opts.store), every_ms = u->api->opts.compact_every_s * 1000;
	struct mono began = mono_now(), compaction = mono_add_ms(began, every_ms), next = mono_add_ms(began, LOOK_MS);
	struct mono sealing = u->api->opts.seal ? began : MONO_NEVER;
	struct looks looks;

	looks_init(&looks, before);
	while (sleep_until(u, earliest(sealing, earliest(next, compaction)))) {
		if (is_due(sealing))
			sealing = seal_anew(u) ? MONO_NEVER : mono_add_ms(mono_now(), AGAIN_MS);
		if (is_due(next)) {
			look(u->api, &looks);
			next = mono_add_ms(mono_now(), LOOK_MS);
		}
		if (!is_due(compaction))
			continue;
		/* What was there one interval ago goes: continue tokens and watches live at least that long. */
		compact(u->api, before);
		retire_keys(u);
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

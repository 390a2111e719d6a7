/* The engine for tests and simulations: a sorted array of keys, each with the chain of its versions, newest first.
 * No durability; the same verdicts, revisions, history and compaction as the real ones. */
#include "store/store_internal.h"
#include <inttypes.h>

struct version {
	struct version *older;
	struct value *value; /* NULL: deleted */
	int64_t revision, create_revision;
};

struct value {
	_Atomic int refs;
	size_t n;
	char bytes[];
};

struct entry {
	struct version *newest;
	size_t n;
	char key[];
};

struct memory {
	struct task_mutex lock; /* who does the store's work writes, readers read */
	struct entry **entries;
	size_t n, cap;
	int64_t revision, committed, compacted, bytes;
	bool swept;
};

static struct value *value_new(struct str s)
{
	struct value *v = xmalloc(sizeof(*v) + s.n);

	v->refs = 1;
	v->n = s.n;
	if (s.n)
		memcpy(v->bytes, s.p, s.n);
	return v;
}

static struct value *value_unref(struct value *v)
{
	if (v && atomic_fetch_sub(&v->refs, 1) == 1)
		free(v);
	return NULL;
}

static struct version *version_free(struct memory *m, struct version *v)
{
	struct version *older = v->older;

	m->bytes -= v->value ? (int64_t)v->value->n : 0;
	value_unref(v->value);
	free(v);
	return older;
}

static struct str entry_key(const struct entry *t)
{
	return str_n(t->key, t->n);
}

/* Index of the first entry >= key. */
static size_t find(const struct memory *m, struct str key)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (str_cmp(entry_key(m->entries[mid]), key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct entry *entry_insert(struct memory *m, size_t at, struct str key)
{
	struct entry *t = xcalloc(1, sizeof(*t) + key.n);

	GROW(m->entries, m->n, m->cap, 64);
	memcpy(t->key, key.p, key.n);
	t->n = key.n;
	memmove(m->entries + at + 1, m->entries + at, (m->n - at) * sizeof(*m->entries));
	m->entries[at] = t;
	m->n++;
	return t;
}

static int memory_begin(void *self, struct err *e)
{
	struct memory *m = self;

	m->revision = m->committed;
	return 0;
}

/* Written at once: put() checks first and cannot fail afterwards, and readers ask for committed revisions only. */
static int memory_put(void *self, const struct store_write *w, struct store_done *ret, bool *broken, struct err *e)
{
	struct memory *m = self;
	struct version *v, *old;
	struct entry *t;
	size_t at;
	int r;

	task_lock(&m->lock);
	at = find(m, w->key);
	t = at < m->n && str_eq(entry_key(m->entries[at]), w->key) ? m->entries[at] : NULL;
	old = t ? t->newest : NULL;
	r = store_check(w, old && old->value ? old->revision : 0, e);
	if (r < 0) {
		task_unlock(&m->lock);
		return r;
	}
	if (!t)
		t = entry_insert(m, at, w->key);
	v = xcalloc(1, sizeof(*v));
	v->revision = ++m->revision;
	v->create_revision = old && old->value ? old->create_revision : v->revision;
	v->value = w->del ? NULL : value_new(w->value);
	v->older = old;
	t->newest = v;
	m->bytes += w->del ? 0 : (int64_t)w->value.n;
	task_unlock(&m->lock);
	*ret = (struct store_done){ v->revision, v->create_revision };
	return 0;
}

static int memory_commit(void *self, struct err *e)
{
	struct memory *m = self;

	m->committed = m->revision;
	return 0;
}

static void memory_rollback(void *self)
{
	struct memory *m = self;

	m->revision = m->committed;
}

/* ---- reading --------------------------------------------------------------------------------- */

#define PAGE 128
struct item {
	char *key;
	size_t key_n;
	struct value *value;
	int64_t revision, create_revision;
};

static const struct version *version_at(const struct entry *t, int64_t revision)
{
	const struct version *v = t->newest;

	while (v && v->revision > revision)
		v = v->older;
	return v;
}

/* A page of the entries with the prefix from key `from` on (after it when `skip`). */
static size_t page_read(struct memory *m, const struct range_request *rq, struct str from, bool skip, struct item *page)
{
	size_t n = 0, i;

	task_lock(&m->lock);
	i = find(m, from);
	if (skip && i < m->n && str_eq(entry_key(m->entries[i]), from))
		i++;
	for (; i < m->n && n < PAGE && str_starts(entry_key(m->entries[i]), rq->prefix); i++) {
		const struct version *v = version_at(m->entries[i], rq->revision);

		if (!v || !v->value)
			continue;
		atomic_fetch_add(&v->value->refs, 1);
		page[n++] = (struct item){
			.key = str_dup(entry_key(m->entries[i])),
			.key_n = m->entries[i]->n,
			.value = v->value,
			.revision = v->revision,
			.create_revision = v->create_revision,
		};
	}
	task_unlock(&m->lock);
	return n;
}

static bool page_show(const struct range_request *rq, struct item *page, size_t n, bool expired)
{
	bool more = !expired;

	for (size_t i = 0; i < n && more; i++) {
		struct store_kv kv = {
			.key = str_n(page[i].key, page[i].key_n),
			.value = str_n(page[i].value->bytes, page[i].value->n),
			.revision = page[i].revision,
			.create_revision = page[i].create_revision,
		};

		more = rq->each(rq->arg, &kv);
	}
	return more;
}

static void page_fini(struct item *page, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		value_unref(page[i].value);
		free(page[i].key);
	}
}

static int memory_range(void *self, const struct range_request *rq, const _Atomic int64_t *compacted, struct err *e)
{
	struct str from = str_cmp(rq->from, rq->prefix) > 0 ? rq->from : rq->prefix;
	struct memory *m = self;
	struct item page[PAGE];
	auto_free char *last = NULL;
	bool more = true, expired = false;
	size_t n = PAGE;

	while (more && n == PAGE) {
		n = page_read(m, rq, from, last != NULL, page);
		expired = *compacted > rq->revision;
		more = page_show(rq, page, n, expired);
		free(last);
		last = n ? str_dup(str_n(page[n - 1].key, page[n - 1].key_n)) : NULL;
		from = str_c(last);
		page_fini(page, n);
	}
	if (expired)
		return err_set(
			e, ERR_EXPIRED, "the store's history before revision %" PRId64 " is gone", (int64_t)*compacted);
	return 0;
}

static int by_revision(const void *a, const void *b)
{
	const struct store_event *x = a, *y = b;

	return x->revision < y->revision ? -1 : x->revision > y->revision;
}

static int memory_replay(void *self, int64_t after, store_on_event *on_event, void *arg, struct err *e)
{
	struct memory *m = self;
	struct store_event *evs = NULL;
	size_t n = 0, cap = 0;

	for (size_t i = 0; i < m->n; i++) {
		for (struct version *v = m->entries[i]->newest; v && v->revision > after; v = v->older) {
			GROW(evs, n, cap, 64);
			evs[n++] = (struct store_event){
				.key = entry_key(m->entries[i]),
				.revision = v->revision,
				.create_revision = v->create_revision,
				.deleted = !v->value,
				.value = v->value ? str_n(v->value->bytes, v->value->n) : STR_NULL,
			};
		}
	}
	if (n)
		qsort(evs, n, sizeof(*evs), by_revision);
	for (size_t i = 0; i < n; i++)
		on_event(arg, &evs[i]);
	free(evs);
	return 0;
}

/* ---- history --------------------------------------------------------------------------------- */

static int memory_compact(void *self, int64_t revision, struct err *e)
{
	struct memory *m = self;

	m->compacted = revision;
	m->swept = false;
	return 0;
}

/* Keeps what is visible at `compacted` and later. True: the key is gone as a whole. */
static bool entry_sweep(struct memory *m, struct entry *t)
{
	struct version **at = &t->newest;

	while (*at && (*at)->revision > m->compacted)
		at = &(*at)->older;
	if (*at && (*at)->value)
		at = &(*at)->older;
	for (struct version *v = *at; v;)
		v = version_free(m, v);
	*at = NULL;
	return !t->newest;
}

static enum sweep memory_sweep(void *self, size_t rows)
{
	struct memory *m = self;
	size_t kept = 0;

	(void)rows; /* all of it, at once */
	if (m->swept)
		return SWEEP_DONE;
	task_lock(&m->lock);
	for (size_t i = 0; i < m->n; i++) {
		if (entry_sweep(m, m->entries[i]))
			free(m->entries[i]);
		else
			m->entries[kept++] = m->entries[i];
	}
	m->n = kept;
	m->swept = true;
	task_unlock(&m->lock);
	return SWEEP_DONE;
}

static int64_t memory_bytes(void *self)
{
	struct memory *m = self;
	int64_t n;

	task_lock(&m->lock);
	n = m->bytes;
	task_unlock(&m->lock);
	return n;
}

static void memory_close(void *self)
{
	struct memory *m = self;

	for (size_t i = 0; i < m->n; i++) {
		for (struct version *v = m->entries[i]->newest; v;)
			v = version_free(m, v);
		free(m->entries[i]);
	}
	free(m->entries);
	task_mutex_fini(&m->lock);
	free(m);
}

static const struct store_engine memory_engine = {
	.name = "memory",
	.begin = memory_begin,
	.put = memory_put,
	.commit = memory_commit,
	.rollback = memory_rollback,
	.range = memory_range,
	.replay = memory_replay,
	.compact = memory_compact,
	.sweep = memory_sweep,
	.bytes = memory_bytes,
	.close = memory_close,
};

int store_open_memory(struct store **ret, struct err *e)
{
	struct memory *m = xcalloc(1, sizeof(*m));
	char uid[UUID_TEXT_MAX];

	task_mutex_init(&m->lock);
	m->revision = m->committed = 1; /* an empty store is at 1, as in etcd: 0 means "any" to clients */
	m->compacted = 1;
	m->swept = true;
	rand_uuid(uid);
	*ret = store_new(&memory_engine, m, 1, 1, uid);
	return 0;
}

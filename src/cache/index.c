/* Entries in key order: a directory of chunks of at most 64, copied on write when somebody reads them. */
#include "cache/cache_internal.h"

#define CHUNK_LOW 16 /* below this a chunk looks for a neighbour to join */

struct entry *entry_new(struct str key, struct doc *d, int64_t revision)
{
	struct entry *t = xmalloc(sizeof(*t) + key.n);

	t->refs = 1;
	t->n = (uint32_t)key.n;
	t->revision = revision;
	t->doc = doc_ref(d);
	memcpy(t->key, key.p, key.n);
	return t;
}

struct entry *entry_ref(struct entry *t)
{
	if (t)
		atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

struct entry *entry_unref(struct entry *t)
{
	if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1) {
		doc_unref(t->doc);
		free(t);
	}
	return NULL;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

static struct chunk *chunk_new(void)
{
	struct chunk *k = xmalloc(sizeof(*k));

	k->refs = 1;
	k->n = 0;
	return k;
}

static void chunk_unref(struct chunk *k)
{
	if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (int i = 0; i < k->n; i++)
		entry_unref(k->e[i]);
	free(k);
}

/* The chunk at i, for changing. References come and go, but new ones are taken under the lock only: 1 stays 1. */
static struct chunk *chunk_own(struct index *x, size_t i)
{
	struct chunk *old = x->chunks[i], *k;

	if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1)
		return old;
	k = chunk_new();
	k->n = old->n;
	for (int j = 0; j < old->n; j++)
		k->e[j] = entry_ref(old->e[j]);
	chunk_unref(old);
	return x->chunks[i] = k;
}

static void directory_insert(struct index *x, size_t at, struct chunk *k)
{
	GROW(x->chunks, x->n, x->cap, 4);
	memmove(x->chunks + at + 1, x->chunks + at, (x->n - at) * sizeof(*x->chunks));
	x->chunks[at] = k;
	x->n++;
}

static void directory_remove(struct index *x, size_t at)
{
	chunk_unref(x->chunks[at]);
	x->n--;
	memmove(x->chunks + at, x->chunks + at + 1, (x->n - at) * sizeof(*x->chunks));
}

/* ---- finding --------------------------------------------------------------------------------- */

struct place {
	size_t chunk;
	int at;
	bool found;
};

/* The last chunk that begins at or before the key; 0 when none does. */
static size_t chunk_for(const struct index *x, struct str key)
{
	size_t lo = 0, hi = x->n;

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (str_cmp(entry_key(x->chunks[mid]->e[0]), key) <= 0)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* Where the key is or belongs; at may be one past the chunk's end. */
static struct place place_of(const struct index *x, struct str key)
{
	struct place p = { 0 };
	int lo = 0, hi, c;

	if (x->n == 0)
		return p;
	p.chunk = chunk_for(x, key);
	hi = x->chunks[p.chunk]->n;
	while (lo < hi) {
		int mid = (lo + hi) / 2;

		c = str_cmp(entry_key(x->chunks[p.chunk]->e[mid]), key);
		if (c == 0)
			return (struct place){ p.chunk, mid, true };
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	p.at = lo;
	return p;
}

struct entry *index_get(const struct index *x, struct str key)
{
	struct place p = place_of(x, key);

	return p.found ? x->chunks[p.chunk]->e[p.at] : NULL;
}

/* ---- changing -------------------------------------------------------------------------------- */

/* Makes room in a full chunk. Keys that arrive in order leave full chunks behind. */
static void split(struct index *x, struct place *p)
{
	bool appends = p->chunk + 1 == x->n && p->at == CHUNK_MAX;
	struct chunk *left = chunk_own(x, p->chunk), *right = chunk_new();
	int keep = appends ? CHUNK_MAX : CHUNK_MAX / 2;

	right->n = left->n - keep;
	memcpy(right->e, left->e + keep, (size_t)right->n * sizeof(*right->e));
	left->n = keep;
	directory_insert(x, p->chunk + 1, right);
	if (p->at >= keep) {
		p->chunk++;
		p->at -= keep;
	}
}

struct entry *index_put(struct index *x, struct entry *take)
{
	struct place p = place_of(x, entry_key(take));
	struct entry *old;
	struct chunk *k;

	if (p.found) {
		k = chunk_own(x, p.chunk);
		old = k->e[p.at];
		k->e[p.at] = take;
		return old;
	}
	if (x->n == 0)
		directory_insert(x, 0, chunk_new());
	if (x->chunks[p.chunk]->n == CHUNK_MAX)
		split(x, &p);
	k = chunk_own(x, p.chunk);
	memmove(k->e + p.at + 1, k->e + p.at, (size_t)(k->n - p.at) * sizeof(*k->e));
	k->e[p.at] = take;
	k->n++;
	x->len++;
	return NULL;
}

static void join(struct index *x, size_t i)
{
	struct chunk *left, *right;

	if (i + 1 == x->n && i > 0)
		i--;
	if (i + 1 >= x->n || x->chunks[i]->n + x->chunks[i + 1]->n > CHUNK_MAX - CHUNK_LOW)
		return;
	left = chunk_own(x, i);
	right = x->chunks[i + 1];
	for (int j = 0; j < right->n; j++)
		left->e[left->n++] = entry_ref(right->e[j]);
	directory_remove(x, i + 1);
}

struct entry *index_del(struct index *x, struct str key)
{
	struct place p = place_of(x, key);
	struct entry *old;
	struct chunk *k;

	if (!p.found)
		return NULL;
	k = chunk_own(x, p.chunk);
	old = k->e[p.at];
	k->n--;
	memmove(k->e + p.at, k->e + p.at + 1, (size_t)(k->n - p.at) * sizeof(*k->e));
	x->len--;
	if (k->n == 0)
		directory_remove(x, p.chunk);
	else if (k->n < CHUNK_LOW)
		join(x, p.chunk);
	return old;
}

void index_fini(struct index *x)
{
	for (size_t i = 0; i < x->n; i++)
		chunk_unref(x->chunks[i]);
	free(x->chunks);
	*x = (struct index){ 0 };
}

/* ---- slices ---------------------------------------------------------------------------------- */

static void slice_end(void *obj)
{
	struct slice *s = obj;

	for (size_t i = 0; i < s->chunks_n; i++)
		chunk_unref(s->chunks[i]);
}

/* Entries from one place up to another. */
static size_t distance(const struct index *x, struct place a, struct place b)
{
	size_t n = 0;

	if (a.chunk == b.chunk)
		return b.at > a.at ? (size_t)(b.at - a.at) : 0;
	n = (size_t)(x->chunks[a.chunk]->n - a.at);
	for (size_t i = a.chunk + 1; i < b.chunk; i++)
		n += (size_t)x->chunks[i]->n;
	return n + (size_t)b.at;
}

/* The place after the last key with the prefix: where prefix + 1 would be. */
static struct place end_of_prefix(const struct index *x, struct str prefix)
{
	auto_free char *next = str_dup(prefix);
	size_t n = prefix.n;

	while (n > 0 && (unsigned char)next[n - 1] == 0xff)
		n--;
	if (n == 0)
		return (struct place){ x->n - 1, x->chunks[x->n - 1]->n, false };
	next[n - 1] = (char)(next[n - 1] + 1);
	return place_of(x, str_n(next, n));
}

struct slice *index_slice(const struct index *x, struct arena *a, struct str prefix, struct str from, size_t max)
{
	struct place begin, end;
	size_t total, need, n = 0, room;
	struct slice *s;

	if (x->n == 0)
		return arena_zalloc(a, sizeof(*s));
	begin = place_of(x, str_cmp(from, prefix) > 0 ? from : prefix);
	end = end_of_prefix(x, prefix);
	total = end.chunk < begin.chunk ? 0 : distance(x, begin, end);
	need = max && max < total ? max : total;
	room = need ? end.chunk - begin.chunk + 1 : 0;
	s = arena_alloc(a, sizeof(*s) + room * sizeof(*s->chunks));
	*s = (struct slice){ .skip = (size_t)begin.at, .n = need, .more = total - need };
	for (size_t i = begin.chunk; n < need + s->skip && need; i++) {
		atomic_fetch_add_explicit(&x->chunks[i]->refs, 1, memory_order_relaxed);
		s->chunks[s->chunks_n++] = x->chunks[i];
		n += (size_t)x->chunks[i]->n;
	}
	if (s->chunks_n)
		arena_hold(a, s, slice_end);
	return s;
}

/* The view of an informer: items by key, and sorted buckets by index. Lists arrive in order, so sorted arrays mostly
 * append. */
#include "client/informer_internal.h"

/* ---- keys ------------------------------------------------------------------------------------ */

struct key {
	char small[128];
	char *big;
	struct str s;
};

static void key_init(struct key *k, struct str ns, struct str name)
{
	size_t n = ns.n + 1 + name.n;
	char *p;

	k->big = n > sizeof(k->small) ? xmalloc(n) : NULL;
	p = k->big ? k->big : k->small;
	if (ns.n)
		memcpy(p, ns.p, ns.n);
	p[ns.n] = 0;
	if (name.n)
		memcpy(p + ns.n + 1, name.p, name.n);
	k->s = str_n(p, n);
}

static struct str item_key(const struct item *t)
{
	return str_n(t->key, t->n);
}

/* ---- buckets --------------------------------------------------------------------------------- */

static size_t bucket_find(const struct bucket *b, struct str key, bool *found)
{
	size_t lo = 0, hi = b->n;
	int c;

	*found = false;
	if (hi && str_cmp(item_key(b->v[hi - 1]), key) < 0)
		return hi;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		c = str_cmp(item_key(b->v[mid]), key);
		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void bucket_add(struct bucket *b, struct item *t)
{
	bool found;
	size_t at = bucket_find(b, item_key(t), &found);

	if (found)
		return;
	GROW(b->v, b->n, b->cap, 4);
	memmove(b->v + at + 1, b->v + at, (b->n - at) * sizeof(*b->v));
	b->v[at] = t;
	b->n++;
}

static void bucket_drop(struct bucket *b, struct item *t)
{
	bool found;
	size_t at = bucket_find(b, item_key(t), &found);

	if (!found)
		return;
	b->n--;
	memmove(b->v + at, b->v + at + 1, (b->n - at) * sizeof(*b->v));
}

static void bucket_end(void *p)
{
	struct bucket *b = p;

	free(b->v);
	free(b);
}

/* ---- indexes --------------------------------------------------------------------------------- */

void view_add_index(struct view *v, const char *name,
	void (*key_of)(struct doc *d, void (*add)(void *arg, struct str key), void *arg))
{
	v->indexes = xrealloc(v->indexes, v->indexes_n + 1, sizeof(*v->indexes));
	v->indexes[v->indexes_n++] =
		(struct view_index){ .name = xstrdup(name), .key_of = key_of, .buckets = map_new(bucket_end) };
}

/* An object moves between buckets only where its keys differ; the item in them stays the same. */
struct move {
	struct view_index *x;
	struct item *t;
	struct doc *other; /* the other state of the object, NULL: none */
	bool add;
	/* while looking through the other state's keys */
	struct str want;
	bool seen;
};

static void is_same(void *arg, struct str key)
{
	struct move *m = arg;

	m->seen |= str_eq(key, m->want);
}

static void move_key(void *arg, struct str key)
{
	struct move *m = arg;
	struct bucket *b;

	m->want = key;
	m->seen = false;
	if (m->other)
		m->x->key_of(m->other, is_same, m);
	if (m->seen)
		return;
	b = map_get(m->x->buckets, key);
	if (m->add) {
		if (!b)
			map_put(m->x->buckets, key, b = xcalloc(1, sizeof(*b)));
		bucket_add(b, m->t);
	} else if (b) {
		bucket_drop(b, m->t);
		if (b->n == 0)
			map_del(m->x->buckets, key);
	}
}

static void reindex(struct view *v, struct item *t, struct doc *before, struct doc *after)
{
	for (size_t i = 0; i < v->indexes_n; i++) {
		struct view_index *x = &v->indexes[i];

		if (before)
			x->key_of(before, move_key, &(struct move){ .x = x, .t = t, .other = after });
		if (after)
			x->key_of(after, move_key, &(struct move){ .x = x, .t = t, .other = before, .add = true });
	}
}

/* ---- the view -------------------------------------------------------------------------------- */

static void item_end(void *p)
{
	struct item *t = p;

	doc_unref(t->doc);
	free(t);
}

void view_init(struct view *v)
{
	*v = (struct view){ .items = map_new(item_end) };
}

void view_fini(struct view *v)
{
	for (size_t i = 0; i < v->indexes_n; i++) {
		map_free(v->indexes[i].buckets);
		free(v->indexes[i].name);
	}
	free(v->indexes);
	free(v->all.v);
	map_free(v->items);
}

struct item *view_find(struct view *v, struct str ns, struct str name)
{
	struct key k;
	struct item *t;

	key_init(&k, ns, name);
	t = map_get(v->items, k.s);
	free(k.big);
	return t;
}

struct doc *view_set(struct view *v, struct doc *d)
{
	struct item *t = view_find(v, doc_ns(d), doc_name(d));
	struct doc *before = t ? t->doc : NULL;
	struct key k;

	if (!t) {
		key_init(&k, doc_ns(d), doc_name(d));
		t = xcalloc(1, sizeof(*t) + k.s.n);
		memcpy(t->key, k.s.p, k.s.n);
		t->n = k.s.n;
		free(k.big);
		map_put(v->items, item_key(t), t);
		bucket_add(&v->all, t);
	}
	t->doc = doc_ref(d);
	reindex(v, t, before, d);
	return before;
}

struct doc *view_remove(struct view *v, struct str ns, struct str name)
{
	struct item *t = view_find(v, ns, name);
	struct doc *before;

	if (!t)
		return NULL;
	before = t->doc;
	reindex(v, t, before, NULL);
	bucket_drop(&v->all, t);
	map_take(v->items, item_key(t));
	free(t);
	return before;
}

const struct bucket *view_bucket(struct view *v, const char *index, struct str key)
{
	if (!index)
		return &v->all;
	for (size_t i = 0; i < v->indexes_n; i++) {
		if (!strcmp(v->indexes[i].name, index))
			return map_get(v->indexes[i].buckets, key);
	}
	PANIC("an informer has no index \"%s\": informer_index() comes before informer_start()", index);
}

/* ---- common indexes -------------------------------------------------------------------------- */

void informer_index_owner_uid(struct doc *d, void (*add)(void *arg, struct str key), void *arg)
{
	for (struct val_iter it = val_iter(doc_get(d, "metadata.ownerReferences")); val_next(&it);) {
		if (val_bool(val_get(it.val, "controller"), false))
			add(arg, val_str(val_get(it.val, "uid")));
	}
}

void informer_index_node_name(struct doc *d, void (*add)(void *arg, struct str key), void *arg)
{
	struct str node = doc_str(d, "spec.nodeName");

	if (node.n)
		add(arg, node);
}

void informer_index_ns(struct doc *d, void (*add)(void *arg, struct str key), void *arg)
{
	add(arg, doc_ns(d));
}

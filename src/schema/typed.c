/* Walks over objects along their types, for server-side apply: which fields there are, what changed, merge, remove. */
#include "base/buf.h"
#include "base/map.h"
#include "schema/fieldset.h"

enum shape { LEAF, STRUCT, MAP, KEYED, SET };

/* n: the value, for types that say nothing about it: there maps are maps and all else is a leaf. */
static enum shape shape_of(const struct schema_type *t, const struct schema_field *f, struct node *n)
{
	if (!t)
		return LEAF;
	switch (t->kind) {
	case SCHEMA_RAW:
	case SCHEMA_JSON:
		return node_kind(n) == VAL_MAP ? MAP : LEAF;
	case SCHEMA_OBJECT:
		return t->struct_atomic || (f && f->map_atomic) ? LEAF : STRUCT;
	case SCHEMA_MAP:
		return f && f->map_atomic ? LEAF : MAP;
	case SCHEMA_LIST:
		return !f || f->list == SCHEMA_LIST_ATOMIC ? LEAF : f->list == SCHEMA_LIST_MAP ? KEYED : SET;
	default:
		return LEAF;
	}
}

/* What preserved unknown fields are. */
static const struct schema_type anything = { .kind = SCHEMA_JSON };

const struct schema_type *typed_entry(const struct schema_type *t, struct str key, const struct schema_field **ret_f)
{
	*ret_f = NULL;
	if (t->kind == SCHEMA_RAW || t->kind == SCHEMA_JSON)
		return t;
	if (t->kind != SCHEMA_OBJECT) {
		*ret_f = t->element_field;
		return t->element;
	}
	*ret_f = schema_field(t, key);
	if (!*ret_f && t->keep_unknown)
		return &anything;
	return *ret_f ? (*ret_f)->type : NULL;
}

static struct str elem_field(struct arena *a, struct str key)
{
	return ARENA_JOIN(a, STR("f:"), key);
}

struct node *typed_key(struct arena *a, const struct schema_type *element, struct node *item, const char *key)
{
	struct node *v = node_getc(item, key);
	const struct schema_field *f = schema_field(element, str_c(key));

	if (v && node_kind(v) != VAL_NULL)
		return v;
	return f && f->fallback ? schema_literal(a, f->fallback) : NULL;
}

static struct str elem_keyed(
	struct arena *a, const struct schema_type *element, const char *const *keys, struct node *item)
{
	auto_buf struct buf b = BUF_INIT;
	const char *last = "";
	bool first = true;

	buf_c(&b, "k:{");
	for (;;) { /* in order of the keys' names */
		const char *next = NULL;
		struct node *v;

		for (size_t i = 0; keys[i]; i++)
			if (strcmp(keys[i], last) > 0 && (!next || strcmp(keys[i], next) < 0))
				next = keys[i];
		if (!next)
			break;
		last = next;
		v = typed_key(a, element, item, next);
		if (!v)
			continue;
		buf_printf(&b, "%s\"%s\":", first ? "" : ",", next);
		node_write(v, &b);
		first = false;
	}
	buf_byte(&b, '}');
	return arena_str(a, buf_view(&b));
}

struct str typed_item(struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *item)
{
	auto_buf struct buf b = BUF_INIT;

	if (f->list == SCHEMA_LIST_MAP)
		return elem_keyed(a, t->element, f->list_keys, item);
	buf_c(&b, "v:");
	node_write(item, &b);
	return arena_str(a, buf_view(&b));
}

/* ---- which fields there are ------------------------------------------------------------------ */

static void collect(struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *n,
	struct fs_elem *self)
{
	enum shape s = shape_of(t, f, n);

	if (s == LEAF) {
		self->member = true;
		return;
	}
	for (size_t i = 0; i < node_len(n); i++) {
		struct node *child = node_at(n, i);
		const struct schema_field *cf = NULL;
		const struct schema_type *ct = t->element;
		struct fs_elem e = { 0 };

		if (s == KEYED || s == SET) {
			e.text = typed_item(a, t, f, child);
			collect(a, ct, t->element_field, child, &e);
			e.member = true;
		} else {
			ct = typed_entry(t, node_key_at(n, i), &cf);
			if (!ct)
				continue;
			e.text = elem_field(a, node_key_at(n, i));
			collect(a, ct, cf, child, &e);
			if (s == MAP || !cf || node_kind(child) == VAL_NULL ||
				(node_kind(child) == VAL_MAP && !node_len(child)))
				e.member = true;
		}
		self->sub = fs_put(a, self->sub, e);
	}
}

struct field_set *typed_fields(struct arena *a, const struct schema_type *t, struct node *n)
{
	struct fs_elem root = { 0 };

	collect(a, t, NULL, n, &root);
	return root.sub;
}

/* ---- what changed ---------------------------------------------------------------------------- */

struct change {
	struct fs_elem added, modified, removed;
};

static void compare(struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *was,
	struct node *now, struct change *self);

/* A Go struct always has its value fields: one that is not in the JSON is empty, not absent. */
static struct node *implied(struct arena *a, struct node *parent, const struct schema_field *f)
{
	if (!parent || !f || f->pointer)
		return NULL;
	if (f->type->kind == SCHEMA_OBJECT)
		return node_map(a);
	return f->omit_empty ? NULL : f->type->kind == SCHEMA_LIST ? node_list(a) : node_null(a);
}

static void child_changed(struct arena *a, struct change *self, struct str text, struct change *c)
{
	c->added.text = c->modified.text = c->removed.text = text;
	if (!fs_elem_empty(&c->added))
		self->added.sub = fs_put(a, self->added.sub, c->added);
	if (!fs_elem_empty(&c->modified))
		self->modified.sub = fs_put(a, self->modified.sub, c->modified);
	if (!fs_elem_empty(&c->removed))
		self->removed.sub = fs_put(a, self->removed.sub, c->removed);
}

static void compare_entry(struct arena *a, const struct schema_type *t, struct str key, struct node *was,
	struct node *now, struct change *self)
{
	const struct schema_field *cf;
	const struct schema_type *ct = typed_entry(t, key, &cf);
	struct node *l = node_get(was, key), *r = node_get(now, key);
	struct change c = { 0 };

	if (!ct)
		return;
	l = l ? l : implied(a, was, cf);
	r = r ? r : implied(a, now, cf);
	compare(a, ct, cf, l, r, &c);
	child_changed(a, self, elem_field(a, key), &c);
}

static void compare_maps(
	struct arena *a, const struct schema_type *t, struct node *was, struct node *now, struct change *self)
{
	for (size_t i = 0; i < node_len(now); i++)
		compare_entry(a, t, node_key_at(now, i), was, now, self);
	for (size_t i = 0; i < node_len(was); i++)
		if (!node_get(now, node_key_at(was, i)))
			compare_entry(a, t, node_key_at(was, i), was, now, self);
}

/* Elements of a list by their path element. */
struct items {
	size_t n;
	struct str *text;
	struct node **node;
	struct map *at; /* text -> &node[i] of its first */
};

static void map_end(void *m)
{
	map_free(m);
}

static struct items items_of(
	struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *list)
{
	struct items s = { .n = node_len(list) };

	s.text = ARENA_ARRAY(a, struct str, s.n + 1);
	s.node = ARENA_ARRAY(a, struct node *, s.n + 1);
	s.at = map_new(NULL);
	arena_hold(a, s.at, map_end);
	for (size_t i = 0; i < s.n; i++) {
		s.node[i] = node_at(list, i);
		s.text[i] = typed_item(a, t, f, s.node[i]);
		if (!map_get(s.at, s.text[i]))
			map_put(s.at, s.text[i], &s.node[i]);
	}
	return s;
}

static struct node *item_get(const struct items *s, struct str text)
{
	struct node **n = map_get(s->at, text);

	return n ? *n : NULL;
}

static void compare_lists(struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *was,
	struct node *now, struct change *self)
{
	struct items l = items_of(a, t, f, was), r = items_of(a, t, f, now);

	for (size_t i = 0; i < r.n; i++) {
		struct change c = { 0 };

		compare(a, t->element, t->element_field, item_get(&l, r.text[i]), r.node[i], &c);
		child_changed(a, self, r.text[i], &c);
	}
	for (size_t i = 0; i < l.n; i++) {
		struct change c = { 0 };

		if (item_get(&r, l.text[i]))
			continue;
		compare(a, t->element, t->element_field, l.node[i], NULL, &c);
		child_changed(a, self, l.text[i], &c);
	}
}

static void compare(struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *was,
	struct node *now, struct change *self)
{
	enum shape s = shape_of(t, f, now ? now : was);

	if ((!was && !now) || (was && now && node_equal(was, now)))
		return;
	if (was && now && node_kind(was) != node_kind(now) && t->kind > SCHEMA_MAP)
		s = LEAF;
	if (s == LEAF) {
		self->modified.member = was && now;
	} else if (s == STRUCT || s == MAP) {
		compare_maps(a, t, was, now, self);
	} else {
		compare_lists(a, t, f, was, now, self);
	}
	self->added.member = !was;
	self->removed.member = !now;
}

struct fs_diff typed_compare(struct arena *a, const struct schema_type *t, struct node *was, struct node *now)
{
	struct change root = { 0 };

	compare(a, t, NULL, was, now, &root);
	return (struct fs_diff){ root.added.sub, root.modified.sub, root.removed.sub };
}

/* ---- merge ----------------------------------------------------------------------------------- */

static struct node *merge(struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *base,
	struct node *with);

static struct node *merge_maps(struct arena *a, const struct schema_type *t, struct node *base, struct node *with)
{
	for (size_t i = 0; i < node_len(with); i++) {
		struct str key = node_key_at(with, i);
		const struct schema_field *cf;
		const struct schema_type *ct = typed_entry(t, key, &cf);

		node_set(base, key, merge(a, ct, cf, node_get(base, key), node_at(with, i)));
	}
	return base;
}

/* The order of the result follows `with` where it says something; elements only in base stay near their neighbours. */
static struct node *merge_lists(struct arena *a, const struct schema_type *t, const struct schema_field *f,
	struct node *base, struct node *with)
{
	struct items l = items_of(a, t, f, base), r = items_of(a, t, f, with);
	struct node *out = node_list(a);
	size_t i = 0, k = 0, shared = 0; /* shared: next element of with that base has too */
	bool *merged = ARENA_ARRAY(a, bool, r.n + 1);

	while (shared < r.n && !item_get(&l, r.text[shared]))
		shared++;
	while (i < l.n || k < r.n) {
		struct node **in_with = i < l.n ? map_get(r.at, l.text[i]) : NULL;
		bool same = i < l.n && k < r.n && str_eq(l.text[i], r.text[k]);

		if (i < l.n && k < r.n && !same && in_with && shared < r.n && !str_eq(r.text[shared], l.text[i])) {
			i++; /* its turn comes in with's order */
			continue;
		}
		if (i < l.n && !same && !in_with) {
			node_add(out, l.node[i++]);
			continue;
		}
		if (i < l.n && !same && in_with && merged[in_with - r.node]) {
			i++;
			continue;
		}
		if (k < r.n) {
			node_add(out, merge(a, t->element, t->element_field, item_get(&l, r.text[k]), r.node[k]));
			merged[k] = true;
			if (shared == k)
				for (shared++; shared < r.n && !item_get(&l, r.text[shared]);)
					shared++;
			k++;
			i += same;
		} else {
			i++;
		}
	}
	return out;
}

static struct node *merge(struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *base,
	struct node *with)
{
	enum shape s = shape_of(t, f, with);

	if (!base || !with)
		return with ? with : base;
	if (node_kind(with) == VAL_NULL && s != LEAF) /* says nothing of what is in it */
		return base;
	if (s == LEAF || node_kind(base) != node_kind(with))
		return with;
	return s == STRUCT || s == MAP ? merge_maps(a, t, base, with) : merge_lists(a, t, f, base, with);
}

struct node *typed_merge(struct arena *a, const struct schema_type *t, struct node *base, struct node *with)
{
	return merge(a, t, NULL, base, with);
}

static void drop_nulls(struct arena *a, const struct schema_type *t, struct node *n)
{
	bool named = node_kind(n) == VAL_MAP;

	if (!t || t->custom || t->kind == SCHEMA_RAW || t->kind == SCHEMA_JSON)
		return;
	for (size_t i = 0; i < node_len(n);) {
		const struct schema_field *f = NULL;
		const struct schema_type *ct = named ? typed_entry(t, node_key_at(n, i), &f) : t->element;
		struct node *child = node_at(n, i);

		if (node_kind(child) == VAL_NULL && f && f->type->kind != SCHEMA_JSON && t->kind == SCHEMA_OBJECT) {
			node_del(n, node_key_at(n, i));
			continue;
		}
		if (node_kind(child) == VAL_NULL && (t->kind == SCHEMA_MAP || t->kind == SCHEMA_LIST)) {
			struct node *zero = zero_of_null(a, ct);

			if (zero)
				node_assign(child, zero);
		}
		drop_nulls(a, ct, child);
		i++;
	}
}

/* A null makes a field what it is without a value, and an element what Go makes of it. Those of custom kinds are judged by their rules, but for metadata. */
void typed_drop_nulls(struct arena *a, const struct schema_type *t, struct node *n)
{
	const struct schema_field *meta = t->custom ? schema_field(t, STR("metadata")) : NULL;

	if (meta)
		drop_nulls(a, meta->type, node_getc(n, "metadata"));
	else
		drop_nulls(a, t, n);
}

/* ---- remove ---------------------------------------------------------------------------------- */

static void remove_paths(struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *n,
	const struct field_set *paths)
{
	enum shape s = shape_of(t, f, n);
	bool list = s == KEYED || s == SET;

	if (s == LEAF || fs_empty(paths))
		return;
	for (size_t i = 0; i < node_len(n);) {
		struct node *child = node_at(n, i);
		struct str key = list ? STR_NULL : node_key_at(n, i);
		const struct schema_field *cf = t->element_field;
		const struct schema_type *ct = list ? t->element : typed_entry(t, key, &cf);
		const struct fs_elem *e = fs_find(paths, list ? typed_item(a, t, f, child) : elem_field(a, key));
		bool gone = e && e->member;

		if (e && !gone && ct && !fs_empty(e->sub)) {
			size_t had = node_len(child);

			remove_paths(a, ct, cf, child, e->sub);
			gone = had && !node_len(child) && node_kind(child) >= VAL_LIST;
		}
		if (!gone)
			i++;
		else if (list)
			node_remove_at(n, i);
		else
			node_del(n, key);
	}
}

void typed_remove(struct arena *a, const struct schema_type *t, struct node *n, const struct field_set *paths)
{
	remove_paths(a, t, NULL, n, paths);
}

/* ---- helpers of apply ------------------------------------------------------------------------ */

static struct field_set *ensure(
	struct arena *a, const struct schema_type *t, const struct schema_field *f, struct field_set *s)
{
	enum shape sh = shape_of(t, f, NULL); /* untyped maps have no named fields */
	struct field_set *out;

	if (sh == LEAF || fs_empty(s))
		return s;
	out = ARENA_NEW(a, struct field_set);
	for (uint32_t i = 0; i < s->n; i++) {
		struct fs_elem e = s->e[i];
		const struct schema_field *cf = t->element_field;
		const struct schema_type *ct = t->element;

		if (sh == STRUCT || sh == MAP)
			ct = typed_entry(t, str_sub(e.text, 2, e.text.n), &cf);
		if (ct)
			e.sub = ensure(a, ct, cf, e.sub);
		e.member |= sh == STRUCT && cf && !fs_empty(e.sub);
		fs_put(a, out, e);
	}
	return out;
}

struct field_set *typed_ensure_named(struct arena *a, const struct schema_type *t, struct field_set *s)
{
	return ensure(a, t, NULL, s);
}

/* ---- types that changed ---------------------------------------------------------------------- */

static bool has_parts(const struct schema_type *t)
{
	return t->kind == SCHEMA_LIST || t->kind == SCHEMA_MAP || t->kind == SCHEMA_OBJECT;
}

static const struct schema_type *part(
	const struct schema_type *t, const struct fs_elem *e, const struct schema_field **ret_f)
{
	*ret_f = t->element_field;
	return t->kind == SCHEMA_LIST ? t->element : typed_entry(t, str_sub(e->text, 2, e->text.n), ret_f);
}

/* Whether something is owned by its parts that is one value. */
static bool is_split(const struct schema_type *t, const struct schema_field *f, const struct field_set *s)
{
	if (fs_empty(s) || !has_parts(t))
		return false;
	if (shape_of(t, f, NULL) == LEAF)
		return true;
	for (uint32_t i = 0; i < s->n; i++) {
		const struct schema_field *cf;
		const struct schema_type *ct = part(t, &s->e[i], &cf);

		if (ct && is_split(ct, cf, s->e[i].sub))
			return true;
	}
	return false;
}

static struct fs_elem whole(
	struct arena *a, const struct schema_type *t, const struct schema_field *f, struct fs_elem e)
{
	struct field_set *sub = NULL;

	if (!is_split(t, f, e.sub))
		return e;
	if (shape_of(t, f, NULL) == LEAF)
		return (struct fs_elem){ e.text, true, NULL };
	for (uint32_t i = 0; i < e.sub->n; i++) {
		const struct schema_field *cf;
		const struct schema_type *ct = part(t, &e.sub->e[i], &cf);

		sub = fs_put(a, sub, ct ? whole(a, ct, cf, e.sub->e[i]) : e.sub->e[i]);
	}
	e.sub = sub;
	return e;
}

struct field_set *typed_whole(struct arena *a, const struct schema_type *t, struct field_set *s)
{
	return whole(a, t, NULL, (struct fs_elem){ .sub = s }).sub;
}

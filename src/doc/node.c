/* The mutable tree. A view stands for a value of a doc until somebody looks inside; then it gets entries, whose nodes
 * are made one by one as they are asked for. Large maps get a hash index at their first lookup. */
#include "doc/doc_internal.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define INDEX_FROM 24 /* entries */

struct node_index {
	uint32_t mask, used;
	uint32_t slot[]; /* entry + 1; an entry may be gone */
};

static struct node *new_node(struct arena *a, enum val_kind kind)
{
	struct node *n = ARENA_NEW(a, struct node);

	n->kind = (uint8_t)kind;
	n->a = a;
	return n;
}

struct node *node_null(struct arena *a)
{
	return new_node(a, VAL_NULL);
}

struct node *node_bool(struct arena *a, bool b)
{
	struct node *n = new_node(a, VAL_BOOL);

	n->b = b;
	return n;
}

struct node *node_int(struct arena *a, int64_t i)
{
	struct node *n = new_node(a, VAL_INT);

	n->i = i;
	return n;
}

struct node *node_float(struct arena *a, double f)
{
	struct node *n;

	if (!isfinite(f))
		return node_null(a);
	n = new_node(a, VAL_FLOAT);
	n->f = f;
	return n;
}

/* Bytes from the world (file names, output of programs) may be anything; a doc is always UTF-8. */
static struct str clean_utf8(struct arena *a, struct str s)
{
	const unsigned char *p = (const unsigned char *)s.p, *end = p + s.n;
	char *to = arena_alloc(a, s.n * 3 + 1);
	size_t n = 0;

	while (p < end) {
		size_t step = *p < 0x80 ? 1 : utf8_step(p, end);

		memcpy(to + n, step ? (const char *)p : "\xef\xbf\xbd", step ? step : 3);
		n += step ? step : 3;
		p += step ? step : 1;
	}
	return str_n(to, n);
}

struct node *node_str(struct arena *a, struct str s)
{
	struct node *n = new_node(a, VAL_STR);

	n->s = utf8_valid(s) ? arena_str(a, s) : clean_utf8(a, s);
	return n;
}

struct node *node_c(struct arena *a, const char *s)
{
	return node_str(a, str_c(s));
}

struct node *node_strf(struct arena *a, const char *fmt, ...)
{
	auto_free char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	PRE(n >= 0);
	return node_str(a, str_n(text, (size_t)n));
}

struct node *node_map(struct arena *a)
{
	return new_node(a, VAL_MAP);
}

struct node *node_list(struct arena *a)
{
	return new_node(a, VAL_LIST);
}

static struct node *new_view(struct arena *a, const struct doc *d, uint32_t at)
{
	struct node *n = new_node(a, val_kind((struct val){ d, at }));

	n->view = true;
	n->d = d;
	n->at = at;
	return n;
}

void node_hold(struct arena *a, const struct doc *d)
{
	doc_hold(a, doc_ref((struct doc *)(uintptr_t)d));
}

struct node *node_from(struct arena *a, struct val v)
{
	if (!v.d)
		return NULL;
	node_hold(a, v.d);
	return new_view(a, v.d, v.at);
}

struct node *node_view(struct arena *a, struct val v)
{
	return new_view(a, v.d, v.at);
}

bool node_is_of(const struct node *n, const struct doc *d)
{
	return n && d && n->view && n->d == d;
}

/* ---- entries --------------------------------------------------------------------------------- */

void node_expand(struct node *n)
{
	struct val v = node_val(n);

	if (!n->view || n->kind < VAL_LIST)
		return;
	n->view = false;
	n->n = n->cap = (uint32_t)val_len(v);
	n->e = n->n ? arena_alloc(n->a, n->n * sizeof(*n->e)) : NULL;
	n->ix = NULL;
	for (struct val_iter it = val_iter(v); val_next(&it);)
		n->e[it.i] = (struct entry){ it.key.p, (uint32_t)it.key.n, it.val.at, NULL };
}

struct node *entry_node(struct node *parent, struct entry *en)
{
	if (!en->node)
		en->node = new_view(parent->a, parent->d, en->at);
	return en->node;
}

/* Takes deleted entries out, so that positions count again. */
static void compact(struct node *n)
{
	uint32_t to = 0;

	if (!n->gone)
		return;
	for (uint32_t i = 0; i < n->n; i++)
		if (!entry_gone(&n->e[i]))
			n->e[to++] = n->e[i];
	n->n = to;
	n->gone = 0;
	n->ix = NULL;
}

static void index_put(struct node *map, uint32_t i)
{
	struct node_index *ix = map->ix;
	uint64_t h = key_hash(str_n(map->e[i].key, map->e[i].key_n));
	uint32_t at = (uint32_t)h & ix->mask;

	while (ix->slot[at])
		at = (at + 1) & ix->mask;
	ix->slot[at] = i + 1;
	ix->used++;
}

static void index_build(struct node *map)
{
	uint32_t cap = 64;

	while (cap < map->n * 4)
		cap *= 2;
	map->ix = arena_zalloc(map->a, sizeof(*map->ix) + cap * sizeof(uint32_t));
	map->ix->mask = cap - 1;
	for (uint32_t i = 0; i < map->n; i++)
		if (!entry_gone(&map->e[i]))
			index_put(map, i);
}

static bool entry_is(const struct entry *en, struct str key)
{
	return en->key_n == key.n && (!key.n || !memcmp(en->key, key.p, key.n)) && !entry_gone(en);
}

static struct entry *find(struct node *map, struct str key)
{
	node_expand(map);
	if (map->n < INDEX_FROM) {
		for (uint32_t i = 0; i < map->n; i++)
			if (entry_is(&map->e[i], key))
				return &map->e[i];
		return NULL;
	}
	if (!map->ix)
		index_build(map);
	for (uint32_t at = (uint32_t)key_hash(key) & map->ix->mask; map->ix->slot[at]; at = (at + 1) & map->ix->mask)
		if (entry_is(&map->e[map->ix->slot[at] - 1], key))
			return &map->e[map->ix->slot[at] - 1];
	return NULL;
}

static struct entry *append(struct node *n)
{
	ARENA_GROW(n->a, n->e, n->n, n->cap, 4);
	return &n->e[n->n++];
}

/* ---- reading --------------------------------------------------------------------------------- */

enum val_kind node_kind(struct node *n)
{
	return n ? (enum val_kind)n->kind : VAL_MISSING;
}

struct node *node_get(struct node *map, struct str key)
{
	struct entry *en;

	if (node_kind(map) != VAL_MAP)
		return NULL;
	en = find(map, key);
	return en ? entry_node(map, en) : NULL;
}

struct node *node_getc(struct node *map, const char *key)
{
	return node_get(map, str_c(key));
}

struct node *node_path(struct node *n, const char *path)
{
	while (*path && n) {
		const char *dot = strchrnul(path, '.');

		n = node_get(n, str_n(path, (size_t)(dot - path)));
		path = *dot ? dot + 1 : dot;
	}
	return n;
}

size_t node_len(struct node *n)
{
	if (node_kind(n) < VAL_LIST)
		return 0;
	return n->view ? val_len(node_val(n)) : n->n - n->gone;
}

static struct entry *entry_at(struct node *n, size_t i)
{
	if (node_kind(n) < VAL_LIST)
		return NULL;
	node_expand(n);
	compact(n);
	return i < n->n ? &n->e[i] : NULL;
}

struct node *node_at(struct node *list, size_t i)
{
	struct entry *en = entry_at(list, i);

	return en ? entry_node(list, en) : NULL;
}

struct str node_key_at(struct node *map, size_t i)
{
	struct entry *en = node_kind(map) == VAL_MAP ? entry_at(map, i) : NULL;

	return en ? str_n(en->key, en->key_n) : STR_NULL;
}

struct str node_text_str(struct node *n)
{
	if (node_kind(n) != VAL_STR)
		return STR_NULL;
	return n->view ? val_str(node_val(n)) : n->s;
}

int64_t node_int_of(struct node *n, int64_t otherwise)
{
	if (n && n->view)
		return val_int(node_val(n), otherwise);
	if (node_kind(n) == VAL_INT)
		return n->i;
	if (node_kind(n) == VAL_FLOAT && n->f == floor(n->f) && n->f >= -0x1p63 && n->f < 0x1p63)
		return (int64_t)n->f;
	return otherwise;
}

bool node_bool_of(struct node *n, bool otherwise)
{
	if (node_kind(n) != VAL_BOOL)
		return otherwise;
	return n->view ? val_bool(node_val(n), otherwise) : n->b;
}

double node_float_of(struct node *n, double otherwise)
{
	if (n && n->view)
		return val_float(node_val(n), otherwise);
	if (node_kind(n) == VAL_FLOAT)
		return n->f;
	return node_kind(n) == VAL_INT ? (double)n->i : otherwise;
}

/* ---- editing --------------------------------------------------------------------------------- */

void node_set(struct node *map, struct str key, struct node *child)
{
	struct entry *en;

	PRE(node_kind(map) == VAL_MAP && child && key.n <= DN_KEY_MAX);
	en = find(map, key);
	if (en) {
		en->node = child;
		return;
	}
	en = append(map);
	key = arena_str(map->a, key);
	*en = (struct entry){ key.p, (uint32_t)key.n, 0, child };
	if (map->ix && map->ix->used * 2 > map->ix->mask)
		map->ix = NULL; /* the next lookup builds a larger one */
	else if (map->ix)
		index_put(map, map->n - 1);
}

void node_setc(struct node *map, const char *key, struct node *child)
{
	node_set(map, str_c(key), child);
}

bool node_del(struct node *map, struct str key)
{
	struct entry *en;

	if (node_kind(map) != VAL_MAP || !(en = find(map, key)))
		return false;
	en->node = NULL;
	en->at = 0;
	map->gone++;
	if (!map->ix)
		compact(map);
	return true;
}

bool node_delc(struct node *map, const char *key)
{
	return node_del(map, str_c(key));
}

void node_add(struct node *list, struct node *child)
{
	PRE(node_kind(list) == VAL_LIST && child);
	node_expand(list);
	*append(list) = (struct entry){ .node = child };
}

void node_insert(struct node *list, size_t i, struct node *child)
{
	PRE(node_kind(list) == VAL_LIST && child);
	node_expand(list);
	PRE(i <= list->n);
	append(list);
	memmove(&list->e[i + 1], &list->e[i], (list->n - 1 - i) * sizeof(*list->e));
	list->e[i] = (struct entry){ .node = child };
}

void node_remove_at(struct node *list, size_t i)
{
	PRE(node_kind(list) == VAL_LIST);
	node_expand(list);
	PRE(i < list->n);
	memmove(&list->e[i], &list->e[i + 1], (list->n - 1 - i) * sizeof(*list->e));
	list->n--;
}

void node_replace_at(struct node *list, size_t i, struct node *child)
{
	struct entry *en = node_kind(list) == VAL_LIST ? entry_at(list, i) : NULL;

	PRE(en && child);
	en->node = child;
}

void node_assign(struct node *n, struct node *with)
{
	PRE(n && with);
	*n = *with;
}

static bool any_float(struct val v)
{
	bool found = val_kind(v) == VAL_FLOAT;

	if (val_kind(v) >= VAL_LIST)
		for (struct val_iter it = val_iter(v); !found && val_next(&it);)
			found = any_float(it.val);
	return found;
}

void node_shorten_numbers(struct node *n)
{
	if (n->view && !any_float(node_val(n))) /* as nearly always: nothing is taken apart */
		return;
	if (node_kind(n) == VAL_FLOAT)
		node_assign(n, node_float(n->a, node_float_of(n, 0)));
	for (size_t i = 0; node_kind(n) >= VAL_LIST && i < node_len(n); i++)
		node_shorten_numbers(node_at(n, i));
}

static struct node *need(struct node *map, struct str key, enum val_kind kind)
{
	struct node *child = node_get(map, key);

	if (node_kind(child) == kind)
		return child;
	child = new_node(map->a, kind);
	node_set(map, key, child);
	return child;
}

/* The parent map of the path's last name, which *ret_last gets. */
static struct node *walk_to(struct node *root, const char *path, struct str *ret_last)
{
	const char *dot;

	while (*(dot = strchrnul(path, '.'))) {
		root = need(root, str_n(path, (size_t)(dot - path)), VAL_MAP);
		path = dot + 1;
	}
	*ret_last = str_c(path);
	return root;
}

void node_set_path(struct node *root, const char *path, struct node *child)
{
	struct str last;
	struct node *map = walk_to(root, path, &last);

	node_set(map, last, child);
}

struct node *node_need_map(struct node *root, const char *path)
{
	struct str last;
	struct node *map = walk_to(root, path, &last);

	return last.n ? need(map, last, VAL_MAP) : map;
}

struct node *node_need_list(struct node *root, const char *path)
{
	struct str last;
	struct node *map = walk_to(root, path, &last);

	return need(map, last, VAL_LIST);
}

/* ---- whole trees (as deep as documents: DOC_DEPTH_MAX) --------------------------------------- */

struct node *node_copy(struct arena *a, struct node *n)
{
	struct node *to;

	if (!n)
		return NULL;
	if (n->view) {
		if (a != n->a)
			node_hold(a, n->d);
		return new_view(a, n->d, n->at);
	}
	to = new_node(a, (enum val_kind)n->kind);
	if (n->kind == VAL_STR)
		to->s = arena_str(a, n->s);
	else if (n->kind < VAL_LIST)
		to->i = n->i; /* the widest member */
	for (uint32_t i = 0; n->kind >= VAL_LIST && i < n->n; i++) {
		struct entry *en = &n->e[i];
		struct str key;

		if (entry_gone(en))
			continue;
		key = n->kind == VAL_MAP ? arena_str(a, str_n(en->key, en->key_n)) : STR_NULL;
		*append(to) = (struct entry){ key.p, (uint32_t)key.n, 0, node_copy(a, entry_node(n, en)) };
	}
	return to;
}

static bool scalar_equal(struct node *a, struct node *b)
{
	enum val_kind ka = node_kind(a), kb = node_kind(b);

	if ((ka == VAL_INT || ka == VAL_FLOAT) && (kb == VAL_INT || kb == VAL_FLOAT)) {
		if (ka == VAL_INT && kb == VAL_INT)
			return node_int_of(a, 0) == node_int_of(b, 0);
		return node_float_of(a, 0) == node_float_of(b, 0);
	}
	if (ka != kb)
		return false;
	if (ka == VAL_STR)
		return str_eq(node_text_str(a), node_text_str(b));
	return ka != VAL_BOOL || node_bool_of(a, false) == node_bool_of(b, false);
}

bool node_equal(struct node *a, struct node *b)
{
	size_t len = node_len(a);

	if (a == b)
		return true;
	if (a && b && a->view && b->view)
		return val_equal(node_val(a), node_val(b));
	if (node_kind(a) < VAL_LIST)
		return scalar_equal(a, b);
	if (node_kind(a) != node_kind(b) || len != node_len(b))
		return false;
	for (size_t i = 0; i < len; i++) {
		struct node *other = a->kind == VAL_LIST ? node_at(b, i) : node_get(b, node_key_at(a, i));

		if (!other || !node_equal(node_at(a, i), other))
			return false;
	}
	return true;
}

static size_t val_depth(struct val v, size_t *work)
{
	size_t most = 0;

	(*work)++;
	for (struct val_iter it = val_iter(v); val_next(&it);)
		most = MAX(most, val_depth(it.val, work));
	return most + 1;
}

size_t node_depth(struct node *n, size_t *work)
{
	size_t most = 0, d;

	if (n->view)
		return val_depth(node_val(n), work);
	(*work)++;
	for (uint32_t i = 0; n->kind >= VAL_LIST && i < n->n; i++) {
		if (entry_gone(&n->e[i]))
			continue;
		d = n->e[i].node ? node_depth(n->e[i].node, work) : val_depth((struct val){ n->d, n->e[i].at }, work);
		most = MAX(most, d);
	}
	return most + 1;
}

/* Strategic merge patch: as a merge patch, but lists of the types that say so are merged by key.
 *
 *   $patch: replace|delete|merge          in a map, or in an element of a merged list
 *   $retainKeys: [k…]                     in a map: all other keys of the target go
 *   $setElementOrder/F: [id…]             beside list F: order of the result
 *   $deleteFromPrimitiveList/F: [v…]      beside list F of scalars
 *
 * The order of a merged list: what the patch (or $setElementOrder) names keeps the patch's order; the others keep the
 * target's; both are then interleaved by the places they had in the target, new elements as early as they can be. */
#include "doc/doc_internal.h"
#include <stdio.h>

struct sp {
	struct arena *a;
	const struct patch_shape *shape;
	struct err *e;
};

static const struct str order_prefix = { "$setElementOrder/", 17 };
static const struct str delete_prefix = { "$deleteFromPrimitiveList/", 25 };

static struct node *merge_map(struct sp *p, struct node *target, struct val patch, const void *type);

static bool has_prefix(struct str s, struct str prefix)
{
	return s.n > prefix.n && !memcmp(s.p, prefix.p, prefix.n);
}

static bool is_directive(struct str key)
{
	return str_is(key, "$patch") || str_is(key, "$retainKeys") || has_prefix(key, order_prefix) ||
		has_prefix(key, delete_prefix);
}

static const void *child_type(struct sp *p, const void *type, struct str key)
{
	const void *t = type ? p->shape->child(type, key) : NULL;

	return t || !type || !key.n ? t : p->shape->child(type, STR_NULL);
}

static int bad_patch_type(struct sp *p, struct val map)
{
	return err_set(p->e, ERR_BAD_REQUEST, "unknown patch type: %.*s in map: %.*s",
		STR_ARG(val_str(val_get(map, "$patch"))), STR_ARG(val_text(map)));
}

/* A part of the patch that meets nothing in the target: nulls and directives go. NULL: nothing is left of it. */
static struct node *clean(struct sp *p, struct val v)
{
	struct node *n, *child;

	if (val_kind(v) < VAL_LIST)
		return node_view(p->a, v);
	if (val_kind(v) == VAL_LIST) {
		n = node_list(p->a);
		for (struct val_iter it = val_iter(v); val_next(&it);) {
			child = clean(p, it.val);
			if (child)
				node_add(n, child);
		}
		return n;
	}
	if (val_has(val_get(v, "$patch")))
		return NULL;
	n = node_map(p->a);
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		if (val_kind(it.val) == VAL_NULL || is_directive(it.key))
			continue;
		child = clean(p, it.val);
		if (child)
			node_set(n, it.key, child);
	}
	return n;
}

/* ---- lists ----------------------------------------------------------------------------------- */

struct item {
	struct node *node; /* NULL: deleted */
	bool placed;
};

struct lists {
	struct sp *p;
	struct str key;   /* merge key; empty: scalars */
	const void *type; /* of an element */
	struct item *items;
	size_t n;
	struct node *where; /* map: id -> index in items, of the newest with that id */
	size_t server_n;    /* the first items are the target's, in its order */
	struct node *order; /* ids in the patch's order */
};

static int not_identical(struct lists *l)
{
	return err_set(l->p->e, ERR_BAD_REQUEST, "list element types are not identical, or are lists: cannot merge");
}

static int no_merge_key(struct lists *l, struct str map)
{
	return err_set(l->p->e, ERR_BAD_REQUEST, "map: %.*s does not contain declared merge key: %.*s", STR_ARG(map),
		STR_ARG(l->key));
}

static struct str text_of(struct arena *a, struct node *n)
{
	auto_buf struct buf b = BUF_INIT;

	if (n->view)
		return val_text(node_val(n));
	node_write(n, &b);
	return arena_str(a, buf_view(&b));
}

/* The JSON text of an element's merge key, or of the scalar itself. */
static int id_of_val(struct lists *l, struct val v, struct str *ret)
{
	struct val k = v;

	if ((val_kind(v) == VAL_MAP) != (l->key.n > 0) || val_kind(v) == VAL_LIST)
		return not_identical(l);
	if (l->key.n)
		k = val_get_str(v, l->key);
	if (!k.d || val_kind(k) >= VAL_LIST || val_text(k).n > DN_KEY_MAX)
		return no_merge_key(l, val_text(v));
	*ret = val_text(k);
	return 0;
}

static int id_of_node(struct lists *l, struct node *n, struct str *ret)
{
	struct node *k = n;

	if ((node_kind(n) == VAL_MAP) != (l->key.n > 0) || node_kind(n) == VAL_LIST)
		return not_identical(l);
	if (l->key.n)
		k = node_get(n, l->key);
	if (!k || node_kind(k) >= VAL_LIST)
		return no_merge_key(l, text_of(l->p->a, n));
	*ret = text_of(l->p->a, k);
	return ret->n > DN_KEY_MAX ? not_identical(l) : 0;
}

static int64_t index_of(struct lists *l, struct str id)
{
	return node_int_of(node_get(l->where, id), -1);
}

static struct item *item_of(struct lists *l, struct str id)
{
	int64_t i = index_of(l, id);

	return i >= 0 && l->items[i].node ? &l->items[i] : NULL;
}

static void put_item(struct lists *l, struct node *n, struct str id)
{
	if (!item_of(l, id))
		node_set(l->where, id, node_int(l->p->a, (int64_t)l->n));
	l->items[l->n++] = (struct item){ .node = n };
}

static int load_target(struct lists *l, struct node *target, size_t patch_len)
{
	size_t len = node_len(target);
	struct str id;

	l->items = ARENA_ARRAY(l->p->a, struct item, len + patch_len + 1);
	l->where = node_map(l->p->a);
	l->order = node_map(l->p->a);
	for (size_t i = 0; i < len; i++) {
		struct node *n = node_at(target, i);

		if (id_of_node(l, n, &id) < 0)
			return -ERR_BAD_REQUEST;
		put_item(l, n, id);
	}
	l->server_n = len;
	return 0;
}

/* Elements with $patch. *ret_replace: the list is replaced by the other elements of the patch. */
static int apply_special(struct lists *l, struct val patch, bool *ret_replace)
{
	struct str id;

	*ret_replace = false;
	for (struct val_iter it = val_iter(patch); val_next(&it);) {
		struct val how = val_get(it.val, "$patch");
		struct item *item;

		if (!how.d)
			continue;
		if (val_is(how, "replace")) {
			*ret_replace = true;
			continue;
		}
		if (val_is(how, "merge"))
			return err_set(l->p->e, ERR_BAD_REQUEST, "merging lists cannot yet be specified in the patch");
		if (!val_is(how, "delete"))
			return bad_patch_type(l->p, it.val);
		if (id_of_val(l, it.val, &id) < 0)
			return -ERR_BAD_REQUEST;
		item = item_of(l, id);
		if (item)
			item->node = NULL;
	}
	return 0;
}

static int apply_elements(struct lists *l, struct val patch)
{
	struct str id;

	for (struct val_iter it = val_iter(patch); val_next(&it);) {
		struct item *item;
		struct node *n;

		if (val_has(val_get(it.val, "$patch")))
			continue;
		if (id_of_val(l, it.val, &id) < 0)
			return -ERR_BAD_REQUEST;
		node_set(l->order, id, node_null(l->p->a));
		item = item_of(l, id);
		if (!item) {
			n = clean(l->p, it.val);
			put_item(l, n, id);
		} else if (l->key.n) {
			item->node = merge_map(l->p, item->node, it.val, l->type);
			if (!item->node)
				return -ERR_BAD_REQUEST;
		}
	}
	return 0;
}

/* $setElementOrder replaces the patch's order; the patch's own elements must be in it, in the same order. */
static int apply_order(struct lists *l, struct val order, struct val patch)
{
	struct node *all = node_map(l->p->a);
	size_t next = 0, len = node_len(l->order);
	struct str id;

	for (struct val_iter it = val_iter(order); val_next(&it);) {
		if (id_of_val(l, it.val, &id) < 0)
			return -ERR_BAD_REQUEST;
		node_set(all, id, node_null(l->p->a));
		if (next < len && str_eq(node_key_at(l->order, next), id))
			next++;
	}
	if (next < len)
		return err_set(l->p->e, ERR_BAD_REQUEST,
			"The order in patch list:\n%.*s\n doesn't match $setElementOrder list:\n%.*s\n",
			STR_ARG(val_text(patch)), STR_ARG(val_text(order)));
	l->order = all;
	return 0;
}

static struct node *interleave(struct lists *l)
{
	struct node *out = node_list(l->p->a);
	size_t len = node_len(l->order), left = 0;

	for (size_t i = 0; i < len; i++) {
		struct item *item = item_of(l, node_key_at(l->order, i));

		if (item)
			item->placed = true;
	}
	for (size_t i = 0; i < len; i++) {
		struct item *item = item_of(l, node_key_at(l->order, i));
		size_t at = item ? (size_t)(item - l->items) : 0;

		if (!item)
			continue;
		for (; at < l->server_n && left < at; left++)
			if (l->items[left].node && !l->items[left].placed)
				node_add(out, l->items[left].node);
		node_add(out, item->node);
	}
	for (; left < l->n; left++)
		if (l->items[left].node && !l->items[left].placed)
			node_add(out, l->items[left].node);
	return out;
}

/* Any of patch, del and order may be missing. NULL: failed. */
static struct node *merge_list(struct lists *l, struct node *target, struct val patch, struct val del, struct val order)
{
	struct str id;
	bool replace;

	if (load_target(l, target, val_len(patch)) < 0 || apply_special(l, patch, &replace) < 0)
		return NULL;
	if (replace)
		return clean(l->p, patch); /* leaves elements with $patch out */
	for (struct val_iter it = val_iter(del); val_next(&it);) {
		struct item *item;

		if (id_of_val(l, it.val, &id) < 0)
			return NULL;
		item = item_of(l, id);
		if (item)
			item->node = NULL;
	}
	if (apply_elements(l, patch) < 0)
		return NULL;
	if (order.d && apply_order(l, order, patch) < 0)
		return NULL;
	return interleave(l);
}

/* ---- maps ------------------------------------------------------------------------------------ */

static int retain_keys(struct sp *p, struct node *target, struct val patch, struct val keep)
{
	struct node *set = node_map(p->a);
	size_t len = node_len(target), gone_n = 0;
	struct str *gone = ARENA_ARRAY(p->a, struct str, len);

	if (val_kind(keep) != VAL_LIST)
		goto bad;
	for (struct val_iter it = val_iter(keep); val_next(&it);) {
		if (val_kind(it.val) != VAL_STR || val_str(it.val).n > DN_KEY_MAX)
			goto bad;
		node_set(set, val_str(it.val), node_null(p->a));
	}
	for (struct val_iter it = val_iter(patch); val_next(&it);)
		if (!is_directive(it.key) && val_kind(it.val) != VAL_NULL && !node_get(set, it.key))
			goto bad;
	for (size_t i = 0; i < len; i++)
		if (!node_get(set, node_key_at(target, i)))
			gone[gone_n++] = node_key_at(target, i);
	while (gone_n)
		node_del(target, gone[--gone_n]);
	return 0;
bad:
	return err_set(p->e, ERR_BAD_REQUEST, "invalid patch format of retainKeys");
}

static struct val sibling(struct sp *p, struct val patch, struct str prefix, struct str field)
{
	return val_get_str(patch, arena_strf(p->a, "%.*s%.*s", STR_ARG(prefix), STR_ARG(field)));
}

/* A list field that the patch names by itself or by a directive. */
static int merge_field_list(struct sp *p, struct node *target, struct val patch, struct str field, const void *type)
{
	struct val v = val_get_str(patch, field), del = sibling(p, patch, delete_prefix, field);
	struct val order = sibling(p, patch, order_prefix, field);
	struct node *old = node_get(target, field), *merged;
	struct lists l = { .p = p };

	if (node_kind(old) != VAL_LIST)
		return 0;
	l.key = p->shape->merge_key(type, field);
	l.type = child_type(p, child_type(p, type, field), STR_NULL);
	if (val_kind(del) != VAL_LIST)
		del = VAL_NONE;
	if (val_kind(order) != VAL_LIST)
		order = VAL_NONE;
	merged = merge_list(&l, old, v, del, order);
	if (!merged)
		return -ERR_BAD_REQUEST;
	node_set(target, field, merged);
	return 0;
}

/* $setElementOrder/F or $deleteFromPrimitiveList/F: done here unless the patch has F itself, and once for both. */
static int merge_directive(struct sp *p, struct node *target, struct val patch, struct str key, const void *type)
{
	bool order = has_prefix(key, order_prefix);
	size_t skip = order ? order_prefix.n : delete_prefix.n;
	struct str field = str_n(key.p + skip, key.n - skip);

	if (!type || !p->shape->is_merge(type, field) || val_has(val_get_str(patch, field)))
		return 0;
	if (order && val_has(sibling(p, patch, delete_prefix, field)))
		return 0;
	return merge_field_list(p, target, patch, field, type);
}

static int merge_field(
	struct sp *p, struct node *target, struct val patch, struct str key, struct val v, const void *type)
{
	struct node *old = node_get(target, key), *n;

	if (val_kind(v) == VAL_NULL) {
		node_del(target, key);
		return 0;
	}
	if (!old || node_kind(old) != val_kind(v) || val_kind(v) < VAL_LIST) {
		n = clean(p, v);
	} else if (val_kind(v) == VAL_MAP) {
		n = merge_map(p, old, v, child_type(p, type, key));
		if (!n)
			return -ERR_BAD_REQUEST;
	} else if (type && p->shape->is_merge(type, key)) {
		return merge_field_list(p, target, patch, key, type);
	} else {
		n = node_view(p->a, v);
	}
	if (n)
		node_set(target, key, n);
	return 0;
}

/* NULL: failed. Recursion is as deep as the patch, DOC_DEPTH_MAX. */
static struct node *merge_map(struct sp *p, struct node *target, struct val patch, const void *type)
{
	struct val how = val_get(patch, "$patch"), keep = val_get(patch, "$retainKeys");
	int r = 0;

	if (val_is(how, "delete") || val_is(how, "replace")) {
		target = node_map(p->a);
		if (val_is(how, "delete"))
			return target;
	} else if (how.d && !val_is(how, "merge")) {
		bad_patch_type(p, patch);
		return NULL;
	}
	if (keep.d && retain_keys(p, target, patch, keep) < 0)
		return NULL;
	for (struct val_iter it = val_iter(patch); r == 0 && val_next(&it);) {
		if (has_prefix(it.key, order_prefix) || has_prefix(it.key, delete_prefix))
			r = merge_directive(p, target, patch, it.key, type);
		else if (!is_directive(it.key))
			r = merge_field(p, target, patch, it.key, it.val, type);
	}
	return r < 0 ? NULL : target;
}

int patch_strategic(
	struct arena *a, struct node **target, struct val patch, const struct patch_shape *shape, struct err *e)
{
	struct sp p = { .a = a, .shape = shape, .e = e };
	struct node *n;

	if (val_kind(patch) != VAL_MAP || node_kind(*target) != VAL_MAP)
		return err_set(e, ERR_BAD_REQUEST, "a strategic merge patch and its target have to be objects");
	node_hold(a, patch.d);
	n = merge_map(&p, *target, patch, shape->type);
	if (!n)
		return -ERR_BAD_REQUEST;
	*target = n;
	return 0;
}

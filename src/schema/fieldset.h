/* Private: sets of field paths, as tries whose levels are sorted. A finished set is never changed: the operations make
 * new levels and share the untouched ones. */
#pragma once
#include "schema/schema_internal.h"

struct fs_elem {
	struct str text;       /* as in fieldsV1: f:spec  k:{"name":"web"}  v:"a"  i:0 */
	bool member;           /* the path that ends here is in the set */
	struct field_set *sub; /* longer paths, or NULL */
};
struct field_set {
	uint32_t n, cap;
	struct fs_elem *e;
};

static inline bool fs_empty(const struct field_set *s)
{
	return !s || !s->n;
}
static inline bool fs_elem_empty(const struct fs_elem *e)
{
	return !e->member && fs_empty(e->sub);
}
const struct fs_elem *fs_find(const struct field_set *s, struct str text);
/* Adds an element while a set is being built; an empty one is left out. s NULL: a new set. */
struct field_set *fs_put(struct arena *a, struct field_set *s, struct fs_elem e);

struct field_set *fs_union(struct arena *a, struct field_set *x, struct field_set *y);
struct field_set *fs_difference(struct arena *a, struct field_set *x, struct field_set *y);
struct field_set *fs_intersection(struct arena *a, struct field_set *x, struct field_set *y);
/* Without y's members and all that is below them. */
struct field_set *fs_without_trees(struct arena *a, struct field_set *x, struct field_set *y);
bool fs_equal(const struct field_set *x, const struct field_set *y);
/* One element as it stands in the paths of messages: .spec  [name="web"]  [="a"] */
void fs_print(struct buf *b, struct str text);
/* Calls each() with every member's path as conflicts print it: .spec.containers[name="web"].image */
void fs_each(const struct field_set *s, void (*each)(void *arg, const char *path), void *arg);

/* ---- walks over typed objects (typed.c) ------------------------------------------------------ */

struct fs_diff {
	struct field_set *added, *modified, *removed;
};
struct fs_diff typed_compare(struct arena *a, const struct schema_type *t, struct node *was, struct node *now);
/* Fields of `with` put over those of `base`, which is changed and returned. */
struct node *typed_merge(struct arena *a, const struct schema_type *t, struct node *base, struct node *with);
void typed_drop_nulls(struct arena *a, const struct schema_type *t, struct node *n);
void typed_remove(struct arena *a, const struct schema_type *t, struct node *n, const struct field_set *paths);
struct field_set *typed_fields(struct arena *a, const struct schema_type *t, struct node *n);
/* Named fields of objects on the way to a member become members. */
struct field_set *typed_ensure_named(struct arena *a, const struct schema_type *t, struct field_set *s);
/* Of lists, maps and objects that are one value by their type the parts become that value. */
struct field_set *typed_whole(struct arena *a, const struct schema_type *t, struct field_set *s);
/* Type of a map's entry; NULL: not declared. *ret_f: how it is merged, the field when it is an object's. */
const struct schema_type *typed_entry(const struct schema_type *t, struct str key, const struct schema_field **ret_f);
/* What a list element is called (k:, v:), and its value for one of the list's keys, or the key's default, or NULL. */
struct str typed_item(struct arena *a, const struct schema_type *t, const struct schema_field *f, struct node *item);
struct node *typed_key(struct arena *a, const struct schema_type *element, struct node *item, const char *key);
/* Why n cannot be applied, one path or more (misfits.c); NULL: it can. */
const char *typed_misfits(struct arena *a, const struct schema_type *t, struct node *n);

/* ---- what kubectl's client-side apply left (last_applied.c) ---------------------------------- */

/* The fields that it applied and that still are so; NULL: it did not apply this object in this version. */
struct field_set *last_applied_fields(struct arena *a, const struct managed_write *w, struct val live);
/* Where its annotation is, it now tells what the server side applied. Leaves it out when annotations grow too large. */
void last_applied_refresh(struct arena *a, struct val applied, struct node *object);

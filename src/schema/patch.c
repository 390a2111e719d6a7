/* What strategic merge patch asks of a type. */
#include "schema/schema_internal.h"

static const void *shape_child(const void *type, struct str key)
{
	const struct schema_type *t = type;
	const struct schema_field *f;

	if (!t)
		return NULL;
	if (t->kind == SCHEMA_LIST || t->kind == SCHEMA_MAP)
		return schema_is_leaf(t->element) ? NULL : t->element;
	f = schema_field(t, key);
	return f && !schema_is_leaf(f->type) ? f->type : NULL;
}

static struct str shape_merge_key(const void *type, struct str field)
{
	const struct schema_field *f = schema_field(type, field);

	return f && f->merge_key ? str_c(f->merge_key) : STR_NULL;
}

static bool shape_is_merge(const void *type, struct str field)
{
	const struct schema_field *f = schema_field(type, field);

	return f && f->patch_merge;
}

static bool shape_is_retain_keys(const void *type, struct str field)
{
	const struct schema_field *f = schema_field(type, field);

	return f && f->patch_retain_keys;
}

const struct patch_shape *schema_patch_shape(const struct schema_type *t)
{
	/* One shape serves all types: the caller's copy carries the root. */
	static _Thread_local struct patch_shape shape;

	shape = (struct patch_shape){ t, shape_child, shape_merge_key, shape_is_merge, shape_is_retain_keys };
	return &shape;
}

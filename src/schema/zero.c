/* The zero values of a Go struct, which is what every client takes an object for: a field that is marked omitempty is
 * left out when it is empty, and all others are always there. */
#include "schema/schema_internal.h"

bool zero_left_out(const struct schema_field *f, struct node *n)
{
	if (f->pointer || !f->omit_empty || !n)
		return !n;
	switch (f->type->kind) {
	case SCHEMA_LIST:
	case SCHEMA_MAP:
		return !node_len(n);
	case SCHEMA_STRING:
	case SCHEMA_BYTES:
		return node_kind(n) == VAL_STR && !node_text_str(n).n;
	case SCHEMA_BOOL:
		return !node_bool_of(n, true);
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
	case SCHEMA_DOUBLE:
		return node_float_of(n, 1) == 0;
	case SCHEMA_INT_OR_STRING: /* the number; "" is not it */
		return node_kind(n) == VAL_INT && !node_int_of(n, 0);
	default:
		return false;
	}
}

struct node *zero_always_there(struct arena *a, const struct schema_field *f)
{
	if (f->pointer)
		return NULL;
	if (f->type->kind == SCHEMA_OBJECT)
		return node_map(a);
	if (f->omit_empty)
		return NULL;
	switch (f->type->kind) {
	case SCHEMA_STRING:
		return node_c(a, "");
	case SCHEMA_BOOL:
		return node_bool(a, false);
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
	case SCHEMA_INT_OR_STRING:
		return node_int(a, 0);
	default:
		return NULL;
	}
}

/* What a walk does to each object on its way down; parts of `was` are left alone. */
typedef void object_fn(const struct schema_type *t, struct arena *a, struct node *n);
struct walk {
	struct arena *a;
	object_fn *each;
	const struct doc *was;
};

static bool is_alternative(const struct schema_type *t)
{
	return t->kind == SCHEMA_OR_BOOL || t->kind == SCHEMA_OR_LIST || t->kind == SCHEMA_OR_STRINGS;
}

static bool has_objects(const struct schema_type *t)
{
	return !schema_is_leaf(t) || is_alternative(t);
}

static void walk(const struct walk *w, const struct schema_type *t, struct node *n)
{
	bool one = t->kind == SCHEMA_OBJECT || (is_alternative(t) && node_kind(n) == VAL_MAP);

	if (t->custom || !has_objects(t) || node_is_of(n, w->was))
		return;
	if (!one) {
		for (size_t i = 0; has_objects(t->element) && i < node_len(n); i++)
			walk(w, t->element, node_at(n, i));
		return;
	}
	if (node_kind(n) != VAL_MAP)
		return;
	t = t->kind == SCHEMA_OBJECT ? t : t->element;
	w->each(t, w->a, n);
	for (size_t i = 0; i < node_len(n); i++) {
		const struct schema_field *f = schema_field(t, node_key_at(n, i));

		if (f && has_objects(f->type))
			walk(w, f->type, node_at(n, i));
	}
}

static void drop(const struct schema_type *t, struct arena *a, struct node *n)
{
	(void)a;
	for (size_t i = node_len(n); i-- > 0;) {
		const struct schema_field *f = schema_field(t, node_key_at(n, i));

		if (f && zero_left_out(f, node_at(n, i)))
			node_del(n, node_key_at(n, i));
	}
}

static void fill(const struct schema_type *t, struct arena *a, struct node *n)
{
	for (uint32_t i = 0; i < t->n_fields; i++) {
		const struct schema_field *f = &t->fields[i];
		struct node *zero;

		if (f->pointer || (f->omit_empty && f->type->kind != SCHEMA_OBJECT)) /* most: not even looked for */
			continue;
		if (!node_getc(n, f->name) && (zero = zero_always_there(a, f)))
			node_setc(n, f->name, zero);
	}
}

void schema_drop_zeros(const struct schema_type *t, struct arena *a, struct node *n, const struct doc *was)
{
	walk(&(struct walk){ a, drop, was }, t, n);
}

void schema_fill_zeros(const struct schema_type *t, struct arena *a, struct node *n, const struct doc *was)
{
	walk(&(struct walk){ a, fill, was }, t, n);
}

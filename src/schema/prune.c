/* Reading a custom object: fields that its schema does not name go away, and nulls where none may be, since clients
 * write them for what they leave out. All else stays as it is, but for the form of numbers. Whether the values are right is asked later, by its rules; only the metadata is read as
 * strictly as everywhere. */
#include "schema/schema_internal.h"

/* A null of a list stays: without it the others would stand elsewhere. */
static int prune_elements(struct decode *d, const struct schema_type *t, struct node *n, const struct place *at)
{
	bool map = t->kind == SCHEMA_MAP;

	for (size_t i = 0; i < node_len(n);) {
		struct place here = { at, map ? node_key_at(n, i) : STR_NULL, map ? -1 : (long)i, map };
		int r;

		if (map && !t->element->nullable && node_kind(node_at(n, i)) == VAL_NULL) {
			node_del(n, node_key_at(n, i));
			continue;
		}
		r = decode_typed(d, t->element, node_at(n, i), &here);
		if (r)
			return r;
		i++;
	}
	return 0;
}

/* Where there is a default, that takes its place later. metadata may be null, too. */
static bool stands_for_nothing(const struct schema_field *f, struct node *n)
{
	return node_kind(n) == VAL_NULL && !f->type->nullable && !f->fallback;
}

static int prune_object(struct decode *d, const struct schema_type *t, struct node *n, const struct place *at)
{
	for (size_t i = 0; i < node_len(n);) {
		struct str key = node_key_at(n, i);
		struct place here = { at, key, -1, false };
		const struct schema_field *f = schema_field(t, key);
		int r;

		if (!f && !t->keep_unknown) {
			decode_unknown(d, &here);
			node_del(n, key);
			continue;
		}
		if (f && stands_for_nothing(f, node_at(n, i))) {
			node_del(n, key);
			continue;
		}
		r = f ? decode_typed(d, f->type, node_at(n, i), &here) : 0;
		if (r)
			return r;
		i++;
	}
	return 0;
}

int decode_custom(struct decode *d, const struct schema_type *t, struct node *n, const struct place *at)
{
	enum val_kind k = node_kind(n);

	if (!at) /* in Go's form, since who reads 3.0 into an integer fails */
		node_shorten_numbers(n);
	if (k == VAL_MAP && t->kind == SCHEMA_OBJECT)
		return prune_object(d, t, n, at);
	if ((k == VAL_MAP && t->kind == SCHEMA_MAP) || (k == VAL_LIST && t->kind == SCHEMA_LIST))
		return prune_elements(d, t, n, at);
	if (!at) /* whatever the schema says, a stored object is a map */
		return err_set(d->e, ERR_BAD_REQUEST, "json: cannot unmarshal into an object");
	return 0;
}

/* Reading a custom object: fields that its schema does not name go away, and nulls where none may be, since clients
 * write them for what they leave out. All else stays as it is, but for the form of numbers. Whether the values are right is asked later, by its rules; only the metadata is read as
 * strictly as everywhere. */
#include "schema/schema_internal.h"

/* What server-side apply sends keeps them: merged, they are judged like all values. */
static bool keeps_nulls(const struct decode *d)
{
	return d->rep && d->rep->keep_nulls;
}

/* A null of a list stays: without it the others would stand elsewhere. */
static int prune_elements(struct decode *d, const struct schema_type *t, struct node *n, const struct place *at)
{
	bool map = t->kind == SCHEMA_MAP;

	for (size_t i = 0; i < node_len(n);) {
		struct place here = { at, map ? node_key_at(n, i) : STR_NULL, map ? -1 : (long)i, map };
		int r;

		if (map && !t->element->nullable && !t->element_fallback && !keeps_nulls(d) &&
			node_kind(node_at(n, i)) == VAL_NULL) {
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

/* Metadata of an embedded object is read as if it were alone; its fields are told with the way to it. */
struct embedded_metadata {
	struct decode *d;
	const struct place *at;
};

static void unknown_inside(void *arg, struct str field)
{
	const struct embedded_metadata *m = arg;
	struct place here = { m->at, field, -1, false };

	decode_unknown(m->d, &here);
}

/* What is wrong with it, or NULL. The form is Go's: empty fields go. */
static const char *read_metadata(struct decode *d, const struct schema_type *t, struct node *n, const struct place *at)
{
	struct embedded_metadata m = { d, at };
	struct schema_report rep = { d->rep ? unknown_inside : NULL, &m };

	if (node_kind(n) == VAL_NULL)
		node_assign(n, node_map(d->a));
	if (schema_decode(t, d->a, n, &rep, d->e))
		return d->e->message;
	schema_drop_zeros(t, d->a, n, NULL);
	return NULL;
}

/* apiVersion, kind or metadata of an object inside of another. An apply's are judged with all other values. *gone: it is
 * to be left out. */
static int read_embedded(
	struct decode *d, const struct schema_field *f, struct node *n, const struct place *at, bool *gone)
{
	bool word = f->type->kind == SCHEMA_STRING;
	struct node *was = word ? n : node_copy(d->a, n);
	auto_buf struct buf text = BUF_INIT;
	char path[PATH_MAX_TEXT];
	const char *wrong;

	if (keeps_nulls(d))
		return 0;
	if (word)
		wrong = node_kind(n) == VAL_STR ? NULL : "must be a string";
	else
		wrong = read_metadata(d, f->type, n, at);
	*gone = wrong && d->rep && d->rep->drop_wrong;
	if (!wrong || *gone)
		return 0;
	wrong = arena_cstr(d->a, str_c(wrong));
	if (node_kind(was) == VAL_NULL)
		buf_c(&text, "\"null\"");
	else
		node_write(was, &text);
	place_text(at, PLACE_VALIDATION, path, sizeof(path));
	return err_set(d->e, ERR_BAD_REQUEST, "%s: Invalid value: %.*s: %s", path, (int)MIN(text.n, (size_t)300),
		text.p, wrong);
}

static bool is_meta(struct str key)
{
	return str_is(key, "apiVersion") || str_is(key, "kind") || str_is(key, "metadata");
}

static int prune_object(struct decode *d, const struct schema_type *t, struct node *n, const struct place *at)
{
	for (size_t i = 0; i < node_len(n);) {
		struct str key = node_key_at(n, i);
		struct place here = { at, key, -1, false };
		const struct schema_field *f = schema_field(t, key);
		bool gone = false;
		int r;

		if (!f && !t->keep_unknown) {
			decode_unknown(d, &here);
			node_del(n, key);
			continue;
		}
		if (t->embedded && is_meta(key)) {
			if ((r = read_embedded(d, f, node_at(n, i), &here, &gone)))
				return r;
			if (gone)
				node_del(n, key);
			else
				i++;
			continue;
		}
		if (f && stands_for_nothing(f, node_at(n, i)) && (!keeps_nulls(d) || !f->type->custom)) {
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

/* Where the schema has no fields, be it that it says nothing or something else, objects lose all of theirs. */
static void strip(struct decode *d, struct node *n, const struct place *at)
{
	for (size_t i = 0; i < node_len(n);) {
		struct place item = { at, STR_NULL, (long)i, false };

		if (node_kind(n) == VAL_LIST) {
			strip(d, node_at(n, i), &item);
			i++;
		} else {
			struct place here = { at, node_key_at(n, i), -1, false };

			decode_unknown(d, &here);
			node_del(n, node_key_at(n, i));
		}
	}
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
	if (k >= VAL_LIST && !t->keep_unknown)
		strip(d, n, at);
	return 0;
}

/* Declared defaults, then the ones that are code. */
#include "schema/schema_internal.h"

struct node *schema_literal(struct arena *a, const char *json)
{
	struct doc *d;
	struct node *n;
	struct err e;

	switch (json[0]) { /* the common ones without a parser */
	case 't':
	case 'f':
		return node_bool(a, json[0] == 't');
	case '"':
		if (!strchr(json, '\\'))
			return node_str(a, str_n(json + 1, strlen(json) - 2));
		break;
	case '{':
		if (json[1] == '}')
			return node_map(a);
		break;
	default:
		if (json[0] != '[' && !strpbrk(json, ".eE"))
			return node_int(a, strtoll(json, NULL, 10));
	}
	err_init(&e);
	if (doc_parse(str_c(json), &d, &e))
		PANIC("default '%s' in a schema: %s", json, e.message);
	n = node_from(a, doc_root(d));
	doc_unref(d);
	return n;
}

static void fill(const struct schema_type *t, struct arena *a, struct node *n, const struct doc *was);

/* A part of its owner's value, which is there even where nobody wrote it: what it has by default, or NULL. */
static struct node *fill_missing(const struct schema_field *f, struct arena *a)
{
	struct node *n;

	if (f->pointer || f->type->kind != SCHEMA_OBJECT || f->type->custom)
		return NULL;
	n = node_map(a);
	fill(f->type, a, n, NULL);
	return node_len(n) ? n : NULL;
}

static void fill_element(const struct schema_type *t, struct arena *a, struct node *n, const struct doc *was)
{
	if (t->element_fallback && !t->element->nullable && node_kind(n) == VAL_NULL)
		node_assign(n, schema_literal(a, t->element_fallback));
	if (t->element->kind <= SCHEMA_MAP)
		fill(t->element, a, n, was);
}

static void fill(const struct schema_type *t, struct arena *a, struct node *n, const struct doc *was)
{
	if (node_is_of(n, was))
		return;
	if ((t->kind == SCHEMA_LIST && node_kind(n) == VAL_LIST) ||
		(t->kind == SCHEMA_MAP && node_kind(n) == VAL_MAP)) {
		if (t->element->kind > SCHEMA_MAP && !t->element_fallback)
			return;
		for (size_t i = 0; i < node_len(n); i++)
			fill_element(t, a, node_at(n, i), was);
		return;
	}
	if (t->kind != SCHEMA_OBJECT || node_kind(n) != VAL_MAP)
		return;
	for (uint32_t i = 0; i < t->n_fields; i++) {
		const struct schema_field *f = &t->fields[i];
		struct node *child;

		if (t->custom && !f->type->custom) /* metadata: the server's own */
			continue;
		if (!f->fallback && (f->pointer || f->type->kind != SCHEMA_OBJECT)) /* most: not even looked for */
			continue;
		child = node_getc(n, f->name);
		/* A value type cannot tell "" from not given, so neither does the default. */
		if (f->fallback &&
			(!child || (node_kind(child) == VAL_NULL && !f->type->nullable) ||
				(!f->pointer && node_kind(child) == VAL_STR && !node_text_str(child).n) ||
				(!f->pointer && node_kind(child) == VAL_INT && !node_int_of(child, 0)))) {
			node_setc(n, f->name, schema_literal(a, f->fallback));
		} else if (!child && (child = fill_missing(f, a))) {
			node_setc(n, f->name, child);
		}
	}
	for (size_t i = 0; i < node_len(n); i++) {
		const struct schema_field *f = schema_field(t, node_key_at(n, i));

		if (f && f->type->kind <= SCHEMA_MAP && (!t->custom || f->type->custom))
			fill(f->type, a, node_at(n, i), was);
	}
}

void schema_default(const struct schema_type *t, struct arena *a, struct node *n, const struct doc *was)
{
	fill(t, a, n, was);
	if (t->custom)
		return;
	schema_default_object(t, a, n);
	fill(t, a, n, was); /* what the code added has defaults of its own */
}

/* What schema files declare as rules: must, enum, min, max, fixed. */
#include "schema/rules.h"
#include <inttypes.h>
#include <stdio.h>

static void put_c(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s) + 1);
}

void check_fail(struct check *c, const char *reason, const char *path, const char *sentence)
{
	put_c(&c->causes, reason);
	put_c(&c->causes, path);
	put_c(&c->causes, sentence);
	buf_printf(&c->text, "%s%s: %s", c->n ? ", " : "", path, sentence);
	c->n++;
}

static void fail(struct check *c, const char *reason, const struct place *at, const char *sentence)
{
	char path[PATH_MAX_TEXT];

	place_text(at, PLACE_VALIDATION, path, sizeof(path));
	check_fail(c, reason, path, sentence);
}

static bool empty(const struct schema_field *f, struct val v)
{
	switch (val_kind(v)) {
	case VAL_MISSING:
	case VAL_NULL:
		return true;
	case VAL_STR:
		return !val_str(v).n;
	case VAL_LIST:
		return !val_len(v);
	case VAL_MAP: /* {} of a selector selects everything and is given */
		return f->type->kind == SCHEMA_MAP && !val_len(v);
	case VAL_INT:
		return !f->pointer && !val_int(v, 0);
	default:
		return false;
	}
}

static void fail_required(struct check *c, const struct schema_field *f, const struct place *at)
{
	auto_buf struct buf b = BUF_INIT;

	bool own = f->says && !f->create_only;

	buf_printf(&b, "Required value%s%s", own ? ": " : "", own ? f->says : "");
	buf_byte(&b, 0);
	fail(c, "FieldValueRequired", at, b.p);
}

static bool one_of(const char *const *values, struct str s)
{
	for (size_t i = 0; values[i]; i++)
		if (str_is(s, values[i]))
			return true;
	return false;
}

static void fail_unknown(struct check *c, const char *const *values, struct val v, const struct place *at)
{
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b, "Unsupported value: %.*s: supported values: ", STR_ARG(val_text(v)));
	for (size_t i = 0; values[i]; i++)
		buf_printf(&b, "%s\"%s\"", i ? ", " : "", values[i]);
	buf_byte(&b, 0);
	fail(c, "FieldValueNotSupported", at, b.p);
}

static void check_enum(struct check *c, const char *const *values, struct val v, const struct place *at)
{
	if (val_str(v).n && !one_of(values, val_str(v))) /* the field's own rule says whether it may be empty */
		fail_unknown(c, values, v, at);
}

/* An operator of a selector: a word that is none of the known is told in the field's own words, as is none. */
static void check_word(struct check *c, const struct schema_field *f, struct val v, const struct place *at)
{
	auto_buf struct buf b = BUF_INIT;

	if (one_of(f->type->enum_values, val_str(v)))
		return;
	buf_printf(&b, "Invalid value: %.*s: %s", STR_ARG(val_has(v) ? val_text(v) : STR("\"\"")), f->says);
	buf_byte(&b, 0);
	fail(c, "FieldValueInvalid", at, b.p);
}

static void check_limit(struct check *c, const struct schema_field *f, struct val v, const struct place *at)
{
	int64_t i = val_int(v, 0), lo = f->limit->min, hi = f->limit->max;
	auto_buf struct buf b = BUF_INIT;

	if ((i >= lo && i <= hi) || (val_has(v) && val_kind(v) != VAL_INT && val_kind(v) != VAL_FLOAT))
		return;
	buf_printf(&b, "Invalid value: %" PRId64 ": ", i);
	if (f->says)
		buf_c(&b, f->says);
	else if (lo != INT64_MIN && hi != INT64_MAX)
		buf_printf(&b, "must be between %" PRId64 " and %" PRId64 ", inclusive", lo, hi);
	else if (lo != INT64_MIN)
		buf_printf(&b, "must be greater than or equal to %" PRId64, lo);
	else
		buf_printf(&b, "must be less than or equal to %" PRId64, hi);
	buf_byte(&b, 0);
	fail(c, "FieldValueInvalid", at, b.p);
}

#define FIELDS_MOST 64 /* of a builtin type */

/* The values of an object by the positions of their fields, found in one walk over its keys. */
struct given {
	const struct doc *d;
	uint32_t at[FIELDS_MOST]; /* 0, the root of a document: not given */
};

static void given_find(struct given *g, const struct schema_type *t, struct val v)
{
	PRE(t->n_fields <= FIELDS_MOST);
	g->d = v.d;
	memset(g->at, 0, t->n_fields * sizeof(*g->at));
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		const struct schema_field *f = schema_field(t, it.key);

		if (f)
			g->at[f - t->fields] = it.val.at;
	}
}

static struct val given_at(const struct given *g, size_t i)
{
	return g->at[i] ? (struct val){ g->d, g->at[i] } : VAL_NONE;
}

static void check(struct check *c, const struct schema_type *t, struct val v, const struct place *at);

static void check_field(struct check *c, const struct schema_field *f, struct val v, const struct place *at)
{
	if (f->says && f->type->enum_values && !f->create_only) {
		check_word(c, f, v, at);
		return;
	}
	if (f->must && empty(f, v)) {
		fail_required(c, f, at);
		return;
	}
	if (!val_has(v))
		return;
	if (f->limit)
		check_limit(c, f, v, at);
	if (!schema_is_leaf(f->type) || f->type->enum_values)
		check(c, f->type, v, at);
}

/* In the order of the fields, in which upstream tells what is wrong. */
static void check_object(struct check *c, const struct schema_type *t, struct val v, const struct place *at)
{
	struct given g;

	given_find(&g, t, v);
	for (uint32_t i = 0; i < t->n_fields; i++) {
		const struct schema_field *f = &t->fields[i];

		if (!g.at[i] && !f->must && !f->limit && !(f->says && f->type->enum_values))
			continue;
		struct place here = { at, str_c(f->name), -1, false };
		check_field(c, f, given_at(&g, i), &here);
	}
}

/* What a custom kind's fields must be like its rules say: here only what is builtin among them, metadata. */
static void check_custom(struct check *c, const struct schema_type *t, struct val v, const struct place *at)
{
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		const struct schema_field *f = schema_field(t, it.key);
		struct place here = { at, it.key, -1, false };

		if (f)
			check_field(c, f, it.val, &here);
	}
}

static void check_elements(struct check *c, const struct schema_type *t, struct val v, const struct place *at)
{
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		bool map = t->kind == SCHEMA_MAP;
		struct place here = { at, it.key, map ? -1 : (long)it.i, map };

		if (t->element->enum_values && !map && !val_str(it.val).n)
			fail_unknown(c, t->element->enum_values, it.val, &here);
		else
			check(c, t->element, it.val, &here);
	}
}

static void check(struct check *c, const struct schema_type *t, struct val v, const struct place *at)
{
	bool elements = t->kind == SCHEMA_LIST || t->kind == SCHEMA_MAP;

	if (t->kind == SCHEMA_STRING && t->enum_values && val_kind(v) == VAL_STR)
		check_enum(c, t->enum_values, v, at);
	else if (elements && (!schema_is_leaf(t->element) || t->element->enum_values))
		check_elements(c, t, v, at);
	else if (t->kind == SCHEMA_OBJECT && val_kind(v) == VAL_MAP)
		(t->custom ? check_custom : check_object)(c, t, v, at);
}

static int finish(struct check *c)
{
	int r = 0;

	if (c->n)
		r = err_set(c->e, ERR_INVALID, c->n > 1 ? "[%.*s]" : "%.*s", STR_ARG(buf_view(&c->text)));
	for (size_t at = 0; at < c->causes.n;) {
		const char *p = c->causes.p + at;
		const char *path = p + strlen(p) + 1, *sentence = path + strlen(path) + 1;

		err_cause(c->e, p, path, "%s", sentence);
		at = (size_t)(sentence + strlen(sentence) + 1 - c->causes.p);
	}
	buf_fini(&c->text);
	buf_fini(&c->causes);
	return r;
}

int schema_validate_change(const struct schema_type *t, struct val v, struct val old, const char *path, struct err *e)
{
	struct check c = { .e = e, .text = BUF_INIT, .causes = BUF_INIT };
	struct place root = { NULL, str_c(path), -1, false };

	check(&c, t, v, path && path[0] ? &root : NULL);
	if (t->rules) {
		rules_check(&c, t->rules, v, old);
		rules_unique(&c, t->rules, v, old);
	}
	return finish(&c);
}

int schema_validate(const struct schema_type *t, struct val v, const char *path, struct err *e)
{
	return schema_validate_change(t, v, VAL_NONE, path, e);
}

/* ---- changes --------------------------------------------------------------------------------- */

/* What is not there, as upstream tells it: of a pointer in quotes. */
static struct str nothing(const struct schema_field *f)
{
	if (f->pointer || f->type->kind == SCHEMA_OBJECT)
		return STR("\"null\"");
	return f->type->kind == SCHEMA_STRING ? STR("\"\"") : STR("null");
}

static void check_fixed(
	struct check *c, const struct schema_type *t, struct val v, struct val old, const struct place *at)
{
	if (t->kind != SCHEMA_OBJECT || val_kind(v) != VAL_MAP || val_kind(old) != VAL_MAP)
		return;
	for (uint32_t i = 0; i < t->n_fields; i++) {
		const struct schema_field *f = &t->fields[i];
		struct place here = { at, str_c(f->name), -1, false };
		struct val now, was;

		if (!f->create_only && f->type->kind != SCHEMA_OBJECT)
			continue;
		if (at && !strcmp(f->name, "metadata")) /* of a template: it has no name that could stand for it */
			continue;
		now = val_get(v, f->name);
		was = val_get(old, f->name);
		if (!f->create_only) {
			check_fixed(c, f->type, now, was, &here);
		} else if (!val_equal(now, was)) {
			auto_buf struct buf b = BUF_INIT;

			if (f->says)
				buf_printf(&b, "Forbidden: %s", f->says);
			else
				buf_printf(&b, "Invalid value: %.*s: field is immutable",
					STR_ARG(str_sub(val_has(now) ? val_text(now) : nothing(f), 0, 512)));
			buf_byte(&b, 0);
			fail(c, f->says ? "FieldValueForbidden" : "FieldValueInvalid", &here, b.p);
		}
	}
}

int schema_validate_update(const struct schema_type *t, struct val v, struct val old, const char *path, struct err *e)
{
	struct check c = { .e = e, .text = BUF_INIT, .causes = BUF_INIT };
	struct place root = { NULL, str_c(path), -1, false };

	check_fixed(&c, t, v, old, path && path[0] ? &root : NULL);
	return finish(&c);
}

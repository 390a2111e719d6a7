/* Objects inside of custom objects: where they are. */
#include "schema/rules.h"

struct search {
	struct buf path;
	schema_embedded_fn *each;
	void *arg;
};

static void enter(struct search *s, const char *before, struct str name, const char *after)
{
	if (s->path.n || before[0] != '.')
		buf_c(&s->path, before);
	buf_str(&s->path, name);
	buf_c(&s->path, after);
}

static void visit(struct search *s, const struct schema_type *t, struct val v)
{
	bool list = t->kind == SCHEMA_LIST && val_kind(v) == VAL_LIST;
	size_t n = s->path.n;

	if (!t->has_embedded || (!list && val_kind(v) != VAL_MAP))
		return;
	if (t->embedded) {
		buf_byte(&s->path, 0);
		s->each(s->arg, v, s->path.p);
		s->path.n = n;
	}
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		const struct schema_field *f = t->kind == SCHEMA_OBJECT ? schema_field(t, it.key) : NULL;
		const struct schema_type *inner = f ? f->type : t->kind == SCHEMA_OBJECT ? NULL : t->element;

		if (!inner || !inner->has_embedded)
			continue;
		if (list)
			buf_printf(&s->path, "[%zu]", it.i);
		else if (f)
			enter(s, ".", it.key, "");
		else
			enter(s, "[", it.key, "]");
		visit(s, inner, it.val);
		s->path.n = n;
	}
}

void schema_each_embedded(
	const struct schema_type *t, struct val v, const char *path, schema_embedded_fn *each, void *arg)
{
	struct search s = { BUF_INIT, each, arg };

	if (!t->has_embedded)
		return;
	buf_c(&s.path, path);
	visit(&s, t, v);
	buf_fini(&s.path);
}

static void visit_defaults(struct search *s, const struct schema_type *t, struct val schema)
{
	struct val given = val_get(schema, "default");
	size_t n = s->path.n;

	if (!t || !t->has_embedded)
		return;
	if (val_has(given)) {
		buf_c(&s->path, ".default");
		visit(s, t, given);
		s->path.n = n;
	}
	for (struct val_iter it = val_iter(val_get(schema, "properties")); val_next(&it);) {
		const struct schema_field *f = schema_field(t, it.key);

		enter(s, ".properties[", it.key, "]");
		visit_defaults(s, f ? f->type : NULL, it.val);
		s->path.n = n;
	}
	for (int map = 0; map < 2; map++) {
		buf_c(&s->path, map ? ".additionalProperties" : ".items");
		visit_defaults(s, t->kind == (map ? SCHEMA_MAP : SCHEMA_LIST) ? t->element : NULL,
			val_get(schema, map ? "additionalProperties" : "items"));
		s->path.n = n;
	}
}

void schema_embedded_defaults(struct val json_schema, const char *path, schema_embedded_fn *each, void *arg)
{
	const struct schema_custom_opts o = { "example.com", "v1", "Any", "AnyList" };
	auto_(schema_custom_free) struct schema_custom *c = NULL;
	struct search s = { BUF_INIT, each, arg };
	struct err wrong;

	err_init(&wrong);
	if (schema_custom_new(json_schema, &o, &c, &wrong) < 0)
		return;
	buf_c(&s.path, path);
	visit_defaults(&s, schema_custom_type(c), json_schema);
	buf_fini(&s.path);
}

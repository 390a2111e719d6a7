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

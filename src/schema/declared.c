/* The defaults that a custom kind's schema declares: a value that it would refuse itself is none. */
#include "schema/rules.h"

struct walk {
	struct err *e;
	struct buf path;
	bool pruned;
	schema_embedded_fn *each;
	void *arg;
};

static size_t enter_property(struct walk *w, struct str name)
{
	size_t n = w->path.n;

	buf_c(&w->path, ".properties[");
	buf_str(&w->path, name);
	buf_byte(&w->path, ']');
	return n;
}

static const char *path_of(struct walk *w)
{
	buf_byte(&w->path, 0);
	w->path.n--;
	return w->path.p;
}

static bool is_meta(struct str key)
{
	return str_is(key, "metadata") || str_is(key, "apiVersion") || str_is(key, "kind");
}

/* An object of which nothing is said has no fields. */
static bool has_any(struct val v)
{
	for (struct val_iter it = val_iter(v); val_next(&it);)
		if (val_kind(v) == VAL_MAP || has_any(it.val))
			return true;
	return false;
}

static bool has_unknown(struct val schema, struct val v, bool whole, bool keep);

static bool is_unknown(struct val schema, struct str key, struct val v, bool keep)
{
	struct val named = val_get_str(val_get(schema, "properties"), key),
		   more = val_get(schema, "additionalProperties");

	if (val_has(named))
		return has_unknown(named, v, false, false);
	if (val_kind(more) == VAL_MAP)
		return has_unknown(more, v, false, false);
	return val_bool(more, false) ? has_any(v) : !keep;
}

/* Whether pruning takes something away from a value. whole: it is an object with metadata of its own; keep: it is an
 * element of a list that keeps what is unknown. */
static bool has_unknown(struct val schema, struct val v, bool whole, bool keep)
{
	struct val items = val_get(schema, "items");

	whole |= flag(schema, "x-kubernetes-embedded-resource");
	keep |= flag(schema, "x-kubernetes-preserve-unknown-fields");
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		bool unknown;

		if (val_kind(v) == VAL_MAP)
			unknown = !(whole && is_meta(it.key)) && is_unknown(schema, it.key, it.val, keep);
		else if (val_kind(items) == VAL_MAP)
			unknown = has_unknown(items, it.val, false, keep);
		else
			unknown = !keep && has_any(it.val);
		if (unknown)
			return true;
	}
	return false;
}

static void check_values(struct walk *w, const struct schema_rules *r, struct val d)
{
	struct check c = { .text = BUF_INIT, .causes = BUF_INIT };
	size_t n = w->path.n;

	rules_check(&c, r, d, VAL_NONE);
	for (size_t at = 0; at < c.causes.n;) {
		const char *reason = c.causes.p + at, *path = reason + strlen(reason) + 1,
			   *sentence = path + strlen(path) + 1;

		if (!strcmp(path, "<nil>")) /* of a combination: of all of it */
			path = "";
		if (path[0] && path[0] != '.')
			buf_byte(&w->path, '.');
		buf_c(&w->path, path);
		err_cause(w->e, reason, path_of(w), "%s", sentence);
		w->path.n = n;
		at = (size_t)(sentence + strlen(sentence) + 1 - c.causes.p);
	}
	buf_fini(&c.text);
	buf_fini(&c.causes);
}

/* t, r: the schema compiled; NULL: only fields that are unknown are looked for. meta: inside of metadata, of which the
 * schema need not say everything. */
static void check_one(
	struct walk *w, struct val v, const struct schema_type *t, const struct schema_rules *r, bool root, bool meta)
{
	struct val d = val_get(v, "default");
	size_t n = w->path.n, before;

	if (!val_has(d) || val_kind(d) == VAL_NULL)
		return;
	buf_c(&w->path, ".default");
	if (!meta && w->pruned && has_unknown(v, d, root, false))
		err_cause(w->e, "FieldValueInvalid", path_of(w), "Invalid value: %.*s: must not have unknown fields",
			STR_ARG(str_sub(val_text(d), 0, 300)));
	before = w->e->causes_len;
	if (t && !meta)
		schema_each_embedded(t, d, path_of(w), w->each, w->arg);
	if (r && w->e->causes_len == before)
		check_values(w, r, d);
	w->path.n = n;
}

/* Not into additionalProperties, as upstream: nothing fills in defaults there. */
static void check(
	struct walk *w, struct val v, const struct schema_type *t, const struct schema_rules *r, bool root, bool meta)
{
	bool whole = root || flag(v, "x-kubernetes-embedded-resource");
	struct val items = val_get(v, "items");
	size_t n = w->path.n;

	meta &= !whole;
	check_one(w, v, t, r, root, meta);
	for (struct val_iter it = val_iter(val_get(v, "properties")); val_next(&it);) {
		const struct schema_field *f = t && t->kind == SCHEMA_OBJECT ? schema_field(t, it.key) : NULL;

		enter_property(w, it.key);
		check(w, it.val, f ? f->type : NULL, r ? rules_field(r, it.key) : NULL, false,
			meta || (whole && is_meta(it.key)));
		w->path.n = n;
	}
	if (val_kind(items) == VAL_MAP) {
		buf_c(&w->path, ".items");
		check(w, items, t && t->kind == SCHEMA_LIST ? t->element : NULL, r ? r->items : NULL, false, meta);
		w->path.n = n;
	}
}

void schema_check_defaults(
	struct val json_schema, const char *path, bool pruned, schema_embedded_fn *each, void *arg, struct err *e)
{
	const struct schema_custom_opts o = { "example.com", "v1", "Any", "AnyList" };
	auto_(schema_custom_free) struct schema_custom *c = NULL;
	auto_(arena_free) struct arena *a = NULL;
	struct walk w = { e, BUF_INIT, pruned, each, arg };
	auto_(doc_unref) struct doc *shortened = NULL;
	struct node *n;
	const struct schema_type *t;
	struct err wrong;

	if (!str_has(val_text(json_schema), STR("\"default\":")))
		return;
	err_init(&wrong);
	a = arena_new();
	n = node_from(a, json_schema);
	node_shorten_numbers(n); /* told as Go writes them */
	shortened = node_publish(n);
	json_schema = doc_root(shortened);
	if (schema_custom_new(json_schema, &o, &c, &wrong) < 0) {
		err_cause(e, "FieldValueInvalid", path, "Invalid value: \"\": %s", wrong.message);
		return;
	}
	t = schema_custom_type(c);
	buf_c(&w.path, path);
	check(&w, json_schema, t, t->rules, true, false);
	buf_fini(&w.path);
}

bool schema_defaults_unknown(struct val json_schema)
{
	struct err e;
	struct walk w = { &e, BUF_INIT, true, NULL, NULL };

	err_init(&e);
	check(&w, json_schema, NULL, NULL, true, false);
	buf_fini(&w.path);
	return e.causes_len;
}

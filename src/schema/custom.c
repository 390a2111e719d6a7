/* The compiler of custom kinds: JSONSchemaProps → types and rules.
 *
 *     properties          → SCHEMA_OBJECT, a field each; metadata is the server's own ObjectMeta
 *     additionalProperties → SCHEMA_MAP           items → SCHEMA_LIST with its merge keys
 *     int-or-string, preserve-unknown-fields without type → SCHEMA_INT_OR_STRING, SCHEMA_JSON
 *
 * Depth is that of the JSON document, so recursion is bounded by DOC_DEPTH_MAX. */
#include "schema/rules.h"
#include <stdio.h>

#define META "io.k8s.apimachinery.pkg.apis.meta.v1."

struct schema_custom {
	struct arena *a;
	struct schema_type *type, *list;
	struct pattern **patterns; /* own */
	size_t n_patterns, cap_patterns;
};
struct compile {
	struct schema_custom *c;
	struct arena *a;
	struct err *e; /* the first error stays */
};

#define LEAF(k)                          \
	{                                \
		.kind = (k), .custom = 1 \
	}
static const struct schema_type leaf_string = LEAF(SCHEMA_STRING), leaf_bool = LEAF(SCHEMA_BOOL),
				leaf_int = LEAF(SCHEMA_INT64), leaf_number = LEAF(SCHEMA_DOUBLE),
				leaf_either = LEAF(SCHEMA_INT_OR_STRING), leaf_any = LEAF(SCHEMA_JSON),
				leaf_all = { .kind = SCHEMA_JSON, .custom = 1, .keep_unknown = 1 };
static const struct schema_type null_string = { .kind = SCHEMA_STRING, .custom = 1, .nullable = 1 },
				null_bool = { .kind = SCHEMA_BOOL, .custom = 1, .nullable = 1 },
				null_int = { .kind = SCHEMA_INT64, .custom = 1, .nullable = 1 },
				null_number = { .kind = SCHEMA_DOUBLE, .custom = 1, .nullable = 1 },
				null_either = { .kind = SCHEMA_INT_OR_STRING, .custom = 1, .nullable = 1 },
				null_any = { .kind = SCHEMA_JSON, .custom = 1, .nullable = 1 },
				null_all = { .kind = SCHEMA_JSON, .custom = 1, .nullable = 1, .keep_unknown = 1 };

static const char *text_of(struct compile *k, struct val v)
{
	return arena_cstr(k->a, val_str(v));
}

static const char *const *texts_of(struct compile *k, struct val list)
{
	size_t n = val_len(list);
	const char **out = ARENA_ARRAY(k->a, const char *, n + 1);

	for (size_t i = 0; i < n; i++)
		out[i] = text_of(k, val_at(list, i));
	return n ? out : NULL;
}

static uint8_t list_kind(struct val v)
{
	struct val t = val_get(v, "x-kubernetes-list-type");

	if (val_is(t, "map") && val_len(val_get(v, "x-kubernetes-list-map-keys")))
		return SCHEMA_LIST_MAP;
	return val_is(t, "set") ? SCHEMA_LIST_SET : SCHEMA_LIST_ATOMIC;
}

/* ---- types ----------------------------------------------------------------------------------- */

static const struct schema_type *type_of(struct compile *k, struct val v, bool root);

static const struct schema_type *leaf_of(struct val v)
{
	struct str type = val_str(val_get(v, "type"));
	bool null = flag(v, "nullable");

	if (flag(v, "x-kubernetes-int-or-string"))
		return null ? &null_either : &leaf_either;
	if (str_is(type, "string"))
		return null ? &null_string : &leaf_string;
	if (str_is(type, "boolean"))
		return null ? &null_bool : &leaf_bool;
	if (str_is(type, "integer"))
		return null ? &null_int : &leaf_int;
	if (str_is(type, "number"))
		return null ? &null_number : &leaf_number;
	if (flag(v, "x-kubernetes-preserve-unknown-fields"))
		return null ? &null_all : &leaf_all;
	return null ? &null_any : &leaf_any;
}

static const char *fallback_of(struct compile *k, struct val v)
{
	struct val fallback = val_get(v, "default");
	auto_buf struct buf text = BUF_INIT;
	struct node *n;

	if (!val_has(fallback) || val_kind(fallback) == VAL_NULL)
		return NULL;
	n = node_from(k->a, fallback);
	node_shorten_numbers(n); /* objects get it as Go would write it */
	node_write(n, &text);
	return arena_cstr(k->a, buf_view(&text));
}

static void field_of(
	struct compile *k, struct schema_field *f, struct str name, struct val v, const struct schema_type *t)
{
	f->name = arena_cstr(k->a, name);
	f->type = t;
	f->pointer = f->omit_empty = 1;
	f->list = t->kind == SCHEMA_LIST ? list_kind(v) : SCHEMA_LIST_ATOMIC;
	if (f->list == SCHEMA_LIST_MAP)
		f->list_keys = texts_of(k, val_get(v, "x-kubernetes-list-map-keys"));
	f->map_atomic = val_is(val_get(v, "x-kubernetes-map-type"), "atomic");
	f->fallback = fallback_of(k, v);
}

static int field_cmp(const void *x, const void *y)
{
	return strcmp(((const struct schema_field *)x)->name, ((const struct schema_field *)y)->name);
}

static void index_fields(struct compile *k, struct schema_type *t, struct schema_field *fields, size_t n)
{
	uint16_t *order = ARENA_ARRAY(k->a, uint16_t, n + 1);

	qsort(fields, n, sizeof(*fields), field_cmp);
	for (size_t i = 0; i < n; i++)
		order[i] = (uint16_t)i;
	t->fields = fields;
	t->by_name = order;
	t->n_fields = (uint16_t)n;
}

static bool is_meta(struct str name)
{
	return str_is(name, "apiVersion") || str_is(name, "kind") || str_is(name, "metadata");
}

static void meta_fields(struct compile *k, struct schema_field *f)
{
	field_of(k, &f[0], STR("apiVersion"), VAL_NONE, &leaf_string);
	field_of(k, &f[1], STR("kind"), VAL_NONE, &leaf_string);
	field_of(k, &f[2], STR("metadata"), VAL_NONE, schema_builtin_by_name(META "ObjectMeta"));
}

static void object_fields(struct compile *k, struct schema_type *t, struct val v, bool whole)
{
	struct val properties = val_get(v, "properties");
	struct schema_field *f = ARENA_ARRAY(k->a, struct schema_field, val_len(properties) + (whole ? 3 : 1));
	size_t n = 0;

	if (val_len(properties) > 60000) {
		err_set(k->e, ERR_INVALID, "a schema has more than 60000 properties side by side");
		return;
	}
	if (whole) {
		meta_fields(k, f);
		n = 3;
	}
	for (struct val_iter it = val_iter(properties); val_next(&it);) {
		if (whole && is_meta(it.key))
			continue;
		field_of(k, &f[n], it.key, it.val, type_of(k, it.val, false));
		t->has_embedded |= f[n].type->has_embedded;
		n++;
	}
	index_fields(k, t, f, n);
}

/* The elements of a list or map, which v describes. Where nothing is said of them, objects have no fields. */
static void set_element(struct compile *k, struct schema_type *t, struct val v)
{
	struct schema_field *f;

	t->element = val_kind(v) == VAL_MAP ? type_of(k, v, false) : &null_any;
	t->element_fallback = fallback_of(k, v);
	t->has_embedded |= t->element->has_embedded;
	if (t->element->kind != SCHEMA_LIST && t->element->kind != SCHEMA_MAP)
		return;
	f = ARENA_NEW(k->a, struct schema_field);
	field_of(k, f, STR(""), v, t->element);
	t->element_field = f;
}

static const struct schema_type *type_of(struct compile *k, struct val v, bool root)
{
	struct val more = val_get(v, "additionalProperties"), items = val_get(v, "items");
	struct str type = val_str(val_get(v, "type"));
	bool keep = flag(v, "x-kubernetes-preserve-unknown-fields"),
	     embedded = flag(v, "x-kubernetes-embedded-resource");
	bool object = str_is(type, "object") || embedded || root || val_len(val_get(v, "properties"));
	struct schema_type *t;

	if (!object && !str_is(type, "array"))
		return leaf_of(v);
	t = ARENA_NEW(k->a, struct schema_type);
	t->custom = 1;
	t->nullable = flag(v, "nullable");
	t->keep_unknown = keep;
	t->embedded = t->has_embedded = embedded;
	t->struct_atomic = val_is(val_get(v, "x-kubernetes-map-type"), "atomic");
	if (!object) {
		t->kind = SCHEMA_LIST;
		set_element(k, t, items);
	} else if (!root && !embedded && !val_len(val_get(v, "properties")) &&
		(val_kind(more) == VAL_MAP || val_bool(more, false))) {
		t->kind = SCHEMA_MAP;
		set_element(k, t, more);
	} else {
		t->kind = SCHEMA_OBJECT;
		object_fields(k, t, v, root || embedded);
	}
	return t;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static const struct schema_rules *rules_of(struct compile *k, struct val v, bool root);

static struct rule_number number_of(struct compile *k, struct val v, const char *key, const char *exclusive)
{
	struct val n = val_get(v, key);
	auto_buf struct buf text = BUF_INIT;
	struct rule_number r = { 0 };

	if (!val_has(n) || val_kind(n) == VAL_NULL)
		return r;
	r.value = val_float(n, (double)val_int(n, 0));
	node_write(node_float(k->a, r.value), &text);
	r.text = arena_cstr(k->a, buf_view(&text));
	r.exclusive = exclusive && flag(v, exclusive);
	r.given = true;
	return r;
}

static void keep_pattern(struct compile *k, struct rule_limits *l, struct val v)
{
	struct schema_custom *c = k->c;
	struct err e;

	if (!val_str(v).n)
		return;
	err_init(&e);
	l->pattern = text_of(k, v);
	if (pattern_new(val_str(v), &l->compiled, &e) < 0) {
		if (!k->e->code)
			err_copy(k->e, &e);
		return;
	}
	GROW(c->patterns, c->n_patterns, c->cap_patterns, 8);
	c->patterns[c->n_patterns++] = l->compiled;
}

static const struct rule_limits *limits_of(struct compile *k, struct val v)
{
	struct val enums = val_get(v, "enum");
	struct rule_limits *l = ARENA_NEW(k->a, struct rule_limits);

	l->min = number_of(k, v, "minimum", "exclusiveMinimum");
	l->max = number_of(k, v, "maximum", "exclusiveMaximum");
	l->multiple = number_of(k, v, "multipleOf", NULL);
	l->min_length = val_int(val_get(v, "minLength"), -1);
	l->max_length = val_int(val_get(v, "maxLength"), -1);
	l->min_items = val_int(val_get(v, "minItems"), -1);
	l->max_items = val_int(val_get(v, "maxItems"), -1);
	l->min_fields = val_int(val_get(v, "minProperties"), -1);
	l->max_fields = val_int(val_get(v, "maxProperties"), -1);
	keep_pattern(k, l, val_get(v, "pattern"));
	l->enums = ARENA_ARRAY(k->a, struct str, val_len(enums) + 1);
	for (struct val_iter it = val_iter(enums); val_next(&it);)
		l->enums[l->n_enums++] = arena_str(k->a, val_text(it.val));
	return l;
}

static struct rules_list list_of(struct compile *k, struct val list)
{
	struct rules_list l = { ARENA_ARRAY(k->a, const struct schema_rules *, val_len(list) + 1), 0 };

	for (struct val_iter it = val_iter(list); val_next(&it);)
		l.of[l.n++] = rules_of(k, it.val, false);
	return l;
}

static const struct rule_combos *combos_of(struct compile *k, struct val v)
{
	struct val all = val_get(v, "allOf"), any = val_get(v, "anyOf"), one = val_get(v, "oneOf"),
		   not = val_get(v, "not");
	struct rule_combos *c = ARENA_NEW(k->a, struct rule_combos);

	c->all = list_of(k, all);
	c->any = list_of(k, any);
	c->one = list_of(k, one);
	c->not = val_has(not ) ? rules_of(k, not, false) : NULL;
	return c;
}

static uint8_t types_of(struct val v)
{
	static const struct {
		const char *word;
		uint8_t type;
	} words[] = { { "string", RULE_STRING }, { "integer", RULE_INTEGER }, { "number", RULE_NUMBER },
		{ "boolean", RULE_BOOLEAN }, { "object", RULE_OBJECT }, { "array", RULE_ARRAY } };

	struct val type = val_get(v, "type");

	if (flag(v, "x-kubernetes-int-or-string"))
		return RULE_INTEGER | RULE_STRING;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (val_is(type, words[i].word))
			return words[i].type;
	return 0;
}

/* Of a metadata schema only name and generateName say anything. */
static int rule_cmp(const void *x, const void *y)
{
	return str_cmp(((const struct rule_field *)x)->name, ((const struct rule_field *)y)->name);
}

static void rule_fields(struct compile *k, struct schema_rules *r, struct val properties)
{
	size_t n = val_len(properties);
	struct rule_field *f;

	if (!n || n > 60000)
		return;
	f = ARENA_ARRAY(k->a, struct rule_field, n);
	for (struct val_iter it = val_iter(properties); val_next(&it);) {
		f[it.i] = (struct rule_field){ arena_str(k->a, it.key), rules_of(k, it.val, false) };
		r->has_unique |= f[it.i].rules->has_unique;
	}
	qsort(f, n, sizeof(*f), rule_cmp);
	r->fields = f;
	r->n_fields = (uint16_t)n;
}

static void inner_rules(struct compile *k, struct schema_rules *r, struct val v)
{
	struct val more = val_get(v, "additionalProperties"), items = val_get(v, "items");

	rule_fields(k, r, val_get(v, "properties"));
	r->additional = val_kind(more) == VAL_MAP ? rules_of(k, more, false) : NULL;
	r->items = val_kind(items) == VAL_MAP ? rules_of(k, items, false) : NULL;
	r->has_unique |= (r->additional && r->additional->has_unique) || (r->items && r->items->has_unique);
}

/* Most fields of most kinds say nothing but their type. */
static const struct schema_rules *shared(const struct schema_rules *r)
{
	static const struct schema_rules plain[] = { { .types = 0 }, { .types = RULE_STRING },
		{ .types = RULE_INTEGER }, { .types = RULE_NUMBER }, { .types = RULE_BOOLEAN },
		{ .types = RULE_OBJECT }, { .types = RULE_ARRAY }, { .types = RULE_INTEGER | RULE_STRING } };

	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		if (!memcmp(&plain[i], r, sizeof(*r)))
			return &plain[i];
	return NULL;
}

static const struct schema_rules *rules_of(struct compile *k, struct val v, bool root)
{
	const struct schema_rules *same;
	struct schema_rules r, *out;
	unsigned words = schema_words(v);

	memset(&r, 0, sizeof(r)); /* compared byte by byte */
	r.types = root ? RULE_OBJECT : types_of(v);
	r.nullable = flag(v, "nullable");
	r.format = format_find(val_str(val_get(v, "format")), r.types);
	r.required = texts_of(k, val_get(v, "required"));
	if (words & WORDS_INNER)
		inner_rules(k, &r, v);
	r.list = words & WORDS_LIST ? list_kind(v) : SCHEMA_LIST_ATOMIC;
	r.list_keys = r.list == SCHEMA_LIST_MAP ? texts_of(k, val_get(v, "x-kubernetes-list-map-keys")) : NULL;
	r.has_unique |= r.list != SCHEMA_LIST_ATOMIC;
	r.limits = words & WORDS_LIMIT ? limits_of(k, v) : NULL;
	r.combos = words & WORDS_COMBINATION ? combos_of(k, v) : NULL;
	same = shared(&r);
	if (same)
		return same;
	out = arena_alloc(k->a, sizeof(*out));
	*out = r;
	return out;
}

/* ---- the kind -------------------------------------------------------------------------------- */

/* com.example.stable.v1.CronTab */
static const char *model_name(struct arena *a, const struct schema_custom_opts *o, const char *kind)
{
	auto_buf struct buf b = BUF_INIT;
	struct str group = str_c(o->group);

	while (group.n) {
		const char *dot = memrchr(group.p, '.', group.n);
		size_t from = dot ? (size_t)(dot - group.p) + 1 : 0;

		buf_str(&b, str_n(group.p + from, group.n - from));
		buf_byte(&b, '.');
		group.n = from ? from - 1 : 0;
	}
	buf_printf(&b, "%s.%s", o->version, kind);
	return arena_cstr(a, buf_view(&b));
}

static void make_list(struct compile *k, const struct schema_custom_opts *o)
{
	struct schema_type *t = ARENA_NEW(k->a, struct schema_type), *items = ARENA_NEW(k->a, struct schema_type);
	struct schema_field *f = ARENA_ARRAY(k->a, struct schema_field, 4);

	items->kind = SCHEMA_LIST;
	items->element = k->c->type;
	meta_fields(k, f);
	f[2].type = schema_builtin_by_name(META "ListMeta");
	field_of(k, &f[3], STR("items"), VAL_NONE, items);
	f[3].required = 1;
	t->kind = SCHEMA_OBJECT;
	t->name = model_name(k->a, o, o->list_kind);
	t->is_kind = 1;
	index_fields(k, t, f, 4);
	k->c->list = t;
}

int schema_custom_new(
	struct val json_schema, const struct schema_custom_opts *o, struct schema_custom **ret, struct err *e)
{
	struct schema_custom *c = xcalloc(1, sizeof(*c));
	struct compile k = { c, arena_new(), e };

	c->a = k.a;
	e->code = 0;
	c->type = (struct schema_type *)(uintptr_t)type_of(&k, json_schema, true);
	c->type->name = model_name(c->a, o, o->kind);
	c->type->is_kind = 1;
	c->type->keep_unknown |= !val_has(json_schema);
	c->type->rules = rules_of(&k, json_schema, true);
	make_list(&k, o);
	if (e->code) {
		schema_custom_free(c);
		return -e->code;
	}
	*ret = c;
	return 0;
}

struct schema_custom *schema_custom_free(struct schema_custom *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->n_patterns; i++)
		pattern_free(c->patterns[i]);
	free(c->patterns);
	arena_free(c->a);
	free(c);
	return NULL;
}

const struct schema_type *schema_custom_type(const struct schema_custom *c)
{
	return c->type;
}

const struct schema_type *schema_custom_list_type(const struct schema_custom *c)
{
	return c->list;
}

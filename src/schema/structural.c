/* What the schema of a CustomResourceDefinition must not say: the rules of structural schemas, in upstream's words. */
#include "schema/rules.h"
#include <stdio.h>

enum level { LEVEL_ROOT, LEVEL_ITEM, LEVEL_FIELD };

struct walk {
	struct err *e;
	struct buf path;
	bool unreadable; /* it says what no structural schema has words for: nothing more is asked of it */
};

static bool given(struct val v, const char *key)
{
	struct val f = val_get(v, key);

	return val_kind(f) == VAL_STR ? val_str(f).n > 0 : val_kind(f) == VAL_BOOL ? val_bool(f, false) : val_has(f);
}

/* The path is wanted only when something is wrong, and made for each schema: so without a format. Returns where it was. */
static size_t enter(struct walk *w, const char *word)
{
	size_t n = w->path.n;

	buf_c(&w->path, word);
	return n;
}

static size_t enter_property(struct walk *w, struct str name)
{
	size_t n = enter(w, ".properties[");

	buf_str(&w->path, name);
	buf_byte(&w->path, ']');
	return n;
}

static void cause(struct walk *w, const char *reason, const char *child, const char *sentence)
{
	size_t n = w->path.n;

	buf_c(&w->path, child);
	buf_byte(&w->path, 0);
	err_cause(w->e, reason, w->path.p ? w->path.p : "", "%s", sentence);
	w->path.n = n;
}

static void required(struct walk *w, const char *child, const char *why)
{
	char text[200];

	snprintf(text, sizeof(text), "Required value: %s", why);
	cause(w, "FieldValueRequired", child, text);
}

static void forbidden(struct walk *w, const char *child, const char *why)
{
	char text[200];

	snprintf(text, sizeof(text), "Forbidden: %s", why);
	cause(w, "FieldValueForbidden", child, text);
}

static void invalid(struct walk *w, const char *child, struct val v, const char *why)
{
	struct str t = val_has(v) ? val_text(v) : STR("\"\"");
	char text[700];

	snprintf(text, sizeof(text), "Invalid value: %.*s: %s", (int)MIN(t.n, (size_t)300), t.p, why);
	cause(w, "FieldValueInvalid", child, text);
}

static void type_must_be(struct walk *w, struct val v, const char *want, const char *why)
{
	struct val t = val_get(v, "type");

	if (val_is(t, want))
		return;
	if (val_str(t).n)
		invalid(w, ".type", t, why);
	else
		required(w, ".type", why);
}

static void unsupported(struct walk *w, const char *child, struct val v, const char *known)
{
	char text[300];

	snprintf(text, sizeof(text), "Unsupported value: %.*s: supported values: %s",
		STR_ARG(str_sub(val_text(v), 0, 100)), known);
	cause(w, "FieldValueNotSupported", child, text);
}

/* ---- what no schema may say, structural or not ----------------------------------------------- */

static void check_words(struct walk *w, struct val v, unsigned words)
{
	static const char *const banned[] = { "id", "definitions", "dependencies", "patternProperties",
		"additionalItems", "$ref" };
	static const char *const types[] = { "string", "number", "integer", "boolean", "array", "object" };
	struct val type = val_get(v, "type"),
		   more = words & WORDS_INNER ? val_get(v, "additionalProperties") : VAL_NONE,
		   keep = words & WORDS_EXTENSION ? val_get(v, "x-kubernetes-preserve-unknown-fields") : VAL_NONE;
	bool known = !val_str(type).n;
	char child[64], text[80];

	for (size_t i = 0; words & WORDS_BANNED && i < ARRAY_LEN(banned); i++) {
		if (!given(v, banned[i]))
			continue;
		snprintf(child, sizeof(child), ".%s", banned[i]);
		snprintf(text, sizeof(text), "%s is not supported", banned[i]);
		forbidden(w, child, text);
		w->unreadable = true;
	}
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		known |= val_is(type, types[i]);
	if (val_is(type, "null"))
		forbidden(w, ".type", "type cannot be set to null, use nullable as an alternative");
	if (!known)
		unsupported(
			w, ".type", type, "\"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"");
	if (words & WORDS_BANNED && flag(v, "uniqueItems"))
		forbidden(w, ".uniqueItems",
			"uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
	if (val_has(more) && val_len(val_get(v, "properties")) &&
		(val_kind(more) == VAL_MAP || (val_has(more) && !val_bool(more, true))))
		forbidden(w, ".additionalProperties", "additionalProperties and properties are mutual exclusive");
	if (val_has(keep) && !val_bool(keep, true)) {
		invalid(w, ".x-kubernetes-preserve-unknown-fields", keep, "must be true or undefined");
		w->unreadable = true;
	}
	if (words & WORDS_INNER && val_kind(val_get(v, "items")) == VAL_LIST) {
		forbidden(w, ".items", "items must be a schema object and not an array");
		w->unreadable = true;
	}
}

/* ---- lists and maps -------------------------------------------------------------------------- */

static bool among(struct val list, struct str s)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (str_eq(val_str(it.val), s))
			return true;
	return false;
}

/* An element is found by its keys, so each has to be there. */
static void check_key(struct walk *w, struct val items, struct str key)
{
	struct val p = val_get_str(val_get(items, "properties"), key);
	size_t n = enter(w, ".items");

	enter_property(w, key);
	if (val_has(p) && !val_has(val_get(p, "default")) && !among(val_get(items, "required"), key))
		required(w, ".default",
			"this property is in x-kubernetes-list-map-keys, so it must have a default or be a required "
			"property");
	if (flag(p, "nullable"))
		forbidden(w, ".nullable", "this property is in x-kubernetes-list-map-keys, so it cannot be nullable");
	w->path.n = n;
}

static void check_key_type(struct walk *w, struct val items, struct val keys, struct str key)
{
	struct val p = val_get_str(val_get(items, "properties"), key), type = val_get(p, "type");
	size_t n = w->path.n;

	if (!val_has(p))
		invalid(w, ".x-kubernetes-list-map-keys", keys, "entries must all be names of item properties");
	if (!val_is(type, "array") && !val_is(type, "object"))
		return;
	enter(w, ".items");
	enter_property(w, key);
	invalid(w, ".type", val_get(items, "type"),
		"must be a scalar type if parent array's x-kubernetes-list-type is map");
	w->path.n = n;
}

static bool stands_before(struct val list, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (val_equal(val_at(list, k), val_at(list, i)))
			return true;
	return false;
}

static void check_list_map(struct walk *w, struct val v)
{
	struct val keys = val_get(v, "x-kubernetes-list-map-keys"), items = val_get(v, "items");

	if (!val_len(keys))
		required(w, ".x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map");
	if (!val_has(items))
		required(w, ".items", "must have a schema if x-kubernetes-list-type is map");
	else if (val_kind(items) == VAL_LIST)
		invalid(w, ".items", items, "must only have a single schema if x-kubernetes-list-type is map");
	else if (!val_is(val_get(items, "type"), "object"))
		invalid(w, ".items.type", val_get(items, "type"),
			"must be object if parent array's x-kubernetes-list-type is map");
	else
		for (struct val_iter it = val_iter(keys); val_next(&it);) {
			check_key_type(w, items, keys, val_str(it.val));
			if (stands_before(keys, it.i))
				invalid(w, ".x-kubernetes-list-map-keys", keys, "must not contain duplicate entries");
		}
}

/* An element of a set is compared as a whole, so nothing in it may be merged. */
static void check_set(struct walk *w, struct val items)
{
	static const char why[] = "must be atomic as item of a list with x-kubernetes-list-type=set";
	struct val list = val_get(items, "x-kubernetes-list-type"), map = val_get(items, "x-kubernetes-map-type");

	if (val_is(val_get(items, "type"), "object") && !val_is(map, "atomic"))
		invalid(w, ".items.x-kubernetes-map-type", map, why);
	if (val_is(val_get(items, "type"), "array") && val_has(list) && !val_is(list, "atomic"))
		invalid(w, ".items.x-kubernetes-list-type", list, why);
}

static void check_merged(struct walk *w, struct val v, struct val items, bool map)
{
	if (flag(items, "nullable"))
		forbidden(w, ".items.nullable",
			map ? "cannot be nullable when x-kubernetes-list-type is map" :
			      "cannot be nullable when x-kubernetes-list-type is set");
	for (struct val_iter it = val_iter(map ? val_get(v, "x-kubernetes-list-map-keys") : VAL_NONE); val_next(&it);)
		check_key(w, items, val_str(it.val));
}

static void check_list(struct walk *w, struct val v)
{
	struct val t = val_get(v, "x-kubernetes-list-type"), items = val_get(v, "items"),
		   m = val_get(v, "x-kubernetes-map-type");

	if (val_has(m)) {
		type_must_be(w, v, "object", "must be object if x-kubernetes-map-type is specified");
		if (!val_is(m, "atomic") && !val_is(m, "granular"))
			unsupported(w, ".x-kubernetes-map-type", m, "\"atomic\", \"granular\"");
	}
	if (val_has(t) && !val_is(t, "atomic") && !val_is(t, "set") && !val_is(t, "map"))
		unsupported(w, ".x-kubernetes-list-type", t, "\"atomic\", \"set\", \"map\"");
	if (val_len(val_get(v, "x-kubernetes-list-map-keys")) && !val_has(t))
		required(w, ".x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty");
	else if (val_len(val_get(v, "x-kubernetes-list-map-keys")) && !val_is(t, "map"))
		invalid(w, ".x-kubernetes-list-type", t, "must be map if x-kubernetes-list-map-keys is non-empty");
	if (!val_has(t))
		return;
	type_must_be(w, v, "array", "must be array if x-kubernetes-list-type is specified");
	if (val_is(t, "map"))
		check_list_map(w, v);
	if (val_is(t, "set") && val_is(val_get(v, "type"), "array"))
		check_set(w, items);
	if (val_kind(items) == VAL_MAP && (val_is(t, "set") || val_is(t, "map")))
		check_merged(w, v, items, val_is(t, "map"));
}

/* Where a schema stands: in metadata, apiVersion or kind of some object (meta), and why it may have no defaults, or NULL. */
struct inside {
	bool meta;
	const char *no_default;
};

static void check_generic(struct walk *w, struct val v, struct inside in, bool root);

static void generic_inside(struct walk *w, struct val v, const char *word, struct inside in)
{
	size_t n = enter(w, ".");

	buf_c(&w->path, word);
	check_generic(w, v, in, false);
	w->path.n = n;
}

static void generic_list(struct walk *w, struct val list, const char *word, struct inside in)
{
	char step[24];

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		snprintf(step, sizeof(step), "%s[%zu]", word, it.i);
		generic_inside(w, it.val, step, in);
	}
}

static bool is_meta(struct str key)
{
	return str_is(key, "metadata") || str_is(key, "apiVersion") || str_is(key, "kind");
}

static void generic_properties(struct walk *w, struct val v, struct inside in, bool root)
{
	bool whole = root || flag(v, "x-kubernetes-embedded-resource");
	size_t n = w->path.n;
	char why[32];

	for (struct val_iter it = val_iter(val_get(v, "properties")); val_next(&it);) {
		struct inside here = in;

		if (whole && is_meta(it.key)) {
			here.meta = true;
			snprintf(why, sizeof(why), "in top-level %.*s", STR_ARG(it.key));
			here.no_default = root ? why : in.no_default;
		}
		enter_property(w, it.key);
		check_generic(w, it.val, here, false);
		w->path.n = n;
	}
}

static void check_place(struct walk *w, struct val v, struct inside in)
{
	char why[100];

	snprintf(why, sizeof(why), "must not be set %s", in.no_default ? in.no_default : "");
	if (in.no_default && val_has(val_get(v, "default")))
		forbidden(w, ".default", why);
	if (in.meta && flag(v, "x-kubernetes-embedded-resource"))
		forbidden(w, ".x-kubernetes-embedded-resource", "must not be used inside of resource meta");
}

/* Most schemas are a type and a few words more: what they do not say is not looked for. */
static void check_generic(struct walk *w, struct val v, struct inside in, bool root)
{
	static const char *const lists[] = { "allOf", "anyOf", "oneOf" };
	unsigned words = schema_words(v);
	struct inside more = in;

	check_words(w, v, words);
	if (in.meta)
		check_place(w, v, in);
	if (words & WORDS_LIST)
		check_list(w, v);
	for (size_t i = 0; words & WORDS_COMBINATION && i < ARRAY_LEN(lists); i++)
		generic_list(w, val_get(v, lists[i]), lists[i], in);
	if (words & WORDS_COMBINATION && val_has(val_get(v, "not")))
		generic_inside(w, val_get(v, "not"), "not", in);
	if (!(words & WORDS_INNER))
		return;
	if (in.meta)
		more.no_default = "inside additionalProperties applying to object metadata";
	if (val_kind(val_get(v, "additionalProperties")) == VAL_MAP)
		generic_inside(w, val_get(v, "additionalProperties"), "additionalProperties", more);
	if (val_kind(val_get(v, "items")) == VAL_MAP)
		generic_inside(w, val_get(v, "items"), "items", in);
	generic_list(w, val_kind(val_get(v, "items")) == VAL_LIST ? val_get(v, "items") : VAL_NONE, "items", in);
	generic_properties(w, v, in, root);
}

/* ---- structural ------------------------------------------------------------------------------ */

static bool is_int_or_string(struct val any)
{
	return val_len(any) == 2 && val_len(val_at(any, 0)) == 1 && val_len(val_at(any, 1)) == 1 &&
		val_is(val_get(val_at(any, 0), "type"), "integer") && val_is(val_get(val_at(any, 1), "type"), "string");
}

static void check_pattern(struct walk *w, struct val v)
{
	struct val p = val_get(v, "pattern");
	struct pattern *compiled;
	char text[400];
	struct err e;

	if (!val_str(p).n)
		return;
	err_init(&e);
	if (pattern_new(val_str(p), &compiled, &e) == 0) {
		pattern_free(compiled);
		return;
	}
	snprintf(text, sizeof(text), "must be a valid regular expression, but isn't: %.300s", e.message);
	invalid(w, ".pattern", p, text);
}

static void check_nested(struct walk *w, struct val v, bool either, bool first_either);

static void check_nested_list(struct walk *w, struct val v, const char *key, bool first_either)
{
	for (struct val_iter it = val_iter(val_get(v, key)); val_next(&it);) {
		size_t n = w->path.n;

		buf_printf(&w->path, ".%s[%zu]", key, it.i);
		check_nested(w, it.val, first_either && !it.i, false);
		w->path.n = n;
	}
}

/* either: an anyOf of integer and string is allowed here; first_either: in the first allOf. */
static void check_values(struct walk *w, struct val v, bool either, bool first_either)
{
	struct val not = val_get(v, "not");

	if (!either)
		check_nested_list(w, v, "anyOf", false);
	check_nested_list(w, v, "allOf", first_either);
	check_nested_list(w, v, "oneOf", false);
	if (val_has(not )) {
		size_t n = enter(w, ".not");

		check_nested(w, not, false, false);
		w->path.n = n;
	}
	check_pattern(w, v);
}

static void check_nested(struct walk *w, struct val v, bool either, bool first_either)
{
	static const struct {
		const char *key, *why;
	} banned[] = { { "type", "must be empty to be structural" },
		{ "additionalProperties", "must be undefined to be structural" },
		{ "default", "must be undefined to be structural" }, { "title", "must be empty to be structural" },
		{ "description", "must be empty to be structural" }, { "nullable", "must be false to be structural" },
		{ "x-kubernetes-preserve-unknown-fields", "must be false to be structural" },
		{ "x-kubernetes-embedded-resource", "must be false to be structural" },
		{ "x-kubernetes-int-or-string", "must be false to be structural" },
		{ "x-kubernetes-list-map-keys", "must be empty to be structural" },
		{ "x-kubernetes-list-type", "must be undefined to be structural" },
		{ "x-kubernetes-map-type", "must be undefined to be structural" } };
	struct val items = val_get(v, "items");
	char child[64];

	check_values(w, v, either, first_either);
	if (val_has(items)) {
		size_t n = enter(w, ".items");

		check_nested(w, items, false, false);
		w->path.n = n;
	}
	for (struct val_iter it = val_iter(val_get(v, "properties")); val_next(&it);) {
		size_t n = enter_property(w, it.key);

		if (str_is(it.key, "metadata"))
			forbidden(w, "", "must not be specified in a nested context");
		check_nested(w, it.val, false, false);
		w->path.n = n;
	}
	for (size_t i = 0; i < ARRAY_LEN(banned); i++) {
		if (!given(v, banned[i].key))
			continue;
		snprintf(child, sizeof(child), ".%s", banned[i].key);
		forbidden(w, child, banned[i].why);
	}
}

/* Fields and items that the root's combinations name must be in its structural part too. Upstream asks nothing of the
 * combinations of inner schemas. where: the path of nested, as w->path is that of outer. */
static void check_complete(struct walk *w, struct val nested, struct val outer, struct buf *where);

static void complete_part(struct walk *w, struct val nested, struct val outer, const char *before, struct str name,
	const char *after, struct buf *where)
{
	size_t n = w->path.n, at = where->n;

	for (int both = 0; both < 2; both++) {
		struct buf *b = both ? where : &w->path;

		buf_c(b, before);
		buf_str(b, name);
		buf_c(b, after);
	}
	if (val_has(outer)) {
		check_complete(w, nested, outer, where);
	} else {
		buf_byte(&w->path, 0);
		err_cause(w->e, "FieldValueRequired", w->path.p, "Required value: because it is defined in %.*s",
			STR_ARG(buf_view(where)));
	}
	w->path.n = n;
	where->n = at;
}

static void complete_list(struct walk *w, struct val nested, struct val outer, const char *word, struct buf *where)
{
	size_t at = where->n;

	for (struct val_iter it = val_iter(val_get(nested, word)); val_next(&it);) {
		buf_printf(where, ".%s[%zu]", word, it.i);
		check_complete(w, it.val, outer, where);
		where->n = at;
	}
}

/* Of a schema with combinations. */
static void check_combinations(struct walk *w, struct val v, struct val outer, struct buf *where)
{
	static const char *const lists[] = { "allOf", "anyOf", "oneOf" };
	size_t at = where->n;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		complete_list(w, v, outer, lists[i], where);
	if (val_has(val_get(v, "not"))) {
		buf_c(where, ".not");
		check_complete(w, val_get(v, "not"), outer, where);
		where->n = at;
	}
}

static void check_complete(struct walk *w, struct val nested, struct val outer, struct buf *where)
{
	struct val items = val_get(nested, "items");

	check_combinations(w, nested, outer, where);
	if (val_has(items))
		complete_part(w, items, val_get(outer, "items"), ".items", STR(""), "", where);
	for (struct val_iter it = val_iter(val_get(nested, "properties")); val_next(&it);)
		complete_part(w, it.val, val_get_str(val_get(outer, "properties"), it.key), ".properties[", it.key, "]",
			where);
}

static void check_metadata(struct walk *w, struct val v, bool root)
{
	static const char *const want[][3] = { { "kind", "string", "must be string" },
		{ "apiVersion", "string", "must be string" }, { "metadata", "object", "must be object" } };
	struct val properties = val_get(v, "properties"), meta = val_get(properties, "metadata");
	bool more = false;

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		struct val p = val_get(properties, want[i][0]);
		size_t n = enter_property(w, str_c(want[i][0]));

		if (val_has(p) && !val_is(val_get(p, "type"), want[i][1]))
			invalid(w, ".type", val_get(p, "type"), want[i][2]);
		w->path.n = n;
	}
	if (!root || !val_has(meta))
		return;
	for (struct val_iter it = val_iter(meta); val_next(&it);)
		more |= !str_is(it.key, "type") && !str_is(it.key, "properties") && !str_is(it.key, "default");
	for (struct val_iter it = val_iter(val_get(meta, "properties")); val_next(&it);)
		more |= !str_is(it.key, "name") && !str_is(it.key, "generateName");
	if (more)
		forbidden(w, ".properties[metadata]",
			"must not specify anything other than name and generateName, but metadata is implicitly "
			"specified");
}

static void check_type_given(struct walk *w, struct val v, enum level l)
{
	static const char *const why[] = { "must not be empty at the root",
		"must not be empty for specified array items", "must not be empty for specified object fields" };
	bool embedded = flag(v, "x-kubernetes-embedded-resource");

	if (embedded)
		type_must_be(w, v, "object", "must be object if x-kubernetes-embedded-resource is true");
	else if (!given(v, "type") && !flag(v, "x-kubernetes-int-or-string") &&
		!flag(v, "x-kubernetes-preserve-unknown-fields"))
		required(w, ".type", why[l]);
	if (l == LEVEL_ROOT && given(v, "type") && !val_is(val_get(v, "type"), "object"))
		invalid(w, ".type", val_get(v, "type"), "must be object at the root");
	if (l == LEVEL_ROOT && val_has(val_get(v, "additionalProperties")))
		forbidden(w, ".additionalProperties", "must not be used at the root");
	if (embedded && val_has(val_get(v, "additionalProperties")))
		forbidden(w, ".additionalProperties", "must not be used if x-kubernetes-embedded-resource is set");
	if (embedded && !flag(v, "x-kubernetes-preserve-unknown-fields") && !val_len(val_get(v, "properties")))
		required(w, ".properties",
			"must not be empty if x-kubernetes-embedded-resource is true without "
			"x-kubernetes-preserve-unknown-fields");
	if (flag(v, "x-kubernetes-int-or-string") && flag(v, "x-kubernetes-preserve-unknown-fields"))
		invalid(w, ".x-kubernetes-preserve-unknown-fields", val_get(v, "x-kubernetes-preserve-unknown-fields"),
			"must be false if x-kubernetes-int-or-string is true");
	if (flag(v, "x-kubernetes-int-or-string") && embedded)
		invalid(w, ".x-kubernetes-embedded-resource", val_get(v, "x-kubernetes-embedded-resource"),
			"must be false if x-kubernetes-int-or-string is true");
}

static void check_schema(struct walk *w, struct val v, enum level l);

static void check_inner(struct walk *w, struct val v)
{
	struct val items = val_get(v, "items"), more = val_get(v, "additionalProperties");
	size_t n = w->path.n;

	if (val_kind(items) == VAL_MAP) {
		enter(w, ".items");
		check_schema(w, items, LEVEL_ITEM);
		w->path.n = n;
	}
	if (val_kind(more) == VAL_MAP) {
		enter(w, ".additionalProperties");
		check_schema(w, more, LEVEL_FIELD);
		w->path.n = n;
	}
	for (struct val_iter it = val_iter(val_get(v, "properties")); val_next(&it);) {
		enter_property(w, it.key);
		check_schema(w, it.val, LEVEL_FIELD);
		w->path.n = n;
	}
}

static void check_schema(struct walk *w, struct val v, enum level l)
{
	unsigned words = schema_words(v);

	if (words & WORDS_EXTENSION || l == LEVEL_ROOT || !given(v, "type"))
		check_type_given(w, v, l);
	if (l == LEVEL_ROOT || (words & WORDS_EXTENSION && flag(v, "x-kubernetes-embedded-resource")))
		check_metadata(w, v, l == LEVEL_ROOT);
	if (words & WORDS_COMBINATION)
		check_values(w, v, is_int_or_string(val_get(v, "anyOf")),
			is_int_or_string(val_get(val_at(val_get(v, "allOf"), 0), "anyOf")));
	else if (words & WORDS_LIMIT)
		check_pattern(w, v);
	if (val_is(val_get(v, "type"), "array") && !val_has(val_get(v, "items")))
		required(w, ".items", "must be specified");
	if (l == LEVEL_ROOT && words & WORDS_COMBINATION) {
		auto_buf struct buf where = BUF_INIT;

		buf_str(&where, buf_view(&w->path));
		check_combinations(w, v, v, &where);
	}
	if (words & WORDS_INNER)
		check_inner(w, v);
}

bool schema_structural(struct val json_schema, const char *path, struct err *e)
{
	struct walk w = { .e = e, .path = BUF_INIT };
	size_t before;

	buf_c(&w.path, path);
	check_generic(&w, json_schema, (struct inside){ 0 }, true);
	before = e->causes_len;
	if (!w.unreadable)
		check_schema(&w, json_schema, LEVEL_ROOT);
	bool ret = !w.unreadable && e->causes_len == before;
	if (flag(json_schema, "nullable"))
		forbidden(&w, ".nullable", "nullable cannot be true at the root");
	buf_fini(&w.path);
	return ret;
}

/* ---- rules in CEL ---------------------------------------------------------------------------- */

struct rules_walk {
	struct buf path;
	void (*each)(void *arg, const char *path);
	void *arg;
};

static void find_rules(struct rules_walk *w, struct val v)
{
	struct val items = val_get(v, "items"), more = val_get(v, "additionalProperties");
	size_t n = w->path.n;

	if (val_len(val_get(v, "x-kubernetes-validations"))) {
		buf_byte(&w->path, 0);
		w->each(w->arg, n ? w->path.p : "the whole object");
		w->path.n = n;
	}
	for (struct val_iter it = val_iter(val_get(v, "properties")); val_next(&it);) {
		if (n)
			buf_byte(&w->path, '.');
		buf_str(&w->path, it.key);
		find_rules(w, it.val);
		w->path.n = n;
	}
	if (val_kind(items) == VAL_MAP) {
		buf_c(&w->path, "[*]");
		find_rules(w, items);
		w->path.n = n;
	}
	if (val_kind(more) == VAL_MAP) {
		buf_c(&w->path, "[*]");
		find_rules(w, more);
		w->path.n = n;
	}
}

void schema_unenforced_rules(struct val json_schema, void (*each)(void *arg, const char *path), void *arg)
{
	struct rules_walk w = { BUF_INIT, each, arg };

	find_rules(&w, json_schema);
	buf_fini(&w.path);
}

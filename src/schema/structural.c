/* What the schema of a CustomResourceDefinition must not say: the rules of structural schemas, in upstream's words. */
#include "schema/rules.h"
#include <stdio.h>

enum level { LEVEL_ROOT, LEVEL_ITEM, LEVEL_FIELD };

struct walk {
	struct err *e;
	struct buf path;
	bool defaults; /* there are some: they are checked against the compiled rules */
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
	}
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		known |= val_is(type, types[i]);
	if (val_is(type, "null"))
		forbidden(w, ".type", "type cannot be set to null, use nullable as an alternative");
	else if (!known)
		unsupported(
			w, ".type", type, "\"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"");
	if (words & WORDS_BANNED && flag(v, "uniqueItems"))
		forbidden(w, ".uniqueItems",
			"uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
	if (val_has(more) && val_len(val_get(v, "properties")) &&
		(val_kind(more) == VAL_MAP || (val_has(more) && !val_bool(more, true))))
		forbidden(w, ".additionalProperties", "additionalProperties and properties are mutual exclusive");
	if (val_has(keep) && !val_bool(keep, true))
		invalid(w, ".x-kubernetes-preserve-unknown-fields", keep, "must be true or undefined");
	if (words & WORDS_INNER && val_kind(val_get(v, "items")) == VAL_LIST)
		forbidden(w, ".items", "items must be a schema object and not an array");
}

/* ---- lists and maps -------------------------------------------------------------------------- */

static bool among(struct val list, struct str s)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (str_eq(val_str(it.val), s))
			return true;
	return false;
}

static void check_key(struct walk *w, struct val items, struct val keys, struct str key)
{
	struct val p = val_get_str(val_get(items, "properties"), key);
	struct val type = val_get(p, "type");
	size_t n;

	if (!val_has(p)) {
		invalid(w, ".x-kubernetes-list-map-keys", keys, "entries must all be names of item properties");
		return;
	}
	n = enter(w, ".items");
	enter_property(w, key);
	if (val_is(type, "array") || val_is(type, "object"))
		invalid(w, ".type", type, "must be a scalar type if parent array's x-kubernetes-list-type is map");
	if (!val_has(val_get(p, "default")) && !among(val_get(items, "required"), key))
		required(w, ".default",
			"this property is in x-kubernetes-list-map-keys, so it must have a default or be a required "
			"property");
	if (flag(p, "nullable"))
		forbidden(w, ".nullable", "this property is in x-kubernetes-list-map-keys, so it cannot be nullable");
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
	if (!val_has(items)) {
		required(w, ".items", "must have a schema if x-kubernetes-list-type is map");
		return;
	}
	if (!val_is(val_get(items, "type"), "object")) {
		invalid(w, ".items.type", val_get(items, "type"),
			"must be object if parent array's x-kubernetes-list-type is map");
		return;
	}
	for (struct val_iter it = val_iter(keys); val_next(&it);) {
		check_key(w, items, keys, val_str(it.val));
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
	if (!val_is(t, "atomic") && flag(items, "nullable"))
		forbidden(w, ".items.nullable",
			val_is(t, "map") ? "cannot be nullable when x-kubernetes-list-type is map" :
					   "cannot be nullable when x-kubernetes-list-type is set");
	if (val_is(t, "set"))
		check_set(w, items);
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

/* Fields and items that a nested schema names must be in the structural part too. */
static void check_complete(struct walk *w, struct val nested, struct val outer)
{
	static const char *const lists[] = { "allOf", "anyOf", "oneOf" };
	struct val items = val_get(nested, "items"), outer_items = val_get(outer, "items");

	if (val_has(items) && !val_has(outer_items))
		required(w, ".items", "because it is defined in a nested schema");
	else if (val_has(items)) {
		size_t n = enter(w, ".items");

		check_complete(w, items, outer_items);
		w->path.n = n;
	}
	for (struct val_iter it = val_iter(val_get(nested, "properties")); val_next(&it);) {
		struct val p = val_get_str(val_get(outer, "properties"), it.key);
		size_t n = enter_property(w, it.key);

		if (!val_has(p) && !flag(outer, "x-kubernetes-preserve-unknown-fields") &&
			val_kind(val_get(outer, "additionalProperties")) != VAL_MAP)
			required(w, "", "because it is defined in a nested schema");
		else if (val_has(p))
			check_complete(w, it.val, p);
		w->path.n = n;
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (struct val_iter it = val_iter(val_get(nested, lists[i])); val_next(&it);)
			check_complete(w, it.val, outer);
	if (val_has(val_get(nested, "not")))
		check_complete(w, val_get(nested, "not"), outer);
}

static void check_combinations(struct walk *w, struct val v)
{
	static const char *const lists[] = { "allOf", "anyOf", "oneOf" };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (struct val_iter it = val_iter(val_get(v, lists[i])); val_next(&it);)
			check_complete(w, it.val, v);
	if (val_has(val_get(v, "not")))
		check_complete(w, val_get(v, "not"), v);
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

static bool is_meta(struct str key)
{
	return str_is(key, "metadata") || str_is(key, "apiVersion") || str_is(key, "kind");
}

/* Inside of metadata, apiVersion and kind of the whole object: those are the server's. */
static void check_no_default(struct walk *w, struct val v, struct str which)
{
	char why[80];
	size_t n = w->path.n;

	snprintf(why, sizeof(why), "must not be set in top-level %.*s", STR_ARG(which));
	if (val_has(val_get(v, "default")))
		forbidden(w, ".default", why);
	for (struct val_iter it = val_iter(val_get(v, "properties")); val_next(&it);) {
		enter_property(w, it.key);
		check_no_default(w, it.val, which);
		w->path.n = n;
	}
}

static void check_schema(struct walk *w, struct val v, enum level l);

static void check_inner(struct walk *w, struct val v, enum level l)
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
		if (l == LEVEL_ROOT && is_meta(it.key))
			check_no_default(w, it.val, it.key);
		check_schema(w, it.val, LEVEL_FIELD);
		w->path.n = n;
	}
}

/* Most schemas are a type and a few words more: what they do not say is not looked for. */
static void check_schema(struct walk *w, struct val v, enum level l)
{
	unsigned words = schema_words(v);

	w->defaults |= (words & WORDS_DEFAULT) != 0;
	check_words(w, v, words);
	if (words & WORDS_LIST)
		check_list(w, v);
	if (words & WORDS_EXTENSION || l == LEVEL_ROOT || !given(v, "type"))
		check_type_given(w, v, l);
	if (l == LEVEL_ROOT || (words & WORDS_EXTENSION && flag(v, "x-kubernetes-embedded-resource")))
		check_metadata(w, v, l == LEVEL_ROOT);
	if (words & WORDS_COMBINATION) {
		check_values(w, v, is_int_or_string(val_get(v, "anyOf")),
			is_int_or_string(val_get(val_at(val_get(v, "allOf"), 0), "anyOf")));
		check_combinations(w, v);
	} else if (words & WORDS_LIMIT) {
		check_pattern(w, v);
	}
	if (val_is(val_get(v, "type"), "array") && !val_has(val_get(v, "items")))
		required(w, ".items", "must be specified");
	if (words & WORDS_INNER)
		check_inner(w, v, l);
}

/* ---- defaults -------------------------------------------------------------------------------- */

static void check_default(struct walk *w, struct val v, const struct schema_rules *r)
{
	struct check c = { .text = BUF_INIT, .causes = BUF_INIT };
	struct val d = val_get(v, "default");

	if (val_has(d))
		rules_check(&c, r, d, VAL_NONE);
	for (size_t at = 0; at < c.causes.n;) {
		const char *reason = c.causes.p + at, *path = reason + strlen(reason) + 1,
			   *sentence = path + strlen(path) + 1;
		size_t n = enter(w, path[0] && path[0] != '[' ? ".default." : ".default");

		buf_c(&w->path, path);
		cause(w, reason, "", sentence);
		w->path.n = n;
		at = (size_t)(sentence + strlen(sentence) + 1 - c.causes.p);
	}
	buf_fini(&c.text);
	buf_fini(&c.causes);
}

static void check_defaults(struct walk *w, struct val v, const struct schema_rules *r)
{
	size_t n = w->path.n;

	check_default(w, v, r);
	for (struct val_iter it = val_iter(val_get(v, "properties")); val_next(&it);) {
		const struct schema_rules *f = rules_field(r, it.key);

		enter_property(w, it.key);
		if (f)
			check_defaults(w, it.val, f);
		w->path.n = n;
	}
	if (r->items) {
		enter(w, ".items");
		check_defaults(w, val_get(v, "items"), r->items);
		w->path.n = n;
	}
	if (r->additional) {
		enter(w, ".additionalProperties");
		check_defaults(w, val_get(v, "additionalProperties"), r->additional);
		w->path.n = n;
	}
}

/* Whether pruning takes something away from a value. whole: it is an object with metadata of its own. */
static bool has_unknown(struct val schema, struct val v, bool whole)
{
	struct val properties = val_get(schema, "properties"), more = val_get(schema, "additionalProperties");
	bool open = flag(schema, "x-kubernetes-preserve-unknown-fields") || val_bool(more, false), list;

	whole |= flag(schema, "x-kubernetes-embedded-resource");
	list = val_kind(v) == VAL_LIST;
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		struct val inner = list ? val_get(schema, "items") : val_get_str(properties, it.key);

		if (!list && whole && is_meta(it.key))
			continue;
		if (!list && !val_has(inner) && val_kind(more) == VAL_MAP)
			inner = more;
		if (val_has(inner) ? has_unknown(inner, it.val, false) : !list && !open)
			return true;
	}
	return false;
}

/* meta: inside of metadata, of which the schema need not say everything. */
static void check_pruned(struct walk *w, struct val v, bool root, bool meta)
{
	bool whole = root || flag(v, "x-kubernetes-embedded-resource");
	struct val d = val_get(v, "default"), items = val_get(v, "items");
	size_t n = w->path.n;

	meta &= !whole;
	if (!meta && val_has(d) && has_unknown(v, d, root))
		invalid(w, ".default", d, "must not have unknown fields");
	for (struct val_iter it = val_iter(val_get(v, "properties")); val_next(&it);) {
		enter_property(w, it.key);
		check_pruned(w, it.val, false, meta || (whole && is_meta(it.key)));
		w->path.n = n;
	}
	if (val_kind(items) == VAL_MAP) {
		enter(w, ".items");
		check_pruned(w, items, false, meta);
		w->path.n = n;
	}
}

void schema_pruned_defaults(struct val json_schema, const char *path, struct err *e)
{
	struct walk w = { .e = e, .path = BUF_INIT };

	buf_c(&w.path, path);
	check_pruned(&w, json_schema, true, false);
	buf_fini(&w.path);
}

void schema_structural(struct val json_schema, const char *path, struct err *e)
{
	const struct schema_custom_opts o = { "example.com", "v1", "Any", "AnyList" };
	auto_(schema_custom_free) struct schema_custom *c = NULL;
	struct walk w = { .e = e, .path = BUF_INIT };
	size_t before = e->causes_len;
	struct err wrong;

	buf_c(&w.path, path);
	check_schema(&w, json_schema, LEVEL_ROOT);
	if (flag(json_schema, "nullable"))
		forbidden(&w, ".nullable", "nullable cannot be true at the root");
	err_init(&wrong);
	if (e->causes_len == before && w.defaults && schema_custom_new(json_schema, &o, &c, &wrong) < 0) {
		buf_byte(&w.path, 0);
		err_cause(e, "FieldValueInvalid", w.path.p, "Invalid value: \"\": %s", wrong.message);
	} else if (c) {
		check_defaults(&w, json_schema, schema_custom_type(c)->rules);
	}
	buf_fini(&w.path);
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

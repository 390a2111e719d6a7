/* Custom kinds in OpenAPI documents: their own schema, with the metadata of every object, and for v2 without what
 * Swagger cannot say. */
#include "schema/openapi.h"

#define META "io.k8s.apimachinery.pkg.apis.meta.v1."

static void write_schema(const struct oa *o, struct val v, bool whole, struct buf *b);

static void braced(const struct oa *o, struct val v, bool whole, struct buf *b)
{
	buf_byte(b, '{');
	write_schema(o, v, whole, b);
	buf_byte(b, '}');
}

static void meta_properties(const struct oa *o, bool *any, struct buf *b)
{
	static const char *const words[][2] = {
		{ "apiVersion", "APIVersion defines the group and version whose schema the object is written in." },
		{ "kind", "What sort of object it is." }
	};
	const struct schema_type *meta = schema_builtin_by_name(META "ObjectMeta");

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		oa_key(b, any, str_c(words[i][0]));
		buf_printf(b, "{\"type\":\"string\",\"description\":\"%s\"}", words[i][1]);
	}
	oa_key(b, any, STR("metadata"));
	buf_c(b,
		"{\"description\":\"Standard object's metadata: name, labels and other data about the object "
		"itself.\",");
	if (o->v3)
		buf_c(b, "\"allOf\":[{");
	oa_reference(o, meta, b);
	buf_c(b, o->v3 ? "}]}" : "}");
}

static void write_properties(const struct oa *o, struct val properties, bool whole, struct buf *b)
{
	bool any = false;

	buf_byte(b, '{');
	if (whole)
		meta_properties(o, &any, b);
	for (struct val_iter it = val_iter(properties); val_next(&it);) {
		if (whole && (str_is(it.key, "apiVersion") || str_is(it.key, "kind") || str_is(it.key, "metadata")))
			continue;
		oa_key(b, &any, it.key);
		braced(o, it.val, val_bool(val_get(it.val, "x-kubernetes-embedded-resource"), false), b);
	}
	buf_byte(b, '}');
}

/* Swagger 2 has no alternatives and no null; a field that needs them is of any type there. */
static bool left_out(const struct oa *o, struct val v, struct str key)
{
	static const char *const v3_only[] = { "oneOf", "anyOf", "allOf", "not", "nullable" };
	bool null = val_bool(val_get(v, "nullable"), false);
	bool keep = val_bool(val_get(v, "x-kubernetes-preserve-unknown-fields"), false);
	bool structured = val_is(val_get(v, "type"), "object") || val_is(val_get(v, "type"), "array");

	if (o->v3)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(v3_only); i++)
		if (str_is(key, v3_only[i]))
			return true;
	if (str_is(key, "type"))
		return null || (keep && structured);
	/* A client would complain about every field that is not named. */
	return (null || keep) && (str_is(key, "items") || str_is(key, "properties"));
}

/* A field that may be null cannot be required there. */
static void write_required(const struct oa *o, struct val v, struct val list, struct buf *b)
{
	bool any = false;

	buf_byte(b, '[');
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct val p = o->v3 ? VAL_NONE : val_get_str(val_get(v, "properties"), val_str(it.val));

		if (val_bool(val_get(p, "nullable"), false))
			continue;
		buf_c(b, any ? "," : "");
		buf_str(b, val_text(it.val));
		any = true;
	}
	buf_byte(b, ']');
}

static void write_list(const struct oa *o, struct val list, struct buf *b)
{
	buf_byte(b, '[');
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		if (it.i)
			buf_byte(b, ',');
		braced(o, it.val, false, b);
	}
	buf_byte(b, ']');
}

static void write_schema(const struct oa *o, struct val v, bool whole, struct buf *b)
{
	bool any = false;

	for (struct val_iter it = val_iter(v); val_next(&it);) {
		struct str k = it.key;
		bool sub = str_is(k, "items") || str_is(k, "not") || str_is(k, "additionalProperties");

		if (left_out(o, v, k) || (whole && str_is(k, "properties")))
			continue;
		oa_key(b, &any, k);
		if (str_is(k, "properties"))
			write_properties(o, it.val, false, b);
		else if (str_is(k, "required"))
			write_required(o, v, it.val, b);
		else if (sub && val_kind(it.val) == VAL_MAP)
			braced(o, it.val, false, b);
		else if ((str_is(k, "oneOf") || str_is(k, "anyOf") || str_is(k, "allOf")) &&
			val_kind(it.val) == VAL_LIST)
			write_list(o, it.val, b);
		else
			buf_str(b, val_text(it.val));
	}
	if (!whole || left_out(o, v, STR("properties")))
		return;
	oa_key(b, &any, STR("properties"));
	write_properties(o, val_get(v, "properties"), true, b);
}

void oa_custom(const struct oa *o, struct val source, struct buf *b)
{
	/* Clients of v2 would refuse what is not named, so nothing is. */
	if (!o->v3 && val_bool(val_get(source, "x-kubernetes-preserve-unknown-fields"), false)) {
		buf_c(b, "\"type\":\"object\"");
		return;
	}
	write_schema(o, source, true, b);
}

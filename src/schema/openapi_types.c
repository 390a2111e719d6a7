/* Types as JSON Schema in the dialects of OpenAPI v2 and v3. */
#include "schema/openapi.h"
#include <stdio.h>

void oa_string(struct buf *b, const char *s)
{
	buf_byte(b, '"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_byte(b, '\\');
		if ((unsigned char)*s < ' ')
			buf_printf(b, "\\u%04x", *s);
		else
			buf_byte(b, *s);
	}
	buf_byte(b, '"');
}

void oa_key(struct buf *b, bool *any, struct str key)
{
	if (*any)
		buf_byte(b, ',');
	*any = true;
	buf_byte(b, '"');
	for (size_t i = 0; i < key.n; i++) {
		if (key.p[i] == '"' || key.p[i] == '\\')
			buf_byte(b, '\\');
		if ((unsigned char)key.p[i] < ' ')
			buf_printf(b, "\\u%04x", key.p[i]);
		else
			buf_byte(b, key.p[i]);
	}
	buf_c(b, "\":");
}

/* ---- which types a document needs ------------------------------------------------------------ */

static bool has_definition(const struct schema_type *t)
{
	return t->name && t->kind != SCHEMA_STRING && t->kind != SCHEMA_LIST;
}

static void need(struct oa *o, const struct schema_type *t)
{
	if (!t)
		return;
	if (has_definition(t)) {
		if (map_get(o->seen, str_c(t->name)))
			return;
		map_put(o->seen, str_c(t->name), (void *)(uintptr_t)t);
	}
	if (t->element)
		need(o, t->element);
	for (uint32_t i = 0; i < t->n_fields; i++)
		need(o, t->fields[i].type);
}

static int by_name(const void *x, const void *y)
{
	return strcmp((*(const struct schema_type *const *)x)->name, (*(const struct schema_type *const *)y)->name);
}

#define META "io.k8s.apimachinery.pkg.apis.meta.v1."

const struct schema_type *oa_list_type(const struct openapi_resource *r)
{
	char kind[256];

	if (r->list_type)
		return r->list_type;
	snprintf(kind, sizeof(kind), "%sList", r->kind);
	return schema_builtin(str_c(r->group), str_c(r->version), str_c(kind));
}

void oa_init(struct oa *o, const struct openapi_resource *r, size_t n, bool v3, const char *group, const char *version)
{
	struct str key;
	void *value;

	*o = (struct oa){ .r = r, .n = n, .v3 = v3, .seen = map_new(NULL) };
	for (size_t i = 0; i < n; i++) {
		if (group && (strcmp(r[i].group, group) != 0 || strcmp(r[i].version, version) != 0))
			continue;
		need(o, r[i].type);
		if (!r[i].sub)
			need(o, oa_list_type(&r[i]));
	}
	need(o, schema_builtin_by_name(META "DeleteOptions"));
	need(o, schema_builtin_by_name(META "Status"));
	o->types = xcalloc(map_len(o->seen) + 1, sizeof(*o->types));
	for (size_t i = 0; map_next(o->seen, &i, &key, &value);)
		o->types[o->n_types++] = value;
	qsort(o->types, o->n_types, sizeof(*o->types), by_name);
}

void oa_fini(struct oa *o)
{
	map_free(o->seen);
	free(o->types);
}

/* ---- schemas --------------------------------------------------------------------------------- */

void oa_reference(const struct oa *o, const struct schema_type *t, struct buf *b)
{
	buf_printf(b, "\"$ref\":\"#/%s/%s\"", o->v3 ? "components/schemas" : "definitions", t->name);
}

/* Words in the order of their letters, one after the other: the smallest that is greater than `last`. */
static const char *next_word(const char *const *words, const char *last)
{
	const char *best = NULL;

	for (size_t i = 0; words[i]; i++)
		if ((!last || strcmp(words[i], last) > 0) && (!best || strcmp(words[i], best) < 0))
			best = words[i];
	return best;
}

static void plain(const struct schema_type *t, struct buf *b)
{
	switch (t->kind) {
	case SCHEMA_BOOL:
		buf_c(b, "\"type\":\"boolean\"");
		break;
	case SCHEMA_INT32:
		buf_c(b, "\"type\":\"integer\",\"format\":\"int32\"");
		break;
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
		buf_c(b, "\"type\":\"integer\",\"format\":\"int64\"");
		break;
	case SCHEMA_DOUBLE:
		buf_c(b, "\"type\":\"number\",\"format\":\"double\"");
		break;
	case SCHEMA_BYTES:
		buf_c(b, "\"type\":\"string\",\"format\":\"byte\"");
		break;
	default:
		buf_c(b, "\"type\":\"string\"");
	}
	if (!t->enum_values)
		return;
	buf_c(b, ",\"enum\":[");
	for (const char *last = NULL, *next; (next = next_word(t->enum_values, last)); last = next) {
		if (last)
			buf_byte(b, ',');
		oa_string(b, next);
	}
	buf_byte(b, ']');
}

static void object_body(const struct oa *o, const struct schema_type *t, struct buf *b);

/* The inside of a schema object, without braces. */
static void schema(const struct oa *o, const struct schema_type *t, bool described, struct buf *b)
{
	if (has_definition(t)) {
		if (o->v3 && described) /* a $ref may have no siblings in 3.0 */
			buf_c(b, "\"allOf\":[{");
		oa_reference(o, t, b);
		if (o->v3 && described)
			buf_c(b, "}]");
	} else if (t->kind == SCHEMA_LIST) {
		buf_c(b, "\"type\":\"array\",\"items\":{");
		schema(o, t->element, false, b);
		buf_byte(b, '}');
	} else if (t->kind == SCHEMA_MAP) {
		buf_c(b, "\"type\":\"object\",\"additionalProperties\":{");
		schema(o, t->element, false, b);
		buf_byte(b, '}');
	} else if (t->kind == SCHEMA_OBJECT) {
		object_body(o, t, b);
	} else {
		plain(t, b);
	}
}

static void merge_marks(const struct schema_field *f, struct buf *b)
{
	static const char *const list_types[] = { "atomic", "set", "map" };
	bool comma = false;

	if (f->type->kind == SCHEMA_LIST)
		buf_printf(b, ",\"x-kubernetes-list-type\":\"%s\"", list_types[f->list]);
	if (f->list == SCHEMA_LIST_MAP) {
		buf_c(b, ",\"x-kubernetes-list-map-keys\":[");
		for (size_t i = 0; f->list_keys[i]; i++)
			buf_printf(b, "%s\"%s\"", i ? "," : "", f->list_keys[i]);
		buf_byte(b, ']');
	}
	if (f->map_atomic)
		buf_c(b, ",\"x-kubernetes-map-type\":\"atomic\"");
	if (f->merge_key)
		buf_printf(b, ",\"x-kubernetes-patch-merge-key\":\"%s\"", f->merge_key);
	if (!f->patch_merge && !f->patch_retain_keys && !f->patch_replace)
		return;
	buf_c(b, ",\"x-kubernetes-patch-strategy\":\"");
	if (f->patch_merge) {
		buf_c(b, "merge");
		comma = true;
	}
	if (f->patch_retain_keys) {
		buf_printf(b, "%sretainKeys", comma ? "," : "");
		comma = true;
	}
	if (f->patch_replace)
		buf_printf(b, "%sreplace", comma ? "," : "");
	buf_byte(b, '"');
}

static void property(const struct oa *o, const struct schema_field *f, struct buf *b)
{
	oa_string(b, f->name);
	buf_c(b, ":{");
	if (f->help && f->help[0]) {
		buf_c(b, "\"description\":");
		oa_string(b, f->help);
		buf_byte(b, ',');
	}
	schema(o, f->type, true, b);
	if (f->fallback)
		buf_printf(b, ",\"default\":%s", f->fallback);
	merge_marks(f, b);
	buf_byte(b, '}');
}

static void object_body(const struct oa *o, const struct schema_type *t, struct buf *b)
{
	bool any = false;

	buf_c(b, "\"type\":\"object\"");
	for (uint32_t i = 0; i < t->n_fields; i++) {
		const struct schema_field *f = &t->fields[t->by_name[i]];

		if (!f->required)
			continue;
		buf_c(b, any ? "," : ",\"required\":[");
		oa_string(b, f->name);
		any = true;
	}
	if (any)
		buf_byte(b, ']');
	if (t->n_fields)
		buf_c(b, ",\"properties\":{");
	for (uint32_t i = 0; i < t->n_fields; i++) {
		if (i)
			buf_byte(b, ',');
		property(o, &t->fields[t->by_name[i]], b);
	}
	if (t->n_fields)
		buf_byte(b, '}');
	if (t->struct_atomic)
		buf_c(b, ",\"x-kubernetes-map-type\":\"atomic\"");
}

static void special_body(const struct oa *o, const struct schema_type *t, struct buf *b)
{
	switch (t->kind) {
	case SCHEMA_QUANTITY:
		buf_c(b, o->v3 ? "\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]" : "\"type\":\"string\"");
		return;
	case SCHEMA_INT_OR_STRING:
		buf_c(b, o->v3 ? "\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]" : "\"type\":\"string\"");
		buf_c(b, ",\"format\":\"int-or-string\"");
		return;
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
		buf_c(b, "\"type\":\"string\",\"format\":\"date-time\"");
		return;
	case SCHEMA_DURATION:
		buf_c(b, "\"type\":\"string\"");
		return;
	case SCHEMA_FIELDS_V1:
	case SCHEMA_RAW:
		buf_c(b, "\"type\":\"object\"");
		return;
	default: /* anything: no type at all */
		buf_c(b, "\"title\":\"any\"");
	}
}

static void one_gvk(const char *group, const char *version, const char *kind, bool *any, struct buf *b)
{
	buf_printf(b, "%s{\"group\":\"%s\",\"version\":\"%s\",\"kind\":\"%s\"}",
		*any ? "," : ",\"x-kubernetes-group-version-kind\":[", group, version, kind);
	*any = true;
}

/* The kinds that a type serves; an options kind serves every group version. */
static void gvks(const struct oa *o, const struct schema_type *t, struct buf *b)
{
	const struct schema_kind_entry *k;
	bool any = false;
	size_t n;

	k = schema_builtin_kinds(&n);
	for (size_t i = 0; i < n; i++)
		if (k[i].type == t)
			one_gvk(k[i].group, k[i].version, k[i].kind, &any, b);
	if (!any) /* not builtin: the resource names it */
		for (size_t i = 0; i < o->n; i++) {
			if (o->r[i].type == t && !o->r[i].sub)
				one_gvk(o->r[i].group, o->r[i].version, o->r[i].kind, &any, b);
			else if (o->r[i].list_type == t && !o->r[i].sub)
				one_gvk(o->r[i].group, o->r[i].version, strrchr(t->name, '.') + 1, &any, b);
		}
	if (!strcmp(t->name, META "Status"))
		one_gvk("", "v1", "Status", &any, b);
	for (size_t i = 0; i < o->n && !strcmp(t->name, META "DeleteOptions"); i++)
		if (!i || strcmp(o->r[i].group, o->r[i - 1].group) != 0 ||
			strcmp(o->r[i].version, o->r[i - 1].version) != 0)
			one_gvk(o->r[i].group, o->r[i].version, "DeleteOptions", &any, b);
	if (any)
		buf_byte(b, ']');
}

static struct val source_of(const struct oa *o, const struct schema_type *t)
{
	for (size_t i = 0; t->custom && i < o->n; i++)
		if (o->r[i].type == t && !o->r[i].sub)
			return o->r[i].schema;
	return VAL_NONE;
}

void oa_definition(const struct oa *o, const struct schema_type *t, struct buf *b)
{
	struct val source = source_of(o, t);

	buf_byte(b, '{');
	if (t->help) {
		buf_c(b, "\"description\":");
		oa_string(b, t->help);
		buf_byte(b, ',');
	}
	if (val_has(source))
		oa_custom(o, source, b);
	else if (t->kind == SCHEMA_OBJECT)
		object_body(o, t, b);
	else
		special_body(o, t, b);
	if (t->is_kind)
		gvks(o, t, b);
	buf_byte(b, '}');
}

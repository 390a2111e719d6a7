/* The OpenAPI v2 document as protobuf (openapi.v2.Document), which kubectl up to 1.27 asks for in no other form.
 * Each piece is written as JSON, parsed, and put into the message: at any time only one piece is in memory twice. */
#include "schema/openapi.h"
#include "schema/pb.h"

/* ---- field numbers of openapi.v2 ------------------------------------------------------------- */

enum {
	ANY_YAML = 2,
	NAMED_NAME = 1,
	NAMED_VALUE = 2,
	DOC_SWAGGER = 1,
	DOC_INFO = 2,
	DOC_PATHS = 8,
	DOC_DEFINITIONS = 9,
	DOC_SECURITY = 12,
	DOC_SECURITY_DEFINITIONS = 13,
	INFO_TITLE = 1,
	INFO_VERSION = 2,
	PATHS_PATH = 2,
	DEFINITIONS_SCHEMA = 1,
	SCHEMA_REF = 1,
	SCHEMA_FORMAT = 2,
	SCHEMA_TITLE = 3,
	SCHEMA_DESCRIPTION = 4,
	SCHEMA_DEFAULT = 5,
	SCHEMA_REQUIRED = 19,
	SCHEMA_ENUM = 20,
	SCHEMA_ADDITIONAL = 21,
	SCHEMA_TYPE = 22,
	SCHEMA_ITEMS = 23,
	SCHEMA_PROPERTIES = 25,
	SCHEMA_VENDOR = 31,
	PATH_PARAMETERS = 9,
	OP_TAGS = 1,
	OP_ID = 5,
	OP_PRODUCES = 6,
	OP_CONSUMES = 7,
	OP_PARAMETERS = 8,
	OP_RESPONSES = 9,
	OP_SCHEMES = 10,
	OP_VENDOR = 13,
	ITEM_PARAMETER = 1,
	PARAMETER_BODY = 1,
	PARAMETER_OTHER = 2,
	BODY_NAME = 2,
	BODY_IN = 3,
	BODY_REQUIRED = 4,
	BODY_SCHEMA = 5,
	OTHER_QUERY = 3,
	OTHER_PATH = 4,
	QUERY_REQUIRED = 1,
	QUERY_IN = 2,
	QUERY_NAME = 4,
	QUERY_TYPE = 6,
	QUERY_UNIQUE = 17,
	PATH_TYPE = 5,
	PATH_UNIQUE = 16,
	RESPONSES_CODE = 1,
	VALUE_RESPONSE = 1,
	RESPONSE_DESCRIPTION = 1,
	RESPONSE_SCHEMA = 2,
	SCHEMA_ITEM_SCHEMA = 1,
};

static void text(struct buf *b, uint32_t number, struct val v)
{
	if (val_kind(v) == VAL_STR)
		pb_bytes(b, number, val_str(v));
}

static void texts(struct buf *b, uint32_t number, struct val list)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		text(b, number, it.val);
}

/* Any value: its JSON is YAML too. */
static void any(struct buf *b, uint32_t number, struct val v)
{
	size_t mark = pb_begin(b, number);

	pb_tag(b, ANY_YAML, PB_BYTES);
	pb_varint(b, val_text(v).n + 1);
	buf_str(b, val_text(v));
	buf_byte(b, '\n');
	pb_end(b, mark);
}

static void vendor(struct buf *b, uint32_t number, struct val v)
{
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		size_t mark;

		if (!str_starts(it.key, STR("x-")))
			continue;
		mark = pb_begin(b, number);
		pb_bytes(b, NAMED_NAME, it.key);
		any(b, NAMED_VALUE, it.val);
		pb_end(b, mark);
	}
}

/* ---- schemas --------------------------------------------------------------------------------- */

static void schema(struct buf *b, uint32_t number, struct val v);

static void wrapped_schema(struct buf *b, uint32_t number, uint32_t inner, struct val v)
{
	size_t mark = pb_begin(b, number);

	schema(b, inner, v);
	pb_end(b, mark);
}

static void properties(struct buf *b, struct val v)
{
	size_t mark = pb_begin(b, SCHEMA_PROPERTIES);

	for (struct val_iter it = val_iter(v); val_next(&it);) {
		size_t one = pb_begin(b, 1);

		pb_bytes(b, NAMED_NAME, it.key);
		schema(b, NAMED_VALUE, it.val);
		pb_end(b, one);
	}
	pb_end(b, mark);
}

static void schema(struct buf *b, uint32_t number, struct val v)
{
	size_t mark = pb_begin(b, number), type;

	text(b, SCHEMA_REF, val_get(v, "$ref"));
	text(b, SCHEMA_FORMAT, val_get(v, "format"));
	text(b, SCHEMA_TITLE, val_get(v, "title"));
	text(b, SCHEMA_DESCRIPTION, val_get(v, "description"));
	if (val_has(val_get(v, "default")))
		any(b, SCHEMA_DEFAULT, val_get(v, "default"));
	texts(b, SCHEMA_REQUIRED, val_get(v, "required"));
	for (struct val_iter it = val_iter(val_get(v, "enum")); val_next(&it);)
		any(b, SCHEMA_ENUM, it.val);
	if (val_has(val_get(v, "additionalProperties")))
		wrapped_schema(b, SCHEMA_ADDITIONAL, 1, val_get(v, "additionalProperties"));
	if (val_has(val_get(v, "type"))) {
		type = pb_begin(b, SCHEMA_TYPE);
		text(b, 1, val_get(v, "type"));
		pb_end(b, type);
	}
	if (val_has(val_get(v, "items")))
		wrapped_schema(b, SCHEMA_ITEMS, 1, val_get(v, "items"));
	if (val_has(val_get(v, "properties")))
		properties(b, val_get(v, "properties"));
	vendor(b, SCHEMA_VENDOR, v);
	pb_end(b, mark);
}

/* ---- paths ----------------------------------------------------------------------------------- */

static void body_parameter(struct buf *b, struct val v)
{
	size_t mark = pb_begin(b, PARAMETER_BODY);

	text(b, BODY_NAME, val_get(v, "name"));
	text(b, BODY_IN, val_get(v, "in"));
	if (val_bool(val_get(v, "required"), false))
		pb_int(b, BODY_REQUIRED, 1);
	schema(b, BODY_SCHEMA, val_get(v, "schema"));
	pb_end(b, mark);
}

static void other_parameter(struct buf *b, struct val v)
{
	bool path = val_is(val_get(v, "in"), "path");
	size_t mark = pb_begin(b, PARAMETER_OTHER), inner = pb_begin(b, path ? OTHER_PATH : OTHER_QUERY);

	if (val_bool(val_get(v, "required"), false))
		pb_int(b, QUERY_REQUIRED, 1);
	text(b, QUERY_IN, val_get(v, "in"));
	text(b, QUERY_NAME, val_get(v, "name"));
	text(b, path ? PATH_TYPE : QUERY_TYPE, val_get(v, "type"));
	pb_int(b, path ? PATH_UNIQUE : QUERY_UNIQUE, 1);
	pb_end(b, inner);
	pb_end(b, mark);
}

static void parameters(struct buf *b, uint32_t number, struct val list)
{
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		size_t mark = pb_begin(b, number), inner = pb_begin(b, ITEM_PARAMETER);

		if (val_is(val_get(it.val, "in"), "body"))
			body_parameter(b, it.val);
		else
			other_parameter(b, it.val);
		pb_end(b, inner);
		pb_end(b, mark);
	}
}

static void responses(struct buf *b, struct val v)
{
	size_t mark = pb_begin(b, OP_RESPONSES);

	for (struct val_iter it = val_iter(v); val_next(&it);) {
		size_t code = pb_begin(b, RESPONSES_CODE), value, response;

		pb_bytes(b, NAMED_NAME, it.key);
		value = pb_begin(b, NAMED_VALUE);
		response = pb_begin(b, VALUE_RESPONSE);
		text(b, RESPONSE_DESCRIPTION, val_get(it.val, "description"));
		if (val_has(val_get(it.val, "schema")))
			wrapped_schema(b, RESPONSE_SCHEMA, SCHEMA_ITEM_SCHEMA, val_get(it.val, "schema"));
		pb_end(b, response);
		pb_end(b, value);
		pb_end(b, code);
	}
	pb_end(b, mark);
}

static void operation(struct buf *b, uint32_t number, struct val v)
{
	size_t mark;

	if (!val_has(v))
		return;
	mark = pb_begin(b, number);
	texts(b, OP_TAGS, val_get(v, "tags"));
	text(b, OP_ID, val_get(v, "operationId"));
	texts(b, OP_PRODUCES, val_get(v, "produces"));
	texts(b, OP_CONSUMES, val_get(v, "consumes"));
	parameters(b, OP_PARAMETERS, val_get(v, "parameters"));
	responses(b, val_get(v, "responses"));
	texts(b, OP_SCHEMES, val_get(v, "schemes"));
	vendor(b, OP_VENDOR, v);
	pb_end(b, mark);
}

static void path_item(struct buf *b, uint32_t number, struct val v)
{
	static const char *const methods[] = { [2] = "get", [3] = "put", [4] = "post", [5] = "delete", [8] = "patch" };
	size_t mark = pb_begin(b, number);

	for (uint32_t i = 0; i < ARRAY_LEN(methods); i++)
		if (methods[i])
			operation(b, i, val_get(v, methods[i]));
	parameters(b, PATH_PARAMETERS, val_get(v, "parameters"));
	pb_end(b, mark);
}

/* ---- the document ---------------------------------------------------------------------------- */

/* One named piece, from its JSON. */
static void piece(struct buf *out, uint32_t number, struct str name, struct str json,
	void (*put)(struct buf *b, uint32_t number, struct val v))
{
	struct doc *d = NULL;
	struct err e;
	size_t mark;
	int r;

	err_init(&e);
	r = doc_parse(json, &d, &e);
	if (r)
		PANIC("OpenAPI of %.*s: %s", STR_ARG(name), e.message);
	mark = pb_begin(out, number);
	pb_bytes(out, NAMED_NAME, name);
	put(out, NAMED_VALUE, doc_root(d));
	pb_end(out, mark);
	doc_unref(d);
}

static void pieces(struct buf *out, uint32_t number, const struct oa_pieces *p,
	void (*put)(struct buf *b, uint32_t number, struct val v))
{
	for (size_t i = 0; i < p->n; i++)
		piece(out, number, p->v[i].name, p->v[i].json, put);
}

static void all_paths(const struct oa *o, const struct oa_pieces *others, struct buf *json, struct buf *out)
{
	size_t mark = pb_begin(out, DOC_PATHS);
	char path[512];

	for (size_t i = 0; i < o->n; i++)
		for (int p = 0; p < OA_PATHS; p++) {
			if (!oa_path_name(&o->r[i], (enum oa_path)p, path, sizeof(path)))
				continue;
			oa_path_item(o, &o->r[i], (enum oa_path)p, json);
			piece(out, PATHS_PATH, str_c(path), buf_view(json), path_item);
			buf_reset(json);
		}
	pieces(out, PATHS_PATH, others, path_item);
	pb_end(out, mark);
}

int openapi_v2_protobuf(const struct openapi_source *s, struct buf *out)
{
	auto_buf struct buf json = BUF_INIT;
	struct oa_others others;
	struct oa o;
	size_t mark;

	oa_init(&o, s->r, s->n, false, NULL, NULL);
	oa_others_init(&others, &o, s->others, s->n_others);
	pb_bytes(out, DOC_SWAGGER, STR("2.0"));
	mark = pb_begin(out, DOC_INFO);
	pb_bytes(out, INFO_TITLE, STR("Kubernetes"));
	pb_bytes(out, INFO_VERSION, str_c(s->server_version));
	pb_end(out, mark);
	all_paths(&o, &others.paths, &json, out);
	mark = pb_begin(out, DOC_DEFINITIONS);
	for (size_t i = 0; i < o.n_types; i++) {
		oa_definition(&o, o.types[i], &json);
		piece(out, DEFINITIONS_SCHEMA, str_c(o.types[i]->name), buf_view(&json), schema);
		buf_reset(&json);
	}
	pieces(out, DEFINITIONS_SCHEMA, &others.definitions, schema);
	pb_end(out, mark);
	oa_others_fini(&others);
	oa_fini(&o);
	return out->full ? -ERR_TOO_LARGE : 0;
}

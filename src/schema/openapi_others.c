/* What other servers say of their kinds, as part of our document of version 2.
 *
 *     their document ── openapi_tidy() ──► the paths of one group version and what they refer to ── kept by who asked ──►
 *     oa_others_init() ──► pieces for openapi_json.c and openapi_pb.c
 *
 * Clients refuse a document as a whole for one word that they do not know or one reference that leads nowhere. So only what
 * the table below names passes, and only where it is of the right type. Kinds of others are not theirs to describe.
 * Definitions whose name is taken get another, NAME_v2 and so on, as upstream; those that are the same are there once. */
#include "schema/openapi.h"

#define DEFINITIONS "#/definitions/"
#define KIND "x-kubernetes-group-version-kind"
#define ROUNDS 32 /* definitions that differ no nearer than this count as the same */

enum shape {
	ANY,
	LIST,
	WORD,
	FLAG,
	NUMBER,
	WORDS,
	SCHEMA,
	SCHEMAS,
	ITEM,
	OPERATION,
	PARAMETER,
	PARAMETERS,
	RESPONSE,
	RESPONSES
};

struct member {
	const char *key;
	enum shape shape;
};
static const struct member item[] = { { "get", OPERATION }, { "put", OPERATION }, { "post", OPERATION },
	{ "delete", OPERATION }, { "patch", OPERATION }, { "parameters", PARAMETERS }, {} };
static const struct member operation[] = { { "tags", WORDS }, { "description", WORD }, { "operationId", WORD },
	{ "consumes", WORDS }, { "produces", WORDS }, { "schemes", WORDS }, { "parameters", PARAMETERS },
	{ "responses", RESPONSES }, {} };
static const struct member parameter[] = { { "name", WORD }, { "in", WORD }, { "description", WORD },
	{ "required", FLAG }, { "type", WORD }, { "uniqueItems", FLAG }, { "schema", SCHEMA }, {} };
static const struct member response[] = { { "description", WORD }, { "schema", SCHEMA }, {} };
static const struct member schema[] = { { "$ref", WORD }, { "format", WORD }, { "title", WORD },
	{ "description", WORD }, { "default", ANY }, { "required", WORDS }, { "enum", LIST }, { "type", WORD },
	{ "items", SCHEMA }, { "properties", SCHEMAS }, { "additionalProperties", SCHEMA }, { "pattern", WORD },
	{ "uniqueItems", FLAG }, { "minimum", NUMBER }, { "maximum", NUMBER }, { "minLength", NUMBER },
	{ "maxLength", NUMBER }, { "minItems", NUMBER }, { "maxItems", NUMBER }, {} };
static const struct member *const members[] = {
	[SCHEMA] = schema, [ITEM] = item, [OPERATION] = operation, [PARAMETER] = parameter, [RESPONSE] = response
};

/* ---- tidying --------------------------------------------------------------------------------- */

struct definition {
	struct str name;
	struct val v;
	bool needed;
};
struct tidy {
	struct str group, version;
	struct val document;
	struct map *known;         /* name → struct definition */
	struct definition **queue; /* those that are needed, as they were met */
	size_t n_queue;
	struct buf *out;
};

static bool is_own_kind(const struct tidy *t, struct val kind)
{
	return str_eq(val_str(val_get(kind, "group")), t->group) &&
		str_eq(val_str(val_get(kind, "version")), t->version);
}

/* What "$ref" leads to below "#/SECTION/"; missing: there is no such thing. */
static struct val referred(const struct tidy *t, struct val v, const char *section)
{
	struct str ref = val_str(val_get(v, "$ref")), rest, part;

	rest = str_cut(ref, '/', &part);
	if (!str_is(part, "#"))
		return VAL_NONE;
	rest = str_cut(rest, '/', &part);
	return str_is(part, section) ? val_get_str(val_get(t->document, section), rest) : VAL_NONE;
}

static struct definition *definition_of(const struct tidy *t, struct str ref)
{
	size_t n = sizeof(DEFINITIONS) - 1;

	return str_starts(ref, STR(DEFINITIONS)) ? map_get(t->known, str_sub(ref, n, ref.n)) : NULL;
}

static bool is_kind(struct val v, enum val_kind kind)
{
	return val_kind(v) == kind;
}

static bool is_type(struct val v)
{
	static const char *const types[] = { "string", "number", "integer", "boolean", "array", "object" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (val_is(v, types[i]))
			return true;
	return false;
}

/* In a place that our writers know, and with all that is needed there. */
static bool is_parameter(struct val v)
{
	struct val in = val_get(v, "in"), type = val_get(v, "type");

	if (!is_kind(v, VAL_MAP) || !is_kind(val_get(v, "name"), VAL_STR))
		return false;
	if (val_is(in, "body"))
		return is_kind(val_get(v, "schema"), VAL_MAP);
	if (!is_type(type) || val_is(type, "object"))
		return false;
	return val_is(in, "query") || (val_is(in, "path") && val_bool(val_get(v, "required"), false));
}

static bool fits(const struct tidy *t, enum shape s, struct str key, struct val v)
{
	switch (s) {
	case ANY:
		return true;
	case WORD:
		return is_kind(v, VAL_STR) && (!str_is(key, "$ref") || definition_of(t, val_str(v))) &&
			(!str_is(key, "type") || is_type(v));
	case LIST:
		return is_kind(v, VAL_LIST);
	case PARAMETER:
		return is_parameter(v);
	case OPERATION:
		return is_kind(val_get(v, "responses"), VAL_MAP);
	case RESPONSE:
		return is_kind(val_get(v, "description"), VAL_STR);
	case FLAG:
		return is_kind(v, VAL_BOOL);
	case NUMBER:
		return is_kind(v, VAL_INT) || is_kind(v, VAL_FLOAT);
	case WORDS:
	case PARAMETERS:
		return is_kind(v, VAL_LIST);
	default:
		return is_kind(v, VAL_MAP);
	}
}

static bool is_code(struct str key)
{
	uint64_t code;

	return str_is(key, "default") || (key.n == 3 && str_u64(key, &code));
}

static void put(struct tidy *t, enum shape s, struct val v);

static void put_list(struct tidy *t, enum shape s, struct val list)
{
	bool any = false;

	buf_byte(t->out, '[');
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct val v = it.val;

		if (s == PARAMETER && val_has(val_get(v, "$ref")))
			v = referred(t, v, "parameters");
		if (!fits(t, s, STR_NULL, v))
			continue;
		if (any)
			buf_byte(t->out, ',');
		any = true;
		put(t, s, v);
	}
	buf_byte(t->out, ']');
}

static void put_map(struct tidy *t, enum shape s, struct val map)
{
	bool any = false;

	buf_byte(t->out, '{');
	for (struct val_iter it = val_iter(map); val_next(&it);) {
		struct val v = it.val;

		if (s == RESPONSE && val_has(val_get(v, "$ref")))
			v = referred(t, v, "responses");
		if (!fits(t, s, STR_NULL, v) || (s == RESPONSE && !is_code(it.key)))
			continue;
		oa_key(t->out, &any, it.key);
		put(t, s, v);
	}
	buf_byte(t->out, '}');
}

static void put_extension(struct tidy *t, bool *any, struct str key, struct val v)
{
	if (!str_is(key, KIND)) {
		oa_key(t->out, any, key);
		buf_str(t->out, val_text(v));
		return;
	}
	if (is_kind(v, VAL_MAP) && is_own_kind(t, v)) {
		oa_key(t->out, any, key);
		buf_str(t->out, val_text(v));
	}
	for (struct val_iter it = val_iter(is_kind(v, VAL_LIST) ? v : VAL_NONE); val_next(&it);) {
		if (!is_own_kind(t, it.val))
			continue;
		oa_key(t->out, any, key);
		buf_printf(t->out, "[%.*s]", STR_ARG(val_text(it.val)));
		return;
	}
}

static const struct member *member_of(enum shape s, struct str key)
{
	for (const struct member *m = members[s]; m->key; m++)
		if (str_is(key, m->key))
			return m;
	return NULL;
}

static void need(struct tidy *t, struct definition *d)
{
	if (!d->needed)
		t->queue[t->n_queue++] = d;
	d->needed = true;
}

static void put_object(struct tidy *t, enum shape s, struct val v)
{
	/* A list of nothing is refused; without a type it is anything. */
	bool untyped = s == SCHEMA && val_is(val_get(v, "type"), "array") && !is_kind(val_get(v, "items"), VAL_MAP);
	bool any = false;

	buf_byte(t->out, '{');
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		const struct member *m = member_of(s, it.key);

		if (str_starts(it.key, STR("x-")))
			put_extension(t, &any, it.key, it.val);
		if (!m || !fits(t, m->shape, it.key, it.val) || (untyped && str_is(it.key, "type")))
			continue;
		if (s == SCHEMA && str_is(it.key, "$ref"))
			need(t, definition_of(t, val_str(it.val)));
		oa_key(t->out, &any, it.key);
		put(t, m->shape, it.val);
	}
	buf_byte(t->out, '}');
}

static void put(struct tidy *t, enum shape s, struct val v)
{
	switch (s) {
	case WORDS:
		put_list(t, WORD, v);
		break;
	case PARAMETERS:
		put_list(t, PARAMETER, v);
		break;
	case SCHEMAS:
		put_map(t, SCHEMA, v);
		break;
	case RESPONSES:
		put_map(t, RESPONSE, v);
		break;
	case SCHEMA:
	case ITEM:
	case OPERATION:
	case PARAMETER:
	case RESPONSE:
		put_object(t, s, v);
		break;
	default:
		buf_str(t->out, val_text(v));
	}
}

static size_t put_paths(struct tidy *t, struct str own)
{
	bool any = false;
	size_t n = 0;

	for (struct val_iter it = val_iter(val_get(t->document, "paths")); val_next(&it);) {
		if (!str_starts(it.key, own) || !is_kind(it.val, VAL_MAP))
			continue;
		oa_key(t->out, &any, it.key);
		put(t, ITEM, it.val);
		n++;
	}
	return n;
}

static void known_of(struct tidy *t, struct arena *a)
{
	struct val all = val_get(t->document, "definitions");

	t->known = map_new(NULL);
	t->queue = ARENA_ARRAY(a, struct definition *, val_len(all) + 1);
	for (struct val_iter it = val_iter(all); val_next(&it);) {
		struct definition *d = ARENA_NEW(a, struct definition);

		d->name = it.key;
		d->v = it.val;
		if (is_kind(it.val, VAL_MAP))
			map_put(t->known, it.key, d);
	}
}

int openapi_tidy(struct val document, const char *group, const char *version, struct buf *out)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct tidy t = { .group = str_c(group), .version = str_c(version), .document = document, .out = out };
	bool any = false;

	known_of(&t, a);
	buf_c(out, "{\"paths\":{");
	size_t n = put_paths(&t, arena_strf(a, "/apis/%s/%s/", group, version));
	buf_c(out, "},\"definitions\":{");
	for (size_t i = 0; i < t.n_queue && !out->full; i++) { /* it grows meanwhile */
		oa_key(out, &any, t.queue[i]->name);
		put(&t, SCHEMA, t.queue[i]->v);
	}
	buf_c(out, "}}");
	map_free(t.known);
	return out->full ? -ERR_TOO_LARGE : n ? 0 : -ERR_NOT_FOUND;
}

/* ---- names ----------------------------------------------------------------------------------- */

struct named {
	struct str name, as;
	struct val v;
	uint64_t print, next; /* of what it says, and of what is said where it refers to */
};
struct naming {
	struct oa_others *x;
	const struct oa *o;
	struct map *taken; /* a name that others have in the document → struct named */
	struct map *here;  /* of one server: name → struct named */
};

static struct named *named_of(const struct naming *g, struct str ref)
{
	size_t n = sizeof(DEFINITIONS) - 1;

	return str_starts(ref, STR(DEFINITIONS)) ? map_get(g->here, str_sub(ref, n, ref.n)) : NULL;
}

static uint64_t mix(uint64_t h, uint64_t with)
{
	return (h ^ with) * 0x9e3779b97f4a7c15u + (h >> 29);
}

static uint64_t print_refs(const struct naming *g, struct val v, uint64_t h)
{
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		struct named *to = str_is(it.key, "$ref") ? named_of(g, val_str(it.val)) : NULL;

		h = to ? mix(h, to->print) : print_refs(g, it.val, h);
	}
	return h;
}

static void print_all(const struct naming *g)
{
	struct str key;
	void *value;

	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; map_next(g->here, &i, &key, &value);) {
			struct named *d = value;

			d->next = print_refs(g, d->v, d->print);
		}
		for (size_t i = 0; map_next(g->here, &i, &key, &value);)
			((struct named *)value)->print = ((struct named *)value)->next;
	}
}

/* True: it is new in the document. */
static bool choose_name(struct naming *g, struct named *d)
{
	for (int i = 1;; i++) {
		struct str name = i == 1 ? d->name : arena_strf(g->x->a, "%.*s_v%d", STR_ARG(d->name), i);
		const struct named *by = map_get(g->taken, name);

		if (map_get(g->o->seen, name) || (by && by->print != d->print))
			continue;
		d->as = name;
		if (!by)
			map_put(g->taken, name, d);
		return !by;
	}
}

static void write_renamed(const struct naming *g, struct val v, struct buf *b)
{
	bool list = val_kind(v) == VAL_LIST, any = false;

	if (!list && val_kind(v) != VAL_MAP) {
		buf_str(b, val_text(v));
		return;
	}
	buf_byte(b, list ? '[' : '{');
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		struct named *to = str_is(it.key, "$ref") ? named_of(g, val_str(it.val)) : NULL;

		if (!list)
			oa_key(b, &any, it.key);
		else if (it.i)
			buf_byte(b, ',');
		if (to)
			buf_printf(b, "\"" DEFINITIONS "%.*s\"", STR_ARG(to->as));
		else
			write_renamed(g, it.val, b);
	}
	buf_byte(b, list ? ']' : '}');
}

static void add_piece(struct naming *g, struct oa_pieces *to, struct str name, struct val v)
{
	auto_buf struct buf b = BUF_INIT;

	GROW(to->v, to->n, to->room, 32);
	write_renamed(g, v, &b);
	to->v[to->n++] = (struct oa_piece){ arena_str(g->x->a, name), arena_str(g->x->a, buf_view(&b)) };
}

static void add_server(struct naming *g, struct val document)
{
	struct val definitions = val_get(document, "definitions");
	struct named **fresh = ARENA_ARRAY(g->x->a, struct named *, val_len(definitions) + 1);
	struct str key;
	void *value;
	size_t n = 0;

	g->here = map_new(NULL);
	for (struct val_iter it = val_iter(definitions); val_next(&it);) {
		struct named *d = ARENA_NEW(g->x->a, struct named);

		*d = (struct named){ .name = it.key, .v = it.val, .print = str_hash(val_text(it.val)) };
		map_put(g->here, it.key, d);
	}
	print_all(g);
	for (size_t i = 0; map_next(g->here, &i, &key, &value);)
		if (choose_name(g, value))
			fresh[n++] = value;
	for (size_t i = 0; i < n; i++)
		add_piece(g, &g->x->definitions, fresh[i]->as, fresh[i]->v);
	for (struct val_iter it = val_iter(val_get(document, "paths")); val_next(&it);)
		add_piece(g, &g->x->paths, it.key, it.val);
	map_free(g->here);
}

void oa_others_init(struct oa_others *x, const struct oa *o, const struct val *others, size_t n)
{
	struct naming g = { .x = x, .o = o, .taken = map_new(NULL) };

	*x = (struct oa_others){ .a = arena_new() };
	for (size_t i = 0; i < n; i++)
		add_server(&g, others[i]);
	map_free(g.taken);
}

void oa_others_fini(struct oa_others *x)
{
	free(x->paths.v);
	free(x->definitions.v);
	arena_free(x->a);
}

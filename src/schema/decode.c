/* Decoding: a client's JSON against its type. Wrong types are refused, unknown fields dropped and reported, nulls
 * dropped, times and quantities written in their one form. */
#include "base/clock.h"
#include "schema/schema_internal.h"
#include <math.h>
#include <stdio.h>

static int decode(struct decode *d, const struct schema_type *t, const struct schema_type *owner, struct node *n,
	const struct place *at);

void decode_unknown(struct decode *d, const struct place *at)
{
	char path[PATH_MAX_TEXT];

	if (!d->rep || !d->rep->unknown)
		return;
	place_text(at, PLACE_STRICT, path, sizeof(path));
	d->rep->unknown(d->rep->arg, str_c(path));
}

static const char *json_word(struct node *n)
{
	switch (node_kind(n)) {
	case VAL_BOOL:
		return "bool";
	case VAL_INT:
	case VAL_FLOAT:
		return "number";
	case VAL_STR:
		return "string";
	case VAL_LIST:
		return "array";
	case VAL_MAP:
		return "object";
	default:
		return "null";
	}
}

/* As it was written, most likely: whole numbers with all their digits. */
static void number_word(double d, char *ret, size_t size)
{
	bool digits = (d >= 1e15 || d <= -1e15) && d < 1e21 && d > -1e21; /* which %g would round */

	if (digits)
		snprintf(ret, size, "number %.0f", d);
	else
		snprintf(ret, size, "number %g", d);
}

/* owner: the innermost object around it, as Go names it in its messages. */
static int wrong(struct decode *d, const struct schema_type *t, const struct schema_type *owner, struct node *n,
	const struct place *at)
{
	char path[PATH_MAX_TEXT], type[160], word[64];

	schema_go_type(t, type, sizeof(type));
	place_text(at, PLACE_GO, path, sizeof(path));
	if (node_kind(n) == VAL_FLOAT)
		number_word(node_float_of(n, 0), word, sizeof(word));
	else if (node_kind(n) == VAL_INT)
		snprintf(word, sizeof(word), "number %lld", (long long)node_int_of(n, 0));
	else
		snprintf(word, sizeof(word), "%s", json_word(n));
	if ((t->kind != SCHEMA_INT32 && t->kind != SCHEMA_INT64) || node_kind(n) < VAL_INT || node_kind(n) > VAL_FLOAT)
		snprintf(word, sizeof(word), "%s", json_word(n));
	if (!path[0])
		return err_set(d->e, ERR_BAD_REQUEST, "json: cannot unmarshal %s into Go value of type %s", word, type);
	return err_set(d->e, ERR_BAD_REQUEST, "json: cannot unmarshal %s into Go struct field %s.%s of type %s", word,
		owner ? schema_short_name(owner) : "", path, type);
}

static int decode_integer(struct decode *d, const struct schema_type *t, const struct schema_type *owner,
	struct node *n, const struct place *at)
{
	int64_t i = node_int_of(n, INT64_MIN);
	bool fits = node_kind(n) == VAL_INT;

	if (node_kind(n) == VAL_FLOAT) { /* 1.0 and 1e3 are integers to the decoder; 1.5 is not */
		double f = node_float_of(n, 0);

		fits = f == floor(f) && fabs(f) < 9e18;
		if (fits)
			node_assign(n, node_int(d->a, i));
	}
	if (t->kind == SCHEMA_INT32)
		fits = fits && i >= INT32_MIN && i <= INT32_MAX;
	if (t->kind == SCHEMA_UINT32)
		fits = fits && i >= 0 && i <= UINT32_MAX;
	return fits ? 0 : wrong(d, t, owner, n, at);
}

static int decode_quantity(struct decode *d, const struct schema_type *t, struct node *n)
{
	char text[QUANTITY_TEXT_MAX];
	struct quantity q;
	struct str s = node_text_str(n);

	if (node_kind(n) == VAL_INT || node_kind(n) == VAL_FLOAT) {
		auto_buf struct buf b = BUF_INIT;

		node_write(n, &b);
		s = arena_str(d->a, buf_view(&b));
	} else if (node_kind(n) != VAL_STR) {
		s = STR_NULL;
	}
	if (!quantity_parse(s, &q))
		return err_set(d->e, ERR_BAD_REQUEST, "%s", quantity_wrong(s));
	quantity_text(q, text);
	if (node_kind(n) != VAL_STR || !str_is(s, text))
		node_assign(n, node_c(d->a, text));
	return 0;
}

/* Go reads as many digits as its layout has. NULL: they are six; else what *ret_rest, the rest of the text, should be. */
static const char *micro_wrong(struct str s, struct str *ret_rest)
{
	struct str fraction = str_sub(s, strlen("2006-01-02T15:04:05"), s.n);
	size_t n = str_starts(fraction, STR("."));

	while (n && n < fraction.n && fraction.p[n] >= '0' && fraction.p[n] <= '9')
		n++;
	*ret_rest = n > strlen(".000000") ? str_sub(fraction, strlen(".000000"), fraction.n) : fraction;
	if (n == strlen(".000000"))
		return NULL;
	return n > strlen(".000000") ? "Z07:00" : ".000000";
}

static int decode_time(struct decode *d, const struct schema_type *t, const struct schema_type *owner, struct node *n,
	const struct place *at)
{
	char text[TIME_TEXT_MAX];
	struct str s = node_text_str(n);
	const char *layout = t->kind == SCHEMA_TIME ? "2006-01-02T15:04:05Z07:00" : "2006-01-02T15:04:05.000000Z07:00";
	const char *wanted = NULL;
	struct str rest = s;
	struct instant w;

	if (node_kind(n) != VAL_STR)
		return wrong(d, schema_tables.string, owner, n, at);
	if (!instant_parse(s, &w))
		wanted = "2006";
	else if (t->kind == SCHEMA_MICRO_TIME)
		wanted = micro_wrong(s, &rest);
	if (wanted)
		return err_set(d->e, ERR_BAD_REQUEST,
			"parsing time \"%.*s\" as \"%s\": cannot parse \"%.*s\" as \"%s\"", STR_ARG(s), layout,
			STR_ARG(rest), wanted);
	instant_text(w, t->kind == SCHEMA_TIME ? 0 : 6, text);
	if (!str_is(s, text))
		node_assign(n, node_c(d->a, text));
	return 0;
}

static int decode_duration(struct decode *d, const struct schema_type *owner, struct node *n, const struct place *at)
{
	struct str s = node_text_str(n);
	char text[TIME_TEXT_MAX];
	int64_t ns;

	if (node_kind(n) != VAL_STR)
		return wrong(d, schema_tables.string, owner, n, at);
	if (!duration_parse(s, &ns))
		return err_set(d->e, ERR_BAD_REQUEST, "time: invalid duration \"%.*s\"", STR_ARG(s));
	duration_text(ns, text);
	if (!str_is(s, text))
		node_assign(n, node_c(d->a, text));
	return 0;
}

static int decode_bytes(struct decode *d, const struct schema_type *t, const struct schema_type *owner, struct node *n,
	const struct place *at)
{
	auto_buf struct buf b = BUF_INIT;

	if (node_kind(n) != VAL_STR)
		return wrong(d, t, owner, n, at);
	if (base64_decode(node_text_str(n), &b))
		return err_set(d->e, ERR_BAD_REQUEST, "illegal base64 data at input byte %zu", b.n / 3 * 4);
	return 0;
}

struct node *zero_of_null(struct arena *a, const struct schema_type *t)
{
	switch (t->kind) {
	case SCHEMA_OBJECT:
	case SCHEMA_MAP:
		return node_map(a);
	case SCHEMA_LIST:
		return node_list(a);
	case SCHEMA_STRING:
	case SCHEMA_BYTES:
		return node_c(a, "");
	case SCHEMA_QUANTITY:
		return node_c(a, "0");
	case SCHEMA_BOOL:
		return node_bool(a, false);
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
	case SCHEMA_DOUBLE:
	case SCHEMA_INT_OR_STRING:
		return node_int(a, 0);
	default:
		return NULL;
	}
}

static int decode_elements(struct decode *d, const struct schema_type *t, const struct schema_type *owner,
	struct node *n, const struct place *at)
{
	bool map = t->kind == SCHEMA_MAP;

	if (node_kind(n) != (map ? VAL_MAP : VAL_LIST))
		return wrong(d, t, owner, n, at);
	for (size_t i = 0; i < node_len(n); i++) {
		struct node *child = node_at(n, i);
		struct place here = { at, map ? node_key_at(n, i) : STR_NULL, map ? -1 : (long)i, map };
		int r;

		if (node_kind(child) == VAL_NULL) {
			struct node *zero = d->rep && d->rep->keep_nulls ? NULL : zero_of_null(d->a, t->element);

			if (zero)
				node_assign(child, zero);
			continue;
		}
		r = decode(d, t->element, owner, child, &here);
		if (r)
			return r;
	}
	return 0;
}

/* Of the object's own metadata only maps and lists are anybody's. */
static bool null_stays(const struct decode *d, const struct place *at, const struct schema_field *f)
{
	if (!d->rep || !d->rep->keep_nulls)
		return false;
	if (!at)
		return strcmp(f->name, "metadata") != 0;
	return at->up || !str_is(at->name, "metadata") || f->type->kind == SCHEMA_MAP || f->type->kind == SCHEMA_LIST;
}

static int decode_object(struct decode *d, const struct schema_type *t, const struct schema_type *owner, struct node *n,
	const struct place *at)
{
	if (node_kind(n) != VAL_MAP)
		return wrong(d, t, owner, n, at);
	for (size_t i = 0; i < node_len(n);) {
		struct str key = node_key_at(n, i);
		struct place here = { at, key, -1, false };
		const struct schema_field *f = schema_field(t, key);
		struct node *child = node_at(n, i);
		int r;

		if (!f) {
			decode_unknown(d, &here);
			node_del(n, key);
			continue;
		}
		if (node_kind(child) == VAL_NULL) {
			if ((f->type->kind == SCHEMA_JSON && !f->pointer) ||
				null_stays(d, at, f)) { /* it is a value there */
				i++;
				continue;
			}
			node_del(n, key);
			continue;
		}
		r = decode(d, f->type, t, child, &here);
		if (r)
			return r;
		i++;
	}
	return 0;
}

static int decode_alternative(struct decode *d, const struct schema_type *t, const struct schema_type *owner,
	struct node *n, const struct place *at)
{
	const struct schema_type list = { .kind = SCHEMA_LIST, .element = t->element };

	if (node_kind(n) == VAL_MAP)
		return decode_object(d, t->element, owner, n, at);
	if (t->kind == SCHEMA_OR_BOOL && node_kind(n) == VAL_BOOL)
		return 0;
	if (t->kind == SCHEMA_OR_LIST && node_kind(n) == VAL_LIST)
		return decode_elements(d, &list, owner, n, at);
	if (t->kind == SCHEMA_OR_STRINGS && node_kind(n) == VAL_LIST)
		return decode_elements(d, schema_tables.strings, owner, n, at);
	return wrong(d, t, owner, n, at);
}

static int decode_plain(struct decode *d, const struct schema_type *t, const struct schema_type *owner, struct node *n,
	const struct place *at)
{
	enum val_kind k = node_kind(n);

	switch (t->kind) {
	case SCHEMA_STRING:
		return k == VAL_STR ? 0 : wrong(d, t, owner, n, at);
	case SCHEMA_BOOL:
		return k == VAL_BOOL ? 0 : wrong(d, t, owner, n, at);
	case SCHEMA_DOUBLE:
		return k == VAL_INT || k == VAL_FLOAT ? 0 : wrong(d, t, owner, n, at);
	case SCHEMA_INT_OR_STRING:
		return k == VAL_STR ? 0 :
			k == VAL_INT || k == VAL_FLOAT ?
				      decode_integer(d, &(struct schema_type){ .kind = SCHEMA_INT32 }, owner, n, at) :
				      wrong(d, t, owner, n, at);
	case SCHEMA_DURATION:
		return decode_duration(d, owner, n, at);
	case SCHEMA_FIELDS_V1:
	case SCHEMA_RAW:
		return k == VAL_MAP ? 0 : wrong(d, t, owner, n, at);
	default:
		return 0;
	}
}

static int decode(struct decode *d, const struct schema_type *t, const struct schema_type *owner, struct node *n,
	const struct place *at)
{
	switch (t->kind) {
	case SCHEMA_OBJECT:
		return decode_object(d, t, owner, n, at);
	case SCHEMA_LIST:
	case SCHEMA_MAP:
		return decode_elements(d, t, owner, n, at);
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
		return decode_integer(d, t, owner, n, at);
	case SCHEMA_QUANTITY:
		return decode_quantity(d, t, n);
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
		return decode_time(d, t, owner, n, at);
	case SCHEMA_BYTES:
		return decode_bytes(d, t, owner, n, at);
	case SCHEMA_OR_BOOL:
	case SCHEMA_OR_LIST:
	case SCHEMA_OR_STRINGS:
		return decode_alternative(d, t, owner, n, at);
	default:
		return decode_plain(d, t, owner, n, at);
	}
}

int decode_typed(struct decode *d, const struct schema_type *t, struct node *n, const struct place *at)
{
	return t->custom ? decode_custom(d, t, n, at) : decode(d, t, NULL, n, at);
}

int schema_decode(
	const struct schema_type *t, struct arena *a, struct node *n, const struct schema_report *rep, struct err *e)
{
	struct decode d = { a, rep, e };

	return decode_typed(&d, t, n, NULL);
}

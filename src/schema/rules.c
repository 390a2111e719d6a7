/* Checking a custom object's values, in the words of upstream's OpenAPI validation. */
#include "schema/rules.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Alternatives are tried with a check of their own that is thrown away. */
struct run {
	struct check *c;
	struct buf path; /* "spec.list[0].name" */
	size_t matches;  /* what upstream counts as it checks: of alternatives the one that counts most is told */
};

/* old: what v was before this change, which is not judged again where it stays as it is; VAL_NONE: v is new. */
static void apply(struct run *w, const struct schema_rules *r, struct val v, struct val old);

static const char *path_of(struct run *w)
{
	buf_byte(&w->path, 0);
	w->path.n--;
	return w->path.p;
}

#define TOLD_ONCE_MOST 64 /* more errors are not compared with each other */

/* Several alternatives may say the same. */
static void tell(struct check *c, const char *reason, const char *path, const char *sentence)
{
	for (size_t at = 0; at < c->causes.n && c->n < TOLD_ONCE_MOST;) {
		const char *r = c->causes.p + at, *p = r + strlen(r) + 1, *s = p + strlen(p) + 1;

		if (!strcmp(p, path) && !strcmp(s, sentence))
			return;
		at = (size_t)(s + strlen(s) + 1 - c->causes.p);
	}
	check_fail(c, reason, path, sentence);
}

static void fail_at(struct run *w, const char *reason, const char *more, const char *sentence)
{
	size_t n = w->path.n;

	if (more && n)
		buf_byte(&w->path, '.');
	if (more)
		buf_c(&w->path, more);
	tell(w->c, reason, path_of(w), sentence);
	w->path.n = n;
}

/* "Invalid value: VALUE: PATH in body SENTENCE" */
static void invalid_as(struct run *w, const char *reason, struct str value, const char *fmt, va_list ap)
{
	auto_buf struct buf b = BUF_INIT;
	char sentence[512];

	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	buf_printf(&b, "Invalid value: %.*s%s: %s in body %s", (int)MIN(value.n, (size_t)300), value.p,
		value.n > 300 ? "..." : "", path_of(w), sentence);
	buf_byte(&b, 0);
	fail_at(w, reason, NULL, b.p);
}

static void invalid(struct run *w, struct str value, const char *fmt, ...) PRINTF(3, 4);
static void invalid(struct run *w, struct str value, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	invalid_as(w, "FieldValueInvalid", value, fmt, ap);
	va_end(ap);
}

static void wrong_type(struct run *w, struct str value, const char *fmt, ...) PRINTF(3, 4);
static void wrong_type(struct run *w, struct str value, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	invalid_as(w, "FieldValueTypeInvalid", value, fmt, ap);
	va_end(ap);
}

static void too_long(struct run *w, int64_t max)
{
	char sentence[80];

	snprintf(sentence, sizeof(sentence), "Too long: may not be more than %" PRId64 " bytes", max);
	fail_at(w, "FieldValueTooLong", NULL, sentence);
}

static void too_many(struct run *w, size_t n, int64_t max)
{
	char sentence[80];

	snprintf(sentence, sizeof(sentence), "Too many: %zu: must have at most %" PRId64 " items", n, max);
	fail_at(w, "FieldValueTooMany", NULL, sentence);
}

static void too_few(struct run *w, size_t n, int64_t min, const char *what)
{
	char count[24];

	snprintf(count, sizeof(count), "%zu", n);
	invalid(w, str_c(count), "should have at least %" PRId64 " %s", min, what);
}

/* A number that is as good as a whole one. Beyond 2^53 nothing is. */
static bool whole(double f)
{
	double below = trunc(f), off = fabs(f - below);

	return fabs(f) < 9007199254740992.0 && (off == 0 || (below != 0 && off / (fabs(f) + fabs(below)) < 1e-9));
}

static bool type_fits(uint8_t types, struct val v)
{
	switch (val_kind(v)) {
	case VAL_STR:
		return types & RULE_STRING;
	case VAL_BOOL:
		return types & RULE_BOOLEAN;
	case VAL_MAP:
		return types & RULE_OBJECT;
	case VAL_LIST:
		return types & RULE_ARRAY;
	case VAL_INT:
		return types & (RULE_NUMBER | RULE_INTEGER);
	case VAL_FLOAT:
		return types & RULE_NUMBER || (types & RULE_INTEGER && whole(val_float(v, 0.5)));
	default:
		return false;
	}
}

static const char *type_words(uint8_t types)
{
	switch (types) {
	case RULE_STRING:
		return "string";
	case RULE_INTEGER:
		return "integer";
	case RULE_NUMBER:
		return "number";
	case RULE_BOOLEAN:
		return "boolean";
	case RULE_OBJECT:
		return "object";
	case RULE_ARRAY:
		return "array";
	default:
		return "integer,string";
	}
}

static const char *value_word(struct val v)
{
	static const char *const words[] = { [VAL_NULL] = "null",
		[VAL_BOOL] = "boolean",
		[VAL_INT] = "integer",
		[VAL_FLOAT] = "number",
		[VAL_STR] = "string",
		[VAL_LIST] = "array",
		[VAL_MAP] = "object" };

	return words[val_kind(v)] ? words[val_kind(v)] : "null";
}

static bool is_number(enum val_kind k)
{
	return k == VAL_INT || k == VAL_FLOAT;
}

/* Where there is a format, upstream asks for that, and takes lists for texts. */
static const char *other_format(const struct schema_rules *r, struct val v)
{
	enum val_kind k = val_kind(v);

	if (!r->format || k == VAL_STR || k == VAL_LIST || k == VAL_NULL)
		return NULL;
	return k == VAL_INT ? "int64" : k == VAL_FLOAT ? "float64" : "";
}

static bool check_type(struct run *w, const struct schema_rules *r, struct val v)
{
	bool text = r->format && !(r->types & (RULE_INTEGER | RULE_NUMBER)) &&
		(val_kind(v) == VAL_STR || val_kind(v) == VAL_LIST);
	const char *format = other_format(r, v);
	char word[16];

	if ((!r->types && (!format || val_kind(v) == VAL_NULL)) || text || type_fits(r->types, v) ||
		(val_kind(v) == VAL_NULL && r->nullable))
		return true;
	snprintf(word, sizeof(word), "\"%s\"", format ? format : value_word(v));
	wrong_type(
		w, str_c(word), "must be of type %s: %s", format ? format_name(r->format) : type_words(r->types), word);
	return false;
}

static size_t runes(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* The first limit that does not hold. */
static void check_text(struct run *w, const struct rule_limits *l, struct val v)
{
	struct str s = val_str(v), text = val_text(v);

	if (l->max_length >= 0 && runes(s) > (size_t)l->max_length) {
		too_long(w, l->max_length);
		return;
	}
	if (l->min_length >= 0 && runes(s) < (size_t)l->min_length) {
		invalid(w, text, "should be at least %" PRId64 " chars long", l->min_length);
		return;
	}
	if (!l->compiled)
		return;
	switch (pattern_match(l->compiled, s)) {
	case PATTERN_NO:
		invalid(w, text, "should match '%s'", l->pattern);
		break;
	case PATTERN_TOO_EXPENSIVE:
		invalid(w, text, "could not be matched with '%s': it takes too many steps", l->pattern);
		break;
	default:
		break;
	}
}

static void check_string(struct run *w, const struct schema_rules *r, struct val v)
{
	struct str text = val_text(v);

	if (r->limits)
		check_text(w, r->limits, v);
	w->matches++;
	if (!r->format || format_is_number(r->format))
		return;
	w->matches++;
	if (!format_holds(r->format, val_str(v)))
		wrong_type(w, text, "must be of type %s: %.*s", format_name(r->format), (int)MIN(text.n, (size_t)200),
			text.p);
}

/* A bound as integers see it. */
static int64_t int_bound(struct rule_number bound)
{
	double f = bound.value;

	return f >= 9223372036854775808.0 ? INT64_MAX : f <= -9223372036854775808.0 ? INT64_MIN : (int64_t)f;
}

static int compare(struct val v, struct rule_number bound)
{
	double f = val_float(v, 0);
	int64_t i = val_int(v, 0), b = int_bound(bound);

	if (val_kind(v) == VAL_INT)
		return (i > b) - (i < b);
	return (f > bound.value) - (f < bound.value);
}

static bool is_multiple(struct val v, double factor)
{
	double f = val_float(v, (double)val_int(v, 0));

	if (val_kind(v) == VAL_INT && factor >= 1 && factor < 9223372036854775808.0)
		return val_int(v, 0) % (int64_t)factor == 0;
	return whole(factor < 1 ? 1 / factor * f : f / factor);
}

static void tell_bound(struct run *w, struct val v, struct rule_number bound, const char *words)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64, int_bound(bound));
	invalid(w, val_text(v), "should be %s%s%s", words, bound.exclusive ? "" : "or equal to ",
		val_kind(v) == VAL_INT ? text : bound.text);
}

static void tell_multiple(struct run *w, struct val v, struct rule_number factor)
{
	auto_buf struct buf b = BUF_INIT;

	if (factor.value >= 0) {
		invalid(w, val_text(v), "should be a multiple of %s", factor.text);
		return;
	}
	buf_printf(&b, "Invalid value: %s: factor MultipleOf declared for %s must be positive: %s", factor.text,
		path_of(w), factor.text);
	buf_byte(&b, 0);
	fail_at(w, "FieldValueInvalid", NULL, b.p);
}

static void check_number(struct run *w, const struct rule_limits *l, struct val v)
{
	if (l->multiple.given && (l->multiple.value < 0 || !is_multiple(v, l->multiple.value)))
		tell_multiple(w, v, l->multiple);
	if (l->min.given && compare(v, l->min) < (l->min.exclusive ? 1 : 0))
		tell_bound(w, v, l->min, "greater than ");
	if (l->max.given && compare(v, l->max) > (l->max.exclusive ? -1 : 0))
		tell_bound(w, v, l->max, "less than ");
}

static bool same_keys(const char *const *keys, struct val x, struct val y)
{
	for (size_t i = 0; keys[i]; i++) {
		struct val kx = val_get(x, keys[i]), ky = val_get(y, keys[i]);

		if (val_has(kx) != val_has(ky) || (val_has(kx) && !val_equal(kx, ky)))
			return false;
	}
	return true;
}

/* The element that this one was before. Only keys tell that, so of other lists every element counts as new. */
static struct val element_before(const struct schema_rules *r, struct val item, struct val old)
{
	if (r->list == SCHEMA_LIST_MAP)
		for (struct val_iter it = val_iter(old); val_next(&it);)
			if (same_keys(r->list_keys, item, it.val))
				return it.val;
	return VAL_NONE;
}

static void check_list(struct run *w, const struct schema_rules *r, struct val v, struct val old)
{
	const struct rule_limits *l = r->limits;
	size_t n = val_len(v), at = w->path.n;

	for (struct val_iter it = val_iter(v); r->items && val_next(&it);) {
		buf_printf(&w->path, "[%zu]", it.i);
		apply(w, r->items, it.val, element_before(r, it.val, old));
		w->path.n = at;
	}
	if (l && l->min_items >= 0 && n < (size_t)l->min_items)
		too_few(w, n, l->min_items, "items");
	if (l && l->max_items >= 0 && n > (size_t)l->max_items)
		too_many(w, n, l->max_items);
}

const struct schema_rules *rules_field(const struct schema_rules *r, struct str name)
{
	size_t lo = 0, hi = r->n_fields;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = str_cmp(name, r->fields[mid].name);

		if (!c)
			return r->fields[mid].rules;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return r->additional;
}

static void check_fields(struct run *w, const struct schema_rules *r, struct val v, struct val old)
{
	const struct rule_limits *l = r->limits;
	size_t at = w->path.n, n = val_len(v);

	if (l && l->min_fields >= 0 && n < (size_t)l->min_fields)
		too_few(w, n, l->min_fields, "properties");
	if (l && l->max_fields >= 0 && n > (size_t)l->max_fields)
		too_many(w, n, l->max_fields);
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		const struct schema_rules *f = rules_field(r, it.key);

		if (!f)
			continue;
		if (at || f == r->additional) /* so does upstream, in a default that is a map */
			buf_byte(&w->path, '.');
		buf_str(&w->path, it.key);
		apply(w, f, it.val, val_get_str(old, it.key));
		w->path.n = at;
	}
	for (size_t i = 0; r->required && r->required[i]; i++)
		if (!val_has(val_get(v, r->required[i])))
			fail_at(w, "FieldValueRequired", r->required[i], "Required value");
}

/* Numbers are compared as what the enum has: a whole one there stands for all that begin with it. */
static bool is_enum(struct val v, struct str text)
{
	struct doc *d;
	struct err e;
	bool same;

	if (str_eq(text, val_text(v)))
		return true;
	err_init(&e);
	if (val_kind(v) < VAL_INT || val_kind(v) == VAL_STR || doc_parse(text, &d, &e) < 0)
		return false;
	same = val_equal(v, doc_root(d));
	if (val_kind(v) == VAL_FLOAT && val_kind(doc_root(d)) == VAL_INT)
		same = trunc(val_float(v, 0)) == (double)val_int(doc_root(d), 0);
	doc_unref(d);
	return same;
}

static void check_enum(struct run *w, const struct rule_limits *l, struct val v)
{
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < l->n_enums; i++)
		if (is_enum(v, l->enums[i]))
			return;
	struct str text = val_kind(v) == VAL_NULL ? STR("\"null\"") : str_sub(val_text(v), 0, 300);
	buf_printf(&b, "Unsupported value: %.*s: supported values: ", STR_ARG(text));
	for (size_t i = 0; i < l->n_enums; i++) {
		bool quoted = l->enums[i].p[0] == '"';

		buf_printf(
			&b, "%s%s%.*s%s", i ? ", " : "", quoted ? "" : "\"", STR_ARG(l->enums[i]), quoted ? "" : "\"");
	}
	buf_byte(&b, 0);
	fail_at(w, "FieldValueNotSupported", NULL, b.p);
}

/* ---- combinations ---------------------------------------------------------------------------- */

static void trial_end(struct check *c)
{
	buf_fini(&c->text);
	buf_fini(&c->causes);
}

/* What v is under r alone. */
struct trial {
	struct check c; /* n 0: it holds */
	size_t matches;
};

/* What v was before counts for nothing in most: `not` and `oneOf` would fail where more is let pass. */
static struct trial trial(struct run *w, const struct schema_rules *r, struct val v, struct val old)
{
	struct trial t = { .c = { .text = BUF_INIT, .causes = BUF_INIT } };
	struct run inner = { .c = &t.c, .path = w->path };

	apply(&inner, r, v, old);
	w->path = inner.path; /* it may have grown, and moved */
	t.matches = inner.matches;
	return t;
}

static bool holds(struct run *w, const struct schema_rules *r, struct val v)
{
	struct trial t = trial(w, r, v, VAL_NONE);

	trial_end(&t.c);
	return !t.c.n;
}

static void adopt(struct run *w, const struct check *c)
{
	for (size_t at = 0; at < c->causes.n;) {
		const char *reason = c->causes.p + at, *path = reason + strlen(reason) + 1,
			   *sentence = path + strlen(path) + 1;

		tell(w->c, reason, path, sentence);
		at = (size_t)(sentence + strlen(sentence) + 1 - c->causes.p);
	}
}

static void composite(struct run *w, const char *sentence)
{
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b, "Invalid value: \"\": \"%s\" %s", path_of(w), sentence);
	buf_byte(&b, 0);
	tell(w->c, "FieldValueInvalid", "<nil>", b.p);
}

/* How many of the list hold, at most `enough`. *told (own): the first of those, or else the failure that matches most. */
static size_t holding(struct run *w, const struct rules_list *l, struct val v, size_t enough, struct trial *told)
{
	size_t n = 0;

	*told = (struct trial){ .c = { .text = BUF_INIT, .causes = BUF_INIT } };
	for (size_t i = 0; i < l->n && n < enough; i++) {
		struct trial t = trial(w, l->of[i], v, VAL_NONE);
		bool better = t.c.n ? !n && (!told->c.n || t.matches > told->matches) : !n;

		n += !t.c.n;
		trial_end(better ? &told->c : &t.c);
		if (better)
			*told = t;
	}
	return n;
}

static void check_any(struct run *w, const struct rules_list *l, struct val v)
{
	struct trial told;

	if (!holding(w, l, v, 1, &told))
		composite(w, "must validate at least one schema (anyOf)");
	adopt(w, &told.c);
	w->matches += told.matches;
	trial_end(&told.c);
}

static void check_one(struct run *w, const struct rules_list *l, struct val v)
{
	struct trial told;
	size_t n = holding(w, l, v, SIZE_MAX, &told);
	char sentence[96];

	if (!n) {
		composite(w, "must validate one and only one schema (oneOf). Found none valid");
		adopt(w, &told.c);
	} else if (n > 1) {
		snprintf(sentence, sizeof(sentence),
			"must validate one and only one schema (oneOf). Found %zu valid alternatives", n);
		composite(w, sentence);
	}
	w->matches += n < 2 ? told.matches : 0;
	trial_end(&told.c);
}

static void check_all(struct run *w, const struct rules_list *l, struct val v, struct val old)
{
	size_t failed = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct trial t = trial(w, l->of[i], v, old);

		failed += t.c.n > 0;
		adopt(w, &t.c);
		w->matches += t.matches;
		trial_end(&t.c);
	}
	if (failed)
		composite(w,
			failed == l->n ? "must validate all the schemas (allOf). None validated" :
					 "must validate all the schemas (allOf)");
}

static void check_combos(struct run *w, const struct rule_combos *k, struct val v, struct val old)
{
	if (k->any.n)
		check_any(w, &k->any, v);
	if (k->one.n)
		check_one(w, &k->one, v);
	if (k->all.n)
		check_all(w, &k->all, v, old);
	if (k->not &&holds(w, k->not, v))
		composite(w, "must not validate the schema (not)");
}

static void check_kind(struct run *w, const struct schema_rules *r, struct val v, struct val old)
{
	enum val_kind k = val_kind(v);

	if (k == VAL_STR)
		check_string(w, r, v);
	else if (is_number(k) && r->limits)
		check_number(w, r->limits, v);
	else if (k == VAL_LIST)
		check_list(w, r, v, old);
	w->matches += k == VAL_LIST || is_number(k) ? 2 : 0;
	if (r->limits && r->limits->n_enums)
		check_enum(w, r->limits, v);
	if (k == VAL_MAP)
		check_fields(w, r, v, old);
	w->matches += k == VAL_MAP ? 2 : 1;
}

static void apply(struct run *w, const struct schema_rules *r, struct val v, struct val old)
{
	bool fits;

	if (val_has(old) && val_equal(v, old))
		return;
	fits = check_type(w, r, v); /* the rest is asked all the same */
	if (val_kind(v) == VAL_NULL) {
		w->matches += fits;
		if (r->limits && r->limits->n_enums)
			check_enum(w, r->limits, v);
		return;
	}
	w->matches += (r->types || r->format ? 1 + fits : 0) + 3;
	if (r->combos)
		check_combos(w, r->combos, v, old);
	check_kind(w, r, v, old);
}

void rules_check(struct check *c, const struct schema_rules *r, struct val v, struct val old)
{
	struct run w = { .c = c, .path = BUF_INIT };

	/* Nearly everything is right, and then nothing needs to be compared with what was before. */
	if (!val_has(old) || !holds(&w, r, v))
		apply(&w, r, v, old);
	buf_fini(&w.path);
}

/* ---- lists of type set and map have no element twice ----------------------------------------- */

static void fail_duplicate(struct run *w, const struct schema_rules *r, struct val item, size_t i)
{
	auto_buf struct buf b = BUF_INIT;
	size_t n = w->path.n;
	bool any = false;

	buf_c(&b, "Duplicate value: ");
	if (r->list == SCHEMA_LIST_MAP) {
		buf_byte(&b, '{');
		for (size_t k = 0; r->list_keys[k]; k++) {
			struct val v = val_get(item, r->list_keys[k]);

			if (val_has(v))
				buf_printf(&b, "%s\"%s\":%.*s", any ? "," : "", r->list_keys[k], STR_ARG(val_text(v)));
			any |= val_has(v);
		}
		buf_byte(&b, '}');
	} else {
		buf_str(&b, val_text(item));
	}
	buf_byte(&b, 0);
	buf_printf(&w->path, "[%zu]", i);
	fail_at(w, "FieldValueDuplicate", NULL, b.p);
	w->path.n = n;
}

static bool same_element(const struct schema_rules *r, struct val x, struct val y)
{
	return r->list == SCHEMA_LIST_MAP ? same_keys(r->list_keys, x, y) : val_equal(x, y);
}

static uint64_t element_hash(const struct schema_rules *r, struct val x)
{
	uint64_t h = 0;

	if (r->list != SCHEMA_LIST_MAP)
		return val_hash(x);
	for (size_t i = 0; r->list_keys[i]; i++)
		h = h * 31 + val_hash(val_get(x, r->list_keys[i]));
	return h;
}

/* A hash set of the elements so far finds the one that is the same. What is there often is told once. */
static void check_unique(struct run *w, const struct schema_rules *r, struct val v)
{
	struct slot {
		struct val v;
		bool told;
	};
	size_t cap = 16, at;
	auto_free struct slot *seen = NULL;

	while (cap < val_len(v) * 2)
		cap *= 2;
	seen = xcalloc(cap, sizeof(*seen));
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		at = element_hash(r, it.val) & (cap - 1);
		while (val_has(seen[at].v) && !same_element(r, it.val, seen[at].v))
			at = (at + 1) & (cap - 1);
		if (val_has(seen[at].v) && !seen[at].told)
			fail_duplicate(w, r, it.val, it.i);
		seen[at].told |= val_has(seen[at].v);
		seen[at].v = it.val;
	}
}

static void unique_inside(struct run *w, const struct schema_rules *r, struct val v);

static bool no_objects(struct run *w, struct val v)
{
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		auto_buf struct buf b = BUF_INIT;
		size_t n = w->path.n;

		if (val_kind(it.val) == VAL_MAP || val_kind(it.val) == VAL_NULL)
			continue;
		buf_printf(&b, "Invalid value: %.*s: must be an object for an array of list-type map",
			STR_ARG(str_sub(val_text(it.val), 0, 300)));
		buf_byte(&b, 0);
		buf_printf(&w->path, "[%zu]", it.i);
		fail_at(w, "FieldValueInvalid", NULL, b.p);
		w->path.n = n;
		return true;
	}
	return false;
}

static void unique_fields(struct run *w, const struct schema_rules *r, struct val v)
{
	size_t n = w->path.n;

	for (struct val_iter it = val_iter(v); val_next(&it);) {
		const struct schema_rules *f = rules_field(r, it.key);

		if (!f || !f->has_unique)
			continue;
		buf_c(&w->path, f == r->additional ? "[" : n ? "." : "");
		buf_str(&w->path, it.key);
		buf_c(&w->path, f == r->additional ? "]" : "");
		unique_inside(w, f, it.val);
		w->path.n = n;
	}
}

static void unique_inside(struct run *w, const struct schema_rules *r, struct val v)
{
	size_t n = w->path.n;

	if (val_kind(v) == VAL_MAP)
		unique_fields(w, r, v);
	if (val_kind(v) != VAL_LIST)
		return;
	if (r->list == SCHEMA_LIST_SET || (r->list == SCHEMA_LIST_MAP && !no_objects(w, v)))
		check_unique(w, r, v);
	for (struct val_iter it = val_iter(v); r->items && r->items->has_unique && val_next(&it);) {
		buf_printf(&w->path, "[%zu]", it.i);
		unique_inside(w, r->items, it.val);
		w->path.n = n;
	}
}

void rules_unique(struct check *c, const struct schema_rules *r, struct val v, struct val old)
{
	struct check was = { .text = BUF_INIT, .causes = BUF_INIT };
	struct trial now = { .c = { .text = BUF_INIT, .causes = BUF_INIT } };
	struct run w = { .c = &now.c, .path = BUF_INIT };

	if (r->has_unique)
		unique_inside(&w, r, v);
	w.c = &was;
	if (now.c.n && val_has(old))
		unique_inside(&w, r, old);
	w.c = c;
	if (!was.n)
		adopt(&w, &now.c);
	trial_end(&was);
	trial_end(&now.c);
	buf_fini(&w.path);
}

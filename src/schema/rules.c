/* Checking a custom object's values, in the words of upstream's OpenAPI validation. */
#include "schema/rules.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Alternatives are tried with a check of their own that is thrown away. */
struct run {
	struct check *c;
	struct buf path; /* "spec.list[0].name" */
};

/* old: what v was before this change, which is not judged again where it stays as it is; VAL_NONE: v is new. */
static void apply(struct run *w, const struct schema_rules *r, struct val v, struct val old);

static const char *path_of(struct run *w)
{
	buf_byte(&w->path, 0);
	w->path.n--;
	return w->path.p;
}

static void fail_at(struct run *w, const char *reason, const char *more, const char *sentence)
{
	size_t n = w->path.n;

	if (more && n)
		buf_byte(&w->path, '.');
	if (more)
		buf_c(&w->path, more);
	check_fail(w->c, reason, path_of(w), sentence);
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

static bool integral(struct val v)
{
	double f = val_float(v, 0.5);

	return val_kind(v) == VAL_INT || (val_kind(v) == VAL_FLOAT && f == floor(f));
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
	case VAL_FLOAT:
		return types & RULE_NUMBER || (types & RULE_INTEGER && integral(v));
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

static void check_type(struct run *w, const struct schema_rules *r, struct val v)
{
	char word[16];

	if ((val_kind(v) == VAL_NULL && r->nullable) || !r->types || type_fits(r->types, v))
		return;
	snprintf(word, sizeof(word), "\"%s\"", value_word(v));
	wrong_type(w, str_c(word), "must be of type %s: %s", type_words(r->types), word);
}

static size_t runes(struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static void check_string(struct run *w, const struct schema_rules *r, struct val v)
{
	const struct rule_limits *l = r->limits;
	struct str s = val_str(v), text = val_text(v);

	if (r->format && !format_holds(r->format, s))
		wrong_type(w, text, "must be of type %s: %.*s", format_name(r->format), (int)MIN(text.n, (size_t)200),
			text.p);
	if (!l)
		return;
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

static void check_number(struct run *w, const struct schema_rules *r, struct val v)
{
	const struct rule_limits *l = r->limits;
	double f = val_float(v, (double)val_int(v, 0)), q;
	struct str text = val_text(v);

	if (!l)
		return;
	if (l->max.given && (f > l->max.value || (l->max.exclusive && f == l->max.value)))
		invalid(w, text, "should be less than %s%.17g", l->max.exclusive ? "" : "or equal to ", l->max.value);
	if (l->min.given && (f < l->min.value || (l->min.exclusive && f == l->min.value)))
		invalid(w, text, "should be greater than %s%.17g", l->min.exclusive ? "" : "or equal to ",
			l->min.value);
	q = l->multiple.given ? f / l->multiple.value : 0;
	if (q != floor(q))
		invalid(w, text, "should be a multiple of %.17g", l->multiple.value);
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

/* Lists of type set and map have no element twice. A hash set of the elements so far finds the one that is the same. */
static void check_unique(struct run *w, const struct schema_rules *r, struct val v)
{
	size_t cap = 16, at;
	auto_free struct val *seen = NULL;

	while (cap < val_len(v) * 2)
		cap *= 2;
	seen = xcalloc(cap, sizeof(*seen));
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		for (at = element_hash(r, it.val) & (cap - 1); val_has(seen[at]) && !same_element(r, it.val, seen[at]);)
			at = (at + 1) & (cap - 1);
		if (val_has(seen[at]))
			fail_duplicate(w, r, it.val, it.i);
		seen[at] = it.val;
	}
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

	if (l && l->max_items >= 0 && n > (size_t)l->max_items)
		too_many(w, n, l->max_items);
	if (l && l->min_items >= 0 && n < (size_t)l->min_items)
		too_few(w, n, l->min_items, "items");
	if (r->list != SCHEMA_LIST_ATOMIC)
		check_unique(w, r, v);
	if (!r->items)
		return;
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		buf_printf(&w->path, "[%zu]", it.i);
		apply(w, r->items, it.val, element_before(r, it.val, old));
		w->path.n = at;
	}
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

	if (l && l->min_fields >= 0 && n < (size_t)l->min_fields) {
		too_few(w, n, l->min_fields, "properties");
		return;
	}
	if (l && l->max_fields >= 0 && n > (size_t)l->max_fields) {
		too_many(w, n, l->max_fields);
		return;
	}
	for (size_t i = 0; r->required && r->required[i]; i++)
		if (!val_has(val_get(v, r->required[i])))
			fail_at(w, "FieldValueRequired", r->required[i], "Required value");
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		const struct schema_rules *f = rules_field(r, it.key);

		if (!f)
			continue;
		if (at)
			buf_byte(&w->path, '.');
		buf_str(&w->path, it.key);
		apply(w, f, it.val, val_get_str(old, it.key));
		w->path.n = at;
	}
}

static void check_enum(struct run *w, const struct rule_limits *l, struct val v)
{
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < l->n_enums; i++) {
		struct doc *d;
		struct err e;
		bool same = str_eq(l->enums[i], val_text(v));

		err_init(&e);
		if (!same && val_kind(v) >= VAL_INT && val_kind(v) != VAL_STR && doc_parse(l->enums[i], &d, &e) == 0) {
			same = val_equal(v, doc_root(d));
			doc_unref(d);
		}
		if (same)
			return;
	}
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

/* How many errors v has under r; they are kept in *ret. What v was before counts for nothing: `not` and `oneOf` would fail
 * where more is let pass. */
static size_t trial(struct run *w, const struct schema_rules *r, struct val v, struct check *ret)
{
	struct check *keep = w->c;

	*ret = (struct check){ .text = BUF_INIT, .causes = BUF_INIT };
	w->c = ret;
	apply(w, r, v, VAL_NONE);
	w->c = keep;
	return ret->n;
}

static bool holds(struct run *w, const struct schema_rules *r, struct val v)
{
	struct check c;
	bool ret = !trial(w, r, v, &c);

	trial_end(&c);
	return ret;
}

static void adopt(struct run *w, const struct check *c)
{
	for (size_t at = 0; at < c->causes.n;) {
		const char *reason = c->causes.p + at, *path = reason + strlen(reason) + 1,
			   *sentence = path + strlen(path) + 1;

		check_fail(w->c, reason, path, sentence);
		at = (size_t)(sentence + strlen(sentence) + 1 - c->causes.p);
	}
}

static void composite(struct run *w, const char *sentence)
{
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b, "Invalid value: \"\": \"%s\" %s", path_of(w), sentence);
	buf_byte(&b, 0);
	check_fail(w->c, "FieldValueInvalid", "<nil>", b.p);
}

/* How many of the list hold; the errors of the one that fails least are in *best (own). */
static size_t holding(struct run *w, const struct rules_list *l, struct val v, struct check *best)
{
	size_t n = 0;

	*best = (struct check){ .text = BUF_INIT, .causes = BUF_INIT };
	for (size_t i = 0; i < l->n; i++) {
		struct check c;

		if (!trial(w, l->of[i], v, &c)) {
			n++;
		} else if (!best->n || c.n < best->n) {
			trial_end(best);
			*best = c;
			continue;
		}
		trial_end(&c);
	}
	return n;
}

static void check_any(struct run *w, const struct rules_list *l, struct val v)
{
	struct check best;

	if (!holding(w, l, v, &best)) {
		composite(w, "must validate at least one schema (anyOf)");
		adopt(w, &best);
	}
	trial_end(&best);
}

static void check_one(struct run *w, const struct rules_list *l, struct val v)
{
	char sentence[96];
	struct check best;
	size_t n = holding(w, l, v, &best);

	if (!n) {
		composite(w, "must validate one and only one schema (oneOf). Found none valid");
		adopt(w, &best);
	} else if (n > 1) {
		snprintf(sentence, sizeof(sentence),
			"must validate one and only one schema (oneOf). Found %zu valid alternatives", n);
		composite(w, sentence);
	}
	trial_end(&best);
}

static void check_all(struct run *w, const struct rules_list *l, struct val v, struct val old)
{
	size_t failed = 0;

	for (size_t i = 0; i < l->n; i++) {
		size_t before = w->c->n;

		apply(w, l->of[i], v, old);
		failed += w->c->n > before;
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

static void apply(struct run *w, const struct schema_rules *r, struct val v, struct val old)
{
	if (val_has(old) && val_equal(v, old))
		return;
	check_type(w, r, v); /* the rest is asked all the same */
	if (r->combos && val_kind(v) != VAL_NULL)
		check_combos(w, r->combos, v, old);
	switch (val_kind(v)) {
	case VAL_STR:
		check_string(w, r, v);
		break;
	case VAL_INT:
	case VAL_FLOAT:
		check_number(w, r, v);
		break;
	case VAL_LIST:
		check_list(w, r, v, old);
		break;
	case VAL_MAP:
		check_fields(w, r, v, old);
		break;
	default:
		break;
	}
	if (r->limits && r->limits->n_enums)
		check_enum(w, r->limits, v);
}

void rules_check(struct check *c, const struct schema_rules *r, struct val v, struct val old)
{
	struct run w = { c, BUF_INIT };

	/* Nearly everything is right, and then nothing needs to be compared with what was before. */
	if (!val_has(old) || !holds(&w, r, v))
		apply(&w, r, v, old);
	buf_fini(&w.path);
}

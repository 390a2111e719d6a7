/* JSONPath as CustomResourceDefinitions use it: .a.b['c'][0][-1:][*][?(@.type=="Ready")] */
#include "doc/doc.h"
#include <ctype.h>

#define STEPS_MAX 32

enum step_kind { STEP_FIELD, STEP_SLICE, STEP_ALL, STEP_FILTER };
enum compare { EXISTS, EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL };
struct bound {
	int64_t n;
	bool given;
};
struct step {
	enum step_kind kind;
	struct str name;               /* of a field */
	struct bound from, to, stride; /* of a slice */
	const char *dotted;            /* of a filter: what is compared, how, and with what */
	enum compare how;
	struct val want;
};
struct json_path {
	struct step *steps;
	size_t n;
	const char *dotted;
};
struct reader {
	struct arena *a;
	struct str rest;
	struct json_path *p;
	struct err *e;
};

static void skip(struct reader *r, size_t n)
{
	r->rest = str_sub(r->rest, n, r->rest.n);
}

static bool at(const struct reader *r, char c)
{
	return r->rest.n && r->rest.p[0] == c;
}

static int wrong(struct reader *r, const char *why)
{
	return err_set(r->e, ERR_INVALID, "is an invalid path: %s", why);
}

static struct step *more(struct reader *r, enum step_kind kind)
{
	struct step *s = &r->p->steps[r->p->n++];

	s->kind = kind;
	return s;
}

static int read_field(struct reader *r)
{
	struct buf b = { .max = 1024 };
	size_t i = 0;

	for (; i < r->rest.n && !strchr(".[", r->rest.p[i]); i++) {
		if (r->rest.p[i] == '\\' && i + 1 < r->rest.n)
			i++;
		else if (isspace((unsigned char)r->rest.p[i]) || strchr("{}()?@$", r->rest.p[i]))
			break;
		buf_byte(&b, r->rest.p[i]);
	}
	skip(r, i);
	struct str name = arena_str(r->a, buf_view(&b));
	bool long_name = b.full;
	buf_fini(&b);
	if (!name.n)
		return wrong(r, "a field's name is missing");
	if (long_name)
		return wrong(r, "a field's name is too long");
	if (str_is(name, "*"))
		more(r, STEP_ALL);
	else
		more(r, STEP_FIELD)->name = name;
	return 0;
}

/* 'text' or "text" at the front. */
static bool read_quoted(struct reader *r, struct str *ret)
{
	char quote = r->rest.n ? r->rest.p[0] : 0;
	const char *end = quote == '\'' || quote == '"' ? memchr(r->rest.p + 1, quote, r->rest.n - 1) : NULL;

	if (!end)
		return false;
	*ret = arena_str(r->a, str_n(r->rest.p + 1, (size_t)(end - r->rest.p) - 1));
	skip(r, (size_t)(end - r->rest.p) + 1);
	return true;
}

static void blanks(struct reader *r)
{
	while (r->rest.n && isspace((unsigned char)r->rest.p[0]))
		skip(r, 1);
}

static enum compare read_compare(struct reader *r)
{
	static const struct {
		const char *word;
		enum compare how;
	} words[] = { { "==", EQUAL }, { "!=", NOT_EQUAL }, { "<=", LESS_EQUAL }, { "<", LESS },
		{ ">=", GREATER_EQUAL }, { ">", GREATER } };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (str_starts(r->rest, str_c(words[i].word))) {
			skip(r, strlen(words[i].word));
			return words[i].how;
		}
	return EXISTS;
}

/* What a filter compares with: text in quotes, a number, or true and false. Any other word says nothing. */
static int read_want(struct reader *r, struct step *s)
{
	struct node *n = NULL;
	struct doc *d = NULL;
	struct str text;
	int64_t whole;
	struct err e;
	size_t i = 0;

	if (read_quoted(r, &text)) {
		n = node_str(r->a, text);
	} else {
		while (i < r->rest.n && r->rest.p[i] != ')' && !isspace((unsigned char)r->rest.p[i]))
			i++;
		text = str_sub(r->rest, 0, i);
		skip(r, i);
		if (!text.n || (!isalnum((unsigned char)text.p[0]) && !strchr("_-+", text.p[0])))
			return wrong(r, "a filter compares with a number, a quoted text, true or false");
		n = str_i64(text, &whole) ? node_int(r->a, whole) : NULL;
	}
	err_init(&e);
	if (n)
		d = node_publish(n);
	else if (doc_parse(text, &d, &e) < 0)
		return 0;
	doc_hold(r->a, d);
	s->want = doc_root(d);
	return 0;
}

/* ?(@.type=="Ready") after the bracket. */
static int read_filter(struct reader *r)
{
	struct step *s = more(r, STEP_FILTER);
	size_t i = 0;

	skip(r, 2);
	blanks(r);
	if (!str_starts(r->rest, STR("@.")))
		return wrong(r, "a filter must begin with @.");
	skip(r, 2);
	while (i < r->rest.n && (isalnum((unsigned char)r->rest.p[i]) || strchr("._-/", r->rest.p[i])))
		i++;
	s->dotted = arena_cstr(r->a, str_sub(r->rest, 0, i));
	skip(r, i);
	blanks(r);
	if (!at(r, ')')) {
		s->how = read_compare(r);
		if (s->how == EXISTS)
			return wrong(r, "a filter compares with ==, !=, <, <=, > or >=");
		blanks(r);
		if (read_want(r, s) < 0)
			return -ERR_INVALID;
		blanks(r);
	}
	if (!at(r, ')'))
		return wrong(r, "a filter is not closed");
	skip(r, 1);
	return 0;
}

/* One of the three numbers of a slice, up to a colon or the bracket. */
static bool read_bound(struct reader *r, struct bound *ret)
{
	size_t i = 0;

	while (i < r->rest.n && r->rest.p[i] != ':' && r->rest.p[i] != ']')
		i++;
	ret->given = i > 0;
	if (i && !str_i64(str_sub(r->rest, 0, i), &ret->n))
		return false;
	skip(r, i);
	return true;
}

/* 2, -1, 1:3, -1: or ::2, and nothing for all. */
static int read_slice(struct reader *r)
{
	struct step *s = more(r, STEP_SLICE);
	struct bound *const bounds[] = { &s->from, &s->to, &s->stride };
	bool one = true;

	for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
		if (i && !at(r, ':'))
			break;
		if (i)
			skip(r, 1);
		one &= !i;
		if (!read_bound(r, bounds[i]))
			return wrong(r, "an index must be a number, a slice, a quoted name, * or a filter");
	}
	if (one)
		s->to = (struct bound){ s->from.n + 1, s->from.n != -1 };
	return 0;
}

static int read_bracket(struct reader *r)
{
	struct str text;
	int rc = 0;

	skip(r, 1);
	if (read_quoted(r, &text)) {
		more(r, STEP_FIELD)->name = text;
	} else if (str_starts(r->rest, STR("?("))) {
		rc = read_filter(r);
	} else if (at(r, '*')) {
		more(r, STEP_SLICE);
		skip(r, 1);
	} else {
		rc = read_slice(r);
	}
	if (rc < 0)
		return rc;
	if (!at(r, ']'))
		return wrong(r, "a bracket is not closed");
	skip(r, 1);
	return 0;
}

static const char *dotted(struct arena *a, const struct json_path *p)
{
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < p->n; i++) {
		struct str name = p->steps[i].name;

		if (p->steps[i].kind != STEP_FIELD || !name.n || memchr(name.p, '.', name.n) ||
			memchr(name.p, 0, name.n))
			return NULL;
		buf_printf(&b, "%s%.*s", i ? "." : "", STR_ARG(p->steps[i].name));
	}
	return arena_cstr(a, buf_view(&b));
}

int json_path_new(struct arena *a, struct str text, struct json_path **ret, struct err *e)
{
	struct json_path *p = ARENA_NEW(a, struct json_path);
	struct reader r = { a, text, p, e };
	int rc = 0;

	p->steps = ARENA_ARRAY(a, struct step, STEPS_MAX + 1);
	if (str_starts(r.rest, STR("$")))
		skip(&r, 1);
	while (r.rest.n && rc == 0) {
		if (p->n >= STEPS_MAX)
			return wrong(&r, "it has too many steps");
		if (at(&r, '[')) {
			rc = read_bracket(&r);
		} else if (at(&r, '.')) {
			skip(&r, 1);
			rc = at(&r, '[') ? 0 : read_field(&r);
		} else {
			rc = wrong(&r, "it must begin with a dot");
		}
	}
	if (rc < 0)
		return rc;
	p->dotted = dotted(a, p);
	*ret = p;
	return 0;
}

static int number_cmp(struct val x, struct val y)
{
	double a = val_float(x, (double)val_int(x, 0)), b = val_float(y, (double)val_int(y, 0));

	return (a > b) - (a < b);
}

/* Only what is of one kind is compared; all else makes that there is nothing. */
static bool filter_fits(const struct step *s, struct val item, bool *failed)
{
	struct val v = val_path(item, s->dotted);
	int cmp;

	if (s->how == EXISTS || !val_has(v))
		return s->how == EXISTS && val_has(v);
	if (val_kind(v) != val_kind(s->want) || (val_kind(v) == VAL_BOOL && s->how > NOT_EQUAL)) {
		*failed = true;
		return false;
	}
	if (val_kind(v) == VAL_BOOL)
		cmp = val_bool(v, false) - val_bool(s->want, false);
	else
		cmp = val_kind(v) == VAL_STR ? str_cmp(val_str(v), val_str(s->want)) : number_cmp(v, s->want);
	switch (s->how) {
	case EQUAL:
		return !cmp;
	case NOT_EQUAL:
		return cmp;
	case LESS:
		return cmp < 0;
	case LESS_EQUAL:
		return cmp <= 0;
	case GREATER:
		return cmp > 0;
	default:
		return cmp >= 0;
	}
}

/* Which elements of a list of n a slice means. false: one that is not there, or none, which upstream does not go on from. */
static bool slice_of(const struct step *s, int64_t n, int64_t *ret_from, int64_t *ret_to)
{
	int64_t from = s->from.given ? s->from.n : 0, to = s->to.given ? s->to.n : n;

	*ret_from = from < 0 ? from + n : from;
	*ret_to = to < 0 ? to + n : to;
	return *ret_from >= 0 && *ret_to <= n && *ret_from < *ret_to && (!s->stride.given || s->stride.n > 0);
}

static struct val first(const struct step *s, size_t n, struct val v, bool *failed);

static struct val first_of_slice(const struct step *s, size_t n, struct val v, bool *failed)
{
	int64_t from, to, stride = s->stride.given ? s->stride.n : 1;

	if (val_kind(v) != VAL_LIST || !slice_of(s, (int64_t)val_len(v), &from, &to)) {
		*failed = val_kind(v) != VAL_NULL;
		return VAL_NONE;
	}
	for (int64_t i = from; i < to && !*failed; i = stride < to - i ? i + stride : to) {
		struct val found = first(s + 1, n - 1, val_at(v, (size_t)i), failed);

		if (val_has(found))
			return found;
	}
	return VAL_NONE;
}

/* *failed: a step cannot be taken, and then the whole path leads nowhere. */
static struct val first(const struct step *s, size_t n, struct val v, bool *failed)
{
	if (!n || !val_has(v))
		return v;
	if (s->kind == STEP_FIELD)
		return first(s + 1, n - 1, val_get_str(v, s->name), failed);
	if (s->kind == STEP_SLICE)
		return first_of_slice(s, n, v, failed);
	if (s->kind == STEP_FILTER && val_kind(v) != VAL_LIST) {
		*failed = true;
		return VAL_NONE;
	}
	for (struct val_iter it = val_iter(v); !*failed && val_next(&it);) {
		bool fits = s->kind == STEP_ALL || filter_fits(s, it.val, failed);
		struct val found = fits ? first(s + 1, n - 1, it.val, failed) : VAL_NONE;

		if (val_has(found))
			return found;
	}
	return VAL_NONE;
}

struct val json_path_first(const struct json_path *p, struct val v)
{
	bool failed = false;
	struct val found = first(p->steps, p->n, v, &failed);

	return failed ? VAL_NONE : found;
}

const char *json_path_dotted(const struct json_path *p)
{
	return p->dotted;
}

/* JSONPath as CustomResourceDefinitions use it: .a.b['c'][0][*][?(@.type=="Ready")] */
#include "doc/doc.h"
#include <ctype.h>

#define STEPS_MAX 32

enum step_kind { STEP_FIELD, STEP_INDEX, STEP_ALL, STEP_FILTER };
struct step {
	enum step_kind kind;
	struct str name; /* field; or the filter's dotted path */
	int64_t index;
	const char *dotted;
	struct str want; /* of a filter */
	bool equal, exists;
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
	s->exists = at(r, ')');
	s->equal = str_starts(r->rest, STR("=="));
	if (!s->exists) {
		if (!s->equal && !str_starts(r->rest, STR("!=")))
			return wrong(r, "a filter compares with == or !=");
		skip(r, 2);
		blanks(r);
		if (!read_quoted(r, &s->want)) {
			for (i = 0; i < r->rest.n && r->rest.p[i] != ')' && !isspace((unsigned char)r->rest.p[i]);)
				i++;
			s->want = arena_str(r->a, str_sub(r->rest, 0, i));
			skip(r, i);
		}
		blanks(r);
	}
	if (!at(r, ')'))
		return wrong(r, "a filter is not closed");
	skip(r, 1);
	return 0;
}

static int read_bracket(struct reader *r)
{
	struct str text;
	size_t i = 0;
	int64_t n;

	skip(r, 1);
	if (read_quoted(r, &text)) {
		more(r, STEP_FIELD)->name = text;
	} else if (str_starts(r->rest, STR("?("))) {
		if (read_filter(r) < 0)
			return -ERR_INVALID;
	} else if (at(r, '*')) {
		more(r, STEP_ALL);
		skip(r, 1);
	} else {
		while (i < r->rest.n && r->rest.p[i] != ']')
			i++;
		if (!str_i64(str_sub(r->rest, 0, i), &n))
			return wrong(r, "an index must be a number, a quoted name, * or a filter");
		more(r, STEP_INDEX)->index = n;
		skip(r, i);
	}
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

static bool filter_fits(const struct step *s, struct val item)
{
	struct val v = val_path(item, s->dotted);
	struct str text = val_kind(v) == VAL_STR ? val_str(v) : val_has(v) ? val_text(v) : STR_NULL;

	return s->exists ? val_has(v) : val_has(v) && str_eq(text, s->want) == s->equal;
}

static struct val first(const struct step *s, size_t n, struct val v)
{
	if (!n || !val_has(v))
		return v;
	if (s->kind == STEP_FIELD)
		return first(s + 1, n - 1, val_get_str(v, s->name));
	if (s->kind == STEP_INDEX) {
		int64_t i = s->index < 0 ? s->index + (int64_t)val_len(v) : s->index;

		return i < 0 || val_kind(v) != VAL_LIST ? VAL_NONE : first(s + 1, n - 1, val_at(v, (size_t)i));
	}
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		struct val found =
			s->kind == STEP_ALL || filter_fits(s, it.val) ? first(s + 1, n - 1, it.val) : VAL_NONE;

		if (val_has(found))
			return found;
	}
	return VAL_NONE;
}

struct val json_path_first(const struct json_path *p, struct val v)
{
	return first(p->steps, p->n, v);
}

const char *json_path_dotted(const struct json_path *p)
{
	return p->dotted;
}

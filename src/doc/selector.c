/* Label and field selectors. */
#include "doc/doc_internal.h"

enum op { OP_EQ, OP_NE, OP_IN, OP_NOT_IN, OP_EXISTS, OP_NOT_EXISTS, OP_GT, OP_LT };

struct term {
	struct str key;
	enum op op;
	struct str *values; /* sorted, without duplicates */
	size_t n;
	int64_t bound; /* of > and < */
};

struct selector {
	bool nothing;
	struct term *terms; /* sorted by key once text was asked for: order has no meaning */
	size_t n, cap;
};

static struct selector *new_selector(struct arena *a)
{
	return ARENA_NEW(a, struct selector);
}

static struct term *add_term(struct arena *a, struct selector *s)
{
	ARENA_GROW(a, s->terms, s->n, s->cap, 4);
	s->terms[s->n] = (struct term){ 0 };
	return &s->terms[s->n++];
}

/* ---- what a key and a value may be ----------------------------------------------------------- */

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_label_text(struct str s)
{
	if (s.n > 63 || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1]))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && !strchr("-_.", s.p[i]))
			return false;
	return true;
}

static bool is_subdomain(struct str s)
{
	if (!s.n || s.n > 253)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool edge = i == 0 || i + 1 == s.n || s.p[i - 1] == '.' || s.p[i + 1] == '.';

		if (c == '.' ? edge && (i == 0 || i + 1 == s.n || s.p[i - 1] == '.') :
			       !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && !edge)))
			return false;
	}
	return true;
}

static int check_key(struct str key, struct err *e)
{
	struct str name = key;
	const char *slash = key.n ? memchr(key.p, '/', key.n) : NULL;

	if (slash) {
		name = str_n(slash + 1, key.n - (size_t)(slash - key.p) - 1);
		if (!is_subdomain(str_n(key.p, (size_t)(slash - key.p))))
			goto bad;
	}
	if (name.n && is_label_text(name))
		return 0;
bad:
	return err_set(e, ERR_BAD_REQUEST,
		"key: Invalid value: \"%.*s\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
		"alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
		"'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
		STR_ARG(key));
}

static int check_value(struct str v, struct err *e)
{
	if (!v.n || is_label_text(v))
		return 0;
	return err_set(e, ERR_BAD_REQUEST,
		"values: Invalid value: \"%.*s\": a valid label must be an empty string or consist of alphanumeric "
		"characters, "
		"'-', '_' or '.', and must start and end with an alphanumeric character",
		STR_ARG(v));
}

static int finish_term(struct term *t, struct err *e)
{
	size_t n = 0;

	if (check_key(t->key, e) < 0)
		return -ERR_BAD_REQUEST;
	for (size_t i = 0; i < t->n; i++)
		if (check_value(t->values[i], e) < 0)
			return -ERR_BAD_REQUEST;
	if ((t->op == OP_GT || t->op == OP_LT) && !str_i64(t->values[0], &t->bound))
		return err_set(e, ERR_BAD_REQUEST,
			"values[0]: Invalid value: \"%.*s\": for 'Gt', 'Lt' operators, the value must be an integer",
			STR_ARG(t->values[0]));
	if (t->n > 1)
		qsort(t->values, t->n, sizeof(*t->values), str_order);
	for (size_t i = 0; i < t->n; i++)
		if (!n || !str_eq(t->values[n - 1], t->values[i]))
			t->values[n++] = t->values[i];
	t->n = n;
	return 0;
}

/* ---- text ------------------------------------------------------------------------------------ */

struct reader {
	struct arena *a;
	struct str text;
	size_t at;
	struct str token; /* the current one; empty at the end */
	struct err *e;
};

static bool is_special(char c)
{
	return c && strchr("=!(),<>", c);
}

static void next_token(struct reader *r)
{
	const char *p = r->text.p;
	size_t from, n = r->text.n;

	while (r->at < n && strchr(" \t\r\n", p[r->at]) && p[r->at])
		r->at++;
	from = r->at;
	if (r->at < n && is_special(p[r->at])) {
		r->at++;
		if (r->at < n && p[r->at] == '=' && (p[from] == '=' || p[from] == '!'))
			r->at++;
	} else {
		while (r->at < n && !is_special(p[r->at]) && !(p[r->at] && strchr(" \t\r\n", p[r->at])))
			r->at++;
	}
	r->token = str_n(p + from, r->at - from);
}

static bool at_word(const struct reader *r)
{
	return r->token.n && !is_special(r->token.p[0]);
}

/* want says what may stand here, in upstream's words. */
static int unexpected(struct reader *r, const char *want)
{
	return err_set(r->e, ERR_BAD_REQUEST, "found '%.*s'%s", STR_ARG(r->token), want);
}

static struct str copy(struct reader *r)
{
	return arena_str(r->a, r->token);
}

static int read_operator(struct reader *r, enum op *ret)
{
	static const struct {
		const char *text;
		enum op op;
	} ops[] = { { "=", OP_EQ }, { "==", OP_EQ }, { "!=", OP_NE }, { "in", OP_IN }, { "notin", OP_NOT_IN },
		{ ">", OP_GT }, { "<", OP_LT } };

	for (size_t i = 0; i < ARRAY_LEN(ops); i++)
		if (str_is(r->token, ops[i].text)) {
			*ret = ops[i].op;
			next_token(r);
			return 0;
		}
	return unexpected(r, ", expected: in, notin, =, ==, !=, gt, lt");
}

/* (a,b): an empty place between commas is the empty value. */
static int read_set(struct reader *r, struct term *t)
{
	size_t cap = 0;

	if (!str_is(r->token, "("))
		return unexpected(r, " expected: '('");
	do {
		struct str v = STR("");

		next_token(r);
		if (at_word(r)) {
			v = copy(r);
			next_token(r);
		}
		ARENA_GROW(r->a, t->values, t->n, cap, 4);
		t->values[t->n++] = v;
	} while (str_is(r->token, ","));
	if (!str_is(r->token, ")"))
		return unexpected(r, ", expected: ',' or ')'");
	next_token(r);
	return 0;
}

static int read_term(struct reader *r, struct term *t)
{
	if (str_is(r->token, "!")) {
		t->op = OP_NOT_EXISTS;
		next_token(r);
	} else {
		t->op = OP_EXISTS;
	}
	if (!at_word(r))
		return unexpected(r, ", expected: identifier");
	t->key = copy(r);
	next_token(r);
	if (t->op == OP_NOT_EXISTS || !r->token.n || str_is(r->token, ","))
		return finish_term(t, r->e);
	if (read_operator(r, &t->op) < 0)
		return -ERR_BAD_REQUEST;
	if (t->op == OP_IN || t->op == OP_NOT_IN) {
		if (read_set(r, t) < 0)
			return -ERR_BAD_REQUEST;
		return finish_term(t, r->e);
	}
	t->values = ARENA_ARRAY(r->a, struct str, 1);
	t->n = 1;
	t->values[0] = STR("");
	if (at_word(r)) {
		t->values[0] = copy(r);
		next_token(r);
	} else if (r->token.n && !str_is(r->token, ",")) {
		return unexpected(r, ", expected: identifier");
	}
	return finish_term(t, r->e);
}

int selector_parse(struct arena *a, struct str text, const struct selector **ret, struct err *e)
{
	struct reader r = { .a = a, .text = text, .e = e };
	struct selector *s = new_selector(a);

	next_token(&r);
	while (r.token.n) {
		if (!at_word(&r) && !str_is(r.token, "!"))
			return unexpected(&r,
				s->n ? ", expected: identifier after ','" :
				       ", expected: !, identifier, or 'end of string'");
		if (read_term(&r, add_term(a, s)) < 0)
			return err_wrap(e, "unable to parse requirement");
		if (!r.token.n)
			break;
		if (!str_is(r.token, ","))
			return unexpected(&r, ", expected: ',' or 'end of string'");
		next_token(&r);
		if (!r.token.n)
			return unexpected(&r, ", expected: identifier after ','");
	}
	*ret = s;
	return 0;
}

/* ---- objects --------------------------------------------------------------------------------- */

static void add_labels(struct arena *a, struct selector *s, struct val map)
{
	for (struct val_iter it = val_iter(map); val_next(&it);) {
		struct term *t = add_term(a, s);

		*t = (struct term){ .key = arena_str(a, it.key), .op = OP_EQ, .n = 1 };
		t->values = ARENA_ARRAY(a, struct str, 1);
		t->values[0] = arena_str(a, val_str(it.val));
	}
}

static int add_expression(struct arena *a, struct selector *s, struct val x, struct err *e)
{
	struct val op = val_get(x, "operator"), values = val_get(x, "values");
	struct term *t = add_term(a, s);
	bool set = true;

	*t = (struct term){ .key = arena_str(a, val_str(val_get(x, "key"))), .n = val_len(values) };
	if (val_is(op, "In")) {
		t->op = OP_IN;
	} else if (val_is(op, "NotIn")) {
		t->op = OP_NOT_IN;
	} else {
		set = false;
		t->op = val_is(op, "Exists") ? OP_EXISTS : OP_NOT_EXISTS;
		if (t->op == OP_NOT_EXISTS && !val_is(op, "DoesNotExist"))
			return err_set(e, ERR_BAD_REQUEST, "\"%.*s\" is not a valid label selector operator",
				STR_ARG(val_str(op)));
	}
	if (set && !t->n)
		return err_set(e, ERR_BAD_REQUEST,
			"values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
	if (!set && t->n)
		return err_set(e, ERR_BAD_REQUEST,
			"values: Invalid value: values set must be empty for exists and does not exist");
	t->values = ARENA_ARRAY(a, struct str, t->n);
	for (struct val_iter it = val_iter(values); val_next(&it);)
		t->values[it.i] = arena_str(a, val_str(it.val));
	return finish_term(t, e);
}

int selector_of(struct arena *a, struct val label_selector, const struct selector **ret, struct err *e)
{
	struct selector *s = new_selector(a);

	s->nothing = val_kind(label_selector) != VAL_MAP;
	add_labels(a, s, val_get(label_selector, "matchLabels"));
	for (size_t i = 0; i < s->n; i++)
		if (finish_term(&s->terms[i], e) < 0)
			return -ERR_BAD_REQUEST;
	for (struct val_iter it = val_iter(val_get(label_selector, "matchExpressions")); val_next(&it);)
		if (add_expression(a, s, it.val, e) < 0)
			return -ERR_BAD_REQUEST;
	*ret = s;
	return 0;
}

int selector_of_map(struct arena *a, struct val map, const struct selector **ret, struct err *e)
{
	struct selector *s = new_selector(a);

	(void)e; /* what a map of labels holds was validated with its object */
	add_labels(a, s, map);
	s->nothing = s->n == 0;
	*ret = s;
	return 0;
}

/* ---- matching -------------------------------------------------------------------------------- */

static bool has_value(const struct term *t, struct str v)
{
	return t->n == 1 ? str_eq(t->values[0], v) : t->n && bsearch(&v, t->values, t->n, sizeof(v), str_order);
}

static bool term_matches(const struct term *t, struct val labels)
{
	struct val v = val_get_str(labels, t->key);
	int64_t i;

	switch (t->op) {
	case OP_EXISTS:
		return v.d;
	case OP_NOT_EXISTS:
		return !v.d;
	case OP_EQ:
	case OP_IN:
		return v.d && has_value(t, val_str(v));
	case OP_NE:
	case OP_NOT_IN:
		return !v.d || !has_value(t, val_str(v));
	default:
		if (!v.d || !str_i64(val_str(v), &i))
			return false;
		return t->op == OP_GT ? i > t->bound : i < t->bound;
	}
}

bool selector_matches(const struct selector *s, struct val labels)
{
	if (s->nothing)
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (!term_matches(&s->terms[i], labels))
			return false;
	return true;
}

bool selector_is_everything(const struct selector *s)
{
	return !s->nothing && s->n == 0;
}

static int cmp_term(const void *a, const void *b)
{
	const struct term *x = a, *y = b;
	int c = str_cmp(x->key, y->key);

	return c ? c : (int)x->op - (int)y->op;
}

static void write_term(struct buf *b, const struct term *t)
{
	static const char *const ops[] = { "=", "!=", " in (", " notin (", "", "", ">", "<" };

	if (t->op == OP_NOT_EXISTS)
		buf_byte(b, '!');
	buf_str(b, t->key);
	buf_c(b, ops[t->op]);
	for (size_t i = 0; i < t->n; i++) {
		if (i)
			buf_byte(b, ',');
		buf_str(b, t->values[i]);
	}
	if (t->op == OP_IN || t->op == OP_NOT_IN)
		buf_byte(b, ')');
}

struct str selector_text(struct arena *a, const struct selector *s)
{
	auto_buf struct buf b = BUF_INIT;
	struct term *terms = ARENA_ARRAY(a, struct term, s->n);

	if (s->n) {
		memcpy(terms, s->terms, s->n * sizeof(*terms));
		qsort(terms, s->n, sizeof(*terms), cmp_term);
	}
	for (size_t i = 0; i < s->n; i++) {
		if (i)
			buf_byte(&b, ',');
		write_term(&b, &terms[i]);
	}
	return arena_str(a, buf_view(&b));
}

/* ---- field selectors ------------------------------------------------------------------------- */

/* Value of a term: \\, \, and \= stand for the character; other escapes and bare separators are refused. */
static bool unescape(struct arena *a, struct str raw, struct str *ret)
{
	char *to = arena_alloc(a, raw.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < raw.n; i++) {
		char c = raw.p[i];

		if (c == '=')
			return false;
		if (c == '\\') {
			if (++i == raw.n || !raw.p[i] || !strchr("\\,=", raw.p[i]))
				return false;
			c = raw.p[i];
		}
		to[n++] = c;
	}
	to[n] = 0;
	*ret = str_n(to, n);
	return true;
}

static bool split_term(struct arena *a, struct str s, struct field_term *ret)
{
	const char *eq = memchr(s.p, '=', s.n);
	size_t at, op;

	ret->field = STR_NULL;
	if (!eq)
		return false;
	at = (size_t)(eq - s.p);
	op = 1;
	ret->equal = true;
	if (at && s.p[at - 1] == '!') {
		at--;
		op = 2;
		ret->equal = false;
	} else if (at + 1 < s.n && s.p[at + 1] == '=') {
		op = 2;
	}
	ret->field = arena_str(a, str_trim(str_n(s.p, at)));
	return unescape(a, str_trim(str_n(s.p + at + op, s.n - at - op)), &ret->value);
}

int field_selector_parse(struct arena *a, struct str text, struct field_term **ret, size_t *ret_n, struct err *e)
{
	size_t most = 1, n = 0, from = 0;
	struct field_term *terms;

	for (size_t i = 0; i < text.n; i++)
		most += text.p[i] == ',';
	terms = ARENA_ARRAY(a, struct field_term, most);
	for (size_t i = 0; i <= text.n; i++) {
		struct str part;

		if (i < text.n && text.p[i] == '\\') {
			i++;
			continue;
		}
		if (i < text.n && text.p[i] != ',')
			continue;
		part = str_trim(str_n(text.p + from, MIN(i, text.n) - from));
		from = i + 1;
		if (!part.n)
			continue;
		if (!split_term(a, part, &terms[n]))
			return terms[n].field.p ?
				err_set(e, ERR_BAD_REQUEST,
					"invalid field selector: unescaped character or unknown escape in value of '%.*s'",
					STR_ARG(part)) :
				err_set(e, ERR_BAD_REQUEST, "invalid selector: '%.*s'; can't understand '%.*s'",
					STR_ARG(text), STR_ARG(part));
		n++;
	}
	*ret = terms;
	*ret_n = n;
	return 0;
}

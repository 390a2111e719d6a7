/* What is wrong with which field, in the words that clients know, and the sentence that is made of it. */
#include "api/api_internal.h"
#include <stdio.h>

/* Quoted as Go quotes: what is not printable as \x00, all else as it is. */
void buf_go_quoted(struct buf *b, struct str s)
{
	static const char named[] = "\aa\bb\ff\nn\rr\tt\vv\"\"\\\\";

	buf_byte(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		const char *p = c ? strchr(named, c) : NULL;

		if (p && (p - named) % 2 == 0)
			buf_printf(b, "\\%c", p[1]);
		else if (c < 0x20 || c == 0x7f)
			buf_printf(b, "\\x%02x", c);
		else
			buf_byte(b, (char)c);
	}
	buf_byte(b, '"');
}

void v_required(struct err *e, const char *path, const char *detail)
{
	err_cause(e, "FieldValueRequired", path, "Required value%s%s", detail && detail[0] ? ": " : "",
		detail ? detail : "");
}

void v_invalid(struct err *e, const char *path, struct val v, const char *detail)
{
	struct str t = !val_has(v) ? STR("null") : val_kind(v) == VAL_NULL ? STR("\"null\"") : val_text(v);

	if (val_kind(v) == VAL_STR) {
		v_invalid_str(e, path, val_str(v), detail);
		return;
	}
	if (t.n > 300)
		t = str_sub(t, 0, 300);
	err_cause(e, "FieldValueInvalid", path, "Invalid value: %.*s%s%s", STR_ARG(t), detail[0] ? ": " : "", detail);
}

void v_invalid_str(struct err *e, const char *path, struct str value, const char *detail)
{
	auto_buf struct buf b = BUF_INIT;

	buf_go_quoted(&b, str_sub(value, 0, 300));
	err_cause(
		e, "FieldValueInvalid", path, "Invalid value: %.*s%s%s", (int)b.n, b.p, detail[0] ? ": " : "", detail);
}

void v_unsupported(struct err *e, const char *path, struct str value, const char *const *known)
{
	auto_buf struct buf b = BUF_INIT;

	buf_c(&b, "Unsupported value: ");
	buf_go_quoted(&b, value);
	buf_c(&b, ": supported values: ");
	for (size_t i = 0; known[i]; i++)
		buf_printf(&b, "%s\"%s\"", i ? ", " : "", known[i]);
	err_cause(e, "FieldValueNotSupported", path, "%.*s", (int)b.n, b.p);
}

void v_unsupported_val(struct err *e, const char *path, struct val v, const char *const *known)
{
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; known[i]; i++)
		buf_printf(&b, "%s\"%s\"", i ? ", " : "", known[i]);
	err_cause(e, "FieldValueNotSupported", path, "Unsupported value: %.*s: supported values: %.*s",
		STR_ARG(val_has(v) ? val_text(v) : STR("null")), STR_ARG(buf_view(&b)));
}

void v_forbidden(struct err *e, const char *path, const char *detail)
{
	err_cause(e, "FieldValueForbidden", path, "Forbidden: %s", detail);
}

void v_duplicate(struct err *e, const char *path, struct str value)
{
	auto_buf struct buf b = BUF_INIT;

	buf_go_quoted(&b, value);
	err_cause(e, "FieldValueDuplicate", path, "Duplicate value: %.*s", (int)b.n, b.p);
}

void v_not_found(struct err *e, const char *path, struct str value)
{
	auto_buf struct buf b = BUF_INIT;

	buf_go_quoted(&b, value);
	err_cause(e, "FieldValueNotFound", path, "Not found: %.*s", (int)b.n, b.p);
}

void v_too_long(struct err *e, const char *path, size_t max)
{
	err_cause(e, "FieldValueTooLong", path, "Too long: may not be more than %zu bytes", max);
}

void v_too_many(struct err *e, const char *path, size_t n, size_t max)
{
	err_cause(e, "FieldValueTooMany", path, "Too many: %zu: must have at most %zu items", n, max);
}

void causes_add(struct err *e, const struct err *from)
{
	const char *reason, *field, *message;

	for (size_t pos = 0; err_next_cause(from, &pos, &reason, &field, &message);)
		err_cause(e, reason, field, "%s", message);
}

/* ---- in which order -------------------------------------------------------------------------- */

/* The next step of a path such as spec.ports[0].name: "spec", "ports", "[0]", "name". */
static struct str step(struct str path, struct str *rest)
{
	bool item = str_starts(path, STR("["));
	size_t n = 0;

	while (n < path.n && (item ? path.p[n] != ']' : path.p[n] != '[' && path.p[n] != '.'))
		n++;
	n += item && n < path.n;
	*rest = str_sub(path, n, path.n);
	if (str_starts(*rest, STR(".")))
		*rest = str_sub(*rest, 1, rest->n);
	return str_sub(path, 0, n);
}

static bool comes_later(const struct schema_type *t, struct str a, struct str b)
{
	int64_t i = 0, k = 0;

	if (a.n && a.p[0] == '[')
		return str_i64(str_sub(a, 1, a.n - 2), &i) && str_i64(str_sub(b, 1, b.n - 2), &k) && i > k;
	const struct schema_field *x = t ? schema_field(t, a) : NULL, *y = t ? schema_field(t, b) : NULL;
	return x && y && x > y;
}

/* Whether the field at path a stands behind the one at path b in their type. */
static bool stands_behind(const struct schema_type *t, const char *a, const char *b)
{
	struct str rest_a = str_c(a), rest_b = str_c(b);

	while (rest_a.n && rest_b.n) {
		struct str x = step(rest_a, &rest_a), y = step(rest_b, &rest_b);

		if (!str_eq(x, y))
			return comes_later(t, x, y);
		const struct schema_field *f = t && x.n && x.p[0] != '[' ? schema_field(t, x) : NULL;
		t = f ? f->type : t ? t->element : NULL;
	}
	return false;
}

void causes_merge(const struct schema_type *t, const struct err *declared, struct err *e)
{
	const char *reason, *field, *message, *own_reason, *own_field, *own_message;
	size_t at = 0, next = 0;
	struct err own;

	if (!declared->causes_len)
		return;
	err_copy(&own, e);
	err_init(e);
	for (size_t pos = 0; err_next_cause(&own, &pos, &own_reason, &own_field, &own_message);) {
		while (err_next_cause(declared, &next, &reason, &field, &message) &&
			!stands_behind(t, field, own_field)) {
			err_cause(e, reason, field, "%s", message);
			at = next;
		}
		next = at;
		err_cause(e, own_reason, own_field, "%s", own_message);
	}
	while (err_next_cause(declared, &at, &reason, &field, &message))
		err_cause(e, reason, field, "%s", message);
}

/* ---- the message ----------------------------------------------------------------------------- */

/* Whether a cause before the one at `end` says the same. */
static bool cause_before(const struct err *e, size_t end, const char *field, const char *message)
{
	const char *reason, *f, *m;

	for (size_t pos = 0; pos < end && err_next_cause(e, &pos, &reason, &f, &m);)
		if (!strcmp(f, field) && !strcmp(m, message))
			return true;
	return false;
}

/* Causes → "Pod "x" is invalid: a: Required value" or "[a: …, b: …]" for several. */
static bool finish(const char *group, const char *kind, struct str name, struct err *e)
{
	const char *reason, *field, *message;
	struct buf b = BUF_INIT;
	struct err causes; /* each once */
	size_t n = 0;

	err_init(&causes);
	for (size_t pos = 0, at = 0; err_next_cause(e, &pos, &reason, &field, &message); at = pos) {
		if (cause_before(e, at, field, message))
			continue;
		buf_printf(&b, "%s%s: %s", n++ ? ", " : "", field, message);
		err_cause(&causes, reason, field, "%s", message);
	}
	if (n) {
		auto_buf struct buf quoted = BUF_INIT;
		buf_go_quoted(&quoted, name);
		err_set(e, ERR_INVALID, "%s%s%s %.*s is invalid: %s%.*s%s", kind, group[0] ? "." : "", group,
			STR_ARG(buf_view(&quoted)), n > 1 ? "[" : "", (int)b.n, b.p, n > 1 ? "]" : "");
		causes_add(e, &causes); /* setting the message dropped them */
	}
	buf_fini(&b);
	return n > 0;
}

bool validate_finish(struct rq *rq, struct str name, struct err *e)
{
	bool bad = finish(rq->res->def.group, rq->res->def.kind, name, e);

	if (bad && !rq->name.n)
		rq->name = arena_str(rq->a, name);
	return bad;
}

int validate_finish_as(struct rq *rq, const char *group, const char *kind, struct str name, struct err *e)
{
	if (!finish(group, kind, name, e))
		return 0;
	status_about(rq, group, kind, name);
	return -ERR_INVALID;
}

int validate_options(struct rq *rq, const char *kind, struct err *e)
{
	return validate_finish_as(rq, "meta.k8s.io", kind, STR_NULL, e);
}

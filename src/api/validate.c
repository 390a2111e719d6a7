/* Field errors in the words that clients know, and the rules of names and labels. */
#include "api/api_internal.h"
#include <ctype.h>
#include <stdio.h>
#define LOG_MODULE "api"

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
	err_cause(e, "FieldValueRequired", path, "Required value%s%s", detail && detail[0] ? ": " : "", detail ? detail : "");
}

void v_invalid(struct err *e, const char *path, struct val v, const char *detail)
{
	struct str t = val_has(v) ? val_text(v) : STR("null");

	if (val_kind(v) == VAL_STR) {
		v_invalid_str(e, path, val_str(v), detail);
		return;
	}
	if (t.n > 300)
		t = str_sub(t, 0, 300);
	err_cause(e, "FieldValueInvalid", path, "Invalid value: %.*s: %s", STR_ARG(t), detail);
}

void v_invalid_str(struct err *e, const char *path, struct str value, const char *detail)
{
	auto_buf struct buf b = BUF_INIT;

	buf_go_quoted(&b, str_sub(value, 0, 300));
	err_cause(e, "FieldValueInvalid", path, "Invalid value: %.*s: %s", (int)b.n, b.p, detail);
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

void causes_add(struct err *e, const struct err *from)
{
	const char *reason, *field, *message;

	for (size_t pos = 0; err_next_cause(from, &pos, &reason, &field, &message);)
		err_cause(e, reason, field, "%s", message);
}

/* Causes → "Pod "x" is invalid: a: Required value" or "[a: …, b: …]" for several. */
static bool finish(const char *group, const char *kind, struct str name, struct err *e)
{
	const char *reason, *field, *message;
	struct buf b = BUF_INIT;
	size_t n = 0;

	for (size_t pos = 0; err_next_cause(e, &pos, &reason, &field, &message); n++)
		buf_printf(&b, "%s%s%s%s", n ? ", " : "", field, field[0] ? ": " : "", message);
	if (n) {
		struct err causes;
		err_copy(&causes, e);
		err_set(e, ERR_INVALID, "%s%s%s \"%.*s\" is invalid: %s%.*s%s", kind, group[0] ? "." : "", group, STR_ARG(name),
			n > 1 ? "[" : "", (int)b.n, b.p, n > 1 ? "]" : "");
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

/* ---- names -------------------------------------------------------------------------------------------------------------- */

static bool lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool dns_label(struct str s, bool must_begin_alpha)
{
	if (!s.n || !lower_alnum(s.p[0]) || !lower_alnum(s.p[s.n - 1]))
		return false;
	if (must_begin_alpha && (s.p[0] < 'a' || s.p[0] > 'z'))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!lower_alnum(s.p[i]) && s.p[i] != '-')
			return false;
	return true;
}

static bool dns_subdomain(struct str s)
{
	for (struct str part, rest = s; rest.p;) {
		rest = str_cut(rest, '.', &part);
		if (!dns_label(part, false))
			return false;
	}
	return s.n > 0;
}

static const char *path_wrong(struct str s)
{
	if (str_is(s, ".") || str_is(s, ".."))
		return "may not be '.' or '..'";
	if (str_has(s, STR("/")))
		return "may not contain '/'";
	if (str_has(s, STR("%")))
		return "may not contain '%'";
	return NULL;
}

const char *name_wrong(struct str name, enum name_rule rule, bool prefix)
{
	struct str s = name;

	if (prefix) /* a base of generateName may end with '-' or '.' */
		while (s.n && (s.p[s.n - 1] == '-' || s.p[s.n - 1] == '.'))
			s.n--;
	switch (rule) {
	case NAME_PATH:
		return path_wrong(name);
	case NAME_LABEL:
		if (name.n > 63)
			return "must be no more than 63 characters";
		return dns_label(s, false) ? NULL :
					     "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
	case NAME_LABEL_1035:
		if (name.n > 63)
			return "must be no more than 63 characters";
		return dns_label(s, true) ? NULL :
					    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
	default:
		if (name.n > 253)
			return "must be no more than 253 characters";
		return dns_subdomain(s) ? NULL :
					  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
	}
}

static bool qualified_part(struct str s)
{
	if (!s.n || !isalnum((unsigned char)s.p[0]) || !isalnum((unsigned char)s.p[s.n - 1]))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
			return false;
	return true;
}

const char *label_key_wrong(struct str key)
{
	struct str head, rest = str_cut(key, '/', &head);

	if (rest.p) {
		if (!head.n || head.n > 253 || !dns_subdomain(head))
			return "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
		head = rest;
	}
	if (!head.n)
		return "name part must be non-empty";
	if (head.n > 63)
		return "name part must be no more than 63 characters";
	return qualified_part(head) ? NULL :
				      "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
}

const char *label_value_wrong(struct str v)
{
	if (v.n > 63)
		return "must be no more than 63 characters";
	return !v.n || qualified_part(v) ? NULL :
					   "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
}

/* ---- metadata ------------------------------------------------------------------------------------------------------------- */

void validate_labels(struct rq *rq, struct val labels, const char *path, struct err *e)
{
	(void)rq;
	for (struct val_iter it = val_iter(labels); val_next(&it);) {
		const char *why = label_key_wrong(it.key);
		if (why)
			v_invalid_str(e, path, it.key, why);
		why = label_value_wrong(val_str(it.val));
		if (why)
			v_invalid_str(e, path, val_str(it.val), why);
	}
}

void validate_label_selector(struct rq *rq, struct val sel, const char *path, struct err *e)
{
	static const char *const ops[] = { "In", "NotIn", "Exists", "DoesNotExist", NULL };
	struct val list = val_get(sel, "matchExpressions");

	validate_labels(rq, val_get(sel, "matchLabels"), rq_f(rq, "%s.matchLabels", path), e);
	for (size_t i = 0; i < val_len(list); i++) {
		struct val x = val_at(list, i);
		struct str op = val_str(val_get(x, "operator"));
		size_t n = val_len(val_get(x, "values"));
		const char *why = label_key_wrong(val_str(val_get(x, "key")));
		char *at = rq_f(rq, "%s.matchExpressions[%zu]", path, i);
		if (why)
			v_invalid_str(e, rq_f(rq, "%s.key", at), val_str(val_get(x, "key")), why);
		if ((str_is(op, "In") || str_is(op, "NotIn")) && !n)
			v_required(e, rq_f(rq, "%s.values", at), "must be specified when `operator` is 'In' or 'NotIn'");
		else if ((str_is(op, "Exists") || str_is(op, "DoesNotExist")) && n)
			v_forbidden(e, rq_f(rq, "%s.values", at), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
		else if (!str_is(op, "In") && !str_is(op, "NotIn") && !str_is(op, "Exists") && !str_is(op, "DoesNotExist"))
			v_unsupported(e, rq_f(rq, "%s.operator", at), op, ops);
	}
}

static void validate_owners(struct rq *rq, struct val owners, const char *path, struct err *e)
{
	static const char *const must[] = { "apiVersion", "kind", "name", "uid" };
	size_t controllers = 0;

	for (size_t i = 0; i < val_len(owners); i++) {
		struct val o = val_at(owners, i);
		for (size_t k = 0; k < ARRAY_LEN(must); k++)
			if (!val_str(val_get(o, must[k])).n)
				v_invalid(e, rq_f(rq, "%s.ownerReferences[%zu].%s", path, i, must[k]), val_get(o, must[k]),
					"must not be empty");
		controllers += val_bool(val_get(o, "controller"), false);
	}
	if (controllers > 1)
		v_invalid_str(e, rq_f(rq, "%s.ownerReferences", path), STR(""),
			"Only one reference can have Controller set to true");
}

static bool list_contains(struct val list, struct str s)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (str_eq(val_str(it.val), s))
			return true;
	return false;
}

static void validate_finalizers(struct rq *rq, struct val meta, struct val old, const char *path, struct err *e)
{
	bool deleting = val_has(val_get(old, "deletionTimestamp"));

	for (struct val_iter it = val_iter(val_get(meta, "finalizers")); val_next(&it);) {
		struct str f = val_str(it.val);
		const char *why = label_key_wrong(f);
		if (why)
			v_invalid_str(e, rq_f(rq, "%s.finalizers", path), f, why);
		if (deleting && !list_contains(val_get(old, "finalizers"), f))
			v_forbidden(e, rq_f(rq, "%s.finalizers", path), "no new finalizers can be added if the object is being deleted");
	}
}

void validate_meta(struct rq *rq, struct val meta, struct val old, const char *path, bool need_name, struct err *e)
{
	struct str name = val_str(val_get(meta, "name")), base = val_str(val_get(meta, "generateName"));
	const char *why;
	size_t bytes = 0;

	if (base.n && !val_has(old) && (why = name_wrong(base, rq->res->def.names, true)))
		v_invalid_str(e, rq_f(rq, "%s.generateName", path), base, why);
	if (need_name && !name.n)
		v_required(e, rq_f(rq, "%s.name", path), "name or generateName is required");
	else if (need_name && !val_has(old) && (why = name_wrong(name, rq->res->def.names, false)))
		v_invalid_str(e, rq_f(rq, "%s.name", path), name, why);
	validate_labels(rq, val_get(meta, "labels"), rq_f(rq, "%s.labels", path), e);
	for (struct val_iter it = val_iter(val_get(meta, "annotations")); val_next(&it);) {
		struct buf low = BUF_INIT;
		for (size_t i = 0; i < it.key.n; i++)
			buf_byte(&low, (char)tolower((unsigned char)it.key.p[i]));
		if ((why = label_key_wrong(buf_view(&low))))
			v_invalid_str(e, rq_f(rq, "%s.annotations", path), it.key, why);
		buf_fini(&low);
		bytes += it.key.n + val_str(it.val).n;
	}
	if (bytes > 256 * 1024)
		v_too_long(e, rq_f(rq, "%s.annotations", path), 256 * 1024);
	validate_owners(rq, val_get(meta, "ownerReferences"), path, e);
	validate_finalizers(rq, meta, old, path, e);
}

/* ---- small ones ---------------------------------------------------------------------------------------------------------------- */

void validate_immutable(struct err *e, const char *path, struct val now, struct val old)
{
	if (!val_equal(now, old) && (val_has(now) || val_has(old)))
		v_invalid(e, path, now, "field is immutable");
}

void validate_nonnegative(struct rq *rq, struct val parent, const char *path, const char *field, struct err *e)
{
	struct val v = val_get(parent, field);

	if (val_has(v) && val_int(v, 0) < 0)
		v_invalid(e, rq_f(rq, "%s.%s", path, field), v, "must be greater than or equal to 0");
}

void validate_port(struct err *e, const char *path, struct val port)
{
	int64_t n = val_int(port, 0);

	if (n < 1 || n > 65535)
		v_invalid(e, path, port, "must be between 1 and 65535, inclusive");
}

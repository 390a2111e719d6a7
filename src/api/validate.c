/* Field errors in the words that clients know, and the rules of names and labels. */
#include "api/api_internal.h"
#include <arpa/inet.h>
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
	err_cause(e, "FieldValueRequired", path, "Required value%s%s", detail && detail[0] ? ": " : "",
		detail ? detail : "");
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

void v_unsupported_val(struct err *e, const char *path, struct val v, const char *const *known)
{
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; known[i]; i++)
		buf_printf(&b, "%s\"%s\"", i ? ", " : "", known[i]);
	err_cause(e, "FieldValueNotSupported", path, "Unsupported value: %.*s: supported values: %.*s",
		STR_ARG(val_text(v)), STR_ARG(buf_view(&b)));
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
	size_t n = 0;

	for (size_t pos = 0, at = 0; err_next_cause(e, &pos, &reason, &field, &message); at = pos) {
		if (cause_before(e, at, field, message))
			continue;
		buf_printf(&b, "%s%s: %s", n++ ? ", " : "", field, message);
	}
	if (n) {
		auto_buf struct buf quoted = BUF_INIT;
		struct err causes;
		err_copy(&causes, e);
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

/* ---- names ----------------------------------------------------------------------------------- */

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

#define LABEL_SHAPE \
	"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
#define LABEL_1035_SHAPE \
	"a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
#define SUBDOMAIN_SHAPE \
	"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define QUALIFIED_SHAPE \
	"must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
#define VALUE_SHAPE \
	"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

/* What is wrong with one word: several sentences may hold. */
struct wrong {
	const char *why[3];
	size_t n;
};

static void wrong_if(struct wrong *w, bool bad, const char *why)
{
	if (bad)
		w->why[w->n++] = why;
}

static void tell(struct err *e, const char *path, struct str word, const struct wrong *w)
{
	for (size_t i = 0; i < w->n; i++)
		v_invalid_str(e, path, word, w->why[i]);
}

static struct wrong name_wrongs(struct str name, enum name_rule rule, bool prefix)
{
	struct wrong w = { .n = 0 };
	struct str s = name;

	if (prefix) /* a base of generateName may end with '-' or '.' */
		while (s.n && (s.p[s.n - 1] == '-' || s.p[s.n - 1] == '.'))
			s.n--;
	switch (rule) {
	case NAME_PATH:
		wrong_if(&w, str_is(s, ".") && !prefix, "may not be '.'");
		wrong_if(&w, str_is(s, "..") && !prefix, "may not be '..'");
		wrong_if(&w, str_has(s, STR("/")), "may not contain '/'");
		wrong_if(&w, str_has(s, STR("%")), "may not contain '%'");
		break;
	case NAME_LABEL:
		wrong_if(&w, name.n > 63, "must be no more than 63 characters");
		wrong_if(&w, !dns_label(s, false), LABEL_SHAPE);
		break;
	case NAME_LABEL_1035:
		wrong_if(&w, name.n > 63, "must be no more than 63 characters");
		wrong_if(&w, !dns_label(s, true), LABEL_1035_SHAPE);
		break;
	default:
		wrong_if(&w, name.n > 253, "must be no more than 253 characters");
		wrong_if(&w, !dns_subdomain(s), SUBDOMAIN_SHAPE);
	}
	return w;
}

const char *name_wrong(struct str name, enum name_rule rule, bool prefix)
{
	struct wrong w = name_wrongs(name, rule, prefix);

	return w.n ? w.why[0] : NULL;
}

void validate_name(struct err *e, const char *path, struct str name, enum name_rule rule)
{
	struct wrong w = name_wrongs(name, rule, false);

	tell(e, path, name, &w);
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

static struct wrong qualified_wrongs(struct str key)
{
	struct wrong w = { .n = 0 };
	struct str head, rest = str_cut(key, '/', &head);

	if (rest.p && str_has(rest, STR("/"))) {
		wrong_if(&w, true,
			"a qualified name " QUALIFIED_SHAPE
			" with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')");
		return w;
	}
	if (rest.p) {
		wrong_if(&w, !head.n, "prefix part must be non-empty");
		wrong_if(&w, head.n > 253, "prefix part must be no more than 253 characters");
		wrong_if(&w, head.n && head.n <= 253 && !dns_subdomain(head), "prefix part " SUBDOMAIN_SHAPE);
		head = rest;
	}
	wrong_if(&w, !head.n, "name part must be non-empty");
	wrong_if(&w, head.n > 63, "name part must be no more than 63 characters");
	wrong_if(&w, w.n < 3 && !qualified_part(head), "name part " QUALIFIED_SHAPE);
	return w;
}

bool is_one_of(const char *const *words, struct str s)
{
	for (; *words; words++)
		if (str_is(s, *words))
			return true;
	return false;
}

void validate_qualified(struct err *e, const char *path, struct str key)
{
	struct wrong w = qualified_wrongs(key);

	tell(e, path, key, &w);
}

static void label_value(struct err *e, const char *path, struct str v)
{
	struct wrong w = { .n = 0 };

	wrong_if(&w, v.n > 63, "must be no more than 63 characters");
	wrong_if(&w, v.n && !qualified_part(v), VALUE_SHAPE);
	tell(e, path, v, &w);
}

/* ---- metadata -------------------------------------------------------------------------------- */

void validate_labels(struct rq *rq, struct val labels, const char *path, struct err *e)
{
	(void)rq;
	for (struct val_iter it = val_iter(labels); val_next(&it);) {
		validate_qualified(e, path, it.key);
		label_value(e, path, val_str(it.val));
	}
}

void validate_label_selector(struct rq *rq, struct val sel, const char *path, struct err *e)
{
	struct val list = val_get(sel, "matchExpressions");

	validate_labels(rq, val_get(sel, "matchLabels"), rq_f(rq, "%s.matchLabels", path), e);
	for (size_t i = 0; i < val_len(list); i++) {
		struct val x = val_at(list, i);
		struct str op = val_str(val_get(x, "operator"));
		size_t n = val_len(val_get(x, "values"));
		char *at = rq_f(rq, "%s.matchExpressions[%zu]", path, i);
		validate_qualified(e, rq_f(rq, "%s.key", at), val_str(val_get(x, "key")));
		if ((str_is(op, "In") || str_is(op, "NotIn")) && !n)
			v_required(
				e, rq_f(rq, "%s.values", at), "must be specified when `operator` is 'In' or 'NotIn'");
		else if ((str_is(op, "Exists") || str_is(op, "DoesNotExist")) && n)
			v_forbidden(e, rq_f(rq, "%s.values", at),
				"may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
	}
}

static void validate_owners(struct rq *rq, struct val owners, const char *path, struct err *e)
{
	static const struct {
		const char *field, *why;
	} must[] = { { "apiVersion", "version must not be empty" }, { "kind", "must not be empty" },
		{ "name", "must not be empty" }, { "uid", "must not be empty" } };
	const char *at = rq_f(rq, "%s.ownerReferences", path);
	struct val first = VAL_NONE;

	for (size_t i = 0; i < val_len(owners); i++) {
		struct val o = val_at(owners, i);
		for (size_t k = 0; k < ARRAY_LEN(must); k++)
			if (!val_str(val_get(o, must[k].field)).n)
				v_invalid_str(e, rq_f(rq, "%s.%s", at, must[k].field), STR(""),
					k ? rq_f(rq, "%s %s", must[k].field, must[k].why) : must[k].why);
		if (!val_bool(val_get(o, "controller"), false))
			continue;
		if (val_has(first))
			v_invalid(e, at, owners,
				rq_f(rq,
					"Only one reference can have Controller set to true. Found \"true\" in references for %.*s/%.*s and %.*s/%.*s",
					STR_ARG(val_str(val_get(first, "kind"))),
					STR_ARG(val_str(val_get(first, "name"))), STR_ARG(val_str(val_get(o, "kind"))),
					STR_ARG(val_str(val_get(o, "name")))));
		first = o;
	}
}

static bool list_contains(struct val list, struct str s)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (str_eq(val_str(it.val), s))
			return true;
	return false;
}

static bool finalizer_known(struct str f)
{
	return str_has(f, STR("/")) || str_is(f, "orphan") || str_is(f, "foregroundDeletion") ||
		str_is(f, "kubernetes");
}

static void validate_finalizers(struct rq *rq, struct val meta, struct val old, const char *path, struct err *e)
{
	bool deleting = val_has(val_get(old, "deletionTimestamp"));

	for (struct val_iter it = val_iter(val_get(meta, "finalizers")); val_next(&it);) {
		struct str f = val_str(it.val);
		validate_qualified(e, rq_f(rq, "%s.finalizers", path), f);
		if (!rq->res->custom && !finalizer_known(f) && !list_contains(val_get(old, "finalizers"), f))
			v_invalid_str(e, rq_f(rq, "%s.finalizers[%zu]", path, it.i), f,
				"name is neither a standard finalizer name nor is it fully qualified");
		if (deleting && !list_contains(val_get(old, "finalizers"), f))
			v_forbidden(e, rq_f(rq, "%s.finalizers", path),
				"no new finalizers can be added if the object is being deleted");
	}
}

void validate_meta(struct rq *rq, struct val meta, struct val old, const char *path, bool need_name, struct err *e)
{
	struct str name = val_str(val_get(meta, "name")), base = val_str(val_get(meta, "generateName"));
	struct wrong w = name_wrongs(base, rq->res->def.names, true);
	size_t bytes = 0;

	if (base.n && !val_has(old))
		tell(e, rq_f(rq, "%s.generateName", path), base, &w);
	if (need_name && !name.n)
		v_required(e, rq_f(rq, "%s.name", path), "name or generateName is required");
	else if (need_name && !val_has(old))
		validate_name(e, rq_f(rq, "%s.name", path), name, rq->res->def.names);
	validate_labels(rq, val_get(meta, "labels"), rq_f(rq, "%s.labels", path), e);
	for (struct val_iter it = val_iter(val_get(meta, "annotations")); val_next(&it);) {
		w = qualified_wrongs(str_c(rq_lower(rq, it.key)));
		tell(e, rq_f(rq, "%s.annotations", path), it.key, &w);
		bytes += it.key.n + val_str(it.val).n;
	}
	if (bytes > 256 * 1024)
		v_too_long(e, rq_f(rq, "%s.annotations", path), 256 * 1024);
	validate_owners(rq, val_get(meta, "ownerReferences"), path, e);
	validate_finalizers(rq, meta, old, path, e);
}

/* ---- words ----------------------------------------------------------------------------------- */

void validate_data_key(struct err *e, const char *path, struct str k)
{
	bool shape = k.n > 0;

	for (size_t i = 0; i < k.n; i++)
		shape &= isalnum((unsigned char)k.p[i]) || k.p[i] == '-' || k.p[i] == '_' || k.p[i] == '.';
	if (k.n > 253)
		v_invalid_str(e, path, k, "must be no more than 253 characters");
	if (!shape)
		v_invalid_str(e, path, k,
			"a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')");
	if (str_is(k, "."))
		v_invalid_str(e, path, k, "must not be '.'");
	else if (str_is(k, ".."))
		v_invalid_str(e, path, k, "must not be '..'");
	else if (str_starts(k, STR("..")))
		v_invalid_str(e, path, k, "must not start with '..'");
}

/* 4 or 16: bytes of the address; 0: it is none. */
static size_t ip_bytes(struct str ip, unsigned char ret[16])
{
	char text[64];

	if (!ip.n || ip.n >= sizeof(text))
		return 0;
	memcpy(text, ip.p, ip.n);
	text[ip.n] = 0;
	if (inet_pton(AF_INET, text, ret) == 1)
		return 4;
	return inet_pton(AF_INET6, text, ret) == 1 ? 16 : 0;
}

bool validate_ip(struct err *e, const char *path, struct str ip)
{
	unsigned char b[16];

	if (ip_bytes(ip, b))
		return true;
	v_invalid_str(e, path, ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
	return false;
}

void validate_endpoint_ip(struct err *e, const char *path, struct str ip)
{
	static const unsigned char none[16], loop[16] = { [15] = 1 };
	unsigned char b[16];
	bool v4;

	if (!validate_ip(e, path, ip))
		return;
	v4 = ip_bytes(ip, b) == 4;
	if (!memcmp(b, none, v4 ? 4 : 16))
		v_invalid_str(e, path, ip, "may not be unspecified (0.0.0.0 or ::)");
	if (v4 ? b[0] == 127 : !memcmp(b, loop, 16))
		v_invalid_str(e, path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
	if (v4 ? b[0] == 169 && b[1] == 254 : b[0] == 0xfe && (b[1] & 0xc0) == 0x80)
		v_invalid_str(e, path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
	if (v4 ? b[0] == 224 && !b[1] && !b[2] : b[0] == 0xff && (b[1] & 0x0f) == 2)
		v_invalid_str(e, path, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
}

void validate_cidr(struct err *e, const char *path, struct str cidr)
{
	if (!ipalloc_is_cidr(cidr))
		v_invalid_str(e, path, cidr, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
}

/* ---- small ones ------------------------------------------------------------------------------ */

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

/* The rules of names, labels and metadata, and of words that many kinds have. */
#include "api/api_internal.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#define LOG_MODULE "api"
#define ANNOTATIONS_BYTES_MAX (256 * 1024)

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

void validate_csi_name(struct err *e, const char *path, struct str name)
{
	char lower[254];
	struct wrong w = { .n = 0 };

	if (!name.n)
		v_required(e, path, "");
	if (name.n > 63)
		v_too_long(e, path, 63);
	for (size_t i = 0; i < name.n && i < sizeof(lower); i++)
		lower[i] = (char)tolower((unsigned char)name.p[i]);
	wrong_if(&w, name.n > 253, "must be no more than 253 characters");
	wrong_if(&w, !dns_subdomain((struct str){ lower, name.n < sizeof(lower) ? name.n : 0 }), SUBDOMAIN_SHAPE);
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
	validate_qualified_as(e, path, key, key);
}

void validate_qualified_as(struct err *e, const char *path, struct str key, struct str told)
{
	struct wrong w = qualified_wrongs(key);

	tell(e, path, told, &w);
}

const char *qualified_wrong(struct str key, size_t i)
{
	struct wrong w = qualified_wrongs(key);

	return i < w.n ? w.why[i] : NULL;
}

void validate_label_value(struct err *e, const char *path, struct str v)
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
		validate_label_value(e, path, val_str(it.val));
	}
}

void validate_annotations(struct rq *rq, struct val annotations, const char *path, struct err *e)
{
	size_t bytes = 0;

	for (struct val_iter it = val_iter(annotations); val_next(&it);) {
		validate_qualified_as(e, path, str_c(rq_lower(rq, it.key)), it.key);
		bytes += it.key.n + val_str(it.val).n;
	}
	if (bytes > ANNOTATIONS_BYTES_MAX)
		v_too_long(e, path, ANNOTATIONS_BYTES_MAX);
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
		if (val_is(val_get(o, "apiVersion"), "v1") && val_is(val_get(o, "kind"), "Event"))
			v_invalid(e, at, o, "/v1, Kind=Event is disallowed from being an owner");
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

bool finalizer_known(struct str f)
{
	return str_has(f, STR("/")) || str_is(f, "orphan") || str_is(f, "foregroundDeletion") ||
		str_is(f, "kubernetes");
}

/* Those that are new on an object that is going, by name, as Go prints them. */
static void no_new_finalizers(struct rq *rq, struct val list, struct val old, const char *at, struct err *e)
{
	struct str *new = ARENA_ARRAY(rq->a, struct str, val_len(list) + 1);
	auto_buf struct buf b = BUF_INIT;
	size_t n = 0;

	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (!list_contains(old, val_str(it.val)))
			new[n++] = val_str(it.val);
	qsort(new, n, sizeof(*new), str_order);
	for (size_t i = 0; i < n; i++)
		if (!i || !str_eq(new[i], new[i - 1]))
			buf_printf(&b, "%s\"%.*s\"", i ? ", " : "", STR_ARG(new[i]));
	if (n)
		v_forbidden(e, at,
			rq_f(rq,
				"no new finalizers can be added if the object is being deleted, found new finalizers "
				"[]string{%.*s}",
				(int)b.n, b.p));
}

static void validate_finalizers(struct rq *rq, struct val meta, struct val old, const char *path, struct err *e)
{
	bool deleting = val_has(val_get(old, "deletionTimestamp")),
	     any = rq->res->custom || !strcmp(rq->res->def.group, "apiextensions.k8s.io") ||
		!strcmp(rq->res->def.group, "apiregistration.k8s.io"); /* words are for the core's kinds */

	for (struct val_iter it = val_iter(val_get(meta, "finalizers")); val_next(&it);) {
		struct str f = val_str(it.val);
		validate_qualified(e, rq_f(rq, "%s.finalizers", path), f);
		if (!any && !finalizer_known(f) && !list_contains(val_get(old, "finalizers"), f))
			v_invalid_str(e, rq_f(rq, "%s.finalizers[%zu]", path, it.i), f,
				"name is neither a standard finalizer name nor is it fully qualified");
	}
	if (deleting)
		no_new_finalizers(rq, val_get(meta, "finalizers"), val_get(old, "finalizers"),
			rq_f(rq, "%s.finalizers", path), e);
}

void validate_differ(struct rq *rq, struct val list, const char *path, struct err *e)
{
	for (size_t i = 0; i < val_len(list); i++)
		for (size_t k = 0; k < i; k++)
			if (val_equal(val_at(list, i), val_at(list, k))) {
				err_cause(e, "FieldValueDuplicate", rq_f(rq, "%s[%zu]", path, i),
					"Duplicate value: %.*s", STR_ARG(val_text(val_at(list, i))));
				break;
			}
}

void validate_meta(struct rq *rq, struct val meta, struct val old, const char *path, bool need_name, struct err *e)
{
	struct str name = val_str(val_get(meta, "name")), base = val_str(val_get(meta, "generateName"));
	struct wrong w = name_wrongs(base, rq->res->def.names, true), path_wrong = name_wrongs(base, NAME_PATH, true);

	if (base.n && val_has(old) && rq->res->def.names != NAME_PATH)
		tell(e, rq_f(rq, "%s.generateName", path), base, &path_wrong);
	if (base.n)
		tell(e, rq_f(rq, "%s.generateName", path), base, &w);
	if (need_name && !name.n)
		v_required(e, rq_f(rq, "%s.name", path), "name or generateName is required");
	else if (need_name && !val_has(old))
		validate_name(e, rq_f(rq, "%s.name", path), name, rq->res->def.names);
	validate_labels(rq, val_get(meta, "labels"), rq_f(rq, "%s.labels", path), e);
	validate_annotations(rq, val_get(meta, "annotations"), rq_f(rq, "%s.annotations", path), e);
	validate_owners(rq, val_get(meta, "ownerReferences"), path, e);
	validate_finalizers(rq, meta, old, path, e);
}

void validate_embedded_meta(struct rq *rq, struct val meta, const char *path, struct err *e)
{
	struct str name = val_str(val_get(meta, "name")), ns = val_str(val_get(meta, "namespace"));
	struct wrong base = name_wrongs(val_str(val_get(meta, "generateName")), NAME_PATH, true);

	tell(e, rq_f(rq, "%s.generateName", path), val_str(val_get(meta, "generateName")), &base);
	validate_name(e, rq_f(rq, "%s.name", path), name, NAME_PATH);
	if (ns.n)
		validate_name(e, rq_f(rq, "%s.namespace", path), ns, NAME_LABEL);
	if (val_int(val_get(meta, "generation"), 0) < 0)
		v_invalid(e, rq_f(rq, "%s.generation", path), val_get(meta, "generation"),
			"must be greater than or equal to 0");
	validate_labels(rq, val_get(meta, "labels"), rq_f(rq, "%s.labels", path), e);
	validate_annotations(rq, val_get(meta, "annotations"), rq_f(rq, "%s.annotations", path), e);
	validate_owners(rq, val_get(meta, "ownerReferences"), path, e);
	for (struct val_iter it = val_iter(val_get(meta, "finalizers")); val_next(&it);)
		validate_qualified(e, rq_f(rq, "%s.finalizers", path), val_str(it.val));
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
	bool list = val_kind(old) == VAL_LIST;

	if (val_equal(now, old) || (!val_has(now) && !val_has(old)))
		return;
	if (val_has(now) || list)
		v_invalid(e, path, now, "field is immutable");
	else /* as upstream tells of a pointer to nothing */
		v_invalid_str(e, path, STR("null"), "field is immutable");
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

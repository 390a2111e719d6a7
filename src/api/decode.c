/* Bodies: JSON, YAML or protobuf into a tree of the wanted type, with field validation. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

#define STRICT_MAX 16 /* as many strict errors are told */

struct strict {
	struct rq *rq;
	struct buf text; /* "unknown field \"x\", duplicate field \"y\"" */
	size_t n;
};

static void strict_add(struct strict *s, const char *what, struct str path)
{
	if (s->n++ >= STRICT_MAX)
		return;
	if (s->rq->field_validation == VALIDATE_WARN)
		rq_warn(s->rq, "%s field \"%.*s\"", what, STR_ARG(path));
	buf_printf(&s->text, "%s%s field \"%.*s\"", s->n > 1 ? ", " : "", what, STR_ARG(path));
}

static void strict_dup(void *arg, struct str path)
{
	strict_add(arg, "duplicate", path);
}

static void strict_unknown(void *arg, struct str path)
{
	strict_add(arg, "unknown", path);
}

static int strict_finish(struct strict *s, const char *version, const char *kind, struct err *e)
{
	int rc = 0;

	if (s->n && s->rq->field_validation == VALIDATE_STRICT)
		rc = err_set(e, ERR_BAD_REQUEST,
			"%s in version \"%s\" cannot be handled as a %s: strict decoding error: %.*s", kind, version,
			kind, (int)s->text.n, s->text.p);
	buf_fini(&s->text);
	return rc;
}

/* As upstream's: what could not be read, and how it begins: as text where it looks like JSON. */
static int unrecognized(struct rq *rq, const char *kind, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	bool json = rq->body.n && rq->body.p[0] == '{', more = rq->body.n > 30;
	struct str s = str_sub(rq->body, 0, 30);

	for (size_t i = 0; i < s.n; i++)
		buf_printf(&b, json ? "%c" : "%02x", (unsigned char)s.p[i]);
	struct err why;
	err_copy(&why, e);
	return err_set(e, why.code, "the object provided is unrecognized (must be of type %s): %s (%.*s%s)", kind,
		why.message, STR_ARG(s.n ? buf_view(&b) : STR("<empty>")), more ? " ..." : "");
}

static int parse_text(struct rq *rq, enum media m, struct strict *s, struct doc **ret, struct err *e)
{
	int rc;

	if (!rq->body.n)
		return err_set(e, ERR_BAD_REQUEST, "the request has no body, but an object is needed");
	if (m == MEDIA_YAML)
		rc = doc_parse_yaml(rq->body, s ? strict_dup : NULL, s, ret, e);
	else if (s)
		rc = doc_parse_lenient(rq->body, strict_dup, s, ret, e);
	else
		rc = doc_parse(rq->body, ret, e);
	return rc;
}

int decode_any(struct rq *rq, struct doc **ret, struct err *e)
{
	enum media m = MEDIA_JSON;

	if (rq->local) {
		if (!rq->body_doc)
			return err_set(e, ERR_BAD_REQUEST, "the request has no body, but an object is needed");
		*ret = doc_ref(rq->body_doc);
		return 0;
	}
	if (str_starts(rq->content_type, STR("application/apply-patch+yaml")) ||
		str_starts(rq->content_type, STR("application/yaml")))
		m = MEDIA_YAML;
	/* JSON is YAML, and much faster to read. */
	struct str t = str_trim(rq->body);
	if (m == MEDIA_YAML && t.n && t.p[0] == '{' && doc_parse(rq->body, ret, e) == 0)
		return 0;
	return parse_text(rq, m, NULL, ret, e);
}

static const char *json_name(enum val_kind k)
{
	static const char *const names[] = { "nothing", "null", "bool", "number", "number", "string", "array",
		"object" };

	return names[k];
}

static int check_kind(struct rq *rq, struct node *n, const char *api_version, const char *kind, struct err *e)
{
	static const char *const words[] = { "apiVersion", "kind" };
	struct str v = node_text_str(node_getc(n, "apiVersion")), k = node_text_str(node_getc(n, "kind"));

	if (node_kind(n) != VAL_MAP) {
		err_set(e, ERR_BAD_REQUEST,
			"couldn't get version/kind; json parse error: the body is %s, not an object",
			json_name(node_kind(n)));
		return unrecognized(rq, kind, e);
	}
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		struct node *w = node_getc(n, words[i]);
		if (!w || node_kind(w) == VAL_STR || node_kind(w) == VAL_NULL)
			continue;
		err_set(e, ERR_BAD_REQUEST,
			"couldn't get version/kind; json parse error: json: cannot unmarshal %s into Go struct field .%s of type string",
			json_name(node_kind(w)), words[i]);
		return unrecognized(rq, kind, e);
	}
	if (k.n && !str_is(k, kind))
		return err_set(e, ERR_BAD_REQUEST,
			"%.*s in version \"%s\" cannot be handled as a %s: the kind in the data (%.*s) does not match the expected kind (%s)",
			STR_ARG(k), api_version, kind, STR_ARG(k), kind);
	if (v.n && rq->subres && rq->subres->old_api_version && str_is(v, rq->subres->old_api_version)) {
		node_setc(n, "apiVersion", node_c(rq->a, api_version));
		v = str_c(api_version);
	}
	if (v.n && !str_is(v, api_version))
		return err_set(e, ERR_BAD_REQUEST,
			"the API version in the data (%.*s) does not match the expected API version (%s)", STR_ARG(v),
			api_version);
	if (!v.n)
		node_setc(n, "apiVersion", node_c(rq->a, api_version));
	if (!k.n)
		node_setc(n, "kind", node_c(rq->a, kind));
	return 0;
}

static const char *version_of(const char *api_version)
{
	const char *slash = strrchr(api_version, '/');

	return slash ? slash + 1 : api_version;
}

static int decode_with(
	struct rq *rq, const struct schema_type *type, struct node *n, bool report, bool keep_nulls, struct err *e)
{
	bool tell = report && rq->field_validation != VALIDATE_IGNORE;
	struct strict s = { .rq = rq, .text = BUF_INIT };
	struct schema_report rep = { tell ? strict_unknown : NULL, &s, keep_nulls };
	int rc = schema_decode(type, rq->a, n, &rep, e);

	if (rc < 0) {
		buf_fini(&s.text);
		return rc;
	}
	return strict_finish(&s, rq->res->def.version, rq->res->def.kind, e);
}

int decode_node(struct rq *rq, const struct schema_type *type, struct node *n, bool report, struct err *e)
{
	return decode_with(rq, type, n, report, false, e);
}

int decode_applied(struct rq *rq, const struct schema_type *type, struct node *n, struct err *e)
{
	return decode_with(rq, type, n, true, true, e);
}

int decode_body(struct rq *rq, const struct schema_type *type, const char *api_version, const char *kind,
	struct node **ret, struct err *e)
{
	struct strict s = { .rq = rq, .text = BUF_INIT };
	struct schema_report rep = { strict_unknown, &s };
	enum media m = MEDIA_JSON;
	struct node *n = NULL;
	struct doc *d = NULL;
	int rc;

	if (!rq->local && (rc = media_of_body(rq, &m, e)) < 0)
		return rc;
	if (m == MEDIA_PROTOBUF) {
		if (schema_from_protobuf(rq->a, rq->body, &n, e) < 0)
			return unrecognized(rq, kind, e);
	} else {
		rc = rq->local ? decode_any(rq, &d, e) : parse_text(rq, m, &s, &d, e);
		if (rc < 0) {
			buf_fini(&s.text);
			if (m == MEDIA_JSON && !rq->local)
				err_wrap(e, "couldn't get version/kind; json parse error");
			return rq->local ? rc : unrecognized(rq, kind, e);
		}
		doc_hold(rq->a, d);
		n = val_kind(doc_root(d)) == VAL_NULL ? node_map(rq->a) :
							node_from(rq->a, doc_root(d)); /* null: all is as if left out */
	}
	rc = check_kind(rq, n, api_version, kind, e);
	if (rc == 0 && type &&
		(rc = schema_decode(type, rq->a, n, rq->field_validation == VALIDATE_IGNORE ? NULL : &rep, e)) < 0)
		err_wrap(e, "%s in version \"%s\" cannot be handled as a %s", kind, version_of(api_version), kind);
	if (rc < 0) {
		buf_fini(&s.text);
		return rc;
	}
	*ret = n;
	return strict_finish(&s, version_of(api_version), kind, e);
}

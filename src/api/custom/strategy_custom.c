/* Objects of custom kinds: what is asked of them besides their schema. Objects that are embedded in them have a kind and
 * metadata like any other; what the sub-resource scale reads is a count, or text. */
#include "api/custom/custom.h"
#include <ctype.h>

/* ---- embedded objects ------------------------------------------------------------------------ */

/* Tells what is wrong with a word that must be there. NULL: there is something to look at. */
static const char *no_word(struct embedded_rules *r, struct val v, const char *path)
{
	if (!val_has(v))
		v_required(r->e, path, "must not be empty");
	else if (val_kind(v) != VAL_STR)
		v_invalid(r->e, path, v, "must be a string");
	else if (!val_str(v).n)
		v_invalid(r->e, path, v, "must not be empty");
	else
		return NULL;
	return path;
}

static bool has_two_slashes(struct str s)
{
	const char *first = memchr(s.p, '/', s.n);

	return first && memchr(first + 1, '/', s.n - (size_t)(first + 1 - s.p));
}

static void check_api_version(struct embedded_rules *r, struct val v, const char *path)
{
	if (!no_word(r, v, path) && has_two_slashes(val_str(v)))
		v_invalid(r->e, path, v, rq_f(r->rq, "unexpected GroupVersion string: %.*s", STR_ARG(val_str(v))));
}

static void check_kind(struct embedded_rules *r, struct val v, const char *path)
{
	const char *wrong;

	if (no_word(r, v, path))
		return;
	wrong = name_wrong(str_c(rq_lower(r->rq, val_str(v))), NAME_LABEL_1035, false);
	if (wrong)
		v_invalid(r->e, path, v, rq_f(r->rq, "may have mixed case, but should otherwise match: %s", wrong));
}

static void check_metadata(struct embedded_rules *r, struct val v, const char *path)
{
	const struct schema_type *t = schema_builtin_by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
	struct err wrong;

	if (!val_has(v) || val_kind(v) == VAL_NULL)
		return;
	err_init(&wrong);
	if (schema_decode(t, r->rq->a, node_from(r->rq->a, v), NULL, &wrong) < 0)
		v_invalid(r->e, path, v, wrong.message);
	else
		validate_embedded_meta(r->rq, v, path, r->e);
}

void embedded_check(void *arg, struct val object, const char *path)
{
	struct embedded_rules *r = arg;

	check_api_version(r, val_get(object, "apiVersion"), rq_f(r->rq, "%s.apiVersion", path));
	check_kind(r, val_get(object, "kind"), rq_f(r->rq, "%s.kind", path));
	check_metadata(r, val_get(object, "metadata"), rq_f(r->rq, "%s.metadata", path));
}

/* ---- scale ----------------------------------------------------------------------------------- */

static const char *go_type(struct val v)
{
	static const char *const words[] = { [VAL_NULL] = "<nil>",
		[VAL_BOOL] = "bool",
		[VAL_INT] = "int64",
		[VAL_FLOAT] = "float64",
		[VAL_STR] = "string",
		[VAL_LIST] = "[]interface {}",
		[VAL_MAP] = "map[string]interface {}" };

	return words[val_kind(v)];
}

static void tell_type(struct rq *rq, struct val v, const char *path, bool text, const char *want, struct err *e)
{
	struct str shown = val_kind(v) == VAL_STR ? val_str(v) : val_kind(v) == VAL_NULL ? STR("<nil>") : val_text(v);
	const char *at = rq_f(rq, ".%s", path);

	err_cause(e, "FieldValueInvalid", at,
		"Invalid value: %s: %s accessor error: %.*s is of the type %s, expected %s", text ? "\"\"" : "0", at,
		(int)MIN(shown.n, (size_t)300), shown.p, go_type(v), want);
}

/* What is at a dotted path: an integer, or text. VAL_NONE: nothing, or it is told that it is something else. */
static struct val reach(struct rq *rq, struct val o, const char *path, bool text, struct err *e)
{
	struct str rest = str_c(path), part;

	while (str_next(&rest, '.', &part)) {
		if (!val_has(o) || val_kind(o) == VAL_NULL)
			return VAL_NONE;
		if (val_kind(o) != VAL_MAP) {
			tell_type(rq, o, path, text, "map[string]interface{}", e);
			return VAL_NONE;
		}
		o = val_get_str(o, part);
	}
	if (!val_has(o) || val_kind(o) == (text ? VAL_STR : VAL_INT))
		return o;
	tell_type(rq, o, path, text, text ? "string" : "int64", e);
	return VAL_NONE;
}

static void check_count(struct rq *rq, struct val o, const char *path, struct err *e)
{
	const char *at = rq_f(rq, ".%s", path ? path : "");
	struct val v = path ? reach(rq, o, path, false, e) : VAL_NONE;

	if (val_int(v, 0) < 0)
		v_invalid(e, at, v, "should be a non-negative integer");
	else if (val_int(v, 0) > INT32_MAX)
		v_invalid(e, at, v, "should be less than or equal to 2147483647");
}

static void check_scale(struct rq *rq, const struct custom *c, struct val o, struct err *e)
{
	if (!rq->sub.n)
		check_count(rq, o, c->replicas, e);
	check_count(rq, o, c->status_replicas, e);
	if (c->selector)
		reach(rq, o, c->selector, true, e);
}

static void validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct embedded_rules r = { rq, e };

	(void)old;
	check_scale(rq, rq->res->custom, o, e);
	schema_each_embedded(rq->res->type, o, "", embedded_check, &r);
}

const struct strategy strategy_custom = { .validate = validate };

/* LimitRanges on their way in: what they say of one resource must not contradict itself. */
#include "api/api_internal.h"

struct bound {
	const char *what;
	struct val v; /* missing: nothing is said */
	struct quantity q;
};

static struct bound bound_of(struct val limit, const char *field, struct str resource, const char *what)
{
	struct bound b = { .what = what, .v = val_get_str(val_get(limit, field), resource) };

	if (!quantity_of(b.v, &b.q))
		b.v = VAL_NONE;
	return b;
}

/* Told at a path, with the value of one of them. */
static void in_order(
	struct rq *rq, const struct bound *a, const struct bound *b, const char *at, struct val v, struct err *e)
{
	if (val_has(a->v) && val_has(b->v) && quantity_cmp(a->q, b->q) > 0)
		v_invalid(e, at, v,
			rq_f(rq, "%s value %.*s is greater than %s value %.*s", a->what, STR_ARG(val_str(a->v)),
				b->what, STR_ARG(val_str(b->v))));
}

/* No limit can be further above its request than the greatest above the least. */
static void ratio_validate(struct rq *rq, const struct bound *ratio, const struct bound *min, const struct bound *max,
	const char *at, struct err *e)
{
	double most;

	if (!val_has(ratio->v))
		return;
	if (quantity_cmp(ratio->q, (struct quantity){ .value = 1 }) < 0)
		v_invalid(e, at, ratio->v, rq_f(rq, "ratio %.*s is less than 1", STR_ARG(val_str(ratio->v))));
	if (!val_has(min->v) || !val_has(max->v))
		return;
	most = (double)quantity_milli(max->q) / (double)quantity_milli(min->q);
	if ((double)quantity_milli(ratio->q) / 1000 > most)
		v_invalid(e, at, ratio->v,
			rq_f(rq, "ratio %.*s is greater than max/min = %f", STR_ARG(val_str(ratio->v)), most));
}

static void resource_validate(struct rq *rq, struct val limit, struct str name, const char *at, struct err *e)
{
	struct bound min = bound_of(limit, "min", name, "min"), max = bound_of(limit, "max", name, "max"),
		     def = bound_of(limit, "default", name, "default"), def_limit = def,
		     request = bound_of(limit, "defaultRequest", name, "default request"),
		     ratio = bound_of(limit, "maxLimitRequestRatio", name, "");
	const char *of_min = rq_f(rq, "%s.min[%.*s]", at, STR_ARG(name)),
		   *of_default = rq_f(rq, "%s.default[%.*s]", at, STR_ARG(name)),
		   *of_request = rq_f(rq, "%s.defaultRequest[%.*s]", at, STR_ARG(name));

	def_limit.what = "default limit";
	in_order(rq, &min, &max, of_min, min.v, e);
	in_order(rq, &min, &request, of_request, request.v, e);
	in_order(rq, &request, &max, of_request, request.v, e);
	in_order(rq, &request, &def_limit, of_request, request.v, e);
	in_order(rq, &min, &def, of_default, min.v, e);
	in_order(rq, &def, &max, of_default, max.v, e);
	ratio_validate(rq, &ratio, &min, &max, rq_f(rq, "%s.maxLimitRequestRatio[%.*s]", at, STR_ARG(name)), e);
}

static const char *const amounts[] = { "max", "min", "default", "defaultRequest", "maxLimitRequestRatio" };

/* The names in any of the fields, each once. */
static void resources_validate(struct rq *rq, struct val limit, const char *at, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(amounts); i++)
		for (struct val_iter it = val_iter(val_get(limit, amounts[i])); val_next(&it);) {
			bool seen = false;

			for (size_t k = 0; k < i && !seen; k++)
				seen = val_has(val_get_str(val_get(limit, amounts[k]), it.key));
			if (!seen)
				resource_validate(rq, limit, it.key, at, e);
		}
}

static void names_validate(struct rq *rq, struct val limit, const char *at, struct err *e)
{
	bool of_container = !val_is(val_get(limit, "type"), "PersistentVolumeClaim");

	for (size_t i = 0; i < ARRAY_LEN(amounts); i++)
		for (struct val_iter it = val_iter(val_get(limit, amounts[i])); val_next(&it);)
			validate_resource_name(
				e, rq_f(rq, "%s.%s[%.*s]", at, amounts[i], STR_ARG(it.key)), it.key, of_container);
}

static void type_validate(struct rq *rq, struct val limits, size_t i, const char *at, struct err *e)
{
	static const char *const standard[] = { "Pod", "Container", "PersistentVolumeClaim", NULL };
	struct str type = val_str(val_get(val_at(limits, i), "type"));

	validate_qualified(e, rq_f(rq, "%s.type", at), type);
	if (!qualified_wrong(type, 0) && !str_has(type, STR("/")) && !is_one_of(standard, type))
		v_invalid_str(e, rq_f(rq, "%s.type", at), type, "must be a standard limit type or fully qualified");
	for (size_t k = 0; k < i; k++)
		if (str_eq(val_str(val_get(val_at(limits, k), "type")), type)) {
			v_duplicate(e, rq_f(rq, "%s.type", at), type);
			break;
		}
}

static void validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val limits = val_path(o, "spec.limits");

	(void)old;
	for (struct val_iter it = val_iter(limits); val_next(&it);) {
		struct val type = val_get(it.val, "type");
		char *at = rq_f(rq, "spec.limits[%zu]", it.i);

		type_validate(rq, limits, it.i, at, e);
		if (val_is(type, "Pod") && val_len(val_get(it.val, "default")))
			v_forbidden(e, rq_f(rq, "%s.default", at), "may not be specified when `type` is 'Pod'");
		if (val_is(type, "Pod") && val_len(val_get(it.val, "defaultRequest")))
			v_forbidden(e, rq_f(rq, "%s.defaultRequest", at), "may not be specified when `type` is 'Pod'");
		if (val_is(type, "PersistentVolumeClaim") && !val_has(val_get(val_get(it.val, "min"), "storage")) &&
			!val_has(val_get(val_get(it.val, "max"), "storage")))
			v_required(e, rq_f(rq, "%s.limits", at),
				"either minimum or maximum storage value is required, but neither was provided");
		names_validate(rq, it.val, at, e);
		resources_validate(rq, it.val, at, e);
	}
}

const struct strategy strategy_limitrange = { .validate = validate };

/* CustomResourceDefinitions on their way in: defaults, rules in upstream's words, warnings about what is not enforced.
 */
#include "api/custom/custom.h"
#include <ctype.h>
#include <stdio.h>
#define LOG_MODULE "crd"

/* ---- before ---------------------------------------------------------------------------------- */

static void default_names(struct rq *rq, struct node *names)
{
	struct str kind = node_text_str(node_getc(names, "kind"));
	char *lower = arena_cstr(rq->a, kind);

	for (char *p = lower; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (kind.n && !node_text_str(node_getc(names, "singular")).n)
		node_setc(names, "singular", node_c(rq->a, lower));
	if (kind.n && !node_text_str(node_getc(names, "listKind")).n)
		node_setc(names, "listKind", node_strf(rq->a, "%.*sList", STR_ARG(kind)));
}

/* The version that objects are stored in from now on has been a stored version. */
static void note_stored(struct rq *rq, struct node *object)
{
	struct node *versions = node_path(object, "spec.versions"),
		    *list = node_need_list(node_need_map(object, "status"), "storedVersions");

	for (size_t i = 0; i < node_len(versions); i++) {
		struct str name = node_text_str(node_getc(node_at(versions, i), "name"));
		bool there = false;

		if (!node_bool_of(node_getc(node_at(versions, i), "storage"), false))
			continue;
		for (size_t k = 0; k < node_len(list); k++)
			there |= str_eq(node_text_str(node_at(list, k)), name);
		if (!there)
			node_add(list, node_str(rq->a, name));
		return;
	}
}

struct unenforced {
	struct buf text;
	size_t n;
};

static void add_path(void *arg, const char *path)
{
	struct unenforced *u = arg;

	if (u->n++ < 20)
		buf_printf(&u->text, "%s%s", u->n > 1 ? ", " : "", path);
}

static void warn_unenforced(struct rq *rq, struct val crd)
{
	for (struct val_iter it = val_iter(val_path(crd, "spec.versions")); val_next(&it);) {
		struct unenforced u = { .text = BUF_INIT };

		schema_unenforced_rules(val_path(it.val, "schema.openAPIV3Schema"), add_path, &u);
		if (u.n)
			rq_warn(rq, "version %.*s: x-kubernetes-validations are kept but not enforced yet, for: %.*s%s",
				STR_ARG(val_str(val_get(it.val, "name"))), STR_ARG(buf_view(&u.text)),
				u.n > 20 ? " and others" : "");
		buf_fini(&u.text);
	}
}

static int prepare(struct rq *rq, struct node *object, struct val old, struct err *e)
{
	struct node *status;

	(void)e;
	if (rq->sub.n)
		return 0;
	default_names(rq, node_need_map(object, "spec.names"));
	status = node_need_map(object, "status");
	if (!val_has(old)) {
		node_setc(status, "conditions", node_list(rq->a));
		node_setc(status, "acceptedNames", node_pack(rq->a, "{plural:'', kind:''}"));
	}
	note_stored(rq, object);
	return 0;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static const char *label_1035(struct str s)
{
	return name_wrong(s, NAME_LABEL_1035, false);
}

static void check_label(struct err *e, const char *path, struct str s, const char *before)
{
	char lower[80], why[700];
	size_t n = MIN(s.n, sizeof(lower) - 1);

	for (size_t i = 0; i < n; i++)
		lower[i] = before ? (char)tolower((unsigned char)s.p[i]) : s.p[i];
	const char *wrong = label_1035(str_n(lower, n));
	if (!wrong || !s.n)
		return;
	snprintf(why, sizeof(why), "%s%s", before ? before : "", wrong);
	v_invalid_str(e, path, s, why);
}

static void check_names(struct rq *rq, struct val names, struct err *e)
{
	static const char mixed[] = "may have mixed case, but should otherwise match: ";
	static const char *const lists[] = { "shortNames", "categories" },
				 *const needed[] = { "plural", "singular", "kind", "listKind" };

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!val_str(val_get(names, needed[i])).n)
			v_required(e, rq_f(rq, "spec.names.%s", needed[i]), "");
	check_label(e, "spec.names.plural", val_str(val_get(names, "plural")), NULL);
	check_label(e, "spec.names.singular", val_str(val_get(names, "singular")), NULL);
	check_label(e, "spec.names.kind", val_str(val_get(names, "kind")), mixed);
	check_label(e, "spec.names.listKind", val_str(val_get(names, "listKind")), mixed);
	for (size_t k = 0; k < ARRAY_LEN(lists); k++)
		for (struct val_iter it = val_iter(val_get(names, lists[k])); val_next(&it);)
			if (label_1035(val_str(it.val)))
				v_invalid_str(e, rq_f(rq, "spec.names.%s[%zu]", lists[k], it.i), val_str(it.val),
					label_1035(val_str(it.val)));
	if (val_str(val_get(names, "kind")).n && val_equal(val_get(names, "kind"), val_get(names, "listKind")))
		v_invalid(
			e, "spec.names.listKind", val_get(names, "listKind"), "kind and listKind may not be the same");
}

static bool among(struct str s, const char *const *list)
{
	for (; *list; list++)
		if (str_is(s, *list))
			return true;
	return false;
}

/* What upstream asks of a path as such. One that says nothing a column can show is shown as none. */
static bool simple_path(const char *path, struct val v, struct err *e)
{
	if (!val_str(v).n)
		v_required(e, path, "");
	else if (val_str(v).p[0] != '.')
		v_invalid(e, path, v, "must be a simple json path starting with .");
	else
		return true;
	return false;
}

/* A path under one of two heads (".spec."). */
static void check_path(struct rq *rq, const char *path, struct val v, const char *under, const char *or_under,
	const char *why, struct err *e)
{
	if (simple_path(path, v, e) && !str_starts(val_str(v), str_c(under)) &&
		!str_starts(val_str(v), str_c(or_under)))
		v_invalid(e, path, v, rq_f(rq, "should be a json path under %s", why));
}

static void check_column(struct rq *rq, struct val col, const char *path, struct err *e)
{
	static const char *const types[] = { "boolean", "date", "integer", "number", "string", NULL };
	static const char *const formats[] = { "byte", "date", "date-time", "double", "float", "int32", "int64",
		"password", NULL };
	struct val type = val_get(col, "type"), format = val_get(col, "format");

	if (!val_str(val_get(col, "name")).n)
		v_required(e, rq_f(rq, "%s.name", path), "");
	if (!val_str(type).n)
		v_required(e, rq_f(rq, "%s.type", path), "must be one of boolean,date,integer,number,string");
	else if (!among(val_str(type), types))
		v_invalid(e, rq_f(rq, "%s.type", path), type, "must be one of boolean,date,integer,number,string");
	if (val_str(format).n && !among(val_str(format), formats))
		v_invalid(e, rq_f(rq, "%s.format", path), format,
			"must be one of byte,date,date-time,double,float,int32,int64,password");
	simple_path(rq_f(rq, "%s.JSONPath", path), val_get(col, "jsonPath"), e);
}

static void check_scale(struct rq *rq, struct val scale, const char *path, struct err *e)
{
	struct val sel = val_get(scale, "labelSelectorPath");

	if (!val_has(scale))
		return;
	check_path(rq, rq_f(rq, "%s.specReplicasPath", path), val_get(scale, "specReplicasPath"), ".spec.", ".spec.",
		".spec", e);
	check_path(rq, rq_f(rq, "%s.statusReplicasPath", path), val_get(scale, "statusReplicasPath"), ".status.",
		".status.", ".status", e);
	if (val_str(sel).n)
		check_path(rq, rq_f(rq, "%s.labelSelectorPath", path), sel, ".spec.", ".status.",
			"either .spec or .status", e);
}

/* A selectable field is a plain value that the schema knows. */
static void check_selectable(struct rq *rq, struct val version, struct val field, const char *path, struct err *e)
{
	struct val s = val_path(version, "schema.openAPIV3Schema"), jp = val_get(field, "jsonPath");
	struct json_path *p;
	struct err wrong;
	struct str part;

	err_init(&wrong);
	if (!val_str(jp).n) {
		v_required(e, path, "");
		return;
	}
	if (json_path_new(rq->a, val_str(jp), &p, &wrong) < 0 || !json_path_dotted(p)) {
		v_invalid(e, path, jp, "is an invalid path: only fields may be named");
		return;
	}
	if (str_starts(val_str(jp), STR(".metadata"))) {
		v_invalid(e, path, jp, "must not point to fields in metadata");
		return;
	}
	for (struct str rest = str_c(json_path_dotted(p)); str_next(&rest, '.', &part);)
		s = val_get_str(val_get(s, "properties"), part);
	if (!val_has(s))
		v_invalid(e, path, jp, "is an invalid path: does not refer to a valid field");
	else if (!val_is(val_get(s, "type"), "string") && !val_is(val_get(s, "type"), "boolean") &&
		!val_is(val_get(s, "type"), "integer"))
		v_invalid(e, path, jp,
			"is an invalid path: must point to a field of type string, boolean or integer. Enum string "
			"fields and strings with formats are allowed.");
}

static void check_deprecation(struct rq *rq, struct val v, const char *path, struct err *e)
{
	struct val w = val_get(v, "deprecationWarning");

	path = rq_f(rq, "%s.deprecationWarning", path);
	if (!val_has(w))
		return;
	if (!val_bool(val_get(v, "deprecated"), false)) {
		v_invalid(e, path, w, "can only be set for deprecated versions");
		return;
	}
	if (val_str(w).n > 256)
		v_invalid(e, path, w, "must be <= 256 characters long");
	if (!val_str(w).n)
		v_invalid(e, path, w, "must not be an empty string");
	for (size_t i = 0; i < val_str(w).n; i++)
		if (iscntrl((unsigned char)val_str(w).p[i])) {
			v_invalid(e, path, w,
				rq_f(rq,
					"must only contain printable UTF-8 characters; non-printable character found at index %zu",
					i));
			return;
		}
}

#define SCHEMA "schema.openAPIV3Schema"

/* Defaults that a definition has already stay, as they are not looked at again. */
static bool needs_pruned(struct val old_versions)
{
	for (struct val_iter it = val_iter(old_versions); val_next(&it);)
		if (schema_defaults_unknown(val_path(it.val, SCHEMA)))
			return false;
	return true;
}

/* What stands beside properties at the root would judge the status on its own, which has writers of its own. */
static void check_root(struct val s, const char *path, struct err *e)
{
	static const char *const allowed[] = { "description", "type", "format", "title", "maximum", "exclusiveMaximum",
		"minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems",
		"uniqueItems", "multipleOf", "required", "items", "properties", "externalDocs", "example",
		"x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations", NULL };
	static const char why[] =
		"only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern "
		"MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields "
		"XValidations] fields are allowed at the root of the schema if the status subresource is enabled";

	if (val_str(val_get(s, "type")).n && !val_is(val_get(s, "type"), "object")) {
		char at[200];

		snprintf(at, sizeof(at), "%s.type", path);
		v_invalid(e, at, val_get(s, "type"),
			"only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled");
		return;
	}
	for (struct val_iter it = val_iter(s); val_next(&it);)
		if (!among(it.key, allowed) && (val_kind(it.val) != VAL_BOOL || val_bool(it.val, false))) {
			err_cause(e, "FieldValueInvalid", path, "Invalid value: %.*s: %s",
				STR_ARG(str_sub(val_text(s), 0, 300)), why);
			return;
		}
}

static void check_schema(struct rq *rq, struct val s, const char *path, bool pruned, struct err *e)
{
	if (schema_structural(s, path, e))
		schema_check_defaults(s, path, pruned, embedded_check, &(struct embedded_rules){ rq, e }, e);
}

/* Where a part of a version is told: what all versions have alike is one field for upstream, and told once. NULL: it was. */
static const char *part(struct rq *rq, struct val versions, size_t i, const char *name, const char *shared)
{
	struct val first = val_get(val_at(versions, 0), name);

	for (struct val_iter it = val_iter(versions); val_next(&it);) {
		struct val v = val_get(it.val, name);

		if (val_has(v) != val_has(first) || (val_has(v) && !val_equal(v, first)))
			return rq_f(rq, "spec.versions[%zu].%s", i, name);
	}
	return i ? NULL : shared;
}

static void check_fields(struct rq *rq, struct val v, const char *path, struct err *e)
{
	struct val fields = val_get(v, "selectableFields");

	if (val_len(fields) > 8)
		v_too_many(e, path, val_len(fields), 8);
	for (struct val_iter it = val_iter(fields); val_next(&it);) {
		const char *at = rq_f(rq, "%s[%zu].jsonPath", path, it.i);
		bool twice = false;

		check_selectable(rq, v, it.val, at, e);
		for (size_t k = 0; k < it.i; k++)
			twice |= val_equal(val_at(fields, k), it.val);
		if (twice)
			err_cause(e, "FieldValueDuplicate", at, "Duplicate value: %.*s",
				STR_ARG(val_text(val_get(it.val, "jsonPath"))));
	}
}

static bool any_status(struct val versions)
{
	for (struct val_iter it = val_iter(versions); val_next(&it);)
		if (val_has(val_path(it.val, "subresources.status")))
			return true;
	return false;
}

static void check_version(struct rq *rq, struct val versions, size_t i, bool pruned, struct err *e)
{
	struct val v = val_at(versions, i), cols = val_get(v, "additionalPrinterColumns"), s = val_path(v, SCHEMA);
	const char *path = rq_f(rq, "spec.versions[%zu]", i), *at = NULL;

	if (!val_str(val_get(v, "name")).n)
		v_invalid_str(e, rq_f(rq, "%s.name", path), STR(""), label_1035(STR("")));
	check_label(e, rq_f(rq, "%s.name", path), val_str(val_get(v, "name")), NULL);
	check_deprecation(rq, v, path, e);
	if (!val_has(s))
		v_required(e, rq_f(rq, "%s." SCHEMA, path), "schemas are required");
	else if ((at = part(rq, versions, i, "schema", "spec.validation")))
		check_schema(rq, s, rq_f(rq, "%s.openAPIV3Schema", at), pruned, e);
	if (at &&
		(val_has(val_path(v, "subresources.status")) ||
			(!strcmp(at, "spec.validation") && any_status(versions))))
		check_root(s, rq_f(rq, "%s.openAPIV3Schema", at), e);
	if ((at = part(rq, versions, i, "subresources", "spec.subresources")))
		check_scale(rq, val_path(v, "subresources.scale"), rq_f(rq, "%s.scale", at), e);
	if ((at = part(rq, versions, i, "additionalPrinterColumns", "spec.additionalPrinterColumns")))
		for (struct val_iter it = val_iter(cols); val_next(&it);)
			check_column(rq, it.val, rq_f(rq, "%s[%zu]", at, it.i), e);
	if ((at = part(rq, versions, i, "selectableFields", "spec.selectableFields")))
		check_fields(rq, v, at, e);
}

static void check_versions(struct rq *rq, struct val versions, struct val old, struct err *e)
{
	struct str text = val_len(versions) ? str_sub(val_text(versions), 0, 200) : STR("null");
	bool twice = false, pruned = needs_pruned(old);
	size_t storage = 0;

	for (struct val_iter it = val_iter(versions); val_next(&it);) {
		storage += val_bool(val_get(it.val, "storage"), false);
		for (size_t k = 0; k < it.i; k++)
			twice |= val_equal(val_get(val_at(versions, k), "name"), val_get(it.val, "name"));
		check_version(rq, versions, it.i, pruned, e);
	}
	if (val_len(versions) > 64)
		err_cause(e, "FieldValueTooMany", "spec.versions", "Too many: %zu: must have at most 64 items",
			val_len(versions));
	if (twice)
		err_cause(e, "FieldValueInvalid", "spec.versions",
			"Invalid value: %.*s: must contain unique version names", STR_ARG(text));
	if (storage != 1)
		err_cause(e, "FieldValueInvalid", "spec.versions",
			"Invalid value: %.*s: must have exactly one version marked as storage version", STR_ARG(text));
}

static void check_review_versions(struct rq *rq, struct val list, struct err *e)
{
	static const char path[] = "spec.conversion.conversionReviewVersions";
	bool known = false;

	if (!val_len(list)) {
		v_required(e, path, "");
		return;
	}
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		const char *at = rq_f(rq, "%s[%zu]", path, it.i), *wrong = label_1035(val_str(it.val));
		bool twice = false;

		for (size_t k = 0; k < it.i; k++)
			twice |= val_equal(val_at(list, k), it.val);
		known |= val_is(it.val, "v1") || val_is(it.val, "v1beta1");
		if (twice)
			v_invalid(e, at, it.val, "duplicate version");
		else if (wrong)
			v_invalid(e, at, it.val, wrong);
	}
	if (!known)
		v_invalid(e, path, list, "must include at least one of v1, v1beta1");
}

static void check_conversion(struct rq *rq, struct val c, bool keep, struct err *e)
{
	static const char client[] = "spec.conversion.webhookClientConfig",
			  none[] = "should not be set when strategy is not set to Webhook";
	struct val hook = val_get(c, "webhook"), config = val_get(hook, "clientConfig"),
		   versions = val_get(hook, "conversionReviewVersions"), strategy = val_get(c, "strategy");

	if (val_has(c) && !val_str(strategy).n)
		v_required(e, "spec.conversion.strategy", "");
	if (val_has(c) && keep && !val_is(strategy, "None"))
		v_invalid(
			e, "spec.conversion.strategy", strategy, "must be None if spec.preserveUnknownFields is true");
	if (!val_is(val_get(c, "strategy"), "Webhook")) {
		if (val_has(config))
			v_forbidden(e, client, none);
		if (val_len(versions))
			v_forbidden(e, "spec.conversion.conversionReviewVersions", none);
		return;
	}
	if (!val_has(config))
		v_required(e, client, "required when strategy is set to Webhook");
	else
		validate_webhook_client(rq, config, client, e);
	check_review_versions(rq, versions, e);
}

static bool has_text(struct val list, struct str s)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (str_eq(val_str(it.val), s))
			return true;
	return false;
}

/* Each version's name counts once. */
static bool is_named_before(struct val versions, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (val_equal(val_get(val_at(versions, k), "name"), val_get(val_at(versions, i), "name")))
			return true;
	return false;
}

static void check_stored(struct rq *rq, struct val o, struct err *e)
{
	struct val stored = val_path(o, "status.storedVersions"), versions = val_path(o, "spec.versions");

	if (!val_len(stored)) {
		err_cause(e, "FieldValueInvalid", "status.storedVersions",
			"Invalid value: []: must have at least one stored version");
		return;
	}
	for (struct val_iter it = val_iter(versions); val_next(&it);)
		if (val_bool(val_get(it.val, "storage"), false) &&
			(!has_text(stored, val_str(val_get(it.val, "name"))) || is_named_before(versions, it.i)))
			v_invalid(e, "status.storedVersions", stored,
				rq_f(rq, "must have the storage version %.*s",
					STR_ARG(val_str(val_get(it.val, "name")))));
	for (struct val_iter it = val_iter(stored); val_next(&it);)
		if (!val_has(val_find(versions, "name", val_str(it.val))))
			v_invalid(e, rq_f(rq, "status.storedVersions[%zu]", it.i), it.val,
				rq_f(rq,
					"missing from spec.versions; %1$.*2$s was previously a storage version, and must remain in "
					"spec.versions until a storage migration ensures no data remains persisted in %1$.*2$s and "
					"removes %1$.*2$s from status.storedVersions",
					val_str(it.val).p, (int)val_str(it.val).n));
}

static void check_group(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct str plural = val_str(val_path(o, "spec.names.plural")), group = val_str(val_path(o, "spec.group"));
	struct str want = arena_strf(rq->a, "%.*s.%.*s", STR_ARG(plural), STR_ARG(group));
	const char *wrong = group.n ? name_wrong(group, NAME_SUBDOMAIN, false) : NULL;

	if (!val_has(old) && !str_eq(want, val_str(val_path(o, "metadata.name"))))
		v_invalid_str(e, "metadata.name", val_str(val_path(o, "metadata.name")),
			"must be spec.names.plural+\".\"+spec.group");
	if (wrong)
		v_invalid_str(e, "spec.group", group, wrong);
	else if (group.n && !str_has(group, STR(".")))
		v_invalid_str(e, "spec.group", group, "should be a domain with at least one dot");
}

/* Of a group of Kubernetes' own. What it had to say before is not asked again. */
static void check_approval(struct val o, struct val old, struct err *e)
{
	static const char path[] = "metadata.annotations[" CRD_APPROVED "]";
	const char *why;
	enum crd_approval now = crd_approval(o, &why);

	if (!crd_is_protected(val_str(val_path(o, "spec.group"))) || (val_has(old) && now == crd_approval(old, NULL)))
		return;
	if (now == CRD_APPROVAL_INVALID)
		v_invalid_str(e, path, val_str(val_get(val_path(o, "metadata.annotations"), CRD_APPROVED)), why);
	else if (now == CRD_APPROVAL_MISSING)
		v_required(e, path, why);
}

static void check_fixed(struct val o, struct val old, struct err *e)
{
	static const char *const paths[] = { "spec.names.kind", "spec.scope" };
	struct val c = val_find(val_path(old, "status.conditions"), "type", STR("Established"));

	if (val_has(old)) /* the group is fixed by its declaration */
		validate_immutable(
			e, "spec.names.plural", val_path(o, "spec.names.plural"), val_path(old, "spec.names.plural"));
	if (!val_is(val_get(c, "status"), "True"))
		return;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		validate_immutable(e, paths[i], val_path(o, paths[i]), val_path(old, paths[i]));
}

static void check_preserve(struct val keep, struct val before, struct val versions, struct err *e)
{
	static const char path[] = "spec.preserveUnknownFields";

	if (!val_bool(keep, false))
		return;
	if (!val_bool(before, false))
		v_invalid(e, path, keep,
			"cannot set to true, set x-preserve-unknown-fields to true in spec.versions[*].schema instead");
	if (str_has(val_text(versions), STR("\"default\":")))
		v_invalid(e, path, keep, "must be false in order to use defaults in the schema");
}

static void validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), keep = val_get(spec, "preserveUnknownFields");

	if (rq->sub.n)
		return;
	check_stored(rq, o, e);
	if (val_has(old) && val_equal(spec, val_get(old, "spec")))
		return;
	check_group(rq, o, old, e);
	check_approval(o, old, e);
	check_preserve(keep, val_path(old, "spec.preserveUnknownFields"), val_get(spec, "versions"), e);
	if (val_len(val_get(spec, "versions")))
		check_label(e, "spec.version", val_str(val_get(val_at(val_get(spec, "versions"), 0), "name")), NULL);
	check_names(rq, val_get(spec, "names"), e);
	check_versions(rq, val_get(spec, "versions"), val_path(old, "spec.versions"), e);
	check_conversion(rq, val_get(spec, "conversion"), val_bool(keep, false), e);
	check_fixed(o, old, e);
	if (!e->causes_len)
		warn_unenforced(rq, o);
}

const struct strategy strategy_crd = { .prepare = prepare, .validate = validate };

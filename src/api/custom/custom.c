/* One served version of a CustomResourceDefinition as a row of the resource table. */
#include "api/custom/custom.h"

#define LOG_MODULE "crd"

static const char *text(struct custom *c, struct val v)
{
	return arena_cstr(c->a, val_str(v));
}

static const char *const *texts(struct custom *c, struct val list)
{
	size_t n = val_len(list);
	const char **out = ARENA_ARRAY(c->a, const char *, n + 1);

	for (size_t i = 0; i < n; i++)
		out[i] = text(c, val_at(list, i));
	return n ? out : NULL;
}

struct doc *custom_crd(const struct custom *c)
{
	return api_get(c->api, "apiextensions.k8s.io", "customresourcedefinitions", STR_NULL, str_c(c->crd));
}

static struct val version_of(const struct custom *c, const struct doc *crd)
{
	return val_at(doc_get(crd, "spec.versions"), c->version);
}

struct val custom_schema(const struct custom *c, const struct doc *crd)
{
	return val_path(version_of(c, crd), "schema.openAPIV3Schema");
}

/* ---- columns --------------------------------------------------------------------------------- */

static const struct json_path *path_of(struct custom *c, struct str s)
{
	struct json_path *p = NULL;
	struct err e;

	err_init(&e);
	return json_path_new(c->a, s, &p, &e) < 0 ? NULL : p;
}

static bool one_column(struct custom *c, struct column *col, size_t i, struct val v)
{
	c->cells[i] = path_of(c, val_str(val_get(v, "jsonPath")));
	if (!c->cells[i])
		return false;
	*col = (struct column){ .name = text(c, val_get(v, "name")),
		.type = text(c, val_get(v, "type")),
		.format = text(c, val_get(v, "format")),
		.help = text(c, val_get(v, "description")),
		.priority = (int)val_int(val_get(v, "priority"), 0) };
	if (!col->help[0])
		col->help = arena_printf(c->a, "Custom resource definition column (in JSONPath format): %.*s",
			STR_ARG(val_str(val_get(v, "jsonPath"))));
	return true;
}

/* As upstream: those up to the first whose path says nothing. */
static void make_columns(struct custom *c, struct val list)
{
	size_t n = val_len(list);
	struct column *col = ARENA_ARRAY(c->a, struct column, MAX(n, (size_t)1) + 1);

	c->cells = ARENA_ARRAY(c->a, const struct json_path *, MAX(n, (size_t)1));
	for (size_t i = 0; i < n && one_column(c, &col[i], i, val_at(list, i));)
		i++;
	if (!n) {
		col[0] = (struct column){ .name = "Age", .type = "date", .help = "Time since it was created." };
		c->cells[0] = path_of(c, STR(".metadata.creationTimestamp"));
	}
	c->def.columns = col;
}

static void raw_cell(struct cells *cells, struct str json)
{
	if (cells->n++)
		buf_byte(cells->out, ',');
	buf_str(cells->out, json);
}

static void date_cell(struct cells *cells, struct val v)
{
	struct wall t;

	if (val_str(v).n && !wall_parse(val_str(v), &t))
		cell_c(cells, "<invalid>");
	else
		cell_age(cells, v);
}

static void one_cell(struct cells *cells, const char *type, struct val v)
{
	enum val_kind k = val_kind(v);

	if (k == VAL_NULL && !strcmp(type, "string"))
		cell_c(cells, "<no value>"); /* as Go's templates write nil */
	else if (k == VAL_MISSING || k == VAL_NULL)
		raw_cell(cells, STR("null"));
	else if (!strcmp(type, "date") && k == VAL_STR)
		date_cell(cells, v);
	else if (!strcmp(type, "string"))
		cell_str(cells, k == VAL_STR ? val_str(v) : val_text(v));
	else if (!strcmp(type, "integer") && k == VAL_FLOAT)
		cell_int(cells, (int64_t)val_float(v, 0));
	else if (((!strcmp(type, "integer") || !strcmp(type, "number")) && (k == VAL_INT || k == VAL_FLOAT)) ||
		(!strcmp(type, "boolean") && k == VAL_BOOL))
		raw_cell(cells, val_text(v));
	else
		raw_cell(cells, STR("null"));
}

void custom_cells(const struct custom *c, struct cells *cells, struct val object)
{
	for (size_t i = 0; c->def.columns[i].name; i++)
		one_cell(cells, c->def.columns[i].type, c->cells[i] ? json_path_first(c->cells[i], object) : VAL_NONE);
}

/* ---- the row --------------------------------------------------------------------------------- */

static const char *dotted(struct custom *c, struct val v)
{
	const struct json_path *p = val_str(v).n ? path_of(c, val_str(v)) : NULL;

	return p ? json_path_dotted(p) : NULL;
}

/* A path of scale is one of fields, whatever they are called. */
static const char *scale_path(struct custom *c, struct val v)
{
	return val_str(v).n > 1 ? text(c, v) + 1 : NULL;
}

static void make_subs(struct custom *c, struct val subs)
{
	struct val scale = val_get(subs, "scale");
	struct subresource *s = ARENA_ARRAY(c->a, struct subresource, 3);
	size_t n = 0;

	if (val_has(val_get(subs, "status")))
		s[n++] = (struct subresource){ .name = "status", .verbs = VERBS_GET_WRITE };
	if (val_has(scale)) {
		s[n++] = (struct subresource){ .name = "scale",
			.group = "autoscaling",
			.version = "v1",
			.kind = "Scale",
			.verbs = VERBS_GET_WRITE };
		c->replicas = scale_path(c, val_get(scale, "specReplicasPath"));
		c->status_replicas = scale_path(c, val_get(scale, "statusReplicasPath"));
		c->selector = scale_path(c, val_get(scale, "labelSelectorPath"));
	}
	c->def.subs = s;
}

static void make_selectors(struct custom *c, struct val list)
{
	const char **out = ARENA_ARRAY(c->a, const char *, val_len(list) + 1);
	size_t n = 0;

	for (struct val_iter it = val_iter(list); val_next(&it);) {
		const char *path = dotted(c, val_get(it.val, "jsonPath"));

		if (path)
			out[n++] = path;
	}
	c->def.field_selectors = out;
}

static void make_deprecated(struct custom *c, struct val version)
{
	struct str given = val_str(val_get(version, "deprecationWarning"));

	if (!val_bool(val_get(version, "deprecated"), false))
		return;
	c->def.deprecated = given.n ?
		arena_cstr(c->a, given) :
		arena_printf(c->a, "%s/%s %s is deprecated", c->def.group, c->def.version, c->def.kind);
}

static void make_def(struct custom *c, const struct doc *crd, struct val names)
{
	struct val v = version_of(c, crd);
	struct resource_def *d = &c->def;

	if (!val_str(val_get(names, "kind")).n)
		names = doc_get(crd, "spec.names");
	d->group = text(c, doc_get(crd, "spec.group"));
	d->version = text(c, val_get(v, "name"));
	d->resource = text(c, doc_get(crd, "spec.names.plural"));
	d->singular = text(c, val_get(names, "singular"));
	d->kind = text(c, val_get(names, "kind"));
	d->list_kind = text(c, val_get(names, "listKind"));
	d->short_names = texts(c, val_get(names, "shortNames"));
	d->categories = texts(c, val_get(names, "categories"));
	d->namespaced = val_is(doc_get(crd, "spec.scope"), "Namespaced");
	d->verbs = VERBS_ALL;
	d->generation = true;
	d->strategy = &strategy_custom;
	make_subs(c, val_get(v, "subresources"));
	make_columns(c, val_get(v, "additionalPrinterColumns"));
	make_selectors(c, val_get(v, "selectableFields"));
	make_deprecated(c, v);
}

int custom_new(const struct doc *crd, struct val names, size_t version, struct custom **ret, struct err *e)
{
	struct arena *a = arena_new();
	struct custom *c = ARENA_NEW(a, struct custom);
	int rc;

	c->a = a;
	c->crd = arena_cstr(a, doc_name(crd));
	c->version = version;
	c->webhook = val_is(doc_get(crd, "spec.conversion.strategy"), "Webhook");
	c->terminating = val_has(doc_get(crd, "metadata.deletionTimestamp"));
	c->served = val_bool(val_get(version_of(c, crd), "served"), false);
	make_def(c, crd, names);
	rc = schema_custom_new(custom_schema(c, crd),
		&(struct schema_custom_opts){ c->def.group, c->def.version, c->def.kind, c->def.list_kind }, &c->schema,
		e);
	if (rc < 0) {
		custom_free(c);
		return rc;
	}
	c->def.type = schema_custom_type(c->schema);
	*ret = c;
	return 0;
}

struct custom *custom_free(struct custom *c)
{
	if (!c)
		return NULL;
	schema_custom_free(c->schema);
	arena_free(c->a);
	return NULL;
}

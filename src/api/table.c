/* Table: what kubectl get shows, row by row; and objects cut down to their metadata. */
#include "api/custom/custom.h"
#include <stdarg.h>
#include <stdio.h>
#define LOG_MODULE "api"

static const struct column column_age[] = { { "Age", "string", "", 0, "Time since it was created." }, {} };

static void column_json(
	const char *name, const char *type, const char *format, int priority, const char *help, struct buf *out)
{
	buf_c(out, "{\"name\":");
	buf_json(out, str_c(name));
	buf_printf(out, ",\"type\":\"%s\",\"format\":\"%s\",\"description\":", type, format ? format : "");
	buf_json(out, str_c(help ? help : ""));
	buf_printf(out, ",\"priority\":%d}", priority);
}

void table_head(struct rq *rq, const struct resource *res, bool with_columns, int64_t rev, struct str cont,
	int64_t remaining, struct buf *out)
{
	const struct column *c = res->def.columns ? res->def.columns : column_age;

	buf_printf(out,
		"{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/%s\",\"metadata\":{\"resourceVersion\":\"%lld\"",
		rq->table_beta ? "v1beta1" : "v1", (long long)rev);
	if (cont.n)
		buf_printf(out, ",\"continue\":\"%.*s\"", STR_ARG(cont));
	if (cont.n && remaining)
		buf_printf(out, ",\"remainingItemCount\":%lld", (long long)remaining);
	buf_c(out, "},\"columnDefinitions\":");
	if (!with_columns) {
		buf_c(out, "null,\"rows\":[");
		return;
	}
	buf_byte(out, '[');
	if (!res->def.columns_without_name)
		column_json("Name", "string", "name", 0, "Name of the object, unique for its kind within a namespace.",
			out);
	for (size_t i = 0; c[i].name; i++) {
		if (i || !res->def.columns_without_name)
			buf_byte(out, ',');
		column_json(c[i].name, c[i].type, c[i].format, c[i].priority, c[i].help, out);
	}
	buf_c(out, "],\"rows\":[");
}

/* Without managedFields: nobody reads them in a table, and they are half of an object's text. */
static void metadata_text(struct val meta, struct buf *out)
{
	bool first = true;

	buf_byte(out, '{');
	for (struct val_iter it = val_iter(meta); val_next(&it);) {
		if (str_is(it.key, "managedFields"))
			continue;
		if (!first)
			buf_byte(out, ',');
		first = false;
		buf_json(out, it.key);
		buf_byte(out, ':');
		buf_str(out, val_text(it.val));
	}
	buf_byte(out, '}');
}

void metadata_object(const struct doc *d, bool with_kind, bool beta, struct buf *out)
{
	buf_byte(out, '{');
	if (with_kind)
		buf_printf(out, "\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/%s\",",
			beta ? "v1beta1" : "v1");
	buf_c(out, "\"metadata\":");
	buf_str(out, val_text(doc_get(d, "metadata")));
	buf_byte(out, '}');
}

void table_row(struct rq *rq, const struct resource *res, const struct doc *d, struct buf *out)
{
	struct cells c = { .out = out, .a = rq->a, .object = doc_root(d), .now_s = wall_s(wall_now()) };

	buf_c(out, "{\"cells\":[");
	if (!res->def.columns_without_name)
		cell_str(&c, doc_name(d));
	if (res->custom)
		custom_cells(res->custom, &c, doc_root(d));
	else if (res->def.cells)
		res->def.cells(&c, doc_root(d));
	else
		cell_created(&c);
	buf_byte(out, ']');
	if (str_is(rq->include_object, "Object")) {
		buf_c(out, ",\"object\":");
		buf_str(out, doc_text(d));
	} else if (!str_is(rq->include_object, "None")) {
		buf_printf(out,
			",\"object\":{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/%s\",\"metadata\":",
			rq->table_beta ? "v1beta1" : "v1");
		metadata_text(doc_get(d, "metadata"), out);
		buf_byte(out, '}');
	}
	buf_byte(out, '}');
}

/* ---- cells ----------------------------------------------------------------------------------- */

void cell_str(struct cells *c, struct str s)
{
	if (c->n++)
		buf_byte(c->out, ',');
	buf_json(c->out, s);
}

void cell_c(struct cells *c, const char *s)
{
	cell_str(c, str_c(s));
}

void cell_f(struct cells *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cell_c(c, text);
}

void cell_int(struct cells *c, int64_t i)
{
	if (c->n++)
		buf_byte(c->out, ',');
	buf_printf(c->out, "%lld", (long long)i);
}

void cell_val(struct cells *c, struct val v)
{
	switch (val_kind(v)) {
	case VAL_MISSING:
	case VAL_NULL:
		cell_c(c, "<none>");
		break;
	case VAL_STR:
		cell_str(c, val_str(v).n ? val_str(v) : STR("<none>"));
		break;
	default:
		cell_str(c, val_text(v));
	}
}

void cell_age(struct cells *c, struct val time)
{
	struct wall t;
	char text[TIME_TEXT_MAX];

	if (!wall_parse(val_str(time), &t)) {
		cell_c(c, "<unknown>");
		return;
	}
	age_text(c->now_s - wall_s(t), text);
	cell_c(c, text);
}

void cell_created(struct cells *c)
{
	cell_age(c, val_path(c->object, "metadata.creationTimestamp"));
}

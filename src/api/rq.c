/* A request's life: its arena, parameters, small texts. */
#include "api/api_internal.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#define LOG_MODULE "api"
#define RQ_NOTES_MAX 32
#define RQ_FIRST_BYTES 2048 /* what a watch needs: it keeps its request as long as it lasts */

struct rq *rq_new(struct api *api)
{
	struct arena *a = arena_new_of(RQ_FIRST_BYTES);
	struct rq *rq = ARENA_NEW(a, struct rq);

	rq->api = api;
	rq->a = a;
	rq->began = mono_now();
	rq->lane = LANE_EVERYONE;
	return rq;
}

const char *rq_audit_id(struct rq *rq)
{
	if (!rq->audit_id[0])
		rand_uuid(rq->audit_id);
	return rq->audit_id;
}

void rq_free(struct rq *rq)
{
	if (!rq)
		return;
	metrics_ended(rq->api->metrics, rq);
	resource_release(rq->res);
	map_free(rq->allocated);
	doc_unref(rq->body_doc);
	doc_unref(rq->answer_doc);
	arena_free(rq->a);
}

bool rq_stopping(struct api *api)
{
	return __atomic_load_n(&api->stopping, __ATOMIC_ACQUIRE);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

struct str url_decode(struct arena *a, struct str s, bool plus_is_space)
{
	size_t i, n = 0;

	for (i = 0; i < s.n && s.p[i] != '%' && s.p[i] != '+'; i++)
		;
	if (i == s.n)
		return s;
	char *out = arena_alloc(a, s.n + 1);
	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
			out[n++] = (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2]));
			i += 2;
		} else {
			out[n++] = plus_is_space && s.p[i] == '+' ? ' ' : s.p[i];
		}
	}
	out[n] = 0;
	return str_n(out, n);
}

void rq_parse_query(struct rq *rq)
{
	size_t n = 1;

	for (size_t i = 0; i < rq->query.n; i++)
		n += rq->query.p[i] == '&';
	rq->params = ARENA_ARRAY(rq->a, struct param, n);
	for (struct str part, rest = rq->query; str_next(&rest, '&', &part);) {
		struct str key, value;
		if (!part.n)
			continue;
		value = str_cut(part, '=', &key);
		rq->params[rq->n_params].key = url_decode(rq->a, key, true);
		value = url_decode(rq->a, value, true);
		rq->params[rq->n_params].value = value.p ? value : STR("");
		rq->n_params++;
	}
}

struct str rq_param(const struct rq *rq, const char *key)
{
	for (size_t i = 0; i < rq->n_params; i++)
		if (str_is(rq->params[i].key, key))
			return rq->params[i].value;
	return STR_NULL;
}

bool rq_param_bool(const struct rq *rq, const char *key)
{
	struct str v = rq_param(rq, key);

	return v.p && !str_eq_nocase(v, STR("false")) && !str_is(v, "0");
}

struct str rq_header(const struct rq *rq, const char *lower_name)
{
	if (rq->http)
		return http_header(rq->http, lower_name);
	for (size_t i = 0; i < rq->n_headers; i++)
		if (str_is(rq->headers[i].name, lower_name))
			return rq->headers[i].value;
	return STR_NULL;
}

void rq_warn(struct rq *rq, const char *fmt, ...)
{
	va_list ap;
	char text[1024];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < rq->n_warnings; i++)
		if (!strcmp(rq->warnings[i], text))
			return;
	if (rq->n_warnings < RQ_WARNINGS_MAX)
		rq->warnings[rq->n_warnings++] = arena_strdup(rq->a, text);
}

void rq_annotate(struct rq *rq, struct str key, struct str value)
{
	if (!rq->notes)
		rq->notes = ARENA_ARRAY(rq->a, struct identity_extra, RQ_NOTES_MAX);
	if (rq->n_notes < RQ_NOTES_MAX)
		rq->notes[rq->n_notes++] = (struct identity_extra){ arena_str(rq->a, key), arena_str(rq->a, value) };
}

char *rq_lower(struct rq *rq, struct str s)
{
	char *low = arena_cstr(rq->a, s);

	for (size_t i = 0; i < s.n; i++)
		low[i] = (char)tolower((unsigned char)low[i]);
	return low;
}

char *rq_f(struct rq *rq, const char *fmt, ...)
{
	va_list ap;
	char text[1024];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return arena_strdup(rq->a, text);
}

struct val rq_val(struct rq *rq, struct node *n)
{
	struct doc *d = node_publish(node_pack(rq->a, "{v:o}", n));

	doc_hold(rq->a, d);
	return val_get(doc_root(d), "v");
}

struct str rq_now(struct rq *rq)
{
	char text[TIME_TEXT_MAX];

	wall_rfc3339(wall_now(), text);
	return arena_str(rq->a, str_c(text));
}

void buf_json(struct buf *b, struct str s)
{
	size_t from = 0;

	buf_byte(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_add(b, s.p + from, i - from);
		from = i + 1;
		if (c == '"' || c == '\\') {
			buf_byte(b, '\\');
			buf_byte(b, (char)c);
		} else if (c == '\n') {
			buf_c(b, "\\n");
		} else if (c == '\t') {
			buf_c(b, "\\t");
		} else {
			buf_printf(b, "\\u%04x", c);
		}
	}
	if (s.n > from)
		buf_add(b, s.p + from, s.n - from);
	buf_byte(b, '"');
}

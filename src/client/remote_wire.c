/* How requests and answers are written: the API's conventions, without any I/O. */
#include "client/remote_internal.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

/* ---- requests -------------------------------------------------------------------------------- */

static void escaped(struct buf *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (isalnum(c) || strchr("-._~", c))
			buf_byte(out, (char)c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

static void segment(struct buf *out, struct str s)
{
	buf_byte(out, '/');
	escaped(out, s);
}

struct query {
	struct buf *out;
	char sep;
};

static void param(struct query *q, const char *name, struct str value)
{
	if (!value.n)
		return;
	buf_byte(q->out, q->sep);
	q->sep = '&';
	buf_c(q->out, name);
	buf_byte(q->out, '=');
	escaped(q->out, value);
}

static void param_int(struct query *q, const char *name, int64_t value)
{
	char text[24];

	if (value > 0)
		param(q, name, str_n(text, (size_t)snprintf(text, sizeof(text), "%" PRId64, value)));
}

void wire_path(struct buf *out, struct str prefix, const struct client_request *rq)
{
	bool writes = rq->verb == VERB_CREATE || rq->verb == VERB_UPDATE || rq->verb == VERB_PATCH;
	struct query q = { out, '?' };

	buf_str(out, prefix);
	buf_c(out, rq->res.group[0] ? "/apis" : "/api");
	if (rq->res.group[0])
		segment(out, str_c(rq->res.group));
	segment(out, str_c(rq->res.version));
	if (rq->ns.n) {
		buf_c(out, "/namespaces");
		segment(out, rq->ns);
	}
	if (rq->res.resource[0]) /* else what the group version has */
		segment(out, str_c(rq->res.resource));
	if (rq->name.n)
		segment(out, rq->name);
	if (rq->sub) /* may have slashes of its own: "proxy/metrics" */
		buf_printf(out, "/%s", rq->sub);
	param(&q, "labelSelector", rq->label_selector);
	param(&q, "fieldSelector", rq->field_selector);
	param(&q, "resourceVersion", rq->resource_version);
	param(&q, "continue", rq->continue_token);
	param_int(&q, "limit", rq->limit);
	param_int(&q, "timeoutSeconds", rq->timeout_s);
	if (rq->verb == VERB_WATCH)
		param(&q, "watch", STR("true"));
	if (rq->bookmarks)
		param(&q, "allowWatchBookmarks", STR("true"));
	if (writes)
		param(&q, "fieldManager", str_c(rq->field_manager));
	if (rq->force)
		param(&q, "force", STR("true"));
}

const char *wire_method(const struct client_request *rq)
{
	switch (rq->verb) {
	case VERB_CREATE:
		return "POST";
	case VERB_UPDATE:
		return "PUT";
	case VERB_PATCH:
		return "PATCH";
	case VERB_DELETE:
	case VERB_DELETE_COLLECTION:
		return "DELETE";
	default:
		return "GET";
	}
}

const char *wire_content_type(const struct client_request *rq)
{
	static const char *const patches[] = {
		[PATCH_JSON] = "application/json-patch+json",
		[PATCH_MERGE] = "application/merge-patch+json",
		[PATCH_STRATEGIC] = "application/strategic-merge-patch+json",
		[PATCH_APPLY] = "application/apply-patch+yaml", /* JSON is YAML */
	};

	return rq->verb == VERB_PATCH ? patches[rq->patch] : "application/json";
}

struct str wire_split_url(const char *url, char **ret_url)
{
	const char *host = strstr(url, "://");
	const char *path = strchr(host ? host + 3 : url, '/');
	size_t n = path ? (size_t)(path - url) : strlen(url);
	struct str prefix = str_c(path);

	*ret_url = xstrndup(url, n);
	while (prefix.n && prefix.p[prefix.n - 1] == '/')
		prefix.n--;
	return prefix;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void add_causes(struct doc *status, struct err *e)
{
	for (struct val_iter it = val_iter(doc_get(status, "details.causes")); val_next(&it);) {
		auto_free char *reason = str_dup(val_str(val_get(it.val, "reason")));
		auto_free char *field = str_dup(val_str(val_get(it.val, "field")));

		err_cause(e, reason, field, "%.*s", STR_ARG(val_str(val_get(it.val, "message"))));
	}
}

int wire_error(int http_status, struct str body, int retry_after_s, struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct str message, reason;
	int r;

	if (doc_parse(body, &d, NULL) < 0 || !str_is(doc_str(d, "kind"), "Status")) {
		r = err_set(e, err_from_http(http_status, STR_NULL), "the server answered %d: %.*s", http_status,
			(int)MIN(body.n, (size_t)300), body.p ? body.p : "");
	} else {
		message = doc_str(d, "message");
		reason = doc_str(d, "reason");
		if (!message.n)
			message = reason.n ? reason : STR("the server gave no reason");
		r = err_set(e, err_from_http(http_status, reason), "%.*s", STR_ARG(message));
		add_causes(d, e);
		if (!retry_after_s)
			retry_after_s = (int)doc_int(d, "details.retryAfterSeconds", 0);
	}
	if (e)
		e->retry_after_s = retry_after_s;
	return r;
}

int wire_item(struct val item, struct val api_version, struct str kind, struct doc **ret, struct err *e)
{
	struct str text = val_text(item);
	auto_buf struct buf b = BUF_INIT;

	if (val_kind(item) != VAL_MAP || val_has(val_get(item, "kind")) || !val_has(api_version))
		return doc_parse(text, ret, e);
	buf_c(&b, "{\"apiVersion\":");
	buf_str(&b, val_text(api_version));
	buf_printf(&b, ",\"kind\":\"%.*s\"%s", STR_ARG(kind), val_len(item) ? "," : "");
	buf_str(&b, str_sub(text, 1, text.n));
	return doc_parse(buf_view(&b), ret, e);
}

static int event_type(struct str type)
{
	static const char *const names[] = { "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR" };

	for (int i = 0; i < (int)ARRAY_LEN(names); i++) {
		if (str_is(type, names[i]))
			return i;
	}
	return -1;
}

/* {"type":"ADDED","object":…} exactly as servers write it: the object's bytes are parsed once, not twice. */
static bool cut_event(struct str line, struct str *type, struct str *object)
{
	static const char head[] = "{\"type\":\"", mid[] = "\",\"object\":";
	struct str rest;

	if (!str_starts(line, str_c(head)) || !str_ends(line, STR("}")))
		return false;
	rest = str_cut(str_sub(line, sizeof(head) - 1, line.n), '"', type);
	if (!str_starts(rest, str_c(mid + 1)))
		return false;
	*object = str_sub(rest, sizeof(mid) - 2, rest.n - (sizeof(mid) - 2) - 1);
	return true;
}

int wire_event(struct str line, struct client_event *ret, struct err *e)
{
	auto_(doc_unref) struct doc *whole = NULL;
	struct str type, object;
	struct doc *d = NULL;
	int kind;

	line = str_trim(line);
	if (!cut_event(line, &type, &object) || doc_parse(object, &d, NULL) < 0) {
		if (doc_parse(line, &whole, e) < 0)
			return err_wrap(e, "a watch event is not JSON");
		type = doc_str(whole, "type");
		if (doc_parse(val_text(doc_get(whole, "object")), &d, e) < 0)
			return err_wrap(e, "a watch event has no object");
	}
	kind = event_type(type);
	if (kind < 0) {
		doc_unref(d);
		return err_set(e, ERR_INTERNAL, "a watch event has the unknown type \"%.*s\"", STR_ARG(type));
	}
	ret->type = (__typeof__(ret->type))kind;
	ret->object = d;
	return 0;
}

/* Status: how an error, or a deletion without an object, is told to a client. */
#include "api/audit/audit.h"
#define LOG_MODULE "api"

static void causes_json(const struct err *e, struct buf *out)
{
	const char *reason, *field, *message;
	size_t n = 0;

	for (size_t pos = 0; err_next_cause(e, &pos, &reason, &field, &message); n++) {
		buf_c(out, n ? ",{\"reason\":" : ",\"causes\":[{\"reason\":");
		buf_json(out, str_c(reason));
		buf_c(out, ",\"message\":");
		buf_json(out, str_c(message));
		if (field[0]) {
			buf_c(out, ",\"field\":");
			buf_json(out, str_c(field));
		}
		buf_byte(out, '}');
	}
	if (n)
		buf_byte(out, ']');
}

static void about_json(struct buf *d, const char *group, const char *kind, struct str name)
{
	if (name.n) {
		buf_c(d, ",\"name\":");
		buf_json(d, name);
	}
	if (group[0])
		buf_printf(d, ",\"group\":\"%s\"", group);
	if (kind[0])
		buf_printf(d, ",\"kind\":\"%s\"", kind);
}

/* Errors of these codes name their object; others say nothing of it. */
static bool names_object(int code)
{
	return code == ERR_NOT_FOUND || code == ERR_EXISTS || code == ERR_CONFLICT || code == ERR_FORBIDDEN ||
		code == ERR_INVALID;
}

static void details_json(const struct rq *rq, const struct err *e, struct buf *out)
{
	bool named = rq->about.set || (rq->res && names_object(e->code));
	struct buf d = BUF_INIT;

	if (rq->about.set && rq->about.kind) {
		about_json(&d, rq->about.group, rq->about.kind, rq->about.name);
	} else if (named && !rq->about.set) {
		const struct resource_def *def = &rq->res->def;
		about_json(&d, def->group, e->code == ERR_INVALID ? def->kind : def->resource, rq->name);
	}
	causes_json(e, &d);
	if (e->retry_after_s)
		buf_printf(&d, ",\"retryAfterSeconds\":%d", e->retry_after_s);
	if (!d.n && named)
		buf_c(out, ",\"details\":{}");
	if (d.n) {
		buf_c(out, ",\"details\":{");
		buf_add(out, d.p + 1, d.n - 1);
		buf_byte(out, '}');
	}
	buf_fini(&d);
}

static int status_code(const struct rq *rq, const struct err *e)
{
	if (rq->deny_code)
		return rq->deny_code;
	return e->code == ERR_CANCELED ? 503 : err_http((enum err_code)e->code);
}

static void denial_json(const struct rq *rq, struct buf *out)
{
	if (rq->deny_reason[0]) {
		buf_c(out, ",\"reason\":");
		buf_json(out, str_c(rq->deny_reason));
	}
	if (rq->deny_details.n) {
		buf_c(out, ",\"details\":");
		buf_str(out, rq->deny_details);
	}
}

void status_json(const struct rq *rq, const struct err *e, struct buf *out)
{
	int code = status_code(rq, e);

	buf_c(out, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{");
	if (rq->go_on.n)
		buf_printf(out, "\"continue\":\"%.*s\"", STR_ARG(rq->go_on));
	buf_c(out, "},\"status\":\"Failure\",\"message\":");
	buf_json(out, str_c(e->message));
	if (!rq->deny_code) {
		buf_printf(out, ",\"reason\":\"%s\"",
			e->code == ERR_CANCELED ? "ServiceUnavailable" : err_reason((enum err_code)e->code));
		details_json(rq, e, out);
	} else {
		denial_json(rq, out);
	}
	buf_printf(out, ",\"code\":%d}", code);
}

void status_about(struct rq *rq, const char *group, const char *kind, struct str name)
{
	rq->about.set = true;
	rq->about.group = group ? group : "";
	rq->about.kind = kind;
	rq->about.name = arena_str(rq->a, name);
}

int status_no_such(struct rq *rq, struct err *e)
{
	status_about(rq, NULL, NULL, STR_NULL);
	return err_set(e, ERR_NOT_FOUND, "the server could not find the requested resource");
}

int status_not_allowed(struct rq *rq, struct err *e)
{
	status_about(rq, NULL, NULL, STR_NULL);
	return err_set(e, ERR_METHOD, "the server does not allow this method on the requested resource");
}

struct doc *status_success(struct rq *rq, struct str name, struct str uid)
{
	const struct resource_def *def = &rq->res->def;

	return node_publish(node_pack(rq->a,
		"{apiVersion:'v1', kind:'Status', metadata:{}, status:'Success', details:{name:S, group:s, kind:s, "
		"uid:S}}",
		name, def->group[0] ? def->group : NULL, def->resource, uid.n ? uid : STR_NULL));
}

void reply_error(struct rq *rq, const struct err *e)
{
	struct buf b = BUF_INIT;

	if (e->code == ERR_INTERNAL || e->code == ERR_IO)
		log_warn("%.*s %.*s: %s", STR_ARG(rq->method), STR_ARG(rq->path), e->message);
	status_json(rq, e, &b);
	if (audit_is_on(rq->api->audit))
		rq->failure = arena_str(rq->a, buf_view(&b));
	const char *type = reply_media(rq, schema_builtin(STR(""), STR("v1"), STR("Status")), &b);
	if (e->retry_after_s) {
		struct http_header h = { STR("retry-after"), str_c(rq_f(rq, "%d", e->retry_after_s)) };
		arena_hold(rq->a, b.p, free);
		reply_bytes(rq, status_code(rq, e), type, &h, 1, buf_view(&b));
		return;
	}
	reply_buf(rq, status_code(rq, e), type, &b);
}

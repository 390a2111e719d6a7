/* Requests, answers and streams, independent of the HTTP version; see http_listen.c for where connections come from.
 *
 *   connection (loop)             anybody's thread
 *   http_exchange <--- x --- http_request     until it is answered; x becomes NULL when the peer goes
 *   http_exchange <--------- http_stream      from http_reply_stream() until closed() ran
 *
 * An answer travels as the message inside the request; what a stream says comes behind it (http_stream.c). */
#include "net/net_internal.h"
#include <stdio.h>

/* ---- requests -------------------------------------------------------------------------------- */

struct str http_method(const struct http_request *r)
{
	return r->method;
}

struct str http_path(const struct http_request *r)
{
	return r->path;
}

struct str http_query(const struct http_request *r)
{
	return r->query;
}

struct str http_header(const struct http_request *r, const char *lower_name)
{
	for (size_t i = 0; i < r->n_headers; i++)
		if (str_is(r->headers[i].name, lower_name))
			return r->headers[i].value;
	return STR_NULL;
}

size_t http_headers(const struct http_request *r, const struct http_header **ret)
{
	*ret = r->headers;
	return r->n_headers;
}

struct str http_body(const struct http_request *r)
{
	return buf_view(&r->body);
}

const struct http_peer *http_peer(const struct http_request *r)
{
	return &r->peer->facts;
}

int http_version(const struct http_request *r)
{
	return r->version;
}

/* What HTTP/2 carries has no connection of its own. */
bool http_crowded(const struct http_request *r)
{
	struct http_server *s = r->server;

	task_lock(&s->lock);
	bool yes = r->version == 1 && s->live >= s->o.connections_max;
	task_unlock(&s->lock);
	return yes;
}

bool http_gone(const struct http_request *r)
{
	return !atomic_load(&r->x);
}

void *http_loop_of(const struct http_request *r)
{
	return r->loop;
}

void http_request_drop(struct http_request *r)
{
	if (!r)
		return;
	parts_fini(&r->out);
	body_drop(r);
	http_server_unref(r->server);
	peer_unref(r->peer);
	loop_unref(r->loop);
	free(r->headers);
	free(r->answer);
	free(r->text);
	free(r);
}

/* "/path?query", or absolute "https://host/path?query" (a server has to take both). */
void http_split_target(struct http_request *r, struct str target)
{
	if (target.n && target.p[0] != '/') {
		for (size_t i = 0; i + 2 < target.n; i++)
			if (memcmp(target.p + i, "://", 3) == 0) {
				const char *slash = memchr(target.p + i + 3, '/', target.n - i - 3);

				target = slash ? str_n(slash, (size_t)(target.p + target.n - slash)) : STR("/");
				break;
			}
	}
	r->query = str_cut(target, '?', &r->path);
}

void http_dispatch(struct http_server *s, struct http_exchange *x, struct http_request *r)
{
	r->x = x;
	x->request = r;
	body_whole(r);
	s->o.handle(s->o.arg, r);
}

struct http_header *headers_copy(const struct http_header *h, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += h[i].name.n + h[i].value.n;
	struct http_header *ret = xmalloc(n * sizeof(*ret) + bytes + 1);
	char *at = (char *)(ret + n);

	for (size_t i = 0; i < n; i++) {
		ret[i].name = str_n(at, h[i].name.n);
		for (size_t k = 0; k < h[i].name.n; k++, at++)
			*at = h[i].name.p[k] >= 'A' && h[i].name.p[k] <= 'Z' ? (char)(h[i].name.p[k] | 32) :
									       h[i].name.p[k];
		ret[i].value = str_n(at, h[i].value.n);
		for (size_t k = 0; k < h[i].value.n; k++, at++) {
			unsigned char c = (unsigned char)h[i].value.p[k];

			*at = c < 0x20 && c != '\t' ? ' ' : (char)c; /* a value never ends a line */
		}
	}
	return ret;
}

/* ---- answers --------------------------------------------------------------------------------- */

void answer_head(struct http_request *r, int status, const struct http_header *headers, size_t n)
{
	r->status = status;
	r->answer = headers_copy(headers, n);
	r->n_answer = n;
}

struct refusal http_refusal(const struct http_server *s, int status)
{
	const char *json = s->o.refused ? s->o.refused(status) : NULL;

	return (struct refusal){ .text = json ? json : http_status_text(status),
		.headers = { { STR("content-type"), json ? STR("application/json") : STR("text/plain") },
			{ STR("retry-after"), STR("1") } },
		.n = status == 429 ? 2 : 1 };
}

static void turn_away(struct http_exchange *x, struct http_request *r)
{
	struct refusal no = http_refusal(r->server, 429);

	parts_fini(&x->out);
	parts_copy(&x->out, str_c(no.text));
	exchange_weigh(x, &x->out);
	free(r->answer);
	answer_head(r, 429, no.headers, no.n);
}

/* Loop: the answer arrived. */
static void answer_run(struct net_msg *m)
{
	struct http_request *r = container_of(m, struct http_request, msg);
	struct http_exchange *x = r->x;

	if (!x) {
		if (r->stream)
			stream_lost(r->stream);
		if (r->pipe)
			pipe_attach(r->pipe, NULL, STR_NULL);
		http_request_drop(r);
		return;
	}
	x->request = NULL;
	if (r->pipe) {
		if (!x->ops->upgrade || !x->ops->upgrade(x, r)) {
			pipe_attach(r->pipe, NULL, STR_NULL);
			parts_copy(
				&r->out, STR("this connection cannot be upgraded: HTTP/1.1 with Upgrade is needed\n"));
			r->status = 400;
			r->n_answer = 0;
			r->pipe = NULL;
		} else {
			http_request_drop(r);
			return;
		}
	}
	if (r->stream)
		stream_begin(r->stream, x);
	parts_append(&x->out, &r->out);
	exchange_weigh(x, &x->out);
	if (answer_is_too_much(x))
		turn_away(x, r);
	x->moved_ms = loop_ms();
	x->ended = !r->stream;
	x->ops->answer(x, r);
	http_request_drop(r);
}

void answer_send(struct http_request *r)
{
	if (loop_here(r->loop) && r->x) /* more requests may come before it is sent */
		exchange_weigh(r->x, &r->out);
	r->msg.run = answer_run;
	loop_send(r->loop, &r->msg);
}

struct str answer_length(const struct http_header *headers, size_t n_headers, bool head, size_t n, char room[24])
{
	uint64_t length;

	for (size_t i = 0; head && i < n_headers; i++)
		if (str_is(headers[i].name, "content-length") && str_u64(headers[i].value, &length))
			return headers[i].value;
	return str_n(room, (size_t)snprintf(room, 24, "%zu", n));
}

void http_reply(struct http_request *r, int status, const struct http_header *headers, size_t n_headers,
	const struct net_piece *pieces, size_t n_pieces)
{
	answer_head(r, status, headers,
		n_headers); /* first: an empty piece ends at once, and the headers may live where it does */
	for (size_t i = 0; i < n_pieces; i++)
		parts_piece(&r->out, &pieces[i]);
	answer_send(r);
}

void http_reply_source(struct http_request *r, int status, const struct http_header *headers, size_t n_headers,
	const struct net_source *take)
{
	answer_head(r, status, headers, n_headers);
	parts_source(&r->out, take);
	answer_send(r);
}

void http_reply_text(struct http_request *r, int status, const char *content_type, struct str copied_body)
{
	struct http_header type = { STR("content-type"), str_c(content_type) };

	answer_head(r, status, &type, content_type ? 1 : 0);
	parts_copy(&r->out, copied_body);
	answer_send(r);
}

void exchange_over(struct http_exchange *x)
{
	struct http_request *r = TAKE(x->request);
	struct http_stream *s = TAKE(x->stream);

	if (r)
		r->x = NULL; /* its answer will find nobody */
	parts_fini(&x->out);
	exchange_weigh(x, NULL);
	if (s)
		stream_lost(s);
}

/* ---- upgrades -------------------------------------------------------------------------------- */

struct net_pipe *http_upgrade(struct http_request *r, const struct http_header *headers, size_t n_headers,
	const struct net_pipe_ops *ops, void *arg)
{
	struct net_pipe *p = pipe_new(r->loop, ops, arg);

	r->pipe = p;
	answer_head(r, 101, headers, n_headers);
	answer_send(r);
	return p;
}

const char *http_status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} table[] = {
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 304, "Not Modified" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 415, "Unsupported Media Type" },
		{ 422, "Unprocessable Content" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].status == status)
			return table[i].text;
	return "Status";
}

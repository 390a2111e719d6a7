/* Requests, answers and streams, independent of the HTTP version; see http_listen.c for where connections come from.
 *
 *   connection (loop)             anybody's thread
 *   http_exchange <--- x --- http_request     until it is answered; x becomes NULL when the peer goes
 *   http_exchange <--------- http_stream      from http_reply_stream() until closed() ran
 *
 * An answer travels as the message inside the request; a stream collects bytes under its lock and sends one kick. */
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

static void stream_lost(struct http_stream *s);

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
	parts_append(&x->out, &r->out);
	x->stream = r->stream;
	x->ended = !r->stream;
	if (x->stream)
		exchange_pull(x);
	x->ops->answer(x, r);
	http_request_drop(r);
}

static void answer_head(struct http_request *r, int status, const struct http_header *headers, size_t n)
{
	r->status = status;
	r->answer = headers_copy(headers, n);
	r->n_answer = n;
}

static void answer_send(struct http_request *r)
{
	r->msg.run = answer_run;
	loop_send(r->loop, &r->msg);
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

void http_reply_text(struct http_request *r, int status, const char *content_type, struct str copied_body)
{
	struct http_header type = { STR("content-type"), str_c(content_type) };

	answer_head(r, status, &type, content_type ? 1 : 0);
	parts_copy(&r->out, copied_body);
	answer_send(r);
}

/* ---- streams --------------------------------------------------------------------------------- */

#define STREAM_LOW (HTTP_STREAM_HIGH / 4)
struct http_stream {
	struct net_msg kick;
	struct net_loop *loop; /* ref */
	const struct http_stream_ops *ops;
	void *arg;
	atomic_size_t unsent;
	atomic_uint refs;     /* the open side, and a kick under way */
	pthread_mutex_t lock; /* for the next four */
	struct parts pending;
	bool kicked, ended, aborted;
	struct http_exchange *x; /* loop */
	bool closed;             /* loop */
};

static void stream_unref(struct http_stream *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	parts_fini(&s->pending);
	pthread_mutex_destroy(&s->lock);
	loop_unref(s->loop);
	free(s);
}

/* Loop: the end of it. */
static void stream_lost(struct http_stream *s)
{
	if (s->closed)
		return;
	s->closed = true;
	s->x = NULL;
	if (s->ops->closed)
		s->ops->closed(s->arg);
	pthread_mutex_lock(&s->lock);
	struct parts rest = s->pending;
	s->pending = (struct parts){ 0 };
	pthread_mutex_unlock(&s->lock);
	parts_fini(&rest);
	stream_unref(s);
}

static void kick_run(struct net_msg *m)
{
	struct http_stream *s = container_of(m, struct http_stream, kick);
	struct http_exchange *x = s->x;

	pthread_mutex_lock(&s->lock);
	s->kicked = false;
	bool aborted = s->aborted;
	pthread_mutex_unlock(&s->lock);
	if (x && aborted) {
		x->ops->abort(x);
	} else if (x) {
		exchange_pull(x);
		x->ops->more(x);
	}
	stream_unref(s);
}

/* With the lock held; releases it. */
static void stream_kick_unlock(struct http_stream *s)
{
	bool kick = !s->kicked;

	s->kicked = true;
	if (kick)
		atomic_fetch_add(&s->refs, 1);
	pthread_mutex_unlock(&s->lock);
	if (kick)
		loop_send(s->loop, &s->kick);
}

void exchange_pull(struct http_exchange *x)
{
	struct http_stream *s = x->stream;

	if (!s)
		return;
	s->x = x;
	pthread_mutex_lock(&s->lock);
	parts_append(&x->out, &s->pending);
	x->ended = s->ended;
	pthread_mutex_unlock(&s->lock);
}

void exchange_sent(struct http_exchange *x, size_t n)
{
	struct http_stream *s = x->stream;

	if (!s || !n)
		return;
	size_t before = atomic_fetch_sub(&s->unsent, n), after = before - n;
	if (after < STREAM_LOW && (before >= STREAM_LOW || !after) && !x->ended && s->ops->writable)
		s->ops->writable(s->arg);
}

void exchange_over(struct http_exchange *x)
{
	struct http_request *r = TAKE(x->request);
	struct http_stream *s = TAKE(x->stream);

	if (r)
		r->x = NULL; /* its answer will find nobody */
	parts_fini(&x->out);
	if (s)
		stream_lost(s);
}

struct http_stream *http_reply_stream(struct http_request *r, int status, const struct http_header *headers,
	size_t n_headers, const struct http_stream_ops *ops, void *arg)
{
	struct http_stream *s = xcalloc(1, sizeof(*s));

	*s = (struct http_stream){ .kick.run = kick_run, .loop = loop_ref(r->loop), .ops = ops, .arg = arg };
	atomic_store(&s->refs, 1);
	pthread_mutex_init(&s->lock, NULL);
	r->stream = s;
	answer_head(r, status, headers, n_headers);
	answer_send(r);
	return s;
}

void http_stream_write(struct http_stream *s, const struct net_piece *pieces, size_t n)
{
	pthread_mutex_lock(&s->lock);
	size_t before = s->pending.n;
	for (size_t i = 0; i < n; i++)
		parts_piece(&s->pending, &pieces[i]);
	atomic_fetch_add(&s->unsent, s->pending.n - before);
	stream_kick_unlock(s);
}

size_t http_stream_unsent(struct http_stream *s)
{
	return atomic_load(&s->unsent);
}

void http_stream_end(struct http_stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->ended = true;
	stream_kick_unlock(s);
}

void http_stream_abort(struct http_stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->aborted = true;
	stream_kick_unlock(s);
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

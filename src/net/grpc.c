/* gRPC: one HTTP/2 request a call; messages are a flag byte (never compressed), four bytes of length, protobuf.
 * The verdict is in the trailers: grpc-status and grpc-message. */
#include "net/net_internal.h"
#include <stdio.h>

#define MESSAGE_MAX ((size_t)64 << 20)
#define PREFIX 5
struct grpc {
	struct http_client *client;
};
struct grpc_stream {
	struct call *x;
	struct buf in; /* bytes of messages not handed out yet */
	size_t at;     /* of it, handed out */
	char *method;
};

int grpc_new(struct net_loop *l, const char *target, struct tls *tls, struct grpc **ret, struct err *e)
{
	struct http_client *c = NULL;
	int r = http_client_begin(
		&(struct http_client_opts){ .url = target, .tls = tls, .loop = l, .user_agent = "grpc-kogge" }, true,
		&c, e);

	if (r < 0)
		return r;
	struct grpc *g = xmalloc(sizeof(*g));
	g->client = c;
	*ret = g;
	return 0;
}

struct grpc *grpc_free(struct grpc *g)
{
	if (!g)
		return NULL;
	http_client_free(g->client);
	free(g);
	return NULL;
}

static struct grpc_stream *stream_new(
	struct grpc *g, const char *method, const struct http_header *metadata, size_t n, int64_t timeout_ms)
{
	struct grpc_stream *s = xcalloc(1, sizeof(*s));
	struct http_header *h = xcalloc(n + 3, sizeof(*h));
	char timeout[32];
	size_t k = 0;

	h[k++] = (struct http_header){ STR("content-type"), STR("application/grpc") };
	h[k++] = (struct http_header){ STR("te"), STR("trailers") };
	if (timeout_ms > 0) {
		snprintf(timeout, sizeof(timeout), "%dm", (int)MIN(timeout_ms, (int64_t)99999999));
		h[k++] = (struct http_header){ STR("grpc-timeout"), str_c(timeout) };
	}
	if (n)
		memcpy(h + k, metadata, n * sizeof(*h));
	s->x = call_new(g->client, "POST", str_c(method), h, k + n, STR_NULL, MESSAGE_MAX + PREFIX);
	s->x->streaming = s->x->uploading = true;
	s->in = BUF_INIT;
	s->in.max = 2 * MESSAGE_MAX;
	s->method = xstrdup(method);
	free(h);
	return s;
}

/* ---- the verdict ----------------------------------------------------------------------------- */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 32);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded. */
static void decode(struct str s, char *out, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n && n + 1 < cap; i++) {
		int hi = s.p[i] == '%' && i + 2 < s.n ? hex(s.p[i + 1]) : -1, lo = hi >= 0 ? hex(s.p[i + 2]) : -1;

		if (lo >= 0)
			i += 2;
		out[n++] = lo >= 0 ? (char)(hi * 16 + lo) : s.p[i];
	}
	out[n] = 0;
}

static enum err_code code_of(int64_t status)
{
	static const enum err_code codes[] = { ERR_OK, ERR_CANCELED, ERR_INTERNAL, ERR_BAD_REQUEST, ERR_TIMEOUT,
		ERR_NOT_FOUND, ERR_EXISTS, ERR_FORBIDDEN, ERR_TOO_MANY, ERR_CONFLICT, ERR_CONFLICT, ERR_BAD_REQUEST,
		ERR_UNSUPPORTED, ERR_INTERNAL, ERR_UNAVAILABLE, ERR_INTERNAL, ERR_UNAUTHORIZED };

	return status > 0 && status < (int64_t)ARRAY_LEN(codes) ? codes[status] : ERR_INTERNAL;
}

/* The call ended and all of its messages were read. */
static int verdict(struct grpc_stream *s, struct err *e)
{
	struct str status = call_field(s->x, "grpc-status");
	char message[ERR_MESSAGE_MAX - 256];
	int64_t n;

	if (!str_i64(status, &n)) {
		if (s->x->status != 200)
			return err_set(e, err_from_http(s->x->status, STR_NULL), "%s: HTTP status %d", s->method,
				s->x->status);
		return err_set(e, ERR_UNAVAILABLE, "%s: the answer ended without a status", s->method);
	}
	if (n == 0)
		return 0;
	decode(call_field(s->x, "grpc-message"), message, sizeof(message));
	return err_set(e, code_of(n), "%s", message);
}

/* ---- streams --------------------------------------------------------------------------------- */

int grpc_open(struct grpc *g, const char *method, const struct http_header *metadata, size_t n_metadata,
	struct grpc_stream **ret, struct err *e)
{
	struct grpc_stream *s = stream_new(g, method, metadata, n_metadata, 0);

	call_start(s->x);
	*ret = s;
	return 0;
}

static void send_message(struct grpc_stream *s, struct str m, bool last)
{
	char prefix[PREFIX] = { 0, (char)(m.n >> 24), (char)(m.n >> 16), (char)(m.n >> 8), (char)m.n };

	call_send(s->x, str_n(prefix, PREFIX), false);
	call_send(s->x, m, last);
}

int grpc_send(struct grpc_stream *s, struct str message, bool last, struct err *e)
{
	if (message.n > MESSAGE_MAX)
		return err_set(e, ERR_TOO_LARGE, "%s: a message of %zu bytes", s->method, message.n);
	task_lock(&s->x->lock);
	bool over = s->x->ended;
	task_unlock(&s->x->lock);
	if (over)
		return err_set(e, ERR_UNAVAILABLE, "%s: the stream has ended", s->method);
	send_message(s, message, last);
	return 0;
}

/* Length of the message at the front; -1: not complete, -2: broken. */
static int64_t front(const struct grpc_stream *s)
{
	const unsigned char *p = (const unsigned char *)s->in.p + s->at;
	size_t left = s->in.n - s->at;

	if (left < PREFIX)
		return -1;
	size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (p[0] || n > MESSAGE_MAX)
		return -2;
	return left - PREFIX < n ? -1 : (int64_t)n;
}

static void compact(struct grpc_stream *s)
{
	if (s->at == s->in.n) {
		s->in.n = s->at = 0;
	} else if (s->at > s->in.n / 2) {
		memmove(s->in.p, s->in.p + s->at, s->in.n - s->at);
		s->in.n -= s->at;
		s->at = 0;
	}
}

static int read_message(struct grpc_stream *s, struct buf *out, struct mono until, struct err *e)
{
	for (;;) {
		int64_t n = front(s);

		if (n == -2)
			return err_set(e, ERR_INTERNAL, "%s: a message is compressed or too large", s->method);
		if (n >= 0) {
			buf_reset(out);
			buf_add(out, s->in.p + s->at + PREFIX, (size_t)n);
			s->at += PREFIX + (size_t)n;
			compact(s);
			return 1;
		}
		int r = call_read(s->x, &s->in, until, e);
		if (r < 0)
			return err_wrap(e, "%s", s->method);
		if (r == 0 && s->in.n > s->at)
			return err_set(e, ERR_UNAVAILABLE, "%s: the answer broke off", s->method);
		if (r == 0)
			return verdict(s, e);
	}
}

int grpc_read(struct grpc_stream *s, struct buf *out, int64_t timeout_ms, struct err *e)
{
	return read_message(s, out, timeout_ms ? mono_add_ms(mono_now(), timeout_ms) : MONO_NEVER, e);
}

void grpc_cancel(struct grpc_stream *s)
{
	call_cancel(s->x);
}

struct grpc_stream *grpc_stream_free(struct grpc_stream *s)
{
	if (!s)
		return NULL;
	call_cancel(s->x);
	call_unref(s->x);
	buf_fini(&s->in);
	free(s->method);
	free(s);
	return NULL;
}

int grpc_call(struct grpc *g, const char *method, const struct http_header *metadata, size_t n_metadata,
	struct str request, int64_t timeout_ms, struct buf *response, struct err *e)
{
	int64_t ms = timeout_ms ? timeout_ms : 60000;
	struct mono until = mono_add_ms(mono_now(), ms);
	auto_(grpc_stream_free) struct grpc_stream *s = stream_new(g, method, metadata, n_metadata, ms);
	auto_buf struct buf end = BUF_INIT;

	PRE(!loop_here(g->client->loop));
	send_message(s, request, true);
	int r = read_message(s, response, until, e);
	if (r < 0)
		return r;
	if (r == 0)
		return err_set(e, ERR_INTERNAL, "%s: an answer without a message", method);
	r = read_message(s, &end, until, e);
	return r == 1 ? err_set(e, ERR_INTERNAL, "%s: more than one message", method) : r;
}

/* Upgrade as a client (RFC 9110, 7.8): a connection of its own, one request, and after 101 it is a pipe. */
#include "net/net_internal.h"
#include <stdio.h>

#define HEAD_MAX ((size_t)64 << 10)
#define BODY_MAX ((size_t)64 << 10)
struct upgrade {
	struct http_client *client; /* ref */
	struct net_pipe *p;
	struct conn *c;
	struct http_upgraded done;
	void *arg;
	struct buf request, in;
	size_t scanned;
	struct http1_head head; /* slices into text */
	char *text;             /* own; NULL: no head yet */
	struct buf body;        /* of a refusal */
	struct http1_chunks chunks;
	int64_t ms;
};

static void upgrade_free(struct upgrade *u)
{
	buf_fini(&u->request);
	buf_fini(&u->in);
	buf_fini(&u->body);
	client_unref(u->client);
	free(u->text);
	free(u);
}

static void fail(struct upgrade *u, const char *why)
{
	struct err e;

	err_init(&e);
	err_set(&e, ERR_UNAVAILABLE, "%s", why);
	pipe_discard(u->p);
	u->done.failed(u->arg, &e);
	upgrade_free(u);
}

/* It is not going to be a pipe: hands over the answer. */
static void refused(struct upgrade *u)
{
	u->done.established(u->arg, u->p, u->head.status, u->head.headers, u->head.n_headers, buf_view(&u->body));
	net_pipe_close(u->p); /* also one that is held back */
	pipe_attach(u->p, NULL, STR_NULL);
	upgrade_free(u);
}

static void forget(struct conn *c)
{
}

static void forget_input(struct conn *c, struct str bytes)
{
}

static const struct conn_ops forgotten_ops = {
	.input = forget_input, .fill = forget, .timeout = forget, .gone = forget
};

static void drop_conn(struct upgrade *u)
{
	struct conn *c = TAKE(u->c);

	conn_set(c, &forgotten_ops, NULL);
	conn_close(c, NULL);
}

/* The body of a refusal, as far as it is there. True: complete. */
static bool read_refusal(struct upgrade *u, struct str in)
{
	bool ended = false;

	while (in.n && !ended && u->body.n < BODY_MAX) {
		struct str data = in;
		long n = (long)in.n;

		if (u->head.chunked)
			n = http1_chunk(&u->chunks, in, &data, &ended);
		if (n <= 0)
			return true;
		buf_add(&u->body, data.p, data.n);
		in = str_sub(in, (size_t)n, in.n);
	}
	return ended || u->body.n >= BODY_MAX || (u->head.has_length && u->body.n >= u->head.length);
}

static void got_head(struct upgrade *u, size_t n)
{
	struct str rest = str_n(u->in.p + n, u->in.n - n);
	struct conn *c = u->c;

	u->text = xmalloc(n);
	memcpy(u->text, u->in.p, n);
	if (http1_reply_head(u->text, n, &u->head) < 0) {
		drop_conn(u);
		fail(u, "the answer is not HTTP");
		return;
	}
	if (u->head.status == 101) {
		u->done.established(u->arg, u->p, 101, u->head.headers, u->head.n_headers, STR_NULL);
		pipe_attach(u->p, c, rest);
		upgrade_free(u);
		return;
	}
	if (u->head.status < 200) { /* 100 Continue: the real answer follows */
		free(TAKE(u->text));
		u->scanned = 0;
		memmove(u->in.p, u->in.p + n, rest.n);
		u->in.n = rest.n;
		return;
	}
	if (read_refusal(u, rest)) {
		drop_conn(u);
		refused(u);
	}
}

static void on_input(struct conn *c, struct str bytes)
{
	struct upgrade *u = c->arg;

	if (!bytes.n) {
		bool answered = u->text;

		drop_conn(u);
		if (answered)
			refused(u);
		else
			fail(u, "the other side hung up");
		return;
	}
	if (u->text) {
		if (read_refusal(u, bytes)) {
			drop_conn(u);
			refused(u);
		}
		return;
	}
	buf_add(&u->in, bytes.p, bytes.n);
	long n = http1_find_end(u->in.p, u->in.n, &u->scanned);
	if (n > 0) {
		got_head(u, (size_t)n);
	} else if (n < 0 || u->in.n > HEAD_MAX) {
		drop_conn(u);
		fail(u, "the answer is not HTTP");
	}
}

static void on_fill(struct conn *c)
{
}

static void on_timeout(struct conn *c)
{
	conn_close(c, "no answer in time");
}

static void on_gone(struct conn *c)
{
	struct upgrade *u = c->arg;

	if (u->text)
		refused(u);
	else
		fail(u, c->why ? c->why : "the connection broke");
}

static const struct conn_ops ops = {
	.input = on_input, .fill = on_fill, .timeout = on_timeout, .gone = on_gone, .reads_on = true
};

static void dialled(void *arg, struct conn *c, const char *why)
{
	struct upgrade *u = arg;

	if (!c) {
		fail(u, why);
		return;
	}
	u->c = c;
	conn_set(c, &ops, u);
	conn_deadline(c, u->ms * 3);
	conn_copy(c, buf_view(&u->request));
}

static void put_request(struct buf *b, const struct http_client *c, const char *method, struct str path,
	const struct http_header *h, size_t n)
{
	auto_free struct http_header *copy = headers_copy(h, n); /* also makes values harmless */

	buf_printf(
		b, "%s %.*s HTTP/1.1\r\nhost: %s\r\nuser-agent: %s\r\n", method, STR_ARG(path), c->host, c->user_agent);
	for (size_t i = 0; i < n; i++)
		if (!str_is(copy[i].name, "host") && !str_is(copy[i].name, "user-agent") &&
			!str_is(copy[i].name, "content-length"))
			buf_printf(b, "%.*s: %.*s\r\n", STR_ARG(copy[i].name), STR_ARG(copy[i].value));
	if (strcmp(method, "GET") != 0)
		buf_c(b, "content-length: 0\r\n");
	buf_c(b, "\r\n");
}

void http_client_upgrade(struct http_client *c, const char *method, struct str path_query,
	const struct http_header *headers, size_t n_headers, const struct http_upgraded *done,
	const struct net_pipe_ops *pipe_ops, void *arg)
{
	struct upgrade *u = xcalloc(1, sizeof(*u));

	client_ref(c);
	u->client = c;
	u->p = pipe_new(c->loop, pipe_ops, arg);
	u->done = *done;
	u->arg = arg;
	u->request = u->in = u->body = BUF_INIT;
	u->ms = c->connect_ms;
	put_request(&u->request, c, method, path_query, headers, n_headers);
	dial(c->loop,
		&(struct dial_opts){ .target = c->target,
			.tls = c->tls,
			.server_name = c->server_name,
			.ms = c->connect_ms,
			.done = dialled,
			.arg = u });
}

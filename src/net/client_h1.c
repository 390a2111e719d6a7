/* HTTP/1.1 as a client: one call at a time on a connection that is kept for the next. */
#include "net/net_internal.h"
#include <stdio.h>

enum state { IDLE, HEAD, BODY_LENGTH, BODY_CHUNKED, BODY_TO_END };
#define HEAD_MAX ((size_t)64 << 10)
struct h1 {
	struct link k;
	struct buf in;
	size_t scanned;
	struct http1_chunks chunks;
	uint64_t left;
	enum state state;
	bool close;
};

static void put(struct conn *c, struct str s)
{
	conn_copy(c, s);
}

static void put_field(struct conn *c, struct str name, struct str value)
{
	put(c, name);
	put(c, STR(": "));
	put(c, value);
	put(c, STR("\r\n"));
}

static bool usable(struct link *k)
{
	return k->n_active == 0;
}

static bool has_body(const struct call *x)
{
	return x->body_n || strcmp(x->method, "POST") == 0 || strcmp(x->method, "PUT") == 0 ||
		strcmp(x->method, "PATCH") == 0;
}

static void start(struct link *k, struct call *x)
{
	struct h1 *h = container_of(k, struct h1, k);
	char length[24];

	put(k->c, str_c(x->method));
	put(k->c, STR(" "));
	put(k->c, str_c(x->path));
	put(k->c, STR(" HTTP/1.1\r\n"));
	put_field(k->c, STR("host"), str_c(k->client->host));
	put_field(k->c, STR("user-agent"), str_c(k->client->user_agent));
	for (size_t i = 0; i < x->n_headers; i++)
		if (!str_is(x->headers[i].name, "host") && !str_is(x->headers[i].name, "content-length") &&
			!str_is(x->headers[i].name, "user-agent"))
			put_field(k->c, x->headers[i].name, x->headers[i].value);
	if (has_body(x)) {
		snprintf(length, sizeof(length), "%zu", x->body_n);
		put_field(k->c, STR("content-length"), str_c(length));
	}
	put(k->c, STR("\r\n"));
	put(k->c, str_n(x->body, x->body_n)); /* copied: the call may end before it is sent */
	h->state = HEAD;
	h->scanned = 0;
	h->close = false;
}

static void more(struct link *k, struct call *x)
{
	if (x->streaming)
		conn_pause(k->c, call_unread(x) > CALL_HIGH);
}

static void cancel(struct link *k, struct call *x)
{
	conn_close(k->c, NULL);
}

static const struct link_ops h1_ops = { .usable = usable, .start = start, .more = more, .cancel = cancel };

static void answer_over(struct h1 *h)
{
	struct call *x = h->k.active;

	h->state = IDLE;
	conn_pause(h->k.c, false);
	if (x) {
		link_remove(&h->k, x);
		call_over(x, 0, NULL);
	}
	if (h->close) {
		conn_close(h->k.c, NULL);
		return;
	}
	client_place_waiting(h->k.client);
}

static void begin_body(struct h1 *h, const struct http1_head *head, const struct call *x)
{
	bool none = strcmp(x->method, "HEAD") == 0 || head->status == 204 || head->status == 304;

	h->chunks = (struct http1_chunks){ 0 };
	h->left = head->length;
	h->close = head->close;
	if (none || (head->has_length && !head->length && !head->chunked)) {
		answer_over(h);
	} else if (head->chunked) {
		h->state = BODY_CHUNKED;
	} else if (head->has_length) {
		h->state = BODY_LENGTH;
	} else {
		h->state = BODY_TO_END;
		h->close = true;
	}
}

static void read_head(struct h1 *h, const char *p, size_t n)
{
	auto_free char *text = xmalloc(n);
	struct call *x = h->k.active;
	struct http1_head head;
	char status[8];

	memcpy(text, p, n);
	if (http1_reply_head(text, n, &head) < 0 || head.status == 101) {
		conn_close(h->k.c, "the answer is not HTTP");
		return;
	}
	if (head.status < 200)
		return; /* 100 Continue, 103: the real one follows */
	snprintf(status, sizeof(status), "%d", head.status % 1000);
	fields_add(&x->fields, STR(":status"), str_c(status));
	for (size_t i = 0; i < head.n_headers; i++)
		fields_add(&x->fields, head.headers[i].name, head.headers[i].value);
	call_got_head(x);
	begin_body(h, &head, x);
}

static size_t take_head(struct h1 *h, struct str in)
{
	long n = http1_find_end(in.p, in.n, &h->scanned);

	if (n < 0 || (size_t)n > HEAD_MAX || (!n && in.n > HEAD_MAX))
		conn_close(h->k.c, "the answer is not HTTP");
	else if (n) {
		h->scanned = 0;
		read_head(h, in.p, (size_t)n);
	}
	return n > 0 ? (size_t)n : 0;
}

static size_t take_body(struct h1 *h, struct str in)
{
	struct str data = in;
	bool ended = false;
	long n;

	if (h->state == BODY_CHUNKED) {
		n = http1_chunk(&h->chunks, in, &data, &ended);
		if (n < 0) {
			conn_close(h->k.c, "the answer is badly chunked");
			return 0;
		}
	} else {
		if (h->state == BODY_LENGTH)
			data.n = (size_t)MIN((uint64_t)in.n, h->left);
		n = (long)data.n;
		if (h->state == BODY_LENGTH) {
			h->left -= data.n;
			ended = !h->left;
		}
	}
	if (data.n && h->k.active)
		call_got_data(h->k.active, data);
	if (h->k.active && h->k.active->streaming)
		more(&h->k, h->k.active);
	if (ended && !h->k.c->closing)
		answer_over(h);
	return (size_t)n;
}

static size_t take(struct h1 *h, struct str in)
{
	size_t at = 0;

	while (at < in.n && !h->k.c->closing) {
		struct str left = str_n(in.p + at, in.n - at);

		if (h->state == IDLE) {
			conn_close(h->k.c, "bytes that answer nothing");
			return in.n;
		}
		size_t n = h->state == HEAD ? take_head(h, left) : take_body(h, left);
		if (!n)
			break;
		at += n;
	}
	return at;
}

static void on_input(struct conn *c, struct str bytes)
{
	struct h1 *h = c->arg;

	if (!bytes.n) {
		if (h->state == BODY_TO_END)
			answer_over(h);
		conn_close(c, "the other side hung up");
		return;
	}
	if (!h->in.n) {
		size_t n = take(h, bytes);

		buf_add(&h->in, bytes.p + n, bytes.n - n);
		return;
	}
	buf_add(&h->in, bytes.p, bytes.n);
	size_t n = take(h, buf_view(&h->in));
	if (n == h->in.n) {
		buf_fini(&h->in);
		h->in = BUF_INIT;
		return;
	}
	memmove(h->in.p, h->in.p + n, h->in.n - n);
	h->in.n -= n;
}

static void on_fill(struct conn *c)
{
}

static void on_timeout(struct conn *c)
{
}

static void on_gone(struct conn *c)
{
	struct h1 *h = c->arg;

	link_fini(&h->k, c->why);
	buf_fini(&h->in);
	free(h);
}

static const struct conn_ops ops = {
	.input = on_input, .fill = on_fill, .timeout = on_timeout, .gone = on_gone, .reads_on = true
};

struct link *link_h1(struct http_client *c, struct conn *conn)
{
	struct h1 *h = xcalloc(1, sizeof(*h));

	h->in = BUF_INIT;
	link_init(&h->k, c, conn, &h1_ops);
	conn_set(conn, &ops, h);
	return &h->k;
}

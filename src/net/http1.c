/* HTTP/1.1 on a server's connection: one request at a time, in order; what a client sends ahead waits in `in`. */
#include "net/net_internal.h"
#include <stdio.h>

enum state {
	HEAD, /* waiting for a request, or in its head */
	BODY,
	BUSY, /* handed to the handler; its answer may be under way */
	DONE, /* no further request on this connection */
};
#define AHEAD_MAX ((size_t)64 << 10) /* bytes of later requests that we keep while one is worked on */
#define BODY_MS 60000
#define LAST_WORD_MS 1000 /* for a request whose answer says that the connection ends */

struct http1 {
	struct http_exchange x;
	struct conn *c;
	struct http_server *server; /* ref */
	struct http_request *r;     /* own while it is read */
	struct buf in;              /* what waits, from in_at on */
	size_t in_at;
	size_t scanned; /* of it, looking for the end of a head */
	struct room room, answers;
	size_t held; /* in room */
	struct http1_chunks chunks;
	uint64_t body_left;
	enum state state;
	bool chunked, close, head_only, minor0;
	bool answering; /* the head of the answer was sent */
	bool out_chunked, out_raw_end;
};

static const struct http_exchange_ops exchange_ops;

static void rest(struct http1 *h, int64_t ms)
{
	conn_deadline(h->c, ms);
}

static int64_t idle_ms(const struct http1 *h)
{
	return h->server->o.idle_ms;
}

/* ---- answers --------------------------------------------------------------------------------- */

static struct str waiting(const struct http1 *h)
{
	return str_n(h->in.p + h->in_at, h->in.n - h->in_at);
}

static void put(struct http1 *h, struct str s)
{
	conn_copy(h->c, s);
}

static void put_field(struct http1 *h, struct str name, struct str value)
{
	put(h, name);
	put(h, STR(": "));
	put(h, value);
	put(h, STR("\r\n"));
}

static void put_status(struct http1 *h, int status)
{
	char line[96];
	int n = snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\n", status, http_status_text(status));

	put(h, str_n(line, (size_t)n));
}

static void put_length(struct http1 *h, size_t n)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%zu", n);

	put_field(h, STR("content-length"), str_n(text, (size_t)len));
}

static bool hop_by_hop(struct str name)
{
	return str_is(name, "content-length") || str_is(name, "transfer-encoding") || str_is(name, "connection") ||
		str_is(name, "date");
}

/* An answer of our own to a request that cannot be handled; then the connection ends. */
static void refuse(struct http1 *h, int status)
{
	struct refusal no = http_refusal(h->server, status);

	h->state = DONE;
	h->in.n = h->in_at = 0;
	if (h->r)
		body_drop(h->r);
	put_status(h, status);
	put_field(h, STR("date"), loop_date(h->c->loop));
	for (size_t i = 0; i < no.n; i++)
		put_field(h, no.headers[i].name, no.headers[i].value);
	put_field(h, STR("connection"), STR("close"));
	put_length(h, strlen(no.text) + 1);
	put(h, STR("\r\n"));
	put(h, str_c(no.text));
	put(h, STR("\n"));
	conn_finish(h->c);
}

static void process(struct http1 *h);

static void request_over(struct http1 *h)
{
	exchange_over(&h->x);
	h->x.ended = h->answering = false;
	if (h->close || h->state == DONE || h->c->eof) {
		h->state = DONE;
		conn_finish(h->c);
		return;
	}
	h->state = HEAD;
	h->scanned = 0;
	rest(h, h->in.n ? h->server->o.header_ms : idle_ms(h));
	conn_pause(h->c, false);
	process(h);
}

/* Moves what the answer has into the connection, up to the low mark. */
static void pump(struct http1 *h)
{
	char size[32];

	while (h->answering && h->x.out.n && h->c->out.n < CONN_OUT_LOW) {
		size_t n = MIN(h->x.out.n, CONN_OUT_LOW);

		if (h->head_only) {
			parts_drop(&h->x.out, n);
			exchange_sent(&h->x, n);
			continue;
		}
		if (h->out_chunked) {
			int len = snprintf(size, sizeof(size), "%zx\r\n", n);

			put(h, str_n(size, (size_t)len));
		}
		h->c->bulk = n == CONN_OUT_LOW;
		parts_move(&h->c->out, &h->x.out, n);
		if (h->out_chunked)
			put(h, STR("\r\n"));
		conn_dirty(h->c);
		exchange_sent(&h->x, n);
	}
	if (!h->answering || h->x.out.n || !h->x.ended)
		return;
	if (h->out_chunked && !h->head_only)
		put(h, STR("0\r\n\r\n"));
	request_over(h);
}

static void on_answer(struct http_exchange *x, struct http_request *r)
{
	struct http1 *h = container_of(x, struct http1, x);
	bool bodiless = r->status == 204 || r->status == 304 || r->status < 200;
	char room[24];

	if (h->c->eof && x->stream) { /* nobody waits for the end of a stream */
		conn_close(h->c, NULL);
		return;
	}
	h->answering = true;
	if (x->stream)
		conn_may_stall(h->c);
	h->out_chunked = x->stream && !h->minor0 && !bodiless;
	h->close = h->close || (x->stream && h->minor0);
	if (r->status == 429 && http_crowded(r))
		h->close = h->c->leaving = true;
	h->head_only = h->head_only || bodiless;
	put_status(h, r->status);
	put_field(h, STR("date"), loop_date(h->c->loop));
	for (size_t i = 0; i < r->n_answer; i++)
		if (!hop_by_hop(r->answer[i].name))
			put_field(h, r->answer[i].name, r->answer[i].value);
	if (h->out_chunked)
		put_field(h, STR("transfer-encoding"), STR("chunked"));
	else if (!x->stream && !bodiless)
		put_field(
			h, STR("content-length"), answer_length(r->answer, r->n_answer, h->head_only, x->out.n, room));
	if (h->close)
		put_field(h, STR("connection"), STR("close"));
	else if (h->minor0)
		put_field(h, STR("connection"), STR("keep-alive"));
	put(h, STR("\r\n"));
	pump(h);
}

static void on_more(struct http_exchange *x)
{
	pump(container_of(x, struct http1, x));
}

static void on_abort(struct http_exchange *x)
{
	conn_close(container_of(x, struct http1, x)->c, NULL);
}

static void http1_free(struct http1 *h)
{
	exchange_over(&h->x);
	http_request_drop(h->r);
	buf_fini(&h->in);
	room_hold(&h->server->arriving, &h->room, &h->held, 0);
	http_grown(h->server, h->c);
	http_server_lost(h->server);
	free(h);
}

static bool on_upgrade(struct http_exchange *x, struct http_request *r)
{
	struct http1 *h = container_of(x, struct http1, x);
	struct conn *c = h->c;

	if (h->minor0 || str_empty(http_header(r, "upgrade")))
		return false;
	put_status(h, 101);
	for (size_t i = 0; i < r->n_answer; i++)
		if (!hop_by_hop(r->answer[i].name))
			put_field(h, r->answer[i].name, r->answer[i].value);
	put_field(h, STR("connection"), STR("Upgrade"));
	put(h, STR("\r\n"));
	rest(h, 0);
	conn_pause(c, false);
	pipe_attach(TAKE(r->pipe), c, waiting(h)); /* the connection is the pipe's now */
	http1_free(h);
	return true;
}

static const struct http_exchange_ops exchange_ops = {
	.answer = on_answer, .more = on_more, .abort = on_abort, .upgrade = on_upgrade
};

/* ---- requests -------------------------------------------------------------------------------- */

static void dispatch(struct http1 *h)
{
	struct http_request *r = TAKE(h->r);

	h->state = BUSY;
	rest(h, 0);
	http_grown(h->server, h->c);
	exchange_weigh(&h->x, &h->x.out); /* one at a time always fits */
	http_dispatch(h->server, &h->x, r);
}

static bool begin_body(struct http1 *h, const struct http1_head *head)
{
	size_t max = h->server->o.body_max;

	h->chunked = head->chunked;
	h->body_left = head->length;
	h->chunks = (struct http1_chunks){ 0 };
	if (!head->chunked && !head->length)
		return false;
	if (head->length > max) {
		refuse(h, 413);
		return true;
	}
	h->r->body.max = max;
	h->state = BODY;
	rest(h, h->server->o.header_ms > 0 ? MAX(h->server->o.header_ms, (int64_t)BODY_MS) : BODY_MS);
	return true;
}

/* The head of n bytes at p is complete. */
static void read_head(struct http1 *h, const char *p, size_t n)
{
	struct http_request *r = xcalloc(1, sizeof(*r));
	struct http1_head head;

	r->text = xmalloc(n);
	r->text_n = n;
	memcpy(r->text, p, n);
	r->loop = loop_ref(h->c->loop);
	r->peer = peer_ref(h->c->peer);
	r->version = 1;
	r->body = BUF_INIT;
	r->server = h->server;
	http_server_ref(h->server);
	h->r = r;
	int e = http1_request_head(r->text, n, &head);
	if (e < 0) {
		refuse(h, -e);
		return;
	}
	if (head.target.p[0] != '/' && !str_is(head.target, "*") && !str_has(head.target, STR("://"))) {
		refuse(h, 400); /* CONNECT host:port, and nonsense */
		return;
	}
	r->method = head.method;
	http_split_target(r, head.target);
	r->n_headers = head.n_headers;
	r->headers = xmalloc((head.n_headers + 1) * sizeof(*r->headers));
	memcpy(r->headers, head.headers, head.n_headers * sizeof(*r->headers));
	h->minor0 = head.minor == 0;
	h->close |= head.close;
	h->head_only = str_is(head.method, "HEAD");
	if (!begin_body(h, &head)) {
		dispatch(h);
		return;
	}
	if (h->state == BODY && head.expect_continue && !h->minor0)
		put(h, STR("HTTP/1.1 100 Continue\r\n\r\n"));
}

static size_t take_head(struct http1 *h, struct str in)
{
	size_t max = h->server->o.header_max;
	long n = http1_find_end(in.p, in.n, &h->scanned);

	if (n < 0)
		refuse(h, (int)-n);
	else if ((size_t)n > max || (!n && in.n > max))
		refuse(h, 431);
	else if (n)
		read_head(h, in.p, (size_t)n);
	if (n > 0)
		h->scanned = 0;
	return n > 0 ? (size_t)n : 0;
}

static size_t take_body(struct http1 *h, struct str in)
{
	struct str data = str_sub(in, 0, (size_t)MIN(h->body_left, (uint64_t)in.n));
	size_t taken = data.n;
	bool ended = false;

	if (h->chunked) {
		long n = http1_chunk(&h->chunks, in, &data, &ended);

		if (n < 0) {
			refuse(h, (int)-n);
			return 0;
		}
		taken = (size_t)n;
	} else {
		h->body_left -= data.n;
		ended = !h->body_left;
	}
	buf_add(&h->r->body, data.p, data.n);
	if (h->r->body.full)
		refuse(h, 413);
	else if (ended)
		dispatch(h);
	return taken;
}

/* Takes what it can; returns the number of bytes. */
static size_t take(struct http1 *h, struct str in)
{
	size_t at = 0;

	while (at < in.n && (h->state == HEAD || h->state == BODY) && !h->c->closing) {
		struct str left = str_n(in.p + at, in.n - at);
		size_t n = h->state == HEAD ? take_head(h, left) : take_body(h, left);

		if (!n)
			break;
		at += n;
	}
	return at;
}

/* Drops what was taken of it. */
static void keep_waiting(struct http1 *h)
{
	struct str left = waiting(h);

	memmove(h->in.p, left.p, left.n);
	h->in.n = left.n;
	h->in_at = 0;
}

static void drop_waiting(struct http1 *h)
{
	buf_fini(&h->in);
	h->in = BUF_INIT;
	h->in_at = 0;
}

static bool hold(struct http1 *h)
{
	size_t holds = h->in.cap + (h->r ? h->r->text_n + h->r->body.cap : 0);

	return room_hold(&h->server->arriving, &h->room, &h->held, holds);
}

/* Goes on with what waited. */
static void process(struct http1 *h)
{
	h->in_at += take(h, waiting(h));
	if (h->state == DONE || h->in_at == h->in.n)
		drop_waiting(h);
	hold(h); /* what it says is asked when more comes */
}

static void charge(struct http1 *h)
{
	if (hold(h))
		return;
	if (h->state == HEAD || h->state == BODY) {
		refuse(h, 429);
		drop_waiting(h);
		hold(h);
	} else if (h->state != DONE) {
		conn_close(h->c, NULL); /* it sends ahead, and nobody has room for that */
	}
}

static void on_input(struct conn *c, struct str bytes)
{
	struct http1 *h = c->arg;

	if (!bytes.n) { /* a simple answer still goes out to a client that closed its half; nothing else is owed */
		if (h->state != BUSY || h->x.stream)
			conn_close(c, NULL);
		return;
	}
	if (h->state == DONE)
		return;
	if (h->state == HEAD && !h->in.n)
		rest(h, h->server->o.header_ms); /* the first byte of a request */
	if (h->in.n) {
		keep_waiting(h);
		buf_add(&h->in, bytes.p, bytes.n);
		process(h);
	} else {
		size_t n = take(h, bytes);

		if (n < bytes.n && h->state != DONE)
			buf_add(&h->in, bytes.p + n, bytes.n - n);
	}
	charge(h);
	if (h->state == BUSY && waiting(h).n > AHEAD_MAX)
		conn_pause(c, true);
}

static void on_fill(struct conn *c)
{
	pump(c->arg);
}

static void leave(struct conn *c, bool just_used)
{
	struct http1 *h = c->arg;

	h->close = true;
	if (just_used) {
		rest(h, LAST_WORD_MS);
		return;
	}
	c->leaving = true;
	conn_finish(c);
}

static void on_timeout(struct conn *c)
{
	struct http1 *h = c->arg;

	if (h->state == BODY || (h->state == HEAD && h->in.n))
		refuse(h, 408);
	else if (h->state == HEAD && c->asked)
		leave(c, false);
	else
		conn_close(c, NULL);
}

static void on_gone(struct conn *c)
{
	struct http1 *h = c->arg;

	http1_free(h);
}

static size_t holds(const struct conn *c, uint64_t *ret_since_ms)
{
	const struct http1 *h = c->arg;

	*ret_since_ms = c->blocked ? c->moved_ms : 0;
	return c->blocked ? parts_hold(&h->x.out, h->x.stream) : 0;
}

static void shed(struct conn *c, uint64_t since_ms)
{
	conn_reset(c);
}

static bool is_idle(const struct conn *c)
{
	const struct http1 *h = c->arg;

	return h->state == HEAD && !h->in.n && !c->out.n && !c->late.n;
}

const struct conn_ops http1_ops = { .input = on_input,
	.fill = on_fill,
	.timeout = on_timeout,
	.gone = on_gone,
	.holds = holds,
	.shed = shed,
	.idle = is_idle,
	.leave = leave };

void http1_begin(struct conn *c, struct http_server *s)
{
	struct http1 *h = xcalloc(1, sizeof(*h));

	h->x.ops = &exchange_ops;
	h->x.server = s;
	h->x.room = &h->answers;
	h->c = c;
	h->server = s;
	h->in = BUF_INIT;
	conn_set(c, &http1_ops, h);
	rest(h, s->o.header_ms);
}

struct http_server *http1_server(const struct conn *c)
{
	return ((struct http1 *)c->arg)->server;
}

void http1_shutdown(struct conn *c)
{
	struct http1 *h = c->arg;

	h->close = true;
	if (h->state == HEAD && !h->in.n)
		conn_finish(c);
	else if (h->x.stream)
		conn_close(c, NULL);
}

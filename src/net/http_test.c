/* The HTTP server and client against each other and against raw bytes, on real loopback connections. */
#include "net/net_test.h"

#define BIG ((size_t)10 << 20)
static struct certs certs;
static struct net_loop *loops[2];
static struct tls *server_tls, *client_tls, *nobody_tls;
static struct http_server *plain, *secure;
static char big[BIG];
static atomic_int closed_streams, ended_pieces, held_requests;
static struct http_request *_Atomic held;

/* ---- the handler ----------------------------------------------------------------------------- */

struct ticker {
	struct http_stream *s;
	int n, most;
};

static void end_free(void *p)
{
	free(p);
}

static void ticker_go(void *arg)
{
	struct ticker *t = arg;

	while (t->n < t->most && http_stream_unsent(t->s) < HTTP_STREAM_HIGH) {
		char *text = xasprintf("tick %06d %1000s\n", t->n++, "");

		http_stream_write(t->s, &(struct net_piece){ str_c(text), text, end_free }, 1);
	}
	if (t->n == t->most) {
		t->n++;
		http_stream_end(t->s);
	}
}

static void ticker_closed(void *arg)
{
	free(arg);
	atomic_fetch_add(&closed_streams, 1);
}

static const struct http_stream_ops ticker_ops = { ticker_go, ticker_closed };

static void piece_ended(void *arg)
{
	atomic_fetch_add(&ended_pieces, 1);
}

/* Streams that a test writes to itself. */
#define FAN 60
static struct fan {
	pthread_mutex_t lock;
	struct http_stream *s[FAN]; /* NULL: closed */
	atomic_int n;
} fan = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void fan_closed(void *arg)
{
	pthread_mutex_lock(&fan.lock);
	*(struct http_stream **)arg = NULL;
	pthread_mutex_unlock(&fan.lock);
	atomic_fetch_add(&closed_streams, 1);
}

static const struct http_stream_ops fan_ops = { .closed = fan_closed };

static void join_fan(struct http_request *r)
{
	pthread_mutex_lock(&fan.lock);
	struct http_stream **slot = &fan.s[fan.n];
	*slot = http_reply_stream(r, 200, NULL, 0, &fan_ops, slot);
	fan.n++;
	pthread_mutex_unlock(&fan.lock);
}

/* An owner whose end takes the headers along. */
static void tag_ended(void *arg)
{
	memset(arg, 'x', 4);
	free(arg);
}

static void tagged(struct http_request *r)
{
	char *tag = xstrdup("kept");
	struct http_header h = { STR("etag"), str_c(tag) };
	struct net_piece empty = { STR_NULL, tag, tag_ended };

	http_reply(r, 200, &h, 1, &empty, 1);
}

/* The kernel takes little at once from this loop's connections. */
static void narrow(struct http_request *r)
{
	int bytes = 100000;

	for (struct conn *c = r->loop->conns; c; c = c->next)
		setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	http_reply(r, 204, NULL, 0, NULL, 0);
}

static void describe(struct http_request *r)
{
	const struct http_peer *p = http_peer(r);
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b, "%.*s %.*s ?%.*s v%d cn=%.*s", STR_ARG(http_method(r)), STR_ARG(http_path(r)),
		STR_ARG(http_query(r)), http_version(r), STR_ARG(p->cn));
	for (size_t i = 0; i < p->n_orgs; i++)
		buf_printf(&b, " o=%.*s", STR_ARG(p->orgs[i]));
	buf_printf(&b, " rejected=%d from=%.*s body=%zu:%.*s x=%.*s\n", p->rejected, STR_ARG(p->address),
		http_body(r).n, (int)MIN(http_body(r).n, (size_t)20), http_body(r).p ? http_body(r).p : "",
		STR_ARG(http_header(r, "x-test")));
	http_reply_text(r, 200, "text/plain", buf_view(&b));
}

static void handle(void *arg, struct http_request *r)
{
	struct str path = http_path(r);

	if (str_is(path, "/big")) {
		struct net_piece p = { str_n(big, BIG), NULL, piece_ended };

		http_reply(r, 200, NULL, 0, &p, 1);
	} else if (str_starts(path, STR("/ticks/"))) {
		struct ticker *t = xcalloc(1, sizeof(*t));
		int64_t n = 0;

		str_i64(str_sub(path, 7, 20), &n);
		t->most = (int)n;
		t->s = http_reply_stream(r, 200, NULL, 0, &ticker_ops, t);
		ticker_go(t);
	} else if (str_is(path, "/fan")) {
		join_fan(r);
	} else if (str_is(path, "/hold")) {
		atomic_store(&held, r);
		atomic_fetch_add(&held_requests, 1);
	} else if (str_is(path, "/tagged")) {
		tagged(r);
	} else if (str_is(path, "/narrow")) {
		narrow(r);
	} else if (str_is(path, "/empty")) {
		http_reply(r, 204, NULL, 0, NULL, 0);
	} else if (str_is(path, "/length")) {
		struct http_header h = { STR("content-length"), STR("12345") };

		http_reply(r, 200, &h, 1, NULL, 0);
	} else if (str_is(path, "/echo")) {
		http_reply_text(r, 200, "application/octet-stream", http_body(r));
	} else {
		describe(r);
	}
}

static const char *refused(int status)
{
	return status == 413 ? "{\"code\":413}" : NULL;
}

static int set_up(void **state)
{
	struct http_server_opts o = { .address = "127.0.0.1",
		.loops = loops,
		.n_loops = 2,
		.handle = handle,
		.header_max = 8192,
		.body_max = 100000,
		.refused = refused };

	memset(big, 'b', BIG);
	certs_make(&certs);
	loops[0] = net_loop_new("test-0");
	loops[1] = net_loop_new("test-1");
	OK(tls_new(&(struct tls_opts){ certs.server, certs.server_key, certs.ca, true, false }, &server_tls, oke));
	OK(tls_new(&(struct tls_opts){ certs.client, certs.client_key, certs.ca, false, false }, &client_tls, oke));
	OK(tls_new(&(struct tls_opts){ .ca_file = certs.ca }, &nobody_tls, oke));
	OK(http_server_new(&o, &plain, oke));
	o.tls = server_tls;
	OK(http_server_new(&o, &secure, oke));
	return 0;
}

static int tear_down(void **state)
{
	http_server_free(plain);
	http_server_free(secure);
	net_loop_free(loops[0]);
	net_loop_free(loops[1]);
	tls_free(server_tls);
	tls_free(client_tls);
	tls_free(nobody_tls);
	certs_remove(&certs);
	return 0;
}

/* ---- HTTP/1.1, raw --------------------------------------------------------------------------- */

static void answers_a_request(void **state)
{
	const char *r = raw_ask(http_server_port(plain),
		"POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nX-Test:  hi \r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");

	assert_starts(r, "HTTP/1.1 200 OK\r\n");
	assert_has(r, "\r\ndate: ");
	assert_has(r, "\r\nconnection: close\r\n");
	assert_has(r, "POST /a/b ?c=d v1 cn= rejected=0 from=127.0.0.1 body=5:hello x=hi\n");
}

static void keeps_order_when_pipelined(void **state)
{
	const char *r = raw_ask(http_server_port(plain),
		"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
		"POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n"
		"GET /ticks/1 HTTP/1.1\r\nHost: x\r\n\r\n"
		"HEAD /3 HTTP/1.1\r\nHost: x\r\n\r\n"
		"GET http://y/4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	const char *one = strstr(r, "GET /1 "), *two = strstr(r, "POST /2 "), *tick = strstr(r, "tick 000000"),
		   *four = strstr(r, "GET /4 ");

	assert_true(one && two && tick && four && one < two && two < tick && tick < four);
	assert_has(two, "body=5:abcde");
	assert_has(tick, "\r\n0\r\n\r\nHTTP/1.1 200 OK");
	assert_null(strstr(r, "HEAD /3")); /* a length, no body */
}

/* What two readers could understand differently is refused. */
static void refuses_ambiguity(void **state)
{
	static const char *const bad[] = {
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3,3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
		"GET / HTTP/1.1\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
		"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
		"GET x HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
		"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const char *r = raw_ask(http_server_port(plain), bad[i]);

		if (strncmp(r, "HTTP/1.1 400 ", 13) != 0)
			fail_msg("not refused: \"%s\": \"%.60s\"", bad[i], r);
	}
	assert_starts(raw_ask(http_server_port(plain), "GET / HTTP/2.0\r\nHost: x\r\n\r\n"), "HTTP/1.1 505 ");
	assert_starts(raw_ask(http_server_port(plain),
			      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
		"HTTP/1.1 501 ");
}

static void has_limits(void **state)
{
	auto_buf struct buf b = BUF_INIT;

	buf_c(&b, "GET / HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 200; i++)
		buf_printf(&b, "X-%d: %050d\r\n", i, i);
	buf_c(&b, "\r\n");
	buf_byte(&b, 0);
	assert_starts(raw_ask(http_server_port(plain), b.p), "HTTP/1.1 431 ");
	const char *said =
		raw_ask(http_server_port(plain), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\nabc");
	assert_starts(said, "HTTP/1.1 413 ");
	assert_non_null(strstr(said, "application/json"));
	assert_non_null(strstr(said, "{\"code\":413}"));
	buf_reset(&b);
	buf_c(&b, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1ffff\r\n");
	for (int i = 0; i < 0x1ffff; i++)
		buf_byte(&b, 'x');
	buf_c(&b, "\r\n0\r\n\r\n");
	buf_byte(&b, 0);
	assert_starts(raw_ask(http_server_port(plain), b.p), "HTTP/1.1 413 ");
}

static void hurries_slow_clients(void **state)
{
	struct http_server_opts o = {
		.address = "127.0.0.1", .loops = loops, .n_loops = 2, .handle = handle, .header_ms = 400, .idle_ms = 700
	};
	auto_(http_server_free) struct http_server *hasty = NULL;

	OK(http_server_new(&o, &hasty, oke));
	struct mono from = mono_now();
	int fd = raw_connect(http_server_port(hasty));
	struct pollfd answer = { .fd = fd, .events = POLLIN };

	raw_send(fd, "GET / HTTP/1.1\r\nHost: x\r\nA: ");
	for (int i = 0; i < 1000 && poll(&answer, 1, 50) == 0; i++)
		(void)send(fd, "a", 1, MSG_NOSIGNAL); /* a drip does not help */
	assert_starts(raw_read(fd, NULL), "HTTP/1.1 408 ");
	close(fd);
	assert_true(mono_ms_between(from, mono_now()) >= 300);

	from = mono_now();
	fd = raw_connect(http_server_port(hasty));
	raw_send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_starts(raw_read(fd, NULL), "HTTP/1.1 200 "); /* then idle until the server closes */
	close(fd);
	assert_true(mono_ms_between(from, mono_now()) >= 500);
}

/* The first record of a handshake is gathered until it is whole. */
static void takes_a_handshake_in_pieces(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	int fd = raw_connect(http_server_port(secure));
	char hello[4096] = "";

	(void)state;
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	(void)SSL_do_handshake(ssl);
	int n = BIO_read(out, hello, sizeof(hello));
	assert_true(n > 100);
	for (int at = 0; at < n; at += 61) {
		size_t part = (size_t)MIN(61, n - at);
		assert_int_equal(send(fd, hello + at, part, MSG_NOSIGNAL), (ssize_t)part);
		task_sleep_ms(1);
	}
	assert_int_equal(recv(fd, hello, 1, 0), 1);
	assert_int_equal(hello[0], 22); /* the server's part of the handshake */
	close(fd);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}

static void says_continue(void **state)
{
	int fd = raw_connect(http_server_port(plain));

	raw_send(fd,
		"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
	assert_string_equal(raw_read(fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
	raw_send(fd, "abc");
	assert_has(raw_read(fd, NULL), "\r\n\r\nabc");
	close(fd);
}

static void speaks_1_0(void **state)
{
	const char *r = raw_ask(http_server_port(plain), "GET /ticks/2 HTTP/1.0\r\n\r\n");

	assert_null(strstr(r, "chunked"));
	assert_has(r, "tick 000001");
	r = raw_ask(
		http_server_port(plain), "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n");
	assert_has(r, "GET /1 ");
	assert_has(r, "GET /2 ");
}

static void survives_a_vanished_client(void **state)
{
	int before = atomic_load(&closed_streams), pieces = atomic_load(&ended_pieces);
	int fd = raw_connect(http_server_port(plain));

	raw_send(fd, "GET /ticks/1000000 HTTP/1.1\r\nHost: x\r\n\r\n");
	raw_read(fd, "tick 000003");
	close(fd);
	wait_for(&closed_streams, before + 1);

	fd = raw_connect(http_server_port(plain));
	raw_send(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
	raw_read(fd, "bbbb");
	close(fd);
	wait_for(&ended_pieces, pieces + 1);

	/* The handler still has the request when its client resets the connection. */
	int holding = atomic_load(&held_requests);
	fd = raw_connect(http_server_port(plain));
	raw_send(fd, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
	wait_for(&held_requests, holding + 1);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
	close(fd);
	usleep(100000);
	struct http_request *r = atomic_load(&held);
	assert_string_equal(http_path(r).p ? "x" : "", "x");
	struct net_piece p = { str_n(big, 100), NULL, piece_ended };
	http_reply(r, 200, NULL, 0, &p, 1);
	wait_for(&ended_pieces, pieces + 2);
}

/* ---- the client ------------------------------------------------------------------------------ */

static struct http_client *client(bool tls, bool http1_only, struct tls *t)
{
	struct http_client *c = NULL;
	char url[64];

	snprintf(url, sizeof(url), "%s://localhost:%d", tls ? "https" : "http", http_server_port(tls ? secure : plain));
	OK(http_client_new(
		&(struct http_client_opts){ .url = url, .tls = t, .loop = loops[1], .http1_only = http1_only }, &c,
		oke));
	return c;
}

static void ask(
	struct http_client *c, const char *method, const char *path, struct str body, int status, const char *expect)
{
	struct http_header h = { STR("X-Test"), STR("client") };
	struct http_reply r = { 0 };

	OK(http_call(c, method, str_c(path), &h, 1, body, 0, 60000, &r, oke));
	assert_int_equal(r.status, status);
	if (expect)
		assert_true(str_has(buf_view(&r.body), str_c(expect)));
	http_reply_fini(&r);
}

struct mode {
	bool tls, http1;
};
static const struct mode modes[] = { { false, true }, { true, true }, { true, false } };

/* Headers are read before the body is taken: an empty body ends at once, and its owner may hold them. */
static void keeps_headers_that_end_with_the_body(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		auto_(http_client_free) struct http_client *c = client(modes[i].tls, modes[i].http1, client_tls);
		struct http_reply reply;
		bool found = false;

		OK(http_call(c, "GET", STR("/tagged"), NULL, 0, STR_NULL, 0, 0, &reply, oke));
		for (size_t k = 0; k < reply.n_headers; k++)
			found |= str_is(reply.headers[k].name, "etag") && str_is(reply.headers[k].value, "kept");
		assert_true(found);
		http_reply_fini(&reply);
	}
}

/* Two senders that stop in the middle hold most of what all bodies may: a third large one has to wait, a small one not. */
static void bounds_all_bodies_together(void **state)
{
	struct http_server_opts o = { .address = "127.0.0.1",
		.loops = loops,
		.n_loops = 2,
		.handle = handle,
		.body_max = 100000,
		.bodies_max = 250000 };
	auto_buf struct buf whole = BUF_INIT, part = BUF_INIT;
	auto_(http_server_free) struct http_server *clear = NULL, *tls = NULL;
	int fds[2];

	(void)state;
	OK(http_server_new(&o, &clear, oke));
	buf_c(&whole, "POST /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 90000\r\n\r\n");
	buf_add(&whole, big, 90000);
	buf_byte(&whole, 0);
	buf_add(&part, whole.p, whole.n - 101);
	buf_byte(&part, 0);
	assert_starts(raw_ask(http_server_port(clear), whole.p), "HTTP/1.1 204 ");
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = raw_connect(http_server_port(clear));
		raw_send(fds[i], part.p);
	}
	for (int i = 0; i < 12000 && atomic_load(&clear->bodies) < 2 * 90000; i++)
		task_sleep_ms(5); /* until the server has read them */
	const char *said = raw_ask(http_server_port(clear), whole.p);
	assert_starts(said, "HTTP/1.1 429 ");
	assert_non_null(strstr(said, "retry-after: 1\r\n"));
	assert_starts(raw_ask(http_server_port(clear),
			      "POST /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"),
		"HTTP/1.1 204 ");
	close(fds[0]);
	for (int i = 0; i < 12000 && atomic_load(&clear->bodies) >= 2 * 90000; i++)
		task_sleep_ms(5);
	assert_starts(raw_ask(http_server_port(clear), whole.p), "HTTP/1.1 204 ");
	close(fds[1]);

	o.bodies_max = 90000; /* HTTP/2: one large body is too much */
	o.tls = server_tls;
	OK(http_server_new(&o, &tls, oke));
	auto_free char *url = xasprintf("https://localhost:%d", http_server_port(tls));
	auto_(http_client_free) struct http_client *c = NULL;
	OK(http_client_new(&(struct http_client_opts){ .url = url, .tls = client_tls, .loop = loops[0] }, &c, oke));
	ask(c, "POST", "/echo", str_n(big, 99000), 429, NULL);
	ask(c, "POST", "/echo", str_n(big, 60000), 200, "bbbb");
}

static void client_and_server_agree(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		auto_(http_client_free) struct http_client *c = client(modes[i].tls, modes[i].http1, client_tls);
		const char *who = modes[i].tls ? "cn=alice o=first o=second rejected=0" : "cn= rejected=0";

		ask(c, "GET", "/x?y=z", STR_NULL, 200, "GET /x ?y=z");
		ask(c, "POST", "/x", STR("body"), 200, who);
		ask(c, "POST", "/x", STR("body"), 200, "body=4:body x=client");
		ask(c, "PUT", "/echo", str_n(big, 99999), 200, "bbbb");
		ask(c, "POST", "/echo", str_n(big, 100001), 413, "{\"code\":413}");
		ask(c, "GET", "/empty", STR_NULL, 204, NULL);
		ask(c, "HEAD", "/x", STR_NULL, 200, NULL);
		ask(c, "GET", "/x", STR_NULL, 200, modes[i].tls && !modes[i].http1 ? " v2 " : " v1 ");
	}
}

static void check_length(struct http_client *c, const char *method, const char *path, const char *expect)
{
	struct http_reply r = { 0 };
	struct str found = STR_NULL;

	OK(http_call(c, method, str_c(path), NULL, 0, STR_NULL, 0, 60000, &r, oke));
	for (size_t i = 0; i < r.n_headers; i++)
		if (str_is(r.headers[i].name, "content-length"))
			found = r.headers[i].value;
	assert_true(expect ? str_is(found, expect) : !found.p);
	assert_int_equal(r.status, 200);
	http_reply_fini(&r);
}

/* Who passes on what another server says to HEAD knows the length and has no body, or knows neither. */
static void a_head_says_what_get_would(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		auto_(http_client_free) struct http_client *c = client(modes[i].tls, modes[i].http1, client_tls);

		check_length(c, "HEAD", "/length", "12345");
		check_length(c, "GET", "/length", "0");
		check_length(c, "HEAD", "/ticks/2", NULL);
		ask(c, "GET", "/x", STR_NULL, 200, "GET /x");
	}
}

static void moves_big_bodies(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		auto_(http_client_free) struct http_client *c = client(modes[i].tls, modes[i].http1, client_tls);
		int pieces = atomic_load(&ended_pieces);
		struct http_reply r = { 0 };
		struct err e;

		OK(http_call(c, "GET", STR("/big"), NULL, 0, STR_NULL, 0, 60000, &r, oke));
		assert_int_equal(r.body.n, BIG);
		assert_memory_equal(r.body.p, big, BIG);
		http_reply_fini(&r);
		wait_for(&ended_pieces, pieces + 1);
		err_init(&e);
		assert_int_equal(
			http_call(c, "GET", STR("/big"), NULL, 0, STR_NULL, 1000000, 60000, &r, &e), -ERR_TOO_LARGE);
		wait_for(&ended_pieces, pieces + 2);
	}
}

/* What was made to be sent as one piece goes as many, and the connection closes after the last. */
static void moves_big_bodies_through_narrow_sockets(void **state)
{
	static const struct http_header close_it = { { "connection", 10 }, { "close", 5 } };

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		auto_(http_client_free) struct http_client *c = client(modes[i].tls, modes[i].http1, client_tls);
		int pieces = atomic_load(&ended_pieces);
		struct http_reply r;

		for (int k = 0; k < 4; k++) {
			ask(c, "GET", "/narrow", STR_NULL, 204, NULL);
			OK(http_call(c, "GET", STR("/big"), &close_it, k % 2, STR_NULL, 0, 60000, &r, oke));
			assert_int_equal(r.body.n, BIG);
			assert_memory_equal(r.body.p, big, BIG);
			http_reply_fini(&r);
		}
		wait_for(&ended_pieces, pieces + 4);
	}
}

static void streams_with_back_pressure(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		auto_(http_client_free) struct http_client *c = client(modes[i].tls, modes[i].http1, client_tls);
		auto_(http_download_free) struct http_download *d = NULL;
		auto_buf struct buf b = BUF_INIT;
		struct err e;
		int status, r;

		err_init(&e);
		OK(http_open(c, "GET", STR("/ticks/20000"), NULL, 0, STR_NULL, 60000, &status, &d, oke));
		assert_int_equal(status, 200);
		usleep(100000); /* a slow reader */
		assert_true(call_unread(*(struct call **)d) < 2 * CALL_HIGH + 2 * LOOP_SCRATCH);
		while ((r = http_download_read(d, &b, 60000, &e)) == 1)
			;
		assert_int_equal(r, 0);
		assert_int_equal(b.n, 20000 * 1013);
		assert_memory_equal(b.p + b.n - 1013, "tick 019999", 11);
	}
}

struct saying {
	const struct net_piece *p;
	size_t n;
	bool end;
	atomic_int done;
};

static void say_to_all(void *arg)
{
	struct saying *w = arg;

	for (int i = 0; i < atomic_load(&fan.n); i++) {
		pthread_mutex_lock(&fan.lock);
		if (fan.s[i])
			http_stream_write(fan.s[i], w->p, w->n);
		if (fan.s[i] && w->end)
			http_stream_end(fan.s[i]);
		pthread_mutex_unlock(&fan.lock);
	}
	atomic_store(&w->done, 1);
}

/* From another thread, or on a loop, whose own streams hear it at once. */
static void write_to_all(const struct net_piece *p, size_t n, bool end, struct net_loop *on)
{
	struct saying w = { .p = p, .n = n, .end = end };

	if (on)
		net_loop_post(on, say_to_all, &w);
	else
		say_to_all(&w);
	wait_for(&w.done, 1);
}

/* Whoever says it, it comes whole and in order; every piece ends, also of one that went away. */
static void tells_many_streams(void **state)
{
	for (size_t m = 0; m < ARRAY_LEN(modes); m++) {
		auto_(http_client_free) struct http_client *c = client(modes[m].tls, modes[m].http1, client_tls);
		struct http_download *d[FAN];
		struct net_piece small[12], large = { str_n(big, 20000), NULL, piece_ended };
		auto_buf struct buf want = BUF_INIT;
		int status, n = modes[m].http1 ? 6 : FAN, before = atomic_load(&closed_streams), ended;
		struct err e;

		err_init(&e);
		atomic_store(&fan.n, 0);
		for (int i = 0; i < n; i++)
			OK(http_open(c, "GET", STR("/fan"), NULL, 0, STR_NULL, 60000, &status, &d[i], oke));
		wait_for(&fan.n, n);
		for (size_t i = 0; i < ARRAY_LEN(small); i++)
			small[i] = (struct net_piece){ str_n(&"abcdefghijklm"[i], 1 + i % 2), NULL, piece_ended };
		ended = atomic_load(&ended_pieces);
		for (int round = 0; round < 30; round++) {
			if (round == 10)
				http_download_free(TAKE(d[0]));
			if (round == 20)
				wait_for(&closed_streams, before + 1);
			write_to_all(round % 7 == 3 ? &large : small, round % 7 == 3 ? 1 : ARRAY_LEN(small), false,
				round % 3 == 2 ? NULL : loops[round % 3]);
			if (round % 7 == 3)
				buf_str(&want, large.bytes);
			for (size_t i = 0; round % 7 != 3 && i < ARRAY_LEN(small); i++)
				buf_str(&want, small[i].bytes);
		}
		write_to_all(small, 1, true, loops[0]);
		buf_str(&want, small[0].bytes);
		for (int i = 1; i < n; i++) {
			auto_buf struct buf got = BUF_INIT;
			int r;

			while ((r = http_download_read(d[i], &got, 60000, &e)) == 1)
				;
			assert_int_equal(r, 0);
			assert_int_equal(got.n, want.n);
			assert_memory_equal(got.p, want.p, want.n);
			http_download_free(d[i]);
		}
		wait_for(&closed_streams, before + n);
		wait_for(&ended_pieces, ended + n * (10 * 12 - 11) + (n - 1) * (10 * 12 - 22 + 1));
	}
}

static void *cancel_later(void *arg)
{
	usleep(50000);
	http_download_cancel(arg);
	return NULL;
}

static void cancels_and_times_out(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		auto_(http_client_free) struct http_client *c = client(modes[i].tls, modes[i].http1, client_tls);
		auto_(http_download_free) struct http_download *d = NULL;
		auto_buf struct buf b = BUF_INIT;
		struct http_reply reply;
		int status, r, before = atomic_load(&closed_streams), holding = atomic_load(&held_requests);
		pthread_t t;
		struct err e;

		err_init(&e);
		OK(http_open(c, "GET", STR("/ticks/1000000000"), NULL, 0, STR_NULL, 60000, &status, &d, oke));
		pthread_create(&t, NULL, cancel_later, d);
		while ((r = http_download_read(d, &b, 60000, &e)) == 1)
			buf_reset(&b);
		pthread_join(t, NULL);
		assert_int_equal(r, -ERR_CANCELED);
		wait_for(&closed_streams, before + 1); /* the server heard of it */

		assert_int_equal(
			http_call(c, "GET", STR("/hold"), NULL, 0, STR_NULL, 0, 1000, &reply, &e), -ERR_TIMEOUT);
		wait_for(&held_requests, holding + 1);
		usleep(20000);
		http_reply_text(atomic_load(&held), 200, "text/plain", STR("too late"));
		ask(c, "GET", "/x", STR_NULL, 200, "GET /x");
	}
}

#define CALLERS 16
#define CALLS 50
static void *call_many(void *arg)
{
	for (int i = 0; i < CALLS; i++)
		ask(arg, i % 2 ? "GET" : "POST", "/echo", i % 2 ? STR_NULL : STR("same"), 200, i % 2 ? NULL : "same");
	return NULL;
}

static void serves_many_callers(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		auto_(http_client_free) struct http_client *c = client(modes[i].tls, modes[i].http1, client_tls);
		pthread_t t[CALLERS];

		for (int k = 0; k < CALLERS; k++)
			pthread_create(&t[k], NULL, call_many, c);
		for (int k = 0; k < CALLERS; k++)
			pthread_join(t[k], NULL);
	}
}

static void connects_again(void **state)
{
	auto_(http_client_free) struct http_client *c = client(true, false, client_tls);

	ask(c, "GET", "/x", STR_NULL, 200, " v2 ");
	usleep(1200000); /* the server closes idle connections after 0.7 s */
	ask(c, "POST", "/x", STR_NULL, 200, " v2 ");
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static void knows_strangers(void **state)
{
	auto_(http_client_free) struct http_client *c = client(true, false, nobody_tls);
	auto_(http_client_free) struct http_client *d = NULL;
	auto_(tls_free) struct tls *wrong = NULL, *forged = NULL;
	struct http_reply r;
	struct err e;
	char url[64];

	ask(c, "GET", "/x", STR_NULL, 200, "cn= rejected=0");
	err_init(&e);
	OK(tls_new(&(struct tls_opts){ .ca_file = certs.other_ca }, &wrong, oke));
	d = client(true, false, wrong);
	assert_int_equal(http_call(d, "GET", STR("/"), NULL, 0, STR_NULL, 0, 60000, &r, &e), -ERR_UNAVAILABLE);
	assert_has(e.message, "not trusted");

	/* The right authority, the wrong name. */
	http_client_free(d);
	snprintf(url, sizeof(url), "https://127.0.0.1:%d", http_server_port(secure));
	OK(http_client_new(
		&(struct http_client_opts){
			.url = url, .tls = client_tls, .loop = loops[0], .server_name = "elsewhere" },
		&d, oke));
	assert_int_equal(http_call(d, "GET", STR("/"), NULL, 0, STR_NULL, 0, 60000, &r, &e), -ERR_UNAVAILABLE);

	/* A client certificate from an authority that the server does not know: no handshake error, but no identity. */
	EVP_PKEY *key;
	X509_free(make_cert("root", "system:masters", NULL, NULL, certs.other_ca, certs.client_key, &key));
	EVP_PKEY_free(key);
	OK(tls_new(&(struct tls_opts){ certs.other_ca, certs.client_key, certs.ca, false, false }, &forged, oke));
	http_client_free(d);
	d = client(true, false, forged);
	ask(d, "GET", "/x", STR_NULL, 200, "cn= rejected=1");
}

static void reloads_certificates(void **state)
{
	struct err e;

	err_init(&e);
	OK(tls_reload(server_tls, oke));
	auto_(http_client_free) struct http_client *c = client(true, false, nobody_tls);
	ask(c, "GET", "/x", STR_NULL, 200, "GET /x");
	char *old = xasprintf("%s.away", certs.server);
	assert_int_equal(rename(certs.server, old), 0);
	assert_true(tls_reload(server_tls, &e) < 0); /* and the old one stays */
	auto_(http_client_free) struct http_client *d = client(true, false, nobody_tls);
	ask(d, "GET", "/x", STR_NULL, 200, "GET /x");
	assert_int_equal(rename(old, certs.server), 0);
	free(old);
}

/* What a server agrees on with a client that offers these, each at most once. */
static const char *cipher_for(const char *suites, const char *list, int version)
{
	SSL *s, *c;
	BIO *near, *far;
	const char *ret;

	OK((s = tls_session(server_tls, NULL, true, oke)) ? 0 : -1);
	OK((c = tls_session(nobody_tls, NULL, true, oke)) ? 0 : -1);
	SSL_set_verify(c, SSL_VERIFY_NONE, NULL);
	SSL_set_max_proto_version(c, version);
	assert_true(!suites || SSL_set_ciphersuites(c, suites));
	assert_true(!list || SSL_set_cipher_list(c, list));
	assert_true(BIO_new_bio_pair(&near, 0, &far, 0));
	SSL_set_bio(c, near, near);
	SSL_set_bio(s, far, far);
	for (int i = 0; i < 10 && !(SSL_is_init_finished(c) && SSL_is_init_finished(s)); i++) {
		SSL_do_handshake(c);
		SSL_do_handshake(s);
	}
	assert_true(SSL_is_init_finished(c) && SSL_is_init_finished(s));
	ret = SSL_get_cipher_name(c);
	SSL_free(c);
	SSL_free(s);
	return ret; /* static */
}

static void chooses_the_cipher(void **state)
{
	assert_string_equal(cipher_for(NULL, NULL, TLS1_3_VERSION), "TLS_AES_128_GCM_SHA256");
	assert_string_equal(cipher_for("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", NULL, TLS1_3_VERSION),
		"TLS_CHACHA20_POLY1305_SHA256");
	assert_string_equal(cipher_for("TLS_AES_256_GCM_SHA384", NULL, TLS1_3_VERSION), "TLS_AES_256_GCM_SHA384");
	assert_string_equal(cipher_for(NULL, NULL, TLS1_2_VERSION), "ECDHE-ECDSA-AES128-GCM-SHA256");
	assert_string_equal(
		cipher_for(NULL, "ECDHE-ECDSA-AES256-SHA:@STRENGTH", TLS1_2_VERSION), "ECDHE-ECDSA-AES256-SHA");
}

static void reports_a_taken_port(void **state)
{
	struct http_server *s = NULL;
	struct err e;

	err_init(&e);
	assert_int_equal(http_server_new(&(struct http_server_opts){ .address = "127.0.0.1",
						 .port = http_server_port(plain),
						 .loops = loops,
						 .n_loops = 1,
						 .handle = handle },
				 &s, &e),
		-ERR_CONFLICT);
	assert_has(e.message, "is taken");
}

/* Requests in flight, streams and clients when everything is torn down at once. */
static void ends_in_the_middle(void **state)
{
	struct net_loop *l = net_loop_new("end");
	struct http_server *s = NULL;
	struct http_client *c = NULL;
	struct http_download *d = NULL;
	struct http_reply r;
	struct err e;
	int status, before = atomic_load(&closed_streams), holding = atomic_load(&held_requests);
	char url[64];

	err_init(&e);
	OK(http_server_new(
		&(struct http_server_opts){
			.address = "127.0.0.1", .loops = &l, .n_loops = 1, .handle = handle, .tls = server_tls },
		&s, oke));
	snprintf(url, sizeof(url), "https://127.0.0.1:%d", http_server_port(s));
	OK(http_client_new(&(struct http_client_opts){ .url = url, .tls = nobody_tls, .loop = l }, &c, oke));
	OK(http_open(c, "GET", STR("/ticks/1000000000"), NULL, 0, STR_NULL, 60000, &status, &d, oke));
	assert_int_equal(http_call(c, "GET", STR("/hold"), NULL, 0, STR_NULL, 0, 100, &r, &e), -ERR_TIMEOUT);
	wait_for(&held_requests, holding + 1);
	http_server_free(s);
	wait_for(&closed_streams, before + 1);
	http_client_free(c);
	net_loop_free(l);
	http_reply_text(atomic_load(&held), 200, NULL, STR("nobody")); /* after its loop */
	auto_buf struct buf b = BUF_INIT;
	int n;
	while ((n = http_download_read(d, &b, 1000, &e)) == 1)
		;
	assert_true(n < 0);
	http_download_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_a_request),
		cmocka_unit_test(keeps_order_when_pipelined),
		cmocka_unit_test(refuses_ambiguity),
		cmocka_unit_test(has_limits),
		cmocka_unit_test(bounds_all_bodies_together),
		cmocka_unit_test(hurries_slow_clients),
		cmocka_unit_test(takes_a_handshake_in_pieces),
		cmocka_unit_test(says_continue),
		cmocka_unit_test(speaks_1_0),
		cmocka_unit_test(survives_a_vanished_client),
		cmocka_unit_test(keeps_headers_that_end_with_the_body),
		cmocka_unit_test(client_and_server_agree),
		cmocka_unit_test(a_head_says_what_get_would),
		cmocka_unit_test(moves_big_bodies),
		cmocka_unit_test(moves_big_bodies_through_narrow_sockets),
		cmocka_unit_test(streams_with_back_pressure),
		cmocka_unit_test(tells_many_streams),
		cmocka_unit_test(cancels_and_times_out),
		cmocka_unit_test(serves_many_callers),
		cmocka_unit_test(connects_again),
		cmocka_unit_test(reloads_certificates),
		cmocka_unit_test(knows_strangers),
		cmocka_unit_test(chooses_the_cipher),
		cmocka_unit_test(reports_a_taken_port),
		cmocka_unit_test(ends_in_the_middle),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* The HTTP server and client against each other and against raw bytes, on real loopback connections: heads and requests. */
#include "net/http_fixture.h"

static void handle(void *arg, struct http_request *r)
{
	static const struct http_header length = { { "content-length", 14 }, { "12345", 5 } };

	if (str_is(http_path(r), "/length"))
		http_reply(r, 200, &length, 1, NULL, 0);
	else
		answer(arg, r);
}

static int set_up(void **state)
{
	return servers_start(handle, 2);
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

/* ---- a client and its server ----------------------------------------------------------------- */

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

static void wait_until_alone(struct http_server *s)
{
	size_t live = 1;

	for (int i = 0; i < 60000 && live; i++) {
		task_sleep_ms(1);
		task_lock(&s->lock);
		live = s->live;
		task_unlock(&s->lock);
	}
	assert_int_equal(live, 0);
}

/* A client whose connection the server closed, as nothing was asked on it for a while, opens another one. */
static void connects_again(void **state)
{
	struct http_server_opts o = { .address = "127.0.0.1",
		.tls = server_tls,
		.loops = loops,
		.n_loops = 2,
		.handle = handle,
		.idle_ms = 100 };
	auto_(http_server_free) struct http_server *hasty = NULL;
	auto_(http_client_free) struct http_client *c = NULL;

	OK(http_server_new(&o, &hasty, oke));
	auto_free char *url = xasprintf("https://localhost:%d", http_server_port(hasty));
	OK(http_client_new(&(struct http_client_opts){ .url = url, .tls = client_tls, .loop = loops[1] }, &c, oke));
	ask(c, "GET", "/x", STR_NULL, 200, " v2 ");
	wait_until_alone(hasty);
	ask(c, "POST", "/x", STR_NULL, 200, " v2 ");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_a_request),
		cmocka_unit_test(keeps_order_when_pipelined),
		cmocka_unit_test(refuses_ambiguity),
		cmocka_unit_test(has_limits),
		cmocka_unit_test(hurries_slow_clients),
		cmocka_unit_test(says_continue),
		cmocka_unit_test(speaks_1_0),
		cmocka_unit_test(client_and_server_agree),
		cmocka_unit_test(a_head_says_what_get_would),
		cmocka_unit_test(serves_many_callers),
		cmocka_unit_test(connects_again),
		cmocka_unit_test(reports_a_taken_port),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

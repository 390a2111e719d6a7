/* The HTTP server and client against each other: bodies, streams, and what goes away in their middle. */
#include "net/http_fixture.h"

static atomic_int ended_pieces, held_requests;
static struct http_request *_Atomic held;

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

static void handle(void *arg, struct http_request *r)
{
	struct str path = http_path(r);
	struct net_piece all = { str_n(big, BIG), NULL, piece_ended };

	if (str_is(path, "/big")) {
		http_reply(r, 200, NULL, 0, &all, 1);
	} else if (str_is(path, "/fan")) {
		join_fan(r);
	} else if (str_is(path, "/hold")) {
		atomic_store(&held, r);
		atomic_fetch_add(&held_requests, 1);
	} else if (str_is(path, "/tagged")) {
		tagged(r);
	} else if (str_is(path, "/narrow")) {
		narrow(r);
	} else {
		answer(arg, r);
	}
}

static int set_up(void **state)
{
	return servers_start(handle, 2);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* Two senders that stop in the middle hold most of what all bodies may: a third large one has to wait, a small one not. */
static void bounds_all_bodies_together(void **state)
{
	struct http_server_opts o = { .address = "127.0.0.1",
		.loops = loops,
		.n_loops = 2,
		.handle = handle,
		.body_max = 100000,
		.bodies_max = 200000 };
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
	for (int i = 0; i < 12000 && atomic_load(&clear->arriving.held) < 2 * 70000; i++)
		task_sleep_ms(5); /* until the server has read them */
	const char *said = raw_ask(http_server_port(clear), whole.p);
	assert_starts(said, "HTTP/1.1 429 ");
	assert_non_null(strstr(said, "retry-after: 1\r\n"));
	assert_starts(raw_ask(http_server_port(clear),
			      "POST /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"),
		"HTTP/1.1 204 ");
	close(fds[0]);
	for (int i = 0; i < 12000 && atomic_load(&clear->arriving.held) >= 2 * 70000; i++)
		task_sleep_ms(5);
	assert_starts(raw_ask(http_server_port(clear), whole.p), "HTTP/1.1 204 ");
	close(fds[1]);

	o.bodies_max = 60000; /* HTTP/2: one large body is too much */
	o.tls = server_tls;
	OK(http_server_new(&o, &tls, oke));
	auto_free char *url = xasprintf("https://localhost:%d", http_server_port(tls));
	auto_(http_client_free) struct http_client *c = NULL;
	OK(http_client_new(&(struct http_client_opts){ .url = url, .tls = client_tls, .loop = loops[0] }, &c, oke));
	ask(c, "POST", "/echo", str_n(big, 99000), 429, NULL);
	ask(c, "POST", "/echo", str_n(big, 60000), 200, "bbbb");
}

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

/* ---- streams --------------------------------------------------------------------------------- */

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

/* ---- who goes away in the middle ------------------------------------------------------------- */

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

static void count(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

/* One thread asks three: who is silent keeps nobody waiting. */
static void asks_without_waiting(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		auto_(http_client_free) struct http_client *c = client(modes[i].tls, modes[i].http1, client_tls);
		const char *paths[] = { "/hold", "/tagged", "/big" };
		struct http_asked *asked[3];
		atomic_int ready[3] = { 0 };
		struct http_reply r = { 0 };
		int holding = atomic_load(&held_requests);
		struct err e;

		err_init(&e);
		for (int k = 0; k < 3; k++)
			asked[k] = http_ask(c, "GET", str_c(paths[k]), NULL, 0, STR_NULL, 1000, count, &ready[k]);
		wait_for(&ready[1], 1);
		OK(http_asked_take(asked[1], &r, oke));
		assert_int_equal(r.status, 200);
		http_reply_fini(&r);
		wait_for(&ready[2], 1);
		assert_int_equal(http_asked_take(asked[2], &r, &e), -ERR_TOO_LARGE);
		wait_for(&held_requests, holding + 1);
		assert_int_equal(http_asked_take(asked[0], &r, &e), -ERR_TIMEOUT);
		for (int k = 0; k < 3; k++)
			http_asked_free(asked[k]);
		http_reply_text(atomic_load(&held), 200, "text/plain", STR("too late"));
		ask(c, "GET", "/x", STR_NULL, 200, "GET /x");
		assert_int_equal(atomic_load(&ready[0]), 0); /* who gave up hears no more of it */
	}
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
	struct http_request *r = atomic_load(&held);
	assert_false(http_gone(r));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
	close(fd);
	while (!http_gone(r))
		usleep(1000);
	assert_string_equal(http_path(r).p ? "x" : "", "x");
	struct net_piece p = { str_n(big, 100), NULL, piece_ended };
	http_reply(r, 200, NULL, 0, &p, 1);
	wait_for(&ended_pieces, pieces + 2);
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
		cmocka_unit_test(bounds_all_bodies_together),
		cmocka_unit_test(keeps_headers_that_end_with_the_body),
		cmocka_unit_test(moves_big_bodies),
		cmocka_unit_test(moves_big_bodies_through_narrow_sockets),
		cmocka_unit_test(streams_with_back_pressure),
		cmocka_unit_test(tells_many_streams),
		cmocka_unit_test(cancels_and_times_out),
		cmocka_unit_test(asks_without_waiting),
		cmocka_unit_test(survives_a_vanished_client),
		cmocka_unit_test(ends_in_the_middle),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* Pipes, upgrades, splices, WebSocket and SPDY, on real loopback connections. */
#include "net/net_internal.h"
#include "net/net_test.h"
#include "net/spdy_internal.h"
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <time.h>
#include <zlib.h>

#define MUCH ((size_t)8 << 20)
static struct net_loop *loops[2];
static struct http_server *server;
static struct http_client *self; /* of the server, on the other loop */
static atomic_int closed_pipes;

/* ---- plain connections: done with a pipe, or with NULL and why (then closed() does not run) ---- */

struct plain {
	struct net_pipe *p;
	void (*done)(void *arg, struct net_pipe *p, const struct err *e);
	void *arg;
};

static void plain_done(void *arg, struct conn *c, const char *why)
{
	struct plain *x = arg;

	if (c) {
		x->done(x->arg, x->p, NULL);
		pipe_attach(x->p, c, STR_NULL);
	} else {
		struct err e;

		err_init(&e);
		err_set(&e, ERR_UNAVAILABLE, "%s", why);
		pipe_discard(x->p);
		x->done(x->arg, NULL, &e);
	}
	free(x);
}

static void plain_connect(struct net_loop *l, const char *target,
	void (*done)(void *arg, struct net_pipe *p, const struct err *e), const struct net_pipe_ops *ops, void *arg)
{
	struct plain *x = xmalloc(sizeof(*x));

	*x = (struct plain){ .p = pipe_new(l, ops, arg), .done = done, .arg = arg };
	dial(l, &(struct dial_opts){ .target = target, .ms = 10000, .done = plain_done, .arg = x });
}

/* ---- the server: /echo, /splice (to /echo), /ws ---------------------------------------------- */

struct echo {
	pthread_mutex_t lock;
	struct net_pipe *p;
};

static void echo_data(void *arg, struct str bytes)
{
	struct echo *x = arg;

	pthread_mutex_lock(&x->lock);
	struct net_pipe *p = x->p;
	pthread_mutex_unlock(&x->lock);
	if (!bytes.n) {
		net_pipe_end(p);
		return;
	}
	net_pipe_write(p, bytes);
	net_pipe_pause(p, net_pipe_unsent(p) > 100000);
}

static void echo_writable(void *arg)
{
	net_pipe_pause(((struct echo *)arg)->p, false);
}

static void echo_closed(void *arg)
{
	free(arg);
	atomic_fetch_add(&closed_pipes, 1);
}

static const struct net_pipe_ops echo_ops = { echo_data, echo_writable, echo_closed };

static void ignore_data(void *arg, struct str bytes)
{
}

static void stuck_nudge(void *arg)
{
	net_pipe_write(((struct echo *)arg)->p, STR("still there?"));
}

static const struct net_pipe_ops flood_ops = { .data = ignore_data, .closed = echo_closed };
static const struct net_pipe_ops stuck_ops = { .data = ignore_data, .closed = echo_closed, .nudge = stuck_nudge };

static atomic_int splices_over;

static void splice_over(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void splice_established(
	void *arg, struct net_pipe *p, int status, const struct http_header *h, size_t n, struct str body)
{
	struct http_request *r = arg;

	if (status == 101)
		net_splice(http_upgrade(r, h, n, NULL, NULL), p, splice_over, &splices_over);
	else
		http_reply_text(r, status, "text/plain", body);
}

static void splice_failed(void *arg, const struct err *e)
{
	http_reply_text(arg, 502, "text/plain", str_c(e->message));
}

static const struct http_upgraded splice_done = { splice_established, splice_failed };

struct ws {
	struct websocket *w;
};

static void ws_message(void *arg, bool binary, struct str bytes)
{
	struct ws *x = arg;

	if (str_is(bytes, "rest"))
		websocket_pause(x->w, true);
	else if (str_is(bytes, "bye"))
		websocket_close(x->w, 1001, "as you wish");
	else
		websocket_send(x->w, binary, (struct str[]){ STR("<"), bytes, STR(">") }, 3);
}

static const struct websocket_ops ws_ops = { .message = ws_message, .closed = echo_closed };

static void handle(void *arg, struct http_request *r)
{
	struct http_header upgrade = { STR("upgrade"), STR("echo") };

	if (str_is(http_path(r), "/echo") || str_is(http_path(r), "/stuck")) {
		struct echo *x = xcalloc(1, sizeof(*x));

		pthread_mutex_init(&x->lock, NULL);
		pthread_mutex_lock(&x->lock);
		x->p = http_upgrade(r, &upgrade, 1, str_is(http_path(r), "/echo") ? &echo_ops : &stuck_ops, x);
		net_pipe_pause(x->p, str_is(http_path(r), "/stuck"));
		pthread_mutex_unlock(&x->lock);
	} else if (str_is(http_path(r), "/flood")) {
		auto_free char *much = xcalloc(1, MUCH);

		net_pipe_write(http_upgrade(r, &upgrade, 1, &flood_ops, xcalloc(1, 1)), str_n(much, MUCH));
	} else if (str_starts(http_path(r), STR("/splice"))) {
		struct http_header h[] = { { STR("connection"), STR("Upgrade") }, upgrade };
		struct str to = str_is(http_path(r), "/splice") ? STR("/echo") :
			str_is(http_path(r), "/splice-stuck")   ? STR("/stuck") :
			str_is(http_path(r), "/splice-flood")   ? STR("/flood") :
								  STR("/refuse");

		http_client_upgrade(self, "POST", to, h, 2, &splice_done, NULL, r);
	} else if (str_is(http_path(r), "/ws")) {
		struct ws *x = xcalloc(1, sizeof(*x));

		x->w = websocket_accept(r, "chat", &ws_ops, x);
	} else {
		http_reply_text(r, 403, "text/plain", STR("no"));
	}
}

static int set_up(void **state)
{
	char url[64];

	loops[0] = net_loop_new("test-0");
	loops[1] = net_loop_new("test-1");
	OK(http_server_new(
		&(struct http_server_opts){ .address = "127.0.0.1", .loops = loops, .n_loops = 2, .handle = handle },
		&server, oke));
	snprintf(url, sizeof(url), "http://127.0.0.1:%d", http_server_port(server));
	OK(http_client_new(&(struct http_client_opts){ .url = url, .loop = loops[1] }, &self, oke));
	return 0;
}

static int tear_down(void **state)
{
	http_client_free(self);
	http_server_free(server);
	net_loop_free(loops[0]);
	net_loop_free(loops[1]);
	return 0;
}

/* ---- pipes ----------------------------------------------------------------------------------- */

#define UPGRADE(path) "POST " path " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

static void *write_much(void *arg)
{
	char block[4096];
	int fd = *(int *)arg;

	for (size_t i = 0; i < MUCH / sizeof(block); i++) {
		memset(block, 'a' + (int)(i % 26), sizeof(block));
		for (size_t at = 0; at < sizeof(block);)
			at += (size_t)MAX(send(fd, block + at, sizeof(block) - at, MSG_NOSIGNAL), (ssize_t)0);
	}
	shutdown(fd, SHUT_WR);
	return NULL;
}

static void echo_much(const char *request, int pipes)
{
	int fd = raw_connect(http_server_port(server)), before = atomic_load(&closed_pipes);
	pthread_t t;
	size_t n = 0;

	raw_send(fd, request);
	const char *head = raw_read(fd, "\r\n\r\n");
	assert_starts(head, "HTTP/1.1 101 ");
	assert_has(head, "upgrade: echo\r\n");
	pthread_create(&t, NULL, write_much, &fd);
	usleep(100000); /* so that everything fills up */
	for (;;) {
		char block[65536];
		ssize_t r = recv(fd, block, sizeof(block), 0);

		if (r <= 0)
			break;
		for (ssize_t i = 0; i < r; i++, n++)
			if (block[i] != (char)('a' + n / 4096 % 26))
				fail_msg("byte %zu is wrong: %d, not %d", n, block[i],
					(int)((size_t)97 + n / 4096 % 26));
	}
	pthread_join(t, NULL);
	close(fd);
	assert_int_equal(n, MUCH);
	wait_for(&closed_pipes, before + pipes);
}

static void upgrades_and_half_closes(void **state)
{
	echo_much(UPGRADE("/echo"), 1);
}

static void splices_across_loops(void **state)
{
	echo_much(UPGRADE("/splice"), 1);
	for (int i = 0; i < 8; i++) { /* clients that vanish */
		int fd = raw_connect(http_server_port(server)), before = atomic_load(&closed_pipes);

		raw_send(fd, UPGRADE("/splice"));
		raw_send(fd, "ahead");
		raw_read(fd, i % 2 ? "\r\n\r\nahead" : "\r\n\r\n");
		close(fd);
		wait_for(&closed_pipes, before + 1);
	}
	wait_for(&splices_over, 9);
	assert_starts(
		raw_ask(http_server_port(server), "POST /splice-no HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
		"HTTP/1.1 403 ");
}

/* ---- pipes that are stuck -------------------------------------------------------------------- */

/* A connection that sends into a pipe nobody reads, until nothing more goes. */
static int stick(const char *request)
{
	static const char block[65536];
	int fd = raw_connect(http_server_port(server));
	struct timeval tv = { .tv_usec = 300000 };

	raw_send(fd, request);
	assert_starts(raw_read(fd, "\r\n\r\n"), "HTTP/1.1 101 ");
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	while (send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0)
		;
	return fd;
}

static void vanish(int fd)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* Something that is done on a loop: for how many connections, which of them were in good hands, and how often. */
struct visit {
	struct net_msg msg;
	atomic_int found, watched, age;
};

static void notices_a_reset_while_paused(void **state)
{
	int before = atomic_load(&closed_pipes), fd = stick(UPGRADE("/stuck") "ahead");

	assert_int_equal(atomic_load(&closed_pipes), before);
	vanish(fd);
	wait_for(&closed_pipes, before + 1);

	fd = raw_connect(
		http_server_port(server)); /* urgent bytes, while the pipe is paused, cost nothing and break nothing */
	raw_send(fd, UPGRADE("/stuck"));
	raw_read(fd, "\r\n\r\n");
	raw_send(fd, "x");
	usleep(100000);
	assert_int_equal(send(fd, "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
	clock_t cpu = clock();
	usleep(200000);
	assert_in_range(clock() - cpu, 0, CLOCKS_PER_SEC / 10);
	close(fd);
}

/* Lets the time pass of which pipes wait while they are paused. */
static void pass_time(struct net_msg *m)
{
	struct visit *v = container_of(m, struct visit, msg);

	for (int i = 0; i < 2; i++)
		for (struct conn *c = loop_here(loops[i]) ? loops[i]->conns : NULL; c; c = c->next)
			if (c->accepted && c->paused && !c->closing && uv_is_active((uv_handle_t *)&c->timer))
				c->ops->timeout(c);
	atomic_fetch_add(&v->age, 1);
}

static void visit_all(struct visit *v)
{
	for (int i = 0; i < 2; i++) {
		int age = atomic_load(&v->age);

		loop_send(loops[i], &v->msg);
		wait_for(&v->age, age + 1);
	}
}

static void nudge_all(void)
{
	struct visit v = { .msg.run = pass_time };

	visit_all(&v);
	usleep(10000);
}

static void nudge_until_it_says_something(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (poll(&p, 1, 0) != 1)
		nudge_all();
}

/* Who sends more than is read, and hangs up: the end stands behind what is not read. */
static void nudges_who_may_be_gone(void **state)
{
	int before = atomic_load(&closed_pipes), fd = stick(UPGRADE("/stuck"));

	for (int i = 0; i < 2; i++) { /* no answer is needed */
		nudge_until_it_says_something(fd);
		raw_read(fd, "still there?");
	}
	assert_int_equal(atomic_load(&closed_pipes), before);
	close(fd);
	usleep(100000);
	assert_int_equal(atomic_load(&closed_pipes), before);
	nudge_all();
	wait_for(&closed_pipes, before + 1);
}

/* Those whose reader takes nothing; and of them those that are looked at after a while, found alive, and looked at again. */
static void look_at_blocked(struct net_msg *m)
{
	struct visit *v = container_of(m, struct visit, msg);

	for (int i = 0; i < 2; i++)
		for (struct conn *c = loop_here(loops[i]) ? loops[i]->conns : NULL; c; c = c->next) {
			if (!c->accepted || !c->blocked || c->closing)
				continue;
			atomic_fetch_add(&v->found, 1);
			if (!uv_is_active((uv_handle_t *)&c->timer))
				continue;
			c->ops->timeout(c);
			atomic_fetch_add(&v->watched, !c->closing && uv_is_active((uv_handle_t *)&c->timer));
		}
	atomic_fetch_add(&v->age, 1);
}

/* All is said at once, before it shows that nobody takes it; nothing that is said later reminds the pipe to look. */
static void looks_at_what_is_left(void **state)
{
	int before = atomic_load(&closed_pipes), fd = raw_connect(http_server_port(server));
	struct visit v = { .msg.run = look_at_blocked };

	raw_send(fd, UPGRADE("/flood"));
	assert_starts(raw_read(fd, "\r\n\r\n"), "HTTP/1.1 101 ");
	for (int i = 0; i < 6000 && !atomic_load(&v.found); i++) {
		visit_all(&v);
		usleep(10000);
	}
	assert_int_equal(atomic_load(&v.found), 1);
	assert_int_equal(atomic_load(&v.watched), 1);
	vanish(fd);
	wait_for(&closed_pipes, before + 1);
}

/* What is left for the far side of a splice whose client is gone: its connection, and the clock turned by a minute. */
static void find_abandoned(struct net_msg *m)
{
	struct visit *v = container_of(m, struct visit, msg);

	for (struct conn *c = loops[1]->conns; c; c = c->next) {
		uint64_t moved_ms = c->moved_ms;

		if (c->accepted || c->closing || !uv_is_active((uv_handle_t *)&c->timer) || !c->out.n)
			continue;
		c->moved_ms = moved_ms - 30000; /* not yet, however slow the test was */
		c->ops->timeout(c);
		if (c->closing)
			continue;
		c->moved_ms = moved_ms - 60000;
		c->ops->timeout(c);
		c->moved_ms = moved_ms;
		atomic_fetch_add(&v->found, c->closing);
	}
	atomic_fetch_add(&v->age, 1);
}

static void gives_up_what_nobody_takes(void **state)
{
	int before = atomic_load(&closed_pipes), fd = stick(UPGRADE("/splice-stuck"));
	struct visit v = { .msg.run = find_abandoned };

	vanish(fd);
	for (int i = 1; i < 1000 && !atomic_load(&v.found); i++) {
		usleep(10000);
		loop_send(loops[1], &v.msg);
		wait_for(&v.age, i);
	}
	assert_int_equal(atomic_load(&v.found), 1);
	wait_for(&closed_pipes, before + 1);
}

/* A client that reads nothing of a flood, says that it has no more to say, and vanishes: the flood ends, though its reader
 * had been told of the first end before the second. */
static void ends_what_nobody_reads(void **state)
{
	int before = atomic_load(&closed_pipes), fd = raw_connect(http_server_port(server));

	raw_send(fd, UPGRADE("/splice-flood"));
	assert_starts(raw_read(fd, "\r\n\r\n"), "HTTP/1.1 101 ");
	usleep(100000); /* so that everything fills up */
	shutdown(fd, SHUT_WR);
	usleep(100000);
	assert_int_equal(atomic_load(&closed_pipes), before);
	vanish(fd);
	wait_for(&closed_pipes, before + 1);
}

/* TCP_USER_TIMEOUT would end those, too, whose reader pauses for longer. */
static void look_at_timeouts(struct net_msg *m)
{
	struct visit *v = container_of(m, struct visit, msg);
	int ms;
	socklen_t n = sizeof(ms);

	for (struct conn *c = loops[1]->conns; c; c = c->next)
		if (getsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, &n) == 0 && ms)
			atomic_fetch_add(&v->found, 1);
	atomic_fetch_add(&v->age, 1);
}

static int impatient(void)
{
	struct visit v = { .msg.run = look_at_timeouts };

	loop_send(loops[1], &v.msg);
	wait_for(&v.age, 1);
	return atomic_load(&v.found);
}

static void waits_for_slow_readers(void **state)
{
	int before = impatient(), fd[] = { stick(UPGRADE("/splice-stuck")), stick(UPGRADE("/splice-stuck")) };
	struct http_reply r;

	assert_int_equal(impatient(), before);
	OK(http_call(self, "GET", STR("/"), NULL, 0, STR_NULL, 0, 0, &r, oke));
	http_reply_fini(&r);
	assert_int_equal(impatient(), before + 1); /* who asked for an answer is not for ever patient */
	vanish(fd[0]);
	vanish(fd[1]);
}

static void refuses_upgrade_unasked(void **state)
{
	assert_starts(raw_ask(http_server_port(server), "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
		"HTTP/1.1 400 ");
}

/* ---- WebSocket ------------------------------------------------------------------------------- */

#define HANDSHAKE                                                                                  \
	"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static void frame_send(int fd, int first, const char *text, size_t n)
{
	unsigned char f[14] = { (unsigned char)first };
	size_t k = 2;

	if (n < 126) {
		f[1] = (unsigned char)(0x80 | n);
	} else {
		f[1] = 0x80 | 127;
		for (int i = 0; i < 8; i++)
			f[k++] = (unsigned char)((uint64_t)n >> (56 - 8 * i));
	}
	k += 4; /* a mask of zeroes */
	assert_int_equal(send(fd, f, k, MSG_NOSIGNAL), (ssize_t)k);
	for (size_t at = 0; at < n;)
		at += (size_t)MAX(send(fd, text + at, n - at, MSG_NOSIGNAL), (ssize_t)0);
}

/* Reads one short frame; returns its first byte. */
static int frame_read(int fd, char ret[256])
{
	unsigned char head[2];

	if (recv(fd, head, 2, MSG_WAITALL) != 2)
		return -1;
	assert_true(head[1] < 126);
	if (head[1])
		assert_int_equal(recv(fd, ret, head[1], MSG_WAITALL), head[1]);
	ret[head[1]] = 0;
	return head[0];
}

static int ws_connect(void)
{
	int fd = raw_connect(http_server_port(server));

	raw_send(fd, HANDSHAKE);
	const char *head = raw_read(fd, "\r\n\r\n");
	assert_starts(head, "HTTP/1.1 101 ");
	assert_has(head, "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"); /* RFC 6455, 1.3 */
	assert_has(head, "sec-websocket-protocol: chat\r\n");
	return fd;
}

static void speaks_websocket(void **state)
{
	int fd = ws_connect(), before = atomic_load(&closed_pipes);
	char text[256];

	frame_send(fd, 0x81, "hello", 5);
	assert_int_equal(frame_read(fd, text), 0x81);
	assert_string_equal(text, "<hello>");
	frame_send(fd, 0x02, "in ", 3);
	frame_send(fd, 0x89, "are you there", 13);
	assert_int_equal(frame_read(fd, text), 0x8a);
	assert_string_equal(text, "are you there");
	frame_send(fd, 0x80, "parts", 5);
	assert_int_equal(frame_read(fd, text), 0x82);
	assert_string_equal(text, "<in parts>");
	frame_send(fd, 0x88, "\x03\xe8", 2);
	assert_int_equal(frame_read(fd, text), 0x88);
	assert_int_equal(frame_read(fd, text), -1);
	close(fd);
	wait_for(&closed_pipes, before + 1);

	fd = ws_connect();
	frame_send(fd, 0x81, "bye", 3);
	assert_int_equal(frame_read(fd, text), 0x88);
	assert_memory_equal(text,
		"\x03\xe9"
		"as you wish",
		14);
	frame_send(fd, 0x88, "\x03\xe9", 2);
	assert_int_equal(frame_read(fd, text), -1);
	close(fd);
	wait_for(&closed_pipes, before + 2);
}

static void nudges_over_websockets(void **state)
{
	int fd = ws_connect(), before = atomic_load(&closed_pipes);
	char text[256];

	frame_send(fd, 0x81, "rest", 4);
	nudge_until_it_says_something(fd);
	assert_int_equal(frame_read(fd, text), 0x8a); /* a pong: no answer follows */
	assert_string_equal(text, "");
	vanish(fd);
	wait_for(&closed_pipes, before + 1);
}

static void guards_websockets(void **state)
{
	int before = atomic_load(&closed_pipes), fd = ws_connect();
	char text[256];
	static char big[3 << 20];

	frame_send(fd, 0xc1, "compressed", 10); /* an extension that nobody agreed to */
	assert_int_equal(frame_read(fd, text), 0x88);
	assert_memory_equal(text, "\x03\xea", 2); /* 1002 */
	close(fd);
	wait_for(&closed_pipes, before + 1);
	fd = ws_connect();
	frame_send(fd, 0x82, big, (1 << 20) + 1);
	assert_int_equal(frame_read(fd, text), 0x88);
	assert_memory_equal(text, "\x03\xf1", 2); /* 1009 */
	close(fd);
	wait_for(&closed_pipes, before + 2);
	assert_starts(raw_ask(http_server_port(server), "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
		"HTTP/1.1 400 ");
	wait_for(&closed_pipes, before + 3);
}

/* ---- SPDY: a small server in a thread -------------------------------------------------------- */

static int listen_any(int *port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	getsockname(fd, (struct sockaddr *)&sa, &n);
	*port = ntohs(sa.sin_port);
	return fd;
}

static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static unsigned char *frame_of(int fd, unsigned char head[8])
{
	assert_int_equal(recv(fd, head, 8, MSG_WAITALL), 8);
	size_t n = be32(head + 4) & 0xffffff;
	unsigned char *body = xmalloc(n + 1);
	if (n)
		assert_int_equal(recv(fd, body, n, MSG_WAITALL), (ssize_t)n);
	return body;
}

static void inflate_block(z_stream *z, unsigned char *in, size_t n, char *out, size_t cap)
{
	z->next_in = in;
	z->avail_in = (uInt)n;
	z->next_out = (Bytef *)out;
	z->avail_out = (uInt)cap;
	int r = inflate(z, Z_SYNC_FLUSH);
	if (r == Z_NEED_DICT) {
		struct str d = spdy_dictionary();

		assert_int_equal(inflateSetDictionary(z, (const Bytef *)d.p, (uInt)d.n), Z_OK);
		r = inflate(z, Z_SYNC_FLUSH);
	}
	assert_int_equal(r, Z_OK);
}

struct peer_server {
	int listener, fd;
	pthread_t thread;
};

/* Two SYN_STREAMs; a reply with headers, a ping, windows of four bytes, an echo, a reset. */
static void *serve_spdy(void *arg)
{
	struct peer_server *s = arg;
	unsigned char head[8], *body;
	char text[256];
	z_stream in = { 0 }, out = { 0 };
	struct str d = spdy_dictionary();

	s->fd = accept(s->listener, NULL, NULL);
	inflateInit(&in);
	deflateInit(&out, 9);
	deflateSetDictionary(&out, (const Bytef *)d.p, (uInt)d.n);
	for (uint32_t id = 1; id <= 3; id += 2) {
		body = frame_of(s->fd, head);
		assert_int_equal(be32(head), 0x80030001);
		assert_int_equal(be32(body), id);
		inflate_block(&in, body + 10, (be32(head + 4) & 0xffffff) - 10, text, sizeof(text));
		assert_memory_equal(text, "\0\0\0\1\0\0\0\12streamtype\0\0\0\5", 22);
		assert_memory_equal(text + 22, id == 1 ? "stdin" : "error", 5);
		free(body);
	}
	unsigned char reply[256] = "\x80\x03\0\2\0\0\0\0\0\0\0\1";
	out.next_in = (Bytef *)"\0\0\0\1\0\0\0\1a\0\0\0\1b";
	out.avail_in = 14;
	out.next_out = reply + 12;
	out.avail_out = sizeof(reply) - 12;
	deflate(&out, Z_SYNC_FLUSH);
	size_t n = sizeof(reply) - 12 - out.avail_out;
	reply[7] = (unsigned char)(n + 4);
	for (size_t i = 0; i < n + 12; i++) { /* in the smallest pieces */
		send(s->fd, reply + i, 1, MSG_NOSIGNAL);
		usleep(200);
	}
	send(s->fd, "\x80\x03\0\6\0\0\0\4\0\0\0\2", 12, MSG_NOSIGNAL);                  /* PING 2 */
	send(s->fd, "\x80\x03\0\4\0\0\0\14\0\0\0\1\0\0\0\7\0\0\0\4", 20, MSG_NOSIGNAL); /* window: 4 */
	body = frame_of(s->fd, head);
	assert_int_equal(be32(head), 0x80030006);
	assert_int_equal(be32(body), 2);
	free(body);
	send(s->fd, "\0\0\0\1\0\0\0\2go", 10, MSG_NOSIGNAL);
	body = frame_of(s->fd, head); /* the window lets four bytes through */
	assert_int_equal(be32(head), 1);
	assert_int_equal(be32(head + 4), 4);
	free(body);
	struct pollfd pfd = { .fd = s->fd, .events = POLLIN };
	assert_int_equal(poll(&pfd, 1, 100), 0);
	send(s->fd, "\x80\x03\0\11\0\0\0\10\0\0\0\1\0\0\0\144", 16, MSG_NOSIGNAL); /* 100 more */
	body = frame_of(s->fd, head);
	assert_int_equal(be32(head + 4), 0x01000006); /* FIN */
	assert_memory_equal(body, "567890", 6);
	free(body);
	send(s->fd, "\0\0\0\1\1\0\0\3end", 11, MSG_NOSIGNAL);
	send(s->fd, "\x80\x03\0\3\0\0\0\10\0\0\0\3\0\0\0\5", 16, MSG_NOSIGNAL); /* RST 3 */
	send(s->fd, "\x80\x03\0\7\0\0\0\10\0\0\0\3\0\0\0\0", 16, MSG_NOSIGNAL); /* GOAWAY */
	recv(s->fd, text, 1, 0);
	close(s->fd);
	inflateEnd(&in);
	deflateEnd(&out);
	return NULL;
}

static struct spdy_client {
	struct net_pipe *p;
	struct spdy *s;
	struct spdy_stream *in, *error;
	struct buf got;
	atomic_int replied, reset, fin, closed;
} sc;

static void sc_replied(void *arg, struct spdy_stream *st)
{
	atomic_fetch_add(&sc.replied, st == sc.in);
}

static void sc_data(void *arg, struct spdy_stream *st, struct str bytes, bool fin)
{
	buf_str(&sc.got, bytes);
	if (str_is(bytes, "go"))
		spdy_send(st, STR("1234567890"), true);
	atomic_fetch_add(&sc.fin, fin);
}

static void sc_reset(void *arg, struct spdy_stream *st)
{
	atomic_fetch_add(&sc.reset, st == sc.error);
}

static const struct spdy_ops sc_ops = { .replied = sc_replied, .data = sc_data, .reset = sc_reset };

static void sc_pipe_data(void *arg, struct str bytes)
{
	if (bytes.n)
		spdy_input(sc.s, bytes);
}

static void sc_pipe_closed(void *arg)
{
	sc.s = spdy_free(sc.s);
	atomic_fetch_add(&sc.closed, 1);
}

static const struct net_pipe_ops sc_pipe_ops = { .data = sc_pipe_data, .closed = sc_pipe_closed };

static void sc_connected(void *arg, struct net_pipe *p, const struct err *e)
{
	struct http_header h = { STR("streamtype"), STR("stdin") };

	if (!p)
		fail_msg("%s", e->message);
	sc.p = p;
	sc.s = spdy_new(p, &sc_ops, NULL);
	sc.in = spdy_open(sc.s, &h, 1);
	h.value = STR("error");
	sc.error = spdy_open(sc.s, &h, 1);
}

static void speaks_spdy(void **state)
{
	struct peer_server s = { 0 };
	struct str d = spdy_dictionary();
	char target[32];
	int port;

	assert_int_equal(adler32(adler32(0, NULL, 0), (const Bytef *)d.p, (uInt)d.n), 0xe3c6a7c2);
	s.listener = listen_any(&port);
	sc.got = BUF_INIT;
	pthread_create(&s.thread, NULL, serve_spdy, &s);
	snprintf(target, sizeof(target), "127.0.0.1:%d", port);
	plain_connect(loops[0], target, sc_connected, &sc_pipe_ops, NULL);
	wait_for(&sc.reset, 1);
	assert_int_equal(atomic_load(&sc.replied), 1);
	assert_int_equal(atomic_load(&sc.fin), 1);
	assert_true(str_is(buf_view(&sc.got), "goend"));
	net_pipe_close(sc.p);
	pthread_join(s.thread, NULL);
	wait_for(&sc.closed, 1);
	close(s.listener);
	buf_fini(&sc.got);
}

/* Where one frame has ended another fits in, however they are cut. */
static void knows_where_frames_end(void **state)
{
	static const char frames[] = "\0\0\0\1\0\0\0\3abc"
				     "\x80\3\0\6\0\0\0\4\0\0\0\1"
				     "\0\0\0\1\1\0\0\0";
	size_t n = sizeof(frames) - 1;

	for (size_t cut = 0; cut <= n; cut++) {
		struct spdy_passing f = { 0 };

		spdy_pass(&f, str_n(frames, cut));
		assert_int_equal(spdy_between(&f), cut == 0 || cut == 11 || cut == 23 || cut == n);
		spdy_pass(&f, str_n(frames + cut, n - cut));
		assert_true(spdy_between(&f));
		spdy_pass(&f, spdy_nothing());
		assert_true(spdy_between(&f));
	}
}

/* ---- a peer that says all it has to say, then resets the connection because it has not read what we said ---- */

#define LAST_WORDS 90000
static struct {
	_Atomic(struct net_pipe *) p; /* the loop sets it, the test reads it */
	atomic_int got, closed;
} hearer;

static void hearer_data(void *arg, struct str bytes)
{
	if (!atomic_fetch_add(&hearer.got, (int)bytes.n)) {
		net_pipe_pause(hearer.p, true);
		net_pipe_write(hearer.p, STR("never read"));
	}
}

static void hearer_closed(void *arg)
{
	atomic_fetch_add(&hearer.closed, 1);
}

static const struct net_pipe_ops hearer_ops = { .data = hearer_data, .closed = hearer_closed };

static void hearer_connected(void *arg, struct net_pipe *p, const struct err *e)
{
	if (!p)
		fail_msg("%s", e->message);
	hearer.p = p;
}

static void hears_the_last_words(void **state)
{
	static char words[LAST_WORDS];
	int port, room = 2 * LAST_WORDS, unsent = 1;
	struct pollfd pfd = { .events = POLLIN };
	char target[32];

	int listener = listen_any(&port);
	setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	snprintf(target, sizeof(target), "127.0.0.1:%d", port);
	plain_connect(loops[0], target, hearer_connected, &hearer_ops, NULL);
	pfd.fd = accept(listener, NULL, NULL);
	assert_int_equal(send(pfd.fd, words, sizeof(words), MSG_NOSIGNAL), sizeof(words));
	assert_int_equal(poll(&pfd, 1, 60000), 1);
	for (int i = 0; i < 6000 && unsent; i++) { /* until the words are in our kernel's hands */
		ioctl(pfd.fd, SIOCOUTQ, &unsent);
		usleep(10000);
	}
	assert_int_equal(unsent, 0);
	close(pfd.fd);
	usleep(50000);
	for (int i = 0; i < 2; i++) { /* a reset, and a broken pipe */
		net_pipe_write(hearer.p, STR("to nobody"));
		usleep(20000);
	}
	assert_int_equal(atomic_load(&hearer.closed), 0);
	net_pipe_pause(hearer.p, false);
	wait_for(&hearer.closed, 1);
	assert_int_equal(atomic_load(&hearer.got), LAST_WORDS);
	close(listener);
}

static atomic_int refused;
static void not_connected(void *arg, struct net_pipe *p, const struct err *e)
{
	assert_null(p);
	assert_has(e->message, "cannot connect to unix:/nowhere/sock");
	atomic_fetch_add(&refused, 1);
}

static void reports_no_connection(void **state)
{
	plain_connect(loops[0], "unix:/nowhere/sock", not_connected, &sc_pipe_ops, NULL);
	wait_for(&refused, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(upgrades_and_half_closes),
		cmocka_unit_test(splices_across_loops),
		cmocka_unit_test(notices_a_reset_while_paused),
		cmocka_unit_test(nudges_who_may_be_gone),
		cmocka_unit_test(looks_at_what_is_left),
		cmocka_unit_test(gives_up_what_nobody_takes),
		cmocka_unit_test(ends_what_nobody_reads),
		cmocka_unit_test(waits_for_slow_readers),
		cmocka_unit_test(refuses_upgrade_unasked),
		cmocka_unit_test(speaks_websocket),
		cmocka_unit_test(nudges_over_websockets),
		cmocka_unit_test(guards_websockets),
		cmocka_unit_test(speaks_spdy),
		cmocka_unit_test(knows_where_frames_end),
		cmocka_unit_test(hears_the_last_words),
		cmocka_unit_test(reports_no_connection),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

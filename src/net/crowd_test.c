/* What each of a crowd costs a server: who says nothing, who does not read. And who has to go when it is too much. */
#include "net/http_fixture.h"
#include <malloc.h>
#include <signal.h>

#define MANY 200
#define STREAMS 20
#define STREAM "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"

static char sink[1 << 20];
static struct http_stream *streams[STREAMS];
static atomic_int n_streams, closed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define WHOLE ((size_t)1 << 20)
static const struct net_piece whole = { { big, WHOLE }, NULL, NULL };

static void stream_closed(void *arg)
{
	pthread_mutex_lock(&lock); /* whoever looked at it has looked */
	atomic_fetch_add(&closed, 1);
	pthread_mutex_unlock(&lock);
}

static const struct http_stream_ops stream_ops = { .closed = stream_closed };

static void handle(void *arg, struct http_request *r)
{
	if (str_is(http_path(r), "/stream") && http_crowded(r)) {
		http_reply_text(r, 429, "text/plain", STR("crowded"));
		return;
	}
	if (str_is(http_path(r), "/stream")) {
		int i = atomic_load(&n_streams);

		streams[i] = http_reply_stream(r, 200, NULL, 0, &stream_ops, NULL);
		atomic_store(&n_streams, i + 1);
		return;
	}
	if (str_is(http_path(r), "/big")) {
		http_reply(r, 200, NULL, 0, &whole, 1);
		return;
	}
	http_reply_text(r, 200, "text/plain", STR("fine"));
}

/* One loop has all of the crowd; the client is on the other. */
static int set_up(void **state)
{
	return servers_start(handle, 1);
}

/* When nothing moves any more. */
static long heap(void)
{
	long was = 0, now = (long)mallinfo2().uordblks;

	for (int i = 0; i < 100 && now != was; i++) {
		task_sleep_ms(50);
		was = now;
		now = (long)mallinfo2().uordblks;
	}
	return now;
}

/* Who has said only the start of a handshake costs no session of OpenSSL's. */
static void silence_is_cheap(void **state)
{
	int fd[MANY];
	auto_(http_client_free) struct http_client *c = client(true, false, nobody_tls);

	ask(c, "GET", "/", STR_NULL, 200, "fine");
	long before = heap();
	for (int i = 0; i < MANY; i++) {
		fd[i] = raw_connect(http_server_port(secure));
		raw_send(fd[i], "\x16\x03\x01");
	}
	ask(c, "GET", "/", STR_NULL, 200, "fine"); /* the loop has seen them all */
	long each = (heap() - before) / MANY;
	assert_in_range(each + 1000, 0, 1000 + 3000);
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
}

static int tiny_window(int port)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0), bytes = 4096;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void settle(struct http_stream *s, size_t *ret_unsent)
{
	size_t last = 0;

	for (*ret_unsent = 1; *ret_unsent != last; task_sleep_ms(100)) {
		last = *ret_unsent;
		pthread_mutex_lock(&lock);
		*ret_unsent = http_stream_unsent(s);
		pthread_mutex_unlock(&lock);
	}
}

/* What the reader of a stream does not take stays where it is, in a document perhaps that others share: the kernel does not
 * copy megabytes of it. */
static void kernel_holds_little(void **state)
{
	int fd = tiny_window(http_server_port(plain)), were = atomic_load(&closed);
	size_t unsent;

	atomic_store(&n_streams, 0);
	raw_send(fd, STREAM);
	wait_for(&n_streams, 1);
	http_stream_write(streams[0], &whole, 1);
	settle(streams[0], &unsent);
	assert_in_range(unsent, WHOLE - ((size_t)192 << 10), WHOLE);
	close(fd);
	wait_for(&closed, were + 1);
}

/* Nor does TLS keep a record that nobody takes. */
static void tls_holds_nothing(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl[STREAMS];
	size_t unsent;

	atomic_store(&n_streams, 0);
	for (int i = 0; i < STREAMS; i++) {
		ssl[i] = SSL_new(ctx);
		SSL_set_fd(ssl[i], tiny_window(http_server_port(secure)));
		assert_int_equal(SSL_connect(ssl[i]), 1);
		assert_int_equal(SSL_write(ssl[i], STREAM, (int)strlen(STREAM)), (int)strlen(STREAM));
		wait_for(&n_streams, i + 1);
	}
	long before = heap();
	for (int i = 0; i < STREAMS; i++)
		http_stream_write(streams[i], &whole, 1);
	for (int i = 0; i < STREAMS; i++) {
		settle(streams[i], &unsent);
		assert_in_range(unsent, WHOLE / 2, WHOLE);
	}
	long each = (heap() - before) / STREAMS;
	assert_in_range(each + 1000, 0, 1000 + 3000);
	for (int i = 0; i < STREAMS; i++) {
		close(SSL_get_fd(ssl[i]));
		SSL_free(ssl[i]);
	}
	SSL_CTX_free(ctx);
}

/* ---- who has to go --------------------------------------------------------------------------- */

static struct http_server *server_with(size_t connections_max, size_t unread_max)
{
	struct http_server *s = NULL;
	struct http_server_opts o = { .address = "127.0.0.1",
		.loops = loops,
		.n_loops = 1,
		.handle = handle,
		.connections_max = connections_max,
		.unread_max = unread_max };

	OK(http_server_new(&o, &s, oke));
	return s;
}

static const char asks[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/* True: the other side has hung up. */
static bool is_gone(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	return poll(&p, 1, 0) == 1 && recv(fd, &c, 1, MSG_PEEK) <= 0;
}

static int gone(const int *fd, int n)
{
	int ret = 0;

	for (int i = 0; i < n; i++)
		ret += is_gone(fd[i]);
	return ret;
}

#define PLACES 16
#define ACCEPTS_AHEAD 64 /* connections beyond those */

/* Half-open connections and those at rest make room, the oldest first; what has work stays. */
static void makes_room(void **state)
{
	for (int idle = 0; idle < 2; idle++) {
		auto_(http_server_free) struct http_server *s = server_with(PLACES, 0);
		int busy = raw_connect(http_server_port(s)), fd[PLACES + 4];

		atomic_store(&n_streams, 0);
		raw_send(busy, STREAM);
		wait_for(&n_streams, 1);
		for (int i = 0; i < (int)ARRAY_LEN(fd); i++) {
			fd[i] = raw_connect(http_server_port(s));
			raw_send(fd[i], idle ? asks : "GET / HT");
			if (idle)
				raw_read(fd[i], "fine");
			task_sleep_ms(20);
		}
		for (int i = 0; i < 60000 && !(is_gone(fd[0]) && gone(fd, ARRAY_LEN(fd)) >= 4); i++)
			task_sleep_ms(1);
		assert_true(is_gone(fd[0]));
		assert_false(is_gone(fd[ARRAY_LEN(fd) - 1]));
		assert_false(is_gone(busy) && recv(busy, sink, 1, MSG_PEEK) == 0);
		assert_in_range(gone(fd, ARRAY_LEN(fd)), 4, PLACES);
		http_stream_end(streams[0]);
		close(busy);
		for (size_t i = 0; i < ARRAY_LEN(fd); i++)
			close(fd[i]);
	}
}

/* All places but one have work. */
static int fill(struct http_server *s, int *fd)
{
	int n = PLACES - 1;

	atomic_store(&n_streams, 0);
	for (int i = 0; i < n; i++) {
		fd[i] = raw_connect(http_server_port(s));
		raw_send(fd[i], STREAM);
		wait_for(&n_streams, i + 1);
	}
	return n;
}

static void empty(int *fd, int n)
{
	for (int i = 0; i < n; i++) {
		http_stream_end(streams[i]);
		close(fd[i]);
	}
}

static void ask_raw(int fd)
{
	raw_send(fd, asks);
	assert_non_null(strstr(raw_read(fd, "fine"), "fine"));
}

/* Asks on a connection after another one has come to a full server. used: it was asked on before. Where all that took longer than
 * ms, it tries again. */
static void asks_in_time(bool used, int64_t ms, const char *want)
{
	auto_(http_server_free) struct http_server *s = server_with(PLACES, 0);
	int fd[PLACES], n = fill(s, fd);

	for (bool in_time = false; !in_time;) {
		struct mono at = mono_now();
		int first = raw_connect(http_server_port(s));

		if (used) {
			ask_raw(first);
			at = mono_now();
		}
		int other = raw_connect(http_server_port(s));
		ask_raw(other);
		raw_send(first, asks);
		const char *answer = raw_read(first, "fine");
		in_time = mono_ms_between(at, mono_now()) < ms;
		if (in_time)
			assert_non_null(strstr(answer, want));
		close(first);
		close(other);
	}
	empty(fd, n);
}

/* Who has just been answered may be sending the next request already: it is answered, and the answer says that it was the
 * last. */
static void the_last_answer_says_so(void **state)
{
	asks_in_time(true, 1000, "connection: close");
}

/* Nor is the connection ended of who has just come, before he could ask. */
static void lets_shake_hands(void **state)
{
	asks_in_time(false, 250, "fine");
}

/* The last places are not for streams, or nobody else could come any more. */
static void streams_leave_room(void **state)
{
	auto_(http_server_free) struct http_server *s = server_with(PLACES, 0);
	int fd[PLACES], n = fill(s, fd), late[ACCEPTS_AHEAD + 1];

	for (size_t i = 0; i < ARRAY_LEN(late); i++) {
		late[i] = raw_connect(http_server_port(s));
		raw_send(late[i], STREAM);
		const char *answer = raw_read(late[i], "crowded");
		assert_starts(answer, "HTTP/1.1 429 ");
		assert_has(answer, "connection: close");
	}
	int other = raw_connect(http_server_port(s));
	ask_raw(other);
	close(other);
	for (size_t i = 0; i < ARRAY_LEN(late); i++)
		close(late[i]);
	empty(fd, n);
}

#define FLOOD 400

/* Who comes last waits until others that say nothing have gone; nobody who works is turned away for them. */
static void a_flood_turns_nobody_away(void **state)
{
	auto_(http_server_free) struct http_server *s = server_with(PLACES, 0);

	for (int round = 0; round < 5; round++) {
		int fd[FLOOD], last;

		for (int i = 0; i < FLOOD; i++)
			fd[i] = raw_connect(http_server_port(s));
		last = raw_connect(http_server_port(s));
		raw_send(last, asks);
		assert_non_null(strstr(raw_read(last, "fine"), "fine"));
		close(last);
		for (int i = 0; i < FLOOD; i++)
			close(fd[i]);
	}
}

/* Many half-open ones have to hurry, those too that came first, long before the server is full and though nobody else comes. */
static void the_young_have_to_hurry(void **state)
{
	auto_(http_server_free) struct http_server *s = NULL;
	struct http_server_opts o = { .address = "127.0.0.1",
		.loops = loops,
		.n_loops = 1,
		.handle = handle,
		.connections_max = 4 * PLACES,
		.header_ms = 600000 };
	int fd[PLACES + 1];

	OK(http_server_new(&o, &s, oke));
	for (size_t i = 0; i < ARRAY_LEN(fd); i++)
		fd[i] = raw_connect(http_server_port(s));
	for (int i = 0; i < 600 && gone(fd, ARRAY_LEN(fd)) < (int)ARRAY_LEN(fd); i++)
		task_sleep_ms(100);
	assert_int_equal(gone(fd, ARRAY_LEN(fd)), ARRAY_LEN(fd));
	for (size_t i = 0; i < ARRAY_LEN(fd); i++)
		close(fd[i]);
}

#define HEADS 100

/* Heads that do not end have room for some of them together; the others are turned away, and take none. */
static void heads_have_room_together(void **state)
{
	auto_(http_server_free) struct http_server *s = NULL;
	struct http_server_opts o = {
		.address = "127.0.0.1", .loops = loops, .n_loops = 1, .handle = handle, .bodies_max = (size_t)1 << 20
	};
	int fd[HEADS], turned_away = 0;

	OK(http_server_new(&o, &s, oke));
	for (int i = 0; i < HEADS; i++) {
		fd[i] = raw_connect(http_server_port(s));
		raw_send(fd[i], "GET / HTTP/1.1\r\nHost: x\r\nX-Long: ");
		for (ssize_t sent = 0, n; sent < 60000 && (n = send(fd[i], big, 6000, 0)) > 0; sent += n)
			;
	}
	int last = raw_connect(http_server_port(s));
	ask_raw(last);
	for (int i = 0; i < HEADS; i++) {
		turned_away += is_gone(fd[i]) || poll(&(struct pollfd){ .fd = fd[i], .events = POLLIN }, 1, 0) == 1;
		close(fd[i]);
	}
	assert_in_range(turned_away, HEADS / 2, HEADS - 4);
	for (int i = 0; i < 6000 && atomic_load(&s->arriving.held); i++)
		task_sleep_ms(10);
	assert_int_equal(atomic_load(&s->arriving.held), 0);
	close(last);
}

#define READERS 7

static int resets(const int *fd, int n)
{
	int ret = 0;

	for (int i = 0; i < n; i++) {
		struct pollfd p = { .fd = fd[i] };

		ret += poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
	}
	return ret;
}

/* Answers that nobody reads may hold 4 MiB here: of seven of 1 MiB those that stall the longest are ended, and one whose reader
 * comes late is whole. */
static void ends_the_longest_stalled(void **state)
{
	auto_(http_server_free) struct http_server *s = server_with(0, (size_t)4 << 20);
	int fd[READERS];
	size_t got = 0;

	for (int i = 0; i < READERS; i++) {
		fd[i] = tiny_window(http_server_port(s));
		raw_send(fd[i], "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
		assert_int_equal(poll(&(struct pollfd){ .fd = fd[i], .events = POLLIN }, 1, 60000),
			1); /* it stalls from here on */
		task_sleep_ms(20);
	}
	for (int i = 0; i < 6000 && resets(fd, READERS) < READERS - 5; i++)
		task_sleep_ms(10);
	task_sleep_ms(1500); /* another look of the server, which ends no more */
	for (ssize_t n; (n = recv(fd[READERS - 1], sink, sizeof(sink), 0)) > 0;)
		got += (size_t)n;
	assert_true(got > WHOLE);
	for (int i = 0, ended = 0; i < READERS; i++) {
		ssize_t n = 0;

		while (i < READERS - 4 && (n = recv(fd[i], sink, sizeof(sink), 0)) > 0)
			;
		ended += i < READERS - 4 && n < 0; /* reset */
		if (i == READERS - 5)
			assert_in_range(ended, READERS - 5, READERS - 4);
		close(fd[i]);
	}
}

#define LARGE 100

/* While answers that nobody reads hold twice what they may, a large one is a 429; a small one is sent. */
static void large_answers_have_to_wait(void **state)
{
	auto_(http_server_free) struct http_server *s = server_with(0, (size_t)1 << 20);
	int fd[LARGE], n = 0;
	bool refused = false;

	while (!refused && n < LARGE) {
		fd[n] = tiny_window(http_server_port(s));
		raw_send(fd[n], "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
		assert_int_equal(recv(fd[n], sink, 12, MSG_WAITALL), 12);
		refused = memcmp(sink, "HTTP/1.1 429", 12) == 0;
		n++;
	}
	assert_true(refused);
	int other = raw_connect(http_server_port(s));
	ask_raw(other);
	close(other);
	for (int i = 0; i < n; i++)
		close(fd[i]);
}

#define HEADERS 1
#define RST_STREAM 3

/* Its head; false: there is none. */
static bool frame(int fd, unsigned char head[9])
{
	static unsigned char rest[65536];

	if (recv(fd, head, 9, MSG_WAITALL) != 9)
		return false;
	ssize_t n = head[1] << 8 | head[2];
	return n == 0 || recv(fd, rest, (size_t)n, MSG_WAITALL) == n;
}

static void note_reset(const unsigned char head[9], int *ended, int *most)
{
	*ended += head[3] == RST_STREAM;
	*most = head[3] == RST_STREAM ? MAX(*most, (int)head[8]) : *most;
}

/* A connection whose streams' windows are shut: SETTINGS with INITIAL_WINDOW_SIZE 0. */
static int without_window(const struct http_server *s)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				      "\0\0\6\4\0\0\0\0\0\0\4\0\0\0\0";
	int fd = raw_connect(http_server_port(s));

	send(fd, preface, sizeof(preface) - 1, 0);
	return fd;
}

/* HEADERS, END_STREAM | END_HEADERS. path: four bytes. */
static void ask_stream(int fd, int id, const char *path)
{
	char get[] = "\0\0\13\1\5\0\0\0\1\x82\x86\x04\4/...\x41\1x";

	get[8] = (char)id;
	memcpy(get + 13, path, 4);
	send(fd, get, 9 + 11, 0);
}

/* The same where the connection moves, but a stream's window is shut (RFC 9113, 5.2). */
static void ends_streams_without_window(void **state)
{
	auto_(http_server_free) struct http_server *s = server_with(0, (size_t)4 << 20);
	int fd = without_window(s);
	unsigned char head[9];

	for (int i = 0; i < READERS; i++) {
		int ended = 0, most = 0, heads = 0;

		ask_stream(fd, 1 + 2 * i, "/big");
		do { /* its answer's HEADERS: it stalls from here on; and three are as many as fit */
			assert_true(frame(fd, head));
			note_reset(head, &ended, &most);
			heads += head[3] == HEADERS;
		} while (!heads || (i >= 3 && !ended));
		assert_int_equal(most, i < 3 ? 0 : 1 + 2 * (i - 3));
		task_sleep_ms(20);
	}
	close(fd);
}

#define SMALL 60

/* Many small answers are much together: a connection that leaves them has further streams reset, before they are begun. */
static void answers_of_streams_have_room_together(void **state)
{
	auto_(http_server_free) struct http_server *s = server_with(0, (size_t)100 << 10);
	int fd = without_window(s), other, ended = 0, most = 0, heads = 0;
	unsigned char head[9];

	for (int i = 0; i < SMALL; i++)
		ask_stream(fd, 1 + 2 * i, "/one");
	while (ended + heads < SMALL && frame(fd, head)) {
		note_reset(head, &ended, &most);
		heads += head[3] == HEADERS;
	}
	assert_in_range(heads, 20, 29);
	other = raw_connect(http_server_port(s));
	ask_raw(other);
	close(other);
	close(fd);
	for (int i = 0; i < 6000 && atomic_load(&s->unread.held); i++)
		task_sleep_ms(10);
	assert_int_equal(atomic_load(&s->unread.held), 0);
}

#define LONG_HEADS 60
#define LONG 7000

/* HEADERS, END_HEADERS, of a POST whose body does not come, with a field of LONG bytes. */
static void long_head(int fd, int id)
{
	static const char head[] = "\0\x1b\x69\1\4\0\0\0\0\x83\x86\x04\4/big\x41\1x\0\1x\x7f\xd9\x35";
	auto_buf struct buf b = BUF_INIT;

	buf_add(&b, head, sizeof(head) - 1);
	buf_add(&b, big, LONG);
	b.p[8] = (char)id;
	assert_int_equal(send(fd, b.p, b.n, 0), b.n);
}

/* What many streams of one connection hold is one: beyond the room for all they are reset, and so may be sent again. */
static void heads_of_streams_have_room_together(void **state)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	auto_(http_server_free) struct http_server *s = NULL;
	struct http_server_opts o = {
		.address = "127.0.0.1", .loops = loops, .n_loops = 1, .handle = handle, .bodies_max = (size_t)200 << 10
	};
	int ended = 0, most = 0, fd;
	unsigned char head[9];

	OK(http_server_new(&o, &s, oke));
	fd = raw_connect(http_server_port(s));
	send(fd, preface, sizeof(preface) - 1, 0);
	for (int i = 0; i < LONG_HEADS; i++)
		long_head(fd, 1 + 2 * i);
	while (most < 1 + 2 * (LONG_HEADS - 1) && frame(fd, head))
		note_reset(head, &ended, &most);
	assert_in_range(ended, LONG_HEADS - 30, LONG_HEADS - 15);
	assert_in_range(atomic_load(&s->arriving.held), (size_t)150 << 10, (size_t)220 << 10);
	int other = raw_connect(http_server_port(s));
	ask_raw(other);
	close(other);
	close(fd);
	for (int i = 0; i < 6000 && atomic_load(&s->arriving.held); i++)
		task_sleep_ms(10);
	assert_int_equal(atomic_load(&s->arriving.held), 0);
}

#define GOAWAY 7

/* A client of HTTP/2 at rest is told which requests were not begun, before its connection ends. */
static void goaway_comes_first(void **state)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				      "\0\0\0\4\0\0\0\0\0"                     /* SETTINGS */
				      "\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1x"; /* HEADERS: GET / */
	auto_(http_server_free) struct http_server *s = server_with(PLACES, 0);
	int fd[PLACES], n = fill(s, fd), at_rest = raw_connect(http_server_port(s)), said = 0;
	unsigned char head[9];

	send(at_rest, preface, sizeof(preface) - 1, 0);
	do
		assert_true(frame(at_rest, head));
	while (head[3] > HEADERS || !(head[4] & 1)); /* END_STREAM of DATA or HEADERS */
	int other = raw_connect(http_server_port(s));
	ask_raw(other);
	while (frame(at_rest, head))
		said += head[3] == GOAWAY;
	assert_int_equal(said, 1);
	close(at_rest);
	close(other);
	empty(fd, n);
}

/* How often the thread of a loop went to sleep. */
static long rests(void)
{
	static const char *const key = "voluntary_ctxt_switches:";
	char line[128];
	long n = -1;

	FILE *f = fopen("/proc/thread-self/status", "r");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0)
			n = strtol(line + strlen(key), NULL, 10);
	if (f)
		fclose(f);
	return n;
}

struct looker {
	struct net_msg msg;
	atomic_long rests;
	atomic_int done;
};

static void look(struct net_msg *m)
{
	struct looker *l = container_of(m, struct looker, msg);

	atomic_store(&l->rests, rests());
	atomic_fetch_add(&l->done, 1);
}

static long rests_of_loop(void)
{
	struct looker l = { .msg.run = look };

	loop_send(loops[0], &l.msg);
	wait_for(&l.done, 1);
	return atomic_load(&l.rests);
}

/* When nothing moves, no server wakes its loop to see who stalls. */
static void rests_when_idle(void **state)
{
	auto_(http_client_free) struct http_client *c = client(true, false, nobody_tls);

	ask(c, "GET", "/", STR_NULL, 200, "fine");
	task_sleep_ms(2500); /* what the last look looks at is over */
	long before = rests_of_loop();
	task_sleep_ms(3500);
	assert_in_range(rests_of_loop() - before, 0, 2); /* this one, and it woke to answer */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rests_when_idle),
		cmocka_unit_test(silence_is_cheap),
		cmocka_unit_test(kernel_holds_little),
		cmocka_unit_test(tls_holds_nothing),
		cmocka_unit_test(makes_room),
		cmocka_unit_test(the_last_answer_says_so),
		cmocka_unit_test(lets_shake_hands),
		cmocka_unit_test(streams_leave_room),
		cmocka_unit_test(heads_of_streams_have_room_together),
		cmocka_unit_test(goaway_comes_first),
		cmocka_unit_test(a_flood_turns_nobody_away),
		cmocka_unit_test(the_young_have_to_hurry),
		cmocka_unit_test(heads_have_room_together),
		cmocka_unit_test(ends_the_longest_stalled),
		cmocka_unit_test(large_answers_have_to_wait),
		cmocka_unit_test(ends_streams_without_window),
		cmocka_unit_test(answers_of_streams_have_room_together),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

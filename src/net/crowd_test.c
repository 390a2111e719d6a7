/* What each of a crowd costs a server: who says nothing, who does not read. */
#include "net/net_test.h"
#include <malloc.h>
#include <signal.h>

#define MANY 200
#define STREAMS 20
#define STREAM "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"

static struct certs certs;
static struct net_loop *loop, *client_loop;
static struct tls *server_tls, *client_tls;
static struct http_server *plain, *secure;
static char big[1 << 20];
static struct http_stream *streams[STREAMS];
static atomic_int n_streams, closed;

static void stream_closed(void *arg)
{
	atomic_fetch_add(&closed, 1);
}

static const struct http_stream_ops stream_ops = { .closed = stream_closed };

static void handle(void *arg, struct http_request *r)
{
	if (str_is(http_path(r), "/stream")) {
		int i = atomic_load(&n_streams);

		streams[i] = http_reply_stream(r, 200, NULL, 0, &stream_ops, NULL);
		atomic_store(&n_streams, i + 1);
		return;
	}
	http_reply_text(r, 200, "text/plain", STR("fine"));
}

static int set_up(void **state)
{
	struct http_server_opts o = { .address = "127.0.0.1", .loops = &loop, .n_loops = 1, .handle = handle };

	memset(big, 'b', sizeof(big));
	certs_make(&certs);
	loop = net_loop_new("server");
	client_loop = net_loop_new("client");
	OK(tls_new(&(struct tls_opts){ certs.server, certs.server_key, certs.ca, true, false }, &server_tls, oke));
	OK(tls_new(&(struct tls_opts){ .ca_file = certs.ca }, &client_tls, oke));
	OK(http_server_new(&o, &plain, oke));
	o.tls = server_tls;
	OK(http_server_new(&o, &secure, oke));
	return 0;
}

static int tear_down(void **state)
{
	http_server_free(plain);
	http_server_free(secure);
	net_loop_free(loop);
	net_loop_free(client_loop);
	tls_free(server_tls);
	tls_free(client_tls);
	certs_remove(&certs);
	return 0;
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

static void ask(struct http_client *c)
{
	struct http_reply r = { 0 };

	OK(http_call(c, "GET", STR("/"), NULL, 0, STR_NULL, 0, 5000, &r, oke));
	assert_int_equal(r.status, 200);
	http_reply_fini(&r);
}

static struct http_client *client(void)
{
	struct http_client *c = NULL;
	char url[64];

	snprintf(url, sizeof(url), "https://localhost:%d", http_server_port(secure));
	OK(http_client_new(&(struct http_client_opts){ .url = url, .tls = client_tls, .loop = client_loop }, &c, oke));
	return c;
}

/* Who has said only the start of a handshake costs no session of OpenSSL's. */
static void silence_is_cheap(void **state)
{
	int fd[MANY];
	auto_(http_client_free) struct http_client *c = client();

	ask(c);
	long before = heap();
	for (int i = 0; i < MANY; i++) {
		fd[i] = raw_connect(http_server_port(secure));
		raw_send(fd[i], "\x16\x03\x01");
	}
	ask(c); /* the loop has seen them all */
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
		*ret_unsent = http_stream_unsent(s);
	}
}

static const struct net_piece whole = { { big, sizeof(big) }, NULL, NULL };

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
	assert_in_range(unsent, sizeof(big) - ((size_t)192 << 10), sizeof(big));
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
		assert_in_range(unsent, sizeof(big) / 2, sizeof(big));
	}
	long each = (heap() - before) / STREAMS;
	assert_in_range(each + 1000, 0, 1000 + 3000);
	for (int i = 0; i < STREAMS; i++) {
		close(SSL_get_fd(ssl[i]));
		SSL_free(ssl[i]);
	}
	SSL_CTX_free(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_is_cheap),
		cmocka_unit_test(kernel_holds_little),
		cmocka_unit_test(tls_holds_nothing),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

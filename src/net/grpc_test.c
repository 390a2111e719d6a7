/* The gRPC client against a small server on a unix socket: nghttp2 in a thread, one connection at a time. */
#include "net/net_test.h"
#include <nghttp2/nghttp2.h>
#include <sys/un.h>

static char dir[64], path[96], target[128];
static struct net_loop *loop;
static struct grpc *grpc;

/* ---- the server ------------------------------------------------------------------------------ */

struct rpc {
	int32_t id;
	struct buf in, out;
	size_t at;
	char method[64], ns[32];
	bool ended, replied;
	int status;
	const char *message;
};
static struct grpc_server {
	int listener, fd;
	pthread_t thread;
	nghttp2_session *session;
	struct rpc *broken; /* its stream is never closed */
	atomic_int connections, cancels;
} gs;

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE };
}

static void put_message(struct rpc *r, struct str m)
{
	char prefix[5] = { 0, (char)(m.n >> 24), (char)(m.n >> 16), (char)(m.n >> 8), (char)m.n };

	buf_add(&r->out, prefix, 5);
	buf_str(&r->out, m);
}

static ssize_t read_out(
	nghttp2_session *s, int32_t id, uint8_t *to, size_t cap, uint32_t *flags, nghttp2_data_source *src, void *arg)
{
	struct rpc *r = src->ptr;
	size_t n = MIN(cap, r->out.n - r->at);
	char status[12];

	memcpy(to, r->out.p + r->at, n);
	r->at += n;
	if (r->at < r->out.n)
		return (ssize_t)n;
	if (!r->ended)
		return n ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
	*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
	snprintf(status, sizeof(status), "%d", r->status);
	nghttp2_nv v[2] = { nv("grpc-status", status), nv("grpc-message", r->message ? r->message : "") };
	nghttp2_submit_trailer(s, id, v, 2);
	return (ssize_t)n;
}

/* /t/Echo: the message back. /t/Chat: each message as it comes. /t/Many: a thousand. /t/Fail: trailers only. /t/Late:
 * fails after a message. /t/Hang: never. /t/Break: the connection ends. */
static void answer(nghttp2_session *s, struct rpc *r, bool last)
{
	nghttp2_nv head[2] = { nv(":status", "200"), nv("content-type", "application/grpc") };
	nghttp2_nv fail[4] = { head[0], head[1], nv("grpc-status", "5"),
		nv("grpc-message", "no pod %22web%22 %e2%82%ac 100%") };
	nghttp2_data_provider body = { .source.ptr = r, .read_callback = read_out };

	if (strcmp(r->method, "/t/Hang") == 0)
		return;
	if (strcmp(r->method, "/t/Break") == 0) {
		gs.broken = r;
		shutdown(gs.fd, SHUT_RDWR);
		return;
	}
	if (strcmp(r->method, "/t/Fail") == 0) {
		nghttp2_submit_response(s, r->id, fail, 4, NULL);
		return;
	}
	if (strcmp(r->method, "/t/Chat") == 0) {
		buf_add(&r->out, r->in.p, r->in.n);
		buf_reset(&r->in);
		r->ended = last;
	} else if (last) {
		if (strcmp(r->method, "/t/Many") == 0)
			for (int i = 0; i < 1000; i++) {
				char text[2000];

				snprintf(text, sizeof(text), "%04d%1900s", i, "");
				put_message(r, str_c(text));
			}
		else
			buf_add(&r->out, r->in.p, r->in.n);
		if (strcmp(r->method, "/t/Late") == 0) {
			r->status = 14;
			r->message = "went%20away";
		}
		r->ended = true;
	} else {
		return;
	}
	if (!r->replied)
		nghttp2_submit_response(s, r->id, head, 2, &body);
	else
		nghttp2_session_resume_data(s, r->id);
	r->replied = true;
}

static int on_begin(nghttp2_session *s, const nghttp2_frame *f, void *arg)
{
	struct rpc *r = xcalloc(1, sizeof(*r));

	r->id = f->hd.stream_id;
	r->in = r->out = BUF_INIT;
	nghttp2_session_set_stream_user_data(s, r->id, r);
	return 0;
}

static int on_field(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t n, const uint8_t *value,
	size_t value_n, uint8_t flags, void *arg)
{
	struct rpc *r = nghttp2_session_get_stream_user_data(s, f->hd.stream_id);
	struct str field = str_n((const char *)name, n);

	if (str_is(field, ":path"))
		snprintf(r->method, sizeof(r->method), "%.*s", (int)value_n, value);
	if (str_is(field, "containerd-namespace"))
		snprintf(r->ns, sizeof(r->ns), "%.*s", (int)value_n, value);
	return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct rpc *r = nghttp2_session_get_stream_user_data(s, id);

	buf_add(&r->in, p, n);
	return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *arg)
{
	struct rpc *r = nghttp2_session_get_stream_user_data(s, f->hd.stream_id);

	if (f->hd.type == NGHTTP2_DATA && r)
		answer(s, r, f->hd.flags & NGHTTP2_FLAG_END_STREAM);
	return 0;
}

static void rpc_free(struct rpc *r)
{
	if (!r)
		return;
	buf_fini(&r->in);
	buf_fini(&r->out);
	free(r);
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t code, void *arg)
{
	struct rpc *r = nghttp2_session_get_stream_user_data(s, id);

	atomic_fetch_add(&gs.cancels, code == NGHTTP2_CANCEL);
	rpc_free(r);
	return 0;
}

static ssize_t send_out(nghttp2_session *s, const uint8_t *p, size_t n, int flags, void *arg)
{
	ssize_t r = send(gs.fd, p, n, MSG_NOSIGNAL);

	return r < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : r;
}

static void serve_one(void)
{
	nghttp2_session_callbacks *cb;
	uint8_t in[16384];
	ssize_t n;

	nghttp2_session_callbacks_new(&cb);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_field);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	nghttp2_session_callbacks_set_send_callback(cb, send_out);
	nghttp2_session_server_new(&gs.session, cb, NULL);
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(gs.session, NGHTTP2_FLAG_NONE, NULL, 0);
	while ((n = recv(gs.fd, in, sizeof(in), 0)) > 0)
		if (nghttp2_session_mem_recv(gs.session, in, (size_t)n) < 0 || nghttp2_session_send(gs.session) < 0)
			break;
	nghttp2_session_del(gs.session);
	rpc_free(TAKE(gs.broken));
	close(gs.fd);
}

static void *serve(void *arg)
{
	while ((gs.fd = accept(gs.listener, NULL, NULL)) >= 0) {
		atomic_fetch_add(&gs.connections, 1);
		serve_one();
	}
	return NULL;
}

static void server_start(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	memcpy(un.sun_path, path, strlen(path) + 1);
	gs.listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(gs.listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(gs.listener, 8), 0);
	pthread_create(&gs.thread, NULL, serve, NULL);
}

static int set_up(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/kogge-grpc-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	snprintf(target, sizeof(target), "unix:%s", path);
	loop = net_loop_new("grpc");
	OK(grpc_new(loop, target, NULL, &grpc, oke));
	return 0;
}

static int tear_down(void **state)
{
	grpc_free(grpc);
	net_loop_free(loop);
	shutdown(gs.listener, SHUT_RDWR);
	pthread_join(gs.thread, NULL);
	close(gs.listener);
	unlink(path);
	rmdir(dir);
	return 0;
}

/* ---- the tests ------------------------------------------------------------------------------- */

static int call(const char *method, struct str request, struct buf *out, struct err *e)
{
	struct http_header ns = { STR("containerd-namespace"), STR("k8s.io") };

	err_init(e);
	return grpc_call(grpc, method, &ns, 1, request, 60000, out, e);
}

static void waits_for_its_server(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	struct err e;

	assert_int_equal(call("/t/Echo", STR("x"), &b, &e), -ERR_UNAVAILABLE); /* not there yet */
	assert_has(e.message, path);
	server_start();
	assert_int_equal(call("/t/Echo", STR("x"), &b, &e), 0);
	assert_true(str_is(buf_view(&b), "x"));
}

static void calls(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	struct err e;
	size_t n = 1 << 20;
	auto_free char *big = xmalloc(n);

	memset(big, 'g', n);
	assert_int_equal(call("/t/Echo", STR_NULL, &b, &e), 0);
	assert_int_equal(b.n, 0);
	assert_int_equal(call("/t/Echo", str_n(big, n), &b, &e), 0); /* larger than every window */
	assert_int_equal(b.n, n);
	assert_memory_equal(b.p, big, n);
	assert_int_equal(call("/t/Fail", STR("x"), &b, &e), -ERR_NOT_FOUND);
	assert_string_equal(e.message, "no pod \"web\" \xe2\x82\xac 100%");
	assert_int_equal(call("/t/Late", STR("x"), &b, &e), -ERR_UNAVAILABLE);
	assert_string_equal(e.message, "went away");
	assert_int_equal(atomic_load(&gs.connections), 1); /* one for all */
}

static void times_out(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	struct err e;
	int before = atomic_load(&gs.cancels);

	err_init(&e);
	assert_int_equal(grpc_call(grpc, "/t/Hang", NULL, 0, STR("x"), 1000, &b, &e), -ERR_TIMEOUT);
	wait_for(&gs.cancels, before + 1);
	assert_int_equal(call("/t/Echo", STR("x"), &b, &e), 0);
}

static void streams(void **state)
{
	auto_(grpc_stream_free) struct grpc_stream *many = NULL, *chat = NULL;
	auto_buf struct buf b = BUF_INIT;
	struct err e;
	char expect[16];

	err_init(&e);
	OK(grpc_open(grpc, "/t/Many", NULL, 0, &many, oke));
	OK(grpc_send(many, STR("go"), true, oke));
	OK(grpc_open(grpc, "/t/Chat", NULL, 0, &chat, oke));
	for (int i = 0; i < 3; i++) { /* in turns, while the other waits for its reader */
		snprintf(expect, sizeof(expect), "m%d", i);
		OK(grpc_send(chat, str_c(expect), false, oke));
		assert_int_equal(grpc_read(chat, &b, 60000, &e), 1);
		assert_true(str_is(buf_view(&b), expect));
	}
	assert_int_equal(grpc_read(chat, &b, 50, &e), -ERR_TIMEOUT);
	OK(grpc_send(chat, STR("last"), true, oke));
	assert_int_equal(grpc_read(chat, &b, 60000, &e), 1);
	assert_int_equal(grpc_read(chat, &b, 60000, &e), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(expect, sizeof(expect), "%04d", i);
		assert_int_equal(grpc_read(many, &b, 60000, &e), 1);
		assert_int_equal(b.n, 1904);
		assert_memory_equal(b.p, expect, 4);
	}
	assert_int_equal(grpc_read(many, &b, 60000, &e), 0);
}

static void *cancel_later(void *arg)
{
	usleep(50000);
	grpc_cancel(arg);
	return NULL;
}

static void cancels(void **state)
{
	auto_(grpc_stream_free) struct grpc_stream *s = NULL;
	auto_buf struct buf b = BUF_INIT;
	struct err e;
	pthread_t t;

	err_init(&e);
	OK(grpc_open(grpc, "/t/Hang", NULL, 0, &s, oke));
	OK(grpc_send(s, STR("x"), true, oke));
	pthread_create(&t, NULL, cancel_later, s);
	assert_int_equal(grpc_read(s, &b, 0, &e), -ERR_CANCELED);
	pthread_join(t, NULL);
}

static void comes_back_after_a_loss(void **state)
{
	auto_buf struct buf b = BUF_INIT;
	struct err e;
	int before = atomic_load(&gs.connections);

	assert_int_equal(call("/t/Break", STR("x"), &b, &e), -ERR_UNAVAILABLE);
	assert_int_equal(call("/t/Echo", STR("again"), &b, &e), 0);
	assert_true(str_is(buf_view(&b), "again"));
	assert_int_equal(atomic_load(&gs.connections), before + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_for_its_server),
		cmocka_unit_test(calls),
		cmocka_unit_test(times_out),
		cmocka_unit_test(streams),
		cmocka_unit_test(cancels),
		cmocka_unit_test(comes_back_after_a_loss),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

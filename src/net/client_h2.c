/* HTTP/2 as a client: many calls on one connection. A streaming answer is read as fast as its reader takes it; the
 * connection's own window is given back at once, so a slow reader holds up nobody else. */
#include "net/net_internal.h"
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#define STREAM_WINDOW ((int32_t)512 << 10)
#define CONN_WINDOW ((int32_t)16 << 20)
struct h2 {
	struct link k;
	nghttp2_session *session;
};

static nghttp2_nv nv(struct str name, struct str value)
{
	return (nghttp2_nv){ (uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n, NGHTTP2_NV_FLAG_NONE };
}

/* ---- sending --------------------------------------------------------------------------------- */

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *out, size_t length, uint32_t *flags,
	nghttp2_data_source *source, void *arg)
{
	struct call *x = nghttp2_session_get_stream_user_data(session, id);
	size_t n = x ? MIN(length, x->out.n) : 0;

	if (!x) /* canceled, its reset is under way */
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (!n && !x->out_end) {
		x->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == x->out.n && x->out_end)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static int send_out(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
	nghttp2_data_source *source, void *arg)
{
	struct h2 *h = arg;
	struct call *x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (!x)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (h->k.c->out.n >= CONN_OUT_LOW)
		return NGHTTP2_ERR_WOULDBLOCK;
	parts_copy(&h->k.c->out, str_n((const char *)head, 9));
	while (length) { /* copied: the call, whose bytes they are, may end before they are sent */
		size_t n = MIN(length, x->out.first->n);

		parts_copy(&h->k.c->out, str_n(x->out.first->p, n));
		parts_drop(&x->out, n);
		length -= n;
	}
	return 0;
}

static ssize_t send_frame(nghttp2_session *session, const uint8_t *p, size_t n, int flags, void *arg)
{
	struct h2 *h = arg;

	if (h->k.c->out.n >= CONN_OUT_LOW)
		return NGHTTP2_ERR_WOULDBLOCK;
	parts_copy(&h->k.c->out, str_n((const char *)p, n));
	return (ssize_t)n;
}

static bool usable(struct link *k)
{
	struct h2 *h = container_of(k, struct h2, k);

	return k->n_active < nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) &&
		nghttp2_session_check_request_allowed(h->session);
}

static bool skip(struct str name)
{
	return str_is(name, "host") || str_is(name, "connection") || str_is(name, "content-length") ||
		str_is(name, "user-agent") || str_is(name, "transfer-encoding") || str_is(name, "upgrade");
}

static void start(struct link *k, struct call *x)
{
	struct h2 *h = container_of(k, struct h2, k);
	nghttp2_nv *v = xcalloc(x->n_headers + 6, sizeof(*v));
	nghttp2_data_provider body = { .read_callback = read_out };
	char length[24];
	size_t n = 0;

	v[n++] = nv(STR(":method"), str_c(x->method));
	v[n++] = nv(STR(":scheme"), k->c->ssl ? STR("https") : STR("http"));
	v[n++] = nv(STR(":authority"), str_c(k->client->host));
	v[n++] = nv(STR(":path"), str_c(x->path));
	v[n++] = nv(STR("user-agent"), str_c(k->client->user_agent));
	for (size_t i = 0; i < x->n_headers; i++)
		if (!skip(x->headers[i].name))
			v[n++] = nv(x->headers[i].name, x->headers[i].value);
	if (x->body_n) {
		snprintf(length, sizeof(length), "%zu", x->body_n);
		v[n++] = nv(STR("content-length"), str_c(length));
	}
	x->id = nghttp2_submit_request(h->session, NULL, v, n, x->uploading || x->body_n ? &body : NULL, x);
	free(v);
	if (x->id < 0) {
		int r = x->id;

		link_remove(k, x);
		call_over(x, ERR_UNAVAILABLE, nghttp2_strerror(r));
	}
	conn_dirty(k->c);
}

static void more(struct link *k, struct call *x)
{
	struct h2 *h = container_of(k, struct h2, k);

	if (x->deferred && (x->out.n || x->out_end)) {
		x->deferred = false;
		nghttp2_session_resume_data(h->session, x->id);
	}
	task_lock(&x->lock);
	size_t taken = x->taken;
	x->taken = 0;
	task_unlock(&x->lock);
	if (taken)
		nghttp2_session_consume_stream(h->session, x->id, taken);
	conn_dirty(k->c);
}

static void cancel(struct link *k, struct call *x)
{
	struct h2 *h = container_of(k, struct h2, k);

	nghttp2_session_set_stream_user_data(h->session, x->id, NULL);
	nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, x->id, NGHTTP2_CANCEL);
	conn_dirty(k->c);
}

static const struct link_ops h2_ops = { .usable = usable, .start = start, .more = more, .cancel = cancel };

/* ---- receiving ------------------------------------------------------------------------------- */

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
	const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct call *x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (x && x->fields.n < HTTP1_HEADERS_MAX)
		fields_add(&x->fields, str_n((const char *)name, name_n), str_n((const char *)value, value_n));
	return 0;
}

static bool is_interim(const struct call *x)
{
	return x->fields.n && x->fields.text.n > 7 && memcmp(x->fields.text.p, ":status1", 8) == 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct call *x;

	if (frame->hd.type == NGHTTP2_GOAWAY) {
		h->k.leaving = true;
		return 0;
	}
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (!x)
		return 0;
	if (x->got_head)
		call_got_tail(x);
	else if (is_interim(x))
		fields_fini(&x->fields);
	else
		call_got_head(x);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct call *x = nghttp2_session_get_stream_user_data(session, id);

	nghttp2_session_consume_connection(session, n);
	if (!x)
		return 0;
	if (!x->streaming)
		nghttp2_session_consume_stream(session, id, n);
	call_got_data(x, str_n((const char *)p, n));
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct h2 *h = arg;
	struct call *x = nghttp2_session_get_stream_user_data(session, id);
	char why[128];

	if (!x)
		return 0;
	link_remove(&h->k, x);
	snprintf(why, sizeof(why), "the server broke off: %s", nghttp2_http2_strerror(code));
	if (code == NGHTTP2_REFUSED_STREAM && call_retry(x, true))
		return 0;
	/* NO_ERROR after a whole answer: the server did not want the rest of the request. */
	if (code == NGHTTP2_NO_ERROR && x->got_head)
		call_over(x, 0, NULL);
	else
		call_over(x, code == NGHTTP2_CANCEL ? ERR_CANCELED : ERR_UNAVAILABLE, why);
	return 0;
}

static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int code, void *arg)
{
	struct h2 *h = arg;
	struct call *x;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (!x || x->link != &h->k)
		return 0;
	link_remove(&h->k, x);
	h->k.leaving |= code == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED;
	if (!call_retry(x, true))
		call_over(x, ERR_UNAVAILABLE, nghttp2_strerror(code));
	return 0;
}

/* ---- the connection -------------------------------------------------------------------------- */

static void check_end(struct h2 *h)
{
	if ((h->k.leaving && !h->k.n_active) ||
		(!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session)))
		conn_finish(h->k.c);
}

static void on_input(struct conn *c, struct str bytes)
{
	struct h2 *h = c->arg;

	if (!bytes.n) {
		conn_close(c, "the other side hung up");
		return;
	}
	ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.p, bytes.n);
	if (n < 0) {
		conn_close(c, "HTTP/2: %s", nghttp2_strerror((int)n));
		return;
	}
	conn_dirty(c);
	client_place_waiting(h->k.client);
}

static void on_fill(struct conn *c)
{
	struct h2 *h = c->arg;
	int r = nghttp2_session_send(h->session);

	if (r && r != NGHTTP2_ERR_WOULDBLOCK)
		conn_close(c, "HTTP/2: %s", nghttp2_strerror(r));
	else
		check_end(h);
}

static void on_timeout(struct conn *c)
{
}

static void on_gone(struct conn *c)
{
	struct h2 *h = c->arg;

	for (struct call *x = h->k.active; x; x = x->next_active)
		nghttp2_session_set_stream_user_data(h->session, x->id, NULL);
	nghttp2_session_del(h->session);
	link_fini(&h->k, c->why);
	free(h);
}

static const struct conn_ops ops = {
	.input = on_input, .fill = on_fill, .timeout = on_timeout, .gone = on_gone, .reads_on = true
};

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;
static void setup(void)
{
	if (nghttp2_session_callbacks_new(&callbacks) || nghttp2_option_new(&options))
		PANIC("no memory for HTTP/2");
	nghttp2_session_callbacks_set_send_callback(callbacks, send_frame);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, send_out);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_option_set_no_auto_window_update(options, 1);
	nghttp2_option_set_peer_max_concurrent_streams(options, 100);
}

struct link *link_h2(struct http_client *c, struct conn *conn)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct h2 *h = xcalloc(1, sizeof(*h));
	nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)STREAM_WINDOW },
	};

	pthread_once(&once, setup);
	if (nghttp2_session_client_new2(&h->session, callbacks, h, options))
		PANIC("no memory for HTTP/2");
	link_init(&h->k, c, conn, &h2_ops);
	conn_set(conn, &ops, h);
	nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
	nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW);
	conn_dirty(conn);
	return &h->k;
}

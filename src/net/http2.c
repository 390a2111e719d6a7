/* HTTP/2 on a server's connection: nghttp2 does frames, header compression and flow control; bodies of answers go out one
 * DATA frame after the other, as the connection takes them: big frames uncopied, small ones of all streams side by side. */
#include "net/net_internal.h"
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#define STREAMS_MAX 250
#define STREAM_WINDOW ((int32_t)256 << 10)
#define CONN_WINDOW ((int32_t)1 << 20)
#define STREAM_BYTES ((size_t)1 << 10) /* what one takes beside head and body */
#define STREAMS_FEW 16                 /* a connection with more has a stream reset that finds no room, not answered */
#define QUEUE_MOST 1000                /* of small frames that a client does not take */
#define OUT_MOST PARTS_BLOCK           /* framed ahead of the socket: one record, as small frames are copies */
#define LAST_WORD_MS 2000              /* for a client that is slow to take our GOAWAY */
#define DROP_MAX \
	((size_t)16 << 20) /* of a refused body; a client that is still sending may not see its answer otherwise */
#define FIELDS_DROP_MAX ((size_t)256 << 10) /* of a request: a few bytes of a frame may be any number of those */

struct http2 {
	struct conn *c;
	struct http_server *server; /* ref */
	nghttp2_session *session;
	struct stream *streams;
	size_t n_streams, n_reading;
	struct room room, answers;
	bool leaving;
};
struct stream {
	struct http_exchange x;
	struct http2 *h;
	struct stream *next, **prev;
	int32_t id;
	struct http_request *r; /* own while it is read */
	struct fields fields;
	struct mono since;
	size_t held; /* in room, while it is read */
	int refused; /* status that we answer ourselves; what still arrives is dropped */
	size_t dropped, fields_dropped;
	bool reading, head_only, deferred, no_room;
};

/* ---- answers --------------------------------------------------------------------------------- */

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *out, size_t length, uint32_t *flags,
	nghttp2_data_source *source, void *arg)
{
	struct stream *s = source->ptr;
	size_t n = parts_next(&s->x.out, length);

	if (!n && !s->x.ended) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == s->x.out.n && s->x.ended)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static int send_out(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
	nghttp2_data_source *source, void *arg)
{
	struct stream *s = source->ptr;
	struct conn *c = s->h->c;

	if (c->out.n >= OUT_MOST)
		return NGHTTP2_ERR_WOULDBLOCK;
	c->bulk = s->x.out.n >= CONN_OUT_LOW;
	parts_gather(&c->out, str_n((const char *)head, 9), &s->x.out, length);
	exchange_sent(&s->x, length);
	return 0;
}

static ssize_t send_frame(nghttp2_session *session, const uint8_t *p, size_t n, int flags, void *arg)
{
	struct http2 *h = arg;

	if (h->c->out.n >= OUT_MOST)
		return NGHTTP2_ERR_WOULDBLOCK;
	parts_copy(&h->c->out, str_n((const char *)p, n));
	return (ssize_t)n;
}

static nghttp2_nv nv(struct str name, struct str value)
{
	return (nghttp2_nv){ (uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n, NGHTTP2_NV_FLAG_NONE };
}

static bool forbidden(struct str name)
{
	return str_is(name, "connection") || str_is(name, "transfer-encoding") || str_is(name, "keep-alive") ||
		str_is(name, "upgrade") || str_is(name, "content-length") || str_is(name, "date");
}

static void answer(struct stream *s, int status, const struct http_header *headers, size_t n)
{
	bool bodiless = s->head_only || status == 204 || status == 304;
	nghttp2_nv *v = xcalloc(n + 3, sizeof(*v));
	nghttp2_data_provider body = { .source.ptr = s, .read_callback = read_out };
	char code[24], length[24];
	size_t k = 0;

	snprintf(code, sizeof(code), "%d", status);
	v[k++] = nv(STR(":status"), str_c(code));
	v[k++] = nv(STR("date"), loop_date(s->h->c->loop));
	if (!s->x.stream && status != 204 && status != 304)
		v[k++] = nv(STR("content-length"), answer_length(headers, n, s->head_only, s->x.out.n, length));
	for (size_t i = 0; i < n; i++)
		if (!forbidden(headers[i].name))
			v[k++] = nv(headers[i].name, headers[i].value);
	if (bodiless || (s->x.ended && !s->x.out.n)) {
		exchange_sent(&s->x, s->x.out.n);
		parts_fini(&s->x.out);
		s->x.ended = true;
		bodiless = true;
	}
	if (nghttp2_submit_response(s->h->session, s->id, v, k, bodiless ? NULL : &body))
		nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
	free(v);
	conn_dirty(s->h->c);
}

static void on_answer(struct http_exchange *x, struct http_request *r)
{
	answer(container_of(x, struct stream, x), r->status, r->answer, r->n_answer);
}

static void on_more(struct http_exchange *x)
{
	struct stream *s = container_of(x, struct stream, x);

	if (s->deferred && (s->x.out.n || s->x.ended)) {
		s->deferred = false;
		nghttp2_session_resume_data(s->h->session, s->id);
	}
	if (s->head_only) {
		exchange_sent(&s->x, s->x.out.n);
		parts_fini(&s->x.out);
	}
	conn_dirty(s->h->c);
}

static void on_abort(struct http_exchange *x)
{
	struct stream *s = container_of(x, struct stream, x);

	nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
	conn_dirty(s->h->c);
}

static const struct http_exchange_ops exchange_ops = { .answer = on_answer, .more = on_more, .abort = on_abort };

/* ---- streams --------------------------------------------------------------------------------- */

static void rest(struct http2 *h)
{
	conn_deadline(h->c, h->n_reading ? h->server->o.header_ms : h->n_streams ? 0 : h->server->o.idle_ms);
}

static struct stream *stream_new(struct http2 *h, int32_t id)
{
	struct stream *s = xcalloc(1, sizeof(*s));

	s->x.ops = &exchange_ops;
	s->x.server = h->server;
	s->x.room = &h->answers;
	s->h = h;
	s->id = id;
	s->since = mono_now();
	s->reading = true;
	s->fields.text = BUF_INIT;
	s->fields.text.max = h->server->o.header_max;
	s->next = h->streams;
	s->prev = &h->streams;
	if (s->next)
		s->next->prev = &s->next;
	h->streams = s;
	h->n_streams++;
	h->n_reading++;
	nghttp2_session_set_stream_user_data(h->session, id, s);
	if (h->n_reading == 1)
		rest(h);
	return s;
}

static void stream_read(struct stream *s)
{
	if (!s->reading)
		return;
	s->reading = false;
	if (--s->h->n_reading == 0)
		rest(s->h);
}

static void stream_free(struct stream *s)
{
	struct http2 *h = s->h;

	exchange_over(&s->x);
	http_request_drop(s->r);
	room_hold(&h->server->arriving, &h->room, &s->held, 0);
	fields_fini(&s->fields);
	*s->prev = s->next;
	if (s->next)
		s->next->prev = s->prev;
	h->n_streams--;
	stream_read(s);
	if (!h->n_streams)
		rest(h);
	free(s);
}

static void refuse(struct stream *s, int status)
{
	struct refusal no = http_refusal(s->h->server, status);

	if (s->refused)
		return;
	s->refused = status;
	fields_fini(&s->fields);
	http_request_drop(TAKE(s->r));
	room_hold(&s->h->server->arriving, &s->h->room, &s->held, 0);
	if (status == 429 && s->h->n_streams > STREAMS_FEW) {
		nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_REFUSED_STREAM);
		return;
	}
	parts_copy(&s->x.out, str_c(no.text));
	s->x.ended = true;
	answer(s, status, no.headers, no.n);
}

/* It answers for what has arrived of it. */
static bool hold(struct stream *s)
{
	size_t holds = STREAM_BYTES;

	if (s->r)
		holds += s->r->text_n + s->r->n_headers * sizeof(*s->r->headers) + s->r->body.cap;
	else
		holds += s->fields.text.cap + s->fields.cap * sizeof(*s->fields.v);
	return room_hold(&s->h->server->arriving, &s->h->room, &s->held, holds);
}

static void make_request(struct stream *s)
{
	struct http_request *r = xcalloc(1, sizeof(*r));
	struct http_header *host = NULL;
	size_t k = 0;

	r->loop = loop_ref(s->h->c->loop);
	r->peer = peer_ref(s->h->c->peer);
	r->version = 2;
	r->body = BUF_INIT;
	r->body.max = s->h->server->o.body_max;
	r->server = s->h->server;
	http_server_ref(r->server);
	r->text_n = s->fields.text.n;
	fields_take(&s->fields, &r->text, &r->headers, &r->n_headers);
	for (size_t i = 0; i < r->n_headers; i++) {
		struct http_header f = r->headers[i];

		if (str_is(f.name, ":method"))
			r->method = f.value;
		else if (str_is(f.name, ":path"))
			http_split_target(r, f.value);
		else if (str_is(f.name, ":authority"))
			f.name = STR("host");
		if (str_is(f.name, "host") && host)
			continue;
		if (f.name.n && f.name.p[0] == ':')
			continue;
		r->headers[k++] = f;
		if (str_is(f.name, "host"))
			host = &r->headers[k - 1];
	}
	r->n_headers = k;
	s->head_only = str_is(r->method, "HEAD");
	s->r = r;
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct http2 *h = arg;

	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		stream_new(h, frame->hd.stream_id);
	return 0;
}

static void keep_field(struct stream *s, struct str name, struct str value)
{
	if (s->no_room || s->fields.n >= HTTP1_HEADERS_MAX)
		s->fields.text.full = true;
	else
		fields_add(&s->fields, name, value);
	if (!hold(s))
		s->no_room = s->fields.text.full = true;
}

/* A field that nobody needs. Too much of that ends the connection, as each costs as much as it is long. */
static int on_drop_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
	const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (!s || (s->fields_dropped += name_n + value_n) <= FIELDS_DROP_MAX)
		return 0;
	nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the rest of them is not looked at */
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
	const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	bool wanted = s && !s->refused && !s->r; /* s->r: trailers */

	if (wanted)
		keep_field(s, str_n((const char *)name, name_n), str_n((const char *)value, value_n));
	if (wanted && !s->fields.text.full)
		return 0;
	return on_drop_field(session, frame, name, name_n, value, value_n, flags, arg);
}

static bool declared_too_large(const struct stream *s)
{
	int64_t n;

	return str_i64(http_header(s->r, "content-length"), &n) && n > (int64_t)s->h->server->o.body_max;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct http2 *h = arg;
	struct stream *s;

	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s && s->refused && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		stream_read(s);
	if (!s || s->refused)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && !s->r) {
		bool long_head = s->fields.text.full;

		if (!long_head)
			make_request(s);
		if (long_head || declared_too_large(s)) {
			refuse(s, s->no_room ? 429 : long_head ? 431 : 413);
			if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
				stream_read(s);
			return 0;
		}
	}
	if (!s->r || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	stream_read(s);
	http_grown(h->server, h->c);
	if (!exchange_weigh(&s->x, &s->x.out)) {
		refuse(s, 429);
		return 0;
	}
	room_hold(&h->server->arriving, &h->room, &s->held, 0);
	http_dispatch(h->server, &s->x, TAKE(s->r));
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, id);

	if (s && s->refused && (s->dropped += n) > DROP_MAX)
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
	if (!s || s->refused || !s->r)
		return 0;
	buf_add(&s->r->body, (const char *)p, n);
	if (s->r->body.full)
		refuse(s, 413);
	else if (!hold(s))
		refuse(s, 429);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, id);

	if (s)
		stream_free(s);
	return 0;
}

/* ---- the connection -------------------------------------------------------------------------- */

static void on_input(struct conn *c, struct str bytes)
{
	struct http2 *h = c->arg;

	if (!bytes.n) {
		conn_close(c, NULL);
		return;
	}
	ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.p, bytes.n);
	if (n < 0) {
		conn_close(c, "HTTP/2: %s", nghttp2_strerror((int)n));
		return;
	}
	if (nghttp2_session_get_outbound_queue_size(h->session) > QUEUE_MOST)
		conn_close(c, "HTTP/2: it does not read what it is answered");
	else
		conn_dirty(c);
}

static void on_fill(struct conn *c)
{
	struct http2 *h = c->arg;
	int r = nghttp2_session_send(h->session);

	if (r && r != NGHTTP2_ERR_WOULDBLOCK) {
		conn_close(c, "HTTP/2: %s", nghttp2_strerror(r));
		return;
	}
	if ((!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session)) ||
		(h->leaving && !h->n_streams && !nghttp2_session_want_write(h->session)))
		conn_finish(c);
}

static void on_timeout(struct conn *c)
{
	struct http2 *h = c->arg;
	struct mono now = mono_now();

	if (h->n_reading) {
		for (struct stream *s = h->streams; s; s = s->next)
			if (s->reading && mono_ms_between(s->since, now) >= h->server->o.header_ms)
				nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
		conn_deadline(c, h->server->o.header_ms);
	} else if (h->leaving) { /* nobody took our last word */
		conn_reset(c);
	} else {
		nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR);
		h->leaving = true;
		conn_deadline(c, LAST_WORD_MS);
	}
	conn_dirty(c);
}

static void on_gone(struct conn *c)
{
	struct http2 *h = c->arg;

	while (h->streams)
		stream_free(h->streams);
	nghttp2_session_del(h->session);
	http_grown(h->server, c);
	http_server_lost(h->server);
	free(h);
}

/* Of the whole connection, or of streams whose window is shut. */
static size_t holds(const struct conn *c, uint64_t *ret_since_ms)
{
	const struct http2 *h = c->arg;
	size_t bytes = 0;

	*ret_since_ms = c->blocked ? c->moved_ms : 0;
	for (const struct stream *s = h->streams; s; s = s->next) {
		if (!s->x.out.n)
			continue;
		bytes += s->x.held;
		if (!c->blocked && (!*ret_since_ms || s->x.moved_ms < *ret_since_ms))
			*ret_since_ms = s->x.moved_ms;
	}
	return bytes;
}

static void shed(struct conn *c, uint64_t since_ms)
{
	struct http2 *h = c->arg;

	if (c->blocked) {
		conn_reset(c);
		return;
	}
	for (struct stream *s = h->streams; s; s = s->next)
		if (s->x.out.n && s->x.moved_ms <= since_ms)
			nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_ENHANCE_YOUR_CALM);
	conn_dirty(c);
}

static bool is_idle(const struct conn *c)
{
	return !((const struct http2 *)c->arg)->n_streams;
}

/* GOAWAY tells which requests were not begun. */
static void leave(struct conn *c, bool just_used)
{
	c->leaving = true;
	http2_shutdown(c);
	conn_deadline(c, LAST_WORD_MS);
}

const struct conn_ops http2_ops = { .input = on_input,
	.fill = on_fill,
	.timeout = on_timeout,
	.gone = on_gone,
	.holds = holds,
	.shed = shed,
	.idle = is_idle,
	.leave = leave };

struct http_server *http2_server(const struct conn *c)
{
	return ((struct http2 *)c->arg)->server;
}

void http2_shutdown(struct conn *c)
{
	struct http2 *h = c->arg;

	h->leaving = true;
	nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->session),
		NGHTTP2_NO_ERROR, NULL, 0);
	for (struct stream *s = h->streams; s; s = s->next)
		if (s->x.stream || s->reading)
			nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
	conn_dirty(c);
}

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;
static void setup(void)
{
	if (nghttp2_session_callbacks_new(&callbacks) || nghttp2_option_new(&options))
		PANIC("no memory for HTTP/2");
	nghttp2_session_callbacks_set_send_callback(callbacks, send_frame);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, send_out);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
	nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_drop_field);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_option_set_no_closed_streams(options, 1);
	nghttp2_option_set_server_fallback_rfc7540_priorities(options, 0);
}

void http2_begin(struct conn *c, struct http_server *s)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http2 *h = xcalloc(1, sizeof(*h));
	nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)s->o.header_max },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
	};

	pthread_once(&once, setup);
	h->c = c;
	h->server = s;
	if (nghttp2_session_server_new2(&h->session, callbacks, h, options))
		PANIC("no memory for HTTP/2");
	conn_set(c, &http2_ops, h);
	nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
	nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW);
	rest(h);
	conn_dirty(c);
}

/* WebSocket, the server's side (RFC 6455). wslay reads frames, joins messages, answers pings and closings; what we send
 * are single unmasked frames, made here, so that any thread may send: a pipe keeps each in one piece. */
#include "net/net_internal.h"
#include <openssl/evp.h>
#include <wslay/wslay.h>

#define MESSAGE_MAX ((uint64_t)1 << 20)
#define UNSENT_MOST ((size_t)1 << 20) /* then reading rests, or pings could pile up pongs */
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct websocket {
	struct net_pipe *p;
	const struct websocket_ops *ops;
	void *arg;
	wslay_event_context_ptr ctx; /* loop */
	struct str in;               /* loop: what wslay has not read yet */
	struct buf out;              /* loop: what wslay writes */
	pthread_mutex_t lock;        /* for the next two */
	bool paused, choked;
};

/* ---- frames ---------------------------------------------------------------------------------- */

static size_t frame_head(unsigned opcode, size_t n, char head[10])
{
	head[0] = (char)(0x80 | opcode);
	if (n < 126) {
		head[1] = (char)n;
		return 2;
	}
	size_t bytes = n < 65536 ? 2 : 8;
	head[1] = bytes == 2 ? 126 : 127;
	for (size_t i = 0; i < bytes; i++)
		head[2 + i] = (char)((uint64_t)n >> (8 * (bytes - 1 - i)));
	return 2 + bytes;
}

#define PARTS_MAX 16
void websocket_send(struct websocket *w, bool binary, const struct str *parts, size_t n)
{
	struct str v[PARTS_MAX + 1];
	size_t total = 0;
	char head[10];

	PRE(n <= PARTS_MAX);
	for (size_t i = 0; i < n; i++) {
		v[i + 1] = parts[i];
		total += parts[i].n;
	}
	v[0] = str_n(head, frame_head(binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME, total, head));
	pipe_writev(w->p, v, n + 1);
}

void websocket_send_pieces(struct websocket *w, bool binary, const struct net_piece *take, size_t n)
{
	size_t total = 0;
	char head[10];

	for (size_t i = 0; i < n; i++)
		total += take[i].bytes.n;
	size_t head_n = frame_head(binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME, total, head);
	pipe_write_pieces(w->p, str_n(head, head_n), take, n);
}

size_t websocket_unsent(struct websocket *w)
{
	return net_pipe_unsent(w->p);
}

/* With the lock held; releases it. */
static void pause_unlock(struct websocket *w)
{
	net_pipe_pause(w->p, w->paused || w->choked);
	pthread_mutex_unlock(&w->lock);
}

void websocket_pause(struct websocket *w, bool paused)
{
	pthread_mutex_lock(&w->lock);
	w->paused = paused;
	pause_unlock(w);
}

void websocket_close(struct websocket *w, int code, const char *reason)
{
	char text[125], head[10];
	size_t n = reason ? strlen(reason) : 0;

	n = MIN(n, sizeof(text) - 2);
	while (n && ((unsigned char)reason[n] & 0xc0) == 0x80)
		n--; /* not within a character */
	text[0] = (char)(code >> 8);
	text[1] = (char)code;
	if (n)
		memcpy(text + 2, reason, n);
	struct str v[2] = { str_n(head, frame_head(WSLAY_CONNECTION_CLOSE, n + 2, head)), str_n(text, n + 2) };
	pipe_writev(w->p, v, 2);
	net_pipe_close(w->p);
}

/* ---- reading --------------------------------------------------------------------------------- */

static ssize_t feed(wslay_event_context_ptr ctx, uint8_t *to, size_t cap, int flags, void *arg)
{
	struct websocket *w = arg;
	size_t n = MIN(cap, w->in.n);

	if (!n) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	memcpy(to, w->in.p, n);
	w->in = str_sub(w->in, n, w->in.n);
	return (ssize_t)n;
}

static ssize_t drain(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags, void *arg)
{
	struct websocket *w = arg;

	buf_add(&w->out, p, n);
	return (ssize_t)n;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *arg)
{
	struct websocket *w = arg;

	if (!wslay_is_ctrl_frame(m->opcode))
		w->ops->message(w->arg, m->opcode == WSLAY_BINARY_FRAME, str_n((const char *)m->msg, m->msg_length));
}

static void on_data(void *arg, struct str bytes)
{
	struct websocket *w = arg;

	if (!bytes.n) {
		net_pipe_close(w->p);
		return;
	}
	w->in = bytes;
	int r = wslay_event_recv(w->ctx);
	w->in = STR_NULL;
	wslay_event_send(w->ctx);
	if (w->out.n)
		net_pipe_write(w->p, buf_view(&w->out));
	buf_fini(&w->out);
	w->out = BUF_INIT;
	if (r || !wslay_event_get_read_enabled(w->ctx)) {
		net_pipe_close(w->p);
		return;
	}
	if (net_pipe_unsent(w->p) < UNSENT_MOST)
		return;
	pthread_mutex_lock(&w->lock);
	w->choked = true;
	pause_unlock(w);
}

static void on_writable(void *arg)
{
	struct websocket *w = arg;

	pthread_mutex_lock(&w->lock);
	bool was = w->choked;
	w->choked = false;
	if (was)
		pause_unlock(w);
	else
		pthread_mutex_unlock(&w->lock);
	if (w->ops->writable)
		w->ops->writable(w->arg);
}

/* A pong that nobody asked for (RFC 6455, 5.5.3): no answer follows, which might wait behind what we do not read. */
static void on_nudge(void *arg)
{
	struct websocket *w = arg;
	char head[10];
	struct str frame = str_n(head, frame_head(WSLAY_PONG, 0, head));

	pipe_writev(w->p, &frame, 1);
}

static void on_closed(void *arg)
{
	struct websocket *w = arg;

	if (w->ops->closed)
		w->ops->closed(w->arg);
	wslay_event_context_free(w->ctx);
	buf_fini(&w->out);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static const struct net_pipe_ops pipe_ops = {
	.data = on_data, .writable = on_writable, .closed = on_closed, .nudge = on_nudge
};

/* ---- the handshake --------------------------------------------------------------------------- */

static bool has_token(struct str list, const char *token)
{
	for (struct str part, rest = list; str_next(&rest, ',', &part);)
		if (str_eq_nocase(str_trim(part), str_c(token)))
			return true;
	return false;
}

static void accept_key(struct str key, char ret[32])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	auto_buf struct buf b = BUF_INIT;

	buf_str(&b, key);
	buf_c(&b, GUID);
	if (EVP_Digest(b.p, b.n, sum, &n, EVP_sha1(), NULL) != 1)
		PANIC("SHA-1 is not available");
	EVP_EncodeBlock((unsigned char *)ret, sum, (int)n);
}

static bool handshake_ok(struct http_request *r)
{
	struct str key = http_header(r, "sec-websocket-key");

	return str_is(http_method(r), "GET") && has_token(http_header(r, "upgrade"), "websocket") && key.n == 24 &&
		str_is(http_header(r, "sec-websocket-version"), "13");
}

static void no_pipe(void *arg)
{
	pipe_attach(arg, NULL, STR_NULL);
}

struct websocket *websocket_accept(
	struct http_request *r, const char *subprotocol, const struct websocket_ops *ops, void *arg)
{
	const struct wslay_event_callbacks callbacks = {
		.recv_callback = feed, .send_callback = drain, .on_msg_recv_callback = on_message
	};
	char key[32];

	accept_key(http_header(r, "sec-websocket-key"), key);
	struct http_header headers[] = {
		{ STR("upgrade"), STR("websocket") },
		{ STR("sec-websocket-accept"), str_c(key) },
		{ STR("sec-websocket-protocol"), str_c(subprotocol) },
	};
	struct websocket *w = xcalloc(1, sizeof(*w));
	w->ops = ops;
	w->arg = arg;
	w->out = BUF_INIT;
	pthread_mutex_init(&w->lock, NULL);
	if (wslay_event_context_server_init(&w->ctx, &callbacks, w))
		PANIC("no memory for a WebSocket");
	wslay_event_config_set_max_recv_msg_length(w->ctx, MESSAGE_MAX);
	if (!handshake_ok(r)) {
		w->p = pipe_new(r->loop, &pipe_ops, w);
		net_loop_post(r->loop, no_pipe, w->p);
		http_reply_text(r, 400, "text/plain", STR("expected a WebSocket handshake, version 13\n"));
		return w;
	}
	/* Held back until w->p is set: the loop may be faster than we are. */
	w->p = http_upgrade(r, headers, subprotocol ? 3 : 2, NULL, NULL);
	pipe_take(w->p, &pipe_ops, w);
	return w;
}

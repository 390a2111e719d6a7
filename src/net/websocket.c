/* WebSocket, the server's side (RFC 6455), on a pipe; frames are wslay's. One context belongs to one connection and is
 * guarded by its lock, since senders may be on any thread; callbacks run without it. */
#include "net/net.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <wslay/wslay.h>

#define MESSAGE_MAX ((size_t)1 << 20)
#define ACCEPT_SALT "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct message {
	struct message *next;
	bool binary;
	size_t n;
	char bytes[];
};

struct websocket {
	const struct websocket_ops *ops;
	void *arg;
	struct net_pipe *pipe;
	pthread_mutex_t lock; /* for the next ones */
	wslay_event_context_ptr frames;
	struct str in;	      /* what wslay has not read yet */
	struct message *first, **last; /* read, not handed over */
	bool closing;
};

/* ---- what wslay asks for, with the lock held ----- */

static ssize_t give(wslay_event_context_ptr ctx, uint8_t *to, size_t n, int flags, void *arg)
{
	struct websocket *w = arg;

	n = MIN(n, w->in.n);
	if (!n) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	memcpy(to, w->in.p, n);
	w->in = str_sub(w->in, n, w->in.n);
	return (ssize_t)n;
}

static ssize_t take(wslay_event_context_ptr ctx, const uint8_t *bytes, size_t n, int flags, void *arg)
{
	struct websocket *w = arg;

	net_pipe_write(w->pipe, str_n((const char *)bytes, n));
	return (ssize_t)n;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *arg)
{
	struct websocket *w = arg;
	struct message *copy;

	if (wslay_is_ctrl_frame(m->opcode)) /* wslay answers ping and close by itself */
		return;
	copy = xmalloc(sizeof(*copy) + m->msg_length);
	*copy = (struct message){ .binary = m->opcode == WSLAY_BINARY_FRAME, .n = m->msg_length };
	memcpy(copy->bytes, m->msg, m->msg_length);
	*w->last = copy;
	w->last = &copy->next;
}

/* ---- the pipe's callbacks, on the loop ----- */

static void end_if_done(struct websocket *w)
{
	if (wslay_event_get_close_sent(w->frames) && !wslay_event_want_write(w->frames) && !w->closing) {
		w->closing = true;
		net_pipe_close(w->pipe);
	}
}

static struct message *read_frames(struct websocket *w, struct str bytes)
{
	struct message *all;

	pthread_mutex_lock(&w->lock);
	w->in = bytes;
	if (wslay_event_recv(w->frames) != 0 && !w->closing) {
		w->closing = true;
		net_pipe_close(w->pipe);
	}
	w->in = STR_NULL;
	wslay_event_send(w->frames);
	end_if_done(w);
	all = w->first;
	w->first = NULL;
	w->last = &w->first;
	pthread_mutex_unlock(&w->lock);
	return all;
}

static void on_data(void *arg, struct str bytes)
{
	struct websocket *w = arg;
	struct message *next;

	if (!bytes.n) {
		net_pipe_close(w->pipe);
		return;
	}
	for (struct message *m = read_frames(w, bytes); m; m = next) {
		next = m->next;
		w->ops->message(w->arg, m->binary, str_n(m->bytes, m->n));
		free(m);
	}
}

static void on_writable(void *arg)
{
	struct websocket *w = arg;

	if (w->ops->writable)
		w->ops->writable(w->arg);
}

static void on_closed(void *arg)
{
	struct websocket *w = arg;
	struct message *next;

	w->ops->closed(w->arg);
	wslay_event_context_free(w->frames);
	for (struct message *m = w->first; m; m = next) {
		next = m->next;
		free(m);
	}
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static const struct net_pipe_ops pipe_ops = { .data = on_data, .writable = on_writable, .closed = on_closed };

/* ---- the users' side ----- */

static void accept_key(struct str key, char ret[32])
{
	unsigned char digest[SHA_DIGEST_LENGTH];
	auto_free char *text = xasprintf("%.*s" ACCEPT_SALT, STR_ARG(key));

	SHA1((const unsigned char *)text, strlen(text), digest);
	EVP_EncodeBlock((unsigned char *)ret, digest, sizeof(digest));
}

struct websocket *websocket_accept(struct http_request *r, const char *subprotocol, const struct websocket_ops *ops, void *arg)
{
	static const struct wslay_event_callbacks callbacks = { .recv_callback = give, .send_callback = take, .on_msg_recv_callback = on_message };
	struct websocket *w = xcalloc(1, sizeof(*w));
	char key[32];
	struct http_header headers[4] = { { STR("upgrade"), STR("websocket") }, { STR("connection"), STR("Upgrade") } };
	size_t n = 2;

	w->ops = ops;
	w->arg = arg;
	w->last = &w->first;
	pthread_mutex_init(&w->lock, NULL);
	if (wslay_event_context_server_init(&w->frames, &callbacks, w) != 0)
		PANIC("out of memory");
	wslay_event_config_set_max_recv_msg_length(w->frames, MESSAGE_MAX);
	accept_key(http_header(r, "sec-websocket-key"), key);
	headers[n++] = (struct http_header){ STR("sec-websocket-accept"), str_c(key) };
	if (subprotocol)
		headers[n++] = (struct http_header){ STR("sec-websocket-protocol"), str_c(subprotocol) };
	pthread_mutex_lock(&w->lock); /* the loop may be faster than we are */
	w->pipe = http_upgrade(r, headers, n, &pipe_ops, w);
	pthread_mutex_unlock(&w->lock);
	return w;
}

void websocket_send(struct websocket *w, bool binary, const struct str *parts, size_t n)
{
	struct buf whole = BUF_INIT;
	struct wslay_event_msg m;

	for (size_t i = 0; i < n; i++)
		buf_str(&whole, parts[i]);
	m = (struct wslay_event_msg){ .opcode = binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME, .msg = (const uint8_t *)whole.p, .msg_length = whole.n };
	pthread_mutex_lock(&w->lock);
	if (!w->closing && wslay_event_queue_msg(w->frames, &m) == 0)
		wslay_event_send(w->frames);
	pthread_mutex_unlock(&w->lock);
	buf_fini(&whole);
}

size_t websocket_unsent(struct websocket *w)
{
	return net_pipe_unsent(w->pipe);
}

void websocket_pause(struct websocket *w, bool paused)
{
	net_pipe_pause(w->pipe, paused);
}

void websocket_close(struct websocket *w, int code, const char *reason)
{
	pthread_mutex_lock(&w->lock);
	if (!w->closing && !wslay_event_get_close_sent(w->frames) &&
		wslay_event_queue_close(w->frames, (uint16_t)code, (const uint8_t *)reason, strlen(reason)) == 0)
		wslay_event_send(w->frames);
	if (wslay_event_get_close_received(w->frames))
		end_if_done(w);
	pthread_mutex_unlock(&w->lock);
}

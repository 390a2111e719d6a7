/* Streams between a client and the runtime's streaming server.
 *
 *   SPDY client       ══ bytes ══►  containerd (SPDY)     both sides speak the same: bytes pass through
 *   WebSocket tunnel  ══ bytes ══►  containerd (SPDY)     port-forward of newer kubectl: SPDY inside binary messages
 *   WebSocket v5/v4   ── channels ► SPDY streams          spoken here (stream_exec.c, stream_forward.c), because
 *                                                         containerd's own cannot half-close stdin
 *
 * All of it runs on the node's one loop; a session ends when both sides are closed. */
#include "node/streams.h"
#include <stdio.h>

#define LOG_MODULE "node"
#define HIGH ((size_t)256 << 10)
#define TUNNEL_PROTOCOL "SPDY/3.1+portforward.k8s.io"

static void session_free_later(void *arg)
{
	struct session *s = arg;

	s->spdy = spdy_free(s->spdy);
	s->client = http_client_free(s->client);
	free(s->channels);
	free(s->own);
	free(s->protocol);
	free(s->ws_protocol);
	free(s);
}

static void maybe_free(struct session *s)
{
	if (!s->near_open && !s->far_open && !s->rq)
		net_loop_post(s->n->loop, session_free_later, s); /* not from inside a callback of what is freed */
}

static void refuse(struct session *s, int status, struct str text)
{
	struct http_request *rq = TAKE(s->rq);

	http_reply_text(rq, status, "text/plain; charset=utf-8", text);
}

/* ---- bytes pass through ---------------------------------------------------------------------- */

static void near_data(void *arg, struct str bytes)
{
	struct session *s = arg;

	if (!s->far)
		return;
	if (!bytes.n) {
		net_pipe_end(s->far);
		return;
	}
	net_pipe_write(s->far, bytes);
	if (net_pipe_unsent(s->far) > HIGH)
		net_pipe_pause(s->near, true);
}

static void near_writable(void *arg)
{
	struct session *s = arg;

	if (s->far)
		net_pipe_pause(s->far, false);
}

static void near_closed(void *arg)
{
	struct session *s = arg;

	s->near_open = false;
	s->near = NULL;
	if (s->far)
		net_pipe_abandon(s->far);
	maybe_free(s);
}

/* No ping: its answer would wait behind the input that is not read, and in kubectl everything behind it. */
static void near_nudge(void *arg)
{
	struct session *s = arg;

	if (s->near && spdy_between(&s->passing))
		net_pipe_write(s->near, spdy_nothing());
}

static const struct net_pipe_ops near_ops = { near_data, near_writable, near_closed, near_nudge };

/* ---- WebSocket side -------------------------------------------------------------------------- */

void session_to_client(struct session *s, size_t channel, struct str bytes)
{
	char c = (char)(s->base64 ? '0' + channel : channel);
	auto_free char *text = s->base64 ? base64_encode(bytes) : NULL;
	struct str parts[] = { { &c, 1 }, text ? str_c(text) : bytes };

	if (!s->ws)
		return;
	websocket_send(s->ws, !s->base64, parts, 2);
	if (websocket_unsent(s->ws) > HIGH && s->far)
		net_pipe_pause(s->far, true);
}

void session_to_runtime(struct session *s, size_t channel, struct str bytes, bool fin)
{
	struct channel *ch = channel < s->n_channels ? &s->channels[channel] : NULL;

	if (!ch || !ch->stream || ch->closed)
		return;
	spdy_send(ch->stream, bytes, fin);
	ch->closed = fin;
	if (spdy_unsent(s->spdy) > HIGH && s->ws)
		websocket_pause(s->ws, true);
}

void session_finish(struct session *s)
{
	if (s->ws)
		websocket_close(s->ws, 1000, "");
}

static void ws_channel(struct session *s, struct str message)
{
	unsigned char ch = (unsigned char)message.p[0];
	struct str rest = str_sub(message, 1, message.n);
	auto_buf struct buf plain = BUF_INIT;

	if (s->base64) {
		ch = (unsigned char)(ch - '0');
		if (base64_decode(rest, &plain) < 0)
			return;
		rest = buf_view(&plain);
	}
	s->speaks->message(s, ch, rest);
}

static void ws_message(void *arg, bool binary, struct str bytes)
{
	struct session *s = arg;

	(void)binary;
	if (!bytes.n || !s->far)
		return;
	if (s->speaks) {
		ws_channel(s, bytes);
		return;
	}
	net_pipe_write(s->far, bytes);
	if (net_pipe_unsent(s->far) > HIGH)
		websocket_pause(s->ws, true);
}

static void ws_writable(void *arg)
{
	near_writable(arg);
}

static void ws_closed(void *arg)
{
	struct session *s = arg;

	s->near_open = false;
	s->ws = NULL;
	if (s->far)
		net_pipe_abandon(s->far);
	maybe_free(s);
}

static const struct websocket_ops ws_ops = { ws_message, ws_writable, ws_closed };

/* ---- SPDY streams behind channels ------------------------------------------------------------ */

static void spdy_data(void *arg, struct spdy_stream *st, struct str bytes, bool fin)
{
	struct session *s = arg;

	for (size_t i = 0; i < s->n_channels; i++) {
		struct channel *ch = &s->channels[i];

		if (ch->stream != st)
			continue;
		ch->ended = ch->ended || fin;
		s->speaks->data(s, i, bytes);
		return;
	}
}

static void spdy_reset(void *arg, struct spdy_stream *st)
{
	spdy_data(arg, st, STR(""), true);
}

static void spdy_writable(void *arg)
{
	struct session *s = arg;

	if (s->ws)
		websocket_pause(s->ws, false);
}

static void spdy_closed(void *arg)
{
	(void)arg; /* the pipe's closed() says the same */
}

static const struct spdy_ops spdy_session_ops = {
	.data = spdy_data, .reset = spdy_reset, .writable = spdy_writable, .closed = spdy_closed
};

void session_open(struct session *s, size_t channel, const struct http_header *headers, size_t n)
{
	s->channels[channel].stream = spdy_open(s->spdy, headers, n);
}

static void open_streams(struct session *s)
{
	s->spdy = spdy_new(s->far, &spdy_session_ops, s);
	s->speaks->open(s);
}

/* ---- containerd's side ----------------------------------------------------------------------- */

static void far_data(void *arg, struct str bytes)
{
	struct session *s = arg;

	if (s->spdy) {
		if (bytes.n)
			spdy_input(s->spdy, bytes);
		return;
	}
	if (s->ws_protocol) {
		if (bytes.n && s->ws) {
			websocket_send(s->ws, true, &bytes, 1);
			if (websocket_unsent(s->ws) > HIGH)
				net_pipe_pause(s->far, true);
		}
		return;
	}
	if (!s->near)
		return;
	if (!bytes.n) {
		net_pipe_end(s->near);
		return;
	}
	spdy_pass(&s->passing, bytes);
	net_pipe_write(s->near, bytes);
	if (net_pipe_unsent(s->near) > HIGH)
		net_pipe_pause(s->far, true);
}

static void far_writable(void *arg)
{
	struct session *s = arg;

	if (s->ws)
		websocket_pause(s->ws, false);
	if (s->near)
		net_pipe_pause(s->near, false);
}

static void far_closed(void *arg)
{
	struct session *s = arg;

	s->far_open = false;
	s->far = NULL;
	if (s->near)
		net_pipe_close(s->near);
	for (size_t i = 0; i < s->n_channels; i++)
		s->channels[i].ended = true;
	if (s->ws && s->speaks)
		s->speaks->gone(s);
	session_finish(s);
	maybe_free(s);
}

static const struct net_pipe_ops far_ops = { far_data, far_writable, far_closed };

static struct str header_of(const struct http_header *h, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq_nocase(h[i].name, str_c(name)))
			return h[i].value;
	return STR_NULL;
}

static void established(
	void *arg, struct net_pipe *p, int status, const struct http_header *headers, size_t n, struct str body)
{
	struct session *s = arg;

	if (status != 101) {
		refuse(s, status >= 400 ? status : 502,
			body.n ? body : STR("the container runtime refused the stream"));
		s->far_open = true; /* its closed() follows */
		return;
	}
	s->far = p;
	s->far_open = true;
	struct http_request *rq = TAKE(s->rq);
	if (s->ws_protocol) {
		s->near_open = true;
		s->ws = websocket_accept(rq, *s->ws_protocol ? s->ws_protocol : NULL, &ws_ops, s);
		if (s->speaks)
			open_streams(s);
		return;
	}
	struct str protocol = header_of(headers, n, "x-stream-protocol-version");
	struct http_header h[] = { { STR("connection"), STR("Upgrade") }, { STR("upgrade"), STR("SPDY/3.1") },
		{ STR("x-stream-protocol-version"), protocol } };
	s->near_open = true;
	s->near = http_upgrade(rq, h, protocol.p ? 3 : 2, &near_ops, s);
}

static void failed(void *arg, const struct err *e)
{
	struct session *s = arg;

	refuse(s, 502, str_c(e->message));
	maybe_free(s);
}

static const struct http_upgraded upgraded = { established, failed };

/* ---- the beginning --------------------------------------------------------------------------- */

/* The first of the client's subprotocols that we speak, newest first. */
static const char *choose(struct str offered, bool forward)
{
	static const char *const exec_ones[] = { "v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io",
		"channel.k8s.io", "base64.channel.k8s.io", NULL };
	static const char *const forward_ones[] = { TUNNEL_PROTOCOL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io",
		NULL };

	for (const char *const *one = forward ? forward_ones : exec_ones; *one; one++)
		for (struct str part, rest = offered; str_next(&rest, ',', &part);)
			if (str_is(str_trim(part), *one))
				return *one;
	return str_empty(offered) ? "" : NULL;
}

struct begin {
	struct session *s;
	char *path;
};

static void begin(void *arg) /* on the loop */
{
	struct begin *b = arg;
	struct session *s = b->s;
	struct http_header h[8] = { { STR("connection"), STR("Upgrade") }, { STR("upgrade"), STR("SPDY/3.1") },
		{ STR("content-length"), STR("0") } };
	size_t n = 3;

	for (struct str part, rest = str_c(s->protocol); str_next(&rest, ',', &part) && n < ARRAY_LEN(h);)
		h[n++] = (struct http_header){ STR("x-stream-protocol-version"), str_trim(part) };
	http_client_upgrade(s->client, "POST", str_c(b->path), h, n, &upgraded, &far_ops, s);
	free(b->path);
	free(b);
}

/* All values of a header that may be repeated, joined by commas. */
static char *joined(const struct http_request *rq, const char *name)
{
	const struct http_header *h;
	size_t n = http_headers(rq, &h);
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < n; i++)
		if (str_is(h[i].name, name))
			buf_printf(&b, "%s%.*s", b.n ? "," : "", STR_ARG(h[i].value));
	return str_dup(buf_view(&b));
}

static int bad_request(struct session *s, const char *why)
{
	auto_(arena_free) struct arena *a = arena_new();

	refuse(s, 400, arena_strf(a, "%s\n", why));
	return -ERR_BAD_REQUEST;
}

/* How both sides talk. Refused: answered. */
static int agree(struct session *s, bool forward, struct arena *a)
{
	struct str upgrade = http_header(s->rq, "upgrade"), query = http_query(s->rq);
	struct err e;

	err_init(&e);
	if (str_eq_nocase(upgrade, STR("websocket"))) {
		auto_free char *offered = joined(s->rq, "sec-websocket-protocol");
		const char *chosen = choose(str_c(offered), forward);

		if (!chosen)
			return bad_request(s, "none of the offered WebSocket subprotocols is spoken here");
		s->ws_protocol = xstrdup(chosen);
		s->base64 = strstr(chosen, "base64.") != NULL;
		s->protocol = xstrdup(forward ? "portforward.k8s.io" : "v4.channel.k8s.io");
		if (!forward)
			exec_begin(s, query, a);
		else if (strcmp(chosen, TUNNEL_PROTOCOL) != 0 && forward_begin(s, query, a, &e) < 0)
			return bad_request(s, e.message);
		return 0;
	}
	if (!str_starts(upgrade, STR("SPDY/")) && !str_starts(upgrade, STR("spdy/")))
		return bad_request(s, "this needs an upgrade to WebSocket or SPDY/3.1");
	s->protocol = joined(s->rq, "x-stream-protocol-version");
	return 0;
}

void streams_serve(struct node_agent *n, struct http_request *rq, const char *url, const char *kind)
{
	auto_(arena_free) struct arena *a = arena_new();
	const char *path = strchr(url + (strncmp(url, "http://", 7) == 0 ? 7 : 0), '/');
	auto_free char *base = path ? xstrndup(url, (size_t)(path - url)) : NULL;
	struct http_client_opts o = { .url = base, .loop = n->loop, .http1_only = true };
	struct session *s;
	struct begin *b;
	struct err e;

	err_init(&e);
	if (!path) {
		http_reply_text(rq, 502, "text/plain", STR("the container runtime gave no address for the stream"));
		return;
	}
	s = xcalloc(1, sizeof(*s));
	s->n = n;
	s->rq = rq;
	if (agree(s, strcmp(kind, "portforward") == 0, a) < 0) {
		session_free_later(s);
		return;
	}
	if (http_client_new(&o, &s->client, &e) < 0) {
		refuse(s, 502, str_c(e.message));
		session_free_later(s);
		return;
	}
	b = xcalloc(1, sizeof(*b));
	*b = (struct begin){ s, xstrdup(path) };
	net_loop_post(n->loop, begin, b);
}

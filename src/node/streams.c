/* Streams between a client and the runtime's streaming server.
 *
 *   SPDY client       ══ bytes ══►  containerd (SPDY)     both sides speak the same: bytes pass through
 *   WebSocket tunnel  ══ bytes ══►  containerd (SPDY)     port-forward of newer kubectl: SPDY inside binary messages
 *   WebSocket v5/v4   ── channels ► SPDY streams          spoken here, because containerd's own cannot half-close stdin
 *
 * All of it runs on the node's one loop; a session ends when both sides are closed. */
#include "node/node_internal.h"
#include <stdio.h>

#define LOG_MODULE "node"
#define HIGH ((size_t)256 << 10)
#define TUNNEL_PROTOCOL "SPDY/3.1+portforward.k8s.io"
#define CHANNELS 5
enum channel { CH_STDIN, CH_STDOUT, CH_STDERR, CH_ERROR, CH_RESIZE, CH_CLOSE = 255 };

struct session {
	struct node_agent *n;
	struct http_request *rq; /* until answered */
	struct http_client *client;
	char *protocol;     /* of the stream: v4.channel.k8s.io … */
	char *ws_protocol;  /* NULL: the client speaks SPDY; "": a WebSocket without subprotocol */
	bool base64;        /* WebSocket messages are text: a digit for the channel, then base64 */
	bool first_version; /* the error channel tells failures only, as text */
	bool tunnel;
	bool has_in, has_out, has_err, tty;
	struct net_pipe *near, *far; /* SPDY client; containerd */
	struct websocket *ws;
	struct spdy *spdy;
	struct spdy_stream *streams[CHANNELS];
	bool near_open, far_open, error_sent;
	int code;
	bool ended[CHANNELS];
};

static void session_free_later(void *arg)
{
	struct session *s = arg;

	s->spdy = spdy_free(s->spdy);
	s->client = http_client_free(s->client);
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
		net_pipe_close(s->far);
	maybe_free(s);
}

static const struct net_pipe_ops near_ops = { near_data, near_writable, near_closed };

/* ---- WebSocket side -------------------------------------------------------------------------- */

static void to_client(struct session *s, enum channel ch, struct str bytes)
{
	char c = (char)(s->base64 ? '0' + (int)ch : (int)ch);
	auto_free char *text = s->base64 ? base64_encode(bytes) : NULL;
	struct str parts[] = { { &c, 1 }, text ? str_c(text) : bytes };

	if (!s->ws)
		return;
	websocket_send(s->ws, !s->base64, parts, 2);
	if (websocket_unsent(s->ws) > HIGH && s->far)
		net_pipe_pause(s->far, true);
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
	if (ch == CH_CLOSE && rest.n == 1 && (unsigned char)rest.p[0] == CH_STDIN)
		ch = CH_CLOSE;
	else if (ch != CH_STDIN && ch != CH_RESIZE)
		return;
	if (ch == CH_CLOSE) {
		if (s->streams[CH_STDIN] && !s->ended[CH_STDIN])
			spdy_send(s->streams[CH_STDIN], STR(""), true);
		s->ended[CH_STDIN] = true;
		return;
	}
	if (s->streams[ch] && !s->ended[ch])
		spdy_send(s->streams[ch], rest, false);
	if (s->spdy && spdy_unsent(s->spdy) > HIGH)
		websocket_pause(s->ws, true);
}

static void ws_message(void *arg, bool binary, struct str bytes)
{
	struct session *s = arg;

	(void)binary;
	if (!bytes.n || !s->far)
		return;
	if (!s->tunnel) {
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
		net_pipe_close(s->far);
	maybe_free(s);
}

static const struct websocket_ops ws_ops = { ws_message, ws_writable, ws_closed };

/* ---- SPDY streams of an exec or attach ------------------------------------------------------- */

static int channel_of(struct session *s, struct spdy_stream *st)
{
	for (int i = 0; i < CHANNELS; i++)
		if (s->streams[i] == st)
			return i;
	return -1;
}

/* How the command ended, as a Status. The first version of the protocol knows only what went wrong, in words. */
static void send_verdict(struct session *s, struct str status)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct err e;

	s->error_sent = true;
	err_init(&e);
	if (!s->first_version || doc_parse(status, &d, &e) < 0)
		to_client(s, CH_ERROR, status);
	else if (!str_is(doc_str(d, "status"), "Success"))
		to_client(s, CH_ERROR, doc_str(d, "message"));
}

/* The error stream's end is the verdict; it comes after all output. */
static void maybe_finish(struct session *s)
{
	if (!s->ended[CH_ERROR] || (s->streams[CH_STDOUT] && !s->ended[CH_STDOUT]) ||
		(s->streams[CH_STDERR] && !s->ended[CH_STDERR]))
		return;
	if (!s->error_sent && s->far)
		send_verdict(s, STR("{\"metadata\":{},\"status\":\"Success\"}"));
	else if (!s->error_sent) /* nobody may take a part for the whole */
		send_verdict(s,
			STR("{\"metadata\":{},\"status\":\"Failure\",\"reason\":\"InternalError\",\"code\":500,\"message\":"
			    "\"the container runtime ended the stream without saying how the command ended; output may be missing\"}"));
	if (s->ws)
		websocket_close(s->ws, 1000, "");
}

static void spdy_data(void *arg, struct spdy_stream *st, struct str bytes, bool fin)
{
	struct session *s = arg;
	int ch = channel_of(s, st);

	if (ch < 0)
		return;
	if (bytes.n && (ch == CH_STDOUT || ch == CH_STDERR))
		to_client(s, (enum channel)ch, bytes);
	if (bytes.n && ch == CH_ERROR)
		send_verdict(s, bytes);
	if (fin)
		s->ended[ch] = true;
	maybe_finish(s);
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

static void open_stream(struct session *s, enum channel ch, const char *type)
{
	struct http_header h = { STR("streamtype"), str_c(type) };

	s->streams[ch] = spdy_open(s->spdy, &h, 1);
}

static void open_streams(struct session *s)
{
	s->spdy = spdy_new(s->far, &spdy_session_ops, s);
	open_stream(s, CH_ERROR, "error");
	if (s->has_in)
		open_stream(s, CH_STDIN, "stdin");
	if (s->has_out)
		open_stream(s, CH_STDOUT, "stdout");
	if (s->has_err && !s->tty)
		open_stream(s, CH_STDERR, "stderr");
	if (s->tty)
		open_stream(s, CH_RESIZE, "resize");
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
	if (s->tunnel) {
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
	if (s->ws) {
		s->ended[CH_ERROR] = s->ended[CH_STDOUT] = s->ended[CH_STDERR] = true;
		if (s->tunnel)
			websocket_close(s->ws, 1000, "");
		else
			maybe_finish(s);
	}
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
		if (!s->tunnel)
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
		"channel.k8s.io", "base64.channel.k8s.io" };
	static const char *const forward_ones[] = { TUNNEL_PROTOCOL };
	const char *const *list = forward ? forward_ones : exec_ones;

	for (size_t i = 0; i < (forward ? ARRAY_LEN(forward_ones) : ARRAY_LEN(exec_ones)); i++)
		for (struct str part, rest = offered; str_next(&rest, ',', &part);)
			if (str_is(str_trim(part), list[i]))
				return list[i];
	return str_empty(offered) && !forward ? "" : NULL;
}

static bool asked(struct str query, const char *a, const char *b, struct arena *ar)
{
	struct str v = query_get(query, a, ar);

	if (!v.p)
		v = query_get(query, b, ar);
	return query_true(v);
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

void streams_serve(struct node_agent *n, struct http_request *rq, const char *url, const char *kind)
{
	auto_(arena_free) struct arena *a = arena_new();
	bool forward = strcmp(kind, "portforward") == 0;
	struct str upgrade = http_header(rq, "upgrade"), query = http_query(rq);
	const char *path = strchr(url + (strncmp(url, "http://", 7) == 0 ? 7 : 0), '/');
	auto_free char *base = path ? xstrndup(url, (size_t)(path - url)) : NULL;
	struct session *s;
	struct begin *b;
	struct err e;

	err_init(&e);
	if (!path) {
		http_reply_text(rq, 502, "text/plain", STR("the container runtime gave no address for the stream"));
		return;
	}
	s = xcalloc(1, sizeof(*s));
	*s = (struct session){ .n = n,
		.rq = rq,
		.has_in = asked(query, "input", "stdin", a),
		.has_out = asked(query, "output", "stdout", a),
		.has_err = asked(query, "error", "stderr", a),
		.tty = asked(query, "tty", "tty", a) };
	if (str_eq_nocase(upgrade, STR("websocket"))) {
		auto_free char *offered = joined(rq, "sec-websocket-protocol");
		const char *chosen = choose(str_c(offered), forward);
		if (!chosen) {
			http_reply_text(TAKE(s->rq), 400, "text/plain",
				STR("none of the offered WebSocket subprotocols is spoken here\n"));
			session_free_later(s);
			return;
		}
		s->ws_protocol = xstrdup(chosen);
		s->tunnel = forward;
		s->base64 = strstr(chosen, "base64.") != NULL;
		s->first_version = strncmp(chosen, "v", 1) != 0;
		s->protocol = xstrdup(forward ? "portforward.k8s.io" : "v4.channel.k8s.io");
	} else if (str_starts(upgrade, STR("SPDY/")) || str_starts(upgrade, STR("spdy/"))) {
		s->protocol = joined(rq, "x-stream-protocol-version");
	} else {
		http_reply_text(
			TAKE(s->rq), 400, "text/plain", STR("this needs an upgrade to WebSocket or SPDY/3.1\n"));
		session_free_later(s);
		return;
	}
	struct http_client_opts o = { .url = base, .loop = n->loop, .http1_only = true };
	if (http_client_new(&o, &s->client, &e) < 0) {
		http_reply_text(TAKE(s->rq), 502, "text/plain", str_c(e.message));
		session_free_later(s);
		return;
	}
	b = xcalloc(1, sizeof(*b));
	*b = (struct begin){ s, xstrdup(path) };
	net_loop_post(n->loop, begin, b);
}

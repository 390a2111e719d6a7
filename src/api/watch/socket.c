/* A watch over a WebSocket, as browsers have it: each event is one message.
 *
 *     watch ── pieces ──► frame ──► connection        loop: writable, closed ──► watch
 *
 * The watch may end before the connection does. Who does not read keeps his place then, and nobody waiting. */
#include "api/relay/relay.h"
#include "api/watch/watch.h"

struct socket {
	struct http_request *http; /* until it begins */
	struct net_loop *loop;     /* borrowed */
	const char *protocol;      /* in the request's arena; or NULL */
	struct place *place;       /* own */
	bool binary;
	struct websocket *ws;
	atomic_uint refs;                  /* the connection, and news of the watch's end */
	const struct http_stream_ops *ops; /* loop; NULL: the watch knows that it is over */
	void *arg;
};

static void unref(struct socket *s)
{
	if (atomic_fetch_sub(&s->refs, 1) == 1)
		free(s);
}

/* On the loop. */
static void tell_closed(struct socket *s)
{
	const struct http_stream_ops *ops = TAKE(s->ops);

	if (ops)
		ops->closed(s->arg);
	unref(s);
}

/* ---- from the connection --------------------------------------------------------------------- */

static void on_message(void *arg, bool binary, struct str bytes)
{
	(void)arg, (void)binary, (void)bytes; /* there is nothing to be said to a watch */
}

static void on_writable(void *arg)
{
	struct socket *s = arg;

	if (s->ops)
		s->ops->writable(s->arg);
}

static void on_closed(void *arg)
{
	struct socket *s = arg;

	place_leave(s->place);
	tell_closed(s);
}

static const struct websocket_ops ws_ops = { on_message, on_writable, on_closed };

/* ---- from the watch -------------------------------------------------------------------------- */

static void *begin(void *arg, int status, const struct http_header *headers, size_t n_headers,
	const struct http_stream_ops *ops, void *ops_arg)
{
	struct socket *s = arg;

	(void)status, (void)headers, (void)n_headers; /* the handshake has its own */
	s->ops = ops;
	s->arg = ops_arg;
	s->ws = websocket_accept(s->http, s->protocol, &ws_ops, s);
	return s;
}

/* An event of JSON ends with its line. One of protobuf is one piece, and a message needs no length before it. */
static void write_events(void *stream, const struct net_piece *p, size_t n)
{
	struct socket *s = stream;
	size_t from = 0;

	for (size_t i = 0; i < n; i++) {
		if (s->binary) {
			struct net_piece event = { str_sub(p[i].bytes, 4, p[i].bytes.n), p[i].owner, p[i].end };

			websocket_send_pieces(s->ws, true, &event, 1);
		} else if (str_ends(p[i].bytes, STR("\n"))) {
			websocket_send_pieces(s->ws, false, p + from, i + 1 - from);
			from = i + 1;
		}
	}
}

static size_t unsent(void *stream)
{
	return websocket_unsent(((struct socket *)stream)->ws);
}

static void over(void *arg)
{
	tell_closed(arg);
}

static void end(void *stream)
{
	struct socket *s = stream;

	atomic_fetch_add(&s->refs, 1);
	websocket_close(s->ws, 1000, "");
	net_loop_post(s->loop, over, s);
}

const struct api_sink socket_out = { .stream = begin, .write = write_events, .unsent = unsent, .end = end };

/* ---- making one ------------------------------------------------------------------------------ */

bool socket_asked(const struct rq *rq)
{
	return rq->http && http_version(rq->http) == 1 &&
		str_eq_nocase(str_trim(rq_header(rq, "upgrade")), STR("websocket"));
}

int socket_new(struct rq *rq, void **ret, struct err *e)
{
	struct str protocol, offered = relay_without_token(rq, rq_header(rq, "sec-websocket-protocol"));
	struct place *place;

	if (relay_place(rq, &place, e) < 0)
		return -e->code;
	struct socket *s = xcalloc(1, sizeof(*s));
	s->http = rq->http;
	s->loop = http_loop_of(rq->http);
	s->protocol = str_next(&offered, ',', &protocol) && protocol.n ? arena_cstr(rq->a, protocol) : NULL;
	s->place = place;
	s->binary = rq->media == MEDIA_PROTOBUF;
	atomic_init(&s->refs, 1);
	*ret = s;
	return 0;
}

void socket_drop(void *arg)
{
	struct socket *s = arg;

	place_leave(s->place);
	unref(s);
}

/* Connections: loops, TLS, an HTTP/1.1 + HTTP/2 server, and small clients for HTTP and gRPC.
 *
 * A loop is one thread with one libuv loop; it owns its connections. Everything that is said to be callable from any
 * thread posts a message to the loop. Handlers run on the loop and must not block: they answer at once or hand the
 * request on and answer later.
 * Sources: RFC 9110, 9112 (HTTP/1.1), 9113 (HTTP/2), 6455 (WebSocket), SPDY/3.1 draft, gRPC over HTTP/2. */
#pragma once
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "base/util.h"

struct net_loop;
struct net_loop *net_loop_new(const char *thread_name); /* starts its thread */
struct net_loop *net_loop_free(struct net_loop *l);     /* closes what it owns, joins */
AUTO(struct net_loop, net_loop_free)
void net_loop_post(struct net_loop *l, void (*run)(void *arg), void *arg); /* any thread */

/* ---- TLS ------------------------------------------------------------------------------------- */

struct tls;
struct tls_opts {
	const char *cert_file, *key_file; /* PEM; a client may have none */
	const char *ca_file;              /* PEM: checks the other side */
	bool server;                      /* server: asks for a client certificate, accepts none (then peer is empty) */
	bool insecure;                    /* client: no check of the other side (never by default) */
	struct str ca_pem; /* ca_file as bytes, for clients; a client without either trusts the system's */
};
int tls_new(const struct tls_opts *o, struct tls **ret, struct err *e);
struct tls *tls_ref(struct tls *t);
struct tls *tls_free(struct tls *t); /* drops one reference */
AUTO(struct tls, tls_free)

/* ---- bytes that somebody else owns ----------------------------------------------------------- */

/* A piece of a body, sent without copying; when sent (or dropped) end(owner) runs on the loop. end NULL: static
 * bytes. */
struct net_piece {
	struct str bytes;
	void *owner;
	void (*end)(void *owner);
};

/* A body that is made while it is sent, so that a long one is nowhere as a whole. */
struct net_source {
	size_t n; /* bytes in all, > 0 */
	/* On the loop: the next of them, at least one, while there are any; good until the next call. */
	struct str (*next)(void *owner);
	void (*end)(void *owner); /* on the loop: all were taken, or nobody wants them any more */
	void *owner;
};

/* ---- HTTP server ----------------------------------------------------------------------------- */

struct http_header {
	struct str name, value; /* name in lower case */
};
struct http_request; /* one request; belongs to the server until it is answered */

/* Accessors: any thread, good until the request was answered. */
struct str http_method(const struct http_request *r);
struct str http_path(const struct http_request *r);                           /* as sent, before '?' */
struct str http_query(const struct http_request *r);                          /* after '?', raw */
struct str http_header(const struct http_request *r, const char *lower_name); /* first value, p NULL: absent */
size_t http_headers(const struct http_request *r, const struct http_header **ret);
struct str http_body(const struct http_request *r); /* complete, ≤ body_max */
/* The verified client certificate: PEM-independent facts; cn empty: no certificate. Organizations are groups. */
struct http_peer {
	struct str cn;
	const struct str *orgs;
	size_t n_orgs;
	struct str address; /* "127.0.0.1" */
	int64_t not_after_s;
	bool rejected; /* it showed a certificate that does not verify (cn stays empty): answer 401 */
};
const struct http_peer *http_peer(const struct http_request *r);
int http_version(const struct http_request *r); /* 1 or 2 */
/* Any thread: its connection has one of the last places. They are for requests that end soon: answer 429, which ends it. */
bool http_crowded(const struct http_request *r);
/* Any thread: nobody will see an answer, since its client has reset it, or is gone. A client of HTTP/1.1 that closes its
 * connection may still read; only a reset tells. */
bool http_gone(const struct http_request *r);
void *http_loop_of(const struct http_request *r); /* struct net_loop * */

/* Exactly one of the following answers a request; each from any thread. The request is gone afterwards.
 * headers are copied; pieces are taken (also when the peer is gone). Content-Length and Date are added; of an answer to HEAD
 * the headers may have the former, which is then what GET would say. */
void http_reply(struct http_request *r, int status, const struct http_header *headers, size_t n_headers,
	const struct net_piece *pieces, size_t n_pieces);
void http_reply_source(struct http_request *r, int status, const struct http_header *headers, size_t n_headers,
	const struct net_source *take);
void http_reply_text(struct http_request *r, int status, const char *content_type, struct str copied_body);

/* A body without known length: chunked or DATA frames. */
struct http_stream;
struct http_stream_ops {
	/* On the loop: at most `unsent` bytes are queued again below the low mark, write more. */
	void (*writable)(void *arg);
	/* On the loop, exactly once and last: the peer is gone or the stream was ended. arg may be freed. */
	void (*closed)(void *arg);
};
/* Own: until closed() ran. */
struct http_stream *http_reply_stream(struct http_request *r, int status, const struct http_header *headers,
	size_t n_headers, const struct http_stream_ops *ops, void *arg);
void http_stream_write(struct http_stream *s, const struct net_piece *pieces, size_t n); /* any thread; pieces taken */
size_t http_stream_unsent(struct http_stream *s); /* any thread: bytes queued; a writer stops above HTTP_STREAM_HIGH */
void http_stream_end(struct http_stream *s);      /* any thread: finishes the body, then closed() */
void http_stream_abort(struct http_stream *s);
#define HTTP_STREAM_HIGH ((size_t)256 << 10)

/* The connection becomes a pipe of bytes (HTTP/1.1 Upgrade only; on HTTP/2 it is an error answered by the server).
 * 101 with these headers is sent first ("connection: Upgrade" is added). The callbacks may run before the function
 * returns, on the loop. ops NULL: the pipe is held back (nothing read is lost, nobody is called) until net_splice() or
 * net_pipe_close(): so two pipes can be brought together without a gap. A pipe is borrowed until its closed() ran. */
struct net_pipe;
struct net_pipe_ops {
	void (*data)(
		void *arg, struct str bytes); /* on the loop; bytes borrowed. n == 0: the other side finished sending */
	void (*writable)(void *arg);
	void (*closed)(void *arg); /* exactly once and last */
	/* On the loop, each 20 s while it is paused and nothing is to be sent: say something that changes nothing. A peer
	 * that is gone resets then, while its end stands behind what is not read. NULL: there is no such thing to say. */
	void (*nudge)(void *arg);
};
struct net_pipe *http_upgrade(struct http_request *r, const struct http_header *headers, size_t n_headers,
	const struct net_pipe_ops *ops, void *arg);
void net_pipe_write(struct net_pipe *p, struct str copied); /* any thread */
size_t net_pipe_unsent(struct net_pipe *p);
void net_pipe_pause(struct net_pipe *p, bool paused); /* reading stops while paused: back-pressure */
void net_pipe_end(struct net_pipe *p);                /* sends the rest, then half-closes (TLS close_notify / FIN) */
void net_pipe_close(struct net_pipe *p);              /* sends the rest, then closes */
void net_pipe_abandon(struct net_pipe *p); /* so, too; but who takes nothing of the rest for a minute does not get it */
/* Splices two pipes with back-pressure until both are closed; takes both, whatever ops they had. Any thread; they may
 * live on two loops. When the client's closes, the other is abandoned. over(arg) runs when both are; NULL: nobody asks. */
void net_splice(struct net_pipe *client, struct net_pipe *other, void (*over)(void *arg), void *arg);

struct http_server;
struct http_server_opts {
	const char *address;     /* "0.0.0.0", "::", "127.0.0.1" */
	int port;                /* 0: any; see http_server_port() */
	int fd;                  /* >0: an already bound, listening socket, taken */
	struct tls *tls;         /* borrowed; NULL: clear text */
	struct net_loop **loops; /* connections are spread over them; borrowed */
	size_t n_loops;
	size_t body_max;        /* 0: 3 MiB. Larger: 413 */
	size_t bodies_max;      /* 0: 24 MiB. What requests hold as they arrive, and large bodies later; beyond: 429 */
	size_t header_max;      /* 0: 64 KiB. Larger: 431 */
	int64_t idle_ms;        /* between requests; 0: 120 s */
	int64_t header_ms;      /* to complete a request's headers and body; 0: 30 s / 60 s */
	size_t connections_max; /* 0: 20000. Beyond: the oldest half-open or idle ones have to go, or new ones are refused */
	size_t unread_max; /* 0: 64 MiB. What answers that nobody reads may hold; beyond: those stalled the longest have to go,
			      and 429 for who leaves some; at twice that for any large one */
	void (*handle)(void *arg, struct http_request *r); /* on a loop */
	const char *(*refused)(
		int status); /* JSON for requests that never reach `handle`, such as 413; NULL, or gives NULL: a line of text */
	void *arg;
};
int http_server_new(
	const struct http_server_opts *o, struct http_server **ret, struct err *e); /* "port 6443 is taken by …" */
int http_server_port(const struct http_server *s);
struct http_server *http_server_free(struct http_server *s); /* stops accepting, GOAWAY, closes */
AUTO(struct http_server, http_server_free)

/* ---- HTTP client: blocking calls for tasks on top of a loop (HTTP/2 where ALPN gives it, else HTTP/1.1 with
 * keep-alive) ---- */

struct http_client;
struct http_client_opts {
	const char *url;         /* "https://host:port" or "http://…" or "unix:/path" */
	struct tls *tls;         /* keeps a reference; NULL for http and unix */
	const char *server_name; /* SNI and name to check; NULL: host of url */
	struct net_loop *loop;   /* borrowed */
	int64_t connect_ms;      /* 0: 10 s */
	const char *user_agent;
	bool http1_only;
};
int http_client_new(
	const struct http_client_opts *o, struct http_client **ret, struct err *e); /* does not connect yet */
/* "host:port" as its URL has it. Borrow. */
struct str http_client_host(const struct http_client *c);
void http_client_close(
	struct http_client *c); /* any thread: ends its calls and all later ones; it is still to be freed */
struct http_client *http_client_free(struct http_client *c);
AUTO(struct http_client, http_client_free)
struct http_reply {
	int status;
	struct buf body;
	char content_type[64];
	int retry_after_s;
	struct http_header *headers; /* own, with http_reply_fini */
	size_t n_headers;
};
void http_reply_fini(struct http_reply *r);
/* Blocks until the whole answer is there. Not for loops. timeout_ms 0: 60 s. A transport failure is ERR_UNAVAILABLE or
 * ERR_TIMEOUT;
 * an HTTP error status is not an error here. Idempotent requests are retried once on a connection that had died while
 * idle. */
int http_call(struct http_client *c, const char *method, struct str path_query, const struct http_header *headers,
	size_t n_headers, struct str body, size_t body_max, int64_t timeout_ms, struct http_reply *ret, struct err *e);
/* For whoever asks many servers and waits for none. ready(arg) runs once, on the loop, when the answer is there or will not
 * come; it only queues the news, and does not run any more when http_asked_free() has returned. */
struct http_asked;
struct http_asked *http_ask(struct http_client *c, const char *method, struct str path_query,
	const struct http_header *headers, size_t n_headers, struct str body, size_t body_max, void (*ready)(void *arg),
	void *arg); /* own */
/* As http_call() returns it, once. -ERR_TIMEOUT, also: it has not come yet. */
int http_asked_take(struct http_asked *a, struct http_reply *ret, struct err *e);
struct http_asked *http_asked_free(struct http_asked *a); /* gives up what has not come */
AUTO(struct http_asked, http_asked_free)
/* A streaming answer (watch, log -f). */
struct http_download;
int http_open(struct http_client *c, const char *method, struct str path_query, const struct http_header *headers,
	size_t n_headers, struct str body, int64_t timeout_ms, int *ret_status, struct http_download **ret,
	struct err *e); /* returns when headers are there */
size_t http_download_headers(struct http_download *d, const struct http_header **ret); /* borrow: until it is freed */
/* Own: *ret bytes appended to buf. 1: data; 0: the end; -ERR_TIMEOUT; -ERR_CANCELED after http_download_cancel();
 * others: broken. */
int http_download_read(struct http_download *d, struct buf *out, int64_t timeout_ms, struct err *e);
void http_download_cancel(struct http_download *d); /* any thread; wakes a reader */
/* Instead of a thread that waits: ready(arg) runs when http_download_read() would return at once, and at once if it
 * would now. On the loop, under the download's lock: it only queues the news. It does not run any more when
 * http_download_free() has returned. */
void http_download_notify(struct http_download *d, void (*ready)(void *arg), void *arg);
struct http_download *http_download_free(struct http_download *d);
AUTO(struct http_download, http_download_free)
/* Upgrade as a client, asynchronous: the pipe's data() follows after established(status) on the loop. status != 101:
 * body holds the answer's start and the pipe closes. */
struct http_upgraded {
	void (*established)(void *arg, struct net_pipe *p, int status, const struct http_header *headers,
		size_t n_headers, struct str body);
	void (*failed)(void *arg, const struct err *e); /* then nothing else is called, closed() neither */
};
void http_client_upgrade(struct http_client *c, const char *method, struct str path_query,
	const struct http_header *headers, size_t n_headers, const struct http_upgraded *done,
	const struct net_pipe_ops *ops, void *arg); /* any thread; on a connection of its own */

/* ---- WebSocket (server side, on a pipe) and its handshake ------------------------------------ */

struct websocket;
struct websocket_ops {
	void (*message)(void *arg, bool binary, struct str bytes); /* whole messages, ≤ 1 MiB */
	void (*writable)(void *arg);
	void (*closed)(void *arg);
};
/* Answers the handshake with this subprotocol (NULL: none). When it was none, the answer is 400 and closed() follows.
 * Borrowed until closed() ran. Pings and closings are answered here. */
struct websocket *websocket_accept(
	struct http_request *r, const char *subprotocol, const struct websocket_ops *ops, void *arg);
void websocket_send(struct websocket *w, bool binary, const struct str *parts,
	size_t n); /* any thread; ≤ 16 parts are joined and copied */
/* One message of pieces, which are taken and not copied; any thread. */
void websocket_send_pieces(struct websocket *w, bool binary, const struct net_piece *take, size_t n);
size_t websocket_unsent(struct websocket *w);
void websocket_pause(struct websocket *w, bool paused);
void websocket_close(struct websocket *w, int code, const char *reason); /* any thread; closed() follows */

/* ---- SPDY/3.1 (client side, on a pipe): what containerd's streaming server speaks ------------ */

struct spdy;
struct spdy_stream;
struct spdy_ops {
	void (*replied)(void *arg, struct spdy_stream *s);
	void (*data)(void *arg, struct spdy_stream *s, struct str bytes, bool fin); /* bytes borrowed */
	void (*reset)(void *arg, struct spdy_stream *s);
	void (*writable)(void *arg);
	void (*closed)(void *arg);
};
/* Writes to the pipe, which it borrows and which keeps its ops: feed it with spdy_input() from the pipe's data(). p
 * NULL: writes nowhere (tests). Callbacks run inside spdy_input(); the rest is for any thread. closed(): the peer broke
 * the protocol, the pipe is being closed; the pipe's own closed() tells everything else. writable(): a window opened;
 * the pipe's own tells the rest. */
struct spdy *spdy_new(struct net_pipe *p, const struct spdy_ops *ops, void *arg);
void spdy_input(struct spdy *s, struct str bytes);
struct spdy *spdy_free(struct spdy *s); /* leaves the pipe alone; no callback afterwards. Also from a callback */
struct spdy_stream *spdy_open(
	struct spdy *s, const struct http_header *headers, size_t n); /* SYN_STREAM; borrowed until spdy_free */
void spdy_send(struct spdy_stream *st, struct str bytes, bool fin);   /* window respected: the rest is queued */
size_t spdy_unsent(struct spdy *s);
/* Of frames that only pass: whether the last of them is whole, so that one more fits in. */
struct spdy_passing {
	unsigned char head[8];
	size_t n; /* of head */
	uint32_t left;
};
void spdy_pass(struct spdy_passing *f, struct str bytes);
bool spdy_between(const struct spdy_passing *f);
struct str spdy_nothing(void); /* SETTINGS that set nothing: no answer follows */

/* ---- gRPC client over a unix socket or TLS --------------------------------------------------- */

struct grpc;
int grpc_new(struct net_loop *l, const char *target /* "unix:/path" or "https://…" */, struct tls *tls,
	struct grpc **ret, struct err *e); /* connects when first used, again after a loss */
struct grpc *grpc_free(struct grpc *g);
AUTO(struct grpc, grpc_free)
/* Blocks. method: "/runtime.v1.RuntimeService/Version". Message bytes in and out (protobuf). metadata may be NULL (e.g.
 * containerd-namespace).
 * A gRPC status other than 0 becomes the matching ERR_ code with the server's message. */
int grpc_call(struct grpc *g, const char *method, const struct http_header *metadata, size_t n_metadata,
	struct str request, int64_t timeout_ms, struct buf *response, struct err *e);
struct grpc_stream; /* server streaming, and client messages for bidirectional ones */
int grpc_open(struct grpc *g, const char *method, const struct http_header *metadata, size_t n_metadata,
	struct grpc_stream **ret, struct err *e);
int grpc_send(struct grpc_stream *s, struct str message, bool last, struct err *e);
/* 1: a message was put into out (replaced); 0: the stream ended well; -ERR_TIMEOUT; others: its status. */
int grpc_read(struct grpc_stream *s, struct buf *out, int64_t timeout_ms, struct err *e);
void grpc_cancel(struct grpc_stream *s);
struct grpc_stream *grpc_stream_free(struct grpc_stream *s);
AUTO(struct grpc_stream, grpc_stream_free)

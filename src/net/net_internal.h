/* What the files of net/ share. From below: parts (bytes to send), loop (thread and messages), conn (one socket,
 * perhaps TLS), and what speaks on it: http1, http2, pipe. Everything marked "loop" runs on the connection's loop. */
#pragma once
#include "base/task.h"
#include "net/net.h"
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <uv.h>

struct conn;
struct net_loop;

/* ---- parts: a queue of bytes, ours or somebody else's ---------------------------------------- */

struct part {
	struct part *next;
	struct part *of; /* bytes belong to this one (ref) */
	const char *p;   /* what is left; NULL: a source, which parts_move() and parts_gather() make into blocks */
	size_t n;
	unsigned refs;
	void *owner;
	void (*end)(void *owner);
	size_t used, room; /* of bytes[] */
	bool whole;        /* as much as a TLS record takes: it is one on its own, uncopied */
	char bytes[];
};
struct parts {
	struct part *first, *last;
	size_t n;     /* bytes */
	size_t count; /* parts */
};
void parts_fini(struct parts *l); /* drops all */
void parts_copy(struct parts *l, struct str bytes);
void parts_piece(struct parts *l, const struct net_piece *piece);  /* take */
void parts_source(struct parts *l, const struct net_source *take); /* one part: source.c */
void parts_drop(struct parts *l, size_t n);                        /* the first n bytes are sent */
void parts_move(struct parts *to, struct parts *from, size_t n);   /* the first n bytes change the queue, uncopied */
void parts_append(struct parts *to, struct parts *from);           /* all of it */
/* A frame: its head, and the first n bytes of from. Small ones are copied side by side into blocks of one TLS record, which
 * end() sees at once; a big one is moved. */
size_t parts_next(const struct parts *l, size_t most); /* bytes of its next frame, to be moved without a copy */
#define PARTS_SMALL ((size_t)2 << 10)
#define PARTS_BLOCK ((size_t)16 << 10)
void parts_gather(struct parts *to, struct str head, struct parts *from, size_t n);
/* For source.c: a part as it is; a block of n bytes, to be filled at once, with room for a head; and that in front of the first
 * part, when it has n bytes and the room. */
void parts_add(struct parts *l, const char *p, size_t n, void *owner, void (*end)(void *owner));
char *parts_block(struct parts *l, size_t head_room, size_t n);
bool parts_prefix(struct parts *l, struct str head, size_t n);
/* And from it, x being a source: up to n bytes, how many are ready as one block, and just these with a head. False: they are
 * not. */
size_t source_move(struct parts *to, struct part *x, size_t n);
size_t source_next(struct part *x);
bool source_frame(struct parts *to, struct str head, struct part *x, size_t n);
void parts_spare(bool on); /* this thread keeps the memory of some parts for the next ones; off: frees it */

/* ---- loop ------------------------------------------------------------------------------------ */

/* A message lives in its owner; it is in one queue at a time. */
struct net_msg {
	struct net_msg *next;
	void (*run)(struct net_msg *m);
};

#define LOOP_SCRATCH ((size_t)64 << 10)
struct net_loop {
	uv_loop_t uv;
	uv_poll_t wake;
	uv_prepare_t before;
	pthread_t thread;
	char name[16];
	atomic_uint refs;
	pthread_mutex_t lock;
	int wake_fd;                   /* an eventfd */
	struct net_msg *first, **last; /* under lock */
	bool sleeps;                   /* under lock: it has to be woken for a message */
	bool dead;                     /* under lock: the thread is gone, messages run where they are sent */
	bool stopping, in_message;
	struct conn *conns, *dirty, *closing;
	struct shed *sheds; /* of the servers that have connections here */
	int64_t date_s;
	char date[32];
	size_t sealed;                /* bytes of scratch that are to be sent before conn_flush() returns */
	char scratch[LOOP_SCRATCH];   /* what read() gave, or what TLS made to be sent as one piece */
	char clear[LOOP_SCRATCH / 2]; /* what TLS made of it, and what goes into one TLS record */
};
struct net_loop *loop_ref(struct net_loop *l);
void loop_unref(struct net_loop *l);
void loop_send(struct net_loop *l, struct net_msg *m); /* any thread; takes m until it ran */
bool loop_here(const struct net_loop *l);
bool loop_in_message(
	const struct net_loop *l);        /* on it, and in the run() of a message: in no callback of a connection */
uint64_t loop_ms(void);                   /* loop: its clock, as of this turn */
struct str loop_date(struct net_loop *l); /* loop: "Mon, 23 Nov 2026 10:00:00 GMT" */

/* ---- TLS ------------------------------------------------------------------------------------- */

struct peer {
	atomic_uint refs;
	struct http_peer facts;
	char address[INET6_ADDRSTRLEN + 16];
	struct str *orgs;
	char *cn;
};
struct peer *peer_new(const char *address, SSL *ssl);
struct peer *peer_ref(struct peer *p);
void peer_unref(struct peer *p);
SSL *tls_session(struct tls *t, const char *server_name, bool h2, struct err *e); /* own; name NULL: a server's */
void tls_reason(SSL *ssl, char *ret, size_t cap);                                 /* why the last operation failed */

/* ---- conn ------------------------------------------------------------------------------------ */

/* All on the loop. Nothing is called after gone(). No callback runs inside conn_write() or conn_close(). */
struct conn_ops {
	void (*open)(struct conn *c);                    /* connected and, with TLS, shaken hands */
	void (*input)(struct conn *c, struct str bytes); /* borrowed; n == 0: the other side finished */
	void (*fill)(struct conn *c);                    /* little is queued: write more, if there is any */
	void (*timeout)(struct conn *c);
	void (*gone)(struct conn *c); /* last */
	/* A server's: what its unsent answers hold, and since when the reader has taken nothing of them; 0: nothing, or none. */
	size_t (*holds)(const struct conn *c, uint64_t *ret_since_ms);
	void (*shed)(
		struct conn *c, uint64_t since_ms); /* ends those that nothing was taken of since then, or longer */
	bool (*idle)(const struct conn *c);         /* between requests */
	/* Idle: it goes, in such a way that its client knows which requests were not begun. It has just been in use: HTTP/1.1
	 * has no word for that but `connection: close` in an answer, so the next one says it, if it comes soon. */
	void (*leave)(struct conn *c, bool just_used);
	bool reads_on; /* after a reset: what arrived before is still wanted, and closing waits for it */
};
#define CONN_OUT_LOW ((size_t)64 << 10)
struct conn {
	struct net_loop *loop;
	struct conn *next, **prev; /* loop->conns */
	struct conn *next_dirty, *next_closing;
	const struct conn_ops *ops;
	void *arg;
	SSL *ssl;
	char *server_name; /* client */
	struct parts out;
	struct parts late; /* one part, sealed: the kernel did not take it, and nothing else is sent before it */
	struct str cipher; /* bytes from the network that TLS has not taken yet */
	char *kept;        /* own: such bytes when TLS could not go on, kept_n > 0 */
	size_t kept_n;
	struct tls *tls;  /* ref; accepted: ssl is made of it when the first record is whole */
	struct buf first; /* accepted: that record so far */
	char *why;        /* own: what broke it; NULL: nothing */
	struct peer *peer;
	uv_poll_t poll;
	uv_timer_t timer;
	int fd;
	int events;
	uint64_t moved_ms;     /* when it began, or something was sent last */
	size_t room;           /* stalls: bytes that the kernel surely takes */
	int unsent;            /* lingering: bytes in the kernel at the last look */
	unsigned char handles; /* open uv handles */
	unsigned char looks;   /* lingering: how many since it moved */
	bool connecting, shaking, opened;
	bool accepted; /* the other side is a client */
	bool gathers;  /* first; there is no ssl yet */
	bool dirty, blocked, paused, cipher_eof, eof, idle_closing;
	bool more;    /* what is sent now is followed by more at once */
	bool bulk;    /* who fills has much more of the same answer */
	bool stalls;  /* its reader may: conn_may_stall() */
	bool leaving; /* the server ends, or has no room: linger for a moment only */
	bool asked;   /* to leave(), as there is no room */
	bool deaf;    /* paused, and not even a reset is waited for */
	bool broken;  /* the socket sends no more, reading goes on; why tells the reason */
	bool young;   /* has not sent a whole request yet, counted by its server */
	bool shut_asked, shut_done, finish_asked, lingering, closing, gone;
};
/* Take fd (non-blocking). A connection of ours, connect() is under way: takes ssl, too; NULL: clear text. */
struct conn *conn_connect(struct net_loop *l, int fd, SSL *ssl, const struct conn_ops *ops, void *arg);
/* Somebody else's, who has to say something first. tls NULL: clear text. */
struct conn *conn_accept(struct net_loop *l, int fd, struct tls *tls, const struct conn_ops *ops, void *arg);
void conn_set(struct conn *c, const struct conn_ops *ops, void *arg);
void conn_copy(struct conn *c, struct str bytes);
void conn_dirty(struct conn *c); /* something is to be sent */
void conn_pause(struct conn *c, bool paused);
void conn_prompt(struct conn *c);    /* what is sent shall be taken within a minute, or it is broken */
void conn_may_stall(struct conn *c); /* a stream without end: what its reader does not take shall cost little */
void conn_finish(struct conn *c);    /* after all is sent: close, and let the peer read it */
void conn_close(struct conn *c, const char *why, ...) PRINTF(2, 3); /* now; why may be NULL */
void conn_reset(struct conn *c);                                    /* now; the kernel forgets what was not taken */
void conn_reset_at_end(
	struct conn *c); /* its end, whenever that comes, tells the other side that nobody reads any more */
void conn_deadline(struct conn *c, int64_t ms); /* timeout() after that; 0: never */
bool conn_is_h2(const struct conn *c);
bool conn_has_input(const struct conn *c); /* the kernel has bytes of it that nobody has read yet */
bool conn_vanished(const struct conn *c);  /* its peer has acknowledged nothing for a minute, though it was asked to */
void conn_flush(struct conn *c);           /* loop.c */
void conn_bury(struct conn *c);            /* loop.c: gone() and free */
int socket_setup(int fd);

/* ---- HTTP/1.1 syntax ------------------------------------------------------------------------- */

#define HTTP1_HEADERS_MAX 256
struct http1_head {
	struct str method, target; /* a request's */
	int status;                /* an answer's */
	int minor;                 /* HTTP/1.minor */
	struct http_header headers[HTTP1_HEADERS_MAX];
	size_t n_headers;
	bool chunked, has_length, close, keep_alive, expect_continue, upgrade;
	uint64_t length;
};
/* Looks for the end of a head from *scanned on. >0: its length; 0: more is needed; <0: -status. */
long http1_find_end(const char *p, size_t n, size_t *scanned);
/* p..n is a whole head; names become lower case in place; slices point into p. 0 or -status. */
int http1_request_head(char *p, size_t n, struct http1_head *h);
int http1_reply_head(char *p, size_t n, struct http1_head *h);

/* Chunked coding, bytes as they come. */
struct http1_chunks {
	int state;
	int digits;
	uint64_t left;
	size_t extra; /* bytes of extensions and trailers so far */
};
/* Takes from in; *data is a borrowed piece of the body (n == 0: none yet). Returns bytes taken; <0: -status.
 * ended: the last chunk and the trailers were read. Call again while it takes something. */
long http1_chunk(struct http1_chunks *c, struct str in, struct str *data, bool *ended);

/* Header fields as they arrive: text in one block, slices made at the end. */
struct fields {
	struct buf text;
	struct field_at {
		size_t at, name_n, value_n;
	} * v;
	size_t n, cap;
};
void fields_fini(struct fields *f);
void fields_add(struct fields *f, struct str name, struct str value); /* f->text.full: more than its max */
/* Own: *ret_text and *ret. f is empty afterwards. */
void fields_take(struct fields *f, char **ret_text, struct http_header **ret, size_t *ret_n);

/* ---- HTTP server ----------------------------------------------------------------------------- */

struct http_exchange;
struct http_exchange_ops {
	void (*answer)(
		struct http_exchange *x, struct http_request *r); /* r->status, head; x->out and x->ended are set */
	void (*more)(struct http_exchange *x);                    /* x->out or x->ended changed */
	void (*abort)(struct http_exchange *x);
	bool (*upgrade)(struct http_exchange *x, struct http_request *r); /* NULL: cannot */
};
/* A request's way back: the loop's side. */
struct http_exchange {
	const struct http_exchange_ops *ops;
	struct http_request *request; /* handed to the handler, not answered yet */
	struct http_stream *stream;
	struct http_server *server; /* borrowed */
	struct room *room;          /* the connection's, of unread answers */
	size_t held;                /* in it */
	struct parts out;
	uint64_t moved_ms; /* when out was filled, or something of it went away last */
	bool ended;
};
struct http_request {
	struct net_msg msg;
	struct net_loop *loop;           /* ref */
	struct http_server *server;      /* ref */
	struct http_exchange *_Atomic x; /* loop, others see only this: NULL: the peer is gone */
	struct peer *peer;
	struct str method, path, query;
	struct http_header *headers;
	size_t n_headers;
	char *text; /* own: what the slices point to */
	size_t text_n;
	struct buf body;
	size_t charged; /* of it, to what arrives at the server, once it is whole: room.c */
	int version;
	int status;                 /* the answer from here on */
	struct http_header *answer; /* own, one block */
	size_t n_answer;
	struct parts out;
	struct http_stream *stream;
	struct net_pipe *pipe;
};
/* Bytes that all of a server's connections hold of something. */
struct budget {
	atomic_size_t held;
	size_t max;
};
struct http_server {
	struct http_server_opts o;
	char *address;           /* own: o.address */
	struct net_loop **loops; /* own: o.loops, refs to them */
	atomic_uint refs;
	struct budget arriving, unread; /* requests and answers: room.c */
	int port, fd;
	uv_poll_t *listen; /* loops[0] */
	uv_timer_t *again; /* loops[0]: accept() after a pause */
	size_t next_loop;
	struct task_mutex lock; /* the next three */
	struct task_cond changed;
	unsigned live;    /* connections */
	unsigned refused; /* of them, since the last word about it */
	struct mono said_crowd_at, said_unread_at;
	struct shed *shed; /* own: one for each loop */
	atomic_int young;  /* of them: without a whole request so far */
	unsigned told;     /* loops that have done as they were told */
};
void answer_head(struct http_request *r, int status, const struct http_header *headers, size_t n);
void answer_send(struct http_request *r);
/* What its content-length says, n bytes being there; head: nothing of them follows. */
struct str answer_length(const struct http_header *headers, size_t n_headers, bool head, size_t n, char room[24]);
void http_dispatch(struct http_server *s, struct http_exchange *x, struct http_request *r);
void http_request_drop(struct http_request *r);
/* room.c. What one connection's requests hold as they arrive, or its answers until they are read; its loop. */
struct room {
	size_t held, charged;
};
/* Something on the connection holds that many bytes from here on, *mine of them so far. False: too much for all together. */
bool room_hold(struct budget *b, struct room *room, size_t *mine, size_t holds);
/* The same of an answer, from the request on; out: its text, NULL: it is no more. */
bool exchange_weigh(struct http_exchange *x, const struct parts *out);
bool answer_is_too_much(const struct http_exchange *x); /* a large one, while all hold twice what they may */
size_t parts_hold(const struct parts *l, bool shared);  /* bytes of memory */
void body_whole(struct http_request *r);                /* it answers for its body from here on */
void body_drop(struct http_request *r);
void http_split_target(struct http_request *r, struct str target);
void stream_begin(struct http_stream *s, struct http_exchange *x); /* its answer is under way */
void stream_lost(struct http_stream *s);                           /* the end of it; safe to call twice */
void exchange_sent(struct http_exchange *x, size_t n);             /* n bytes left out; may call writable() */
void exchange_over(struct http_exchange *x);                       /* finished or lost; safe to call twice */
const char *http_status_text(int status);
/* What says so to a client: borrowed. */
struct refusal {
	const char *text;
	struct http_header headers[2];
	size_t n;
};
struct refusal http_refusal(const struct http_server *s, int status);
void http_server_ref(struct http_server *s);
void http_server_unref(struct http_server *s);
struct http_header *headers_copy(const struct http_header *h, size_t n); /* own: one block */
void http_grown(struct http_server *s, struct conn *c);                  /* it sent a request, or goes */
struct http_server *http_server_of(const struct conn *c);                /* NULL: not a server's */
/* shed.c: who has to go. */
void shed_new(struct http_server *s);
void shed_free(struct http_server *s);
void shed_begin(struct http_server *s, const struct net_loop *l); /* on that loop */
void shed_end(struct http_server *s, const struct net_loop *l);
void shed_stir(struct net_loop *l);           /* on that loop: something moved */
void shed_hurry(struct http_server *s);       /* on one of its loops: unread answers hold too much */
void shed_crowd(struct http_server *s);       /* any thread: there are too many connections */
bool shed_makes_room(struct http_server *s);  /* any thread: some are about to go since shed_crowd() */
void http_server_lost(struct http_server *s); /* a connection is gone, and its reference */
/* Each takes the caller's reference to the server. */
void http1_begin(struct conn *c, struct http_server *s);
void http2_begin(struct conn *c, struct http_server *s);
struct http_server *http1_server(const struct conn *c);
struct http_server *http2_server(const struct conn *c);
void http1_shutdown(struct conn *c);
void http2_shutdown(struct conn *c);
extern const struct conn_ops http1_ops, http2_ops;

/* ---- pipe ------------------------------------------------------------------------------------ */

struct net_pipe *pipe_new(struct net_loop *l, const struct net_pipe_ops *ops, void *arg); /* no connection yet */
/* Loop: the pipe takes the connection (NULL: there is none, it closes) and what was already read. */
void pipe_attach(struct net_pipe *p, struct conn *c, struct str first);
/* Any thread: new ops, and reading goes on. False: closed() was called already, nobody will hear of it again. */
bool pipe_take(struct net_pipe *p, const struct net_pipe_ops *ops, void *arg);
void pipe_discard(struct net_pipe *p);                               /* instead of pipe_attach(): nobody is told */
void pipe_writev(struct net_pipe *p, const struct str *v, size_t n); /* in one go */
/* One unit, too: head is copied, the pieces are sent as they are. */
void pipe_write_pieces(struct net_pipe *p, struct str head, const struct net_piece *take, size_t n);

/* ---- connecting ------------------------------------------------------------------------------ */

/* Loop. target: "host:port" or "unix:/path"; tls NULL: clear text. done runs later, once: with a connection that is
 * open (set its ops at once), or NULL and why not. */
struct dial_opts {
	const char *target;
	struct tls *tls;
	const char *server_name;
	bool h2; /* offer it */
	int64_t ms;
	void (*done)(void *arg, struct conn *c, const char *why);
	void *arg;
};
void dial(struct net_loop *l, const struct dial_opts *o); /* o is copied */

/* ---- HTTP client ----------------------------------------------------------------------------- */

#define CALL_HIGH ((size_t)256 << 10) /* unread bytes of a streaming answer */
struct link;
/* A request of ours and its answer. Shared by who called, who waits for a kick, and the loop. */
struct call {
	struct net_msg kick;
	atomic_uint refs;
	struct http_client *client;  /* ref */
	char *method, *path;         /* own */
	struct http_header *headers; /* own */
	size_t n_headers;
	char *body; /* own: the request's whole body, kept for a second try */
	size_t body_n;
	bool streaming;           /* the answer is read piece by piece */
	void (*ready)(void *arg); /* under lock: tells a reader that does not wait */
	void *ready_arg;
	bool uploading; /* the body comes through call_send() */

	struct task_mutex lock; /* for the next ones */
	struct task_cond changed;
	bool kicked, cancel, upload_end;
	struct parts pending;
	size_t taken; /* bytes that the reader took since the last kick */
	bool got_head, ended;
	int status, code; /* code: enum err_code, 0 when it ended well */
	char *why;
	char *head_text, *tail_text;
	struct http_header *head, *tail; /* the answer's, and its trailers */
	size_t n_head, n_tail;
	struct buf in; /* the answer's body, not read yet */

	struct call *next; /* the loop's: waiting, or on a connection */
	struct link *link;
	bool started, over, retried, waiting;
	int32_t id;
	bool deferred, out_end;
	struct parts out;
	struct fields fields;
	struct call *next_active, **prev_active;
};
struct call *call_new(struct http_client *c, const char *method, struct str path, const struct http_header *h, size_t n,
	struct str body, size_t answer_max);
void call_start(struct call *x);
void call_send(struct call *x, struct str copied, bool end);
void call_cancel(struct call *x);
void call_unref(struct call *x);
int call_wait_head(struct call *x, struct mono until, struct err *e); /* ret_status in x->status */
/* 1: bytes were appended, 0: the end (good), <0 */
int call_read(struct call *x, struct buf *out, struct mono until, struct err *e);
struct str call_field(struct call *x, const char *lower_name); /* after the end: trailers, then headers */
/* Loop: what a connection reports. */
void call_got_head(struct call *x); /* fields are complete */
void call_got_data(struct call *x, struct str bytes);
void call_got_tail(struct call *x);
void call_over(struct call *x, enum err_code code, const char *why); /* code 0: well */
bool call_retry(struct call *x, bool never_processed);               /* true: it was queued again */
void call_pull(struct call *x);                                      /* from pending into out */
size_t call_unread(struct call *x);

struct http_client {
	atomic_uint refs;
	struct net_loop *loop; /* ref */
	struct tls *tls;
	char *target, *host, *server_name, *user_agent; /* own */
	int64_t connect_ms;
	bool http1_only, prior_h2;
	bool closed; /* loop from here on */
	bool is_h1;  /* what the server spoke last */
	unsigned dialing;
	struct link *links;
	struct call *waiting;
	size_t n_waiting;
};
int http_client_begin(const struct http_client_opts *o, bool prior_h2, struct http_client **ret, struct err *e);
void client_ref(struct http_client *c);
void client_unref(struct http_client *c);
void client_place(struct http_client *c, struct call *x); /* loop */
void client_place_waiting(struct http_client *c);
/* One connection of a client. */
struct link {
	struct link *next, **prev;
	struct http_client *client; /* ref */
	struct conn *c;
	const struct link_ops *ops;
	struct call *active;
	unsigned n_active, served;
	bool leaving;
};
struct link_ops {
	bool (*usable)(struct link *k);
	void (*start)(struct link *k, struct call *x);
	void (*more)(struct link *k, struct call *x);   /* x->out or what was read changed */
	void (*cancel)(struct link *k, struct call *x); /* x is over already */
};
void link_init(struct link *k, struct http_client *c, struct conn *conn, const struct link_ops *ops);
void link_add(struct link *k, struct call *x);
void link_remove(struct link *k, struct call *x);
void link_fini(struct link *k, const char *why); /* the connection is gone: calls are retried or over */
struct link *link_h1(struct http_client *c, struct conn *conn);
struct link *link_h2(struct http_client *c, struct conn *conn);

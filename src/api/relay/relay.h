/* Shared by relay.c (who is asked), stream.c (answers) and proxy.c (requests to pods, services and nodes). */
#pragma once
#include "api/api_internal.h"
#include "api/relay/places.h"

struct relays {
	struct api *api;
	struct places *answers, *upgrades; /* what passes through at a time */
	struct task_mutex lock;
	struct task_cond gone;
	struct map *clients; /* "scheme url" → struct http_client */
	struct tls *tls;     /* to nodes: checked, with our certificate */
	struct tls *tls_any; /* to pods and services: they have no certificate that we could check */
	int tasks;           /* that run */
};
struct relays *relays_new(struct api *api);
void relays_free(struct relays *r); /* waits for what runs */
/* Takes rq, which is authorized: a sub-resource that is a stream. */
void relay_start(struct rq *rq);
/* Begins a task for rq, in its user's place; *ret is for relay_end(). Fails: ERR_TOO_MANY, ERR_UNAVAILABLE when stopping. */
int relay_begin(struct rq *rq, void (*run)(void *arg), void *arg, struct place **ret, struct err *e);
void relay_end(struct relays *r, struct place *taken); /* the last that such a task does */
/* Borrow: lives as long as the relays. scheme "node": https with the control process's certificate. */
int relay_client(
	struct relays *r, const char *scheme, struct str host, int64_t port, struct http_client **ret, struct err *e);
int relay_node(struct rq *rq, struct str name, struct http_client **ret, struct err *e);
/* Some port of a node's machine; empty, or its own server's: that, with our certificate, else without any. */
int relay_node_at(
	struct rq *rq, struct str name, struct str scheme, struct str port, struct http_client **ret, struct err *e);
/* Some ready address behind a service's port (its name or number; empty: the first), by its Endpoints. of_pods: a pod's of
 * that namespace, and nothing that anybody wrote by hand; else also an external name. Strings in a. */
int relay_service(struct api *api, struct arena *a, struct str ns, struct str name, struct str port, bool of_pods,
	struct str *host, int64_t *ret_port, struct err *e);
/* What a pod says of its address is its node's word: no way to this machine's own services, nor to its links'. */
int relay_check_address(struct str host, struct err *e);
/* stream.c. Takes rq: asks, and passes the answer on as it comes. Copied; what it points to lives in rq's arena. */
struct relay_call {
	struct http_client *client;
	const char *method; /* NULL: GET */
	struct str path;
	const struct http_header *headers;
	size_t n_headers;
	struct str body;
	const char *content_type; /* the answer is 200 of this type, or becomes a Status; NULL: it passes as it is */
	int64_t silence_ms;       /* an answer that stops for so long is broken off; 0: it may */
	void (*over)(void *arg);  /* client and arg are no longer needed; before rq ends */
	void *arg;
};
void relay_answer(struct rq *rq, const struct relay_call *c);
/* Takes rq: passes its upgrade on and splices. Of the call client, path, headers (besides those of the upgrade), over and
 * arg count; over() runs when the other side has answered. */
void relay_upgrade(struct rq *rq, const struct relay_call *c);
/* A place for an upgraded connection of rq's user; end it with place_leave(). Fails: ERR_TOO_MANY. */
int relay_place(struct rq *rq, struct place **ret, struct err *e);
/* Sub-protocols without the token that may be among them: it is for us, not for others. In rq's arena. */
struct str relay_without_token(struct rq *rq, struct str protocols);
/* Headers that another server may see, or say: copies into rq's arena. */
size_t relay_pass_headers(struct rq *rq, const struct http_header *from, size_t n, struct http_header *to);
/* rewrite.c: appends html with links to paths put below prefix. */
void rewrite_links(struct str html, struct str prefix, struct buf *out);
/* The same of a redirect, when it leads to a path of one of these hosts; in a, or as it was. */
struct rewrite_hosts {
	struct str theirs, ours; /* "host:port": that was asked, and as the client calls us */
};
struct str rewrite_location(struct arena *a, struct str to, const struct rewrite_hosts *h, struct str prefix);
void relay_proxy(struct rq *rq); /* proxy.c; takes rq */

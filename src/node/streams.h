/* A session that speaks channels with its client, over WebSocket, and SPDY with the container runtime: what streams.c
 * and the two that know the channels' meaning share. Everything on the node's loop, but for the two _begin(). */
#pragma once
#include "node/node_internal.h"

struct session;

/* What the channels mean: of exec and attach, or of port-forward. */
struct speech {
	void (*open)(struct session *s); /* the runtime is there: opens its streams, greets the client */
	void (*message)(struct session *s, size_t channel, struct str bytes); /* from the client; any channel */
	void (*data)(struct session *s, size_t channel, struct str bytes);    /* from the runtime; maybe its end */
	void (*gone)(struct session *s);                                      /* the runtime is; every channel ended */
};

struct channel { /* its number is the place in session.channels */
	struct spdy_stream *stream;
	bool ended;  /* the runtime sends no more */
	bool closed; /* nor do we */
};

struct session {
	struct node_agent *n;
	struct http_request *rq; /* until answered */
	struct http_client *client;
	char *protocol;              /* of the stream: v4.channel.k8s.io … */
	char *ws_protocol;           /* NULL: the client speaks SPDY; "": a WebSocket without subprotocol */
	bool base64;                 /* WebSocket messages are text: a digit for the channel, then base64 */
	struct net_pipe *near, *far; /* SPDY client; containerd */
	struct spdy_passing passing; /* from far to near */
	struct websocket *ws;
	bool near_open, far_open;

	const struct speech *speaks; /* NULL: bytes pass through */
	void *own;                   /* of speaks; goes with free() */
	struct spdy *spdy;
	struct channel *channels;
	size_t n_channels;
};

/* stream_exec.c. query: of the request. */
void exec_begin(struct session *s, struct str query, struct arena *a);
/* stream_forward.c. -ERR_BAD_REQUEST: the query names no ports, or what is none. */
int forward_begin(struct session *s, struct str query, struct arena *a, struct err *e);

/* streams.c */
void session_open(struct session *s, size_t channel, const struct http_header *headers, size_t n);
void session_to_client(struct session *s, size_t channel, struct str bytes);
void session_to_runtime(struct session *s, size_t channel, struct str bytes, bool fin); /* where that still listens */
void session_finish(struct session *s);                                                 /* everything was said */

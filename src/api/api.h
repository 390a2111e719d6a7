/* The API server without its sockets: requests in, answers and watch streams out.
 *
 *     HTTP ── api_http_handle() ─┐                        ┌─ reads: answered at once from the caches
 *     simulator, tests ─ api_call() ┼─► authn ─► authz ─► ┤
 *     controllers ─ api_local_client() ──────────┘        └─ writes: a lane's thread ─► admission ─► strategy ─► store
 *
 * Everything is served from a run-time table of resources: builtin kinds are loaded into it by api_new(), others come
 * and go with their CustomResourceDefinitions and APIServices while it serves.
 * Thread: any, unless said otherwise. Waiting only through base/task.h, so all of it runs in a simulation. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "client/client.h"
#include "doc/doc.h"
#include "net/net.h"
#include "schema/schema.h"
#include "seal/seal.h"
#include "store/store.h"

struct api;

struct api_opts {
	struct store *store;     /* borrowed, outlives the api, which calls store_watch() itself */
	struct seal *seal;       /* borrowed: encryption at rest; NULL: none */
	int64_t compact_every_s; /* history older than this goes; 0: 300 */
	const char *
		service_cidrs; /* "10.96.0.0/12" or two, one a family: "10.96.0.0/12,fd00:10:96::/112"; NULL: the first */
	const char *cluster_domain; /* NULL: "cluster.local" */
	const char
		*cluster_dns; /* addresses of Service kube-system/kube-dns: "10.96.0.10" or two; NULL: none is kept */
	int node_port_first, node_port_last; /* 0: 30000 and 32767 */
	const char *advertise_address;       /* what Service default/kubernetes points to; NULL: none is kept */
	int advertise_port;                  /* 0: 6443 */
	const char *own_node; /* name of this server's node, which has the role control-plane; NULL: none has */
	const char *pki_dir;  /* folder of ca.crt, ca.key, sa.key …; NULL: no tokens, no certificates (tests) */
	const char *ca_name;  /* NULL: "ca" */
	const char *node_cert_file, *node_key_file; /* client certificate towards nodes (logs, exec); NULL: no relays */
	const char *node_ca_file;                   /* checks the nodes' certificates; NULL: pki_dir/ca.crt */
	const char *issuer;       /* of ServiceAccount tokens; NULL: "https://kubernetes.default.svc" */
	const char *audit_path;   /* one JSON line a request; NULL: off */
	const char *audit_policy; /* file with an audit.k8s.io/v1 Policy; NULL: everything at level Metadata */
	int64_t audit_bytes_max;  /* the file is rotated once past this; 0: 64 MiB */
	int audit_keep_max, audit_keep_days; /* rotated files that stay; 0: all, however old */
	int lane_threads;                    /* at most so many threads a lane; 0: 4 */
	int lane_queue_max;                  /* requests that may wait in a lane before 429; 0: 400 */
	int streams_max; /* answers of nodes and other servers that pass through at a time, and as many upgrades; 0: 256 */
	int64_t ring_bytes;    /* all watch rings together; 0: 16 MiB */
	struct net_loop *loop; /* relays to nodes; NULL: none (simulation) */
	bool no_authz;         /* tests only: everything is allowed */
};
/* Loads every resource from the store, begins to watch it and writes what every cluster has (api_bootstrap).
 * Fails with the object that could not be read. */
int api_new(const struct api_opts *o, struct api **ret, struct err *e);
/* Stops and frees. After store_close(), whose events end in the caches here. No request may be in flight from the
 * caller's side. */
struct api *api_free(struct api *api);
AUTO(struct api, api_free)
/* New work is refused with 503 and /readyz fails, streams end; called before the listener closes. Waits for what was
 * begun: after it, nothing here touches the store. */
void api_stop(struct api *api);

/* For http_server_opts.handle: api is the struct api *. On a loop; never blocks. */
void api_http_handle(void *api, struct http_request *r);
const char *api_http_refused(
	int status); /* for http_server_opts: the Status of requests that never reach the API; NULL: none */

/* A client without sockets: enters at authorization, hands documents through without text.
 * groups is NULL-terminated, "system:authenticated" is added. name is field manager and event source. Own:
 * client_free(). */
struct client *api_local_client(struct api *api, const char *user, const char *const *groups, const char *name);

/* ---- the entry for whoever has no socket ----------------------------------------------------- */

struct identity_extra {
	struct str key, value; /* a key may come several times */
};
struct identity {
	struct str user, uid;
	const struct str *groups;
	size_t n_groups;
	const struct identity_extra *extra;
	size_t n_extra;
	const struct identity *real; /* who impersonates this one; NULL: nobody does */
};

/* Where an answer goes. Exactly one of reply() and stream() is called, from any thread. Pieces are taken.
 * The ops given to stream() are never called from inside write(), end() or abort(). */
struct api_sink {
	void (*reply)(void *arg, int status, const struct http_header *headers, size_t n_headers,
		const struct net_piece *pieces, size_t n_pieces);
	/* A body without known length; returns the stream for the calls below. closed() in ops runs once, when it is
	 * over. */
	void *(*stream)(void *arg, int status, const struct http_header *headers, size_t n_headers,
		const struct http_stream_ops *ops, void *ops_arg);
	void (*write)(void *stream, const struct net_piece *pieces, size_t n);
	size_t (*unsent)(void *stream);
	void (*end)(void *stream);
	void (*abort)(void *stream);
};
struct api_call {
	struct str method, path, query; /* query raw, after '?' */
	const struct http_header *headers;
	size_t n_headers;
	struct str body;
	const struct identity *identity; /* NULL: system:anonymous */
	const struct api_sink *sink;
	void *sink_arg;
};
/* Everything in c is copied before it returns; the answer may come before or after. */
void api_call(struct api *api, const struct api_call *c);

/* ---- health and metrics ---------------------------------------------------------------------- */

/* Adds a check to /readyz (and /livez when live): returns NULL when fine, else a reason (static text). */
void api_health_add(struct api *api, const char *name, bool live, const char *(*check)(void *arg), void *arg);
/* Adds a line to /readyz?verbose that tells of something held off and fails nothing. Static text. */
void api_health_note(struct api *api, const char *name, const char *text);
/* Adds a row to `kubectl get componentstatuses`; check as above, NULL: it is always fine. */
void api_component_add(struct api *api, const char *name, const char *(*check)(void *arg), void *arg);
/* Adds a producer of Prometheus text to /metrics. */
void api_metrics_add(struct api *api, void (*write)(void *arg, struct buf *out), void *arg);
/* Kinds whose controller runs: writes to others answer with a Warning. */
void api_controller_present(struct api *api, const char *group, const char *resource);

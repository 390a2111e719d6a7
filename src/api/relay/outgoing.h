/* Calls to servers that extend this one: webhooks (admission, conversion) and aggregated servers.
 *
 *     target (URL, or Service → address of a ready endpoint) ─► a kept client, one per address, name and trust ─►
 * http_call()
 *
 * The certificate is checked against the target's own CA bundle, for a Service under the name NAME.NAMESPACE.svc.
 * Whoever calls on a lane's thread gives its place in the lane away while it waits (lanes_leave()), so slow servers
 * hold nobody's slot. Thread: any that may wait. */
#pragma once
#include "api/api_internal.h"

struct outgoing_target {
	struct str url;                   /* "https://host:port/path"; empty: the service */
	struct str ns, name, path;        /* of the service; path may be empty */
	int64_t port;                     /* of the service; 0: 443 */
	struct str ca_pem;                /* empty: the system's certificates */
	bool insecure;                    /* APIService insecureSkipTLSVerify */
	const char *cert_file, *key_file; /* who we are to it; or NULL */
};
/* Reads a WebhookClientConfig. Strings in a. */
int outgoing_target_of(struct arena *a, struct val client_config, struct outgoing_target *ret, struct err *e);
/* "https://webhook.default.svc:443/validate": for messages. In a. */
struct str outgoing_url(struct arena *a, const struct outgoing_target *t);

/* The client for a target, kept alive until outgoing_release(): for streams and upgrades of aggregated servers. */
struct outgoing_link;
int outgoing_acquire(struct api *api, const struct outgoing_target *t, struct outgoing_link **ret, struct err *e);
struct http_client *outgoing_client(struct outgoing_link *l); /* borrow */
void outgoing_release(struct api *api, struct outgoing_link *l);

/* One blocking call. rq may be NULL; its lane's slot is given away meanwhile. path_query: appended to the target's
 * path. Fails: -ERR_UNAVAILABLE, -ERR_TIMEOUT, -ERR_TOO_MANY (too many wait already); an HTTP error status is no error
 * here. */
struct outgoing_request {
	const char *method;
	struct str path_query;
	const struct http_header *headers;
	size_t n_headers;
	struct str body;
	size_t answer_max; /* 0: 3 MiB */
	int64_t timeout_ms;
	bool for_write; /* a write waits for it in its lane: few enough at a time, so that others can wait for others */
};
int outgoing_call(struct api *api, struct rq *rq, const struct outgoing_target *t, const struct outgoing_request *q,
	struct http_reply *ret, struct err *e);

struct outgoing *outgoing_new(void);
void outgoing_stop(struct outgoing *o); /* ends every call that waits, refuses further ones */
void outgoing_free(struct outgoing *o);

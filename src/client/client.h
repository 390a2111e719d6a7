/* Talking to the API: one interface, two backends. The remote one (HTTP/2 over TLS) is made here; the local one is
 * made by api/ (api_local_client) and handed in by cmd/. Whoever acts on the cluster holds a client and nothing else.
 *
 * Calls block the task that makes them and are safe from any task. Every call obeys authorization as the client's
 * identity.
 * Objects travel as published documents: own one reference to what comes back, borrow what goes in. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/task.h"
#include "doc/doc.h"

/* A resource as it stands in a URL; group "" is core. Compare with gvr_eq(). */
struct gvr {
	const char *group, *version, *resource;
};
bool gvr_eq(struct gvr a, struct gvr b);

/* The resources that Kogge's own parts use. */
#define CLIENT_RESOURCES(X)                                                                      \
	X(pods, "", "v1", "pods")                                                                \
	X(nodes, "", "v1", "nodes")                                                              \
	X(services, "", "v1", "services")                                                        \
	X(endpoints, "", "v1", "endpoints")                                                      \
	X(events, "", "v1", "events")                                                            \
	X(secrets, "", "v1", "secrets")                                                          \
	X(configmaps, "", "v1", "configmaps")                                                    \
	X(namespaces, "", "v1", "namespaces")                                                    \
	X(serviceaccounts, "", "v1", "serviceaccounts")                                          \
	X(replicationcontrollers, "", "v1", "replicationcontrollers")                            \
	X(persistentvolumes, "", "v1", "persistentvolumes")                                      \
	X(persistentvolumeclaims, "", "v1", "persistentvolumeclaims")                            \
	X(resourcequotas, "", "v1", "resourcequotas")                                            \
	X(limitranges, "", "v1", "limitranges")                                                  \
	X(deployments, "apps", "v1", "deployments")                                              \
	X(replicasets, "apps", "v1", "replicasets")                                              \
	X(statefulsets, "apps", "v1", "statefulsets")                                            \
	X(daemonsets, "apps", "v1", "daemonsets")                                                \
	X(controllerrevisions, "apps", "v1", "controllerrevisions")                              \
	X(jobs, "batch", "v1", "jobs")                                                           \
	X(cronjobs, "batch", "v1", "cronjobs")                                                   \
	X(horizontalpodautoscalers, "autoscaling", "v2", "horizontalpodautoscalers")             \
	X(podmetrics, "metrics.k8s.io", "v1beta1", "pods")                                       \
	X(endpointslices, "discovery.k8s.io", "v1", "endpointslices")                            \
	X(leases, "coordination.k8s.io", "v1", "leases")                                         \
	X(networkpolicies, "networking.k8s.io", "v1", "networkpolicies")                         \
	X(poddisruptionbudgets, "policy", "v1", "poddisruptionbudgets")                          \
	X(priorityclasses, "scheduling.k8s.io", "v1", "priorityclasses")                         \
	X(runtimeclasses, "node.k8s.io", "v1", "runtimeclasses")                                 \
	X(storageclasses, "storage.k8s.io", "v1", "storageclasses")                              \
	X(certificatesigningrequests, "certificates.k8s.io", "v1", "certificatesigningrequests") \
	X(clusterroles, "rbac.authorization.k8s.io", "v1", "clusterroles")                       \
	X(customresourcedefinitions, "apiextensions.k8s.io", "v1", "customresourcedefinitions")  \
	X(apiservices, "apiregistration.k8s.io", "v1", "apiservices")                            \
	X(tokenreviews, "authentication.k8s.io", "v1", "tokenreviews")                           \
	X(subjectaccessreviews, "authorization.k8s.io", "v1", "subjectaccessreviews")
#define CLIENT_DECLARE(id, group, version, resource) extern const struct gvr res_##id;
CLIENT_RESOURCES(CLIENT_DECLARE)
#undef CLIENT_DECLARE

enum client_verb {
	VERB_GET,
	VERB_LIST,
	VERB_CREATE,
	VERB_UPDATE,
	VERB_PATCH,
	VERB_DELETE,
	VERB_DELETE_COLLECTION,
	VERB_WATCH
};
enum patch_type { PATCH_JSON, PATCH_MERGE, PATCH_STRATEGIC, PATCH_APPLY };

/* One request. Zero-filled fields mean "not given". Strings are borrowed for the call. */
struct client_request {
	enum client_verb verb;
	struct gvr res;
	struct str ns; /* empty: cluster scope, or all namespaces for lists and watches */
	struct str name;
	const char *sub; /* "status", "binding", "scale", "token", "eviction" … */
	struct str label_selector, field_selector;
	struct doc *body; /* object, DeleteOptions or patch */
	enum patch_type patch;
	const char *field_manager; /* NULL: the client's name */
	bool force;                /* apply: take ownership */
	int64_t limit;             /* list */
	struct str continue_token;
	struct str resource_version; /* get, list, watch */
	bool bookmarks;              /* watch */
	int64_t timeout_s;           /* watch: server ends it; 0: its default */
};

struct client; /* opaque */
struct client_event {
	enum { EVENT_ADDED, EVENT_MODIFIED, EVENT_DELETED, EVENT_BOOKMARK, EVENT_ERROR } type;
	struct doc *object; /* own one reference each; for EVENT_ERROR a Status */
};
struct client_stream; /* a running watch */

/* A backend. `self` is its own state. Lists are handed over as one document a call to each(): lists of thousands never
 * become one document. list_rev: metadata.resourceVersion of the list, as text. */
struct client_ops {
	int (*call)(void *self, const struct client_request *rq, struct doc **ret, struct err *e);
	int (*list)(void *self, const struct client_request *rq, void (*each)(void *arg, struct doc *take), void *arg,
		char ret_rev[24], struct err *e);
	int (*watch)(void *self, const struct client_request *rq, struct client_stream **ret, struct err *e);
	/* 0 and *ret; -ERR_TIMEOUT after timeout_ms; -ERR_EXPIRED, -ERR_CANCELED or others: the stream has ended. */
	int (*next)(struct client_stream *s, int64_t timeout_ms, struct client_event *ret, struct err *e);
	/* From any task, also before or while next() runs: next() returns -ERR_CANCELED, now and always after. Frees
	 * nothing. */
	void (*interrupt)(struct client_stream *s);
	void (*close)(
		struct client_stream *s); /* by the task that calls next(), when it has returned: ends and frees */
	void (*free)(void *self);
	void (*notify)(struct client_stream *s, void (*ready)(void *arg), void *arg); /* NULL: not possible here */
};
struct client *client_new(const struct client_ops *ops, void *take_self, const char *name);
struct client *client_free(struct client *c);
AUTO(struct client, client_free)

/* ---- calls: 0 or a negative code. ret may be NULL when the answer is not wanted. ------------- */
int client_call(struct client *c, const struct client_request *rq, struct doc **ret, struct err *e);
int client_get(struct client *c, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e);
int client_create(struct client *c, struct gvr r, struct str ns, struct doc *body, struct doc **ret, struct err *e);
int client_update(
	struct client *c, struct gvr r, struct doc *body, struct doc **ret, struct err *e); /* ns and name from body */
int client_update_sub(
	struct client *c, struct gvr r, const char *sub, struct doc *body, struct doc **ret, struct err *e);
int client_patch(struct client *c, struct gvr r, struct str ns, struct str name, const char *sub, enum patch_type t,
	struct doc *patch, struct doc **ret, struct err *e);
/* The APIResourceList of a group version that another server serves. Fails: ERR_UNAVAILABLE (that one does not answer). */
int client_discover(struct client *c, const char *group, const char *version, struct doc **ret, struct err *e);
struct client_delete {
	struct str uid;              /* precondition */
	struct str resource_version; /* precondition */
	int64_t grace_s;             /* -1: the object's own */
	const char *propagation;     /* NULL, "Background", "Foreground", "Orphan" */
};
int client_delete(
	struct client *c, struct gvr r, struct str ns, struct str name, struct client_delete o, struct err *e);
int client_list(struct client *c, const struct client_request *rq, void (*each)(void *arg, struct doc *take), void *arg,
	char ret_rev[24], struct err *e);
int client_watch(struct client *c, const struct client_request *rq, struct client_stream **ret, struct err *e);
int client_next(struct client *c, struct client_stream *s, int64_t timeout_ms, struct client_event *ret, struct err *e);
/* One task for many watches: ready(arg) runs whenever client_next() may have something, first perhaps at once; it only
 * queues the news.
 * Then call client_next() with timeout 0 until -ERR_TIMEOUT; call it without news now and then, so that a dead stream
 * is found.
 * Not after client_close(). Fails: ERR_UNSUPPORTED, by a backend that can only wait. */
int client_notify(struct client *c, struct client_stream *s, void (*ready)(void *arg), void *arg, struct err *e);
void client_interrupt(struct client *c, struct client_stream *s); /* from any task: wakes client_next() for good */
void client_close(struct client *c, struct client_stream *s);     /* own: by the task that reads it; NULL accepted */

/* ---- the remote backend ---------------------------------------------------------------------- */
struct client_remote_opts {
	const char *server;               /* "https://127.0.0.1:6443" */
	const char *ca_file;              /* PEM */
	const char *cert_file, *key_file; /* PEM, or NULL */
	const char *token;                /* bearer, or NULL */
	const char *name;                 /* User-Agent and field manager */
};
int client_remote(const struct client_remote_opts *o, struct client **ret, struct err *e);
/* Over connections of somebody else's. Borrow: http and headers, which go with each request. */
struct http_client;
struct http_header;
struct client_over_opts {
	struct http_client *http;
	const struct http_header *headers;
	size_t n_headers;
	const char *name;
	size_t answer_max;
	int64_t timeout_ms;
};
struct client *client_over(const struct client_over_opts *o); /* own */
/* Reads current-context of a kubeconfig (certificates inline or by file, token). */
int client_kubeconfig(const char *path, const char *name, struct client **ret, struct err *e);

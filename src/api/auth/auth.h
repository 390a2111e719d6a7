/* Who asks, and what he may. The question itself, authz_allowed(), is in api_internal.h: everybody asks it. */
#pragma once
#include "api/api_internal.h"
#include "pki/pki.h"

struct policy;      /* rbac.c: roles and bindings, compiled */
struct token_cache; /* token.c: payloads whose signature was right */

struct auth {
	struct pki_signer *signer; /* NULL: no tokens */
	const char *issuer;
	struct task_mutex lock;
	struct policy *policy; /* newest, one reference is ours; under lock */
	bool policy_stale;     /* atomic: a role or binding changed */
	struct cache_watch *policy_watches[4];
	struct token_cache *tokens;
};

/* rbac.c */
void policy_new(struct api *api);
void policy_free(struct auth *auth);
/* Calls each() with every rule that holds for the identity in ns ("" = cluster scope only). each() returns true to end
 * the walk; then so does this. */
bool policy_rules(struct api *api, const struct identity *id, struct str ns,
	bool (*each)(void *arg, struct val rule, const char *why), void *arg);
bool rule_allows(struct val rule, const struct authz_attrs *at);
/* Roles and bindings must not give what the writer lacks. ERR_FORBIDDEN. Called for every create, update and patch of
 * rbac.authorization.k8s.io with the new object. */
int authz_check_grant(struct rq *rq, struct val object, struct val old, struct err *e);

/* node_authz.c. The label that this server's own node gets from it: the role control-plane, as kubeadm's nodes have it, and no
 * node must say it of itself. NULL: the name is another node's. */
const char *node_given_label(const struct api *api, struct str name);
/* node_authz.c. Name of the node that an identity is, empty: it is none. */
struct str identity_node(const struct identity *id);
bool node_allowed(struct api *api, struct str node, const struct authz_attrs *at);
/* NodeRestriction: what a node identity may write. old missing: create; object missing: delete. ERR_FORBIDDEN. */
int authz_node_restriction(struct rq *rq, struct val object, struct val old, struct err *e);

/* Whether maps a and b differ in nothing but entries of these names, which blanks part. */
bool auth_same_but(struct val a, struct val b, const char *names);

/* node_pods.c: the pods of each node, for the node authorizer. */
struct node_pods *node_pods_new(struct cache *pods); /* begins with those that the cache has */
struct node_pods *node_pods_free(struct node_pods *p);
/* Where the store's work is done, before the cache shows the change. before NULL: a new pod; after NULL: it is deleted. */
void node_pods_event(struct node_pods *p, struct doc *before, struct doc *after);
enum referent { REFERENT_SECRET, REFERENT_CONFIGMAP, REFERENT_CLAIM, REFERENT_SERVICE_ACCOUNT };
/* Whether a pod bound to the node refers to the object of that namespace and name. Any thread. */
bool node_pods_refer(struct node_pods *p, struct str node, enum referent kind, struct str ns, struct str name);
bool node_pods_refers_to_any(struct val pod); /* to an object of any of these kinds */

/* token.c */
struct token_cache *token_cache_new(void);
struct token_cache *token_cache_free(struct token_cache *c);
/* Checks signature, times, audience (empty: the API's own) and that ServiceAccount and bound object still are. Strings
 * in a. */
int token_identity(struct api *api, struct arena *a, struct str token, const struct val *audiences,
	struct identity *ret, struct err *e);
/* Those of the token's audiences that were asked for (none: the API's own), as a list in a. The token was checked. */
struct node *token_audiences(struct api *api, struct arena *a, struct str token, struct val asked);
/* Bootstrap tokens "id.secret", kept in kube-system Secrets: for the API itself. */
int bootstrap_token_identity(struct api *api, struct arena *a, struct str token, struct identity *ret, struct err *e);
/* serviceaccounts/token: rq->ns and rq->name say which. */
int token_create(struct rq *rq, struct node **body, struct err *e);
/* /.well-known/openid-configuration and /openid/v1/jwks; false: no key. */
bool token_openid(struct api *api, bool jwks, struct buf *out);

/* review.c: for a row's .create. */
int review_token(struct rq *rq, struct node **body, struct err *e);
int review_self(struct rq *rq, struct node **body, struct err *e);
int review_access(struct rq *rq, struct node **body, struct err *e);
int review_self_access(struct rq *rq, struct node **body, struct err *e);
int review_self_rules(struct rq *rq, struct node **body, struct err *e);
int review_local_access(struct rq *rq, struct node **body, struct err *e);

/* authn.c */
int auth_new(struct api *api, struct err *e); /* sets api->auth; keys are read from opts.pki_dir (may be NULL) */
void auth_free(struct api *api);
/* Who sends this: client certificate, bearer token (also from the WebSocket sub-protocol), impersonation headers (which
 * it authorizes), else system:anonymous. Strings in a. ERR_UNAUTHORIZED: *ret is nobody. ERR_FORBIDDEN: it is who wanted to
 * impersonate, and *refused whom. On a loop: must not wait. */
int authn_http(struct api *api, const struct http_request *r, struct arena *a, struct identity *ret,
	struct authz_attrs *refused, struct err *e);
/* 1: who the certificate says; 0: there is none. Fails: ERR_UNAUTHORIZED, it does not verify, or has ended since the
 * connection was made. */
int authn_certificate(
	struct arena *a, const struct http_peer *peer, int64_t now_s, struct identity *ret, struct err *e);
/* Impersonation headers, applied to *id on success. */
int authn_impersonate(struct api *api, const struct http_header *headers, size_t n_headers, struct arena *a,
	struct identity *id, struct authz_attrs *refused, struct err *e);
void identity_add_group(struct arena *a, struct identity *id, struct str group);
bool identity_in_group(const struct identity *id, const char *group);
struct node *identity_node_tree(struct arena *a, const struct identity *id); /* UserInfo */

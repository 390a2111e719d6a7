/* What authn.c, rbac.c, node_authz.c, node_pods.c, review.c and token.c share. */
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
 * the walk;
 * then so does this. */
bool policy_rules(struct api *api, const struct identity *id, struct str ns,
	bool (*each)(void *arg, struct val rule, const char *why), void *arg);
bool rule_allows(struct val rule, const struct authz_attrs *at);

/* node_authz.c. Name of the node that an identity is, empty: it is none. */
struct str identity_node(const struct identity *id);
bool node_allowed(struct api *api, struct str node, const struct authz_attrs *at);

/* node_pods.c */
enum referent { REFERENT_SECRET, REFERENT_CONFIGMAP, REFERENT_CLAIM, REFERENT_SERVICE_ACCOUNT };
/* Whether a pod bound to the node refers to the object of that namespace and name. Any thread. */
bool node_pods_refer(struct node_pods *p, struct str node, enum referent kind, struct str ns, struct str name);

/* token.c */
struct token_cache *token_cache_new(void);
struct token_cache *token_cache_free(struct token_cache *c);
/* Checks signature, times, audience (empty: the API's own) and that ServiceAccount and bound object still are. Strings
 * in a. */
int token_identity(struct api *api, struct arena *a, struct str token, const struct val *audiences,
	struct identity *ret, struct err *e);
/* Bootstrap tokens "id.secret", kept in kube-system Secrets. */
int bootstrap_token_identity(struct api *api, struct arena *a, struct str token, struct identity *ret, struct err *e);

/* authn.c */
void identity_add_group(struct arena *a, struct identity *id, struct str group);
bool identity_in_group(const struct identity *id, const char *group);
struct node *identity_node_tree(struct arena *a, const struct identity *id); /* UserInfo */

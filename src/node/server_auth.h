/* Who asks the node's server, and whether he may: by the API's word (TokenReview, SubjectAccessReview), remembered for a while.
 *
 *      certificate ─────────────────────────► user ─► SubjectAccessReview: may he VERB nodes/SUB of this node?
 *      bearer token ─► TokenReview ─► user ─┘
 *
 * A certificate counts before a token. The API server's and administrators' need nobody's word.
 * Thread: any. Tokens are kept as their SHA-256 alone, and never logged. */
#pragma once
#include "base/arena.h"
#include "base/clock.h"
#include "client/client.h"
#include "net/net.h"

struct server_auth;
struct server_auth *server_auth_new(struct client *borrow, const char *borrow_node_name); /* own */
struct server_auth *server_auth_free(struct server_auth *s);
AUTO(struct server_auth, server_auth_free)

/* What a request wants, in the words of roles. */
struct server_want {
	const char *verb;    /* "": none that a role names */
	const char *subs[2]; /* of nodes, the narrower first; one of them is enough. NULL: there is no second */
};
struct server_want server_want(struct str method, struct str first_part_of_path);

enum verdict {
	VERDICT_ALLOWED,
	VERDICT_UNAUTHORIZED,
	VERDICT_FORBIDDEN,
	VERDICT_UNKNOWN, /* the API must be asked first */
	VERDICT_FAILED,  /* the API did not say what the user may */
};
struct server_asker {
	const struct http_peer *peer;
	struct str authorization; /* that header */
};
/* Before a task is started that asks the API: a place for it. -1: so many ask already, in all or from this address, that the
 * request has to come again. One address gets half of the places. */
int server_auth_may_ask(struct server_auth *s, struct str address);
void server_auth_answered(struct server_auth *s, int place);
/* ask: the API may be asked, which blocks; never VERDICT_UNKNOWN then. ret_user, in a: his name, when it is known. */
enum verdict server_auth(struct server_auth *s, const struct server_asker *who, const struct server_want *want,
	bool ask, struct mono now, struct arena *a, struct str *ret_user);

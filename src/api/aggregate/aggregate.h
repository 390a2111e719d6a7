/* APIServices: group versions that another server serves.
 *
 *     APIService written ─► aggregate.c's task: is it there? ─► condition Available, its discovery kept
 *                                                   └► openapi.c's task: its OpenAPI kept
 *     request for its group version ─► authorized here ─► proxy.c, as the front proxy, with X-Remote-*
 * headers */
#pragma once
#include "api/relay/outgoing.h"

#define LOCAL_IS_AVAILABLE "Local APIServices are always available"
struct aggregates;
struct aggregates *aggregates_new(struct api *api);
void aggregates_start(struct aggregates *g);
void aggregates_stop(struct aggregates *g);
void aggregates_free(struct aggregates *g);
void aggregates_changed(struct aggregates *g, struct str name); /* an APIService; from events, never waits */
void aggregates_served(struct aggregates *g); /* the kinds that this server serves itself are others; never waits */

/* One that another server serves. Strings and the reference live as long as the arena. */
struct aggregate {
	const char *group, *version;
	bool available;
	struct doc *list; /* its APIResourceList; NULL: never answered */
	struct outgoing_target target;
};
struct aggregate *aggregates_list(struct api *api, struct arena *a, size_t *ret_n);
/* false: this server serves it. */
bool aggregates_find(struct api *api, struct arena *a, struct str group, struct str version, struct aggregate *ret);

/* local.c: APIServices of the group versions that this server serves itself. */
void aggregates_builtin(struct api *api, struct arena *a, void (*each)(void *arg, struct node *object), void *arg);
/* Those of custom kinds as they ought to be, and none of what is not served any more. */
void aggregates_mend_local(struct api *api);

/* available.c: what the condition Available says of one. Messages in a. */
struct verdict {
	const char *value, *reason, *message;
};
/* False: nobody is there to be asked; *ret says why. */
bool aggregate_is_there(struct api *api, struct arena *a, const struct aggregate *x, struct verdict *ret);
/* Its answer; x keeps the list. */
struct verdict aggregate_answered(struct arena *a, struct aggregate *x, const struct http_reply *r);
struct verdict aggregate_failed(struct arena *a, const struct aggregate *x, const char *why);
/* Writes it into the APIService. */
void aggregate_tell(struct api *api, struct doc *d, struct verdict v);

/* openapi.c: what they say of their kinds. The task belongs to aggregate.c. */
struct aggregate_openapi *aggregate_openapi_new(struct api *api);
void aggregate_openapi_start(struct aggregate_openapi *g);
void aggregate_openapi_stop(struct aggregate_openapi *g);
void aggregate_openapi_free(struct aggregate_openapi *g);
void aggregate_openapi_stir(
	struct aggregate_openapi *g); /* those that answer, or their kinds, are others; never waits */
/* Their parts of the document of version 2, for openapi_v2_json(). They live as long as the arena. */
size_t aggregates_openapi(struct api *api, struct arena *a, struct val **ret);
/* Where clients find its document of version 3; empty: it has none. */
struct str aggregates_openapi_url(struct api *api, struct arena *a, const struct aggregate *x);

/* proxy.c. Takes rq, which is authorized, when its path is another server's; false: it is ours. */
bool aggregate_answer(struct rq *rq);
/* The headers that say who asks: how many at most, and into h, which has room for them. Strings in a. */
size_t aggregate_who_max(const struct identity *id);
size_t aggregate_who(struct arena *a, const struct identity *id, struct http_header *h);

/* patience.c: whether and how long the server's own parts wait for others. */
struct patience;
struct patience *patience_new(void);
struct patience *patience_free(struct patience *p); /* accepts NULL */
AUTO(struct patience, patience_free)
/* Before a call: *ret is a place to wait at until patience_leave(). Waits for one, about a second at most while nobody answers.
 * ERR_UNAVAILABLE: the server is not to be asked just now. */
struct patience_place;
int patience_enter(struct patience *p, struct str server, struct patience_place **ret, struct err *e);
void patience_leave(struct patience *p, struct patience_place *place, bool failed);

/* client.c: for the server's own parts. Own: *ret. Fails: ERR_UNAVAILABLE. */
struct aggregate_client;
int aggregate_client_new(struct api *api, const struct aggregate *to, const struct identity *id,
	struct aggregate_client **ret, struct err *e);
struct client *aggregate_client_of(struct aggregate_client *c); /* borrow; for watches */
/* As client_call() and client_list(), with patience. */
int aggregate_client_call(struct aggregate_client *c, const struct client_request *rq, struct doc **ret, struct err *e);
int aggregate_client_list(struct aggregate_client *c, const struct client_request *rq,
	void (*each)(void *arg, struct doc *take), void *arg, char ret_rev[24], struct err *e);
struct aggregate_client *aggregate_client_free(struct aggregate_client *c);
/* Own: what a group version has, as it was seen last. Fails: ERR_UNAVAILABLE (nobody who answers has it), ERR_FORBIDDEN. */
int aggregate_discover(struct api *api, const struct identity *id, struct str group, struct str version,
	struct doc **ret, struct err *e);

/* How the server's own parts come to the kinds of other servers: as a client of theirs, as the front proxy and with the word
 * of who asks. */
#include "api/aggregate/aggregate.h"

#define LOG_MODULE "aggregate"
#define ANSWER_MS 10000
#define ANSWER_MAX ((size_t)16 << 20)

struct aggregate_client {
	struct arena *a;
	struct api *api;
	struct outgoing_link *link;
	struct client *client;
	struct str server; /* for patience */
};

struct aggregate_client *aggregate_client_free(struct aggregate_client *c)
{
	if (!c)
		return NULL;
	client_free(c->client);
	outgoing_release(c->api, c->link);
	arena_free(c->a);
	return NULL;
}

int aggregate_client_new(struct api *api, const struct aggregate *to, const struct identity *id,
	struct aggregate_client **ret, struct err *e)
{
	struct outgoing_link *link;

	if (!to->available)
		return err_set(e, ERR_UNAVAILABLE, "the server is currently unable to handle the request");
	if (outgoing_acquire(api, &to->target, &link, e) < 0)
		return -e->code;
	struct arena *a = arena_new();
	struct aggregate_client *c = ARENA_NEW(a, struct aggregate_client);
	struct http_header *h = ARENA_ARRAY(a, struct http_header, aggregate_who_max(id));

	*c = (struct aggregate_client){ .a = a, .api = api, .link = link, .server = outgoing_url(a, &to->target) };
	c->client = client_over(&(struct client_over_opts){ .http = outgoing_client(link),
		.headers = h,
		.n_headers = aggregate_who(a, id, h),
		.name = "kogge",
		.answer_max = ANSWER_MAX,
		.timeout_ms = ANSWER_MS });
	*ret = c;
	return 0;
}

struct client *aggregate_client_of(struct aggregate_client *c)
{
	return c->client;
}

int aggregate_client_call(struct aggregate_client *c, const struct client_request *rq, struct doc **ret, struct err *e)
{
	struct patience_place *place;
	int rc = patience_enter(c->api->patience, c->server, &place, e);

	if (rc < 0)
		return rc;
	rc = client_call(c->client, rq, ret, e);
	patience_leave(c->api->patience, place, rc < 0);
	return rc;
}

int aggregate_client_list(struct aggregate_client *c, const struct client_request *rq,
	void (*each)(void *arg, struct doc *take), void *arg, char ret_rev[24], struct err *e)
{
	struct patience_place *place;
	int rc = patience_enter(c->api->patience, c->server, &place, e);

	if (rc < 0)
		return rc;
	rc = client_list(c->client, rq, each, arg, ret_rev, e);
	patience_leave(c->api->patience, place, rc < 0);
	return rc;
}

int aggregate_discover(struct api *api, const struct identity *id, struct str group, struct str version,
	struct doc **ret, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct aggregate x;
	struct authz_attrs at = { .verb = STR("get"),
		.path = arena_strf(a, "/apis/%.*s/%.*s", STR_ARG(group), STR_ARG(version)) };

	if (!api->opts.no_authz && !authz_allowed(api, id, &at, NULL, 0))
		return err_set(e, ERR_FORBIDDEN, "forbidden: User \"%.*s\" cannot get path \"%.*s\"", STR_ARG(id->user),
			STR_ARG(at.path));
	if (!aggregates_find(api, a, group, version, &x) || !x.available || !x.list)
		return err_set(e, ERR_UNAVAILABLE, "stale GroupVersion discovery: %.*s/%.*s", STR_ARG(group),
			STR_ARG(version));
	*ret = doc_ref(x.list);
	return 0;
}

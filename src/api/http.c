/* The door for HTTP: who is it, then route.c. */
#include "api/auth/auth.h"
#define LOG_MODULE "api"

#define STATUS(message, reason, code)                                                                              \
	"{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"" message \
	"\",\"reason\":\"" reason "\",\"code\":" code "}"

const char *api_http_refused(int status)
{
	if (status == 413)
		return STATUS("Request entity too large: limit is 3145728", "RequestEntityTooLarge", "413");
	if (status == 429)
		return STATUS("All requests and unread answers together are too large just now, please try again later",
			"TooManyRequests", "429");
	return NULL;
}

void api_http_handle(void *arg, struct http_request *r)
{
	struct api *api = arg;
	struct rq *rq = rq_new(api);
	struct authz_attrs refused = { 0 };
	struct err e;

	err_init(&e);
	rq->http = r;
	/* Copies: the record of a stream is written when the request is long gone. */
	rq->method = arena_str(rq->a, http_method(r));
	rq->path = arena_str(rq->a, http_path(r));
	rq->query = arena_str(rq->a, http_query(r));
	rq->user_agent = arena_str(rq->a, http_header(r, "user-agent"));
	rq->accept = arena_str(rq->a, http_header(r, "accept"));
	rq->content_type = arena_str(rq->a, http_header(r, "content-type"));
	rq->source = arena_str(rq->a, http_peer(r)->address);
	rq->forwarded = arena_str(rq->a, http_header(r, "x-forwarded-for"));
	rq->real_ip = arena_str(rq->a, http_header(r, "x-real-ip"));
	rq->body = http_body(r); /* writes are answered after they were read: borrowed */
	if (authn_http(api, r, rq->a, &rq->id, &refused, &e) < 0)
		route_refuse(rq, &refused, &e);
	else
		route(rq);
}

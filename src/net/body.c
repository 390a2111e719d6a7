/* Bodies of requests, gathered on their way in. What all of a server's requests hold together is bounded: beyond it
 * 429 with Retry-After, so that a crowd of slow senders costs others their time, not the server its memory. The small
 * ones (leases, node statuses, most objects) are not counted. */
#include "net/net_internal.h"

#define FREE_MAX ((size_t)64 << 10)

/* Afterwards the request answers for what its buffer holds. false: that is too much for all together. */
static bool charge(struct http_request *r)
{
	size_t holds = r->body.cap > FREE_MAX ? r->body.cap : 0;
	struct http_server *s = r->server;
	size_t all;

	if (holds == r->charged)
		return true;
	all = atomic_fetch_add(&s->bodies, holds - r->charged) + holds - r->charged;
	r->charged = holds;
	return all <= s->o.bodies_max;
}

int body_add(struct http_request *r, const char *p, size_t n)
{
	buf_add(&r->body, p, n);
	if (r->body.full)
		return 413;
	return charge(r) ? 0 : 429;
}

void body_drop(struct http_request *r)
{
	buf_fini(&r->body);
	r->body = BUF_INIT;
	if (r->charged)
		atomic_fetch_sub(&r->server->bodies, r->charged);
	r->charged = 0;
}

/* Bodies of requests, gathered on their way in. What all of a server's requests hold together is bounded: beyond it
 * 429 with Retry-After, so that a crowd of slow senders costs others their time, not the server its memory. The small
 * ones (leases, node statuses, most objects) are not counted. Heads that do not end count as well, and what is sent ahead. */
#include "net/net_internal.h"

#define FREE_MAX ((size_t)64 << 10)

bool room_take(struct http_server *s, size_t *charged, size_t holds)
{
	size_t was = *charged;

	if (holds == was)
		return true;
	*charged = holds;
	return atomic_fetch_add(&s->bodies, holds - was) + holds - was <= s->o.bodies_max || holds < was;
}

/* Afterwards the request answers for what its buffer holds. false: that is too much for all together. */
static bool charge(struct http_request *r)
{
	return room_take(r->server, &r->charged, r->body.cap > FREE_MAX ? r->body.cap : 0);
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
	room_take(r->server, &r->charged, 0);
}

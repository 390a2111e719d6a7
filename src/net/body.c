/* Requests on their way in: heads, bodies, what is sent ahead. What all of a server's connections hold together is bounded:
 * beyond it 429 with Retry-After, so that a crowd of slow senders costs others their time, not the server its memory. A little
 * of each connection's is not counted, so that small requests (leases, node statuses, most objects) find room
 * at any time. Then the request answers for its body, where that is large, until it is done. */
#include "net/net_internal.h"

#define SPARED ((size_t)16 << 10)   /* of a connection, while requests arrive */
#define FREE_MAX ((size_t)64 << 10) /* of a request that is worked on: lanes bound how many those are */

/* False: it grew, and is too much for all together. */
static bool take(struct http_server *s, size_t *charged, size_t holds)
{
	size_t was = *charged;

	if (holds == was)
		return true;
	*charged = holds;
	return atomic_fetch_add(&s->bodies, holds - was) + holds - was <= s->o.bodies_max || holds < was;
}

bool room_hold(struct http_server *s, struct room *room, size_t *mine, size_t holds)
{
	room->held += holds - *mine;
	*mine = holds;
	return take(s, &room->charged, room->held > SPARED ? room->held - SPARED : 0);
}

void body_whole(struct http_request *r)
{
	take(r->server, &r->charged, r->body.cap > FREE_MAX ? r->body.cap : 0);
}

void body_drop(struct http_request *r)
{
	buf_fini(&r->body);
	r->body = BUF_INIT;
	take(r->server, &r->charged, 0);
}

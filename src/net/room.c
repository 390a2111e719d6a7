/* What a server's connections hold together: requests on their way in (heads, bodies, what is sent ahead), and answers that
 * nobody has read yet. Each has a bound, beyond which 429 with Retry-After, so that a crowd of slow senders or readers costs
 * others their time, not the server its memory. A little of each connection's is not counted, so that small requests
 * (leases, node statuses, most objects) find room at any time. */
#include "net/net_internal.h"

#define SPARED ((size_t)16 << 10)       /* of a connection, of requests that arrive, and as much of answers */
#define FREE_MAX ((size_t)64 << 10)     /* of a request that is worked on: lanes bound how many those are */
#define ANSWER_BYTES ((size_t)4 << 10)  /* what one takes beside its text: request, stream, headers */
#define SOURCE_BYTES ((size_t)64 << 10) /* what a body that is made while it is sent takes at the most */
#define PART_BYTES ((size_t)80)

/* False: it grew, and is too much for all together. */
static bool take(struct budget *b, size_t *charged, size_t holds)
{
	size_t was = *charged;

	if (holds == was)
		return true;
	*charged = holds;
	return atomic_fetch_add(&b->held, holds - was) + holds - was <= b->max || holds < was;
}

bool room_hold(struct budget *b, struct room *room, size_t *mine, size_t holds)
{
	room->held += holds - *mine;
	*mine = holds;
	return take(b, &room->charged, room->held > SPARED ? room->held - SPARED : 0);
}

/* ---- requests -------------------------------------------------------------------------------- */

void body_whole(struct http_request *r)
{
	take(&r->server->arriving, &r->charged, r->body.cap > FREE_MAX ? r->body.cap : 0);
}

void body_drop(struct http_request *r)
{
	buf_fini(&r->body);
	r->body = BUF_INIT;
	take(&r->server->arriving, &r->charged, 0);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Of a stream the bytes are mostly documents that others share. */
size_t parts_hold(const struct parts *l, bool shared)
{
	size_t n = l->count * PART_BYTES;

	if (shared)
		return n;
	if (l->first && !l->first->p)
		return n + l->n - l->first->n + MIN(l->first->n, SOURCE_BYTES);
	return n + l->n;
}

/* A stream's own memory is there as long as it is, read or not. */
bool exchange_weigh(struct http_exchange *x, const struct parts *out)
{
	size_t holds = !out ? 0 : (x->stream ? 0 : ANSWER_BYTES) + parts_hold(out, x->stream);
	bool fits = room_hold(&x->server->unread, x->room, &x->held, holds);

	if (!fits)
		shed_hurry(x->server);
	return fits;
}

bool answer_is_too_much(const struct http_exchange *x)
{
	const struct budget *b = &x->server->unread;

	return !x->stream && x->held > SPARED && atomic_load(&b->held) > 2 * b->max;
}

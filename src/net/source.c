/* A body that is made while it is sent, a list's, as one part of a queue. What leaves the queue is poured into blocks, each of
 * which is one TLS record with the head of its frame, so that nothing is copied again on the way to the cipher. */
#include "net/net_internal.h"

#define HEAD_ROOM ((size_t)9) /* an HTTP/2 frame's */
#define PAYLOAD (PARTS_BLOCK - HEAD_ROOM)

struct source {
	struct net_source from;
	struct str piece;   /* what is left of from's last one */
	struct parts ready; /* at most one block */
};

static void source_end(void *owner)
{
	struct source *s = owner;

	parts_fini(&s->ready);
	s->from.end(s->from.owner);
	free(s);
}

void parts_source(struct parts *l, const struct net_source *take)
{
	struct source *s = xmalloc(sizeof(*s));

	*s = (struct source){ .from = *take };
	parts_add(l, NULL, take->n, s, source_end);
}

static void pour(struct source *s, size_t n)
{
	char *to = parts_block(&s->ready, HEAD_ROOM, n);

	while (n) {
		if (!s->piece.n)
			s->piece = s->from.next(s->from.owner);
		size_t take = MIN(n, s->piece.n);

		PRE(take);
		to = mempcpy(to, s->piece.p, take);
		s->piece = str_n(s->piece.p + take, s->piece.n - take);
		n -= take;
	}
}

static struct parts *ready(struct part *x)
{
	struct source *s = x->owner;

	if (!s->ready.n)
		pour(s, MIN(x->n, PAYLOAD));
	return &s->ready;
}

size_t source_move(struct parts *to, struct part *x, size_t n)
{
	struct parts *from = ready(x);
	size_t take = MIN(n, from->n);

	parts_move(to, from, take);
	x->n -= take;
	return take;
}

size_t source_next(struct part *x)
{
	return ready(x)->n;
}

bool source_frame(struct parts *to, struct str head, struct part *x, size_t n)
{
	struct parts *from = ready(x);

	if (!parts_prefix(from, head, n))
		return false;
	parts_move(to, from, head.n + n);
	x->n -= n;
	return true;
}

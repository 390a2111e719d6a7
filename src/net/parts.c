/* Queues of bytes to send: copied small ones share a block, big ones stay where they are until they are sent. */
#include "net/net_internal.h"

#define ROOM_MIN ((size_t)480)

static void part_unref(struct part *x)
{
	if (--x->refs)
		return;
	if (x->of)
		part_unref(x->of);
	else if (x->end)
		x->end(x->owner);
	free(x);
}

static void parts_put(struct parts *l, struct part *x)
{
	x->next = NULL;
	if (l->last)
		l->last->next = x;
	else
		l->first = x;
	l->last = x;
	l->n += x->n;
}

static struct part *parts_pop(struct parts *l)
{
	struct part *x = l->first;

	l->first = x->next;
	if (!l->first)
		l->last = NULL;
	l->n -= x->n;
	return x;
}

void parts_fini(struct parts *l)
{
	while (l->first)
		part_unref(parts_pop(l));
}

void parts_copy(struct parts *l, struct str bytes)
{
	struct part *t = l->last;

	if (!bytes.n)
		return;
	if (t && t->room && t->refs == 1 && bytes.n <= t->room - t->used) {
		memcpy(t->bytes + t->used, bytes.p, bytes.n);
		t->used += bytes.n;
		t->n += bytes.n;
		l->n += bytes.n;
		return;
	}
	size_t room = MAX(bytes.n, ROOM_MIN);
	struct part *x = xmalloc(sizeof(*x) + room);

	*x = (struct part){ .p = x->bytes, .n = bytes.n, .refs = 1, .used = bytes.n, .room = room };
	memcpy(x->bytes, bytes.p, bytes.n);
	parts_put(l, x);
}

void parts_piece(struct parts *l, const struct net_piece *piece)
{
	if (!piece->bytes.n) {
		if (piece->end)
			piece->end(piece->owner);
		return;
	}
	struct part *x = xmalloc(sizeof(*x));

	*x = (struct part){
		.p = piece->bytes.p, .n = piece->bytes.n, .refs = 1, .owner = piece->owner, .end = piece->end
	};
	parts_put(l, x);
}

void parts_drop(struct parts *l, size_t n)
{
	while (n) {
		struct part *x = l->first;

		if (n < x->n) {
			x->p += n;
			x->n -= n;
			l->n -= n;
			return;
		}
		n -= x->n;
		part_unref(parts_pop(l));
	}
}

/* The first n bytes of x as a part of their own that keeps x alive. */
static struct part *part_split(struct part *x, size_t n)
{
	struct part *of = x->of ? x->of : x;
	struct part *head = xmalloc(sizeof(*head));

	of->refs++;
	*head = (struct part){ .of = of, .p = x->p, .n = n, .refs = 1 };
	x->p += n;
	x->n -= n;
	return head;
}

void parts_move(struct parts *to, struct parts *from, size_t n)
{
	while (n) {
		struct part *x = from->first;

		if (n >= x->n) {
			n -= x->n;
			parts_put(to, parts_pop(from));
			continue;
		}
		from->n -= n;
		parts_put(to, part_split(x, n));
		return;
	}
}

void parts_append(struct parts *to, struct parts *from)
{
	if (!from->first)
		return;
	if (to->last)
		to->last->next = from->first;
	else
		to->first = from->first;
	to->last = from->last;
	to->n += from->n;
	*from = (struct parts){ 0 };
}

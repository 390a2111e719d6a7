/* Queues of bytes to send: copied small ones share a block, big ones stay where they are until they are sent. */
#include "net/net_internal.h"

#define ROOM_MIN ((size_t)480)
#define SPARE_MOST 512

/* Parts without room of their own, kept by a thread that makes and ends many: a loop. */
static _Thread_local struct {
	bool on;
	struct part *first;
	size_t n;
} spare;

void parts_spare(bool on)
{
	spare.on = on;
	for (struct part *x; !on && (x = spare.first); free(x))
		spare.first = x->next;
	spare.n = 0;
}

static struct part *part_new(void)
{
	struct part *x = spare.first;

	if (!x)
		return xmalloc(sizeof(*x));
	spare.first = x->next;
	spare.n--;
	return x;
}

static void part_free(struct part *x)
{
	if (!spare.on || x->room || spare.n == SPARE_MOST) {
		free(x);
		return;
	}
	x->next = spare.first;
	spare.first = x;
	spare.n++;
}

static void part_unref(struct part *x)
{
	if (--x->refs)
		return;
	if (x->of)
		part_unref(x->of);
	else if (x->end)
		x->end(x->owner);
	part_free(x);
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
	l->count++;
}

static struct part *parts_pop(struct parts *l)
{
	struct part *x = l->first;

	l->first = x->next;
	if (!l->first)
		l->last = NULL;
	l->n -= x->n;
	l->count--;
	return x;
}

void parts_fini(struct parts *l)
{
	while (l->first)
		part_unref(parts_pop(l));
}

/* As much of it as fits in the last block. */
static size_t fill_last(struct parts *l, struct str bytes)
{
	struct part *t = l->last;
	size_t n = t && t->room && t->refs == 1 ? MIN(bytes.n, t->room - t->used) : 0;

	if (!n)
		return 0;
	memcpy(t->bytes + t->used, bytes.p, n);
	t->used += n;
	t->n += n;
	l->n += n;
	return n;
}

/* Into the last block, and another one of that size when it is full. */
static void copy(struct parts *l, struct str bytes, size_t room)
{
	size_t n = fill_last(l, bytes);

	if (n == bytes.n)
		return;
	bytes = str_n(bytes.p + n, bytes.n - n);
	room = MAX(bytes.n, room);
	struct part *x = xmalloc(sizeof(*x) + room);

	*x = (struct part){ .p = x->bytes, .n = bytes.n, .refs = 1, .used = bytes.n, .room = room };
	memcpy(x->bytes, bytes.p, bytes.n);
	parts_put(l, x);
}

void parts_copy(struct parts *l, struct str bytes)
{
	copy(l, bytes, ROOM_MIN);
}

void parts_add(struct parts *l, const char *p, size_t n, void *owner, void (*end)(void *owner))
{
	struct part *x = part_new();

	*x = (struct part){ .p = p, .n = n, .refs = 1, .owner = owner, .end = end };
	parts_put(l, x);
}

void parts_piece(struct parts *l, const struct net_piece *piece)
{
	if (!piece->bytes.n) {
		if (piece->end)
			piece->end(piece->owner);
		return;
	}
	parts_add(l, piece->bytes.p, piece->bytes.n, piece->owner, piece->end);
}

/* ---- blocks of one record ---------------------------------------------------------------------- */

char *parts_block(struct parts *l, size_t head_room, size_t n)
{
	struct part *x = xmalloc(sizeof(*x) + head_room + n);

	*x = (struct part){ .p = x->bytes + head_room,
		.n = n,
		.refs = 1,
		.used = head_room + n,
		.room = head_room + n,
		.whole = head_room + n == PARTS_BLOCK };
	parts_put(l, x);
	return x->bytes + head_room;
}

bool parts_prefix(struct parts *l, struct str head, size_t n)
{
	struct part *x = l->first;

	if (x->n != n || !x->room || x->refs != 1 || (size_t)(x->p - x->bytes) < head.n)
		return false;
	x->p -= head.n;
	memcpy(x->bytes + (x->p - x->bytes), head.p, head.n);
	x->n += head.n;
	l->n += head.n;
	return true;
}

static bool is_source(const struct part *x)
{
	return !x->p;
}

/* ---- what leaves a queue --------------------------------------------------------------------- */

void parts_drop(struct parts *l, size_t n)
{
	while (n) {
		struct part *x = l->first;

		if (n < x->n) {
			l->n -= n;
			if (is_source(x)) {
				struct parts none = { 0 };

				while (n)
					n -= source_move(&none, x, n);
				parts_fini(&none);
				return;
			}
			x->p += n;
			x->n -= n;
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
	struct part *head = part_new();

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

		if (is_source(x)) {
			size_t take = source_move(to, x, MIN(n, x->n));

			from->n -= take;
			n -= take;
			if (!x->n)
				part_unref(parts_pop(from));
			continue;
		}
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

size_t parts_next(const struct parts *l, size_t most)
{
	return l->n && is_source(l->first) ? MIN(most, source_next(l->first)) : MIN(most, l->n);
}

void parts_gather(struct parts *to, struct str head, struct parts *from, size_t n)
{
	bool made = n && is_source(from->first), moved = n > PARTS_SMALL || made;
	size_t room = moved ? ROOM_MIN : PARTS_BLOCK;

	if (made && source_frame(to, head, from->first, n)) {
		from->n -= n;
		if (!from->first->n)
			part_unref(parts_pop(from));
		return;
	}
	copy(to, head, room);
	if (moved) {
		parts_move(to, from, n);
		return;
	}
	while (n) {
		size_t take = MIN(n, from->first->n);

		copy(to, str_n(from->first->p, take), room);
		parts_drop(from, take);
		n -= take;
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
	to->count += from->count;
	*from = (struct parts){ 0 };
}

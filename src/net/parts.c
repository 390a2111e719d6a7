/* Queues of bytes to send: copied small ones share a block, big ones stay where they are until they are sent. Many small
 * pieces, a list's, are one part that pours them into blocks when these leave the queue.
 */
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

void parts_piece(struct parts *l, const struct net_piece *piece)
{
	if (!piece->bytes.n) {
		if (piece->end)
			piece->end(piece->owner);
		return;
	}
	struct part *x = part_new();

	*x = (struct part){
		.p = piece->bytes.p, .n = piece->bytes.n, .refs = 1, .owner = piece->owner, .end = piece->end
	};
	parts_put(l, x);
}

/* ---- many pieces as one part ----------------------------------------------------------------- */

#define MANY 16

struct pieces {
	size_t at, n;
	struct net_piece v[];
};

static void pieces_end(void *owner)
{
	struct pieces *s = owner;

	for (; s->at < s->n; s->at++)
		if (s->v[s->at].end)
			s->v[s->at].end(s->v[s->at].owner);
	free(s);
}

static bool is_pieces(const struct part *x)
{
	return !x->p;
}

void parts_pieces(struct parts *l, const struct net_piece *pieces, size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += pieces[i].bytes.n;
	if (n < MANY || total / n > PARTS_SMALL || !total) {
		for (size_t i = 0; i < n; i++)
			parts_piece(l, &pieces[i]);
		return;
	}
	struct pieces *s = xmalloc(sizeof(*s) + n * sizeof(*pieces));
	struct part *x = part_new();

	*s = (struct pieces){ .n = n };
	memcpy(s->v, pieces, n * sizeof(*pieces));
	*x = (struct part){ .n = total, .refs = 1, .owner = s, .end = pieces_end };
	parts_put(l, x);
}

/* The next n bytes of many pieces, to NULL: nowhere. */
static void pieces_take(struct part *x, char *to, size_t n)
{
	struct pieces *s = x->owner;

	x->n -= n;
	while (n) {
		struct net_piece *piece = &s->v[s->at];
		size_t take = MIN(n, piece->bytes.n);

		if (to)
			to = mempcpy(to, piece->bytes.p, take);
		piece->bytes = str_n(piece->bytes.p + take, piece->bytes.n - take);
		n -= take;
		if (piece->bytes.n)
			return;
		if (piece->end)
			piece->end(piece->owner);
		s->at++;
	}
}

/* The first n bytes of many pieces, in blocks. */
static void pour(struct parts *to, struct part *x, size_t n)
{
	while (n) {
		struct part *t = to->last;

		if (!t || !t->room || t->refs != 1 || t->used == t->room) {
			t = xmalloc(sizeof(*t) + PARTS_BLOCK);
			*t = (struct part){ .p = t->bytes, .refs = 1, .room = PARTS_BLOCK };
			parts_put(to, t);
		}
		size_t take = MIN(n, t->room - t->used);

		pieces_take(x, t->bytes + t->used, take);
		t->used += take;
		t->n += take;
		to->n += take;
		n -= take;
	}
}

/* ---- what leaves a queue --------------------------------------------------------------------- */

void parts_drop(struct parts *l, size_t n)
{
	while (n) {
		struct part *x = l->first;

		if (n < x->n) {
			l->n -= n;
			if (is_pieces(x)) {
				pieces_take(x, NULL, n);
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

		if (is_pieces(x)) {
			size_t take = MIN(n, x->n);

			pour(to, x, take);
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

void parts_gather(struct parts *to, struct str head, struct parts *from, size_t n)
{
	bool moved = n > PARTS_SMALL || (n && is_pieces(from->first));
	size_t room = !moved || is_pieces(from->first) ? PARTS_BLOCK : ROOM_MIN;

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

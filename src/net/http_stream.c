/* Bodies without known length: what their writers say, from any thread, on its way to the loop.
 *
 *     writer ──► said: [stream, pieces] [stream, pieces] [stream, end] ──► loop: into exchange->out, more()
 *
 * A message holds what was said to one stream, or within net_batch_begin() and _end() to all streams of a loop: so an event
 * for hundreds of watchers costs a loop one message. A loop runs messages in order, so they find the answer's head there. */
#include "net/net_internal.h"

#define STREAM_LOW (HTTP_STREAM_HIGH / 4)
#define BATCH_ROOM ((size_t)16 << 10)

struct http_stream {
	struct net_loop *loop; /* ref */
	const struct http_stream_ops *ops;
	void *arg;
	atomic_size_t unsent;
	atomic_uint refs;        /* the open side, and everything said that is under way */
	struct http_exchange *x; /* loop */
	bool closed;             /* loop */
};

enum what {
	WRITE,
	END,
	ABORT,
};
struct words {
	struct http_stream *s; /* ref */
	enum what what;
	unsigned n;
	struct net_piece pieces[];
};
/* Words one after the other, the first `used` of `room` bytes. */
struct said {
	struct net_msg msg;
	size_t used, room;
	_Alignas(struct words) char bytes[];
};

static void stream_unref(struct http_stream *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	loop_unref(s->loop);
	free(s);
}

/* ---- on the loop ----------------------------------------------------------------------------- */

void stream_begin(struct http_stream *s, struct http_exchange *x)
{
	x->stream = s;
	s->x = x;
}

void stream_lost(struct http_stream *s)
{
	if (s->closed)
		return;
	s->closed = true;
	s->x = NULL;
	if (s->ops->closed)
		s->ops->closed(s->arg);
	stream_unref(s);
}

void exchange_sent(struct http_exchange *x, size_t n)
{
	struct http_stream *s = x->stream;

	x->moved_ms = loop_ms();
	if (!s || !n)
		return;
	size_t before = atomic_fetch_sub(&s->unsent, n), after = before - n;
	if (after < STREAM_LOW && (before >= STREAM_LOW || !after) && !x->ended && s->ops->writable)
		s->ops->writable(s->arg);
}

static void hear(const struct words *w)
{
	struct http_exchange *x = w->s->x;

	if (x && !x->out.n)
		x->moved_ms = loop_ms();
	for (unsigned i = 0; i < w->n; i++) {
		if (x)
			parts_piece(&x->out, &w->pieces[i]);
		else if (w->pieces[i].end)
			w->pieces[i].end(w->pieces[i].owner);
	}
	if (x && w->what == END)
		x->ended = true;
	if (x)
		(w->what == ABORT ? x->ops->abort : x->ops->more)(x);
	stream_unref(w->s);
}

static size_t words_bytes(size_t n)
{
	return sizeof(struct words) + n * sizeof(struct net_piece);
}

static void said_run(struct net_msg *m)
{
	struct said *all = container_of(m, struct said, msg);
	const struct words *w;

	for (size_t at = 0; at < all->used; at += words_bytes(w->n)) {
		w = (const void *)(all->bytes + at);
		hear(w);
	}
	free(all);
}

/* ---- any thread ------------------------------------------------------------------------------ */

static struct said *said_new(size_t room)
{
	struct said *m = xmalloc(sizeof(*m) + room);

	*m = (struct said){ .msg.run = said_run, .room = room };
	return m;
}

/* Where words of this size go: the batch's message, a new one for the batch, or one of their own. */
static struct said *room_for(struct net_loop *l, struct net_msg **batch, size_t bytes)
{
	struct said *m = batch && *batch ? container_of(*batch, struct said, msg) : NULL;

	if (m && bytes <= m->room - m->used)
		return m;
	if (m)
		loop_send(l, &m->msg);
	m = said_new(batch ? MAX(bytes, BATCH_ROOM) : bytes);
	if (batch)
		*batch = &m->msg;
	return m;
}

static void say(struct http_stream *s, enum what what, const struct net_piece *pieces, size_t n)
{
	struct net_msg **batch = loop_batch(s->loop);
	struct said *m = room_for(s->loop, batch, words_bytes(n));
	struct words *w = (void *)(m->bytes + m->used);

	atomic_fetch_add(&s->refs, 1);
	*w = (struct words){ .s = s, .what = what, .n = (unsigned)n };
	if (n)
		memcpy(w->pieces, pieces, n * sizeof(*pieces));
	m->used += words_bytes(n);
	if (!batch)
		loop_send(s->loop, &m->msg);
}

struct http_stream *http_reply_stream(struct http_request *r, int status, const struct http_header *headers,
	size_t n_headers, const struct http_stream_ops *ops, void *arg)
{
	struct http_stream *s = xcalloc(1, sizeof(*s));

	*s = (struct http_stream){ .loop = loop_ref(r->loop), .ops = ops, .arg = arg };
	atomic_store(&s->refs, 1);
	r->stream = s;
	answer_head(r, status, headers, n_headers);
	answer_send(r);
	return s;
}

void http_stream_write(struct http_stream *s, const struct net_piece *pieces, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += pieces[i].bytes.n;
	atomic_fetch_add(&s->unsent, bytes);
	say(s, WRITE, pieces, n);
}

size_t http_stream_unsent(struct http_stream *s)
{
	return atomic_load(&s->unsent);
}

void http_stream_end(struct http_stream *s)
{
	say(s, END, NULL, 0);
}

void http_stream_abort(struct http_stream *s)
{
	say(s, ABORT, NULL, 0);
}

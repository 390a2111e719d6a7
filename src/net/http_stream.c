/* Bodies without known length: what their writers say, from any thread, on its way to the loop.
 *
 *     writer ──► words: to a stream, pieces or its end ──► loop: hear(): into exchange->out, more()
 *
 * A loop runs messages in order, so they find the answer's head there. Who writes in what was posted to the stream's own loop
 * is heard at once, when nothing said earlier is on its way. */
#include "net/net_internal.h"

#define STREAM_LOW (HTTP_STREAM_HIGH / 4)

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
	struct net_msg msg;
	struct http_stream *s; /* ref */
	enum what what;
	size_t n;
	struct net_piece pieces[];
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
	exchange_weigh(x, &x->out);
	if (!s || !n)
		return;
	size_t before = atomic_fetch_sub(&s->unsent, n), after = before - n;
	if (after < STREAM_LOW && (before >= STREAM_LOW || !after) && !x->ended && s->ops->writable)
		s->ops->writable(s->arg);
}

static void hear(struct http_stream *s, enum what what, const struct net_piece *pieces, size_t n)
{
	struct http_exchange *x = s->x;

	if (x && !x->out.n)
		x->moved_ms = loop_ms();
	for (size_t i = 0; i < n; i++) {
		if (x)
			parts_piece(&x->out, &pieces[i]);
		else if (pieces[i].end)
			pieces[i].end(pieces[i].owner);
	}
	if (x)
		exchange_weigh(x, &x->out);
	if (x && what == END)
		x->ended = true;
	if (x)
		(what == ABORT ? x->ops->abort : x->ops->more)(x);
}

static void words_run(struct net_msg *m)
{
	struct words *w = container_of(m, struct words, msg);

	hear(w->s, w->what, w->pieces, w->n);
	stream_unref(w->s);
	free(w);
}

/* ---- any thread ------------------------------------------------------------------------------ */

static void say(struct http_stream *s, enum what what, const struct net_piece *pieces, size_t n)
{
	struct words *w = xmalloc(sizeof(*w) + n * sizeof(*pieces));

	atomic_fetch_add(&s->refs, 1);
	*w = (struct words){ .msg.run = words_run, .s = s, .what = what, .n = n };
	if (n)
		memcpy(w->pieces, pieces, n * sizeof(*pieces));
	loop_send(s->loop, &w->msg);
}

/* On the loop: nothing that was said to it is on its way, nor its answer's head. */
static bool listens(struct http_stream *s)
{
	return s->x && atomic_load(&s->refs) == 1;
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
	if (loop_in_message(s->loop) && listens(s))
		hear(s, WRITE, pieces, n);
	else
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

/* The client's half of SPDY/3.1 as containerd's streaming server speaks it (draft-mbelshe-httpbis-spdy-00).
 *
 *   control frame: 1 | version 3 (15) | type (16) | flags (8) | length (24) | …
 *   data frame:    0 | stream (31)                | flags (8) | length (24) | bytes
 *
 * That server (like kubectl) knows no flow control: it sends no WINDOW_UPDATE and expects none, so back-pressure is the
 * connection's own, and spdy_unsent() says how much waits. Header blocks that come in are not read: nobody asks for their
 * values. Thread: one at a time, usually the pipe's loop. */
#include "net/spdy_internal.h"

#include <zlib.h>

#define HEAD 8
#define FRAME_MAX ((size_t)1 << 20) /* larger ones end the connection */
#define DATA_MAX ((size_t)32 << 10) /* of frames that we send */
#define FLAG_FIN 1

enum frame { SYN_STREAM = 1, SYN_REPLY = 2, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, HEADERS = 8, WINDOW_UPDATE = 9 };

struct spdy_stream {
	struct spdy_stream *next;
	struct spdy *spdy;
	uint32_t id;
	bool ended; /* by us */
};

struct spdy {
	struct net_pipe *pipe;
	const struct spdy_ops *ops;
	void *arg;
	z_stream deflate;
	struct spdy_stream *streams;
	uint32_t next_id;
	struct buf head;      /* of a frame that came in parts */
	struct buf control;   /* of a control frame that came in parts */
	uint32_t data_stream; /* a data frame under way */
	bool data_fin;
	size_t data_left;
	bool in_data, broken;
};

static void put32(char *p, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		p[i] = (char)(n >> (24 - 8 * i));
}

static uint32_t get32(const char *p)
{
	const unsigned char *b = (const unsigned char *)p;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

struct spdy *spdy_new(struct net_pipe *p, const struct spdy_ops *ops, void *arg)
{
	struct spdy *s = xcalloc(1, sizeof(*s));
	auto_buf struct buf dictionary = BUF_INIT;

	s->pipe = p;
	s->ops = ops;
	s->arg = arg;
	s->next_id = 1;
	s->head = s->control = BUF_INIT;
	spdy_dictionary(&dictionary);
	if (deflateInit(&s->deflate, Z_BEST_SPEED) != Z_OK || deflateSetDictionary(&s->deflate, (const Bytef *)dictionary.p, (uInt)dictionary.n) != Z_OK)
		PANIC("zlib takes no dictionary");
	return s;
}

struct spdy *spdy_free(struct spdy *s)
{
	struct spdy_stream *next;

	if (!s)
		return NULL;
	for (struct spdy_stream *st = s->streams; st; st = next) {
		next = st->next;
		free(st);
	}
	deflateEnd(&s->deflate);
	buf_fini(&s->head);
	buf_fini(&s->control);
	free(s);
	return NULL;
}

/* ---- out ----- */

static void add_text(struct buf *b, struct str text, bool lower)
{
	char length[4];
	size_t at = b->n + 4;

	put32(length, (uint32_t)text.n);
	buf_add(b, length, 4);
	buf_str(b, text);
	for (size_t i = at; lower && i < b->n; i++)
		if (b->p[i] >= 'A' && b->p[i] <= 'Z')
			b->p[i] = (char)(b->p[i] + 'a' - 'A');
}

static void compress_block(struct spdy *s, struct str plain, struct buf *out)
{
	s->deflate.next_in = (Bytef *)plain.p;
	s->deflate.avail_in = (uInt)plain.n;
	do {
		char *room = buf_reserve(out, 512);

		s->deflate.next_out = (Bytef *)room;
		s->deflate.avail_out = 512;
		deflate(&s->deflate, Z_SYNC_FLUSH);
		out->n += 512 - s->deflate.avail_out;
	} while (s->deflate.avail_out == 0);
}

static void control_head(char head[HEAD], enum frame type, unsigned flags, size_t n)
{
	put32(head, 0x80030000u | type);
	put32(head + 4, (uint32_t)(flags << 24 | n));
}

struct spdy_stream *spdy_open(struct spdy *s, const struct http_header *headers, size_t n)
{
	struct spdy_stream *st = xcalloc(1, sizeof(*st));
	auto_buf struct buf plain = BUF_INIT, frame = BUF_INIT;
	char count[4], head[HEAD], ids[10] = { 0 };

	st->spdy = s;
	st->id = s->next_id;
	s->next_id += 2;
	st->next = s->streams;
	s->streams = st;
	put32(count, (uint32_t)n);
	buf_add(&plain, count, 4);
	for (size_t i = 0; i < n; i++) {
		add_text(&plain, headers[i].name, true);
		add_text(&plain, headers[i].value, false);
	}
	put32(ids, st->id); /* then: no associated stream, priority 0, slot 0 */
	buf_add(&frame, head, HEAD);
	buf_add(&frame, ids, sizeof(ids));
	compress_block(s, buf_view(&plain), &frame);
	control_head(frame.p, SYN_STREAM, 0, frame.n - HEAD);
	net_pipe_write(s->pipe, buf_view(&frame));
	return st;
}

void spdy_send(struct spdy_stream *st, struct str bytes, bool fin)
{
	struct spdy *s = st->spdy;

	if (st->ended || s->broken || (!bytes.n && !fin))
		return;
	st->ended = fin;
	do {
		struct str part = str_sub(bytes, 0, DATA_MAX);
		bool last = part.n == bytes.n;
		char *frame = xmalloc(HEAD + part.n);

		put32(frame, st->id);
		put32(frame + 4, (uint32_t)((last && fin ? FLAG_FIN << 24 : 0) | part.n));
		if (part.n)
			memcpy(frame + HEAD, part.p, part.n);
		net_pipe_write(s->pipe, str_n(frame, HEAD + part.n));
		free(frame);
		bytes = str_sub(bytes, part.n, bytes.n);
	} while (bytes.n);
}

size_t spdy_unsent(struct spdy *s)
{
	return net_pipe_unsent(s->pipe);
}

/* ---- in ----- */

static struct spdy_stream *stream_of(struct spdy *s, uint32_t id)
{
	for (struct spdy_stream *st = s->streams; st; st = st->next)
		if (st->id == id)
			return st;
	return NULL;
}

static void fail(struct spdy *s)
{
	s->broken = true;
	net_pipe_close(s->pipe);
}

static void answer_ping(struct spdy *s, const char *frame)
{
	char reply[HEAD + 4];

	if (get32(frame + HEAD) % 2) /* the answer to one of ours: there are none */
		return;
	control_head(reply, PING, 0, 4);
	memcpy(reply + HEAD, frame + HEAD, 4);
	net_pipe_write(s->pipe, str_n(reply, sizeof(reply)));
}

static void on_control(struct spdy *s, struct str frame)
{
	unsigned type = get32(frame.p) & 0xffff, flags = (unsigned char)frame.p[4];
	struct spdy_stream *st = frame.n >= HEAD + 4 ? stream_of(s, get32(frame.p + HEAD) & 0x7fffffff) : NULL;

	if ((get32(frame.p) >> 16 & 0x7fff) != 3) {
		fail(s);
		return;
	}
	switch (type) {
	case SYN_REPLY:
	case HEADERS:
		if (st && type == SYN_REPLY && s->ops->replied)
			s->ops->replied(s->arg, st);
		if (st && flags & FLAG_FIN)
			s->ops->data(s->arg, st, STR_NULL, true);
		return;
	case RST_STREAM:
		if (st && s->ops->reset)
			s->ops->reset(s->arg, st);
		return;
	case PING:
		if (frame.n == HEAD + 4)
			answer_ping(s, frame.p);
		else
			fail(s);
		return;
	default: /* SETTINGS, GOAWAY, WINDOW_UPDATE, and streams that a server opens: nothing to do */
		return;
	}
}

/* Bytes of a data frame are passed on as they come. */
static struct str take_data(struct spdy *s, struct str in)
{
	struct str part = str_sub(in, 0, s->data_left);
	struct spdy_stream *st = stream_of(s, s->data_stream);
	bool last = part.n == s->data_left;

	s->data_left -= part.n;
	s->in_data = !last;
	if (st && (part.n || (last && s->data_fin)))
		s->ops->data(s->arg, st, part, last && s->data_fin);
	return str_sub(in, part.n, in.n);
}

static struct str take_control(struct spdy *s, struct str in)
{
	size_t whole = HEAD + (get32(s->control.p + 4) & 0xffffff);
	struct str part = str_sub(in, 0, whole - s->control.n);

	buf_str(&s->control, part);
	if (s->control.n == whole) {
		on_control(s, buf_view(&s->control));
		buf_reset(&s->control);
	}
	return str_sub(in, part.n, in.n);
}

static struct str take_head(struct spdy *s, struct str in)
{
	struct str part = str_sub(in, 0, HEAD - s->head.n);
	uint32_t first, second;

	buf_str(&s->head, part);
	in = str_sub(in, part.n, in.n);
	if (s->head.n < HEAD)
		return in;
	first = get32(s->head.p);
	second = get32(s->head.p + 4);
	if (!(first & 0x80000000u)) {
		s->data_stream = first;
		s->data_fin = second >> 24 & FLAG_FIN;
		s->data_left = second & 0xffffff;
		s->in_data = true;
	} else if ((second & 0xffffff) + HEAD > FRAME_MAX) {
		fail(s);
	} else {
		buf_str(&s->control, buf_view(&s->head));
	}
	buf_reset(&s->head);
	return in;
}

void spdy_input(struct spdy *s, struct str bytes)
{
	while (!s->broken && (bytes.n || (s->in_data && !s->data_left) || (s->control.n == HEAD && !(get32(s->control.p + 4) & 0xffffff)))) {
		if (s->in_data)
			bytes = take_data(s, bytes);
		else if (s->control.n)
			bytes = take_control(s, bytes);
		else
			bytes = take_head(s, bytes);
	}
}

/* SPDY/3.1, the client's side: streams of bytes both ways over one pipe. Headers only name a stream; nobody reads the
 * answer's.
 *
 * Flow control: windows bind us, and are given back, only after the peer has spoken of them (WINDOW_UPDATE or
 * SETTINGS). The one server that matters, containerd's, never does: a writer that insisted on its 64 KiB would wait for
 * ever, and an update that it has not read when it closes makes its kernel throw away the end of the output. There, the
 * pipe itself holds back.
 *
 * Lock: everything about sending; callbacks run without it, on the pipe's loop. */
#include "net/spdy_internal.h"
#include <zlib.h>

#define WINDOW 65536
#define CONTROL_MAX ((size_t)64 << 10)
#define HEADERS_MAX ((size_t)256 << 10)
#define DATA_MOST ((size_t)16 << 10)
#define FLAG_FIN 1
#define STREAM_ID_MAX 0x7fffffffU

enum { SYN_STREAM = 1, SYN_REPLY, RST_STREAM, SETTINGS, PING = 6, GOAWAY, HEADERS, WINDOW_UPDATE };
enum { RST_INVALID_STREAM = 2, RST_REFUSED = 3 };
#define SETTINGS_INITIAL_WINDOW 7

struct spdy_stream {
	struct spdy_stream *next;
	struct spdy *s;
	uint32_t id;
	int64_t window;     /* may be negative while windows do not bind */
	struct parts queue; /* waits for the window */
	bool fin_wanted, fin_sent, fin_seen, reset;
	size_t received; /* since the last WINDOW_UPDATE */
};
struct spdy {
	struct net_pipe *p;
	const struct spdy_ops *ops;
	void *arg;
	atomic_uint refs; /* the owner, and spdy_input() while it runs */
	pthread_mutex_t lock;
	struct spdy_stream *streams;
	z_stream deflate;
	uint32_t next_id;
	int64_t window, initial;
	bool binds, all_binds; /* the windows of streams, of the connection */
	size_t queued;
	bool goaway, freed;
	z_stream inflate; /* loop from here on */
	struct buf in;    /* a frame's head, or a whole control frame */
	uint32_t data_id, data_left;
	bool data_fin, broken;
	size_t received;
};

/* ---- writing frames -------------------------------------------------------------------------- */

static void put32(char *p, uint32_t v)
{
	p[0] = (char)(v >> 24);
	p[1] = (char)(v >> 16);
	p[2] = (char)(v >> 8);
	p[3] = (char)v;
}

static uint32_t get32(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static void write_parts(struct spdy *s, const struct str *v, size_t n)
{
	if (s->p)
		pipe_writev(s->p, v, n);
}

static void write_control(struct spdy *s, unsigned type, unsigned flags, struct str body)
{
	char head[8] = { (char)0x80, 3, 0, (char)type };
	struct str v[2] = { str_n(head, sizeof(head)), body };

	put32(head + 4, (uint32_t)body.n);
	head[4] = (char)flags;
	write_parts(s, v, 2);
}

static void write_two(struct spdy *s, unsigned type, uint32_t a, uint32_t b)
{
	char body[8];

	put32(body, a);
	put32(body + 4, b);
	write_control(s, type, 0, str_n(body, sizeof(body)));
}

static void add_text(struct buf *b, struct str s)
{
	char n[4];

	put32(n, (uint32_t)s.n);
	buf_add(b, n, 4);
	buf_str(b, s);
}

/* Appends the compressed block: all blocks of a connection are one zlib stream, cut at sync points. */
static void compress_headers(struct spdy *s, const struct http_header *h, size_t n, struct buf *out)
{
	auto_buf struct buf plain = BUF_INIT;
	char count[4];

	put32(count, (uint32_t)n);
	buf_add(&plain, count, 4);
	for (size_t i = 0; i < n; i++) {
		add_text(&plain, h[i].name);
		add_text(&plain, h[i].value);
	}
	size_t room = deflateBound(&s->deflate, (uLong)plain.n) + 64;
	char *to = buf_reserve(out, room);
	s->deflate.next_in = (Bytef *)plain.p;
	s->deflate.avail_in = (uInt)plain.n;
	s->deflate.next_out = (Bytef *)to;
	s->deflate.avail_out = (uInt)room;
	if (!to || deflate(&s->deflate, Z_SYNC_FLUSH) != Z_OK || s->deflate.avail_in)
		PANIC("header compression failed");
	out->n += room - s->deflate.avail_out;
}

struct spdy_stream *spdy_open(struct spdy *s, const struct http_header *headers, size_t n)
{
	struct spdy_stream *st = xcalloc(1, sizeof(*st));
	auto_buf struct buf body = BUF_INIT;
	char fixed[10] = { 0 };

	pthread_mutex_lock(&s->lock);
	st->s = s;
	st->id = s->next_id;
	s->next_id += 2;
	st->window = s->initial;
	st->next = s->streams;
	s->streams = st;
	put32(fixed, st->id);
	buf_add(&body, fixed, sizeof(fixed));
	compress_headers(s, headers, n, &body);
	write_control(s, SYN_STREAM, 0, buf_view(&body));
	pthread_mutex_unlock(&s->lock);
	return st;
}

/* With the lock held: as much as the windows let through. */
static void stream_flush(struct spdy_stream *st)
{
	struct spdy *s = st->s;

	while (st->queue.n && !st->reset) {
		size_t n = MIN(st->queue.first->n, DATA_MOST);

		if (s->binds)
			n = MIN(n, (size_t)MAX(st->window, (int64_t)0));
		if (s->all_binds)
			n = MIN(n, (size_t)MAX(s->window, (int64_t)0));
		if (!n)
			return;
		char head[8];
		struct str v[2] = { str_n(head, sizeof(head)), str_n(st->queue.first->p, n) };
		bool fin = st->fin_wanted && n == st->queue.n;
		put32(head, st->id);
		put32(head + 4, (uint32_t)n);
		head[4] = fin ? FLAG_FIN : 0;
		write_parts(s, v, 2);
		st->fin_sent |= fin;
		parts_drop(&st->queue, n);
		s->queued -= n;
		st->window -= (int64_t)n;
		s->window -= (int64_t)n;
	}
	if (st->fin_wanted && !st->fin_sent && !st->reset) {
		char head[8];

		put32(head, st->id);
		put32(head + 4, 0);
		head[4] = FLAG_FIN;
		write_parts(s, &(struct str){ head, sizeof(head) }, 1);
		st->fin_sent = true;
	}
}

void spdy_send(struct spdy_stream *st, struct str bytes, bool fin)
{
	struct spdy *s = st->s;

	pthread_mutex_lock(&s->lock);
	if (!st->fin_wanted && !st->reset) {
		parts_copy(&st->queue, bytes);
		s->queued += bytes.n;
		st->fin_wanted = fin;
		stream_flush(st);
	}
	pthread_mutex_unlock(&s->lock);
}

size_t spdy_unsent(struct spdy *s)
{
	pthread_mutex_lock(&s->lock);
	size_t n = s->queued + (s->p ? net_pipe_unsent(s->p) : 0);
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* ---- reading frames -------------------------------------------------------------------------- */

static bool alive(struct spdy *s)
{
	pthread_mutex_lock(&s->lock);
	bool r = !s->freed;
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void broken(struct spdy *s)
{
	s->broken = true;
	pthread_mutex_lock(&s->lock);
	if (s->p)
		net_pipe_close(s->p);
	bool tell = !s->freed;
	pthread_mutex_unlock(&s->lock);
	if (tell && s->ops->closed)
		s->ops->closed(s->arg);
}

static struct spdy_stream *find(struct spdy *s, uint32_t id)
{
	struct spdy_stream *st;

	pthread_mutex_lock(&s->lock);
	for (st = s->streams; st && st->id != id; st = st->next)
		;
	pthread_mutex_unlock(&s->lock);
	return st;
}

/* Nobody needs the text, but the stream of it must be followed; and a bomb is not. */
static bool skip_headers(struct spdy *s, struct str block)
{
	char sink[4096];
	size_t total = 0;

	s->inflate.next_in = (Bytef *)block.p;
	s->inflate.avail_in = (uInt)block.n;
	while (s->inflate.avail_in) {
		s->inflate.next_out = (Bytef *)sink;
		s->inflate.avail_out = sizeof(sink);
		int r = inflate(&s->inflate, Z_SYNC_FLUSH);
		if (r == Z_NEED_DICT) {
			struct str d = spdy_dictionary();

			if (inflateSetDictionary(&s->inflate, (const Bytef *)d.p, (uInt)d.n) != Z_OK)
				return false;
			continue;
		}
		total += sizeof(sink) - s->inflate.avail_out;
		if (r != Z_OK || total > HEADERS_MAX)
			return r == Z_BUF_ERROR && !s->inflate.avail_in;
	}
	return true;
}

static void deliver(struct spdy *s, struct spdy_stream *st, struct str bytes, bool fin)
{
	if (st->fin_seen || st->reset || !alive(s))
		return;
	st->fin_seen = fin;
	if (s->ops->data && (bytes.n || fin))
		s->ops->data(s->arg, st, bytes, fin);
}

/* Gives back what was read: at half a window. */
static void give_back(struct spdy *s, struct spdy_stream *st, size_t n)
{
	pthread_mutex_lock(&s->lock);
	if (st && s->binds && (st->received += n) >= WINDOW / 2 && !st->fin_seen) {
		write_two(s, WINDOW_UPDATE, st->id, (uint32_t)st->received);
		st->received = 0;
	}
	if (s->all_binds && (s->received += n) >= WINDOW / 2) {
		write_two(s, WINDOW_UPDATE, 0, (uint32_t)s->received);
		s->received = 0;
	}
	pthread_mutex_unlock(&s->lock);
}

static size_t take_data(struct spdy *s, struct str in)
{
	struct str data = str_sub(in, 0, MIN((size_t)s->data_left, in.n));
	struct spdy_stream *st = find(s, s->data_id);

	s->data_left -= (uint32_t)data.n;
	if (st)
		deliver(s, st, data, s->data_fin && !s->data_left);
	if (alive(s))
		give_back(s, st, data.n);
	return data.n;
}

static void flush_all(struct spdy *s)
{
	for (struct spdy_stream *st = s->streams; st; st = st->next)
		stream_flush(st);
}

static bool got_window(struct spdy *s, uint32_t id, uint32_t delta)
{
	if (!delta)
		return false;
	pthread_mutex_lock(&s->lock);
	if (id == 0) {
		s->all_binds = true;
		s->window += delta;
	}
	for (struct spdy_stream *st = s->streams; st && id; st = st->next)
		if (st->id == id) {
			s->binds = true;
			st->window += delta;
		}
	flush_all(s);
	bool drained = !s->queued;
	pthread_mutex_unlock(&s->lock);
	if (drained && alive(s) && s->ops->writable)
		s->ops->writable(s->arg);
	return true;
}

static bool got_settings(struct spdy *s, struct str body)
{
	if (body.n < 4 || (body.n - 4) / 8 < get32(body.p))
		return false;
	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < get32(body.p); i++) {
		const char *entry = body.p + 4 + (size_t)i * 8;
		int64_t value = get32(entry + 4);

		if ((get32(entry) & 0xffffff) != SETTINGS_INITIAL_WINDOW || value > STREAM_ID_MAX)
			continue;
		s->binds = true;
		for (struct spdy_stream *st = s->streams; st; st = st->next)
			st->window += value - s->initial;
		s->initial = value;
	}
	flush_all(s);
	pthread_mutex_unlock(&s->lock);
	return true;
}

static void got_reset(struct spdy *s, uint32_t id)
{
	struct spdy_stream *st = find(s, id);

	if (!st || st->reset)
		return;
	pthread_mutex_lock(&s->lock);
	st->reset = true;
	s->queued -= st->queue.n;
	parts_fini(&st->queue);
	bool tell = !s->freed;
	pthread_mutex_unlock(&s->lock);
	if (tell && s->ops->reset)
		s->ops->reset(s->arg, st);
}

static bool got_reply(struct spdy *s, unsigned type, unsigned flags, struct str body)
{
	struct spdy_stream *st;

	if (body.n < 4 || !skip_headers(s, str_sub(body, 4, body.n)))
		return false;
	st = find(s, get32(body.p) & STREAM_ID_MAX);
	if (!st)
		return true;
	if (type == SYN_REPLY && alive(s) && s->ops->replied)
		s->ops->replied(s->arg, st);
	if (flags & FLAG_FIN)
		deliver(s, st, STR_NULL, true);
	return true;
}

/* False: the peer does not speak SPDY/3. */
static bool got_control(struct spdy *s, struct str frame)
{
	unsigned version = (unsigned)(get32(frame.p) >> 16 & 0x7fff), type = (unsigned)(get32(frame.p) & 0xffff);
	unsigned flags = (unsigned char)frame.p[4];
	struct str body = str_sub(frame, 8, frame.n);

	if (version != 3)
		return false;
	switch (type) {
	case SYN_STREAM: /* a push: nobody asked */
		if (body.n < 10 || !skip_headers(s, str_sub(body, 10, body.n)))
			return false;
		write_two(s, RST_STREAM, get32(body.p) & STREAM_ID_MAX, RST_REFUSED);
		return true;
	case SYN_REPLY:
	case HEADERS:
		return got_reply(s, type, flags, body);
	case RST_STREAM:
		if (body.n != 8)
			return false;
		got_reset(s, get32(body.p) & STREAM_ID_MAX);
		return true;
	case SETTINGS:
		return got_settings(s, body);
	case PING:
		if (body.n != 4)
			return false;
		if (get32(body.p) % 2 == 0) /* theirs */
			write_control(s, PING, 0, body);
		return true;
	case GOAWAY:
		s->goaway = true;
		return body.n == 8;
	case WINDOW_UPDATE:
		return body.n == 8 && got_window(s, get32(body.p) & STREAM_ID_MAX, get32(body.p + 4) & STREAM_ID_MAX);
	default:
		return true;
	}
}

/* Collects a frame's head, or a control frame. Returns bytes taken. */
static size_t take_head(struct spdy *s, struct str in)
{
	size_t want = 8;

	if (s->in.n >= 8)
		want = 8 + (get32(s->in.p + 4) & 0xffffff);
	size_t n = MIN(in.n, want - s->in.n);
	buf_add(&s->in, in.p, n);
	if (s->in.n < 8)
		return n;
	uint32_t length = get32(s->in.p + 4) & 0xffffff;
	if (!(s->in.p[0] & 0x80)) {
		s->data_id = get32(s->in.p);
		s->data_left = length;
		s->data_fin = s->in.p[4] & FLAG_FIN;
		s->in.n = 0;
		struct spdy_stream *st = length ? NULL : find(s, s->data_id);
		if (st)
			deliver(s, st, STR_NULL, s->data_fin);
		return n;
	}
	if (length > CONTROL_MAX) {
		broken(s);
	} else if (s->in.n == 8 + length) {
		struct buf frame = s->in;

		s->in = BUF_INIT;
		if (!got_control(s, buf_view(&frame)))
			broken(s);
		buf_fini(&frame);
	}
	return n;
}

/* ---- frames that pass ------------------------------------------------------------------------ */

void spdy_pass(struct spdy_passing *f, struct str bytes)
{
	while (bytes.n) {
		size_t n = MIN(bytes.n, f->left ? f->left : sizeof(f->head) - f->n);

		if (f->left) {
			f->left -= (uint32_t)n;
		} else {
			memcpy(f->head + f->n, bytes.p, n);
			f->n = (f->n + n) % sizeof(f->head);
			f->left = f->n ? 0 : get32((const char *)f->head + 4) & 0xffffff;
		}
		bytes = str_sub(bytes, n, bytes.n);
	}
}

bool spdy_between(const struct spdy_passing *f)
{
	return !f->n && !f->left;
}

struct str spdy_nothing(void)
{
	static const char frame[12] = { (char)0x80, 3, 0, SETTINGS, 0, 0, 0, 4 };

	return str_n(frame, sizeof(frame));
}

static void spdy_unref(struct spdy *s);

void spdy_input(struct spdy *s, struct str bytes)
{
	atomic_fetch_add(&s->refs, 1);
	while (bytes.n && !s->broken && alive(s)) {
		size_t n = s->data_left ? take_data(s, bytes) : take_head(s, bytes);

		bytes = str_sub(bytes, n, bytes.n);
	}
	spdy_unref(s);
}

/* ---- new and free ---------------------------------------------------------------------------- */

static void spdy_unref(struct spdy *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (struct spdy_stream *st = s->streams, *next; st; st = next) {
		next = st->next;
		parts_fini(&st->queue);
		free(st);
	}
	deflateEnd(&s->deflate);
	inflateEnd(&s->inflate);
	buf_fini(&s->in);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct spdy *spdy_new(struct net_pipe *p, const struct spdy_ops *ops, void *arg)
{
	struct spdy *s = xcalloc(1, sizeof(*s));
	struct str d = spdy_dictionary();

	*s = (struct spdy){
		.p = p, .ops = ops, .arg = arg, .next_id = 1, .window = WINDOW, .initial = WINDOW, .in = BUF_INIT
	};
	atomic_store(&s->refs, 1);
	pthread_mutex_init(&s->lock, NULL);
	/* Small windows: headers of a few hundred bytes, two of these per exec. */
	if (deflateInit2(&s->deflate, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY) != Z_OK ||
		deflateSetDictionary(&s->deflate, (const Bytef *)d.p, (uInt)d.n) != Z_OK ||
		inflateInit(&s->inflate) != Z_OK)
		PANIC("no memory for SPDY");
	return s;
}

struct spdy *spdy_free(struct spdy *s)
{
	if (!s)
		return NULL;
	pthread_mutex_lock(&s->lock);
	s->freed = true;
	s->p = NULL;
	pthread_mutex_unlock(&s->lock);
	spdy_unref(s);
	return NULL;
}

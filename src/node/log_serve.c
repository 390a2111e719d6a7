/* Container logs for whoever asks: read from the runtime's files, followed as they grow.
 *
 *   logs_serve ─► reader ─┐                        ┌─ inotify: the file grew, was rotated
 *                         ├─► one task visits it ◄─┼─ the stream has room again, or was closed
 *                         │                        └─ logs_pod_changed(): a container ended
 *
 * All readers share that task; a client that reads slowly costs the others nothing. */
#include "node/node_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define CHUNK ((size_t)64 << 10)
#define LINE_MAX_BYTES ((size_t)256 << 10)
#define CHUNKS_A_VISIT 8
#define GROWS (IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF)

/* Where the bytes go: a chunked body, or WebSocket messages. */
struct sink {
	struct http_stream *stream;
	struct websocket *ws;
	bool base64; /* WebSocket subprotocol "base64.binary.k8s.io" */
};

struct reader {
	struct log_feed *feed;
	struct reader *next;
	char *uid, *container, *path;
	uint32_t attempt;
	struct log_opts o;
	/* Under lock, which is also held while the sink is written to: */
	struct task_mutex lock;
	struct sink sink;
	bool closed; /* the client is gone, the sink with it */
	bool ready;  /* under feed->lock: to be visited */
	bool look;   /* under feed->lock: the container may have ended */
	/* The task's: */
	int fd, wd;
	bool over; /* everything was sent: only closed is awaited */
	bool last; /* the container has ended: the next end of file is the end */
	bool line_begins;
	int64_t left;    /* of limitBytes; -1: no limit */
	struct buf have; /* read, not yet a whole line */
};

struct log_feed {
	struct node_agent *n;
	struct task_mutex lock;
	struct reader *readers;
	int inotify, wake;
	bool runs, stopping;
};

static void reader_free(struct reader *r)
{
	if (r->fd >= 0)
		(void)close(r->fd);
	buf_fini(&r->have);
	free(r->uid);
	free(r->container);
	free(r->path);
	task_mutex_fini(&r->lock);
	free(r);
}

static void wake_task(struct log_feed *f)
{
	uint64_t one = 1;

	if (write(f->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_warn("the task that serves logs cannot be woken: %s", strerror(errno));
}

static void make_ready(struct reader *r)
{
	task_lock(&r->feed->lock);
	r->ready = true;
	task_unlock(&r->feed->lock);
	wake_task(r->feed);
}

/* ---- the sink -------------------------------------------------------------------------------- */

static void sink_writable(void *arg)
{
	make_ready(arg);
}

static void sink_closed(void *arg)
{
	struct reader *r = arg;

	task_lock(&r->lock);
	r->closed = true;
	task_unlock(&r->lock);
	make_ready(r);
}

static void sink_message(void *arg, bool binary, struct str bytes) /* nothing is expected from the client */
{
	(void)arg;
	(void)binary;
	(void)bytes;
}

static const struct http_stream_ops stream_ops = { sink_writable, sink_closed };
static const struct websocket_ops ws_ops = { sink_message, sink_writable, sink_closed };

static bool sink_full(struct reader *r)
{
	bool full;

	task_lock(&r->lock);
	full = r->closed ||
		(r->sink.ws ? websocket_unsent(r->sink.ws) : http_stream_unsent(r->sink.stream)) > HTTP_STREAM_HIGH;
	task_unlock(&r->lock);
	return full;
}

static void ws_send(struct sink *s, struct str bytes)
{
	auto_free char *text = s->base64 ? base64_encode(bytes) : NULL;

	if (text)
		bytes = str_c(text);
	websocket_send(s->ws, !s->base64, &bytes, 1);
}

static void sink_send(struct reader *r, struct buf *b)
{
	size_t n = b->n;

	if (!n)
		return;
	task_lock(&r->lock);
	if (r->closed) {
		buf_reset(b);
	} else if (r->sink.ws) {
		ws_send(&r->sink, buf_view(b));
	} else {
		char *bytes = buf_take(b, &n);
		http_stream_write(r->sink.stream, &(struct net_piece){ str_n(bytes, n), bytes, free }, 1);
	}
	task_unlock(&r->lock);
}

static void sink_end(struct reader *r)
{
	r->over = true;
	task_lock(&r->lock);
	if (!r->closed && r->sink.ws)
		websocket_close(r->sink.ws, 1000, "");
	else if (!r->closed)
		http_stream_end(r->sink.stream);
	task_unlock(&r->lock);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* false: the limit is reached */
static bool put(struct reader *r, struct buf *b, struct str s)
{
	if (r->left >= 0 && (int64_t)s.n >= r->left) {
		buf_add(b, s.p, (size_t)r->left);
		r->left = 0;
		return false;
	}
	if (r->left >= 0)
		r->left -= (int64_t)s.n;
	buf_str(b, s);
	return true;
}

static bool put_line(struct reader *r, struct buf *b, struct str line)
{
	struct log_line l;
	bool ok = true;

	if (!log_parse(line, &l) || l.time_ns < r->o.since_ns)
		return true;
	if (r->o.stream && (r->o.stream == 2) != l.is_stderr)
		return true;
	if (r->o.timestamps && r->line_begins)
		ok = put(r, b, l.time_text) && put(r, b, STR(" "));
	ok = ok && put(r, b, l.text);
	if (ok && !l.partial)
		ok = put(r, b, STR("\n"));
	r->line_begins = !l.partial;
	return ok;
}

/* Reads what is there. 1: more may be there at once; 0: the end for now; <0: done. */
static int read_some(struct reader *r)
{
	auto_buf struct buf out = BUF_INIT;
	char *to = buf_reserve(&r->have, CHUNK);
	ssize_t n = to ? read(r->fd, to, CHUNK) : -1;
	struct str rest, line;
	bool ok = true;

	if (n <= 0)
		return n < 0 ? -1 : 0;
	r->have.n += (size_t)n;
	rest = buf_view(&r->have);
	while (ok && rest.n) {
		const char *end = memchr(rest.p, '\n', rest.n);
		if (!end)
			break;
		line = str_n(rest.p, (size_t)(end - rest.p));
		ok = put_line(r, &out, line);
		rest = str_n(end + 1, rest.n - line.n - 1);
	}
	sink_send(r, &out);
	memmove(r->have.p, rest.p, rest.n);
	r->have.n = rest.n > LINE_MAX_BYTES ? 0 : rest.n;
	return ok ? 1 : -1;
}

/* Where the last `lines` lines begin. */
static off_t tail_offset(int fd, int64_t lines)
{
	struct stat st;
	auto_free char *chunk = xmalloc(CHUNK);
	int64_t seen = 0;

	if (fstat(fd, &st) < 0)
		return 0;
	if (lines == 0)
		return st.st_size;
	for (off_t at = st.st_size; at > 0;) {
		size_t n = (size_t)MIN(at, (off_t)CHUNK);
		at -= (off_t)n;
		if (pread(fd, chunk, n, at) != (ssize_t)n)
			return 0;
		for (size_t i = n; i-- > 0;) {
			off_t here = at + (off_t)i;
			if (chunk[i] == '\n' && here != st.st_size - 1 && ++seen == lines)
				return here + 1;
		}
	}
	return 0;
}

/* ---- following ------------------------------------------------------------------------------- */

/* The container has ended (or is gone): what is in the file is all there will be. */
static bool has_ended(struct reader *r)
{
	auto_reply Cri__ListContainersReply *l = NULL;
	struct err e;

	err_init(&e);
	if (cri_list_containers(&r->feed->n->cri, r->uid, &l, &e) < 0)
		return false;
	for (size_t i = 0; i < l->n_containers; i++) {
		Cri__Container *k = l->containers[i];
		const char *name = cri_map_get(k->labels, k->n_labels, LABEL_CONTAINER);
		if (name && strcmp(name, r->container) == 0 && k->metadata && k->metadata->attempt == r->attempt)
			return k->state != CONTAINER_RUNNING && k->state != CONTAINER_CREATED;
	}
	return true;
}

static void follow_file(struct reader *r)
{
	r->wd = inotify_add_watch(r->feed->inotify, r->path, GROWS);
}

static bool reopen_if_rotated(struct reader *r)
{
	struct stat a, b;
	int fd;

	if (fstat(r->fd, &a) < 0 || stat(r->path, &b) < 0 || (a.st_ino == b.st_ino && a.st_dev == b.st_dev))
		return false;
	fd = open(r->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	(void)close(r->fd);
	r->fd = fd;
	follow_file(r);
	return true;
}

/* At the end of the file. true: look again at once. */
static bool at_end(struct reader *r)
{
	bool look;

	if (!r->o.follow || r->last) {
		sink_end(r);
		return false;
	}
	if (reopen_if_rotated(r))
		return true;
	task_lock(&r->feed->lock);
	look = r->look;
	r->look = false;
	task_unlock(&r->feed->lock);
	r->last = look && has_ended(r);
	return r->last; /* then read once more */
}

/* true: there is more to do, after the others had their turn. */
static bool visit(struct reader *r)
{
	for (int i = 0; i < CHUNKS_A_VISIT && !r->over; i++) {
		if (sink_full(r))
			return false; /* it tells when it has room */
		int more = read_some(r);
		if (more < 0)
			sink_end(r);
		else if (more == 0 && !at_end(r))
			return false;
	}
	return !r->over;
}

/* ---- the task -------------------------------------------------------------------------------- */

static void file_changed(struct log_feed *f, const struct inotify_event *ev)
{
	task_lock(&f->lock);
	for (struct reader *r = f->readers; r; r = r->next)
		r->ready |= r->wd == ev->wd;
	task_unlock(&f->lock);
}

static void read_inotify(struct log_feed *f)
{
	char events[4096] __attribute__((aligned(8)));
	ssize_t n = read(f->inotify, events, sizeof(events));

	for (ssize_t i = 0; i + (ssize_t)sizeof(struct inotify_event) <= n;) {
		struct inotify_event ev;
		memcpy(&ev, events + i, sizeof(ev));
		file_changed(f, &ev);
		i += (ssize_t)sizeof(ev) + ev.len;
	}
}

static struct reader *take_ready(struct log_feed *f)
{
	struct reader *r;

	task_lock(&f->lock);
	for (r = f->readers; r && !r->ready; r = r->next)
		;
	if (r)
		r->ready = false;
	task_unlock(&f->lock);
	return r;
}

static void forget(struct log_feed *f, struct reader *r)
{
	struct reader **at = &f->readers;
	bool shared = false;

	task_lock(&f->lock);
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	for (struct reader *i = f->readers; i; i = i->next)
		shared |= i->wd == r->wd;
	task_unlock(&f->lock);
	if (r->wd >= 0 && !shared)
		(void)inotify_rm_watch(f->inotify, r->wd);
	reader_free(r);
}

/* One turn for each reader that has something to do. true: some of them have more. */
static bool turn(struct log_feed *f)
{
	struct reader *r, *again[64];
	size_t n = 0;

	while (n < ARRAY_LEN(again) && (r = take_ready(f))) {
		task_lock(&r->lock);
		bool closed = r->closed;
		task_unlock(&r->lock);
		if (closed)
			forget(f, r);
		else if (visit(r))
			again[n++] = r;
	}
	task_lock(&f->lock);
	for (size_t i = 0; i < n; i++)
		again[i]->ready = true;
	task_unlock(&f->lock);
	return n > 0;
}

static bool stopping(struct log_feed *f)
{
	task_lock(&f->lock);
	bool s = f->stopping;
	task_unlock(&f->lock);
	return s;
}

static void feed_task(void *arg)
{
	struct log_feed *f = arg;
	struct node_agent *n = f->n;
	struct pollfd fds[] = { { .fd = f->wake, .events = POLLIN }, { .fd = f->inotify, .events = POLLIN } };
	bool more = false;
	uint64_t count;

	while (!stopping(f)) {
		(void)poll(fds, ARRAY_LEN(fds), more ? 0 : -1);
		if ((fds[0].revents & POLLIN) && read(f->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
			break;
		if (fds[1].revents & POLLIN)
			read_inotify(f);
		more = turn(f);
	}
	node_task_end(n);
}

/* ---- from outside ---------------------------------------------------------------------------- */

struct log_feed *logs_new(struct node_agent *n)
{
	struct log_feed *f = xcalloc(1, sizeof(*f));

	f->n = n;
	task_mutex_init(&f->lock);
	f->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	f->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->inotify < 0)
		log_warn("logs cannot be followed: inotify: %s (fs.inotify.max_user_instances?)", strerror(errno));
	return f;
}

void logs_stop(struct log_feed *f)
{
	if (!f)
		return;
	task_lock(&f->lock);
	f->stopping = true;
	task_unlock(&f->lock);
	wake_task(f);
}

/* When its task, and the loop that calls the sinks, have ended. */
struct log_feed *logs_free(struct log_feed *f)
{
	if (!f)
		return NULL;
	while (f->readers) {
		struct reader *r = f->readers;
		f->readers = r->next;
		reader_free(r);
	}
	if (f->inotify >= 0)
		(void)close(f->inotify);
	if (f->wake >= 0)
		(void)close(f->wake);
	task_mutex_fini(&f->lock);
	free(f);
	return NULL;
}

void logs_pod_changed(struct log_feed *f, const char *uid)
{
	bool any = false;

	task_lock(&f->lock);
	for (struct reader *r = f->readers; r; r = r->next) {
		if (strcmp(r->uid, uid) != 0)
			continue;
		r->ready = r->look = any = true;
	}
	task_unlock(&f->lock);
	if (any)
		wake_task(f);
}

static bool need_task(struct log_feed *f)
{
	bool runs;

	task_lock(&f->lock);
	runs = f->runs = f->runs || node_task(f->n, "logs", feed_task, f);
	task_unlock(&f->lock);
	return runs;
}

static void enter(struct reader *r)
{
	struct log_feed *f = r->feed;

	task_lock(&f->lock);
	r->next = f->readers;
	f->readers = r;
	r->ready = true;
	task_unlock(&f->lock);
	wake_task(f);
}

static void open_sink(struct reader *r, struct http_request *rq)
{
	struct http_header type = { STR("content-type"), STR("text/plain; charset=utf-8") };
	struct str offered = http_header(rq, "sec-websocket-protocol"), part;
	const char *chosen = NULL;

	task_lock(&r->lock); /* closed() may come before the sink is known here */
	if (str_eq_nocase(http_header(rq, "upgrade"), STR("websocket"))) {
		while (!chosen && str_next(&offered, ',', &part)) {
			part = str_trim(part);
			r->sink.base64 = str_is(part, "base64.binary.k8s.io");
			chosen = r->sink.base64               ? "base64.binary.k8s.io" :
				str_is(part, "binary.k8s.io") ? "binary.k8s.io" :
								NULL;
		}
		r->sink.ws = websocket_accept(rq, chosen, &ws_ops, r);
	} else {
		r->sink.stream = http_reply_stream(rq, 200, &type, 1, &stream_ops, r);
	}
	task_unlock(&r->lock);
}

void logs_serve(struct node_agent *n, struct http_request *rq, struct pod *p, struct str container, const char *path,
	struct log_opts o)
{
	struct reader *r = xcalloc(1, sizeof(*r));
	const char *slash = strrchr(path, '/');

	*r = (struct reader){ .feed = n->logs,
		.uid = xstrdup(p->uid),
		.container = str_dup(container),
		.path = xstrdup(path),
		.o = o,
		.left = o.limit,
		.line_begins = true,
		.have = BUF_INIT,
		.wd = -1,
		.look = true };
	r->attempt = slash ? (uint32_t)strtoul(slash + 1, NULL, 10) : 0;
	task_mutex_init(&r->lock);
	r->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0 || !need_task(n->logs)) {
		http_reply_text(rq, 500, "text/plain", STR("the log file cannot be opened\n"));
		reader_free(r);
		return;
	}
	if (o.tail >= 0)
		(void)lseek(r->fd, tail_offset(r->fd, o.tail), SEEK_SET);
	if (o.follow)
		follow_file(r);
	open_sink(r, rq);
	enter(r);
}

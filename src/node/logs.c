/* Container logs: served from the runtime's files, followed as they grow, and rotated when they are large. */
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define CHUNK ((size_t)64 << 10)
#define LINE_MAX_BYTES ((size_t)256 << 10)
#define ROTATE_BYTES ((off_t)10 << 20)
#define ROTATE_KEEP 4
#define ROTATE_LOOK_MS 10000
#define ENDED_LOOK_MS 500

/* Own. The end of a file: at most max_lines lines in max_bytes; runtime log lines are reduced to their text. NULL: no file. */
char *log_tail(const char *path, size_t max_bytes, size_t max_lines)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_buf struct buf out = BUF_INIT;
	auto_free char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		(void)close(fd);
		return NULL;
	}
	off_t from = st.st_size > (off_t)max_bytes * 2 ? st.st_size - (off_t)max_bytes * 2 : 0;
	text = xmalloc(max_bytes * 2 + 1);
	n = pread(fd, text, max_bytes * 2, from);
	(void)close(fd);
	if (n <= 0)
		return xstrdup("");
	if (max_lines == SIZE_MAX) { /* a termination message: as it is, from the start */
		struct str s = str_n(text, MIN((size_t)n, max_bytes));
		return str_dup(s);
	}
	struct str rest = str_n(text, (size_t)n), line;
	struct str lines[256];
	size_t k = 0, first, bytes = 0;
	while (str_next(&rest, '\n', &line))
		lines[k++ % ARRAY_LEN(lines)] = line;
	first = k > MIN(max_lines, ARRAY_LEN(lines)) ? k - MIN(max_lines, ARRAY_LEN(lines)) : 0;
	for (size_t i = first; i < k; i++) {
		struct log_line l;
		if (!log_parse(lines[i % ARRAY_LEN(lines)], &l) || (bytes += l.text.n + 1) > max_bytes)
			continue;
		buf_str(&out, l.text);
		if (!l.partial)
			buf_byte(&out, '\n');
	}
	return str_dup(buf_view(&out));
}

/* ---- one request ---------------------------------------------------------------------------------------------------------------- */

struct reader {
	struct node_agent *n;
	struct http_request *rq;
	struct pod *p;
	char *container, *path;
	uint32_t attempt;
	struct log_opts o;
	struct http_stream *out;
	struct task_mutex lock;
	struct task_cond room;
	bool closed; /* the client is gone */
	bool joined; /* the reading task has ended */
	int fd;
	bool line_begins;
	int64_t left; /* of limitBytes; -1: no limit */
	struct buf have; /* read, not yet a whole line */
};

static void reader_free(struct reader *r)
{
	if (r->fd >= 0)
		(void)close(r->fd);
	buf_fini(&r->have);
	pod_unref(r->p);
	free(r->container);
	free(r->path);
	task_cond_fini(&r->room);
	task_mutex_fini(&r->lock);
	free(r);
}

/* Both the stream's end and the task's end must have come. */
static void release(struct reader *r, bool from_stream)
{
	bool last;

	task_lock(&r->lock);
	if (from_stream)
		r->closed = true;
	else
		r->joined = true;
	last = r->closed && r->joined;
	task_broadcast(&r->room);
	task_unlock(&r->lock);
	if (last)
		reader_free(r);
}

static void stream_writable(void *arg)
{
	struct reader *r = arg;

	task_lock(&r->lock);
	task_broadcast(&r->room);
	task_unlock(&r->lock);
}

static void stream_closed(void *arg)
{
	release(arg, true);
}

static const struct http_stream_ops stream_ops = { stream_writable, stream_closed };

static bool is_closed(struct reader *r)
{
	bool c;

	task_lock(&r->lock);
	c = r->closed;
	task_unlock(&r->lock);
	return c || stop_raised(r->n->stop);
}

static void send_bytes(struct reader *r, struct buf *b)
{
	size_t n = b->n;
	char *bytes;

	if (!n)
		return;
	task_lock(&r->lock);
	while (!r->closed && http_stream_unsent(r->out) > HTTP_STREAM_HIGH)
		(void)task_wait_until(&r->room, &r->lock, mono_add_ms(mono_now(), 1000));
	bool closed = r->closed;
	task_unlock(&r->lock);
	bytes = buf_take(b, &n);
	if (closed) {
		free(bytes);
		return;
	}
	http_stream_write(r->out, &(struct net_piece){ str_n(bytes, n), bytes, free }, 1);
}

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
	send_bytes(r, &out);
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

/* The container has ended (or is gone): what is in the file is all there will be. */
static bool has_ended(struct reader *r)
{
	auto_reply Cri__ListContainersReply *l = NULL;
	struct err e;

	err_init(&e);
	if (cri_list_containers(&r->n->cri, r->p->uid, &l, &e) < 0)
		return false;
	for (size_t i = 0; i < l->n_containers; i++) {
		Cri__Container *k = l->containers[i];
		const char *name = cri_map_get(k->labels, k->n_labels, LABEL_CONTAINER);
		if (name && strcmp(name, r->container) == 0 && k->metadata && k->metadata->attempt == r->attempt)
			return k->state != CONTAINER_RUNNING && k->state != CONTAINER_CREATED;
	}
	return true;
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
	return true;
}

static void follow(struct reader *r)
{
	int in = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), more = 0;
	char events[1024];
	bool ended = false;

	if (in >= 0)
		(void)inotify_add_watch(in, r->path, IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF);
	while (!is_closed(r) && more >= 0) {
		struct pollfd pfd = { .fd = in, .events = POLLIN };
		while ((more = read_some(r)) > 0)
			;
		if (more < 0 || ended)
			break;
		if (reopen_if_rotated(r)) {
			if (in >= 0)
				(void)inotify_add_watch(in, r->path, IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF);
			continue;
		}
		if (in < 0)
			task_sleep_ms(ENDED_LOOK_MS);
		if (in < 0 || poll(&pfd, 1, ENDED_LOOK_MS) <= 0)
			ended = has_ended(r); /* then read once more */
		else if (read(in, events, sizeof(events)) < 0 && errno != EAGAIN)
			break;
	}
	if (in >= 0)
		(void)close(in);
}

static void reader_task(void *arg)
{
	struct reader *r = arg;
	struct node_agent *n = r->n;
	int more = 1;

	if (r->o.tail >= 0)
		(void)lseek(r->fd, tail_offset(r->fd, r->o.tail), SEEK_SET);
	if (r->o.follow)
		follow(r);
	else
		while (more > 0 && !is_closed(r))
			more = read_some(r);
	task_lock(&r->lock);
	struct http_stream *out = r->closed ? NULL : r->out;
	if (out)
		http_stream_end(out);
	task_unlock(&r->lock);
	release(r, false);
	node_task_end(n);
}

void logs_serve(struct node_agent *n, struct http_request *rq, struct pod *p, struct str container, const char *path, struct log_opts o)
{
	struct http_header type = { STR("content-type"), STR("text/plain; charset=utf-8") };
	struct reader *r = xcalloc(1, sizeof(*r));
	const char *slash = strrchr(path, '/');

	*r = (struct reader){ .n = n, .rq = rq, .p = pod_ref(p), .container = str_dup(container), .path = xstrdup(path), .o = o, .left = o.limit,
		.line_begins = true, .have = BUF_INIT };
	r->attempt = slash ? (uint32_t)strtoul(slash + 1, NULL, 10) : 0;
	task_mutex_init(&r->lock);
	task_cond_init(&r->room);
	r->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0) {
		http_reply_text(rq, 500, "text/plain", STR("the log file cannot be opened\n"));
		reader_free(r);
		return;
	}
	task_lock(&r->lock); /* closed() may run before the stream is known here */
	r->out = http_reply_stream(rq, 200, &type, 1, &stream_ops, r);
	task_unlock(&r->lock);
	if (!node_task(n, "log", reader_task, r)) {
		http_stream_abort(r->out);
		release(r, false);
	}
}

/* ---- rotation --------------------------------------------------------------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void drop_old(const char *dir, const char *base)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, by_name), kept = 0;
	size_t len = strlen(base);

	for (int i = n; i-- > 0;) {
		bool rotated = strncmp(list[i]->d_name, base, len) == 0 && list[i]->d_name[len] == '.';
		if (rotated && ++kept > ROTATE_KEEP) {
			auto_free char *path = xasprintf("%s/%s", dir, list[i]->d_name);
			(void)unlink(path);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void rotate(struct node_agent *n, const char *id, const char *path)
{
	auto_free char *to = NULL, *dir = xstrdup(path);
	char stamp[32], *slash = strrchr(dir, '/');
	time_t now = (time_t)wall_s(wall_now());
	struct tm tm;
	struct stat st;
	struct err e;

	if (!slash || stat(path, &st) < 0 || st.st_size < ROTATE_BYTES)
		return;
	(void)gmtime_r(&now, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	to = xasprintf("%s.%s", path, stamp);
	if (rename(path, to) < 0)
		return;
	err_init(&e);
	if (cri_reopen_log(&n->cri, id, &e) < 0) {
		log_warn("log %s cannot be rotated: %s", path, e.message);
		(void)rename(to, path);
		return;
	}
	*slash = 0;
	drop_old(dir, path + (slash - dir) + 1);
}

void logs_rotate_run(void *agent)
{
	struct node_agent *n = agent;

	while (stop_sleep_ms(n->stop, ROTATE_LOOK_MS)) {
		auto_reply Cri__ListContainersReply *l = NULL;
		struct err e;
		err_init(&e);
		if (cri_list_containers(&n->cri, NULL, &l, &e) < 0)
			continue;
		for (size_t i = 0; i < l->n_containers; i++) {
			Cri__Container *k = l->containers[i];
			const char *name = cri_map_get(k->labels, k->n_labels, LABEL_CONTAINER), *uid = cri_map_get(k->labels, k->n_labels, LABEL_POD_UID);
			const char *pod = cri_map_get(k->labels, k->n_labels, LABEL_POD_NAME), *ns = cri_map_get(k->labels, k->n_labels, LABEL_POD_NS);
			if (k->state != CONTAINER_RUNNING || !name || !uid || !pod || !ns || !k->metadata)
				continue;
			auto_free char *path = xasprintf("%s/%s_%s_%s/%s/%u.log", n->o.log_dir, ns, pod, uid, name, k->metadata->attempt);
			rotate(n, k->id, path);
		}
	}
	node_task_end(n);
}

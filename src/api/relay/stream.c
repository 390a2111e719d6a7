/* The answer of another server, passed on as it comes: what the client does not take stays with that server.
 *
 *     server ──► download ──► a task, while there is room ──► stream ──► client
 *
 * At most some hundred KiB of an answer are here at a time, however large it is and however slowly it is read. HTML whose
 * links have to be rewritten is the exception: it is collected first. */
#include "api/relay/relay.h"

#define LOG_MODULE "relay"
#define HEAD_MS 60000
#define ROOM (HTTP_STREAM_HIGH / 4)
#define FOR_EVER_MS 3600000
#define HTML_MAX ((size_t)8 << 20)
#define REFUSAL_MAX ((size_t)64 << 10)
#define HEADERS_MAX 48

struct passage {
	struct relay_call c;
	struct place *place;
	struct rq *rq;
	struct task_mutex lock;
	struct task_cond wake;
	struct http_download *download;
	struct http_stream *stream;
	bool closed; /* the client is gone, or has everything */
};

static void on_writable(void *arg)
{
	struct passage *p = arg;

	task_lock(&p->lock);
	task_signal(&p->wake);
	task_unlock(&p->lock);
}

static void on_closed(void *arg)
{
	struct passage *p = arg;

	task_lock(&p->lock);
	p->closed = true;
	p->stream = NULL;
	http_download_cancel(p->download);
	task_signal(&p->wake);
	task_unlock(&p->lock);
}

static const struct http_stream_ops stream_ops = { on_writable, on_closed };

/* ---- answers that are read as a whole -------------------------------------------------------- */

/* 0: it ended and is in b. */
static int collect(struct passage *p, struct buf *b, size_t max, struct err *e)
{
	int rc;

	while ((rc = http_download_read(p->download, b, HEAD_MS, e)) == 1 && b->n <= max)
		;
	return rc == 1 ? err_set(e, ERR_TOO_LARGE, "the answer is larger than expected") : rc;
}

/* The other side's refusal as a Status. */
static int refused(struct passage *p, int status, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct doc *d;

	(void)collect(p, &b, REFUSAL_MAX, e);
	err_init(e);
	if (doc_parse(buf_view(&b), &d, e) == 0) {
		err_set(e, err_from_http(status, doc_str(d, "reason")), "%.*s", STR_ARG(doc_str(d, "message")));
		doc_unref(d);
	} else {
		struct str text = str_trim(buf_view(&b));
		err_set(e, err_from_http(status, STR_NULL), "%.*s", STR_ARG(text.n ? text : STR("the node refused")));
	}
	return -e->code;
}

/* ---- streams --------------------------------------------------------------------------------- */

/* False: the client is gone. */
static bool wait_for_room(struct passage *p)
{
	task_lock(&p->lock);
	while (!p->closed && http_stream_unsent(p->stream) > ROOM)
		task_wait(&p->wake, &p->lock);
	bool open = !p->closed;
	task_unlock(&p->lock);
	return open;
}

static void write_on(struct passage *p, struct buf *b)
{
	task_lock(&p->lock);
	if (!p->closed && b->n) {
		size_t n;
		char *bytes = buf_take(b, &n);

		http_stream_write(p->stream, &(struct net_piece){ str_n(bytes, n), bytes, free }, 1);
	}
	task_unlock(&p->lock);
}

/* An answer that breaks off must not look whole. */
static void end_stream(struct passage *p, bool whole)
{
	task_lock(&p->lock);
	if (!p->closed)
		(whole ? http_stream_end : http_stream_abort)(p->stream);
	while (!p->closed)
		task_wait(&p->wake, &p->lock);
	task_unlock(&p->lock);
}

static void pump(struct passage *p)
{
	int64_t ms = p->c.silence_ms ? p->c.silence_ms : FOR_EVER_MS;
	struct err e;
	int rc = 1;

	while (rc == 1 && wait_for_room(p)) {
		auto_buf struct buf b = BUF_INIT;

		err_init(&e);
		do
			rc = http_download_read(p->download, &b, ms, &e);
		while (rc == -ERR_TIMEOUT && !p->c.silence_ms);
		write_on(p, &b);
	}
	end_stream(p, rc == 0);
}

static void stream(struct passage *p, int status, const struct http_header *h, size_t n)
{
	task_lock(&p->lock);  /* the callbacks wait until the stream is known */
	if (!p->c.silence_ms) /* long-running */
		rq_started(p->rq);
	p->stream = http_reply_stream(p->rq->http, status, h, n, &stream_ops, p);
	task_unlock(&p->lock);
	pump(p);
}

/* ---- the call -------------------------------------------------------------------------------- */

static struct str value_of(const struct http_header *h, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (str_is(h[i].name, name))
			return h[i].value;
	return STR_NULL;
}

static bool is_proxied(const struct passage *p)
{
	return p->rq->subres && p->rq->subres->relay && !p->c.content_type;
}

/* The path that stands for the root of the server behind the proxy sub-resource. */
static struct str root_of(const struct rq *rq)
{
	return str_sub(rq->path, 0, rq->path.n - rq->sub_path.n);
}

/* What may be shown to pages of other servers is for us to say. */
static bool opens_to_others(struct str name)
{
	static const char *const names[] = { "access-control-allow-credentials", "access-control-allow-headers",
		"access-control-allow-methods", "access-control-allow-origin", NULL };

	return is_one_of(names, name);
}

static size_t pass_header(struct passage *p, const struct http_header *h, struct http_header *to)
{
	struct rq *rq = p->rq;
	size_t n = opens_to_others(h->name) ? 0 : relay_pass_headers(rq, h, 1, to);

	if (n && is_proxied(p) && str_is(h->name, "location"))
		to->value = rewrite_location(rq->a, to->value,
			&(struct rewrite_hosts){ http_client_host(p->c.client), rq_header(rq, "host") }, root_of(rq));
	return n;
}

static size_t headers_of(struct passage *p, struct http_header *to)
{
	const struct http_header *from;
	size_t n_from = http_download_headers(p->download, &from),
	       n = reply_headers(p->rq, p->c.content_type, to, HEADERS_MAX / 2);

	for (size_t i = 0; i < n_from && n < HEADERS_MAX && !p->c.content_type; i++)
		n += pass_header(p, &from[i], to + n);
	return n;
}

/* What a browser is shown must lead it back through us. Of what is packed the links are not found. */
static bool has_links(const struct passage *p, const struct http_header *h, size_t n)
{
	return is_proxied(p) && !value_of(h, n, "content-encoding").n &&
		str_starts(value_of(h, n, "content-type"), STR("text/html"));
}

/* Nothing follows the headers; where it is known, h says how much GET would have. */
static bool bodiless(const struct passage *p, int status, struct http_header *h, size_t *n)
{
	const struct http_header *from;
	size_t n_from = http_download_headers(p->download, &from);
	struct str length = arena_str(p->rq->a, value_of(from, n_from, "content-length"));

	if (status == 204 || status == 304 || !str_is(p->rq->method, "HEAD"))
		return status == 204 || status == 304;
	if (p->c.content_type)
		return true;
	if (!length.n || has_links(p, h, *n)) /* as a stream that ends at once: that says no length */
		return false;
	h[(*n)++] = (struct http_header){ STR("content-length"), length };
	return true;
}

static void over(struct passage *p)
{
	http_download_free(p->download);
	task_mutex_fini(&p->lock);
	task_cond_fini(&p->wake);
	if (p->c.over)
		p->c.over(p->c.arg);
}

static int reply_html(struct passage *p, int status, const struct http_header *h, size_t n, struct err *e)
{
	struct rq *rq = p->rq;
	auto_buf struct buf html = BUF_INIT, out = BUF_INIT;
	int rc = collect(p, &html, HTML_MAX, e);

	if (rc < 0)
		return rc;
	rewrite_links(buf_view(&html), root_of(rq), &out);
	over(p);
	reply_passed(rq, status, h, n, arena_str(rq->a, buf_view(&out)));
	return 0;
}

static int answer(struct passage *p, struct err *e)
{
	struct rq *rq = p->rq;
	struct http_header h[HEADERS_MAX + 1];
	int status = 0, rc;

	rc = http_open(p->c.client, p->c.method ? p->c.method : "GET", p->c.path, p->c.headers, p->c.n_headers,
		p->c.body, HEAD_MS, &status, &p->download, e);
	if (rc < 0)
		return p->c.content_type ? rc : err_wrap(e, "error trying to reach service");
	if (p->c.content_type && status != 200)
		return refused(p, status, e);
	size_t n = headers_of(p, h);
	if (bodiless(p, status, h, &n)) {
		over(p);
		reply_passed(rq, status, h, n, STR_NULL);
		return 0;
	}
	if (has_links(p, h, n) && !str_is(rq->method, "HEAD"))
		return reply_html(p, status, h, n, e);
	stream(p, status, h, n);
	over(p);
	rq_done(rq, status);
	rq_free(rq);
	return 0;
}

static void run(void *arg)
{
	struct passage *p = arg;
	struct rq *rq = p->rq;
	struct relays *all = rq->api->relays;
	struct place *place = p->place;
	struct err e;

	err_init(&e);
	if (answer(p, &e) < 0) {
		over(p);
		if (e.code == ERR_IO)
			e.code = ERR_UNAVAILABLE;
		reply_error(rq, &e);
	}
	relay_end(all, place);
}

void relay_answer(struct rq *rq, const struct relay_call *c)
{
	struct passage *p = ARENA_NEW(rq->a, struct passage);
	struct err e;

	err_init(&e);
	p->c = *c;
	p->rq = rq;
	task_mutex_init(&p->lock);
	task_cond_init(&p->wake);
	if (relay_begin(rq, run, p, &p->place, &e) == 0)
		return;
	over(p);
	reply_error(rq, &e);
}

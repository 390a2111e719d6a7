/* The remote backend: the API over HTTP/2 and TLS. One loop and one connection a client; calls block their task. */
#include "base/log.h"
#include "client/remote_internal.h"
#include "net/net.h"
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_MODULE "client"
#define LIST_PAGE 500
#define BODY_MAX ((size_t)64 << 20)
#define LINE_MAX_BYTES ((size_t)16 << 20)
#define TRIES 5
#define SILENCE_MS 150000 /* servers send a bookmark each minute: a watch without a byte for this long is dead */

#define HEADERS_MAX 64

struct remote {
	struct net_loop *loop; /* NULL: http is somebody else's */
	struct tls *tls;
	struct http_client *http;
	char *authorization;               /* NULL: none */
	const struct http_header *headers; /* borrow: further ones */
	size_t n_headers;
	size_t answer_max;
	int64_t timeout_ms; /* 0: the usual */
	char *prefix;       /* path of the server's URL */
	int fds[3];
};

/* ---- one request ----------------------------------------------------------------------------- */

static size_t headers_of(const struct remote *r, const struct client_request *rq, struct http_header h[HEADERS_MAX])
{
	size_t n = 0;

	h[n++] = (struct http_header){ STR("accept"), STR("application/json") };
	if (rq->body)
		h[n++] = (struct http_header){ STR("content-type"), str_c(wire_content_type(rq)) };
	if (r->authorization)
		h[n++] = (struct http_header){ STR("authorization"), str_c(r->authorization) };
	for (size_t i = 0; i < r->n_headers && n < HEADERS_MAX; i++)
		h[n++] = r->headers[i];
	return n;
}

/* 0: *ret holds a good answer, end it with http_reply_fini(). */
static int send_once(struct remote *r, const struct client_request *rq, struct http_reply *ret, struct err *e)
{
	struct http_header h[HEADERS_MAX];
	auto_buf struct buf path = BUF_INIT;
	struct http_reply reply = { 0 };
	int code;

	wire_path(&path, str_c(r->prefix), rq);
	code = http_call(r->http, wire_method(rq), buf_view(&path), h, headers_of(r, rq, h),
		rq->body ? doc_text(rq->body) : STR_NULL, r->answer_max, r->timeout_ms, &reply, e);
	if (code < 0)
		return code;
	if (reply.status >= 300) {
		code = wire_error(reply.status, buf_view(&reply.body), reply.retry_after_s, e);
		http_reply_fini(&reply);
		return code;
	}
	*ret = reply;
	return 0;
}

/* A server that says "too many, come back in n seconds" has done nothing with the request. */
static int send(struct remote *r, const struct client_request *rq, struct http_reply *ret, struct err *e)
{
	int code = 0;

	for (int i = 0; i < TRIES; i++) {
		err_init(e);
		code = send_once(r, rq, ret, e);
		if (code != -ERR_TOO_MANY || !e->retry_after_s || i == TRIES - 1)
			return code;
		task_sleep_ms(MIN(e->retry_after_s, 10) * 1000 + (int64_t)rand_below(250));
	}
	return code;
}

static int remote_call(void *self, const struct client_request *rq, struct doc **ret, struct err *e)
{
	struct remote *r = self;
	struct http_reply reply;
	struct err mine;
	int code;

	e = e ? e : &mine;
	code = send(r, rq, &reply, e);
	if (code < 0)
		return code;
	code = doc_parse(buf_view(&reply.body), ret, e);
	if (code < 0)
		err_wrap(e, "the server's answer is not JSON");
	http_reply_fini(&reply);
	return code;
}

/* ---- lists ----------------------------------------------------------------------------------- */

struct page {
	struct doc **items;
	size_t n, cap;
	char rev[24];
	char *next; /* continue token, own; NULL: the end */
};

static void page_fini(struct page *p)
{
	for (size_t i = 0; i < p->n; i++)
		doc_unref(p->items[i]);
	free(p->items);
	free(p->next);
	*p = (struct page){ 0 };
}

static int add_items(struct page *p, struct doc *list, struct err *e)
{
	struct str kind = doc_str(list, "kind");
	struct val items = doc_get(list, "items"), api_version = doc_get(list, "apiVersion");
	struct doc *d;
	int code;

	if (str_ends(kind, STR("List")))
		kind.n -= 4;
	for (struct val_iter it = val_iter(items); val_next(&it);) {
		code = wire_item(it.val, api_version, kind, &d, e);
		if (code < 0)
			return code;
		GROW(p->items, p->n, p->cap, 64);
		p->items[p->n++] = d;
	}
	return 0;
}

static int read_page(struct remote *r, const struct client_request *rq, struct page *p, struct err *e)
{
	auto_(doc_unref) struct doc *list = NULL;
	struct str next;
	int code = remote_call(r, rq, &list, e);

	if (code == 0)
		code = add_items(p, list, e);
	if (code < 0)
		return code;
	snprintf(p->rev, sizeof(p->rev), "%.*s", STR_ARG(doc_str(list, "metadata.resourceVersion")));
	next = doc_str(list, "metadata.continue");
	free(p->next);
	p->next = next.n ? str_dup(next) : NULL;
	return 0;
}

static int read_pages(struct remote *r, const struct client_request *rq, bool all, struct page *p, struct err *e)
{
	struct client_request with = *rq;
	int code;

	do {
		code = read_page(r, &with, p, e);
		with.continue_token = str_c(p->next);
		with.resource_version = STR_NULL; /* the token knows */
	} while (code == 0 && all && p->next);
	return code;
}

static int remote_list(void *self, const struct client_request *rq, void (*each)(void *arg, struct doc *take),
	void *arg, char ret_rev[24], struct err *e)
{
	struct client_request with = *rq;
	struct page p = { 0 };
	bool all = !rq->limit && !rq->continue_token.n;
	int code;

	if (all)
		with.limit = LIST_PAGE;
	code = read_pages(self, &with, all, &p, e);
	if (code == -ERR_EXPIRED && all) { /* the list grew old under our hands: in one piece, then */
		page_fini(&p);
		with.limit = 0;
		code = read_pages(self, &with, false, &p, e);
	}
	if (code == 0) {
		if (ret_rev)
			memcpy(ret_rev, p.rev, sizeof(p.rev));
		for (size_t i = 0; i < p.n; i++)
			each(arg, p.items[i]);
		p.n = 0;
	}
	page_fini(&p);
	return code;
}

/* ---- watches --------------------------------------------------------------------------------- */

struct client_stream {
	struct http_download *d;
	struct buf in;
	size_t at;      /* where the next line begins */
	size_t scanned; /* no newline before this */
	bool bookmarks;
	struct mono heard;
	_Atomic bool interrupted;
};

static int read_error(struct http_download *d, int status, struct err *e)
{
	auto_buf struct buf body = { .max = 64 << 10 };
	int r = 1;

	while (r == 1 && !body.full)
		r = http_download_read(d, &body, 5000, NULL);
	return wire_error(status, buf_view(&body), 0, e);
}

static int remote_watch(void *self, const struct client_request *rq, struct client_stream **ret, struct err *e)
{
	struct remote *r = self;
	struct http_header h[HEADERS_MAX];
	auto_buf struct buf path = BUF_INIT;
	auto_(http_download_free) struct http_download *d = NULL;
	struct client_stream *s;
	int status = 0, code;

	wire_path(&path, str_c(r->prefix), rq);
	code = http_open(
		r->http, "GET", buf_view(&path), h, headers_of(r, rq, h), STR_NULL, r->timeout_ms, &status, &d, e);
	if (code < 0)
		return code;
	if (status >= 300)
		return read_error(d, status, e);
	s = xcalloc(1, sizeof(*s));
	s->d = TAKE(d);
	s->in = (struct buf){ .max = LINE_MAX_BYTES };
	s->bookmarks = rq->bookmarks;
	s->heard = mono_now();
	*ret = s;
	return 0;
}

/* The next whole line, borrowed until more is read. */
static bool next_line(struct client_stream *s, struct str *ret)
{
	size_t from = MAX(s->at, s->scanned);
	const char *nl = s->in.n > from ? memchr(s->in.p + from, '\n', s->in.n - from) : NULL;

	if (!nl) {
		s->scanned = s->in.n;
		return false;
	}
	*ret = str_n(s->in.p + s->at, (size_t)(nl - s->in.p) - s->at);
	s->at = s->scanned = (size_t)(nl - s->in.p) + 1;
	return true;
}

/* What was read goes, a started line moves to the front. */
static void make_room(struct client_stream *s)
{
	if (s->at == 0)
		return;
	s->in.n -= s->at;
	if (s->in.n)
		memmove(s->in.p, s->in.p + s->at, s->in.n);
	else
		buf_fini(&s->in);
	s->scanned -= s->at;
	s->at = 0;
}

/* 0: something came. */
static int read_more(struct client_stream *s, struct mono until, struct err *e)
{
	struct mono dead = mono_add_ms(s->heard, SILENCE_MS);
	bool patient = !s->bookmarks || mono_before(until, dead);
	int64_t ms = MAX(mono_ms_between(mono_now(), patient ? until : dead) + 1, 1);
	int r;

	make_room(s);
	r = http_download_read(s->d, &s->in, ms, e);
	if (s->interrupted)
		return err_set(e, ERR_CANCELED, "the watch was interrupted");
	if (s->in.full)
		return err_set(e, ERR_TOO_LARGE, "a watch event is longer than %zu bytes", LINE_MAX_BYTES);
	if (r == 1) {
		s->heard = mono_now();
		return 0;
	}
	if (r == 0)
		return err_set(e, ERR_UNAVAILABLE, "the server ended the watch");
	if (r == -ERR_TIMEOUT && !patient)
		return err_set(e, ERR_UNAVAILABLE, "the watch was silent for %d s", SILENCE_MS / 1000);
	return r;
}

static int remote_next(struct client_stream *s, int64_t timeout_ms, struct client_event *ret, struct err *e)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms);
	struct str line;
	int code;

	if (s->interrupted)
		return err_set(e, ERR_CANCELED, "the watch was interrupted");
	for (;;) {
		while (next_line(s, &line)) {
			if (str_trim(line).n)
				return wire_event(line, ret, e);
		}
		code = read_more(s, until, e);
		if (code < 0)
			return code;
	}
}

static void remote_notify(struct client_stream *s, void (*ready)(void *arg), void *arg)
{
	http_download_notify(s->d, ready, arg);
}

static void remote_interrupt(struct client_stream *s)
{
	s->interrupted = true;
	http_download_cancel(s->d);
}

static void remote_close(struct client_stream *s)
{
	http_download_cancel(s->d);
	http_download_free(s->d);
	buf_fini(&s->in);
	free(s);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void remote_free(void *self)
{
	struct remote *r = self;

	if (r->loop)
		http_client_free(r->http);
	net_loop_free(r->loop);
	tls_free(r->tls);
	for (size_t i = 0; i < ARRAY_LEN(r->fds); i++) {
		if (r->fds[i] >= 0)
			close(r->fds[i]);
	}
	free(r->authorization);
	free(r->prefix);
	free(r);
}

static const struct client_ops remote_ops = {
	.call = remote_call,
	.list = remote_list,
	.watch = remote_watch,
	.next = remote_next,
	.interrupt = remote_interrupt,
	.close = remote_close,
	.free = remote_free,
	.notify = remote_notify,
};

static int set_up(struct remote *r, const struct remote_config *c, struct err *e)
{
	struct tls_opts tls = {
		.cert_file = c->o.cert_file,
		.key_file = c->o.key_file,
		.ca_file = c->o.ca_file,
		.insecure = c->insecure,
	};
	auto_free char *url = NULL, *agent = xasprintf("%s/%s (linux) kogge", c->o.name, KOGGE_VERSION);
	struct str prefix = wire_split_url(c->o.server, &url);
	int code;

	r->prefix = str_dup(prefix);
	r->answer_max = BODY_MAX;
	if (c->o.token)
		r->authorization = xasprintf("Bearer %s", c->o.token);
	if (str_starts(str_c(url), STR("https:"))) {
		code = tls_new(&tls, &r->tls, e);
		if (code < 0)
			return code;
	}
	r->loop = net_loop_new("client");
	return http_client_new(
		&(struct http_client_opts){
			.url = url,
			.tls = r->tls,
			.server_name = c->server_name,
			.loop = r->loop,
			.user_agent = agent,
		},
		&r->http, e);
}

int remote_new(const struct remote_config *c, struct client **ret, struct err *e)
{
	struct remote *r = xcalloc(1, sizeof(*r));
	int code;

	memcpy(r->fds, c->fds, sizeof(r->fds));
	code = set_up(r, c, e);
	if (code < 0) {
		remote_free(r);
		return err_wrap(e, "client of %s", c->o.server);
	}
	*ret = client_new(&remote_ops, r, c->o.name);
	return 0;
}

int client_remote(const struct client_remote_opts *o, struct client **ret, struct err *e)
{
	struct remote_config c = REMOTE_CONFIG_INIT;

	c.o = *o;
	return remote_new(&c, ret, e);
}

struct client *client_over(const struct client_over_opts *o)
{
	struct remote *r = xcalloc(1, sizeof(*r));

	*r = (struct remote){ .http = o->http,
		.prefix = xstrdup(""),
		.headers = o->headers,
		.n_headers = o->n_headers,
		.answer_max = o->answer_max,
		.timeout_ms = o->timeout_ms,
		.fds = { -1, -1, -1 } };
	return client_new(&remote_ops, r, o->name);
}

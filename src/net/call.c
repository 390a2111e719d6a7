/* A request of ours: the meeting point of a blocking caller and the loop that does the work.
 *
 *   caller: call_new, call_start, [call_send], call_wait_head, call_read..., call_unref      (blocks under x->lock)
 *   loop:   client_place -> link -> call_got_head, call_got_data, call_got_tail, call_over */
#include "net/net_internal.h"

static void kick_run(struct net_msg *m);

static void call_ref(struct call *x)
{
	atomic_fetch_add(&x->refs, 1);
}

void call_unref(struct call *x)
{
	if (!x || atomic_fetch_sub(&x->refs, 1) != 1)
		return;
	parts_fini(&x->pending);
	parts_fini(&x->out);
	fields_fini(&x->fields);
	buf_fini(&x->in);
	task_mutex_fini(&x->lock);
	task_cond_fini(&x->changed);
	client_unref(x->client);
	free(x->method);
	free(x->path);
	free(x->headers);
	free(x->body);
	free(x->why);
	free(x->head);
	free(x->tail);
	free(x->head_text);
	free(x->tail_text);
	free(x);
}

struct call *call_new(struct http_client *c, const char *method, struct str path, const struct http_header *h, size_t n,
	struct str body, size_t answer_max)
{
	struct call *x = xcalloc(1, sizeof(*x));

	x->kick.run = kick_run;
	atomic_store(&x->refs, 1);
	client_ref(c);
	x->client = c;
	x->method = xstrdup(method);
	x->path = str_dup(path);
	x->headers = headers_copy(h, n);
	x->n_headers = n;
	x->body = str_dup(body);
	x->body_n = body.n;
	x->fields.text = BUF_INIT;
	x->fields.text.max = (size_t)256 << 10;
	x->in = BUF_INIT;
	x->in.max = answer_max ? answer_max : BUF_MAX_DEFAULT;
	task_mutex_init(&x->lock);
	task_cond_init(&x->changed);
	return x;
}

/* With the lock held; releases it. */
static void kick_unlock(struct call *x)
{
	bool kick = !x->kicked;

	if (kick) {
		x->kicked = true;
		call_ref(x);
	}
	task_unlock(&x->lock);
	if (kick)
		loop_send(x->client->loop, &x->kick);
}

void call_start(struct call *x)
{
	task_lock(&x->lock);
	kick_unlock(x);
}

void call_send(struct call *x, struct str copied, bool end)
{
	task_lock(&x->lock);
	parts_copy(&x->pending, copied);
	x->upload_end |= end;
	kick_unlock(x);
}

void call_cancel(struct call *x)
{
	task_lock(&x->lock);
	if (x->ended) {
		task_unlock(&x->lock);
		return;
	}
	x->cancel = true;
	task_broadcast(&x->changed);
	kick_unlock(x);
}

/* With the lock held. */
static void tell_reader(struct call *x)
{
	task_broadcast(&x->changed);
	if (x->ready)
		x->ready(x->ready_arg);
}

/* ---- the loop's side ------------------------------------------------------------------------- */

void call_pull(struct call *x)
{
	task_lock(&x->lock);
	parts_append(&x->out, &x->pending);
	x->out_end = !x->uploading || x->upload_end;
	task_unlock(&x->lock);
}

size_t call_unread(struct call *x)
{
	task_lock(&x->lock);
	size_t n = x->in.n;
	task_unlock(&x->lock);
	return n;
}

static void load_body(struct call *x)
{
	parts_fini(&x->out);
	parts_piece(&x->out, &(struct net_piece){ .bytes = str_n(x->body, x->body_n) });
	x->out_end = !x->uploading;
}

static void kick_run(struct net_msg *m)
{
	struct call *x = container_of(m, struct call, kick);

	task_lock(&x->lock);
	x->kicked = false;
	bool cancel = x->cancel;
	task_unlock(&x->lock);
	if (!x->started) {
		x->started = true;
		call_ref(x); /* the loop's, until call_over() */
		load_body(x);
		if (!cancel)
			client_place(x->client, x);
	}
	if (!x->over && x->uploading)
		call_pull(x);
	if (x->over) {
		;
	} else if (cancel) {
		struct link *k = x->link;

		if (x->waiting)
			for (struct call **i = &x->client->waiting; *i; i = &(*i)->next)
				if (*i == x) {
					*i = x->next;
					x->client->n_waiting--;
					break;
				}
		if (k) {
			link_remove(k, x);
			k->ops->cancel(k, x);
		}
		call_over(x, ERR_CANCELED, "canceled");
	} else if (x->link) {
		x->link->ops->more(x->link, x);
	}
	call_unref(x);
}

void call_got_head(struct call *x)
{
	char *text;
	struct http_header *h;
	size_t n;
	int64_t status = 0;

	fields_take(&x->fields, &text, &h, &n);
	if (n && str_is(h[0].name, ":status"))
		str_i64(h[0].value, &status);
	task_lock(&x->lock);
	x->head_text = text;
	x->head = h;
	x->n_head = n;
	x->status = (int)status;
	x->got_head = true;
	task_broadcast(&x->changed);
	task_unlock(&x->lock);
}

void call_got_tail(struct call *x)
{
	char *text;
	struct http_header *h;
	size_t n;

	fields_take(&x->fields, &text, &h, &n);
	task_lock(&x->lock);
	if (!x->tail) {
		x->tail_text = TAKE(text);
		x->tail = TAKE(h);
		x->n_tail = n;
	}
	task_unlock(&x->lock);
	free(text);
	free(h);
}

void call_got_data(struct call *x, struct str bytes)
{
	task_lock(&x->lock);
	buf_add(&x->in, bytes.p, bytes.n);
	bool full = x->in.full;
	if (x->streaming)
		tell_reader(x);
	task_unlock(&x->lock);
	if (!full || x->over)
		return;
	struct link *k = x->link;
	if (k) {
		link_remove(k, x);
		k->ops->cancel(k, x);
	}
	call_over(x, ERR_TOO_LARGE, "the answer is larger than expected");
}

void call_over(struct call *x, enum err_code code, const char *why)
{
	if (x->over)
		return;
	x->over = true;
	x->link = NULL;
	parts_fini(&x->out);
	task_lock(&x->lock);
	x->ended = true;
	x->code = (int)code;
	x->why = code ? xstrdup(why ? why : "the connection broke") : NULL;
	tell_reader(x);
	task_unlock(&x->lock);
	call_unref(x);
}

/* Safe to send again: the server says that it did not look at it, or nothing happened yet and twice is as good as
 * once. */
bool call_retry(struct call *x, bool never_processed)
{
	bool idempotent =
		strcmp(x->method, "GET") == 0 || strcmp(x->method, "HEAD") == 0 || strcmp(x->method, "OPTIONS") == 0;

	if (x->over || x->retried || x->got_head || x->uploading || x->client->closed || x->client->loop->stopping ||
		(!never_processed && !idempotent))
		return false;
	x->retried = true;
	x->link = NULL;
	x->id = 0;
	x->deferred = false;
	fields_fini(&x->fields);
	load_body(x);
	client_place(x->client, x);
	return true;
}

/* ---- the caller's side ----------------------------------------------------------------------- */

static int call_error(struct call *x, struct err *e)
{
	return err_set(e, (enum err_code)x->code, "%s", x->why);
}

int call_wait_head(struct call *x, struct mono until, struct err *e)
{
	bool timely = true;

	task_lock(&x->lock);
	while (!x->got_head && !x->ended && timely)
		timely = task_wait_until(&x->changed, &x->lock, until);
	int r = x->got_head ? 0 : x->ended ? call_error(x, e) : err_set(e, ERR_TIMEOUT, "no answer in time");
	task_unlock(&x->lock);
	return r;
}

int call_read(struct call *x, struct buf *out, struct mono until, struct err *e)
{
	bool timely = true;
	int r;

	task_lock(&x->lock);
	while (!x->in.n && !x->ended && !x->cancel && timely)
		timely = task_wait_until(&x->changed, &x->lock, until);
	if (x->cancel) {
		r = err_set(e, ERR_CANCELED, "canceled");
	} else if (x->in.n) {
		buf_add(out, x->in.p, x->in.n);
		x->taken += x->in.n;
		buf_fini(&x->in); /* hundreds of watches wait most of the time: they keep no room for what may come */
		if (!x->ended) {
			kick_unlock(x);
			return 1;
		}
		r = 1;
	} else if (!x->ended) {
		r = err_set(e, ERR_TIMEOUT, "nothing arrived in time");
	} else {
		r = x->code ? call_error(x, e) : 0;
	}
	task_unlock(&x->lock);
	return r;
}

static struct str find(const struct http_header *h, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (str_is(h[i].name, name))
			return h[i].value;
	return STR_NULL;
}

struct str call_field(struct call *x, const char *lower_name)
{
	task_lock(&x->lock);
	struct str s = find(x->tail, x->n_tail, lower_name);
	if (!s.p)
		s = find(x->head, x->n_head, lower_name);
	task_unlock(&x->lock);
	return s;
}

/* ---- http_call ------------------------------------------------------------------------------- */

void http_reply_fini(struct http_reply *r)
{
	buf_fini(&r->body);
	free(r->headers);
	r->headers = NULL;
	r->n_headers = 0;
}

static size_t pseudo(const struct call *x) /* ":status", the first */
{
	return x->n_head && x->head[0].name.n && x->head[0].name.p[0] == ':';
}

static void fill_reply(struct call *x, struct http_reply *r)
{
	struct str type = find(x->head, x->n_head, "content-type"), after = find(x->head, x->n_head, "retry-after");
	size_t skip = pseudo(x);
	int64_t s;

	*r = (struct http_reply){ .status = x->status, .body = x->in };
	x->in = BUF_INIT;
	type.n = MIN(type.n, sizeof(r->content_type) - 1);
	if (type.n)
		memcpy(r->content_type, type.p, type.n);
	if (str_i64(after, &s) && s > 0 && s < 86400 * 365)
		r->retry_after_s = (int)s;
	r->headers = headers_copy(x->head + skip, x->n_head - skip);
	r->n_headers = x->n_head - skip;
}

static int call_answer(struct call *x, struct mono until, struct http_reply *ret, struct err *e)
{
	bool timely = true;
	int r = 0;

	task_lock(&x->lock);
	while (!x->ended && timely)
		timely = task_wait_until(&x->changed, &x->lock, until);
	if (!x->ended)
		r = err_set(e, ERR_TIMEOUT, "%s did not answer in time", x->client->target);
	else if (x->code)
		r = call_error(x, e);
	else
		fill_reply(x, ret);
	task_unlock(&x->lock);
	return r;
}

int http_call(struct http_client *c, const char *method, struct str path_query, const struct http_header *headers,
	size_t n_headers, struct str body, size_t body_max, int64_t timeout_ms, struct http_reply *ret, struct err *e)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms ? timeout_ms : 60000);
	struct call *x = call_new(c, method, path_query, headers, n_headers, body, body_max);

	PRE(!loop_here(c->loop));
	call_start(x);
	int r = call_answer(x, until, ret, e);
	call_cancel(x);
	call_unref(x);
	return r;
}

static void call_notify(struct call *x, void (*ready)(void *arg), void *arg)
{
	task_lock(&x->lock);
	x->ready = ready;
	x->ready_arg = arg;
	if (ready && (x->in.n || x->ended || x->cancel))
		ready(arg);
	task_unlock(&x->lock);
}

/* ---- http_ask -------------------------------------------------------------------------------- */

struct http_asked {
	struct call *x;
};

struct http_asked *http_ask(struct http_client *c, const char *method, struct str path_query,
	const struct http_header *headers, size_t n_headers, struct str body, size_t body_max, void (*ready)(void *arg),
	void *arg)
{
	struct http_asked *a = xmalloc(sizeof(*a));

	a->x = call_new(c, method, path_query, headers, n_headers, body, body_max);
	call_notify(a->x, ready, arg);
	call_start(a->x);
	return a;
}

int http_asked_take(struct http_asked *a, struct http_reply *ret, struct err *e)
{
	return call_answer(a->x, mono_now(), ret, e);
}

struct http_asked *http_asked_free(struct http_asked *a)
{
	if (!a)
		return NULL;
	call_notify(a->x, NULL, NULL);
	call_cancel(a->x);
	call_unref(a->x);
	free(a);
	return NULL;
}

/* ---- downloads ------------------------------------------------------------------------------- */

struct http_download {
	struct call *x;
};

int http_open(struct http_client *c, const char *method, struct str path_query, const struct http_header *headers,
	size_t n_headers, struct str body, int64_t timeout_ms, int *ret_status, struct http_download **ret,
	struct err *e)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms ? timeout_ms : 60000);
	struct call *x = call_new(c, method, path_query, headers, n_headers, body, 0);

	PRE(!loop_here(c->loop));
	x->streaming = true;
	call_start(x);
	int r = call_wait_head(x, until, e);
	if (r < 0) {
		call_cancel(x);
		call_unref(x);
		return r;
	}
	struct http_download *d = xmalloc(sizeof(*d));
	d->x = x;
	*ret_status = x->status;
	*ret = d;
	return 0;
}

size_t http_download_headers(struct http_download *d, const struct http_header **ret)
{
	size_t skip = pseudo(d->x);

	*ret = d->x->head + skip;
	return d->x->n_head - skip;
}

int http_download_read(struct http_download *d, struct buf *out, int64_t timeout_ms, struct err *e)
{
	return call_read(d->x, out, timeout_ms ? mono_add_ms(mono_now(), timeout_ms) : MONO_NEVER, e);
}

void http_download_cancel(struct http_download *d)
{
	call_cancel(d->x);
}

void http_download_notify(struct http_download *d, void (*ready)(void *arg), void *arg)
{
	call_notify(d->x, ready, arg);
}

struct http_download *http_download_free(struct http_download *d)
{
	if (!d)
		return NULL;
	http_download_notify(d, NULL, NULL);
	call_cancel(d->x);
	call_unref(d->x);
	free(d);
	return NULL;
}

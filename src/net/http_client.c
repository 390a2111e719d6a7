/* A client: where its calls go. One HTTP/2 connection takes many; an HTTP/1.1 one takes one after the other.
 * Everything but http_client_new() and _free() runs on the loop. */
#include "net/net_internal.h"
#include <stdio.h>

void client_ref(struct http_client *c)
{
	atomic_fetch_add(&c->refs, 1);
}

void client_unref(struct http_client *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	loop_unref(c->loop);
	tls_free(c->tls);
	free(c->target);
	free(c->host);
	free(c->server_name);
	free(c->user_agent);
	free(c);
}

struct str http_client_host(const struct http_client *c)
{
	return str_c(c->host);
}

/* ---- links ----------------------------------------------------------------------------------- */

void link_init(struct link *k, struct http_client *c, struct conn *conn, const struct link_ops *ops)
{
	client_ref(c);
	k->client = c;
	k->c = conn;
	k->ops = ops;
	k->next = c->links;
	k->prev = &c->links;
	if (k->next)
		k->next->prev = &k->next;
	c->links = k;
	conn_prompt(
		conn); /* or calls would wait for a server that vanished until their own time is over, one after the other */
}

void link_add(struct link *k, struct call *x)
{
	x->link = k;
	x->next_active = k->active;
	x->prev_active = &k->active;
	if (x->next_active)
		x->next_active->prev_active = &x->next_active;
	k->active = x;
	k->n_active++;
	k->served++;
}

void link_remove(struct link *k, struct call *x)
{
	*x->prev_active = x->next_active;
	if (x->next_active)
		x->next_active->prev_active = x->prev_active;
	x->link = NULL;
	k->n_active--;
}

void link_fini(struct link *k, const char *why)
{
	struct http_client *c = k->client;
	char text[400];

	*k->prev = k->next;
	if (k->next)
		k->next->prev = k->prev;
	snprintf(text, sizeof(text), "the connection to %s was lost%s%s", c->target, why ? ": " : "", why ? why : "");
	while (k->active) {
		struct call *x = k->active;

		link_remove(k, x);
		if (k->served < 2 || !call_retry(x, false))
			call_over(x, ERR_UNAVAILABLE, text);
	}
	client_unref(c);
}

/* ---- placing calls --------------------------------------------------------------------------- */

static struct link *usable_link(struct http_client *c)
{
	for (struct link *k = c->links; k; k = k->next)
		if (!k->leaving && !k->c->closing && k->ops->usable(k))
			return k;
	return NULL;
}

static void fail_waiting(struct http_client *c, const char *why)
{
	while (c->waiting) {
		struct call *x = c->waiting;

		c->waiting = x->next;
		c->n_waiting--;
		x->waiting = false;
		call_over(x, ERR_UNAVAILABLE, why);
	}
}

void client_place_waiting(struct http_client *c)
{
	while (c->waiting) {
		struct link *k = usable_link(c);

		if (!k)
			return;
		struct call *x = c->waiting;
		c->waiting = x->next;
		c->n_waiting--;
		x->waiting = false;
		link_add(k, x);
		k->ops->start(k, x);
	}
}

static void dial_more(struct http_client *c);

static void dialled(void *arg, struct conn *conn, const char *why)
{
	struct http_client *c = arg;

	c->dialing--;
	if (conn && c->closed)
		conn_close(conn, NULL);
	if (!conn) {
		if (!c->dialing)
			fail_waiting(c, why);
		client_unref(c);
		return;
	}
	bool h2 = c->prior_h2 || conn_is_h2(conn);
	c->is_h1 = !h2;
	if (h2)
		link_h2(c, conn);
	else
		link_h1(c, conn);
	client_place_waiting(c);
	dial_more(c);
	client_unref(c);
}

static void dial_more(struct http_client *c)
{
	while (c->waiting && !c->closed && (!c->dialing || (c->is_h1 && c->dialing < c->n_waiting))) {
		client_ref(c);
		c->dialing++;
		dial(c->loop,
			&(struct dial_opts){ .target = c->target,
				.tls = c->tls,
				.server_name = c->server_name,
				.h2 = !c->http1_only,
				.ms = c->connect_ms,
				.done = dialled,
				.arg = c });
	}
}

void client_place(struct http_client *c, struct call *x)
{
	if (c->closed || c->loop->stopping) {
		call_over(x, ERR_UNAVAILABLE, "shutting down");
		return;
	}
	struct call **last = &c->waiting;
	while (*last)
		last = &(*last)->next;
	x->next = NULL;
	*last = x;
	c->n_waiting++;
	x->waiting = true;
	client_place_waiting(c);
	dial_more(c);
}

/* ---- new and free ---------------------------------------------------------------------------- */

static int split_url(const char *url, struct http_client *c, bool *tls, struct err *e)
{
	struct str u = str_c(url), rest, host;
	bool https = str_starts(u, STR("https://"));

	if (str_starts(u, STR("unix:"))) {
		c->target = xstrdup(url);
		c->host = xstrdup("localhost");
		c->server_name = xstrdup("localhost");
		return 0;
	}
	if (!https && !str_starts(u, STR("http://")))
		return err_set(e, ERR_BAD_REQUEST, "\"%s\" is no URL: expected https://, http:// or unix:/", url);
	rest = str_sub(u, https ? 8 : 7, u.n);
	str_cut(rest, '/', &host);
	if (!host.n)
		return err_set(e, ERR_BAD_REQUEST, "\"%s\" names no host", url);
	const char *bracket = host.p[0] == '[' ? memchr(host.p, ']', host.n) : NULL;
	struct str after = bracket ? str_n(bracket + 1, (size_t)(host.p + host.n - bracket - 1)) : host;
	struct str name = host;
	const char *colon = after.n ? memchr(after.p, ':', after.n) : NULL;

	if (colon)
		name.n = (size_t)(colon - host.p);
	c->target = colon ? str_dup(host) : xasprintf("%.*s:%d", STR_ARG(host), https ? 443 : 80);
	c->host = str_dup(host);
	c->server_name = bracket ? xstrndup(host.p + 1, (size_t)(bracket - host.p - 1)) : str_dup(name);
	*tls = https;
	return 0;
}

int http_client_begin(const struct http_client_opts *o, bool prior_h2, struct http_client **ret, struct err *e)
{
	struct http_client *c = xcalloc(1, sizeof(*c));
	bool tls = false;
	int r;

	atomic_store(&c->refs, 1);
	r = split_url(o->url, c, &tls, e);
	if (r == 0 && tls && !o->tls)
		r = err_set(e, ERR_BAD_REQUEST, "%s needs TLS settings", o->url);
	if (r < 0) {
		client_unref(c);
		return r;
	}
	if (o->server_name) {
		free(c->server_name);
		c->server_name = xstrdup(o->server_name);
	}
	c->loop = loop_ref(o->loop);
	c->tls = tls ? tls_ref(o->tls) : NULL;
	c->user_agent = xstrdup(o->user_agent ? o->user_agent : "kogge");
	c->connect_ms = o->connect_ms ? o->connect_ms : 10000;
	c->http1_only = o->http1_only;
	c->prior_h2 = prior_h2;
	c->is_h1 = o->http1_only || (!tls && !prior_h2);
	*ret = c;
	return 0;
}

int http_client_new(const struct http_client_opts *o, struct http_client **ret, struct err *e)
{
	return http_client_begin(o, false, ret, e);
}

static void close_run(void *arg)
{
	struct http_client *c = arg;

	c->closed = true;
	fail_waiting(c, "the client was closed");
	if (!c->loop->dead)
		for (struct link *k = c->links; k; k = k->next)
			conn_close(k->c, "the client was closed");
	client_unref(c);
}

void http_client_close(struct http_client *c)
{
	client_ref(c);
	net_loop_post(c->loop, close_run, c);
}

struct http_client *http_client_free(struct http_client *c)
{
	if (c)
		net_loop_post(c->loop, close_run, c);
	return NULL;
}

/* What the tests of HTTP and TLS share: a server with and one without TLS that answer simple questions, and a client of either. */
#pragma once
#include "net/net_test.h"

#define BIG ((size_t)10 << 20)
static struct certs certs;
static struct net_loop *loops[2];
static struct tls *server_tls, *client_tls, *nobody_tls;
static struct http_server *plain, *secure;
static char big[BIG];
static atomic_int closed_streams;

/* ---- what they answer ------------------------------------------------------------------------ */

struct ticker {
	struct http_stream *s;
	int n, most;
};

static void end_free(void *p)
{
	free(p);
}

static void ticker_go(void *arg)
{
	struct ticker *t = arg;

	while (t->n < t->most && http_stream_unsent(t->s) < HTTP_STREAM_HIGH) {
		char *text = xasprintf("tick %06d %1000s\n", t->n++, "");

		http_stream_write(t->s, &(struct net_piece){ str_c(text), text, end_free }, 1);
	}
	if (t->n == t->most) {
		t->n++;
		http_stream_end(t->s);
	}
}

static void ticker_closed(void *arg)
{
	free(arg);
	atomic_fetch_add(&closed_streams, 1);
}

static const struct http_stream_ops ticker_ops = { ticker_go, ticker_closed };

/* A stream of that many ticks. */
static void tick(struct http_request *r, int most)
{
	struct ticker *t = xcalloc(1, sizeof(*t));

	t->most = most;
	t->s = http_reply_stream(r, 200, NULL, 0, &ticker_ops, t);
	ticker_go(t);
}

static void describe(struct http_request *r)
{
	const struct http_peer *p = http_peer(r);
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b, "%.*s %.*s ?%.*s v%d cn=%.*s", STR_ARG(http_method(r)), STR_ARG(http_path(r)),
		STR_ARG(http_query(r)), http_version(r), STR_ARG(p->cn));
	for (size_t i = 0; i < p->n_orgs; i++)
		buf_printf(&b, " o=%.*s", STR_ARG(p->orgs[i]));
	buf_printf(&b, " rejected=%d from=%.*s body=%zu:%.*s x=%.*s\n", p->rejected, STR_ARG(p->address),
		http_body(r).n, (int)MIN(http_body(r).n, (size_t)20), http_body(r).p ? http_body(r).p : "",
		STR_ARG(http_header(r, "x-test")));
	http_reply_text(r, 200, "text/plain", buf_view(&b));
}

UNUSED static void answer(void *arg, struct http_request *r)
{
	struct str path = http_path(r);
	int64_t n = 0;

	if (str_starts(path, STR("/ticks/"))) {
		str_i64(str_sub(path, 7, 20), &n);
		tick(r, (int)n);
	} else if (str_is(path, "/empty")) {
		http_reply(r, 204, NULL, 0, NULL, 0);
	} else if (str_is(path, "/echo")) {
		http_reply_text(r, 200, "application/octet-stream", http_body(r));
	} else {
		describe(r);
	}
}

static const char *refused(int status)
{
	return status == 413 ? "{\"code\":413}" : NULL;
}

/* For a test's set_up: a server without and one with TLS, on both loops or the first of them. */
static int servers_start(void (*handler)(void *arg, struct http_request *r), size_t n_loops)
{
	struct http_server_opts o = { .address = "127.0.0.1",
		.loops = loops,
		.n_loops = n_loops,
		.handle = handler,
		.header_max = 8192,
		.body_max = 100000,
		.refused = refused };

	memset(big, 'b', BIG);
	certs_make(&certs);
	loops[0] = net_loop_new("test-0");
	loops[1] = net_loop_new("test-1");
	OK(tls_new(&(struct tls_opts){ certs.server, certs.server_key, certs.ca, true, false }, &server_tls, oke));
	OK(tls_new(&(struct tls_opts){ certs.client, certs.client_key, certs.ca, false, false }, &client_tls, oke));
	OK(tls_new(&(struct tls_opts){ .ca_file = certs.ca }, &nobody_tls, oke));
	OK(http_server_new(&o, &plain, oke));
	o.tls = server_tls;
	OK(http_server_new(&o, &secure, oke));
	return 0;
}

static int tear_down(void **state)
{
	http_server_free(plain);
	http_server_free(secure);
	net_loop_free(loops[0]);
	net_loop_free(loops[1]);
	tls_free(server_tls);
	tls_free(client_tls);
	tls_free(nobody_tls);
	certs_remove(&certs);
	return 0;
}

/* ---- the client ------------------------------------------------------------------------------ */

static struct http_client *client(bool tls, bool http1_only, struct tls *t)
{
	struct http_client *c = NULL;
	char url[64];

	snprintf(url, sizeof(url), "%s://localhost:%d", tls ? "https" : "http", http_server_port(tls ? secure : plain));
	OK(http_client_new(
		&(struct http_client_opts){ .url = url, .tls = t, .loop = loops[1], .http1_only = http1_only }, &c,
		oke));
	return c;
}

static void ask(
	struct http_client *c, const char *method, const char *path, struct str body, int status, const char *expect)
{
	struct http_header h = { STR("X-Test"), STR("client") };
	struct http_reply r = { 0 };

	OK(http_call(c, method, str_c(path), &h, 1, body, 0, 60000, &r, oke));
	assert_int_equal(r.status, status);
	if (expect)
		assert_true(str_has(buf_view(&r.body), str_c(expect)));
	http_reply_fini(&r);
}

/* HTTP/1.1 without and with TLS, HTTP/2. */
static const struct mode {
	bool tls, http1;
} modes[] = { { false, true }, { true, true }, { true, false } };

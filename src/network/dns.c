#define LOG_MODULE "dns"
#include "network/dns.h"
#include "base/log.h"
#include "base/task.h"
#include "network/silent.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libknot/consts.h>
#include <libknot/packet/wire.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define RELAYS_MAX 2000
#define CLIENTS_MAX 250 /* TCP connections */
#define TRY_MS 1500     /* one upstream server */
#define TRIES_MAX 4
#define IDLE_MS 10000  /* a TCP connection between questions */
#define REREAD_MS 1000 /* how often resolv.conf is looked at, at most */
#define RECEIVE_MAX 65536

struct listener {
	struct dns *dns;
	uv_udp_t udp;
	uv_tcp_t tcp;
	bool udp_open, tcp_open;
};

struct dns {
	struct dns_opts o;
	uv_loop_t loop;
	uv_async_t stop;
	struct task *task;
	struct listener listeners[2];
	struct task_mutex lock;
	struct forward *forward;      /* under the lock */
	struct dns_servers upstreams; /* the host's */
	struct silent silent;
	struct timespec resolv_time;
	char resolv_path[256];
	uint64_t reread_at;
	unsigned relays, clients;
	bool stopping;
	struct relay *relay_list;
	struct client *client_list;
	char in[RECEIVE_MAX]; /* one datagram at a time */
	uint8_t out[2 + DNS_TCP_MAX];
};

/* A TCP connection of a client. Freed when it is closed and no relay answers to it any more. */
struct client {
	struct dns *dns;
	struct client *next, **at;
	uv_tcp_t tcp;
	uv_timer_t idle;
	unsigned refs; /* handles and relays */
	bool closed;
	uint8_t *in;
	size_t n, cap;
};

/* A question on its way to an upstream server. */
struct relay {
	struct dns *dns;
	struct relay *next, **at;
	uint8_t *query; /* as the client asked */
	size_t query_n;
	uint8_t ask[1500]; /* as we ask */
	uint8_t *ask_long; /* TCP: any length, with its length before it */
	size_t ask_n;
	bool chase;
	struct listener *listener; /* UDP client */
	union dns_address from;
	struct client *client; /* TCP client, else NULL */
	uv_udp_t udp;
	uv_tcp_t tcp;
	uv_connect_t connect;
	uv_write_t write;
	uv_timer_t timer;
	struct dns_servers servers;
	unsigned handles, tries;
	bool socket_open, done;
	uint8_t *answer; /* TCP */
	size_t answer_n, answer_cap;
};

static void relay_try(struct relay *r);

/* ---- upstream servers ------------------------------------------------------------------------ */

static const char *const resolv_paths[] = { "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf",
	"/run/NetworkManager/resolv.conf" };

static size_t read_upstreams(struct dns *d, const char *path, union dns_address ret[DNS_UPSTREAMS_MAX])
{
	char text[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text));
	close(fd);
	return n <= 0 ? 0 :
			dns_upstreams(str_n(text, (size_t)n), d->o.zone.server,
				d->o.upstream_port ? d->o.upstream_port : 53, ret);
}

/* resolv.conf is read again when it changed; the check is one stat() a second while questions come. */
static void refresh_upstreams(struct dns *d)
{
	uint64_t now = uv_now(&d->loop);
	struct stat st;

	if (now < d->reread_at)
		return;
	d->reread_at = now + REREAD_MS;
	if (d->resolv_path[0] && d->upstreams.n && stat(d->resolv_path, &st) == 0 &&
		st.st_mtim.tv_sec == d->resolv_time.tv_sec && st.st_mtim.tv_nsec == d->resolv_time.tv_nsec)
		return;
	d->upstreams.n = 0;
	size_t n = d->o.resolv_conf ? 1 : ARRAY_LEN(resolv_paths);
	for (size_t i = 0; i < n && d->upstreams.n == 0; i++) {
		const char *path = d->o.resolv_conf ? d->o.resolv_conf : resolv_paths[i];

		d->upstreams.n = read_upstreams(d, path, d->upstreams.list);
		if (d->upstreams.n == 0 || stat(path, &st) < 0)
			continue;
		snprintf(d->resolv_path, sizeof(d->resolv_path), "%s", path);
		d->resolv_time = st.st_mtim;
	}
}

/* Whom to ask for a name. */
static void choose_servers(struct dns *d, const uint8_t *name, size_t n, struct dns_servers *ret)
{
	task_lock(&d->lock);
	forward_find(d->forward, name, n, ret);
	task_unlock(&d->lock);
	if (ret->n == 0) {
		refresh_upstreams(d);
		*ret = d->upstreams;
	}
	silent_last(&d->silent, ret, uv_now(&d->loop));
}

void dns_forward(struct dns *d, struct forward *take_f)
{
	task_lock(&d->lock);
	struct forward *before = d->forward;
	d->forward = take_f;
	task_unlock(&d->lock);
	forward_free(before);
}

/* ---- sending answers ------------------------------------------------------------------------- */

struct tcp_answer {
	uv_write_t write;
	struct client *client;
	uint8_t bytes[];
};

static void client_unref(struct client *c)
{
	if (--c->refs)
		return;
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	c->dns->clients--;
	free(c->in);
	free(c);
}

static void on_client_closed(uv_handle_t *h)
{
	client_unref(h->data);
}

static void client_close(struct client *c)
{
	if (c->closed)
		return;
	c->closed = true;
	uv_close((uv_handle_t *)&c->tcp, on_client_closed);
	uv_close((uv_handle_t *)&c->idle, on_client_closed);
}

static void on_tcp_answered(uv_write_t *w, int status)
{
	struct tcp_answer *a = container_of(w, struct tcp_answer, write);

	if (status < 0)
		client_close(a->client);
	client_unref(a->client);
	free(a);
}

static void send_tcp(struct client *c, const uint8_t *bytes, size_t n)
{
	struct tcp_answer *a;

	if (c->closed)
		return;
	a = xmalloc(sizeof(*a) + 2 + n);
	a->client = c;
	a->bytes[0] = (uint8_t)(n >> 8);
	a->bytes[1] = (uint8_t)n;
	memcpy(a->bytes + 2, bytes, n);
	uv_buf_t b = uv_buf_init((char *)a->bytes, (unsigned)n + 2);
	c->refs++;
	if (uv_write(&a->write, (uv_stream_t *)&c->tcp, &b, 1, on_tcp_answered) < 0) {
		client_close(c);
		client_unref(c);
		free(a);
	}
}

/* A datagram that does not fit into the socket's buffer is lost like any other: the client asks again. */
static void send_udp(struct listener *l, const union dns_address *to, const uint8_t *bytes, size_t n)
{
	uv_buf_t b = uv_buf_init((char *)bytes, (unsigned)n);

	uv_udp_try_send(&l->udp, &b, 1, &to->any);
}

static void relay_reply(struct relay *r, const uint8_t *bytes, size_t n)
{
	if (n == 0)
		return;
	if (r->client)
		send_tcp(r->client, bytes, n);
	else
		send_udp(r->listener, &r->from, bytes, n);
}

/* ---- relays ---------------------------------------------------------------------------------- */

static void relay_free(struct relay *r)
{
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
	r->dns->relays--;
	if (r->client)
		client_unref(r->client);
	free(r->query);
	free(r->ask_long);
	free(r->answer);
	free(r);
}

static void on_relay_handle_closed(uv_handle_t *h)
{
	struct relay *r = h->data;

	if (--r->handles == 0 && r->done)
		relay_free(r);
	else if (!r->done && h != (uv_handle_t *)&r->timer)
		relay_try(r); /* the socket to the previous server is gone: on to the next */
}

static void relay_close_socket(struct relay *r)
{
	if (!r->socket_open)
		return;
	r->socket_open = false;
	uv_close(r->client ? (uv_handle_t *)&r->tcp : (uv_handle_t *)&r->udp, on_relay_handle_closed);
}

static void relay_end(struct relay *r)
{
	if (r->done)
		return;
	r->done = true;
	relay_close_socket(r);
	uv_close((uv_handle_t *)&r->timer, on_relay_handle_closed);
}

static void relay_fail(struct relay *r)
{
	relay_reply(r, r->dns->out, dns_refuse(r->query, r->query_n, KNOT_RCODE_SERVFAIL, r->dns->out));
	relay_end(r);
}

static const union dns_address *asked(const struct relay *r)
{
	return &r->servers.list[(r->tries - 1) % r->servers.n];
}

/* This server did not answer: the next one, when there is time. */
static void relay_next(struct relay *r)
{
	if (r->done)
		return;
	silent_note(&r->dns->silent, asked(r), uv_now(&r->dns->loop));
	uv_timer_stop(&r->timer);
	if (r->tries >= TRIES_MAX) {
		relay_fail(r);
		return;
	}
	if (r->socket_open)
		relay_close_socket(r);
	else
		relay_try(r);
}

static void on_relay_timeout(uv_timer_t *t)
{
	relay_next(t->data);
}

/* true: it was the answer. */
static bool relay_answer(struct relay *r, uint8_t *bytes, size_t n)
{
	const uint8_t *ask = r->client ? r->ask_long + 2 : r->ask;
	struct dns_reply reply = { 0 };

	if (!dns_answers(ask, r->ask_n, bytes, n))
		return false;
	silent_forget(&r->dns->silent, asked(r));
	if (r->chase) {
		if (dns_answer(&r->dns->o.zone, r->query, r->query_n, r->client, bytes, n, r->dns->out, &reply) ==
			DNS_REPLY)
			relay_reply(r, r->dns->out, reply.n);
	} else {
		memcpy(bytes, r->query, 2); /* the client's id */
		relay_reply(r, bytes, n);
	}
	relay_end(r);
	return true;
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
	struct dns *d = h->loop->data;

	*b = uv_buf_init(d->in, sizeof(d->in));
}

static void on_relay_datagram(uv_udp_t *u, ssize_t n, const uv_buf_t *b, const struct sockaddr *from, unsigned flags)
{
	struct relay *r = u->data;

	if (n < 0)
		relay_next(r); /* refused: no need to wait */
	else if (n > 0 && !r->done)
		relay_answer(r, (uint8_t *)b->base, (size_t)n);
}

static int relay_try_udp(struct relay *r, const union dns_address *to)
{
	uv_buf_t b = uv_buf_init((char *)r->ask, (unsigned)r->ask_n);

	uv_udp_init(&r->dns->loop, &r->udp);
	r->udp.data = r;
	r->handles++;
	r->socket_open = true;
	/* A socket of its own for every question: an answer must match its port, id and name. */
	int rc = uv_udp_connect(&r->udp, &to->any);
	if (rc == 0)
		rc = uv_udp_recv_start(&r->udp, on_alloc, on_relay_datagram);
	if (rc == 0)
		rc = uv_udp_try_send(&r->udp, &b, 1, NULL);
	return rc < 0 ? rc : 0;
}

static void on_relay_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	struct relay *r = s->data;

	if (r->done)
		return;
	if (n < 0) {
		relay_next(r);
		return;
	}
	if (r->answer_n + (size_t)n > r->answer_cap) {
		r->answer_cap = MAX(r->answer_n + (size_t)n, (size_t)2048);
		r->answer = xrealloc(r->answer, r->answer_cap, 1);
	}
	memcpy(r->answer + r->answer_n, b->base, (size_t)n);
	r->answer_n += (size_t)n;
	if (r->answer_n < 2)
		return;
	size_t want = (size_t)r->answer[0] << 8 | r->answer[1];
	if (r->answer_n >= 2 + want && !relay_answer(r, r->answer + 2, want))
		relay_next(r);
	else if (r->answer_n > RECEIVE_MAX + 2)
		relay_next(r);
}

static void on_relay_written(uv_write_t *w, int status)
{
	struct relay *r = w->data;

	if (status < 0 && status != UV_ECANCELED)
		relay_next(r);
}

static void on_relay_connected(uv_connect_t *c, int status)
{
	struct relay *r = c->data;
	uv_buf_t b = uv_buf_init((char *)r->ask_long, (unsigned)r->ask_n + 2);

	if (r->done || status == UV_ECANCELED)
		return;
	r->write.data = r;
	if (status < 0 || uv_read_start((uv_stream_t *)&r->tcp, on_alloc, on_relay_read) < 0 ||
		uv_write(&r->write, (uv_stream_t *)&r->tcp, &b, 1, on_relay_written) < 0)
		relay_next(r);
}

static int relay_try_tcp(struct relay *r, const union dns_address *to)
{
	uv_tcp_init(&r->dns->loop, &r->tcp);
	r->tcp.data = r;
	r->connect.data = r;
	r->answer_n = 0;
	r->handles++;
	r->socket_open = true;
	return uv_tcp_connect(&r->connect, &r->tcp, &to->any, on_relay_connected);
}

static void relay_try(struct relay *r)
{
	struct dns *d = r->dns;

	if (r->done)
		return;
	if (r->servers.n == 0 || d->stopping) {
		relay_fail(r);
		return;
	}
	const union dns_address *to = &r->servers.list[r->tries++ % r->servers.n];
	int rc = r->client ? relay_try_tcp(r, to) : relay_try_udp(r, to);
	if (rc < 0)
		relay_next(r);
	else
		uv_timer_start(&r->timer, on_relay_timeout, TRY_MS, 0);
}

/* What we ask: the client's question with our id, or the name that an alias led to. */
static bool relay_question(struct relay *r, const struct dns_reply *alias)
{
	uint16_t id = (uint16_t)rand_u64();
	uint8_t *to = r->ask;

	if (r->client) {
		r->ask_long = xmalloc(2 + MAX(r->query_n, sizeof(r->ask)));
		to = r->ask_long + 2;
	} else if (r->query_n > sizeof(r->ask)) {
		return false;
	}
	if (r->chase) {
		r->ask_n = dns_question(alias->target, alias->type, id, to, sizeof(r->ask));
	} else {
		memcpy(to, r->query, r->query_n);
		memcpy(to, &id, 2);
		r->ask_n = r->query_n;
	}
	if (r->client) {
		r->ask_long[0] = (uint8_t)(r->ask_n >> 8);
		r->ask_long[1] = (uint8_t)r->ask_n;
	}
	return r->ask_n > 0;
}

static void relay_start(struct dns *d, struct listener *l, const union dns_address *from, struct client *c,
	const uint8_t *query, size_t n, const struct dns_reply *alias)
{
	struct relay *r = xcalloc(1, sizeof(*r));

	r->dns = d;
	r->listener = l;
	r->client = c;
	r->chase = alias;
	if (c)
		c->refs++;
	else
		r->from = *from;
	r->query = xmalloc(n);
	memcpy(r->query, query, n);
	r->query_n = n;
	r->next = d->relay_list;
	r->at = &d->relay_list;
	if (r->next)
		r->next->at = &r->next;
	d->relay_list = r;
	d->relays++;
	uv_timer_init(&d->loop, &r->timer);
	r->timer.data = r;
	r->handles = 1;
	if (alias)
		choose_servers(d, alias->target, sizeof(alias->target), &r->servers);
	else if (n > KNOT_WIRE_HEADER_SIZE)
		choose_servers(d, query + KNOT_WIRE_HEADER_SIZE, n - KNOT_WIRE_HEADER_SIZE, &r->servers);
	if (d->relays > RELAYS_MAX || !relay_question(r, alias))
		relay_fail(r);
	else
		relay_try(r);
}

/* ---- questions ------------------------------------------------------------------------------- */

static void on_question(struct dns *d, struct listener *l, const union dns_address *from, struct client *c,
	const uint8_t *query, size_t n)
{
	struct dns_reply reply = { 0 };

	switch (dns_answer(&d->o.zone, query, n, c, NULL, 0, d->out, &reply)) {
	case DNS_DROP:
		return;
	case DNS_REPLY:
		if (c)
			send_tcp(c, d->out, reply.n);
		else
			send_udp(l, from, d->out, reply.n);
		return;
	case DNS_FORWARD:
		relay_start(d, l, from, c, query, n, NULL);
		return;
	case DNS_CHASE:
		relay_start(d, l, from, c, query, n, &reply);
		return;
	}
}

static void on_datagram(uv_udp_t *u, ssize_t n, const uv_buf_t *b, const struct sockaddr *from, unsigned flags)
{
	struct listener *l = u->data;
	union dns_address a = { 0 };

	if (n <= 0 || !from || (flags & UV_UDP_PARTIAL))
		return;
	memcpy(&a, from, from->sa_family == AF_INET ? sizeof(a.v4) : sizeof(a.v6));
	on_question(l->dns, l, &a, NULL, (uint8_t *)b->base, (size_t)n);
}

static void on_client_idle(uv_timer_t *t)
{
	client_close(t->data);
}

static void on_client_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	struct client *c = s->data;
	size_t at = 0;

	if (n < 0) {
		client_close(c);
		return;
	}
	if (c->n + (size_t)n > c->cap) {
		c->cap = MAX(c->n + (size_t)n, (size_t)512);
		c->in = xrealloc(c->in, c->cap, 1);
	}
	memcpy(c->in + c->n, b->base, (size_t)n);
	c->n += (size_t)n;
	uv_timer_start(&c->idle, on_client_idle, IDLE_MS, 0);
	while (c->n - at >= 2 && !c->closed) {
		size_t len = (size_t)c->in[at] << 8 | c->in[at + 1];
		if (c->n - at - 2 < len)
			break;
		on_question(c->dns, NULL, NULL, c, c->in + at + 2, len);
		at += 2 + len;
	}
	memmove(c->in, c->in + at, c->n - at);
	c->n -= at;
}

static void on_connection(uv_stream_t *server, int status)
{
	struct dns *d = server->loop->data;
	struct client *c;

	if (status < 0)
		return;
	c = xcalloc(1, sizeof(*c));
	c->dns = d;
	c->next = d->client_list;
	c->at = &d->client_list;
	if (c->next)
		c->next->at = &c->next;
	d->client_list = c;
	d->clients++;
	uv_tcp_init(&d->loop, &c->tcp);
	uv_timer_init(&d->loop, &c->idle);
	c->tcp.data = c->idle.data = c;
	c->refs = 2;
	if (uv_accept(server, (uv_stream_t *)&c->tcp) < 0 || d->clients > CLIENTS_MAX ||
		uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_client_read) < 0) {
		client_close(c);
		return;
	}
	uv_timer_start(&c->idle, on_client_idle, IDLE_MS, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_stop(uv_async_t *a)
{
	struct dns *d = a->data;

	d->stopping = true;
	for (size_t i = 0; i < ARRAY_LEN(d->listeners); i++) {
		if (d->listeners[i].udp_open)
			uv_close((uv_handle_t *)&d->listeners[i].udp, NULL);
		if (d->listeners[i].tcp_open)
			uv_close((uv_handle_t *)&d->listeners[i].tcp, NULL);
	}
	for (struct client *c = d->client_list; c; c = c->next)
		client_close(c);
	for (struct relay *r = d->relay_list; r; r = r->next)
		relay_end(r);
	uv_close((uv_handle_t *)a, NULL);
}

static void run(void *arg)
{
	struct dns *d = arg;

	uv_run(&d->loop, UV_RUN_DEFAULT);
}

static int listen_failed(struct err *e, int rc, const char *proto, const char *ip, int port)
{
	if (rc == UV_EADDRINUSE)
		return err_set(e, ERR_UNAVAILABLE, "cluster DNS cannot listen on %s %s port %d: the port is taken",
			proto, ip, port);
	if (rc == UV_EACCES)
		return err_set(
			e, ERR_FORBIDDEN, "cluster DNS cannot listen on %s %s port %d: not allowed", proto, ip, port);
	return err_set(e, ERR_IO, "cluster DNS cannot listen on %s %s port %d: %s", proto, ip, port, uv_strerror(rc));
}

static int open_listener(struct dns *d, struct listener *l, struct ip ip, struct err *e)
{
	int port = d->o.port ? d->o.port : 53, rc;
	union dns_address a = { 0 };
	char text[IP_TEXT_MAX];

	ip_text(ip, text);
	if (uv_ip4_addr(text, port, &a.v4) != 0)
		uv_ip6_addr(text, port, &a.v6);
	l->dns = d;
	uv_udp_init(&d->loop, &l->udp);
	uv_tcp_init(&d->loop, &l->tcp);
	l->udp.data = l->tcp.data = l;
	l->udp_open = l->tcp_open = true;
	rc = uv_udp_bind(&l->udp, &a.any, 0);
	if (rc == 0)
		rc = uv_udp_recv_start(&l->udp, on_alloc, on_datagram);
	if (rc < 0)
		return listen_failed(e, rc, "UDP", text, port);
	rc = uv_tcp_bind(&l->tcp, &a.any, 0);
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&l->tcp, 64, on_connection);
	return rc < 0 ? listen_failed(e, rc, "TCP", text, port) : 0;
}

int dns_start(const struct dns_opts *o, struct dns **ret, struct err *e)
{
	struct dns *d = xcalloc(1, sizeof(*d));
	int rc = 0;

	d->o = *o;
	task_mutex_init(&d->lock);
	uv_loop_init(&d->loop);
	d->loop.data = d;
	uv_async_init(&d->loop, &d->stop, on_stop);
	d->stop.data = d;
	for (size_t i = 0; i < ARRAY_LEN(d->listeners) && rc == 0; i++) {
		if (o->zone.server[i].family)
			rc = open_listener(d, &d->listeners[i], o->zone.server[i], e);
	}
	if (rc == 0) {
		refresh_upstreams(d);
		if (d->upstreams.n == 0)
			log_warn("no upstream name server in the host's resolv.conf: names outside %.*s fail",
				STR_ARG(o->zone.domain));
		d->task = task_spawn("dns", run, d);
		*ret = d;
		return 0;
	}
	dns_stop(d);
	return rc;
}

struct dns *dns_stop(struct dns *d)
{
	if (!d)
		return NULL;
	uv_async_send(&d->stop);
	if (d->task)
		task_join(d->task);
	else
		uv_run(&d->loop, UV_RUN_DEFAULT);
	uv_loop_close(&d->loop);
	forward_free(d->forward);
	task_mutex_fini(&d->lock);
	free(d);
	return NULL;
}

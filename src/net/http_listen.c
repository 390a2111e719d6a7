/* Where connections come from: the listening socket, and how a server starts and stops. */
#include "net/net_internal.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>
#define LOG_MODULE "net"
#include "base/log.h"

#define ACCEPTS_A_TURN 64
#define FULL_PAUSE_MS 100
#define CROWD_PAUSE_MS 5
#define GRACE_MS 2000

void http_server_ref(struct http_server *s)
{
	atomic_fetch_add(&s->refs, 1);
}

void http_server_unref(struct http_server *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (size_t i = 0; i < s->o.n_loops; i++)
		loop_unref(s->loops[i]);
	task_mutex_fini(&s->lock);
	task_cond_fini(&s->changed);
	free(s->loops);
	shed_free(s);
	free(s->address);
	free(s);
}

void http_grown(struct http_server *s, struct conn *c)
{
	if (!c->young)
		return;
	c->young = false;
	atomic_fetch_sub(&s->young, 1);
}

void http_server_lost(struct http_server *s)
{
	task_lock(&s->lock);
	s->live--;
	task_broadcast(&s->changed);
	task_unlock(&s->lock);
	http_server_unref(s);
}

/* ---- from accept() to HTTP/1.1 or HTTP/2 ----------------------------------------------------- */

static void accepted_open(struct conn *c)
{
	struct http_server *s = c->arg;
	struct peer *was = c->peer;

	c->peer = peer_new(was ? was->address : "", c->ssl);
	peer_unref(was);
	if (c->ssl && conn_is_h2(c))
		http2_begin(c, s);
	else if (c->ssl)
		http1_begin(c, s);
}

/* Clear text: who knows that we speak HTTP/2 begins with its preface (RFC 9113, 3.3). */
static void accepted_input(struct conn *c, struct str bytes)
{
	struct http_server *s = c->arg;

	if (!bytes.n) {
		conn_close(c, NULL);
		return;
	}
	if (str_starts(bytes, STR("PRI * HTTP/2.0\r\n")))
		http2_begin(c, s);
	else
		http1_begin(c, s);
	c->ops->input(c, bytes);
}

static void accepted_fill(struct conn *c)
{
}

static void accepted_timeout(struct conn *c)
{
	conn_close(c, NULL);
}

static void accepted_gone(struct conn *c)
{
	http_grown(c->arg, c);
	http_server_lost(c->arg);
}

static const struct conn_ops accepted_ops = { .open = accepted_open,
	.input = accepted_input,
	.fill = accepted_fill,
	.timeout = accepted_timeout,
	.gone = accepted_gone };

struct http_server *http_server_of(const struct conn *c)
{
	if (c->ops == &http1_ops)
		return http1_server(c);
	if (c->ops == &http2_ops)
		return http2_server(c);
	return c->ops == &accepted_ops ? c->arg : NULL;
}

struct arrival {
	struct net_msg msg;
	struct net_loop *loop;
	struct http_server *server; /* ref, counted as live */
	int fd;
	char address[INET6_ADDRSTRLEN + 16];
};

static void arrival_run(struct net_msg *m)
{
	struct arrival *a = container_of(m, struct arrival, msg);
	struct http_server *s = a->server;

	if (a->loop->stopping) {
		close(a->fd);
		http_server_lost(s);
		free(a);
		return;
	}
	struct conn *c = conn_accept(a->loop, a->fd, s->o.tls, &accepted_ops, s);
	c->peer = peer_new(a->address, NULL);
	c->young = true;
	atomic_fetch_add(&s->young, 1);
	conn_deadline(c, s->o.header_ms);
	free(a);
}

static void address_text(const struct sockaddr_storage *sa, char *ret, size_t cap)
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;

	ret[0] = 0;
	if (sa->ss_family == AF_INET)
		inet_ntop(AF_INET, &v4->sin_addr, ret, (socklen_t)cap);
	else if (sa->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], ret, (socklen_t)cap);
	else if (sa->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &v6->sin6_addr, ret, (socklen_t)cap);
}

static bool at_the_brim(struct http_server *s)
{
	task_lock(&s->lock);
	bool yes = s->live >= s->o.connections_max + ACCEPTS_A_TURN;
	task_unlock(&s->lock);
	return yes;
}

static void hand_out(struct http_server *s, int fd, const struct sockaddr_storage *from)
{
	task_lock(&s->lock);
	bool full = s->live >= s->o.connections_max, refused = s->live >= s->o.connections_max + ACCEPTS_A_TURN;
	s->live += !refused;
	s->refused += refused;
	task_unlock(&s->lock);
	if (full)
		shed_crowd(s);
	if (refused) {
		close(fd);
		return;
	}
	struct arrival *a = xcalloc(1, sizeof(*a));
	socket_setup(fd);
	http_server_ref(s);
	*a = (struct arrival){ .msg.run = arrival_run, .server = s, .fd = fd };
	a->loop = s->loops[s->next_loop++ % s->o.n_loops];
	address_text(from, a->address, sizeof(a->address));
	loop_send(a->loop, &a->msg);
}

static void on_connection(uv_poll_t *h, int status, int events);

static void on_again(uv_timer_t *t)
{
	struct http_server *s = t->data;

	uv_poll_start(s->listen, UV_READABLE, on_connection);
}

static void pause_listening(struct http_server *s, uint64_t ms)
{
	uv_poll_stop(s->listen);
	uv_timer_start(s->again, on_again, ms, 0);
}

/* While room is being made, who comes waits in the kernel's queue; only when nobody has to go are they refused. */
static void on_connection(uv_poll_t *h, int status, int events)
{
	struct http_server *s = h->data;

	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		if (at_the_brim(s) && shed_makes_room(s)) {
			shed_crowd(s);
			pause_listening(s, CROWD_PAUSE_MS);
			return;
		}
		struct sockaddr_storage from = { 0 };
		socklen_t n = sizeof(from);
		int fd = accept4(s->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			hand_out(s, fd, &from);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			log_warn("port %d: cannot accept connections: %s", s->port, strerror(errno));
			pause_listening(s, FULL_PAUSE_MS);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

/* ---- starting -------------------------------------------------------------------------------- */

struct order {
	struct net_msg msg;
	struct net_loop *loop;
	struct http_server *server;
	bool now;
};

/* Sends an order to one loop and waits until it ran. */
static void tell(struct http_server *s, struct net_loop *l, void (*run)(struct net_msg *m), bool now)
{
	struct order o = { .msg.run = run, .loop = l, .server = s, .now = now };

	PRE(!loop_here(l));
	task_lock(&s->lock);
	s->told = 0;
	task_unlock(&s->lock);
	loop_send(l, &o.msg);
	task_lock(&s->lock);
	while (!s->told)
		task_wait(&s->changed, &s->lock);
	task_unlock(&s->lock);
}

static void done(struct http_server *s)
{
	task_lock(&s->lock);
	s->told = 1;
	task_broadcast(&s->changed);
	task_unlock(&s->lock);
}

static void start_run(struct net_msg *m)
{
	struct order *o = container_of(m, struct order, msg);
	struct http_server *s = o->server;

	s->listen = xcalloc(1, sizeof(*s->listen));
	s->again = xcalloc(1, sizeof(*s->again));
	uv_poll_init(&o->loop->uv, s->listen, s->fd);
	uv_timer_init(&o->loop->uv, s->again);
	s->listen->data = s->again->data = s;
	uv_poll_start(s->listen, UV_READABLE, on_connection);
	done(s);
}

static void shed_begin_run(struct net_msg *m)
{
	struct order *o = container_of(m, struct order, msg);

	shed_begin(o->server, o->loop);
	done(o->server);
}

static void shed_end_run(struct net_msg *m)
{
	struct order *o = container_of(m, struct order, msg);

	shed_end(o->server, o->loop);
	done(o->server);
}

static void on_closed_free(uv_handle_t *h)
{
	free(h);
}

static void stop_listening_run(struct net_msg *m)
{
	struct order *o = container_of(m, struct order, msg);
	struct http_server *s = o->server;

	if (!o->loop->stopping) {
		uv_close((uv_handle_t *)s->listen, on_closed_free);
		uv_close((uv_handle_t *)s->again, on_closed_free);
	} else { /* the loop closed them when it ended */
		free(s->listen);
		free(s->again);
	}
	close(s->fd);
	done(s);
}

static void leave_run(struct net_msg *m)
{
	struct order *o = container_of(m, struct order, msg);

	for (struct conn *c = o->loop->conns; c; c = c->next) {
		if (http_server_of(c) != o->server || c->gone)
			continue;
		c->leaving = true;
		if (o->now || c->ops == &accepted_ops)
			conn_close(c, NULL);
		else if (c->ops == &http1_ops)
			http1_shutdown(c);
		else
			http2_shutdown(c);
	}
	done(o->server);
}

static int listen_on(const struct http_server_opts *o, int *ret, struct err *e)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o->port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)o->port) };
	bool is4 = inet_pton(AF_INET, o->address, &v4.sin_addr) == 1;
	int one = 1, zero = 0;

	if (!is4 && inet_pton(AF_INET6, o->address, &v6.sin6_addr) != 1)
		return err_set(e, ERR_BAD_REQUEST, "\"%s\" is no IP address to listen on", o->address);
	int fd = socket(is4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, errno, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!is4)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	int r = is4 ? bind(fd, (struct sockaddr *)&v4, sizeof(v4)) : bind(fd, (struct sockaddr *)&v6, sizeof(v6));
	if (r < 0 || listen(fd, 1024) < 0) {
		int err = errno;

		close(fd);
		if (err == EADDRINUSE)
			return err_set(e, ERR_CONFLICT,
				"port %d of %s is taken by another program (ss -ltnp shows which)", o->port,
				o->address);
		return err_errno(e, err, "listen on port %d of %s", o->port, o->address);
	}
	*ret = fd;
	return 0;
}

static int port_of(int fd)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t n = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &n) < 0)
		return 0;
	if (sa.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&sa)->sin6_port);
	return ntohs(((struct sockaddr_in *)&sa)->sin_port);
}

static void set_defaults(struct http_server_opts *o)
{
	o->body_max = o->body_max ? o->body_max : (size_t)3 << 20;
	o->bodies_max = o->bodies_max ? o->bodies_max : (size_t)24 << 20;
	o->header_max = o->header_max ? o->header_max : (size_t)64 << 10;
	o->idle_ms = o->idle_ms ? o->idle_ms : 120000;
	o->header_ms = o->header_ms ? o->header_ms : 30000;
	o->connections_max = o->connections_max ? o->connections_max : 20000;
	o->unread_max = o->unread_max ? o->unread_max : (size_t)64 << 20;
}

int http_server_new(const struct http_server_opts *o, struct http_server **ret, struct err *e)
{
	int fd = o->fd;

	PRE(o->n_loops > 0);
	if (fd <= 0) {
		int r = listen_on(o, &fd, e);

		if (r < 0)
			return r;
	} else {
		socket_setup(fd);
	}
	struct http_server *s = xcalloc(1, sizeof(*s));
	s->o = *o;
	set_defaults(&s->o);
	s->arriving.max = s->o.bodies_max;
	s->unread.max = s->o.unread_max;
	s->fd = fd;
	s->port = port_of(fd);
	s->o.address = s->address = xstrdup(o->address ? o->address : "");
	s->o.loops = s->loops = xcalloc(o->n_loops, sizeof(*s->loops));
	for (size_t i = 0; i < o->n_loops; i++)
		s->loops[i] = loop_ref(o->loops[i]);
	atomic_store(&s->refs, 1);
	task_mutex_init(&s->lock);
	task_cond_init(&s->changed);
	shed_new(s);
	for (size_t i = 0; i < o->n_loops; i++)
		tell(s, s->loops[i], shed_begin_run, false);
	tell(s, s->loops[0], start_run, false);
	*ret = s;
	return 0;
}

int http_server_port(const struct http_server *s)
{
	return s->port;
}

static void wait_empty(struct http_server *s, struct mono until)
{
	task_lock(&s->lock);
	while (s->live && task_wait_until(&s->changed, &s->lock, until))
		;
	task_unlock(&s->lock);
}

struct http_server *http_server_free(struct http_server *s)
{
	if (!s)
		return NULL;
	tell(s, s->loops[0], stop_listening_run, false);
	for (size_t i = 0; i < s->o.n_loops; i++)
		tell(s, s->loops[i], leave_run, false);
	wait_empty(s, mono_add_ms(mono_now(), GRACE_MS));
	for (size_t i = 0; i < s->o.n_loops; i++)
		tell(s, s->loops[i], leave_run, true);
	wait_empty(s, MONO_NEVER);
	for (size_t i = 0; i < s->o.n_loops; i++)
		tell(s, s->loops[i], shed_end_run, false);
	http_server_unref(s);
	return NULL;
}

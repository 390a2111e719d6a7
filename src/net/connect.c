/* Connecting to a name: resolve, try one address after the other, TLS. */
#include "net/net_internal.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#define ADDRESSES_MAX 8
struct dial {
	struct net_msg msg;
	struct net_loop *loop; /* ref */
	struct dial_opts o;
	char *target, *server_name; /* own */
	struct sockaddr_storage to[ADDRESSES_MAX];
	socklen_t to_n[ADDRESSES_MAX];
	size_t n, i;
	uv_getaddrinfo_t req;
	char why[256];
};

static void dial_end(struct dial *d, struct conn *c)
{
	char why[400];

	snprintf(why, sizeof(why), "cannot connect to %s: %s", d->target, d->why);
	d->o.done(d->o.arg, c, c ? NULL : why);
	loop_unref(d->loop);
	free(d->target);
	free(d->server_name);
	free(d);
}

static void try_next(struct dial *d);

static void on_open(struct conn *c)
{
	conn_deadline(c, 0);
	dial_end(c->arg, c);
}

static void on_input(struct conn *c, struct str bytes)
{
}

static void on_fill(struct conn *c)
{
}

static void on_timeout(struct conn *c)
{
	conn_close(c, "no answer in time");
}

static void on_gone(struct conn *c)
{
	struct dial *d = c->arg;

	snprintf(d->why, sizeof(d->why), "%s", c->why ? c->why : "the other side hung up");
	try_next(d);
}

static const struct conn_ops dial_ops = {
	.open = on_open, .input = on_input, .fill = on_fill, .timeout = on_timeout, .gone = on_gone
};

/* True: under way. */
static bool try_one(struct dial *d, const struct sockaddr_storage *to, socklen_t to_n)
{
	struct err e;
	SSL *ssl = NULL;
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0) {
		snprintf(d->why, sizeof(d->why), "socket: %s", strerror(errno));
		return false;
	}
	socket_setup(fd);
	if (connect(fd, (const struct sockaddr *)to, to_n) < 0 && errno != EINPROGRESS) {
		snprintf(d->why, sizeof(d->why), "%s", strerror(errno));
		close(fd);
		return false;
	}
	err_init(&e);
	if (d->o.tls && !(ssl = tls_session(d->o.tls, d->server_name, d->o.h2, &e))) {
		snprintf(d->why, sizeof(d->why), "%.200s", e.message);
		close(fd);
		return false;
	}
	conn_deadline(conn_connect(d->loop, fd, ssl, &dial_ops, d), d->i < d->n ? d->o.ms / 2 + 1 : d->o.ms);
	return true;
}

static void try_next(struct dial *d)
{
	while (d->i < d->n && !d->loop->stopping) {
		size_t i = d->i++;

		if (try_one(d, &d->to[i], d->to_n[i]))
			return;
	}
	dial_end(d, NULL);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
	struct dial *d = req->data;

	if (status)
		snprintf(d->why, sizeof(d->why), "%s", uv_strerror(status));
	for (struct addrinfo *a = list; a && d->n < ADDRESSES_MAX; a = a->ai_next) {
		memcpy(&d->to[d->n], a->ai_addr, a->ai_addrlen);
		d->to_n[d->n++] = a->ai_addrlen;
	}
	uv_freeaddrinfo(list);
	try_next(d);
}

static bool add_unix(struct dial *d, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&d->to[0];

	if (strlen(path) >= sizeof(un->sun_path)) {
		snprintf(d->why, sizeof(d->why), "the path is too long for a socket");
		return false;
	}
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	d->to_n[0] = sizeof(*un);
	d->n = 1;
	return true;
}

static bool add_number(struct dial *d, const char *host, int port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&d->to[0];
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&d->to[0];

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		d->to_n[0] = sizeof(*v4);
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		d->to_n[0] = sizeof(*v6);
	} else {
		return false;
	}
	d->n = 1;
	return true;
}

/* "host:port", "[::1]:port" */
static bool split_port(const char *target, char *host, size_t cap, int *port)
{
	const char *colon = strrchr(target, ':');
	int64_t n;

	if (!colon || !str_i64(str_c(colon + 1), &n) || n < 1 || n > 65535)
		return false;
	struct str h = str_n(target, (size_t)(colon - target));
	if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		h = str_n(h.p + 1, h.n - 2);
	if (!h.n || h.n >= cap)
		return false;
	memcpy(host, h.p, h.n);
	host[h.n] = 0;
	*port = (int)n;
	return true;
}

static void dial_run(struct net_msg *m)
{
	struct dial *d = container_of(m, struct dial, msg);
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	char host[256], port_text[8];
	int port = 0;

	if (d->loop->stopping) {
		snprintf(d->why, sizeof(d->why), "shutting down");
	} else if (strncmp(d->target, "unix:", 5) == 0) {
		add_unix(d, d->target + 5);
	} else if (!split_port(d->target, host, sizeof(host), &port)) {
		snprintf(d->why, sizeof(d->why), "expected host:port or unix:/path");
	} else if (!add_number(d, host, port)) {
		snprintf(port_text, sizeof(port_text), "%u", (unsigned)port % 65536);
		d->req.data = d;
		int r = uv_getaddrinfo(&d->loop->uv, &d->req, on_resolved, host, port_text, &hints);
		if (r == 0)
			return;
		snprintf(d->why, sizeof(d->why), "%s", uv_strerror(r));
	}
	try_next(d);
}

void dial(struct net_loop *l, const struct dial_opts *o)
{
	struct dial *d = xcalloc(1, sizeof(*d));

	d->loop = loop_ref(l);
	d->o = *o;
	d->target = xstrdup(o->target);
	d->server_name = o->server_name ? xstrdup(o->server_name) : NULL;
	d->msg.run = dial_run;
	loop_send(l, &d->msg);
}

#include "node/probe_net.h"
#include "base/clock.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int left_ms(struct mono until)
{
	int64_t ms = mono_ms_between(mono_now(), until);

	return ms <= 0 ? 0 : (int)ms + 1;
}

static int dial(const char *host, int port, struct mono until, struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *list = NULL;
	struct linger drop = { .l_onoff = 1, .l_linger = 1 };
	char service[16];
	int fd, got, so = 0;
	socklen_t len = sizeof(so);

	(void)snprintf(service, sizeof(service), "%d", port);
	got = getaddrinfo(host, service, &hints, &list);
	if (got)
		return err_set(e, ERR_UNAVAILABLE, "%s: %s", host, gai_strerror(got));
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		freeaddrinfo(list);
		return err_errno(e, errno, "socket");
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &drop, sizeof(drop));
	got = connect(fd, list->ai_addr, list->ai_addrlen);
	freeaddrinfo(list);
	if (got < 0 && errno == EINPROGRESS) {
		struct pollfd pfd = { .fd = fd, .events = POLLOUT };
		if (poll(&pfd, 1, left_ms(until)) <= 0)
			so = ETIMEDOUT;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &so, &len) < 0)
			so = errno;
	} else if (got < 0) {
		so = errno;
	}
	if (so) {
		(void)close(fd);
		return err_errno(e, so, "connect to %s:%d", host, port);
	}
	return fd;
}

int probe_tcp(const char *host, int port, int64_t timeout_ms, struct err *e)
{
	int fd = dial(host, port, mono_add_ms(mono_now(), timeout_ms), e);

	if (fd < 0)
		return fd;
	(void)close(fd);
	return 0;
}

struct line { /* a socket, with or without TLS */
	int fd;
	SSL *ssl;
	struct mono until;
};

/* Waits after a call that returned n; false: give up. */
static bool again(struct line *l, ssize_t n, bool writing)
{
	struct pollfd pfd = { .fd = l->fd, .events = writing ? POLLOUT : POLLIN };

	if (l->ssl) {
		int why = SSL_get_error(l->ssl, (int)n);
		if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
			return false;
		pfd.events = why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
	} else if (errno != EAGAIN && errno != EINTR) {
		return false;
	}
	return poll(&pfd, 1, left_ms(l->until)) > 0;
}

static ssize_t line_io(struct line *l, void *p, size_t n, bool writing)
{
	for (;;) {
		ssize_t got;
		errno = 0;
		if (l->ssl)
			got = writing ? SSL_write(l->ssl, p, (int)n) : SSL_read(l->ssl, p, (int)n);
		else
			got = writing ? send(l->fd, p, n, MSG_NOSIGNAL) : recv(l->fd, p, n, 0);
		if (got > 0 || (got == 0 && !l->ssl))
			return got;
		if (!again(l, got, writing))
			return -1;
	}
}

static int ask(struct line *l, const struct probe_http *p, struct err *e)
{
	bool v6 = strchr(p->host, ':') != NULL;
	auto_free char *own = xasprintf("%s%s%s:%d", v6 ? "[" : "", p->host, v6 ? "]" : "", p->port);
	auto_free char *rq = xasprintf(
		"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\n%sConnection: close\r\n\r\n",
		p->path, p->host_header ? p->host_header : own, p->headers ? p->headers : "");
	size_t n = strlen(rq), have = 0;
	char answer[256];
	int status = 0;

	for (size_t off = 0; off < n;) {
		ssize_t w = line_io(l, rq + off, n - off, true);
		if (w <= 0)
			return err_set(e, ERR_UNAVAILABLE, "%s%s: the request cannot be sent", own, p->path);
		off += (size_t)w;
	}
	while (have < 12) {
		ssize_t r = line_io(l, answer + have, sizeof(answer) - 1 - have, false);
		if (r <= 0)
			return left_ms(l->until) ?
				err_set(e, ERR_UNAVAILABLE, "%s%s: the connection ended without an answer", own,
					p->path) :
				err_set(e, ERR_TIMEOUT, "%s%s: no answer in time", own, p->path);
		have += (size_t)r;
	}
	answer[have] = 0;
	if (strncmp(answer, "HTTP/1.", 7) != 0 || sscanf(answer + 8, "%d", &status) != 1) /* NOLINT(cert-err34-c) */
		return err_set(e, ERR_UNAVAILABLE, "%s%s: the answer is not HTTP", own, p->path);
	if (status < 200 || status >= 400)
		return err_set(e, ERR_UNAVAILABLE, "HTTP probe failed with statuscode: %d", status);
	return 0;
}

int probe_http(const struct probe_http *p, struct err *e)
{
	struct line l = { .until = mono_add_ms(mono_now(), p->timeout_ms) };
	SSL_CTX *ctx = NULL;
	int r = 0;

	l.fd = dial(p->host, p->port, l.until, e);
	if (l.fd < 0)
		return l.fd;
	if (p->tls) {
		ctx = SSL_CTX_new(TLS_client_method());
		l.ssl = ctx ? SSL_new(ctx) : NULL;
		if (!l.ssl || SSL_set_fd(l.ssl, l.fd) != 1)
			r = err_set(e, ERR_INTERNAL, "TLS cannot be set up");
		while (r == 0) {
			int got = SSL_connect(l.ssl);
			if (got == 1)
				break;
			if (!again(&l, got, false))
				r = err_set(e, ERR_UNAVAILABLE, "TLS handshake with %s:%d failed", p->host, p->port);
		}
	}
	if (r == 0)
		r = ask(&l, p, e);
	SSL_free(l.ssl);
	SSL_CTX_free(ctx);
	(void)close(l.fd);
	return r;
}

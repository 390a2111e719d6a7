#include "node/probe_net.h"
#include "base/clock.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <strings.h>
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

/* ---- HTTP ------------------------------------------------------------------------------------ */

#define REDIRECTS_MAX 10
#define ANSWER_MAX 8192 /* of headers that are read, where one of them matters */

/* Until the first line is there; of a redirect, until the headers are. */
static int read_answer(struct line *l, char answer[ANSWER_MAX], int *ret_status, const char *url, struct err *e)
{
	size_t have = 0;
	int status = 0;

	while (have < 12 || (status >= 300 && status < 400 && have < ANSWER_MAX - 1 && !strstr(answer, "\r\n\r\n"))) {
		ssize_t r = line_io(l, answer + have, ANSWER_MAX - 1 - have, false);
		if (r <= 0 && have >= 12)
			break;
		if (r <= 0)
			return left_ms(l->until) ?
				err_set(e, ERR_UNAVAILABLE, "%s: the connection ended without an answer", url) :
				err_set(e, ERR_TIMEOUT, "%s: no answer in time", url);
		have += (size_t)r;
		answer[have] = 0;
		if (have >= 12 &&
			(strncmp(answer, "HTTP/1.", 7) != 0 ||
				sscanf(answer + 8, "%d", &status) != 1)) /* NOLINT(cert-err34-c) */
			return err_set(e, ERR_UNAVAILABLE, "%s: the answer is not HTTP", url);
	}
	*ret_status = status;
	return 0;
}

static char *location_of(const char *answer)
{
	for (const char *s = answer; (s = strstr(s, "\r\n")) && s[2] != '\r';) {
		s += 2;
		if (strncasecmp(s, "location:", 9) == 0)
			return str_dup(str_trim(str_n(s + 9, strcspn(s + 9, "\r\n"))));
	}
	return NULL;
}

static int ask(struct line *l, const struct probe_http *p, int *ret_status, char **ret_location, struct err *e)
{
	bool v6 = strchr(p->host, ':') != NULL;
	auto_free char *own = xasprintf("%s%s%s:%d", v6 ? "[" : "", p->host, v6 ? "]" : "", p->port);
	auto_free char *url = xasprintf("%s%s", own, p->path);
	auto_free char *rq = xasprintf(
		"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\n%sConnection: close\r\n\r\n",
		p->path, p->host_header ? p->host_header : own, p->headers ? p->headers : "");
	char answer[ANSWER_MAX];
	size_t n = strlen(rq);
	int r;

	for (size_t off = 0; off < n;) {
		ssize_t w = line_io(l, rq + off, n - off, true);
		if (w <= 0)
			return err_set(e, ERR_UNAVAILABLE, "%s: the request cannot be sent", url);
		off += (size_t)w;
	}
	r = read_answer(l, answer, ret_status, url, e);
	if (r == 0 && *ret_status >= 300 && *ret_status < 400 && *ret_status != 304)
		*ret_location = location_of(answer);
	return r;
}

static int handshake(struct line *l, const struct probe_http *p, SSL_CTX *ctx, struct err *e)
{
	l->ssl = ctx ? SSL_new(ctx) : NULL;
	if (!l->ssl || SSL_set_fd(l->ssl, l->fd) != 1)
		return err_set(e, ERR_INTERNAL, "TLS cannot be set up");
	for (int got; (got = SSL_connect(l->ssl)) != 1;)
		if (!again(l, got, false))
			return err_set(e, ERR_UNAVAILABLE, "TLS handshake with %s:%d failed", p->host, p->port);
	return 0;
}

static int call(const struct probe_http *p, struct mono until, int *ret_status, char **ret_location, struct err *e)
{
	SSL_CTX *ctx = p->tls ? SSL_CTX_new(TLS_client_method()) : NULL;
	struct line l = { .fd = dial(p->host, p->port, until, e), .until = until };
	int r = MIN(l.fd, 0);

	if (r == 0 && p->tls)
		r = handshake(&l, p, ctx, e);
	if (r == 0)
		r = ask(&l, p, ret_status, ret_location, e);
	SSL_free(l.ssl);
	SSL_CTX_free(ctx);
	if (l.fd >= 0)
		(void)close(l.fd);
	return r;
}

static void set_path(struct probe_http *to, char *own, char **hold)
{
	free(*hold);
	*hold = own;
	to->path = own;
}

/* Where a redirect leads. The path is in *hold then. False: to another host, or nowhere that we understand. */
static bool follow(struct probe_http *to, const char *location, char **hold)
{
	struct str rest = str_c(location), authority, host, port;
	int64_t number;
	bool tls = str_starts(rest, STR("https://"));
	size_t skip = tls ? 8 : str_starts(rest, STR("http://")) ? 7 : str_starts(rest, STR("//")) ? 2 : 0;
	const char *slash = strrchr(to->path, '/');

	if (!skip) { /* a path, from the root or beside this one */
		set_path(to,
			location[0] == '/' ?
				xstrdup(location) :
				xasprintf("%.*s/%s", (int)(slash ? slash - to->path : 0), to->path, location),
			hold);
		return true;
	}
	to->tls = skip == 2 ? to->tls : tls;
	rest = str_sub(rest, skip, rest.n);
	authority = str_n(rest.p, strcspn(rest.p, "/?#"));
	host = authority;
	port = STR_NULL;
	if (authority.n && authority.p[0] == '[')
		port = str_cut(str_sub(authority, 1, authority.n), ']', &host);
	else
		port = str_cut(authority, ':', &host);
	if (!str_is(host, to->host))
		return false;
	port = port.n && port.p[0] == ':' ? str_sub(port, 1, port.n) : port;
	number = to->tls ? 443 : 80;
	if (port.n && (!str_i64(port, &number) || number < 1 || number > 65535))
		return false;
	rest = str_sub(rest, authority.n, rest.n);
	set_path(to, xasprintf("%s%.*s", rest.n && rest.p[0] == '/' ? "" : "/", STR_ARG(rest)), hold);
	to->port = (int)number;
	to->host_header = NULL;
	return true;
}

int probe_http(const struct probe_http *p, struct err *e)
{
	struct mono until = mono_add_ms(mono_now(), p->timeout_ms);
	struct probe_http now = *p;
	auto_free char *hold = NULL;

	for (int i = 0; i <= REDIRECTS_MAX; i++) {
		auto_free char *location = NULL;
		int status = 0, r = call(&now, until, &status, &location, e);

		if (r < 0)
			return r;
		if (status < 200 || status >= 400)
			return err_set(e, ERR_UNAVAILABLE, "HTTP probe failed with statuscode: %d", status);
		if (location && follow(&now, location, &hold))
			continue;
		if (status >= 300)
			err_set(e, ERR_UNAVAILABLE, "Probe terminated redirects at %s", location ? location : now.path);
		return status >= 300;
	}
	return err_set(e, ERR_UNAVAILABLE, "HTTP probe failed: stopped after %d redirects", REDIRECTS_MAX);
}

/* HTTP probes against a server of one thread that gives the next answer of a list to each connection. */
#include "base/test.h"

#include "base/task.h"
#include "node/probe_net.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct host {
	int fd, port;
	const char *const *answers; /* NULL ends them */
	char asked[16][128];        /* the request lines */
	int n;
};

static void serve(void *arg)
{
	struct host *h = arg;

	for (; h->answers[h->n]; h->n++) {
		int fd = accept(h->fd, NULL, NULL);
		char request[1024];
		ssize_t n = fd < 0 ? -1 : recv(fd, request, sizeof(request) - 1, 0);

		if (n <= 0)
			return;
		request[n] = 0;
		(void)snprintf(h->asked[h->n], sizeof(h->asked[0]), "%.*s", (int)strcspn(request, "\r"), request);
		assert_int_equal(send(fd, h->answers[h->n], strlen(h->answers[h->n]), 0), strlen(h->answers[h->n]));
		(void)close(fd);
	}
}

static void listen_on_loopback(struct host *h)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(h->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(h->fd, 16), 0);
	assert_int_equal(getsockname(h->fd, (struct sockaddr *)&at, &len), 0);
	h->port = ntohs(at.sin_port);
}

#define OK "HTTP/1.1 200 OK\r\n\r\n"
#define BAD "HTTP/1.1 500 Internal Server Error\r\n\r\n"
#define TO(where) "HTTP/1.1 302 Found\r\nServer: x\r\nLocation: " where "\r\n\r\n"

struct row {
	const char *what, *answers[14];
	int want;         /* 1: good, with a warning */
	const char *last; /* the last request */
};

static const struct row rows[] = {
	{ "good", { OK }, 0, "GET /a/b HTTP/1.1" },
	{ "bad", { BAD }, -1, "GET /a/b HTTP/1.1" },
	{ "a redirect on this host is followed", { TO("/c"), BAD }, -1, "GET /c HTTP/1.1" },
	{ "one beside this path", { TO("c?d=e"), OK }, 0, "GET /a/c?d=e HTTP/1.1" },
	{ "twice", { TO("/c"), TO("d"), BAD }, -1, "GET /d HTTP/1.1" },
	{ "one to another host is good enough", { TO("http://192.0.2.1/") }, 1, "GET /a/b HTTP/1.1" },
	{ "no location", { "HTTP/1.1 302 Found\r\n\r\n" }, 1, "GET /a/b HTTP/1.1" },
	{ "headers that end early", { "HTTP/1.1 302 Found\r\nLoca" }, 1, "GET /a/b HTTP/1.1" },
	{ "a port that is none", { TO("http://127.0.0.1:99999/") }, 1, "GET /a/b HTTP/1.1" },
	{ "not HTTP", { "hello, world\r\n" }, -1, "GET /a/b HTTP/1.1" },
	{ "a short answer", { "HTTP" }, -1, "GET /a/b HTTP/1.1" },
	{ "for ever",
		{ TO("/c"), TO("/c"), TO("/c"), TO("/c"), TO("/c"), TO("/c"), TO("/c"), TO("/c"), TO("/c"), TO("/c"),
			TO("/c") },
		-1, "GET /c HTTP/1.1" },
};

static void redirects(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct host h = { .answers = rows[i].answers };
		struct probe_http p = { .host = "127.0.0.1", .path = "/a/b", .timeout_ms = 20000 };
		struct task *t;
		struct err e;
		int r;

		err_init(&e);
		listen_on_loopback(&h);
		p.port = h.port;
		t = task_spawn("host", serve, &h);
		r = probe_http(&p, &e);
		(void)shutdown(h.fd, SHUT_RDWR);
		task_join(t);
		(void)close(h.fd);
		if (MAX(r, -1) != rows[i].want || strcmp(h.asked[h.n - 1], rows[i].last) != 0 || rows[i].answers[h.n])
			fail_msg("%s: %d %s, %d asked, last: %s", rows[i].what, r, r ? e.message : "", h.n,
				h.asked[h.n - 1]);
	}
}

/* An absolute one names the port it means. */
static void absolute_redirects(void **state)
{
	struct host h = { 0 };
	char answer[200];
	const char *answers[] = { answer, BAD, NULL };
	struct probe_http p = { .host = "127.0.0.1", .path = "/", .host_header = "web", .timeout_ms = 20000 };
	struct task *t;
	struct err e;

	err_init(&e);
	listen_on_loopback(&h);
	(void)snprintf(answer, sizeof(answer), TO("http://127.0.0.1:%d/there"), h.port);
	h.answers = answers;
	p.port = h.port;
	t = task_spawn("host", serve, &h);
	assert_int_equal(probe_http(&p, &e), -ERR_UNAVAILABLE);
	assert_string_equal(e.message, "HTTP probe failed with statuscode: 500");
	task_join(t);
	(void)close(h.fd);
	assert_string_equal(h.asked[1], "GET /there HTTP/1.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(redirects), cmocka_unit_test(absolute_redirects) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

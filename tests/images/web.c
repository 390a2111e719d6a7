/* A web server for tests: answers every GET with its version and the pod's name, and ends at once on SIGTERM, as many
 * real programs do. Listens on IPv6 and IPv4. usage: web [PORT]; VERSION comes from the environment. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void answer(int fd, const char *text)
{
	char request[4096], reply[512];
	ssize_t n = read(fd, request, sizeof(request));

	if (n > 0) {
		int len = snprintf(reply, sizeof(reply),
			"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
			strlen(text), text);

		if (write(fd, reply, (size_t)len) < 0)
			perror("write");
		shutdown(fd, SHUT_WR);
		while (read(fd, request, sizeof(request)) > 0) {
		}
	}
	close(fd);
}

static void end(int signal)
{
	(void)signal;
	_exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6,
		.sin6_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 8080)) };
	const char *version = getenv("VERSION"), *host = getenv("HOSTNAME");
	char text[256];
	int one = 1, listener = socket(AF_INET6, SOCK_STREAM, 0), zero = 0;

	signal(SIGTERM, end);
	signal(SIGPIPE, SIG_IGN);
	snprintf(text, sizeof(text), "%s from %s\n", version ? version : "v1", host ? host : "?");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 1024) < 0) {
		perror("listen");
		return 1;
	}
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0)
			answer(fd, text);
	}
}

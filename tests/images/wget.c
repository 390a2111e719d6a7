/* wget for the test images: Debian's static busybox crashes when it resolves a name without the C library's folders.
 * Linked dynamically, so that pods ask as most programs do: through the C library's resolver and /etc/resolv.conf.
 *
 * usage: wget [-qO-] [-T SECONDS] http://HOST[:PORT][/PATH]   prints the body; code 1 on any failure */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct url {
	char host[256], port[8], path[1024];
};

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "wget: %s: %s\n", what, why);
	return 1;
}

static int parse(const char *text, struct url *u)
{
	strcpy(u->port, "80");
	strcpy(u->path, "/");
	if (sscanf(text, "http://%255[^:/]:%7[0-9]%1023s", u->host, u->port, u->path) >= 2)
		return 0;
	return sscanf(text, "http://%255[^:/]%1023s", u->host, u->path) >= 1 ? 0 : -1;
}

static int dial(const struct addrinfo *list, int seconds)
{
	struct timeval limit = { .tv_sec = seconds };

	for (; list; list = list->ai_next) {
		int fd = socket(list->ai_family, list->ai_socktype, 0);

		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); /* also of connect() */
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		if (connect(fd, list->ai_addr, list->ai_addrlen) == 0)
			return fd;
		close(fd);
	}
	return -1;
}

static int fetch(int fd, const struct url *u)
{
	FILE *f = fdopen(fd, "r+");
	char line[4096];
	int code = 0, byte;

	dprintf(fd, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", u->path, u->host);
	if (!f || !fgets(line, sizeof(line), f) || sscanf(line, "HTTP/1.%*d %d", &code) != 1)
		return fail(u->host, "no answer");
	while (fgets(line, sizeof(line), f) && strcmp(line, "\r\n") != 0) {
	}
	while ((byte = getc(f)) != EOF)
		putchar(byte);
	return code == 200 ? 0 : fail(u->host, "the answer is not 200");
}

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	struct url u;
	int option, seconds = 10, failed, fd;

	while ((option = getopt(argc, argv, "qO:T:")) != -1)
		if (option == 'T')
			seconds = atoi(optarg);
	if (optind != argc - 1 || parse(argv[optind], &u) < 0)
		return fail("usage", "wget [-qO-] [-T SECONDS] http://HOST[:PORT][/PATH]");
	failed = getaddrinfo(u.host, u.port, &hints, &found);
	if (failed)
		return fail(u.host, gai_strerror(failed));
	fd = dial(found, seconds);
	return fd < 0 ? fail(u.host, "cannot connect") : fetch(fd, &u);
}

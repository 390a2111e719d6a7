/* Load for the rollout test: each client opens a new connection for every request and never retries. A request counts
 * as failed unless a whole answer with code 200 is there within LIMIT_MS: a busy machine may be slow to give it, what is
 * sent to a pod that is gone is never answered. Runs until stdin ends, then prints one line of JSON.
 *
 * usage: load ADDRESS PORT CLIENTS REQUESTS_PER_SECOND_EACH */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS 20000

static struct sockaddr_in to = { .sin_family = AF_INET };
static long pause_ns;
static atomic_bool ending;
static atomic_long good, refused, reset, timed_out, wrong;
static atomic_long slowest_ms;

static long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int wait_for(int fd, short what, long end)
{
	long left_ms = (end - now_ns()) / 1000000;
	struct pollfd p = { .fd = fd, .events = what };

	return left_ms > 0 && poll(&p, 1, (int)left_ms) == 1;
}

/* 0: a whole answer; else what went wrong, in errno's words */
static int request(int fd, long end)
{
	static const char question[] = "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
	char answer[2048], *body;
	size_t n = 0;
	socklen_t size = sizeof(int);
	int failed = 0;

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return errno;
	if (!wait_for(fd, POLLOUT, end))
		return ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) < 0 || failed)
		return failed ? failed : errno;
	if (send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) != sizeof(question) - 1)
		return errno;
	for (;;) {
		ssize_t got;

		if (!wait_for(fd, POLLIN, end))
			return ETIMEDOUT;
		got = recv(fd, answer + n, sizeof(answer) - 1 - n, 0);
		if (got < 0)
			return errno;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	answer[n] = 0;
	body = strstr(answer, "\r\n\r\n");
	return n && !strncmp(answer, "HTTP/1.1 200", 12) && body && body[4] ? 0 : EPROTO;
}

static void count(int failed, long ms)
{
	long most = slowest_ms;

	while (ms > most && !atomic_compare_exchange_weak(&slowest_ms, &most, ms))
		;
	switch (failed) {
	case 0:
		good++;
		break;
	case ECONNREFUSED:
		refused++;
		break;
	case ECONNRESET:
	case EPIPE:
		reset++;
		break;
	case ETIMEDOUT:
		timed_out++;
		break;
	default:
		wrong++;
	}
	if (failed)
		fprintf(stderr, "%ld.%03ld %s after %ld ms\n", (long)time(NULL), now_ns() / 1000000 % 1000,
			strerror(failed), ms);
}

static void *client(void *arg)
{
	long next = now_ns();

	(void)arg;
	while (!ending) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		long began = now_ns(), left;

		count(fd < 0 ? errno : request(fd, began + LIMIT_MS * 1000000L), (now_ns() - began) / 1000000);
		close(fd);
		next += pause_ns;
		left = next - now_ns();
		if (left > 0)
			nanosleep(
				&(struct timespec){ .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 }, NULL);
		else
			next = now_ns(); /* too slow: no burst to make up for it */
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[64];
	long began = now_ns();
	double seconds;
	int n;
	char byte;

	if (argc != 5 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || (n = atoi(argv[3])) < 1 || n > 64 ||
		atoi(argv[4]) < 1) {
		fprintf(stderr, "usage: load ADDRESS PORT CLIENTS REQUESTS_PER_SECOND_EACH\n");
		return 2;
	}
	to.sin_port = htons((unsigned short)atoi(argv[2]));
	pause_ns = 1000000000L / atoi(argv[4]);
	for (int i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, client, NULL);
	while (read(0, &byte, 1) > 0) {
	}
	ending = true;
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	seconds = (double)(now_ns() - began) / 1e9;
	printf("{\"good\":%ld,\"refused\":%ld,\"reset\":%ld,\"timeout\":%ld,\"wrong\":%ld,\"slowest_ms\":%ld,\"per_second\":%.1f}\n",
		good, refused, reset, timed_out, wrong, slowest_ms, (double)good / seconds);
	return 0;
}

/* Channels of port-forward, as the official clients for Python and JavaScript speak it: two for each port, data and
 * what went wrong, each of which begins with the port's number. Source: the comments and tests of kubelet's
 * pkg/kubelet/cri/streaming/portforward. */
#include "node/streams.h"
#include <stdio.h>

#define PORTS_MAX 32

struct forward {
	uint16_t ports[PORTS_MAX];
	size_t n;
};

static void open_stream(struct session *s, size_t channel, struct str type, int port, size_t request)
{
	char number[8], id[8];

	(void)snprintf(number, sizeof(number), "%d", port);
	(void)snprintf(id, sizeof(id), "%zu", request);
	struct http_header h[] = { { STR("streamtype"), type }, { STR("port"), str_c(number) },
		{ STR("requestid"), str_c(id) } };
	session_open(s, channel, h, ARRAY_LEN(h));
}

static void open_all(struct session *s)
{
	const struct forward *f = s->own;

	for (size_t i = 0; i < f->n; i++) {
		char port[2] = { (char)(f->ports[i] & 255), (char)(f->ports[i] >> 8) };

		session_to_client(s, 2 * i, str_n(port, 2));
		session_to_client(s, 2 * i + 1, str_n(port, 2));
		open_stream(s, 2 * i + 1, STR("error"), f->ports[i], i);
		open_stream(s, 2 * i, STR("data"), f->ports[i], i);
		session_to_runtime(s, 2 * i + 1, STR(""), true); /* nothing is said there */
	}
}

static void message(struct session *s, size_t channel, struct str bytes)
{
	if (channel % 2 == 0)
		session_to_runtime(s, channel, bytes, false);
}

static void finish_if_over(struct session *s)
{
	for (size_t i = 0; i < s->n_channels; i++)
		if (!s->channels[i].ended)
			return;
	session_finish(s);
}

static void data(struct session *s, size_t channel, struct str bytes)
{
	if (bytes.n)
		session_to_client(s, channel, bytes);
	finish_if_over(s);
}

static const struct speech forward_speech = { open_all, message, data, finish_if_over };

static int add_ports(struct forward *f, struct str list, struct err *e)
{
	for (struct str word; str_next(&list, ',', &word);) {
		int64_t port;

		if (!str_i64(word, &port) || port < 1 || port > 65535)
			return err_set(e, ERR_BAD_REQUEST, "\"%.*s\" is not a port: 1 to 65535", STR_ARG(word));
		if (f->n == PORTS_MAX)
			return err_set(e, ERR_BAD_REQUEST, "more than %d ports at once", PORTS_MAX);
		f->ports[f->n++] = (uint16_t)port;
	}
	return 0;
}

int forward_begin(struct session *s, struct str query, struct arena *a, struct err *e)
{
	static const char *const names[] = { "ports", "port" }; /* the API's name, and kubelet's */
	auto_free struct forward *f = xcalloc(1, sizeof(*f));

	for (size_t k = 0; k < ARRAY_LEN(names); k++) {
		char **lists;
		size_t n = query_all(query, names[k], a, &lists);

		for (size_t i = 0; i < n; i++)
			if (add_ports(f, str_c(lists[i]), e) < 0)
				return -e->code;
	}
	if (!f->n)
		return err_set(e, ERR_BAD_REQUEST, "query parameter \"ports\" is required");
	s->speaks = &forward_speech;
	s->n_channels = 2 * f->n;
	s->channels = xcalloc(s->n_channels, sizeof(*s->channels));
	s->own = TAKE(f);
	return 0;
}

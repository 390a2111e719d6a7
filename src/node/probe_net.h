/* The small network questions that probes ask: does a port answer, and with which HTTP status. They block the calling
 * task. */
#pragma once
#include "base/err.h"

struct probe_http {
	const char *host, *path, *host_header /* NULL: host:port */, *headers /* lines that end with CRLF */;
	int port;
	bool tls; /* the certificate is not checked, as in upstream's probes */
	int64_t timeout_ms;
};
/* 0: 200 … 299. 1: a redirect to where it does not go, another host, which is good enough; e says where to. Redirects on
 * the same host are followed. */
int probe_http(const struct probe_http *p, struct err *e);
int probe_tcp(const char *host, int port, int64_t timeout_ms, struct err *e);

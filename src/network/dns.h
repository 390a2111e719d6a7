/* The cluster's DNS server: UDP and TCP port 53 of the cluster DNS address, one thread. Answers the cluster's names
 * from memory and passes everything else to the host's own upstream servers. */
#pragma once
#include "base/err.h"
#include "network/answer.h"
#include <netinet/in.h>

struct dns_opts {
	struct dns_zone zone;    /* copied; what it points to is borrowed */
	int port;                /* 0: 53 */
	const char *resolv_conf; /* NULL: the first of the host's that names a server which is not on this machine */
	int upstream_port;       /* 0: 53 (tests) */
};
struct dns;
/* Binds zone.server[] at once, so that a taken port is an error here. */
int dns_start(const struct dns_opts *o, struct dns **ret, struct err *e);
struct dns *dns_stop(struct dns *d); /* ends the thread; NULL accepted, returns NULL */
AUTO(struct dns, dns_stop)

#define DNS_UPSTREAMS_MAX 3
union dns_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};
/* The name servers of a resolv.conf that are neither loopback nor one of ours. */
size_t dns_upstreams(
	struct str resolv_conf, const struct ip own[2], int port, union dns_address ret[DNS_UPSTREAMS_MAX]);

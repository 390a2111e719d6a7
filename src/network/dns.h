/* The cluster's DNS server: UDP and TCP port 53 of the cluster DNS address, one thread. Answers the cluster's names
 * from memory and passes everything else on: to the servers that forward.h tells of, else to the host's own. */
#pragma once
#include "base/err.h"
#include "network/answer.h"
#include "network/forward.h"

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
/* Questions from now on go where take_f says. NULL: all to the host's servers. Any thread. */
void dns_forward(struct dns *d, struct forward *take_f);

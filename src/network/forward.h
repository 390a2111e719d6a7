/* Whom cluster DNS asks for names outside: the ConfigMap kube-system/kube-dns, in the form that kube-dns gave it, over
 * the host's resolv.conf.
 *
 *     data:
 *       stubDomains: '{"corp.example": ["10.1.1.1", "10.1.1.2:5353"]}'   these and the names below them
 *       upstreamNameservers: '["192.0.2.53", "[2001:db8::53]:53"]'         all others; without: the host's
 *
 * Values without a clock or a socket. A struct forward does not change; any thread may read it. */
#pragma once
#include "base/err.h"
#include "doc/doc.h"
#include "network/addr.h"
#include <netinet/in.h>

#define DNS_UPSTREAMS_MAX 3
union dns_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};
struct dns_servers {
	union dns_address list[DNS_UPSTREAMS_MAX];
	size_t n;
};

struct forward;
/* data: of the ConfigMap. domain: the cluster's, which is no stub domain. own: our addresses, which would be a loop.
 * Own: forward_free(). Fails for what it cannot read, naming the key. */
int forward_parse(struct val data, struct str domain, const struct ip own[2], struct forward **ret, struct err *e);
struct forward *forward_free(struct forward *f); /* NULL accepted, returns NULL */
AUTO(struct forward, forward_free)
/* The servers for a name in wire format, at most n bytes. n 0 in *ret: the host's own. f may be NULL. */
void forward_find(const struct forward *f, const uint8_t *name, size_t n, struct dns_servers *ret);

/* The name servers of a resolv.conf that are neither loopback nor one of ours. */
size_t dns_upstreams(
	struct str resolv_conf, const struct ip own[2], int port, union dns_address ret[DNS_UPSTREAMS_MAX]);

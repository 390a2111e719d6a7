/* Ports of a machine's own addresses that its programs listen on. The node tells them in an annotation of its Node, so
 * that no Service of type LoadBalancer takes port 22 from sshd.
 *
 * Source of the format read: proc(5), /proc/net/tcp. Thread: any. */
#pragma once
#include "base/buf.h"
#include "base/str.h"

#define HOST_PORTS_NOTE "kogge.io/host-ports" /* of a Node: "22/TCP,68/UDP" */

/* Adds to out, as "22/TCP,68/UDP" in rising order, what listens now on every address or on one of `ips`. UDP ports that
 * the kernel gives to clients are left out. */
void hostports_listening(const char *const *ips, size_t n_ips, struct buf *out);
/* The same of the text of one of the kernel's files; proto: "TCP" or "UDP". Lines that make no sense are passed over.
 * Calls add for each, more than once where several sockets share a port. */
void hostports_parse(struct str text, const char *proto, int udp_below, const char *const *ips, size_t n_ips,
	void (*add)(void *arg, int port, const char *proto), void *arg);
bool hostports_has(struct str note, struct str proto, int64_t port);

/* Connection tracking of UDP outlives the rules: a client that keeps its port would go on sending to an endpoint that
 * is gone, or stay refused. So the entries of what changed are deleted. */
#pragma once
#include "base/err.h"
#include "network/ledger.h"

/* Its socket stays open: closing one of netfilter's waits for all that nftables has still to free. */
struct conntrack;
struct conntrack *conntrack_new(void);
struct conntrack *conntrack_free(struct conntrack *c);
AUTO(struct conntrack, conntrack_free)
/* Deletes UDP entries that the changes made stale: those of a frontend that were translated to an endpoint that left it, or
 * were made while it had no endpoints. The kernel lists the entries of those frontends only. Does nothing (and opens nothing) when no change concerns UDP. Fails: a netlink error. */
int conntrack_follow(struct conntrack *c, const struct change *changes, size_t n, struct err *e);

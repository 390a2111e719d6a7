/* Pod addresses of this node: one file per address in DIR, named like the address and naming its container.
 * Processes meet under a lock on DIR (two CNI calls run at once), and a crash between two steps leaves at worst a
 * file whose container is gone, which the next DEL or GC of that container removes. */
#pragma once
#include "base/err.h"
#include "network/addr.h"

struct ipam {
	int dir, lock; /* descriptors; 0: not open */
};
/* Makes DIR when it is missing and waits for the lock. */
int ipam_open(struct ipam *a, const char *dir, struct err *e);
void ipam_close(struct ipam *a);
/* The next free address of c after the one given last (so that an address is not used again at once). The first two
 * (network, gateway) and an IPv4 broadcast address are never given. Fails: ERR_FULL. */
int ipam_take(struct ipam *a, struct cidr c, const char *container, const char *ifname, struct ip *ret, struct err *e);
/* Gives back what the container holds (ifname NULL: on all links). Nothing held is fine. */
void ipam_release(struct ipam *a, const char *container, const char *ifname);
/* Addresses the container holds on ifname, at most n. */
size_t ipam_held(struct ipam *a, const char *container, const char *ifname, struct ip *ret, size_t n);
/* Releases everything for which keep() says no. */
void ipam_gc(struct ipam *a, bool (*keep)(void *arg, const char *container, const char *ifname), void *arg);

/* What an instance calls the global things it makes. The default instance ("" or "kogge") has the short names; every
 * other one carries four hex digits of its name's hash, because a link's name holds 15 bytes. */
#pragma once
#include "base/str.h"
#include <net/if.h>

struct names {
	char table[80];              /* nft table, family inet */
	char pod_links[8];           /* what the host ends of pods' links begin with: nft matches "kp-*" */
	char service_link[IFNAMSIZ]; /* holds the cluster DNS address and the route to the service addresses */
};
void names_of(struct str instance, struct names *ret);
/* The host end of a container's link: the same for the same container. */
void names_pod_link(const struct names *n, const char *container, const char *ifname, char ret[IFNAMSIZ]);

/* What the service proxy wants in the kernel, as values: elements of a fixed set of flat nft maps, and the pick chains
 * that they go to. Texts are in nft's own syntax, so that tests and `nft list` read the same.
 *
 * A frontend is how a connection names a service. Its kind decides the key and who sees it:
 *	c  destination address . protocol . port   everyone: cluster IPs, external IPs, load balancer IPs
 *	n  protocol . port, on any local address   everyone: node ports
 *	x  as c, y as n                            only who comes from outside the node (externalTrafficPolicy: Local)
 * svc_K says which pick chain chooses (`p` + kind + family + protocol + "-" + count), ep_K holds the endpoints by
 * number.
 * Maps whose value has a port exist once per protocol (ep_c4t, ep_c4u, ep_c4s) and leave it out of the key: nft 1.0.6
 * adds rules on such a map only when the port's type names its protocol. */
#pragma once
#include "base/arena.h"
#include "base/str.h"
#include "network/addr.h"

#define FRONTEND_KINDS "cnxy"
#define ELEMENT_MAPS(X)                                                                                          \
	X(SVC_C, "svc_c")                                                                                        \
	X(SVC_N, "svc_n")                                                                                        \
	X(SVC_X, "svc_x")                                                                                        \
	X(SVC_Y, "svc_y")                                                                                        \
	X(EP_C, "ep_c")                                                                                          \
	X(EP_N, "ep_n")                                                                                          \
	X(EP_X, "ep_x")                                                                                          \
	X(EP_Y, "ep_y")                                                                                          \
	X(NONE_C, "none_c") /* frontends without endpoints: refused or dropped */                                \
	X(NONE_N, "none_n")                                                                                      \
	X(HOST_C, "host_c") /* hostPorts on one address, on every local address */                               \
	X(HOST_N, "host_n")                                                                                      \
	X(HAIRPIN, "hairpin") /* address . address of local endpoints: a pod that reaches itself */              \
	X(REMOTE, "remote")   /* endpoints elsewhere that outside traffic may be sent to: masqueraded */         \
	X(GUARDED, "guarded") /* frontends with loadBalancerSourceRanges */                                      \
	X(ALLOWED, "allowed") /* those, each with a range that may use it */                                     \
	X(ISO_IN, "iso_in")   /* addresses that NetworkPolicies select: the chain that says what they accept, */ \
	X(ISO_OUT, "iso_out") /* what they may send */                                                           \
	X(PEER, "peer")       /* address . number of a policy's selector that its pod matches */                 \
	X(NAMED, "named")     /* address . protocol . port . number of the port's name */
enum element_map {
#define ELEMENT_ENUM(id, name) MAP_##id,
	ELEMENT_MAPS(ELEMENT_ENUM)
#undef ELEMENT_ENUM
		MAPS,
};
extern const char *const element_map_names[MAPS]; /* without the family digit */
/* One map per protocol. */
static inline bool map_is_split(unsigned map)
{
	return (map >= MAP_EP_C && map <= MAP_EP_Y) || map == MAP_HOST_C || map == MAP_HOST_N;
}
static inline bool map_has_endpoints(unsigned map)
{
	return map >= MAP_EP_C && map <= MAP_EP_Y;
}

struct element {
	uint8_t map, family; /* enum element_map; 4 or 6 */
	char proto;          /* 't', 'u', 's' of a split map, else 0 */
	struct str key, val; /* val empty: a set */
};
/* A chain that chooses one of n endpoints. affinity_s > 0: the same one for the same client for that long. */
struct pick {
	char kind, proto;
	uint8_t family;
	uint32_t n, affinity_s;
};
#define PICK_NAME_MAX 40
void pick_name(struct pick p, char ret[PICK_NAME_MAX]);

/* The endpoints of one frontend group in the order of their numbers, kept so that the next compilation moves as few as
 * possible. */
struct placed {
	struct str group;      /* "http/tcp/4/l" */
	struct str *endpoints; /* "10.244.0.5 . 8080" */
	size_t n;
};

struct compiled {
	struct element *elements;
	size_t n, cap;
	struct pick *picks;
	size_t n_picks, cap_picks;
	struct placed *placed;
	size_t n_placed, cap_placed;
};

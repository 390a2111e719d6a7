/* What the service proxy wants in the kernel, as values: elements of a fixed set of flat nft maps, and the pick chains
 * that they go to.
 *
 * A frontend is how a connection names a service. Its kind decides the key and who sees it:
 *	c  destination address . protocol . port   everyone: cluster IPs, external IPs, load balancer IPs
 *	n  protocol . port, on any local address   everyone: node ports
 *	x  as c, y as n                            only who comes from outside the node (externalTrafficPolicy: Local)
 * It is in the set of the pick chain that chooses one of its endpoints (`p` + kind + family + protocol + "-" + slots; set
 * and chain have one name), and ep_K holds the endpoints by number. That is no map of verdicts for a reason: whenever an
 * element leads to a chain, the kernel walks all chains of the table and all such elements.
 * Maps whose value has a port exist once per protocol (ep_c4t, ep_c4u, ep_c4s) and leave it out of the key: nft 1.0.6
 * adds rules on such a map only when the port's type names its protocol. */
#pragma once
#include "base/arena.h"
#include "base/str.h"
#include "network/addr.h"

#define FRONTEND_KINDS "cnxy"
/* Name without the family digit; fields of the key (a address, p protocol, d port, n number, r range of addresses);
 * what it gives. */
#define ELEMENT_MAPS(X)                                                                                              \
	X(SVC_C, "", "apd", PICK)                                                                                    \
	X(SVC_N, "", "pd", PICK)                                                                                     \
	X(SVC_X, "", "apd", PICK)                                                                                    \
	X(SVC_Y, "", "pd", PICK)                                                                                     \
	X(EP_C, "ep_c", "adn", ENDPOINT)                                                                             \
	X(EP_N, "ep_n", "dn", ENDPOINT)                                                                              \
	X(EP_X, "ep_x", "adn", ENDPOINT)                                                                             \
	X(EP_Y, "ep_y", "dn", ENDPOINT)                                                                              \
	X(DROP_C, "drop_c", "apd", NOTHING) /* frontends whose policy finds no endpoint */                           \
	X(DROP_N, "drop_n", "pd", NOTHING)                                                                           \
	X(DROP_X, "drop_x", "apd", NOTHING)                                                                          \
	X(DROP_Y, "drop_y", "pd", NOTHING)                                                                           \
	X(REFUSE_C, "refuse_c", "apd", NOTHING) /* frontends without any endpoint */                                 \
	X(REFUSE_N, "refuse_n", "pd", NOTHING)                                                                       \
	X(HOST_C, "host_c", "ad", ENDPOINT) /* hostPorts on one address, on every local address */                   \
	X(HOST_N, "host_n", "d", ENDPOINT)                                                                           \
	X(HAIRPIN, "hairpin", "aa", NOTHING)   /* a local endpoint's address, twice: a pod that reaches itself */    \
	X(REMOTE, "remote", "apd", NOTHING)    /* endpoints elsewhere that outside traffic may go to: masqueraded */ \
	X(EXTERNAL, "external", "a", NOTHING)  /* addresses of frontends outside the range of cluster IPs */         \
	X(GUARDED, "guarded", "apd", NOTHING)  /* frontends with loadBalancerSourceRanges */                         \
	X(ALLOWED, "allowed", "apdr", NOTHING) /* those, each with a range that may use it */                        \
	X(ISO_IN, "iso_in", "a", VERDICT)      /* addresses that NetworkPolicies select: the chain that says what */ \
	X(ISO_OUT, "iso_out", "a", VERDICT)    /* they accept, what they may send */                                 \
	X(PEER, "peer", "an", NOTHING)         /* address . number of a policy's selector that its pod matches */    \
	X(NAMED, "named", "apdn", NOTHING)     /* address . protocol . port . number of the port's name */
enum element_map {
#define ELEMENT_ENUM(id, name, key, gives) MAP_##id,
	ELEMENT_MAPS(ELEMENT_ENUM)
#undef ELEMENT_ENUM
		MAPS,
};
struct element_map_info {
	const char *name, *key;
	enum { GIVES_NOTHING, GIVES_VERDICT, GIVES_ENDPOINT, GIVES_PICK } gives;
};
extern const struct element_map_info element_maps[MAPS];
#define PROTOS "tus" /* TCP, UDP, SCTP: names of split maps end so */
static inline bool map_has_endpoints(unsigned map)
{
	return map >= MAP_EP_C && map <= MAP_EP_Y;
}

/* Key and value are as the kernel has them, so equal elements have equal bytes. Numbers are in this machine's order,
 * ports in the network's. A key with a range is two keys, the first and the last. */
struct element {
	uint8_t map, family; /* enum element_map; 4 or 6 */
	char proto;          /* one of PROTOS when the map gives endpoints: it is one map per protocol. Else 0 */
	struct str key;
	struct str val; /* an endpoint; the name of a pick or of the chain that a verdict goes to */
};
#define MAP_NAME_MAX 40
void element_map_name(const struct element *e, char ret[MAP_NAME_MAX]); /* "ep_c4t"; of a pick its name */
/* As nft writes it: "10.96.0.1 . 80 . 0 : 10.244.0.2 . 8080". For people and tests. */
struct str element_text(struct arena *a, const struct element *e);

/* A key or an endpoint, field after field. */
#define FIELDS_MAX 80 /* twice two IPv6 addresses, a protocol and a port */
struct fields {
	uint8_t n, bytes[FIELDS_MAX];
};
void fields_add_ip(struct fields *f, struct ip ip);
void fields_add_proto(struct fields *f, char proto);
void fields_add_port(struct fields *f, int port);
void fields_add_number(struct fields *f, uint32_t number);
/* The range ends a key: doubles what is there. */
void fields_add_range(struct fields *f, struct cidr range);
static inline struct str fields_view(const struct fields *f) /* borrowed */
{
	return str_n((const char *)f->bytes, f->n);
}
/* The same backwards: each takes the first field. Of bytes that were built so. */
struct ip fields_take_ip(struct str *fields, unsigned family);
char fields_take_proto(struct str *fields);
int fields_take_port(struct str *fields);

/* A chain that chooses one of up to `slots` endpoints, and of more than half as many: a power of two, so that few chains
 * do for all services, and the set of its frontends. affinity_s > 0: the same endpoint for the same client for that long;
 * then it is for exactly so many. */
struct pick {
	char kind, proto;
	uint8_t family;
	uint32_t slots, affinity_s;
};
uint32_t pick_slots(uint32_t n_endpoints, uint32_t affinity_s);
#define PICK_NAME_MAX MAP_NAME_MAX
void pick_name(struct pick p, char ret[PICK_NAME_MAX]);

/* The endpoints of one frontend group in the order of their numbers, kept so that the next compilation moves as few as
 * possible. */
struct placed {
	struct str group;      /* "http/t/4/l" */
	struct str *endpoints; /* values of elements */
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

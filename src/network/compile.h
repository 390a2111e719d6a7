/* From documents to elements: pure, no clock, no kernel. Everything lives in the arena. */
#pragma once
#include "doc/doc.h"
#include "network/elements.h"

struct compile_node {
	struct str name, zone; /* of this node; zone may be empty */
	struct ip dns[2];      /* cluster DNS listens on them itself: no service takes them over */
};
/* One service with its endpoint slices. before: the same service's last compilation (NULL: none). */
void compile_service(struct arena *a, const struct compile_node *node, struct val service, const struct val *slices,
	size_t n, const struct compiled *before, struct compiled *ret);
/* The hostPorts of one pod of this node. Nothing for a pod on the host network, without address, or that has ended. */
void compile_pod(struct arena *a, struct val pod, struct compiled *ret);
/* New order of `want` (n distinct texts): those of `before` keep their numbers, holes are filled by new ones, then by
 * the last ones. Returns an array of n in the arena. */
struct str *compile_place(struct arena *a, const struct str *before, size_t n_before, const struct str *want, size_t n);
void compiled_add(struct arena *a, struct compiled *c, enum element_map map, unsigned family, const struct fields *key,
	struct str val); /* copies the key, borrows the value */
/* Of a port of anything, one of PROTOS. */
char compile_proto(struct val port);

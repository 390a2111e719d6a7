/* What the two endpoint controllers share: which pods stand behind a service, and on which ports. */
#pragma once
#include "controllers/controllers_internal.h"

struct endpoint {
	struct doc *pod; /* held by the arena */
	struct str ip;
	bool ready, serving, terminating;
};
struct endpoint_list {
	struct endpoint *items;
	size_t n;
};
/* Pods that the service selects and that have an address of the family ("IPv4", "IPv6"), in name order. */
struct endpoint_list endpoints_of(struct ctl *c, struct arena *a, struct doc *service, const char *family);
/* The port of the pod that a service's port leads to; 0: the pod has none of that name. */
int64_t target_port(struct val service_port, const struct doc *pod);
/* Watches: the services that select a pod, before or after its change. */
void key_services_of_pod(struct ctl *c, struct doc *before, struct doc *after);
struct node *endpoint_target(struct arena *a, const struct doc *pod); /* targetRef */
bool service_has_endpoints(const struct doc *service);                /* it has a selector and is not an ExternalName */
/* hostname of a pod in a headless service's subdomain; empty: none */
struct str endpoint_hostname(const struct doc *service, const struct doc *pod);
/* The ports of a service as this pod has them, in the service's order; key tells pods with other ports apart. */
struct node *endpoint_ports(
	struct arena *a, const struct doc *service, const struct doc *pod, bool slice, struct str *key);
/* metadata.labels of what is derived from a service, with more. */
struct node *service_labels(struct arena *a, const struct doc *service);

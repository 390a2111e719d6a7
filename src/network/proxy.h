/* The service proxy: takes changed services, pods and policies, compiles them, and keeps the kernel's table equal to
 * the ledger. One thread calls proxy_run(); the questions may come from any thread.
 *
 * Keys of the queue: "s/namespace/name" a service, "p/namespace/name" a pod, PROXY_POLICIES all NetworkPolicies and
 * whom they select. */
#pragma once
#include "base/task.h"
#include "network/compile.h"
#include "network/nft.h"
#include "network/services.h"

#define PROXY_POLICIES STR("n")

struct informer;
struct proxy;
struct proxy_opts {
	struct services *services;              /* borrowed */
	struct informer *pods;                  /* borrowed; of this node */
	struct informer *policies, *namespaces; /* borrowed; NULL without policies */
	struct compile_node node;               /* copied; strings are borrowed */
	struct nft_opts nft;                    /* likewise */
};
int proxy_new(const struct proxy_opts *o, struct proxy **ret, struct err *e);
struct proxy *proxy_free(struct proxy *p); /* the kernel's table stays */
AUTO(struct proxy, proxy_free)
/* An empty table, when there is none yet: pods reach the world before the API was listed. */
int proxy_begin(struct proxy *p, struct err *e);
/* Serves changes until services_wake() and *stop. The first round replaces a table that another process left. */
void proxy_run(struct proxy *p, struct stop *stop);
bool proxy_wait_ready(struct proxy *p, struct mono until);
/* Does a service in the kernel send connections to this address? false: the time came first. */
bool proxy_wait_absent(struct proxy *p, struct ip ip, struct mono until);
/* Waits until what NetworkPolicies say of this pod at these addresses is in the kernel. The informers need not know
 * them yet. */
bool proxy_wait_pod(struct proxy *p, struct doc *pod, const struct ip *ips, size_t n, struct mono until);
void proxy_pod_gone(struct proxy *p, struct doc *pod); /* the API has deleted it */

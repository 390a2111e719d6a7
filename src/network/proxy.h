/* The service proxy: takes changed services, compiles them, and keeps the kernel's table equal to the ledger. One thread
 * calls proxy_run(); the questions about endpoints may come from any thread. */
#pragma once
#include "base/task.h"
#include "network/compile.h"
#include "network/nft.h"
#include "network/services.h"

struct informer;
struct proxy;
struct proxy_opts {
	struct services *services; /* borrowed */
	struct informer *pods;	   /* borrowed; of this node */
	struct compile_node node;  /* copied; strings are borrowed */
	struct nft_opts nft;	   /* likewise */
};
int proxy_new(const struct proxy_opts *o, struct proxy **ret, struct err *e);
struct proxy *proxy_free(struct proxy *p); /* the kernel's table stays */
AUTO(struct proxy, proxy_free)
/* An empty table, when there is none yet: pods reach the world before the API was listed. */
int proxy_begin(struct proxy *p, struct err *e);
/* Serves changes until services_wake() and *stop. The first round replaces the table as a whole. */
void proxy_run(struct proxy *p, struct stop *stop);
bool proxy_wait_ready(struct proxy *p, struct mono until);
/* Does a service in the kernel send connections to this address? false: the time came first. */
bool proxy_wait_absent(struct proxy *p, struct ip ip, struct mono until);

/* Elements into the kernel's sets, in one nftables transaction of netlink messages of our own: libnftables takes twice
 * as long to read their text as the kernel takes to have them. Everything else of the table is nft.h's. */
#pragma once
#include "base/err.h"
#include "network/ledger.h"

struct mnl_socket;
/* Own: mnl_socket_close(). */
int transaction_socket(struct mnl_socket **ret, struct err *e);
/* All or nothing, deletions first. Fails for what the kernel refuses, naming the element. */
int transaction_apply(struct mnl_socket *nl, const char *table, const struct change *changes, size_t n, struct err *e);

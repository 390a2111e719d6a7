/* The instance's nft table: chains and rules as text (ruleset.h) for libnftables, elements by transaction.h. Elements
 * are added and removed one by one; nothing is ever listed. One thread. */
#pragma once
#include "base/err.h"
#include "network/ledger.h"
#include "network/ruleset.h"

struct nft;
int nft_new(const struct nft_opts *o, struct nft **ret, struct err *e); /* copies o; its strings are borrowed */
struct nft *nft_free(struct nft *n);                                    /* the kernel's state stays */
AUTO(struct nft, nft_free)
/* Makes sure that the pick chains exist from the next transaction on. */
void nft_need_picks(struct nft *n, const struct pick *picks, size_t n_picks);
/* The same for a chain of a NetworkPolicy: rules one a line. It goes with the next transaction after which nothing uses
 * it. */
void nft_need_chain(struct nft *n, const char *name, const char *rules);
void nft_drop_chain(struct nft *n, const char *name);
/* New chains, then the changes in one transaction, then chains that go. After a failure only nft_rebuild() is sure to be
 * right. */
int nft_apply(struct nft *n, const struct change *changes, size_t n_changes, struct err *e);
/* Makes another table with exactly these elements, asleep until one transaction awakes it and removes the old one:
 * packets see the old or the new one, and a failure leaves the old one. The two have two names in turn, "kogge" and
 * "kogge.2". */
int nft_rebuild(struct nft *n, const struct change *all, size_t n_changes, struct err *e);
/* Lets go of what only text needs, a megabyte. For a pause: it waits for all that the kernel has still to free, which
 * takes some 20 ms soon after a transaction. */
void nft_rest(struct nft *n);
/* false: somebody flushed our table. Cheap (one netlink message). */
bool nft_present(struct nft *n);
int nft_purge(const char *table, struct err *e); /* removes the table under both names; none is fine */

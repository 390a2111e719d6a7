/* The instance's nft table: its text (pure) and the one libnftables context that applies it. Elements are added and
 * removed one by one; nothing is ever listed. One thread. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "network/elements.h"
#include "network/ledger.h"

struct nft_opts {
	const char *table;                            /* "kogge" */
	const char *pod_links;                        /* "kp-": begin of the names of pods' links */
	struct cidr pods[2], cluster[2], services[2]; /* family 0: none */
	bool no_proxy;                                /* only what pods need to reach the world */
};

/* The whole table without elements, replacing one of that name: "add table; delete table; table … { … }". */
void nft_table_text(struct buf *out, const struct nft_opts *o);
/* The chain (and the sets and chains it needs) that chooses one of n endpoints. */
void nft_pick_text(struct buf *out, const struct nft_opts *o, struct pick p);
void nft_chain_text(struct buf *out, const struct nft_opts *o, const char *name, const char *rules);
void nft_changes_text(struct buf *out, const struct nft_opts *o, const struct change *changes, size_t n);

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
/* One transaction: all or nothing. */
int nft_apply(struct nft *n, const struct change *changes, size_t n_changes, struct err *e);
/* One transaction that replaces the table by one with exactly these elements; packets see the old or the new one. */
int nft_rebuild(struct nft *n, const struct change *all, size_t n_changes, struct err *e);
/* false: somebody flushed our table. Cheap (one netlink message). */
bool nft_present(struct nft *n);
int nft_purge(const char *table, struct err *e); /* removes the table; none is fine */

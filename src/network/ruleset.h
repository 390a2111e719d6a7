/* What the instance's nft table consists of but for its elements, as text for libnftables: sets, maps, chains, rules.
 * Debian 12's nft 1.0.6 has to read it, and to read again what it lists of it: people keep `nft list ruleset` for their
 * next boot. Pure. */
#pragma once
#include "base/buf.h"
#include "network/elements.h"

struct nft_opts {
	const char *table;                            /* "kogge"; see nft_rebuild() */
	const char *pod_links;                        /* "kp-": begin of the names of pods' links */
	struct cidr pods[2], cluster[2], services[2]; /* family 0: none */
	bool no_proxy;                                /* only what pods need to reach the world */
};

/* The table without elements, asleep (its base chains see no packet), replacing one of that name. */
void ruleset_table(struct buf *out, const struct nft_opts *o);
/* The set of a pick's frontends, the chain (and the sets and chains it needs) that chooses one of their endpoints, and
 * the rule that leads there. */
void ruleset_pick(struct buf *out, const struct nft_opts *o, struct pick p);
/* A chain of a NetworkPolicy: rules one a line. */
void ruleset_chain(struct buf *out, const struct nft_opts *o, const char *name, const char *rules);

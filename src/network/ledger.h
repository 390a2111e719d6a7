/* Who wants which element, and what the kernel has: the difference between the two is the next transaction.
 *
 * Owners ("s/default/web", "p/default/web-0") claim elements. The same element may have several claims: of a set it is
 * there while one remains; of a map the oldest claim's value counts, and the next one takes over when it goes.
 * Pure: no kernel, no lock; belongs to the proxy's thread. */
#pragma once
#include "network/elements.h"

struct ledger;
struct ledger *ledger_new(void);
struct ledger *ledger_free(struct ledger *l);
AUTO(struct ledger, ledger_free)

/* The owner's claims are exactly these from now on (n 0: none). Copies what it keeps. */
void ledger_set(struct ledger *l, struct str owner, const struct element *elements, size_t n);

struct change {
	enum { CHANGE_DELETE, CHANGE_ADD } op;
	struct element e; /* borrowed from the arena */
};
/* What to do since the last call, in an order that one transaction can carry out: all deletions, then all additions. A
 * changed value is a deletion and an addition. Calling it means "this is applied now". */
size_t ledger_changes(struct ledger *l, struct arena *a, struct change **ret);
/* The kernel's state is unknown or empty: the next ledger_changes() adds everything. */
void ledger_forget(struct ledger *l);
size_t ledger_len(const struct ledger *l); /* elements that are wanted */

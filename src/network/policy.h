/* NetworkPolicies as values: which of them select a pod, and what that means in the kernel. Pure: no clock, no kernel,
 * no lock;
 * belongs to the proxy's thread.
 *
 * A pod that is selected goes by its address (maps iso_in, iso_out) to a chain with the rules of all policies that
 * select it; pods with the same policies share one. Whatever these rules say of other pods is a fact of those pods:
 * peer holds (address, selector) and named (address, port, name of the port), where selectors and names are numbers. So
 * a pod that comes or goes is a few elements, whoever speaks of it, and only a changed policy makes a new chain. */
#pragma once
#include "network/compile.h"

struct policies;
struct policies *policies_new(void);
struct policies *policies_free(struct policies *p);
AUTO(struct policies, policies_free)

/* These are all policies from now on, ordered by namespace and name; references are taken. What was compiled before is
 * out of date:
 * compile every pod again. */
void policies_set(struct policies *p, struct doc **list, size_t n);

/* Adds what one pod at these addresses means to *ret. The chains that it goes to are kept under `owner` until it is
 * compiled again without them or policies_forget(). A pod on the host's network, or one that has ended, means
 * nothing. */
void policies_compile(struct policies *p, struct arena *a, struct str owner, struct val pod, const struct ip *ips,
	size_t n_ips, struct val ns_labels, struct compiled *ret);
void policies_forget(struct policies *p, struct str owner);

/* Chains that came into use and that nobody uses any more since the last call. Names are never used twice. Borrowed
 * until the next call of anything here. rules: one a line. */
struct policy_chain {
	const char *name, *rules;
};
size_t policies_new_chains(struct policies *p, struct arena *a, struct policy_chain **ret);
size_t policies_old_chains(struct policies *p, struct arena *a, const char *const **ret);

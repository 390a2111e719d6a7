/* Rules of other programs on this machine that drop what pods send or get: Docker's, ufw's, firewalld's, somebody's own.
 * A packet passes only if every base chain accepts it, so no rule of ours can help; theirs can be found and named, and
 * where such a program has a chain for others (Docker's DOCKER-USER), we add to it.
 *
 * A chain is said to drop pods' packets when its policy or its last rule drops and no rule that it leads to names pods'
 * links or addresses. A chain without a policy that drops is not followed further: a drop behind its jumps is overlooked. One thread: libnftables. */
#pragma once
#include "base/err.h"
#include "doc/doc.h"
#include "network/addr.h"

struct firewalls {
	const char *pod_links; /* "kp-" */
	struct cidr pods[2];   /* family 0: none */
};

/* Pure: the answer of `nft -j list table` for one table. each gets a sentence with what to do; a table of Docker's with a
 * chain for us is given to docker (may be NULL) in place of that. */
void firewalls_judge(const struct firewalls *f, struct val table, void (*each)(void *arg, const char *what),
	void (*docker)(void *arg, const char *family), void *arg);
/* Looks at the kernel's tables but Kogge's own. mend: adds to DOCKER-USER, and says so by each. Fails when nft cannot list. */
int firewalls_look(
	const struct firewalls *f, bool mend, void (*each)(void *arg, const char *what), void *arg, struct err *e);
/* Takes what was added to DOCKER-USER away. */
void firewalls_purge(const char *pod_links);

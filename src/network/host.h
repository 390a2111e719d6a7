/* What the network needs of the machine: sysctls (remembered, so that purge can put them back) and the service link. */
#pragma once
#include "network/link.h"
#include "network/names.h"

/* Sets net.PATH (with slashes) and notes the old value in DIR/sysctls when it was another. false: refused. */
bool host_sysctl(const char *dir, const char *path, const char *value);
/* Puts back what the notes say and removes them. */
void host_sysctls_restore(const char *dir);
/* The link that holds the cluster DNS addresses and the route to service addresses. Without that route a machine that
 * has no default route could not even begin to talk to a service. from: the node's own addresses, by family. */
int host_service_link(const struct names *names, const struct ip dns[2], const struct cidr services[2],
	const struct ip *from, size_t n_from, struct err *e);
/* Deletes every link of the instance; none is fine. */
int host_links_purge(const struct names *names, struct err *e);
/* Removes DIR with the files that network/ keeps there; what it does not know stays (and DIR with it). */
int host_files_purge(const char *dir, struct err *e);

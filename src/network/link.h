/* Links, addresses and routes over one rtnetlink socket. The socket stays in the network namespace where it was opened,
 * whatever the thread does later. One thread at a time. Every failure names the object and what was tried. */
#pragma once
#include "base/err.h"
#include "network/addr.h"
#include <net/if.h>

struct mnl_socket;
struct rtnl {
	struct mnl_socket *nl;
	unsigned seq, port;
};
int rtnl_open(struct rtnl *r, struct err *e);
void rtnl_close(struct rtnl *r); /* an unopened (zeroed) one is fine */

struct link {
	int index;
	unsigned mtu, flags; /* IFF_UP … */
	char name[IFNAMSIZ];
	uint8_t mac[6];
};
int rtnl_link(struct rtnl *r, const char *name, struct link *ret, struct err *e); /* ERR_NOT_FOUND */
/* Visits every link of the namespace. */
int rtnl_links(struct rtnl *r, void (*each)(void *arg, const struct link *l), void *arg, struct err *e);
int rtnl_add(struct rtnl *r, const char *name, const char *kind, struct err *e); /* "dummy", "bridge"; ERR_EXISTS */
/* A pair: `name` here, `peer` in the namespace behind netns_fd. ERR_EXISTS. */
int rtnl_add_veth(struct rtnl *r, const char *name, const char *peer, int netns_fd, unsigned mtu, struct err *e);
int rtnl_del(struct rtnl *r, const char *name, struct err *e); /* ERR_NOT_FOUND */
int rtnl_up(struct rtnl *r, int index, struct err *e);
int rtnl_address(struct rtnl *r, int index, struct cidr c, struct err *e); /* already there is fine; no DAD */
struct route {
	struct cidr to; /* bits 0: default */
	struct ip via;  /* family 0: on link */
	struct ip from; /* preferred source; family 0: none */
	int index;
	bool link_scope;
};
int rtnl_route(struct rtnl *r, struct route t, struct err *e); /* replaces one to the same prefix */
bool rtnl_has_address(struct rtnl *r, int index, struct ip a);
/* The MTU of the link that the default route uses, 1500 when there is none. */
unsigned rtnl_uplink_mtu(struct rtnl *r);
/* Writes /proc/sys/net/… of the thread's namespace. Best effort: false when refused. */
bool sysctl_write(const char *value, const char *path_fmt, ...) PRINTF(2, 3);
bool sysctl_read(char *ret, size_t n, const char *path_fmt, ...) PRINTF(3, 4);

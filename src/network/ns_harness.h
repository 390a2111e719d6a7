/* Tests on a real kernel: a node with its pods and one client outside, all in network namespaces that the test makes.
 *
 *	client 192.0.2.20 ── veth ── node 192.0.2.10 ── kp-… ── pods 10.77.0.x
 *
 * Every server answers "NAME CLIENT-ADDRESS". */
#pragma once
#include "doc/doc_fixture.h"
#include "network/addr.h"
#include <sys/types.h>

#define PODS_MAX 8
#define REFUSED "refused"
#define SILENCE "no answer"

struct pod {
	pid_t holder; /* keeps the namespace */
	pid_t servers[2];
	char netns[64], id[16], ip[IP_TEXT_MAX];
};
extern int node_ns, ns_client; /* descriptors of namespaces */
extern char data_dir[];
extern pid_t client_holder;

int ns_set_up(void **state); /* the test itself is in the node's namespace afterwards */
int ns_tear_down(void **state);
int netns_of(pid_t pid);
pid_t child(void); /* fork() that dies with the test */
pid_t hold_netns(void);
pid_t start_server(int netns, const char *who, int port, bool udp);
/* What run() says in a process of its own in that namespace; borrowed until the next call. */
const char *run_in(int netns, void (*run)(void *arg, char *ret, size_t max), void *arg);
/* What a client in that namespace hears; borrowed until the next call. */
const char *ask_from(int netns, const char *ip, int port, int from_port, bool udp);
const char *ask(int netns, const char *ip, int port);
const char *ask_udp(int netns, const char *ip, int port);
/* One CNI call as containerd makes it; its stdout. */
char *cni(const char *command, const char *id, const char *netns, const char *config, int *ret_status);
const char *config_text(const char *version, const char *type);
struct pod *new_pod(void); /* with servers on TCP 8080 and UDP 5353 */

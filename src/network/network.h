/* The node's network: pod links and addresses (as a CNI plugin), services (nftables) and cluster DNS.
 *
 *     containerd ── CNI (stdin, environment) ──► network_cni_main() ──► link + address of one pod
 *     API ── informers ──► services × endpoint slices, policies × pods ──► nft elements, conntrack     (one thread)
 *                                                    └──► names ◄── DNS questions     (one thread)
 *
 * Pods are joined to the host by one routed link each (/32 or /128, no bridge): every packet of a pod passes the host's
 * routing and connection tracking, so a service works between two pods of one node without br_netfilter.
 *
 * Everything made on the machine carries the instance's name: nft table "kogge" (or kogge-NAME-HASH), links "kp-*"
 * (pods) and "kogge-svc" (DNS address, route to service addresses), files below data_dir. network_purge() takes all of
 * it away.
 * Needs root (CAP_NET_ADMIN). Thread: everything here may be called from any thread. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/util.h"

struct client;
struct doc;
struct informer;
struct network;

#define NETWORK_IPS_MAX 4
#define NETWORK_CIDRS_MAX 2

struct network_opts {
	struct client *client; /* borrowed, outlives the network */
	/* Borrowed, started after network_new() and stopped before network_free(): the node's pods (for hostPorts and
	 * policies), and all Services. */
	struct informer *pods, *services;
	const char *instance; /* NULL or "kogge": the default one */
	const char *node_name;
	const char *node_ips[NETWORK_IPS_MAX]; /* NULL-terminated when shorter; the first is the node's own address */
	const char *pod_cidrs[NETWORK_CIDRS_MAX];     /* of this node: "10.244.0.0/24", and/or IPv6 */
	const char *cluster_cidrs[NETWORK_CIDRS_MAX]; /* of all pods; NULL: the same as pod_cidrs */
	const char *service_cidrs[NETWORK_CIDRS_MAX]; /* "10.96.0.0/16" */
	const char *dns_ips[NETWORK_CIDRS_MAX];       /* NULL: 10.96.0.10 */
	const char *domain;                           /* NULL: "cluster.local" */
	const char *data_dir;    /* "/var/lib/kogge/network": addresses given to pods, notes for purge */
	const char *resolv_conf; /* NULL: the host's (see below) */
	unsigned mtu;            /* of pod links; 0: the uplink's */
	bool no_proxy, no_dns;
};

/* Copies o. Own: network_free(). Nothing is touched yet. Fails: ERR_INVALID for a malformed address. */
int network_new(const struct network_opts *o, struct network **ret, struct err *e);
/* Sets sysctls, the service link, the nft table (one transaction, without a gap for what runs) and starts the threads.
 * Services are in the kernel as soon as the API was listed. Fails: ERR_FORBIDDEN (not root), ERR_UNSUPPORTED (kernel
 * without nftables), ERR_UNAVAILABLE (the DNS address's port 53 is taken). */
int network_start(struct network *n, struct err *e);
/* Stops the threads. Links, table and addresses stay: pods go on working while Kogge restarts. */
void network_stop(struct network *n);
struct network *network_free(struct network *n); /* stops; NULL accepted, returns NULL */
AUTO(struct network, network_free)
/* Waits until the first complete state is in the kernel. false: the time came first. */
bool network_wait_ready(struct network *n, int64_t timeout_ms);

/* true: no service in this node's kernel state sends new connections to the pod address (hostPorts do not count). */
bool network_endpoint_absent(struct network *n, struct str ip);
/* Waits for that. false: the time came first. Used between "pod is terminating" and SIGTERM. */
bool network_endpoint_wait_absent(struct network *n, struct str ip, int64_t timeout_ms);

/* Waits until what NetworkPolicies say of the pod at these addresses is in the kernel: before its containers start, so
 * that no packet slips through. false: the time came first. */
bool network_policies_wait(
	struct network *n, struct doc *pod, const char *const *ips, size_t n_ips, int64_t timeout_ms);

/* Takes away everything the instance made, whether it runs or not (not while it runs): nft table, links, sysctls that
 * were changed, files below data_dir. Only instance and data_dir of o are used. Does all it can; fails with the first
 * error. */
int network_purge(const struct network_opts *o, struct err *e);

/* Rules of other programs (Docker, ufw, firewalld, somebody's own) that drop pods' packets: each hears what to do about
 * one. A running network adds to Docker's chain for others by itself and warns of the rest in its log. Only instance and
 * pod_cidrs of o are used. Fails when nft cannot list. */
int network_firewalls(
	const struct network_opts *o, void (*each)(void *arg, const char *what), void *arg, struct err *e);

/* ---- CNI ------------------------------------------------------------------------------------- */

/* The text of /etc/cni/net.d/10-kogge.conflist. plugin_type: the file name of the binary in the CNI bin dir
 * ("kogge"). */
void network_cni_conflist(struct buf *out, const struct network_opts *o, const char *plugin_type);
/* Runs one CNI call: environment and stdin in, answer on stdout. Returns the exit status. Serves the plugin types
 * "kogge" and "loopback" (containerd runs a plugin by that name for each pod: link both names to the binary). */
int network_cni_main(void);

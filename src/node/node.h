/* The node agent: makes the pods of one node run on containerd, and tells the API how they are.
 *
 *      API ──watch──► pods ──queue──► pod worker ──CRI──► containerd
 *       ▲                               │ ▲                  │
 *       └──────── status, Events ◄──────┘ └──── task events ─┘
 *
 * It is an ordinary remote client of the API (identity system:node:NAME). Everything that must outlive this process is
 * kept where it is used: containerd's labels and annotations, and files below data_dir/pods/UID. A restart finds
 * running containers again, with the same ids, pids and restart counts.
 * Thread: any; the parts below run on tasks of their own. */
#pragma once
#include "base/err.h"
#include "client/informer.h"

#define NODE_PORT 10250
/* The default name of our own pause image; containerd's configuration must name the same one (sandbox_image). */
#define NODE_PAUSE_IMAGE "localhost/kogge/pause:1"

struct node_opts {
	struct client *client; /* borrowed */
	/* Borrowed, started after node_new() and stopped before node_free(): this node's pods, and all Services. */
	struct informer *pods, *services;
	const char *node_name;
	const char *const *node_ips; /* first: the one that pods report as hostIP */
	size_t n_node_ips;
	const char *data_dir;           /* "/var/lib/kubelet": pods live in data_dir/pods/UID */
	const char *volumes_dir;        /* folders of local-path volumes; NULL: none are made here */
	const char *cri_socket;         /* containerd's socket, a path */
	const char *log_dir;            /* NULL: /var/log/pods */
	const char *container_log_dir;  /* links NAME_NS_CONTAINER-ID.log; NULL: /var/log/containers; "": none */
	const char *cgroup_root;        /* "" or "/kogge-x": pods go below cgroup_root/kubepods */
	const char *const *cluster_dns; /* addresses; none: pods get the host's resolver */
	size_t n_cluster_dns;
	const char *cluster_domain;                             /* NULL: cluster.local */
	const char *tls_cert_file, *tls_key_file, *tls_ca_file; /* server certificate, and the CA that signs clients */
	const char *address;                                    /* to listen on; NULL: 0.0.0.0 */
	int port;                                               /* 0: NODE_PORT */
	const char *pause_image;                                /* NULL: NODE_PAUSE_IMAGE */
	const char *images_dir;      /* archives loaded at start and when they appear; NULL: none */
	const char *static_dir;      /* manifests of pods that run here; NULL: none */
	const char *registries_file; /* registries.yaml, see registries.c; NULL: none */
	const char *registry_dir;    /* the runtime's certs.d, ours to write; NULL: leave it */
	const char *eviction_hard;   /* "memory.available<100Mi,nodefs.available<10%"; NULL: nobody is evicted */
	const char *system_reserved; /* "cpu=500m,memory=1Gi,ephemeral-storage=10Gi" that pods do not get; NULL: none */
	const char *const *pod_cidrs; /* shown only */
	size_t n_pod_cidrs;
	/* When the machine shuts down, logind waits for so long: for all pods, and for critical ones out of it. 0: not at
	 * all. */
	int64_t shutdown_grace_s, shutdown_grace_critical_s;
	int max_pods;              /* 0: 110 */
	const char *const *labels; /* extra node labels "key=value" */
	size_t n_labels;
	/* Zero failed requests: true when no service proxy sends new connections to this pod any more. Asked before
	 * SIGTERM, for at most two seconds. NULL: nobody proxies. Any thread;
	 * must not block. */
	bool (*endpoints_withdrawn)(void *arg, struct str pod_uid, struct str pod_ip);
	void *endpoints_arg;
	/* True when the network keeps to the NetworkPolicies of this pod at these addresses. Asked before each start of
	 * a container, which waits for it; may block for up to two seconds. NULL: nobody enforces them. Any thread. */
	bool (*policies_applied)(void *arg, struct doc *pod, const char *const *ips, size_t n);
	void *policies_arg;
};

struct node_agent;
/* Own: node_free(). Checks the options and connects to nothing yet; strings are copied. */
int node_new(const struct node_opts *o, struct node_agent **ret, struct err *e);
/* Blocks until node_stop(): registers the Node, adopts what runs, works. Fails when the container runtime or port is
 * not to be had. */
int node_run(struct node_agent *n, struct err *e);
void node_stop(struct node_agent *n); /* any thread; containers keep running */
struct node_agent *node_free(struct node_agent *n);
AUTO(struct node_agent, node_free)
int node_port(const struct node_agent *n); /* of the HTTPS server, once it runs; 0 before */
/* Takes every pod of this runtime away: sandboxes, mounts, directories, cgroups (`kogge reset`, --ephemeral). Uses no
 * API; after or instead of node_run(). */
int node_purge(const struct node_opts *o, struct err *e);

/* ---- our own containerd ---------------------------------------------------------------------- */

/* Ends shims of the containerd on this socket, with what they started: those whose bundle is gone, also those that
 * never had a task, or all;
 * the latter two only while no containerd runs. */
enum node_shims { NODE_SHIMS_ABANDONED, NODE_SHIMS_WITHOUT_TASK, NODE_SHIMS_ALL };
void node_shims_end(const char *socket, enum node_shims which);
/* Before a containerd starts: what its predecessor had begun and nobody would end. state, root: its folders. */
void node_runtime_tidy(const char *socket, const char *state, const char *root);

/* ---- images without a registry --------------------------------------------------------------- */

/* Loads an OCI or docker archive (plain or gzip tar) into containerd. ns: "k8s.io" for CRI. progress (may be NULL)
 * hears about each blob and each image name. */
typedef void node_image_progress(void *arg, const char *what, int64_t done_bytes, int64_t total_bytes);
int node_image_import(const char *containerd_sock, const char *ns, const char *tar_path, node_image_progress *progress,
	void *arg, struct err *e);
struct node_image {
	char *name;   /* docker.io/library/busybox:test */
	char *digest; /* sha256:… of the target */
	int64_t size_bytes;
};
/* Own: node_images_free(). In the runtime's eyes (CRI): one entry a name. */
int node_image_list(const char *containerd_sock, struct node_image **ret, size_t *ret_n, struct err *e);
void node_images_free(struct node_image *images, size_t n);

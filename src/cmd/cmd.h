/* The kogge program: sub-commands, settings, and the supervisor that starts and guards the other processes.
 *
 *     kogge server ─► supervisor (root, one thread) ─┬─► control  (own uid)  API, store, controllers, scheduler
 *                                                    ├─► node     (root)     pods, network, DNS
 *                                                    └─► containerd          left alone when Kogge stops
 *
 * Everything a process needs to know is in `struct settings` (flags over /etc/kogge/config.yaml over defaults) and
 * `struct layout` (every path, name and address that follows from them). */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/util.h"

/* ---- settings.c ------------------------------------------------------------------------------ */

struct settings {
	const char *data_dir, *instance, *config;
	const char *bind_address, *node_ip, *node_name, *tls_san, *cri_socket, *registries, *eviction_hard,
		*system_reserved;
	const char *cluster_cidr, *service_cidr, *cluster_dns, *cluster_domain, *node_ports;
	const char *without, *log_level, *output, *kubeconfig, *audit_log, *audit_policy, *encryption_config,
		*recovery_key_file;
	int64_t port, node_port, audit_maxsize, audit_maxbackup, audit_maxage, shutdown_grace_s,
		shutdown_grace_critical_s;
	bool legacy_token_secrets, no_node, ephemeral, log_json, force, quiet, print, remove;
	/* what is left of the command line */
	const char *const *args;
	size_t n_args;
};
/* Reads flags and the config file. Prints nothing; *help is set for --help. Strings live in the arena. */
int settings_read(struct arena *a, int argc, char **argv, struct settings *ret, bool *help, struct err *e);
void settings_help(const char *only_for); /* rows that apply to a command, "server"; to stdout */
bool settings_without(const struct settings *s, const char *part); /* part is in --without */

/* ---- addresses.c ----------------------------------------------------------------------------- */

#define FAMILIES_MAX 2

/* One of each IP family that the cluster has, in the order of --service-cidr; NULL where there is no second. */
struct addresses {
	const char *pods[FAMILIES_MAX], *services[FAMILIES_MAX]; /* ranges, without host bits */
	const char *api[FAMILIES_MAX], *dns[FAMILIES_MAX];       /* of Service default/kubernetes, of cluster DNS */
	const char *node[FAMILIES_MAX];                          /* the first is the one that everybody is told */
	const char *listen;                                      /* what the API listens on */
	bool has_v6;
};
int addresses_of(struct arena *a, const struct settings *s, struct addresses *ret, struct err *e);

/* ---- layout.c -------------------------------------------------------------------------------- */

#define CONTROL_UID 64823 /* of no user database: nobody logs in with it, nothing else owns its files */

struct layout {
	const char *data, *control, *control_pki, *node, *node_pki, *images, *manifests, *containerd, *cni, *run;
	const char *store, *audit, *admin_kubeconfig, *supervisor_lock, *containerd_socket, *containerd_pid,
		*containerd_config;
	const char *restoring;         /* what takes the store's place */
	const char *encryption_config; /* control's own copy of --encryption-provider-config; NULL: none is given */
	const char *sealing_keys;      /* keys of encryption at rest, see seal.h */
	const char
		*recovery_key; /* what unwraps the copies of them in a snapshot: for the administrator to take away */
	const char *pod_logs, *container_logs; /* container_logs: a link a container */
	const char *links;                     /* record of what links.c made */
	const char *held_off;                  /* names of controllers that crashed, a line each; not there: none */
	const char *server_url; /* https://127.0.0.1:PORT: how our own processes and the admin reach the API */
	const char *node_name;
	struct addresses ip;
	const char *cgroup; /* above the pods' cgroups of a named instance */
	bool default_instance;
	bool own_containerd;
};
int layout_of(struct arena *a, const struct settings *s, struct layout *ret, struct err *e);
/* Makes the folders with their owners and modes. */
int layout_make(const struct layout *l, const struct settings *s, struct err *e);
/* Fails where a server would begin with an empty store although there was a cluster: its store is gone, or a restore was
 * cut short. */
int layout_check(const struct layout *l, struct err *e);
/* The same; and makes the store of a new cluster, before anything else of it. */
int layout_begin(const struct layout *l, struct err *e);
/* Of keys, certificates and the admin kubeconfig: makes what is missing, has ended or ends soon. ret_renewed (may be NULL): whether anything was made. */
int layout_certificates(
	struct arena *a, const struct layout *l, const struct settings *s, bool *ret_renewed, struct err *e);
/* Copies what the administrator wrote, and only root may read, to where control reads it. Again at SIGHUP. */
int layout_hand_settings(const struct layout *l, const struct settings *s, struct err *e);

/* links.c: makes the ecosystem's paths lead to ours, /var/lib/kubelet and others; what exists stays, with a warning.
 * root: "". */
void links_make(struct arena *a, const char *root, const struct layout *l);
void links_remove(struct arena *a, const char *root, const struct layout *l);

/* ---- processes ------------------------------------------------------------------------------- */

/* supervisor.c: runs until SIGTERM or SIGINT; returns the exit code. */
int supervise(struct arena *a, const struct settings *s, const struct layout *l);
/* Before anything is asked of the machine: waits until what a killed supervisor left has ended. */
void supervisor_await_end(const struct layout *l);
/* notify.c: a socket on which the service manager that started us hears READY=1 and the like; -1: none listens, and
 * nothing is told.
 * Before the first fork: it also takes the name out of the environment. */
int notify_open(void);
void notify_tell(int fd, const char *state);
/* control.c, node_process.c: run until SIGTERM. ready_fd: a byte is written when serving; listener: the bound API
 * socket. */
struct crashes;
int control_main(const struct settings *s, const struct layout *l, struct crashes *crashes, int listener, int ready_fd);
int node_main(const struct settings *s, const struct layout *l, int ready_fd);
/* containerd.c: starts our own containerd or adopts the running one; waits until it answers. */
int containerd_need(const struct layout *l, struct err *e);
int containerd_stop(const struct layout *l, struct err *e);
bool containerd_alive(const struct layout *l);

/* ---- commands -------------------------------------------------------------------------------- */

struct command {
	const char *name, *args, *help, *examples;
	int (*run)(struct arena *a, const struct settings *s); /* the exit code */
};
extern const struct command commands[];
extern const size_t n_commands;

int cmd_server(struct arena *a, const struct settings *s);
int cmd_status(struct arena *a, const struct settings *s);
int cmd_check(struct arena *a, const struct settings *s);
int cmd_image(struct arena *a, const struct settings *s);
int cmd_kubeconfig(struct arena *a, const struct settings *s);
int cmd_store(struct arena *a, const struct settings *s);
int cmd_reset(struct arena *a, const struct settings *s);
int cmd_version(struct arena *a, const struct settings *s);

/* check.c: everything that would keep a server from starting; each finding is printed with what to do. The number of
 * failures. */
int check_machine(struct arena *a, const struct settings *s, const struct layout *l, bool verbose);
/* reset.c: takes away pods, mounts, links, nft tables, cgroups, sockets, and the data folder. */
int reset_instance(struct arena *a, const struct settings *s, const struct layout *l, struct err *e);

/* "kogge: MESSAGE" to stderr; returns 1. */
int fail(const char *fmt, ...) PRINTF(1, 2);
/* 0, or the exit code for arguments where none belong. */
int no_arguments(const struct settings *s, const char *command);
/* One line of progress to stdout unless --quiet. */
void say(const struct settings *s, const char *fmt, ...) PRINTF(2, 3);

/* Shared inside src/node only. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/map.h"
#include "base/queue.h"
#include "base/task.h"
#include "client/client.h"
#include "client/informer.h"
#include "doc/doc.h"
#include "net/net.h"
#include "node/cri.h"
#include "node/node.h"
#include "node/pod_decide.h"

#define POD_CONTAINERS_MAX 60 /* fits ACTIONS_MAX with room */

/* One run of a container, as the runtime tells it. Own strings. */
struct instance {
	char *id; /* NULL: there is none */
	enum instance_state state;
	uint32_t attempt;
	int restarts; /* as noted when it was created */
	char *hash;
	int64_t created_ns, started_ns, finished_ns;
	int exit_code;
	char *reason, *message; /* of its end */
	char *image, *image_ref;
	char *sandbox;
	char *log_path;
};
void instance_fini(struct instance *i);
/* It never ran: its start failed. Unless this process was told so, the one before us ended while it waited for the
 * start, and the runtime called it off; that is no end of a container. */
bool instance_never_ran(const struct instance *i);

#define IMAGE_KNOWN_AFTER_MS 200 /* so long CRI may need to know what containerd has already; a busy one needs more */
#define IMAGE_CAME_TRIES 5
enum image_state { IMAGE_UNKNOWN, IMAGE_BUSY, IMAGE_READY, IMAGE_FAILED };

/* What the worker knows about one container of the specification. */
struct container {
	char *name;
	enum container_kind kind;
	enum restart_policy restart;
	struct instance now, last; /* newest in the current sandbox; the one before it that ended */
	int restarts;              /* to be noted on the next instance */
	struct mono not_before;
	int64_t backoff_ms;
	bool crash_loop;                  /* waiting because of restarts, not of an image or configuration */
	char *wait_reason, *wait_message; /* NULL: ContainerCreating or PodInitializing */
	bool blocked;
	bool stop_for_restart;
	bool resize_restart;  /* its new resources need a new instance */
	char *resources;      /* JSON of those that now has; NULL: not known yet */
	char *ended_seen;     /* id of the instance whose end set not_before */
	char *start_error_id; /* the instance whose start failed, as the runtime told us: that is its end */
	/* Under node.lock, because probes, pulls and stops are tasks of their own: */
	enum image_state image;
	char *image_id;    /* what the runtime resolved */
	char *image_error; /* IMAGE_FAILED */
	const char *image_reason;
	int64_t image_backoff_ms;
	struct mono image_retry, image_told;
	int image_came; /* so many short waits are left of those that follow the coming of its image */
	bool stopping;
	struct mono stop_by; /* when the running stop will kill */
	bool has_startup, has_readiness, has_liveness;
	bool started, ready; /* probe results for now.id */
	char *kill_id;       /* a probe asks that this instance be restarted */
	char *hook_failed;   /* postStart failed: message */
};

struct mount_plan; /* volumes.c */

struct pod {
	struct node_agent *n;
	char *uid, *ns, *name;
	int refs; /* under node.lock, as the next ones */
	struct doc *doc;
	bool gone;          /* the API has no such object any more */
	bool admitted;      /* its host ports are taken */
	bool active, again; /* a worker task is at it */
	char *exit_seen;    /* the runtime told of this container's end */
	bool closed;        /* cleaned and reported: forget it */
	struct node_status_write {
		struct doc *want; /* own; NULL: nothing to write */
		bool then_delete;
	} write;
	/* Worker only: */
	/* Only ever grows at its end (ephemeral containers), so that tasks may keep pointers: pod_container() reads it
	 * from anywhere. */
	struct container *containers[POD_CONTAINERS_MAX];
	size_t n_containers;
	char *sandbox; /* newest sandbox, NULL: none */
	bool sandbox_up;
	uint32_t sandbox_attempt;
	bool sandboxes_left, any_running_elsewhere;
	struct mono sandbox_not_before;
	int64_t sandbox_backoff_ms;
	char **ips;
	size_t n_ips;
	bool observed;
	bool volumes_ready;
	struct task *volumes_task;
	bool refused; /* its specification cannot be honoured */
	char *refused_why;
	char *fail_reason, *fail_message; /* pod-level verdict: DeadlineExceeded … */
	bool deleting_seen;
	struct mono deleting_since;
	bool withdrawn, absent; /* absent: the proxy no longer sends connections here */
	struct mono absent_since;
	int64_t start_ns;        /* status.startTime */
	struct doc *last_status; /* what we last decided to write: {status:…} */
	bool cgroup_made;
	struct mono recheck; /* the runtime lags behind its own events: ask again */
	int64_t recheck_ms;
	bool probes_on;
	const char *resize_condition, *resize_reason; /* NULL: nothing is under way */
	char *resize_message;
	char *evicted;          /* under node.lock: why this pod has to go */
	bool volumes_dirty;     /* under node.lock: an object or our own metadata changed */
	bool volumes_loaded;    /* by this process, not by one before it */
	struct map *tokens;     /* "audience seconds" → struct token */
	int64_t token_renew_ns; /* wall time of the earliest renewal; 0: no token */
	struct mono volumes_retry;
	bool logs_linked;
	/* Under node.lock, see shutdown.c: it has to end because the machine does, within this time; it has. */
	bool shutdown, shutdown_done;
	int64_t shutdown_grace_s;
};

struct object_cache; /* objects.c */
struct probes;       /* probes.c */
struct node_server;  /* server.c */
struct log_feed;     /* log_serve.c */
struct registries; /* dir_watch.c: calls look() at once, then whenever the folder changes or wake is written to, until the node stops; false: again soon */
int dir_watch_fd(void);
void dir_watch_wake(int fd);
void dir_watch(struct node_agent *n, const char *dir, int wake, bool (*look)(void *arg), void *arg);

/* static_pods.c */
void static_pods_run(struct node_agent *n);
void static_pods_changed(struct node_agent *n, const struct doc *d);
int static_pod_of(struct str text, const char *node_name, struct str node_uid, struct arena *a, struct node **ret,
	char **ret_hash, struct err *e);

/* registries.c */

enum signal { SIGNAL_MEMORY, SIGNAL_DISK, SIGNAL_INODES, SIGNAL_IMAGES, SIGNALS };
struct signal_now {
	int64_t left, capacity;
};

struct node_agent {
	struct node_opts o;
	struct arena *arena; /* holds o's strings */
	struct client *client;
	struct net_loop *loop;
	struct cri cri;
	struct stop *stop;
	int status_news; /* under lock: grows with everything that the Node's status should show at once */
	struct task_cond status_changed;
	struct recorder *events;
	struct local_paths *local_paths;
	struct object_cache *objects;
	struct probes *probes;
	struct node_server *server;
	struct server_auth *auth; /* server_auth.h */
	struct log_feed *logs;
	struct registries *registries;
	int images_wake, static_wake; /* eventfds, see dir_watch.c */
	int shutdown_wake;            /* the same, for shutdown.c */
	bool shutting_down;           /* under lock: the machine is */
	struct task_mutex stats_lock;
	struct threshold {
		bool given;
		int percent; /* 0: the amount counts */
		int64_t amount;
	} thresholds[SIGNALS];
	struct reserved {
		int64_t cpu_milli, memory_bytes, disk_bytes;
	} reserved;                          /* for the system */
	bool short_of_memory, short_of_disk; /* under lock */
	struct map *images_used;             /* id → struct mono; pressure's task only */
	struct map *images_synced; /* under lock: those that image_unpacked() was told of; values mean nothing */
	struct map *samples;       /* under stats_lock: see stats.c */
	struct map *pulls;         /* under lock: what is being pulled, see image_pull.c */
	struct task_mutex lock;
	struct task_cond idle;    /* workers went down */
	struct map *pods;         /* uid → struct pod */
	struct map *by_container; /* container or sandbox id → uid (own) */
	int workers;              /* running tasks that use the node */
	struct queue *wake, *writes;
	bool prepared; /* under lock: pods may start */
	struct task_cond may_start;
	bool stopping;
	struct map *exec_holds, *exec_watches; /* under lock: exec_hold.c's own, as the next ones */
	int exec_wake, exec_notify;
	bool adopted, looking; /* the first look for leftovers is done; another is under way */
	struct doc *node_doc;  /* our Node as last seen, own */
	struct doc *node_ref;  /* whom its events are about, own */
	int cgroup_version;
	int64_t mem_bytes;
	int cpus;
	struct mono runtime_seen; /* last time the runtime answered */
	bool runtime_ok;
	char *runtime_why; /* why it is not */
	char *runtime_version;
	struct grpc_stream *event_stream;
};

/* node.c */
struct pod *pod_ref_uid(struct node_agent *n, struct str uid); /* own: pod_unref(); NULL: unknown */
struct pod *pod_ref(struct pod *p);
struct pod *pod_unref(struct pod *p);
AUTO(struct pod, pod_unref)
struct doc *pod_doc(struct pod *p);    /* own: a reference to the newest document */
bool pod_is_over(const struct doc *d); /* its phase is Succeeded or Failed */
struct pod *pod_find(struct node_agent *n, struct str ns, struct str name); /* own */
bool node_task(struct node_agent *n, const char *name, void (*run)(void *arg),
	void *arg); /* counted, detached; false: stopping */
void node_task_end(struct node_agent *n);
void node_wake_pod(struct pod *p);
void node_wake_pod_at(struct pod *p, struct mono t);
struct container *pod_container(struct pod *p, struct str name); /* NULL: none */
const char *node_log_dir(const struct node_agent *n);

/* pod_worker.c */
void pod_work(struct pod *p);                              /* until there is nothing to do now */
void pod_build_containers(struct pod *p, struct val spec); /* also when ephemeral ones were added */
struct val pod_container_spec(
	const struct doc *d, struct str name); /* from containers, initContainers, ephemeralContainers */
const char *container_list(
	enum container_kind k, bool status); /* the field of the pod that holds such containers, or their statuses */
int64_t pod_grace_s(const struct doc *d, bool gone);

/* pod_observe.c */
int pod_observe(struct pod *p, struct err *e);
void pod_own_id(struct pod *p, const char *id); /* events of this container or sandbox are this pod's */

/* pod_act.c */
bool pod_act(struct pod *p, struct doc *d, const struct decision *dec,
	const struct action *a); /* false: it waits for p->recheck */
void pod_logs_remove(struct pod *p);
/* leftovers.c */
int leftovers_remove(struct node_agent *n); /* fails while the runtime does not answer */
void leftovers_look(struct node_agent *n);  /* the same on a task of its own, once the pods are known */
/* exec_hold.c */
void exec_holds_init(struct node_agent *n);
void exec_holds_fini(struct node_agent *n);
void exec_holds_run(void *node);
/* Before the runtime is asked for a command in this container that reads its input and has no terminal. */
void exec_expected(struct node_agent *n, const char *container);
void exec_ended(struct node_agent *n, const char *exec);
/* Commands that were asked for long ago come no more: their containers are watched no longer. */
void exec_forget(struct node_agent *n, struct mono now);
void exec_release_all(struct node_agent *n);
/* shims.c: those that the runtime, whose sandboxes and containers are in known, has forgotten. Our own runtime only. */
void shims_end_unknown(struct node_agent *n, const struct map *known);
/* node.c */
void node_pod_gone(struct node_agent *n, struct doc *d);

/* pod_admit.c: false: own *ret_why, and *ret_reason of a pod that fails by it; NULL: it waits */
bool pod_admit(struct node_agent *n, struct doc *d, const char **ret_reason, char **ret_why);

/* pod_resize.c */
void pod_resize(struct pod *p, struct doc *d, struct mono *wake); /* applies what changed, or says why not */
void resize_started(struct container *c, struct doc *d);          /* a new instance has what d says */
struct node *resize_status(struct container *c, struct arena *a);

/* pod_spec.c: documents → runtime configuration */
Cri__SandboxConfig *pod_sandbox_config(struct pod *p, struct doc *d, struct arena *a);
int pod_container_config(struct pod *p, struct doc *d, struct container *c, struct val spec, const char *image_ref,
	Cri__Image *image, struct arena *a, Cri__ContainerConfig **ret, const char **ret_reason, struct err *e);
void pod_dns(struct node_agent *n, struct val spec, struct str ns, struct arena *a, Cri__DnsConfig *ret);
char *pod_dir(const struct pod *p, const char *sub); /* own: data_dir/pods/UID[/sub] */
char *pod_log_dir(const struct pod *p);              /* own */
const char *pod_qos(struct val spec);
bool pod_host_network(struct val spec);

/* resources.c */
struct resources {
	int64_t cpu_request_milli, cpu_limit_milli, mem_request, mem_limit; /* 0: not given */
};
void resources_of(struct val container, struct resources *ret);
void resources_of_pod(struct val spec, struct resources *ret, bool *ret_all_cpu_limits, bool *ret_all_mem_limits);
int64_t resources_cpu_shares(int64_t milli);
int64_t resources_oom_score_adj(const char *qos, const struct resources *r, int64_t node_mem, bool node_critical);
Cri__LinuxResources *resources_cri(struct node_agent *n, struct val spec, struct val container, struct arena *a);
char *pod_cgroup(const struct pod *p, const char *qos); /* own: "/kubepods/burstable/podUID" */
int cgroup_pod_make(struct pod *p, struct val spec, struct err *e);
void cgroup_pod_remove(struct pod *p);
void cgroup_pods_each(struct node_agent *n, void (*each)(void *arg, const char *uid),
	void *arg); /* once a controller: a uid comes again */
void cgroup_remove_all(struct node_agent *n);
int cgroup_detect(void); /* 1 or 2 */

/* env.c */
struct env_var {
	char *name, *value;
};
struct env_ctx {
	struct arena *a;
	struct node_agent *n; /* NULL in tests: no services */
	struct doc *pod;
	const char *pod_ip;
	const char *const *pod_ips, *const *host_ips;
	size_t n_pod_ips, n_host_ips;
	const char *node_name;
	int64_t node_cpu_milli, node_mem; /* for resourceFieldRef without limits */
	/* Own: a reference; NULL and *e: it cannot be had. -ERR_NOT_FOUND counts as missing. */
	int (*object)(void *arg, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e);
	void *object_arg;
	struct informer_list services;
	bool fake_services; /* services is given by a test */
};
struct env {
	struct env_var *v;
	size_t n, cap;
};
int env_build(struct env_ctx *x, struct val container, struct env *ret, struct err *e);
const char *env_get(const struct env *env, struct str name);
char *env_expand(struct arena *a, struct str text, const struct env *env);
int env_field(struct env_ctx *x, struct val field_ref, char **ret, struct err *e);
int env_resource(struct env_ctx *x, struct val ref, struct val container, char **ret, struct err *e);
void env_ctx_of(struct env_ctx *x, struct pod *p, struct doc *d, struct arena *a);

/* volumes.c, volume_files.c */
int mounts_share(const char *dir, struct err *e); /* mounts.c */
int volumes_setup(struct pod *p, struct doc *d, struct err *e);
int volumes_refresh(struct pod *p, struct doc *d, struct err *e); /* rewrites what follows objects and tokens */
int check_host_path(struct val v, struct err *e); /* v: what has a hostPath; its type holds, or is made to */
/* claim_volumes.c */
#define CLAIM_LINKS \
	"volumes/kubernetes.io~local-volume" /* below a pod's directory: a link to each of its claims' places */
bool volume_is_claim(struct val volume);
int claim_volume_setup(struct pod *p, struct doc *d, struct val volume, struct err *e);
char *claim_volume_path(const struct pod *p, struct val volume); /* own; NULL: it was not set up */
/* local_path.c */
struct local_paths {
	struct node_agent *n;
	struct informer *volumes; /* those of this node */
	struct queue *due;
};
struct local_paths *local_paths_new(struct node_agent *n);
void local_paths_run(struct local_paths *l);
void local_paths_stop(struct local_paths *l);
struct local_paths *local_paths_free(struct local_paths *l);
bool local_path_is(const struct doc *volume);
int local_path_make(struct node_agent *n, const struct doc *volume, struct err *e); /* when it is not there yet */
/* tree.c */
void remove_tree(const char *path); /* what can be removed of it: mount points below stay */
/* Directories get rwxrws and files rw for the group; only_if_root_differs: fsGroupChangePolicy OnRootMismatch. */
int tree_set_group(const char *path, int64_t gid, bool only_if_root_differs, struct err *e);
void volumes_teardown(struct node_agent *n, const char *pod_uid); /* "": of all pods */
int volume_mounts(struct pod *p, struct doc *d, struct val container, const struct env *env, struct arena *a,
	Cri__ContainerConfig *into, struct err *e);
struct file_entry {
	const char *path; /* relative, may have slashes */
	struct str bytes;
	int mode;
	int64_t uid; /* < 0: root */
};
struct file_set {
	struct arena *a;
	struct file_entry *v;
	size_t n, cap;
};
int file_set_add(struct file_set *s, struct str path, struct str bytes, int mode, struct err *e);
int file_set_add_of(struct file_set *s, struct str path, struct str bytes, int mode, int64_t uid, struct err *e);
/* Writes a set so that readers see the old one or the new one, never a mixture. gid < 0: keep. */
int files_write(const char *dir, const struct file_set *s, int64_t gid, bool *ret_changed, struct err *e);
int mkdirs(const char *path, unsigned mode, struct err *e);

/* objects.c: config maps and secrets that pods of this node use */
struct object_cache *objects_new(struct node_agent *n);
void objects_stop(struct object_cache *c);
struct object_cache *objects_free(struct object_cache *c); /* when no task of the node runs any more */
int objects_get(struct object_cache *c, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e);
void objects_watch(struct object_cache *c, struct pod *p, struct doc *d); /* follow what d names */
void objects_forget(struct object_cache *c, struct pod *p);

/* images.c, image_pull.c, image_import.c, image_pause.c */
void image_ensure(
	struct pod *p, struct doc *d, struct container *c, struct val spec); /* sets c->image, maybe by a task */
void image_unpacked(struct node_agent *n,
	const char *
		image); /* a container of it was made: once, its files go to the disk, which containerd leaves to time */
void image_pull(struct pod *p, struct doc *d, struct container *c, struct val spec, const char *ref);
void image_failed(struct pod *p, struct container *c, const char *reason, const char *message);
void image_ready(struct pod *p, struct container *c, const char *id);
struct mono image_back_off(
	struct pod *p, struct doc *d, struct container *c); /* when the status changes by itself; MONO_NEVER */
char *image_explain(struct str ref, const char *why);       /* own: which registry, why, what to do */
char *image_normalize(struct str ref);                      /* own: docker.io/library/busybox:latest */
int images_dir_run(struct node_agent *n);                   /* starts the watcher of images_dir */
int image_import(struct cri *c, const char *tar_path, node_image_progress *progress, void *arg, struct err *e);
int image_pause_load(struct cri *c, const char *name, struct err *e);

/* registries.c */
struct image_auth {
	char *username, *password, *auth, *identity_token;
};
struct registries *registries_new(const char *file, const char *dir); /* borrowed; dir NULL: containerd is not ours */
struct registries *registries_free(struct registries *s);
int registries_check(struct doc *config, struct err *e);
void registries_toml(struct doc *config, struct str host, struct buf *out);
/* An image of this name (normalized) is here now: pods that failed to pull it look again at once. */
void images_came(struct node_agent *n, const char *name);
struct str image_host(struct str ref); /* "docker.io" of a normalized reference */
void image_credentials_in(struct doc *secret, struct str ref, struct arena *a, struct image_auth *list, size_t *n);
size_t image_credentials(struct pod *p, struct doc *d, struct str ref, struct arena *a,
	struct image_auth **ret); /* in a, in order of preference */

/* status.c */
struct doc *status_build(
	struct pod *p, struct doc *d, const struct decision *dec); /* own: {metadata:{uid}, status:{…}} */
void status_submit(struct pod *p, struct doc *take_status, bool then_delete);
void status_writer(void *node);

/* probes.c */
struct probes *probes_new(struct node_agent *n);
struct probes *probes_free(struct probes *p);
void probes_sync(struct pod *p, struct doc *d); /* starts and stops probes as instances come and go */
void probes_drop(struct pod *p);
int hook_run(struct pod *p, struct doc *d, struct val handler, const char *container_id, struct str container,
	int64_t timeout_ms, struct err *e);

/* events.c */
void events_run(void *node);
void node_event(struct pod *p, struct str container, const char *type, const char *reason, const char *fmt, ...)
	PRINTF(5, 6);

/* stats.c, stats_serve.c */
struct usage {
	int64_t cpu_ns, nanocores, mem_usage, mem_set, mem_rss, mem_cache,
		mem_available; /* mem_available: of the node only */
};
struct container_usage {
	char *name, *id, *image, *cgroup;
	int64_t started_ns;
	struct usage usage;
	bool there;
};
struct pod_usage {
	char *uid, *ns, *name, *cgroup;
	int64_t started_ns;
	struct usage usage;
	struct container_usage **containers;
	size_t n;
};
struct stats {
	struct wall at;
	struct usage node;
	struct pod_usage **pods;
	size_t n;
};
int stats_collect(struct node_agent *n, struct arena *a, struct stats *ret,
	struct err *e); /* everything in a; may take a moment */
int64_t stats_field(const char *text, const char *key);
struct node *stats_summary(struct node_agent *n, const struct stats *s, struct arena *a);
void stats_resource(const struct stats *s, struct buf *b);
void stats_cadvisor(struct node_agent *n, const struct stats *s, struct buf *b);
void stats_metrics(struct node_agent *n, const struct stats *s, struct buf *b);

bool stats_node(struct usage *ret); /* without a rate */

/* pressure.c, image_gc.c */
void pressure_run(void *node);
int pressure_thresholds(struct str text, struct threshold ret[SIGNALS], struct err *e);
int64_t threshold_amount(const struct threshold *t, int64_t capacity);
/* allocatable.c. In a: as the Node's status lists them. */
int reserved_parse(struct str text, struct reserved *ret, struct err *e);
int64_t allocatable_cpu_milli(const struct node_agent *n);
int64_t allocatable_memory_bytes(const struct node_agent *n);
struct node *node_capacity(struct node_agent *n, struct arena *a);
struct node *node_allocatable(struct node_agent *n, struct arena *a);
bool pressure_worse(
	int64_t a_used, int64_t a_asked, int64_t a_priority, int64_t b_used, int64_t b_asked, int64_t b_priority);
void pod_evict(struct pod *p, const char *message);
void storage_limits_check(struct node_agent *n);
int64_t storage_used(const char *path, int64_t enough); /* stops counting beyond that */
void images_collect(struct node_agent *n, const struct signal_now *disk, bool pressure);

/* shutdown.c */
#define CRITICAL_PRIORITY 2000000000
#define SHUTDOWN_REASON "Terminated"
#define SHUTDOWN_MESSAGE "Pod was terminated in response to imminent node shutdown."
void shutdown_run(void *node);
void shutdown_shares(
	int64_t total_s, int64_t critical_s, int64_t most_s, int64_t *ret_ordinary_s, int64_t *ret_critical_s);

/* node_status.c */
void node_status_run(void *node);
void node_status_wake(struct node_agent *n);

/* logs.c, log_serve.c, crilog.c */
struct log_opts {
	bool follow, timestamps;
	int64_t tail;     /* -1: all */
	int64_t limit;    /* -1: none */
	int64_t since_ns; /* wall, 0: all */
	int stream;       /* 0 all, 1 stdout, 2 stderr */
};
struct log_line {
	int64_t time_ns;
	struct str time_text;
	bool is_stderr, partial;
	struct str text; /* without newline */
};
bool log_parse(struct str line, struct log_line *ret);
struct log_feed *logs_new(struct node_agent *n);
void logs_stop(struct log_feed *f);
struct log_feed *logs_free(struct log_feed *f);             /* after the server and its loop */
void logs_pod_changed(struct log_feed *f, const char *uid); /* a container of it ended or went */
void logs_serve(struct node_agent *n, struct http_request *r, struct pod *p, struct str container, const char *path,
	struct log_opts o);
char *log_tail(const char *path, size_t max_bytes, size_t max_lines); /* own; for FallbackToLogsOnError */
void logs_rotate_run(void *node);

/* server.c, streams.c */
int node_server_new(struct node_agent *n, struct node_server **ret, struct err *e);
struct node_server *node_server_free(struct node_server *s);
int node_server_port(const struct node_server *s);
void streams_serve(struct node_agent *n, struct http_request *r, const char *containerd_url, const char *kind);
bool query_true(struct str v); /* as Go reads a bool: 1, t, T, true, True, TRUE */
struct str query_get(struct str query, const char *key, struct arena *a); /* decoded; p NULL: not there */
size_t query_all(struct str query, const char *key, struct arena *a, char ***ret);

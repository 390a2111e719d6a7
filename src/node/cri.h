/* Typed calls of the container runtime interface, and of containerd's own services beside it, over one gRPC
 * connection. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "net/net.h"
#include "node/containerd.pb-c.h"
#include "node/cri.pb-c.h"

/* Labels and annotations by which pods are found again; the names are those that the ecosystem's tools look for. */
#define LABEL_POD_NAME "io.kubernetes.pod.name"
#define LABEL_POD_NS "io.kubernetes.pod.namespace"
#define LABEL_POD_UID "io.kubernetes.pod.uid"
#define LABEL_CONTAINER "io.kubernetes.container.name"
#define NOTE_HASH "io.kubernetes.container.hash"
#define NOTE_RESTARTS "io.kubernetes.container.restartCount"
#define NOTE_TERM_PATH "io.kubernetes.container.terminationMessagePath"
#define NOTE_TERM_POLICY "io.kubernetes.container.terminationMessagePolicy"
#define NOTE_GRACE "io.kubernetes.pod.terminationGracePeriod"
#define NOTE_MIRROR "kubernetes.io/config.mirror" /* on a pod that shows a static one */

enum cri_sandbox_state { SANDBOX_READY, SANDBOX_NOTREADY };
enum cri_container_state { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED, CONTAINER_UNKNOWN };

struct cri {
	struct grpc *grpc;
	struct http_header ns; /* metadata for containerd's own services */
};

/* A message in an arena: CRI_NEW(a, Cri__Mount, cri__mount). */
#define CRI_NEW(a, type, prefix)                                 \
	({                                                       \
		type *cri_new_ = arena_alloc((a), sizeof(type)); \
		prefix##__init(cri_new_);                        \
		cri_new_;                                        \
	})
/* Any generated map entry: all have this shape. */
struct cri_entry {
	ProtobufCMessage base;
	char *key, *value;
};
/* Appends to a repeated field of pointers in an arena (capacity doubles at powers of two). */
void cri_push(struct arena *a, void *list_of_pointers, size_t *n, void *item);
#define CRI_ENTRY(a, list, n, init_fn, k, v)                                      \
	do {                                                                      \
		__typeof__(**(list)) *cri_e_ = arena_alloc((a), sizeof(*cri_e_)); \
		init_fn(cri_e_);                                                  \
		cri_e_->key = (k);                                                \
		cri_e_->value = (v);                                              \
		cri_push((a), &(list), &(n), cri_e_);                             \
	} while (0)
/* Value of a key in a generated map; NULL: not there. */
const char *cri_map_get(void *entries, size_t n, const char *key);

/* One unary call. reply_type NULL: the answer is empty. Own: *ret_reply, end with
 * protobuf_c_message_free_unpacked(). */
int cri_call(struct cri *c, const char *method, const void *request, const ProtobufCMessageDescriptor *reply_type,
	int64_t timeout_ms, void *ret_reply, struct err *e);
void cri_reply_free(void *message); /* NULL accepted */
UNUSED static inline void cri_reply_free_auto(void *p)
{
	cri_reply_free(*(void **)p);
}
#define auto_reply __attribute__((cleanup(cri_reply_free_auto)))

int cri_open(const char *socket, struct net_loop *l, const char *containerd_ns, struct cri *ret, struct err *e);
void cri_close(struct cri *c);

int cri_version(struct cri *c, Cri__VersionResponse **ret, struct err *e);
int cri_runtime_status(struct cri *c, Cri__RuntimeStatusReply **ret, struct err *e);
int cri_run_sandbox(struct cri *c, Cri__SandboxConfig *config, const char *handler, char **ret_id, struct err *e);
int cri_stop_sandbox(struct cri *c, const char *id, struct err *e);
/* With its containers, as cri_remove_container() does it. */
int cri_remove_sandbox(struct cri *c, const char *id, struct err *e);
int cri_sandbox_status(struct cri *c, const char *id, Cri__SandboxStatusReply **ret, struct err *e);
/* pod_uid NULL: of all pods. */
int cri_list_sandboxes(struct cri *c, const char *pod_uid, Cri__ListSandboxReply **ret, struct err *e);
int cri_create_container(struct cri *c, const char *sandbox, Cri__ContainerConfig *config,
	Cri__SandboxConfig *sandbox_config, char **ret_id, struct err *e);
int cri_start_container(struct cri *c, const char *id, struct err *e);
int cri_stop_container(struct cri *c, const char *id, int64_t grace_s, struct err *e);
/* Also one whose start went on when its caller was gone, up to a task that CRI knows nothing of and does not remove:
 * containerd's own service ends that. */
int cri_remove_container(struct cri *c, const char *id, struct err *e);
int cri_container_status(struct cri *c, const char *id, Cri__ContainerStatusReply **ret, struct err *e);
int cri_list_containers(struct cri *c, const char *pod_uid, Cri__ListContainersReply **ret, struct err *e);
int cri_reopen_log(struct cri *c, const char *id, struct err *e);
int cri_exec_sync(struct cri *c, const char *id, char **cmd, size_t n_cmd, int64_t timeout_s, Cri__ExecSyncReply **ret,
	struct err *e);
int cri_exec(struct cri *c, Cri__ExecRequest *rq, char **ret_url, struct err *e);
int cri_attach(struct cri *c, Cri__AttachRequest *rq, char **ret_url, struct err *e);
int cri_port_forward(struct cri *c, const char *sandbox, char **ret_url, struct err *e);
int cri_container_stats(struct cri *c, Cri__ListContainerStatsReply **ret, struct err *e);
int cri_list_images(struct cri *c, Cri__ListImagesReply **ret, struct err *e);
/* ret->image NULL: not there. */
int cri_image_status(struct cri *c, const char *ref, Cri__ImageStatusReply **ret, struct err *e);
int cri_pull_image(struct cri *c, const char *ref, Cri__AuthConfig *auth, char **ret_id, struct err *e);
int cri_update_container(struct cri *c, const char *id, Cri__LinuxResources *r, struct err *e);
int cri_remove_image(struct cri *c, const char *ref, struct err *e);

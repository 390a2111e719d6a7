#include "node/cri.h"
#include <protobuf-c/protobuf-c.h>
#include <signal.h>

#define RUNTIME "/runtime.v1.RuntimeService/"
#define IMAGES "/runtime.v1.ImageService/"
#define TASKS "/containerd.services.tasks.v1.Tasks/"
#define QUICK_MS 30000
#define SLOW_MS 240000 /* network set-up, unpacking */
#define PULL_MS 1800000

void cri_push(struct arena *a, void *list_of_pointers, size_t *n, void *item)
{
	void ***list = list_of_pointers;
	size_t have = *n;

	if ((have & (have - 1)) == 0) { /* 0, 1, 2, 4 …: full */
		void **bigger = arena_alloc(a, sizeof(void *) * (have ? have * 2 : 1));

		if (have)
			memcpy(bigger, *list, sizeof(void *) * have);
		*list = bigger;
	}
	(*list)[have] = item;
	*n = have + 1;
}

const char *cri_map_get(void *entries, size_t n, const char *key)
{
	struct cri_entry **list = entries;

	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i]->key, key) == 0)
			return list[i]->value;
	return NULL;
}

void cri_reply_free(void *message)
{
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}

int cri_call(struct cri *c, const char *method, const void *request, const ProtobufCMessageDescriptor *reply_type,
	int64_t timeout_ms, void *ret_reply, struct err *e)
{
	const ProtobufCMessage *rq = request;
	size_t n = protobuf_c_message_get_packed_size(rq);
	auto_free uint8_t *bytes = xmalloc(n + 1);
	auto_buf struct buf out = BUF_INIT;
	bool own = strncmp(method, "/containerd.", 12) == 0;
	ProtobufCMessage *reply;

	protobuf_c_message_pack(rq, bytes);
	int r = grpc_call(
		c->grpc, method, own ? &c->ns : NULL, own ? 1 : 0, str_n((char *)bytes, n), timeout_ms, &out, e);
	if (r < 0)
		return r;
	if (!reply_type)
		return 0;
	reply = protobuf_c_message_unpack(reply_type, NULL, out.n, (const uint8_t *)out.p);
	if (!reply)
		return err_set(e, ERR_INTERNAL, "%s: the container runtime's answer cannot be read", method);
	*(void **)ret_reply = reply;
	return 0;
}

int cri_open(const char *socket, struct net_loop *l, const char *containerd_ns, struct cri *ret, struct err *e)
{
	auto_free char *target = xasprintf("unix:%s", socket);
	struct cri c = { .ns = { STR("containerd-namespace"), str_c(containerd_ns) } };
	int r = grpc_new(l, target, NULL, &c.grpc, e);

	if (r < 0)
		return err_wrap(e, "container runtime at %s", socket);
	*ret = c;
	return 0;
}

void cri_close(struct cri *c)
{
	c->grpc = grpc_free(c->grpc);
}

static int call_id(struct cri *c, const char *method, const char *id, int64_t timeout_ms, struct err *e)
{
	Cri__IdRequest rq = CRI__ID_REQUEST__INIT;

	rq.id = (char *)id;
	return cri_call(c, method, &rq, NULL, timeout_ms, NULL, e);
}

int cri_version(struct cri *c, Cri__VersionResponse **ret, struct err *e)
{
	Cri__VersionRequest rq = CRI__VERSION_REQUEST__INIT;

	return cri_call(c, RUNTIME "Version", &rq, &cri__version_response__descriptor, QUICK_MS, ret, e);
}

int cri_runtime_status(struct cri *c, Cri__RuntimeStatusReply **ret, struct err *e)
{
	Cri__RuntimeStatusRequest rq = CRI__RUNTIME_STATUS_REQUEST__INIT;

	return cri_call(c, RUNTIME "Status", &rq, &cri__runtime_status_reply__descriptor, QUICK_MS, ret, e);
}

/* reply is looked at after the call that fills it: arguments have no order. */
static int take_id(int r, Cri__IdReply *const *reply, char **ret_id)
{
	if (r < 0)
		return r;
	*ret_id = xstrdup((*reply)->id);
	return 0;
}

int cri_run_sandbox(struct cri *c, Cri__SandboxConfig *config, const char *handler, char **ret_id, struct err *e)
{
	Cri__RunSandboxRequest rq = CRI__RUN_SANDBOX_REQUEST__INIT;
	auto_reply Cri__IdReply *reply = NULL;

	rq.config = config;
	rq.runtime_handler = (char *)(handler ? handler : "");
	return take_id(cri_call(c, RUNTIME "RunPodSandbox", &rq, &cri__id_reply__descriptor, SLOW_MS, &reply, e),
		&reply, ret_id);
}

int cri_stop_sandbox(struct cri *c, const char *id, struct err *e)
{
	return call_id(c, RUNTIME "StopPodSandbox", id, SLOW_MS, e);
}

int cri_sandbox_status(struct cri *c, const char *id, Cri__SandboxStatusReply **ret, struct err *e)
{
	Cri__StatusRequest rq = CRI__STATUS_REQUEST__INIT;

	rq.id = (char *)id;
	int r = cri_call(c, RUNTIME "PodSandboxStatus", &rq, &cri__sandbox_status_reply__descriptor, QUICK_MS, ret, e);
	if (r == 0 && !(*ret)->status) {
		cri_reply_free(TAKE(*ret));
		return err_set(e, ERR_NOT_FOUND, "sandbox %s has no status", id);
	}
	return r;
}

int cri_list_sandboxes(struct cri *c, const char *pod_uid, Cri__ListSandboxReply **ret, struct err *e)
{
	Cri__ListSandboxRequest rq = CRI__LIST_SANDBOX_REQUEST__INIT;
	Cri__SandboxFilter filter = CRI__SANDBOX_FILTER__INIT;
	Cri__SandboxFilter__LabelSelectorEntry entry = CRI__SANDBOX_FILTER__LABEL_SELECTOR_ENTRY__INIT, *list = &entry;

	if (pod_uid) {
		entry.key = (char *)LABEL_POD_UID;
		entry.value = (char *)pod_uid;
		filter.label_selector = &list;
		filter.n_label_selector = 1;
		rq.filter = &filter;
	}
	return cri_call(c, RUNTIME "ListPodSandbox", &rq, &cri__list_sandbox_reply__descriptor, QUICK_MS, ret, e);
}

int cri_create_container(struct cri *c, const char *sandbox, Cri__ContainerConfig *config,
	Cri__SandboxConfig *sandbox_config, char **ret_id, struct err *e)
{
	Cri__CreateContainerRequest rq = CRI__CREATE_CONTAINER_REQUEST__INIT;
	auto_reply Cri__IdReply *reply = NULL;

	rq.pod_sandbox_id = (char *)sandbox;
	rq.config = config;
	rq.sandbox_config = sandbox_config;
	return take_id(cri_call(c, RUNTIME "CreateContainer", &rq, &cri__id_reply__descriptor, SLOW_MS, &reply, e),
		&reply, ret_id);
}

int cri_start_container(struct cri *c, const char *id, struct err *e)
{
	return call_id(c, RUNTIME "StartContainer", id, SLOW_MS, e);
}

int cri_stop_container(struct cri *c, const char *id, int64_t grace_s, struct err *e)
{
	Cri__StopContainerRequest rq = CRI__STOP_CONTAINER_REQUEST__INIT;

	rq.id = (char *)id;
	rq.timeout = grace_s;
	return cri_call(c, RUNTIME "StopContainer", &rq, NULL, grace_s * 1000 + QUICK_MS, NULL, e);
}

int cri_update_container(struct cri *c, const char *id, Cri__LinuxResources *r, struct err *e)
{
	Cri__UpdateResourcesRequest rq = CRI__UPDATE_RESOURCES_REQUEST__INIT;

	rq.id = (char *)id;
	rq.lin = r;
	return cri_call(c, RUNTIME "UpdateContainerResources", &rq, NULL, QUICK_MS, NULL, e);
}

static int end_task(struct cri *c, const char *id, struct err *e)
{
	Ctd__KillTaskRequest end = CTD__KILL_TASK_REQUEST__INIT;
	Ctd__DeleteTaskRequest forget = CTD__DELETE_TASK_REQUEST__INIT;

	end.container_id = forget.container_id = (char *)id;
	end.signal = SIGKILL;
	end.all = true;
	int r = cri_call(c, TASKS "Kill", &end, NULL, QUICK_MS, NULL, e);
	if (r < 0 && r != -ERR_NOT_FOUND) /* it has ended already */
		return r;
	err_init(e);
	return cri_call(c, TASKS "Delete", &forget, NULL, QUICK_MS, NULL, e);
}

int cri_remove_container(struct cri *c, const char *id, struct err *e)
{
	int r = call_id(c, RUNTIME "RemoveContainer", id, QUICK_MS, e);
	struct err why;

	if (r == 0 || r == -ERR_NOT_FOUND)
		return r;
	err_init(&why);
	if (end_task(c, id, &why) < 0)
		return err_wrap(e, "%s", why.message);
	err_init(e);
	return call_id(c, RUNTIME "RemoveContainer", id, QUICK_MS, e);
}

int cri_remove_sandbox(struct cri *c, const char *id, struct err *e)
{
	auto_reply Cri__ListContainersReply *l = NULL;
	struct err ignored;

	if (call_id(c, RUNTIME "RemovePodSandbox", id, SLOW_MS, e) == 0)
		return 0;
	err_init(&ignored);
	if (cri_list_containers(c, NULL, &l, &ignored) < 0)
		return -e->code;
	for (size_t i = 0; i < l->n_containers; i++)
		if (strcmp(l->containers[i]->pod_sandbox_id, id) == 0)
			(void)cri_remove_container(c, l->containers[i]->id, &ignored);
	err_init(e);
	return call_id(c, RUNTIME "RemovePodSandbox", id, SLOW_MS, e);
}

int cri_container_status(struct cri *c, const char *id, Cri__ContainerStatusReply **ret, struct err *e)
{
	Cri__StatusRequest rq = CRI__STATUS_REQUEST__INIT;

	rq.id = (char *)id;
	int r = cri_call(c, RUNTIME "ContainerStatus", &rq, &cri__container_status_reply__descriptor, QUICK_MS, ret, e);
	if (r == 0 && !(*ret)->status) {
		cri_reply_free(TAKE(*ret));
		return err_set(e, ERR_NOT_FOUND, "container %s has no status", id);
	}
	return r;
}

int cri_list_containers(struct cri *c, const char *pod_uid, Cri__ListContainersReply **ret, struct err *e)
{
	Cri__ListContainersRequest rq = CRI__LIST_CONTAINERS_REQUEST__INIT;
	Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
	Cri__ContainerFilter__LabelSelectorEntry entry = CRI__CONTAINER_FILTER__LABEL_SELECTOR_ENTRY__INIT,
						 *list = &entry;

	if (pod_uid) {
		entry.key = (char *)LABEL_POD_UID;
		entry.value = (char *)pod_uid;
		filter.label_selector = &list;
		filter.n_label_selector = 1;
		rq.filter = &filter;
	}
	return cri_call(c, RUNTIME "ListContainers", &rq, &cri__list_containers_reply__descriptor, QUICK_MS, ret, e);
}

int cri_reopen_log(struct cri *c, const char *id, struct err *e)
{
	return call_id(c, RUNTIME "ReopenContainerLog", id, QUICK_MS, e);
}

int cri_exec_sync(struct cri *c, const char *id, char **cmd, size_t n_cmd, int64_t timeout_s, Cri__ExecSyncReply **ret,
	struct err *e)
{
	Cri__ExecSyncRequest rq = CRI__EXEC_SYNC_REQUEST__INIT;

	rq.id = (char *)id;
	rq.cmd = cmd;
	rq.n_cmd = n_cmd;
	rq.timeout = timeout_s;
	return cri_call(c, RUNTIME "ExecSync", &rq, &cri__exec_sync_reply__descriptor,
		timeout_s ? timeout_s * 1000 + 5000 : SLOW_MS, ret, e);
}

static int take_url(int r, Cri__UrlReply *const *reply, char **ret_url)
{
	if (r < 0)
		return r;
	*ret_url = xstrdup((*reply)->url);
	return 0;
}

int cri_exec(struct cri *c, Cri__ExecRequest *rq, char **ret_url, struct err *e)
{
	auto_reply Cri__UrlReply *reply = NULL;

	return take_url(
		cri_call(c, RUNTIME "Exec", rq, &cri__url_reply__descriptor, QUICK_MS, &reply, e), &reply, ret_url);
}

int cri_attach(struct cri *c, Cri__AttachRequest *rq, char **ret_url, struct err *e)
{
	auto_reply Cri__UrlReply *reply = NULL;

	return take_url(
		cri_call(c, RUNTIME "Attach", rq, &cri__url_reply__descriptor, QUICK_MS, &reply, e), &reply, ret_url);
}

int cri_port_forward(struct cri *c, const char *sandbox, char **ret_url, struct err *e)
{
	Cri__PortForwardRequest rq = CRI__PORT_FORWARD_REQUEST__INIT;
	auto_reply Cri__UrlReply *reply = NULL;

	rq.id = (char *)sandbox;
	return take_url(cri_call(c, RUNTIME "PortForward", &rq, &cri__url_reply__descriptor, QUICK_MS, &reply, e),
		&reply, ret_url);
}

int cri_container_stats(struct cri *c, Cri__ListContainerStatsReply **ret, struct err *e)
{
	Cri__ListContainerStatsRequest rq = CRI__LIST_CONTAINER_STATS_REQUEST__INIT;

	return cri_call(
		c, RUNTIME "ListContainerStats", &rq, &cri__list_container_stats_reply__descriptor, QUICK_MS, ret, e);
}

int cri_list_images(struct cri *c, Cri__ListImagesReply **ret, struct err *e)
{
	Cri__ListImagesRequest rq = CRI__LIST_IMAGES_REQUEST__INIT;

	return cri_call(c, IMAGES "ListImages", &rq, &cri__list_images_reply__descriptor, QUICK_MS, ret, e);
}

int cri_image_status(struct cri *c, const char *ref, Cri__ImageStatusReply **ret, struct err *e)
{
	Cri__ImageStatusRequest rq = CRI__IMAGE_STATUS_REQUEST__INIT;
	Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;

	spec.image = (char *)ref;
	rq.image = &spec;
	return cri_call(c, IMAGES "ImageStatus", &rq, &cri__image_status_reply__descriptor, QUICK_MS, ret, e);
}

int cri_pull_image(struct cri *c, const char *ref, Cri__AuthConfig *auth, char **ret_id, struct err *e)
{
	Cri__PullImageRequest rq = CRI__PULL_IMAGE_REQUEST__INIT;
	Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
	auto_reply Cri__PullImageReply *reply = NULL;
	int r;

	spec.image = (char *)ref;
	rq.image = &spec;
	rq.auth = auth;
	r = cri_call(c, IMAGES "PullImage", &rq, &cri__pull_image_reply__descriptor, PULL_MS, &reply, e);
	if (r < 0)
		return r;
	*ret_id = xstrdup(reply->image_ref);
	return 0;
}

int cri_remove_image(struct cri *c, const char *ref, struct err *e)
{
	Cri__RemoveImageRequest rq = CRI__REMOVE_IMAGE_REQUEST__INIT;
	Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;

	spec.image = (char *)ref;
	rq.image = &spec;
	return cri_call(c, IMAGES "RemoveImage", &rq, NULL, SLOW_MS, NULL, e);
}

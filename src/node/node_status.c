/* The Node object: registered once, its status written when it changes or every five minutes, and a Lease every ten
 * seconds. */
#include "claims/claims.h"
#include "hostports/hostports.h"
#include "node/node_internal.h"
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define LEASE_MS 10000
#define STATUS_MS 300000
#define HURRY_MS 100 /* while not ready */
#define IMAGES_MAX 50
#define KUBE_VERSION "v1.34.0+kogge" KOGGE_VERSION

static char *first_line(const char *path)
{
	char line[256] = "";
	FILE *f = fopen(path, "re");

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		(void)fclose(f);
	}
	line[strcspn(line, "\n")] = 0;
	return xstrdup(line);
}

static char *os_name(void)
{
	char line[512];
	char *name = NULL;
	FILE *f = fopen("/etc/os-release", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "PRETTY_NAME=", 12) != 0)
			continue;
		char *v = line + 12;
		v[strcspn(v, "\n")] = 0;
		if (*v == '"' && strlen(v) > 1) {
			v++;
			v[strlen(v) - 1] = 0;
		}
		free(name);
		name = xstrdup(v);
	}
	if (f)
		(void)fclose(f);
	return name ? name : xstrdup("Linux");
}

static const char *architecture(const struct utsname *u)
{
	if (strcmp(u->machine, "x86_64") == 0)
		return "amd64";
	return strcmp(u->machine, "aarch64") == 0 ? "arm64" : u->machine;
}

static struct node *addresses(struct node_agent *n, struct arena *a)
{
	struct node *list = node_list(a);

	for (size_t i = 0; i < n->o.n_node_ips; i++)
		node_add(list, node_pack(a, "{type:'InternalIP', address:s}", n->o.node_ips[i]));
	node_add(list, node_pack(a, "{type:'Hostname', address:s}", n->o.node_name));
	return list;
}

static struct node *node_info(struct node_agent *n, struct arena *a)
{
	auto_free char *machine = first_line("/etc/machine-id"), *boot = first_line("/proc/sys/kernel/random/boot_id");
	auto_free char *uuid = first_line("/sys/class/dmi/id/product_uuid"), *os = os_name();
	struct utsname u;

	(void)uname(&u);
	return node_pack(a,
		"{machineID:s, systemUUID:s, bootID:s, kernelVersion:s, osImage:s, containerRuntimeVersion:s, kubeletVersion:s,"
		" kubeProxyVersion:s, operatingSystem:'linux', architecture:s}",
		machine, *uuid ? uuid : machine, boot, u.release, os,
		n->runtime_version ? n->runtime_version : "containerd://unknown", KUBE_VERSION, KUBE_VERSION,
		architecture(&u));
}

static struct node *image_list(struct node_agent *n, struct arena *a)
{
	auto_reply Cri__ListImagesReply *l = NULL;
	struct node *list = node_list(a);
	struct err e;

	err_init(&e);
	if (cri_list_images(&n->cri, &l, &e) < 0)
		return list;
	for (size_t i = 0; i < l->n_images && i < IMAGES_MAX; i++) {
		Cri__Image *im = l->images[i];
		struct node *names = node_list(a);
		for (size_t k = 0; k < im->n_repo_digests; k++)
			node_add(names, node_c(a, im->repo_digests[k]));
		for (size_t k = 0; k < im->n_repo_tags; k++)
			node_add(names, node_c(a, im->repo_tags[k]));
		if (node_len(names))
			node_add(list, node_pack(a, "{names:o, sizeBytes:I}", names, (int64_t)im->size));
	}
	return list;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* Whom our events are about: as upstream's kubelet says it, with the name as uid. Old kubectls describe only those. */
static struct doc *reference(struct node_agent *n)
{
	auto_(arena_free) struct arena *a = arena_new();

	return node_publish(node_pack(
		a, "{apiVersion:'v1', kind:'Node', metadata:{name:s, uid:s}}", n->o.node_name, n->o.node_name));
}

static void tell(struct node_agent *n, const char *reason)
{
	recorder_event(n->events, n->node_ref, "Normal", reason, "Node %s status is now: %s", n->o.node_name, reason);
}

/* What is new of the Node since `before` (NULL: it is new itself), in upstream's words. */
static void tell_changes(struct node_agent *n, struct doc *before)
{
	static const struct {
		const char *condition, *yes, *no;
	} news[] = { { "MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory" },
		{ "DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure" },
		{ "PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID" },
		{ "Ready", "NodeReady", "NodeNotReady" } };
	struct val had = before ? doc_root(before) : VAL_NONE, have = doc_root(n->node_doc);
	struct str boot = doc_str(n->node_doc, "status.nodeInfo.bootID"),
		   last_boot = val_str(val_path(had, "status.nodeInfo.bootID"));
	bool held = val_bool(val_path(had, "spec.unschedulable"), false),
	     holds = doc_bool(n->node_doc, "spec.unschedulable", false);

	if (last_boot.n && !str_eq(last_boot, boot))
		recorder_event(n->events, n->node_ref, "Warning", "Rebooted",
			"Node %s has been rebooted, boot id: %.*s", n->o.node_name, STR_ARG(boot));
	for (size_t i = 0; i < ARRAY_LEN(news); i++) {
		struct str type = str_c(news[i].condition);
		struct val was = val_get(val_find(val_path(had, "status.conditions"), "type", type), "status");
		struct val is = val_get(val_find(val_path(have, "status.conditions"), "type", type), "status");
		bool at_first = !val_has(was) && str_is(type, "Ready") && val_is(is, "False");
		if (!val_equal(was, is) && !at_first && !val_is(is, "Unknown")) /* Unknown: others say that of us */
			tell(n, val_is(is, "True") ? news[i].yes : news[i].no);
	}
	if (held != holds)
		tell(n, holds ? "NodeNotSchedulable" : "NodeSchedulable");
}

/* Take: fresh, our Node from here on. */
static void node_seen(struct node_agent *n, struct doc *take_fresh)
{
	auto_(doc_unref) struct doc *before = TAKE(n->node_doc);

	n->node_doc = take_fresh;
	tell_changes(n, before);
}

/* ---- conditions ------------------------------------------------------------------------------ */

struct ready {
	bool ok;
	char why[512];
};

/* The runtime answers, and its network is set up. */
static void look(struct node_agent *n, struct ready *ret)
{
	auto_reply Cri__RuntimeStatusReply *s = NULL;
	auto_reply Cri__VersionResponse *v = NULL;
	struct err e;

	ret->ok = false;
	task_lock(&n->lock);
	bool shutting_down = n->shutting_down;
	task_unlock(&n->lock);
	if (shutting_down) {
		(void)snprintf(ret->why, sizeof(ret->why), "node is shutting down");
		return;
	}
	err_init(&e);
	if (cri_runtime_status(&n->cri, &s, &e) < 0) {
		(void)snprintf(ret->why, sizeof(ret->why), "container runtime is down: %.400s", e.message);
		return;
	}
	if (!n->runtime_version && cri_version(&n->cri, &v, &e) == 0)
		n->runtime_version = xasprintf("%s://%s", v->runtime_name, v->runtime_version);
	for (size_t i = 0; s->status && i < s->status->n_conditions; i++) {
		Cri__RuntimeCondition *c = s->status->conditions[i];
		if (c->status)
			continue;
		(void)snprintf(ret->why, sizeof(ret->why), "container runtime %s: %.200s: %.200s",
			strcmp(c->type, "NetworkReady") == 0 ? "network not ready" : "not ready", c->reason,
			c->message);
		return;
	}
	ret->ok = true;
	(void)snprintf(ret->why, sizeof(ret->why), "kubelet is posting ready status");
}

static void condition(struct node_agent *n, struct arena *a, struct node *list, const char *type, bool ok,
	const char *reason, const char *message)
{
	struct val old =
		n->node_doc ? val_find(doc_get(n->node_doc, "status.conditions"), "type", str_c(type)) : VAL_NONE;
	const char *status = ok ? "True" : "False";
	char now[TIME_TEXT_MAX];
	struct node *since;

	wall_rfc3339(wall_now(), now);
	since = val_is(val_get(old, "status"), status) ? node_str(a, val_str(val_get(old, "lastTransitionTime"))) :
							 node_c(a, now);
	node_add(list,
		node_pack(a, "{type:s, status:s, lastHeartbeatTime:s, lastTransitionTime:o, reason:s, message:s}", type,
			status, now, since, reason, message));
}

static struct node *conditions(struct node_agent *n, struct arena *a, const struct ready *r)
{
	struct node *list = node_list(a);

	task_lock(&n->lock);
	bool memory = n->short_of_memory, disk = n->short_of_disk;
	task_unlock(&n->lock);
	condition(n, a, list, "MemoryPressure", memory,
		memory ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
		memory ? "kubelet has insufficient memory available" : "kubelet has sufficient memory available");
	condition(n, a, list, "DiskPressure", disk, disk ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
		disk ? "kubelet has disk pressure" : "kubelet has no disk pressure");
	condition(n, a, list, "PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available");
	condition(n, a, list, "Ready", r->ok, r->ok ? "KubeletReady" : "KubeletNotReady", r->why);
	return list;
}

/* Whether somebody changed the capacity since our last write; the newest Node is kept. */
static bool capacity_changed(struct node_agent *n)
{
	struct doc *now = NULL;
	struct err e;

	err_init(&e);
	if (client_get(n->client, res_nodes, STR_NULL, str_c(n->o.node_name), &now, &e) < 0)
		return false; /* the next write says what is wrong */
	bool changed = !val_equal(doc_get(now, "status.capacity"), doc_get(n->node_doc, "status.capacity"));
	node_seen(n, now);
	return changed;
}

static struct node *status_of(struct node_agent *n, struct arena *a, const struct ready *r)
{
	int port = node_port(n);

	return node_pack(a,
		"{addresses:o, allocatable:o, capacity:o, conditions:o, daemonEndpoints:{kubeletEndpoint:{Port:i}}, images:o, nodeInfo:o}",
		addresses(n, a), node_allocatable(n, a), node_capacity(n, a), conditions(n, a, r),
		port ? port : NODE_PORT, image_list(n, a), node_info(n, a));
}

/* ---- registering ----------------------------------------------------------------------------- */

static struct node *labels_of(struct node_agent *n, struct arena *a)
{
	struct node *l = node_map(a);
	struct utsname u;

	(void)uname(&u);
	node_setc(l, "beta.kubernetes.io/arch", node_c(a, architecture(&u)));
	node_setc(l, "beta.kubernetes.io/os", node_c(a, "linux"));
	node_setc(l, "kubernetes.io/arch", node_c(a, architecture(&u)));
	node_setc(l, "kubernetes.io/hostname", node_c(a, n->o.node_name));
	node_setc(l, "kubernetes.io/os", node_c(a, "linux"));
	for (size_t i = 0; i < n->o.n_labels; i++) {
		struct str key, value = str_cut(str_c(n->o.labels[i]), '=', &key);
		node_set(l, key, node_str(a, value.p ? value : STR("")));
	}
	return l;
}

/* Below which folder volumes are made here; which ports are not free for load balancing. */
static struct node *annotations_of(struct node_agent *n, struct arena *a)
{
	auto_buf struct buf ports = BUF_INIT;
	struct node *list = node_map(a);

	hostports_listening(n->o.node_ips, n->o.n_node_ips, &ports);
	node_setc(list, HOST_PORTS_NOTE, node_str(a, arena_str(a, buf_view(&ports))));
	if (n->o.volumes_dir)
		node_setc(list, LOCAL_PATH_FOLDER, node_c(a, n->o.volumes_dir));
	return list;
}

static int create_node(struct node_agent *n, const struct ready *r, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *body = NULL;
	struct node *t = node_pack(a,
		"{apiVersion:'v1', kind:'Node', metadata:{name:s, labels:o, annotations:o}, spec:{}, status:o}",
		n->o.node_name, labels_of(n, a), annotations_of(n, a), status_of(n, a, r));
	struct doc *fresh = NULL;
	int code;

	if (n->o.n_pod_cidrs) {
		struct node *cidrs = node_list(a);

		for (size_t i = 0; i < n->o.n_pod_cidrs; i++)
			node_add(cidrs, node_c(a, n->o.pod_cidrs[i]));
		node_set_path(t, "spec.podCIDR", node_c(a, n->o.pod_cidrs[0]));
		node_set_path(t, "spec.podCIDRs", cidrs);
	}
	body = node_publish(t);
	code = client_create(n->client, res_nodes, STR_NULL, body, &fresh, e);
	if (code == 0)
		node_seen(n, fresh);
	return code;
}

static int relabel(struct node_agent *n, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *want = labels_of(n, a);
	auto_(doc_unref) struct doc *patch =
		node_publish(node_pack(a, "{metadata:{labels:o, annotations:o}}", want, annotations_of(n, a)));
	struct val have = doc_get(n->node_doc, "metadata.labels");
	struct doc *fresh = NULL;
	bool same = true;
	int code;

	for (struct val_iter it = val_iter(doc_get(patch, "metadata.labels")); val_next(&it);)
		same &= val_equal(it.val, val_get_str(have, it.key));
	for (struct val_iter it = val_iter(doc_get(patch, "metadata.annotations")); val_next(&it);)
		same &= val_equal(it.val, val_get_str(doc_get(n->node_doc, "metadata.annotations"), it.key));
	if (same)
		return 0;
	code = client_patch(n->client, res_nodes, STR_NULL, str_c(n->o.node_name), NULL, PATCH_MERGE, patch, &fresh, e);
	if (code == 0)
		node_seen(n, fresh);
	return code;
}

static int register_node(struct node_agent *n, const struct ready *r, struct err *e)
{
	int code;

	doc_unref(TAKE(n->node_doc));
	code = client_get(n->client, res_nodes, STR_NULL, str_c(n->o.node_name), &n->node_doc, e);
	if (code == -ERR_NOT_FOUND)
		code = create_node(n, r, e);
	else if (code == 0)
		code = relabel(n, e);
	return code;
}

static int write_status(struct node_agent *n, const struct ready *r, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *status = status_of(n, a, r);
	/* Addresses merge by type, of which a node of two families has two. */
	node_add(node_getc(status, "addresses"), node_pack(a, "{'$patch':'replace'}"));
	auto_(doc_unref) struct doc *patch = node_publish(node_pack(a, "{status:o}", status));
	struct doc *fresh = NULL;
	int code = client_patch(
		n->client, res_nodes, STR_NULL, str_c(n->o.node_name), "status", PATCH_STRATEGIC, patch, &fresh, e);

	if (code == 0) {
		if (!val_equal(doc_get(fresh, "status.capacity"), doc_get(n->node_doc, "status.capacity")))
			node_status_wake(
				n); /* somebody advertised something meanwhile: it becomes allocatable by another write */
		node_seen(n, fresh);
	}
	return code;
}

/* ---- lease ----------------------------------------------------------------------------------- */

static int renew(struct node_agent *n, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *patch = NULL, *body = NULL;
	char now[TIME_TEXT_MAX];
	int r;

	wall_rfc3339_micro(wall_now(), now);
	patch = node_publish(
		node_pack(a, "{spec:{holderIdentity:s, leaseDurationSeconds:40, renewTime:s}}", n->o.node_name, now));
	r = client_patch(n->client, res_leases, STR("kube-node-lease"), str_c(n->o.node_name), NULL, PATCH_MERGE, patch,
		NULL, e);
	if (r != -ERR_NOT_FOUND)
		return r;
	body = node_publish(node_pack(a,
		"{apiVersion:'coordination.k8s.io/v1', kind:'Lease', metadata:{name:s, namespace:'kube-node-lease', ownerReferences:[{apiVersion:'v1',"
		" kind:'Node', name:s, uid:S}]}, spec:{holderIdentity:s, leaseDurationSeconds:40, renewTime:s}}",
		n->o.node_name, n->o.node_name, doc_uid(n->node_doc), n->o.node_name, now));
	return client_create(n->client, res_leases, STR("kube-node-lease"), body, NULL, e);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool first_contact(struct node_agent *n, struct ready *r)
{
	struct err e;

	for (int64_t wait = 50; !stop_raised(n->stop); wait = MIN(wait * 2, (int64_t)2000)) {
		err_init(&e);
		look(n, r);
		if (register_node(n, r, &e) == 0) {
			log_info("node %s is registered", n->o.node_name);
			return true;
		}
		log_warn("node %s cannot be registered: %s; trying again", n->o.node_name, e.message);
		if (!stop_sleep_ms(n->stop, wait))
			break;
	}
	return false;
}

/* Until the time is up or an archive has been loaded; a pause first, since archives come in groups. false: stopped. */
static bool rest(struct node_agent *n, int seen, int64_t ms)
{
	struct mono until = mono_add_ms(mono_now(), ms);

	if (!stop_sleep_ms(n->stop, MIN(ms, (int64_t)HURRY_MS)))
		return false;
	task_lock(&n->lock);
	while (!stop_raised(n->stop) && n->status_news == seen && task_wait_until(&n->status_changed, &n->lock, until))
		;
	task_unlock(&n->lock);
	return !stop_raised(n->stop);
}

void node_status_wake(struct node_agent *n)
{
	task_lock(&n->lock);
	n->status_news++;
	task_broadcast(&n->status_changed);
	task_unlock(&n->lock);
}

void node_status_run(void *agent)
{
	struct node_agent *n = agent;
	struct ready r = { 0 }, told = { 0 };
	struct mono lease = mono_now(), status = mono_now(), now;
	bool good, told_once = false;
	int told_news = 0;
	struct err e;

	n->node_ref = reference(n);
	recorder_event(n->events, n->node_ref, "Normal", "Starting", "Starting kubelet.");
	good = first_contact(n, &r);
	while (good && !stop_raised(n->stop)) {
		err_init(&e);
		now = mono_now();
		look(n, &r);
		task_lock(&n->lock);
		int news = n->status_news;
		task_unlock(&n->lock);
		bool changed = !told_once || r.ok != told.ok || strcmp(r.why, told.why) != 0 || news != told_news;
		if (changed || !mono_before(now, status)) {
			int code = write_status(n, &r, &e);
			if (code == 0) {
				told = r;
				told_once = true;
				told_news = news;
				status = mono_add_ms(now, STATUS_MS);
			} else if (code == -ERR_NOT_FOUND) { /* somebody deleted our Node: it comes back */
				good = first_contact(n, &r);
			} else {
				log_warn("node %s: status is not written: %s", n->o.node_name, e.message);
			}
		}
		if (!mono_before(now, lease)) {
			err_init(&e);
			lease = mono_add_ms(now, renew(n, &e) == 0 ? LEASE_MS : 1000);
			if (n->node_doc && capacity_changed(n)) {
				status = now;
				continue;
			}
			err_init(&e);
			if (n->node_doc && relabel(n, &e) < 0) /* the ports of new programs */
				log_debug("node %s: annotations are not written: %s", n->o.node_name, e.message);
		}
		int64_t wait = MIN(mono_ms_between(mono_now(), lease), (int64_t)LEASE_MS);
		if (!rest(n, news, !r.ok || !told_once ? HURRY_MS : MAX(wait, (int64_t)1)))
			break;
	}
	node_task_end(n);
}

/* Volumes of pods and pod templates: one source each, and paths that stay inside. */
#include "api/api_internal.h"
#define LOG_MODULE "api"

static bool climbs(struct str path)
{
	for (struct str part, rest = path; rest.p;) {
		rest = str_cut(rest, '/', &part);
		if (str_is(part, ".."))
			return true;
	}
	return false;
}

void validate_path_below(struct err *e, const char *at, struct str path)
{
	if (!path.n)
		return;
	if (path.p[0] == '/')
		v_invalid_str(e, at, path, "must be a relative path");
	if (climbs(path))
		v_invalid_str(e, at, path, "must not contain '..'");
}

/* Names that begin with two dots are the node's own. */
static void file_path(struct err *e, const char *at, struct str path)
{
	validate_path_below(e, at, path);
	if (str_starts(path, STR("..")) && !climbs(path))
		v_invalid_str(e, at, path, "must not start with '..'");
}

static void items(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct val list = val_get(source, "items");

	for (size_t i = 0; i < val_len(list); i++)
		file_path(e, rq_f(rq, "%s.items[%zu].path", at, i), val_str(val_get(val_at(list, i), "path")));
}

static void named(struct rq *rq, struct val source, const char *key, const char *at, struct err *e)
{
	if (!val_str(val_get(source, key)).n)
		v_required(e, rq_f(rq, "%s.%s", at, key), "");
	items(rq, source, at, e);
}

static void of_secret(struct rq *rq, struct val source, const char *at, struct err *e)
{
	named(rq, source, "secretName", at, e);
}

static void of_config_map(struct rq *rq, struct val source, const char *at, struct err *e)
{
	named(rq, source, "name", at, e);
}

static void of_host_path(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct str path = val_str(val_get(source, "path"));

	if (climbs(path))
		v_invalid_str(e, rq_f(rq, "%s.path", at), path, "must not contain '..'");
}

static void of_nfs(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct str path = val_str(val_get(source, "path"));

	if (!str_starts(path, STR("/")))
		v_invalid_str(e, rq_f(rq, "%s.path", at), path, "must be an absolute path");
}

/* iqn.2001-04.com.example:storage, eui. and 16 digits, naa. and 32. */
static bool iscsi_name_ok(struct str name)
{
	static const char shape[] = "dddd-dd.";
	struct str rest = str_sub(name, 4, name.n);

	if (str_starts(name, STR("eui.")) || str_starts(name, STR("naa.")))
		return rest.n == (name.p[0] == 'e' ? 16 : 32);
	if (!str_starts(name, STR("iqn.")) || rest.n <= sizeof(shape) - 1)
		return false;
	for (size_t i = 0; i < sizeof(shape) - 1; i++)
		if (shape[i] == 'd' ? rest.p[i] < '0' || rest.p[i] > '9' : rest.p[i] != shape[i])
			return false;
	return str_has(rest, STR(":")) && !str_ends(rest, STR(":"));
}

static void of_iscsi(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct str iqn = val_str(val_get(source, "iqn"));
	bool chap = val_bool(val_get(source, "chapAuthDiscovery"), false) ||
		val_bool(val_get(source, "chapAuthSession"), false);

	if (iqn.n && !iscsi_name_ok(iqn))
		v_invalid_str(e, rq_f(rq, "%s.iqn", at), iqn, "must be valid format");
	if (chap && !val_has(val_get(source, "secretRef")))
		v_required(e, rq_f(rq, "%s.secretRef", at), "");
}

static void of_fc(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct val names = val_get(source, "targetWWNs"), lun = val_get(source, "lun");
	bool ids = val_len(val_get(source, "wwids")) > 0;
	char *names_at = rq_f(rq, "%s.targetWWNs", at), *lun_at = rq_f(rq, "%s.lun", at);

	if (!val_len(names) && !ids)
		v_required(e, names_at, "must specify either targetWWNs or wwids, but not both");
	if (val_len(names) && ids)
		v_invalid(e, names_at, names, "targetWWNs and wwids can not be specified simultaneously");
	if (val_len(names) && !val_has(lun))
		v_required(e, lun_at, "lun is required if targetWWNs is specified");
	else if (val_len(names) && (val_int(lun, 0) < 0 || val_int(lun, 0) > 255))
		v_invalid(e, lun_at, lun, "must be between 0 and 255, inclusive");
}

/* Upstream's paths do not say which file. */
static void downward_file(struct rq *rq, struct val file, const char *at, struct err *e)
{
	static const char *const fields[] = { "metadata.annotations", "metadata.labels", "metadata.name",
		"metadata.namespace", "metadata.uid", NULL };
	struct val field = val_get(file, "fieldRef"), resource = val_get(file, "resourceFieldRef");
	struct str path = val_str(val_get(file, "path"));
	char *path_at = rq_f(rq, "%s.path", at);

	if (!path.n)
		v_required(e, path_at, "");
	file_path(e, path_at, path);
	if (val_has(field))
		validate_field_ref(rq, field, rq_f(rq, "%s.fieldRef", at), fields, e);
	if (val_has(field) && val_has(resource))
		v_invalid_str(
			e, at, STR("resource"), "fieldRef and resourceFieldRef can not be specified simultaneously");
	else if (val_has(resource))
		validate_resource_ref(rq, resource, rq_f(rq, "%s.resourceFieldRef", at), true, e);
	else if (!val_has(field))
		v_required(e, at, "one of fieldRef and resourceFieldRef is required");
}

static void of_downward(struct rq *rq, struct val source, const char *at, struct err *e)
{
	for (struct val_iter it = val_iter(val_get(source, "items")); val_next(&it);)
		downward_file(rq, it.val, at, e);
}

static void of_token(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct val seconds = val_get(source, "expirationSeconds");

	if (val_int(seconds, 0) > (int64_t)1 << 32)
		v_invalid(e, rq_f(rq, "%s.expirationSeconds", at), seconds,
			"may not specify a duration larger than 2^32 seconds");
	file_path(e, rq_f(rq, "%s.path", at), val_str(val_get(source, "path")));
}

static void of_projected(struct rq *rq, struct val source, const char *at, struct err *e)
{
	static const struct {
		const char *name;
		void (*check)(struct rq *rq, struct val source, const char *at, struct err *e);
	} kinds[] = { { "secret", of_config_map }, { "configMap", of_config_map }, { "downwardAPI", of_downward },
		{ "serviceAccountToken", of_token } };
	struct val list = val_get(source, "sources");

	for (size_t i = 0; i < val_len(list); i++) {
		size_t n = 0;
		for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
			struct val s = val_get(val_at(list, i), kinds[k].name);
			char *here = rq_f(rq, "%s.sources[%zu].%s", at, i, kinds[k].name);
			if (!val_has(s))
				continue;
			if (n++)
				v_forbidden(e, here, "may not specify more than 1 volume type per source");
			else
				kinds[k].check(rq, s, here, e);
		}
	}
}

static void of_local(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct str path = val_str(val_get(source, "path"));

	if (climbs(path))
		v_invalid_str(e, rq_f(rq, "%s.path", at), path, "must not contain '..'");
}

static void of_csi(struct rq *rq, struct val source, const char *at, struct err *e)
{
	static const char *const secrets[] = { "controllerPublishSecretRef", "nodePublishSecretRef",
		"nodeStageSecretRef", "controllerExpandSecretRef", "nodeExpandSecretRef" };
	static const char *const fields[] = { "name", "namespace" };

	validate_csi_name(e, rq_f(rq, "%s.driver", at), val_str(val_get(source, "driver")));
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
		struct val ref = val_get(source, secrets[i]);

		for (size_t k = 0; val_has(ref) && k < ARRAY_LEN(fields); k++)
			if (!val_str(val_get(ref, fields[k])).n)
				v_required(e, rq_f(rq, "%s.%s.%s", at, secrets[i], fields[k]), "");
	}
}

/* In a pod: its Secret stands in the pod's namespace. */
static void of_pod_csi(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct val ref = val_get(source, "nodePublishSecretRef");

	validate_csi_name(e, rq_f(rq, "%s.driver", at), val_str(val_get(source, "driver")));
	if (val_has(ref) && !val_str(val_get(ref, "name")).n)
		v_required(e, rq_f(rq, "%s.nodePublishSecretRef.name", at), "");
}

/* ---- of providers ---------------------------------------------------------------------------- */

/* As Go's net.SplitHostPort() sees it. */
static bool is_host_and_port(struct str s)
{
	struct str host = s, port = STR_NULL;

	for (size_t i = s.n; i-- > 0 && !port.p;)
		if (s.p[i] == ':') {
			host = str_sub(s, 0, i);
			port = str_sub(s, i + 1, s.n);
		}
	if (!port.p)
		return false;
	if (str_starts(host, STR("["))) {
		if (!str_ends(host, STR("]")))
			return false;
		host = str_sub(host, 1, host.n - 1);
	} else if (str_has(host, STR(":"))) {
		return false;
	}
	return !str_has(host, STR("[")) && !str_has(host, STR("]"));
}

static void of_quobyte(struct rq *rq, struct val source, const char *at, struct err *e)
{
	static const char pairs[] = "must be a host:port pair or multiple pairs separated by commas";
	struct val registry = val_get(source, "registry");
	char *here = rq_f(rq, "%s.registry", at);

	if (!val_str(registry).n) {
		v_required(e, here, pairs);
		return;
	}
	if (val_str(val_get(source, "tenant")).n >= 65) {
		v_required(e, rq_f(rq, "%s.tenant", at), "must be a UUID and may not exceed a length of 64 characters");
		return;
	}
	for (struct str pair, rest = val_str(registry); rest.p;) {
		rest = str_cut(rest, ',', &pair);
		if (!is_host_and_port(pair))
			v_invalid(e, here, registry, pairs);
	}
}

static void of_glusterfs(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct val ns = val_get(source, "endpointsNamespace");
	char *here = rq_f(rq, "%s.endpointsNamespace", at);

	if (val_has(ns) && !val_str(ns).n)
		v_invalid(e, here, ns, "if the endpointnamespace is set, it must be a valid namespace name");
	else if (val_has(ns))
		validate_name(e, here, val_str(ns), NAME_LABEL);
}

static void of_flocker(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct str name = val_str(val_get(source, "datasetName")), uuid = val_str(val_get(source, "datasetUUID"));

	if (!name.n && !uuid.n)
		v_required(e, at, "one of datasetName and datasetUUID is required");
	if (name.n && uuid.n)
		v_invalid_str(
			e, at, STR("resource"), "datasetName and datasetUUID can not be specified simultaneously");
	if (str_has(name, STR("/")))
		v_invalid_str(e, rq_f(rq, "%s.datasetName", at), name, "must not contain '/'");
}

static void of_flex(struct rq *rq, struct val source, const char *at, struct err *e)
{
	for (struct val_iter it = val_iter(val_get(source, "options")); val_next(&it);) {
		struct str domain, path = str_cut(it.key, '/', &domain);
		char *dotted = rq_lower(rq, ARENA_JOIN(rq->a, STR("."), path.p ? domain : it.key));

		if (str_ends(str_c(dotted), STR(".kubernetes.io")) || str_ends(str_c(dotted), STR(".k8s.io")))
			v_invalid_str(e, rq_f(rq, "%s.options[%.*s]", at, STR_ARG(it.key)), it.key,
				"kubernetes.io and k8s.io namespaces are reserved");
	}
}

static void of_azure_file(struct rq *rq, struct val source, const char *at, struct err *e)
{
	struct val ns = val_get(source, "secretNamespace");

	if (val_has(ns) && !val_str(ns).n)
		v_required(e, rq_f(rq, "%s.secretNamespace", at), "");
}

static void of_azure_disk(struct rq *rq, struct val source, const char *at, struct err *e)
{
	static const char *const managed
		[] = { "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
			NULL },
	 *const blobs[] = { "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd", NULL };
	struct val kind = val_get(source, "kind");
	struct str uri = val_str(val_get(source, "diskURI"));
	bool is_managed = val_is(kind, "Managed");

	if (val_has(kind) && !str_starts(uri, is_managed ? STR("/subscriptions/") : STR("https://")))
		v_unsupported(e, rq_f(rq, "%s.diskURI", at), uri, is_managed ? managed : blobs);
}

/* of_volume: of a PersistentVolume, whose Secret may stand in any namespace. */
static void secret_ref(struct rq *rq, struct val source, const char *at, bool of_volume, struct err *e)
{
	struct val ref = val_get(source, "secretRef");

	if (val_has(ref) && !val_str(val_get(ref, "name")).n)
		v_required(e, rq_f(rq, "%s.secretRef.name", at), "");
	if (val_has(ref) && of_volume && !val_str(val_get(ref, "namespace")).n)
		v_required(e, rq_f(rq, "%s.secretRef.namespace", at), "");
}

static void of_cinder(struct rq *rq, struct val source, const char *at, struct err *e)
{
	secret_ref(rq, source, at, false, e);
}

static void of_cinder_volume(struct rq *rq, struct val source, const char *at, struct err *e)
{
	secret_ref(rq, source, at, true, e);
}

static void storageos_names(struct rq *rq, struct val source, const char *at, struct err *e)
{
	static const char *const names[] = { "volumeName", "volumeNamespace" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct str name = val_str(val_get(source, names[i]));
		if (name.n)
			validate_name(e, rq_f(rq, "%s.%s", at, names[i]), name, NAME_LABEL);
	}
}

static void of_storageos(struct rq *rq, struct val source, const char *at, struct err *e)
{
	storageos_names(rq, source, at, e);
	secret_ref(rq, source, at, false, e);
}

static void of_storageos_volume(struct rq *rq, struct val source, const char *at, struct err *e)
{
	storageos_names(rq, source, at, e);
	secret_ref(rq, source, at, true, e);
}

/* In the order in which upstream looks for them: the first is the volume's, each further one is wrong. */
struct source_kind {
	const char *name;
	void (*check)(struct rq *rq, struct val source, const char *at, struct err *e);
};

static const struct source_kind of_pod[] = { { "emptyDir", NULL }, { "hostPath", of_host_path }, { "gitRepo", NULL },
	{ "gcePersistentDisk", NULL }, { "awsElasticBlockStore", NULL }, { "secret", of_secret }, { "nfs", of_nfs },
	{ "iscsi", of_iscsi }, { "glusterfs", of_glusterfs }, { "flocker", of_flocker },
	{ "persistentVolumeClaim", NULL }, { "rbd", NULL }, { "cinder", of_cinder }, { "cephfs", NULL },
	{ "quobyte", of_quobyte }, { "downwardAPI", of_downward }, { "fc", of_fc }, { "flexVolume", of_flex },
	{ "configMap", of_config_map }, { "azureFile", of_azure_file }, { "vsphereVolume", NULL },
	{ "photonPersistentDisk", NULL }, { "portworxVolume", NULL }, { "azureDisk", of_azure_disk },
	{ "storageos", of_storageos }, { "projected", of_projected }, { "scaleIO", NULL }, { "csi", of_pod_csi },
	{ "ephemeral", NULL }, { "image", NULL }, {} };

static const struct source_kind of_volume[] = { { "hostPath", of_host_path }, { "gcePersistentDisk", NULL },
	{ "awsElasticBlockStore", NULL }, { "glusterfs", of_glusterfs }, { "flocker", of_flocker }, { "nfs", of_nfs },
	{ "rbd", NULL }, { "quobyte", of_quobyte }, { "cephfs", NULL }, { "iscsi", of_iscsi },
	{ "cinder", of_cinder_volume }, { "fc", of_fc }, { "flexVolume", of_flex }, { "azureFile", of_azure_file },
	{ "vsphereVolume", NULL }, { "photonPersistentDisk", NULL }, { "portworxVolume", NULL },
	{ "azureDisk", of_azure_disk }, { "scaleIO", NULL }, { "local", of_local },
	{ "storageos", of_storageos_volume }, { "csi", of_csi }, {} };

static void source(struct rq *rq, const struct source_kind *sources, struct val v, const char *at, struct err *e)
{
	size_t n = 0;

	for (size_t i = 0; sources[i].name; i++) {
		struct val s = val_get(v, sources[i].name);
		if (!val_has(s))
			continue;
		if (n++)
			v_forbidden(
				e, rq_f(rq, "%s.%s", at, sources[i].name), "may not specify more than 1 volume type");
		else if (sources[i].check)
			sources[i].check(rq, s, rq_f(rq, "%s.%s", at, sources[i].name), e);
	}
	if (!n)
		v_required(e, at, "must specify a volume type");
}

void validate_volume_source(struct rq *rq, struct val spec, const char *at, struct err *e)
{
	source(rq, of_volume, spec, at, e);
}

bool same_volume_source(struct val a, struct val b)
{
	for (size_t i = 0; of_volume[i].name; i++)
		if (!val_equal(val_get(a, of_volume[i].name), val_get(b, of_volume[i].name)))
			return false;
	return true;
}

void validate_volumes(struct rq *rq, struct val spec, const char *path, struct err *e)
{
	struct val list = val_get(spec, "volumes");

	for (size_t i = 0; i < val_len(list); i++) {
		struct val v = val_at(list, i);
		struct str name = val_str(val_get(v, "name"));
		char *at = rq_f(rq, "%s.volumes[%zu]", path, i);
		if (name.n)
			validate_name(e, rq_f(rq, "%s.name", at), name, NAME_LABEL);
		for (size_t k = 0; name.n && k < i; k++)
			if (str_eq(val_str(val_get(val_at(list, k), "name")), name)) {
				v_duplicate(e, rq_f(rq, "%s.name", at), name);
				break;
			}
		source(rq, of_pod, v, at, e);
	}
}

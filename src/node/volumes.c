/* The volumes of a pod: made before its containers, kept up to date while they run, taken away after them.
 * Layout: data_dir/pods/UID/volumes/kubernetes.io~KIND/NAME, as tools that look into it expect. */
#include "node/node_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define OBJECT_TMPFS_BYTES "4194304"
#define TOKEN_SECONDS 3600

struct token {
	char *text;
	int64_t renew_ns; /* wall */
};

static void token_end(void *arg)
{
	struct token *t = arg;

	free(t->text);
	free(t);
}

static const struct kind {
	const char *field, *dir;
	bool memory;
} kinds[] = {
	{ "emptyDir", "kubernetes.io~empty-dir", false },
	{ "configMap", "kubernetes.io~configmap", false },
	{ "secret", "kubernetes.io~secret", true },
	{ "projected", "kubernetes.io~projected", true },
	{ "downwardAPI", "kubernetes.io~downward-api", true },
};

static const struct kind *kind_of(struct val volume)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (val_has(val_get(volume, kinds[i].field)))
			return &kinds[i];
	return &kinds[0];
}

/* Own. Where the volume's content is on this machine. */
static char *volume_path(const struct pod *p, struct val volume)
{
	struct val host = val_get(volume, "hostPath");
	auto_free char *sub = NULL;

	if (val_has(host))
		return str_dup(val_str(val_get(host, "path")));
	sub = xasprintf("volumes/%s/%.*s", kind_of(volume)->dir, STR_ARG(val_str(val_get(volume, "name"))));
	return pod_dir(p, sub);
}

static bool is_mounted(const char *path)
{
	struct stat st, up;
	auto_free char *parent = xasprintf("%s/..", path);

	return stat(path, &st) == 0 && stat(parent, &up) == 0 && st.st_dev != up.st_dev;
}

static int mount_tmpfs(const char *path, const char *size, struct err *e)
{
	auto_free char *opts = size ? xasprintf("size=%s,mode=0777", size) : xstrdup("mode=0777");

	if (is_mounted(path))
		return 0;
	if (mount("tmpfs", path, "tmpfs", 0, opts) < 0)
		return err_errno(e, errno, "mount tmpfs at %s", path);
	return 0;
}

static int64_t fs_group(struct doc *d)
{
	struct val g = doc_get(d, "spec.securityContext.fsGroup");

	return val_kind(g) == VAL_INT ? val_int(g, -1) : -1;
}

/* ---- plain directories ----------------------------------------------------------------------- */

static int setup_empty(const char *path, struct val v, int64_t gid, struct err *e)
{
	struct quantity limit;
	char size[32];
	bool memory = val_is(val_path(v, "emptyDir.medium"), "Memory");
	bool fresh = access(path, F_OK) != 0;
	int r = mkdirs(path, 0777, e);

	if (r < 0)
		return r;
	if (memory) {
		bool sized = quantity_of(val_path(v, "emptyDir.sizeLimit"), &limit) && limit.value > 0;
		fresh |= !is_mounted(path);
		(void)snprintf(size, sizeof(size), "%lld", sized ? (long long)quantity_whole(limit) : 0LL);
		r = mount_tmpfs(path, sized ? size : NULL, e);
		if (r < 0)
			return r;
	}
	if (!fresh)
		return 0;
	if (gid >= 0 && chown(path, (uid_t)-1, (gid_t)gid) < 0)
		return err_errno(e, errno, "change the group of %s", path);
	if (chmod(path, gid >= 0 ? 02777 : 0777) < 0)
		return err_errno(e, errno, "change the mode of %s", path);
	return 0;
}

int check_host_path(struct val v, struct err *e)
{
	struct str type = val_str(val_path(v, "hostPath.type"));
	auto_free char *path = str_dup(val_str(val_path(v, "hostPath.path")));
	struct stat st;
	int r = stat(path, &st);

	if (str_is(type, "DirectoryOrCreate") && r < 0)
		return mkdirs(path, 0755, e);
	if (str_is(type, "FileOrCreate") && r < 0) {
		int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			return err_errno(e, errno, "hostPath %s", path);
		(void)close(fd);
		return 0;
	}
	if (str_empty(type)) /* unchecked: the runtime makes a directory, as upstream's does */
		return r < 0 ? mkdirs(path, 0755, e) : 0;
	bool ok = r == 0 &&
		((str_starts(type, STR("Directory")) && S_ISDIR(st.st_mode)) ||
			(str_starts(type, STR("File")) && S_ISREG(st.st_mode)) ||
			(str_is(type, "Socket") && S_ISSOCK(st.st_mode)) ||
			(str_is(type, "CharDevice") && S_ISCHR(st.st_mode)) ||
			(str_is(type, "BlockDevice") && S_ISBLK(st.st_mode)));
	return ok ? 0 : err_set(e, ERR_INVALID, "hostPath type check failed: %s is not a %.*s", path, STR_ARG(type));
}

/* ---- files from objects ---------------------------------------------------------------------- */

struct fill {
	struct pod *p;
	struct doc *d;
	struct env_ctx x;
	struct file_set set;
	int mode;
	int64_t gid;
};

static int mode_of(struct fill *f, struct val item)
{
	int mode = (int)val_int(val_get(item, "mode"), f->mode);

	return f->gid >= 0 ? mode | 0440 : mode; /* the group that owns the volume reads it */
}

static int add_value(struct fill *f, struct str path, struct val v, bool base64, struct val item, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;

	if (!base64)
		return file_set_add(&f->set, path, val_str(v), mode_of(f, item), e);
	if (base64_decode(val_str(v), &b) < 0)
		return err_set(e, ERR_INVALID, "value of \"%.*s\" is not base64", STR_ARG(path));
	return file_set_add(&f->set, path, buf_view(&b), mode_of(f, item), e);
}

static int fill_object(struct fill *f, struct gvr r, struct str name, struct val src, struct err *e)
{
	bool secret = gvr_eq(r, res_secrets), optional = val_bool(val_get(src, "optional"), false);
	auto_(doc_unref) struct doc *o = NULL;
	struct val items = val_get(src, "items"), data, binary;
	int code = objects_get(f->p->n->objects, r, doc_ns(f->d), name, &o, e);

	if (code == -ERR_NOT_FOUND && optional)
		return 0;
	if (code == -ERR_NOT_FOUND)
		return err_set(
			e, ERR_NOT_FOUND, "%s \"%.*s\" not found", secret ? "secret" : "configmap", STR_ARG(name));
	if (code < 0)
		return err_wrap(
			e, "%s %.*s/%.*s", secret ? "secret" : "configmap", STR_ARG(doc_ns(f->d)), STR_ARG(name));
	data = doc_get(o, "data");
	binary = doc_get(o, "binaryData");
	if (!val_len(items)) {
		for (struct val_iter it = val_iter(data); val_next(&it);)
			if ((code = add_value(f, it.key, it.val, secret, VAL_NONE, e)) < 0)
				return code;
		for (struct val_iter it = val_iter(binary); val_next(&it);)
			if ((code = add_value(f, it.key, it.val, true, VAL_NONE, e)) < 0)
				return code;
		return 0;
	}
	for (struct val_iter it = val_iter(items); val_next(&it);) {
		struct str key = val_str(val_get(it.val, "key"));
		struct val v = val_get_str(data, key), b = val_get_str(binary, key);
		if (!val_has(v) && !val_has(b)) {
			if (optional)
				continue;
			return err_set(e, ERR_NOT_FOUND, "%s \"%.*s\" references non-existent key: %.*s",
				secret ? "secret" : "configmap", STR_ARG(name), STR_ARG(key));
		}
		code = add_value(
			f, val_str(val_get(it.val, "path")), val_has(v) ? v : b, secret || !val_has(v), it.val, e);
		if (code < 0)
			return code;
	}
	return 0;
}

static int fill_downward(struct fill *f, struct val items, struct err *e)
{
	for (struct val_iter it = val_iter(items); val_next(&it);) {
		struct val field = val_get(it.val, "fieldRef");
		char *text = NULL;
		int r = val_has(field) ? env_field(&f->x, field, &text, e) :
					 env_resource(&f->x, val_get(it.val, "resourceFieldRef"), VAL_NONE, &text, e);
		if (r == 0)
			r = file_set_add(&f->set, val_str(val_get(it.val, "path")), str_c(text), mode_of(f, it.val), e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- service account tokens: bound to this pod, renewed after 80 % of their life ------------- */

static int request_token(struct fill *f, struct str audience, int64_t seconds, struct token **ret, struct err *e)
{
	struct pod *p = f->p;
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *body = NULL, *reply = NULL;
	struct str sa = doc_str(f->d, "spec.serviceAccountName"), text;
	struct wall expires;
	int r;

	if (str_empty(sa))
		sa = STR("default");
	body = node_publish(node_pack(a,
		"{apiVersion:'authentication.k8s.io/v1', kind:'TokenRequest', spec:{expirationSeconds:I,"
		" boundObjectRef:{apiVersion:'v1', kind:'Pod', name:s, uid:s}}}",
		seconds, p->name, p->uid));
	if (!str_empty(audience)) {
		doc_unref(body);
		body = node_publish(node_pack(a,
			"{apiVersion:'authentication.k8s.io/v1', kind:'TokenRequest', spec:{audiences:[S], expirationSeconds:I,"
			" boundObjectRef:{apiVersion:'v1', kind:'Pod', name:s, uid:s}}}",
			audience, seconds, p->name, p->uid));
	}
	r = client_call(p->n->client,
		&(struct client_request){ .verb = VERB_CREATE,
			.res = res_serviceaccounts,
			.ns = doc_ns(f->d),
			.name = sa,
			.sub = "token",
			.body = body },
		&reply, e);
	if (r < 0)
		return err_wrap(e, "token of service account %.*s", STR_ARG(sa));
	text = doc_str(reply, "status.token");
	if (str_empty(text))
		return err_set(e, ERR_INTERNAL, "the API gave no token for service account %.*s", STR_ARG(sa));
	if (wall_parse(doc_str(reply, "status.expirationTimestamp"), &expires))
		seconds = MIN(seconds, MAX(wall_s(expires) - wall_s(wall_now()), (int64_t)60));
	struct token *t = xcalloc(1, sizeof(*t));
	t->text = str_dup(text);
	t->renew_ns = wall_now().ns + MIN(seconds * 8 / 10, (int64_t)86400) * 1000000000;
	*ret = t;
	return 0;
}

/* The user that all containers run as; -1: the image's, or not the same for all. */
static int64_t user_of_all(struct doc *d)
{
	static const char *const lists[] = { "spec.initContainers", "spec.containers", "spec.ephemeralContainers" };
	int64_t of_pod = val_int(doc_get(d, "spec.securityContext.runAsUser"), -1), all = -2;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (struct val_iter it = val_iter(doc_get(d, lists[i])); val_next(&it);) {
			int64_t user = val_int(val_path(it.val, "securityContext.runAsUser"), of_pod);

			if (user < 0 || (all >= 0 && user != all))
				return -1;
			all = user;
		}
	return MAX(all, (int64_t)-1);
}

/* For its readers only: the containers' user, or the volume's group. */
static int add_token(struct fill *f, struct str path, struct str text, struct err *e)
{
	int64_t uid = user_of_all(f->d);
	int mode = f->gid >= 0 ? 0640 : uid >= 0 ? 0600 : f->mode;

	return file_set_add_of(&f->set, path, text, mode, uid, e);
}

static int fill_token(struct fill *f, struct val src, struct err *e)
{
	struct str audience = val_str(val_get(src, "audience"));
	int64_t seconds = val_int(val_get(src, "expirationSeconds"), TOKEN_SECONDS);
	auto_free char *key = xasprintf("%.*s %lld", STR_ARG(audience), (long long)seconds);
	struct token *t;
	int r;

	if (!f->p->tokens)
		f->p->tokens = map_new(token_end);
	t = map_get(f->p->tokens, str_c(key));
	if (!t || wall_now().ns >= t->renew_ns) {
		struct token *fresh = NULL;
		r = request_token(f, audience, seconds, &fresh, e);
		if (r < 0 && !t)
			return r;
		if (r == 0) {
			map_put(f->p->tokens, str_c(key), fresh);
			t = fresh;
		} else { /* keep the old one, it is good for a while */
			t->renew_ns = wall_now().ns + 30 * (int64_t)1000000000;
		}
	}
	if (!f->p->token_renew_ns || t->renew_ns < f->p->token_renew_ns)
		f->p->token_renew_ns = t->renew_ns;
	return add_token(f, val_str(val_get(src, "path")), str_c(t->text), e);
}

static int fill_projected(struct fill *f, struct val sources, struct err *e)
{
	for (struct val_iter it = val_iter(sources); val_next(&it);) {
		struct val v;
		int r;
		if (val_has(v = val_get(it.val, "configMap")))
			r = fill_object(f, res_configmaps, val_str(val_get(v, "name")), v, e);
		else if (val_has(v = val_get(it.val, "secret")))
			r = fill_object(f, res_secrets, val_str(val_get(v, "name")), v, e);
		else if (val_has(v = val_get(it.val, "downwardAPI")))
			r = fill_downward(f, val_get(v, "items"), e);
		else if (val_has(v = val_get(it.val, "serviceAccountToken")))
			r = fill_token(f, v, e);
		else
			r = err_set(e, ERR_UNSUPPORTED, "projected volume: a source of this type is not supported");
		if (r < 0)
			return r;
	}
	return 0;
}

static int setup_files(
	struct pod *p, struct doc *d, struct val v, const struct kind *k, const char *path, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct val src = val_get(v, k->field);
	struct fill f = { .p = p, .d = d, .gid = fs_group(d), .mode = (int)val_int(val_get(src, "defaultMode"), 0644) };
	bool changed;
	int r = mkdirs(path, 0755, e);

	if (r == 0 && k->memory)
		r = mount_tmpfs(path, OBJECT_TMPFS_BYTES, e);
	if (r < 0)
		return r;
	(void)chmod(path, 0755);
	f.set.a = a;
	env_ctx_of(&f.x, p, d, a);
	if (strcmp(k->field, "configMap") == 0)
		r = fill_object(&f, res_configmaps, val_str(val_get(src, "name")), src, e);
	else if (strcmp(k->field, "secret") == 0)
		r = fill_object(&f, res_secrets, val_str(val_get(src, "secretName")), src, e);
	else if (strcmp(k->field, "downwardAPI") == 0)
		r = fill_downward(&f, val_get(src, "items"), e);
	else
		r = fill_projected(&f, val_get(src, "sources"), e);
	return r < 0 ? r : files_write(path, &f.set, f.gid, &changed, e);
}

static int setup_one(struct pod *p, struct doc *d, struct val v, bool refresh, struct err *e)
{
	const struct kind *k = kind_of(v);
	auto_free char *path = volume_path(p, v);
	int r;

	if (val_has(val_get(v, "hostPath")))
		return refresh ? 0 : check_host_path(v, e);
	if (volume_is_claim(v))
		return refresh ? 0 : claim_volume_setup(p, d, v, e);
	if (k == &kinds[0])
		return refresh ? 0 : setup_empty(path, v, fs_group(d), e);
	r = setup_files(p, d, v, k, path, e);
	return r < 0 ?
		err_wrap(e, "MountVolume.SetUp failed for volume \"%.*s\"", STR_ARG(val_str(val_get(v, "name")))) :
		0;
}

/* A refresh goes on after a failure: an object that somebody deleted must not keep the other volumes, and tokens, from
 * their news. */
static int setup_all(struct pod *p, struct doc *d, bool refresh, struct err *e)
{
	int first = 0;

	p->token_renew_ns = 0;
	for (struct val_iter it = val_iter(doc_get(d, "spec.volumes")); val_next(&it);) {
		struct err mine;
		err_init(&mine);
		int r = setup_one(p, d, it.val, refresh, first ? &mine : e);
		if (r < 0 && !refresh)
			return r;
		first = first ? first : r;
	}
	p->volumes_loaded = true;
	return first;
}

int volumes_setup(struct pod *p, struct doc *d, struct err *e)
{
	auto_free char *dir = pod_dir(p, NULL), *all = xasprintf("%s/pods", p->n->o.data_dir);
	int r = mkdirs(all, 0755, e);

	objects_watch(p->n->objects, p, d); /* before they are read: no change falls between */
	if (r == 0)
		r = mkdirs(dir, 0750, e);
	return r < 0 ? r : setup_all(p, d, false, e);
}

int volumes_refresh(struct pod *p, struct doc *d, struct err *e)
{
	return setup_all(p, d, true, e);
}

/* ---- the end: everything mounted below the pod's directory goes, newest first ---------------- */

static void unmount_below(const char *dir)
{
	size_t n = strlen(dir);

	for (int round = 0; round < 8; round++) {
		FILE *f = fopen("/proc/self/mounts", "re");
		char line[8192], *found[256];
		size_t k = 0;
		if (!f)
			return;
		while (fgets(line, sizeof(line), f) && k < ARRAY_LEN(found)) {
			char *at = strchr(line, ' '), *end = at ? strchr(at + 1, ' ') : NULL;
			if (!end)
				continue;
			*end = 0;
			if (strncmp(at + 1, dir, n) == 0 && (at[1 + n] == '/' || at[1 + n] == 0))
				found[k++] = xstrdup(at + 1);
		}
		(void)fclose(f);
		for (size_t i = k; i-- > 0;) {
			(void)umount2(found[i], MNT_DETACH | UMOUNT_NOFOLLOW);
			free(found[i]);
		}
		if (k < ARRAY_LEN(found))
			return;
	}
}

void volumes_teardown(struct node_agent *n, const char *pod_uid)
{
	auto_free char *dir = xasprintf("%s/pods%s%s", n->o.data_dir, *pod_uid ? "/" : "", pod_uid);

	if (access(dir, F_OK) != 0)
		return;
	unmount_below(dir);
	remove_tree(dir);
}

/* Where images come from besides their own registry, and with which credentials.
 *
 *   registries.yaml ─► certs.d/HOST/hosts.toml (mirrors, certificates: containerd reads them at each pull)
 *                  └─► credentials of registries, after those of a pod's imagePullSecrets
 *
 *   mirrors:
 *     docker.io: { endpoint: ["https://mirror.example:5000"] }
 *   configs:
 *     mirror.example:5000:
 *       auth: { username: u, password: p }
 *       tls: { ca_file: /etc/ssl/mirror.pem, insecure_skip_verify: false }
 *
 * The file is looked at before each pull: a change needs no restart. */
#include "base/file.h"
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define FILE_MAX ((size_t)1 << 20)
#define AUTHS_MAX 8

struct registries {
	struct task_mutex lock;
	const char *file, *dir;
	struct timespec changed;
	struct doc *config; /* NULL: there is no file */
};

struct str image_host(struct str ref)
{
	struct str host;

	(void)str_cut(ref, '/', &host);
	return host;
}

/* "https://index.docker.io/v1/" → "index.docker.io" */
static struct str server_host(struct str server)
{
	static const char *const schemes[] = { "https://", "http://" };

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
		if (str_starts(server, str_c(schemes[i])))
			server = str_sub(server, strlen(schemes[i]), server.n);
	return image_host(server);
}

/* ---- the file -------------------------------------------------------------------------------- */

static bool plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == '"' || s.p[i] == '\\')
			return false;
	return true;
}

int registries_check(struct doc *config, struct err *e)
{
	for (struct val_iter it = val_iter(doc_root(config)); val_next(&it);)
		if (!str_is(it.key, "mirrors") && !str_is(it.key, "configs"))
			return err_set(
				e, ERR_INVALID, "unknown key \"%.*s\"; mirrors and configs are known", STR_ARG(it.key));
	for (struct val_iter it = val_iter(doc_get(config, "mirrors")); val_next(&it);) {
		if (!plain(it.key) || memchr(it.key.p, '/', it.key.n) || it.key.p[0] == '.')
			return err_set(
				e, ERR_INVALID, "mirrors: \"%.*s\" is not the name of a registry", STR_ARG(it.key));
		for (struct val_iter s = val_iter(val_get(it.val, "endpoint")); val_next(&s);) {
			struct str url = val_str(s.val);
			if (!plain(url) || (!str_starts(url, STR("https://")) && !str_starts(url, STR("http://"))))
				return err_set(e, ERR_INVALID,
					"mirrors.%.*s.endpoint: \"%.*s\" is not a URL that begins with http:// or "
					"https://",
					STR_ARG(it.key), STR_ARG(url));
		}
	}
	for (struct val_iter it = val_iter(doc_get(config, "configs")); val_next(&it);) {
		if (!plain(it.key) || memchr(it.key.p, '/', it.key.n) || it.key.p[0] == '.')
			return err_set(
				e, ERR_INVALID, "configs: \"%.*s\" is not the name of a registry", STR_ARG(it.key));
		for (struct val_iter s = val_iter(val_get(it.val, "tls")); val_next(&s);)
			if (!plain(val_str(s.val)))
				return err_set(e, ERR_INVALID, "configs.%.*s.tls.%.*s is not a path", STR_ARG(it.key),
					STR_ARG(s.key));
	}
	return 0;
}

static void host_table(struct doc *config, struct str url, bool mirror, struct buf *out)
{
	struct val tls = val_get(val_get_str(doc_get(config, "configs"), server_host(url)), "tls");
	struct str ca = val_str(val_get(tls, "ca_file")), cert = val_str(val_get(tls, "cert_file")),
		   key = val_str(val_get(tls, "key_file"));
	struct str after = str_sub(url, str_starts(url, STR("https://")) ? 8 : 7, url.n);
	const char *path = memchr(after.p, '/', after.n);

	buf_printf(out, "[host.\"%.*s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", STR_ARG(url));
	if (mirror && path && path + 1 < after.p + after.n)
		buf_c(out, "  override_path = true\n");
	if (ca.n)
		buf_printf(out, "  ca = \"%.*s\"\n", STR_ARG(ca));
	if (cert.n && key.n)
		buf_printf(out, "  client = [[\"%.*s\", \"%.*s\"]]\n", STR_ARG(cert), STR_ARG(key));
	if (val_bool(val_get(tls, "insecure_skip_verify"), false))
		buf_c(out, "  skip_verify = true\n");
}

/* hosts.toml of one registry. */
void registries_toml(struct doc *config, struct str host, struct buf *out)
{
	bool docker = str_is(host, "docker.io");
	auto_free char *own =
		docker ? xstrdup("https://registry-1.docker.io") : xasprintf("https://%.*s", STR_ARG(host));

	if (!str_is(host, "_default"))
		buf_printf(out, "server = \"%s\"\n", own);
	for (struct val_iter it = val_iter(val_get(
		     val_get_str(doc_get(config, "mirrors"), str_is(host, "_default") ? STR("*") : host), "endpoint"));
		val_next(&it);)
		host_table(config, val_str(it.val), true, out);
	if (val_has(val_get(val_get_str(doc_get(config, "configs"), host), "tls")))
		host_table(config, str_c(own), false, out);
}

static int write_host(struct registries *s, struct str host, struct err *e)
{
	struct str name = str_is(host, "*") ? STR("_default") : host;
	auto_free char *dir = xasprintf("%s/%.*s", s->dir, STR_ARG(name)), *path = xasprintf("%s/hosts.toml", dir);
	auto_buf struct buf text = BUF_INIT;
	int r = mkdirs(dir, 0755, e);

	registries_toml(s->config, name, &text);
	return r < 0 ? r : file_write(path, buf_view(&text), 0644, e);
}

static int write_all(struct registries *s, struct err *e)
{
	int r = 0;

	if (!s->dir)
		return 0;
	remove_tree(s->dir);
	if (!s->config)
		return 0;
	for (struct val_iter it = val_iter(doc_get(s->config, "mirrors")); val_next(&it) && r == 0;)
		r = write_host(s, it.key, e);
	for (struct val_iter it = val_iter(doc_get(s->config, "configs")); val_next(&it) && r == 0;)
		r = write_host(s, it.key, e);
	return r;
}

static int load(struct registries *s, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;
	int r;

	text.max = FILE_MAX;
	r = file_read(s->file, &text, e);
	if (r < 0)
		return r;
	r = doc_parse_yaml(buf_view(&text), NULL, NULL, &d, e);
	if (r == 0)
		r = registries_check(d, e);
	if (r < 0)
		return err_wrap(e, "%s", s->file);
	doc_unref(s->config);
	s->config = TAKE(d);
	return write_all(s, e);
}

/* Under the lock. A file that cannot be read leaves what was known before. */
static void refresh(struct registries *s)
{
	struct stat st = { 0 };
	bool there = s->file && stat(s->file, &st) == 0;
	struct err e;

	if (st.st_mtim.tv_sec == s->changed.tv_sec && st.st_mtim.tv_nsec == s->changed.tv_nsec)
		return;
	s->changed = st.st_mtim;
	err_init(&e);
	if (!there) {
		doc_unref(TAKE(s->config));
		(void)write_all(s, &e);
	} else if (load(s, &e) < 0) {
		log_error("registries are as they were: %s", e.message);
	}
}

/* ---- credentials ----------------------------------------------------------------------------- */

static bool names(struct str server, struct str ref)
{
	struct str host = image_host(ref), named = server_host(server);

	return str_eq(named, host) ||
		(str_is(host, "docker.io") &&
			(str_is(named, "index.docker.io") || str_is(named, "registry-1.docker.io")));
}

static void add_auth(struct val v, struct arena *a, struct image_auth *list, size_t *n)
{
	if (*n == AUTHS_MAX)
		return;
	list[(*n)++] = (struct image_auth){
		.username = arena_cstr(a, val_str(val_get(v, "username"))),
		.password = arena_cstr(a, val_str(val_get(v, "password"))),
		.auth = arena_cstr(a, val_str(val_get(v, "auth"))),
		.identity_token = arena_cstr(a, val_str(val_get(v, "identitytoken"))),
	};
}

/* Both forms that secrets have had. */
void image_credentials_in(struct doc *secret, struct str ref, struct arena *a, struct image_auth *list, size_t *n)
{
	struct val data = doc_get(secret, "data"), now = val_get(data, ".dockerconfigjson"),
		   old = val_get(data, ".dockercfg");
	auto_buf struct buf text = BUF_INIT;
	auto_(doc_unref) struct doc *config = NULL;
	struct err e;

	err_init(&e);
	if (base64_decode(val_str(val_has(now) ? now : old), &text) < 0 || doc_parse(buf_view(&text), &config, &e) < 0)
		return;
	for (struct val_iter it = val_iter(val_has(now) ? doc_get(config, "auths") : doc_root(config)); val_next(&it);)
		if (names(it.key, ref))
			add_auth(it.val, a, list, n);
}

size_t image_credentials(struct pod *p, struct doc *d, struct str ref, struct arena *a, struct image_auth **ret)
{
	struct image_auth *list = ARENA_ARRAY(a, struct image_auth, AUTHS_MAX);
	struct registries *s = p->n->registries;
	struct val configs, own;
	size_t n = 0;
	struct err e;

	err_init(&e);
	for (struct val_iter it = val_iter(doc_get(d, "spec.imagePullSecrets")); val_next(&it);) {
		auto_(doc_unref) struct doc *secret = NULL;
		if (objects_get(p->n->objects, res_secrets, doc_ns(d), val_str(val_get(it.val, "name")), &secret, &e) ==
			0)
			image_credentials_in(secret, ref, a, list, &n);
	}
	task_lock(&s->lock);
	refresh(s);
	configs = s->config ? doc_get(s->config, "configs") : VAL_NONE;
	own = val_get(val_get_str(configs, image_host(ref)), "auth");
	if (val_has(own))
		add_auth(own, a, list, &n);
	for (struct val_iter it = val_iter(s->config ?
			     val_path(val_get_str(doc_get(s->config, "mirrors"), image_host(ref)), "endpoint") :
			     VAL_NONE);
		val_next(&it);) {
		own = val_get(val_get_str(configs, server_host(val_str(it.val))), "auth");
		if (val_has(own))
			add_auth(own, a, list, &n);
	}
	task_unlock(&s->lock);
	*ret = list;
	return n;
}

struct registries *registries_new(const char *file, const char *dir)
{
	struct registries *s = xcalloc(1, sizeof(*s));

	task_mutex_init(&s->lock);
	s->file = file;
	s->dir = dir;
	s->changed.tv_nsec = -1; /* looked at never: what an earlier process wrote is not trusted */
	refresh(s);
	return s;
}

struct registries *registries_free(struct registries *s)
{
	if (!s)
		return NULL;
	doc_unref(s->config);
	task_mutex_fini(&s->lock);
	free(s);
	return NULL;
}

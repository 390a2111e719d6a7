/* kubeconfig files: the current context's server and credentials. Inline keys go to files without a name (memfd): they
 * never touch a disk. */
#include "base/file.h"
#include "client/remote_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)4 << 20)

struct source {
	struct arena *a;
	const char *path;
	struct doc *doc;
	struct remote_config c;
	int fds_n;
};

/* The "user", "cluster" or "context" map of the entry with this name. */
static int find(struct source *s, const char *list, const char *what, struct str name, struct val *ret, struct err *e)
{
	struct val entry = val_find(doc_get(s->doc, list), "name", name);

	if (!val_has(entry))
		return err_set(e, ERR_INVALID, "%s has no %s named \"%.*s\"", s->path, what, STR_ARG(name));
	*ret = val_get(entry, what);
	return 0;
}

/* Own (arena): the name of a file as tls wants it: relative ones are relative to the kubeconfig. */
static const char *file_name(struct source *s, struct str name)
{
	const char *slash = strrchr(s->path, '/');

	if (!name.n)
		return NULL;
	if (name.p[0] == '/' || !slash)
		return arena_cstr(s->a, name);
	return arena_printf(s->a, "%.*s/%.*s", (int)(slash - s->path), s->path, STR_ARG(name));
}

static int nameless_file(struct source *s, const char *what, struct str base64, const char **ret, struct err *e)
{
	auto_buf struct buf bytes = { .max = FILE_MAX };
	int fd;

	if (base64_decode(base64, &bytes) < 0)
		return err_set(e, ERR_INVALID, "%s: %s-data is not base64", s->path, what);
	fd = memfd_create(what, MFD_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "memfd for %s", what);
	s->c.fds[s->fds_n++] = fd;
	if (write(fd, bytes.p, bytes.n) != (ssize_t)bytes.n)
		return err_errno(e, errno, "memfd for %s", what);
	explicit_bzero(bytes.p, bytes.n);
	*ret = arena_printf(s->a, "/proc/self/fd/%d", fd);
	return 0;
}

/* "client-key-data" wins over "client-key", as everywhere. */
static int file_of(struct source *s, struct val map, const char *what, const char **ret, struct err *e)
{
	struct str data = val_str(val_get(map, arena_printf(s->a, "%s-data", what)));

	if (data.n)
		return nameless_file(s, what, data, ret, e);
	*ret = file_name(s, val_str(val_get(map, what)));
	return 0;
}

static int read_cluster(struct source *s, struct val cluster, struct err *e)
{
	struct str server = val_str(val_get(cluster, "server")), name = val_str(val_get(cluster, "tls-server-name"));

	if (!server.n)
		return err_set(e, ERR_INVALID, "%s: the cluster of the current context has no server", s->path);
	s->c.o.server = arena_cstr(s->a, server);
	s->c.server_name = name.n ? arena_cstr(s->a, name) : NULL;
	s->c.insecure = val_bool(val_get(cluster, "insecure-skip-tls-verify"), false);
	return file_of(s, cluster, "certificate-authority", &s->c.o.ca_file, e);
}

static int read_token(struct source *s, struct val user, struct err *e)
{
	struct str token = val_str(val_get(user, "token"));
	const char *file = file_name(s, val_str(val_get(user, "tokenFile")));
	auto_buf struct buf b = { .max = FILE_MAX };

	if (token.n) {
		s->c.o.token = arena_cstr(s->a, token);
		return 0;
	}
	if (!file)
		return 0;
	if (file_read(file, &b, e) < 0)
		return err_wrap(e, "%s: tokenFile", s->path);
	s->c.o.token = arena_cstr(s->a, str_trim(buf_view(&b)));
	return 0;
}

static int read_user(struct source *s, struct val user, struct err *e)
{
	int r;

	if (val_has(val_get(user, "exec")) || val_has(val_get(user, "auth-provider")))
		return err_set(e, ERR_UNSUPPORTED,
			"%s: exec and auth-provider users are not supported here: use a certificate or a token",
			s->path);
	r = file_of(s, user, "client-certificate", &s->c.o.cert_file, e);
	if (r == 0)
		r = file_of(s, user, "client-key", &s->c.o.key_file, e);
	return r == 0 ? read_token(s, user, e) : r;
}

static int read_context(struct source *s, struct err *e)
{
	struct str current = doc_str(s->doc, "current-context");
	struct val context, cluster, user;
	int r;

	if (!current.n)
		return err_set(e, ERR_INVALID, "%s has no current-context", s->path);
	r = find(s, "contexts", "context", current, &context, e);
	if (r == 0)
		r = find(s, "clusters", "cluster", val_str(val_get(context, "cluster")), &cluster, e);
	if (r == 0)
		r = find(s, "users", "user", val_str(val_get(context, "user")), &user, e);
	if (r == 0)
		r = read_cluster(s, cluster, e);
	return r == 0 ? read_user(s, user, e) : r;
}

int kubeconfig_read(const char *path, const char *name, struct arena *a, struct remote_config *ret, struct err *e)
{
	struct source s = { .a = a, .path = path, .c = REMOTE_CONFIG_INIT };
	auto_buf struct buf text = { .max = FILE_MAX };
	int r;

	r = file_read(path, &text, e);
	if (r < 0)
		return r;
	if (doc_parse_yaml(buf_view(&text), NULL, NULL, &s.doc, e) < 0)
		return err_wrap(e, "%s", path);
	s.c.o.name = name;
	r = read_context(&s, e);
	doc_unref(s.doc);
	for (int i = 0; r < 0 && i < s.fds_n; i++)
		close(s.c.fds[i]);
	if (r == 0)
		*ret = s.c;
	return r;
}

int client_kubeconfig(const char *path, const char *name, struct client **ret, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct remote_config c;
	int r = kubeconfig_read(path, name, a, &c, e);

	return r < 0 ? r : remote_new(&c, ret, e);
}

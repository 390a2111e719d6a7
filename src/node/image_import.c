/* Image archives → containerd. Blobs are streamed out of the archive as they lie there; nothing is unpacked here (CRI
 * does that when a container is first made from the image). Understands OCI layouts (index.json) and docker's archives
 * (manifest.json). */
#include "node/content.h"
#include "node/node_internal.h"
#include "node/tar.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define LOG_MODULE "node"
#define JSON_MAX (4 << 20)
#define CHILDREN_MAX 512
#define DEPTH_MAX 4
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER "application/vnd.oci.image.layer.v1.tar"

struct archive {
	int fd;
	struct arena *a;
	struct tar_index t;
	struct content c;
	struct str base; /* file name without folders and endings */
	size_t named;
};

static int pread_all(void *arg, int64_t offset, void *to, size_t n)
{
	int fd = *(int *)arg;

	for (size_t done = 0; done < n;) {
		ssize_t got = pread(fd, (char *)to + done, n - done, offset + (int64_t)done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -EIO;
		done += (size_t)got;
	}
	return 0;
}

struct range {
	int fd;
	int64_t at;
};

static int read_range(void *arg, int64_t offset, void *to, size_t n)
{
	struct range *r = arg;

	return pread_all(&r->fd, r->at + offset, to, n);
}

static int read_json(struct archive *x, const struct tar_entry *t, struct doc **ret, struct err *e)
{
	char *text;

	if (t->size > JSON_MAX)
		return err_set(e, ERR_TOO_LARGE, "%.*s is too large", STR_ARG(t->name));
	text = arena_alloc(x->a, (size_t)t->size + 1);
	if (pread_all(&x->fd, t->offset, text, (size_t)t->size) < 0)
		return err_set(e, ERR_IO, "%.*s cannot be read", STR_ARG(t->name));
	return doc_parse_lenient(str_n(text, (size_t)t->size), NULL, NULL, ret, e);
}

static const struct tar_entry *blob_of(struct archive *x, struct str digest)
{
	struct str algo, hex = str_cut(digest, ':', &algo);

	return tar_find(&x->t, arena_strf(x->a, "blobs/%.*s/%.*s", STR_ARG(algo), STR_ARG(hex)));
}

static int write_entry(struct archive *x, const struct tar_entry *t, const char *digest,
	const struct content_label *labels, size_t n, struct err *e)
{
	struct range r = { x->fd, t->offset };

	return content_write(&x->c, digest, t->size, read_range, &r, labels, n, e);
}

static void add_ref(struct archive *x, struct content_label *labels, size_t *n, struct str digest)
{
	labels[*n] = (struct content_label){ arena_printf(x->a, "containerd.io/gc.ref.content.%zu", *n),
		arena_cstr(x->a, digest) };
	++*n;
}

/* A manifest or an index with everything below it; children first, so that no blob refers to what is not there. */
static int import_tree(struct archive *x, struct str digest, int depth, struct err *e)
{
	const struct tar_entry *t = blob_of(x, digest);
	auto_(doc_unref) struct doc *d = NULL;
	struct content_label *labels = ARENA_ARRAY(x->a, struct content_label, CHILDREN_MAX);
	size_t n = 0;
	int r;

	if (!t)
		return content_has(&x->c, arena_cstr(x->a, digest)) ?
			0 :
			err_set(e, ERR_NOT_FOUND, "the archive lacks blob %.*s", STR_ARG(digest));
	if (depth > DEPTH_MAX)
		return err_set(e, ERR_INVALID, "indexes are nested too deep");
	r = read_json(x, t, &d, e);
	if (r < 0)
		return r;
	for (struct val_iter it = val_iter(doc_get(d, "manifests")); val_next(&it) && n < CHILDREN_MAX;) {
		struct str child = val_str(val_get(it.val, "digest"));
		if (!blob_of(x, child))
			continue; /* another platform's, left out of the archive */
		if ((r = import_tree(x, child, depth + 1, e)) < 0)
			return r;
		add_ref(x, labels, &n, child);
	}
	for (struct val_iter it = val_iter(doc_get(d, "layers")); val_next(&it) && n + 1 < CHILDREN_MAX;) {
		struct str child = val_str(val_get(it.val, "digest"));
		const struct tar_entry *blob = blob_of(x, child);
		if (!blob && !content_has(&x->c, arena_cstr(x->a, child)))
			return err_set(e, ERR_NOT_FOUND, "the archive lacks layer %.*s", STR_ARG(child));
		if (blob && (r = write_entry(x, blob, arena_cstr(x->a, child), NULL, 0, e)) < 0)
			return r;
		add_ref(x, labels, &n, child);
	}
	struct str config = doc_str(d, "config.digest");
	if (!str_empty(config)) {
		const struct tar_entry *blob = blob_of(x, config);
		if (!blob)
			return err_set(e, ERR_NOT_FOUND, "the archive lacks configuration %.*s", STR_ARG(config));
		if ((r = write_entry(x, blob, arena_cstr(x->a, config), NULL, 0, e)) < 0)
			return r;
		add_ref(x, labels, &n, config);
	}
	return write_entry(x, t, arena_cstr(x->a, digest), labels, n, e);
}

/* A name from the annotations; a bare tag belongs to the archive's own name. NULL: none. */
static char *name_of(struct archive *x, struct val annotations)
{
	struct str full = val_str(val_get(annotations, "io.containerd.image.name")),
		   ref = val_str(val_get(annotations, "org.opencontainers.image.ref.name"));
	auto_free char *normal = NULL;

	if (str_empty(full))
		full = ref;
	if (str_empty(full))
		return NULL;
	if (!memchr(full.p, '/', full.n) && !memchr(full.p, ':', full.n))
		full = arena_strf(x->a, "%.*s:%.*s", STR_ARG(x->base), STR_ARG(full));
	normal = image_normalize(full);
	return arena_strdup(x->a, normal);
}

static int import_oci(struct archive *x, const struct tar_entry *index, struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;
	int r = read_json(x, index, &d, e);

	if (r < 0)
		return err_wrap(e, "index.json");
	for (struct val_iter it = val_iter(doc_get(d, "manifests")); val_next(&it);) {
		struct str digest = val_str(val_get(it.val, "digest")), type = val_str(val_get(it.val, "mediaType"));
		char *name = name_of(x, val_get(it.val, "annotations"));
		if (!name)
			continue;
		r = import_tree(x, digest, 0, e);
		if (r == 0)
			r = content_tag(&x->c, name, str_empty(type) ? OCI_MANIFEST : arena_cstr(x->a, type),
				arena_cstr(x->a, digest), val_int(val_get(it.val, "size"), 0), e);
		if (r < 0)
			return err_wrap(e, "image %s", name);
		x->named++;
	}
	return 0;
}

/* ---- docker's archive ------------------------------------------------------------------------ */

static int digest_entry(struct archive *x, const struct tar_entry *t, char ret[80], bool *ret_gzip, struct err *e)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	auto_free unsigned char *chunk = xmalloc(1 << 20);
	unsigned char d[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	int r = 0;

	*ret_gzip = false;
	(void)EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	for (int64_t off = 0; r == 0 && off < t->size;) {
		size_t n = (size_t)MIN(t->size - off, (int64_t)1 << 20);
		if (pread_all(&x->fd, t->offset + off, chunk, n) < 0)
			r = err_set(e, ERR_IO, "%.*s cannot be read", STR_ARG(t->name));
		if (off == 0 && n > 2)
			*ret_gzip = chunk[0] == 0x1f && chunk[1] == 0x8b;
		(void)EVP_DigestUpdate(ctx, chunk, n);
		off += (int64_t)n;
	}
	(void)EVP_DigestFinal_ex(ctx, d, &len);
	EVP_MD_CTX_free(ctx);
	memcpy(ret, "sha256:", 7);
	for (unsigned i = 0; i < 32; i++)
		(void)snprintf(ret + 7 + i * 2, 3, "%02x", d[i]);
	return r;
}

static int docker_part(struct archive *x, struct str path, struct node *into, const char *type,
	struct content_label *labels, size_t *n, struct err *e)
{
	const struct tar_entry *t = tar_find(&x->t, path);
	char digest[80];
	bool gzip;
	int r;

	if (!t)
		return err_set(e, ERR_NOT_FOUND, "the archive lacks %.*s", STR_ARG(path));
	r = digest_entry(x, t, digest, &gzip, e);
	if (r == 0)
		r = write_entry(x, t, digest, NULL, 0, e);
	if (r < 0)
		return r;
	add_ref(x, labels, n, str_c(digest));
	struct node *entry = node_pack(x->a, "{mediaType:S, digest:s, size:I}",
		arena_strf(x->a, "%s%s", type, gzip ? "+gzip" : ""), digest, t->size);
	if (node_kind(into) == VAL_LIST)
		node_add(into, entry);
	else
		node_setc(into, "config", entry);
	return 0;
}

static int docker_image(struct archive *x, struct val image, struct err *e)
{
	struct content_label *labels = ARENA_ARRAY(x->a, struct content_label, CHILDREN_MAX);
	struct node *manifest = node_pack(x->a, "{schemaVersion:2, mediaType:s}", OCI_MANIFEST),
		    *layers = node_list(x->a);
	auto_buf struct buf text = BUF_INIT;
	char digest[80];
	size_t n = 0;
	int r = docker_part(x, val_str(val_get(image, "Config")), manifest, OCI_CONFIG, labels, &n, e);

	for (struct val_iter it = val_iter(val_get(image, "Layers")); r == 0 && val_next(&it) && n < CHILDREN_MAX;)
		r = docker_part(x, val_str(it.val), layers, OCI_LAYER, labels, &n, e);
	if (r < 0)
		return r;
	node_setc(manifest, "layers", layers);
	node_write(manifest, &text);
	r = content_write_bytes(&x->c, buf_view(&text), digest, labels, n, e);
	for (struct val_iter it = val_iter(val_get(image, "RepoTags")); r == 0 && val_next(&it);) {
		auto_free char *name = image_normalize(val_str(it.val));
		r = content_tag(&x->c, name, OCI_MANIFEST, digest, (int64_t)text.n, e);
		x->named++;
	}
	return r;
}

static int import_docker(struct archive *x, const struct tar_entry *manifest, struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;
	int r = read_json(x, manifest, &d, e);

	if (r < 0)
		return err_wrap(e, "manifest.json");
	for (struct val_iter it = val_iter(doc_root(d)); r == 0 && val_next(&it);)
		r = docker_image(x, it.val, e);
	return r;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* A compressed archive is unpacked once, beside nothing: into a file without a name. */
static int inflate_to_temp(const char *path, struct err *e)
{
	auto_free unsigned char *chunk = xmalloc(1 << 20);
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), n;
	gzFile z = gzopen(path, "rbe");

	if (fd < 0 || !z) {
		int r = err_errno(e, errno, "unpack %s", path);
		if (fd >= 0)
			(void)close(fd);
		if (z)
			(void)gzclose(z);
		return r;
	}
	while ((n = gzread(z, chunk, 1 << 20)) > 0) {
		if (write(fd, chunk, (size_t)n) == n)
			continue;
		n = -1;
		break;
	}
	(void)gzclose(z);
	if (n == 0)
		return fd;
	(void)close(fd);
	return err_set(e, ERR_IO, "%s cannot be unpacked", path);
}

static int open_archive(const char *path, struct err *e)
{
	unsigned char magic[2] = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(e, errno, "open %s", path);
	if (pread(fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b) {
		(void)close(fd);
		return inflate_to_temp(path, e);
	}
	return fd;
}

static struct str base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct str name = str_c(slash ? slash + 1 : path), head;

	(void)str_cut(name, '.', &head);
	return head;
}

static int import_fd(struct archive *x, const char *path, struct err *e)
{
	struct stat st;
	int r;

	if (fstat(x->fd, &st) < 0)
		return err_errno(e, errno, "read %s", path);
	struct tar_source s = { pread_all, &x->fd, st.st_size };
	r = tar_read(&s, x->a, &x->t, e);
	if (r < 0)
		return r;
	const struct tar_entry *index = tar_find(&x->t, STR("index.json")),
			       *manifest = tar_find(&x->t, STR("manifest.json"));
	if (index)
		r = import_oci(x, index, e);
	if (r == 0 && !x->named && manifest)
		r = import_docker(x, manifest, e);
	if (r == 0 && !index && !manifest)
		return err_set(e, ERR_INVALID,
			"this is neither an OCI layout nor a docker archive (no index.json, no manifest.json)");
	if (r == 0 && !x->named)
		return err_set(e, ERR_INVALID,
			"the archive names no image (annotation org.opencontainers.image.ref.name, or RepoTags)");
	return r;
}

int image_import(struct cri *c, const char *tar_path, node_image_progress *progress, void *arg, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct archive x = { .a = a, .base = base_name(tar_path) };
	int r;

	x.fd = open_archive(tar_path, e);
	if (x.fd < 0)
		return x.fd;
	r = content_begin(c, &x.c, e);
	if (r == 0) {
		x.c.progress = progress;
		x.c.progress_arg = arg;
		r = import_fd(&x, tar_path, e);
		content_end(&x.c);
	}
	(void)close(x.fd);
	return r < 0 ? err_wrap(e, "%s", tar_path) : 0;
}

/* ---- for the command line -------------------------------------------------------------------- */

struct session {
	struct net_loop *loop;
	struct cri cri;
};

static int session_open(struct session *s, const char *socket, const char *ns, struct err *e)
{
	int r;

	s->loop = net_loop_new("image-io");
	r = cri_open(socket, s->loop, ns, &s->cri, e);
	if (r < 0)
		s->loop = net_loop_free(s->loop);
	return r;
}

static void session_close(struct session *s)
{
	cri_close(&s->cri);
	s->loop = net_loop_free(s->loop);
}

int node_image_import(const char *containerd_sock, const char *ns, const char *tar_path, node_image_progress *progress,
	void *arg, struct err *e)
{
	struct session s;
	int r = session_open(&s, containerd_sock, ns, e);

	if (r < 0)
		return r;
	r = image_import(&s.cri, tar_path, progress, arg, e);
	session_close(&s);
	return r;
}

int node_image_list(const char *containerd_sock, struct node_image **ret, size_t *ret_n, struct err *e)
{
	auto_reply Cri__ListImagesReply *l = NULL;
	struct node_image *list = NULL;
	struct session s;
	size_t n = 0;
	int r = session_open(&s, containerd_sock, "k8s.io", e);

	if (r < 0)
		return r;
	r = cri_list_images(&s.cri, &l, e);
	for (size_t i = 0; r == 0 && i < l->n_images; i++) {
		for (size_t k = 0; k < l->images[i]->n_repo_tags; k++) {
			list = xrealloc(list, n + 1, sizeof(*list));
			list[n++] = (struct node_image){ xstrdup(l->images[i]->repo_tags[k]), xstrdup(l->images[i]->id),
				(int64_t)l->images[i]->size };
		}
	}
	session_close(&s);
	if (r < 0)
		return r;
	*ret = list;
	*ret_n = n;
	return 0;
}

void node_images_free(struct node_image *images, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(images[i].name);
		free(images[i].digest);
	}
	free(images);
}

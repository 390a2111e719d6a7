#include "node/content.h"
#include "base/task.h"
#include <openssl/evp.h>
#include <stdio.h>

#define CONTENT "/containerd.services.content.v1.Content/"
#define IMAGES "/containerd.services.images.v1.Images/"
#define LEASES "/containerd.services.leases.v1.Leases/"
#define CHUNK ((size_t)1 << 20)
#define CALL_MS 60000
#define ACTION_WRITE 1
#define ACTION_COMMIT 2
#define KNOWN_MS 3000

void sha256_text(const void *p, size_t n, char ret[80])
{
	unsigned char d[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	EVP_Digest(p, n, d, &len, EVP_sha256(), NULL);
	memcpy(ret, "sha256:", 7);
	for (unsigned i = 0; i < len && i < 32; i++)
		(void)snprintf(ret + 7 + i * 2, 3, "%02x", d[i]);
}

static int call(struct content *c, const char *method, const void *request,
	const ProtobufCMessageDescriptor *reply_type, void *ret, struct err *e)
{
	const ProtobufCMessage *rq = request;
	size_t n = protobuf_c_message_get_packed_size(rq);
	auto_free uint8_t *bytes = xmalloc(n + 1);
	auto_buf struct buf out = BUF_INIT;
	int r;

	protobuf_c_message_pack(rq, bytes);
	r = grpc_call(c->cri->grpc, method, c->meta, c->lease[0] ? 2 : 1, str_n((char *)bytes, n), CALL_MS, &out, e);
	if (r < 0 || !reply_type)
		return r;
	*(void **)ret = protobuf_c_message_unpack(reply_type, NULL, out.n, (const uint8_t *)out.p);
	return *(void **)ret ? 0 : err_set(e, ERR_INTERNAL, "%s: the answer cannot be read", method);
}

int content_begin(struct cri *cri, struct content *ret, struct err *e)
{
	Ctd__CreateLeaseRequest rq = CTD__CREATE_LEASE_REQUEST__INIT;
	Ctd__CreateLeaseRequest__LabelsEntry expire = CTD__CREATE_LEASE_REQUEST__LABELS_ENTRY__INIT, *labels = &expire;
	char id[sizeof(ret->lease)], until[TIME_TEXT_MAX];
	int r;

	*ret = (struct content){ .cri = cri, .meta = { cri->ns } };
	(void)snprintf(id, sizeof(id), "kogge-%016llx", (unsigned long long)rand_u64());
	wall_rfc3339((struct wall){ wall_now().ns + (int64_t)3600 * 1000000000 }, until);
	rq.id = id;
	expire.key = (char *)"containerd.io/gc.expire";
	expire.value = until;
	rq.labels = &labels;
	rq.n_labels = 1;
	r = call(ret, LEASES "Create", &rq, NULL, NULL, e);
	if (r < 0)
		return r;
	memcpy(ret->lease, id, sizeof(id));
	return 0;
}

/* The metadata points into the struct, which the caller may have moved. */
static void aim(struct content *c)
{
	c->meta[0] = c->cri->ns;
	c->meta[1] = (struct http_header){ STR("containerd-lease"), str_c(c->lease) };
}

void content_end(struct content *c)
{
	Ctd__DeleteLeaseRequest rq = CTD__DELETE_LEASE_REQUEST__INIT;
	struct err e;

	if (!c->lease[0])
		return;
	err_init(&e);
	aim(c);
	rq.id = c->lease;
	(void)call(c, LEASES "Delete", &rq, NULL, NULL, &e);
	c->lease[0] = 0;
}

int content_end_old(struct cri *cri, struct wall than, size_t *ret, struct err *e)
{
	struct content c = { .cri = cri, .meta = { cri->ns } };
	Ctd__ListLeasesRequest all = CTD__LIST_LEASES_REQUEST__INIT;
	Ctd__ListLeasesReply *list;
	size_t ended = 0;
	int r = call(&c, LEASES "List", &all, &ctd__list_leases_reply__descriptor, &list, e);

	for (size_t i = 0; r == 0 && i < list->n_leases; i++) {
		Ctd__DeleteLeaseRequest rq = CTD__DELETE_LEASE_REQUEST__INIT;
		const Ctd__Timestamp *t = list->leases[i]->created_at;

		if (!t || t->seconds * (int64_t)1000000000 + t->nanos >= than.ns)
			continue;
		rq.id = list->leases[i]->id;
		r = call(&c, LEASES "Delete", &rq, NULL, NULL, e);
		if (r == -ERR_NOT_FOUND)
			r = 0;
		ended += r == 0;
	}
	if (r == 0)
		*ret = ended;
	return r;
}

bool content_has(struct content *c, const char *digest)
{
	Ctd__InfoRequest rq = CTD__INFO_REQUEST__INIT;
	struct err e;

	err_init(&e);
	aim(c);
	rq.digest = (char *)digest;
	return call(c, CONTENT "Info", &rq, NULL, NULL, &e) == 0;
}

static int relabel(struct content *c, const char *digest, const struct content_label *labels, size_t n, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	Ctd__UpdateContentRequest rq = CTD__UPDATE_CONTENT_REQUEST__INIT;
	Ctd__Info info = CTD__INFO__INIT;
	Ctd__FieldMask mask = CTD__FIELD_MASK__INIT;

	if (!n)
		return 0;
	info.digest = (char *)digest;
	for (size_t i = 0; i < n; i++) {
		CRI_ENTRY(a, info.labels, info.n_labels, ctd__info__labels_entry__init, labels[i].key, labels[i].value);
		cri_push(a, &mask.paths, &mask.n_paths, arena_printf(a, "labels.%s", labels[i].key));
	}
	rq.info = &info;
	rq.update_mask = &mask;
	return call(c, CONTENT "Update", &rq, NULL, NULL, e);
}

static int exchange(struct grpc_stream *s, Ctd__WriteRequest *rq, bool last, struct err *e)
{
	size_t n = ctd__write_request__get_packed_size(rq);
	auto_free uint8_t *bytes = xmalloc(n + 1);
	auto_buf struct buf answer = BUF_INIT;
	int r;

	ctd__write_request__pack(rq, bytes);
	r = grpc_send(s, str_n((char *)bytes, n), last, e);
	if (r < 0)
		return r;
	r = grpc_read(s, &answer, CALL_MS, e);
	return r == 1 ? 0 : r < 0 ? r : err_set(e, ERR_IO, "containerd ended the transfer");
}

static int stream_blob(struct content *c, struct grpc_stream *s, Ctd__WriteRequest *rq, int64_t size,
	int (*read_at)(void *arg, int64_t offset, void *to, size_t n), void *arg, struct err *e)
{
	auto_free uint8_t *chunk = xmalloc(CHUNK);
	int r;

	rq->action = ACTION_WRITE;
	for (int64_t off = 0; off < size;) {
		size_t n = (size_t)MIN(size - off, (int64_t)CHUNK);
		if (read_at(arg, off, chunk, n) < 0)
			return err_set(e, ERR_IO, "the archive cannot be read");
		rq->offset = off;
		rq->data.data = chunk;
		rq->data.len = n;
		r = exchange(s, rq, false, e);
		if (r < 0)
			return r;
		off += (int64_t)n;
		if (c->progress)
			c->progress(c->progress_arg, rq->expected, off, size);
	}
	rq->action = ACTION_COMMIT;
	rq->offset = size;
	rq->data.len = 0;
	return exchange(s, rq, true, e);
}

int content_write(struct content *c, const char *digest, int64_t size,
	int (*read_at)(void *arg, int64_t offset, void *to, size_t n), void *arg, const struct content_label *labels,
	size_t n_labels, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(grpc_stream_free) struct grpc_stream *s = NULL;
	Ctd__WriteRequest rq = CTD__WRITE_REQUEST__INIT;
	int r;

	aim(c);
	if (content_has(c, digest))
		return relabel(c, digest, labels, n_labels, e);
	r = grpc_open(c->cri->grpc, CONTENT "Write", c->meta, 2, &s, e);
	if (r < 0)
		return r;
	rq.ref = arena_printf(a, "%s-%s", c->lease, digest);
	rq.total = size;
	rq.expected = (char *)digest;
	for (size_t i = 0; i < n_labels; i++)
		CRI_ENTRY(a, rq.labels, rq.n_labels, ctd__write_request__labels_entry__init, labels[i].key,
			labels[i].value);
	r = stream_blob(c, s, &rq, size, read_at, arg, e);
	if (r == -ERR_EXISTS) /* another import was quicker */
		return relabel(c, digest, labels, n_labels, e);
	return r < 0 ? err_wrap(e, "blob %s", digest) : 0;
}

static int from_str(void *arg, int64_t offset, void *to, size_t n)
{
	struct str *s = arg;

	memcpy(to, s->p + offset, n);
	return 0;
}

int content_write_bytes(struct content *c, struct str bytes, char ret_digest[80], const struct content_label *labels,
	size_t n_labels, struct err *e)
{
	sha256_text(bytes.p, bytes.n, ret_digest);
	return content_write(c, ret_digest, (int64_t)bytes.n, from_str, &bytes, labels, n_labels, e);
}

/* CRI keeps a list of its own that follows containerd's events. */
static void wait_known(struct content *c, const char *name)
{
	struct mono until = mono_add_ms(mono_now(), KNOWN_MS);
	int64_t wait = 2;

	while (mono_before(mono_now(), until)) {
		auto_reply Cri__ImageStatusReply *reply = NULL;
		struct err e;
		err_init(&e);
		if (strncmp(name, "sha256:", 7) == 0 || cri_image_status(c->cri, name, &reply, &e) < 0 || reply->image)
			return;
		task_sleep_ms(wait);
		wait = MIN(wait * 2, (int64_t)100);
	}
}

int content_tag(
	struct content *c, const char *name, const char *media_type, const char *digest, int64_t size, struct err *e)
{
	Ctd__CreateImageRequest rq = CTD__CREATE_IMAGE_REQUEST__INIT;
	Ctd__UpdateImageRequest up = CTD__UPDATE_IMAGE_REQUEST__INIT;
	Ctd__FieldMask mask = CTD__FIELD_MASK__INIT;
	Ctd__Image image = CTD__IMAGE__INIT;
	Ctd__Descriptor target = CTD__DESCRIPTOR__INIT;
	char *paths[] = { (char *)"target" };
	int r;

	aim(c);
	image.name = (char *)name;
	target.media_type = (char *)media_type;
	target.digest = (char *)digest;
	target.size = size;
	image.target = &target;
	rq.image = &image;
	r = call(c, IMAGES "Create", &rq, NULL, NULL, e);
	if (r == -ERR_EXISTS) {
		mask.paths = paths;
		mask.n_paths = 1;
		up.image = &image;
		up.update_mask = &mask;
		r = call(c, IMAGES "Update", &up, NULL, NULL, e);
	}
	if (r < 0)
		return err_wrap(e, "image %s", name);
	if (str_eq(c->cri->ns.value, STR("k8s.io")))
		wait_known(c, name);
	if (c->progress)
		c->progress(c->progress_arg, name, size, size);
	return 0;
}

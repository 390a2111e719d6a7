/* Writing into containerd's content store and image list: what importing archives and making our pause image have in
 * common. */
#pragma once
#include "node/cri.h"
#include "node/node.h"

struct content {
	struct cri *cri;
	char lease[64]; /* keeps blobs from being collected until an image names them */
	struct http_header meta[2];
	node_image_progress *progress;
	void *progress_arg;
};
int content_begin(struct cri *c, struct content *ret, struct err *e);
void content_end(struct content *c);
/* Ends leases that are older than this, whoever took them, so that what they keep is collected. ret: how many. */
int content_end_old(struct cri *c, struct wall than, size_t *ret, struct err *e);

struct content_label {
	char *key, *value;
};
/* read_at as in tar.h. An existing blob is left alone, but gets the labels. */
int content_write(struct content *c, const char *digest, int64_t size,
	int (*read_at)(void *arg, int64_t offset, void *to, size_t n), void *arg, const struct content_label *labels,
	size_t n_labels, struct err *e);
int content_write_bytes(struct content *c, struct str bytes, char ret_digest[80], const struct content_label *labels,
	size_t n_labels, struct err *e);
bool content_has(struct content *c, const char *digest);
/* Makes or moves a name, and waits until CRI knows it. */
int content_tag(
	struct content *c, const char *name, const char *media_type, const char *digest, int64_t size, struct err *e);
void sha256_text(const void *p, size_t n, char ret[80]); /* "sha256:…" */

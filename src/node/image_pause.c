/* Our own pause image: one layer with one file, written straight into containerd. The same bytes give the same digests
 * everywhere. */
#include "node/content.h"
#include "node/node_internal.h"
#include "node/pause/pause.h"
#include <stdio.h>

#define BLOCK 512
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"

#if defined(__x86_64__)
#define ARCH "amd64"
#else
#define ARCH "arm64"
#endif

/* One ustar entry and the end of the archive. */
static void tar_of(struct buf *b, const char *name, const void *bytes, size_t n)
{
	char h[BLOCK] = { 0 };
	static const char zeros[BLOCK * 2];
	unsigned sum = 0;

	(void)snprintf(h, 100, "%s", name);
	(void)snprintf(h + 100, 8, "%07o", 0755);
	(void)snprintf(h + 108, 8, "%07o", 0);
	(void)snprintf(h + 116, 8, "%07o", 0);
	(void)snprintf(h + 124, 12, "%011zo", n);
	(void)snprintf(h + 136, 12, "%011o", 0);
	h[156] = '0';
	memcpy(h + 257, "ustar\00000", 8);
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += (unsigned char)h[i];
	(void)snprintf(h + 148, 8, "%06o", sum);
	buf_add(b, h, BLOCK);
	buf_add(b, bytes, n);
	buf_add(b, zeros, (BLOCK - n % BLOCK) % BLOCK);
	buf_add(b, zeros, sizeof(zeros));
}

static int write_image(struct content *c, const char *name, struct err *e)
{
	auto_buf struct buf layer = BUF_INIT, config = BUF_INIT, manifest = BUF_INIT;
	char layer_digest[80], config_digest[80], digest[80];
	int r;

	tar_of(&layer, "pause", pause_elf, pause_elf_bytes);
	r = content_write_bytes(c, buf_view(&layer), layer_digest, NULL, 0, e);
	if (r < 0)
		return r;
	buf_printf(&config,
		"{\"architecture\":\"" ARCH
		"\",\"os\":\"linux\",\"config\":{\"Entrypoint\":[\"/pause\"],\"User\":\"65535:65535\"},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
		layer_digest);
	r = content_write_bytes(c, buf_view(&config), config_digest, NULL, 0, e);
	if (r < 0)
		return r;
	buf_printf(&manifest,
		"{\"schemaVersion\":2,\"mediaType\":\"" OCI_MANIFEST
		"\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
		"\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":%zu}]}",
		config_digest, config.n, layer_digest, layer.n);
	struct content_label labels[] = { { (char *)"containerd.io/gc.ref.content.0", layer_digest },
		{ (char *)"containerd.io/gc.ref.content.1", config_digest } };
	r = content_write_bytes(c, buf_view(&manifest), digest, labels, ARRAY_LEN(labels), e);
	if (r < 0)
		return r;
	return content_tag(c, name, OCI_MANIFEST, digest, (int64_t)manifest.n, e);
}

int image_pause_load(struct cri *c, const char *name, struct err *e)
{
	auto_reply Cri__ImageStatusReply *reply = NULL;
	struct content content;
	int r;

	if (str_eq(c->ns.value, STR("k8s.io"))) {
		r = cri_image_status(c, name, &reply, e);
		if (r < 0)
			return r;
		if (reply->image)
			return 0;
	}
	r = content_begin(c, &content, e);
	if (r < 0)
		return r;
	r = write_image(&content, name, e);
	content_end(&content);
	return r < 0 ? err_wrap(e, "pause image") : 0;
}

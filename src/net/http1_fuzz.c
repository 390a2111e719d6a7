/* The HTTP/1.1 reader: whatever is accepted has one meaning only, and the chunk reader does not depend on how bytes are
 * cut. */
#include "net/net_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Decodes with pieces of at most `step` bytes; -1: refused. */
static long decode(struct str in, size_t step, struct buf *out)
{
	struct http1_chunks c = { 0 };
	bool ended = false;
	size_t at = 0;

	while (at < in.n && !ended) {
		struct str part = str_sub(in, at, step), data;
		long r = http1_chunk(&c, part, &data, &ended);

		if (r < 0)
			return -1;
		PRE((size_t)r <= part.n && (r > 0 || ended));
		buf_str(out, data);
		at += (size_t)r;
	}
	return ended ? (long)at : 0;
}

static void check_head(const struct http1_head *h, const char *p, size_t n)
{
	PRE(!(h->chunked && h->has_length));
	for (size_t i = 0; i < h->n_headers; i++) {
		struct http_header f = h->headers[i];

		PRE(f.name.n && f.name.p >= p && f.value.p + f.value.n <= p + n);
		PRE(!f.value.n || (!memchr(f.value.p, '\r', f.value.n) && !memchr(f.value.p, '\n', f.value.n)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str in = str_n((const char *)data, n);
	auto_buf struct buf a = BUF_INIT, b = BUF_INIT;
	struct http1_head h;
	size_t scanned = 0, slow = 0;
	long end = http1_find_end(in.p, in.n, &scanned), again = 0;

	for (size_t i = 1; i <= n && !again; i++)
		again = http1_find_end(in.p, i, &slow);
	PRE(again == end);
	if (end > 0) {
		char *copy = str_dup(str_n(in.p, (size_t)end));

		if (http1_request_head(copy, (size_t)end, &h) == 0)
			check_head(&h, copy, (size_t)end);
		memcpy(copy, in.p, (size_t)end);
		if (http1_reply_head(copy, (size_t)end, &h) == 0)
			check_head(&h, copy, (size_t)end);
		free(copy);
	}
	PRE(decode(in, SIZE_MAX, &a) == decode(in, 1, &b));
	PRE(str_eq(buf_view(&a), buf_view(&b)));
	return 0;
}

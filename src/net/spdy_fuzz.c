/* A SPDY server that says anything. */
#include "net/spdy_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_data(void *arg, struct spdy_stream *st, struct str bytes, bool fin)
{
	spdy_send(st, bytes, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct spdy_ops ops = { .data = on_data };
	struct http_header h = { STR("streamtype"), STR("stdin") };
	struct spdy *s = spdy_new(NULL, &ops, NULL);
	size_t cut = n ? data[0] % n : 0;

	spdy_open(s, &h, 1);
	spdy_open(s, &h, 1);
	spdy_input(s, str_n((const char *)data, cut));
	spdy_input(s, str_n((const char *)data + cut, n - cut));
	spdy_free(s);
	return 0;
}

/* Any text in the two keys of the ConfigMap: it is refused with a reason, or every name finds at most three servers. */
#include "network/answer.h"
#include "network/forward.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The text as a value of the ConfigMap. */
static struct doc *config_map(const char *key, const uint8_t *data, size_t n)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *map = node_map(a);

	node_setc(map, key, node_str(a, str_n((const char *)data, n)));
	return node_publish(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const keys[] = { "stubDomains", "upstreamNameservers" };
	static const struct ip own[2] = { { 4, { 10, 96, 0, 10 } } };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		auto_(doc_unref) struct doc *d = config_map(keys[i], data, n);
		auto_(forward_free) struct forward *f = NULL;
		struct dns_servers found;
		struct err e;

		err_init(&e);
		if (forward_parse(doc_root(d), STR("cluster.local"), own, &f, &e) < 0) {
			PRE(e.message[0] && !f);
			continue;
		}
		forward_find(f, data, n, &found);
		PRE(found.n <= DNS_UPSTREAMS_MAX);
		forward_find(f, (const uint8_t *)"\4corp\7example", 14, &found);
		PRE(found.n <= DNS_UPSTREAMS_MAX);
	}
	return 0;
}

#include "network/names.h"
#include <ctype.h>
#include <stdio.h>

static uint64_t mix(struct str s)
{
	uint64_t h = str_hash(s);

	h ^= h >> 29;
	return h * 0x9e3779b97f4a7c15u;
}

void names_of(struct str instance, struct names *ret)
{
	if (str_empty(instance) || str_is(instance, "kogge")) {
		*ret = (struct names){ "kogge", "kp-", "kogge-svc" };
		return;
	}
	unsigned hash = (unsigned)(mix(instance) >> 48);
	int n = snprintf(ret->table, sizeof(ret->table), "kogge-%.64s", "");

	/* nft identifiers: letters, digits, '-', '_', '.'; the hash keeps names apart that differ elsewhere. */
	for (size_t i = 0; i < instance.n && i < 48; i++) {
		unsigned char c = (unsigned char)instance.p[i];
		ret->table[n++] = (char)(isalnum(c) ? c : '-');
	}
	snprintf(ret->table + n, sizeof(ret->table) - (size_t)n, "-%04x", hash);
	snprintf(ret->pod_links, sizeof(ret->pod_links), "kp%04x-", hash);
	snprintf(ret->service_link, sizeof(ret->service_link), "kogge-s%04x", hash);
}

void names_pod_link(const struct names *n, const char *container, const char *ifname, char ret[IFNAMSIZ])
{
	char key[192];

	snprintf(key, sizeof(key), "%.120s/%.64s", container, ifname);
	snprintf(ret, IFNAMSIZ, "%s%08x", n->pod_links, (unsigned)(mix(str_c(key)) >> 32));
}

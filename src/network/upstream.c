/* Reads name servers out of resolv.conf text. */
#include "network/dns.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <uv.h>

static bool is_ours(const union dns_address *a, const struct ip own[2])
{
	struct ip ip = { 0 };

	if (a->any.sa_family == AF_INET) {
		ip.family = 4;
		memcpy(ip.b, &a->v4.sin_addr, 4);
		if (ip.b[0] == 127 || ip.b[0] == 0)
			return true;
	} else {
		ip.family = 6;
		memcpy(ip.b, &a->v6.sin6_addr, 16);
		if (IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr))
			return true;
	}
	return ip_eq(ip, own[0]) || ip_eq(ip, own[1]);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

size_t dns_upstreams(struct str text, const struct ip own[2], int port, union dns_address ret[DNS_UPSTREAMS_MAX])
{
	struct str rest = text, line;
	size_t n = 0;

	while (n < DNS_UPSTREAMS_MAX && str_next(&rest, '\n', &line)) {
		char word[80];
		size_t len = 0;

		line = str_trim(line);
		if (!str_starts(line, STR("nameserver")) || line.n < 12 || !is_blank(line.p[10]))
			continue;
		line = str_trim(str_sub(line, 10, line.n));
		while (len < line.n && len < sizeof(word) - 1 && !is_blank(line.p[len]) && line.p[len] != '#' &&
			line.p[len] != ';') {
			word[len] = line.p[len];
			len++;
		}
		word[len] = 0;
		union dns_address a = { 0 };
		if (uv_ip4_addr(word, port, &a.v4) != 0 && uv_ip6_addr(word, port, &a.v6) != 0)
			continue;
		if (!is_ours(&a, own))
			ret[n++] = a;
	}
	return n;
}

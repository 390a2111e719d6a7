/* The addresses of an instance: its ranges as the flags give them, and what follows from those, for each IP family. */
#include "cmd/cmd.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <unistd.h>

struct range {
	int family; /* AF_INET, AF_INET6; 0: none */
	unsigned char first[16];
	unsigned length, bits; /* of an address, of the prefix */
};

static const char *family_name(int family)
{
	return family == AF_INET6 ? "IPv6" : "IPv4";
}

static int family_of(const char *address)
{
	unsigned char ip[16];

	return inet_pton(AF_INET, address, ip) == 1 ? AF_INET : inet_pton(AF_INET6, address, ip) == 1 ? AF_INET6 : 0;
}

static const char *text_of(struct arena *a, int family, const void *ip)
{
	char text[INET6_ADDRSTRLEN];

	return arena_strdup(a, inet_ntop(family, ip, text, sizeof(text)));
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static bool range_parse(struct arena *a, struct str text, struct range *ret)
{
	struct str base, bits = str_cut(text, '/', &base);
	struct range r = { .family = family_of(arena_cstr(a, base)) };
	int64_t n;

	r.length = r.family == AF_INET6 ? 128 : 32;
	if (!r.family || !str_i64(bits, &n) || n < (r.family == AF_INET6 ? 32 : 8) || n > (int64_t)r.length - 4)
		return false;
	r.bits = (unsigned)n;
	inet_pton(r.family, arena_cstr(a, base), r.first);
	for (unsigned bit = r.bits; bit < r.length; bit++)
		r.first[bit / 8] &= (unsigned char)~(0x80 >> bit % 8);
	*ret = r;
	return true;
}

/* One range, or two of different families. */
static int ranges_read(struct arena *a, const char *flag, const char *text, struct range r[FAMILIES_MAX],
	const char *texts[FAMILIES_MAX], struct err *e)
{
	size_t n = 0;

	for (struct str part, rest = str_c(text); str_next(&rest, ',', &part); n++) {
		if (n == FAMILIES_MAX || !range_parse(a, str_trim(part), &r[n]))
			return err_set(e, ERR_INVALID,
				"--%s %s: expected a range such as 10.96.0.0/16 or fd00:10:96::/112, or one of each family",
				flag, text);
		texts[n] = arena_printf(a, "%s/%u", text_of(a, r[n].family, r[n].first), r[n].bits);
	}
	if (n == 0)
		return err_set(e, ERR_INVALID, "--%s is empty: expected a range such as 10.96.0.0/16", flag);
	if (n == 2 && r[0].family == r[1].family)
		return err_set(e, ERR_INVALID, "--%s %s: two ranges must be one of IPv4 and one of IPv6", flag, text);
	return 0;
}

/* nth: below 16, so that it fits into every range. */
static const char *nth_address(struct arena *a, const struct range *r, unsigned char nth)
{
	unsigned char ip[16];

	memcpy(ip, r->first, sizeof(ip));
	ip[r->length / 8 - 1] |= nth;
	return text_of(a, r->family, ip);
}

/* ---- the node's own addresses ---------------------------------------------------------------- */

/* The address that traffic to the world leaves from: a UDP socket is connected, nothing is sent. */
static const char *address_to_the_world(struct arena *a, int family)
{
	/* 198.51.100.1 of RFC 5737 and 2001:db8::1 of RFC 3849: only the route to them matters */
	struct sockaddr_in to4 = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(0xc6336401) };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_port = htons(53) }, from = { 0 };
	socklen_t n = sizeof(from), to_n = family == AF_INET ? sizeof(to4) : sizeof(to6);
	const void *to = family == AF_INET ? (void *)&to4 : (void *)&to6;
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool found;

	inet_pton(AF_INET6, "2001:db8::1", &to6.sin6_addr);
	found = fd >= 0 && connect(fd, to, to_n) == 0 && getsockname(fd, (struct sockaddr *)&from, &n) == 0;
	if (fd >= 0)
		close(fd);
	if (!found)
		return NULL;
	return family == AF_INET ? text_of(a, family, &((struct sockaddr_in *)(void *)&from)->sin_addr) :
				   text_of(a, family, &from.sin6_addr);
}

/* Without a default route: the first address of a link that is up and is not loopback. */
static const char *first_address(struct arena *a, int family)
{
	struct ifaddrs *all = NULL;
	const char *found = NULL;

	if (getifaddrs(&all) < 0)
		return NULL;
	for (struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
		struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)i->ifa_addr;

		if (!i->ifa_addr || i->ifa_addr->sa_family != family || i->ifa_flags & IFF_LOOPBACK ||
			!(i->ifa_flags & IFF_UP))
			continue;
		if (family == AF_INET)
			found = text_of(a, family, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr);
		else if (!IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
			found = text_of(a, family, &six->sin6_addr);
	}
	freeifaddrs(all);
	return found;
}

/* Addresses of a flag by family: "10.0.0.1,fd00::1" in any order. */
static int given_addresses(struct arena *a, const char *flag, const char *text, const struct range ranges[FAMILIES_MAX],
	const char *ret[FAMILIES_MAX], struct err *e)
{
	for (struct str part, rest = str_c(text); str_next(&rest, ',', &part);) {
		const char *ip = arena_cstr(a, str_trim(part));
		int family = family_of(ip);
		size_t i = family == ranges[0].family ? 0 : 1;

		if (!family)
			return err_set(e, ERR_INVALID, "--%s %s: \"%s\" is no IP address", flag, text, ip);
		if (family != ranges[i].family)
			return err_set(e, ERR_INVALID, "--%s %s: %s is %s, of which --service-cidr has no range", flag,
				text, ip, family_name(family));
		if (ret[i])
			return err_set(e, ERR_INVALID, "--%s %s: two addresses of %s", flag, text, family_name(family));
		ret[i] = ip;
	}
	return 0;
}

/* The first family must have an address, since pods without a network of their own report it. */
static void find_node_addresses(
	struct arena *a, const struct range r[FAMILIES_MAX], const char *given[FAMILIES_MAX], struct addresses *to)
{
	size_t n = 0;

	for (size_t i = 0; i < FAMILIES_MAX && r[i].family; i++) {
		const char *ip = given[i] ? given[i] : address_to_the_world(a, r[i].family);

		if (!ip)
			ip = first_address(a, r[i].family);
		if (!ip && i == 0)
			ip = r[i].family == AF_INET ? "127.0.0.1" : "::1";
		if (ip)
			to->node[n++] = ip;
	}
}

int addresses_of(struct arena *a, const struct settings *s, struct addresses *ret, struct err *e)
{
	struct range pods[FAMILIES_MAX] = { 0 }, services[FAMILIES_MAX] = { 0 };
	const char *given[FAMILIES_MAX] = { NULL };
	struct addresses to = { 0 };

	if (ranges_read(a, "cluster-cidr", s->cluster_cidr, pods, to.pods, e) < 0 ||
		ranges_read(a, "service-cidr", s->service_cidr, services, to.services, e) < 0)
		return -e->code;
	if (pods[0].family != services[0].family || pods[1].family != services[1].family)
		return err_set(e, ERR_INVALID,
			"--cluster-cidr %s and --service-cidr %s must have the same families in the same order",
			s->cluster_cidr, s->service_cidr);
	if (given_addresses(a, "cluster-dns", s->cluster_dns, services, to.dns, e) < 0 ||
		given_addresses(a, "node-ip", s->node_ip, services, given, e) < 0)
		return -e->code;
	for (size_t i = 0; i < FAMILIES_MAX && services[i].family; i++) {
		to.api[i] = nth_address(a, &services[i], 1);
		if (!to.dns[i])
			to.dns[i] = nth_address(a, &services[i], 10);
		to.has_v6 |= services[i].family == AF_INET6;
	}
	find_node_addresses(a, services, given, &to);
	to.listen = s->bind_address[0] ? s->bind_address : to.has_v6 ? "::" : "0.0.0.0";
	*ret = to;
	return 0;
}

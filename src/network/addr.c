#include "network/addr.h"
#include <arpa/inet.h>
#include <stdio.h>

bool ip_parse(struct str s, struct ip *ret)
{
	char text[IP_TEXT_MAX];
	struct ip a = { 0 };

	if (s.n == 0 || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	if (inet_pton(AF_INET, text, a.b) == 1)
		a.family = 4;
	else if (inet_pton(AF_INET6, text, a.b) == 1)
		a.family = 6;
	else
		return false;
	*ret = a;
	return true;
}

void ip_text(struct ip a, char ret[IP_TEXT_MAX])
{
	ret[0] = 0;
	if (a.family)
		inet_ntop(a.family == 4 ? AF_INET : AF_INET6, a.b, ret, IP_TEXT_MAX);
}

bool ip_eq(struct ip a, struct ip b)
{
	return a.family == b.family && memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

size_t ip_len(struct ip a)
{
	return a.family == 4 ? 4 : a.family == 6 ? 16 : 0;
}

struct ip ip_plus(struct ip a, uint32_t n)
{
	size_t at = ip_len(a);
	uint32_t v;

	if (at < 4)
		return a;
	memcpy(&v, a.b + at - 4, 4);
	v = htonl(ntohl(v) + n);
	memcpy(a.b + at - 4, &v, 4);
	return a;
}

static struct ip masked(struct ip a, unsigned bits)
{
	for (unsigned i = 0; i < sizeof(a.b); i++) {
		unsigned first = i * 8;

		if (first >= bits)
			a.b[i] = 0;
		else if (bits - first < 8)
			a.b[i] = (uint8_t)(a.b[i] & (0xff00 >> (bits - first)));
	}
	return a;
}

bool cidr_parse(struct str s, struct cidr *ret)
{
	struct str host, rest = str_cut(s, '/', &host);
	struct cidr c = { 0 };
	uint64_t bits;

	if (!ip_parse(host, &c.ip) || !str_u64(rest, &bits) || bits > ip_len(c.ip) * 8)
		return false;
	c.bits = (uint8_t)bits;
	c.ip = masked(c.ip, c.bits);
	*ret = c;
	return true;
}

struct cidr cidr_host(struct ip a)
{
	return (struct cidr){ a, (uint8_t)(ip_len(a) * 8) };
}

bool cidr_has(struct cidr c, struct ip a)
{
	return c.ip.family && c.ip.family == a.family && ip_eq(masked(a, c.bits), c.ip);
}

struct ip cidr_last(struct cidr c)
{
	struct ip last = c.ip;

	for (unsigned bit = c.bits; bit < ip_len(last) * 8; bit++)
		last.b[bit / 8] = (uint8_t)(last.b[bit / 8] | 0x80 >> bit % 8);
	return last;
}

static bool bit_of(struct ip a, unsigned bit)
{
	return a.b[bit / 8] & 0x80 >> bit % 8;
}

struct cidr cidr_of(struct ip first, struct ip last)
{
	struct cidr c = { first, 0 };

	while (c.bits < ip_len(first) * 8 && bit_of(first, c.bits) == bit_of(last, c.bits))
		c.bits++;
	return c;
}

void cidr_text(struct cidr c, char ret[IP_TEXT_MAX])
{
	char text[IP_TEXT_MAX];

	ip_text(c.ip, text);
	snprintf(ret, IP_TEXT_MAX, "%.40s/%u", text, c.bits);
}

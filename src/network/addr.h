/* Addresses: sixteen bytes with a family, and prefixes. Values, compared byte by byte; unused bytes are 0. */
#pragma once
#include "base/str.h"
#include "base/util.h"

struct ip {
	uint8_t family; /* 4, 6; 0: none */
	uint8_t b[16];
};
struct cidr {
	struct ip ip;
	uint8_t bits;
};
#define IP_NONE ((struct ip){ 0 })
#define IP_TEXT_MAX 48

bool ip_parse(struct str s, struct ip *ret); /* false: not an address */
void ip_text(struct ip a, char ret[IP_TEXT_MAX]);
bool ip_eq(struct ip a, struct ip b);
struct ip ip_plus(struct ip a, uint32_t n); /* carries through the last four bytes only */
size_t ip_len(struct ip a);                 /* 4, 16 or 0 */

bool cidr_parse(struct str s, struct cidr *ret); /* "10.244.0.0/24"; the host bits are cleared */
struct cidr cidr_host(struct ip a);              /* /32 or /128 */
bool cidr_has(struct cidr c, struct ip a);
struct ip cidr_last(struct cidr c);                   /* its last address */
struct cidr cidr_of(struct ip first, struct ip last); /* the prefix with these ends */
void cidr_text(struct cidr c, char ret[IP_TEXT_MAX]);

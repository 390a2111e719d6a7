#include "network/elements.h"
#include "base/buf.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

const struct element_map_info element_maps[MAPS] = {
#define ELEMENT_INFO(id, name, key, gives) [MAP_##id] = { name, key, GIVES_##gives },
	ELEMENT_MAPS(ELEMENT_INFO)
#undef ELEMENT_INFO
};

#define FIELD 4 /* what a protocol, a port and a number take: the kernel's registers are that wide */

static const struct proto {
	char letter;
	uint8_t number;
	const char *word;
} protos[] = { { 't', IPPROTO_TCP, "tcp" }, { 'u', IPPROTO_UDP, "udp" }, { 's', IPPROTO_SCTP, "sctp" } };

void element_map_name(const struct element *e, char ret[MAP_NAME_MAX])
{
	const struct element_map_info *map = &element_maps[e->map];

	if (map->gives == GIVES_PICK)
		snprintf(ret, MAP_NAME_MAX, "%.*s", STR_ARG(e->val));
	else
		snprintf(ret, MAP_NAME_MAX, "%.8s%u%.1s", map->name, e->family & 7u, (char[2]){ e->proto, 0 });
}

uint32_t pick_slots(uint32_t n_endpoints, uint32_t affinity_s)
{
	uint32_t slots = 1;

	if (affinity_s)
		return n_endpoints;
	while (slots < n_endpoints)
		slots *= 2;
	return slots;
}

void pick_name(struct pick p, char ret[PICK_NAME_MAX])
{
	if (p.affinity_s)
		snprintf(ret, PICK_NAME_MAX, "a%c%u%c-%u-%u", p.kind, p.family, p.proto, p.slots, p.affinity_s);
	else
		snprintf(ret, PICK_NAME_MAX, "p%c%u%c-%u", p.kind, p.family, p.proto, p.slots);
}

/* ---- building -------------------------------------------------------------------------------- */

static void add(struct fields *f, const void *bytes, size_t n)
{
	size_t width = (n + FIELD - 1) / FIELD * FIELD;

	PRE(f->n + width <= sizeof(f->bytes));
	memcpy(f->bytes + f->n, bytes, n);
	memset(f->bytes + f->n + n, 0, width - n);
	f->n = (uint8_t)(f->n + width);
}

void fields_add_ip(struct fields *f, struct ip ip)
{
	add(f, ip.b, ip_len(ip));
}

void fields_add_proto(struct fields *f, char proto)
{
	for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
		if (protos[i].letter == proto)
			add(f, &protos[i].number, 1);
	}
}

void fields_add_port(struct fields *f, int port)
{
	uint16_t wire = htons((uint16_t)port);

	add(f, &wire, sizeof(wire));
}

void fields_add_number(struct fields *f, uint32_t number)
{
	add(f, &number, sizeof(number));
}

void fields_add_range(struct fields *f, struct cidr range)
{
	struct fields first = *f;

	fields_add_ip(f, range.ip);
	add(f, first.bytes, first.n);
	fields_add_ip(f, cidr_last(range));
}

/* ---- reading --------------------------------------------------------------------------------- */

static void take(struct str *fields, void *ret, size_t n)
{
	PRE(fields->n >= n);
	memcpy(ret, fields->p, n);
	*fields = str_sub(*fields, MAX(n, (size_t)FIELD), fields->n);
}

struct ip fields_take_ip(struct str *fields, unsigned family)
{
	struct ip ip = { .family = (uint8_t)family };

	take(fields, ip.b, ip_len(ip));
	return ip;
}

static const struct proto *take_known_proto(struct str *fields)
{
	uint8_t number;

	take(fields, &number, sizeof(number));
	for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
		if (protos[i].number == number)
			return &protos[i];
	}
	return &protos[0];
}

char fields_take_proto(struct str *fields)
{
	return take_known_proto(fields)->letter;
}

int fields_take_port(struct str *fields)
{
	uint16_t wire;

	take(fields, &wire, sizeof(wire));
	return ntohs(wire);
}

/* whole: the key or value that `rest` is of; a range ends at its end. */
static void field_text(struct buf *out, char field, struct str *rest, struct str whole, unsigned family)
{
	char text[IP_TEXT_MAX];
	struct ip first;
	uint32_t number;

	switch (field) {
	case 'a':
		ip_text(fields_take_ip(rest, family), text);
		buf_c(out, text);
		break;
	case 'r':
		first = fields_take_ip(rest, family);
		whole = str_sub(whole, whole.n - ip_len(first), whole.n);
		cidr_text(cidr_of(first, fields_take_ip(&whole, family)), text);
		buf_c(out, text);
		break;
	case 'p':
		buf_c(out, take_known_proto(rest)->word);
		break;
	case 'd':
		buf_printf(out, "%d", fields_take_port(rest));
		break;
	default:
		take(rest, &number, sizeof(number));
		buf_printf(out, "%u", number);
	}
}

static void fields_text(struct buf *out, const char *fields, struct str bytes, unsigned family)
{
	struct str rest = bytes;

	for (const char *f = fields; *f; f++) {
		buf_c(out, f == fields ? "" : " . ");
		field_text(out, *f, &rest, bytes, family);
	}
}

struct str element_text(struct arena *a, const struct element *e)
{
	const struct element_map_info *map = &element_maps[e->map];
	auto_buf struct buf out = BUF_INIT;

	fields_text(&out, map->key, e->key, e->family);
	if (map->gives == GIVES_ENDPOINT) {
		buf_c(&out, " : ");
		fields_text(&out, "ad", e->val, e->family);
	} else if (map->gives == GIVES_VERDICT) {
		buf_printf(&out, " : goto %.*s", STR_ARG(e->val));
	}
	return arena_str(a, buf_view(&out));
}

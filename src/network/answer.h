/* One DNS message in, one out: what the cluster knows itself, and what has to be asked elsewhere. No sockets. */
#pragma once
#include "network/addr.h"
#include "network/services.h"

#define DNS_UDP_MAX 1232 /* what passes every path unfragmented */
#define DNS_TCP_MAX 65535
#define DNS_NAME_MAX 256

struct dns_zone {
	struct services *services;
	struct str domain; /* "cluster.local", lower case, no dot at the end */
	struct cidr
		nets[4]; /* service and pod prefixes: reverse names in them are answered here, never asked outside */
	struct ip server[2]; /* our own addresses */
	const bool *ready;   /* false: services are not listed yet (names of the cluster get SERVFAIL); NULL: ready */
};

enum dns_outcome {
	DNS_DROP, /* not a question: say nothing */
	DNS_REPLY,
	DNS_FORWARD, /* not ours: send the very question to an upstream server */
	DNS_CHASE,   /* an alias to a name outside: ask for ret->target, then call dns_answer() again with the answer */
};
struct dns_reply {
	size_t n;
	uint8_t target[DNS_NAME_MAX]; /* wire format */
	uint16_t type;
};
/* out holds DNS_TCP_MAX bytes. tcp false: cut to what the client's EDNS size allows. chased: an upstream's answer to
 * the earlier DNS_CHASE, else NULL. */
enum dns_outcome dns_answer(const struct dns_zone *z, const uint8_t *query, size_t n, bool tcp, const uint8_t *chased,
	size_t chased_n, uint8_t *out, struct dns_reply *ret);
/* A reply without records; 0: the query is too broken for one. */
size_t dns_refuse(const uint8_t *query, size_t n, uint8_t rcode, uint8_t *out);
/* A question with a new id. Returns its length. */
size_t dns_question(const uint8_t *name, uint16_t type, uint16_t id, uint8_t *out, size_t max);
/* true: b answers the question that a asks (same name, type, class, id; QR set). */
bool dns_answers(const uint8_t *a, size_t a_n, const uint8_t *b, size_t b_n);

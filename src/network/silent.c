#include "network/silent.h"

static bool same(const union dns_address *a, const union dns_address *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
	return a->v6.sin6_port == b->v6.sin6_port &&
		memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) == 0;
}

static size_t find(const struct silent *s, const union dns_address *who)
{
	size_t i = 0;

	while (i < s->n && !same(&s->list[i].who, who))
		i++;
	return i;
}

void silent_forget(struct silent *s, const union dns_address *who)
{
	size_t at = find(s, who);

	if (at == s->n)
		return;
	s->n--;
	memmove(&s->list[at], &s->list[at + 1], (s->n - at) * sizeof(s->list[0]));
}

void silent_note(struct silent *s, const union dns_address *who, uint64_t now_ms)
{
	silent_forget(s, who);
	s->n = MIN(s->n + 1, (size_t)SILENT_MAX); /* the oldest is forgotten */
	memmove(&s->list[1], &s->list[0], (s->n - 1) * sizeof(s->list[0]));
	s->list[0].who = *who;
	s->list[0].until_ms = now_ms + SILENT_MS;
}

static bool is_silent(struct silent *s, const union dns_address *who, uint64_t now_ms)
{
	size_t at = find(s, who);

	if (at == s->n)
		return false;
	if (now_ms < s->list[at].until_ms)
		return true;
	s->list[at].until_ms = now_ms + SILENT_MS; /* this question finds out, the others do not wait for it */
	return false;
}

void silent_last(struct silent *s, struct dns_servers *servers, uint64_t now_ms)
{
	struct dns_servers silent = { .n = 0 };
	size_t kept = 0;

	for (size_t i = 0; s->n && i < servers->n; i++) {
		if (is_silent(s, &servers->list[i], now_ms))
			silent.list[silent.n++] = servers->list[i];
		else
			servers->list[kept++] = servers->list[i];
	}
	for (size_t i = 0; i < silent.n; i++)
		servers->list[kept++] = silent.list[i];
}

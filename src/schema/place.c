/* Paths in messages. */
#include "schema/schema_internal.h"
#include <stdio.h>

static size_t put(char *ret, size_t cap, size_t at, struct str s)
{
	size_t n = MIN(s.n, cap - 1 - at);

	if (n)
		memcpy(ret + at, s.p, n);
	ret[at + n] = 0;
	return at + n;
}

static size_t walk(const struct place *p, char *ret, size_t cap, bool go)
{
	char index[32];
	size_t at;

	if (!p) {
		ret[0] = 0;
		return 0;
	}
	at = walk(p->up, ret, cap, go);
	if (p->index >= 0 || p->is_key) {
		if (go)
			return p->is_key ? put(ret, cap, put(ret, cap, at, STR(".")), p->name) : at;
		if (p->is_key)
			return put(ret, cap, put(ret, cap, put(ret, cap, at, STR("[")), p->name), STR("]"));
		snprintf(index, sizeof(index), "[%ld]", p->index);
		return put(ret, cap, at, str_c(index));
	}
	if (at && p->name.n)
		at = put(ret, cap, at, STR("."));
	return put(ret, cap, at, p->name);
}

void place_text(const struct place *p, char *ret, size_t cap)
{
	walk(p, ret, cap, false);
}

void place_text_go(const struct place *p, char *ret, size_t cap)
{
	walk(p, ret, cap, true);
}

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

static size_t walk(const struct place *p, enum place_style style, char *ret, size_t cap)
{
	char index[32];
	size_t at;

	ret[0] = 0;
	if (!p)
		return 0;
	at = walk(p->up, style, ret, cap);
	if (style == PLACE_GO && (p->index >= 0 || p->is_key))
		return at;
	if (p->is_key && style == PLACE_VALIDATION)
		return put(ret, cap, put(ret, cap, put(ret, cap, at, STR("[")), p->name), STR("]"));
	if (p->index >= 0) {
		snprintf(index, sizeof(index), "[%ld]", p->index);
		return put(ret, cap, at, str_c(index));
	}
	if (at && p->name.n)
		at = put(ret, cap, at, STR("."));
	return put(ret, cap, at, p->name);
}

void place_text(const struct place *p, enum place_style style, char *ret, size_t cap)
{
	walk(p, style, ret, cap);
}

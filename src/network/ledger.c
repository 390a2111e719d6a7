#include "network/ledger.h"
#include "base/map.h"
#include <stdio.h>

struct claim {
	struct owner *by;
	uint64_t round;
	char *val;
};

struct cell {
	struct cell *next; /* in touched */
	struct claim *claims;
	uint32_t n;
	uint8_t map, family;
	char proto;
	bool touched, applied;
	char *applied_val;
	char key[]; /* without the prefix */
};

struct owner {
	struct cell **cells;
	size_t n;
};

struct ledger {
	struct map *cells, *owners;
	struct cell *touched, **touched_end;
	uint64_t round;
	size_t wanted;
};

static void cell_free(void *p)
{
	struct cell *c = p;

	for (uint32_t i = 0; i < c->n; i++)
		free(c->claims[i].val);
	free(c->claims);
	free(c->applied_val);
	free(c);
}

static void owner_free(void *p)
{
	struct owner *o = p;

	free(o->cells);
	free(o);
}

struct ledger *ledger_new(void)
{
	struct ledger *l = xcalloc(1, sizeof(*l));

	l->cells = map_new(cell_free);
	l->owners = map_new(owner_free);
	l->touched_end = &l->touched;
	return l;
}

struct ledger *ledger_free(struct ledger *l)
{
	if (!l)
		return NULL;
	map_free(l->cells);
	map_free(l->owners);
	free(l);
	return NULL;
}

static void touch(struct ledger *l, struct cell *c)
{
	if (c->touched)
		return;
	c->touched = true;
	c->next = NULL;
	*l->touched_end = c;
	l->touched_end = &c->next;
}

#define CELL_KEY_MAX 192

static struct str cell_key(char buf[CELL_KEY_MAX], unsigned map, unsigned family, char proto, struct str key)
{
	int n = snprintf(buf, CELL_KEY_MAX, "%u/%u%c/%.*s", map, family, proto ? proto : ' ', STR_ARG(key));

	return str_n(buf, (size_t)MIN(n, CELL_KEY_MAX - 1));
}

static struct cell *need_cell(struct ledger *l, const struct element *e)
{
	char buf[CELL_KEY_MAX];
	struct str key = cell_key(buf, e->map, e->family, e->proto, e->key);
	struct cell *c = map_get(l->cells, key);

	if (c)
		return c;
	c = xcalloc(1, sizeof(*c) + e->key.n + 1);
	memcpy(c->key, e->key.p, e->key.n);
	c->map = e->map;
	c->family = e->family;
	c->proto = e->proto;
	map_put(l->cells, key, c);
	return c;
}

static struct claim *claim_of(struct cell *c, const struct owner *o)
{
	for (uint32_t i = 0; i < c->n; i++) {
		if (c->claims[i].by == o)
			return &c->claims[i];
	}
	return NULL;
}

/* true: the owner has a new cell on its list. */
static bool claim(struct ledger *l, struct cell *c, struct owner *o, struct str val)
{
	struct claim *mine = claim_of(c, o);

	if (mine && mine->round == l->round)
		return false; /* said twice in one compilation: the first counts */
	if (mine) {
		mine->round = l->round;
		if (!str_is(val, mine->val)) {
			free(mine->val);
			mine->val = str_dup(val);
			touch(l, c);
		}
		return true;
	}
	c->claims = xrealloc(c->claims, c->n + 1, sizeof(*c->claims));
	c->claims[c->n++] = (struct claim){ o, l->round, str_dup(val) };
	if (c->n == 1)
		l->wanted++;
	touch(l, c);
	return true;
}

static void unclaim(struct ledger *l, struct cell *c, const struct owner *o)
{
	struct claim *mine = claim_of(c, o);

	free(mine->val);
	memmove(mine, mine + 1, (size_t)(c->claims + c->n - (mine + 1)) * sizeof(*mine));
	if (--c->n == 0)
		l->wanted--;
	touch(l, c);
}

void ledger_set(struct ledger *l, struct str owner, const struct element *elements, size_t n)
{
	struct owner *o = map_get(l->owners, owner);
	size_t kept = 0;

	if (!o && n == 0)
		return;
	if (!o) {
		o = xcalloc(1, sizeof(*o));
		map_put(l->owners, owner, o);
	}
	l->round++;
	struct cell **cells = n ? xcalloc(n, sizeof(struct cell *)) : NULL;
	for (size_t i = 0; i < n; i++) {
		struct cell *c = need_cell(l, &elements[i]);

		if (claim(l, c, o, elements[i].val))
			cells[kept++] = c;
	}
	for (size_t i = 0; i < o->n; i++) {
		if (claim_of(o->cells[i], o)->round != l->round)
			unclaim(l, o->cells[i], o);
	}
	free(o->cells);
	o->cells = cells;
	o->n = kept;
	if (n == 0)
		map_del(l->owners, owner);
}

struct changes {
	struct change *list;
	size_t n, cap;
};

static void note(struct arena *a, struct changes *cs, int op, const struct cell *c, const char *val)
{
	if (cs->n == cs->cap) {
		size_t cap = cs->cap ? cs->cap * 2 : 16;
		struct change *list = ARENA_ARRAY(a, struct change, cap);

		if (cs->n)
			memcpy(list, cs->list, cs->n * sizeof(*list));
		cs->list = list;
		cs->cap = cap;
	}
	cs->list[cs->n++] = (struct change){ op,
		{ c->map, c->family, c->proto, arena_str(a, str_c(c->key)), arena_str(a, str_c(val)) } };
}

static void forget_cell(struct ledger *l, struct cell *c)
{
	char buf[CELL_KEY_MAX];

	map_del(l->cells, cell_key(buf, c->map, c->family, c->proto, str_c(c->key)));
}

size_t ledger_changes(struct ledger *l, struct arena *a, struct change **ret)
{
	struct changes cs = { 0 };
	struct cell *c, *next;

	for (c = l->touched; c; c = c->next) {
		const char *want = c->n ? c->claims[0].val : NULL;

		if (c->applied && (!want || strcmp(want, c->applied_val) != 0))
			note(a, &cs, CHANGE_DELETE, c, c->applied_val);
	}
	for (c = l->touched; c; c = next) {
		const char *want = c->n ? c->claims[0].val : NULL;

		next = c->next;
		c->touched = false;
		if (want && (!c->applied || strcmp(want, c->applied_val) != 0))
			note(a, &cs, CHANGE_ADD, c, want);
		if (!want) {
			forget_cell(l, c);
			continue;
		}
		char *val = xstrdup(want);
		free(c->applied_val);
		c->applied_val = val;
		c->applied = true;
	}
	l->touched = NULL;
	l->touched_end = &l->touched;
	*ret = cs.list;
	return cs.n;
}

void ledger_forget(struct ledger *l)
{
	struct str key;
	void *value;

	for (size_t i = 0; map_next(l->cells, &i, &key, &value);) {
		struct cell *c = value;

		c->applied = false;
		touch(l, c);
	}
}

size_t ledger_len(const struct ledger *l)
{
	return l->wanted;
}

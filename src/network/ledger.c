#include "network/ledger.h"
#include "base/map.h"

/* Shared by a claim and the cell that it is applied to. */
struct value {
	uint32_t refs, n;
	char bytes[];
};

struct claim {
	struct owner *by;
	uint64_t round;
	struct value *val;
};

struct cell {
	struct cell *next; /* in touched */
	struct claim *claims;
	struct value *applied; /* NULL: the kernel does not have it */
	uint32_t n;
	bool touched;
	uint8_t key_n;
	char key[]; /* KEY_PREFIX bytes, then the element's key */
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

static struct value *value_of(struct str bytes)
{
	struct value *v = xmalloc(sizeof(*v) + bytes.n);

	v->refs = 1;
	v->n = (uint32_t)bytes.n;
	if (bytes.n)
		memcpy(v->bytes, bytes.p, bytes.n);
	return v;
}

static void value_unref(struct value *v)
{
	if (v && --v->refs == 0)
		free(v);
}

static struct str value_view(const struct value *v)
{
	return str_n(v->bytes, v->n);
}

static void cell_free(void *p)
{
	struct cell *c = p;

	for (uint32_t i = 0; i < c->n; i++)
		value_unref(c->claims[i].val);
	free(c->claims);
	value_unref(c->applied);
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

#define KEY_PREFIX 3 /* map, family, protocol: a ledger is one map of all maps */

static struct str cell_key(const struct cell *c)
{
	return str_n(c->key, c->key_n);
}

static struct cell *need_cell(struct ledger *l, const struct element *e)
{
	char key[KEY_PREFIX + FIELDS_MAX] = { (char)e->map, (char)e->family, e->proto };
	size_t n = KEY_PREFIX + e->key.n;

	PRE(n <= sizeof(key));
	memcpy(key + KEY_PREFIX, e->key.p, e->key.n);
	struct cell *c = map_get(l->cells, str_n(key, n));
	if (c)
		return c;
	c = xcalloc(1, sizeof(*c) + n);
	memcpy(c->key, key, n);
	c->key_n = (uint8_t)n;
	map_put(l->cells, cell_key(c), c);
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
		if (!str_eq(val, value_view(mine->val))) {
			value_unref(mine->val);
			mine->val = value_of(val);
			touch(l, c);
		}
		return true;
	}
	c->claims = xrealloc(c->claims, c->n + 1, sizeof(*c->claims));
	c->claims[c->n++] = (struct claim){ o, l->round, value_of(val) };
	if (c->n == 1)
		l->wanted++;
	touch(l, c);
	return true;
}

static void unclaim(struct ledger *l, struct cell *c, const struct owner *o)
{
	struct claim *mine = claim_of(c, o);

	value_unref(mine->val);
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

static void note(struct arena *a, struct changes *cs, int op, const struct cell *c, const struct value *val)
{
	ARENA_GROW(a, cs->list, cs->n, cs->cap, 16);
	cs->list[cs->n++] = (struct change){ op,
		{ .map = (uint8_t)c->key[0],
			.family = (uint8_t)c->key[1],
			.proto = c->key[2],
			.key = arena_str(a, str_sub(cell_key(c), KEY_PREFIX, c->key_n)),
			.val = arena_str(a, value_view(val)) } };
}

/* What the kernel is to have of it. NULL: nothing. */
static struct value *wanted(const struct cell *c)
{
	return c->n ? c->claims[0].val : NULL;
}

static bool is_applied(const struct cell *c)
{
	const struct value *want = wanted(c);

	return want && c->applied && str_eq(value_view(want), value_view(c->applied));
}

static void applied(struct ledger *l, struct cell *c)
{
	struct value *want = wanted(c);

	if (!want) {
		map_del(l->cells, cell_key(c));
		return;
	}
	want->refs++;
	value_unref(c->applied);
	c->applied = want;
}

size_t ledger_changes(struct ledger *l, struct arena *a, struct change **ret)
{
	struct changes cs = { 0 };
	struct cell *c, *next;

	for (c = l->touched; c; c = c->next) {
		if (c->applied && !is_applied(c))
			note(a, &cs, CHANGE_DELETE, c, c->applied);
	}
	for (c = l->touched; c; c = next) {
		next = c->next;
		c->touched = false;
		if (wanted(c) && !is_applied(c))
			note(a, &cs, CHANGE_ADD, c, wanted(c));
		applied(l, c);
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

		value_unref(c->applied);
		c->applied = NULL;
		touch(l, c);
	}
}

size_t ledger_len(const struct ledger *l)
{
	return l->wanted;
}

#include "base/map.h"

/* Entries lie in an array in the order they came; an open-addressing index points into it.
 *
 *	index    [ . 2 . 0 . . 1 . ]      slot = hash, then the next free one; 0 is "free", else position + 1
 *	entries  [ a | (dead) | c | ]     a removed entry stays as a dead one until the next rebuild, so its slot
 *	                                  still leads a search on, and an iteration keeps its place
 *
 * The index has twice as many slots as the array has places: a search ends soon. */
struct entry {
	char *key; /* NULL: dead */
	size_t key_n;
	uint64_t hash;
	void *value;
};

struct map {
	struct entry *entries;
	uint32_t *index;
	size_t cap, used, live; /* cap: power of two; used counts dead ones too */
	size_t first;           /* no live entry before it */
	void (*end)(void *value);
};

struct map *map_new(void (*end)(void *value))
{
	struct map *m = xcalloc(1, sizeof(*m));

	m->end = end;
	return m;
}

static void end_value(const struct map *m, void *value)
{
	if (m->end && value)
		m->end(value);
}

void map_clear(struct map *m)
{
	struct map old = *m;

	*m = (struct map){ .end = old.end };
	for (size_t i = 0; i < old.used; i++) {
		if (!old.entries[i].key)
			continue;
		free(old.entries[i].key);
		end_value(&old, old.entries[i].value);
	}
	free(old.entries);
	free(old.index);
}

struct map *map_free(struct map *m)
{
	if (!m)
		return NULL;
	map_clear(m);
	free(m);
	return NULL;
}

static struct entry *find(const struct map *m, struct str key, uint64_t hash)
{
	size_t mask = m->cap * 2 - 1;

	if (m->live == 0)
		return NULL;
	for (size_t slot = hash & mask; m->index[slot]; slot = (slot + 1) & mask) {
		struct entry *e = &m->entries[m->index[slot] - 1];

		if (e->key && e->hash == hash && str_eq(str_n(e->key, e->key_n), key))
			return e;
	}
	return NULL;
}

static void index_entry(struct map *m, size_t at)
{
	size_t mask = m->cap * 2 - 1, slot = m->entries[at].hash & mask;

	while (m->index[slot])
		slot = (slot + 1) & mask;
	m->index[slot] = (uint32_t)(at + 1);
}

/* Leaves the dead behind; grows when more than half is alive. */
static void rebuild(struct map *m)
{
	size_t cap = m->cap ? m->cap : 8, n = 0;
	struct entry *fresh;

	if (m->live * 2 > cap)
		cap *= 2;
	while (cap > 8 && m->live * 8 < cap)
		cap /= 2;
	PRE(cap < UINT32_MAX / 2);
	fresh = xcalloc(cap, sizeof(*fresh));
	for (size_t i = m->first; i < m->used; i++) {
		if (m->entries[i].key)
			fresh[n++] = m->entries[i];
	}
	free(m->entries);
	free(m->index);
	m->entries = fresh;
	m->index = xcalloc(cap * 2, sizeof(*m->index));
	m->cap = cap;
	m->used = n;
	m->first = 0;
	for (size_t i = 0; i < n; i++)
		index_entry(m, i);
}

void *map_get(const struct map *m, struct str key)
{
	struct entry *e = m->live ? find(m, key, str_hash(key)) : NULL;

	return e ? e->value : NULL;
}

void *map_put(struct map *m, struct str key, void *take_value)
{
	uint64_t hash = str_hash(key);
	struct entry *e = find(m, key, hash);

	if (e) {
		void *old = e->value;

		e->value = take_value;
		if (old != take_value)
			end_value(m, old);
		return NULL;
	}
	if (m->used == m->cap)
		rebuild(m);
	e = &m->entries[m->used];
	*e = (struct entry){ xstrndup(key.p, key.n), key.n, hash, take_value };
	index_entry(m, m->used);
	m->used++;
	m->live++;
	return NULL;
}

/* key may be the entry's own bytes (an iterating caller): it is not read after this. */
static bool take(struct map *m, struct str key, void **ret)
{
	struct entry *e = m->live ? find(m, key, str_hash(key)) : NULL;

	if (!e)
		return false;
	*ret = e->value;
	free(e->key);
	*e = (struct entry){ .hash = e->hash };
	m->live--;
	while (m->first < m->used && !m->entries[m->first].key)
		m->first++;
	return true;
}

void *map_take(struct map *m, struct str key)
{
	void *value = NULL;

	take(m, key, &value);
	return value;
}

bool map_del(struct map *m, struct str key)
{
	void *value = NULL;

	if (!take(m, key, &value))
		return false;
	end_value(m, value);
	return true;
}

size_t map_len(const struct map *m)
{
	return m->live;
}

bool map_next(const struct map *m, size_t *i, struct str *key, void **value)
{
	size_t at = MAX(*i, m->first);

	while (at < m->used && !m->entries[at].key)
		at++;
	if (at >= m->used)
		return false;
	if (key)
		*key = str_n(m->entries[at].key, m->entries[at].key_n);
	if (value)
		*value = m->entries[at].value;
	*i = at + 1;
	return true;
}

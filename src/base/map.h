/* A hash map from byte strings to pointers, iterated in insertion order (nothing in Kogge orders by pointer
 * or by hash). Keys are copied. Not thread-safe. */
#pragma once
#include "base/str.h"
#include "base/util.h"

struct map;
struct map *map_new(void (*end)(void *value)); /* end may be NULL: values are borrowed */
struct map *map_free(struct map *m);
AUTO(struct map, map_free)
void *map_get(const struct map *m, struct str key);             /* NULL: not there */
void *map_put(struct map *m, struct str key, void *take_value); /* returns NULL; a replaced value is ended */
void *map_take(struct map *m, struct str key);                  /* own: removes without ending; NULL: not there */
bool map_del(struct map *m, struct str key);
size_t map_len(const struct map *m);
void map_clear(struct map *m);
/* `for (size_t i = 0; map_next(m, &i, &key, &value);)`; deleting the current entry while iterating is allowed. */
bool map_next(const struct map *m, size_t *i, struct str *key, void **value);

/* What informer.c (the task that follows a resource) and informer_index.c (what readers see) share. */
#pragma once
#include "base/map.h"
#include "client/informer.h"
#include <stdatomic.h>

struct item {
	struct doc *doc;
	size_t n;
	char key[]; /* namespace NUL name: its bytes order is the order of lists */
};

/* Items in key order. */
struct bucket {
	struct item **v;
	size_t n, cap;
};

struct view_index {
	char *name;
	void (*key_of)(struct doc *d, void (*add)(void *arg, struct str key), void *arg);
	struct map *buckets; /* key → struct bucket */
};

/* The view: all items, and buckets of them by index. The caller holds the informer's lock. */
struct view {
	struct map *items; /* key → struct item */
	struct bucket all;
	struct view_index *indexes;
	size_t indexes_n;
};

void view_init(struct view *v);
void view_fini(struct view *v);
void view_add_index(struct view *v, const char *name,
	void (*key_of)(struct doc *d, void (*add)(void *arg, struct str key), void *arg));
struct item *view_find(struct view *v, struct str ns, struct str name);
/* Own: the document it replaced, NULL when it is new. d stays the caller's; the view takes a reference of its own. */
struct doc *view_set(struct view *v, struct doc *d);
struct doc *view_remove(struct view *v, struct str ns, struct str name);             /* own; NULL: was not there */
const struct bucket *view_bucket(struct view *v, const char *index, struct str key); /* NULL: empty */

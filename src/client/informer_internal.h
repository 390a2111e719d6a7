/* What the informer's files share: informer.c (life, readers), informer_watch.c (following a resource), informer_loop.c (many in
 * one task), informer_index.c (the view). */
#pragma once
#include "base/map.h"
#include "base/task.h"
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

/* ---- the informer ---------------------------------------------------------------------------- */

struct handler {
	informer_handler *run;
	void *arg;
};

struct informer {
	struct client *client;
	struct informer_opts o; /* strings are ours */
	struct handler *handlers;
	size_t handlers_n;
	struct task *task; /* NULL: not started, or a loop's */
	struct stop *stop;
	char key[24]; /* in its loop */
	bool started;

	struct task_mutex lock;
	struct task_cond synced_cond;
	struct view view;
	bool synced, stopping;
	struct client_stream *stream; /* to be interrupted by informer_free() */
	_Atomic int64_t revision;

	/* The task only. */
	char from[24]; /* where the next watch begins; "" : a list is due */
	int64_t backoff_ms;
	struct mono resync, opened, heard;
};

/* ---- informer_watch.c: the informer's task, or its loop's ------------------------------------ */

#define SILENCE_MS (15 * 60 * 1000) /* a stream without even a bookmark for this long is opened anew */
void informer_run(void *informer);  /* a task of its own, until it is stopped */
int informer_list_all(struct informer *i, struct err *e);
struct client_request informer_watch_request(const struct informer *i);
int informer_take(struct informer *i, const struct client_event *ev, struct err *e);
void informer_resync(struct informer *i);
/* Milliseconds: how long the next event may take, until the resync or until silence is suspicious; and how long to wait after
 * a list or a stream that ended so. */
int64_t informer_patience(const struct informer *i);
int64_t informer_after_list(struct informer *i, int r, const struct err *e);
int64_t informer_after_watch(struct informer *i, int r, const struct err *e);

/* ---- informer_loop.c ------------------------------------------------------------------------- */

void informer_loop_join(struct informer_loop *l, struct informer *i);
void informer_loop_leave(struct informer_loop *l, struct informer *i); /* it does nothing any more */

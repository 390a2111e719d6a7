/* WATCH: pumps move events from the caches to the streams.
 *
 *     store's work ── notify ──► ready list ──► pump: cache_watch_next() → bytes (event.c) → stream
 *     loop ── writable, closed ──┘     ▲
 *     clock ── bookmarks, time-outs ───┘
 *
 * Each loop pumps the watches of its own connections: what they get goes from hand to hand there, and no other thread is
 * woken. A task pumps those that have no loop, and is the clock of all. Of kinds whose events may wait for a webhook each has
 * a task of its own (slow.c).
 *
 * A watch that has seen all joins the follower of its cache at that pump, which looks at each change once for all of them. Who
 * has no room for one leaves, and comes back when it has caught up.
 *
 * A watch is freed by its pump alone, after its stream was closed. w->lock covers the stream handle: closed()
 * takes it, so nobody writes to a stream that is gone. Order of locks: w->lock, then all->lock. */
#pragma once
#include "api/watch/event.h"
#include <stdatomic.h>

/* One cache's changes for the watches of a pump that have seen all before. The pump's, but for what is marked. */
struct follower {
	struct pump *pump;
	struct cache *cache; /* borrowed */
	struct cache_watch *events;
	int64_t progress;    /* all up to here was told */
	struct watch *first; /* who joined; never none */
	struct follower *next;
	bool queued; /* under all->lock */
	struct follower *next_queued;
};

/* Under all->lock, but for its own. */
struct pump {
	struct watches *all;
	struct net_loop *loop; /* borrowed; NULL: the task's */
	struct watch *ready, **ready_end;
	struct follower *news; /* those with changes to tell */
	bool called;           /* it comes, or is at work */
	struct pump *next;
	/* its own: */
	struct follower *followers;
	struct event_latest latest;
};

struct watch {
	struct watches *all;
	struct pump *pump;
	struct rq *rq; /* own */
	struct event_form form;
	struct filter filter;
	struct str prefix;
	atomic_bool over; /* its time is up, whatever end_at says */
	atomic_bool full; /* the stream took no more: writable() is waited for */

	const struct api_sink *out; /* whose stream it is */
	void *out_arg;
	struct task_mutex lock;
	void *stream; /* under lock */
	bool closed;  /* under lock */

	/* The pump's. */
	struct cache_watch *events; /* NULL: it joined */
	struct follower *follower;  /* NULL: it did not join */
	struct watch *next_joined, **prev_joined;
	struct mono bookmark_at, end_at;
	int64_t progress;
	struct cache_list initial; /* to be sent from initial_at on, in initial_arena */
	size_t initial_at;
	struct arena *initial_arena;
	int broken;      /* why no more events can come: an error's code below 0 */
	const char *why; /* the same in words; may be NULL */
	bool initial_end, bookmarks, final_bookmark, ended, gone;

	/* Under all->lock. */
	struct watch *next_ready, *prev, *next;
	struct mono due; /* the clock calls the pump then */
	bool queued;
};

struct watches {
	struct api *api;
	struct task_mutex lock;
	struct task_cond wake;
	struct task *task;
	struct pump own, *loops;
	struct watch *first;
	size_t n;
	struct mono next_timer;
	bool stop, asleep;
};

/* ---- watch.c: one watch ---------------------------------------------------------------------- */

/* On its pump. True: its stream is closed. */
bool watch_visit(struct watch *w, struct mono now);
struct mono watch_due(const struct watch *w); /* when it wants to be visited next */
void watch_notify(void *arg);                 /* of its cache: it did not join */
/* Under w->lock. */
bool watch_has_room(struct watch *w); /* false: nothing may be written now; the stream says when */
void watch_write(struct watch *w, struct net_piece *p, size_t n);
void watch_end(struct watch *w); /* under w->lock; closed() follows on the loop */
void watch_free(struct watch *w);

/* ---- socket.c: over a WebSocket ---------------------------------------------------------------- */

extern const struct api_sink socket_out;
bool socket_asked(const struct rq *rq);
/* Own: *ret, the argument of socket_out, whose stream takes it; else socket_drop(). Fails: ERR_TOO_MANY. */
int socket_new(struct rq *rq, void **ret, struct err *e);
void socket_drop(void *arg);

/* ---- follow.c: those that have seen all, on their pump --------------------------------------- */

/* Between two visits: it has seen all that there was, so at least what the follower has told. */
void watch_join(struct watch *w);
void watch_catch_up(struct watch *w);   /* what was told to those that joined says how far it is */
void watch_part(struct watch *w);       /* it is gone: no notify() from here on */
void follower_tell(struct follower *f); /* what there is to tell; it is gone when nobody is left who joined */

/* ---- pump.c: who is visited where and when --------------------------------------------------- */

void watch_push(struct watch *w); /* it wants to be visited; any thread */
void follower_push(struct follower *f);
void watches_link(struct watches *all, struct watch *w); /* it gets its pump */

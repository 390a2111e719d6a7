/* Those of a pump's watches that have seen all: each change is looked at once for all of them. */
#include "api/watch/watch.h"
#include <stdio.h>

#define FOLLOWED 64 /* changes at a time */
#define KEY_MAX 600

static void notify_follower(void *arg)
{
	follower_push(arg);
}

static void link_joined(struct follower *f, struct watch *w)
{
	w->follower = f;
	w->next_joined = f->first;
	w->prev_joined = &f->first;
	if (w->next_joined)
		w->next_joined->prev_joined = &w->next_joined;
	f->first = w;
}

static void unlink_joined(struct watch *w)
{
	*w->prev_joined = w->next_joined;
	if (w->next_joined)
		w->next_joined->prev_joined = w->prev_joined;
	w->follower = NULL;
}

/* Nobody is left. */
static void follower_free(struct follower *f)
{
	struct pump *p = f->pump;

	cache_watch_free(f->events); /* no notify() from here on */
	task_lock(&p->all->lock);
	for (struct follower **at = &p->news; f->queued; at = &(*at)->next_queued)
		if (*at == f) {
			*at = f->next_queued;
			f->queued = false;
			break;
		}
	task_unlock(&p->all->lock);
	for (struct follower **at = &p->followers;; at = &(*at)->next)
		if (*at == f) {
			*at = f->next;
			break;
		}
	free(f);
}

static struct follower *follower_new(struct pump *p, struct cache *c, int64_t since)
{
	struct follower *f = xcalloc(1, sizeof(*f));
	struct err e;

	err_init(&e);
	f->pump = p;
	f->cache = c;
	f->progress = since;
	if (cache_watch(c, since, STR(""), notify_follower, f, &f->events, &e) < 0) {
		free(f);
		return NULL;
	}
	f->next = p->followers;
	return p->followers = f;
}

void watch_join(struct watch *w)
{
	struct cache *c = w->rq->res->stored->cache;
	struct follower *f = w->pump->followers;
	bool is_new;

	while (f && f->cache != c)
		f = f->next;
	is_new = !f;
	if (is_new && !(f = follower_new(w->pump, c, w->progress)))
		return;
	w->events = cache_watch_free(w->events);
	link_joined(f, w);
	if (is_new)
		follower_push(f); /* it is told of changes once it has looked */
}

/* From here on it gets events of its own, as there is room for them. */
static void leave(struct watch *w)
{
	struct follower *f = w->follower;
	struct err e;

	err_init(&e);
	w->progress = MAX(w->progress, f->progress);
	unlink_joined(w);
	w->broken = cache_watch(f->cache, w->progress, w->prefix, watch_notify, w, &w->events, &e);
}

/* All that joined: what breaks the follower would have broken each. */
static void break_all(struct follower *f, int code)
{
	for (struct watch *w; (w = f->first);) {
		unlink_joined(w);
		w->broken = code;
		watch_push(w);
	}
}

/* "ns/name", or "name". */
static struct str key_of(const struct doc *d, char room[KEY_MAX])
{
	struct str ns = doc_ns(d), name = doc_name(d);
	int n = ns.n ? snprintf(room, KEY_MAX, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) :
		       snprintf(room, KEY_MAX, "%.*s", STR_ARG(name));

	return str_n(room, (size_t)MIN(n, KEY_MAX - 1));
}

/* Under w->lock. False: there is no room for it. */
static bool tell(struct watch *w, const struct cache_event *ev)
{
	struct net_piece p[EVENT_PIECES];
	size_t n;

	if (w->closed || w->ended)
		return true;
	if (!watch_has_room(w))
		return false;
	n = event_again(&w->form, &w->filter, ev, p);
	if (!n) {
		struct cache_event mine = *ev;

		mine.before = ev->before ? doc_ref(ev->before) : NULL;
		mine.after = doc_ref(ev->after);
		n = event_change(&w->form, &w->filter, &mine, p);
	}
	if (n)
		watch_write(w, p, n);
	if (w->form.failed)
		watch_end(w);
	return true;
}

static void tell_all(struct follower *f, const struct cache_event *ev)
{
	char room[KEY_MAX];
	struct str key = key_of(ev->after, room);

	for (struct watch *w = f->first, *next; w; w = next) {
		bool told;

		next = w->next_joined;
		if (ev->revision <= w->progress || !str_starts(key, w->prefix))
			continue;
		task_lock(&w->lock);
		told = tell(w, ev);
		task_unlock(&w->lock);
		if (!told)
			leave(w);
	}
}

void follower_tell(struct follower *f)
{
	struct cache_event ev = { 0 };
	struct err e;
	int rc = 1;

	err_init(&e);
	for (int i = 0; rc > 0 && !ev.last && f->first; i++) {
		int64_t progress = 0;

		if (i == FOLLOWED) {
			follower_push(f);
			return;
		}
		rc = cache_watch_next(f->events, &ev, &progress, &e);
		if (rc > 0)
			tell_all(f, &ev);
		f->progress = MAX(f->progress, rc > 0 ? ev.revision : progress);
		if (rc > 0) {
			doc_unref(ev.before);
			doc_unref(ev.after);
		}
	}
	if (rc < 0)
		break_all(f, rc);
	if (!f->first)
		follower_free(f);
}

void watch_catch_up(struct watch *w)
{
	if (w->follower)
		follower_tell(w->follower);
	if (w->follower)
		w->progress = MAX(w->progress, w->follower->progress);
}

void watch_part(struct watch *w)
{
	struct follower *f = w->follower;

	w->events = cache_watch_free(w->events);
	if (!f)
		return;
	unlink_joined(w);
	if (!f->first)
		follower_free(f);
}

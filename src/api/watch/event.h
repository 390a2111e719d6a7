/* WATCH: an event as bytes, in the form that a watch asked for. */
#pragma once
#include "api/api_internal.h"
#include "cache/cache.h"

/* What was sent last: the next watch that wants the same shares its bytes. One task's. */
struct event_latest {
	struct doc *doc; /* ref */
	const char *type;
	const struct resource *res;
	enum media media;
	struct frame *frame; /* ref; NULL: it was sent in pieces */
};
void event_latest_fini(struct event_latest *l); /* empty afterwards */

struct event_form {
	struct rq *rq;
	struct event_latest *latest;
	bool columns_sent;
	bool failed; /* an object could not be converted: that was the last event */
};
/* Each puts what is to be written into ret, and returns how many pieces. */
#define EVENT_PIECES 3
size_t event_added(
	struct event_form *f, const struct filter *filter, struct doc *stored, struct net_piece ret[EVENT_PIECES]);
size_t event_change(struct event_form *f, const struct filter *filter, struct cache_event *take_ev,
	struct net_piece ret[EVENT_PIECES]); /* 0: not for this watch; takes the references of the event */
/* The same bytes again that the watch before this one got, when this one wants just those; 0: event_change() has to look. */
size_t event_again(struct event_form *f, const struct filter *filter, const struct cache_event *ev,
	struct net_piece ret[EVENT_PIECES]);
size_t event_bookmark(struct event_form *f, int64_t rev, bool initial_end, struct net_piece ret[EVENT_PIECES]);
size_t event_error(struct event_form *f, const struct err *e, struct net_piece ret[EVENT_PIECES]);

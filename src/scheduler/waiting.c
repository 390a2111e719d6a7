/* Pods that have no node yet.
 *
 *     put ──► active ──pop──► out ──► bound: forgotten
 *               ▲              │
 *               │              ├─ no node: parked ── something that may help ──┐
 *               │              └─ an error ────────────────────────────────────┤
 *               └────────────────────── backoff is over ◄─────── backoff ◄─────┘
 *
 * Active: by priority, then arrival. Gated pods wait for an update that takes their gates away. */
#include "scheduler/scheduler_internal.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MOST_MS 10000
#define PARKED_MOST_MS 300000

/* ---- heaps ----------------------------------------------------------------------------------- */

static bool by_priority(const struct pending *a, const struct pending *b)
{
	return a->priority != b->priority ? a->priority > b->priority : a->seq < b->seq;
}

static bool by_due(const struct pending *a, const struct pending *b)
{
	return a->due.ns != b->due.ns ? a->due.ns < b->due.ns : a->seq < b->seq;
}

static void place(struct heap_of *h, size_t i, struct pending *p)
{
	h->v[i] = p;
	p->at = i;
}

static void sift(struct heap_of *h, size_t i)
{
	struct pending *p = h->v[i];

	for (; i && h->less(p, h->v[(i - 1) / 2]); i = (i - 1) / 2)
		place(h, i, h->v[(i - 1) / 2]);
	for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
		if (child + 1 < h->n && h->less(h->v[child + 1], h->v[child]))
			child++;
		if (!h->less(h->v[child], p))
			break;
		place(h, i, h->v[child]);
	}
	place(h, i, p);
}

static void heap_put(struct heap_of *h, struct pending *p)
{
	GROW(h->v, h->n, h->cap, 16);
	h->v[h->n++] = p;
	p->at = h->n - 1;
	sift(h, p->at);
}

static void heap_drop(struct heap_of *h, struct pending *p)
{
	size_t i = p->at;
	struct pending *last = h->v[--h->n];

	if (last == p)
		return;
	place(h, i, last);
	sift(h, i);
}

/* ---- moves ----------------------------------------------------------------------------------- */

static struct heap_of *heap_for(struct waiting *w, enum pending_state state)
{
	return state == PENDING_ACTIVE   ? &w->active :
		state == PENDING_BACKOFF ? &w->backoff :
		state == PENDING_PARKED  ? &w->parked :
					   NULL;
}

static void leave(struct waiting *w, struct pending *p)
{
	struct heap_of *h = heap_for(w, p->state);

	if (h)
		heap_drop(h, p);
	w->gated -= p->state == PENDING_GATED;
}

static void enter(struct waiting *w, struct pending *p, enum pending_state state)
{
	struct heap_of *h = heap_for(w, state);

	p->state = state;
	if (h)
		heap_put(h, p);
	w->gated += state == PENDING_GATED;
}

static void move(struct waiting *w, struct pending *p, enum pending_state state)
{
	leave(w, p);
	enter(w, p, state);
}

/* Counted from the last try: who has been parked for long goes at once when something helps. */
static struct mono backoff_due(const struct pending *p)
{
	int64_t ms = BACKOFF_FIRST_MS;

	for (int i = 1; i < p->attempts && ms < BACKOFF_MOST_MS; i++)
		ms *= 2;
	return mono_add_ms(p->tried, MIN(ms, (int64_t)BACKOFF_MOST_MS));
}

static void pending_end(void *v)
{
	struct pending *p = v;

	doc_unref(p->pod);
	free(p->nominated);
	free(p);
}

void waiting_init(struct waiting *w)
{
	*w = (struct waiting){ .by_uid = map_new(pending_end),
		.active.less = by_priority,
		.backoff.less = by_due,
		.parked.less = by_due };
}

void waiting_fini(struct waiting *w)
{
	map_free(w->by_uid);
	free(w->active.v);
	free(w->backoff.v);
	free(w->parked.v);
}

struct pending *waiting_find(struct waiting *w, struct str uid)
{
	return map_get(w->by_uid, uid);
}

static bool is_gated(const struct doc *pod)
{
	return val_len(doc_get(pod, "spec.schedulingGates")) > 0;
}

/* Whether an update may change what the scheduler thinks of a pod: not its status. */
static bool same_wish(const struct doc *a, const struct doc *b)
{
	return val_equal(doc_get(a, "spec"), doc_get(b, "spec")) &&
		val_equal(doc_get(a, "metadata.labels"), doc_get(b, "metadata.labels"));
}

static void put_new(struct waiting *w, struct doc *pod)
{
	struct pending *p = xcalloc(1, sizeof(*p));
	struct str nominated = doc_str(pod, "status.nominatedNodeName");

	p->pod = doc_ref(pod);
	p->priority = (int32_t)doc_int(pod, "spec.priority", 0);
	p->seq = w->seq++;
	map_put(w->by_uid, doc_uid(pod), p);
	if (nominated.n)
		waiting_nominate(w, p, nominated);
	enter(w, p, is_gated(pod) ? PENDING_GATED : PENDING_ACTIVE);
}

void waiting_put(struct waiting *w, struct doc *pod)
{
	struct pending *p = waiting_find(w, doc_uid(pod));
	bool same;

	if (!p) {
		put_new(w, pod);
		return;
	}
	same = same_wish(p->pod, pod);
	leave(w, p);
	doc_unref(p->pod);
	p->pod = doc_ref(pod);
	p->priority = (int32_t)doc_int(pod, "spec.priority", 0);
	if (p->state == PENDING_OUT)
		p->again |= !same;
	enter(w, p, is_gated(pod) ? PENDING_GATED : same || p->state == PENDING_OUT ? p->state : PENDING_ACTIVE);
}

void waiting_forget(struct waiting *w, struct str uid)
{
	struct pending *p = waiting_find(w, uid);

	if (!p)
		return;
	leave(w, p);
	w->nominated -= p->nominated != NULL;
	map_del(w->by_uid, uid);
}

static void wake_due(struct waiting *w, struct heap_of *h, struct mono now)
{
	while (h->n && !mono_before(now, h->v[0]->due))
		move(w, h->v[0], PENDING_ACTIVE);
}

struct pending *waiting_pop(struct waiting *w, struct mono now)
{
	struct pending *p;

	wake_due(w, &w->backoff, now);
	wake_due(w, &w->parked, now);
	if (!w->active.n)
		return NULL;
	p = w->active.v[0];
	move(w, p, PENDING_OUT);
	p->attempts++;
	p->tried = now;
	p->again = false;
	return p;
}

struct mono waiting_next(struct waiting *w)
{
	struct mono next = MONO_NEVER;

	if (w->backoff.n)
		next = w->backoff.v[0]->due;
	if (w->parked.n && mono_before(w->parked.v[0]->due, next))
		next = w->parked.v[0]->due;
	return next;
}

void waiting_retry(struct waiting *w, struct pending *p, struct mono now)
{
	leave(w, p);
	p->due = backoff_due(p);
	enter(w, p, mono_before(now, p->due) ? PENDING_BACKOFF : PENDING_ACTIVE);
}

void waiting_park(struct waiting *w, struct pending *p, unsigned failed, struct mono now)
{
	if (p->again) {
		waiting_retry(w, p, now);
		return;
	}
	leave(w, p);
	p->failed = failed;
	p->due = mono_add_ms(now, PARKED_MOST_MS);
	enter(w, p, PENDING_PARKED);
}

void waiting_happened(struct waiting *w, unsigned what, struct mono now)
{
	size_t n = 0;
	struct pending **helped;

	if (!w->parked.n)
		return;
	helped = xcalloc(w->parked.n, sizeof(struct pending *));
	for (size_t i = 0; i < w->parked.n; i++) {
		struct pending *p = w->parked.v[i];

		if (!p->failed || (happenings_that_help(p->failed) & what))
			helped[n++] = p;
	}
	for (size_t i = 0; i < n; i++)
		waiting_retry(w, helped[i], now);
	free(helped);
}

void waiting_nominate(struct waiting *w, struct pending *p, struct str node)
{
	w->nominated -= p->nominated != NULL;
	free(p->nominated);
	p->nominated = node.n ? str_dup(node) : NULL;
	w->nominated += p->nominated != NULL;
}

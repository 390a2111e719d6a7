#include "base/queue.h"

#include "base/map.h"

enum place { IDLE, READY, LATER };

/* One key that is queued, waited for, worked on, or has failed before. */
struct item {
	char *key;
	struct mono due; /* place LATER */
	struct item *next; /* place READY: in order */
	enum place place;
	bool working, again; /* again: added while it was worked on */
	int failures;
};

struct queue {
	struct queue_opts opts;
	struct task_mutex lock;
	struct task_cond changed;
	struct map *items;
	struct item *first, *last;
	size_t n_ready, n_later;
	bool stopped;
};

static void item_free(void *p)
{
	struct item *i = p;

	free(i->key);
	free(i);
}

struct queue *queue_new(struct queue_opts o)
{
	struct queue *q = xcalloc(1, sizeof(*q));

	q->opts.first_ms = o.first_ms ? o.first_ms : 5;
	q->opts.most_ms = o.most_ms ? o.most_ms : 60000;
	q->items = map_new(item_free);
	task_mutex_init(&q->lock);
	task_cond_init(&q->changed);
	return q;
}

struct queue *queue_free(struct queue *q)
{
	if (!q)
		return NULL;
	map_free(q->items);
	task_cond_fini(&q->changed);
	task_mutex_fini(&q->lock);
	free(q);
	return NULL;
}

static struct item *need(struct queue *q, struct str key)
{
	struct item *i = map_get(q->items, key);

	if (i)
		return i;
	i = xcalloc(1, sizeof(*i));
	i->key = str_dup(key);
	map_put(q->items, key, i);
	return i;
}

static void make_ready(struct queue *q, struct item *i)
{
	if (i->place == LATER)
		q->n_later--;
	i->place = READY;
	i->next = NULL;
	if (q->last)
		q->last->next = i;
	else
		q->first = i;
	q->last = i;
	q->n_ready++;
	task_signal(&q->changed);
}

static void add(struct queue *q, struct item *i)
{
	if (i->working)
		i->again = true;
	else if (i->place != READY)
		make_ready(q, i);
}

static void add_after(struct queue *q, struct item *i, int64_t ms)
{
	struct mono due = mono_add_ms(mono_now(), ms);

	if (ms <= 0) {
		add(q, i);
		return;
	}
	if (i->place == READY || (i->place == LATER && !mono_before(due, i->due)))
		return;
	if (i->place == IDLE)
		q->n_later++;
	i->place = LATER;
	i->due = due;
	task_signal(&q->changed); /* a worker may sleep for longer than this */
}

void queue_add(struct queue *q, struct str key)
{
	task_lock(&q->lock);
	if (!q->stopped)
		add(q, need(q, key));
	task_unlock(&q->lock);
}

void queue_add_after(struct queue *q, struct str key, int64_t ms)
{
	task_lock(&q->lock);
	if (!q->stopped)
		add_after(q, need(q, key), ms);
	task_unlock(&q->lock);
}

void queue_retry(struct queue *q, struct str key)
{
	struct item *i;
	int64_t ms;

	task_lock(&q->lock);
	i = need(q, key);
	ms = q->opts.first_ms << MIN(i->failures, 30);
	i->failures++;
	if (!q->stopped)
		add_after(q, i, MIN(ms, q->opts.most_ms));
	task_unlock(&q->lock);
}

/* An item that nothing is known of any more. */
static void drop_if_idle(struct queue *q, struct item *i)
{
	if (i->place == IDLE && !i->working && !i->failures)
		map_del(q->items, str_c(i->key));
}

void queue_forget(struct queue *q, struct str key)
{
	struct item *i;

	task_lock(&q->lock);
	i = map_get(q->items, key);
	if (i) {
		i->failures = 0;
		drop_if_idle(q, i);
	}
	task_unlock(&q->lock);
}

int queue_failures(struct queue *q, struct str key)
{
	struct item *i;
	int n;

	task_lock(&q->lock);
	i = map_get(q->items, key);
	n = i ? i->failures : 0;
	task_unlock(&q->lock);
	return n;
}

/* Moves what is due to the ready list; returns when the next one will be. */
static struct mono move_due(struct queue *q)
{
	struct mono now = mono_now(), next = MONO_NEVER;
	void *value;

	if (!q->n_later)
		return next;
	for (size_t at = 0; map_next(q->items, &at, NULL, &value);) {
		struct item *i = value;

		if (i->place != LATER)
			continue;
		if (mono_before(now, i->due)) {
			next.ns = MIN(next.ns, i->due.ns);
		} else if (i->working) {
			i->place = IDLE;
			q->n_later--;
			i->again = true;
		} else {
			make_ready(q, i);
		}
	}
	return next;
}

bool queue_pop(struct queue *q, char **ret)
{
	struct item *i;

	task_lock(&q->lock);
	for (;;) {
		struct mono next;

		next = q->first ? MONO_NEVER : move_due(q);
		if (q->first || q->stopped)
			break;
		task_wait_until(&q->changed, &q->lock, next);
	}
	i = q->first;
	if (i) {
		q->first = i->next;
		if (!q->first)
			q->last = NULL;
		q->n_ready--;
		i->place = IDLE;
		i->working = true;
		*ret = xstrdup(i->key);
		if (q->first)
			task_signal(&q->changed);
	}
	task_unlock(&q->lock);
	return i != NULL;
}

void queue_done(struct queue *q, struct str key)
{
	struct item *i;

	task_lock(&q->lock);
	i = map_get(q->items, key);
	if (i) {
		i->working = false;
		if (i->again && !q->stopped && i->place != READY)
			make_ready(q, i);
		i->again = false;
		drop_if_idle(q, i);
	}
	task_unlock(&q->lock);
}

void queue_stop(struct queue *q)
{
	task_lock(&q->lock);
	q->stopped = true;
	task_broadcast(&q->changed);
	task_unlock(&q->lock);
}

size_t queue_len(struct queue *q)
{
	size_t n;

	task_lock(&q->lock);
	n = q->n_ready + q->n_later;
	task_unlock(&q->lock);
	return n;
}

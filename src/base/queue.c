#include "base/queue.h"
#include "base/base_internal.h"
#include "base/map.h"

/* A key is an item while it is anything but forgotten:
 *
 *	add ──► ready ──pop──► working ──done──► (gone, or ready when `again`)
 *	          ▲               │
 *	          └── its time ── waiting ◄── retry, add_after
 *
 * An item can be working and waiting at once; when its time comes first, it is marked `again`. */
struct item {
	struct heap_node due;    /* in `waiting` */
	struct item *next_ready; /* in the ready list */
	char *key;
	size_t key_n;
	int failures;
	bool ready, working, again;
};

struct queue {
	struct task_mutex lock;
	struct task_cond more;
	struct map *items; /* of struct item */
	struct item *first, *last;
	struct heap waiting;
	struct queue_opts opts;
	uint64_t seq;
	size_t ready_n;
	bool stopped;
};

static void item_end(void *p)
{
	struct item *i = p;

	free(i->key);
	free(i);
}

struct queue *queue_new(struct queue_opts o)
{
	struct queue *q = xcalloc(1, sizeof(*q));

	q->opts.first_ms = o.first_ms > 0 ? o.first_ms : 5;
	q->opts.most_ms = o.most_ms > 0 ? o.most_ms : 60000;
	q->items = map_new(item_end);
	task_mutex_init(&q->lock);
	task_cond_init(&q->more);
	return q;
}

struct queue *queue_free(struct queue *q)
{
	if (!q)
		return NULL;
	task_cond_fini(&q->more);
	task_mutex_fini(&q->lock);
	heap_fini(&q->waiting);
	map_free(q->items);
	free(q);
	return NULL;
}

static struct item *item_of(struct queue *q, struct str key)
{
	struct item *i = map_get(q->items, key);

	if (i)
		return i;
	i = xcalloc(1, sizeof(*i));
	i->key = str_dup(key);
	i->key_n = key.n;
	map_put(q->items, key, i);
	return i;
}

/* Nothing left to remember: the queue holds no more than what is under way. */
static void drop_idle(struct queue *q, struct item *i)
{
	if (!i->ready && !i->working && !i->due.pos && i->failures == 0)
		map_del(q->items, str_n(i->key, i->key_n));
}

static void make_ready(struct queue *q, struct item *i)
{
	heap_remove(&q->waiting, &i->due);
	if (i->working) {
		i->again = true;
		return;
	}
	if (i->ready)
		return;
	i->ready = true;
	i->next_ready = NULL;
	if (q->last)
		q->last->next_ready = i;
	else
		q->first = i;
	q->last = i;
	q->ready_n++;
	task_signal(&q->more);
}

static void wait_for_time(struct queue *q, struct item *i, int64_t ms)
{
	struct mono due = mono_add_ms(mono_now(), ms);

	if (i->ready || i->again || (i->due.pos && i->due.at <= due.ns))
		return;
	heap_remove(&q->waiting, &i->due);
	i->due.at = due.ns;
	i->due.seq = q->seq++;
	heap_add(&q->waiting, &i->due);
	if (heap_first(&q->waiting) == &i->due)
		task_signal(&q->more); /* whoever sleeps shall sleep shorter */
}

static void add_after(struct queue *q, struct item *i, int64_t ms)
{
	if (ms > 0)
		wait_for_time(q, i, ms);
	else
		make_ready(q, i);
}

void queue_add_after(struct queue *q, struct str key, int64_t ms)
{
	task_lock(&q->lock);
	if (!q->stopped)
		add_after(q, item_of(q, key), ms);
	task_unlock(&q->lock);
}

void queue_add(struct queue *q, struct str key)
{
	queue_add_after(q, key, 0);
}

static int64_t back_off_ms(const struct queue *q, int failures)
{
	int64_t ms = q->opts.first_ms;

	for (int i = 1; i < failures && ms < q->opts.most_ms; i++)
		ms = ms > INT64_MAX / 2 ? INT64_MAX : ms * 2;
	return MIN(ms, q->opts.most_ms);
}

void queue_retry(struct queue *q, struct str key)
{
	struct item *i;

	task_lock(&q->lock);
	if (!q->stopped) {
		i = item_of(q, key);
		if (i->failures < INT32_MAX)
			i->failures++;
		add_after(q, i, back_off_ms(q, i->failures));
	}
	task_unlock(&q->lock);
}

void queue_forget(struct queue *q, struct str key)
{
	struct item *i;

	task_lock(&q->lock);
	i = map_get(q->items, key);
	if (i) {
		i->failures = 0;
		drop_idle(q, i);
	}
	task_unlock(&q->lock);
}

int queue_failures(struct queue *q, struct str key)
{
	const struct item *i;
	int n;

	task_lock(&q->lock);
	i = map_get(q->items, key);
	n = i ? i->failures : 0;
	task_unlock(&q->lock);
	return n;
}

static void wake_due(struct queue *q)
{
	struct heap_node *due;
	int64_t now;

	if (!q->waiting.n)
		return;
	now = mono_now().ns;
	while ((due = heap_first(&q->waiting)) != NULL && due->at <= now)
		make_ready(q, container_of(due, struct item, due));
}

static struct item *take_first(struct queue *q)
{
	struct item *i = q->first;

	if (!i)
		return NULL;
	q->first = i->next_ready;
	if (!q->first)
		q->last = NULL;
	q->ready_n--;
	i->ready = false;
	i->working = true;
	return i;
}

bool queue_pop(struct queue *q, char **ret)
{
	struct item *i;

	task_lock(&q->lock);
	for (;;) {
		const struct heap_node *due;

		wake_due(q);
		i = take_first(q);
		if (i || q->stopped)
			break;
		due = heap_first(&q->waiting);
		task_wait_until(&q->more, &q->lock, due ? (struct mono){ due->at } : MONO_NEVER);
	}
	if (i) {
		*ret = xstrndup(i->key, i->key_n);
		/* Another sleeper may wait without a time: it must learn of what is ready, or take over the watch
		 * for the next key whose time comes. */
		if (q->first || heap_first(&q->waiting))
			task_signal(&q->more);
	}
	task_unlock(&q->lock);
	return i != NULL;
}

void queue_done(struct queue *q, struct str key)
{
	struct item *i;

	task_lock(&q->lock);
	i = map_get(q->items, key);
	if (i && i->working) {
		i->working = false;
		if (i->again && !q->stopped)
			make_ready(q, i);
		i->again = false;
		drop_idle(q, i);
	}
	task_unlock(&q->lock);
}

void queue_stop(struct queue *q)
{
	task_lock(&q->lock);
	q->stopped = true;
	while (heap_first(&q->waiting))
		heap_remove(&q->waiting, heap_first(&q->waiting));
	task_broadcast(&q->more);
	task_unlock(&q->lock);
}

static bool is_stopped(struct queue *q)
{
	bool yes;

	task_lock(&q->lock);
	yes = q->stopped;
	task_unlock(&q->lock);
	return yes;
}

void queue_work(struct queue *q, void (*visit)(void *arg, struct str key), void *arg)
{
	char *key;

	while (queue_pop(q, &key)) {
		if (!is_stopped(q))
			visit(arg, str_c(key));
		queue_done(q, str_c(key));
		free(key);
	}
}

size_t queue_len(struct queue *q)
{
	size_t n;

	task_lock(&q->lock);
	n = q->ready_n;
	task_unlock(&q->lock);
	return n;
}

/* Many informers in one task: each comes to its turn when its stream has news, or its time has come. */
#include "base/map.h"
#include "base/queue.h"
#include "client/informer_internal.h"
#include <inttypes.h>
#include <stdio.h>

struct informer_loop {
	struct queue *due; /* keys of informers whose stream has news, or whose time has come */
	struct task *task;
	struct task_mutex lock;
	struct task_cond left;
	struct map *members; /* key → informer, borrow */
	uint64_t keys;
	struct informer *at; /* the one that is worked on */
};

static void has_news(void *arg)
{
	struct informer *i = arg;

	queue_add(i->o.loop->due, str_c(i->key));
}

static int open_stream(struct informer *i, struct err *e)
{
	struct client_request rq = informer_watch_request(i);
	int r = client_watch(i->client, &rq, &i->stream, e);

	i->opened = i->heard = mono_now();
	return r < 0 ? r : client_notify(i->client, i->stream, has_news, i, e);
}

/* 0: that was all for now. */
static int drain(struct informer *i, struct err *e)
{
	struct client_event ev;
	int r = 0;

	while (r == 0 && !stop_raised(i->stop)) {
		r = client_next(i->client, i->stream, 0, &ev, e);
		if (r < 0)
			break;
		i->heard = mono_now();
		r = informer_take(i, &ev, e);
		doc_unref(ev.object);
	}
	return r == -ERR_TIMEOUT && mono_ms_between(i->heard, mono_now()) < SILENCE_MS ? 0 : r;
}

/* As far as it goes without waiting for news; when to come back at the latest. */
static int64_t step(struct informer *i)
{
	struct err e;
	int r = 0;

	err_init(&e);
	if (!i->from[0] && (r = informer_list_all(i, &e)) < 0)
		return informer_after_list(i, r, &e);
	if (!i->stream)
		r = open_stream(i, &e);
	if (r >= 0 && i->stream)
		r = drain(i, &e);
	if (r < 0) {
		client_close(i->client, TAKE(i->stream));
		return informer_after_watch(i, r, &e);
	}
	if (i->o.resync_ms && !mono_before(mono_now(), i->resync))
		informer_resync(i);
	return informer_patience(i);
}

static void visit(void *arg, struct str key)
{
	struct informer_loop *l = arg;

	task_lock(&l->lock);
	l->at = map_get(l->members, key);
	task_unlock(&l->lock);
	if (l->at)
		queue_add_after(l->due, key, step(l->at));
	task_lock(&l->lock);
	l->at = NULL;
	task_broadcast(&l->left);
	task_unlock(&l->lock);
}

static void loop_run(void *arg)
{
	struct informer_loop *l = arg;

	queue_work(l->due, visit, l);
}

void informer_loop_join(struct informer_loop *l, struct informer *i)
{
	i->resync = mono_add_ms(mono_now(), i->o.resync_ms);
	task_lock(&l->lock);
	snprintf(i->key, sizeof(i->key), "%" PRIu64, ++l->keys);
	map_put(l->members, str_c(i->key), i);
	task_unlock(&l->lock);
	queue_add(l->due, str_c(i->key));
}

void informer_loop_leave(struct informer_loop *l, struct informer *i)
{
	task_lock(&l->lock);
	map_take(l->members, str_c(i->key));
	while (l->at == i)
		task_wait(&l->left, &l->lock);
	task_unlock(&l->lock);
	client_close(i->client, TAKE(i->stream));
}

struct informer_loop *informer_loop_new(void)
{
	struct informer_loop *l = xcalloc(1, sizeof(*l));

	task_mutex_init(&l->lock);
	task_cond_init(&l->left);
	l->due = queue_new((struct queue_opts){ 0 });
	l->members = map_new(NULL);
	l->task = task_spawn("informers", loop_run, l);
	return l;
}

struct informer_loop *informer_loop_free(struct informer_loop *l)
{
	if (!l)
		return NULL;
	PRE(!map_len(l->members));
	queue_stop(l->due);
	task_join(l->task);
	queue_free(l->due);
	map_free(l->members);
	task_cond_fini(&l->left);
	task_mutex_fini(&l->lock);
	free(l);
	return NULL;
}

/* A thread, its libuv loop, and the messages to it.
 *
 * One turn:  wait for sockets and timers -> their callbacks -> [before]: messages, sending, burying -> wait.
 * Whatever callbacks produce is only queued; `before` sends it, so answers that become ready together leave together
 * and no callback ever finds its connection freed under its feet. */
#include "net/net_internal.h"
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define LOOP_STACK ((size_t)512 << 10)
#define ROUNDS_MAX 8
#define BATCH_LOOPS 8
static _Thread_local struct net_loop *here;
struct batch_loop {
	struct net_loop *loop;  /* ref: to be woken at the end */
	struct net_msg *gather; /* own: sent at the end */
};
static _Thread_local struct {
	bool on;
	size_t n;
	struct batch_loop loops[BATCH_LOOPS];
} batch;

bool loop_here(const struct net_loop *l)
{
	return here == l;
}

uint64_t loop_ms(void)
{
	return uv_now(&here->uv);
}

struct net_loop *loop_ref(struct net_loop *l)
{
	atomic_fetch_add(&l->refs, 1);
	return l;
}

void loop_unref(struct net_loop *l)
{
	if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void net_batch_begin(void)
{
	batch.on = true;
}

void net_batch_end(void)
{
	for (size_t i = 0; i < batch.n; i++)
		if (batch.loops[i].gather)
			loop_send(batch.loops[i].loop, TAKE(batch.loops[i].gather));
	batch.on = false;
	for (size_t i = 0; i < batch.n; i++) {
		struct net_loop *l = batch.loops[i].loop;

		pthread_mutex_lock(&l->lock);
		if (!l->dead)
			uv_async_send(&l->wake);
		pthread_mutex_unlock(&l->lock);
		loop_unref(l);
	}
	batch.n = 0;
}

/* NULL: there is no batch, or it has too many loops. */
static struct batch_loop *batch_loop(struct net_loop *l)
{
	if (!batch.on)
		return NULL;
	for (size_t i = 0; i < batch.n; i++)
		if (batch.loops[i].loop == l)
			return &batch.loops[i];
	if (batch.n == BATCH_LOOPS)
		return NULL;
	batch.loops[batch.n] = (struct batch_loop){ .loop = loop_ref(l) };
	return &batch.loops[batch.n++];
}

struct net_msg **loop_batch(struct net_loop *l)
{
	struct batch_loop *b = batch_loop(l);

	return b ? &b->gather : NULL;
}

void loop_send(struct net_loop *l, struct net_msg *m)
{
	bool wake, dead;

	m->next = NULL;
	pthread_mutex_lock(&l->lock);
	dead = l->dead;
	wake = !l->first && here != l; /* on the loop itself `before` comes anyway */
	if (!dead) {
		*l->last = m;
		l->last = &m->next;
		if (wake && !batch_loop(l))
			uv_async_send(&l->wake);
	}
	pthread_mutex_unlock(&l->lock);
	if (dead)
		m->run(m); /* nothing is connected any more: it only drops what it holds */
}

struct post {
	struct net_msg msg;
	void (*run)(void *arg);
	void *arg;
};

static void post_run(struct net_msg *m)
{
	struct post *p = container_of(m, struct post, msg);

	p->run(p->arg);
	free(p);
}

void net_loop_post(struct net_loop *l, void (*run)(void *arg), void *arg)
{
	struct post *p = xmalloc(sizeof(*p));

	*p = (struct post){ .msg.run = post_run, .run = run, .arg = arg };
	loop_send(l, &p->msg);
}

static bool run_messages(struct net_loop *l)
{
	pthread_mutex_lock(&l->lock);
	struct net_msg *m = l->first;
	l->first = NULL;
	l->last = &l->first;
	pthread_mutex_unlock(&l->lock);

	for (struct net_msg *next; m; m = next) {
		next = m->next;
		m->run(m);
		if (!next)
			return true;
	}
	return false;
}

static bool run_dirty(struct net_loop *l)
{
	struct conn *c = l->dirty;
	bool any = c;

	l->dirty = NULL;
	for (struct conn *next; c; c = next) {
		next = c->next_dirty;
		c->dirty = false;
		if (!c->closing)
			conn_flush(c);
	}
	return any;
}

static bool run_closing(struct net_loop *l)
{
	struct conn *c = l->closing;
	bool any = c;

	l->closing = NULL;
	for (struct conn *next; c; c = next) {
		next = c->next_closing;
		conn_bury(c);
	}
	return any;
}

/* The dead are buried after the last mention of them in the dirty list. */
static bool run_round(struct net_loop *l)
{
	bool any = run_messages(l);

	any |= run_dirty(l);
	return run_closing(l) || any;
}

static void on_before(uv_prepare_t *h)
{
	struct net_loop *l = h->data;

	for (int i = 0; i < ROUNDS_MAX; i++)
		if (!run_round(l))
			return;
	uv_async_send(&l->wake); /* let sockets have their turn, then go on */
}

static void on_wake(uv_async_t *h)
{
}

static void *loop_main(void *arg)
{
	struct net_loop *l = arg;

	here = l;
	prctl(PR_SET_NAME, l->name);
	parts_spare(true);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	parts_spare(false);
	return NULL;
}

struct net_loop *net_loop_new(const char *thread_name)
{
	struct net_loop *l = xmalloc(sizeof(*l));
	pthread_attr_t attr;
	sigset_t all, before;

	memset(l, 0, offsetof(struct net_loop, scratch));
	atomic_store(&l->refs, 1);
	l->last = &l->first;
	l->date_s = -1;
	snprintf(l->name, sizeof(l->name), "%s", thread_name);
	pthread_mutex_init(&l->lock, NULL);
	if (uv_loop_init(&l->uv) || uv_async_init(&l->uv, &l->wake, on_wake) || uv_prepare_init(&l->uv, &l->before))
		PANIC("no event loop: too many open files?");
	l->before.data = l;
	uv_prepare_start(&l->before, on_before);

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to main */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, LOOP_STACK);
	if (pthread_create(&l->thread, &attr, loop_main, l))
		PANIC("cannot start the thread %s", thread_name);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return l;
}

static void close_handle(uv_handle_t *h, void *arg)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

struct stop_msg {
	struct net_msg msg;
	struct net_loop *loop;
};

static void loop_stop(struct net_msg *m)
{
	struct net_loop *l = container_of(m, struct stop_msg, msg)->loop;

	l->stopping = true;
	for (struct conn *c = l->conns; c; c = c->next)
		conn_close(c, "shutting down");
	for (int i = 0; i < 100 && run_round(l); i++)
		;
	uv_walk(&l->uv, close_handle, NULL);
}

struct net_loop *net_loop_free(struct net_loop *l)
{
	struct stop_msg stop = { .msg.run = loop_stop, .loop = l };

	if (!l)
		return NULL;
	PRE(here != l);
	loop_send(l, &stop.msg);
	pthread_join(l->thread, NULL);
	pthread_mutex_lock(&l->lock);
	l->dead = true;
	pthread_mutex_unlock(&l->lock);
	while (run_messages(l))
		;
	uv_loop_close(&l->uv);
	loop_unref(l);
	return NULL;
}

struct str loop_date(struct net_loop *l)
{
	int64_t s = wall_s(wall_now());
	time_t t = (time_t)s;
	struct tm tm;

	if (s != l->date_s && gmtime_r(&t, &tm)) {
		static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
		static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep",
			"Oct", "Nov", "Dec" };

		l->date_s = s;
		snprintf(l->date, sizeof(l->date), "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday],
			(unsigned)tm.tm_mday % 100, months[tm.tm_mon], (unsigned)(tm.tm_year + 1900) % 10000,
			(unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
	}
	return str_c(l->date);
}

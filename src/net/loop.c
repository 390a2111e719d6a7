/* A thread, its libuv loop, and the messages to it.
 *
 * One turn:  wait for sockets and timers -> their callbacks -> [before]: messages, sending, burying -> wait.
 * Whatever callbacks produce is only queued; `before` sends it, so answers that become ready together leave together
 * and no callback ever finds its connection freed under its feet. */
#include "net/net_internal.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define LOOP_STACK ((size_t)512 << 10)
#define ROUNDS_MAX 8
static _Thread_local struct net_loop *here;

bool loop_here(const struct net_loop *l)
{
	return here == l;
}

bool loop_in_message(const struct net_loop *l)
{
	return here == l && l->in_message;
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
	close(l->wake_fd);
	free(l);
}

/* Not uv_async_send(): who is woken by that before it has returned, on its processor, spins until it has. */
static void wake(struct net_loop *l)
{
	uint64_t one = 1;

	if (write(l->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		PANIC("cannot wake the thread %s: %s", l->name, strerror(errno));
}

void loop_send(struct net_loop *l, struct net_msg *m)
{
	bool sleeps, dead;

	m->next = NULL;
	pthread_mutex_lock(&l->lock);
	dead = l->dead;
	sleeps = l->sleeps && here != l; /* on the loop itself `before` comes anyway */
	if (!dead) {
		*l->last = m;
		l->last = &m->next;
		if (sleeps)
			l->sleeps = false;
	}
	pthread_mutex_unlock(&l->lock);
	if (dead)
		m->run(m); /* nothing is connected any more: it only drops what it holds */
	else if (sleeps)
		wake(l);
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

/* With none it may go to sleep after this: who sends one from now on wakes it. */
static bool run_messages(struct net_loop *l)
{
	pthread_mutex_lock(&l->lock);
	struct net_msg *m = l->first;
	l->sleeps = !m;
	l->first = NULL;
	l->last = &l->first;
	pthread_mutex_unlock(&l->lock);

	bool any = m;

	l->in_message = true;
	for (struct net_msg *next; m; m = next) {
		next = m->next;
		m->run(m);
	}
	l->in_message = false;
	return any;
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
	wake(l); /* let sockets have their turn, then go on */
}

static void on_wake(uv_poll_t *h, int status, int events)
{
	struct net_loop *l = h->data;
	uint64_t n;

	if (read(l->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		PANIC("cannot read what woke the thread %s: %s", l->name, strerror(errno));
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
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->wake_fd < 0 || uv_loop_init(&l->uv) || uv_poll_init(&l->uv, &l->wake, l->wake_fd) ||
		uv_prepare_init(&l->uv, &l->before))
		PANIC("no event loop: too many open files?");
	l->wake.data = l->before.data = l;
	uv_poll_start(&l->wake, UV_READABLE, on_wake);
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

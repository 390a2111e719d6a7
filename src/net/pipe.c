/* A connection as a plain pipe of bytes, and two of them spliced.
 *
 *   any thread: pending --kick--> loop: out -> conn->out -> socket        socket -> [early] -> data()
 *
 * What arrives while nobody may be told (paused, or no ops yet) waits in `early`, closed() included. */
#include "net/net_internal.h"

#define PIPE_LOW ((size_t)64 << 10)
#define ABANDONED_MS 60000
#define NUDGE_MS 20000
struct net_pipe {
	struct net_msg kick;
	struct net_loop *loop; /* ref */
	atomic_size_t unsent;
	atomic_uint refs;     /* the open side, and a kick under way */
	pthread_mutex_t lock; /* for the next ones */
	struct parts pending;
	const struct net_pipe_ops *ops; /* NULL: held back until net_splice() or net_pipe_close() */
	void *arg;
	bool kicked, paused, end, close, abandoned;
	bool lost;      /* closed() was called, or is just being called */
	struct conn *c; /* loop from here on */
	bool attached;  /* has or had a connection */
	bool given_up;  /* abandoned: the connection's deadline is for what is left */
	bool nudged;    /* else it is for on_stuck() */
	bool eof, eof_told, closed;
	struct parts out;
	struct buf early;
};

static void pipe_unref(struct net_pipe *p)
{
	if (atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	parts_fini(&p->pending);
	parts_fini(&p->out);
	buf_fini(&p->early);
	pthread_mutex_destroy(&p->lock);
	loop_unref(p->loop);
	free(p);
}

/* Who is to be told now; false: nobody. */
static bool listener(struct net_pipe *p, struct net_pipe_ops *ops, void **arg)
{
	pthread_mutex_lock(&p->lock);
	bool may = p->ops && !p->paused && !p->lost;
	if (p->ops)
		*ops = *p->ops;
	*arg = p->arg;
	pthread_mutex_unlock(&p->lock);
	return may;
}

static void tell_closed(struct net_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	const struct net_pipe_ops *ops = p->ops;
	void *arg = p->arg;
	bool first = !p->lost;
	p->lost = true;
	pthread_mutex_unlock(&p->lock);
	if (!first)
		return;
	p->closed = true;
	if (ops && ops->closed)
		ops->closed(arg);
	pipe_unref(p);
}

/* Tells what waits, in order: bytes, the end, closed(). p may be gone afterwards. */
static void settle(struct net_pipe *p)
{
	struct net_pipe_ops ops;
	void *arg;

	while (!p->closed && (p->early.n || (p->eof && !p->eof_told)) && listener(p, &ops, &arg)) {
		if (p->early.n) {
			struct buf b = p->early;

			p->early = BUF_INIT;
			ops.data(arg, buf_view(&b));
			buf_fini(&b);
		} else {
			p->eof_told = true;
			ops.data(arg, STR_NULL);
		}
	}
	if (p->closed || p->c || !p->attached)
		return;
	pthread_mutex_lock(&p->lock);
	bool drop = p->close, held = !p->ops;
	pthread_mutex_unlock(&p->lock);
	if (drop || (!held && !p->early.n))
		tell_closed(p);
}

/* ---- the connection's side ------------------------------------------------------------------- */

static void pull(struct net_pipe *p)
{
	size_t n = p->c->out.n < CONN_OUT_LOW ? MIN(p->out.n, CONN_OUT_LOW) : 0;

	if (!n)
		return;
	parts_move(&p->c->out, &p->out, n);
	size_t before = atomic_fetch_sub(&p->unsent, n), after = before - n;
	if (after >= PIPE_LOW || (before < PIPE_LOW && after))
		return;
	pthread_mutex_lock(&p->lock);
	bool may = p->ops && !p->lost && !p->end && !p->close;
	const struct net_pipe_ops *ops = p->ops;
	void *arg = p->arg;
	pthread_mutex_unlock(&p->lock);
	if (may && ops->writable)
		ops->writable(arg);
}

static void on_fill(struct conn *c)
{
	struct net_pipe *p = c->arg;

	pull(p);
	if (p->out.n)
		return;
	pthread_mutex_lock(&p->lock);
	bool end = p->end && !p->pending.n, close = p->close && !p->pending.n;
	pthread_mutex_unlock(&p->lock);
	if (close)
		c->finish_asked = true;
	else if (end)
		c->shut_asked = true;
}

static void on_input(struct conn *c, struct str bytes)
{
	struct net_pipe *p = c->arg;
	struct net_pipe_ops ops;
	void *arg;

	if (!bytes.n) {
		p->eof = true;
		if (c->shut_done)
			conn_close(c, NULL);
		settle(p);
		return;
	}
	if (!p->early.n && listener(p, &ops, &arg)) {
		ops.data(arg, bytes);
		return;
	}
	buf_add(&p->early, bytes.p, bytes.n);
	conn_pause(c, true);
}

/* It is paused, or its reader may take nothing of what is to be sent. (That it is blocked shows only when nobody says anything
 * more, and then this is not asked again.) */
static void expect_stuck(struct net_pipe *p)
{
	const struct conn *c = p->c;

	if (p->nudged || p->given_up || !(c->paused || p->out.n || c->out.n || c->late.n))
		return;
	p->nudged = true;
	conn_deadline(p->c, NUDGE_MS);
}

/* Nobody waits for what is left, so it has to be taken soon. */
static void on_left(struct net_pipe *p)
{
	uint64_t rests = loop_ms() - p->c->moved_ms;

	if (rests >= ABANDONED_MS)
		conn_reset(p->c);
	else
		conn_deadline(p->c, (int64_t)(ABANDONED_MS - rests));
}

/* While nothing moves one way the peer may be gone, and its last word stand behind what is not read. Who is sent something
 * has to acknowledge it, or says that nobody is there; how long it takes to read or to write does not matter. */
static void on_stuck(struct net_pipe *p)
{
	p->nudged = false;
	if (conn_vanished(p->c) ||
		(p->c->accepted && p->c->broken)) { /* a paused one does not read that it was reset */
		conn_reset(p->c);
		return;
	}
	pthread_mutex_lock(&p->lock);
	const struct net_pipe_ops *ops = p->paused && !p->close && !p->lost && !atomic_load(&p->unsent) ? p->ops : NULL;
	void *arg = p->arg;
	pthread_mutex_unlock(&p->lock);
	if (ops && ops->nudge)
		ops->nudge(arg);
	expect_stuck(p);
}

static void on_timeout(struct conn *c)
{
	struct net_pipe *p = c->arg;

	if (p->given_up)
		on_left(p);
	else
		on_stuck(p);
}

static void on_gone(struct conn *c)
{
	struct net_pipe *p = c->arg;

	bool in_order = p->eof && c->shut_done && !c->why; /* each side had said its last word */

	p->c = NULL;
	parts_fini(&p->out);
	if (c->accepted &&
		!in_order) { /* what a client sent that is gone, and that nobody takes now, keeps nothing open */
		buf_fini(&p->early);
		p->early = BUF_INIT;
	}
	settle(p);
}

static const struct conn_ops pipe_conn_ops = {
	.input = on_input, .fill = on_fill, .timeout = on_timeout, .gone = on_gone, .reads_on = true
};

/* ---- the users' side ------------------------------------------------------------------------- */

static void kick_run(struct net_msg *m)
{
	struct net_pipe *p = container_of(m, struct net_pipe, kick);

	pthread_mutex_lock(&p->lock);
	p->kicked = false;
	parts_append(&p->out, &p->pending);
	bool pause = p->paused || !p->ops, close = p->close, abandoned = p->abandoned;
	p->abandoned = false;
	pthread_mutex_unlock(&p->lock);
	if (!p->c && p->attached)
		parts_fini(&p->out);
	if (p->c) {
		if (close && (!p->c->opened || p->c->broken))
			conn_close(p->c, NULL);
		if (abandoned) {
			p->given_up = true;
			conn_reset_at_end(p->c);
			conn_deadline(p->c, ABANDONED_MS);
		}
		if (close && p->c->shut_done) /* nothing is left to be sent, so nobody asks for more */
			conn_finish(p->c);
		conn_pause(p->c, pause && !close);
		conn_dirty(p->c);
		expect_stuck(p);
	}
	settle(p);
	pipe_unref(p);
}

/* With the lock held; releases it. */
static void kick_unlock(struct net_pipe *p)
{
	bool kick = !p->kicked && !p->lost;

	if (kick) {
		p->kicked = true;
		atomic_fetch_add(&p->refs, 1);
	}
	pthread_mutex_unlock(&p->lock);
	if (kick)
		loop_send(p->loop, &p->kick);
}

struct net_pipe *pipe_new(struct net_loop *l, const struct net_pipe_ops *ops, void *arg)
{
	struct net_pipe *p = xcalloc(1, sizeof(*p));

	*p = (struct net_pipe){ .kick.run = kick_run, .loop = loop_ref(l), .ops = ops, .arg = arg, .early = BUF_INIT };
	atomic_store(&p->refs, 1);
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void pipe_attach(struct net_pipe *p, struct conn *c, struct str first)
{
	p->attached = true;
	p->c = c;
	if (c) {
		conn_set(c, &pipe_conn_ops, p);
		conn_deadline(c, 0);
		buf_add(&p->early, first.p, first.n);
		p->eof = c->eof;
	}
	pthread_mutex_lock(&p->lock);
	kick_unlock(p);
}

bool pipe_take(struct net_pipe *p, const struct net_pipe_ops *ops, void *arg)
{
	pthread_mutex_lock(&p->lock);
	bool alive = !p->lost;
	if (alive) {
		p->ops = ops;
		p->arg = arg;
		p->paused = false;
	}
	kick_unlock(p);
	return alive;
}

void pipe_discard(struct net_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->ops = NULL;
	pthread_mutex_unlock(&p->lock);
	tell_closed(p);
}

void pipe_writev(struct net_pipe *p, const struct str *v, size_t n)
{
	pthread_mutex_lock(&p->lock);
	if (p->end || p->close || p->lost) {
		pthread_mutex_unlock(&p->lock);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		parts_copy(&p->pending, v[i]);
		atomic_fetch_add(&p->unsent, v[i].n);
	}
	kick_unlock(p);
}

void pipe_write_pieces(struct net_pipe *p, struct str head, const struct net_piece *take, size_t n)
{
	pthread_mutex_lock(&p->lock);
	bool over = p->end || p->close || p->lost;
	if (!over) {
		parts_copy(&p->pending, head);
		atomic_fetch_add(&p->unsent, head.n);
	}
	for (size_t i = 0; i < n; i++) {
		if (over) {
			if (take[i].end)
				take[i].end(take[i].owner);
			continue;
		}
		atomic_fetch_add(&p->unsent, take[i].bytes.n);
		parts_piece(&p->pending, &take[i]);
	}
	if (over)
		pthread_mutex_unlock(&p->lock);
	else
		kick_unlock(p);
}

void net_pipe_write(struct net_pipe *p, struct str copied)
{
	pipe_writev(p, &copied, 1);
}

size_t net_pipe_unsent(struct net_pipe *p)
{
	return atomic_load(&p->unsent);
}

void net_pipe_pause(struct net_pipe *p, bool paused)
{
	pthread_mutex_lock(&p->lock);
	p->paused = paused;
	kick_unlock(p);
}

void net_pipe_end(struct net_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->end = true;
	kick_unlock(p);
}

void net_pipe_close(struct net_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->close = true;
	kick_unlock(p);
}

void net_pipe_abandon(struct net_pipe *p)
{
	pthread_mutex_lock(&p->lock);
	p->close = p->abandoned = true;
	kick_unlock(p);
}

/* ---- splice ---------------------------------------------------------------------------------- */

/* The pipes may live on two loops; lock order: the splice, then a pipe. */
struct splice {
	pthread_mutex_t lock;
	struct splice_side {
		struct splice *s;
		struct net_pipe *p; /* NULL: closed */
		bool paused;
	} side[2];
	void (*over)(void *arg);
	void *arg;
};
#define SPLICE_HIGH ((size_t)256 << 10)

static struct splice_side *other_side(struct splice_side *x)
{
	return x == &x->s->side[0] ? &x->s->side[1] : &x->s->side[0];
}

static void splice_data(void *arg, struct str bytes)
{
	struct splice_side *x = arg, *y = other_side(x);

	pthread_mutex_lock(&x->s->lock);
	if (y->p && !bytes.n)
		net_pipe_end(y->p);
	else if (y->p)
		net_pipe_write(y->p, bytes);
	if (y->p && x->p && bytes.n && net_pipe_unsent(y->p) > SPLICE_HIGH) {
		x->paused = true;
		net_pipe_pause(x->p, true);
	}
	pthread_mutex_unlock(&x->s->lock);
}

static void splice_writable(void *arg)
{
	struct splice_side *x = arg, *y = other_side(x);

	pthread_mutex_lock(&x->s->lock);
	if (y->p && y->paused) {
		y->paused = false;
		net_pipe_pause(y->p, false);
	}
	pthread_mutex_unlock(&x->s->lock);
}

/* With the lock held: x has closed. Releases it. */
static void side_closed_unlock(struct splice_side *x)
{
	struct splice *s = x->s;
	struct splice_side *y = other_side(x);
	bool last = !y->p;

	x->p = NULL;
	if (y->p)
		(x == &s->side[0] ? net_pipe_abandon : net_pipe_close)(y->p);
	pthread_mutex_unlock(&s->lock);
	if (!last)
		return;
	if (s->over)
		s->over(s->arg);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void splice_closed(void *arg)
{
	struct splice_side *x = arg;

	pthread_mutex_lock(&x->s->lock);
	side_closed_unlock(x);
}

static const struct net_pipe_ops splice_ops = {
	.data = splice_data, .writable = splice_writable, .closed = splice_closed
};

void net_splice(struct net_pipe *client, struct net_pipe *other, void (*over)(void *arg), void *arg)
{
	struct splice *s = xcalloc(1, sizeof(*s));

	s->over = over;
	s->arg = arg;
	pthread_mutex_init(&s->lock, NULL);
	s->side[0] = (struct splice_side){ .s = s, .p = client };
	s->side[1] = (struct splice_side){ .s = s, .p = other };
	pthread_mutex_lock(&s->lock);
	bool live_a = pipe_take(client, &splice_ops, &s->side[0]), live_b = pipe_take(other, &splice_ops, &s->side[1]);

	if (live_a && live_b) {
		pthread_mutex_unlock(&s->lock);
		return;
	}
	if (!live_a)
		s->side[0].p = NULL;
	if (!live_b)
		s->side[1].p = NULL;
	side_closed_unlock(live_a ? &s->side[1] : &s->side[0]);
}

/* Who has to go when a server has too many connections, or too much that nobody reads.
 *
 * Too many: of each loop's the quarter that is half open for the longest, or where none is, the quarter at rest for the
 * longest, in such a way that they lose no request; new ones are refused only when all have work. While many are half open,
 * those go that had two seconds, for a handshake or the start of a request costs tens of KiB. Too much: those whose reader has
 * taken nothing for the longest, until the rest fits. A watcher comes back with its resourceVersion, so it loses nothing but time.
 *
 * A loop is looked at a second after something moved on it, ten times as often while unread answers hold more than they may, and
 * on while somebody stalls or many are half open: when nothing happens nobody wakes. */
#include "base/arena.h"
#include "net/net_internal.h"
#include <stdlib.h>
#define LOG_MODULE "net"
#include "base/log.h"

#define LOOK_MS 1000
#define HELLO_MS 250             /* for a handshake and the start of a request, when there is no room */
#define USED_MS 1000             /* who took an answer within this time may be about to ask again */
#define YOUNG_MANY ((size_t)256) /* half open, or this part of all that there may be, are many */
#define YOUNG_PART 16
#define YOUNG_MS 2000 /* since it came, or something was sent to it */
#define STALL_MS 1000 /* who took something within this time is not shed */
#define HURRY_MS 100  /* the same two, while unread answers hold more than they may */
#define HURRY_STALL_MS 250
#define SAY_MS 10000
#define CROWD 128                       /* connections whose going is worth giving memory back */
#define KERNEL_BYTES ((size_t)64 << 10) /* of answers in the kernel's buffers, see conn.c */
#define KERNEL_STREAM_BYTES ((size_t)8 << 10)

/* One loop's. */
struct shed {
	struct net_msg msg;
	struct http_server *server; /* borrowed; a ref while ordered */
	struct net_loop *loop;
	struct shed *next; /* of this loop */
	uv_timer_t *timer; /* own: closed with the server; it runs when a look is due */
	atomic_bool ordered;
	atomic_size_t found; /* that had to go, at the last look */
	size_t crowd;        /* connections, at the most since memory was given back */
};

struct candidate {
	uint64_t since_ms;
	size_t bytes;
	struct conn *c;
};
struct candidates {
	struct candidate *v; /* own */
	size_t n, cap, bytes;
};

static void add(struct candidates *all, struct conn *c, uint64_t since_ms, size_t bytes)
{
	GROW(all->v, all->n, all->cap, 64);
	all->v[all->n++] = (struct candidate){ since_ms, bytes, c };
	all->bytes += bytes;
}

static int older(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return (x->since_ms > y->since_ms) - (x->since_ms < y->since_ms);
}

static void sort(struct candidates *all)
{
	if (all->n)
		qsort(all->v, all->n, sizeof(*all->v), older);
}

static bool ours(const struct shed *s, const struct conn *c)
{
	return !c->closing && !c->gone && !c->lingering && http_server_of(c) == s->server;
}

/* True at most every ten seconds. */
static bool may_say(struct http_server *s, struct mono *said_at)
{
	struct mono now = mono_now();

	task_lock(&s->lock);
	bool yes = !said_at->ns || mono_ms_between(*said_at, now) >= SAY_MS;
	if (yes)
		*said_at = now;
	task_unlock(&s->lock);
	return yes;
}

static unsigned take_refused(struct http_server *s)
{
	task_lock(&s->lock);
	unsigned n = s->refused;
	s->refused = 0;
	task_unlock(&s->lock);
	return n;
}

/* ---- too many -------------------------------------------------------------------------------- */

static size_t oldest_quarter(struct candidates *all)
{
	sort(all);
	return (all->n + 3) / 4;
}

/* Who has just come is let shake hands: those that come after him wait as long. */
static size_t close_young(struct shed *s, size_t *ret_spared)
{
	struct candidates all = { 0 };
	size_t spared = 0;

	for (struct conn *c = s->loop->conns; c; c = c->next)
		if (ours(s, c) && c->young && loop_ms() - c->moved_ms < HELLO_MS)
			spared++;
		else if (ours(s, c) && c->young)
			add(&all, c, c->moved_ms, 0);
	size_t n = oldest_quarter(&all);
	for (size_t i = 0; i < n; i++)
		conn_close(all.v[i].c, NULL);
	free(all.v);
	*ret_spared = spared;
	return n;
}

static bool is_idle(const struct shed *s, const struct conn *c)
{
	return ours(s, c) && !c->young && c->ops->idle && c->ops->idle(c) && !conn_has_input(c);
}

/* How many are on their way; only when none is are others asked. */
static size_t ask_idle(struct shed *s)
{
	struct candidates all = { 0 };
	size_t going = 0;

	for (struct conn *c = s->loop->conns; c; c = c->next) {
		bool at_rest = is_idle(s, c);

		if (c->lingering && c->leaving && http_server_of(c) == s->server)
			going++;
		else if (at_rest && c->asked)
			going++;
		else if (at_rest)
			add(&all, c, c->moved_ms, 0);
	}
	size_t n = going ? 0 : oldest_quarter(&all);
	for (size_t i = 0; i < n; i++) {
		struct conn *c = all.v[i].c;

		c->asked = true;
		c->ops->leave(c, loop_ms() - all.v[i].since_ms < USED_MS);
	}
	free(all.v);
	return going + n;
}

static void crowd_run(struct net_msg *m)
{
	struct shed *s = container_of(m, struct shed, msg);
	struct http_server *server = s->server;

	if (!s->loop->stopping) {
		size_t spared, young = close_young(s, &spared), idle = young + spared ? 0 : ask_idle(s);

		if (may_say(server, &server->said_crowd_at))
			log_warn(
				"port %d: %zu connections are the most that memory and files allow: closed %zu half open ones, asked %zu idle ones to go, refused %u",
				server->port, server->o.connections_max, young, idle, take_refused(server));
		atomic_store(&s->found, young + spared + idle);
	}
	atomic_store(&s->ordered, false);
	http_server_unref(server);
}

void shed_crowd(struct http_server *server)
{
	for (size_t i = 0; i < server->o.n_loops; i++) {
		struct shed *s = &server->shed[i];

		if (atomic_exchange(&s->ordered, true))
			continue;
		http_server_ref(server);
		s->msg.run = crowd_run;
		loop_send(s->loop, &s->msg);
	}
}

bool shed_makes_room(struct http_server *server)
{
	for (size_t i = 0; i < server->o.n_loops; i++)
		if (atomic_load(&server->shed[i].ordered) || atomic_load(&server->shed[i].found))
			return true;
	return false;
}

static struct shed *of_loop(struct http_server *server, const struct net_loop *l)
{
	struct shed *s = server->shed;

	while (s->loop != l)
		s++;
	return s;
}

/* True: many are half open, and those that had their time go. */
static bool hurry_young(struct shed *s)
{
	size_t few = MIN(YOUNG_MANY, s->server->o.connections_max / YOUNG_PART);

	if ((size_t)atomic_load(&s->server->young) <= few)
		return false;
	for (struct conn *c = s->loop->conns; c; c = c->next)
		if (ours(s, c) && c->young && loop_ms() - c->moved_ms >= YOUNG_MS)
			conn_close(c, NULL);
	return true;
}

/* ---- too much -------------------------------------------------------------------------------- */

/* malloc keeps the holes that a crowd left, tens of MiB of them. */
static void give_back(struct shed *s, size_t conns)
{
	s->crowd = MAX(s->crowd, conns);
	if (s->crowd - conns < CROWD)
		return;
	s->crowd = conns;
	memory_rest();
}

static void on_look(uv_timer_t *t);

static bool pressed(struct http_server *s)
{
	return atomic_load(&s->unread.held) > s->unread.max;
}

static void look_later(struct shed *s)
{
	uv_timer_start(s->timer, on_look, pressed(s->server) ? HURRY_MS : LOOK_MS, 0);
}

/* With what is on its way to the kernel, and there. */
static size_t conn_holds(const struct conn *c, uint64_t *ret_since_ms)
{
	size_t bytes = c->ops->holds(c, ret_since_ms);

	return bytes + parts_hold(&c->out, c->stalls) + c->late.n + (c->stalls ? KERNEL_STREAM_BYTES : KERNEL_BYTES);
}

static void on_look(uv_timer_t *t)
{
	struct shed *s = t->data;
	struct candidates all = { 0 };
	bool stalled = false, many = hurry_young(s);
	uint64_t now = loop_ms(), since = 0;
	size_t most = s->server->unread.max / s->server->o.n_loops, held, n = 0, conns = 0;
	uint64_t stall = pressed(s->server) ? HURRY_STALL_MS : STALL_MS;

	for (struct conn *c = s->loop->conns; c; c = c->next, conns++) {
		size_t bytes = ours(s, c) && c->ops->holds ? conn_holds(c, &since) : 0;

		stalled |= bytes && since;
		if (bytes && since && now - since >= stall)
			add(&all, c, since, bytes);
	}
	held = all.bytes;
	if (held > most)
		sort(&all);
	for (; n < all.n && all.bytes > most; n++) {
		struct candidate *a = &all.v[n];

		all.bytes -= a->bytes;
		a->c->ops->shed(a->c, a->since_ms);
	}
	free(all.v);
	if (n && may_say(s->server, &s->server->said_unread_at))
		log_warn(
			"port %d: answers that nobody reads hold %zu KiB, of %zu at most: ended those of %zu connections that took nothing for the longest",
			s->server->port, held >> 10, most >> 10, n);
	give_back(s, conns);
	if (stalled || many)
		look_later(s);
}

static bool looks(const struct shed *s)
{
	return uv_is_active((const uv_handle_t *)s->timer);
}

void shed_hurry(struct http_server *server)
{
	for (size_t i = 0; i < server->o.n_loops; i++) {
		struct shed *s = &server->shed[i];

		if (s->timer && loop_here(s->loop) && (!looks(s) || uv_timer_get_due_in(s->timer) > HURRY_MS))
			look_later(s);
	}
}

void shed_stir(struct net_loop *l)
{
	for (struct shed *s = l->sheds; s; s = s->next)
		if (!looks(s))
			look_later(s);
}

/* ---- with the server ------------------------------------------------------------------------- */

void shed_new(struct http_server *server)
{
	server->shed = xcalloc(server->o.n_loops, sizeof(*server->shed));
	for (size_t i = 0; i < server->o.n_loops; i++) {
		server->shed[i].server = server;
		server->shed[i].loop = server->loops[i];
	}
}

void shed_free(struct http_server *server)
{
	free(server->shed);
}

void shed_begin(struct http_server *server, const struct net_loop *l)
{
	struct shed *s = of_loop(server, l);

	s->timer = xcalloc(1, sizeof(*s->timer));
	s->timer->data = s;
	uv_timer_init(&s->loop->uv, s->timer);
	s->next = s->loop->sheds;
	s->loop->sheds = s;
}

static void on_closed_free(uv_handle_t *h)
{
	free(h);
}

void shed_end(struct http_server *server, const struct net_loop *l)
{
	struct shed *s = of_loop(server, l), **at = &s->loop->sheds;
	uv_timer_t *t = TAKE(s->timer);

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (l->stopping) /* it closed it when it ended */
		free(t);
	else
		uv_close((uv_handle_t *)t, on_closed_free);
}

/* One socket: connecting, TLS, reading, and sending from a queue of parts.
 *
 * States:  connecting -> shaking (TLS) -> opened -> [shut | finish -> lingering] -> closing -> gone.
 * TLS reads through a BIO that hands it what read() gave, and nothing stays hidden in it: when SSL_read() wants more,
 * all of it was taken. It writes through the same BIO straight to the socket, a long answer some records at a time. */
#include "net/net_internal.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define TLS_RECORD ((size_t)16384)
#define FLUSH_MOST ((size_t)2 << 20) /* then another connection's turn */
#define LINGER_MS 2000
#define LINGER_LOOKS 30 /* so often without progress */
#define LEAVING_MS \
	100 /* when the server ends: the peer has its answer, only a request that crosses ours would miss it */
#define VANISHED_MS 60000
#define VANISHED_TRIES 4
#define IOV_MOST 32
#define UNSENT (64 << 10) /* bytes that the kernel takes ahead of what the other side has room for */
#define STREAM_UNSENT (8 << 10)
#define STREAM_RECORD 4096

/* The socket sends no more. What the other side sent before is often whole, an answer or the end of a stream: whoever
 * wants it gets it, at his own pace. False: nobody does, or all of it was read. */
static bool reads_on(struct conn *c, int err)
{
	if (!c->ops->reads_on || !c->opened || c->eof || c->closing || c->kept_n)
		return false;
	if (!c->broken)
		c->why = xstrdup(err ? strerror(err) : "connection lost");
	c->broken = true;
	return true;
}

/* ---- the BIO under TLS ----------------------------------------------------------------------- */

static int bio_read(BIO *b, char *out, size_t cap, size_t *ret)
{
	struct conn *c = BIO_get_data(b);
	size_t n = MIN(cap, c->cipher.n);

	BIO_clear_retry_flags(b);
	if (!n) {
		if (c->cipher_eof)
			return 0;
		BIO_set_retry_read(b);
		return -1;
	}
	memcpy(out, c->cipher.p, n);
	c->cipher.p += n;
	c->cipher.n -= n;
	*ret = n;
	return 1;
}

/* How much of it the kernel took. On a broken connection it goes nowhere; TLS must not hear of it, or it would not read on.
 * -1: errno says why. */
static ssize_t give(struct conn *c, const char *p, size_t n)
{
	ssize_t w = c->broken ? (ssize_t)n : send(c->fd, p, n, MSG_NOSIGNAL | (c->more ? MSG_MORE : 0));

	if (w < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (w < 0 && reads_on(c, errno))
		return (ssize_t)n;
	return w;
}

/* What of it the kernel does not take is late. False: something is, or it is broken (closed). */
static bool send_sealed(struct conn *c)
{
	struct net_loop *l = c->loop;
	struct str bytes = c->late.n ? str_n(c->late.first->p, c->late.n) : str_n(l->scratch, l->sealed);
	ssize_t w = bytes.n ? give(c, bytes.p, bytes.n) : 0;

	if (w < 0)
		conn_close(c, "%s", strerror(errno));
	if (w > 0)
		c->moved_ms = loop_ms();
	w = MAX(w, 0);
	if (c->late.n)
		parts_drop(&c->late, (size_t)w);
	else if ((size_t)w < bytes.n)
		parts_copy(&c->late, str_n(bytes.p + w, bytes.n - (size_t)w));
	l->sealed = 0;
	return !c->late.n && !c->closing;
}

/* Records of a long answer gather, three of the longest, so that the kernel is called and the reader woken once for them. Not
 * four: that was slower, perhaps as the kernel's segments of 64 KiB leave a small rest then. What is short goes at once: to
 * many watchers that was cheaper. */
static int bio_write(BIO *b, const char *p, size_t n, size_t *ret)
{
	struct conn *c = BIO_get_data(b);
	struct net_loop *l = c->loop;
	bool gathers = (c->more && c->bulk && !c->stalls) || l->sealed;
	ssize_t w = (ssize_t)n;

	BIO_clear_retry_flags(b);
	if ((c->late.n || l->sealed + n > sizeof(l->scratch)) && !send_sealed(c)) {
		w = 0;
	} else if (gathers) {
		memcpy(l->scratch + l->sealed, p, n);
		l->sealed += n;
	} else {
		w = give(c, p, n);
	}
	if (w <= 0) {
		if (w == 0)
			BIO_set_retry_write(b);
		return -1;
	}
	*ret = (size_t)w;
	return 1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	struct conn *c = BIO_get_data(b);

	if (cmd == BIO_CTRL_EOF)
		return c->cipher_eof && !c->cipher.n;
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;
static void bio_method_make(void)
{
	bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "conn");
	if (!bio_method)
		PANIC("no memory for TLS");
	BIO_meth_set_read_ex(bio_method, bio_read);
	BIO_meth_set_write_ex(bio_method, bio_write);
	BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

static void bio_attach(struct conn *c)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, bio_method_make);
	BIO *b = BIO_new(bio_method);
	if (!b)
		PANIC("no memory for TLS");
	BIO_set_data(b, c);
	BIO_set_init(b, 1);
	SSL_set_bio(c->ssl, b, b);
}

/* ---- closing --------------------------------------------------------------------------------- */

static void events_update(struct conn *c);

void conn_close(struct conn *c, const char *why, ...)
{
	PRE(loop_here(c->loop));
	if (c->closing)
		return;
	c->closing = true;
	if (why && !c->why) {
		va_list ap;

		va_start(ap, why);
		if (vasprintf(&c->why, why, ap) < 0)
			c->why = NULL;
		va_end(ap);
	}
	uv_poll_stop(&c->poll);
	uv_timer_stop(&c->timer);
	c->next_closing = c->loop->closing;
	c->loop->closing = c;
}

void conn_reset_at_end(struct conn *c)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void conn_reset(struct conn *c)
{
	conn_reset_at_end(c);
	conn_close(c, NULL);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct conn *c = h->data;

	if (--c->handles == 0)
		free(c);
}

void conn_bury(struct conn *c)
{
	c->gone = true;
	c->ops->gone(c);
	shed_stir(c->loop);
	parts_fini(&c->out);
	if (c->ssl && c->opened && !c->shut_done)
		SSL_shutdown(c->ssl); /* one try, so that the peer sees no truncation */
	SSL_free(c->ssl);
	ERR_clear_error();
	parts_fini(&c->late);
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (c->dirty) /* marked by gone() */
		for (struct conn **i = &c->loop->dirty; *i; i = &(*i)->next_dirty)
			if (*i == c) {
				*i = c->next_dirty;
				break;
			}
	peer_unref(c->peer);
	free(c->why);
	free(c->kept);
	buf_fini(&c->first);
	tls_free(c->tls);
	free(c->server_name);
	uv_close((uv_handle_t *)&c->poll, on_handle_closed);
	uv_close((uv_handle_t *)&c->timer, on_handle_closed);
	close(c->fd);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void deliver(struct conn *c, struct str bytes)
{
	if (c->lingering || c->closing)
		return;
	if (!bytes.n)
		c->eof = true;
	c->ops->input(c, bytes);
}

static void deliver_eof(struct conn *c)
{
	if (c->eof)
		return;
	c->eof = true;
	if (c->lingering)
		conn_close(c, NULL);
	else if (!c->closing)
		c->ops->input(c, STR_NULL);
	if (c->broken)
		conn_close(c, NULL);
}

static void tls_broken(struct conn *c)
{
	char text[256];

	if (c->shaking && c->cipher_eof) {
		conn_close(c, "the other side hung up during the TLS handshake");
		return;
	}
	tls_reason(c->ssl, text, sizeof(text));
	conn_close(c, "TLS: %s", text);
}

static bool tls_shake(struct conn *c)
{
	ERR_clear_error();
	int r = SSL_do_handshake(c->ssl);

	if (r == 1) {
		c->shaking = false;
		c->opened = true;
		c->ops->open(c);
		return !c->closing;
	}
	switch (SSL_get_error(c->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		break;
	case SSL_ERROR_WANT_WRITE:
		c->blocked = true;
		break;
	default:
		tls_broken(c);
	}
	return false;
}

static void tls_read(struct conn *c)
{
	size_t n;

	if (c->shaking && !tls_shake(c))
		return;
	while (!c->closing) {
		ERR_clear_error();
		int r = SSL_read_ex(c->ssl, c->loop->clear, sizeof(c->loop->clear), &n);

		if (r == 1) {
			deliver(c, str_n(c->loop->clear, n));
			continue;
		}
		switch (SSL_get_error(c->ssl, r)) {
		case SSL_ERROR_WANT_READ:
			return;
		case SSL_ERROR_WANT_WRITE:
			c->blocked = true;
			return;
		case SSL_ERROR_ZERO_RETURN:
			deliver_eof(c);
			return;
		default:
			tls_broken(c);
			return;
		}
	}
}

/* Bytes from the network for TLS; what it could not take (it has to write first) waits in kept. */
static void tls_feed(struct conn *c, struct str bytes)
{
	char *old = TAKE(c->kept);

	c->kept_n = 0;
	c->cipher = bytes;
	tls_read(c);
	if (c->cipher.n && !c->closing && !c->eof) {
		c->kept = xmalloc(c->cipher.n);
		c->kept_n = c->cipher.n;
		memcpy(c->kept, c->cipher.p, c->kept_n);
	}
	c->cipher = STR_NULL;
	free(old);
}

#define RECORD_HEAD 5
#define RECORD_MOST (RECORD_HEAD + (1 << 14) + 256)
#define RECORD_HANDSHAKE 22

static bool begin_tls(struct conn *c)
{
	c->ssl = tls_session(c->tls, NULL, true, NULL);
	if (!c->ssl) {
		conn_close(c, "no memory for TLS");
		return false;
	}
	bio_attach(c);
	return true;
}

/* OpenSSL takes 9 KiB for a session and 35 KiB as soon as it sees one byte of a handshake, and a crowd that means harm sends
 * no more: so the first record waits here until it is whole. What is no handshake goes on at once, to be refused.
 * RFC 8446, 5.1. */
static void gather_first(struct conn *c, struct str bytes)
{
	struct buf whole = c->first;
	size_t need = RECORD_HEAD;

	if (!bytes.n) {
		conn_close(c, "the other side hung up during the TLS handshake");
		return;
	}
	buf_str(&whole, bytes);
	c->first = whole;
	if (whole.n >= RECORD_HEAD)
		need += (size_t)(unsigned char)whole.p[3] << 8 | (unsigned char)whole.p[4];
	if (whole.n < need && need <= RECORD_MOST && whole.p[0] == RECORD_HANDSHAKE)
		return;
	c->gathers = false;
	c->first = BUF_INIT;
	if (begin_tls(c))
		tls_feed(c, buf_view(&whole));
	buf_fini(&whole);
}

static void conn_read(struct conn *c)
{
	ssize_t n = recv(c->fd, c->loop->scratch, sizeof(c->loop->scratch), 0);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_close(c, "%s", strerror(errno));
		return;
	}
	if ((c->ssl || c->gathers) && !c->lingering) {
		struct str bytes = str_n(c->loop->scratch, (size_t)n);

		c->cipher_eof = n == 0;
		(c->gathers ? gather_first : tls_feed)(c, bytes);
	} else if (n) {
		deliver(c, str_n(c->loop->scratch, (size_t)n));
	} else {
		deliver_eof(c);
	}
}

/* ---- sending --------------------------------------------------------------------------------- */

void conn_dirty(struct conn *c)
{
	if (c->dirty || c->closing)
		return;
	c->dirty = true;
	c->next_dirty = c->loop->dirty;
	c->loop->dirty = c;
}

void conn_copy(struct conn *c, struct str bytes)
{
	parts_copy(&c->out, bytes);
	conn_dirty(c);
}

/* >0: bytes sent; 0: the socket is full; -1: broken (closed). */
static ssize_t send_clear(struct conn *c)
{
	struct iovec iov[IOV_MOST];
	struct msghdr m = { .msg_iov = iov };

	for (struct part *p = c->out.first; p && m.msg_iovlen < IOV_MOST; p = p->next)
		iov[m.msg_iovlen++] = (struct iovec){ (void *)p->p, p->n };
	ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR || reads_on(c, errno))
		return 0;
	conn_close(c, "%s", strerror(errno));
	return -1;
}

/* The reader has to take something first. That more follows at once (MSG_MORE) was not true, so the kernel shall not wait for
 * it; and OpenSSL keeps the buffer of a record after each but the last (not freed here when bytes of it are left to send). */
static void rest(struct conn *c)
{
	int one = 1;

	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (c->ssl)
		SSL_free_buffers(c->ssl);
}

/* TLS keeps a record that the kernel does not take, so ask before it is made. */
static bool has_room(struct conn *c)
{
	int unsent = 0;

	if (c->room || c->broken)
		return true;
	ioctl(c->fd, SIOCOUTQNSD, &unsent);
	if (unsent < STREAM_UNSENT / 2) /* from then on the kernel says writable */
		c->room = (size_t)(STREAM_UNSENT / 2 - unsent);
	return c->room;
}

/* One record. When TLS has to try again, the queue still begins with the same bytes, as it demands. */
static ssize_t send_tls(struct conn *c)
{
	struct part *p = c->out.first;
	const char *from = p->p;
	size_t n = MIN(p->n, TLS_RECORD), done = 0;

	c->more = c->out.n > TLS_RECORD; /* records that follow each other leave as one piece */
	if (c->stalls && !has_room(c))
		return 0;
	if (n < TLS_RECORD && !p->whole && p->next && !p->next->whole) {
		for (n = 0; p && n < TLS_RECORD && !p->whole; p = p->next) {
			size_t take = MIN(p->n, TLS_RECORD - n);

			memcpy(c->loop->clear + n, p->p, take);
			n += take;
		}
		from = c->loop->clear;
	}
	ERR_clear_error();
	int r = SSL_write_ex(c->ssl, from, n, &done);
	c->room -= MIN(c->room, done);
	if (r == 1)
		return (ssize_t)done;
	int err = SSL_get_error(c->ssl, r);
	if (err == SSL_ERROR_WANT_WRITE || err == SSL_ERROR_WANT_READ)
		return 0;
	tls_broken(c);
	return -1;
}

/* Closing while the other side still writes would reset the connection and take away what it has not read: so it gets
 * some time to hang up itself, and more as long as the kernel holds bytes that it has not taken. */
static void linger(struct conn *c)
{
	int unsent = 0;

	if (c->leaving || c->broken || ioctl(c->fd, SIOCOUTQ, &unsent) < 0)
		unsent = 0;
	bool first = !c->lingering, moved = unsent < c->unsent;
	c->lingering = true;
	c->unsent = unsent;
	c->looks = moved ? 1 : (unsigned char)(c->looks + 1);
	if (!first && (!unsent || c->looks > LINGER_LOOKS))
		conn_close(c, NULL);
	else
		conn_deadline(c, c->leaving ? LEAVING_MS : LINGER_MS);
}

static void shut_now(struct conn *c)
{
	c->shut_done = true;
	if (c->ssl)
		SSL_shutdown(c->ssl);
	shutdown(c->fd, SHUT_WR);
	if (c->eof) { /* both directions are finished */
		conn_close(c, NULL);
		return;
	}
	if (!c->finish_asked)
		return;
	linger(c);
}

/* All that is queued, and what can be filled in. Bytes that left the queue; the last of them may be sealed and not sent. */
static size_t send_queue(struct conn *c)
{
	for (size_t total = 0;;) {
		if (c->out.n < CONN_OUT_LOW && !c->closing && !c->shut_done && !c->broken)
			c->ops->fill(c);
		if (c->broken)
			parts_fini(&c->out);
		c->blocked = c->out.n && total > FLUSH_MOST;
		if (!c->out.n || c->blocked || c->closing)
			return total;
		ssize_t n = c->ssl ? send_tls(c) : send_clear(c);

		c->blocked = n == 0 && !c->broken;
		if (n < 0 || c->blocked)
			return total;
		total += (size_t)n;
		parts_drop(&c->out, (size_t)n);
	}
}

void conn_flush(struct conn *c)
{
	bool stalled = c->blocked;
	size_t total = 0;

	shed_stir(c->loop);
	if (c->connecting || c->shaking || c->lingering) {
		events_update(c);
		return;
	}
	if (send_sealed(c)) /* what was late */
		total = send_queue(c);
	c->more = false;
	if (!send_sealed(c))
		c->blocked = true;
	if (c->closing)
		return;
	if (total || !stalled)
		c->moved_ms = loop_ms();
	if (total && c->blocked)
		rest(c);
	if (!c->out.n && !c->late.n && (c->shut_asked || c->finish_asked) && !c->shut_done)
		shut_now(c);
	else if (c->finish_asked && c->shut_done && !c->lingering) /* half-closed before */
		shut_now(c);
	events_update(c);
}

/* ---- events ---------------------------------------------------------------------------------- */

static int socket_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? errno : err;
}

/* libuv stopped polling, and SO_ERROR tells it once: from now on the socket is readable up to its end. What a client sent
 * that is gone, and that nobody takes now, is not worth a connection. */
static void on_reset(struct conn *c)
{
	int err = socket_error(c->fd);

	c->events = 0;
	if (!(c->accepted && c->paused) && reads_on(c, err))
		conn_dirty(c);
	else
		conn_close(c, "%s", err ? strerror(err) : "connection lost");
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct conn *c = h->data;

	if (c->closing)
		return;
	if (c->connecting) {
		int err = socket_error(c->fd);

		if (err) {
			conn_close(c, "%s", strerror(err));
			return;
		}
		c->connecting = false;
		c->shaking = c->ssl;
		if (c->shaking) {
			tls_shake(c);
		} else {
			c->opened = true;
			c->ops->open(c);
		}
		conn_dirty(c);
		return;
	}
	if (status < 0) {
		on_reset(c);
		return;
	}
	if (events & UV_PRIORITIZED) { /* nothing else was asked for: somebody sends urgent bytes, to keep us busy */
		c->deaf = true;
		conn_dirty(c);
		return;
	}
	if (events & UV_WRITABLE) {
		c->blocked = false;
		if (c->kept_n)
			tls_feed(c, str_n(c->kept, c->kept_n));
		else if (c->shaking)
			tls_feed(c, STR_NULL);
	}
	if ((events & UV_READABLE) && !c->closing && !c->kept_n)
		conn_read(c);
	conn_dirty(c);
}

static void events_update(struct conn *c)
{
	int want = 0;

	if (c->closing)
		return;
	if (c->connecting) {
		want = UV_WRITABLE;
	} else {
		if (!c->eof && !c->cipher_eof && !c->kept_n && (!c->paused || c->shaking || c->lingering))
			want |= UV_READABLE;
		if (c->blocked)
			want |= UV_WRITABLE;
		if (!want && !c->deaf && !c->broken)
			want = UV_PRIORITIZED; /* which does not come; a reset does */
	}
	if (want == c->events)
		return;
	c->events = want;
	if (want)
		uv_poll_start(&c->poll, want, on_poll);
	else
		uv_poll_stop(&c->poll);
}

static void on_timer(uv_timer_t *t)
{
	struct conn *c = t->data;

	if (c->closing)
		return;
	if (c->lingering)
		linger(c);
	else
		c->ops->timeout(c);
}

void conn_deadline(struct conn *c, int64_t ms)
{
	if (c->closing)
		return;
	if (ms <= 0) {
		uv_timer_stop(&c->timer);
		return;
	}
	uv_update_time(&c->loop->uv);
	uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
}

void conn_pause(struct conn *c, bool paused)
{
	if (c->paused == paused)
		return;
	c->paused = paused;
	conn_dirty(c);
}

void conn_finish(struct conn *c)
{
	c->finish_asked = true;
	conn_dirty(c);
}

void conn_set(struct conn *c, const struct conn_ops *ops, void *arg)
{
	c->ops = ops;
	c->arg = arg;
}

bool conn_is_h2(const struct conn *c)
{
	const unsigned char *p = NULL;
	unsigned n = 0;

	if (c->ssl)
		SSL_get0_alpn_selected(c->ssl, &p, &n);
	return n == 2 && memcmp(p, "h2", 2) == 0;
}

bool conn_has_input(const struct conn *c)
{
	int n = 0;

	return c->kept_n || (ioctl(c->fd, FIONREAD, &n) == 0 && n > 0);
}

/* Who lives acknowledges what is sent, and who reads nothing the kernel's probes of a window that is shut. */
bool conn_vanished(const struct conn *c)
{
	struct tcp_info i = { 0 };
	socklen_t n = sizeof(i);

	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &i, &n) < 0)
		return false;
	return MAX(i.tcpi_retransmits, i.tcpi_probes) >= VANISHED_TRIES && i.tcpi_last_ack_recv >= VANISHED_MS;
}

void conn_prompt(struct conn *c)
{
	int unacked_ms = 60000;

	setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms, sizeof(unacked_ms));
}

void conn_may_stall(struct conn *c)
{
	int most = STREAM_UNSENT;

	if (c->stalls)
		return;
	c->stalls = true;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof(most));
	if (c->ssl)
		SSL_set_max_send_fragment(c->ssl, STREAM_RECORD);
}

/* A peer that vanished without a word is noticed by the kernel: no timers of ours for idle streams. No TCP_USER_TIMEOUT: it
 * ends those, too, whose reader lives and takes nothing for a while (a pager at the end of a pipe, a command that looks at
 * its stdin after some minutes). */
int socket_setup(int fd)
{
	int one = 1, idle = 30, every = 10, count = 4, unsent = UNSENT;

	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	return 0;
}

static struct conn *conn_new(struct net_loop *l, int fd, const struct conn_ops *ops, void *arg)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	PRE(loop_here(l));
	*c = (struct conn){ .loop = l, .fd = fd, .ops = ops, .arg = arg, .first = BUF_INIT };
	c->handles = 2;
	c->moved_ms = loop_ms();
	if (uv_poll_init(&l->uv, &c->poll, fd))
		PANIC("a socket that cannot be polled");
	uv_timer_init(&l->uv, &c->timer);
	c->poll.data = c;
	c->timer.data = c;
	c->next = l->conns;
	c->prev = &l->conns;
	if (c->next)
		c->next->prev = &c->next;
	l->conns = c;
	if (l->stopping)
		conn_close(c, "shutting down");
	conn_dirty(c);
	return c;
}

struct conn *conn_connect(struct net_loop *l, int fd, SSL *ssl, const struct conn_ops *ops, void *arg)
{
	struct conn *c = conn_new(l, fd, ops, arg);

	c->connecting = true;
	c->ssl = ssl;
	if (ssl)
		bio_attach(c);
	return c;
}

struct conn *conn_accept(struct net_loop *l, int fd, struct tls *tls, const struct conn_ops *ops, void *arg)
{
	struct conn *c = conn_new(l, fd, ops, arg);

	c->accepted = true;
	c->tls = tls_ref(tls);
	c->shaking = c->gathers = tls;
	c->opened = !tls;
	return c;
}

/* The supervisor: binds the API's socket, starts control, node and containerd, and starts again what ends.
 *
 *      bind ─► containerd (or adopt) ─► fork control ─► fork node ─► wait for signals, pipes and ends
 *                                         ▲   ended: at once, then after 1, 2, 4 … 15 s; a quiet minute forgets
 *                                         └───┘
 * It holds the listening socket, so that clients wait instead of being refused while control starts again. Children are
 * forks (no exec): they share the program's pages. They die with the supervisor; containerd and the pods do not. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "cmd/crashes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_MODULE "supervisor"
#define FIRST_WAIT_MS 1000
#define CERTIFICATES_MS (12 * 3600 * 1000) /* so often certificates are looked at */
#define MOST_WAIT_MS 15000
#define QUIET_MS 60000
#define STOP_MS 5000
#define END_MS 5000

enum part_id { CONTROL, NODE, PARTS };
struct part {
	const char *name;
	pid_t pid;    /* 0: not running */
	int ready_fd; /* -1: it said so, or is not running */
	struct mono started, start_again;
	int64_t wait_ms;      /* before the next start */
	bool wanted, renewed; /* renewed: it was told to end so that it starts from new files */
};

struct supervisor {
	const struct settings *s;
	const struct layout *l;
	int listener, signals, containerd_fd, notify;
	struct part parts[PARTS];
	struct crashes *crashes; /* of control */
	struct mono certificates_due;
	bool stopping;
};

static int bind_listener(const struct settings *s, const struct layout *l, struct err *e)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICHOST },
			*found;
	char port[16];
	int fd, one = 1, zero = 0;

	snprintf(port, sizeof(port), "%lld", (long long)s->port);
	if (getaddrinfo(l->ip.listen, port, &hints, &found) != 0)
		return err_set(e, ERR_INVALID, "--bind-address %s is not an address", l->ip.listen);
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd >= 0 && found->ai_family == AF_INET6) /* "::" is IPv4 too */
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 1024) < 0) {
		int failed = errno;

		freeaddrinfo(found);
		if (fd >= 0)
			close(fd);
		if (failed == EADDRINUSE)
			return err_set(e, ERR_EXISTS,
				"port %s is taken by another program (ss -ltnp 'sport = :%s' shows it); choose another with --port",
				port, port);
		return err_errno(e, failed, "listen on %s port %s", l->ip.listen, port);
	}
	freeaddrinfo(found);
	return fd;
}

/* A supervisor that was killed leaves children for a moment; they share its lock, and hold its ports as long. */
void supervisor_await_end(const struct layout *l)
{
	int fd = open(l->supervisor_lock, O_RDWR | O_CLOEXEC), pid = 0;
	char text[24] = "";

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0)
		pid = (int)strtol(text, NULL, 10);
	for (int waited = 0; waited < END_MS && flock(fd, LOCK_EX | LOCK_NB) < 0; waited += 20) {
		if (pid > 0 && kill(pid, 0) == 0)
			break; /* it lives: lock_data() says so */
		poll(NULL, 0, 20);
	}
	close(fd);
}

static int lock_data(const struct layout *l, struct err *e)
{
	int fd = open(l->supervisor_lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	char text[24] = "";
	int len;

	if (fd < 0)
		return err_errno(e, errno, "open %s", l->supervisor_lock);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		ssize_t n = read(fd, text, sizeof(text) - 1);

		close(fd);
		return err_set(e, ERR_EXISTS, "another kogge server (pid %.*s) runs on %s",
			n > 0 ? (int)strcspn(text, "\n") : 1, n > 0 ? text : "?", l->data);
	}
	/* Over what is there: a full disk has no room for a file that was cut to nothing. */
	len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (pwrite(fd, text, (size_t)len, 0) != len || ftruncate(fd, len) < 0)
		return err_errno(e, errno, "write %s", l->supervisor_lock);
	return fd; /* held open, and so locked, until the process ends */
}

/* ---- children -------------------------------------------------------------------------------- */

static void drop_privileges(void)
{
	if (geteuid() == 0 &&
		(setgroups(0, NULL) < 0 || setresgid(CONTROL_UID, CONTROL_UID, CONTROL_UID) < 0 ||
			setresuid(CONTROL_UID, CONTROL_UID, CONTROL_UID) < 0))
		PANIC("cannot become uid %d: %s", CONTROL_UID, strerror(errno));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* it holds every secret of the cluster */
}

static void become_child(struct supervisor *v, enum part_id id, int ready_fd, pid_t parent)
{
	sigset_t none;
	int code;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	close(v->signals);
	setpgid(0, 0); /* Ctrl-C reaches the supervisor alone: node ends before the API that it talks to */
	if (id == CONTROL)
		drop_privileges();
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* after the change of uid, which clears it */
	if (getppid() != parent)
		_exit(1); /* the supervisor ended in between */
	prctl(PR_SET_NAME, id == CONTROL ? "kogge-control" : "kogge-node");
	if (id == CONTROL) {
		code = control_main(v->s, v->l, v->crashes, v->listener, ready_fd);
	} else {
		if (v->listener >= 0)
			close(v->listener);
		code = node_main(v->s, v->l, ready_fd);
	}
	exit(code);
}

static void start_part(struct supervisor *v, enum part_id id)
{
	struct part *p = &v->parts[id];
	pid_t parent = getpid();
	int ready[2];

	if (pipe2(ready, O_CLOEXEC) < 0) {
		p->start_again = mono_add_ms(mono_now(), FIRST_WAIT_MS);
		log_error("cannot start %s: %s", p->name, strerror(errno));
		return;
	}
	fflush(NULL);
	p->started = mono_now();
	p->start_again = MONO_NEVER;
	p->pid = fork();
	if (p->pid == 0) {
		close(ready[0]);
		become_child(v, id, ready[1], parent);
	}
	close(ready[1]);
	p->ready_fd = ready[0];
	if (p->pid < 0) {
		log_error("cannot start %s: %s", p->name, strerror(errno));
		p->pid = 0;
		close(p->ready_fd);
		p->ready_fd = -1;
		p->start_again = mono_add_ms(p->started, FIRST_WAIT_MS);
	}
}

/* For `kogge status`. */
static void write_held_off(const struct supervisor *v)
{
	const char *names[HELD_MAX + 1];
	auto_buf struct buf text = BUF_INIT;
	size_t n = crashes_held(v->crashes, names);
	struct err e;

	err_init(&e);
	for (size_t i = 0; i < n; i++)
		buf_printf(&text, "%s\n", names[i]);
	if (!n)
		unlink(v->l->held_off);
	else if (file_write(v->l->held_off, buf_view(&text), 0644, &e) < 0)
		log_warn("%s", e.message);
}

static void part_ended(struct supervisor *v, struct part *p, int status)
{
	struct mono now = mono_now();

	p->pid = 0;
	if (p->ready_fd >= 0)
		close(p->ready_fd);
	p->ready_fd = -1;
	if (v->stopping)
		return;
	if (mono_ms_between(p->started, now) > QUIET_MS)
		p->wait_ms = 0;
	if (p->renewed)
		p->wait_ms = 0;
	if (p->renewed)
		log_info("%s starts again", p->name);
	else if (WIFSIGNALED(status))
		log_error("%s was ended by signal %d (%s); it starts again in %lld ms", p->name, WTERMSIG(status),
			strsignal(WTERMSIG(status)), (long long)p->wait_ms);
	else
		log_error("%s ended with code %d; it starts again in %lld ms", p->name, WEXITSTATUS(status),
			(long long)p->wait_ms);
	if (p == &v->parts[CONTROL] && !p->renewed && crashes_ended(v->crashes, status, now))
		write_held_off(v);
	p->start_again = mono_add_ms(now, p->wait_ms);
	p->renewed = false;
	p->wait_ms = MIN(p->wait_ms ? p->wait_ms * 2 : FIRST_WAIT_MS, (int64_t)MOST_WAIT_MS);
}

static void reap(struct supervisor *v)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < PARTS; i++)
			if (v->parts[i].pid == pid)
				part_ended(v, &v->parts[i], status);
}

static void part_ready(struct supervisor *v, struct part *p)
{
	char byte;
	ssize_t n = read(p->ready_fd, &byte, 1);

	if (n < 0 && errno == EINTR)
		return;
	close(p->ready_fd);
	p->ready_fd = -1;
	if (n == 1)
		say(v->s, "%s ready after %lld ms", p->name, (long long)mono_ms_between(p->started, mono_now()));
	if (n == 1 && p == &v->parts[CONTROL])
		notify_tell(v->notify, "READY=1");
}

/* ---- containerd ------------------------------------------------------------------------------ */

static int watch_containerd(const struct layout *l)
{
	int pid = l->own_containerd ? (int)file_number(l->containerd_pid, 0) : 0;

	return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static void need_containerd(struct supervisor *v)
{
	struct err e;

	err_init(&e);
	if (v->containerd_fd >= 0)
		close(v->containerd_fd);
	if (containerd_need(v->l, &e) < 0)
		log_error("%s", e.message);
	v->containerd_fd = watch_containerd(v->l);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static int next_wait_ms(const struct supervisor *v)
{
	struct mono now = mono_now();
	int64_t least = MAX(mono_ms_between(now, v->certificates_due), (int64_t)0);

	for (int i = 0; i < PARTS; i++) {
		const struct part *p = &v->parts[i];
		int64_t ms;

		if (!p->wanted || p->pid || v->stopping)
			continue;
		ms = MAX(mono_ms_between(now, p->start_again), (int64_t)0);
		least = MIN(least, ms);
	}
	return (int)least;
}

static void start_due(struct supervisor *v)
{
	struct mono now = mono_now();

	for (int i = 0; i < PARTS && !v->stopping; i++)
		if (v->parts[i].wanted && !v->parts[i].pid && !mono_before(now, v->parts[i].start_again))
			start_part(v, (enum part_id)i);
}

static void renew_part(struct part *p)
{
	if (!p->pid)
		return;
	p->renewed = true;
	kill(p->pid, SIGTERM);
}

static bool renew_certificates(struct supervisor *v, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	bool renewed = false;

	if (layout_certificates(a, v->l, v->s, &renewed, e) < 0)
		log_error("certificates cannot be renewed: %s", e->message);
	else if (renewed)
		log_info(
			"certificates that ended soon were made anew; a kubeconfig that was copied: kogge kubeconfig, there");
	return renewed;
}

/* SIGHUP: keys, certificates or settings files have changed. Clients wait at the listener meanwhile; pods go on. */
static void renew(struct supervisor *v)
{
	struct err e;
	bool renewed;

	err_init(&e);
	if (!v->parts[CONTROL].pid || v->stopping)
		return;
	if (layout_hand_settings(v->l, v->s, &e) < 0) {
		log_error("nothing is started again: %s", e.message);
		return;
	}
	renewed = renew_certificates(v, &e);
	crashes_forget(v->crashes);
	write_held_off(v);
	renew_part(&v->parts[CONTROL]);
	if (renewed)
		renew_part(&v->parts[NODE]);
}

/* A server that runs for a year outlives its certificates. */
static void look_at_certificates(struct supervisor *v)
{
	struct err e;

	if (mono_before(mono_now(), v->certificates_due))
		return;
	v->certificates_due = mono_add_ms(mono_now(), CERTIFICATES_MS);
	err_init(&e);
	if (renew_certificates(v, &e)) {
		renew_part(&v->parts[CONTROL]);
		renew_part(&v->parts[NODE]);
	}
}

static void wait_once(struct supervisor *v, int ms)
{
	struct pollfd fds[2 + PARTS] = {
		{ .fd = v->signals, .events = POLLIN },
		{ .fd = v->stopping ? -1 : v->containerd_fd, .events = POLLIN },
	};
	struct signalfd_siginfo info;

	for (int i = 0; i < PARTS; i++)
		fds[2 + i] = (struct pollfd){ .fd = v->parts[i].ready_fd, .events = POLLIN };
	if (poll(fds, ARRAY_LEN(fds), ms) <= 0)
		return;
	for (int i = 0; i < PARTS; i++)
		if (fds[2 + i].revents)
			part_ready(v, &v->parts[i]);
	if (fds[1].revents) {
		reap(v);
		log_error("containerd has ended; starting it again");
		need_containerd(v);
	}
	while (fds[0].revents && read(v->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(v);
		else if (info.ssi_signo == SIGHUP)
			renew(v);
		else
			v->stopping = true;
	}
}

static void stop_part(struct supervisor *v, enum part_id id)
{
	struct part *p = &v->parts[id];
	struct mono until = mono_add_ms(mono_now(), STOP_MS);

	if (p->pid)
		kill(p->pid, SIGTERM);
	while (p->pid && mono_before(mono_now(), until))
		wait_once(v, 100);
	if (!p->pid)
		return;
	log_warn("%s does not end within %d s: killed", p->name, STOP_MS / 1000);
	kill(p->pid, SIGKILL);
	for (int i = 0; i < 50 && p->pid; i++)
		wait_once(v, 100);
}

static int begin(struct supervisor *v, struct arena *a, struct err *e)
{
	sigset_t wanted;

	if (layout_make(v->l, v->s, e) < 0 || lock_data(v->l, e) < 0)
		return -e->code;
	if (layout_begin(v->l, e) < 0 || layout_certificates(a, v->l, v->s, NULL, e) < 0)
		return -e->code;
	v->listener = bind_listener(v->s, v->l, e);
	if (v->listener < 0)
		return -e->code;
	if (v->l->default_instance && v->l->own_containerd && !v->s->no_node)
		links_make(a, "", v->l);
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGHUP);
	sigaddset(&wanted, SIGCHLD);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	signal(SIGPIPE, SIG_IGN);
	write_held_off(v);
	v->signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	return v->signals < 0 ? err_errno(e, errno, "signalfd") : 0;
}

static void end(struct supervisor *v, struct arena *a)
{
	struct err e;

	err_init(&e);
	notify_tell(v->notify, "STOPPING=1");
	stop_part(v, NODE);
	stop_part(v, CONTROL);
	if (v->s->ephemeral) {
		say(v->s, "taking everything away (--ephemeral)");
		if (reset_instance(a, v->s, v->l, &e) < 0)
			log_error("%s", e.message);
		return;
	}
	if (!v->s->no_node)
		say(v->s, "stopped; pods%s keep running (kogge reset --data-dir %s takes them away)",
			v->l->own_containerd ? " and containerd" : "", v->l->data);
}

int supervise(struct arena *a, const struct settings *s, const struct layout *l)
{
	struct supervisor v = { .s = s,
		.l = l,
		.listener = -1,
		.containerd_fd = -1,
		.notify = -1,
		.certificates_due = mono_add_ms(mono_now(), CERTIFICATES_MS),
		.crashes = crashes_new() };
	struct err e;

	err_init(&e);
	v.parts[CONTROL] = (struct part){ .name = "control", .ready_fd = -1, .wanted = true };
	v.parts[NODE] = (struct part){ .name = "node", .ready_fd = -1, .wanted = !s->no_node };
	v.notify = notify_open();
	if (begin(&v, a, &e) < 0)
		return fail("%s", e.message);
	start_due(&v); /* control and node; they wait for each other and for containerd by themselves */
	if (!s->no_node)
		need_containerd(&v);
	while (!v.stopping) {
		wait_once(&v, next_wait_ms(&v));
		look_at_certificates(&v);
		start_due(&v);
	}
	end(&v, a);
	return 0;
}

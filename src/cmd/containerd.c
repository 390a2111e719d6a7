/* Our own containerd: its configuration, its start, and the adoption of one that a former supervisor left running.
 * It is in a session of its own, so that pods outlive every process of Kogge. */
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "node/node.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "containerd"
#define STOP_MS 10000

static void config_text(const struct layout *l, struct buf *out)
{
	/* without CAP_SYS_RESOURCE nobody can lower an OOM score: containerd must not try */
	bool restricted = prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) != 1;

	buf_printf(out,
		"# written by kogge at every start; changes are lost\n"
		"version = 2\nroot = \"%s/root\"\nstate = \"%s/containerd\"\n"
		"disabled_plugins = [\"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\",\n"
		"  \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.tracing.processor.v1.otlp\",\n"
		"  \"io.containerd.internal.v1.tracing\", \"io.containerd.internal.v1.opt\"]\n"
		"[grpc]\n  address = \"%s\"\n"
		"[plugins.\"io.containerd.grpc.v1.cri\"]\n"
		"  sandbox_image = \"localhost/kogge/pause:1\"\n  restrict_oom_score_adj = %s\n  disable_tcp_service = true\n"
		"  netns_mounts_under_state_dir = true\n"
		"  stream_server_address = \"127.0.0.1\"\n  stream_server_port = \"0\"\n  max_container_log_line_size = 16384\n"
		"[plugins.\"io.containerd.grpc.v1.cri\".cni]\n  bin_dir = \"%s/bin\"\n  conf_dir = \"%s/conf\"\n"
		"[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"%s/certs.d\"\n",
		l->containerd, l->run, l->containerd_socket, restricted ? "true" : "false", l->cni, l->cni,
		l->containerd);
}

static int write_config(const struct layout *l, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	FILE *f = fopen(l->containerd_config, "we");
	bool written;

	if (!f)
		return err_errno(e, errno, "write %s", l->containerd_config);
	config_text(l, &text);
	written = fwrite(text.p, 1, text.n, f) == text.n;
	if (fclose(f) != 0 || !written)
		return err_errno(e, errno, "write %s", l->containerd_config);
	return 0;
}

static pid_t recorded_pid(const struct layout *l)
{
	return (pid_t)file_number(l->containerd_pid, 0);
}

/* The recorded pid may have been given to another program since: its command line must name our configuration. */
static bool is_ours(const struct layout *l, pid_t pid)
{
	char path[64], line[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, line, sizeof(line));
	close(fd);
	return n > 0 && memmem(line, (size_t)n, l->containerd_config, strlen(l->containerd_config));
}

static bool answers(const struct layout *l)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	if (strlen(l->containerd_socket) >= sizeof(to.sun_path) || fd < 0)
		return false;
	strncpy(to.sun_path, l->containerd_socket, sizeof(to.sun_path) - 1);
	ok = connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
	close(fd);
	return ok;
}

bool containerd_alive(const struct layout *l)
{
	pid_t pid = recorded_pid(l);

	if (!l->own_containerd)
		return answers(l);
	return pid > 0 && is_ours(l, pid);
}

static void nap_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* In the child. */
static void run(const struct layout *l)
{
	auto_free char *log_path = xasprintf("%s/containerd.log", l->containerd);
	int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0640), null = open("/dev/null", O_RDONLY);
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(null, 0);
	if (log >= 0) {
		dup2(log, 1);
		dup2(log, 2);
	}
	for (int fd = 3; fd < 256; fd++)
		close(fd);
	/* its heap is mostly garbage between pod starts: collect earlier, idle smaller */
	setenv("GOGC", "50", 0);
	unsetenv("GLIBC_TUNABLES"); /* ours, see main.c */
	execlp("containerd", "containerd", "--config", l->containerd_config, "--log-level", "warn", (char *)NULL);
	_exit(127);
}

static int record(const struct layout *l, pid_t pid, struct err *e)
{
	FILE *f = fopen(l->containerd_pid, "we");

	if (!f)
		return err_errno(e, errno, "write %s", l->containerd_pid);
	fprintf(f, "%d\n", (int)pid);
	return fclose(f) == 0 ? 0 : err_errno(e, errno, "write %s", l->containerd_pid);
}

int containerd_need(const struct layout *l, struct err *e)
{
	pid_t pid;

	if (!l->own_containerd)
		return answers(l) ? 0 :
				    err_set(e, ERR_UNAVAILABLE, "no container runtime answers on %s (--cri-socket)",
					    l->containerd_socket);
	if (containerd_alive(l))
		return 0;
	if (write_config(l, e) < 0)
		return -e->code;
	unlink(l->containerd_socket);
	auto_free char *state = xasprintf("%s/containerd", l->run), *root = xasprintf("%s/root", l->containerd);
	node_runtime_tidy(l->containerd_socket, state, root);
	pid = fork();
	if (pid < 0)
		return err_errno(e, errno, "start containerd");
	if (pid == 0)
		run(l);
	return record(l, pid, e);
}

int containerd_stop(const struct layout *l, struct err *e)
{
	pid_t pid = recorded_pid(l);

	if (!l->own_containerd || !containerd_alive(l))
		return 0;
	if (kill(pid, SIGTERM) < 0)
		return errno == ESRCH ? 0 : err_errno(e, errno, "stop containerd (pid %d)", (int)pid);
	for (int waited = 0; waited < STOP_MS; waited += 20) {
		if (!is_ours(l, pid))
			return 0;
		nap_ms(20);
	}
	kill(pid, SIGKILL);
	nap_ms(100);
	return is_ours(l, pid) ? err_set(e, ERR_TIMEOUT, "containerd (pid %d) does not end", (int)pid) : 0;
}

/* sd-bus by hand: no headers are needed to build, and a machine without systemd does not load anything. What is
 * declared here is libsystemd's stable interface. */
#include "node/logind.h"
#include "base/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define SERVICE "org.freedesktop.login1"
#define OBJECT "/org/freedesktop/login1"
#define MANAGER "org.freedesktop.login1.Manager"

struct sd_bus;
struct sd_bus_message;
struct sd_bus_error;
typedef int handler(struct sd_bus_message *m, void *arg, struct sd_bus_error *ret);

static struct library {
	void *handle;
	int (*open)(struct sd_bus **ret);
	struct sd_bus *(*end)(struct sd_bus *bus);
	int (*call)(struct sd_bus *bus, const char *to, const char *path, const char *interface, const char *method,
		struct sd_bus_error *error, struct sd_bus_message **ret, const char *types, ...);
	int (*property)(struct sd_bus *bus, const char *to, const char *path, const char *interface, const char *name,
		struct sd_bus_error *error, char type, void *ret);
	int (*match)(struct sd_bus *bus, void **slot, const char *from, const char *path, const char *interface,
		const char *signal, handler *call, void *arg);
	int (*read)(struct sd_bus_message *m, const char *types, ...);
	struct sd_bus_message *(*unref)(struct sd_bus_message *m);
	int (*process)(struct sd_bus *bus, struct sd_bus_message **ret);
	int (*fd)(struct sd_bus *bus);
} lib;

struct logind {
	struct sd_bus *bus;
	int hold; /* -1: none */
	enum logind_news news;
};

/* A function's address arrives as a data pointer. */
static bool find(const char *name, void *to)
{
	void *at = dlsym(lib.handle, name);

	memcpy(to, &at, sizeof(at));
	return at != NULL;
}

static int load(struct err *e)
{
	if (lib.handle)
		return 0;
	lib.handle = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!lib.handle)
		return err_set(e, ERR_UNAVAILABLE, "libsystemd.so.0 does not load: %s", dlerror());
	if (find("sd_bus_open_system", &lib.open) && find("sd_bus_flush_close_unref", &lib.end) &&
		find("sd_bus_call_method", &lib.call) && find("sd_bus_get_property_trivial", &lib.property) &&
		find("sd_bus_match_signal", &lib.match) && find("sd_bus_message_read", &lib.read) &&
		find("sd_bus_message_unref", &lib.unref) && find("sd_bus_process", &lib.process) &&
		find("sd_bus_get_fd", &lib.fd))
		return 0;
	(void)dlclose(TAKE(lib.handle));
	return err_set(e, ERR_UNAVAILABLE, "libsystemd.so.0 is too old for us");
}

bool logind_is_here(void)
{
	return access("/run/systemd/system", F_OK) == 0 || getenv("DBUS_SYSTEM_BUS_ADDRESS");
}

static int on_prepare(struct sd_bus_message *m, void *arg, struct sd_bus_error *ret)
{
	struct logind *l = arg;
	int begins = 0;

	(void)ret;
	if (lib.read(m, "b", &begins) > 0)
		l->news = begins ? LOGIND_SHUTDOWN : LOGIND_CALLED_OFF;
	return 0;
}

int logind_open(struct logind **ret, struct err *e)
{
	auto_(logind_close) struct logind *l = NULL;
	int r = load(e);

	if (r < 0)
		return r;
	l = xcalloc(1, sizeof(*l));
	*l = (struct logind){ .hold = -1, .news = LOGIND_STOPPED };
	if ((r = lib.open(&l->bus)) < 0)
		return err_set(e, ERR_UNAVAILABLE, "the system's D-Bus does not answer: %s", strerror(-r));
	if ((r = lib.match(l->bus, NULL, SERVICE, OBJECT, MANAGER, "PrepareForShutdown", on_prepare, l)) < 0)
		return err_set(e, ERR_UNAVAILABLE, "logind's signals are not to be had: %s", strerror(-r));
	*ret = TAKE(l);
	return 0;
}

struct logind *logind_close(struct logind *l)
{
	if (!l)
		return NULL;
	logind_release(l);
	if (l->bus)
		lib.end(l->bus);
	free(l);
	return NULL;
}

int logind_delay_ms(struct logind *l, int64_t *ret, struct err *e)
{
	uint64_t us = 0;
	int r = lib.property(l->bus, SERVICE, OBJECT, MANAGER, "InhibitDelayMaxUSec", NULL, 't', &us);

	if (r < 0)
		return err_set(e, ERR_UNAVAILABLE, "logind does not answer: %s", strerror(-r));
	*ret = (int64_t)MIN(us / 1000, (uint64_t)INT32_MAX);
	return 0;
}

bool logind_shuts_down(struct logind *l)
{
	int begun = 0;

	return lib.property(l->bus, SERVICE, OBJECT, MANAGER, "PreparingForShutdown", NULL, 'b', &begun) >= 0 && begun;
}

int logind_hold(struct logind *l, const char *why, struct err *e)
{
	struct sd_bus_message *answer = NULL;
	int fd = -1, r;

	r = lib.call(
		l->bus, SERVICE, OBJECT, MANAGER, "Inhibit", NULL, &answer, "ssss", "shutdown", "kogge", why, "delay");
	if (r >= 0)
		r = lib.read(answer, "h", &fd);
	if (r >= 0) /* the message has its own */
		r = (l->hold = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0 ? -errno : 0;
	lib.unref(answer);
	return r < 0 ? err_set(e, ERR_UNAVAILABLE, "logind does not let us delay a shutdown: %s", strerror(-r)) : 0;
}

void logind_release(struct logind *l)
{
	if (l->hold >= 0)
		(void)close(l->hold);
	l->hold = -1;
}

enum logind_news logind_wait(struct logind *l, int wake)
{
	struct pollfd fds[] = { { .fd = wake, .events = POLLIN }, { .fd = lib.fd(l->bus), .events = POLLIN } };
	int r = 0;

	l->news = LOGIND_STOPPED;
	while (l->news == LOGIND_STOPPED && !(fds[0].revents & POLLIN)) {
		while (l->news == LOGIND_STOPPED && (r = lib.process(l->bus, NULL)) > 0)
			;
		if (r < 0)
			return LOGIND_LOST;
		if (l->news == LOGIND_STOPPED)
			(void)poll(fds, ARRAY_LEN(fds), -1);
	}
	return l->news;
}

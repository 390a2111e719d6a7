#include "load_trace.h"

#include "load.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRACEFS "/sys/kernel/tracing"
#define INSTANCE TRACEFS "/instances/kogge-bench"
#define RING_KIB "2048" /* of each processor: a tenth of a second or more */

struct trace {
	const char *folder;
	int on; /* the instance's switch */
	struct task *task;
	struct task_mutex lock;
	struct task_cond work;
	bool held, ending;
	/* What is held. */
	char name[64], about[256];
	struct mono from, to;
	struct mono begun; /* what was before is not in the ring */
};

/* Stacks only of threads of the server that begin to wait: they say for what. A thread's runtime is without what the machine
 * below us took meanwhile, where it tells (steal time). */
static const struct {
	const char *file, *value;
} settings[] = {
	{ "trace_clock", "mono" },
	{ "buffer_size_kb", RING_KIB },
	{ "options/record-tgid", "1" },
	{ "events/sched/sched_switch/enable", "1" },
	{ "events/sched/sched_switch/trigger", "stacktrace if prev_comm == \"store\"" },
	{ "events/sched/sched_waking/enable", "1" },
	{ "events/sched/sched_stat_runtime/enable", "1" },
	{ "events/ext4/ext4_sync_file_enter/enable", "1" },
	{ "events/ext4/ext4_sync_file_exit/enable", "1" },
	{ "events/jbd2/jbd2_start_commit/enable", "1" },
	{ "events/jbd2/jbd2_end_commit/enable", "1" },
	{ "events/block/block_rq_issue/enable", "1" },
	{ "events/block/block_rq_complete/enable", "1" },
	{ "tracing_on", "1" },
};

/* Not every kernel tells of these: page faults, memory given back, processors made to forget pages. */
static const char *const offered[] = {
	"events/exceptions/page_fault_user/enable",
	"events/exceptions/page_fault_kernel/enable",
	"events/syscalls/sys_enter_mmap/enable",
	"events/syscalls/sys_enter_munmap/enable",
	"events/syscalls/sys_enter_madvise/enable",
	"events/syscalls/sys_enter_mprotect/enable",
	"events/syscalls/sys_enter_brk/enable",
	"events/tlb/tlb_flush/enable",
	"events/irq_vectors/call_function_single_entry/enable",
	"events/irq_vectors/call_function_entry/enable",
	"events/vmscan/mm_vmscan_kswapd_wake/enable",
	"events/vmscan/mm_vmscan_direct_reclaim_begin/enable",
};

static int open_in(const char *file, int flags)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), INSTANCE "/%s", file);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		die(path, NULL);
	return fd;
}

static void set(const char *file, const char *value)
{
	int fd = open_in(file, O_WRONLY | O_TRUNC);

	if (write(fd, value, strlen(value)) < 0 && errno != EEXIST)
		die(file, NULL);
	close(fd);
}

static bool is_offered(const char *file)
{
	char path[256];

	snprintf(path, sizeof(path), INSTANCE "/%s", file);
	return access(path, F_OK) == 0;
}

/* "    store-123   [001] d..2.  5012.345678: sched_switch: …" */
static bool time_of(const char *line, int64_t *ret_ns)
{
	const char *cpu = strchr(line, '[');
	double s;

	if (line[0] == '#' || !cpu || sscanf(cpu, "[%*d] %*s %lf:", &s) != 1)
		return false;
	*ret_ns = (int64_t)(s * 1e9);
	return true;
}

/* A stack belongs to the event before it. */
static void copy(FILE *from, FILE *to, int64_t first_ns, int64_t last_ns)
{
	char *line = NULL;
	size_t room = 0;
	int64_t at = 0;

	while (getline(&line, &room, from) > 0) {
		(void)time_of(line, &at);
		if (at >= first_ns && at <= last_ns)
			fputs(line, to);
	}
	free(line);
}

static void write_held(struct trace *t)
{
	auto_free char *path = xasprintf("%s/%s", t->folder, t->name);
	FILE *from = fdopen(open_in("trace", O_RDONLY), "r"), *to = fopen(path, "w");

	if (!from || !to)
		die(path, NULL);
	fprintf(to, "# %s\n", t->about);
	copy(from, to, t->from.ns, t->to.ns);
	fclose(from);
	fclose(to);
	close(open_in("trace", O_WRONLY | O_TRUNC)); /* empties the ring */
	(void)!write(t->on, "1", 1);
	t->begun = mono_now();
}

static void trace_run(void *arg)
{
	struct trace *t = arg;

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), 19);
	task_lock(&t->lock);
	while (t->held || !t->ending) {
		if (t->held) {
			task_unlock(&t->lock);
			write_held(t);
			task_lock(&t->lock);
			t->held = false;
		} else {
			task_wait(&t->work, &t->lock);
		}
	}
	task_unlock(&t->lock);
}

struct trace *trace_new(const char *folder)
{
	struct trace *t = xcalloc(1, sizeof(*t));

	if (access(TRACEFS "/instances", F_OK) < 0) /* nobody has mounted it */
		(void)mount("nodev", TRACEFS, "tracefs", 0, NULL);
	if ((mkdir(INSTANCE, 0700) < 0 && errno != EEXIST) || (mkdir(folder, 0755) < 0 && errno != EEXIST))
		die("no tracing here (root is needed, and tracefs at " TRACEFS "): " INSTANCE, NULL);
	for (size_t i = 0; i < ARRAY_LEN(offered); i++)
		if (is_offered(offered[i]))
			set(offered[i], "1");
	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		set(settings[i].file, settings[i].value);
	t->folder = folder;
	t->on = open_in("tracing_on", O_WRONLY);
	task_mutex_init(&t->lock);
	task_cond_init(&t->work);
	t->task = task_spawn("trace", trace_run, t);
	return t;
}

bool trace_hold(struct trace *t, const char *name, struct mono from, struct mono to, const char *about)
{
	bool ok;

	task_lock(&t->lock);
	ok = !t->held && mono_before(t->begun, from);
	if (ok) {
		(void)!write(t->on, "0", 1);
		snprintf(t->name, sizeof(t->name), "%s", name);
		snprintf(t->about, sizeof(t->about), "%s", about);
		t->from = from;
		t->to = to;
		t->held = true;
		task_signal(&t->work);
	}
	task_unlock(&t->lock);
	return ok;
}

struct trace *trace_free(struct trace *t)
{
	if (!t)
		return NULL;
	task_lock(&t->lock);
	t->ending = true;
	task_signal(&t->work);
	task_unlock(&t->lock);
	task_join(t->task);
	close(t->on);
	(void)rmdir(INSTANCE);
	task_cond_fini(&t->work);
	task_mutex_fini(&t->lock);
	free(t);
	return NULL;
}

/* The longest times without an acknowledged write, and what took them.
 *
 *   client     one thread, a libuv loop: --clients requests are always on their way; before all ordinary programs, so that
 *              it never waits for a processor. What it works itself is counted apart.
 *   disk       one small write of another file and its fdatasync, again and again
 *   processors a thread on each, before the client, looks at the clock: late, when the machine below us stood still; and
 *              does the same small pieces of work each time (load_pace.h): taken off nothing, but gaps in which one took
 *              several times as long as usual, on average, are told apart: they were slowed
 *   server     its own stages, when it is Kogge, read from /metrics every second
 *   kernel     with --trace, what ran and waited in the gaps that disk and processors do not explain (load_trace.h)
 *
 * A gap's own part is what neither the disk nor the processors took. */
#include "load.h"
#include "load_pace.h"
#include "load_trace.h"

#include "net/net_internal.h"
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define GAPS_TOLD 6            /* the longest, and as many with most of their own */
#define GAP_OBJECTS 16         /* of each client */
#define SLOWED_FROM_NS 5000000 /* of its own: shorter gaps are not looked at */
#define SPAN_LEAST_NS 1000000  /* shorter ones explain nothing */
#define PROBE_BYTES 4096
#define PROBE_FILE_BYTES (1 << 20)
#define PROBE_ALONE_MS 5000
#define LOOK_MS 1000
#define SETTLE_MS 10000 /* what is on its way at the end */
#define TRACES_MAX 60
#define TRACE_BEFORE_NS 6000000 /* a round of the clients */

struct span {
	int64_t began, ended; /* ns since the mode began */
	/* Of a gap, ns. */
	int64_t worked; /* the client ran */
	int64_t disk;   /* the disk's spans cover */
	int64_t own;    /* neither they nor pauses do */
	bool slowed;    /* by the machine below us */
};

struct spans { /* noted by one thread */
	struct task_mutex lock;
	struct span *v;
	size_t n, cap;
	int64_t longest;
	int64_t open; /* one began then and is not over; 0: none */
};

struct seat { /* one of --clients */
	struct gap *g;
	int64_t id, n;
	struct call *call;
};

struct gap {
	struct bench *b;
	struct spans writes;  /* between two acknowledged writes */
	struct spans disk;    /* of the probe */
	struct spans *pauses; /* of each processor */
	struct pace **paces;  /* the same */
	struct pace_sample usual;
	int64_t alone; /* the disk's longest before the writes began */
	struct seat *seats;
	struct mono began, until;
	int64_t writes_n, last, worked; /* acknowledged; when the newest was, and the client's processor time by then */
	int64_t first;                  /* how long the first took, ns */
	_Atomic int64_t on_their_way;
	atomic_bool ending;
	struct trace *trace; /* NULL: none is wanted */
	int traced;
	int probe;
	_Atomic long processors; /* those that have their thread */
	struct stage_counts *looks;
	size_t looks_n;
};

static double ms(int64_t ns)
{
	return (double)ns / 1e6;
}

/* ---- spans ----------------------------------------------------------------------------------- */

static int64_t span_ns(const struct span *s)
{
	return s->ended - s->began;
}

static void span_begin(struct spans *l, int64_t at)
{
	task_lock(&l->lock);
	l->open = at;
	task_unlock(&l->lock);
}

static void span_note(struct spans *l, struct span s)
{
	task_lock(&l->lock);
	l->open = 0;
	if (span_ns(&s) >= SPAN_LEAST_NS) {
		GROW(l->v, l->n, l->cap, 1024);
		l->v[l->n++] = s;
		l->longest = MAX(l->longest, span_ns(&s));
	}
	task_unlock(&l->lock);
}

static int longest_first(const void *a, const void *b)
{
	int64_t x = span_ns(a), y = span_ns(b);

	return x < y ? 1 : x > y ? -1 : 0;
}

static int earliest_first(const void *a, const void *b)
{
	int64_t x = ((const struct span *)a)->began, y = ((const struct span *)b)->began;

	return x < y ? -1 : x > y;
}

/* Those that were slowed come last. */
static int most_own_first(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	if (x->slowed != y->slowed)
		return x->slowed - y->slowed;
	return x->own < y->own ? 1 : x->own > y->own ? -1 : 0;
}

/* How much of a span the others cover; they are in the order of their beginnings. */
static int64_t covered_ns(const struct span *s, const struct spans *by)
{
	int64_t ns = 0, at = s->began;
	size_t i = 0;

	for (size_t end = by->n; i < end;) { /* the first that can reach into it */
		size_t middle = i + (end - i) / 2;

		if (by->v[middle].began < s->began - by->longest)
			i = middle + 1;
		else
			end = middle;
	}
	for (; i < by->n && by->v[i].began < s->ended; i++) {
		int64_t from = MAX(at, by->v[i].began), to = MIN(s->ended, by->v[i].ended);

		if (to <= from)
			continue;
		ns += to - from;
		at = to;
	}
	return ns;
}

/* While the others are still being noted. */
static int64_t covered_so_far_ns(const struct span *s, struct spans *by)
{
	int64_t ns;

	task_lock(&by->lock);
	ns = covered_ns(s, by);
	if (by->open && by->open < s->ended)
		ns += s->ended - MAX(s->began, by->open);
	task_unlock(&by->lock);
	return ns;
}

static void add_all(struct spans *to, const struct spans *from)
{
	for (size_t i = 0; i < from->n; i++)
		span_note(to, from->v[i]);
}

/* ---- the client ------------------------------------------------------------------------------ */

static int64_t since(const struct gap *g)
{
	return mono_now().ns - g->began.ns;
}

static int64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* What the kernel did in a gap that the disk does not explain. */
static void trace_gap(struct gap *g, const struct span *s)
{
	int64_t disk = covered_so_far_ns(s, &g->disk), own = span_ns(s) - disk;
	char name[64], about[128];

	for (long i = 0; i < g->processors; i++)
		own -= covered_so_far_ns(s, &g->pauses[i]);
	if (own < g->b->trace_ms * 1000000 || g->traced == TRACES_MAX)
		return;
	snprintf(name, sizeof(name), "gap-%07.2f.txt", (double)s->ended / 1e9);
	snprintf(about, sizeof(about), "began %.6f ended %.6f client_ms %.2f disk_ms %.2f client %d server %s",
		(double)(g->began.ns + s->began) / 1e9, (double)(g->began.ns + s->ended) / 1e9, ms(s->worked), ms(disk),
		(int)getpid(), g->b->pids);
	g->traced += trace_hold(g->trace, name, (struct mono){ g->began.ns + s->began - TRACE_BEFORE_NS },
		(struct mono){ g->began.ns + s->ended }, about);
}

static void note_write(struct gap *g)
{
	int64_t now = since(g), worked = thread_cpu_ns();
	struct span s = { g->last, now, .worked = worked - g->worked };

	if (g->writes_n++ == 0) { /* not between two */
		g->first = span_ns(&s);
	} else {
		span_note(&g->writes, s);
		if (g->trace && span_ns(&s) >= g->b->trace_ms * 1000000)
			trace_gap(g, &s);
	}
	g->last = now;
	g->worked = worked;
}

static void answered(void *arg);

/* On the loop, under the call's lock. */
static void on_ready(void *arg)
{
	struct seat *s = arg;

	net_loop_post(s->g->b->loop, answered, s);
}

static void ask(struct seat *s)
{
	struct bench *b = s->g->b;
	bool first = s->n < GAP_OBJECTS;
	struct http_header h[3];
	char name[64], path[256];
	auto_buf struct buf body = BUF_INIT;

	snprintf(name, sizeof(name), "g-%s-%d-%d", b->run, (int)s->id, (int)(s->n % GAP_OBJECTS));
	snprintf(path, sizeof(path), "%s%s%s", b->path, first ? "" : "/", first ? "" : name);
	buf_printf(&body, "{\"metadata\":{\"name\":\"%s\"},\"data\":{\"n\":\"%" PRId64 "\",\"payload\":\"%.*s\"}}",
		name, s->n, (int)b->filler.n, b->filler.p);
	s->call = call_new(b->http, first ? "POST" : "PUT", str_c(path), h, headers(b, h), buf_view(&body), 0);
	s->call->ready = on_ready;
	s->call->ready_arg = s;
	call_start(s->call);
}

static void answered(void *arg)
{
	struct seat *s = arg;
	struct call *x = s->call;

	if (x->status != (s->n < GAP_OBJECTS ? 201 : 200)) {
		fprintf(stderr, "load: a write: %d %s\n", x->status, x->why ? x->why : "");
		_exit(1);
	}
	note_write(s->g);
	call_unref(x);
	s->n++;
	if (mono_before(mono_now(), s->g->until))
		ask(s);
	else
		s->g->on_their_way--;
}

/* All threads of this program run like that while gaps are measured: one that others can delay would delay the client by
 * a lock that it holds, or tell the disk's time with its own wait for a processor. */
static void before_all_others(int priority)
{
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = priority }) < 0)
		die("a thread before all others (root is needed)", NULL);
}

static void all_ask(void *arg)
{
	struct gap *g = arg;

	before_all_others(1);
	g->last = since(g);
	g->worked = thread_cpu_ns();
	for (int64_t i = 0; i < g->b->clients; i++)
		ask(&g->seats[i]);
}

/* ---- the server's stages --------------------------------------------------------------------- */

#define STAGES_MAX 16
#define STAGE_BOUNDS_MAX 16

struct stage_counts { /* of /metrics at one moment */
	int64_t at;   /* ns since the mode began */
	size_t n;
	struct {
		char name[24];
		size_t bounds;
		double le_ms[STAGE_BOUNDS_MAX];
		int64_t count[STAGE_BOUNDS_MAX]; /* at most that long */
	} stage[STAGES_MAX];
};

static struct str between(struct str line, const char *before, char end)
{
	const char *p = memmem(line.p, line.n, before, strlen(before));
	struct str rest, ret;

	if (!p)
		return STR_NULL;
	rest = str_sub(line, (size_t)(p - line.p) + strlen(before), line.n);
	str_cut(rest, end, &ret);
	return ret;
}

static void count_line(struct stage_counts *c, struct str line)
{
	struct str stage = between(line, "stage=\"", '"'), le = between(line, "le=\"", '"'),
		   count = between(line, "} ", '\n');
	size_t i = c->n - 1;
	char number[32];

	if (!stage.n || !le.n)
		return;
	if (!c->n || !str_is(stage, c->stage[i].name)) {
		if (c->n == STAGES_MAX)
			return;
		i = c->n++;
		snprintf(c->stage[i].name, sizeof(c->stage[i].name), "%.*s", STR_ARG(stage));
	}
	if (c->stage[i].bounds == STAGE_BOUNDS_MAX)
		return;
	snprintf(number, sizeof(number), "%.*s", STR_ARG(le));
	c->stage[i].le_ms[c->stage[i].bounds] = strtod(number, NULL) * 1e3; /* +Inf too */
	str_i64(count, &c->stage[i].count[c->stage[i].bounds++]);
}

static void look(struct gap *g, struct http_client *c)
{
	struct stage_counts *now;
	struct http_reply reply = { 0 };
	struct http_header h[3];
	struct str rest, line;
	struct err e;

	err_init(&e);
	if (http_call(c, "GET", STR("/metrics"), h, headers(g->b, h), STR_NULL, (size_t)8 << 20, 0, &reply, &e) < 0)
		die("/metrics", &e);
	g->looks = xrealloc(g->looks, g->looks_n + 1, sizeof(*g->looks));
	now = &g->looks[g->looks_n++];
	*now = (struct stage_counts){ .at = since(g) };
	for (rest = buf_view(&reply.body); rest.n;) {
		rest = str_cut(rest, '\n', &line);
		if (str_starts(line, STR("kogge_store_stage_duration_seconds_bucket")))
			count_line(now, line);
	}
	http_reply_fini(&reply);
}

/* Which stages lasted how long around a gap, of those that can have taken half of it. */
static void print_stages(const struct gap *g, const struct span *s)
{
	size_t to = 0;

	while (to < g->looks_n && g->looks[to].at < s->ended)
		to++;
	if (to == 0 || to == g->looks_n)
		return;
	size_t from = to;
	while (from > 0 && g->looks[from].at > s->began)
		from--;
	const struct stage_counts *a = &g->looks[from], *b = &g->looks[to];
	const char *comma = "";
	for (size_t i = 0; i < MIN(a->n, b->n); i++)
		for (size_t k = 1; k < b->stage[i].bounds; k++) {
			int64_t n = b->stage[i].count[k] - b->stage[i].count[k - 1] - a->stage[i].count[k] +
				a->stage[i].count[k - 1];

			if (n <= 0 || b->stage[i].le_ms[k] < ms(span_ns(s)) / 2)
				continue;
			printf("%s%s > %g ms", comma, b->stage[i].name, b->stage[i].le_ms[k - 1]);
			comma = ", ";
		}
}

/* ---- the probes ------------------------------------------------------------------------------ */

/* What the disk takes for one small write, again and again. */
static void probe_disk(void *arg)
{
	struct gap *g = arg;
	char bytes[PROBE_BYTES] = { 1 };

	before_all_others(1);
	for (int64_t i = 0; !g->ending; i++) {
		int64_t began = since(g);

		bytes[0]++;
		span_begin(&g->disk, began);
		if (pwrite(g->probe, bytes, sizeof(bytes), i * PROBE_BYTES % PROBE_FILE_BYTES) != sizeof(bytes) ||
			fdatasync(g->probe) < 0)
			die("the probe's file", NULL);
		int64_t ended = since(g);
		span_note(&g->disk, (struct span){ began, ended });
		if (ended < PROBE_ALONE_MS * INT64_C(1000000))
			g->alone = MAX(g->alone, ended - began);
		task_sleep_ms(2);
	}
}

/* Stays on one processor, before all others, and looks at the clock each millisecond: when it comes late, the machine
 * stood still. Then it works for some µs, to see how fast it goes. */
static void probe_processor(void *arg)
{
	struct gap *g = arg;
	long own = g->processors++;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((int)own, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		die("a thread on one processor", NULL);
	before_all_others(2);
	while (!g->ending) {
		int64_t due = since(g) + 1000000;

		task_sleep_ms(1);
		int64_t now = since(g);
		span_note(&g->pauses[own], (struct span){ due, now });
		pace_note(g->paces[own], now);
	}
}

static int open_probe(const char *path)
{
	char zeros[PROBE_BYTES] = { 0 };
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path, NULL);
	(void)unlink(path);
	for (int64_t at = 0; at < PROBE_FILE_BYTES; at += PROBE_BYTES)
		if (pwrite(fd, zeros, sizeof(zeros), at) != sizeof(zeros))
			die(path, NULL);
	(void)fsync(fd);
	return fd;
}

/* ---- the mode -------------------------------------------------------------------------------- */

static const char *const works[] = {
#define PACE_WORK(id, name) [id] = (name),
	PACE_WORKS(PACE_WORK)
#undef PACE_WORK
};

/* Times the usual that no busy server brings about: it crowds caches, and far memory is in none. */
static const double slow[PACE_WORKS_N] = { [PACE_ARITHMETIC] = 10, [PACE_NEAR] = 10, [PACE_FAR] = 4 };

/* In times of what is usual. True: the processors were slowed. */
static bool pace_of(const struct gap *g, const struct span *s, double times[static PACE_WORKS_N])
{
	struct pace_sample pace = pace_mean(g->paces, (size_t)g->processors, s->began, s->ended);
	bool slowed = false;

	for (size_t i = 0; i < PACE_WORKS_N; i++) {
		times[i] = g->usual.ns[i] ? (double)pace.ns[i] / (double)g->usual.ns[i] : 0;
		slowed |= times[i] >= slow[i];
	}
	return slowed;
}

static void print_first(const struct gap *g, const char *name)
{
	printf(",\"%s\":[", name);
	for (size_t i = 0; i < MIN(g->writes.n, (size_t)GAPS_TOLD); i++) {
		const struct span *w = &g->writes.v[i];
		double times[PACE_WORKS_N];

		(void)pace_of(g, w, times);
		printf("%s{\"ms\":%.2f,\"disk_ms\":%.2f,\"client_ms\":%.2f,\"own_ms\":%.2f,\"at_s\":%.2f,"
		       "\"slowed\":%s,",
			i ? "," : "", ms(span_ns(w)), ms(w->disk), ms(w->worked), ms(w->own), (double)w->ended / 1e9,
			w->slowed ? "true" : "false");
		for (size_t k = 0; k < PACE_WORKS_N; k++)
			printf("\"%s\":%.1f,", works[k], times[k]);
		printf("\"stages\":\"");
		print_stages(g, w);
		printf("\"}");
	}
	printf("]");
}

/* How many had more than that of their own, slowed or not. */
static void print_own(const struct gap *g, const char *name, bool slowed)
{
	static const int64_t bounds_ms[] = { 5, 6, 7, 8, 9, 10 };
	const char *comma = "";

	printf(",\"%s\":{", name);
	for (size_t i = 0; i < ARRAY_LEN(bounds_ms); i++) {
		size_t n = 0;

		for (size_t k = 0; k < g->writes.n; k++)
			n += g->writes.v[k].slowed == slowed && g->writes.v[k].own > bounds_ms[i] * 1000000;
		printf("%s\"%" PRId64 "\":%zu", comma, bounds_ms[i], n);
		comma = ",";
	}
	printf("}");
}

/* Median, one of a hundred, one of ten thousand, the longest, µs. */
static void print_paces(const struct gap *g)
{
	static const double parts[] = { 0.5, 0.99, 0.9999, 1 };
	struct pace_sample s[ARRAY_LEN(parts)];

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		s[i] = pace_rank(g->paces, (size_t)g->processors, parts[i]);
	for (size_t k = 0; k < PACE_WORKS_N; k++) {
		printf(",\"%s_us\":[", works[k]);
		for (size_t i = 0; i < ARRAY_LEN(parts); i++)
			printf("%s%.1f", i ? "," : "", (double)s[i].ns[k] / 1e3);
		printf("]");
	}
}

static void print_gaps(struct gap *g, long processors)
{
	struct spans pauses = { .lock = TASK_MUTEX_INIT }, both = { .lock = TASK_MUTEX_INIT };
	int64_t beyond_disk = 0, most_slowed = 0;

	g->usual = pace_rank(g->paces, (size_t)processors, 0.5);
	for (long i = 0; i < processors; i++)
		add_all(&pauses, &g->pauses[i]);
	add_all(&both, &pauses);
	add_all(&both, &g->disk);
	if (both.n)
		qsort(both.v, both.n, sizeof(struct span), earliest_first);
	for (size_t i = 0; i < g->writes.n; i++) {
		struct span *w = &g->writes.v[i];
		double times[PACE_WORKS_N];

		w->disk = covered_ns(w, &g->disk);
		w->own = span_ns(w) - covered_ns(w, &both);
		beyond_disk = MAX(beyond_disk, span_ns(w) - w->disk);
		if (w->own < SLOWED_FROM_NS)
			continue;
		w->slowed = pace_of(g, w, times);
		if (w->slowed)
			most_slowed = MAX(most_slowed, w->own);
	}
	printf("\"first_ms\":%.2f,\"gap_ms\":%.2f,\"disk_ms\":%.2f,\"pause_ms\":%.2f,\"beyond_disk_ms\":%.2f",
		ms(g->first), ms(g->writes.longest), ms(g->disk.longest), ms(pauses.longest), ms(beyond_disk));
	qsort(g->writes.v, g->writes.n, sizeof(struct span), longest_first);
	print_first(g, "longest");
	qsort(g->writes.v, g->writes.n, sizeof(struct span), most_own_first);
	print_first(g, "most_own");
	print_own(g, "own_more", false);
	print_own(g, "slowed_more", true);
	printf(",\"most_slowed_ms\":%.2f", ms(most_slowed));
	print_paces(g);
	free(pauses.v);
	free(both.v);
}

static void write_and_look(struct gap *g)
{
	struct http_client *c = connect_to(g->b);
	struct mono end = mono_add_ms(mono_now(), g->b->seconds * 1000 + SETTLE_MS);

	before_all_others(1);
	g->until = mono_add_ms(mono_now(), g->b->seconds * 1000);
	g->on_their_way = g->b->clients;
	look(g, c);
	net_loop_post(g->b->loop, all_ask, g);
	while (g->on_their_way && mono_before(mono_now(), end)) {
		task_sleep_ms(LOOK_MS);
		look(g, c);
	}
	if (g->on_their_way)
		die("writes were not answered", NULL);
	http_client_free(c);
}

/* The disk is probed for some seconds alone, then beside the writes. */
void mode_gap(struct bench *b)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct task **probes = xcalloc((size_t)processors + 1, sizeof(struct task *));
	struct gap g = { .b = b, .began = mono_now() };

	if (!b->probe)
		die("gap needs --probe FILE", NULL);
	g.probe = open_probe(b->probe);
	g.trace = b->trace ? trace_new(b->trace) : NULL;
	g.pauses = xcalloc((size_t)processors, sizeof(*g.pauses));
	g.paces = xcalloc((size_t)processors, sizeof(struct pace *));
	task_mutex_init(&g.writes.lock);
	task_mutex_init(&g.disk.lock);
	for (long i = 0; i < processors; i++) {
		task_mutex_init(&g.pauses[i].lock);
		g.paces[i] = pace_new((size_t)b->seconds * 1000 + SETTLE_MS);
	}
	g.seats = xcalloc((size_t)b->clients, sizeof(*g.seats));
	for (int64_t i = 0; i < b->clients; i++)
		g.seats[i] = (struct seat){ .g = &g, .id = i };
	probes[processors] = task_spawn("probe", probe_disk, &g);
	task_sleep_ms(PROBE_ALONE_MS);
	for (long i = 0; i < processors; i++)
		probes[i] = task_spawn("pauses", probe_processor, &g);
	write_and_look(&g);
	g.ending = true;
	for (long i = 0; i <= processors; i++)
		task_join(probes[i]);
	free(probes);
	trace_free(g.trace);
	printf("{\"mode\":\"gap\",\"writes\":%" PRId64 ",\"disk_alone_ms\":%.2f,", g.writes_n, ms(g.alone));
	print_gaps(&g, processors);
	printf("}\n");
	for (long i = 0; i < processors; i++)
		pace_free(g.paces[i]);
	free(g.paces);
}

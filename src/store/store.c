/* The part of the store that every engine has: one queue, one transaction for all who wait, one at a time who does the work.
 *
 *     a writer comes alone     does the work himself: nobody has to be woken, for it or after it
 *     others are there, too    they queue, and the store's task works until none is left
 */
#include "base/crew.h"
#include "base/fiber.h"
#include "base/log.h"
#include "store/store_internal.h"
#include <inttypes.h>
#include <stdio.h>

#define LOG_MODULE "store"
#define GROUP_MAX 256                 /* writes in one transaction: more would make the first of them wait too long */
#define GATHER_NS 150000              /* the next one has to come in this time */
#define GATHER_MOST_NS 3000000        /* all of them in this time */
#define GROUP_BYTES ((size_t)8 << 20) /* the same for bytes */
#define SWEEP_LEAST ((size_t)16)      /* rows of compaction after a group: some more than it wrote, to keep up */
#define HANGS_NS 10000000000          /* a group that takes this long is said to hang */
#define SWEEP_IDLE 64                 /* the same while nobody writes: who comes then waits for one such piece */
#define SWEEP_AGAIN_NS 2000000        /* until then, what compaction waits for is read into memory */

enum op_kind { OP_WRITE, OP_WATCH, OP_COMPACT };

/* A request; lives on the stack of who waits for it. */
struct op {
	struct store *store;
	enum op_kind kind;
	const struct store_write *write;
	int64_t revision; /* OP_WATCH: after; OP_COMPACT: up to */
	store_on_event *on_event;
	void *arg;

	struct err *e;
	int verdict;
	struct store_done done;
	bool finished;
	struct fiber *fiber; /* who waits, parked; NULL: a thread does, for `wake` */
	struct task_cond wake;
	struct op *next;
};

struct store {
	const struct store_engine *engine;
	void *self;
	struct task *task;
	char cluster_uid[40];

	struct task_mutex lock;
	struct task_cond work;
	struct op *first, **last;
	size_t queued;
	bool closing, gathering;
	bool at_work; /* somebody does the store's work: who set it */
	bool crowded; /* the last writers came several at a time */
	bool late;    /* a writer who came alone left the engine's level() to the store's task */

	atomic_int coming;
	_Atomic int64_t revision, compacted, commits, writes;
	_Atomic int64_t busy_since; /* mono ns, with one group's writes or what follows them; 0: with nothing */
	atomic_bool full;

	struct stage stages[STORE_STAGES_N];

	/* Of who is at work. */
	struct mono lap; /* when the stage before ended */
	store_on_event *on_event;
	void *on_event_arg;
	enum sweep sweeping;
};

/* ---- the work -------------------------------------------------------------------------------- */

/* The stage that the store was at is over. */
static void lap(struct store *s, enum store_stage was)
{
	struct mono now = mono_now();

	stage_note(&s->stages[was], now.ns - s->lap.ns);
	s->lap = now;
}

static void publish(struct store *s, struct op **ops, size_t n)
{
	int64_t newest = 0, count = 0;

	for (size_t i = 0; i < n; i++) {
		if (ops[i]->verdict == 0) {
			newest = ops[i]->done.revision;
			count++;
		}
	}
	atomic_store(&s->revision, newest);
	atomic_fetch_add_explicit(&s->commits, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->writes, count, memory_order_relaxed);

	for (size_t i = 0; i < n; i++) {
		const struct store_write *w = ops[i]->write;
		struct store_event ev = {
			.key = w->key,
			.revision = ops[i]->done.revision,
			.create_revision = ops[i]->done.create_revision,
			.deleted = w->del,
			.more = ops[i]->done.revision < newest,
			.value = w->del ? STR_NULL : w->value,
			.payload = w->payload,
		};

		if (ops[i]->verdict != 0)
			continue;
		if (w->stamp)
			w->stamp(w->payload, ev.revision);
		if (s->on_event)
			s->on_event(s->on_event_arg, &ev);
	}
}

static void refuse_all(struct op **ops, size_t n, int code, const struct err *why)
{
	for (size_t i = 0; i < n; i++) {
		ops[i]->verdict = code;
		if (ops[i]->e)
			err_copy(ops[i]->e, why);
	}
}

/* True: the group was decided, each op has its verdict. False: the transaction broke and was rolled back; *e says why.
 */
static bool try_group(struct store *s, struct op **ops, size_t n, int *ret_code, struct err *e)
{
	bool broken = false, changed = false;

	*ret_code = s->engine->begin(s->self, e);
	if (*ret_code < 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		err_init(e);
		ops[i]->verdict = s->engine->put(s->self, ops[i]->write, &ops[i]->done, &broken, e);
		if (broken) {
			*ret_code = ops[i]->verdict;
			s->engine->rollback(s->self);
			return false;
		}
		changed |= ops[i]->verdict == 0;
		if (ops[i]->verdict < 0 && ops[i]->e)
			err_copy(ops[i]->e, e);
	}
	lap(s, STORE_PUT);
	if (!changed) {
		s->engine->rollback(s->self);
		return true;
	}
	*ret_code = s->engine->commit(s->self, e);
	lap(s, STORE_COMMIT);
	if (*ret_code < 0)
		return false;
	publish(s, ops, n);
	lap(s, STORE_PUBLISH);
	return true;
}

/* One transaction for all; when it breaks (disk full, a damaged page under one key) each write gets one of its own,
 * so that the verdict is about that write. */
static void commit_group(struct store *s, struct op **ops, size_t n)
{
	struct err e;
	int code;

	err_init(&e);
	if (try_group(s, ops, n, &code, &e)) {
		atomic_store_explicit(&s->full, false, memory_order_relaxed);
		return;
	}
	for (size_t i = 0; n > 1 && i < n; i++)
		commit_group(s, &ops[i], 1);
	if (n > 1)
		return;
	refuse_all(ops, n, code, &e);
	atomic_store_explicit(&s->full, code == -ERR_FULL, memory_order_relaxed);
}

static void run_op(struct store *s, struct op *op)
{
	struct err e;

	err_init(&e);
	if (op->kind == OP_WATCH) {
		op->verdict = op->revision < atomic_load(&s->compacted) ?
			err_set(&e, ERR_EXPIRED, "the store's history before revision %" PRId64 " is gone",
				s->compacted) :
			s->engine->replay(s->self, op->revision, op->on_event, op->arg, &e);
		if (op->verdict == 0) {
			s->on_event = op->on_event;
			s->on_event_arg = op->arg;
		}
	} else {
		/* Readers look at `compacted` after their snapshot stands, so it has to be there before anything is
		 * dropped. */
		op->verdict = s->engine->compact(s->self, op->revision, &e);
		if (op->verdict == 0) {
			atomic_store(&s->compacted, op->revision);
			s->sweeping = SWEEP_MORE;
		}
	}
	if (op->verdict < 0 && op->e)
		err_copy(op->e, &e);
}

/* Takes what can run together from the front of a list: writes in a row, or one other request. */
static size_t next_group(struct op **list, struct op **ret)
{
	size_t n = 0, bytes = 0;

	while (*list && n < GROUP_MAX && bytes < GROUP_BYTES) {
		struct op *op = *list;

		if (op->kind != OP_WRITE && n > 0)
			break;
		*list = op->next;
		ret[n++] = op;
		if (op->kind != OP_WRITE)
			break;
		bytes += op->write->value.n;
	}
	return n;
}

/* An op is gone as soon as its owner is woken. */
static void wake_all(struct store *s, struct op **ops, size_t n)
{
	task_lock(&s->lock);
	for (size_t i = 0; i < n; i++) {
		if (ops[i]->fiber)
			continue;
		ops[i]->finished = true;
		task_signal(&ops[i]->wake);
		ops[i] = NULL;
	}
	task_unlock(&s->lock);
	for (size_t i = 0; i < n; i++)
		if (ops[i])
			fiber_wake(ops[i]->fiber);
}

static void run_group(struct store *s, struct op **group, size_t n)
{
	atomic_store_explicit(&s->busy_since, s->lap.ns, memory_order_relaxed);
	if (group[0]->kind == OP_WRITE)
		commit_group(s, group, n);
	else
		run_op(s, group[0]);
	wake_all(s, group, n);
	lap(s, STORE_ANSWER);
}

/* ---- the store's task ------------------------------------------------------------------------ */

static void sweep(struct store *s, size_t rows)
{
	if (s->sweeping == SWEEP_DONE)
		return;
	s->sweeping = s->engine->sweep(s->self, rows);
	lap(s, STORE_SWEEP);
}

static void fold(struct store *s)
{
	if (!s->engine->fold)
		return;
	if (s->late || !s->engine->fold(s->self, false))
		s->engine->level(s->self);
	s->late = false;
	lap(s, STORE_FOLD);
}

static void run_ops(struct store *s, struct op *list)
{
	struct op *group[GROUP_MAX];
	size_t n;

	while ((n = next_group(&list, group)) > 0) {
		run_group(s, group, n);
		atomic_store_explicit(&s->busy_since, s->lap.ns, memory_order_relaxed); /* with what follows */
		sweep(s, MAX(n + n / 4, SWEEP_LEAST));
		fold(s);
		atomic_store_explicit(&s->busy_since, 0, memory_order_relaxed);
	}
}

/* Under the lock: writers are on their way. */
static void gather(struct store *s)
{
	struct mono now = mono_now(), end = { now.ns + GATHER_MOST_NS };
	size_t before = 0;

	s->gathering = true;
	while (atomic_load(&s->coming) > 0 && s->queued > before && s->queued < GROUP_MAX && !s->closing &&
		mono_before(now, end)) {
		before = s->queued;
		task_wait_until(&s->work, &s->lock, (struct mono){ now.ns + GATHER_NS });
		now = mono_now();
	}
	s->gathering = false;
}

/* Under the lock: or until what compaction waits for may be in memory. */
static void wait_for_work(struct store *s)
{
	struct mono again = { mono_now().ns + SWEEP_AGAIN_NS };
	bool later = false;

	while (s->at_work || (!s->first && !s->closing && !s->late && s->sweeping != SWEEP_MORE && !later)) {
		if (!s->at_work && s->sweeping == SWEEP_LATER)
			later = !task_wait_until(&s->work, &s->lock, again);
		else
			task_wait(&s->work, &s->lock);
	}
}

/* Waits until there is something to do, and begins. NULL with *stop: closing, nothing is left. */
static struct op *take_ops(struct store *s, bool *stop)
{
	struct op *list;

	task_lock(&s->lock);
	wait_for_work(s);
	s->at_work = true;
	lap(s, STORE_WAIT);
	if (s->first)
		gather(s);
	lap(s, STORE_GATHER);
	list = s->first;
	s->crowded = s->queued > 1;
	s->first = NULL;
	s->queued = 0;
	s->last = &s->first;
	*stop = !list && s->closing;
	task_unlock(&s->lock);
	return list;
}

static void store_run(void *arg)
{
	struct store *s = arg;
	bool stop;

	for (;;) {
		struct op *list = take_ops(s, &stop);

		if (stop)
			return;
		run_ops(s, list);
		if (!list) {
			sweep(s, SWEEP_IDLE);
			fold(s);
		}
		task_lock(&s->lock);
		s->at_work = false;
		task_unlock(&s->lock);
		if (!list)
			task_yield();
	}
}

/* ---- a writer that does the work himself ----------------------------------------------------- */

/* Under the lock. False: somebody is at it, or has to be: others are on their way, or likely to be, and one commit shall
 * serve them all. */
static bool begin_alone(struct store *s)
{
	if (s->at_work || s->crowded || s->first || s->sweeping || s->late || s->closing || atomic_load(&s->coming) > 0)
		return false;
	s->at_work = true;
	lap(s, STORE_WAIT);
	return true;
}

/* What would keep the writer waiting is left to the store's task. */
static void work_alone(struct store *s, struct op *op)
{
	bool late;

	run_group(s, &op, 1);
	late = s->engine->fold && !s->engine->fold(s->self, true);
	lap(s, STORE_FOLD);
	atomic_store_explicit(&s->busy_since, 0, memory_order_relaxed);
	task_lock(&s->lock);
	s->at_work = false;
	s->late = late;
	s->crowded = s->first;
	if (s->first || s->sweeping || s->late || s->closing)
		task_signal(&s->work);
	task_unlock(&s->lock);
}

/* ---- callers --------------------------------------------------------------------------------- */

/* Under the lock. False: the store is closing. *wake: the store's task has to be, after the unlock. */
static bool enqueue(struct store *s, struct op *op, bool *wake)
{
	if (s->closing)
		return false;
	*s->last = op;
	s->last = &op->next;
	s->queued++;
	*wake = s->gathering ? atomic_load(&s->coming) <= 0 || s->queued >= GROUP_MAX : !s->at_work;
	return true;
}

static int refuse_closing(struct op *op)
{
	return err_set(op->e, ERR_CANCELED, "the store is closing");
}

/* The fiber that waits is parked: from enqueue() on it may be woken. */
static void enqueue_parked(void *arg)
{
	struct op *op = arg;
	struct store *s = op->store;
	bool leisure = crew_at_leisure(), wake = false, alone, ok;

	task_lock(&s->lock);
	alone = leisure && begin_alone(s);
	ok = alone || enqueue(s, op, &wake);
	task_unlock(&s->lock);
	if (wake)
		task_signal(&s->work);
	if (alone)
		work_alone(s, op);
	if (ok)
		return;
	op->verdict = refuse_closing(op);
	fiber_wake(op->fiber);
}

static int submit(struct store *s, struct op *op)
{
	bool wake = false, alone, ok;

	op->store = s;
	op->fiber = fiber_current();
	if (op->fiber) {
		fiber_park(enqueue_parked, op);
		return op->verdict;
	}
	task_cond_init(&op->wake);
	task_lock(&s->lock);
	alone = begin_alone(s);
	ok = alone || enqueue(s, op, &wake);
	if (wake)
		task_signal(&s->work);
	while (ok && !alone && !op->finished)
		task_wait(&op->wake, &s->lock);
	task_unlock(&s->lock);
	if (alone)
		work_alone(s, op);
	task_cond_fini(&op->wake);
	return ok ? op->verdict : refuse_closing(op);
}

void store_coming(struct store *s, int n)
{
	atomic_fetch_add(&s->coming, n);
}

int store_write(struct store *s, const struct store_write *w, int64_t *ret_revision, struct err *e)
{
	struct op op = { .kind = OP_WRITE, .write = w, .e = e };
	int r;

	if (w->key.n == 0)
		return err_set(e, ERR_BAD_REQUEST, "a store key cannot be empty");
	r = submit(s, &op);
	if (r == 0 && ret_revision)
		*ret_revision = op.done.revision;
	return r;
}

int store_watch(struct store *s, int64_t after, store_on_event *on_event, void *arg, struct err *e)
{
	struct op op = { .kind = OP_WATCH, .revision = after, .on_event = on_event, .arg = arg, .e = e };

	return submit(s, &op);
}

int store_compact(struct store *s, int64_t revision, struct err *e)
{
	struct op op = { .kind = OP_COMPACT, .revision = revision, .e = e };

	if (revision > store_revision(s))
		return err_set(e, ERR_BAD_REQUEST, "cannot compact at revision %" PRId64 ": the newest one is %" PRId64,
			revision, store_revision(s));
	if (revision <= store_compacted(s))
		return 0;
	return submit(s, &op);
}

int store_range(struct store *s, struct str prefix, struct str from_key, int64_t revision,
	bool (*each)(void *arg, const struct store_kv *kv), void *arg, int64_t *ret_revision, struct err *e)
{
	int64_t now = store_revision(s);
	struct range_request rq = {
		.prefix = prefix,
		.from = from_key,
		.revision = revision ? revision : now,
		.each = each,
		.arg = arg,
	};
	int r;

	if (rq.revision > now)
		return err_set(
			e, ERR_TIMEOUT, "Too large resource version: %" PRId64 ", current: %" PRId64, revision, now);
	r = s->engine->range(s->self, &rq, &s->compacted, e);
	if (r == 0 && ret_revision)
		*ret_revision = rq.revision;
	return r;
}

int64_t store_revision(struct store *s)
{
	return atomic_load(&s->revision);
}

int64_t store_compacted(struct store *s)
{
	return atomic_load(&s->compacted);
}

void store_status(struct store *s, struct store_status *ret)
{
	*ret = (struct store_status){
		.revision = store_revision(s),
		.compacted = store_compacted(s),
		.bytes = s->engine->bytes(s->self),
		.commits = atomic_load_explicit(&s->commits, memory_order_relaxed),
		.writes = atomic_load_explicit(&s->writes, memory_order_relaxed),
	};
	snprintf(ret->engine, sizeof(ret->engine), "%s", s->engine->name);
	snprintf(ret->cluster_uid, sizeof(ret->cluster_uid), "%s", s->cluster_uid);
}

enum store_health store_health(struct store *s)
{
	int64_t since = atomic_load_explicit(&s->busy_since, memory_order_relaxed);

	if (since && mono_now().ns - since > HANGS_NS)
		return STORE_HANGS;
	return atomic_load_explicit(&s->full, memory_order_relaxed) ? STORE_FULL : STORE_HEALTHY;
}

void store_times(struct store *s, struct store_times ret[STORE_STAGES_N])
{
	for (int i = 0; i < STORE_STAGES_N; i++)
		stage_read(&s->stages[i], &ret[i]);
	if (s->engine->checkpoints)
		stage_read(s->engine->checkpoints(s->self), &ret[STORE_CHECKPOINT]);
}

struct store *store_new(const struct store_engine *engine, void *take_self, int64_t revision, int64_t compacted,
	const char *cluster_uid)
{
	struct store *s = xcalloc(1, sizeof(*s));

	s->engine = engine;
	s->self = take_self;
	s->last = &s->first;
	s->revision = revision;
	s->compacted = compacted;
	s->sweeping = SWEEP_MORE; /* a compaction that a restart had cut short goes on */
	s->lap = mono_now();
	snprintf(s->cluster_uid, sizeof(s->cluster_uid), "%s", cluster_uid);
	task_mutex_init(&s->lock);
	task_cond_init(&s->work);
	s->task = task_spawn("store", store_run, s);
	return s;
}

struct store *store_close(struct store *s)
{
	if (!s)
		return NULL;
	task_lock(&s->lock);
	s->closing = true;
	task_signal(&s->work);
	task_unlock(&s->lock);
	task_join(s->task);
	s->engine->close(s->self);
	task_cond_fini(&s->work);
	task_mutex_fini(&s->lock);
	free(s);
	return NULL;
}

/* Memory and disk that run out: noticed every ten seconds, told as conditions of the Node, and relieved.
 *
 *   signals ─► below a threshold? ─► DiskPressure: images that nobody uses go first
 *                                └─► one pod at a time is evicted: who uses more than it asked for, by priority, by how
 * much */
#include "node/node_internal.h"
#include <stdio.h>
#include <sys/statvfs.h>

#define LOG_MODULE "node"
#define LOOK_MS 10000
#define HOLD_MS 300000 /* so long a condition stays after its cause is gone */

static const char *const signal_names[SIGNALS] = { "memory.available", "nodefs.available", "nodefs.inodesFree",
	"imagefs.available" };

/* ---- thresholds: "memory.available<100Mi,nodefs.available<10%" ------------------------------- */

static int threshold(struct str part, struct threshold *list, struct err *e)
{
	struct str name, value = str_trim(str_cut(part, '<', &name));
	struct threshold t = { .given = true };
	struct quantity q;
	int64_t percent;
	size_t i = 0;

	while (i < SIGNALS && !str_is(str_trim(name), signal_names[i]))
		i++;
	if (i == SIGNALS)
		return err_set(e, ERR_INVALID,
			"\"%.*s\" is none of memory.available, nodefs.available, nodefs.inodesFree, imagefs.available",
			STR_ARG(name));
	if (str_ends(value, STR("%"))) {
		value.n--;
		if (!str_i64(value, &percent) || percent < 0 || percent > 100)
			return err_set(
				e, ERR_INVALID, "%s: \"%.*s%%\" is not a percentage", signal_names[i], STR_ARG(value));
		t.percent = (int)percent;
	} else if (quantity_parse(value, &q) && q.value >= 0) {
		t.amount = quantity_whole(q);
	} else {
		return err_set(e, ERR_INVALID, "%s: \"%.*s\" is neither an amount nor a percentage", signal_names[i],
			STR_ARG(value));
	}
	list[i] = t;
	return 0;
}

int pressure_thresholds(struct str text, struct threshold ret[SIGNALS], struct err *e)
{
	struct threshold list[SIGNALS] = { 0 };

	for (struct str part, rest = text; str_next(&rest, ',', &part);) {
		int r = str_empty(str_trim(part)) ? 0 : threshold(str_trim(part), list, e);
		if (r < 0)
			return r;
	}
	memcpy(ret, list, sizeof(list));
	return 0;
}

int64_t threshold_amount(const struct threshold *t, int64_t capacity)
{
	return t->percent ? capacity / 100 * t->percent : t->amount;
}

/* ---- what there is --------------------------------------------------------------------------- */

static void look(struct node_agent *n, struct signal_now now[SIGNALS])
{
	struct statvfs v = { 0 };
	struct usage u = { 0 };

	memset(now, 0, sizeof(*now) * SIGNALS);
	if (stats_node(&u))
		now[SIGNAL_MEMORY] = (struct signal_now){ n->mem_bytes - u.mem_set, n->mem_bytes };
	if (statvfs(n->o.data_dir, &v) == 0) {
		int64_t bytes = (int64_t)(v.f_blocks * v.f_frsize), left = (int64_t)(v.f_bavail * v.f_frsize);
		now[SIGNAL_DISK] = now[SIGNAL_IMAGES] = (struct signal_now){ left, bytes };
		now[SIGNAL_INODES] = (struct signal_now){ (int64_t)v.f_ffree, (int64_t)v.f_files };
	}
}

/* SIGNALS: nothing is short. */
static enum signal short_of(const struct threshold t[SIGNALS], const struct signal_now now[SIGNALS], bool memory)
{
	for (int i = 0; i < SIGNALS; i++)
		if ((i == SIGNAL_MEMORY) == memory && t[i].given && now[i].capacity &&
			now[i].left < threshold_amount(&t[i], now[i].capacity))
			return (enum signal)i;
	return SIGNALS;
}

/* ---- whom ------------------------------------------------------------------------------------ */

struct victim {
	struct pod *p; /* own */
	int64_t used, asked, priority;
};

/* a goes rather than b. */
bool pressure_worse(
	int64_t a_used, int64_t a_asked, int64_t a_priority, int64_t b_used, int64_t b_asked, int64_t b_priority)
{
	bool a_over = a_used > a_asked, b_over = b_used > b_asked;

	if (a_over != b_over)
		return a_over;
	if (a_priority != b_priority)
		return a_priority < b_priority;
	return a_used - a_asked > b_used - b_asked;
}

static int64_t asked_of(struct doc *d)
{
	struct resources r;
	bool a, b;

	resources_of_pod(doc_get(d, "spec"), &r, &a, &b);
	return r.mem_request;
}

static bool may_go(struct pod *p, struct doc *d)
{
	bool gone;

	task_lock(&p->n->lock);
	gone = p->gone || p->evicted;
	task_unlock(&p->n->lock);
	return !gone && !val_has(doc_get(d, "metadata.deletionTimestamp")) && !pod_is_over(d) &&
		doc_int(d, "spec.priority", 0) < CRITICAL_PRIORITY &&
		!val_has(val_get(doc_get(d, "metadata.annotations"), NOTE_MIRROR));
}

/* Disk: who uses how much is not known; those with the lowest priority, and the most memory among them, go first. */
static void choose(struct node_agent *n, const struct stats *s, bool memory, struct victim *ret)
{
	for (size_t i = 0; i < s->n; i++) {
		struct pod *p = pod_ref_uid(n, str_c(s->pods[i]->uid));
		auto_(doc_unref) struct doc *d = p ? pod_doc(p) : NULL;
		struct victim v = { .p = p, .used = s->pods[i]->usage.mem_set };
		bool free_to = d && may_go(p, d);
		if (free_to) {
			v.asked = memory ? asked_of(d) : INT64_MAX;
			v.priority = doc_int(d, "spec.priority", 0);
		}
		if (!free_to ||
			(ret->p &&
				!pressure_worse(v.used, v.asked, v.priority, ret->used, ret->asked, ret->priority))) {
			pod_unref(p);
			continue;
		}
		pod_unref(ret->p);
		*ret = v;
	}
}

void pod_evict(struct pod *p, const char *message)
{
	task_lock(&p->n->lock);
	if (!p->evicted)
		p->evicted = xstrdup(message);
	task_unlock(&p->n->lock);
	node_wake_pod(p);
}

static void evict_one(struct node_agent *n, enum signal what, const struct signal_now *now, const struct threshold *t)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_free char *message = NULL;
	struct victim v = { 0 };
	struct stats s;
	struct err e;

	err_init(&e);
	if (stats_collect(n, a, &s, &e) < 0)
		return;
	choose(n, &s, what == SIGNAL_MEMORY, &v);
	if (!v.p)
		return;
	message = xasprintf("The node was low on resource: %s. Threshold quantity: %lldKi, available: %lldKi. The pod "
			    "was using %lldKi of memory, its request is %lldKi.",
		what == SIGNAL_MEMORY         ? "memory" :
			what == SIGNAL_INODES ? "inodes" :
						"ephemeral-storage",
		(long long)threshold_amount(t, now->capacity) / 1024, (long long)now->left / 1024,
		(long long)v.used / 1024, (long long)(v.asked == INT64_MAX ? 0 : v.asked) / 1024);
	log_warn("pod %s/%s is evicted: %s", v.p->ns, v.p->name, message);
	pod_evict(v.p, message);
	pod_unref(v.p);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void note(struct node_agent *n, bool *flag, struct mono *until, bool is_short)
{
	struct mono now = mono_now();
	bool was = *flag;

	if (is_short)
		*until = mono_add_ms(now, HOLD_MS);
	task_lock(&n->lock);
	*flag = is_short || (was && mono_before(now, *until));
	task_unlock(&n->lock);
	if (*flag != was)
		node_status_wake(n);
}

void pressure_run(void *agent)
{
	struct node_agent *n = agent;
	struct mono memory_until = { 0 }, disk_until = { 0 };
	struct signal_now now[SIGNALS];

	do {
		look(n, now);
		enum signal memory = short_of(n->thresholds, now, true), disk = short_of(n->thresholds, now, false);
		note(n, &n->short_of_memory, &memory_until, memory != SIGNALS);
		note(n, &n->short_of_disk, &disk_until, disk != SIGNALS);
		images_collect(n, &now[SIGNAL_IMAGES], disk != SIGNALS);
		if (disk != SIGNALS) { /* did that help? */
			look(n, now);
			disk = short_of(n->thresholds, now, false);
		}
		if (memory != SIGNALS)
			evict_one(n, memory, &now[memory], &n->thresholds[memory]);
		else if (disk != SIGNALS)
			evict_one(n, disk, &now[disk], &n->thresholds[disk]);
		storage_limits_check(n);
		memory_rest(); /* after a burst of pods */
	} while (stop_sleep_ms(n->stop, LOOK_MS));
	node_task_end(n);
}

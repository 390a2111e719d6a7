/* What the files of the horizontal pod autoscaler share: autoscale.c acts, autoscale_decide.c only thinks.
 *
 *     pods, what they use ── autoscale_replicas() ──► as many as the metric asks for
 *     that, and the past  ── autoscale_limit() ─────► as many as there may be now
 *
 * Amounts are thousandths (of a core, of a byte). Times are milliseconds of the monotonic clock unless they say
 * otherwise. */
#pragma once
#include "controllers/controllers_internal.h"

/* ---- a metric -------------------------------------------------------------------------------- */

enum pod_use {
	USE_NONE,    /* going or failed: not looked at */
	USE_UNREADY, /* not ready to be measured: uses nothing when pods are added */
	USE_MISSING, /* not measured: the worst is assumed */
	USE_MEASURED,
};
struct pod_usage {
	enum pod_use use;
	int64_t usage, request;
};
struct sample { /* wall clock */
	bool there;
	int64_t at_ns, window_ns;
};
enum pod_use autoscale_use(const struct doc *pod, bool cpu, struct sample s, struct wall now);

struct metric_target {
	bool percent; /* value is a percentage of the requests; otherwise so much for each pod */
	int64_t value;
	double up, down; /* parts by which the ratio may differ without anything being done */
};
struct metric_answer {
	int64_t replicas, percent, average;
};
/* false: *why is a sentence. */
bool autoscale_replicas(const struct pod_usage *pods, size_t n, struct metric_target t, int64_t current,
	struct metric_answer *ret, const char **why);

/* ---- the past -------------------------------------------------------------------------------- */

struct note {
	int64_t at_ms, n;
};
struct notes {
	struct note *items;
	size_t n, cap;
};
struct history {
	struct notes wishes, ups, downs; /* what metrics asked for; pods added and removed */
};
void history_scaled(struct history *h, struct val behavior, int64_t from, int64_t to, int64_t now_ms);
struct history *history_free(struct history *h);

struct limits {
	struct val behavior; /* spec.behavior; missing: upstream's ways without one */
	int64_t least, most;
};
struct verdict {
	int64_t replicas;
	const char *able_reason, *able_message; /* AbleToScale */
	bool limited;                           /* ScalingLimited */
	const char *limit_reason, *limit_message;
};
/* Notes the wish. */
struct verdict autoscale_limit(struct history *h, struct limits l, int64_t current, int64_t wished, int64_t now_ms);

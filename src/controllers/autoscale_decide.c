/* The thinking of the autoscaler: arithmetic over pods, and rules over the past. */
#include "controllers/autoscale.h"

#include <math.h>

#define INITIALIZATION_NS (INT64_C(300) * 1000000000) /* a pod's first minutes, in which its use says little */
#define READINESS_NS (INT64_C(30) * 1000000000)
#define DOWN_WINDOW_S 300
#define UP_FACTOR 2 /* without a behavior: twice as many, or four */
#define UP_LEAST 4
#define HISTORY_S 3600

/* ---- a metric -------------------------------------------------------------------------------- */

static bool is_settled(const struct doc *pod, struct sample s, struct wall now)
{
	struct val ready = condition_of(doc_root(pod), "Ready");
	bool unready = val_is(val_get(ready, "status"), "False");
	struct wall start, since = { 0 };

	if (!val_has(ready) || !wall_parse(doc_str(pod, "status.startTime"), &start))
		return false;
	wall_parse(val_str(val_get(ready, "lastTransitionTime")), &since);
	if (start.ns + INITIALIZATION_NS > now.ns)
		return !unready && s.at_ns >= since.ns + s.window_ns;
	return !unready || start.ns + READINESS_NS <= since.ns;
}

enum pod_use autoscale_use(const struct doc *pod, bool cpu, struct sample s, struct wall now)
{
	struct str phase = doc_str(pod, "status.phase");

	if (is_deleting(pod) || str_is(phase, "Failed"))
		return USE_NONE;
	if (str_is(phase, "Pending"))
		return USE_UNREADY;
	if (!s.there)
		return USE_MISSING;
	return !cpu || is_settled(pod, s, now) ? USE_MEASURED : USE_UNREADY;
}

struct sum {
	int64_t usage, request, n;
};

static double ratio_of(struct sum s, struct metric_target t)
{
	return t.percent ? (double)(s.usage * 100 / s.request) / (double)t.value :
			   (double)(s.usage / s.n) / (double)t.value;
}

static bool within(double ratio, struct metric_target t)
{
	return 1.0 - t.down <= ratio && ratio <= 1.0 + t.up;
}

/* Of those not measured: nothing when there would be more pods, as much as they may when there would be fewer. */
static void assume(struct sum *s, const struct pod_usage *p, struct metric_target t, double ratio)
{
	bool counts = p->use == USE_MISSING || (p->use == USE_UNREADY && ratio > 1.0);

	if (!counts)
		return;
	s->n++;
	s->request += p->request;
	if (p->use == USE_MISSING && ratio < 1.0)
		s->usage += t.percent ? p->request * MAX(t.value, INT64_C(100)) / 100 : t.value;
}

bool autoscale_replicas(const struct pod_usage *pods, size_t n, struct metric_target t, int64_t current,
	struct metric_answer *ret, const char **why)
{
	struct sum s = { 0 };
	int64_t missing = 0, unready = 0, replicas;
	double first, again;

	for (size_t i = 0; i < n; i++) {
		missing += pods[i].use == USE_MISSING;
		unready += pods[i].use == USE_UNREADY;
		if (pods[i].use != USE_MEASURED)
			continue;
		s.usage += pods[i].usage;
		s.request += pods[i].request;
		s.n++;
	}
	*why = !s.n ? "did not receive metrics for targeted pods (pods might be unready)" :
		      "no metrics returned matched known pods";
	if (!s.n || (t.percent && !s.request))
		return false;
	first = ratio_of(s, t);
	*ret = (struct metric_answer){ current, t.percent ? s.usage * 100 / s.request : 0, s.usage / s.n };
	if (!missing && !(unready && first > 1.0)) {
		ret->replicas = within(first, t) ? current : (int64_t)ceil(first * (double)s.n);
		return true;
	}
	for (size_t i = 0; i < n; i++)
		assume(&s, &pods[i], t, first);
	again = t.percent && !s.request ? 1.0 : ratio_of(s, t);
	replicas = (int64_t)ceil(again * (double)s.n);
	/* what is assumed never turns the direction */
	if (!within(again, t) && (first < 1.0) == (again < 1.0) &&
		(again < 1.0 ? replicas <= current : replicas >= current))
		ret->replicas = replicas;
	return true;
}

/* ---- the past -------------------------------------------------------------------------------- */

static void note(struct notes *l, int64_t now_ms, int64_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++)
		if (now_ms - l->items[i].at_ms <= HISTORY_S * INT64_C(1000))
			l->items[kept++] = l->items[i];
	l->n = kept;
	GROW(l->items, l->n, l->cap, 8);
	l->items[l->n++] = (struct note){ now_ms, n };
}

void history_scaled(struct history *h, struct val behavior, int64_t from, int64_t to, int64_t now_ms)
{
	if (!val_has(behavior))
		return;
	if (to > from)
		note(&h->ups, now_ms, to - from);
	else
		note(&h->downs, now_ms, from - to);
}

struct history *history_free(struct history *h)
{
	if (!h)
		return NULL;
	free(h->wishes.items);
	free(h->ups.items);
	free(h->downs.items);
	free(h);
	return NULL;
}

static int64_t changed_within(const struct notes *l, int64_t seconds, int64_t now_ms)
{
	int64_t sum = 0;

	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].at_ms > now_ms - seconds * 1000)
			sum += l->items[i].n;
	return sum;
}

/* The least (or most) that was wished for within so many seconds, and now. */
static int64_t extreme_wish(const struct history *h, bool least, int64_t seconds, int64_t wished, int64_t now_ms)
{
	for (size_t i = 0; i < h->wishes.n; i++) {
		struct note w = h->wishes.items[i];

		if (w.at_ms > now_ms - seconds * 1000)
			wished = least ? MIN(wished, w.n) : MAX(wished, w.n);
	}
	return wished;
}

static int64_t stabilize(struct history *h, struct limits l, int64_t current, int64_t wished, int64_t now_ms)
{
	int64_t up_s = val_int(val_path(l.behavior, "scaleUp.stabilizationWindowSeconds"), 0);
	int64_t down_s = val_int(val_path(l.behavior, "scaleDown.stabilizationWindowSeconds"), DOWN_WINDOW_S);
	int64_t least, most;

	if (!h->wishes.n)
		note(&h->wishes, now_ms - 1, current);
	least = extreme_wish(h, true, up_s, wished, now_ms);
	most = extreme_wish(h, false, down_s, wished, now_ms);
	note(&h->wishes, now_ms, wished);
	if (!val_has(l.behavior))
		return most;
	return MIN(MAX(current, least), most);
}

/* How many pods a direction's policies let there be. */
static int64_t policies_allow(const struct history *h, struct val rules, bool up, int64_t current, int64_t now_ms)
{
	bool smallest = val_is(val_get(rules, "selectPolicy"), "Min"), want_most = up != smallest, any = false;
	int64_t ret = current;

	if (val_is(val_get(rules, "selectPolicy"), "Disabled"))
		return current;
	for (struct val_iter it = val_iter(val_get(rules, "policies")); val_next(&it);) {
		int64_t period = val_int(val_get(it.val, "periodSeconds"), 0),
			value = val_int(val_get(it.val, "value"), 0), n;
		int64_t before =
			current - changed_within(&h->ups, period, now_ms) + changed_within(&h->downs, period, now_ms);

		if (val_is(val_get(it.val, "type"), "Percent"))
			n = up ? (int64_t)ceil((double)before * (1.0 + (double)value / 100)) :
				 (int64_t)((double)before * (1.0 - (double)value / 100));
		else
			n = up ? before + value : before - value;
		ret = !any ? n : want_most ? MAX(ret, n) : MIN(ret, n);
		any = true;
	}
	return ret;
}

static int64_t may_grow_to(const struct history *h, struct limits l, int64_t current, int64_t now_ms)
{
	if (!val_has(l.behavior))
		return MAX(current * UP_FACTOR, (int64_t)UP_LEAST);
	return MAX(policies_allow(h, val_get(l.behavior, "scaleUp"), true, current, now_ms), current);
}

static int64_t may_shrink_to(const struct history *h, struct limits l, int64_t current, int64_t now_ms)
{
	if (!val_has(l.behavior))
		return 0;
	return MIN(policies_allow(h, val_get(l.behavior, "scaleDown"), false, current, now_ms), current);
}

static void limit(struct verdict *v, int64_t to, const char *reason, const char *message)
{
	v->limited = true;
	v->replicas = to;
	v->limit_reason = reason;
	v->limit_message = message;
}

static void keep_within(struct verdict *v, const struct history *h, struct limits l, int64_t current, int64_t now_ms)
{
	int64_t top = v->replicas > current || !val_has(l.behavior) ? may_grow_to(h, l, current, now_ms) : INT64_MAX;
	int64_t bottom = v->replicas < current ? may_shrink_to(h, l, current, now_ms) : 0;

	if (v->replicas > MIN(top, l.most))
		limit(v, MIN(top, l.most), l.most > top ? "ScaleUpLimit" : "TooManyReplicas",
			l.most > top ? "the desired replica count is increasing faster than the maximum scale rate" :
				       "the desired replica count is more than the maximum replica count");
	else if (v->replicas < MAX(bottom, l.least))
		limit(v, MAX(bottom, l.least), l.least < bottom ? "ScaleDownLimit" : "TooFewReplicas",
			l.least < bottom ?
				"the desired replica count is decreasing faster than the maximum scale rate" :
				"the desired replica count is less than the minimum replica count");
}

struct verdict autoscale_limit(struct history *h, struct limits l, int64_t current, int64_t wished, int64_t now_ms)
{
	int64_t stable = stabilize(h, l, current, wished, now_ms);
	struct verdict v = { stable, "ReadyForNewScale", "recommended size matches current size", false,
		"DesiredWithinRange", "the desired count is within the acceptable range" };

	if (stable != wished && wished >= current && val_has(l.behavior)) {
		v.able_reason = "ScaleUpStabilized";
		v.able_message =
			"recent recommendations were lower than current one, applying the lowest recent recommendation";
	} else if (stable != wished) {
		v.able_reason = "ScaleDownStabilized";
		v.able_message = "recent recommendations were higher than current one, applying the highest recent "
				 "recommendation";
	}
	keep_within(&v, h, l, current, now_ms);
	return v;
}

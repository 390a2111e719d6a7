/* Events, in the two groups that serve them. The newer is strict about what is new and about what may change; the older
 * takes what it always took. Paths are those of upstream's internal type, which has the older names. */
#include "api/api_internal.h"

#define WORDS_MAX 128
#define NOTE_MAX 1024

/* Of rq's form. */
static struct val field(const struct rq *rq, struct val o, const char *older, const char *newer)
{
	return val_get(o, rq->res->def.group[0] ? newer : older);
}

/* Not there, or what Go's zero value is. */
static bool is_zero(struct val v)
{
	switch (val_kind(v)) {
	case VAL_STR:
		return !val_str(v).n;
	case VAL_INT:
		return !val_int(v, 0);
	case VAL_MAP:
	case VAL_LIST:
		return !val_len(v);
	default:
		return !val_has(v) || val_kind(v) == VAL_NULL;
	}
}

static void at_most(struct rq *rq, struct str word, const char *at, size_t max, struct err *e)
{
	if (word.n > max)
		v_invalid_str(e, at, STR(""), rq_f(rq, "can have at most %zu characters", max));
}

/* An event stands in the namespace of what it is about. */
static void about_validate(struct rq *rq, struct val o, bool timed, struct err *e)
{
	struct str ns = val_str(val_path(o, "metadata.namespace")),
		   about = val_str(val_get(field(rq, o, "involvedObject", "regarding"), "namespace"));
	bool wrong = about.n ? !timed && !str_eq(about, ns) :
			       ns.n && !str_is(ns, "default") && !(timed && str_is(ns, "kube-system"));

	if (wrong)
		v_invalid_str(e, "involvedObject.namespace", about, "does not match event.namespace");
}

/* What whoever tells a time has to tell, too. */
static void timed_validate(struct rq *rq, struct val o, struct err *e)
{
	struct str controller = val_str(field(rq, o, "reportingComponent", "reportingController")),
		   instance = val_str(val_get(o, "reportingInstance")), action = val_str(val_get(o, "action")),
		   reason = val_str(val_get(o, "reason"));
	const char *at = rq->res->def.group[0] ? "reportingController" : "reportingComponent";

	if (!controller.n)
		v_required(e, at, "");
	validate_qualified(e, at, controller);
	if (!instance.n)
		v_required(e, "reportingInstance", "");
	at_most(rq, instance, "reportingInstance", WORDS_MAX, e);
	if (!action.n)
		v_required(e, "action", "");
	at_most(rq, action, "action", WORDS_MAX, e);
	if (!reason.n)
		v_required(e, "reason", "");
	at_most(rq, reason, "reason", WORDS_MAX, e);
	at_most(rq, val_str(field(rq, o, "message", "note")), "message", NOTE_MAX, e);
}

static void series_validate(struct val series, struct err *e)
{
	if (!val_has(series))
		return;
	if (val_int(val_get(series, "count"), 0) < 2)
		v_invalid_str(e, "series.count", STR(""), "should be at least 2");
	if (is_zero(val_get(series, "lastObservedTime")))
		v_required(e, "series.lastObservedTime", "");
}

static void strict_validate(struct rq *rq, struct val o, struct err *e)
{
	static const char *const unset[][2] = { { "deprecatedFirstTimestamp", "firstTimestamp" },
		{ "deprecatedLastTimestamp", "lastTimestamp" }, { "deprecatedCount", "count" },
		{ "deprecatedSource", "source" } };
	struct str type = val_str(val_get(o, "type"));

	series_validate(val_get(o, "series"), e);
	if (is_zero(val_get(o, "eventTime")))
		v_required(e, "eventTime", "");
	if (!str_is(type, "Normal") && !str_is(type, "Warning"))
		v_invalid_str(e, "type", STR(""), rq_f(rq, "has invalid value: %.*s", STR_ARG(type)));
	for (size_t i = 0; i < ARRAY_LEN(unset); i++)
		if (!is_zero(val_get(o, unset[i][0])))
			v_invalid_str(e, unset[i][1], STR(""), "needs to be unset");
}

/* All but the series and the note: upstream's suite of 1.20 changes that, as its server compared an event with itself. */
static void changes_validate(struct val o, struct val old, struct err *e)
{
	static const char *const fixed[][2] = { { "regarding", "involvedObject" }, { "reason", "reason" },
		{ "deprecatedSource", "source" }, { "deprecatedFirstTimestamp", "firstTimestamp" },
		{ "deprecatedLastTimestamp", "lastTimestamp" }, { "deprecatedCount", "count" }, { "type", "type" },
		{ "eventTime", "eventTime" }, { "action", "action" }, { "related", "related" },
		{ "reportingController", "reportingController" }, { "reportingInstance", "reportingInstance" } };

	if (!val_equal(val_get(o, "series"), val_get(old, "series")))
		series_validate(val_get(o, "series"), e);
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		struct val now = val_get(o, fixed[i][0]), was = val_get(old, fixed[i][0]);

		if (!is_zero(now) || !is_zero(was))
			validate_immutable(e, fixed[i][1], now, was);
	}
}

static void event_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	bool timed = !is_zero(val_get(o, "eventTime"));

	about_validate(rq, o, timed, e);
	if (timed)
		timed_validate(rq, o, e);
	if (rq->res->def.group[0] && !val_has(old))
		strict_validate(rq, o, e);
	else if (rq->res->def.group[0])
		changes_validate(o, old, e);
}

const struct strategy strategy_event = { .validate = event_validate, .create_on_update = true };

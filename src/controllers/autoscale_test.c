/* The thinking of the autoscaler, row by row. */
#include "controllers/autoscale.h"
#include "doc/doc_fixture.h"

#define M(usage)                         \
	{                                \
		USE_MEASURED, usage, 100 \
	}
#define GONE                       \
	{                          \
		USE_NONE, 900, 100 \
	}
#define UNREADY                       \
	{                             \
		USE_UNREADY, 900, 100 \
	}
#define MISSING                     \
	{                           \
		USE_MISSING, 0, 100 \
	}
#define END                     \
	{                       \
		USE_NONE, -1, 0 \
	}

static void how_many_a_metric_asks_for(void **state)
{
	static const struct {
		const char *what;
		struct pod_usage pods[6];
		bool percent;
		int64_t value, current, replicas; /* replicas -1: none can be said */
	} rows[] = {
		{ "twice the target, twice the pods", { M(100), M(100), END }, true, 50, 2, 4 },
		{ "rounded up", { M(60), M(61), M(60), END }, true, 50, 3, 4 },
		{ "half the target", { M(20), M(30), M(25), M(25), END }, true, 50, 4, 2 },
		{ "a tenth more is put up with", { M(55), M(55), END }, true, 50, 2, 2 },
		{ "more is not", { M(56), M(56), END }, true, 50, 2, 3 },
		{ "a tenth less is put up with", { M(45), M(45), END }, true, 50, 2, 2 },
		{ "so much for each pod", { M(300), M(500), END }, false, 200, 2, 4 },
		{ "who goes or failed is not looked at", { M(100), GONE, END }, true, 50, 1, 2 },
		{ "who is not ready uses nothing when pods are added", { M(100), M(100), UNREADY, UNREADY, END }, true,
			40, 4, 5 },
		{ "and keeps the number if that turns the direction", { M(100), UNREADY, UNREADY, END }, true, 50, 3,
			3 },
		{ "who is not ready does not count when pods go", { M(10), M(10), UNREADY, END }, true, 50, 3, 1 },
		{ "who is not measured uses all it asked for when pods go", { M(10), M(10), M(10), MISSING, END }, true,
			50, 4, 3 },
		{ "and the target when that is so much for each pod", { M(10), M(10), MISSING, END }, false, 50, 3, 2 },
		{ "and nothing when pods are added", { M(300), M(300), MISSING, END }, true, 100, 3, 6 },
		{ "nobody is measured", { MISSING, UNREADY, END }, true, 50, 2, -1 },
		{ "nobody is there", { END }, true, 50, 2, -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct metric_target t = { rows[i].percent, rows[i].value, 0.1, 0.1 };
		struct metric_answer answer = { 0 };
		const char *why = NULL;
		size_t n = 0;
		bool ok;

		while (rows[i].pods[n].usage >= 0)
			n++;
		ok = autoscale_replicas(rows[i].pods, n, t, rows[i].current, &answer, &why);
		if (ok != (rows[i].replicas >= 0) || (ok && answer.replicas != rows[i].replicas))
			fail_msg("%s: %lld", rows[i].what, (long long)answer.replicas);
	}
}

static void who_is_measured(void **state)
{
	/* now is 10:20:00; a sample is 10 s old and speaks of 10 s */
	static const struct {
		const char *pod;
		bool cpu, there;
		enum pod_use use;
	} rows[] = {
		{ "{metadata: {deletionTimestamp: '2025-01-01T10:00:00Z'}, status: {phase: Running}}", false, true,
			USE_NONE },
		{ "{status: {phase: Failed}}", false, true, USE_NONE },
		{ "{status: {phase: Pending}}", false, false, USE_UNREADY },
		{ "{status: {phase: Running}}", false, false, USE_MISSING },
		{ "{status: {phase: Running}}", false, true, USE_MEASURED },
		{ "{status: {phase: Running}}", true, true, USE_UNREADY },
		{ "{status: {phase: Running, startTime: '2025-01-01T10:00:00Z', conditions: [{type: Ready, status: "
		  "'True', lastTransitionTime: '2025-01-01T10:00:05Z'}]}}",
			true, true, USE_MEASURED },
		/* in its first minutes: what was measured before it was ready does not count */
		{ "{status: {phase: Running, startTime: '2025-01-01T10:19:00Z', conditions: [{type: Ready, status: "
		  "'True', lastTransitionTime: '2025-01-01T10:19:45Z'}]}}",
			true, true, USE_UNREADY },
		{ "{status: {phase: Running, startTime: '2025-01-01T10:19:00Z', conditions: [{type: Ready, status: "
		  "'True', lastTransitionTime: '2025-01-01T10:19:30Z'}]}}",
			true, true, USE_MEASURED },
		/* later: one that has never been ready does not count, one that was does */
		{ "{status: {phase: Running, startTime: '2025-01-01T10:00:00Z', conditions: [{type: Ready, status: "
		  "'False', lastTransitionTime: '2025-01-01T10:00:05Z'}]}}",
			true, true, USE_UNREADY },
		{ "{status: {phase: Running, startTime: '2025-01-01T10:00:00Z', conditions: [{type: Ready, status: "
		  "'False', lastTransitionTime: '2025-01-01T10:15:00Z'}]}}",
			true, true, USE_MEASURED },
	};
	struct wall now;

	(void)state;
	assert_true(wall_parse(STR("2025-01-01T10:20:00Z"), &now));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(doc_unref) struct doc *pod = yaml_doc(rows[i].pod);
		struct sample s = { rows[i].there, now.ns - INT64_C(10000000000), INT64_C(10000000000) };

		if (autoscale_use(pod, rows[i].cpu, s, now) != rows[i].use)
			fail_msg("row %zu", i);
	}
}

/* Steps of one autoscaler: at a second, with so many pods, so many are wished for; so many there may be. */
struct step {
	int64_t at_s, current, wished, replicas;
	const char *able, *limit;
};

static void play(const char *behavior, int64_t least, int64_t most, const struct step *steps)
{
	auto_(doc_unref) struct doc *d = behavior ? yaml_doc(behavior) : NULL;
	struct limits l = { d ? doc_root(d) : VAL_NONE, least, most };
	struct history *h = xcalloc(1, sizeof(*h));

	for (const struct step *s = steps; s->able; s++) {
		struct verdict v = autoscale_limit(h, l, s->current, s->wished, s->at_s * 1000);

		if (v.replicas != s->replicas || strcmp(v.able_reason, s->able) || strcmp(v.limit_reason, s->limit) ||
			v.limited != (strcmp(s->limit, "DesiredWithinRange") != 0))
			fail_msg("at %lld s: %lld, %s, %s", (long long)s->at_s, (long long)v.replicas, v.able_reason,
				v.limit_reason);
		if (v.replicas != s->current)
			history_scaled(h, l.behavior, s->current, v.replicas, s->at_s * 1000);
	}
	history_free(h);
}

#define READY "ReadyForNewScale"
#define UP "ScaleUpStabilized"
#define DOWN "ScaleDownStabilized"
#define FINE "DesiredWithinRange"

static void without_a_behavior(void **state)
{
	(void)state;
	play(NULL, 2, 10,
		(const struct step[]){
			{ 1000, 2, 9, 4, READY, "ScaleUpLimit" },
			{ 1015, 4, 9, 8, READY, "ScaleUpLimit" },
			{ 1030, 8, 30, 10, READY, "TooManyReplicas" },
			/* what was wished for within five minutes holds */
			{ 1045, 10, 3, 10, DOWN, "TooManyReplicas" },
			{ 1340, 10, 3, 3, READY, FINE },
			{ 1355, 3, 1, 3, DOWN, FINE },
			{ 1700, 3, 1, 2, READY, "TooFewReplicas" },
			{ 0 },
		});
}

static void with_a_behavior(void **state)
{
	(void)state;
	play("{scaleUp: {stabilizationWindowSeconds: 0, selectPolicy: Max, policies: [{type: Pods, value: 4, "
	     "periodSeconds: 60}, {type: Percent, value: 50, periodSeconds: 60}]}, "
	     "scaleDown: {stabilizationWindowSeconds: 60, selectPolicy: Min, policies: [{type: Pods, value: 1, "
	     "periodSeconds: 60}, {type: Percent, value: 50, periodSeconds: 60}]}}",
		1, 100,
		(const struct step[]){
			{ 1000, 2, 50, 6, READY, "ScaleUpLimit" },
			{ 1015, 6, 50, 6, READY, "ScaleUpLimit" }, /* four were added within the minute */
			{ 1061, 6, 50, 10, READY, "ScaleUpLimit" },
			{ 1122, 10, 50, 15, READY, "ScaleUpLimit" },
			{ 1130, 15, 5, 15, DOWN, FINE },
			{ 1200, 15, 5, 14, READY, "ScaleDownLimit" },
			{ 1215, 14, 5, 14, READY, "ScaleDownLimit" },
			{ 1261, 14, 5, 13, READY, "ScaleDownLimit" },
			{ 0 },
		});
	play("{scaleUp: {stabilizationWindowSeconds: 120, selectPolicy: Disabled}, scaleDown: "
	     "{stabilizationWindowSeconds: 0, selectPolicy: Max, policies: [{type: Percent, value: 100, periodSeconds: "
	     "15}]}}",
		1, 100,
		(const struct step[]){
			{ 1000, 4, 8, 4, UP, FINE },
			{ 1200, 4, 8, 4, READY, "ScaleUpLimit" },
			{ 1215, 4, 1, 1, READY, FINE },
			{ 0 },
		});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(how_many_a_metric_asks_for),
		cmocka_unit_test(who_is_measured),
		cmocka_unit_test(without_a_behavior),
		cmocka_unit_test(with_a_behavior),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The pods that wait, without a scheduler. */
#include "doc/doc_fixture.h"
#include "scheduler/scheduler_internal.h"
#include <stdio.h>

static struct doc *pod(const char *uid, int priority, const char *more)
{
	char text[512];

	snprintf(text, sizeof(text), "{metadata: {name: %s, uid: %s}, spec: {priority: %d, %s}}", uid, uid, priority,
		more);
	return yaml_doc(text);
}

static void put(struct waiting *w, const char *uid, int priority, const char *more)
{
	auto_(doc_unref) struct doc *d = pod(uid, priority, more);

	waiting_put(w, d);
}

static struct mono at(int64_t ms)
{
	return mono_add_ms((struct mono){ 0 }, ms);
}

static void pops(struct waiting *w, int64_t ms, const char *uid)
{
	struct pending *p = waiting_pop(w, at(ms));

	if (!uid) {
		assert_null(p);
		return;
	}
	assert_non_null(p);
	assert_true(str_is(doc_uid(p->pod), uid));
}

static unsigned bit_of(const char *plugin)
{
	for (size_t i = 0; i < plugins_n; i++)
		if (!strcmp(plugins[i].name, plugin))
			return 1u << i;
	fail();
	return 0;
}

static void priority_then_arrival(void **state)
{
	struct waiting w;

	(void)state;
	waiting_init(&w);
	put(&w, "low", 0, "");
	put(&w, "first", 5, "");
	put(&w, "second", 5, "");
	put(&w, "high", 9, "");
	pops(&w, 0, "high");
	pops(&w, 0, "first");
	waiting_forget(&w, STR("second"));
	pops(&w, 0, "low");
	pops(&w, 0, NULL);
	waiting_fini(&w);
}

static void parked_until_something_helps(void **state)
{
	struct waiting w;

	(void)state;
	waiting_init(&w);
	put(&w, "p", 0, "");
	pops(&w, 0, "p");
	waiting_park(&w, waiting_find(&w, STR("p")), bit_of("NodeResourcesFit"), at(0));
	waiting_happened(&w, NODE_LABELS, at(1000)); /* no help for who lacks room */
	pops(&w, 1000, NULL);
	waiting_happened(&w, POD_GONE, at(1000));
	pops(&w, 1000, "p");
	waiting_park(&w, waiting_find(&w, STR("p")), bit_of("NodeResourcesFit"), at(1000));
	pops(&w, 300999, NULL);
	pops(&w, 301000, "p"); /* nothing is parked for ever */
	waiting_fini(&w);
}

static void waits_twice_as_long_after_each_failure(void **state)
{
	static const int64_t waits[] = { 50, 100, 200, 400 };
	struct waiting w;
	int64_t now = 0;

	(void)state;
	waiting_init(&w);
	put(&w, "p", 0, "");
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		pops(&w, now, "p");
		waiting_retry(&w, waiting_find(&w, STR("p")), at(now));
		pops(&w, now + waits[i] - 1, NULL);
		now += waits[i];
		assert_int_equal(waiting_next(&w).ns, at(now).ns);
	}
	waiting_fini(&w);
}

static void helped_while_out(void **state)
{
	struct waiting w;

	(void)state;
	waiting_init(&w);
	put(&w, "p", 0, "");
	pops(&w, 0, "p");
	put(&w, "p", 0, "nodeSelector: {a: b}"); /* changed while it was being looked at */
	waiting_park(&w, waiting_find(&w, STR("p")), 1, at(0));
	pops(&w, 50, "p");
	waiting_fini(&w);
}

static void gates(void **state)
{
	struct waiting w;

	(void)state;
	waiting_init(&w);
	put(&w, "p", 0, "schedulingGates: [{name: g}]");
	pops(&w, 0, NULL);
	assert_int_equal(w.gated, 1);
	put(&w, "p", 0, "");
	assert_int_equal(w.gated, 0);
	pops(&w, 0, "p");
	waiting_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(priority_then_arrival),
		cmocka_unit_test(parked_until_something_helps),
		cmocka_unit_test(waits_twice_as_long_after_each_failure),
		cmocka_unit_test(helped_while_out),
		cmocka_unit_test(gates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

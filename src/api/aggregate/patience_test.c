/* Who may ask other servers, and who is told to come back, under virtual time. */
#include "api/aggregate/aggregate.h"
#include "base/test.h"

static struct patience_place *enter(struct patience *p, const char *server)
{
	struct patience_place *place = NULL;
	struct err e;

	err_init(&e);
	int rc = patience_enter(p, str_c(server), &place, &e);
	assert_int_equal(rc, place ? 0 : -ERR_UNAVAILABLE);
	return place;
}

static void leave(struct patience *p, const char *server, struct patience_place *place, bool failed)
{
	patience_leave(p, str_c(server), place, failed);
}

static void servers_hang(void *arg)
{
	auto_(patience_free) struct patience *p = patience_new();
	struct patience_place *a = enter(p, "ill"), *b = enter(p, "ill"), *c;

	assert_non_null(a);
	assert_non_null(b);
	struct mono began = mono_now();
	assert_null(enter(p, "other")); /* waits as long as a server that is well would take */
	assert_true(mono_ms_between(began, mono_now()) >= 1000);
	began = mono_now();
	assert_null(enter(p, "other")); /* the two have waited longer: not behind them */
	assert_true(mono_ms_between(began, mono_now()) < 100);

	task_sleep_ms(9000);
	leave(p, "ill", a, true);
	assert_null(enter(p, "ill"));
	c = enter(p, "other"); /* that one is not ill */
	assert_non_null(c);
	leave(p, "other", c, true); /* said no at once: no reason to wait */
	leave(p, "other", enter(p, "other"), false);
	leave(p, "ill", b, true);
	assert_null(enter(p, "ill"));
	task_sleep_ms(10001);
	a = enter(p, "ill");
	assert_non_null(a);
	task_sleep_ms(9000);
	leave(p, "ill", a, false); /* slow is not silent */
	leave(p, "ill", enter(p, "ill"), false);
	*(bool *)arg = true;
}

struct crowd {
	struct patience *p;
	int most, now, done;
};

static void ask(void *arg)
{
	struct crowd *c = arg;

	for (int i = 0; i < 20; i++) {
		struct patience_place *place = enter(c->p, "well");

		assert_non_null(place);
		c->most = MAX(c->most, ++c->now);
		task_sleep_ms(5);
		c->now--;
		leave(c->p, "well", place, false);
	}
	c->done++;
}

static void servers_are_well(void *arg)
{
	auto_(patience_free) struct patience *p = patience_new();
	struct crowd *c = arg;
	struct task *t[4];

	c->p = p;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		t[i] = task_spawn("ask", ask, c);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		t[i] = task_join(t[i]);
}

static void who_hangs_is_left_alone(void **state)
{
	bool done = false;

	task_sim_run(1, 600000, servers_hang, &done);
	assert_true(done);
}

static void who_is_well_answers_everybody(void **state)
{
	struct crowd c = { 0 };

	task_sim_run(2, 600000, servers_are_well, &c);
	assert_int_equal(c.done, 4);
	assert_int_equal(c.most, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_hangs_is_left_alone),
		cmocka_unit_test(who_is_well_answers_everybody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

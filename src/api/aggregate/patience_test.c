/* Who may ask other servers, and who is told to come back, under virtual time. */
#include "api/aggregate/aggregate.h"
#include "base/test.h"
#include <stdio.h>

static struct patience_place *enter(struct patience *p, const char *server)
{
	struct patience_place *place = NULL;
	struct err e;

	err_init(&e);
	int rc = patience_enter(p, str_c(server), &place, &e);
	assert_int_equal(rc, place ? 0 : -ERR_UNAVAILABLE);
	return place;
}

static void leave(struct patience *p, struct patience_place *place, bool failed)
{
	assert_non_null(place);
	patience_leave(p, place, failed);
}

static int64_t refused_after_ms(struct patience *p, const char *server)
{
	struct mono began = mono_now();

	assert_null(enter(p, server));
	return mono_ms_between(began, mono_now());
}

/* One server hangs, of the first call on. */
static void one_hangs(void *arg)
{
	auto_(patience_free) struct patience *p = patience_new();
	struct patience_place *ill = enter(p, "ill");

	assert_in_range(refused_after_ms(p, "ill"), 1000, 1001); /* as long as a server that is well would take */
	assert_in_range(refused_after_ms(p, "ill"), 0, 0);       /* nor behind whom has waited that long */
	leave(p, enter(p, "other"), true);                       /* said no at once: no reason to wait */
	leave(p, enter(p, "other"), false);
	task_sleep_ms(9000);
	leave(p, ill, true);
	assert_in_range(refused_after_ms(p, "ill"), 0, 0);
	task_sleep_ms(10001);
	ill = enter(p, "ill");
	task_sleep_ms(9000);
	leave(p, ill, false); /* slow is not silent */
	leave(p, enter(p, "ill"), false);
	*(bool *)arg = true;
}

/* More hang than there are places. */
static void many_hang(void *arg)
{
	auto_(patience_free) struct patience *p = patience_new();
	struct patience_place *a = enter(p, "a"), *b = enter(p, "b"), *c;

	leave(p, enter(p, "well"), false); /* two that hang leave a place */
	c = enter(p, "c");
	assert_in_range(refused_after_ms(p, "well"), 1000, 1001); /* three that had all answered before do not */
	task_sleep_ms(9000);
	leave(p, a, true);
	leave(p, b, true);
	leave(p, c, true);
	task_sleep_ms(10001);
	a = enter(p, "a");
	b = enter(p, "b");
	task_sleep_ms(1000);
	assert_null(enter(p, "c")); /* did not answer: the last place is for those that do */
	leave(p, enter(p, "well"), false);
	leave(p, a, false);
	c = enter(p, "c");
	leave(p, enter(p, "a"), false); /* that one does again */
	leave(p, b, true);
	leave(p, c, true);
	*(bool *)arg = true;
}

/* Whoever was doubted long ago is forgotten for newer ones. */
static void crowds_hang(void *arg)
{
	auto_(patience_free) struct patience *p = patience_new();

	for (int i = 0; i < 65; i++) {
		char name[12];

		snprintf(name, sizeof(name), "%d", i);
		struct patience_place *place = enter(p, name);
		task_sleep_ms(5000);
		leave(p, place, true);
	}
	struct patience_place *a = enter(p, "60"), *b = enter(p, "61");
	task_sleep_ms(1000);
	assert_null(enter(p, "1"));
	leave(p, enter(p, "0"), false);
	leave(p, a, false);
	leave(p, b, false);
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
		leave(c->p, place, false);
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

static void run(void (*story)(void *arg))
{
	bool done = false;

	task_sim_run(1, 600000, story, &done);
	assert_true(done);
}

static void who_hangs_is_left_alone(void **state)
{
	run(one_hangs);
}

static void who_answers_finds_a_place(void **state)
{
	run(many_hang);
}

static void only_so_many_are_doubted(void **state)
{
	run(crowds_hang);
}

static void who_is_well_answers_everybody(void **state)
{
	struct crowd c = { 0 };

	task_sim_run(2, 600000, servers_are_well, &c);
	assert_int_equal(c.done, 4);
	assert_int_equal(c.most, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_hangs_is_left_alone),
		cmocka_unit_test(who_answers_finds_a_place),
		cmocka_unit_test(only_so_many_are_doubted),
		cmocka_unit_test(who_is_well_answers_everybody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

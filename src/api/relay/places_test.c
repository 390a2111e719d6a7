/* Who gets a place, and who holds their share. */
#include "api/relay/places.h"
#include "base/test.h"

#define MAX_PLACES 128

static struct place *taken[MAX_PLACES];
static size_t n_taken;

static bool take(struct places *p, const char *user, size_t *held)
{
	return n_taken < MAX_PLACES && place_take(p, str_c(user), &taken[n_taken], held) && ++n_taken;
}

static size_t take_all(struct places *p, const char *user)
{
	size_t n = 0, held;

	while (take(p, user, &held))
		n++;
	return n;
}

static void leave_from(size_t n)
{
	while (n_taken > n)
		place_leave(taken[--n_taken]);
}

static void nobody_takes_the_last(void **state)
{
	struct places *p = places_new(MAX_PLACES);
	size_t held;

	assert_int_equal(take_all(p, "ann"), 64);
	assert_int_equal(take_all(p, "bob"), 32);
	assert_int_equal(take_all(p, "cid"), 16);
	assert_int_equal(take_all(p, "dan"), 8);
	assert_false(take(p, "ann", &held));
	assert_int_equal(held, 64);
	leave_from(0);
	places_free(p);
}

/* What others give back is there for whoever holds less than that. */
static void shares_grow_and_shrink(void **state)
{
	struct places *p = places_new(MAX_PLACES);
	size_t held;

	assert_int_equal(take_all(p, "ann"), 64);
	leave_from(40);
	assert_int_equal(take_all(p, "bob"), 44);
	assert_int_equal(take_all(p, "ann"), 2);
	leave_from(40);
	assert_true(take(p, "ann", &held));
	assert_int_equal(held, 40);
	leave_from(0);
	assert_int_equal(take_all(p, "bob"), 64);
	leave_from(0);
	places_free(p);
}

static void outlives_its_owner(void **state)
{
	struct places *p = places_new(2);
	size_t held;

	assert_true(take(p, "ann", &held));
	assert_false(take(p, "ann", &held));
	assert_int_equal(held, 1);
	assert_true(take(p, "bob", &held));
	assert_false(take(p, "cid", &held));
	assert_int_equal(held, 0);
	places_free(p);
	leave_from(0); /* the sanitizer looks on */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_takes_the_last),
		cmocka_unit_test(shares_grow_and_shrink),
		cmocka_unit_test(outlives_its_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

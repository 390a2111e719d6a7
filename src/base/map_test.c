#include "base/test.h"

#include "base/map.h"
#include <stdio.h>

static int ended;

static void count_end(void *value)
{
	(void)value;
	ended++;
}

static int one = 1, two = 2, three = 3;

static void finds_what_was_put(void **state)
{
	auto_(map_free) struct map *m = map_new(NULL);

	(void)state;
	assert_null(map_get(m, STR("a")));
	map_put(m, STR("a"), &one);
	map_put(m, STR(""), &two);
	map_put(m, STR("a\0b"), &three);
	assert_ptr_equal(map_get(m, STR("a")), &one);
	assert_ptr_equal(map_get(m, STR("")), &two);
	assert_ptr_equal(map_get(m, STR("a\0b")), &three);
	assert_int_equal(map_len(m), 3);
	assert_false(map_del(m, STR("b")));
	assert_true(map_del(m, STR("a")));
	assert_null(map_get(m, STR("a")));
	assert_int_equal(map_len(m), 2);
}

static void ends_values_once(void **state)
{
	struct map *m = map_new(count_end);

	(void)state;
	ended = 0;
	map_put(m, STR("a"), &one);
	map_put(m, STR("a"), &one); /* the same value again is not a replacement */
	assert_int_equal(ended, 0);
	map_put(m, STR("a"), &two);
	assert_int_equal(ended, 1);
	assert_ptr_equal(map_take(m, STR("a")), &two);
	assert_null(map_take(m, STR("a")));
	assert_int_equal(ended, 1);
	map_put(m, STR("b"), &one);
	map_put(m, STR("c"), &one);
	map_del(m, STR("b"));
	assert_int_equal(ended, 2);
	map_clear(m);
	assert_int_equal(ended, 3);
	assert_int_equal(map_len(m), 0);
	map_put(m, STR("c"), &one);
	map_free(m);
	assert_int_equal(ended, 4);
}

static void iterates_in_the_order_of_insertion(void **state)
{
	auto_(map_free) struct map *m = map_new(NULL);
	char key[16];
	struct str k;
	void *v;
	int n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		map_put(m, str_c(key), &one);
	}
	map_put(m, STR("k0"), &two); /* a replaced value keeps its place */
	for (size_t i = 0; map_next(m, &i, &k, &v); n++) {
		snprintf(key, sizeof(key), "k%d", n);
		assert_true(str_is(k, key));
		if (n % 3 == 0)
			map_del(m, k); /* the current one may go, with k pointing into it */
	}
	assert_int_equal(n, 1000);
	assert_int_equal(map_len(m), 666);
	n = 0;
	for (size_t i = 0; map_next(m, &i, &k, NULL); n++)
		assert_true(k.p[0] == 'k');
	assert_int_equal(n, 666);
}

/* Against a plain array, with a small key space so that removal and reuse meet often. */
static void survives_a_random_life(void **state)
{
	auto_(map_free) struct map *m = map_new(NULL);
	static int values[500];
	bool there[500] = { false };
	uint64_t x = 1;
	size_t live = 0;

	(void)state;
	for (int step = 0; step < 200000; step++) {
		char key[16];
		size_t k;

		x = x * 6364136223846793005u + 1442695040888963407u;
		k = (size_t)(x >> 33) % ARRAY_LEN(values);
		snprintf(key, sizeof(key), "%zu", k);
		assert_ptr_equal(map_get(m, str_c(key)), there[k] ? &values[k] : NULL);
		if ((x >> 60) & 1) {
			map_put(m, str_c(key), &values[k]);
			live += !there[k];
			there[k] = true;
		} else {
			assert_int_equal(map_del(m, str_c(key)), there[k]);
			live -= there[k];
			there[k] = false;
		}
		assert_int_equal(map_len(m), live);
	}
}

/* Used as a queue: what was removed at the front is not searched again and again. */
static void stays_fast_as_a_queue(void **state)
{
	auto_(map_free) struct map *m = map_new(NULL);
	char key[16];

	(void)state;
	for (int i = 0; i < 200000; i++) {
		snprintf(key, sizeof(key), "%d", i);
		map_put(m, str_c(key), &one);
	}
	for (int i = 0; i < 200000; i++) {
		struct str k;
		size_t at = 0;

		snprintf(key, sizeof(key), "%d", i);
		assert_true(map_next(m, &at, &k, NULL));
		assert_true(str_is(k, key));
		map_del(m, k);
	}
	assert_int_equal(map_len(m), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_was_put),
		cmocka_unit_test(ends_values_once),
		cmocka_unit_test(iterates_in_the_order_of_insertion),
		cmocka_unit_test(survives_a_random_life),
		cmocka_unit_test(stays_fast_as_a_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Blocks of arenas: kept for the next one, and not for ever. */
#include "base/test.h"

#include "base/base_internal.h"

static void the_next_arena_gets_them(void **state)
{
	void *p = block_take(4096);

	block_give(p, 4096);
	if (SANITIZED) /* where a use after the end is to be noticed */
		skip();
	assert_int_equal(blocks_bytes(), 4096);
	assert_ptr_equal(block_take(4096), p);
	assert_int_equal(blocks_bytes(), 0);
	block_give(p, 4096);
}

static void odd_sizes_are_freed(void **state)
{
	size_t before = blocks_bytes();

	block_give(block_take(4097), 4097);
	block_give(block_take((size_t)1 << 20), (size_t)1 << 20);
	assert_int_equal(blocks_bytes(), before);
}

static void a_crowd_leaves_a_bounded_rest_that_goes(void **state)
{
	enum { N = 200, BYTES = 64 << 10 };
	void *p[N];

	for (int i = 0; i < N; i++)
		p[i] = block_take(BYTES);
	for (int i = 0; i < N; i++)
		block_give(p[i], BYTES);
	assert_true(blocks_bytes() <= (size_t)8 << 20);
	for (int i = 0; i < 10000; i++)
		block_give(block_take(2048), 2048);
	assert_true(blocks_bytes() <= 2048 + 4096);
}

static void at_rest_nothing_is_kept(void **state)
{
	enum { N = 20 };
	void *p[N];

	for (int i = 0; i < N; i++)
		p[i] = block_take((size_t)2048 << i % 4);
	for (int i = 0; i < N; i++)
		block_give(p[i], (size_t)2048 << i % 4);
	memory_rest();
	assert_int_equal(blocks_bytes(), 0);
	block_give(block_take(2048), 2048); /* and the next one finds all in order */
	assert_int_equal(blocks_bytes(), SANITIZED ? 0 : 2048);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_arena_gets_them),
		cmocka_unit_test(odd_sizes_are_freed),
		cmocka_unit_test(a_crowd_leaves_a_bounded_rest_that_goes),
		cmocka_unit_test(at_rest_nothing_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

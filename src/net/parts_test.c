/* Queues of bytes: whatever way they are cut, moved and copied, they are the same bytes, and each owner hears once that its
 * piece was used. */
#include "net/net_internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h> /* wants the two above */

#define PIECES 400

struct owner {
	char text[80];
	int ended;
};
static struct owner owners[PIECES];
static struct net_piece pieces[PIECES];

static void piece_ended(void *owner)
{
	struct owner *o = owner;

	o->ended++;
	memset(o->text, '?', sizeof(o->text)); /* nobody may look at it any more */
}

/* Small pieces of many lengths, empty ones among them. The bytes of all. */
static struct buf make_pieces(size_t n)
{
	struct buf all = BUF_INIT;

	for (size_t i = 0; i < n; i++) {
		struct owner *o = &owners[i];
		int length = snprintf(o->text, sizeof(o->text), "%.*s", (int)(i * 7 % 60),
			"the quick brown fox jumps over the lazy dog, again and again");

		o->ended = 0;
		pieces[i] = (struct net_piece){ str_n(o->text, (size_t)length), o, piece_ended };
		buf_str(&all, pieces[i].bytes);
	}
	return all;
}

static void assert_ended(size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(owners[i].ended, 1);
}

static void append(struct buf *got, struct parts *l)
{
	for (struct part *x = l->first; x; x = x->next)
		buf_str(got, str_n(x->p, x->n));
	parts_fini(l);
}

static void many_pieces_are_poured_into_blocks(void **state)
{
	for (size_t step = 1; step < 40000; step = step * 3 + 1) {
		struct buf want = make_pieces(PIECES), got = BUF_INIT;
		struct parts from = { 0 }, to = { 0 };

		parts_pieces(&from, pieces, PIECES);
		assert_int_equal(from.n, want.n);
		assert_int_equal(from.count, 1);
		while (from.n) {
			size_t n = MIN(from.n, step);

			if (step & 2)
				parts_gather(&to, STR(""), &from, n);
			else
				parts_move(&to, &from, n);
		}
		parts_fini(&from);
		assert_ended(PIECES);
		assert_int_equal(to.n, want.n);
		assert_true(to.count <= 1 + want.n / PARTS_BLOCK);
		append(&got, &to);
		assert_true(str_eq(buf_view(&got), buf_view(&want)));
		buf_fini(&got);
		buf_fini(&want);
	}
}

static void what_is_dropped_is_skipped(void **state)
{
	struct buf want = make_pieces(PIECES), got = BUF_INIT;
	struct parts from = { 0 }, to = { 0 };

	parts_pieces(&from, pieces, PIECES);
	parts_drop(&from, 1000);
	parts_move(&to, &from, 1000);
	parts_drop(&from, 3);
	parts_move(&to, &from, 500);
	append(&got, &to);
	assert_int_equal(got.n, 1500);
	assert_memory_equal(got.p, want.p + 1000, 1000);
	assert_memory_equal(got.p + 1000, want.p + 2003, 500);
	assert_int_equal(owners[PIECES - 1].ended, 0);
	parts_fini(&from); /* the peer is gone in the middle */
	assert_ended(PIECES);
	buf_fini(&got);
	buf_fini(&want);
}

static void frames_keep_their_heads(void **state)
{
	struct buf all = make_pieces(PIECES), want = BUF_INIT, got = BUF_INIT;
	struct parts from = { 0 }, to = { 0 };

	parts_pieces(&from, pieces, PIECES);
	for (size_t at = 0, n; at < all.n; at += n) {
		n = MIN(all.n - at, 1 + at * 5 % 4000);
		buf_c(&want, "[head]");
		buf_str(&want, str_n(all.p + at, n));
		parts_gather(&to, STR("[head]"), &from, n);
	}
	append(&got, &to);
	assert_true(str_eq(buf_view(&got), buf_view(&want)));
	parts_fini(&from);
	assert_ended(PIECES);
	buf_fini(&all);
	buf_fini(&want);
	buf_fini(&got);
}

static void few_or_big_pieces_stay_where_they_are(void **state)
{
	static char big[40000];
	struct net_piece two[2] = { { str_n(big, sizeof(big)), NULL, NULL }, { STR("x"), NULL, NULL } };
	struct parts from = { 0 }, to = { 0 };

	parts_pieces(&from, two, 2);
	parts_gather(&to, STR("h"), &from, 30000);
	assert_ptr_equal(to.first->next->p, big);
	parts_move(&to, &from, from.n);
	assert_int_equal(to.n, 40002);
	assert_int_equal(from.n, 0);
	parts_fini(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_pieces_are_poured_into_blocks),
		cmocka_unit_test(what_is_dropped_is_skipped),
		cmocka_unit_test(frames_keep_their_heads),
		cmocka_unit_test(few_or_big_pieces_stay_where_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

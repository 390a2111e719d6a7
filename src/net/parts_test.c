/* Queues of bytes: whatever way they are cut, moved and copied, they are the same bytes, and an owner hears once that they were
 * used. */
#include "base/test.h"
#include "net/net_internal.h"
#include <stdio.h>
#include <stdlib.h>

#define PIECES 4000

/* A body of many small pieces of many lengths. */
struct body {
	size_t pieces, at;
	char piece[160];
	int ended;
};

static struct str next_piece(void *owner)
{
	struct body *b = owner;
	size_t i = b->at++, length = 1 + i * 7 % sizeof(b->piece);

	assert_true(i < b->pieces);
	for (size_t k = 0; k < length; k++)
		b->piece[k] = (char)('a' + (i + k) % 26);
	return str_n(b->piece, length);
}

static void body_end(void *owner)
{
	((struct body *)owner)->ended++;
}

/* All of it, and a source that makes it again. */
static struct net_source make_body(struct body *b, size_t pieces, struct buf *ret)
{
	*b = (struct body){ .pieces = pieces };
	*ret = BUF_INIT;
	for (size_t i = 0; i < pieces; i++)
		buf_str(ret, next_piece(b));
	b->at = 0;
	return (struct net_source){ .n = ret->n, .next = next_piece, .end = body_end, .owner = b };
}

static void append(struct buf *got, struct parts *l)
{
	for (struct part *x = l->first; x; x = x->next)
		buf_str(got, str_n(x->p, x->n));
	parts_fini(l);
}

static void a_source_is_poured_into_blocks(void **state)
{
	for (size_t step = 1; step < 40000; step = step * 3 + 1) {
		struct body body;
		struct buf want, got = BUF_INIT;
		struct net_source source = make_body(&body, PIECES, &want);
		struct parts from = { 0 }, to = { 0 };

		parts_source(&from, &source);
		assert_int_equal(from.n, want.n);
		assert_int_equal(from.count, 1);
		while (from.n) {
			size_t n = MIN(from.n, step);

			if (step & 2)
				parts_gather(&to, STR(""), &from, n);
			else
				parts_move(&to, &from, n);
			append(&got, &to);
		}
		assert_int_equal(body.ended, 1);
		assert_true(str_eq(buf_view(&got), buf_view(&want)));
		buf_fini(&got);
		buf_fini(&want);
	}
}

static void what_is_dropped_is_skipped(void **state)
{
	struct body body;
	struct buf want, got = BUF_INIT;
	struct net_source source = make_body(&body, PIECES, &want);
	struct parts from = { 0 }, to = { 0 };

	parts_source(&from, &source);
	parts_drop(&from, 20000);
	parts_move(&to, &from, 1000);
	parts_drop(&from, 3);
	parts_move(&to, &from, 500);
	append(&got, &to);
	assert_int_equal(got.n, 1500);
	assert_memory_equal(got.p, want.p + 20000, 1000);
	assert_memory_equal(got.p + 1000, want.p + 21003, 500);
	assert_int_equal(body.ended, 0);
	parts_fini(&from); /* the peer is gone in the middle */
	assert_int_equal(body.ended, 1);
	buf_fini(&got);
	buf_fini(&want);
}

static void frames_keep_their_heads(void **state)
{
	struct body body;
	struct buf all, want = BUF_INIT, got = BUF_INIT;
	struct net_source source = make_body(&body, PIECES, &all);
	struct parts from = { 0 }, to = { 0 };

	parts_source(&from, &source);
	for (size_t at = 0, n; at < all.n; at += n) {
		n = MIN(all.n - at, 1 + at * 5 % 4000);
		buf_c(&want, "[head]");
		buf_str(&want, str_n(all.p + at, n));
		parts_gather(&to, STR("[head]"), &from, n);
	}
	append(&got, &to);
	assert_true(str_eq(buf_view(&got), buf_view(&want)));
	assert_int_equal(body.ended, 1);
	buf_fini(&all);
	buf_fini(&want);
	buf_fini(&got);
}

/* As HTTP/2 sends a long answer: each frame is a block of one TLS record, its head in front. */
static void a_frame_is_a_record(void **state)
{
	struct body body;
	struct buf all, got = BUF_INIT;
	struct net_source source = make_body(&body, PIECES, &all);
	struct parts from = { 0 }, to = { 0 };

	parts_source(&from, &source);
	for (size_t at = 0, n; at < all.n; at += n) {
		n = parts_next(&from, 1 << 14);
		parts_gather(&to, STR("ninebytes"), &from, n);
		assert_int_equal(to.count, 1);
		assert_int_equal(to.n, from.n ? PARTS_BLOCK : 9 + n);
		parts_drop(&to, 9);
		append(&got, &to);
	}
	assert_true(str_eq(buf_view(&got), buf_view(&all)));
	buf_fini(&all);
	buf_fini(&got);
}

static void pieces_stay_where_they_are(void **state)
{
	static char big[40000];
	struct parts from = { 0 }, to = { 0 };

	parts_piece(&from, &(struct net_piece){ str_n(big, sizeof(big)), NULL, NULL });
	parts_piece(&from, &(struct net_piece){ STR("x"), NULL, NULL });
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
		cmocka_unit_test(a_source_is_poured_into_blocks),
		cmocka_unit_test(what_is_dropped_is_skipped),
		cmocka_unit_test(frames_keep_their_heads),
		cmocka_unit_test(a_frame_is_a_record),
		cmocka_unit_test(pieces_stay_where_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Claims in, transactions out. */
#include "base/buf.h"
#include "base/test.h"
#include "network/ledger.h"
#include <stdio.h>

/* One step: an owner's claims "key=value key=value", then the changes "-key +key=value" that must come. */
struct step {
	const char *owner, *claims, *changes;
};

static void claim(struct ledger *l, const char *owner, const char *claims)
{
	struct element list[16] = { 0 };
	struct str rest = str_c(claims), part;
	size_t n = 0;

	while (str_next(&rest, ' ', &part)) {
		struct str key, val = str_cut(part, '=', &key);
		list[n++] = (struct element){ MAP_SVC_C, 4, 0, key, val };
	}
	ledger_set(l, str_c(owner), list, n);
}

static void expect(struct ledger *l, const char *expected)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct change *changes;
	struct buf got = BUF_INIT;
	size_t n = ledger_changes(l, a, &changes);

	for (size_t i = 0; i < n; i++) {
		bool add = changes[i].op == CHANGE_ADD;
		buf_printf(&got, "%s%c%.*s", i ? " " : "", add ? '+' : '-', STR_ARG(changes[i].e.key));
		if (add && changes[i].e.val.n)
			buf_printf(&got, "=%.*s", STR_ARG(changes[i].e.val));
	}
	buf_byte(&got, 0);
	assert_string_equal(got.p, expected);
	buf_fini(&got);
}

static void follows_claims(void **state)
{
	static const struct step steps[] = {
		{ "a", "x=1 y=2", "+x=1 +y=2" },
		{ "a", "x=1 y=2", "" },
		{ "a", "x=1 y=3", "-y +y=3" },
		{ "b", "x=9", "" },        /* a was first */
		{ "a", "y=3", "-x +x=9" }, /* b takes over */
		{ "a", "x=1 y=3", "" },
		{ "b", "", "-x +x=1" },
		{ "c", "s s", "+s" }, /* a set; said twice is once */
		{ "d", "s", "" },
		{ "c", "", "" },
		{ "d", "", "-s" },
		{ "a", "", "-x -y" },
	};
	auto_(ledger_free) struct ledger *l = ledger_new();

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		claim(l, steps[i].owner, steps[i].claims);
		expect(l, steps[i].changes);
	}
	assert_int_equal(ledger_len(l), 0);
}

static void several_visits_are_one_change(void **state)
{
	auto_(ledger_free) struct ledger *l = ledger_new();

	claim(l, "a", "x=1");
	claim(l, "a", "");
	expect(l, "");
	claim(l, "a", "x=1");
	expect(l, "+x=1");
	claim(l, "a", "x=2");
	claim(l, "a", "x=1");
	expect(l, "");
}

static void tells_everything_again(void **state)
{
	auto_(ledger_free) struct ledger *l = ledger_new();

	claim(l, "a", "x=1 y=2");
	expect(l, "+x=1 +y=2");
	claim(l, "a", "y=2");
	ledger_forget(l);
	expect(l, "+y=2");
	expect(l, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follows_claims),
		cmocka_unit_test(several_visits_are_one_change),
		cmocka_unit_test(tells_everything_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "base/test.h"

#include "base/err.h"
#include <errno.h>
#include <stdio.h>

static void carries_code_and_sentence(void **state)
{
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(err_set(&e, ERR_CONFLICT, "pod %s/%s changed", "default", "web"), -ERR_CONFLICT);
	assert_int_equal(e.code, ERR_CONFLICT);
	assert_string_equal(e.message, "pod default/web changed");
	assert_int_equal(err_set(NULL, ERR_EXPIRED, "nobody asked"), -ERR_EXPIRED);
}

static void setting_replaces_and_may_quote_itself(void **state)
{
	struct err e;
	size_t pos = 0;
	const char *a, *b, *c;

	(void)state;
	err_set(&e, ERR_INVALID, "first");
	err_cause(&e, "FieldValueInvalid", "spec.replicas", "must not be negative");
	err_set(&e, ERR_INTERNAL, "again: %s", e.message);
	assert_string_equal(e.message, "again: first");
	assert_false(err_next_cause(&e, &pos, &a, &b, &c));
}

static void wraps_and_keeps_code_and_causes(void **state)
{
	struct err e;
	size_t pos = 0;
	const char *reason, *field, *message;

	(void)state;
	err_set(&e, ERR_INVALID, "bad");
	err_cause(&e, "FieldValueInvalid", "spec.replicas", "%d is negative", -1);
	err_cause(&e, "FieldValueRequired", "", "needed");
	assert_int_equal(err_wrap(&e, "deployment %s", "web"), -ERR_INVALID);
	assert_string_equal(e.message, "deployment web: bad");
	assert_true(err_next_cause(&e, &pos, &reason, &field, &message));
	assert_string_equal(reason, "FieldValueInvalid");
	assert_string_equal(field, "spec.replicas");
	assert_string_equal(message, "-1 is negative");
	assert_true(err_next_cause(&e, &pos, &reason, &field, &message));
	assert_string_equal(field, "");
	assert_string_equal(message, "needed");
	assert_false(err_next_cause(&e, &pos, &reason, &field, &message));
}

static void cuts_what_is_too_long_between_characters(void **state)
{
	char text[2 * ERR_MESSAGE_MAX];
	struct err e;

	(void)state;
	for (size_t i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 3);
	for (int shift = 0; shift < 2; shift++) {
		size_t n;

		err_set(&e, ERR_IO, "%s%s", shift ? "x" : "", text);
		n = strlen(e.message);
		assert_true(n >= ERR_MESSAGE_MAX - 6 && n < ERR_MESSAGE_MAX);
		assert_string_equal(e.message + n - 3, "...");
		assert_int_equal((n - 3 - (size_t)shift) % 2, 0);
		err_wrap(&e, "outer");
		assert_memory_equal(e.message, "outer: ", 7);
		assert_string_equal(e.message + strlen(e.message) - 3, "...");
	}
}

static void counts_causes_that_do_not_fit(void **state)
{
	const char *reason, *field, *message;
	struct err e;
	size_t pos = 0;
	int n = 0;

	(void)state;
	err_set(&e, ERR_INVALID, "much");
	for (int i = 0; i < 1000; i++)
		err_cause(&e, "FieldValueInvalid", "spec.containers[0].ports[0].name", "cause %d", i);
	while (err_next_cause(&e, &pos, &reason, &field, &message)) {
		char want[32];

		snprintf(want, sizeof(want), "cause %d", n++);
		assert_string_equal(message, want);
	}
	assert_true(n > 50);
	assert_int_equal(n + e.causes_lost, 1000);
}

static void copies_itself(void **state)
{
	struct err a, b;
	const char *reason, *field, *message;
	size_t pos = 0;

	(void)state;
	err_set(&a, ERR_TOO_MANY, "slow down");
	a.retry_after_s = 3;
	err_cause(&a, "R", "f", "m");
	err_copy(&b, &a);
	assert_int_equal(b.code, ERR_TOO_MANY);
	assert_int_equal(b.retry_after_s, 3);
	assert_string_equal(b.message, "slow down");
	assert_true(err_next_cause(&b, &pos, &reason, &field, &message));
	assert_string_equal(message, "m");
}

static void tells_errno(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(err_errno(&e, EACCES, "open %s", "/x"), -ERR_FORBIDDEN);
	assert_string_equal(e.message, "open /x: Permission denied");
	assert_int_equal(err_errno(&e, ENOSPC, "write"), -ERR_FULL);
	assert_int_equal(err_errno(&e, ENOENT, "open"), -ERR_NOT_FOUND);
	assert_int_equal(err_errno(&e, ETIMEDOUT, "connect"), -ERR_TIMEOUT);
	assert_int_equal(err_errno(&e, ECONNREFUSED, "connect"), -ERR_IO);
}

static void maps_codes_both_ways(void **state)
{
	(void)state;
	assert_int_equal(err_http(ERR_EXPIRED), 410);
	assert_string_equal(err_reason(ERR_EXISTS), "AlreadyExists");
	assert_int_equal(err_http(ERR_OK), 200);
	assert_int_equal(err_from_http(409, STR("AlreadyExists")), ERR_EXISTS);
	assert_int_equal(err_from_http(409, STR_NULL), ERR_CONFLICT);
	assert_int_equal(err_from_http(410, STR("Gone")), ERR_EXPIRED);
	assert_int_equal(err_from_http(500, STR("ServerTimeout")), ERR_TIMEOUT);
	assert_int_equal(err_from_http(500, STR_NULL), ERR_INTERNAL);
	assert_int_equal(err_from_http(502, STR_NULL), ERR_UNAVAILABLE);
	assert_int_equal(err_from_http(418, STR_NULL), ERR_BAD_REQUEST);
	assert_int_equal(err_from_http(200, STR_NULL), ERR_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carries_code_and_sentence),
		cmocka_unit_test(setting_replaces_and_may_quote_itself),
		cmocka_unit_test(wraps_and_keeps_code_and_causes),
		cmocka_unit_test(cuts_what_is_too_long_between_characters),
		cmocka_unit_test(counts_causes_that_do_not_fit),
		cmocka_unit_test(copies_itself),
		cmocka_unit_test(tells_errno),
		cmocka_unit_test(maps_codes_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What reads as a schedule has starts that go forward, and the last of them is one. */
#include "cron/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	int64_t from = 1735689600, t, next, last; /* 2025-01-01 */
	struct cron c;
	struct err e;

	err_init(&e);
	if (cron_parse(str_n((const char *)data, n), &c, &e) < 0) {
		PRE(e.code == ERR_INVALID && e.message[0]);
		return 0;
	}
	if (!cron_next(&c, NULL, from, &t))
		return 0;
	PRE(t > from);
	PRE(cron_last(&c, NULL, from, t, &last) && last == t);
	PRE(!cron_last(&c, NULL, from, t - 1, &last));
	PRE(!cron_next(&c, NULL, t, &next) || next > t);
	return 0;
}

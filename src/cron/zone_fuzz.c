/* What reads as a time zone answers for any instant, and its changes lie ahead. */
#include "cron/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct zone *z = NULL;
	struct err e;

	err_init(&e);
	if (zone_parse(str_n((const char *)data, n), &z, &e) < 0)
		return 0;
	for (int64_t t = -60000000000; t < 250000000000; t += 4999999999) {
		int64_t until, offset = zone_offset(z, t, &until);

		PRE(until > t);
		PRE(offset >= -8 * 86400 && offset <= 8 * 86400);
	}
	zone_free(z);
	return 0;
}

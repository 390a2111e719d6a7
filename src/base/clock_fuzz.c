/* A time and a duration that were read print as a text that reads back as the same. */
#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str s = str_n((const char *)data, n);
	char text[TIME_TEXT_MAX];
	int64_t ns, ns_again;
	struct wall t, t_again;

	if (wall_parse(s, &t) && t.ns != INT64_MIN && t.ns != INT64_MAX) {
		wall_rfc3339_micro(t, text);
		PRE(wall_parse(str_c(text), &t_again));
		PRE(t_again.ns <= t.ns && t.ns - t_again.ns < 1000);
		age_text(wall_s(t), text);
	}
	if (duration_parse(s, &ns)) {
		duration_text(ns, text);
		PRE(duration_parse(str_c(text), &ns_again));
		PRE(ns == ns_again);
	}
	return 0;
}

/* Two kinds of time that do not convert: mono for waiting, leases, back-off and timeouts; wall for what is shown,
 * tokens and certificates. A jump of the wall clock changes no wait. In a simulation both are virtual. */
#pragma once
#include "base/str.h"
#include "base/util.h"

struct mono {
	int64_t ns;
};
struct wall {
	int64_t ns; /* since 1970-01-01 UTC */
};

struct mono mono_now(void);
struct wall wall_now(void);
static inline struct mono mono_add_ms(struct mono t, int64_t ms)
{
	return (struct mono){ t.ns + ms * 1000000 };
}
static inline int64_t mono_ms_between(struct mono from, struct mono to) /* rounded down */
{
	return (to.ns - from.ns) / 1000000;
}
static inline bool mono_before(struct mono a, struct mono b)
{
	return a.ns < b.ns;
}
static inline int64_t wall_s(struct wall t)
{
	return t.ns / 1000000000;
}
#define MONO_NEVER ((struct mono){ INT64_MAX })

#define TIME_TEXT_MAX 40
/* "2026-11-23T10:00:00Z" */
void wall_rfc3339(struct wall t, char ret[TIME_TEXT_MAX]);
/* "2026-11-23T10:00:00.123456Z" (metav1.MicroTime) */
void wall_rfc3339_micro(struct wall t, char ret[TIME_TEXT_MAX]);
/* RFC 3339 with any fraction and offset; false when it is not one. A time outside 1677..2262, such as Go's zero time,
 * becomes the earliest or latest we can say. */
bool wall_parse(struct str s, struct wall *ret);
/* Any time of the years 0 to 9999, exactly: for carrying over what others wrote. ns: 0 to 999999999, also before
 * 1970. */
struct instant {
	int64_t s;
	int ns;
};
bool instant_parse(struct str s, struct instant *ret);
void instant_text(struct instant t, int digits, char ret[TIME_TEXT_MAX]); /* digits of the fraction: 0, 3, 6 or 9 */
/* The age column of kubectl: 119s, 5m30s, 90m, 3h20m, 30h, 3d4h, 400d, 3y20d, 9y; negative beyond 1 s: "<invalid>". */
void age_text(int64_t seconds, char ret[TIME_TEXT_MAX]);
/* Go's duration syntax "1h2m3.5s" as nanoseconds. */
bool duration_parse(struct str s, int64_t *ret_ns);
void duration_text(int64_t ns, char ret[TIME_TEXT_MAX]);

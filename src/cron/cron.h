/* When a CronJob runs: schedules ("0 3 * * mon-fri") and the time zones they are meant in. The API checks them, the
 * controller computes with them. Pure but for zone_load(), which reads the system's zone files.
 *
 *     spec.schedule ── cron_parse() ──► struct cron ──┐
 *     spec.timeZone ── zone_load() ───► struct zone ──┴──► cron_next(), cron_last()
 *
 * A start is an instant whose wall clock, in the zone, is one that the schedule names: what summer time skips does not
 * run, what it repeats runs twice, as upstream. Times are whole seconds since 1970 UTC, of the years 1 to 9999.
 * Source of the language: the documentation of Kubernetes' CronJob and of the cron library it uses. */
#pragma once
#include "base/buf.h"
#include "base/err.h"

struct zone;
/* "Europe/Berlin", as /usr/share/zoneinfo has it; "UTC" gives NULL. Own: zone_free(). Fails: ERR_NOT_FOUND, ERR_INVALID
 * with upstream's words. Waits for the disk. */
int zone_load(struct str name, struct zone **ret, struct err *e);
/* The bytes of a TZif file (RFC 8536). Fails: ERR_INVALID. */
int zone_parse(struct str bytes, struct zone **ret, struct err *e);
struct zone *zone_free(struct zone *z); /* NULL: UTC, for all of these */
AUTO(struct zone, zone_free)
/* Seconds east of UTC at t. *until: the next instant at which that may change; INT64_MAX: never. */
int64_t zone_offset(const struct zone *z, int64_t t, int64_t *until);

struct cron {
	uint64_t minute, hour, day, month, weekday; /* bit n: n is meant */
	bool any_day, any_weekday;                  /* "*": with both given, one of them is enough */
	int64_t every_s;                            /* "@every": so long after the last; 0: by the fields */
};
/* Five fields, or "@hourly" and its like. Fails: ERR_INVALID with upstream's words. */
int cron_parse(struct str text, struct cron *ret, struct err *e);
/* The first start after an instant. false: none within five years. */
bool cron_next(const struct cron *c, const struct zone *z, int64_t after_s, int64_t *ret_s);
/* The last start in (after_s, until_s]. false: there is none. */
bool cron_last(const struct cron *c, const struct zone *z, int64_t after_s, int64_t until_s, int64_t *ret_s);

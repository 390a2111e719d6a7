/* One look at a Deployment: the facts, and the decisions that are pure functions of them (rollout.c). */
#pragma once
#include "controllers/controllers_internal.h"

struct rollout {
	struct ctl *c;
	struct arena *a;
	struct str key;
	struct doc *d;       /* the Deployment; held by the arena, as are all sets */
	struct doc *new_set; /* with its template, or NULL */
	struct doc **old;    /* oldest first */
	size_t n_old;
	struct informer_list all;
	int64_t wanted, surge, unavailable, min_ready;
	bool rolling, paused;
};
/* How many replicas the new set has next; now is its count. */
int64_t rollout_new_count(const struct rollout *r, int64_t now);
/* What a set of `has` replicas gets of to_add when all sets together may have `most`; added: what others got. */
int64_t rollout_share(int64_t has, int64_t set_most, int64_t most, int64_t to_add, int64_t added);
/* status.* with conditions; *next_ms: look again then (progress deadline), 0: not needed. */
struct node *rollout_status(struct rollout *r, int64_t *next_ms);
bool rollout_complete(const struct rollout *r, struct node *status);
void int_or_percent_text(const char *text, int64_t total, bool up, int64_t *ret);

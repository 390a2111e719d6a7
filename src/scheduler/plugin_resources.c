/* Plugins that count resources. */
#include "scheduler/scheduler_internal.h"

/* ---- NodeResourcesFit ------------------------------------------------------------------------ */

static bool extras_fit(struct cycle *c, const struct node_info *n)
{
	bool fit = true;

	for (size_t i = 0; i < c->pod->n_extras; i++) {
		const struct extra *x = &c->pod->extras[i];
		int64_t used, room = node_extra(n, x->name, &used);

		if (x->v <= room - used)
			continue;
		fit = false;
		if (!c->quiet)
			cycle_reason(c, arena_printf(c->a, "Insufficient %.*s", STR_ARG(x->name)));
	}
	return fit;
}

/* false too when more is asked for than the whole node has: then pushing pods out is no use. */
static bool could_ever_fit(struct cycle *c, const struct node_info *n)
{
	for (int i = 0; i < RES_FIXED; i++)
		if (c->pod->requests[i] > n->allocatable[i])
			return false;
	for (size_t i = 0; i < c->pod->n_extras; i++) {
		int64_t used;

		if (c->pod->extras[i].v > node_extra(n, c->pod->extras[i].name, &used))
			return false;
	}
	return true;
}

/* A new number when the pod asks for something else than the one before it. Extended resources are not in opinions. */
bool fit_prepare(struct cycle *c)
{
	struct snapshot *s = c->s;
	struct demand demand;

	memcpy(demand.requests, c->pod->requests, sizeof(demand.requests));
	memcpy(demand.scored, c->pod->scored, sizeof(demand.scored));
	if (!s->n_demands || memcmp(&demand, &s->demand, sizeof(demand)) != 0) {
		s->demand = demand;
		s->n_demands++;
	}
	c->demand = c->pod->n_extras ? 0 : s->n_demands;
	return true;
}

static struct opinion *opinion_of(struct cycle *c, const struct node_info *n)
{
	struct opinion *o = &c->s->opinions[n->at];

	if (!c->demand || o->demand != c->demand)
		*o = (struct opinion){ .demand = c->demand, .free = NO_SCORE, .balanced = NO_SCORE };
	return o;
}

static enum verdict look(struct cycle *c, const struct node_info *n)
{
	static const char *const reasons[] = { "Insufficient cpu", "Insufficient memory",
		"Insufficient ephemeral-storage", "Too many pods" };
	static const int order[] = { RES_PODS, RES_CPU, RES_MEMORY, RES_EPHEMERAL };
	bool fit = true;

	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		int r = order[i];

		if (!c->pod->requests[r] || c->pod->requests[r] <= n->allocatable[r] - n->used[r])
			continue;
		fit = false;
		cycle_reason(c, reasons[r]);
	}
	if (c->pod->n_extras && !extras_fit(c, n))
		fit = false;
	return fit ? FITS : could_ever_fit(c, n) ? NO_ROOM : NEVER;
}

enum verdict fit_filter(struct cycle *c, const struct node_info *n)
{
	struct opinion *o = opinion_of(c, n);
	enum verdict v = o->fits ? FITS : look(c, n);

	o->fits = v == FITS;
	return v;
}

/* The share that would stay free, mean of cpu and memory. */
static int64_t free_share(struct cycle *c, const struct node_info *n)
{
	int64_t sum = 0, counted = 0;

	for (int i = 0; i < 2; i++) {
		int64_t room = n->allocatable[i], used = n->scored[i] + c->pod->scored[i];

		if (!room)
			continue;
		counted++;
		sum += used > room ? 0 : (room - used) * SCORE_MAX / room;
	}
	return counted ? sum / counted : 0;
}

int64_t fit_score(struct cycle *c, const struct node_info *n)
{
	struct opinion *o = opinion_of(c, n);

	if (o->free == NO_SCORE)
		o->free = (int8_t)free_share(c, n);
	return o->free;
}

/* ---- NodeResourcesBalancedAllocation --------------------------------------------------------- */

bool balance_prepare_score(struct cycle *c, const struct candidates *k)
{
	(void)k;
	return c->pod->requests[RES_CPU] || c->pod->requests[RES_MEMORY];
}

#define WHOLE 10000

static int64_t share(struct cycle *c, const struct node_info *n, int r)
{
	int64_t used = n->used[r] + c->pod->requests[r], room = n->allocatable[r];

	if (used >= room)
		return WHOLE;
	return used <= INT64_MAX / WHOLE ? used * WHOLE / room : (int64_t)((__int128)used * WHOLE / room);
}

/* How alike the used shares of cpu and memory would be: of two values the standard deviation is half their distance. */
static int64_t balance(struct cycle *c, const struct node_info *n)
{
	int64_t distance = share(c, n, RES_CPU) - share(c, n, RES_MEMORY);

	return (WHOLE - (distance < 0 ? -distance : distance) / 2) * SCORE_MAX / WHOLE;
}

int64_t balance_score(struct cycle *c, const struct node_info *n)
{
	struct opinion *o = opinion_of(c, n);

	if (o->balanced == NO_SCORE)
		o->balanced = (int8_t)balance(c, n);
	return o->balanced;
}

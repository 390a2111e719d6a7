/* Lanes: who writes waits in one of three queues, each with a crew of its own (base/crew.h), fair between users.
 *
 * A lane holds one FIFO per user and takes from the users in turn, so one busy client costs the others one request
 * each. When it is full, whoever has most in it makes room for others. A few threads fill a whole group commit, because a
 * request that waits for the store leaves its thread to the next one. One that waits for another server (a webhook) keeps
 * its thread and gives its place away until it is back; so many may do so at a time. One whose client has reset it is not
 * begun. */
#include "api/api_internal.h"
#include "base/crew.h"
#include <stdio.h>
#define LOG_MODULE "api"

#define AWAY_MAX 32 /* requests of one lane that may wait for other servers at a time */
#define RUNNING_MAX \
	128 /* requests of one lane that were begun, most of them waiting for the store: what fits into its next commits */

struct user_queue {
	struct str user; /* name, below */
	char *name;
	struct rq *first, **end;
	size_t n;
	struct user_queue *next; /* ring of users that wait */
};

struct lane_state {
	struct api *api;
	struct crew *crew;
	/* Under the crew's lock: */
	struct user_queue *turn, **turn_end; /* users with waiting requests, whose turn is next first */
	struct map *users;
	size_t waiting;
};

struct lanes {
	struct lane_state lane[LANE_N];
};

static void user_end(void *value)
{
	struct user_queue *u = value;

	if (!u)
		return;
	free(u->name);
	free(u);
}

/* ---- the queue ------------------------------------------------------------------------------- */

static struct user_queue *queue_of(struct lane_state *s, struct str user)
{
	struct user_queue *u = map_get(s->users, user);

	if (u)
		return u;
	u = xcalloc(1, sizeof(*u));
	u->name = str_dup(user);
	u->user = str_c(u->name);
	u->end = &u->first;
	map_put(s->users, u->user, u);
	*s->turn_end = u;
	s->turn_end = &u->next;
	return u;
}

static struct rq *take_last(struct lane_state *s, struct user_queue *u)
{
	struct rq **at = &u->first, *rq;

	while ((*at)->next)
		at = &(*at)->next;
	rq = *at;
	*at = NULL;
	u->end = at;
	u->n--;
	s->waiting--;
	store_coming(s->api->opts.store, -1);
	return rq;
}

/* A request that goes from a full lane for one of this user: the last of whoever has most, if he still has as many as the
 * user then. NULL: none. There are few, so that counting costs less than an order of users would. */
static struct rq *make_room(struct lane_state *s, struct str user)
{
	const struct user_queue *own = map_get(s->users, user);
	struct user_queue *most = s->turn;

	for (struct user_queue *u = most; u; u = u->next)
		if (u->n > most->n)
			most = u;
	return most && most->n > (own ? own->n : 0) + 1 ? take_last(s, most) : NULL;
}

static void *put(void *lane, void *job)
{
	struct lane_state *s = lane;
	struct rq *rq = job, *dropped = NULL;
	struct user_queue *u;

	if (s->waiting >= (size_t)s->api->opts.lane_queue_max && !(dropped = make_room(s, rq->id.user)))
		return rq;
	u = queue_of(s, rq->id.user);
	rq->next = NULL;
	*u->end = rq;
	u->end = &rq->next;
	u->n++;
	s->waiting++;
	store_coming(s->api->opts.store, 1);
	return dropped;
}

static void *next(void *lane)
{
	struct lane_state *s = lane;
	struct user_queue *u = s->turn;
	struct rq *rq = u->first;

	u->first = rq->next;
	u->n--;
	s->turn = u->next;
	if (!s->turn)
		s->turn_end = &s->turn;
	u->next = NULL;
	if (u->first) { /* more from this user: back to the end of the ring */
		*s->turn_end = u;
		s->turn_end = &u->next;
	} else {
		map_del(s->users, u->user);
	}
	s->waiting--;
	return rq;
}

static void refuse(void *lane, void *job)
{
	struct err e;

	(void)lane;
	err_init(&e);
	err_set(&e, ERR_TOO_MANY, "too many requests are waiting, please try again later");
	e.retry_after_s = 1;
	reply_error(job, &e);
}

/* ---- requests that were begun ---------------------------------------------------------------- */

struct on_lane {
	struct lane_state *lane;
	bool coming; /* the store was told of it */
};

/* It writes now, or will not for a while. */
static void came(struct on_lane *o)
{
	if (o->coming)
		store_coming(o->lane->api->opts.store, -1);
	o->coming = false;
}

/* Only the audit log and the metrics will see this. */
static void forget(struct rq *rq)
{
	struct err e;

	err_init(&e);
	err_set(&e, ERR_CANCELED, "the client was gone before its request began");
	reply_error(rq, &e);
}

static void work(void *lane, void *job)
{
	struct on_lane here = { .lane = lane, .coming = true };
	struct rq *rq = job;

	rq->on_lane = &here;
	if (rq->http && http_gone(rq->http))
		forget(rq);
	else
		rq->run(rq);
	came(&here);
}

static void parked(void *lane, void *job)
{
	struct rq *rq = job;

	(void)lane;
	came(rq->on_lane);
}

int lanes_leave(struct rq *rq, struct err *e)
{
	if (!rq || !rq->on_lane)
		return 0;
	came(rq->on_lane); /* nobody waits for it */
	if (crew_leave(rq->on_lane->lane->crew, AWAY_MAX))
		return 0;
	err_set(e, ERR_TOO_MANY, "too many requests are waiting for webhooks, please try again later");
	e->retry_after_s = 1;
	return -ERR_TOO_MANY;
}

void lanes_return(struct rq *rq)
{
	if (rq && rq->on_lane)
		crew_return(rq->on_lane->lane->crew);
}

/* ---- owners ---------------------------------------------------------------------------------- */

static void lane_init(struct lane_state *s, struct api *api, const char *name)
{
	s->api = api;
	s->users = map_new(user_end);
	s->turn_end = &s->turn;
	s->crew = crew_new(&(struct crew_opts){
		.name = name,
		.work = work,
		.parked = parked,
		.drop = refuse,
		.put = put,
		.next = next,
		.arg = s,
		.tasks_max = (size_t)api->opts.lane_threads,
		.jobs_max = RUNNING_MAX,
	});
}

struct lanes *lanes_new(struct api *api)
{
	static const char *const names[] = { "api-exempt", "api-control", "api-write" };
	struct lanes *l = xcalloc(1, sizeof(*l));

	for (int i = 0; i < LANE_N; i++)
		lane_init(&l->lane[i], api, names[i]);
	return l;
}

static bool has_group(const struct identity *id, const char *group)
{
	for (size_t i = 0; i < id->n_groups; i++)
		if (str_is(id->groups[i], group))
			return true;
	return false;
}

static bool runs_the_cluster(struct str user)
{
	return str_starts(user, STR("system:serviceaccount:kube-system:")) || str_starts(user, STR("system:kube-"));
}

enum lane lanes_choose(const struct rq *rq)
{
	bool runs = runs_the_cluster(rq->id.user), elects = runs && str_is(rq->resource_name, "leases");

	if (elects || has_group(&rq->id, "system:masters") || has_group(&rq->id, "system:nodes"))
		return LANE_EXEMPT;
	return runs ? LANE_CONTROLLERS : LANE_EVERYONE;
}

void lanes_submit(struct lanes *l, struct rq *rq)
{
	crew_add(l->lane[rq->lane].crew, rq);
}

void lanes_stop(struct lanes *l)
{
	for (int i = 0; i < LANE_N; i++)
		crew_stop(l->lane[i].crew, MONO_NEVER);
}

void lanes_free(struct lanes *l)
{
	if (!l)
		return;
	for (int i = 0; i < LANE_N; i++) {
		crew_free(l->lane[i].crew);
		map_free(l->lane[i].users);
	}
	free(l);
}

/* How the server's own parts wait for other servers: a few at a time, so that those that do not answer leave workers to
 * everything else; and whom somebody waited for in vain nobody asks for a while. */
#include "api/aggregate/aggregate.h"

#define PLACES 2        /* of the controllers' four workers */
#define PROMPT_MS 1000  /* nobody waits for a place behind those who have waited that long themselves */
#define IN_VAIN_MS 4000 /* a failure after so long: the server is silent */
#define SILENT_MS 10000

struct patience_place {
	bool taken;
	struct mono since;
};
struct patience {
	struct task_mutex lock;
	struct task_cond left;
	struct patience_place places[PLACES];
	struct map *silent; /* server → own: struct mono, until when */
};

struct patience *patience_new(void)
{
	struct patience *p = xcalloc(1, sizeof(*p));

	task_mutex_init(&p->lock);
	task_cond_init(&p->left);
	p->silent = map_new(free);
	return p;
}

struct patience *patience_free(struct patience *p)
{
	if (!p)
		return NULL;
	map_free(p->silent);
	task_mutex_fini(&p->lock);
	task_cond_fini(&p->left);
	free(p);
	return NULL;
}

/* Under the lock. */
static bool is_silent(struct patience *p, struct str server)
{
	const struct mono *until = map_get(p->silent, server);

	if (until && mono_before(mono_now(), *until))
		return true;
	if (until)
		map_del(p->silent, server);
	return false;
}

/* Under the lock. NULL: none is free; *ret_until: till when one may be hoped for. */
static struct patience_place *free_place(struct patience *p, struct mono *ret_until)
{
	struct mono last = { 0 };

	for (size_t i = 0; i < PLACES; i++) {
		if (!p->places[i].taken)
			return &p->places[i];
		last.ns = MAX(last.ns, p->places[i].since.ns);
	}
	*ret_until = mono_add_ms(last, PROMPT_MS);
	return NULL;
}

int patience_enter(struct patience *p, struct str server, struct patience_place **ret, struct err *e)
{
	struct patience_place *place = NULL;
	struct mono until;
	bool silent;

	task_lock(&p->lock);
	while (!(silent = is_silent(p, server)) && !(place = free_place(p, &until)) && mono_before(mono_now(), until))
		task_wait_until(&p->left, &p->lock, until);
	if (!silent && place)
		*place = (struct patience_place){ true, mono_now() };
	task_unlock(&p->lock);
	if (silent)
		return err_set(e, ERR_UNAVAILABLE, "the server did not answer in time a moment ago");
	if (!place)
		return err_set(e, ERR_UNAVAILABLE, "others wait for servers that do not answer");
	*ret = place;
	return 0;
}

void patience_leave(struct patience *p, struct str server, struct patience_place *place, bool failed)
{
	struct mono now = mono_now();

	task_lock(&p->lock);
	if (failed && mono_ms_between(place->since, now) >= IN_VAIN_MS) {
		struct mono *until = xmalloc(sizeof(*until));

		*until = mono_add_ms(now, SILENT_MS);
		map_put(p->silent, server, until);
	}
	place->taken = false;
	task_broadcast(&p->left);
	task_unlock(&p->lock);
}

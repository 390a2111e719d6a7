/* How the server's own parts wait for other servers: for each with one call at a time, and for a few at a time, so that those
 * that do not answer leave workers to everything else and places to those that do. Whom somebody waited for in vain nobody
 * asks for a while, and until it answers again it does not get the last place. */
#include "api/aggregate/aggregate.h"

#define PLACES 3        /* of the controllers' four workers */
#define PROMPT_MS 1000  /* nobody waits for a place behind those who have waited that long themselves */
#define IN_VAIN_MS 4000 /* a failure after so long: the server is silent */
#define SILENT_MS 10000
#define DOUBTED_MAX 64 /* more are forgotten, the oldest first */

struct patience_place {
	char *server; /* own; NULL: it is free */
	struct mono since;
};
struct patience {
	struct task_mutex lock;
	struct task_cond left;
	struct patience_place places[PLACES];
	/* Those that did not answer the last time → own: struct mono, until when nobody asks them. */
	struct map *doubted;
};

struct patience *patience_new(void)
{
	struct patience *p = xcalloc(1, sizeof(*p));

	task_mutex_init(&p->lock);
	task_cond_init(&p->left);
	p->doubted = map_new(free);
	return p;
}

struct patience *patience_free(struct patience *p)
{
	if (!p)
		return NULL;
	map_free(p->doubted);
	task_mutex_fini(&p->lock);
	task_cond_fini(&p->left);
	free(p);
	return NULL;
}

/* Under the lock. NULL: not now; *ret_until: till when one may be hoped for. */
static struct patience_place *free_place(struct patience *p, struct str server, bool doubted, struct mono *ret_until)
{
	struct patience_place *found = NULL;
	struct mono last = { 0 };
	int n = 0;

	for (struct patience_place *x = p->places; x < p->places + PLACES; x++) {
		if (!x->server) {
			found = x;
			n++;
			continue;
		}
		last.ns = MAX(last.ns, x->since.ns);
		if (str_is(server, x->server)) {
			*ret_until = mono_add_ms(x->since, PROMPT_MS);
			return NULL;
		}
	}
	*ret_until = mono_add_ms(last, PROMPT_MS);
	return n > (doubted ? 1 : 0) ? found : NULL;
}

/* Under the lock. */
static int take_place(struct patience *p, struct str server, struct patience_place **ret, struct err *e)
{
	struct patience_place *place;
	struct mono until;

	for (;;) {
		const struct mono *silent = map_get(p->doubted, server);

		if (silent && mono_before(mono_now(), *silent))
			return err_set(e, ERR_UNAVAILABLE, "the server did not answer in time a moment ago");
		if ((place = free_place(p, server, silent != NULL, &until)))
			break;
		if (!mono_before(mono_now(), until))
			return err_set(e, ERR_UNAVAILABLE, "others wait for an answer already");
		task_wait_until(&p->left, &p->lock, until);
	}
	*place = (struct patience_place){ str_dup(server), mono_now() };
	*ret = place;
	return 0;
}

int patience_enter(struct patience *p, struct str server, struct patience_place **ret, struct err *e)
{
	task_lock(&p->lock);
	int rc = take_place(p, server, ret, e);
	task_unlock(&p->lock);
	return rc;
}

/* Under the lock. */
static void doubt(struct patience *p, struct str server)
{
	struct mono *until = xmalloc(sizeof(*until));
	struct str oldest;
	void *value;
	size_t i = 0;

	if (map_len(p->doubted) >= DOUBTED_MAX && map_next(p->doubted, &i, &oldest, &value))
		map_del(p->doubted, oldest);
	*until = mono_add_ms(mono_now(), SILENT_MS);
	map_put(p->doubted, server, until);
}

void patience_leave(struct patience *p, struct patience_place *place, bool failed)
{
	task_lock(&p->lock);
	if (failed && mono_ms_between(place->since, mono_now()) >= IN_VAIN_MS)
		doubt(p, str_c(place->server));
	else
		map_del(p->doubted, str_c(place->server));
	free(place->server);
	place->server = NULL;
	task_broadcast(&p->left);
	task_unlock(&p->lock);
}

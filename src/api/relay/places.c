#include "api/relay/places.h"
#include "base/map.h"
#include "base/task.h"
#include <stdlib.h>

struct places {
	struct task_mutex lock;
	struct map *users; /* those who hold some: their name → struct place */
	size_t max, taken;
	bool ended; /* whoever leaves last frees it */
};

/* Of one user, however many they hold. */
struct place {
	struct places *of;
	char *user;
	size_t held;
};

static void place_end(void *value)
{
	struct place *u = value;

	free(u->user);
	free(u);
}

struct places *places_new(size_t max)
{
	struct places *p = xcalloc(1, sizeof(*p));

	task_mutex_init(&p->lock);
	p->users = map_new(place_end);
	p->max = max;
	return p;
}

/* With the lock held; releases it. */
static void unlock(struct places *p)
{
	bool last = p->ended && !p->taken;

	task_unlock(&p->lock);
	if (!last)
		return;
	map_free(p->users);
	task_mutex_fini(&p->lock);
	free(p);
}

struct places *places_free(struct places *p)
{
	if (!p)
		return NULL;
	task_lock(&p->lock);
	p->ended = true;
	unlock(p);
	return NULL;
}

bool place_take(struct places *p, struct str user, struct place **ret, size_t *ret_held)
{
	task_lock(&p->lock);
	struct place *u = map_get(p->users, user);
	size_t held = u ? u->held : 0;
	bool fits = held < p->max - p->taken;

	if (fits && !u) {
		u = xmalloc(sizeof(*u));
		*u = (struct place){ p, str_dup(user), 0 };
		map_put(p->users, user, u);
	}
	if (fits) {
		u->held++;
		p->taken++;
		*ret = u;
	}
	task_unlock(&p->lock);
	*ret_held = held;
	return fits;
}

void place_leave(struct place *taken)
{
	struct places *p = taken->of;

	task_lock(&p->lock);
	p->taken--;
	if (!--taken->held)
		map_del(p->users, str_c(taken->user));
	unlock(p);
}

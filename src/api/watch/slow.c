/* Watches of kinds that a webhook converts wait for it at each event. Each definition has a task of its own for them, made when first
 * somebody watches: a webhook that does not answer keeps only its own kind's watches waiting. */
#include "api/watch/watch.h"
#include "base/map.h"
#define LOG_MODULE "api"

struct slow_watches {
	struct api *api;
	struct task_mutex lock;
	struct map *of; /* group_resource → struct watches, own; under lock, as all below */
	bool stop;
};

static void watches_end(void *arg)
{
	watches_free(arg);
}

struct slow_watches *slow_watches_new(struct api *api)
{
	struct slow_watches *s = xcalloc(1, sizeof(*s));

	s->api = api;
	task_mutex_init(&s->lock);
	s->of = map_new(watches_end);
	return s;
}

struct watches *slow_watches_of(struct slow_watches *s, const struct resource *r)
{
	struct str key = str_c(r->group_resource);

	task_lock(&s->lock);
	struct watches *w = map_get(s->of, key);
	if (!w) {
		map_put(s->of, key, w = watches_new(s->api));
		if (s->stop)
			watches_stop(w);
	}
	task_unlock(&s->lock);
	return w;
}

void slow_watches_end_of(struct slow_watches *s, const struct resource *r)
{
	task_lock(&s->lock);
	struct watches *w = map_get(s->of, str_c(r->group_resource));
	task_unlock(&s->lock);
	if (w)
		watches_end_of(w, r);
}

void slow_watches_stop(struct slow_watches *s)
{
	struct str key;
	void *w;

	task_lock(&s->lock);
	s->stop = true;
	for (size_t i = 0; map_next(s->of, &i, &key, &w);)
		watches_stop(w);
	task_unlock(&s->lock);
}

void slow_watches_free(struct slow_watches *s)
{
	if (!s)
		return;
	map_free(s->of);
	task_mutex_fini(&s->lock);
	free(s);
}

/* The informers of one process: the same resource is followed once, however many parts want it. */
#include "client/informer.h"

struct shared {
	struct gvr res;
	char *group, *version, *resource; /* ours: what res points to */
	struct informer *i;
};

struct informers {
	struct client *client;
	struct task_mutex lock;
	struct shared **v;
	size_t n;
	bool started;
};

struct informers *informers_new(struct client *c)
{
	struct informers *s = xcalloc(1, sizeof(*s));

	s->client = c;
	task_mutex_init(&s->lock);
	return s;
}

struct informers *informers_free(struct informers *s)
{
	if (!s)
		return NULL;
	for (size_t k = 0; k < s->n; k++) /* handlers of one may look at another */
		informer_stop(s->v[k]->i);
	for (size_t k = 0; k < s->n; k++) {
		informer_free(s->v[k]->i);
		free(s->v[k]->group);
		free(s->v[k]->version);
		free(s->v[k]->resource);
		free(s->v[k]);
	}
	free(s->v);
	task_mutex_fini(&s->lock);
	free(s);
	return NULL;
}

static struct shared *shared_new(struct client *c, struct gvr r)
{
	struct shared *h = xcalloc(1, sizeof(*h));

	h->group = xstrdup(r.group);
	h->version = xstrdup(r.version);
	h->resource = xstrdup(r.resource);
	h->res = (struct gvr){ h->group, h->version, h->resource };
	h->i = informer_new(c, (struct informer_opts){ .res = h->res });
	return h;
}

struct informer *informers_need(struct informers *s, struct gvr r)
{
	struct informer *i = NULL;

	task_lock(&s->lock);
	for (size_t k = 0; k < s->n && !i; k++) {
		if (gvr_eq(s->v[k]->res, r))
			i = s->v[k]->i;
	}
	if (!i) {
		PRE(!s->started);
		s->v = xrealloc(s->v, s->n + 1, sizeof(*s->v));
		s->v[s->n] = shared_new(s->client, r);
		i = s->v[s->n++]->i;
	}
	task_unlock(&s->lock);
	return i;
}

void informers_start(struct informers *s)
{
	s->started = true;
	for (size_t k = 0; k < s->n; k++)
		informer_start(s->v[k]->i);
}

bool informers_wait_synced(struct informers *s, int64_t timeout_ms)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms);

	for (size_t k = 0; k < s->n; k++) {
		if (!informer_wait_synced(s->v[k]->i, MAX(mono_ms_between(mono_now(), until), 0)))
			return false;
	}
	return true;
}

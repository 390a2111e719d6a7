/* An informer's life, and what its readers see. What it does: informer_watch.c, in a task of its own or in that of a loop. */
#include "client/informer_internal.h"

static struct str own_str(struct str s)
{
	return s.n ? str_n(str_dup(s), s.n) : STR_NULL;
}

struct informer *informer_new(struct client *c, struct informer_opts o)
{
	struct informer *i = xcalloc(1, sizeof(*i));

	i->client = c;
	i->o = o;
	i->o.ns = own_str(o.ns);
	i->o.label_selector = own_str(o.label_selector);
	i->o.field_selector = own_str(o.field_selector);
	i->stop = stop_new();
	task_mutex_init(&i->lock);
	task_cond_init(&i->synced_cond);
	view_init(&i->view);
	return i;
}

void informer_stop(struct informer *i)
{
	stop_raise(i->stop);
	task_lock(&i->lock);
	i->stopping = true;
	if (i->stream && !i->o.loop)
		client_interrupt(i->client, i->stream);
	task_broadcast(&i->synced_cond);
	task_unlock(&i->lock);
	if (i->started && i->o.loop)
		informer_loop_leave(i->o.loop, i);
	else
		i->task = task_join(i->task);
}

struct informer *informer_free(struct informer *i)
{
	if (!i)
		return NULL;
	informer_stop(i);
	view_fini(&i->view);
	task_cond_fini(&i->synced_cond);
	task_mutex_fini(&i->lock);
	stop_free(i->stop);
	free(i->handlers);
	free((char *)i->o.ns.p);
	free((char *)i->o.label_selector.p);
	free((char *)i->o.field_selector.p);
	free(i);
	return NULL;
}

void informer_on(struct informer *i, informer_handler *h, void *arg)
{
	PRE(!i->started);
	i->handlers = xrealloc(i->handlers, i->handlers_n + 1, sizeof(*i->handlers));
	i->handlers[i->handlers_n++] = (struct handler){ h, arg };
}

void informer_index(struct informer *i, const char *name,
	void (*key_of)(struct doc *d, void (*add)(void *arg, struct str key), void *arg))
{
	PRE(!i->started);
	for (size_t k = 0; k < i->view.indexes_n; k++) {
		if (!strcmp(i->view.indexes[k].name, name))
			return; /* shared informers: two controllers may want the same one */
	}
	view_add_index(&i->view, name, key_of);
}

void informer_start(struct informer *i)
{
	if (i->started)
		return;
	i->started = true;
	if (i->o.loop)
		informer_loop_join(i->o.loop, i);
	else
		i->task = task_spawn("informer", informer_run, i);
}

bool informer_synced(struct informer *i)
{
	bool synced;

	task_lock(&i->lock);
	synced = i->synced;
	task_unlock(&i->lock);
	return synced;
}

bool informer_wait_synced(struct informer *i, int64_t timeout_ms)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms);
	bool synced, in_time = true;

	task_lock(&i->lock);
	while (!(synced = i->synced) && !i->stopping && in_time)
		in_time = task_wait_until(&i->synced_cond, &i->lock, until);
	task_unlock(&i->lock);
	return synced;
}

/* ---- readers --------------------------------------------------------------------------------- */

struct doc *informer_get(struct informer *i, struct str ns, struct str name)
{
	struct item *t;
	struct doc *d;

	task_lock(&i->lock);
	t = view_find(&i->view, ns, name);
	d = t ? doc_ref(t->doc) : NULL;
	task_unlock(&i->lock);
	return d;
}

static void held_end(void *obj)
{
	struct informer_list *l = obj;

	for (size_t k = 0; k < l->n; k++)
		doc_unref(l->items[k]);
}

struct informer_list informer_list(struct informer *i, struct arena *a, const char *index, struct str key)
{
	struct informer_list *l = ARENA_NEW(a, struct informer_list);
	const struct bucket *b;

	task_lock(&i->lock);
	b = view_bucket(&i->view, index, key);
	if (b && b->n) {
		l->items = arena_alloc(a, b->n * sizeof(*l->items));
		for (; l->n < b->n; l->n++)
			l->items[l->n] = doc_ref(b->v[l->n]->doc);
	}
	task_unlock(&i->lock);
	if (l->n)
		arena_hold(a, l, held_end);
	return *l;
}

size_t informer_len(struct informer *i)
{
	size_t n;

	task_lock(&i->lock);
	n = i->view.all.n;
	task_unlock(&i->lock);
	return n;
}

int64_t informer_revision(struct informer *i)
{
	return atomic_load(&i->revision);
}

#include "network/services.h"
#include "base/map.h"
#include "base/task.h"
#include <stdio.h>

#define SERVICE_LABEL "kubernetes.io/service-name"

struct entry {
	struct service s;
	struct ip *ips; /* what this service has in `names` */
	char **texts;
	size_t n_names;
};

struct name_list {
	char **list; /* owned by entries */
	size_t n;
};

struct services {
	struct task_mutex lock;
	struct task_cond changed;
	struct map *entries; /* "s/ns/name" → entry */
	struct map *spaces;  /* namespace → count (as a pointer) */
	struct map *names;   /* address bytes → name_list */
	struct map *queued;  /* key → itself, in order */
	bool woken;
};

static void entry_free(void *p)
{
	struct entry *e = p;

	doc_unref(e->s.service);
	for (size_t i = 0; i < e->s.n; i++)
		doc_unref(e->s.slices[i]);
	for (size_t i = 0; i < e->n_names; i++)
		free(e->texts[i]);
	free(e->s.slices);
	free(e->texts);
	free(e->ips);
	free(e);
}

static void names_free(void *p)
{
	free(((struct name_list *)p)->list);
	free(p);
}

struct services *services_new(void)
{
	struct services *s = xcalloc(1, sizeof(*s));

	task_mutex_init(&s->lock);
	task_cond_init(&s->changed);
	s->entries = map_new(entry_free);
	s->spaces = map_new(NULL);
	s->names = map_new(names_free);
	s->queued = map_new(NULL);
	return s;
}

struct services *services_free(struct services *s)
{
	if (!s)
		return NULL;
	map_free(s->entries);
	map_free(s->spaces);
	map_free(s->names);
	map_free(s->queued);
	task_cond_fini(&s->changed);
	task_mutex_fini(&s->lock);
	free(s);
	return NULL;
}

/* ---- addresses → names ----------------------------------------------------------------------- */

void services_host_label(struct val endpoint, char ret[HOST_LABEL_MAX])
{
	struct str host = val_str(val_get(endpoint, "hostname"));

	if (host.n == 0)
		host = val_str(val_at(val_get(endpoint, "addresses"), 0));
	host.n = MIN(host.n, (size_t)HOST_LABEL_MAX - 1);
	for (size_t i = 0; i < host.n; i++)
		ret[i] = host.p[i] == '.' || host.p[i] == ':' ? '-' : host.p[i];
	ret[host.n] = 0;
}

static void forget_names(struct services *s, struct entry *e)
{
	for (size_t i = 0; i < e->n_names; i++) {
		struct str key = str_n((const char *)&e->ips[i], sizeof(e->ips[i]));
		struct name_list *n = map_get(s->names, key);

		for (size_t k = 0; n && k < n->n; k++) {
			if (n->list[k] == e->texts[i])
				n->list[k--] = n->list[--n->n];
		}
		if (n && n->n == 0)
			map_del(s->names, key);
		free(e->texts[i]);
	}
	e->n_names = 0;
}

static void add_name(struct services *s, struct entry *e, struct str address, char *take_text)
{
	struct ip ip;

	if (!ip_parse(address, &ip)) {
		free(take_text);
		return;
	}
	struct str key = str_n((const char *)&ip, sizeof(ip));
	struct name_list *n = map_get(s->names, key);
	if (!n) {
		n = xcalloc(1, sizeof(*n));
		map_put(s->names, key, n);
	}
	n->list = xrealloc(n->list, n->n + 1, sizeof(char *));
	n->list[n->n++] = take_text;
	e->ips = xrealloc(e->ips, e->n_names + 1, sizeof(*e->ips));
	e->texts = xrealloc(e->texts, e->n_names + 1, sizeof(char *));
	e->ips[e->n_names] = ip;
	e->texts[e->n_names++] = take_text;
}

static void note_names(struct services *s, struct entry *e)
{
	struct doc *d = e->s.service;
	char label[HOST_LABEL_MAX];

	forget_names(s, e);
	if (!d)
		return;
	struct str ns = doc_ns(d), name = doc_name(d);
	for (struct val_iter it = val_iter(doc_get(d, "spec.clusterIPs")); val_next(&it);)
		add_name(s, e, val_str(it.val), xasprintf("%.*s.%.*s", STR_ARG(name), STR_ARG(ns)));
	if (!val_is(doc_get(d, "spec.clusterIP"), "None"))
		return;
	for (size_t i = 0; i < e->s.n; i++) {
		for (struct val_iter it = val_iter(doc_get(e->s.slices[i], "endpoints")); val_next(&it);) {
			services_host_label(it.val, label);
			add_name(s, e, val_str(val_at(val_get(it.val, "addresses"), 0)),
				xasprintf("%s.%.*s.%.*s", label, STR_ARG(name), STR_ARG(ns)));
		}
	}
}

/* ---- changes --------------------------------------------------------------------------------- */

static struct str key_of(char *buf, size_t max, struct str ns, struct str name)
{
	int n = snprintf(buf, max, "s/%.*s/%.*s", STR_ARG(ns), STR_ARG(name));

	return str_n(buf, MIN((size_t)n, max - 1));
}
#define KEY_MAX 400

static void queue(struct services *s, struct str key)
{
	if (!map_get(s->queued, key))
		map_put(s->queued, key, s);
	task_broadcast(&s->changed);
}

static struct entry *need(struct services *s, struct str key)
{
	struct entry *e = map_get(s->entries, key);

	if (!e) {
		e = xcalloc(1, sizeof(*e));
		map_put(s->entries, key, e);
	}
	return e;
}

static void count_ns(struct services *s, struct str ns, int by)
{
	intptr_t n = (intptr_t)map_get(s->spaces, ns) + by;

	if (n > 0)
		map_put(s->spaces, ns, (void *)n);
	else
		map_del(s->spaces, ns);
}

static void drop_if_empty(struct services *s, struct entry *e, struct str key)
{
	if (!e->s.service && e->s.n == 0)
		map_del(s->entries, key);
}

void services_put(struct services *s, struct doc *before, struct doc *after)
{
	struct doc *any = after ? after : before;
	char buf[KEY_MAX];
	struct str key = key_of(buf, sizeof(buf), doc_ns(any), doc_name(any));

	task_lock(&s->lock);
	struct entry *e = need(s, key);
	if (!e->s.service != !after)
		count_ns(s, doc_ns(any), after ? 1 : -1);
	struct doc *old = e->s.service;
	e->s.service = after ? doc_ref(after) : NULL;
	note_names(s, e);
	doc_unref(old);
	drop_if_empty(s, e, key);
	queue(s, key);
	task_unlock(&s->lock);
}

static void remove_slice(struct services *s, struct str key, struct str name)
{
	struct entry *e = map_get(s->entries, key);

	for (size_t i = 0; e && i < e->s.n; i++) {
		if (!str_eq(doc_name(e->s.slices[i]), name))
			continue;
		doc_unref(e->s.slices[i]);
		memmove(&e->s.slices[i], &e->s.slices[i + 1], (e->s.n - i - 1) * sizeof(struct doc *));
		e->s.n--;
		break;
	}
	if (!e)
		return;
	note_names(s, e);
	drop_if_empty(s, e, key);
	queue(s, key);
}

static void add_slice(struct services *s, struct str key, struct doc *d)
{
	struct entry *e = need(s, key);
	size_t i = 0;

	while (i < e->s.n && !str_eq(doc_name(e->s.slices[i]), doc_name(d)))
		i++;
	if (i == e->s.n) {
		e->s.slices = xrealloc(e->s.slices, e->s.n + 1, sizeof(struct doc *));
		e->s.slices[e->s.n++] = NULL;
	}
	struct doc *old = e->s.slices[i];
	e->s.slices[i] = doc_ref(d);
	doc_unref(old);
	note_names(s, e);
	queue(s, key);
}

static struct str service_of(struct doc *slice)
{
	return slice ? val_str(val_get(doc_get(slice, "metadata.labels"), SERVICE_LABEL)) : STR_NULL;
}

void services_put_slice(struct services *s, struct doc *before, struct doc *after)
{
	struct str from = service_of(before), to = service_of(after);
	char buf[KEY_MAX];

	task_lock(&s->lock);
	if (from.n && !str_eq(from, to))
		remove_slice(s, key_of(buf, sizeof(buf), doc_ns(before), from), doc_name(before));
	if (to.n)
		add_slice(s, key_of(buf, sizeof(buf), doc_ns(after), to), after);
	task_unlock(&s->lock);
}

void services_touch(struct services *s, struct str key)
{
	task_lock(&s->lock);
	queue(s, key);
	task_unlock(&s->lock);
}

size_t services_wait(struct services *s, struct arena *a, struct mono until, struct str **ret_keys)
{
	struct str key;
	void *value;
	size_t n = 0;

	task_lock(&s->lock);
	while (map_len(s->queued) == 0 && !s->woken) {
		if (!task_wait_until(&s->changed, &s->lock, until))
			break;
	}
	s->woken = false;
	struct str *keys = ARENA_ARRAY(a, struct str, map_len(s->queued) + 1);
	for (size_t i = 0; map_next(s->queued, &i, &key, &value);)
		keys[n++] = arena_str(a, key);
	map_clear(s->queued);
	task_unlock(&s->lock);
	*ret_keys = keys;
	return n;
}

void services_wake(struct services *s)
{
	task_lock(&s->lock);
	s->woken = true;
	task_broadcast(&s->changed);
	task_unlock(&s->lock);
}

/* ---- reading --------------------------------------------------------------------------------- */

void services_lock(struct services *s)
{
	task_lock(&s->lock);
}

void services_unlock(struct services *s)
{
	task_unlock(&s->lock);
}

const struct service *services_find(struct services *s, struct str ns, struct str name)
{
	char buf[KEY_MAX];
	struct entry *e = map_get(s->entries, key_of(buf, sizeof(buf), ns, name));

	return e && e->s.service ? &e->s : NULL;
}

bool services_has_ns(struct services *s, struct str ns)
{
	return map_get(s->spaces, ns) != NULL;
}

size_t services_names(struct services *s, struct ip ip, const char *const **ret)
{
	struct name_list *n = map_get(s->names, str_n((const char *)&ip, sizeof(ip)));

	*ret = n ? (const char *const *)n->list : NULL;
	return n ? n->n : 0;
}

bool services_get(struct services *s, struct arena *a, struct str key, struct service *ret)
{
	bool found = false;

	task_lock(&s->lock);
	struct entry *e = map_get(s->entries, key);
	if (e && e->s.service) {
		*ret = (struct service){ doc_ref(e->s.service), ARENA_ARRAY(a, struct doc *, e->s.n + 1), e->s.n };
		doc_hold(a, ret->service);
		for (size_t i = 0; i < e->s.n; i++) {
			ret->slices[i] = doc_ref(e->s.slices[i]);
			doc_hold(a, ret->slices[i]);
		}
		found = true;
	}
	task_unlock(&s->lock);
	return found;
}

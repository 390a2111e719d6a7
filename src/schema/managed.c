/* metadata.managedFields on every write: who set which field, conflicts between appliers, fields given up. */
#include "base/buf.h"
#include "schema/fieldset.h"
#include <pthread.h>

#define UPDATES_MAX 10

struct entry {
	struct str manager, sub, version, time;
	bool apply;
	struct field_set *set;
};
struct managers {
	struct arena *a;
	struct entry *e;
	size_t n, cap;
	const char *told; /* the version that conflicts name; NULL: each entry's own */
};

/* ---- the list in metadata -------------------------------------------------------------------- */

static bool same(const struct entry *x, const struct entry *y)
{
	return x->apply == y->apply && str_eq(x->manager, y->manager) && str_eq(x->sub, y->sub) &&
		(x->apply || str_eq(x->version, y->version)); /* an applier is the same in every version */
}

static struct entry *find(struct managers *m, const struct entry *want)
{
	for (size_t i = 0; i < m->n; i++)
		if (same(&m->e[i], want))
			return &m->e[i];
	return NULL;
}

static struct entry *put(struct managers *m, struct entry e)
{
	struct entry *was = find(m, &e);

	if (was) {
		*was = e;
		return was;
	}
	ARENA_GROW(m->a, m->e, m->n, m->cap, 8);
	m->e[m->n] = e;
	return &m->e[m->n++];
}

static void drop_empty(struct managers *m)
{
	size_t to = 0;

	for (size_t i = 0; i < m->n; i++)
		if (!fs_empty(m->e[i].set))
			m->e[to++] = m->e[i];
	m->n = to;
}

static int read_managers(struct managers *m, struct val list, struct err *e)
{
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct entry en = {
			.manager = arena_str(m->a, val_str(val_get(it.val, "manager"))),
			.sub = arena_str(m->a, val_str(val_get(it.val, "subresource"))),
			.version = arena_str(m->a, val_str(val_get(it.val, "apiVersion"))),
			.time = arena_str(m->a, val_str(val_get(it.val, "time"))),
			.apply = val_is(val_get(it.val, "operation"), "Apply"),
		};
		int r;

		if (!en.apply && !val_is(val_get(it.val, "operation"), "Update"))
			return err_set(e, ERR_BAD_REQUEST,
				"metadata.managedFields[%zu].operation: must be `Apply` or `Update`", it.i);
		if (!en.version.n)
			return err_set(
				e, ERR_BAD_REQUEST, "metadata.managedFields[%zu].apiVersion: must not be empty", it.i);
		if (!val_is(val_get(it.val, "fieldsType"), "FieldsV1"))
			return err_set(
				e, ERR_BAD_REQUEST, "metadata.managedFields[%zu].fieldsType: must be `FieldsV1`", it.i);
		r = val_has(val_get(it.val, "fieldsV1")) ?
			field_set_parse(m->a, val_get(it.val, "fieldsV1"), &en.set, e) :
			0;
		if (r)
			return err_wrap(e, "metadata.managedFields[%zu]", it.i);
		put(m, en);
	}
	return 0;
}

/* Since it was written, the kind may have changed: of versions that are not served any more nothing is known, and what
 * is one value now is owned as one. */
static void bring_up_to_date(struct managers *m, const struct managed_write *w)
{
	for (size_t i = 0; i < m->n; i++) {
		struct entry *en = &m->e[i];

		if (w->served && !str_eq(en->version, w->api_version) && !w->served(w->arg, en->version))
			en->set = NULL;
		en->set = typed_whole(m->a, w->type, en->set);
	}
	drop_empty(m);
}

static int entry_cmp(const void *px, const void *py)
{
	const struct entry *x = px, *y = py;
	int c = (int)y->apply - (int)x->apply;

	c = c ? c : str_cmp(x->time, y->time);
	c = c ? c : str_cmp(x->manager, y->manager);
	c = c ? c : str_cmp(x->version, y->version);
	return c ? c : str_cmp(x->sub, y->sub);
}

static void sort(struct managers *m, int (*cmp)(const void *x, const void *y))
{
	if (m->n > 1)
		qsort(m->e, m->n, sizeof(*m->e), cmp);
}

static struct node *write_managers(struct managers *m)
{
	struct node *list = node_list(m->a);

	sort(m, entry_cmp);
	for (size_t i = 0; i < m->n; i++) {
		const struct entry *en = &m->e[i];
		struct node *n =
			node_pack(m->a, "{manager:S, operation:s}", en->manager, en->apply ? "Apply" : "Update");

		if (en->version.n)
			node_setc(n, "apiVersion", node_str(m->a, en->version));
		if (en->time.n)
			node_setc(n, "time", node_str(m->a, en->time));
		node_setc(n, "fieldsType", node_c(m->a, "FieldsV1"));
		node_setc(n, "fieldsV1", field_set_node(m->a, en->set));
		if (en->sub.n)
			node_setc(n, "subresource", node_str(m->a, en->sub));
		node_add(list, n);
	}
	return list;
}

/* Old update entries of one version become one, until there are few enough. */
static void cap_updates(struct managers *m)
{
	size_t updates = 0;

	sort(m, entry_cmp); /* updates last, oldest of them first */
	for (size_t i = 0; i < m->n; i++)
		updates += !m->e[i].apply;
	for (size_t i = 0; i < m->n && updates > UPDATES_MAX; i++) {
		struct entry *first = &m->e[i];

		if (first->apply || fs_empty(first->set))
			continue;
		for (size_t k = i + 1; k < m->n && updates > UPDATES_MAX; k++) {
			struct entry *next = &m->e[k];

			if (fs_empty(next->set) || !str_eq(first->version, next->version))
				continue;
			first->manager = STR("ancient-changes");
			first->sub = STR_NULL;
			first->set = fs_union(m->a, first->set, next->set);
			first->time = next->time;
			next->set = NULL;
			updates--;
		}
	}
	drop_empty(m);
}

/* ---- what is not managed --------------------------------------------------------------------- */

static struct arena *literals;
static struct field_set *nobodys, *only_status;

static struct field_set *literal_set(const char *json)
{
	struct field_set *s = NULL;
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse(str_c(json), &d, &e) || field_set_parse(literals, doc_root(d), &s, &e))
		PANIC("%s", e.message);
	doc_unref(d);
	return s;
}

/* Read by every write, changed by none. */
static void literals_make(void)
{
	literals = arena_new();
	nobodys = literal_set(
		"{\"f:apiVersion\":{},\"f:kind\":{},\"f:metadata\":{\".\":{},\"f:name\":{},\"f:namespace\":{},"
		"\"f:creationTimestamp\":{},\"f:selfLink\":{},\"f:uid\":{},\"f:clusterName\":{},\"f:generation\":{},"
		"\"f:managedFields\":{},\"f:resourceVersion\":{}}}");
	only_status = literal_set("{\"f:status\":{}}");
}

/* Identity and bookkeeping belong to nobody; status belongs to the status subresource and the rest to the others. */
static struct field_set *strip(struct arena *a, const struct managed_write *w, struct field_set *s)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct field_set *reset;

	pthread_once(&once, literals_make);
	s = fs_difference(a, s, nobodys);
	if (str_is(w->subresource, "status")) {
		reset = ARENA_NEW(a, struct field_set);
		for (uint32_t i = 0; s && i < s->n; i++)
			if (!str_is(s->e[i].text, "f:status") && !str_is(s->e[i].text, "f:metadata"))
				fs_put(a, reset, (struct fs_elem){ s->e[i].text, true, NULL });
		return fs_without_trees(a, s, reset);
	}
	if (!w->subresource.n && w->status_apart)
		return fs_without_trees(a, s, only_status);
	return s;
}

/* The part of a configuration that this endpoint does not write: it is neither merged nor a reason for a conflict. */
static void drop_foreign(const struct managed_write *w, struct node *config)
{
	if (!w->subresource.n && w->status_apart)
		node_delc(config, "status");
	if (!str_is(w->subresource, "status"))
		return;
	for (size_t i = node_len(config); i-- > 0;) {
		struct str key = node_key_at(config, i);

		if (!str_is(key, "apiVersion") && !str_is(key, "kind") && !str_is(key, "metadata") &&
			!str_is(key, "status"))
			node_del(config, key);
	}
}

static void drop_managed(struct node *object)
{
	node_del(node_getc(object, "metadata"), STR("managedFields"));
}

/* ---- conflicts ------------------------------------------------------------------------------- */

static void print_manager(struct buf *b, const struct managers *m, const struct entry *en)
{
	struct str version = m->told ? str_c(m->told) : en->version;

	buf_printf(b, "\"%.*s\"", STR_ARG(en->manager));
	if (en->sub.n)
		buf_printf(b, " with subresource \"%.*s\"", STR_ARG(en->sub));
	if (!en->apply)
		buf_printf(b, " using %.*s", STR_ARG(version));
}

struct conflicts {
	struct err *e;   /* causes go here, or NULL: the message is being written */
	struct buf text; /* one line a path, under its manager */
	struct buf who;
	struct buf last; /* path */
	size_t n;
};

static void one_conflict(void *arg, const char *path)
{
	struct conflicts *c = arg;

	if (c->e) {
		err_cause(c->e, "FieldManagerConflict", path, "conflict with %.*s", STR_ARG(buf_view(&c->who)));
		return;
	}
	buf_printf(&c->text, "\n- %s", path);
	buf_reset(&c->last);
	buf_c(&c->last, path);
	c->n++;
}

static void walk_conflicts(struct managers *m, struct field_set **sets, struct conflicts *c)
{
	for (size_t i = 0; i < m->n; i++) {
		if (fs_empty(sets[i]))
			continue;
		buf_reset(&c->who);
		print_manager(&c->who, m, &m->e[i]);
		if (!c->e)
			buf_printf(&c->text, "%sconflicts with %.*s:", c->n ? "\n" : "", STR_ARG(buf_view(&c->who)));
		fs_each(sets[i], one_conflict, c);
	}
}

static int by_manager(const void *px, const void *py)
{
	return str_cmp(((const struct entry *)px)->manager, ((const struct entry *)py)->manager);
}

static int conflict_error(struct managers *m, struct field_set **sets, struct err *e)
{
	struct conflicts c = { .text = BUF_INIT, .who = BUF_INIT, .last = BUF_INIT };
	int r;

	walk_conflicts(m, sets, &c);
	if (c.n == 1)
		r = err_set(e, ERR_CONFLICT, "Apply failed with 1 conflict: conflict with %.*s: %.*s",
			STR_ARG(buf_view(&c.who)), STR_ARG(buf_view(&c.last)));
	else
		r = err_set(e, ERR_CONFLICT, "Apply failed with %zu conflicts: %.*s", c.n, STR_ARG(buf_view(&c.text)));
	c.e = e;
	if (e)
		walk_conflicts(m, sets, &c);
	buf_fini(&c.text);
	buf_fini(&c.who);
	buf_fini(&c.last);
	return r;
}

static bool all_empty(struct field_set **sets, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!fs_empty(sets[i]))
			return false;
	return true;
}

/* What an apply changes that others manage, less what it may take from them without a word. */
static int refuse_conflicts(struct managers *m, struct field_set **conflicts, struct field_set *granted, struct err *e)
{
	struct field_set **left = ARENA_ARRAY(m->a, struct field_set *, m->n + 1);

	for (size_t i = 0; i < m->n; i++)
		left[i] = fs_difference(m->a, conflicts[i], granted);
	return all_empty(left, m->n) ? 0 : conflict_error(m, left, e);
}

/* Takes what changed from all managers but self; without force a changed field of another is a conflict, unless it is
 * granted. */
static int take_over(struct managers *m, const struct entry *self, const struct fs_diff *d, bool force,
	struct field_set *granted, struct err *e)
{
	struct field_set *touched = fs_union(m->a, d->modified, d->added);
	struct field_set **conflicts = ARENA_ARRAY(m->a, struct field_set *, m->n + 1);
	int r = 0;

	sort(m, by_manager); /* the order in which conflicts are told */

	for (size_t i = 0; i < m->n; i++)
		if (!self || !same(&m->e[i], self))
			conflicts[i] = fs_intersection(m->a, m->e[i].set, touched);
	if (!force)
		r = refuse_conflicts(m, conflicts, granted, e);
	for (size_t i = 0; r == 0 && i < m->n; i++) {
		if (self && same(&m->e[i], self))
			continue;
		m->e[i].set = fs_difference(m->a, m->e[i].set, conflicts[i]);
		m->e[i].set = fs_difference(m->a, m->e[i].set, d->removed);
	}
	return r;
}

/* ---- update ---------------------------------------------------------------------------------- */

static bool is_reset(struct node *list)
{
	if (node_kind(list) != VAL_LIST)
		return false;
	return !node_len(list) || (node_len(list) == 1 && !node_len(node_at(list, 0)));
}

static struct val doc_val(struct arena *a, struct node *n, struct doc **ret)
{
	*ret = node_publish(n);
	return doc_root(*ret);
}

/* The managers that count: the request's own list when it sends a good one, else the live object's. */
static int read_for_update(
	struct managers *m, const struct managed_write *w, struct val live, struct node *sent, struct err *e)
{
	struct doc *d;
	int r;

	if (!w->subresource.n && is_reset(sent))
		return 0;
	if (!w->subresource.n && node_len(sent)) {
		struct err ignored;

		err_init(&ignored);
		r = read_managers(m, doc_val(m->a, sent, &d), &ignored);
		doc_unref(d);
		if (!r && m->n)
			return 0;
		m->n = 0;
	}
	if (read_managers(m, val_path(live, "metadata.managedFields"), e)) {
		m->n = 0; /* unreadable: start again rather than refuse every write */
		err_init(e);
	}
	return 0;
}

static bool is_owned(struct managers *m, struct field_set *s)
{
	for (size_t i = 0; i < m->n; i++)
		if (!fs_empty(fs_intersection(m->a, m->e[i].set, s)))
			return true;
	return false;
}

static void track_update(struct managers *m, const struct managed_write *w, struct node *was, struct node *now)
{
	struct entry self = { .manager = w->manager, .sub = w->subresource, .version = w->api_version };
	struct fs_diff d = typed_compare(m->a, w->type, was, now);
	struct field_set *mine;
	struct entry *prior;
	struct err none;

	err_init(&none);
	if (str_is(w->subresource, "scale") && !is_owned(m, fs_union(m->a, d.modified, d.added)))
		return; /* to a scale that nobody manages tracking starts with the first apply */
	take_over(m, NULL, &d, true, NULL, &none);
	mine = strip(m->a, w, fs_union(m->a, d.modified, d.added));
	prior = find(m, &self);
	if (!fs_empty(mine)) {
		self.set = prior ? fs_union(m->a, prior->set, mine) : mine;
		self.time = w->now;
		put(m, self);
	}
	drop_empty(m);
}

static void store(struct managers *m, struct node *object)
{
	struct node *meta = node_need_map(object, "metadata");

	for (size_t i = 0; i < m->n; i++)
		m->e[i].manager = arena_str(m->a, m->e[i].manager);
	if (m->n)
		node_setc(meta, "managedFields", write_managers(m));
	else
		node_delc(meta, "managedFields");
}

/* A kind without a schema: every map is merged, every list is one value. */
static const struct schema_type untyped = { .kind = SCHEMA_RAW };

static struct managed_write with_type(const struct managed_write *w)
{
	struct managed_write typed = *w;

	typed.type = w->type ? w->type : &untyped;
	return typed;
}

int managed_update(
	struct arena *a, const struct managed_write *write, struct val live, struct node *object, struct err *e)
{
	struct managed_write typed = with_type(write), *w = &typed;
	struct managers m = { .a = a };
	struct node *sent = node_path(object, "metadata.managedFields"), *was;

	read_for_update(&m, w, live, sent, e);
	drop_managed(object);
	if (val_has(live) && !m.n) /* never tracked, or reset: tracking starts with the first apply */
		return 0;
	bring_up_to_date(&m, w);
	was = val_has(live) ? node_from(a, live) : node_map(a);
	drop_managed(was);
	track_update(&m, w, was, object);
	cap_updates(&m);
	store(&m, object);
	return 0;
}

/* ---- apply ----------------------------------------------------------------------------------- */

/* Fields that this applier had and does not send now go, unless another has them too. */
static void prune(struct managers *m, const struct managed_write *w, struct node *merged, struct field_set *last)
{
	struct field_set *kept = NULL, *gone;

	if (fs_empty(last))
		return;
	for (size_t i = 0; i < m->n; i++)
		kept = fs_union(m->a, kept, typed_ensure_named(m->a, w->type, m->e[i].set));
	gone = fs_difference(m->a, typed_ensure_named(m->a, w->type, last), kept);
	typed_remove(m->a, w->type, merged, gone);
}

static struct node *without_managed(struct arena *a, struct val v)
{
	struct node *n = node_from(a, v);

	drop_managed(n);
	return n;
}

/* An object that was never tracked: what it has now was there before the first apply. */
static void before_first_apply(struct managers *m, const struct managed_write *w, struct val live)
{
	struct managed_write before = { .type = w->type,
		.api_version = w->api_version,
		.now = w->now,
		.manager = STR("before-first-apply"),
		.subresource = w->subresource,
		.status_apart = w->status_apart };

	track_update(m, &before, node_map(m->a), without_managed(m->a, live));
}

/* Replicas that nobody manages, likewise; a scale without any is empty. Upstream looks at the Scale alone, in its version. */
static void before_first_scale(struct managers *m, const struct managed_write *w, struct field_set *replicas)
{
	m->told = "autoscaling/v1";
	if (!w->scaled || is_owned(m, replicas))
		return;
	put(m,
		(struct entry){ .manager = STR("before-first-apply"),
			.sub = w->subresource,
			.version = w->api_version,
			.time = w->now,
			.set = replicas });
}

int managed_check(struct arena *a, const struct schema_type *t, struct node *config, struct err *e)
{
	struct node *meta = node_getc(config, "metadata");
	struct str ns = node_text_str(node_getc(meta, "namespace")), name = node_text_str(node_getc(meta, "name")),
		   version = node_text_str(node_getc(config, "apiVersion"));
	const char *misfits;

	if (node_len(node_getc(meta, "managedFields")))
		return err_set(e, ERR_BAD_REQUEST, "metadata.managedFields must be nil");
	misfits = typed_misfits(a, t ? t : &untyped, config);
	if (!misfits)
		return 0;
	return err_set(e, ERR_BAD_REQUEST, "failed to create typed patch object (%.*s/%.*s; %s%.*s, Kind=%.*s): %s",
		STR_ARG(ns), STR_ARG(name), str_has(version, STR("/")) ? "" : "/", STR_ARG(version),
		STR_ARG(node_text_str(node_getc(config, "kind"))), misfits);
}

int managed_apply(struct arena *a, const struct managed_write *write, struct val live, struct val applied,
	struct node **ret, struct err *e)
{
	struct managed_write typed = with_type(write), *w = &typed;
	struct managers m = { .a = a };
	struct entry self = { .manager = w->manager, .sub = w->subresource, .version = w->api_version, .apply = true };
	struct node *config = node_from(a, applied), *merged, *was;
	struct entry *prior;
	struct field_set *last, *granted = NULL;
	bool kubectl = str_is(w->manager, "kubectl") && /* of its client side it is the heir */
		!str_is(w->subresource, "scale");       /* which never applied a Scale */
	struct fs_diff d;
	int r;

	drop_foreign(w, config);
	r = read_managers(&m, val_path(live, "metadata.managedFields"), e);
	if (r)
		return r;
	bool scale = str_is(w->subresource, "scale");
	if (val_has(live) && !m.n && !scale)
		before_first_apply(&m, w, live);
	bring_up_to_date(&m, w);
	if (scale)
		before_first_scale(&m, w, strip(a, w, typed_fields(a, w->type, config)));
	prior = find(&m, &self);
	last = prior ? prior->set : NULL;
	self.time = prior ? prior->time : STR_NULL;
	self.set = strip(a, w, typed_fields(a, w->type, config));
	was = val_has(live) ? without_managed(a, live) : node_map(a);
	merged = typed_merge(a, w->type, val_has(live) ? without_managed(a, live) : node_map(a), config);
	bool same_set = prior && fs_equal(prior->set, self.set);

	put(&m, self);
	prune(&m, w, merged, last);
	d = typed_compare(a, w->type, was, merged);
	typed_drop_nulls(a, w->type, merged);
	if (kubectl && !w->force)
		granted = last_applied_fields(a, w, live);
	r = take_over(&m, &self, &d, w->force, granted, e);
	if (r)
		return r;
	if (!same_set || !node_equal(was, merged) || !self.time.n)
		find(&m, &self)->time = w->now;
	drop_empty(&m);
	cap_updates(&m);
	store(&m, merged);
	if (kubectl)
		last_applied_refresh(a, val_has(w->sent) ? w->sent : applied, merged);
	*ret = merged;
	return 0;
}

struct field_set *field_set_of(struct arena *a, const struct schema_type *t, struct val object)
{
	struct managed_write w = { .type = t, .subresource = STR("*") };

	return strip(a, &w, typed_fields(a, t, node_from(a, object)));
}

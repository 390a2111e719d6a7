/* Follows the CustomResourceDefinitions: one task that makes their kinds served, tells so in their status, and empties
 * the kinds that go. */
#include "api/custom/custom.h"
#include "base/queue.h"

#define LOG_MODULE "crd"
#define GROUP "apiextensions.k8s.io"
#define RESOURCE "customresourcedefinitions"
#define VERSIONS_MAX 64
#define AGAIN_MS 500

struct crds {
	struct api *api;
	struct queue *due;  /* names to look at */
	struct map *served; /* name → struct served, own; the task's alone */
	struct task *task;
};

/* A definition whose rows are there, and the names it has there: its status may not have them yet. Own. */
struct served {
	struct doc *crd, *names;
};

void crds_changed(struct crds *c, struct str name)
{
	queue_add(c->due, name);
}

static void look_again(struct crds *c, struct str name)
{
	queue_add_after(c->due, name, AGAIN_MS);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void served_end(void *arg)
{
	struct served *s = arg;

	doc_unref(s->crd);
	doc_unref(s->names);
	free(s);
}

static void note_served(struct crds *c, struct doc *crd, struct doc *names)
{
	struct served *s = xcalloc(1, sizeof(*s));

	s->crd = doc_ref(crd);
	s->names = doc_ref(names);
	map_put(c->served, doc_name(crd), s);
}

/* What the rows are made of. */
static bool same_definition(const struct served *was, const struct doc *crd, const struct doc *names)
{
	return val_equal(doc_get(was->crd, "spec"), doc_get(crd, "spec")) &&
		val_equal(doc_root(was->names), doc_root(names)) &&
		val_has(doc_get(was->crd, "metadata.deletionTimestamp")) ==
		val_has(doc_get(crd, "metadata.deletionTimestamp"));
}

static size_t order_versions(struct doc *crd, size_t order[VERSIONS_MAX])
{
	struct val versions = doc_get(crd, "spec.versions");
	size_t n = 0;

	for (int storage = 1; storage >= 0; storage--)
		for (struct val_iter it = val_iter(versions); val_next(&it);)
			if (val_bool(val_get(it.val, "storage"), false) == storage && n < VERSIONS_MAX &&
				(storage || val_bool(val_get(it.val, "served"), false)))
				order[n++] = it.i;
	return n;
}

static int serve(struct crds *c, struct doc *crd, struct doc *names, struct err *e)
{
	struct custom *list[VERSIONS_MAX];
	size_t order[VERSIONS_MAX], n = order_versions(crd, order);
	auto_(arena_free) struct arena *a = arena_new();
	int rc = 0;

	for (size_t i = 0; i < n && rc >= 0; i++) {
		rc = custom_new(crd, doc_root(names), order[i], &list[i], e);
		if (rc < 0)
			n = i;
		else if (list[i]->terminating && !i)
			list[i]->served = true; /* so that its objects can be deleted */
	}
	if (rc < 0) {
		while (n--)
			custom_free(list[n]);
		return rc;
	}
	rc = resource_swap(c->api, arena_cstr(a, doc_str(crd, "spec.group")),
		arena_cstr(a, doc_str(crd, "spec.names.plural")), list, n, e);
	api_kinds_changed(c->api);
	return rc;
}

static void unserve(struct crds *c, struct str name)
{
	struct served *was = map_get(c->served, name);
	auto_(arena_free) struct arena *a = arena_new();
	struct err e;

	if (!was)
		return;
	err_init(&e);
	resource_swap(c->api, arena_cstr(a, doc_str(was->crd, "spec.group")),
		arena_cstr(a, doc_str(was->crd, "spec.names.plural")), NULL, 0, &e);
	api_kinds_changed(c->api);
	map_del(c->served, name);
}

/* ---- status ---------------------------------------------------------------------------------- */

/* Without the spec: a schema can be large, and of the body only status and metadata count. */
static void write_status(struct crds *c, struct arena *a, struct doc *crd, struct node *status)
{
	struct node *n = node_pack(a, "{metadata:v, status:o}", doc_get(crd, "metadata"), status);
	auto_(doc_unref) struct doc *body = NULL;
	struct err e;

	if (node_equal(status, node_from(a, doc_get(crd, "status"))))
		return;
	err_init(&e);
	body = node_publish(n);
	if (api_write_sub(c->api, V_UPDATE, GROUP, RESOURCE, "status", STR_NULL, doc_name(crd), body, NULL, &e) >= 0)
		return;
	if (e.code != ERR_NOT_FOUND && e.code != ERR_CONFLICT) /* of these its next event tells */
		log_warn("customresourcedefinition %.*s: status is not written: %s", STR_ARG(doc_name(crd)), e.message);
	if (e.code != ERR_NOT_FOUND)
		look_again(c, doc_name(crd));
}

static bool established(struct doc *crd)
{
	return val_is(
		val_get(val_find(doc_get(crd, "status.conditions"), "type", STR("Established")), "status"), "True");
}

/* ---- going ----------------------------------------------------------------------------------- */

static struct resource *row_of(struct crds *c, struct doc *crd)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct resource *r = api_resource_any(
		c->api, arena_cstr(a, doc_str(crd, "spec.group")), arena_cstr(a, doc_str(crd, "spec.names.plural")));

	return r && r->custom ? r : NULL;
}

/* Asks every object to go; how many are still there. */
static size_t empty(struct crds *c, struct arena *a, struct resource *r)
{
	int64_t rev;
	struct cache_list all = cache_list(r->stored->cache, a, STR_NULL, STR_NULL, 0, &rev);

	for (size_t i = 0; i < all.n; i++) {
		struct doc *d = all.items[i].doc;
		struct err e;

		if (val_has(doc_get(d, "metadata.deletionTimestamp")))
			continue;
		err_init(&e);
		if (api_write(c->api, V_DELETE, r->def.group, r->def.resource, doc_ns(d), doc_name(d), NULL, NULL, &e) <
				0 &&
			e.code != ERR_NOT_FOUND)
			log_warn("%s \"%.*s\": is not deleted: %s", r->group_resource, STR_ARG(all.items[i].key),
				e.message);
	}
	return cache_len(r->stored->cache);
}

static void let_go(struct crds *c, struct arena *a, struct doc *crd)
{
	struct node *n = node_from(a, doc_root(crd)), *kept = node_list(a);
	auto_(doc_unref) struct doc *body = NULL;
	struct err e;

	for (struct val_iter it = val_iter(doc_get(crd, "metadata.finalizers")); val_next(&it);)
		if (!val_is(it.val, CRD_FINALIZER))
			node_add(kept, node_from(a, it.val));
	node_set_path(n, "metadata.finalizers", kept);
	body = node_publish(n);
	err_init(&e);
	if (api_write(c->api, V_UPDATE, GROUP, RESOURCE, STR_NULL, doc_name(crd), body, NULL, &e) < 0 &&
		e.code != ERR_NOT_FOUND)
		look_again(c, doc_name(crd));
}

/* Said while objects that somebody holds keep the definition. */
static void tell_progress(struct crds *c, struct arena *a, struct doc *crd)
{
	struct node *status = node_copy(a, node_from(a, doc_get(crd, "status")));

	if (node_kind(status) != VAL_MAP)
		return;
	crd_condition(a, status, "Terminating", "True", "InstanceDeletionInProgress",
		"CustomResource deletion is in progress");
	write_status(c, a, crd, status);
}

static void wind_up(struct crds *c, struct arena *a, struct doc *crd)
{
	struct resource *r = row_of(c, crd);
	bool held = false;

	for (struct val_iter it = val_iter(doc_get(crd, "metadata.finalizers")); val_next(&it);)
		held |= val_is(it.val, CRD_FINALIZER);
	if (!held)
		return;
	if (!r || !empty(c, a, r)) {
		let_go(c, a, crd);
		return;
	}
	tell_progress(c, a, crd);
	look_again(c, doc_name(crd));
}

/* ---- one definition -------------------------------------------------------------------------- */

static void look_at(struct crds *c, struct str name)
{
	auto_(doc_unref) struct doc *crd = api_get(c->api, GROUP, RESOURCE, STR_NULL, name), *names = NULL;
	auto_(arena_free) struct arena *a = arena_new();
	struct served *was = map_get(c->served, name);
	struct node *status;
	bool accepted;
	struct err e;

	err_init(&e);
	if (!crd) {
		unserve(c, name);
		return;
	}
	status = crd_status(c->api, a, crd, &accepted);
	names = node_publish(node_getc(status, "acceptedNames"));
	bool serves = accepted || established(crd);
	if (serves && (!was || !same_definition(was, crd, names)) && serve(c, crd, names, &e) < 0) {
		log_warn("customresourcedefinition %.*s: is not served: %s", STR_ARG(name), e.message);
		crd_condition(a, status, "Established", "False", "NotAccepted", e.message);
		serves = false;
	} else if (serves) {
		crd_condition(a, status, "Established", "True", "InitialNamesAccepted",
			"the initial names have been accepted");
		note_served(c, crd, names);
	} else {
		crd_condition(a, status, "Established", "False", "NotAccepted", "not all names are accepted");
	}
	if (val_has(doc_get(crd, "metadata.deletionTimestamp")))
		wind_up(c, a, crd);
	else
		write_status(c, a, crd, status);
	resource_reap(c->api);
}

/* Those of the group that wait for a name. */
static void siblings(struct crds *c, struct str gone)
{
	auto_(arena_free) struct arena *a = arena_new();
	int64_t rev;
	struct cache_list all = cache_list(api_cache(c->api, GROUP, RESOURCE), a, STR_NULL, STR_NULL, 0, &rev);
	struct str head, group = str_cut(gone, '.', &head);

	for (size_t i = 0; i < all.n; i++)
		if (str_eq(doc_str(all.items[i].doc, "spec.group"), group) && !established(all.items[i].doc))
			crds_changed(c, doc_name(all.items[i].doc));
}

static void visit(void *arg, struct str name)
{
	struct crds *c = arg;
	bool was = map_get(c->served, name) != NULL;

	look_at(c, name);
	if (was && !map_get(c->served, name))
		siblings(c, name);
}

static void run(void *arg)
{
	struct crds *c = arg;

	queue_work(c->due, visit, c);
}

static struct doc *accepted_names(struct arena *a, const struct doc *crd)
{
	struct val names = doc_get(crd, "status.acceptedNames");

	return node_publish(val_kind(names) == VAL_MAP ? node_from(a, names) : node_map(a));
}

struct crds *crds_new(struct api *api)
{
	struct crds *c = xcalloc(1, sizeof(*c));
	auto_(arena_free) struct arena *a = arena_new();
	int64_t rev;

	c->api = api;
	c->due = queue_new((struct queue_opts){ 0 });
	c->served = map_new(served_end);
	struct cache_list all = cache_list(api_cache(api, GROUP, RESOURCE), a, STR_NULL, STR_NULL, 0, &rev);
	for (size_t i = 0; i < all.n; i++) {
		struct doc *d = all.items[i].doc;
		auto_(doc_unref) struct doc *names = accepted_names(a, d);
		struct err e;

		err_init(&e);
		if (established(d) && serve(c, d, names, &e) >= 0)
			note_served(c, d, names);
		else if (e.code)
			log_warn("customresourcedefinition %.*s: is not served: %s", STR_ARG(doc_name(d)), e.message);
		crds_changed(c, doc_name(d));
	}
	return c;
}

void crds_start(struct crds *c)
{
	api_controller_present(c->api, GROUP, RESOURCE);
	c->task = task_spawn("api-crd", run, c);
}

void crds_stop(struct crds *c)
{
	queue_stop(c->due);
	c->task = task_join(c->task);
}

void crds_free(struct crds *c)
{
	if (!c)
		return;
	crds_stop(c);
	queue_free(c->due);
	map_free(c->served);
	free(c);
}

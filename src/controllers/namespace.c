/* namespace: empties a namespace that is being deleted, then lets it go. */
#include "controllers/controllers_internal.h"

#define LOG_MODULE "controllers"
#define LOOK_AGAIN_MS 500
#define ASK_AGAIN_MS 5000 /* other servers */

#define N(id) &res_##id
const struct gvr *const namespaced_resources[] = { N(pods), N(deployments), N(replicasets), N(statefulsets),
	N(daemonsets), N(jobs), N(cronjobs), N(replicationcontrollers), N(services), N(endpoints), N(endpointslices),
	N(configmaps), N(secrets), N(serviceaccounts), N(persistentvolumeclaims), N(resourcequotas), N(limitranges),
	N(controllerrevisions), N(leases), N(networkpolicies), N(poddisruptionbudgets),
	&(const struct gvr){ "", "v1", "podtemplates" }, &(const struct gvr){ "networking.k8s.io", "v1", "ingresses" },
	&(const struct gvr){ "rbac.authorization.k8s.io", "v1", "roles" },
	&(const struct gvr){ "rbac.authorization.k8s.io", "v1", "rolebindings" }, N(horizontalpodautoscalers),
	&(const struct gvr){ "storage.k8s.io", "v1", "csistoragecapacities" },
	&(const struct gvr){ "resource.k8s.io", "v1", "resourceclaims" },
	&(const struct gvr){ "resource.k8s.io", "v1", "resourceclaimtemplates" }, N(events), NULL };
#undef N

/* How many of what, sorted by its name. */
struct tally {
	struct str what;
	size_t n;
	struct tally *next;
};
struct left {
	struct arena *a;
	size_t n;
	struct tally *resources;  /* "pods." */
	struct tally *finalizers; /* of these */
	struct str resource;      /* that is being counted */
};

/* Of other servers: what went wrong, as texts of the arena. */
struct others {
	const char *unknown, *failed; /* NULL: nothing */
	size_t n_unknown, n_failed;
};

static void count(struct arena *a, struct tally **list, struct str what)
{
	while (*list && str_cmp((*list)->what, what) < 0)
		list = &(*list)->next;
	if (!*list || !str_eq((*list)->what, what)) {
		struct tally *new = ARENA_NEW(a, struct tally);

		*new = (struct tally){ arena_str(a, what), 0, *list };
		*list = new;
	}
	(*list)->n++;
}

/* Whoever waits for a namespace to go reads there what holds it. */
static const char *tally_text(struct arena *a, const struct tally *list, const char *verb)
{
	const char *text = "";

	for (const struct tally *t = list; t; t = t->next)
		text = arena_printf(
			a, "%s%s%.*s %s %zu resource instances", text, *text ? ", " : "", STR_ARG(t->what), verb, t->n);
	return text;
}

static void count_left(void *arg, struct doc *take)
{
	struct left *left = arg;

	left->n++;
	count(left->a, &left->resources, left->resource);
	for (struct val_iter it = val_iter(doc_get(take, "metadata.finalizers")); val_next(&it);)
		count(left->a, &left->finalizers, val_str(it.val));
	doc_unref(take);
}

static void count_any(void *arg, struct doc *take)
{
	++*(size_t *)arg;
	doc_unref(take);
}

static int delete_all(struct ctl *c, struct arena *a, struct gvr r, struct str ns, struct err *e)
{
	struct client_request del = { .verb = VERB_DELETE_COLLECTION, .res = r, .ns = ns };

	del.body = node_publish(
		node_pack(a, "{propagationPolicy:'Background'}")); /* nothing is left behind as an orphan */
	int rc = client_call(c->client, &del, NULL, e);
	doc_unref(del.body);
	return rc;
}

struct names {
	struct arena *a;
	struct name {
		struct name *next;
		struct str s;
	} * first;
};

static void keep_name(void *arg, struct doc *take)
{
	struct names *all = arg;
	struct name *one = ARENA_NEW(all->a, struct name);

	*one = (struct name){ all->first, arena_str(all->a, doc_name(take)) };
	all->first = one;
	doc_unref(take);
}

static int delete_each(struct ctl *c, struct arena *a, struct gvr r, struct str ns, struct err *e)
{
	struct client_request list = { .verb = VERB_LIST, .res = r, .ns = ns };
	struct names all = { .a = a };
	char revision[24];

	if (client_list(c->client, &list, keep_name, &all, revision, e) < 0)
		return -e->code;
	for (const struct name *one = all.first; one; one = one->next) {
		struct client_delete how = { .grace_s = -1, .propagation = "Background" };

		if (client_delete(c->client, r, ns, one->s, how, e) < 0 && e->code != ERR_NOT_FOUND)
			return -e->code;
		err_init(e);
	}
	return 0;
}

/* Deletes what is there of one resource; *left: what remains. */
static int empty(
	struct ctl *c, struct arena *a, struct gvr r, bool together, struct str ns, struct left *left, struct err *e)
{
	struct client_request list = { .verb = VERB_LIST, .res = r, .ns = ns };
	char revision[24];
	size_t n = 0;

	if (client_list(c->client, &list, count_any, &n, revision, e) < 0)
		return e->code == ERR_NOT_FOUND ? 0 : err_wrap(e, "list %s", r.resource);
	if (!n)
		return 0;
	if ((together ? delete_all : delete_each)(c, a, r, ns, e) < 0)
		return err_wrap(e, "delete %s", r.resource);
	left->resource = arena_strf(a, "%s.%s", r.resource, r.group);
	if (client_list(c->client, &list, count_left, left, revision, e) < 0)
		return err_wrap(e, "list %s", r.resource);
	return 0;
}

static bool has_verb(struct val verbs, const char *verb)
{
	for (struct val_iter it = val_iter(verbs); val_next(&it);)
		if (val_is(it.val, verb))
			return true;
	return false;
}

static int empty_custom(struct ctl *c, struct arena *a, struct str ns, struct left *left, struct err *e)
{
	struct informer_list l = informer_list(ctl_informer(c, res_customresourcedefinitions), a, NULL, STR_NULL);
	struct gvr r;

	for (size_t i = 0; i < l.n; i++)
		if (val_is(doc_get(l.items[i], "spec.scope"), "Namespaced") && defined_resource(a, l.items[i], &r) &&
			empty(c, a, r, true, ns, left, e) < 0)
			return -e->code;
	return 0;
}

static void empty_group(struct ctl *c, struct arena *a, struct gvr of, struct doc *kinds, struct str ns,
	struct left *left, struct others *o)
{
	for (struct val_iter it = val_iter(doc_get(kinds, "resources")); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name"));
		struct val verbs = val_get(it.val, "verbs");
		struct err e;

		err_init(&e);
		of.resource = arena_cstr(a, name);
		if (!val_bool(val_get(it.val, "namespaced"), false) || str_has(name, STR("/")) ||
			!has_verb(verbs, "list") || !has_verb(verbs, "delete") ||
			empty(c, a, of, has_verb(verbs, "deletecollection"), ns, left, &e) >= 0)
			continue;
		o->failed = arena_printf(a, "%s%s%s", o->n_failed ? o->failed : "", o->n_failed ? ", " : "", e.message);
		o->n_failed++;
	}
}

/* Kinds of other servers. One that does not answer keeps nothing else from being emptied. */
static struct others empty_others(struct ctl *c, struct arena *a, struct str ns, struct left *left)
{
	struct informer_list l = informer_list(ctl_informer(c, res_apiservices), a, NULL, STR_NULL);
	struct others o = { 0 };

	for (size_t i = 0; i < l.n; i++) {
		auto_(doc_unref) struct doc *kinds = NULL;
		struct gvr of = { arena_cstr(a, doc_str(l.items[i], "spec.group")),
			arena_cstr(a, doc_str(l.items[i], "spec.version")), "" };
		struct err e;

		if (!val_has(doc_get(l.items[i], "spec.service")))
			continue;
		err_init(&e);
		if (client_discover(c->client, of.group, of.version, &kinds, &e) >= 0) {
			empty_group(c, a, of, kinds, ns, left, &o);
			continue;
		}
		o.unknown =
			arena_printf(a, "%s%s%s/%s: stale GroupVersion discovery: %s/%s", o.n_unknown ? o.unknown : "",
				o.n_unknown ? ", " : "", of.group, of.version, of.group, of.version);
		o.n_unknown++;
	}
	return o;
}

static int write_conditions(struct ctl *c, struct arena *a, struct doc *ns, const struct left *left,
	const struct others *others, struct err *e)
{
	struct node *status = node_copy(a, node_from(a, doc_get(ns, "status"))), *conditions;
	const char *remain = left->n ? "True" : "False", *wait = left->finalizers ? "True" : "False";

	conditions = node_need_list(status, "conditions");
	set_condition(a, conditions, "NamespaceDeletionDiscoveryFailure", others->unknown ? "True" : "False",
		others->unknown ? "DiscoveryFailed" : "ResourcesDiscovered",
		others->unknown ?
			arena_printf(a,
				"Discovery failed for some groups, %zu failing: unable to retrieve the complete list of "
				"server APIs: %s",
				others->n_unknown, others->unknown) :
			"All resources successfully discovered",
		false);
	set_condition(a, conditions, "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
		"All legacy kube types successfully parsed", false);
	set_condition(a, conditions, "NamespaceDeletionContentFailure", others->failed ? "True" : "False",
		others->failed ? "ContentDeletionFailed" : "ContentDeleted",
		others->failed ? arena_printf(a, "Failed to delete all resource types, %zu remaining: %s",
					 others->n_failed, others->failed) :
				 "All content successfully deleted, may be waiting on finalization",
		false);
	set_condition(a, conditions, "NamespaceContentRemaining", remain,
		left->n ? "SomeResourcesRemain" : "ContentRemoved",
		left->n ? arena_printf(a, "Some resources are remaining: %s", tally_text(a, left->resources, "has")) :
			  "All content successfully removed",
		false);
	set_condition(a, conditions, "NamespaceFinalizersRemaining", wait,
		left->finalizers ? "SomeFinalizersRemain" : "ContentHasNoFinalizers",
		left->finalizers ? arena_printf(a, "Some content in the namespace has finalizers remaining: %s",
					   tally_text(a, left->finalizers, "in")) :
				   "All content-preserving finalizers finished",
		false);
	return write_status(c, a, res_namespaces, ns, status, e);
}

static int finalize(struct ctl *c, struct arena *a, struct doc *ns, struct err *e)
{
	struct node *object = node_from(a, doc_root(ns)), *kept = node_list(a);
	auto_(doc_unref) struct doc *body = NULL;
	struct client_request rq = {
		.verb = VERB_UPDATE, .res = res_namespaces, .name = doc_name(ns), .sub = "finalize"
	};

	for (struct val_iter it = val_iter(doc_get(ns, "spec.finalizers")); val_next(&it);)
		if (!val_is(it.val, "kubernetes"))
			node_add(kept, node_from(a, it.val));
	node_setc(node_need_map(object, "spec"), "finalizers", kept);
	node_delc(node_getc(object, "metadata"), "resourceVersion");
	body = node_publish(object);
	rq.body = body;
	if (client_call(c->client, &rq, NULL, e) < 0 && e->code != ERR_NOT_FOUND)
		return err_wrap(e, "finalize");
	err_init(e);
	return 0;
}

static bool is_ours_to_end(const struct doc *ns)
{
	for (struct val_iter it = val_iter(doc_get(ns, "spec.finalizers")); val_next(&it);)
		if (val_is(it.val, "kubernetes"))
			return true;
	return false;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	auto_(doc_unref) struct doc *ns = informer_get(ctl_informer(c, res_namespaces), STR_NULL, key);
	struct left left = { .a = a };
	struct others others;

	if (!ns || !is_deleting(ns) || !is_ours_to_end(ns))
		return 0;
	for (size_t i = 0; namespaced_resources[i]; i++) {
		if (empty(c, a, *namespaced_resources[i], true, key, &left, e) < 0)
			return -e->code;
		if (i == 0 && left.n) /* pods end before what they use is taken from under them */
			break;
	}
	if (empty_custom(c, a, key, &left, e) < 0)
		return -e->code;
	others = empty_others(c, a, key, &left);
	if (write_conditions(c, a, ns, &left, &others, e) < 0 && e->code != ERR_CONFLICT)
		return -e->code;
	err_init(e);
	if (!left.n && !others.unknown && !others.failed)
		return finalize(c, a, ns, e);
	ctl_add_after(c, key, left.n ? LOOK_AGAIN_MS : ASK_AGAIN_MS);
	return 0;
}

/* Only looked at. */
static void no_key(struct ctl *c, struct doc *before, struct doc *after)
{
	(void)c;
	(void)before;
	(void)after;
}

/* Another server answers, or does not any more: whoever waits for it is looked at. */
static void key_ending(struct ctl *c, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list l = informer_list(ctl_informer(c, res_namespaces), a, NULL, STR_NULL);

	if (!val_has(doc_get(after ? after : before, "spec.service")))
		return;
	for (size_t i = 0; i < l.n; i++)
		if (is_deleting(l.items[i]))
			ctl_add_doc(c, l.items[i]);
}

const struct controller namespace_controller = {
	.name = "namespace-controller",
	.help = "empties namespaces that are being deleted",
	.handles = "/namespaces",
	.watches = { { &res_namespaces, key_self }, { &res_customresourcedefinitions, no_key },
		{ &res_apiservices, key_ending } },
	.reconcile = reconcile,
};

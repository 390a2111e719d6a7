/* namespace: empties a namespace that is being deleted, then lets it go. */
#include "controllers/controllers_internal.h"

#define LOG_MODULE "controllers"
#define LOOK_AGAIN_MS 500

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

struct left {
	size_t n;
	size_t finalizers;
};

static void count_left(void *arg, struct doc *take)
{
	struct left *left = arg;

	left->n++;
	left->finalizers += val_len(doc_get(take, "metadata.finalizers")) > 0;
	doc_unref(take);
}

/* Deletes what is there of one resource; *left: what remains. */
static int empty(struct ctl *c, struct arena *a, struct gvr r, struct str ns, struct left *left, struct err *e)
{
	struct client_request list = { .verb = VERB_LIST, .res = r, .ns = ns },
			      del = { .verb = VERB_DELETE_COLLECTION, .res = r, .ns = ns };
	char revision[24];
	struct left now = { 0 };
	int rc;

	if (client_list(c->client, &list, count_left, &now, revision, e) < 0)
		return e->code == ERR_NOT_FOUND ? 0 : err_wrap(e, "list %s", r.resource);
	if (!now.n)
		return 0;
	del.body = node_publish(
		node_pack(a, "{propagationPolicy:'Background'}")); /* nothing is left behind as an orphan */
	rc = client_call(c->client, &del, NULL, e);
	doc_unref(del.body);
	if (rc < 0)
		return err_wrap(e, "delete %s", r.resource);
	now = (struct left){ 0 };
	if (client_list(c->client, &list, count_left, &now, revision, e) < 0)
		return err_wrap(e, "list %s", r.resource);
	left->n += now.n;
	left->finalizers += now.finalizers;
	return 0;
}

static int empty_custom(struct ctl *c, struct arena *a, struct str ns, struct left *left, struct err *e)
{
	struct informer_list l = informer_list(ctl_informer(c, res_customresourcedefinitions), a, NULL, STR_NULL);
	struct gvr r;

	for (size_t i = 0; i < l.n; i++)
		if (val_is(doc_get(l.items[i], "spec.scope"), "Namespaced") && defined_resource(a, l.items[i], &r) &&
			empty(c, a, r, ns, left, e) < 0)
			return -e->code;
	return 0;
}

static int write_conditions(struct ctl *c, struct arena *a, struct doc *ns, const struct left *left, struct err *e)
{
	struct node *status = node_copy(a, node_from(a, doc_get(ns, "status"))), *conditions;
	const char *remain = left->n ? "True" : "False", *wait = left->finalizers ? "True" : "False";

	conditions = node_need_list(status, "conditions");
	set_condition(a, conditions, "NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered",
		"All resources successfully discovered", false);
	set_condition(a, conditions, "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
		"All legacy kube types successfully parsed", false);
	set_condition(a, conditions, "NamespaceDeletionContentFailure", "False", "ContentDeleted",
		"All content successfully deleted, may be waiting on finalization", false);
	set_condition(a, conditions, "NamespaceContentRemaining", remain,
		left->n ? "SomeResourcesRemain" : "ContentRemoved",
		left->n ? arena_printf(a, "Some resources are remaining: %zu resource instances", left->n) :
			  "All content successfully removed",
		false);
	set_condition(a, conditions, "NamespaceFinalizersRemaining", wait,
		left->finalizers ? "SomeFinalizersRemain" : "ContentHasNoFinalizers",
		left->finalizers ?
			arena_printf(a,
				"Some content in the namespace has finalizers remaining: in %zu resource instances",
				left->finalizers) :
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
	struct left left = { 0 };

	if (!ns || !is_deleting(ns) || !is_ours_to_end(ns))
		return 0;
	for (size_t i = 0; namespaced_resources[i]; i++) {
		if (empty(c, a, *namespaced_resources[i], key, &left, e) < 0)
			return -e->code;
		if (i == 0 && left.n) /* pods end before what they use is taken from under them */
			break;
	}
	if (empty_custom(c, a, key, &left, e) < 0)
		return -e->code;
	if (write_conditions(c, a, ns, &left, e) < 0 && e->code != ERR_CONFLICT)
		return -e->code;
	err_init(e);
	if (!left.n)
		return finalize(c, a, ns, e);
	ctl_add_after(c, key, LOOK_AGAIN_MS);
	return 0;
}

/* Only looked at. */
static void no_key(struct ctl *c, struct doc *before, struct doc *after)
{
	(void)c;
	(void)before;
	(void)after;
}

const struct controller namespace_controller = {
	.name = "namespace-controller",
	.help = "empties namespaces that are being deleted",
	.handles = "/namespaces",
	.watches = { { &res_namespaces, key_self }, { &res_customresourcedefinitions, no_key } },
	.reconcile = reconcile,
};

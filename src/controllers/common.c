/* Ownership, conditions and the writes that most controllers make. */
#include "controllers/controllers_internal.h"

#define LOG_MODULE "controllers"

/* ---- ownership ------------------------------------------------------------------------------- */

struct val controller_ref(const struct doc *d)
{
	for (struct val_iter it = val_iter(doc_get(d, "metadata.ownerReferences")); val_next(&it);)
		if (val_bool(val_get(it.val, "controller"), false))
			return it.val;
	return VAL_NONE;
}

bool controlled_by(const struct doc *d, struct str uid)
{
	return uid.n && str_eq(val_str(val_get(controller_ref(d), "uid")), uid);
}

bool is_deleting(const struct doc *d)
{
	return doc_str(d, "metadata.deletionTimestamp").n > 0;
}

struct node *owner_reference(struct arena *a, const struct doc *owner)
{
	return node_pack(a, "{apiVersion:S, kind:S, name:S, uid:S, controller:true, blockOwnerDeletion:true}",
		doc_str(owner, "apiVersion"), doc_str(owner, "kind"), doc_name(owner), doc_uid(owner));
}

/* References of d with ours added or taken out, guarded by its uid. */
static int patch_references(
	struct ctl *c, struct arena *a, struct gvr r, struct doc *owner, struct doc *d, bool adopt, struct err *e)
{
	struct node *refs = node_list(a), *patch;

	for (struct val_iter it = val_iter(doc_get(d, "metadata.ownerReferences")); val_next(&it);)
		if (!str_eq(val_str(val_get(it.val, "uid")), doc_uid(owner)))
			node_add(refs, node_from(a, it.val));
	if (adopt)
		node_add(refs, owner_reference(a, owner));
	patch = node_pack(a, "{metadata:{uid:S, resourceVersion:S, ownerReferences:o}}", doc_uid(d),
		doc_str(d, "metadata.resourceVersion"), refs);
	return merge_patch(c, r, d, NULL, patch, NULL, e);
}

struct claimed {
	struct doc **items;
	size_t n;
};

/* What the index of owners gives: kept while it matches, let go otherwise. */
static int keep_or_release(struct ctl *c, struct arena *a, struct doc *owner, const struct selector *s, struct gvr r,
	struct informer_list mine, struct claimed *out, struct err *e)
{
	for (size_t i = 0; i < mine.n; i++) {
		struct doc *d = mine.items[i];

		if (selector_matches(s, doc_get(d, "metadata.labels")) || is_deleting(d)) {
			out->items[out->n++] = d;
			continue;
		}
		if (!is_deleting(owner) && patch_references(c, a, r, owner, d, false, e) < 0 &&
			e->code != ERR_NOT_FOUND)
			return err_wrap(e, "let go of %.*s", STR_ARG(doc_name(d)));
	}
	return 0;
}

/* Before adopting, make sure that the owner is still the one we know: the informer may be behind. */
static int still_there(struct ctl *c, struct doc *owner, struct gvr owner_res, struct err *e)
{
	auto_(doc_unref) struct doc *now = NULL;

	if (client_get(c->client, owner_res, doc_ns(owner), doc_name(owner), &now, e) < 0)
		return -e->code;
	if (!str_eq(doc_uid(now), doc_uid(owner)) || is_deleting(now))
		return err_set(e, ERR_CONFLICT, "the object is another one now, or is going");
	return 0;
}

static int adopt_all(struct ctl *c, struct arena *a, struct doc *owner, struct gvr owner_res, const struct selector *s,
	struct gvr r, struct informer_list all, struct claimed *out, struct err *e)
{
	bool checked = false;

	for (size_t i = 0; i < all.n; i++) {
		struct doc *d = all.items[i];

		if (val_has(controller_ref(d)) || is_deleting(d) || !selector_matches(s, doc_get(d, "metadata.labels")))
			continue;
		if (!checked && still_there(c, owner, owner_res, e) < 0)
			return err_wrap(e, "adopt %.*s", STR_ARG(doc_name(d)));
		checked = true;
		if (patch_references(c, a, r, owner, d, true, e) < 0) {
			if (e->code == ERR_NOT_FOUND)
				continue;
			return err_wrap(e, "adopt %.*s", STR_ARG(doc_name(d)));
		}
		out->items[out->n++] = d;
	}
	return 0;
}

struct informer_list claim(
	struct ctl *c, struct arena *a, struct doc *owner, struct val label_selector, struct gvr r, struct err *e)
{
	struct informer *i = ctl_informer(c, r);
	struct informer_list mine = informer_list(i, a, "owner", doc_uid(owner)),
			     all = informer_list(i, a, "ns", doc_ns(owner));
	struct claimed out = { ARENA_ARRAY(a, struct doc *, mine.n + all.n + 1), 0 };
	const struct selector *s;

	if (selector_of(a, label_selector, &s, e) < 0)
		return (struct informer_list){ 0 };
	if (keep_or_release(c, a, owner, s, r, mine, &out, e) < 0)
		return (struct informer_list){ 0 };
	if (!is_deleting(owner) && !selector_is_everything(s) &&
		adopt_all(c, a, owner, *c->def->watches[0].res, s, r, all, &out, e) < 0)
		return (struct informer_list){ 0 };
	return (struct informer_list){ out.items, out.n };
}

struct gvr ctl_kind(struct ctl *c)
{
	return *c->def->watches[0].res;
}

struct val ctl_selector(struct ctl *c, struct arena *a, struct doc *set)
{
	struct val selector = doc_get(set, "spec.selector");
	struct doc *d;

	if (!gvr_eq(ctl_kind(c), res_replicationcontrollers))
		return selector;
	d = node_publish(node_pack(a, "{matchLabels:v}", selector));
	doc_hold(a, d);
	return doc_root(d);
}

void key_claimed(struct ctl *c, struct doc *before, struct doc *after)
{
	auto_(arena_free) struct arena *a = NULL;
	struct informer_list sets;

	key_controller(c, before, after);
	if (!after || val_has(controller_ref(after)) || is_deleting(after))
		return;
	a = arena_new();
	sets = informer_list(ctl_informer(c, ctl_kind(c)), a, "ns", doc_ns(after));
	for (size_t i = 0; i < sets.n; i++) {
		const struct selector *s;
		struct err e;

		err_init(&e);
		if (selector_of(a, ctl_selector(c, a, sets.items[i]), &s, &e) >= 0 &&
			selector_matches(s, doc_get(after, "metadata.labels")))
			ctl_add_doc(c, sets.items[i]);
	}
}

/* ---- conditions ------------------------------------------------------------------------------ */

struct val condition_of(struct val object, const char *type)
{
	return val_find(val_path(object, "status.conditions"), "type", str_c(type));
}

const char *now_text(struct arena *a)
{
	char text[TIME_TEXT_MAX];

	wall_rfc3339(wall_now(), text);
	return arena_strdup(a, text);
}

static struct node *node_condition(struct node *conditions, const char *type)
{
	for (size_t i = 0; i < node_len(conditions); i++)
		if (str_is(node_text_str(node_getc(node_at(conditions, i), "type")), type))
			return node_at(conditions, i);
	return NULL;
}

bool set_condition(struct arena *a, struct node *conditions, const char *type, const char *status, const char *reason,
	const char *message, bool with_update_time)
{
	struct node *old = node_condition(conditions, type);
	const char *now = now_text(a);
	bool same_status = old && str_is(node_text_str(node_getc(old, "status")), status);

	if (same_status && str_is(node_text_str(node_getc(old, "reason")), reason) &&
		(with_update_time || str_is(node_text_str(node_getc(old, "message")), message)))
		return false;
	if (!old) {
		old = node_pack(a, "{type:s}", type);
		node_add(conditions, old);
	}
	node_setc(old, "status", node_c(a, status));
	if (with_update_time)
		node_setc(old, "lastUpdateTime", node_c(a, now));
	if (!same_status)
		node_setc(old, "lastTransitionTime", node_c(a, now));
	node_setc(old, "reason", node_c(a, reason));
	node_setc(old, "message", node_c(a, message));
	return true;
}

/* ---- pods ------------------------------------------------------------------------------------ */

bool pod_ready(const struct doc *pod)
{
	return val_is(val_get(condition_of(doc_root(pod), "Ready"), "status"), "True");
}

bool pod_available(const struct doc *pod, int64_t min_ready_s, int64_t *wait_ms)
{
	struct val ready = condition_of(doc_root(pod), "Ready");
	struct wall since;
	int64_t left;

	if (wait_ms)
		*wait_ms = 0;
	if (!val_is(val_get(ready, "status"), "True"))
		return false;
	if (!min_ready_s)
		return true;
	if (!wall_parse(val_str(val_get(ready, "lastTransitionTime")), &since))
		return false;
	left = min_ready_s * 1000 - (wall_now().ns - since.ns) / 1000000;
	if (left <= 0)
		return true;
	if (wait_ms)
		*wait_ms = left;
	return false;
}

bool pod_ended(const struct doc *pod)
{
	struct str phase = doc_str(pod, "status.phase");

	return str_is(phase, "Succeeded") || str_is(phase, "Failed");
}

bool pod_active(const struct doc *pod)
{
	return !pod_ended(pod) && !is_deleting(pod);
}

bool namespace_ends(const struct err *e)
{
	return e->code == ERR_FORBIDDEN && strstr(e->message, "being terminated");
}

/* What became of a pod, NULL: no failure. StatefulSets have words of their own. */
static void say_of_pod(struct ctl *c, struct doc *owner, bool create, struct str pod, const char *failure)
{
	const char *type = failure ? "Warning" : "Normal", *reason = create ? "SuccessfulCreate" : "SuccessfulDelete";

	if (failure)
		reason = create ? "FailedCreate" : "FailedDelete";
	if (str_is(doc_str(owner, "kind"), "StatefulSet"))
		recorder_event(c->recorder, owner, type, reason, "%s Pod %.*s in StatefulSet %.*s %s%s",
			create ? "create" : "delete", STR_ARG(pod), STR_ARG(doc_name(owner)),
			failure ? "failed error: " : "successful", failure ? failure : "");
	else if (failure)
		recorder_event(
			c->recorder, owner, type, reason, "Error %s: %s", create ? "creating" : "deleting", failure);
	else
		recorder_event(
			c->recorder, owner, type, reason, "%s pod: %.*s", create ? "Created" : "Deleted", STR_ARG(pod));
}

int create_pod(struct ctl *c, struct arena *a, struct doc *owner, struct val template, struct node *more_labels,
	const char *name, struct doc **ret, struct err *e)
{
	struct node *meta = node_map(a),
		    *labels = val_has(val_path(template, "metadata.labels")) ?
		node_copy(a, node_from(a, val_path(template, "metadata.labels"))) :
		node_map(a);
	static const char *const copied[] = { "annotations", "finalizers" };
	auto_(doc_unref) struct doc *body = NULL, *made = NULL;

	for (size_t i = 0; i < node_len(more_labels); i++)
		node_set(labels, node_key_at(more_labels, i), node_get(more_labels, node_key_at(more_labels, i)));
	if (name && name[strlen(name) - 1] == '-')
		node_setc(meta, "generateName", node_c(a, name));
	else if (name)
		node_setc(meta, "name", node_c(a, name));
	else
		node_setc(meta, "generateName", node_strf(a, "%.*s-", STR_ARG(doc_name(owner))));
	node_setc(meta, "namespace", node_str(a, doc_ns(owner)));
	node_setc(meta, "labels", labels);
	for (size_t i = 0; i < ARRAY_LEN(copied); i++)
		if (val_has(val_get(val_get(template, "metadata"), copied[i])))
			node_setc(meta, copied[i], node_from(a, val_get(val_get(template, "metadata"), copied[i])));
	node_setc(meta, "ownerReferences", node_pack(a, "[o]", owner_reference(a, owner)));
	body = node_publish(
		node_pack(a, "{apiVersion:'v1', kind:'Pod', metadata:o, spec:v}", meta, val_get(template, "spec")));
	if (client_create(c->client, res_pods, doc_ns(owner), body, &made, e) < 0) {
		if (e->code != ERR_CANCELED && !namespace_ends(e))
			say_of_pod(c, owner, true, name ? str_c(name) : STR_NULL, e->message);
		return err_wrap(e, "create pod");
	}
	say_of_pod(c, owner, true, doc_name(made), NULL);
	if (ret)
		*ret = TAKE(made);
	return 0;
}

int delete_pod(struct ctl *c, struct arena *a, struct doc *owner, struct str key, struct doc *pod, struct err *e)
{
	auto_(doc_unref) struct doc *options = NULL, *answer = NULL;
	struct client_request rq = { .verb = VERB_DELETE, .res = res_pods, .ns = doc_ns(pod), .name = doc_name(pod) };

	options = node_publish(
		node_pack(a, "{apiVersion:'v1', kind:'DeleteOptions', preconditions:{uid:S}}", doc_uid(pod)));
	rq.body = options;
	if (client_call(c->client, &rq, &answer, e) < 0) {
		if (e->code == ERR_NOT_FOUND || e->code == ERR_CONFLICT) {
			err_init(e);
			return 0; /* it is gone, or another one has its name */
		}
		say_of_pod(c, owner, false, doc_name(pod), e->message);
		return err_wrap(e, "delete pod %.*s", STR_ARG(doc_name(pod)));
	}
	ctl_wrote(c, key, answer);
	say_of_pod(c, owner, false, doc_name(pod), NULL);
	return 0;
}

/* ---- writes ---------------------------------------------------------------------------------- */

int write_status(struct ctl *c, struct arena *a, struct gvr r, struct doc *object, struct node *status, struct err *e)
{
	struct node *whole = node_from(a, doc_root(object));
	auto_(doc_unref) struct doc *body = NULL, *now = NULL;

	if (node_equal(node_getc(whole, "status"), status))
		return 0;
	node_setc(whole, "status", status);
	body = node_publish(whole);
	if (client_update_sub(c->client, r, "status", body, &now, e) < 0)
		return e->code == ERR_NOT_FOUND ? 0 : err_wrap(e, "write status");
	return 0;
}

int merge_patch(struct ctl *c, struct gvr r, const struct doc *object, const char *sub, struct node *patch,
	struct doc **ret, struct err *e)
{
	auto_(doc_unref) struct doc *body = node_publish(patch);

	return client_patch(c->client, r, doc_ns(object), doc_name(object), sub, PATCH_MERGE, body, ret, e);
}

bool defined_resource(struct arena *a, const struct doc *crd, struct gvr *ret)
{
	struct val version = VAL_NONE;

	for (struct val_iter it = val_iter(doc_get(crd, "spec.versions")); val_next(&it);)
		if (val_bool(val_get(it.val, "served"), false) &&
			(!val_has(version) || val_bool(val_get(it.val, "storage"), false)))
			version = it.val;
	if (!val_has(version) || !val_is(val_get(condition_of(doc_root(crd), "Established"), "status"), "True"))
		return false;
	*ret = (struct gvr){ arena_cstr(a, doc_str(crd, "spec.group")),
		arena_cstr(a, val_str(val_get(version, "name"))), arena_cstr(a, doc_str(crd, "spec.names.plural")) };
	return true;
}

/* The write path: what is common to all kinds, in upstream's order, so that of several faults the same one is told.
 *
 *     decode → defaults → managedFields → admission that changes, webhooks → a name, where one is to be made
 *       → prepare → what the writer may write → the version is still that one → rules → claim
 *       → admission that refuses, webhooks → quota → the name is free → store
 *
 * Where an update names a uid, that is asked before anything else. Of a scale, admission sees the Scale.
 *
 * Before the rules are content, nothing is taken that others could want (addresses, ports, quota). Everything works on
 * the form that the client asked for; other forms are turned into the stored one at the very end. */
#include "api/custom/custom.h"
#define LOG_MODULE "api"

#define NAME_TRIES 8

int write_live(struct rq *rq, struct doc **ret, struct err *e)
{
	struct doc *d = cache_get(rq->res->stored->cache, cache_key(rq->a, rq->res, rq->ns, rq->name));

	if (!d)
		return write_not_found(rq, rq->name, e);
	return doc_served(rq, d, ret, e);
}

/* ---- metadata that only the server writes ---------------------------------------------------- */

static void set_or_del(struct node *meta, const char *key, struct node *v)
{
	if (v)
		node_setc(meta, key, v);
	else
		node_delc(meta, key);
}

int write_nameless(struct rq *rq, struct err *e)
{
	return err_set(e, ERR_BAD_REQUEST,
		"the name of the object (%.*s based on URL) was undeterminable: name must be provided",
		STR_ARG(rq->name));
}

int write_check_place(struct rq *rq, struct node *meta, struct err *e)
{
	struct str ns = node_text_str(node_getc(meta, "namespace")), name = node_text_str(node_getc(meta, "name"));

	if (!rq->res->def.namespaced && ns.n)
		node_delc(meta, "namespace");
	if (rq->res->def.namespaced && ns.n && !str_eq(ns, rq->ns))
		return rq->verb == V_CREATE ?
			err_set(e, ERR_BAD_REQUEST,
				"the namespace of the provided object does not match the namespace sent on the request") :
			err_set(e, ERR_BAD_REQUEST,
				"the namespace of the object (%.*s) does not match the namespace on the request (%.*s)",
				STR_ARG(ns), STR_ARG(rq->ns));
	if (rq->res->def.namespaced && !ns.n)
		node_setc(meta, "namespace", node_str(rq->a, rq->ns));
	if (rq->verb == V_UPDATE && !name.n)
		return write_nameless(rq, e);
	if (rq->verb != V_CREATE && rq->name.n) {
		if (name.n && !str_eq(name, rq->name))
			return err_set(e, ERR_BAD_REQUEST,
				"the name of the object (%.*s) does not match the name on the URL (%.*s)",
				STR_ARG(name), STR_ARG(rq->name));
		if (!name.n)
			node_setc(meta, "name", node_str(rq->a, rq->name));
	}
	return 0;
}

static void system_fields_wipe(struct node *meta)
{
	static const char *const ours[] = { "uid", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation" };

	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		node_delc(meta, ours[i]);
}

/* After admission: no webhook sees them of an object that is new. */
static void system_fields_create(struct rq *rq, struct node *meta)
{
	char uid[UUID_TEXT_MAX];

	rand_uuid(uid);
	node_setc(meta, "uid", node_c(rq->a, uid));
	node_setc(meta, "creationTimestamp", node_str(rq->a, rq_now(rq)));
	if (rq->res->def.generation)
		node_setc(meta, "generation", node_int(rq->a, 1));
}

static void system_fields_update(struct rq *rq, struct node *meta, struct val live)
{
	static const char *const kept[] = { "uid", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "generation" };
	struct val old = val_get(live, "metadata");

	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		struct val v = val_get(old, kept[i]);
		set_or_del(meta, kept[i], val_has(v) ? node_from(rq->a, v) : NULL);
	}
	node_delc(meta, "selfLink");
	node_delc(meta, "resourceVersion");
}

static bool has_status(const struct rq *rq)
{
	return resource_sub(rq->res, STR("status")) != NULL;
}

/* Empty maps and lists of metadata are the same as none, and upstream's encoding leaves them out. */
static void drop_empty(struct node *meta)
{
	static const char *const fields[] = { "labels", "annotations", "finalizers", "ownerReferences" };

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		struct node *n = node_getc(meta, fields[i]);

		if (n && node_kind(n) != VAL_STR && !node_len(n))
			node_delc(meta, fields[i]);
	}
}

/* ---- publishing and checking ----------------------------------------------------------------- */

/* What an update says of what only the server writes. That an object is being deleted stays, whatever is said. */
static void validate_identity(struct rq *rq, const struct write_job *j, struct err *e)
{
	static const char fixed[] = "field is immutable";
	struct val grace = doc_get(j->live, "metadata.deletionGracePeriodSeconds");

	if (j->uid.n && !str_eq(j->uid, doc_uid(j->live)))
		v_invalid_str(e, "metadata.uid", j->uid, fixed);
	if (j->deleted.n && !val_has(doc_get(j->live, "metadata.deletionTimestamp")))
		v_invalid_str(e, "metadata.deletionTimestamp", j->deleted, fixed);
	if (j->grace && (!val_has(grace) || node_int_of(j->grace, 0) != val_int(grace, 0)))
		v_invalid(e, "metadata.deletionGracePeriodSeconds", rq_val(rq, j->grace), fixed);
}

static int validate(struct rq *rq, const struct write_job *j, struct doc *d, struct val old, struct err *e)
{
	const struct strategy *s = rq->res->def.strategy;
	struct val root = doc_root(d);
	struct err declared, fixed;

	/* The declared rules set a message of their own; causes are what counts here. */
	err_init(e);
	err_init(&declared);
	err_init(&fixed);
	schema_validate_change(rq->res->type, root, old, "", &declared);
	if (val_has(old))
		validate_identity(rq, j, e);
	validate_meta(rq, val_get(root, "metadata"), val_get(old, "metadata"), "metadata", true, e);
	if (s && s->validate)
		s->validate(rq, root, old, e);
	causes_merge(rq->res->type, &declared, e);
	if (val_has(old) && schema_validate_update(rq->res->type, root, old, "", &fixed) < 0)
		causes_add(e, &fixed);
	if (validate_finish(rq, doc_name(d), e))
		return -ERR_INVALID;
	err_init(e);
	if (s && s->warn && !rq->sub.n && !rq->local)
		s->warn(rq, root, old);
	return 0;
}

/* The tree to store, from the served form. */
static int as_stored(struct rq *rq, struct node *object, struct node **ret, struct err *e)
{
	if (rq->res->custom)
		return custom_as_stored(rq, object, ret, e);
	*ret = object;
	if (rq->res->stored == rq->res || !rq->res->def.to_stored)
		return 0;
	*ret = node_copy(rq->a, object);
	rq->res->def.to_stored(rq->a, *ret);
	return 0;
}

static int modified(struct rq *rq, struct err *e)
{
	return err_set(e, ERR_CONFLICT,
		"Operation cannot be fulfilled on %s \"%.*s\": the object has been modified; please apply your changes to the latest version and try again",
		rq->res->group_resource, STR_ARG(rq->name));
}

static int check_version(struct rq *rq, const struct write_job *j, struct err *e)
{
	if (j->version.n && !str_is(j->version, "0"))
		return str_eq(j->version, doc_str(j->live, "metadata.resourceVersion")) ? 0 : modified(rq, e);
	if (!rq->res->custom && !rq->res->def.needs_version)
		return 0;
	err_cause(e, "FieldValueInvalid", "metadata.resourceVersion",
		"Invalid value: 0: must be specified for an update");
	return validate_finish_as(rq, rq->res->def.group, rq->res->def.resource, rq->name, e);
}

/* A PUT or an apply that makes an object was let in as what it says it is. */
static int may_create(struct rq *rq, struct err *e)
{
	struct authz_attrs at = { .verb = STR("create"),
		.resource_request = true,
		.group = rq->group,
		.version = rq->version,
		.resource = rq->resource_name,
		.ns = rq->ns,
		.name = rq->name };

	if (rq->verb == V_CREATE || rq->api->opts.no_authz || authz_allowed(rq->api, &rq->id, &at, NULL, 0))
		return 0;
	return admit_forbid(rq, rq->name, e,
		rq_f(rq, "User \"%.*s\" cannot create resource \"%.*s\" in API group \"%.*s\"", STR_ARG(rq->id.user),
			STR_ARG(rq->resource_name), STR_ARG(rq->group)));
}

static int admit_last(struct rq *rq, const struct write_job *j, struct doc *d, struct val old, struct err *e)
{
	int rc = val_has(old) ? 0 : may_create(rq, e);

	if (rc >= 0 && !j->scale)
		rc = admit_check(rq, doc_root(d), old, e);
	if (rc < 0)
		return rc;
	return j->scale ? scale_admit(rq, j->scale, e) : webhook_validate(rq, doc_root(d), old, e);
}

/* All that may refuse an object, in the form that was asked for, and what the strategy claims between. *ret: the object,
 * published; own. */
static int check(struct rq *rq, const struct write_job *j, struct val old, struct doc **ret, struct err *e)
{
	const struct strategy *s = rq->res->def.strategy;
	struct doc *d = node_publish_versioned(j->object);
	int rc = admit_writer(rq, doc_root(d), old, e);

	if (rc >= 0 && val_has(old))
		rc = check_version(rq, j, e);
	if (rc >= 0)
		rc = validate(rq, j, d, old, e);
	if (rc >= 0 && s && s->claim && !rq->sub.n && (rc = s->claim(rq, j->object, old, e)) >= 0) {
		doc_unref(d);
		d = node_publish_versioned(j->object);
	}
	if (rc >= 0)
		rc = admit_last(rq, j, d, old, e);
	if (rc < 0)
		doc_unref(d);
	else
		*ret = d;
	return rc;
}

/* *d, the published object, becomes the one to store. */
static int to_stored(struct rq *rq, struct node *object, struct doc **d, struct err *e)
{
	struct node *n;

	if (rq->res->stored == rq->res)
		return 0;
	if (as_stored(rq, object, &n, e) < 0)
		return -e->code;
	doc_unref(*d);
	*d = node_publish_versioned(n);
	return 0;
}

/* What was written, in the form that was asked for. A webhook that fails now undoes nothing: then it is the object as
 * it was sent. */
static struct doc *written(struct rq *rq, struct doc *take_d, struct node *object)
{
	struct doc *d = doc_ref(take_d), *ret;
	struct err e;

	err_init(&e);
	if (doc_served(rq, take_d, &ret, &e) < 0) {
		ret = node_publish_versioned(object);
		doc_stamp(ret, doc_revision(d));
	}
	doc_unref(d);
	return ret;
}

static void warn_no_controller(struct rq *rq)
{
	struct resource *r = rq->res->stored;

	if (r->def.has_controller && !__atomic_load_n(&r->controller_present, __ATOMIC_ACQUIRE) && !rq->local)
		rq_warn(rq, "no controller for %s is running: the object is stored, but nothing acts on it",
			r->group_resource);
}

static void first_two_keys(struct rq *rq, struct node *object)
{
	/* Published documents begin with apiVersion and kind; node_set() keeps a key's place, the publisher orders
	 * them. */
	node_setc(object, "apiVersion", node_c(rq->a, rq->res->api_version));
	node_setc(object, "kind", node_c(rq->a, rq->res->def.kind));
}

/* Webhooks may change everything but what only the server writes; what they changed belongs to the writer of the
 * request. */
static int webhooks_change(struct rq *rq, struct write_job *j, struct val live, struct err *e)
{
	static const char *const kept[] = { "uid", "creationTimestamp", "deletionTimestamp",
		"deletionGracePeriodSeconds", "generation", "managedFields" };
	struct node *before = j->object, *meta;
	bool changed;
	int rc = webhook_mutate(rq, &j->object, live, &changed, e);

	if (rc < 0 || !changed)
		return rc;
	meta = node_need_map(j->object, "metadata");
	if ((rc = write_check_place(rq, meta, e)) < 0)
		return rc;
	first_two_keys(rq, j->object);
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		struct node *v = node_getc(node_getc(before, "metadata"), kept[i]);
		set_or_del(meta, kept[i], v ? node_copy(rq->a, v) : NULL);
	}
	node_delc(meta, "resourceVersion");
	bool tracked = node_len(node_path(before, "metadata.managedFields")) > 0;
	if (!tracked && val_has(live))
		return 0;
	struct doc *was = node_publish(before);
	rc = write_track(rq, j, tracked ? doc_root(was) : VAL_NONE, e);
	doc_unref(was);
	return rc;
}

/* ---- create ---------------------------------------------------------------------------------- */

static bool name_taken(struct rq *rq)
{
	struct doc *d = cache_get(rq->res->stored->cache, cache_key(rq->a, rq->res, rq->ns, rq->name));
	bool taken = d != NULL;

	doc_unref(d);
	return taken;
}

static void make_name(struct rq *rq, struct node *meta)
{
	static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
	struct str base = str_sub(node_text_str(node_getc(meta, "generateName")), 0, 58);
	char suffix[6] = "";

	for (int i = 0; i < 5; i++)
		suffix[i] = alphabet[rand_below(sizeof(alphabet) - 1)];
	node_setc(meta, "name", node_strf(rq->a, "%.*s%s", STR_ARG(base), suffix));
}

/* A name that nobody has. Who takes it at the same moment makes it a conflict all the same. */
static int choose_name(struct rq *rq, struct node *meta, struct err *e)
{
	int rc;

	for (int i = 0; i < NAME_TRIES; i++) {
		make_name(rq, meta);
		rq->name = arena_str(rq->a, node_text_str(node_getc(meta, "name")));
		if (!name_taken(rq))
			return 0;
	}
	rc = err_set(e, ERR_EXISTS,
		"%s \"%.*s\" already exists, the server was not able to generate a unique name for the object",
		rq->res->group_resource, STR_ARG(rq->name));
	e->retry_after_s = 1;
	return rc;
}

/* What the writer says is his from here on: what the server adds later belongs to nobody. */
static int create_admit(struct rq *rq, struct write_job *j, struct err *e)
{
	struct node *o = j->object, *meta = node_need_map(o, "metadata");
	const struct strategy *s = rq->res->def.strategy;
	int rc = write_check_place(rq, meta, e);

	if (rc < 0)
		return rc;
	if (rq->res->custom && rq->res->custom->terminating)
		return err_set(e, ERR_METHOD, "create not allowed while custom resource definition is terminating");
	first_two_keys(rq, o);
	system_fields_wipe(meta);
	drop_empty(meta);
	if (has_status(rq) && !(s && s->create_status))
		node_delc(o, "status");
	if (s && s->fold)
		s->fold(rq, o);
	schema_drop_zeros(rq->res->type, rq->a, o, NULL);
	schema_default(rq->res->type, rq->a, o, NULL);
	if (!j->applied && (rc = write_track(rq, j, VAL_NONE, e)) < 0)
		return rc;
	if ((rc = admit_mutate(rq, o, VAL_NONE, e)) < 0)
		return rc;
	return webhooks_change(rq, j, VAL_NONE, e);
}

static int create_prepare(struct rq *rq, struct node *object, struct err *e)
{
	const struct strategy *s = rq->res->def.strategy;
	struct node *meta = node_need_map(object, "metadata");
	int rc = 0;

	system_fields_create(rq, meta);
	if (!node_text_str(node_getc(meta, "name")).n && node_text_str(node_getc(meta, "generateName")).n)
		rc = choose_name(rq, meta, e);
	else
		rq->name = arena_str(rq->a, node_text_str(node_getc(meta, "name")));
	if (rc >= 0 && s && s->prepare)
		rc = s->prepare(rq, object, VAL_NONE, e);
	if (rc >= 0)
		schema_fill_zeros(rq->res->type, rq->a, object, NULL);
	return rc;
}

/* Last of all, as it is the store that knows: who hears of it knows that nothing else is wrong. */
static int check_free(struct rq *rq, bool versioned, struct err *e)
{
	if (versioned)
		return err_set(e, ERR_BAD_REQUEST, "resourceVersion should not be set on objects to be created");
	return name_taken(rq) ? write_exists(rq, rq->name, e) : 0;
}

static int create_store(struct rq *rq, struct write_job *j, bool versioned, struct outcome *out, struct err *e)
{
	struct err taken;
	struct doc *d;
	int rc = check(rq, j, VAL_NONE, &d, e);

	if (rc < 0)
		return rc;
	err_init(&taken);
	bool is_free = check_free(rq, versioned, &taken) >= 0;
	if ((rc = admit_quota(rq, doc_root(d), VAL_NONE, is_free, e)) >= 0 && !is_free) {
		err_copy(e, &taken);
		rc = -taken.code;
	}
	if (rc >= 0 && (rc = to_stored(rq, j->object, &d, e)) >= 0)
		rc = write_put(rq, rq->ns, rq->name, d, 0, e);
	if (rc < 0) {
		admit_quota_undo(rq);
		doc_unref(d);
		return rc;
	}
	out->status = 201;
	out->doc = written(rq, d, j->object);
	return 0;
}

int write_object_create(struct rq *rq, struct write_job *j, struct outcome *out, struct err *e)
{
	struct node *meta = node_need_map(j->object, "metadata");
	struct str name = node_text_str(node_getc(meta, "name")), base = node_text_str(node_getc(meta, "generateName"));
	bool versioned = rq->verb == V_CREATE && !j->applied && node_text_str(node_getc(meta, "resourceVersion")).n;
	int rc;

	if (!rq->name.n) /* until it has a name, refusals call it by what it will begin with */
		rq->name = arena_str(rq->a, name.n ? name : base.n ? base : STR("Unknown"));
	if ((rc = create_admit(rq, j, e)) >= 0 && (rc = create_prepare(rq, j->object, e)) >= 0)
		rc = create_store(rq, j, versioned, out, e);
	if (rc < 0 || rq->dry_run)
		ipalloc_undo(rq);
	if (rc >= 0)
		warn_no_controller(rq);
	return rc;
}

int write_create(struct rq *rq, struct outcome *out, struct err *e)
{
	struct write_job j = { 0 };
	int rc = decode_body(rq, rq->res->type, rq->res->api_version, rq->res->def.kind, &j.object, e);

	if (rc < 0)
		return rc;
	return write_object_create(rq, &j, out, e);
}

/* ---- update ---------------------------------------------------------------------------------- */

static void copy_from_live(struct rq *rq, struct node *o, struct val live, const char *key)
{
	struct val v = val_get(live, key);

	set_or_del(o, key, val_has(v) ? node_from(rq->a, v) : NULL);
}

/* Of some kinds it is the status alone, so that no controller drops a finalizer with it; of the others, metadata, too. */
static void merge_status(struct rq *rq, struct node *o, struct node *object, struct val live)
{
	static const char *const alone[] = { "apiservices", "volumeattachments", "flowschemas",
		"prioritylevelconfigurations", NULL };
	struct str resource = str_c(rq->res->def.resource);
	struct node *meta = node_need_map(object, "metadata");

	set_or_del(o, "status", node_getc(object, "status"));
	if (rq->res->custom || is_one_of(alone, resource))
		return;
	if (str_is(resource, "deployments"))
		copy_from_live(rq, meta, val_get(live, "metadata"), "labels");
	if (str_is(resource, "pods"))
		copy_from_live(rq, meta, val_get(live, "metadata"), "ownerReferences");
	node_setc(o, "metadata", meta);
}

/* What a sub-resource may change is taken from the new object, all else from the live one. */
static struct node *merge_sub(struct rq *rq, struct node *object, struct val live)
{
	struct node *o = node_from(rq->a, live);

	if (str_is(rq->sub, "finalize")) {
		struct node *f = node_path(object, "spec.finalizers");
		struct node *spec = node_need_map(o, "spec");
		set_or_del(spec, "finalizers", f);
		node_setc(o, "metadata", node_need_map(object, "metadata"));
		return o;
	}
	if (str_is(rq->sub, "ephemeralcontainers")) {
		struct node *ec = node_path(object, "spec.ephemeralContainers");
		set_or_del(node_need_map(o, "spec"), "ephemeralContainers", ec);
		return o;
	}
	if (str_is(rq->sub, "resize")) {
		struct node *list = node_path(object, "spec.containers"), *to = node_path(o, "spec.containers");
		for (size_t i = 0; i < node_len(list) && i < node_len(to); i++)
			set_or_del(node_at(to, i), "resources", node_getc(node_at(list, i), "resources"));
		return o;
	}
	merge_status(rq, o, object, live);
	return o;
}

static bool spec_changed(struct node *o, struct rq *rq, struct val live)
{
	struct node *old = node_from(rq->a, live);
	bool sub = !rq->res->custom || has_status(rq); /* else the status is a field like others */
	size_t n = node_len(o);

	for (size_t i = 0; i < n; i++) {
		struct str k = node_key_at(o, i);
		if (str_is(k, "metadata") || (sub && str_is(k, "status")) || str_is(k, "apiVersion") ||
			str_is(k, "kind"))
			continue;
		if (!node_equal(node_get(o, k), node_get(old, k)))
			return true;
	}
	for (size_t i = 0; i < node_len(old); i++) {
		struct str k = node_key_at(old, i);
		if (!str_is(k, "metadata") && !(sub && str_is(k, "status")) && !node_get(o, k))
			return true;
	}
	return false;
}

/* Annotations of a Deployment go to its ReplicaSets, labels of an EndpointSlice say whose it is: to their controllers such a
 * change is one of the object. */
static bool meta_changed(struct node *o, struct rq *rq, struct val live)
{
	const char *field = rq->res->def.generation_of;
	struct node *now = field ? node_getc(node_getc(o, "metadata"), field) : NULL;
	struct val was = field ? val_get(val_get(live, "metadata"), field) : VAL_NONE;

	if (!node_len(now) || !val_len(was))
		return node_len(now) != val_len(was);
	return !node_equal(now, node_from(rq->a, was));
}

static bool managed_same(struct val a, struct val b)
{
	if (val_len(a) != val_len(b))
		return false;
	for (size_t i = 0; i < val_len(a); i++) {
		struct val x = val_at(a, i), y = val_at(b, i);
		if (val_len(x) != val_len(y))
			return false;
		for (struct val_iter it = val_iter(x); val_next(&it);)
			if (!str_is(it.key, "time") && !val_equal(it.val, val_get_str(y, it.key)))
				return false;
	}
	return true;
}

static bool map_same_but(struct val a, struct val b, const char *skip1, const char *skip2)
{
	size_t na = 0, nb = 0;

	for (struct val_iter it = val_iter(b); val_next(&it);)
		nb += !str_is(it.key, skip1) && !str_is(it.key, skip2);
	for (struct val_iter it = val_iter(a); val_next(&it);) {
		if (str_is(it.key, skip1) || str_is(it.key, skip2))
			continue;
		na++;
		if (!val_equal(it.val, val_get_str(b, it.key)))
			return false;
	}
	return na == nb;
}

/* Nothing but times of managedFields and the version differs: no write. */
static bool same_object(struct val a, struct val b)
{
	struct val ma = val_get(a, "metadata"), mb = val_get(b, "metadata");

	return map_same_but(a, b, "metadata", "metadata") && map_same_but(ma, mb, "resourceVersion", "managedFields") &&
		managed_same(val_get(ma, "managedFields"), val_get(mb, "managedFields"));
}

bool write_removable(struct rq *rq, struct node *o)
{
	struct node *meta = node_getc(o, "metadata");

	if (!node_getc(meta, "deletionTimestamp") || node_len(node_getc(meta, "finalizers")))
		return false;
	if (node_int_of(node_getc(meta, "deletionGracePeriodSeconds"), 0) > 0)
		return false;
	return strcmp(rq->res->def.resource, "namespaces") || !node_len(node_path(o, "spec.finalizers"));
}

static int update_prepare(struct rq *rq, struct write_job *j, struct err *e)
{
	const struct strategy *s = rq->res->def.strategy;
	struct val live = doc_root(j->live);
	struct node *meta;
	int rc;

	meta = node_need_map(j->object, "metadata");
	if ((rc = write_check_place(rq, meta, e)) < 0)
		return rc;
	j->version = node_text_str(node_getc(meta, "resourceVersion"));
	j->uid = node_text_str(node_getc(meta, "uid"));
	j->deleted = node_text_str(node_getc(meta, "deletionTimestamp"));
	j->grace = node_getc(meta, "deletionGracePeriodSeconds");
	if (rq->sub.n) {
		struct node *sent = node_getc(meta, "managedFields");
		j->object = merge_sub(rq, j->object, live);
		meta = node_need_map(j->object, "metadata");
		if (sent && j->applied)
			node_setc(meta, "managedFields", sent);
	} else if (has_status(rq)) {
		copy_from_live(rq, j->object, live, "status");
	}
	first_two_keys(rq, j->object);
	system_fields_update(rq, meta, live);
	drop_empty(meta);
	write_keep_reset(rq, meta);
	if (s && s->fold)
		s->fold(rq, j->object);
	schema_drop_zeros(rq->res->type, rq->a, j->object, j->live);
	schema_default(rq->res->type, rq->a, j->object, j->live);
	if (!j->applied && (rc = write_track(rq, j, live, e)) < 0)
		return rc;
	if (!j->scale &&
		((rc = admit_mutate(rq, j->object, live, e)) < 0 || (rc = webhooks_change(rq, j, live, e)) < 0))
		return rc;
	meta = node_need_map(j->object, "metadata");
	if (s && s->prepare && (rc = s->prepare(rq, j->object, live, e)) < 0)
		return rc;
	schema_fill_zeros(rq->res->type, rq->a, j->object, j->live);
	if (rq->res->def.generation && !str_is(rq->sub, "status") &&
		(spec_changed(j->object, rq, live) || meta_changed(j->object, rq, live)))
		node_setc(meta, "generation",
			node_int(rq->a, MIN(val_int(val_path(live, "metadata.generation"), 0), INT64_MAX - 1) + 1));
	return 0;
}

/* To the store; or out of it, when nothing holds it there any more. */
static int put_or_remove(struct rq *rq, struct write_job *j, struct doc *take_d, struct doc **ret, struct err *e)
{
	struct str name = arena_str(rq->a, doc_name(take_d)), ns = arena_str(rq->a, doc_ns(take_d));
	int64_t expect = doc_revision(j->live);
	struct node *last;
	int rc;

	if (!write_removable(rq, j->object)) {
		if ((rc = to_stored(rq, j->object, &take_d, e)) >= 0)
			rc = write_put(rq, ns, name, take_d, expect, e);
		if (rc < 0)
			doc_unref(take_d);
		else
			*ret = take_d;
		return rc;
	}
	doc_unref(take_d);
	if ((rc = as_stored(rq, j->object, &last, e)) >= 0)
		rc = write_del(rq, ns, name, last, expect, ret, e);
	return rc;
}

static int update_store(struct rq *rq, struct write_job *j, struct outcome *out, struct err *e)
{
	struct val old = doc_root(j->live);
	struct doc *d, *stored;
	int rc = check(rq, j, old, &d, e);

	if (rc < 0)
		return rc;
	out->status = 200;
	if (same_object(doc_root(d), old)) {
		doc_unref(d);
		out->doc = doc_ref(j->live);
		return 0;
	}
	if ((rc = admit_quota(rq, doc_root(d), old, true, e)) < 0) {
		doc_unref(d);
		return rc;
	}
	if ((rc = put_or_remove(rq, j, d, &stored, e)) < 0) {
		admit_quota_undo(rq);
		return rc;
	}
	out->doc = written(rq, stored, j->object);
	return 0;
}

int write_object_update(struct rq *rq, struct write_job *j, struct outcome *out, struct err *e)
{
	int rc = update_prepare(rq, j, e);

	if (rc >= 0)
		rc = update_store(rq, j, out, e);
	if (rc < 0 || rq->dry_run)
		ipalloc_undo(rq);
	if (rc >= 0 && !rq->sub.n)
		warn_no_controller(rq);
	return rc;
}

int write_check_uid(struct rq *rq, struct node *object, struct doc *live, struct err *e)
{
	struct str uid = node_text_str(node_path(object, "metadata.uid")), is = live ? doc_uid(live) : STR("");

	if (!uid.n || str_eq(uid, is))
		return 0;
	return err_set(e, ERR_CONFLICT,
		"Operation cannot be fulfilled on %s \"%.*s\": Precondition failed: UID in precondition: %.*s, UID in object meta: %.*s",
		rq->res->group_resource, STR_ARG(rq->name), STR_ARG(uid), STR_ARG(is));
}

static int update_once(struct rq *rq, struct node *object, struct outcome *out, bool *retry, struct err *e)
{
	struct doc *live = NULL;
	struct write_job j = { .object = object };
	int rc = write_live(rq, &live, e);

	*retry = false;
	if (rc == -ERR_NOT_FOUND && write_check_uid(rq, object, NULL, e) < 0)
		return -e->code;
	if (rc == -ERR_NOT_FOUND && !rq->sub.n && rq->res->def.strategy && rq->res->def.strategy->create_on_update) {
		err_init(e);
		node_setc(node_need_map(object, "metadata"), "name", node_str(rq->a, rq->name));
		return write_object_create(rq, &j, out, e);
	}
	if (rc < 0)
		return rc;
	rc = write_check_uid(rq, object, live, e);
	*retry = rc == 0 && !node_text_str(node_path(object, "metadata.resourceVersion")).n;
	j.live = live;
	if (rc >= 0)
		rc = write_object_update(rq, &j, out, e);
	doc_unref(live);
	return rc;
}

int write_update(struct rq *rq, struct outcome *out, struct err *e)
{
	struct node *object;
	bool retry = true;
	int rc = decode_body(rq, rq->res->type, rq->res->api_version, rq->res->def.kind, &object, e);

	if (rc >= 0)
		rc = write_check_place(rq, node_need_map(object, "metadata"), e);
	if (rc < 0)
		return rc;
	for (int i = 0; i < 5 && retry; i++) {
		err_init(e);
		rc = update_once(rq, node_copy(rq->a, object), out, &retry, e);
		if (rc != -ERR_CONFLICT)
			break;
	}
	return rc;
}

/* ---- the entry ------------------------------------------------------------------------------- */

/* Bodies that are not stored: reviews, bindings, evictions, tokens. */
static int write_action(struct rq *rq, struct outcome *out, struct err *e)
{
	const struct subresource *s = rq->subres;
	const char *group = s ? s->group : rq->res->def.group, *version = s ? s->version : rq->res->def.version;
	const char *kind = s ? s->kind : rq->res->def.kind;
	const struct schema_type *type = schema_builtin(str_c(group), str_c(version), str_c(kind));
	char *api_version = group[0] ? rq_f(rq, "%s/%s", group, version) : rq_f(rq, "%s", version);
	struct node *body;
	int rc = decode_body(rq, type, api_version, kind, &body, e);

	if (rc < 0)
		return rc;
	schema_default(type, rq->a, body, NULL);
	if ((rc = admit_action(rq, e)) < 0 || (rc = webhook_action(rq, &body, e)) < 0)
		return rc;
	rc = s ? s->create(rq, &body, e) : rq->res->def.create(rq, &body, e);
	if (rc < 0)
		return rc;
	out->status = 201;
	out->doc = node_publish(body);
	out->type = type;
	return 0;
}

int write_run(struct rq *rq, struct outcome *out, struct err *e)
{
	if (rq->verb == V_CREATE && (rq->subres ? rq->subres->create != NULL : rq->res->def.create != NULL))
		return write_action(rq, out, e);
	if (rq->subres && rq->subres->kind && !strcmp(rq->subres->kind, "Scale"))
		return scale_write(rq, out, e);
	switch (rq->verb) {
	case V_CREATE:
		return write_create(rq, out, e);
	case V_UPDATE:
		return write_update(rq, out, e);
	case V_PATCH:
		return write_patch(rq, out, e);
	case V_DELETE:
		return write_delete(rq, out, e);
	case V_DELETE_COLLECTION:
		return write_delete_collection(rq, out, e);
	default:
		return status_not_allowed(rq, e);
	}
}

void write_on_lane(struct rq *rq)
{
	struct outcome out = { 0 };
	struct err e;

	err_init(&e);
	if (write_run(rq, &out, &e) < 0) {
		reply_error(rq, &e);
		return;
	}
	if (out.type)
		reply_doc_as(rq, out.status, out.doc, out.type);
	else
		reply_doc(rq, out.status, out.doc);
}

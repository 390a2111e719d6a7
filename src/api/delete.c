/* DELETE: preconditions, grace, finalizers and what happens to dependents. */
#include "api/custom/custom.h"
#define LOG_MODULE "api"

struct delete_options {
	int64_t grace; /* -1: the object's own */
	struct str propagation, uid, rv;
	bool orphan_given, orphan;
	int stays; /* the status of an answer that the object is still there */
};

static int options_kind(struct node *n, struct err *e)
{
	struct str kind = node_text_str(node_getc(n, "kind")), version = node_text_str(node_getc(n, "apiVersion"));

	if (node_kind(n) != VAL_MAP)
		return err_set(e, ERR_BAD_REQUEST, "the options of a deletion are an object");
	if (kind.n && !str_is(kind, "DeleteOptions"))
		return err_set(e, ERR_BAD_REQUEST,
			"no kind \"%.*s\" is registered for version \"%.*s\" as options of a deletion", STR_ARG(kind),
			STR_ARG(version));
	return 0;
}

static void check_dry_run(struct node *list, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	bool all = true;

	for (size_t i = 0; i < node_len(list); i++)
		all &= str_is(node_text_str(node_at(list, i)), "All");
	if (all)
		return;
	node_write(list, &b);
	err_cause(e, "FieldValueNotSupported", "dryRun", "Unsupported value: %.*s: supported values: \"All\"",
		STR_ARG(buf_view(&b)));
}

/* For webhooks: the body, or what the parameters say in its place. */
static struct node *options_tree(struct rq *rq, struct node *body, const struct delete_options *o)
{
	struct node *n = body ? node_copy(rq->a, body) : node_map(rq->a);

	node_setc(n, "kind", node_c(rq->a, "DeleteOptions"));
	node_setc(n, "apiVersion", node_c(rq->a, "meta.k8s.io/v1"));
	if (rq->dry_run)
		node_setc(n, "dryRun", node_pack(rq->a, "['All']"));
	if (body)
		return n;
	if (o->grace >= 0)
		node_setc(n, "gracePeriodSeconds", node_int(rq->a, o->grace));
	if (o->propagation.n)
		node_setc(n, "propagationPolicy", node_str(rq->a, o->propagation));
	if (o->orphan_given)
		node_setc(n, "orphanDependents", node_bool(rq->a, o->orphan));
	if (o->uid.n)
		node_set_path(n, "preconditions.uid", node_str(rq->a, o->uid));
	if (o->rv.n)
		node_set_path(n, "preconditions.resourceVersion", node_str(rq->a, o->rv));
	return n;
}

/* What is less than nothing is a second. */
static int64_t shortest(int64_t grace)
{
	return grace < 0 ? 1 : grace;
}

static int options_decode(struct rq *rq, struct node **ret, struct err *e)
{
	const struct schema_type *t = schema_builtin(STR(""), STR("v1"), STR("DeleteOptions"));
	enum media m = MEDIA_JSON;
	struct doc *d;

	if (!rq->local && media_of_body(rq, &m, e) < 0)
		return -e->code;
	if (m == MEDIA_PROTOBUF) {
		if (schema_from_protobuf(rq->a, rq->body, ret, e) < 0)
			return -e->code;
	} else {
		if (decode_any(rq, &d, e) < 0)
			return -e->code;
		*ret = node_from(rq->a, doc_root(d));
		doc_unref(d);
	}
	return options_kind(*ret, e) < 0 || schema_decode(t, rq->a, *ret, NULL, e) < 0 ? -e->code : 0;
}

static void options_of_body(struct rq *rq, struct delete_options *o, struct node *n, struct err *e)
{
	struct node *grace = node_getc(n, "gracePeriodSeconds"), *orphan = node_getc(n, "orphanDependents");

	if (grace)
		o->grace = shortest(node_int_of(grace, 1));
	o->propagation = node_text_str(node_getc(n, "propagationPolicy"));
	o->uid = node_text_str(node_path(n, "preconditions.uid"));
	o->rv = node_text_str(node_path(n, "preconditions.resourceVersion"));
	o->orphan_given = orphan != NULL;
	o->orphan = node_bool_of(orphan, false);
	rq->dry_run |= node_len(node_getc(n, "dryRun")) > 0;
	check_dry_run(node_getc(n, "dryRun"), e);
}

/* What would be preconditions in a body are so here, too: who deletes by uid means that object and no other. */
static int options_of_query(struct rq *rq, struct delete_options *o, struct err *e)
{
	struct str grace = rq_param(rq, "gracePeriodSeconds");

	if (grace.n && !str_i64(grace, &o->grace))
		return err_set(
			e, ERR_BAD_REQUEST, "strconv.ParseInt: parsing \"%.*s\": invalid syntax", STR_ARG(grace));
	if (grace.n)
		o->grace = shortest(o->grace);
	o->propagation = rq_param(rq, "propagationPolicy");
	o->uid = rq_param(rq, "uid");
	o->rv = rq_param(rq, "resourceVersion");
	o->orphan_given = rq_param(rq, "orphanDependents").n > 0;
	o->orphan = o->orphan_given && rq_param_bool(rq, "orphanDependents");
	return 0;
}

static int options_check(struct rq *rq, const struct delete_options *o, struct err *e)
{
	static const char *const known[] = { "Foreground", "Background", "Orphan", NULL };

	if (o->propagation.n && o->orphan_given)
		err_cause(e, "FieldValueInvalid", "propagationPolicy",
			"Invalid value: \"%.*s\": orphanDependents and deletionPropagation cannot be both set",
			STR_ARG(o->propagation));
	if (o->propagation.n && !is_one_of(known, o->propagation))
		err_cause(e, "FieldValueNotSupported", "propagationPolicy",
			"Unsupported value: \"%.*s\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
			STR_ARG(o->propagation));
	return validate_options(rq, "DeleteOptions", e);
}

/* Beside a body the parameters say nothing, but that it is a trial. */
static int options_read(struct rq *rq, struct delete_options *o, struct err *e)
{
	struct node *n = NULL;
	int rc = 0;

	memset(o, 0, sizeof(*o));
	o->grace = -1;
	if (!rq->body_doc && !rq->body.n)
		rc = options_of_query(rq, o, e);
	else if ((rc = options_decode(rq, &n, e)) >= 0)
		options_of_body(rq, o, n, e);
	if (rc < 0)
		return rc;
	if (options_check(rq, o, e) < 0)
		return -ERR_INVALID;
	rq->delete_options = options_tree(rq, n, o);
	if (o->orphan_given)
		o->propagation = o->orphan ? STR("Orphan") : STR("Background");
	o->stays = o->orphan_given && !o->orphan ? 202 : 200;
	return 0;
}

static int differs(struct rq *rq, const char *what, struct str want, struct str is, const char *because, struct err *e)
{
	const struct resource_def *def = &rq->res->def;

	status_about(rq, def->group, def->kind, rq->name);
	return err_set(e, ERR_CONFLICT,
		"Operation cannot be fulfilled on %s%s%s \"%.*s\": the %s in the precondition (%.*s) does not match the %s in record (%.*s). "
		"The object might have been %s",
		def->kind, def->group[0] ? "." : "", def->group, STR_ARG(rq->name), what, STR_ARG(want), what,
		STR_ARG(is), because);
}

static int check_preconditions(struct rq *rq, const struct delete_options *o, struct doc *live, struct err *e)
{
	struct str rv = doc_str(live, "metadata.resourceVersion");

	if (o->uid.n && !str_eq(o->uid, doc_uid(live)))
		return differs(rq, "UID", o->uid, doc_uid(live), "deleted and then recreated", e);
	if (o->rv.n && !str_eq(o->rv, rv))
		return differs(rq, "ResourceVersion", o->rv, rv, "modified", e);
	return 0;
}

static bool list_has(struct node *list, const char *s)
{
	for (size_t i = 0; i < node_len(list); i++)
		if (str_is(node_text_str(node_at(list, i)), s))
			return true;
	return false;
}

static void list_drop(struct node *list, const char *s)
{
	for (size_t i = node_len(list); i-- > 0;)
		if (str_is(node_text_str(node_at(list, i)), s))
			node_remove_at(list, i);
}

/* The two finalizers that the garbage collector answers to. */
static void set_propagation(struct rq *rq, struct node *meta, struct str policy)
{
	struct node *list = node_getc(meta, "finalizers");

	if (!policy.n && rq->res->def.orphans && !list_has(list, "foregroundDeletion"))
		policy = STR("Orphan");
	const char *want = str_is(policy, "Foreground") ? "foregroundDeletion" :
		str_is(policy, "Orphan")                ? "orphan" :
							  NULL;

	if (!policy.n && list)
		return; /* not said: what the object already has */
	if (list) {
		if (!want || strcmp(want, "orphan"))
			list_drop(list, "orphan");
		if (!want || strcmp(want, "foregroundDeletion"))
			list_drop(list, "foregroundDeletion");
	}
	if (want) {
		list = node_need_list(meta, "finalizers");
		if (!list_has(list, want))
			node_add(list, node_c(rq->a, want));
	} else if (list && !node_len(list)) {
		node_delc(meta, "finalizers");
	}
}

static int64_t pod_grace(struct doc *pod, int64_t asked)
{
	struct str phase = doc_str(pod, "status.phase");

	if (!doc_str(pod, "spec.nodeName").n || str_is(phase, "Succeeded") || str_is(phase, "Failed"))
		return 0;
	if (asked < 0)
		asked = doc_int(pod, "spec.terminationGracePeriodSeconds", 30);
	return asked < 0 ? 1 : asked;
}

/* Marks it as being deleted. */
static void mark(struct rq *rq, struct node *o, struct doc *live, int64_t grace)
{
	struct node *meta = node_need_map(o, "metadata");
	char text[TIME_TEXT_MAX];

	wall_rfc3339((struct wall){ wall_now().ns + grace * 1000000000 }, text);
	node_setc(meta, "deletionTimestamp", node_c(rq->a, text));
	node_setc(meta, "deletionGracePeriodSeconds", node_int(rq->a, grace));
	if (val_has(doc_get(live, "metadata.generation")))
		node_setc(meta, "generation", node_int(rq->a, doc_int(live, "metadata.generation", 0) + 1));
	if (!strcmp(rq->res->def.resource, "namespaces")) { /* ends when it is empty, not after a time */
		node_delc(meta, "deletionGracePeriodSeconds");
		node_set_path(o, "status.phase", node_c(rq->a, "Terminating"));
	}
}

/* Its end was to be left seconds after the deletion began, and is now to be grace seconds after that. */
static void bring_forward(struct rq *rq, struct node *o, struct doc *live, int64_t left, int64_t grace)
{
	struct node *meta = node_need_map(o, "metadata");
	char text[TIME_TEXT_MAX];
	struct wall end;

	if (!wall_parse(doc_str(live, "metadata.deletionTimestamp"), &end))
		end = wall_now();
	wall_rfc3339((struct wall){ end.ns - (left - grace) * 1000000000 }, text);
	node_setc(meta, "deletionTimestamp", node_c(rq->a, text));
	node_setc(meta, "deletionGracePeriodSeconds", node_int(rq->a, grace));
}

static int as_it_is(struct rq *rq, const struct delete_options *opts, struct doc *live, struct outcome *out)
{
	out->status = opts->stays;
	out->doc = doc_as_served(rq->a, rq->res, doc_ref(live));
	return 0;
}

static int put(struct rq *rq, const struct delete_options *opts, struct node *o, struct doc *live, struct outcome *out,
	struct err *e)
{
	struct doc *d = node_publish_versioned(o);
	int rc = write_put(
		rq, arena_str(rq->a, doc_ns(live)), arena_str(rq->a, doc_name(live)), d, doc_revision(live), e);

	if (rc < 0) {
		doc_unref(d);
		return rc;
	}
	out->status = opts->stays;
	out->doc = doc_as_served(rq->a, rq->res, d);
	return 0;
}

static int remove_now(struct rq *rq, struct node *o, struct doc *live, bool object, struct outcome *out, struct err *e)
{
	struct doc *gone = NULL;
	struct str name = arena_str(rq->a, doc_name(live)), uid = arena_str(rq->a, doc_uid(live));
	int rc = write_del(rq, arena_str(rq->a, doc_ns(live)), name, o, doc_revision(live), &gone, e);

	if (rc < 0)
		return rc;
	out->status = 200;
	if (object) {
		out->doc = doc_as_served(rq->a, rq->res, gone);
		return 0;
	}
	doc_unref(gone);
	out->doc = status_success(rq, name, uid);
	return 0;
}

/* Webhooks were asked about an eviction as such. Of what the server itself sweeps from a definition that goes none is asked: the one
 * of its kind may have gone before. */
static bool unasked(const struct rq *rq)
{
	return rq->sub.n || (rq->local && rq->res->custom && rq->res->custom->terminating);
}

/* live is in the stored form here: a deletion changes nothing that the other forms name differently. */
static int delete_live(
	struct rq *rq, const struct delete_options *opts, struct doc *live, struct outcome *out, struct err *e)
{
	const struct strategy *s = rq->res->def.strategy;
	bool graceful = s && s->graceful, deleting = val_has(doc_get(live, "metadata.deletionTimestamp"));
	struct node *o = node_from(rq->a, doc_root(live)), *meta = node_need_map(o, "metadata");
	bool is_ns = !strcmp(rq->res->def.resource, "namespaces");
	int64_t left = deleting ? doc_int(live, "metadata.deletionGracePeriodSeconds", 0) : 0;
	int64_t grace = left ? opts->grace : graceful && !deleting ? pod_grace(live, opts->grace) : 0;
	int rc;

	if ((rc = check_preconditions(rq, opts, live, e)) < 0 || (rc = admit_delete(rq, doc_root(live), e)) < 0 ||
		(!unasked(rq) && (rc = webhook_delete(rq, live, e)) < 0))
		return rc;
	if (left && (grace < 0 || grace >= left)) /* it is going, and only a shorter time changes that */
		return as_it_is(rq, opts, live, out);
	set_propagation(rq, meta, opts->propagation);
	if (!deleting && !strcmp(rq->res->def.resource, "customresourcedefinitions")) {
		struct node *list = node_need_list(meta, "finalizers");
		if (!list_has(list, CRD_FINALIZER))
			node_add(list, node_c(rq->a, CRD_FINALIZER));
		crd_condition(rq->a, node_need_map(o, "status"), "Terminating", "True", "InstanceDeletionPending",
			"CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon");
	}
	bool held = node_len(node_getc(meta, "finalizers")) > 0 || (is_ns && node_len(node_path(o, "spec.finalizers")));
	if (left)
		bring_forward(rq, o, live, left, grace);
	else if (!deleting && (graceful || held)) /* as watchers see it go, also when it goes at once */
		mark(rq, o, live, grace);
	if (!held && grace == 0)
		return remove_now(rq, o, live, graceful || rq->res->def.shows_deleted, out, e);
	if (deleting && node_equal(meta, node_from(rq->a, doc_get(live, "metadata"))))
		return as_it_is(rq, opts, live, out);
	return put(rq, opts, o, live, out, e);
}

static int delete_named(struct rq *rq, const struct delete_options *opts, struct outcome *out, struct err *e)
{
	int rc = 0;

	for (int i = 0; i < 6; i++) {
		struct doc *live = cache_get(rq->res->stored->cache, cache_key(rq->a, rq->res, rq->ns, rq->name));
		err_init(e);
		if (!live)
			return write_not_found(rq, rq->name, e);
		rc = delete_live(rq, opts, live, out, e);
		doc_unref(live);
		if (rc != -ERR_CONFLICT || opts->rv.n || str_has(str_c(e->message), STR("precondition")))
			break;
	}
	return rc;
}

int write_delete(struct rq *rq, struct outcome *out, struct err *e)
{
	struct delete_options opts;
	int rc = options_read(rq, &opts, e);

	return rc < 0 ? rc : delete_named(rq, &opts, out, e);
}

int write_delete_collection(struct rq *rq, struct outcome *out, struct err *e)
{
	struct delete_options opts;
	struct doc **docs;
	struct str token;
	size_t n;
	int64_t rev;
	int rc;

	if ((rc = list_asked(rq, &docs, &n, &rev, &token, e)) < 0 || (rc = options_read(rq, &opts, e)) < 0)
		return rc;
	for (size_t i = 0; i < n; i++) {
		struct outcome one = { 0 };
		rq->name = doc_name(docs[i]);
		rc = delete_named(rq, &opts, &one, e);
		doc_unref(one.doc);
		if (rc < 0 && rc != -ERR_NOT_FOUND)
			return rc;
		err_init(e);
	}
	rq->name = STR_NULL;
	struct node *meta =
		node_pack(rq->a, "{resourceVersion:o, continue:S}", node_strf(rq->a, "%lld", (long long)rev), token);
	struct node *items = node_list(rq->a);
	for (size_t i = 0; i < n; i++) {
		struct node *item = node_from(rq->a, doc_root(docs[i]));

		if (!rq->res->custom) { /* the list says it of all */
			node_delc(item, "apiVersion");
			node_delc(item, "kind");
		}
		node_add(items, item);
	}
	out->status = 200;
	out->doc = node_publish(node_pack(rq->a, "{kind:s, apiVersion:s, metadata:o, items:o}", rq->res->list_kind,
		rq->res->api_version, meta, items));
	out->type = schema_builtin(str_c(rq->res->def.group), str_c(rq->res->def.version), str_c(rq->res->list_kind));
	if (!out->type)
		out->type = rq->res->type;
	return 0;
}

/* The scale sub-resource: a small view on spec.replicas of several kinds. */
#include "api/custom/custom.h"
#define LOG_MODULE "api"

#define REPLICAS_NONE INT32_MIN /* what a patch finds where the object says nothing of them, as upstream */

static const char *replicas_path(const struct rq *rq)
{
	const struct custom *c = rq->res->custom;

	return c && c->replicas ? c->replicas : "spec.replicas";
}

/* A custom kind keeps its selector as text, where it says. */
static struct str selector_of_kind(struct rq *rq, struct doc *live)
{
	const struct custom *c = rq->res->custom;
	struct val s = doc_get(live, "spec.selector");
	const struct selector *sel = NULL;
	struct err e;

	if (c)
		return c->selector ? doc_str(live, c->selector) : STR_NULL;
	err_init(&e);
	bool plain = !strcmp(rq->res->def.resource, "replicationcontrollers");
	int rc = plain ? selector_of_map(rq->a, s, &sel, &e) : selector_of(rq->a, s, &sel, &e);
	return rc >= 0 ? selector_text(rq->a, sel) : STR_NULL;
}

static struct doc *scale_of(struct rq *rq, struct doc *live)
{
	const struct custom *c = rq->res->custom;
	struct str text = selector_of_kind(rq, live);
	struct val ns = doc_get(live, "metadata.namespace");
	int64_t replicas = doc_int(live, replicas_path(rq), 0);
	struct node *spec =
		replicas ? node_pack(rq->a, "{replicas:I}", replicas) : node_map(rq->a); /* as Go leaves out 0 */

	return node_publish(node_pack(rq->a,
		"{kind:'Scale', apiVersion:'autoscaling/v1', metadata:{name:v, namespace:v, uid:v, resourceVersion:v, creationTimestamp:v}, spec:o, status:{replicas:I, selector:S}}",
		doc_get(live, "metadata.name"), ns, doc_get(live, "metadata.uid"),
		doc_get(live, "metadata.resourceVersion"), doc_get(live, "metadata.creationTimestamp"), spec,
		doc_int(live, c && c->status_replicas ? c->status_replicas : "status.replicas", 0), text));
}

/* Of a custom kind it may be missing, which is not the same as none. */
static bool has_replicas(const struct rq *rq, struct doc *live)
{
	return !rq->res->custom || val_kind(doc_get(live, replicas_path(rq))) == VAL_INT;
}

int scale_get(struct rq *rq, struct doc **ret, struct err *e)
{
	auto_(doc_unref) struct doc *live = NULL;

	if (write_live(rq, &live, e) < 0)
		return -e->code;
	if (!has_replicas(rq, live))
		return err_set(e, ERR_INTERNAL,
			"Internal error occurred: the spec replicas field \".%s\" does not exist", replicas_path(rq));
	*ret = scale_of(rq, live);
	return 0;
}

/* An apply says of the object how many replicas it wants, and nothing else. */
static int scale_applied(
	struct rq *rq, const struct schema_type *type, struct doc *patch, struct scale_change *c, struct err *e)
{
	struct node *sent = node_from(rq->a, doc_root(patch)), *replicas;
	int rc = apply_check(rq, type, "autoscaling/v1", "Scale", sent, e);

	if (rc < 0 || (rc = decode_node(rq, type, sent, true, e)) < 0)
		return rc;
	c->config = node_pack(rq->a, "{apiVersion:s, kind:s}", rq->res->api_version, rq->res->def.kind);
	replicas = node_path(sent, "spec.replicas");
	if (replicas)
		node_set_path(c->config, replicas_path(rq), replicas);
	return 0;
}

static int scale_patched(
	struct rq *rq, struct doc *live, const struct schema_type *type, struct scale_change *c, struct err *e)
{
	const struct patch_form form = { type, "autoscaling/v1", "Scale" };
	auto_(doc_unref) struct doc *now = scale_of(rq, live), *patch = NULL;
	int rc = decode_any(rq, &patch, e);

	if (rc >= 0 && rq->patch == PATCH_APPLY)
		rc = scale_applied(rq, type, patch, c, e);
	if (rc < 0)
		return rc;
	c->now = node_from(rq->a, doc_root(now));
	if (!has_replicas(rq, live))
		node_set_path(c->now, "spec.replicas", node_int(rq->a, REPLICAS_NONE));
	if (rq->patch == PATCH_APPLY) {
		patch_merge(rq->a, &c->now, doc_root(patch));
		rc = decode_node(rq, type, c->now, true, e);
	} else {
		rc = patch_object(rq, &form, &c->now, patch, true, e);
	}
	if (rc >= 0 && node_int_of(node_path(c->now, "spec.replicas"), 0) == REPLICAS_NONE)
		rc = err_set(e, ERR_BAD_REQUEST, "the spec replicas field \".%s\" cannot be empty", replicas_path(rq));
	return rc;
}

static int validate_replicas(struct rq *rq, struct node *scale, struct err *e)
{
	int64_t replicas = node_int_of(node_path(scale, "spec.replicas"), 0);

	if (replicas >= 0)
		return 0;
	err_cause(e, "FieldValueInvalid", "spec.replicas", "Invalid value: %lld: must be greater than or equal to 0",
		(long long)replicas);
	return validate_finish_as(rq, "autoscaling", "Scale", rq->name, e);
}

/* Of what a patch made: the scale is told of, not the object. */
static int check_uid(struct rq *rq, struct node *scale, struct doc *live, struct err *e)
{
	struct str uid = node_text_str(node_path(scale, "metadata.uid"));
	const char *group = rq->res->def.group, *about = rq_f(rq, "%s/scale", rq->res->def.resource);

	if (!uid.n || str_eq(uid, doc_uid(live)))
		return 0;
	status_about(rq, group, about, rq->name);
	return err_set(e, ERR_CONFLICT,
		"Operation cannot be fulfilled on %s%s%s \"%.*s\": Precondition failed: UID in precondition: %.*s, UID in object meta: %.*s",
		about, group[0] ? "." : "", group, STR_ARG(rq->name), STR_ARG(uid), STR_ARG(doc_uid(live)));
}

/* The Scale that is wished for, as admission leaves it. A PUT of another object's is told first. */
static int scale_wanted(
	struct rq *rq, struct doc *live, const struct schema_type *type, struct scale_change *c, struct err *e)
{
	auto_(doc_unref) struct doc *old = scale_of(rq, live);
	bool changed;
	int rc = rq->verb == V_UPDATE ? decode_body(rq, type, "autoscaling/v1", "Scale", &c->now, e) :
					scale_patched(rq, live, type, c, e);

	if (rc >= 0)
		rc = write_check_place(rq, node_need_map(c->now, "metadata"), e);
	if (rc >= 0 && rq->verb == V_UPDATE)
		rc = write_check_uid(rq, c->now, live, e);
	c->old = node_from(rq->a, doc_root(old));
	if (rc >= 0)
		rc = webhook_mutate(rq, &c->now, doc_root(old), &changed, e);
	if (rc >= 0 && !rq->res->custom) /* whose own rules are about the object */
		rc = validate_replicas(rq, c->now, e);
	return rc < 0 ? rc : check_uid(rq, c->now, live, e);
}

/* The object as it is, or as an apply makes it, whose manager has the replicas from then on. */
static int scale_object(struct rq *rq, const struct scale_change *c, struct write_job *j, struct err *e)
{
	auto_(doc_unref) struct doc *config = NULL;

	j->object = node_from(rq->a, doc_root(j->live));
	if (!c->config)
		return 0;
	config = node_publish(c->config);
	return apply_merge(rq, c->sub, doc_root(j->live), doc_root(config), j, e);
}

/* Whether the version is still that one is asked with the rules of the object. */
static int scale_put(struct rq *rq, struct doc *live, struct scale_change *c, struct outcome *inner, struct err *e)
{
	struct write_job j = { .live = live, .scale = c };
	struct str rv = node_text_str(node_path(c->now, "metadata.resourceVersion"));
	int rc;

	if ((rc = scale_object(rq, c, &j, e)) < 0)
		return rc;
	node_set_path(j.object, replicas_path(rq), node_int(rq->a, node_int_of(node_path(c->now, "spec.replicas"), 0)));
	if (rv.n)
		node_set_path(j.object, "metadata.resourceVersion", node_str(rq->a, rv));
	rq->sub = STR_NULL;
	rc = write_object_update(rq, &j, inner, e);
	rq->sub = c->sub;
	return rc;
}

int scale_admit(struct rq *rq, const struct scale_change *c, struct err *e)
{
	auto_(doc_unref) struct doc *now = node_publish(c->now), *old = node_publish(c->old);
	int rc;

	rq->sub = c->sub;
	rc = webhook_validate(rq, doc_root(now), doc_root(old), e);
	rq->sub = STR_NULL;
	return rc;
}

static int scale_once(struct rq *rq, struct outcome *out, bool *retry, struct err *e)
{
	const struct schema_type *type = schema_builtin(STR("autoscaling"), STR("v1"), STR("Scale"));
	auto_(doc_unref) struct doc *live = NULL;
	struct scale_change c = { .sub = rq->sub };
	struct outcome inner = { 0 };
	int rc = write_live(rq, &live, e);

	*retry = false;
	c.replicas = rc >= 0 && doc_int(live, replicas_path(rq), 0);
	if (rc < 0 || (rc = scale_wanted(rq, live, type, &c, e)) < 0)
		return rc;
	struct str rv = node_text_str(node_path(c.now, "metadata.resourceVersion"));
	*retry = !rv.n || (rq->verb == V_PATCH && str_eq(rv, doc_str(live, "metadata.resourceVersion")));
	if ((rc = scale_put(rq, live, &c, &inner, e)) < 0)
		return rc;
	out->status = 200;
	out->doc = scale_of(rq, inner.doc);
	out->type = type;
	doc_unref(inner.doc);
	return 0;
}

int scale_write(struct rq *rq, struct outcome *out, struct err *e)
{
	bool retry = true;
	int rc = 0;

	if (rq->verb == V_PATCH && ((rc = patch_kind(rq, e)) < 0 || (rc = patch_options(rq, e)) < 0))
		return rc;
	for (int i = 0; i < 5 && retry; i++) {
		err_init(e);
		rc = scale_once(rq, out, &retry, e);
		if (rc != -ERR_CONFLICT || e->causes_len)
			break;
	}
	return rc;
}

/* ---- in tables ------------------------------------------------------------------------------- */

static const struct column columns[] = {
	{ "Name", "string", "", 0, "Name of the object that is scaled." },
	{ "Desired", "integer", "", 0, "Replicas that are wanted." },
	{ "Available", "integer", "", 0, "Replicas that were seen." },
	{ "Age", "string", "", 0, "Time since the object was created." },
	{},
};

static void cells(struct cells *c, struct val scale)
{
	cell_str(c, val_str(val_path(scale, "metadata.name")));
	cell_int(c, val_int(val_path(scale, "spec.replicas"), 0));
	cell_int(c, val_int(val_path(scale, "status.replicas"), 0));
	cell_created(c);
}

const struct resource scale_row = { .def = { .columns = columns, .cells = cells, .columns_without_name = true } };

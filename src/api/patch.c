/* PATCH in its four forms; conflicts with other writers are tried again. */
#include "api/custom/custom.h"
#define LOG_MODULE "api"

#define PATCH_TRIES 6
#define COPY_MAX ((size_t)3 << 20)

int patch_kind(struct rq *rq, struct err *e)
{
	static const struct {
		const char *type;
		enum patch_type patch;
	} types[] = { { "application/json-patch+json", PATCH_JSON }, { "application/merge-patch+json", PATCH_MERGE },
		{ "application/strategic-merge-patch+json", PATCH_STRATEGIC },
		{ "application/apply-patch+yaml", PATCH_APPLY } };
	struct str type;

	if (rq->local && rq->patch == PATCH_STRATEGIC && rq->res->custom)
		return err_set(e, ERR_MEDIA_TYPE, "strategic merge patch is not supported for custom resources");
	if (rq->local)
		return 0;
	str_cut(rq->content_type, ';', &type);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (str_is(str_trim(type), types[i].type) && !(types[i].patch == PATCH_STRATEGIC && rq->res->custom)) {
			rq->patch = types[i].patch;
			return 0;
		}
	}
	return err_set(e, ERR_MEDIA_TYPE,
		"the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, %sapplication/apply-patch+yaml",
		rq->res->custom ? "" : "application/strategic-merge-patch+json, ");
}

/* An operation that does not apply is a cause, too: of an invalid object kubectl shows its causes alone. */
static int patch_operations(struct rq *rq, struct node **target, struct val patch, struct err *e)
{
	int rc = patch_json(rq->a, target, patch, COPY_MAX, e);

	if (rc == -ERR_INVALID) {
		char *why = rq_f(rq, "%s", e->message);
		err_cause(e, "FieldValueInvalid", "patch", "%s", why);
	}
	return rc;
}

/* *target as the patch makes it; an object of this type, once decoded. */
static int patch_tree(
	struct rq *rq, const struct schema_type *type, struct node **target, struct doc *patch, struct err *e)
{
	struct val p = doc_root(patch);

	switch (rq->patch) {
	case PATCH_JSON:
		return patch_operations(rq, target, p, e);
	case PATCH_MERGE:
		if (val_kind(p) != VAL_MAP && val_kind(p) != VAL_LIST)
			return err_set(e, ERR_BAD_REQUEST, "a merge patch is an object");
		patch_merge(rq->a, target, p);
		return 0;
	default:
		if (val_kind(p) == VAL_NULL) /* changes nothing */
			return 0;
		return patch_strategic(rq->a, target, p, schema_patch_shape(type), e);
	}
}

/* What the patch makes is not an object of this kind. */
static int patch_invalid(struct rq *rq, struct doc *patch, const char *why, struct err *e)
{
	char *sentence = rq_f(rq, "%s", why);

	err_init(e);
	v_invalid_str(e, "patch", val_text(doc_root(patch)), sentence);
	return validate_finish_as(rq, "", "", STR(""), e);
}

int patch_object(struct rq *rq, const struct patch_form *form, struct node **target, struct doc *patch, bool report,
	struct err *e)
{
	int rc = patch_tree(rq, form->type, target, patch, e);
	struct node *object = *target;
	struct str kind = node_text_str(node_getc(object, "kind")),
		   version = node_text_str(node_getc(object, "apiVersion"));

	if (rc < 0)
		return rc;
	if (node_kind(object) != VAL_MAP)
		return patch_invalid(rq, patch, "the patch makes something that is no object", e);
	if (rq->patch == PATCH_STRATEGIC) { /* upstream's is of the fields only */
		node_setc(object, "kind", node_c(rq->a, form->kind));
		node_setc(object, "apiVersion", node_c(rq->a, form->api_version));
	} else if ((kind.n && !str_is(kind, form->kind)) || (version.n && !str_is(version, form->api_version))) {
		return patch_invalid(rq, patch,
			rq_f(rq, "no kind \"%.*s\" is registered for version \"%.*s\" at this path", STR_ARG(kind),
				STR_ARG(version)),
			e);
	}
	if (decode_node(rq, form->type, object, report, e) < 0)
		return patch_invalid(rq, patch, e->message, e);
	return node_text_str(node_path(object, "metadata.name")).n ? 0 : write_nameless(rq, e);
}

static bool patch_names_version(struct rq *rq, struct doc *patch)
{
	if (rq->patch != PATCH_JSON)
		return doc_str(patch, "metadata.resourceVersion").n > 0;
	for (struct val_iter it = val_iter(doc_root(patch)); val_next(&it);)
		if (val_is(val_get(it.val, "path"), "/metadata/resourceVersion"))
			return true;
	return false;
}

static int patch_once(struct rq *rq, struct doc *patch, bool report, struct outcome *out, struct err *e)
{
	struct doc *live = NULL;
	const struct patch_form form = { rq->res->type, rq->res->api_version, rq->res->def.kind };
	struct write_job j = { 0 };
	int rc = write_live(rq, &live, e);

	if (rc < 0)
		return rc;
	j.live = live;
	j.object = node_from(rq->a, doc_root(live));
	if ((rc = patch_object(rq, &form, &j.object, patch, report, e)) >= 0)
		rc = write_object_update(rq, &j, out, e);
	doc_unref(live);
	return rc;
}

/* ---- server-side apply ----------------------------------------------------------------------- */

/* Who names a uid, or no name, means an object that is there. */
static int apply_create(struct rq *rq, struct doc *config, struct write_job *j, struct outcome *out, struct err *e)
{
	struct str uid = doc_str(config, "metadata.uid");

	if (!doc_str(config, "metadata.name").n)
		return write_nameless(rq, e);
	if (uid.n)
		return err_set(e, ERR_CONFLICT,
			"Operation cannot be fulfilled on %s \"%.*s\": uid mismatch: the provided object specified uid %.*s, and no existing object was found",
			rq->res->group_resource, STR_ARG(rq->name), STR_ARG(uid));
	return write_object_create(rq, j, out, e);
}

int apply_check(struct rq *rq, const struct schema_type *type, const char *api_version, const char *kind,
	struct node *config, struct err *e)
{
	struct str k = node_text_str(node_getc(config, "kind")), v = node_text_str(node_getc(config, "apiVersion"));

	if (!k.n || !v.n)
		return err_set(e, ERR_BAD_REQUEST,
			"invalid object type: apiVersion and kind must be set in an apply configuration");
	if (!str_is(k, kind) || !str_is(v, api_version))
		return err_set(e, ERR_BAD_REQUEST, "the configuration is a %.*s %.*s, but the URL is for %s %s",
			STR_ARG(v), STR_ARG(k), api_version, kind);
	return managed_check(rq->a, type, config, e);
}

/* The configuration as sent, checked like a body. */
static int applied_config(struct rq *rq, struct doc *patch, struct doc **ret, struct err *e)
{
	struct node *n = node_from(rq->a, doc_root(patch));
	int rc = apply_check(rq, rq->res->type, rq->res->api_version, rq->res->def.kind, n, e);

	if (rc < 0 || (rc = decode_applied(rq, rq->res->type, n, e)) < 0)
		return rc;
	struct node *meta = node_need_map(n, "metadata");
	node_delc(meta, "managedFields");
	struct str name = node_text_str(node_getc(meta, "name"));
	if (name.n && !str_eq(name, rq->name))
		return err_set(e, ERR_BAD_REQUEST,
			"the name of the object (%.*s) does not match the name on the URL (%.*s)", STR_ARG(name),
			STR_ARG(rq->name));
	*ret = node_publish(n);
	doc_hold(rq->a, *ret);
	return 0;
}

int apply_merge(struct rq *rq, struct str sub, struct val live, struct val config, struct write_job *j, struct err *e)
{
	struct managed_write w = write_managed(rq);
	int rc;

	w.manager = rq->field_manager;
	w.subresource = sub;
	w.apply = true;
	w.force = rq->force;
	w.sent = j->sent;
	w.scaled = j->scale && j->scale->replicas;
	rc = managed_apply(rq->a, &w, live, config, &j->object, e);
	j->applied = true;
	if (rc == -ERR_CONFLICT) /* about fields of managers, not about an object */
		status_about(rq, NULL, NULL, STR_NULL);
	return rc;
}

static int apply_once(struct rq *rq, struct doc *sent, struct doc *config, struct outcome *out, struct err *e)
{
	struct doc *live = NULL;
	struct write_job j = { .sent = doc_root(sent) };
	int rc = write_live(rq, &live, e);

	if (rc == -ERR_NOT_FOUND && rq->sub.n)
		return rc;
	err_init(e);
	rc = apply_merge(rq, rq->sub, live ? doc_root(live) : VAL_NONE, doc_root(config), &j, e);
	if (rc >= 0 && live) {
		j.live = live;
		rc = write_object_update(rq, &j, out, e);
	} else if (rc >= 0) {
		rc = apply_create(rq, config, &j, out, e);
	}
	doc_unref(live);
	return rc;
}

int patch_options(struct rq *rq, struct err *e)
{
	if (rq->force && rq->patch != PATCH_APPLY)
		v_forbidden(e, "force", "may not be specified for non-apply patch");
	if (rq->patch == PATCH_APPLY && !rq->field_manager.n)
		err_cause(e, "FieldValueRequired", "fieldManager", "Required value: is required for apply patch");
	return validate_options(rq, "PatchOptions", e);
}

/* What cannot be read is told after the object is found that it is for; an apply makes one. */
static int unreadable(struct rq *rq, int rc, struct err *e)
{
	struct doc *live = NULL;
	struct err missing;

	if (rq->patch == PATCH_APPLY && !rq->sub.n)
		return rc;
	err_init(&missing);
	if (write_live(rq, &live, &missing) == -ERR_NOT_FOUND) {
		err_init(e);
		rc = write_live(rq, &live, e);
	}
	doc_unref(live);
	return rc;
}

int write_patch(struct rq *rq, struct outcome *out, struct err *e)
{
	struct doc *patch, *config = NULL;
	bool versioned;
	int rc;

	if ((rc = patch_kind(rq, e)) < 0 || (rc = patch_options(rq, e)) < 0)
		return rc;
	if ((rc = decode_any(rq, &patch, e)) < 0)
		return unreadable(rq, rc, e);
	doc_hold(rq->a, patch);
	if (rq->patch == PATCH_APPLY && (rc = applied_config(rq, patch, &config, e)) < 0)
		return unreadable(rq, rc, e);
	versioned = rq->patch != PATCH_APPLY && patch_names_version(rq, patch);
	for (int i = 0; i < PATCH_TRIES; i++) {
		err_init(e);
		rc = config ? apply_once(rq, patch, config, out, e) : patch_once(rq, patch, i == 0, out, e);
		/* A conflict of field managers has causes; one of versions is worth another try. */
		if ((rc != -ERR_CONFLICT && rc != -ERR_EXISTS) || versioned || e->causes_len)
			break;
		if (rc == -ERR_EXISTS && !config)
			break;
	}
	return rc;
}

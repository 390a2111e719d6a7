/* Custom kinds inside src/api: from a CustomResourceDefinition to rows of the resource table.
 *
 *     CRD written ─► crd.c's task: names accepted? ─► custom.c: a row a served version ─► resource.c swaps them in ─►
 * status CRD deleted ─► its objects go ─► finalizer and rows go
 *
 * A row is made anew when its definition changes, with a cache of its own; watches of the old one end and begin again.
 */
#pragma once
#include "api/api_internal.h"

/* ---- custom.c -------------------------------------------------------------------------------- */

struct custom {
	struct api *api; /* borrow: set when it becomes a row */
	struct arena *a; /* of everything below */
	struct resource_def def;
	struct schema_custom *schema;
	const char *crd; /* name of the definition: schema text and webhook are read there when needed */
	size_t version;  /* position in spec.versions */
	const struct json_path **cells;
	const char *replicas, *status_replicas, *selector; /* dotted paths of scale, or NULL */
	bool webhook;                                      /* other versions are made by a webhook */
	bool terminating;                                  /* no new objects */
	bool served;                                       /* else it only stores */
};
/* One served version of a definition. names: those it was accepted with, as in status.acceptedNames. Own. */
int custom_new(const struct doc *crd, struct val names, size_t version, struct custom **ret, struct err *e);
struct custom *custom_free(struct custom *c);
void custom_cells(const struct custom *c, struct cells *cells, struct val object);
/* The definition as it is now: own, NULL when it is gone. */
struct doc *custom_crd(const struct custom *c);
struct val custom_schema(const struct custom *c, const struct doc *crd); /* JSONSchemaProps */

/* ---- convert.c ------------------------------------------------------------------------------- */

/* d (taken) in the form of row res: as it is, under another apiVersion, or by the webhook. rq may be NULL. */
int custom_as_served(struct rq *rq, const struct resource *res, struct doc *take_d, struct doc **ret, struct err *e);
/* A copy from the store, as the storing row's schema has it today: defaults that came later are filled in. *d is
 * replaced. */
int custom_loaded(const struct resource *stored, struct doc **d, struct err *e);
/* Several at once: one question to the webhook. docs are replaced, held by the arena of rq. */
int custom_list_as_served(struct rq *rq, struct doc **docs, size_t n, struct err *e);
/* A copy of object as row `to` has it, with all fields that it has: what its schema does not know goes when it is stored. */
int custom_as(struct rq *rq, struct node *object, const struct resource *to, struct node **ret, struct err *e);
/* The form to store of an object in rq's version. */
int custom_as_stored(struct rq *rq, struct node *object, struct node **ret, struct err *e);

/* ---- strategy_custom.c: what objects must be like besides their schema ------------------------- */

extern const struct strategy strategy_custom;
/* An object inside of another, at path: adds causes. arg: struct embedded_rules. */
struct embedded_rules {
	struct rq *rq;
	struct err *e;
};
void embedded_check(void *arg, struct val object, const char *path);

/* ---- resource.c ------------------------------------------------------------------------------ */

/* Takes customs (n; the storing version first) as the rows of one definition, in place of those it had. n 0: they go.
 */
int resource_swap(
	struct api *api, const char *group, const char *resource, struct custom **take, size_t n, struct err *e);

/* ---- crd.c, crd_status.c, strategy_crd.c ----------------------------------------------------- */

#define CRD_FINALIZER "customresourcecleanup.apiextensions.k8s.io"
#define CRD_APPROVED "api-approved.kubernetes.io" /* an annotation of definitions in groups of Kubernetes' own */
enum crd_approval { CRD_APPROVAL_MISSING, CRD_APPROVAL_INVALID, CRD_APPROVAL_BYPASSED, CRD_APPROVED_BY };
enum crd_approval crd_approval(struct val crd, const char **ret_why); /* ret_why may be NULL */
bool crd_is_protected(struct str group);
struct crds;
/* Rows of all definitions that are there, then a task that follows them. Called once the CRDs are loaded. */
struct crds *crds_new(struct api *api);
void crds_start(struct crds *c);
void crds_stop(struct crds *c);
void crds_free(struct crds *c);
void crds_changed(struct crds *c, struct str name); /* from events; never waits */
/* Names and conditions as they ought to be, in a. *accepted: the names are this definition's. */
struct node *crd_status(struct api *api, struct arena *a, struct doc *crd, bool *accepted);
void crd_condition(struct arena *a, struct node *status, const char *type, const char *value, const char *reason,
	const char *message);

/* What every controller's file includes: its row in the table, and the words that reconcilers are written in. */
#pragma once
#include "base/log.h"
#include "base/map.h"
#include "base/queue.h"
#include "controllers/controllers.h"

struct ctl;

struct controller_watch {
	const struct gvr *res;
	/* Adds the keys that a change concerns; before or after may be NULL. NULL: only its informer is read. */
	void (*keys)(struct ctl *c, struct doc *before, struct doc *after);
};
struct controller {
	const char *name; /* its ServiceAccount */
	const char *help;
	const char *handles; /* "apps/deployments", or NULL */
	struct controller_watch watches[12];
	int (*reconcile)(struct ctl *c, struct arena *a, struct str key, struct err *e);
	int64_t every_ms;               /* the key "" is added this often; 0: never */
	void (*indexes)(struct ctl *c); /* adds those of its own to informers; NULL: none */
	/* For those with state of their own. */
	void *(*state_new)(struct ctl *c);
	void (*state_free)(void *state);
};

/* One running controller. */
struct ctl {
	const struct controller *def;
	struct controllers *all;
	const struct controllers_opts *opts;
	struct client *client;
	struct recorder *recorder;
	void *state;
	/* Own writes: key → the revision that an informer must have reached before the key is looked at again. */
	struct task_mutex lock;
	struct map *wrote;
	int64_t runs, failures; /* atomic */
};
struct informer *ctl_informer(struct ctl *c, struct gvr r); /* borrow */

/* Keys are "namespace/name", or "name". */
void ctl_add(struct ctl *c, struct str key);
void ctl_add_after(struct ctl *c, struct str key, int64_t ms);
void ctl_add_doc(struct ctl *c, const struct doc *d);
struct str key_of(struct arena *a, const struct doc *d);
void key_split(struct str key, struct str *ns, struct str *name);
#define KEY_ROOM 600
struct str key_join(char room[KEY_ROOM], struct str ns, struct str name);
void key_self(struct ctl *c, struct doc *before, struct doc *after);       /* watches: the object itself */
void key_controller(struct ctl *c, struct doc *before, struct doc *after); /* watches: whoever controls it */

/* watches, of controllers that claim(): whoever controls it; one that is nobody's, those whose selector it fits. */
void key_claimed(struct ctl *c, struct doc *before, struct doc *after);
struct gvr ctl_kind(struct ctl *c); /* what its first row watches */
/* spec.selector as a LabelSelector, also that of a ReplicationController. Borrowed from the set, or in the arena. */
struct val ctl_selector(struct ctl *c, struct arena *a, struct doc *set);

/* After a write for key: its answer's revision. A reconcile that comes before the informer has seen it would decide on
 * old facts. */
void ctl_wrote(struct ctl *c, struct str key, const struct doc *answer);
/* false: the informer lags behind our own writes; the key has been queued again. */
bool ctl_caught_up(struct ctl *c, struct str key, struct informer *i);

/* ---- ownership ------------------------------------------------------------------------------- */

struct val controller_ref(const struct doc *d); /* the ownerReference with controller true */
bool controlled_by(const struct doc *d, struct str uid);
bool is_deleting(const struct doc *d);
/* {apiVersion, kind, name, uid, controller, blockOwnerDeletion} */
struct node *owner_reference(struct arena *a, const struct doc *owner);
/* What of the namespace is controlled by owner, or is nobody's and matches its selector: the latter is adopted. Orphans
 * it made when they no longer match. In the arena, in name order. Fails when an adoption fails. */
struct informer_list claim(
	struct ctl *c, struct arena *a, struct doc *owner, struct val label_selector, struct gvr r, struct err *e);

/* ---- pods and conditions --------------------------------------------------------------------- */

struct val condition_of(struct val object, const char *type); /* status.conditions */
bool pod_ready(const struct doc *pod);
/* Ready for min_ready_s; *wait_ms (may be NULL): when it will be, 0: it is or never. */
bool pod_available(const struct doc *pod, int64_t min_ready_s, int64_t *wait_ms);
bool pod_active(const struct doc *pod); /* neither ended nor being deleted */
bool pod_ended(const struct doc *pod);  /* Succeeded or Failed */
const char *now_text(struct arena *a);
/* Sets a condition in a status.conditions list: lastTransitionTime moves with status only. Returns whether anything
 * changed. */
bool set_condition(struct arena *a, struct node *conditions, const char *type, const char *status, const char *reason,
	const char *message, bool with_update_time);

/* Creates a pod from a template, with its annotations and finalizers. A name that ends with '-' is the beginning of
 * one; NULL: the owner's name is. Own: ret (may be NULL). */
int create_pod(struct ctl *c, struct arena *a, struct doc *owner, struct val template, struct node *more_labels,
	const char *name, struct doc **ret, struct err *e);
/* A create failed because its namespace is going: nothing more can be created, and the owner goes soon, too. */
bool namespace_ends(const struct err *e);
int delete_pod(struct ctl *c, struct arena *a, struct doc *owner, struct str key, struct doc *pod, struct err *e);
/* Replaces status when it differs; status is a node of the arena. */
int write_status(struct ctl *c, struct arena *a, struct gvr r, struct doc *object, struct node *status, struct err *e);
/* A metadata patch or status patch with what a merge patch needs. */
int merge_patch(struct ctl *c, struct gvr r, const struct doc *object, const char *sub, struct node *patch,
	struct doc **ret, struct err *e);

/* ---- the resources that hold things in a namespace, and those that may own or be owned ------- */

extern const struct gvr *const namespaced_resources[]; /* NULL at the end; pods first */
/* The resource that a CustomResourceDefinition defines, in a version that is served. Strings in a. false: it serves
 * none (yet). */
bool defined_resource(struct arena *a, const struct doc *crd, struct gvr *ret);
/* The resource of a kind that may have a scale: one of ours, or a custom one. Strings in a. The controller watches
 * customresourcedefinitions. false: no such kind. */
bool scaled_resource(struct ctl *c, struct arena *a, struct str api_version, struct str kind, struct gvr *ret);

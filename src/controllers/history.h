/* ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, numbered. kubectl rollout history and
 * undo read them.
 * A revision's data is a strategic merge patch {"spec":{"template":{…,"$patch":"replace"}}}. */
#pragma once
#include "controllers/controllers_internal.h"

#define REVISION_LABEL "controller-revision-hash"

struct revisions {
	struct doc **items; /* the owner's, by number; in the arena */
	size_t n;
	struct doc *update; /* the one of the template that is wished now */
	int64_t collisions; /* for status.collisionCount */
};
/* Finds the revision of the owner's template, or makes one; an old template that is wished again becomes the newest.
 * The informer of controllerrevisions must have the indexes "owner" and "ns". */
int revisions_sync(struct ctl *c, struct arena *a, struct doc *owner, struct revisions *ret, struct err *e);
/* The one of this name among them; NULL: none. */
struct doc *revisions_find(const struct revisions *r, struct str name);
/* The template that a revision holds, without "$patch". In the arena. */
struct node *revision_template(struct arena *a, struct doc *revision);
/* Deletes the oldest beyond spec.revisionHistoryLimit, but none that is_live() says somebody runs. */
int revisions_trim(struct ctl *c, struct doc *owner, const struct revisions *r,
	bool (*is_live)(void *arg, struct doc *revision), void *arg, struct err *e);

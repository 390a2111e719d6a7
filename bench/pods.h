/* The pods and nodes that the scheduler is measured with.
 *
 * Every pod belongs to a ReplicaSet, so that it spreads over nodes and zones by itself. plain: requests of CPU and
 * memory, as most pods have. spread: DoNotSchedule and ScheduleAnyway over zones and nodes. near: required affinity to
 * pods of the same app in a zone. far: required anti-affinity to pods of the same app on a node. both: the two
 * together, with preferred ones. own: as near, and each pod has a label that no other has, as those of StatefulSets. */
#pragma once
#include "base/buf.h"

/* Appends pod number i, of ReplicaSet number app, as JSON. */
void pod_text(struct buf *b, const char *kind, const char *ns, int i, int app);
/* Appends node number i, in one of ten zones. */
void node_text(struct buf *b, int i);

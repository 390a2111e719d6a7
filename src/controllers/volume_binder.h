/* The persistent-volume-binder's two halves: volume_binder.c looks at claims, volume_state.c at volumes. Both write
 * through these.
 *
 *     claim   Pending ──bind──► Bound ──its volume is gone──► Lost
 *     volume  Available ──bind──► Bound ──its claim is gone──► Released ──nobody can delete it──► Failed
 *
 * Binding is four writes, each against the version that was read: the volume's claimRef, its phase, the claim's
 * volumeName, its phase. Whatever ends in between, the next look finishes or undoes it. */
#pragma once
#include "claims/claims.h"
#include "controllers/controllers_internal.h"

#define INDEX_WAITING "waiting" /* of claims that are not bound: by class */
#define INDEX_CLAIM "claim"     /* of volumes: "namespace/name" of their claim */
#define INDEX_FREE "free"       /* of volumes without claim: by class */

/* Own: one reference; NULL without error: it is not there. Asked of the API: the informers may be behind our own
 * writes. */
int live_object(struct ctl *c, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e);
/* Replaces *volume (own) by what was written; nothing is when it says so already. message may be NULL. */
int volume_phase(
	struct ctl *c, struct arena *a, struct doc **volume, const char *phase, const char *message, struct err *e);
/* A merge patch against the version of *d (own), which becomes the answer. */
int patch_known(struct ctl *c, struct arena *a, struct gvr r, struct doc **d, const char *sub, struct node *patch,
	struct err *e);
int sync_volume(struct ctl *c, struct arena *a, struct str name, struct err *e);

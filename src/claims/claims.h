/* Which volume fits which claim: the rules that the binding controller and the scheduler share.
 * Pure: no client, no clock.
 *
 *     PersistentVolumeClaim ─┬─ claim_best_volume() ──► the smallest PersistentVolume that fits
 *     PersistentVolumes ─────┘
 *     Node ── volume_reaches() ──► whether a pod there can have it
 *
 * Source of the rules: the Kubernetes documentation, "Persistent Volumes" and "Storage Classes". */
#pragma once
#include "doc/doc.h"

/* Annotations. */
#define CLAIM_BIND_COMPLETED "pv.kubernetes.io/bind-completed"           /* of a claim: it was bound once */
#define CLAIM_BOUND_BY_CONTROLLER "pv.kubernetes.io/bound-by-controller" /* of both: nobody asked for just this one */
#define CLAIM_PROVISIONED_BY "pv.kubernetes.io/provisioned-by"           /* of a volume */
#define CLAIM_SELECTED_NODE "volume.kubernetes.io/selected-node"         /* of a claim: where its first pod goes */
#define CLAIM_PROVISIONER "volume.kubernetes.io/storage-provisioner"     /* of a claim: who is to make its volume */
#define CLAIM_PROVISIONER_BETA "volume.beta.kubernetes.io/storage-provisioner"
#define CLAIM_CLASS_BETA "volume.beta.kubernetes.io/storage-class"

/* Volumes that are folders of nodes, made by Kogge: who makes them, and how the parts speak of them. */
#define LOCAL_PATH_PROVISIONER "kogge.io/local-path"
#define LOCAL_PATH_FOLDER "kogge.io/local-path-folder"   /* annotation of a Node: below which folder it makes them */
#define LOCAL_PATH_NODE_LABEL "kogge.io/local-path-node" /* label of a volume: the node that has it */
#define LOCAL_PATH_FINALIZER "kogge.io/local-path"       /* of a volume: its node has made it, and removes it */

struct str claim_note(const struct doc *d, const char *annotation); /* empty: it has none */
/* The class of a claim or a volume; empty: none. */
struct str claim_class(const struct doc *d);
/* Bound for good, as far as the claim says. */
bool claim_is_bound(const struct doc *claim);
/* A StorageClass (may be NULL) whose volumes wait for the first pod. */
bool class_waits(const struct doc *class);
/* spec.claimRef names the claim; one without uid was written by a person, for whoever has the name. */
bool volume_is_for(const struct doc *volume, const struct doc *claim);
/* Whether pods on a node with these labels and this name can have the volume. */
bool volume_reaches(const struct doc *volume, struct val labels, struct str node);
/* Why the volume cannot serve the claim, in upstream's words; NULL: it can. */
const char *volume_misfit(const struct doc *volume, const struct doc *claim);
/* Of volumes[n]: the one that was made for the claim, else the smallest that is Available and fits (if `any` is set; of
 * several, the first). With node.n: only volumes that reach it. NULL: none. Borrowed. */
struct claim_search {
	struct doc *const *volumes;
	size_t n;
	bool any;
	struct val labels; /* of the node */
	struct str node;
	bool (*taken)(void *arg, const struct doc *volume); /* by somebody else meanwhile; NULL: nobody */
	void *arg;
};
struct doc *claim_best_volume(const struct claim_search *s, const struct doc *claim, struct arena *a);

/* The claim of one of a pod's spec.volumes, also that of a generic ephemeral volume (POD-VOLUME); empty: it has none.
 * In a. */
struct str claim_of_volume(struct arena *a, const struct doc *pod, struct val volume);

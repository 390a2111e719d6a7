/* What objects use of a ResourceQuota: the rules that admission (one object more) and the recount (all objects) share.
 * Pure: no client, no clock of its own.
 *
 *     object ── quota_usage() ──► list of (name, amount) ──┐
 *     ResourceQuota ── quota_selects() ──► yes or no ──────┴──► quota_add(), compared with spec.hard
 *
 * Amounts keep the names of spec.hard: "pods", "requests.cpu", "count/deployments.apps",
 * "gold.storageclass.storage.k8s.io/requests.storage". */
#pragma once
#include "doc/doc.h"

struct quota_amount {
	struct str name;
	struct quantity q;
};
struct quota_list { /* in an arena, sorted by name */
	struct arena *a;
	struct quota_amount *items;
	size_t n, cap;
};
#define QUOTA_LIST(arena) ((struct quota_list){ .a = (arena) })

const struct quantity *quota_get(const struct quota_list *l, struct str name); /* NULL: not there */
void quota_set(struct quota_list *l, struct str name, struct quantity q);
void quota_add(struct quota_list *l, struct str name, struct quantity q);
void quota_add_all(struct quota_list *l, const struct quota_list *more);
void quota_read(struct quota_list *l, struct val map); /* a ResourceList such as status.hard */
struct node *quota_node(struct arena *a, const struct quota_list *l);
struct str quota_text(struct arena *a, const struct quota_list *l); /* "cpu=1,pods=2" */

/* What one object uses. resource: "pods", "deployments" …; now_s: wall seconds, a pod that should be gone counts no
 * more. */
void quota_usage(const char *group, const char *resource, struct val object, int64_t now_s, struct quota_list *ret);
/* Whether the object is within the quota's scopes (names of hard are not looked at). */
bool quota_selects(struct val quota, const char *group, const char *resource, struct val object);
/* Whether name of spec.hard is about objects of this resource at all. */
bool quota_counts(struct str name, const char *group, const char *resource);
/* Requests and limits of a pod as the scheduler counts them: init containers, sidecars, overhead, pod-level resources.
 */
void quota_pod_resources(struct val pod, struct quota_list *requests, struct quota_list *limits);
/* Names of cpu and memory in `hard` that a container of the pod says nothing about: "limits.cpu,memory". Empty: none.
 * In a. */
struct str quota_unsaid(struct arena *a, const struct quota_list *hard, struct val pod);

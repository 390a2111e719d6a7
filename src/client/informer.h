/* Informers: a local, always current view of one resource, and events when it changes.
 *
 * One task lists, then watches, and lists again when told to (410, long silence). Readers get references to the very
 * documents that arrived; nothing is copied. Any task may read. */
#pragma once
#include "client/client.h"

struct informer;
/* Called on the informer's task, one at a time, in order; before is NULL for a new object, after NULL for a deleted
 * one.
 * The index already shows `after`. Both are borrowed. Keep it short: usually queue_add(). */
typedef void informer_handler(void *arg, struct doc *before, struct doc *after);

/* One task for many informers, of kinds that come and go. Their client must have client_notify(), and a list of theirs
 * makes the others wait. */
struct informer_loop;
struct informer_loop *informer_loop_new(void);
struct informer_loop *informer_loop_free(struct informer_loop *l); /* when its informers are stopped */

struct informer_opts {
	struct gvr res;
	struct str ns; /* empty: all */
	struct str label_selector, field_selector;
	int64_t resync_ms;          /* call the handlers again for everything this often; 0: never */
	struct informer_loop *loop; /* borrow: works in its task; NULL: has a task of its own */
};
/* c is borrowed and outlives the informer. */
struct informer *informer_new(struct client *c, struct informer_opts o);
struct informer *informer_free(struct informer *i); /* stops it */
/* Handlers no longer run when this returns, so they must not call it; what was seen can still be read. */
void informer_stop(struct informer *i);
AUTO(struct informer, informer_free)
/* Before informer_start(). `name` indexes: key_of() adds zero or more keys of an object with add(). */
void informer_on(struct informer *i, informer_handler *h, void *arg);
void informer_index(struct informer *i, const char *name,
	void (*key_of)(struct doc *d, void (*add)(void *arg, struct str key), void *arg));
extern void informer_index_owner_uid(
	struct doc *d, void (*add)(void *arg, struct str key), void *arg); /* controller ownerReference's uid */
extern void informer_index_node_name(
	struct doc *d, void (*add)(void *arg, struct str key), void *arg); /* spec.nodeName */
extern void informer_index_ns(struct doc *d, void (*add)(void *arg, struct str key), void *arg);
void informer_start(struct informer *i);
/* Waits for the first complete list. false: stopped or time is up. */
bool informer_wait_synced(struct informer *i, int64_t timeout_ms);
bool informer_synced(struct informer *i);

/* Own: a reference, NULL when it is not there. ns empty for cluster scope. */
struct doc *informer_get(struct informer *i, struct str ns, struct str name);
/* References held by the arena; order: namespace, name. index NULL: everything. */
struct informer_list {
	struct doc **items;
	size_t n;
};
struct informer_list informer_list(struct informer *i, struct arena *a, const char *index, struct str key);
size_t informer_len(struct informer *i);
/* Highest resourceVersion seen. */
int64_t informer_revision(struct informer *i);

/* All informers of a process that share a client: one per (resource, selectors), made when first asked for. */
struct informers;
struct informers *informers_new(struct client *c);
struct informers *informers_free(struct informers *s);
AUTO(struct informers, informers_free)
struct informer *informers_need(struct informers *s, struct gvr r); /* borrow; before informers_start() */
void informers_start(struct informers *s);
bool informers_wait_synced(struct informers *s, int64_t timeout_ms);

/* Kubernetes Events (core/v1 kind Event): written in the background, repeated ones counted up, rate limited, never an
 * error. */
struct recorder;
struct recorder *recorder_new(struct client *c, const char *component, const char *host);
struct recorder *recorder_free(struct recorder *r); /* writes what is pending for at most a second */
AUTO(struct recorder, recorder_free)
/* How many are not written yet. Whoever makes thousands waits before there are RECORDER_MAX: more are dropped. */
size_t recorder_waiting(struct recorder *r);
#define RECORDER_MAX 16384
/* about: the object (any kind). type "Normal" or "Warning". */
void recorder_event(struct recorder *r, struct doc *about, const char *type, const char *reason, const char *fmt, ...)
	PRINTF(5, 6);
/* Same with a fieldPath of the object: "spec.containers{web}". */
void recorder_event_field(struct recorder *r, struct doc *about, const char *field_path, const char *type,
	const char *reason, const char *fmt, ...) PRINTF(6, 7);

/* Services with their endpoint slices as they are now: references to the informers' documents, found by name, and who
 * has an address. Fed by informer handlers, read by the proxy's and the DNS server's threads under one short lock.
 *
 * Changed services queue up by key, each once however often it changed: services_wait() takes them all. */
#pragma once
#include "base/arena.h"
#include "base/clock.h"
#include "doc/doc.h"
#include "network/addr.h"

struct services;
struct services *services_new(void);
struct services *services_free(struct services *s);
AUTO(struct services, services_free)

/* before NULL: new; after NULL: deleted. Both borrowed. Slices belong to the service that their label names. */
void services_put(struct services *s, struct doc *before, struct doc *after);
void services_put_slice(struct services *s, struct doc *before, struct doc *after);
/* Queues any other key, such as a pod's "p/default/web-0". Service keys are "s/namespace/name". */
void services_touch(struct services *s, struct str key);

/* Waits until something is queued (then moves it into the arena), the time comes, or services_wake(). */
size_t services_wait(struct services *s, struct arena *a, struct mono until, struct str **ret_keys);
void services_wake(struct services *s);

/* ---- reading: between lock and unlock -------------------------------------------------------- */

struct service {
	struct doc *service; /* NULL: only slices are known */
	struct doc **slices;
	size_t n;
};
void services_lock(struct services *s);
void services_unlock(struct services *s);
const struct service *services_find(
	struct services *s, struct str ns, struct str name); /* NULL: unknown, or no service */
bool services_has_ns(struct services *s, struct str ns);     /* it has a service */
/* Names of an address for reverse look-ups: "web.default" or "web-0.web.default". Borrowed until unlock. */
size_t services_names(struct services *s, struct ip ip, const char *const **ret);
/* A copy of one service by key ("s/…"), references held by the arena. false: no such service. */
bool services_get(struct services *s, struct arena *a, struct str key, struct service *ret);

/* An endpoint as DNS names it: its hostname, or its address with dashes. */
#define HOST_LABEL_MAX 64
void services_host_label(struct val endpoint, char ret[HOST_LABEL_MAX]);

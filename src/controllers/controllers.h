/* Controllers: each watches some resources, compares what is wished with what is, and writes the difference.
 *
 *     informers ──events──► keys ──► one queue ──► a few workers ──► reconcile(key) ──writes──► API
 *
 * They know the API through client.h alone, each under its own ServiceAccount; their decisions are pure functions over
 * documents. Reconcile is straight-line code that blocks its worker; a key is never worked on twice at once.
 * Thread: tasks of base/task.h, so that all of it runs in a simulation. */
#pragma once
#include "client/client.h"
#include "client/informer.h"

struct controllers_opts {
	/* Own: client_free(). A client under system:serviceaccount:kube-system:NAME. */
	struct client *(*client_for)(void *arg, const char *name);
	void *arg;
	struct informers *informers;   /* borrowed, shared by all, not started yet */
	struct str ca_pem;             /* published to every namespace; empty: not published */
	const char *pki_dir, *ca_name; /* the CA that signs certificate requests, see pki.h; NULL: none is signed */
	bool legacy_token_secrets;     /* every ServiceAccount gets a Secret with a token, as before Kubernetes 1.24 */
	const char *host;              /* source of events */
	/* NULL-terminated names, or NULL: not started since they crashed the process; left out on purpose. */
	const char *const *hold_off, *const *unwanted;
	/* Told on the thread that begins (name) and ends (NULL) a controller's work; NULL: nobody asks. */
	void (*working)(void *working_arg, const char *name);
	void *working_arg;
	int workers;           /* 0: 4 */
	int64_t node_grace_ms; /* a node that has been silent for so long is Unknown; 0: 40 s */
};

struct controllers;
/* Registers what it needs with the informers; nothing runs yet. */
struct controllers *controllers_new(const struct controllers_opts *o);
/* After informers_start(): the workers begin when the informers have their first lists. */
void controllers_start(struct controllers *c);
/* Waits until nothing is worked on. */
void controllers_stop(struct controllers *c);
struct controllers *controllers_free(struct controllers *c);
AUTO(struct controllers, controllers_free)

/* The resources that some controller acts on, "group/resource" ("/pods"), for the API's warnings. NULL at the end.
 * hold_off: as above; what these handle is left out. */
const char *controllers_handles(size_t i, const char *const *hold_off);
void controllers_metrics(struct controllers *c, struct buf *out);

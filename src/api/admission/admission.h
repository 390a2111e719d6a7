/* Admission: what changes or refuses a write between its decoding and its rules, and after them; on the writer's task. */
#pragma once
#include "api/api_internal.h"

int admit_mutate(struct rq *rq, struct node *object, struct val old, struct err *e);
int admit_action(struct rq *rq, struct err *e); /* a create that stores nothing under its name: a binding, a token … */
/* Before the object's own rules: NodeRestriction, and that nobody gives what he lacks. */
int admit_writer(struct rq *rq, struct val object, struct val old, struct err *e);
int admit_check(struct rq *rq, struct val object, struct val old, struct err *e);
int admit_delete(struct rq *rq, struct val old, struct err *e);
int admit_forbid(struct rq *rq, struct str name, struct err *e,
	const char *why); /* "pods "x" is forbidden: …"; -ERR_FORBIDDEN */
/* admit_defaults.c: DefaultStorageClass, DefaultIngressClass, RuntimeClass; PersistentVolumeClaimResize */
int admit_defaults(struct rq *rq, struct node *object, struct err *e); /* of a new object */
int admit_claim_size(struct rq *rq, struct val claim, struct val old, struct err *e);
/* admit_secrets.c: of ServiceAccount, which Secrets a pod may name; -ERR_FORBIDDEN */
int admit_secrets(struct rq *rq, struct node *spec, struct doc *account, struct err *e);
/* admit_limits.c: LimitRanger */
void admit_limits_default(struct rq *rq, struct node *pod);
int admit_limits_check(struct rq *rq, struct val object, struct val old, struct err *e);
/* podsecurity.c */
int podsecurity_check(struct rq *rq, struct val object, struct val old, struct err *e);
void podsecurity_labels(struct rq *rq, struct val labels, struct err *e);               /* adds causes */
int podsecurity_namespace(struct rq *rq, struct val ns, struct val old, struct err *e); /* warns only */
/* admit_quota.c: checks the namespace's quotas, last of all, and charges them; _undo() when the object was not stored after all. */
int admit_quota(struct rq *rq, struct val object, struct val old, bool charges, struct err *e);
void admit_quota_undo(struct rq *rq);

/* ---- webhook.c: what other servers decide; all of it may wait, so never on a loop ------------- */
/* *object may be replaced by a changed one. */
int webhook_mutate(struct rq *rq, struct node **object, struct val old, bool *changed, struct err *e);
int webhook_validate(struct rq *rq, struct val object, struct val old, struct err *e); /* in the form of rq->res */
int webhook_action(struct rq *rq, struct node **body, struct err *e); /* both, for a body that is not stored */
int webhook_delete(struct rq *rq, struct doc *stored, struct err *e);
bool webhook_on_connect(struct rq *rq); /* whether anybody must be asked before a stream begins; does not wait */
void webhook_connect(struct rq *rq);    /* for rq->run: asks, then relay_start() */

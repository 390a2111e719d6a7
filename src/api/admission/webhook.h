/* Admission webhooks (admissionregistration.k8s.io/v1): who is asked about a write, in which form, and what the answer
 * does.
 *
 *   webhook_match.c   configurations × request → the hooks to call, each with the form (version) it wants
 *   webhook_call.c    one AdmissionReview there and back; blocking, on any task
 *   webhook.c         the chain: mutating hooks one after the other with reinvocation, validating ones side by side */
#pragma once
#include "api/relay/outgoing.h"

struct review { /* what is asked about; borrowed for the calls below */
	struct rq *rq;
	const char *operation; /* CREATE, UPDATE, DELETE, CONNECT */
	struct node *object;   /* in the form of rq->res; NULL: none */
	struct node *old;
};
struct hook {
	struct val def; /* MutatingWebhook or ValidatingWebhook; its configuration is held by the request's arena */
	struct str name;
	const struct resource *as; /* the form in which it wants the object */
	struct node *object, *old; /* of the review, in that form */
	bool mutating, again, called;
};
/* All hooks of one sort in calling order, matched or not. */
size_t webhook_list(struct rq *rq, bool mutating, struct hook **ret);
/* Whether it is to be called; sets h->as. Fails: a selector of the configuration is malformed. */
int webhook_matches(const struct review *r, struct hook *h, bool *ret, struct err *e);

struct verdict {
	struct err e;  /* code 0: allowed */
	bool uncalled; /* e says why the call failed: failurePolicy decides */
	int deny_code; /* of a refusal */
	char deny_reason[64];
	struct doc *response; /* own; NULL: none */
	double took_s;
};
/* Sets h->object and h->old. Fails: a conversion webhook. */
int webhook_forms(const struct review *r, struct hook *h, struct err *e);
/* What is sent; in a. */
struct str webhook_request(struct arena *a, const struct review *r, const struct hook *h, const char *uid);
/* Blocks. rq NULL: the caller has given its lane away itself. */
void webhook_call(struct api *api, struct rq *rq, const struct hook *h, struct str body, const char *uid, bool dry_run,
	struct verdict *ret);
/* Warnings and audit annotations go to rq; a refusal becomes rq's answer. 0: go on. */
int webhook_settle(struct rq *rq, const struct hook *h, const char *operation, struct verdict *v, struct err *e);

/* Which requests are recorded, and how much of them: an audit.k8s.io/v1 Policy. */
#pragma once
#include "api/api_internal.h"

enum audit_level { AUDIT_UNDECIDED, AUDIT_NONE, AUDIT_METADATA, AUDIT_REQUEST, AUDIT_RESPONSE };
enum audit_stage { STAGE_RECEIVED, STAGE_STARTED, STAGE_COMPLETE, STAGE_PANIC, STAGE_N };
extern const char *const audit_levels[]; /* by enum audit_level */
extern const char *const audit_stages[];

struct audit_policy; /* immutable */
/* Own. Fails with the rule that is wrong. */
int audit_policy_read(const char *path, struct audit_policy **ret, struct err *e);
int audit_policy_parse(struct str yaml, struct audit_policy **ret, struct err *e);
void audit_policy_free(struct audit_policy *p);

struct audit_decision {
	enum audit_level level;
	unsigned omit; /* bit per enum audit_stage */
	bool omit_managed;
};
/* By the first rule that fits; p NULL: everything at level Metadata, when it is complete. */
struct audit_decision audit_decide(const struct audit_policy *p, const struct rq *rq);

/* audit.c: the records. NULL: nothing is recorded. Any thread. */
struct audit *audit_new(const struct api_opts *o, struct err *e);
void audit_free(struct audit *a);
void audit_received(struct audit *a, struct rq *rq); /* it is known what is asked for */
void audit_started(struct audit *a, struct rq *rq);  /* a stream's headers are sent */
void audit_record(struct audit *a, struct rq *rq, int status);
bool audit_is_on(const struct audit *a);
bool audit_wants_answer(struct audit *a, const struct rq *rq); /* rq->audit_answer is to be set */

/* Shared by podsecurity.c (whom it concerns) and podsecurity_rules.c (what is wrong with a pod). */
#pragma once
#include "api/api_internal.h"

enum level { PRIVILEGED, BASELINE, RESTRICTED };
/* "reason (detail), …" in upstream's words; "" when the pod is fine. In the request's arena. */
struct str podsecurity_violations(struct rq *rq, enum level level, struct val spec, struct val notes);
struct str podsecurity_reasons(struct rq *rq, enum level level, struct val spec, struct val notes); /* "reason, …" */

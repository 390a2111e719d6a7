/* One request after another to an API without sockets, and the processor time of this process: for benchmarks of one task. */
#pragma once
#include "api/api.h"

int64_t cpu_ns(void);
/* Waits for the answer; its status. What a refusal says goes to stderr. c->sink is set here. */
int ask(struct api *api, struct api_call *c);

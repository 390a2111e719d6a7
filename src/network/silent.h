/* Name servers that did not answer lately: they are asked last, but for one question in ten seconds that finds out
 * whether they are back. Values with the caller's clock. */
#pragma once
#include "network/forward.h"

#define SILENT_MAX 16
#define SILENT_MS 10000
struct silent {
	struct {
		union dns_address who;
		uint64_t until_ms;
	} list[SILENT_MAX]; /* newest first */
	size_t n;
};
void silent_note(struct silent *s, const union dns_address *who, uint64_t now_ms);
void silent_forget(struct silent *s, const union dns_address *who); /* it answered */
/* Moves them behind the others, for one question. */
void silent_last(struct silent *s, struct dns_servers *servers, uint64_t now_ms);
